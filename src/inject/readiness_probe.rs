//! The readiness probe: which container serves a Service without one, and whether a TCP check of its port is safe to add.
//!
//! A TCP check only proves that something listens. Where it is wrong, a rollout hangs; so it is added by setting only, on a port
//! that a Service really targets and that exactly one container declares, and never where a check by TCP does harm or proves
//! nothing (reference: mutations 4.2).

use smol_str::SmolStr;

use super::pre_stop::is_side_port;
use crate::{
    facts::{Container, ContainerKind, ContainerPort, PortRef, Protocol, Service, ServicePort, Workload},
    policy::InjectionSettings,
    snapshot::Snapshot,
};

/// A container that a Service sends traffic to as soon as it runs.
#[derive(Debug, Clone)]
pub(crate) struct Unready<'a> {
    pub(crate) container: &'a Container,
    /// The Service, by name.
    pub(crate) service: SmolStr,
    /// The port that it sends to.
    pub(crate) port: i64,
    /// Why a TCP check must not be added; `None` if it may.
    pub(crate) obstacle: Option<String>,
}

/// Ports on which a connection without a word does harm, and what it does (reference: mutations 4.2, R7).
const HOSTILE_PORTS: [(i64, &str); 6] = [
    (22, "SSH logs every connection without a login"),
    (25, "mail servers count silent connections"),
    (3306, "MySQL counts aborted connections"),
    (3307, "MySQL counts aborted connections"),
    (5672, "AMQP brokers accept connections before their cluster is ready"),
    (33_060, "MySQL counts aborted connections"),
];

/// A port of a Service and the container that serves it.
#[derive(Debug, Clone, Copy)]
struct Served<'a> {
    service: &'a Service,
    container: &'a Container,
    number: i64,
    /// How many regular containers declare it: none, for a number that nobody declares.
    claimants: usize,
    is_routed: bool,
    is_grpc: bool,
}

/// The containers that lack a readiness probe, each with the Service that will not wait for it. `is_replaceable` says of a probe
/// that it counts as none, because it is our own.
pub(crate) fn unready<'a>(
    workload: &'a Workload,
    snapshot: &'a Snapshot,
    settings: &InjectionSettings,
    is_replaceable: &dyn Fn(&Container) -> bool,
) -> Vec<Unready<'a>> {
    let mut served: Vec<Served<'a>> = Vec::new();
    for service in snapshot.services_for(workload).into_iter().filter(|it| waits_for_readiness(it, workload)) {
        let is_routed_to = |port: &ServicePort| {
            snapshot.ingresses_to(&service.meta.namespace, &service.meta.name).any(|ingress| {
                let mut backends = ingress.backends.iter().filter(|it| it.service == service.meta.name);
                backends.any(|it| it.port.as_ref().is_none_or(|it| names(it, port)))
            })
        };
        for port in service.ports.iter().filter(|it| it.protocol == Protocol::Tcp && !is_side_port(&it.name)) {
            let found = serving(workload, service, port).filter(|it| !it.container.is_idle);
            served.extend(found.map(|it| Served { is_routed: is_routed_to(port), ..it }));
        }
    }
    // Of several ports of one container the one that an Ingress leads to, else that of the first Service.
    served.sort_by_key(|it| (it.container.index, it.claimants != 1, !it.is_routed));
    let lacks = |it: &Container| it.readiness.is_none() || is_replaceable(it);
    let is_anybody_ready = workload.template.containers.iter().any(|it| is_regular(it) && !lacks(it));
    let mut unready: Vec<Unready<'a>> = Vec::new();
    for it in &served {
        let is_known = unready.iter().any(|known| std::ptr::eq(known.container, it.container));
        // Whose port it is, is not known: a probe of any of them may be the one.
        let is_covered = it.claimants != 1 && is_anybody_ready;
        if lacks(it.container) && !is_known && !is_covered {
            unready.push(Unready {
                container: it.container,
                service: it.service.meta.name.clone(),
                port: it.number,
                obstacle: obstacle(it, workload, snapshot),
            });
        }
    }
    if let Some(port) = &settings.readiness_port {
        unready = unready.into_iter().map(|it| asked_for(it, port, workload, snapshot)).collect();
    }
    unready
}

/// The containers that a Service with a clientele of its own sends traffic to, each once.
pub(crate) fn serving_containers<'a>(workload: &'a Workload, snapshot: &'a Snapshot) -> Vec<&'a Container> {
    let all = unready(workload, snapshot, &InjectionSettings::default(), &|_| true);
    all.into_iter().map(|it| it.container).collect()
}

/// A Service whose clients are kept away from pods that are not ready, and whose pods do not need it to become so
/// (reference: mutations 4.2, R3 and R8).
fn waits_for_readiness(service: &Service, workload: &Workload) -> bool {
    !service.is_headless && !service.publishes_not_ready && service.meta.name != workload.service_name
}

fn is_regular(container: &Container) -> bool {
    container.kind == ContainerKind::Regular
}

/// True if an Ingress backend's port is that port of the Service.
fn names(backend: &PortRef, port: &ServicePort) -> bool {
    match backend {
        PortRef::Number(number) => *number == port.port,
        PortRef::Name(name) => *name == port.name,
    }
}

