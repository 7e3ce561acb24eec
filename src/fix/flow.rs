//! Edits of maps in brackets: JSON, and `{name: web, image: web}` in YAML.

use serde_json::Value;

use super::{
    Refusal,
    edit::Editor,
    render::{FlowStyle, Lines, flow_member, pretty_member},
};
use crate::manifest::{Style, Written};

/// The style of a value that stands alone.
pub(super) fn style(is_json: bool) -> FlowStyle {
    FlowStyle { is_json, is_padded: false, is_compact: false }
}

/// Adds members behind the last one.
pub(super) fn add<'a>(editor: &mut Editor<'a>, map: Written<'a>, added: &[(&str, &Value)]) -> Result<(), Refusal> {
    let Some((key, value)) = map.members().last() else {
        if editor.text.get(map.range()).is_some_and(|it| it.contains('\n')) {
            return Err(editor.refusal("an empty map is written over several lines", "write it as {}, and run again"));
        }
        let members: Vec<String> =
            added.iter().map(|(key, value)| flow_member(key, value, style(editor.is_json))).collect();
        editor.insert(map.start() + 1, members.join(", "));
        return Ok(());
    };
    if value.range().is_empty() {
        return Err(editor.refusal("the last member of the map has no value", "give it one, or edit it by hand"));
    }
    let style = style_of(editor.text, map, key, value);
    let behind = Behind::of(editor.text, value.end());
    if is_first_on_line(editor, key) && behind.is_end_of_line {
        add_lines(editor, map, (key, value), added, style, behind.has_comma);
    } else {
        let comma = if style.is_compact { "," } else { ", " };
        for (key, new) in added {
            editor.insert(value.end(), format!("{comma}{}", flow_member(key, new, style)));
        }
    }
    Ok(())
}

fn style_of(text: &str, map: Written<'_>, key: Written<'_>, value: Written<'_>) -> FlowStyle {
    let is_json = key.style() == Style::Quoted;
    let colon = text.get(key.end()..value.start()).unwrap_or_default();
    let is_padded = text.get(map.start() + 1..).is_some_and(|it| it.starts_with(' '));
    FlowStyle { is_json, is_padded, is_compact: is_json && colon == ":" }
}

/// Every member has a line of its own, so the new ones get theirs: behind the comma and the comment of the last one.
fn add_lines<'a>(
    editor: &mut Editor<'a>,
    map: Written<'a>,
    (key, value): (Written<'a>, Written<'a>),
    added: &[(&str, &Value)],
    style: FlowStyle,
    has_comma: bool,
) {
    let unit = if before(editor, key).starts_with('\t') { "\t" } else { " " };
    let indent = before(editor, key).len();
    let outer = before(editor, map);
    let outer = outer.len() - outer.trim_start_matches(unit).len();
    let lines = Lines { unit, ..editor.lines(indent, indent.saturating_sub(outer).max(1)) };
    let members = added.iter().map(|(key, new)| {
        let member = if style.is_json { pretty_member(key, new, style, lines) } else { flow_member(key, new, style) };
        format!("{}{member}", lines.start())
    });
    let members: Vec<String> = members.collect();
    let end_of_line = editor.end_of_line(value.end());
    if has_comma {
        editor.insert(end_of_line, format!("{},", members.join(",")));
    } else {
        editor.insert(value.end(), ",");
        editor.insert(end_of_line, members.join(","));
    }
}

/// What stands behind a value on its line.
struct Behind {
    has_comma: bool,
    is_end_of_line: bool,
}

impl Behind {
    fn of(text: &str, at: usize) -> Self {
        let rest = text.get(at..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default().trim_start();
        let behind = line.strip_prefix(',');
        let line = behind.unwrap_or(line).trim();
        Self { has_comma: behind.is_some(), is_end_of_line: line.is_empty() || line.starts_with('#') }
    }
}

/// What stands before a value on its line.
fn before<'a>(editor: &Editor<'a>, value: Written<'_>) -> &'a str {
    editor.text.get(editor.begin_of_line(value.start())..value.start()).unwrap_or_default()
}

fn is_first_on_line(editor: &Editor<'_>, key: Written<'_>) -> bool {
    let before = before(editor, key);
    before.bytes().all(|byte| byte == b' ') || before.bytes().all(|byte| byte == b'\t')
}

/// Takes members out, with the comma in front of them or, for the first one, behind them.
pub(super) fn remove<'a>(
    editor: &mut Editor<'a>,
    members: &[(Written<'a>, Written<'a>)],
    is_removed: impl Fn(&Written<'a>) -> bool,
) -> Result<(), Refusal> {
    let mut kept_before: Option<Written<'a>> = None;
    for (index, (name, value)) in members.iter().enumerate() {
        if !is_removed(name) {
            kept_before = Some(*value);
            continue;
        }
        let before = index.checked_sub(1).and_then(|it| members.get(it)).map(|(_, value)| *value);
        match (kept_before, before, members.get(index + 1)) {
            (Some(_), Some(before), _) => remove_behind(editor, before, *name, *value)?,
            (None, _, Some((next, _))) => {
                editor.without_comments(name.start()..next.start())?;
                editor.take_out(name.start()..next.start());
            }
            (_, _, _) => {
                editor.without_comments(name.start()..value.end())?;
                editor.take_out(name.start()..value.end());
            }
        }
    }
    Ok(())
}

fn remove_behind<'a>(
    editor: &mut Editor<'a>,
    before: Written<'a>,
    name: Written<'a>,
    value: Written<'a>,
) -> Result<(), Refusal> {
    let between = editor.text.get(before.end()..name.start()).unwrap_or_default();
    if !between.contains('#') {
        editor.take_out(before.end()..value.end());
        return Ok(());
    }
    // The comment of the member before stays.
    let end_of_line = editor.end_of_line(before.end());
    let behind = Behind::of(editor.text, value.end());
    if behind.has_comma {
        let comma = editor.text.get(value.end()..).and_then(|it| it.find(',')).map_or(0, |it| it + 1);
        editor.without_comments(end_of_line..value.end() + comma)?;
        editor.take_out(end_of_line..value.end() + comma);
        return Ok(());
    }
    let comma = editor.text.get(before.end()..end_of_line).and_then(|it| it.find(',')).unwrap_or(0);
    editor.take_out(before.end()..before.end() + comma + 1);
    editor.without_comments(end_of_line..value.end())?;
    editor.take_out(end_of_line..value.end());
    Ok(())
}
