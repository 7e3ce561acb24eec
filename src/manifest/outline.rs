//! The values of a text as they are written, for edits: aliases and merge keys are not resolved, and every value has an end.

use std::ops::Range;

use super::document::Document;
use super::scalar::Scalar;
use super::source::Source;
use super::split;
use super::tree::{Kind, Style, Tree};
use super::write::key_text;

/// Everything that is written in one text.
#[derive(Debug)]
pub struct Outline<'t> {
    text: &'t str,
    trees: Vec<Tree<'t>>,
}

/// One value as it is written.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    text: &'a str,
    tree: &'a Tree<'a>,
    index: u32,
}

/// What a value is, as far as edits need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A map.
    Map,
    /// A list.
    List,
    /// Stands for a value that is written somewhere else.
    Alias,
    /// Null, written out or left out.
    Null,
    /// A number.
    Number,
    /// Any other scalar.
    Scalar,
}

impl<'t> Outline<'t> {
    /// Reads a text once more. Parts that cannot be read are left out.
    #[must_use]
    pub fn of(source: &'t Source) -> Self {
        Self { text: source.text(), trees: split::trees(source) }
    }

    /// The map that a document of this text was read from.
    #[must_use]
    pub fn object(&self, document: &Document) -> Option<Written<'_>> {
        let at = document.spans.first()?.at;
        let last = self.trees.partition_point(|tree| tree.get(0).is_some_and(|root| root.at <= at)).checked_sub(1)?;
        let tree = self.trees.get(last)?;
        Some(Written { text: self.text, tree, index: tree.map_at(at)? })
    }
}

impl<'a> Written<'a> {
    fn at(self, index: u32) -> Self {
        Self { index, ..self }
    }

    /// The whole text.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.text
    }

    /// What it is.
    #[must_use]
    pub fn shape(self) -> Shape {
        match self.tree.get(self.index).map(|node| &node.kind) {
            Some(Kind::Map) => Shape::Map,
            Some(Kind::List) => Shape::List,
            Some(Kind::Alias(_)) => Shape::Alias,
            None | Some(Kind::Scalar(Scalar::Null)) => Shape::Null,
            Some(Kind::Scalar(Scalar::Int(_) | Scalar::Float(_) | Scalar::Number(_))) => Shape::Number,
            Some(Kind::Scalar(_) | Kind::Merge) => Shape::Scalar,
        }
    }

    /// How it is written.
    #[must_use]
    pub fn style(self) -> Style {
        self.tree.get(self.index).map_or(Style::Plain, |node| node.style)
    }

    /// Where it begins, as a byte offset: for a map by indentation its first key; behind anchor and tag.
    #[must_use]
    pub fn start(self) -> usize {
        self.tree.get(self.index).map_or(0, |node| node.at as usize)
    }

    /// Where it ends, as a byte offset: behind its last character that is no white space. Blank lines that a `|+` keeps count.
    #[must_use]
    pub fn end(self) -> usize {
        let Some(node) = self.tree.get(self.index) else { return self.text.len() };
        let end = node.end as usize;
        match (node.style, &node.kind) {
            (Style::Plain, Kind::Map | Kind::List) => {
                self.tree.children(self.index).last().map_or(self.start(), |child| self.at(child).end())
            }
            (Style::Indented, _) => self.end_of_indented(node.at as usize, end),
            _ => end,
        }
    }

    /// The parser ends a block scalar where the next token begins.
    fn end_of_indented(self, start: usize, end: usize) -> usize {
        let header = self.text.get(..start).unwrap_or_default().trim_end();
        let header = header.rsplit_once(['|', '>']).map_or("", |(_, behind)| behind);
        let content = self.text.get(start..end).unwrap_or_default();
        if !header.contains('+') {
            return start + content.trim_end().len();
        }
        // The last line break stays outside, as with every other value.
        let content = content.trim_end_matches([' ', '\t']);
        let content = content.strip_suffix('\n').unwrap_or(content);
        start + content.strip_suffix('\r').unwrap_or(content).len()
    }

    /// The members of a map: keys and values, as they are written.
    pub fn members(self) -> impl Iterator<Item = (Self, Self)> {
        let members = self.tree.members(self.index).filter(move |_| self.shape() == Shape::Map);
        members.map(move |(key, value)| (self.at(key), self.at(value)))
    }

    /// The items of a list.
    pub fn items(self) -> impl Iterator<Item = Self> {
        self.tree.children(self.index).filter(move |_| self.shape() == Shape::List).map(move |item| self.at(item))
    }

    /// True if it is a key with this text.
    #[must_use]
    pub fn is_key(self, text: &str) -> bool {
        key_text(self.tree, self.index).is_some_and(|it| it == text)
    }

    /// True if it is the key `<<`.
    #[must_use]
    pub fn is_merge(self) -> bool {
        matches!(self.tree.get(self.index).map(|node| &node.kind), Some(Kind::Merge))
    }

    /// True if it has an anchor that an alias or a merge key refers to.
    #[must_use]
    pub fn is_shared(self) -> bool {
        self.tree.get(self.index).is_some_and(|node| node.anchored) && self.tree.has_alias(self.index)
    }

    /// From its first to its last byte.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start()..self.end().max(self.start())
    }
}
