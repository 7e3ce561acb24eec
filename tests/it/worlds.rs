//! Random clusters and writes for the properties: few names, labels and ports, so that links form, break and miss each other.

use std::fmt;

use no502::snapshot::Resource;
use proptest::{
    collection::vec,
    option::{of, weighted},
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Map, Value, json};

/// An object that prints as JSON when a property fails.
#[derive(Clone, PartialEq)]
pub(crate) struct Object(pub(crate) Value);

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\n  {}", self.0)
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

/// One object for each key, the last one.
pub(crate) fn distinct(objects: Vec<Object>) -> Vec<Object> {
    let mut distinct: Vec<Object> = Vec::new();
    for object in objects {
        distinct.retain(|it| key(&it.0) != key(&object.0));
        distinct.push(object);
    }
    distinct
}

/// A cluster of up to fourteen objects.
pub(crate) fn cluster() -> BoxedStrategy<Vec<Object>> {
    vec(object(), 0..14).prop_map(distinct).boxed()
}

/// Any object of the kinds that a snapshot is made of.
pub(crate) fn object() -> BoxedStrategy<Object> {
    prop_oneof![
        5 => service(),
        4 => ingress(),
        6 => workload(),
        2 => pod(),
        1 => namespace(),
    ]
    .boxed()
}

/// Two states of one object.
pub(crate) fn update() -> BoxedStrategy<(Object, Object)> {
    prop_oneof![8 => blended(), 1 => hooked(), 1 => renamed()].boxed()
}

/// The new state keeps a random part of the old one: what changes everything says little about single links.
fn blended() -> BoxedStrategy<(Object, Object)> {
    let pair = prop_oneof![
        (service(), service()),
        (ingress(), ingress()),
        (workload(), workload()),
        (pod(), pod()),
        (namespace(), namespace())
    ];
    (pair, any::<u64>())
        .prop_map(|((old, new), keep)| {
            let mut written = new.0;
            let mut bits = keep;
            blend(&old.0, &mut written, &mut bits);
            for field in ["kind", "apiVersion"] {
                written[field] = old.0[field].clone();
            }
            // No write of a user changes who made an object.
            for field in ["name", "namespace", "ownerReferences"] {
                written["metadata"][field] = old.0["metadata"][field].clone();
            }
            written["metadata"] = without_nulls(written["metadata"].take());
            (old, Object(written))
        })
        .boxed()
}

/// A hook of the user's own beside a sleep that is injected, or that looks like it.
fn hooked() -> BoxedStrategy<(Object, Object)> {
    (workload(), select(&[10, 15][..]))
        .prop_map(|(mut old, seconds)| {
            let template = &mut old.0["spec"]["template"];
            let container = template["spec"]["containers"][0]["name"].as_str().unwrap_or("web").to_owned();
            let marker = json!({ "containers": { container.as_str(): { "preStop": 10 } }, "grace": 40 }).to_string();
            template["metadata"]["annotations"] = json!({ "no502.dev/injected": marker });
            template["spec"]["terminationGracePeriodSeconds"] = json!(40);
            template["spec"]["containers"][0]["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": seconds } } });
            let mut new = old.clone();
            new.0["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"] =
                json!({ "command": ["drain"] });
            (old, new)
        })
        .boxed()
}

/// A workload of which every port has a new name.
fn renamed() -> BoxedStrategy<(Object, Object)> {
    (workload(), port_name())
        .prop_map(|(old, name)| {
            let mut new = old.clone();
            let containers = new.0["spec"]["template"]["spec"]["containers"].as_array_mut();
            for container in containers.into_iter().flatten() {
                for port in container["ports"].as_array_mut().into_iter().flatten() {
                    port["name"] = json!(name);
                }
            }
            (old, new)
        })
        .boxed()
}

/// Takes over members of `old`, by the bits.
fn blend(old: &Value, new: &mut Value, bits: &mut u64) {
    let mut next = || {
        *bits = bits.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        *bits >> 62
    };
    let (Value::Object(from), Value::Object(to)) = (old, &mut *new) else {
        if next() != 0 {
            new.clone_from(old);
        }
        return;
    };
    for (name, value) in from {
        match to.get_mut(name) {
            Some(member) => blend(value, member, bits),
            None if bits.count_ones().is_multiple_of(2) => drop(to.insert(name.clone(), value.clone())),
            None => {}
        }
    }
}

