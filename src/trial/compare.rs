//! What was expected of a write beside what came of it.

use serde_json::Value as Json;

use super::injected::Injected;
use crate::policy::{Explanation, Field, FieldValue, Source};

/// What a case expects; what it does not name may be anything.
#[derive(Debug, Default)]
pub(super) struct Expect {
    pub(super) allowed: Option<bool>,
    /// Exactly these rules deny, sorted.
    pub(super) denied: Option<Vec<String>>,
    /// Exactly these rules warn, sorted.
    pub(super) warned: Option<Vec<String>>,
    pub(super) injects: Option<Injected>,
    pub(super) settings: Vec<(Field, Json)>,
    pub(super) provenance: Vec<(Field, Origin)>,
    /// Pieces of what the user reads.
    pub(super) says: Vec<String>,
    /// True: the user reads nothing at all.
    pub(super) is_silent: Option<bool>,
}

/// Who set a value, as a suite's file writes it: `ClusterRolloutPolicy gke`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    kind: &'static str,
    /// Empty for any.
    name: String,
}

/// What came of a write.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) is_allowed: bool,
    pub(super) denied: Vec<String>,
    pub(super) warned: Vec<String>,
    pub(super) injected: Injected,
    pub(super) explanation: Option<Explanation>,
    /// The denial, then the warnings.
    pub(super) said: Vec<String>,
    /// Why nothing came of it.
    pub(super) failure: Option<String>,
}

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What: `denied`, `settings profile`.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl Got {
    pub(super) fn failed(failure: String) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }
}

/// The kinds of origins, as files write them and without spaces.
const KINDS: [&str; 6] = ["BuiltIn", "Flag", "ClusterRolloutPolicy", "Namespace", "RolloutPolicy", "Workload"];

impl Origin {
    /// `None` for what is no origin, and for a policy without its name.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (kind, name) = match text {
            "built in" | "built-in" => ("BuiltIn", ""),
            other => other.split_once(' ').unwrap_or((other, "")),
        };
        let kind = KINDS.into_iter().find(|it| it.eq_ignore_ascii_case(kind))?;
        let name = name.trim().trim_matches('"').to_owned();
        let is_whole = !kind.ends_with("Policy") || !name.is_empty();
        is_whole.then_some(Self { kind, name })
    }

    fn of(source: &Source) -> Self {
        let name = match source {
            Source::ClusterPolicy(name) | Source::Policy(name) => name.to_string(),
            Source::BuiltIn | Source::Flag | Source::Namespace | Source::Workload => String::new(),
        };
        Self { kind: source.kind(), name }
    }

    fn is(&self, other: &Self) -> bool {
        self.kind == other.kind && (self.name == other.name || other.name.is_empty())
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.kind == "BuiltIn" { "built in" } else { self.kind };
        let space = if self.name.is_empty() { "" } else { " " };
        write!(formatter, "{kind}{space}{}", self.name)
    }
}

impl Expect {
    pub(super) fn differences(&self, got: &Got) -> Vec<Difference> {
        if let Some(failure) = &got.failure {
            return vec![Difference {
                what: "review".to_owned(),
                expected: "an answer".to_owned(),
                got: failure.clone(),
            }];
        }
        let mut found = Found(Vec::new());
        found.compare("allowed", self.allowed.as_ref(), &got.is_allowed, ToString::to_string);
        found.compare("denied", self.denied.as_ref(), &got.denied, |it| list(it));
        found.compare("warned", self.warned.as_ref(), &got.warned, |it| list(it));
        found.compare("injects", self.injects.as_ref(), &got.injected, ToString::to_string);
        if let Some(explanation) = &got.explanation {
            self.compare_settings(explanation, &mut found);
        }
        for piece in &self.says {
            if !got.said.iter().any(|it| it.contains(piece)) {
                found.add("says", piece.clone(), said(got));
            }
        }
        if let Some(is_silent) = self.is_silent.filter(|it| *it != got.said.is_empty()) {
            found.add("silent", is_silent.to_string(), said(got));
        }
        found.0
    }

    fn compare_settings(&self, explanation: &Explanation, found: &mut Found) {
        for (field, expected) in &self.settings {
            let value = explanation.setting(*field).and_then(|it| it.value.as_ref());
            let got = value.map_or(Json::Null, FieldValue::to_json);
            found.compare(&format!("settings {}", field.path()), Some(expected), &got, json_text);
        }
        for (field, expected) in &self.provenance {
            let source = explanation.setting(*field).map_or(&Source::BuiltIn, |it| &it.source);
            let got = Origin::of(source);
            if !got.is(expected) {
                found.add(&format!("provenance {}", field.path()), expected.to_string(), got.to_string());
            }
        }
    }
}

struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, what: &str, expected: String, got: String) {
        self.0.push(Difference { what: what.to_owned(), expected, got });
    }

    fn compare<T: PartialEq>(&mut self, what: &str, expected: Option<&T>, got: &T, text: impl Fn(&T) -> String) {
        if let Some(expected) = expected.filter(|it| *it != got) {
            self.add(what, text(expected), text(got));
        }
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn said(got: &Got) -> String {
    if got.said.is_empty() { "nothing is said".to_owned() } else { got.said.join(" | ") }
}

fn json_text(json: &Json) -> String {
    match json {
        Json::Null => "not set".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
