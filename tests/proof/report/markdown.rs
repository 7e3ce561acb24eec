//! `proof.md`: the table for the README, what it was measured on, and what has to be known to read it rightly.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    super::outcome::{Proof, Row},
    method::{HOW, NOT_COVERED, RETRIES},
    summary::{Side, cell, circumstances, joined, no_promise, plural},
    text::{markdown_line, markdown_literal},
};

pub(super) fn of(proof: &Proof) -> String {
    let mut text = "| scenario | failed requests without no502 | with no502 |\n| --- | --- | --- |\n".to_owned();
    for row in &proof.rows {
        let [without, with] = Side::BOTH.map(|side| joined(&cell(row, side), |strong| format!("**{strong}**")));
        let title = markdown_line(row.title);
        let _ = writeln!(text, "| {title}{} | {without} | {with} |", no_promise(row));
    }
    let _ = writeln!(text, "\nRun on {}. {HOW}", markdown_literal(&circumstances(proof)));
    let _ = writeln!(text, "\n- {RETRIES}\n- {NOT_COVERED}");
    text.push_str(&notes(&proof.rows).concat());
    super::text::without_controls(&text)
}

/// Each note once; with the row's title, unless it stands for several rows.
fn notes(rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut told = BTreeSet::new();
    for row in rows {
        let item = |text: &str| format!("- {}: {text}\n", markdown_line(row.title));
        if let Some(note) = row.note.filter(|note| told.insert(*note)) {
            let is_shared = rows.iter().filter(|row| row.note == Some(note)).count() > 1;
            let note = markdown_line(note);
            notes.push(if is_shared { format!("- {note}\n") } else { item(&note) });
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

    #[test]
    fn below_the_table_are_the_circumstances_the_notes_and_the_faults() {
        let text = of(&example::proof());
        assert!(text.contains("\nRun on 2026-11-26, Kubernetes 1.37.2, containerd 2.3.1, "), "{text}");
        assert!(text.contains(", on 2 cores, 23 GiB, Linux 6.18. Measured with 100 requests a second "), "{text}");
        assert!(text.contains("\n- An ingress controller or load balancer that retries "), "{text}");
        assert!(text.contains("\n- Not covered: clients that keep connections "), "{text}");
        assert!(text.contains("typo in the Service selector: Undone after 15 s.\n"), "{text}");
        assert!(
            text.contains("1 fault with no502: the write \\<script\\>alert(1)\\</script\\> \\| went through.\n"),
            "{text}"
        );
    }

    #[test]
    fn a_note_of_several_rows_is_there_once() {
        let row = |id| Row { note: Some("Undone after 5 s."), ..example::row(id, Vec::new(), Vec::new()) };
        let text = of(&Proof { rows: vec![row("a"), row("b")], ..example::proof() });
        assert_eq!(text.matches("Undone").count(), 1, "{text}");
        assert!(text.ends_with("\n- Undone after 5 s.\n"), "{text}");
    }
}
