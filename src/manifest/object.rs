//! From a tree to Kubernetes objects: aliases and merge keys are resolved, lists taken apart, places kept.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::scalar::Scalar;
use super::source::{Location, Source, count};
use super::tree::{Fault, Kind, Tree, too_deep};
use super::{MAX_ALIAS_BYTES, MAX_ALIAS_VALUES, MAX_DEPTH_LEVELS};

/// Up to this many members, equal keys are found by comparing each with each; above, with a table.
const PAIRWISE_MEMBERS: usize = 16;

/// One Kubernetes object and the places of its fields.
#[derive(Debug)]
pub struct Document {
    source: Arc<Source>,
    json: String,
    spans: Vec<Span>,
}

/// One value of an object, in the order of its JSON text: a parent directly before its children.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Byte offset in the source: of the key of a map member, of a list item itself.
    at: u32,
    /// Byte offset in the JSON text of the key of a map member; [`NO_KEY`] for anything else.
    key: u32,
    /// Index of the first span behind this value and all it contains.
    next: u32,
}

const NO_KEY: u32 = u32::MAX;

impl Document {
    /// The object as compact JSON text. Each key occurs once in a map.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The text the object was read from.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Where the value at a JSON pointer (RFC 6901) is written: the key of a map member, the item of a list.
    /// If there is nothing at the pointer, the nearest ancestor that exists. Below an alias it is the place of the anchor's text.
    #[must_use]
    pub fn locate(&self, pointer: &str) -> Location {
        let mut index = 0;
        for token in pointer.split('/').skip(1) {
            let Some(child) = self.child(index, token) else { break };
            index = child;
        }
        self.source.locate(self.spans.get(index).map_or(0, |span| span.at))
    }

    fn child(&self, parent: usize, token: &str) -> Option<usize> {
        let mut children = self.children(parent).peekable();
        if self.spans.get(*children.peek()?)?.key == NO_KEY {
            return children.nth(token.parse().ok()?);
        }
        let mut key = String::new();
        write_text(&mut key, &token.replace("~1", "/").replace("~0", "~"));
        children.find(|&child| self.key_starts_with(child, &key))
    }

    fn key_starts_with(&self, index: usize, key: &str) -> bool {
        let at = self.spans.get(index).map_or(NO_KEY, |span| span.key);
        self.json.get(at as usize..).is_some_and(|rest| rest.starts_with(key))
    }

    fn children(&self, parent: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.spans.get(parent).map_or(0, |span| span.next as usize);
        let mut child = parent + 1;
        std::iter::from_fn(move || {
            let current = (child < end).then_some(child)?;
            child = (self.spans.get(current)?.next as usize).max(current + 1);
            Some(current)
        })
    }
}

/// What one tree holds.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) documents: Vec<Document>,
    pub(super) faults: Vec<Fault>,
    /// Keys that are set twice in one map: where the second one is, and its text.
    pub(super) duplicates: Vec<(u32, String)>,
    pub(super) skipped: usize,
}

/// Takes the objects out of a tree; the items of a list come one by one.
pub(super) fn collect(tree: &Tree<'_>, source: &Arc<Source>) -> Objects {
    let mut collector = Collector { tree, source, found: Objects::default() };
    if tree.is_empty() {
        return collector.found;
    }
    if let Err(fault) = collector.document() {
        collector.found.faults.push(fault);
    }
    let duplicates = &mut collector.found.duplicates;
    duplicates.sort_unstable();
    duplicates.dedup();
    collector.found
}

struct Collector<'a, 't> {
    tree: &'a Tree<'t>,
    source: &'a Arc<Source>,
    found: Objects,
}

/// What the objects of a typed list (`PodList`) may leave out.
#[derive(Clone, Copy)]
struct ItemType<'a> {
    api_version: &'a str,
    kind: &'a str,
}

/// The fields that tell what an object is.
struct Header<'a> {
    api_version: Option<&'a str>,
    kind: Option<&'a str>,
    items: Option<u32>,
}

