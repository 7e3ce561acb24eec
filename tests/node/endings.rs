//! However a node ends, nothing of it is left on the machine.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, ExitStatus},
};

use anyhow::{Context as _, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::{
    machine::Process,
    programs::{EXIT_CODE_BROKEN, EXIT_CODE_FAILURE},
    running::{Prepared, Running, signal},
    traces::{Before, Traces},
};

/// How a person's or a script's Ctrl-C ends the program.
const EXIT_CODE_INTERRUPTED: i32 = 130;
const KILL_NUMBER: i32 = 9;
const KILLED: &str = "the test node was killed";

/// Whom a signal hits.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The process that a person has started.
    Outside,
    /// The one that makes the namespaces.
    Unshare,
    /// The first one inside.
    FirstProcess,
}

/// A signal, and how the process that a person has started must end then.
#[derive(Clone, Copy, Debug)]
struct Ending {
    name: &'static str,
    victim: Victim,
    signal: Signal,
    is_expected: fn(ExitStatus) -> bool,
    /// What it must say about it.
    line: &'static str,
}

const ENDINGS: [Ending; 5] = [
    Ending {
        name: "ctrl_c",
        victim: Victim::Outside,
        signal: Signal::INT,
        is_expected: |status| status.code() == Some(EXIT_CODE_INTERRUPTED),
        line: "",
    },
    Ending {
        name: "terminated",
        victim: Victim::Outside,
        signal: Signal::TERM,
        is_expected: |status| status.code() == Some(EXIT_CODE_INTERRUPTED),
        line: "",
    },
    Ending {
        name: "killed",
        victim: Victim::Outside,
        signal: Signal::KILL,
        is_expected: |status| status.signal() == Some(KILL_NUMBER),
        line: "",
    },
    Ending {
        name: "killed_first_process_inside",
        victim: Victim::FirstProcess,
        signal: Signal::KILL,
        is_expected: |status| status.code() == Some(EXIT_CODE_FAILURE),
        line: KILLED,
    },
    Ending {
        name: "killed_unshare",
        victim: Victim::Unshare,
        signal: Signal::KILL,
        is_expected: |status| status.code() == Some(EXIT_CODE_FAILURE),
        line: KILLED,
    },
];

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: Box<dyn FnOnce() -> anyhow::Result<()> + Send>| {
        Trial::test(format!("endings::{name}"), move || run().map_err(|error| format!("{error:#}").into()))
            .with_ignored_flag(true)
    };
    let mut trials: Vec<Trial> =
        ENDINGS.into_iter().map(|ending| trial(ending.name, Box::new(move || end(ending)))).collect();
    trials.push(trial("ctrl_c_at_once", Box::new(interrupt_at_once)));
    trials.push(trial("killed_kubelet", Box::new(kill_kubelet)));
    trials.push(trial("killed_proof", Box::new(kill_proof)));
    trials.push(trial("something_stays", Box::new(hold_something)));
    trials.push(trial("killed_with_its_janitor", Box::new(kill_with_janitor)));
    trials
}

/// A ready node with a pod, and what it has.
fn boot() -> anyhow::Result<(Running, Traces)> {
    let before = Before::look();
    let mut running = Running::start()?;
    let first_process = running.await_ready()?;
    ensure!(first_process == running.first_process(), "the line that leads inside names another process");
    running.run_pod()?;
    let traces = before.record(&running)?;
    traces.must_be_complete(first_process)?;
    Ok((running, traces))
}

fn end(Ending { victim, signal: sent, is_expected, line, .. }: Ending) -> anyhow::Result<()> {
    let (mut running, traces) = boot()?;
    let number = match victim {
        Victim::Outside => running.number(),
        Victim::Unshare => running.below("unshare").context("no unshare")?,
        Victim::FirstProcess => running.first_process(),
    };
    signal(number, sent)?;
    let status = running.await_end()?;
    let output = running.output();
    ensure!(is_expected(status), "it ended with {status}:\n{output}");
    ensure!(output.contains(line), "it does not say {line:?}:\n{output}");
    traces.must_go()
}

type Moment = fn(&Running) -> Option<()>;

/// The earlier, the less there is to clean up, and the less there is that could do it.
fn interrupt_at_once() -> anyhow::Result<()> {
    let moments: [(&str, Moment); 3] = [
        ("it has a folder", |running| running.folder().map(drop)),
        ("it has namespaces", |running| (running.first_process() != 0).then_some(())),
        ("something runs inside", |running| {
            let first_process = running.first_process();
            (first_process != 0 && Process::tree(first_process).len() > 1).then_some(())
        }),
    ];
    for (moment, is_now) in moments {
        let before = Before::look();
        let mut running = Running::start()?;
        running.until(moment, is_now)?;
        let traces = before.record(&running)?;
        signal(running.number(), Signal::INT)?;
        let status = running.await_end()?;
        ensure!(status.code() == Some(EXIT_CODE_INTERRUPTED), "{moment}: {status}:\n{}", running.output());
        traces.must_go().context(moment)?;
    }
    Ok(())
}

