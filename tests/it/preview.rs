//! What a change of policy is answered with: how many existing objects it means something for, which, and where counting stopped.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use no502::{
    policy::{API_VERSION, Policies, PolicyStore},
    preview::{Budget, preview},
    review::Half,
    server::{Live, Reviewer as _},
    snapshot::Snapshot,
};
use serde_json::{Value, json};

use crate::stage::{self, Request, answer, ask};

const NAMESPACES: [&str; 2] = ["shop", "till"];

/// In each namespace: `workloads` Deployments with a Service each, and one Service whose port leads nowhere.
fn cluster(workloads: usize) -> Snapshot {
    let mut objects = Vec::new();
    for namespace in NAMESPACES {
        objects.push(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }));
        for index in 0..workloads {
            let name = format!("web-{index}");
            objects.push(deployment(namespace, &name));
            objects.push(service(namespace, &name, "http"));
        }
        objects.push(deployment(namespace, "odd"));
        objects.push(service(namespace, "odd", "nowhere"));
    }
    stage::cluster(&objects)
}

fn deployment(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "web", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
            },
        },
    })
}

fn service(namespace: &str, name: &str, port: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": port }] },
    })
}

fn cluster_policy(spec: &Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": "ClusterRolloutPolicy", "metadata": { "name": "all" }, "spec": spec })
}

fn own_policy(spec: &Value) -> Value {
    let metadata = json!({ "name": "own", "namespace": "shop" });
    json!({ "apiVersion": API_VERSION, "kind": "RolloutPolicy", "metadata": metadata, "spec": spec })
}

fn policies(objects: &[Value]) -> Policies {
    let mut store = PolicyStore::default();
    for object in objects {
        assert!(store.apply(object), "{object}");
    }
    store.policies()
}

