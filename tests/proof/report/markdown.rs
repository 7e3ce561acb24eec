//! `proof.md`: the table for the README, what it was measured on, and what has to be known to read it rightly.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    super::outcome::{End, Proof, Row},
    cause,
    method::{HOW, LIMITS, RETRIES},
    summary::{Side, causes, cell, circumstances, joined, no_promise, plural},
    text::{markdown_line, markdown_literal, wrapped},
};

/// Above what only those read who doubt the table.
const DETAILS: &str = "<details><summary>How it was measured, and what it does not show</summary>";

pub(super) fn of(proof: &Proof) -> String {
    let mut text = "| scenario | failed requests without no502 | with no502 |\n| --- | --- | --- |\n".to_owned();
    for row in &proof.rows {
        let [without, with] = Side::BOTH.map(|side| joined(&cell(row, side), |strong| format!("**{strong}**")));
        let title = markdown_line(row.title);
        let _ = writeln!(text, "| {title}{} | {without} | {with} |", no_promise(row));
    }
    let run = format!("Run on {}.", markdown_literal(&circumstances(proof)));
    let notes = [explained(&causes(proof))].into_iter().chain(LIMITS.map(str::to_owned)).chain(notes(&proof.rows));
    let notes: String = notes.filter(|note| !note.is_empty()).map(|note| wrapped("- ", &note)).collect();
    let _ = write!(text, "\n{}\n{}\n{DETAILS}\n\n", wrapped("", &run), wrapped("", RETRIES));
    let _ = write!(text, "{}\n{notes}\n</details>\n", wrapped("", HOW));
    super::text::without_controls(&text)
}

/// What the words in brackets mean, of those that are there.
fn explained(causes: &BTreeSet<End>) -> String {
    let causes: Vec<_> = causes.iter().map(|end| format!("{} – {}", cause::name(*end), cause::meaning(*end))).collect();
    if causes.is_empty() { String::new() } else { format!("The causes in brackets: {}.", causes.join("; ")) }
}

/// Each note once; with the row's title, unless it stands for several rows.
fn notes(rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut told = BTreeSet::new();
    for row in rows {
        let item = |text: &str| format!("**{}.** {text}", markdown_line(row.title));
        if let Some(note) = row.note.filter(|note| told.insert(*note)) {
            let is_shared = rows.iter().filter(|row| row.note == Some(note)).count() > 1;
            let note = markdown_line(note);
            notes.push(if is_shared { note } else { item(&note) });
        }
        for side in Side::BOTH {
            let faults: Vec<_> =
                side.runs(row).iter().flat_map(|run| &run.faults).map(|fault| markdown_literal(fault)).collect();
            if !faults.is_empty() {
                let count = plural(faults.len(), "fault");
                notes.push(item(&format!("{count} {}: {}.", side.name(), faults.join("; "))));
            }
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

    use super::{super::example, *};

    /// The table as a reader of Markdown sees it: rows of cells.
    fn table(markdown: &str) -> Vec<Vec<String>> {
        let (mut rows, mut cell) = (Vec::new(), None);
        for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
            match event {
                Event::Html(tag) if [DETAILS, "</details>"].contains(&tag.trim_end()) => {}
                Event::Html(tag) | Event::InlineHtml(tag) => panic!("a tag that is none: {tag}"),
                Event::Start(Tag::TableHead | Tag::TableRow) => rows.push(Vec::new()),
                Event::Start(Tag::TableCell) => cell = Some(String::new()),
                Event::End(TagEnd::TableCell) => rows.last_mut().unwrap().extend(cell.take()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(cell) = &mut cell {
                        cell.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        rows
    }

    #[test]
    fn every_row_has_three_cells_with_what_was_counted() {
        let proof = example::proof();
        let text = of(&proof);
        let rows = table(&text);
        assert_eq!(rows.len(), proof.rows.len() + 1, "{text}");
        for (cells, row) in rows[1..].iter().zip(&proof.rows) {
            assert_eq!(cells.len(), 3, "{cells:?}");
            for (cell, side) in cells[1..].iter().zip(Side::BOTH) {
                assert_eq!(*cell, super::super::summary::plain(row, side));
            }
        }
        assert!(
            rows.iter().any(|cells| cells[0].ends_with("nothing can help | here (no promise: it shows a limit)")),
            "{text}"
        );
        assert!(rows.iter().any(|cells| cells[0] == "nothing <script>at</script> all"), "{text}");
    }

    /// The text with every line break and its indent as one space.
    fn unwrapped(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn below_the_table_are_the_circumstances_and_folded_away_all_the_rest() {
        let text = of(&example::proof());
        let (open, folded) = text.split_once(DETAILS).unwrap();
        let (open, folded) = (unwrapped(open), unwrapped(folded));
        assert!(open.contains(" | Run on 2026-11-26, Kubernetes 1.37.2, containerd 2.3.1, "), "{text}");
        let end = ", on 2 cores, 23 GiB, Linux 6.18. An ingress controller or load balancer that retries ";
        assert!(open.contains(end), "{text}");
        for told in [
            "Measured with 100 requests a second ",
            "- The causes in brackets: refused – nobody listened at the address, or the Service had no pod at all; reset – ",
            "- Not covered: clients that keep connections ",
            "- One node with one kube-proxy ",
            "- The price: ",
            "- **`kubectl apply` with a typo in the Service selector.** Undone after 15 s. ",
            ": *nothing* can help \\| here.** 1 fault with no502: the write \\<script\\>alert(1)\\</script\\> \\| went through.",
        ] {
            assert!(folded.contains(told), "{told:?} in {text}");
        }
        assert!(text.ends_with("\n\n</details>\n"), "{text}");
    }

    #[test]
    fn only_causes_that_are_there_are_explained() {
        let of_causes = |causes: &[(End, usize)]| {
            let rows = vec![example::row("x", vec![example::run(100, causes)], Vec::new())];
            unwrapped(&of(&Proof { rows, ..example::proof() }))
        };
        assert!(!of_causes(&[]).contains("The causes"));
        let told = "- The causes in brackets: 404 – the load balancer knew no way for the request. - ";
        assert!(of_causes(&[(End::Status(404), 1)]).contains(told));
    }

    #[test]
    fn no_line_below_the_table_is_long_and_none_becomes_a_block_of_its_own() {
        let proof = example::proof();
        let text = of(&proof);
        let (_, below) = text.split_once("\n\n").unwrap();
        for line in below.lines() {
            assert!(line.chars().count() <= super::super::text::COLUMNS_MAX, "{line}");
        }
        let items = Parser::new(below).filter(|event| matches!(event, Event::Start(Tag::Item))).count();
        assert_eq!(items, 1 + LIMITS.len() + notes(&proof.rows).len(), "{below}");
    }

    #[test]
    fn a_note_of_several_rows_is_there_once() {
        let row = |id| Row { note: Some("Undone after 5 s."), ..example::row(id, Vec::new(), Vec::new()) };
        let text = of(&Proof { rows: vec![row("a"), row("b")], ..example::proof() });
        assert_eq!(text.matches("Undone").count(), 1, "{text}");
        assert!(text.ends_with("\n- Undone after 5 s.\n\n</details>\n"), "{text}");
    }
}
