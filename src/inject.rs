//! The mutating half: what is added to a pod template so that a rollout drops no request. Only on a creation or when the write
//! itself changes the template, never below what is there (reference: mutations 11.2).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod grace_period;
mod handler_repair;
mod marker;
mod pre_stop;
mod readiness_probe;
mod stripped;
mod undo;

use json_patch::Patch;
use serde_json::{Value, json};

pub(crate) use self::{
    grace_period::{GRACE, grace_seconds, longest_sleep},
    marker::is_own_sleep,
    pre_stop::reason_to_skip,
    readiness_probe::{Unready, asks_for_istio, serving_containers, unready},
};
use self::{
    handler_repair::{Handler, Superseded},
    marker::Marker,
    pre_stop::{Form, Sleep},
};
pub use self::{marker::MARKER, undo::undo};
use crate::{
    facts::{Container, Workload},
    patch::{PatchBuilder, PatchError, escape},
    policy::{Effective, Mode, Policies, ProbeValues, ReadinessMode, TemplateKind},
    snapshot::{Resource, SLEEP_GATE_LOCKED_MINOR, Snapshot},
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

/// Plans the changes to one workload.
#[must_use]
pub fn inject<'a>(candidate: Candidate<'a>, snapshot: &'a Snapshot, policies: &Policies) -> Injection {
    if candidate.template_is_unchanged {
        return Injection::default();
    }
    let namespace = snapshot.namespace(&candidate.new.meta.namespace);
    let effective = policies.injection_for(namespace, candidate.new);
    Plan::of(candidate, effective, snapshot, policies).map_or_else(Injection::default, Plan::finish)
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
    if effective.settings.mode == Mode::Warn {
        effective.settings.mode = Mode::Inject;
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
pub fn sleep_was_dropped(old: Option<&Workload>, new: &Workload, snapshot: &Snapshot) -> bool {
    let versions = snapshot.versions();
    if versions.sleep_is_dropped || versions.server_minor.is_none_or(|it| it >= SLEEP_GATE_LOCKED_MINOR) {
        return false;
    }
    let (marker, earlier) = (Marker::of(new), old.map(Marker::of).unwrap_or_default());
    let containers = || new.template.containers.iter().filter(|it| it.pre_stop.is_none());
    containers().any(|container| {
        let native = |it: &Marker| it.get(&container.name).filter(|it| !it.exec).and_then(|it| it.pre_stop);
        native(&marker).is_some() && native(&marker) != native(&earlier)
    })
}

/// The changes of one object, before they are written as operations.
#[derive(Debug)]
struct Plan<'a> {
    candidate: Candidate<'a>,
    effective: Effective,
    /// What the marker said of the template as it was sent.
    sent_marker: Marker,
    marker: Marker,
    /// Handlers of ours that make way for the user's own.
    repairs: Vec<Superseded<'a>>,
    /// Probes of ours of a port that their container has no more: they would never succeed.
    stale: Vec<(&'a Container, i64)>,
    sleeps: Vec<(&'a Container, Value)>,
    probes: Vec<(&'a Container, ProbeChange)>,
    grace: Option<i64>,
    may_be_stripped: bool,
    /// Nothing keeps us from changing this template: a marker that claims what is not there any more is put right.
    is_open: bool,
    notices: Vec<Notice>,
}

/// What happens to a readiness probe.
#[derive(Debug, Clone, Copy)]
enum ProbeChange {
    /// There is none yet.
    Add(i64, ProbeValues),
    /// Ours asks a port that is not the one any more.
    Retarget(i64),
    /// Ours asks a port that the container has no more, and no other is known.
    Remove,
}

impl<'a> Plan<'a> {
    /// `None` for a write of which nothing may be changed, not even repaired.
    fn of(candidate: Candidate<'a>, effective: Effective, snapshot: &'a Snapshot, policies: &Policies) -> Option<Self> {
        let workload = candidate.new;
        let namespace = snapshot.namespace(&workload.meta.namespace);
        let is_open = !candidate.template_is_unchanged
            && !workload.meta.deleting
            && !namespace.is_some_and(|it| it.meta.deleting)
            && !policies.is_exempt_namespace(&workload.meta.namespace);
        let kind = TemplateKind::of(&workload.meta).filter(|_| is_open)?;

        let mut plan = Self::new(candidate, effective);
        plan.repair();
        let settings = &plan.effective.settings;
        let is_left_alone = settings.skips_owned && workload.meta.controller.is_some();
        let is_covered = plan.effective.is_opted_in || settings.kinds.has(kind) && !is_left_alone;
        if policies.is_enabled && is_covered && plan.effective.settings.mode != Mode::Disabled {
            if namespace.is_none() && !snapshot.synced().has(Resource::Namespaces) {
                plan.skip(&["prestop"], "still reading the settings of namespaces; nothing injected".to_owned());
            } else {
                plan.add_everything(snapshot);
            }
        }
        Some(plan)
    }

    fn new(candidate: Candidate<'a>, effective: Effective) -> Self {
        let sent_marker = Marker::of(candidate.new);
        let mut marker = sent_marker.clone();
        if let Some(old) = candidate.old {
            marker.follow_renames(old, candidate.new);
        }
        marker.keep_only_what_stands(candidate.new);
        Self {
            candidate,
            effective,
            sent_marker,
            marker,
            repairs: Vec::new(),
            stale: Vec::new(),
            sleeps: Vec::new(),
            probes: Vec::new(),
            grace: None,
            may_be_stripped: false,
            is_open: false,
            notices: Vec::new(),
        }
    }

    fn say(&mut self, injections: &'static [&'static str], outcome: Outcome, text: String) {
        self.notices.push(Notice { injections, outcome, text });
    }

    fn skip(&mut self, injections: &'static [&'static str], text: String) {
        self.say(injections, Outcome::Skipped, text);
    }

    /// Takes out what the API server would refuse, and a probe of ours that can never succeed: in every mode.
    fn repair(&mut self) {
        for found in handler_repair::superseded(self.candidate) {
            let name = &found.container.name;
            let (what, other) = match found.what {
                Handler::Sleep | Handler::Exec => ("preStop sleep", "hook"),
                Handler::TcpSocket => ("TCP readiness check", "probe"),
            };
            if !found.is_ours {
                let text = format!(
                    "the {other} of container {name} has a {what} and another handler, and the API server allows one; remove \
                     one of them (an apply keeps the fields that it did not set itself)"
                );
                self.skip(&["handler-repair"], text);
                continue;
            }
            let text = format!("removed the injected {what} of container {name}, which has its own {other} now");
            self.say(&["handler-repair"], Outcome::Injected, text);
            let entry = self.marker.entry(name);
            match found.what {
                Handler::Sleep | Handler::Exec => (entry.pre_stop, entry.exec) = (None, false),
                Handler::TcpSocket => entry.readiness = None,
            }
            self.repairs.push(found);
        }
        self.marker.drop_empty();
        let workload = self.candidate.new;
        for container in &workload.template.containers {
            let port = self.marker.own_probe(container);
            if let Some(port) = port.filter(|it| !readiness_probe::declares(workload, container, *it)) {
                self.stale.push((container, port));
            }
        }
    }

    fn add_everything(&mut self, snapshot: &'a Snapshot) {
        for problem in std::mem::take(&mut self.effective.problems) {
            self.say(&["settings"], Outcome::Ignored, problem);
        }
        // A hook with two handlers of others is refused anyway.
        let is_refused = self.notices.iter().any(|it| it.outcome == Outcome::Skipped);
        self.is_open = self.effective.settings.mode == Mode::Inject && !is_refused;
        self.may_be_stripped = self.effective.settings.mode == Mode::Inject
            && self.candidate.old.is_some_and(|it| Marker::of(it) != self.sent_marker);
        let workload = self.candidate.new;
        if !pre_stop::declares_a_serving_port(workload) && snapshot.services_for(workload).is_empty() {
            return;
        }
        let told = self.notices.len();
        let (stale, marker) = (self.stale.clone(), self.marker.clone());
        self.add_sleeps(snapshot);
        self.add_probes(snapshot);
        if self.effective.settings.mode == Mode::Warn {
            self.only_say_so(told, stale, marker);
        }
    }

    fn add_sleeps(&mut self, snapshot: &Snapshot) {
        let (workload, effective) = (self.candidate.new, self.effective.clone());
        let settings = &effective.settings;
        let room = grace_period::room_seconds(workload, settings);
        let seconds = settings.sleep_seconds.min(room);
        let form = pre_stop::form(workload, snapshot, settings);
        let wanted = pre_stop::sleeps(workload, &self.marker, settings, settings.sleep_seconds, Form::Native);
        let withheld = match &form {
            Err(reason) => Some(reason.clone()),
            Ok(_) if seconds <= 0 => {
                let max = settings.max_grace_seconds;
                Some(format!("no room for a preStop sleep within the longest grace period {max}s; nothing injected"))
            }
            Ok(_) => None,
        };
        let sleeps = match form {
            Ok(form) => pre_stop::sleeps(workload, &self.marker, settings, seconds, form),
            Err(_) => Vec::new(),
        };
        let own = grace_period::longest_own_sleep(workload, &self.repairs);
        let grace = grace_period::raised(workload, &sleeps, own, settings);
        if wanted.is_empty() && grace.is_none() {
            return;
        }
        if let Some(reason) = pre_stop::reason_to_skip(workload) {
            if !wanted.is_empty() {
                self.skip(&["prestop"], reason);
            }
            return;
        }
        if let Some(reason) = withheld.filter(|_| !wanted.is_empty()) {
            self.skip(&["prestop"], reason);
        }
        self.announce_sleeps(&sleeps, grace, own, &effective);
        for sleep in sleeps {
            let entry = self.marker.entry(&sleep.container.name);
            (entry.pre_stop, entry.exec) = (Some(sleep.seconds), sleep.form == Form::Exec);
            self.sleeps.push((sleep.container, hook(sleep.seconds, sleep.form)));
        }
        if let Some(to) = grace {
            self.raise_grace(to);
        }
    }

    fn announce_sleeps(&mut self, sleeps: &[Sleep<'_>], grace: Option<i64>, own: i64, effective: &Effective) {
        let workload = self.candidate.new;
        let grace = grace.map(|to| grace_period::notice(workload, to, self.marker.grace.is_some()));
        let policy = pre_stop::policy(workload, effective).map(|it| format!(" (policy: {it})")).unwrap_or_default();
        let mut texts = pre_stop::notices(sleeps, effective);
        let injections: &[&str] = match (texts.is_empty(), grace.is_some()) {
            (true, _) => &["grace"],
            (false, true) => &["prestop", "grace"],
            (false, false) => &["prestop"],
        };
        match (texts.last_mut(), grace) {
            (Some(last), grace) => {
                let grace = grace.map(|it| format!(", {it}")).unwrap_or_default();
                *last = format!("{last}{grace}{policy}");
            }
            (None, Some(grace)) => texts.push(format!("raised {grace}, because a preStop hook sleeps {own}s")),
            (None, None) => {}
        }
        for text in texts {
            self.say(injections, Outcome::Injected, text);
        }
    }

    /// What stood there before we first raised it is kept, so that it can be put back, and so that the marker of a manifest that is
    /// applied again is the one which is there.
    fn raise_grace(&mut self, to: i64) {
        let sent = self.candidate.new.template.grace_seconds;
        let earlier = self.candidate.old.map(Marker::of);
        let earlier = earlier.filter(|it| it.grace.is_some_and(|grace| grace == to || Some(grace) == sent));
        let known = Some(self.marker.clone()).filter(|it| it.grace.is_some()).or(earlier);
        let before = known.map_or(sent, |it| it.grace_before);
        (self.marker.grace, self.marker.grace_before) = (Some(to), before);
        self.grace = Some(to);
    }

    fn add_probes(&mut self, snapshot: &'a Snapshot) {
        let (workload, settings) = (self.candidate.new, self.effective.settings.clone());
        if settings.readiness != ReadinessMode::Inject || pre_stop::reason_to_skip(workload).is_some() {
            return;
        }
        let marker = self.marker.clone();
        let is_ours = |container: &Container| marker.own_probe(container).is_some();
        for found in readiness_probe::unready(workload, snapshot, &settings, &is_ours) {
            let (container, port, own) = (found.container, found.port, marker.own_probe(found.container));
            if settings.excluded_containers.contains(&container.name) || own == Some(port) {
                continue;
            }
            if found.obstacle.is_some() {
                // The rule `readiness-missing` says which.
                self.skip(&["readiness"], String::new());
                continue;
            }
            let (name, service) = (&container.name, &found.service);
            let text = match own {
                Some(from) => {
                    format!(
                        "moved the injected readiness of container {name} from port {from} to {port} (Service {service})"
                    )
                }
                None => format!("added TCP readiness on {port} for container {name} (Service {service})"),
            };
            self.say(&["readiness"], Outcome::Injected, text);
            self.marker.entry(name).readiness = Some(port);
            self.stale.retain(|(it, _)| !std::ptr::eq(*it, container));
            let change = own.map_or(ProbeChange::Add(port, settings.probe), |_| ProbeChange::Retarget(port));
            self.probes.push((container, change));
        }
    }

    /// The mode `warn`: nothing that was planned is done but the repairs.
    fn only_say_so(&mut self, told: usize, stale: Vec<(&'a Container, i64)>, marker: Marker) {
        (self.sleeps, self.probes, self.grace) = (Vec::new(), Vec::new(), None);
        (self.stale, self.marker) = (stale, marker);
        for notice in self.notices.iter_mut().skip(told).filter(|it| it.outcome == Outcome::Injected) {
            notice.outcome = Outcome::WouldInject;
            for (done, would) in [("added ", "would add "), ("raised ", "would raise "), ("moved ", "would move ")] {
                if let Some(rest) = notice.text.strip_prefix(done) {
                    notice.text = format!("{would}{rest}");
                }
            }
        }
    }

    fn remove_stale_probes(&mut self) {
        for (container, port) in std::mem::take(&mut self.stale) {
            let name = &container.name;
            let text = format!("removed the injected readiness of container {name}: it has no port {port} any more");
            self.say(&["readiness"], Outcome::Injected, text);
            self.marker.entry(name).readiness = None;
            self.probes.push((container, ProbeChange::Remove));
        }
        self.marker.drop_empty();
    }

    fn finish(mut self) -> Injection {
        self.remove_stale_probes();
        let is_tidy = !self.is_open || self.marker == self.sent_marker;
        let is_nothing = is_tidy
            && self.repairs.is_empty()
            && self.sleeps.is_empty()
            && self.probes.is_empty()
            && self.grace.is_none();
        let patch = if is_nothing { Ok(None) } else { self.operations().map(Some) };
        match patch {
            Ok(patch) => Injection {
                patch,
                may_be_stripped: self.may_be_stripped,
                notices: self.notices,
                policy: self.effective.summary(&self.candidate.new.meta.namespace),
            },
            Err(error) => Injection::failed(&error),
        }
    }

    fn operations(&self) -> Result<Patch, PatchError> {
        let workload = self.candidate.new;
        let mut patch = PatchBuilder::default();
        write_marker(workload, &self.marker, &mut patch)?;
        for it in &self.repairs {
            patch.remove(&workload.pointer(&format!("{}/{}", it.container.pointer(), it.what.field())))?;
        }
        for (container, hook) in &self.sleeps {
            write_hook(workload, container, hook.clone(), &mut patch)?;
        }
        for (container, change) in &self.probes {
            let probe = workload.pointer(&format!("{}/readinessProbe", container.pointer()));
            match change {
                ProbeChange::Add(port, values) => patch.add(&probe, probe_of(*port, *values))?,
                ProbeChange::Retarget(port) => patch.add(&format!("{probe}/tcpSocket"), json!({ "port": port }))?,
                ProbeChange::Remove => patch.remove(&probe)?,
            }
        }
        if let Some(grace) = self.grace {
            patch.add(&workload.pointer(GRACE), Value::from(grace))?;
        }
        patch.finish()
    }
}

fn hook(seconds: i64, form: Form) -> Value {
    match form {
        Form::Native => json!({ "sleep": { "seconds": seconds } }),
        Form::Exec => json!({ "exec": { "command": ["sleep", seconds.to_string()] } }),
    }
}

/// Only what is not the API's default anyway (reference: mutations 4.3).
fn probe_of(port: i64, values: ProbeValues) -> Value {
    let numbers = [
        ("periodSeconds", values.period_seconds, 10),
        ("timeoutSeconds", values.timeout_seconds, 1),
        ("failureThreshold", values.failure_threshold, 3),
    ];
    let mut probe = json!({ "tcpSocket": { "port": port } });
    for (field, value, _) in numbers.into_iter().filter(|(_, value, default)| value != default) {
        probe[field] = Value::from(value);
    }
    probe
}

fn write_hook(
    workload: &Workload,
    container: &Container,
    hook: Value,
    patch: &mut PatchBuilder,
) -> Result<(), PatchError> {
    let lifecycle = workload.pointer(&format!("{}/lifecycle", container.pointer()));
    if container.has_lifecycle {
        patch.add(&format!("{lifecycle}/preStop"), hook)
    } else {
        patch.add(&lifecycle, json!({ "preStop": hook }))
    }
}

fn write_marker(workload: &Workload, marker: &Marker, patch: &mut PatchBuilder) -> Result<(), PatchError> {
    let template = &workload.template;
    let annotations = workload.pointer("/metadata/annotations");
    let member = format!("{annotations}/{}", escape(MARKER));
    if marker.is_empty() {
        return if marker::is_there(workload) { patch.remove(&member) } else { Ok(()) };
    }
    let text = Value::from(marker.to_string());
    if template.has_annotations {
        patch.add(&member, text)
    } else if template.has_metadata {
        patch.add(&annotations, json!({ MARKER: text }))
    } else {
        patch.add(&workload.pointer("/metadata"), json!({ "annotations": { MARKER: text } }))
    }
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
