//! One loop: look at everything after a change and each minute, write what differs.
//!
//! Two or three replicas do the same at the same time. They agree, since all go by the same objects, so that the second one finds
//! nothing to write; a write names the version that it is about, so that of two at once one is refused, and only the other tells of
//! the transition. Should two replicas disagree after all (two versions of no502, a broken watch), neither repeats itself at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value as Json, json};
use tokio::{
    task,
    time::{self, Instant, MissedTickBehavior},
};

use super::{FIELD_MANAGER, Stored, UsedExemptions, document, events};
use crate::{
    metrics::Metrics,
    policy::{API_VERSION, PolicyName, PolicyStatus, audit},
    snapshot::Synced,
    watch::Published,
};

/// Time passes for exemptions, and workloads come and go.
const AUDIT_EVERY: Duration = Duration::from_mins(1);

/// From the first change of a policy to the look at it; up to a half more, so that replicas do not look in step.
const DEBOUNCE: Duration = Duration::from_secs(2);

/// A write that takes longer is given up, and tried again later.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// First and longest pause before the same is written again over what somebody else wrote.
const REPEAT_PAUSE_MIN: Duration = Duration::from_mins(1);
const REPEAT_PAUSE_MAX: Duration = Duration::from_hours(1);

/// Most Events of one pass. The status has the rest.
const EVENTS_PER_PASS_MAX: usize = 50;

/// Most failures that are remembered, so as to be logged once.
const SAID_MAX: usize = 64;

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Statuses written.
    pub written: usize,
    /// Writes that another replica was faster with.
    pub conflicts: usize,
    /// Writes that failed otherwise; the pass ends with the first one that says something about the others too.
    pub failed: usize,
    /// Events told.
    pub events: usize,
}

/// Writes statuses for ever.
pub struct StatusWriter {
    client: Client,
    published: Published,
    used: Arc<UsedExemptions>,
    metrics: Arc<Metrics>,
    /// What was written last.
    written: BTreeMap<PolicyName, Written>,
    /// Failures that have been logged.
    said: BTreeSet<String>,
}

#[derive(Debug)]
struct Written {
    content: Json,
    again_from: Instant,
    pause: Duration,
}

/// What a look at everything gave.
struct Look {
    /// Of every policy.
    names: BTreeSet<PolicyName>,
    /// Those whose status differs from what is stored.
    differing: Vec<Wanted>,
}

/// A status that is not what is stored.
struct Wanted {
    name: PolicyName,
    status: PolicyStatus,
    stored: Arc<Stored>,
    document: Json,
    content: Json,
}

/// Everything that takes time and waits for nothing.
fn look(published: &Published, used: &UsedExemptions, metrics: &Metrics, now: Timestamp) -> Look {
    let (policies, snapshot) = (published.policies.load_full(), published.snapshot.load_full());
    let objects = published.objects.all();
    used.absorb(&policies, &objects);
    let (used, days) = used.lately(&policies, now);
    let audited = audit(&policies, &snapshot, &used, now);
    metrics.policies().exemptions_are(audited.iter().map(|(_, status)| status.exemptions));
    let mut differing = Vec::new();
    for (name, status) in audited {
        // A version that has arrived since is looked at next time.
        let stored = objects.get(&name).filter(|it| it.generation == status.observed_generation);
        let Some(stored) = stored.cloned() else { continue };
        let document = document::document(&status, days.get(&name), &stored.status, now);
        let content = document::content(&document);
        if document::content(&stored.status) != content {
            differing.push(Wanted { name, status, stored, document, content });
        }
    }
    Look { names: objects.into_keys().collect(), differing }
}

/// Why a write failed.
struct Failure {
    problem: String,
    /// The others may work.
    is_of_this_one: bool,
}

impl std::fmt::Debug for StatusWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StatusWriter").finish_non_exhaustive()
    }
}

impl StatusWriter {
    /// Nothing is asked of the cluster yet.
    #[must_use]
    pub fn new(client: Client, published: Published, used: Arc<UsedExemptions>, metrics: Arc<Metrics>) -> Self {
        Self { client, published, used, metrics, written: BTreeMap::new(), said: BTreeSet::new() }
    }

