//! Labels and equality selectors: sorted pairs of short strings.

use std::fmt;

use smol_str::SmolStr;

use super::wire;

/// A set of labels, or the selector of a Service: unique keys, sorted, so that equal sets are equal values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Box<[(SmolStr, SmolStr)]>);

impl Labels {
    pub(super) fn read(map: &wire::Map<'_>) -> Self {
        map.texts().map(|(key, value)| (label_key(key), value)).collect()
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|(name, _)| name.as_str().cmp(key)).ok().map(|at| self.0[at].1.as_str())
    }

    /// The pairs, by key.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(SmolStr, SmolStr)> {
        self.0.iter()
    }

    /// True without any pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if every pair of `selector` is among these labels.
    #[must_use]
    pub fn satisfy(&self, selector: &Self) -> bool {
        selector.iter().all(|(key, value)| self.get(key) == Some(value.as_str()))
    }
}

impl<K: Into<SmolStr>, V: Into<SmolStr>> FromIterator<(K, V)> for Labels {
    /// Of two pairs with one key the later wins.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(key, value)| (key.into(), value.into()));
        let mut sorted: Vec<(SmolStr, SmolStr)> = Vec::with_capacity(pairs.size_hint().1.unwrap_or_default());
        sorted.extend(pairs);
        sorted.reverse();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|a, b| a.0 == b.0);
        Self(sorted.into_boxed_slice())
    }
}

/// `app=web,tier=front`, as kubectl writes selectors.
impl fmt::Display for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

/// Keys that half of all objects have and that are too long to be stored in place: kept once, in the program.
const COMMON_LONG_KEYS: &[&str] = &[
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "rollouts-pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

fn label_key(key: &str) -> SmolStr {
    let common = COMMON_LONG_KEYS.iter().find(|it| **it == key);
    common.map_or_else(|| SmolStr::new(key), |it| SmolStr::new_static(it))
}

/// Label keys that a controller sets on pods when they are made: no template has them, so a selector that uses one can only
/// be compared with live pods (reference: rules K12).
const RUNTIME_KEYS: &[&str] = &[
    "apps.kubernetes.io/pod-index",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "pod-template-generation",
    "pod-template-hash",
    "rollouts-pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

/// True for a label key that only live pods have.
#[must_use]
pub fn is_runtime_key(key: &str) -> bool {
    RUNTIME_KEYS.contains(&key) || key.starts_with("batch.kubernetes.io/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_equal_keys_wins() {
        let labels: Labels = [("b", "1"), ("a", "1"), ("b", "2")].into_iter().collect();
        assert_eq!(labels.to_string(), "a=1,b=2");
    }

    #[test]
    fn labels_satisfy_a_selector_only_with_every_pair() {
        let labels: Labels = [("app", "web"), ("tier", "front")].into_iter().collect();
        assert!(labels.satisfy(&[("app", "web")].into_iter().collect()));
        assert!(!labels.satisfy(&[("app", "web"), ("tier", "back")].into_iter().collect()));
        assert!(!labels.satisfy(&[("missing", "web")].into_iter().collect()));
    }
}
