//! What `policy explain` says is what admission then does: random policies, Namespaces and workloads, explained as JSON and written
//! through the bytes of both halves. What is expected is worked out here from the JSON alone.

use std::{cell::RefCell, collections::BTreeMap};

use no502::{
    facts::Facts,
    policy::{Installation, Policies, PolicyStore},
    review::{self, Half},
    snapshot::Snapshot,
};
use proptest::test_runner::TestCaseError;
use serde_json::{Map, Value, json};

use crate::{
    injections::patched,
    properties::check_cases,
    stage::{self, Request},
    worlds::{Dice, Object, without_nulls},
};

const CASES: u32 = 1_000;
const RULE: &str = "service-selects-nothing";

/// How often each way was taken, so that a generator that no longer reaches one is seen.
type Ways = BTreeMap<&'static str, u32>;

/// One random cluster.
#[derive(Debug)]
struct Scene {
    policies: Vec<Object>,
    namespace: Option<Object>,
    workload: Object,
    service: Object,
    groups: Vec<String>,
}

fn sparse<const N: usize>(dice: &mut Dice, percent: u8, members: [(&str, &[Value]); N]) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, values) in members {
        if dice.chance(percent) {
            map.insert(key.to_owned(), dice.pick(values));
        }
    }
    map
}

fn modes() -> [Value; 4] {
    [json!("inject"), json!("warn"), json!("off"), json!("inject")]
}

/// What a policy sets, a wrong value among it now and then.
fn settings(dice: &mut Dice, is_cluster: bool) -> Value {
    let numbers = |of: &[i64]| -> Vec<Value> { of.iter().map(|it| json!(it)).collect() };
    let injection = sparse(
        dice,
        22,
        [
            ("mode", &modes()[..]),
            ("kinds", &[json!(["Deployment"]), json!(["StatefulSet", "DaemonSet"]), json!(["Deploymnt"])]),
            ("skipOwned", &[json!(false), json!(true)]),
            ("excludeContainers", &[json!(["php"]), json!(["web"]), json!([])]),
            ("restartHint", &[json!(true), json!("yes")]),
        ],
    );
    let mut injection = Value::Object(injection);
    let pre_stop = [
        ("mode", &modes()[..]),
        ("sleepSeconds", &numbers(&[20, 0, 45, 300, 900])),
        ("preset", &[json!("gke-neg"), json!("aws-nlb-ip"), json!("gke")]),
        ("execFallback", &[json!(true)]),
    ];
    injection["preStop"] = sparse(dice, 28, pre_stop).into();
    let grace = [
        ("mode", &modes()[..]),
        ("appDrainSeconds", &numbers(&[0, 15, 60, 500])),
        ("maxSeconds", &numbers(&[50, 90, 3_900, 0])),
    ];
    injection["gracePeriod"] = sparse(dice, 22, grace).into();
    let readiness = [
        ("mode", &[json!("inject"), json!("inject"), json!("off"), json!("on")][..]),
        ("port", &[json!(9090), json!("alt"), json!(7070)]),
        ("periodSeconds", &numbers(&[7, 10, 0])),
        ("timeoutSeconds", &numbers(&[1, 4])),
        ("failureThreshold", &numbers(&[2, 9])),
    ];
    injection["readiness"] = sparse(dice, 25, readiness).into();
    let mut settings = sparse(
        dice,
        25,
        [
            ("profile", &[json!("advise"), json!("strict"), json!("standard"), json!("lax")][..]),
            (
                "actions",
                &[json!({ RULE: "warn" }), json!({ RULE: "deny" }), json!({ RULE: "off" }), json!({ "x": "off" })],
            ),
        ],
    );
    settings.insert("injection".to_owned(), injection);
    if is_cluster && dice.chance(20) {
        settings.insert("enabled".to_owned(), json!(dice.chance(60)));
    }
    if is_cluster && dice.chance(20) {
        settings.insert("breakGlassGroups".to_owned(), json!(["oncall"]));
    }
    settings.into()
}

