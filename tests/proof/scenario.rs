//! The rows of the table: what is done to the shop while requests come in. Nothing here knows whether no502 is there, but
//! for what has to be undone where nobody refused it.

use std::{thread, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    cluster::wait::{self, Look},
    outcome::{Row, Run},
    rollout,
    stage::{Play, Props},
};

/// Whether no502 is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Without,
    With,
}

/// A row, and how it is played.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) note: Option<&'static str>,
    /// Whether no request may fail with no502.
    pub(crate) is_promise: bool,
    /// How often it is played on each side.
    pub(crate) runs: usize,
    pub(crate) props: Props,
    pub(crate) act: fn(&mut Play<'_>, Side) -> anyhow::Result<()>,
}

impl Scenario {
    /// The row with its runs.
    pub(crate) fn row(&self, without: Vec<Run>, with: Vec<Run>) -> Row {
        Row { id: self.id, title: self.title, note: self.note, without, with, is_promise: self.is_promise }
    }
}

/// How long a fault that nobody refused stays before it is undone.
const OUTAGE_SECONDS: u64 = 5;
/// It says what `OUTAGE_SECONDS` is.
const UNDONE: &str = "A faulty `kubectl apply` that nothing denied was undone 5 s after it took effect; outside of a test, the \
    outage lasts until somebody does that.";
const EVICTION_LIMIT_SECONDS: u64 = 120;

/// Every row but the one about no502 itself, in the order of the table.
pub(crate) fn all() -> Vec<Scenario> {
    let plain = Scenario {
        id: "",
        title: "",
        note: None,
        is_promise: true,
        runs: 1,
        props: Props::default(),
        act: |play, _| restart(play),
    };
    vec![
        Scenario {
            id: "restart",
            title: "`kubectl rollout restart`, no probe, no preStop, the app exits at once",
            runs: 5,
            ..plain.clone()
        },
        Scenario {
            id: "slow-start",
            title: "Rolling restart, pods listen 3 s after they start",
            note: Some(
                "The Namespace has the annotation `no502.dev/readiness: inject`: pods without a readiness probe get one \
                 from no502 that waits until the port listens.",
            ),
            props: Props {
                args: &["--listen-after=3"],
                annotations: &[("no502.dev/readiness", "inject")],
                ..Props::default()
            },
            ..plain.clone()
        },
        Scenario {
            id: "warm-up",
            title: "Rolling restart, pods answer 503 for 3 s, own readiness probe",
            props: Props { args: &["--warm-after=3"], readiness: Some(own_probe), ..Props::default() },
            ..plain.clone()
        },
        Scenario {
            id: "warm-up-tcp",
            title: "Rolling restart, pods answer 503 for 3 s, injected TCP probe",
            note: Some(
                "A TCP probe sees that something listens, not that it answers 503: no502 cannot keep this one, and warns \
                 about it. A probe of your own that asks the application can.",
            ),
            is_promise: false,
            props: Props {
                args: &["--warm-after=3"],
                annotations: &[("no502.dev/readiness", "inject")],
                ..Props::default()
            },
            ..plain.clone()
        },
        Scenario {
            id: "long-requests",
            title: "Rolling restart, requests take 2 s, `terminationGracePeriodSeconds: 5`",
            props: Props { args: &["--work-ms=2000"], grace_seconds: Some(5), rate: Some(25), ..Props::default() },
            ..plain.clone()
        },
        Scenario {
            id: "scale",
            title: "`kubectl scale` from 6 pods to 2",
            props: Props { replicas: Some(6), ..Props::default() },
            act: |play, _| play.roll_out(&["scale", "deployment/shop", "--replicas=2"]),
            ..plain.clone()
        },
        Scenario {
            id: "delete",
            title: "`kubectl delete pod`, one of 4",
            act: |play, _| delete_pod(play),
            ..plain.clone()
        },
        Scenario {
            id: "drain",
            title: "Every pod evicted in turn, as `kubectl drain` does",
            note: Some("A PodDisruptionBudget lets one pod go at a time, each once the last one is replaced."),
            act: |play, _| evict_all(play),
            ..plain.clone()
        },
        Scenario {
            id: "image",
            title: "`kubectl set image`, default `maxUnavailable`",
            act: |play, _| play.roll_out(&["set", "image", "deployment/shop", "shop=no502-shop:2"]),
            ..plain.clone()
        },
        Scenario {
            id: "selector",
            title: "`kubectl apply` with a typo in the Service selector",
            note: Some(UNDONE),
            act: |play, side| {
                apply_fault(play, side, "Service", "/spec/selector/app", &json!("shpo"), "service-selects-nothing")
            },
            ..plain.clone()
        },
        Scenario {
            id: "port-name",
            title: "`kubectl apply` that renames the port a Service names",
            note: Some(UNDONE),
            act: |play, side| {
                let field = "/spec/template/spec/containers/0/ports/0/name";
                apply_fault(play, side, "Deployment", field, &json!("web"), "service-port-unresolved")
            },
            ..plain.clone()
        },
        Scenario {
            id: "ingress-port",
            title: "`kubectl apply` that points the Ingress to a missing port",
            note: Some(UNDONE),
            act: |play, side| {
                let field = "/spec/rules/0/http/paths/0/backend/service/port";
                apply_fault(play, side, "Ingress", field, &json!({"number": 8000}), "ingress-port-missing")
            },
            ..plain
        },
    ]
}

