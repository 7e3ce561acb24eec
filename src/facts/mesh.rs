//! What a template says to the injector of a service mesh (reference: mutations 3).

use super::wire;

/// Annotation by which Linkerd's proxy is asked for, on pods and on namespaces.
pub(super) const LINKERD_INJECT: &str = "linkerd.io/inject";

/// What a template says to the injector of a service mesh (reference: mutations 3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent marks")]
pub struct Mesh {
    /// `sidecar.istio.io/inject: "true"` as label or annotation.
    pub asks_for_istio: bool,
    /// `sidecar.istio.io/inject: "false"` as label or annotation.
    pub refuses_istio: bool,
    /// `sidecar.istio.io/nativeSidecar: "false"`: the proxy is a regular container.
    pub is_classic: bool,
    /// `proxy.istio.io/config` says how long the proxy drains, or that it waits for its connections.
    pub sets_drain: bool,
    /// `sidecar.istio.io/rewriteAppHTTPProbers: "false"`: probes go through the proxy, which accepts every connection.
    pub keeps_probes: bool,
    /// `linkerd.io/inject` says that its proxy comes into the pods.
    pub asks_for_linkerd: bool,
    /// `linkerd.io/inject: disabled`.
    pub refuses_linkerd: bool,
}

impl Mesh {
    pub(super) fn read(metadata: &wire::Metadata<'_>) -> Self {
        let text = |key| metadata.labels.text(key).or_else(|| metadata.annotations.text(key)).unwrap_or_default();
        let config = text("proxy.istio.io/config");
        Self {
            asks_for_istio: text("sidecar.istio.io/inject") == "true",
            refuses_istio: text("sidecar.istio.io/inject") == "false",
            is_classic: text("sidecar.istio.io/nativeSidecar") == "false",
            keeps_probes: text("sidecar.istio.io/rewriteAppHTTPProbers") == "false",
            asks_for_linkerd: ["enabled", "ingress"].contains(&text(LINKERD_INJECT)),
            refuses_linkerd: text(LINKERD_INJECT) == "disabled",
            sets_drain: ["terminationDrainDuration", "EXIT_ON_ZERO_ACTIVE_CONNECTIONS"]
                .iter()
                .any(|it| config.contains(it)),
        }
    }
}
