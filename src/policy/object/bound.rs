//! One item of `spec.bounds`.

use serde_json::Value as Json;
use smol_str::SmolStr;

use super::{EXEMPTION_DAYS, EXEMPTION_DAYS_MAX, Hints, known_keys};
use crate::policy::{
    Field, Shape,
    limit::{Bound, End},
    value::quoted_json,
};

/// What an item bounds.
pub(super) enum Limit {
    Field(Field, Bound),
    ExemptionDays(End),
}

/// How the two ends of a number are called.
const OF_NUMBERS: [&str; 2] = ["min", "max"];

/// How the two ends of a word are called.
const OF_WORDS: [&str; 2] = ["atLeast", "atMost"];

/// Reads one item. `policy` is the name of the one that has it.
///
/// # Errors
/// Where in the item, what is wrong, what to do.
pub(super) fn read(json: &Json, policy: &SmolStr, hints: Hints) -> Result<Limit, String> {
    let map = json.as_object().ok_or(" is no object")?;
    known_keys(map, &["field", "min", "max", "atLeast", "atMost"], hints)?;
    let name = json["field"].as_str().unwrap_or_default();
    if name == EXEMPTION_DAYS {
        return read_exemption_days(json, policy).map(Limit::ExemptionDays);
    }
    let field = Field::at(name).filter(|it| it.can_be_bounded()).ok_or_else(|| {
        let known = Field::all().filter(|it| it.can_be_bounded()).map(|it| it.definition().path);
        let near = hints.did_you_mean(name, known);
        format!(".field: {} is no setting with an order{near}", quoted_json(&json["field"]))
    })?;
    let shape = field.definition().shape;
    let (keys, others) = match shape {
        Shape::Word(_) => (OF_WORDS, OF_NUMBERS),
        _ => (OF_NUMBERS, OF_WORDS),
    };
    if let Some(other) = others.into_iter().find(|it| !json[*it].is_null()) {
        return Err(format!(".{other} is not for {name}; use {} and {}", keys[0], keys[1]));
    }
    let end = |key: &str| -> Result<Option<End>, String> {
        if json[key].is_null() {
            return Ok(None);
        }
        let rank = shape.read_json(&json[key]).and_then(|it| shape.rank(&it));
        let rank = rank.ok_or_else(|| format!(".{key} of {name}: use {}", shape.allowed()))?;
        Ok(Some(End { rank, policy: policy.clone() }))
    };
    let bound = Bound { min: end(keys[0])?, max: end(keys[1])? };
    match (&bound.min, &bound.max) {
        (None, None) => Err(format!(" of {name} bounds nothing; give {} or {}", keys[0], keys[1])),
        (Some(min), Some(max)) if min.rank > max.rank => {
            Err(format!(" of {name} leaves nothing: its {} is above its {}", keys[0], keys[1]))
        }
        _ => Ok(Limit::Field(field, bound)),
    }
}

fn read_exemption_days(json: &Json, policy: &SmolStr) -> Result<End, String> {
    let has_others = ["min", "atLeast", "atMost"].into_iter().any(|it| !json[it].is_null());
    let days = json["max"].as_i64().filter(|it| !has_others && (1..=EXEMPTION_DAYS_MAX).contains(it));
    let rank =
        days.ok_or_else(|| format!(" of {EXEMPTION_DAYS} needs max, 1 to {EXEMPTION_DAYS_MAX}, and nothing else"))?;
    Ok(End { rank, policy: policy.clone() })
}
