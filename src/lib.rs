//! no502: a Kubernetes admission server that stops deploy-time 502s before they happen.

pub mod manifest;
