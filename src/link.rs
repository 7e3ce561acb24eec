//! Links and the ratchet: which hops of traffic paths a write touches, and what it does to them.
//!
//! A hop is one step of a path: Ingress path to Service port, Service to pods, Service port to container port. Every hop in the
//! neighbourhood of the written object is looked at in the world before the write and in the world after it. Only the
//! comparison says whether the write broke it, asks for something that is not there, or has nothing to do with it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::{
    facts::{Backend, Facts, Ingress, Meta, Service, ServicePort, Workload, WorkloadForm},
    rule::{Cause, Check, Finding, Kind, LinkCheck, ObjectName, Rule},
    rules,
    snapshot::{Resource, World},
};

/// One hop of a traffic path.
#[derive(Debug, Clone, Copy)]
pub enum Hop<'a> {
    /// Service to pods.
    Selector(&'a Service),
    /// Service port to container port. Identity: Service, port number, protocol.
    Port(&'a Service, &'a ServicePort),
    /// Ingress path to Service port. Identity: Ingress, host, path, path type.
    Backend(&'a Ingress, &'a Backend),
}

/// Whether a hop leads anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Another rule's hop, or another rule's fault.
    NotMine,
    /// It does, or nothing is known against it.
    Resolved,
    /// It hangs on another hop that does not resolve, or on labels that only live pods get.
    Undecided,
    /// It does not: [`Kind::Absent`], [`Kind::Mismatch`] or, where some controllers cope, [`Kind::Risk`].
    Unresolved(Kind),
}

/// One write to one object.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The object before; `None` for a creation.
    pub old: Option<&'a Facts>,
    /// The object after; `None` for a deletion.
    pub new: Option<&'a Facts>,
}

impl<'a> Write<'a> {
    /// Identity of the written object.
    #[must_use]
    pub fn meta(&self) -> Option<&'a Meta> {
        self.new.or(self.old).map(Facts::meta)
    }

    /// The written object, if it is a workload; of a deletion the old one.
    #[must_use]
    pub fn workload(&self) -> Option<&'a Workload> {
        self.new.or(self.old).and_then(Facts::workload)
    }

    /// True for a deletion.
    #[must_use]
    pub fn is_deletion(&self) -> bool {
        self.new.is_none()
    }
}

/// What a rule may know when it words a finding.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The world before the write.
    pub before: &'a World<'a>,
    /// The world after it.
    pub after: &'a World<'a>,
    /// The write.
    pub write: Write<'a>,
    /// What the finding is.
    pub kind: Kind,
    /// True if the written object is the one that names the other (Ingress, Service), false if it is the one that is named.
    pub is_referrer: bool,
}

impl<'a> Hop<'a> {
    fn referrer(&self) -> &'a Meta {
        match self {
            Self::Selector(service) | Self::Port(service, _) => &service.meta,
            Self::Backend(ingress, _) => &ingress.meta,
        }
    }

    /// True if both are the same link, wherever they lead (design 4).
    fn is_same_link(&self, other: &Hop<'_>) -> bool {
        if !self.referrer().is_same_object(other.referrer()) {
            return false;
        }
        match (self, other) {
            (Self::Selector(_), Hop::Selector(_)) => true,
            (Self::Port(_, a), Hop::Port(_, b)) => a.port == b.port && a.protocol == b.protocol,
            (Self::Backend(_, a), Hop::Backend(_, b)) => a.is_same_route(b),
            _ => false,
        }
    }

    /// True if both ask for the same thing.
    fn asks_the_same(&self, other: &Hop<'_>) -> bool {
        match (self, other) {
            (Self::Selector(a), Hop::Selector(b)) => a.selector == b.selector,
            (Self::Port(a, p), Hop::Port(b, q)) => a.selector == b.selector && p.target == q.target,
            (Self::Backend(_, a), Hop::Backend(_, b)) => a.service == b.service && a.port == b.port,
            _ => false,
        }
    }

    /// The kinds that must have been read before anything can be said about the hop. The written object is known anyway.
    fn needs(&self, is_own: bool) -> &'static [Resource] {
        match (self, is_own) {
            (Self::Selector(_) | Self::Port(..), true) => &Resource::POD_SOURCES,
            (Self::Selector(_) | Self::Port(..), false) => &PODS_AND_SERVICES,
            (Self::Backend(..), true) => &[Resource::Services],
            (Self::Backend(..), false) => &[Resource::Ingresses],
        }
    }

    /// True if one release brings both sides, so that a mismatch is an order of arrival and not a fault. Never for what drops
    /// running pods from a Service: new pods take time, whoever applies (reference: rules 4.4).
    fn is_softened(&self, kind: Kind, before: &World<'a>, after: &World<'a>) -> bool {
        match (self, kind) {
            (Self::Backend(ingress, backend), Kind::Broken | Kind::Mismatch) => {
                let owners = &ingress.meta.release_owners;
                // A Service that this write deletes had its owner; one that was never there counts as having the writer's.
                let service = |world: &World<'a>| world.service(&ingress.meta.namespace, &backend.service);
                match service(after).or_else(|| service(before)) {
                    Some(service) => owners.share(&service.meta.release_owners),
                    None => !owners.is_empty(),
                }
            }
            (Self::Port(service, _), Kind::Mismatch) => {
                let selection = after.selection(&service.meta.namespace, &service.selector);
                selection.sets.iter().any(|set| set.release_owners.share(&service.meta.release_owners))
            }
            _ => false,
        }
    }
}

