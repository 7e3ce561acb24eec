//! The picture of one run: requests a second above, failed ones a second by cause below, and lines for what happened.

use std::{collections::BTreeMap, fmt::Write, iter, slice};

use maud::{Markup, html};

use super::{
    super::outcome::{End, Mark, Run},
    cause,
    labels::{Label, placed},
    scale::{Axis, Scale},
    summary::{failed, sent, unit},
    text::{seconds, thousands},
    timeline::{Timeline, length_ms, since_start},
};

const LANE: f64 = 15.0;
const CAPTION: f64 = 18.0;
const TICK_TEXT: f64 = 16.0;
/// What failed is seen, were it one request among thousands.
const BAR_HEIGHT_MIN: f64 = 2.0;
/// Bars wider than this stand apart.
const BAR_GAP_FROM: f64 = 3.0;

/// The measures of a picture, in its own units, about a pixel each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: f64,
    left: f64,
    right: f64,
    requests: f64,
    gap: f64,
    errors: f64,
    /// Captions, labels and a tick for every step; or only the lines and the highest tick.
    is_large: bool,
}

/// A picture of a page's whole width.
pub(super) const LARGE: Frame =
    Frame { width: 960.0, left: 48.0, right: 24.0, requests: 52.0, gap: 12.0, errors: 110.0, is_large: true };
/// One of several beside each other.
pub(super) const SMALL: Frame =
    Frame { width: 300.0, left: 28.0, right: 16.0, requests: 22.0, gap: 8.0, errors: 48.0, is_large: false };

/// A drawn run: `svg` elements from 0 down to `height`.
#[derive(Debug)]
pub(super) struct Drawing {
    pub(super) height: f64,
    pub(super) markup: Markup,
}

/// A part of the picture with an axis of its own.
struct Panel {
    top: f64,
    height: f64,
    axis: Axis,
}

impl Panel {
    fn base(&self) -> f64 {
        self.top + self.height
    }

    fn y(&self, rate: f64) -> f64 {
        self.base() - self.height * self.axis.share(rate)
    }
}

impl Frame {
    fn x(&self, scale: &Scale, ms: u64) -> f64 {
        self.left + (self.width - self.left - self.right) * scale.share(ms)
    }
}

/// Draws a run, with lines for these of its marks.
pub(super) fn draw(run: &Run, marks: &[&Mark], scale: &Scale, frame: &Frame) -> Drawing {
    let timeline = Timeline::of(run, scale.width_ms);
    let lines: Vec<_> = marks.iter().map(|mark| (frame.x(scale, since_start(run, mark.at)), *mark)).collect();
    let right = frame.width - frame.right / 2.0;
    let labelled = lines.iter().filter(|_| frame.is_large).map(|(x, mark)| (*x, mark.what.as_str()));
    let labels = placed(labelled, right);
    let above: f64 = (0..labels.iter().map(|label| label.lane + 1).max().unwrap_or_default()).map(|_| LANE).sum();
    let caption = if frame.is_large { CAPTION } else { 6.0 };
    let requests = Panel { top: above + caption, height: frame.requests, axis: scale.requests };
    let errors = Panel { top: requests.base() + frame.gap + caption, height: frame.errors, axis: scale.errors };
    let markup = html! {
        (grid(&requests, frame))
        (grid(&errors, frame))
        path class="load" d=(load(&timeline, scale, frame, &requests)) {
            title { (sent(iter::once(run))) }
        }
        (bars(&timeline, run, scale, frame, &errors))
        (time(scale, frame, errors.base()))
        g class="mark" {
            @for (x, mark) in &lines { (line(*x, mark, run, &labels, above, errors.base())) }
        }
        @if frame.is_large {
            (captions(unit(slice::from_ref(run)), frame, &requests, &errors))
            (end_of_run(frame.x(scale, length_ms(run)), frame, &requests))
            @if failed(run) == 0 { (nothing_failed(run, frame, &errors)) }
            @for label in &labels { (text_of(label)) }
        }
    };
    Drawing { height: errors.base() + TICK_TEXT + 4.0, markup }
}

/// The colours of these causes with their counts, side by side from the left edge: `svg` elements around `y`.
pub(super) fn legend(causes: &BTreeMap<End, usize>, left: f64, y: f64) -> Markup {
    let mut x = left;
    let entries = causes.iter().map(|(end, count)| {
        let text = cause::counted(*end, &thousands(*count));
        let at = x;
        x += 17.0 + super::labels::width(&text) + 14.0;
        (*end, at, text)
    });
    html! {
        @for (end, x, text) in entries {
            rect x=(px(x)) y=(px(y - 9.0)) width="11" height="11" fill=(cause::colour(end)) {}
            text class="tick" x=(px(x + 16.0)) y=(px(y)) { (text) }
        }
    }
}

fn grid(panel: &Panel, frame: &Frame) -> Markup {
    let ticks = panel.axis.ticks();
    // Two labels are enough where there is little room: zero and the top.
    let is_shown = |index: usize| index == 0 || index + 1 == ticks.len() || panel.height > 90.0;
    html! {
        @for (index, tick) in ticks.iter().enumerate().filter(|(index, _)| is_shown(*index)) {
            @let y = px(panel.y(*tick));
            line class=(if index == 0 { "base" } else { "grid" }) x1=(px(frame.left)) x2=(px(frame.width - frame.right)) y1=(y) y2=(y) {}
            text class="tick end" x=(px(frame.left - 5.0)) y=(px(panel.y(*tick) + 4.0)) { (tick) }
        }
    }
}

