//! Tests through the public API, in one binary.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod manifest;
