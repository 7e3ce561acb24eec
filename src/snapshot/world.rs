//! A snapshot as it is before or after one write: the same queries, with the written object laid over it.

use super::{PodSet, Resource, Snapshot, WorkloadId, pods::PodIndex};
use crate::facts::{Facts, Ingress, Labels, Meta, Service, is_runtime_key};

/// The cluster with one object replaced, added or taken away.
#[derive(Debug)]
pub struct World<'a> {
    snapshot: &'a Snapshot,
    /// The object whose snapshot state does not count.
    subject: Option<&'a Meta>,
    /// Its state in this world; `None` where it does not exist.
    state: Option<&'a Facts>,
    /// The pods of a written workload in this world.
    pods: Option<OverlaidPods>,
}

/// What the pods of the written workload look like, instead of what the snapshot says.
#[derive(Debug)]
struct OverlaidPods {
    workload: WorkloadId,
    /// Live pods of the snapshot that still count: all of them where the template is as it was.
    keeps_live: bool,
    sets: Vec<PodSet>,
}

/// The pods and templates that a selector finds.
#[derive(Debug)]
pub struct Selection<'a> {
    /// What is selected, in a fixed order.
    pub sets: Vec<&'a PodSet>,
    /// The selector has nothing but labels that only live pods get, so that templates say nothing about it.
    pub is_unknowable: bool,
}

