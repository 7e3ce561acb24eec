//! Statuses of policies and Events about them, written to a small API server in memory by one or two replicas.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use no502::{
    facts::Facts,
    metrics::Metrics,
    policy::{Installation, PolicyName, PolicyStore},
    policy_status::{Pass, StatusWriter, Stored, UsedExemptions},
    review::Summary,
    server::{Live, Reviewer as _},
    watch::Published,
};
use serde_json::{Value, json};

use crate::{
    kube_api::KubeApi,
    policy_audit::{namespace, policy},
    stage::{cluster, facts, now},
};

pub(crate) const POLICIES: &str = "/apis/no502.dev/v1alpha1/namespaces/shop/rolloutpolicies/";
pub(crate) const CLUSTER_POLICIES: &str = "/apis/no502.dev/v1alpha1/clusterrolloutpolicies/";
pub(crate) const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events/";

pub(crate) fn in_days(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

fn path(object: &Value) -> String {
    let folder = if object["kind"] == "RolloutPolicy" { POLICIES } else { CLUSTER_POLICIES };
    format!("{folder}{}", object["metadata"]["name"].as_str().unwrap())
}

/// Stores a policy as a user does: the status stays.
pub(crate) fn store(api: &KubeApi, mut object: Value) {
    let path = path(&object);
    object["metadata"]["uid"] = json!(path);
    object["status"] = api.get(&path).map(|it| it["status"].clone()).unwrap_or_default();
    api.put(&path, object);
}

/// One process.
pub(crate) struct Replica {
    api: KubeApi,
    store: PolicyStore,
    pub(crate) published: Published,
    used: Arc<UsedExemptions>,
    pub(crate) metrics: Arc<Metrics>,
    writer: StatusWriter,
}

impl Replica {
    pub(crate) fn new(api: &KubeApi, world: &[Value]) -> Self {
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

    pub(crate) async fn look(&mut self, now: Timestamp) -> Pass {
        self.hear();
        self.writer.pass(now).await
    }

    /// A write needed the first exemption of policy `name`.
    fn needs(&self, name: &str, now: Timestamp) {
        let name = PolicyName { namespace: "shop".into(), name: name.into() };
        let policies = self.published.policies.load();
        self.used.note(&[Arc::clone(&policies.entry(&name).unwrap().policy.exemptions[0])], now);
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let text = self.metrics.encode(now());
        let value = text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}

pub(crate) fn written(written: usize, events: usize) -> Pass {
    Pass { written, events, ..Pass::default() }
}

pub(crate) fn status(api: &KubeApi, name: &str) -> Value {
    api.get(&format!("{POLICIES}{name}")).expect("the policy")["status"].clone()
}

fn condition(status: &Value, name: &str) -> Value {
    let conditions = status["conditions"].as_array().unwrap().iter();
    conditions.clone().find(|it| it["type"] == name).cloned().unwrap_or_default()
}

/// Reasons of the Events in the namespace, sorted.
pub(crate) fn events(api: &KubeApi) -> Vec<String> {
    let mut reasons: Vec<_> = api.below(EVENTS).iter().map(|it| it["reason"].as_str().unwrap().to_owned()).collect();
    reasons.sort_unstable();
    reasons
}

pub(crate) fn ghost() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "ghost", "namespace": "shop" },
        "spec": { "selector": { "app": "gone" }, "ports": [{ "port": 80 }] },
    })
}

pub(crate) fn exempting(name: &str, generation: i64, expires: Timestamp) -> Value {
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
    let mut replica = Replica::new(&api, &[namespace("shop", &json!({}))]);
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
    assert_eq!(c.look(now()).await, written(1, 0), "the status is written again");
    assert_eq!(events(&api), ["ExemptionExpired"], "the Event was there");
}

#[tokio::test]
async fn what_one_replica_saw_used_is_used_for_all() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(90)));
    let (mut a, mut b) = (Replica::new(&api, &[]), Replica::new(&api, &[]));
    a.hear();
    a.needs("e", now());
    assert_eq!(a.look(now()).await, written(1, 0));
    let used = |policy: &str| {
        let condition = condition(&status(&api, policy), "ExemptionsUsed");
        format!("{} {}", condition["status"].as_str().unwrap(), condition["message"].as_str().unwrap())
    };
    let ghost = "since 2026-11-20, needed on 2026-11-20";
    assert_eq!(used("e"), format!("True exemptions[0] e8bb4559 {ghost}"));
    assert_eq!(b.look(now()).await, written(0, 0), "it has not seen it, and does not say otherwise");
    assert_eq!(b.look(in_days(7)).await, written(0, 0));
    // Another edit of the policy makes nobody forget, wherever the exemption is in the list then.
    let mut edited = exempting("e", 2, in_days(80));
    let other = edited["spec"]["exemptions"][0].clone();
    edited["spec"]["exemptions"].as_array_mut().unwrap().insert(0, other);
    edited["spec"]["exemptions"][0]["target"]["name"] = json!("other");
    store(&api, edited);
    assert_eq!(b.look(in_days(7)).await, written(1, 0));
    assert_eq!(used("e"), format!("True exemptions[0] e1580962 since 2026-11-27; exemptions[1] e8bb4559 {ghost}"));
    assert_eq!(a.look(in_days(7)).await, written(0, 0));
    assert_eq!(a.look(in_days(8)).await, written(1, 1));
    assert_eq!(status(&api, "e")["exemptions"]["unused"], 1);
    assert!(status(&api, "e")["exemptionProblems"].to_string().contains("exemptions[1]"));
    assert_eq!((b.look(in_days(8)).await, a.look(in_days(8)).await), (written(0, 0), written(0, 0)));
    // It is needed again.
    b.needs("e", in_days(9));
    b.used.note(&b.published.policies.load().entry(&e()).unwrap().policy.exemptions[1..], in_days(9));
    assert_eq!(b.look(in_days(9)).await, written(1, 0));
    assert_eq!(status(&api, "e")["exemptions"]["unused"], 0);
}

