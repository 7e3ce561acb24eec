//! Integration tests: one binary, one file a subject.

mod certs;
mod kube_api;
mod rig;
mod server;
