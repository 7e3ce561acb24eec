//! Random clusters and writes for the properties: few names, labels and ports, so that links form, break and miss each other.
//!
//! Everything is rolled with [`Dice`]: numbers from proptest, and zeros once they are used up. Zero stands for the simplest
//! choice, so that a failure shrinks to a small cluster.

use std::fmt;

use no502::snapshot::Resource;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// An object that prints as JSON when a property fails.
#[derive(Clone, PartialEq)]
pub(crate) struct Object(pub(crate) Value);

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\n  {}", self.0)
    }
}

/// A source of choices.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    rolls: Vec<u64>,
    next: usize,
}

/// Numbers for one case; a cluster of ten objects takes about three hundred bytes.
pub(crate) fn dice() -> impl Strategy<Value = Dice> {
    proptest::collection::vec(any::<u64>(), 8..80).prop_map(|rolls| Dice { rolls, next: 0 })
}

impl Dice {
    /// 0 to 255.
    fn byte(&mut self) -> u8 {
        let byte = self.rolls.get(self.next / 8).map_or(0, |it| it.to_le_bytes()[self.next % 8]);
        self.next += 1;
        byte
    }

    /// 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// True in about `percent` of the cases.
    pub(crate) fn chance(&mut self, percent: u8) -> bool {
        let byte = self.byte();
        byte != 0 && u16::from(byte) * 100 <= u16::from(percent) * 255
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// The value in about `percent` of the cases, else null.
    pub(crate) fn maybe(&mut self, percent: u8, value: impl FnOnce(&mut Self) -> Value) -> Value {
        if self.chance(percent) { value(self) } else { Value::Null }
    }
}

/// The list an object comes in.
pub(crate) fn resource(object: &Value) -> Resource {
    match object["kind"].as_str().unwrap() {
        "Service" => Resource::Services,
        "Ingress" => Resource::Ingresses,
        "Namespace" => Resource::Namespaces,
        "Node" => Resource::Nodes,
        "Pod" => Resource::Pods,
        "Deployment" => Resource::Deployments,
        "StatefulSet" => Resource::StatefulSets,
        "DaemonSet" => Resource::DaemonSets,
        "ReplicaSet" => Resource::ReplicaSets,
        other => panic!("{other}"),
    }
}

/// Kind, namespace and name.
pub(crate) fn key(object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    (text(&object["kind"]), text(&meta["namespace"]), text(&meta["name"]))
}

const ROOM: usize = 12;

/// Up to a dozen objects, each once.
pub(crate) fn cluster(dice: &mut Dice) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for _ in 0..dice.below(ROOM) {
        let object = object(dice);
        objects.retain(|it| key(&it.0) != key(&object.0));
        objects.push(object);
    }
    objects
}

type Maker = fn(&mut Dice) -> Object;

/// Services and workloads often, the rest now and then.
const MAKERS: [Maker; 13] =
    [service, workload, ingress, service, workload, ingress, workload, service, workload, pod, pod, namespace, node];

/// Any object of the kinds that a snapshot is made of.
pub(crate) fn object(dice: &mut Dice) -> Object {
    dice.pick(&MAKERS)(dice)
}

/// A cluster, and a write to it: the old object, if there was one, and the new one.
pub(crate) fn write(dice: &mut Dice) -> (Vec<Object>, Option<Object>, Object) {
    let path = if dice.chance(50) { whole_path(dice) } else { Vec::new() };
    let (make, old) = match path.as_slice() {
        [] => {
            let make = dice.pick(&MAKERS);
            (make, make(dice))
        }
        path => {
            let index = dice.below(path.len());
            ([workload, service, ingress][index], path[index].clone())
        }
    };
    let new = next_state(&old, make, dice);
    let is_update = !dice.chance(35);
    let mut objects = cluster(dice);
    for object in path {
        objects.retain(|it| key(&it.0) != key(&object.0));
        objects.push(object);
    }
    objects.retain(|it| key(&it.0) != key(&new.0));
    if is_update {
        objects.push(old.clone());
    }
    (objects, is_update.then_some(old), new)
}

