//! The only place that decides: findings, policies and what must always be allowed, to allowed or denied.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smol_str::SmolStr;

use crate::{
    facts::{BREAK_GLASS, Facts, Meta, Namespace, OWN_PREFIX, Workload, WorkloadForm},
    inject::{CONTAINERS_MAX, Candidate, inject},
    link::{self, Write},
    policy::{Action, Effective, Exemption, Policies, break_glass},
    rule::{Cause, Check, Fault, Finding, Kind, ObjectName, Rule, Setting},
    rules,
    snapshot::{Resource, Snapshot, World},
    warning::{LINE_CHARS_MAX, Rank},
};

/// Who writes, and where.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    /// `userInfo.username`.
    pub user: &'a str,
    /// `userInfo.groups`.
    pub groups: &'a [String],
}

/// What the API server is told.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The lines of the denial; empty for an allowed write.
    pub denials: Vec<String>,
    /// Everything else worth saying.
    pub warnings: Vec<(Rank, String)>,
    /// Which rules spoke, and what came of it.
    pub outcomes: Vec<(&'static str, &'static str)>,
    /// The exemptions that cover a finding.
    pub exemptions: Vec<Arc<Exemption>>,
}

/// The controllers that take namespaces and orphans apart. A denial would stop them for ever (reference: rules K31).
const CLEANERS: [&str; 3] = [
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    // Both, where the controller manager has no credentials for each of them.
    "system:kube-controller-manager",
];

/// Decides about one write.
#[must_use]
pub fn decide(
    write: Write<'_>,
    requester: Requester<'_>,
    snapshot: &Snapshot,
    policies: &Policies,
    now: jiff::Timestamp,
) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(meta) = write.meta() else { return verdict };
    let namespace = snapshot.namespace(&meta.namespace);
    let effective = policies.effective(&meta.namespace, namespace, write.workload());
    if !effective.is_enabled || is_out_of_scope(write, requester, snapshot, policies) {
        return verdict;
    }
    let before = World::before(snapshot, meta, write.old);
    let after = World::after(snapshot, meta, write.old, write.new);
    let report = link::examine(write, &before, &after);
    if !report.unread.is_empty() {
        verdict.warnings.push((Rank::Risk, unread_warning(&report.unread)));
    }
    let mut findings = report.findings;
    findings.extend(self_findings(write));
    findings.extend(template_findings(write, snapshot, policies));
    let cap = Cap::of(write, requester, snapshot, &effective, now);
    let mut exemptions = Exemptions { effective: &effective, now, known: FxHashMap::default() };
    for finding in findings {
        let exemption = exemptions.of(&finding, write);
        verdict.add(&finding, write, cap.as_ref(), &effective, exemption);
    }
    verdict.warnings.extend(restart_hint(write, snapshot, policies, &effective).map(|it| (Rank::Risk, it)));
    let problems = effective.policy_problems.iter().map(|it| format!("{PREFIX}{it}"));
    verdict.warnings.extend(problems.chain(unread_break_glass(namespace)).map(|it| (Rank::Risk, it)));
    verdict
}

/// How the defaults come into a template that this write keeps. Said only where somebody asked for it: most writes keep it.
fn restart_hint(write: Write<'_>, snapshot: &Snapshot, policies: &Policies, effective: &Effective) -> Option<String> {
    let (Some(Facts::Workload(old)), Some(Facts::Workload(new))) = (write.old, write.new) else { return None };
    if !effective.settings.hints_restart || !keeps_template(write) {
        return None;
    }
    let candidate = Candidate { old: Some(old), new, template_is_unchanged: false };
    let is_wanted = inject(candidate, snapshot, policies).patch.is_some();
    let text = "template unchanged; defaults apply at the next rollout (kubectl rollout restart)";
    is_wanted.then(|| format!("no502: {}: {text}", new.meta))
}

/// Writes that no rule is asked about (design 4, "always allowed").
fn is_out_of_scope(write: Write<'_>, requester: Requester<'_>, snapshot: &Snapshot, policies: &Policies) -> bool {
    let Some(meta) = write.meta() else { return true };
    let namespace_is_going = snapshot.namespace(&meta.namespace).is_some_and(|it| it.meta.deleting);
    policies.is_exempt_namespace(&meta.namespace)
        || CLEANERS.contains(&requester.user)
        || namespace_is_going
        || meta.deleting
}

