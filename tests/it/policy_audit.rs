//! What the audit says about policies and their exemptions, over clusters of manifests.

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use no502::{
    facts::Facts,
    policy::{Installation, Policies, PolicyName, PolicyStatus, PolicyStore, RemarkKind, Used, audit},
    snapshot::Snapshot,
};
use serde_json::{Value, json};

use crate::stage::{cluster, facts, now};

/// A cluster policy where `namespace` is empty.
pub(crate) fn policy(namespace: &str, name: &str, generation: i64, spec: &Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRolloutPolicy" } else { "RolloutPolicy" };
    let mut policy = json!({
        "apiVersion": "no502.dev/v1alpha1", "kind": kind,
        "metadata": { "name": name, "generation": generation }, "spec": spec,
    });
    if !namespace.is_empty() {
        policy["metadata"]["namespace"] = json!(namespace);
    }
    policy
}

pub(crate) fn named(namespace: &str, name: &str) -> PolicyName {
    PolicyName { namespace: namespace.into(), name: name.into() }
}

pub(crate) fn namespace(name: &str, labels: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// The policies of these objects, applied in their order, for the Namespaces of `world`.
pub(crate) fn in_force(world: &[Value], policies: &[Value]) -> Policies {
    let mut store = PolicyStore::new(Installation::default());
    set_namespaces(&mut store, world);
    for policy in policies {
        store.apply(policy);
    }
    store.policies()
}

pub(crate) fn set_namespaces(store: &mut PolicyStore, world: &[Value]) {
    for object in world {
        if let Facts::Namespace(namespace) = facts(object) {
            store.set_namespace(&namespace.meta.name, Some(&namespace.labels));
        }
    }
}

struct Audit {
    snapshot: Snapshot,
    policies: Policies,
    used: Used,
}

impl Audit {
    fn new(world: &[Value], policies: &[Value]) -> Self {
        Self { snapshot: cluster(world), policies: in_force(world, policies), used: Used::default() }
    }

    #[track_caller]
    fn of(&self, namespace: &str, name: &str) -> PolicyStatus {
        let all = audit(&self.policies, &self.snapshot, &self.used, now());
        let wanted = named(namespace, name);
        all.into_iter().find(|(name, _)| *name == wanted).expect("a status").1
    }

    #[track_caller]
    fn degraded(&self, namespace: &str, name: &str) -> (&'static str, String) {
        let status = self.of(namespace, name);
        assert!(status.degraded.is_true, "{:?}", status.degraded);
        (status.degraded.reason, status.degraded.message)
    }
}

pub(crate) fn days(days: i64) -> String {
    (now() + SignedDuration::from_hours(24 * days)).to_string()
}

pub(crate) fn exemption(rule: &str, kind: &str, name: &str, expires: &str) -> Value {
    json!({ "rule": rule, "target": { "kind": kind, "name": name }, "reason": "known", "expires": expires })
}

#[test]
fn a_policy_that_is_in_force_says_so_and_where() {
    let world = [namespace("shop", &json!({ "team": "a" })), namespace("till", &json!({ "team": "b" }))];
    let spec = json!({ "namespaceSelector": { "matchLabels": { "team": "a" } }, "settings": { "profile": "strict" } });
    let audit = Audit::new(&world, &[policy("", "a", 4, &spec), policy("", "all", 1, &json!({}))]);
    let status = audit.of("", "a");
    assert_eq!((status.observed_generation, status.in_force_generation), (4, 4));
    assert_eq!((status.accepted.is_true, status.accepted.reason), (true, "Accepted"));
    assert_eq!((status.degraded.is_true, status.degraded.reason), (false, "InForce"));
    assert_eq!((status.namespaces_matched, audit.of("", "all").namespaces_matched), (Some(1), Some(2)));
    assert_eq!(status.remarks, []);
    let own = Audit::new(&world, &[policy("shop", "a", 1, &json!({}))]);
    assert_eq!(own.of("shop", "a").namespaces_matched, None);
}

#[test]
fn where_nothing_is_reviewed_nothing_is_in_force() {
    let world: Vec<Value> =
        ["kube-system", "no502-system", "shop"].iter().map(|it| namespace(it, &json!({ "name": it }))).collect();
    let selects = |name: &str| json!({ "namespaceSelector": { "matchLabels": { "name": name } } });
    let policies = [
        policy("", "all", 1, &json!({})),
        policy("", "nobody", 1, &selects("shpo")),
        policy("", "system", 1, &selects("kube-system")),
        policy("", "shop", 1, &selects("shop")),
        policy("kube-system", "own", 1, &json!({})),
        policy("no502-system", "own", 1, &json!({})),
        policy("unheard-of", "own", 1, &json!({})),
    ];
    let audit = Audit::new(&world, &policies);
    for (namespace, name, reason, message, matched) in [
        ("", "all", "InForce", "all of it is in force", Some(1)),
        ("", "nobody", "NoNamespace", "it selects no namespace", Some(0)),
        ("", "system", "NotReviewed", "nothing is reviewed in the namespaces that it selects", Some(0)),
        ("", "shop", "InForce", "all of it is in force", Some(1)),
        ("kube-system", "own", "NotReviewed", "nothing is reviewed in this namespace", None),
        ("no502-system", "own", "NotReviewed", "nothing is reviewed in this namespace", None),
        ("unheard-of", "own", "InForce", "all of it is in force", None),
    ] {
        let status = audit.of(namespace, name);
        let degraded = (status.degraded.is_true, status.degraded.reason, &*status.degraded.message);
        assert_eq!(degraded, (false, reason, message), "{namespace}/{name}");
        assert_eq!(status.namespaces_matched, matched, "{namespace}/{name}");
    }
}

#[test]
fn what_cannot_be_read_is_told_with_what_is_in_force_instead() {
    let bad = json!({ "settings": { "profile": "stirct", "injection": { "mode": 7 } } });
    let audit = Audit::new(&[], &[policy("shop", "a", 1, &bad)]);
    let status = audit.of("shop", "a");
    assert_eq!((status.accepted.is_true, status.accepted.reason), (false, "Unreadable"));
    let first =
        "spec.settings.injection.mode: 7 is ignored; use off, warn or inject; spec.settings.profile: \"stirct\"";
    assert!(status.accepted.message.starts_with(first), "{}", status.accepted.message);
    assert_eq!(audit.degraded("shop", "a").0, "Partial");

    let good = policy("shop", "a", 1, &json!({ "settings": { "profile": "advise" } }));
    let audit = Audit::new(&[], &[good, policy("shop", "a", 2, &bad)]);
    let status = audit.of("shop", "a");
    assert_eq!((status.observed_generation, status.in_force_generation), (2, 1));
    assert_eq!(
        audit.degraded("shop", "a"),
        ("LastGood", "generation 2 cannot be read; generation 1 is in force".to_owned())
    );
}

#[test]
fn both_sides_of_a_tie_are_told() {
    let world = [namespace("shop", &json!({})), deployment("shop", "web"), deployment("till", "web")];
    let sets = |profile: &str| json!({ "settings": { "profile": profile } });
    let audit = Audit::new(&world, &[policy("", "a", 1, &sets("strict")), policy("", "b", 1, &sets("advise"))]);
    let (reason, message) = audit.degraded("", "a");
    assert_eq!((reason, &message), ("Conflict", &audit.degraded("", "b").1));
    assert!(message.starts_with("profile: \"a\" and \"b\" have the same priority"), "{message}");

    let audit = Audit::new(&world, &[policy("shop", "a", 1, &sets("strict")), policy("shop", "b", 1, &sets("strict"))]);
    assert!(!audit.of("shop", "a").degraded.is_true, "they agree");
    let more = json!({ "priority": 1, "settings": { "profile": "advise" } });
    let audit = Audit::new(&world, &[policy("shop", "a", 1, &sets("strict")), policy("shop", "b", 1, &more)]);
    assert!(!audit.of("shop", "a").degraded.is_true, "that is what priorities are for");

    // Two policies that select one workload both.
    let for_web = |profile: &str| json!({ "workloadSelector": { "matchLabels": { "app": "web" } }, "settings": { "profile": profile } });
    let of = |namespace: &str| {
        let both = [policy(namespace, "a", 1, &for_web("strict")), policy(namespace, "b", 1, &for_web("advise"))];
        Audit::new(&world, &both)
    };
    assert_eq!(of("shop").degraded("shop", "b").0, "Conflict");
    assert_eq!(of("till").degraded("till", "b").0, "Conflict", "also where the Namespace was not read");
    assert!(!of("empty").of("empty", "b").degraded.is_true, "there is no such workload");
}

#[test]
fn what_the_cluster_holds_back_is_told() {
    let world = [namespace("shop", &json!({}))];
    let limits = json!({
        "locked": ["injection.mode", "actions.readiness-missing"],
        "bounds": [{ "field": "injection.preStop.sleepSeconds", "min": 5, "max": 30 }],
    });
    let ours = json!({ "settings": {
        "injection": { "mode": "off", "preStop": { "sleepSeconds": 60 }, "gracePeriod": { "maxSeconds": 90 } },
        "profile": "advise",
    } });
    let audit = Audit::new(&world, &[policy("", "limits", 1, &limits), policy("shop", "ours", 1, &ours)]);
    let (reason, message) = audit.degraded("shop", "ours");
    assert_eq!(reason, "Limited");
    assert_eq!(
        message,
        "injection.mode is ignored: ClusterRolloutPolicy \"limits\" locks it; injection.preStop.sleepSeconds 60 is out of \
         bounds: ClusterRolloutPolicy \"limits\" makes it 30"
    );
    let same = json!({ "settings": { "injection": { "mode": "inject", "preStop": { "sleepSeconds": 5 } } } });
    let audit = Audit::new(&world, &[policy("", "limits", 1, &limits), policy("shop", "ours", 1, &same)]);
    assert!(!audit.of("shop", "ours").degraded.is_true, "it wants what the cluster wants");

    let bound = |priority: i64, min: i64, max: i64| {
        let bound = json!({ "field": "injection.preStop.sleepSeconds", "min": min, "max": max });
        json!({ "priority": priority, "bounds": [bound] })
    };
    let audit = Audit::new(&world, &[policy("", "a", 1, &bound(1, 5, 10)), policy("", "b", 1, &bound(0, 20, 30))]);
    let (reason, message) = audit.degraded("", "b");
    assert_eq!(reason, "Limited");
    assert!(message.contains("leaves nothing between"), "{message}");
    assert!(!audit.of("", "a").degraded.is_true, "the one of higher priority holds");
}

pub(crate) fn deployment(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [
                    { "name": "main", "image": "main", "ports": [{ "name": "http", "containerPort": 80 }],
                      "readinessProbe": { "httpGet": { "port": "htp" } } },
                    { "name": "side", "image": "side" },
                ] },
            },
        },
    })
}

