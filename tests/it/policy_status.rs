//! Statuses of policies and Events about them, written to a small API server in memory by one or two replicas.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use no502::{
    facts::Facts,
    metrics::Metrics,
    policy::{Installation, PolicyName, PolicyStore},
    policy_status::{Pass, StatusWriter, Stored, UsedExemptions},
    watch::Published,
};
use serde_json::{Value, json};

use crate::{
    kube_api::KubeApi,
    policy_audit::{namespace, policy},
    stage::{cluster, facts, now},
};

const POLICIES: &str = "/apis/no502.dev/v1alpha1/namespaces/shop/rolloutpolicies/";
const CLUSTER_POLICIES: &str = "/apis/no502.dev/v1alpha1/clusterrolloutpolicies/";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events/";

fn in_days(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

fn path(object: &Value) -> String {
    let folder = if object["kind"] == "RolloutPolicy" { POLICIES } else { CLUSTER_POLICIES };
    format!("{folder}{}", object["metadata"]["name"].as_str().unwrap())
}

/// Stores a policy as a user does: the status stays.
fn store(api: &KubeApi, mut object: Value) {
    let path = path(&object);
    object["metadata"]["uid"] = json!(path);
    object["status"] = api.get(&path).map(|it| it["status"].clone()).unwrap_or_default();
    api.put(&path, object);
}

/// One process.
struct Replica {
    api: KubeApi,
    store: PolicyStore,
    published: Published,
    used: Arc<UsedExemptions>,
    metrics: Arc<Metrics>,
    writer: StatusWriter,
}

impl Replica {
    fn new(api: &KubeApi, world: &[Value]) -> Self {
        let (published, used, metrics) = (Published::default(), Arc::default(), Arc::new(Metrics::new()));
        published.snapshot.store(Arc::new(cluster(world)));
        let mut store = PolicyStore::new(Installation::default());
        for object in world {
            if let Facts::Namespace(namespace) = facts(object) {
                store.set_namespace(&namespace.meta.name, Some(&namespace.labels));
            }
        }
        let writer =
            StatusWriter::new(api.client(), Published::clone(&published), Arc::clone(&used), Arc::clone(&metrics));
        Self { api: api.clone(), store, published, used, metrics, writer }
    }

    /// What its watches do.
    fn hear(&mut self) {
        for object in [POLICIES, CLUSTER_POLICIES].iter().flat_map(|it| self.api.below(it)) {
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
            let name = PolicyName { namespace: text("namespace").into(), name: text("name").into() };
            let stored = Stored {
                uid: text("uid"),
                resource_version: text("resourceVersion"),
                generation: object["metadata"]["generation"].as_i64().unwrap_or_default(),
                status: object["status"].clone(),
            };
            self.published.objects.put(name, stored);
            self.store.apply(&object);
        }
        self.published.policies.store(Arc::new(self.store.policies()));
    }

    async fn look(&mut self, now: Timestamp) -> Pass {
        self.hear();
        self.writer.pass(now).await
    }

    /// A write needed the first exemption of policy `name`.
    fn needs(&self, name: &str, now: Timestamp) {
        let name = PolicyName { namespace: "shop".into(), name: name.into() };
        let rules = self.used.note(&self.published.policies.load(), &[(name, 0)], now);
        assert_eq!(rules, ["service-selects-nothing"]);
    }
}

fn written(written: usize, events: usize) -> Pass {
    Pass { written, events, ..Pass::default() }
}

fn status(api: &KubeApi, name: &str) -> Value {
    api.get(&format!("{POLICIES}{name}")).expect("the policy")["status"].clone()
}

fn condition(status: &Value, name: &str) -> Value {
    let conditions = status["conditions"].as_array().unwrap().iter();
    conditions.clone().find(|it| it["type"] == name).cloned().unwrap_or_default()
}

/// Reasons of the Events in the namespace, sorted.
fn events(api: &KubeApi) -> Vec<String> {
    let mut reasons: Vec<_> = api.below(EVENTS).iter().map(|it| it["reason"].as_str().unwrap().to_owned()).collect();
    reasons.sort_unstable();
    reasons
}

fn ghost() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "ghost", "namespace": "shop" },
        "spec": { "selector": { "app": "gone" }, "ports": [{ "port": 80 }] },
    })
}

