//! What a setting says, read from an annotation's text or from a policy's JSON, and how values compare.

use std::{fmt, sync::Arc};

use serde_json::Value as Json;
use smol_str::SmolStr;

use super::{Mode, Preset, SLEEP_SECONDS_MAX, TemplateKind, TemplateKinds};
use crate::facts::PortRef;

/// The value of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// True or false.
    Flag(bool),
    /// A number, in the unit that the setting's name has.
    Number(i64),
    /// A sleep, by what sends to the pods.
    Preset(Preset),
    /// One of the words of [`Shape::Word`].
    Word(&'static str),
    /// Kinds of workloads.
    Kinds(TemplateKinds),
    /// A port.
    Port(PortRef),
    /// Names of containers or groups.
    Names(Arc<[SmolStr]>),
}

/// What a setting may say.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// True or false.
    Flag,
    /// A whole number, both ends included.
    Number {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// Seconds, or a [`Preset`].
    Sleep,
    /// One of these words, the weakest first.
    Word(&'static [&'static str]),
    /// A list of [`TemplateKind`]s.
    Kinds,
    /// A port number or name.
    Port,
    /// A list of names.
    Names {
        /// Most of them.
        max: usize,
        /// Longest of them, in characters.
        chars_max: usize,
        /// What they are names of.
        what: &'static str,
    },
}

impl Shape {
    /// Off, warn, inject.
    pub(super) const MODE: Self = Self::Word(&[Mode::Off.name(), Mode::Warn.name(), Mode::Inject.name()]);

    /// Reads the text of an annotation.
    pub(super) fn read_text(self, text: &str) -> Option<FieldValue> {
        let text = text.trim();
        let list = || text.split(',').map(str::trim).filter(|it| !it.is_empty());
        match self {
            Self::Flag => text.parse().ok().map(FieldValue::Flag),
            Self::Number { .. } | Self::Sleep => self.number(text.parse().ok()?),
            Self::Word(words) => words.iter().find(|it| **it == plain_mode(text)).map(|it| FieldValue::Word(it)),
            Self::Kinds => kinds(list()),
            Self::Port => port(text),
            Self::Names { .. } => self.names(list()),
        }
    }

    /// Reads the value of a policy's field.
    pub(super) fn read_json(self, json: &Json) -> Option<FieldValue> {
        let texts = || json.as_array().and_then(|it| it.iter().map(Json::as_str).collect::<Option<Vec<_>>>());
        match self {
            Self::Flag => json.as_bool().map(FieldValue::Flag),
            Self::Number { .. } | Self::Sleep => self.number(json.as_i64()?),
            Self::Word(words) => words.iter().find(|it| Some(**it) == json.as_str()).map(|it| FieldValue::Word(it)),
            Self::Kinds => kinds(texts()?.into_iter()),
            Self::Port => match json {
                Json::Number(_) => number_port(json.as_i64()?),
                _ => json.as_str().and_then(port),
            },
            Self::Names { .. } => self.names(texts()?.into_iter()),
        }
    }

    fn number(self, number: i64) -> Option<FieldValue> {
        let (min, max) = match self {
            Self::Number { min, max } => (min, max),
            Self::Sleep => (0, SLEEP_SECONDS_MAX),
            _ => return None,
        };
        (min..=max).contains(&number).then_some(FieldValue::Number(number))
    }

    fn names<'a>(self, names: impl Iterator<Item = &'a str>) -> Option<FieldValue> {
        let Self::Names { max, chars_max, .. } = self else { return None };
        let names: Vec<SmolStr> = names.take(max + 1).map(SmolStr::new).collect();
        let fits = names.len() <= max && names.iter().all(|it| !it.is_empty() && it.chars().count() <= chars_max);
        fits.then(|| FieldValue::Names(names.into()))
    }

    /// What may be written, for people: `0 to 300`, `true or false`.
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Number { min, max } => format!("{min} to {max}"),
            Self::Sleep => format!("0 to {SLEEP_SECONDS_MAX}"),
            Self::Word(words) => alternatives(words),
            Self::Kinds => "a list of Deployment, StatefulSet, DaemonSet and Rollout".to_owned(),
            Self::Port => "1 to 65535 or the name of a port".to_owned(),
            Self::Names { max, what, .. } => format!("a list of at most {max} {what}"),
        }
    }

    /// Where a value stands in the order of this setting; `None` where there is none.
    #[must_use]
    pub fn rank(self, value: &FieldValue) -> Option<i64> {
        match (self, value) {
            (_, FieldValue::Number(number)) => Some(*number),
            (_, FieldValue::Preset(preset)) => Some(preset.sleep_seconds()),
            (Self::Word(words), FieldValue::Word(word)) => {
                words.iter().position(|it| it == word).and_then(|it| i64::try_from(it).ok())
            }
            _ => None,
        }
    }

    /// The value of that rank.
    pub(super) fn of_rank(self, rank: i64) -> Option<FieldValue> {
        match self {
            Self::Number { .. } | Self::Sleep => Some(FieldValue::Number(rank)),
            Self::Word(words) => words.get(usize::try_from(rank).ok()?).map(|it| FieldValue::Word(it)),
            _ => None,
        }
    }
}

