//! `no502 policy explain` against an API server in memory.

use std::{collections::BTreeMap, convert::Infallible, fs, process::Command, sync::Arc};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::program::Outcome;

/// Paths and what is answered there; everything else is not found.
type Answers = BTreeMap<&'static str, (u16, Value)>;

struct Rig {
    folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

fn status(code: u16, message: &str) -> (u16, Value) {
    (code, json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code }))
}

fn list(items: &[Value]) -> (u16, Value) {
    // Items of a real list have neither apiVersion nor kind.
    (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }))
}

const CLUSTER_POLICIES: &str = "/apis/no502.dev/v1alpha1/clusterrolloutpolicies";
const OWN_POLICIES: &str = "/apis/no502.dev/v1alpha1/namespaces/shop/rolloutpolicies";
const NAMESPACE: &str = "/api/v1/namespaces/shop";
const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

fn shop() -> Answers {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": "shop", "labels": { "team": "shop" }, "annotations": { "no502.dev/readiness": "inject" } },
    });
    let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "web" }] } });
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "shop", "labels": { "role": "web" } },
        "spec": { "template": template },
    });
    let cluster = json!({
        "metadata": { "name": "base", "generation": 3 },
        "spec": {
            "namespaceSelector": { "matchLabels": { "team": "shop" } },
            "settings": { "injection": { "preStop": { "preset": "gke-neg" } } },
        },
    });
    let own = json!({
        "metadata": { "name": "own", "namespace": "shop" },
        "spec": { "workloadSelector": { "matchLabels": { "role": "web" } }, "settings": { "profile": "advise" } },
    });
    Answers::from([
        (NAMESPACE, (200, namespace)),
        (CLUSTER_POLICIES, list(&[cluster])),
        (OWN_POLICIES, list(&[own])),
        (WEB, (200, web)),
    ])
}

impl Rig {
    fn new(answers: Answers) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::new(answers)));
        let rig = Self { folder: tempfile::tempdir().unwrap(), _runtime: runtime };
        rig.point_to(&format!("http://{address}"));
        rig
    }

    fn point_to(&self, server: &str) {
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": { "server": server } }],
            "users": [{ "name": "test", "user": {} }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": "shop" } }],
            "current-context": "test",
        });
        fs::write(self.folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    }

    fn explain(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
        command.args(["policy", "explain"]).args(arguments).current_dir(self.folder.path());
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig")).output().unwrap().into()
    }
}

async fn serve(listener: TcpListener, answers: Arc<Answers>) {
    while let Ok((stream, _)) = listener.accept().await {
        let answers = Arc::clone(&answers);
        let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&answers, &request))));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(answers: &Answers, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let known = answers.get(request.uri().path()).cloned();
    // A path of an API that is not there is answered in plain text.
    let (code, body) =
        known.map_or_else(|| (404, "404 page not found\n".to_owned()), |(code, it)| (code, it.to_string()));
    Response::builder().status(code).body(Full::new(Bytes::from(body))).unwrap()
}

