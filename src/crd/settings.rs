//! `spec.settings`: a tree made of the paths of [`DEFINITIONS`], and a property for every rule's action.

use serde_json::{Map, Value as Json, json};

use super::{PolicyKind, rule};
use crate::{
    policy::{Field, InjectionSettings, Preset, Reach, SLEEP_SECONDS_MAX, Shape, TemplateKind, built_in},
    rules,
};

/// What the objects between `settings` and the settings are for.
const GROUPS: [(&str, &str); 5] = [
    ("actions", "What findings of a rule lead to, by rule, instead of what the profile says."),
    ("injection", "What is put into pod templates."),
    ("injection.preStop", "The sleep that a container gets, so that it serves on until nothing sends to it any more."),
    (
        "injection.gracePeriod",
        "How far terminationGracePeriodSeconds is raised, so that the sleep takes no time from the application.",
    ),
    ("injection.readiness", "The readiness probe that a container gets."),
];

pub(super) fn schema(kind: PolicyKind) -> Json {
    let mut settings =
        json!({ "type": "object", "description": "What is set. What is not here comes from the level below." });
    let can_set = |field: Field| kind.is_cluster() || field.definition().reach != Reach::Cluster;
    for field in Field::all().filter(|it| can_set(*it)) {
        *place(&mut settings, &field.path()) = setting(field);
    }
    *place(&mut settings, "injection.preStop.preset") = preset();
    settings
}

/// The place of a path in the tree; the objects above it are made.
fn place<'a>(settings: &'a mut Json, path: &str) -> &'a mut Json {
    let ends = path.match_indices('.').map(|(end, _)| end);
    // The ids of rules have no dots in them.
    let mut node = settings;
    let mut begin = 0;
    for end in ends {
        node = &mut node["properties"][&path[begin..end]];
        if node.is_null() {
            *node = group(&path[..end]);
        }
        begin = end + 1;
    }
    &mut node["properties"][&path[begin..]]
}

fn group(path: &str) -> Json {
    let about = GROUPS.iter().find(|(group, _)| *group == path).map(|(_, about)| *about);
    described(json!({ "type": "object" }), about.unwrap_or_default())
}

fn setting(field: Field) -> Json {
    let definition = field.definition();
    let mut about = match field.rule() {
        Some(id) => about_rule(id),
        None => definition.about.to_owned(),
    };
    if let Some(value) = built_in(field, &InjectionSettings::default()) {
        about = format!("{about} Built in: {value}.");
    }
    if let Shape::Word(words) = definition.shape {
        about.push_str(off_hint(words));
    }
    described(shape(definition.shape), &about)
}

/// A bare `off` never gets as far as a rule: the API server says that a boolean is no string.
pub(super) fn off_hint(words: &[&str]) -> &'static str {
    if words.contains(&"off") { " In YAML off needs quotes: \"off\"." } else { "" }
}

/// The first sentence of its manual page, without the list that may follow.
fn about_rule(id: &str) -> String {
    let docs = rules::find(id).map(|it| it.docs).unwrap_or_default();
    let lines = docs.lines().map(str::trim).skip_while(|it| it.is_empty() || it.starts_with('#'));
    let paragraph = lines.take_while(|it| !it.is_empty()).collect::<Vec<_>>().join(" ");
    let end = [". ", ": - "].into_iter().filter_map(|it| paragraph.find(it)).min().unwrap_or(paragraph.len());
    format!("{}.", paragraph[..end].trim_end_matches('.'))
}

fn described(mut schema: Json, about: &str) -> Json {
    schema["description"] = json!(about);
    schema
}

/// The schema of what a setting may say.
fn shape(shape: Shape) -> Json {
    match shape {
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Number { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Sleep => json!({ "type": "integer", "minimum": 0, "maximum": SLEEP_SECONDS_MAX }),
        Shape::Word(words) => json!({ "type": "string", "enum": words }),
        Shape::Kinds => {
            let kinds: Vec<&str> = TemplateKind::ALL.iter().map(|it| it.name()).collect();
            set(json!({ "type": "string", "enum": kinds }), kinds.len())
        }
        Shape::Port => port(shape),
        Shape::Names { max, chars_max, .. } => {
            set(json!({ "type": "string", "minLength": 1, "maxLength": chars_max }), max)
        }
    }
}

/// A list that two managers may each add to. Not of the reader, which takes an item that is there twice for one: the API server
/// merges lists of different items only.
pub(super) fn set(items: Json, max: usize) -> Json {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("array"));
    schema.insert("items".to_owned(), items);
    schema.insert("maxItems".to_owned(), json!(max));
    schema.insert("x-kubernetes-list-type".to_owned(), json!("set"));
    Json::Object(schema)
}

/// Digits are a number to the reader, as they are in YAML. A plus before them is refused here alone: nobody means it.
fn port(shape: Shape) -> Json {
    let number = "self >= 1 && self <= 65535";
    let digits = "self.matches('^[0-9]{1,15}$') && int(self) >= 1 && int(self) <= 65535";
    let text = format!("self.matches('^-?[0-9]+$') ? {digits} : self.matches('^[a-z0-9-]{{1,15}}$')");
    let message = format!("use {}: at most 15 of a-z, 0-9 and -", shape.allowed());
    json!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 15,
        "x-kubernetes-validations": [rule(format!("type(self) == int ? {number} : ({text})"), message)],
    })
}

fn preset() -> Json {
    let names: Vec<&str> = Preset::ALL.iter().map(|it| it.name()).collect();
    let seconds: Vec<String> = Preset::ALL.iter().map(|it| format!("{} {}", it.name(), it.sleep_seconds())).collect();
    let about = format!(
        "The sleep by what sends to the pods, in seconds: {}. sleepSeconds beside it counts instead.",
        seconds.join(", ")
    );
    described(json!({ "type": "string", "enum": names }), &about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::DEFINITIONS;

    #[test]
    fn every_object_between_has_a_description() {
        for (path, about) in GROUPS {
            assert_eq!(
                *place(&mut schema(PolicyKind::Namespaced), path),
                *place(&mut schema(PolicyKind::Cluster), path),
                "{path}"
            );
            assert_eq!(place(&mut schema(PolicyKind::Cluster), path)["description"], about);
        }
        let above = DEFINITIONS.iter().filter_map(|it| it.path.rsplit_once('.')).map(|(above, _)| above);
        for path in above {
            assert!(GROUPS.iter().any(|(group, _)| *group == path), "{path}: say in GROUPS what it is for");
        }
    }
}
