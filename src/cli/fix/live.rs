//! `no502 fix --undo --live`.

use std::path::PathBuf;

use super::{Exit, Failure};

/// Options of `--live`.
#[derive(Debug, clap::Args)]
pub(super) struct Live {
    /// Take out of live objects in a cluster, not of files
    #[arg(long)]
    live: bool,
}

impl Live {
    pub(super) fn is_meant(&self) -> bool {
        self.live
    }

    pub(super) fn run(&self, _objects: &[PathBuf]) -> Result<Exit, Failure> {
        Ok(Exit::Unreachable)
    }
}
