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
        let policies = self.published.policies.load();
        self.used.note(&[Arc::clone(&policies.entry(&name).unwrap().policy.exemptions[0])], now);
    }

    fn counter(&self, name: &str) -> u64 {
        let text = self.metrics.encode(now());
        let value = text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
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
    assert_eq!(c.look(now()).await, written(1, 0), "the status is written again");
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
    assert_eq!(replica.look(in_days(15)).await, written(1, 1), "it is there for more than a week");
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
    let used = |policy: &str| {
        let condition = condition(&status(&api, policy), "ExemptionsUsed");
        format!("{} {}", condition["status"].as_str().unwrap(), condition["message"].as_str().unwrap())
    };
    let ghost = "since 2026-11-20, needed by a write on 2026-11-20";
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
    used["message"] = json!(format!("{}, needed by a write on 9999-01-01", used["message"].as_str().unwrap()));
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
async fn more_news_than_one_pass_tells_comes_with_the_next_ones() {
    const POLICIES: usize = 120;
    let api = KubeApi::default();
    for number in 0..POLICIES {
        store(&api, exempting(&format!("e{number:03}"), 1, in_days(-1)));
    }
    store(&api, exempting("fine", 1, in_days(30)));
    let mut replica = Replica::new(&api, &[ghost()]);
    let mut passes = Vec::new();
    for _ in 0..5 {
        passes.push(replica.look(now()).await);
    }
    let pass = |written, events, held| Pass { written, events, held, ..Pass::default() };
    assert_eq!(passes, [pass(51, 50, 70), pass(50, 50, 20), pass(20, 20, 0), pass(0, 0, 0), pass(0, 0, 0)]);
    assert_eq!(events(&api), vec!["ExemptionExpired"; POLICIES]);
}

#[tokio::test]
async fn news_that_cannot_be_told_is_told_later_and_holds_nothing_up_for_ever() {
    for code in [403, 500] {
        let api = KubeApi::default();
        let names: Vec<String> = (0..60).map(|number| format!("e{number:02}")).collect();
        for name in &names {
            store(&api, exempting(name, 1, in_days(-1)));
        }
        store(&api, exempting("fine", 1, in_days(30)));
        api.refuse(EVENTS, Some(code));
        api.refuse(EVENTS.trim_end_matches('/'), Some(code));
        let mut replica = Replica::new(&api, &[ghost()]);
        let held = |written, held| Pass { written, held, ..Pass::default() };
        assert_eq!(replica.look(now()).await, held(1, 60), "{code}: the one without news is written");
        let tries = api.requests().iter().filter(|it| it.contains("/events")).count();
        assert_eq!((tries, replica.counter("no502_policy_event_errors_total")), (3, 3), "{code}");
        assert_eq!(replica.look(now()).await, held(0, 60));
        assert_eq!(status(&api, "e00"), Value::Null);
        assert_eq!(replica.look(now()).await, held(0, 60));
        assert_eq!(replica.look(now()).await, held(60, 0), "{code}: they wait no longer");
        assert_eq!(replica.look(now()).await, held(0, 0));
        store(&api, exempting("late", 1, in_days(-1)));
        assert_eq!(replica.look(now()).await, held(1, 0), "{code}: nor does another one");
        assert!(events(&api).is_empty());

        api.refuse(EVENTS, None);
        api.refuse(EVENTS.trim_end_matches('/'), None);
        assert_eq!(replica.look(now()).await, written(0, 50), "{code}: nothing is forgotten");
        assert_eq!(replica.look(now()).await, written(0, 11), "{code}");
        assert_eq!(replica.look(now()).await, written(0, 0), "{code}");
        assert_eq!(events(&api).len(), 61);
    }
}

#[tokio::test]
async fn an_event_that_can_never_be_holds_nothing_up() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(-1)));
    api.refuse(EVENTS.trim_end_matches('/'), Some(422));
    let mut replica = Replica::new(&api, &[ghost()]);
    assert_eq!(replica.look(now()).await, written(1, 0));
}

#[tokio::test]
async fn news_is_told_before_its_status_is_written() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(-1)));
    api.refuse(POLICIES, Some(500));
    let mut replica = Replica::new(&api, &[ghost()]);
    assert_eq!(replica.look(now()).await, Pass { failed: 1, events: 1, ..Pass::default() });
    assert_eq!(replica.look(now()).await, Pass { failed: 1, ..Pass::default() });
    let told = api.requests().iter().filter(|it| it.contains("/events")).count();
    assert_eq!(told, 1, "it has been told");
    api.refuse(POLICIES, None);
    // A process that starts anew finds that it has.
    let mut young = Replica::new(&api, &[ghost()]);
    assert_eq!(young.look(now()).await, written(1, 0));
    assert_eq!(events(&api), ["ExemptionExpired"]);
}

#[tokio::test]
async fn a_kind_whose_status_is_forbidden_keeps_nothing_else_waiting() {
    let api = KubeApi::default();
    for number in 0..5 {
        store(&api, policy("", &format!("c{number}"), 1, &json!({ "priority": number })));
    }
    store(&api, exempting("e", 1, in_days(30)));
    api.refuse(CLUSTER_POLICIES, Some(403));
    let mut replica = Replica::new(&api, &[ghost()]);
    assert_eq!(replica.look(now()).await, Pass { written: 1, failed: 3, ..Pass::default() });
    assert_eq!(replica.counter("no502_policy_status_errors_total"), 3);
    api.refuse(CLUSTER_POLICIES, None);
    assert_eq!(replica.look(now()).await, written(5, 0));
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
    assert!(!used().contains("needed by a write"), "a dry run: {}", used());

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
    let expected =
        "exemptions[0] e1580962 since 2026-11-20; exemptions[1] e8bb4559 since 2026-11-20, needed by a write on";
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
    assert_eq!((a.look(in_days(8)).await, b.look(in_days(8)).await), (written(0, 0), written(1, 1)));
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
