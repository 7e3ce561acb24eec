//! The cluster's side of the snapshot: one watch a kind, slim facts into one [`Store`], a new [`Snapshot`] behind the pointer as
//! soon as something changed. Watches reconnect for ever; while they cannot, the last snapshot stays in force.

mod object;

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

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
        utils::{Backoff, ResetTimerBackoff},
        watcher::{self, watcher},
    },
};
use tokio::time::{self, Instant};

use self::object::{Slim, SlimKind};
use crate::{
    facts::{Facts, minor_version},
    metrics::Metrics,
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

/// A watch that has lived this long starts again with the shortest pause.
const RETRY_RESET: Duration = Duration::from_secs(30);

/// How often the API server is asked for its version: it changes with an upgrade.
const VERSION_POLL: Duration = Duration::from_mins(5);

/// Pods that have ended are no endpoints; the API server keeps them to itself.
const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// What arrives.
#[derive(Debug)]
enum Input {
    ListBegins(Resource),
    Object(Facts),
    Gone(Resource, Facts),
    ListEnds(Resource),
    ServerMinor(Option<u32>),
}

type Inputs = Pin<Box<dyn Stream<Item = Input> + Send>>;

/// The watches of one process.
pub struct Watches {
    client: Client,
    snapshot: Arc<ArcSwap<Snapshot>>,
    metrics: Arc<Metrics>,
    synced: Vec<(Resource, Condition)>,
    version_known: Condition,
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watches").finish_non_exhaustive()
    }
}

impl Watches {
    /// Registers one readiness condition a kind; nothing is asked of the cluster yet.
    #[must_use]
    pub fn new(client: Client, snapshot: Arc<ArcSwap<Snapshot>>, metrics: Arc<Metrics>, readiness: &Readiness) -> Self {
        let synced = Resource::ALL.map(|it| (it, readiness.require(format!("cache synced: {}", it.name())))).into();
        let version_known = readiness.require("server version known");
        Self { client, snapshot, metrics, synced, version_known }
    }

    /// Watches for ever.
    pub async fn run(self) -> Infallible {
        let mut inputs = stream::select_all(self.inputs());
        let mut store = Store::default();
        let mut due: Option<Instant> = None;
        let mut published = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = time::sleep_until(due.unwrap_or(published)), if due.is_some() => {
                    self.snapshot.store(Arc::new(store.snapshot()));
                    published = Instant::now();
                    due = None;
                    self.report();
                }
                Some(input) = inputs.next() => {
                    take(&mut store, input);
                    due = due.or(Some(published + PUBLISH_PAUSE));
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
            server_versions(self.client.clone()),
        ]
    }

    fn watch<K: SlimKind>(&self, resource: Resource, fields: &str) -> Inputs {
        let api: Api<Slim<K>> = Api::all(self.client.clone());
        let config = watcher::Config::default().page_size(PAGE_OBJECTS);
        let config = if fields.is_empty() { config } else { config.fields(fields) };
        let events = watcher(api, config).backoff(ResetTimerBackoff::new(RetryPause::default(), RETRY_RESET));
        let metrics = Arc::clone(&self.metrics);
        let inputs = events.filter_map(move |event| {
            metrics.cache_heard(resource.name(), Timestamp::now());
            let input = match event {
                Ok(watcher::Event::Init) => Some(Input::ListBegins(resource)),
                Ok(watcher::Event::InitDone) => Some(Input::ListEnds(resource)),
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    Some(Input::Object(object.facts()))
                }
                Ok(watcher::Event::Delete(object)) => Some(Input::Gone(resource, object.facts())),
                Err(error) => {
                    metrics.watch_restarted(resource.name());
                    tracing::warn!(resource = resource.name(), error = %chain(&error), "watch failed; trying again");
                    None
                }
            };
            std::future::ready(input)
        });
        Box::pin(inputs)
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

/// Pauses between tries: doubling, bounded, for ever.
#[derive(Debug)]
struct RetryPause(Duration);

impl Default for RetryPause {
    fn default() -> Self {
        Self(RETRY_PAUSE_MIN)
    }
}

impl Iterator for RetryPause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(RETRY_PAUSE_MAX);
        Some(pause)
    }
}

impl Backoff for RetryPause {
    fn reset(&mut self) {
        *self = Self::default();
    }
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
