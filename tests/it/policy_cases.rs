//! Policies on both sides of the line: what has to be refused, with the words that say the fix, and every setting, bound, lock,
//! selector and exemption at and beyond its limits. The integration tests hold them against the reader and the schema, the
//! end-to-end tests against a real API server.

#[path = "policy_cases/limits.rs"]
mod limits;

use no502::policy::{API_VERSION, CLUSTER_KIND, EXEMPTION_DAYS, NAMESPACED_KIND};
use serde_json::{Value, json};

pub(crate) use self::limits::limits;

/// A policy that the API server refuses.
pub(crate) struct Refusal {
    /// The policy.
    pub(crate) policy: Value,
    /// What is said: the field, and the end of the message.
    pub(crate) says: Vec<(&'static str, &'static str)>,
    /// Whether the reader takes it without a complaint: there the schema is the stricter one, and a comment in
    /// `src/crd` says why.
    pub(crate) is_read: bool,
}

impl Refusal {
    fn of(policy: Value, field: &'static str, message: &'static str) -> Self {
        Self { policy, says: vec![(field, message)], is_read: false }
    }

    fn and(mut self, field: &'static str, message: &'static str) -> Self {
        self.says.push((field, message));
        self
    }

    fn stricter(mut self) -> Self {
        self.is_read = true;
        self
    }
}

pub(crate) fn cluster(spec: &Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": CLUSTER_KIND, "metadata": { "name": "case" }, "spec": spec })
}

pub(crate) fn namespaced(spec: &Value) -> Value {
    let metadata = json!({ "name": "case", "namespace": "default" });
    json!({ "apiVersion": API_VERSION, "kind": NAMESPACED_KIND, "metadata": metadata, "spec": spec })
}

pub(crate) fn exemption() -> Value {
    json!({
        "rule": "readiness-missing", "target": { "kind": "Deployment", "name": "web-*" }, "reason": "no probe yet",
        "expires": "2027-01-31T00:00:00Z",
    })
}

/// Every rule of the schema broken once, and the refusals that people meet most.
pub(crate) fn refusals() -> Vec<Refusal> {
    [bounds(), selectors(), exemptions(), plain()].into_iter().flatten().collect()
}

