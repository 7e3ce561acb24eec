//! Single situations of policies that went wrong once, or that somebody would try.

use no502::{
    facts::Facts,
    policy::{API_VERSION, Policies, PolicyStore, Profile},
    review::Half,
    snapshot::{Resource, Store},
};
use serde_json::{Value, json};

use crate::stage::{self, Request, ask};

fn policies(objects: &[Value]) -> Policies {
    let mut store = PolicyStore::default();
    for object in objects {
        assert!(store.apply(object), "{object}");
    }
    store.policies()
}

fn cluster_policy(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": "ClusterRolloutPolicy", "metadata": { "name": name }, "spec": spec })
}

fn own_policy(name: &str, spec: &Value) -> Value {
    let metadata = json!({ "name": name, "namespace": "shop" });
    json!({ "apiVersion": API_VERSION, "kind": "RolloutPolicy", "metadata": metadata, "spec": spec })
}

fn workload(kind: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": { "name": "web", "namespace": "shop", "annotations": annotations },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
            },
        },
    })
}

fn service(port: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": port }] },
    })
}

/// Whether a Service that asks for a port which the pods do not have is refused.
fn is_denied(policies: &Policies) -> bool {
    let snapshot = stage::cluster([&workload("Deployment", &json!({}))]);
    !ask(Half::Validate, &Request::create(&service("nowhere")), &snapshot, policies, stage::now()).is_allowed
}

#[test]
fn who_asks_for_words_gets_no_deeds_where_the_mode_is_held() {
    let snapshot = stage::cluster([&service("http")]);
    let patch = |annotation: &str, spec: &Value| {
        let object = workload("StatefulSet", &json!({ "no502.dev/inject": annotation }));
        let policies = policies(&[cluster_policy("platform", spec)]);
        ask(Half::Mutate, &Request::create(&object), &snapshot, &policies, stage::now()).patch
    };
    let locked = json!({ "locked": ["injection.mode"] });
    let bounded = json!({ "bounds": [{ "field": "injection.mode", "atLeast": "inject" }] });
    assert_eq!(patch("warn", &locked), None);
    assert_eq!(patch("warn", &bounded), None);
    assert!(patch("enabled", &locked).is_some(), "the mode is what it asks for, and the kinds are not locked");
    assert_eq!(patch("enabled", &json!({ "locked": ["injection.kinds"] })), None);
}

#[test]
fn a_held_profile_keeps_its_denials() {
    let off = own_policy("own", &json!({ "settings": { "actions": { "service-port-unresolved": "off" } } }));
    assert!(!is_denied(&policies(std::slice::from_ref(&off))));
    for platform in
        [json!({ "locked": ["profile"] }), json!({ "bounds": [{ "field": "profile", "atLeast": "standard" }] })]
    {
        let policies = policies(&[cluster_policy("platform", &platform), off.clone()]);
        assert!(is_denied(&policies), "{platform}");
        let told = policies.effective("shop", None, None).policy_problems;
        let expected = "RolloutPolicy \"own\" spec.settings.actions.service-port-unresolved is ignored: ClusterRolloutPolicy \
                        \"platform\" holds the profile, and with it its denials";
        assert_eq!(told, [expected]);
    }
    // A floor of the weakest profile holds nothing, and what the platform says itself counts.
    let floor = cluster_policy("platform", &json!({ "bounds": [{ "field": "profile", "atLeast": "advise" }] }));
    assert!(!is_denied(&policies(&[floor, off])));
    let own = json!({ "locked": ["profile"], "settings": { "actions": { "service-port-unresolved": "warn" } } });
    assert!(!is_denied(&policies(&[cluster_policy("platform", &own)])));
}

#[test]
fn a_policy_made_anew_has_nothing_of_the_deleted_one() {
    let of = |uid: &str, profile: Value| {
        let mut policy = own_policy("own", &json!({ "settings": { "profile": profile } }));
        policy["metadata"]["uid"] = json!(uid);
        policy["metadata"]["generation"] = json!(1);
        policy
    };
    let mut store = PolicyStore::default();
    store.apply(&of("a", json!("strict")));
    store.apply(&of("b", json!("stritc")));
    let policies = store.policies();
    let entry = policies.entries().next().unwrap();
    assert!(!entry.is_last_good() && entry.policy.values.is_empty(), "{entry:?}");
    store.apply(&of("b", json!("strict")));
    store.apply(&of("b", json!("stritc")));
    let policies = store.policies();
    let entry = policies.entries().next().unwrap();
    assert!(
        entry.is_last_good() && entry.policy.values.len() == 1,
        "the same one in one generation, as in files: {entry:?}"
    );
}

#[test]
fn a_policy_of_no_namespace_is_none() {
    let mut policy = own_policy("own", &json!({ "settings": { "profile": "advise" } }));
    policy["metadata"] = json!({ "name": "own" });
    assert!(!PolicyStore::default().apply(&policy));
}

#[test]
fn a_workload_that_vanishes_while_it_is_deleted_is_gone() {
    let mut deleting = workload("Deployment", &json!({}));
    deleting["metadata"]["deletionTimestamp"] = json!("2026-11-20T12:00:00Z");
    let mut store = Store::default();
    store.apply(Facts::read(&deleting.to_string()).unwrap());
    store.start_list(Resource::Deployments);
    store.finish_list(Resource::Deployments);
    assert_eq!(store.snapshot().workloads().count(), 0);
}

