//! What of a written policy does not do what it says: it cannot be read, is for nobody, is locked, out of bounds, outvoted by another
//! one, or has exemptions that do not count.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::Budget;
use crate::{
    facts::Namespace,
    policy::{Effective, Exemption, Field, FieldValue, Policies, ReadPolicy, Source, Standing},
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

/// Remarks, and in which namespaces they hold: how many, and the first.
type Found<'a> = BTreeMap<String, (usize, &'a str)>;

impl Change<'_> {
    pub(super) fn remarks(&self, snapshot: &Snapshot) -> Vec<(Rank, String)> {
        let name = &self.read.policy.name;
        let mut lines: Vec<String> = self.read.problems.iter().map(|it| format!("{name} {it}")).collect();
        lines.extend(self.for_nobody(snapshot));
        let is_cluster = name.namespace.is_empty();
        for (text, (count, first)) in self.found() {
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
                .then(|| format!("{name} selects no workload that is there; it goes by their own labels"));
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

    fn found(&self) -> Found<'_> {
        let mut found = Found::new();
        let mut outvoted: BTreeMap<Field, (usize, String)> = BTreeMap::new();
        for namespace in self.meant {
            if (self.budget.is_spent)() {
                break;
            }
            let first = namespace.meta.name.as_str();
            let of = |it: &Policies| it.effective(&namespace.meta.name, Some(namespace), None);
            let (before, after) = (of(self.before), of(self.after));
            let lines = self.limited(&before, &after).into_iter().chain(self.idle_exemptions(&after));
            for line in lines {
                found.entry(line).or_insert((0, first)).0 += 1;
            }
            for (field, line) in self.outvoted(&after) {
                outvoted.entry(field).or_insert((0, line)).0 += 1;
            }
        }
        // Another policy may well have the say in some of the namespaces.
        let everywhere = outvoted.into_values().filter(|(count, _)| *count == self.meant.len());
        found.extend(everywhere.map(|(count, line)| (line, (count, self.meant[0].meta.name.as_str()))));
        found
    }

    /// What teams have set in a namespace and does not count any more, or does not count yet.
    fn limited(&self, before: &Effective, after: &Effective) -> Vec<String> {
        let problems = |it: &Effective| [it.policy_problems.clone(), it.problems.clone()].concat();
        let known = problems(before);
        let is_told = |line: &String| self.read.problems.iter().any(|it| line.contains(it.as_str()));
        problems(after).into_iter().filter(|it| !known.contains(it) && !is_told(it)).collect()
    }

    /// Settings for which another policy of the same level has the say.
    fn outvoted(&self, after: &Effective) -> Vec<(Field, String)> {
        let name = &self.read.policy.name;
        // One for some workloads is nearer to them than one for all.
        if !name.namespace.is_empty() && self.read.policy.selector.as_ref().is_some_and(|it| !it.is_empty()) {
            return Vec::new();
        }
        let line = |(field, value): &(Field, FieldValue)| {
            let (winner, other) = match after.source(*field) {
                source @ Source::ClusterPolicy(other) if name.namespace.is_empty() => (source, other),
                source @ Source::Policy(other) if !name.namespace.is_empty() => (source, other),
                _ => return None,
            };
            let winner = winner.text(&name.namespace);
            let path = field.path();
            let other = crate::policy::PolicyName { namespace: name.namespace.clone(), name: other.clone() };
            let has_same_priority =
                self.after.entry(&other).is_some_and(|it| it.policy.priority == self.read.policy.priority);
            let why = if has_same_priority {
                "has the same priority and its name comes first; give one of them a higher priority"
            } else {
                "has a higher priority"
            };
            (other != *name)
                .then(|| (*field, format!("{name} spec.settings.{path} {value} does not count: {winner} {why}")))
        };
        self.read.policy.values.iter().filter_map(line).collect()
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
