//! A preStop hook that eats up the grace period.

use crate::{
    declare_rule,
    facts::Workload,
    inject::{GRACE, grace_seconds, longest_sleep},
    rule::{Check, Fault, Kind, Setting, Words},
};

declare_rule! {
    /// ### What it does
    /// Compares the longest sleep that is known of the preStop hooks of regular containers with `terminationGracePeriodSeconds`, and
    /// finds less than 5 seconds between them. A sleep is known of `sleep.seconds`, and of an `exec` that begins with `sleep N`, alone
    /// or as the first command of a shell.
    ///
    /// ### Why is this bad?
    /// The grace period begins before the hook. What the hook uses up, the application lacks: it gets SIGTERM and is killed before it
    /// has answered what it was working on, with the 502s that the hook was to prevent.
    ///
    /// ### Example
    /// ```yaml
    /// spec:
    ///   containers:
    ///     - name: web
    ///       lifecycle: { preStop: { exec: { command: [sleep, "30"] } } }
    /// # terminationGracePeriodSeconds is 30 where nobody says otherwise
    /// ```
    ///
    /// ### Use instead
    /// The sleep, and the time that the longest request takes (`no502.dev/app-drain-seconds`, 30 where nobody says otherwise):
    /// ```yaml
    /// spec:
    ///   terminationGracePeriodSeconds: 60
    ///   containers:
    ///     - name: web
    ///       lifecycle: { preStop: { exec: { command: [sleep, "30"] } } }
    /// ```
    /// The admission server raises the grace period by itself, up to `no502.dev/max-grace-seconds`, where it may inject.
    ///
    /// ### When it stays silent
    /// Hooks of which the length is not known; hooks of init containers and native sidecars, which do not hold the application back; a
    /// grace period of 0, with which no hook runs at all (`grace-too-short`).
    "prestop-exceeds-grace", since "0.1.0",
    Check::Template(check)
}

/// Less than this is no time to finish a request in (reference: rules F2).
const SHUTDOWN_SECONDS_MIN: i64 = 5;

fn check(setting: &Setting<'_>, faults: &mut Vec<Fault>) {
    let Setting { workload, effective, .. } = setting;
    let Some((sleep, grace)) = overrun(workload) else { return };
    let rest = grace.saturating_sub(sleep).max(0);
    let need = sleep.saturating_add(effective.settings.app_drain_seconds);
    let max = effective.settings.max_grace_seconds;
    let instead =
        if need > max { format!(", or shorten the hook: no502 raises it to {max} at most") } else { String::new() };
    let words = Words {
        field: workload.pointer(GRACE),
        message: format!("preStop (~{sleep}s) leaves {rest}s of terminationGracePeriodSeconds {grace}s for shutdown"),
        help: format!("set it to at least {need}{instead}"),
    };
    faults.push(Fault { kind: Kind::Risk, key: String::new(), words });
}

/// The longest known sleep and the grace period, in seconds, if the one leaves too little of the other.
pub(super) fn overrun(workload: &Workload) -> Option<(i64, i64)> {
    let (sleep, grace) = (longest_sleep(workload), grace_seconds(workload));
    let is_known = sleep > 0 && grace > 0;
    (is_known && sleep.saturating_add(SHUTDOWN_SECONDS_MIN) > grace).then_some((sleep, grace))
}
