//! Arbitrary bytes to both halves: no panic; what is answered is a review with the uid that was asked about; a patch applies to
//! the object, and the patched object wants no other.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz review` (cargo-fuzz; `-- -max_total_time=180` for three minutes).

#![no_main]

#[expect(dead_code, reason = "the benchmark uses more of it")]
#[path = "../../bench/fixture.rs"]
mod fixture;

use std::{fs, path::Path, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use json_patch::Patch;
use libfuzzer_sys::fuzz_target;
use no502::{
    policy::Policies,
    review::{Half, review},
    snapshot::Snapshot,
};
use serde_json::{Value, json};

use fixture::{Change, DEPLOYMENT, INGRESS, POD, SERVICE, World};

const WORLD: World = World { namespaces: 1, has_unique_labels: false };
const OBJECTS: usize = 20;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let mut store = fixture::empty_store();
    POD.load(&mut store, WORLD.pods().take(OBJECTS * fixture::REPLICAS));
    DEPLOYMENT.load(&mut store, WORLD.deployments().take(OBJECTS));
    SERVICE.load(&mut store, WORLD.services().take(OBJECTS));
    INGRESS.load(&mut store, WORLD.ingresses().take(OBJECTS));
    store.snapshot()
});
static POLICIES: LazyLock<Policies> = LazyLock::new(Policies::default);

fuzz_target!(init: write_seeds(), |body: &[u8]| {
    for half in [Half::Validate, Half::Mutate] {
        let Some(response) = answer(half, body) else { continue };
        // A number beyond all bounds, in a place that no502 does not read, is no tree.
        let Ok(asked) = serde_json::from_slice::<Value>(body) else { continue };
        assert_eq!(response["uid"], asked["request"]["uid"], "the uid that was asked about");
        check_patch(half, &response, asked);
    }
});

/// The response of a review, if the bytes are one.
fn answer(half: Half, body: &[u8]) -> Option<Value> {
    let reply = match review(half, body, &SNAPSHOT, &POLICIES, Timestamp::UNIX_EPOCH) {
        Ok(reply) => reply,
        Err(error) => {
            let line = error.to_string();
            assert!(
                !line.contains(char::is_control) && line.chars().count() < 512,
                "an error is one short line: {line}"
            );
            return None;
        }
    };
    let mut answer: Value = serde_json::from_slice(&reply.body).expect("an answer is JSON");
    let response = answer["response"].take();
    assert_eq!(response["allowed"], reply.summary.allowed);
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let text = warning.as_str().expect("a warning is text");
        assert!(!text.contains(char::is_control), "the API server drops {text:?}");
    }
    Some(response)
}

fn check_patch(half: Half, response: &Value, mut asked: Value) {
    assert!(half == Half::Validate || response["allowed"] == true, "the mutating half never denies");
    let Some(patch) = response["patch"].as_str() else { return };
    assert_eq!(half, Half::Mutate, "the validating half never patches");
    let patch = BASE64.decode(patch).expect("a patch is base64");
    let patch: Patch = serde_json::from_slice(&patch).expect("a patch is RFC 6902");
    json_patch::patch(&mut asked["request"]["object"], &patch).expect("a patch applies to its object");
    let again = answer(half, asked.to_string().as_bytes()).expect("a patched object is reviewed like any");
    assert_eq!(again["patch"], Value::Null, "one pass is enough");
}

/// Where libFuzzer looks for examples; it reads them after this.
fn write_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/review");
    fs::create_dir_all(&folder).expect("a folder for seeds");
    for (index, seed) in seeds().into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{index}")), seed).expect("a seed is written");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let template = |port: &str, grace: i64| {
        json!({ "metadata": { "labels": { "app.kubernetes.io/name": "web-1", "app.kubernetes.io/instance": "shop-1" } },
            "spec": { "terminationGracePeriodSeconds": grace, "initContainers": [{ "name": "i", "restartPolicy": "Always" }],
                "containers": [{ "name": "c", "ports": [{ "name": port, "containerPort": 8080 }],
                    "readinessProbe": { "httpGet": { "port": "http" } },
                    "lifecycle": { "preStop": { "exec": { "command": ["sh", "-c", "sleep 5"] } } } },
                    { "name": "d", "lifecycle": {} }] } })
    };
    let object = |api_version: &str, kind: &str, name: &str, spec: Value| json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name, "namespace": "shop-0" }, "spec": spec });
    let deployment = |port: &str, grace: i64| {
        object("apps/v1", "Deployment", "web-1", json!({ "replicas": 2, "template": template(port, grace) }))
    };
    let service = |port: &str| {
        let selector = json!({ "app.kubernetes.io/name": "web-1" });
        object("v1", "Service", "web-1", json!({ "selector": selector, "ports": [{ "port": 80, "targetPort": port }] }))
    };
    let ingress = |port: i64| {
        let backend = json!({ "service": { "name": "web-1", "port": { "number": port } } });
        let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
        object(
            "networking.k8s.io/v1",
            "Ingress",
            "web-1",
            json!({ "rules": [{ "host": "a", "http": { "paths": paths } }] }),
        )
    };
    let cron = json!({ "jobTemplate": { "spec": { "template": template("x", 1) } } });
    let writes = [
        ("CREATE", deployment("http", 30), Value::Null),
        ("UPDATE", deployment("web", 600), deployment("http", 30)),
        ("DELETE", Value::Null, deployment("http", 30)),
        ("CREATE", service("http"), Value::Null),
        ("UPDATE", service("htp"), service("http")),
        ("DELETE", Value::Null, service("http")),
        ("CREATE", ingress(81), Value::Null),
        ("UPDATE", ingress(81), ingress(80)),
        ("CREATE", object("batch/v1", "CronJob", "night", cron), Value::Null),
        (
            "CREATE",
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": template("http", 0)["metadata"],
            "spec": template("http", 0)["spec"] }),
            Value::Null,
        ),
    ];
    let small = writes.map(|(operation, object, old)| {
        let request = json!({ "uid": "u", "operation": operation, "namespace": "shop-0", "object": object, "oldObject": old,
            "userInfo": { "username": "jane", "groups": ["a"] } });
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request }).to_string().into_bytes()
    });
    let large = [Change::Scale, Change::Image].map(|change| fixture::review(WORLD, change, false));
    small.into_iter().chain(large).collect()
}