/// `a, b or c`.
pub(super) fn alternatives(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}

/// Meshes write `true`, `false`, `enabled` and `disabled` for the same thing, and so do people.
fn plain_mode(text: &str) -> &str {
    match text {
        "true" | "enabled" => Mode::Inject.name(),
        "false" | "disabled" => Mode::Off.name(),
        other => other,
    }
}

fn kinds<'a>(names: impl Iterator<Item = &'a str>) -> Option<FieldValue> {
    let kinds = names.map(|name| TemplateKind::ALL.iter().copied().find(|it| it.name() == name));
    kinds.collect::<Option<Vec<_>>>().map(|it| FieldValue::Kinds(TemplateKinds::of(&it)))
}

fn port(text: &str) -> Option<FieldValue> {
    let is_name = |it: &str| it.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    match text.parse::<i64>() {
        Ok(number) => number_port(number),
        Err(_) => (!text.is_empty() && text.len() <= 15 && is_name(text))
            .then(|| FieldValue::Port(PortRef::Name(SmolStr::new(text)))),
    }
}

fn number_port(number: i64) -> Option<FieldValue> {
    (1..=65_535).contains(&number).then_some(FieldValue::Port(PortRef::Number(number)))
}

/// As a policy writes it: `60 (preset gke-neg)`, `[a, b]`.
impl fmt::Display for FieldValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(formatter, "{flag}"),
            Self::Number(number) | Self::Port(PortRef::Number(number)) => write!(formatter, "{number}"),
            Self::Preset(preset) => write!(formatter, "{} (preset {})", preset.sleep_seconds(), preset.name()),
            Self::Word(word) => formatter.write_str(word),
            Self::Kinds(kinds) => {
                let names: Vec<&str> = kinds.iter().map(TemplateKind::name).collect();
                write!(formatter, "[{}]", names.join(", "))
            }
            Self::Port(PortRef::Name(name)) => formatter.write_str(name),
            Self::Names(names) => write!(formatter, "[{}]", names.join(", ")),
        }
    }
}

impl FieldValue {
    /// The value as JSON: the seconds of a preset.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Flag(flag) => Json::from(*flag),
            Self::Number(number) | Self::Port(PortRef::Number(number)) => Json::from(*number),
            Self::Preset(preset) => Json::from(preset.sleep_seconds()),
            Self::Word(word) => Json::from(*word),
            Self::Kinds(kinds) => kinds.iter().map(TemplateKind::name).collect(),
            Self::Port(PortRef::Name(name)) => Json::from(name.as_str()),
            Self::Names(names) => names.iter().map(SmolStr::as_str).collect(),
        }
    }
}

/// Longest value that is repeated, in characters.
const QUOTED_CHARS_MAX: usize = 32;

/// What is repeated of a text that anybody may have written: a little, and nothing that ends a line.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    let plain = text.chars().map(|it| if it.is_control() { ' ' } else { it });
    let short: String = plain.take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() { format!("{short}…") } else { short }
}

/// The same, and nothing that ends a quotation.
pub(super) fn quoted(text: &str, chars_max: usize) -> String {
    shortened(text, chars_max).replace('"', " ")
}

/// A value of an annotation, as a message repeats it.
pub(super) fn quoted_value(text: &str) -> String {
    format!("\"{}\"", quoted(text.trim(), QUOTED_CHARS_MAX))
}

/// A value of a policy, as a message repeats it.
pub(super) fn quoted_json(json: &Json) -> String {
    match json {
        Json::String(text) => quoted_value(text),
        other => quoted(&other.to_string(), QUOTED_CHARS_MAX),
    }
}

/// Longest key that is repeated, in characters: the longest of Kubernetes' names.
const KEY_CHARS_MAX: usize = 63;

/// A key of a policy, as a message repeats it.
pub(super) fn quoted_key(key: &str) -> String {
    quoted(key, KEY_CHARS_MAX)
}
