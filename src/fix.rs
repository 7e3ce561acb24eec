//! The injections as edits of manifest text: what a JSON Patch does to an object is done to the bytes of its file. Comments, order,
//! quotes, indentation and line ends stay as they are, because only what is new is written.
//!
//! Nothing is taken on trust: the edited text is read again, and unless it holds exactly the patched objects and every line
//! that it had, the edit is refused (`proof.rs`).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod annotation;
mod difference;
mod edit;
mod flow;
mod proof;
mod render;
mod taken;

use std::{fmt, sync::Arc};

use json_patch::Patch;
use serde_json::Value;

use crate::manifest::{Document, Outline, Source};
use edit::Splice;
pub use {
    annotation::{Renamed, tidied, without_empty_map},
    taken::taken_out,
};

/// The most often that one text is read again to find out which edits cannot be proven: enough for several of them among
/// [`crate::manifest::MAX_DOCUMENTS_PER_FILE`].
const PROOFS_MAX: usize = 128;

/// Whether something is put into the text, or what was put there is taken out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Lines are added, numbers are raised; of what is there only our own is written again, or taken out where it is stale.
    In,
    /// Lines are taken out, numbers are set back.
    Out,
}

/// A patch for one document of a text.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Which document: an index into the documents of the text.
    pub index: usize,
    /// What to do to its object.
    pub patch: &'a Patch,
}

/// Why a document was left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// JSON pointer of the place, as far as there is one.
    pub pointer: String,
    /// The line, where a pointer cannot say it.
    pub line: Option<u32>,
    /// What is in the way.
    pub reason: String,
    /// What to do about it.
    pub help: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.help)
    }
}

/// A text after its edits.
#[derive(Debug)]
pub struct Edited {
    /// The text; byte for byte the old one without any edit.
    pub text: String,
    /// What was refused, by the index of the change.
    pub refused: Vec<(usize, Refusal)>,
}

/// One document's edit.
#[derive(Debug)]
struct Plan {
    change: usize,
    document: usize,
    splices: Vec<Splice>,
    expected: Value,
}

/// Edits the documents of one text. `documents` are all that were read from it, in the order of the text.
///
/// Each change is made or refused by itself.
#[must_use]
pub fn edit(source: &Arc<Source>, documents: &[&Document], changes: &[Change<'_>], direction: Direction) -> Edited {
    let outline = Outline::of(source);
    let mut refused = Vec::new();
    let mut plans = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let Some(document) = documents.get(change.index) else { continue };
        match plan(&outline, document, change.patch, direction) {
            Ok((splices, expected)) => plans.push(Plan { change: index, document: change.index, splices, expected }),
            Err(refusal) => refused.push((index, refusal)),
        }
    }
    let prover = proof::Prover { source, outline: &outline, documents, direction };
    let text = match all_or_each(&prover, &plans) {
        Ok(text) => text,
        Err((text, unproven)) => {
            refused.extend(unproven);
            text
        }
    };
    refused.sort_by_key(|(index, _)| *index);
    Edited { text, refused }
}

/// Proves all edits together, which is one pass; only if that fails, each half by itself, to find out which one it is.
fn all_or_each(prover: &proof::Prover<'_>, plans: &[Plan]) -> Result<String, (String, Vec<(usize, Refusal)>)> {
    let original = prover.source.text();
    let all: Vec<&Plan> = plans.iter().collect();
    let mut search = Search { prover, proofs: 0, good: Vec::new(), refused: Vec::new() };
    search.halve(&all);
    let Search { good, mut refused, .. } = search;
    if refused.is_empty() {
        return Ok(spliced(original, &in_order(&good)));
    }
    match proven(prover, &good) {
        Ok(()) => Err((spliced(original, &in_order(&good)), refused)),
        Err(reason) => {
            refused.extend(good.iter().map(|plan| (plan.change, unproven(&reason))));
            Err((original.to_owned(), refused))
        }
    }
}

/// Looks for the edits that cannot be proven. Each proof reads the whole text again.
struct Search<'p, 'a> {
    prover: &'p proof::Prover<'a>,
    proofs: usize,
    good: Vec<&'p Plan>,
    refused: Vec<(usize, Refusal)>,
}

impl<'p> Search<'p, '_> {
    fn halve(&mut self, plans: &[&'p Plan]) {
        if self.proofs == PROOFS_MAX {
            let reason = "too many other edits of the file would not be exactly what they should be";
            return self.refused.extend(plans.iter().map(|plan| (plan.change, odd(reason))));
        }
        self.proofs += 1;
        let Err(reason) = proven(self.prover, plans) else { return self.good.extend(plans) };
        if let [plan] = plans {
            return self.refused.push((plan.change, unproven(&reason)));
        }
        let (first, second) = plans.split_at(plans.len() / 2);
        self.halve(first);
        self.halve(second);
    }
}

