//! The warning compiler: texts for `kubectl` that the API server will pass on. It drops a text with a control character without
//! a word, and cuts and drops once all webhooks together exceed 4,096 characters (reference: engines 0.3).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// Longest single warning, in characters: the API server cuts there when it is short of room.
pub const LINE_CHARS_MAX: usize = 256;

/// All warnings of one answer of the validating half, in characters. With [`MUTATING_CHARS_MAX`] it stays below 3,500.
pub const VALIDATING_CHARS_MAX: usize = 2_600;

/// All warnings of one answer of the mutating half, in characters.
pub const MUTATING_CHARS_MAX: usize = 900;

/// Room kept for the line that says how many warnings were left out, in characters.
const REST_LINE_CHARS: usize = 60;

/// How much a warning matters; the most important ones survive a full budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Would have been a denial but for an exemption, a softening or break-glass.
    Denial,
    /// An injection that was made or withheld.
    Injection,
    /// Everything else.
    Risk,
}

/// Cleans, merges, orders and cuts: what comes out may be sent as it is.
#[must_use]
pub fn compile(mut warnings: Vec<(Rank, String)>, chars_max: usize) -> Vec<String> {
    warnings.sort_by_key(|(rank, _)| *rank);
    let mut lines: Vec<String> = Vec::new();
    for (_, text) in warnings {
        let line = clean(&text);
        if !line.is_empty() && !lines.contains(&line) {
            lines.push(line);
        }
    }
    let total: usize = lines.iter().map(|it| it.chars().count()).sum();
    if total <= chars_max {
        return lines;
    }
    let mut room = chars_max.saturating_sub(REST_LINE_CHARS);
    let fitting = lines.iter().take_while(|line| {
        let chars = line.chars().count();
        let fits = chars <= room;
        room = room.saturating_sub(chars);
        fits
    });
    let kept = fitting.count();
    let rest = lines.len() - kept;
    lines.truncate(kept);
    lines.push(format!("no502: {rest} more warnings; `no502 check` shows all"));
    lines
}

fn clean(text: &str) -> String {
    let mut line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if line.chars().count() > LINE_CHARS_MAX {
        line = line.chars().take(LINE_CHARS_MAX - 1).chain(['…']).collect();
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_leave() {
        assert_eq!(compile(vec![(Rank::Risk, "a\tb\nc\u{7f}".to_owned())], 1_000), ["a b c"]);
    }

    #[test]
    fn equal_warnings_are_one_and_the_important_ones_come_first() {
        let warnings = [(Rank::Risk, "z"), (Rank::Injection, "b"), (Rank::Denial, "y"), (Rank::Risk, "z")];
        let warnings = warnings.map(|(rank, text)| (rank, text.to_owned())).to_vec();
        assert_eq!(compile(warnings, 1_000), ["y", "b", "z"]);
    }

    #[test]
    fn a_full_budget_says_how_many_are_missing() {
        let warnings: Vec<_> = (0..100).map(|it| (Rank::Risk, format!("{it:0200}"))).collect();
        let lines = compile(warnings, VALIDATING_CHARS_MAX);
        assert!(lines.iter().map(|it| it.chars().count()).sum::<usize>() <= VALIDATING_CHARS_MAX);
        assert_eq!(
            lines.last().unwrap(),
            &format!("no502: {} more warnings; `no502 check` shows all", 100 - (lines.len() - 1))
        );
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let lines = compile(vec![(Rank::Risk, "ü".repeat(300))], 1_000);
        assert_eq!(lines[0].chars().count(), LINE_CHARS_MAX);
        assert!(lines[0].ends_with('…'));
    }
}
