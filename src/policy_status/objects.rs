//! The policies as the cluster stores them: what a write of their status goes by.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value as Json;
use tokio::sync::Notify;

use crate::{listing::Listing, policy::PolicyName};

/// One policy object, apart from what it says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Its status; null while there is none.
    pub status: Json,
}

/// Every policy object. The watches write here, and the writer of statuses reads.
#[derive(Debug, Default)]
pub struct PolicyObjects {
    state: Mutex<State>,
    changed: Notify,
    are_read: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<PolicyName, Arc<Stored>>,
    /// Of namespaced and of cluster policies.
    listing: [Listing<PolicyName>; 2],
}

impl PolicyObjects {
    /// Adds or replaces an object.
    pub fn put(&self, name: PolicyName, stored: Stored) {
        let mut state = self.lock();
        state.listing[usize::from(name.namespace.is_empty())].see(name.clone());
        state.objects.insert(name, Arc::new(stored));
        self.changed.notify_one();
    }

    /// Takes one out.
    pub fn remove(&self, name: &PolicyName) {
        let mut state = self.lock();
        state.listing[usize::from(name.namespace.is_empty())].forget(name);
        state.objects.remove(name);
        self.changed.notify_one();
    }

    /// A full list begins, of cluster policies or of the others.
    pub fn start_list(&self, is_cluster: bool) {
        self.lock().listing[usize::from(is_cluster)].start();
    }

    /// It is complete: what it did not name is gone, and returned.
    pub fn finish_list(&self, is_cluster: bool) -> Vec<PolicyName> {
        let mut state = self.lock();
        let State { objects, listing } = &mut *state;
        let gone =
            listing[usize::from(is_cluster)].finish(objects.keys().filter(|it| it.namespace.is_empty() == is_cluster));
        for name in &gone {
            objects.remove(name);
        }
        self.changed.notify_one();
        gone
    }

    /// Both lists have been read to their ends once, or cannot be read, and what they have is in force.
    pub fn set_read(&self) {
        self.are_read.store(true, Ordering::Release);
    }

    /// False while policies of the first lists are still to come.
    #[must_use]
    pub fn are_read(&self) -> bool {
        self.are_read.load(Ordering::Acquire)
    }

    /// All of them at this moment.
    #[must_use]
    pub fn all(&self) -> BTreeMap<PolicyName, Arc<Stored>> {
        self.lock().objects.clone()
    }

    /// Waits until something has changed since the last call returned.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
