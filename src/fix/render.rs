//! New values as YAML and JSON text.

use serde_json::Value;

/// How values in brackets look at one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlowStyle {
    /// Keys and texts in double quotes, as JSON wants them.
    pub(super) is_json: bool,
    /// A space inside the brackets.
    pub(super) is_padded: bool,
    /// No space behind colons and commas (JSON only).
    pub(super) is_compact: bool,
}

/// Where new lines begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a> {
    /// How many of `unit` are in front of a member.
    pub(super) indent: usize,
    /// A space; a tab where JSON has tabs.
    pub(super) unit: &'a str,
    /// How many more a level takes.
    pub(super) step: usize,
    /// The line end of the file.
    pub(super) line_end: &'a str,
}

impl Lines<'_> {
    pub(super) fn start(self) -> String {
        format!("{}{}", self.line_end, self.unit.repeat(self.indent))
    }

    fn deeper(self) -> Self {
        Self { indent: self.indent + self.step, ..self }
    }
}

const PLAIN: FlowStyle = FlowStyle { is_json: false, is_padded: false, is_compact: false };

/// A member of a map by indentation, on lines of its own: each with the line end in front of it.
pub(super) fn block_member(key: &str, is_quoted: bool, value: &Value, lines: Lines<'_>) -> String {
    let key = if is_quoted { quoted(key) } else { scalar_text(key) };
    let start = lines.start();
    match value {
        Value::Object(members) if !members.is_empty() => {
            let members = members.iter().map(|(key, value)| block_member(key, is_quoted, value, lines.deeper()));
            format!("{start}{key}:{}", members.collect::<String>())
        }
        // `["sh", "-c", "sleep 10"]` is how people write commands.
        Value::Array(_) => format!("{start}{key}: {}", flow(value, FlowStyle { is_json: true, ..PLAIN })),
        _ => format!("{start}{key}: {}", flow(value, PLAIN)),
    }
}

/// The members of a map by indentation.
pub(super) fn block_members(value: &Value, lines: Lines<'_>) -> Option<String> {
    let members = value.as_object().filter(|it| !it.is_empty())?;
    Some(members.iter().map(|(key, value)| block_member(key, false, value, lines)).collect())
}

/// A member of a map in brackets, on one line.
pub(super) fn flow_member(key: &str, value: &Value, style: FlowStyle) -> String {
    let colon = if style.is_compact { ":" } else { ": " };
    format!("{}{colon}{}", text(key, style), flow(value, style))
}

/// A value on one line.
pub(super) fn flow(value: &Value, style: FlowStyle) -> String {
    let comma = if style.is_compact { "," } else { ", " };
    let pad = if style.is_padded { " " } else { "" };
    match value {
        Value::String(it) => text(it, style),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|it| flow(it, style)).collect();
            format!("[{}]", items.join(comma))
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(key, value)| flow_member(key, value, style)).collect();
            format!("{{{pad}{}{pad}}}", members.join(comma))
        }
        other => other.to_string(),
    }
}

/// A member of a JSON map over several lines; the first one is begun already.
pub(super) fn pretty_member(key: &str, value: &Value, style: FlowStyle, lines: Lines<'_>) -> String {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let inner = lines.deeper();
            let members = members
                .iter()
                .map(|(key, value)| format!("{}{}", inner.start(), pretty_member(key, value, style, inner)));
            format!("{}: {{{}{}}}", text(key, style), members.collect::<Vec<_>>().join(","), lines.start())
        }
        _ => flow_member(key, value, FlowStyle { is_compact: false, ..style }),
    }
}

fn text(text: &str, style: FlowStyle) -> String {
    if style.is_json { quoted(text) } else { scalar_text(text) }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text as a YAML scalar that is a text to every reader: plain where nobody can take it for something else.
pub(super) fn scalar_text(text: &str) -> String {
    let is_tame = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/'));
    // `no`, `0x1` and `1e3` are not texts; nothing that is one of them is a longer word.
    let is_word = text.len() > 4 && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let is_known = ["exec", "path", "port", "host"].contains(&text);
    if is_known || (is_tame && is_word && !text.eq_ignore_ascii_case("false")) {
        return text.to_owned();
    }
    if text.chars().any(char::is_control) {
        return quoted(text);
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_plain_only_where_nobody_takes_them_for_something_else() {
        for (text, written) in [
            ("lifecycle", "lifecycle"),
            ("no502.dev/injected", "no502.dev/injected"),
            ("exec", "exec"),
            ("no", "'no'"),
            ("false", "'false'"),
            ("0x123456", "'0x123456'"),
            ("it's", "'it''s'"),
            ("a\nb", "\"a\\nb\""),
            ("{\"a\":1}", "'{\"a\":1}'"),
        ] {
            assert_eq!(scalar_text(text), written);
        }
    }

    #[test]
    fn values_are_written_by_indentation_and_in_brackets() {
        let hook = json!({ "preStop": { "exec": { "command": ["sh", "-c", "sleep 10"] } } });
        let lines = Lines { indent: 2, unit: " ", step: 2, line_end: "\n" };
        assert_eq!(
            block_member("lifecycle", false, &hook, lines),
            "\n  lifecycle:\n    preStop:\n      exec:\n        command: [\"sh\", \"-c\", \"sleep 10\"]"
        );
        let style = FlowStyle { is_json: false, is_padded: true, is_compact: false };
        let sleep = json!({ "sleep": { "seconds": 10 } });
        assert_eq!(flow_member("preStop", &sleep, style), "preStop: { sleep: { seconds: 10 } }");
        let json = FlowStyle { is_json: true, is_padded: false, is_compact: true };
        assert_eq!(flow_member("preStop", &sleep, json), "\"preStop\":{\"sleep\":{\"seconds\":10}}");
        assert_eq!(
            pretty_member("preStop", &sleep, FlowStyle { is_compact: false, ..json }, lines),
            "\"preStop\": {\n    \"sleep\": {\n      \"seconds\": 10\n    }\n  }"
        );
    }
}
