//! What the kernel must give a test node: each thing is tried, in namespaces that end with the try, because a module that is
//! not loaded yet is listed nowhere.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use super::{SEPARATION, cgroups};
use crate::cluster::interrupt;

/// What kube-proxy's rules are made of.
const RULES: &str = "table ip no502 {
    chain spread {
        type nat hook prerouting priority dstnat;
        fib daddr type local tcp dport 80 numgen random mod 2 vmap { 0 : drop, 1 : accept };
        tcp dport 81 dnat to 192.0.2.1:80;
    }
    chain hide { type nat hook postrouting priority srcnat; ct state new meta mark 1 masquerade; }
    chain refuse { type filter hook input priority filter; reject; }
}";
/// What the kernel is asked for, and how: arguments of `unshare`.
const KERNEL_PARTS: [(&str, &[&str]); 3] = [
    ("veth pairs", &["--net", "--", "ip", "link", "add", "name", "one", "type", "veth", "peer", "name", "other"]),
    ("nftables with NAT, fib, numgen, conntrack and reject", &["--net", "--", "nft", RULES]),
    ("overlay mounts", &["--mount", "--", "mount", "-t", "overlay", "overlay", "-o", "lowerdir=/etc:/usr", "/"]),
];
/// The commonest cause is that the running kernel's modules went away when a newer one was installed.
const KERNEL_REMEDY: &str = "reboot if the kernel was upgraded, install its modules, or take another machine";
/// The commonest cause is a container, whose root may not make any.
const SEPARATION_REMEDY: &str = "run this on the machine itself, or in a container with all privileges";
/// Of a folder that goes with the try.
const TRIAL_PREFIX: &str = "no502-try-";
const FOLDER_REMEDY: &str = "set TMPDIR to a folder on ext4, xfs or tmpfs";

/// One line that says what is missing, if anything is.
pub(super) fn check(temporary: &Path) -> Result<(), String> {
    let separation = [&SEPARATION[..], &["--", "true"]].concat();
    attempt("namespaces for its network, mounts and processes", &separation, SEPARATION_REMEDY)?;
    let mount = ["--pid", "--fork", "--mount-proc", "--", "true"];
    attempt("mounts in such namespaces", &mount, SEPARATION_REMEDY)?;
    let missing = cgroups::missing_controllers().map_err(|error| error.to_string())?;
    if !missing.is_empty() {
        return Err(format!(
            "a test node needs the control group controllers {}: look for them in the kernel's command line, or take another \
             kernel",
            missing.join(", ")
        ));
    }
    for (what, args) in KERNEL_PARTS {
        attempt(what, args, KERNEL_REMEDY)?;
    }
    let (folder, _undo) = interrupt::undoable(|| {
        let folder = tempfile::Builder::new().prefix(TRIAL_PREFIX).tempdir_in(temporary)?;
        let undo = folder.path().to_owned();
        Ok::<_, io::Error>((folder, Box::new(move || drop(fs::remove_dir_all(undo))) as _))
    })
    .map_err(|error| format!("cannot make a folder in {}: {error}", temporary.display()))?;
    let folder = folder.path();
    let options = overlay(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mount = ["--mount", "--", "mount", "-t", "overlay", "overlay", "-o", &options, &folder.to_string_lossy()];
    attempt("a TMPDIR that can be the upper layer of an overlay", &mount, FOLDER_REMEDY)
}

/// The options of an overlay of folders below `folder`.
fn overlay(folder: &Path) -> io::Result<String> {
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| folder.join(name));
    for made in [&lower, &upper, &work] {
        fs::create_dir(made)?;
    }
    Ok(format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display()))
}

fn attempt(what: &str, args: &[&str], remedy: &str) -> Result<(), String> {
    let output = Command::new("unshare").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run unshare: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
    Err(format!("a test node needs {what}, not to be had here ({}): {remedy}", said.trim()))
}
