//! `spec`: the fields of a policy, its selector, its exemptions.

use serde_json::{Value as Json, json};

use super::{PolicyKind, bounds, cel_list, rule, rule_saying, settings};
use crate::{
    policy::{EXEMPTIONS_MAX, LABEL_CHARS_MAX, PREFIX_CHARS_MAX, PRIORITY_MAX, REASON_CHARS_MAX},
    rule::{Check, Rule},
    rules,
};

/// Longest name of an object, in characters. A pattern that is longer than every name fits none.
const NAME_CHARS_MAX: usize = 253;
/// Longest name of a container, in characters.
const CONTAINER_CHARS_MAX: usize = 63;
/// Longest key of a label: a name, a slash, a label.
const KEY_CHARS_MAX: usize = PREFIX_CHARS_MAX + 1 + LABEL_CHARS_MAX;
/// A label's value, or the name in its key, for CEL.
const LABEL: &str = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?";
/// The prefix of a label's key.
const PREFIX: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
/// Most requirements of a selector, and most values of one: more than anybody writes, and few enough for the API server's budget.
const REQUIREMENTS_MAX: usize = 32;
const VALUES_MAX: usize = 64;

pub(super) fn schema(kind: PolicyKind) -> Json {
    let mut properties = json!({
        "priority": {
            "type": "integer",
            "default": 0,
            "minimum": -PRIORITY_MAX,
            "maximum": PRIORITY_MAX,
            "description": "Of two policies that set one thing the one of higher priority counts; of equal priority the one whose name \
                            comes first.",
        },
        "settings": settings::schema(kind),
        "exemptions": exemptions(),
    });
    let selector_name = if kind.is_cluster() { "namespaceSelector" } else { "workloadSelector" };
    properties[selector_name] = selector(kind);
    let mut schema = json!({ "type": "object", "description": "What the policy says." });
    if kind.is_cluster() {
        properties["bounds"] = bounds::schema();
        properties["locked"] = bounds::locked();
    } else {
        // The reader leaves them out and says so.
        let alone = "!has(self.workloadSelector) || !has(self.exemptions) || self.exemptions.size() == 0";
        let message = "exemptions have targets of their own: move them to a RolloutPolicy without a workloadSelector";
        schema["x-kubernetes-validations"] = json!([rule(alone, message)]);
    }
    schema["properties"] = properties;
    schema
}

/// What no label can be is refused, as by the reader. A selector of so many labels that the rules would be too dear is refused here
/// alone: nobody writes one.
fn selector(kind: PolicyKind) -> Json {
    let about = if kind.is_cluster() {
        "The namespaces that the policy is for, by their labels; all if it is empty or missing. The label kubernetes.io/metadata.name \
         selects by name."
    } else {
        "The workloads that the policy is for, by their labels; all of the namespace if it is missing."
    };
    let value = json!({
        "type": "string",
        "maxLength": LABEL_CHARS_MAX,
        "x-kubernetes-validations": [rule(
            format!("self.matches('^({LABEL})?$')"),
            "a value of a label has letters and digits, and between them also -, _ and .",
        )],
    });
    let is_key = |it: &str| format!("{it}.matches('^({PREFIX}/)?{LABEL}$') && {it}.indexOf('/') <= {PREFIX_CHARS_MAX}");
    let key_message = format!(
        "a key of a label is NAME or PREFIX/NAME, such as example.com/team; a name has at most {LABEL_CHARS_MAX} letters and digits, \
         and between them also -, _ and .; a prefix is a domain in lower case"
    );
    let needs_values = "self.operator in ['In', 'NotIn']";
    let message = format!(
        "{needs_values} ? self.operator + ' needs values' : self.operator + ' takes no values: leave them out'"
    );
    json!({
        "type": "object",
        "description": about,
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels, each with the value that it has to have.",
                "maxProperties": REQUIREMENTS_MAX,
                "additionalProperties": value,
                "x-kubernetes-validations": [rule(format!("self.all(key, {})", is_key("key")), key_message.as_str())],
            },
            "matchExpressions": {
                "type": "array",
                "description": "Requirements, all of which have to be met.",
                "maxItems": REQUIREMENTS_MAX,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "description": "A requirement on one label.",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": KEY_CHARS_MAX,
                            "description": "The key of the label.",
                            "x-kubernetes-validations": [rule(is_key("self"), key_message.as_str())],
                        },
                        "operator": {
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                            "description": "Whether the label's value is one of values, is none of them, or the label is there or not.",
                        },
                        "values": {
                            "type": "array",
                            "description": "The values, for In and NotIn.",
                            "maxItems": VALUES_MAX,
                            "x-kubernetes-list-type": "atomic",
                            "items": value,
                        },
                    },
                    "x-kubernetes-validations": [rule_saying(
                        format!("({needs_values}) == (has(self.values) && self.values.size() > 0)"),
                        message,
                    )],
                },
            },
        },
    })
}