fn namespace_name() -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => Just("shop"), 1 => Just("other")]
}

fn object_name() -> impl Strategy<Value = &'static str> {
    select(&["web", "api"][..])
}

fn port_name() -> impl Strategy<Value = &'static str> {
    select(&["http", "web"][..])
}

fn port_number() -> impl Strategy<Value = u16> {
    select(&[80, 81, 8080][..])
}

fn protocol() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![6 => Just(None), 1 => Just(Some("TCP")), 2 => Just(Some("UDP"))]
}

fn labels() -> impl Strategy<Value = Value> {
    let value = || select(&["a", "b"][..]);
    (weighted(0.8, value()), weighted(0.3, value()), weighted(0.05, value())).prop_map(|(app, tier, run_time)| {
        let pairs = [("app", app), ("tier", tier), ("statefulset.kubernetes.io/pod-name", run_time)];
        pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?)))).collect::<Map<_, _>>().into()
    })
}

/// Metadata of a top-level object.
fn metadata(name: impl Strategy<Value = &'static str> + 'static) -> BoxedStrategy<Value> {
    let owner = prop_oneof![
        8 => Just(None),
        1 => Just(Some(json!({"meta.helm.sh/release-name": "a"}))),
        1 => Just(Some(json!({"meta.helm.sh/release-name": "b"}))),
    ];
    (name, namespace_name(), owner, weighted(0.03, Just("2026-11-20T11:00:00Z")), weighted(0.05, any::<bool>())).prop_map(
        |(name, namespace, annotations, deleting, controller)| {
            let mut metadata = json!({ "name": name, "namespace": namespace });
            if let Some(annotations) = annotations {
                metadata["annotations"] = annotations;
            }
            if let Some(deleting) = deleting {
                metadata["deletionTimestamp"] = json!(deleting);
            }
            if let Some(is_controller) = controller {
                metadata["ownerReferences"] =
                    json!([{ "apiVersion": "example.com/v1", "kind": "App", "name": "a", "controller": is_controller }]);
            }
            metadata
        },
    )
    .boxed()
}

fn namespace() -> BoxedStrategy<Object> {
    let until = weighted(0.3, select(&["2026-11-20T13:00:00Z", "2020-01-01T00:00:00Z", "soon"][..]));
    (namespace_name(), until, weighted(0.2, Just("2026-11-20T11:00:00Z")))
        .prop_map(|(name, until, deleting)| {
            let mut metadata = json!({ "name": name });
            if let Some(until) = until {
                metadata["annotations"] = json!({ "no502.dev/break-glass-until": until });
            }
            if let Some(deleting) = deleting {
                metadata["deletionTimestamp"] = json!(deleting);
            }
            Object(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
        })
        .boxed()
}

/// A Service.
pub(crate) fn service() -> BoxedStrategy<Object> {
    let target = prop_oneof![2 => Just(Value::Null), 2 => port_number().prop_map(Value::from), 4 => port_name().prop_map(Value::from)];
    let port = (of(port_name()), port_number(), target, protocol());
    let selector = prop_oneof![1 => Just(Value::Null), 9 => labels()];
    let kind = prop_oneof![12 => Just(Value::Null), 1 => Just(json!("ExternalName")), 1 => Just(json!("ClusterIP"))];
    (metadata(object_name()), selector, vec(port, 0..3), kind)
        .prop_map(|(metadata, selector, ports, kind)| {
            let ports: Vec<Value> = ports
            .into_iter()
            .map(|(name, port, target, protocol)| {
                json!({ "name": name, "port": port, "targetPort": target, "protocol": protocol })
            })
            .collect();
            let spec = json!({ "selector": selector, "ports": ports, "type": kind });
            Object(json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": without_nulls(spec) }))
        })
        .boxed()
}

/// An Ingress.
pub(crate) fn ingress() -> BoxedStrategy<Object> {
    let port = prop_oneof![
        1 => Just(json!({})),
        3 => port_number().prop_map(|it| json!({ "number": it })),
        2 => port_name().prop_map(|it| json!({ "name": it })),
    ];
    let backend = (object_name(), port).prop_map(|(name, port)| json!({ "service": { "name": name, "port": port } }));
    let backend =
        prop_oneof![1 => Just(json!({ "resource": { "kind": "Bucket", "name": "a" } })), 12 => backend].boxed();
    let path = (select(&["/", "/api"][..]), backend.clone());
    let class = of(select(&["nginx", "traefik"][..]));
    (metadata(Just("shop")), vec(path, 0..4), weighted(0.2, backend), class)
        .prop_map(|(metadata, paths, default_backend, class)| {
            let paths: Vec<Value> = paths
                .into_iter()
                .map(|(path, backend)| json!({ "path": path, "pathType": "Prefix", "backend": backend }))
                .collect();
            let rules = json!([{ "host": "shop.example.com", "http": { "paths": paths } }]);
            let spec = json!({ "ingressClassName": class, "defaultBackend": default_backend, "rules": rules });
            let spec = without_nulls(spec);
            Object(
                json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec }),
            )
        })
        .boxed()
}

