//! Namespaces of our own around a whole cluster. The program starts itself again inside new network, mount and PID
//! namespaces, so that the kernel takes every process, mount, address and rule away once the first process in there is gone,
//! however that came about. What the kernel leaves, control groups and one folder, a third process removes: it waits outside
//! until nobody holds the other end of its standard input any more, not even a killed process.

mod cgroups;
mod first_process;
mod janitor;
mod kernel;
mod mounts;
mod prerequisites;

use std::{
    env,
    fs::File,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use crate::cluster::{
    error::Error,
    process::Process,
    progress::say,
    wait::{self, Look},
};
use janitor::Janitor;

/// Tells a process of ours what it is for; unset in the one that a person started.
const ROLE_VARIABLE: &str = "NO502_SANDBOX_ROLE";
const FOLDER_VARIABLE: &str = "NO502_SANDBOX_FOLDER";
const INSIDE: &str = "inside";
const JANITOR: &str = "janitor";
const FOLDER_PREFIX: &str = "no502-node-";
/// An abstract socket: it leaves no file, and nobody can have it beside us.
const LOCK_NAME: &str = "no502-node";
/// There once the first process inside ends by itself. `unshare` tells it from a killed one only for some signals.
const ENDED_FILE: &str = "ended";
/// Longer than any proof.
const LIMIT_MINUTES: u64 = 120;

/// What this process is.
#[derive(Debug)]
pub(crate) enum Role {
    /// Started by a person or a script.
    Outside,
    /// The first process inside.
    Inside(Place),
    /// The janitor. It has cleaned up, and ends now.
    Done(ExitCode),
}

/// Where a node lives, seen from inside. Its drop tells the outside that the first process has not been killed.
#[derive(Debug)]
pub(crate) struct Place {
    /// Outside of the shadowed folders, and gone afterwards.
    pub(crate) folder: PathBuf,
    /// The number of the first process inside, as seen from outside.
    pub(crate) first_process: u32,
}

impl Place {
    /// Makes the control groups, and gives their path as the kubelet wants it.
    pub(crate) fn make_cgroups(&self) -> Result<String, Error> {
        let name = cgroup_of(&self.folder);
        cgroups::create(&name)?;
        Ok(format!("/{name}"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without it the outside says one line too many.
        let _ = File::create(self.folder.join(ENDED_FILE));
    }
}

/// Name of the control groups for everything that runs in pods, without `/`.
fn cgroup_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Finds out what this process is; the first thing that `main` does. The janitor does its whole work in here.
pub(crate) fn role() -> Result<Role, Error> {
    let Some(role) = env::var_os(ROLE_VARIABLE) else { return Ok(Role::Outside) };
    let folder = env::var_os(FOLDER_VARIABLE).map(PathBuf::from).unwrap_or_default();
    if role == JANITOR {
        return Ok(Role::Done(janitor::clean_when_alone(&folder)));
    }
    let place = Place { first_process: first_process::note(&folder)?, folder };
    mounts::settle(&place.folder)?;
    Ok(Role::Inside(place))
}

/// Says in one line why this machine cannot have a node now, if so.
pub(crate) fn check_prerequisites() -> Result<(), Error> {
    prerequisites::check().map_err(Error::Unfit)?;
    lock().map(drop)
}

/// Runs this program again inside, with the same arguments, and gives its exit code. Nothing is left when it returns.
/// One at a time on a machine.
pub(crate) fn run_inside() -> Result<ExitCode, Error> {
    let _alone = lock()?;
    janitor::clean_abandoned();
    let program = env::current_exe().map_err(Error::io("find", "the running program"))?;
    let janitor = Janitor::start(&program)?;
    let mut command = Process::command(Path::new("unshare"));
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--"])
        .arg(program)
        .args(env::args_os().skip(1))
        .env(ROLE_VARIABLE, INSIDE)
        .env(FOLDER_VARIABLE, janitor.folder())
        .env("TMPDIR", janitor.folder().join(janitor::TEMPORARY_FOLDER));
    let inside = Process::start_attached("unshare", command)?;
    let status = wait::until("the test node has ended", Duration::from_secs(LIMIT_MINUTES * 60), || {
        Ok::<_, Error>(inside.ended().map_or(Look::NotYet("it is running".into()), Look::Met))
    });
    drop(inside);
    let was_killed = !janitor.folder().join(ENDED_FILE).exists();
    janitor.finish()?;
    let status = status?;
    if was_killed {
        say(&format!("the test node was killed ({status})"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// One at a time, as long as this is held.
#[cfg(target_os = "linux")]
fn lock() -> Result<UnixListener, Error> {
    use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};

    let name = SocketAddr::from_abstract_name(LOCK_NAME).map_err(Error::io("name", LOCK_NAME))?;
    UnixListener::bind_addr(&name).map_err(|_| {
        Error::Unfit("another test node runs on this machine, and both would be slow: wait until it has ended".into())
    })
}

/// Other systems have no such sockets, nor anything else of a node.
#[cfg(not(target_os = "linux"))]
fn lock() -> Result<UnixListener, Error> {
    Err(Error::Unfit(format!("{LOCK_NAME} needs Linux")))
}

/// Whether what is written below this folder inside is lost outside.
pub(crate) fn is_shadowed(folder: &Path) -> bool {
    mounts::SHADOWED_FOLDERS.iter().any(|shadowed| folder.starts_with(shadowed))
}
