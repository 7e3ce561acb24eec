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

use cluster::{Binaries, ControlPlane, Options, Version};

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
    Build,
    /// Start a control plane and keep it until Ctrl-C
    Up {
        /// 1.37, 1.35 or 1.33
        #[arg(long, default_value_t = Version::V1_37)]
        version: Version,
    },
}

fn main() -> ExitCode {
    match run(&Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    cluster::interrupt::watch()?;
    match command {
        Command::Build => build(),
        Command::Up { version } => up(*version),
    }
}

fn build() -> anyhow::Result<()> {
    for version in Version::BUILT {
        let Binaries { etcd, apiserver, controller_manager, kubectl, helm } = Binaries::find_or_build(version)?;
        for path in [etcd, apiserver].into_iter().chain(controller_manager).chain([kubectl, helm]) {
            writeln!(stdout(), "{version}: {}", path.display())?;
        }
    }
    Ok(())
}

/// Runs until a component ends on its own, which is an error, or an interrupt ends the program.
fn up(version: Version) -> anyhow::Result<()> {
    let control_plane = ControlPlane::start(Options::new(version))?;
    writeln!(stdout(), "# Kubernetes {version} at {}, Ctrl-C ends it", control_plane.apiserver_url())?;
    writeln!(stdout(), "export KUBECONFIG={}", control_plane.kubeconfig().display())?;
    loop {
        control_plane.check()?;
        thread::sleep(Duration::from_secs(CHECK_INTERVAL_SECONDS));
    }
}
