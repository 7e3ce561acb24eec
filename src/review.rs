//! AdmissionReview v1 on the wire, and the one pure function that decides: bytes in, bytes out. Server, command line, tests,
//! benchmarks and fuzzers all call [`review`]. The types are our own: the ones of the client library write a patch as a list of
//! numbers (reference: aesthetics 9.1).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod depth;
mod request;

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Serialize;

use self::request::Request;
pub use self::{depth::DEPTH_MAX, request::ReviewError};
use crate::{
    facts::{Facts, Workload},
    inject::{Candidate, Injection, Notice, inject, sleep_was_dropped},
    link::Write,
    policy::{Exemption, Policies},
    preview::{Budget, preview},
    snapshot::Snapshot,
    verdict::{self, Requester, Verdict},
    warning::{self, MUTATING_CHARS_MAX, Rank, VALIDATING_CHARS_MAX},
};

/// Which of the two webhooks is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// `/validate`: may deny and warn, never patches.
    Validate,
    /// `/mutate`: may patch and warn, never denies.
    Mutate,
    /// `/preview`, for writes of policies: may warn, never denies or patches.
    Preview,
}

/// Room that is made for an answer: one without patch and warnings needs no more.
const BODY_BYTES_USUAL: usize = 256;

/// What the API server is answered, and what is counted.
#[derive(Debug)]
pub struct Reply {
    /// The AdmissionReview response, as JSON.
    pub body: Vec<u8>,
    /// What was decided, for metrics and the log.
    pub summary: Summary,
}

