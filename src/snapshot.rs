//! The immutable picture of the cluster that rules read.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// All facts of the cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {}
