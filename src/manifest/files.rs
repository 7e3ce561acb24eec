//! Finding and reading the files behind the paths of a command line.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::{Source, count};
use super::{Level, Loaded, MAX_FILE_BYTES, MAX_FOLDER_LEVELS, Parsed, Problem, Unreadable, parse_owned};

pub(super) fn read(paths: &[PathBuf], stdin: impl Read) -> Loaded {
    let mut loaded = Loaded::default();
    let mut stdin = Some(stdin);
    for path in paths {
        if path.as_os_str() == "-" {
            // Standard input can be read once; named twice, the second time is empty.
            if let Some(stdin) = stdin.take() {
                take(&mut loaded, path, stdin);
            }
            continue;
        }
        let mut walk = Walk::default();
        walk.enter(path);
        loaded.unreadable.append(&mut walk.unreadable);
        for file in walk.files {
            match File::open(&file) {
                Ok(open) => take(&mut loaded, &file, open),
                Err(error) => loaded.unreadable.push(Unreadable { path: file, error }),
            }
        }
    }
    loaded
}

fn take(loaded: &mut Loaded, path: &Path, file: impl Read) {
    let mut bytes = Vec::new();
    if let Err(error) = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes) {
        loaded.unreadable.push(Unreadable { path: path.to_owned(), error });
        return;
    }
    let parsed = parse_bytes(bytes, path);
    loaded.files += 1;
    loaded.documents.extend(parsed.documents);
    loaded.problems.extend(parsed.problems);
    loaded.skipped += parsed.skipped;
}

fn parse_bytes(bytes: Vec<u8>, path: &Path) -> Parsed {
    let file: Arc<Path> = Arc::from(path);
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return refused(
            &Source::new(file, String::new()),
            0,
            &format!("larger than {} MiB; not read", MAX_FILE_BYTES >> 20),
        );
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse_owned(text, &file),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            refused(&Source::new(file, text), count(valid), "not UTF-8; the file is not read")
        }
    }
}

fn refused(source: &Source, at: u32, message: &str) -> Parsed {
    let problem = Problem { level: Level::Error, location: source.locate(at), message: message.to_owned(), help: None };
    Parsed { problems: vec![problem], ..Parsed::default() }
}

/// The files below one path, in sorted order.
#[derive(Default)]
struct Walk {
    files: Vec<PathBuf>,
    unreadable: Vec<Unreadable>,
    /// The folders that were entered, with all links followed: a link back leads nowhere new.
    entered: BTreeSet<PathBuf>,
}

impl Walk {
    fn enter(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, 0),
            Ok(_) => self.files.push(path.to_owned()),
            Err(error) => self.fail(path, error),
        }
    }

    fn fail(&mut self, path: &Path, error: io::Error) {
        self.unreadable.push(Unreadable { path: path.to_owned(), error });
    }

    fn folder(&mut self, path: &Path, depth: usize) {
        match fs::canonicalize(path) {
            Ok(real) => {
                if !self.entered.insert(real) {
                    return;
                }
            }
            Err(error) => return self.fail(path, error),
        }
        if depth > MAX_FOLDER_LEVELS {
            return self.fail(path, io::Error::other(format!("more than {MAX_FOLDER_LEVELS} folders deep")));
        }
        let names = fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut names: Vec<PathBuf> = match names {
            Ok(names) => names,
            Err(error) => return self.fail(path, error),
        };
        names.sort_unstable();
        for name in names {
            self.entry(&name, depth);
        }
    }

    fn entry(&mut self, path: &Path, depth: usize) {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            // A link to nowhere matters only if a manifest was expected there.
            Err(error) if is_manifest(path) => return self.fail(path, error),
            Err(_) => return,
        };
        if metadata.is_dir() {
            if !is_hidden(path) {
                self.folder(path, depth + 1);
            }
        } else if metadata.is_file() && is_manifest(path) {
            self.files.push(path.to_owned());
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    let known =
        |extension: &std::ffi::OsStr| ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    path.extension().is_some_and(known)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
