//! What must be true before the process may receive traffic: named conditions, each set by the part that knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The list of conditions behind `/readyz`. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    draining: bool,
    /// Name -> why it is missing; `None` when it is met.
    conditions: BTreeMap<String, Option<String>>,
}

/// One named condition; clones speak about the same one.
#[derive(Debug, Clone)]
pub struct Condition {
    readiness: Readiness,
    name: Arc<str>,
}

impl Readiness {
    /// No condition yet, so ready: register all conditions before the admin port answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, missing until its owner says that it is met. The name is shown to people: `listener bound`,
    /// `certificate valid`, `cache synced: Service`.
    #[must_use]
    pub fn require(&self, name: impl Into<String>) -> Condition {
        let name = name.into();
        self.lock().conditions.insert(name.clone(), Some("not yet".to_owned()));
        Condition { readiness: self.clone(), name: name.into() }
    }

    /// Not ready from now on, for ever: the process is about to stop.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// One line for each thing that is missing, sorted by name; empty when ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let inner = self.lock();
        let draining = inner.draining.then(|| "shutting down".to_owned());
        let conditions =
            inner.conditions.iter().filter_map(|(name, why)| why.as_ref().map(|why| format!("{name}: {why}")));
        draining.into_iter().chain(conditions).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// The condition holds.
    pub fn met(&self) {
        self.set(None);
    }

    /// The condition does not hold (any more); `why` is one short line.
    pub fn missing(&self, why: impl Into<String>) {
        self.set(Some(why.into()));
    }

    fn set(&self, why: Option<String>) {
        self.readiness.lock().conditions.insert(self.name.to_string(), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_condition_is_met() {
        let readiness = Readiness::new();
        let (listener, certificate) = (readiness.require("listener bound"), readiness.require("certificate valid"));
        assert_eq!(readiness.missing(), ["certificate valid: not yet", "listener bound: not yet"]);
        listener.met();
        certificate.missing("expired");
        assert_eq!(readiness.missing(), ["certificate valid: expired"]);
        certificate.met();
        assert!(readiness.missing().is_empty());
        readiness.drain();
        assert_eq!(readiness.missing(), ["shutting down"]);
    }
}
