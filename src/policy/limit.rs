//! What a `ClusterRolloutPolicy` allows below itself: bounds, which hold every value within two ends, and locks, which keep
//! the cluster's own.

use std::collections::BTreeMap;

use smol_str::{SmolStr, format_smolstr};

use super::{Action, Field, FieldValue};

/// One end of a bound, and the policy that set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The value, by its place in the setting's order.
    pub rank: i64,
    /// Name of the `ClusterRolloutPolicy`.
    pub policy: SmolStr,
}

/// The least and the most that a setting may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    /// The least.
    pub min: Option<End>,
    /// The most.
    pub max: Option<End>,
}

/// The bounds and locks of one policy, or of all that hold in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bounds, by setting.
    pub bounds: BTreeMap<Field, Bound>,
    /// The policy that locked a setting.
    pub locks: BTreeMap<Field, SmolStr>,
    /// Namespaces have no exemptions of their own.
    pub exemptions_locked: Option<SmolStr>,
    /// An exemption counts only while it ends within so many days.
    pub exemption_days_max: Option<End>,
}

impl Limits {
    /// Adds the limits of a policy of lower priority: bounds only tighten. Says what contradicts what is there, and is left out.
    pub(super) fn add(&mut self, other: &Self) -> Vec<String> {
        let mut conflicts = Vec::new();
        for (field, bound) in &other.bounds {
            conflicts.extend(self.bounds.entry(*field).or_default().tighten(*field, bound));
        }
        for (field, policy) in &other.locks {
            self.locks.entry(*field).or_insert_with(|| policy.clone());
        }
        if self.exemptions_locked.is_none() {
            self.exemptions_locked.clone_from(&other.exemptions_locked);
        }
        if is_tighter(self.exemption_days_max.as_ref(), other.exemption_days_max.as_ref(), |known, new| new < known) {
            self.exemption_days_max.clone_from(&other.exemption_days_max);
        }
        conflicts
    }

    /// The value within the bounds, and which policy moved it; `None` if it is within them as it is.
    #[must_use]
    pub fn clamped(&self, field: Field, value: &FieldValue) -> Option<(FieldValue, &SmolStr)> {
        let bound = self.bounds.get(&field)?;
        let shape = field.definition().shape;
        let rank = shape.rank(value)?;
        let end = match (&bound.min, &bound.max) {
            (Some(min), _) if rank < min.rank => min,
            (_, Some(max)) if rank > max.rank => max,
            _ => return None,
        };
        Some((shape.of_rank(end.rank)?, &end.policy))
    }

    /// The policy that keeps this value of a team out. Where the profile is held, so are its denials: an action of a rule can only
    /// be made stronger.
    #[must_use]
    pub fn lock_on(&self, field: Field, value: &FieldValue) -> Option<&SmolStr> {
        let own = self.locks.get(&field);
        let is_weaker = field.rule().is_some() && *value != FieldValue::Word(Action::Deny.name());
        own.or_else(|| self.profile_holder().filter(|_| is_weaker))
    }

    /// That `policy` keeps a setting of teams out; `what` is where they set it.
    pub(super) fn locked_text(&self, what: &str, field: Field, policy: &str) -> String {
        let why = if self.locks.contains_key(&field) { "locks it" } else { HOLDS_PROFILE };
        format!("{what} is ignored: ClusterRolloutPolicy \"{policy}\" {why}")
    }

    /// The policy that locks the profile, or keeps it from being the weakest.
    fn profile_holder(&self) -> Option<&SmolStr> {
        let min = self.bounds.get(&Field::Profile).and_then(|it| it.min.as_ref()).filter(|it| it.rank > 0);
        self.locks.get(&Field::Profile).or_else(|| min.map(|it| &it.policy))
    }

    /// An exemption from this rule that a namespace gives itself would undo a lock.
    #[must_use]
    pub fn forbids_exemption(&self, rule: &str) -> Option<&SmolStr> {
        let own = Field::action_of(rule).and_then(|it| self.locks.get(&it));
        self.exemptions_locked.as_ref().or(own)
    }
}

/// What a policy does that keeps weaker actions of rules out, behind its name.
pub(super) const HOLDS_PROFILE: &str = "holds the profile, and with it its denials";

/// That a bound of `policy` moves a value of teams; `what` is the value and where they set it.
pub(super) fn clamped_text(what: &str, held: &FieldValue, policy: &str) -> String {
    format!("{what} is out of bounds: ClusterRolloutPolicy \"{policy}\" makes it {held}")
}

fn is_tighter(known: Option<&End>, new: Option<&End>, is_beyond: fn(i64, i64) -> bool) -> bool {
    match (known, new) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(known), Some(new)) => is_beyond(known.rank, new.rank),
    }
}

impl Bound {
    fn tighten(&mut self, field: Field, other: &Self) -> Option<String> {
        let raises = is_tighter(self.min.as_ref(), other.min.as_ref(), |known, new| new > known);
        let lowers = is_tighter(self.max.as_ref(), other.max.as_ref(), |known, new| new < known);
        let (min, max) = (if raises { &other.min } else { &self.min }, if lowers { &other.max } else { &self.max });
        if let (Some(low), Some(high)) = (min, max)
            && low.rank > high.rank
        {
            return Some(format!(
                "the bound of {} leaves nothing between {low} and {high}; it is ignored",
                field.path()
            ));
        }
        if raises {
            self.min.clone_from(&other.min);
        }
        if lowers {
            self.max.clone_from(&other.max);
        }
        None
    }

    /// `5 to 120`, `at least standard`.
    #[must_use]
    pub fn text(&self, field: Field) -> SmolStr {
        let shape = field.definition().shape;
        let word = |end: &End| shape.of_rank(end.rank).map(|it| it.to_string()).unwrap_or_default();
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => format_smolstr!("{} to {}", word(min), word(max)),
            (Some(min), None) => format_smolstr!("at least {}", word(min)),
            (None, Some(max)) => format_smolstr!("at most {}", word(max)),
            (None, None) => SmolStr::default(),
        }
    }
}

/// In a sentence about two ends that leave nothing between them.
impl std::fmt::Display for End {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "that of ClusterRolloutPolicy \"{}\"", self.policy)
    }
}
