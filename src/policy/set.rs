//! The policies in force, immutable: what reviews ask. What the cluster says of a namespace is worked out once, when a policy or
//! the namespace's labels change; what teams say is added for each write.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::{
    Effective, Exemption, Field, FieldValue, Installation, Limits, PolicyName, PolicyObject, Source, annotations,
    limit::clamped_text,
    own::Own,
    resolve::{Resolution, index},
    tie::{self, Tie},
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
    /// The policies of each namespace.
    pub(super) own: FxHashMap<SmolStr, Arc<Own>>,
    /// What the cluster says of each namespace.
    pub(super) bases: FxHashMap<SmolStr, Base>,
    /// Every policy object, for its status.
    pub(super) entries: Arc<BTreeMap<PolicyName, Arc<Entry>>>,
    /// Those that cannot be read, or not wholly.
    pub(super) unreadable: Arc<BTreeMap<PolicyName, Arc<Entry>>>,
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
    pub(super) is_last_good: bool,
}

impl Entry {
    /// True if an earlier version is in force, because the newest one cannot be read.
    #[must_use]
    pub fn is_last_good(&self) -> bool {
        self.is_last_good
    }

    /// The problems, as writes are told of them.
    pub(super) fn told(&self) -> impl Iterator<Item = String> {
        let kept = if self.is_last_good() { " (its last good version is in force)" } else { "" };
        self.problems.iter().map(move |it| format!("{} {it}{kept}", self.policy.name))
    }
}

/// What the cluster says of one namespace, as long as it has these labels.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) labels: Labels,
    pub(super) said: Arc<Said>,
}

impl Base {
    /// The cluster policies that are for the namespace, those that count least first.
    pub(super) fn speakers(&self) -> impl DoubleEndedIterator<Item = &Arc<PolicyObject>> {
        self.said.selected.iter()
    }
}

/// What flags and some cluster policies say together; many namespaces share it.
#[derive(Debug)]
pub(super) struct Said {
    resolution: Resolution,
    exemptions: Arc<[Arc<Exemption>]>,
    /// What is in force where nobody says more.
    effective: Effective,
    /// The cluster policies, those that count least first.
    selected: Vec<Arc<PolicyObject>>,
}

/// A value of a cluster policy that counts where nobody says more.
pub(crate) struct ClusterValue {
    pub(crate) field: Field,
    /// The policy.
    pub(crate) policy: SmolStr,
    /// That a bound moves it, if one does.
    pub(crate) moved: Option<String>,
}

impl Said {
    /// The ties among the policies.
    pub(super) fn ties(&self) -> Vec<Tie> {
        tie::among(self.selected.iter(), &self.resolution.limits)
    }

    /// What policies have set here.
    pub(super) fn values(&self) -> impl Iterator<Item = ClusterValue> {
        Field::all().filter_map(|field| {
            let slot = self.resolution.slot(field);
            let (Source::ClusterPolicy(policy), Some(value)) = (&slot.source, &slot.value) else { return None };
            let moved = self.resolution.limits.clamped(field, value);
            let moved = moved.map(|(held, by)| clamped_text(&format!("{} {value}", field.path()), &held, by));
            Some(ClusterValue { field, policy: policy.clone(), moved })
        })
    }
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

    /// The policy object of that name.
    #[must_use]
    pub fn entry(&self, name: &PolicyName) -> Option<&Entry> {
        self.entries.get(name).map(|it| &**it)
    }

    /// An exemption by its policy and its place in the policy's list.
    #[must_use]
    pub fn exemption(&self, name: &PolicyName, index: usize) -> Option<&Exemption> {
        self.entry(name)?.policy.exemptions.iter().map(|it| &**it).find(|it| it.index == index)
    }

    /// What is in force for an object of that namespace. `facts` is its Namespace, where that is known; `workload` is the object,
    /// if it is one.
    #[must_use]
    pub fn effective(&self, namespace: &str, facts: Option<&Namespace>, workload: Option<&Workload>) -> Effective {
        let said = self.said_of(namespace, facts);
        let own = self.own_policies(namespace);
        let own_exemptions = self.own_exemptions(namespace);
        let is_plain = |it: &Workload| it.meta.own.is_empty() && it.template.own.is_empty();
        if own.is_empty() && facts.is_none_or(|it| it.meta.own.is_empty()) && workload.is_none_or(is_plain) {
            return said.effective.clone();
        }
        let mut resolution = said.resolution.clone();
        self.add_own(&mut resolution, namespace, facts, workload);
        finish(resolution, namespace, facts, workload, [Arc::clone(&said.exemptions), own_exemptions])
    }