impl<'a> Collector<'a, '_> {
    fn document(&mut self) -> Result<(), Fault> {
        let Some(root) = self.tree.get(0) else { return Ok(()) };
        match root.kind {
            Kind::Map => {
                let header = self.header(0)?;
                if header.api_version.is_none() || header.kind.is_none() {
                    self.found.skipped += 1;
                    return Ok(());
                }
                self.object(0, &header, None, 0)
            }
            Kind::List if self.holds_objects(0)? => Err(Fault {
                at: root.at,
                message: "a bare list of objects, which kubectl does not read".to_owned(),
                help: Some("use `kind: List` with `items`, or separate documents"),
            }),
            Kind::Scalar(Scalar::Null) => Ok(()),
            _ => {
                self.found.skipped += 1;
                Ok(())
            }
        }
    }

    fn holds_objects(&self, list: u32) -> Result<bool, Fault> {
        for item in self.tree.children(list) {
            let Some((map, node)) = self.tree.resolve(item) else { continue };
            if matches!(node.kind, Kind::Map) {
                let header = self.header(map)?;
                return Ok(header.api_version.is_some() && header.kind.is_some());
            }
        }
        Ok(false)
    }

    fn header(&self, map: u32) -> Result<Header<'a>, Fault> {
        let mut writer = Writer::new(self.tree);
        writer.gather(map, 0, false)?;
        let tree = self.tree;
        let last = |name: &str| {
            let named = |member: &&Member| tree.text(member.key) == Some(name);
            writer.members.iter().rev().find(named).map(|member| member.value)
        };
        let text = |name: &str| last(name).and_then(|value| tree.text(value)).filter(|text| !text.is_empty());
        let is_list = |&index: &u32| matches!(tree.resolve(index), Some((_, node)) if matches!(node.kind, Kind::List));
        Ok(Header { api_version: text("apiVersion"), kind: text("kind"), items: last("items").filter(is_list) })
    }

    fn object(
        &mut self,
        index: u32,
        header: &Header<'a>,
        missing: Option<ItemType<'a>>,
        depth: usize,
    ) -> Result<(), Fault> {
        if let (Some(api_version), Some(kind), Some(items)) = (header.api_version, header.kind, header.items)
            && let Some(item_kind) = kind.strip_suffix("List")
        {
            let item_type = (!item_kind.is_empty()).then_some(ItemType { api_version, kind: item_kind });
            return self.items(items, item_type, depth);
        }
        let mut writer = Writer::new(self.tree);
        writer.root(index, missing)?;
        self.found.duplicates.append(&mut writer.duplicates);
        self.found.documents.push(Document { source: Arc::clone(self.source), json: writer.json, spans: writer.spans });
        Ok(())
    }

    fn items(&mut self, items: u32, item_type: Option<ItemType<'a>>, depth: usize) -> Result<(), Fault> {
        let tree = self.tree;
        let Some((list, node)) = tree.resolve(items) else { return Ok(()) };
        if depth >= MAX_DEPTH_LEVELS {
            return Err(too_deep(node.at));
        }
        for item in tree.children(list) {
            if let Err(fault) = self.item(item, item_type, depth) {
                self.found.faults.push(fault);
            }
        }
        Ok(())
    }

    fn item(&mut self, item: u32, item_type: Option<ItemType<'a>>, depth: usize) -> Result<(), Fault> {
        let Some((map, node)) = self.tree.resolve(item) else { return Ok(()) };
        if !matches!(node.kind, Kind::Map) {
            return Err(Fault::new(node.at, "a list item that is no object"));
        }
        let header = self.header(map)?;
        match (header.api_version, header.kind) {
            (Some(_), Some(_)) => self.object(map, &header, None, depth + 1),
            (None, None) if item_type.is_some() => self.object(map, &header, item_type, depth + 1),
            _ => Err(Fault::new(node.at, "a list item without apiVersion or kind")),
        }
    }
}

/// A member of a map, as indices into the tree.
#[derive(Clone, Copy)]
struct Member {
    key: u32,
    value: u32,
    /// Came with a merge key.
    merged: bool,
}

/// Writes one object as JSON and notes the place of every value.
struct Writer<'a, 't> {
    tree: &'a Tree<'t>,
    json: String,
    spans: Vec<Span>,
    duplicates: Vec<(u32, String)>,
    /// The members of the maps that are being written, innermost last.
    members: Vec<Member>,
    /// How many aliases and merges are being written.
    repeating: usize,
    repeated_values: usize,
    repeated_bytes: usize,
}

impl<'a, 't> Writer<'a, 't> {
    fn new(tree: &'a Tree<'t>) -> Self {
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

    fn root(&mut self, index: u32, missing: Option<ItemType<'a>>) -> Result<(), Fault> {
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
        self.repeating += usize::from(aliased);
        if self.repeating > 0 {
            self.repeat(written.at, text_size(&node.kind))?;
        }
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
        self.repeating -= usize::from(aliased);
        self.close(span);
        Ok(())
    }

    /// Counts one value that an alias or a merge key repeats.
    fn repeat(&mut self, at: u32, bytes: usize) -> Result<(), Fault> {
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
        self.repeating += usize::from(member.merged);
        if self.repeating > 0 {
            self.repeated_bytes += key.len();
        }
        self.value(member.value, Some((written.at, key_at)), depth)?;
        self.repeating -= usize::from(member.merged);
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
        self.repeat(node.at, 0)?;
        match node.kind {
            Kind::Map | Kind::List if depth >= MAX_DEPTH_LEVELS => Err(too_deep(node.at)),
            Kind::Map => self.gather(target, depth, true),
            Kind::List if target == value => {
                // Earlier maps win: they are set last.
                let maps: Vec<u32> = tree.children(target).collect();
                maps.into_iter().rev().try_for_each(|map| self.merge_one(map, depth + 1))
            }
            _ => Err(Fault::new(node.at, "a merge key needs a map or a list of maps")),
        }
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

fn key_text<'a>(tree: &'a Tree<'_>, index: u32) -> Option<Cow<'a, str>> {
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
fn write_text(json: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        json.push('"');
        json.push_str(text);
        json.push('"');
        return;
    }
    json.push_str(&serde_json::Value::from(text).to_string());
}
