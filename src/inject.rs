//! The mutating half: what is added to a pod template so that a rollout drops no request. Only templates of Deployments, only on
//! a creation or when the write itself changes the template, never below what is there (reference: mutations 11.2).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod handler_repair;
mod marker;
mod pre_stop;

use json_patch::Patch;
use serde_json::Value;

pub use self::marker::MARKER;
use self::{marker::Marker, pre_stop::Sleeps};
use crate::{
    facts::{Container, Workload},
    patch::{PatchBuilder, PatchError, escape},
    policy::{InjectionSettings, Policies},
    snapshot::Snapshot,
};

/// One write to one workload, as the mutating half sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The object before; `None` for a creation.
    pub old: Option<&'a Workload>,
    /// The object as it was sent.
    pub new: &'a Workload,
    /// The pod template is as it was: nothing may be changed, or the change would start a rollout.
    pub template_is_unchanged: bool,
}

/// What the mutating half does to one object.
#[derive(Debug, Default)]
pub struct Injection {
    /// The changes; `None` without any.
    pub patch: Option<Patch>,
    /// One line each, without the object's name.
    pub notices: Vec<Notice>,
}

/// One thing that was done, or deliberately not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Of `prestop`, `grace` and `handler-repair`.
    pub injections: &'static [&'static str],
    /// `injected`, `skipped` or `failed`.
    pub outcome: &'static str,
    /// What the user reads.
    pub text: String,
}

/// Oldest minor version of the API server and of every kubelet with which the native sleep action works (reference: mutations 2.1).
const SLEEP_MINOR_MIN: u32 = 30;

/// Plans the changes to one workload.
#[must_use]
pub fn inject(candidate: Candidate<'_>, snapshot: &Snapshot, policies: &Policies) -> Injection {
    if is_out_of_scope(candidate, snapshot, policies) {
        return Injection::default();
    }
    let mut plan = Plan::new(candidate);
    plan.repair(candidate);
    plan.add_sleeps(candidate, snapshot, policies.injection);
    plan.finish(candidate.new)
}

fn is_out_of_scope(candidate: Candidate<'_>, snapshot: &Snapshot, policies: &Policies) -> bool {
    let meta = &candidate.new.meta;
    let namespace_is_going = snapshot.namespace(&meta.namespace).is_some_and(|it| it.meta.deleting);
    candidate.template_is_unchanged
        || meta.kind != "Deployment"
        || meta.api_group() != "apps"
        || meta.deleting
        || namespace_is_going
        || meta.controller.is_some()
        || policies.is_exempt_namespace(&meta.namespace)
}

/// The changes of one object, before they are written as operations.
#[derive(Debug)]
struct Plan<'a> {
    /// Containers whose injected sleep makes way for the user's own handler.
    repairs: Vec<&'a Container>,
    sleeps: Option<Sleeps<'a>>,
    marker: Marker,
    notices: Vec<Notice>,
}

impl<'a> Plan<'a> {
    fn new(candidate: Candidate<'a>) -> Self {
        let marker = Marker::of(candidate.new);
        Self { repairs: Vec::new(), sleeps: None, marker, notices: Vec::new() }
    }

    fn repair(&mut self, candidate: Candidate<'a>) {
        for (container, is_ours) in handler_repair::superseded_sleeps(candidate) {
            if !is_ours {
                self.notices.push(Notice {
                    injections: &["handler-repair"],
                    outcome: "skipped",
                    text: format!(
                        "preStop of container {} has a sleep and another handler, and the API server allows one; remove the \
                         sleep (an apply keeps the fields that it did not set itself)",
                        container.name
                    ),
                });
                continue;
            }
            self.repairs.push(container);
            self.marker.forget(&container.name);
            self.notices.push(Notice {
                injections: &["handler-repair"],
                outcome: "injected",
                text: format!(
                    "removed the injected preStop sleep of container {}, which has its own hook now",
                    container.name
                ),
            });
        }
        self.marker.keep_only_what_stands(candidate.new);
    }

    fn add_sleeps(&mut self, candidate: Candidate<'a>, snapshot: &Snapshot, settings: InjectionSettings) {
        let workload = candidate.new;
        let mut sleeps = Sleeps::plan(workload, &self.repairs, self.marker.has_sleeps(), settings);
        if sleeps.is_nothing() || !serves_traffic(workload, snapshot) {
            return;
        }
        if let Some(reason) = pre_stop::reason_to_skip(workload) {
            return self.skip(reason);
        }
        let withheld = native_sleep_is_missing(snapshot).or_else(|| sleeps.no_room(settings));
        if let Some(reason) = withheld.filter(|_| !sleeps.containers.is_empty()) {
            self.skip(reason);
            sleeps = sleeps.without_new_ones(workload, settings);
        }
        if sleeps.is_nothing() {
            return;
        }
        self.notices.push(Notice {
            injections: sleeps.injections(),
            outcome: "injected",
            text: sleeps.notice(workload, settings),
        });
        for container in &sleeps.containers {
            self.marker.remember(&container.name, sleeps.seconds);
        }
        self.marker.grace = sleeps.raised_grace.or(self.marker.grace);
        self.sleeps = Some(sleeps);
    }

    fn skip(&mut self, text: String) {
        self.notices.push(Notice { injections: &["prestop"], outcome: "skipped", text });
    }