/// The faults that an object has by itself; those that the old object had as well are no fault of this write.
#[must_use]
pub fn self_findings(write: Write<'_>) -> Vec<Finding> {
    let Some(Facts::Workload(new)) = write.new else { return Vec::new() };
    let old = match write.old {
        Some(Facts::Workload(old)) => Some(old),
        _ => None,
    };
    let mut findings = Vec::new();
    for rule in rules::ALL {
        let Check::Workload(check) = rule.check else { continue };
        let known = old.map(|it| faults(check, it)).unwrap_or_default();
        findings.extend(blamed(faults(check, new), &known).map(|(fault, cause)| finding(rule, new, fault, cause)));
    }
    findings
}

fn finding(rule: &Rule, workload: &Workload, fault: Fault, cause: Cause) -> Finding {
    Finding {
        rule: rule.id,
        kind: fault.kind,
        cause,
        is_softened: false,
        object: ObjectName::from(&workload.meta),
        words: fault.words,
    }
}

/// What a new pod template risks where it is. A write that keeps the template says nothing new about it, and jobs, whose pods serve
/// nobody, and what a controller made are not asked.
#[must_use]
pub fn template_findings(write: Write<'_>, snapshot: &Snapshot, policies: &Policies) -> Vec<Finding> {
    let Some(Facts::Workload(workload)) = write.new else { return Vec::new() };
    if keeps_template(write) || !makes_serving_pods(workload) {
        return Vec::new();
    }
    let old = match write.old {
        Some(Facts::Workload(old)) => Some(old),
        _ => None,
    };
    let asked = |check: &Check| match check {
        Check::Template(check) => Some(*check),
        _ => None,
    };
    ask_around(workload, old, snapshot, policies, asked)
}

/// The same for files, in which nothing has been injected either.
#[must_use]
pub fn file_findings(workload: &Workload, snapshot: &Snapshot, policies: &Policies) -> Vec<Finding> {
    if !makes_serving_pods(workload) {
        return Vec::new();
    }
    let asked = |check: &Check| match check {
        Check::Template(check) | Check::Injected(check) => Some(*check),
        _ => None,
    };
    ask_around(workload, None, snapshot, policies, asked)
}

/// True if the pod template is the old one, image and all: then both share its facts ([`PodTemplate`](crate::facts::PodTemplate)). Equal
/// facts are not enough, because a new image starts a rollout as well.
fn keeps_template(write: Write<'_>) -> bool {
    match (write.old, write.new) {
        (Some(Facts::Workload(old)), Some(Facts::Workload(new))) => Arc::ptr_eq(&old.template, &new.template),
        _ => false,
    }
}

fn makes_serving_pods(workload: &Workload) -> bool {
    workload.template.containers.len() <= CONTAINERS_MAX
        && workload.form == WorkloadForm::Template
        && !workload.is_batch()
        && workload.meta.controller.is_none()
}