/// A Deployment, a Service and an Ingress that lead to each other, now and then of one release.
fn whole_path(dice: &mut Dice) -> Vec<Object> {
    let annotations = dice.maybe(30, |_| json!({ "meta.helm.sh/release-name": "a" }));
    let meta = |name: &str| without_nulls(json!({ "name": name, "namespace": "shop", "annotations": annotations }));
    let container = json!({ "name": "web", "image": "a", "ports": [{ "name": "http", "containerPort": 8080 }] });
    let template = json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [container] } });
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    let rules = json!([{ "host": "shop.example.com", "http": { "paths": [path] } }]);
    let service = json!({ "selector": { "app": "a" }, "ports": [{ "port": 80, "targetPort": "http" }] });
    [
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"), "spec": { "template": template } }),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": meta("web"), "spec": service }),
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta("shop"), "spec": { "rules": rules } }),
    ]
    .map(Object)
    .to_vec()
}

/// Another state of an object. It keeps most of the old one: what changes everything says little about single links.
fn next_state(old: &Object, make: Maker, dice: &mut Dice) -> Object {
    let mut new = make(dice);
    blend(&old.0, &mut new.0, dice);
    for field in ["kind", "apiVersion"] {
        new.0[field] = old.0[field].clone();
    }
    for field in ["name", "namespace"] {
        new.0["metadata"][field] = old.0["metadata"][field].clone();
    }
    new.0["metadata"] = without_nulls(new.0["metadata"].take());
    Object(without_nulls(new.0))
}

/// A Deployment that was patched once, and what a later apply makes of it: often a second handler beside our sleep.
fn applied_again(dice: &mut Dice) -> (Object, Object) {
    let (mut old, mut new) = two_deployments(dice);
    let template = &mut old.0["spec"]["template"];
    template["metadata"] = json!({ "labels": labels(dice) });
    if dice.chance(80) {
        template["metadata"]["annotations"] = json!({ "no502.dev/injected": MARKERS[0] });
    }
    template["spec"]["containers"][0]["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": 10 } } });
    template["spec"]["terminationGracePeriodSeconds"] = json!(40);
    if dice.chance(70) {
        new = old.clone();
        let hook = json!({ "sleep": { "seconds": 10 }, "exec": exec(dice) });
        new.0["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"] = hook;
    }
    (old, new)
}

fn two_deployments(dice: &mut Dice) -> (Object, Object) {
    let named = |mut object: Object| {
        object.0["kind"] = json!("Deployment");
        object.0["metadata"] = json!({ "name": "web", "namespace": "shop" });
        object
    };
    (named(workload(dice)), named(workload(dice)))
}

/// Takes over most members of `old`.
fn blend(old: &Value, new: &mut Value, dice: &mut Dice) {
    let (Value::Object(from), Value::Object(to)) = (old, &mut *new) else {
        if let (Value::Array(from), Value::Array(to)) = (old, &mut *new)
            && from.len() == to.len()
        {
            from.iter().zip(to).for_each(|(from, to)| blend(from, to, dice));
        } else if !dice.chance(20) {
            new.clone_from(old);
        }
        return;
    };
    for (name, value) in from {
        match to.get_mut(name) {
            Some(member) => blend(value, member, dice),
            None if !dice.chance(25) => drop(to.insert(name.clone(), value.clone())),
            None => {}
        }
    }
}

fn namespace_name(dice: &mut Dice) -> &'static str {
    if dice.chance(8) { "other" } else { "shop" }
}

fn object_name(dice: &mut Dice) -> &'static str {
    dice.pick(&["web", "api"])
}

fn port_name(dice: &mut Dice) -> Value {
    json!(dice.pick(&["http", "web"]))
}

fn port_number(dice: &mut Dice) -> Value {
    json!(dice.pick(&[80, 81, 8080]))
}

fn protocol(dice: &mut Dice) -> Value {
    dice.maybe(30, |dice| json!(dice.pick(&["UDP", "TCP", "UDP"])))
}

