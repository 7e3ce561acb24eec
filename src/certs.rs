//! Certificates of the webhook port: where they come from, and how a new one gets in force.
//!
//! Three sources: `ephemeral` (a CA and a leaf for one run), `files` (mounted by somebody else, cert-manager for
//! instance) and `shared` (a CA of our own in one Secret, a leaf in each replica's memory, the `caBundle` kept right).
//! Each ends in [`Pair::server_config`], which is stored into the [`TlsConfig`](crate::server::TlsConfig) that the
//! listener reads for each new connection. `rotation` is the pure part of `shared`: when to do what.

mod authority;
mod bundle;
mod ephemeral;
mod files;
mod pair;
pub mod rotation;
mod secret;
mod shared;

use jiff::{SignedDuration, Timestamp};

pub use self::{
    authority::Authority,
    bundle::{Configuration, FIELD_MANAGER},
    ephemeral::{Ephemeral, ephemeral},
    files::{FILES_POLL, Files},
    pair::{Pair, nothing_yet, serving_names},
    shared::{SHARED_CHECK, Shared, SharedOptions, Step},
};

use crate::server::Condition;

/// Backdating of what we issue: clocks of nodes differ.
pub const BACKDATE: SignedDuration = SignedDuration::from_hours(1);
/// Lifetime of a CA.
pub const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Lifetime of a leaf.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What went wrong with a certificate, and where.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file that a flag names cannot be read.
    #[error("{flag} {path}: {source}")]
    Read {
        /// `--tls-cert-file` or `--tls-key-file`.
        flag: &'static str,
        /// As given.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Something does not hold what it should.
    #[error("{place}: {problem}")]
    Content {
        /// The file or Secret.
        place: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The API server refuses or cannot be reached.
    #[error("{action} {object}: {source}")]
    Api {
        /// `read`, `create`, `update` or `apply`.
        action: &'static str,
        /// `Secret ns/name` or `ValidatingWebhookConfiguration name`.
        object: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// A certificate could not be made.
    #[error("issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
}

impl CertsError {
    fn content(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Content { place: place.into(), problem: problem.into() }
    }

    fn api(action: &'static str, object: impl Into<String>, source: kube::Error) -> Self {
        Self::Api { action, object: object.into(), source: Box::new(source) }
    }

    /// Somebody else wrote in between: look again, then decide again.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 409))
    }
}

/// The part of a lifetime that is left, one third, when a successor is due.
#[must_use]
pub fn renewal_due(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
    let lifetime_seconds = not_after.as_second().saturating_sub(not_before.as_second());
    let left_seconds = not_after.as_second().saturating_sub(now.as_second());
    left_seconds.saturating_mul(3) <= lifetime_seconds
}

/// Says whether what is served is valid now. `complaint` explains why nothing is served.
fn judge(served: Option<&Pair>, complaint: Option<&str>, valid: &Condition, now: Timestamp) {
    match served {
        Some(pair) if pair.is_valid(now) => valid.met(),
        Some(pair) if now < pair.not_before => valid.missing(format!("not valid before {}", pair.not_before)),
        Some(pair) => valid.missing(format!("expired at {}", pair.not_after)),
        None => valid.missing(complaint.unwrap_or("none yet")),
    }
}
