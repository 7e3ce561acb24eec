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

use anyhow::Context as _;

use crate::{
    cluster::ControlPlane,
    outcome::Run,
    say,
    scenario::{Scenario, Side},
    stage::Stage,
};
/// Runs at a time: what two cores carry without being the reason for an error. A pod that starts while others do listens
/// later, and one without a readiness probe gets requests all the same.
const LANES: usize = 2;

/// Plays every run of every scenario on one side; the runs of each, in the scenarios' order.
pub(crate) fn play_all(
    cluster: &ControlPlane,
    shop: &Path,
    scenarios: &[Scenario],
    side: Side,
) -> anyhow::Result<Vec<Vec<Run>>> {
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
            let run = play(cluster, shop, scenario, side, number)
                .with_context(|| format!("row {}, {side:?} no502, run {}", scenario.id, number + 1))
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

fn play(cluster: &ControlPlane, shop: &Path, scenario: &Scenario, side: Side, number: usize) -> anyhow::Result<Run> {
    let start = Instant::now();
    let namespace = format!("{}-{}-{}", scenario.id, if side == Side::With { "with" } else { "without" }, number + 1);
    let stage = Stage::set(cluster, shop, &namespace, &scenario.props)?;
    let run = stage.play(|play| (scenario.act)(play, side))?;
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
