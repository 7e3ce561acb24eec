//! The exemptions that writes needed lately. A replica sees only its own reviews, so each writes what it saw into the policy's
//! status, and reads there what the others saw: all say the same then, also after a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::Value as Json;

use super::{Stored, document::condition};
use crate::policy::{Exemption, Policies, PolicyName, USED_FOR_DAYS, Used};

/// Most exemptions that are remembered; those that come later are not.
const REMEMBERED_MAX: usize = 20_000;

/// The condition that holds them.
pub(super) const CONDITION: &str = "ExemptionsUsed";

/// What an exemption is for. Its place in the list may change with any edit.
type Need = String;

/// The day on which each exemption of a policy was needed last, by its place in the list.
pub(super) type Days = BTreeMap<usize, Date>;

/// What is remembered. Reviews write here.
#[derive(Debug, Default)]
pub struct UsedExemptions {
    days: Mutex<BTreeMap<(PolicyName, Need), Date>>,
}

impl UsedExemptions {
    /// A write needed these; gives their rules.
    pub fn note(&self, policies: &Policies, exemptions: &[(PolicyName, usize)], now: Timestamp) -> Vec<&'static str> {
        let mut rules = Vec::new();
        for (name, index) in exemptions {
            if let Some(exemption) = policies.exemption(name, *index) {
                self.remember(exemption, day_of(now));
                rules.push(exemption.rule);
            }
        }
        rules
    }

    fn remember(&self, exemption: &Exemption, day: Date) {
        let mut days = self.lock();
        let key = (exemption.policy.clone(), need(exemption));
        if let Some(known) = days.get_mut(&key) {
            *known = day.max(*known);
        } else if days.len() < REMEMBERED_MAX {
            days.insert(key, day);
        }
    }

    /// Takes over what the others wrote.
    pub(super) fn absorb(&self, policies: &Policies, objects: &BTreeMap<PolicyName, Arc<Stored>>) {
        for (name, stored) in objects {
            let Some(condition) = condition(&stored.status, CONDITION) else { continue };
            // Places in the list are those of the version in force then.
            let generation = policies.entry(name).map(|it| it.policy.generation);
            if generation != condition["observedGeneration"].as_i64() {
                continue;
            }
            for (index, day) in read(condition) {
                if let Some(exemption) = policies.exemption(name, index) {
                    self.remember(exemption, day);
                }
            }
        }
    }

    /// Those of the last days, for the audit and for each policy. What is older, or gone, is forgotten.
    pub(super) fn lately(&self, policies: &Policies, now: Timestamp) -> (Used, BTreeMap<PolicyName, Days>) {
        let today = day_of(now);
        let is_late = |day: Date| today.since(day).is_ok_and(|it| i64::from(it.get_days()) <= USED_FOR_DAYS);
        let (mut used, mut by_policy) = (Used::default(), BTreeMap::<PolicyName, Days>::new());
        let mut needs: BTreeSet<(PolicyName, Need)> = BTreeSet::new();
        // Reviews write here and must not wait: a copy is looked at.
        let remembered = self.lock().clone();
        if remembered.is_empty() {
            return (used, by_policy);
        }
        for exemption in policies.entries().flat_map(|it| &it.policy.exemptions) {
            let key = (exemption.policy.clone(), need(exemption));
            if let Some(day) = remembered.get(&key).copied().filter(|it| is_late(*it)) {
                used.insert((exemption.policy.clone(), exemption.index));
                by_policy.entry(exemption.policy.clone()).or_default().insert(exemption.index, day);
                needs.insert(key);
            }
        }
        // What was needed first in the meantime stays.
        self.lock().retain(|key, _| needs.contains(key) || !remembered.contains_key(key));
        (used, by_policy)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(PolicyName, Need), Date>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn day_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

fn need(exemption: &Exemption) -> Need {
    let target = &exemption.target;
    format!("{} {}/{} {}", exemption.rule, target.kind, target.name, target.container.as_deref().unwrap_or_default())
}

/// `a write needed exemptions[0] on 2026-11-26, exemptions[3] on 2026-11-25`.
pub(super) fn write(days: &Days) -> String {
    let mut text = BEGINNING.to_owned();
    for (number, (index, day)) in days.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(text, "{comma} exemptions[{index}] on {day}");
    }
    text
}

const BEGINNING: &str = "a write needed";

fn read(condition: &Json) -> Vec<(usize, Date)> {
    let text = condition["message"].as_str().and_then(|it| it.strip_prefix(BEGINNING)).unwrap_or_default();
    let one = |it: &str| {
        let (index, day) = it.trim().strip_prefix("exemptions[")?.split_once("] on ")?;
        Some((index.parse().ok()?, day.parse().ok()?))
    };
    text.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_anything_else_is_nothing() {
        let days = Days::from([(0, Date::constant(2026, 11, 26)), (12, Date::constant(2026, 11, 25))]);
        let text = write(&days);
        assert_eq!(text, "a write needed exemptions[0] on 2026-11-26, exemptions[12] on 2026-11-25");
        assert_eq!(read(&json!({ "message": text })), days.into_iter().collect::<Vec<_>>());
        for odd in [json!(null), json!(7), json!("a write needed"), json!("a write needed exemptions[x] on 2026-11-26")]
        {
            assert_eq!(read(&json!({ "message": odd })), []);
        }
    }
}
