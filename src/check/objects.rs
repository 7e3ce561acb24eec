//! From documents to facts: namespaces filled in, fragments and second definitions left aside.

use rustc_hash::FxHashMap;
use serde::{Deserialize, de::IgnoredAny};
use smol_str::SmolStr;

use super::kustomize::{Kustomize, RENDER_HELP};
use crate::{
    facts::{Facts, Meta},
    manifest::Document,
    report::{Level, Problem},
};

/// What the documents hold.
#[derive(Debug, Default)]
pub(super) struct Objects<'a> {
    /// The objects that count.
    pub(super) whole: Vec<Object<'a>>,
    /// Parts of objects: their names are known, and no more.
    pub(super) fragments: Vec<Facts>,
    /// What is worth saying about the documents themselves.
    pub(super) problems: Vec<Problem>,
    /// Documents left aside.
    pub(super) skipped: usize,
}

/// One object and its text.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) facts: Facts,
    pub(super) document: &'a Document,
}

/// Group, kind, namespace, name.
type Identity = (SmolStr, SmolStr, SmolStr, SmolStr);

/// Objects that name no namespace are in `namespace`.
pub(super) fn read<'a>(documents: &'a [Document], kustomize: &Kustomize, namespace: &str) -> Objects<'a> {
    let mut found = Objects::default();
    let mut seen: FxHashMap<Identity, usize> = FxHashMap::default();
    for document in documents {
        if kustomize.is_patch(document.source().file()) {
            found.skipped += 1;
            continue;
        }
        let facts = match Facts::read(document.json()) {
            Ok(facts) => in_namespace(facts, namespace),
            Err(error) => {
                found.problems.push(problem(document, "", Level::Error, format!("not understood: {error}"), ""));
                continue;
            }
        };
        if let Some((pointer, reason)) = fragment(facts.meta(), document.json()) {
            let level = kustomize_level(kustomize, document);
            let message = format!("{} is not whole: it {reason}; left aside", facts.meta());
            found.problems.push(problem(document, pointer, level, message, RENDER_HELP));
            found.fragments.push(facts);
            found.skipped += 1;
            continue;
        }
        found.take(Object { facts, document }, &mut seen, kustomize);
    }
    found
}

/// As `kubectl apply -n` does: an object that names a namespace keeps it.
pub(super) fn in_namespace(mut facts: Facts, namespace: &str) -> Facts {
    let meta = match &mut facts {
        Facts::Workload(it) => &mut it.meta,
        Facts::Service(it) => &mut it.meta,
        Facts::Ingress(it) => &mut it.meta,
        Facts::Other(meta) => meta,
        Facts::Namespace(_) | Facts::Node(_) => return facts,
    };
    if meta.namespace.is_empty() {
        meta.namespace = SmolStr::new(namespace);
    }
    facts
}

impl<'a> Objects<'a> {
    /// Of two definitions the later one counts, as if both were applied in this order.
    fn take(&mut self, object: Object<'a>, seen: &mut FxHashMap<Identity, usize>, kustomize: &Kustomize) {
        let Some(identity) = identity(object.facts.meta(), object.document.json()) else {
            return self.whole.push(object);
        };
        let Some(&index) = seen.get(&identity) else {
            seen.insert(identity, self.whole.len());
            return self.whole.push(object);
        };
        let earlier = self.whole[index].document;
        if is_read(&object.facts) && earlier.json() != object.document.json() {
            let earlier = earlier.locate("");
            let level = kustomize_level(kustomize, object.document);
            let message = format!("{} is defined twice, first at {earlier}; this one counts", object.facts.meta());
            self.problems.push(problem(
                object.document,
                "/metadata/name",
                level,
                message,
                "keep one of them, or check them apart",
            ));
        }
        self.whole[index] = object;
    }
}

/// True for what rules look at: a second one hides the first from them.
fn is_read(facts: &Facts) -> bool {
    matches!(facts, Facts::Workload(_) | Facts::Service(_) | Facts::Ingress(_))
}

/// Bases and overlays of one object are no accident.
fn kustomize_level(kustomize: &Kustomize, document: &Document) -> Level {
    if kustomize.covers(document.source().file()) { Level::Info } else { Level::Warning }
}

fn problem(document: &Document, pointer: &str, level: Level, message: String, help: &str) -> Problem {
    let (location, source) = (document.locate(pointer), Some(document.source().clone()));
    Problem { level, message, help: help.to_owned(), location, source }
}

/// `None` for an object that gets its name from the API server.
fn identity(meta: &Meta, json: &str) -> Option<Identity> {
    #[derive(Deserialize)]
    struct Named {
        metadata: Option<Name>,
    }
    #[derive(Deserialize)]
    struct Name {
        name: Option<IgnoredAny>,
    }
    if meta.name.is_empty() {
        return None;
    }
    if json.contains("\"generateName\"") {
        let named: Option<Named> = serde_json::from_str(json).ok();
        named.and_then(|it| it.metadata)?.name?;
    }
    let group = match (meta.api_group(), meta.kind.as_str()) {
        ("extensions", "Ingress") => "networking.k8s.io",
        ("extensions", "Deployment" | "DaemonSet" | "ReplicaSet") => "apps",
        (group, _) => group,
    };
    Some((SmolStr::new(group), meta.kind.clone(), meta.namespace.clone(), meta.name.clone()))
}

/// Where and why a document is a part of an object and no object: the API server would refuse it.
pub(super) fn fragment(meta: &Meta, json: &str) -> Option<(&'static str, &'static str)> {
    #[derive(Deserialize)]
    struct Shape {
        spec: Option<Spec>,
    }
    #[derive(Deserialize)]
    struct Spec {
        selector: Option<IgnoredAny>,
    }
    if json.contains("\"$patch\":") {
        return Some(("", "has a `$patch` directive"));
    }
    let needs_selector = matches!(meta.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet");
    if meta.api_version != "apps/v1" || !needs_selector {
        return None;
    }
    // A spec of another shape is for the API server to refuse.
    let shape: Shape = serde_json::from_str(json).ok()?;
    shape.spec.is_none_or(|it| it.selector.is_none()).then_some(("/spec", "has no spec.selector"))
}
