//! A child process that never outlives the tests: its whole group is killed when the guard is dropped or the run is
//! interrupted, and where `setpriv` (util-linux) is at hand also when the test process itself is killed.

use std::{
    env,
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{
    error::Error,
    interrupt::{self, Undo},
    wait::{self, Look},
};

const LOG_TAIL_LINES: usize = 20;
/// For a program that takes a moment, on a machine that is busy.
const OUTPUT_LIMIT_SECONDS: u64 = 120;

/// `setpriv`, if there is one that can tie a child's life to ours.
static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let setpriv = program_in_path("setpriv")?;
    let works = Command::new(&setpriv)
        .args(["--pdeathsig", "KILL", "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    works.is_ok_and(|status| status.success()).then_some(setpriv)
});

/// Runs a program to its end, which takes a moment, and gives what it printed; an error if it did not succeed. The command's
/// program, arguments, folder and variables count, `env_clear` does not.
pub(crate) fn output_of(command: &Command) -> Result<String, Error> {
    output_within(command, Duration::from_secs(OUTPUT_LIMIT_SECONDS))
}

/// The same for one that takes longer: `limit` over, or our process interrupted, it is killed.
pub(crate) fn output_within(command: &Command, limit: Duration) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| format!(" {}", argument.to_string_lossy()));
    let call = arguments.fold(program.clone(), |call, argument| call + &argument);
    let capture = |file: io::Result<File>| file.map_err(Error::io("make a file in", env::temp_dir()));
    let (output, errors) = (capture(tempfile::tempfile())?, capture(tempfile::tempfile())?);
    let mut tied = tied(command);
    tied.stdout(capture(output.try_clone())?).stderr(capture(errors.try_clone())?);
    let process = Process::start_group("a program", tied, PathBuf::new()).map_err(|error| match error {
        Error::Io { problem, .. } => Error::Io { act: "run", path: program.into(), problem },
        other => other,
    })?;
    let status = wait::until(format!("`{call}` has ended"), limit, || {
        Ok::<_, Error>(process.ended().map_or(Look::NotYet("it is running".into()), Look::Met))
    })?;
    if status.success() {
        return text(output);
    }
    Err(Error::Client { call, status, stderr: text(errors)?.trim().to_owned() })
}

/// The same command in a process that the kernel kills when ours dies.
fn tied(command: &Command) -> Command {
    let mut tied = Process::command(Path::new(command.get_program()));
    tied.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    tied
}

