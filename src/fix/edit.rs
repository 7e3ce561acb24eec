//! Where in the text a difference goes, for maps by indentation; and what must not be edited because it means more than it says.

use std::ops::Range;

use serde_json::Value;

use super::{
    Direction, Refusal,
    difference::{Difference, pointer},
    flow,
    render::{self, Lines},
};
use crate::{
    inject::MARKER,
    manifest::{Shape, Style, Written},
};

/// Spaces of one level where the document does not show its own.
const DEFAULT_STEP: usize = 2;

const BY_HAND: &str = "edit this object by hand";

/// Members that are ours where they stand, so that they may be taken out while others are put in: the marker, and the probe that it
/// claims (the core takes out no other).
const OWN_MEMBERS: [&str; 3] = [MARKER, ANNOTATIONS, "readinessProbe"];
/// Goes with the marker where nothing else is in it.
const ANNOTATIONS: &str = "annotations";

/// What a splice does to the text that stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing: it puts something in.
    Insert,
    /// Writes another number.
    Number,
    /// Writes another port of a probe of ours, which may be a lower number.
    Port,
    /// Writes the marker again.
    Marker,
    /// Takes a member out.
    Remove,
}

/// One change of the text: a range of bytes, and what stands there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Splice {
    pub(super) act: Act,
    pub(super) range: Range<usize>,
    pub(super) text: String,
    /// How deep in the object: of two insertions at one place the deeper one comes first.
    pub(super) depth: usize,
}

/// What edits of one object have in common.
#[derive(Debug)]
pub(super) struct Editor<'a> {
    pub(super) text: &'a str,
    pub(super) line_end: &'a str,
    pub(super) is_json: bool,
    direction: Direction,
    step: usize,
    depth: usize,
    path: Vec<String>,
    splices: Vec<Splice>,
}

