//! JSON values that are never of a wrong type: a scalar, an object, a list or a map of scalars; anything else in its place reads as
//! absent.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// One JSON value that should be a scalar; lists and objects read as `Absent`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Scalar<'a> {
    #[default]
    Absent,
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// The text; empty for everything that is not text.
    pub(crate) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    pub(crate) fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    pub(crate) fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Int(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(value).map_or(Scalar::Absent, Scalar::Int))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(value.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                drain_seq(seq).map(|()| Scalar::Absent)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                drain_map(map).map(|()| Scalar::Absent)
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A JSON value of one shape; every other value reads as the default.
pub(crate) trait Shape<'de>: Default {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        drain_map(map).map(|()| Self::default())
    }
    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        drain_seq(seq).map(|()| Self::default())
    }
}

/// Reads one JSON value of any type as `T`.
pub(super) fn deserialize<'de, T: Shape<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(ShapeVisitor(PhantomData))
}

struct ShapeVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for ShapeVisitor<T> {
    type Value = T;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_u64<E>(self, _: u64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_str<E>(self, _: &str) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        T::from_seq(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }
}

/// One JSON value that should be an object; anything else reads as absent.
#[derive(Debug)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Maybe<T> {
    pub(crate) fn is_present(&self) -> bool {
        self.0.is_some()
    }
}

impl<'de, T: Deserialize<'de>> Shape<'de> for Maybe<T> {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|value| Self(Some(value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer)
    }
}

/// One JSON value that should be a list; anything else reads as an empty one.
#[derive(Debug)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: ListItem<'de>> Shape<'de> for List<T> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<T::Read>()? {
            items.push(T::from_read(item));
        }
        Ok(Self(items))
    }
}

impl<'de, T: ListItem<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer)
    }
}

/// What can stand in a [`List`]. An item of an unexpected type keeps its place as a default, so that indices stay those of
/// the object.
pub(crate) trait ListItem<'de>: Sized {
    type Read: Deserialize<'de>;
    fn from_read(read: Self::Read) -> Self;
}

impl<'de: 'a, 'a> ListItem<'de> for Scalar<'a> {
    type Read = Self;
    fn from_read(read: Self) -> Self {
        read
    }
}

/// The annotation in which `kubectl apply` keeps a copy of the whole object: by far the longest text of most objects and full of
/// escapes. No fact is made of it, so it is skipped without being built.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Pairs for which room is made at once: most objects have fewer labels.
const PAIRS_USUAL: usize = 8;

/// The scalars of one JSON object, in the order of the bytes; anything else reads as absent.
#[derive(Debug, Default)]
pub(crate) struct Map<'a>(Option<Vec<(Cow<'a, str>, Scalar<'a>)>>);

impl Map<'_> {
    pub(crate) fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// The text under `key`; the last one wins, as in every JSON reader of Kubernetes.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.0.as_ref()?.iter().rev().find(|(name, _)| name == key)? {
            (_, Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// True if there is anything under another key.
    pub(crate) fn has_other_than(&self, key: &str) -> bool {
        self.0.as_deref().unwrap_or_default().iter().any(|(name, _)| name != key)
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.as_deref().unwrap_or_default().iter().filter_map(|(key, value)| match value {
            Scalar::Text(text) => Some((&**key, &**text)),
            _ => None,
        })
    }
}

impl<'de: 'a, 'a> Shape<'de> for Map<'a> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<Scalar<'de>>()? {
            match key {
                Scalar::Text(key) if key != LAST_APPLIED => {
                    let value: Scalar<'de> = map.next_value()?;
                    if value.is_present() {
                        pairs.reserve(if pairs.is_empty() { PAIRS_USUAL } else { 1 });
                        pairs.push((key, value));
                    }
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Self(Some(pairs)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Map<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer)
    }
}

fn drain_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drain_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}
