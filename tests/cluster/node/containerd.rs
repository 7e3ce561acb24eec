//! containerd with runc, its network plugins, and the images it gets from files.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::json;

use super::{
    NodeBinaries,
    image::{self, Image},
    network, write_json,
};
use crate::cluster::{
    ControlPlane,
    error::Error,
    process::{self, Process},
    wait::{self, Look},
};

const NAMES: &str = "k8s.io";
const PAUSE_IMAGE: &str = "no502.dev/pause:1";
const PAUSE_SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/node/pause/main.rs");
const START_LIMIT_SECONDS: u64 = 60;

/// The configuration of one containerd.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) socket: PathBuf,
    program: PathBuf,
    config: PathBuf,
}

impl Settings {
    /// Writes the configuration, that of the pods' network included.
    pub(super) fn write(folder: &Path, binaries: &NodeBinaries) -> Result<Self, Error> {
        let cni = folder.join("cni");
        fs::create_dir(&cni).map_err(Error::io("make the folder", &cni))?;
        write_json(
            &cni.join("10-node.conflist"),
            &json!({
                "cniVersion": "1.0.0",
                "name": "node",
                "plugins": [{
                    // Every pod has its own link, so that an answer comes back the way the request went.
                    "type": "ptp",
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": network::POD_RANGE}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": folder.join("addresses"),
                    },
                }],
            }),
        )?;
        let socket = folder.join("containerd.sock");
        let config = folder.join("containerd.toml");
        let text = format!(
            r#"version = 3
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{socket}"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
# Where we may not lower it, runc fails without a word.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins}"]
conf_dir = "{cni}"
"#,
            root = folder.join("containerd").display(),
            state = folder.join("state").display(),
            socket = socket.display(),
            runc = binaries.runc.display(),
            plugins = binaries.cni_folder.display(),
            cni = cni.display(),
        );
        fs::write(&config, text).map_err(Error::io("write", &config))?;
        Ok(Self { socket, program: binaries.containerd.clone(), config })
    }

    /// Starts containerd and waits until it serves.
    pub(super) fn start(&self, control_plane: &ControlPlane) -> Result<Process, Error> {
        let mut path = self.program.parent().unwrap_or(&self.program).as_os_str().to_owned();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut command = Process::component(&self.program);
        command.arg("--config").arg(&self.config).env("PATH", path);
        let process = Process::start("containerd", command, &control_plane.log("containerd"))?;
        wait::until("containerd serves", Duration::from_secs(START_LIMIT_SECONDS), || {
            process.must_run()?;
            let is_there = self.socket.exists();
            Ok(if is_there { Look::Met(()) } else { Look::NotYet("no socket yet".into()) })
        })
        .map_err(|error: Error| error.with_log(&process))?;
        Ok(process)
    }
}

/// Gives an image archive to containerd.
pub(super) fn import(ctr: &Path, socket: &Path, archive: &Path) -> Result<(), Error> {
    let mut command = Command::new(ctr);
    command.arg("--address").arg(socket).args(["--namespace", NAMES, "images", "import"]).arg(archive);
    process::output_of(&command).map(drop)
}

/// The image that holds a pod's namespaces: a program that does nothing.
pub(super) fn pause_image(folder: &Path) -> Result<Image, Error> {
    let program = folder.join("pause");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "-O", "-C", "target-feature=+crt-static", "-o"]).arg(&program).arg(PAUSE_SOURCE);
    process::output_of(&rustc)?;
    image::build(folder, &[PAUSE_IMAGE], &[image::File::program(&program, "/pause")], &["/pause"])
}
