//! no502: a Kubernetes admission server that stops deploy-time 502s before they happen.

pub mod certs;
pub mod metrics;
pub mod policy;
pub mod review;
pub mod server;
pub mod snapshot;
pub mod telemetry;
