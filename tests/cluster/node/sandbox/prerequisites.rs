//! What a machine must have for a test node, beside what is built: looked for before anything is started.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use super::{kernel, mounts::SHADOWED_FOLDERS};
use crate::{cluster::process::program_in_path, node::binaries};

/// Programs of the system, and the Debian packages that hold them.
const PROGRAMS: [(&str, &str); 8] = [
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("runc", "runc"),
    ("ldd", "libc-bin"),
    ("python3", "python3-pip"),
];
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// One line that says what is missing and how to get it, if anything is.
pub(super) fn check() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("a test node needs Linux: run this in a Linux virtual machine".into());
    }
    if !rustix::process::geteuid().is_root() {
        // sudo puts its own PATH in place of ours, -E or not; and Debian's users have no sbin in theirs.
        return Err("a test node needs root, for namespaces, mounts and control groups: run this with \
                    sudo -E env \"PATH=$PATH:/usr/sbin\""
            .into());
    }
    let missing = PROGRAMS.iter().filter(|(program, _)| program_in_path(program).is_none());
    let (mut names, mut packages): (Vec<&str>, BTreeSet<&str>) = missing.copied().unzip();
    if binaries::cni_folder().is_none() {
        names.push("CNI plugins");
        packages.insert(CNI_PACKAGE);
    }
    if names.is_empty() {
        return kernel::check(&temporary_folder()?);
    }
    let packages: Vec<&str> = packages.into_iter().collect();
    Err(format!("a test node needs {}: apt-get install {}", names.join(", "), packages.join(" ")))
}

/// The folder for everything temporary, without links on its path. What a node has there must not be hidden from itself.
pub(super) fn temporary_folder() -> Result<PathBuf, String> {
    let temporary = env::temp_dir();
    let real = fs::canonicalize(&temporary)
        .map_err(|error| format!("TMPDIR is {}: {error}; choose another", temporary.display()))?;
    match SHADOWED_FOLDERS.iter().find(|folder| real.starts_with(folder)) {
        Some(folder) => Err(format!("TMPDIR is below {folder}, which a node needs for itself: choose another")),
        None => Ok(real),
    }
}