fn labels(dice: &mut Dice) -> Value {
    let mut labels = Map::new();
    for (key, percent) in [("app", 85), ("tier", 30), ("statefulset.kubernetes.io/pod-name", 5)] {
        if dice.chance(percent) {
            labels.insert(key.to_owned(), json!(dice.pick(&["a", "b"])));
        }
    }
    labels.into()
}

/// Metadata of a top-level object.
fn metadata(dice: &mut Dice, name: &str) -> Value {
    let mut metadata = json!({ "name": name, "namespace": namespace_name(dice) });
    if dice.chance(25) {
        metadata["annotations"] = json!({ "meta.helm.sh/release-name": dice.pick(&["a", "b"]) });
    }
    if dice.chance(3) {
        metadata["deletionTimestamp"] = json!("2026-11-20T11:00:00Z");
    }
    if dice.chance(5) {
        let is_controller = dice.chance(70);
        metadata["ownerReferences"] =
            json!([{ "apiVersion": "example.com/v1", "kind": "App", "name": "a", "controller": is_controller }]);
    }
    metadata
}

/// The owner reference of a controller; none for the first choice.
fn controlled_by(metadata: &mut Value, owner: &str) {
    if let [version, kind, name] = owner.split(' ').collect::<Vec<_>>().as_slice() {
        metadata["ownerReferences"] =
            json!([{ "apiVersion": version, "kind": kind, "name": name, "controller": true }]);
    }
}

fn namespace(dice: &mut Dice) -> Object {
    let mut metadata = json!({ "name": namespace_name(dice) });
    if dice.chance(30) {
        let until = dice.pick(&["2026-11-20T13:00:00Z", "2020-01-01T00:00:00Z", "soon"]);
        metadata["annotations"] = json!({ "no502.dev/break-glass-until": until });
    }
    if dice.chance(20) {
        metadata["deletionTimestamp"] = json!("2026-11-20T11:00:00Z");
    }
    Object(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
}

fn node(dice: &mut Dice) -> Object {
    let version = dice.pick(&["v1.36.1", "v1.30.4-gke.1", "v1.28.9+k3s1", "vk-azure-aci-1.4"]);
    let metadata = json!({ "name": dice.pick(&["node-0", "node-1"]) });
    let status = json!({ "nodeInfo": { "kubeletVersion": version } });
    Object(json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status }))
}

fn service(dice: &mut Dice) -> Object {
    let name = object_name(dice);
    let metadata = metadata(dice, name);
    let mut ports = Vec::new();
    for _ in 0..dice.below(3) {
        let target = match dice.below(4) {
            0 => Value::Null,
            1 => port_number(dice),
            _ => port_name(dice),
        };
        ports.push(without_nulls(json!({
            "name": dice.maybe(50, port_name),
            "port": port_number(dice),
            "targetPort": target,
            "protocol": protocol(dice),
        })));
    }
    let spec = without_nulls(json!({
        "selector": if dice.chance(8) { Value::Null } else { labels(dice) },
        "ports": ports,
        "type": dice.maybe(12, |dice| json!(dice.pick(&["ExternalName", "ClusterIP"]))),
    }));
    Object(json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec }))
}

fn backend(dice: &mut Dice) -> Value {
    if dice.chance(6) {
        return json!({ "resource": { "kind": "Bucket", "name": "a" } });
    }
    let port = match dice.below(6) {
        0..3 => json!({ "number": port_number(dice) }),
        3..5 => json!({ "name": port_name(dice) }),
        _ => json!({}),
    };
    json!({ "service": { "name": object_name(dice), "port": port } })
}

fn ingress(dice: &mut Dice) -> Object {
    let metadata = metadata(dice, "shop");
    let paths: Vec<Value> = (0..dice.below(4))
        .map(|_| json!({ "path": dice.pick(&["/", "/api"]), "pathType": "Prefix", "backend": backend(dice) }))
        .collect();
    let spec = without_nulls(json!({
        "ingressClassName": dice.maybe(60, |dice| json!(dice.pick(&["nginx", "traefik"]))),
        "defaultBackend": dice.maybe(20, backend),
        "rules": [{ "host": "shop.example.com", "http": { "paths": paths } }],
    }));
    Object(json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec }))
}

