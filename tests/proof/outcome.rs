//! What a proof has seen: rows of the table, their runs, and every request of each run. The harness fills it, the report
//! draws it; neither knows the other.

#[path = "app/src/load/end.rs"]
mod end;

use std::collections::BTreeMap;

pub(crate) use end::End;

/// Milliseconds since the Unix epoch.
pub(crate) type UnixMs = u64;

/// One whole proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The day it was run: `2026-11-26`.
    pub(crate) date: String,
    /// What took part, and in which version: `("Kubernetes", "1.37.2")`.
    pub(crate) versions: Vec<(String, String)>,
    /// The machine in words: `2 cores, 23 GiB, Linux 6.18`.
    pub(crate) machine: String,
    /// The table, in its order.
    pub(crate) rows: Vec<Row>,
}

/// One scenario, with and without no502.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Short and stable, for `--only` and for anchors: `restart`.
    pub(crate) id: &'static str,
    /// What is done, in Markdown: "`kubectl rollout restart`, the app exits at once".
    pub(crate) title: &'static str,
    /// What a reader has to know to read the numbers rightly. Markdown.
    pub(crate) note: Option<&'static str>,
    /// The runs without no502; none where the scenario has no such side.
    pub(crate) without: Vec<Run>,
    /// The runs with no502.
    pub(crate) with: Vec<Run>,
    /// Whether a failed request with no502 fails the proof. Rows that show what no502 cannot do are the exception.
    pub(crate) is_promise: bool,
}

/// One time that a scenario was played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// When the load began and ended.
    pub(crate) start: UnixMs,
    pub(crate) end: UnixMs,
    /// What happened, in order of time: "kubectl rollout restart", "pod shop-1 deleted", "rollout complete".
    pub(crate) marks: Vec<Mark>,
    /// The ways the requests went, each with all of its requests.
    pub(crate) paths: Vec<Path>,
    /// What kubectl answered, where that is the point: a denial.
    pub(crate) message: Option<String>,
    /// What else was wrong: a write that should have been denied and was not, an unreviewed write.
    pub(crate) faults: Vec<String>,
}

/// A moment worth a line in the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) at: UnixMs,
    pub(crate) what: String,
}

/// One way to the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// `Ingress`, `Service`, or `writes` for reviews.
    pub(crate) name: &'static str,
    pub(crate) requests: Vec<Request>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// When it was due.
    pub(crate) at: UnixMs,
    /// How long until its answer was read or it failed.
    pub(crate) took_ms: u32,
    pub(crate) end: End,
}

/// A part of a run, by its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the first mark: nothing has been done yet.
    Before,
    /// From the first mark to the last, both included. A run without marks is all of it.
    During,
    /// After the last mark: what was done is over.
    After,
}

impl Phase {
    /// In order of time.
    pub(crate) const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }
}

impl Request {
    /// When it counts. One that failed counts when it ended: it may have been due long before what made it fail.
    pub(crate) fn counts_at(&self) -> UnixMs {
        if self.end.is_failure() { self.at.saturating_add(self.took_ms.into()) } else { self.at }
    }
}

impl Run {
    /// Every request of every path.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.paths.iter().flat_map(|path| &path.requests)
    }

    /// The phase of a moment.
    pub(crate) fn phase(&self, at: UnixMs) -> Phase {
        let times = || self.marks.iter().map(|mark| mark.at);
        match (times().min(), times().max()) {
            (Some(first), _) if at < first => Phase::Before,
            (_, Some(last)) if at > last => Phase::After,
            _ => Phase::During,
        }
    }

    /// How many requests failed, by how they ended.
    pub(crate) fn failures(&self) -> BTreeMap<End, usize> {
        counted(self.requests())
    }

    /// The same, of the requests that ended in one phase.
    pub(crate) fn failures_in(&self, phase: Phase) -> BTreeMap<End, usize> {
        counted(self.requests().filter(|request| self.phase(request.counts_at()) == phase))
    }

    /// Whether requests went every way there is, and there is one: without any, that none failed says nothing.
    pub(crate) fn is_measured(&self) -> bool {
        !self.paths.is_empty() && self.paths.iter().all(|path| !path.requests.is_empty())
    }

    /// Failed requests and other faults.
    pub(crate) fn errors(&self) -> usize {
        self.failures().values().sum::<usize>() + self.faults.len()
    }
}

