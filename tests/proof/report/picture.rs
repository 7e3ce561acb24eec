//! `rollout.svg`: the rolling restart for the README, without no502 above and with it below. It stands in an `<img>`, so it
//! has a ground of its own, colours of its own and no font but the reader's.

use maud::{Markup, PreEscaped, html};

use super::{
    super::outcome::{Mark, Path, Proof, Row, Run},
    chart::{LARGE, draw, legend, px},
    scale::Scale,
    summary::{Side, circumstances, failed, plural},
    text::{thousands, without_controls},
    timeline::{float, float_ms},
};

/// The row that is drawn.
const ROW: &str = "restart";
const BUCKETS_MAX: u64 = 400;
const STYLE: &str = include_str!("picture.css");
const MARGIN: f64 = 24.0;
const HEADLINE: f64 = 84.0;
/// Above each side: its title and its legend.
const TITLE: f64 = 30.0;
const FOOT: f64 = 30.0;

/// The picture, or none if there is no row `restart` with a run on either side.
pub(super) fn of(proof: &Proof) -> Option<String> {
    let row = proof.rows.iter().find(|row| row.id == ROW)?;
    if row.without.is_empty() && row.with.is_empty() {
        return None;
    }
    let drawn = Side::BOTH.map(|side| side.runs(row).first());
    let scale = Scale::of(drawn.iter().flatten().copied(), BUCKETS_MAX);
    let mut top = HEADLINE;
    let mut sides = Vec::new();
    for (side, run) in Side::BOTH.into_iter().zip(drawn) {
        let Some(run) = run else { continue };
        let drawing = draw(run, &first_and_last(run), &scale, &LARGE);
        sides.push(html! {
            (title(side, row, run, top))
            g transform=(format!("translate(0 {})", px(top + TITLE))) { (drawing.markup) }
        });
        top += TITLE + drawing.height + 14.0;
    }
    let height = top + FOOT;
    let (headline, foot) = (headline(row), foot(proof));
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(px(LARGE.width)) height=(px(height))
            viewBox=(format!("0 0 {} {}", px(LARGE.width), px(height))) role="img" aria-labelledby="title desc" {
            title id="title" { (headline) }
            desc id="desc" { (description(row)) " " (foot) }
            style { (PreEscaped(STYLE)) }
            rect class="ground" x="0.5" y="0.5" width=(px(LARGE.width - 1.0)) height=(px(height - 1.0)) rx="8" {}
            text class="headline" x=(px(MARGIN)) y="38" { (headline) }
            text class="load-line" x=(px(MARGIN)) y="60" { (load(row)) }
            @for side in &sides { (side) }
            text class="caption" x=(px(MARGIN)) y=(px(height - 16.0)) { (foot) }
        }
    };
    Some(without_controls(&svg.0) + "\n")
}

/// Where the rollout began and where it ended; what lies between is in the page.
fn first_and_last(run: &Run) -> Vec<&Mark> {
    let ends = [run.marks.first(), run.marks.last()];
    ends.into_iter().take(run.marks.len()).flatten().collect()
}

fn title(side: Side, row: &Row, run: &Run, top: f64) -> Markup {
    let text = format!("{}{}", capital(side.name()), which(side, row));
    html! {
        text class="side" x=(px(MARGIN)) y=(px(top + 16.0)) { (text) }
        (legend(&run.failures(), MARGIN + 11.0 + super::labels::width(&text) * 1.25, top + 16.0))
    }
}

/// Which of the runs is drawn, if there are several.
fn which(side: Side, row: &Row) -> String {
    let runs = side.runs(row).len();
    if runs > 1 { format!(", run 1 of {runs}") } else { String::new() }
}

pub(super) fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// The totals of all runs, in one line.
fn headline(row: &Row) -> String {
    let [without, with] = Side::BOTH.map(|side| side.runs(row));
    let total = |runs: &[Run]| runs.iter().map(failed).sum::<usize>();
    let is_uneven = !without.is_empty() && !with.is_empty() && without.len() != with.len();
    let subject = match without.len().max(with.len()) {
        1 => "Rolling restart".to_owned(),
        _ if is_uneven => "Rolling restarts".to_owned(),
        runs => plural(runs, "rolling restart"),
    };
    let runs = |side: &[Run]| if is_uneven { format!(" in {}", plural(side.len(), "run")) } else { String::new() };
    let failures = |side: &[Run]| format!("{}{}", plural(total(side), "failed request"), runs(side));
    let sides = match (without, with) {
        ([], with) => format!("{} with no502", failures(with)),
        (without, []) => format!("{} without no502", failures(without)),
        _ => format!("{} without no502, {}{} with", failures(without), thousands(total(with)), runs(with)),
    };
    format!("{subject}: {sides}")
}

