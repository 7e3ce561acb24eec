//! What a proof has seen: rows of the table, their runs, and every request of each run. The harness fills it, the report
//! draws it; neither knows the other.

use std::{collections::BTreeMap, fmt, str::FromStr};

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

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// An answer of 2xx, read to its end.
    Ok,
    /// Nobody listened.
    Refused,
    /// The connection was reset or closed before the whole answer was there.
    Reset,
    /// No answer in time, the connection included.
    Timeout,
    /// No way to the address.
    Unreachable,
    /// Another status: 502, 503, 504, ...
    Status(u16),
    /// Anything else, a fault of the load generator included.
    Other,
}

impl End {
    pub(crate) fn is_failure(self) -> bool {
        self != Self::Ok
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Status(code) => write!(f, "{code}"),
            Self::Other => f.write_str("other"),
        }
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "ok" => Self::Ok,
            "refused" => Self::Refused,
            "reset" => Self::Reset,
            "timeout" => Self::Timeout,
            "unreachable" => Self::Unreachable,
            "other" => Self::Other,
            code => Self::Status(code.parse().map_err(|_| format!("{code:?} is not the end of a request"))?),
        })
    }
}

impl Run {
    /// Every request of every path.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.paths.iter().flat_map(|path| &path.requests)
    }

    /// How many requests failed, by how they ended.
    pub(crate) fn failures(&self) -> BTreeMap<End, usize> {
        let mut failures = BTreeMap::new();
        for request in self.requests().filter(|request| request.end.is_failure()) {
            *failures.entry(request.end).or_insert(0) += 1;
        }
        failures
    }

    /// Failed requests and other faults.
    pub(crate) fn errors(&self) -> usize {
        self.failures().values().sum::<usize>() + self.faults.len()
    }
}

impl Row {
    /// Whether no502 kept its promise in this row.
    pub(crate) fn holds(&self) -> bool {
        !self.is_promise || (!self.with.is_empty() && self.with.iter().all(|run| run.errors() == 0))
    }
}
