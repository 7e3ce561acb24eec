//! Clients that send again what they have always sent: a full replacement strips what we put in, a sync resets the grace period that
//! we raised. Putting everything back exactly as it was gives the old template, and so no rollout, whatever the settings have
//! become since (reference: mutations 6.2).

use json_patch::Patch;
use serde_json::{Value, json};

use super::{
    Candidate, MARKER,
    grace_period::{DEFAULT_GRACE_SECONDS, GRACE},
    marker::Marker,
    operations::{write_annotation, write_hook},
    patched,
};
use crate::{
    facts::{ContainerKind, Workload},
    patch::{PatchBuilder, PatchError},
};

/// True if something of ours that stood in the old template does not stand in the new one.
pub(super) fn is_possible(candidate: Candidate<'_>) -> bool {
    let Some(old) = candidate.old else { return false };
    let old_marker = Marker::of(old);
    if old_marker.is_empty() {
        return false;
    }
    standing(old_marker, old) != standing(Marker::of(candidate.new), candidate.new)
}

fn standing(mut marker: Marker, workload: &Workload) -> Marker {
    marker.keep_only_what_stands(workload);
    marker
}

/// The patch that puts everything back; `None` if the template is not the old one with it.
pub(super) fn restore(candidate: Candidate<'_>, template: &Value, old_template: &Value) -> Option<Patch> {
    let patch = operations(candidate.new, candidate.old?, old_template).ok()??;
    let result = patched(&patch, template.clone()).ok()?;
    (result == *old_template).then_some(patch)
}

/// Puts back what was ours with the values that it had: hooks and probes that are missing or, in a manifest that has them from an
/// earlier `no502 fix`, older; and the grace period, if it is reset to what it was before us.
fn operations(new: &Workload, old: &Workload, old_template: &Value) -> Result<Option<Patch>, PatchError> {
    let (marker, sent) = (standing(Marker::of(old), old), Marker::of(new));
    let mut patch = PatchBuilder::default();
    let mut is_restored = false;
    write_annotation(new, old_template["metadata"]["annotations"][MARKER].clone(), &mut patch)?;
    for container in new.template.containers.iter().filter(|it| it.kind == ContainerKind::Regular) {
        let before = old.template.containers.iter().find(|it| it.name == container.name);
        let Some((before, injected)) = before.zip(marker.get(&container.name)) else { continue };
        let was = old_template.pointer(&before.pointer()).unwrap_or(&Value::Null);
        let own_sleep = sent.own_sleep(container);
        if injected.pre_stop.is_some()
            && (container.pre_stop.is_none() || own_sleep < injected.pre_stop && own_sleep.is_some())
        {
            write_hook(new, container, was["lifecycle"]["preStop"].clone(), &mut patch)?;
            is_restored = true;
        }
        let own_probe = sent.own_probe(container);
        if injected.readiness.is_some()
            && (container.readiness.is_none() || own_probe.is_some() && own_probe != injected.readiness)
        {
            let probe = new.pointer(&format!("{}/readinessProbe", container.pointer()));
            patch.add(&probe, was["readinessProbe"].clone())?;
            is_restored = true;
        }
    }
    let seconds = |it: Option<i64>| it.unwrap_or(DEFAULT_GRACE_SECONDS);
    let is_reset = seconds(new.template.grace_seconds) == seconds(marker.grace_before);
    if let Some(grace) = marker.grace.filter(|it| new.template.grace_seconds != Some(*it)) {
        patch.add(&new.pointer(GRACE), json!(grace))?;
        is_restored |= is_reset;
    }
    // Somebody who takes out the marker alone makes our changes his own, and another grace period is his own choice.
    if is_restored { patch.finish().map(Some) } else { Ok(None) }
}
