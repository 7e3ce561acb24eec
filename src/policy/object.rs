//! A `ClusterRolloutPolicy` or a `RolloutPolicy`, read from its JSON. The API server has checked it against the schema, but the
//! schema may be another version's, and files have been checked by nobody: what cannot be read is told, and the rest counts.

mod bound;
mod exemption;
mod problems;

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use smol_str::SmolStr;

use self::{
    bound::Limit,
    problems::{Hints, Problems},
};
use super::{
    Exemption, Field, FieldValue, Limits, PolicyName, Preset, Reach, Selector, Shape,
    value::{quoted_json, quoted_key},
};
use crate::{facts::Labels, nearest::did_you_mean, rules};

/// The API group of the policies, and its version.
pub const API_VERSION: &str = "no502.dev/v1alpha1";

/// The kind for a whole cluster.
pub const CLUSTER_KIND: &str = "ClusterRolloutPolicy";

/// The kind for one namespace.
pub const NAMESPACED_KIND: &str = "RolloutPolicy";

/// Most exemptions of one policy.
pub const EXEMPTIONS_MAX: usize = 256;

/// Longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 256;

/// Priorities reach so far in both directions.
pub const PRIORITY_MAX: i64 = 1_000_000;

/// Most days that a bound on exemptions may allow: ten years.
pub const EXEMPTION_DAYS_MAX: i64 = 3_650;

/// What a policy says.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyObject {
    /// Its name.
    pub name: PolicyName,
    /// `metadata.uid`; empty in files.
    pub uid: SmolStr,
    /// `metadata.generation`; 0 in files.
    pub generation: i64,
    /// `namespaceSelector` or `workloadSelector`; `None` if it cannot be read, and then nothing is selected.
    pub selector: Option<Selector>,
    /// Of two policies of one level the higher priority wins.
    pub priority: i64,
    /// The settings.
    pub values: Vec<(Field, FieldValue)>,
    /// Bounds and locks.
    pub limits: Limits,
    /// The exemptions.
    pub exemptions: Vec<Arc<Exemption>>,
}

/// The label that every Namespace has, and that nobody can take off.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl PolicyObject {
    /// True for a `ClusterRolloutPolicy` that is for the namespace of that name, with these labels.
    #[must_use]
    pub fn selects_namespace(&self, name: &str, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|it| it.matches(labels, Some((NAME_LABEL, name))))
    }
}

/// A policy, and what of it could not be read: one line each, beginning with the field.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadPolicy {
    /// What could be read.
    pub policy: PolicyObject,
    /// What could not.
    pub problems: Vec<String>,
}

impl ReadPolicy {
    /// Reads a policy; `None` for any other object, for one without a name, and for a `RolloutPolicy` without a namespace.
    #[must_use]
    pub fn read(object: &Json) -> Option<Self> {
        let is_cluster = match object["kind"].as_str()? {
            CLUSTER_KIND => true,
            NAMESPACED_KIND => false,
            _ => return None,
        };
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().filter(|it| !it.is_empty())?;
        if object["apiVersion"].as_str()?.split('/').next() != API_VERSION.split('/').next() {
            return None;
        }
        let namespace = if is_cluster { "" } else { metadata["namespace"].as_str().filter(|it| !it.is_empty())? };
        let name = PolicyName { namespace: namespace.into(), name: name.into() };
        let mut reader = Reader { is_cluster, problems: Problems::default() };
        let policy = reader.policy(object, name);
        Some(Self { policy, problems: reader.problems.into_lines() })
    }
}

struct Reader {
    is_cluster: bool,
    problems: Problems,
}

impl Reader {
    fn policy(&mut self, object: &Json, name: PolicyName) -> PolicyObject {
        if object["apiVersion"] != API_VERSION {
            let version = &object["apiVersion"];
            self.problems.tell(|| format!("apiVersion {} is not known; use {API_VERSION}", quoted_json(version)));
        }
        let mut policy = PolicyObject {
            uid: object["metadata"]["uid"].as_str().unwrap_or_default().into(),
            generation: object["metadata"]["generation"].as_i64().unwrap_or_default(),
            selector: Some(Selector::default()),
            priority: 0,
            values: Vec::new(),
            limits: Limits::default(),
            exemptions: Vec::new(),
            name,
        };
        for (key, value) in self.fields("spec", &object["spec"]) {
            match key.as_str() {
                "priority" => policy.priority = self.priority(value),
                "namespaceSelector" if self.is_cluster => policy.selector = self.selector(key, value),
                "workloadSelector" if !self.is_cluster => policy.selector = self.selector(key, value),
                "settings" => self.settings(value, &mut policy.values),
                "bounds" if self.is_cluster => self.bounds(value, &policy.name, &mut policy.limits),
                "locked" if self.is_cluster => self.locked(value, &policy.name, &mut policy.limits),
                "exemptions" => policy.exemptions = self.exemptions(value, &policy.name),
                _ => {
                    let known = self.known_fields();
                    self.unknown("spec", key, || known.to_vec());
                }
            }
        }
        let selects_workloads = !self.is_cluster && policy.selector.as_ref().is_none_or(|it| !it.is_empty());
        if selects_workloads && !policy.exemptions.is_empty() {
            policy.exemptions.clear();
            let text = "spec.exemptions beside a workloadSelector do not count; they have targets of their own: put them in \
                        another policy";
            self.problems.tell(|| text.to_owned());
        }
        policy
    }