impl<'a> World<'a> {
    /// The cluster as the snapshot has it.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, subject: None, state: None, pods: None }
    }

    /// The cluster before a write: `old` is the object then, `None` if it did not exist.
    #[must_use]
    pub fn before(snapshot: &'a Snapshot, subject: &'a Meta, old: Option<&'a Facts>) -> Self {
        let pods =
            pods_of(old).map(|set| OverlaidPods { workload: set.workload.clone(), keeps_live: true, sets: vec![set] });
        Self { snapshot, subject: Some(subject), state: old, pods: pods.or_else(|| no_pods(subject, true)) }
    }

    /// The cluster once a write has taken full effect: after the rollout, where it starts one. `new` is `None` for a deletion.
    #[must_use]
    pub fn after(snapshot: &'a Snapshot, subject: &'a Meta, old: Option<&'a Facts>, new: Option<&'a Facts>) -> Self {
        let pods = match (pods_of(old), pods_of(new)) {
            (Some(old), Some(new)) if old.labels != new.labels || old.ports != new.ports => {
                let live = snapshot.pods(&subject.namespace).into_iter().flat_map(|it| it.of_workload(&new.workload));
                let mut sets: Vec<PodSet> =
                    live.filter(|set| set.is_live).map(|set| set.forecast(&old, &new)).collect();
                let workload = new.workload.clone();
                sets.push(new);
                Some(OverlaidPods { workload, keeps_live: false, sets })
            }
            (_, Some(new)) => Some(OverlaidPods { workload: new.workload.clone(), keeps_live: true, sets: vec![new] }),
            (_, None) => no_pods(subject, false),
        };
        Self { snapshot, subject: Some(subject), state: new, pods }
    }

    /// The cluster before a write to a workload, once the rollout of the template that it has by then is complete. A link that does not
    /// resolve here was lost by an earlier write, whatever pods of an earlier template still hold it up.
    #[must_use]
    pub fn settled(snapshot: &'a Snapshot, subject: &'a Meta, old: &'a Facts) -> Self {
        let pods = pods_of(Some(old)).map(|old| {
            let live = snapshot.pods(&subject.namespace).into_iter().flat_map(|it| it.of_workload(&old.workload));
            let mut sets: Vec<PodSet> = live.filter(|set| set.is_live).map(|set| set.forecast(&old, &old)).collect();
            let workload = old.workload.clone();
            sets.push(old);
            OverlaidPods { workload, keeps_live: false, sets }
        });
        Self { snapshot, subject: Some(subject), state: Some(old), pods: pods.or_else(|| no_pods(subject, true)) }
    }

    /// The picture below.
    #[must_use]
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    fn is_subject(&self, meta: &Meta) -> bool {
        self.subject.is_some_and(|subject| subject.is_same_object(meta))
    }

    /// The Service of that name.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&'a Service> {
        if let Some(subject) = self.subject
            && subject.kind == "Service"
            && subject.api_group().is_empty()
            && subject.namespace == namespace
            && subject.name == name
        {
            return match self.state {
                Some(Facts::Service(service)) => Some(service),
                _ => None,
            };
        }
        self.snapshot.service(namespace, name)
    }

    /// What a selector finds in a namespace.
    #[must_use]
    pub fn selection<'b>(&'b self, namespace: &str, selector: &'b Labels) -> Selection<'b> {
        let known = self.snapshot.pods(namespace).into_iter().flat_map(|index| index.selected_by(selector));
        let mut sets: Vec<&PodSet> = known.filter(|set| !self.is_hidden(namespace, set)).collect();
        if let Some(overlay) = self.overlay(namespace) {
            sets.extend(overlay.sets.iter().filter(|set| set.is_selected_by(selector)));
            sets.sort_by(|a, b| (&a.workload, a.is_live).cmp(&(&b.workload, b.is_live)));
        }
        Selection { sets, is_unknowable: selector.iter().all(|(key, _)| is_runtime_key(key)) }
    }

    /// Every pod and template of a namespace, for "did you mean".
    pub fn pod_sets<'b>(&'b self, namespace: &'b str) -> impl Iterator<Item = &'b PodSet> {
        let known = self.snapshot.pods(namespace).into_iter().flat_map(PodIndex::iter);
        let own = self.overlay(namespace).into_iter().flat_map(|it| &it.sets);
        known.filter(|set| !self.is_hidden(namespace, set)).chain(own)
    }

    /// The Services that send traffic to the pods of the written workload in this world.
    #[must_use]
    pub fn services_of_subject(&self) -> Vec<&'a Service> {
        let (Some(subject), Some(overlay)) = (self.subject, &self.pods) else { return Vec::new() };
        let Some(shard) = self.snapshot.shard(&subject.namespace) else { return Vec::new() };
        let live = shard.pods.of_workload(&overlay.workload).filter(|set| set.is_live && overlay.keeps_live);
        let mut services: Vec<&Service> =
            overlay.sets.iter().chain(live).flat_map(|set| shard.services.selecting(set)).collect();
        services.sort_unstable_by(|a, b| a.meta.name.cmp(&b.meta.name));
        services.dedup_by(|a, b| a.meta.name == b.meta.name);
        services
    }

    /// The Ingresses of the snapshot that lead to a Service, by name.
    pub fn ingresses_leading_to(&self, namespace: &str, service: &'a str) -> impl Iterator<Item = &'a Ingress> {
        let known = self.snapshot.shard(namespace).into_iter().flat_map(move |it| it.ingresses.leading_to(service));
        known.filter(|ingress| !self.is_subject(&ingress.meta))
    }

    /// True if the snapshot knows every object of these kinds.
    #[must_use]
    pub fn knows(&self, resources: &[Resource]) -> bool {
        self.snapshot.synced.has_all(resources)
    }

    fn overlay(&self, namespace: &str) -> Option<&OverlaidPods> {
        self.pods.as_ref().filter(|_| self.subject.is_some_and(|it| it.namespace == namespace))
    }

    fn is_hidden(&self, namespace: &str, set: &PodSet) -> bool {
        self.overlay(namespace).is_some_and(|it| {
            set.workload == it.workload && !(set.is_live && it.keeps_live && set.workload.kind != "Pod")
        })
    }
}

fn pods_of(facts: Option<&Facts>) -> Option<PodSet> {
    match facts? {
        Facts::Workload(workload) => PodSet::of(workload),
        _ => None,
    }
}

/// The written object makes no pods in this world; if it is a workload, what the snapshot says of it does not count either.
fn no_pods(subject: &Meta, keeps_live: bool) -> Option<OverlaidPods> {
    let workload = WorkloadId::of(subject);
    let is_workload = !matches!(subject.kind.as_str(), "Service" | "Ingress" | "Namespace" | "Node");
    is_workload.then(|| OverlaidPods { workload, keeps_live, sets: Vec::new() })
}
