//! "Did you mean": the candidate that a typing mistake most likely stands for.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::{
    facts::{Labels, is_runtime_key},
    snapshot::PodSet,
};

/// Jaro-Winkler similarity from which one word is taken for another (0 to 1): `checkout` and `checkout-v2` have 0.95, `web` and
/// `api` 0.
const SIMILARITY_MIN: f64 = 0.85;

/// One slip of the finger for so many letters of the longer word, and one in any case.
const LETTERS_PER_SLIP: usize = 4;

/// Candidates looked at, so that a namespace of ten thousand workloads costs no more than one of a thousand.
const CANDIDATES_MAX: usize = 1_000;

/// Longest word that one is looked for, in bytes: the longest name that Kubernetes has. A comparison costs as much as the two words
/// have letters, multiplied, and the word may be anybody's.
const WORD_BYTES_MAX: usize = 253;

/// The candidate closest to `word`, if one is close. Of equal ones the first in order.
#[must_use]
pub fn nearest_word<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let close = candidates.into_iter().take(CANDIDATES_MAX).filter(|it| {
        #[cfg(test)]
        COMPARISONS.set(COMPARISONS.get() + 1);
        !it.is_empty() && *it != word && is_close(word, it)
    });
    let scored = close.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    scored.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1))).map(|(_, candidate)| candidate)
}

/// `; did you mean profile?`, if something is close.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest_word(word, known).map(|it| format!("; did you mean {it}?")).unwrap_or_default()
}

/// A few slips (a letter too many, too few, wrong, or two in the wrong order), or the same beginning.
fn is_close(a: &str, b: &str) -> bool {
    let slips_max = (a.chars().count().max(b.chars().count()) / LETTERS_PER_SLIP).max(1);
    strsim::osa_distance(a, b) <= slips_max || strsim::jaro_winkler(a, b) >= SIMILARITY_MIN
}

/// The pods that a selector that finds nothing most likely means, and the labels in which they differ from it: those that share
/// the most labels, and whose other values look alike. `None` if nothing is close.
#[must_use]
pub fn nearest_pods<'a>(
    selector: &Labels,
    sets: impl Iterator<Item = &'a PodSet>,
) -> Option<(&'a PodSet, Vec<String>)> {
    let mut best: Option<(f64, &PodSet)> = None;
    for set in sets.take(CANDIDATES_MAX) {
        let Some(score) = selector_similarity(selector, &set.labels) else { continue };
        if best.is_none_or(|(top, known)| score > top || (score >= top && set.workload < known.workload)) {
            best = Some((score, set));
        }
    }
    let (_, set) = best?;
    let differing = selector.iter().filter(|(key, value)| set.labels.get(key) != Some(value.as_str()));
    let wanted = differing.filter_map(|(key, _)| set.labels.get(key).map(|value| format!("{key}: {value}")));
    let wanted: Vec<String> = wanted.collect();
    (!wanted.is_empty()).then_some((set, wanted))
}

/// Sum over the selector's labels: 1 for an equal one, the similarity of the values for a typing mistake; `None` if a label is
/// missing or nothing like it.
fn selector_similarity(selector: &Labels, labels: &Labels) -> Option<f64> {
    let mut score = 0.0;
    for (key, value) in selector.iter().filter(|(key, _)| !is_runtime_key(key)) {
        let other = labels.get(key)?;
        if other != value && !is_close(value, other) && !selector_shares_a_label(selector, labels) {
            return None;
        }
        score += strsim::jaro_winkler(value, other);
    }
    Some(score)
}

fn selector_shares_a_label(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().any(|(key, value)| labels.get(key) == Some(value.as_str()))
}

#[cfg(test)]
thread_local! {
    /// Candidates that this thread has looked at: what tests measure instead of time.
    pub(crate) static COMPARISONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word() {
        assert_eq!(nearest_word("wbe", ["api", "web"]), Some("web"));
        assert_eq!(nearest_word("webb", ["web", "web-canary"]), Some("web"));
        assert_eq!(nearest_word("frontend", ["api", "db"]), None);
        assert_eq!(nearest_word("web", ["web"]), None, "the word itself is no suggestion");
        assert_eq!(did_you_mean("wbe", ["api", "web"]), "; did you mean web?");
        assert_eq!(did_you_mean("frontend", ["api"]), "");
    }

    #[test]
    fn nothing_is_compared_with_a_word_that_no_name_can_be() {
        let looked_at = |bytes: usize| {
            let mut count = 0;
            let candidates = ["profile", "enabled"].into_iter().inspect(|_| count += 1);
            assert_eq!(nearest_word(&"p".repeat(bytes), candidates), None);
            count
        };
        assert_eq!((looked_at(WORD_BYTES_MAX), looked_at(WORD_BYTES_MAX + 1)), (2, 0));
    }
}
