//! `no502 crd`: what teaches a cluster the policies.

use super::{Exit, Failure, print};
use crate::crd;

/// Prints the custom resource definitions of the policies, with which `no502 manifests` begins: `no502 crd | kubectl apply -f -`
#[derive(Debug, clap::Args)]
pub(super) struct Crd {}

impl Crd {
    #[expect(clippy::unused_self, reason = "every command runs like this")]
    pub(super) fn run(self) -> Result<Exit, Failure> {
        print(&format!("{}{}", HEADER, crd::yaml()))
    }
}

const HEADER: &str = "# Written by `no502 crd`.\n";
