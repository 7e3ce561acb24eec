//! Does the test control plane itself work? A failure here explains the failures of the other topics.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{
        ControlPlane, Version,
        wait::{self, Look},
    },
    trial::E2e,
};

const REPLICA_SET_LIMIT_SECONDS: u64 = 60;

pub(crate) fn trials() -> Vec<E2e> {
    vec![
        E2e::shared("api_server_answers", &Version::ALL, api_server_answers),
        E2e::shared("version_is_as_asked", &Version::ALL, version_is_as_asked),
        E2e::shared("kubectl_writes_and_dry_runs", &Version::ALL, kubectl_writes_and_dry_runs),
        E2e::shared("kubectl_errors_are_given", &Version::ALL, kubectl_errors_are_given),
        E2e::shared("deployment_gets_a_replica_set", &Version::ALL, deployment_gets_a_replica_set),
        E2e::own("data_outlives_a_restart", &Version::ALL, data_outlives_a_restart),
        E2e::own("compaction_ends_old_resource_versions", &Version::ALL, compaction_ends_old_resource_versions),
    ]
}

fn api_server_answers(cluster: &ControlPlane) -> anyhow::Result<()> {
    let ready = cluster.kubectl(&["get", "--raw=/readyz"], None)?.success()?;
    ensure!(ready == "ok", "/readyz says {ready:?}");
    cluster.check()?;
    let config: Value = serde_json::from_str(&std::fs::read_to_string(cluster.kubeconfig())?)?;
    ensure!(
        config["clusters"][0]["cluster"]["server"] == cluster.apiserver_url(),
        "the kubeconfig names another server"
    );
    let ca = std::fs::read_to_string(cluster.client_ca())?;
    ensure!(ca.starts_with("-----BEGIN CERTIFICATE-----"), "not a certificate: {ca}");
    ensure!(cluster.kubeconfig().starts_with(cluster.folder()), "the kubeconfig is not in the run's folder");
    Ok(())
}

fn version_is_as_asked(cluster: &ControlPlane) -> anyhow::Result<()> {
    let version = cluster.kubectl(&["get", "--raw=/version"], None)?.json()?;
    let minor = cluster.version().minor().to_string();
    ensure!(version["major"] == "1" && version["minor"] == minor.as_str(), "{version}");
    let from_source = match cluster.version() {
        Version::V1_37 => "v1.37.2",
        Version::V1_35 => "v1.35.4",
        Version::V1_33 => "v1.33.13",
    };
    let ready_made = std::env::var_os("KUBEBUILDER_ASSETS")
        .is_some_and(|folder| cluster.apiserver_program() == Path::new(&folder).join("kube-apiserver"));
    ensure!(ready_made || version["gitVersion"] == from_source, "{version}");
    Ok(())
}

fn kubectl_writes_and_dry_runs(cluster: &ControlPlane) -> anyhow::Result<()> {
    let namespace = cluster.namespace()?;
    let namespace = namespace.as_str();
    let config_map = |name: &str, value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}}).to_string()
    };
    let written = config_map("written", "a value");
    cluster.kubectl(&["apply", "-n", namespace, "-f", "-"], Some(&written))?.success()?;
    let dry = config_map("dry", "another");
    let said = cluster.kubectl(&["create", "-n", namespace, "--dry-run=server", "-f", "-"], Some(&dry))?.success()?;
    ensure!(said.contains("server dry run"), "{said}");

    let all = cluster.kubectl(&["get", "configmaps", "-n", namespace, "-o", "json"], None)?.json()?;
    let items = all["items"].as_array().context("no items")?;
    let find = |name: &str| items.iter().find(|item| item["metadata"]["name"] == name);
    ensure!(find("written").is_some_and(|item| item["data"]["key"] == "a value"), "not written: {all}");
    ensure!(find("dry").is_none(), "a dry run was written: {all}");
    Ok(())
}

fn kubectl_errors_are_given(cluster: &ControlPlane) -> anyhow::Result<()> {
    let output = cluster.kubectl(&["get", "configmap", "no-such-thing"], None)?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(output.stderr.contains("NotFound"), "{output:?}");
    let error = output.success().err().context("an error was taken for success")?.to_string();
    ensure!(error.contains("get configmap no-such-thing") && error.contains("NotFound"), "{error}");
    Ok(())
}

fn deployment_gets_a_replica_set(cluster: &ControlPlane) -> anyhow::Result<()> {
    let namespace = cluster.namespace()?;
    let labels = json!({"app": "web"});
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "example.invalid/web:1"}]},
            },
        },
    });
    cluster.kubectl(&["create", "-n", &namespace, "-f", "-"], Some(&deployment.to_string()))?.success()?;
    let limit = Duration::from_secs(REPLICA_SET_LIMIT_SECONDS);
    wait::until("the Deployment has a ReplicaSet with two Pods", limit, || {
        let args = ["get", "replicasets", "-n", namespace.as_str(), "-l", "app=web", "-o", "json"];
        let found = cluster.kubectl(&args, None)?.json()?;
        let replicas = &found["items"][0]["status"]["replicas"];
        Ok(if *replicas == 2 { Look::Met(()) } else { Look::NotYet(format!("status.replicas is {replicas}")) })
    })
}

fn data_outlives_a_restart(cluster: &ControlPlane) -> anyhow::Result<()> {
    let namespace = cluster.namespace()?;
    let namespace = namespace.as_str();
    cluster
        .kubectl(&["create", "configmap", "kept", "-n", namespace, "--from-literal=key=a value"], None)?
        .success()?;
    let read = || cluster.kubectl(&["get", "configmap", "kept", "-n", namespace, "-o", "json"], None);
    let before = cluster.apiserver_url();

    cluster.stop_apiserver()?;
    let answer = read()?;
    ensure!(!answer.status.success(), "a stopped API server answers: {answer:?}");
    cluster.start_apiserver()?;
    ensure!(read()?.json()?["data"]["key"] == "a value", "the ConfigMap is gone after stop and start");

    cluster.restart_apiserver()?;
    ensure!(read()?.json()?["data"]["key"] == "a value", "the ConfigMap is gone after a restart");
    ensure!(cluster.apiserver_url() == before, "the API server moved");
    cluster.check()?;
    Ok(())
}

fn compaction_ends_old_resource_versions(cluster: &ControlPlane) -> anyhow::Result<()> {
    let namespace = cluster.namespace()?;
    let namespace = namespace.as_str();
    let created = cluster
        .kubectl(&["create", "configmap", "old", "-n", namespace, "-o", "json", "--from-literal=key=1"], None)?
        .json()?;
    let old = created["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?;
    let path = format!(
        "--raw=/api/v1/namespaces/{namespace}/configmaps?resourceVersion={old}&resourceVersionMatch=Exact&limit=10"
    );
    let list_old = || cluster.kubectl(&["get", &path], None);
    list_old()?.success().context("before the compaction")?;

    cluster.kubectl(&["label", "configmap", "old", "-n", namespace, "touched=yes"], None)?.success()?;
    let compacted = cluster.compact_etcd()?;
    ensure!(compacted > old.parse()?, "compacted at {compacted}, the object is of {old}");
    // The API server may still have the old state in its cache; a new one does not.
    cluster.restart_apiserver()?;
    let answer = list_old()?;
    ensure!(answer.stderr.contains("too old") || answer.stderr.contains("Expired"), "{answer:?}");
    Ok(())
}