/// All splices for one object.
pub(super) fn splices(
    object: Written<'_>,
    differences: &[Difference<'_>],
    direction: Direction,
) -> Result<Vec<Splice>, Refusal> {
    let text = object.text();
    let mut editor = Editor {
        text,
        line_end: line_end_of_file(text),
        is_json: is_json(object),
        direction,
        step: step_of(object),
        depth: 0,
        path: Vec::new(),
        splices: Vec::new(),
    };
    for difference in differences {
        editor.change(object, difference)?;
    }
    editor.splices.sort_by(|a, b| (a.range.start, b.depth).cmp(&(b.range.start, a.depth)));
    let overlap = editor.splices.windows(2).any(|pair| pair[0].range.end > pair[1].range.start);
    if overlap { Err(editor.refusal("two edits fall on the same place", BY_HAND)) } else { Ok(editor.splices) }
}

impl<'a> Editor<'a> {
    pub(super) fn refusal(&self, reason: &str, help: &'static str) -> Refusal {
        Refusal { pointer: pointer(&self.path), line: None, reason: reason.to_owned(), help }
    }

    fn splice(&mut self, act: Act, range: Range<usize>, text: impl Into<String>) {
        self.splices.push(Splice { act, range, text: text.into(), depth: self.depth });
    }

    pub(super) fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.splice(Act::Insert, at..at, text);
    }

    pub(super) fn take_out(&mut self, range: Range<usize>) {
        self.splice(Act::Remove, range, "");
    }

    pub(super) fn lines(&self, indent: usize, step: usize) -> Lines<'a> {
        Lines { indent, unit: " ", step, line_end: self.line_end }
    }

    fn change(&mut self, object: Written<'a>, difference: &Difference<'_>) -> Result<(), Refusal> {
        self.depth = difference.path.len();
        self.path.clone_from(&difference.path);
        let map = self.walk(object, &difference.path)?;
        if map.shape() != Shape::Map {
            return Err(self.refusal("it is not written as a map", BY_HAND));
        }
        for &(key, old, new) in &difference.replaced {
            self.replace(map, key, old, new)?;
        }
        if !difference.removed.is_empty() {
            self.remove(map, &difference.removed, difference.added.is_empty())?;
        }
        match map.style() {
            _ if difference.added.is_empty() => Ok(()),
            Style::Flow => flow::add(self, map, &difference.added),
            _ => self.add(map, &difference.added),
        }
    }

    /// The value at a path, if it is written there and nowhere else counts.
    fn walk(&self, object: Written<'a>, path: &[String]) -> Result<Written<'a>, Refusal> {
        let mut value = self.unshared(object)?;
        for token in path {
            let inner = match value.shape() {
                Shape::List => token.parse().ok().and_then(|index| value.items().nth(index)),
                _ => Some(self.member(value, token)?.1),
            };
            value = self.unshared(inner.ok_or_else(|| self.refusal("an item is not written in its list", BY_HAND))?)?;
        }
        Ok(value)
    }

    fn unshared(&self, value: Written<'a>) -> Result<Written<'a>, Refusal> {
        if value.shape() == Shape::Alias {
            let reason = "the place is written as an alias of an anchor, and other places use the same anchor";
            return Err(self.refusal(reason, "write it out here, or edit the anchor by hand"));
        }
        if value.is_shared() {
            let reason =
                "the place is inside an anchor that an alias refers to, so the edit would change the other place too";
            return Err(self.refusal(reason, "write it out in both places, or edit it by hand"));
        }
        Ok(value)
    }

    /// The one member with this key that the map itself has.
    fn member(&self, map: Written<'a>, key: &str) -> Result<(Written<'a>, Written<'a>), Refusal> {
        let mut found = map.members().filter(|(name, _)| name.is_key(key));
        match (found.next(), found.next()) {
            (Some(member), None) => Ok(member),
            (Some(_), Some(_)) => {
                Err(self.refusal(&format!("the key `{key}` is set twice in one map"), "keep one of them"))
            }
            (None, _) if map.members().any(|(name, _)| name.is_merge()) => {
                let reason = format!("`{key}` comes with a merge key (`<<`)");
                Err(self.refusal(&reason, "write it out here, or edit the anchor by hand"))
            }
            (None, _) => Err(self.refusal(&format!("`{key}` is not found in the text"), BY_HAND)),
        }
    }

    /// Adds members behind the last one and behind the comments that belong to it.
    fn add(&mut self, map: Written<'a>, added: &[(&str, &Value)]) -> Result<(), Refusal> {
        let indent = self.indent(map)?;
        let is_quoted = map.members().all(|(key, _)| key.style() == Style::Quoted);
        let at = self.behind_comments(self.end_of_line(map.end()), indent);
        for (key, value) in added {
            self.insert(at, render::block_member(key, is_quoted, value, self.lines(indent, self.step)));
        }
        Ok(())
    }

    fn replace(&mut self, map: Written<'a>, key: &str, old: &Value, new: &Value) -> Result<(), Refusal> {
        let (name, written) = self.member(map, key)?;
        let value = self.unshared(written)?;
        if old.is_null() && value.range().is_empty() && map.style() != Style::Flow {
            return self.fill(map, name, new);
        }
        if key == MARKER && new.is_string() {
            return self.replace_marker(map, name, value, new);
        }
        // `0x1e` and `030` are numbers too, but a line that stays the same but for its digits has to be seen as such.
        let is_decimal = |it: &str| it == "0" || !it.starts_with('0') && it.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = value.shape() == Shape::Number && self.text.get(value.range()).is_some_and(is_decimal);
        if is_plain && new.is_number() {
            let is_port = key == "port" && self.path.iter().any(|it| it == "readinessProbe");
            self.splice(if is_port { Act::Port } else { Act::Number }, value.range(), new.to_string());
            return Ok(());
        }
        if old.is_null() {
            let help = "remove the line, or give it a value, and run again";
            return Err(self.refusal(&format!("`{key}` is there already, as null"), help));
        }
        let help = "remove it, or write it as a plain decimal number, and run again";
        Err(self.refusal(&format!("`{key}` is there already, as a value that is no plain number"), help))
    }

    /// The marker is ours, in whatever quotes and over however many lines a formatter has written it.
    fn replace_marker(
        &mut self,
        map: Written<'a>,
        name: Written<'a>,
        value: Written<'a>,
        new: &Value,
    ) -> Result<(), Refusal> {
        let is_json = self.is_json || map.style() == Style::Flow && name.style() == Style::Quoted;
        let text = render::flow(new, flow::style(is_json));
        if value.style() != Style::Indented && !value.range().is_empty() {
            self.splice(Act::Marker, value.range(), text);
            return Ok(());
        }
        let colon = self.colon(name)?;
        let range = colon..if value.range().is_empty() { colon } else { value.end() };
        self.without_comments(range.start..self.end_of_line(range.start))?;
        self.splice(Act::Marker, range, format!(" {text}"));
        Ok(())
    }

    /// Puts a value behind a key that has none.
    fn fill(&mut self, map: Written<'a>, key: Written<'a>, new: &Value) -> Result<(), Refusal> {
        let colon = self.colon(key)?;
        // The comment is about the key, which goes when what is put in is taken out again.
        if self.text.get(colon..self.end_of_line(colon)).is_some_and(|it| it.contains('#')) {
            let help = "remove the line, or give it a value, and run again";
            return Err(self.refusal("the key has a comment and no value", help));
        }
        let indent = self.indent(map)? + self.step;
        match render::block_members(new, self.lines(indent, self.step)) {
            Some(members) => self.insert(self.end_of_line(colon), members),
            None => self.insert(colon, format!(" {}", render::flow(new, flow::style(false)))),
        }
        Ok(())
    }

    /// Takes members out. A map that is empty then is written as `{}`.
    fn remove(&mut self, map: Written<'a>, removed: &[&str], nothing_added: bool) -> Result<(), Refusal> {
        let members: Vec<_> = map.members().collect();
        let is_removed = |name: &Written<'_>| removed.iter().any(|key| name.is_key(key));
        for key in removed {
            let (_, value) = self.member(map, key)?;
            let value = self.unshared(value)?;
            let is_own = OWN_MEMBERS.contains(key)
                && (*key != ANNOTATIONS || value.members().all(|(name, _)| name.is_key(MARKER)));
            if self.direction == Direction::In && !is_own {
                let help = "remove it by hand, or run again with --undo first";
                return Err(self.refusal(&format!("`{key}` stands beside what no502 put in"), help));
            }
        }
        let is_all = members.iter().all(|(name, _)| is_removed(name));
        if map.style() == Style::Flow {
            return flow::remove(self, &members, is_removed);
        }
        if is_all && nothing_added {
            return self.empty(map);
        }
        for (index, (name, value)) in members.iter().enumerate().filter(|(_, (name, _))| is_removed(name)) {
            let range = self.lines_of(*name, *value, members.get(index + 1).map(|(next, _)| *next))?;
            self.take_out(range);
        }
        Ok(())
    }

    fn empty(&mut self, map: Written<'a>) -> Result<(), Refusal> {
        let range = map.range();
        let before = self.text.get(..range.start).unwrap_or_default().trim_end();
        if !before.ends_with(':') {
            return Err(self.refusal("nothing would be left of the map", BY_HAND));
        }
        let range = before.len()..range.end;
        self.without_comments(range.clone())?;
        self.splice(Act::Remove, range, " {}");
        Ok(())
    }

    /// The lines of a member, with the line break in front of them. Behind a dash, the next member moves up.
    fn lines_of(
        &self,
        name: Written<'a>,
        value: Written<'a>,
        next: Option<Written<'a>>,
    ) -> Result<Range<usize>, Refusal> {
        let begin = self.begin_of_line(name.start());
        let is_alone = self.text.get(begin..name.start()).is_some_and(|it| it.trim().is_empty());
        let range = match (is_alone, next) {
            (true, _) => {
                let before = self.text.get(..begin).unwrap_or_default();
                let before = before.strip_suffix('\n').unwrap_or(before);
                let before = before.strip_suffix('\r').unwrap_or(before);
                before.len()..self.end_of_line(value.end())
            }
            (false, Some(next)) => name.start()..next.start(),
            (false, None) => return Err(self.refusal("nothing would be left of the map", BY_HAND)),
        };
        self.without_comments(range.clone())?;
        Ok(range)
    }

    pub(super) fn without_comments(&self, range: Range<usize>) -> Result<(), Refusal> {
        let text = self.text.get(range).unwrap_or_default();
        if text.lines().any(|line| line.trim_start().starts_with('#') || line.contains(" #")) {
            let reason = "a comment stands in what would be taken out";
            return Err(self.refusal(reason, "move the comment, and run again"));
        }
        Ok(())
    }

    /// The column of the keys of a map by indentation.
    fn indent(&self, map: Written<'a>) -> Result<usize, Refusal> {
        indent(self.text, map).ok_or_else(|| {
            self.refusal(
                "the map is written in a way that is not edited (tabs, anchors or `?` before its key)",
                BY_HAND,
            )
        })
    }

    fn colon(&self, key: Written<'a>) -> Result<usize, Refusal> {
        let rest = self.text.get(key.end()..).unwrap_or_default();
        let colon = rest.find(|c: char| !c.is_whitespace()).filter(|at| rest[*at..].starts_with(':'));
        let colon = colon.ok_or_else(|| self.refusal("there is no colon behind the key", BY_HAND))?;
        Ok(key.end() + colon + 1)
    }

    pub(super) fn begin_of_line(&self, at: usize) -> usize {
        begin_of_line(self.text, at)
    }

    /// Where the line break of the line is, or the end of the text.
    pub(super) fn end_of_line(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        at + line.strip_suffix('\r').unwrap_or(line).len()
    }

    /// Steps over the comment lines below that are indented like the map, or deeper: they are about what is in it.
    fn behind_comments(&self, end_of_line: usize, indent: usize) -> usize {
        let mut end = end_of_line;
        let rest = self.text.get(end_of_line..).unwrap_or_default();
        let mut at = end_of_line;
        for line in rest.split_inclusive('\n').skip(1) {
            at = if at == end_of_line { end_of_line + rest.find('\n').map_or(0, |it| it + 1) } else { at };
            let trimmed = line.trim();
            if trimmed.starts_with('#') && line.len() - line.trim_start().len() >= indent {
                end = self.end_of_line(at);
            } else if !trimmed.is_empty() {
                break;
            }
            at += line.len();
        }
        end
    }
}

fn begin_of_line(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |line_break| line_break + 1)
}

