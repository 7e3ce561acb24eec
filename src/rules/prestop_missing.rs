//! A container without a preStop hook.

use crate::{
    declare_rule,
    facts::Container,
    inject::wanted,
    policy::Mode,
    rule::{Check, Fault, Kind, Setting, Words},
};

declare_rule! {
    /// ### What it does
    /// Finds the containers into which the admission server would put a preStop sleep: regular containers without a preStop hook, in
    /// the pods that a Service selects, or that declare a port for clients. It is asked about files only, because in a cluster the
    /// sleep is simply added.
    ///
    /// ### Why is this bad?
    /// A pod that is deleted gets SIGTERM at the moment at which load balancers begin to hear of it. Until they have all heard, seconds
    /// later, they send requests to a program that does not listen any more: 502s in each rollout. The sleep holds SIGTERM back until
    /// then. All containers of a pod stop in parallel, so that a neighbour without the sleep takes the web container down with it.
    ///
    /// ### Example
    /// ```yaml
    /// kind: Deployment
    /// spec:
    ///   template:
    ///     spec:
    ///       containers:
    ///         - name: web
    ///           ports: [{ containerPort: 8080 }]
    /// ```
    ///
    /// ### Use instead
    /// `no502 fix` writes this into the file:
    /// ```yaml
    ///       terminationGracePeriodSeconds: 40
    ///       containers:
    ///         - name: web
    ///           ports: [{ containerPort: 8080 }]
    ///           lifecycle: { preStop: { sleep: { seconds: 10 } } }
    /// ```
    ///
    /// ### When it stays silent
    /// Exactly where nothing is injected: kinds that are not covered (`no502.dev/kinds`), `no502.dev/inject: disabled`, a sleep of 0,
    /// excluded containers, init containers and native sidecars, strategy `Recreate`, a StatefulSet with one replica, a grace period
    /// of 0 or 1 (both ask to be killed fast), objects that a controller owns, pods that serve nobody, and no room below the longest
    /// grace period. A hook of any kind is the user's own decision.
    "prestop-missing", since "0.1.0",
    Check::Injected(check)
}

/// Containers that a message names; of more it says how many.
const NAMES_MAX: usize = 3;

fn check(setting: &Setting<'_>, faults: &mut Vec<Fault>) {
    let Setting { workload, snapshot, effective, policies } = setting;
    let Some(wanted) = wanted(workload, effective, snapshot, policies) else { return };
    let Some(first) = wanted.sleeping.first() else { return };
    let grace = wanted.grace.map(|it| format!(" and terminationGracePeriodSeconds: {it}")).unwrap_or_default();
    let lines = format!("lifecycle.preStop.sleep.seconds: {}{grace}", wanted.seconds);
    let help = match effective.settings.of(effective.settings.pre_stop) {
        Mode::Inject => format!("\"no502 fix\" writes {lines}, and so does the admission server"),
        _ => format!("write {lines}"),
    };
    let words = Words {
        field: workload.pointer(&format!("{}/lifecycle", first.pointer())),
        message: message(&wanted.sleeping),
        help,
    };
    faults.push(Fault { kind: Kind::Risk, key: String::new(), words });
}

fn message(containers: &[&Container]) -> String {
    let names = containers.iter().take(NAMES_MAX).map(|it| format!("\"{}\"", it.name));
    let names = names.collect::<Vec<_>>().join(", ");
    match containers.len() {
        1 => format!("container {names} has no preStop hook and stops while load balancers still send to its pod"),
        2..=NAMES_MAX => {
            format!("containers {names} have no preStop hook and stop while load balancers still send to their pod")
        }
        many => {
            format!(
                "{many} containers ({names}, ...) have no preStop hook and stop while load balancers still send to their pod"
            )
        }
    }
}
