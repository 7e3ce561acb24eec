//! A probe of a port that its container does not have.

use crate::{
    declare_rule,
    facts::{Container, ContainerKind, PodTemplate, PortRef, Probe, ProbeRole, Protocol, Workload},
    nearest::nearest_word,
    rule::{Check, Fault, Kind, Words},
};

declare_rule! {
    /// ### What it does
    /// Finds a probe that names a port which its own container does not declare.
    ///
    /// ### Why is this bad?
    /// The API server accepts it. The kubelet cannot find the port: a readiness or startup probe never succeeds, so the pod never
    /// becomes Ready and the rollout never ends; a liveness probe never runs, so the container is unguarded.
    ///
    /// ### Example
    /// ```yaml
    /// containers:
    ///   - name: web
    ///     ports: [{ name: http, containerPort: 8080 }]
    ///     readinessProbe: { httpGet: { path: /ready, port: htp } }
    /// ```
    ///
    /// ### Use instead
    /// ```yaml
    ///     readinessProbe: { httpGet: { path: /ready, port: http } }
    /// ```
    ///
    /// ### When it stays silent
    /// Numeric ports, which are used as they are; gRPC and exec probes; init containers; Jobs. Names are looked up in the same
    /// container only, as the kubelet does. A name declared for UDP is found and dialled over TCP: a warning.
    "probe-port-unresolved", since "0.1.0",
    Check::Workload(check)
}

fn check(workload: &Workload, faults: &mut Vec<Fault>) {
    if workload.is_batch() {
        return;
    }
    let template = &workload.template;
    for container in template.containers.iter().filter(|it| it.kind != ContainerKind::Init) {
        for probe in &container.probes {
            let PortRef::Name(name) = &probe.port else { continue };
            let declared = template.ports[container.ports.clone()].iter().find(|port| port.name == *name);
            let kind = match (declared, probe.role) {
                (Some(port), _) if port.protocol == Protocol::Udp => Kind::Risk,
                (Some(_), _) => continue,
                (None, ProbeRole::Liveness) => Kind::Risk,
                (None, ProbeRole::Readiness | ProbeRole::Startup) => Kind::Contradiction,
            };
            let words =
                if declared.is_some() { udp_words(container, probe) } else { words(container, probe, template) };
            let field =
                workload.pointer(&format!("{}/{}/{}/port", container.pointer(), probe.role.field(), probe.handler));
            faults.push(Fault {
                kind,
                key: format!("{} {} {name}", container.name, probe.role.field()),
                words: Words { field, ..words },
            });
        }
    }
}

fn words(container: &Container, probe: &Probe, template: &PodTemplate) -> Words {
    let PortRef::Name(name) = &probe.port else { return Words::default() };
    let consequence = match probe.role {
        ProbeRole::Liveness => "it would never run",
        ProbeRole::Readiness | ProbeRole::Startup => "the pod would never be Ready",
    };
    let own = &template.ports[container.ports.clone()];
    let named: Vec<&str> = own.iter().map(|it| it.name.as_str()).filter(|it| !it.is_empty()).collect();
    let help = match (nearest_word(name, named.iter().copied()), named.as_slice(), own) {
        (Some(near), ..) => format!("did you mean \"{near}\"?"),
        _ if name.parse::<u16>().is_ok() => format!("write {name} without quotes: a number in quotes is a name"),
        (None, [only], _) => format!("use \"{only}\", or declare \"{name}\" in this container"),
        (None, [], [only]) => format!("use the number {}, or name the port", only.number),
        _ => "declare the port in this container, or use its number".to_owned(),
    };
    Words {
        message: format!(
            "{} of container \"{}\" uses port \"{name}\", which it does not declare, so {consequence}",
            probe.role.field(),
            container.name
        ),
        help,
        ..Words::default()
    }
}

fn udp_words(container: &Container, probe: &Probe) -> Words {
    Words {
        message: format!(
            "{} of container \"{}\" uses port {}, which is declared for UDP and dialled over TCP",
            probe.role.field(),
            container.name,
            probe.port
        ),
        help: "declare a TCP port, or use its number".to_owned(),
        ..Words::default()
    }
}
