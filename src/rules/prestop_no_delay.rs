//! A preStop hook of the user's own that does not hold the container back, or not as long as it should.

use crate::{
    declare_rule,
    facts::Container,
    inject::{is_own_sleep, reason_to_skip, serving_containers},
    policy::{Field, Mode, Source},
    rule::{Check, Fault, Kind, Setting, Words},
};

declare_rule! {
    /// ### What it does
    /// Looks at the preStop hooks of users, which no502 never changes, in containers that serve a Service:
    /// - an `exec` in which nothing says that it waits: information, because a program may wait by itself;
    /// - a sleep that is shorter than what the Namespace or the workload asks for by annotation (`no502.dev/preset`,
    ///   `no502.dev/prestop-sleep-seconds`): a warning.
    ///
    /// ### Why is this bad?
    /// The hook runs while load balancers still send requests to the pod. One that begins the shutdown at once (`nginx -s quit`) closes the
    /// port under them: 502s. One that sleeps shorter than the slowest load balancer takes to hear of it does the same, only later.
    ///
    /// ### Example
    /// ```yaml
    /// containers:
    ///   - name: web
    ///     lifecycle: { preStop: { exec: { command: [nginx, -s, quit] } } }
    /// ```
    ///
    /// ### Use instead
    /// ```yaml
    ///     lifecycle: { preStop: { exec: { command: [sh, -c, "sleep 10; nginx -s quit"] } } }
    /// ```
    /// or `sleep: { seconds: 10 }` alone, with a program that stops on SIGTERM.
    ///
    /// ### When it stays silent
    /// `httpGet` hooks, which the application may answer as late as it likes; commands in which `sleep`, `wait` or `drain` occurs,
    /// which may first tell somebody and then wait; sleeps that are long enough, or were injected; lengths that nobody set; strategy `Recreate`, a
    /// StatefulSet with one replica and a grace period of 0 or 1, where a sleep would only lengthen the downtime or is not wanted;
    /// excluded containers; `no502.dev/inject: disabled`; containers that serve no Service.
    "prestop-no-delay", since "0.1.0",
    Check::Template(check)
}

fn check(setting: &Setting<'_>, faults: &mut Vec<Fault>) {
    let Setting { workload, snapshot, effective, .. } = setting;
    if effective.settings.of(effective.settings.pre_stop) == Mode::Off || reason_to_skip(workload).is_some() {
        return;
    }
    for container in serving_containers(workload, snapshot) {
        if effective.settings.excluded_containers.contains(&container.name) {
            continue;
        }
        let found = without_delay(container, setting).or_else(|| too_short(container, setting));
        let Some((kind, message, help)) = found else { continue };
        let field = workload.pointer(&format!("{}/lifecycle/preStop", container.pointer()));
        faults.push(Fault { kind, key: container.name.to_string(), words: Words { field, message, help } });
    }
}

fn without_delay(container: &Container, setting: &Setting<'_>) -> Option<(Kind, String, String)> {
    let hook = container.pre_stop.as_ref()?;
    let seconds = setting.effective.settings.sleep_seconds;
    let is_sure = hook.has_exec && !hook.may_wait && !hook.has_request && hook.sleep_seconds.is_none();
    (is_sure && seconds > 0).then(|| {
        let message = format!("preStop exec of container \"{}\" starts shutdown at once", container.name);
        (Kind::Info, message, format!("consider a sleep of {seconds}s first"))
    })
}

fn too_short(container: &Container, setting: &Setting<'_>) -> Option<(Kind, String, String)> {
    let Setting { workload, effective, .. } = setting;
    let source = effective.sources.get(&Field::SleepSeconds)?;
    let (own, wanted) = (container.pre_stop.as_ref()?.known_seconds()?, effective.settings.sleep_seconds);
    if own >= wanted || is_own_sleep(workload, container) {
        return None;
    }
    let owner = match source {
        Source::Workload => "the annotated",
        Source::Namespace => "the namespace's",
        Source::BuiltIn | Source::Flag | Source::ClusterPolicy(_) | Source::Policy(_) => "the policy's",
    };
    let preset = effective.settings.preset.map(|it| format!(" ({})", it.name())).unwrap_or_default();
    let name = &container.name;
    let message = format!("preStop sleep {own}s of container \"{name}\" is shorter than {owner} {wanted}s{preset}");
    Some((Kind::Risk, message, format!("sleep {wanted}s, or take the hook out and let no502 add it")))
}
