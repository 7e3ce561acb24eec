//! The cluster's side of the snapshot: one watch a kind, slim facts into one [`Store`], a new [`Snapshot`] behind the pointer as
//! soon as something changed; and the policies beside it. Watches reconnect for ever; while they cannot, the last snapshot and the
//! last policies stay in force.

mod object;
mod policies;
mod policy_object;

use std::{collections::BTreeMap, convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    core::v1::{Namespace, Node, Pod, Service},
    networking::v1::Ingress,
};
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, watcher},
    },
};
use tokio::{
    sync::Notify,
    time::{self, Instant},
};

use self::{
    object::{Slim, SlimKind},
    policies::{Arrivals, PolicyInput},
};
use crate::{
    crd::PolicyKind,
    facts::{Facts, minor_version},
    metrics::Metrics,
    policy::{Installation, Policies, PolicyStore},
    policy_status::PolicyObjects,
    server::{Condition, Readiness},
    snapshot::{Resource, Snapshot, Store},
};

/// Objects of one page of a list. Small pages keep the peak of a first list small (reference: performance 5.2).
const PAGE_OBJECTS: u32 = 100;

/// Shortest time between two snapshots, so that a burst of events is indexed once.
const PUBLISH_PAUSE: Duration = Duration::from_millis(20);

/// First and longest pause before a watch that failed is tried again.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(250);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A watch that has not failed for this long starts again with the shortest pause.
const RETRY_RESET: Duration = Duration::from_secs(30);

/// A watch that has done nothing but fail for this long knows too little to refuse a write by. Its kind counts as unread until it
/// has been quiet for [`STALE_QUIET`]: a watch that stands says nothing.
const STALE_AFTER: Duration = Duration::from_mins(1);
const STALE_QUIET: Duration = Duration::from_secs(15);

/// How often failing watches are looked at.
const STALE_CHECK: Duration = Duration::from_secs(5);

/// How often the API server is asked for its version: it changes with an upgrade.
const VERSION_POLL: Duration = Duration::from_mins(5);

/// How long it is believed that the API server drops injected sleeps.
const SLEEP_DROPPED_FOR: Duration = Duration::from_hours(1);

/// Pods that have ended are no endpoints; the API server keeps them to itself.
const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// What arrives.
#[derive(Debug)]
enum Input {
    ListBegins(Resource),
    Object(Facts),
    Gone(Resource, Facts),
    ListEnds(Resource),
    Failed(Resource),
    ServerMinor(Option<u32>),
    SleepDropped(bool),
    Policies(PolicyKind, PolicyInput),
}

type Inputs = Pin<Box<dyn Stream<Item = Input> + Send>>;

/// Where the watches put what they know.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// What rules read.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What is in force. Swapped in the same turn as the snapshot.
    pub policies: Arc<ArcSwap<Policies>>,
    /// The policies as they are stored, for their status.
    pub objects: Arc<PolicyObjects>,
}

/// The watches of one process.
pub struct Watches {
    client: Client,
    snapshot: Arc<ArcSwap<Snapshot>>,
    arrivals: Arrivals,
    metrics: Arc<Metrics>,
    synced: Vec<(Resource, Condition)>,
    version_known: Condition,
    sleep_dropped: Arc<Notify>,
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watches").finish_non_exhaustive()
    }
}

impl Watches {
    /// Registers one readiness condition a kind, and one for the policies; nothing is asked of the cluster yet. `sleep_dropped` is
    /// told when a review finds that the API server dropped an injected sleep.
    #[must_use]
    pub fn new(
        client: Client,
        published: Published,
        installation: Installation,
        metrics: Arc<Metrics>,
        readiness: &Readiness,
        sleep_dropped: Arc<Notify>,
    ) -> Self {
        let synced = Resource::ALL.map(|it| (it, readiness.require(format!("cache synced: {}", it.name())))).into();
        let version_known = readiness.require("server version known");
        let Published { snapshot, policies, objects } = published;
        let store = PolicyStore::new(installation);
        let are_read = readiness.require("policies read");
        let arrivals = Arrivals::new(store, policies, objects, are_read, Arc::clone(&metrics));
        Self { client, snapshot, arrivals, metrics, synced, version_known, sleep_dropped }
    }

