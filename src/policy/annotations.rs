//! The settings as annotations `no502.dev/...` of a Namespace and of a workload: what each may say, and what is told of the rest
//! (reference: mutations 11.1).

use smol_str::SmolStr;

use super::{
    DRAIN_SECONDS_MAX, Effective, GRACE_SECONDS_MAX, InjectionSettings, Mode, PROBE_NUMBER_MAX, Policies, Preset,
    ReadinessMode, SLEEP_SECONDS_MAX, Source, TemplateKind, TemplateKinds,
};
use crate::facts::{Meta, Namespace, OWN_PREFIX, PortRef, Workload};

/// Most containers that can be excluded.
const EXCLUDED_CONTAINERS_MAX: usize = 64;

/// Longest value or reason that is repeated, in characters.
const QUOTED_CHARS_MAX: usize = 32;
const REASON_CHARS_MAX: usize = 120;

/// Longest key for which the one that was meant is looked for, in bytes: the longest that Kubernetes allows.
const KEY_BYTES_MAX: usize = 63;

/// Most annotations that mean nothing and are told; a mistake is rarely made more often.
const UNKNOWN_KEYS_TOLD_MAX: usize = 8;

/// One setting: its key without [`OWN_PREFIX`], what is allowed, and how its text is put into effect.
struct Entry {
    key: &'static str,
    allowed: &'static str,
    set: fn(&mut InjectionSettings, &str) -> Option<()>,
}

/// Every setting, in the order in which they are put into effect on one level: a length of its own beats the preset beside it.
const SETTINGS: [Entry; 14] = [
    Entry {
        key: "inject",
        allowed: "enabled, warn or disabled",
        set: |settings, text| mode(text).map(|it| settings.mode = it),
    },
    Entry {
        key: "kinds",
        allowed: "a list of Deployment, StatefulSet, DaemonSet and Rollout",
        set: |settings, text| {
            let kinds = list(text).map(|it| word(TemplateKind::ALL, TemplateKind::name, it));
            kinds.collect::<Option<Vec<_>>>().map(|it| settings.kinds = TemplateKinds::of(&it))
        },
    },
    Entry {
        key: "preset",
        allowed: "in-cluster, gke-neg, aws-alb-ip, azure-agic or aws-nlb-ip",
        set: |settings, text| {
            let preset = word(Preset::ALL, Preset::name, text)?;
            settings.preset = Some(preset);
            settings.sleep_seconds = preset.sleep_seconds();
            Some(())
        },
    },
    Entry {
        key: SLEEP_KEY,
        allowed: "0 to 300",
        set: |settings, text| {
            settings.sleep_seconds = number(text, 0, SLEEP_SECONDS_MAX)?;
            settings.preset = None;
            Some(())
        },
    },
    Entry {
        key: "prestop-exec-fallback",
        allowed: "true or false",
        set: |settings, text| text.parse().ok().map(|it| settings.exec_fallback = it),
    },
    Entry {
        key: DRAIN_KEY,
        allowed: "0 to 3600",
        set: |settings, text| number(text, 0, DRAIN_SECONDS_MAX).map(|it| settings.app_drain_seconds = it),
    },
    Entry {
        key: "max-grace-seconds",
        allowed: "1 to 3900",
        set: |settings, text| number(text, 1, GRACE_SECONDS_MAX).map(|it| settings.max_grace_seconds = it),
    },
    Entry {
        key: "readiness",
        allowed: "inject, warn or off",
        set: |settings, text| word(ReadinessMode::ALL, ReadinessMode::name, text).map(|it| settings.readiness = it),
    },
    Entry {
        key: "readiness-port",
        allowed: "1 to 65535 or the name of a port",
        set: |settings, text| port(text).map(|it| settings.readiness_port = Some(it)),
    },
    Entry {
        key: "readiness-period-seconds",
        allowed: "1 to 3600",
        set: |settings, text| number(text, 1, PROBE_NUMBER_MAX).map(|it| settings.probe.period_seconds = it),
    },
    Entry {
        key: "readiness-timeout-seconds",
        allowed: "1 to 3600",
        set: |settings, text| number(text, 1, PROBE_NUMBER_MAX).map(|it| settings.probe.timeout_seconds = it),
    },
    Entry {
        key: "readiness-failure-threshold",
        allowed: "1 to 3600",
        set: |settings, text| number(text, 1, PROBE_NUMBER_MAX).map(|it| settings.probe.failure_threshold = it),
    },
    Entry {
        key: EXCLUDE_KEY,
        allowed: "a list of at most 64 names of containers",
        set: |settings, text| {
            let names: Vec<SmolStr> = list(text).map(SmolStr::new).take(EXCLUDED_CONTAINERS_MAX + 1).collect();
            (names.len() <= EXCLUDED_CONTAINERS_MAX).then(|| settings.excluded_containers = names)
        },
    },
    Entry {
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
                let Entry { key, allowed, .. } = setting;
                let text = quoted(text, QUOTED_CHARS_MAX);
                self.problems.push(format!("annotation {OWN_PREFIX}{key}: \"{text}\"{of} is ignored; use {allowed}"));
            }
        }
    }
}
