//! A client that replaces whole objects (`kubectl replace`, Terraform, many operators) strips what we put in, each time. Putting it
//! back exactly as it was gives the old template, and so no rollout (reference: mutations 6.2).

use json_patch::Patch;
use serde_json::Value;

use super::{
    Candidate, GRACE, MARKER,
    marker::Marker,
    operations::{write_annotation, write_hook},
    patched,
};
use crate::{
    facts::{ContainerKind, Workload},
    patch::{PatchBuilder, PatchError},
};

/// The patch that puts everything back; `None` if the template is not the old one with it.
pub(super) fn restore(candidate: Candidate<'_>, template: &Value, old_template: &Value) -> Option<Patch> {
    let patch = operations(candidate.new, candidate.old?, old_template).ok()??;
    let result = patched(&patch, template.clone()).ok()?;
    (result == *old_template).then_some(patch)
}

/// Puts back, with the values that they had, the hooks, probes and the grace period that were ours and are missing.
fn operations(new: &Workload, old: &Workload, old_template: &Value) -> Result<Option<Patch>, PatchError> {
    let mut marker = Marker::of(old);
    marker.keep_only_what_stands(old);
    let mut patch = PatchBuilder::default();
    write_annotation(new, old_template["metadata"]["annotations"][MARKER].clone(), &mut patch)?;
    let mut is_stripped = false;
    for container in new.template.containers.iter().filter(|it| it.kind == ContainerKind::Regular) {
        let before = old.template.containers.iter().find(|it| it.name == container.name);
        let Some((before, injected)) = before.zip(marker.get(&container.name)) else { continue };
        let was = old_template.pointer(&before.pointer()).unwrap_or(&Value::Null);
        if injected.pre_stop.is_some() && container.pre_stop.is_none() {
            write_hook(new, container, was["lifecycle"]["preStop"].clone(), &mut patch)?;
            is_stripped = true;
        }
        if injected.readiness.is_some() && container.readiness.is_none() {
            patch
                .add(&new.pointer(&format!("{}/readinessProbe", container.pointer())), was["readinessProbe"].clone())?;
            is_stripped = true;
        }
    }
    if let Some(grace) = marker.grace.filter(|it| new.template.grace_seconds != Some(*it)) {
        patch.add(&new.pointer(GRACE), Value::from(grace))?;
    }
    // Somebody who takes out the marker alone makes our changes his own, and a grace period that no sleep of ours needs may be
    // lowered again.
    if is_stripped { patch.finish().map(Some) } else { Ok(None) }
}