/// The decision in a few words: bounded values only, fit for metric labels.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent marks")]
pub struct Summary {
    /// The request's uid, for the log.
    pub uid: String,
    /// `Deployment`, `Service` …; `other` for kinds that no502 does not know.
    pub kind: &'static str,
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT` or `other`.
    pub operation: &'static str,
    /// Namespace of the object; empty for cluster-scoped ones.
    pub namespace: String,
    /// Name of the object; empty with `generateName`.
    pub name: String,
    /// False for a denial.
    pub allowed: bool,
    /// The rules that spoke and what came of it: (rule id, `deny` | `warn` | `info` | `off`).
    pub findings: Vec<(&'static str, &'static str)>,
    /// The exemptions that covered a finding.
    pub exemptions: Vec<Arc<Exemption>>,
    /// The injections made or withheld: (injection, outcome).
    pub injections: Vec<(&'static str, &'static str)>,
    /// The settings of the namespace were not seen: it is so new that the watch has not told of it yet.
    pub namespace_is_unseen: bool,
    /// True if the API server was seen to drop a sleep that had been injected.
    pub sleep_was_dropped: bool,
    /// True for `--dry-run=server`.
    pub dry_run: bool,
}

/// Decides about one AdmissionReview. Pure: no clock, no I/O, the same answer for the same input.
///
/// # Errors
/// When `body` is not an `admission.k8s.io/v1` AdmissionReview request.
pub fn review(
    half: Half,
    body: &[u8],
    snapshot: &Snapshot,
    policies: &Policies,
    now: jiff::Timestamp,
) -> Result<Reply, ReviewError> {
    if half == Half::Preview {
        return review_policy(body, snapshot, policies, now, Budget::default());
    }
    let request = Request::read(body)?;
    let mut summary = request.summary();
    let response = match half {
        _ if !request.is_reviewed() => Response::allowed(&request),
        Half::Preview => Response::allowed(&request),
        Half::Validate => validate(&request, snapshot, policies, now, &mut summary),
        Half::Mutate => mutate(&request, snapshot, policies, &mut summary),
    };
    Ok(reply(response, summary))
}

/// Says what a write of a policy means for what exists; it is always allowed. As pure as [`review`], but for the budget, which may
/// know a clock.
///
/// # Errors
/// As [`review`].
pub fn review_policy(
    body: &[u8],
    snapshot: &Snapshot,
    policies: &Policies,
    now: jiff::Timestamp,
    budget: Budget<'_>,
) -> Result<Reply, ReviewError> {
    let request = Request::read(body)?;
    let mut response = Response::allowed(&request);
    if request.is_reviewed()
        && let Some([old, new]) = Request::trees(body)
    {
        let warnings = preview(&old, &new, snapshot, policies, now, budget);
        response.warnings = warning::compile(warnings, VALIDATING_CHARS_MAX);
    }
    Ok(reply(response, request.summary()))
}

/// The answer to a write of a policy when there is no time to look at what it means.
///
/// # Errors
/// As [`review`].
pub fn uncounted(body: &[u8]) -> Result<Reply, ReviewError> {
    let request = Request::read(body)?;
    let text = "no502: other policies are being previewed; what this one means for what exists was not counted";
    let response = Response { warnings: vec![text.to_owned()], ..Response::allowed(&request) };
    Ok(reply(response, request.summary()))
}

fn reply(response: Response<'_>, mut summary: Summary) -> Reply {
    summary.allowed = response.allowed;
    let review = Review { api_version: request::API_VERSION, kind: request::KIND, response };
    // Strings, numbers and booleans cannot fail to be written.
    let mut body = Vec::with_capacity(BODY_BYTES_USUAL);
    serde_json::to_writer(&mut body, &review).unwrap_or_default();
    Reply { body, summary }
}

fn validate<'a>(
    request: &'a Request<'a>,
    snapshot: &Snapshot,
    policies: &Policies,
    now: jiff::Timestamp,
    summary: &mut Summary,
) -> Response<'a> {
    let (old, new) = request.facts();
    let write = Write { old: old.as_ref(), new: new.as_ref() };
    summary.namespace_is_unseen = write.meta().is_some_and(|it| is_unseen(&it.namespace, snapshot));
    let groups = if policies.knows_break_glass_groups() { request.groups() } else { Vec::new() };
    let requester = Requester { user: request.user(), groups: &groups };
    if let Some(Facts::Workload(new)) = &new {
        let old = old.as_ref().and_then(Facts::workload);
        summary.sleep_was_dropped = sleep_was_dropped(old, new, snapshot, policies);
    }
    let verdict = verdict::decide(write, requester, snapshot, policies, now);
    summary.findings.clone_from(&verdict.outcomes);
    summary.exemptions.clone_from(&verdict.exemptions);
    let mut response = Response::allowed(request);
    if !verdict.is_allowed() {
        response.allowed = false;
        response.status = Some(Status::forbidden(warning::denial(&verdict.denials)));
    }
    response.audit_annotations = audit_annotations(&verdict);
    response.warnings = warning::compile(verdict.warnings, VALIDATING_CHARS_MAX);
    response
}

fn audit_annotations(verdict: &Verdict) -> BTreeMap<&'static str, String> {
    if verdict.outcomes.is_empty() {
        return BTreeMap::new();
    }
    let mut findings: Vec<String> = verdict.outcomes.iter().map(|(rule, action)| format!("{rule}={action}")).collect();
    findings.sort_unstable();
    findings.dedup();
    let decision = if verdict.is_allowed() { "allow" } else { "deny" };
    BTreeMap::from([("decision", decision.to_owned()), ("findings", findings.join(","))])
}

fn mutate<'a>(
    request: &'a Request<'a>,
    snapshot: &Snapshot,
    policies: &Policies,
    summary: &mut Summary,
) -> Response<'a> {
    let mut response = Response::allowed(request);
    let (old, new) = request.facts();
    let Some(Facts::Workload(new)) = &new else { return response };
    let old = old.as_ref().and_then(Facts::workload);
    summary.namespace_is_unseen = is_unseen(&new.meta.namespace, snapshot);
    let candidate = Candidate { old, new, template_is_unchanged: request.template_has_the_same_bytes() };
    let injection = verified(inject(candidate, snapshot, policies), request, candidate, snapshot, policies);
    summary.injections = injection.notices.iter().flat_map(outcomes).collect();
    response.warnings = warning::compile(notices(&injection, new), MUTATING_CHARS_MAX);
    let told = injection.notices.iter().flat_map(outcomes).map(|(name, outcome)| format!("{name}={outcome}"));
    let told: Vec<String> = told.collect();
    let audit = [("injections", told.join(",")), ("settings", injection.policy.clone())];
    response.audit_annotations = audit.into_iter().filter(|(_, text)| !text.is_empty()).collect();
    if let Some(patch) = injection.patch.filter(|patch| !patch.0.is_empty()) {
        response.patch = serde_json::to_vec(&patch).ok().map(|bytes| BASE64.encode(bytes));
        response.patch_type = response.patch.is_some().then_some("JSONPatch");
    }
    response
}

/// The watch has not told of the namespace yet: its labels and annotations are not known.
fn is_unseen(namespace: &str, snapshot: &Snapshot) -> bool {
    snapshot.namespace(namespace).is_none() && snapshot.has_namespaces()
}

/// Templates are only built as trees when there is something to check against them.
fn verified(
    injection: Injection,
    request: &Request<'_>,
    candidate: Candidate<'_>,
    snapshot: &Snapshot,
    policies: &Policies,
) -> Injection {
    if injection.is_empty() || candidate.template_is_unchanged {
        return injection;
    }
    let (template, old_template) = request.templates();
    if old_template.as_ref() == Some(&template) {
        // The same values in another order.
        return Injection::default();
    }
    injection.verified(template, candidate, old_template.as_ref(), snapshot, policies)
}

fn outcomes(notice: &Notice) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
    let outcome = notice.outcome.name();
    notice.injections.iter().map(move |injection| (*injection, outcome))
}

fn notices(injection: &Injection, workload: &Workload) -> Vec<(Rank, String)> {
    injection
        .notices
        .iter()
        .filter(|notice| !notice.text.is_empty())
        .map(|notice| (Rank::Injection, format!("no502: {}: {}", workload.meta, notice.text)))
        .collect()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
}

impl<'a> Response<'a> {
    fn allowed(request: &'a Request<'_>) -> Self {
        Self {
            uid: request.uid(),
            allowed: true,
            status: None,
            patch: None,
            patch_type: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
        }
    }
}

/// The part of a metav1 Status that the API server reads.
#[derive(Debug, Serialize)]
struct Status {
    #[serde(rename = "status")]
    outcome: &'static str,
    message: String,
    reason: &'static str,
    code: u16,
}

impl Status {
    fn forbidden(message: String) -> Self {
        Self { outcome: "Failure", message, reason: "Forbidden", code: 403 }
    }
}
