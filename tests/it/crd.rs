//! The schema of the policies beside their reader: what the one refuses, the other complains about. Here as far as it goes without
//! an API server, whose part the rules of CEL are; the end-to-end tests hold the same policies against one.

use std::{collections::BTreeSet, fs, path::Path, process::Command, sync::Arc};

use no502::{
    crd, manifest,
    policy::{CLUSTER_KIND, Field, ReadPolicy},
};
use serde_json::{Value, json};

use crate::{
    policy_cases::{limits, refusals},
    policy_published::published,
};

/// Client-side apply keeps a copy of the object in an annotation, and all annotations together may have 256 KiB.
const APPLIED_BYTES_MAX: usize = 128 * 1024;

fn schema(kind: &str) -> Value {
    let [cluster, namespaced] = crd::definitions();
    let definition = if kind == CLUSTER_KIND { cluster } else { namespaced };
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Every part of a schema, with its path.
fn parts<'a>(path: &str, schema: &'a Value, all: &mut Vec<(String, &'a Value)>) {
    all.push((path.to_owned(), schema));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        parts(&format!("{path}.{name}"), property, all);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            parts(&format!("{path}[]"), &schema[below], all);
        }
    }
}

fn each_part(check: impl Fn(&str, &Value)) {
    for definition in crd::definitions() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut all = Vec::new();
        parts(definition["metadata"]["name"].as_str().unwrap(), schema, &mut all);
        assert!(all.len() > 60, "{}", all.len());
        for (path, schema) in all {
            check(&path, schema);
        }
    }
}

#[test]
fn the_command_prints_what_the_manifests_begin_with() {
    let output = Command::new(env!("CARGO_BIN_EXE_no502")).arg("crd").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let (header, definitions) = printed.split_once('\n').unwrap();
    assert!(header.starts_with("# Written by `no502 crd`"), "{header}");
    assert_eq!(definitions, crd::yaml());
    let committed = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/manifests/no502.yaml")).unwrap();
    let (_, begins) = committed.split_once('\n').unwrap();
    assert!(begins.starts_with(&crd::yaml()), "run UPDATE=1 cargo test --test it deploy");
    let read: Vec<Value> = serde_saphyr::from_multiple(&printed).unwrap();
    assert_eq!(read, crd::definitions());
}

#[test]
fn a_definition_is_small_enough_to_be_applied() {
    for definition in crd::definitions() {
        let bytes = definition.to_string().len();
        assert!(bytes < APPLIED_BYTES_MAX, "{bytes} bytes");
    }
}

/// `kubectl explain` has something to say everywhere, and no rule needs more of the API server than it gives.
#[test]
fn every_part_is_described_and_limited() {
    each_part(|path, schema| {
        let of_the_api = ["apiVersion", "kind", "metadata"].iter().any(|it| path.ends_with(&format!("dev.{it}")));
        let is_item = path.ends_with("[]") && schema["type"] != "object";
        let about = schema["description"].as_str().unwrap_or_default();
        assert!(of_the_api || is_item || about.ends_with('.'), "{path}: {about:?}");
        assert!(!about.contains(['\n', '#']) && !about.contains("  ") && !about.contains(".."), "{path}: {about:?}");
        let limit = match schema["type"].as_str() {
            Some("array") => "maxItems",
            Some("string") if schema["enum"].is_null() && !of_the_api => "maxLength",
            Some("object") if schema["additionalProperties"].is_object() => "maxProperties",
            _ => return,
        };
        let is_by_us = path.contains(".status.");
        assert!(is_by_us || schema[limit].is_u64(), "{path} has no {limit}");
        assert!(schema["type"] != "array" || schema["x-kubernetes-list-type"].is_string(), "{path}");
    });
}

