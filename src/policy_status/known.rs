//! Whether enough of the cluster is known to judge policies: what is not known yet would be said to be unused.

use std::time::Duration;

use tokio::time::Instant;

use crate::{snapshot::Resource, watch::Published};

/// A start takes less; a watch that does not recover takes more.
const SAY_AFTER: Duration = Duration::from_secs(30);

/// What is missing, by its plural name.
pub(super) fn missing(published: &Published) -> Vec<&'static str> {
    let synced = published.snapshot.load().synced();
    let mut missing: Vec<_> = Resource::ALL.into_iter().filter(|it| !synced.has(*it)).map(Resource::name).collect();
    if !published.objects.are_read() {
        missing.push("policies");
    }
    missing
}

/// One time of waiting.
#[derive(Debug)]
pub(super) struct Wait {
    since: Instant,
    is_said: bool,
}

impl Wait {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, is_said: false }
    }

    /// Says once what is waited for, if it takes long. True if it was said now.
    pub(super) fn goes_on(&mut self, missing: &[&str], now: Instant) -> bool {
        if self.is_said || now - self.since < SAY_AFTER {
            return false;
        }
        self.is_said = true;
        let missing = missing.join(", ");
        tracing::warn!(%missing, "no status of a policy is written while these cannot be read from the cluster");
        true
    }

    /// Everything is known.
    pub(super) fn ends(self) {
        if self.is_said {
            tracing::info!("everything is read: the status of policies is written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::snapshot::Store;

    #[test]
    fn nothing_is_judged_before_everything_is_read() {
        let published = Published::default();
        assert_eq!(missing(&published).len(), Resource::ALL.len() + 1);
        let mut store = Store::complete();
        published.snapshot.store(Arc::new(store.snapshot()));
        assert_eq!(missing(&published), ["policies"]);
        published.objects.set_read();
        assert!(missing(&published).is_empty());
        store.set_fresh(Resource::Pods, false);
        published.snapshot.store(Arc::new(store.snapshot()));
        assert_eq!(missing(&published), ["pods"], "its watch does not recover");
    }

    #[test]
    fn a_long_wait_is_said_once() {
        let start = Instant::now();
        let mut wait = Wait::new(start);
        let said: Vec<u64> =
            (0..600).step_by(2).filter(|it| wait.goes_on(&["pods"], start + Duration::from_secs(*it))).collect();
        assert_eq!(said, [30]);
    }
}
