//! What of a written policy does not do what it says: it cannot be read, is for nobody, is locked, out of bounds, outvoted by another
//! one or tied with it, or has exemptions that do not count.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use smol_str::SmolStr;

use super::Budget;
use crate::{
    facts::{Namespace, Workload},
    policy::{Effective, Exemption, Field, FieldValue, Policies, PolicyName, ReadPolicy, Source, Standing, Tie},
    rules,
    snapshot::{Resource, Snapshot},
    warning::Rank,
};

/// Most remarks that are told; of more it says how many.
const REMARKS_TOLD_MAX: usize = 8;

/// One write of a policy.
pub(super) struct Change<'a> {
    pub(super) read: &'a ReadPolicy,
    pub(super) before: &'a Policies,
    pub(super) after: &'a Policies,
    /// The namespaces that the written policy is for.
    pub(super) meant: &'a [&'a Namespace],
    pub(super) now: Timestamp,
    pub(super) budget: Budget<'a>,
}

/// Most workloads for which it is looked what keeps a policy that selects them from counting.
const SELECTED_LOOKED_AT_MAX: usize = 100;

/// Remarks, and in which namespaces they hold: how many, and the first.
type Found<'a> = BTreeMap<String, (usize, &'a str)>;

/// In how many places a setting does not count as it is, of those in which it was looked for.
#[derive(Default)]
struct Overruled<'a> {
    asked: usize,
    told: usize,
    line: String,
    first: &'a str,
}

impl<'a> Overruled<'a> {
    fn add(&mut self, line: Option<String>, namespace: &'a str) {
        self.asked += 1;
        let Some(line) = line else { return };
        if self.told == 0 {
            (self.line, self.first) = (line, namespace);
        }
        self.told += 1;
    }
}

