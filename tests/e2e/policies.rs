//! Policies through the real API server: a change is in force for the next write, with and without their definitions, and what is
//! said by namespace, by rule and by injection counts there and nowhere else.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{Version, api::Api},
    no502::{No502, PROGRAM, soon},
    room::{PATIENCE, Room, Said, deployment, service},
    trial::E2e,
    ways::podless,
};

/// From the return of kubectl to the first write that shows the change.
const IN_FORCE_AFTER: Duration = Duration::from_secs(1);
/// Changes of each measured kind.
const CHANGES: usize = 200;
/// Definitions are looked for every 2 s, and the API server needs a moment to serve them.
const DEFINITIONS_SEEN_AFTER: Duration = Duration::from_secs(10);

const CLUSTER_DEFINITION: &str = "clusterrolloutpolicies.no502.dev";
const DEFINITION: &str = "rolloutpolicies.no502.dev";

pub(crate) fn trials() -> Vec<E2e> {
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::own_guarded("a_change_is_in_force_for_the_next_write", NEWEST, a_change_is_in_force_for_the_next_write),
        E2e::own_guarded("definitions_come_and_go", NEWEST, definitions_come_and_go),
        E2e::own_guarded("what_is_said_counts_where_it_is_said", NEWEST, what_is_said_counts_where_it_is_said),
    ]
}

/// Those of this version.
fn definitions() -> anyhow::Result<String> {
    let output = Command::new(PROGRAM).arg("crd").output()?;
    ensure!(output.status.success(), "no502 crd: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Definitions of an older version, which let everything through.
pub(crate) fn lenient_definitions() -> String {
    let definition = |kind: &str, plural: &str, scope: &str| {
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.no502.dev")},
            "spec": {
                "group": "no502.dev",
                "scope": scope,
                "names": {"kind": kind, "plural": plural, "listKind": format!("{kind}List")},
                "versions": [{
                    "name": "v1alpha1",
                    "served": true,
                    "storage": true,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": open},
                }],
            },
        })
        .to_string()
    };
    [
        definition("ClusterRolloutPolicy", "clusterrolloutpolicies", "Cluster"),
        definition("RolloutPolicy", "rolloutpolicies", "Namespaced"),
    ]
    .join("\n---\n")
}

/// Installs definitions where there are none.
pub(crate) fn define(no502: &No502, definitions: &str) -> anyhow::Result<()> {
    no502.cluster.kubectl(&["create", "-f", "-"], Some(definitions))?.success()?;
    let wait = ["wait", "--for=condition=Established", "--timeout=30s", "crd", CLUSTER_DEFINITION, DEFINITION];
    no502.cluster.kubectl(&wait, None)?.success()?;
    // Established is said before the API server serves them everywhere.
    soon("the API server serves policies", PATIENCE, || {
        let kinds = ["get", "clusterrolloutpolicies,rolloutpolicies", "-A"];
        Ok(no502.cluster.kubectl(&kinds, None)?.success().map(drop)?)
    })
}

/// Definitions of this version in place of others, as a release brings them.
pub(crate) fn redefine(no502: &No502) -> anyhow::Result<()> {
    no502.cluster.kubectl(&["replace", "-f", "-"], Some(&definitions()?))?.success()?;
    let wrong = policy("ClusterRolloutPolicy", "wrong", "{settings: {profile: none}}");
    soon("the new definitions are in force", PATIENCE, || {
        let said = no502.cluster.kubectl(&["create", "--dry-run=server", "-f", "-"], Some(&wrong))?;
        ensure!(said.stderr.contains("is invalid"), "{said:?}");
        Ok(())
    })
}

pub(crate) fn undefine(no502: &No502) -> anyhow::Result<()> {
    let words = ["delete", "crd", "--ignore-not-found", CLUSTER_DEFINITION, DEFINITION];
    no502.cluster.kubectl(&words, None)?.success()?;
    Ok(())
}

/// A policy of the room's namespace, or of the cluster; `spec` in YAML flow style.
pub(crate) fn policy(kind: &str, name: &str, spec: &str) -> String {
    format!("---\n{{apiVersion: no502.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}\n")
}

/// What the API server would make of a new Deployment: a dry run by a plain request.
pub(crate) struct Probe<'a> {
    api: std::sync::Arc<Api>,
    path: String,
    object: Value,
    room: &'a Room<'a>,
}

