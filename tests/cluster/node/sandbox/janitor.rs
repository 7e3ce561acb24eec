//! The process that cleans up after a sandbox, however that ended, and the folder that it removes.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{FOLDER_VARIABLE, JANITOR, ROLE_VARIABLE, TEMPORARY_FOLDER, cgroups, first_process, own_folder::OwnFolder};
use crate::cluster::{
    error::Error,
    interrupt::{self, Undo},
    progress::say,
};

/// Locked as long as the janitor of the folder lives.
const LOCK_FILE: &str = "owned";
/// What a run folder keeps after a failure.
const LOGS_FOLDER: &str = "logs";
/// The kernel needs a moment to end everything in a PID namespace.
const LIMIT_SECONDS: u64 = 30;
const INTERVAL_MS: u64 = 50;

/// The janitor, seen from the process that waits for the sandbox.
#[derive(Debug)]
pub(super) struct Janitor {
    folder: OwnFolder,
    process: Arc<Mutex<Child>>,
    _undo: Undo,
}

impl Janitor {
    /// Makes a folder in `place` and starts the janitor that will remove it.
    pub(super) fn start(program: &Path, place: &Path) -> Result<Self, Error> {
        let ((folder, process), undo) = interrupt::undoable(|| {
            let folder = OwnFolder::make(place)?;
            let process = Command::new(program)
                .env(ROLE_VARIABLE, JANITOR)
                .env(FOLDER_VARIABLE, folder.path())
                .stdin(Stdio::piped())
                // Not of the group that a Ctrl-C ends.
                .process_group(0)
                .spawn()
                .map_err(Error::io("start", program))?;
            let process = Arc::new(Mutex::new(process));
            let undo = Arc::clone(&process);
            Ok::<_, Error>(((folder, process), Box::new(move || drop(let_work(&undo))) as _))
        })?;
        Ok(Self { folder, process, _undo: undo })
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets it clean up and waits until it has. `true` if nothing is left; else it has said what.
    pub(super) fn finish(&self) -> Result<bool, Error> {
        let_work(&self.process).map_err(Error::io("wait for", "the process that cleans up"))
    }
}

/// The end of its input is its sign. `true` if nothing is left.
fn let_work(process: &Mutex<Child>) -> io::Result<bool> {
    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
    drop(process.stdin.take());
    Ok(process.wait()?.success())
}

/// The janitor's `main`: waits until the others are gone and removes what they left.
pub(super) fn clean_when_alone(folder: &OwnFolder) -> ExitCode {
    let lock = File::create(folder.path().join(LOCK_FILE));
    // Without the lock there is only less for a later run to go by.
    let _owned = lock.and_then(|file| Ok(file.try_lock().map(|()| file)?));
    // An error means as much as the end.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    clean_in_time(folder)
}

/// Removes what runs left in `place` whose janitor was killed too. What another user has put there is left alone.
pub(super) fn clean_abandoned(place: &Path) {
    for folder in entries(place).unwrap_or_default().iter().filter_map(|path| OwnFolder::take(path).ok()) {
        if File::open(folder.path().join(LOCK_FILE)).is_ok_and(|file| file.try_lock().is_ok()) {
            // It says so if something stays, which is in nobody's way.
            let _ = clean_in_time(&folder);
        }
    }
}

/// Tries again as long as processes of the sandbox are ending.
fn clean_in_time(folder: &OwnFolder) -> ExitCode {
    let deadline = Instant::now() + Duration::from_secs(LIMIT_SECONDS);
    loop {
        let Err(problem) = clean(folder) else { return ExitCode::SUCCESS };
        if Instant::now() > deadline {
            say(&format!("{}: cannot clean up: {problem}", folder.path().display()));
            return ExitCode::FAILURE;
        }
        thread::sleep(Duration::from_millis(INTERVAL_MS));
    }
}

fn clean(folder: &OwnFolder) -> io::Result<()> {
    first_process::end(folder.path())?;
    cgroups::remove(folder.cgroup())?;
    cgroups::withdraw(folder.path());
    remove_all_but_kept_logs(folder.path())
}

/// A run folder that failed in an orderly way holds nothing but its logs, which stay for whoever reads its last line.
fn remove_all_but_kept_logs(folder: &Path) -> io::Result<()> {
    let temporary = folder.join(TEMPORARY_FOLDER);
    let mut is_kept = false;
    for run in entries(&temporary)? {
        let names = entries(&run)?;
        if names.len() == 1 && names[0].ends_with(LOGS_FOLDER) {
            is_kept = true;
        } else {
            remove(&run)?;
        }
    }
    if !is_kept {
        return remove(folder);
    }
    entries(folder)?.iter().filter(|path| **path != temporary).try_for_each(|path| remove(path))
}

/// Empty for what is no folder. A link is none: it can go, and what it leads to is not ours.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !is_folder(folder)? {
        return Ok(Vec::new());
    }
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn is_folder(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if is_folder(path)? { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
