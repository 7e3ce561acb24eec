//! `no502 policy test`: suites of writes with their expected outcome, for a team's CI.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{ServerFlags, troubles};
use crate::{
    cli::{
        Exit, Failure, Format,
        output::{paint, print},
        report,
    },
    manifest::{self, MAX_FOLDER_LEVELS},
    report::Paint,
    trial::{self, CaseOutcome, Mistake, Outcome, SUITE_FILE},
};

/// Tries writes under policies in files, and compares what comes of them with what was expected
///
/// Every folder with a file policy-test.yaml is a suite: the other manifests in it, and below it, are the cluster, and the file
/// says what is written and what is to come of it. deploy/policies.md says how; deploy/samples/policies has five.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 everything is as expected, 1 something is not, 2 something cannot be read, or there is no suite."
)]
pub(super) struct Test {
    /// Folders with suites, at any depth
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    flags: ServerFlags,
}

/// One folder, tried; or what of it cannot be read.
struct Tried {
    folder: PathBuf,
    outcome: Result<Outcome, Vec<String>>,
}

impl Test {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let mut suites = Suites::default();
        for folder in &self.folders {
            let before = suites.folders.len();
            suites.enter(folder)?;
            if suites.folders.len() == before && !suites.has(folder) {
                return Err(
                    anyhow!("no {SUITE_FILE} in {} or below it; is it the right folder?", folder.display()).into()
                );
            }
        }
        let now = Timestamp::now();
        let tried: Vec<Tried> = suites.folders.iter().map(|it| self.try_suite(it, now)).collect();
        let text = match self.format {
            Format::Text => tried.iter().map(|it| text(it, paint())).chain([summary_text(&tried)]).collect(),
            Format::Json => {
                let json = serde_json::to_string_pretty(&json(&tried)).context("cannot write the report as JSON")?;
                format!("{json}\n")
            }
        };
        print(&text)?;
        let unreadable = tried.iter().filter_map(|it| it.outcome.as_ref().err());
        unreadable.flatten().for_each(|it| report(&anyhow!("{it}")));
        let is_unreadable = tried.iter().any(|it| it.outcome.is_err());
        let is_pass = tried.iter().all(|it| it.outcome.as_ref().is_ok_and(Outcome::is_pass));
        Ok(if is_unreadable {
            Exit::Usage
        } else if is_pass {
            Exit::Clean
        } else {
            Exit::Findings
        })
    }

    fn try_suite(&self, suite: &Folder, now: Timestamp) -> Tried {
        Tried { folder: suite.path.clone(), outcome: self.outcome(suite, now) }
    }

    fn outcome(&self, suite: &Folder, now: Timestamp) -> Result<Outcome, Vec<String>> {
        let path = suite.path.join(SUITE_FILE);
        let text =
            fs::read_to_string(&path).map_err(|error| vec![format!("cannot read {}: {error}", path.display())])?;
        let loaded = manifest::read(&suite.manifests, io::empty());
        let troubles = troubles(&loaded);
        if !troubles.is_empty() {
            return Err(troubles);
        }
        let file: Arc<Path> = Arc::from(path);
        let outcome = trial::run(&text, &file, &loaded.documents, &self.flags.installation(), now);
        outcome.map_err(|mistakes| mistakes.iter().map(Mistake::to_string).collect())
    }
}

/// A folder with a suite.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// The manifests in it and below it, but for those of suites of their own.
    manifests: Vec<PathBuf>,
}

/// The suites below the folders that were named, each once.
#[derive(Debug, Default)]
struct Suites {
    folders: Vec<Folder>,
    /// The folders that were entered, with all links followed: a link back leads nowhere new.
    entered: BTreeSet<PathBuf>,
}

impl Suites {
    fn enter(&mut self, folder: &Path) -> anyhow::Result<()> {
        let metadata = fs::metadata(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        // The file stands for its folder.
        let named = folder.file_name().is_some_and(|it| it == SUITE_FILE);
        let folder = match folder.parent() {
            Some(parent) if named && metadata.is_file() => {
                if parent.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    parent
                }
            }
            _ if metadata.is_dir() => folder,
            _ => return Err(anyhow!("{} is no folder; name the one with {SUITE_FILE}", folder.display())),
        };
        self.walk(folder, None, 0)
    }

    /// True for a folder whose suites are known already.
    fn has(&self, folder: &Path) -> bool {
        let real = fs::canonicalize(folder).unwrap_or_default();
        let known = self.folders.iter().filter_map(|it| fs::canonicalize(&it.path).ok());
        known.into_iter().any(|it| it.starts_with(&real) || Some(it.as_path()) == real.parent())
    }