fn time(scale: &Scale, frame: &Frame, base: f64) -> Markup {
    let room = if frame.is_large { u64::MAX } else { 4 };
    html! {
        @for tick in scale.ticks_s(room) {
            @let x = frame.x(scale, tick.saturating_mul(1000));
            line class="base" x1=(px(x)) x2=(px(x)) y1=(px(base)) y2=(px(base + 4.0)) {}
            text class="tick middle" x=(px(x)) y=(px(base + TICK_TEXT)) { (tick) " s" }
        }
    }
}

/// The outline of the requests a second, closed along the base.
fn load(timeline: &Timeline, scale: &Scale, frame: &Frame, panel: &Panel) -> String {
    let mut path = format!("M{} {}", px(frame.left), px(panel.base()));
    for (index, bucket) in timeline.buckets.iter().enumerate() {
        let to = frame.x(scale, timeline.edges_ms(index).1);
        let _ = write!(path, "V{}H{}", px(panel.y(timeline.rate(index, bucket.requests))), px(to));
    }
    let _ = write!(path, "V{}Z", px(panel.base()));
    path
}

/// One path for each cause, its bars on top of those of the causes before it.
fn bars(timeline: &Timeline, run: &Run, scale: &Scale, frame: &Frame, panel: &Panel) -> Markup {
    let mut paths: BTreeMap<End, String> = BTreeMap::new();
    for (index, bucket) in timeline.buckets.iter().enumerate() {
        let (from, to) = timeline.edges_ms(index);
        let (left, right) = (frame.x(scale, from), frame.x(scale, to));
        let gap = if right - left > BAR_GAP_FROM { 1.0 } else { 0.0 };
        let rate = timeline.rate(index, bucket.failures.values().sum());
        let height = panel.base() - panel.y(rate);
        let stretch = if height > 0.0 { (BAR_HEIGHT_MIN / height).max(1.0) } else { 1.0 };
        let mut base = panel.base();
        for (end, count) in &bucket.failures {
            let height = (panel.base() - panel.y(timeline.rate(index, *count))) * stretch;
            let path = paths.entry(*end).or_default();
            let (up, across) = (px(height), px(right - gap - left));
            let _ = write!(path, "M{} {}v-{up}h{across}v{up}", px(left), px(base));
            base -= height;
        }
    }
    let counts = run.failures();
    html! {
        @for (end, path) in &paths {
            path fill=(cause::colour(*end)) d=(path) {
                title { (cause::counted(*end, &thousands(counts.get(end).copied().unwrap_or_default()))) }
            }
        }
    }
}

/// A line down from its label, or from below all labels if it has none.
fn line(x: f64, mark: &Mark, run: &Run, labels: &[Label], above: f64, base: f64) -> Markup {
    let is_of = |label: &&Label| (label.x - x).abs() < 0.01 && mark.what.starts_with(label.text.trim_end_matches('…'));
    let top = labels.iter().find(is_of).map_or(above, |label| lane_top(label.lane));
    html! {
        path d=(format!("M{} {}V{}", px(x), px(top + 2.0), px(base))) {
            title { (seconds(since_start(run, mark.at))) " s: " (mark.what) }
        }
    }
}

fn lane_top(lane: usize) -> f64 {
    (0..lane).map(|_| LANE).sum()
}

fn text_of(label: &Label) -> Markup {
    let class = if label.is_left { "label end" } else { "label" };
    html! {
        text class=(class) x=(px(label.text_x())) y=(px(lane_top(label.lane) + 11.0)) { (label.text) }
    }
}

fn captions(unit: &str, frame: &Frame, requests: &Panel, errors: &Panel) -> Markup {
    html! {
        text class="caption" x=(px(frame.left)) y=(px(requests.top - 6.0)) { (unit) " a second" }
        text class="caption" x=(px(frame.left)) y=(px(errors.top - 6.0)) { "failed " (unit) " a second" }
    }
}

/// Where a run ends before the others, lest the emptiness after it looks like an outage.
fn end_of_run(x: f64, frame: &Frame, panel: &Panel) -> Markup {
    const TEXT: &str = "end of this run";
    const SPACE: f64 = 6.0;
    if x + SPACE + super::labels::width(TEXT) > frame.width - frame.right {
        return html! {};
    }
    html! { text class="caption" x=(px(x + SPACE)) y=(px(panel.base() - SPACE)) { (TEXT) } }
}

fn nothing_failed(run: &Run, frame: &Frame, panel: &Panel) -> Markup {
    let count = run.requests().count();
    let text = if count == 0 {
        format!("no {}", unit(slice::from_ref(run)))
    } else {
        format!("0 of {} failed", thousands(count))
    };
    html! {
        text class="nothing middle" x=(px(f64::midpoint(frame.left, frame.width - frame.right))) y=(px(panel.top + panel.height / 2.0 + 5.0)) {
            (text)
        }
    }
}

/// A length with at most one decimal.
pub(super) fn px(length: f64) -> String {
    let text = format!("{length:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}