fn exemption(dice: &mut Dice) -> Value {
    let expires = dice.pick(&["2026-11-25T00:00:00Z", "2026-11-20T11:59:59Z", "2027-11-20T00:00:00Z"]);
    json!({
        "rule": dice.pick(&[RULE, RULE, "readiness-missing"]),
        "target": { "kind": dice.pick(&["Deployment", "Service", "StatefulSet"]), "name": dice.pick(&["web", "w*", "x*", "*"]) },
        "reason": "known",
        "expires": expires,
    })
}

fn policy(dice: &mut Dice, index: usize, is_cluster: bool) -> Vec<Object> {
    let mut spec = json!({ "settings": settings(dice, is_cluster), "priority": dice.below(3) });
    let labels = |dice: &mut Dice, key: &str| json!({ "matchLabels": { key: dice.pick(&["a", "b"]) } });
    if dice.chance(30) {
        spec["exemptions"] = json!([exemption(dice), exemption(dice)]);
    }
    if is_cluster {
        spec["namespaceSelector"] = dice.maybe(35, |dice| labels(dice, "team"));
        let bounds = [
            json!({ "field": "injection.preStop.sleepSeconds", "min": 5, "max": 30 }),
            json!({ "field": "profile", "atLeast": "standard" }),
            json!({ "field": "injection.mode", "atMost": "warn" }),
            json!({ "field": "injection.gracePeriod.maxSeconds", "max": 120 }),
            json!({ "field": "exemptionDays", "max": 30 }),
            json!({ "field": "injection.readiness.periodSeconds", "min": 20, "max": 2 }),
        ];
        spec["bounds"] = (0..dice.below(3)).map(|_| dice.pick(&bounds)).collect::<Vec<_>>().into();
        let locked = ["injection.preStop.sleepSeconds", "actions", "profile", "exemptions", "injection.mode", "profil"];
        spec["locked"] = (0..dice.below(3)).map(|_| dice.pick(&locked)).collect::<Vec<_>>().into();
    } else {
        spec["workloadSelector"] = dice.maybe(45, |dice| labels(dice, "role"));
    }
    let (kind, namespace) = if is_cluster { ("ClusterRolloutPolicy", None) } else { ("RolloutPolicy", Some("shop")) };
    let metadata = json!({ "name": format!("p{index}"), "namespace": namespace, "generation": 1 });
    let object = json!({
        "apiVersion": "no502.dev/v1alpha1", "kind": kind, "metadata": without_nulls(metadata), "spec": without_nulls(spec),
    });
    let mut versions = vec![Object(object)];
    // A later version that cannot be read leaves the earlier one in force.
    if dice.chance(12) {
        let mut later = versions[0].clone();
        later.0["metadata"]["generation"] = json!(2);
        later.0["spec"]["settings"] = json!({ "profil": "advise", "injection": { "mode": "off" } });
        versions.push(later);
    }
    versions
}

fn annotations(dice: &mut Dice, is_namespace: bool) -> Value {
    let texts = |of: &[&str]| -> Vec<Value> { of.iter().map(|it| json!(it)).collect() };
    let modes = texts(&["warn", "inject", "off", "of"]);
    let mut own = sparse(
        dice,
        15,
        [
            ("no502.dev/inject", &texts(&["enabled", "warn", "disabled", "yes"])[..]),
            ("no502.dev/prestop", &modes),
            ("no502.dev/grace-period", &modes),
            ("no502.dev/prestop-sleep-seconds", &texts(&["25", "0", "80", "301"])),
            ("no502.dev/preset", &texts(&["aws-alb-ip", "in-cluster", "nlb"])),
            ("no502.dev/app-drain-seconds", &texts(&["45", "0", "soon"])),
            ("no502.dev/max-grace-seconds", &texts(&["70", "0"])),
            ("no502.dev/readiness", &texts(&["inject", "off", "on"])),
            ("no502.dev/readiness-port", &texts(&["9090", "http", "no port"])),
            ("no502.dev/exclude-containers", &texts(&["web", "php"])),
            ("no502.dev/kinds", &texts(&["StatefulSet, DaemonSet", "Pod"])),
        ],
    );
    if is_namespace {
        own.extend(sparse(
            dice,
            20,
            [
                ("no502.dev/profile", &texts(&["advise", "strict", "lax"])[..]),
                ("no502.dev/break-glass-until", &texts(&["2026-11-20T12:00:01Z", "2026-11-20T12:00:00Z", "soon"])),
            ],
        ));
    }
    own.into()
}

