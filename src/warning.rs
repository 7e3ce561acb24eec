//! The warning compiler: texts for `kubectl` that the API server will pass on. It drops a text with a control character without
//! a word, and cuts and drops once all webhooks together exceed 4,096 characters (reference: engines 0.3).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use rustc_hash::FxHashSet;

/// Longest single warning, in characters: the API server cuts there when it is short of room.
pub const LINE_CHARS_MAX: usize = 256;

/// All warnings of one answer of the validating half, in characters. With [`MUTATING_CHARS_MAX`] it stays below 3,500.
pub const VALIDATING_CHARS_MAX: usize = 2_600;

/// All warnings of one answer of the mutating half, in characters.
pub const MUTATING_CHARS_MAX: usize = 900;

/// Reasons for one denial, in lines. The API server passes on whatever it gets.
pub const DENIAL_LINES_MAX: usize = 10;

/// Longest reason for a denial, in characters.
pub const DENIAL_LINE_CHARS_MAX: usize = 1_000;

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
    let mut seen = FxHashSet::default();
    let lines = warnings.into_iter().map(|(_, text)| clean(&text));
    let mut lines: Vec<String> = lines.filter(|it| !it.is_empty() && seen.insert(it.clone())).collect();
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

/// The message of a denial: one line for each reason.
#[must_use]
pub fn denial(lines: &[String]) -> String {
    let mut text: Vec<String> =
        lines.iter().take(DENIAL_LINES_MAX).map(|it| cut(&plain(it), DENIAL_LINE_CHARS_MAX)).collect();
    if lines.len() > DENIAL_LINES_MAX {
        text.push(format!("{} more; `no502 check` shows all", lines.len() - DENIAL_LINES_MAX));
    }
    text.join("\n")
}

fn clean(text: &str) -> String {
    cut(&plain(text), LINE_CHARS_MAX)
}

fn plain(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    text.trim().to_owned()
}

/// What stands at the end, the rule and the reason why nothing is denied, survives a cut: a line without it leads nowhere.
fn cut(line: &str, chars_max: usize) -> String {
    let chars = line.chars().count();
    if chars <= chars_max {
        return line.to_owned();
    }
    let end = line.rfind(" [").map_or("", |at| &line[at..]);
    let end = if end.chars().count() <= chars_max / 2 { end } else { "" };
    let kept = chars_max - end.chars().count() - 1;
    line.chars().take(kept).chain(['…']).chain(end.chars()).collect()
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
    fn the_end_of_a_long_line_survives() {
        let line = format!("no502: {} [grace-too-short] (exempt until 2027: x)", "y".repeat(300));
        let lines = compile(vec![(Rank::Risk, line)], 1_000);
        assert_eq!(lines[0].chars().count(), LINE_CHARS_MAX);
        assert!(lines[0].ends_with("y… [grace-too-short] (exempt until 2027: x)"), "{}", lines[0]);
    }

    #[test]
    fn a_denial_is_bounded_and_plain() {
        let lines: Vec<String> = (0..100).map(|it| format!("{it}\n{}", "x".repeat(5_000))).collect();
        let message = denial(&lines);
        assert_eq!(message.lines().count(), DENIAL_LINES_MAX + 1);
        assert!(message.lines().all(|it| it.chars().count() <= DENIAL_LINE_CHARS_MAX));
        assert!(message.ends_with("\n90 more; `no502 check` shows all"), "{message}");
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let lines = compile(vec![(Rank::Risk, "ü".repeat(300))], 1_000);
        assert_eq!(lines[0].chars().count(), LINE_CHARS_MAX);
        assert!(lines[0].ends_with('…'));
    }
}
