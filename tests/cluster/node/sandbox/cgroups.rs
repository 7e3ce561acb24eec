//! The control groups of a test node: one of the same name in every hierarchy of version 1, or one of version 2.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::cluster::error::Error;

const MOUNT_TABLE: &str = "/proc/self/mounts";
/// The kubelet and runc look nowhere else. Network plugins mount a hierarchy a second time elsewhere.
const ROOT: &str = "/sys/fs/cgroup";
/// A new group of this controller in version 1 holds nothing until it is told which CPUs and memory nodes are its own.
const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
/// What a node needs. A kernel may have them and not hand them out: Raspberry Pis boot with `cgroup_disable=memory`.
const NEEDED_CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
/// What the kubelet also wants where the kernel has it.
const WANTED_CONTROLLERS: [&str; 2] = ["hugetlb", "io"];
/// Version 2 lists here what a group has.
const CONTROLLERS_FILE: &str = "cgroup.controllers";
/// Version 2 lists here what a group hands on.
const HANDED_ON_FILE: &str = "cgroup.subtree_control";

/// In the sandbox's folder: the controllers that the root of version 2 has not handed on before.
const NOTE: &str = "handed-on-controllers";

/// The needed controllers that no hierarchy has.
pub(super) fn missing_controllers() -> Result<Vec<&'static str>, Error> {
    let found: Vec<String> = hierarchies()?.iter().flat_map(Hierarchy::controllers).collect();
    Ok(NEEDED_CONTROLLERS.into_iter().filter(|needed| !found.iter().any(|it| it == needed)).collect())
}

/// Makes the groups in every hierarchy. Notes in `folder` what [`withdraw`] has to take back.
pub(super) fn create(name: &str, folder: &Path) -> Result<(), Error> {
    let hierarchies = hierarchies()?;
    let note: Vec<String> = hierarchies.iter().flat_map(Hierarchy::not_handed_on).collect();
    let file = folder.join(NOTE);
    fs::write(&file, note.join(" ")).map_err(Error::io("write", file))?;
    hierarchies.iter().try_for_each(|hierarchy| hierarchy.create(name))
}

/// Takes back what the root has been made to hand on, once the groups are gone.
pub(super) fn withdraw(folder: &Path) {
    let note = words(&folder.join(NOTE));
    for hierarchy in hierarchies().unwrap_or_default().iter().filter(|hierarchy| hierarchy.is_version_2) {
        for controller in &note {
            // By now somebody else may need it.
            let _ = fs::write(hierarchy.root.join(HANDED_ON_FILE), format!("-{controller}"));
        }
    }
}

/// Removes the groups and all below. An error where a process is still in one of them.
pub(super) fn remove(name: &str) -> io::Result<()> {
    let hierarchies = hierarchies().map_err(io::Error::other)?;
    hierarchies
        .iter()
        .map(|hierarchy| hierarchy.root.join(name))
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

/// One mounted hierarchy.
#[derive(Debug)]
struct Hierarchy {
    root: PathBuf,
    /// Of version 1: among them its controllers.
    mount_options: Vec<String>,
    is_version_2: bool,
}

impl Hierarchy {
    fn controllers(&self) -> Vec<String> {
        if self.is_version_2 { words(&self.root.join(CONTROLLERS_FILE)) } else { self.mount_options.clone() }
    }

    fn create(&self, name: &str) -> Result<(), Error> {
        let group = self.root.join(name);
        fs::create_dir(&group).map_err(Error::io("make the control group", &group))?;
        if self.is_version_2 {
            return self.delegate(&group);
        }
        for file in CPUSET_FILES.iter().filter(|file| self.root.join(file).exists()) {
            let value = fs::read(self.root.join(file)).map_err(Error::io("read", self.root.join(file)))?;
            fs::write(group.join(file), value).map_err(Error::io("write", group.join(file)))?;
        }
        Ok(())
    }

    /// What a node gets of version 2, needed or wanted.
    fn delegated(&self) -> Vec<&'static str> {
        let present = if self.is_version_2 { self.controllers() } else { Vec::new() };
        let is_present = |controller: &&str| present.iter().any(|it| it == controller);
        NEEDED_CONTROLLERS.into_iter().chain(WANTED_CONTROLLERS).filter(is_present).collect()
    }

    /// What of it the root does not hand on now.
    fn not_handed_on(&self) -> Vec<String> {
        let handed_on = words(&self.root.join(HANDED_ON_FILE));
        self.delegated().into_iter().map(str::to_owned).filter(|controller| !handed_on.contains(controller)).collect()
    }

    /// Lets the groups below have the controllers. systemd, which hands on only what its units use, cannot take back what a
    /// group below the root hands on itself.
    fn delegate(&self, group: &Path) -> Result<(), Error> {
        for controller in self.delegated() {
            for giver in [&self.root, group] {
                let file = giver.join(HANDED_ON_FILE);
                fs::write(&file, format!("+{controller}")).map_err(|problem| {
                    // The root of a container's own cgroup namespace holds processes, and may not hand on anything.
                    Error::Unfit(format!(
                        "{}: cannot hand on the controller {controller} ({problem}): run this on the machine itself, not in a \
                         container",
                        file.display()
                    ))
                })?;
            }
        }
        Ok(())
    }
}

fn words(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// What is mounted where it is looked for.
fn hierarchies() -> Result<Vec<Hierarchy>, Error> {
    let table = fs::read_to_string(MOUNT_TABLE).map_err(Error::io("read", MOUNT_TABLE))?;
    Ok(table.lines().filter_map(hierarchy).collect())
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    let mut fields = line.split(' ').skip(1);
    let (root, kind, options) = (PathBuf::from(fields.next()?), fields.next()?, fields.next()?);
    let is_ours = matches!(kind, "cgroup" | "cgroup2") && root.starts_with(ROOT);
    let mount_options = options.split(',').map(str::to_owned).collect();
    is_ours.then(|| Hierarchy { root, mount_options, is_version_2: kind == "cgroup2" })
}
