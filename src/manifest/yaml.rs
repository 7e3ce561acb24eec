//! From the events of the YAML parser to a tree.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle};

use super::MAX_DEPTH_LEVELS;
use super::scalar::{self, Scalar, Tag};
use super::source::count;
use super::tree::{Fault, Kind, Style, Tree, too_deep};

/// Reads the documents of one part of a file; `base` is the byte offset of the part. Trees that were complete before a fault stay.
pub(super) fn read<'t>(text: &'t str, base: u32) -> (Vec<Tree<'t>>, Option<Fault>) {
    let mut options =
        granit_parser::options! { flow_nesting_limit: MAX_DEPTH_LEVELS, block_nesting_limit: MAX_DEPTH_LEVELS };
    options.set_emit_comments(false);
    let mut builder = Builder {
        text,
        base,
        done: Vec::new(),
        tree: Tree::default(),
        open: Vec::new(),
        anchors: Vec::new(),
        bare: None,
    };
    for event in Parser::<StrInput<'t>>::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                let offset = error.marker().byte_offset().unwrap_or(0).min(text.len());
                Err(Fault::new(base + count(offset), error.info()))
            }
        };
        if let Err(fault) = step {
            return (builder.done, Some(fault));
        }
    }
    (builder.done, None)
}

struct Builder<'t> {
    text: &'t str,
    base: u32,
    done: Vec<Tree<'t>>,
    tree: Tree<'t>,
    open: Vec<Open>,
    /// From the parser's number of an anchor to the index of its node.
    anchors: Vec<(usize, u32)>,
    /// Where the last value is in the text, if it is a plain scalar without tag and anchor.
    bare: Option<Range<usize>>,
}

/// A map or list whose end has not come yet.
struct Open {
    index: u32,
    map: bool,
    children: usize,
    /// It turned out to be a scalar; see `keep_colon`.
    undone: bool,
}

impl<'t> Builder<'t> {
    fn take(&mut self, event: Event<'t>, span: &Span) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) => {
                self.tree = Tree::default();
                self.open.clear();
                self.anchors.clear();
            }
            Event::DocumentEnd => self.done.push(std::mem::take(&mut self.tree)),
            Event::Scalar(value, style, anchor, tag) => {
                let bare = style == ScalarStyle::Plain && tag.is_none() && anchor == 0;
                if bare && span.is_empty() && self.keep_colon() {
                    return Ok(());
                }
                let at = self.offset(span);
                let kind = self.scalar(value, style, tag.as_deref(), at)?;
                let index = self.add(at, kind, anchor);
                self.tree.shape(index, self.end(span), scalar_style(style));
                self.bare = bare.then(|| span.byte_range()).flatten();
            }
            Event::SequenceStart(style, anchor, _) => self.start(span, Kind::List, style, anchor)?,
            Event::MappingStart(style, anchor, _) => self.start(span, Kind::Map, style, anchor)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop().filter(|open| !open.undone) {
                    self.tree.close(open.index);
                    if let Some(style) = self.tree.get(open.index).map(|node| node.style) {
                        self.tree.shape(open.index, self.end(span), style);
                    }
                }
            }
            Event::Alias(id) => self.alias(id, span)?,
            _ => {}
        }
        Ok(())
    }

    /// In `[001:db8::]` the last colon ends a key by the letter of YAML, with an empty value: what stands here now.
    /// To go-yaml a colon without white space behind it is text. Tells whether the empty value is no value.
    fn keep_colon(&mut self) -> bool {
        let (Some(open), Some(key)) = (self.open.last(), self.bare.take()) else { return false };
        let is_value = open.map && open.children % 2 == 1;
        let Some([b':', b',' | b']' | b'}', ..]) = self.text.as_bytes().get(key.end..) else { return false };
        let Some(with_colon) = self.text.get(key.start..=key.end).filter(|_| is_value) else { return false };
        let scalar = Kind::Scalar(scalar::plain(Cow::Borrowed(with_colon)));
        let at = self.base + count(key.start);
        let is_pair = self.tree.get(open.index).is_some_and(|map| map.at == at);
        if !is_pair {
            self.tree.replace_last(at, self.base + count(key.end + 1), scalar);
            return false;
        }
        let Some(open) = self.open.last_mut() else { return false };
        open.undone = true;
        self.tree.truncate(open.index);
        let index = self.tree.push(at, scalar);
        self.tree.shape(index, self.base + count(key.end + 1), Style::Plain);
        true
    }

    fn offset(&self, span: &Span) -> u32 {
        self.base + count(span.start.byte_offset().unwrap_or(0).min(self.text.len()))
    }

    fn end(&self, span: &Span) -> u32 {
        self.base + count(span.end.byte_offset().unwrap_or(0).min(self.text.len()))
    }

    fn add(&mut self, at: u32, kind: Kind<'t>, anchor: usize) -> u32 {
        if let Some(parent) = self.open.last_mut() {
            parent.children += 1;
        }
        let index = self.tree.push(at, kind);
        if anchor != 0 {
            self.anchors.push((anchor, index));
            self.tree.set_anchored(index);
        }
        index
    }

    fn start(&mut self, span: &Span, kind: Kind<'t>, style: StructureStyle, anchor: usize) -> Result<(), Fault> {
        let at = self.offset(span);
        if self.open.len() >= MAX_DEPTH_LEVELS {
            return Err(too_deep(at));
        }
        let map = matches!(kind, Kind::Map);
        let index = self.add(at, kind, anchor);
        let style = if style == StructureStyle::Flow { Style::Flow } else { Style::Plain };
        self.tree.shape(index, at, style);
        self.bare = None;
        self.open.push(Open { index, map, children: 0, undone: false });
        Ok(())
    }

    fn alias(&mut self, id: usize, span: &Span) -> Result<(), Fault> {
        let at = self.offset(span);
        let target =
            self.anchors.binary_search_by_key(&id, |&(anchor, _)| anchor).ok().map(|found| self.anchors[found].1);
        let target = target.ok_or_else(|| Fault::new(at, "an alias without an anchor before it"))?;
        if self.open.iter().any(|open| open.index == target) {
            return Err(Fault::new(at, "the anchor contains itself"));
        }
        let index = self.add(at, Kind::Alias(target), 0);
        self.tree.shape(index, self.end(span), Style::Plain);
        Ok(())
    }

    fn scalar(
        &self,
        value: Cow<'t, str>,
        style: ScalarStyle,
        tag: Option<&granit_parser::Tag>,
        at: u32,
    ) -> Result<Kind<'t>, Fault> {
        let is_key = self.open.last().is_some_and(|open| open.map && open.children.is_multiple_of(2));
        let plain = style == ScalarStyle::Plain;
        match tag {
            None if plain && is_key && value == "<<" => Ok(Kind::Merge),
            None if plain => Ok(Kind::Scalar(scalar::plain(value))),
            None => Ok(Kind::Scalar(Scalar::Text(value))),
            Some(tag) if is_key && value == "<<" && core(tag) == Some("merge") => Ok(Kind::Merge),
            Some(tag) => {
                let tag = core(tag).map_or(Tag::Other, Tag::core);
                scalar::tagged(tag, value).map(Kind::Scalar).map_err(|message| Fault::new(at, message))
            }
        }
    }
}

fn scalar_style(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
        ScalarStyle::Literal | ScalarStyle::Folded => Style::Indented,
    }
}

fn core(tag: &granit_parser::Tag) -> Option<&str> {
    (tag.handle() == "tag:yaml.org,2002:").then(|| tag.suffix())
}