fn indent(text: &str, map: Written<'_>) -> Option<usize> {
    let column = |key: Written<'_>| {
        let before = text.get(begin_of_line(text, key.start())..key.start())?;
        before.strip_prefix('\u{FEFF}').or(Some(before))
    };
    let mut keys = map.members().filter_map(|(key, _)| column(key));
    let first = keys.next()?;
    let alone = std::iter::once(first).chain(keys).find(|before| before.bytes().all(|byte| byte == b' '));
    let behind_dashes = Some(first).filter(|before| before.bytes().all(|byte| matches!(byte, b' ' | b'-')));
    alone.or(behind_dashes).map(str::len)
}

/// How much deeper the first map inside the object is.
fn step_of(object: Written<'_>) -> usize {
    let of = |map| indent(object.text(), map).filter(|_| object.style() != Style::Flow);
    let inner = object.members().map(|(_, value)| value);
    let inner = inner.filter(|it| it.shape() == Shape::Map && it.style() != Style::Flow);
    let steps = inner.filter_map(|map| of(map)?.checked_sub(of(object)?)).find(|step| *step > 0);
    steps.unwrap_or(DEFAULT_STEP)
}

fn is_json(object: Written<'_>) -> bool {
    object.style() == Style::Flow && object.members().next().is_some_and(|(key, _)| key.style() == Style::Quoted)
}

fn line_end_of_file(text: &str) -> &'static str {
    let first = text.split_inclusive('\n').next().unwrap_or_default();
    if first.ends_with("\r\n") { "\r\n" } else { "\n" }
}
