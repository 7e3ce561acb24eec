//! The grace period: time for the longest preStop sleep and for the application to finish what it started. It is only ever raised
//! (reference: mutations 5).

use super::{
    handler_repair::{Handler, Superseded},
    pre_stop::Sleep,
};
use crate::{
    facts::{ContainerKind, Workload},
    policy::InjectionSettings,
};

/// Where it stands in a pod template.
pub(crate) const GRACE: &str = "/spec/terminationGracePeriodSeconds";

/// What Kubernetes fills in for a pod that says nothing.
pub(crate) const DEFAULT_GRACE_SECONDS: i64 = 30;

/// The grace period that is in force, in seconds.
pub(crate) fn grace_seconds(workload: &Workload) -> i64 {
    workload.template.grace_seconds.unwrap_or(DEFAULT_GRACE_SECONDS)
}

/// The longest sleep that is known of the hooks of regular containers, in seconds; 0 without one.
pub(crate) fn longest_sleep(workload: &Workload) -> i64 {
    longest_own_sleep(workload, &[])
}

/// The same, without the handlers that are about to be taken out.
pub(super) fn longest_own_sleep(workload: &Workload, repairs: &[Superseded<'_>]) -> i64 {
    let regular = workload.template.containers.iter().filter(|it| it.kind == ContainerKind::Regular);
    let known = regular.filter_map(|container| {
        let hook = container.pre_stop.as_ref()?;
        let repair = repairs.iter().find(|it| std::ptr::eq(it.container, container) && it.what != Handler::TcpSocket);
        match repair.map(|it| it.what) {
            Some(Handler::Sleep) => hook.exec_sleep_seconds,
            Some(_) => hook.sleep_seconds,
            None => hook.known_seconds(),
        }
    });
    known.max().unwrap_or_default()
}

/// Longest sleep for which there is room, in seconds. The cap takes from the sleep, never from the drain; a longer grace period of
/// the user's own stays and gives more room.
pub(super) fn room_seconds(workload: &Workload, settings: &InjectionSettings) -> i64 {
    let longest = settings.max_grace_seconds.max(grace_seconds(workload));
    longest.saturating_sub(settings.app_drain_seconds).max(0)
}

/// The grace period that these sleeps and the hooks which stay need; `None` if the one that is there is long enough. A hook of the
/// user's own that is longer than any grace period may be has no say: it is cut off whatever we do. Without any sleep, only a drain
/// time that somebody set raises it.
pub(super) fn raised(
    workload: &Workload,
    sleeps: &[Sleep<'_>],
    own: i64,
    asks_for_drain: bool,
    settings: &InjectionSettings,
) -> Option<i64> {
    let injected = sleeps.iter().map(|it| it.seconds).max().unwrap_or_default();
    let own = if own < settings.max_grace_seconds { own } else { 0 };
    let longest = injected.max(own);
    let need = longest.saturating_add(settings.app_drain_seconds).min(settings.max_grace_seconds);
    ((longest > 0 || asks_for_drain) && need > grace_seconds(workload)).then_some(need)
}

/// `grace 30s -> 40s`. The API server fills in 30 before we see the object, so that 30 may be nobody's choice.
pub(super) fn notice(from: i64, to: i64, is_ours: bool) -> String {
    let explicit = if is_ours || from == DEFAULT_GRACE_SECONDS { "" } else { "explicit " };
    format!("{explicit}grace {from}s -> {to}s")
}
