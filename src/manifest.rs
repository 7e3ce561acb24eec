//! Manifests from files: YAML and JSON text becomes Kubernetes objects that know where each field is written.
//!
//! The dialect is the one of `kubectl` (sigs.k8s.io/yaml on go-yaml v2): `yes`, `on` and `y` are booleans, `0777` is 511,
//! merge keys work, the last of two equal keys wins. A document that cannot be read never hides the others: a text is split at
//! its document markers first, and each part is parsed on its own.

mod document;
mod files;
mod json;
mod object;
mod outline;
mod scalar;
mod source;
mod split;
mod tree;
mod write;
mod yaml;

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use document::Document;
pub use outline::{Outline, Shape, Written};
pub use source::{Location, Source};
pub use tree::Style;

/// The largest text that is read, in bytes (64 MiB). Also keeps every offset within 32 bits.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// The most documents that are taken from one file; items of a list count.
pub const MAX_DOCUMENTS_PER_FILE: usize = 100_000;
/// The deepest nesting of maps and lists, in levels: the most that `serde_json` reads by default.
pub const MAX_DEPTH_LEVELS: usize = 127;
/// The most values that the aliases and merge keys of one document may repeat, in values (the guard against alias bombs).
pub const MAX_ALIAS_VALUES: usize = 400_000;
/// The most text that the aliases and merge keys of one document may repeat, in bytes of JSON (16 MiB).
pub const MAX_ALIAS_BYTES: usize = 16 << 20;
/// The deepest folder that is entered below a path, in levels.
pub const MAX_FOLDER_LEVELS: usize = 64;

/// What came out of a set of paths.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The objects, in the order of the paths and of the text.
    pub documents: Vec<Document>,
    /// What could not be understood inside the files, in the same order.
    pub problems: Vec<Problem>,
    /// Paths that could not be read at all: a mistake of the caller, not of a manifest.
    pub unreadable: Vec<Unreadable>,
    /// How many files were read.
    pub files: usize,
    /// How many documents were no Kubernetes objects (Helm values, for example) and were left aside.
    pub skipped: usize,
}

/// What came out of one text.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The objects, in the order of the text.
    pub documents: Vec<Document>,
    /// What could not be understood, in the order of the text.
    pub problems: Vec<Problem>,
    /// How many documents were no Kubernetes objects and were left aside.
    pub skipped: usize,
}

/// A path that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {error}; check the path and its permissions", path.display())]
pub struct Unreadable {
    /// The path as it was given or found.
    pub path: PathBuf,
    /// What the operating system said.
    #[source]
    pub error: io::Error,
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The document was read, but not everybody reads it alike.
    Warning,
    /// The document, or the rest of it, was not read.
    Error,
}

/// Something in a file that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// Where it is.
    pub location: Location,
    /// What it is, in one line.
    pub message: String,
    /// What to do about it, in one line.
    pub help: Option<&'static str>,
}

impl Problem {
    /// True for text that is no YAML because it is a template (`{{`).
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.help == Some(split::TEMPLATE_HELP)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Warning => "warning",
            Level::Error => "error",
        };
        write!(f, "{}: {level}: {}", self.location, self.message)?;
        match self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Reads files, folders (`.yaml`, `.yml`, `.json`, in sorted order, hidden folders left out) and standard input (`-`).
///
/// Never fails as a whole: what cannot be read is in [`Loaded::unreadable`], what cannot be understood in [`Loaded::problems`].
pub fn read(paths: &[PathBuf], stdin: impl Read) -> Loaded {
    files::read(paths, stdin)
}

/// Reads the documents of one text; `file` is the name that locations show.
#[must_use]
pub fn parse(text: &str, file: &Arc<Path>) -> Parsed {
    parse_owned(text.to_owned(), file)
}

/// Reads the documents of one text, each of which is one map and need not say what it is.
#[must_use]
pub fn parse_maps(text: &str, file: &Arc<Path>) -> Parsed {
    split::parse(&Arc::new(Source::new(Arc::clone(file), text.to_owned())), object::collect_map)
}

fn parse_owned(text: String, file: &Arc<Path>) -> Parsed {
    split::parse(&Arc::new(Source::new(Arc::clone(file), text)), object::collect)
}
