//! The proof: rolling updates under load on a real cluster, with and without no502.

#[expect(dead_code, reason = "the end-to-end tests use more of it than the proof")]
#[path = "../cluster/mod.rs"]
mod cluster;
#[cfg_attr(not(test), expect(dead_code, reason = "being built"))]
mod outcome;
#[cfg_attr(not(test), expect(dead_code, reason = "being built"))]
mod report;

fn main() {}
