//! The changes as RFC 6902 operations on the object of the request. Parents are made where they are missing (reference: mutations 8.3).

use serde_json::{Value, json};

use super::{
    MARKER,
    marker::{self, Marker},
    pre_stop::Form,
};
use crate::{
    facts::{Container, Workload},
    patch::{PatchBuilder, PatchError, escape},
    policy::ProbeValues,
};

pub(super) fn hook(seconds: i64, form: Form) -> Value {
    match form {
        Form::Native => json!({ "sleep": { "seconds": seconds } }),
        Form::Exec => json!({ "exec": { "command": ["sleep", seconds.to_string()] } }),
    }
}

/// Only what is not the API's default anyway (reference: mutations 4.3).
pub(super) fn probe_of(port: i64, values: ProbeValues) -> Value {
    let numbers = [
        ("periodSeconds", values.period_seconds, 10),
        ("timeoutSeconds", values.timeout_seconds, 1),
        ("failureThreshold", values.failure_threshold, 3),
    ];
    let mut probe = json!({ "tcpSocket": { "port": port } });
    for (field, value, _) in numbers.into_iter().filter(|(_, value, default)| value != default) {
        probe[field] = Value::from(value);
    }
    probe
}

pub(super) fn write_hook(
    workload: &Workload,
    container: &Container,
    hook: Value,
    patch: &mut PatchBuilder,
) -> Result<(), PatchError> {
    let lifecycle = workload.pointer(&format!("{}/lifecycle", container.pointer()));
    if container.has_lifecycle {
        patch.add(&format!("{lifecycle}/preStop"), hook)
    } else {
        patch.add(&lifecycle, json!({ "preStop": hook }))
    }
}

pub(super) fn write_marker(workload: &Workload, marker: &Marker, patch: &mut PatchBuilder) -> Result<(), PatchError> {
    if marker.is_empty() {
        let member = workload.pointer(&format!("/metadata/annotations/{}", escape(MARKER)));
        return if marker::is_there(workload) { patch.remove(&member) } else { Ok(()) };
    }
    write_annotation(workload, Value::from(marker.to_string()), patch)
}

pub(super) fn write_annotation(workload: &Workload, text: Value, patch: &mut PatchBuilder) -> Result<(), PatchError> {
    let template = &workload.template;
    let annotations = workload.pointer("/metadata/annotations");
    if template.has_annotations {
        patch.add(&format!("{annotations}/{}", escape(MARKER)), text)
    } else if template.has_metadata {
        patch.add(&annotations, json!({ MARKER: text }))
    } else {
        patch.add(&workload.pointer("/metadata"), json!({ "annotations": { MARKER: text } }))
    }
}