impl<'a> Probe<'a> {
    pub(crate) fn new(room: &'a Room<'a>) -> anyhow::Result<Self> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments?dryRun=All", room.name);
        Ok(Self { api: room.no502.cluster.api()?, path, object: podless("probe"), room })
    }

    /// The seconds that its container would sleep; `None` for no hook.
    pub(crate) fn sleep(&self) -> anyhow::Result<Option<i64>> {
        let object = self.api.post(&self.path, &self.object)?.object()?;
        let hook = &object["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"];
        Ok(hook["sleep"]["seconds"].as_i64())
    }

    /// Asks again and again, as fast as it goes, until the sleep is this; gives the time that it took.
    fn sleeps(&self, wanted: Option<i64>) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let sleep = self.sleep()?;
            if sleep == wanted {
                return Ok(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                bail!("the sleep in {} is still {sleep:?} and not {wanted:?}", self.room.name);
            }
        }
    }
}

/// Times in the order of their length, and what is told of them.
struct Times(Vec<Duration>);

impl Times {
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    #[expect(clippy::print_stdout, reason = "the numbers that the test is about")]
    fn hold(mut self, what: &str, limit: Duration) -> anyhow::Result<()> {
        self.0.sort_unstable();
        let [median, p99, most] = [50, 99, 100].map(|it| self.percentile(it).as_millis());
        println!("{what}: {} changes, in force after p50 {median} ms, p99 {p99} ms, at most {most} ms", self.0.len());
        ensure!(self.percentile(99) <= limit, "{what}: p99 is {p99} ms");
        Ok(())
    }
}

fn a_change_is_in_force_for_the_next_write(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let probe = Probe::new(&room)?;
    ensure!(probe.sleep()? == Some(10), "not the default: {:?}", probe.sleep()?);

    let seconds = |change: usize| i64::try_from(change % 100 + 11);
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let seconds = seconds(change)?;
        let spec = format!("{{settings: {{injection: {{preStop: {{sleepSeconds: {seconds}}}}}}}}}");
        room.apply(&policy("RolloutPolicy", "defaults", &spec))?.done()?;
        times.push(probe.sleeps(Some(seconds))?);
    }
    Times(times).hold("a RolloutPolicy, by kubectl apply", IN_FORCE_AFTER)?;
    room.kubectl("delete rolloutpolicy defaults")?.done()?;
    probe.sleeps(Some(10))?;

    let mut times = Vec::new();
    for change in 0..CHANGES {
        let seconds = seconds(change)?;
        let namespace = format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {}, annotations: \
             {{no502.dev/prestop-sleep-seconds: \"{seconds}\"}}}}}}",
            room.name
        );
        room.apply(&namespace)?.done()?;
        times.push(probe.sleeps(Some(seconds))?);
    }
    Times(times).hold("an annotation of the Namespace, by kubectl apply", IN_FORCE_AFTER)?;

    let last = probe.sleep()?;
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let is_on = change % 2 == 1;
        room.apply(&policy("ClusterRolloutPolicy", "switch", &format!("{{settings: {{enabled: {is_on}}}}}")))?
            .done()?;
        times.push(probe.sleeps(last.filter(|_| is_on))?);
    }
    Times(times).hold("the kill switch, by kubectl apply", IN_FORCE_AFTER)
}

fn definitions_come_and_go(no502: &No502) -> anyhow::Result<()> {
    no502.stop()?;
    undefine(no502)?;
    no502.start(&[])?;
    let (room, other_room) = (Room::new(no502)?, Room::new(no502)?);
    let (probe, elsewhere) = (Probe::new(&room)?, Probe::new(&other_room)?);
    soon("no502 is called", PATIENCE, || {
        ensure!(probe.sleep()? == Some(10), "{:?}", probe.sleep()?);
        Ok(())
    })?;
    let log = no502.log()?;
    let start = log.rfind("listening").context("no502 does not say that it listens")?;
    let told = |what: &str| no502.log().map(|log| log[start..].matches(what).count());
    ensure!(told("not installed: what is built in is in force")? == 2, "not said once for each kind:\n{log}");

    for (round, definitions) in [(1, definitions()?), (2, lenient_definitions())] {
        define(no502, &definitions)?;
        let sleep = |kind: &str, seconds: u8| {
            policy(kind, "sleep", &format!("{{settings: {{injection: {{preStop: {{sleepSeconds: {seconds}}}}}}}}}"))
        };
        room.apply(&(sleep("RolloutPolicy", 4) + &sleep("ClusterRolloutPolicy", 7)))?.done()?;
        let seen = soon("the policies are in force", DEFINITIONS_SEEN_AFTER, || {
            let seen = [probe.sleep()?, elsewhere.sleep()?];
            ensure!(seen == [Some(4), Some(7)], "{seen:?}");
            Ok(())
        });
        seen.with_context(|| format!("round {round}"))?;
        undefine(no502)?;
        soon("the defaults are in force again", DEFINITIONS_SEEN_AFTER, || {
            let seen = [probe.sleep()?, elsewhere.sleep()?];
            ensure!(seen == [Some(10), Some(10)], "{seen:?}");
            Ok(())
        })?;
        soon("it is said", DEFINITIONS_SEEN_AFTER, || {
            let said = told("not installed: what is built in is in force")?;
            ensure!(said == 2 + 2 * round, "said {said} times");
            Ok(())
        })?;
    }
    ensure!(!no502.log()?[start..].contains("ERROR"), "an absent definition is no error:\n{}", no502.log_tail());
    no502.must_run()
}