fn own_probe() -> Value {
    json!({"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1})
}

fn restart(play: &mut Play<'_>) -> anyhow::Result<()> {
    play.roll_out(&["rollout", "restart", "deployment/shop"])
}

fn delete_pod(play: &mut Play<'_>) -> anyhow::Result<()> {
    let pods = rollout::pods(play.stage.cluster, &play.stage.namespace)?;
    let name = pods[0]["metadata"]["name"].as_str().context("no pod")?;
    play.mark(format!("kubectl delete pod {name}"));
    play.stage.kubectl(&["delete", "pod", name, "--wait=false"])?;
    play.await_end("replaced")
}

fn evict_all(play: &mut Play<'_>) -> anyhow::Result<()> {
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "shop"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "shop"}}},
    });
    play.stage.apply(&[budget])?.success()?;
    play.mark("drain begins");
    for pod in rollout::pods(play.stage.cluster, &play.stage.namespace)? {
        let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        evict(play, name)?;
    }
    play.await_end("replaced")
}

/// Asks until the budget allows it, as `kubectl drain` does.
fn evict(play: &mut Play<'_>, pod: &str) -> anyhow::Result<()> {
    const TOO_MANY: u16 = 429;
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", play.stage.namespace);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    let api = play.stage.cluster.api()?;
    wait::until(format!("{pod} may be evicted"), Duration::from_secs(EVICTION_LIMIT_SECONDS), || {
        let answer = api.post(&path, &eviction)?;
        if answer.status == TOO_MANY {
            return Ok(Look::NotYet(answer.body["message"].to_string()));
        }
        answer.object()?;
        Ok::<_, anyhow::Error>(Look::Met(()))
    })?;
    play.mark(format!("{pod} evicted"));
    Ok(())
}

/// Applies the manifest of a kind with one field changed. With no502 that must be refused by `rule`; without, it is undone
/// after a while.
fn apply_fault(
    play: &mut Play<'_>,
    side: Side,
    kind: &str,
    field: &str,
    value: &Value,
    rule: &str,
) -> anyhow::Result<()> {
    let good = play.stage.manifest(kind)?;
    let mut bad = good.clone();
    *bad.pointer_mut(field).with_context(|| format!("shop.yaml: {kind} has no {field}"))? = value.clone();
    play.mark(format!("kubectl apply of the {kind}"));
    let output = play.stage.apply(&[bad])?;
    if output.status.success() {
        if side == Side::With {
            play.fault(format!("the {kind} was not refused"));
        }
        play.await_complete()?;
        play.mark("in force");
        thread::sleep(Duration::from_secs(OUTAGE_SECONDS));
        play.mark("undone");
        play.stage.apply(&[good])?.success()?;
        return play.await_end("complete");
    }
    if !output.stderr.contains(&format!("[{rule}]")) {
        play.fault(format!("refused, but not by {rule}"));
    }
    play.message(output.stderr.trim());
    play.mark("refused");
    thread::sleep(Duration::from_secs(OUTAGE_SECONDS));
    Ok(())
}
