//! The workloads of a set of files for `fix`: the world around them, and why some of them should not be edited where they are.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::{FILES_SERVER_MINOR, doubt, kustomize::Kustomize, objects};
use crate::{
    facts::{Facts, Meta, Workload},
    fix::Refusal,
    manifest::{Document, Level, Loaded, Problem, Source},
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
    loaded: &'a Loaded,
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
#[must_use]
pub fn candidates(loaded: &Loaded) -> Candidates<'_> {
    let kustomize = Kustomize::around(&loaded.documents);
    let objects = objects::read(&loaded.documents, &kustomize);
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
        let facts = Facts::read(document.json()).map(Facts::in_default_namespace);
        let is_part = kustomize.is_patch(document.source().file());
        if let (Ok(Facts::Workload(workload)), false) = (facts, is_part) {
            workloads.push(Candidate { workload, document, index });
        }
    }
    let fragments = objects.fragments;
    Candidates { snapshot: store.snapshot(), workloads, loaded, kustomize, fragments }
}

impl Candidates<'_> {
    /// Why an object should not be edited in its file; `None` if nothing speaks against it.
    #[must_use]
    pub fn reason_to_leave(&self, candidate: &Candidate<'_>) -> Option<Refusal> {
        let Candidate { workload, document, .. } = candidate;
        let refusal = |pointer: &str, reason: String, help| Some(Refusal { pointer: pointer.to_owned(), reason, help });
        if let Some(text) = template_in(document) {
            let help = "edit the chart's template by hand, or fix what helm template makes of it";
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
        let problem = self.problem_in(document)?;
        refusal("", problem.to_owned(), "repair it, and run again")
    }

    fn is_patched(&self, document: &Document, meta: &Meta) -> bool {
        let is_same = |it: &Meta| it.kind == meta.kind && it.name == meta.name && it.namespace == meta.namespace;
        self.kustomize.patches_object(document.source().file(), &meta.kind, &meta.name)
            || self.fragments.iter().any(|it| is_same(it.meta()))
    }

    /// A doubtful place inside the document, such as a key that is set twice.
    fn problem_in(&self, document: &Document) -> Option<&str> {
        let file = document.source().file();
        let is_doubt = |it: &&Problem| it.level == Level::Warning && it.location.file == *file;
        let doubts: Vec<&Problem> = self.loaded.problems.iter().filter(is_doubt).collect();
        if doubts.is_empty() {
            return None;
        }
        let begin = document.locate("");
        let starts = self.loaded.documents.iter().filter(|it| it.source().file() == file).map(|it| it.locate(""));
        let end = starts.filter(|it| *it > begin).min();
        let is_inside = |it: &&Problem| it.location >= begin && end.as_ref().is_none_or(|end| it.location < *end);
        doubts.into_iter().find(is_inside).map(|it| it.message.as_str())
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
