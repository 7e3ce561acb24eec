//! Since when exemptions are in force, and when they were needed last. A replica sees only its own reviews, so each writes what it
//! saw into the policy's status, and reads there what the others saw: all say the same then, also after a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::Value as Json;

use super::{Stored, document::condition, fnv::fnv_32};
use crate::policy::{Exemption, Policies, PolicyName, PolicyStatus, USED_FOR_DAYS, Used};

/// Most exemptions that are remembered; those that come later are not, and never called unused.
const REMEMBERED_MAX: usize = 20_000;

/// The condition that holds them.
pub(super) const CONDITION: &str = "ExemptionsUsed";

/// What an exemption is for, as a number: its place in the list changes with any edit, its reason and its end may.
type Mark = u32;

/// What is known of one exemption.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// The day on which it was first seen in force.
    since: Option<Date>,
    /// The day on which a write, or an object of the cluster, needed it last.
    needed: Option<Date>,
}

impl Life {
    fn merge(&mut self, other: Self) {
        self.since = self.since.into_iter().chain(other.since).min();
        self.needed = self.needed.max(other.needed);
    }

    /// Nothing is known of an exemption that has just come, so that it is no reason to call it unused either.
    fn is_spared(self, today: Date) -> bool {
        let is_late = |day: Date| today.since(day).is_ok_and(|it| i64::from(it.get_days()) <= USED_FOR_DAYS);
        self.since.max(self.needed).is_none_or(is_late)
    }
}

/// The exemptions of one policy that are in force, by their place in its list.
pub(super) type Record = BTreeMap<usize, (Mark, Life)>;

/// An exemption, wherever it is in its policy.
type Key = (PolicyName, Mark);

/// What is remembered. Reviews write here, on the one thread that they all have, and never wait for a look at everything: what they
/// note, the next look takes over as a whole.
#[derive(Debug, Default)]
pub struct UsedExemptions {
    /// What reviews needed since the last look, and on which day. Locked while one is put in, or while all are swapped
    /// for none.
    noted: Mutex<BTreeMap<Key, Date>>,
    /// What looks know. Reviews do not touch it.
    lives: Mutex<BTreeMap<Key, Life>>,
}

impl UsedExemptions {
    /// A write needed these.
    pub fn note(&self, exemptions: &[Arc<Exemption>], now: Timestamp) {
        let today = day_of(now);
        for exemption in exemptions {
            let key = key(exemption);
            let mut noted = lock(&self.noted);
            if let Some(day) = noted.get_mut(&key) {
                *day = today.max(*day);
            } else if noted.len() < REMEMBERED_MAX {
                noted.insert(key, today);
            }
        }
    }

    /// Takes over what reviews noted, and what the others wrote.
    pub(super) fn absorb(&self, policies: &Policies, objects: &BTreeMap<PolicyName, Arc<Stored>>, now: Timestamp) {
        let noted = std::mem::take(&mut *lock(&self.noted));
        let mut lives = lock(&self.lives);
        for (key, day) in noted {
            remember(&mut lives, key, Life { since: None, needed: Some(day) });
        }
        // The clock of another replica may be ahead of ours, and not by years.
        let Ok(tomorrow) = day_of(now).tomorrow() else { return };
        for (name, stored) in objects {
            let Some(condition) = condition(&stored.status, CONDITION) else { continue };
            let Some(entry) = policies.entry(name) else { continue };
            let written = read(condition);
            for exemption in &entry.policy.exemptions {
                let key = key(exemption);
                let Some(Life { since, needed }) = written.get(&key.1) else { continue };
                let is_past = |day: &Date| *day <= tomorrow;
                let life = Life { since: since.filter(is_past), needed: needed.filter(is_past) };
                remember(&mut lives, key, life);
            }
        }
    }

    /// The exemptions that are not to be called unused: they were needed lately, or are new.
    pub(super) fn spared(&self, policies: &Policies, now: Timestamp) -> Used {
        let today = day_of(now);
        let lives = lock(&self.lives);
        let all = policies.entries().flat_map(|it| &it.policy.exemptions);
        let is_spared = |it: &&Arc<Exemption>| lives.get(&key(it)).copied().unwrap_or_default().is_spared(today);
        all.filter(is_spared).map(|it| (it.policy.clone(), it.index)).collect()
    }

    /// What is to be written about those in force. What is not in force any more, or gone, is forgotten.
    pub(super) fn record(
        &self,
        policies: &Policies,
        audited: &[(PolicyName, PolicyStatus)],
        now: Timestamp,
    ) -> BTreeMap<PolicyName, Record> {
        let mut lives = lock(&self.lives);
        let (mut records, mut kept) = (BTreeMap::<PolicyName, Record>::new(), BTreeSet::new());
        for (name, status) in audited {
            for index in &status.exemptions_in_force {
                let Some(exemption) = policies.exemption(name, *index) else { continue };
                let key = key(exemption);
                let needed = status.exemptions_needed.contains(index).then(|| day_of(now));
                remember(&mut lives, key.clone(), Life { since: Some(day_of(now)), needed });
                if let Some(life) = lives.get(&key).copied() {
                    records.entry(name.clone()).or_default().insert(*index, (key.1, life));
                }
                kept.insert(key);
            }
        }
        lives.retain(|key, _| kept.contains(key));
        records
    }
}