fn exempting(name: &str, generation: i64, expires: Timestamp) -> Value {
    let target = json!({ "kind": "Service", "name": "ghost" });
    let exemption = json!({
        "rule": "service-selects-nothing", "target": target, "reason": "known", "expires": expires.to_string(),
    });
    policy("shop", name, generation, &json!({ "exemptions": [exemption] }))
}

#[tokio::test]
async fn a_status_is_written_once_and_again_when_it_changes() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(30)));
    store(&api, policy("", "c", 5, &json!({})));
    let mut replica = Replica::new(&api, &[namespace("shop", &json!({})), ghost()]);
    assert_eq!(replica.look(now()).await, written(2, 0));
    let requests = api.requests();
    assert!(requests.iter().all(|it| it.contains("/status?&force=true&fieldManager=no502")), "{requests:?}");
    let first = status(&api, "e");
    assert_eq!(
        first["exemptions"],
        json!({ "active": 1, "expiringSoon": 0, "expired": 0, "unused": 0, "notInForce": 0 })
    );
    let accepted = json!({
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "every field could be read",
        "observedGeneration": 1, "lastTransitionTime": "2026-11-20T12:00:00Z",
    });
    assert_eq!(condition(&first, "Accepted"), accepted);
    assert_eq!((&first["observedGeneration"], &first["inForceGeneration"]), (&json!(1), &json!(1)));
    let of_cluster = api.get(&format!("{CLUSTER_POLICIES}c")).unwrap()["status"].clone();
    assert_eq!((&of_cluster["namespacesMatched"], &of_cluster["observedGeneration"]), (&json!(1), &json!(5)));

    assert_eq!(replica.look(in_days(1)).await, written(0, 0), "nothing has changed");
    assert_eq!(status(&api, "e"), first);

    // A new generation: the times of conditions that did not change stay.
    store(&api, exempting("e", 2, in_days(40)));
    assert_eq!(replica.look(in_days(1)).await, written(1, 0));
    let second = status(&api, "e");
    assert_eq!(condition(&second, "Accepted")["observedGeneration"], 2);
    assert_eq!(condition(&second, "Accepted")["lastTransitionTime"], "2026-11-20T12:00:00Z");

    store(&api, policy("shop", "e", 3, &json!({ "priority": "high" })));
    assert_eq!(replica.look(in_days(2)).await, written(1, 1));
    let third = status(&api, "e");
    assert_eq!((&third["observedGeneration"], &third["inForceGeneration"]), (&json!(3), &json!(2)));
    assert_eq!(condition(&third, "Accepted")["lastTransitionTime"], "2026-11-22T12:00:00Z");
    assert_eq!(condition(&third, "Degraded")["reason"], "LastGood");
    assert_eq!(events(&api), ["PolicyUnreadable"]);
}

#[tokio::test]
async fn whatever_stands_in_a_status_is_replaced() {
    for odd in [json!(7), json!([]), json!({ "conditions": "x" }), json!({ "conditions": [7, { "type": 7 }, null] })] {
        let api = KubeApi::default();
        let mut object = exempting("e", 1, in_days(30));
        object["status"] = odd.clone();
        api.put(&path(&object), object);
        let mut replica = Replica::new(&api, &[ghost()]);
        assert_eq!(replica.look(now()).await, written(1, 0), "{odd}");
        assert_eq!(replica.look(now()).await, written(0, 0), "{odd}");
    }
}

