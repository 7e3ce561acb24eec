//! Whether the promise holds: in a sentence, and beside each row of the table for a terminal.

use super::{
    super::outcome::{Proof, Row},
    summary::{Side, plain, plural, sent},
};

/// What became of the promise in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Yes,
    Broken,
    /// Nothing failed, of what was not or not wholly measured.
    Unproven,
}

fn of(row: &Row) -> Kept {
    match row.holds() {
        true => Kept::Yes,
        false if row.with.iter().any(|run| run.errors() > 0) => Kept::Broken,
        false => Kept::Unproven,
    }
}

/// One sentence on all rows, or two.
pub(super) fn verdict(proof: &Proof) -> String {
    let total = plural(proof.rows.len(), "scenario");
    let told = |state, what: &str| {
        let ids: Vec<_> = proof.rows.iter().filter(|row| of(row) == state).map(|row| row.id).collect();
        (!ids.is_empty()).then(|| format!("The promise is {what} in {} of {total}: {}.", ids.len(), ids.join(", ")))
    };
    let bad = [told(Kept::Broken, "broken"), told(Kept::Unproven, "not proven, for want of measurements,")];
    let bad: Vec<_> = bad.into_iter().flatten().collect();
    if !bad.is_empty() {
        return bad.join(" ");
    }
    let promised: Vec<_> = proof.rows.iter().filter(|row| row.is_promise).collect();
    if promised.is_empty() {
        return "Nothing was promised, and so nothing was proven.".to_owned();
    }
    let sent = sent(promised.iter().flat_map(|row| &row.with));
    format!("The promise holds: with no502, 0 of {sent} failed in {}.", plural(promised.len(), "scenario"))
}

/// The table for a terminal, with the verdict below.
pub(super) fn terminal(proof: &Proof) -> String {
    let mut lines = vec![["scenario", Side::Without.name(), Side::With.name()].map(str::to_owned)];
    lines.extend(proof.rows.iter().map(|row| {
        let mark = match of(row) {
            Kept::Yes => "",
            Kept::Broken => "  <- BROKEN",
            Kept::Unproven => "  <- NOT PROVEN",
        };
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
        super::{
            super::outcome::{End, Run},
            example::{row, run},
        },
        *,
    };

    fn proof(rows: Vec<Row>) -> Proof {
        Proof { date: String::new(), versions: Vec::new(), machine: String::new(), rows }
    }

    #[test]
    fn writes_are_called_writes() {
        let mut writes = run(400, &[]);
        writes.paths[0].name = "writes";
        let mut proof = proof(vec![row("own", Vec::new(), vec![writes])]);
        assert_eq!(verdict(&proof), "The promise holds: with no502, 0 of 400 writes failed in 1 scenario.");
        proof.rows.push(row("restart", Vec::new(), vec![run(1, &[])]));
        let told = "The promise holds: with no502, 0 of 1 request and 400 writes failed in 2 scenarios.";
        assert_eq!(verdict(&proof), told);
    }

    #[test]
    fn what_was_not_measured_is_not_proven() {
        let without_ways = Run { paths: Vec::new(), ..run(10, &[]) };
        let text = terminal(&proof(vec![row("blind", Vec::new(), vec![run(10, &[]), without_ways])]));
        assert!(text.contains("0 of 10 in 2 runs, nothing measured in 1 of 2 runs  <- NOT PROVEN\n"), "{text}");
        assert!(text.ends_with("is not proven, for want of measurements, in 1 of 1 scenario: blind.\n"), "{text}");
    }

    #[test]
    fn a_broken_promise_is_named() {
        let mut proof = proof(Vec::new());
        assert!(verdict(&proof).starts_with("Nothing"), "{}", verdict(&proof));
        proof.rows.push(row("good", Vec::new(), vec![run(10, &[])]));
        assert_eq!(
            terminal(&proof).lines().last(),
            Some("The promise holds: with no502, 0 of 10 requests failed in 1 scenario.")
        );
        proof.rows.push(row("bad", Vec::new(), vec![run(10, &[(End::Other, 1)])]));
        let text = terminal(&proof);
        assert!(text.contains("1 of 10 (other)  <- BROKEN"), "{text}");
        assert!(text.ends_with("The promise is broken in 1 of 2 scenarios: bad.\n"), "{text}");
    }
}
