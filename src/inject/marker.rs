//! Our annotation on the pod template: what of it is ours, so that it can be repaired and taken out again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::facts::Workload;

/// The annotation's key.
pub const MARKER: &str = "no502.dev/injected";

/// The annotation's value. Text that cannot be read counts as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Marker {
    /// By container name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    containers: BTreeMap<SmolStr, Injected>,
    /// The grace period that was raised to this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grace: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Injected {
    /// Seconds of the preStop sleep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pre_stop: Option<i64>,
}

impl Marker {
    pub(super) fn of(workload: &Workload) -> Self {
        let text = workload.template.marker.as_deref().unwrap_or_default();
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Seconds of the sleep that we put into a container.
    pub(super) fn sleep_seconds(&self, container: &str) -> Option<i64> {
        self.containers.get(container)?.pre_stop
    }

    pub(super) fn remember(&mut self, container: &SmolStr, seconds: i64) {
        self.containers.entry(container.clone()).or_default().pre_stop = Some(seconds);
    }

    pub(super) fn forget(&mut self, container: &str) {
        self.containers.remove(container);
    }

    /// Drops what somebody else has changed or removed since: it is not ours any more.
    pub(super) fn keep_only_what_stands(&mut self, workload: &Workload) {
        self.containers.retain(|name, injected| {
            let container = workload.template.containers.iter().find(|it| it.name == *name);
            let seconds = container.and_then(|it| it.pre_stop.as_ref()).and_then(|it| it.sleep_seconds);
            injected.pre_stop.is_some() && injected.pre_stop == seconds
        });
        if self.grace != workload.template.grace_seconds {
            self.grace = None;
        }
    }

    /// True if a container has a sleep of ours.
    pub(super) fn has_sleeps(&self) -> bool {
        !self.containers.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.grace.is_none()
    }
}

/// `{"containers":{"web":{"preStop":10}},"grace":40}`.
impl std::fmt::Display for Marker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}
