//! no502 in the cluster, the way its users install it: an image, and the unchanged output of `no502 manifests`.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{
        ControlPlane, process,
        rights::Rights,
        wait::{self, Look},
    },
    node::{
        Node,
        image::{self, File},
    },
    rollout,
};

/// Where `no502 manifests` puts it.
pub(crate) const NAMESPACE: &str = "no502-system";
pub(crate) const DEPLOYMENT: &str = "no502";
/// Whose log the audit log is a part of.
const APISERVER: &str = "kube-apiserver";
/// Where the image has the program, like that of the Dockerfile.
const PROGRAM_IN_IMAGE: &str = "/usr/local/bin/no502";
/// Where each of its pods takes reviews.
const WEBHOOK_PORT: u16 = 10250;
const LIMIT_SECONDS: u64 = 180;
const PROBE_NAMESPACE: &str = "default";

/// Installs no502 and waits until writes are reviewed. Gives the manifests.
pub(crate) fn install(cluster: &ControlPlane, node: &Node, program: &Path) -> anyhow::Result<String> {
    let manifests = process::output_of(Command::new(program).arg("manifests"))?;
    node.load(&image(cluster.folder(), program, &image_name(&manifests)?)?)?;
    cluster.kubectl(&["apply", "-f", "-"], Some(&manifests))?.success()?;
    rollout::await_complete(cluster, NAMESPACE, DEPLOYMENT)?;
    await_guarding(cluster)?;
    Ok(manifests)
}

/// Waits until each pod of no502, asked by itself about the creation of an object, gives the response that it should.
pub(crate) fn await_responses(
    cluster: &ControlPlane,
    namespace: &str,
    object: &Value,
    is_right: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "proof",
            "kind": {"group": "apps", "version": "v1", "kind": object["kind"]},
            "namespace": namespace,
            "name": object["metadata"]["name"],
            "operation": "CREATE",
            "userInfo": {"username": "proof", "groups": []},
            "object": object,
            "oldObject": null,
            "dryRun": true,
        },
    });
    let pods = rollout::pods(cluster, NAMESPACE)?;
    ensure!(!pods.is_empty(), "no502 has no pods");
    let api = cluster.api()?;
    for pod in pods.iter().filter_map(rollout::name_of) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/https:{pod}:{WEBHOOK_PORT}/proxy/mutate");
        wait::until(format!("{pod} knows namespace {namespace}"), Duration::from_secs(LIMIT_SECONDS), || {
            let answer = api.post(&path, &review)?.body;
            let response = &answer["response"];
            let is_met = response["allowed"] == true && is_right(response);
            Ok::<_, anyhow::Error>(if is_met { Look::Met(()) } else { Look::NotYet(answer.to_string()) })
        })?;
    }
    Ok(())
}

/// What no502 asked of the API server and its manifests do not let it ask, a line each.
pub(crate) fn breaches(cluster: &ControlPlane, manifests: &str) -> anyhow::Result<Vec<String>> {
    let log = cluster.log(APISERVER);
    let log = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let rights = Rights::new(manifests, &log)?;
    ensure!(!rights.is_silent(), "the audit log holds no call of no502: nothing was proven");
    Ok(rights.forbidden().into_iter().chain(rights.beyond()).map(ToString::to_string).collect())
}

/// The image that the manifests ask for, as the container runtime names it.
fn image_name(manifests: &str) -> anyhow::Result<String> {
    let name = manifests
        .lines()
        .find_map(|line| line.trim().strip_prefix("image: "))
        .context("the manifests name no image")?;
    Ok(format!("docker.io/library/{}", name.trim_matches('"')))
}

/// The release program and the libraries that it loads; the image of the Dockerfile has those of Debian's.
fn image(folder: &Path, program: &Path, name: &str) -> anyhow::Result<image::Image> {
    let mut files = File::libraries_of(program)?;
    files.push(File::program(program, PROGRAM_IN_IMAGE));
    Ok(image::build(folder, &[name], &files, &[PROGRAM_IN_IMAGE])?)
}

/// Waits until the API server asks no502 and gets an answer.
fn await_guarding(cluster: &ControlPlane) -> anyhow::Result<()> {
    let probe = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "probe"},
        "spec": {
            "selector": {"matchLabels": {"app": "probe"}},
            "template": {
                "metadata": {"labels": {"app": "probe"}},
                "spec": {"containers": [{"name": "c", "image": "c", "ports": [{"containerPort": 8080}]}]},
            },
        },
    });
    // A probe of a port that is not there, which the validating half refuses.
    let mut wrong = probe.clone();
    wrong["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": "none"}});
    let api = cluster.api()?;
    let path = format!("/apis/apps/v1/namespaces/{PROBE_NAMESPACE}/deployments?dryRun=All");
    wait::until("wrong writes are refused", Duration::from_secs(LIMIT_SECONDS), || {
        let answer = api.post(&path, &wrong)?;
        let is_refused = answer.body["message"].as_str().is_some_and(|it| it.contains("[probe-port-unresolved]"));
        Ok::<_, anyhow::Error>(if is_refused { Look::Met(()) } else { Look::NotYet(answer.body.to_string()) })
    })?;
    wait::until("writes are reviewed", Duration::from_secs(LIMIT_SECONDS), || {
        let made = api.post(&path, &probe)?.object()?;
        let pod = &made["spec"]["template"]["spec"];
        let is_injected = pod["containers"][0]["lifecycle"]["preStop"].is_object();
        Ok::<_, anyhow::Error>(if is_injected { Look::Met(()) } else { Look::NotYet(pod.to_string()) })
    })?;
    Ok(())
}