fn remember(lives: &mut BTreeMap<Key, Life>, key: Key, life: Life) {
    if let Some(known) = lives.get_mut(&key) {
        known.merge(life);
    } else if lives.len() < REMEMBERED_MAX {
        lives.insert(key, life);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(exemption: &Exemption) -> Key {
    (exemption.policy.clone(), mark(exemption))
}

fn day_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

fn mark(exemption: &Exemption) -> Mark {
    let target = &exemption.target;
    let container = target.container.as_deref().unwrap_or_default();
    fnv_32(&format!("{} {}/{} {container}", exemption.rule, target.kind, target.name))
}

/// True if one of them was needed.
pub(super) fn is_any_needed(record: &Record) -> bool {
    record.values().any(|(_, life)| life.needed.is_some())
}

/// `exemptions[0] 5f3a9c2b since 2026-11-20, needed on 2026-11-26; exemptions[1] 00c0ffee since 2026-11-20`.
pub(super) fn write(record: &Record) -> String {
    let mut text = String::new();
    for (index, (mark, Life { since, needed })) in record {
        let Some(since) = since.or(*needed) else { continue };
        let semicolon = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{semicolon}exemptions[{index}] {mark:08x}{SINCE}{since}");
        if let Some(needed) = needed {
            let _ = write!(text, "{NEEDED}{needed}");
        }
    }
    text
}

const SINCE: &str = " since ";
const NEEDED: &str = ", needed on ";

fn read(condition: &Json) -> BTreeMap<Mark, Life> {
    let one = |it: &str| {
        let (what, days) = it.split_once(SINCE)?;
        let (since, needed) = days.split_once(NEEDED).map_or((days, None), |(since, needed)| (since, Some(needed)));
        let mark = Mark::from_str_radix(what.rsplit_once(' ')?.1, 16).ok()?;
        Some((mark, Life { since: since.parse().ok(), needed: needed.and_then(|it| it.parse().ok()) }))
    };
    condition["message"].as_str().unwrap_or_default().split("; ").filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use serde_json::json;

    use super::*;
    use crate::policy::PolicyStore;

    #[test]
    fn a_review_does_not_wait_for_a_look() {
        let mut store = PolicyStore::default();
        assert!(store.apply(&json!({
            "apiVersion": "no502.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": { "name": "e", "namespace": "shop" },
            "spec": { "exemptions": [{
                "rule": "service-selects-nothing", "target": { "kind": "Service", "name": "ghost" }, "reason": "known",
                "expires": "2026-12-24T00:00:00Z",
            }] },
        })));
        let policies = store.policies();
        let name = PolicyName { namespace: "shop".into(), name: "e".into() };
        let exemption = Arc::clone(&policies.entry(&name).expect("a policy").policy.exemptions[0]);
        let (key, now) = (key(&exemption), Timestamp::constant(1_795_000_000, 0));
        let used = Arc::<UsedExemptions>::default();

        let look = lock(&used.lives);
        let (review, (done, is_done)) = (Arc::clone(&used), mpsc::channel());
        thread::spawn(move || {
            review.note(&[exemption], now);
            done.send(())
        });
        is_done.recv_timeout(Duration::from_secs(20)).expect("the note is made while the look goes on");
        assert!(look.is_empty());
        drop(look);
        used.absorb(&policies, &BTreeMap::new(), now);
        assert_eq!(lock(&used.lives).get(&key), Some(&Life { since: None, needed: Some(day_of(now)) }));
        assert!(lock(&used.noted).is_empty(), "it is taken over once");
    }

    #[test]
    fn what_is_written_is_read_and_anything_else_is_nothing() {
        let day = |day| Some(Date::constant(2026, 11, day));
        let record = Record::from([
            (0, (0x5f3a_9c2b, Life { since: day(20), needed: day(26) })),
            (12, (0xc0_ffee, Life { since: day(21), needed: None })),
        ]);
        let text = write(&record);
        assert_eq!(
            text,
            "exemptions[0] 5f3a9c2b since 2026-11-20, needed on 2026-11-26; exemptions[12] 00c0ffee since \
             2026-11-21"
        );
        assert_eq!(read(&json!({ "message": text })), record.into_values().collect());
        for odd in [json!(null), json!(7), json!("exemptions[0] xyz since 2026-11-26"), json!("exemptions[0]; since ")]
        {
            assert!(read(&json!({ "message": odd })).is_empty(), "{odd}");
        }
    }
}
