//! Namespaces of our own around a whole cluster. The program starts itself again inside new network, mount and PID
//! namespaces, so that the kernel takes every process, mount, address and rule away once the first process in there is gone,
//! however that came about. What the kernel leaves, control groups and one folder, a third process removes: it waits outside
//! until nobody holds the other end of its standard input any more, not even a killed process.

mod cgroups;
mod first_process;
mod janitor;
mod kernel;
mod mounts;
mod own_folder;
mod prerequisites;

use std::{
    env,
    fs::File,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{self, ExitCode, ExitStatus},
    time::Duration,
};

use crate::cluster::{
    error::Error,
    process::Process,
    wait::{self, Look},
};
use janitor::Janitor;
use own_folder::OwnFolder;

/// Tells a process of ours what it is for; unset in the one that a person started.
const ROLE_VARIABLE: &str = "NO502_SANDBOX_ROLE";
const FOLDER_VARIABLE: &str = "NO502_SANDBOX_FOLDER";
const INSIDE: &str = "inside";
const JANITOR: &str = "janitor";
const FOLDER_PREFIX: &str = "no502-node-";
/// In the folder: the temporary folder of what runs inside.
const TEMPORARY_FOLDER: &str = "tmp";
/// An abstract socket: it leaves no file, and nobody in this network namespace can have it beside us.
const LOCK_NAME: &str = "no502-node";
/// There once the first process inside ends by itself. `unshare` tells it from a killed one only for some signals.
const ENDED_FILE: &str = "ended";
/// What makes the namespaces: arguments of `unshare`.
const SEPARATION: [&str; 5] = ["--net", "--mount", "--pid", "--fork", "--kill-child=KILL"];
/// Longer than any proof.
pub(crate) const PROOF_LIMIT: Duration = Duration::from_hours(2);

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
    cgroup: String,
}

impl Place {
    /// Makes the control groups, and gives their path as the kubelet wants it.
    pub(crate) fn make_cgroups(&self) -> Result<String, Error> {
        cgroups::create(&self.cgroup, &self.folder)?;
        Ok(format!("/{}", self.cgroup))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without it the outside says one line too many.
        let _ = File::create(self.folder.join(ENDED_FILE));
    }
}

/// Finds out what this process is; the first thing that `main` does. The janitor does its whole work in here.
pub(crate) fn role() -> Result<Role, Error> {
    let Some(role) = env::var_os(ROLE_VARIABLE) else { return Ok(Role::Outside) };
    let path = env::var_os(FOLDER_VARIABLE).map(PathBuf::from).unwrap_or_default();
    let folder =
        OwnFolder::take(&path).map_err(Error::io("use the folder", format!("{FOLDER_VARIABLE}={}", path.display())))?;
    if role == JANITOR {
        return Ok(Role::Done(janitor::clean_when_alone(&folder)));
    }
    // Anywhere else its mounts would be the machine's.
    if role != INSIDE || process::id() != 1 {
        return Err(Error::Unexpected { what: ROLE_VARIABLE, said: role.to_string_lossy().into_owned() });
    }
    let first_process = first_process::note(folder.path())?;
    let place = Place { folder: folder.path().to_owned(), first_process, cgroup: folder.cgroup().to_owned() };
    mounts::settle(&place.folder)?;
    Ok(Role::Inside(place))
}

/// Says in one line why this machine cannot have a node now, if so.
pub(crate) fn check_prerequisites() -> Result<(), Error> {
    prerequisites::check().map_err(Error::Unfit)?;
    lock().map(drop)
}

/// Runs this program again inside, with the same arguments, for at most `limit`, and gives its exit code. Nothing is left when
/// it returns. An error of its own kind if it was killed or something is left: its exit codes may mean something else.
pub(crate) fn run_inside(limit: Option<Duration>) -> Result<ExitCode, Error> {
    let _alone = lock()?;
    let temporary = prerequisites::temporary_folder().map_err(Error::Unfit)?;
    janitor::clean_abandoned(&temporary);
    let program = env::current_exe().map_err(Error::io("find", "the running program"))?;
    let janitor = Janitor::start(&program, &temporary)?;
    let mut command = Process::command(Path::new("unshare"));
    command
        .args(SEPARATION)
        .arg("--")
        .arg(program)
        .args(env::args_os().skip(1))
        .env(ROLE_VARIABLE, INSIDE)
        .env(FOLDER_VARIABLE, janitor.folder())
        .env("TMPDIR", janitor.folder().join(TEMPORARY_FOLDER));
    let inside = Process::start_attached("unshare", command)?;
    let status = wait::until("the test node has ended", limit.unwrap_or(Duration::MAX), || {
        Ok::<_, Error>(inside.ended().map_or(Look::NotYet("it is running".into()), Look::Met))
    });
    drop(inside);
    let code = status.and_then(|status| own_code(status, janitor.folder()));
    let is_clean = janitor.finish()?;
    let code = code?;
    if is_clean {
        Ok(ExitCode::from(code))
    } else {
        Err(Error::NotCleaned { code, folder: janitor.folder().to_owned() })
    }
}

/// The exit code that the first process inside has chosen, if it has.
fn own_code(status: ExitStatus, folder: &Path) -> Result<u8, Error> {
    if !first_process::was_there(folder) {
        return Err(Error::NotStarted { status });
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.filter(|_| folder.join(ENDED_FILE).exists()).ok_or(Error::Killed { status })
}

/// One at a time in this network namespace, as long as this is held. Any user can hold it, who then only stands in the way.
#[cfg(target_os = "linux")]
fn lock() -> Result<UnixListener, Error> {
    use std::{
        io::ErrorKind,
        os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr},
    };

    let name = SocketAddr::from_abstract_name(LOCK_NAME).map_err(Error::io("name", LOCK_NAME))?;
    UnixListener::bind_addr(&name).map_err(|problem| match problem.kind() {
        ErrorKind::AddrInUse => Error::Busy,
        _ => Error::Io { act: "hold the abstract socket", path: LOCK_NAME.into(), problem },
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
