//! The preStop sleep.
//!
//! A pod that is deleted gets SIGTERM at the moment at which load balancers begin to hear of it. The sleep holds SIGTERM back until
//! they have. It goes into every regular container without a hook: containers stop in parallel, and a neighbour that stops first
//! makes the web container fail. It never goes into init containers or native sidecars (reference: mutations 1.1, 3).

use super::marker::Marker;
use crate::{
    facts::{Container, ContainerKind, Protocol, Workload},
    policy::{Effective, Field, InjectionSettings, Mode, TemplateKind},
    snapshot::{Resource, SLEEP_GATE_LOCKED_MINOR, SLEEP_MINOR_MIN, Snapshot},
};

/// An explicit grace period up to this long says "kill fast".
const KILL_FAST_GRACE_SECONDS: i64 = 1;

/// How a container is made to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The kubelet waits (KEP-3960).
    Native,
    /// The `sleep` program of the container does, if it has one.
    Exec,
}

/// A sleep that one container gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sleep<'a> {
    pub(super) container: &'a Container,
    pub(super) seconds: i64,
    pub(super) form: Form,
    /// The sleep of ours that it replaces, in seconds.
    pub(super) raised_from: Option<i64>,
}

/// The containers that settings let us put something into.
fn open_containers<'a, 'b>(
    workload: &'a Workload,
    settings: &'b InjectionSettings,
) -> impl Iterator<Item = &'a Container> + use<'a, 'b> {
    let regular = workload.template.containers.iter().filter(|it| it.kind == ContainerKind::Regular);
    regular.filter(|it| !settings.excluded_containers.contains(&it.name))
}

/// The sleeps of that length: new ones, and those of ours that are too short. A sleep is never lowered, a hook of the user's own
/// never touched.
pub(super) fn sleeps<'a>(
    workload: &'a Workload,
    marker: &Marker,
    settings: &InjectionSettings,
    seconds: i64,
    form: Form,
) -> Vec<Sleep<'a>> {
    if seconds <= 0 {
        return Vec::new();
    }
    let sleep = |container: &'a Container| {
        if container.pre_stop.is_none() {
            return Some(Sleep { container, seconds, form, raised_from: None });
        }
        let from = marker.own_sleep(container).filter(|it| *it < seconds)?;
        let form = if marker.get(&container.name).is_some_and(|it| it.exec) { Form::Exec } else { Form::Native };
        Some(Sleep { container, seconds, form, raised_from: Some(from) })
    };
    open_containers(workload, settings).filter_map(sleep).collect()
}

/// How a container can be made to wait here, or why it cannot (reference: mutations 2.3).
pub(super) fn form(workload: &Workload, snapshot: &Snapshot, settings: &InjectionSettings) -> Result<Form, String> {
    let Some(reason) = native_sleep_is_missing(snapshot) else { return Ok(Form::Native) };
    if !settings.exec_fallback {
        return Err(reason);
    }
    if workload.template.is_windows {
        return Err(format!("{reason}; Windows containers have no sleep program"));
    }
    Ok(Form::Exec)
}

/// Why the native sleep action cannot be used; `None` if it can.
fn native_sleep_is_missing(snapshot: &Snapshot) -> Option<String> {
    let versions = snapshot.versions();
    let Some(server) = versions.server_minor else {
        return Some("the API server's version is not known yet; no preStop sleep injected".to_owned());
    };
    if !snapshot.synced().has(Resource::Nodes) {
        return Some("the kubelets' versions are not known yet; no preStop sleep injected".to_owned());
    }
    if server < SLEEP_MINOR_MIN {
        return Some(format!("Kubernetes 1.{server} has no preStop.sleep (1.{SLEEP_MINOR_MIN} has); nothing injected"));
    }
    if versions.sleep_is_dropped && server < SLEEP_GATE_LOCKED_MINOR {
        return Some(
            "the API server drops preStop.sleep (feature gate PodLifecycleSleepAction is off); nothing injected"
                .to_owned(),
        );
    }
    let oldest = versions.oldest_kubelet_minor.filter(|it| *it < SLEEP_MINOR_MIN)?;
    Some(format!("nodes older than 1.{SLEEP_MINOR_MIN} (oldest 1.{oldest}) cannot run preStop.sleep; nothing injected"))
}

