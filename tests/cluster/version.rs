//! The Kubernetes versions the tests run against: the newest and the oldest supported one.

use std::{fmt, str::FromStr};

/// A minor version of Kubernetes that has a Go module in `modules/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// The newest supported minor.
    V1_37,
    /// The oldest supported minor.
    V1_35,
}

impl Version {
    /// Every version, the newest first.
    pub(crate) const ALL: [Self; 2] = [Self::V1_37, Self::V1_35];

    /// The minor number: 37 for 1.37.
    pub(crate) const fn minor(self) -> u32 {
        match self {
            Self::V1_37 => 37,
            Self::V1_35 => 35,
        }
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
        Self::ALL
            .into_iter()
            .find(|version| version.to_string() == text)
            .ok_or_else(|| format!("version {text:?} is not one of {}", Self::ALL.map(|v| v.to_string()).join(", ")))
    }
}
