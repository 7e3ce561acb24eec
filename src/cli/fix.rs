//! `no502 fix`: the injections, written into files; and taken out again, of files and of live objects.

mod interrupt;
mod live;
mod write;

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use json_patch::Patch;
use rustc_hash::FxHashSet;
use similar::TextDiff;

use self::interrupt::Interrupt;
use super::{Exit, Failure};
use crate::{
    check::{Candidate, candidates, common_folder},
    facts::DEFAULT_NAMESPACE,
    fix::{Change, Direction, Edited, Refusal, Renamed, edit, taken_out, tidied, without_empty_map},
    inject::{self, Outcome, inject, undo, would},
    manifest::{self, Document, Level, Loaded, Problem, Source},
    policy::Policies,
    snapshot::Snapshot,
};

/// Lines of context around each change of a diff.
const DIFF_CONTEXT_LINES: usize = 3;
/// What to do about a template.
const CHART_HELP: &str = "fix what it renders to: helm template CHART | no502 fix -";
/// Behind what would be done, but for the mode of the settings.
const HELD_BACK: &str = "; the annotation no502.dev/inject: warn holds it back";

/// Adds preStop sleeps, grace periods and, on request, readiness probes to manifests, in place
///
/// Edits the YAML or JSON text and adds nothing but lines and raised numbers: comments, order and style stay. Of what is there only what
/// it put in itself is written again or, once it is stale, taken out. All files are one world, so that
/// Services and Namespaces in other files count, as with `no502 check`. What each edit is for is noted in the annotation
/// no502.dev/injected of the pod template, so that --undo can take it out again. Files are replaced as a whole or not at
/// all. The sleep needs Kubernetes 1.30 or newer.
///
/// Not edited, with a line that says why: Helm templates and placeholders, objects that a kustomization patches, places that
/// share their text with others by anchors, aliases or merge keys, keys that are set twice. Charts and overlays: fix what they
/// render to, or write the same lines into the template by hand. An overlay is seen only if it is in a folder of the PATHs or above.
/// If one of the files cannot be read, none is written.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done, or nothing to do; 1 --check would change something, or something was not edited; \
                        2 wrong use, or something could not be read or written; 3 the cluster cannot be reached."
)]
pub(super) struct Fix {
    /// Files, folders (.yaml, .yml and .json files below them), or - for standard input, which is printed with its changes;
    /// with --live KIND/NAME, such as deployment/web
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print the changes as a unified diff and write nothing
    #[arg(long)]
    diff: bool,
    /// Write nothing; exit code 1 if something would be changed
    #[arg(long)]
    check: bool,
    /// Take out what no502 put in, as far as nobody has changed it since
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    live: live::Live,
}

impl Fix {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        if self.live.is_meant() {
            if !self.undo {
                return Err(
                    anyhow!("--live is for --undo: what is injected into live objects comes from no502 serve").into()
                );
            }
            return self.live.run(&self.paths);
        }
        if self.paths.is_empty() {
            return Err(anyhow!("nothing to fix: name files or folders, or - for standard input").into());
        }
        for path in self.paths.iter().filter(|it| !is_stdin(it)) {
            only_files_and_folders(path)?;
        }
        let mut stdin = Vec::new();
        if self.paths.iter().any(|path| is_stdin(path)) {
            io::stdin().lock().take(manifest::MAX_FILE_BYTES + 1).read_to_end(&mut stdin).context("standard input")?;
        }
        if stdin.len() as u64 > manifest::MAX_FILE_BYTES {
            let most = manifest::MAX_FILE_BYTES >> 20;
            return Err(
                anyhow!("standard input is larger than {most} MiB; nothing is printed, give it in parts").into()
            );
        }
        let loaded = manifest::read(&self.paths, stdin.as_slice());
        let mut run = Run::new(&self, &loaded)?;
        if run.is_whole(&loaded) {
            run.files(&loaded)?;
            run.rest_of_stdin(&stdin)?;
            run.summary()?;
        } else {
            run.rest_of_stdin(&stdin)?;
        }
        Ok(run.exit)
    }

    /// What comes on standard output is text for others, so that everything else goes to standard error.
    fn prints_text(&self) -> bool {
        self.diff || self.paths.iter().any(|path| is_stdin(path))
    }

    fn is_dry(&self) -> bool {
        self.diff || self.check
    }

    fn direction(&self) -> Direction {
        if self.undo { Direction::Out } else { Direction::In }
    }
}

