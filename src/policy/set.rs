//! The policies in force, immutable: what reviews ask. What the cluster says of a namespace is worked out once, when a policy or
//! the namespace's labels change; what teams say is added for each write.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::{
    Effective, Exemption, Field, Installation, Limits, PolicyName, PolicyObject, Source, Step, Tie, annotations,
    resolve::Resolution,
};
use crate::facts::{Labels, Namespace, Workload};

/// Most problems of policies that one write is told of.
const POLICY_PROBLEMS_TOLD_MAX: usize = 4;

/// Namespaces in which nothing is checked or changed (design 4).
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// The policies in force.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    pub(super) installation: Arc<Installation>,
    /// The lowest priority first.
    pub(super) cluster: Arc<[Arc<PolicyObject>]>,
    /// The policies of each namespace, those that count least first.
    pub(super) own: FxHashMap<SmolStr, Arc<[Arc<PolicyObject>]>>,
    /// What the cluster says of each namespace.
    pub(super) bases: FxHashMap<SmolStr, Arc<Base>>,
    /// Every policy object, for its status.
    pub(super) entries: Arc<BTreeMap<PolicyName, Arc<Entry>>>,
}

/// One policy object: what of it counts, and what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What is in force.
    pub policy: Arc<PolicyObject>,
    /// What of the newest version cannot be read, one line each.
    pub problems: Vec<String>,
    /// The newest version; what is in force may be an earlier one.
    pub generation: i64,
}

impl Entry {
    /// True if an earlier version is in force, because the newest one cannot be read.
    #[must_use]
    pub fn is_last_good(&self) -> bool {
        self.policy.generation != self.generation
    }

    /// The problems, as writes are told of them.
    pub(super) fn told(&self) -> impl Iterator<Item = String> {
        let kept = if self.is_last_good() { " (its last good version is in force)" } else { "" };
        self.problems.iter().map(move |it| format!("{} {it}{kept}", self.policy.name))
    }
}

/// What the cluster says of one namespace.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) labels: Labels,
    resolution: Resolution,
    exemptions: Arc<[Arc<Exemption>]>,
    /// What is in force where nobody says more.
    effective: Effective,
    pub(super) ties: Vec<Tie>,
    /// The cluster policies that select the namespace.
    pub(super) selected_by: Vec<SmolStr>,
}

impl Policies {
    /// No policies: what is built in, and the flags.
    #[must_use]
    pub fn new(installation: Installation) -> Self {
        Self { installation: Arc::new(installation), ..Self::default() }
    }

    /// True where nothing is checked or changed.
    #[must_use]
    pub fn is_exempt_namespace(&self, namespace: &str) -> bool {
        SYSTEM_NAMESPACES.contains(&namespace) || namespace == self.installation.own_namespace
    }

    /// True if membership in a group can make a difference anywhere.
    #[must_use]
    pub fn knows_break_glass_groups(&self) -> bool {
        let is_it = |(field, _): &(Field, _)| *field == Field::BreakGlassGroups;
        self.installation.values.iter().any(is_it) || self.cluster.iter().any(|it| it.values.iter().any(is_it))
    }