const PODS_AND_SERVICES: [Resource; 6] = [
    Resource::Services,
    Resource::Deployments,
    Resource::StatefulSets,
    Resource::DaemonSets,
    Resource::ReplicaSets,
    Resource::Pods,
];

/// The kinds that must have been read before it is known which links of others lead to an object.
fn referrers_of(facts: &Facts) -> &'static [Resource] {
    match facts {
        Facts::Workload(_) => &[Resource::Services],
        Facts::Service(_) => &[Resource::Ingresses],
        _ => &[],
    }
}

/// Pods and `ReplicaSets` of a controller come from a template that was looked at when it was written.
fn is_made_by_a_controller(facts: &Facts) -> bool {
    let Facts::Workload(workload) = facts else { return false };
    let meta = &workload.meta;
    meta.controller.is_some() && (workload.form == WorkloadForm::Pod || meta.kind == "ReplicaSet")
}

/// Every link rule with its id.
fn link_rules() -> impl Iterator<Item = (&'static Rule, &'static LinkCheck)> {
    rules::ALL.iter().filter_map(|rule| match &rule.check {
        Check::Link(check) => Some((*rule, check)),
        _ => None,
    })
}

/// State of a hop: the first rule that has something to say about it.
fn state_of(hop: &Hop<'_>, world: &World<'_>) -> (State, Option<(&'static Rule, &'static LinkCheck)>) {
    for (rule, check) in link_rules() {
        match (check.state)(hop, world) {
            State::NotMine | State::Resolved => {}
            state => return (state, Some((rule, check))),
        }
    }
    (State::Resolved, None)
}

/// What a write does to the links around it.
#[derive(Debug, Default)]
pub struct LinkReport {
    /// The findings.
    pub findings: Vec<Finding>,
    /// Kinds that have not been read yet, so that some links were not looked at.
    pub unread: Vec<Resource>,
}

/// Looks at every hop that the write can change.
#[must_use]
pub fn examine<'a>(write: Write<'a>, before: &World<'a>, after: &World<'a>) -> LinkReport {
    let mut report = LinkReport::default();
    let Some(meta) = write.meta() else { return report };
    if [write.old, write.new].into_iter().flatten().any(is_made_by_a_controller) {
        return report;
    }
    let is_own = |hop: &Hop<'_>| hop.referrer().is_same_object(meta);
    let old_hops = write.old.map(|it| hops_around(it, before)).unwrap_or_default();
    let new_hops = write.new.map(|it| hops_around(it, after)).unwrap_or_default();
    // Links of others that this write leaves behind: Services that selected the old labels, Ingresses that led here.
    let is_left = |hop: &&Hop<'_>| !is_own(hop) && !new_hops.iter().any(|it| it.is_same_link(hop));
    let left: Vec<Hop<'_>> = old_hops.iter().filter(is_left).copied().collect();
    report.read(write.new.or(write.old).map(referrers_of).unwrap_or_default(), after);
    for hop in new_hops.iter().chain(&left) {
        if report.read(hop.needs(is_own(hop)), after) {
            // A link of another object was there before, whether or not the written object was near it.
            let counterpart = if is_own(hop) { counterpart(hop, &old_hops) } else { Some(hop) };
            report.findings.extend(compare(hop, counterpart, write, before, after));
        }
    }
    if write.new.is_some() {
        let removed = old_hops.iter().filter(|hop| is_own(hop) && !new_hops.iter().any(|it| it.is_same_link(hop)));
        for hop in removed.chain(&left) {
            if after.knows(hop.needs(is_own(hop))) {
                report.findings.extend(removal(hop, write, before, after));
            }
        }
    }
    report.unread.sort_unstable();
    report.unread.dedup();
    report
}

impl LinkReport {
    /// True if all of these kinds have been read; otherwise notes which have not.
    fn read(&mut self, resources: &[Resource], world: &World<'_>) -> bool {
        let unread = self.unread.len();
        self.unread.extend(resources.iter().filter(|it| !world.knows(&[**it])));
        self.unread.len() == unread
    }
}

