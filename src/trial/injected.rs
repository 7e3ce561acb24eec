//! What a patch puts into a pod template, in the few words of a suite's file.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::read::{Node, Reader, quoted_json};

/// What became of one part of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It is there now, or another: seconds of a sleep, port of a probe.
    Set(i64),
    /// It is gone.
    Removed,
}

/// What became of one container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pre_stop: Option<Part>,
    readiness: Option<Part>,
}

/// What became of a pod template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Injected {
    containers: BTreeMap<String, Parts>,
    grace: Option<i64>,
}

const POD: &str = "/spec/template/spec";

impl Injected {
    /// The difference between two states of an object.
    pub(super) fn between(before: &Json, after: &Json) -> Self {
        let mut injected = Self::default();
        let containers = |of: &Json| of.pointer(&format!("{POD}/containers")).and_then(Json::as_array).cloned();
        let (old, new) = (containers(before).unwrap_or_default(), containers(after).unwrap_or_default());
        for (old, new) in old.iter().zip(&new) {
            let hook = |it: &Json| it["lifecycle"]["preStop"].clone();
            let probe = |it: &Json| it["readinessProbe"].clone();
            let parts = Parts {
                pre_stop: change(&hook(old), &hook(new), seconds),
                readiness: change(&probe(old), &probe(new), |it| it["tcpSocket"]["port"].as_i64()),
            };
            if parts != Parts::default() {
                injected.containers.insert(new["name"].as_str().unwrap_or_default().to_owned(), parts);
            }
        }
        let grace = |of: &Json| of.pointer(POD).and_then(|it| it["terminationGracePeriodSeconds"].as_i64());
        injected.grace = grace(after).filter(|it| Some(*it) != grace(before));
        injected
    }

    /// `nothing`, or `{ containers: { web: { preStop: 60, readiness: 8080 } }, grace: 90 }`.
    pub(super) fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Self {
        let mut injected = Self::default();
        if node.json == "nothing" {
            return injected;
        }
        if node.json.is_string() {
            let example = "{ containers: { web: { preStop: 60, readiness: 8080 } }, grace: 90 }";
            reader.wrong(&node.pointer, format!("{}: use nothing, or {example}", quoted_json(node.json)));
            return injected;
        }
        for (key, member) in reader.map(node, &["containers", "grace"]) {
            if key == "grace" {
                injected.grace = number(&member, reader);
                continue;
            }
            for (name, container) in reader.any_map(&member) {
                let mut parts = Parts::default();
                for (key, part) in reader.map(&container, &["preStop", "readiness"]) {
                    let read = read_part(&part, reader);
                    if key == "preStop" { parts.pre_stop = read } else { parts.readiness = read }
                }
                injected.containers.insert(name.to_owned(), parts);
            }
        }
        injected
    }

    fn to_json(&self) -> Json {
        let mut json = Map::new();
        let containers = self.containers.iter().map(|(name, parts)| {
            let members = [("preStop", parts.pre_stop), ("readiness", parts.readiness)];
            let members = members.into_iter().filter_map(|(key, part)| Some((key.to_owned(), part?.to_json())));
            (name.clone(), Json::Object(members.collect()))
        });
        let containers: Map<String, Json> = containers.collect();
        if !containers.is_empty() {
            json.insert("containers".to_owned(), Json::Object(containers));
        }
        json.extend(self.grace.map(|it| ("grace".to_owned(), json!(it))));
        Json::Object(json)
    }
}

/// As a suite's file writes it, on one line.
impl std::fmt::Display for Injected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::default() {
            return formatter.write_str("nothing");
        }
        flow(&self.to_json(), formatter)
    }
}

fn flow(json: &Json, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    let Some(map) = json.as_object() else {
        return formatter.write_str(&json.as_str().map_or_else(|| json.to_string(), str::to_owned));
    };
    for (index, (key, value)) in map.iter().enumerate() {
        write!(formatter, "{}{key}: ", if index == 0 { "{ " } else { ", " })?;
        flow(value, formatter)?;
    }
    formatter.write_str(" }")
}

impl Part {
    fn to_json(self) -> Json {
        match self {
            Self::Set(number) => json!(number),
            Self::Removed => json!("removed"),
        }
    }
}

fn change(old: &Json, new: &Json, number: impl Fn(&Json) -> Option<i64>) -> Option<Part> {
    if old == new {
        return None;
    }
    Some(number(new).map_or(Part::Removed, Part::Set))
}

/// Seconds of a sleep, native or by the container's own program.
fn seconds(hook: &Json) -> Option<i64> {
    let native = hook["sleep"]["seconds"].as_i64();
    let word = || hook["exec"]["command"].as_array()?.last()?.as_str()?.parse().ok();
    native.or_else(word)
}

fn read_part(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Part> {
    if node.json == "removed" {
        return Some(Part::Removed);
    }
    number(node, reader).map(Part::Set)
}

fn number(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<i64> {
    let number = node.json.as_i64();
    if number.is_none() {
        reader.wrong(&node.pointer, format!("{} is no number", quoted_json(node.json)));
    }
    number
}
