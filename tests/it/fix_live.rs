//! `no502 fix --undo --live` against an API server in memory.

use std::{
    convert::Infallible,
    fs,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::program::Outcome;

/// What the server holds, and how it behaves.
#[derive(Debug, Default)]
struct Cluster {
    /// Plural and object.
    objects: Vec<(&'static str, Value)>,
    /// A webhook puts the template back as it was.
    has_webhook: bool,
    /// Every object gets another version between the list and the write.
    is_busy: bool,
    /// The lists are refused.
    is_closed: bool,
    /// What the API server says to a list of Rollouts.
    rollouts_verdict: Option<(u16, &'static str)>,
    /// What the API server says to each write.
    verdict: Option<(u16, &'static str)>,
    writes: usize,
}

#[derive(Clone, Default)]
struct Api(Arc<Mutex<Cluster>>);

impl Api {
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, name: &str) -> Value {
        let cluster = self.lock();
        cluster.objects.iter().find(|(_, it)| it["metadata"]["name"] == name).unwrap().1.clone()
    }
}

type Answer = (u16, Value);

fn status(code: u16, message: &str) -> Answer {
    (code, json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code }))
}

/// `/apis/GROUP/VERSION[/namespaces/NS]/PLURAL[/NAME]`.
async fn answer(api: Api, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path().strip_prefix("/apis/").unwrap_or_default();
    let has_rollouts = api.lock().objects.iter().any(|(plural, _)| *plural == "rollouts");
    let rollouts = path.strip_prefix("argoproj.io/v1alpha1/").filter(|it| has_rollouts && it.contains("rollouts"));
    let refusal = api.lock().rollouts_verdict.filter(|_| path.starts_with("argoproj.io/"));
    let path = path.strip_prefix("apps/v1/").or(rollouts).unwrap_or_default();
    let (code, object) = match (&head.method, path.split('/').collect::<Vec<_>>().as_slice()) {
        (_, [""]) => refusal.map_or_else(|| status(404, "no such path"), |(code, message)| status(code, message)),
        (&Method::GET, [plural]) => list(&api, plural, None),
        (&Method::GET, ["namespaces", namespace, plural]) => list(&api, plural, Some(namespace)),
        (&Method::PATCH, ["namespaces", namespace, plural, name]) => write(&api, namespace, plural, name, &body),
        _ => status(404, "no such path"),
    };
    Ok(Response::builder().status(code).body(Full::new(Bytes::from(object.to_string()))).unwrap())
}

fn list(api: &Api, plural: &str, namespace: Option<&str>) -> Answer {
    let mut cluster = api.lock();
    if cluster.is_closed {
        return status(403, "you may not");
    }
    let is_wanted = |it: &Value| namespace.is_none_or(|namespace| it["metadata"]["namespace"] == namespace);
    let items = cluster.objects.iter().filter(|(kind, it)| *kind == plural && is_wanted(it));
    let items: Vec<Value> = items.map(|(_, it)| it.clone()).collect();
    if cluster.is_busy {
        for (_, object) in &mut cluster.objects {
            object["metadata"]["resourceVersion"] = json!("99");
        }
    }
    (200, json!({ "kind": "List", "apiVersion": "apps/v1", "metadata": {}, "items": items }))
}

fn write(api: &Api, namespace: &str, plural: &str, name: &str, body: &[u8]) -> Answer {
    let mut cluster = api.lock();
    cluster.writes += 1;
    let has_webhook = cluster.has_webhook;
    if let Some((code, message)) = cluster.verdict {
        return status(code, message);
    }
    let operations: json_patch::Patch = serde_json::from_slice(body).unwrap();
    let is_it = |kind: &str, it: &Value| {
        kind == plural && it["metadata"]["name"] == name && it["metadata"]["namespace"] == namespace
    };
    let Some((_, object)) = cluster.objects.iter_mut().find(|(kind, it)| is_it(kind, it)) else {
        return status(404, "not there");
    };
    let mut patched = object.clone();
    if json_patch::patch(&mut patched, &operations).is_err() {
        return status(422, "the server rejected our request due to an error in our request");
    }
    if has_webhook {
        patched["spec"]["template"] = object["spec"]["template"].clone();
    }
    *object = patched.clone();
    (200, patched)
}

async fn serve(listener: TcpListener, api: Api) {
    while let Ok((stream, _)) = listener.accept().await {
        let api = api.clone();
        let service = service_fn(move |request| answer(api.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// A server in the background, and a kubeconfig for it.
struct Rig {
    api: Api,
    folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn new(cluster: Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let api = Api(Arc::new(Mutex::new(cluster)));
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, api.clone()));
        let folder = tempfile::tempdir().unwrap();
        let rig = Self { api, folder, _runtime: runtime };
        rig.point_to(&format!("http://{address}"));
        rig
    }

    fn point_to(&self, server: &str) {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": server } }],
            "users": [{ "name": "test", "user": {} }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": "shop" } }],
        });
        fs::write(self.folder.path().join("config"), config.to_string()).unwrap();
    }

    fn undo(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
        command.args(["fix", "--undo", "--live"]).args(arguments);
        command.env("KUBECONFIG", self.folder.path().join("config")).stdin(Stdio::null());
        command.output().unwrap().into()
    }
}

/// An object with an injected sleep, as the API server has it: defaults are written out.
fn injected(kind: &str, namespace: &str, name: &str) -> Value {
    let marker = r#"{"containers":{"web":{"preStop":10}},"grace":40,"graceBefore":30}"#;
    json!({
        "metadata": { "name": name, "namespace": namespace, "resourceVersion": "7" },
        "spec": { "template": {
            "metadata": { "labels": { "app": name }, "annotations": { "no502.dev/injected": marker, "own": kind } },
            "spec": {
                "terminationGracePeriodSeconds": 40,
                "containers": [{ "name": "web", "lifecycle": { "preStop": { "sleep": { "seconds": 10 } } } }],
            },
        } },
    })
}

fn shop() -> Cluster {
    let mut plain = injected("Deployment", "shop", "plain");
    plain["spec"]["template"]["metadata"] = json!({});
    let objects = vec![
        ("deployments", injected("Deployment", "shop", "web")),
        ("deployments", injected("Deployment", "other", "api")),
        ("deployments", plain),
        ("statefulsets", injected("StatefulSet", "shop", "db")),
        ("daemonsets", injected("DaemonSet", "shop", "log")),
    ];
    Cluster { objects, ..Cluster::default() }
}

#[test]
fn it_lists_and_writes_nothing() {
    let rig = Rig::new(shop());
    let outcome = rig.undo(&[]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(
        outcome.out,
        "shop/Deployment \"web\": would take out preStop sleep 10s of container web, grace 40s -> 30s\n\
         shop/StatefulSet \"db\": would take out preStop sleep 10s of container web, grace 40s -> 30s\n\
         shop/DaemonSet \"log\": would take out preStop sleep 10s of container web, grace 40s -> 30s\n\
         would write 3 objects: one rollout of each; nothing is written without --yes\n"
    );
    assert_eq!(rig.api.lock().writes, 0);
}

#[test]
fn namespaces_and_names_choose() {
    let rig = Rig::new(shop());
    let count = |arguments: &[&str]| rig.undo(arguments).out.matches("would take out").count();
    assert_eq!(count(&["-A"]), 4);
    assert_eq!(count(&["-n", "other"]), 1);
    assert_eq!(count(&["deploy/web", "sts/db"]), 2);
    assert_eq!(rig.undo(&["-n", "empty"]).out, "nothing to take out\n");
    assert_eq!(rig.undo(&["deployment.apps/plain"]).out, "nothing to take out\n");
    let outcome = rig.undo(&["deploy/web", "deploy/wbe"]);
    assert_eq!(outcome.code, 1);
    assert_eq!(outcome.err, "no502: there is no Deployment \"wbe\" in namespace shop\n");
}

#[test]
fn with_yes_each_object_is_written_once() {
    let rig = Rig::new(shop());
    let outcome = rig.undo(&["--yes"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.out.contains("shop/Deployment \"web\": took out preStop sleep 10s"), "{outcome:?}");
    assert!(outcome.out.contains("; a rollout begins\n"), "{outcome:?}");
    assert!(outcome.out.ends_with("took the injections out of 3 objects\n"), "{outcome:?}");
    assert_eq!(rig.api.lock().writes, 3);
    assert_eq!(
        rig.api.object("web")["spec"]["template"],
        json!({
            "metadata": { "labels": { "app": "web" }, "annotations": { "own": "Deployment" } },
            "spec": { "terminationGracePeriodSeconds": 30, "containers": [{ "name": "web" }] },
        })
    );
    assert_eq!(rig.undo(&["--yes"]).out, "nothing to take out\n");
}

#[test]
fn an_object_that_changed_meanwhile_is_not_written() {
    let rig = Rig::new(Cluster { is_busy: true, ..shop() });
    let outcome = rig.undo(&["--yes", "deploy/web"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains("has changed in the meantime; run again"), "{outcome:?}");
    assert_eq!(rig.api.object("web")["spec"], injected("Deployment", "shop", "web")["spec"]);
}

#[test]
fn what_the_api_server_refuses_is_said_in_its_words() {
    for (code, message, expected) in [
        (
            409,
            "the object has been modified",
            "it has changed in the meantime; run again (the object has been modified)",
        ),
        (
            422,
            "Deployment.apps \"web\" is invalid: spec: wrong",
            "not written: Deployment.apps \"web\" is invalid: spec: wrong\n",
        ),
        (403, "you may not patch", "not written: you may not patch\n"),
    ] {
        let rig = Rig::new(Cluster { verdict: Some((code, message)), ..shop() });
        let outcome = rig.undo(&["--yes", "deploy/web"]);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.err.contains(expected), "{outcome:?}");
        assert_eq!(outcome.err.contains("has changed"), code == 409, "{outcome:?}");
    }
}

#[test]
fn rollouts_are_looked_at_where_there_are_any() {
    let mut cluster = shop();
    cluster.objects.push(("rollouts", injected("Rollout", "shop", "canary")));
    let rig = Rig::new(cluster);
    let outcome = rig.undo(&["rollout/canary", "--yes"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.out.contains("shop/Rollout \"canary\": took out preStop sleep 10s"), "{outcome:?}");
    assert!(rig.api.object("canary")["spec"]["template"]["spec"]["containers"][0]["lifecycle"].is_null());
    let outcome = Rig::new(shop()).undo(&["rollout/canary"]);
    assert_eq!(outcome.err, "no502: there is no Rollout \"canary\" in namespace shop\n");
    let rig = Rig::new(Cluster { rollouts_verdict: Some((403, "you may not list rollouts")), ..shop() });
    let outcome = rig.undo(&["--yes"]);
    assert_eq!(outcome.err, "no502: Rollouts are not looked at: you may not list rollouts\n");
    assert!(outcome.out.ends_with("took the injections out of 3 objects\n"), "{outcome:?}");
    assert_eq!(rig.undo(&["rollout/canary"]).code, 3);
}

#[test]
fn a_webhook_that_puts_it_back_is_named() {
    let rig = Rig::new(Cluster { has_webhook: true, ..shop() });
    let outcome = rig.undo(&["--yes", "deploy/web"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains("no502 has put the injections back"), "{outcome:?}");
    assert!(outcome.err.contains("no502.dev/inject=disabled and take no502.dev/inject off"), "{outcome:?}");
    assert!(outcome.out.ends_with("took the injections out of 0 objects\n"), "{outcome:?}");
}

#[test]
fn a_cluster_that_is_not_there_is_exit_code_3() {
    let rig = Rig::new(Cluster { is_closed: true, ..shop() });
    let outcome = rig.undo(&["--yes"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(
        outcome.err.contains("refuses: you may not; --undo --live needs list and patch on deployments"),
        "{outcome:?}"
    );
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    rig.point_to(&format!("http://127.0.0.1:{port}"));
    let outcome = rig.undo(&[]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.err.contains("cannot be reached: ") && outcome.err.lines().count() == 1, "{outcome:?}");
}
