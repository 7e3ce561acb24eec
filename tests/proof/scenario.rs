//! The rows of the table: what is done to the shop while requests come in. Nothing here knows whether no502 is there, but
//! for what has to be undone where nobody refused it.

use std::{thread, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::wait::{self, Look},
    outcome::{Row, Run},
    stage::{DISABLED, INJECT, Play, Props, READINESS},
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

/// What `injected` does.
const INJECTED: &str = "Readiness injected: the Namespace has the annotation `no502.dev/readiness: inject`, and pods without a \
    readiness probe get one from no502, which waits until their port listens.";
/// How long a fault that nobody refused stays before it is undone.
const OUTAGE_SECONDS: u64 = 5;
/// It says what `OUTAGE_SECONDS` is.
const UNDONE: &str = "A faulty `kubectl apply` that nothing denied was undone 5 s after it took effect; outside of a test, the \
    outage lasts until somebody does that.";
const EVICTION_LIMIT_SECONDS: u64 = 120;

/// Every row but the one about no502 itself, in the order of the table.
pub(crate) fn all() -> Vec<Scenario> {
    [starts(), ends(), faults()].concat()
}

/// A row whose pods have a readiness probe of their own, so that only what its title says is wrong with them.
fn row(id: &'static str, title: &'static str, act: fn(&mut Play<'_>, Side) -> anyhow::Result<()>) -> Scenario {
    Scenario { id, title, note: None, is_promise: true, runs: 1, props: probed(), act }
}

fn probed() -> Props {
    Props { readiness: Some(own_probe), ..Props::default() }
}

/// Pods that no502 gives a readiness probe.
fn injected(args: &'static [&'static str]) -> Props {
    Props { args, annotations: &[(READINESS, "inject")], ..Props::default() }
}

/// Rolling restarts where it matters how a new pod starts.
fn starts() -> Vec<Scenario> {
    vec![
        Scenario {
            note: Some(INJECTED),
            runs: 5,
            props: injected(&[]),
            ..row(
                "restart",
                "`kubectl rollout restart`, no probe, no preStop, the app exits at once; readiness injected",
                restart,
            )
        },
        Scenario {
            note: Some(
                "Without the annotation nothing is injected but the sleep and the grace period. A new pod without a \
                 readiness probe gets requests as soon as its container runs; this application listens some milliseconds \
                 later. On an idle machine no request comes in between, on a busy one a few do.",
            ),
            runs: 3,
            is_promise: false,
            props: Props::default(),
            ..row("restart-built-in", "The same with built-in settings: no readiness probe is injected", restart)
        },
        Scenario {
            note: Some(INJECTED),
            props: injected(&["--listen-after=3"]),
            ..row(
                "slow-start",
                "Rolling restart, no probe, pods listen 3 s after they start; readiness injected",
                restart,
            )
        },
        Scenario {
            props: Props { args: &["--warm-after=3"], ..probed() },
            ..row("warm-up", "Rolling restart, pods answer 503 for 3 s, own readiness probe", restart)
        },
        Scenario {
            note: Some(
                "A TCP probe sees that something listens, not that it answers 503: here no502 cannot help. A probe of \
                 your own that asks the application does.",
            ),
            is_promise: false,
            props: injected(&["--warm-after=3"]),
            ..row("warm-up-tcp", "Rolling restart, pods answer 503 for 3 s, injected TCP probe", restart)
        },
    ]
}

/// Where it matters how an old pod ends.
fn ends() -> Vec<Scenario> {
    vec![
        Scenario {
            note: Some(
                "What was deployed before no502 came gets its sleep with the first restart. That one still ends pods \
                 that have none.",
            ),
            is_promise: false,
            props: Props { annotations: &[(INJECT, DISABLED)], ..probed() },
            ..row("first-restart", "The first `kubectl rollout restart` after no502 was installed", |play, side| {
                let namespace = &play.stage.namespace;
                play.stage.kubectl(&["annotate", "namespace", namespace, &format!("{INJECT}-")])?;
                if side == Side::With {
                    play.stage.await_known(&[])?;
                }
                restart(play, side)?;
                // The old pods had none; the new ones do.
                play.stage.must_have_sleep(side == Side::With)
            })
        },
        Scenario {
            props: Props { args: &["--work-ms=2000"], grace_seconds: Some(5), rate: Some(25), ..probed() },
            ..row("long-requests", "Rolling restart, requests take 2 s, `terminationGracePeriodSeconds: 5`", restart)
        },
        Scenario {
            props: Props { replicas: Some(6), ..probed() },
            ..row("scale", "`kubectl scale` from 6 pods to 2", |play, _| {
                play.roll_out(&["scale", "deployment/shop", "--replicas=2"])
            })
        },
        row("delete", "`kubectl delete pod`, one of 4", |play, _| delete_pod(play)),
        Scenario {
            note: Some("A PodDisruptionBudget lets one pod go at a time, each once the last one is replaced."),
            ..row("drain", "Every pod evicted in turn, as `kubectl drain` does", |play, _| evict_all(play))
        },
        row("image", "`kubectl set image`, default `maxUnavailable`", |play, _| {
            play.roll_out(&["set", "image", "deployment/shop", "shop=no502-shop:2"])
        }),
    ]
}

/// Writes that break the way to the pods.
fn faults() -> Vec<Scenario> {
    let fault = |id, title, act| Scenario { note: Some(UNDONE), ..row(id, title, act) };
    vec![
        fault("selector", "`kubectl apply` with a typo in the Service selector", |play, side| {
            apply_fault(play, side, "Service", "/spec/selector/app", &json!("shpo"), "service-selects-nothing")
        }),
        fault("port-name", "`kubectl apply` that renames the port a Service names", |play, side| {
            let field = "/spec/template/spec/containers/0/ports/0/name";
            apply_fault(play, side, "Deployment", field, &json!("web"), "service-port-unresolved")
        }),
        fault("ingress-port", "`kubectl apply` that points the Ingress to a missing port", |play, side| {
            let field = "/spec/rules/0/http/paths/0/backend/service/port";
            apply_fault(play, side, "Ingress", field, &json!({"number": 8000}), "ingress-port-missing")
        }),
    ]
}

fn own_probe() -> Value {
    // By number: one row gives the port another name.
    json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1})
}

fn restart(play: &mut Play<'_>, _: Side) -> anyhow::Result<()> {
    play.roll_out(&["rollout", "restart", "deployment/shop"])
}

fn delete_pod(play: &mut Play<'_>) -> anyhow::Result<()> {
    let pods = play.stage.pod_names()?;
    let name = pods.first().context("the shop has no pod")?;
    play.mark(format!("kubectl delete pod {name}"));
    play.stage.kubectl(&["delete", "pod", name, "--wait=false"])?;
    play.await_replaced(&pods[..1])
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
    let pods = play.stage.pod_names()?;
    for pod in &pods {
        evict(play, pod)?;
    }
    play.await_replaced(&pods)
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
    if side == Side::Without {
        ensure!(output.status.success(), "kubectl apply of the {kind}: {}", output.stderr.trim());
    }
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
    if output.stderr.contains(&format!("[{rule}]")) {
        play.message(output.stderr.trim());
    } else {
        play.fault(format!("failed, but not by {rule}: {}", output.stderr.trim()));
    }
    play.mark("refused");
    thread::sleep(Duration::from_secs(OUTAGE_SECONDS));
    Ok(())
}