fn scene(dice: &mut Dice) -> Scene {
    let mut policies: Vec<Object> = Vec::new();
    for index in 0..dice.below(4) {
        policies.extend(policy(dice, index, true));
    }
    for index in 0..dice.below(4) {
        policies.extend(policy(dice, index, false));
    }
    let labels = json!({ "team": dice.pick(&["a", "b"]) });
    let metadata = json!({ "name": "shop", "labels": labels, "annotations": annotations(dice, true) });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
    let namespace = (!dice.chance(10)).then_some(Object(namespace));
    let owner =
        dice.maybe(12, |_| json!([{ "apiVersion": "example.com/v1", "kind": "App", "name": "a", "controller": true }]));
    let metadata = without_nulls(json!({
        "name": "web", "namespace": "shop", "labels": { "role": dice.pick(&["a", "b"]) },
        "annotations": annotations(dice, false), "ownerReferences": owner,
    }));
    let ports = json!([{ "name": "http", "containerPort": 8080 }, { "name": "alt", "containerPort": 9090 }]);
    let container = json!({ "name": "web", "image": "a", "ports": ports });
    let spec = without_nulls(json!({
        "containers": [container],
        "terminationGracePeriodSeconds": dice.maybe(60, |dice| json!(dice.pick(&[30, 2, 10, 55, 700]))),
    }));
    let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": spec });
    let kind = dice.pick(&["Deployment", "Deployment", "Deployment", "StatefulSet", "DaemonSet"]);
    let spec = json!({ "replicas": 2, "template": template });
    let workload = json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec });
    let spec = json!({ "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": "http" }] });
    let metadata = json!({ "name": "web", "namespace": "shop" });
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec });
    let groups = if dice.chance(30) { vec!["oncall".to_owned()] } else { Vec::new() };
    Scene { policies, namespace, workload: Object(workload), service: Object(service), groups }
}

struct Cluster<'a> {
    scene: &'a Scene,
    snapshot: Snapshot,
    policies: Policies,
}

impl<'a> Cluster<'a> {
    fn new(scene: &'a Scene) -> Self {
        let objects = scene.namespace.iter().chain([&scene.service, &scene.workload]);
        let snapshot = stage::cluster(objects.map(|it| &it.0));
        let mut store = PolicyStore::new(Installation::default());
        if let Some(namespace) = snapshot.namespace("shop") {
            store.set_namespace(&namespace.meta.name, Some(&namespace.labels));
        }
        for policy in &scene.policies {
            store.apply(&policy.0);
        }
        Self { scene, snapshot, policies: store.policies() }
    }

    /// The explanation, read back from its text.
    fn explain(&self, object: Option<&Value>) -> Explained {
        let facts = object.map(stage::facts);
        let workload = facts.as_ref().and_then(Facts::workload);
        let namespace = self.snapshot.namespace("shop");
        let explanation = self.policies.explain("shop", namespace, workload, stage::now());
        let json: Value = serde_json::from_str(&explanation.to_json().to_string()).unwrap();
        let settings = json["settings"].as_array().unwrap().iter();
        let settings = settings.map(|it| (it["path"].as_str().unwrap().to_owned(), it.clone())).collect();
        Explained { json, settings }
    }

    /// What came of the rule, and whether the write went through.
    fn validate(&self, request: &Request<'_>) -> (Option<&'static str>, bool) {
        let request = Request { groups: &self.scene.groups, ..request.clone() };
        let reply =
            review::review(Half::Validate, &request.body(), &self.snapshot, &self.policies, stage::now()).unwrap();
        let is_allowed = stage::answer(&reply.body).is_allowed;
        let outcome = reply.summary.findings.iter().find(|(rule, _)| *rule == RULE).map(|(_, outcome)| *outcome);
        (outcome, is_allowed)
    }
}

