//! From JSON text to a tree. JSON is not read as YAML: tabs are white space in it, and surrogate pairs are one character.

use std::borrow::Cow;

use super::MAX_DEPTH_LEVELS;
use super::scalar::Scalar;
use super::source::count;
use super::tree::{Fault, Kind, Style, Tree, too_deep};

/// Reads the values of one part of a file, one after another; `base` is the byte offset of the part.
/// Values that were complete before a fault stay.
pub(super) fn read(text: &str, base: u32) -> (Vec<Tree<'_>>, Option<Fault>) {
    let mut done = Vec::new();
    let mut reader = Reader { text, base, at: 0, tree: Tree::default() };
    loop {
        reader.skip_space();
        if reader.at == text.len() {
            return (done, None);
        }
        if let Err(fault) = reader.value(0) {
            return (done, Some(fault));
        }
        done.push(std::mem::take(&mut reader.tree));
    }
}

struct Reader<'t> {
    text: &'t str,
    base: u32,
    at: usize,
    tree: Tree<'t>,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn offset(&self) -> u32 {
        self.base + count(self.at)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn fault<T>(&self, expected: &str) -> Result<T, Fault> {
        let found = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        let found = found.map_or_else(|| "the end of the text".to_owned(), |c| format!("`{}`", c.escape_debug()));
        Err(Fault::new(self.offset(), format!("expected {expected} in JSON, found {found}")))
    }

    fn expect(&mut self, byte: u8, expected: &str) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return self.fault(expected);
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        let at = self.offset();
        match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH_LEVELS => Err(too_deep(at)),
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.text(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Scalar::Bool(true)),
            Some(b'f') => self.literal("false", Scalar::Bool(false)),
            Some(b'n') => self.literal("null", Scalar::Null),
            _ => self.fault("a value"),
        }
    }

    fn map(&mut self, depth: usize) -> Result<(), Fault> {
        let index = self.tree.push(self.offset(), Kind::Map);
        self.at += 1;
        self.skip_space();
        if self.peek() != Some(b'}') {
            loop {
                self.text()?;
                self.skip_space();
                self.expect(b':', "`:`")?;
                self.skip_space();
                self.value(depth + 1)?;
                if !self.another()? {
                    break;
                }
            }
        }
        self.expect(b'}', "`,` or `}`")?;
        self.tree.close(index);
        self.tree.shape(index, self.offset(), Style::Flow);
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<(), Fault> {
        let index = self.tree.push(self.offset(), Kind::List);
        self.at += 1;
        self.skip_space();
        if self.peek() != Some(b']') {
            loop {
                self.value(depth + 1)?;
                if !self.another()? {
                    break;
                }
            }
        }
        self.expect(b']', "`,` or `]`")?;
        self.tree.close(index);
        self.tree.shape(index, self.offset(), Style::Flow);
        Ok(())
    }

    /// Steps over a comma, if there is one.
    fn another(&mut self) -> Result<bool, Fault> {
        self.skip_space();
        if self.peek() != Some(b',') {
            return Ok(false);
        }
        self.at += 1;
        self.skip_space();
        if matches!(self.peek(), Some(b'}' | b']')) {
            return self.fault("another value after `,`");
        }
        Ok(true)
    }

    fn literal(&mut self, word: &str, scalar: Scalar<'t>) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return self.fault("a value");
        }
        let at = self.offset();
        self.at += word.len();
        let index = self.tree.push(at, Kind::Scalar(scalar));
        self.tree.shape(index, self.offset(), Style::Plain);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.fault("a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let (at, start) = (self.offset(), self.at);
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let index = self.tree.push(at, Kind::Scalar(Scalar::Number(&self.text[start..self.at])));
        self.tree.shape(index, self.offset(), Style::Plain);
        Ok(())
    }

    fn text(&mut self) -> Result<(), Fault> {
        let at = self.offset();
        if self.peek() != Some(b'"') {
            return self.fault("a string");
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += 1;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                }
                Some(0x20..) => {}
                Some(_) => return self.fault("an escape instead of a control character"),
                None => return self.fault("the end of a string"),
            }
        }
        self.at += 1;
        let quoted = &self.text[start..self.at];
        let value = if escaped {
            let value =
                serde_json::from_str(quoted).map_err(|error| Fault::new(at, format!("a string in JSON: {error}")))?;
            Cow::Owned(value)
        } else {
            Cow::Borrowed(&quoted[1..quoted.len() - 1])
        };
        let index = self.tree.push(at, Kind::Scalar(Scalar::Text(value)));
        self.tree.shape(index, self.offset(), Style::Quoted);
        Ok(())
    }
}
