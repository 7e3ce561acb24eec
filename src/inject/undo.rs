//! Taking our injections out again: what the marker says is ours and nobody has changed since, and the marker itself.

use std::sync::Arc;

use json_patch::Patch;
use serde_json::Value;

use super::{
    MARKER,
    grace_period::{DEFAULT_GRACE_SECONDS, GRACE, grace_seconds},
    marker::{self, Marker},
};
use crate::{
    facts::{ContainerKind, OWN_PREFIX, PodTemplate, ProbeRole, Workload},
    patch::{PatchBuilder, PatchError, escape},
};

/// The longest native sleep that is not ours, in seconds.
fn longest_sleep_of_others(workload: &Workload, marker: &Marker) -> i64 {
    let hooked = workload.template.containers.iter().filter(|it| it.kind != ContainerKind::Init);
    let others = hooked.filter(|it| marker.own_sleep(it).is_none());
    others.filter_map(|it| it.pre_stop.as_ref()?.sleep_seconds).max().unwrap_or_default()
}

/// The workload as its manifest has it: without what the marker says is ours and nobody has changed since.
#[must_use]
pub fn as_written(workload: &Workload) -> Workload {
    let mut marker = Marker::of(workload);
    marker.keep_only_what_stands(workload);
    let mut template = PodTemplate::clone(&workload.template);
    template.own = template.own.without(MARKER.trim_start_matches(OWN_PREFIX));
    for container in &mut template.containers {
        if marker.own_sleep(container).is_some() {
            container.has_lifecycle = !container.has_only_pre_stop;
            (container.pre_stop, container.has_only_pre_stop) = (None, false);
        }
        if marker.own_probe(container).is_some() {
            container.readiness = None;
            let others = container.probes.iter().filter(|it| it.role != ProbeRole::Readiness);
            container.probes = others.cloned().collect();
        }
    }
    if marker.grace.is_some() {
        template.grace_seconds = marker.grace_before;
    }
    Workload { template: Arc::new(template), ..workload.clone() }
}

/// The patch that takes out of a pod template what was put in; `None` if the template has no marker. A grace period goes back to what
/// it was, or away if it was not there; it stays where a sleep of the user's own needs it.
///
/// # Errors
/// When the patch would touch what no502 never touches: a name of a container that breaks a JSON pointer, for example.
pub fn undo(workload: &Workload) -> Result<Option<Patch>, PatchError> {
    if !marker::is_there(workload) {
        return Ok(None);
    }
    let mut marker = Marker::of(workload);
    marker.keep_only_what_stands(workload);
    let mut patch = PatchBuilder::default();
    let annotations = workload.pointer("/metadata/annotations");
    if workload.template.has_other_annotations {
        patch.remove(&format!("{annotations}/{}", escape(MARKER)))?;
    } else {
        patch.remove(&annotations)?;
    }
    for container in &workload.template.containers {
        if marker.own_sleep(container).is_some() {
            let lifecycle = workload.pointer(&format!("{}/lifecycle", container.pointer()));
            let hook = format!("{lifecycle}/preStop");
            patch.remove(if container.has_only_pre_stop { &lifecycle } else { &hook })?;
        }
        if marker.own_probe(container).is_some() {
            patch.remove(&workload.pointer(&format!("{}/readinessProbe", container.pointer())))?;
        }
    }
    // The API server refuses a sleep that is longer than the grace period, and ours made room for the user's own as well.
    let before = marker.grace_before.unwrap_or(DEFAULT_GRACE_SECONDS);
    let longest = longest_sleep_of_others(workload, &marker);
    let is_needed = longest > before && longest <= grace_seconds(workload);
    match (marker.grace, marker.grace_before) {
        (Some(_), _) if is_needed => {}
        (Some(_), Some(before)) => patch.add(&workload.pointer(GRACE), Value::from(before))?,
        (Some(_), None) => patch.remove(&workload.pointer(GRACE))?,
        (None, _) => {}
    }
    patch.finish().map(Some)
}