struct Explained {
    json: Value,
    settings: BTreeMap<String, Value>,
}

impl Explained {
    fn value(&self, path: &str) -> &Value {
        self.settings.get(path).map_or(&Value::Null, |it| &it["value"])
    }

    fn number(&self, path: &str) -> i64 {
        self.value(path).as_i64().unwrap()
    }

    fn is_set(&self, path: &str) -> bool {
        self.settings[path]["source"]["kind"] != "BuiltIn"
    }

    fn is_enabled(&self) -> bool {
        self.value("enabled") == &json!(true)
    }

    fn has(&self, path: &str, word: &str) -> bool {
        self.value(path).as_array().is_some_and(|it| it.iter().any(|it| it == word))
    }

    /// What the mutating half makes of a workload that has neither hook, probe nor marker.
    fn injected(&self, workload: &Value) -> Value {
        let mut expected = workload.clone();
        let (mode, kind) = (self.value("injection.mode"), workload["kind"].as_str().unwrap());
        let is_owned = workload["metadata"]["ownerReferences"].is_array();
        let is_covered =
            self.has("injection.kinds", kind) && !(is_owned && self.value("injection.skipOwned") == &json!(true));
        if !self.is_enabled() || mode != "inject" || !is_covered {
            return expected;
        }
        let pod = &mut expected["spec"]["template"]["spec"];
        let is_open = !self.has("injection.excludeContainers", "web");
        let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        let raises = self.value("injection.gracePeriod.mode") == "inject";
        let max = if raises { self.number("injection.gracePeriod.maxSeconds") } else { grace };
        let drain = self.number("injection.gracePeriod.appDrainSeconds");
        let sleep = self.number("injection.preStop.sleepSeconds").min(max.max(grace) - drain);
        let sleeps = self.value("injection.preStop.mode") == "inject" && is_open && sleep > 0;
        if sleeps {
            pod["containers"][0]["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": sleep } } });
        }
        let need = (if sleeps { sleep } else { 0 } + drain).min(max);
        if raises && need > grace && (sleeps || self.is_set("injection.gracePeriod.appDrainSeconds")) {
            pod["terminationGracePeriodSeconds"] = json!(need);
        }
        let port = match self.value("injection.readiness.port") {
            Value::Null => Some(8080),
            it if it == 8080 || it == "http" => Some(8080),
            it if it == 9090 || it == "alt" => Some(9090),
            _ => None,
        };
        if let Some(port) = port.filter(|_| is_open && self.value("injection.readiness.mode") == "inject") {
            let mut probe = json!({ "tcpSocket": { "port": port } });
            for (field, default) in [("periodSeconds", 10), ("timeoutSeconds", 1), ("failureThreshold", 3)] {
                let number = self.number(&format!("injection.readiness.{field}"));
                if number != default {
                    probe[field] = json!(number);
                }
            }
            pod["containers"][0]["readinessProbe"] = probe;
        }
        expected
    }

    /// What a write that breaks a link comes to.
    fn outcome(&self, object: &Value, groups: &[String], ways: &mut Ways) -> Option<&'static str> {
        if !self.is_enabled() {
            count(ways, "switched off");
            return None;
        }
        let own = match self.value(&format!("actions.{RULE}")).as_str() {
            Some(action) => action,
            None if self.value("profile") == "advise" => "warn",
            None => "deny",
        };
        let glass = &self.json["breakGlass"];
        let is_member =
            glass["groups"].as_array().into_iter().flatten().any(|it| groups.iter().any(|group| it == group));
        let is_capped = glass["isOpen"] == true || is_member || object["metadata"]["ownerReferences"].is_array();
        let is_exempt = self.json["exemptions"].as_array().into_iter().flatten().any(|it| {
            let (target, name) = (&it["target"], it["target"]["name"].as_str().unwrap_or_default());
            it["rule"] == RULE
                && it["standing"] == "active"
                && target["kind"] == object["kind"]
                && ["web", "w*", "*"].contains(&name)
        });
        match own {
            "deny" if is_capped => count(ways, "capped"),
            "deny" if is_exempt => count(ways, "exempt"),
            _ => {}
        }
        Some(match own {
            "deny" if is_capped || is_exempt => "warn",
            "deny" => "deny",
            "warn" => "warn",
            "off" => "off",
            other => panic!("{other}"),
        })
    }
}

