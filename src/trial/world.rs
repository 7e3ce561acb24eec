//! The world of a trial, and of `policy explain -f`: objects become what the server knows of a cluster.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use smol_str::SmolStr;

use crate::{
    facts::{Facts, Namespace, Workload},
    manifest::{Document, Location},
    policy::{API_VERSION, CLUSTER_KIND, Installation, NAMESPACED_KIND, Policies, PolicyName, PolicyStore, ReadPolicy},
    snapshot::{Snapshot, Store},
};

/// The API server's minor version of a world of files: the newest one that no502 is tested with.
const SERVER_MINOR: u32 = 37;

/// A small cluster.
#[derive(Debug)]
pub struct World {
    objects: Vec<Object>,
    /// What rules read.
    pub snapshot: Snapshot,
    /// What is in force.
    pub policies: Policies,
    /// What of the objects cannot be read.
    pub problems: Vec<WorldProblem>,
}

/// One object of a world.
#[derive(Debug)]
struct Object {
    json: Json,
    facts: Facts,
}

/// Something that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldProblem {
    /// What, in one line.
    pub text: String,
    /// Where, if it comes from a file.
    pub location: Option<Location>,
}

impl std::fmt::Display for WorldProblem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.location {
            Some(location) => write!(formatter, "{location}: {}", self.text),
            None => formatter.write_str(&self.text),
        }
    }
}

/// Where an object comes from.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A file.
    File(&'a Document),
    /// A cluster.
    Cluster,
}

impl Place<'_> {
    fn locate(self, pointer: &str) -> Option<Location> {
        match self {
            Self::File(document) => Some(document.locate(pointer)),
            Self::Cluster => None,
        }
    }
}

impl World {
    /// The world that these documents describe. Objects that name no namespace are in `namespace`; of two objects of one name the
    /// later one counts.
    #[must_use]
    pub fn read(documents: &[Document], namespace: &str, installation: Installation) -> Self {
        let json = |it: &Document| serde_json::from_str(it.json()).unwrap_or_default();
        let objects = documents.iter().map(|it| (placed(json(it), namespace), Place::File(it)));
        Self::of(objects, installation)
    }

    /// The world of these objects.
    #[must_use]
    pub fn of<'a>(objects: impl IntoIterator<Item = (Json, Place<'a>)>, installation: Installation) -> Self {
        let mut builder = Builder::new(installation);
        objects.into_iter().for_each(|(json, place)| builder.add(json, place));
        builder.finish()
    }

    /// The object of that kind, in any case, and name.
    #[must_use]
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<&Json> {
        self.find(kind, namespace, name).map(|it| &it.json)
    }

    /// The workload of that kind, in any case, and name.
    #[must_use]
    pub fn workload(&self, kind: &str, namespace: &str, name: &str) -> Option<&Workload> {
        match &self.find(kind, namespace, name)?.facts {
            Facts::Workload(workload) => Some(workload),
            _ => None,
        }
    }

    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Object> {
        let is_it = |it: &&Object| {
            let meta = it.facts.meta();
            meta.kind.eq_ignore_ascii_case(kind)
                && meta.name == name
                && (meta.namespace == namespace || meta.namespace.is_empty())
        };
        self.objects.iter().rev().find(is_it)
    }

    /// `Kind/name` of every object of a namespace, for "did you mean".
    pub fn names<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = String> + 'a {
        let own = self.objects.iter().map(|it| it.facts.meta()).filter(move |it| it.namespace == namespace);
        own.map(|it| format!("{}/{}", it.kind, it.name))
    }

    /// The Namespace, if it is one of the objects.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.snapshot.namespace(name)
    }

    /// True if an object or a policy is of that namespace.
    #[must_use]
    pub fn knows_namespace(&self, name: &str) -> bool {
        self.namespace(name).is_some() || self.objects.iter().any(|it| it.facts.meta().namespace == name)
    }
}

