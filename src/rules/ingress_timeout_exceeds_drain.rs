//! An Ingress that waits longer for an answer than its pods live.

use crate::{
    declare_rule,
    facts::{Ingress, ReadTimeout, Service},
    inject::{GRACE, grace_seconds, longest_sleep},
    rule::{Check, Fault, Kind, Setting, Words},
};

declare_rule! {
    /// ### What it does
    /// Compares the read timeout that an Ingress sets by annotation with the time that its pods have to finish a request once they are
    /// told to stop: `terminationGracePeriodSeconds` without the longest known preStop sleep.
    ///
    /// ### Why is this bad?
    /// Somebody set the timeout because some requests take that long. A pod that is replaced is killed in the middle of them, and the
    /// Ingress answers 502.
    ///
    /// ### Example
    /// ```yaml
    /// kind: Ingress
    /// metadata:
    ///   annotations: { nginx.ingress.kubernetes.io/proxy-read-timeout: "300" }
    /// # leads to a Deployment with a preStop sleep of 10 seconds and:
    /// spec: { template: { spec: { terminationGracePeriodSeconds: 40 } } }
    /// ```
    ///
    /// ### Use instead
    /// ```yaml
    /// spec: { template: { spec: { terminationGracePeriodSeconds: 310 } } }
    /// ```
    /// or a timeout that no request really needs more than. `no502.dev/app-drain-seconds: "300"` makes the admission server raise the grace
    /// period. Open WebSockets outlast every grace period: the application has to close them on SIGTERM.
    ///
    /// ### When it stays silent
    /// Timeouts that are a controller's default, or set for the whole controller; values that the controller ignores, or of which the
    /// unit is not known; annotations of one controller on an Ingress whose class names another; Services that no Ingress leads to.
    "ingress-timeout-exceeds-drain", since "0.1.0",
    Check::Template(check)
}

/// Words in the names of Ingress classes that say which controller it is, and in the annotations that it reads.
const CONTROLLERS: [(&str, &[&str]); 8] = [
    ("nginx", &["nginx"]),
    ("haproxy", &["haproxy", "ingress.kubernetes.io/timeout-server"]),
    ("contour", &["projectcontour.io"]),
    ("alb", &["alb."]),
    ("traefik", &[]),
    ("kong", &[]),
    ("gce", &[]),
    ("azure", &[]),
];

fn check(setting: &Setting<'_>, faults: &mut Vec<Fault>) {
    let Setting { workload, snapshot, .. } = setting;
    let (sleep, grace) = (longest_sleep(workload), grace_seconds(workload));
    let drain = grace.saturating_sub(sleep).max(0);
    let services = snapshot.services_for(workload);
    let waits = services.iter().flat_map(|it| waits(it, setting));
    let Some((ingress, timeout)) = waits.max_by_key(|(_, it)| it.seconds) else { return };
    let ReadTimeout { annotation, seconds } = timeout;
    if *seconds <= drain {
        return;
    }
    let need = seconds.saturating_add(sleep);
    let words = Words {
        field: workload.pointer(GRACE),
        message: format!(
            "Ingress \"{}\" waits {seconds}s for an answer ({annotation}), a stopping pod has {drain}s",
            ingress.meta.name
        ),
        help: format!("set a grace period of at least {need}, or lower the timeout"),
    };
    faults.push(Fault { kind: Kind::Risk, key: ingress.meta.name.to_string(), words });
}

/// The timeouts of the Ingresses that lead to a Service.
fn waits<'a>(service: &Service, setting: &Setting<'a>) -> Vec<(&'a Ingress, &'a ReadTimeout)> {
    let leading = setting.snapshot.ingresses_to(&service.meta.namespace, &service.meta.name);
    let waits = leading.filter_map(|it| Some((it, it.read_timeout.as_ref()?)));
    waits.filter(|(ingress, timeout)| !is_for_another(ingress, timeout.annotation)).collect()
}

/// True if the class says that a controller serves the Ingress which does not read the annotation.
fn is_for_another(ingress: &Ingress, annotation: &str) -> bool {
    let Some(class) = ingress.class.as_deref() else { return false };
    let mut named = CONTROLLERS.iter().filter(|(name, _)| class.contains(name)).peekable();
    named.peek().is_some() && !named.any(|(_, words)| words.iter().any(|it| annotation.contains(it)))
}
