//! From a tree to the JSON text of an object: aliases and merge keys are resolved, and the place of every value is kept.

use std::borrow::Cow;
use std::fmt::Write as _;

use rustc_hash::FxHashMap;

use super::document::{NO_KEY, Span};
use super::scalar::Scalar;
use super::source::count;
use super::tree::{Fault, Kind, Tree, too_deep};
use super::{MAX_ALIAS_BYTES, MAX_ALIAS_VALUES, MAX_DEPTH_LEVELS};

/// Up to this many members, equal keys are found by comparing each with each; above, with a table.
const PAIRWISE_MEMBERS: usize = 16;

/// What the objects of a typed list (`PodList`) may leave out.
#[derive(Clone, Copy)]
pub(super) struct ItemType<'a> {
    pub(super) api_version: &'a str,
    pub(super) kind: &'a str,
}

/// A member of a map, as indices into the tree.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) key: u32,
    pub(super) value: u32,
    /// Came with a merge key.
    merged: bool,
}

/// Writes objects as JSON and notes the place of every value. The bounds on aliases hold for all objects together.
pub(super) struct Writer<'a, 't> {
    tree: &'a Tree<'t>,
    json: String,
    spans: Vec<Span>,
    /// Keys that are set twice in one map: where the second one is, and its text.
    pub(super) duplicates: Vec<(u32, String)>,
    /// The members of the maps that are being written, innermost last.
    members: Vec<Member>,
    /// How many aliases and merges are being written.
    repeating: usize,
    repeated_values: usize,
    repeated_bytes: usize,
}

impl<'a, 't> Writer<'a, 't> {
    pub(super) fn new(tree: &'a Tree<'t>) -> Self {
        Self {
            tree,
            json: String::new(),
            spans: Vec::new(),
            duplicates: Vec::new(),
            members: Vec::new(),
            repeating: 0,
            repeated_values: 0,
            repeated_bytes: 0,
        }
    }

    /// The members of a map with those it merges; of equal keys the last one counts.
    pub(super) fn top_members(&mut self, map: u32) -> Result<&[Member], Fault> {
        self.members.clear();
        let repeating = self.repeating;
        let gathered = self.gather(map, 0, false);
        self.repeating = repeating;
        gathered.map(|()| &self.members[..])
    }

    /// Writes one object.
    pub(super) fn object(&mut self, index: u32, missing: Option<ItemType<'_>>) -> Result<(String, Vec<Span>), Fault> {
        self.members.clear();
        self.json.clear();
        self.spans.clear();
        let repeating = self.repeating;
        let written = self.root(index, missing);
        self.repeating = repeating;
        written?;
        Ok((std::mem::take(&mut self.json), std::mem::take(&mut self.spans)))
    }

    /// From here on values are repeated, if `aliased`.
    pub(super) fn enter(&mut self, aliased: bool) {
        self.repeating += usize::from(aliased);
    }

    /// The end of [`Self::enter`].
    pub(super) fn leave(&mut self, aliased: bool) {
        self.repeating -= usize::from(aliased);
    }

    /// Whether aliases repeat too much.
    pub(super) fn is_exhausted(&self) -> bool {
        self.repeated_bytes > MAX_ALIAS_BYTES || self.repeated_values > MAX_ALIAS_VALUES
    }

    fn root(&mut self, index: u32, missing: Option<ItemType<'_>>) -> Result<(), Fault> {
        let Some((map, node)) = self.tree.resolve(index) else { return Ok(()) };
        let size = node.next.saturating_sub(map) as usize;
        self.spans.reserve(size / 2 + 1);
        self.json.reserve(size * 8);
        self.spans.push(Span { at: node.at, key: NO_KEY, next: 0 });
        self.json.push('{');
        if let Some(ItemType { api_version, kind }) = missing {
            self.json.push_str("\"apiVersion\":");
            write_text(&mut self.json, api_version);
            self.json.push_str(",\"kind\":");
            write_text(&mut self.json, kind);
        }
        self.map(map, 1)?;
        self.close(0);
        Ok(())
    }

    fn close(&mut self, span: usize) {
        let next = count(self.spans.len());
        if let Some(span) = self.spans.get_mut(span) {
            span.next = next;
        }
    }

