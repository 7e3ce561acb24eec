//! Being told to stop: once for a drain, twice for at once.

use std::io;

use tokio::sync::watch;

/// Tells when to stop. Clones hear the same.
#[derive(Debug, Clone)]
pub struct Stop {
    asked: watch::Receiver<u8>,
}

/// The other end of a [`Stop`].
#[derive(Debug)]
pub struct Trigger {
    asked: watch::Sender<u8>,
}

impl Trigger {
    /// The first call asks for a drain, the second for an end at once.
    pub fn pull(&self) {
        self.asked.send_modify(|asked| *asked = asked.saturating_add(1));
    }
}

impl Stop {
    /// A pair for callers that decide themselves.
    #[must_use]
    pub fn manual() -> (Trigger, Self) {
        let (sender, asked) = watch::channel(0);
        (Trigger { asked: sender }, Self { asked })
    }

    /// Listens for SIGTERM and SIGINT until the process ends.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (trigger, stop) = Self::manual();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => tracing::info!("SIGTERM"),
                    _ = interrupt.recv() => tracing::info!("SIGINT"),
                }
                trigger.pull();
            }
        });
        Ok(stop)
    }

    /// Returns once a stop was asked for. Never, if the trigger is gone without having been pulled.
    pub async fn requested(&mut self) {
        self.reached(1).await;
    }

    /// Returns once an end at once was asked for.
    pub async fn forced(&mut self) {
        self.reached(2).await;
    }

    async fn reached(&mut self, times: u8) {
        if self.asked.wait_for(|asked| *asked >= times).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
