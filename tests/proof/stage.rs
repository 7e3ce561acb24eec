//! A namespace with the shop in it, under load: what a scenario plays on.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{ControlPlane, client::Output},
    install,
    node::Node,
    outcome::{Mark, Run, UnixMs},
    rollout,
    scenario::Side,
    traffic::{self, Addresses, RATE, Traffic},
};

const DEPLOYMENT: &str = "shop";
const SHOP: &str = include_str!("../../deploy/samples/shop/shop.yaml");
/// How long the load runs before and after what is done: enough to see that nothing else is wrong.
const BEFORE_SECONDS: u64 = 2;
const AFTER_SECONDS: u64 = 3;

/// Switches the injections of a Namespace off, as if no502 were not there yet.
pub(crate) const INJECT: &str = "no502.dev/inject";
/// What it is switched off with.
pub(crate) const DISABLED: &str = "disabled";
/// Asks for readiness probes in a Namespace.
pub(crate) const READINESS: &str = "no502.dev/readiness";

/// Annotations of a Namespace.
pub(crate) type Annotations = &'static [(&'static str, &'static str)];

/// What a stage is made with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Props {
    /// Arguments of `shop serve`.
    pub(crate) args: &'static [&'static str],
    /// Number of pods; 4 if not given.
    pub(crate) replicas: Option<u32>,
    /// The manifest's own grace period.
    pub(crate) grace_seconds: Option<u32>,
    /// The manifest's own readiness probe, as JSON.
    pub(crate) readiness: Option<fn() -> Value>,
    /// Annotations of the Namespace.
    pub(crate) annotations: Annotations,
    /// Requests a second on each way.
    pub(crate) rate: Option<u32>,
}

impl Props {
    /// Whether nothing is injected into the shop when it is applied.
    pub(crate) fn is_switched_off(&self) -> bool {
        self.annotations.contains(&(INJECT, DISABLED))
    }
}

/// The shop, running.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) cluster: &'a ControlPlane,
    pub(crate) namespace: String,
    shop_program: PathBuf,
    manifests: Vec<Value>,
    addresses: Addresses,
    rate: u32,
    folder: PathBuf,
}

impl<'a> Stage<'a> {
    /// Makes the namespace, applies the shop as its users would, and waits until it answers on both ways.
    pub(crate) fn set(
        cluster: &'a ControlPlane,
        side: Side,
        shop: &Path,
        name: &str,
        props: &Props,
    ) -> anyhow::Result<Self> {
        let host = format!("{name}.example.com");
        let folder = cluster.logs_folder().join(name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut stage = Self {
            cluster,
            namespace: name.to_owned(),
            shop_program: shop.to_owned(),
            manifests: manifests(props, &host)?,
            addresses: Addresses { host, service: String::new() },
            rate: props.rate.unwrap_or(RATE),
            folder,
        };
        let annotations: serde_json::Map<String, Value> =
            props.annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "annotations": annotations},
        });
        cluster.kubectl(&["apply", "-f", "-"], Some(&namespace.to_string()))?.success()?;
        if side == Side::With {
            stage.await_known(props.annotations)?;
        }
        stage.apply(&stage.manifests.clone())?.success()?;
        let service =
            stage.kubectl(&["get", "service", "shop", "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"])?;
        stage.addresses.service = service;
        rollout::await_complete(cluster, name, DEPLOYMENT)?;
        traffic::await_answers(&stage.addresses)?;
        Ok(stage)
    }

    /// Load, then `act`, then more load; and what became of every request. `act` returns when all that it caused is over.
    pub(crate) fn play(&self, act: impl FnOnce(&mut Play<'_>) -> anyhow::Result<()>) -> anyhow::Result<Run> {
        let start = now();
        let traffic = Traffic::start(&self.shop_program, &self.addresses, self.rate, &self.folder)?;
        let mut play = Play { stage: self, run: Run { start, ..Run::default() } };
        thread::sleep(Duration::from_secs(BEFORE_SECONDS));
        act(&mut play)?;
        thread::sleep(Duration::from_secs(AFTER_SECONDS));
        let mut run = play.run;
        run.paths = traffic.stop()?;
        run.end = now();
        Ok(run)
    }

    /// kubectl in the namespace; an error if it fails.
    pub(crate) fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        let args: Vec<&str> = ["--namespace", &self.namespace].into_iter().chain(args.iter().copied()).collect();
        Ok(self.cluster.kubectl(&args, None)?.success()?)
    }

    /// `kubectl apply` of objects, which may be refused.
    pub(crate) fn apply(&self, objects: &[Value]) -> anyhow::Result<Output> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        Ok(self.cluster.kubectl(&["--namespace", &self.namespace, "apply", "-f", "-"], Some(&list))?)
    }

    /// An error unless no502 has added its sleep to the template, or unless it has not: what the runs of a side are about.
    pub(crate) fn must_have_sleep(&self, wanted: bool) -> anyhow::Result<()> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{DEPLOYMENT}", self.namespace);
        let deployment = self.cluster.api()?.get(&path)?.object()?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let is_there = container["lifecycle"]["preStop"]["sleep"].is_object();
        ensure!(
            is_there == wanted,
            "no502 should be {}, but the shop is {container}",
            if wanted { "there" } else { "away" }
        );
        Ok(())
    }

    /// Waits until every replica of no502 has heard that these are the annotations of the namespace: any of them may be asked about
    /// the next write.
    pub(crate) fn await_known(&self, annotations: Annotations) -> anyhow::Result<()> {
        let is_off = annotations.contains(&(INJECT, DISABLED));
        install::await_responses(self.cluster, &self.namespace, &self.manifest("Deployment")?, |response| {
            if is_off {
                return response["patch"].is_null();
            }
            // The audit annotation tells where a setting comes from, if it is not built in.
            let settings = response["auditAnnotations"]["settings"].as_str().unwrap_or_default();
            response["patch"].is_string() && settings.contains(" by namespace ") != annotations.is_empty()
        })
    }

    /// The names of the shop's pods.
    pub(crate) fn pod_names(&self) -> anyhow::Result<Vec<String>> {
        let pods = rollout::pods(self.cluster, &self.namespace)?;
        Ok(pods.iter().filter_map(rollout::name_of).map(str::to_owned).collect())
    }

    /// How many requests to the shop Envoy has sent again after they had failed: what clients did not see.
    pub(crate) fn ingress_retries(&self) -> anyhow::Result<u64> {
        // Contour's name for it: namespace, Service, port, and a hash of the rest.
        Ok(Node::ingress_retries(self.cluster, &format!("{}_shop_80", self.namespace))?)
    }

    /// The manifest of a kind, as it was applied.
    pub(crate) fn manifest(&self, kind: &str) -> anyhow::Result<Value> {
        let found = self.manifests.iter().find(|object| object["kind"] == kind);
        found.cloned().with_context(|| format!("shop.yaml has no {kind}"))
    }
}

