//! A label selector (`metav1.LabelSelector`) over the labels that facts have.

use serde_json::Value as Json;
use smol_str::SmolStr;

use super::value::quoted_key;
use crate::facts::Labels;

/// Which labels are meant. Empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: SmolStr,
    operator: Operator,
    values: Vec<SmolStr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// True if it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True for labels that meet every requirement. `implied` is one more label, unless the labels have its key.
    #[must_use]
    pub fn matches(&self, labels: &Labels, implied: Option<(&str, &str)>) -> bool {
        self.0.iter().all(|requirement| {
            let implied = || implied.filter(|(key, _)| *key == requirement.key).map(|(_, value)| value);
            let value = labels.get(&requirement.key).or_else(implied);
            let is_listed = value.is_some_and(|it| requirement.values.iter().any(|wanted| wanted == it));
            match requirement.operator {
                Operator::In => is_listed,
                Operator::NotIn => !is_listed,
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }

    /// Reads `matchLabels` and `matchExpressions`.
    ///
    /// # Errors
    /// What cannot be read, below the selector, and what it should be.
    pub(super) fn read(json: &Json) -> Result<Self, String> {
        let Some(object) = json.as_object() else { return Err("is no label selector".to_owned()) };
        let mut requirements = Vec::new();
        // The API server takes out what is null.
        for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "matchLabels" => requirements.extend(read_labels(value)?),
                "matchExpressions" => requirements.extend(read_expressions(value)?),
                other => {
                    return Err(format!("has no field {}; use matchLabels or matchExpressions", quoted_key(other)));
                }
            }
        }
        Ok(Self(requirements))
    }
}

fn read_labels(json: &Json) -> Result<Vec<Requirement>, String> {
    let labels = json.as_object().ok_or("matchLabels is no map of labels")?;
    let requirement = |(key, value): (&String, &Json)| {
        check_key("matchLabels", key)?;
        let value = value.as_str().ok_or_else(|| format!("matchLabels {} is no text", quoted_key(key)))?;
        check_value("matchLabels", key, value)?;
        Ok(Requirement { key: key.into(), operator: Operator::In, values: vec![value.into()] })
    };
    labels.iter().map(requirement).collect()
}

fn read_expressions(json: &Json) -> Result<Vec<Requirement>, String> {
    let list = json.as_array().ok_or("matchExpressions is no list")?;
    list.iter().map(read_expression).collect()
}

fn read_expression(json: &Json) -> Result<Requirement, String> {
    let key = json["key"].as_str().filter(|it| !it.is_empty()).ok_or("matchExpressions: a key is missing")?;
    check_key("matchExpressions", key)?;
    let named = || format!("matchExpressions {}", quoted_key(key));
    let operator = match json["operator"].as_str() {
        Some("In") => Operator::In,
        Some("NotIn") => Operator::NotIn,
        Some("Exists") => Operator::Exists,
        Some("DoesNotExist") => Operator::DoesNotExist,
        _ => return Err(format!("{}: use the operator In, NotIn, Exists or DoesNotExist", named())),
    };
    let texts = |it: &Json| it.as_array().and_then(|it| it.iter().map(|it| it.as_str().map(SmolStr::new)).collect());
    let values: Vec<SmolStr> = match &json["values"] {
        Json::Null => Vec::new(),
        other => texts(other).ok_or_else(|| format!("{}: values is no list of texts", named()))?,
    };
    if matches!(operator, Operator::In | Operator::NotIn) == values.is_empty() {
        return Err(format!("{}: In and NotIn need values, Exists and DoesNotExist take none", named()));
    }
    values.iter().try_for_each(|it| check_value("matchExpressions", key, it))?;
    Ok(Requirement { key: key.into(), operator, values })
}

/// Longest value of a label, and longest name in a key, in characters.
pub(crate) const LABEL_CHARS_MAX: usize = 63;

/// Longest prefix of a key, in characters: that of the name of a domain.
pub(crate) const PREFIX_CHARS_MAX: usize = 253;

/// What is no key of any label selects nothing, or everything: never what was meant.
fn check_key(place: &str, key: &str) -> Result<(), String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if !name.is_empty() && is_value(name) && prefix.is_none_or(is_prefix) {
        return Ok(());
    }
    Err(format!(
        "{place}: \"{}\" is no key of a label; use NAME or PREFIX/NAME, such as example.com/team",
        quoted_key(key)
    ))
}

fn check_value(place: &str, key: &str, value: &str) -> Result<(), String> {
    if is_value(value) {
        return Ok(());
    }
    Err(format!(
        "{place} {}: \"{}\" is no value of a label; use at most {LABEL_CHARS_MAX} letters and digits, and \
         between them also -, _ and .",
        quoted_key(key),
        quoted_key(value)
    ))
}

fn is_value(text: &str) -> bool {
    let is_end = |it: char| it.is_ascii_alphanumeric();
    let is_inner = |it: char| is_end(it) || "-_.".contains(it);
    let is_one = text.len() <= LABEL_CHARS_MAX && text.chars().all(is_inner);
    text.is_empty() || is_one && text.starts_with(is_end) && text.ends_with(is_end)
}

/// The name of a domain.
fn is_prefix(text: &str) -> bool {
    let is_end = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit();
    let is_part =
        |it: &str| it.starts_with(is_end) && it.ends_with(is_end) && it.chars().all(|it| is_end(it) || it == '-');
    text.len() <= PREFIX_CHARS_MAX && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: &Json, labels: &[(&str, &str)]) -> bool {
        Selector::read(selector).unwrap().matches(&labels.iter().copied().collect(), Some(("implied", "shop")))
    }

    #[test]
    fn every_requirement_has_to_be_met() {
        let selector = json!({
            "matchLabels": { "team": "a" },
            "matchExpressions": [
                { "key": "tier", "operator": "NotIn", "values": ["batch"] },
                { "key": "env", "operator": "Exists" },
                { "key": "old", "operator": "DoesNotExist" },
                { "key": "implied", "operator": "In", "values": ["shop", "till"] },
            ],
        });
        assert!(selects(&selector, &[("team", "a"), ("env", "")]));
        assert!(!selects(&selector, &[("team", "b"), ("env", "")]));
        assert!(!selects(&selector, &[("team", "a"), ("env", ""), ("tier", "batch")]));
        assert!(!selects(&selector, &[("team", "a")]));
        assert!(!selects(&selector, &[("team", "a"), ("env", ""), ("old", "")]));
        assert!(!selects(&selector, &[("team", "a"), ("env", ""), ("implied", "other")]));
        assert!(selects(&json!({}), &[]));
    }

    #[test]
    fn what_is_no_selector_says_so() {
        for odd in [
            json!([]),
            json!({ "matchlabels": {} }),
            json!({ "matchLabels": { "a": 1 } }),
            json!({ "matchExpressions": [{ "key": "a", "operator": "in", "values": ["b"] }] }),
            json!({ "matchExpressions": [{ "key": "a", "operator": "In" }] }),
            json!({ "matchExpressions": [{ "operator": "Exists" }] }),
            json!({ "matchExpressions": [7] }),
            json!({ "matchLabels": { "a b/c/d": "e" } }),
            json!({ "matchLabels": { "a": "x y" } }),
            json!({ "matchExpressions": [{ "key": "-a", "operator": "Exists" }] }),
            json!({ "matchExpressions": [{ "key": "a", "operator": "NotIn", "values": ["a", "b-"] }] }),
        ] {
            assert!(Selector::read(&odd).is_err(), "{odd}");
        }
    }
}
