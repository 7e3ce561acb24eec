//! Tells what has come about, before the status is written that makes it old news. What cannot be told is tried again in the next
//! pass; what can still not be told then holds up no status for ever: it is owed, and the status is written.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use tokio::time;

use super::{
    Pass, Stored,
    complaints::{Complaints, Subject},
    events::{self, Happening},
    writer::WRITE_MAX,
};
use crate::{
    metrics::Metrics,
    policy::{PolicyName, PolicyStatus},
};

/// Most Events that one pass writes. The others come with the next one.
const EVENTS_PER_PASS_MAX: usize = 50;

/// Failures after which a pass tries no more of them.
const FAILURES_PER_PASS_MAX: usize = 3;

/// Passes with failures after which statuses wait no longer.
const FAILED_PASSES_MAX: u32 = 3;

/// Most Events that are owed; the oldest is given up for a new one.
const OWED_MAX: usize = 500;

/// What became of one Event.
enum Sent {
    /// It is there, or never can be.
    Done,
    Failed,
    /// This pass has written enough.
    NoRoom,
}

/// News of one policy whose status is not written yet.
#[derive(Default)]
struct News {
    uid: String,
    /// What needs no more care.
    done: Vec<Happening>,
    failed_passes: u32,
}

/// Writes Events.
pub(super) struct Teller {
    client: Client,
    metrics: Arc<Metrics>,
    news: BTreeMap<PolicyName, News>,
    owed: VecDeque<(PolicyName, Event)>,
    /// Passes in a row in which nothing but failures came of it.
    failed_passes: u32,
    // Of this pass.
    requests_left: usize,
    failures_left: usize,
    has_succeeded: bool,
}

impl Teller {
    pub(super) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            metrics,
            news: BTreeMap::new(),
            owed: VecDeque::new(),
            failed_passes: 0,
            requests_left: 0,
            failures_left: 0,
            has_succeeded: false,
        }
    }

    /// A pass begins, with these policies.
    pub(super) fn begin(&mut self, names: &BTreeSet<PolicyName>) {
        (self.requests_left, self.failures_left, self.has_succeeded) =
            (EVENTS_PER_PASS_MAX, FAILURES_PER_PASS_MAX, false);
        self.news.retain(|name, _| names.contains(name));
        self.owed.retain(|(name, _)| names.contains(name));
    }

    /// Tells what the new status has that the stored one has not. True if the status may be written.
    pub(super) async fn tell(
        &mut self,
        name: &PolicyName,
        stored: &Stored,
        status: &PolicyStatus,
        now: Timestamp,
        (pass, complaints): (&mut Pass, &mut Complaints),
    ) -> bool {
        let happenings = events::happenings(&stored.status, status);
        let known = self.news.remove(name).filter(|it| it.uid == stored.uid);
        let mut news = known.unwrap_or_else(|| News { uid: stored.uid.clone(), ..News::default() });
        news.done.retain(|it| happenings.contains(it));
        let mut last = Sent::Done;
        for happening in happenings {
            if news.done.contains(&happening) {
                continue;
            }
            let event = events::event(name, stored, &happening, now);
            last = self.send(name, &event, pass, complaints).await;
            match last {
                Sent::Done => news.done.push(happening),
                Sent::NoRoom => break,
                Sent::Failed if self.waits_no_longer(&news) => {
                    log(name, &event);
                    self.owe(name, event);
                    news.done.push(happening);
                    last = Sent::Done;
                }
                Sent::Failed => {
                    news.failed_passes += 1;
                    break;
                }
            }
        }
        if !news.done.is_empty() || news.failed_passes > 0 {
            self.news.insert(name.clone(), news);
        }
        matches!(last, Sent::Done)
    }

    /// The status of the policy is written, and its news old.
    pub(super) fn settle(&mut self, name: &PolicyName) {
        self.news.remove(name);
    }

    /// The pass ends with what is owed from earlier ones.
    pub(super) async fn end(&mut self, pass: &mut Pass, complaints: &mut Complaints) {
        for _ in 0..self.owed.len() {
            if self.requests_left == 0 || self.failures_left == 0 {
                break;
            }
            let Some((name, event)) = self.owed.pop_front() else { break };
            if !matches!(self.send(&name, &event, pass, complaints).await, Sent::Done) {
                self.owed.push_back((name, event));
            }
        }
        match (self.has_succeeded, self.failures_left < FAILURES_PER_PASS_MAX) {
            (true, false) => {
                self.failed_passes = 0;
                complaints.settle(&Subject::Events);
            }
            (true, true) => self.failed_passes = 0,
            (false, true) => self.failed_passes = self.failed_passes.saturating_add(1),
            (false, false) => {}
        }
    }

    fn waits_no_longer(&self, news: &News) -> bool {
        news.failed_passes >= FAILED_PASSES_MAX || self.failed_passes >= FAILED_PASSES_MAX
    }

    fn owe(&mut self, name: &PolicyName, event: Event) {
        if self.owed.len() == OWED_MAX {
            self.owed.pop_front();
        }
        self.owed.push_back((name.clone(), event));
    }

    async fn send(&mut self, name: &PolicyName, event: &Event, pass: &mut Pass, complaints: &mut Complaints) -> Sent {
        if self.failures_left == 0 {
            return Sent::Failed;
        }
        let Some(left) = self.requests_left.checked_sub(1) else { return Sent::NoRoom };
        self.requests_left = left;
        let (code, problem) = match time::timeout(WRITE_MAX, events::create(self.client.clone(), event)).await {
            Ok(Ok(is_new)) => {
                self.has_succeeded = true;
                if is_new {
                    pass.events += 1;
                    log(name, event);
                }
                return Sent::Done;
            }
            Ok(Err(kube::Error::Api(status))) => (status.code, status.message),
            Ok(Err(error)) => (0, error.to_string()),
            Err(_) => (0, format!("no answer within {} s", WRITE_MAX.as_secs())),
        };
        self.metrics.policies().event_failed();
        if matches!(code, 400 | 404 | 413 | 422) || problem.contains(NAMESPACE_ENDS) {
            complaints.say(&Subject::EventsOf(name.clone()), &format!("an Event about {name} is refused"), &problem);
            return Sent::Done;
        }
        self.failures_left -= 1;
        let text = if code == 403 {
            "no502 may not write Events about policies; apply the output of no502 manifests of this version"
        } else {
            "Events about policies cannot be written; trying again"
        };
        complaints.say(&Subject::Events, text, &problem);
        Sent::Failed
    }
}

/// What the API server says of a namespace that is being deleted, with the status of what is forbidden.
const NAMESPACE_ENDS: &str = "because it is being terminated";

fn log(name: &PolicyName, event: &Event) {
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    tracing::info!(namespace = %name.namespace, reason = text(&event.reason), "{name}: {}", text(&event.note));
}
