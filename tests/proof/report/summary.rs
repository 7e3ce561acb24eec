//! The table in words: what one side of a row came to, and whether the promise holds.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    super::outcome::{End, Proof, Row, Run},
    cause,
    text::thousands,
};

/// Which side of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Without,
    With,
}

/// A part of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Strong(String),
}

/// What all runs of one side came to.
#[derive(Debug)]
struct Sum {
    requests: usize,
    /// `requests`, or `writes` where nothing else was counted.
    unit: &'static str,
    causes: BTreeMap<End, usize>,
    /// Failed requests of each run that had any.
    failed: Vec<usize>,
    faults: usize,
    /// Runs in which kubectl had something to say.
    denied: usize,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Without, Self::With];

    pub(super) fn runs(self, row: &Row) -> &[Run] {
        match self {
            Self::Without => &row.without,
            Self::With => &row.with,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Without => "without no502",
            Self::With => "with no502",
        }
    }
}

impl Sum {
    fn of(runs: &[Run]) -> Self {
        let mut causes = BTreeMap::new();
        for (end, count) in runs.iter().flat_map(Run::failures) {
            *causes.entry(end).or_insert(0) += count;
        }
        let mut ways = runs.iter().flat_map(|run| &run.paths).peekable();
        let only_writes = ways.peek().is_some() && ways.all(|path| path.name == "writes");
        Self {
            requests: runs.iter().map(|run| run.requests().count()).sum(),
            unit: if only_writes { "writes" } else { "requests" },
            causes,
            failed: runs.iter().map(failed).filter(|failed| *failed > 0).collect(),
            faults: runs.iter().map(|run| run.faults.len()).sum(),
            denied: runs.iter().filter(|run| run.message.is_some()).count(),
        }
    }

    fn of_requests(&self) -> String {
        format!(" of {} {}", thousands(self.requests), self.unit)
    }
}

/// Failed requests of a run.
pub(super) fn failed(run: &Run) -> usize {
    run.failures().values().sum()
}

/// The failures of one run by cause, most frequent first: `16 × 503, 2 reset`; `0` if none.
pub(super) fn by_cause(causes: &BTreeMap<End, usize>) -> String {
    if causes.is_empty() {
        return "0".to_owned();
    }
    let mut causes: Vec<_> = causes.iter().collect();
    causes.sort_by_key(|(end, count)| (Reverse(**count), **end));
    let causes: Vec<_> = causes.into_iter().map(|(end, count)| cause::counted(*end, &thousands(*count))).collect();
    causes.join(", ")
}

/// One cell of the table.
pub(super) fn cell(row: &Row, side: Side) -> Vec<Piece> {
    let runs = side.runs(row);
    if runs.is_empty() {
        let missing = if side == Side::With { "not run" } else { "–" };
        return vec![Piece::Text(missing.to_owned())];
    }
    let sum = Sum::of(runs);
    let mut pieces = Vec::new();
    if sum.denied > 0 {
        let times =
            if sum.denied < runs.len() { format!(" in {} of {} runs", sum.denied, runs.len()) } else { String::new() };
        pieces.push(Piece::Text(format!("denied{times}, ")));
    }
    pieces.extend(requests(&sum, runs.len(), side));
    if sum.faults > 0 {
        pieces.push(Piece::Text(", ".to_owned()));
        pieces.push(Piece::Strong(plural(sum.faults, "fault")));
    }
    pieces
}

fn requests(sum: &Sum, runs: usize, side: Side) -> Vec<Piece> {
    if sum.requests == 0 {
        return vec![Piece::Text(format!("no {} sent", sum.unit))];
    }
    let in_runs = if runs > 1 { format!(" in {runs} runs") } else { String::new() };
    if sum.failed.is_empty() && side == Side::With {
        return vec![Piece::Strong("0".to_owned()), Piece::Text(format!("{}{in_runs}", sum.of_requests()))];
    }
    if sum.failed.is_empty() && sum.faults == 0 {
        return vec![Piece::Text(format!("none on this machine ({} {}{in_runs})", thousands(sum.requests), sum.unit))];
    }
    let (count, rest) = match sum.failed.as_slice() {
        [] => ("0".to_owned(), format!("{}{in_runs}", sum.of_requests())),
        _ if runs == 1 => (by_cause(&sum.causes), sum.of_requests()),
        each => {
            let all = thousands(each.iter().sum());
            (
                format!("errors in {} of {runs} runs", each.len()),
                format!(": {} ({all}{})", spread(each), sum.of_requests()),
            )
        }
    };
    let count = if side == Side::With { Piece::Strong(count) } else { Piece::Text(count) };
    vec![count, Piece::Text(rest)]
}

/// `12 to 21 each`, of runs that are not none.
fn spread(each: &[usize]) -> String {
    let least = each.iter().min().copied().unwrap_or_default();
    let most = each.iter().max().copied().unwrap_or_default();
    match each.len() {
        1 => thousands(most),
        _ if least == most => format!("{} each", thousands(most)),
        _ => format!("{} to {} each", thousands(least), thousands(most)),
    }
}

pub(super) fn plural(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// The pieces one after the other, the strong ones as `strong` makes them.
pub(super) fn joined(pieces: &[Piece], strong: impl Fn(&str) -> String) -> String {
    let texts = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Strong(text) => strong(text),
    });
    texts.collect()
}

/// A cell for a terminal, or for an attribute.
pub(super) fn plain(row: &Row, side: Side) -> String {
    joined(&cell(row, side), str::to_owned)
}

