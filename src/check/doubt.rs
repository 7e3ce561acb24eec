//! Reasons why something that was not seen may be there all the same (reference: rules 7, "Where a rule must stay silent").

use serde_json::Value;
use smol_str::SmolStr;

use super::{
    kustomize::{Kustomize, RENDER_HELP},
    objects::Objects,
};
use crate::{
    facts::{Facts, Labels, Meta, Workload},
    manifest::{Document, Level as Trouble, Loaded},
    report::Level,
    rule::{Check, Finding, Kind},
    rules,
};

/// Why a finding says less than it could.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    why: String,
    strength: Strength,
}

#[derive(Debug, PartialEq, Eq)]
enum Strength {
    /// Nothing can be said: information.
    Unknowable,
    /// One level softer.
    Uncertain,
}

/// Everything about a set of files that makes it less than a whole world.
#[derive(Debug)]
pub(super) struct Doubts {
    /// The first text that could not be read.
    unread: Option<String>,
    kustomize: Kustomize,
    /// Custom resources that pods may be made from.
    makers: Vec<Meta>,
    /// Objects that cannot be compared.
    blurred: Vec<Blurred>,
}

/// An object that may be the missing counterpart, if only one knew what it is called.
#[derive(Debug)]
struct Blurred {
    side: Side,
    /// Empty if it may be in any.
    namespace: SmolStr,
    /// `Deployment "web" (label "${APP}")`.
    name: String,
}

/// What a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Pods,
    Service,
}

impl Doubts {
    pub(super) fn of(loaded: &Loaded, objects: &Objects<'_>, kustomize: Kustomize) -> Self {
        let broken = loaded.problems.iter().find(|it| it.level == Trouble::Error);
        let unread = broken.map(|it| it.location.to_string());
        let unread = unread.or_else(|| loaded.unreadable.first().map(|it| it.path.display().to_string()));
        let makers = objects.whole.iter().filter_map(|object| match &object.facts {
            Facts::Other(meta) if may_make_pods(meta) => Some(meta.clone()),
            _ => None,
        });
        let makers = makers.collect();
        let fragments = objects.fragments.iter().filter_map(fragment);
        let blurred = objects.whole.iter().filter_map(|it| blurred(&it.facts)).chain(fragments).collect();
        Self { unread, kustomize, makers, blurred }
    }

    /// The strongest reason to say less than the rule does.
    pub(super) fn about(&self, finding: &Finding, document: &Document) -> Option<Doubt> {
        if let Some(text) = placeholder_in(document, &finding.words.field) {
            return Some(Doubt::unknowable(format!(
                "\"{text}\" is nothing that Kubernetes accepts here; if it is a placeholder, fill it in first"
            )));
        }
        if is_about_a_template(finding) {
            let may_be_patched = self.kustomize.covers(document.source().file());
            return may_be_patched.then(|| Doubt::uncertain(RENDER_HELP.to_owned()));
        }
        let side = match (finding.kind, finding.object.kind.as_str()) {
            (Kind::Absent | Kind::Mismatch, "Service") => Side::Pods,
            (Kind::Absent, "Ingress") => Side::Service,
            // A Service that is there does not change because another document is not.
            _ => return None,
        };
        if self.kustomize.covers(document.source().file()) {
            return Some(Doubt::unknowable(RENDER_HELP.to_owned()));
        }
        let namespace = finding.object.namespace.as_str();
        let is_near = |it: &&Blurred| it.side == side && (it.namespace.is_empty() || it.namespace == namespace);
        if let Some(Blurred { name, .. }) = self.blurred.iter().find(is_near) {
            return Some(Doubt::uncertain(format!("it may be {name}")));
        }
        if let Some(place) = &self.unread {
            return Some(Doubt::uncertain(format!("it may be in {place}, which was not read")));
        }
        let maker = self.maker(finding, document)?;
        Some(Doubt::uncertain(format!("{maker} ({}) may make these pods", maker.api_version)))
    }

    /// The custom resource that a selector points to: by its name, or by a label of its API group.
    fn maker(&self, finding: &Finding, document: &Document) -> Option<&Meta> {
        if finding.kind != Kind::Absent || finding.object.kind != "Service" {
            return None;
        }
        let object: Value = serde_json::from_str(document.json()).ok()?;
        let selector = object.pointer("/spec/selector")?.as_object()?;
        self.makers.iter().filter(|it| it.namespace == finding.object.namespace).find(|maker| {
            selector.iter().any(|(key, value)| {
                let is_name = value.as_str().and_then(|it| it.strip_prefix(maker.name.as_str()));
                let is_name = is_name.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
                let domain = key.split_once('/').map(|(domain, _)| domain);
                is_name || domain.is_some_and(|domain| is_within(maker.api_group(), domain))
            })
        })
    }
}

impl Doubt {
    fn unknowable(why: String) -> Self {
        Self { why, strength: Strength::Unknowable }
    }

    fn uncertain(why: String) -> Self {
        Self { why, strength: Strength::Uncertain }
    }

    pub(super) fn soften(&self, level: Level) -> Level {
        match self.strength {
            Strength::Unknowable => Level::Info,
            Strength::Uncertain => level.softer(),
        }
    }

