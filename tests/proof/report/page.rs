//! `index.html`: one page with the table, and below it for each row what happened second by second. It needs nothing but
//! itself: no script, no font, no picture from elsewhere. It is well-formed XML as well.

use std::{collections::BTreeSet, iter};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    super::outcome::{End, Path, Phase, Proof, Row, Run},
    cause,
    chart::{Frame, LARGE, SMALL, draw, px},
    method::{HOW, LIMITS, RETRIES},
    picture::capital,
    scale::Scale,
    summary::{
        Piece, Side, by_cause, by_cause_and_phase, by_phase, causes, cell, circumstances, failed, no_promise, plural,
        sent,
    },
    text::{inline, seconds, thousands, without_controls},
    timeline::{length_ms, since_start},
    verdict::verdict,
};

const STYLE: &str = include_str!("page.css");
/// With these two, a page of 12 rows with 6 runs a side stays below 2 MB.
const BUCKETS_LARGE_MAX: u64 = 240;
const BUCKETS_SMALL_MAX: u64 = 80;

pub(super) fn of(proof: &Proof) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (PreEscaped("<meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>"))
                title { "no502: rolling updates under load, with and without it" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "Rolling updates under load, without and with no502" }
                    p { (opening(proof)) }
                    p class=(if proof.rows.iter().all(Row::holds) { "holds" } else { "broken" }) { (verdict(proof)) }
                    (table(proof))
                    ul class="small" { @for text in [HOW, RETRIES].into_iter().chain(LIMITS) { li { (text) } } }
                    (how_to_read(proof))
                    @for row in &proof.rows { (section(row)) }
                }
            }
        }
    };
    without_controls(&page.0) + "\n"
}

fn opening(proof: &Proof) -> String {
    let circumstances = circumstances(proof);
    let run = if circumstances.is_empty() { String::new() } else { format!(" (run on {circumstances})") };
    format!(
        "Every request of a constant load on a real cluster was counted while applications were updated, scaled, moved and \
         misconfigured, first without no502 and then with it{run}."
    )
}

fn table(proof: &Proof) -> Markup {
    html! {
        table {
            caption { "Failed requests in each scenario" }
            thead {
                tr {
                    th scope="col" { "scenario" }
                    @for side in Side::BOTH { th scope="col" { (side.name()) } }
                }
            }
            tbody {
                @for row in &proof.rows {
                    tr {
                        th scope="row" { a href=(format!("#{}", row.id)) { (inline(row.title)) } (no_promise(row)) }
                        @for side in Side::BOTH { td { (pieces(row, side)) } }
                    }
                }
            }
        }
    }
}

fn pieces(row: &Row, side: Side) -> Markup {
    html! {
        @for piece in cell(row, side) {
            @match piece {
                Piece::Text(text) => (text),
                Piece::Strong(text) => strong { (text) },
            }
        }
    }
}

fn how_to_read(proof: &Proof) -> Markup {
    let causes = causes(proof);
    html! {
        section {
            h2 { "How to read the pictures" }
            p {
                "Each picture has the requests a second in grey above, at the moment when each was due, whatever became of the "
                "earlier ones. Below are those that failed, by cause, at the moment when each failed: a long one may have been due "
                "before the event that cut it. Nothing is tried again. Time is in seconds from the start of the run. All pictures of "
                "a scenario have the same axes. Dashed lines are events; they have their words on hovering, and those of the large "
                "pictures are listed below them. A single failed request is drawn high enough to be seen. A bar stands for half a "
                "second or more, so it can begin before the event that caused it. A failure is “during” if it ended between the first "
                "event and the last one; before and after them there is load alone."
            }
            @if !causes.is_empty() {
                dl {
                    @for end in causes {
                        dt { (swatch(end)) (cause::name(end)) }
                        dd { (cause::meaning(end)) }
                    }
                }
            }
        }
    }
}

fn swatch(end: End) -> Markup {
    html! {
        svg viewBox="0 0 12 12" aria-hidden="true" { rect width="12" height="12" fill=(cause::colour(end)) {} }
    }
}

fn section(row: &Row) -> Markup {
    let runs = || row.without.iter().chain(&row.with);
    let large = Scale::of(runs(), BUCKETS_LARGE_MAX);
    let small = Scale::of(runs(), BUCKETS_SMALL_MAX);
    html! {
        section id=(row.id) {
            h2 { (inline(row.title)) }
            @if let Some(note) = row.note { p class="quiet" { (inline(note)) } }
            @if !row.is_promise { p class="quiet" { "No promise: this shows what no502 cannot do." } }
            @for side in Side::BOTH {
                h3 { (capital(side.name())) }
                @if side == Side::Without && row.without.is_empty() {
                    p { "This scenario has no side without no502." }
                } @else {
                    p { (pieces(row, side)) }
                }
                (runs_of(row, side, &large, &small))
            }
        }
    }
}

