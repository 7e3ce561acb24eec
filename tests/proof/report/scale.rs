//! The axes of a row: the same for every run of both sides, so that the pictures can be compared.

use super::{
    super::outcome::Run,
    timeline::{Timeline, float_ms, length_ms, width_ms},
};

/// Below this many failures a second the axis does not shrink: one failure shall not look like an outage.
const ERRORS_TOP_MIN: f64 = 10.0;
/// Ticks on an axis upwards, the one at zero not counted.
const TICKS_UP_MAX: f64 = 4.0;
const TICKS_OF_TIME_MAX: u64 = 14;
/// Steps of the time axis that people can add up.
const STEPS_S: [u64; 13] = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600];

#[derive(Debug)]
pub(super) struct Scale {
    /// The width of a bucket.
    pub(super) width_ms: u64,
    /// The longest run; never nothing.
    pub(super) length_ms: u64,
    pub(super) requests: Axis,
    pub(super) errors: Axis,
}

/// An axis from zero to a round number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    step: f64,
    pub(super) top: f64,
}

impl Scale {
    /// For all the runs of a row, each cut into `buckets_max` buckets or fewer.
    pub(super) fn of<'a>(runs: impl Iterator<Item = &'a Run> + Clone, buckets_max: u64) -> Self {
        let length_ms = runs.clone().map(length_ms).max().unwrap_or_default().max(1000);
        let width_ms = width_ms(length_ms, buckets_max);
        let peaks = runs.map(|run| Timeline::of(run, width_ms).peaks());
        let (requests, errors) = peaks.fold((1.0, ERRORS_TOP_MIN), |(requests, errors): (f64, f64), (more, failed)| {
            (requests.max(more), errors.max(failed))
        });
        Self { width_ms, length_ms, requests: Axis::to(requests), errors: Axis::to(errors) }
    }

    /// The share of the time axis that lies before this moment.
    pub(super) fn share(&self, ms: u64) -> f64 {
        float_ms(ms.min(self.length_ms)) / float_ms(self.length_ms)
    }

    /// Round moments on the time axis, in seconds; `room` of all that fit on a wide one.
    pub(super) fn ticks_s(&self, room: u64) -> Vec<u64> {
        let length_s = self.length_ms / 1000;
        let most = TICKS_OF_TIME_MAX.min(room).max(1);
        let fits = |step: &u64| length_s / step <= most;
        let step = STEPS_S.into_iter().find(fits).unwrap_or_else(|| length_s.div_ceil(most));
        (0..=length_s / step).map(|tick| tick * step).collect()
    }
}

impl Axis {
    fn to(most: f64) -> Self {
        let rough = most / TICKS_UP_MAX;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough).max(1.0);
        Self { step, top: step * (most / step).ceil() }
    }

    /// Zero, and every step to the top.
    pub(super) fn ticks(self) -> Vec<f64> {
        let mut ticks = vec![0.0];
        let mut next = self.step;
        while next <= self.top * 1.001 {
            ticks.push(next);
            next += self.step;
        }
        ticks
    }

    pub(super) fn share(self, rate: f64) -> f64 {
        (rate / self.top).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_numbers_above_the_highest() {
        for (most, ticks) in [
            (1.0, vec![0.0, 1.0]),
            (10.0, vec![0.0, 5.0, 10.0]),
            (37.0, vec![0.0, 10.0, 20.0, 30.0, 40.0]),
            (203.0, vec![0.0, 100.0, 200.0, 300.0]),
        ] {
            assert_eq!(format!("{:?}", Axis::to(most).ticks()), format!("{ticks:?}"), "{most}");
        }
    }

    #[test]
    fn time_has_a_few_round_ticks_however_long_it_is() {
        for length_ms in [1000, 7300, 42_000, 61_000, 600_000, 90_000_000, u64::MAX] {
            let run = Run { end: length_ms, ..Run::default() };
            let scale = Scale::of([run].iter(), 400);
            for room in [3, 14] {
                let ticks = scale.ticks_s(room);
                assert!((1..=room + 1).contains(&u64::try_from(ticks.len()).unwrap()), "{length_ms}: {ticks:?}");
            }
        }
        let run = Run { end: 42_000, ..Run::default() };
        assert_eq!(Scale::of([run].iter(), 400).ticks_s(5), [0, 10, 20, 30, 40]);
    }

    #[test]
    fn no_run_at_all_has_a_scale() {
        let scale = Scale::of([].iter(), 400);
        assert_eq!((scale.length_ms, scale.width_ms), (1000, 500));
        assert!(scale.errors.top >= ERRORS_TOP_MIN && scale.share(500) > 0.4);
    }
}
