//! What the platform team decided: the profile, actions by rule, exemptions, settings of the injections. Built in, and changed by
//! annotations, for now; policy resources fill the same struct.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod annotations;
mod injection;

use std::collections::BTreeMap;

pub(crate) use self::annotations::{DRAIN_KEY, EXCLUDE_KEY, SLEEP_KEY};
pub use self::injection::{
    DRAIN_SECONDS_MAX, Effective, GRACE_SECONDS_MAX, InjectionSettings, Mode, PROBE_NUMBER_MAX, Preset, ProbeValues,
    ReadinessMode, SLEEP_SECONDS_MAX, Source, TemplateKind, TemplateKinds,
};
use crate::rule::{Kind, ObjectName};

/// The policies in force.
#[derive(Debug, Clone)]
pub struct Policies {
    /// The table from finding kind to action.
    pub profile: Profile,
    /// Actions by rule id, instead of the profile's.
    pub actions: BTreeMap<String, Action>,
    /// Findings that are known and accepted for a time.
    pub exemptions: Vec<Exemption>,
    /// Members of these groups are never denied anything.
    pub break_glass_groups: Vec<String>,
    /// Where no502 itself runs; nothing is checked there.
    pub own_namespace: String,
    /// False is the kill switch: every write is allowed and nothing is injected; a hook with two handlers is still repaired.
    pub is_enabled: bool,
    /// Settings of the injections, before annotations change them.
    pub injection: InjectionSettings,
}

/// Namespaces in which nothing is checked or changed (design 4).
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// The namespace no502 is installed in, if nobody says otherwise.
pub const OWN_NAMESPACE: &str = "no502-system";

impl Default for Policies {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            actions: BTreeMap::new(),
            exemptions: Vec::new(),
            break_glass_groups: Vec::new(),
            own_namespace: OWN_NAMESPACE.to_owned(),
            is_enabled: true,
            injection: InjectionSettings::default(),
        }
    }
}

impl Policies {
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

    /// True where nothing is checked or changed.
    #[must_use]
    pub fn is_exempt_namespace(&self, namespace: &str) -> bool {
        SYSTEM_NAMESPACES.contains(&namespace) || namespace == self.own_namespace
    }

    /// The exemption that covers a finding at this moment.
    #[must_use]
    pub fn exemption(&self, rule: &str, object: &ObjectName, now: jiff::Timestamp) -> Option<&Exemption> {
        self.exemptions.iter().find(|it| it.covers(rule, object) && now < it.expires)
    }
}

/// How strict no502 is (design 4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Warns, never denies.
    Advise,
    /// Denies what breaks a path.
    #[default]
    Standard,
    /// As standard, and denies what rules mark as strict.
    Strict,
}

impl Profile {
    /// The table of design 4.
    #[must_use]
    pub fn action(self, kind: Kind) -> Action {
        match (kind, self) {
            (Kind::Broken | Kind::Contradiction | Kind::Mismatch, Self::Standard | Self::Strict) => Action::Deny,
            (Kind::Info, _) => Action::Info,
            _ => Action::Warn,
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "advise" => Ok(Self::Advise),
            "standard" => Ok(Self::Standard),
            "strict" => Ok(Self::Strict),
            _ => Err(format!("\"{text}\" is no profile; use advise, standard or strict")),
        }
    }
}

/// What a finding leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The write is refused.
    Deny,
    /// The write goes through with a warning.
    Warn,
    /// Metrics, audit annotation and reports only.
    Info,
    /// Nothing.
    Off,
}

impl Action {
    /// As policies and metrics write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Off => "off",
        }
    }
}

impl std::str::FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Deny, Self::Warn, Self::Info, Self::Off]
            .into_iter()
            .find(|it| it.name() == text)
            .ok_or_else(|| format!("\"{text}\" is no action; use deny, warn, info or off"))
    }
}

/// A finding that is known and accepted until a date: it warns instead of denying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemption {
    /// Id of the rule.
    pub rule: String,
    /// The object.
    pub namespace: String,
    /// `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// From then on it does not count.
    pub expires: jiff::Timestamp,
}

impl Exemption {
    fn covers(&self, rule: &str, object: &ObjectName) -> bool {
        self.rule == rule && self.namespace == object.namespace && self.kind == object.kind && self.name == object.name
    }
}