/// What is to be done to one document.
struct Task<'a> {
    candidate: &'a Candidate<'a>,
    patch: Patch,
    notices: Vec<String>,
}

/// The documents of one text, and what is to be done to them.
struct FileTasks<'a> {
    source: &'a Arc<Source>,
    documents: Vec<&'a Document>,
    tasks: Vec<Task<'a>>,
}

/// One run over files.
struct Run<'o> {
    options: &'o Fix,
    exit: Exit,
    changed: usize,
    files: usize,
    refused: usize,
    stdin_done: bool,
    /// What the names of a diff are relative to.
    diff_folder: PathBuf,
}

impl<'o> Run<'o> {
    fn new(options: &'o Fix, loaded: &Loaded) -> Result<Self, Failure> {
        let here = env::current_dir().context("the current folder")?;
        let mut diff_folder = here.clone();
        if options.diff {
            let files = loaded.documents.iter().map(|it| it.source().file()).filter(|it| !is_stdin(it));
            files.for_each(|file| diff_folder = common_folder(&diff_folder, &real_path(file)));
            if diff_folder != here {
                super::report(&anyhow!("apply the diff in {} (patch -p1, git apply)", diff_folder.display()));
            }
        }
        let exit = Exit::Clean;
        Ok(Self { options, exit, changed: 0, files: 0, refused: 0, stdin_done: false, diff_folder })
    }

    /// The worst exit code counts.
    fn raise(&mut self, exit: Exit) {
        if exit as u8 > self.exit as u8 {
            self.exit = exit;
        }
    }

    /// False, with what is wrong, if the files are not all there is: what is not known may be the Service or the Namespace that
    /// decides.
    fn is_whole(&mut self, loaded: &Loaded) -> bool {
        for unreadable in &loaded.unreadable {
            super::report(&anyhow!("{unreadable}"));
        }
        let errors = loaded.problems.iter().filter(|it| it.level == Level::Error);
        let (templates, broken): (Vec<&Problem>, Vec<&Problem>) = errors.partition(|it| it.is_template());
        for problem in &broken {
            super::report(&anyhow!("{problem}"));
        }
        for Problem { location, message, .. } in &templates {
            super::report(&anyhow!(
                "{location}: not edited: it is a template that is no YAML yet ({message}); {CHART_HELP}"
            ));
            self.refused += 1;
            self.raise(Exit::Findings);
        }
        let troubles = loaded.unreadable.len() + broken.len();
        if troubles > 0 {
            let them = if troubles == 1 { "it" } else { "them" };
            super::report(&anyhow!("nothing is changed: repair {them}, or leave {them} out"));
            self.raise(Exit::Usage);
        } else if loaded.documents.is_empty() && loaded.problems.is_empty() {
            super::report(&anyhow!("no Kubernetes objects in any of the files; are they the right ones?"));
            self.raise(Exit::Usage);
        }
        troubles == 0
    }

    fn files(&mut self, loaded: &Loaded) -> Result<(), Failure> {
        let namespace = self.options.live.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let found = candidates(loaded, namespace);
        let policies = Policies::default();
        let mut files: Vec<FileTasks<'_>> = Vec::new();
        for document in &loaded.documents {
            match files.last_mut().filter(|it| Arc::ptr_eq(it.source, document.source())) {
                Some(file) => file.documents.push(document),
                None => {
                    files.push(FileTasks { source: document.source(), documents: vec![document], tasks: Vec::new() });
                }
            }
        }
        let mut seen: FxHashSet<PathBuf> = FxHashSet::default();
        let mut at = 0;
        for candidate in &found.workloads {
            while files.get(at).is_some_and(|it| !Arc::ptr_eq(it.source, candidate.document.source())) {
                at += 1;
            }
            let Some(task) = self.task(candidate, &found.snapshot, &policies)? else { continue };
            match found.reason_to_leave(candidate) {
                Some(refusal) => self.refuse(candidate, &refusal),
                None => files[at].tasks.push(task),
            }
        }
        let interrupt = Interrupt::listen().context("signals")?;
        for file in files.iter().filter(|it| !it.tasks.is_empty()) {
            if interrupt.is_asked() {
                return Err(anyhow!("interrupted with {} written; the other files are as they were", self.files).into());
            }
            let name = file.source.file();
            // One file by two names is edited once.
            if is_stdin(name) || seen.insert(real_path(name)) {
                self.file(file)?;
            }
        }
        Ok(())
    }