fn proven(prover: &proof::Prover<'_>, plans: &[&Plan]) -> Result<(), String> {
    if plans.is_empty() {
        return Ok(());
    }
    let expected = plans.iter().map(|plan| (plan.document, &plan.expected)).collect();
    let splices = in_order(plans);
    prover.prove(&spliced(prover.source.text(), &splices), &splices, &expected)
}

/// In the order of the text. What is inside ends before what is around it.
fn in_order<'a>(plans: &[&'a Plan]) -> Vec<&'a Splice> {
    let mut splices: Vec<&Splice> = plans.iter().flat_map(|plan| &plan.splices).collect();
    splices.sort_by(|a, b| (a.range.start, b.depth).cmp(&(b.range.start, a.depth)));
    splices
}

/// The text with its splices, which are in order.
fn spliced(text: &str, splices: &[&Splice]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    for splice in splices {
        result.push_str(text.get(at..splice.range.start).unwrap_or_default());
        result.push_str(&splice.text);
        at = splice.range.end.max(at);
    }
    result.push_str(text.get(at..).unwrap_or_default());
    result
}

fn plan(
    outline: &Outline<'_>,
    document: &Document,
    patch: &Patch,
    direction: Direction,
) -> Result<(Vec<Splice>, Value), Refusal> {
    let old: Value = serde_json::from_str(document.json()).map_err(|error| odd(&error.to_string()))?;
    let mut new = old.clone();
    json_patch::patch(&mut new, patch).map_err(|error| odd(&error.to_string()))?;
    let differences = difference::between(&old, &new)?;
    let object = outline.object(document).ok_or_else(|| odd("the object is not found in the text again"))?;
    Ok((edit::splices(object, &differences, direction)?, new))
}

/// What should not happen.
fn odd(reason: &str) -> Refusal {
    Refusal {
        pointer: String::new(),
        line: None,
        reason: reason.to_owned(),
        help: "edit it by hand, and please report this",
    }
}

fn unproven(reason: &str) -> Refusal {
    odd(&format!("the edited text would not be exactly what it should be ({reason})"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::{edit::Act, *};
    use crate::manifest;

    const OBJECT: &str = "{apiVersion: v1, kind: X}\n---\n";

    /// How many of the edits are refused, where some of them do not make what they promise, and how many proofs that took.
    fn refused(count: usize, is_wrong: impl Fn(usize) -> bool) -> (Vec<usize>, usize) {
        let parsed = manifest::parse(&OBJECT.repeat(count), &Arc::from(Path::new("x.yaml")));
        let documents: Vec<&Document> = parsed.documents.iter().collect();
        let source = documents[0].source();
        let outline = Outline::of(source);
        let plans: Vec<Plan> = (0..count)
            .map(|index| {
                let at = index * OBJECT.len() + OBJECT.find('}').unwrap();
                let splice = Splice { act: Act::Insert, range: at..at, text: ", a: 1".to_owned(), depth: 0 };
                let value = if is_wrong(index) { 2 } else { 1 };
                let expected = json!({ "apiVersion": "v1", "kind": "X", "a": value });
                Plan { change: index, document: index, splices: vec![splice], expected }
            })
            .collect();
        let prover = proof::Prover { source, outline: &outline, documents: &documents, direction: Direction::In };
        let all: Vec<&Plan> = plans.iter().collect();
        let mut search = Search { prover: &prover, proofs: 0, good: Vec::new(), refused: Vec::new() };
        search.halve(&all);
        assert_eq!(search.good.len() + search.refused.len(), count);
        let refused: Vec<usize> = search.refused.iter().map(|(index, _)| *index).collect();
        let proofs = search.proofs;
        let edited = match all_or_each(&prover, &plans) {
            Ok(text) | Err((text, _)) => text,
        };
        assert_eq!(edited.matches(", a: 1").count(), count - refused.len());
        (refused, proofs)
    }

    #[test]
    fn the_edits_that_cannot_be_proven_are_found_with_few_proofs() {
        assert_eq!(refused(200, |_| false), (vec![], 1));
        let (found, proofs) = refused(200, |index| index == 117);
        assert_eq!(found, [117]);
        assert!(proofs < 20, "{proofs}");
        let (found, proofs) = refused(200, |_| true);
        assert_eq!((found.len(), proofs), (200, PROOFS_MAX));
    }
}