/// All that has been written to a file.
fn text(mut file: File) -> Result<String, Error> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(Error::io("read a file in", env::temp_dir()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A running child process that writes to a log file.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Mutex<Child>,
    group: Pid,
    log: PathBuf,
    /// Gone once the child is, so that an interrupt does not kill another group that got its number.
    undo: Mutex<Option<Undo>>,
}

impl Process {
    /// A command for `program` whose process the kernel kills when ours dies. Add arguments and environment, then
    /// [`start`](Self::start) it.
    pub(crate) fn command(program: &Path) -> Command {
        let Some(setpriv) = SETPRIV.as_ref() else { return Command::new(program) };
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// The same with nothing of our environment: etcd, for one, takes settings from it.
    pub(crate) fn component(program: &Path) -> Command {
        let mut command = Self::command(program);
        command.env_clear();
        command
    }

    /// Starts the command in a process group of its own, without input; what it writes is added to `log`.
    pub(crate) fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self, Error> {
        let output = File::options().create(true).append(true).open(log).map_err(Error::io("write", log))?;
        let errors = output.try_clone().map_err(Error::io("write", log))?;
        command.stdout(output).stderr(errors);
        Self::start_group(name, command, log.to_owned())
    }

    /// The same without a log: it writes where we write.
    pub(crate) fn start_attached(name: &'static str, command: Command) -> Result<Self, Error> {
        Self::start_group(name, command, PathBuf::new())
    }

    fn start_group(name: &'static str, mut command: Command, log: PathBuf) -> Result<Self, Error> {
        command.stdin(Stdio::null()).process_group(0);
        let ((child, group), undo) = interrupt::undoable(|| {
            let child = spawn_from_lasting_thread(command).map_err(Error::io("start", name))?;
            let group = Pid::from_child(&child);
            Ok::<_, Error>(((child, group), Box::new(move || kill_and_reap(group)) as _))
        })?;
        Ok(Self { name, child: Mutex::new(child), group, log, undo: Mutex::new(Some(undo)) })
    }

    /// The name given at the start.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The log file.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of the log.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        let status = self.lock().try_wait().ok().flatten()?;
        self.forget_undo();
        Some(status)
    }

    /// An error if it ended on its own.
    pub(crate) fn must_run(&self) -> Result<(), Error> {
        self.ended().map_or(Ok(()), |status| {
            Err(Error::Ended { component: self.name, status, log: self.log.clone(), tail: self.log_tail() })
        })
    }

    /// Asks the whole group to end (SIGTERM).
    pub(crate) fn ask_to_end(&self) {
        if self.ended().is_none() {
            // Fails only where nothing is left to end.
            let _ = kill_process_group(self.group, Signal::TERM);
        }
    }

    /// Asks the whole group to end (SIGTERM) and waits until the process has; `limit` over, it is killed by the drop of `self`.
    pub(crate) fn terminate(self, limit: Duration) -> Result<ExitStatus, Error> {
        self.ask_to_end();
        wait::until(format!("{} has ended after SIGTERM", self.name), limit, || {
            Ok(self.ended().map_or(Look::NotYet("it is running".into()), Look::Met))
        })
    }

    /// Kills the whole group at once (SIGKILL) and waits until the process is gone.
    pub(crate) fn kill(&self) {
        if self.ended().is_some() {
            return;
        }
        self.forget_undo();
        // Neither can fail in a way we could mend: the child was ours and not reaped.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.lock().wait();
    }

    fn forget_undo(&self) {
        drop(self.undo.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills a group and reaps its leader. Only for the end of our process: who holds the child cannot wait for it any more.
fn kill_and_reap(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
    let _ = waitid(WaitId::Pid(group), WaitIdOptions::EXITED);
}

/// The last lines of a text file, or why it cannot be read.
pub(crate) fn tail(log: &Path) -> String {
    match fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("(cannot read it: {error})"),
    }
}

/// The first executable of that name in `PATH`.
pub(crate) fn program_in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

type SpawnRequest = (Command, Sender<io::Result<Child>>);

/// The kernel ends a tied child when the *thread* that started it ends, and the threads of trials come and go.
static SPAWNER: LazyLock<Mutex<Sender<SpawnRequest>>> = LazyLock::new(|| {
    let (sender, requests) = channel::<SpawnRequest>();
    thread::spawn(move || {
        for (mut command, answer) in requests {
            // A caller that is gone needs no answer; the kernel takes care of its child.
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    let (answer, spawned) = channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    SPAWNER.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    spawned.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    // A target without a harness leaves the tests out, but not what they would use.
    #[test]
    fn output_is_what_the_program_printed_or_why_it_failed() {
        use super::{Command, output_of};

        assert_eq!(output_of(Command::new("echo").args(["a", "b"])).expect("it succeeds"), "a b\n");
        let mut script = Command::new("sh");
        script.args(["-c", "echo $WORD >&2; pwd; exit 3"]).env("WORD", "why").current_dir("/");
        let error = output_of(&script).expect_err("it fails").to_string();
        assert_eq!(error, "sh -c echo $WORD >&2; pwd; exit 3 failed (exit status: 3): why");
        assert!(
            output_of(&Command::new("/nothing/here")).is_err_and(|error| error.to_string().contains("/nothing/here"))
        );
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        use super::{Command, Duration, Error, fs, output_within};

        let seconds = format!("600.{}", std::process::id());
        let late = output_within(Command::new("sleep").arg(&seconds), Duration::from_millis(100));
        assert!(matches!(late, Err(Error::Deadline(_))), "{late:?}");
        let processes = fs::read_dir("/proc").expect("Linux").flatten();
        let calls = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
        assert_eq!(calls.filter(|call| call.contains(&seconds)).count(), 0);
    }
}
