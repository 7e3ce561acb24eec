//! Two policies of one priority that want different values of a setting: the one whose name comes first counts, and both are told.

use std::sync::Arc;

use smol_str::SmolStr;

use super::{Field, FieldValue, Limits, PolicyObject, resolve::index};

/// Two policies of one priority that want different values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tie {
    /// The setting.
    pub field: Field,
    /// The policy that counts, because its name comes first.
    pub winner: SmolStr,
    /// The other one.
    pub loser: SmolStr,
}

impl Tie {
    /// What there is to know and to do, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { field, winner, loser } = self;
        format!(
            "{}: \"{winner}\" and \"{loser}\" have the same priority and different values; that of \"{winner}\" counts, since its \
             name comes first; give one of them a higher priority",
            field.path()
        )
    }
}

/// The ties among policies of one level, those that count least first.
pub(super) fn among<'a>(policies: impl Iterator<Item = &'a Arc<PolicyObject>>, limits: &Limits) -> Vec<Tie> {
    // Of the highest rank so far, for each setting.
    let mut setters: Vec<Vec<(&PolicyObject, &FieldValue)>> = vec![Vec::new(); Field::all().count()];
    for policy in policies {
        for (field, value) in &policy.values {
            let setters = &mut setters[index(*field)];
            setters.retain(|(earlier, _)| rank(earlier) == rank(policy));
            setters.push((policy, value));
        }
    }
    Field::all().zip(setters).flat_map(|(field, setters)| of_field(field, &setters, limits)).collect()
}

/// Those that want another value than the last one, which counts. What a lock keeps out is no tie.
fn of_field(field: Field, setters: &[(&PolicyObject, &FieldValue)], limits: &Limits) -> Vec<Tie> {
    let Some(((winner, wins), others)) = setters.split_last() else { return Vec::new() };
    if !winner.name.namespace.is_empty() && limits.locks.contains_key(&field) {
        return Vec::new();
    }
    let losers = others.iter().filter(|(_, value)| value != wins);
    let name = |it: &PolicyObject| it.name.name.clone();
    losers.map(|(loser, _)| Tie { field, winner: name(winner), loser: name(loser) }).collect()
}

/// What decides between two policies of one level: one that selects workloads is nearer than one for all of them.
pub(super) fn rank(policy: &PolicyObject) -> (bool, i64) {
    let selects_workloads =
        !policy.name.namespace.is_empty() && policy.selector.as_ref().is_none_or(|it| !it.is_empty());
    (selects_workloads, policy.priority)
}
