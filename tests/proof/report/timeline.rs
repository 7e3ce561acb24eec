//! A run cut into buckets of time, so that a picture of it is as small for 60,000 requests as for 600.

use std::collections::BTreeMap;

use super::super::outcome::{End, Request, Run, UnixMs};

/// How wide a bucket is, where the run is not too long for it.
const BUCKET_MS: u64 = 500;

/// A run in buckets of equal width; the last one is up to half wider or narrower, so that it always stands for enough time.
#[derive(Debug)]
pub(super) struct Timeline {
    width_ms: u64,
    length_ms: u64,
    pub(super) buckets: Vec<Bucket>,
}

/// One stretch of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    /// Those that were due in it.
    pub(super) requests: usize,
    /// Those that failed in it, and may have been due earlier.
    pub(super) failures: BTreeMap<End, usize>,
}

/// From the run's start to the last of its end, its requests and its marks.
pub(super) fn length_ms(run: &Run) -> u64 {
    let times = run.requests().map(Request::counts_at).chain(run.marks.iter().map(|mark| mark.at));
    times.chain([run.end]).map(|at| since_start(run, at)).max().unwrap_or_default()
}

/// What lies before the run's start counts as its start.
pub(super) fn since_start(run: &Run, at: UnixMs) -> u64 {
    at.saturating_sub(run.start)
}

/// The width of a bucket, for no more than `most` of them in the longest run.
pub(super) fn width_ms(longest_ms: u64, most: u64) -> u64 {
    BUCKET_MS.saturating_mul(longest_ms.div_ceil(BUCKET_MS.saturating_mul(most)).max(1))
}

impl Timeline {
    pub(super) fn of(run: &Run, width_ms: u64) -> Self {
        let length_ms = length_ms(run);
        let count = (length_ms.saturating_add(width_ms / 2) / width_ms).max(1);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut buckets = vec![Bucket::default(); count];
        let index = |at| {
            let index = usize::try_from(since_start(run, at) / width_ms).unwrap_or(usize::MAX);
            index.min(count - 1)
        };
        for request in run.requests() {
            buckets[index(request.at)].requests += 1;
            if request.end.is_failure() {
                *buckets[index(request.counts_at())].failures.entry(request.end).or_insert(0) += 1;
            }
        }
        Self { width_ms, length_ms, buckets }
    }

    /// When a bucket begins and ends, in milliseconds from the run's start.
    pub(super) fn edges_ms(&self, index: usize) -> (u64, u64) {
        let from = self.width_ms.saturating_mul(u64::try_from(index).unwrap_or(u64::MAX));
        let is_last = index + 1 == self.buckets.len();
        let to =
            if is_last { self.length_ms.max(from.saturating_add(self.width_ms / 2)) } else { from + self.width_ms };
        (from, to)
    }

    /// A count of a bucket as a rate a second.
    pub(super) fn rate(&self, index: usize, count: usize) -> f64 {
        let (from, to) = self.edges_ms(index);
        float(count) * 1000.0 / float_ms(to - from)
    }

    /// The highest rate of requests, and that of failures.
    pub(super) fn peaks(&self) -> (f64, f64) {
        let buckets = self.buckets.iter().enumerate();
        buckets.fold((0.0, 0.0), |(requests, failures): (f64, f64), (index, bucket)| {
            let failed = bucket.failures.values().sum();
            (requests.max(self.rate(index, bucket.requests)), failures.max(self.rate(index, failed)))
        })
    }
}

/// A count as a number to draw with; more than four milliards are drawn as four milliards.
pub(super) fn float(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

/// Milliseconds as a number to draw with.
pub(super) fn float_ms(ms: u64) -> f64 {
    u32::try_from(ms).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            super::outcome::{Mark, Path},
            summary,
        },
        *,
    };

    fn end() -> impl Strategy<Value = End> {
        prop_oneof![
            Just(End::Ok),
            Just(End::Refused),
            Just(End::Reset),
            Just(End::Timeout),
            (500_u16..505).prop_map(End::Status)
        ]
    }

    fn requests() -> impl Strategy<Value = Vec<Request>> {
        let request = (900_u64..100_000, 0_u32..20_000, end());
        let request = request.prop_map(|(at, took_ms, end)| Request { at, took_ms, end });
        proptest::collection::vec(request, 0..300)
    }

    proptest! {
        #[test]
        fn buckets_hold_every_request_once(a in requests(), b in requests(), end in 0_u64..120_000, most in 1_u64..200) {
            let paths = vec![Path { name: "Ingress", requests: a }, Path { name: "Service", requests: b }];
            let run = Run { start: 1000, end, paths, ..Run::default() };
            let width = width_ms(length_ms(&run), most);
            let timeline = Timeline::of(&run, width);
            let mut failures = BTreeMap::new();
            for (end, count) in timeline.buckets.iter().flat_map(|bucket| &bucket.failures) {
                *failures.entry(*end).or_insert(0) += count;
            }
            prop_assert_eq!(timeline.buckets.iter().map(|bucket| bucket.requests).sum::<usize>(), run.requests().count());
            prop_assert_eq!(&failures, &run.failures());
            prop_assert_eq!(failures.values().sum::<usize>(), summary::failed(&run));
            prop_assert!(timeline.buckets.len() <= usize::try_from(most).unwrap() + 1);
            for index in 0..timeline.buckets.len() {
                let (from, to) = timeline.edges_ms(index);
                prop_assert!(from < to, "{from} {to}");
                prop_assert!(index == 0 || timeline.edges_ms(index - 1).1 == from);
            }
        }
    }

    #[test]
    fn a_failure_is_drawn_where_it_ended_and_its_request_where_it_was_due() {
        let requests = vec![Request { at: 400, took_ms: 700, end: End::Reset }];
        let paths = vec![Path { name: "Ingress", requests }];
        let timeline = Timeline::of(&Run { end: 2000, paths, ..Run::default() }, 500);
        let counts = timeline.buckets.iter().map(|bucket| (bucket.requests, bucket.failures.len()));
        assert_eq!(counts.collect::<Vec<_>>(), [(1, 0), (0, 0), (0, 1), (0, 0)]);
    }

    #[test]
    fn a_constant_load_has_a_constant_rate_to_the_end() {
        for length in [1000, 1200, 1290, 1700] {
            let requests = (0..length).step_by(10).map(|at| Request { at, took_ms: 1, end: End::Ok });
            let paths = vec![Path { name: "Ingress", requests: requests.collect() }];
            let timeline = Timeline::of(&Run { end: length, paths, ..Run::default() }, 500);
            for (index, bucket) in timeline.buckets.iter().enumerate() {
                let rate = timeline.rate(index, bucket.requests);
                assert!((99.0..=101.0).contains(&rate), "{length}: bucket {index} has {rate}");
            }
        }
    }

    #[test]
    fn nothing_and_nonsense_have_one_bucket_or_few() {
        let marks = vec![Mark { at: u64::MAX, what: "never".to_owned() }];
        for run in [Run::default(), Run { start: 5, end: 3, ..Run::default() }, Run { marks, ..Run::default() }] {
            let timeline = Timeline::of(&run, width_ms(length_ms(&run), 100));
            assert!(timeline.buckets.len() <= 101, "{}", timeline.buckets.len());
            let (requests, failures) = timeline.peaks();
            assert!(requests + failures < f64::EPSILON, "{requests} {failures}");
        }
    }
}
