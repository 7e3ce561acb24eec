//! One wording for what is done and for what would be done.

/// How a line begins that says what was done, and what it is if nothing is done yet.
const CONDITIONAL: [(&str, &str); 7] = [
    ("added ", "would add "),
    ("raised ", "would raise "),
    ("moved ", "would move "),
    ("removed ", "would remove "),
    ("took ", "would take "),
    ("noted ", "would note "),
    ("rewrote ", "would rewrite "),
];

/// The line for what was done, as a line for what would be done.
#[must_use]
pub fn would(done: &str) -> String {
    let planned = CONDITIONAL.iter().find_map(|(done_word, planned)| Some((planned, done.strip_prefix(done_word)?)));
    planned.map_or_else(|| done.to_owned(), |(planned, rest)| format!("{planned}{rest}"))
}