    /// Looks after changes and each minute, for ever.
    pub async fn run(mut self) -> Infallible {
        let mut tick = time::interval(AUDIT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let objects = Arc::clone(&self.published.objects);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = objects.changed() => time::sleep(debounce()).await,
            }
            while self.published.snapshot.load().synced() != Synced::all() {
                // What is not known yet would be said to be unused.
                time::sleep(DEBOUNCE).await;
            }
            self.pass(Timestamp::now()).await;
        }
    }

    /// One look at every policy.
    pub async fn pass(&mut self, now: Timestamp) -> Pass {
        let mut pass = Pass::default();
        let (published, used, metrics) = (self.published.clone(), Arc::clone(&self.used), Arc::clone(&self.metrics));
        // The runtime has one thread, which is for reviews.
        let looked = task::spawn_blocking(move || look(&published, &used, &metrics, now)).await;
        let Ok(Look { names, differing }) = looked else {
            tracing::error!("the look at the policies failed; their status stays as it is");
            return pass;
        };
        self.written.retain(|name, _| names.contains(name));
        for wanted in differing {
            if !self.is_worth_writing(&wanted) {
                continue;
            }
            let name = &wanted.name;
            match self.write(&wanted).await {
                Ok(true) => {
                    pass.written += 1;
                    self.tell(&wanted, now, &mut pass).await;
                }
                Ok(false) => pass.conflicts += 1,
                Err(failure) => {
                    pass.failed += 1;
                    self.say(&format!("the status of a policy cannot be written: {name}: {}", failure.problem));
                    if !failure.is_of_this_one {
                        return pass;
                    }
                }
            }
        }
        if pass.failed == 0 {
            self.said.clear();
        }
        pass
    }

    fn is_worth_writing(&self, wanted: &Wanted) -> bool {
        let Wanted { name, status, stored, content, .. } = wanted;
        let generation = |field: &str| stored.status[field].as_i64().unwrap_or_default();
        let is_about_the_same = generation("observedGeneration") == status.observed_generation;
        // Another replica started after the last good version was gone, and has less of it in force: that is worth knowing.
        let later = status.in_force_generation + 1..=status.observed_generation;
        if is_about_the_same && later.contains(&generation("inForceGeneration")) {
            return false;
        }
        let repetition = self.written.get(name).filter(|it| it.content == *content);
        repetition.is_none_or(|it| it.again_from <= Instant::now())
    }

    /// False if somebody else wrote first, or deleted the policy.
    async fn write(&mut self, wanted: &Wanted) -> Result<bool, Failure> {
        let Wanted { name, stored, document, content, .. } = wanted;
        let resource = resource(name);
        let api: Api<DynamicObject> = if name.namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &name.namespace, &resource)
        };
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": name.name, "resourceVersion": stored.resource_version },
            "status": document,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patched = time::timeout(WRITE_MAX, api.patch_status(&name.name, &params, &Patch::Apply(&patch))).await;
        match patched {
            Ok(Ok(_)) => {
                self.remember(name, content.clone());
                Ok(true)
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(false),
            Ok(Err(error)) => {
                let is_of_this_one =
                    matches!(&error, kube::Error::Api(status) if matches!(status.code, 400 | 413 | 422));
                Err(Failure { problem: error.to_string(), is_of_this_one })
            }
            Err(_) => {
                let problem = format!("no answer within {} s", WRITE_MAX.as_secs());
                Err(Failure { problem, is_of_this_one: false })
            }
        }
    }

    fn remember(&mut self, name: &PolicyName, content: Json) {
        let repeated = self.written.get(name).filter(|it| it.content == content);
        let pause = repeated.map_or(REPEAT_PAUSE_MIN, |it| (it.pause * 2).min(REPEAT_PAUSE_MAX));
        self.written.insert(name.clone(), Written { content, again_from: Instant::now() + pause, pause });
    }

    async fn tell(&mut self, wanted: &Wanted, now: Timestamp, pass: &mut Pass) {
        let Wanted { name, stored, status, .. } = wanted;
        for happening in events::happenings(&stored.status, status) {
            if pass.events == EVENTS_PER_PASS_MAX {
                self.say(&format!(
                    "more than {EVENTS_PER_PASS_MAX} Events about policies at once: the others are left out"
                ));
                return;
            }
            pass.events += 1;
            tracing::info!(namespace = %name.namespace, reason = happening.reason, "{name}: {}", happening.note);
            let event = events::event(name, stored, &happening, now);
            let told = time::timeout(WRITE_MAX, events::tell(self.client.clone(), &event)).await;
            match told {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.say(&format!("an Event about a policy cannot be written: {error}")),
                Err(_) => self.say(&format!("an Event about a policy: no answer within {} s", WRITE_MAX.as_secs())),
            }
        }
    }

    /// A warning, once until all is well again.
    fn say(&mut self, text: &str) {
        if self.said.len() >= SAID_MAX {
            self.said.clear();
        }
        if self.said.insert(text.to_owned()) {
            tracing::warn!("{text}; trying again later");
        }
    }
}

fn resource(name: &PolicyName) -> ApiResource {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    let plural = if name.namespace.is_empty() { "clusterrolloutpolicies" } else { "rolloutpolicies" };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: API_VERSION.to_owned(),
        kind: name.kind().to_owned(),
        plural: plural.to_owned(),
    }
}

fn debounce() -> Duration {
    let percent = u32::try_from(RandomState::new().hash_one(()) % 51).unwrap_or_default();
    DEBOUNCE * (100 + percent) / 100
}