fn runs_of(row: &Row, side: Side, large: &Scale, small: &Scale) -> Markup {
    let runs = side.runs(row);
    let Some((first, others)) = runs.split_first() else { return html! {} };
    let name = |index: usize| {
        if runs.len() > 1 { format!("Run {} of {}", index + 1, runs.len()) } else { "The run".to_owned() }
    };
    html! {
        (messages(runs))
        (faults(runs))
        (legend(first))
        // A picture may be wider than a small screen; it scrolls, by the keyboard too.
        div class="wide" role="region" tabindex="0" aria-label=(format!("{}, {}", name(0), side.name())) {
            (figure(first, &name(0), large, &LARGE))
        }
        (events(first))
        @if !others.is_empty() {
            div class="more" {
                @for (index, run) in others.iter().enumerate() { (figure(run, &name(index + 1), small, &SMALL)) }
            }
        }
        div class="wide" role="region" tabindex="0" aria-label=(format!("numbers {}", side.name())) {
            (numbers(runs, &format!("{}, by run and way", capital(side.name()))))
        }
    }
}

/// What kubectl said, each text once.
fn messages(runs: &[Run]) -> Markup {
    let texts: BTreeSet<&str> = runs.iter().filter_map(|run| run.message.as_deref()).collect();
    html! {
        @for text in texts {
            @let times = runs.iter().filter(|run| run.message.as_deref() == Some(text)).count();
            p { "kubectl said" @if runs.len() > 1 { " in " (times) " of " (runs.len()) " runs" } ":" }
            pre { (text) }
        }
    }
}

fn faults(runs: &[Run]) -> Markup {
    let faults: Vec<_> =
        runs.iter().enumerate().flat_map(|(index, run)| run.faults.iter().map(move |fault| (index, fault))).collect();
    if faults.is_empty() {
        return html! {};
    }
    html! {
        p class="broken" { (plural(faults.len(), "fault")) ":" }
        ul {
            @for (index, fault) in faults {
                li { @if runs.len() > 1 { "run " (index + 1) ": " } (fault) }
            }
        }
    }
}

fn legend(run: &Run) -> Markup {
    let causes = run.failures();
    if causes.is_empty() {
        return html! {};
    }
    html! {
        ul class="legend" {
            @for (end, count) in causes { li { (swatch(end)) (cause::counted(end, &thousands(count))) } }
        }
    }
}

fn figure(run: &Run, name: &str, scale: &Scale, frame: &Frame) -> Markup {
    let marks: Vec<_> = run.marks.iter().collect();
    let drawing = draw(run, &marks, scale, frame);
    let words = format!("{name}: {} of {} failed{}", by_cause(&run.failures()), sent(iter::once(run)), in_phases(run));
    html! {
        figure {
            svg class="chart" role="img" aria-label=(words) viewBox=(format!("0 0 {} {}", px(frame.width), px(drawing.height))) {
                (drawing.markup)
            }
            figcaption { (words) }
        }
    }
}

/// `; 0 before, 37 during, 0 after`, if any failed.
fn in_phases(run: &Run) -> String {
    if failed(run) == 0 {
        return String::new();
    }
    let counts = Phase::ALL.into_iter().zip(by_phase(run));
    let counts: Vec<_> = counts.map(|(phase, count)| format!("{} {}", thousands(count), phase.name())).collect();
    format!("; {}", counts.join(", "))
}

fn events(run: &Run) -> Markup {
    if run.marks.is_empty() {
        return html! {};
    }
    html! {
        ol class="events" {
            @for mark in &run.marks { li { span { (seconds(since_start(run, mark.at))) " s" } " " (mark.what) } }
        }
    }
}

/// The numbers of every run, one line for each way to the application.
fn numbers(runs: &[Run], caption: &str) -> Markup {
    html! {
        table class="runs" {
            caption { (caption) }
            thead {
                tr {
                    th scope="col" { "run" }
                    th scope="col" { "way" }
                    th scope="col" class="number" { "seconds" }
                    th scope="col" class="number" { "requests" }
                    th scope="col" class="number" { "failed" }
                    th scope="col" class="number" { (Phase::ALL.map(Phase::name).join(" / ")) }
                    th scope="col" { "by cause" }
                    th scope="col" class="number" { "longest, ms" }
                }
            }
            tbody {
                @for (index, run) in runs.iter().enumerate() { (lines(index, run)) }
            }
        }
    }
}

fn lines(index: usize, run: &Run) -> Markup {
    let one = |path: &Path| Run { paths: vec![path.clone()], marks: run.marks.clone(), ..Run::default() };
    let ways = run.paths.iter().map(|path| (path.name, one(path)));
    let ways: Vec<_> = if run.paths.is_empty() { vec![("–", Run::default())] } else { ways.collect() };
    html! {
        @for (name, way) in ways {
            tr {
                th scope="row" { (index + 1) }
                td { (name) }
                td class="number" { (seconds(length_ms(run))) }
                td class="number" { (thousands(way.requests().count())) }
                td class="number" { (thousands(failed(&way))) }
                td class="number" { (by_phase(&way).map(thousands).join(" / ")) }
                td { @if failed(&way) > 0 { (by_cause_and_phase(&way)) } @else { "–" } }
                td class="number" { (thousands(longest_ms(&way))) }
            }
        }
    }
}

fn longest_ms(run: &Run) -> usize {
    let longest = run.requests().map(|request| request.took_ms).max().unwrap_or_default();
    usize::try_from(longest).unwrap_or(usize::MAX)
}