fn bounds() -> Vec<Refusal> {
    let bound = |bound: Value, message| Refusal::of(cluster(&json!({ "bounds": [bound] })), "spec.bounds[0]", message);
    vec![
        bound(
            json!({ "field": "profile", "min": 1 }),
            "profile is a word: use atLeast and atMost instead of min and max",
        ),
        bound(
            json!({ "field": "injection.preStop.sleepSeconds", "atLeast": "warn" }),
            "injection.preStop.sleepSeconds is a number: use min and max instead of atLeast and atMost",
        ),
        bound(
            json!({ "field": EXEMPTION_DAYS, "max": 30, "atMost": "warn" }),
            "exemptionDays is a number: use min and max instead of atLeast and atMost",
        ),
        bound(json!({ "field": "profile" }), "profile is not bounded: give atLeast or atMost"),
        bound(
            json!({ "field": "injection.readiness.periodSeconds" }),
            "injection.readiness.periodSeconds is not bounded: give min or max",
        ),
        bound(json!({ "field": EXEMPTION_DAYS }), "exemptionDays is not bounded: give max"),
        bound(json!({ "field": EXEMPTION_DAYS, "max": 0 }), "exemptionDays has no min, and a max of 1 to 3650 days"),
        bound(
            json!({ "field": EXEMPTION_DAYS, "min": 1, "max": 30 }),
            "exemptionDays has no min, and a max of 1 to 3650 days",
        ),
        bound(
            json!({ "field": "injection.gracePeriod.appDrainSeconds", "min": 60, "max": 30 }),
            "nothing is left between min and max: give a min that is no more than the max",
        ),
        bound(
            json!({ "field": "injection.preStop.sleepSeconds", "max": 301 }),
            "injection.preStop.sleepSeconds can be 0 to 300: give a min and a max among them",
        ),
        bound(
            json!({ "field": "injection.gracePeriod.appDrainSeconds", "min": -1 }),
            "injection.gracePeriod.appDrainSeconds can be 0 to 3600: give a min and a max among them",
        ),
        bound(
            json!({ "field": "injection.readiness.failureThreshold", "min": 0 }),
            "injection.readiness.failureThreshold can be 1 to 3600: give a min and a max among them",
        ),
        bound(
            json!({ "field": "injection.gracePeriod.maxSeconds", "max": 3901 }),
            "injection.gracePeriod.maxSeconds can be 1 to 3900: give a min and a max among them",
        ),
        bound(
            json!({ "field": "profile", "atLeast": "warn" }),
            "profile can be advise, standard, strict: use one of them",
        ),
        bound(
            json!({ "field": "injection.mode", "atMost": "standard" }),
            "injection.mode can be off, warn, inject: use one of them",
        ),
        bound(
            json!({ "field": "profile", "atLeast": "strict", "atMost": "standard" }),
            "nothing is left between atLeast and atMost: profile can be advise, standard, strict, the weakest first",
        ),
        bound(
            json!({ "field": "injection.readiness.mode", "atLeast": "warn", "atMost": "off" }),
            "nothing is left between atLeast and atMost: injection.readiness.mode can be off, warn, inject, the weakest \
             first",
        ),
        Refusal::of(
            cluster(
                &json!({ "bounds": [{ "field": "profile", "atLeast": "advise" }, { "field": "profile", "atMost": "strict" }] }),
            ),
            "spec.bounds[1]",
            "{\"field\":\"profile\"}",
        ),
        Refusal::of(
            cluster(
                &json!({ "bounds": [{ "field": EXEMPTION_DAYS, "max": 30 }, { "field": EXEMPTION_DAYS, "max": 365 }] }),
            ),
            "spec.bounds[1]",
            "{\"field\":\"exemptionDays\"}",
        ),
    ]
}

fn selectors() -> Vec<Refusal> {
    let requirement = |requirement: Value| json!({ "matchExpressions": [requirement] });
    let field = |name: &str| {
        if name == "workloadSelector" {
            "spec.workloadSelector.matchExpressions[0]"
        } else {
            "spec.namespaceSelector.matchExpressions[0]"
        }
    };
    vec![
        Refusal::of(
            cluster(&json!({ "namespaceSelector": requirement(json!({ "key": "team", "operator": "In" })) })),
            field("namespaceSelector"),
            "In needs values",
        ),
        Refusal::of(
            namespaced(
                &json!({ "workloadSelector": requirement(json!({ "key": "team", "operator": "NotIn", "values": [] })) }),
            ),
            field("workloadSelector"),
            "NotIn needs values",
        ),
        Refusal::of(
            cluster(
                &json!({ "namespaceSelector": requirement(json!({ "key": "team", "operator": "Exists", "values": ["a"] })) }),
            ),
            field("namespaceSelector"),
            "Exists takes no values: leave them out",
        ),
        Refusal::of(
            cluster(&json!({ "namespaceSelector": { "matchLabels": { "a b/c/d": "e" } } })),
            "spec.namespaceSelector.matchLabels",
            KEY_HELP,
        ),
        Refusal::of(
            namespaced(
                &json!({ "workloadSelector": requirement(json!({ "key": "Example.com/a", "operator": "Exists" })) }),
            ),
            "spec.workloadSelector.matchExpressions[0].key",
            KEY_HELP,
        ),
        Refusal::of(
            namespaced(&json!({ "workloadSelector": { "matchLabels": { "team": "x y" } } })),
            "spec.workloadSelector.matchLabels[team]",
            VALUE_HELP,
        ),
        Refusal::of(
            cluster(
                &json!({ "namespaceSelector": requirement(json!({ "key": "team", "operator": "In", "values": ["a", "b-"] })) }),
            ),
            "spec.namespaceSelector.matchExpressions[0].values[1]",
            VALUE_HELP,
        ),
    ]
}

