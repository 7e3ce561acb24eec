//! Where the labels of vertical lines stand: in lanes above the picture, so that none covers another.

/// An estimate that is right for wide fonts and generous for others, in units of the font size.
const CHARACTER_EM: f64 = 0.6;
const FONT_SIZE: f64 = 11.0;
/// Space between a line and its label, and between two labels.
const GAP: f64 = 5.0;
/// More lines than this at one place have no label in the picture; the list of events has them all.
const LANES_MAX: usize = 7;
/// Enough for the commands of the scenarios, and less than half of a wide picture.
const CHARACTERS_MAX: usize = 56;

/// A label and its place.
#[derive(Debug, PartialEq)]
pub(super) struct Label {
    pub(super) text: String,
    /// Of the line.
    pub(super) x: f64,
    /// Whether the text stands to the left of its line.
    pub(super) is_left: bool,
    /// Counted from above.
    pub(super) lane: usize,
}

impl Label {
    fn extent(&self) -> (f64, f64) {
        let length = width(&self.text) + GAP;
        if self.is_left { (self.x - length, self.x) } else { (self.x, self.x + length) }
    }

    /// Where the text begins, or ends if it stands to the left.
    pub(super) fn text_x(&self) -> f64 {
        if self.is_left { self.x - GAP } else { self.x + GAP }
    }
}

/// About how wide a text is in the pictures.
pub(super) fn width(text: &str) -> f64 {
    text.chars().map(|_| CHARACTER_EM * FONT_SIZE).sum()
}

/// Labels for lines at these places, in the order of time. Each stands below those that reach over its line: the line goes
/// down from its label, and so crosses none.
pub(super) fn placed<'a>(lines: impl Iterator<Item = (f64, &'a str)>, right: f64) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    for (x, text) in lines {
        let text = shortened(text);
        let is_left = x + GAP + width(&text) > right;
        let mut label = Label { text, x, is_left, lane: 0 };
        let (from, to) = label.extent();
        let above = labels.iter().filter(|other| {
            let (start, end) = other.extent();
            start < to + GAP && from < end + GAP
        });
        label.lane = above.map(|other| other.lane + 1).max().unwrap_or_default();
        if label.lane < LANES_MAX {
            labels.push(label);
        }
    }
    labels
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= CHARACTERS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARACTERS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_would_meet_go_down_and_those_at_the_edge_go_left() {
        let lines =
            [(100.0, "rollout began"), (120.0, "pod deleted"), (400.0, "pod deleted"), (880.0, "rollout complete")];
        let labels = placed(lines.into_iter(), 900.0);
        let places: Vec<_> = labels.iter().map(|label| (label.lane, label.is_left)).collect();
        assert_eq!(places, [(0, false), (1, false), (0, false), (0, true)]);
    }

    #[test]
    fn a_crowd_is_thinned_out() {
        let labels = placed((0_u8..50).map(|index| (f64::from(index), "pod deleted")), 900.0);
        assert_eq!(labels.len(), LANES_MAX);
        let long = "x".repeat(100);
        assert_eq!(placed([(0.0, long.as_str())].into_iter(), 900.0)[0].text.chars().count(), CHARACTERS_MAX);
    }
}
