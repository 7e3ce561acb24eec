//! How things are measured: rounds that take turns, so that a slow moment of the machine meets both sides of a ratio, and counted
//! allocations.

use std::{alloc::System, fmt, hint::black_box, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

use crate::table::duration;

/// Counting costs a few nanoseconds an allocation, in the times as well.
#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Rounds of one comparison.
const ROUNDS: usize = 151;
/// Length of one side of one round: shorter than what the scheduler gives to others.
const TURN: Duration = Duration::from_millis(2);

/// What one call costs, over all rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) best_ns: f64,
    pub(crate) median_ns: f64,
}

/// The costs of two ways, and their ratio: best by best, and the median of the rounds' own ratios.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    pub(crate) base: Cost,
    pub(crate) subject: Cost,
    pub(crate) best_ratio: f64,
    pub(crate) median_ratio: f64,
}

/// `12.6 us (14.3 us), 9.1x of 1.4 us`: the best, the median, the median ratio, and the best of the base.
impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [best, median, base] = [self.subject.best_ns, self.subject.median_ns, self.base.best_ns].map(duration);
        write!(formatter, "{best} ({median}), {:.1}x of {base}", self.median_ratio)
    }
}

/// Times `base` and `subject` in turns.
pub(crate) fn compare<A, B>(mut base: impl FnMut() -> A, mut subject: impl FnMut() -> B) -> Comparison {
    let (base_calls, subject_calls) = (calls_of_a_turn(&mut base), calls_of_a_turn(&mut subject));
    let rounds = (0..ROUNDS).map(|_| (time(&mut base, base_calls), time(&mut subject, subject_calls)));
    let rounds: Vec<(f64, f64)> = rounds.collect();
    let (base, subject) = (cost(rounds.iter().map(|it| it.0)), cost(rounds.iter().map(|it| it.1)));
    let ratios = cost(rounds.iter().map(|(base, subject)| subject / base));
    Comparison { base, subject, best_ratio: subject.best_ns / base.best_ns, median_ratio: ratios.median_ns }
}

/// Times one way that is too slow for turns.
pub(crate) fn repeat<A>(rounds: usize, mut subject: impl FnMut() -> A) -> Cost {
    cost((0..rounds).map(|_| time(&mut subject, 1)))
}

fn calls_of_a_turn<A>(subject: &mut impl FnMut() -> A) -> u32 {
    let mut calls = 1;
    loop {
        let took = time(subject, calls) * f64::from(calls);
        if took >= 5e5 {
            return (f64::from(calls) * TURN.as_secs_f64() * 1e9 / took).ceil() as u32;
        }
        calls *= 2;
    }
}

/// Nanoseconds of one call.
fn time<A>(subject: &mut impl FnMut() -> A, calls: u32) -> f64 {
    let started = cpu_ns();
    for _ in 0..calls {
        black_box(subject());
    }
    (cpu_ns() - started) / f64::from(calls)
}

/// What this thread has used of a processor: the wall clock also counts what others use in between.
fn cpu_ns() -> f64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.tv_sec as f64 * 1e9 + used.tv_nsec as f64
}

fn cost(rounds: impl Iterator<Item = f64>) -> Cost {
    let mut rounds: Vec<f64> = rounds.collect();
    rounds.sort_by(f64::total_cmp);
    Cost { best_ns: rounds[0], median_ns: rounds[rounds.len() / 2] }
}

/// What one call asks of the allocator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocations {
    /// Allocations and reallocations.
    pub(crate) count: usize,
    /// All bytes ever asked for, whether or not they were given back.
    pub(crate) bytes: usize,
}

/// Counts the allocations of one call, after one that fills what is filled once.
pub(crate) fn allocations<A>(mut subject: impl FnMut() -> A) -> Allocations {
    black_box(subject());
    let before = COUNTED.stats();
    black_box(subject());
    let change = COUNTED.stats() - before;
    Allocations { count: change.allocations + change.reallocations, bytes: change.bytes_allocated }
}

/// Bytes in use at this moment.
pub(crate) fn live_bytes() -> usize {
    let Stats { bytes_allocated, bytes_deallocated, .. } = COUNTED.stats();
    bytes_allocated - bytes_deallocated
}
