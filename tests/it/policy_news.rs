//! News of policies: each is told once, and none is lost, whatever happens to the Events or to the status.

use std::sync::Arc;

use no502::policy_status::Pass;
use serde_json::{Value, json};

use crate::{
    kube_api::KubeApi,
    policy_audit::{namespace, policy},
    policy_status::{
        CLUSTER_POLICIES, EVENTS, POLICIES, Replica, events, exempting, ghost, in_days, status, store, written,
    },
    stage::{cluster, now},
};

#[tokio::test]
async fn an_exemption_has_its_life_in_events() {
    let api = KubeApi::default();
    store(&api, exempting("e", 1, in_days(30)));
    let mut replica = Replica::new(&api, &[ghost()]);
    assert_eq!(replica.look(now()).await, written(1, 0));
    assert_eq!(replica.look(in_days(14)).await, written(1, 0), "the day on which it was needed last");
    replica.published.snapshot.store(Arc::new(cluster(&[])));
    assert_eq!(replica.look(in_days(21)).await, written(0, 0));
    assert_eq!(replica.look(in_days(22)).await, written(1, 1), "it is not needed for more than a week");
    assert_eq!(replica.look(in_days(24)).await, written(1, 1));
    assert_eq!(replica.look(in_days(30)).await, written(1, 1));
    assert_eq!(events(&api), ["ExemptionExpired", "ExemptionExpiring", "ExemptionUnused"]);
    let expired = api.below(EVENTS).into_iter().find(|it| it["reason"] == "ExemptionExpired").unwrap();
    assert_eq!(
        expired["note"],
        "exemptions[0] (service-selects-nothing, Service \"ghost\") expired at 2026-12-20T12:00:00Z; remove it, or give it a \
         later time"
    );
    assert_eq!(expired["metadata"]["name"], "e.323b73bfecdc3727", "the same for every build");
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
async fn more_news_than_one_pass_tells_comes_with_the_next_ones() {
    const NEWS: usize = 120;
    let api = KubeApi::default();
    for number in 0..NEWS {
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
    assert_eq!(events(&api), vec!["ExemptionExpired"; NEWS]);
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
