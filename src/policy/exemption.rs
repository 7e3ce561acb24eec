//! Findings that are known and accepted for a time: they warn instead of denying.

use jiff::{SignedDuration, Timestamp};
use smol_str::SmolStr;
use wildmatch::WildMatch;

use super::{CLUSTER_KIND, End, Limits, NAMESPACED_KIND};
use crate::rule::ObjectName;

/// One exemption of a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemption {
    /// Id of the rule.
    pub rule: &'static str,
    /// What it is for.
    pub target: Target,
    /// Why.
    pub reason: SmolStr,
    /// From then on it does not count.
    pub expires: Timestamp,
    /// The policy that has it.
    pub policy: PolicyName,
    /// Its place in the policy's list.
    pub index: usize,
}

/// The objects that an exemption is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// `Deployment`.
    pub kind: SmolStr,
    /// Name of the object; `*` stands for any letters, `?` for one.
    pub name: WildMatch,
    /// The container that the finding is about; `None` for any, and for findings that are about none.
    pub container: Option<SmolStr>,
}

/// Name of a policy object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName {
    /// Empty for a `ClusterRolloutPolicy`.
    pub namespace: SmolStr,
    /// Its name.
    pub name: SmolStr,
}

impl PolicyName {
    /// `RolloutPolicy` or `ClusterRolloutPolicy`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.namespace.is_empty() { CLUSTER_KIND } else { NAMESPACED_KIND }
    }
}

/// `RolloutPolicy "defaults"`.
impl std::fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} \"{}\"", self.kind(), self.name)
    }
}

/// Whether an exemption counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// It ends later than cluster policies allow from now.
    TooFarAhead,
    /// Cluster policies keep namespaces from having it.
    Locked,
}

impl Standing {
    /// As reports write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::TooFarAhead => "too far ahead",
            Self::Locked => "locked",
        }
    }

    /// Why an exemption that stands so does not count, as a sentence about it; `None` for one that counts. It does not change while
    /// nothing does.
    #[must_use]
    pub fn text(self, exemption: &Exemption, limits: &Limits) -> Option<String> {
        let Exemption { rule, expires, .. } = exemption;
        match self {
            Self::Active => None,
            Self::Expired => Some(format!("expired at {expires}")),
            Self::TooFarAhead => {
                let End { rank: days, policy } = limits.exemption_days_max.as_ref()?;
                let plural = if *days == 1 { "" } else { "s" };
                Some(format!(
                    "does not count until {days} day{plural} before it ends at {expires}: ClusterRolloutPolicy \"{policy}\" allows \
                     no more"
                ))
            }
            Self::Locked => {
                let policy = limits.forbids_exemption(rule)?;
                Some(format!(
                    "does not count: ClusterRolloutPolicy \"{policy}\" keeps namespaces from exempting themselves from {rule}"
                ))
            }
        }
    }
}

impl Exemption {
    /// True for a finding that it is for, whether it counts or not.
    #[must_use]
    pub fn covers(&self, rule: &str, object: &ObjectName, container: Option<&str>) -> bool {
        let Target { kind, name, .. } = &self.target;
        self.rule == rule && *kind == object.kind && self.is_for_container(container) && name.matches(&object.name)
    }

    /// True for a finding about that container; `None` is a finding about no container.
    #[must_use]
    pub fn is_for_container(&self, container: Option<&str>) -> bool {
        self.target.container.as_deref().is_none_or(|it| container == Some(it))
    }

    /// Whether it counts at this moment, in a namespace with these limits. Those of the cluster know no limits.
    #[must_use]
    pub fn standing(&self, limits: &Limits, now: Timestamp) -> Standing {
        if now >= self.expires {
            return Standing::Expired;
        }
        if self.policy.namespace.is_empty() {
            return Standing::Active;
        }
        if limits.forbids_exemption(self.rule).is_some() {
            return Standing::Locked;
        }
        let days_max = limits.exemption_days_max.as_ref().map(|it| it.rank);
        let latest =
            days_max.and_then(|days| now.checked_add(SignedDuration::from_hours(days.saturating_mul(24))).ok());
        if latest.is_some_and(|latest| self.expires > latest) { Standing::TooFarAhead } else { Standing::Active }
    }
}
