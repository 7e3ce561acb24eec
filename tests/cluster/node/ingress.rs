//! Contour and Envoy on the node itself: what Contour does with an Ingress is what it does in any cluster. It sets no
//! retries unless an annotation of the Ingress asks for them.

use std::{
    io::{self, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use super::{INGRESS_ADDRESS, INGRESS_CLASS, NodeBinaries};
use crate::cluster::{
    ControlPlane,
    error::Error,
    process::{self, Process},
    wait::{self, Look},
};

const XDS_ADDRESS: &str = "127.0.0.1";
const XDS_PORT: &str = "8001";
const START_LIMIT_SECONDS: u64 = 60;
const ADMIN_LIMIT_SECONDS: u64 = 10;

/// Starts both and waits until they run. Envoy listens for HTTP only once there is a route, so that nobody can wait for it here.
pub(super) fn start(binaries: &NodeBinaries, control_plane: &ControlPlane) -> Result<[Process; 2], Error> {
    control_plane
        .kubectl(&["apply", "--server-side", "-f", &binaries.contour_crds.to_string_lossy()], None)?
        .success()?;
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": INGRESS_CLASS},
        "spec": {"controller": "projectcontour.io/ingress-controller"},
    });
    control_plane.kubectl(&["apply", "-f", "-"], Some(&class.to_string()))?.success()?;
    let contour = start_contour(&binaries.contour, control_plane)?;
    let envoy = start_envoy(binaries, control_plane)?;
    Ok([envoy, contour])
}

fn start_contour(program: &Path, control_plane: &ControlPlane) -> Result<Process, Error> {
    let port = INGRESS_ADDRESS.rsplit(':').next().unwrap_or_default();
    let mut command = Process::component(program);
    command
        .args(["serve", "--insecure", "--disable-leader-election"])
        .arg(format!("--kubeconfig={}", control_plane.kubeconfig().display()))
        .arg(format!("--xds-address={XDS_ADDRESS}"))
        .arg(format!("--xds-port={XDS_PORT}"))
        .arg("--envoy-service-http-address=127.0.0.1")
        .arg(format!("--envoy-service-http-port={port}"))
        .args(["--http-address=127.0.0.1", "--health-address=127.0.0.1"])
        .arg(format!("--ingress-class-name={INGRESS_CLASS}"));
    let process = Process::start("contour", command, &control_plane.log("contour"))?;
    let address = format!("{XDS_ADDRESS}:{XDS_PORT}");
    await_answer(&process, &address, || TcpStream::connect(&address).map(drop))?;
    Ok(process)
}

fn start_envoy(binaries: &NodeBinaries, control_plane: &ControlPlane) -> Result<Process, Error> {
    let config = control_plane.folder().join("envoy.json");
    let admin = admin_socket(control_plane);
    let mut bootstrap = std::process::Command::new(&binaries.contour);
    bootstrap
        .arg("bootstrap")
        .arg(&config)
        .arg(format!("--xds-address={XDS_ADDRESS}"))
        .arg(format!("--xds-port={XDS_PORT}"))
        .arg(format!("--admin-address={}", admin.display()));
    process::output_of(&bootstrap)?;
    let mut command = Process::component(&binaries.envoy);
    command.arg("-c").arg(&config).args([
        "--service-cluster",
        "default",
        "--service-node",
        "envoy-1",
        "--concurrency",
        "1",
        "--disable-hot-restart",
    ]);
    let process = Process::start("envoy", command, &control_plane.log("envoy"))?;
    await_answer(&process, &admin.display().to_string(), || UnixStream::connect(&admin).map(drop))?;
    Ok(process)
}

/// How many requests to a cluster Envoy has sent a second time. A cluster that Envoy does not know is an error.
pub(super) fn retries(control_plane: &ControlPlane, cluster: &str) -> Result<u64, Error> {
    const REQUEST: &str = "GET /stats?filter=upstream_rq_retry$ HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n";
    let counter = format!("cluster.{cluster}.upstream_rq_retry: ");
    let socket = admin_socket(control_plane);
    let ask = || {
        let mut connection = UnixStream::connect(&socket)?;
        connection.set_read_timeout(Some(Duration::from_secs(ADMIN_LIMIT_SECONDS)))?;
        connection.write_all(REQUEST.as_bytes())?;
        io::read_to_string(connection)
    };
    let answer = ask().map_err(Error::io("ask Envoy at", &socket))?;
    let count = answer.lines().find_map(|line| line.strip_prefix(&counter)?.trim().parse().ok());
    count.ok_or(Error::Unexpected { what: "Envoy's statistics", said: answer })
}

fn admin_socket(control_plane: &ControlPlane) -> PathBuf {
    control_plane.folder().join("envoy.sock")
}

/// Waits until somebody takes a connection.
fn await_answer(process: &Process, place: &str, connect: impl Fn() -> io::Result<()>) -> Result<(), Error> {
    wait::until(format!("{} listens at {place}", process.name()), Duration::from_secs(START_LIMIT_SECONDS), || {
        process.must_run()?;
        Ok(connect().map_or_else(|error| Look::NotYet(error.to_string()), Look::Met))
    })
    .map_err(|error: Error| error.with_log(process))
}
