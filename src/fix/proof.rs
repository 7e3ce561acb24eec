//! The safety net: the edited text is read again and must hold exactly what it should.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    Direction,
    edit::{Act, Splice},
    spliced,
};
use crate::{
    inject::MARKER,
    manifest::{self, Document, Outline, Parsed, Source},
};

/// What is known of the text before the edit.
#[derive(Debug)]
pub(super) struct Prover<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) outline: &'a Outline<'a>,
    pub(super) documents: &'a [&'a Document],
    pub(super) direction: Direction,
}

impl Prover<'_> {
    /// Proves an edited text. `expected` are the objects that change, by index.
    ///
    /// # Errors
    /// What is not as it should be, in a few words.
    pub(super) fn prove(
        &self,
        text: &str,
        splices: &[&Splice],
        expected: &BTreeMap<usize, &Value>,
    ) -> Result<(), String> {
        if !splices.iter().all(|it| prove_splice(it, self.source.text(), self.direction)) {
            return Err("it would replace text".to_owned());
        }
        let parsed = manifest::parse(text, self.source.file());
        if parsed.documents.len() != self.documents.len() {
            return Err("it would have another number of objects".to_owned());
        }
        for (index, (old, new)) in self.documents.iter().zip(&parsed.documents).enumerate() {
            let is_right = match expected.get(&index) {
                Some(expected) => serde_json::from_str::<Value>(new.json()).is_ok_and(|it| it == **expected),
                None => new.json() == old.json(),
            };
            if !is_right {
                return Err(format!("object {} of the file would be another one", index + 1));
            }
        }
        self.prove_bytes(&parsed, expected)?;
        match self.direction {
            Direction::In => prove_lines(&without_our_own(self.source.text(), splices), text),
            Direction::Out => prove_lines(text, self.source.text()),
        }
    }

    /// Objects that are not edited keep their bytes.
    fn prove_bytes(&self, parsed: &Parsed, expected: &BTreeMap<usize, &Value>) -> Result<(), String> {
        let Some(first) = parsed.documents.first() else { return Ok(()) };
        let after = Outline::of(first.source());
        for (index, (old, new)) in self.documents.iter().zip(&parsed.documents).enumerate() {
            let bytes_before = self.outline.object(old).and_then(|it| it.text().get(it.range()));
            let bytes_after = after.object(new).and_then(|it| it.text().get(it.range()));
            if !expected.contains_key(&index) && (bytes_before.is_none() || bytes_before != bytes_after) {
                return Err(format!("the text of object {} of the file would change", index + 1));
            }
        }
        Ok(())
    }
}

/// Every line of `fewer` is in `more`, in the same order: as it is, with another number, or with something put into it.
fn prove_lines(fewer: &str, more: &str) -> Result<(), String> {
    let mut more = more.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    for (index, line) in fewer.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if !more.any(|other| is_kept(line, other)) {
            return Err(format!("line {} would not stay", index + 1));
        }
    }
    Ok(())
}

fn is_kept(line: &str, other: &str) -> bool {
    line == other
        || is_marker(line, other)
        || without_numbers(line) == without_numbers(other)
        // Nothing was left of a map.
        || line.strip_suffix(" {}") == Some(other)
        || is_filled(line, other)
}

fn is_marker(line: &str, other: &str) -> bool {
    let is_ours = |it: &str| it.contains(MARKER) && it.trim_start().trim_start_matches(['"', '\'']).starts_with(MARKER);
    is_ours(line) && is_ours(other)
}

fn without_numbers(line: &str) -> Vec<&str> {
    line.split(|c: char| c.is_ascii_digit()).filter(|it| !it.is_empty()).collect()
}

