//! kubectl and helm against the test control plane: nothing of the caller's environment, and an end in any case.

use std::{
    env,
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{
    error::Error,
    process::Process,
    wait::{self, Look},
};

const CALL_LIMIT_SECONDS: u64 = 60;
const KUBECTL_REQUEST_LIMIT: &str = "--request-timeout=30s";

/// A program that talks to the API server, and how to call it.
#[derive(Debug)]
pub(crate) struct Client {
    name: &'static str,
    program: PathBuf,
    /// Flags of every call.
    flags: &'static [&'static str],
    pub(crate) kubeconfig: PathBuf,
    /// Its home folder, with its cache.
    pub(crate) home: PathBuf,
}

/// What a call gave.
#[derive(Debug)]
pub(crate) struct Output {
    /// The program's name and its arguments.
    pub(crate) call: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// What it printed to stdout; an error if it did not succeed.
    pub(crate) fn success(self) -> Result<String, Error> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        Err(Error::Client { call: self.call, status: self.status, stderr: self.stderr.trim().to_owned() })
    }

    /// The JSON it printed to stdout; an error if it did not succeed.
    pub(crate) fn json(self) -> Result<Value, Error> {
        let call = self.call.clone();
        let (status, text) = (self.status, self.success()?);
        serde_json::from_str(&text).map_err(|error| Error::Client {
            call,
            status,
            stderr: format!("stdout is not JSON ({error}): {text}"),
        })
    }
}

impl Client {
    pub(crate) fn kubectl(program: PathBuf, kubeconfig: PathBuf, home: PathBuf) -> Self {
        Self { name: "kubectl", program, flags: &[KUBECTL_REQUEST_LIMIT], kubeconfig, home }
    }

    pub(crate) fn helm(program: PathBuf, kubeconfig: PathBuf, home: PathBuf) -> Self {
        Self { name: "helm", program, flags: &[], kubeconfig, home }
    }

    /// The program.
    pub(crate) fn program(&self) -> &PathBuf {
        &self.program
    }

    /// Calls the program; it is killed after 60 s.
    pub(crate) fn run(&self, args: &[&str], stdin: Option<&str>) -> Result<Output, Error> {
        self.run_with(&[], args, stdin)
    }

    /// The same with more environment.
    pub(crate) fn run_with(
        &self,
        environment: &[(&str, &str)],
        args: &[&str],
        stdin: Option<&str>,
    ) -> Result<Output, Error> {
        let failed = || Error::io("run", &self.program);
        // Files instead of pipes: the program can never wait for us to read or write.
        let mut stdout = tempfile::tempfile().map_err(failed())?;
        let mut stderr = tempfile::tempfile().map_err(failed())?;
        let mut child = Process::command(&self.program)
            .args(self.flags)
            .args(args)
            .env_clear()
            // For the programs they call: `diff`, an editor.
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            // kubectl keeps what could not be written after an edit.
            .env("TMPDIR", &self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            .envs(environment.iter().copied())
            .stdin(stdin.map_or_else(|| Ok(Stdio::null()), input).map_err(failed())?)
            .stdout(stdout.try_clone().map_err(failed())?)
            .stderr(stderr.try_clone().map_err(failed())?)
            .spawn()
            .map_err(failed())?;
        let call = format!("{} {}", self.name, args.join(" "));
        let limit = Duration::from_secs(CALL_LIMIT_SECONDS);
        let status = wait::until(format!("{call} has ended"), limit, || {
            Ok::<_, Error>(child.try_wait().map_err(failed())?.map_or(Look::NotYet("it is running".into()), Look::Met))
        });
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        Ok(Output {
            call,
            status: status?,
            stdout: read_from_start(&mut stdout).map_err(failed())?,
            stderr: read_from_start(&mut stderr).map_err(failed())?,
        })
    }
}

fn input(text: &str) -> std::io::Result<Stdio> {
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

fn read_from_start(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