fn exec(dice: &mut Dice) -> Value {
    dice.pick(&[json!({ "command": ["true"] }), json!({ "command": ["sh", "-c", "sleep 20; kill 1"] })])
}

fn lifecycle(dice: &mut Dice) -> Value {
    let seconds = |dice: &mut Dice| json!({ "seconds": dice.pick(&[10, 0, 5, 10, 25, 700, i64::MAX]) });
    match dice.below(14) {
        8 => json!({ "preStop": null }),
        9 => json!({ "postStart": { "exec": exec(dice) }, "future": 1 }),
        10 => json!({ "preStop": { "exec": exec(dice) }, "stopSignal": "SIGQUIT" }),
        11 | 12 => json!({ "preStop": { "sleep": seconds(dice) } }),
        13 => json!({ "preStop": { "sleep": seconds(dice), "exec": exec(dice) } }),
        _ => Value::Null,
    }
}

fn probe(dice: &mut Dice) -> Value {
    dice.maybe(25, |dice| {
        let port = if dice.chance(30) { port_number(dice) } else { port_name(dice) };
        json!({ "httpGet": { "path": "/", "port": port } })
    })
}

fn container(dice: &mut Dice, name: &str) -> Value {
    let ports: Vec<Value> = (0..dice.below(3))
        .map(|_| {
            let name = if dice.chance(25) { Value::Null } else { port_name(dice) };
            without_nulls(json!({ "name": name, "containerPort": port_number(dice), "protocol": protocol(dice) }))
        })
        .collect();
    without_nulls(json!({
        "name": name,
        "image": dice.pick(&["a", "b"]),
        "ports": ports,
        "readinessProbe": probe(dice),
        "livenessProbe": probe(dice),
        "lifecycle": lifecycle(dice),
        "future": { "deep": [1.5, null, name] },
    }))
}

/// One or two containers, and now and then an init container or a native sidecar.
pub(crate) fn containers(dice: &mut Dice, container: fn(&mut Dice, &str) -> Value) -> (Vec<Value>, Value) {
    let mut containers = vec![container(dice, "web")];
    if dice.chance(40) {
        containers.push(container(dice, "php"));
    }
    let init = dice.maybe(20, |dice| {
        let mut init = container(dice, "init");
        if dice.chance(50) {
            init["restartPolicy"] = json!("Always");
        }
        json!([init])
    });
    (containers, init)
}

fn pod_spec(dice: &mut Dice) -> Value {
    let (containers, init) = containers(dice, container);
    without_nulls(json!({
        "containers": containers,
        "initContainers": init,
        "terminationGracePeriodSeconds": dice.maybe(60, |dice| json!(dice.pick(&[30, 0, 1, 2, 40, 55, 900]))),
        "dnsPolicy": "Default",
    }))
}

const MARKERS: [&str; 5] = [
    r#"{"containers":{"web":{"preStop":10}},"grace":40}"#,
    r#"{"containers":{"web":{"preStop":5},"php":{"preStop":10}},"grace":55,"future":1}"#,
    r#"{"containers":[]}"#,
    "{",
    "",
];

fn template(dice: &mut Dice) -> Value {
    let annotations = match dice.below(8) {
        6 => json!({ "a/b~c": "d" }),
        7 => json!({ "no502.dev/injected": dice.pick(&MARKERS), "a": "b" }),
        _ => Value::Null,
    };
    let metadata = without_nulls(json!({ "labels": labels(dice), "annotations": annotations }));
    let metadata = if dice.chance(5) { Value::Null } else { metadata };
    without_nulls(json!({ "metadata": metadata, "spec": pod_spec(dice) }))
}