/// The container behind a port of a Service: the only one that declares it, or the first of several. Of a number that nobody
/// declares the only container there is.
fn serving<'a>(workload: &'a Workload, service: &'a Service, port: &ServicePort) -> Option<Served<'a>> {
    let template = &workload.template;
    let is_target = |it: &ContainerPort| {
        it.protocol == Protocol::Tcp
            && match &port.target {
                PortRef::Number(number) => it.number == *number,
                PortRef::Name(name) => it.name == *name,
            }
    };
    let is_claimed = |it: &&Container| template.ports[it.ports.clone()].iter().any(is_target);
    let mut regular = template.containers.iter().filter(|it| is_regular(it));
    // A native sidecar may serve it, and what is behind that is not known.
    if template.containers.iter().any(|it| !is_regular(it) && is_claimed(&it)) {
        return None;
    }
    let served = |container: &'a Container, number: i64, name: &str| Served {
        service,
        container,
        number,
        claimants: claimants(workload, number),
        is_routed: false,
        is_grpc: [name, &port.name, &port.app_protocol].into_iter().any(is_grpc),
    };
    if let Some(container) = regular.clone().find(is_claimed) {
        let declared = template.ports[container.ports.clone()].iter().find(|it| is_target(it))?;
        if is_side_port(&declared.name) {
            return None;
        }
        return Some(served(container, declared.number, &declared.name));
    }
    match (&port.target, regular.next(), regular.next()) {
        (PortRef::Number(number), Some(only), None) => Some(served(only, *number, "")),
        _ => None,
    }
}

/// How many regular containers declare that TCP port, under whatever name.
fn claimants(workload: &Workload, port: i64) -> usize {
    workload.template.containers.iter().filter(|it| is_regular(it) && declares(workload, it, port)).count()
}

/// `grpc`, `grpc-web`, `api-grpc`: names by which ports tell their protocol, and `appProtocol`.
fn is_grpc(name: &str) -> bool {
    name.split(['-', '/', '.']).any(|it| it == "grpc")
}

fn obstacle(it: &Served<'_>, workload: &Workload, snapshot: &Snapshot) -> Option<String> {
    let template = &workload.template;
    let port = it.number;
    if template.is_on_host_network {
        return Some("with hostNetwork the port may be another pod's".to_owned());
    }
    match it.claimants {
        0 => return Some(format!("no container declares port {port}")),
        1 => {}
        many => return Some(format!("{many} containers declare port {port}")),
    }
    if let Some((_, harm)) = HOSTILE_PORTS.iter().find(|(hostile, _)| *hostile == port) {
        return Some(format!("{harm} (port {port})"));
    }
    if is_named_by(it, workload, snapshot) {
        return Some(format!("port {port} may open only once the pods have found each other by their names"));
    }
    if it.is_grpc {
        return Some("a gRPC server listens before it serves; use a grpc probe".to_owned());
    }
    if template.containers.iter().any(|it| it.name == "istio-proxy")
        || template.mesh.keeps_probes && asks_for_istio(workload, snapshot)
    {
        return Some("the Istio proxy accepts every connection, and nobody rewrites the probe".to_owned());
    }
    if template.mesh.asks_for_linkerd || namespace_asks_for_linkerd(workload, snapshot) {
        return Some("the Linkerd proxy accepts every connection".to_owned());
    }
    None
}

/// The Service that gives a StatefulSet's pods their names sends to the same port (reference: mutations 4.2, R8).
fn is_named_by(it: &Served<'_>, workload: &Workload, snapshot: &Snapshot) -> bool {
    let governing = snapshot.service(&workload.meta.namespace, &workload.service_name);
    governing.is_some_and(|service| sends_to(service, workload, it.number))
}

/// True if a Service that selects the workload sends to that TCP port of its pods.
pub(super) fn is_targeted(workload: &Workload, snapshot: &Snapshot, port: i64) -> bool {
    snapshot.services_for(workload).into_iter().any(|it| sends_to(it, workload, port))
}

fn sends_to(service: &Service, workload: &Workload, number: i64) -> bool {
    service.ports.iter().filter(|it| it.protocol == Protocol::Tcp).any(|port| match &port.target {
        PortRef::Number(target) => *target == number,
        PortRef::Name(name) => workload.template.port(name, Protocol::Tcp).is_some_and(|it| it.number == number),
    })
}

/// True if Istio puts its proxy into the pods.
pub(crate) fn asks_for_istio(workload: &Workload, snapshot: &Snapshot) -> bool {
    let namespace = snapshot.namespace(&workload.meta.namespace);
    let mesh = workload.template.mesh;
    !mesh.refuses_istio && (mesh.asks_for_istio || namespace.is_some_and(|it| it.injects_istio))
}

fn namespace_asks_for_linkerd(workload: &Workload, snapshot: &Snapshot) -> bool {
    let namespace = snapshot.namespace(&workload.meta.namespace);
    !workload.template.mesh.refuses_linkerd && namespace.is_some_and(|it| it.injects_linkerd)
}

/// The same container with the port that the settings name.
fn asked_for<'a>(it: Unready<'a>, port: &PortRef, workload: &Workload, snapshot: &Snapshot) -> Unready<'a> {
    let declared = workload.template.ports[it.container.ports.clone()].iter().find(|declared| match port {
        PortRef::Number(number) => declared.number == *number,
        PortRef::Name(name) => declared.name == *name,
    });
    let service = snapshot.service(&workload.meta.namespace, &it.service);
    let (Some(declared), Some(service)) = (declared, service) else {
        return Unready { obstacle: Some(format!("the container declares no port {port}")), ..it };
    };
    let served = Served {
        service,
        container: it.container,
        number: declared.number,
        claimants: claimants(workload, declared.number),
        is_routed: false,
        is_grpc: is_grpc(&declared.name),
    };
    Unready { port: declared.number, obstacle: obstacle(&served, workload, snapshot), ..it }
}

/// True if the container declares that TCP port.
pub(super) fn declares(workload: &Workload, container: &Container, port: i64) -> bool {
    let ports = &workload.template.ports[container.ports.clone()];
    ports.iter().any(|it| it.number == port && it.protocol == Protocol::Tcp)
}