/// Why a sleep would do harm or nothing.
pub(crate) fn reason_to_skip(workload: &Workload) -> Option<String> {
    if workload.is_recreate {
        return Some(
            "strategy Recreate: a preStop sleep would only lengthen the downtime; nothing injected".to_owned(),
        );
    }
    let goes_before_it_comes =
        workload.never_surges || TemplateKind::of(&workload.meta) == Some(TemplateKind::StatefulSet);
    if goes_before_it_comes && workload.replicas.is_none_or(|it| it <= 1) {
        let text = "one replica that goes before the next comes: a preStop sleep would only lengthen the downtime; nothing injected";
        return Some(text.to_owned());
    }
    let grace = workload.template.grace_seconds.filter(|it| *it <= KILL_FAST_GRACE_SECONDS)?;
    Some(format!("terminationGracePeriodSeconds {grace} asks to be killed fast; no preStop sleep injected"))
}

/// `added preStop sleep 10s to container web`, and how long it would have been but for the cap.
pub(super) fn notices(sleeps: &[Sleep<'_>], effective: &Effective) -> Vec<String> {
    let settings = &effective.settings;
    let of = |is_raise: bool| -> Vec<&Sleep<'_>> {
        sleeps.iter().filter(|it| it.raised_from.is_some() == is_raise).collect()
    };
    let target = |these: &[&Sleep<'_>]| match these {
        [only] => format!("container {}", only.container.name),
        many => format!("{} containers", many.len()),
    };
    let mut texts = Vec::new();
    if let [first, ..] = of(false).as_slice() {
        let exec = if first.form == Form::Exec { " (exec)" } else { "" };
        texts.push(format!("added preStop sleep {}s{exec} to {}", first.seconds, target(&of(false))));
    }
    if let [first, ..] = of(true).as_slice() {
        let from = of(true).iter().filter_map(|it| it.raised_from).min().unwrap_or_default();
        texts.push(format!("raised injected preStop sleep {from}s -> {}s in {}", first.seconds, target(&of(true))));
    }
    if let (Some(text), Some(sleep)) = (texts.first_mut(), sleeps.first())
        && sleep.seconds < settings.sleep_seconds
    {
        let (wanted, max) = (settings.sleep_seconds, settings.max_grace_seconds);
        let which = if settings.grace_period == Mode::Inject { "longest grace period" } else { "grace period" };
        *text = format!("{text} (not {wanted}s: the {which} is {max}s)");
    }
    texts
}

/// Who decided on the length of the sleep: `namespace shop, aws-alb-ip`; `None` where nobody did.
pub(super) fn policy(workload: &Workload, effective: &Effective) -> Option<String> {
    let policy = effective.set_by(Field::SleepSeconds, &workload.meta.namespace)?;
    Some(match effective.settings.preset {
        Some(preset) => format!("{policy}, {}", preset.name()),
        None => policy,
    })
}

/// True if a regular container declares a TCP port that clients could use.
pub(super) fn declares_a_serving_port(workload: &Workload) -> bool {
    let template = &workload.template;
    let regular = template.containers.iter().filter(|it| it.kind == ContainerKind::Regular);
    let mut ports = regular.flat_map(|it| &template.ports[it.ports.clone()]);
    ports.any(|port| port.protocol == Protocol::Tcp && !is_side_port(&port.name))
}

/// Names of ports that serve operators and not clients.
pub(super) fn is_side_port(name: &str) -> bool {
    let first = name.split('-').next().unwrap_or(name);
    name.contains("metrics") || ["prom", "prometheus", "debug", "health", "healthz", "admin"].contains(&first)
}