/// A Deployment, StatefulSet, DaemonSet or ReplicaSet.
pub(crate) fn workload(dice: &mut Dice) -> Object {
    let kind = dice.pick(&["Deployment", "Deployment", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"]);
    let name = object_name(dice);
    let mut metadata = metadata(dice, name);
    if kind == "ReplicaSet" {
        controlled_by(
            &mut metadata,
            dice.pick(&["none", "apps/v1 Deployment web", "argoproj.io/v1alpha1 Rollout web"]),
        );
    }
    let spec = without_nulls(json!({
        "replicas": dice.maybe(50, |dice| json!(dice.below(3))),
        "strategy": dice.maybe(10, |_| json!({ "type": "Recreate" })),
        "template": template(dice),
    }));
    Object(json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec }))
}

/// Two states of the Deployment `web`.
pub(crate) fn deployments(dice: &mut Dice) -> (Object, Object) {
    if dice.chance(50) { applied_again(dice) } else { two_deployments(dice) }
}

/// A Pod: bare, of a Deployment, of a StatefulSet or of an operator; some have ended.
fn pod(dice: &mut Dice) -> Object {
    let name = dice.pick(&["web-0", "web-1", "api-0", "web"]);
    let mut metadata = metadata(dice, name);
    metadata["labels"] = labels(dice);
    let owner = dice.pick(&[
        "none",
        "apps/v1 ReplicaSet web-x1",
        "apps/v1 ReplicaSet api-x1",
        "apps/v1 StatefulSet web",
        "db.example.com/v1 Db api",
    ]);
    if owner != "none" {
        controlled_by(&mut metadata, owner);
        metadata["labels"]["pod-template-hash"] = json!("x1");
    }
    let status = json!({ "phase": if dice.chance(12) { "Succeeded" } else { "Running" } });
    let spec = pod_spec(dice);
    Object(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status }))
}

/// Any JSON, with the names of real fields among its keys.
pub(crate) fn any_json(dice: &mut Dice, depth: usize) -> Value {
    const KEYS: [&str; 24] = [
        "apiVersion",
        "kind",
        "metadata",
        "name",
        "namespace",
        "labels",
        "annotations",
        "ownerReferences",
        "spec",
        "template",
        "jobTemplate",
        "selector",
        "ports",
        "port",
        "targetPort",
        "containers",
        "initContainers",
        "lifecycle",
        "preStop",
        "sleep",
        "seconds",
        "rules",
        "http",
        "paths",
    ];
    const TEXTS: [&str; 10] =
        ["", "a", "Deployment", "Service", "Ingress", "apps/v1", "v1", "http", "\u{0}\n\u{202e}", "Always"];
    match dice.below(if depth == 0 { 7 } else { 12 }) {
        0 => Value::Null,
        1 => json!(dice.chance(50)),
        2 => json!(i64::from(dice.byte()) - 128),
        3 => json!(dice.pick(&[i64::MIN, i64::MAX, 0])),
        4 => json!(dice.pick(&[1.5, -0.0, 1e300])),
        5 => json!(u64::MAX),
        6 => json!(dice.pick(&TEXTS)),
        7 | 8 => (0..dice.below(4)).map(|_| any_json(dice, depth - 1)).collect::<Vec<_>>().into(),
        _ => {
            let members = (0..dice.below(5)).map(|_| (dice.pick(&KEYS).to_owned(), any_json(dice, depth - 1)));
            members.collect::<Map<_, _>>().into()
        }
    }
}

/// A real object of which one value, somewhere, is any JSON.
pub(crate) fn bent_object(dice: &mut Dice) -> Object {
    let mut object = object(dice);
    let mut pointers = Vec::new();
    list_pointers(&object.0, String::new(), &mut pointers);
    let place = dice.below(256) * 256 + dice.below(256);
    let pointer = pointers[place % pointers.len()].clone();
    *object.0.pointer_mut(&pointer).unwrap() = any_json(dice, 4);
    object
}

fn list_pointers(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, it)| (key.replace('~', "~0").replace('/', "~1"), it)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, it)| (index.to_string(), it)).collect(),
        _ => Vec::new(),
    };
    for (token, member) in members {
        list_pointers(member, format!("{pointer}/{token}"), pointers);
    }
    pointers.push(pointer);
}

/// The members that are there.
pub(crate) fn without_nulls(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, member| !member.is_null());
    }
    value
}
