//! One Kubernetes object, and where each of its fields is written.

use std::sync::Arc;

use super::source::{Location, Source};
use super::write::write_text;

/// One Kubernetes object and the places of its fields.
#[derive(Debug)]
pub struct Document {
    pub(super) source: Arc<Source>,
    pub(super) json: String,
    pub(super) spans: Vec<Span>,
}

/// One value of an object, in the order of its JSON text: a parent directly before its children.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Byte offset in the source: of the key of a map member, of a list item itself.
    pub(super) at: u32,
    /// Byte offset in the JSON text of the key of a map member; [`NO_KEY`] for anything else.
    pub(super) key: u32,
    /// Index of the first span behind this value and all it contains.
    pub(super) next: u32,
}

pub(super) const NO_KEY: u32 = u32::MAX;

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
