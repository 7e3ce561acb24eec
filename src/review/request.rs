//! The request of an AdmissionReview: borrowed from the body, parsed once.

use std::str::Utf8Error;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use smol_str::SmolStr;

use super::{
    Summary,
    depth::{DEPTH_MAX, is_too_deep},
};
use crate::facts::{
    Facts,
    wire::{self, List, Maybe, Scalar},
};

pub(super) const API_VERSION: &str = "admission.k8s.io/v1";
pub(super) const KIND: &str = "AdmissionReview";

/// Longest piece of a body that an error repeats, in characters.
const QUOTED_CHARS_MAX: usize = 64;

/// The request could not be read as an AdmissionReview. Answered with HTTP 400 and one line, never with `allowed: false`: the
/// failure policy decides, not we.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON at all, or cut short.
    #[error("the body is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// Not even text.
    #[error("the body is not UTF-8: {0}")]
    NotText(#[from] Utf8Error),
    /// Nested so deep that reading it is not safe.
    #[error("the body nests deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Some other object.
    #[error("the body is kind \"{0}\", not AdmissionReview")]
    WrongKind(String),
    /// An AdmissionReview that no502 does not speak.
    #[error("the AdmissionReview is {0}; no502 speaks {API_VERSION} (admissionReviewVersions: [v1])")]
    WrongVersion(String),
    /// A review without request.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// Nothing to answer to.
    #[error("the request has no uid")]
    NoUid,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireReview<'a> {
    #[serde(borrow)]
    api_version: Scalar<'a>,
    #[serde(borrow)]
    kind: Scalar<'a>,
    #[serde(borrow)]
    request: Maybe<WireRequest<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireRequest<'a> {
    #[serde(borrow)]
    uid: Scalar<'a>,
    #[serde(borrow)]
    kind: Maybe<WireKind<'a>>,
    #[serde(borrow)]
    sub_resource: Scalar<'a>,
    #[serde(borrow)]
    name: Scalar<'a>,
    #[serde(borrow)]
    namespace: Scalar<'a>,
    #[serde(borrow)]
    operation: Scalar<'a>,
    #[serde(borrow)]
    user_info: Maybe<WireUser<'a>>,
    #[serde(borrow)]
    object: Maybe<wire::Object<'a>>,
    #[serde(borrow)]
    old_object: Maybe<wire::Object<'a>>,
    #[serde(borrow)]
    dry_run: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireKind<'a> {
    #[serde(borrow)]
    kind: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireUser<'a> {
    #[serde(borrow)]
    username: Scalar<'a>,
    #[serde(borrow)]
    groups: List<Scalar<'a>>,
}

/// A request that can be answered: it has a uid.
#[derive(Debug)]
pub(super) struct Request<'a> {
    wire: WireRequest<'a>,
}

