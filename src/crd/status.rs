//! `status`: what the server says about a policy.

use serde_json::{Value as Json, json};

use super::PolicyKind;

/// Most lines of `status.exemptionProblems`.
pub const EXEMPTION_PROBLEMS_MAX: usize = 16;

pub(super) fn schema(kind: PolicyKind) -> Json {
    let count = |about: &str| json!({ "type": "integer", "format": "int32", "minimum": 0, "description": about });
    let generation = |about: &str| json!({ "type": "integer", "format": "int64", "minimum": 0, "description": about });
    let mut properties = json!({
        "observedGeneration": generation("The generation of the policy that the rest is about."),
        "inForceGeneration": generation("The generation that counts: an earlier one while the newest cannot be read."),
        "conditions": conditions(),
        "exemptions": {
            "type": "object",
            "description": "How many exemptions there are of each kind.",
            "properties": {
                "active": count("They count."),
                "expiringSoon": count("They count, and their time is nearly over."),
                "expired": count("Their time is over."),
                "unused": count("They count, and no finding was in need of them."),
                "notInForce": count("Locks or bounds of the cluster keep them from counting."),
            },
        },
        "exemptionProblems": {
            "type": "array",
            "description": "What is wrong with exemptions, a line each; the first ones.",
            "maxItems": EXEMPTION_PROBLEMS_MAX,
            "items": { "type": "string" },
            "x-kubernetes-list-type": "atomic",
        },
    });
    if kind.is_cluster() {
        properties["namespacesMatched"] = count("How many namespaces the policy is for.");
    }
    json!({ "type": "object", "description": "What no502 says about the policy.", "properties": properties })
}

/// As for every condition of Kubernetes.
fn conditions() -> Json {
    let text = |max: usize, about: &str| json!({ "type": "string", "maxLength": max, "description": about });
    json!({
        "type": "array",
        "description": "Accepted: every field could be read. Degraded: some of it is not in force. ExemptionsUsed: one of its exemptions was needed, by a write or by an object of the cluster; the message says since when each is in force, and when it was needed last.",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One condition.",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": text(316, "Accepted, Degraded or ExemptionsUsed."),
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it is so." },
                "reason": text(1024, "Why, in a word."),
                "message": text(32768, "Why, in a sentence."),
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "description": "Since when the status is what it is.",
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0, "description": "The generation that it is about.",
                },
            },
        },
    })
}
