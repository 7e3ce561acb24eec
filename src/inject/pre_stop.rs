//! The preStop sleep and the grace period that makes room for it.
//!
//! A pod that is deleted gets SIGTERM at the moment at which load balancers begin to hear of it. The sleep holds SIGTERM back until
//! they have. It goes into every regular container without a hook: containers stop in parallel, and a neighbour that stops first
//! makes the web container fail. It never goes into init containers or native sidecars (reference: mutations 1.1, 3).

use crate::{
    facts::{Container, ContainerKind, PodTemplate, Protocol, Workload},
    policy::InjectionSettings,
};

/// What Kubernetes fills in for a pod that says nothing.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// An explicit grace period up to this long says "kill fast".
const KILL_FAST_GRACE_SECONDS: i64 = 1;

/// The sleeps that one template gets.
#[derive(Debug)]
pub(super) struct Sleeps<'a> {
    /// Length of each.
    pub(super) seconds: i64,
    /// The containers that get one.
    pub(super) containers: Vec<&'a Container>,
    /// The grace period, if the one that is there is too short.
    pub(super) raised_grace: Option<i64>,
}

/// The sleeps that fit; `None` if every container has a hook of its own or sleeping is switched off.
pub(super) fn plan(workload: &Workload, settings: InjectionSettings) -> Option<Sleeps<'_>> {
    let template = &workload.template;
    let is_candidate = |it: &&Container| it.kind == ContainerKind::Regular && it.pre_stop.is_none();
    let containers: Vec<_> = template.containers.iter().filter(is_candidate).collect();
    if containers.is_empty() || settings.sleep_seconds <= 0 {
        return None;
    }
    let drain = settings.app_drain_seconds;
    let current = template.grace_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
    // The cap takes from the sleep, never from the drain; a longer grace period of the user's own stays.
    let seconds = settings.sleep_seconds.min(settings.max_grace_seconds.max(current) - drain).max(0);
    let need = seconds.max(longest_sleep(template)) + drain;
    let grace = current.max(need.min(settings.max_grace_seconds));
    Some(Sleeps { seconds, containers, raised_grace: (grace > current).then_some(grace) })
}

fn longest_sleep(template: &PodTemplate) -> i64 {
    let hooks = template.containers.iter().filter(|it| it.kind == ContainerKind::Regular);
    hooks.filter_map(|it| it.pre_stop.as_ref()?.known_seconds()).max().unwrap_or_default()
}

/// Why a sleep would do harm or nothing.
pub(super) fn reason_to_skip(workload: &Workload) -> Option<String> {
    if workload.is_recreate {
        return Some(
            "strategy Recreate: a preStop sleep would only lengthen the downtime; nothing injected".to_owned(),
        );
    }
    let grace = workload.template.grace_seconds.filter(|it| *it <= KILL_FAST_GRACE_SECONDS)?;
    Some(format!("terminationGracePeriodSeconds {grace} asks to be killed fast; no preStop sleep injected"))
}

impl Sleeps<'_> {
    pub(super) fn is_capped_to_nothing(&self) -> bool {
        self.seconds == 0
    }

    pub(super) fn notice(&self, workload: &Workload) -> String {
        let target = match self.containers.as_slice() {
            [only] => format!("container {}", only.name),
            many => format!("{} containers", many.len()),
        };
        let current = workload.template.grace_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        let explicit = if current == DEFAULT_GRACE_SECONDS { "" } else { "explicit " };
        let grace = self.raised_grace.map(|to| format!(", {explicit}grace {current}s -> {to}s")).unwrap_or_default();
        format!("added preStop sleep {}s to {target}{grace}", self.seconds)
    }
}

/// True if a regular container declares a TCP port that clients could use.
pub(super) fn declares_a_serving_port(workload: &Workload) -> bool {
    let template = &workload.template;
    let regular = template.containers.iter().filter(|it| it.kind == ContainerKind::Regular);
    let mut ports = regular.flat_map(|it| &template.ports[it.ports.clone()]);
    ports.any(|port| port.protocol == Protocol::Tcp && !is_side_port(&port.name))
}

/// Names of ports that serve operators and not clients.
fn is_side_port(name: &str) -> bool {
    name.contains("metrics") || ["prom", "debug", "health", "admin"].iter().any(|it| name.starts_with(it))
}
