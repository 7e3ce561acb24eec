//! What is counted: every family under the prefix `no502_`, with bounded label values only.

mod policies;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

pub use self::policies::PolicyMetrics;
use crate::review::{Half, Summary};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// 50 us .. 100 ms: the API server's own buckets start at 5 ms, where a review should long be over.
const REVIEW_BUCKETS_SECONDS: [f64; 11] =
    [50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 3.2e-3, 6.4e-3, 12.8e-3, 25.6e-3, 0.1];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    half: &'static str,
    kind: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    rule: &'static str,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InjectionLabels {
    injection: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HalfLabel {
    half: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

/// Which of the two certificates an expiry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certificate {
    /// The one that is served.
    Leaf,
    /// The one that signed it, if we keep it.
    Ca,
}

impl Certificate {
    fn label(self) -> &'static str {
        match self {
            Self::Leaf => "leaf",
            Self::Ca => "ca",
        }
    }
}

/// Why a request was refused for lack of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// Too many reviews in flight.
    Reviews,
    /// Too many body bytes in flight.
    Bytes,
}

impl Overload {
    fn label(self) -> &'static str {
        match self {
            Self::Reviews => "reviews",
            Self::Bytes => "bytes",
        }
    }
}

/// Points in time that become durations when somebody scrapes.
#[derive(Debug, Default)]
struct Moments {
    certificate_expiries: BTreeMap<Certificate, Timestamp>,
    caches_heard: BTreeMap<&'static str, Timestamp>,
}

/// All metric families of the process. Shared as `Arc<Metrics>`; every method takes `&self`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reviews: Family<ReviewLabels, Counter>,
    findings: Family<FindingLabels, Counter>,
    injections: Family<InjectionLabels, Counter>,
    review_seconds: Family<HalfLabel, Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    handshake_failures: Family<ReasonLabel, Counter>,
    overloads: Family<ReasonLabel, Counter>,
    refusals: Family<ReasonLabel, Counter>,
    panics: Counter,
    cache_synced: Family<KindLabel, Gauge>,
    cache_age: Family<KindLabel, Gauge>,
    watch_restarts: Family<KindLabel, Counter>,
    policies: PolicyMetrics,
    certificate_seconds: Family<CertificateLabel, Gauge>,
    certificate_errors: Family<ReasonLabel, Counter>,
    moments: Mutex<Moments>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All families at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("no502"),
            reviews: Family::default(),
            findings: Family::default(),
            injections: Family::default(),
            review_seconds: Family::new_with_constructor(|| Histogram::new(REVIEW_BUCKETS_SECONDS)),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            handshake_failures: Family::default(),
            overloads: Family::default(),
            refusals: Family::default(),
            panics: Counter::default(),
            cache_synced: Family::default(),
            cache_age: Family::default(),
            watch_restarts: Family::default(),
            policies: PolicyMetrics::default(),
            certificate_seconds: Family::default(),
            certificate_errors: Family::default(),
            moments: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let build = Family::<BuildLabel, Gauge>::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        let registry = &mut self.registry;
        registry.register("build_info", "The version that runs, as a label", build);
        registry.register("reviews", "Reviews answered", self.reviews.clone());
        registry.register("findings", "Findings by rule and by what came of them", self.findings.clone());
        registry.register("injections", "Injections by what came of them", self.injections.clone());
        registry.register(
            "review_duration_seconds",
            "Time from the whole body read to the reply made",
            self.review_seconds.clone(),
        );
        registry.register("reviews_in_flight", "Reviews being read or decided", self.in_flight.clone());
        registry.register("connections", "Open connections of the webhook port", self.connections.clone());
        registry.register("tls_handshake_failures", "TLS handshakes that failed", self.handshake_failures.clone());
        registry.register("overloads", "Requests answered with 429 for lack of room", self.overloads.clone());
        registry.register("refusals", "Requests answered with 4xx or 5xx for another reason", self.refusals.clone());
        registry.register("panics", "Reviews that panicked and were answered with 500", self.panics.clone());
        registry.register("cache_synced", "1 once all objects of the kind were listed", self.cache_synced.clone());
        registry.register("cache_age_seconds", "Time since the watch was last heard of", self.cache_age.clone());
        registry.register("watch_restarts", "Watches that broke and were started again", self.watch_restarts.clone());
        self.policies.register(registry);
        registry.register(
            "certificate_expiry_seconds",
            "Time until the certificate expires; negative when it has",
            self.certificate_seconds.clone(),
        );
        registry.register(
            "certificate_errors",
            "Failures to read, issue or publish certificates",
            self.certificate_errors.clone(),
        );
    }

    /// What is counted about policies.
    #[must_use]
    pub fn policies(&self) -> &PolicyMetrics {
        &self.policies
    }

    /// Counts one answered review and what it found.
    pub fn reviewed(&self, half: Half, summary: &Summary, took: Duration) {
        self.reviews
            .get_or_create(&ReviewLabels {
                half: half_label(half),
                kind: summary.kind,
                operation: summary.operation,
                outcome: outcome(summary),
            })
            .inc();
        self.review_seconds.get_or_create(&HalfLabel { half: half_label(half) }).observe(took.as_secs_f64());
        for &(rule, action) in &summary.findings {
            self.findings.get_or_create(&FindingLabels { rule, action }).inc();
        }
        for &(injection, outcome) in &summary.injections {
            self.injections.get_or_create(&InjectionLabels { injection, outcome }).inc();
        }
    }

    /// Counts a review that panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts a 429.
    pub fn overloaded(&self, reason: Overload) {
        self.overloads.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
    }

    /// Counts another refusal: `reason` is a word such as `body_too_large`, never text from a request.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a failed TLS handshake: `timeout` or `error`.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshake_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The number of reviews being read or decided.
    #[must_use]
    pub fn in_flight(&self) -> &Gauge {
        &self.in_flight
    }

    /// The number of open connections of the webhook port.
    #[must_use]
    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// Says whether all objects of `kind` were listed.
    pub fn cache_synced(&self, kind: &'static str, synced: bool) {
        self.cache_synced.get_or_create(&KindLabel { kind }).set(i64::from(synced));
    }

    /// Notes that the watch of `kind` was heard of: an event, a bookmark or a list.
    pub fn cache_heard(&self, kind: &'static str, at: Timestamp) {
        self.moments().caches_heard.insert(kind, at);
    }

    /// Counts a watch that broke and was started again.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.watch_restarts.get_or_create(&KindLabel { kind }).inc();
    }

    /// Says when a certificate expires.
    pub fn certificate_expires(&self, certificate: Certificate, at: Timestamp) {
        self.moments().certificate_expiries.insert(certificate, at);
    }

    /// Counts a certificate failure: `files`, `secret`, `bundle` or `issue`.
    pub fn certificate_failed(&self, reason: &'static str) {
        self.certificate_errors.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The `OpenMetrics` text of everything, as of `now`.
    #[must_use]
    pub fn encode(&self, now: Timestamp) -> String {
        {
            let moments = self.moments();
            for (certificate, expiry) in &moments.certificate_expiries {
                let seconds = expiry.as_second().saturating_sub(now.as_second());
                self.certificate_seconds
                    .get_or_create(&CertificateLabel { certificate: certificate.label() })
                    .set(seconds);
            }
            for (&kind, heard) in &moments.caches_heard {
                let seconds = now.as_second().saturating_sub(heard.as_second()).max(0);
                self.cache_age.get_or_create(&KindLabel { kind }).set(seconds);
            }
        }
        let mut text = String::new();
        if text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics could not be written as text");
        }
        text
    }

    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `validate` or `mutate`.
