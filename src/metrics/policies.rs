//! What is counted about policies and their exemptions.

use std::collections::BTreeMap;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::policy::{CLUSTER_KIND, ExemptionCounts, NAMESPACED_KIND, Policies};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabels {
    kind: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    rule: &'static str,
}

/// How much of a policy is in force: all, what can be read, or an earlier version.
const POLICY_STATES: [&str; 3] = ["accepted", "unreadable", "last-good"];

/// The families about policies.
#[derive(Debug, Default)]
pub struct PolicyMetrics {
    policies: Family<PolicyLabels, Gauge>,
    reloads: Counter,
    exemptions: Family<StateLabel, Gauge>,
    uses: Family<RuleLabel, Counter>,
    status_errors: Counter,
    event_errors: Counter,
}

impl PolicyMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "policies",
            "Policies by kind: accepted, unreadable in part, or in force by their last good version",
            self.policies.clone(),
        );
        registry.register("policy_reloads", "Changes of policies put in force", self.reloads.clone());
        registry.register(
            "exemptions",
            "Exemptions by state; those that expire soon and those that are unused are active as well",
            self.exemptions.clone(),
        );
        registry.register(
            "exemption_uses",
            "Findings of writes that an exemption covered, without dry runs",
            self.uses.clone(),
        );
        registry.register(
            "policy_status_errors",
            "Writes of a policy's status that failed",
            self.status_errors.clone(),
        );
        registry.register(
            "policy_event_errors",
            "Events about policies that could not be written",
            self.event_errors.clone(),
        );
    }

    /// Counts a change of policies that was put in force, and says how many there are of each state.
    pub fn reloaded(&self, policies: &Policies) {
        self.reloads.inc();
        let mut counts: BTreeMap<(&'static str, &'static str), i64> = BTreeMap::new();
        for entry in policies.entries() {
            let state = match (entry.problems.is_empty(), entry.is_last_good()) {
                (true, _) => POLICY_STATES[0],
                (false, false) => POLICY_STATES[1],
                (false, true) => POLICY_STATES[2],
            };
            *counts.entry((entry.policy.name.kind(), state)).or_default() += 1;
        }
        for kind in [CLUSTER_KIND, NAMESPACED_KIND] {
            for state in POLICY_STATES {
                let count = counts.get(&(kind, state)).copied().unwrap_or_default();
                self.policies.get_or_create(&PolicyLabels { kind, state }).set(count);
            }
        }
    }

    /// Says how many exemptions there are of each state, over all policies.
    pub fn exemptions_are(&self, counts: impl Iterator<Item = ExemptionCounts>) {
        let mut all = ExemptionCounts::default();
        for ExemptionCounts { active, expiring_soon, expired, unused, not_in_force } in counts {
            all.active += active;
            all.expiring_soon += expiring_soon;
            all.expired += expired;
            all.unused += unused;
            all.not_in_force += not_in_force;
        }
        for (state, count) in [
            ("active", all.active),
            ("expiring-soon", all.expiring_soon),
            ("expired", all.expired),
            ("unused", all.unused),
            ("not-in-force", all.not_in_force),
        ] {
            self.exemptions.get_or_create(&StateLabel { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts a finding that an exemption covered.
    pub fn exemption_used(&self, rule: &'static str) {
        self.uses.get_or_create(&RuleLabel { rule }).inc();
    }

    /// Counts a status that could not be written.
    pub fn status_failed(&self) {
        self.status_errors.inc();
    }

    /// Counts an Event that could not be written.
    pub fn event_failed(&self) {
        self.event_errors.inc();
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{
        metrics::Metrics,
        policy::{Installation, PolicyName, PolicyStore},
    };

    #[test]
    fn policies_and_exemptions_are_counted_by_state() {
        let metrics = Metrics::new();
        let mut store = PolicyStore::new(Installation::default());
        for (name, generation, profile) in
            [("a", 1, json!("strict")), ("b", 1, json!(7)), ("c", 1, json!("advise")), ("c", 2, json!(7))]
        {
            store.apply(&json!({
                "apiVersion": "no502.dev/v1alpha1", "kind": "ClusterRolloutPolicy",
                "metadata": { "name": name, "generation": generation }, "spec": { "settings": { "profile": profile } },
            }));
        }
        metrics.policies().reloaded(&store.policies());
        let counts = |active, unused| ExemptionCounts { active, unused, ..ExemptionCounts::default() };
        metrics.policies().exemptions_are([counts(2, 1), counts(3, 0)].into_iter());
        metrics.policies().exemption_used("readiness-missing");
        metrics.policies().status_failed();
        let text = metrics.encode(Timestamp::UNIX_EPOCH);
        for line in [
            r#"no502_policies{kind="ClusterRolloutPolicy",state="accepted"} 1"#,
            r#"no502_policies{kind="ClusterRolloutPolicy",state="unreadable"} 1"#,
            r#"no502_policies{kind="ClusterRolloutPolicy",state="last-good"} 1"#,
            r#"no502_policies{kind="RolloutPolicy",state="accepted"} 0"#,
            "no502_policy_reloads_total 1",
            r#"no502_exemptions{state="active"} 5"#,
            r#"no502_exemptions{state="unused"} 1"#,
            r#"no502_exemptions{state="expired"} 0"#,
            r#"no502_exemption_uses_total{rule="readiness-missing"} 1"#,
            "no502_policy_status_errors_total 1",
            "no502_policy_event_errors_total 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        store.remove(&PolicyName { namespace: "".into(), name: "b".into() });
        metrics.policies().reloaded(&store.policies());
        let text = metrics.encode(Timestamp::UNIX_EPOCH);
        assert!(text.contains(r#"no502_policies{kind="ClusterRolloutPolicy",state="unreadable"} 0"#), "{text}");
    }
}
