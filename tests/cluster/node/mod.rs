//! One node for a control plane: kube-scheduler, containerd, kubelet and kube-proxy, and Contour with Envoy as the ingress
//! controller. It needs root and runs inside a [`sandbox`](super::sandbox), whose end takes away what a node leaves behind.

pub(crate) mod binaries;
mod containerd;
pub(crate) mod image;
mod ingress;
mod kubelet;
mod network;
pub(crate) mod sandbox;
mod wheel;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use crate::cluster::{
    ControlPlane, Options,
    error::Error,
    process::Process,
    wait::{self, Look},
};
pub(crate) use binaries::NodeBinaries;
use image::Image;
use sandbox::Place;

/// The node's name.
pub(crate) const NAME: &str = "node-1";
/// Where Envoy answers, inside the sandbox.
pub(crate) const INGRESS_ADDRESS: &str = "127.0.0.1:8180";
/// The class of Ingresses that Contour serves.
pub(crate) const INGRESS_CLASS: &str = "contour";
const NODE_LIMIT_SECONDS: u64 = 120;

/// A running node. Dropping it ends its programs; what they have started ends with the sandbox.
#[derive(Debug)]
pub(crate) struct Node {
    binaries: NodeBinaries,
    socket: PathBuf,
    // Dropped in this order.
    ingress: Option<[Process; 2]>,
    kube_proxy: Process,
    kubelet: Process,
    containerd: Process,
    scheduler: Process,
}

/// The control plane that a node in this place can join, before anything is started: it is reached over the node's address.
pub(crate) fn options(mut options: Options) -> Result<Options, Error> {
    network::set_up()?;
    // Of two equal flags the last one counts.
    options.apiserver_args.extend([
        "--bind-address=0.0.0.0".into(),
        format!("--advertise-address={}", network::NODE_ADDRESS),
        "--endpoint-reconciler-type=lease".into(),
    ]);
    Ok(options)
}

impl Node {
    /// Starts a node and waits until pods can run on it.
    pub(crate) fn start(place: &Place, control_plane: &ControlPlane) -> Result<Self, Error> {
        let binaries = NodeBinaries::find_or_build(control_plane.version())?;
        let folder = place.folder.join("node");
        fs::create_dir(&folder).map_err(Error::io("make the folder", &folder))?;
        let settings = containerd::Settings::write(&folder, &binaries)?;
        let containerd = settings.start(control_plane)?;
        let scheduler = start_scheduler(&folder, &binaries, control_plane)?;
        let kubelet = kubelet::start(&folder, &settings.socket, &place.make_cgroups()?, &binaries, control_plane)?;
        let kube_proxy = start_kube_proxy(&folder, &binaries, control_plane)?;
        let node =
            Self { binaries, socket: settings.socket, ingress: None, kube_proxy, kubelet, containerd, scheduler };
        node.load(&containerd::pause_image(&folder)?)?;
        node.await_ready(control_plane)?;
        Ok(node)
    }

    /// Starts the ingress controller and waits until its programs run; it answers requests once there is a route for them.
    pub(crate) fn start_ingress_controller(&mut self, control_plane: &ControlPlane) -> Result<(), Error> {
        self.ingress = Some(ingress::start(&self.binaries, control_plane)?);
        Ok(())
    }

    /// How many requests the ingress controller has sent again after they had failed: what its clients did not see.
    /// `backend` is Contour's name of a Service port: `NAMESPACE_SERVICE_PORT`.
    pub(crate) fn ingress_retries(control_plane: &ControlPlane, backend: &str) -> Result<u64, Error> {
        ingress::retries(control_plane, backend)
    }

    /// Puts an image where the kubelet finds it.
    pub(crate) fn load(&self, image: &Image) -> Result<(), Error> {
        containerd::import(&self.binaries.ctr, &self.socket, &image.archive)
    }

    /// Fails if a program of the node has ended on its own.
    pub(crate) fn check(&self) -> Result<(), Error> {
        [&self.scheduler, &self.containerd, &self.kubelet, &self.kube_proxy]
            .into_iter()
            .try_for_each(Process::must_run)?;
        self.ingress.iter().flatten().try_for_each(Process::must_run)
    }

    fn await_ready(&self, control_plane: &ControlPlane) -> Result<(), Error> {
        let limit = Duration::from_secs(NODE_LIMIT_SECONDS);
        let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")]}";
        wait::until("the node is ready", limit, || {
            self.check()?;
            let output = control_plane.kubectl(&["get", "node", NAME, "-o", ready], None)?;
            let is_ready = output.stdout.contains(r#""status":"True""#);
            Ok(if is_ready { Look::Met(()) } else { Look::NotYet(output.stdout + &output.stderr) })
        })
        .map_err(|error: Error| error.with_log(&self.kubelet))
    }
}

fn start_scheduler(folder: &Path, binaries: &NodeBinaries, control_plane: &ControlPlane) -> Result<Process, Error> {
    let kubeconfig = folder.join("scheduler.kubeconfig");
    control_plane.write_kubeconfig(&kubeconfig, "system:kube-scheduler", None)?;
    let mut command = Process::component(&binaries.scheduler);
    command.arg(format!("--kubeconfig={}", kubeconfig.display())).args([
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]);
    Process::start("kube-scheduler", command, &control_plane.log("kube-scheduler"))
}

fn start_kube_proxy(folder: &Path, binaries: &NodeBinaries, control_plane: &ControlPlane) -> Result<Process, Error> {
    let kubeconfig = folder.join("kube-proxy.kubeconfig");
    control_plane.write_kubeconfig(&kubeconfig, "system:kube-proxy", None)?;
    let config = folder.join("kube-proxy.json");
    write_json(
        &config,
        &json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": NAME,
            "clusterCIDR": network::POD_RANGE,
            "clientConnection": {"kubeconfig": kubeconfig},
            // The machine's own limits stay.
            "conntrack": {"maxPerCore": 0},
        }),
    )?;
    let mut command = Process::component(&binaries.kube_proxy);
    // It looks for nft.
    command.arg(format!("--config={}", config.display())).env("PATH", env::var_os("PATH").unwrap_or_default());
    Process::start("kube-proxy", command, &control_plane.log("kube-proxy"))
}

fn write_json(file: &Path, value: &serde_json::Value) -> Result<(), Error> {
    fs::write(file, value.to_string()).map_err(Error::io("write", file))
}
