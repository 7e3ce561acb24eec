//! The watches of the two kinds of policies, and what arrives there into one [`PolicyStore`].
//!
//! A cluster can do without the custom resource definitions, and an account can lack the rights of a newer version: then what is
//! built in is in force, and nobody is kept waiting. Whatever else goes wrong, the policies that were read last stay in force.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use jiff::Timestamp;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, watcher},
    },
};
use smol_str::SmolStr;
use tokio::time;

use super::{PAGE_OBJECTS, RetryPause, chain, policy_object::RawPolicy};
use crate::{
    crd::PolicyKind,
    facts::Facts,
    listing::Listing,
    metrics::Metrics,
    policy::{Policies, PolicyName, PolicyStore},
    policy_status::PolicyObjects,
    server::Condition,
};

/// How often it is looked whether the definitions have been installed.
const ABSENT_PAUSE: Duration = Duration::from_secs(2);

/// First and longest pause before it is looked again whether the right has been given: an API server that has just started forbids
/// for a moment what it allows, and an installation without the right is left alone.
const FORBIDDEN_PAUSE_MIN: Duration = Duration::from_secs(2);
const FORBIDDEN_PAUSE_MAX: Duration = Duration::from_mins(1);

/// What arrives of one kind of policies.
#[derive(Debug)]
pub(super) enum PolicyInput {
    ListBegins,
    Object(Box<RawPolicy>),
    Gone(PolicyName),
    ListEnds,
    /// The API server does not know the kind.
    Absent,
    /// It does not let us read.
    Forbidden,
}

/// Watches one kind for ever. Failures are logged here; the others are inputs.
pub(super) fn watch(client: Client, kind: PolicyKind, metrics: Arc<Metrics>) -> impl Stream<Item = PolicyInput> {
    stream::unfold(Watch::new(client, kind, metrics), |mut watch| async move { Some((watch.next().await, watch)) })
}

struct Watch {
    client: Client,
    kind: PolicyKind,
    metrics: Arc<Metrics>,
    events: Option<BoxStream<'static, watcher::Result<watcher::Event<RawPolicy>>>>,
    /// Before the next watch is begun.
    pause: Duration,
    /// Before the next watch after one that was forbidden.
    forbidden_pause: Duration,
    /// The kind was there when it was last heard of: a single "not found" may be an API server that is not quite up.
    was_read: bool,
}

impl Watch {
    fn new(client: Client, kind: PolicyKind, metrics: Arc<Metrics>) -> Self {
        let (pause, forbidden_pause) = (Duration::ZERO, FORBIDDEN_PAUSE_MIN);
        Self { client, kind, metrics, events: None, pause, forbidden_pause, was_read: false }
    }

    async fn next(&mut self) -> PolicyInput {
        loop {
            if self.events.is_none() {
                time::sleep(self.pause).await;
                self.events = Some(self.begin());
            }
            let event = match &mut self.events {
                Some(events) => events.next().await,
                None => None,
            };
            let input = match event {
                Some(Ok(event)) => Some(self.heard(event)),
                Some(Err(error)) => self.failed(&error),
                None => {
                    self.events = None;
                    None
                }
            };
            if let Some(input) = input {
                return input;
            }
        }
    }

    fn begin(&self) -> BoxStream<'static, watcher::Result<watcher::Event<RawPolicy>>> {
        let api: Api<RawPolicy> = Api::all_with(self.client.clone(), &self.kind);
        let config = watcher::Config::default().page_size(PAGE_OBJECTS);
        watcher(api, config).backoff(RetryPause::default()).boxed()
    }

    fn heard(&mut self, event: watcher::Event<RawPolicy>) -> PolicyInput {
        if !matches!(event, watcher::Event::Init) {
            self.metrics.cache_heard(self.kind.plural(), Timestamp::now());
        }
        match event {
            // It proves nothing: each attempt to list begins with it.
            watcher::Event::Init => PolicyInput::ListBegins,
            watcher::Event::InitDone => {
                (self.was_read, self.forbidden_pause) = (true, FORBIDDEN_PAUSE_MIN);
                PolicyInput::ListEnds
            }
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => PolicyInput::Object(Box::new(object)),
            watcher::Event::Delete(object) => PolicyInput::Gone(object.name()),
        }
    }

    fn failed(&mut self, error: &watcher::Error) -> Option<PolicyInput> {
        let (missing, pause) = match code(error) {
            Some(404) => (PolicyInput::Absent, ABSENT_PAUSE),
            Some(403) => (PolicyInput::Forbidden, self.forbidden_pause),
            _ => {
                self.metrics.watch_restarted(self.kind.plural());
                let resource = self.kind.plural();
                tracing::warn!(resource, error = %chain(error), "watch failed; trying again");
                return None;
            }
        };
        // A list from the start, however long it takes until there is one.
        self.events = None;
        self.pause = pause;
        self.forbidden_pause = match missing {
            PolicyInput::Forbidden => (pause * 2).min(FORBIDDEN_PAUSE_MAX),
            _ => FORBIDDEN_PAUSE_MIN,
        };
        let was_read = std::mem::take(&mut self.was_read);
        (!was_read).then_some(missing)
    }
}

/// The HTTP status that the API server answered with.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// What is known of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    NotYet,
    Read,
    Absent,
    Forbidden,
}

