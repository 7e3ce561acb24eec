//! A real Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager on loopback, and
//! kubectl and helm to talk to it. The programs are built from the Go modules in `modules/` and cached; README.md has the rest.

pub(crate) mod api;
pub(crate) mod binaries;
pub(crate) mod client;
pub(crate) mod control_plane;
mod error;
mod etcd;
#[cfg(target_os = "linux")]
pub(crate) mod image;
pub(crate) mod interrupt;
#[cfg(target_os = "linux")]
pub(crate) mod node;
mod pki;
pub(crate) mod process;
mod progress;
pub(crate) mod rights;
mod run_folder;
#[cfg(target_os = "linux")]
pub(crate) mod sandbox;
mod version;
pub(crate) mod wait;
mod wheel;

pub(crate) use binaries::{Binaries, NodeBinaries};
pub(crate) use control_plane::{ControlPlane, Options};
pub(crate) use error::Error;
pub(crate) use version::Version;
