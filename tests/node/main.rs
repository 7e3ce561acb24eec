//! Tests of the test node itself (`../cluster/node/`): it leaves nothing behind however it ends, and says in one line why it
//! does not start. All are ignored by default, since they need root and the programs of a node, whose build takes many minutes:
//! `cargo test --test node -- --include-ignored [NAME]`. One at a time, since there is one node at a time.

#[cfg(target_os = "linux")]
mod abandoned;
#[cfg(target_os = "linux")]
mod cached;
#[cfg(target_os = "linux")]
mod endings;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod programs;
#[cfg(target_os = "linux")]
mod refusals;
#[cfg(target_os = "linux")]
mod running;
#[cfg(target_os = "linux")]
mod traces;
#[cfg(target_os = "linux")]
#[path = "../cluster/wait.rs"]
mod wait;

use std::{
    env,
    io::{Write as _, stderr},
    process::ExitCode,
};

use libtest_mimic::{Arguments, Trial};

/// What the programs say if another node runs.
#[cfg(target_os = "linux")]
const BUSY: &str = "another test node runs on this machine";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let is_asked_for = !arguments.list && (arguments.include_ignored || arguments.ignored);
    match if is_asked_for { reason_to_leave_out() } else { Ok(None) } {
        Ok(None) => libtest_mimic::run(&arguments, trials()).exit_code(),
        Ok(Some(reason)) => {
            let _ = writeln!(stderr(), "LEFT OUT: the tests of the test node: {reason}");
            if env::var_os("CI").is_some_and(|ci| ci == "true") { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
fn trials() -> Vec<Trial> {
    [refusals::trials(), abandoned::trials(), cached::trials(), endings::trials()].into_iter().flatten().collect()
}

#[cfg(not(target_os = "linux"))]
fn trials() -> Vec<Trial> {
    Vec::new()
}

/// Why this machine cannot run them. That it runs a node already is none: the tests fail then.
#[cfg(target_os = "linux")]
fn reason_to_leave_out() -> anyhow::Result<Option<String>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Some("they need root: run them with sudo -E".into()));
    }
    let unfit = programs::unfit()?;
    if unfit.is_none() {
        // The tests have limits of time, in which nothing must have to be built.
        programs::build_all()?;
    }
    Ok(unfit)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "it is the same function on Linux")]
fn reason_to_leave_out() -> anyhow::Result<Option<String>> {
    Ok(Some("they need Linux: run them in a Linux virtual machine".into()))
}