/// A component that ends is named, and its log is all that stays.
fn kill_kubelet() -> anyhow::Result<()> {
    let (mut running, traces) = boot()?;
    let kubelet = traces.component("kubelet")?;
    signal(kubelet.number, Signal::KILL)?;
    let status = running.await_end()?;
    let output = running.output();
    ensure!(status.code() == Some(EXIT_CODE_FAILURE), "it ended with {status}:\n{output}");
    let error = output.lines().find(|line| line.starts_with("error: kubelet ended (signal: 9 (SIGKILL))"));
    let error = error.with_context(|| format!("no word about the kubelet:\n{output}"))?;
    let log = error.split_once("its log is ").and_then(|(_, rest)| rest.split_once(','));
    let log = Path::new(log.with_context(|| format!("no log in {error:?}"))?.0);
    ensure!(log.is_file(), "{} is not there", log.display());
    ensure!(output.contains("the logs are kept in"), "no word about the logs:\n{output}");
    ensure!(!output.contains(KILLED), "it says {KILLED:?}, which it was not:\n{output}");
    let logs = log.parent().context("the folder of the logs")?;
    traces.must_go_but(|path| path.parent() == Some(logs) && path.extension().is_some_and(|it| it == "log"))
}

/// A killed proof is neither won nor lost.
fn kill_proof() -> anyhow::Result<()> {
    let before = Before::look();
    let mut running = Prepared::proof()?.start()?;
    running
        .until("the first process runs", |running| running.folder()?.join("first-process").is_file().then_some(()))?;
    let traces = before.record(&running)?;
    signal(running.first_process(), Signal::KILL)?;
    let status = running.await_end()?;
    let output = running.output();
    ensure!(status.code() == Some(EXIT_CODE_BROKEN), "it ended with {status}:\n{output}");
    ensure!(output.contains(KILLED), "it does not say {KILLED:?}:\n{output}");
    traces.must_go()
}

/// What cannot be removed is named, and so is how the node itself has ended.
fn hold_something() -> anyhow::Result<()> {
    let before = Before::look();
    let mut running = Running::start()?;
    // Before that a component that ends may be started again, on another port.
    running.await_ready()?;
    let traces = before.record(&running)?;
    let etcd = traces.component("etcd")?;
    let held = running.folder().context("no folder")?.join("held");
    fs::create_dir(&held)?;
    mount(&["-t", "tmpfs", "tmpfs"], &held)?;
    signal(etcd.number, Signal::KILL)?;
    let status = running.await_end();
    umount(&held)?;
    let output = running.output();
    ensure!(status?.code() == Some(EXIT_CODE_FAILURE), "it is not a failure:\n{output}");
    let line =
        format!("error: the test node ended with code {EXIT_CODE_FAILURE}, but not everything of it could be removed");
    ensure!(output.contains(&line), "no word about what stays:\n{output}");
    running.start_again()?;
    running.until("what was left is gone", |_| (!held.exists()).then_some(()))?;
    signal(running.number(), Signal::INT)?;
    running.await_end()?;
    traces.must_go_but(|path| path.extension().is_some_and(|it| it == "log"))
}

fn mount(args: &[&str], place: &Path) -> anyhow::Result<()> {
    let status = Command::new("mount").args(args).arg(place).status().context("mount")?;
    ensure!(status.success(), "mount {args:?}: {status}");
    Ok(())
}

fn umount(place: &Path) -> anyhow::Result<()> {
    let status = Command::new("umount").arg(place).status().context("umount")?;
    ensure!(status.success(), "umount {}: {status}", place.display());
    Ok(())
}

/// Nobody is left who could clean up: the next start does.
fn kill_with_janitor() -> anyhow::Result<()> {
    let (mut running, traces) = boot()?;
    let janitor = running.below("cluster").context("no janitor")?;
    let folder = running.folder().context("no folder")?;
    signal(janitor, Signal::KILL)?;
    signal(running.number(), Signal::KILL)?;
    running.await_end()?;
    ensure!(folder.is_dir(), "somebody has cleaned up");
    running.start_again()?;
    running.until("what was left is gone", |_| (!folder.exists()).then_some(()))?;
    signal(running.number(), Signal::INT)?;
    running.await_end()?;
    traces.must_go()
}
