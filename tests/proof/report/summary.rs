//! The table in words: what one side of a row came to, and what it was measured on.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    super::outcome::{End, Path, Phase, Proof, Row, Run},
    cause,
    text::thousands,
};

/// The way whose requests are writes to the API server.
const WRITES: &str = "writes";

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
    /// What of each run is missing that should have been measured.
    unmeasured: Vec<String>,
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
        Self {
            requests: runs.iter().map(|run| run.requests().count()).sum(),
            unit: unit(runs),
            causes,
            failed: runs.iter().map(failed).filter(|failed| *failed > 0).collect(),
            faults: runs.iter().map(|run| run.faults.len()).sum(),
            unmeasured: runs.iter().filter_map(unmeasured).collect(),
            denied: runs.iter().filter(|run| run.message.is_some()).count(),
        }
    }

    /// ` of 8,410`; requests need not be called so, the table is about them.
    fn of_all(&self) -> String {
        let unit = if self.unit == "requests" { String::new() } else { format!(" {}", self.unit) };
        format!(" of {}{unit}", thousands(self.requests))
    }

    /// The causes by name, most frequent first: ` (503, reset)`.
    fn in_causes(&self) -> String {
        let names: Vec<_> = most_first(&self.causes).into_iter().map(|(end, _)| cause::name(end)).collect();
        if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
    }
}

/// `writes` where nothing else was counted, else `requests`.
pub(super) fn unit(runs: &[Run]) -> &'static str {
    let mut ways = runs.iter().flat_map(|run| &run.paths).peekable();
    let only_writes = ways.peek().is_some() && ways.all(|path| path.name == WRITES);
    if only_writes { WRITES } else { "requests" }
}

/// How many there were of either, in a sentence: `8,410 requests and 499 writes`.
pub(super) fn sent<'a>(runs: impl Iterator<Item = &'a Run>) -> String {
    let (writes, others): (Vec<_>, Vec<_>) = runs.flat_map(|run| &run.paths).partition(|path| path.name == WRITES);
    let count = |paths: &[&Path]| paths.iter().map(|path| path.requests.len()).sum::<usize>();
    match (plural(count(&others), "request"), plural(count(&writes), "write")) {
        (requests, _) if writes.is_empty() => requests,
        (_, writes) if others.is_empty() => writes,
        (requests, writes) => format!("{requests} and {writes}"),
    }
}

/// The ways that no request went, if there are any: that nothing failed there says nothing.
fn unmeasured(run: &Run) -> Option<String> {
    if run.is_measured() {
        return None;
    }
    let silent: Vec<_> = run.paths.iter().filter(|path| path.requests.is_empty()).map(|path| path.name).collect();
    let is_all = silent.len() == run.paths.len();
    Some(if is_all { "nothing measured".to_owned() } else { format!("nothing measured for {}", silent.join(", ")) })
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
    let causes = most_first(causes).into_iter().map(|(end, count)| cause::counted(end, &thousands(count)));
    causes.collect::<Vec<_>>().join(", ")
}

fn most_first(causes: &BTreeMap<End, usize>) -> Vec<(End, usize)> {
    let mut causes: Vec<_> = causes.iter().map(|(end, count)| (*end, *count)).collect();
    causes.sort_by_key(|(end, count)| (Reverse(*count), *end));
    causes
}

/// Failed requests before, during and after what was done: `[0, 37, 0]`.
pub(super) fn by_phase(run: &Run) -> [usize; 3] {
    Phase::ALL.map(|phase| run.failures_in(phase).values().sum())
}

/// The failures of a run by cause, and by phase if they are of more than one: `during: 2 reset; after: 1 × 503`.
pub(super) fn by_cause_and_phase(run: &Run) -> String {
    let failures = Phase::ALL.map(|phase| (phase, run.failures_in(phase)));
    let failures: Vec<_> = failures.into_iter().filter(|(_, causes)| !causes.is_empty()).collect();
    match failures.as_slice() {
        [] => by_cause(&BTreeMap::new()),
        [(_, causes)] => by_cause(causes),
        several => {
            let several = several.iter().map(|(phase, causes)| format!("{}: {}", phase.name(), by_cause(causes)));
            several.collect::<Vec<_>>().join("; ")
        }
    }
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
    let mut add = |text| pieces.extend([Piece::Text(", ".to_owned()), Piece::Strong(text)]);
    if sum.faults > 0 {
        add(plural(sum.faults, "fault"));
    }
    if sum.requests > 0 && !sum.unmeasured.is_empty() {
        add(of_runs(&sum.unmeasured, runs.len()));
    }
    pieces
}

/// What is missing, and in how many runs, if there are several.
fn of_runs(unmeasured: &[String], runs: usize) -> String {
    let mut kinds: Vec<_> = unmeasured.iter().map(String::as_str).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let in_runs = if runs > 1 { format!(" in {} of {runs} runs", unmeasured.len()) } else { String::new() };
    format!("{}{in_runs}", kinds.join(", "))
}

