//! The shape of an end-to-end test: a name, the Kubernetes versions it runs against, and whose control plane it uses, with
//! or without no502 in it.

use std::{
    sync::{Arc, OnceLock},
    thread,
};

use libtest_mimic::{Failed, Trial};

use crate::{
    cluster::{ControlPlane, Options, Version},
    no502::No502,
};

/// A test of the control plane. It passes with `Ok`; a panic (a failed assertion) fails it as an error does.
pub(crate) type Run = fn(&ControlPlane) -> anyhow::Result<()>;

/// A test that installs no502 itself.
pub(crate) type Installing = fn(&Arc<ControlPlane>) -> anyhow::Result<()>;

/// A test of no502.
pub(crate) type Guarded = fn(&No502) -> anyhow::Result<()>;

/// One end-to-end test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct E2e {
    name: &'static str,
    versions: &'static [Version],
    control_plane: Whose,
    apiserver_args: &'static [&'static str],
    run: Test,
}

#[derive(Clone, Copy, Debug)]
enum Test {
    Bare(Run),
    Installing(Installing),
    Guarded(Guarded),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Shared,
    Own,
}

impl E2e {
    /// A test that keeps to a namespace of its own in the control plane all such tests of a version share.
    pub(crate) const fn shared(name: &'static str, versions: &'static [Version], run: Run) -> Self {
        Self { name, versions, control_plane: Whose::Shared, apiserver_args: &[], run: Test::Bare(run) }
    }

    /// A test that disturbs the control plane, or changes what is there once per cluster; it gets one of its own.
    pub(crate) const fn own(name: &'static str, versions: &'static [Version], run: Run) -> Self {
        Self { name, versions, control_plane: Whose::Own, apiserver_args: &[], run: Test::Bare(run) }
    }

    /// A test that installs no502 in its own way, in a control plane of its own.
    pub(crate) const fn own_installing(name: &'static str, versions: &'static [Version], run: Installing) -> Self {
        Self { name, versions, control_plane: Whose::Own, apiserver_args: &[], run: Test::Installing(run) }
    }

    /// A test that keeps to a namespace of its own, with the one no502 that is installed in the shared control plane.
    pub(crate) const fn guarded(name: &'static str, versions: &'static [Version], run: Guarded) -> Self {
        Self { name, versions, control_plane: Whose::Shared, apiserver_args: &[], run: Test::Guarded(run) }
    }

    /// A test that disturbs no502 or the control plane; it gets both of its own.
    pub(crate) const fn own_guarded(name: &'static str, versions: &'static [Version], run: Guarded) -> Self {
        Self { name, versions, control_plane: Whose::Own, apiserver_args: &[], run: Test::Guarded(run) }
    }

    /// The same with further arguments for kube-apiserver, for a control plane of its own.
    pub(crate) const fn with_apiserver_args(self, apiserver_args: &'static [&'static str]) -> Self {
        Self { control_plane: Whose::Own, apiserver_args, ..self }
    }
}

/// What tests share: each control plane and its no502 started by the first test that needs it, all ended when this is
/// dropped.
#[derive(Debug, Default)]
pub(crate) struct SharedControlPlanes([Slot; Version::BUILT.len()]);

/// A start that failed is not tried again: every test that needs it fails with the same words. Dropped in this order.
#[derive(Debug, Default)]
struct Slot {
    no502: OnceLock<Result<No502, String>>,
    control_plane: OnceLock<Result<Arc<ControlPlane>, String>>,
}

impl SharedControlPlanes {
    fn slot(&self, version: Version) -> &Slot {
        &self.0[version as usize]
    }
}

impl Slot {
    fn control_plane(&self, version: Version) -> Result<&Arc<ControlPlane>, Failed> {
        let started = self.control_plane.get_or_init(|| {
            let started = ControlPlane::start(Options::new(version));
            started.map(Arc::new).map_err(|error| format!("no control plane {version}: {error}"))
        });
        started.as_ref().map_err(Into::into)
    }

    fn no502(&self, version: Version) -> Result<&No502, Failed> {
        let control_plane = self.control_plane(version)?;
        let installed =
            self.no502.get_or_init(|| install(control_plane).map_err(|error| format!("no no502: {error:#}")));
        installed.as_ref().map_err(Into::into)
    }
}

fn install(control_plane: &Arc<ControlPlane>) -> anyhow::Result<No502> {
    No502::install(control_plane).inspect_err(|_| control_plane.keep_logs())
}

/// Makes a trial of every test and version, named `topic::name::version` and ignored unless asked for.
///
/// Those on shared control planes come first: the own ones start one more each.
pub(crate) fn trials(topics: &[(&str, Vec<E2e>)], shared: &Arc<SharedControlPlanes>) -> Vec<Trial> {
    let mut runs: Vec<(Version, String, E2e)> = Vec::new();
    for (topic, tests) in topics {
        for test in tests {
            for &version in test.versions {
                runs.push((version, format!("{topic}::{}::{version}", test.name), *test));
            }
        }
    }
    runs.sort_by_key(|&(version, _, test)| (test.control_plane, version));
    runs.into_iter()
        .map(|(version, name, test)| {
            let shared = Arc::clone(shared);
            Trial::test(name, move || run_on(shared.slot(version), version, test)).with_ignored_flag(true)
        })
        .collect()
}

fn run_on(slot: &Slot, version: Version, test: E2e) -> Result<(), Failed> {
    let own;
    let control_plane = match test.control_plane {
        Whose::Shared => slot.control_plane(version)?,
        Whose::Own => {
            let apiserver_args = test.apiserver_args.iter().map(ToString::to_string).collect();
            own = Arc::new(ControlPlane::start(Options { version, apiserver_args })?);
            &own
        }
    };
    let _logs = LogsOnPanic(control_plane);
    let outcome = match test.run {
        Test::Bare(run) => run(control_plane),
        Test::Installing(run) => run(control_plane),
        Test::Guarded(run) => match test.control_plane {
            Whose::Shared => run_guarded(slot.no502(version)?, run),
            Whose::Own => run_guarded(&install(control_plane)?, run),
        },
    };
    outcome.map_err(|error| {
        control_plane.keep_logs();
        format!("{error:#}").into()
    })
}

fn run_guarded(no502: &No502, run: Guarded) -> anyhow::Result<()> {
    run(no502).map_err(|error| anyhow::anyhow!("{error:#}\nthe last lines of no502's log:\n{}", no502.log_tail()))
}

struct LogsOnPanic<'a>(&'a ControlPlane);

impl Drop for LogsOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.keep_logs();
        }
    }
}
