//! A Service without pods.

use crate::{
    declare_rule,
    facts::{Facts, Service, Workload, is_runtime_key},
    link::{Hop, Scene, State},
    nearest::nearest_pods,
    patch::escape,
    rule::{Check, Kind, LinkCheck, Words},
    snapshot::{Selection, World},
};

declare_rule! {
    /// ### What it does
    /// Finds a Service whose selector matches no pod and no pod template of its namespace.
    ///
    /// ### Why is this bad?
    /// A Service without pods has no endpoints: clients are refused, an Ingress answers 503. Nothing reports it; the write succeeds.
    ///
    /// ### Example
    /// ```yaml
    /// kind: Service
    /// spec:
    ///   selector: { app: wbe }   # the Deployment's pods have app: web
    /// ```
    ///
    /// ### Use instead
    /// ```yaml
    /// kind: Service
    /// spec:
    ///   selector: { app: web }
    /// ```
    /// To change a label that a Service selects: add the new label beside the old one, roll out, switch the Service, then remove
    /// the old label.
    ///
    /// ### When it stays silent
    /// Services without selector and of type `ExternalName`; workloads that are scaled to zero; selectors made only of labels that
    /// pods get at run time, such as `statefulset.kubernetes.io/pod-name`. A Service that comes before its pods is a warning, never
    /// a denial; so is a workload that leaves a Service to other pods.
    "service-selects-nothing", since "0.1.0",
    Check::Link(LinkCheck { state, explain, explain_removal: Some(explain_removal) })
}

fn state(hop: &Hop<'_>, world: &World<'_>) -> State {
    let Hop::Selector(service) = hop else { return State::NotMine };
    let selection = world.selection(&service.meta.namespace, &service.selector);
    match (selection.sets.is_empty(), selection.is_unknowable) {
        (false, _) => State::Resolved,
        (true, true) => State::Undecided,
        (true, false) => State::Unresolved(Kind::Absent),
    }
}

fn explain(hop: &Hop<'_>, scene: &Scene<'_>) -> Words {
    let Hop::Selector(service) = hop else { return Words::default() };
    if scene.is_referrer { explain_own_write(service, scene) } else { explain_workload_write(service, scene) }
}

fn explain_own_write(service: &Service, scene: &Scene<'_>) -> Words {
    let namespace = service.meta.namespace.as_str();
    let selector = &service.selector;
    let suggestion = nearest_pods(selector, scene.after.pod_sets(namespace))
        .map(|(set, labels)| format!("did you mean \"{}\" ({})?", labels.join(", "), set.workload));
    let message = if scene.kind == Kind::Broken {
        format!(
            "selector {selector} matches no pod or workload any more (it matched {})",
            matched_before(service, scene)
        )
    } else {
        format!("selector {selector} matches no pod or workload in namespace \"{namespace}\"")
    };
    let help = suggestion.unwrap_or_else(|| match scene.kind {
        Kind::Broken => "keep the old selector, or create the new pods first".to_owned(),
        _ => "correct the selector, or create the workload".to_owned(),
    });
    Words { field: "/spec/selector".to_owned(), message, help }
}

/// The workloads of the old selector.
fn matched_before(service: &Service, scene: &Scene<'_>) -> String {
    let old = match scene.write.old {
        Some(Facts::Service(old)) => listed(&scene.before.selection(&service.meta.namespace, &old.selector)),
        _ => None,
    };
    old.unwrap_or_else(|| "pods before".to_owned())
}

/// The first workload, and how many more.
fn listed(selection: &Selection<'_>) -> Option<String> {
    let mut workloads: Vec<String> = selection.sets.iter().map(|set| set.workload.to_string()).collect();
    workloads.dedup();
    match workloads.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        [first, rest @ ..] => Some(format!("{first} and {} more", rest.len())),
    }
}

fn explain_workload_write(service: &Service, scene: &Scene<'_>) -> Words {
    let name = &service.meta.name;
    if scene.write.is_deletion() {
        let selector = &service.selector;
        return Words {
            field: String::new(),
            message: format!("Service \"{name}\" (selector {selector}) matches nothing without it"),
            help: "delete the Service too, or keep a workload behind it".to_owned(),
        };
    }
    let Some(Facts::Workload(workload)) = scene.write.new else { return Words::default() };
    let (field, needs) = missing_label(service, workload);
    Words {
        field,
        message: format!("the new pod labels no longer match Service \"{name}\", which would lose all endpoints"),
        help: format!("keep {needs} beside the new label until the Service selects that"),
    }
}

/// The first label of the selector that the template does not have, and where it should be.
fn missing_label(service: &Service, workload: &Workload) -> (String, String) {
    let labels = &workload.template.labels;
    let lasting = || service.selector.iter().filter(|(key, _)| !is_runtime_key(key));
    let (field, needs) = match lasting().find(|(key, value)| labels.get(key) != Some(value.as_str())) {
        Some((key, value)) => {
            let member = labels.get(key).map(|_| format!("/{}", escape(key))).unwrap_or_default();
            (format!("/metadata/labels{member}"), format!("{key}={value}"))
        }
        None => ("/metadata/labels".to_owned(), service.selector.to_string()),
    };
    (workload.pointer(&field), needs)
}

/// The workload leaves the Service to others.
fn explain_departure(service: &Service, scene: &Scene<'_>) -> Words {
    let Some(Facts::Workload(workload)) = scene.write.new else { return Words::default() };
    let selection = scene.after.selection(&service.meta.namespace, &service.selector);
    let others = listed(&selection).unwrap_or_else(|| "other pods".to_owned());
    let (field, needs) = missing_label(service, workload);
    Words {
        field,
        message: format!("the new pod labels no longer match Service \"{}\", which keeps {others}", service.meta.name),
        help: format!("keep {needs} if these pods should get its traffic"),
    }
}

fn explain_removal(hop: &Hop<'_>, scene: &Scene<'_>) -> Words {
    let Hop::Selector(service) = hop else { return Words::default() };
    if !scene.is_referrer {
        return explain_departure(service, scene);
    }
    let is_external = matches!(scene.write.new, Some(Facts::Service(new)) if new.is_external_name);
    let (field, what) = if is_external { ("/spec/type", "type ExternalName") } else { ("/spec", "no selector") };
    Words {
        field: field.to_owned(),
        message: format!("with {what} the Service no longer sends to {}", matched_before(service, scene)),
        help: "make sure that somebody else manages its endpoints".to_owned(),
    }
}