fn count(ways: &mut Ways, way: &'static str) {
    *ways.entry(way).or_default() += 1;
}

fn without_marker(mut object: Value) -> Value {
    if let Some(metadata) = object["spec"]["template"]["metadata"].as_object_mut() {
        metadata.remove("annotations");
    }
    object
}

fn fail(
    what: &str,
    scene: &Scene,
    explained: &Explained,
    expected: &impl std::fmt::Debug,
    found: &impl std::fmt::Debug,
) -> TestCaseError {
    TestCaseError::fail(format!("{what}: expected {expected:?}, found {found:?}\n{scene:#?}\n{:#}", explained.json))
}

fn agrees(scene: &Scene, ways: &mut Ways) -> Result<(), TestCaseError> {
    let cluster = Cluster::new(scene);
    let workload = &scene.workload.0;
    let explained = cluster.explain(Some(workload));

    let answer =
        stage::ask(Half::Mutate, &Request::create(workload), &cluster.snapshot, &cluster.policies, stage::now());
    let found = answer.patch.as_ref().map_or_else(|| workload.clone(), |it| patched(workload, it));
    let (expected, found) = (explained.injected(workload), without_marker(found));
    if expected != found {
        return Err(fail("injections", scene, &explained, &expected, &found));
    }
    let container = &found["spec"]["template"]["spec"]["containers"][0];
    let parts = [
        ("sleep", container["lifecycle"].is_object()),
        ("probe", container["readinessProbe"].is_object()),
        ("grace", found["spec"]["template"]["spec"] != workload["spec"]["template"]["spec"]),
        ("nothing", found == *workload),
    ];
    parts.iter().filter(|(_, is_there)| *is_there).for_each(|(way, _)| count(ways, way));
    for setting in explained.settings.values() {
        let marks = [("bounded", "boundedBy"), ("locked", "lockedBy")];
        marks.iter().filter(|(_, key)| setting[*key].is_string()).for_each(|(way, _)| count(ways, way));
    }

    let mut lost = workload.clone();
    lost["spec"]["template"]["metadata"]["labels"]["app"] = json!("lost");
    let explained = cluster.explain(Some(&lost));
    let expected = explained.outcome(&lost, &scene.groups, ways);
    let found = cluster.validate(&Request::update(workload, &lost));
    if found != (expected, expected != Some("deny")) {
        return Err(fail("a workload that loses its Service", scene, &explained, &expected, &found));
    }
    let mut nobody = scene.service.0.clone();
    nobody["spec"]["selector"]["app"] = json!("nobody");
    let explained = cluster.explain(None);
    let expected = explained.outcome(&nobody, &scene.groups, ways);
    let found = cluster.validate(&Request::update(&scene.service.0, &nobody));
    if found != (expected, expected != Some("deny")) {
        return Err(fail("a Service that loses its pods", scene, &explained, &expected, &found));
    }
    count(
        ways,
        match expected {
            Some("deny") => "denied",
            Some("warn") => "warned",
            Some(_) => "off",
            None => "nothing said",
        },
    );
    Ok(())
}

#[test]
fn what_is_explained_is_what_is_done() {
    let ways = RefCell::new(Ways::new());
    check_cases(CASES, scene, |scene| agrees(&scene, &mut ways.borrow_mut()));
    let ways = ways.into_inner();
    for way in [
        "sleep",
        "probe",
        "grace",
        "nothing",
        "bounded",
        "locked",
        "switched off",
        "capped",
        "exempt",
        "denied",
        "warned",
        "off",
    ] {
        let times = ways.get(way).copied().unwrap_or_default();
        assert!(times >= CASES / 50, "only {times} cases are about \"{way}\": {ways:?}");
    }
}
