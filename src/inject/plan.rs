//! The plan for one object: what is repaired, added and told, decided step by step before anything is written
//! (reference: mutations 11.2).

use json_patch::Patch;
use rustc_hash::FxHashSet;
use serde_json::Value;
use smol_str::SmolStr;

use super::{
    CONTAINERS_MAX, Candidate, Injection, Notice, Outcome,
    conditional::would,
    grace_period::{self, GRACE},
    handler_repair::{self, Handler, Superseded},
    marker::Marker,
    operations::{hook, probe_of, write_hook, write_marker},
    pre_stop::{self, Form, Sleep},
    readiness_probe, stripped,
};
use crate::{
    facts::{Container, ContainerKind, MARKER, OWN_PREFIX, Workload},
    patch::{PatchBuilder, PatchError},
    policy::{Effective, Field, InjectionSettings, Mode, Policies, ProbeValues, Source, TemplateKind},
    snapshot::{Resource, Snapshot},
};

/// The changes of one object, before they are written as operations.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    candidate: Candidate<'a>,
    effective: Effective,
    /// What the marker said of the template as it was sent.
    sent_marker: Marker,
    pub(super) marker: Marker,
    /// Handlers of ours that make way for the user's own.
    repairs: Vec<Superseded<'a>>,
    /// Probes of ours of a port that their container has no more: they would never succeed.
    stale: Vec<(&'a Container, i64)>,
    pub(super) sleeps: Vec<(&'a Container, Value)>,
    pub(super) probes: Vec<(&'a Container, ProbeChange)>,
    pub(super) grace: Option<i64>,
    /// What the grace period would be raised to, and that was told.
    told_grace: Option<i64>,
    may_be_stripped: bool,
    /// Nothing keeps us from changing this template: a marker that claims what is not there any more is put right.
    is_open: bool,
    notices: Vec<Notice>,
}

/// The kind of a workload that may be changed, if it is one.
fn kind_of(workload: &Workload, snapshot: &Snapshot, policies: &Policies) -> Option<TemplateKind> {
    let namespace = snapshot.namespace(&workload.meta.namespace);
    let is_open = !workload.meta.deleting
        && !namespace.is_some_and(|it| it.meta.deleting)
        && !policies.is_exempt_namespace(&workload.meta.namespace);
    TemplateKind::of(&workload.meta).filter(|_| is_open)
}

/// Nothing is added to it, and nobody reads what would be told.
fn is_left_alone(workload: &Workload, effective: &Effective) -> bool {
    !effective.is_enabled || effective.settings.skips_owned && workload.meta.controller.is_some()
}

/// Somebody has said what is to be done with this workload.
fn has_settings(workload: &Workload) -> bool {
    let marker = MARKER.trim_start_matches(OWN_PREFIX);
    workload.meta.own.keys().chain(workload.template.own.keys()).any(|key| key != marker)
}

/// The API server refuses two containers of one name, and so there is nothing to do for them.
fn has_unique_names(workload: &Workload) -> bool {
    let mut seen = FxHashSet::default();
    let mut regular = workload.template.containers.iter().filter(|it| it.kind == ContainerKind::Regular);
    regular.all(|it| seen.insert(&it.name))
}

/// What happens to a readiness probe.
#[derive(Debug, Clone, Copy)]
pub(super) enum ProbeChange {
    /// There is none yet.
    Add(i64, ProbeValues),
    /// Ours asks a port that is not the one any more.
    Retarget(i64),
    /// Ours asks a port that the container has no more, and no other is known.
    Remove,
}

impl<'a> Plan<'a> {
    /// `None` for a write of which nothing may be changed, not even repaired.
    pub(super) fn of(
        candidate: Candidate<'a>,
        effective: Effective,
        snapshot: &'a Snapshot,
        policies: &Policies,
    ) -> Option<Self> {
        let workload = candidate.new;
        let kind = kind_of(workload, snapshot, policies)
            .filter(|_| !candidate.template_is_unchanged && has_unique_names(workload))?;

        let containers =
            workload.template.containers.len().max(candidate.old.map_or(0, |it| it.template.containers.len()));
        let mut plan = Self::new(candidate, effective);
        if containers > CONTAINERS_MAX {
            plan.skip(&["prestop"], format!("more than {CONTAINERS_MAX} containers; nothing injected"));
            return Some(plan);
        }
        plan.repair();
        if is_left_alone(workload, &plan.effective) {
            return Some(plan);
        }
        let settings = &plan.effective.settings;
        let is_covered = settings.kinds.has(kind) && settings.mode != Mode::Off;
        if is_covered || has_settings(workload) {
            plan.tell_ignored_settings();
        }
        if !is_covered {
            return Some(plan);
        }
        if snapshot.namespace(&workload.meta.namespace).is_none() && !snapshot.synced().has(Resource::Namespaces) {
            plan.skip(&["prestop"], "still reading the settings of namespaces; nothing injected".to_owned());
        } else {
            plan.add_everything(snapshot);
        }
        Some(plan)
    }

    /// The same for a write that keeps the pod template, and may have changed settings of the workload: only what of them does not
    /// count is told.
    pub(super) fn of_settings(
        candidate: Candidate<'a>,
        effective: Effective,
        snapshot: &'a Snapshot,
        policies: &Policies,
    ) -> Option<Self> {
        kind_of(candidate.new, snapshot, policies)?;
        let mut plan = Self::new(candidate, effective);
        if !is_left_alone(candidate.new, &plan.effective) {
            plan.tell_ignored_settings();
        }
        Some(plan)
    }

    fn new(candidate: Candidate<'a>, effective: Effective) -> Self {
        Self {
            candidate,
            effective,
            sent_marker: Marker::default(),
            marker: Marker::default(),
            repairs: Vec::new(),
            stale: Vec::new(),
            sleeps: Vec::new(),
            probes: Vec::new(),
            grace: None,
            told_grace: None,
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

    /// Takes out what the API server would refuse: in every mode.
    fn repair(&mut self) {
        self.sent_marker = Marker::of(self.candidate.new);
        self.marker = self.sent_marker.clone();
        if let Some(old) = self.candidate.old {
            self.marker.follow_renames(old, self.candidate.new);
        }
        self.marker.keep_only_what_stands(self.candidate.new);
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
    }

    /// A probe of ours stays as long as the port may be served: declared ports are documentation, and a Service may target a number
    /// that nobody declares.
    fn find_stale_probes(&mut self, snapshot: &Snapshot) {
        let (Some(old), new) = (self.candidate.old, self.candidate.new) else { return };
        for container in &new.template.containers {
            let Some(port) = self.marker.own_probe(container) else { continue };
            let before = old.template.containers.iter().find(|it| it.name == container.name);
            let was_declared = before.is_some_and(|it| readiness_probe::declares(old, it, port));
            let is_gone = was_declared && !readiness_probe::declares(new, container, port);
            if is_gone && !readiness_probe::is_targeted(new, snapshot, port) {
                self.stale.push((container, port));
            }
        }
    }

    fn tell_ignored_settings(&mut self) {
        for problem in std::mem::take(&mut self.effective.problems) {
            self.say(&["settings"], Outcome::Ignored, problem);
        }
        if let Some(name) = self.unknown_exclusion() {
            let key = Field::ExcludedContainers.key();
            let text = format!("annotation no502.dev/{key} names {name}, and there is no such container");
            self.say(&["settings"], Outcome::Ignored, text);
        }
    }

    fn add_everything(&mut self, snapshot: &'a Snapshot) {
        // A hook with two handlers of others is refused anyway.
        let is_refused = self.notices.iter().any(|it| it.outcome == Outcome::Skipped);
        self.is_open = self.effective.settings.mode == Mode::Inject && !is_refused;
        if self.is_open {
            self.find_stale_probes(snapshot);
        }
        self.may_be_stripped = self.effective.settings.mode == Mode::Inject && stripped::is_possible(self.candidate);
        let workload = self.candidate.new;
        if !pre_stop::declares_a_serving_port(workload) && snapshot.services_for(workload).is_empty() {
            return;
        }
        let (told, marker) = (self.notices.len(), self.marker.clone());
        let (pre_stop, grace_period) = (self.effective.settings.pre_stop, self.effective.settings.grace_period);
        self.add_sleeps(snapshot, if pre_stop == Mode::Warn { Mode::Off } else { pre_stop }, grace_period);
        if pre_stop == Mode::Warn {
            let (told, marker, grace) = (self.notices.len(), self.marker.clone(), self.grace);
            self.add_sleeps(snapshot, Mode::Inject, if grace_period == Mode::Off { Mode::Off } else { Mode::Inject });
            self.only_say_so(told, marker, grace);
        }
        self.add_probes(snapshot);
        if self.effective.settings.mode == Mode::Warn {
            self.only_say_so(told, marker, None);
        }
    }

    /// A name of no container in the workload's own list; that of a Namespace is for others as well.
    fn unknown_exclusion(&self) -> Option<SmolStr> {
        let containers = &self.candidate.new.template.containers;
        let is_own = *self.effective.source(Field::ExcludedContainers) == Source::Workload;
        let mut names = self.effective.settings.excluded_containers.iter().filter(|_| is_own);
        names.find(|name| !containers.iter().any(|it| it.name == **name)).cloned()
    }

    /// Sleeps (`pre_stop` is off or inject), and the grace period that they and the hooks which are there need.
    fn add_sleeps(&mut self, snapshot: &Snapshot, pre_stop: Mode, grace_period: Mode) {
        let (workload, mut effective) = (self.candidate.new, self.effective.clone());
        if pre_stop == Mode::Off {
            effective.settings.sleep_seconds = 0;
        }
        effective.settings.grace_period = grace_period;
        let with_raise = effective.settings.clone();
        if grace_period != Mode::Inject {
            // A sleep has the room that is there.
            effective.settings.max_grace_seconds = grace_period::grace_seconds(workload);
        }
        let settings = &effective.settings;
        let form = pre_stop::form(workload, snapshot, settings);
        let wanted = pre_stop::sleeps(workload, &self.marker, settings, settings.sleep_seconds, Form::Native);
        let fitting = |settings: &InjectionSettings| {
            let seconds = settings.sleep_seconds.min(grace_period::room_seconds(workload, settings));
            let form = form.as_ref().ok();
            form.map(|it| pre_stop::sleeps(workload, &self.marker, settings, seconds, *it)).unwrap_or_default()
        };
        let sleeps = fitting(settings);
        let own = grace_period::longest_own_sleep(workload, &self.repairs);
        let asks_for_drain = effective.sources.contains_key(&Field::AppDrainSeconds);
        let is_news = |to: &i64| Some(*to) > self.grace.max(self.told_grace);
        let raised = |sleeps: &[Sleep<'_>], settings: &InjectionSettings| {
            grace_period::raised(workload, sleeps, own, asks_for_drain, settings).filter(is_news)
        };
        let grace = raised(&sleeps, settings);
        let told_grace = if grace_period == Mode::Warn { raised(&fitting(&with_raise), &with_raise) } else { None };
        if wanted.is_empty() && grace.is_none() && told_grace.is_none() {
            return;
        }
        if let Some(reason) = pre_stop::reason_to_skip(workload) {
            if !wanted.is_empty() {
                self.skip(&["prestop"], reason);
            }
            return;
        }
        let has_no_room = form.is_ok() && grace_period::room_seconds(workload, settings) <= 0;
        let withheld =
            form.as_ref().err().cloned().or_else(|| has_no_room.then(|| no_room(settings, told_grace.is_some())));
        if let Some(reason) = withheld.filter(|_| !wanted.is_empty()) {
            self.skip(&["prestop"], reason);
        }
        if let Some(to) = told_grace {
            self.say(&["grace"], Outcome::WouldInject, would(&format!("raised {}", self.grace_notice(to))));
            self.told_grace = Some(to);
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

    /// From what it is by now, or was said to become.
    fn grace_notice(&self, to: i64) -> String {
        let known = self.grace.max(self.told_grace);
        let from = known.unwrap_or_else(|| grace_period::grace_seconds(self.candidate.new));
        grace_period::notice(from, to, known.is_some() || self.marker.grace.is_some())
    }

    fn announce_sleeps(&mut self, sleeps: &[Sleep<'_>], grace: Option<i64>, own: i64, effective: &Effective) {
        let workload = self.candidate.new;
        let grace = grace.map(|to| self.grace_notice(to));
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
            (None, Some(grace)) if own > 0 => {
                texts.push(format!("raised {grace}, because a preStop hook sleeps {own}s"));
            }
            (None, Some(grace)) => {
                let drain = effective.settings.app_drain_seconds;
                texts.push(format!("raised {grace}, because the application drains for {drain}s"));
            }
            (None, None) => {}
        }
        // The grace period stands in the last line, and is counted with it.
        let last = texts.pop();
        for text in texts {
            self.say(&["prestop"], Outcome::Injected, text);
        }
        if let Some(text) = last {
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
        if settings.readiness != Mode::Inject || pre_stop::reason_to_skip(workload).is_some() {
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
    fn only_say_so(&mut self, told: usize, marker: Marker, grace: Option<i64>) {
        (self.sleeps, self.probes, self.grace) = (Vec::new(), Vec::new(), grace);
        self.marker = marker;
        for notice in self.notices.iter_mut().skip(told).filter(|it| it.outcome == Outcome::Injected) {
            notice.outcome = Outcome::WouldInject;
            notice.text = would(&notice.text);
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

    pub(super) fn finish(mut self) -> Injection {
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
                ProbeChange::Retarget(port) => patch.add(&format!("{probe}/tcpSocket/port"), Value::from(*port))?,
                ProbeChange::Remove => patch.remove(&probe)?,
            }
        }
        if let Some(grace) = self.grace {
            patch.add(&workload.pointer(GRACE), Value::from(grace))?;
        }
        patch.finish()
    }
}

/// Why no sleep fits, and what would make room for it. `is_raise_told`: it is said what the grace period would be raised to.
fn no_room(settings: &InjectionSettings, is_raise_told: bool) -> String {
    let (max, need) = (settings.max_grace_seconds, settings.sleep_seconds + settings.app_drain_seconds);
    let fix = match settings.grace_period {
        Mode::Inject => format!("set no502.dev/max-grace-seconds to at least {need}"),
        Mode::Warn if is_raise_told => "set no502.dev/grace-period to inject".to_owned(),
        Mode::Warn | Mode::Off => format!("set terminationGracePeriodSeconds to at least {need}"),
    };
    format!("no room for a preStop sleep in {max}s; {fix}")
}
