//! An Ingress to pods that are not ready.

use crate::{
    declare_rule,
    rule::{Check, Fault, Kind, Setting, Words},
};

declare_rule! {
    /// ### What it does
    /// Finds pods behind a Service with `publishNotReadyAddresses: true` that an Ingress leads to.
    ///
    /// ### Why is this bad?
    /// Every pod of such a Service counts as ready, whatever its probe says, from its first moment to its last. The Ingress sends requests
    /// to pods that are still starting and to pods that are stopping; no preStop hook helps, because the pod is never taken out.
    ///
    /// ### Example
    /// ```yaml
    /// kind: Service
    /// metadata: { name: web }
    /// spec: { selector: { app: web }, publishNotReadyAddresses: true, ports: [{ port: 80 }] }
    /// # an Ingress has the backend web
    /// ```
    ///
    /// ### Use instead
    /// ```yaml
    /// kind: Service
    /// metadata: { name: web }
    /// spec: { selector: { app: web }, ports: [{ port: 80 }] }
    /// ```
    /// Where pods have to find each other before they are ready, give them a Service of their own for that.
    ///
    /// ### When it stays silent
    /// Services that no Ingress leads to: peers of a cluster find each other that way on purpose. It speaks where the pods are written.
    "publish-not-ready-exposed", since "0.1.0",
    Check::Template(check)
}

fn check(setting: &Setting<'_>, faults: &mut Vec<Fault>) {
    let Setting { workload, snapshot, .. } = setting;
    for service in snapshot.services_for(workload).into_iter().filter(|it| it.publishes_not_ready) {
        let (namespace, name) = (&service.meta.namespace, &service.meta.name);
        let Some(ingress) = snapshot.ingresses_to(namespace, name).next() else { continue };
        let words = Words {
            field: workload.pointer("/metadata/labels"),
            message: format!(
                "Service \"{name}\" publishes not-ready addresses: terminating pods keep receiving traffic of Ingress \"{}\"",
                ingress.meta.name
            ),
            help: "lead the Ingress to a Service without publishNotReadyAddresses".to_owned(),
        };
        faults.push(Fault { kind: Kind::Risk, key: name.to_string(), words });
    }
}
