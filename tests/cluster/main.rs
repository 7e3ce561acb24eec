//! The test control plane on its own: `build` gets its programs ready, `up` starts one to play with.

use std::{
    io::{Write as _, stdout},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::{Parser, Subcommand};

#[expect(dead_code, reason = "the tests use more of it than this program")]
#[path = "mod.rs"]
mod cluster;
#[expect(dead_code, reason = "the proof uses more of it than this program")]
#[path = "node/mod.rs"]
mod node;

use cluster::{Binaries, ControlPlane, Options, Version};
use node::{
    Node, NodeBinaries,
    sandbox::{self, Place, Role},
};

const NODE_VERSION: Version = Version::V1_37;

const CHECK_INTERVAL_SECONDS: u64 = 1;

/// A real Kubernetes control plane for trying no502.
#[derive(Parser)]
#[command(name = "cluster")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or build the programs of every version; the first time takes about 15 minutes on two cores
    Build {
        /// Those of a node, too
        #[arg(long)]
        node: bool,
    },
    /// Start a control plane and keep it until Ctrl-C
    Up {
        /// 1.37, 1.35 or 1.33
        #[arg(long, default_value_t = Version::V1_37)]
        version: Version,
    },
    /// Start a control plane with a node and an ingress controller, in namespaces of their own, and a shell in there; needs root
    Node,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let role = sandbox::role()?;
    if let Role::Done(code) = role {
        return Ok(code);
    }
    let command = Args::parse().command;
    cluster::interrupt::watch()?;
    match command {
        Command::Build { node } => build(node),
        Command::Up { version } => up(version),
        Command::Node => node(&role),
    }
}

/// Outside: gets everything ready and goes inside. Inside: a whole cluster.
fn node(role: &Role) -> anyhow::Result<ExitCode> {
    let Role::Inside(place) = role else {
        sandbox::check_prerequisites()?;
        Binaries::find_or_build(NODE_VERSION)?;
        NodeBinaries::find_or_build(NODE_VERSION)?;
        cluster::progress::say(&format!("starting Kubernetes {NODE_VERSION} with a node"));
        return Ok(sandbox::run_inside(None)?);
    };
    let control_plane = ControlPlane::start(node::options(Options::new(NODE_VERSION))?)?;
    run_node(place, &control_plane).inspect_err(|_| control_plane.keep_logs())
}

/// Runs until a component ends on its own, which is an error, or the process outside is interrupted.
fn run_node(place: &Place, control_plane: &ControlPlane) -> anyhow::Result<ExitCode> {
    let mut node = Node::start(place, control_plane)?;
    node.start_ingress_controller(control_plane)?;
    let kubectl = Binaries::find_or_build(NODE_VERSION)?.kubectl;
    writeln!(
        stdout(),
        "# Kubernetes {NODE_VERSION} with a node, Ctrl-C ends it. A shell in there, with kubectl:\n\
         nsenter --target {} --net --mount --pid env KUBECONFIG='{}' PATH='{}':\"$PATH\" bash\n\
         # Ingresses of class {} answer in there, at http://{}",
        place.first_process,
        control_plane.kubeconfig().display(),
        kubectl.parent().unwrap_or(&kubectl).display(),
        node::INGRESS_CLASS,
        node::INGRESS_ADDRESS,
    )?;
    loop {
        control_plane.check()?;
        node.check()?;
        thread::sleep(Duration::from_secs(CHECK_INTERVAL_SECONDS));
    }
}

fn build(with_node: bool) -> anyhow::Result<ExitCode> {
    for version in Version::BUILT {
        let Binaries { etcd, apiserver, controller_manager, kubectl, helm } = Binaries::find_or_build(version)?;
        for path in [etcd, apiserver].into_iter().chain(controller_manager).chain([kubectl, helm]) {
            writeln!(stdout(), "{version}: {}", path.display())?;
        }
    }
    if with_node {
        let NodeBinaries { kubelet, containerd, contour, envoy, .. } = NodeBinaries::find_or_build(NODE_VERSION)?;
        for path in [kubelet, containerd, contour, envoy] {
            writeln!(stdout(), "a node: {}", path.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs until a component ends on its own, which is an error, or an interrupt ends the program.
fn up(version: Version) -> anyhow::Result<ExitCode> {
    let control_plane = ControlPlane::start(Options::new(version))?;
    writeln!(stdout(), "# Kubernetes {version} at {}, Ctrl-C ends it", control_plane.apiserver_url())?;
    writeln!(stdout(), "export KUBECONFIG={}", control_plane.kubeconfig().display())?;
    loop {
        control_plane.check()?;
        thread::sleep(Duration::from_secs(CHECK_INTERVAL_SECONDS));
    }
}
