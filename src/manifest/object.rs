//! From a tree to Kubernetes objects: aliases and merge keys are resolved, lists taken apart, positions kept.

use std::sync::Arc;

use super::source::{Location, Source};

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
    /// Byte offset in the JSON text of the key of a map member.
    key: Option<u32>,
    /// Index of the first span behind this value and all it contains.
    next: u32,
}

impl Document {
    /// The object as compact JSON text.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The text the object was read from.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Where the value at a JSON pointer (RFC 6901) is written: the key of a map member, the item of a list.
    /// If there is nothing at the pointer, the nearest ancestor that exists.
    pub fn locate(&self, pointer: &str) -> Location {
        self.source.locate(0)
    }
}
