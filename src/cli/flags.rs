//! The flags of the server that settings come from: they count less than any policy. `serve` has them, and `policy` takes them to
//! explain and test what such a server does; each with a help text of its own.

use smol_str::SmolStr;

use crate::{
    policy::{Action, Field, FieldValue, Profile},
    rules,
};

/// What the flags set, where they say something.
pub(super) fn values(
    profile: Option<Profile>,
    actions: &[(String, Action)],
    break_glass_groups: &[String],
) -> Vec<(Field, FieldValue)> {
    let mut values: Vec<(Field, FieldValue)> = Vec::new();
    values.extend(profile.map(|it| (Field::Profile, FieldValue::Word(it.name()))));
    let action = |(rule, action): &(String, Action)| Some((Field::action_of(rule)?, FieldValue::Word(action.name())));
    values.extend(actions.iter().filter_map(action));
    if !break_glass_groups.is_empty() {
        let groups = break_glass_groups.iter().map(SmolStr::from).collect();
        values.push((Field::BreakGlassGroups, FieldValue::Names(groups)));
    }
    values
}

/// `service-selects-nothing=warn`.
pub(super) fn rule_action(text: &str) -> Result<(String, Action), String> {
    let (rule, action) = text.split_once('=').ok_or("write RULE=ACTION, such as service-selects-nothing=warn")?;
    if rules::find(rule).is_none() {
        let known: Vec<&str> = rules::ALL.iter().map(|it| it.id).collect();
        return Err(format!("there is no rule \"{rule}\"; the rules are {}", known.join(", ")));
    }
    Ok((rule.to_owned(), action.parse()?))
}