#[tokio::test]
async fn of_two_replicas_one_writes_and_tells() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(-1)));
    let (mut a, mut b) = (Replica::new(&api, &[ghost()]), Replica::new(&api, &[ghost()]));
    b.hear();
    assert_eq!(a.look(now()).await, written(1, 1));
    // It has not heard of that write yet.
    assert_eq!(b.writer.pass(now()).await, Pass { conflicts: 1, ..Pass::default() });
    assert_eq!((a.look(now()).await, b.look(now()).await), (written(0, 0), written(0, 0)));
    assert_eq!(events(&api), ["ExemptionExpired"]);
    // Nor does one that starts later, or that lost the status.
    let mut c = Replica::new(&api, &[ghost()]);
    assert_eq!(c.look(now()).await, written(0, 0));
    let mut object = api.get(&format!("{POLICIES}e")).unwrap();
    object["status"] = Value::Null;
    api.put(&format!("{POLICIES}e"), object);
    assert_eq!(c.look(now()).await, written(1, 1), "the status is written again");
    assert_eq!(events(&api), ["ExemptionExpired"], "the Event was there");
}

#[tokio::test]
async fn an_exemption_has_its_life_in_events() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(20)));
    let mut replica = Replica::new(&api, &[ghost()]);
    assert_eq!(replica.look(now()).await, written(1, 0));
    assert_eq!(replica.look(in_days(14)).await, written(1, 1));
    replica.published.snapshot.store(Arc::new(cluster(&[])));
    assert_eq!(replica.look(in_days(15)).await, written(1, 1));
    assert_eq!(replica.look(in_days(20)).await, written(1, 1));
    assert_eq!(events(&api), ["ExemptionExpired", "ExemptionExpiring", "ExemptionUnused"]);
    let expired = api.below(EVENTS).into_iter().find(|it| it["reason"] == "ExemptionExpired").unwrap();
    assert_eq!(
        expired["note"],
        "exemptions[0] (service-selects-nothing, Service \"ghost\") expired at 2026-12-10T12:00:00Z; remove it, or give it a \
         later time"
    );
    assert_eq!((&expired["type"], &expired["reportingController"]), (&json!("Warning"), &json!("no502.dev/no502")));
    let regarding = json!({
        "apiVersion": "no502.dev/v1alpha1", "kind": "RolloutPolicy", "name": "e", "namespace": "shop",
        "uid": format!("{POLICIES}e"),
    });
    assert_eq!(expired["regarding"], regarding);
    let text = replica.metrics.encode(now());
    for (state, count) in [("active", 0), ("expired", 1), ("unused", 0)] {
        assert!(text.contains(&format!("no502_exemptions{{state=\"{state}\"}} {count}\n")), "{text}");
    }
}

#[tokio::test]
async fn events_of_cluster_policies_are_in_the_default_namespace() {
    let api = KubeApi::default();
    let sets = |profile: &str| json!({ "settings": { "profile": profile } });
    store(&api, policy("", "a", 1, &sets("strict")));
    store(&api, policy("", "b", 1, &sets("advise")));
    let mut replica = Replica::new(&api, &[namespace("shop", &json!({}))]);
    assert_eq!(replica.look(now()).await, written(2, 2));
    let told = api.below("/apis/events.k8s.io/v1/namespaces/default/events/");
    assert_eq!(told.iter().map(|it| it["reason"].as_str().unwrap()).collect::<Vec<_>>(), ["PolicyConflict"; 2]);
    assert_eq!(replica.look(now()).await, written(0, 0));
}