    /// Every policy object.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(|it| &**it)
    }

    /// What is in force for an object of that namespace. `facts` is its Namespace, where that is known; `workload` is the object,
    /// if it is one.
    #[must_use]
    pub fn effective(&self, namespace: &str, facts: Option<&Namespace>, workload: Option<&Workload>) -> Effective {
        let base = self.base(namespace, facts);
        let own = self.own_policies(namespace);
        let is_plain = |it: &Workload| it.meta.own.is_empty() && it.template.own.is_empty();
        if own.is_empty() && facts.is_none_or(|it| it.meta.own.is_empty()) && workload.is_none_or(is_plain) {
            return base.effective.clone();
        }
        let mut resolution = base.resolution.clone();
        self.add_own(&mut resolution, namespace, facts, workload);
        let exemptions = all_exemptions(&base.exemptions, own);
        finish(resolution, namespace, facts, workload, exemptions)
    }

    /// The same, with everything that wanted a value on the way.
    pub(super) fn trace(
        &self,
        namespace: &str,
        facts: Option<&Namespace>,
        workload: Option<&Workload>,
    ) -> (Resolution, Effective, Vec<Tie>) {
        let labels = self.labels(namespace, facts);
        let (mut resolution, mut ties, selected) = self.cluster_part(namespace, &labels, true);
        ties.extend(self.add_own(&mut resolution, namespace, facts, workload));
        let exemptions = all_exemptions(&cluster_exemptions(&selected), self.own_policies(namespace));
        let mut held = resolution.clone();
        held.hold_bounds(namespace);
        (held, finish(resolution, namespace, facts, workload, exemptions), ties)
    }

    /// The labels by which cluster policies select the namespace.
    fn labels(&self, namespace: &str, facts: Option<&Namespace>) -> Labels {
        let known = || self.bases.get(namespace).map(|it| it.labels.clone());
        facts.map(|it| it.labels.clone()).or_else(known).unwrap_or_default()
    }

    /// The policies that can have a say in a namespace, those that count least first, and whether they do: it is theirs, and the
    /// object is one that they select.
    pub(super) fn speakers<'a>(
        &'a self,
        namespace: &str,
        facts: Option<&Namespace>,
        workload: Option<&Workload>,
    ) -> Vec<(&'a PolicyObject, bool)> {
        let labels = self.labels(namespace, facts);
        let cluster =
            self.cluster.iter().filter(|it| it.selects_namespace(namespace, &labels) || it.selector.is_none());
        let cluster = cluster.map(|it| (&**it, it.selector.is_some()));
        cluster.chain(self.own_policies(namespace).iter().map(|it| (&**it, selects(it, workload)))).collect()
    }

    fn own_policies(&self, namespace: &str) -> &[Arc<PolicyObject>] {
        self.own.get(namespace).map_or(&[], |it| it)
    }

    fn add_own(
        &self,
        resolution: &mut Resolution,
        namespace: &str,
        facts: Option<&Namespace>,
        workload: Option<&Workload>,
    ) -> Vec<Tie> {
        if let Some(facts) = facts {
            annotations::of_namespace(facts, resolution);
        }
        let own = self.own_policies(namespace).iter().filter(|it| selects(it, workload));
        let ties = offer_all(resolution, own, Source::Policy);
        for policy in self.own_policies(namespace) {
            self.tell_problems(&policy.name, resolution);
        }
        if let Some(workload) = workload {
            annotations::of_workload(workload, resolution);
        }
        ties
    }

    /// An unreadable policy is told with every write that it is for.
    fn tell_problems(&self, name: &PolicyName, resolution: &mut Resolution) {
        let Some(entry) = self.entries.get(name).filter(|it| !it.problems.is_empty()) else { return };
        let room = POLICY_PROBLEMS_TOLD_MAX.saturating_sub(resolution.policy_problems.len());
        resolution.policy_problems.extend(entry.told().take(room));
    }

    fn base(&self, namespace: &str, facts: Option<&Namespace>) -> Arc<Base> {
        match self.bases.get(namespace) {
            Some(base) if facts.is_none_or(|it| it.labels == base.labels) => Arc::clone(base),
            _ if self.is_plain() => Arc::clone(&PLAIN),
            _ => Arc::new(self.new_base(namespace, facts.map(|it| it.labels.clone()).unwrap_or_default())),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.cluster.is_empty() && self.installation.values.is_empty()
    }

    pub(super) fn new_base(&self, namespace: &str, labels: Labels) -> Base {
        let (resolution, ties, selected) = self.cluster_part(namespace, &labels, false);
        let exemptions = cluster_exemptions(&selected);
        let mut held = resolution.clone();
        held.hold_bounds(namespace);
        Base {
            labels,
            effective: held.finish(Arc::clone(&exemptions)),
            resolution,
            exemptions,
            ties,
            selected_by: selected.iter().map(|it| it.name.name.clone()).collect(),
        }
    }

    /// Flags, and the cluster policies that select these labels.
    fn cluster_part(
        &self,
        namespace: &str,
        labels: &Labels,
        is_recorded: bool,
    ) -> (Resolution, Vec<Tie>, Vec<&Arc<PolicyObject>>) {
        let is_selected = |it: &&Arc<PolicyObject>| it.selects_namespace(namespace, labels);
        let selected: Vec<&Arc<PolicyObject>> = self.cluster.iter().filter(is_selected).collect();
        let mut limits = Limits::default();
        let mut conflicts = Vec::new();
        for policy in selected.iter().rev() {
            let found = limits.add(&policy.limits);
            conflicts.extend(found.into_iter().map(|it| format!("{}: {it}", policy.name)));
        }
        let mut resolution = Resolution::built_in(Arc::new(limits), is_recorded);
        resolution.policy_problems = conflicts;
        for (field, value) in &self.installation.values {
            resolution.offer(*field, value, &Source::Flag, String::new);
        }
        let ties = offer_all(&mut resolution, selected.iter().copied(), Source::ClusterPolicy);
        for policy in self.cluster.iter().filter(|it| is_selected(it) || it.selector.is_none()) {
            self.tell_problems(&policy.name, &mut resolution);
        }
        (resolution, ties, selected)
    }
}

