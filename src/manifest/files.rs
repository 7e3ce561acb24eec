//! Finding and reading the files behind the paths of a command line.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::{Source, count};
use super::{Level, Loaded, MAX_FILE_BYTES, MAX_FOLDER_LEVELS, Parsed, Problem, Unreadable, parse_owned};

/// From this many files on, the work is shared between threads: below, starting one costs more than it saves.
const FILES_WORTH_A_THREAD: usize = 32;

pub(super) fn read(paths: &[PathBuf], stdin: impl Read) -> Loaded {
    let steps = plan(paths, stdin);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(steps.len() / FILES_WORTH_A_THREAD);
    if threads < 2 {
        return carry_out(steps);
    }
    let share = steps.len().div_ceil(threads);
    let mut shares = Vec::with_capacity(threads);
    let mut steps = steps.into_iter();
    for _ in 0..threads {
        shares.push(steps.by_ref().take(share).collect::<Vec<_>>());
    }
    let mut loaded = Loaded::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = shares.into_iter().map(|steps| scope.spawn(|| carry_out(steps))).collect();
        for thread in running {
            match thread.join() {
                Ok(part) => loaded.append(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    loaded
}

/// One thing to do for a path, in the order of the paths.
enum Step {
    Open(PathBuf),
    Fail(Unreadable),
    /// Read already.
    Text(Vec<u8>, PathBuf),
}

fn plan(paths: &[PathBuf], stdin: impl Read) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut stdin = Some(stdin);
    let mut walk = Walk::default();
    for path in paths {
        if path.as_os_str() != "-" {
            walk.enter(path);
            steps.append(&mut walk.steps);
        } else if let Some(stdin) = stdin.take() {
            // Standard input can be read once; named twice, the second time is nothing.
            steps.push(match read_bounded(stdin) {
                Ok(bytes) => Step::Text(bytes, path.clone()),
                Err(error) => Step::Fail(Unreadable { path: path.clone(), error }),
            });
        }
    }
    steps
}

fn carry_out(steps: Vec<Step>) -> Loaded {
    let mut loaded = Loaded::default();
    for step in steps {
        match step {
            Step::Fail(unreadable) => loaded.unreadable.push(unreadable),
            Step::Text(bytes, path) => loaded.take(parse_bytes(bytes, &path)),
            Step::Open(path) => match File::open(&path).and_then(read_bounded) {
                Ok(bytes) => loaded.take(parse_bytes(bytes, &path)),
                Err(error) => loaded.unreadable.push(Unreadable { path, error }),
            },
        }
    }
    loaded
}

/// One byte more than the bound is enough to see that a file is too large.
fn read_bounded(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Loaded {
    fn take(&mut self, parsed: Parsed) {
        self.files += 1;
        self.documents.extend(parsed.documents);
        self.problems.extend(parsed.problems);
        self.skipped += parsed.skipped;
    }

    fn append(&mut self, mut later: Self) {
        self.documents.append(&mut later.documents);
        self.problems.append(&mut later.problems);
        self.unreadable.append(&mut later.unreadable);
        self.files += later.files;
        self.skipped += later.skipped;
    }
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

/// The files below the paths, in sorted order. A path that is named twice, or below another one, counts once.
#[derive(Default)]
struct Walk {
    steps: Vec<Step>,
    /// The files that were named themselves.
    named: BTreeSet<PathBuf>,
    /// The folders that were entered, with all links followed: a link back leads nowhere new.
    entered: BTreeSet<PathBuf>,
}

impl Walk {
    fn enter(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, 0),
            Ok(_) => self.file(path),
            Err(error) => self.fail(path, error),
        }
    }

    fn file(&mut self, path: &Path) {
        if let Ok(real) = fs::canonicalize(path) {
            let is_below = is_manifest(&real) && real.parent().is_some_and(|it| self.entered.contains(it));
            if is_below || !self.named.insert(real) {
                return;
            }
        }
        self.steps.push(Step::Open(path.to_owned()));
    }

    fn fail(&mut self, path: &Path, error: io::Error) {
        self.steps.push(Step::Fail(Unreadable { path: path.to_owned(), error }));
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
        } else if metadata.is_file() && is_manifest(path) && !self.is_named(path) {
            self.steps.push(Step::Open(path.to_owned()));
        }
    }

    fn is_named(&self, path: &Path) -> bool {
        !self.named.is_empty() && fs::canonicalize(path).is_ok_and(|real| self.named.contains(&real))
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
