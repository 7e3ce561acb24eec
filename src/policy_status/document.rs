//! `status` as it is written, and whether what is stored says the same.

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::used::{self, Record};
use crate::{
    crd::EXEMPTION_PROBLEMS_MAX,
    policy::{ExemptionCounts, Judgement, PolicyStatus},
};

/// Most lines of `status.exemptionProblems`: as the schema has it.
pub(super) const PROBLEMS_MAX: usize = EXEMPTION_PROBLEMS_MAX;

/// The fields that are ours, beside the conditions.
const FIELDS: [&str; 5] =
    ["observedGeneration", "inForceGeneration", "namespacesMatched", "exemptions", "exemptionProblems"];

/// The conditions that are ours.
const CONDITIONS: [&str; 3] = ["Accepted", "Degraded", used::CONDITION];

/// The condition of that type.
pub(super) fn condition<'a>(status: &'a Json, name: &str) -> Option<&'a Json> {
    status["conditions"].as_array()?.iter().find(|it| it["type"] == name)
}

/// The whole status. A condition whose status is what it was keeps its `lastTransitionTime`.
pub(super) fn document(status: &PolicyStatus, record: Option<&Record>, stored: &Json, now: Timestamp) -> Json {
    let observed = status.observed_generation;
    let used = record.filter(|it| !it.is_empty()).map(|it| {
        let is_true = used::is_any_needed(it);
        Judgement { is_true, reason: if is_true { "Needed" } else { "NotNeeded" }, message: used::write(it) }
    });
    let written = |name: &'static str, judgement: &Judgement, observed: i64| {
        let word = if judgement.is_true { "True" } else { "False" };
        let before = condition(stored, name).filter(|it| it["status"] == word);
        let since = before.and_then(|it| it["lastTransitionTime"].as_str()).map(str::to_owned);
        json!({
            "type": name,
            "status": word,
            "reason": judgement.reason,
            "message": judgement.message,
            "observedGeneration": observed,
            "lastTransitionTime": since.unwrap_or_else(|| seconds(now).to_string()),
        })
    };
    let mut conditions =
        vec![written("Accepted", &status.accepted, observed), written("Degraded", &status.degraded, observed)];
    conditions.extend(used.map(|it| written(used::CONDITION, &it, status.in_force_generation)));
    let ExemptionCounts { active, expiring_soon, expired, unused, not_in_force } = status.exemptions;
    let mut document = json!({
        "observedGeneration": observed,
        "inForceGeneration": status.in_force_generation,
        "conditions": conditions,
        "exemptions": {
            "active": active,
            "expiringSoon": expiring_soon,
            "expired": expired,
            "unused": unused,
            "notInForce": not_in_force,
        },
    });
    if let Some(count) = status.namespaces_matched {
        document["namespacesMatched"] = json!(count);
    }
    let problems: Vec<&str> = status.remarks.iter().take(PROBLEMS_MAX).map(|it| it.text.as_str()).collect();
    if !problems.is_empty() {
        document["exemptionProblems"] = json!(problems);
    }
    document
}

fn seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// What of a status is ours, without times.
pub(super) fn content(status: &Json) -> Json {
    let mut content = Map::new();
    for field in FIELDS {
        if let Some(value) = status.get(field).filter(|it| !it.is_null()) {
            content.insert(field.to_owned(), value.clone());
        }
    }
    for name in CONDITIONS {
        if let Some(condition) = condition(status, name) {
            let mut condition = condition.clone();
            if let Some(fields) = condition.as_object_mut() {
                fields.remove("lastTransitionTime");
            }
            content.insert(name.to_owned(), condition);
        }
    }
    Json::Object(content)
}