#[must_use]
pub fn half_label(half: Half) -> &'static str {
    match half {
        Half::Validate => "validate",
        Half::Mutate => "mutate",
        Half::Preview => "preview",
    }
}

/// `denied`, `patched`, `warned` or `allowed`: the strongest thing that happened.
#[must_use]
pub fn outcome(summary: &Summary) -> &'static str {
    if !summary.allowed {
        return "denied";
    }
    if summary.injections.iter().any(|&(_, outcome)| outcome == "injected") {
        return "patched";
    }
    if summary.findings.iter().any(|&(_, action)| action == "warn") {
        return "warned";
    }
    "allowed"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn a_denial_is_counted_with_its_rule() {
        let metrics = Metrics::new();
        let summary = Summary {
            kind: "Service",
            operation: "UPDATE",
            findings: vec![("service-selects-nothing", "deny")],
            ..Summary::default()
        };
        metrics.reviewed(Half::Validate, &summary, Duration::from_micros(70));
        let text = metrics.encode(at(0));
        assert!(
            text.contains(
                r#"no502_reviews_total{half="validate",kind="Service",operation="UPDATE",outcome="denied"} 1"#
            ),
            "{text}"
        );
        assert!(text.contains(r#"no502_findings_total{rule="service-selects-nothing",action="deny"} 1"#), "{text}");
        assert!(text.contains(r#"no502_review_duration_seconds_bucket{le="0.0001",half="validate"} 1"#), "{text}");
        assert!(text.contains(r#"no502_review_duration_seconds_bucket{le="0.00005",half="validate"} 0"#), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_strongest_outcome_wins() {
        let mut summary = Summary { allowed: true, ..Summary::default() };
        assert_eq!(outcome(&summary), "allowed");
        summary.findings.push(("single-replica", "info"));
        assert_eq!(outcome(&summary), "allowed");
        summary.findings.push(("readiness-missing", "warn"));
        assert_eq!(outcome(&summary), "warned");
        summary.injections.push(("prestop", "would-inject"));
        assert_eq!(outcome(&summary), "warned");
        summary.injections.push(("prestop", "injected"));
        assert_eq!(outcome(&summary), "patched");
    }

    #[test]
    fn moments_become_durations_at_the_scrape() {
        let metrics = Metrics::new();
        metrics.certificate_expires(Certificate::Leaf, at(100));
        metrics.cache_heard("Service", at(40));
        let text = metrics.encode(at(60));
        assert!(text.contains(r#"no502_certificate_expiry_seconds{certificate="leaf"} 40"#), "{text}");
        assert!(text.contains(r#"no502_cache_age_seconds{kind="Service"} 20"#), "{text}");
        let text = metrics.encode(at(130));
        assert!(text.contains(r#"no502_certificate_expiry_seconds{certificate="leaf"} -30"#), "{text}");
    }
}