#[test]
fn what_is_in_force_is_read_from_the_cluster() {
    let rig = Rig::new(shop());
    let outcome = rig.explain(&[]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    for expected in [
        "Namespace \"shop\"\n",
        "injection.preStop.sleepSeconds          60 (gke-neg)           ClusterRolloutPolicy \"base\"\n",
        "injection.readiness.mode                inject                 annotation of the Namespace\n",
        "name one (KIND/NAME) to see what it changes",
    ] {
        assert!(outcome.out.contains(expected), "{expected}\n{}", outcome.out);
    }
    assert!(!outcome.out.contains("advise"), "{outcome:?}");
    let outcome = rig.explain(&["-n", "shop", "deploy/web", "--format", "json"]);
    let json: Value = serde_json::from_str(&outcome.out).unwrap();
    let profile = json["settings"].as_array().unwrap().iter().find(|it| it["path"] == "profile").unwrap();
    assert_eq!((&profile["value"], &profile["source"]["name"]), (&json!("advise"), &json!("own")));
    assert_eq!(json["notes"], json!([]));
}

#[test]
fn a_cluster_without_the_crds_has_what_is_built_in() {
    let mut answers = shop();
    answers.remove(CLUSTER_POLICIES);
    answers.remove(OWN_POLICIES);
    let outcome = Rig::new(answers).explain(&[]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.out.contains("note: the cluster does not know the policies of no502"), "{outcome:?}");
    assert!(outcome.out.contains("injection.preStop.sleepSeconds 10"), "{outcome:?}");
}

#[test]
fn a_last_good_version_that_cannot_be_shown_is_said() {
    let policy = json!({
        "metadata": { "name": "base", "generation": 3 },
        "spec": { "settings": { "profil": "advise" } },
        "status": { "observedGeneration": 3, "inForceGeneration": 2 },
    });
    let mut answers = shop();
    answers.insert(CLUSTER_POLICIES, list(&[policy]));
    let json: Value = serde_json::from_str(&Rig::new(answers).explain(&["--format", "json"]).out).unwrap();
    let note = "ClusterRolloutPolicy \"base\" is explained as it is, generation 3; in force is the last good one, generation 2";
    assert_eq!(json["notes"], json!([note]));
}

#[test]
fn a_missing_right_is_named_with_the_role_that_has_it() {
    let refused = "clusterrolloutpolicies.no502.dev is forbidden: User \"jane\" cannot list resource";
    let mut answers = shop();
    answers.insert(CLUSTER_POLICIES, status(403, refused));
    let outcome = Rig::new(answers).explain(&[]);
    assert_eq!((outcome.code, outcome.out.as_str()), (3, ""), "{outcome:?}");
    assert_eq!(
        outcome.err,
        format!(
            "no502: you may not list clusterrolloutpolicies.no502.dev there; the ClusterRole no502-policy-reader has that right ({refused})\n"
        )
    );
}

#[test]
fn what_every_viewer_may_read_is_of_the_role_view() {
    for path in [OWN_POLICIES, WEB] {
        let mut answers = shop();
        answers.insert(path, status(403, "no"));
        let outcome = Rig::new(answers).explain(&["deploy/web"]);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.err.contains("; the ClusterRole view has that right (no)"), "{outcome:?}");
    }
}

#[test]
fn what_is_not_there_is_one_line() {
    let rig = Rig::new(shop());
    let mut answers = shop();
    let missing = "/apis/apps/v1/namespaces/shop/deployments/wbe";
    answers.insert(missing, status(404, "deployments.apps \"wbe\" not found"));
    let near = Rig::new(answers.clone()).explain(&["deployment/wbe"]);
    assert_eq!((near.code, near.err.as_str()), (2, "no502: there is no Deployment \"wbe\" in namespace shop\n"));
    // As kubectl asks for names alone.
    let names =
        |names: &[&str]| list(&names.iter().map(|it| json!({ "metadata": { "name": it } })).collect::<Vec<_>>());
    answers.insert("/apis/apps/v1/namespaces/shop/deployments", names(&["api", "web"]));
    answers.insert("/api/v1/namespaces", names(&["shop", "till"]));
    let rig_with_lists = Rig::new(answers);
    for (arguments, expected) in [
        (&["deployment/wbe"][..], "there is no Deployment \"wbe\" in namespace shop; did you mean web?\n"),
        (&["-n", "shopp"], "there is no namespace shopp in the cluster; did you mean shop?\n"),
        (&["--context", "tset"], "the kubeconfig has no context \"tset\"; did you mean test?\n"),
        (&["--context", "prod"], "the kubeconfig has no context \"prod\"; it has test\n"),
        (
            &["--kubeconfig", "kubeconfig", "--context", "prod"],
            "--kubeconfig kubeconfig: it has no context \"prod\"; it has test\n",
        ),
    ] {
        let outcome = rig_with_lists.explain(arguments);
        assert_eq!((outcome.code, outcome.err), (2, format!("no502: {expected}")), "{arguments:?}");
    }
    let outcome = rig.explain(&["-n", "shopp"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (2, "no502: there is no namespace shopp in the cluster\n"));
    let outcome = rig.explain(&["deploymnet/web"]);
    assert!(outcome.err.ends_with("; did you mean deployment?\n"), "{outcome:?}");
    let outcome = rig.explain(&["knativeservice/web"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.err.contains("\"knativeservice\": use one of Deployment, "), "{outcome:?}");
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    rig.point_to(&format!("http://127.0.0.1:{port}"));
    let outcome = rig.explain(&[]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.err.contains("cannot be reached: ") && outcome.err.lines().count() == 1, "{outcome:?}");
}
