//! The workloads of a set of files for `fix`: the world around them, and why some of them should not be edited where they are.

use std::{path::Path, sync::Arc};

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::{FILES_SERVER_MINOR, doubt, kustomize::Kustomize, objects};
use crate::{
    facts::{Facts, Meta, Workload},
    fix::Refusal,
    manifest::{Document, Level, Loaded, Location, Problem, Source},
    snapshot::{Snapshot, Store},
};

/// Fields whose text is the application's own; `{{` in them is no template of ours.
const FREE_TEXT: [&str; 4] = ["args", "command", "env", "annotations"];

/// The workloads of a set of files.
#[derive(Debug)]
pub struct Candidates<'a> {
    /// All files as one world, complete.
    pub snapshot: Snapshot,
    /// Every document that is a workload and no patch, in the order of the files.
    pub workloads: Vec<Candidate<'a>>,
    doubts: FxHashMap<Location, &'a Problem>,
    kustomize: Kustomize,
    fragments: Vec<Facts>,
}

/// One workload and its text.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// What it is.
    pub workload: Workload,
    /// Where it is written.
    pub document: &'a Document,
    /// Its index among the documents of its file.
    pub index: usize,
}

/// Looks through everything that was read. An object that is defined twice is two candidates: each file may be applied.
///
/// Objects that name no namespace are in `namespace`.
#[must_use]
pub fn candidates<'a>(loaded: &'a Loaded, namespace: &str) -> Candidates<'a> {
    let kustomize = Kustomize::around(&loaded.documents);
    let objects = objects::read(&loaded.documents, &kustomize, namespace);
    let mut store = Store::complete();
    store.set_server_minor(Some(FILES_SERVER_MINOR));
    for object in objects.whole {
        if !object.facts.meta().deleting {
            store.apply(object.facts);
        }
    }
    // By text and not by name: a file may have been named twice.
    let mut counts: FxHashMap<*const Source, usize> = FxHashMap::default();
    let mut workloads = Vec::new();
    for document in &loaded.documents {
        let count = counts.entry(Arc::as_ptr(document.source())).or_default();
        let index = *count;
        *count += 1;
        let facts = Facts::read(document.json()).map(|it| objects::in_namespace(it, namespace));
        let is_part = kustomize.is_patch(document.source().file());
        if let (Ok(Facts::Workload(workload)), false) = (facts, is_part) {
            workloads.push(Candidate { workload, document, index });
        }
    }
    let fragments = objects.fragments;
    Candidates { snapshot: store.snapshot(), workloads, doubts: doubts_in(loaded), kustomize, fragments }
}

/// The first doubtful place inside each document, such as a key that is set twice, by where the document begins.
fn doubts_in(loaded: &Loaded) -> FxHashMap<Location, &Problem> {
    let mut by_file: FxHashMap<&Path, (Vec<Location>, Vec<&Problem>)> = FxHashMap::default();
    for problem in loaded.problems.iter().filter(|it| it.level == Level::Warning) {
        by_file.entry(&problem.location.file).or_default().1.push(problem);
    }
    if by_file.is_empty() {
        return FxHashMap::default();
    }
    for document in &loaded.documents {
        if let Some((starts, _)) = by_file.get_mut(&**document.source().file()) {
            starts.push(document.locate(""));
        }
    }
    let mut doubts = FxHashMap::default();
    for (mut starts, problems) in by_file.into_values() {
        starts.sort_unstable();
        for problem in problems {
            let behind = starts.partition_point(|it| *it <= problem.location);
            if let Some(start) = behind.checked_sub(1).and_then(|it| starts.get(it)) {
                doubts.entry(start.clone()).or_insert(problem);
            }
        }
    }
    doubts
}

impl Candidates<'_> {
    /// Why an object should not be edited in its file; `None` if nothing speaks against it.
    #[must_use]
    pub fn reason_to_leave(&self, candidate: &Candidate<'_>) -> Option<Refusal> {
        let Candidate { workload, document, .. } = candidate;
        let refusal = |pointer: &str, reason: String, help| {
            Some(Refusal { pointer: pointer.to_owned(), line: None, reason, help })
        };
        if let Some(text) = template_in(document) {
            let help = "edit the template by hand, or fix what it renders to: helm template CHART | no502 fix -";
            return refusal("", format!("it is a template (\"{text}\")"), help);
        }
        if let Some(text) = doubt::placeholder_of(workload) {
            let reason =
                format!("it has \"{text}\" where Kubernetes accepts no such text, which looks like a placeholder");
            return refusal("", reason, "fill it in first, or edit it by hand");
        }
        if let Some((pointer, reason)) = objects::fragment(&workload.meta, document.json()) {
            return refusal(pointer, format!("it is not whole: it {reason}"), "fix the object that it is a part of");
        }
        if self.is_patched(document, &workload.meta) {
            let help = "fix what kustomize makes of it, or edit it by hand and mind the patch";
            return refusal("", "a kustomization patches it".to_owned(), help);
        }
        let problem = self.doubts.get(&document.locate(""))?;
        let line = Some(problem.location.line);
        let (reason, help) = (problem.message.clone(), problem.help.unwrap_or("repair it, and run again"));
        Some(Refusal { pointer: String::new(), line, reason, help })
    }

    fn is_patched(&self, document: &Document, meta: &Meta) -> bool {
        let is_same = |it: &Meta| it.kind == meta.kind && it.name == meta.name && it.namespace == meta.namespace;
        self.kustomize.patches_object(document.source().file(), &meta.kind, &meta.name)
            || self.fragments.iter().any(|it| is_same(it.meta()))
    }
}

/// The first text with `{{` in it, where it is not the application's own.
fn template_in(document: &Document) -> Option<String> {
    let object: Value = serde_json::from_str(document.json()).ok()?;
    braces_in(&object).map(str::to_owned)
}

fn braces_in(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => text.contains("{{").then_some(text.as_str()),
        Value::Array(items) => items.iter().find_map(braces_in),
        Value::Object(members) => members.iter().find_map(|(key, value)| {
            let is_free = FREE_TEXT.contains(&key.as_str());
            key.contains("{{").then_some(key.as_str()).or_else(|| if is_free { None } else { braces_in(value) })
        }),
        _ => None,
    }
}
