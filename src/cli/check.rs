//! `no502 check`: the same engine over files.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};

use super::{
    Exit, Failure, Format,
    output::{paint, print},
};
use crate::{
    check::{Settings, check},
    manifest::{self, Loaded},
    policy::Profile,
    report::{Level, Report, render_json, render_text},
};

/// Checks manifests: files, folders, or `-` for standard input, all of them one world
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 clean, 1 findings at or above --fail-on, 2 something could not be read.")]
pub(super) struct Check {
    /// Files, folders (.yaml, .yml and .json files below them), or - for standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How strict to be: advise, standard or strict
    #[arg(long, value_name = "PROFILE", default_value = "standard")]
    profile: Profile,
    /// The files are all there is in the cluster: what they refer to and do not hold is an error
    #[arg(long)]
    complete: bool,
    /// The lowest level of a finding that makes the exit code 1
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t)]
    fail_on: FailOn,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum FailOn {
    #[default]
    Error,
    Warning,
    Info,
    /// Only what cannot be read fails
    Never,
}

impl FailOn {
    fn is_reached(self, worst: Option<Level>) -> bool {
        let threshold = match self {
            Self::Error => Level::Error,
            Self::Warning => Level::Warning,
            Self::Info => Level::Info,
            Self::Never => return false,
        };
        worst.is_some_and(|worst| worst >= threshold)
    }
}

impl Check {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        if self.paths.is_empty() {
            return Err(anyhow!("nothing to check: name files or folders, or - for standard input").into());
        }
        let loaded = manifest::read(&self.paths, io::stdin());
        let is_nothing = loaded.documents.is_empty() && loaded.problems.is_empty();
        let report = check(&loaded, Settings { profile: self.profile, is_complete: self.complete });
        let text = match self.format {
            // "No findings" would be a bold word for nothing at all.
            Format::Text if is_nothing => String::new(),
            Format::Text => render_text(&report, paint()),
            Format::Json => render_json(&report).context("cannot write the report as JSON")?,
        };
        print(&text)?;
        Ok(if self.complain(&loaded) || report.is_incomplete() { Exit::Usage } else { self.exit(&report) })
    }

    fn exit(&self, report: &Report) -> Exit {
        if self.fail_on.is_reached(report.worst()) { Exit::Findings } else { Exit::Clean }
    }

    /// Says on standard error what was not checked at all; true if there was something.
    fn complain(&self, loaded: &Loaded) -> bool {
        for unreadable in &loaded.unreadable {
            super::report(&anyhow!("{unreadable}"));
        }
        let empty: Vec<&PathBuf> = self.paths.iter().filter(|path| is_empty(path, loaded)).collect();
        for path in &empty {
            super::report(&anyhow!("no Kubernetes objects in {}; is it the right one?", name(path)));
        }
        if empty.is_empty() && loaded.unreadable.is_empty() && loaded.documents.is_empty() && loaded.problems.is_empty()
        {
            super::report(&anyhow!("no Kubernetes objects in any of the files; are they the right ones?"));
            return true;
        }
        !empty.is_empty() || !loaded.unreadable.is_empty()
    }
}

/// True for a folder or a standard input that holds nothing: a wrong path must not look like a clean one. Single files may hold
/// anything, because shells expand `*.yaml` to them.
pub(super) fn is_empty(path: &Path, loaded: &Loaded) -> bool {
    if path.as_os_str() != "-" && !path.is_dir() {
        return false;
    }
    let documents = loaded.documents.iter().map(|it| &**it.source().file());
    let problems = loaded.problems.iter().map(|it| &*it.location.file);
    let unreadable = loaded.unreadable.iter().map(|it| it.path.as_path());
    !documents.chain(problems).chain(unreadable).any(|file| file.starts_with(path))
}

pub(super) fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}