/// The one place where policies and the labels of namespaces arrive, and from which [`Policies`] are published.
#[derive(Debug)]
pub(super) struct Arrivals {
    store: PolicyStore,
    known: [Known; 2],
    namespaces: Listing<SmolStr>,
    /// Policies that changed since they were last published.
    changed: BTreeSet<PolicyName>,
    is_due: bool,
    published: Arc<ArcSwap<Policies>>,
    objects: Arc<PolicyObjects>,
    are_read: Condition,
    metrics: Arc<Metrics>,
}

impl Arrivals {
    pub(super) fn new(
        store: PolicyStore,
        published: Arc<ArcSwap<Policies>>,
        objects: Arc<PolicyObjects>,
        are_read: Condition,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            known: [Known::NotYet; 2],
            namespaces: Listing::default(),
            changed: BTreeSet::new(),
            is_due: false,
            published,
            objects,
            are_read,
            metrics,
        }
    }

    /// True if there is something to publish.
    pub(super) fn take(&mut self, kind: PolicyKind, input: PolicyInput) -> bool {
        match input {
            PolicyInput::ListBegins => {
                self.store.start_list(kind.is_cluster());
                self.objects.start_list(kind.is_cluster());
                return false;
            }
            PolicyInput::Object(policy) => return self.apply(*policy),
            PolicyInput::Gone(name) => {
                self.store.remove(&name);
                self.objects.remove(&name);
                self.changed.insert(name);
            }
            PolicyInput::ListEnds => {
                self.finish_list(kind);
                self.know(kind, Known::Read);
            }
            PolicyInput::Absent => {
                if !self.know(kind, Known::Absent) {
                    return false;
                }
                // Nobody can have one.
                self.store.start_list(kind.is_cluster());
                self.objects.start_list(kind.is_cluster());
                self.finish_list(kind);
            }
            PolicyInput::Forbidden => {
                if !self.know(kind, Known::Forbidden) {
                    return false;
                }
            }
        }
        self.is_due = true;
        true
    }

    /// A status that somebody wrote changes the object and not the policy.
    fn apply(&mut self, policy: RawPolicy) -> bool {
        let name = policy.name();
        self.objects.put(name.clone(), policy.stored);
        if !self.store.apply(&policy.object) {
            return false;
        }
        self.changed.insert(name);
        self.is_due = true;
        true
    }

    fn finish_list(&mut self, kind: PolicyKind) {
        self.store.finish_list(kind.is_cluster());
        self.changed.extend(self.objects.finish_list(kind.is_cluster()));
    }

    /// Notes what is known of a kind, and says it once; true if that is new.
    fn know(&mut self, kind: PolicyKind, now: Known) -> bool {
        let known = &mut self.known[usize::from(kind.is_cluster())];
        if *known == now {
            return false;
        }
        let before = std::mem::replace(known, now);
        let resource = kind.plural();
        match now {
            Known::Absent => tracing::info!(
                resource,
                "not installed: what is built in is in force; it is used as soon as it is there (no502 crd | kubectl apply -f -)"
            ),
            Known::Forbidden if before == Known::Read => tracing::warn!(
                resource,
                "no502 may not read policies any more: those that were read last stay in force; apply the output of no502 manifests"
            ),
            Known::Forbidden => tracing::warn!(
                resource,
                "no502 may not read policies: what is built in is in force; apply the output of no502 manifests of this version"
            ),
            Known::Read if matches!(before, Known::Absent | Known::Forbidden) => {
                tracing::info!(resource, "there now: policies are in force");
            }
            Known::Read | Known::NotYet => tracing::debug!(resource, "read completely"),
        }
        self.metrics.cache_synced(resource, now == Known::Read);
        true
    }

    pub(super) fn namespace_list_begins(&mut self) {
        self.namespaces.start();
    }

    pub(super) fn namespace(&mut self, facts: &Facts) {
        let Facts::Namespace(namespace) = facts else { return };
        let name = &namespace.meta.name;
        self.namespaces.see(name.clone());
        self.store.set_namespace(name, Some(&namespace.labels));
        self.is_due = true;
    }

    pub(super) fn namespace_is_gone(&mut self, name: &SmolStr) {
        self.namespaces.forget(name);
        self.store.set_namespace(name, None);
        self.is_due = true;
    }

    pub(super) fn namespace_list_ends(&mut self) {
        for name in self.namespaces.finish(self.store.namespaces()) {
            self.namespace_is_gone(&name);
        }
    }

    /// Puts what arrived in force.
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.is_due) {
            return;
        }
        let policies = self.store.policies();
        let changed = std::mem::take(&mut self.changed);
        if !changed.is_empty() {
            for name in &changed {
                say(&policies, name);
            }
            tracing::info!(changed = changed.len(), "policies in force");
            self.metrics.policies().reloaded(&policies);
        }
        self.published.store(Arc::new(policies));
        if !self.known.contains(&Known::NotYet) {
            self.are_read.met();
            self.objects.set_read();
        }
    }
}

/// A policy that cannot be read is worth a line in the log: its author may not look at its status.
fn say(policies: &Policies, name: &PolicyName) {
    let Some(entry) = policies.entry(name) else { return };
    let Some(first) = entry.problems.first() else { return };
    let in_force =
        if entry.is_last_good() { "its last good version is in force" } else { "the rest of it is in force" };
    let more = entry.problems.len() - 1;
    tracing::warn!(namespace = %name.namespace, problem = %first, more, "{name} cannot be read: {in_force}");
}

#[cfg(test)]
mod tests;
