//! An Ingress path to a Service that is not there.

use crate::{
    declare_rule,
    facts::{Backend, Ingress},
    link::{Hop, Scene, State},
    nearest::nearest_word,
    rule::{Check, Kind, LinkCheck, Words},
    snapshot::World,
};

declare_rule! {
    /// ### What it does
    /// Finds an Ingress backend, the default backend included, that names a Service which its namespace does not have.
    ///
    /// ### Why is this bad?
    /// The controller accepts the Ingress and answers every request on that path with 503 or 404.
    ///
    /// ### Example
    /// ```yaml
    /// kind: Ingress
    /// spec:
    ///   rules:
    ///     - http:
    ///         paths: [{ path: /, pathType: Prefix, backend: { service: { name: wbe, port: { number: 80 } } } }]
    /// # the Service is called web
    /// ```
    ///
    /// ### Use instead
    /// ```yaml
    ///         paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }]
    /// ```
    ///
    /// ### When it stays silent
    /// Resource backends; actions of the AWS load balancer controller (`use-annotation`). An Ingress that comes before its Service
    /// is a warning, never a denial; only a path that worked before is protected.
    "ingress-service-missing", since "0.1.0",
    Check::Link(LinkCheck { state, explain, explain_removal: None })
}

fn state(hop: &Hop<'_>, world: &World<'_>) -> State {
    let Hop::Backend(ingress, backend) = hop else { return State::NotMine };
    match world.service(&ingress.meta.namespace, &backend.service) {
        Some(_) => State::Resolved,
        None => State::Unresolved(Kind::Absent),
    }
}

fn explain(hop: &Hop<'_>, scene: &Scene<'_>) -> Words {
    let Hop::Backend(ingress, backend) = hop else { return Words::default() };
    if scene.is_referrer { explain_own_write(ingress, backend, scene) } else { explain_service_write(ingress, backend) }
}

fn explain_own_write(ingress: &Ingress, backend: &Backend, scene: &Scene<'_>) -> Words {
    let (namespace, service) = (ingress.meta.namespace.as_str(), backend.service.as_str());
    let snapshot = scene.after.snapshot();
    let elsewhere = snapshot.namespaces_with_service(service).into_iter().find(|it| *it != namespace);
    let names = snapshot.services().filter(|it| it.meta.namespace == namespace).map(|it| it.meta.name.as_str());
    let help = match (nearest_word(service, names), elsewhere) {
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        (None, Some(other)) => format!("it exists in namespace \"{other}\", but an Ingress cannot cross namespaces"),
        (None, None) => "create the Service, or correct the name".to_owned(),
    };
    Words {
        field: backend.service_pointer(),
        message: format!(
            "backend Service \"{service}\" of {} does not exist in namespace \"{namespace}\"",
            backend.route()
        ),
        help,
    }
}

fn explain_service_write(ingress: &Ingress, backend: &Backend) -> Words {
    Words {
        field: String::new(),
        message: format!("Ingress \"{}\" ({}) still routes to this Service", ingress.meta.name, backend.route()),
        help: "change or delete the Ingress first".to_owned(),
    }
}
