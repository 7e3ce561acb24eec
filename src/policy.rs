//! What the platform team decided: settings, by policies and annotations, within bounds; and exemptions. [`Policies`] is asked for
//! each write what is in force ([`Policies::effective`]); [`PolicyStore`] is where policies arrive.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod annotations;
mod audit;
mod effective;
mod exemption;
mod explain;
mod field;
mod injection;
mod limit;
mod object;
mod own;
mod resolve;
mod selector;
mod set;
mod store;
mod tie;
mod value;

pub(crate) use self::{
    annotations::break_glass,
    resolve::built_in,
    selector::{LABEL_CHARS_MAX, PREFIX_CHARS_MAX},
    value::shortened,
};
pub use self::{
    audit::{
        EXPIRES_SOON_DAYS, ExemptionCounts, ExemptionRemark, Judgement, PolicyStatus, RemarkKind, USED_FOR_DAYS, Used,
        WORKLOADS_MAX, audit,
    },
    effective::{Effective, Source},
    exemption::{Exemption, PolicyName, Standing, Target},
    explain::{BreakGlass, ExemptionNote, Explained, Explanation, Overridden, Speaker, Unreadable, Why},
    field::{DEFINITIONS, Definition, Field, Reach},
    injection::{
        DRAIN_SECONDS_MAX, GRACE_SECONDS_MAX, InjectionSettings, Mode, PROBE_NUMBER_MAX, Preset, ProbeValues,
        SLEEP_SECONDS_MAX, TemplateKind, TemplateKinds,
    },
    limit::{Bound, End, Limits},
    object::{
        API_VERSION, CLUSTER_KIND, EXEMPTION_DAYS, EXEMPTION_DAYS_MAX, EXEMPTIONS, EXEMPTIONS_MAX, NAMESPACED_KIND,
        PRIORITY_MAX, PolicyObject, REASON_CHARS_MAX, ReadPolicy,
    },
    resolve::Step,
    selector::Selector,
    set::{Entry, Policies},
    store::{Installation, OWN_NAMESPACE, PolicyStore},
    tie::Tie,
    value::{FieldValue, Shape},
};
use crate::rule::Kind;

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
    /// Every profile, the weakest first.
    pub const ALL: [Self; 3] = [Self::Advise, Self::Standard, Self::Strict];

    /// The table of design 4.
    #[must_use]
    pub fn action(self, kind: Kind) -> Action {
        match (kind, self) {
            (Kind::Broken | Kind::Contradiction | Kind::Mismatch, Self::Standard | Self::Strict) => Action::Deny,
            (Kind::Info, _) => Action::Info,
            _ => Action::Warn,
        }
    }

    /// As policies write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Advise => "advise",
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|it| it.name() == text);
        known.ok_or_else(|| format!("\"{text}\" is no profile; use advise, standard or strict"))
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