#[test]
fn exemptions_of_one_namespace_have_an_end() {
    let exemption = |name: String| {
        let target = json!({ "kind": "Service", "name": name });
        json!({ "rule": "service-port-unresolved", "target": target, "reason": "known", "expires": "2027-01-01T00:00:00Z" })
    };
    let others: Vec<Value> = (0..255).map(|it| exemption(format!("other-{it}"))).collect();
    let first = own_policy("a", &json!({ "exemptions": others }));
    let own = |name: &str| own_policy(name, &json!({ "exemptions": [exemption("we?".to_owned())] }));
    assert!(!is_denied(&policies(&[first.clone(), own("b")])), "the 256th counts");
    let all = policies(&[first, own_policy("aa", &json!({ "exemptions": [exemption("x".to_owned())] })), own("b")]);
    assert!(is_denied(&all), "the 257th does not");
    let told = all.effective("shop", None, None).policy_problems;
    let expected = "the RolloutPolicies of this namespace have 257 exemptions; 256 count, by the names of the policies";
    assert_eq!(told, [expected]);
}

fn warnings(policies: &Policies, request: &Request<'_>) -> Vec<String> {
    ask(Half::Mutate, request, &stage::cluster([&service("http")]), policies, stage::now()).warnings
}

#[test]
fn settings_that_do_not_count_are_told_where_nothing_is_injected() {
    let ignored = |why: &str| format!("no502: Deployment \"web\": annotation no502.dev/{why}");
    let off = json!({ "settings": { "injection": { "mode": "off" } }, "locked": ["injection"] });
    let platform = policies(&[cluster_policy("platform", &off)]);
    let asks = workload("Deployment", &json!({ "no502.dev/inject": "enabled" }));
    let locked = ignored("inject is ignored: ClusterRolloutPolicy \"platform\" locks it");
    assert_eq!(warnings(&platform, &Request::create(&asks)), [locked]);
    assert_eq!(
        warnings(&platform, &Request::create(&workload("Deployment", &json!({})))),
        [""; 0],
        "it has not asked for anything"
    );

    let typo = json!({ "no502.dev/kinds": "statefulset", "no502.dev/prestop-sleep-seconds": "9999" });
    let told = warnings(&Policies::default(), &Request::create(&workload("StatefulSet", &typo)));
    assert!(told.len() == 2 && told.iter().all(|it| it.contains("is ignored")), "{told:?}");
    // A controller reads no warnings.
    let mut owned = workload("StatefulSet", &typo);
    owned["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "example.com/v1", "kind": "App", "name": "a", "uid": "u", "controller": true }]);
    assert_eq!(warnings(&Policies::default(), &Request::create(&owned)), [""; 0]);
}

#[test]
fn an_annotation_alone_is_told_if_it_does_not_count() {
    let before = workload("Deployment", &json!({}));
    let annotated = |value: &str| workload("Deployment", &json!({ "no502.dev/inject": value }));
    let (typo, right) = (annotated("disabeld"), annotated("disabled"));
    let update = |old: &Value, new: &Value| warnings(&Policies::default(), &Request::update(old, new));
    let told = update(&before, &typo);
    assert!(told.len() == 1 && told[0].contains("disabeld"), "{told:?}");
    assert_eq!(update(&before, &right), [""; 0]);
    assert_eq!(update(&typo, &typo), [""; 0], "it was told already");
    assert_eq!(update(&typo, &before), [""; 0]);
}

#[test]
fn an_unreadable_policy_is_told_to_those_alone_that_it_is_for() {
    let spec = |selector: Value| json!({ "workloadSelector": selector, "settings": { "profil": "advise" } });
    let told = |spec: &Value, role: &str| {
        let mut object = workload("Deployment", &json!({}));
        object["metadata"]["labels"] = json!({ "role": role });
        let facts = Facts::read(&object.to_string()).unwrap();
        policies(&[own_policy("own", spec)]).effective("shop", None, facts.workload()).policy_problems.len()
    };
    let readable = spec(json!({ "matchLabels": { "role": "worker" } }));
    assert_eq!((told(&readable, "worker"), told(&readable, "web")), (1, 0));
    let unreadable = spec(json!({ "matchLabels": { "role": 1 } }));
    assert_eq!((told(&unreadable, "worker"), told(&unreadable, "web")), (2, 2), "nobody knows whom it is for");
}

#[test]
fn a_null_member_of_a_selector_is_absent() {
    let blank = json!({ "namespaceSelector": { "matchLabels": null }, "settings": { "profile": "strict" } });
    let profile = policies(&[cluster_policy("all", &blank)]).effective("shop", None, None).profile;
    assert_eq!(profile, Profile::Strict);
}

fn sleep_seconds(policies: &Policies, object: &Value) -> i64 {
    let facts = Facts::read(&object.to_string()).unwrap();
    policies.effective("shop", None, facts.workload()).settings.sleep_seconds
}

#[test]
fn a_preset_counts_beside_a_length_that_cannot_be_read() {
    let both = |seconds: Value| {
        let spec =
            json!({ "settings": { "injection": { "preStop": { "preset": "gke-neg", "sleepSeconds": seconds } } } });
        sleep_seconds(&policies(&[own_policy("own", &spec)]), &workload("Deployment", &json!({})))
    };
    assert_eq!((both(json!(400)), both(json!(5)), both(Value::Null)), (60, 5, 60));
}

#[test]
fn a_length_of_the_workload_itself_beats_both_ways_of_its_template() {
    let of = |own: Value, template: Value| {
        let mut object = workload("Deployment", &own);
        object["spec"]["template"]["metadata"]["annotations"] = template;
        sleep_seconds(&Policies::default(), &object)
    };
    let (preset, seconds) =
        (json!({ "no502.dev/preset": "gke-neg" }), json!({ "no502.dev/prestop-sleep-seconds": "5" }));
    assert_eq!(of(preset.clone(), seconds.clone()), 60);
    assert_eq!(of(seconds.clone(), preset.clone()), 5);
    assert_eq!((of(json!({}), seconds), of(json!({}), preset)), (5, 60));
}