/// One sentence on all rows.
pub(super) fn verdict(proof: &Proof) -> String {
    let broken: Vec<_> = proof.rows.iter().filter(|row| !row.holds()).map(|row| row.id).collect();
    if !broken.is_empty() {
        return format!(
            "The promise is broken in {} of {}: {}.",
            broken.len(),
            plural(proof.rows.len(), "scenario"),
            broken.join(", ")
        );
    }
    let promised: Vec<_> = proof.rows.iter().filter(|row| row.is_promise).collect();
    if promised.is_empty() {
        return "Nothing was promised, and so nothing was proven.".to_owned();
    }
    let requests = promised.iter().flat_map(|row| &row.with).map(|run| run.requests().count()).sum();
    format!(
        "The promise holds: with no502, 0 of {} failed in {}.",
        plural(requests, "request"),
        plural(promised.len(), "scenario")
    )
}

/// Date, versions and machine, as far as they are known: `2026-11-26, Kubernetes 1.37.2, on 2 cores`.
pub(super) fn circumstances(proof: &Proof) -> String {
    let versions = proof.versions.iter().map(|(name, version)| format!("{name} {version}"));
    let mut parts: Vec<String> = [proof.date.clone()].into_iter().chain(versions).collect();
    parts.push(if proof.machine.is_empty() { String::new() } else { format!("on {}", proof.machine) });
    parts.retain(|part| !part.trim().is_empty());
    parts.join(", ")
}

/// The table for a terminal, with the verdict below.
pub(super) fn terminal(proof: &Proof) -> String {
    let mut lines = vec![["scenario", Side::Without.name(), Side::With.name()].map(str::to_owned)];
    lines.extend(proof.rows.iter().map(|row| {
        let mark = if row.holds() { "" } else { "  <- BROKEN" };
        [row.id.to_owned(), plain(row, Side::Without), format!("{}{mark}", plain(row, Side::With))]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let (first, second) = (width(0), width(1));
    let lines = lines.iter().map(|[a, b, c]| format!("{a:first$}  {b:second$}  {c}"));
    let mut text = lines.chain([verdict(proof)]).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::example::{row, run},
        *,
    };

    fn cells(without: Vec<Run>, with: Vec<Run>) -> [String; 2] {
        let row = row("x", without, with);
        Side::BOTH.map(|side| joined(&cell(&row, side), |strong| format!("**{strong}**")))
    }

    #[test]
    fn one_run_has_its_causes() {
        let left = run(8410, &[(End::Status(503), 16), (End::Reset, 2)]);
        let cells = cells(vec![left], vec![run(8302, &[])]);
        assert_eq!(cells, ["16 × 503, 2 reset of 8,410 requests", "**0** of 8,302 requests"]);
    }

    #[test]
    fn several_runs_have_a_spread() {
        let left = [12, 21, 14].map(|count| run(8000, &[(End::Refused, count)]));
        let cells = cells(left.into(), vec![run(8000, &[]), run(8000, &[(End::Timeout, 1)])]);
        assert_eq!(
            cells,
            [
                "errors in 3 of 3 runs: 12 to 21 each (47 of 24,000 requests)",
                "**errors in 1 of 2 runs**: 1 (1 of 16,000 requests)"
            ]
        );
    }

    #[test]
    fn a_quiet_left_side_and_a_missing_one_say_so() {
        assert_eq!(cells(vec![run(10, &[])], Vec::new()), ["none on this machine (10 requests)", "not run"]);
        let [left, right] = cells(Vec::new(), vec![run(0, &[])]);
        assert_eq!([left.as_str(), right.as_str()], ["–", "no requests sent"]);
    }

    #[test]
    fn denials_and_faults_are_told() {
        let denied = Run { message: Some("no".to_owned()), ..run(4000, &[]) };
        let faulty = Run { faults: vec!["the write went through".to_owned()], ..run(4000, &[]) };
        let cells = cells(vec![faulty.clone()], vec![denied.clone(), faulty]);
        assert_eq!(
            cells,
            [
                "0 of 4,000 requests, **1 fault**",
                "denied in 1 of 2 runs, **0** of 8,000 requests in 2 runs, **1 fault**"
            ]
        );
        assert_eq!(plain(&row("x", Vec::new(), vec![denied]), Side::With), "denied, 0 of 4,000 requests");
    }

    #[test]
    fn writes_are_called_writes() {
        let mut writes = run(400, &[]);
        writes.paths[0].name = "writes";
        assert_eq!(cells(Vec::new(), vec![writes])[1], "**0** of 400 writes");
    }

    #[test]
    fn a_broken_promise_is_named() {
        let mut proof = Proof { date: String::new(), versions: Vec::new(), machine: String::new(), rows: Vec::new() };
        assert!(verdict(&proof).starts_with("Nothing"), "{}", verdict(&proof));
        proof.rows.push(row("good", Vec::new(), vec![run(10, &[])]));
        assert_eq!(
            terminal(&proof).lines().last(),
            Some("The promise holds: with no502, 0 of 10 requests failed in 1 scenario.")
        );
        proof.rows.push(row("bad", Vec::new(), vec![run(10, &[(End::Other, 1)])]));
        let text = terminal(&proof);
        assert!(text.contains("1 other of 10 requests  <- BROKEN"), "{text}");
        assert!(text.ends_with("The promise is broken in 1 of 2 scenarios: bad.\n"), "{text}");
    }
}
