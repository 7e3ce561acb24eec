//! What is to be said about the exemptions of one policy.

use jiff::{SignedDuration, Timestamp};
use smol_str::SmolStr;

use super::{Used, findings::Findings};
use crate::policy::{Effective, Entry, Exemption, Limits, Standing, own::OWN_EXEMPTIONS_MAX};

/// An exemption is announced so many days before it ends.
pub const EXPIRES_SOON_DAYS: i64 = 7;

/// An exemption is not called unused for so many days after a write or an object of the cluster needed it, and after it came: it is
/// written before what needs it, and what comes every night is not there at noon.
pub const USED_FOR_DAYS: i64 = 7;

/// How many exemptions there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExemptionCounts {
    /// They count.
    pub active: usize,
    /// Those of them that end within [`EXPIRES_SOON_DAYS`].
    pub expiring_soon: usize,
    /// Their time is over.
    pub expired: usize,
    /// They count and nothing needs them.
    pub unused: usize,
    /// Locks or bounds keep them out.
    pub not_in_force: usize,
}

/// Why an exemption is worth a word; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemarkKind {
    /// Its time is over.
    Expired,
    /// A lock or a bound keeps it out.
    NotInForce,
    /// Nothing needs it.
    Unused,
    /// It ends soon.
    ExpiringSoon,
}

/// What is to be said about one exemption.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExemptionRemark {
    /// Why.
    pub kind: RemarkKind,
    /// Its place in the policy's list.
    pub index: usize,
    /// One line; it does not change while nothing does.
    pub text: String,
}

/// What says whether an exemption is needed.
pub(super) struct Needs<'a> {
    pub(super) findings: &'a Findings,
    pub(super) used: &'a Used,
    /// Where the policy holds.
    pub(super) namespaces: &'a [&'a SmolStr],
}

/// What is to be said about the exemptions of one policy.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) counts: ExemptionCounts,
    /// The places of those that count.
    pub(super) in_force: Vec<usize>,
    /// The places of those that cover a finding of the cluster as it is now.
    pub(super) needed: Vec<usize>,
    /// The worst first.
    pub(super) remarks: Vec<ExemptionRemark>,
}

/// `effective` is what is in force in the policy's own namespace; one of the cluster has none.
pub(super) fn judge(entry: &Entry, effective: Option<&Effective>, needs: &Needs<'_>, now: Timestamp) -> Judged {
    let no_limits = Limits::default();
    let limits = effective.map_or(&no_limits, |it| &it.limits);
    let Judged { mut counts, mut in_force, mut needed, mut remarks } = Judged::default();
    let soon = now.checked_add(SignedDuration::from_hours(24 * EXPIRES_SOON_DAYS)).unwrap_or(Timestamp::MAX);
    for exemption in &entry.policy.exemptions {
        let mut remark = |kind, text: String| {
            let Exemption { index, rule, target, .. } = &**exemption;
            let text = format!("exemptions[{index}] ({rule}, {} \"{}\") {text}", target.kind, target.name);
            remarks.push(ExemptionRemark { kind, index: *index, text });
        };
        let expires = exemption.expires;
        let standing = exemption.standing(limits, now);
        let text = standing.text(exemption, limits).unwrap_or_default();
        match standing {
            Standing::Expired => {
                counts.expired += 1;
                remark(RemarkKind::Expired, format!("{text}; remove it, or give it a later time"));
                continue;
            }
            Standing::TooFarAhead => {
                counts.not_in_force += 1;
                remark(RemarkKind::NotInForce, format!("{text}; give it an earlier time"));
                continue;
            }
            Standing::Locked => {
                counts.not_in_force += 1;
                remark(RemarkKind::NotInForce, text);
                continue;
            }
            Standing::Active if effective.is_some_and(|it| it.leaves_out(exemption)) => {
                counts.not_in_force += 1;
                let text = "does not count: the RolloutPolicies of this namespace have more than";
                let fix = "those of the policies whose names come first do; remove some";
                remark(RemarkKind::NotInForce, format!("{text} the {OWN_EXEMPTIONS_MAX} that count; {fix}"));
                continue;
            }
            Standing::Active => {
                counts.active += 1;
                in_force.push(exemption.index);
            }
        }
        if expires <= soon {
            counts.expiring_soon += 1;
            remark(RemarkKind::ExpiringSoon, format!("expires at {expires}"));
        }
        match needs.findings.need(exemption, needs.namespaces) {
            Some(true) => needed.push(exemption.index),
            Some(false) if !needs.used.contains(&(exemption.policy.clone(), exemption.index)) => {
                counts.unused += 1;
                let text = "has covered no finding of the cluster and no write for";
                remark(RemarkKind::Unused, format!("{text} {USED_FOR_DAYS} days; remove it"));
            }
            _ => {}
        }
    }
    remarks.sort_unstable();
    Judged { counts, in_force, needed, remarks }
}