    /// `owner` is the suite that the folder's manifests are of.
    fn walk(&mut self, folder: &Path, owner: Option<usize>, depth: usize) -> anyhow::Result<()> {
        let unreadable = || format!("cannot read {}", folder.display());
        if depth > MAX_FOLDER_LEVELS {
            return Err(anyhow!("{}: more than {MAX_FOLDER_LEVELS} folders deep", folder.display()));
        }
        if !self.entered.insert(fs::canonicalize(folder).with_context(unreadable)?) {
            return Ok(());
        }
        let entries: io::Result<Vec<PathBuf>> =
            fs::read_dir(folder).and_then(|it| it.map(|entry| Ok(entry?.path())).collect());
        let mut entries = entries.with_context(unreadable)?;
        entries.sort_unstable();
        let is_suite = entries.iter().any(|it| it.file_name().is_some_and(|it| it == SUITE_FILE));
        let owner = if is_suite {
            self.folders.push(Folder { path: folder.to_owned(), manifests: Vec::new() });
            Some(self.folders.len() - 1)
        } else {
            owner
        };
        for path in entries {
            let is_hidden = path.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b"."));
            if path.is_dir() {
                if !is_hidden {
                    self.walk(&path, owner, depth + 1)?;
                }
            } else if is_manifest(&path)
                && let Some(suite) = owner.and_then(|it| self.folders.get_mut(it))
            {
                suite.manifests.push(path);
            }
        }
        Ok(())
    }
}

fn is_manifest(path: &Path) -> bool {
    let is_known = |it: &str| ["yaml", "yml", "json"].iter().any(|known| it.eq_ignore_ascii_case(known));
    let is_suite = path.file_name().is_some_and(|it| it == SUITE_FILE);
    !is_suite && path.extension().and_then(|it| it.to_str()).is_some_and(is_known)
}

fn text(tried: &Tried, paint: Paint) -> String {
    let mut text = format!("{}\n", tried.folder.display());
    let (ok, failed, end) = match paint {
        Paint::Plain => ("", "", ""),
        Paint::Colour => ("\x1b[32m", "\x1b[31m", "\x1b[0m"),
    };
    let Ok(outcome) = &tried.outcome else {
        return format!("{text}  {failed}cannot be read{end}\n");
    };
    for problem in &outcome.problems {
        let _ = writeln!(text, "  {failed}FAIL{end} {problem}");
    }
    for case in &outcome.cases {
        let (mark, colour) = if case.differences.is_empty() { ("ok  ", ok) } else { ("FAIL", failed) };
        let _ = writeln!(text, "  {colour}{mark}{end} {}", case.name);
        text.push_str(&differences(case));
    }
    text
}

fn differences(case: &CaseOutcome) -> String {
    let mut text = String::new();
    if case.differences.is_empty() {
        return text;
    }
    let _ = writeln!(text, "         {}", case.location);
    for it in &case.differences {
        let _ = writeln!(
            text,
            "         {}\n           expected: {}\n           got:      {}",
            it.what, it.expected, it.got
        );
    }
    let is_told = case.differences.iter().any(|it| it.what == "says" || it.what == "silent");
    for line in case.said.iter().filter(|_| !is_told).flat_map(|it| it.lines()) {
        let _ = writeln!(text, "         said: {line}");
    }
    text
}

fn summary_text(tried: &[Tried]) -> String {
    let Summary { suites, unreadable, cases, failed, problems } = Summary::of(tried);
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut text = format!("{} in {}: {failed} failed", plural(cases, "case"), plural(suites, "suite"));
    if problems > 0 {
        let _ = write!(text, ", {} of policies", plural(problems, "problem"));
    }
    if unreadable > 0 {
        let _ = write!(text, ", {} cannot be read", plural(unreadable, "suite"));
    }
    format!("{text}\n")
}

#[derive(Debug, serde::Serialize)]
struct Summary {
    suites: usize,
    unreadable: usize,
    cases: usize,
    failed: usize,
    problems: usize,
}

impl Summary {
    fn of(tried: &[Tried]) -> Self {
        let outcomes = || tried.iter().filter_map(|it| it.outcome.as_ref().ok());
        let cases = || outcomes().flat_map(|it| &it.cases);
        Self {
            suites: tried.len(),
            unreadable: tried.len() - outcomes().count(),
            cases: cases().count(),
            failed: cases().filter(|it| !it.differences.is_empty()).count(),
            problems: outcomes().map(|it| it.problems.len()).sum(),
        }
    }
}

fn json(tried: &[Tried]) -> Json {
    let suite = |it: &Tried| {
        let (problems, cases) = match &it.outcome {
            Ok(outcome) => (outcome.problems.clone(), outcome.cases.iter().map(case_json).collect()),
            Err(_) => (Vec::new(), Vec::new()),
        };
        let passed = it.outcome.as_ref().is_ok_and(Outcome::is_pass);
        let unreadable = it.outcome.as_ref().err();
        json!({
            "folder": it.folder.to_string_lossy(),
            "passed": passed,
            "problems": problems,
            "unreadable": unreadable.cloned().unwrap_or_default(),
            "cases": cases,
        })
    };
    json!({ "suites": tried.iter().map(suite).collect::<Vec<_>>(), "summary": Summary::of(tried) })
}

fn case_json(case: &CaseOutcome) -> Json {
    let differences = case.differences.iter();
    let differences = differences.map(|it| json!({ "what": it.what, "expected": it.expected, "got": it.got }));
    json!({
        "name": case.name,
        "passed": case.differences.is_empty(),
        "file": case.location.file.to_string_lossy(),
        "line": case.location.line,
        "differences": differences.collect::<Vec<_>>(),
        "said": case.said,
    })
}