    /// Watches for ever.
    pub async fn run(mut self) -> Infallible {
        let mut inputs = stream::select_all(self.inputs());
        let mut store = Store::default();
        let mut outages = Outages::default();
        let mut stale_check = time::interval(STALE_CHECK);
        let mut due: Option<Instant> = None;
        let mut published = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = time::sleep_until(due.unwrap_or(published)), if due.is_some() => {
                    self.arrivals.publish();
                    self.snapshot.store(Arc::new(store.snapshot()));
                    published = Instant::now();
                    due = None;
                    self.report();
                }
                _ = stale_check.tick() => {
                    for (resource, is_fresh) in outages.check(Instant::now()) {
                        store.set_fresh(resource, is_fresh);
                        self.metrics.cache_synced(resource.name(), is_fresh);
                        due = due.or(Some(published));
                    }
                }
                Some(input) = inputs.next() => {
                    if self.take(&mut store, &mut outages, input) {
                        due = due.or(Some(published + PUBLISH_PAUSE));
                    }
                }
            }
        }
    }

    fn inputs(&self) -> Vec<Inputs> {
        vec![
            self.watch::<Service>(Resource::Services, ""),
            self.watch::<Deployment>(Resource::Deployments, ""),
            self.watch::<StatefulSet>(Resource::StatefulSets, ""),
            self.watch::<DaemonSet>(Resource::DaemonSets, ""),
            self.watch::<ReplicaSet>(Resource::ReplicaSets, ""),
            self.watch::<Pod>(Resource::Pods, LIVE_PODS),
            self.watch::<Ingress>(Resource::Ingresses, ""),
            self.watch::<Namespace>(Resource::Namespaces, ""),
            self.watch::<Node>(Resource::Nodes, ""),
            self.watch_policies(PolicyKind::Cluster),
            self.watch_policies(PolicyKind::Namespaced),
            server_versions(self.client.clone()),
            dropped_sleeps(Arc::clone(&self.sleep_dropped)),
        ]
    }

    fn watch<K: SlimKind>(&self, resource: Resource, fields: &str) -> Inputs {
        let api: Api<Slim<K>> = Api::all(self.client.clone());
        let config = watcher::Config::default().page_size(PAGE_OBJECTS);
        let config = if fields.is_empty() { config } else { config.fields(fields) };
        let events = watcher(api, config).backoff(RetryPause::default());
        let metrics = Arc::clone(&self.metrics);
        let inputs = events.map(move |event| {
            if event.is_ok() {
                metrics.cache_heard(resource.name(), Timestamp::now());
            }
            match event {
                Ok(watcher::Event::Init) => Input::ListBegins(resource),
                Ok(watcher::Event::InitDone) => Input::ListEnds(resource),
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => Input::Object(object.facts()),
                Ok(watcher::Event::Delete(object)) => Input::Gone(resource, object.facts()),
                Err(error) => {
                    metrics.watch_restarted(resource.name());
                    tracing::warn!(resource = resource.name(), error = %chain(&error), "watch failed; trying again");
                    Input::Failed(resource)
                }
            }
        });
        Box::pin(inputs)
    }

    fn watch_policies(&self, kind: PolicyKind) -> Inputs {
        let inputs = policies::watch(self.client.clone(), kind, Arc::clone(&self.metrics));
        Box::pin(inputs.map(move |input| Input::Policies(kind, input)))
    }

    /// True if there is something to publish.
    fn take(&mut self, store: &mut Store, outages: &mut Outages, input: Input) -> bool {
        match &input {
            Input::Failed(resource) => {
                outages.failed(*resource, Instant::now());
                return false;
            }
            Input::ListBegins(Resource::Namespaces) => self.arrivals.namespace_list_begins(),
            Input::Object(facts) => self.arrivals.namespace(facts),
            Input::Gone(Resource::Namespaces, facts) => self.arrivals.namespace_is_gone(&facts.meta().name),
            Input::ListEnds(Resource::Namespaces) => self.arrivals.namespace_list_ends(),
            _ => {}
        }
        match input {
            Input::Policies(kind, input) => self.arrivals.take(kind, input),
            other => {
                take(store, other);
                true
            }
        }
    }

    /// What the published snapshot has, for readiness: a kind counts once reviews can see it.
    fn report(&self) {
        let snapshot = self.snapshot.load();
        for (resource, condition) in &self.synced {
            if snapshot.synced().has(*resource) {
                condition.met();
                self.metrics.cache_synced(resource.name(), true);
            }
        }
        if snapshot.versions().server_minor.is_some() {
            self.version_known.met();
        }
    }
}

fn take(store: &mut Store, input: Input) {
    match input {
        Input::ListBegins(resource) => store.start_list(resource),
        Input::Object(facts) => store.apply(facts),
        Input::Gone(resource, facts) => store.remove(resource, &facts.meta().namespace, &facts.meta().name),
        Input::ListEnds(resource) => {
            store.finish_list(resource);
            tracing::debug!(resource = resource.name(), "read completely");
        }
        Input::ServerMinor(minor) => store.set_server_minor(minor),
        Input::SleepDropped(is_dropped) => {
            if is_dropped {
                tracing::warn!(
                    "the API server drops preStop.sleep: its feature gate PodLifecycleSleepAction is off; no sleep is injected for an hour"
                );
            }
            store.set_sleep_is_dropped(is_dropped);
        }
        Input::Failed(_) | Input::Policies(..) => {}
    }
}

