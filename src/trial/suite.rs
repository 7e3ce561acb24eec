//! The file `policy-test.yaml`: which writes are tried, and what is expected of them.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use serde_json::Value as Json;

use super::{
    SUITE_FILE, World,
    case::{Case, Write},
    compare::{Expect, Origin},
    injected::Injected,
    read::{Node, Reader, quoted, quoted_json},
    world::placed,
};
use crate::{
    facts::DEFAULT_NAMESPACE,
    manifest::{self, Document, Location, Problem},
    nearest::did_you_mean,
    policy::Field,
    rules,
};

/// The kind that the file may say it is.
const KIND: &str = "PolicyTest";

/// Who writes, where a case does not say.
const USER: &str = "jane";

/// A suite, read.
#[derive(Debug)]
pub struct Suite {
    /// What is expected to be wrong with the policies: a piece of each line.
    problems: Vec<String>,
    pub(super) cases: Vec<Case>,
}

/// Something in the file that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {message}")]
pub struct Mistake {
    /// Where.
    pub location: Location,
    /// What, and what to write instead.
    pub message: String,
}

/// The file's one document. A key that is set twice is a mistake, too: one half of what it says would count for nothing.
pub(super) fn document(text: &str, file: &Arc<Path>) -> Result<Document, Vec<Mistake>> {
    let mut parsed = manifest::parse_maps(text, file);
    let mistake = |it: &Problem| Mistake { location: it.location.clone(), message: it.message.clone() };
    let mistakes: Vec<Mistake> = parsed.problems.iter().map(mistake).collect();
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let is_one = parsed.documents.len() == 1 && parsed.skipped == 0;
    parsed.documents.pop().filter(|_| is_one).ok_or_else(|| {
        let location = Location { file: Arc::clone(file), line: 1, column: 1 };
        vec![Mistake { location, message: format!("{SUITE_FILE} is one document with a list of cases") }]
    })
}

/// The namespace of objects that name none.
pub(super) fn namespace(document: &Document) -> String {
    let json: Json = serde_json::from_str(document.json()).unwrap_or_default();
    json["namespace"].as_str().filter(|it| !it.is_empty()).unwrap_or(DEFAULT_NAMESPACE).to_owned()
}

impl Suite {
    pub(super) fn read(
        document: &Document,
        world: &World,
        namespace: &str,
        now: Timestamp,
    ) -> Result<Self, Vec<Mistake>> {
        let json: Json = serde_json::from_str(document.json()).unwrap_or_default();
        let mut reader = SuiteReader { reader: Reader::new(document), world, namespace, now };
        let suite = reader.suite(&Node { json: &json, pointer: String::new() });
        let mistakes = reader.reader.mistakes;
        if mistakes.is_empty() { Ok(suite) } else { Err(mistakes) }
    }

    /// Every problem of the world has to be expected, and every expected one to be there.
    pub(super) fn unexpected_problems(&self, world: &World) -> Vec<String> {
        let is_expected = |text: &str| self.problems.iter().any(|it| text.contains(it));
        let found = world.problems.iter().filter(|it| !is_expected(&it.text)).map(ToString::to_string);
        let is_found = |it: &str| world.problems.iter().any(|problem| problem.text.contains(it));
        let missing = self.problems.iter().filter(|it| !is_found(it));
        found.chain(missing.map(|it| format!("no policy has the expected problem {}", quoted(it)))).collect()
    }
}

struct SuiteReader<'a> {
    reader: Reader<'a>,
    world: &'a World,
    namespace: &'a str,
    now: Timestamp,
}

