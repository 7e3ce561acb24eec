//! The values of one document as they are written: a flat list in which a parent stands directly before its children.

use super::MAX_DEPTH_LEVELS;
use super::scalar::Scalar;
use super::source::count;

/// A document before aliases and merge keys are resolved. Children of a map are key, value, key, value.
#[derive(Debug, Default)]
pub(super) struct Tree<'t> {
    nodes: Vec<Node<'t>>,
}

/// One value and its place.
#[derive(Debug)]
pub(super) struct Node<'t> {
    /// Byte offset in the file.
    pub(super) at: u32,
    /// Index of the first node behind this value and all it contains; 0 while it is being read.
    pub(super) next: u32,
    /// Byte offset behind it; of no use for block maps and lists.
    pub(super) end: u32,
    /// How it is written.
    pub(super) style: Style,
    /// It has an anchor, so that aliases may stand for it.
    pub(super) anchored: bool,
    /// What it is.
    pub(super) kind: Kind<'t>,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    /// A map or list by indentation; a scalar without quotes; an alias.
    #[default]
    Plain,
    /// A map or list in brackets.
    Flow,
    /// A scalar in quotes.
    Quoted,
    /// A scalar behind `|` or `>`. Its end may take in what is blank behind it.
    Indented,
}

#[derive(Debug)]
pub(super) enum Kind<'t> {
    Map,
    List,
    /// Stands for the node with this index.
    Alias(u32),
    Scalar(Scalar<'t>),
    /// The plain scalar `<<` in the place of a key.
    Merge,
}

/// Why a text is no document, and where.
#[derive(Debug)]
pub(super) struct Fault {
    /// Byte offset in the file.
    pub(super) at: u32,
    /// In one line.
    pub(super) message: String,
    /// What to do about it.
    pub(super) help: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(at: u32, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }
}

pub(super) fn too_deep(at: u32) -> Fault {
    Fault::new(at, format!("maps and lists are nested more than {MAX_DEPTH_LEVELS} levels deep"))
}

impl<'t> Tree<'t> {
    pub(super) fn push(&mut self, at: u32, kind: Kind<'t>) -> u32 {
        let index = count(self.nodes.len());
        let next = if matches!(kind, Kind::Map | Kind::List) { 0 } else { index + 1 };
        self.nodes.push(Node { at, next, end: at, style: Style::Plain, anchored: false, kind });
        index
    }

    /// Notes where a value ends and how it is written.
    pub(super) fn shape(&mut self, index: u32, end: u32, style: Style) {
        if let Some(node) = self.nodes.get_mut(index as usize) {
            node.end = end;
            node.style = style;
        }
    }

    /// Notes that a value has an anchor.
    pub(super) fn set_anchored(&mut self, index: u32) {
        if let Some(node) = self.nodes.get_mut(index as usize) {
            node.anchored = true;
        }
    }

    /// True if an alias or a merge key stands for the value.
    pub(super) fn has_alias(&self, index: u32) -> bool {
        self.nodes.iter().any(|node| matches!(node.kind, Kind::Alias(target) if target == index))
    }

    /// The map that begins at a byte offset.
    pub(super) fn map_at(&self, at: u32) -> Option<u32> {
        // Nodes are in the order of the text.
        let first = self.nodes.partition_point(|node| node.at < at);
        let here = self.nodes.iter().enumerate().skip(first).take_while(|(_, node)| node.at == at);
        here.into_iter().find(|(_, node)| matches!(node.kind, Kind::Map)).map(|(index, _)| count(index))
    }

    /// Ends a map or list: everything pushed since belongs to it.
    pub(super) fn close(&mut self, index: u32) {
        let next = count(self.nodes.len());
        if let Some(node) = self.nodes.get_mut(index as usize) {
            node.next = next;
        }
    }

    /// Forgets a node and everything behind it.
    pub(super) fn truncate(&mut self, index: u32) {
        self.nodes.truncate(index as usize);
    }

    /// Puts a scalar in the place of the node that was pushed last.
    pub(super) fn replace_last(&mut self, at: u32, end: u32, scalar: Kind<'t>) {
        if let Some(node) = self.nodes.last_mut() {
            node.at = at;
            node.end = end;
            node.kind = scalar;
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&Node<'t>> {
        self.nodes.get(index as usize)
    }

    /// The node an index stands for: the target of an alias, or the node itself. Aliases never point to aliases.
    pub(super) fn resolve(&self, index: u32) -> Option<(u32, &Node<'t>)> {
        let node = self.get(index)?;
        match node.kind {
            Kind::Alias(target) => Some((target, self.get(target)?)),
            _ => Some((index, node)),
        }
    }

    /// The indices of the direct children.
    pub(super) fn children(&self, index: u32) -> impl Iterator<Item = u32> + '_ {
        let end = self.get(index).map_or(0, |node| node.next);
        let mut child = index + 1;
        std::iter::from_fn(move || {
            let current = (child < end).then_some(child)?;
            child = self.get(current)?.next.max(current + 1);
            Some(current)
        })
    }

    /// The members of a map, as indices of key and value.
    pub(super) fn members(&self, index: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut children = self.children(index);
        std::iter::from_fn(move || Some((children.next()?, children.next()?)))
    }

    /// The text of a scalar, or of the scalar an alias stands for.
    pub(super) fn text(&self, index: u32) -> Option<&str> {
        match &self.resolve(index)?.1.kind {
            Kind::Scalar(Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }
}
