//! What an untagged or tagged scalar means: the resolution table of go-yaml v2, which `kubectl` reads with.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The value of a scalar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'t> {
    Null,
    Bool(bool),
    /// Between `i64::MIN` and `u64::MAX`.
    Int(i128),
    Float(f64),
    /// A number of a JSON text, as it was written.
    Number(&'t str),
    Text(Cow<'t, str>),
}

/// The tags that change how a scalar is read (`tag:yaml.org,2002:` in front).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Str,
    Bool,
    Int,
    Float,
    Null,
    Binary,
    /// Everything else: the text stays as it is.
    Other,
}

impl Tag {
    /// The tag by its name behind `tag:yaml.org,2002:`.
    pub(super) fn core(name: &str) -> Self {
        match name {
            "str" => Self::Str,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "null" => Self::Null,
            "binary" => Self::Binary,
            _ => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Str => "!!str",
            Self::Bool => "!!bool",
            Self::Int => "!!int",
            Self::Float => "!!float",
            Self::Null => "!!null",
            Self::Binary => "!!binary",
            Self::Other => "!",
        }
    }
}

/// Reads a scalar with an explicit tag; the error says what does not fit.
pub(super) fn tagged(tag: Tag, text: Cow<'_, str>) -> Result<Scalar<'_>, String> {
    let fits = |scalar: &Scalar<'_>| match tag {
        Tag::Bool => matches!(scalar, Scalar::Bool(_)),
        Tag::Int => matches!(scalar, Scalar::Int(_)),
        Tag::Float => matches!(scalar, Scalar::Int(_) | Scalar::Float(_)),
        Tag::Null => matches!(scalar, Scalar::Null),
        Tag::Str | Tag::Binary | Tag::Other => false,
    };
    match tag {
        Tag::Str | Tag::Other => Ok(Scalar::Text(text)),
        Tag::Binary => binary(&text),
        Tag::Bool | Tag::Int | Tag::Float | Tag::Null => {
            let message = format!("`{text}` is not a {}", tag.name());
            Some(plain(text)).filter(fits).ok_or(message)
        }
    }
}

fn binary(text: &str) -> Result<Scalar<'static>, String> {
    let packed: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = STANDARD.decode(packed).map_err(|_| "a !!binary value that is not base64".to_owned())?;
    Ok(Scalar::Text(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())))
}

/// Reads a plain scalar without a tag.
pub(super) fn plain(text: Cow<'_, str>) -> Scalar<'_> {
    match text.as_bytes().first() {
        None => Scalar::Null,
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => word(text),
        Some(b'.') => dotted(text),
        Some(b'0'..=b'9' | b'+' | b'-') => numeric(text),
        Some(_) => Scalar::Text(text),
    }
}

fn word(text: Cow<'_, str>) -> Scalar<'_> {
    match &*text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        _ => Scalar::Text(text),
    }
}

fn dotted(text: Cow<'_, str>) -> Scalar<'_> {
    match &*text {
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" => Scalar::Float(f64::INFINITY),
        _ => float(&text).map_or(Scalar::Text(text), Scalar::Float),
    }
}

fn numeric(text: Cow<'_, str>) -> Scalar<'_> {
    match &*text {
        "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let digits = if text.contains('_') { Cow::Owned(text.replace('_', "")) } else { Cow::Borrowed(&*text) };
    if let Some(value) = int(&digits) {
        return Scalar::Int(value);
    }
    if let Some(value) = float(&digits) {
        return Scalar::Float(value);
    }
    Scalar::Text(text)
}

/// `strconv.ParseInt(text, 0, 64)`, then `ParseUint`: the prefix names the base, and a zero in front is octal.
fn int(text: &str) -> Option<i128> {
    let (negative, signed, magnitude) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let (base, digits) = match magnitude.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &magnitude[2..]),
        [b'0', b'o' | b'O', ..] => (8, &magnitude[2..]),
        [b'0', b'b' | b'B', ..] => (2, &magnitude[2..]),
        [b'0', _, ..] => (8, &magnitude[1..]),
        _ => (10, magnitude),
    };
    // `from_str_radix` would take a second sign.
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, base).ok()?);
    let value = if negative { -value } else { value };
    let most = if signed { i128::from(i64::MAX) } else { i128::from(u64::MAX) };
    (i128::from(i64::MIN)..=most).contains(&value).then_some(value)
}

/// Digits with at most one dot and an exponent. Without words such as `inf`, which Rust would take, and without overflow.
fn float(text: &str) -> Option<f64> {
    let allowed = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.bytes().all(allowed) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

impl Scalar<'_> {
    /// The scalar as the key of a JSON object, as sigs.k8s.io/yaml turns it into text; `None` for null, which cannot be a key.
    pub(super) fn key(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Int(value) => Some(Cow::Owned(value.to_string())),
            Self::Float(value) => Some(Cow::Owned(float_key(*value))),
            Self::Number(text) => Some(Cow::Borrowed(text)),
            Self::Text(text) => Some(Cow::Borrowed(text)),
        }
    }
}

/// `strconv.FormatFloat(value, 'g', -1, 32)`.
#[expect(clippy::cast_possible_truncation, reason = "the original formats keys with 32 bits")]
fn float_key(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let value = value as f32;
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}
