//! What a node has on the machine while it runs, and what of it is left afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{
    machine::{self, Process},
    running::Running,
    wait::{self, Look},
};

/// What others may do with a file.
const OTHERS_MASK: u32 = 0o077;
const CLEAN_LIMIT: Duration = Duration::from_secs(30);
/// What a ready node consists of at least: the three processes outside, the first one inside, nine components, and a pod's
/// shim and program.
const PROCESSES_MIN: usize = 15;
/// A namespace of each kind for the node, and of a pod at least those for its network and its mounts.
const NAMESPACES_MIN: usize = 5;

/// The machine before a node was started.
#[derive(Debug)]
pub(crate) struct Before {
    interfaces: BTreeSet<String>,
    settings: BTreeMap<PathBuf, String>,
}

/// What a running node has.
#[derive(Debug)]
pub(crate) struct Traces {
    before: Before,
    temporary: PathBuf,
    /// Name of its folder and of its control groups.
    name: String,
    processes: BTreeSet<Process>,
    namespaces: BTreeSet<PathBuf>,
}

impl Before {
    pub(crate) fn look() -> Self {
        Self { interfaces: machine::interfaces("self"), settings: machine::settings() }
    }

    /// Looks at all that it has by now.
    pub(crate) fn record(self, running: &Running) -> anyhow::Result<Traces> {
        let folder = running.folder().context("it has made no folder")?;
        let processes = Process::tree(running.number());
        let own = own_namespaces();
        let namespaces = processes.iter().flat_map(|process| process.namespaces()).filter(|it| !own.contains(it));
        Ok(Traces {
            before: self,
            temporary: running.temporary().to_owned(),
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            namespaces: namespaces.collect(),
            processes,
        })
    }
}

impl Traces {
    /// The process of a component.
    pub(crate) fn component(&self, program: &str) -> anyhow::Result<Process> {
        let found = self.processes.iter().find(|process| process.read("comm") == program);
        found.copied().with_context(|| format!("no {program}"))
    }

    /// Fails where a look at the machine would find nothing although everything is there.
    pub(crate) fn must_be_complete(&self, first_process: u32) -> anyhow::Result<()> {
        let first_process = first_process.to_string();
        ensure!(self.processes.len() >= PROCESSES_MIN, "only these processes: {:?}", self.processes);
        ensure!(self.namespaces.len() >= NAMESPACES_MIN, "only these namespaces: {:?}", self.namespaces);
        let cgroups = machine::cgroups_with(&self.name);
        let holds_process =
            |group: &Path| !fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().is_empty();
        let below = cgroups.iter().flat_map(|group| walk(group)).filter(|path| path.is_dir());
        ensure!(below.into_iter().any(|group| holds_process(&group)), "no process in the control groups {cgroups:?}");
        ensure!(!machine::mounts_with(&first_process, &self.name).is_empty(), "no mounts inside");
        ensure!(machine::interfaces(&first_process).contains("node0"), "no interface inside");
        let mode = fs::metadata(self.temporary.join(&self.name))?.mode();
        ensure!(mode & OTHERS_MASK == 0, "others may look into its folder, where its keys are: mode {mode:o}");
        ensure!(!machine::is_lock_free(), "the lock is free while it runs");
        Ok(())
    }

    /// Waits until nothing is left.
    pub(crate) fn must_go(&self) -> anyhow::Result<()> {
        self.must_go_but(|_| false)
    }

    /// The same but for some files and the folders that lead to them.
    pub(crate) fn must_go_but(&self, is_kept: impl Fn(&Path) -> bool) -> anyhow::Result<()> {
        wait::until("nothing is left", CLEAN_LIMIT, || {
            let left = self.left(&is_kept);
            Ok(if left.is_empty() { Look::Met(()) } else { Look::NotYet(left.join("\n")) })
        })
    }

    fn left(&self, is_kept: impl Fn(&Path) -> bool) -> Vec<String> {
        let mut left: Vec<String> = Process::all().into_keys().filter_map(|process| self.belonging(process)).collect();
        left.extend(machine::cgroups_with(&self.name).iter().map(|group| format!("cgroup {}", group.display())));
        left.extend(machine::mounts_with("self", &self.name).iter().map(|mount| format!("mount {mount}")));
        let leaves = walk(&self.temporary).into_iter().filter(|path| *path != self.temporary && is_leaf(path));
        left.extend(leaves.filter(|path| !is_kept(path)).map(|path| format!("file {}", path.display())));
        let is_ours = |name: &&String| ["node0", "far0"].contains(&name.as_str()) || name.starts_with("veth");
        let interfaces = machine::interfaces("self");
        left.extend(interfaces.difference(&self.before.interfaces).filter(is_ours).map(|it| format!("interface {it}")));
        let settings = machine::settings();
        // One that was not there came with a module of the kernel.
        let is_changed =
            |(file, value): &(&PathBuf, &String)| self.before.settings.get(*file).is_some_and(|it| it != *value);
        let changed = settings.iter().filter(is_changed);
        left.extend(changed.map(|(file, value)| format!("setting {}, now {}", file.display(), value.trim_end())));
        if !machine::is_lock_free() {
            left.push("the lock, so that no other node can start".into());
        }
        left
    }

    /// What a process has to do with the node, if anything.
    fn belonging(&self, process: Process) -> Option<String> {
        let named = ["cmdline", "environ"].iter().any(|file| process.read(file).contains(&self.name));
        let works_there = process.working_folder().to_string_lossy().contains(&self.name);
        let lives_there = process.namespaces().iter().any(|it| self.namespaces.contains(it));
        let belongs = self.processes.contains(&process) || named || works_there || lives_there;
        belongs.then(|| format!("process {}: {}", process.number, process.read("cmdline")))
    }
}

fn own_namespaces() -> BTreeSet<PathBuf> {
    let this = Process::all().into_keys().find(|process| process.number == std::process::id());
    this.map(Process::namespaces).unwrap_or_default()
}

/// The folder and everything below.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// A file or an empty folder.
fn is_leaf(path: &Path) -> bool {
    path.read_dir().map_or(true, |mut entries| entries.next().is_none())
}