    /// The same, with everything that wanted a value on the way.
    pub(super) fn trace(
        &self,
        namespace: &str,
        facts: Option<&Namespace>,
        workload: Option<&Workload>,
    ) -> (Resolution, Effective, Vec<Tie>) {
        let labels = self.labels(namespace, facts);
        let selected = self.selected(namespace, &labels);
        let mut resolution = self.cluster_part(&selected, true);
        let mut ties = tie::among(selected.iter(), &resolution.limits);
        ties.extend(self.ties_of_own(namespace, workload, &resolution.limits));
        self.add_own(&mut resolution, namespace, facts, workload);
        let exemptions = [cluster_exemptions(&selected), self.own_exemptions(namespace)];
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
        self.own.get(namespace).map_or(&[], |it| &it.policies)
    }

    fn own_exemptions(&self, namespace: &str) -> Arc<[Arc<Exemption>]> {
        self.own.get(namespace).map(|it| Arc::clone(&it.exemptions)).unwrap_or_default()
    }

    fn add_own(
        &self,
        resolution: &mut Resolution,
        namespace: &str,
        facts: Option<&Namespace>,
        workload: Option<&Workload>,
    ) {
        if let Some(facts) = facts {
            annotations::of_namespace(facts, resolution);
        }
        let own = self.own_policies(namespace).iter().filter(|it| selects(it, workload));
        offer_all(resolution, own, Source::Policy);
        if !self.unreadable.is_empty() {
            // Whom a policy with an unreadable selector was meant for, nobody knows.
            let is_meant = |it: &&Arc<PolicyObject>| it.selector.is_none() || selects(it, workload);
            for policy in self.own_policies(namespace).iter().filter(is_meant) {
                self.tell_problems(&policy.name, resolution);
            }
        }
        resolution.policy_problems.extend(self.own.get(namespace).and_then(|it| it.remark()));
        if let Some(workload) = workload {
            annotations::of_workload(workload, resolution);
        }
    }

    /// What policies of the cluster have set for a namespace.
    pub(crate) fn cluster_values(&self, namespace: &str, facts: Option<&Namespace>) -> Vec<ClusterValue> {
        self.said_of(namespace, facts).values().collect()
    }

    /// The ties among the policies of the cluster that are for a namespace.
    pub(crate) fn cluster_ties(&self, namespace: &str, facts: Option<&Namespace>) -> Vec<Tie> {
        self.said_of(namespace, facts).ties()
    }

    /// The ties among the policies of a namespace, for all of its workloads or for one that they select.
    pub(crate) fn own_ties(&self, namespace: &str, facts: Option<&Namespace>, workload: Option<&Workload>) -> Vec<Tie> {
        self.ties_of_own(namespace, workload, &self.said_of(namespace, facts).resolution.limits)
    }

    fn ties_of_own(&self, namespace: &str, workload: Option<&Workload>, limits: &Limits) -> Vec<Tie> {
        tie::among(self.own_policies(namespace).iter().filter(|it| selects(it, workload)), limits)
    }

    /// An unreadable policy is told with every write that it is for.
    fn tell_problems(&self, name: &PolicyName, resolution: &mut Resolution) {
        let Some(entry) = self.unreadable.get(name) else { return };
        let room = POLICY_PROBLEMS_TOLD_MAX.saturating_sub(resolution.policy_problems.len());
        resolution.policy_problems.extend(entry.told().take(room));
    }

