//! A real Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager on loopback, and
//! kubectl and helm to talk to it. The programs are built from the Go modules in `modules/` and cached; README.md has the rest.

pub(crate) mod api;
mod binaries;
pub(crate) mod client;
pub(crate) mod control_plane;
pub(crate) mod error;
mod etcd;
pub(crate) mod go_module;
pub(crate) mod interrupt;
mod pki;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod rights;
mod run_folder;
mod version;
pub(crate) mod wait;

pub(crate) use binaries::Binaries;
pub(crate) use control_plane::{ControlPlane, Options};
pub(crate) use version::Version;
