//! A report for programs: one JSON object.

use serde::Serialize;

use super::{Entry, Level, Problem, Report, Summary};
use crate::{
    manifest::Location,
    rule::{Kind, ObjectName},
};

#[derive(Serialize)]
struct Whole<'a> {
    findings: Vec<Finding<'a>>,
    problems: Vec<Trouble<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
struct Finding<'a> {
    rule: &'a str,
    kind: Kind,
    level: Level,
    object: &'a ObjectName,
    field: &'a str,
    message: &'a str,
    help: &'a str,
    location: Place,
}

#[derive(Serialize)]
struct Trouble<'a> {
    level: Level,
    message: &'a str,
    help: &'a str,
    location: Place,
}

#[derive(Serialize)]
struct Place {
    /// `-` is standard input.
    file: String,
    line: u32,
    column: u32,
}

impl From<&Location> for Place {
    fn from(location: &Location) -> Self {
        Self { file: location.file.to_string_lossy().into_owned(), line: location.line, column: location.column }
    }
}

impl<'a> From<&'a Entry> for Finding<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            rule: entry.rule,
            kind: entry.kind,
            level: entry.level,
            object: &entry.object,
            field: &entry.field,
            message: &entry.message,
            help: &entry.help,
            location: Place::from(&entry.location),
        }
    }
}

impl<'a> From<&'a Problem> for Trouble<'a> {
    fn from(problem: &'a Problem) -> Self {
        Self {
            level: problem.level,
            message: &problem.message,
            help: &problem.help,
            location: Place::from(&problem.location),
        }
    }
}

/// Renders a report as one JSON object with `findings`, `problems` and `summary`, indented, with a line break at the end.
///
/// # Errors
/// Never in practice: every key is a text.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let whole = Whole {
        findings: report.findings.iter().map(Finding::from).collect(),
        problems: report.problems.iter().map(Trouble::from).collect(),
        summary: report.summary,
    };
    let mut text = serde_json::to_string_pretty(&whole)?;
    text.push('\n');
    Ok(text)
}