type AskTemplate = fn(&Setting<'_>, &mut Vec<Fault>);

/// A fault that the old template has as well, where it is now, is no fault of this write.
fn ask_around(
    workload: &Workload,
    old: Option<&Workload>,
    snapshot: &Snapshot,
    policies: &Policies,
    asked: impl Fn(&Check) -> Option<AskTemplate>,
) -> Vec<Finding> {
    let namespace = snapshot.namespace(&workload.meta.namespace);
    if namespace.is_none() && !snapshot.synced().has(Resource::Namespaces) {
        // What the platform team wants there is not known yet.
        return Vec::new();
    }
    let effective = policies.effective(&workload.meta.namespace, namespace, Some(workload));
    let setting = Setting { workload, snapshot, effective: &effective, policies };
    let mut findings = Vec::new();
    for rule in rules::ALL {
        let Some(check) = asked(&rule.check) else { continue };
        let mut faults = Vec::new();
        check(&setting, &mut faults);
        let mut known = Vec::new();
        if let Some(old) = old.filter(|_| !faults.is_empty()) {
            check(&Setting { workload: old, ..setting }, &mut known);
        }
        findings.extend(blamed(faults, &known).map(|(fault, cause)| finding(rule, workload, fault, cause)));
    }
    findings
}

/// A fault that was known before is not this write's.
fn blamed(faults: Vec<Fault>, known: &[Fault]) -> impl Iterator<Item = (Fault, Cause)> {
    let known: FxHashSet<(&str, Kind)> = known.iter().map(|it| (it.key.as_str(), it.kind)).collect();
    faults.into_iter().map(move |fault| {
        let is_known = known.contains(&(fault.key.as_str(), fault.kind));
        (fault, if is_known { Cause::Standing } else { Cause::ThisWrite })
    })
}

fn faults(check: fn(&Workload, &mut Vec<Fault>), workload: &Workload) -> Vec<Fault> {
    let mut faults = Vec::new();
    check(workload, &mut faults);
    faults
}

/// Why a write is never denied.
#[derive(Debug, PartialEq, Eq)]
enum Cap {
    /// Its controller would only try again, for ever, and nobody reads its log.
    Owned,
    /// Somebody who may do so has switched denials off.
    BreakGlass(String),
    /// Whether the namespace is going away, or in break-glass, is not known.
    UnreadNamespaces,
}

impl Cap {
    fn of(
        write: Write<'_>,
        requester: Requester<'_>,
        snapshot: &Snapshot,
        effective: &Effective,
        now: jiff::Timestamp,
    ) -> Option<Self> {
        let meta = write.meta()?;
        if meta.controller.as_ref().is_some_and(|it| it.is_custom() || is_made_by_any_controller(meta)) {
            return Some(Self::Owned);
        }
        let is_member = |it: &&SmolStr| requester.groups.iter().any(|group| group == it.as_str());
        if let Some(group) = effective.break_glass_groups.iter().find(is_member) {
            return Some(Self::BreakGlass(format!("group {group}")));
        }
        let namespace = snapshot.namespace(&meta.namespace);
        let until = namespace.and_then(break_glass).and_then(Result::ok);
        if let Some(until) = until.filter(|it| now < *it) {
            return Some(Self::BreakGlass(format!("until {until}")));
        }
        (!snapshot.synced().has(Resource::Namespaces)).then_some(Self::UnreadNamespaces)
    }

    /// What a warning says that would have been a denial; empty where that is nothing new.
    fn reason(&self) -> String {
        match self {
            Self::BreakGlass(why) => format!(" (break-glass, {why})"),
            Self::UnreadNamespaces => " (not denied: still reading namespaces)".to_owned(),
            Self::Owned => String::new(),
        }
    }
}

/// Pods and `ReplicaSets` come from templates that were looked at when they were written.
fn is_made_by_any_controller(meta: &Meta) -> bool {
    matches!(meta.kind.as_str(), "Pod" | "ReplicaSet")
}

/// The exemptions that were looked for: many findings are about one object, and the names are matched once.
struct Exemptions<'a> {
    effective: &'a Effective,
    now: jiff::Timestamp,
    known: FxHashMap<(&'static str, ObjectName), Vec<&'a Arc<Exemption>>>,
}

impl<'a> Exemptions<'a> {
    fn of(&mut self, finding: &Finding, write: Write<'_>) -> Option<&'a Arc<Exemption>> {
        self.effective.exemptions().next()?;
        let key = (finding.rule, finding.object.clone());
        let look = || self.effective.exemptions_from(finding.rule, &finding.object, self.now);
        let found = self.known.entry(key).or_insert_with(look);
        let container = container(finding, write);
        found.iter().find(|it| it.is_for_container(container)).copied()
    }
}

impl Verdict {
    fn add(
        &mut self,
        finding: &Finding,
        write: Write<'_>,
        cap: Option<&Cap>,
        effective: &Effective,
        exemption: Option<&Arc<Exemption>>,
    ) {
        let wanted = effective.action(finding.rule, finding.kind);
        let is_blamed = finding.cause == Cause::ThisWrite && !finding.is_softened;
        // A deletion is only ever refused by a rule that is set to deny in so many words.
        let is_deniable = is_blamed && (!write.is_deletion() || effective.denies_explicitly(finding.rule));
        let action = match wanted {
            Action::Deny if !is_deniable || cap.is_some() || exemption.is_some() => Action::Warn,
            other => other,
        };
        let cap = cap.filter(|_| wanted == Action::Deny && is_deniable);
        self.outcomes.push((finding.rule, action.name()));
        self.exemptions.extend(exemption.cloned());
        match action {
            Action::Deny => self.denials.push(line(finding)),
            Action::Warn => {
                let rank = if wanted == Action::Deny { Rank::Denial } else { Rank::Risk };
                let reason = match (cap, exemption) {
                    (Some(cap @ Cap::BreakGlass(_)), _) | (Some(cap), None) => cap.reason(),
                    (_, Some(exemption)) => format!(" (exempt until {}: {})", exemption.expires, exemption.reason),
                    (None, None) => String::new(),
                };
                let room = LINE_CHARS_MAX.saturating_sub(PREFIX.len() + reason.chars().count());
                self.warnings.push((rank, format!("{PREFIX}{}{reason}", short_line(finding, room))));
            }
            Action::Info | Action::Off => {}
        }
    }

    /// True for a write that goes through.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.denials.is_empty()
    }
}

/// A break-glass that cannot be read breaks nothing; somebody may count on it in a bad hour.
fn unread_break_glass(namespace: Option<&Namespace>) -> Option<String> {
    let namespace = namespace?;
    let text = break_glass(namespace)?.err()?;
    let of = &namespace.meta;
    Some(format!(
        "{PREFIX}annotation {OWN_PREFIX}{BREAK_GLASS}: {text} of {of} is ignored; use a time such as 2027-01-31T18:00:00Z"
    ))
}

/// The container that a finding points at.
pub(crate) fn container<'a>(finding: &Finding, write: Write<'a>) -> Option<&'a str> {
    let workload = write.workload()?;
    let template = finding.words.field.strip_prefix(workload.form.pointer())?;
    let of = |it: &&crate::facts::Container| {
        let rest = template.strip_prefix(it.pointer().as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    workload.template.containers.iter().find(of).map(|it| it.name.as_str())
}

fn unread_warning(unread: &[Resource]) -> String {
    let names: Vec<&str> = unread.iter().map(|it| it.name()).collect();
    format!("no502: still reading {} from the cluster; links were not checked", names.join(", "))
}

/// `Service "web" spec.selector: message; help [rule]`.
#[must_use]
pub fn line(finding: &Finding) -> String {
    let Finding { object, words, rule, .. } = finding;
    let field = readable(&words.field);
    let space = if field.is_empty() { "" } else { " " };
    format!("{object}{space}{field}: {}; {} [{rule}]", words.message, words.help)
}

/// What a warning begins with.
const PREFIX: &str = "no502: ";

/// The same for a warning: what is about a whole pod template says no field, and what is too long loses words of its message, not
/// what to do.
fn short_line(finding: &Finding, chars_max: usize) -> String {
    let is_of_template =
        rules::find(finding.rule).is_some_and(|it| matches!(it.check, Check::Template(_) | Check::Injected(_)));
    let mut finding = finding.clone();
    if is_of_template {
        finding.words.field.clear();
    }
    let over = line(&finding).chars().count().saturating_sub(chars_max);
    let kept = finding.words.message.chars().count().saturating_sub(over + 1);
    if over > 0 && kept > 0 {
        finding.words.message = finding.words.message.chars().take(kept).chain(['…']).collect();
    }
    line(&finding)
}

/// `/spec/ports/0/targetPort` as `spec.ports[0].targetPort`.
pub(crate) fn readable(pointer: &str) -> String {
    let mut text = String::with_capacity(pointer.len());
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push('[');
            text.push_str(&token);
            text.push(']');
        } else if token.contains(['.', '/', '"']) {
            text.push_str("[\"");
            text.push_str(&token);
            text.push_str("\"]");
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&token);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn pointers_are_written_as_people_write_fields() {
        assert_eq!(readable("/spec/ports/0/targetPort"), "spec.ports[0].targetPort");
        assert_eq!(readable("/metadata/labels/app.kubernetes.io~1name"), "metadata.labels[\"app.kubernetes.io/name\"]");
        assert_eq!(readable(""), "");
    }
}