fn container_port() -> impl Strategy<Value = Value> {
    (weighted(0.7, port_name()), port_number(), protocol()).prop_map(|(name, port, protocol)| {
        without_nulls(json!({ "name": name, "containerPort": port, "protocol": protocol }))
    })
}

fn lifecycle() -> BoxedStrategy<Value> {
    let seconds = select(&[0_i64, 5, 10, 10, 25, 700, i64::MAX][..]);
    let exec = || json!({ "command": ["sh", "-c", "sleep 20; kill 1"] });
    prop_oneof![
        8 => Just(Value::Null),
        1 => Just(json!({ "preStop": null })),
        1 => Just(json!({ "postStart": { "exec": exec() }, "future": 1 })),
        1 => Just(json!({ "preStop": { "exec": { "command": ["true"] } } })),
        1 => Just(json!({ "preStop": { "exec": exec() }, "stopSignal": "SIGQUIT" })),
        2 => seconds.clone().prop_map(|it| json!({ "preStop": { "sleep": { "seconds": it } } })),
        2 => seconds.prop_map(move |it| json!({ "preStop": { "sleep": { "seconds": it }, "exec": exec() } })),
    ]
    .boxed()
}

fn container(name: &'static str) -> BoxedStrategy<Value> {
    let port = prop_oneof![2 => port_name().prop_map(Value::from), 1 => port_number().prop_map(Value::from)];
    let probe = weighted(0.25, port.prop_map(|port| json!({ "httpGet": { "path": "/", "port": port } })));
    (vec(container_port(), 0..3), probe.clone(), probe, lifecycle(), any::<bool>())
        .prop_map(move |(ports, readiness, liveness, lifecycle, is_long)| {
            let image = if is_long { "a" } else { "b" };
            let mut container = without_nulls(json!({
                "name": name,
                "image": image,
                "ports": ports,
                "readinessProbe": readiness,
                "livenessProbe": liveness,
                "lifecycle": lifecycle,
            }));
            container["future"] = json!({ "deep": [1.5, null, name] });
            container
        })
        .boxed()
}

fn pod_spec() -> BoxedStrategy<Value> {
    let grace = prop_oneof![4 => Just(Value::Null), 5 => select(&[0, 1, 2, 30, 40, 55, 900][..]).prop_map(Value::from)];
    let init = (container("init"), any::<bool>()).prop_map(|(mut container, is_sidecar)| {
        if is_sidecar {
            container["restartPolicy"] = json!("Always");
        }
        container
    });
    let second = weighted(0.4, container("php"));
    (container("web"), second, weighted(0.2, init), grace)
        .prop_map(|(first, second, init, grace)| {
            let containers: Vec<Value> = [Some(first), second].into_iter().flatten().collect();
            let init = init.map(|it| json!([it]));
            without_nulls(json!({
                "containers": containers,
                "initContainers": init,
                "terminationGracePeriodSeconds": grace,
                "dnsPolicy": "Default",
            }))
        })
        .boxed()
}

