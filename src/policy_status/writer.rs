//! One loop: look at everything after a change and each minute, write what differs.
//!
//! Two or three replicas do the same at the same time. They agree, since all go by the same objects, so that the second one finds
//! nothing to write; a write names the version that it is about, so that of two at once one is refused. What has come about is told
//! before the status is written, which would make it old news; to tell it twice is to find that it has been told. Should two
//! replicas disagree after all (two versions of no502, a broken watch), neither repeats itself at once.

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
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value as Json, json};
use tokio::{
    task,
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    FIELD_MANAGER, Stored, UsedExemptions,
    complaints::{Complaints, Subject},
    document,
    known::{Wait, missing},
    teller::Teller,
};
use crate::{
    crd::{self, PolicyKind},
    metrics::Metrics,
    policy::{PolicyName, PolicyStatus, audit},
    watch::Published,
};

/// Time passes for exemptions, and workloads come and go.
const AUDIT_EVERY: Duration = Duration::from_mins(1);

/// From the first change of a policy to the look at it; up to a half more, so that replicas do not look in step.
const DEBOUNCE: Duration = Duration::from_secs(2);

/// A write that takes longer is given up, and tried again later.
pub(super) const WRITE_MAX: Duration = Duration::from_secs(10);

/// First and longest pause before the same is written again over what somebody else wrote.
const REPEAT_PAUSE_MIN: Duration = Duration::from_mins(1);
const REPEAT_PAUSE_MAX: Duration = Duration::from_hours(1);

/// Forbidden writes after which a pass tries no more of their kind.
const FORBIDDEN_PER_PASS_MAX: usize = 3;

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Statuses written.
    pub written: usize,
    /// Writes that another replica was faster with.
    pub conflicts: usize,
    /// Writes that failed otherwise; the pass ends with the first one that says something about the others too.
    pub failed: usize,
    /// Statuses that wait until what they say has been told.
    pub held: usize,
    /// Events written.
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
    teller: Teller,
    complaints: Complaints,
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
    used.absorb(&policies, &objects, now);
    let audited = audit(&policies, &snapshot, &used.spared(&policies, now), now);
    let records = used.record(&policies, &audited, now);
    metrics.policies().exemptions_are(audited.iter().map(|(_, status)| status.exemptions));
    let mut differing = Vec::new();
    for (name, status) in audited {
        // A version that has arrived since is looked at next time.
        let stored = objects.get(&name).filter(|it| it.generation == status.observed_generation);
        let Some(stored) = stored.cloned() else { continue };
        let document = document::document(&status, records.get(&name), &stored.status, now);
        let content = document::content(&document);
        if document::content(&stored.status) != content {
            differing.push(Wanted { name, status, stored, document, content });
        }
    }
    Look { names: objects.into_keys().collect(), differing }
}

/// What became of the writes of one kind in one pass.
#[derive(Debug, Default)]
struct Tally {
    written: usize,
    /// Forbidden, or without an answer.
    failed: usize,
}

