//! One item of `spec.exemptions`.

use jiff::Timestamp;
use serde_json::Value as Json;
use smol_str::SmolStr;
use wildmatch::WildMatch;

use super::{Hints, REASON_CHARS_MAX, known_keys};
use crate::{
    policy::{
        Exemption, PolicyName, Target,
        value::{quoted, quoted_json, quoted_value},
    },
    rule::Rule,
    rules,
};

/// Reads one item, the `index`th of the policy's list.
///
/// # Errors
/// Where in the item, what is wrong, what to do.
pub(super) fn read(json: &Json, policy: &PolicyName, index: usize, hints: Hints) -> Result<Exemption, String> {
    let map = json.as_object().ok_or(" is no object")?;
    known_keys(map, &["rule", "target", "reason", "expires"], hints)?;
    let rule = json["rule"].as_str().unwrap_or_default();
    let rule = rules::find(rule).ok_or_else(|| {
        let near = hints.did_you_mean(rule, rules::ALL.iter().map(|it| it.id));
        format!(": there is no rule {}{near}", quoted_json(&json["rule"]))
    })?;
    let reason = json["reason"].as_str().map(str::trim).filter(|it| !it.is_empty());
    let reason = reason.ok_or(".reason is missing; say why this is accepted")?;
    let expires = json["expires"].as_str().and_then(|it| it.parse::<Timestamp>().ok());
    let expires = expires.ok_or(".expires is no time; use a date such as 2027-01-31T00:00:00Z")?;
    Ok(Exemption {
        rule: rule.id,
        target: read_target(&json["target"], rule, hints).map_err(|it| format!(".target{it}"))?,
        reason: quoted(reason, REASON_CHARS_MAX).into(),
        expires,
        policy: policy.clone(),
        index,
    })
}

fn read_target(json: &Json, rule: &Rule, hints: Hints) -> Result<Target, String> {
    let target = json.as_object().ok_or(" is missing; give kind and name")?;
    known_keys(target, &["kind", "name", "container"], hints)?;
    let text = |key: &str| json[key].as_str().filter(|it| !it.is_empty());
    let kind = text("kind").ok_or(".kind is missing; use the kind of the object, such as Deployment")?;
    check_kind(kind, rule, hints)?;
    let name = text("name").ok_or(".name is missing; use a name, * stands for any letters")?;
    let container = text("container").map(SmolStr::new);
    if container.is_none() && !json["container"].is_null() {
        // Taken for absent, it would stand for every container.
        return Err(".container is no name of a container; leave it out for any".to_owned());
    }
    if container.is_some() && matches!(kind, "Service" | "Ingress") {
        return Err(format!(".container: a {kind} has no containers; leave it out"));
    }
    Ok(Target { kind: kind.into(), name: WildMatch::new(name), container })
}

/// Of another kind no finding of the rule can be, and the exemption would be unused for ever.
fn check_kind(kind: &str, rule: &Rule, hints: Hints) -> Result<(), String> {
    let kinds = rule.kinds();
    if kinds.contains(&kind) {
        return Ok(());
    }
    let is_known = rules::ALL.iter().any(|it| it.kinds().contains(&kind));
    let what =
        if is_known { format!("is of no finding of {}", rule.id) } else { "is no kind that is reviewed".to_owned() };
    // In another case is a near miss, too.
    let same = kinds.iter().find(|it| it.eq_ignore_ascii_case(kind));
    let near =
        same.map_or_else(|| hints.did_you_mean(kind, kinds.iter().copied()), |it| format!("; did you mean {it}?"));
    let near = if near.is_empty() { format!("; use {}", kinds.join(", ")) } else { near };
    Err(format!(".kind: {} {what}{near}", quoted_value(kind)))
}
