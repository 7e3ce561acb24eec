//! The row about no502 itself: it is restarted while twenty writes a second are admitted. Each write shows by its answer
//! whether it was reviewed: what should be injected is, and what should be refused is refused.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    OWN_ROLLOUT,
    cluster::{ControlPlane, api::Api},
    install,
    outcome::{End, Mark, Path, Request, Row, Run},
    rollout,
    stage::now,
};

const WRITES_A_SECOND: u32 = 20;
const WRITERS: u32 = 4;
/// Of the writes that are due: the writers wait for their answers, and must not be held up.
const SENT_PERCENT_MIN: u64 = 90;
const BEFORE_SECONDS: u64 = 2;
const AFTER_SECONDS: u64 = 3;
const CREATED: u16 = 201;
const FORBIDDEN: u16 = 403;
/// How often the API server let a write pass because no502 could not be asked.
const FAIL_OPEN_METRIC: &str = "apiserver_admission_webhook_fail_open_count";
const WEBHOOK_METRIC: &str = "apiserver_admission_webhook_request_total";

/// The title of the row.
pub(crate) const TITLE: &str = "Rolling restart of no502 itself under 20 writes a second";

/// The row, which has no left side.
pub(crate) fn row(run: Run) -> Row {
    Row {
        id: OWN_ROLLOUT,
        title: TITLE,
        note: Some("A write counts as failed unless its answer shows the injection, or the refusal."),
        without: Vec::new(),
        with: vec![run],
        is_promise: true,
    }
}

/// Restarts no502 under writes, and gives what became of each.
pub(crate) fn play(cluster: &ControlPlane) -> anyhow::Result<Run> {
    const NAMESPACE: &str = "own-rollout";
    cluster.kubectl(&["create", "namespace", NAMESPACE], None)?.success()?;
    let api = cluster.api()?;
    let passed_before = passed_unreviewed(cluster)?;
    let writes = Writes::prepare(&api, NAMESPACE)?;
    let mut run = Run { start: writes.start_ms, ..Run::default() };
    let (requests, faults) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let is_over = AtomicBool::new(false);
    let acted = thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| writes.keep_writing(&is_over, &requests, &faults));
        }
        let acted = restart(cluster, &mut run.marks);
        is_over.store(true, Ordering::Relaxed);
        acted
    });
    acted?;
    run.end = now();
    let mut requests = requests.into_inner().unwrap_or_else(PoisonError::into_inner);
    requests.sort_by_key(|request| request.at);
    let due = (run.end - run.start) * u64::from(WRITES_A_SECOND) / 1000;
    let sent = requests.len() as u64;
    run.paths = vec![Path { name: "writes", requests }];
    run.faults = faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    if sent * 100 < due * SENT_PERCENT_MIN {
        run.faults.push(format!("only {sent} of {due} writes were sent in time"));
    }
    let passed = passed_unreviewed(cluster)? - passed_before;
    if passed > 0 {
        run.faults.push(format!("the API server let {passed} writes pass because no502 could not be asked"));
    }
    Ok(run)
}

fn restart(cluster: &ControlPlane, marks: &mut Vec<Mark>) -> anyhow::Result<()> {
    let mut mark = |what: &str| marks.push(Mark { at: now(), what: what.to_owned() });
    thread::sleep(Duration::from_secs(BEFORE_SECONDS));
    mark("kubectl rollout restart");
    cluster.kubectl(&["--namespace", install::NAMESPACE, "rollout", "restart", "deployment/no502"], None)?.success()?;
    rollout::await_complete(cluster, install::NAMESPACE, install::DEPLOYMENT)?;
    mark("rollout complete");
    rollout::await_none_ending(cluster, install::NAMESPACE)?;
    mark("old pods gone");
    thread::sleep(Duration::from_secs(AFTER_SECONDS));
    Ok(())
}