impl SuiteReader<'_> {
    fn suite(&mut self, root: &Node<'_>) -> Suite {
        let mut suite = Suite { problems: Vec::new(), cases: Vec::new() };
        let known = ["apiVersion", "kind", "now", "namespace", "problems", "cases"];
        let mut cases = None;
        for (key, node) in self.reader.map(root, &known) {
            match key {
                "now" => self.now = self.reader.time(&node).unwrap_or(self.now),
                "namespace" => drop(self.reader.text(&node)),
                "problems" => suite.problems = self.parts_of_texts(&node),
                "cases" => cases = Some(node),
                "kind" if node.json != KIND => {
                    self.reader.wrong(&node.pointer, format!("kind {}: use {KIND}", quoted_json(node.json)));
                }
                _ => {}
            }
        }
        let Some(cases) = cases else {
            if self.reader.mistakes.is_empty() {
                self.reader.wrong("", "there are no cases; write a list `cases`");
            }
            return suite;
        };
        for node in self.reader.list(&cases) {
            let case = self.case(&node);
            if let (Some(case), Some(name)) = (&case, node.json["name"].as_str())
                && suite.cases.iter().any(|it: &Case| it.name == case.name)
            {
                self.reader.wrong(&node.pointer, format!("two cases are named {}", quoted(name)));
            }
            suite.cases.extend(case);
        }
        if suite.cases.is_empty() && self.reader.mistakes.is_empty() {
            self.reader.wrong(&cases.pointer, "the list of cases is empty");
        }
        suite
    }

    fn case(&mut self, node: &Node<'_>) -> Option<Case> {
        let (mut name, mut now, mut write, mut expect) = (None, self.now, None, None);
        let members = self.reader.map(node, &["name", "now", "write", "expect"]);
        let has = |key: &str| members.iter().any(|(it, _)| *it == key);
        let missing: Vec<&str> = ["name", "write", "expect"].into_iter().filter(|it| !has(it)).collect();
        for (key, member) in &members {
            match *key {
                "name" => name = self.reader.text(member),
                "now" => now = self.reader.time(member).unwrap_or(now),
                "write" => write = self.write(member),
                _ => expect = Some(self.expect(member)),
            }
        }
        if !missing.is_empty() {
            self.reader.wrong(&node.pointer, format!("the case has no {}", missing.join(" and no ")));
        }
        let location = self.reader.document.locate(&node.pointer);
        Some(Case { name: name?, location, now, write: write?, expect: expect? })
    }

    fn write(&mut self, node: &Node<'_>) -> Option<Write> {
        let known = ["object", "namespace", "old", "change", "operation", "user", "groups"];
        // An object that stands here itself needs no field around it.
        let is_object = node.json["apiVersion"].is_string() && node.json["kind"].is_string();
        let members = if is_object { Vec::new() } else { self.reader.map(node, &known) };
        let find = |key: &str| members.iter().find(|(it, _)| *it == key).map(|(_, node)| node);
        let namespace = find("namespace").and_then(|it| self.reader.text(it));
        let namespace = namespace.unwrap_or_else(|| self.namespace.to_owned());
        let object = match find("object") {
            _ if is_object => Some(placed(node.json.clone(), &namespace)),
            Some(member) => self.object(member, &namespace),
            None => {
                if self.reader.mistakes.is_empty() {
                    self.reader.wrong(&node.pointer, "nothing is written: give object: Deployment/web, or an object");
                }
                None
            }
        };
        let old = find("old").map(|it| self.object(it, &namespace));
        let change = find("change");
        let operation = find("operation").and_then(|it| self.operation(it));
        let user = find("user").and_then(|it| self.reader.text(it)).unwrap_or_else(|| USER.to_owned());
        let groups = find("groups").map(|it| self.reader.texts(it)).unwrap_or_default();
        let object = object?;
        let implied = if old.is_some() || change.is_some() { "UPDATE" } else { "CREATE" };
        let operation = operation.unwrap_or(implied);
        if object["kind"] == "Pod" && operation != "CREATE" {
            self.reader.wrong(&node.pointer, format!("no502 is asked when a Pod is created, not at its {operation}"));
        }
        let old = match old {
            Some(old) => Some(old?),
            None => (operation != "CREATE").then(|| object.clone()),
        };
        let mut written = object;
        if let Some(change) = change {
            self.change(change, &mut written);
        }
        let object = (operation != "DELETE").then_some(written);
        Some(Write { operation, object, old: old.filter(|_| operation != "CREATE"), user, groups })
    }

    fn operation(&mut self, node: &Node<'_>) -> Option<&'static str> {
        let known = ["CREATE", "UPDATE", "DELETE"].into_iter().find(|it| node.json == it);
        if known.is_none() {
            let text = quoted_json(node.json);
            self.reader.wrong(&node.pointer, format!("{text}: use CREATE, UPDATE or DELETE"));
        }
        known
    }

    /// `Deployment/web` of the world, or an object.
    fn object(&mut self, node: &Node<'_>, namespace: &str) -> Option<Json> {
        if node.json["apiVersion"].is_string() && node.json["kind"].is_string() {
            return Some(placed(node.json.clone(), namespace));
        }
        let text = node.json.as_str().unwrap_or_default();
        let Some((kind, name)) = text.split_once('/') else {
            let found = quoted_json(node.json);
            self.reader.wrong(&node.pointer, format!("{found}: give KIND/NAME of the world, or an object"));
            return None;
        };
        let found = self.world.object(kind, namespace, name).cloned();
        if found.is_none() {
            let names: Vec<String> = self.world.names(namespace).collect();
            let near = did_you_mean(text, names.iter().map(String::as_str));
            self.reader.wrong(
                &node.pointer,
                format!("there is no {} in namespace {namespace} of this world{near}", quoted(text)),
            );
        }
        found
    }

    /// A key that begins with / is a JSON pointer; everything else is a merge patch.
    fn change(&mut self, node: &Node<'_>, object: &mut Json) {
        let Some(map) = node.json.as_object() else {
            let found = quoted_json(node.json);
            self.reader
                .wrong(&node.pointer, format!("{found} is no map; write what `kubectl patch --type merge` takes"));
            return;
        };
        for (key, value) in map {
            if !key.starts_with('/') {
                json_patch::merge(object, &Json::from_iter([(key.clone(), value.clone())]));
                continue;
            }
            if !set(object, key, value) {
                let member = node.below(key, value);
                let help = "write the field that contains it, or a merge patch";
                self.reader.wrong(&member.pointer, format!("there is nothing at {} to change; {help}", quoted(key)));
            }
        }
    }

    fn expect(&mut self, node: &Node<'_>) -> Expect {
        let known = ["allowed", "denied", "warned", "injects", "settings", "provenance", "says", "silent"];
        let mut expect = Expect::default();
        let members = self.reader.map(node, &known);
        if members.is_empty() && self.reader.mistakes.is_empty() {
            self.reader.wrong(&node.pointer, format!("nothing is expected; give {}", known.join(", ")));
        }
        for (key, member) in members {
            match key {
                "allowed" => expect.allowed = self.reader.flag(&member),
                "denied" => expect.denied = Some(self.rules(&member)),
                "warned" => expect.warned = Some(self.rules(&member)),
                "injects" => expect.injects = Some(Injected::read(&member, &mut self.reader)),
                "settings" | "provenance" | "says" if is_empty(member.json) => {
                    self.reader.wrong(&member.pointer, format!("{key} is empty and expects nothing; leave it out"));
                }
                "settings" => expect.settings = self.settings(&member),
                "provenance" => expect.provenance = self.provenance(&member),
                "says" => expect.says = self.parts_of_texts(&member),
                _ => expect.is_silent = self.reader.flag(&member),
            }
        }
        expect
    }

    /// An empty one is a part of every text.
    fn parts_of_texts(&mut self, node: &Node<'_>) -> Vec<String> {
        for item in self.reader.list(node).iter().filter(|it| it.json == "") {
            self.reader
                .wrong(&item.pointer, "an empty text is in every text; write a part of the one that is expected");
        }
        self.reader.texts(node)
    }

    fn rules(&mut self, node: &Node<'_>) -> Vec<String> {
        let mut ids = Vec::new();
        for item in self.reader.list(node) {
            let Some(id) = self.reader.text(&item) else { continue };
            if rules::find(&id).is_none() {
                let near = did_you_mean(&id, rules::ALL.iter().map(|it| it.id));
                self.reader.wrong(&item.pointer, format!("there is no rule {}{near}", quoted(&id)));
            }
            ids.push(id);
        }
        ids.sort_unstable();
        ids
    }

    fn field(&mut self, path: &str, node: &Node<'_>) -> Option<Field> {
        let field = Field::at(path);
        if field.is_none() {
            let known: Vec<_> = Field::all().map(Field::path).collect();
            let near = did_you_mean(path, known.iter().map(AsRef::as_ref));
            self.reader.wrong(&node.pointer, format!("there is no setting {}{near}", quoted(path)));
        }
        field
    }

    /// A value of null stands for a setting that nobody has set.
    fn settings(&mut self, node: &Node<'_>) -> Vec<(Field, Json)> {
        let Some(map) = node.json.as_object() else {
            self.reader.wrong(&node.pointer, "settings is a map from path to value");
            return Vec::new();
        };
        let mut settings = Vec::new();
        for (path, json) in map {
            let member = node.below(path, json);
            let Some(field) = self.field(path, &member) else { continue };
            let value = if json.is_null() { Some(Json::Null) } else { field.read(json).map(|it| it.to_json()) };
            if let Some(value) = value {
                settings.push((field, value));
            } else {
                let allowed = field.definition().shape.allowed();
                self.reader.wrong(&member.pointer, format!("{}: use {allowed}", quoted_json(json)));
            }
        }
        settings
    }

    fn provenance(&mut self, node: &Node<'_>) -> Vec<(Field, Origin)> {
        let mut origins = Vec::new();
        for (path, member) in self.reader.any_map(node) {
            let Some(field) = self.field(path, &member) else { continue };
            if let Some(origin) = member.json.as_str().and_then(Origin::read) {
                origins.push((field, origin));
            } else {
                let known = "built in, Flag, Namespace, Workload, ClusterRolloutPolicy NAME or RolloutPolicy NAME";
                self.reader.wrong(&member.pointer, format!("{}: use {known}", quoted_json(member.json)));
            }
        }
        origins
    }
}

fn is_empty(json: &Json) -> bool {
    json.as_object().is_some_and(serde_json::Map::is_empty) || json.as_array().is_some_and(Vec::is_empty)
}

/// Puts a value at a JSON pointer, or takes out what is there; false if its parent is not there.
fn set(object: &mut Json, pointer: &str, value: &Json) -> bool {
    let Some((parent, member)) = pointer.rsplit_once('/') else { return false };
    let member = member.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent) {
        Some(Json::Object(map)) if value.is_null() => drop(map.remove(&member)),
        Some(Json::Object(map)) => drop(map.insert(member, value.clone())),
        Some(Json::Array(items)) if member == "-" => items.push(value.clone()),
        Some(Json::Array(items)) => match member.parse::<usize>().ok().and_then(|it| items.get_mut(it)) {
            Some(item) => *item = value.clone(),
            None => return false,
        },
        _ => return false,
    }
    true
}
