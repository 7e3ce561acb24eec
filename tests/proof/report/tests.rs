//! Tests of the report as a whole: what it says, that it can be read, and that nothing the harness saw can break it.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use roxmltree::{Document, Node, ParsingOptions};

use super::{
    super::outcome::{End, Mark, Path, Proof, Request, Row, Run},
    *,
};

const PAGE_BYTES_MAX: usize = 2 << 20;
const EVIL: &str = "<script>alert(\"1\")</script> | & ' \u{1b}[31m\nnext";

fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}:\n{page}"))
}

/// All the text in a node, what is between its words as one space.
fn text(node: Node<'_, '_>) -> String {
    let texts: String = node.descendants().filter(Node::is_text).filter_map(|node| node.text()).collect();
    texts.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn elements<'a, 'input>(node: Node<'a, 'input>, name: &'static str) -> impl Iterator<Item = Node<'a, 'input>> {
    node.descendants().filter(move |node| node.has_tag_name(name))
}

fn proof_of(rows: Vec<Row>) -> Proof {
    Proof { rows, ..example::proof() }
}

fn evil_proof() -> Proof {
    let evil = || EVIL.to_owned();
    let run = Run {
        marks: vec![Mark { at: 0, what: evil() }],
        paths: vec![Path { name: EVIL, requests: vec![Request { at: 0, took_ms: 1, end: End::Other }] }],
        message: Some(evil()),
        faults: vec![evil()],
        ..Run::default()
    };
    let row =
        Row { title: EVIL, note: Some(EVIL), ..example::row("restart", vec![run.clone()], vec![run.clone(), run]) };
    Proof { date: evil(), versions: vec![(evil(), evil())], machine: evil(), rows: vec![row] }
}

#[test]
fn the_page_has_the_table_and_every_run_with_its_numbers() {
    let proof = example::proof();
    let page = page::of(&proof);
    let page = parsed(&page);
    let tables: Vec<_> = elements(page.root(), "table").collect();
    let rows: Vec<_> = elements(tables[0], "tr").skip(1).collect();
    assert_eq!(rows.len(), proof.rows.len());
    for (line, row) in rows.iter().zip(&proof.rows) {
        let cells: Vec<_> = elements(*line, "td").map(text).collect();
        assert_eq!(cells, summary::Side::BOTH.map(|side| summary::plain(row, side)), "{}", row.id);
    }
    let sections = || elements(page.root(), "section").filter(|section| section.attribute("id").is_some());
    assert_eq!(sections().count(), proof.rows.len());
    for (section, row) in sections().zip(&proof.rows) {
        let runs: Vec<_> = row.without.iter().chain(&row.with).collect();
        let captions: Vec<_> = elements(section, "figcaption").map(text).collect();
        assert_eq!(captions.len(), runs.len(), "{}: one picture for each run", row.id);
        for (caption, run) in captions.iter().zip(&runs) {
            assert!(
                caption.contains(&format!(
                    "{} {} failed",
                    text::thousands(run.requests().count()),
                    summary::unit(std::slice::from_ref(run))
                )),
                "{caption}"
            );
            for (end, count) in run.failures() {
                assert!(caption.contains(&cause::counted(end, &text::thousands(count))), "{caption}: {count} {end}");
            }
            let [before, during, after] = summary::by_phase(run).map(text::thousands);
            let phases = format!("; {before} before, {during} during, {after} after");
            assert_eq!(caption.ends_with(&phases), summary::failed(run) > 0, "{caption}: {phases}");
        }
        let cells = |column| elements(section, "tr").filter_map(move |line| elements(line, "td").nth(column).map(text));
        let by_phase: Vec<Vec<usize>> = cells(4)
            .map(|cell| cell.split(" / ").map(|count| count.replace(',', "").parse().unwrap()).collect())
            .collect();
        for phase in 0..3 {
            let told: usize = by_phase.iter().map(|counts| counts[phase]).sum();
            assert_eq!(told, runs.iter().map(|run| summary::by_phase(run)[phase]).sum::<usize>(), "{}", row.id);
        }
        let failed: usize = cells(3).map(|text| text.replace(',', "").parse::<usize>().unwrap()).sum();
        assert_eq!(failed, runs.iter().map(|run| summary::failed(run)).sum::<usize>(), "{}", row.id);
    }
}

#[test]
fn the_pictures_of_a_row_have_the_same_axes() {
    let page = page::of(&example::proof());
    let page = parsed(&page);
    let section = elements(page.root(), "section").find(|section| section.attribute("id") == Some("restart")).unwrap();
    let ticks = |chart: Node<'_, '_>| {
        let ticks = elements(chart, "text")
            .filter(|text| text.attribute("class").is_some_and(|class| class.starts_with("tick")));
        ticks.map(text).collect::<Vec<_>>()
    };
    let large = elements(section, "svg")
        .filter(|svg| svg.attribute("viewBox").is_some_and(|size| size.starts_with("0 0 960 ")));
    let large: Vec<_> = large.map(ticks).collect();
    assert_eq!(large.len(), 2);
    assert!(large[0].len() > 8, "{large:?}");
    assert_eq!(large[0], large[1]);
}

#[test]
fn a_denial_is_there_word_for_word() {
    let proof = example::proof();
    let messages: BTreeSet<_> =
        proof.rows.iter().flat_map(|row| &row.with).filter_map(|run| run.message.as_deref()).collect();
    assert_eq!(messages.len(), 1);
    let page = page::of(&proof);
    let page = parsed(&page);
    let shown: BTreeSet<_> = elements(page.root(), "pre").filter_map(|node| node.text()).collect();
    assert_eq!(shown, messages);
}

#[test]
fn nothing_that_was_seen_becomes_markup() {
    let proof = evil_proof();
    let picture = picture::of(&proof).unwrap();
    for file in [&page::of(&proof), &picture] {
        let document = parsed(file);
        assert_eq!(elements(document.root(), "script").count(), 0);
        assert!(text(document.root()).contains("<script>alert(\"1\")</script> | & '"), "{file}");
        assert!(!file.contains('\u{1b}'));
    }
    let markdown = markdown::of(&proof);
    assert!(!markdown.replace("\\<", "").contains("<script"), "{markdown}");
    let row = markdown.lines().nth(2).unwrap();
    assert_eq!(row.replace("\\|", "").matches('|').count(), 4, "{row}");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let proof = example::proof();
    let page = page::of(&proof);
    assert!(!page.contains("http://") && !page.contains("https://"), "an address in the page");
    assert!(!page.contains("url(") && !page.contains("@import"), "the style fetches something");
    let picture = picture::of(&proof).unwrap().replacen("http://www.w3.org/2000/svg", "", 1);
    assert!(!picture.contains("http") && !picture.contains("url("), "{picture}");
    let page = parsed(&page);
    let ids: BTreeSet<_> = page.descendants().filter_map(|node| node.attribute("id")).collect();
    for node in page.descendants() {
        assert_eq!(node.attribute("src"), None);
        let target = node.attribute("href").map(|href| href.strip_prefix('#').unwrap_or(href));
        assert!(target.is_none_or(|target| ids.contains(target)), "{target:?} is not in the page");
    }
}

#[test]
fn the_largest_proof_fits() {
    let ends = [End::Refused, End::Reset, End::Status(503)];
    let request = |at: u64| {
        let end = if at.is_multiple_of(7) { ends[usize::try_from(at / 5 % 3).unwrap()] } else { End::Ok };
        Request { at, took_ms: 1, end }
    };
    let run = || Run {
        end: 300_000,
        marks: (0..30)
            .map(|index| Mark { at: index * 9000, what: format!("pod shop-7d9f6c5b44-{index} deleted") })
            .collect(),
        paths: ["Ingress", "Service"]
            .map(|name| Path { name, requests: (0..300_000).step_by(10).map(request).collect() })
            .into(),
        ..Run::default()
    };
    assert_eq!(run().requests().count(), 60_000);
    // One row, and the rest by multiplication: the rows are alike, and 8.6 million requests need minutes without optimisation.
    let bytes = |rows| page::of(&proof_of(rows)).len();
    let side = || vec![run(), run(), run(), run(), run(), run()];
    let (empty, one) = (bytes(Vec::new()), bytes(vec![example::row("restart", side(), side())]));
    let twelve = empty + 12 * (one - empty);
    assert!(twelve < PAGE_BYTES_MAX, "{twelve} bytes");
}

#[test]
fn nothing_at_all_is_a_report_too() {
    let later = Run { start: 9, end: 3, ..Run::default() };
    let nameless = Run { paths: vec![Path { name: "", requests: Vec::new() }], ..Run::default() };
    let rows = [Run::default(), later, nameless].map(|run| example::row("restart", Vec::new(), vec![run.clone(), run]));
    let nothing = Proof { date: String::new(), versions: Vec::new(), machine: String::new(), rows: Vec::new() };
    for proof in [nothing, proof_of(Vec::new()), proof_of(rows.into())] {
        let page = page::of(&proof);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        parsed(&page);
        if let Some(svg) = picture::of(&proof) {
            parsed(&svg);
        }
        assert!(table(&proof).contains("scenario") && markdown::of(&proof).starts_with("| scenario |"));
    }
}

#[test]
fn files_are_replaced_whole_and_can_be_read_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/report");
    for proof in [example::proof(), proof_of(Vec::new())] {
        let files = write(&proof, &target).unwrap();
        let expected = if proof.rows.is_empty() { 2 } else { 3 };
        assert_eq!(files.len(), expected, "{files:?}");
        for file in &files {
            assert_eq!(
                fs::metadata(file).unwrap().permissions().mode() & 0o444,
                0o444 & !umask(),
                "{}",
                file.display()
            );
        }
        assert_eq!(fs::read_to_string(&files[1]).unwrap(), markdown::of(&proof));
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 3, "temporary files are left");
}

/// What a file that is simply created may not have.
fn umask() -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    !fs::metadata(&file).unwrap().permissions().mode() & 0o666
}

#[test]
fn what_cannot_be_written_is_named_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write(&example::proof(), &file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("--report {}: cannot make the folder: ", file.display())), "{error}");
    let page = folder.path().join("index.html");
    fs::create_dir(&page).unwrap();
    let error = write(&example::proof(), folder.path()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot write the report: ", page.display())), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
#[ignore = "it leaves the example in target/report-example, to be looked at"]
fn example_for_the_eye() {
    write(&example::proof(), &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/report-example")).unwrap();
}
