//! The findings of the cluster as it is now, as far as an exemption could be for them: every object as if it had just been
//! written.

use std::cell::Cell;

use jiff::Timestamp;
use rustc_hash::{FxHashMap, FxHashSet};
use smol_str::SmolStr;

use crate::{
    facts::Facts,
    link::{self, Write},
    policy::{Exemption, Policies},
    rule::{Finding, ObjectName},
    snapshot::{Snapshot, World},
    verdict,
};

/// Most workloads that are looked at: above that no exemption is called unused.
pub const WORKLOADS_MAX: usize = 50_000;

/// Most pairs of a finding and an exemption that are compared in one audit; above that no exemption is called unused.
const COMPARISONS_MAX: usize = 5_000_000;

/// Where a finding is: rule, kind of the object, namespace.
type Place = (&'static str, SmolStr, SmolStr);

/// Findings by their place.
#[derive(Debug, Default)]
pub(super) struct Findings {
    by_place: FxHashMap<Place, Vec<(ObjectName, Option<SmolStr>)>>,
    /// False where not everything was looked at: anything may be needed then.
    are_complete: bool,
    comparisons_left: Cell<usize>,
}

impl Findings {
    /// The findings of every rule that an exemption is for.
    pub(super) fn for_exemptions(policies: &Policies, snapshot: &Snapshot, now: Timestamp) -> Self {
        let exemptions = policies.entries().flat_map(|it| &it.policy.exemptions);
        let rules: FxHashSet<&str> = exemptions.filter(|it| now < it.expires).map(|it| it.rule).collect();
        let mut findings = Self { are_complete: true, comparisons_left: Cell::new(COMPARISONS_MAX), ..Self::default() };
        if rules.is_empty() {
            return findings;
        }
        if snapshot.workloads().nth(WORKLOADS_MAX).is_some() {
            findings.are_complete = false;
            return findings;
        }
        for finding in link::survey(&World::of(snapshot)) {
            findings.add(&rules, finding, None);
        }
        for workload in snapshot.workloads().filter(|it| !it.meta.deleting) {
            let facts = Facts::Workload((**workload).clone());
            let write = Write { old: None, new: Some(&facts) };
            let own = verdict::self_findings(write).into_iter();
            for finding in own.chain(verdict::template_findings(write, snapshot, policies)) {
                let container = verdict::container(&finding, write).map(SmolStr::new);
                findings.add(&rules, finding, container);
            }
        }
        findings
    }

    fn add(&mut self, rules: &FxHashSet<&str>, finding: Finding, container: Option<SmolStr>) {
        if rules.contains(finding.rule) {
            let place = (finding.rule, finding.object.kind.clone(), finding.object.namespace.clone());
            self.by_place.entry(place).or_default().push((finding.object, container));
        }
    }

    /// True if an exemption that holds in these namespaces covers one of them; `None` where not everything was looked at.
    pub(super) fn need(&self, exemption: &Exemption, namespaces: &[&SmolStr]) -> Option<bool> {
        if !self.are_complete {
            return None;
        }
        for namespace in namespaces {
            let place = (exemption.rule, exemption.target.kind.clone(), (*namespace).clone());
            let found = self.by_place.get(&place).map_or(&[][..], Vec::as_slice);
            self.comparisons_left.set(self.comparisons_left.get().checked_sub(found.len() + 1)?);
            if found.iter().any(|(object, container)| exemption.covers(exemption.rule, object, container.as_deref())) {
                return Some(true);
            }
        }
        Some(false)
    }
}
