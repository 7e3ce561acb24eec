//! Settings of the injections: what there is to set, the built-in values, and who set what (reference: mutations 11.1).

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::facts::{Meta, PortRef};

/// Values of the injections; the default is what is built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectionSettings {
    /// Whether changes are made, only told, or neither.
    pub mode: Mode,
    /// The kinds whose templates are changed.
    pub kinds: TemplateKinds,
    /// Objects that a controller owns are left alone: it would fight for its own version (reference: mutations 6.2).
    pub skips_owned: bool,
    /// The preset that `sleep_seconds` comes from, if it comes from one.
    pub preset: Option<Preset>,
    /// Seconds a container waits before it is told to stop: 0 (none) to [`SLEEP_SECONDS_MAX`].
    pub sleep_seconds: i64,
    /// Where the native sleep is not available, the container's own `sleep` program is called.
    pub exec_fallback: bool,
    /// Seconds an application has to finish what it started: 0 to [`DRAIN_SECONDS_MAX`].
    pub app_drain_seconds: i64,
    /// No grace period is raised above this, in seconds.
    pub max_grace_seconds: i64,
    /// What happens where a readiness probe is missing.
    pub readiness: ReadinessMode,
    /// The port that an injected probe asks, instead of the one that a Service targets.
    pub readiness_port: Option<PortRef>,
    /// Values of an injected probe.
    pub probe: ProbeValues,
    /// Containers that nothing is put into.
    pub excluded_containers: Vec<SmolStr>,
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
            preset: None,
            sleep_seconds: Preset::InCluster.sleep_seconds(),
            exec_fallback: false,
            app_drain_seconds: 30,
            max_grace_seconds: 600,
            readiness: ReadinessMode::Warn,
            readiness_port: None,
            probe: ProbeValues::default(),
            excluded_containers: Vec::new(),
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

            /// As annotations write it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }
        }
    };
}

words! {
    /// Whether the mutating half changes anything.
    Mode {
        /// It does.
        Inject = "enabled",
        /// It says what it would do.
        Warn = "warn",
        /// It does neither.
        Disabled = "disabled",
    }
}

words! {
    /// What happens where a readiness probe is missing.
    ReadinessMode {
        /// A TCP probe is added where it is safe.
        Inject = "inject",
        /// The rule `readiness-missing` warns.
        Warn = "warn",
        /// Nothing.
        Off = "off",
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

/// Who set a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An annotation of the Namespace.
    Namespace,
    /// An annotation of the workload, or of its pod template.
    Workload,
}

/// The settings that are in force for one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective {
    /// The values.
    pub settings: InjectionSettings,
    /// Who set a value, by the annotation's key without prefix; a value that is not here is built in.
    pub sources: BTreeMap<&'static str, Source>,
    /// Annotations that cannot be used, one line each: the value of the next level counts instead.
    pub problems: Vec<String>,
    /// `no502.dev/inject` stands on the workload itself and says `enabled` or `warn`: it opts in what is left alone otherwise.
    pub is_opted_in: bool,
    /// Why nothing is injected, in the words of `no502.dev/reason`.
    pub reason: Option<SmolStr>,
}

impl Effective {
    /// `prestop-sleep-seconds by namespace shop; readiness by annotation; reason: batch only`.
    #[must_use]
    pub fn summary(&self, namespace: &str) -> String {
        let set = self.sources.keys().filter_map(|key| Some(format!("{key} by {}", self.set_by(key, namespace)?)));
        let reason = self.reason.iter().map(|it| format!("reason: \"{it}\""));
        set.chain(reason).collect::<Vec<_>>().join("; ")
    }

    /// `namespace shop` or `annotation`, for the values that are not built in.
    #[must_use]
    pub fn set_by(&self, key: &str, namespace: &str) -> Option<String> {
        match self.sources.get(key)? {
            Source::Namespace => Some(format!("namespace {namespace}")),
            Source::Workload => Some("annotation".to_owned()),
        }
    }
}
