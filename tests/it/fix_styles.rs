//! Manifests in every style that YAML allows, at random: the edits of `no502 fix` take each of them, only put things in, and give
//! the text back byte for byte.

use std::{fmt::Write as _, path::Path, sync::Arc};

use no502::{
    facts::Facts,
    fix::{Change, Direction, Edited, edit},
    inject::{Candidate, inject, undo},
    manifest::{self, Document},
    policy::Policies,
    snapshot::Store,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Decides by a tape of random bytes; an empty tape decides for the first choice.
struct Tape<'a>(std::slice::Iter<'a, u8>);

impl Tape<'_> {
    fn pick(&mut self, choices: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % choices
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.pick(times) == times - 1
    }
}

/// A writer of YAML that is never twice of the same mind.
struct Writer<'a> {
    tape: Tape<'a>,
    out: String,
    /// The last line is of a block scalar: a comment that is indented too deep would be a part of it.
    in_scalar: bool,
}

impl Writer<'_> {
    fn line_end(&mut self) {
        if self.tape.once_in(6) {
            self.out.push_str("  # why");
        }
        self.out.push('\n');
        self.in_scalar = false;
    }

    /// Comments and blank lines between members.
    fn between(&mut self, indent: usize) {
        if self.tape.once_in(8) {
            self.out.push('\n');
        }
        if self.tape.once_in(8) {
            let more = if self.in_scalar { 0 } else { self.tape.pick(3) };
            writeln!(self.out, "{}# note: {{a: 1}}", " ".repeat(indent + more)).unwrap();
        }
    }

    fn key(&mut self, key: &str) {
        let text = match self.tape.pick(8) {
            6 => format!("\"{key}\""),
            7 => format!("'{key}'"),
            _ => key.to_owned(),
        };
        self.out.push_str(&text);
    }

    /// A map by indentation, the first line of which has begun already.
    fn block_map(&mut self, map: &Map<String, Value>, indent: usize) {
        let members: Vec<_> = map.iter().collect();
        let first = self.tape.pick(members.len());
        for (index, (key, value)) in members.iter().cycle().skip(first).take(members.len()).enumerate() {
            if index > 0 {
                self.between(indent);
                self.out.push_str(&" ".repeat(indent));
            }
            self.key(key);
            self.out.push(':');
            self.member(value, indent);
        }
    }

    /// What stands behind the colon.
    fn member(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(map) if !map.is_empty() && !self.tape.once_in(4) => {
                let indent = indent + 1 + self.tape.pick(5);
                self.line_end();
                self.between(indent);
                self.out.push_str(&" ".repeat(indent));
                self.block_map(map, indent);
            }
            Value::Array(items) if !items.is_empty() && !self.tape.once_in(4) => {
                let indent = indent + self.tape.pick(4);
                self.line_end();
                self.block_list(items, indent);
            }
            Value::String(text) if self.tape.once_in(6) => self.block_scalar(text, indent),
            other => {
                self.out.push(' ');
                self.flow(other, indent);
                self.line_end();
            }
        }
    }

    fn block_list(&mut self, items: &[Value], indent: usize) {
        for item in items {
            self.between(indent);
            let gap = 1 + self.tape.pick(3);
            write!(self.out, "{}-{}", " ".repeat(indent), " ".repeat(gap)).unwrap();
            match item {
                Value::Object(map) if !map.is_empty() && !self.tape.once_in(5) => {
                    self.block_map(map, indent + 1 + gap);
                }
                other => {
                    self.flow(other, indent + 1);
                    self.line_end();
                }
            }
        }
    }

    fn block_scalar(&mut self, text: &str, indent: usize) {
        let header = [" |-", " >-"][self.tape.pick(2)];
        let indent = " ".repeat(indent + 1 + self.tape.pick(3));
        writeln!(self.out, "{header}\n{indent}{text}").unwrap();
        if self.tape.once_in(3) {
            self.out.push('\n');
        }
        self.in_scalar = true;
    }

    /// A value on one line, or in brackets over several.
    fn flow(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(map) => {
                let style = self.tape.pick(6);
                let members: Vec<String> = map
                    .iter()
                    .map(|(key, value)| {
                        let value = self.inner(value, indent);
                        if style == 1 { format!("\"{key}\": {value}") } else { format!("{key}: {value}") }
                    })
                    .collect();
                self.brackets("{", "}", &members, indent, style);
            }
            Value::Array(items) => {
                let style = self.tape.pick(6);
                let items: Vec<String> = items.iter().map(|value| self.inner(value, indent)).collect();
                self.brackets("[", "]", &items, indent, style);
            }
            Value::String(text) => {
                let quote = ["", "'", "\""][self.tape.pick(3)];
                write!(self.out, "{quote}{text}{quote}").unwrap();
            }
            other => self.out.push_str(&other.to_string()),
        }
    }

    /// A value in brackets as a text of its own; the tape goes on behind it.
    fn inner(&mut self, value: &Value, indent: usize) -> String {
        let around = std::mem::take(&mut self.out);
        self.flow(value, indent + 2);
        std::mem::replace(&mut self.out, around)
    }

    fn brackets(&mut self, open: &str, close: &str, parts: &[String], indent: usize, style: usize) {
        let (inner, outer) = (" ".repeat(indent + 3), " ".repeat(indent + 1));
        let text = match style {
            2 if !parts.is_empty() => format!("{open} {} {close}", parts.join(", ")),
            3 if !parts.is_empty() => format!("{open}\n{inner}{}\n{outer}{close}", parts.join(&format!(",\n{inner}"))),
            4 if !parts.is_empty() => {
                format!("{open}\n{inner}{},\n{outer}{close}", parts.join(&format!(", # c\n{inner}")))
            }
            5 if !parts.is_empty() => format!("{open}{}{close}", parts.join(&format!(",\n{inner}"))),
            _ => format!("{open}{}{close}", parts.join(", ")),
        };
        self.out.push_str(&text);
    }
}

