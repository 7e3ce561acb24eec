//! The kubelet.

use std::{fs, path::Path};

use serde_json::json;

use super::{NAME, NodeBinaries, network, write_json};
use crate::cluster::{ControlPlane, error::Error, process::Process};

pub(super) fn start(
    folder: &Path,
    containerd_socket: &Path,
    cgroup: &str,
    binaries: &NodeBinaries,
    control_plane: &ControlPlane,
) -> Result<Process, Error> {
    let kubeconfig = folder.join("kubelet.kubeconfig");
    control_plane.write_kubeconfig(&kubeconfig, &format!("system:node:{NAME}"), Some("system:nodes"))?;
    let root = folder.join("kubelet");
    let in_root = |name: &str| root.join(name);
    fs::create_dir(&root).map_err(Error::io("make the folder", &root))?;
    let config = folder.join("kubelet.json");
    write_json(
        &config,
        &json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": control_plane.client_ca()},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": format!("unix://{}", containerd_socket.display()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup,
            "failCgroupV1": false,
            "failSwapOn": false,
            "enforceNodeAllocatable": [],
            "localStorageCapacityIsolation": false,
            // The machine's disk may be nearly full, and its images cannot be pulled again.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "podLogsDir": in_root("pod-logs"),
            "volumePluginDir": in_root("volume-plugins"),
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
        }),
    )?;
    let mut command = Process::component(&binaries.kubelet);
    command
        .arg(format!("--config={}", config.display()))
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--root-dir={}", root.display()))
        .arg(format!("--cert-dir={}", in_root("certificates").display()))
        .arg(format!("--hostname-override={NAME}"))
        .arg(format!("--node-ip={}", network::NODE_ADDRESS))
        // It looks for mount and umount.
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Process::start("kubelet", command, &control_plane.log("kubelet"))
}