pub(crate) fn service(namespace: &str, name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": { "app": app }, "ports": [{ "port": 80, "targetPort": "http" }] },
    })
}

#[test]
fn exemptions_that_nothing_needs_are_told() {
    let world = [
        namespace("shop", &json!({ "team": "a" })),
        namespace("till", &json!({})),
        deployment("shop", "web"),
        service("shop", "ghost", "gone"),
        service("till", "ghost-2", "gone"),
    ];
    let far = days(30);
    let container = |container: &str| {
        let mut it = exemption("probe-port-unresolved", "Deployment", "w?b", &far);
        it["target"]["container"] = json!(container);
        it
    };
    let list = json!({ "exemptions": [
        exemption("service-selects-nothing", "Service", "gho*", &far),
        exemption("service-selects-nothing", "Service", "ghost-2", &far),
        exemption("service-selects-nothing", "Deployment", "*", &far),
        container("main"),
        container("side"),
    ] });
    let unused = |audit: &Audit, namespace: &str| {
        let status = audit.of(namespace, "e");
        let unused = status.remarks.iter().filter(|it| it.kind == RemarkKind::Unused).map(|it| it.index);
        assert_eq!((status.exemptions.active, status.exemptions.unused), (5, unused.clone().count()));
        unused.collect::<Vec<_>>()
    };
    let mut audit = Audit::new(&world, &[policy("shop", "e", 1, &list)]);
    assert_eq!(unused(&audit, "shop"), [1, 2, 4], "another namespace, another kind, another container");
    audit.used.insert((named("shop", "e"), 2));
    audit.used.insert((named("till", "e"), 4));
    assert_eq!(unused(&audit, "shop"), [1, 4], "a write needed it");
    assert_eq!(
        audit.of("shop", "e").remarks[0].text,
        "exemptions[1] (service-selects-nothing, Service \"ghost-2\") has covered no finding of the cluster and no write \
         for 7 days; remove it"
    );
    let mut everywhere = list.clone();
    assert_eq!(unused(&Audit::new(&world, &[policy("", "e", 1, &everywhere)]), ""), [2, 4]);
    everywhere["namespaceSelector"] = json!({ "matchLabels": { "team": "a" } });
    assert_eq!(unused(&Audit::new(&world, &[policy("", "e", 1, &everywhere)]), ""), [1, 2, 4]);
}

