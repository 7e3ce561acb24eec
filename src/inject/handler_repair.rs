//! Two handlers in one hook. We inject `sleep`; a later apply that adds `exec` is merged beside it, and the API server would refuse
//! the pair. What we put in makes way (reference: mutations 6.4).

use super::{Candidate, marker::Marker};
use crate::facts::{Container, ContainerKind, Workload};

/// The containers whose preStop has the sleep that stood there alone before and another handler now; and whether that sleep is
/// ours, so that it may go.
pub(super) fn superseded_sleeps(candidate: Candidate<'_>) -> impl Iterator<Item = (&Container, bool)> {
    let new = candidate.new;
    let markers = [Some(new), candidate.old].map(|it| it.map(Marker::of).unwrap_or_default());
    let regular = new.template.containers.iter().filter(|it| it.kind == ContainerKind::Regular);
    regular.filter_map(move |container| {
        let hook = container.pre_stop.as_ref().filter(|it| it.has_other_handler)?;
        let seconds = hook.sleep_seconds?;
        let is_ours = markers.iter().any(|it| it.sleep_seconds(&container.name) == Some(seconds));
        candidate.old.is_some_and(|it| slept_alone(it, container, seconds)).then_some((container, is_ours))
    })
}

/// True if the old object's hook was that sleep and nothing else.
fn slept_alone(old: &Workload, container: &Container, seconds: i64) -> bool {
    let same = old.template.containers.iter().find(|it| it.name == container.name);
    let hook = same.and_then(|it| it.pre_stop.as_ref());
    hook.is_some_and(|it| it.sleep_seconds == Some(seconds) && !it.has_other_handler)
}
