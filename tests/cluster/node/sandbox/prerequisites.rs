//! What a machine must have for a test node, beside what is built: looked for before anything is started.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{kernel, mounts::SHADOWED_FOLDERS};
use crate::{
    cluster::process::{self, program_in_path},
    node::{binaries, wheel},
};

/// Programs of the system, and the Debian packages that hold them.
const PROGRAMS: [(&str, &str); 7] = [
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("runc", "runc"),
    ("ldd", "libc-bin"),
];
const CNI_PACKAGE: &str = "containernetworking-plugins";
const PIP_PACKAGE: &str = "python3-pip";
/// The sockets of a node are below it, and the path of a socket has 107 bytes at most. The longest one of a node takes 58:
/// /no502-node-xxxxxx/node/kubelet/pod-resources/kubelet.sock
const TEMPORARY_BYTES_MAX: usize = 48;
/// Beside letters and digits: what means nothing in the options of a mount, in TOML, or to a shell.
const TEMPORARY_CHARACTERS: &str = "/._-+@";

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
    if !wheel::is_cached() && !has_pip() {
        names.push("python3 with pip");
        packages.insert(PIP_PACKAGE);
    }
    if names.is_empty() {
        return kernel::check(&temporary_folder()?);
    }
    let packages: Vec<&str> = packages.into_iter().collect();
    Err(format!("a test node needs {} (Debian: apt-get install {})", names.join(", "), packages.join(" ")))
}

/// Debian's python3 comes without.
fn has_pip() -> bool {
    program_in_path("python3")
        .is_some_and(|python| process::output_of(Command::new(python).args(["-m", "pip", "--version"])).is_ok())
}

/// The folder for everything temporary, without links on its path.
pub(super) fn temporary_folder() -> Result<PathBuf, String> {
    let temporary = env::temp_dir();
    if temporary.is_relative() {
        return Err(format!(
            "TMPDIR is {}, which depends on where a program works: choose another",
            temporary.display()
        ));
    }
    let real = fs::canonicalize(&temporary)
        .map_err(|error| format!("TMPDIR is {}: {error}; choose another", temporary.display()))?;
    match obstacle(&real) {
        Some(obstacle) => Err(format!("TMPDIR is {}, {obstacle}: choose another", real.display())),
        None => Ok(real),
    }
}

/// Why a folder cannot hold a node, as far as its path tells.
fn obstacle(folder: &Path) -> Option<String> {
    // What a node has there would be hidden from itself.
    if let Some(hidden) = SHADOWED_FOLDERS.iter().find(|hidden| folder.starts_with(hidden)) {
        return Some(format!("which is below {hidden}, which a node needs for itself"));
    }
    let text = folder.to_string_lossy();
    if let Some(other) = text.chars().find(|it| !it.is_ascii_alphanumeric() && !TEMPORARY_CHARACTERS.contains(*it)) {
        return Some(format!(
            "which has {other:?} in it, where a node can have letters, digits and {TEMPORARY_CHARACTERS}"
        ));
    }
    (text.len() > TEMPORARY_BYTES_MAX)
        .then(|| format!("which is longer than {TEMPORARY_BYTES_MAX} characters, too long for the sockets of a node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_must_suit_sockets_mounts_and_configurations() {
        let fits = |path: &str| obstacle(Path::new(path)).is_none();
        assert!(fits("/tmp") && fits("/home/me/a_b-c.d+e@f"));
        assert!(fits(&format!("/{}", "x".repeat(TEMPORARY_BYTES_MAX - 1))));
        assert!(!fits(&format!("/{}", "x".repeat(TEMPORARY_BYTES_MAX))));
        for path in ["/a,b", "/a:b", "/a\"b", "/a b", "/a'b", "/a\\b", "/\u{e4}", "/run", "/var/lib/x", "/var/log"] {
            assert!(!fits(path), "{path}");
        }
        assert!(fits("/runs/x"));
    }
}
