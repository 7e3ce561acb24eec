//! Tests of the whole, in one binary.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the functions around a test may fail like the test itself")]

mod check;
mod corpus;
mod deploy;
mod manifest;
mod tidy;