/// Profile by namespace, action by rule, mode by injection, a policy for some workloads only.
fn what_is_said_counts_where_it_is_said(no502: &No502) -> anyhow::Result<()> {
    let (room, other) = (Room::new(no502)?, Room::new(no502)?);
    let web = deployment("web", "app: web", "{name: http, containerPort: 8080}");
    let service = service("web", "app: web", "{port: 80, targetPort: http}");
    for room in [&room, &other] {
        room.given(&format!("{web}{service}"))?;
    }
    let break_it = |room: &Room<'_>| -> anyhow::Result<Said> {
        room.kubectl("set selector service web app=gone --dry-run=server")
    };
    let selects_nothing = "selector app=gone matches no pod or workload any more";
    break_it(&room)?.denied(selects_nothing)?;

    let set = |spec: &str| -> anyhow::Result<()> {
        room.apply(&policy("RolloutPolicy", "ours", spec))?.done()?;
        Ok(())
    };
    let until = |what: &str, look: &dyn Fn() -> anyhow::Result<()>| soon(what, IN_FORCE_AFTER * 5, look);

    set("{settings: {profile: advise}}")?;
    until("the profile is advise here", &|| break_it(&room)?.warned(selects_nothing))?;
    break_it(&other)?.denied(selects_nothing)?;

    set("{settings: {actions: {service-selects-nothing: \"off\"}}}")?;
    until("the rule is off here", &|| break_it(&room)?.quiet().map(drop))?;
    break_it(&other)?.denied(selects_nothing)?;

    // Nobody below the cluster can take back what the cluster locks.
    let locked = "{locked: [actions.service-selects-nothing], \
                  settings: {actions: {service-selects-nothing: deny}}}";
    room.apply(&policy("ClusterRolloutPolicy", "locks", locked))?.done()?;
    until("the action is locked", &|| break_it(&room)?.denied(selects_nothing))?;
    room.kubectl("delete clusterrolloutpolicy locks")?.done()?;
    until("the lock is gone", &|| break_it(&room)?.quiet().map(drop))?;

    // One injection is off, one warns, the third is as it was.
    set("{settings: {injection: {preStop: {mode: warn}, readiness: {mode: \"off\"}}}}")?;
    let probe = Probe::new(&room)?;
    until("no hook is added here", &|| {
        ensure!(probe.sleep()?.is_none(), "{:?}", probe.sleep()?);
        Ok(())
    })?;
    let said = room.kubectl_with("create --dry-run=server -f -", &podless("question").to_string())?;
    ensure!(said.0.stderr.contains("would add preStop sleep 10s"), "{said}");
    ensure!(Probe::new(&other)?.sleep()? == Some(10), "the other namespace has other settings");

    // For some workloads only.
    set("{workloadSelector: {matchLabels: {tier: batch}}, settings: {injection: {mode: \"off\"}}}")?;
    until("the others are as they were", &|| {
        ensure!(probe.sleep()? == Some(10), "{:?}", probe.sleep()?);
        Ok(())
    })?;
    let mut batch = podless("batch");
    batch["metadata"]["labels"] = json!({"tier": "batch"});
    let path = format!("/apis/apps/v1/namespaces/{}/deployments?dryRun=All", room.name);
    let made = no502.cluster.api()?.post(&path, &batch)?.object()?;
    let hook = &made["spec"]["template"]["spec"]["containers"][0]["lifecycle"];
    ensure!(hook.is_null(), "a hook where injection is off: {hook}");

    // What does not count is told where it is written, though the template stays as it is.
    let typo = room.kubectl("annotate deployment web no502.dev/inject=disabeld")?;
    ensure!(typo.0.stderr.contains("no502.dev/inject") && typo.0.stderr.contains("disabeld"), "{typo}");
    typo.done()?;
    room.kubectl("annotate deployment web no502.dev/inject=disabled --overwrite")?.quiet()?;
    no502.must_run()
}