/// What is built in, where no policy and no flag says more.
static PLAIN: LazyLock<Arc<Base>> = LazyLock::new(|| Arc::new(Policies::default().new_base("", Labels::default())));

fn finish(
    mut resolution: Resolution,
    namespace: &str,
    facts: Option<&Namespace>,
    workload: Option<&Workload>,
    exemptions: Arc<[Arc<Exemption>]>,
) -> Effective {
    resolution.hold_bounds(namespace);
    Effective { reason: annotations::reason(facts, workload), ..resolution.finish(exemptions) }
}

/// Lets policies speak, those that count least first; of two equals the name that comes first counts.
fn offer_all<'a>(
    resolution: &mut Resolution,
    policies: impl Iterator<Item = &'a Arc<PolicyObject>>,
    source: fn(SmolStr) -> Source,
) -> Vec<Tie> {
    let mut setters: FxHashMap<Field, &PolicyObject> = FxHashMap::default();
    let mut ties: Vec<Tie> = Vec::new();
    for policy in policies {
        for (field, value) in &policy.values {
            let earlier = setters.insert(*field, policy);
            let is_tie = earlier.is_some_and(|it| rank(it) == rank(policy));
            if !is_tie {
                ties.retain(|it| it.field != *field);
            } else if let Some(loser) = earlier.filter(|_| resolution.slot(*field).value.as_ref() != Some(value)) {
                ties.retain(|it| it.field != *field);
                ties.push(Tie { field: *field, winner: policy.name.name.clone(), loser: loser.name.name.clone() });
            }
        }
        resolution.offer_policy(policy, &source(policy.name.name.clone()));
    }
    ties
}

/// What decides between two policies of one level: one that selects workloads is nearer than one for all of them.
pub(super) fn rank(policy: &PolicyObject) -> (bool, i64) {
    let selects_workloads =
        !policy.name.namespace.is_empty() && policy.selector.as_ref().is_none_or(|it| !it.is_empty());
    (selects_workloads, policy.priority)
}

/// True for policies of a namespace that speak about the object.
fn selects(policy: &PolicyObject, workload: Option<&Workload>) -> bool {
    let Some(selector) = &policy.selector else { return false };
    selector.is_empty() || workload.is_some_and(|it| selector.matches(&it.labels, None))
}

fn cluster_exemptions(selected: &[&Arc<PolicyObject>]) -> Arc<[Arc<Exemption>]> {
    selected.iter().flat_map(|it| &it.exemptions).cloned().collect()
}

fn all_exemptions(cluster: &Arc<[Arc<Exemption>]>, own: &[Arc<PolicyObject>]) -> Arc<[Arc<Exemption>]> {
    let mut own = own.iter().flat_map(|it| &it.exemptions).peekable();
    if own.peek().is_none() {
        return Arc::clone(cluster);
    }
    cluster.iter().chain(own).cloned().collect()
}

impl Policies {
    /// What wanted which value, for `explain`.
    #[must_use]
    pub fn steps(&self, namespace: &str, facts: Option<&Namespace>, workload: Option<&Workload>) -> Vec<Step> {
        self.trace(namespace, facts, workload).0.steps.unwrap_or_default()
    }
}
