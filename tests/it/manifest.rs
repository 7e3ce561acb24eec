//! The reading of manifests: dialect, positions, recovery, bounds.
