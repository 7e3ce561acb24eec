//! An API server without the sleep action: its feature gate can be switched off up to Kubernetes 1.33.
//!
//! Such a server takes a hook that is nothing but a sleep out of the object, silently, whether the user or an admission
//! patch put it there: `lifecycle` goes, the annotation and the grace period of the same patch stay. It does so between
//! the mutating and the validating admission, so the validating half sees what is missing. The sleep beside another
//! handler goes too, and the hook stays.

use anyhow::ensure;
use serde_json::Value;

use crate::{
    cluster::Version,
    no502::{No502, soon},
    rollouts::MARKER,
    room::{PATIENCE, Room, deployment},
    trial::E2e,
};

const GATE: &str = "PodLifecycleSleepAction";

pub(crate) fn trials() -> Vec<E2e> {
    const GATE_OFF: &[&str] = &["--feature-gates=PodLifecycleSleepAction=false"];
    const VERSIONS: &[Version] = &[Version::V1_33];
    vec![
        E2e::own("the_server_drops_a_sleep", VERSIONS, the_server_drops_a_sleep).with_apiserver_args(GATE_OFF),
        E2e::own_guarded("no502_notices_once_and_for_all", VERSIONS, no502_notices_once_and_for_all)
            .with_apiserver_args(GATE_OFF),
    ]
}

fn pods(name: &str) -> String {
    deployment(name, &format!("app: {name}"), "{name: http, containerPort: 8080}")
}

/// A policy that warns of every Deployment without a hook, and so tells what the validating admission sees.
const WITNESS: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: witness}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  validations:
    - expression: has(object.spec.template.spec.containers[0].lifecycle)
      message: the validating admission sees no hook
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: witness}
spec: {policyName: witness, validationActions: [Warn]}
";

/// What no502 relies on.
fn the_server_drops_a_sleep(cluster: &crate::cluster::ControlPlane) -> anyhow::Result<()> {
    let namespace = cluster.namespace()?;
    let kubectl = |words: &str, stdin: &str| {
        let args: Vec<&str> = ["-n", &namespace].into_iter().chain(words.split_whitespace()).collect();
        cluster.kubectl(&args, Some(stdin))
    };
    kubectl("apply -f -", WITNESS)?.success()?;
    soon("the policy is in force", PATIENCE, || {
        let said = kubectl("create -f - --dry-run=server", &pods("probe"))?;
        ensure!(said.stderr.contains("sees no hook"), "{said:?}");
        Ok(())
    })?;
    let sleep = "          lifecycle: {preStop: {sleep: {seconds: 5}}}\n      terminationGracePeriodSeconds: 35\n";
    let said = kubectl("create -f -", &(pods("sleep") + sleep))?;
    ensure!(said.stderr.matches("Warning").count() == 1 && said.stderr.contains("sees no hook"), "{said:?}");
    let stored = kubectl("get deployment sleep -o json", "")?.json()?;
    let spec = &stored["spec"]["template"]["spec"];
    ensure!(spec["containers"][0].get("lifecycle").is_none(), "the server knows the sleep: {spec}");
    ensure!(spec["terminationGracePeriodSeconds"] == 35, "{spec}");

    let both = "          lifecycle: {preStop: {sleep: {seconds: 5}, exec: {command: [/bin/drain]}}}\n";
    let said = kubectl("create -f -", &(pods("both") + both))?;
    ensure!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    let stored = kubectl("get deployment both -o json", "")?.json()?;
    let hook = &stored["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"];
    ensure!(hook["exec"].is_object() && hook.get("sleep").is_none(), "{hook}");
    Ok(())
}

fn no502_notices_once_and_for_all(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let template = |name: &str| -> anyhow::Result<Value> {
        Ok(room.get(&format!("deployment/{name}"))?["spec"]["template"].clone())
    };
    // The first write is stored without harm. What it says is decided before anything can be known.
    room.apply(&pods("first"))?.done()?;
    let first = template("first")?;
    ensure!(first["spec"]["containers"][0].get("lifecycle").is_none(), "the server knows the sleep: {first}");

    // From now on no502 knows.
    room.apply(&pods("second"))?.warned(GATE)?;
    let second = template("second")?;
    ensure!(second["spec"]["containers"][0].get("lifecycle").is_none(), "{second}");
    ensure!(second["spec"]["terminationGracePeriodSeconds"] == 30, "the grace period was raised for nothing: {second}");
    ensure!(second["metadata"]["annotations"].get(MARKER).is_none(), "a marker for nothing: {second}");

    // The user's own hooks work as they do without no502, and nobody's Deployment is stuck.
    let exec = "          lifecycle: {preStop: {exec: {command: [/bin/drain]}}}\n";
    for name in ["first", "second"] {
        room.apply(&(pods(name) + exec))?.done()?;
        let now = template(name)?;
        ensure!(now["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"].is_object(), "{name}: {now}");
        ensure!(!now["metadata"].to_string().contains("preStop"), "{name}: the marker claims a sleep: {now}");
        room.apply(&(pods(name) + exec))?.quiet()?;
    }
    Ok(())
}
