//! The shape of an end-to-end test: a name, the Kubernetes versions it runs against, and whose control plane it uses.

use std::{
    sync::{Arc, OnceLock},
    thread,
};

use libtest_mimic::{Failed, Trial};

use crate::cluster::{ControlPlane, Options, Version};

/// A test passes with `Ok`; a panic (a failed assertion) fails it as an error does.
pub(crate) type Run = fn(&ControlPlane) -> anyhow::Result<()>;

/// One end-to-end test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct E2e {
    name: &'static str,
    versions: &'static [Version],
    control_plane: Whose,
    run: Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Shared,
    Own,
}

impl E2e {
    /// A test that keeps to a namespace of its own in the control plane all such tests of a version share.
    pub(crate) const fn shared(name: &'static str, versions: &'static [Version], run: Run) -> Self {
        Self { name, versions, control_plane: Whose::Shared, run }
    }

    /// A test that disturbs the control plane, or changes what is there once per cluster; it gets one of its own.
    pub(crate) const fn own(name: &'static str, versions: &'static [Version], run: Run) -> Self {
        Self { name, versions, control_plane: Whose::Own, run }
    }
}

/// The control planes tests share: each started by the first test that needs it, all ended when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct SharedControlPlanes {
    newest: Slot,
    oldest: Slot,
}

/// A start that failed is not tried again: every test that needs it fails with the same words.
type Slot = OnceLock<Result<ControlPlane, String>>;

impl SharedControlPlanes {
    fn get(&self, version: Version) -> Result<&ControlPlane, Failed> {
        let slot = match version {
            Version::V1_37 => &self.newest,
            Version::V1_35 => &self.oldest,
        };
        let started =
            slot.get_or_init(|| ControlPlane::start(Options::new(version)).map_err(|error| error.to_string()));
        started.as_ref().map_err(|error| format!("no control plane {version}: {error}").into())
    }
}

/// Makes a trial of every test and version, named `topic::name::version` and ignored unless asked for.
///
/// Those on shared control planes come first: the own ones start one more each.
pub(crate) fn trials(topics: &[(&str, Vec<E2e>)], shared: &Arc<SharedControlPlanes>) -> Vec<Trial> {
    let mut runs: Vec<(Whose, Version, String, Run)> = Vec::new();
    for (topic, tests) in topics {
        for test in tests {
            for &version in test.versions {
                runs.push((test.control_plane, version, format!("{topic}::{}::{version}", test.name), test.run));
            }
        }
    }
    runs.sort_by_key(|&(whose, version, ..)| (whose, version));
    runs.into_iter()
        .map(|(whose, version, name, run)| {
            let shared = Arc::clone(shared);
            let trial = Trial::test(name, move || match whose {
                Whose::Shared => run_on(shared.get(version)?, run),
                Whose::Own => run_on(&ControlPlane::start(Options::new(version))?, run),
            });
            trial.with_ignored_flag(true)
        })
        .collect()
}

fn run_on(control_plane: &ControlPlane, run: Run) -> Result<(), Failed> {
    let _logs = LogsOnPanic(control_plane);
    run(control_plane).map_err(|error| {
        control_plane.keep_logs();
        format!("{error:#}").into()
    })
}

struct LogsOnPanic<'a>(&'a ControlPlane);

impl Drop for LogsOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.keep_logs();
        }
    }
}
