//! How the numbers came about, and what they do not tell: the words that go below the table, wherever it is shown.

/// How it was measured. The tests below tie it to the harness.
pub(super) const HOW: &str = "Measured with 100 requests a second on each of two ways (25 where a request takes 2 s), open loop: \
    sent on time whatever became of the earlier ones. To the Ingress over kept-alive connections, through Envoy with \
    retries off; to the Service over a new connection each. A request fails after 10 s. Each run has a namespace of its \
    own, with pods of 50m CPU and, unless the row says otherwise, a readiness probe of theirs, up to three runs at a time. \
    It counts from at least 2 s before something is done to 3 s after the old pods are gone: of an outage that lasts \
    longer, the rest is cut off.";

/// Where a load balancer would hide what the table shows. nginx retries what broke before the answer's header was read, but
/// no POST, LOCK or PATCH that was sent already: <https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_next_upstream>.
pub(super) const RETRIES: &str = "An ingress controller or load balancer that retries (ingress-nginx does by default for \
    idempotent requests) hides refused connections, and part of the 503s and of the requests cut before their answer \
    began; it hides neither a POST nor an answer that was cut half-way, nor faults that hit every pod (selector, port).";

/// What no row shows, and what no502 costs.
pub(super) const LIMITS: [&str; 3] = [
    "Not covered: clients that keep connections straight to the Service address, where the pod is chosen once, on connecting.",
    "One node with one kube-proxy learns of a pod's end as fast as any cluster can. Zero here does not say that the built-in \
     10 s are enough on a large one, or behind a load balancer of a cloud that sends to pods itself: for those there are presets \
     of 60 to 150 s.",
    "The price: with no502, every old pod lives about 10 s longer, or as long as its preset says.",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What the sentence says, and the lines of the harness that make it true.
    #[test]
    fn the_harness_does_what_the_words_say() {
        let traffic = include_str!("../traffic.rs");
        let stage = include_str!("../stage.rs");
        let facts = [
            ("100 requests a second", traffic, "const RATE: u32 = 100;"),
            ("fails after 10 s", traffic, "const TIMEOUT_MS: &str = \"10000\";"),
            ("Ingress over kept-alive connections", traffic, "Self::Ingress => \"keep\""),
            ("Service over a new connection", traffic, "Self::Service => \"new\""),
            ("25 where a request takes 2 s", include_str!("../scenario.rs"), "rate: Some(25)"),
            ("at least 2 s before", stage, "const BEFORE_SECONDS: u64 = 2;"),
            ("3 s after the old pods are gone", stage, "const AFTER_SECONDS: u64 = 3;"),
            ("after the old pods are gone", stage, "rollout::await_none_ending("),
            ("50m CPU", include_str!("../../../deploy/samples/shop/shop.yaml"), "cpu: 50m"),
            ("up to three runs", include_str!("../schedule.rs"), "const LANES: usize = 3;"),
        ];
        for (words, source, line) in facts {
            assert!(HOW.contains(words), "{words:?} is not said any more");
            assert!(source.contains(line), "{words:?} is said, but the harness has no {line:?}");
        }
    }

    #[test]
    fn the_sleeps_are_those_of_the_settings() {
        let settings = include_str!("../../../deploy/settings.md");
        let said = LIMITS.join(" ");
        assert!(said.contains("built-in 10 s") && said.contains("about 10 s longer") && said.contains("60 to 150 s"));
        let presets = "`in-cluster` 10 s, `gke-neg` 60, `aws-alb-ip` 60, `azure-agic` 90, `aws-nlb-ip` 150";
        assert!(settings.contains(presets), "the presets are others now: are they still of 60 to 150 s?");
    }
}
