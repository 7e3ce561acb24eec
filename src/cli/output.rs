//! Standard output: in colour or not, and without a complaint when nobody reads to the end.

use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;

use super::Failure;
use crate::report::Paint;

/// Colour for terminals, unless `NO_COLOR` is set or the terminal knows none.
pub(super) fn paint() -> Paint {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|it| !it.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|it| it == "dumb");
    if io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb { Paint::Colour } else { Paint::Plain }
}

/// A reader that has seen enough (`| head`) is no failure, and changes no exit code.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.context("cannot write the report")?),
    }
}
