//! `shop`: the application that the proof updates under load (`shop serve`), and what makes the load and counts every
//! failed request (`shop load`). One static program, so that one image from nothing serves for both.

mod load;
mod serve;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;

/// Something was asked for that cannot be done: a wrong flag, a bad URL, a file that cannot be written.
const EXIT_WRONG_USE: u8 = 2;

/// The application and the load of the proof that no502 keeps its promise.
#[derive(Debug, Parser)]
#[command(name = "shop", subcommand_required = true, arg_required_else_help = false)]
enum Command {
    /// Answers HTTP requests until SIGTERM.
    Serve(serve::Args),
    /// Sends requests at a fixed rate and counts what failed, by cause. Exits with 1 if a request failed.
    Load(load::Args),
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(help) if !help.use_stderr() => {
            say(&help.to_string());
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&first_paragraph(&error.to_string())),
    };
    match run(command) {
        Ok(code) => code,
        Err(error) => fail(&format!("error: {error:#}")),
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = match command {
        Command::Serve(args) => runtime.block_on(serve::run(args)).map(|()| ExitCode::SUCCESS),
        Command::Load(args) => runtime.block_on(load::run(args)),
    };
    // Whatever still runs is cut, as the end of a process cuts it.
    runtime.shutdown_background();
    code
}

/// What clap says about a wrong use, without the usage below it, on one line.
fn first_paragraph(text: &str) -> String {
    text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn fail(line: &str) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(EXIT_WRONG_USE)
}

/// Writes to standard output at once; whoever closed it does not want to know.
pub(crate) fn say(text: &str) {
    let mut out = io::stdout().lock();
    _ = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
}

/// Reads a flag in seconds, fractions included.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    const SECONDS_MAX: f64 = 86_400.0;
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("not a number of seconds from 0 to {SECONDS_MAX}")),
    }
}
