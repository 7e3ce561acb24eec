//! `proof.md`: the table for the README, what it was measured on, and what has to be known to read it rightly.

use std::fmt::Write;

use super::{
    super::outcome::{Proof, Row},
    summary::{Side, cell, circumstances, joined, plural},
    text::{markdown_line, markdown_literal},
};

pub(super) fn of(proof: &Proof) -> String {
    let mut text = "| scenario | without no502 | with no502 |\n| --- | --- | --- |\n".to_owned();
    for row in &proof.rows {
        let [without, with] = Side::BOTH.map(|side| joined(&cell(row, side), |strong| format!("**{strong}**")));
        let _ = writeln!(text, "| {} | {without} | {with} |", markdown_line(row.title));
    }
    let _ = writeln!(text, "\nRun on {}.", markdown_literal(&circumstances(proof)));
    let notes: Vec<_> = proof.rows.iter().flat_map(notes).collect();
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes.concat());
    }
    super::text::without_controls(&text)
}

fn notes(row: &Row) -> Vec<String> {
    let item = |text: String| format!("- {}: {text}\n", markdown_line(row.title));
    let mut notes: Vec<_> = row.note.map(|note| item(markdown_line(note))).into_iter().collect();
    if !row.is_promise {
        notes.push(item("no promise; it shows what no502 cannot do.".to_owned()));
    }
    for side in Side::BOTH {
        let faults: Vec<_> =
            side.runs(row).iter().flat_map(|run| &run.faults).map(|fault| markdown_literal(fault)).collect();
        if !faults.is_empty() {
            notes.push(item(format!("{} {}: {}.", plural(faults.len(), "fault"), side.name(), faults.join("; "))));
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
        assert!(rows.iter().any(|cells| cells[0].ends_with("nothing can help | here")), "{text}");
        assert!(rows.iter().any(|cells| cells[0] == "nothing <script>at</script> all"), "{text}");
    }

    #[test]
    fn below_the_table_are_the_circumstances_the_notes_and_the_faults() {
        let text = of(&example::proof());
        assert!(text.contains("\nRun on 2026-11-26, Kubernetes 1.37.2, containerd 2.3.1, "), "{text}");
        assert!(text.contains(", on 2 cores, 23 GiB, Linux 6.18.\n"), "{text}");
        assert!(text.contains("typo in the Service selector: Undone after 15 s.\n"), "{text}");
        assert!(
            text.contains("1 fault with no502: the write \\<script\\>alert(1)\\</script\\> \\| went through.\n"),
            "{text}"
        );
    }
}
