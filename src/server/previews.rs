//! Whose turn it is to preview a policy: one at a time, so that a core is left to the reviews, and no policy waits so long for it that
//! the API server gives up. One that gets no turn is written all the same, without being counted.

use std::time::Duration;

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{self, Instant},
};

/// Previews that wait at once.
const WAITING_MAX: usize = 32;

/// Time that is left for a preview and the way back when a turn comes.
const RESERVE: Duration = Duration::from_millis(400);

/// How long a preview waits for its turn if its caller does not say how long it will.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Previews {
    waiting: Semaphore,
    running: Semaphore,
}

impl Previews {
    pub(super) fn new() -> Self {
        Self { waiting: Semaphore::new(WAITING_MAX), running: Semaphore::new(1) }
    }

    /// The turn, to be held as long as the preview runs; `None` if it does not come in time.
    pub(super) async fn turn(&self, deadline: Option<Instant>) -> Option<SemaphorePermit<'_>> {
        let _place = self.waiting.try_acquire().ok()?;
        let until = deadline.map_or_else(|| Instant::now() + PATIENCE, |it| it.checked_sub(RESERVE).unwrap_or(it));
        time::timeout_at(until, self.running.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_comes_in_time_or_not_at_all() {
        let previews = Previews::new();
        let within = |time: Duration| Some(Instant::now() + time);
        let running = previews.turn(within(RESERVE)).await.expect("nobody is before, so there is nothing to wait for");
        let asked = Instant::now();
        assert!(previews.turn(within(RESERVE + Duration::from_millis(20))).await.is_none());
        assert!(asked.elapsed() >= Duration::from_millis(20), "it waited");
        drop(running);
        assert!(previews.turn(None).await.is_some());
    }

    #[tokio::test]
    async fn no_more_wait_than_there_is_room_for() {
        let previews = Previews::new();
        let _places = previews.waiting.acquire_many(u32::try_from(WAITING_MAX).unwrap()).await.unwrap();
        assert!(previews.turn(None).await.is_none());
    }
}
