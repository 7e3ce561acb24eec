//! The mutating half: what is added to a pod template so that a rollout drops no request. Only on a creation or when the write
//! itself changes the template, never below what is there (reference: mutations 11.2).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod conditional;
mod grace_period;
mod handler_repair;
mod marker;
mod operations;
mod plan;
mod pre_stop;
mod readiness_probe;
mod renames;
mod stripped;
mod undo;

use json_patch::Patch;
use serde_json::Value;

pub use self::{
    conditional::would,
    renames::marker_after_renames,
    undo::{as_written, undo},
};
pub(crate) use self::{
    grace_period::{GRACE, grace_seconds, longest_sleep},
    marker::is_own_sleep,
    pre_stop::reason_to_skip,
    readiness_probe::{Unready, asks_for_istio, serving_containers, unready},
};
use self::{
    marker::Marker,
    plan::{Plan, ProbeChange},
};
pub use crate::facts::MARKER;
use crate::{
    facts::{Container, Workload},
    patch::PatchError,
    policy::{Effective, Mode, Policies},
    snapshot::{SLEEP_GATE_LOCKED_MINOR, Snapshot},
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

impl Candidate<'_> {
    fn has_the_same_settings(self) -> bool {
        self.old.is_some_and(|old| old.meta.own == self.new.meta.own)
    }
}

/// What the mutating half does to one object.
#[derive(Debug, Default)]
pub struct Injection {
    /// The changes; `None` without any.
    pub patch: Option<Patch>,
    /// A full replacement may have stripped what we had put in: then it is put back as it was.
    may_be_stripped: bool,
    /// One line each, without the object's name.
    pub notices: Vec<Notice>,
    /// Which settings are not the built-in ones, and who set them, for the audit log; empty if all are.
    pub policy: String,
}

/// One thing that was done, or deliberately not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Of `prestop`, `grace`, `readiness`, `handler-repair`, `restore` and `settings`.
    pub injections: &'static [&'static str],
    /// What came of it.
    pub outcome: Outcome,
    /// What the user reads; empty for what is only counted.
    pub text: String,
}

/// What came of an injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the patch.
    Injected,
    /// It would be, but for the mode `warn`.
    WouldInject,
    /// It would do harm or nothing.
    Skipped,
    /// A setting that cannot be used.
    Ignored,
    /// Our own fault.
    Failed,
}

impl Outcome {
    /// As metrics and audit annotations write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::WouldInject => "would-inject",
            Self::Skipped => "skipped",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }
}

/// Most containers of one template that are looked at: no real one comes near, and what is found in pairs of them stays cheap.
pub(crate) const CONTAINERS_MAX: usize = 512;

/// Plans the changes to one workload.
#[must_use]
pub fn inject<'a>(candidate: Candidate<'a>, snapshot: &'a Snapshot, policies: &Policies) -> Injection {
    if candidate.template_is_unchanged && candidate.has_the_same_settings() {
        return Injection::default();
    }
    let namespace = snapshot.namespace(&candidate.new.meta.namespace);
    let effective = policies.effective(&candidate.new.meta.namespace, namespace, Some(candidate.new));
    let plan = if candidate.template_is_unchanged { Plan::of_settings } else { Plan::of };
    plan(candidate, effective, snapshot, policies).map_or_else(Injection::default, Plan::finish)
}

/// What the mutating half would add to a workload that is created as it is, whether or not the mode `warn` holds it back.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// The containers that get a preStop sleep.
    pub(crate) sleeping: Vec<&'a Container>,
    /// Its length.
    pub(crate) seconds: i64,
    /// What the grace period is raised to; `None` if it is long enough.
    pub(crate) grace: Option<i64>,
    /// The containers that get a readiness probe.
    pub(crate) probed: Vec<&'a Container>,
}

/// The rules about what is missing ask here, so that they and the mutating half cannot disagree.
pub(crate) fn wanted<'a>(
    workload: &'a Workload,
    effective: &Effective,
    snapshot: &'a Snapshot,
    policies: &Policies,
) -> Option<Wanted<'a>> {
    let mut effective = effective.clone();
    let settings = &mut effective.settings;
    // What is told and not done is wanted all the same. A probe is wanted by those alone who ask for one to be injected.
    for mode in [&mut settings.mode, &mut settings.pre_stop, &mut settings.grace_period] {
        if *mode == Mode::Warn {
            *mode = Mode::Inject;
        }
    }
    let candidate = Candidate { old: None, new: workload, template_is_unchanged: false };
    let plan = Plan::of(candidate, effective, snapshot, policies)?;
    let sleeping: Vec<&Container> = plan.sleeps.iter().map(|(it, _)| *it).filter(|it| it.pre_stop.is_none()).collect();
    let seconds = sleeping.first().and_then(|it| plan.marker.get(&it.name)?.pre_stop).unwrap_or_default();
    let probed = plan.probes.iter().filter(|(_, it)| matches!(it, ProbeChange::Add(..))).map(|(it, _)| *it).collect();
    Some(Wanted { sleeping, seconds, grace: plan.grace, probed })
}