/// A Deployment with the parts that `parts` says.
fn deployment(parts: u8) -> Value {
    let has = |bit: u8| parts & (1 << bit) != 0;
    let mut web =
        json!({ "name": "web", "image": "web", "ports": [{ "containerPort": 8080 }], "args": ["run", "fast"] });
    let mut template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": {} });
    if has(0) {
        web["lifecycle"] = json!({ "postStart": { "exec": { "command": ["warm"] } } });
    }
    if has(1) {
        template["metadata"]["annotations"] = json!({ "team": "shop" });
    }
    if has(2) {
        template["spec"]["terminationGracePeriodSeconds"] = json!(20);
    }
    if has(3) {
        template["spec"]["volumes"] = json!([{ "name": "data", "emptyDir": {} }]);
    }
    let mut containers = vec![web];
    if has(4) {
        containers.push(json!({ "name": "log" }));
    }
    template["spec"]["containers"] = containers.into();
    let mut metadata = json!({ "name": "web" });
    if has(5) {
        metadata["annotations"] = json!({ "no502.dev/readiness": "inject" });
    }
    let spec = json!({ "selector": { "matchLabels": { "app": "web" } }, "template": template });
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec })
}

fn written(object: &Value, tape: &[u8]) -> String {
    let mut writer = Writer { tape: Tape(tape.iter()), out: String::new(), in_scalar: false };
    let prefix = ["", "---\n", "# head\n\n", "kind: Values\n---\n# doc\n"][writer.tape.pick(4)];
    writer.out.push_str(prefix);
    writer.block_map(object.as_object().unwrap(), 0);
    let suffix = ["", "", "\n# end\n", "---\nleft: alone\n", "...\n"][writer.tape.pick(5)];
    let (has_crlf, is_unended, has_mark) = (writer.tape.once_in(4), writer.tape.once_in(4), writer.tape.once_in(6));
    let mut text = writer.out + suffix;
    if is_unended {
        text.truncate(text.trim_end_matches('\n').len());
    }
    if has_crlf {
        text = text.replace('\n', "\r\n");
    }
    if has_mark { format!("\u{FEFF}{text}") } else { text }
}

/// The edited text; the reason if it was refused; `None` if there was nothing to do.
fn edited(text: &str, direction: Direction) -> Option<Result<String, String>> {
    let parsed = manifest::parse(text, &Arc::from(Path::new("web")));
    assert!(parsed.problems.is_empty(), "{:?}\n{text}", parsed.problems);
    let documents: Vec<&Document> = parsed.documents.iter().collect();
    let [document] = documents.as_slice() else { panic!("{} documents\n{text}", documents.len()) };
    let Ok(Facts::Workload(workload)) = Facts::read(document.json()).map(Facts::in_default_namespace) else {
        panic!("no workload\n{text}");
    };
    let mut store = Store::complete();
    store.set_server_minor(Some(36));
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] } });
    store.apply(Facts::read(&service.to_string()).unwrap().in_default_namespace());
    let snapshot = store.snapshot();
    let patch = match direction {
        Direction::In => {
            let candidate = Candidate { old: None, new: &workload, template_is_unchanged: false };
            inject(candidate, &snapshot, &Policies::default()).patch
        }
        Direction::Out => undo(&workload).unwrap(),
    }?;
    let Edited { text, refused } =
        edit(document.source(), &documents, &[Change { index: 0, patch: &patch }], direction);
    Some(match refused.first() {
        Some((_, refusal)) => Err(refusal.to_string()),
        None => Ok(text),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_style_can_be_edited_and_edited_back(parts in 0_u8..64, tape in prop::collection::vec(any::<u8>(), 0..400)) {
        let object = deployment(parts);
        let text = written(&object, &tape);
        let fixed = edited(&text, Direction::In).unwrap_or_else(|| panic!("nothing to do\n{text}"));
        let fixed = fixed.unwrap_or_else(|reason| panic!("refused: {reason}\n{text}"));
        prop_assert!(edited(&fixed, Direction::In).is_none(), "a second run wants more\n{fixed}");
        let undone = edited(&fixed, Direction::Out).expect("something to take out");
        let undone = undone.unwrap_or_else(|reason| panic!("undo refused: {reason}\n{fixed}"));
        prop_assert_eq!(undone, text);
    }

    #[test]
    fn json_keeps_its_form(parts in 0_u8..64, indent in 0_usize..5) {
        let object = deployment(parts);
        let text = if indent == 0 { object.to_string() } else { pretty(&object, indent) };
        let fixed = edited(&text, Direction::In).expect("something to do").unwrap();
        let value: Value = serde_json::from_str(&fixed).expect("JSON");
        if indent > 0 {
            // New members come last, and this reader sorts them: the lines are the same in another order.
            let sorted = |text: &str| {
                let mut lines: Vec<String> = text.lines().map(|it| it.trim_end_matches(',').to_owned()).collect();
                lines.sort();
                lines
            };
            prop_assert_eq!(sorted(&fixed), sorted(&pretty(&value, indent)));
        } else {
            prop_assert_eq!(fixed.len(), value.to_string().len());
        }
        prop_assert_eq!(edited(&fixed, Direction::Out).expect("something to take out").unwrap(), text);
    }
}

fn pretty(value: &Value, indent: usize) -> String {
    let indent = if indent == 3 { "\t".to_owned() } else { " ".repeat(indent) };
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).unwrap();
    String::from_utf8(bytes).unwrap()
}
