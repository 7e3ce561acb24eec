//! Reading a suite's file field by field: what is wrong is told by line, and with what was probably meant.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::Mistake;
use crate::{manifest::Document, nearest::did_you_mean, policy::shortened};

/// Longest value that is repeated, in characters.
const QUOTED_CHARS_MAX: usize = 60;

/// A value of the file and the way to it.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) json: &'a Json,
    pub(super) pointer: String,
}

/// Collects what is wrong.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) document: &'a Document,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        Self { document, mistakes: Vec::new() }
    }

    pub(super) fn wrong(&mut self, pointer: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake { location: self.document.locate(pointer), message: message.into() });
    }

    /// The members of a map that are not null; those that are not known are mistakes.
    pub(super) fn map<'j>(&mut self, node: &Node<'j>, known: &[&str]) -> Vec<(&'j str, Node<'j>)> {
        let mut members = self.any_map(node);
        members.retain(|(key, member)| {
            let is_known = known.contains(key);
            if !is_known {
                let near = did_you_mean(key, known.iter().copied());
                let known = if near.is_empty() { format!("; the fields are {}", known.join(", ")) } else { near };
                self.wrong(&member.pointer, format!("{} means nothing here{known}", quoted(key)));
            }
            is_known
        });
        members
    }

    /// The members of a map with any keys.
    pub(super) fn any_map<'j>(&mut self, node: &Node<'j>) -> Vec<(&'j str, Node<'j>)> {
        let Some(map) = node.json.as_object() else {
            self.wrong(&node.pointer, format!("{} is no map", quoted_json(node.json)));
            return Vec::new();
        };
        let members = map.iter().filter(|(_, value)| !value.is_null());
        members.map(|(key, json)| (key.as_str(), node.below(key, json))).collect()
    }

    pub(super) fn list<'j>(&mut self, node: &Node<'j>) -> Vec<Node<'j>> {
        let Some(list) = node.json.as_array() else {
            self.wrong(&node.pointer, format!("{} is no list; write [a, b]", quoted_json(node.json)));
            return Vec::new();
        };
        list.iter().enumerate().map(|(index, json)| node.below(&index.to_string(), json)).collect()
    }

    pub(super) fn texts(&mut self, node: &Node<'_>) -> Vec<String> {
        let items = self.list(node);
        items.iter().filter_map(|it| self.text(it)).collect()
    }

    pub(super) fn text(&mut self, node: &Node<'_>) -> Option<String> {
        let text = node.json.as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong(&node.pointer, format!("{} is no text; put it in quotes", quoted_json(node.json)));
        }
        text
    }

    pub(super) fn flag(&mut self, node: &Node<'_>) -> Option<bool> {
        let flag = node.json.as_bool();
        if flag.is_none() {
            self.wrong(&node.pointer, format!("{}: use true or false", quoted_json(node.json)));
        }
        flag
    }

    pub(super) fn time(&mut self, node: &Node<'_>) -> Option<Timestamp> {
        let time = node.json.as_str().and_then(|it| it.parse().ok());
        if time.is_none() {
            let text = quoted_json(node.json);
            self.wrong(&node.pointer, format!("{text} is no time; use one such as 2026-12-01T09:00:00Z"));
        }
        time
    }
}

impl<'a> Node<'a> {
    pub(super) fn below(&self, key: &str, json: &'a Json) -> Self {
        let key = key.replace('~', "~0").replace('/', "~1");
        Self { json, pointer: format!("{}/{key}", self.pointer) }
    }
}

/// Quotes in it stay: it is to be found in the file.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text, QUOTED_CHARS_MAX))
}

pub(super) fn quoted_json(json: &Json) -> String {
    match json {
        Json::String(text) => quoted(text),
        Json::Null => "nothing".to_owned(),
        Json::Object(_) => "a map".to_owned(),
        Json::Array(_) => "a list".to_owned(),
        other => other.to_string(),
    }
}
