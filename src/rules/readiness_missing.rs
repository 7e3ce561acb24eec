//! A container that gets traffic as soon as it runs.

use crate::{
    declare_rule,
    facts::Container,
    inject::{Unready, unready, wanted},
    policy::{InjectionSettings, Mode},
    rule::{Check, Fault, Kind, Setting, Words},
};

declare_rule! {
    /// ### What it does
    /// Finds a container that a Service sends traffic to and that has no `readinessProbe`.
    ///
    /// ### Why is this bad?
    /// Without a readiness probe a container counts as ready as soon as its process runs. A rollout then sends requests to programs
    /// that do not listen yet, and takes the old pods away at the speed at which processes start: an application that needs three
    /// seconds to listen fails about every third request during a rollout. And a pod that hangs later is never taken out of the Service.
    ///
    /// ### Example
    /// ```yaml
    /// containers:
    ///   - name: web
    ///     ports: [{ name: http, containerPort: 8080 }]
    /// # a Service targets the port http
    /// ```
    ///
    /// ### Use instead
    /// A probe that asks the application, on a path that answers without its backends (a database that is slow for all pods must not take
    /// all of them out at once):
    /// ```yaml
    ///     readinessProbe: { httpGet: { path: /ready, port: http }, periodSeconds: 5, timeoutSeconds: 2 }
    /// ```
    /// With the annotation `no502.dev/readiness: inject` on the workload or its Namespace the admission server adds a TCP check
    /// where it is safe:
    /// ```yaml
    ///     readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 5, timeoutSeconds: 2 }
    /// ```
    /// **What a TCP check proves:** that something accepts connections on the port. For most programs this is the difference between
    /// "still starting" and "serving", and a process that died is noticed.
    ///
    /// **What it does not prove:** that the application answers. The kernel accepts connections for a program whose threads are all
    /// stuck; frameworks listen before their routes are there; a gRPC server listens before it serves; a database accepts connections
    /// before it has a quorum; and it says nothing of the pod's other ports. A path is never guessed: a wrong one would keep the pod
    /// out for ever, and cloud load balancers copy HTTP probes for their own health checks.
    ///
    /// A TCP check is therefore **never** added: to anything but Deployments (unless `no502.dev/kinds` names more); without a Service with
    /// a selector that waits for readiness, so not for headless Services, `publishNotReadyAddresses` and the governing Service of a
    /// StatefulSet, whose pods may need each other to become ready; on a port that no container declares, or that several do; with
    /// `hostNetwork`, where the port may be another pod's; on ports where a silent connection does harm or proves nothing (22, 25,
    /// 3306, 3307, 5672, 33060); for gRPC; behind a mesh proxy that accepts every connection (Linkerd, Istio without
    /// `rewriteAppHTTPProbers`); with strategy `Recreate`, where a check that is wrong is an outage. Liveness and startup probes are
    /// never added: a wrong one kills.
    ///
    /// ### When it stays silent
    /// Pods that no such Service selects; UDP and SCTP ports; ports that serve operators, by their names (`metrics`, `prom...`, `debug...`,
    /// `health...`, `admin...`); containers whose command is `sleep` or `tail`; ports that several containers declare, or none does, as soon as one
    /// container of the pod has a readiness probe; ports of native sidecars; Jobs; objects that a controller owns;
    /// `no502.dev/readiness: off`. `no502.dev/inject: disabled` does not silence it.
    "readiness-missing", since "0.1.0",
    Check::Template(check)
}

fn check(setting: &Setting<'_>, faults: &mut Vec<Fault>) {
    let Setting { workload, snapshot, effective, .. } = setting;
    if effective.settings.readiness == Mode::Off {
        return;
    }
    // A port that the settings name changes what is probed, not what is missing.
    let plain = InjectionSettings { readiness_port: None, ..effective.settings.clone() };
    let found: Vec<Unready<'_>> = unready(workload, snapshot, &plain, &|_| false);
    // A startup probe keeps traffic away until the application is up.
    let found: Vec<Unready<'_>> = found.into_iter().filter(|it| !it.container.has_startup_probe).collect();
    if found.is_empty() {
        return;
    }
    let (added, asked) = (added(setting), unready(workload, snapshot, &effective.settings, &|_| false));
    for Unready { container, service, port, .. } in found {
        let is_it = |it: &&Container| std::ptr::eq(*it, container);
        let obstacle = asked.iter().find(|it| std::ptr::eq(it.container, container)).and_then(|it| it.obstacle.as_deref());
        let name = &container.name;
        let words = Words {
            field: workload.pointer(&container.pointer()),
            message: format!(
                "container \"{name}\" serves Service \"{service}\" on {port} but has no readinessProbe; traffic arrives as soon as \
                 it starts"
            ),
            help: help(effective.settings.readiness == Mode::Inject, added.iter().any(is_it), obstacle),
        };
        faults.push(Fault { kind: Kind::Risk, key: name.to_string(), words });
    }
}

/// `is_asked_for`: the settings want a probe to be injected. `is_added`: the mutating half adds one, or would if they did.
fn help(is_asked_for: bool, is_added: bool, obstacle: Option<&str>) -> String {
    match (is_added, is_asked_for, obstacle) {
        (true, true, _) => "add one that asks the application; \"no502 fix\" adds a TCP check, which asks the port only".to_owned(),
        (true, false, _) => "add one; no502.dev/readiness: inject asks the port, not the application".to_owned(),
        (false, true, Some(obstacle)) => format!("add one that asks the application; none is injected, because {obstacle}"),
        (false, ..) => "add one that asks the application".to_owned(),
    }
}

/// The containers to which the mutating half adds a probe, or would if the settings asked for it.
fn added<'a>(setting: &Setting<'a>) -> Vec<&'a Container> {
    let Setting { workload, snapshot, effective, policies } = setting;
    let mut effective = (*effective).clone();
    effective.settings.readiness = Mode::Inject;
    wanted(workload, &effective, snapshot, policies).map(|it| it.probed).unwrap_or_default()
}