#[tokio::test]
async fn what_one_replica_saw_used_is_used_for_all() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(90)));
    let (mut a, mut b) = (Replica::new(&api, &[]), Replica::new(&api, &[]));
    a.hear();
    a.needs("e", now());
    assert_eq!(a.look(now()).await, written(1, 0));
    let first = status(&api, "e");
    assert_eq!(first["exemptions"]["unused"], 0);
    assert_eq!(condition(&first, "ExemptionsUsed")["message"], "a write needed exemptions[0] on 2026-11-20");
    assert_eq!(b.look(now()).await, written(0, 0), "it has not seen it, and does not say otherwise");
    // Another edit of the policy makes nobody forget.
    let mut edited = exempting("e", 2, in_days(90));
    let other = edited["spec"]["exemptions"][0].clone();
    edited["spec"]["exemptions"].as_array_mut().unwrap().insert(0, other);
    edited["spec"]["exemptions"][0]["target"]["name"] = json!("other");
    store(&api, edited);
    assert_eq!(b.look(now()).await, written(1, 1));
    assert_eq!(
        condition(&status(&api, "e"), "ExemptionsUsed")["message"],
        "a write needed exemptions[1] on 2026-11-20"
    );
    assert_eq!(a.look(in_days(7)).await, written(0, 0));
    assert_eq!(a.look(in_days(8)).await, written(1, 1));
    assert_eq!(status(&api, "e")["exemptions"]["unused"], 2);
    assert_eq!((b.look(in_days(8)).await, a.look(in_days(8)).await), (written(0, 0), written(0, 0)));
    assert_eq!(condition(&status(&api, "e"), "ExemptionsUsed"), Value::Null);
}

#[tokio::test]
async fn a_replica_that_never_saw_the_last_good_version_has_the_last_word() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(30)));
    let mut old = Replica::new(&api, &[ghost()]);
    old.look(now()).await;
    store(&api, policy("shop", "e", 2, &json!({ "priority": "high" })));
    assert_eq!(old.look(now()).await, written(1, 1));
    let mut young = Replica::new(&api, &[ghost()]);
    assert_eq!(young.look(now()).await.written, 1);
    assert_eq!(condition(&status(&api, "e"), "Degraded")["reason"], "Partial");
    assert_eq!((old.look(now()).await, young.look(now()).await), (written(0, 0), written(0, 0)));
}

#[tokio::test]
async fn one_that_has_the_last_good_version_does_not_gloss_over_one_that_has_not() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(30)));
    let mut old = Replica::new(&api, &[ghost()]);
    old.look(now()).await;
    store(&api, policy("shop", "e", 2, &json!({ "priority": "high" })));
    let mut young = Replica::new(&api, &[ghost()]);
    assert_eq!(young.look(now()).await, written(1, 1));
    assert_eq!(old.look(now()).await, written(0, 0), "it has another version in force, and leaves the status alone");
    assert_eq!(condition(&status(&api, "e"), "Degraded")["reason"], "Partial");
}

#[tokio::test]
async fn replicas_that_disagree_do_not_fight() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(30)));
    let (mut a, mut b) = (Replica::new(&api, &[ghost()]), Replica::new(&api, &[]));
    assert_eq!((a.look(now()).await, b.look(now()).await), (written(1, 0), written(1, 1)));
    for _ in 0..3 {
        assert_eq!((a.look(now()).await, b.look(now()).await), (written(0, 0), written(0, 0)));
    }
    // What is new is written at once.
    store(&api, exempting("e", 2, in_days(30)));
    assert_eq!(a.look(now()).await.written, 1);
}

#[tokio::test]
async fn a_failed_write_is_tried_again() {
    let api = KubeApi::default();
    store(&api, exempting("d", 1, in_days(30)));
    store(&api, exempting("e", 1, in_days(30)));
    let mut replica = Replica::new(&api, &[ghost()]);
    replica.hear();
    api.away(true);
    assert_eq!(replica.writer.pass(now()).await, Pass { failed: 1, ..Pass::default() }, "the others are not tried");
    api.away(false);
    assert_eq!(replica.look(now()).await, written(2, 0));
    api.delete(&format!("{POLICIES}e"));
    replica.published.snapshot.store(Arc::new(cluster(&[])));
    assert_eq!(
        replica.writer.pass(now()).await,
        Pass { written: 0, conflicts: 2, ..Pass::default() },
        "one is gone, one is stale"
    );
}