#[test]
fn exemptions_have_their_time_and_their_limits() {
    let world = [namespace("shop", &json!({})), service("shop", "ghost", "gone")];
    let limits =
        json!({ "locked": ["actions.readiness-missing"], "bounds": [{ "field": "exemptionDays", "max": 60 }] });
    let ghost = |expires: &str| exemption("service-selects-nothing", "Service", "ghost", expires);
    let list = json!({ "exemptions": [
        ghost(&days(-1)), ghost(&days(0)), ghost(&days(6)), ghost(&days(8)), ghost(&days(90)),
        exemption("readiness-missing", "Deployment", "web", &days(20)),
    ] });
    let audit = Audit::new(&world, &[policy("", "limits", 1, &limits), policy("shop", "e", 1, &list)]);
    let status = audit.of("shop", "e");
    let counts = status.exemptions;
    assert_eq!((counts.active, counts.expiring_soon, counts.expired), (2, 1, 2));
    assert_eq!((counts.unused, counts.not_in_force), (0, 2));
    let told: Vec<(RemarkKind, usize)> = status.remarks.iter().map(|it| (it.kind, it.index)).collect();
    let expected = [
        (RemarkKind::Expired, 0),
        (RemarkKind::Expired, 1),
        (RemarkKind::NotInForce, 4),
        (RemarkKind::NotInForce, 5),
        (RemarkKind::ExpiringSoon, 2),
    ];
    assert_eq!(told, expected, "the worst first");
    for (remark, text) in [
        (0, "expired at 2026-11-19T12:00:00Z; remove it, or give it a later time"),
        (
            2,
            "does not count until 60 days before it ends at 2027-02-18T12:00:00Z: ClusterRolloutPolicy \"limits\" allows no \
             more; give it an earlier time",
        ),
        (
            3,
            "does not count: ClusterRolloutPolicy \"limits\" keeps namespaces from exempting themselves from \
             readiness-missing",
        ),
        (4, "expires at 2026-11-26T12:00:00Z"),
    ] {
        assert!(status.remarks[remark].text.contains(text), "{}", status.remarks[remark].text);
    }
    // The cluster's own know no limits.
    let audit = Audit::new(&world, &[policy("", "limits", 1, &limits), policy("", "e", 1, &list)]);
    assert_eq!((audit.of("", "e").exemptions.not_in_force, audit.of("", "e").exemptions.active), (0, 4));
}