    fn finish(self, workload: &Workload) -> Injection {
        if self.repairs.is_empty() && self.sleeps.is_none() {
            return Injection { patch: None, notices: self.notices };
        }
        match self.operations(workload) {
            Ok(patch) => Injection { patch: Some(patch), notices: self.notices },
            Err(error) => Injection::failed(&error),
        }
    }

    fn operations(&self, workload: &Workload) -> Result<Patch, PatchError> {
        let mut patch = PatchBuilder::default();
        self.write_marker(workload, &mut patch)?;
        for container in &self.repairs {
            patch.remove(&workload.pointer(&format!("{}/lifecycle/preStop/sleep", container.pointer())))?;
        }
        if let Some(sleeps) = &self.sleeps {
            let hook = serde_json::json!({ "sleep": { "seconds": sleeps.seconds } });
            for container in &sleeps.containers {
                let lifecycle = workload.pointer(&format!("{}/lifecycle", container.pointer()));
                if container.has_lifecycle {
                    patch.add(&format!("{lifecycle}/preStop"), hook.clone())?;
                } else {
                    patch.add(&lifecycle, serde_json::json!({ "preStop": hook.clone() }))?;
                }
            }
            if let Some(grace) = sleeps.raised_grace {
                patch.add(&workload.pointer("/spec/terminationGracePeriodSeconds"), Value::from(grace))?;
            }
        }
        patch.finish()
    }

    fn write_marker(&self, workload: &Workload, patch: &mut PatchBuilder) -> Result<(), PatchError> {
        let template = &workload.template;
        let annotations = workload.pointer("/metadata/annotations");
        let member = format!("{annotations}/{}", escape(MARKER));
        if self.marker.is_empty() {
            return if template.marker.is_some() { patch.remove(&member) } else { Ok(()) };
        }
        let text = Value::from(self.marker.to_string());
        if template.has_annotations {
            patch.add(&member, text)
        } else if template.has_metadata {
            patch.add(&annotations, serde_json::json!({ MARKER: text }))
        } else {
            patch.add(&workload.pointer("/metadata"), serde_json::json!({ "annotations": { MARKER: text } }))
        }
    }
}

impl Injection {
    /// True if nothing is changed and nothing said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patch.is_none() && self.notices.is_empty()
    }

    fn failed(error: &PatchError) -> Self {
        let text = format!("nothing injected, {error}; please report this");
        Self { patch: None, notices: vec![Notice { injections: &["prestop"], outcome: "failed", text }] }
    }

    /// Applies the patch to the pod template and looks at the result again: it must parse and want no further change. What
    /// does not pass is not sent. A patch that only restores what a full replacement stripped is not worth a word.
    #[must_use]
    pub fn verified(
        self,
        template: Value,
        candidate: Candidate<'_>,
        old_template: Option<&Value>,
        snapshot: &Snapshot,
        policies: &Policies,
    ) -> Self {
        let Some(patch) = &self.patch else { return self };
        match second_pass(patch, template, candidate, snapshot, policies) {
            Ok(result) if old_template == Some(&result) => Self { notices: Vec::new(), ..self },
            Ok(_) => self,
            Err(error) => Self::failed(&error),
        }
    }
}

/// The patched template. It is all of the object that a patch can touch (`patch::is_allowed`).
fn second_pass(
    patch: &Patch,
    template: Value,
    candidate: Candidate<'_>,
    snapshot: &Snapshot,
    policies: &Policies,
) -> Result<Value, PatchError> {
    let mut object = Value::from_iter([("spec", Value::from_iter([("template", template)]))]);
    json_patch::patch(&mut object, patch)?;
    let template = object["spec"]["template"].take();
    let patched = candidate.new.with_template(&template.to_string()).ok_or(PatchError::Unreadable)?;
    let again = inject(Candidate { new: &patched, ..candidate }, snapshot, policies);
    if again.patch.is_some() { Err(PatchError::NotIdempotent) } else { Ok(template) }
}

/// A Service selects the template, or a regular container declares a TCP port that is not for metrics, health checks or debugging
/// (reference: mutations 5). On a creation the Service may not exist yet.
fn serves_traffic(workload: &Workload, snapshot: &Snapshot) -> bool {
    pre_stop::declares_a_serving_port(workload) || snapshot.has_service_for(workload)
}

/// Why the native sleep action cannot be used; `None` if it can.
fn native_sleep_is_missing(snapshot: &Snapshot) -> Option<String> {
    let versions = snapshot.versions();
    let Some(server) = versions.server_minor else {
        return Some("the API server's version is not known yet; no preStop sleep injected".to_owned());
    };
    if !snapshot.synced().has(crate::snapshot::Resource::Nodes) {
        return Some("the kubelets' versions are not known yet; no preStop sleep injected".to_owned());
    }
    if server < SLEEP_MINOR_MIN {
        return Some(format!("Kubernetes 1.{server} has no preStop.sleep (1.{SLEEP_MINOR_MIN} has); nothing injected"));
    }
    let oldest = versions.oldest_kubelet_minor.filter(|it| *it < SLEEP_MINOR_MIN)?;
    Some(format!("nodes older than 1.{SLEEP_MINOR_MIN} (oldest 1.{oldest}) cannot run preStop.sleep; nothing injected"))
}