fn e() -> PolicyName {
    PolicyName { namespace: "shop".into(), name: "e".into() }
}

#[tokio::test]
async fn an_exemption_is_written_before_the_write_that_needs_it() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(90)));
    let mut replica = Replica::new(&api, &[]);
    assert_eq!(replica.look(now()).await, written(1, 0));
    assert_eq!(status(&api, "e")["exemptions"]["unused"], 0, "nothing needs it yet");
    assert_eq!(status(&api, "e").get("exemptionProblems"), None);
    let told = condition(&status(&api, "e"), "ExemptionsUsed");
    assert_eq!((&told["status"], &told["reason"]), (&json!("False"), &json!("NotNeeded")));
    assert_eq!(replica.look(in_days(7)).await, written(0, 0));
    // One that starts later knows since when it is there, and no clock that is wrong makes it a new one.
    let mut object = api.get(&format!("{POLICIES}e")).unwrap();
    let conditions = object["status"]["conditions"].as_array_mut().unwrap();
    let used = conditions.iter_mut().find(|it| it["type"] == "ExemptionsUsed").unwrap();
    used["message"] = json!(format!("{}, needed on 9999-01-01", used["message"].as_str().unwrap()));
    api.put(&format!("{POLICIES}e"), object);
    let mut young = Replica::new(&api, &[]);
    assert_eq!(young.look(in_days(8)).await, written(1, 1));
    assert_eq!(status(&api, "e")["exemptions"]["unused"], 1);
    assert_eq!(events(&api), ["ExemptionUnused"]);

    // For another object it is another one; with another reason it is not.
    let mut edited = exempting("e", 2, in_days(60));
    edited["spec"]["exemptions"][0]["reason"] = json!("known, and planned");
    store(&api, edited.clone());
    young.look(in_days(9)).await;
    assert_eq!(status(&api, "e")["exemptions"]["unused"], 1);
    edited["metadata"]["generation"] = json!(3);
    edited["spec"]["exemptions"][0]["target"]["name"] = json!("g*t");
    store(&api, edited);
    young.look(in_days(9)).await;
    assert_eq!(status(&api, "e")["exemptions"]["unused"], 0);
}

#[tokio::test]
async fn what_comes_every_night_keeps_its_exemption() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(90)));
    let mut replica = Replica::new(&api, &[ghost()]);
    let unused = || status(&api, "e")["exemptions"]["unused"].clone();
    for night in [0, 5, 10] {
        replica.published.snapshot.store(Arc::new(cluster(&[ghost()])));
        assert_eq!(replica.look(in_days(night)).await, written(1, 0), "the day is written once");
        assert_eq!(replica.look(in_days(night)).await, written(0, 0));
        let told = condition(&status(&api, "e"), "ExemptionsUsed")["message"].to_string();
        assert!(told.contains(&format!("since 2026-11-20, needed on {}", &in_days(night).to_string()[..10])), "{told}");
        replica.published.snapshot.store(Arc::new(cluster(&[])));
        assert_eq!(replica.look(in_days(night + 4)).await, written(0, 0));
        assert_eq!(unused(), 0);
    }
    assert_eq!(replica.look(in_days(18)).await, written(1, 1));
    assert_eq!((unused(), events(&api)), (json!(1), vec!["ExemptionUnused".to_owned()]));
}

#[tokio::test]
async fn only_a_real_write_needs_an_exemption_and_needs_the_one_that_it_was_given() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(90)));
    let mut replica = Replica::new(&api, &[]);
    replica.hear();
    let exemption = Arc::clone(&replica.published.policies.load().entry(&e()).unwrap().policy.exemptions[0]);
    let live = Live { used: Arc::clone(&replica.used), metrics: Arc::clone(&replica.metrics), ..Live::default() };
    let mut summary = Summary { allowed: true, dry_run: true, exemptions: vec![exemption], ..Summary::default() };
    live.answered(&summary);
    replica.look(now()).await;
    let used = || condition(&status(&api, "e"), "ExemptionsUsed")["message"].to_string();
    assert!(!used().contains("needed on"), "a dry run: {}", used());

    // A newer version is in force when the answer has been given.
    let mut edited = exempting("e", 2, in_days(90));
    let other = edited["spec"]["exemptions"][0].clone();
    edited["spec"]["exemptions"].as_array_mut().unwrap().insert(0, other);
    edited["spec"]["exemptions"][0]["target"]["name"] = json!("other");
    store(&api, edited);
    replica.hear();
    summary.dry_run = false;
    live.answered(&summary);
    replica.look(now()).await;
    let expected = "exemptions[0] e1580962 since 2026-11-20; exemptions[1] e8bb4559 since 2026-11-20, needed on";
    assert!(used().contains(expected), "{}", used());
    assert_eq!(replica.counter("no502_exemption_uses_total{rule=\"service-selects-nothing\"}"), 1);
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
    assert_eq!((a.look(now()).await, b.look(now()).await), (written(1, 0), written(0, 0)));
    assert_eq!((a.look(in_days(8)).await, b.look(in_days(8)).await), (written(1, 0), written(0, 0)));
    for _ in 0..3 {
        assert_eq!((a.look(in_days(8)).await, b.look(in_days(8)).await), (written(0, 0), written(0, 0)));
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
        replica.writer.pass(in_days(8)).await,
        Pass { conflicts: 2, events: 2, ..Pass::default() },
        "one is gone, one is stale"
    );
}
