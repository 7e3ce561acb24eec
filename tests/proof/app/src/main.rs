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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SAMPLES: [(&str, &str); 2] = [
        ("shop.yaml", include_str!("../../../../deploy/samples/shop/shop.yaml")),
        ("load.yaml", include_str!("../../../../deploy/samples/shop/load.yaml")),
    ];
    const PAGE: &str = include_str!("../../../../deploy/samples/README.md");

    fn parsed<'a>(args: impl Iterator<Item = &'a str>) -> Result<Command, clap::Error> {
        Command::try_parse_from(["shop"].into_iter().chain(args))
    }

    #[test]
    fn the_samples_ask_for_what_there_is() {
        for (file, text) in SAMPLES {
            let objects: Vec<Value> = serde_saphyr::from_multiple(text).expect("it is YAML");
            let containers = objects.iter().filter_map(|object| object.pointer("/spec/template/spec/containers/0"));
            let containers: Vec<_> = containers.collect();
            assert_eq!(containers.len(), 1, "{file}");
            let args = containers[0]["args"].as_array().expect("args is a list");
            // A number without quotes is none that Kubernetes takes.
            let command = parsed(args.iter().map(|arg| arg.as_str().expect("an argument is a text")));
            let command = command.unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(matches!(command, Command::Load(_)), file == "load.yaml", "{file}: {command:?}");
        }
    }

    #[test]
    fn the_page_of_the_samples_asks_for_what_there_is() {
        let lines = PAGE.lines().filter_map(|line| line.trim_start_matches("until ").strip_prefix("shop "));
        let commands: Vec<_> = lines.map(|line| line.split(['&', ';', '#']).next().unwrap_or_default()).collect();
        assert!(commands.len() >= 5, "{commands:?}");
        for command in commands {
            assert!(parsed(command.split_whitespace()).is_ok(), "deploy/samples/README.md: shop {command}");
        }
        let flags = ["--on-term drain", "--warm-after 5", "--listen-after 5", "--work-ms 2000"];
        for flag in flags {
            assert!(PAGE.contains(&format!("`{flag}`")), "{flag} is not there any more");
            assert!(parsed(["serve"].into_iter().chain(flag.split(' '))).is_ok(), "{flag}");
        }
    }
}
