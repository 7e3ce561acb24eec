//! The immutable picture of the cluster that rules read.

/// All facts of the cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {}
