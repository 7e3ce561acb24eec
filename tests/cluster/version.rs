//! The Kubernetes versions the tests run against: the newest and the oldest supported one, and an old API server.

use std::{fmt, str::FromStr};

/// A minor version of Kubernetes that has a Go module in `modules/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// The newest supported minor.
    V1_37,
    /// The oldest supported minor.
    V1_35,
    /// Out of support; its API server is the newest one that can be started without the sleep action. It comes without
    /// controllers: a Deployment is stored and nothing comes of it.
    V1_33,
}

impl Version {
    /// Every supported version, the newest first.
    pub(crate) const ALL: [Self; 2] = [Self::V1_37, Self::V1_35];
    /// Every version that can be started, the newest first.
    pub(crate) const BUILT: [Self; 3] = [Self::V1_37, Self::V1_35, Self::V1_33];

    /// The minor number: 37 for 1.37.
    pub(crate) const fn minor(self) -> u32 {
        match self {
            Self::V1_37 => 37,
            Self::V1_35 => 35,
            Self::V1_33 => 33,
        }
    }

    /// Whether it comes with kube-controller-manager.
    pub(crate) const fn has_controllers(self) -> bool {
        !matches!(self, Self::V1_33)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor())
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::BUILT
            .into_iter()
            .find(|version| version.to_string() == text)
            .ok_or_else(|| format!("version {text:?} is not one of {}", Self::BUILT.map(|v| v.to_string()).join(", ")))
    }
}
