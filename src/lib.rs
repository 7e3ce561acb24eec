//! no502: a Kubernetes admission server that stops deploy-time 502s before they happen.

pub mod certs;
pub mod check;
pub mod cli;
pub mod deploy;
pub mod facts;
pub mod inject;
pub mod link;
pub mod manifest;
pub mod metrics;
pub mod nearest;
pub mod patch;
pub mod policy;
pub mod report;
pub mod review;
pub mod rule;
pub mod rules;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod verdict;
pub mod warning;
