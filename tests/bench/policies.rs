//! What policies cost: the settings of one write among 1,000 policies and 500 namespaces beside those without any policy, and what
//! is worked out again when one policy changes.

use jiff::Timestamp;
use no502::{
    facts::{Facts, Namespace, Workload},
    policy::{API_VERSION, EXEMPTIONS_MAX, Policies, PolicyStore, Used, audit},
    preview::{Budget, preview},
    snapshot::Store,
};
use serde_json::{Value, json};

use crate::{
    fixture::{self, WORKLOADS, World},
    measure::{compare, repeat},
    table::{Target, duration, line, section},
};

const POLICIES: usize = 1_000;
const NAMESPACES: usize = 500;

const RESOLUTION: Target = Target { text: "<= 20 us", max: 20e3 };
const REBUILD: Target = Target { text: "<= 50 ms", max: 50e6 };

const AUDIT: Target = Target { text: "<= 10x", max: 10.0 };
const AUDITED_NAMESPACES: usize = 50;
const AUDITED_WORKLOADS: usize = 200;

/// How the policies lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Half of them for the cluster, each for the namespaces of one of fifty teams; one `RolloutPolicy` a namespace.
    Teams,
    /// All of them for the cluster, each for every namespace.
    AllForAll,
    /// The same, but each namespace is left out by one of them: no two share what is worked out.
    AllButOne,
    /// As for teams, and each has as many exemptions as may be.
    Exempt,
    /// One for the cluster, and the rest in one namespace, each for its own workloads.
    OneNamespace,
}

pub(crate) fn policies() {
    section("policies: settings of one write, 1,000 policies and 500 namespaces; ratio to none");
    for (layout, name) in [
        (Layout::Teams, "500 for the cluster by team, one in each namespace"),
        (Layout::AllForAll, "1,000 for every namespace"),
        (Layout::OneNamespace, "999 in one namespace, each for other workloads"),
        (Layout::Exempt, "as the first, each with 256 exemptions"),
    ] {
        resolution(layout, name);
    }
    section("policies: after one change, until reviews see it");
    rebuild(Layout::Teams, "a policy of one team of fifty", 7);
    rebuild(Layout::AllForAll, "a policy of every namespace, among 1,000 such", 0);
    rebuild(Layout::AllButOne, "the same, each namespace left out by one of them", 999);
    rebuild(Layout::OneNamespace, "the one of the cluster", 0);
    rebuild(Layout::Teams, "the one of a namespace", 507);
    rebuild(Layout::OneNamespace, "one of the 999 of a namespace", 507);
    rebuild(Layout::Exempt, "a policy of one team, each with 256 exemptions", 7);
    relabel(Layout::AllForAll, "the labels of a namespace, 1,000 for every namespace");
}

/// What writing a policy costs that changes something for everybody. On a thread of its own, and ended after 200 ms.
pub(crate) fn previews(world: World) {
    section("preview of a policy for every namespace");
    let new = json!({
        "apiVersion": API_VERSION,
        "kind": "ClusterRolloutPolicy",
        "metadata": { "name": "all" },
        "spec": { "settings": { "profile": "advise", "injection": { "preStop": { "sleepSeconds": 60 } } } },
    });
    let mut store = fixture::full_store(world);
    for index in 0..world.namespaces {
        let name = world.namespace(index);
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        store.apply(Facts::read(&object.to_string()).expect("a Namespace"));
    }
    let (snapshot, policies, now) = (store.snapshot(), Policies::default(), Timestamp::UNIX_EPOCH);
    let preview = || preview(&Value::Null, &new, &snapshot, &policies, now, Budget::default());
    let objects = 3 * WORKLOADS;
    assert!(!preview().is_empty(), "it changes something");
    let cost = repeat(7, preview);
    let each = duration(cost.median_ns / objects as f64);
    line(&format!("{objects} objects"), &format!("{}, {each} an object", duration(cost.median_ns)), 0.0, None);
}

