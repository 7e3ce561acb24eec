//! The rules over files: every object that was read is one world, and nothing else is in the cluster.
//!
//! Files know less than a cluster: pods are made from custom resources, patches look like objects, a document may be broken. So
//! a finding that rests on something that *was not seen* says less where there is a reason why it may be there (`doubt.rs`).

mod candidates;
mod doubt;
mod kustomize;
mod objects;

use std::{path::Path, sync::Arc};

use rustc_hash::FxHashMap;

pub use self::{
    candidates::{Candidate, Candidates, candidates},
    kustomize::common_folder,
};
use self::{doubt::Doubts, kustomize::Kustomize, objects::Objects};
use crate::{
    facts::{DEFAULT_NAMESPACE, Facts, Workload},
    link::{self, Write},
    manifest::{self, Document, Loaded, Source},
    policy::{Action, Field, FieldValue, Installation, Policies, Profile},
    report::{Entry, Level, Problem, Report, Summary},
    rule::{Finding, Kind, ObjectName, Words},
    snapshot::{Store, World},
    verdict,
};

/// The API server's minor version that files are written for: the oldest one that Kubernetes supports, and new enough for everything
/// that is injected.
const FILES_SERVER_MINOR: u32 = 35;

/// How strict a run is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// The table from finding kind to level.
    pub profile: Profile,
    /// The files are all there is: a counterpart that is not in them is an error.
    pub is_complete: bool,
}

/// Checks everything that was read, as one world.
#[must_use]
pub fn check(loaded: &Loaded, settings: Settings) -> Report {
    let kustomize = Kustomize::around(&loaded.documents);
    let objects = objects::read(&loaded.documents, &kustomize, DEFAULT_NAMESPACE);
    let doubts = Doubts::of(loaded, &objects, kustomize);
    let Objects { whole, mut problems, skipped, .. } = objects;
    problems.extend(trouble(loaded));
    let counts = Summary {
        files: loaded.files,
        objects: whole.len(),
        skipped: loaded.skipped + skipped,
        unreadable: loaded.unreadable.len(),
        ..Summary::default()
    };

    let mut findings = Vec::new();
    let mut workloads: Vec<Workload> = Vec::new();
    let mut store = Store::complete();
    store.set_server_minor(Some(FILES_SERVER_MINOR));
    let mut places: FxHashMap<ObjectName, &Document> = FxHashMap::default();
    for object in whole {
        let own = own_findings(&object.facts).into_iter();
        findings.extend(own.map(|finding| entry(finding, object.document, &doubts, settings)));
        places.insert(ObjectName::from(object.facts.meta()), object.document);
        if let Facts::Workload(workload) = &object.facts
            && !workload.meta.deleting
        {
            workloads.push(workload.clone());
        }
        if !object.facts.meta().deleting {
            store.apply(object.facts);
        }
    }
    let snapshot = store.snapshot();
    let profile = (Field::Profile, FieldValue::Word(settings.profile.name()));
    let policies = Policies::new(Installation { values: vec![profile], ..Installation::default() });
    for workload in workloads {
        if let Some(document) = places.get(&ObjectName::from(&workload.meta)) {
            let own = verdict::file_findings(&workload, &snapshot, &policies).into_iter();
            findings.extend(own.map(|finding| entry(finding, document, &doubts, settings)));
        }
    }
    for finding in link::survey(&World::of(&snapshot)) {
        if let Some(document) = places.get(&finding.object) {
            findings.push(entry(finding, document, &doubts, settings));
        }
    }
    Report::new(findings, problems, counts)
}

/// What an object has against itself. Objects of a controller repeat its template, which is where the fault is.
fn own_findings(facts: &Facts) -> Vec<Finding> {
    let is_root = |it: &Workload| it.meta.controller.is_none() && !it.meta.deleting && !it.is_finished;
    match facts {
        Facts::Workload(workload) if is_root(workload) => verdict::self_findings(Write { old: None, new: Some(facts) }),
        _ => Vec::new(),
    }
}

fn entry(finding: Finding, document: &Document, doubts: &Doubts, settings: Settings) -> Entry {
    let doubt = doubts.about(&finding, document);
    let Finding { rule, kind, object, words: Words { field, message, help }, .. } = finding;
    let level = settings.level(kind);
    let (level, help) = match doubt {
        Some(doubt) => (doubt.soften(level), doubt.explain(&help)),
        None => (level, help),
    };
    let (location, source) = (document.locate(&field), Arc::clone(document.source()));
    Entry { rule, kind, level, object, field, message, help, location, source }
}

impl Settings {
    /// The advising profile knows no errors, whatever else was asked for.
    fn level(self, kind: Kind) -> Level {
        match self.profile.action(kind) {
            Action::Deny => Level::Error,
            Action::Warn if kind == Kind::Absent && self.is_complete && self.profile != Profile::Advise => Level::Error,
            Action::Warn => Level::Warning,
            Action::Info | Action::Off => Level::Info,
        }
    }
}

/// What the reader had to say, with the text of the file where one of its documents was read.
fn trouble(loaded: &Loaded) -> impl Iterator<Item = Problem> {
    let sources: FxHashMap<&Path, &Arc<Source>> =
        loaded.documents.iter().map(|it| (&**it.source().file(), it.source())).collect();
    loaded.problems.iter().map(move |problem| Problem {
        level: match problem.level {
            manifest::Level::Error => Level::Error,
            manifest::Level::Warning => Level::Warning,
        },
        message: problem.message.clone(),
        help: problem.help.unwrap_or_default().to_owned(),
        location: problem.location.clone(),
        source: sources.get(&*problem.location.file).map(|it| Arc::clone(it)),
    })
}