/// Something was put into the line, and all of it is still there. Only a line with brackets may be filled in several places.
fn is_filled(line: &str, other: &str) -> bool {
    let Some(room) = other.len().checked_sub(line.len()).filter(|_| !line.trim().is_empty()) else { return false };
    let same_before = line.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let same_behind = line.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b).count();
    if room > 0 && same_before + same_behind >= line.len() {
        return true;
    }
    let mut rest = other.bytes();
    let mut without_numbers = line.bytes().filter(|it| !it.is_ascii_digit());
    line.contains(['{', '}']) && without_numbers.all(|byte| rest.any(|it| it == byte))
}

/// The text before, but for what was ours in it and goes, or is written again.
fn without_our_own(text: &str, splices: &[&Splice]) -> String {
    let own: Vec<&Splice> = splices.iter().copied().filter(|it| matches!(it.act, Act::Marker | Act::Remove)).collect();
    if own.is_empty() { text.to_owned() } else { spliced(text, &own) }
}

/// Each splice does what it says. On the way in numbers only grow, and what goes is ours (`edit.rs` takes out nothing else).
fn prove_splice(splice: &Splice, text: &str, direction: Direction) -> bool {
    let old = text.get(splice.range.clone()).unwrap_or_default();
    let number = |it: &str| it.parse::<u64>().ok().filter(|_| it.bytes().all(|byte| byte.is_ascii_digit()));
    let numbers = number(old).zip(number(&splice.text));
    match splice.act {
        Act::Insert => direction == Direction::In && old.is_empty(),
        Act::Number => numbers.is_some_and(|(old, new)| direction == Direction::Out || new >= old),
        Act::Port => numbers.is_some() && direction == Direction::In,
        Act::Marker => direction == Direction::In && !splice.text.contains('\n'),
        Act::Remove => splice.text.is_empty() || splice.text == " {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_splice_does_no_more_than_it_says() {
        let splice = |act, range, text: &str| Splice { act, range, text: text.to_owned(), depth: 0 };
        let proven = |it: &Splice, direction| prove_splice(it, "grace: 40", direction);
        for (splice, is_in, is_out) in [
            (splice(Act::Number, 7..9, "60"), true, true),
            (splice(Act::Number, 7..9, "30"), false, true),
            (splice(Act::Number, 7..9, "x"), false, false),
            (splice(Act::Number, 0..9, "60"), false, false),
            (splice(Act::Port, 7..9, "30"), true, false),
            (splice(Act::Insert, 7..7, "1"), true, false),
            (splice(Act::Insert, 7..9, "60"), false, false),
            (splice(Act::Remove, 0..9, ""), true, true),
            (splice(Act::Remove, 0..9, "x"), false, false),
        ] {
            let found = (proven(&splice, Direction::In), proven(&splice, Direction::Out));
            assert_eq!(found, (is_in, is_out), "{splice:?}");
        }
    }

    #[test]
    fn lines_may_come_numbers_may_change_and_nothing_may_go() {
        for (fewer, more) in [
            ("a\nb\n", "a\nnew\nb\n"),
            ("grace: 30 # why\n", "grace: 40 # why\n"),
            ("c: [{name: web}] # c\n", "c: [{name: web, x: 1}] # c\n"),
            ("s: {c: [{a: 1}]}\n", "s: {c: [{a: 1, x: 1}], y: 2}\n"),
            ("\"a\": 1\n}\n", "\"a\": 1,\n\"b\": 2\n}\n"),
            ("a\r\nb", "a\r\nb\r\nc"),
            ("no502.dev/injected: '{}'\n", "no502.dev/injected: '{\"grace\":40}'\n"),
        ] {
            assert_eq!(prove_lines(fewer, more), Ok(()), "{fewer}");
        }
        for (fewer, more) in [
            ("a\nb\n", "b\na\n"),
            ("a: one\n", "a: two\n"),
            ("# comment\na\n", "a\n"),
            ("a\n\nb\n", "a\nb\n"),
            ("ab\n", "a b c\n"),
        ] {
            assert!(prove_lines(fewer, more).is_err(), "{fewer}");
        }
    }
}
