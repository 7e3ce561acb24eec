//! Our annotation on the pod template: what of it is ours, so that it can be repaired, raised and taken out again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::facts::{Container, Handlers, MARKER, OWN_PREFIX, PortRef, PreStop, Workload};

/// The longest text that is read as a marker, in bytes: far more than the most containers that are looked at can fill.
const MARKER_BYTES_MAX: usize = 64 << 10;

/// The annotation's value. Text that cannot be read counts as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Marker {
    /// By container name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) containers: BTreeMap<SmolStr, Injected>,
    /// The grace period that was raised to this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grace: Option<i64>,
    /// The seconds that stood there before; `None` if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grace_before: Option<i64>,
}

/// What was put into one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Injected {
    /// Seconds of the preStop sleep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pre_stop: Option<i64>,
    /// The sleep is a program of the container and not the native action.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) exec: bool,
    /// Port of the TCP readiness probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) readiness: Option<i64>,
}

impl Injected {
    /// The hook is still the one that was put in, alone or beside another handler.
    pub(super) fn has_its_hook(&self, hook: &PreStop) -> bool {
        let seconds =
            if self.exec { hook.exec_sleep_seconds.filter(|_| hook.is_bare_sleep) } else { hook.sleep_seconds };
        self.pre_stop.is_some() && self.pre_stop == seconds
    }

    /// The probe is still the one that was put in, alone or beside another handler.
    pub(super) fn has_its_probe(&self, probe: &Handlers) -> bool {
        self.readiness.is_some() && self.readiness.map(PortRef::Number) == probe.tcp_port
    }

    fn is_empty(&self) -> bool {
        self.pre_stop.is_none() && self.readiness.is_none()
    }
}

impl Marker {
    pub(super) fn of(workload: &Workload) -> Self {
        let key = MARKER.trim_start_matches(OWN_PREFIX);
        let text = workload.template.own.get(key).filter(|it| it.len() <= MARKER_BYTES_MAX).map_or("", SmolStr::as_str);
        serde_json::from_str(text).unwrap_or_default()
    }

    /// What was put into a container.
    pub(super) fn get(&self, container: &str) -> Option<&Injected> {
        self.containers.get(container)
    }

    /// The entry of a container that something is put into.
    pub(super) fn entry(&mut self, container: &SmolStr) -> &mut Injected {
        self.containers.entry(container.clone()).or_default()
    }

    /// Seconds of the hook of ours that the container has, and nothing beside it.
    pub(super) fn own_sleep(&self, container: &Container) -> Option<i64> {
        let (injected, hook) = (self.get(&container.name)?, container.pre_stop.as_ref()?);
        injected.pre_stop.filter(|_| injected.has_its_hook(hook) && handlers(hook) == 1)
    }

    /// Port of the probe of ours that the container has, and nothing beside it.
    pub(super) fn own_probe(&self, container: &Container) -> Option<i64> {
        let (injected, probe) = (self.get(&container.name)?, container.readiness.as_ref()?);
        injected.readiness.filter(|_| injected.has_its_probe(probe) && !probe.has_other)
    }

    /// Drops what somebody else has changed or removed since: it is not ours any more.
    pub(super) fn keep_only_what_stands(&mut self, workload: &Workload) {
        let containers = &workload.template.containers;
        for (name, injected) in &mut self.containers {
            let container = containers.iter().find(|it| it.name == *name);
            let hook = container.and_then(|it| it.pre_stop.as_ref());
            let probe = container.and_then(|it| it.readiness.as_ref());
            if !hook.is_some_and(|it| injected.has_its_hook(it)) {
                (injected.pre_stop, injected.exec) = (None, false);
            }
            if !probe.is_some_and(|it| injected.has_its_probe(it)) {
                injected.readiness = None;
            }
        }
        if self.grace.is_none() || self.grace != workload.template.grace_seconds {
            (self.grace, self.grace_before) = (None, None);
        }
        self.drop_empty();
    }

    /// An entry that says nothing is none.
    pub(super) fn drop_empty(&mut self) {
        self.containers.retain(|_, it| !it.is_empty());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.grace.is_none()
    }
}

/// True if the container's hook is the sleep that was put in.
pub(crate) fn is_own_sleep(workload: &Workload, container: &Container) -> bool {
    Marker::of(workload).own_sleep(container).is_some()
}

/// True if the template has the annotation, readable or not.
pub(super) fn is_there(workload: &Workload) -> bool {
    workload.template.own.get(MARKER.trim_start_matches(OWN_PREFIX)).is_some()
}

/// How many handlers a hook has.
pub(super) fn handlers(hook: &PreStop) -> usize {
    [hook.sleep_seconds.is_some(), hook.has_exec, hook.has_request].into_iter().filter(|it| *it).count()
}

/// `{"containers":{"web":{"preStop":10,"readiness":8080}},"grace":40,"graceBefore":30}`.
impl std::fmt::Display for Marker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}
