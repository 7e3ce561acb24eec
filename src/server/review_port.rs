//! The seam between the server and the pure core: bytes in, reply out.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::{
    policy::Policies,
    review::{self, Half, Reply, ReviewError},
    snapshot::Snapshot,
};

/// Decides about one request. Synchronous: nothing on the way to an answer may wait.
pub trait Reviewer: Send + Sync + 'static {
    /// The answer to `body`.
    ///
    /// # Errors
    /// When `body` cannot be read as a review; answered with HTTP 400.
    fn review(&self, half: Half, body: &[u8]) -> Result<Reply, ReviewError>;
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
#[derive(Debug, Clone)]
pub struct Live {
    /// Swapped by the watches.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Swapped by the watches.
    pub policies: Arc<ArcSwap<Policies>>,
}

impl Reviewer for Live {
    fn review(&self, half: Half, body: &[u8]) -> Result<Reply, ReviewError> {
        review::review(half, body, &self.snapshot.load(), &self.policies.load(), Timestamp::now())
    }
}
