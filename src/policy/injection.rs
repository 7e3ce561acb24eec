//! Settings of the injections, and how the annotations of a Namespace and of a workload change them, field by field
//! (reference: mutations 11.1).

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::Policies;
use crate::facts::{Meta, Namespace, OWN_PREFIX, PortRef, Workload};

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

/// Most containers that can be excluded.
const EXCLUDED_CONTAINERS_MAX: usize = 64;

/// Most annotations that mean nothing and are told; a mistake is rarely made more often.
const UNKNOWN_KEYS_TOLD_MAX: usize = 8;

/// Longest key for which the one that was meant is looked for, in bytes: the longest that Kubernetes allows.
const KEY_BYTES_MAX: usize = 63;

/// Longest value or reason that is repeated, in characters.
const QUOTED_CHARS_MAX: usize = 32;
const REASON_CHARS_MAX: usize = 120;

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
        let set = self.sources.keys().filter_map(|key| Some(format!("{key} by {}", self.policy(key, namespace)?)));
        let reason = self.reason.iter().map(|it| format!("reason: \"{it}\""));
        set.chain(reason).collect::<Vec<_>>().join("; ")
    }

    /// `namespace shop` or `annotation`, for the values that are not built in.
    #[must_use]
    pub fn policy(&self, key: &str, namespace: &str) -> Option<String> {
        match self.sources.get(key)? {
            Source::Namespace => Some(format!("namespace {namespace}")),
            Source::Workload => Some("annotation".to_owned()),
        }
    }
}

/// One setting: its key without [`OWN_PREFIX`], what is allowed, and how its text is put into effect.
struct Setting {
    key: &'static str,
    allowed: &'static str,
    set: fn(&mut InjectionSettings, &str) -> Option<()>,
}

/// Every setting, in the order in which they are put into effect on one level: a length of its own beats the preset beside it.
const SETTINGS: [Setting; 14] = [
    Setting {
        key: "inject",
        allowed: "enabled, warn or disabled",
        set: |settings, text| mode(text).map(|it| settings.mode = it),
    },
    Setting {
        key: "kinds",
        allowed: "a list of Deployment, StatefulSet, DaemonSet and Rollout",
        set: |settings, text| {
            let kinds = list(text).map(|it| word(TemplateKind::ALL, TemplateKind::name, it));
            kinds.collect::<Option<Vec<_>>>().map(|it| settings.kinds = TemplateKinds::of(&it))
        },
    },
    Setting {
        key: "preset",
        allowed: "in-cluster, gke-neg, aws-alb-ip, azure-agic or aws-nlb-ip",
        set: |settings, text| {
            let preset = word(Preset::ALL, Preset::name, text)?;
            settings.preset = Some(preset);
            settings.sleep_seconds = preset.sleep_seconds();
            Some(())
        },
    },
    Setting {
        key: SLEEP_KEY,
        allowed: "0 to 300",
        set: |settings, text| {
            settings.sleep_seconds = number(text, 0, SLEEP_SECONDS_MAX)?;
            settings.preset = None;
            Some(())
        },
    },
    Setting {
        key: "prestop-exec-fallback",
        allowed: "true or false",
        set: |settings, text| text.parse().ok().map(|it| settings.exec_fallback = it),
    },
    Setting {
        key: DRAIN_KEY,
        allowed: "0 to 3600",
        set: |settings, text| number(text, 0, DRAIN_SECONDS_MAX).map(|it| settings.app_drain_seconds = it),
    },
    Setting {
        key: "max-grace-seconds",
        allowed: "1 to 3900",
        set: |settings, text| number(text, 1, GRACE_SECONDS_MAX).map(|it| settings.max_grace_seconds = it),
    },
    Setting {
        key: "readiness",
        allowed: "inject, warn or off",
        set: |settings, text| word(ReadinessMode::ALL, ReadinessMode::name, text).map(|it| settings.readiness = it),
    },
    Setting {
        key: "readiness-port",
        allowed: "1 to 65535 or the name of a port",
        set: |settings, text| port(text).map(|it| settings.readiness_port = Some(it)),
    },
    Setting {
        key: "readiness-period-seconds",
        allowed: "1 to 3600",
        set: |settings, text| number(text, 1, PROBE_NUMBER_MAX).map(|it| settings.probe.period_seconds = it),
    },
    Setting {
        key: "readiness-timeout-seconds",
        allowed: "1 to 3600",
        set: |settings, text| number(text, 1, PROBE_NUMBER_MAX).map(|it| settings.probe.timeout_seconds = it),
    },
    Setting {
        key: "readiness-failure-threshold",
        allowed: "1 to 3600",
        set: |settings, text| number(text, 1, PROBE_NUMBER_MAX).map(|it| settings.probe.failure_threshold = it),
    },
    Setting {
        key: EXCLUDE_KEY,
        allowed: "a list of at most 64 names of containers",
        set: |settings, text| {
            let names: Vec<SmolStr> = list(text).map(SmolStr::new).take(EXCLUDED_CONTAINERS_MAX + 1).collect();
            (names.len() <= EXCLUDED_CONTAINERS_MAX).then(|| settings.excluded_containers = names)
        },
    },
    Setting {
        key: "restart-hint",
        allowed: "true or false",
        set: |settings, text| text.parse().ok().map(|it| settings.hints_restart = it),
    },
];

