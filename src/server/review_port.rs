//! The seam between the server and the pure core: bytes in, reply out.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{
    metrics::Metrics,
    policy::Policies,
    policy_status::UsedExemptions,
    preview::Budget,
    review::{self, Half, Reply, ReviewError, Summary},
    snapshot::Snapshot,
};

/// How long one preview counts.
const PREVIEW_TIME_MAX: Duration = Duration::from_millis(200);

/// Decides about one request. Synchronous: nothing on the way to an answer may wait.
pub trait Reviewer: Send + Sync + 'static {
    /// The answer to `body`.
    ///
    /// # Errors
    /// When `body` cannot be read as a review; answered with HTTP 400.
    fn review(&self, half: Half, body: &[u8]) -> Result<Reply, ReviewError>;

    /// The one of its answers to a request that was given.
    fn answered(&self, _: &Summary) {}
}

impl<F> Reviewer for F
where
    F: Fn(Half, &[u8]) -> Result<Reply, ReviewError> + Send + Sync + 'static,
{
    fn review(&self, half: Half, body: &[u8]) -> Result<Reply, ReviewError> {
        self(half, body)
    }
}

impl fmt::Debug for dyn Reviewer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Reviewer")
    }
}

/// The real thing: [`review::review`] with the newest snapshot, the newest policies and the wall clock.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Swapped by the watches.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What the command line says, and the policies of the cluster; swapped in the same turn.
    pub policies: Arc<ArcSwap<Policies>>,
    /// Told when the API server was seen to drop a sleep that had been injected.
    pub sleep_dropped: Arc<Notify>,
    /// Told which exemptions were needed.
    pub used: Arc<UsedExemptions>,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
}

impl Reviewer for Live {
    fn review(&self, half: Half, body: &[u8]) -> Result<Reply, ReviewError> {
        let (snapshot, policies, now) = (self.snapshot.load(), self.policies.load(), Timestamp::now());
        if half == Half::Preview {
            let started = Instant::now();
            let budget = Budget { is_spent: &|| started.elapsed() > PREVIEW_TIME_MAX, ..Budget::default() };
            return review::review_policy(body, &snapshot, &policies, now, budget);
        }
        let reply = review::review(half, body, &snapshot, &policies, now)?;
        if reply.summary.sleep_was_dropped {
            self.sleep_dropped.notify_one();
        }
        Ok(reply)
    }

    fn answered(&self, summary: &Summary) {
        // The webhooks say that they have no side effects, and a dry run has none: what a real write needed is kept in memory, from
        // where the next look at the policies takes it; that look comes by itself, and not because of a request.
        if summary.dry_run {
            return;
        }
        self.used.note(&summary.exemptions, Timestamp::now());
        for exemption in &summary.exemptions {
            self.metrics.policies().exemption_used(exemption.rule);
        }
    }
}
