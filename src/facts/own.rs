//! What an object says to no502: its annotations `no502.dev/...`.

use smol_str::SmolStr;

use super::wire;

/// Every annotation that no502 reads or writes begins so.
pub const OWN_PREFIX: &str = "no502.dev/";

/// The annotation on a pod template that says what of it was injected.
pub const MARKER: &str = "no502.dev/injected";

/// The annotations of one object that begin with [`OWN_PREFIX`], without it. Nearly always none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnAnnotations(Box<[(SmolStr, SmolStr)]>);

impl OwnAnnotations {
    pub(super) fn read(annotations: &wire::Map<'_>) -> Self {
        let own = annotations.texts().filter_map(|(key, value)| {
            let key = key.strip_prefix(OWN_PREFIX)?;
            Some((SmolStr::new(key), SmolStr::new(value)))
        });
        Self(own.collect())
    }

    /// The value of `no502.dev/{key}`, as written. The last one wins, as in every JSON reader of Kubernetes.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&SmolStr> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The same without `no502.dev/{key}`.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        Self(self.0.iter().filter(|(name, _)| name != key).cloned().collect())
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys without the prefix, in the order of the object.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }
}