    fn task<'a>(
        &mut self,
        candidate: &'a Candidate<'a>,
        snapshot: &Snapshot,
        policies: &Policies,
    ) -> Result<Option<Task<'a>>, Failure> {
        let renamed = Renamed::of(&candidate.workload, candidate.document);
        let workload = renamed.as_ref().map_or(&candidate.workload, |it| &it.workload);
        if self.options.undo {
            return Ok(match undo(workload) {
                Ok(patch) => patch.map(|patch| {
                    let notices = vec![taken_out(workload, &patch)];
                    Task { candidate, patch, notices }
                }),
                Err(error) => {
                    let reason = error.to_string();
                    let help = "edit it by hand";
                    self.refuse(candidate, &Refusal { pointer: String::new(), line: None, reason, help });
                    None
                }
            });
        }
        let write = inject::Candidate { old: None, new: workload, template_is_unchanged: false };
        let injection = inject(write, snapshot, policies);
        let (made, other): (Vec<_>, Vec<_>) = injection
            .notices
            .into_iter()
            .filter(|it| !it.text.is_empty())
            .partition(|it| it.outcome == Outcome::Injected);
        for notice in other {
            let held_back = if notice.outcome == Outcome::WouldInject { HELD_BACK } else { "" };
            self.say(&line(candidate, "", &format!("{}{held_back}", notice.text)))?;
        }
        let patch = match &renamed {
            Some(renamed) => renamed.noted(injection.patch),
            None => injection.patch,
        };
        let Some(patch) = patch.map(|it| without_empty_map(it, workload)) else { return Ok(None) };
        let mut notices: Vec<String> = made.into_iter().map(|it| it.text).collect();
        if notices.is_empty() {
            notices.push(tidied(&patch, workload, renamed.is_some()));
        }
        Ok(Some(Task { candidate, patch, notices }))
    }

    fn refuse(&mut self, candidate: &Candidate<'_>, refusal: &Refusal) {
        let place = candidate.document.locate(&refusal.pointer);
        let text = line_at(candidate, refusal.line.unwrap_or(place.line), &format!("not edited: {refusal}"));
        super::report(&anyhow!("{text}"));
        self.refused += 1;
        self.raise(Exit::Findings);
    }

    fn file(&mut self, file: &FileTasks<'_>) -> Result<(), Failure> {
        let changes: Vec<Change<'_>> =
            file.tasks.iter().map(|it| Change { index: it.candidate.index, patch: &it.patch }).collect();
        let Edited { text, refused } = edit(file.source, &file.documents, &changes, self.options.direction());
        for (index, refusal) in &refused {
            if let Some(task) = file.tasks.get(*index) {
                self.refuse(task.candidate, refusal);
            }
        }
        if text == file.source.text() || !self.deliver(file.source, &text)? {
            return Ok(());
        }
        self.files += 1;
        let refused: FxHashSet<usize> = refused.into_iter().map(|(index, _)| index).collect();
        for (index, task) in file.tasks.iter().enumerate() {
            if refused.contains(&index) {
                continue;
            }
            self.changed += 1;
            let pointer = place(&task.patch);
            for notice in &task.notices {
                let notice = if self.options.is_dry() { would(notice) } else { notice.clone() };
                self.say(&line(task.candidate, &pointer, &notice))?;
            }
        }
        if self.options.check {
            self.raise(Exit::Findings);
        }
        Ok(())
    }

    /// Writes, prints or shows a changed text. False if that failed.
    fn deliver(&mut self, source: &Source, text: &str) -> Result<bool, Failure> {
        let file = source.file();
        if self.options.diff {
            print(&diff(&self.name_in_diff(file), source.text(), text))?;
            self.stdin_done |= is_stdin(file);
            return Ok(true);
        }
        if self.options.check {
            return Ok(true);
        }
        if is_stdin(file) {
            self.stdin_done = true;
            print(text)?;
            return Ok(true);
        }
        match write::replace(file, source.text(), text) {
            Ok(()) => Ok(true),
            Err(error) => {
                super::report(&anyhow!("{}: {error:#}; it is as it was", file.display()));
                self.raise(Exit::Usage);
                Ok(false)
            }
        }
    }

    fn name_in_diff(&self, file: &Path) -> String {
        if is_stdin(file) {
            return "stdin".to_owned();
        }
        let real = real_path(file);
        real.strip_prefix(&self.diff_folder).unwrap_or(&real).display().to_string()
    }

    /// A filter prints what it was given where there is nothing to change.
    fn rest_of_stdin(&self, stdin: &[u8]) -> Result<(), Failure> {
        let is_filter = self.options.paths.iter().any(|it| is_stdin(it)) && !self.options.is_dry();
        if is_filter && !self.stdin_done { print_bytes(stdin) } else { Ok(()) }
    }

    fn summary(&self) -> Result<(), Failure> {
        let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (objects, files) = (plural(self.changed, "object"), plural(self.files, "file"));
        let text = match (self.changed, self.options.undo, self.options.is_dry()) {
            (0, false, _) => "nothing to fix".to_owned(),
            (0, true, _) => "nothing to take out".to_owned(),
            (_, false, false) => format!("fixed {objects} in {files}"),
            (_, false, true) => format!("would fix {objects} in {files}"),
            (_, true, false) => format!("took the injections out of {objects} in {files}"),
            (_, true, true) => format!("would take the injections out of {objects} in {files}"),
        };
        let refused = if self.refused == 0 { String::new() } else { format!(", {} not edited", self.refused) };
        self.say(&format!("{text}{refused}"))
    }

    /// One line for the user.
    fn say(&self, text: &str) -> Result<(), Failure> {
        if !self.options.prints_text() {
            return print(&format!("{text}\n"));
        }
        // There is nowhere to complain about standard error.
        let _ = writeln!(io::stderr(), "{text}");
        Ok(())
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A pipe that nobody writes to, or a device, would be read for ever.
fn only_files_and_folders(path: &Path) -> anyhow::Result<()> {
    match fs::metadata(path) {
        Ok(it) if !it.is_file() && !it.is_dir() => {
            Err(anyhow!("{}: neither a file nor a folder; use - for standard input", path.display()))
        }
        // What is not there is said with the rest.
        _ => Ok(()),
    }
}

/// `web.yaml:12: Deployment "web": text`.
fn line(candidate: &Candidate<'_>, pointer: &str, text: &str) -> String {
    line_at(candidate, candidate.document.locate(pointer).line, text)
}

fn line_at(candidate: &Candidate<'_>, line: u32, text: &str) -> String {
    let file = candidate.document.source().file();
    let file = if is_stdin(file) { "stdin".to_owned() } else { file.display().to_string() };
    format!("{file}:{line}: {}: {text}", candidate.workload.meta)
}

/// Where the first change is that people care about.
fn place(patch: &Patch) -> String {
    let paths = || patch.0.iter().map(|it| it.path().as_str());
    paths().find(|it| it.contains("/spec/containers/")).or_else(|| paths().next_back()).unwrap_or_default().to_owned()
}

/// A diff that `patch -p1` and `git apply` take. Their lines end with a line feed and nothing else.
fn diff(name: &str, old: &str, new: &str) -> String {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let diff = TextDiff::configure().newline_terminated(true).diff_slices(&old, &new);
    let (before, after) = (header(&format!("a/{name}")), header(&format!("b/{name}")));
    diff.unified_diff().context_radius(DIFF_CONTEXT_LINES).header(&before, &after).to_string()
}

/// A name with a space ends with a tab, and one with odd letters is written as in C: both programs agree on that.
fn header(name: &str) -> String {
    if name.contains(|it: char| it.is_control() || matches!(it, '"' | '\\')) {
        let quoted = name.chars().map(|it| match it {
            '"' | '\\' => format!("\\{it}"),
            it if it.is_control() => format!("\\{:03o}", u32::from(it)),
            it => it.to_string(),
        });
        return format!("\"{}\"", quoted.collect::<String>());
    }
    if name.contains(' ') { format!("{name}\t") } else { name.to_owned() }
}

fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// A reader that has seen enough (`| head`) is no failure.
fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.context("cannot write to standard output")?),
    }
}
