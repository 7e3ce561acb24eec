//! The process that cleans up after a sandbox, however that ended, and the folder that it removes.

use std::{
    env,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{FOLDER_PREFIX, FOLDER_VARIABLE, JANITOR, ROLE_VARIABLE, cgroup_of, cgroups, first_process};
use crate::cluster::{
    error::Error,
    interrupt::{self, Undo},
    progress::say,
};

/// The temporary folder of what runs inside.
pub(super) const TEMPORARY_FOLDER: &str = "tmp";
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
    folder: PathBuf,
    process: Arc<Mutex<Child>>,
    _undo: Undo,
}

impl Janitor {
    /// Makes the folder and starts the janitor that will remove it.
    pub(super) fn start(program: &Path) -> Result<Self, Error> {
        let ((folder, process), undo) = interrupt::undoable(|| {
            let folder = tempfile::Builder::new()
                .prefix(FOLDER_PREFIX)
                .tempdir()
                .map_err(Error::io("make a folder in", env::temp_dir()))?
                .keep();
            let temporary = folder.join(TEMPORARY_FOLDER);
            fs::create_dir(&temporary).map_err(Error::io("make the folder", temporary))?;
            let process = Command::new(program)
                .env(ROLE_VARIABLE, JANITOR)
                .env(FOLDER_VARIABLE, &folder)
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
        &self.folder
    }

    /// Lets it clean up and waits until it has.
    pub(super) fn finish(self) -> Result<(), Error> {
        if let_work(&self.process).map_err(Error::io("wait for", "the process that cleans up"))? {
            return Ok(());
        }
        Err(Error::Unfit(format!(
            "not everything of the test node could be removed, see above: {}",
            self.folder.display()
        )))
    }
}

/// The end of its input is its sign. `true` if nothing is left.
fn let_work(process: &Mutex<Child>) -> io::Result<bool> {
    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
    drop(process.stdin.take());
    Ok(process.wait()?.success())
}

/// The janitor's `main`: waits until the others are gone and removes what they left.
pub(super) fn clean_when_alone(folder: &Path) -> ExitCode {
    let lock = File::create(folder.join(LOCK_FILE));
    // Without the lock there is only less for a later run to go by.
    let _owned = lock.and_then(|file| Ok(file.try_lock().map(|()| file)?));
    // An error means as much as the end.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    clean_in_time(folder)
}

/// Removes what runs left whose janitor was killed too.
pub(super) fn clean_abandoned() {
    for folder in entries(&env::temp_dir()).unwrap_or_default() {
        let is_ours = cgroup_of(&folder).starts_with(FOLDER_PREFIX);
        if is_ours && File::open(folder.join(LOCK_FILE)).is_ok_and(|file| file.try_lock().is_ok()) {
            // It says so if something stays, which is in nobody's way.
            let _ = clean_in_time(&folder);
        }
    }
}

/// Tries again as long as processes of the sandbox are ending.
fn clean_in_time(folder: &Path) -> ExitCode {
    let deadline = Instant::now() + Duration::from_secs(LIMIT_SECONDS);
    loop {
        let Err(problem) = clean(folder) else { return ExitCode::SUCCESS };
        if Instant::now() > deadline {
            say(&format!("{}: cannot clean up: {problem}", folder.display()));
            return ExitCode::FAILURE;
        }
        thread::sleep(Duration::from_millis(INTERVAL_MS));
    }
}

fn clean(folder: &Path) -> io::Result<()> {
    first_process::end(folder)?;
    cgroups::remove(&cgroup_of(folder))?;
    remove_all_but_kept_logs(folder)
}

/// A run folder that failed in an orderly way holds nothing but its logs, which stay for whoever reads its last line.
fn remove_all_but_kept_logs(folder: &Path) -> io::Result<()> {
    let temporary = folder.join(TEMPORARY_FOLDER);
    let mut is_kept = false;
    for run in entries(&temporary)? {
        let names: Vec<_> = if run.is_dir() { entries(&run)? } else { Vec::new() };
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

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
