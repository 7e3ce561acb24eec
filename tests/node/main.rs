//! Tests of the test node itself (`../cluster/node/`): it leaves nothing behind however it ends, and says in one line why it
//! does not start. All are ignored by default, since they need root and the programs of a node, whose build takes many minutes:
//! `cargo test --test node -- --include-ignored [NAME]`. One at a time, since there is one node at a time.

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
    if is_asked_for && let Some(reason) = reason_to_leave_out() {
        let _ = writeln!(stderr(), "LEFT OUT: the tests of the test node: {reason}");
        return if env::var_os("CI").is_some_and(|ci| ci == "true") { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    libtest_mimic::run(&arguments, trials()).exit_code()
}

#[cfg(target_os = "linux")]
fn trials() -> Vec<Trial> {
    refusals::trials().into_iter().chain(endings::trials()).collect()
}

#[cfg(not(target_os = "linux"))]
fn trials() -> Vec<Trial> {
    Vec::new()
}

/// Why this machine cannot run them. That it runs a node already is none: the tests fail then.
#[cfg(target_os = "linux")]
fn reason_to_leave_out() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("they need root: run them with sudo -E".into());
    }
    match programs::unfit() {
        Ok(reason) => reason.filter(|reason| !reason.contains(BUSY)),
        Err(error) => Some(format!("{error:#}")),
    }
}

#[cfg(not(target_os = "linux"))]
fn reason_to_leave_out() -> Option<String> {
    Some("they need Linux: run them in a Linux virtual machine".into())
}
