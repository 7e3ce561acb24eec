//! What a change of policy means for the objects that exist: how many would newly be denied or injected, with the first names
//! (design 7). Answered as warnings to whoever writes the policy; nothing is ever denied here. Bounded in objects, and in time by
//! the caller, who has a clock.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod remarks;

use jiff::Timestamp;
use serde_json::Value as Json;

use self::remarks::Change;
use crate::{
    facts::{Facts, Namespace},
    inject::{Candidate, as_written, inject},
    link::Write,
    policy::{Policies, PolicyObject, PolicyStore, ReadPolicy},
    snapshot::Snapshot,
    verdict::{self, Requester},
    warning::Rank,
};

/// Most objects that one preview looks at.
pub const OBJECTS_MAX: usize = 5_000;

/// Names that a warning has; of more it says how many.
const NAMES_MAX: usize = 3;

/// How much one preview may do.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Objects that are looked at.
    pub objects_max: usize,
    /// True once the time is over; asked before each object.
    pub is_spent: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Budget").field("objects_max", &self.objects_max).finish_non_exhaustive()
    }
}

impl Default for Budget<'_> {
    /// As many objects as there may be, and all the time in the world.
    fn default() -> Self {
        Self { objects_max: OBJECTS_MAX, is_spent: &|| false }
    }
}

/// The warnings for one write of a policy. `old` is the object before, null for a creation.
#[must_use]
pub fn preview(
    old: &Json,
    new: &Json,
    snapshot: &Snapshot,
    policies: &Policies,
    now: Timestamp,
    budget: Budget<'_>,
) -> Vec<(Rank, String)> {
    let Some(read) = ReadPolicy::read(new) else { return Vec::new() };
    if old["spec"] == new["spec"] && !old.is_null() {
        return Vec::new();
    }
    let known = policies.entry(&read.policy.name).map(|it| &it.policy);
    let (mut meant, mut left) = (Vec::new(), Vec::new());
    for namespace in snapshot.namespaces().filter(|it| !policies.is_exempt_namespace(&it.meta.name)) {
        if is_for(&read.policy, namespace) {
            meant.push(namespace);
        } else if known.is_some_and(|it| is_for(it, namespace)) {
            left.push(namespace);
        }
    }
    let after = changed(policies, snapshot, new);
    let change = Change { read: &read, before: policies, after: &after, meant: &meant, now, budget };
    let mut lines = change.remarks(snapshot);
    let mut count = Count::default();
    for namespace in meant.iter().chain(&left) {
        count.look_at(namespace, snapshot, [policies, &after], now, budget);
    }
    lines.extend(count.lines());
    lines
}

/// The policies as they will be.
fn changed(policies: &Policies, snapshot: &Snapshot, new: &Json) -> Policies {
    let mut store = PolicyStore::following(policies);
    for namespace in snapshot.namespaces() {
        store.set_namespace(&namespace.meta.name, Some(&namespace.labels));
    }
    store.apply(new);
    store.policies()
}

fn is_for(policy: &PolicyObject, namespace: &Namespace) -> bool {
    match policy.name.namespace.as_str() {
        "" => policy.selects_namespace(&namespace.meta.name, &namespace.labels),
        own => own == namespace.meta.name,
    }
}

/// What the objects of the cluster get from the policies before and after.
#[derive(Debug, Default)]
struct Count {
    seen: usize,
    left: usize,
    denied: Names,
    no_longer_denied: Names,
    injected: Names,
    no_longer_injected: Names,
}

/// How many, and the first of them.
#[derive(Debug, Default)]
struct Names {
    count: usize,
    first: Vec<String>,
}

impl Names {
    fn add(&mut self, facts: &Facts) {
        self.count += 1;
        if self.first.len() < NAMES_MAX {
            let meta = facts.meta();
            self.first.push(format!("{} {}/{}", meta.kind, meta.namespace, meta.name));
        }
    }

    /// `3 existing objects would …: Deployment shop/web, …`.
    fn line(&self, what: &str, would: &str) -> Option<(Rank, String)> {
        let more = self.count.saturating_sub(self.first.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let plural = if self.count == 1 { "" } else { "s" };
        let text =
            format!("no502: {} existing {what}{plural} would {would}: {}{more}", self.count, self.first.join(", "));
        (self.count > 0).then_some((Rank::Risk, text))
    }
}

impl Count {
    fn look_at(
        &mut self,
        namespace: &Namespace,
        snapshot: &Snapshot,
        policies: [&Policies; 2],
        now: Timestamp,
        budget: Budget<'_>,
    ) {
        let name = namespace.meta.name.as_str();
        let total = snapshot.workloads_in(name).count()
            + snapshot.services_in(name).count()
            + snapshot.ingresses_in(name).count();
        let seen_before = self.seen;
        let workloads = snapshot.workloads_in(name).map(|it| Facts::Workload(as_written(it)));
        let services = snapshot.services_in(name).map(|it| Facts::Service(it.clone()));
        let ingresses = snapshot.ingresses_in(name).map(|it| Facts::Ingress(it.clone()));
        for facts in workloads.chain(services).chain(ingresses) {
            if self.left > 0 || self.seen >= budget.objects_max || (budget.is_spent)() {
                break;
            }
            self.seen += 1;
            self.compare(&facts, snapshot, policies, now);
        }
        self.left += total - (self.seen - seen_before);
    }

    fn compare(&mut self, facts: &Facts, snapshot: &Snapshot, policies: [&Policies; 2], now: Timestamp) {
        match policies.map(|it| is_denied(facts, snapshot, it, now)) {
            [false, true] => self.denied.add(facts),
            [true, false] => self.no_longer_denied.add(facts),
            _ => {}
        }
        let Facts::Workload(workload) = facts else { return };
        let candidate = Candidate { old: None, new: workload, template_is_unchanged: false };
        let [before, after] = policies.map(|it| inject(candidate, snapshot, it).patch);
        match (before, after) {
            (before, Some(after)) if before.as_ref() != Some(&after) => self.injected.add(facts),
            (Some(_), None) => self.no_longer_injected.add(facts),
            _ => {}
        }
    }

    fn lines(self) -> Vec<(Rank, String)> {
        let mut lines: Vec<(Rank, String)> = [
            self.denied.line("object", "newly be denied if written anew"),
            self.no_longer_denied.line("object", "no longer be denied"),
            self.injected.line("workload", "newly be injected, or otherwise than now, at the next rollout"),
            self.no_longer_injected.line("workload", "no longer be injected"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.left > 0 {
            let (seen, left) = (self.seen, self.left);
            lines
                .push((Rank::Risk, format!("no502: stopped counting after {seen} objects; {left} were not looked at")));
        }
        lines
    }
}

/// True if the object as it is would be refused, were it created by somebody without special rights.
fn is_denied(facts: &Facts, snapshot: &Snapshot, policies: &Policies, now: Timestamp) -> bool {
    let requester = Requester { user: "", groups: &[] };
    let write = Write { old: None, new: Some(facts) };
    !verdict::decide(write, requester, snapshot, policies, now).is_allowed()
}