    pub(super) fn explain(&self, help: &str) -> String {
        match self.strength {
            Strength::Unknowable => self.why.clone(),
            Strength::Uncertain if help.is_empty() => self.why.clone(),
            Strength::Uncertain => format!("{}; if not: {help}", self.why),
        }
    }
}

/// What a pod template lacks, an overlay may add.
fn is_about_a_template(finding: &Finding) -> bool {
    rules::find(finding.rule).is_some_and(|it| matches!(it.check, Check::Template(_) | Check::Injected(_)))
}

/// `monitoring.coreos.com` is within `coreos.com`.
fn is_within(group: &str, domain: &str) -> bool {
    group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// API groups that come with Kubernetes and make no pods, beside those that end in `.k8s.io`.
const BUILT_IN_GROUPS: [&str; 6] = ["", "apps", "autoscaling", "batch", "extensions", "policy"];
/// API groups, and all below them, whose resources configure what others run.
const PODLESS_GROUPS: [&str; 9] = [
    "cert-manager.io",
    "cilium.io",
    "external-secrets.io",
    "istio.io",
    "kustomize.config.k8s.io",
    "projectcontour.io",
    "projectcalico.org",
    "split.smi-spec.io",
    "traefik.io",
];
/// Kinds of monitoring.coreos.com that watch pods; the others of that group run some.
const WATCHING_KINDS: [&str; 5] = ["PodMonitor", "Probe", "PrometheusRule", "ScrapeConfig", "ServiceMonitor"];

/// True for a custom resource that an operator may make pods from, as far as its kind tells.
fn may_make_pods(meta: &Meta) -> bool {
    let group = meta.api_group();
    let is_official = group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io");
    let is_podless = PODLESS_GROUPS.iter().any(|it| is_within(group, it));
    let is_watching = group == "monitoring.coreos.com" && WATCHING_KINDS.contains(&meta.kind.as_str());
    let makes_none = is_official || is_podless || is_watching || BUILT_IN_GROUPS.contains(&group);
    !makes_none && !meta.name.is_empty()
}

fn blurred(facts: &Facts) -> Option<Blurred> {
    let (side, meta, text) = match facts {
        Facts::Workload(workload) => {
            let template = &workload.template;
            let port = template.ports.iter().map(|it| it.name.as_str()).find(|it| !is_name(it));
            (Side::Pods, &workload.meta, odd_label(&template.labels).or(port))
        }
        Facts::Service(service) => {
            (Side::Service, &service.meta, Some(service.meta.name.as_str()).filter(|it| !is_name(it)))
        }
        _ => return None,
    };
    let namespace = meta.namespace.as_str();
    if !is_name(namespace) {
        let name = format!("{meta} in namespace \"{namespace}\", which looks like a placeholder");
        return Some(Blurred { side, namespace: SmolStr::default(), name });
    }
    let name = format!("{meta} with \"{}\", which looks like a placeholder", text?);
    Some(Blurred { side, namespace: meta.namespace.clone(), name })
}

/// A name, label or port name of a workload that the API server would refuse.
pub(super) fn placeholder_of(workload: &Workload) -> Option<&str> {
    let Workload { meta, template, .. } = workload;
    let names = [meta.name.as_str(), meta.namespace.as_str()].into_iter();
    let ports = template.ports.iter().map(|it| it.name.as_str());
    let containers = template.containers.iter().map(|it| it.name.as_str());
    // Names may have dots.
    let odd_name = names.chain(ports).chain(containers).find(|it| !it.split('.').all(is_name));
    odd_name.or_else(|| odd_label(&template.labels))
}

fn fragment(facts: &Facts) -> Option<Blurred> {
    let side = match facts {
        Facts::Workload(_) => Side::Pods,
        Facts::Service(_) => Side::Service,
        _ => return None,
    };
    let meta = facts.meta();
    Some(Blurred { side, namespace: meta.namespace.clone(), name: format!("{meta}, of which a part is missing") })
}

fn odd_label(labels: &Labels) -> Option<&str> {
    labels.iter().map(|(_, value)| value.as_str()).find(|it| !is_label(it))
}

/// The first text at a field, or below it, that the API server would refuse: `${PORT}`, `<name>`, `@APP@`, `PORT`.
fn placeholder_in(document: &Document, field: &str) -> Option<String> {
    let object: Value = serde_json::from_str(document.json()).ok()?;
    let is_legal = if field.starts_with("/spec/selector") { is_label } else { is_name };
    let value = object.pointer(field)?;
    // Below a container stand images, commands and values of the application's own.
    let is_free = field.contains("ontainers/") && (value.is_object() || value.is_array());
    if is_free { None } else { illegal_text(value, is_legal).map(str::to_owned) }
}

fn illegal_text(value: &Value, is_legal: fn(&str) -> bool) -> Option<&str> {
    match value {
        Value::String(text) => (!is_legal(text)).then_some(text.as_str()),
        Value::Array(items) => items.iter().find_map(|it| illegal_text(it, is_legal)),
        Value::Object(members) => members.values().find_map(|it| illegal_text(it, is_legal)),
        _ => None,
    }
}

/// The letters of names of Services, namespaces and ports.
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The letters of label values.
fn is_label(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
