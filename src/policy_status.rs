//! The status of policy objects: what the cluster stores of each, for who writes it.

mod objects;

pub use self::objects::{PolicyObjects, Stored};