fn requests(sum: &Sum, runs: usize, side: Side) -> Vec<Piece> {
    if sum.requests == 0 {
        return vec![Piece::Strong("nothing measured".to_owned())];
    }
    let in_runs = if runs > 1 { format!(" in {runs} runs") } else { String::new() };
    let strong = |text: String| if side == Side::With { Piece::Strong(text) } else { Piece::Text(text) };
    let all = sum.of_all();
    if sum.failed.is_empty() && side == Side::Without && sum.faults == 0 {
        return vec![Piece::Text(format!("none on this machine{all}{in_runs}"))];
    }
    let causes = sum.in_causes();
    match sum.failed.as_slice() {
        [] => vec![strong("0".to_owned()), Piece::Text(format!("{all}{in_runs}"))],
        [failed] if runs == 1 => vec![strong(thousands(*failed)), Piece::Text(format!("{all}{causes}"))],
        each => {
            let in_runs = format!("errors in {} of {runs} runs", each.len());
            vec![strong(in_runs), Piece::Text(format!(", {}{causes}", spread(each)))]
        }
    }
}

/// `12 to 21 each`, of one run or more.
fn spread(each: &[usize]) -> String {
    let least = each.iter().min().copied().unwrap_or_default();
    let most = each.iter().max().copied().unwrap_or_default();
    match each.len() {
        1 => plural(most, "request"),
        _ if least == most => format!("{} each", thousands(most)),
        _ => format!("{} to {} each", thousands(least), thousands(most)),
    }
}

/// What a title has after it in a row where errors do not matter.
pub(super) fn no_promise(row: &Row) -> &'static str {
    if row.is_promise { "" } else { " (no promise: it shows a limit)" }
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

/// Every cause of a failure anywhere in the proof.
pub(super) fn causes(proof: &Proof) -> BTreeSet<End> {
    let runs = proof.rows.iter().flat_map(|row| row.without.iter().chain(&row.with));
    runs.flat_map(Run::failures).map(|(end, _)| end).collect()
}

/// Date, versions and machine, as far as they are known: `2026-11-26, Kubernetes 1.37.2, on 2 cores`.
pub(super) fn circumstances(proof: &Proof) -> String {
    let versions = proof.versions.iter().map(|(name, version)| format!("{name} {version}"));
    let mut parts: Vec<String> = [proof.date.clone()].into_iter().chain(versions).collect();
    parts.push(if proof.machine.is_empty() { String::new() } else { format!("on {}", proof.machine) });
    parts.retain(|part| !part.trim().is_empty());
    parts.join(", ")
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
        assert_eq!(cells, ["18 of 8,410 (503, reset)", "**0** of 8,302"]);
    }

    #[test]
    fn several_runs_have_a_spread() {
        let left = [12, 21, 14].map(|count| run(8000, &[(End::Status(503), 1), (End::Refused, count)]));
        let cells = cells(left.into(), vec![run(8000, &[]), run(8000, &[(End::Timeout, 1)])]);
        assert_eq!(
            cells,
            ["errors in 3 of 3 runs, 13 to 22 each (refused, 503)", "**errors in 1 of 2 runs**, 1 request (timed out)"]
        );
    }

    #[test]
    fn a_quiet_left_side_and_a_missing_one_say_so() {
        assert_eq!(cells(vec![run(10, &[])], Vec::new()), ["none on this machine of 10", "not run"]);
        let [left, right] = cells(Vec::new(), vec![run(0, &[])]);
        assert_eq!([left.as_str(), right.as_str()], ["–", "**nothing measured**"]);
    }

    #[test]
    fn denials_and_faults_are_told() {
        let denied = Run { message: Some("no".to_owned()), ..run(4000, &[]) };
        let faulty = Run { faults: vec!["the write went through".to_owned()], ..run(4000, &[]) };
        let cells = cells(vec![faulty.clone()], vec![denied.clone(), faulty]);
        assert_eq!(cells, ["0 of 4,000, **1 fault**", "denied in 1 of 2 runs, **0** of 8,000 in 2 runs, **1 fault**"]);
        assert_eq!(plain(&row("x", Vec::new(), vec![denied]), Side::With), "denied, 0 of 4,000");
    }

    #[test]
    fn what_was_not_measured_is_told() {
        let mut silent = run(10, &[]);
        silent.paths.push(super::super::super::outcome::Path { name: "Service", requests: Vec::new() });
        assert_eq!(
            cells(vec![silent.clone()], vec![run(10, &[]), silent.clone()]),
            [
                "none on this machine of 10, **nothing measured for Service**",
                "**0** of 20 in 2 runs, **nothing measured for Service in 1 of 2 runs**"
            ]
        );
        let without_ways = Run { paths: Vec::new(), ..silent };
        assert_eq!(cells(Vec::new(), vec![without_ways])[1], "**nothing measured**");
    }

    #[test]
    fn failures_outside_of_what_was_done_are_told_apart() {
        let mark = |at| super::super::super::outcome::Mark { at, what: "done".to_owned() };
        // The failures are due every 5 ms, from the start on, and take 3 ms.
        let mut run = run(100, &[(End::Reset, 2), (End::Status(503), 3)]);
        assert_eq!((by_phase(&run), by_cause_and_phase(&run)), ([0, 5, 0], "3 × 503, 2 reset".to_owned()));
        run.marks = vec![mark(run.start + 4), mark(run.start + 18)];
        let told = "before: 1 reset; during: 2 × 503, 1 reset; after: 1 × 503";
        assert_eq!((by_phase(&run), by_cause_and_phase(&run)), ([1, 3, 1], told.to_owned()));
    }

    #[test]
    fn writes_are_called_writes() {
        let mut writes = run(400, &[]);
        writes.paths[0].name = "writes";
        assert_eq!(cells(Vec::new(), vec![writes])[1], "**0** of 400 writes");
    }
}
