//! What a run over files or a cluster has to say, ready to be written: one [`Report`], many forms.

mod json;
mod text;

use std::sync::Arc;

use serde::Serialize;

pub use self::{
    json::render as render_json,
    text::{Paint, render as render_text},
};
use crate::{
    manifest::{Location, Source},
    rule::{Kind, ObjectName},
};

/// How much something matters to the person or pipeline that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing, or not certain enough for more.
    Info,
    /// Likely to produce errors, or a counterpart that was not seen.
    Warning,
    /// Wrong.
    Error,
}

impl Level {
    /// As reports write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// One step softer; information stays what it is.
    #[must_use]
    pub fn softer(self) -> Self {
        match self {
            Self::Error => Self::Warning,
            Self::Warning | Self::Info => Self::Info,
        }
    }
}

/// Everything a run has to say.
#[derive(Debug, Default)]
pub struct Report {
    /// What the rules found, by file and line.
    pub findings: Vec<Entry>,
    /// What could not be read, or is not read alike by everybody, by file and line.
    pub problems: Vec<Problem>,
    /// The counts.
    pub summary: Summary,
}

/// One finding and where it stands.
#[derive(Debug)]
pub struct Entry {
    /// Id of the rule.
    pub rule: &'static str,
    /// How certain it is.
    pub kind: Kind,
    /// How much it matters in this run.
    pub level: Level,
    /// The object.
    pub object: ObjectName,
    /// JSON pointer into the object.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// Where the field is written.
    pub location: Location,
    /// The text that is shown for it.
    pub source: Arc<Source>,
}

/// Something about the text of a file, and not about what it means.
#[derive(Debug)]
pub struct Problem {
    /// [`Level::Error`] where something was not read.
    pub level: Level,
    /// What it is.
    pub message: String,
    /// What to do; empty where there is nothing to say.
    pub help: String,
    /// Where it is.
    pub location: Location,
    /// The text that is shown for it, where it is still known.
    pub source: Option<Arc<Source>>,
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Files that were read; standard input is one.
    pub files: usize,
    /// Kubernetes objects that were checked.
    pub objects: usize,
    /// Documents that were left aside: no Kubernetes objects, and patches.
    pub skipped: usize,
    /// Paths that could not be read at all.
    pub unreadable: usize,
    /// Findings and problems of level error.
    pub errors: usize,
    /// Findings and problems of level warning.
    pub warnings: usize,
    /// Findings and problems of level info.
    pub infos: usize,
    /// Problems of any level; they are among the three counts above.
    pub problems: usize,
}

impl Report {
    /// Puts findings and problems in the order of files and lines, and counts them.
    #[must_use]
    pub fn new(mut findings: Vec<Entry>, mut problems: Vec<Problem>, counts: Summary) -> Self {
        findings.sort_by(|a, b| (&a.location, a.rule, &a.message).cmp(&(&b.location, b.rule, &b.message)));
        problems.sort_by(|a, b| (&a.location, &a.message).cmp(&(&b.location, &b.message)));
        let count = |level| {
            findings.iter().filter(|it| it.level == level).count()
                + problems.iter().filter(|it| it.level == level).count()
        };
        let summary = Summary {
            errors: count(Level::Error),
            warnings: count(Level::Warning),
            infos: count(Level::Info),
            problems: problems.len(),
            ..counts
        };
        Self { findings, problems, summary }
    }

    /// The worst level there is; `None` without any finding or problem.
    #[must_use]
    pub fn worst(&self) -> Option<Level> {
        let Summary { errors, warnings, infos, .. } = self.summary;
        [(Level::Error, errors), (Level::Warning, warnings), (Level::Info, infos)]
            .into_iter()
            .find_map(|(level, count)| (count > 0).then_some(level))
    }

    /// True if a part of the input was not read, so that a clean report would prove nothing.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.summary.unreadable > 0 || self.problems.iter().any(|it| it.level == Level::Error)
    }
}
