//! What the harness tells the person who waits, on stderr: one line per event, and a running clock for slow work.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Writes one line to stderr.
pub(crate) fn say(line: &str) {
    // Nobody can be told that stderr is closed.
    let _ = writeln!(stderr(), "cluster: {line}");
}

/// A line with the seconds that went by: rewritten each second on a terminal, written anew each 30 s elsewhere.
#[derive(Debug)]
pub(crate) struct Clock {
    label: String,
    start: Instant,
    next: Duration,
}

impl Clock {
    /// Starts the clock and shows its first line.
    pub(crate) fn start(label: impl Into<String>) -> Self {
        let clock = Self { label: label.into(), start: Instant::now(), next: Duration::ZERO };
        say(&clock.label);
        clock
    }

    /// Shows the time that went by if it is time to.
    pub(crate) fn tick(&mut self) {
        let elapsed = self.start.elapsed();
        let on_terminal = stderr().is_terminal();
        let interval = if on_terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL };
        if elapsed < self.next.max(interval) {
            return;
        }
        self.next = elapsed + interval;
        if on_terminal {
            let _ = write!(stderr(), "\rcluster: {} {} s", self.label, elapsed.as_secs());
        } else {
            say(&format!("{} {} s so far", self.label, elapsed.as_secs()));
        }
    }

    /// Shows the last line.
    pub(crate) fn finish(self, outcome: &str) {
        let start_of_line = if stderr().is_terminal() { "\r" } else { "" };
        let _ = writeln!(
            stderr(),
            "{start_of_line}cluster: {} {outcome} after {} s",
            self.label,
            self.start.elapsed().as_secs()
        );
    }
}
