//! A mesh proxy that is gone while the application still waits.

use crate::{
    declare_rule,
    inject::{asks_for_istio, longest_sleep},
    rule::{Check, Fault, Kind, Setting, Words},
};

declare_rule! {
    /// ### What it does
    /// Finds pods whose containers sleep before they stop, and into which Istio puts its proxy as a regular container that does not wait for
    /// them.
    ///
    /// ### Why is this bad?
    /// A classic sidecar gets SIGTERM at the same time at which the preStop hooks begin, drains for 5 seconds and exits. All requests go
    /// through it: while the application still sleeps, new ones are refused and running ones break. The sleep makes it no better, or
    /// worse.
    ///
    /// ### Example
    /// ```yaml
    /// template:
    ///   metadata:
    ///     annotations: { sidecar.istio.io/inject: "true", sidecar.istio.io/nativeSidecar: "false" }
    ///   spec:
    ///     containers: [{ name: web, lifecycle: { preStop: { sleep: { seconds: 10 } } } }]
    /// ```
    ///
    /// ### Use instead
    /// A native sidecar, which stops after the application:
    /// ```yaml
    ///     annotations: { sidecar.istio.io/inject: "true" }
    /// ```
    /// or a proxy that drains longer than the sleep:
    /// ```yaml
    ///     annotations:
    ///       sidecar.istio.io/nativeSidecar: "false"
    ///       proxy.istio.io/config: "terminationDrainDuration: 15s"
    /// ```
    ///
    /// ### When it stays silent
    /// Everywhere but where it is certain: the template or its Namespace asks for Istio, the template says
    /// `sidecar.istio.io/nativeSidecar: "false"`, a regular container is known to sleep for 5 seconds or longer, and
    /// `proxy.istio.io/config` says nothing of `terminationDrainDuration` or `EXIT_ON_ZERO_ACTIVE_CONNECTIONS`. A proxy that stands in the
    /// template may be turned into a native sidecar by Istio. A drain that is set for the whole mesh is not seen: silence the rule then.
    "mesh-sidecar-exits-first", since "0.1.0",
    Check::Template(check)
}

/// How long the proxy drains where nobody says otherwise, in seconds (reference: mutations 3).
const PROXY_DRAIN_SECONDS: i64 = 5;

fn check(setting: &Setting<'_>, faults: &mut Vec<Fault>) {
    let Setting { workload, snapshot, .. } = setting;
    let mesh = workload.template.mesh;
    let sleep = longest_sleep(workload);
    let is_classic = mesh.is_classic && asks_for_istio(workload, snapshot);
    if !is_classic || mesh.sets_drain || sleep < PROXY_DRAIN_SECONDS {
        return;
    }
    let need = sleep.saturating_add(PROXY_DRAIN_SECONDS);
    let words = Words {
        field: workload.pointer("/metadata/annotations/sidecar.istio.io~1nativeSidecar"),
        message: format!("istio classic sidecar exits after {PROXY_DRAIN_SECONDS}s, but preStop sleeps {sleep}s"),
        help: format!("set native sidecars or terminationDrainDuration >= {need}s"),
    };
    faults.push(Fault { kind: Kind::Risk, key: String::new(), words });
}
