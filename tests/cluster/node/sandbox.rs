//! Namespaces of our own around a whole cluster. The program starts itself again inside new network, mount and PID
//! namespaces, so that the kernel takes every process, mount, address and rule away once the first process in there is gone,
//! however that came about. What the kernel leaves, control groups and one folder, a third process removes: it waits outside
//! until nobody holds the other end of its standard input any more, not even a killed process.

mod cgroups;
mod janitor;
mod kernel;
mod prerequisites;

use std::{
    env, fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use crate::cluster::{
    error::Error,
    process::{self, Process},
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
/// Folders of the system that a node writes to; inside, what is written there goes to memory.
const SHADOWED_FOLDERS: [&str; 3] = ["/run", "/var/lib", "/var/log"];
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

/// Where a node lives, seen from inside.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Outside of the shadowed folders, and gone afterwards.
    pub(crate) folder: PathBuf,
}

impl Place {
    /// Name of the control groups for everything that runs in pods, without `/`.
    fn cgroup(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Makes the control groups, and gives their path as the kubelet wants it.
    pub(crate) fn make_cgroups(&self) -> Result<String, Error> {
        cgroups::create(&self.cgroup())?;
        Ok(format!("/{}", self.cgroup()))
    }
}

/// Finds out what this process is; the first thing that `main` does. The janitor does its whole work in here.
pub(crate) fn role() -> Result<Role, Error> {
    let Some(role) = env::var_os(ROLE_VARIABLE) else { return Ok(Role::Outside) };
    let place = Place { folder: env::var_os(FOLDER_VARIABLE).map(PathBuf::from).unwrap_or_default() };
    if role == JANITOR {
        return Ok(Role::Done(janitor::clean_when_alone(&place)));
    }
    settle(&place)?;
    Ok(Role::Inside(place))
}

/// Says in one line what this machine lacks for a node, if anything.
pub(crate) fn check_prerequisites() -> Result<(), Error> {
    prerequisites::check().map_err(Error::Unfit)
}

/// Runs this program again inside, with the same arguments, and gives its exit code. Nothing is left when it returns.
/// One at a time on a machine.
pub(crate) fn run_inside() -> Result<ExitCode, Error> {
    let name = SocketAddr::from_abstract_name(LOCK_NAME).map_err(Error::io("name", LOCK_NAME))?;
    let _alone = UnixListener::bind_addr(&name).map_err(|_| {
        Error::Unfit("another test node runs on this machine, and both would be slow: wait until it has ended".into())
    })?;
    let program = env::current_exe().map_err(Error::io("find", "the running program"))?;
    let janitor = Janitor::start(&program)?;
    let mut command = Process::command(Path::new("unshare"));
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"])
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
    janitor.finish()?;
    // A process that a signal ended has no code.
    let code = status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// Prepares the mounts: what containers mount must reach their own namespaces, and the system's folders stay as they are.
fn settle(place: &Place) -> Result<(), Error> {
    mount(&["--make-rshared", "/"])?;
    let shadow = place.folder.join("shadow");
    fs::create_dir(&shadow).map_err(Error::io("make the folder", &shadow))?;
    mount(&["-t", "tmpfs", "tmpfs", &shadow.to_string_lossy()])?;
    for folder in SHADOWED_FOLDERS {
        if place.folder.starts_with(folder) {
            return Err(Error::Unfit(format!(
                "TMPDIR is below {folder}, which a node needs for itself: choose another"
            )));
        }
        let [upper, work] = ["upper", "work"].map(|kind| shadow.join(kind).join(&folder[1..]));
        for made in [&upper, &work] {
            fs::create_dir_all(made).map_err(Error::io("make the folder", made))?;
        }
        let options = format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
        mount(&["-t", "overlay", "overlay", "-o", &options, folder])?;
    }
    Ok(())
}

fn mount(args: &[&str]) -> Result<(), Error> {
    process::output_of(Command::new("mount").args(args)).map(drop)
}