/// A list that one manager owns as a whole: an exemption is known by its place.
fn exemptions() -> Json {
    let ids: Vec<&str> = rules::ALL.iter().map(|it| it.id).collect();
    let has_links = |it: &Rule| matches!(it.check, Check::Link(_));
    let about_pods: Vec<&Rule> = rules::ALL.iter().copied().filter(|it| !has_links(it)).collect();
    let with_pods = about_pods.first().map(|it| it.kinds()).unwrap_or_default();
    let about_pods: Vec<&str> = about_pods.iter().map(|it| it.id).collect();
    json!({
        "type": "array",
        "description": "Findings that are known and accepted for a time: they warn instead of denying.",
        "maxItems": EXEMPTIONS_MAX,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "description": "One accepted finding.",
            "required": ["rule", "target", "reason", "expires"],
            "properties": {
                "rule": { "type": "string", "enum": ids, "description": "The rule that the finding is of." },
                "target": target(),
                "reason": reason(),
                "expires": expires(),
            },
            "x-kubernetes-validations": [rule_saying(
                format!(
                    "!(self.rule in {}) || self.target.kind in {}",
                    cel_list(&about_pods),
                    cel_list(with_pods)
                ),
                "self.rule + ' is about what has pods, not about a ' + self.target.kind + ': give a kind such as Deployment'",
            )],
        },
    })
}

fn target() -> Json {
    let mut kinds: Vec<&str> = Vec::new();
    for kind in rules::ALL.iter().flat_map(|it| it.kinds()) {
        if !kinds.contains(kind) {
            kinds.push(kind);
        }
    }
    json!({
        "type": "object",
        "description": "The objects that the finding is about.",
        "required": ["kind", "name"],
        "x-kubernetes-validations": [rule_saying(
            "!has(self.container) || !(self.kind in ['Service', 'Ingress'])".to_owned(),
            "'container: a ' + self.kind + ' has no containers; leave it out'",
        )],
        "properties": {
            "kind": {
                "type": "string",
                "enum": kinds,
                "description": "The kind of the object that is written.",
            },
            "name": {
                "type": "string",
                "minLength": 1,
                "maxLength": NAME_CHARS_MAX,
                "description": "The name of the object; * stands for any letters, ? for one.",
            },
            "container": {
                "type": "string",
                "minLength": 1,
                "maxLength": CONTAINER_CHARS_MAX,
                "description": "The container that the finding is about; any if it is missing.",
            },
        },
    })
}

/// The reader shortens what is too long; here is somebody who can write it shorter.
fn reason() -> Json {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": REASON_CHARS_MAX,
        "description": "Why this is accepted. Warnings and Events repeat it.",
        "x-kubernetes-validations": [rule("self.trim() != ''", "say why this is accepted")],
    })
}

/// Times are written as everywhere in the API (RFC 3339), though the reader knows more ways. The last year is the last one of
/// which the reader knows every moment.
fn expires() -> Json {
    json!({
        "type": "string",
        "format": "date-time",
        "maxLength": 64,
        // The format takes +01:60 for an offset. Everything else is left to the format: its message is the better one.
        "pattern": "(^.{0,2}|[^:]..|:[^6-9].|:.[^0-9])$",
        "description": "From then on the exemption does not count, such as 2027-01-31T00:00:00Z.",
        "x-kubernetes-validations": [rule("self < timestamp('9999-01-01T00:00:00Z')", "use a year before 9999")],
    })
}
