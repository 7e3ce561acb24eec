//! What a load amounted to, for people.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
    time::Duration,
};

use super::{end::End, record::Record};

/// The sums over all requests that have ended.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    requests: u64,
    failures: BTreeMap<End, u64>,
    /// When the first and the last failed request were due, after the start.
    failed_between: Option<(Duration, Duration)>,
    longest_answer: Option<Duration>,
    /// The first fault that has no name of its own.
    other: Option<String>,
    /// Requests that were under way when somebody would not wait for them. What became of them is not known.
    pub(crate) given_up: usize,
}

impl Summary {
    /// Counts a request. They end in another order than they were due.
    pub(crate) fn add(&mut self, record: &Record) {
        self.requests += 1;
        // Whatever it says, it is an answer.
        if matches!(record.end, End::Ok | End::Status(_)) {
            self.longest_answer = self.longest_answer.max(Some(record.took));
        }
        if !record.end.is_failure() {
            return;
        }
        *self.failures.entry(record.end).or_default() += 1;
        let (first, last) = self.failed_between.unwrap_or((record.after, record.after));
        self.failed_between = Some((first.min(record.after), last.max(record.after)));
        if let Some(fault) = &record.fault {
            self.explain_other(fault);
        }
    }

    /// Keeps the first explanation of an `other`.
    pub(crate) fn explain_other(&mut self, fault: &str) {
        self.other.get_or_insert_with(|| fault.to_owned());
    }

    /// How many requests failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The whole of it, a few lines.
    pub(crate) fn text(&self, what: &str, took: Duration) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        _ = writeln!(text, "{what}");
        _ = writeln!(text, "{} requests in {:.1} s, {} failed", self.requests, took.as_secs_f64(), self.failed());
        for (end, count) in &self.failures {
            _ = writeln!(text, "  {end:<11} {count}");
        }
        if self.given_up > 0 {
            _ = writeln!(text, "{} more were under way and given up", self.given_up);
        }
        if let Some((first, last)) = self.failed_between {
            let (first, last) = (first.as_secs_f64(), last.as_secs_f64());
            _ = writeln!(text, "first failure after {first:.1} s, last after {last:.1} s");
        }
        if let Some(fault) = &self.other {
            _ = writeln!(text, "first other: {fault}");
        }
        if let Some(longest) = self.longest_answer {
            _ = writeln!(text, "longest answer {} ms", longest.as_millis());
        }
        text
    }

    /// One line that the next one, or the summary, takes the place of.
    pub(crate) fn show_progress(&self, after: Duration, in_flight: usize) {
        let seconds = after.as_secs();
        let (requests, failed) = (self.requests, self.failed());
        let mut out = io::stdout().lock();
        // A terminal that is gone shows nothing.
        _ = write!(out, "{seconds} s: {requests} requests, {failed} failed, {in_flight} under way\x1b[K\r");
        _ = out.flush();
    }
}