    fn said_of(&self, namespace: &str, facts: Option<&Namespace>) -> Arc<Said> {
        match self.bases.get(namespace) {
            Some(base) if facts.is_none_or(|it| it.labels == base.labels) => Arc::clone(&base.said),
            _ if self.is_plain() => Arc::clone(&PLAIN),
            _ => Arc::new(self.said_by(self.selected(namespace, &self.labels(namespace, facts)))),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.cluster.is_empty() && self.installation.values.is_empty()
    }

    /// The cluster policies that are for a namespace, those that count least first.
    pub(super) fn selected(&self, namespace: &str, labels: &Labels) -> Vec<Arc<PolicyObject>> {
        self.cluster.iter().filter(|it| it.selects_namespace(namespace, labels)).cloned().collect()
    }

    /// What these cluster policies say together.
    pub(super) fn said_by(&self, selected: Vec<Arc<PolicyObject>>) -> Said {
        let resolution = self.cluster_part(&selected, false);
        let exemptions = cluster_exemptions(&selected);
        let mut held = resolution.clone();
        // Only what teams set is told with a namespace.
        held.hold_bounds("");
        let effective = held.finish([Arc::clone(&exemptions), Arc::default()]);
        Said { resolution, exemptions, effective, selected }
    }

    /// Flags, and then cluster policies.
    fn cluster_part(&self, selected: &[Arc<PolicyObject>], is_recorded: bool) -> Resolution {
        let mut limits = Limits::default();
        let mut conflicts = Vec::new();
        let policies = || selected.iter();
        for policy in policies().rev() {
            let found = limits.add(&policy.limits);
            conflicts.extend(found.into_iter().map(|it| format!("{}: {it}", policy.name)));
        }
        let mut resolution = Resolution::built_in(Arc::new(limits), is_recorded);
        resolution.policy_problems = conflicts;
        for (field, value) in &self.installation.values {
            resolution.offer(*field, value, &Source::Flag, String::new);
        }
        if is_recorded {
            offer_all(&mut resolution, policies(), Source::ClusterPolicy);
        } else {
            offer_winners(&mut resolution, policies());
        }
        // Whom a policy with an unreadable selector was meant for, nobody knows.
        let lost = self.cluster.iter().filter(|it| it.selector.is_none());
        for policy in policies().chain(lost).filter(|_| !self.unreadable.is_empty()) {
            self.tell_problems(&policy.name, &mut resolution);
        }
        resolution
    }
}

/// What is built in, where no policy and no flag says more.
static PLAIN: LazyLock<Arc<Said>> = LazyLock::new(|| Arc::new(Policies::default().said_by(Vec::new())));

fn finish(
    mut resolution: Resolution,
    namespace: &str,
    facts: Option<&Namespace>,
    workload: Option<&Workload>,
    exemptions: [Arc<[Arc<Exemption>]>; 2],
) -> Effective {
    resolution.hold_bounds(namespace);
    Effective { reason: annotations::reason(facts, workload), ..resolution.finish(exemptions) }
}

/// Lets policies speak, those that count least first; of two equals the name that comes first counts.
fn offer_all<'a>(
    resolution: &mut Resolution,
    policies: impl Iterator<Item = &'a Arc<PolicyObject>>,
    source: fn(SmolStr) -> Source,
) {
    for policy in policies {
        resolution.offer_policy(policy, &source(policy.name.name.clone()));
    }
}

/// The same for policies of the cluster, which nothing keeps out: each setting is written once, however many policies have it.
fn offer_winners<'a>(resolution: &mut Resolution, policies: impl Iterator<Item = &'a Arc<PolicyObject>>) {
    let mut winners: Vec<Option<(&PolicyObject, &FieldValue)>> = vec![None; Field::all().count()];
    for policy in policies {
        for (field, value) in &policy.values {
            winners[index(*field)] = Some((policy, value));
        }
    }
    for (field, winner) in Field::all().zip(winners) {
        let Some((policy, value)) = winner else { continue };
        resolution.offer(field, value, &Source::ClusterPolicy(policy.name.name.clone()), String::new);
    }
}

/// True for policies of a namespace that speak about the object.
pub(super) fn selects(policy: &PolicyObject, workload: Option<&Workload>) -> bool {
    let Some(selector) = &policy.selector else { return false };
    selector.is_empty() || workload.is_some_and(|it| selector.matches(&it.labels, None))
}

fn cluster_exemptions(selected: &[Arc<PolicyObject>]) -> Arc<[Arc<Exemption>]> {
    selected.iter().flat_map(|it| &it.exemptions).cloned().collect()
}