/// A scenario while it is played.
#[derive(Debug)]
pub(crate) struct Play<'a> {
    pub(crate) stage: &'a Stage<'a>,
    run: Run,
}

impl Play<'_> {
    /// Notes what has just happened.
    pub(crate) fn mark(&mut self, what: impl Into<String>) {
        self.run.marks.push(Mark { at: now(), what: what.into() });
    }

    /// Notes what is wrong beside failed requests.
    pub(crate) fn fault(&mut self, what: impl Into<String>) {
        self.run.faults.push(what.into());
    }

    /// Waits until other pods are ready in place of these, and these are gone.
    pub(crate) fn await_replaced(&mut self, old: &[String]) -> anyhow::Result<()> {
        rollout::await_replaced(self.stage.cluster, &self.stage.namespace, DEPLOYMENT, old)?;
        self.await_end("replaced")
    }

    /// Notes what kubectl said.
    pub(crate) fn message(&mut self, text: impl Into<String>) {
        self.run.message = Some(text.into());
    }

    /// Does something by kubectl, and waits until the rollout that follows is over.
    pub(crate) fn roll_out(&mut self, args: &[&str]) -> anyhow::Result<()> {
        self.mark(format!("kubectl {}", args.join(" ")));
        self.stage.kubectl(args)?;
        self.await_end("rollout complete")
    }

    /// Waits until the Deployment is as it should be.
    pub(crate) fn await_complete(&self) -> anyhow::Result<()> {
        rollout::await_complete(self.stage.cluster, &self.stage.namespace, DEPLOYMENT)
    }

    /// The same, and until no pod is ending any more.
    pub(crate) fn await_end(&mut self, what: &str) -> anyhow::Result<()> {
        self.await_complete()?;
        self.mark(what);
        rollout::await_none_ending(self.stage.cluster, &self.stage.namespace)?;
        self.mark("old pods gone");
        Ok(())
    }
}

/// The sample that users are given, with what a scenario wants to be different.
fn manifests(props: &Props, host: &str) -> anyhow::Result<Vec<Value>> {
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(SHOP).context("deploy/samples/shop/shop.yaml")?;
    for object in &mut objects {
        match object["kind"].as_str() {
            Some("Deployment") => adapt(&mut object["spec"], props)?,
            Some("Ingress") => object["spec"]["rules"][0]["host"] = json!(host),
            _ => {}
        }
    }
    Ok(objects)
}

fn adapt(spec: &mut Value, props: &Props) -> anyhow::Result<()> {
    if let Some(replicas) = props.replicas {
        spec["replicas"] = json!(replicas);
    }
    let template = &mut spec["template"]["spec"];
    if let Some(seconds) = props.grace_seconds {
        template["terminationGracePeriodSeconds"] = json!(seconds);
    }
    let container = &mut template["containers"][0];
    ensure!(container.is_object(), "shop.yaml has no container");
    let args: Vec<&str> = ["serve"].into_iter().chain(props.args.iter().copied()).collect();
    container["args"] = json!(args);
    if let Some(probe) = props.readiness {
        container["readinessProbe"] = probe();
    }
    Ok(())
}

/// This moment.
pub(crate) fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs::try_from(since.as_millis()).unwrap_or(UnixMs::MAX)
}