impl<'a> Request<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, ReviewError> {
        let body = std::str::from_utf8(body)?;
        if is_too_deep(body.as_bytes()) {
            return Err(ReviewError::TooDeep);
        }
        let review: Maybe<WireReview<'a>> = serde_json::from_str(body)?;
        let review = review.0.unwrap_or_default();
        let kind = review.kind.text();
        if kind != KIND {
            return Err(ReviewError::WrongKind(quoted(kind)));
        }
        let version = review.api_version.text();
        if version != API_VERSION {
            return Err(ReviewError::WrongVersion(quoted(version)));
        }
        let wire = review.request.0.ok_or(ReviewError::NoRequest)?;
        if wire.uid.text().is_empty() {
            return Err(ReviewError::NoUid);
        }
        Ok(Self { wire })
    }

    pub(super) fn uid(&self) -> &str {
        self.wire.uid.text()
    }

    pub(super) fn user(&self) -> &str {
        self.wire.user_info.0.as_ref().map_or("", |it| it.username.text())
    }

    pub(super) fn groups(&self) -> Vec<String> {
        let groups = self.wire.user_info.0.iter().flat_map(|it| &it.groups.0);
        groups.map(|it| it.text().to_owned()).collect()
    }

    /// Subresources change no field that a rule reads, and CONNECT changes nothing. A write without the objects that its
    /// operation has cannot be judged: without the old one, everything would seem to be new.
    pub(super) fn is_reviewed(&self) -> bool {
        let (object, old) = (self.wire.object.is_present(), self.wire.old_object.is_present());
        self.wire.sub_resource.text().is_empty()
            && match self.wire.operation.text() {
                "CREATE" => object,
                "UPDATE" => object && old,
                "DELETE" => old,
                _ => false,
            }
    }

    /// The facts before and after. An UPDATE that keeps the pod template reads it once.
    pub(super) fn facts(&self) -> (Option<Facts>, Option<Facts>) {
        let (operation, object, old) = (self.wire.operation.text(), &self.wire.object.0, &self.wire.old_object.0);
        let new = object.as_ref().filter(|_| operation != "DELETE").map(|it| self.placed(Facts::from_wire(it, None)));
        let template = object.as_ref().and_then(template_of);
        let old = old.as_ref().filter(|_| operation != "CREATE").map(|it| {
            let same = match (template, &new) {
                (Some(template), Some(Facts::Workload(workload))) => Some((template, workload)),
                _ => None,
            };
            self.placed(Facts::from_wire(it, same))
        });
        (old, new)
    }

    /// The request knows the namespace even where the object does not say.
    fn placed(&self, mut facts: Facts) -> Facts {
        let namespace = self.wire.namespace.text();
        let meta = facts.meta_mut();
        if !namespace.is_empty() && meta.namespace != namespace {
            meta.namespace = SmolStr::new(namespace);
        }
        facts
    }

    /// True for an UPDATE whose pod template is the old one, byte by byte. Other bytes may still be the same values.
    pub(super) fn template_has_the_same_bytes(&self) -> bool {
        self.old_template().zip(self.template()).is_some_and(|(old, new)| old.get() == new.get())
    }

    /// The pod template as a tree, and that of the object which an UPDATE changes.
    pub(super) fn templates(&self) -> (Value, Option<Value>) {
        let tree = |raw: Option<&RawValue>| serde_json::from_str(raw?.get()).ok();
        (tree(self.template()).unwrap_or_default(), tree(self.old_template()))
    }

    /// The objects before and after, as trees; null for what is not there. `body` is what the request was read from.
    pub(super) fn trees(body: &[u8]) -> Option<[Value; 2]> {
        let mut review: Value = serde_json::from_slice(body).ok()?;
        Some([review["request"]["oldObject"].take(), review["request"]["object"].take()])
    }

    fn template(&self) -> Option<&'a RawValue> {
        self.wire.object.0.as_ref().and_then(template_of)
    }

    fn old_template(&self) -> Option<&'a RawValue> {
        let old = self.wire.old_object.0.as_ref().filter(|_| self.wire.operation.text() == "UPDATE");
        old.and_then(template_of)
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            uid: self.uid().to_owned(),
            kind: known_kind(self.wire.kind.0.as_ref().map_or("", |it| it.kind.text())),
            operation: known_operation(self.wire.operation.text()),
            namespace: self.wire.namespace.text().to_owned(),
            name: self.wire.name.text().to_owned(),
            allowed: true,
            findings: Vec::new(),
            exemptions: Vec::new(),
            injections: Vec::new(),
            namespace_is_unseen: false,
            sleep_was_dropped: false,
            dry_run: self.wire.dry_run.is_true(),
        }
    }
}

/// What an error repeats of the body: a little, and nothing that breaks its line.
fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).map(|it| if it.is_control() { ' ' } else { it }).collect()
}

fn template_of<'a>(object: &wire::Object<'a>) -> Option<&'a RawValue> {
    object.spec.0.as_ref()?.template
}

/// The kinds that have a metric label of their own.
fn known_kind(kind: &str) -> &'static str {
    const KINDS: [&str; 11] = [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "Rollout",
        "Pod",
        "Service",
        "Ingress",
        "Namespace",
        "ClusterRolloutPolicy",
        "RolloutPolicy",
    ];
    KINDS.into_iter().find(|it| *it == kind).unwrap_or("other")
}

fn known_operation(operation: &str) -> &'static str {
    ["CREATE", "UPDATE", "DELETE", "CONNECT"].into_iter().find(|it| *it == operation).unwrap_or("other")
}
