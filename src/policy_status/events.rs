//! Events about policies: one for each thing that has just come about. Their names are made from what they say, so that a second
//! replica, of another version too, or the same one after a restart, cannot say it twice.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use serde_json::Value as Json;

use super::{
    Stored,
    document::{PROBLEMS_MAX, condition},
    fnv::fnv_64,
};
use crate::policy::{API_VERSION, PolicyName, PolicyStatus, RemarkKind};

/// Longest note of an Event, in bytes (the API's own limit).
const NOTE_BYTES_MAX: usize = 1024;

/// Longest name of an Event, in bytes, without what makes it unique.
const NAME_BYTES_MAX: usize = 200;

/// Where Events about objects without a namespace are, as for all of Kubernetes.
const CLUSTER_EVENTS_NAMESPACE: &str = "default";

/// Something that has just come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Happening {
    reason: &'static str,
    is_warning: bool,
    note: String,
}

/// What the new status says that the stored one does not.
pub(super) fn happenings(stored: &Json, status: &PolicyStatus) -> Vec<Happening> {
    let message_of = |name: &str| condition(stored, name).and_then(|it| it["message"].as_str()).unwrap_or_default();
    let mut happenings = Vec::new();
    if !status.accepted.is_true && message_of("Accepted") != status.accepted.message {
        let note = format!("{}; {}", status.accepted.message, status.degraded.message);
        happenings.push(Happening { reason: "PolicyUnreadable", is_warning: true, note });
    }
    let told = message_of("Degraded");
    let conflicts: Vec<&str> = status.conflicts.iter().map(String::as_str).filter(|it| !told.contains(it)).collect();
    // Of many conflicts not all are in the message: those that are not are no news.
    if !conflicts.is_empty() && !told.contains("; and ") {
        happenings.push(Happening { reason: "PolicyConflict", is_warning: true, note: conflicts.join("; ") });
    }
    let told: BTreeSet<&str> =
        stored["exemptionProblems"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let remarks = [
        (RemarkKind::Expired, "expired", "ExemptionExpired", true),
        (RemarkKind::ExpiringSoon, "expiringSoon", "ExemptionExpiring", true),
        (RemarkKind::NotInForce, "notInForce", "ExemptionNotInForce", true),
        (RemarkKind::Unused, "unused", "ExemptionUnused", false),
    ];
    for (kind, counter, reason, is_warning) in remarks {
        let all: Vec<&str> = status.remarks.iter().filter(|it| it.kind == kind).map(|it| it.text.as_str()).collect();
        let before = stored["exemptions"][counter].as_u64().unwrap_or_default();
        let has_more = usize::try_from(before).is_ok_and(|before| all.len() > before);
        let new: Vec<&str> = all.iter().copied().filter(|it| !told.contains(it)).collect();
        // A full list leaves lines out: only the number says then whether there is another one.
        if !new.is_empty() && (told.len() < PROBLEMS_MAX || has_more) {
            happenings.push(Happening { reason, is_warning, note: new.join("; ") });
        }
    }
    happenings
}

/// The Event.
pub(super) fn event(name: &PolicyName, stored: &Stored, happening: &Happening, now: Timestamp) -> Event {
    let namespace = if name.namespace.is_empty() { CLUSTER_EVENTS_NAMESPACE } else { &name.namespace };
    let note = shortened(&happening.note, NOTE_BYTES_MAX);
    let unique = fnv_64(&[&stored.uid, happening.reason, note]);
    let beginning = shortened(&name.name, NAME_BYTES_MAX).trim_end_matches(['-', '.']);
    let instance = std::env::var("HOSTNAME").ok().filter(|it| !it.is_empty() && it.len() <= 128);
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(format!("{beginning}.{unique:016x}")),
            ..ObjectMeta::default()
        },
        action: Some("Audit".to_owned()),
        reason: Some(happening.reason.to_owned()),
        note: Some(note.to_owned()),
        type_: Some(if happening.is_warning { "Warning" } else { "Normal" }.to_owned()),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some("no502.dev/no502".to_owned()),
        reporting_instance: Some(instance.unwrap_or_else(|| "no502".to_owned())),
        regarding: Some(ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(name.kind().to_owned()),
            name: Some(name.name.to_string()),
            namespace: Some(name.namespace.to_string()).filter(|it| !it.is_empty()),
            uid: Some(stored.uid.clone()),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

/// The longest beginning of at most so many bytes.
fn shortened(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Creates it; false for one that is there already.
pub(super) async fn create(client: Client, event: &Event) -> Result<bool, kube::Error> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or(CLUSTER_EVENTS_NAMESPACE);
    match Api::namespaced(client, namespace).create(&PostParams::default(), event).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
