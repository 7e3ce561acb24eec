//! Warnings that would come again with every pass: each is said once, and again when it is another one or all was well in between.

use std::collections::BTreeMap;

/// Most subjects that are remembered.
const SUBJECTS_MAX: usize = 64;

/// What has been said of each subject.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<String, String>);

impl Complaints {
    /// Says it, unless that was the last word about the subject. `problem` may be another one each time. True if it was said.
    pub(super) fn say(&mut self, subject: &str, text: &str, problem: &str) -> bool {
        if self.0.get(subject).is_some_and(|it| it == text) {
            return false;
        }
        if self.0.len() >= SUBJECTS_MAX {
            self.0.clear();
        }
        self.0.insert(subject.to_owned(), text.to_owned());
        tracing::warn!(%problem, "{text}");
        true
    }

    /// All is well with the subject.
    pub(super) fn settle(&mut self, subject: &str) {
        self.0.remove(subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_said_again_only_when_it_changes() {
        let mut complaints = Complaints::default();
        assert!(complaints.say("a", "forbidden", "by rule 1"));
        assert!(!complaints.say("a", "forbidden", "by rule 2"));
        assert!(complaints.say("b", "forbidden", "") && complaints.say("a", "no answer", ""));
        assert!(!complaints.say("a", "no answer", ""));
        complaints.settle("a");
        assert!(complaints.say("a", "no answer", ""));
        for number in 0..1_000 {
            complaints.say(&number.to_string(), "no answer", "");
        }
        assert!(complaints.0.len() <= SUBJECTS_MAX);
    }
}
