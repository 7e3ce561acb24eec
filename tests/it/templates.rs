//! Random pod templates for the laws of the injections: every kind of hook, probe and marker, settings on both levels, and fields
//! that no502 does not know. Rolled with the dice of `worlds.rs`.

use serde_json::{Value, json};

use crate::worlds::{self, Dice, Object, without_nulls};

/// One write to one workload, and the cluster around it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) cluster: Vec<Object>,
    pub(crate) old: Option<Object>,
    pub(crate) new: Object,
}

pub(crate) fn case(dice: &mut Dice) -> Case {
    let mut cluster = vec![namespace(dice)];
    for name in ["a", "b"] {
        if dice.chance(60) {
            cluster.push(service(dice, name));
        }
    }
    if dice.chance(25) {
        let backend = json!({ "service": { "name": "b", "port": { "number": 80 } } });
        let spec = json!({ "defaultBackend": backend });
        let metadata = json!({ "name": "shop", "namespace": "shop" });
        let ingress =
            json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec });
        cluster.push(Object(ingress));
    }
    if dice.chance(15) {
        let version = dice.pick(&["v1.28.4", "v1.36.1", "v1.30.0"]);
        let status = json!({ "nodeInfo": { "kubeletVersion": version } });
        cluster
            .push(Object(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" }, "status": status })));
    }
    let new = workload(dice);
    let old = dice.chance(50).then(|| older(dice, &new));
    Case { cluster, old, new }
}

/// An earlier state of the same object: often with our sleep and probe where the newer one has a second handler beside them.
fn older(dice: &mut Dice, new: &Object) -> Object {
    if dice.chance(30) {
        let mut old = workload(dice);
        old.0["kind"] = new.0["kind"].clone();
        old.0["apiVersion"] = new.0["apiVersion"].clone();
        return old;
    }
    let mut old = new.clone();
    for container in old.0["spec"]["template"]["spec"]["containers"].as_array_mut().into_iter().flatten() {
        for hook in [&["lifecycle", "preStop"][..], &["readinessProbe"]] {
            let place = hook.iter().fold(&mut *container, |value, key| &mut value[*key]);
            if let Some(handlers) = place.as_object_mut()
                && handlers.len() > 1
            {
                let others: &[&str] = if hook.len() == 2 { &["exec", "httpGet"] } else { &["exec", "httpGet", "grpc"] };
                handlers.retain(|handler, _| !others.contains(&handler.as_str()));
            }
            if place.is_null() {
                remove_nulls(container);
            }
        }
    }
    if dice.chance(30) {
        old.0["spec"]["template"]["metadata"]["annotations"]["no502.dev/injected"] = json!(dice.pick(&MARKERS));
    }
    old
}

/// Indexing made members that are null.
fn remove_nulls(container: &mut Value) {
    if let Some(map) = container.as_object_mut() {
        map.retain(|_, member| !member.is_null());
        if let Some(lifecycle) = map.get_mut("lifecycle").and_then(Value::as_object_mut) {
            lifecycle.retain(|_, member| !member.is_null());
        }
    }
}

fn namespace(dice: &mut Dice) -> Object {
    let mut metadata = json!({ "name": "shop", "annotations": settings(dice, 25) });
    if dice.chance(10) {
        metadata["labels"] = json!({ "istio-injection": "enabled" });
    }
    Object(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
}

fn service(dice: &mut Dice, name: &str) -> Object {
    let target = match dice.below(5) {
        0 => Value::Null,
        1 => json!(dice.pick(&[8080, 9000, 3306])),
        _ => json!(dice.pick(&["http", "grpc"])),
    };
    let port = without_nulls(json!({ "port": dice.pick(&[80, 8080]), "targetPort": target }));
    let spec = without_nulls(json!({
        "selector": { "app": "web" },
        "ports": [port],
        "clusterIP": dice.maybe(10, |_| json!("None")),
        "publishNotReadyAddresses": dice.maybe(10, |_| json!(true)),
    }));
    let metadata = json!({ "name": name, "namespace": "shop" });
    Object(json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec }))
}

/// Settings as annotations: good ones, bad ones and unknown ones.
fn settings(dice: &mut Dice, percent: u8) -> Value {
    const VALUES: [(&str, &[&str]); 17] = [
        ("inject", &["enabled", "warn", "disabled", "x"]),
        ("reason", &["because"]),
        ("kinds", &["Deployment,StatefulSet", "StatefulSet", ",", "x"]),
        ("prestop", &["inject", "warn", "off", "x"]),
        ("grace-period", &["inject", "warn", "off", "x"]),
        ("preset", &["aws-nlb-ip", "gke-neg", "in-cluster", "x"]),
        ("prestop-sleep-seconds", &["5", "0", "5", "300", "-1", "99999999999999999999", ""]),
        ("prestop-exec-fallback", &["true", "false", "yes"]),
        ("app-drain-seconds", &["0", "60", "3600", "-5"]),
        ("max-grace-seconds", &["1", "45", "3900", "x"]),
        ("readiness", &["inject", "inject", "inject", "off", "warn", "x"]),
        ("readiness-port", &["8080", "http", "0", "no such port"]),
        ("readiness-period-seconds", &["10", "0"]),
        ("readiness-timeout-seconds", &["1", "7"]),
        ("readiness-failure-threshold", &["3", "30"]),
        ("exclude-containers", &["web", "php, none", ","]),
        ("what-is-this", &["\u{0}\n", "1"]),
    ];
    let mut annotations = serde_json::Map::new();
    for (key, values) in VALUES {
        let is_frequent = ["readiness", "prestop-sleep-seconds"].contains(&key);
        let percent = if is_frequent { percent.saturating_mul(2) } else { percent / 3 };
        if dice.chance(percent) {
            annotations.insert(format!("no502.dev/{key}"), json!(dice.pick(values)));
        }
    }
    annotations.into()
}