#[test]
fn exemptions_beyond_those_that_count_are_not_in_force() {
    let world = [namespace("shop", &json!({}))];
    let list = |count: usize| {
        let one = |number| exemption("readiness-missing", "Deployment", &format!("web{number}"), &days(20));
        json!({ "exemptions": (0..count).map(one).collect::<Vec<_>>() })
    };
    let audit = Audit::new(&world, &[policy("shop", "a", 1, &list(250)), policy("shop", "b", 1, &list(9))]);
    assert_eq!(audit.of("shop", "a").exemptions.active, 250);
    let status = audit.of("shop", "b");
    assert_eq!((status.exemptions.active, status.exemptions.not_in_force), (6, 3));
    let text = "does not count: the RolloutPolicies of this namespace have more than the 256 that count";
    assert!(status.remarks[0].text.contains(text), "{}", status.remarks[0].text);
    let own_place = Audit::new(&world, &[policy("shop", "a", 1, &list(250)), policy("till", "b", 1, &list(9))]);
    assert_eq!(own_place.of("till", "b").exemptions.active, 9);
}

/// 5,000 workloads in 500 namespaces, 1,000 policies, 1,000 exemptions. A debug build is some ten times slower than a release.
#[test]
#[expect(clippy::print_stdout, reason = "the time is worth knowing")]
fn a_large_cluster_is_audited_in_time() {
    const LIMIT: Duration = Duration::from_secs(30);
    let mut world = Vec::new();
    let mut policies = Vec::new();
    for number in 0..500 {
        let name = format!("n{number}");
        world.push(namespace(&name, &json!({ "team": format!("t{}", number % 20) })));
        for web in 0..10 {
            world.push(deployment(&name, &format!("web{web}")));
            world.push(service(&name, &format!("web{web}"), &format!("web{web}")));
        }
        let list = json!({ "settings": { "profile": "strict" }, "exemptions": [
            exemption("probe-port-unresolved", "Deployment", "web3", &days(20)),
            exemption("service-selects-nothing", "Service", "web*", &days(20)),
        ] });
        policies.push(policy(&name, "ours", 1, &list));
        let team = json!({
            "priority": number,
            "namespaceSelector": { "matchLabels": { "team": format!("t{}", number % 20) } },
            "settings": { "profile": "strict" },
        });
        policies.push(policy("", &format!("team{number}"), 1, &team));
    }
    let case = Audit::new(&world, &policies);
    let start = Instant::now();
    let statuses = audit(&case.policies, &case.snapshot, &case.used, now());
    let took = start.elapsed();
    println!("1,000 policies over 5,000 workloads: {} ms", took.as_millis());
    assert_eq!(statuses.len(), 1_000);
    let unused: usize = statuses.iter().map(|(_, status)| status.exemptions.unused).sum();
    assert_eq!(unused, 500);
    assert!(took < LIMIT, "{took:?}");
}