impl Change<'_> {
    pub(super) fn remarks(&self, snapshot: &Snapshot) -> Vec<(Rank, String)> {
        let name = &self.read.policy.name;
        let mut lines: Vec<String> = self.read.problems.iter().map(|it| format!("{name} {it}")).collect();
        lines.extend(self.not_asked_of_writes());
        lines.extend(self.for_nobody(snapshot));
        let is_cluster = name.namespace.is_empty();
        for (text, (count, first)) in self.found(snapshot) {
            lines.push(match (is_cluster, count) {
                (false, _) => text,
                (true, 1) => format!("{text} (namespace {first})"),
                (true, _) => format!("{text} ({count} namespaces, the first is {first})"),
            });
        }
        let more = lines.len().saturating_sub(REMARKS_TOLD_MAX);
        lines.truncate(REMARKS_TOLD_MAX);
        lines.extend((more > 0).then(|| format!("{name}: {more} more remarks; no502 policy explain shows all")));
        lines.into_iter().map(|it| (Rank::Denial, format!("no502: {it}"))).collect()
    }

    /// What it says of rules that only files are asked about.
    fn not_asked_of_writes(&self) -> Vec<String> {
        let policy = &self.read.policy;
        let is_for_files = |rule: &str| rules::find(rule).is_some_and(|it| !it.is_asked_of_writes());
        let actions = policy.values.iter().filter(|(field, _)| field.rule().is_some_and(is_for_files));
        let actions = actions.map(|(field, _)| format!("settings.{}", field.path()));
        let exemptions = policy.exemptions.iter().filter(|it| is_for_files(it.rule));
        let exemptions = exemptions.map(|it| format!("exemptions[{}]", it.index));
        let why = "changes nothing: the rule is asked of files only; a write gets what it lacks, by injection.mode";
        actions.chain(exemptions).map(|it| format!("{} spec.{it} {why}", policy.name)).collect()
    }

    fn for_nobody(&self, snapshot: &Snapshot) -> Option<String> {
        let name = &self.read.policy.name;
        if !snapshot.synced().has(Resource::Namespaces) {
            return Some(format!("{name}: still reading namespaces; nothing was counted"));
        }
        let selector = self.read.policy.selector.as_ref()?;
        if !name.namespace.is_empty() && !selector.is_empty() {
            let mut workloads = snapshot.workloads_in(&name.namespace);
            let is_selected = workloads.any(|it| selector.matches(&it.labels, None));
            return (!is_selected)
                .then(|| format!("{name} selects no workload that is there; it goes by their own labels, and Rollouts are not looked at"));
        }
        if !self.meant.is_empty() {
            return None;
        }
        if name.namespace.is_empty() {
            return Some(format!("{name} selects no namespace; look at the labels of those that it is meant for"));
        }
        let is_exempt = self.before.is_exempt_namespace(&name.namespace);
        is_exempt.then(|| format!("{name} does nothing: nothing is reviewed in namespace {}", name.namespace))
    }

    fn found(&self, snapshot: &Snapshot) -> Found<'_> {
        let mut found = Found::new();
        let [mut outvoted, mut moved]: [BTreeMap<Field, Overruled<'_>>; 2] = Default::default();
        for namespace in self.meant {
            if (self.budget.is_spent)() {
                break;
            }
            for workload in self.subjects(namespace, snapshot) {
                let of = |it: &Policies| it.effective(&namespace.meta.name, Some(namespace), workload);
                let (before, after) = (of(self.before), of(self.after));
                let lines = self.limited(&before, &after).into_iter().chain(self.idle_exemptions(&after));
                for line in lines.chain(self.ties(namespace, workload)) {
                    found.entry(line).or_insert((0, &*namespace.meta.name)).0 += 1;
                }
                for (field, line) in self.outvoted(&after) {
                    outvoted.entry(field).or_default().add(line, &namespace.meta.name);
                }
            }
            for (field, line) in self.moved(namespace) {
                moved.entry(field).or_default().add(line, &namespace.meta.name);
            }
        }
        // Another policy may well have the say in some of the namespaces, or a bound be for some of them.
        let everywhere = outvoted.into_values().chain(moved.into_values()).filter(|it| it.told == it.asked);
        found.extend(everywhere.map(|it| (it.line, (it.told, it.first))));
        found
    }

    /// For what it is asked what the policy means: for a namespace as a whole, or for workloads that it selects.
    fn subjects<'s>(&self, namespace: &Namespace, snapshot: &'s Snapshot) -> Vec<Option<&'s Workload>> {
        let policy = &self.read.policy;
        let selector = policy.selector.as_ref().filter(|it| !policy.name.namespace.is_empty() && !it.is_empty());
        let Some(selector) = selector else { return vec![None] };
        let workloads = snapshot.workloads_in(&namespace.meta.name).map(|it| &**it);
        workloads.filter(|it| selector.matches(&it.labels, None)).take(SELECTED_LOOKED_AT_MAX).map(Some).collect()
    }

    /// Settings that it wants otherwise than another policy of its priority, whichever of them counts.
    fn ties(&self, namespace: &Namespace, workload: Option<&Workload>) -> Vec<String> {
        let name = &self.read.policy.name;
        let ties = if name.namespace.is_empty() {
            self.after.cluster_ties(&namespace.meta.name, Some(namespace))
        } else {
            self.after.own_ties(&namespace.meta.name, Some(namespace), workload)
        };
        let named = |other: &SmolStr| PolicyName { namespace: name.namespace.clone(), name: other.clone() };
        let values: BTreeMap<Field, &FieldValue> =
            self.read.policy.values.iter().map(|(field, value)| (*field, value)).collect();
        let fix = "give one of them a higher priority";
        let line = |Tie { field, winner, loser }: Tie| {
            let what = format!("{name} spec.settings.{} {}", field.path(), values.get(&field)?);
            if loser == name.name {
                let why = "has the same priority and its name comes first";
                return Some(format!("{what} does not count: {} {why}; {fix}", named(&winner)));
            }
            let why = "which has the same priority, only since its name comes first";
            (winner == name.name).then(|| format!("{what} counts before that of {}, {why}; {fix}", named(&loser)))
        };
        ties.into_iter().filter_map(line).collect()
    }

    /// Values of a cluster policy that a bound moves, also one of its own; those of a namespace are told as [`limited`](Self::limited).
    fn moved(&self, namespace: &Namespace) -> Vec<(Field, Option<String>)> {
        let name = &self.read.policy.name;
        if !name.namespace.is_empty() {
            return Vec::new();
        }
        let values = self.after.cluster_values(&namespace.meta.name, Some(namespace));
        let own = values.into_iter().filter(|it| it.policy == name.name);
        own.map(|it| (it.field, it.moved.map(|text| format!("{name} spec.settings.{text}")))).collect()
    }

    /// What teams have set in a namespace and does not count any more, or does not count yet.
    fn limited(&self, before: &Effective, after: &Effective) -> Vec<String> {
        let problems = |it: &Effective| [it.policy_problems.clone(), it.problems.clone()].concat();
        let known = problems(before);
        let is_told = |line: &String| self.read.problems.iter().any(|it| line.contains(it.as_str()));
        problems(after).into_iter().filter(|it| !known.contains(it) && !is_told(it)).collect()
    }

    /// Settings for which another policy of the same level, of a higher priority, has the say.
    fn outvoted(&self, after: &Effective) -> Vec<(Field, Option<String>)> {
        let name = &self.read.policy.name;
        let line = |(field, value): &(Field, FieldValue)| {
            let source = after.source(*field);
            let other = match source {
                Source::ClusterPolicy(other) if name.namespace.is_empty() => other,
                Source::Policy(other) if !name.namespace.is_empty() => other,
                _ => return None,
            };
            let other = PolicyName { namespace: name.namespace.clone(), name: other.clone() };
            let is_higher = self.after.entry(&other).is_some_and(|it| it.policy.priority > self.read.policy.priority);
            let (path, winner) = (field.path(), source.text(&name.namespace));
            is_higher
                .then(|| format!("{name} spec.settings.{path} {value} does not count: {winner} has a higher priority"))
        };
        self.read.policy.values.iter().map(|it| (it.0, line(it))).collect()
    }

    fn idle_exemptions(&self, after: &Effective) -> Vec<String> {
        let name = &self.read.policy.name;
        let own = after.exemptions_at(self.now).filter(|(it, _)| it.policy == *name);
        let line = |(it, standing): (&Arc<Exemption>, Standing)| {
            let text = standing.text(it, after.limits())?;
            Some(format!("{name} spec.exemptions[{}] {text}", it.index))
        };
        own.filter_map(line).collect()
    }
}
