//! What the object of a policy should say about it: is all of it in force, what keeps the rest out, and are its exemptions still
//! needed. Pure: the same policies, cluster and time give the same status on every replica.

mod exemptions;
mod findings;
mod limits;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use rustc_hash::FxHashSet;
use smol_str::SmolStr;

pub use self::{
    exemptions::{EXPIRES_SOON_DAYS, ExemptionCounts, ExemptionRemark, RemarkKind, USED_FOR_DAYS},
    findings::WORKLOADS_MAX,
};
use self::{
    exemptions::{Judged, Needs},
    findings::Findings,
    limits::Troubles,
};
use super::{Entry, Policies, PolicyName};
use crate::snapshot::Snapshot;

/// Problems, conflicts or limits that one message tells of; the others are counted.
const TOLD_MAX: usize = 8;

/// The exemptions that are not to be called unused, since a write needed them lately or they are new: the policy, and their place in
/// its list.
pub type Used = FxHashSet<(PolicyName, usize)>;

/// What one policy's status says.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyStatus {
    /// The newest generation, which this is about.
    pub observed_generation: i64,
    /// The one that counts.
    pub in_force_generation: i64,
    /// True if everything in it could be read.
    pub accepted: Judgement,
    /// True if some of it is not in force, or only by a rule that nobody may have thought of.
    pub degraded: Judgement,
    /// How many namespaces a `ClusterRolloutPolicy` selects, without those in which nothing is reviewed.
    pub namespaces_matched: Option<usize>,
    /// How many exemptions there are of each kind.
    pub exemptions: ExemptionCounts,
    /// The places of those that count.
    pub exemptions_in_force: Vec<usize>,
    /// The places of those that cover a finding of the cluster as it is now.
    pub exemptions_needed: Vec<usize>,
    /// What is to be said about exemptions, the worst first.
    pub remarks: Vec<ExemptionRemark>,
    /// The ties that it is part of, one line each.
    pub conflicts: Vec<String>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it is so.
    pub is_true: bool,
    /// A word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// The namespaces that a policy is for.
#[derive(Debug, Clone, Default)]
struct Reach<'a> {
    reviewed: Vec<&'a SmolStr>,
    /// There are others, in which nothing is reviewed.
    has_exempt: bool,
}

impl<'a> Reach<'a> {
    fn add(&mut self, namespace: &'a SmolStr, policies: &Policies) {
        if policies.is_exempt_namespace(namespace) {
            self.has_exempt = true;
        } else {
            self.reviewed.push(namespace);
        }
    }
}

/// The status of every policy.
///
/// Bounded: what is unused is not told of a cluster of more than [`WORKLOADS_MAX`] workloads.
#[must_use]
pub fn audit(policies: &Policies, snapshot: &Snapshot, used: &Used, now: Timestamp) -> Vec<(PolicyName, PolicyStatus)> {
    let mut reaches: BTreeMap<&SmolStr, Reach<'_>> = BTreeMap::new();
    let bases: BTreeMap<_, _> = policies.bases.iter().collect();
    for (namespace, base) in bases {
        for policy in base.speakers() {
            reaches.entry(&policy.name.name).or_default().add(namespace, policies);
        }
    }
    let findings = Findings::for_exemptions(policies, snapshot, now);
    let troubles = Troubles::of(policies, snapshot);
    let status = |(name, entry): (&PolicyName, &Arc<Entry>)| {
        let is_cluster = name.namespace.is_empty();
        let mut reach = Reach::default();
        if is_cluster {
            reach = reaches.get(&name.name).cloned().unwrap_or_default();
        } else {
            reach.add(&name.namespace, policies);
        }
        let needs = Needs { findings: &findings, used, namespaces: &reach.reviewed };
        // Those of the cluster know no limits.
        let facts = snapshot.namespace(&name.namespace);
        let effective = (!is_cluster).then(|| policies.effective(&name.namespace, facts, None));
        let Judged { counts, in_force: exemptions_in_force, needed: exemptions_needed, remarks } =
            exemptions::judge(entry, effective.as_ref(), &needs, now);
        let conflicts = troubles.conflicts.get(name).cloned().unwrap_or_default();
        let status = PolicyStatus {
            observed_generation: entry.generation,
            in_force_generation: entry.policy.generation,
            accepted: accepted(entry),
            degraded: degraded(entry, &conflicts, troubles.limited.get(name).map_or(&[], Vec::as_slice))
                .unwrap_or_else(|| in_force(is_cluster, &reach)),
            namespaces_matched: is_cluster.then_some(reach.reviewed.len()),
            exemptions: counts,
            exemptions_in_force,
            exemptions_needed,
            remarks,
            conflicts,
        };
        (name.clone(), status)
    };
    policies.entries.iter().map(status).collect()
}

fn accepted(entry: &Entry) -> Judgement {
    if entry.problems.is_empty() {
        return Judgement { is_true: true, reason: "Accepted", message: "every field could be read".to_owned() };
    }
    Judgement { is_true: false, reason: "Unreadable", message: told(&entry.problems) }
}

fn degraded(entry: &Entry, conflicts: &[String], limited: &[String]) -> Option<Judgement> {
    let Entry { policy, problems, generation, .. } = entry;
    let unread = match (problems.is_empty(), entry.is_last_good()) {
        (true, _) => None,
        (false, true) => Some((
            "LastGood",
            format!("generation {generation} cannot be read; generation {} is in force", policy.generation),
        )),
        (false, false) => Some((
            "Partial",
            format!("generation {generation} cannot be read as a whole; what can be read of it is in force"),
        )),
    };
    let conflict = (!conflicts.is_empty()).then(|| ("Conflict", told(conflicts)));
    let limited = (!limited.is_empty()).then(|| ("Limited", told(limited)));
    let all: Vec<(&'static str, String)> = [unread, conflict, limited].into_iter().flatten().collect();
    let (reason, _) = all.first()?;
    let messages: Vec<&str> = all.iter().map(|(_, message)| message.as_str()).collect();
    Some(Judgement { is_true: true, reason, message: messages.join("; ") })
}

/// Nothing keeps it out. That nobody feels anything of it may still be a typing mistake.
fn in_force(is_cluster: bool, reach: &Reach<'_>) -> Judgement {
    let (reason, message) = match (reach.reviewed.is_empty(), reach.has_exempt, is_cluster) {
        (false, ..) => ("InForce", "all of it is in force"),
        (true, false, _) => ("NoNamespace", "it selects no namespace"),
        (true, true, true) => ("NotReviewed", "nothing is reviewed in the namespaces that it selects"),
        (true, true, false) => ("NotReviewed", "nothing is reviewed in this namespace"),
    };
    Judgement { is_true: false, reason, message: message.to_owned() }
}

/// The first lines as one, and how many more there are.
fn told(lines: &[String]) -> String {
    let text = lines.iter().take(TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    match lines.len().checked_sub(TOLD_MAX).filter(|it| *it > 0) {
        Some(more) => format!("{text}; and {more} more"),
        None => text,
    }
}
