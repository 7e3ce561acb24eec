//! Two handlers in one hook or probe. We inject `sleep` and `tcpSocket`; a later apply that adds `exec` or `httpGet` is merged beside
//! them, and the API server would refuse the pair. What we put in makes way (reference: mutations 6.4).

use super::{
    Candidate,
    marker::{Injected, Marker, handlers},
};
use crate::facts::{Container, ContainerKind, Handlers, PreStop};

/// A hook or a probe with two handlers, of which one stood there alone before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Superseded<'a> {
    pub(super) container: &'a Container,
    pub(super) what: Handler,
    /// The older handler is ours, so that it may go.
    pub(super) is_ours: bool,
}

/// A handler of the kinds that we inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handler {
    Sleep,
    Exec,
    TcpSocket,
}

impl Handler {
    /// Where it stands below the container.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Sleep => "lifecycle/preStop/sleep",
            Self::Exec => "lifecycle/preStop/exec",
            Self::TcpSocket => "readinessProbe/tcpSocket",
        }
    }
}

/// What makes way for a handler that came later, and what should but is not ours.
pub(super) fn superseded(candidate: Candidate<'_>) -> Vec<Superseded<'_>> {
    let Some(old) = candidate.old else { return Vec::new() };
    let markers = [Marker::of(candidate.new), Marker::of(old)];
    let mut found = Vec::new();
    for container in candidate.new.template.containers.iter().filter(|it| it.kind == ContainerKind::Regular) {
        let before = old.template.containers.iter().find(|it| it.name == container.name);
        let is_ours =
            |test: &dyn Fn(&Injected) -> bool| markers.iter().filter_map(|it| it.get(&container.name)).any(test);
        let hooks = container.pre_stop.as_ref().zip(before.and_then(|it| it.pre_stop.as_ref()));
        if let Some(what) = hooks.and_then(|(new, old)| older_hook(new, old)) {
            let hook = hooks.map(|(new, _)| new);
            let test =
                |it: &Injected| it.exec == (what == Handler::Exec) && hook.is_some_and(|hook| it.has_its_hook(hook));
            found.push(Superseded { container, what, is_ours: is_ours(&test) });
        }
        let probes = container.readiness.as_ref().zip(before.and_then(|it| it.readiness.as_ref()));
        if let Some((new, _)) = probes.filter(|(new, old)| is_joined(new, old)) {
            let is_ours = is_ours(&|it: &Injected| it.has_its_probe(new));
            found.push(Superseded { container, what: Handler::TcpSocket, is_ours });
        }
    }
    found
}

/// The sleep that was all of the hook and has company now.
fn older_hook(new: &PreStop, old: &PreStop) -> Option<Handler> {
    if handlers(new) < 2 || handlers(old) != 1 {
        return None;
    }
    if old.sleep_seconds.is_some() {
        return (old.sleep_seconds == new.sleep_seconds).then_some(Handler::Sleep);
    }
    (old.is_bare_sleep && old.exec_sleep_seconds == new.exec_sleep_seconds && new.is_bare_sleep)
        .then_some(Handler::Exec)
}

/// The TCP check was all of the probe and has company now.
fn is_joined(new: &Handlers, old: &Handlers) -> bool {
    new.has_other && !old.has_other && old.tcp_port.is_some() && old.tcp_port == new.tcp_port
}
