//! Logs: one line an event on stderr, as text for people or as JSON for collectors.

use std::{
    env,
    io::{self, IsTerminal},
    panic,
};

use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: coloured on a terminal, unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log filter {filter:?}: {problem}; write a level (info) or target=level pairs (info,no502=debug)")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What the parser says.
        problem: tracing_subscriber::filter::ParseError,
    },
    /// Somebody has set a subscriber before.
    #[error("logging is set up already")]
    Twice,
}

/// Starts logging for the whole process, and sends panics there too: a backtrace in the middle of JSON lines is lost.
///
/// # Errors
/// When `filter` does not parse, or when the process logs already.
pub fn init(format: Format, filter: &str) -> Result<(), TelemetryError> {
    let parsed =
        EnvFilter::try_new(filter).map_err(|problem| TelemetryError::Filter { filter: filter.to_owned(), problem })?;
    let colour = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(io::stderr).with_ansi(colour);
    let outcome = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    outcome.map_err(|_| TelemetryError::Twice)?;
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {}", info.payload_as_str().unwrap_or("(no message)"));
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let error = init(Format::Text, "no502=loud").map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains("no502=loud") && text.contains("write a level")));
    }
}
