//! A program that starts a node, as a person starts it, in a temporary folder of its own, which shows what it leaves there.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    BUSY,
    machine::{self, Process},
    programs,
    wait::{self, Look},
};

const READY_LIMIT: Duration = Duration::from_mins(2);
const POD_LIMIT: Duration = Duration::from_mins(2);
/// A killed process has ended at once, but for what the kernel still has to do; an interrupted one cleans up first.
pub(crate) const END_LIMIT: Duration = Duration::from_mins(1);
/// The start of the line that leads inside, up to the number of the first process.
pub(crate) const ENTER: &str = "nsenter --target ";
/// The one image that a node always has; its program does nothing.
const IMAGE: &str = "no502.dev/pause:1";

/// A program that is about to be started.
#[derive(Debug)]
pub(crate) struct Prepared {
    command: Command,
    output: PathBuf,
    temporary: PathBuf,
    folder: TempDir,
}

impl Prepared {
    /// The program that does nothing but start a node.
    pub(crate) fn cluster() -> anyhow::Result<Self> {
        Self::new(&programs::built()?.cluster, &["node"])
    }

    /// The proof, which gets as far as a node.
    pub(crate) fn proof() -> anyhow::Result<Self> {
        Self::new(&programs::built()?.proof, &["--no502", "/bin/true", "--shop", "/bin/true"])
    }

    fn new(program: &Path, args: &[&str]) -> anyhow::Result<Self> {
        ensure!(machine::is_lock_free(), "{BUSY}: try again when it has ended");
        let folder = tempfile::Builder::new().prefix("no502-test-").tempdir()?;
        let [temporary, output] = ["tmp", "output"].map(|name| folder.path().join(name));
        fs::create_dir(&temporary)?;
        // Ends with the tests, even if those are killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program).args(args).env("TMPDIR", &temporary);
        Ok(Self { command, output, temporary, folder })
    }

    /// A folder of its own, gone with it, which holds the temporary one.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The temporary folder that it will have.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> anyhow::Result<Running> {
        let child = self.spawn()?;
        Ok(Running { child, prepared: self })
    }

    fn spawn(&mut self) -> anyhow::Result<Child> {
        let file = File::create(&self.output)?;
        self.command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn().context("setpriv")
    }
}

/// A running program, with what it prints in a file.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    prepared: Prepared,
}

impl Running {
    /// Starts a node.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Prepared::cluster()?.start()
    }

    /// Starts it again with the temporary folder of the one that has ended.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = self.prepared.spawn()?;
        Ok(())
    }

    /// The number of the process that a person has started.
    pub(crate) fn number(&self) -> u32 {
        self.child.id()
    }

    /// What it and everything below has printed.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.prepared.output).unwrap_or_default()
    }

    /// The folder of its own for everything temporary.
    pub(crate) fn temporary(&self) -> &Path {
        &self.prepared.temporary
    }

    /// The folder that it has made there.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let mut folders = self.temporary().read_dir().ok()?.flatten();
        Some(folders.find(|it| it.file_name().to_string_lossy().starts_with("no502-node-"))?.path())
    }

    /// Waits for a state on the way to readiness.
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> anyhow::Result<T> {
        wait::until(what, READY_LIMIT, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before {what}:\n{}", self.output());
            }
            Ok(look(self).map_or_else(|| Look::NotYet(self.output()), Look::Met))
        })
    }

    /// The number of the process that runs as the first one inside; 0 before there is one.
    pub(crate) fn first_process(&self) -> u32 {
        // Before there is one, the kernel is tried with `unshare`, too.
        let is_inside = |process: Process| process.read("environ").contains("NO502_SANDBOX_ROLE=inside");
        self.below("unshare").and_then(|unshare| child_of(unshare, is_inside)).unwrap_or_default()
    }

    /// The number of a process of that program right below the one that a person has started.
    pub(crate) fn below(&self, program: &str) -> Option<u32> {
        child_of(self.number(), |process| process.read("comm") == program)
    }

    /// Waits until it says that it is ready. Gives the number of the first process inside, as it says.
    pub(crate) fn await_ready(&mut self) -> anyhow::Result<u32> {
        let line = self.until("the node is ready", |this| enter_line(&this.output()))?;
        let number = line[ENTER.len()..].split(' ').next().unwrap_or_default();
        number.parse().with_context(|| format!("no number in {line:?}"))
    }

    /// Runs a command inside, by the line that it has printed.
    pub(crate) fn inside(&self, command: &str) -> anyhow::Result<String> {
        let line = enter_line(&self.output()).context("no line that leads inside")?;
        let line = line.strip_suffix("bash").with_context(|| format!("no shell in {line:?}"))?;
        let output = Command::new("bash").arg("-c").arg(line.to_owned() + command).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command}: {}: {errors}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a pod, so that there is something to leave behind.
    pub(crate) fn run_pod(&mut self) -> anyhow::Result<()> {
        self.inside(&format!("kubectl run left-behind --image={IMAGE}"))?;
        wait::until("a pod runs", POD_LIMIT, || {
            let phase = self.inside("kubectl get pod left-behind -o jsonpath={.status.phase}")?;
            Ok(if phase == "Running" { Look::Met(()) } else { Look::NotYet(phase) })
        })
    }

    /// Waits until the process that a person has started has ended.
    pub(crate) fn await_end(&mut self) -> anyhow::Result<ExitStatus> {
        self.await_end_within(END_LIMIT)
    }

    /// The same for one that ends by itself at a time when it could be ready.
    pub(crate) fn await_failure(&mut self) -> anyhow::Result<ExitStatus> {
        self.await_end_within(READY_LIMIT)
    }

    fn await_end_within(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        wait::until("it has ended", limit, || {
            Ok(self.child.try_wait()?.map_or_else(|| Look::NotYet(self.output()), Look::Met))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // Nothing can be done about an error: the test has failed already.
            let _ = signal(self.number(), Signal::TERM);
            let _ = self.await_end();
        }
    }
}

/// Waits until a process has ended.
pub(crate) fn await_end_of(number: u32) -> anyhow::Result<()> {
    wait::until(format!("process {number} has ended"), END_LIMIT, || {
        let is_there = Process::all().keys().any(|process| process.number == number);
        Ok(if is_there { Look::NotYet("it is running".into()) } else { Look::Met(()) })
    })
}

/// Sends a signal.
pub(crate) fn signal(number: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw).context("no process has this number")?;
    kill_process(pid, signal).with_context(|| format!("process {number}"))
}

fn enter_line(output: &str) -> Option<String> {
    // The line is complete once the next one is there.
    let (line, _) = output.split_once(ENTER)?.1.split_once('\n')?;
    Some(format!("{ENTER}{line}"))
}

fn child_of(parent: u32, is_wanted: impl Fn(Process) -> bool) -> Option<u32> {
    let all = Process::all();
    let mut children = all.iter().filter(|(_, its_parent)| **its_parent == parent).map(|(process, _)| *process);
    children.find(|process| is_wanted(*process)).map(|process| process.number)
}