/// What is written.
#[derive(Debug)]
struct Writes {
    api: Arc<Api>,
    namespace: String,
    /// A Service that selects the pods of a Deployment, with a selector that does not.
    bad_service: Value,
    next: AtomicU64,
    start: Instant,
    start_ms: u64,
}

impl Writes {
    fn prepare(api: &Arc<Api>, namespace: &str) -> anyhow::Result<Self> {
        let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        api.post(&deployments, &deployment("target"))?.object()?;
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "target"},
            "spec": {"selector": {"app": "target"}, "ports": [{"port": 80, "targetPort": "http"}]},
        });
        let mut bad_service = api.post(&format!("/api/v1/namespaces/{namespace}/services"), &service)?.object()?;
        bad_service["spec"]["selector"]["app"] = json!("tagret");
        Ok(Self {
            api: Arc::clone(api),
            namespace: namespace.to_owned(),
            bad_service,
            next: AtomicU64::new(0),
            start: Instant::now(),
            start_ms: now(),
        })
    }

    /// Takes the next write that is due, waits for its time, and sends it, until it is over.
    fn keep_writing(&self, is_over: &AtomicBool, requests: &Mutex<Vec<Request>>, faults: &Mutex<Vec<String>>) {
        while !is_over.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs(number) / WRITES_A_SECOND;
            thread::sleep(due.saturating_sub(self.start.elapsed()));
            let (end, fault) = match self.write(number) {
                Ok(()) => (End::Ok, None),
                Err(error) => (End::Other, Some(format!("write {number}: {error:#}"))),
            };
            let took_ms = u32::try_from(self.start.elapsed().saturating_sub(due).as_millis()).unwrap_or(u32::MAX);
            let at = self.start_ms + u64::try_from(due.as_millis()).unwrap_or_default();
            requests.lock().unwrap_or_else(PoisonError::into_inner).push(Request { at, took_ms, end });
            faults.lock().unwrap_or_else(PoisonError::into_inner).extend(fault);
        }
    }

    fn write(&self, number: u64) -> anyhow::Result<()> {
        if number.is_multiple_of(2) { self.write_to_inject(number) } else { self.write_to_refuse() }
    }

    fn write_to_inject(&self, number: u64) -> anyhow::Result<()> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace);
        let answer = self.api.post(&path, &deployment(&format!("d{number}")))?;
        ensure!(answer.status == CREATED, "a Deployment: {} {}", answer.status, answer.body["message"]);
        let hook = &answer.body["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"];
        ensure!(hook.is_object(), "a Deployment was not injected");
        Ok(())
    }

    fn write_to_refuse(&self) -> anyhow::Result<()> {
        let answer =
            self.api.put(&format!("/api/v1/namespaces/{}/services/target", self.namespace), &self.bad_service)?;
        let message = answer.body["message"].as_str().unwrap_or_default();
        let is_ours = answer.status == FORBIDDEN && message.contains("validate.no502.dev");
        ensure!(is_ours, "a Service that selects nothing: {} {message}", answer.status);
        Ok(())
    }
}

/// A Deployment that its controller leaves alone: it is about the write.
fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "paused": true,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "web",
                    "image": "no502-shop:1",
                    "ports": [{"name": "http", "containerPort": 8080}],
                }]},
            },
        },
    })
}

/// How many writes the API server has let pass because it could not ask no502.
pub(crate) fn passed_unreviewed(cluster: &ControlPlane) -> anyhow::Result<u64> {
    let metrics = cluster.kubectl(&["get", "--raw=/metrics"], None)?.success()?;
    // The count appears with the first such write; its neighbour shows that the names have not changed.
    ensure!(metrics.contains(WEBHOOK_METRIC), "the API server has no metric {WEBHOOK_METRIC} any more");
    let lines = metrics.lines().filter(|line| line.starts_with(FAIL_OPEN_METRIC));
    lines
        .map(|line| {
            let value = line.rsplit(' ').next().unwrap_or_default();
            value.parse::<u64>().with_context(|| format!("cannot read {line:?}"))
        })
        .sum()
}