/// The API server says of a bare `off` only that a boolean is no string.
#[test]
fn every_word_that_may_be_off_says_how_it_is_written() {
    let found = std::cell::Cell::new(0);
    each_part(|path, schema| {
        let has_off = schema["enum"].as_array().is_some_and(|it| it.contains(&json!("off")));
        let is_said =
            schema["description"].as_str().is_some_and(|it| it.ends_with(" In YAML off needs quotes: \"off\"."));
        assert_eq!(has_off, is_said, "{path}");
        found.set(found.get() + u32::from(has_off));
    });
    assert!(found.get() > 30, "{found:?}");
}

#[test]
fn a_priority_is_the_only_default() {
    each_part(|path, schema| {
        let expected = if path.ends_with(".spec.priority") { json!(0) } else { Value::Null };
        assert_eq!(schema["default"], expected, "{path}");
    });
}

#[test]
fn every_setting_is_there_and_nothing_else() {
    for (kind, is_cluster) in [(CLUSTER_KIND, true), ("RolloutPolicy", false)] {
        let schema = schema(kind);
        let mut all = Vec::new();
        parts("", &schema["properties"]["spec"]["properties"]["settings"], &mut all);
        let leaves =
            all.iter().filter(|(_, it)| it["type"] != "object" && !it["items"].is_null() || it["properties"].is_null());
        let found: BTreeSet<String> =
            leaves.map(|(path, _)| path[1..].to_owned()).filter(|it| !it.ends_with("[]")).collect();
        let settable = Field::all().filter(|it| is_cluster || it.definition().reach != no502::policy::Reach::Cluster);
        let mut expected: BTreeSet<String> = settable.map(|it| it.path().into_owned()).collect();
        expected.insert("injection.preStop.preset".to_owned());
        assert_eq!(found, expected, "{kind}");
    }
}

/// Every message of a rule is one that a refusal of the table ends with, which a real API server then says word for word.
#[test]
fn every_rule_is_broken_by_a_case() {
    let said: Vec<&str> = refusals().iter().flat_map(|it| it.says.clone()).map(|(_, message)| message).collect();
    each_part(|path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str();
            // The words of an expression: every second part between quotes, and not the names of fields.
            let words = rule["messageExpression"].as_str().unwrap_or_default().split('\'').skip(1).step_by(2);
            let words: Vec<&str> = words.filter(|it| it.contains(' ')).collect();
            assert!(message.is_some() || !words.is_empty(), "{path}: {rule}");
            for word in words
                .into_iter()
                .chain(message)
                .filter(|it| it.trim().len() > "atLeast or atMost".len() || message.is_some())
            {
                assert!(said.iter().any(|it| it.contains(word)), "{path}: no case for {word:?}");
            }
        }
    });
}

#[test]
fn the_reader_complains_about_what_is_refused() {
    for refusal in refusals() {
        let problems = ReadPolicy::read(&refusal.policy).unwrap().problems;
        assert_eq!(problems.is_empty(), refusal.is_read, "{}: {problems:?}", refusal.policy);
    }
}

/// Where the reader complains and the schema alone does not, one of its rules has to.
const WHERE_RULES_ARE: [&str; 4] =
    ["spec.bounds[", "spec.settings.injection.readiness.port", "spec.exemptions[", "Selector"];

#[test]
fn reader_and_schema_are_of_one_mind() {
    let (mut refused, mut accepted, mut left_to_rules) = (0, 0, 0);
    for policy in limits() {
        let problems = ReadPolicy::read(&policy).unwrap().problems;
        let mut wrong = Vec::new();
        let schema = schema(policy["kind"].as_str().unwrap());
        violations("spec", &schema["properties"]["spec"], &policy["spec"], &mut wrong);
        if !wrong.is_empty() {
            refused += 1;
            assert!(!problems.is_empty(), "{policy}: refused and read without a complaint: {wrong:?}");
        } else if problems.is_empty() {
            accepted += 1;
        } else {
            left_to_rules += 1;
            let has_rule = problems.iter().all(|it| WHERE_RULES_ARE.iter().any(|place| it.contains(place)));
            assert!(has_rule, "{policy}: stored, and then the reader complains: {problems:?}");
        }
    }
    assert!(refused > 500 && accepted > 300 && left_to_rules > 100, "{refused} {accepted} {left_to_rules}");
}

