//! The `RolloutPolicies` of one namespace, and how many exemptions they may have together.

use std::sync::Arc;

use super::{Exemption, PolicyObject};

/// Most exemptions of all policies of one namespace together: each finding in it is held against them.
pub(super) const OWN_EXEMPTIONS_MAX: usize = 256;

/// The policies of one namespace.
#[derive(Debug)]
pub(super) struct Own {
    /// Those that count least first.
    pub(super) policies: Vec<Arc<PolicyObject>>,
    /// Their exemptions, as many as count.
    pub(super) exemptions: Arc<[Arc<Exemption>]>,
    /// Exemptions that are beyond [`OWN_EXEMPTIONS_MAX`].
    left_out: usize,
}

impl Own {
    /// `policies` are in the order in which they count.
    pub(super) fn new(policies: Vec<Arc<PolicyObject>>) -> Self {
        let mut by_name: Vec<&Arc<PolicyObject>> = policies.iter().collect();
        by_name.sort_by(|a, b| a.name.cmp(&b.name));
        let all = || by_name.iter().flat_map(|it| &it.exemptions);
        let exemptions = all().take(OWN_EXEMPTIONS_MAX).cloned().collect();
        let left_out = all().count().saturating_sub(OWN_EXEMPTIONS_MAX);
        Self { policies, exemptions, left_out }
    }

    /// What is to be said if not all exemptions count.
    pub(super) fn remark(&self) -> Option<String> {
        let all = OWN_EXEMPTIONS_MAX + self.left_out;
        let text = "count, by the names of the policies";
        (self.left_out > 0).then(|| {
            format!("the RolloutPolicies of this namespace have {all} exemptions; {OWN_EXEMPTIONS_MAX} {text}")
        })
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Arc<PolicyObject>> {
        self.policies.iter()
    }
}