    fn known_fields(&self) -> &'static [&'static str] {
        if self.is_cluster {
            &["priority", "namespaceSelector", "settings", "bounds", "locked", "exemptions"]
        } else {
            &["priority", "workloadSelector", "settings", "exemptions"]
        }
    }

    /// The fields of an object; null counts as absent, as for the API server.
    fn fields<'a>(&mut self, path: &str, json: &'a Json) -> Vec<(&'a String, &'a Json)> {
        match json {
            Json::Null => Vec::new(),
            Json::Object(map) => map.iter().filter(|(_, value)| !value.is_null()).collect(),
            other => {
                self.problems.tell(|| format!("{path}: {} is ignored; it is an object", quoted_json(other)));
                Vec::new()
            }
        }
    }

    fn list<'a>(&mut self, path: &str, json: &'a Json) -> &'a [Json] {
        if let Json::Array(list) = json {
            return list;
        }
        self.problems.tell(|| format!("{path}: {} is ignored; it is a list", quoted_json(json)));
        &[]
    }

    fn unknown(&mut self, path: &str, key: &str, known: impl FnOnce() -> Vec<&'static str>) {
        self.problems.tell(|| format!("{path}.{} means nothing{}", quoted_key(key), did_you_mean(key, known())));
    }

    fn bad(&mut self, path: &str, json: &Json, allowed: impl FnOnce() -> String) {
        self.problems.tell(|| format!("{path}: {} is ignored; use {}", quoted_json(json), allowed()));
    }

    fn priority(&mut self, json: &Json) -> i64 {
        let number = json.as_i64().filter(|it| (-PRIORITY_MAX..=PRIORITY_MAX).contains(it));
        number.unwrap_or_else(|| {
            self.bad("spec.priority", json, || format!("-{PRIORITY_MAX} to {PRIORITY_MAX}"));
            0
        })
    }

    fn selector(&mut self, key: &str, json: &Json) -> Option<Selector> {
        let read = Selector::read(json);
        read.map_err(|problem| self.problems.tell(|| format!("spec.{key} {problem}; the policy selects nothing"))).ok()
    }

    fn settings(&mut self, json: &Json, values: &mut Vec<(Field, FieldValue)>) {
        self.settings_below("", json, values);
    }

    /// Every setting below a path of objects: `injection.preStop.`.
    fn settings_below(&mut self, prefix: &str, json: &Json, values: &mut Vec<(Field, FieldValue)>) {
        let path = format!("spec.settings.{prefix}");
        for (key, value) in self.fields(path.trim_end_matches('.'), json) {
            let below = format!("{prefix}{key}");
            if below == "injection.preStop.preset" {
                self.preset(value, json, values);
            } else if let Some(field) = Field::at(&below) {
                self.setting(field, value, values);
            } else if below == "actions" || has_settings_below(&below) {
                self.settings_below(&format!("{below}."), value, values);
            } else if prefix == "actions." {
                let near = || did_you_mean(key, rules::ALL.iter().map(|it| it.id));
                self.problems.tell(|| format!("spec.settings.actions: there is no rule {}{}", quoted_key(key), near()));
            } else {
                self.unknown(path.trim_end_matches('.'), key, || known_below(prefix));
            }
        }
    }

    fn setting(&mut self, field: Field, json: &Json, values: &mut Vec<(Field, FieldValue)>) {
        let definition = field.definition();
        let path = format!("spec.settings.{}", field.path());
        if definition.reach == Reach::Cluster && !self.is_cluster {
            self.problems.tell(|| format!("{path} is ignored; a {CLUSTER_KIND} can set it"));
            return;
        }
        match definition.shape.read_json(json) {
            Some(value) => values.push((field, value)),
            None => self.bad(&path, json, || allowed_json(definition.shape, json)),
        }
    }

    /// A number beside a preset counts instead.
    fn preset(&mut self, json: &Json, beside: &Json, values: &mut Vec<(Field, FieldValue)>) {
        match Preset::ALL.iter().find(|it| Some(it.name()) == json.as_str()) {
            Some(_) if Field::SleepSeconds.definition().shape.read_json(&beside["sleepSeconds"]).is_some() => {}
            Some(preset) => values.push((Field::SleepSeconds, FieldValue::Preset(*preset))),
            None => self.bad("spec.settings.injection.preStop.preset", json, Preset::names),
        }
    }

    fn bounds(&mut self, json: &Json, policy: &PolicyName, limits: &mut Limits) {
        for (index, item) in self.list("spec.bounds", json).iter().enumerate() {
            match bound::read(item, &policy.name, self.problems.hints()) {
                Ok(Limit::Field(field, _)) if limits.bounds.contains_key(&field) => {
                    let path = field.path();
                    self.problems.tell(|| format!("spec.bounds[{index}] is ignored; {path} is bounded already"));
                }
                Ok(Limit::Field(field, bound)) => {
                    limits.bounds.insert(field, bound);
                }
                Ok(Limit::ExemptionDays(_)) if limits.exemption_days_max.is_some() => {
                    self.problems
                        .tell(|| format!("spec.bounds[{index}] is ignored; {EXEMPTION_DAYS} is bounded already"));
                }
                Ok(Limit::ExemptionDays(end)) => limits.exemption_days_max = Some(end),
                Err(problem) => self.problems.tell(|| format!("spec.bounds[{index}]{problem}")),
            }
        }
    }

    fn locked(&mut self, json: &Json, policy: &PolicyName, limits: &mut Limits) {
        for (index, item) in self.list("spec.locked", json).iter().enumerate() {
            let name = &policy.name;
            match item.as_str() {
                Some(EXEMPTIONS) => limits.exemptions_locked = Some(name.clone()),
                path => {
                    let path = path.unwrap_or_default();
                    let fields = || Field::all().filter(|it| it.is_at_or_below(path));
                    if fields().next().is_some() {
                        limits.locks.extend(fields().map(|it| (it, name.clone())));
                        continue;
                    }
                    self.problems.tell(|| {
                        let known: Vec<_> = Field::all().map(Field::path).collect();
                        let near = did_you_mean(path, known.iter().map(AsRef::as_ref));
                        format!("spec.locked[{index}]: {} is no setting{near}", quoted_json(item))
                    });
                }
            }
        }
    }

    fn exemptions(&mut self, json: &Json, policy: &PolicyName) -> Vec<Arc<Exemption>> {
        let list = self.list("spec.exemptions", json);
        if list.len() > EXEMPTIONS_MAX {
            self.problems.tell(|| format!("spec.exemptions: only the first {EXEMPTIONS_MAX} of {} count", list.len()));
        }
        let mut exemptions = Vec::new();
        for (index, item) in list.iter().take(EXEMPTIONS_MAX).enumerate() {
            match exemption::read(item, policy, index, self.problems.hints()) {
                Ok(exemption) => exemptions.push(Arc::new(exemption)),
                Err(problem) => self.problems.tell(|| format!("spec.exemptions[{index}]{problem}")),
            }
        }
        exemptions
    }
}

