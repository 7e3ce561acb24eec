//! Ctrl-C between two files and not within one: whoever stops a run finds each file old or new, and nothing beside them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody has asked the run to stop. From its making on, SIGINT and SIGTERM do no more than that.
#[derive(Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(super) fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupts, mut ends) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let is_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&is_asked);
        // Ends with the program.
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = interrupts.recv() => {}, _ = ends.recv() => {} }
            });
            asked.store(true, Ordering::Relaxed);
        });
        Ok(Self(is_asked))
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
