//! What the object of a policy should say about it: is all of it in force, and are its exemptions still needed.

use super::{Entry, Policies, PolicyName};

impl Policies {
    /// The policy object of that name.
    #[must_use]
    pub fn entry(&self, name: &PolicyName) -> Option<&Entry> {
        self.entries.get(name).map(|it| &**it)
    }
}