/// What became of a write.
enum Outcome {
    Written,
    /// Somebody else wrote first, or deleted the policy.
    Conflict,
    /// There is something wrong with this one.
    Refused(String),
    Forbidden(String),
    Failed(String),
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
        let teller = Teller::new(client.clone(), Arc::clone(&metrics));
        let (written, complaints) = (BTreeMap::new(), Complaints::default());
        Self { client, published, used, metrics, written, teller, complaints }
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
            let mut wait = Wait::new(Instant::now());
            loop {
                let missing = missing(&self.published);
                if missing.is_empty() {
                    break;
                }
                wait.goes_on(&missing, Instant::now());
                time::sleep(DEBOUNCE).await;
            }
            wait.ends();
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
        self.teller.begin(&names);
        self.complaints.retain(&differing.iter().map(|it| &it.name).collect());
        let mut tallies: BTreeMap<&'static str, Tally> = BTreeMap::new();
        for wanted in differing {
            let kind = wanted.name.kind();
            let tally = tallies.entry(kind).or_default();
            if !self.is_worth_writing(&wanted) || tally.failed >= FORBIDDEN_PER_PASS_MAX {
                continue;
            }
            let Wanted { name, stored, status, .. } = &wanted;
            let telling = (&mut pass, &mut self.complaints);
            if !self.teller.tell(name, stored, status, now, telling).await {
                pass.held += 1;
                continue;
            }
            let outcome = self.write(&wanted).await;
            self.account(&wanted.name, &outcome, &mut pass);
            match outcome {
                Outcome::Written => tally.written += 1,
                Outcome::Forbidden(_) => tally.failed += 1,
                Outcome::Failed(_) => {
                    tally.failed += 1;
                    break;
                }
                Outcome::Conflict | Outcome::Refused(_) => {}
            }
        }
        for (kind, _) in tallies.iter().filter(|(_, it)| it.written > 0 && it.failed == 0) {
            self.complaints.settle(&Subject::Kind(kind));
        }
        self.teller.end(&mut pass, &mut self.complaints).await;
        pass
    }

    fn account(&mut self, name: &PolicyName, outcome: &Outcome, pass: &mut Pass) {
        let (kind, of_this_one) = (name.kind(), Subject::Status(name.clone()));
        let (subject, text, problem) = match outcome {
            Outcome::Written => {
                pass.written += 1;
                self.teller.settle(name);
                self.complaints.settle(&of_this_one);
                return;
            }
            Outcome::Conflict => {
                pass.conflicts += 1;
                return;
            }
            Outcome::Refused(problem) => {
                (of_this_one, format!("the status of {name} is refused; trying again"), problem)
            }
            Outcome::Forbidden(problem) => {
                let fix = "apply the output of no502 manifests of this version";
                (Subject::Kind(kind), format!("no502 may not write the status of a {kind}; {fix}"), problem)
            }
            Outcome::Failed(problem) => {
                (Subject::Kind(kind), format!("the status of a {kind} cannot be written; trying again"), problem)
            }
        };
        pass.failed += 1;
        self.metrics.policies().status_failed();
        self.complaints.say(&subject, &text, problem);
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

    async fn write(&mut self, wanted: &Wanted) -> Outcome {
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
        let mut patched = time::timeout(WRITE_MAX, api.patch_status(&name.name, &params, &Patch::Apply(&patch))).await;
        if matches!(&patched, Ok(Err(kube::Error::Api(status))) if status.code == 500) {
            // Nothing can be applied to an object that does not fit its definition any more, and nobody needs a status more.
            let patch = without_the_rest(patch, &stored.status);
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            patched = time::timeout(WRITE_MAX, api.patch_status(&name.name, &params, &Patch::Merge(&patch))).await;
        }
        match patched {
            Ok(Ok(_)) => {
                self.remember(name, content.clone());
                Outcome::Written
            }
            Ok(Err(kube::Error::Api(status))) => match status.code {
                404 | 409 => Outcome::Conflict,
                400 | 413 | 422 => Outcome::Refused(status.message),
                403 => Outcome::Forbidden(status.message),
                _ => Outcome::Failed(status.message),
            },
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Failed(format!("no answer within {} s", WRITE_MAX.as_secs())),
        }
    }

    fn remember(&mut self, name: &PolicyName, content: Json) {
        let repeated = self.written.get(name).filter(|it| it.content == content);
        let pause = repeated.map_or(REPEAT_PAUSE_MIN, |it| (it.pause * 2).min(REPEAT_PAUSE_MAX));
        self.written.insert(name.clone(), Written { content, again_from: Instant::now() + pause, pause });
    }
}

/// As a merge patch: what is stored and not in the new status goes.
fn without_the_rest(mut patch: Json, stored: &Json) -> Json {
    for key in stored.as_object().into_iter().flat_map(serde_json::Map::keys) {
        if patch["status"].get(key).is_none() {
            patch["status"][key] = Json::Null;
        }
    }
    patch
}

fn resource(name: &PolicyName) -> ApiResource {
    let kind = PolicyKind::of(name);
    let gvk = GroupVersionKind::gvk(crd::group(), crd::version(), kind.kind());
    ApiResource::from_gvk_with_plural(&gvk, kind.plural())
}

fn debounce() -> Duration {
    let percent = u32::try_from(RandomState::new().hash_one(()) % 51).unwrap_or_default();
    DEBOUNCE * (100 + percent) / 100
}
