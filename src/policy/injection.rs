//! Settings of the injections: what there is to set, and the built-in values (reference: mutations 11.1).

use std::sync::Arc;

use smol_str::SmolStr;

use crate::facts::{Meta, PortRef};

/// Values of the injections; the default is what is built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectionSettings {
    /// The most that any one injection does: changes are made, only told, or neither.
    pub mode: Mode,
    /// The kinds whose templates are changed.
    pub kinds: TemplateKinds,
    /// Objects that a controller owns are left alone: it would fight for its own version (reference: mutations 6.2).
    pub skips_owned: bool,
    /// Whether containers get a sleep.
    pub pre_stop: Mode,
    /// The preset that `sleep_seconds` comes from, if it comes from one.
    pub preset: Option<Preset>,
    /// Seconds a container waits before it is told to stop: 0 (none) to [`SLEEP_SECONDS_MAX`].
    pub sleep_seconds: i64,
    /// Where the native sleep is not available, the container's own `sleep` program is called.
    pub exec_fallback: bool,
    /// Whether the grace period is raised.
    pub grace_period: Mode,
    /// Seconds an application has to finish what it started: 0 to [`DRAIN_SECONDS_MAX`].
    pub app_drain_seconds: i64,
    /// No grace period is raised above this, in seconds.
    pub max_grace_seconds: i64,
    /// What happens where a readiness probe is missing.
    pub readiness: Mode,
    /// The port that an injected probe asks, instead of the one that a Service targets.
    pub readiness_port: Option<PortRef>,
    /// Values of an injected probe.
    pub probe: ProbeValues,
    /// Containers that nothing is put into.
    pub excluded_containers: Arc<[SmolStr]>,
    /// A write that keeps a pod template which lacks something is told how it comes in.
    pub hints_restart: bool,
}

/// Longest sleep that can be set, in seconds (reference: mutations 11.1).
pub const SLEEP_SECONDS_MAX: i64 = 300;

/// Longest drain time that can be set, in seconds (reference: mutations 11.1).
pub const DRAIN_SECONDS_MAX: i64 = 3_600;

/// Longest grace period that can be set as the cap, in seconds: an hour of drain and the longest sleep.
pub const GRACE_SECONDS_MAX: i64 = DRAIN_SECONDS_MAX + SLEEP_SECONDS_MAX;

/// Highest value of each of an injected probe's numbers, in seconds or tries: an hour is longer than any rollout waits.
pub const PROBE_NUMBER_MAX: i64 = 3_600;

impl Default for InjectionSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Inject,
            kinds: TemplateKinds::of(&[TemplateKind::Deployment]),
            skips_owned: true,
            pre_stop: Mode::Inject,
            preset: None,
            sleep_seconds: Preset::InCluster.sleep_seconds(),
            exec_fallback: false,
            grace_period: Mode::Inject,
            app_drain_seconds: 30,
            max_grace_seconds: 600,
            readiness: Mode::Warn,
            readiness_port: None,
            probe: ProbeValues::default(),
            excluded_containers: Arc::default(),
            hints_restart: false,
        }
    }
}

/// Declares an enum whose values are written in annotations.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $value),+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// As policies write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }
        }
    };
}

words! {
    /// What happens where something is missing. The higher one does more.
    #[derive(PartialOrd, Ord)]
    Mode {
        /// Nothing.
        Off = "off",
        /// It is said what would be done.
        Warn = "warn",
        /// It is done.
        Inject = "inject",
    }
}

impl InjectionSettings {
    /// What one injection does, when it is set to `own`: no more than all may do.
    #[must_use]
    pub fn of(&self, own: Mode) -> Mode {
        self.mode.min(own)
    }
}

words! {
    /// Kinds with a pod template that can be changed.
    TemplateKind {
        /// apps/v1.
        Deployment = "Deployment",
        /// apps/v1.
        StatefulSet = "StatefulSet",
        /// apps/v1.
        DaemonSet = "DaemonSet",
        /// Argo Rollouts.
        Rollout = "Rollout",
    }
}

/// A set of kinds; copied with every write, so that it should cost nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TemplateKinds(u8);

impl TemplateKinds {
    /// The set of these.
    #[must_use]
    pub fn of(kinds: &[TemplateKind]) -> Self {
        Self(kinds.iter().fold(0, |set, kind| set | 1 << *kind as u8))
    }

    /// The kinds that are in it.
    pub fn iter(self) -> impl Iterator<Item = TemplateKind> {
        TemplateKind::ALL.iter().copied().filter(move |it| self.has(*it))
    }

    /// The same and `kind`.
    #[must_use]
    pub fn with(self, kind: TemplateKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// True if `kind` is in it.
    #[must_use]
    pub fn has(self, kind: TemplateKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

impl TemplateKind {
    /// The kind of an object; `None` if its template is never changed.
    #[must_use]
    pub fn of(meta: &Meta) -> Option<Self> {
        let kind = Self::ALL.iter().copied().find(|it| it.name() == meta.kind)?;
        let group = if kind == Self::Rollout { "argoproj.io" } else { "apps" };
        (meta.api_group() == group).then_some(kind)
    }
}

words! {
    /// How long the slowest load balancer in front of the pods keeps sending (reference: mutations 1.3).
    Preset {
        /// kube-proxy and ingress controllers that watch `EndpointSlices`.
        InCluster = "in-cluster",
        /// Google container-native load balancing.
        GkeNeg = "gke-neg",
        /// AWS Application Load Balancer with IP targets.
        AwsAlbIp = "aws-alb-ip",
        /// Azure Application Gateway Ingress Controller.
        AzureAgic = "azure-agic",
        /// AWS Network Load Balancer with IP targets.
        AwsNlbIp = "aws-nlb-ip",
    }
}

impl Preset {
    /// Every name, for messages.
    pub(super) fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|it| it.name()).collect();
        super::value::alternatives(&names)
    }

    /// The sleep that it stands for, in seconds.
    #[must_use]
    pub fn sleep_seconds(self) -> i64 {
        match self {
            Self::InCluster => 10,
            Self::GkeNeg | Self::AwsAlbIp => 60,
            Self::AzureAgic => 90,
            Self::AwsNlbIp => 150,
        }
    }
}

/// Numbers of an injected probe (reference: mutations 4.3). The success threshold is always 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeValues {
    /// Seconds from one probe to the next.
    pub period_seconds: i64,
    /// Seconds until a probe counts as failed.
    pub timeout_seconds: i64,
    /// Failures in a row until the pod is out.
    pub failure_threshold: i64,
}

impl Default for ProbeValues {
    fn default() -> Self {
        Self { period_seconds: 5, timeout_seconds: 2, failure_threshold: 3 }
    }
}
