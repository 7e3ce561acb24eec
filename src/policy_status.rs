//! The status of policy objects, and their Events: what [`crate::policy::audit`] finds, written into the cluster by whichever
//! replica comes first. Nothing here is ever in the way of a review.

mod complaints;
mod document;
mod events;
mod fnv;
mod known;
mod objects;
mod teller;
mod used;
mod writer;

pub use self::{
    objects::{PolicyObjects, Stored},
    used::UsedExemptions,
    writer::{Pass, StatusWriter},
};

/// Who owns the status of policies, on every replica.
pub const FIELD_MANAGER: &str = "no502";
