//! When to do what with the CA: a pure function of what the Secret holds, what was seen, and the time.
//!
//! A CA is replaced in four steps, so that at every moment every replica's leaf is signed by a CA that every API server
//! trusts: the **next** CA is published in the bundle beside the current one; once both webhook configurations have
//! been seen with that bundle for an overlap, it is **promoted** and signs; the **previous** one stays in the bundle for
//! a leaf's lifetime, for replicas that could not read the Secret; then it is dropped.

use jiff::{SignedDuration, Timestamp};

use super::{LEAF_LIFETIME, renewal_due};

/// How long both configurations must have carried the new bundle before the new CA signs.
pub const OVERLAP: SignedDuration = SignedDuration::from_mins(10);

/// Validity of one CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Start.
    pub not_before: Timestamp,
    /// End.
    pub not_after: Timestamp,
}

/// A CA that is published and does not sign yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Its validity.
    pub validity: Validity,
    /// Since when both configurations were always seen with it.
    pub published: Option<Timestamp>,
}

/// A CA that signs no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// Its validity.
    pub validity: Validity,
    /// When the current one took over.
    pub replaced: Timestamp,
}

/// What the Secret holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Signs.
    pub current: Validity,
    /// Will sign.
    pub next: Option<Next>,
    /// Has signed.
    pub previous: Option<Previous>,
}

/// What was seen of one webhook configuration, before any repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Every entry carries the whole bundle.
    Right,
    /// Not installed: nobody calls through it.
    Missing,
    /// An entry carries something else, or the configuration could not be read.
    Wrong,
}

/// The next change of the Secret; one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// All is well, or something has to be waited for.
    Nothing,
    /// Make a next CA and put it into the Secret.
    PublishNext,
    /// Note that both configurations carry the bundle as of now.
    StartOverlap,
    /// Forget that note: a configuration lost the bundle.
    RestartOverlap,
    /// The next CA becomes the current one, the current one the previous.
    Promote,
    /// The previous CA leaves the bundle.
    DropPrevious,
    /// The current CA has expired and there is no next: start anew. Calls fail until the bundle is applied; they fail
    /// already.
    Replace,
}

/// Decides.
#[must_use]
pub fn next_action(held: &Held, seen: [Seen; 2], now: Timestamp, overlap: SignedDuration) -> Action {
    let next = held.next.filter(|next| now < next.validity.not_after);
    if now >= held.current.not_after {
        return if next.is_some() { Action::Promote } else { Action::Replace };
    }
    let rotation = match next {
        Some(next) => carry_on(held, next, seen, now, overlap),
        None if held.next.is_some() => Action::PublishNext,
        None if renewal_due(held.current.not_before, held.current.not_after, now) => Action::PublishNext,
        None => Action::Nothing,
    };
    match (rotation, held.previous) {
        (Action::Nothing, Some(previous)) if is_over(&previous, now) => Action::DropPrevious,
        (action, _) => action,
    }
}

/// The next CA is published: is it time for it to sign?
fn carry_on(held: &Held, next: Next, seen: [Seen; 2], now: Timestamp, overlap: SignedDuration) -> Action {
    let everywhere = seen.iter().all(|seen| *seen != Seen::Wrong);
    // Somebody may wipe the bundle for ever. Before the current CA runs out, one good look has to be enough.
    let urgent = held.current.not_after.duration_since(now) < LEAF_LIFETIME;
    match next.published {
        _ if everywhere && urgent => Action::Promote,
        None if everywhere => Action::StartOverlap,
        Some(_) if !everywhere => Action::RestartOverlap,
        // A note from the future was made by a clock that was wrong.
        Some(since) if since.duration_since(now) > overlap => Action::StartOverlap,
        Some(since) if now.duration_since(since) >= overlap => Action::Promote,
        None | Some(_) => Action::Nothing,
    }
}

