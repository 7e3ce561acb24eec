//! Finding the Kubernetes objects in a tree: what is one, what is none, and lists taken apart.

use std::sync::Arc;

use super::MAX_DEPTH_LEVELS;
use super::document::Document;
use super::scalar::Scalar;
use super::source::Source;
use super::tree::{Fault, Kind, Tree, too_deep};
use super::write::{ItemType, Member, Writer};

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
    collect_by(Collector::document, tree, source)
}

/// Takes a tree for one map, whatever it says it is.
pub(super) fn collect_map(tree: &Tree<'_>, source: &Arc<Source>) -> Objects {
    collect_by(Collector::map, tree, source)
}

fn collect_by<'a, 't>(
    way: fn(&mut Collector<'a, 't>) -> Result<(), Fault>,
    tree: &'a Tree<'t>,
    source: &'a Arc<Source>,
) -> Objects {
    let mut collector = Collector { tree, source, found: Objects::default(), writer: Writer::new(tree) };
    if let Err(fault) = way(&mut collector) {
        collector.found.faults.push(fault);
    }
    let Collector { mut found, writer, .. } = collector;
    found.duplicates = writer.duplicates;
    found.duplicates.sort_unstable();
    found.duplicates.dedup();
    found
}

struct Collector<'a, 't> {
    tree: &'a Tree<'t>,
    source: &'a Arc<Source>,
    found: Objects,
    /// One for all objects of the tree, because its bounds are for all of them together.
    writer: Writer<'a, 't>,
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

    fn map(&mut self) -> Result<(), Fault> {
        let Some((root, node)) = self.tree.resolve(0) else { return Ok(()) };
        match node.kind {
            Kind::Map => {
                let (json, spans) = self.writer.object(root, None)?;
                self.found.documents.push(Document { source: Arc::clone(self.source), json, spans });
            }
            Kind::Scalar(Scalar::Null) => {}
            _ => self.found.skipped += 1,
        }
        Ok(())
    }

    fn holds_objects(&mut self, list: u32) -> Result<bool, Fault> {
        for item in self.tree.children(list) {
            let Some((map, node)) = self.tree.resolve(item) else { continue };
            if matches!(node.kind, Kind::Map) {
                let header = self.header(map)?;
                return Ok(header.api_version.is_some() && header.kind.is_some());
            }
        }
        Ok(false)
    }

    fn header(&mut self, map: u32) -> Result<Header<'a>, Fault> {
        let tree = self.tree;
        let members = self.writer.top_members(map)?;
        let last = |name: &str| {
            let named = |member: &&Member| tree.text(member.key) == Some(name);
            members.iter().rev().find(named).map(|member| member.value)
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
        let (json, spans) = self.writer.object(index, missing)?;
        self.found.documents.push(Document { source: Arc::clone(self.source), json, spans });
        Ok(())
    }

    fn items(&mut self, items: u32, item_type: Option<ItemType<'a>>, depth: usize) -> Result<(), Fault> {
        let tree = self.tree;
        let Some((list, node)) = tree.resolve(items) else { return Ok(()) };
        if depth >= MAX_DEPTH_LEVELS {
            return Err(too_deep(node.at));
        }
        for item in tree.children(list) {
            let aliased = list != items || tree.resolve(item).is_some_and(|(target, _)| target != item);
            self.writer.enter(aliased);
            let step = self.writer.repeat(node.at, 0).and_then(|()| self.item(item, item_type, depth));
            self.writer.leave(aliased);
            match step {
                Err(fault) if self.writer.is_exhausted() => return Err(fault),
                Err(fault) => self.found.faults.push(fault),
                Ok(()) => {}
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