/// What is worked out for the statuses of policies: a second after a change, and each minute.
pub(crate) fn audits() {
    section(
        "audit of 1,000 policies for every namespace, 50 namespaces of 200 Deployments; ratio to none of their own",
    );
    let mut snapshot = Store::default();
    let plain = (0..AUDITED_NAMESPACES).map(namespace_object);
    let workloads = (0..AUDITED_NAMESPACES * AUDITED_WORKLOADS).map(|it| {
        let mut object = workload_object();
        object["metadata"]["name"] = json!(format!("web-{it}"));
        object["metadata"]["namespace"] = json!(namespace_name(it % AUDITED_NAMESPACES));
        object
    });
    for object in plain.chain(workloads) {
        snapshot.apply(Facts::read(&object.to_string()).expect("an object"));
    }
    let snapshot = snapshot.snapshot();
    let none = store(Layout::AllForAll).policies();
    let mut with_two_each = store(Layout::AllForAll);
    for index in 0..2 * AUDITED_NAMESPACES {
        let mut policy = policy(Layout::OneNamespace, 500);
        policy["metadata"] = json!({ "name": format!("own-{index}"), "namespace": namespace_name(index / 2) });
        policy["spec"]["settings"]["injection"]["preStop"]["sleepSeconds"] = json!(index);
        with_two_each.apply(&policy);
    }
    let two_each = with_two_each.policies();
    let of = |it: &Policies| audit(it, &snapshot, &Used::default(), Timestamp::UNIX_EPOCH);
    let ties = of(&two_each).iter().filter(|(_, it)| !it.conflicts.is_empty()).count();
    assert_eq!(ties, 2 * AUDITED_NAMESPACES, "each of them is tied");
    let it = compare(|| of(&none), || of(&two_each));
    line("two policies for the same workloads in each namespace", &it.to_string(), it.median_ratio, Some(AUDIT));
}

fn resolution(layout: Layout, name: &str) {
    let (policies, none) = (store(layout).policies(), Policies::default());
    let (namespace, workload) = (namespace(7), workload());
    let of = |it: &Policies| it.effective(&namespace.meta.name, Some(&namespace), Some(&workload));
    assert!(of(&policies) != of(&none), "{layout:?} says something");
    let it = compare(|| of(&none), || of(&policies));
    line(name, &it.to_string(), it.subject.median_ns, Some(RESOLUTION));
}

fn rebuild(layout: Layout, name: &str, changed: usize) {
    let mut store = store(layout);
    store.policies();
    let mut generation = 1;
    let cost = repeat(15, || {
        generation += 1;
        let mut policy = policy(layout, changed);
        policy["spec"]["settings"]["injection"]["preStop"]["sleepSeconds"] = json!(generation % 100);
        policy["metadata"]["generation"] = json!(generation);
        assert!(store.apply(&policy), "it is another one");
        store.policies()
    });
    line(name, &format!("{} ({})", duration(cost.best_ns), duration(cost.median_ns)), cost.median_ns, Some(REBUILD));
}

fn relabel(layout: Layout, name: &str) {
    let mut store = store(layout);
    store.policies();
    let mut turn = 0;
    let cost = repeat(15, || {
        turn += 1;
        // Every second time back to what it was.
        let namespace = namespace(7 + turn % 2);
        store.set_namespace(&namespace_name(7).into(), Some(&namespace.labels));
        store.policies()
    });
    line(name, &format!("{} ({})", duration(cost.best_ns), duration(cost.median_ns)), cost.median_ns, Some(REBUILD));
}

fn store(layout: Layout) -> PolicyStore {
    let mut store = PolicyStore::default();
    for index in 0..NAMESPACES {
        let namespace = namespace(index);
        store.set_namespace(&namespace.meta.name, Some(&namespace.labels));
    }
    for index in 0..POLICIES {
        store.apply(&policy(layout, index));
    }
    assert!(store.policies().entries().all(|it| it.problems.is_empty()), "{layout:?}");
    store
}

