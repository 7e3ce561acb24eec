//! One write of a suite: sent to both halves as the API server does, the patched object to the second.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{
    CaseOutcome, World,
    compare::{Expect, Got},
    injected::Injected,
};
use crate::{
    facts::Facts,
    manifest::Location,
    policy::Explanation,
    review::{Half, review},
};

/// One write and what is expected of it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) location: Location,
    pub(super) now: Timestamp,
    pub(super) write: Write,
    pub(super) expect: Expect,
}

/// A request of the API server.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) operation: &'static str,
    /// `None` for a DELETE.
    pub(super) object: Option<Json>,
    /// `None` for a CREATE.
    pub(super) old: Option<Json>,
    pub(super) user: String,
    pub(super) groups: Vec<String>,
}

/// What one half answered.
struct Answer {
    is_allowed: bool,
    denial: Option<String>,
    warnings: Vec<String>,
    patch: Option<json_patch::Patch>,
    findings: Vec<(&'static str, &'static str)>,
}

impl Case {
    pub(super) fn run(&self, world: &World) -> CaseOutcome {
        let got = self.got(world).unwrap_or_else(Got::failed);
        CaseOutcome {
            name: self.name.clone(),
            location: self.location.clone(),
            differences: self.expect.differences(&got),
            said: got.said,
        }
    }

    fn got(&self, world: &World) -> Result<Got, String> {
        let Write { operation, object, .. } = &self.write;
        let mut got = Got { explanation: Some(self.explanation(world)), ..Got::default() };
        let mut written = object.clone();
        if let Some(object) = object.as_ref().filter(|_| *operation != "DELETE") {
            let answer = self.ask(Half::Mutate, Some(object), world)?;
            if let (Some(patch), Some(written)) = (&answer.patch, &mut written) {
                json_patch::patch(written, patch).map_err(|error| format!("the patch cannot be applied: {error}"))?;
            }
            got.injected = Injected::between(object, written.as_ref().unwrap_or(object));
            got.said = answer.warnings;
        }
        let answer = self.ask(Half::Validate, written.as_ref(), world)?;
        got.is_allowed = answer.is_allowed;
        got.said.splice(0..0, answer.denial);
        got.said.extend(answer.warnings);
        let of = |action: &str| {
            let mut rules: Vec<String> =
                answer.findings.iter().filter(|(_, it)| *it == action).map(|(rule, _)| (*rule).to_owned()).collect();
            rules.sort_unstable();
            rules.dedup();
            rules
        };
        (got.denied, got.warned) = (of("deny"), of("warn"));
        Ok(got)
    }

    fn explanation(&self, world: &World) -> Explanation {
        let subject = self.write.object.as_ref().or(self.write.old.as_ref()).unwrap_or(&Json::Null);
        let facts = Facts::read(&subject.to_string()).ok();
        let namespace = subject["metadata"]["namespace"].as_str().unwrap_or_default();
        let workload = facts.as_ref().and_then(Facts::workload);
        world.policies.explain(namespace, world.namespace(namespace), workload, self.now)
    }

    fn ask(&self, half: Half, object: Option<&Json>, world: &World) -> Result<Answer, String> {
        let body = self.write.body(object);
        let reply = review(half, &body, &world.snapshot, &world.policies, self.now).map_err(|it| it.to_string())?;
        let response: Json = serde_json::from_slice(&reply.body).map_err(|it| it.to_string())?;
        let response = &response["response"];
        let patch = response["patch"].as_str().and_then(|it| BASE64.decode(it).ok());
        Ok(Answer {
            is_allowed: response["allowed"] == true,
            denial: response["status"]["message"].as_str().map(str::to_owned),
            warnings: response["warnings"].as_array().into_iter().flatten().filter_map(text).collect(),
            patch: patch.and_then(|it| serde_json::from_slice(&it).ok()),
            findings: reply.summary.findings,
        })
    }
}

fn text(json: &Json) -> Option<String> {
    json.as_str().map(str::to_owned)
}

impl Write {
    /// The AdmissionReview, with the fields that an API server sends.
    fn body(&self, object: Option<&Json>) -> Vec<u8> {
        let subject = object.or(self.old.as_ref()).unwrap_or(&Json::Null);
        let api_version = subject["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = json!({ "group": group, "version": version, "kind": subject["kind"] });
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "policy-test",
                "kind": kind,
                "requestKind": kind,
                "name": subject["metadata"]["name"],
                "namespace": subject["metadata"]["namespace"],
                "operation": self.operation,
                "userInfo": { "username": self.user, "groups": self.groups },
                "object": object,
                "oldObject": self.old,
                "dryRun": false,
            },
        });
        review.to_string().into_bytes()
    }
}