fn lines(old: &Value, new: &Value, snapshot: &Snapshot, policies: &Policies) -> Vec<String> {
    let warnings = preview(old, new, snapshot, policies, stage::now(), Budget::default());
    warnings.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_looser_profile_says_what_is_no_longer_denied() {
    let new = cluster_policy(&json!({ "settings": { "profile": "advise" } }));
    let told = lines(&Value::Null, &new, &cluster(3), &Policies::default());
    assert_eq!(told, ["no502: 2 existing objects would no longer be denied: Service shop/odd, Service till/odd"]);
}

#[test]
fn a_stricter_profile_says_what_is_newly_denied() {
    let old = own_policy(&json!({ "settings": { "profile": "advise" } }));
    let new = own_policy(&json!({ "settings": { "profile": "standard" } }));
    let told = lines(&old, &new, &cluster(3), &policies(std::slice::from_ref(&old)));
    assert_eq!(told, ["no502: 1 existing object would newly be denied if written anew: Service shop/odd"]);
}

#[test]
fn another_sleep_says_whom_it_is_for_and_names_the_first() {
    let new = own_policy(&json!({ "settings": { "injection": { "preStop": { "preset": "gke-neg" } } } }));
    let told = lines(&Value::Null, &new, &cluster(5), &Policies::default());
    let expected = "no502: 6 existing workloads would newly be injected, or otherwise than now, at the next rollout: \
                    Deployment shop/odd, Deployment shop/web-0, Deployment shop/web-1 and 3 more";
    assert_eq!(told, [expected]);
}

#[test]
fn no_injection_any_more_is_told() {
    let new = own_policy(&json!({ "settings": { "injection": { "mode": "off" } } }));
    let told = lines(&Value::Null, &new, &cluster(0), &Policies::default());
    assert_eq!(told, ["no502: 1 existing workload would no longer be injected: Deployment shop/odd"]);
}

#[test]
fn what_changes_nothing_is_silent() {
    let snapshot = cluster(2);
    let same = cluster_policy(&json!({ "settings": { "profile": "standard" } }));
    assert_eq!(lines(&Value::Null, &same, &snapshot, &Policies::default()), [""; 0]);
    let stricter = cluster_policy(&json!({ "settings": { "profile": "advise" } }));
    let mut labelled = stricter.clone();
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    let known = policies(std::slice::from_ref(&stricter));
    assert_eq!(lines(&stricter, &labelled, &snapshot, &known), [""; 0], "only its labels changed");
    assert_eq!(lines(&Value::Null, &deployment("shop", "web"), &snapshot, &Policies::default()), [""; 0]);
}

#[test]
fn moving_a_policy_away_counts_where_it_was() {
    let with = |team: &str| {
        let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": team } });
        cluster_policy(&json!({ "namespaceSelector": selector, "settings": { "profile": "advise" } }))
    };
    let (old, new) = (with("shop"), with("till"));
    let told = lines(&old, &new, &cluster(0), &policies(std::slice::from_ref(&old)));
    assert_eq!(
        told,
        [
            "no502: 1 existing object would newly be denied if written anew: Service shop/odd",
            "no502: 1 existing object would no longer be denied: Service till/odd",
        ]
    );
}

#[test]
fn counting_stops_at_the_bounds_and_says_so() {
    let snapshot = cluster(10);
    let new = cluster_policy(&json!({ "settings": { "injection": { "mode": "warn" } } }));
    let told = |budget: Budget<'_>| {
        let warnings = preview(&Value::Null, &new, &snapshot, &Policies::default(), stage::now(), budget);
        warnings.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    let few = told(Budget { objects_max: 5, ..Budget::default() });
    assert_eq!(few.len(), 2);
    assert!(few[0].starts_with("no502: 5 existing workloads would no longer be injected: "), "{few:?}");
    assert_eq!(few[1], "no502: stopped counting after 5 objects; 39 were not looked at");
    let asked = Cell::new(0);
    let is_spent = || {
        asked.set(asked.get() + 1);
        asked.get() > 30
    };
    let late = told(Budget { is_spent: &is_spent, ..Budget::default() });
    assert_eq!(
        late.last().map(String::as_str),
        Some("no502: stopped counting after 28 objects; 16 were not looked at")
    );
}

/// Through what the server asks, with its clock: whichever bound comes first on this machine.
#[test]
fn a_large_cluster_is_counted_up_to_the_bounds_of_the_server() {
    const OBJECTS_MAX: usize = 5_000;
    let objects = NAMESPACES.len() * (2 * 1_500 + 2);
    let live = Live { snapshot: Arc::new(ArcSwap::from_pointee(cluster(1_500))), ..Live::default() };
    let policy = cluster_policy(&json!({ "settings": { "injection": { "mode": "warn" } } }));
    let started = Instant::now();
    let reply = live.review(Half::Preview, &Request::create(&policy).body()).unwrap();
    // The caller gives up after 3 s; a slow build on a busy machine has some of them.
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let told = answer(&reply.body).warnings.join("\n");
    let (_, stop) = told.split_once("no502: stopped counting after ").expect(&told);
    let numbers: Vec<usize> = stop.split(' ').filter_map(|it| it.parse().ok()).collect();
    assert_eq!(numbers.iter().sum::<usize>(), objects, "{told}");
    assert!(numbers[0] <= OBJECTS_MAX, "{told}");
}

#[test]
fn what_of_the_policy_does_not_count_is_told() {
    let platform = cluster_policy(&json!({
        "bounds": [
            { "field": "injection.preStop.sleepSeconds", "max": 60 },
            { "field": "exemptionDays", "max": 30 },
        ],
        "locked": ["profile", "actions.service-port-unresolved"],
    }));
    let exemption = |rule: &str, expires: &str| {
        let target = json!({ "kind": "Service", "name": "*" });
        json!({ "rule": rule, "target": target, "reason": "known", "expires": expires })
    };
    let new = own_policy(&json!({
        "settings": { "profile": "advise", "injection": { "preStop": { "sleepSeconds": 300 }, "readines": {} } },
        "exemptions": [
            exemption("service-selects-nothing", "2020-01-01T00:00:00Z"),
            exemption("service-selects-nothing", "2099-01-01T00:00:00Z"),
            exemption("service-port-unresolved", "2026-12-01T00:00:00Z"),
        ],
    }));
    let told = lines(&Value::Null, &new, &cluster(0), &policies(&[platform]));
    let expected = [
        "RolloutPolicy \"own\" spec.exemptions[0] expired at 2020-01-01T00:00:00Z",
        "RolloutPolicy \"own\" spec.exemptions[1] does not count until 30 days before it ends at 2099-01-01T00:00:00Z: \
         ClusterRolloutPolicy \"all\" allows no more",
        "RolloutPolicy \"own\" spec.exemptions[2] does not count: ClusterRolloutPolicy \"all\" keeps namespaces from exempting \
         themselves from service-port-unresolved",
        "RolloutPolicy \"own\" spec.settings.injection.readines means nothing; did you mean readiness?",
        "RolloutPolicy \"own\" spec.settings.profile is ignored: ClusterRolloutPolicy \"all\" locks it",
        "injection.preStop.sleepSeconds 300 by RolloutPolicy \"own\" is out of bounds: ClusterRolloutPolicy \"all\" makes it 60",
    ];
    for line in expected {
        assert!(told.contains(&format!("no502: {line}")), "{line}\n{told:#?}");
    }
}

#[test]
fn a_review_of_a_policy_is_allowed_and_carries_the_warnings() {
    let snapshot = cluster(0);
    let new = cluster_policy(&json!({ "settings": { "profile": "advise" } }));
    let ask = |request: &Request<'_>| ask(Half::Preview, request, &snapshot, &Policies::default(), stage::now());
    let answer = ask(&Request::create(&new));
    assert!(answer.is_allowed && answer.patch.is_none());
    let expected = "no502: 2 existing objects would no longer be denied: Service shop/odd, Service till/odd";
    assert_eq!(answer.warnings, [expected]);
    let rubbish =
        json!({ "apiVersion": API_VERSION, "kind": "ClusterRolloutPolicy", "metadata": { "name": "x" }, "spec": 7 });
    let answer = ask(&Request::update(&new, &rubbish));
    assert!(answer.is_allowed);
    assert_eq!(answer.warnings, ["no502: ClusterRolloutPolicy \"x\" spec: 7 is ignored; it is an object"]);
    assert!(ask(&Request::delete(&new)).warnings.is_empty());
}

#[test]
fn what_is_injected_already_counts_as_its_manifest_would() {
    let mut injected = deployment("shop", "web");
    let set = |object: &mut Value, pointer: &str, value: Value| stage::set(object, pointer, &value);
    let marker = r#"{"containers":{"web":{"preStop":10}},"grace":40}"#;
    set(&mut injected, "/spec/template/metadata/annotations", json!({ "no502.dev/injected": marker }));
    set(&mut injected, "/spec/template/spec/terminationGracePeriodSeconds", json!(40));
    set(
        &mut injected,
        "/spec/template/spec/containers/0/lifecycle",
        json!({ "preStop": { "sleep": { "seconds": 10 } } }),
    );
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
    let snapshot = stage::cluster([&namespace, &injected]);
    let told = |injection: Value| {
        let new = own_policy(&json!({ "settings": { "injection": injection } }));
        lines(&Value::Null, &new, &snapshot, &Policies::default())
    };
    let off = ["no502: 1 existing workload would no longer be injected: Deployment shop/web"];
    assert_eq!(told(json!({ "mode": "off" })), off);
    let otherwise = "no502: 1 existing workload would newly be injected, or otherwise than now, at the next rollout: Deployment shop/web";
    assert_eq!(told(json!({ "preStop": { "sleepSeconds": 5 } })), [otherwise]);
    assert_eq!(told(json!({ "preStop": { "sleepSeconds": 10 } })), [""; 0]);
}

#[test]
fn a_policy_for_nobody_says_so() {
    let snapshot = cluster(1);
    let told = |new: &Value| lines(&Value::Null, new, &snapshot, &Policies::default());
    let settings = json!({ "profile": "advise" });
    let nowhere =
        cluster_policy(&json!({ "namespaceSelector": { "matchLabels": { "taem": "a" } }, "settings": settings }));
    let expected =
        "no502: ClusterRolloutPolicy \"all\" selects no namespace; look at the labels of those that it is meant for";
    assert_eq!(told(&nowhere), [expected]);
    let nothing = own_policy(&json!({ "workloadSelector": { "matchLabels": { "app": "web" } }, "settings": settings }));
    let expected = "no502: RolloutPolicy \"own\" selects no workload that is there; it goes by their own labels, and Rollouts are not looked at";
    assert_eq!(told(&nothing), [expected]);
    let mut system = own_policy(&json!({ "settings": settings }));
    system["metadata"]["namespace"] = json!("kube-system");
    let expected = "no502: RolloutPolicy \"own\" does nothing: nothing is reviewed in namespace kube-system";
    assert_eq!(told(&system), [expected]);
    let unread = stage::partly_read(&[], &["namespaces"]);
    let told = lines(&Value::Null, &nowhere, &unread, &Policies::default());
    assert_eq!(told, ["no502: ClusterRolloutPolicy \"all\": still reading namespaces; nothing was counted"]);
}

#[test]
fn a_kill_switch_that_is_outvoted_says_by_whom() {
    let named = |name: &str, priority: i64, is_enabled: bool| {
        let mut policy = cluster_policy(&json!({ "priority": priority, "settings": { "enabled": is_enabled } }));
        policy["metadata"]["name"] = json!(name);
        policy
    };
    let told = |base: &Value, kill: &Value| {
        let known = policies(std::slice::from_ref(base));
        lines(&Value::Null, kill, &cluster(0), &known)
    };
    let base = named("base", 0, true);
    assert_eq!(
        told(&base, &named("kill", 0, false)),
        [
            "no502: ClusterRolloutPolicy \"kill\" spec.settings.enabled false does not count: ClusterRolloutPolicy \"base\" has the \
          same priority and its name comes first; give one of them a higher priority (2 namespaces, the first is shop)"
        ]
    );
    assert_eq!(
        told(&named("base", 5, true), &named("kill", 0, false)),
        [
            "no502: ClusterRolloutPolicy \"kill\" spec.settings.enabled false does not count: ClusterRolloutPolicy \"base\" has a \
          higher priority (2 namespaces, the first is shop)"
        ]
    );
    assert!(told(&base, &named("kill", 1, false)).iter().all(|it| !it.contains("does not count")));
}

#[test]
fn what_many_teams_lose_is_counted() {
    let mut objects = Vec::new();
    let mut known = Vec::new();
    for index in 0..20 {
        let name = format!("team-{index:02}");
        objects.push(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
        let mut policy = own_policy(&json!({ "settings": { "profile": "advise" } }));
        policy["metadata"]["namespace"] = json!(name);
        known.push(policy);
    }
    let new = cluster_policy(&json!({ "locked": ["profile"] }));
    let told = lines(&Value::Null, &new, &stage::cluster(&objects), &policies(&known));
    assert_eq!(
        told,
        [
            "no502: RolloutPolicy \"own\" spec.settings.profile is ignored: ClusterRolloutPolicy \"all\" locks it (20 namespaces, \
          the first is team-00)"
        ]
    );
}

#[test]
fn what_cannot_be_read_is_told_once() {
    let good = own_policy(&json!({ "settings": { "profile": "advise" } }));
    let bad = own_policy(&json!({ "settings": { "profile": "advice" } }));
    let told = lines(&good, &bad, &cluster(0), &policies(std::slice::from_ref(&good)));
    assert_eq!(
        told,
        ["no502: RolloutPolicy \"own\" spec.settings.profile: \"advice\" is ignored; use advise, standard or strict"]
    );
}

fn as_named(mut policy: Value, name: &str) -> Value {
    policy["metadata"]["name"] = json!(name);
    policy
}

#[test]
fn ties_are_told_whoever_wins() {
    let sleep = |name: &str, seconds: u32| {
        as_named(own_policy(&json!({ "settings": { "injection": { "preStop": { "sleepSeconds": seconds } } } })), name)
    };
    let profile = |name: &str, profile: &str, selector: Value| {
        as_named(cluster_policy(&json!({ "namespaceSelector": selector, "settings": { "profile": profile } })), name)
    };
    let told = |known: Value, new: &Value| -> Vec<String> {
        let all = lines(&Value::Null, new, &cluster(0), &policies(&[known]));
        all.into_iter().filter(|it| it.contains("same priority")).collect()
    };
    let won = "no502: RolloutPolicy \"aaa\" spec.settings.injection.preStop.sleepSeconds 25 counts before that of RolloutPolicy \"mmm\", \
               which has the same priority, only since its name comes first; give one of them a higher priority";
    assert_eq!(told(sleep("mmm", 20), &sleep("aaa", 25)), [won]);
    assert_eq!(told(sleep("mmm", 20), &sleep("aaa", 20)), [""; 0], "they want the same");
    let won = "no502: ClusterRolloutPolicy \"aaa\" spec.settings.profile advise counts before that of ClusterRolloutPolicy \"mmm\", which has \
               the same priority, only since its name comes first; give one of them a higher priority (2 namespaces, the first is \
               shop)";
    assert_eq!(told(profile("mmm", "standard", json!({})), &profile("aaa", "advise", json!({}))), [won]);
    // Lost in one of two namespaces.
    let till = json!({ "matchLabels": { "kubernetes.io/metadata.name": "till" } });
    let lost = "no502: ClusterRolloutPolicy \"zzz\" spec.settings.profile advise does not count: ClusterRolloutPolicy \"nnn\" has the same \
                priority and its name comes first; give one of them a higher priority (namespace till)";
    assert_eq!(told(profile("nnn", "strict", till), &profile("zzz", "advise", json!({}))), [lost]);
}

#[test]
fn what_keeps_a_policy_for_some_workloads_from_counting_is_told() {
    let platform = cluster_policy(&json!({
        "locked": ["injection.preStop", "profile"],
        "bounds": [{ "field": "injection.gracePeriod.appDrainSeconds", "max": 60 }],
    }));
    let of = |name: &str, settings: Value| {
        let spec = json!({ "workloadSelector": { "matchLabels": { "role": "web" } }, "settings": settings });
        as_named(own_policy(&spec), name)
    };
    let tied = of("aaa", json!({ "injection": { "readiness": { "mode": "inject" } } }));
    let injection = json!({
        "preStop": { "sleepSeconds": 5 },
        "gracePeriod": { "appDrainSeconds": 600 },
        "readiness": { "mode": "off" },
    });
    let new = of("workers", json!({ "profile": "advise", "injection": injection }));
    let mut web = deployment("shop", "web");
    web["metadata"]["labels"] = json!({ "role": "web" });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
    let told = lines(&Value::Null, &new, &stage::cluster([&namespace, &web]), &policies(&[platform, tied]));
    for expected in [
        "RolloutPolicy \"workers\" spec.settings.profile is ignored: ClusterRolloutPolicy \"all\" locks it",
        "RolloutPolicy \"workers\" spec.settings.injection.preStop.sleepSeconds is ignored: ClusterRolloutPolicy \"all\" locks it",
        "injection.gracePeriod.appDrainSeconds 600 by RolloutPolicy \"workers\" is out of bounds: ClusterRolloutPolicy \"all\" makes \
         it 60",
        "RolloutPolicy \"workers\" spec.settings.injection.readiness.mode off does not count: RolloutPolicy \"aaa\" has the same \
         priority and its name comes first; give one of them a higher priority",
    ] {
        assert!(told.contains(&format!("no502: {expected}")), "{expected}\n{told:#?}");
    }
}

#[test]
fn a_value_that_a_bound_moves_wherever_it_counts_is_told() {
    let sleeps = |selector: Value| {
        json!({
            "namespaceSelector": selector,
            "settings": { "injection": { "preStop": { "sleepSeconds": 5 } } },
        })
    };
    let floor = json!([{ "field": "injection.preStop.sleepSeconds", "min": 40 }]);
    let told = |known: &[Value], new: &Value| -> Vec<String> {
        let all = lines(&Value::Null, new, &cluster(0), &policies(known));
        all.into_iter().filter(|it| it.contains("out of bounds")).collect()
    };
    let mut own_bound = sleeps(json!({}));
    own_bound["bounds"] = floor.clone();
    let expected = "no502: ClusterRolloutPolicy \"all\" spec.settings.injection.preStop.sleepSeconds 5 is out of bounds: \
                    ClusterRolloutPolicy \"all\" makes it 40 (2 namespaces, the first is shop)";
    assert_eq!(told(&[], &cluster_policy(&own_bound)), [expected]);
    let till = json!({ "matchLabels": { "kubernetes.io/metadata.name": "till" } });
    let limits = |selector: &Value| {
        as_named(cluster_policy(&json!({ "namespaceSelector": selector, "bounds": floor })), "limits")
    };
    assert_eq!(told(&[limits(&till)], &cluster_policy(&sleeps(json!({})))), [""; 0], "a floor for some is meant");
    let told = told(&[limits(&till)], &cluster_policy(&sleeps(till.clone())));
    assert!(
        told.len() == 1 && told[0].ends_with("ClusterRolloutPolicy \"limits\" makes it 40 (namespace till)"),
        "{told:?}"
    );
}

#[test]
fn what_is_asked_of_files_only_changes_nothing_and_says_so() {
    let target = json!({ "kind": "Deployment", "name": "web" });
    let exemption =
        |rule: &str| json!({ "rule": rule, "target": target, "reason": "known", "expires": "2027-01-31T00:00:00Z" });
    let new = own_policy(&json!({
        "settings": { "actions": { "prestop-missing": "deny", "readiness-missing": "warn" } },
        "exemptions": [exemption("readiness-missing"), exemption("prestop-missing")],
    }));
    let told = lines(&Value::Null, &new, &cluster(0), &Policies::default());
    let why = "changes nothing: the rule is asked of files only; a write gets what it lacks, by injection.mode";
    let expected = ["settings.actions.prestop-missing", "exemptions[1]"]
        .map(|it| format!("no502: RolloutPolicy \"own\" spec.{it} {why}"));
    assert_eq!(told, expected);
}
