//! The command line: what was typed, and which subcommand it is. One file a subcommand; each returns its exit code.

mod check;
mod cluster;
mod crd;
mod dev;
mod fix;
mod flags;
mod kinds;
mod manifests;
mod output;
mod policy;
mod serve;

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use clap::Parser;

/// Stops deploy-time 502s before they happen: a Kubernetes admission server, and the same checks for files.
#[derive(Debug, Parser)]
#[command(name = "no502", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Check(check::Check),
    Fix(Box<fix::Fix>),
    Manifests(manifests::Manifests),
    Crd(crd::Crd),
    Policy(policy::Policy),
}

/// Exit codes (design 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Clean = 0,
    Findings = 1,
    Usage = 2,
    Unreachable = 3,
}

/// Form of a report.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Runs one command line and reports failures on standard error, one line each.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Clean as u8 });
        }
    };
    let result = match cli.command {
        Command::Serve(it) => it.run(),
        Command::Check(it) => it.run(),
        Command::Fix(it) => it.run(),
        Command::Manifests(it) => it.run(),
        Command::Crd(it) => it.run(),
        Command::Policy(it) => it.run(),
    };
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            report(&failure.error);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// A command that could not do its work.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }
}

/// Prints the whole output of a command.
fn print(text: &str) -> Result<Exit, Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Clean),
        other => other.map(|()| Exit::Clean).map_err(Into::into),
    }
}

#[expect(clippy::print_stderr, reason = "the one place where the program says why it failed")]
fn report(error: &anyhow::Error) {
    eprintln!("no502: {error:#}");
}
