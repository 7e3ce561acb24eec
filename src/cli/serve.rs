//! `no502 serve`: the admission server.

use super::{Exit, Failure};

/// Runs the admission server
#[derive(Debug, clap::Args)]
pub(super) struct Serve {}

impl Serve {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        Ok(Exit::Clean)
    }
}
