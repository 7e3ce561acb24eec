//! `spec.bounds` and `spec.locked`: which settings there are to bound and lock, and the rules about what bounds them.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{
    cel_list, rule, rule_saying,
    settings::{off_hint, set},
};
use crate::policy::{EXEMPTION_DAYS, EXEMPTION_DAYS_MAX, EXEMPTIONS, Field, SLEEP_SECONDS_MAX, Shape};

/// Settings that have their values in common.
#[derive(Debug, Default)]
struct Groups {
    /// By the least and the most.
    numbers: BTreeMap<(i64, i64), Vec<&'static str>>,
    /// By the words, the weakest first.
    words: BTreeMap<&'static [&'static str], Vec<&'static str>>,
}

impl Groups {
    fn new() -> Self {
        let mut groups = Self::default();
        for field in Field::all().filter(|it| it.can_be_bounded()) {
            let definition = field.definition();
            match definition.shape {
                Shape::Number { min, max } => groups.numbers.entry((min, max)).or_default().push(definition.path),
                Shape::Sleep => groups.numbers.entry((0, SLEEP_SECONDS_MAX)).or_default().push(definition.path),
                Shape::Word(words) => groups.words.entry(words).or_default().push(definition.path),
                // Without an order.
                Shape::Flag | Shape::Kinds | Shape::Port | Shape::Names { .. } => {}
            }
        }
        groups
    }
}

/// There is one way to say a bound, and all of it counts: each setting is bounded once, a number by `min` and `max`, a word by
/// `atLeast` and `atMost`.
pub(super) fn schema() -> Json {
    let groups = Groups::new();
    let mut words: Vec<&str> = groups.words.keys().flat_map(|it| it.iter().copied()).collect();
    words.sort_unstable();
    words.dedup();
    let end = |about: &str, schema: Json| {
        let mut schema = schema;
        let hint = if schema["enum"].is_array() { off_hint(&words) } else { "" };
        schema["description"] = json!(format!("{about}{hint}"));
        schema
    };
    let mut fields: Vec<&str> = Field::all().filter(|it| it.can_be_bounded()).map(|it| it.definition().path).collect();
    fields.push(EXEMPTION_DAYS);
    let number = json!({ "type": "integer" });
    let word = json!({ "type": "string", "enum": words });
    json!({
        "type": "array",
        "description": "What namespaces and workloads may set: a value beyond a bound counts as the bound. Of two policies with a \
                        bound for one setting the tighter one holds.",
        "maxItems": fields.len(),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["field"],
        "items": {
            "type": "object",
            "description": "The least and the most that one setting may be: min and max for a number, atLeast and atMost for a word.",
            "required": ["field"],
            "properties": {
                "field": {
                    "type": "string",
                    "enum": fields,
                    "description": format!(
                        "The setting, by its path below spec.settings; or {EXEMPTION_DAYS}, whose max is the most days from now \
                         until an exemption of a namespace may end."
                    ),
                },
                "min": end("The least that a number may be.", number.clone()),
                "max": end("The most that a number may be.", number),
                "atLeast": end("The weakest word that may be set.", word.clone()),
                "atMost": end("The strongest word that may be set.", word),
            },
            "x-kubernetes-validations": rules(&groups),
        },
    })
}

fn rules(groups: &Groups) -> Vec<Json> {
    let words: Vec<&str> = groups.words.values().flatten().copied().collect();
    let has_words = format!("self.field in {}", cel_list(&words));
    let mut rules = vec![
        rule_saying(
            format!("({has_words}) || !(has(self.atLeast) || has(self.atMost))"),
            "self.field + ' is a number: use min and max instead of atLeast and atMost'",
        ),
        rule_saying(
            format!("!({has_words}) || !(has(self.min) || has(self.max))"),
            "self.field + ' is a word: use atLeast and atMost instead of min and max'",
        ),
        rule_saying(
            "has(self.min) || has(self.max) || has(self.atLeast) || has(self.atMost)",
            format!(
                "self.field + ' is not bounded: give ' + ({has_words} ? 'atLeast or atMost' : \
                 self.field == '{EXEMPTION_DAYS}' ? 'max' : 'min or max')"
            ),
        ),
        rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "nothing is left between min and max: give a min that is no more than the max",
        ),
        rule(
            format!(
                "self.field != '{EXEMPTION_DAYS}' || (!has(self.min) && \
                 (!has(self.max) || (self.max >= 1 && self.max <= {EXEMPTION_DAYS_MAX})))"
            ),
            format!("{EXEMPTION_DAYS} has no min, and a max of 1 to {EXEMPTION_DAYS_MAX} days"),
        ),
    ];
    for ((least, most), fields) in &groups.numbers {
        let within = |end: &str| format!("(!has(self.{end}) || (self.{end} >= {least} && self.{end} <= {most}))");
        rules.push(rule_saying(
            format!("!(self.field in {}) || ({} && {})", cel_list(fields), within("min"), within("max")),
            format!("self.field + ' can be {least} to {most}: give a min and a max among them'"),
        ));
    }
    for (words, fields) in &groups.words {
        let is_one = format!("self.field in {}", cel_list(fields));
        let known = |end: &str| format!("(!has(self.{end}) || self.{end} in {})", cel_list(words));
        let message = format!("can be {}", words.join(", "));
        rules.push(rule_saying(
            format!("!({is_one}) || ({} && {})", known("atLeast"), known("atMost")),
            format!("self.field + ' {message}: use one of them'"),
        ));
        rules.push(rule_saying(
            format!("!({is_one}) || !has(self.atLeast) || !has(self.atMost) || {}", ordered(words)),
            format!("'nothing is left between atLeast and atMost: ' + self.field + ' {message}, the weakest first'"),
        ));
    }
    rules
}

/// That the weakest word is no stronger than the strongest one. Pair by pair: the search for a place in a list is beyond the API
/// server's budget.
fn ordered(words: &[&str]) -> String {
    let pairs = words.iter().enumerate().skip(1);
    let pairs = pairs
        .map(|(place, least)| format!("!(self.atLeast == '{least}' && self.atMost in {})", cel_list(&words[..place])));
    format!("({})", pairs.collect::<Vec<_>>().join(" && "))
}

/// What can be kept from namespaces and workloads.
pub(super) fn locked() -> Json {
    let mut paths: Vec<String> = Field::all().map(|it| it.path().into_owned()).collect();
    paths.extend(Field::GROUPS.map(str::to_owned));
    paths.push(EXEMPTIONS.to_owned());
    let count = paths.len();
    let mut schema = set(json!({ "type": "string", "enum": paths }), count);
    schema["description"] = json!(format!(
        "Settings that namespaces and workloads cannot change, by their paths below spec.settings; the path of an object, such \
         as injection, stands for all in it, and {EXEMPTIONS} for those of namespaces."
    ));
    schema
}
