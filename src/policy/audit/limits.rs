//! What keeps settings of a policy from counting: another one of the same priority, a lock, a bound, or a bound that contradicts
//! another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use smol_str::SmolStr;

use crate::{
    facts::Workload,
    policy::{
        Field, FieldValue, Limits, Policies, PolicyName, PolicyObject, Tie,
        limit::clamped_text,
        resolve::Resolution,
        set::{Base, Said, selects},
    },
    snapshot::Snapshot,
};

/// Most workloads for which it is looked whether two policies of their namespace select them both.
const TRACED_WORKLOADS_MAX: usize = 10_000;

/// Per policy, one line each, in the order of their texts.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    pub(super) conflicts: BTreeMap<PolicyName, Vec<String>>,
    pub(super) limited: BTreeMap<PolicyName, Vec<String>>,
}

impl Troubles {
    pub(super) fn of(policies: &Policies, snapshot: &Snapshot) -> Self {
        let mut found = Found::default();
        found.of_cluster(policies);
        let mut workloads_left = TRACED_WORKLOADS_MAX;
        let namespaces: BTreeMap<_, _> = policies.own.iter().collect();
        for (namespace, own) in namespaces {
            found.of_namespace(policies, snapshot, namespace);
            let selecting = own.iter().filter(|it| it.selector.as_ref().is_some_and(|it| !it.is_empty())).count();
            if selecting < 2 {
                continue;
            }
            // Workloads with the same policies have the same ties.
            let mut seen = BTreeSet::new();
            for workload in snapshot.workloads_in(namespace).take(workloads_left) {
                workloads_left -= 1;
                let selected = own.iter().enumerate().filter(|(_, it)| selects(it, Some(workload)));
                let selected: Vec<usize> = selected.map(|(index, _)| index).collect();
                if selected.len() > 1 && seen.insert(selected) {
                    found.ties_of(policies, snapshot, namespace, Some(workload));
                }
            }
        }
        let lines = |it: BTreeMap<PolicyName, BTreeSet<String>>| {
            it.into_iter().map(|(name, lines)| (name, lines.into_iter().collect())).collect()
        };
        Self { conflicts: lines(found.conflicts), limited: lines(found.limited) }
    }
}

#[derive(Default)]
struct Found {
    conflicts: BTreeMap<PolicyName, BTreeSet<String>>,
    limited: BTreeMap<PolicyName, BTreeSet<String>>,
}

impl Found {
    fn of_cluster(&mut self, policies: &Policies) {
        // Namespaces with the same policies share what these say.
        let bases: BTreeMap<*const Said, &Base> =
            policies.bases.values().map(|it| (Arc::as_ptr(&it.said), it)).collect();
        // `None` once it counts in a namespace as it is: a floor for some of them is what somebody wanted.
        let mut moved: BTreeMap<(SmolStr, Field), Option<String>> = BTreeMap::new();
        for base in bases.into_values() {
            self.bounds_that_contradict(base);
            for tie in base.said.ties() {
                self.tie(&SmolStr::default(), &tie);
            }
            for value in base.said.values() {
                let known = moved.entry((value.policy, value.field)).or_insert_with(|| value.moved.clone());
                // Of several texts always the same one.
                *known = known.take().zip(value.moved).map(|(one, other)| one.min(other));
            }
        }
        for ((policy, _), text) in moved.into_iter().filter_map(|(key, text)| Some((key, text?))) {
            let name = PolicyName { namespace: SmolStr::default(), name: policy };
            self.limited.entry(name).or_default().insert(text);
        }
    }

    fn bounds_that_contradict(&mut self, base: &Base) {
        let mut limits = Limits::default();
        for policy in base.speakers().rev() {
            let contradictions = limits.add(&policy.limits);
            if !contradictions.is_empty() {
                self.limited.entry(policy.name.clone()).or_default().extend(contradictions);
            }
        }
    }

    /// What the policies of a namespace are held back by.
    fn of_namespace(&mut self, policies: &Policies, snapshot: &Snapshot, namespace: &SmolStr) {
        self.ties_of(policies, snapshot, namespace, None);
        let (held, effective, _) = policies.trace(namespace, snapshot.namespace(namespace), None);
        for policy in policies.own.get(namespace).into_iter().flat_map(|it| it.iter()) {
            let lines = held_back(policy, &held, &effective.limits);
            if !lines.is_empty() {
                self.limited.entry(policy.name.clone()).or_default().extend(lines);
            }
        }
    }

    fn ties_of(&mut self, policies: &Policies, snapshot: &Snapshot, namespace: &SmolStr, workload: Option<&Workload>) {
        for tie in policies.own_ties(namespace, snapshot.namespace(namespace), workload) {
            self.tie(namespace, &tie);
        }
    }

    fn tie(&mut self, namespace: &SmolStr, tie: &Tie) {
        let text = tie.text();
        for name in [&tie.winner, &tie.loser] {
            let name = PolicyName { namespace: namespace.clone(), name: name.clone() };
            self.conflicts.entry(name).or_default().insert(text.clone());
        }
    }
}

/// The settings of a `RolloutPolicy` that are locked, or moved by a bound.
fn held_back(policy: &PolicyObject, held: &Resolution, limits: &Limits) -> Vec<String> {
    let line = |(field, value): &(Field, FieldValue)| {
        let path = field.path();
        if let Some(by) = limits.lock_on(*field, value) {
            let differs = held.slot(*field).value.as_ref() != Some(value);
            return differs.then(|| limits.locked_text(&path, *field, by));
        }
        let (held, by) = limits.clamped(*field, value)?;
        Some(clamped_text(&format!("{path} {value}"), &held, by))
    };
    policy.values.iter().filter_map(line).collect()
}
