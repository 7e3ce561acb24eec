//! Warnings that would come again with every pass: each is said once, and again when it is another one or all was well in between.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::PolicyName;

/// Most warnings about single policies that are remembered. Those about more are not said: without a memory they would come again
/// with every pass.
const OF_POLICIES_MAX: usize = 64;

/// What a warning is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The status of every policy of a kind.
    Kind(&'static str),
    /// The status of one policy.
    Status(PolicyName),
    /// Events as such.
    Events,
    /// The Events of one policy.
    EventsOf(PolicyName),
}

impl Subject {
    fn policy(&self) -> Option<&PolicyName> {
        match self {
            Self::Kind(_) | Self::Events => None,
            Self::Status(name) | Self::EventsOf(name) => Some(name),
        }
    }
}

/// What has been said of each subject.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    said: BTreeMap<Subject, String>,
    /// That there are more was said, and there has been no room since.
    is_more_said: bool,
}

impl Complaints {
    /// Says it, unless that was the last word about the subject, or of too many policies something was said. `problem` may be
    /// another one each time. True if it was said.
    pub(super) fn say(&mut self, subject: &Subject, text: &str, problem: &str) -> bool {
        let known = self.said.get(subject);
        if known.is_some_and(|it| it == text) {
            return false;
        }
        if known.is_none() && subject.policy().is_some() && self.is_full() {
            if !std::mem::replace(&mut self.is_more_said, true) {
                tracing::warn!("and more: warnings about the status and Events of further policies are left out");
            }
            return false;
        }
        self.said.insert(subject.clone(), text.to_owned());
        tracing::warn!(%problem, "{text}");
        true
    }

    /// All is well with the subject.
    pub(super) fn settle(&mut self, subject: &Subject) {
        self.said.remove(subject);
        self.is_more_said &= self.is_full();
    }

    /// Only of these policies something is still to be written: all is well with the others, or they are gone.
    pub(super) fn retain(&mut self, names: &BTreeSet<&PolicyName>) {
        self.said.retain(|subject, _| subject.policy().is_none_or(|it| names.contains(it)));
        self.is_more_said &= self.is_full();
    }

    fn is_full(&self) -> bool {
        self.said.keys().filter(|it| it.policy().is_some()).count() >= OF_POLICIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(number: usize) -> PolicyName {
        PolicyName { namespace: "shop".into(), name: number.to_string().into() }
    }

    #[test]
    fn a_warning_is_said_again_only_when_it_changes() {
        let (a, b) = (Subject::Status(policy(1)), Subject::EventsOf(policy(1)));
        let mut complaints = Complaints::default();
        assert!(complaints.say(&a, "forbidden", "by rule 1"));
        assert!(!complaints.say(&a, "forbidden", "by rule 2"));
        assert!(complaints.say(&b, "forbidden", "") && complaints.say(&a, "no answer", ""));
        assert!(!complaints.say(&a, "no answer", ""));
        complaints.settle(&a);
        assert!(complaints.say(&a, "no answer", ""));
    }

    #[test]
    fn of_a_hundred_policies_some_are_told_and_each_once() {
        let mut complaints = Complaints::default();
        let round = |complaints: &mut Complaints| {
            (0..100).filter(|it| complaints.say(&Subject::Status(policy(*it)), "refused", "")).collect::<Vec<_>>()
        };
        assert_eq!(round(&mut complaints), (0..OF_POLICIES_MAX).collect::<Vec<_>>());
        assert!(complaints.is_more_said, "one line for all others");
        assert!(round(&mut complaints).is_empty(), "the next pass says nothing");
        assert!(complaints.say(&Subject::Status(policy(7)), "no answer", ""), "another word about one that is known");
        assert!(complaints.say(&Subject::Kind("RolloutPolicy"), "forbidden", ""), "what is about all is always told");
        assert!(complaints.say(&Subject::Events, "forbidden", ""));
        assert_eq!(complaints.said.len(), OF_POLICIES_MAX + 2);

        complaints.settle(&Subject::Status(policy(3)));
        assert_eq!(round(&mut complaints), [3, 7], "there was room for one");
        let unwell: Vec<PolicyName> = (10..100).map(policy).collect();
        complaints.retain(&unwell.iter().collect());
        assert!(!complaints.is_more_said);
        assert_eq!(round(&mut complaints), (0..10).collect::<Vec<_>>(), "those before were well in between");
    }
}
