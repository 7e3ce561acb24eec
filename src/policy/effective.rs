//! What is in force for one write: typed values, who set them, and what could not be used.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use smol_str::SmolStr;

use super::{Action, Exemption, Field, InjectionSettings, Limits, Profile, Standing, own::OWN_EXEMPTIONS_MAX};
use crate::rule::{Kind, ObjectName};

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Nobody.
    BuiltIn,
    /// A flag of the server.
    Flag,
    /// The `ClusterRolloutPolicy` of that name.
    ClusterPolicy(SmolStr),
    /// An annotation of the Namespace.
    Namespace,
    /// The `RolloutPolicy` of that name.
    Policy(SmolStr),
    /// An annotation of the workload, or of its pod template.
    Workload,
}

impl Source {
    /// True for what teams write below the platform: locks hold it off.
    #[must_use]
    pub fn is_below_cluster(&self) -> bool {
        matches!(self, Self::Namespace | Self::Policy(_) | Self::Workload)
    }

    /// What kind of thing set a value, as the JSON of `explain` and the files of `policy test` write it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BuiltIn => "BuiltIn",
            Self::Flag => "Flag",
            Self::ClusterPolicy(_) => "ClusterRolloutPolicy",
            Self::Namespace => "Namespace",
            Self::Policy(_) => "RolloutPolicy",
            Self::Workload => "Workload",
        }
    }

    /// `namespace shop`, `RolloutPolicy "defaults"`, `annotation`.
    #[must_use]
    pub fn text(&self, namespace: &str) -> String {
        match self {
            Self::BuiltIn => "built in".to_owned(),
            Self::Flag => "flag of the server".to_owned(),
            Self::ClusterPolicy(name) => format!("ClusterRolloutPolicy \"{name}\""),
            Self::Namespace => format!("namespace {namespace}"),
            Self::Policy(name) => format!("RolloutPolicy \"{name}\""),
            Self::Workload => "annotation".to_owned(),
        }
    }
}

/// The settings that are in force for one write.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// False is the kill switch.
    pub is_enabled: bool,
    /// The table from finding kind to action.
    pub profile: Profile,
    /// Actions of rules that differ from the profile's.
    pub actions: BTreeMap<&'static str, Action>,
    /// Members of these groups are never denied anything.
    pub break_glass_groups: Arc<[SmolStr]>,
    /// What is injected.
    pub settings: InjectionSettings,
    /// Who set a value; one that is not here is built in.
    pub sources: BTreeMap<Field, Source>,
    /// Settings of injections that cannot be used, one line each: the value of the next level counts instead.
    pub problems: Vec<String>,
    /// The same for policies as such and for what decides on denials.
    pub policy_problems: Vec<String>,
    /// Why nothing is injected, in the words of `no502.dev/reason`.
    pub reason: Option<SmolStr>,
    /// Those of the cluster, and those of the namespace.
    pub(super) exemptions: [Arc<[Arc<Exemption>]>; 2],
    pub(super) limits: Arc<Limits>,
}

impl Effective {
    /// What a finding of this kind leads to.
    #[must_use]
    pub fn action(&self, rule: &str, kind: Kind) -> Action {
        self.actions.get(rule).copied().unwrap_or_else(|| self.profile.action(kind))
    }

    /// True if somebody asked for denials by this rule in so many words.
    #[must_use]
    pub fn denies_explicitly(&self, rule: &str) -> bool {
        self.actions.get(rule) == Some(&Action::Deny)
    }

    /// The exemptions from a rule that are for an object and count at this moment. A finding about a container may be left out by
    /// [`Exemption::is_for_container`].
    #[must_use]
    pub fn exemptions_from(&self, rule: &str, object: &ObjectName, now: Timestamp) -> Vec<&Arc<Exemption>> {
        // Names last: they cost the most.
        let counts = |it: &&Arc<Exemption>| {
            it.rule == rule
                && it.target.kind == object.kind
                && it.standing(&self.limits, now) == Standing::Active
                && it.target.name.matches(&object.name)
        };
        self.exemptions().filter(counts).collect()
    }

    /// Every exemption that is for the namespace, whether it counts or not.
    pub fn exemptions(&self) -> impl Iterator<Item = &Arc<Exemption>> {
        self.exemptions.iter().flat_map(|it| it.iter())
    }

    /// Every exemption that is for the namespace, and whether it counts at this moment.
    pub fn exemptions_at(&self, now: Timestamp) -> impl Iterator<Item = (&Arc<Exemption>, Standing)> {
        self.exemptions().map(move |it| (it, it.standing(&self.limits, now)))
    }

    /// True for an exemption of the namespace that is beyond those that count.
    pub(super) fn leaves_out(&self, exemption: &Arc<Exemption>) -> bool {
        let [_, own] = &self.exemptions;
        own.len() >= OWN_EXEMPTIONS_MAX && !own.iter().any(|it| Arc::ptr_eq(it, exemption))
    }

    /// The bounds and locks that hold in the namespace.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Who set a value.
    #[must_use]
    pub fn source(&self, field: Field) -> &Source {
        self.sources.get(&field).unwrap_or(&Source::BuiltIn)
    }

    /// `prestop-sleep-seconds by namespace shop; readiness by annotation; reason: batch only`.
    #[must_use]
    pub fn summary(&self, namespace: &str) -> String {
        let injection = self.sources.iter().filter(|(field, _)| field.is_about_injection());
        let mut set: Vec<String> =
            injection.map(|(field, source)| format!("{} by {}", field.key(), source.text(namespace))).collect();
        set.sort_unstable();
        set.extend(self.reason.iter().map(|it| format!("reason: \"{it}\"")));
        set.join("; ")
    }

    /// `namespace shop` or `annotation`, for the values that are not built in.
    #[must_use]
    pub fn set_by(&self, field: Field, namespace: &str) -> Option<String> {
        self.sources.get(&field).map(|it| it.text(namespace))
    }
}