fn template() -> BoxedStrategy<Value> {
    let marker = select(
        &[
            r#"{"containers":{"web":{"preStop":10}},"grace":40}"#,
            r#"{"containers":{"web":{"preStop":5},"php":{"preStop":10}},"grace":55,"future":1}"#,
            r#"{"containers":[]}"#,
            "{",
            "",
        ][..],
    );
    let annotations = prop_oneof![
        4 => Just(Value::Null),
        1 => Just(json!({ "a/b~c": "d" })),
        3 => marker.prop_map(|it| json!({ "no502.dev/injected": it, "a": "b" })),
    ];
    (labels(), annotations, pod_spec(), weighted(0.95, Just(())))
        .prop_map(|(labels, annotations, spec, has_metadata)| {
            let metadata =
                has_metadata.map(|()| without_nulls(json!({ "labels": labels, "annotations": annotations })));
            without_nulls(json!({ "metadata": metadata, "spec": spec }))
        })
        .boxed()
}

/// A Deployment, StatefulSet, DaemonSet or ReplicaSet.
pub(crate) fn workload() -> BoxedStrategy<Object> {
    let kind =
        prop_oneof![6 => Just("Deployment"), 2 => Just("StatefulSet"), 1 => Just("DaemonSet"), 2 => Just("ReplicaSet")];
    let owner = select(&["none", "apps/v1 Deployment web", "argoproj.io/v1alpha1 Rollout web"][..]);
    (kind, metadata(object_name()), template(), of(0_u8..3), weighted(0.1, Just("Recreate")), owner)
        .prop_map(|(kind, mut metadata, template, replicas, strategy, owner)| {
            if let ("ReplicaSet", [version, kind, name]) = (kind, owner.split(' ').collect::<Vec<_>>().as_slice()) {
                metadata["ownerReferences"] =
                    json!([{ "apiVersion": version, "kind": kind, "name": name, "controller": true }]);
            }
            let strategy = strategy.map(|it| json!({ "type": it }));
            let spec = without_nulls(json!({ "replicas": replicas, "strategy": strategy, "template": template }));
            Object(json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec }))
        })
        .boxed()
}

/// A Pod: bare, of a Deployment, of a StatefulSet or of an operator; some have ended.
pub(crate) fn pod() -> BoxedStrategy<Object> {
    let owner = select(
        &[
            "none",
            "apps/v1 ReplicaSet web-x1",
            "apps/v1 ReplicaSet api-x1",
            "apps/v1 StatefulSet web",
            "db.example.com/v1 Db api",
        ][..],
    );
    let name = select(&["web-0", "web-1", "api-0", "web"][..]);
    let phase = prop_oneof![6 => Just("Running"), 1 => Just("Succeeded")];
    (metadata(name), labels(), pod_spec(), owner, phase)
        .prop_map(|(mut metadata, labels, spec, owner, phase)| {
            metadata["labels"] = labels;
            if let [version, kind, name] = owner.split(' ').collect::<Vec<_>>().as_slice() {
                metadata["ownerReferences"] =
                    json!([{ "apiVersion": version, "kind": kind, "name": name, "controller": true }]);
                metadata["labels"]["pod-template-hash"] = json!("x1");
            }
            let status = json!({ "phase": phase });
            Object(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status }))
        })
        .boxed()
}

/// Any JSON, with the names of real fields among its keys.
pub(crate) fn any_json() -> BoxedStrategy<Value> {
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
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(u64::MAX)),
        select(
            &["", "a", "Deployment", "Service", "Ingress", "apps/v1", "v1", "http", "\u{0}\n\u{202e}", "Always"][..]
        )
        .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((select(&KEYS[..]), inner), 0..5).prop_map(|it| it
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
    .boxed()
}

/// A real object of which one value, somewhere, is any JSON.
pub(crate) fn bent_object() -> BoxedStrategy<Object> {
    (object(), any_json(), any::<Index>())
        .prop_map(|(mut object, garbage, place)| {
            let mut pointers = Vec::new();
            list_pointers(&object.0, String::new(), &mut pointers);
            let pointer = pointers[place.index(pointers.len())].clone();
            *object.0.pointer_mut(&pointer).unwrap() = garbage;
            object
        })
        .boxed()
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
fn without_nulls(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, member| !member.is_null());
    }
    value
}