fn policy(layout: Layout, index: usize) -> Value {
    let settings = json!({
        "profile": "strict",
        "actions": { "prestop-no-delay": "warn" },
        "injection": { "preStop": { "sleepSeconds": index % 100 }, "readiness": { "mode": "inject" } },
    });
    let is_cluster = match layout {
        Layout::Teams | Layout::Exempt => index < POLICIES / 2,
        Layout::AllForAll | Layout::AllButOne => true,
        Layout::OneNamespace => index == 0,
    };
    let name = format!("policy-{index}");
    if !is_cluster {
        let (namespace, selector) = match layout {
            Layout::OneNamespace => (7, json!({ "matchLabels": { "app": format!("app-{index}") } })),
            _ => (index % NAMESPACES, json!({})),
        };
        let metadata = json!({ "name": name, "namespace": namespace_name(namespace) });
        let spec = json!({ "workloadSelector": selector, "settings": settings });
        return with_exemptions(
            layout,
            json!({ "apiVersion": API_VERSION, "kind": "RolloutPolicy", "metadata": metadata, "spec": spec }),
        );
    }
    let selector = match layout {
        Layout::Teams | Layout::Exempt => json!({ "matchLabels": { "team": format!("team-{}", index % 50) } }),
        Layout::AllButOne => {
            let key = "kubernetes.io/metadata.name";
            json!({ "matchExpressions": [{ "key": key, "operator": "NotIn", "values": [namespace_name(index)] }] })
        }
        _ => json!({}),
    };
    let bounds = json!([{ "field": "injection.preStop.sleepSeconds", "min": 1, "max": 200 }]);
    let spec = json!({
        "namespaceSelector": selector,
        "priority": index,
        "settings": settings,
        "bounds": bounds,
        "locked": ["actions.prestop-no-delay"],
    });
    let metadata = json!({ "name": name });
    with_exemptions(
        layout,
        json!({ "apiVersion": API_VERSION, "kind": "ClusterRolloutPolicy", "metadata": metadata, "spec": spec }),
    )
}

fn with_exemptions(layout: Layout, mut policy: Value) -> Value {
    if layout == Layout::Exempt {
        let exemption = |index: usize| {
            let target = json!({ "kind": "Deployment", "name": format!("legacy-{index}-*") });
            json!({ "rule": "prestop-no-delay", "target": target, "reason": "known", "expires": "2099-01-01T00:00:00Z" })
        };
        policy["spec"]["exemptions"] = (0..EXEMPTIONS_MAX).map(exemption).collect();
    }
    policy
}

fn namespace_name(index: usize) -> String {
    format!("namespace-{index}")
}

fn namespace(index: usize) -> Namespace {
    let Ok(Facts::Namespace(namespace)) = Facts::read(&namespace_object(index).to_string()) else {
        unreachable!("a Namespace reads as one")
    };
    namespace
}

fn namespace_object(index: usize) -> Value {
    let labels = json!({
        "kubernetes.io/metadata.name": namespace_name(index),
        "team": format!("team-{}", index % 50),
        "environment": "production",
        "pod-security.kubernetes.io/enforce": "restricted",
    });
    let annotations = json!({ "no502.dev/app-drain-seconds": "45" });
    let metadata = json!({ "name": namespace_name(index), "labels": labels, "annotations": annotations });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
}

fn workload() -> Workload {
    let facts = Facts::read(&workload_object().to_string()).expect("a Deployment");
    facts.workload().expect("a Deployment reads as a workload").clone()
}

fn workload_object() -> Value {
    let template = json!({
        "metadata": { "labels": { "app": "app-500" } },
        "spec": { "containers": [{ "name": "web", "ports": [{ "containerPort": 8080 }] }] },
    });
    let metadata = json!({
        "name": "web",
        "namespace": namespace_name(7),
        "labels": { "app": "app-500" },
        "annotations": { "no502.dev/readiness": "warn" },
    });
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": { "template": template } })
}