/// The load on each way in the first run: `100 requests a second on each way: Ingress, Service`.
fn load(row: &Row) -> String {
    let Some(run) = row.without.iter().chain(&row.with).next() else { return String::new() };
    let rates: Vec<_> = run.paths.iter().filter_map(|path| Some((path.name, rate(path)?))).collect();
    match rates.as_slice() {
        [] => String::new(),
        [(name, rate)] => format!("{rate} requests a second ({name})"),
        [(_, first), others @ ..] if others.iter().all(|(_, rate)| rate == first) => {
            let names: Vec<_> = rates.iter().map(|(name, _)| *name).collect();
            format!("{first} requests a second on each way: {}", names.join(", "))
        }
        _ => {
            let rates: Vec<_> = rates.iter().map(|(name, rate)| format!("{rate} ({name})")).collect();
            format!("{} requests a second", rates.join(" and "))
        }
    }
}

/// Requests a second, by when they were due; none if they are too few to tell.
fn rate(path: &Path) -> Option<String> {
    let times = || path.requests.iter().map(|request| request.at);
    let ms = times().max()?.checked_sub(times().min()?).filter(|ms| *ms > 0)?;
    Some(format!("{:.0}", float(path.requests.len() - 1) * 1000.0 / float_ms(ms)))
}

fn description(row: &Row) -> String {
    let sides = Side::BOTH.map(|side| format!("{}: {}.", capital(side.name()), super::summary::plain(row, side)));
    format!("{}. {}", load(row), sides.join(" "))
}

fn foot(proof: &Proof) -> String {
    circumstances(proof)
}

#[cfg(test)]
mod tests {
    use super::{super::example, *};

    fn proof_of(row: Row) -> Proof {
        Proof { rows: vec![row], ..example::proof() }
    }

    #[test]
    fn the_headline_has_the_totals_of_all_runs() {
        let proof = example::proof();
        let row = &proof.rows[0];
        let total: usize = row.without.iter().flat_map(Run::failures).map(|(_, count)| count).sum();
        assert!(total > 5, "{total}");
        let wanted = format!("5 rolling restarts: {total} failed requests without no502, 0 with");
        assert_eq!(headline(row), wanted);
        let svg = of(&proof).unwrap();
        let svg = roxmltree::Document::parse(&svg).unwrap();
        let texts: Vec<_> = svg.descendants().filter_map(|node| node.text()).collect();
        assert!(texts.contains(&wanted.as_str()), "{texts:?}");
        assert!(texts.contains(&"100 requests a second on each way: Ingress, Service"), "{texts:?}");
        for (end, count) in row.without[0].failures() {
            let counted = super::super::cause::counted(end, &count.to_string());
            assert!(texts.contains(&counted.as_str()), "{counted} in {texts:?}");
        }
        let begin_and_end = [["kubectl rollout restart", "rollout complete"]; 2].concat();
        let is_label =
            |node: &roxmltree::Node<'_, '_>| node.attribute("class").is_some_and(|class| class.starts_with("label"));
        let labels: Vec<_> = svg.descendants().filter(is_label).filter_map(|node| node.text()).collect();
        assert_eq!(labels, begin_and_end);
    }

    #[test]
    fn one_run_a_side_is_told_in_the_singular_and_uneven_sides_are_told_apart() {
        let one = example::row("restart", vec![example::run(800, &[])], vec![example::run(800, &[])]);
        assert_eq!(headline(&one), "Rolling restart: 0 failed requests without no502, 0 with");
        let uneven = Row { with: vec![example::run(800, &[]); 2], ..one };
        assert_eq!(headline(&uneven), "Rolling restarts: 0 failed requests in 1 run without no502, 0 in 2 runs with");
    }

    #[test]
    fn the_load_is_told_for_each_way() {
        let mut run = example::run(800, &[]);
        let load_of = |run: &Run| load(&example::row("restart", vec![run.clone()], Vec::new()));
        assert_eq!(load_of(&run), "200 requests a second (Ingress)");
        let mut other = run.paths[0].clone();
        other.name = "Service";
        run.paths.push(other);
        assert_eq!(load_of(&run), "200 requests a second on each way: Ingress, Service");
        run.paths[1].requests.truncate(401);
        run.paths[1].requests.iter_mut().zip(0..).for_each(|(request, index)| request.at = index * 10);
        assert_eq!(load_of(&run), "200 (Ingress) and 100 (Service) requests a second");
        run.paths[1].requests.truncate(1);
        assert_eq!(load_of(&run), "200 requests a second (Ingress)");
        assert_eq!(load_of(&Run::default()), "");
    }

    #[test]
    fn what_is_missing_is_left_out() {
        assert_eq!(of(&Proof { rows: Vec::new(), ..example::proof() }), None);
        assert_eq!(of(&proof_of(example::row("restart", Vec::new(), Vec::new()))), None);
        let svg = of(&proof_of(example::row("restart", Vec::new(), vec![Run::default()]))).unwrap();
        assert!(svg.contains("Rolling restart: 0 failed requests with no502<") && !svg.contains("NaN"), "{svg}");
    }
}
