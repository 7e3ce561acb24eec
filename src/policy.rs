//! What the platform team decided: profiles, actions, settings.

/// The policies in force.
#[derive(Debug, Clone, Default)]
pub struct Policies {}