/// The same link in the old object. An Ingress may have one route twice: then the one that asked for the same thing.
fn counterpart<'b, 'a>(hop: &Hop<'_>, old_hops: &'b [Hop<'a>]) -> Option<&'b Hop<'a>> {
    let same_links = || old_hops.iter().filter(|it| it.is_same_link(hop));
    same_links().find(|it| it.asks_the_same(hop)).or_else(|| same_links().next())
}

fn compare<'a>(
    hop: &Hop<'a>,
    old: Option<&Hop<'a>>,
    write: Write<'a>,
    before: &World<'a>,
    after: &World<'a>,
) -> Option<Finding> {
    let (State::Unresolved(kind), Some((rule, check))) = state_of(hop, after) else { return None };
    let meta = write.meta()?;
    let is_referrer = hop.referrer().is_same_object(meta);
    let old_state = old.map(|it| state_of(it, before).0);
    let was_lost = || !is_referrer && write.new.is_some() && was_lost_before(hop, meta, write, before);
    let (kind, cause) = match (old_state, old) {
        (Some(State::Resolved), _) if kind != Kind::Risk && was_lost() => (kind, Cause::Standing),
        (Some(State::Resolved), _) if kind != Kind::Risk => (Kind::Broken, Cause::ThisWrite),
        (Some(State::Unresolved(_)), Some(old)) if !is_referrer || old.asks_the_same(hop) => {
            let is_same_fault = old_state == Some(State::Unresolved(kind));
            (kind, if is_referrer || is_same_fault { Cause::Standing } else { Cause::OtherSide })
        }
        (Some(State::Undecided), Some(old)) if is_referrer && old.asks_the_same(hop) => (kind, Cause::Standing),
        _ if is_referrer => (kind, Cause::ThisWrite),
        _ => (kind, Cause::OtherSide),
    };
    let scene = Scene { before, after, write, kind, is_referrer };
    Some(Finding {
        rule: rule.id,
        kind,
        cause,
        is_softened: hop.is_softened(kind, before, after),
        object: ObjectName::from(meta),
        words: (check.explain)(hop, &scene),
    })
}

/// True if only pods of an earlier template still held the hop up: a rollout that hangs, or has not come that far.
fn was_lost_before(hop: &Hop<'_>, meta: &Meta, write: Write<'_>, before: &World<'_>) -> bool {
    let Some(old @ Facts::Workload(_)) = write.old else { return false };
    state_of(hop, &World::settled(before.snapshot(), meta, old)).0 != State::Resolved
}

/// A hop that resolved and that the write took out of its own object, or left although others keep it, where that is worth a word.
fn removal(hop: &Hop<'_>, write: Write<'_>, before: &World<'_>, after: &World<'_>) -> Option<Finding> {
    let meta = write.meta()?;
    let is_referrer = hop.referrer().is_same_object(meta);
    let is_broken = !is_referrer && state_of(hop, after).0 != State::Resolved;
    if is_broken || state_of(hop, before).0 != State::Resolved {
        return None;
    }
    let (rule, explain) = link_rules()
        .filter(|(_, check)| (check.state)(hop, before) == State::Resolved)
        .find_map(|(rule, check)| check.explain_removal.map(|explain| (rule, explain)))?;
    let scene = Scene { before, after, write, kind: Kind::Risk, is_referrer };
    Some(Finding {
        rule: rule.id,
        kind: Kind::Risk,
        cause: Cause::ThisWrite,
        is_softened: false,
        object: ObjectName::from(meta),
        words: explain(hop, &scene),
    })
}

/// The hops of an object and those of others that lead to it.
fn hops_around<'a>(facts: &'a Facts, world: &World<'a>) -> Vec<Hop<'a>> {
    match facts {
        Facts::Service(service) => {
            let users = world.ingresses_leading_to(&service.meta.namespace, &service.meta.name);
            let backends = users.flat_map(|ingress| {
                let leads_here = ingress.backends.iter().filter(|it| it.service == service.meta.name);
                leads_here.map(move |backend| Hop::Backend(ingress, backend))
            });
            service_hops(service).chain(backends).collect()
        }
        Facts::Ingress(ingress) => ingress_hops(ingress).collect(),
        Facts::Workload(_) => world.services_of_subject().into_iter().flat_map(service_hops).collect(),
        Facts::Namespace(_) | Facts::Node(_) | Facts::Other(_) => Vec::new(),
    }
}

fn service_hops(service: &Service) -> impl Iterator<Item = Hop<'_>> {
    let selector = service.selects_pods().then_some(Hop::Selector(service));
    let ports = service.ports.iter().filter(|_| service.selects_pods()).map(|port| Hop::Port(service, port));
    selector.into_iter().chain(ports)
}

fn ingress_hops(ingress: &Ingress) -> impl Iterator<Item = Hop<'_>> {
    ingress.backends.iter().map(|backend| Hop::Backend(ingress, backend))
}

/// Every link of a world that does not resolve, as if every object had just been written: for files and for a whole cluster.
#[must_use]
pub fn survey(world: &World<'_>) -> Vec<Finding> {
    let snapshot = world.snapshot();
    let services = snapshot.services().flat_map(service_hops);
    let hops = services.chain(snapshot.ingresses().flat_map(ingress_hops));
    hops.filter_map(|hop| {
        let (State::Unresolved(kind), Some((rule, check))) = state_of(&hop, world) else { return None };
        let write = Write { old: None, new: None };
        let scene = Scene { before: world, after: world, write, kind, is_referrer: true };
        Some(Finding {
            rule: rule.id,
            kind,
            cause: Cause::ThisWrite,
            is_softened: false,
            object: ObjectName::from(hop.referrer()),
            words: (check.explain)(&hop, &scene),
        })
    })
    .collect()
}
