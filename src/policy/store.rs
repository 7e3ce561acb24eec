//! Where policies and namespaces arrive: the mutable side of [`Policies`]. Only what a change touches is worked out again. A
//! policy that cannot be read leaves its last good version in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use serde_json::Value as Json;
use smol_str::SmolStr;

use super::{
    Field, FieldValue, Policies, PolicyName, PolicyObject, ReadPolicy,
    own::Own,
    set::{Base, Entry, Said},
    tie::rank,
};
use crate::{facts::Labels, listing::Listing};

/// What the server was started with.
#[derive(Debug, Clone, PartialEq)]
pub struct Installation {
    /// Where no502 itself runs; nothing is checked there.
    pub own_namespace: String,
    /// What flags set.
    pub values: Vec<(Field, FieldValue)>,
}

/// The namespace no502 is installed in, if nobody says otherwise.
pub const OWN_NAMESPACE: &str = "no502-system";

impl Default for Installation {
    fn default() -> Self {
        Self { own_namespace: OWN_NAMESPACE.to_owned(), values: Vec::new() }
    }
}

impl Installation {
    /// The same, with one more setting, as an annotation would write it.
    ///
    /// # Errors
    /// When the text is none of the setting's values; says which are.
    pub fn with(mut self, field: Field, text: &str) -> Result<Self, String> {
        let shape = field.definition().shape;
        let value = shape.read_text(text).ok_or_else(|| format!("\"{text}\": use {}", shape.allowed()))?;
        self.values.push((field, value));
        Ok(self)
    }
}

/// Takes policies and namespaces, gives [`Policies`].
#[derive(Debug, Default)]
pub struct PolicyStore {
    installation: Arc<Installation>,
    entries: BTreeMap<PolicyName, Arc<Entry>>,
    namespaces: BTreeMap<SmolStr, Labels>,
    /// Namespaces about which the cluster says something new.
    changed: BTreeSet<SmolStr>,
    /// Of namespaced and of cluster policies.
    listing: [Listing<PolicyName>; 2],
    published: Policies,
}

impl PolicyStore {
    /// Without policies.
    #[must_use]
    pub fn new(installation: Installation) -> Self {
        let published = Policies::new(installation);
        Self { installation: Arc::clone(&published.installation), published, ..Self::default() }
    }

    /// With the policies that are in force, to try a change of them out.
    #[must_use]
    pub fn following(policies: &Policies) -> Self {
        let namespaces = policies.bases.iter().map(|(name, base)| (name.clone(), base.labels.clone()));
        Self {
            installation: Arc::clone(&policies.installation),
            entries: (*policies.entries).clone(),
            namespaces: namespaces.collect(),
            published: policies.clone(),
            ..Self::default()
        }
    }

    /// Adds or replaces a policy; any other object is left aside. True if something changed.
    pub fn apply(&mut self, object: &Json) -> bool {
        let Some(ReadPolicy { policy, problems }) = ReadPolicy::read(object) else { return false };
        let name = policy.name.clone();
        self.listing[list_of(&name)].see(name.clone());
        let generation = policy.generation;
        let known = self.entries.get(&name);
        // One that was deleted and made anew has nothing to do with the earlier one.
        let is_same = |it: &&Arc<Entry>| it.policy.uid == policy.uid && (it.problems.is_empty() || it.is_last_good());
        let last_good = known.filter(is_same).filter(|_| !problems.is_empty());
        let is_last_good = last_good.is_some();
        let policy = last_good.map_or_else(|| Arc::new(policy), |it| Arc::clone(&it.policy));
        let entry = Entry { policy, problems, generation, is_last_good };
        if known.is_some_and(|it| **it == entry) {
            return false;
        }
        self.touch(&name);
        self.entries.insert(name.clone(), Arc::new(entry));
        self.touch(&name);
        true
    }

    /// Takes a policy out.
    pub fn remove(&mut self, name: &PolicyName) {
        self.listing[list_of(name)].forget(name);
        self.touch(name);
        self.entries.remove(name);
    }

