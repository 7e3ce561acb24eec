//! no502: a Kubernetes admission server that stops deploy-time 502s before they happen.
//!
//! # Bird's view
//!
//! ```text
//!  API server ──► server ──► review(half, bytes, snapshot, policies, now) ──► bytes
//!                                 ▲
//!  watches, or files ──► facts ──► Store ──► Snapshot          (one pointer, swapped whole)
//! ```
//!
//! One pure function decides: [`review::review`]. It reads the object under review into [`facts`], lays the write over the
//! snapshot as a [`snapshot::World`] before and a world after, and asks the rules about every [`link`] around the object in
//! both. [`verdict`] alone turns findings into allowed or denied; [`inject`] plans the changes of the mutating half.
//!
//! # Where things are
//!
//! | to change | go to |
//! | --- | --- |
//! | a rule, or add one | `src/rules/<fault>.rs`, one line in [`rules`], `tests/fixtures/<fault>/` |
//! | what a rule may know of an object | [`facts`] |
//! | what it may ask about the cluster | [`snapshot`] |
//! | which hops a write touches, and the ratchet | [`link`] |
//! | what is denied, warned, always allowed | [`verdict`], [`policy`] |
//! | what is injected | [`inject`], [`patch`] |
//! | what a change of policy means for what exists | [`preview`] |
//! | what the API server sends and gets | [`review`], [`warning`] |
//! | the ports, certificates, watches | [`server`], [`certs`], [`watch`] |
//! | what a policy's own object says about it | [`policy`] (`audit.rs`), [`policy_status`] |
//! | files and folders of manifests, and what is said about them | [`manifest`], [`check`], [`report`] |
//! | what `no502 policy` explains and tries | [`policy`], [`trial`] |
//! | the edits of manifest text that `no502 fix` makes | [`fix`] |
//! | what `kubectl apply` installs | [`deploy`] |
//! | the schema of the policies | [`crd`] |
//!
//! # Invariants
//!
//! - The core (everything up to [`warning`] in the table) does no I/O, knows no clock and no `async`; a lint and a test keep it so.
//! - A rule never denies. A link rule never even says "broken": it looks at one world, the engine compares two.
//! - A write is denied only for what it breaks or asks for itself; writing an object again as it is, is never denied.
//! - A patch is applied to a copy and reviewed again before it is sent, and touches nothing but hooks, readiness probes,
//!   the grace period and our marker.
//! - A fault of ours is an HTTP error, so that the failure policy decides; never `allowed: false`.
//! - A snapshot is immutable; a review sees one moment.

pub mod certs;
pub mod check;
pub mod cli;
pub mod crd;
pub mod deploy;
pub mod facts;
pub mod fix;
pub mod inject;
pub mod link;
mod listing;
pub mod manifest;
pub mod metrics;
pub mod nearest;
pub mod patch;
pub mod policy;
pub mod policy_status;
pub mod preview;
pub mod report;
pub mod review;
pub mod rule;
pub mod rules;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod trial;
pub mod verdict;
pub mod warning;
pub mod watch;