    /// Writes a value. For a member of a map, `key` says where its key is in the source and in the JSON text.
    fn value(&mut self, index: u32, key: Option<(u32, u32)>, depth: usize) -> Result<(), Fault> {
        let (Some(written), Some((target, node))) = (self.tree.get(index), self.tree.resolve(index)) else {
            return Ok(());
        };
        let aliased = target != index;
        self.enter(aliased);
        self.repeat(written.at, text_size(&node.kind))?;
        let (at, key) = key.unwrap_or((written.at, NO_KEY));
        let span = self.spans.len();
        self.spans.push(Span { at, key, next: 0 });
        match &node.kind {
            Kind::Map | Kind::List if depth >= MAX_DEPTH_LEVELS => return Err(too_deep(at)),
            Kind::Map => {
                self.json.push('{');
                self.map(target, depth + 1)?;
            }
            Kind::List => self.list(target, depth + 1)?,
            Kind::Scalar(scalar) => write_scalar(&mut self.json, scalar, node.at)?,
            Kind::Merge => self.json.push_str("\"<<\""),
            Kind::Alias(_) => return Err(Fault::new(node.at, "an alias for an alias")),
        }
        self.leave(aliased);
        self.close(span);
        Ok(())
    }

    /// Counts one value, if an alias or a merge key repeats it.
    pub(super) fn repeat(&mut self, at: u32, bytes: usize) -> Result<(), Fault> {
        if self.repeating == 0 {
            return Ok(());
        }
        self.repeated_values += 1;
        self.repeated_bytes += bytes;
        if self.repeated_bytes > MAX_ALIAS_BYTES {
            return Err(Fault::new(at, format!("aliases repeat more than {} MiB", MAX_ALIAS_BYTES >> 20)));
        }
        if self.repeated_values > MAX_ALIAS_VALUES {
            return Err(Fault::new(at, format!("aliases repeat more than {MAX_ALIAS_VALUES} values")));
        }
        Ok(())
    }

    fn list(&mut self, list: u32, depth: usize) -> Result<(), Fault> {
        let tree = self.tree;
        self.json.push('[');
        for (index, item) in tree.children(list).enumerate() {
            if index > 0 {
                self.json.push(',');
            }
            self.value(item, None, depth)?;
        }
        self.json.push(']');
        Ok(())
    }

    /// Writes the members of a map and the closing brace; the opening brace is there already.
    fn map(&mut self, map: u32, depth: usize) -> Result<(), Fault> {
        let first = self.members.len();
        self.gather(map, depth, false)?;
        self.drop_overridden(first);
        for index in first..self.members.len() {
            let Some(&member) = self.members.get(index) else { break };
            self.member(member, depth)?;
        }
        self.members.truncate(first);
        self.json.push('}');
        Ok(())
    }

    fn member(&mut self, member: Member, depth: usize) -> Result<(), Fault> {
        let (Some(written), Some(key)) = (self.tree.get(member.key), key_text(self.tree, member.key)) else {
            return Ok(());
        };
        if !self.json.ends_with('{') {
            self.json.push(',');
        }
        let key_at = count(self.json.len());
        write_text(&mut self.json, &key);
        self.json.push(':');
        self.enter(member.merged);
        if self.repeating > 0 {
            self.repeated_bytes += key.len();
        }
        self.value(member.value, Some((written.at, key_at)), depth)?;
        self.leave(member.merged);
        Ok(())
    }

    /// Collects the members of a map, and those of the maps it merges, in the order in which go-yaml sets them.
    fn gather(&mut self, map: u32, depth: usize, merged: bool) -> Result<(), Fault> {
        let tree = self.tree;
        for (key, value) in tree.members(map) {
            let Some(node) = tree.get(key) else { continue };
            if matches!(node.kind, Kind::Merge) {
                self.merge(value, depth + 1)?;
                continue;
            }
            if key_text(tree, key).is_none() {
                return Err(Fault::new(node.at, "a key that is no text, number or boolean"));
            }
            if merged {
                self.repeat(node.at, 0)?;
            }
            self.members.push(Member { key, value, merged });
        }
        Ok(())
    }

