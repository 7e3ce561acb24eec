//! What the platform team decided: profiles, actions, settings.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// The policies in force.
#[derive(Debug, Clone, Default)]
pub struct Policies {}
