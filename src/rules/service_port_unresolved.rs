//! A Service port that leads to no container port.

use crate::{
    declare_rule,
    facts::{Facts, PortRef, Protocol, Service, ServicePort, Workload},
    link::{Hop, Scene, State},
    nearest::nearest_word,
    rule::{Check, Kind, LinkCheck, Words},
    snapshot::{Selection, World},
};

declare_rule! {
    /// ### What it does
    /// Finds a named `targetPort` that no selected pod and no selected pod template declares with the same protocol.
    ///
    /// ### Why is this bad?
    /// Pods without a port of that name give the Service port no endpoints. There is no event and no status: clients are refused,
    /// an Ingress answers 503.
    ///
    /// ### Example
    /// ```yaml
    /// kind: Service
    /// spec:
    ///   selector: { app: web }
    ///   ports: [{ port: 80, targetPort: http }]
    /// # the container declares: ports: [{ name: web, containerPort: 8080 }]
    /// ```
    ///
    /// ### Use instead
    /// ```yaml
    ///   ports: [{ port: 80, targetPort: web }]
    /// ```
    /// To rename a port that a Service targets: declare both names, roll out, switch the Service, then remove the old name.
    ///
    /// ### When it stays silent
    /// Numeric target ports, which always route; names that at least one selected pod or template has; ports of native sidecars
    /// count; names that meshes inject (`http-envoy-prom`, `linkerd-proxy`, `linkerd-admin`); Services that select nothing, which
    /// `service-selects-nothing` reports.
    "service-port-unresolved", since "0.1.0",
    Check::Link(LinkCheck { state, explain, explain_removal: None })
}

/// Ports that a mesh adds to pods when they are made; templates do not have them (reference: rules 7).
const INJECTED_NAMES: &[&str] = &["http-envoy-prom", "linkerd-admin", "linkerd-proxy"];

fn state(hop: &Hop<'_>, world: &World<'_>) -> State {
    let Hop::Port(service, port) = hop else { return State::NotMine };
    let selection = world.selection(&service.meta.namespace, &service.selector);
    if selection.sets.is_empty() {
        return State::Undecided;
    }
    let PortRef::Name(name) = &port.target else { return State::Resolved };
    let is_known = INJECTED_NAMES.contains(&name.as_str())
        || port.protocol == Protocol::Unknown
        || selection.sets.iter().any(|set| set.port(name, port.protocol).is_some());
    if is_known { State::Resolved } else { State::Unresolved(Kind::Mismatch) }
}

fn explain(hop: &Hop<'_>, scene: &Scene<'_>) -> Words {
    let Hop::Port(service, port) = hop else { return Words::default() };
    let PortRef::Name(name) = &port.target else { return Words::default() };
    if scene.is_referrer {
        return explain_own_write(service, port, name, scene);
    }
    match (scene.write.new, scene.kind) {
        (Some(Facts::Workload(workload)), Kind::Broken) => {
            explain_removed_name(service, name, port.protocol, workload, scene)
        }
        (Some(Facts::Workload(workload)), _) => explain_missing_name(service, port, name, workload),
        _ => Words {
            field: String::new(),
            message: format!("no other pod of Service \"{}\" has its target port \"{name}\"", service.meta.name),
            help: "keep a workload that declares it, or change the Service first".to_owned(),
        },
    }
}

fn explain_own_write(service: &Service, port: &ServicePort, name: &str, scene: &Scene<'_>) -> Words {
    let index = service.ports.iter().position(|it| it == port).unwrap_or_default();
    let selection = scene.after.selection(&service.meta.namespace, &service.selector);
    let protocol = port.protocol.name();
    let workload = selection.sets.first().map(|set| set.workload.to_string()).unwrap_or_default();
    let offered = offered_ports(&selection);
    Words {
        field: format!("/spec/ports/{index}/targetPort"),
        message: format!(
            "targetPort \"{name}\" is not a {protocol} container port of any selected pod ({workload} {offered})"
        ),
        help: suggestion(name, port.protocol, &selection),
    }
}

/// `has http 8080, metrics 9090`, or `declares no ports`.
fn offered_ports(selection: &Selection<'_>) -> String {
    let Some(set) = selection.sets.first() else { return "declares no ports".to_owned() };
    let ports: Vec<String> = set
        .ports
        .iter()
        .map(|port| {
            let protocol =
                if port.protocol == Protocol::Tcp { String::new() } else { format!("/{}", port.protocol.name()) };
            format!("{}{}{}{protocol}", port.name, if port.name.is_empty() { "" } else { " " }, port.number)
        })
        .collect();
    if ports.is_empty() { "declares no ports".to_owned() } else { format!("has {}", ports.join(", ")) }
}

fn suggestion(name: &str, protocol: Protocol, selection: &Selection<'_>) -> String {
    let ports = || selection.sets.iter().flat_map(|set| set.ports.iter());
    if let Some(other) = ports().find(|port| port.name == name) {
        return format!("\"{name}\" is declared with {}; use one protocol on both sides", other.protocol.name());
    }
    let mut named: Vec<&str> =
        ports().filter(|it| it.protocol == protocol && !it.name.is_empty()).map(|it| it.name.as_str()).collect();
    named.dedup();
    match (nearest_word(name, named.iter().copied()), named.as_slice()) {
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        _ if name.parse::<u16>().is_ok() => format!("write {name} without quotes: a number in quotes is a name"),
        (None, [only]) => format!("use \"{only}\", or declare a container port named \"{name}\""),
        (None, _) => format!("declare a container port named \"{name}\", or use a name or number that is there"),
    }
}

fn explain_removed_name(service: &Service, name: &str, protocol: Protocol, new: &Workload, scene: &Scene<'_>) -> Words {
    let old_number = match scene.write.old {
        Some(Facts::Workload(old)) => old.template.port(name, protocol).map(|it| it.number),
        _ => None,
    };
    let renamed = old_number.and_then(|number| {
        new.template.ports.iter().find(|it| it.number == number && it.protocol == protocol && !it.name.is_empty())
    });
    if let Some(other) = new.template.ports.iter().find(|it| it.name == name) {
        let (is, wants) = (other.protocol.name(), protocol.name());
        return Words {
            field: new.pointer("/spec/containers"),
            message: format!(
                "port \"{name}\" is {is} now, but Service \"{}\" targets it over {wants}",
                service.meta.name
            ),
            help: format!("keep a {wants} port named \"{name}\", or change the Service first"),
        };
    }
    let help = match (renamed, old_number) {
        (Some(to), _) => format!("keep \"{name}\" beside \"{}\", or point the Service to {} first", to.name, to.number),
        (None, Some(number)) => format!("keep \"{name}\", or point the Service to {number} first"),
        (None, None) => format!("keep a port named \"{name}\", or change the Service first"),
    };
    Words {
        field: new.pointer("/spec/containers"),
        message: format!("port name \"{name}\" is removed, but Service \"{}\" targets it by name", service.meta.name),
        help,
    }
}

fn explain_missing_name(service: &Service, port: &ServicePort, name: &str, workload: &Workload) -> Words {
    Words {
        field: workload.pointer("/spec/containers"),
        message: format!(
            "Service \"{}\" sends port {} to a port named \"{name}\", which no container declares",
            service.meta.name, port.port
        ),
        help: format!("name the container port \"{name}\", or change the Service's targetPort"),
    }
}
