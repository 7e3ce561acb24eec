//! Waiting for a condition with a deadline, instead of sleeping and hoping.

use std::{
    thread,
    time::{Duration, Instant},
};

const FIRST_INTERVAL_MS: u64 = 5;
const LONGEST_INTERVAL_MS: u64 = 100;

/// A condition was not met in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s in vain until {what}; last seen: {last_state}", limit.as_secs())]
pub(crate) struct Deadline {
    what: String,
    limit: Duration,
    last_state: String,
}

/// What a look at a condition found.
#[derive(Debug)]
pub(crate) enum Look<T> {
    /// The condition is met.
    Met(T),
    /// It is not; the text says what is there instead.
    NotYet(String),
}

/// Looks again and again until the condition is met, the look itself fails, or `limit` is over.
///
/// `what` completes "waited until ...". There is at least one look.
pub(crate) fn until<T, E: From<Deadline>>(
    what: impl Into<String>,
    limit: Duration,
    mut look: impl FnMut() -> Result<Look<T>, E>,
) -> Result<T, E> {
    let start = Instant::now();
    let mut interval_ms = FIRST_INTERVAL_MS;
    loop {
        let last_state = match look()? {
            Look::Met(found) => return Ok(found),
            Look::NotYet(state) => state,
        };
        if start.elapsed() >= limit {
            return Err(Deadline { what: what.into(), limit, last_state }.into());
        }
        thread::sleep(Duration::from_millis(interval_ms));
        interval_ms = LONGEST_INTERVAL_MS.min(interval_ms * 2);
    }
}