    fn merge(&mut self, value: u32, depth: usize) -> Result<(), Fault> {
        let tree = self.tree;
        let Some((target, node)) = tree.resolve(value) else { return Ok(()) };
        self.enter(true);
        self.repeat(node.at, 0)?;
        match node.kind {
            Kind::Map | Kind::List if depth >= MAX_DEPTH_LEVELS => return Err(too_deep(node.at)),
            Kind::Map => self.gather(target, depth, true)?,
            Kind::List if target == value => {
                // Earlier maps win: they are set last.
                let maps: Vec<u32> = tree.children(target).collect();
                maps.into_iter().rev().try_for_each(|map| self.merge_one(map, depth + 1))?;
            }
            _ => return Err(Fault::new(node.at, "a merge key needs a map or a list of maps")),
        }
        self.leave(true);
        Ok(())
    }

    fn merge_one(&mut self, map: u32, depth: usize) -> Result<(), Fault> {
        match self.tree.resolve(map) {
            Some((_, node)) if matches!(node.kind, Kind::Map) => self.merge(map, depth),
            Some((_, node)) => Err(Fault::new(node.at, "a merge key needs a map or a list of maps")),
            None => Ok(()),
        }
    }

    /// Keeps the last of equal keys, and notes those that one map sets twice itself.
    fn drop_overridden(&mut self, first: usize) {
        let tree = self.tree;
        let members = self.members.get(first..).unwrap_or_default();
        let later = later_equals(tree, members);
        if later.is_empty() {
            return;
        }
        for &(earlier, later) in &later {
            let (Some(old), Some(new)) = (members.get(earlier), members.get(later)) else { continue };
            if !old.merged && !new.merged {
                let key = key_text(tree, new.key).unwrap_or_default().into_owned();
                self.duplicates.push((tree.get(new.key).map_or(0, |node| node.at), key));
            }
        }
        let mut index = 0;
        let mut overridden = later.iter().map(|&(earlier, _)| first + earlier).peekable();
        self.members.retain(|_| {
            let drop = overridden.next_if_eq(&index).is_some();
            index += 1;
            !drop
        });
    }
}

/// Pairs of members with the same key: each with the next one, in order of the first.
fn later_equals(tree: &Tree<'_>, members: &[Member]) -> Vec<(usize, usize)> {
    if members.len() <= PAIRWISE_MEMBERS {
        let mut pairs = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let key = key_text(tree, member.key);
            let later = members.iter().skip(index + 1).position(|other| key_text(tree, other.key) == key);
            pairs.extend(later.map(|distance| (index, index + 1 + distance)));
        }
        return pairs;
    }
    let mut last = FxHashMap::default();
    let mut pairs: Vec<_> = members
        .iter()
        .enumerate()
        .filter_map(|(index, member)| Some((last.insert(key_text(tree, member.key), index)?, index)))
        .collect();
    pairs.sort_unstable();
    pairs
}

pub(super) fn key_text<'a>(tree: &'a Tree<'_>, index: u32) -> Option<Cow<'a, str>> {
    match &tree.resolve(index)?.1.kind {
        Kind::Scalar(scalar) => scalar.key(),
        Kind::Merge => Some(Cow::Borrowed("<<")),
        Kind::Map | Kind::List | Kind::Alias(_) => None,
    }
}

/// About the size of a value without what it contains, in bytes.
fn text_size(kind: &Kind<'_>) -> usize {
    match kind {
        Kind::Scalar(Scalar::Text(text)) => text.len() + 3,
        _ => 3,
    }
}

fn write_scalar(json: &mut String, scalar: &Scalar<'_>, at: u32) -> Result<(), Fault> {
    match scalar {
        Scalar::Null => json.push_str("null"),
        Scalar::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
        Scalar::Int(value) => write_number(json, format_args!("{value}")),
        Scalar::Float(value) if !value.is_finite() => {
            return Err(Fault::new(at, "infinity and NaN are no values of a Kubernetes object"));
        }
        Scalar::Float(value) if *value != 0.0 && !(1e-6..1e21).contains(&value.abs()) => {
            write_number(json, format_args!("{value:e}"));
        }
        Scalar::Float(value) => write_number(json, format_args!("{value}")),
        Scalar::Number(text) => json.push_str(text),
        Scalar::Text(text) => write_text(json, text),
    }
    Ok(())
}

fn write_number(json: &mut String, number: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = json.write_fmt(number);
}

/// Writes a JSON string. The same text is always written the same way: [`Document::locate`] compares written keys.
pub(super) fn write_text(json: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        json.push('"');
        json.push_str(text);
        json.push('"');
        return;
    }
    json.push_str(&serde_json::Value::from(text).to_string());
}