    /// A full list begins, of `ClusterRolloutPolicies` or of `RolloutPolicies`. What was known stays in force until it ends.
    pub fn start_list(&mut self, is_cluster: bool) {
        self.listing[usize::from(is_cluster)].start();
    }

    /// A full list is complete: what it did not name is gone.
    pub fn finish_list(&mut self, is_cluster: bool) {
        let known = self.entries.keys().filter(|it| it.namespace.is_empty() == is_cluster);
        for name in self.listing[usize::from(is_cluster)].finish(known) {
            self.remove(&name);
        }
    }

    /// The namespaces that are known.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &SmolStr> {
        self.namespaces.keys()
    }

    /// Adds a namespace or its new labels; `None` when it is gone.
    pub fn set_namespace(&mut self, name: &SmolStr, labels: Option<&Labels>) {
        if self.namespaces.get(name) == labels {
            return;
        }
        match labels {
            Some(labels) => self.namespaces.insert(name.clone(), labels.clone()),
            None => self.namespaces.remove(name),
        };
        self.changed.insert(name.clone());
    }

    /// The namespaces that a policy is for are to be worked out again.
    fn touch(&mut self, name: &PolicyName) {
        let Some(entry) = self.entries.get(name) else { return };
        if !name.namespace.is_empty() {
            self.changed.insert(name.namespace.clone());
            return;
        }
        let is_for = |(namespace, labels): &(&SmolStr, &Labels)| {
            entry.policy.selector.is_none() || entry.policy.selects_namespace(namespace, labels)
        };
        let namespaces: Vec<SmolStr> = self.namespaces.iter().filter(is_for).map(|(name, _)| name.clone()).collect();
        self.changed.extend(namespaces);
        // Also where no namespace is known yet.
        self.changed.insert(SmolStr::default());
    }

    /// The policies of this moment. Costs what changed since the last ones.
    pub fn policies(&mut self) -> Policies {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return self.published.clone();
        }
        let mut policies = Policies { installation: Arc::clone(&self.installation), ..self.published.clone() };
        // An empty namespace sorts first.
        let cluster = self.entries.iter().take_while(|(name, _)| name.namespace.is_empty());
        policies.cluster = sorted(cluster.map(|(_, it)| &it.policy)).into();
        policies.entries = Arc::new(self.entries.clone());
        let unreadable = self.entries.iter().filter(|(_, it)| !it.problems.is_empty());
        policies.unreadable = Arc::new(unreadable.map(|(name, it)| (name.clone(), Arc::clone(it))).collect());
        for name in changed {
            let first = PolicyName { namespace: name.clone(), name: SmolStr::default() };
            let own = self.entries.range(first..).take_while(|(it, _)| it.namespace == name && !name.is_empty());
            let own = sorted(own.map(|(_, it)| &it.policy));
            if own.is_empty() {
                policies.own.remove(&name);
            } else {
                policies.own.insert(name.clone(), Arc::new(Own::new(own)));
            }
            policies.bases.remove(&name);
        }
        if policies.is_plain() {
            policies.bases.clear();
        } else {
            self.fill_bases(&mut policies);
        }
        self.published = policies.clone();
        policies
    }

    fn fill_bases(&self, policies: &mut Policies) {
        let mut known: FxHashMap<Vec<*const PolicyObject>, Arc<Said>> = FxHashMap::default();
        for (name, labels) in &self.namespaces {
            if policies.bases.contains_key(name) {
                continue;
            }
            let selected = policies.selected(name, labels);
            let key = selected.iter().map(Arc::as_ptr).collect();
            let said = Arc::clone(known.entry(key).or_insert_with(|| Arc::new(policies.said_by(selected))));
            policies.bases.insert(name.clone(), Base { labels: labels.clone(), said });
        }
    }
}

fn list_of(name: &PolicyName) -> usize {
    usize::from(name.namespace.is_empty())
}

/// Those that count least first; of two equals the one whose name comes first counts more.
fn sorted<'a>(policies: impl Iterator<Item = &'a Arc<PolicyObject>>) -> Vec<Arc<PolicyObject>> {
    let mut sorted: Vec<Arc<PolicyObject>> = policies.cloned().collect();
    sorted.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| b.name.cmp(&a.name)));
    sorted
}
