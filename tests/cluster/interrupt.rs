//! What has to be undone when the run is interrupted: on SIGINT, SIGTERM or SIGHUP the newest act is undone first (so
//! controller-manager, API server, etcd, their folder), then this process exits.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

const EXIT_CODE_INTERRUPTED: i32 = 130;

type Action = Box<dyn FnOnce() + Send>;

static UNDO: Mutex<Vec<(u64, Action)>> = Mutex::new(Vec::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// Stands for one act that is undone if the run is interrupted while this value lives.
#[derive(Debug)]
pub(crate) struct Undo(u64);

/// Does `act`, which gives its result and the action that undoes it.
///
/// Once an interrupt is being handled this never returns: nothing new is started while the old is being taken down.
/// The undo action must not wait for a lock that is held during `undoable` or the drop of an [`Undo`].
pub(crate) fn undoable<T, E>(act: impl FnOnce() -> Result<(T, Action), E>) -> Result<(T, Undo), E> {
    let mut stack = UNDO.lock().unwrap_or_else(PoisonError::into_inner);
    let (made, undo) = act()?;
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    stack.push((id, undo));
    Ok((made, Undo(id)))
}

impl Drop for Undo {
    fn drop(&mut self) {
        UNDO.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != self.0);
    }
}

/// From now on an interrupt undoes what is registered and exits with code 130.
pub(crate) fn watch() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    thread::Builder::new().name("interrupt".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        undo_everything_and_exit();
    })?;
    Ok(())
}

#[expect(clippy::exit, reason = "the only way to end a test run from another thread")]
fn undo_everything_and_exit() -> ! {
    let mut stack = UNDO.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some((_, undo)) = stack.pop() {
        undo();
    }
    std::process::exit(EXIT_CODE_INTERRUPTED);
}
