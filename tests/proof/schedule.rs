//! Which runs are played when. Most of a run is waiting, so several are played at a time, each in a namespace of its own.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context as _, ensure};

use crate::{
    cluster::ControlPlane,
    outcome::Run,
    say,
    scenario::{Scenario, Side},
    stage::Stage,
};

/// Runs at a time: what two cores carry without being the reason for an error.
const LANES: usize = 3;

/// What the runs of one side have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Company<'a> {
    pub(crate) cluster: &'a ControlPlane,
    /// The program of the application and the load.
    pub(crate) shop: &'a Path,
    pub(crate) side: Side,
    /// Whether a template must have no502's sleep, which shows that no502 is in force, or must not.
    pub(crate) is_injected: bool,
}

/// Plays every run of every scenario on one side; the runs of each, in the scenarios' order.
pub(crate) fn play_all(company: Company<'_>, scenarios: &[Scenario]) -> anyhow::Result<Vec<Vec<Run>>> {
    let mut jobs: Vec<(usize, usize)> =
        scenarios.iter().enumerate().flat_map(|(scenario, it)| (0..it.runs).map(move |run| (scenario, run))).collect();
    // Taken from the end.
    jobs.reverse();
    let jobs = Mutex::new(jobs);
    let done: Mutex<Vec<Vec<Run>>> = Mutex::new(vec![Vec::new(); scenarios.len()]);
    let has_failed = AtomicBool::new(false);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let lane = || -> anyhow::Result<()> {
        while !has_failed.load(Ordering::Relaxed)
            && let Some((index, number)) = next()
        {
            let scenario = &scenarios[index];
            let run = play(company, scenario, number)
                .with_context(|| format!("row {}, {:?} no502, run {}", scenario.id, company.side, number + 1))
                .inspect_err(|_| has_failed.store(true, Ordering::Relaxed))?;
            done.lock().unwrap_or_else(PoisonError::into_inner)[index].push(run);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| match lane.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("a lane panicked"),
        })
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn play(company: Company<'_>, scenario: &Scenario, number: usize) -> anyhow::Result<Run> {
    let Company { cluster, shop, side, is_injected } = company;
    let start = Instant::now();
    let namespace = format!("{}-{}-{}", scenario.id, if side == Side::With { "with" } else { "without" }, number + 1);
    let stage = Stage::set(cluster, side, shop, &namespace, &scenario.props)?;
    stage.must_have_sleep(is_injected && !scenario.props.is_switched_off())?;
    let run = stage.play(|play| (scenario.act)(play, side))?;
    // Before Contour forgets the namespace, and Envoy with it.
    let retries = stage.ingress_retries()?;
    ensure!(retries == 0, "Envoy has sent {retries} requests again: what failed cannot be counted");
    // Its pods would only cost time. Nobody waits for them.
    cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"], None)?.success()?;
    let failures: Vec<String> = run.failures().iter().map(|(end, count)| format!("{count} {end}")).collect();
    let failures = if failures.is_empty() { "none failed".into() } else { failures.join(", ") };
    let requests = run.requests().count();
    say(&format!("{namespace}: {requests} requests, {failures} ({} s)", start.elapsed().as_secs()));
    for fault in &run.faults {
        say(&format!("{namespace}: {fault}"));
    }
    Ok(run)
}
