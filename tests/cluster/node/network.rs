//! The network inside a sandbox: a node address, a default route, and forwarding between pods.

use std::{fs, process::Command};

use crate::cluster::{error::Error, process::output_of};

/// Seen by nobody outside.
pub(crate) const NODE_ADDRESS: &str = "192.168.231.2";
const GATEWAY_ADDRESS: &str = "192.168.231.1";
/// The addresses of pods.
pub(super) const POD_RANGE: &str = "10.244.0.0/16";

/// Makes the interfaces and routes. The far end of the pair has nobody behind it.
pub(super) fn set_up() -> Result<(), Error> {
    let node_address = format!("{NODE_ADDRESS}/24");
    let steps: [&[&str]; 6] = [
        &["link", "set", "lo", "up"],
        &["link", "add", "node0", "type", "veth", "peer", "name", "far0"],
        &["address", "add", &node_address, "dev", "node0"],
        &["link", "set", "far0", "up"],
        &["link", "set", "node0", "up"],
        &["route", "add", "default", "via", GATEWAY_ADDRESS, "dev", "node0"],
    ];
    for step in steps {
        output_of(Command::new("ip").args(step))?;
    }
    for setting in ["ip_forward", "conf/all/route_localnet"] {
        let file = format!("/proc/sys/net/ipv4/{setting}");
        fs::write(&file, "1").map_err(Error::io("write", file))?;
    }
    Ok(())
}
