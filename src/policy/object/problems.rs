//! What of a policy cannot be read. It may be any number of things, and reviews wait while a policy is read: beyond those that are
//! kept no text is written, and nothing is looked for.

use crate::nearest::did_you_mean;

/// Most problems of one policy that are kept.
const PROBLEMS_MAX: usize = 32;

/// The first problems, one line each.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.has_room() {
            self.0.push(line());
        }
    }

    /// What the next one may cost.
    pub(super) fn hints(&self) -> Hints {
        Hints { are_told: self.has_room() }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0
    }

    fn has_room(&self) -> bool {
        self.0.len() < PROBLEMS_MAX
    }
}

/// Looks for what was probably meant, unless nobody is told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hints {
    are_told: bool,
}

impl Hints {
    /// `; did you mean profile?`, if something is close.
    pub(super) fn did_you_mean<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
        if self.are_told { did_you_mean(word, known) } else { String::new() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value as Json, json};

    use super::*;
    use crate::{
        nearest::COMPARISONS,
        policy::{API_VERSION, CLUSTER_KIND, Field, ReadPolicy},
    };

    /// More than any policy has, and few enough for a test that fails to end.
    const MISTAKES: usize = 1_000;

    fn typing_mistakes(of: &str) -> Map<String, Json> {
        (0..MISTAKES).map(|number| (format!("{of}{number}"), json!(1))).collect()
    }

    #[test]
    fn what_is_not_told_costs_no_comparison() {
        let number = |it: usize| it.to_string();
        let bounds: Vec<Json> = (0..MISTAKES).map(|it| json!({ "field": number(it) + "profile" })).collect();
        let locks: Vec<Json> = (0..MISTAKES).map(|it| json!(number(it) + "profile")).collect();
        let exemptions: Vec<Json> = (0..MISTAKES).map(|it| json!({ "rule": number(it) + "grace" })).collect();
        let keys: Vec<Json> = (0..MISTAKES).map(|it| json!({ (number(it) + "rule"): 1 })).collect();
        let mut spec = typing_mistakes("priority");
        spec.insert(
            "settings".to_owned(),
            json!({ "injection": typing_mistakes("mode"), "actions": typing_mistakes("grace") }),
        );
        for specs in [
            Json::Object(spec),
            json!({ "settings": typing_mistakes("profile") }),
            json!({ "bounds": bounds }),
            json!({ "bounds": keys }),
            json!({ "locked": locks }),
            json!({ "exemptions": exemptions }),
            json!({ "exemptions": keys }),
        ] {
            let policy = json!({
                "apiVersion": API_VERSION, "kind": CLUSTER_KIND, "metadata": { "name": "odd" }, "spec": specs,
            });
            COMPARISONS.set(0);
            let problems = ReadPolicy::read(&policy).unwrap().problems;
            assert_eq!(problems.len(), PROBLEMS_MAX);
            let compared = COMPARISONS.get();
            assert!(compared > 0 && compared <= PROBLEMS_MAX * Field::all().count(), "{compared}: {}", problems[0]);
        }
    }
}