fn counted<'a>(requests: impl Iterator<Item = &'a Request>) -> BTreeMap<End, usize> {
    let mut failures = BTreeMap::new();
    for request in requests.filter(|request| request.end.is_failure()) {
        *failures.entry(request.end).or_insert(0) += 1;
    }
    failures
}

impl Row {
    /// Whether no502 was seen to keep its promise in this row: every run was measured, and nothing failed.
    pub(crate) fn holds(&self) -> bool {
        let is_good = |run: &Run| run.is_measured() && run.errors() == 0;
        !self.is_promise || (!self.with.is_empty() && self.with.iter().all(is_good))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(ends: &[(UnixMs, End)]) -> Path {
        let requests = ends.iter().map(|(at, end)| Request { at: *at, took_ms: 1, end: *end }).collect();
        Path { name: "Ingress", requests }
    }

    fn mark(at: UnixMs) -> Mark {
        Mark { at, what: "something".to_owned() }
    }

    #[test]
    fn a_failed_request_counts_in_the_phase_in_which_it_ended() {
        // Each took 1 ms.
        let ends = [
            (98, End::Reset),
            (99, End::Refused),
            (149, End::Ok),
            (199, End::Refused),
            (200, End::Status(503)),
            (299, End::Refused),
        ];
        let mut run = Run { marks: vec![mark(100), mark(170), mark(200)], paths: vec![path(&ends)], ..Run::default() };
        let failures = |run: &Run| Phase::ALL.map(|phase| run.failures_in(phase).into_iter().collect::<Vec<_>>());
        assert_eq!(
            failures(&run),
            [vec![(End::Reset, 1)], vec![(End::Refused, 2)], vec![(End::Refused, 1), (End::Status(503), 1)]]
        );
        run.marks.clear();
        assert_eq!(failures(&run)[1], run.failures().into_iter().collect::<Vec<_>>(), "without marks all is during");
        run.marks.push(mark(200));
        assert_eq!(failures(&run).map(|phase| phase.iter().map(|(_, count)| count).sum::<usize>()), [2, 1, 2]);
    }

    #[test]
    fn a_long_request_that_was_cut_is_not_counted_before_what_cut_it() {
        let cut = Request { at: 50, took_ms: 70, end: End::Reset };
        let paths = vec![Path { name: "Ingress", requests: vec![cut, Request { end: End::Ok, ..cut }] }];
        let run = Run { marks: vec![mark(100), mark(200)], paths, ..Run::default() };
        assert_eq!(run.requests().map(Request::counts_at).collect::<Vec<_>>(), [120, 50]);
        assert_eq!(Phase::ALL.map(|phase| run.failures_in(phase).values().sum::<usize>()), [0, 1, 0]);
    }

    #[test]
    fn a_promise_that_was_not_measured_does_not_hold() {
        let good = || Run { paths: vec![path(&[(1, End::Ok)]), path(&[(1, End::Ok)])], ..Run::default() };
        let silent = Run { paths: vec![path(&[(1, End::Ok)]), path(&[])], ..Run::default() };
        let row = |with| Row { id: "x", title: "x", note: None, without: Vec::new(), with, is_promise: true };
        assert!(row(vec![good(), good()]).holds());
        for bad in [silent, Run::default(), Run { faults: vec!["it passed".to_owned()], ..good() }] {
            assert!(!row(vec![good(), bad.clone()]).holds(), "{bad:?}");
            assert!(Row { is_promise: false, ..row(vec![bad]) }.holds());
        }
        assert!(!row(Vec::new()).holds());
    }
}