/// What `spec.locked` calls the exemptions of namespaces.
pub const EXEMPTIONS: &str = "exemptions";

/// What `spec.bounds` calls the days that an exemption may last.
pub const EXEMPTION_DAYS: &str = "exemptionDays";

fn has_settings_below(path: &str) -> bool {
    super::field::DEFINITIONS.iter().any(|it| it.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// What may be written instead. YAML takes a bare `off` for false.
fn allowed_json(shape: Shape, json: &Json) -> String {
    let is_off = matches!(shape, Shape::Word(words) if words.contains(&"off")) && *json == Json::Bool(false);
    let hint = if is_off { "; in YAML off needs quotes: \"off\"" } else { "" };
    format!("{}{hint}", shape.allowed())
}

/// The names of the fields right below a prefix such as `injection.`.
fn known_below(prefix: &str) -> Vec<&'static str> {
    let mut known: Vec<&str> = super::field::DEFINITIONS
        .iter()
        .filter_map(|it| it.path.strip_prefix(prefix))
        .filter_map(|it| it.split('.').next())
        .collect();
    known.extend(prefix.is_empty().then_some("actions"));
    known.extend((prefix == "injection.preStop.").then_some("preset"));
    known.dedup();
    known
}

fn known_keys(map: &Map<String, Json>, known: &[&'static str], hints: Hints) -> Result<(), String> {
    let Some(key) = map.keys().find(|it| !known.contains(&it.as_str())) else { return Ok(()) };
    let near = hints.did_you_mean(key, known.iter().copied());
    Err(format!(".{} means nothing{near}", quoted_key(key)))
}
