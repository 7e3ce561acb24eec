//! End-to-end tests against a real API server. All are ignored by default, since the first run builds Kubernetes:
//! `cargo test --test e2e -- --include-ignored [NAME]`. Flags are those of the standard harness; there is one name filter.

mod cleanup;
mod denials;
mod fights;
mod generated;
mod injections;
mod no502;
mod policies;
mod policy_previews;
mod policy_reports;
mod policy_rights;
mod policy_schema;
mod random;
mod removal;
mod repairs;
mod resilience;
mod rights;
mod rollouts;
mod room;
mod sleep_gate;
mod smoke;
mod transitions;
mod trial;
mod ways;

#[expect(dead_code, reason = "a node uses more of it than these tests")]
#[path = "../cluster/mod.rs"]
mod cluster;

#[expect(clippy::unwrap_used, reason = "the integration tests' own, where a case that cannot be made fails the test")]
#[path = "../it/policy_cases.rs"]
mod policy_cases;

#[path = "../it/policy_published.rs"]
mod policy_published;

use std::{io, process::ExitCode, sync::Arc};

use libtest_mimic::Arguments;
use trial::SharedControlPlanes;

/// A control plane alone can keep two cores busy while it starts.
const DEFAULT_TEST_THREADS: usize = 2;

fn main() -> io::Result<ExitCode> {
    cluster::interrupt::watch()?;
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(DEFAULT_TEST_THREADS);
    let shared = Arc::new(SharedControlPlanes::default());
    let topics = [
        ("smoke", smoke::trials()),
        ("denials", denials::trials()),
        ("transitions", transitions::trials()),
        ("injections", injections::trials()),
        ("repairs", repairs::trials()),
        ("fights", fights::trials()),
        ("generated", generated::trials()),
        ("cleanup", cleanup::trials()),
        ("resilience", resilience::trials()),
        ("policies", policies::trials()),
        ("policy_previews", policy_previews::trials()),
        ("policy_reports", policy_reports::trials()),
        ("removal", removal::trials()),
        ("rights", rights::trials()),
        ("sleep_gate", sleep_gate::trials()),
        ("policy_schema", policy_schema::trials()),
        ("policy_rights", policy_rights::trials()),
    ];
    let trials = trial::trials(&topics, &shared);
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Every trial has given up its share, so the control planes end here and not at some time during exit.
    drop(shared);
    Ok(conclusion.exit_code())
}
