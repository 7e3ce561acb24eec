//! What the machine has at this moment, as far as a node could change it, and its processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
};

/// The abstract socket that a node holds.
const LOCK_NAME: &str = "no502-node";
const NAMESPACES: [&str; 3] = ["pid", "net", "mnt"];
/// Settings of the kernel for all namespaces; the first six are those that a kubelet writes.
const SETTINGS: [&str; 9] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
];

/// A process; the time of its start tells it from a later one of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) number: u32,
    start: u64,
}

impl Process {
    /// All processes that are not dead, each with its parent's number.
    pub(crate) fn all() -> BTreeMap<Self, u32> {
        let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
        entries.flatten().filter_map(|entry| Self::look(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    fn look(number: u32) -> Option<(Self, u32)> {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        // The name of the program before this may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        if matches!(fields[0], "Z" | "X") {
            return None;
        }
        // The fields 4 and 22 of proc(5).
        Some((Self { number, start: fields.get(19)?.parse().ok()? }, fields.get(1)?.parse().ok()?))
    }

    /// The process and all below it.
    pub(crate) fn tree(root: u32) -> BTreeSet<Self> {
        let all = Self::all();
        let mut tree: BTreeSet<Self> = all.keys().filter(|process| process.number == root).copied().collect();
        loop {
            let numbers: BTreeSet<u32> = tree.iter().map(|process| process.number).collect();
            let below = all.iter().filter(|(_, parent)| numbers.contains(parent)).map(|(process, _)| *process);
            let larger: BTreeSet<Self> = below.chain(tree.iter().copied()).collect();
            if larger.len() == tree.len() {
                return tree;
            }
            tree = larger;
        }
    }

    /// A file of it in `/proc`, with spaces between its strings; empty if it has ended.
    pub(crate) fn read(self, file: &str) -> String {
        let bytes = fs::read(self.folder().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
    }

    /// Where it works; empty if it has ended.
    pub(crate) fn working_folder(self) -> PathBuf {
        fs::read_link(self.folder().join("cwd")).unwrap_or_default()
    }

    /// The names of its namespaces.
    pub(crate) fn namespaces(self) -> BTreeSet<PathBuf> {
        NAMESPACES.iter().filter_map(|kind| fs::read_link(self.folder().join("ns").join(kind)).ok()).collect()
    }

    fn folder(self) -> PathBuf {
        PathBuf::from("/proc").join(self.number.to_string())
    }
}

/// Whether a node could start.
pub(crate) fn is_lock_free() -> bool {
    SocketAddr::from_abstract_name(LOCK_NAME).is_ok_and(|name| UnixListener::bind_addr(&name).is_ok())
}

/// The settings of the kernel that no namespace has for itself, with their values.
pub(crate) fn settings() -> BTreeMap<PathBuf, String> {
    let of_the_kernel = SETTINGS.iter().map(|name| Path::new("/proc/sys").join(name));
    let handed_on = cgroup_roots().into_iter().map(|root| root.join("cgroup.subtree_control"));
    let read = |file: PathBuf| Some((fs::read_to_string(&file).ok()?, file));
    of_the_kernel.chain(handed_on).filter_map(read).map(|(value, file)| (file, value)).collect()
}

/// The network interfaces of a process's namespace.
pub(crate) fn interfaces(process: &str) -> BTreeSet<String> {
    let table = fs::read_to_string(format!("/proc/{process}/net/dev")).unwrap_or_default();
    table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// The lines about mounts in or of a place that a process sees.
pub(crate) fn mounts_with(process: &str, text: &str) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{process}/mounts")).unwrap_or_default();
    table.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Where control groups are mounted.
fn cgroup_roots() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts
        .filter(|fields| fields.get(2).is_some_and(|kind| matches!(*kind, "cgroup" | "cgroup2")))
        .map(|fields| PathBuf::from(fields[1]))
        .collect()
}

/// The control groups whose names contain a text, in every hierarchy.
pub(crate) fn cgroups_with(text: &str) -> Vec<PathBuf> {
    let mut folders = cgroup_roots();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        // A group may go at any moment.
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
                if entry.file_name().to_string_lossy().contains(text) {
                    found.push(entry.path());
                }
            }
        }
    }
    found
}