/// No leaf that the previous CA signed can be valid any more.
fn is_over(previous: &Previous, now: Timestamp) -> bool {
    now >= previous.validity.not_after || now.duration_since(previous.replaced) >= LEAF_LIFETIME
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::certs::{BACKDATE, CA_LIFETIME};

    const BOTH: [Seen; 2] = [Seen::Right, Seen::Right];

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
    }

    fn made(now: Timestamp) -> Validity {
        Validity { not_before: now - BACKDATE, not_after: now + CA_LIFETIME }
    }

    fn fresh() -> Held {
        Held { current: made(at(0)), next: None, previous: None }
    }

    fn days(count: i64) -> Timestamp {
        at(count * 24 * 3600)
    }

    #[test]
    fn a_fresh_ca_is_left_alone_until_a_third_is_left() {
        for day in [0, 1, 100, 243] {
            assert_eq!(next_action(&fresh(), BOTH, days(day), OVERLAP), Action::Nothing, "day {day}");
        }
        assert_eq!(next_action(&fresh(), BOTH, days(244), OVERLAP), Action::PublishNext);
    }

    #[test]
    fn the_next_ca_signs_only_after_the_overlap_and_only_if_nobody_wiped_the_bundle() {
        let now = days(250);
        let mut held = fresh();
        held.next = Some(Next { validity: made(now), published: None });
        assert_eq!(next_action(&held, [Seen::Right, Seen::Wrong], now, OVERLAP), Action::Nothing);
        assert_eq!(next_action(&held, [Seen::Right, Seen::Missing], now, OVERLAP), Action::StartOverlap);
        assert_eq!(next_action(&held, BOTH, now, OVERLAP), Action::StartOverlap);
        held.next = Some(Next { validity: made(now), published: Some(now) });
        let almost = now + OVERLAP - SignedDuration::from_secs(1);
        assert_eq!(next_action(&held, BOTH, almost, OVERLAP), Action::Nothing);
        assert_eq!(next_action(&held, [Seen::Wrong, Seen::Right], now + OVERLAP, OVERLAP), Action::RestartOverlap);
        assert_eq!(next_action(&held, BOTH, now + OVERLAP, OVERLAP), Action::Promote);
    }

    #[test]
    fn a_note_from_a_wrong_clock_is_not_waited_for() {
        let now = days(250);
        let mut held = fresh();
        held.next = Some(Next { validity: made(now), published: Some(now + SignedDuration::from_hours(9)) });
        assert_eq!(next_action(&held, BOTH, now, OVERLAP), Action::StartOverlap);
    }

    #[test]
    fn an_expired_ca_is_replaced_at_once_by_the_best_there_is() {
        let mut held = fresh();
        assert_eq!(next_action(&held, BOTH, days(366), OVERLAP), Action::Replace);
        held.next = Some(Next { validity: made(days(360)), published: None });
        assert_eq!(next_action(&held, [Seen::Wrong; 2], days(366), OVERLAP), Action::Promote);
        held.next = Some(Next { validity: made(days(-10)), published: None });
        assert_eq!(next_action(&held, BOTH, days(366), OVERLAP), Action::Replace);
    }

    #[test]
    fn in_the_last_week_one_good_look_is_enough() {
        let mut held = fresh();
        held.next = Some(Next { validity: made(days(244)), published: None });
        assert_eq!(next_action(&held, BOTH, days(359), OVERLAP), Action::Promote);
        assert_eq!(next_action(&held, [Seen::Wrong, Seen::Right], days(359), OVERLAP), Action::Nothing);
    }

    #[test]
    fn the_previous_ca_stays_for_a_leafs_lifetime() {
        let mut held = Held { current: made(days(250)), next: None, previous: None };
        held.previous = Some(Previous { validity: made(at(0)), replaced: days(250) });
        assert_eq!(next_action(&held, BOTH, days(256), OVERLAP), Action::Nothing);
        assert_eq!(next_action(&held, BOTH, days(257), OVERLAP), Action::DropPrevious);
        held.previous = Some(Previous { validity: made(days(-113)), replaced: days(250) });
        assert_eq!(next_action(&held, BOTH, days(252), OVERLAP), Action::DropPrevious);
    }

    /// What the I/O around the function does to the Secret.
    fn apply(held: Held, action: Action, now: Timestamp) -> Held {
        let Held { current, next, previous } = held;
        match (action, next) {
            (Action::PublishNext, _) => Held { next: Some(Next { validity: made(now), published: None }), ..held },
            (Action::StartOverlap, Some(next)) => Held { next: Some(Next { published: Some(now), ..next }), ..held },
            (Action::RestartOverlap, Some(next)) => Held { next: Some(Next { published: None, ..next }), ..held },
            (Action::Promote, Some(next)) => Held {
                current: next.validity,
                next: None,
                previous: Some(Previous { validity: current, replaced: now }),
            },
            (Action::DropPrevious, _) => Held { previous: None, ..held },
            (Action::Replace, _) => Held { current: made(now), next: None, previous: None },
            _ => Held { current, next, previous },
        }
    }

    fn look() -> impl Strategy<Value = [Seen; 2]> {
        let one = || prop_oneof![6 => Just(Seen::Right), 1 => Just(Seen::Missing), 1 => Just(Seen::Wrong)];
        (one(), one()).prop_map(|(first, second)| [first, second])
    }

    proptest! {
        /// Two years, looks at irregular moments, bundles wiped now and then.
        #[test]
        fn whatever_is_seen_the_signer_was_published_first_and_is_never_expired(
            steps in prop::collection::vec((1_i64..200_000, look()), 1..600),
        ) {
            let (mut held, mut now, mut good_since) = (fresh(), at(0), None::<Timestamp>);
            for (seconds, seen) in steps {
                now += SignedDuration::from_secs(seconds);
                let everywhere = seen.iter().all(|seen| *seen != Seen::Wrong);
                let action = next_action(&held, seen, now, OVERLAP);
                if action == Action::Promote {
                    let urgent = held.current.not_after.duration_since(now) < LEAF_LIFETIME;
                    let overlapped = good_since.is_some_and(|since| now.duration_since(since) >= OVERLAP);
                    prop_assert!(now >= held.current.not_after || (everywhere && (urgent || overlapped)));
                }
                if let (Action::DropPrevious, Some(previous)) = (action, held.previous) {
                    prop_assert!(is_over(&previous, now));
                }
                prop_assert!(action != Action::Replace || now >= held.current.not_after);
                let before = held;
                held = apply(held, action, now);
                prop_assert!(action == Action::Nothing || held != before, "{action:?} changes something");
                prop_assert!(now < held.current.not_after, "the signer is valid after each step");
                // The model's own note: since when the published next CA was seen at every look.
                good_since = match (held.next, action) {
                    (None, _) | (_, Action::PublishNext) => None,
                    _ if everywhere => good_since.or(Some(now)),
                    _ => None,
                };
            }
        }

        /// With everything in order, a rotation ends, and ends in a single CA.
        #[test]
        fn a_rotation_comes_to_an_end(every_seconds in 1_i64..3_600) {
            let (mut held, mut now) = (fresh(), days(244));
            let start = held.current;
            for _ in 0..(15 * 24 * 3600 / every_seconds) {
                held = apply(held, next_action(&held, BOTH, now, OVERLAP), now);
                now += SignedDuration::from_secs(every_seconds);
            }
            prop_assert!(held.current != start);
            prop_assert_eq!((held.next, held.previous), (None, None));
        }

        /// Replicas that act on stale looks cannot happen (compare-and-swap), but any state must have an answer.
        #[test]
        fn any_state_has_an_answer(
            current in any::<(i32, u32)>(),
            next in any::<Option<(i32, u32, Option<i32>)>>(),
            previous in any::<Option<(i32, u32, i32)>>(),
            seen in look(),
            now in any::<i32>(),
        ) {
            let validity = |start: i32, length: u32| Validity {
                not_before: at(start.into()),
                not_after: at(i64::from(start) + i64::from(length)),
            };
            let held = Held {
                current: validity(current.0, current.1),
                next: next.map(|(start, length, published)| Next {
                    validity: validity(start, length),
                    published: published.map(|second| at(second.into())),
                }),
                previous: previous.map(|(start, length, replaced)| Previous {
                    validity: validity(start, length),
                    replaced: at(replaced.into()),
                }),
            };
            let _ = next_action(&held, seen, at(now.into()), OVERLAP);
        }
    }
}