/// What a structural schema says about a value, without the rules of CEL. Null is absent, but not in a list.
fn violations(path: &str, schema: &Value, value: &Value, wrong: &mut Vec<String>) {
    let is_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        None if schema["x-kubernetes-int-or-string"] == true => value.is_i64() || value.is_string(),
        other => panic!("{path}: {other:?} is new: say what it means"),
    };
    let mut refuse = |is_wrong: bool, what: &str| {
        if is_wrong {
            wrong.push(format!("{path}: {what}"));
        }
    };
    refuse(!is_type, "type");
    let at_most = |key: &str, size: usize| schema[key].as_u64().is_some_and(|max| size as u64 > max);
    refuse(schema["enum"].as_array().is_some_and(|it| !it.contains(value)), "enum");
    if let Some(number) = value.as_i64() {
        refuse(schema["minimum"].as_i64().is_some_and(|min| number < min), "minimum");
        refuse(schema["maximum"].as_i64().is_some_and(|max| number > max), "maximum");
    }
    if let Some(text) = value.as_str() {
        refuse(at_most("maxLength", text.chars().count()), "maxLength");
        refuse(schema["minLength"].as_u64().is_some_and(|min| (text.chars().count() as u64) < min), "minLength");
        // A good part of the format; the API server knows all of it.
        refuse(schema["format"] == "date-time" && !is_date_time(text), "format");
    }
    if let Some(items) = value.as_array() {
        refuse(at_most("maxItems", items.len()), "maxItems");
        let is_set = schema["x-kubernetes-list-type"] == "set";
        refuse(is_set && (1..items.len()).any(|it| items[..it].contains(&items[it])), "duplicate");
        for item in items {
            violations(&format!("{path}[]"), &schema["items"], item, wrong);
        }
    }
    let Some(map) = value.as_object() else { return };
    let mut refuse = |is_wrong: bool, what: &str| {
        if is_wrong {
            wrong.push(format!("{path}: {what}"));
        }
    };
    refuse(at_most("maxProperties", map.len()), "maxProperties");
    let required = schema["required"].as_array().into_iter().flatten();
    required.for_each(|key| refuse(value[key.as_str().unwrap()].is_null(), "required"));
    for (key, value) in map {
        let known = if schema["additionalProperties"].is_object() {
            &schema["additionalProperties"]
        } else {
            &schema["properties"][key]
        };
        if known.is_null() {
            wrong.push(format!("{path}: unknown field {key}"));
        } else if !value.is_null() {
            violations(&format!("{path}.{key}"), known, value, wrong);
        }
    }
}

fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once('T') else { return false };
    let is_date = date.parse::<jiff::civil::Date>().is_ok() && date.len() == "2027-01-31".len();
    let numbers: Vec<u32> = time.get(..8).unwrap_or_default().split(':').filter_map(|it| it.parse().ok()).collect();
    is_date
        && matches!(numbers[..], [hour, minute, second] if hour < 24 && minute < 60 && second < 60)
        && time.len() > 8
}

#[test]
fn what_users_copy_is_read_without_a_complaint() {
    let published = published();
    let mut policies = 0;
    for (place, text) in &published {
        let parsed = manifest::parse(text, &Arc::from(Path::new(place)));
        assert!(parsed.problems.is_empty(), "{place}: {:?}", parsed.problems);
        for document in &parsed.documents {
            let object: Value = serde_json::from_str(document.json()).unwrap();
            if let Some(read) = ReadPolicy::read(&object) {
                assert_eq!(read.problems, [""; 0], "{place}: {object}");
                policies += 1;
            }
        }
    }
    assert!(policies >= 10, "{policies} policies in {} places", published.len());
}