#[test]
fn a_value_of_the_cluster_that_a_bound_moves_wherever_it_counts_is_not_in_force() {
    let world = [namespace("shop", &json!({ "team": "a" })), namespace("till", &json!({}))];
    let base = |selector: &Value| {
        let sleep = json!({ "injection": { "preStop": { "sleepSeconds": 5 } } });
        policy("", "base", 1, &json!({ "namespaceSelector": selector, "settings": sleep }))
    };
    let limits = |selector: &Value| {
        let bounds = json!([{ "field": "injection.preStop.sleepSeconds", "min": 40 }]);
        policy("", "limits", 1, &json!({ "namespaceSelector": selector, "bounds": bounds }))
    };
    let (all, some) = (json!({}), json!({ "matchLabels": { "team": "a" } }));
    let degraded = |base: Value, limits: Value| {
        let audit = Audit::new(&world, &[base, limits]);
        assert_eq!(audit.of("", "limits").degraded.reason, "InForce");
        audit.of("", "base").degraded
    };
    let limited = degraded(base(&all), limits(&all));
    assert_eq!((limited.is_true, limited.reason), (true, "Limited"));
    let text = "injection.preStop.sleepSeconds 5 is out of bounds: ClusterRolloutPolicy \"limits\" makes it 40";
    assert_eq!(limited.message, text);
    assert_eq!(degraded(base(&some), limits(&some)).message, text);
    assert_eq!(degraded(base(&all), limits(&some)).reason, "InForce", "a floor for some namespaces is meant");
}
