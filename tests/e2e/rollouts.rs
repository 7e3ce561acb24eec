//! What tells whether a Deployment was rolled out: its generation, its template, its ReplicaSets.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{
    no502::soon,
    room::{PATIENCE, Room},
};

/// no502's annotation on a pod template.
pub(crate) const MARKER: &str = "no502.dev/injected";

/// A Deployment as its controller has seen it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rollouts {
    pub(crate) generation: i64,
    pub(crate) template: Value,
    pub(crate) replica_sets: Vec<String>,
}

impl Rollouts {
    /// As soon as the Deployment's controller has seen its newest generation. Its pods are labelled `app: NAME`.
    pub(crate) fn of(room: &Room<'_>, name: &str) -> anyhow::Result<Self> {
        let api = room.no502.cluster.api()?;
        let base = format!("/apis/apps/v1/namespaces/{}", room.name);
        let deployment = soon("the controller has seen the Deployment", PATIENCE, || {
            let deployment = api.get(&format!("{base}/deployments/{name}"))?.object()?;
            let (generation, status) = (&deployment["metadata"]["generation"], &deployment["status"]);
            ensure!(status["observedGeneration"] == *generation, "generation {generation}, status {status}");
            Ok(deployment)
        })?;
        let replica_sets = api.get(&format!("{base}/replicasets?labelSelector=app%3D{name}"))?.object()?;
        let items = replica_sets["items"].as_array().context("no items")?;
        let mut names: Vec<String> = items.iter().map(|it| it["metadata"]["name"].to_string()).collect();
        names.sort_unstable();
        let generation = deployment["metadata"]["generation"].as_i64().context("no generation")?;
        Ok(Self { generation, template: deployment["spec"]["template"].clone(), replica_sets: names })
    }

    pub(crate) fn must_be(&self, before: &Self, what: &str) -> anyhow::Result<()> {
        ensure!(self == before, "{what}: it was\n{before:?}\nand is\n{self:?}");
        Ok(())
    }

    /// The preStop hook of the first container.
    pub(crate) fn hook(&self) -> &Value {
        &self.template["spec"]["containers"][0]["lifecycle"]["preStop"]
    }

    /// The image of the first container.
    pub(crate) fn image(&self) -> &Value {
        &self.template["spec"]["containers"][0]["image"]
    }

    pub(crate) fn grace(&self) -> &Value {
        &self.template["spec"]["terminationGracePeriodSeconds"]
    }

    /// no502's annotation, empty where there is none.
    pub(crate) fn marker(&self) -> &str {
        self.template["metadata"]["annotations"][MARKER].as_str().unwrap_or_default()
    }
}
