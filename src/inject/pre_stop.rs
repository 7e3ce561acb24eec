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

/// The sleeps that one template gets, and the grace period for these and for those that it has.
#[derive(Debug)]
pub(super) struct Sleeps<'a> {
    /// Length of each new one.
    pub(super) seconds: i64,
    /// The containers that get one.
    pub(super) containers: Vec<&'a Container>,
    /// The longest known sleep among the hooks that stay.
    longest_own: i64,
    /// A sleep of ours is there already: a manifest that sends its own shorter grace period again must not cut it off.
    has_injected: bool,
    /// The grace period, if the one that is there is too short.
    pub(super) raised_grace: Option<i64>,
}

impl<'a> Sleeps<'a> {
    /// The sleeps that fit. `repaired` are containers whose injected sleep makes way for another handler.
    pub(super) fn plan(
        workload: &'a Workload,
        repaired: &[&Container],
        has_injected: bool,
        settings: InjectionSettings,
    ) -> Self {
        let template = &workload.template;
        let is_candidate = |it: &&Container| it.kind == ContainerKind::Regular && it.pre_stop.is_none();
        let mut sleeps = Self { seconds: 0, containers: Vec::new(), longest_own: 0, has_injected, raised_grace: None };
        if settings.sleep_seconds <= 0 {
            return sleeps;
        }
        // The cap takes from the sleep, never from the drain; a longer grace period of the user's own stays.
        let room = settings.max_grace_seconds.max(grace_seconds(workload)).saturating_sub(settings.app_drain_seconds);
        sleeps.seconds = settings.sleep_seconds.min(room).max(0);
        sleeps.containers = template.containers.iter().filter(is_candidate).collect();
        sleeps.longest_own = longest_sleep(template, repaired);
        sleeps.raise_grace(workload, settings);
        sleeps
    }

    /// Only what the hooks that are there already need.
    pub(super) fn without_new_ones(mut self, workload: &Workload, settings: InjectionSettings) -> Self {
        self.containers.clear();
        self.raise_grace(workload, settings);
        self
    }

    fn raise_grace(&mut self, workload: &Workload, settings: InjectionSettings) {
        let added = if self.containers.is_empty() { 0 } else { self.seconds };
        // A Deployment whose hooks are all the user's own stays exactly as it was sent.
        let is_ours = self.has_injected || !self.containers.is_empty();
        let longest = if is_ours { added.max(self.longest_own) } else { 0 };
        let need = longest.saturating_add(settings.app_drain_seconds).min(settings.max_grace_seconds);
        self.raised_grace = (longest > 0 && need > grace_seconds(workload)).then_some(need);
    }

    /// True if nothing is to be changed.
    pub(super) fn is_nothing(&self) -> bool {
        self.containers.is_empty() && self.raised_grace.is_none()
    }

    /// Why no new sleep fits; `None` if one does.
    pub(super) fn no_room(&self, settings: InjectionSettings) -> Option<String> {
        let max = settings.max_grace_seconds;
        (self.seconds == 0)
            .then(|| format!("no room for a preStop sleep within the longest grace period {max}s; nothing injected"))
    }

    pub(super) fn injections(&self) -> &'static [&'static str] {
        match (self.containers.is_empty(), self.raised_grace) {
            (true, _) => &["grace"],
            (false, None) => &["prestop"],
            (false, Some(_)) => &["prestop", "grace"],
        }
    }

    pub(super) fn notice(&self, workload: &Workload, settings: InjectionSettings) -> String {
        let current = grace_seconds(workload);
        let explicit = if current == DEFAULT_GRACE_SECONDS { "" } else { "explicit " };
        let grace = self.raised_grace.map(|to| format!("{explicit}grace {current}s -> {to}s"));
        let target = match (self.containers.as_slice(), &grace) {
            ([], Some(grace)) => return format!("raised {grace}, because a preStop hook sleeps {}s", self.longest_own),
            ([only], _) => format!("container {}", only.name),
            (many, _) => format!("{} containers", many.len()),
        };
        let grace = grace.map(|it| format!(", {it}")).unwrap_or_default();
        let capped = if self.seconds < settings.sleep_seconds {
            format!(" (not {}s: the longest grace period is {}s)", settings.sleep_seconds, settings.max_grace_seconds)
        } else {
            String::new()
        };
        format!("added preStop sleep {}s to {target}{grace}{capped}", self.seconds)
    }
}

fn grace_seconds(workload: &Workload) -> i64 {
    workload.template.grace_seconds.unwrap_or(DEFAULT_GRACE_SECONDS)
}

fn longest_sleep(template: &PodTemplate, repaired: &[&Container]) -> i64 {
    let regular = template.containers.iter().filter(|it| it.kind == ContainerKind::Regular);
    let known = regular.filter_map(|container| {
        let hook = container.pre_stop.as_ref()?;
        let is_repaired = repaired.iter().any(|it| std::ptr::eq(*it, container));
        if is_repaired { hook.exec_sleep_seconds } else { hook.known_seconds() }
    });
    known.max().unwrap_or_default()
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
