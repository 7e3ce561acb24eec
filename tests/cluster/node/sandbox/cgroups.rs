//! The control groups of a test node: one of the same name in every hierarchy of version 1, or one of version 2.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::cluster::error::Error;

const MOUNT_TABLE: &str = "/proc/self/mounts";
/// A new group of this controller holds nothing until it is told which CPUs and memory nodes are its own.
const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
/// What the kubelet wants of version 2.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// Makes the groups in every hierarchy.
pub(super) fn create(name: &str) -> Result<(), Error> {
    for root in hierarchies()? {
        let group = root.join(name);
        fs::create_dir(&group).map_err(Error::io("make the control group", &group))?;
        for file in CPUSET_FILES.iter().filter(|file| root.join(file).exists()) {
            let value = fs::read(root.join(file)).map_err(Error::io("read", root.join(file)))?;
            fs::write(group.join(file), value).map_err(Error::io("write", group.join(file)))?;
        }
        delegate(&root);
        delegate(&group);
    }
    Ok(())
}

/// Removes the groups and all below. An error where a process is still in one of them.
pub(super) fn remove(name: &str) -> io::Result<()> {
    let hierarchies = hierarchies().map_err(io::Error::other)?;
    hierarchies
        .iter()
        .map(|root| root.join(name))
        .filter(|group| group.is_dir())
        .try_for_each(|group| remove_tree(&group))
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Lets groups below have the controllers of version 2. A controller that is not there is the kubelet's to complain about.
fn delegate(group: &Path) {
    for controller in CONTROLLERS {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Where the hierarchies are mounted.
fn hierarchies() -> Result<Vec<PathBuf>, Error> {
    let table = fs::read_to_string(MOUNT_TABLE).map_err(Error::io("read", MOUNT_TABLE))?;
    let mounts = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    Ok(mounts
        .filter(|fields| fields.get(2).is_some_and(|kind| matches!(*kind, "cgroup" | "cgroup2")))
        .map(|fields| PathBuf::from(fields[1]))
        .collect())
}