/// As `kubectl apply -n` does: an object that names a namespace keeps it.
pub(super) fn placed(mut object: Json, namespace: &str) -> Json {
    let is_of_cluster = matches!(object["kind"].as_str(), Some("Namespace" | "Node" | CLUSTER_KIND));
    if let Some(metadata) = object["metadata"].as_object_mut().filter(|_| !is_of_cluster) {
        let own = metadata.entry("namespace").or_insert(Json::Null);
        if own.is_null() || *own == "" {
            *own = json!(namespace);
        }
    }
    object
}

struct Builder<'a> {
    objects: Vec<Object>,
    store: Store,
    policies: PolicyStore,
    places: BTreeMap<PolicyName, Place<'a>>,
    problems: Vec<WorldProblem>,
}

impl<'a> Builder<'a> {
    fn new(installation: Installation) -> Self {
        let mut store = Store::complete();
        store.set_server_minor(Some(SERVER_MINOR));
        let policies = PolicyStore::new(installation);
        Self { objects: Vec::new(), store, policies, places: BTreeMap::new(), problems: Vec::new() }
    }

    fn add(&mut self, json: Json, place: Place<'a>) {
        self.add_policy(&json, place);
        let facts = match Facts::read(&json.to_string()) {
            Ok(facts) => facts,
            Err(error) => return self.problem(format!("not understood: {error}"), "", place),
        };
        if let Facts::Namespace(namespace) = &facts {
            self.policies.set_namespace(&namespace.meta.name, Some(&namespace.labels));
        }
        self.store.apply(facts.clone());
        self.objects.push(Object { json, facts });
    }

    fn add_policy(&mut self, json: &Json, place: Place<'a>) {
        let group = json["apiVersion"].as_str().and_then(|it| it.split('/').next());
        if group != API_VERSION.split('/').next() {
            return;
        }
        let Some(ReadPolicy { policy, problems }) = ReadPolicy::read(json) else {
            let kind = json["kind"].as_str().unwrap_or_default();
            let text = if json["metadata"]["name"].as_str().is_none_or(str::is_empty) {
                format!("{kind} without a text in metadata.name is left aside")
            } else {
                format!("there is no kind {kind} of {API_VERSION}; use {CLUSTER_KIND} or {NAMESPACED_KIND}")
            };
            return self.problem(text, "/kind", place);
        };
        for problem in problems {
            self.problem(format!("{} {problem}", policy.name), &pointer(&problem), place);
        }
        if let Some(earlier) = self.places.insert(policy.name.clone(), place).and_then(|it| it.locate("")) {
            let text = format!("{} is defined twice, first at {earlier}; keep one of them", policy.name);
            self.problem(text, "/metadata/name", place);
            self.policies.remove(&policy.name);
        }
        self.policies.apply(json);
    }

    fn problem(&mut self, text: String, pointer: &str, place: Place<'_>) {
        self.problems.push(WorldProblem { text, location: place.locate(pointer) });
    }

    fn finish(mut self) -> World {
        let (snapshot, policies) = (self.store.snapshot(), self.policies.policies());
        World { objects: self.objects, snapshot, policies, problems: self.problems }
    }
}

/// The field at the beginning of a problem, as a JSON pointer: `spec.bounds[0].min: …`.
fn pointer(problem: &str) -> String {
    let field: SmolStr = problem.chars().take_while(|it| !it.is_whitespace() && *it != ':').collect();
    let tokens = field.split(['.', '[', ']']).filter(|it| !it.is_empty());
    tokens.flat_map(|it| ["/", it]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_lead_to_their_field() {
        assert_eq!(pointer("spec.bounds[0].min of x: use 1"), "/spec/bounds/0/min");
        assert_eq!(pointer("spec.exemptions[2]: there is no rule \"x\""), "/spec/exemptions/2");
        assert_eq!(
            pointer("spec.settings.injection.preStop.mode: \"x\" is ignored"),
            "/spec/settings/injection/preStop/mode"
        );
    }
}
