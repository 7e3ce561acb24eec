//! A text with its name, and the way from a byte offset to a line and a column.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A place in a file, as people count: lines and columns from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file as it was named; `-` is standard input.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    /// `file:line:column`, which editors and terminals turn into a link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.as_os_str() == "-" {
            write!(f, "stdin:{}:{}", self.line, self.column)
        } else {
            write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
        }
    }
}

/// The text of one file. Documents and problems share it and keep byte offsets only; lines are counted when somebody asks.
#[derive(Debug)]
pub struct Source {
    file: Arc<Path>,
    text: String,
    line_starts: OnceLock<Vec<u32>>,
}

impl Source {
    pub(super) fn new(file: Arc<Path>, text: String) -> Self {
        Self { file, text, line_starts: OnceLock::new() }
    }

    /// The file as it was named; `-` is standard input.
    #[must_use]
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A line without its line break, counted from 1; empty if there is no such line. For snippets.
    #[must_use]
    pub fn line(&self, number: u32) -> &str {
        let starts = self.line_starts();
        let Some(&start) = (number as usize).checked_sub(1).and_then(|index| starts.get(index)) else { return "" };
        let end = starts.get(number as usize).map_or(self.text.len(), |&next| next as usize);
        self.text.get(start as usize..end).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    /// Where a byte offset is. An offset behind the end is the end.
    #[must_use]
    pub fn locate(&self, offset: u32) -> Location {
        let starts = self.line_starts();
        let line = starts.partition_point(|&start| start <= offset).max(1);
        let start = starts.get(line - 1).copied().unwrap_or(0) as usize;
        let mut end = (offset as usize).clamp(start, self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        // The mark at the very beginning of a file is invisible in every editor: it takes no column.
        let before = self.text.get(start..end).unwrap_or_default().trim_start_matches('\u{FEFF}');
        Location { file: Arc::clone(&self.file), line: count(line), column: count(before.chars().count() + 1) }
    }

    fn line_starts(&self) -> &[u32] {
        self.line_starts.get_or_init(|| {
            let breaks = memchr::memchr_iter(b'\n', self.text.as_bytes());
            std::iter::once(0).chain(breaks.map(|at| count(at + 1))).collect()
        })
    }
}

/// Offsets and counts fit 32 bits because a text is bounded by `MAX_FILE_BYTES`.
pub(super) fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