fn workload(dice: &mut Dice) -> Object {
    let (kind, version) = dice.pick(&[
        ("Deployment", "apps/v1"),
        ("Deployment", "apps/v1"),
        ("Deployment", "apps/v1"),
        ("StatefulSet", "apps/v1"),
        ("DaemonSet", "apps/v1"),
        ("Rollout", "argoproj.io/v1alpha1"),
    ]);
    let mut metadata = json!({ "name": "web", "namespace": "shop", "annotations": settings(dice, 20) });
    if dice.chance(5) {
        metadata["ownerReferences"] =
            json!([{ "apiVersion": "x.dev/v1", "kind": "App", "name": "a", "controller": true }]);
    }
    let spec = without_nulls(json!({
        "replicas": dice.maybe(60, |dice| json!(dice.below(3))),
        "strategy": dice.maybe(5, |_| json!({ "type": "Recreate" })),
        "serviceName": dice.maybe(30, |dice| json!(dice.pick(&["a", "b"]))),
        "template": template(dice),
    }));
    Object(json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec }))
}

pub(crate) const MARKERS: [&str; 8] = [
    r#"{"containers":{"web":{"preStop":10,"readiness":8080}},"grace":40,"graceBefore":30}"#,
    r#"{"containers":{"web":{"preStop":10},"php":{"preStop":10}},"grace":40}"#,
    r#"{"containers":{"web":{"preStop":10,"exec":true}},"grace":40,"graceBefore":5}"#,
    r#"{"containers":{"php":{"readiness":9000}}}"#,
    r#"{"containers":{"gone":{"preStop":7}},"grace":55,"future":1}"#,
    r#"{"containers":[]}"#,
    "{",
    "",
];

fn template(dice: &mut Dice) -> Value {
    let annotations = match dice.below(8) {
        4 => json!({ "a/b~c": "d" }),
        5 => json!({ "no502.dev/injected": dice.pick(&MARKERS), "a": "b" }),
        6 | 7 => json!({ "no502.dev/injected": MARKERS[0] }),
        _ => Value::Null,
    };
    let metadata = without_nulls(json!({ "labels": { "app": "web" }, "annotations": annotations }));
    let (mut containers, init) = worlds::containers(dice, container);
    if dice.chance(25) {
        make_ours(&mut containers[0]);
    }
    let spec = without_nulls(json!({
        "containers": containers,
        "initContainers": init,
        "terminationGracePeriodSeconds": dice.maybe(80, |dice| json!(dice.pick(&[40, 30, 0, 1, 2, 40, 55, 900]))),
        "hostNetwork": dice.maybe(8, |_| json!(true)),
        "nodeSelector": dice.maybe(5, |_| json!({ "kubernetes.io/os": "windows" })),
        "futureField": { "deep": [1.5, { "x": "\u{e9}" }] },
    }));
    json!({ "metadata": metadata, "spec": spec, "futureField": 1 })
}

/// As it is stored after an injection, if the marker says so too.
fn make_ours(container: &mut Value) {
    container["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": 10 } } });
    container["readinessProbe"] = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 5, "timeoutSeconds": 2 });
}

fn container(dice: &mut Dice, name: &str) -> Value {
    let mut ports = Vec::new();
    for (port, number) in [("http", 8080), ("grpc", 9000), ("db", 3306)] {
        if dice.chance(45) {
            let named = dice.maybe(75, |_| json!(port));
            ports.push(without_nulls(json!({ "name": named, "containerPort": number })));
        }
    }
    without_nulls(json!({
        "name": name,
        "image": "a",
        "ports": ports,
        "lifecycle": lifecycle(dice),
        "readinessProbe": probe(dice),
        "livenessProbe": dice.maybe(20, |_| json!({ "httpGet": { "path": "/", "port": 8080 } })),
        "futureField": [name],
    }))
}

fn lifecycle(dice: &mut Dice) -> Value {
    let sleep = |dice: &mut Dice| json!({ "seconds": dice.pick(&[10, 10, 10, 0, 5, 25, 700, i64::MAX]) });
    let exec = |dice: &mut Dice| {
        dice.pick(&[
            json!({ "command": ["sleep", "10"] }),
            json!({ "command": ["/drain"] }),
            json!({ "command": ["sh", "-c", "sleep 20; kill 1"] }),
        ])
    };
    let http = json!({ "path": "/drain", "port": 8080 });
    match dice.below(16) {
        7 => json!({ "preStop": null }),
        8 => json!({ "postStart": { "exec": exec(dice) }, "futureField": 1 }),
        9 => json!({ "preStop": { "exec": exec(dice) }, "stopSignal": "SIGQUIT" }),
        10 | 11 => json!({ "preStop": { "sleep": sleep(dice) } }),
        12 => json!({ "preStop": { "httpGet": http } }),
        13 | 14 => json!({ "preStop": { "sleep": sleep(dice), "exec": exec(dice) } }),
        15 => json!({ "preStop": { "exec": exec(dice), "httpGet": http, "futureField": 1 } }),
        _ => Value::Null,
    }
}

fn probe(dice: &mut Dice) -> Value {
    let port = dice.pick(&[8080, 8080, 9000, 1]);
    match dice.below(10) {
        5 | 6 => json!({ "tcpSocket": { "port": port }, "periodSeconds": 5, "timeoutSeconds": 2 }),
        7 => json!({ "tcpSocket": { "port": port }, "httpGet": { "path": "/ready", "port": port } }),
        8 => json!({ "grpc": { "port": port }, "futureField": 1 }),
        9 => json!({ "exec": { "command": ["true"] } }),
        _ => Value::Null,
    }
}