/// Key of the sleep's length; its source names where a sleep comes from, preset or not.
pub(crate) const SLEEP_KEY: &str = "prestop-sleep-seconds";

/// Key of the containers that are left alone.
pub(crate) const EXCLUDE_KEY: &str = "exclude-containers";

/// Key of the drain time.
pub(crate) const DRAIN_KEY: &str = "app-drain-seconds";

/// Keys that are no settings of the injections and known all the same.
const OTHER_KEYS: [&str; 2] = ["injected", "reason"];

/// What is repeated of a text that anybody may have written: a little, and nothing that ends a line or a quotation.
fn quoted(text: &str, chars_max: usize) -> String {
    let plain = text.chars().map(|it| if it.is_control() || it == '"' { ' ' } else { it });
    let short: String = plain.take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() { format!("{short}…") } else { short }
}

fn word<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|it| name(*it) == text)
}

/// Meshes write `true` and `false` for the same thing, and so do people.
fn mode(text: &str) -> Option<Mode> {
    match text {
        "true" => Some(Mode::Inject),
        "false" => Some(Mode::Disabled),
        _ => word(Mode::ALL, Mode::name, text),
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|it| !it.is_empty())
}

fn number(text: &str, min: i64, max: i64) -> Option<i64> {
    text.parse().ok().filter(|it| (min..=max).contains(it))
}

fn port(text: &str) -> Option<PortRef> {
    let is_name = |it: &str| it.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    match text.parse::<i64>() {
        Ok(number) => (1..=65_535).contains(&number).then_some(PortRef::Number(number)),
        Err(_) => (!text.is_empty() && text.len() <= 15 && is_name(text)).then(|| PortRef::Name(SmolStr::new(text))),
    }
}

impl Policies {
    /// The settings for one workload: what the policies say, changed by its Namespace, changed by itself. A bad value changes
    /// nothing and is told.
    #[must_use]
    pub fn injection_for(&self, namespace: Option<&Namespace>, workload: &Workload) -> Effective {
        let mut effective = Effective { settings: self.injection.clone(), ..Effective::default() };
        if let Some(namespace) = namespace {
            let find = |key: &str| namespace.meta.own.get(key);
            effective.apply(Source::Namespace, &namespace.meta, find, namespace.meta.own.keys());
        }
        let (own, template) = (&workload.meta.own, &workload.template.own);
        let find = |key: &str| own.get(key).or_else(|| template.get(key));
        effective.apply(Source::Workload, &workload.meta, find, own.keys().chain(template.keys()));
        let own_mode = find("inject").and_then(|it| mode(it.trim()));
        effective.is_opted_in = own_mode.is_some_and(|it| it != Mode::Disabled);
        let reason = find("reason").or_else(|| namespace.and_then(|it| it.meta.own.get("reason")));
        effective.reason = reason.map(|it| SmolStr::new(quoted(it, REASON_CHARS_MAX)));
        effective
    }
}

impl Effective {
    fn apply<'a>(
        &mut self,
        source: Source,
        owner: &Meta,
        find: impl Fn(&str) -> Option<&'a SmolStr>,
        keys: impl Iterator<Item = &'a str>,
    ) {
        // The warning names the workload anyway.
        let of = if source == Source::Workload { String::new() } else { format!(" of {owner}") };
        let mut is_silent = true;
        let mut unknown = 0;
        for key in keys {
            is_silent = false;
            let is_known = SETTINGS.iter().any(|it| it.key == key)
                || OTHER_KEYS.contains(&key)
                || source == Source::Namespace && key == crate::facts::BREAK_GLASS;
            if !is_known && unknown < UNKNOWN_KEYS_TOLD_MAX && key.len() <= KEY_BYTES_MAX {
                unknown += 1;
                let near = crate::nearest::nearest_word(key, SETTINGS.iter().map(|it| it.key));
                let near = near.map(|it| format!("; did you mean {OWN_PREFIX}{it}?")).unwrap_or_default();
                self.problems.push(format!("annotation {OWN_PREFIX}{key}{of} means nothing{near}"));
            }
        }
        if is_silent {
            return;
        }
        for setting in &SETTINGS {
            let Some(text) = find(setting.key) else { continue };
            if (setting.set)(&mut self.settings, text.trim()).is_some() {
                let key = if setting.key == "preset" { SLEEP_KEY } else { setting.key };
                self.sources.insert(key, source);
            } else {
                let Setting { key, allowed, .. } = setting;
                let text = quoted(text, QUOTED_CHARS_MAX);
                self.problems.push(format!("annotation {OWN_PREFIX}{key}: \"{text}\"{of} is ignored; use {allowed}"));
            }
        }
    }
}
