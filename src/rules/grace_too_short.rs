//! A grace period in which no request can be finished.

use crate::{
    declare_rule,
    facts::ContainerKind,
    inject::{GRACE, longest_sleep},
    rule::{Check, Fault, Kind, Setting, Words},
    rules::prestop_exceeds_grace::overrun,
};

declare_rule! {
    /// ### What it does
    /// Finds pods behind a Service that have less than 10 seconds between the decision to stop them and SIGKILL.
    ///
    /// ### Why is this bad?
    /// Load balancers need some seconds until they send no more requests to the pod, and the application needs some to answer those that
    /// it has. With 0, Kubernetes runs no preStop hook and sends no SIGTERM: every open connection breaks.
    ///
    /// ### Example
    /// ```yaml
    /// kind: Deployment
    /// spec:
    ///   template:
    ///     spec:
    ///       terminationGracePeriodSeconds: 5
    /// ```
    ///
    /// ### Use instead
    /// ```yaml
    ///     spec:
    ///       terminationGracePeriodSeconds: 40
    /// ```
    /// A program that stops sooner ends its pod sooner: a long grace period costs nothing.
    ///
    /// ### When it stays silent
    /// Pods that no Service selects; a grace period that is not given, which is 30; a preStop hook that is known to use the grace period
    /// up, which `prestop-exceeds-grace` reports; pods whose command is `sleep` or `tail`, which answer nobody; Jobs. Where the admission server injects, it has raised the grace period before
    /// this rule sees it; 0 and 1 it leaves alone, because somebody wants to kill fast.
    "grace-too-short", since "0.1.0",
    Check::Template(check)
}

/// With a shorter one neither load balancers nor requests have the time they need (reference: rules F4).
const GRACE_SECONDS_MIN: i64 = 10;

fn check(setting: &Setting<'_>, faults: &mut Vec<Fault>) {
    let Setting { workload, snapshot, effective, .. } = setting;
    let short = workload.template.grace_seconds.filter(|it| (0..GRACE_SECONDS_MIN).contains(it));
    let Some(grace) = short.filter(|_| overrun(workload).is_none()) else { return };
    if workload.template.containers.iter().filter(|it| it.kind == ContainerKind::Regular).all(|it| it.is_idle) {
        return;
    }
    let Some(service) = snapshot.services_for(workload).first().map(|it| it.meta.name.clone()) else { return };
    let sleep = longest_sleep(workload).max(effective.settings.sleep_seconds);
    let need = sleep.saturating_add(effective.settings.app_drain_seconds).max(GRACE_SECONDS_MIN);
    let message = if grace == 0 {
        format!(
            "terminationGracePeriodSeconds 0 kills the pods of Service \"{service}\" at once, without preStop hook and SIGTERM"
        )
    } else {
        format!("terminationGracePeriodSeconds {grace} is too short for the pods of Service \"{service}\"")
    };
    let words = Words { field: workload.pointer(GRACE), message, help: format!("use at least {need}") };
    faults.push(Fault { kind: Kind::Risk, key: String::new(), words });
}
