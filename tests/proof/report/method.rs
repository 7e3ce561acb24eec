//! How the numbers came about, and what they do not tell: the words that go below the table, wherever it is shown.

/// How it was measured. The tests below tie it to the harness.
pub(super) const HOW: &str = "Measured with 100 requests a second on each of two ways (25 where a request takes 2 s), open loop: \
    sent on time whatever became of the earlier ones. To the Ingress over kept-alive connections, through Envoy with \
    retries off; to the Service over a new connection each. A request fails after 10 s. Each run has a namespace of its \
    own, with pods of 50m CPU and, unless the row says otherwise, a readiness probe of theirs, up to three runs at a time, and counts from 2 s before something is done to 3 s after all \
    is over.";

/// Where a load balancer would hide what the table shows. nginx retries what broke before the answer's header was read, but
/// no POST, LOCK or PATCH that was sent already: <https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_next_upstream>.
pub(super) const RETRIES: &str = "An ingress controller or load balancer that retries (ingress-nginx does by default for \
    idempotent requests) hides refused connections, and part of the 503s and of the requests cut before their answer \
    began; it hides neither a POST nor an answer that was cut half-way, nor faults that hit every pod (selector, port).";

/// What no row is about.
pub(super) const NOT_COVERED: &str = "Not covered: clients that keep connections straight to the Service address, where the \
    pod is chosen once, on connecting.";

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
            ("2 s before", stage, "const BEFORE_SECONDS: u64 = 2;"),
            ("3 s after", stage, "const AFTER_SECONDS: u64 = 3;"),
            ("50m CPU", include_str!("../../../deploy/samples/shop/shop.yaml"), "cpu: 50m"),
            ("up to three runs", include_str!("../schedule.rs"), "const LANES: usize = 3;"),
        ];
        for (words, source, line) in facts {
            assert!(HOW.contains(words), "{words:?} is not said any more");
            assert!(source.contains(line), "{words:?} is said, but the harness has no {line:?}");
        }
    }
}