/// The API server's minor version: now, and again from time to time.
fn server_versions(client: Client) -> Inputs {
    let versions = stream::unfold((client, Duration::ZERO), |(client, pause)| async move {
        time::sleep(pause).await;
        match client.apiserver_version().await {
            Ok(info) => {
                let minor = minor_version(&format!("{}.{}", info.major, info.minor));
                Some((Some(Input::ServerMinor(minor)), (client, VERSION_POLL)))
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the API server does not tell its version; trying again");
                Some((None, (client, RETRY_PAUSE_MAX)))
            }
        }
    });
    Box::pin(versions.filter_map(std::future::ready))
}

/// What reviews find out about the API server, which no watch tells. Believed for an hour: the server may be started anew, and
/// whoever can write a Deployment could have us believe it.
fn dropped_sleeps(told: Arc<Notify>) -> Inputs {
    Box::pin(stream::unfold((told, false), |(told, is_dropped)| async move {
        if is_dropped {
            time::sleep(SLEEP_DROPPED_FOR).await;
        } else {
            told.notified().await;
        }
        Some((Input::SleepDropped(!is_dropped), (told, !is_dropped)))
    }))
}

/// Since when each watch has failed, and when it failed last.
#[derive(Debug, Default)]
struct Outages(BTreeMap<Resource, Outage>);

#[derive(Debug)]
struct Outage {
    since: Instant,
    last: Instant,
    is_reported: bool,
}

impl Outages {
    fn failed(&mut self, resource: Resource, now: Instant) {
        self.0.entry(resource).or_insert(Outage { since: now, last: now, is_reported: false }).last = now;
    }

    /// The kinds that have just become stale (false) or fresh again (true).
    fn check(&mut self, now: Instant) -> Vec<(Resource, bool)> {
        let mut changes = Vec::new();
        self.0.retain(|resource, outage| {
            if now - outage.last > STALE_QUIET {
                changes.extend(outage.is_reported.then_some((*resource, true)));
                return false;
            }
            if now - outage.since > STALE_AFTER && !outage.is_reported {
                outage.is_reported = true;
                tracing::warn!(
                    resource = resource.name(),
                    "the watch does not recover; nothing is refused by what it knew"
                );
                changes.push((*resource, false));
            }
            true
        });
        changes
    }
}

/// Pauses between tries: doubling, bounded, for ever; the shortest again after a time without failures.
#[derive(Debug, Default)]
struct RetryPause {
    next: Duration,
    last_failure: Option<Instant>,
}

impl RetryPause {
    fn after_failure_at(&mut self, now: Instant) -> Duration {
        let is_first = self.last_failure.is_none_or(|last| now - last > RETRY_RESET);
        let pause = if is_first { RETRY_PAUSE_MIN } else { self.next };
        self.next = (pause * 2).min(RETRY_PAUSE_MAX);
        self.last_failure = Some(now);
        pause
    }
}

impl Iterator for RetryPause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.after_failure_at(Instant::now()))
    }
}

impl Backoff for RetryPause {
    /// Called for every event, also for the one that each attempt to list begins with: it proves nothing.
    fn reset(&mut self) {}
}

/// An error with what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_a_watch_fails_whatever_it_said_in_between() {
        let start = Instant::now();
        let mut pause = RetryPause::default();
        let mut pauses = |seconds: u64| {
            pause.reset();
            u64::try_from(pause.after_failure_at(start + Duration::from_secs(seconds)).as_millis()).unwrap_or_default()
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 10, 40].map(&mut pauses), [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        assert_eq!([71, 72].map(&mut pauses), [250, 500], "it had been well for more than 30 s");
    }

    #[test]
    fn a_watch_that_keeps_failing_goes_stale_and_a_quiet_one_is_fresh_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut outages = Outages::default();
        for second in (0..=60).step_by(5) {
            outages.failed(Resource::Pods, at(second));
            assert_eq!(outages.check(at(second)), []);
        }
        outages.failed(Resource::Pods, at(65));
        assert_eq!(outages.check(at(65)), [(Resource::Pods, false)]);
        assert_eq!(outages.check(at(70)), [], "said once");
        assert_eq!(outages.check(at(85)), [(Resource::Pods, true)]);
        outages.failed(Resource::Pods, at(90));
        assert_eq!(outages.check(at(120)), [], "one failure is no outage");
    }
}