const KEY_HELP: &str = "a key of a label is NAME or PREFIX/NAME, such as example.com/team; a name has at most 63 letters and \
                        digits, and between them also -, _ and .; a prefix is a domain in lower case";

const VALUE_HELP: &str = "a value of a label has letters and digits, and between them also -, _ and .";

fn exemptions() -> Vec<Refusal> {
    let but = |path: &str, value: Value| {
        let mut exemption = exemption();
        *exemption.pointer_mut(path).unwrap() = value;
        namespaced(&json!({ "exemptions": [exemption] }))
    };
    let with_selector = json!({ "workloadSelector": { "matchLabels": { "app": "web" } }, "exemptions": [exemption()] });
    let mut with_container = exemption();
    with_container["rule"] = json!("service-selects-nothing");
    with_container["target"] = json!({ "kind": "Service", "name": "web", "container": "web" });
    vec![
        Refusal::of(
            namespaced(&with_selector),
            "spec",
            "exemptions have targets of their own: move them to a RolloutPolicy without a workloadSelector",
        ),
        Refusal::of(but("/reason", json!(" \t\u{2003}")), "spec.exemptions[0].reason", "say why this is accepted"),
        Refusal::of(
            but("/target/kind", json!("Deploymnt")),
            "spec.exemptions[0].target.kind",
            "Unsupported value: \"Deploymnt\": supported values: \"Deployment\", \"StatefulSet\", \"DaemonSet\", \
             \"ReplicaSet\", \"Rollout\", \"Pod\", \"Service\", \"Ingress\"",
        ),
        Refusal::of(
            but("/target/kind", json!("Service")),
            "spec.exemptions[0]",
            "readiness-missing is about what has pods, not about a Service: give a kind such as Deployment",
        ),
        Refusal::of(
            namespaced(&json!({ "exemptions": [with_container] })),
            "spec.exemptions[0].target",
            "container: a Service has no containers; leave it out",
        ),
        Refusal::of(
            but("/expires", json!("9999-12-31T23:00:00-02:00")),
            "spec.exemptions[0].expires",
            "use a year before 9999",
        ),
        Refusal::of(
            but("/expires", json!("2027-01-31")),
            "spec.exemptions[0].expires",
            "must be of type date-time: \"2027-01-31\"",
        ),
    ]
}

fn plain() -> Vec<Refusal> {
    let settings = |settings: Value| namespaced(&json!({ "settings": settings }));
    let port = |port: Value| {
        Refusal::of(
            settings(json!({ "injection": { "readiness": { "port": port } } })),
            "spec.settings.injection.readiness.port",
            "use 1 to 65535 or the name of a port: at most 15 of a-z, 0-9 and -",
        )
    };
    vec![
        port(json!(70_000)),
        port(json!("0")),
        port(json!("HTTP")),
        port(json!("+80")).stricter(),
        Refusal::of(
            settings(json!({ "profile": "lax" })),
            "spec.settings.profile",
            "Unsupported value: \"lax\": supported values: \"advise\", \"standard\", \"strict\"",
        ),
        Refusal::of(
            settings(json!({ "injection": { "preStop": { "sleepSeconds": 301 } } })),
            "spec.settings.injection.preStop.sleepSeconds",
            "should be less than or equal to 300",
        ),
        Refusal::of(
            cluster(&json!({ "priority": 1_000_001, "locked": ["profil"] })),
            "spec.priority",
            "should be less than or equal to 1000000",
        )
        .and("spec.locked[0]", "\"injection.readiness\", \"exemptions\""),
        Refusal::of(
            cluster(&json!({ "locked": ["profile", "profile"] })),
            "spec.locked[1]",
            "Duplicate value: \"profile\"",
        )
        .stricter(),
    ]
}
