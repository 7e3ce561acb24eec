//! The temporary folder of one run. It is removed when dropped; when the run failed its logs stay. A run that was
//! killed leaves its folder behind without an owner, and the next run removes it.

use std::{
    env,
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    error::Error,
    interrupt::{self, Undo},
    progress::say,
};

const PREFIX: &str = "no502-cluster-";
const MODE: u32 = 0o700;
const LOCK_FILE: &str = "owned";
const LOGS_FOLDER: &str = "logs";

/// A temporary folder with a subfolder for logs.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    keep_logs: AtomicBool,
    _undo: Undo,
    _owned: File,
}

impl RunFolder {
    /// Makes the folder, after removing those of runs that were killed.
    pub(crate) fn create() -> Result<Self, Error> {
        remove_abandoned();
        let ((path, owned), undo) = interrupt::undoable(|| {
            let (path, owned) = create_owned().map_err(Error::io("make a folder in", env::temp_dir()))?;
            let undo = path.clone();
            Ok::<_, Error>(((path, owned), Box::new(move || drop(fs::remove_dir_all(undo))) as _))
        })?;
        Ok(Self { path, keep_logs: AtomicBool::new(false), _undo: undo, _owned: owned })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join(LOGS_FOLDER)
    }

    /// The log file of a component.
    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.logs().join(component).with_extension("log")
    }

    /// Keeps the logs when the folder is dropped.
    pub(crate) fn keep_logs(&self) {
        self.keep_logs.store(true, Ordering::Relaxed);
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if self.keep_logs.load(Ordering::Relaxed) || thread::panicking() {
            remove_all_but_logs(&self.path);
            say(&format!("the logs are kept in {}", self.path.join(LOGS_FOLDER).display()));
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            say(&format!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

/// Makes a folder and takes its lock. A run that starts at this moment may take the new folder for an abandoned one
/// before it is locked, so what counts is that the locked file is still there.
fn create_owned() -> io::Result<(PathBuf, File)> {
    loop {
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            // An administrator's keys are in it.
            .permissions(Permissions::from_mode(MODE))
            .tempdir()?
            .keep();
        let lock = path.join(LOCK_FILE);
        let owned = File::create(&lock)?;
        match owned.try_lock() {
            Ok(()) if lock.exists() => {
                fs::create_dir(path.join(LOGS_FOLDER))?;
                return Ok((path, owned));
            }
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn remove_abandoned() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let Ok(lock) = File::open(entry.path().join(LOCK_FILE)) else { continue };
        if lock.try_lock().is_ok() {
            // Another user's folder cannot be removed, which is right.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn remove_all_but_logs(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with(LOGS_FOLDER)) {
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}
