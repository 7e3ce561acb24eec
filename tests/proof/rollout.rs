//! Waiting for Deployments and their pods.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::{
    ControlPlane,
    wait::{self, Look},
};

const ROLLOUT_LIMIT_SECONDS: u64 = 180;
const ENDING_LIMIT_SECONDS: u64 = 120;

/// Waits until the newest template runs in every replica of a Deployment, and every replica is available.
pub(crate) fn await_complete(cluster: &ControlPlane, namespace: &str, name: &str) -> anyhow::Result<()> {
    const COUNTS: [&str; 3] = ["replicas", "updatedReplicas", "availableReplicas"];
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
    let api = cluster.api()?;
    let limit = Duration::from_secs(ROLLOUT_LIMIT_SECONDS);
    wait::until(format!("Deployment {namespace}/{name} is rolled out"), limit, || {
        let deployment = api.get(&path)?.object()?;
        let (spec, status) = (&deployment["spec"], &deployment["status"]);
        let is_seen = status["observedGeneration"] == deployment["metadata"]["generation"];
        let is_whole = COUNTS.iter().all(|count| status[count] == spec["replicas"]);
        Ok(if is_seen && is_whole { Look::Met(()) } else { Look::NotYet(status.to_string()) })
    })
}

/// Waits until no pod of a namespace is ending any more.
pub(crate) fn await_none_ending(cluster: &ControlPlane, namespace: &str) -> anyhow::Result<()> {
    let limit = Duration::from_secs(ENDING_LIMIT_SECONDS);
    wait::until(format!("no pod of {namespace} is ending"), limit, || {
        let ending = pods(cluster, namespace)?.iter().filter(|pod| is_ending(pod)).count();
        Ok(if ending == 0 { Look::Met(()) } else { Look::NotYet(format!("{ending} are ending")) })
    })
}

/// Waits until as many pods are ready as a Deployment asks for, and none of them is one of `old`.
pub(crate) fn await_replaced(
    cluster: &ControlPlane,
    namespace: &str,
    name: &str,
    old: &[String],
) -> anyhow::Result<()> {
    let limit = Duration::from_secs(ROLLOUT_LIMIT_SECONDS);
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
    wait::until(format!("the pods {} are replaced", old.join(", ")), limit, || {
        let wanted = cluster.api()?.get(&path)?.object()?["spec"]["replicas"].as_u64().unwrap_or_default();
        let pods = pods(cluster, namespace)?;
        let serving: Vec<&str> =
            pods.iter().filter(|pod| !is_ending(pod) && is_ready(pod)).filter_map(|pod| name_of(pod)).collect();
        let is_replaced = serving.len() as u64 == wanted && !serving.iter().any(|it| old.iter().any(|old| old == it));
        Ok(if is_replaced { Look::Met(()) } else { Look::NotYet(format!("ready are {}", serving.join(", "))) })
    })
}

/// The name of a pod.
pub(crate) fn name_of(pod: &Value) -> Option<&str> {
    pod["metadata"]["name"].as_str()
}

/// The pods of a namespace.
pub(crate) fn pods(cluster: &ControlPlane, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let list = cluster.api()?.get(&format!("/api/v1/namespaces/{namespace}/pods"))?.object()?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn is_ending(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}
