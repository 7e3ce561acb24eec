//! An Ingress path to a port that its Service does not have.

use crate::{
    declare_rule,
    facts::{Backend, Ingress, PortRef, Service},
    link::{Hop, Scene, State},
    nearest::nearest_word,
    rule::{Check, Kind, LinkCheck, Words},
    snapshot::World,
};

declare_rule! {
    /// ### What it does
    /// Finds an Ingress backend whose Service exists and has no port of that number or name.
    ///
    /// ### Why is this bad?
    /// The backend port of an Ingress is the Service's port, not the container's. With a port that the Service does not have, the
    /// controller drops the path: 404, 500 or 503 for every request.
    ///
    /// ### Example
    /// ```yaml
    /// kind: Ingress
    /// spec:
    ///   rules:
    ///     - http:
    ///         paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 8080 } } } }]
    /// # Service web: ports: [{ port: 80, targetPort: 8080 }]
    /// ```
    ///
    /// ### Use instead
    /// ```yaml
    ///         paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }]
    /// ```
    /// To change the port of a Service that an Ingress uses: add the new port beside the old one, switch the Ingress, then remove
    /// the old port.
    ///
    /// ### When it stays silent
    /// Services of type `ExternalName`; Services that do not exist, which `ingress-service-missing` reports. Ingresses of class
    /// `nginx` may use the target port, which that controller accepts: a warning.
    "ingress-port-missing", since "0.1.0",
    Check::Link(LinkCheck { state, explain, explain_removal: None })
}

/// The class of the ingress-nginx controller, which also accepts a target port (reference: rules K25).
const INGRESS_NGINX_CLASS: &str = "nginx";

fn state(hop: &Hop<'_>, world: &World<'_>) -> State {
    let Hop::Backend(ingress, backend) = hop else { return State::NotMine };
    let Some(service) = world.service(&ingress.meta.namespace, &backend.service) else { return State::NotMine };
    let Some(wanted) = &backend.port else { return State::Resolved };
    if service.is_external_name || has_port(service, wanted) {
        return State::Resolved;
    }
    let is_nginx = ingress.class.as_deref() == Some(INGRESS_NGINX_CLASS);
    let is_target = service.ports.iter().any(|port| port.target == *wanted);
    State::Unresolved(if is_nginx && is_target { Kind::Risk } else { Kind::Mismatch })
}

fn has_port(service: &Service, wanted: &PortRef) -> bool {
    service.ports.iter().any(|port| match wanted {
        PortRef::Number(number) => port.port == *number,
        PortRef::Name(name) => port.name == *name,
    })
}

fn explain(hop: &Hop<'_>, scene: &Scene<'_>) -> Words {
    let Hop::Backend(ingress, backend) = hop else { return Words::default() };
    let Some(service) = scene.after.service(&ingress.meta.namespace, &backend.service) else { return Words::default() };
    let Some(wanted) = &backend.port else { return Words::default() };
    if scene.is_referrer {
        explain_own_write(backend, service, wanted)
    } else {
        explain_service_write(ingress, backend, service, wanted, scene.kind)
    }
}

fn explain_own_write(backend: &Backend, service: &Service, wanted: &PortRef) -> Words {
    let name = &service.meta.name;
    let help = if let Some(port) = service.ports.iter().find(|it| it.target == *wanted) {
        format!("{wanted} is its targetPort; use its port {}", port.port)
    } else {
        match nearest_port(service, wanted) {
            Some(Nearest::Alike(port)) => format!("did you mean {port}?"),
            Some(Nearest::Only(port)) => format!("use {port}, or add {wanted} to the Service"),
            None => "use a port of the Service, or add this one to it".to_owned(),
        }
    };
    Words {
        field: backend.port_pointer(),
        message: format!("Service \"{name}\" has no port {wanted} for {} ({})", backend.route(), offered(service)),
        help,
    }
}

/// The port that is probably meant.
enum Nearest {
    /// Its name looks alike.
    Alike(PortRef),
    /// There is no other.
    Only(PortRef),
}

fn nearest_port(service: &Service, wanted: &PortRef) -> Option<Nearest> {
    let names = service.ports.iter().map(|it| it.name.as_str());
    match (wanted, &*service.ports) {
        (PortRef::Name(name), _) if nearest_word(name, names.clone()).is_some() => {
            nearest_word(name, names).map(|it| Nearest::Alike(PortRef::Name(it.into())))
        }
        (PortRef::Name(_), [only]) if !only.name.is_empty() => Some(Nearest::Only(PortRef::Name(only.name.clone()))),
        (_, [only]) => Some(Nearest::Only(PortRef::Number(only.port))),
        _ => None,
    }
}

/// `it has 80 "http", 443`.
fn offered(service: &Service) -> String {
    let ports: Vec<String> = service
        .ports
        .iter()
        .map(|it| if it.name.is_empty() { it.port.to_string() } else { format!("{} \"{}\"", it.port, it.name) })
        .collect();
    if ports.is_empty() { "it has none".to_owned() } else { format!("it has {}", ports.join(", ")) }
}

fn explain_service_write(
    ingress: &Ingress,
    backend: &Backend,
    service: &Service,
    wanted: &PortRef,
    kind: Kind,
) -> Words {
    let user = format!("Ingress \"{}\" ({})", ingress.meta.name, backend.route());
    let (message, help) = if kind == Kind::Broken {
        (
            format!("port {wanted} is removed, but {user} uses it"),
            format!("keep port {wanted}, or change the Ingress first ({})", offered(service)),
        )
    } else {
        (
            format!("{user} uses port {wanted}, which this Service does not have"),
            "add the port, or change the Ingress".to_owned(),
        )
    };
    Words { field: "/spec/ports".to_owned(), message, help }
}