/// True if the API server has just taken out a sleep that we had put in: the marker is new and the hook is not there. A server
/// with the feature gate `PodLifecycleSleepAction` off does so between the two halves, without a word (reference: mutations 2.3).
#[must_use]
pub fn sleep_was_dropped(old: Option<&Workload>, new: &Workload, snapshot: &Snapshot, policies: &Policies) -> bool {
    let versions = snapshot.versions();
    if versions.sleep_is_dropped || versions.server_minor.is_none_or(|it| it >= SLEEP_GATE_LOCKED_MINOR) {
        return false;
    }
    let (marker, earlier) = (Marker::of(new), old.map(Marker::of).unwrap_or_default());
    let is_claimed_anew = |container: &Container| {
        let native = |it: &Marker| it.get(&container.name).filter(|it| !it.exec).and_then(|it| it.pre_stop);
        native(&marker).is_some() && native(&marker) != native(&earlier)
    };
    let hookless = |it: &&Container| it.pre_stop.as_ref().is_none_or(|hook| marker::handlers(hook) == 0);
    if !new.template.containers.iter().filter(hookless).any(is_claimed_anew) {
        return false;
    }
    // Anybody can write a marker; the mutating half would have put this one right, unless it has nothing to do with the object.
    let namespace = &new.meta.namespace;
    let effective = policies.effective(namespace, snapshot.namespace(namespace), Some(new));
    let is_ours = effective.settings.of(effective.settings.pre_stop) == Mode::Inject;
    is_ours && wanted(new, &effective, snapshot, policies).is_some_and(|it| !it.sleeping.is_empty())
}

impl Notice {
    fn restored() -> Self {
        Self { injections: &["restore"], outcome: Outcome::Injected, text: String::new() }
    }
}

impl Injection {
    /// True if nothing is changed, nothing said, and nothing can have been stripped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patch.is_none() && self.notices.is_empty() && !self.may_be_stripped
    }

    fn failed(error: &PatchError) -> Self {
        let text = format!("nothing injected, {error}; please report this");
        let notices = vec![Notice { injections: &["prestop"], outcome: Outcome::Failed, text }];
        Self { notices, ..Self::default() }
    }

    /// Applies the patch to the pod template and looks at the result again: it must parse and want no further change. What
    /// does not pass is not sent. A patch that only restores what a full replacement stripped is not worth a word, and restores it
    /// as it was, whatever the settings say by now: anything else would be a rollout of our own.
    #[must_use]
    pub fn verified(
        self,
        template: Value,
        candidate: Candidate<'_>,
        old_template: Option<&Value>,
        snapshot: &Snapshot,
        policies: &Policies,
    ) -> Self {
        if let Some(old) = old_template.filter(|_| self.may_be_stripped)
            && let Some(patch) = stripped::restore(candidate, &template, old)
        {
            return Self { patch: Some(patch), notices: vec![Notice::restored()], ..self };
        }
        let Some(patch) = &self.patch else { return self };
        match second_pass(patch, template, candidate, snapshot, policies) {
            Ok(result) if old_template == Some(&result) => Self { notices: vec![Notice::restored()], ..self },
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
    let template = patched(patch, template)?;
    let patched = candidate.new.with_template(&template.to_string()).ok_or(PatchError::Unreadable)?;
    let again = inject(Candidate { new: &patched, ..candidate }, snapshot, policies);
    if again.patch.is_some() { Err(PatchError::NotIdempotent) } else { Ok(template) }
}

/// A pod template with a patch of its whole object applied.
fn patched(patch: &Patch, template: Value) -> Result<Value, PatchError> {
    let mut object = Value::from_iter([("spec", Value::from_iter([("template", template)]))]);
    json_patch::patch(&mut object, patch)?;
    Ok(object["spec"]["template"].take())
}
