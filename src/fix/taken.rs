//! What an undo takes out, in words.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use crate::{facts::Workload, inject::MARKER, patch::escape};

/// One line: `took out preStop sleep 10s of container web, readiness probe of container web, grace 40s -> 30s`.
#[must_use]
pub fn taken_out(workload: &Workload, patch: &Patch) -> String {
    let parts: Vec<String> = patch.0.iter().filter_map(|operation| part(workload, operation)).collect();
    if parts.is_empty() {
        "took out the annotation no502.dev/injected".to_owned()
    } else {
        format!("took out {}", parts.join(", "))
    }
}

fn part(workload: &Workload, operation: &PatchOperation) -> Option<String> {
    let path = operation.path().as_str();
    if path.ends_with("/annotations") || path.ends_with(&escape(MARKER)) {
        return None;
    }
    let grace = || workload.template.grace_seconds.map_or_else(|| "grace".to_owned(), |it| format!("grace {it}s"));
    if path.ends_with("/terminationGracePeriodSeconds") {
        return Some(match operation {
            PatchOperation::Add(to) => format!("{} -> {}s", grace(), seconds(&to.value)),
            _ => format!("{} -> the default", grace()),
        });
    }
    let container =
        workload.template.containers.iter().find(|it| {
            path.strip_prefix(&workload.pointer(&it.pointer())).is_some_and(|below| below.starts_with('/'))
        })?;
    let what = if path.ends_with("/readinessProbe") {
        "readiness probe".to_owned()
    } else {
        let hook = container.pre_stop.as_ref();
        let seconds = hook.and_then(|it| it.sleep_seconds.or(it.exec_sleep_seconds));
        seconds.map_or_else(|| "preStop hook".to_owned(), |it| format!("preStop sleep {it}s"))
    };
    Some(format!("{what} of container {}", container.name))
}

fn seconds(value: &Value) -> String {
    value.as_i64().map_or_else(|| value.to_string(), |it| it.to_string())
}
