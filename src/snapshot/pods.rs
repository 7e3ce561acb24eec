//! Pods and the templates that make them, found by selector through an inverted label index.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use crate::facts::{
    ContainerPort, Controller, Labels, Meta, Protocol, ReleaseOwners, Workload, WorkloadForm, is_runtime_key,
};

/// Pods that look the same to a Service: the template of a workload, or all live pods of one owner with the same labels and ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodSet {
    /// The workload that makes these pods, or the pod itself.
    pub workload: WorkloadId,
    /// Labels of each of the pods.
    pub labels: Arc<Labels>,
    /// Ports of each of the pods, in the order in which names are looked up.
    pub ports: Arc<[ContainerPort]>,
    /// Who releases the workload.
    pub release_owners: ReleaseOwners,
    /// True for pods that exist, false for the template of pods to come.
    pub is_live: bool,
}

/// A workload, within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId {
    /// `Deployment`.
    pub kind: SmolStr,
    /// Its name.
    pub name: SmolStr,
    /// `apps`. Other groups have kinds of these names too, such as the `StatefulSet` of `apps.kruise.io`.
    pub group: SmolStr,
}

impl WorkloadId {
    /// The object itself.
    #[must_use]
    pub fn of(meta: &Meta) -> Self {
        Self { kind: meta.kind.clone(), name: meta.name.clone(), group: SmolStr::new(meta.api_group()) }
    }
}

/// `Deployment "web"`.
impl std::fmt::Display for WorkloadId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} \"{}\"", self.kind, self.name)
    }
}

impl PodSet {
    /// `None` for a workload that makes no pods of its own: a `ReplicaSet` of a Deployment (an old revision is no forecast), one
    /// of another controller that is scaled to zero, a Pod that has ended, anything that is being deleted.
    #[must_use]
    pub fn of(workload: &Workload) -> Option<Self> {
        let meta = &workload.meta;
        if workload.is_finished || meta.deleting {
            return None;
        }
        let is_pod = workload.form == WorkloadForm::Pod;
        let (workload_id, is_live) = match &meta.controller {
            Some(controller) if is_pod => (owner_of_pods(controller, &workload.template.labels), true),
            Some(controller) if meta.kind == "ReplicaSet" => {
                if controller.kind == "Deployment" || workload.replicas == Some(0) {
                    return None;
                }
                // The controller itself is in no snapshot (an Argo Rollout): its ReplicaSets stand for the pods it has now.
                (controller.into(), true)
            }
            _ => (WorkloadId::of(meta), is_pod),
        };
        Some(Self {
            workload: workload_id,
            labels: Arc::clone(&workload.template.labels),
            ports: Arc::clone(&workload.template.ports),
            release_owners: meta.release_owners.clone(),
            is_live,
        })
    }

    /// The first port of that name and protocol (reference: rules K2).
    #[must_use]
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<&ContainerPort> {
        self.ports.iter().find(|it| it.name == name && it.protocol == protocol)
    }

    /// True if a Service with that selector sends traffic here. A template is compared without the labels that only pods get.
    #[must_use]
    pub fn is_selected_by(&self, selector: &Labels) -> bool {
        if self.is_live {
            return self.labels.satisfy(selector);
        }
        let mut lasting = selector.iter().filter(|(key, _)| !is_runtime_key(key)).peekable();
        lasting.peek().is_some() && lasting.all(|(key, value)| self.labels.get(key) == Some(value.as_str()))
    }

    /// What these live pods are replaced by when their template changes: the template's labels and ports give way to the new
    /// ones, what was added at run time (role labels, ports of injected sidecars) is added again.
    #[must_use]
    pub fn forecast(&self, old: &Self, new: &Self) -> Self {
        let is_of_template = |key: &str| old.labels.get(key).is_some() || new.labels.get(key).is_some();
        let kept = self.labels.iter().filter(|(key, _)| !is_of_template(key));
        let labels: Labels = kept.chain(new.labels.iter()).cloned().collect();
        let added = self.ports.iter().filter(|it| !old.ports.contains(it) && !new.ports.contains(it));
        let ports: Vec<ContainerPort> = new.ports.iter().chain(added).cloned().collect();
        Self { labels: Arc::new(labels), ports: ports.into(), ..self.clone() }
    }
}

/// The workload behind a pod's controller: pods of a Deployment and of an Argo Rollout belong to a `ReplicaSet` that is named
/// after it and the hash.
fn owner_of_pods(controller: &Controller, labels: &Labels) -> WorkloadId {
    let makers =
        [("pod-template-hash", "apps", "Deployment"), ("rollouts-pod-template-hash", "argoproj.io", "Rollout")];
    let maker = makers.into_iter().filter(|_| controller.kind == "ReplicaSet").find_map(|(key, group, kind)| {
        let name = controller.name.strip_suffix(labels.get(key)?)?.strip_suffix('-')?;
        let [group, kind] = [group, kind].map(SmolStr::new_static);
        Some(WorkloadId { kind, name: SmolStr::new(name), group })
    });
    maker.unwrap_or_else(|| controller.into())
}

impl From<&Controller> for WorkloadId {
    fn from(controller: &Controller) -> Self {
        let group = SmolStr::new(controller.api_group());
        Self { kind: controller.kind.clone(), name: controller.name.clone(), group }
    }
}

/// The pod sets of one namespace. An index, not a scan: a look-up costs the same with ten pods and with ten thousand
/// (reference: performance 5.3).
#[derive(Debug, Default)]
pub(super) struct PodIndex {
    /// Sorted, so that answers do not depend on the order in which objects arrived.
    sets: Vec<Arc<PodSet>>,
    /// Label to the sets that have it, ascending.
    by_label: FxHashMap<(SmolStr, SmolStr), Vec<u32>>,
    /// Workload to its template and its live pods, ascending.
    by_workload: FxHashMap<WorkloadId, Vec<u32>>,
}

impl PodIndex {
    pub(super) fn new(mut sets: Vec<Arc<PodSet>>) -> Self {
        sets.sort_unstable_by(|a, b| {
            (&a.workload, a.is_live, &a.labels, &a.ports).cmp(&(&b.workload, b.is_live, &b.labels, &b.ports))
        });
        let mut index = Self { sets, ..Self::default() };
        for (id, set) in (0_u32..).zip(&index.sets) {
            for label in set.labels.iter() {
                index.by_label.entry(label.clone()).or_default().push(id);
            }
            index.by_workload.entry(set.workload.clone()).or_default().push(id);
        }
        index
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PodSet> {
        self.sets.iter().map(|it| &**it)
    }

    fn get(&self, id: u32) -> &PodSet {
        &self.sets[id as usize]
    }

    pub(super) fn of_workload(&self, workload: &WorkloadId) -> impl Iterator<Item = &PodSet> {
        self.by_workload.get(workload).into_iter().flatten().map(|id| self.get(*id))
    }

    /// The sets that a Service with that selector sends traffic to.
    pub(super) fn selected_by<'a>(&'a self, selector: &'a Labels) -> impl Iterator<Item = &'a PodSet> {
        let lasting = selector.iter().filter(|(key, _)| !is_runtime_key(key));
        let rarest = |labels: &mut dyn Iterator<Item = &(SmolStr, SmolStr)>| {
            labels.map(|label| self.by_label.get(label).map_or(&[][..], |it| it)).min_by_key(|ids| ids.len())
        };
        let candidates = rarest(&mut { lasting }).or_else(|| rarest(&mut selector.iter())).unwrap_or_default();
        candidates.iter().map(|id| self.get(*id)).filter(|set| set.is_selected_by(selector))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, labels: &[(&str, &str)], ports: &[(&str, i64)], is_live: bool) -> PodSet {
        let port = |(name, number): &(&str, i64)| ContainerPort {
            name: SmolStr::new(name),
            number: *number,
            protocol: Protocol::Tcp,
        };
        PodSet {
            workload: WorkloadId {
                kind: SmolStr::new("Deployment"),
                name: SmolStr::new(name),
                group: SmolStr::new("apps"),
            },
            labels: Arc::new(labels.iter().copied().collect()),
            ports: ports.iter().map(port).collect(),
            release_owners: ReleaseOwners::default(),
            is_live,
        }
    }

    #[test]
    fn a_forecast_keeps_what_was_added_at_run_time() {
        let old = set("db", &[("app", "db"), ("tier", "a")], &[("sql", 5432)], false);
        let new = set("db", &[("app", "db"), ("tier", "b")], &[("pg", 5432)], false);
        let live =
            set("db", &[("app", "db"), ("tier", "a"), ("role", "primary")], &[("sql", 5432), ("mesh", 15090)], true);
        let next = live.forecast(&old, &new);
        assert_eq!(next.labels.to_string(), "app=db,role=primary,tier=b");
        assert_eq!(next.ports.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["pg", "mesh"]);
    }

    #[test]
    fn a_template_is_compared_without_labels_that_only_pods_get() {
        let template = set("db", &[("app", "db")], &[], false);
        let selector: Labels = [("app", "db"), ("statefulset.kubernetes.io/pod-name", "db-0")].into_iter().collect();
        assert!(template.is_selected_by(&selector));
        assert!(!set("db", &[("app", "db")], &[], true).is_selected_by(&selector));
        let only_runtime: Labels = [("statefulset.kubernetes.io/pod-name", "db-0")].into_iter().collect();
        assert!(!template.is_selected_by(&only_runtime));
    }

    #[test]
    fn pods_of_a_replica_set_belong_to_its_deployment() {
        let controller = |kind: &str, name: &str| Controller {
            api_version: SmolStr::new("apps/v1"),
            kind: SmolStr::new(kind),
            name: SmolStr::new(name),
        };
        let labels: Labels = [("pod-template-hash", "5d4f")].into_iter().collect();
        assert_eq!(owner_of_pods(&controller("ReplicaSet", "web-5d4f"), &labels).to_string(), "Deployment \"web\"");
        assert_eq!(owner_of_pods(&controller("ReplicaSet", "web-x"), &labels).to_string(), "ReplicaSet \"web-x\"");
        assert_eq!(owner_of_pods(&controller("StatefulSet", "db"), &labels).to_string(), "StatefulSet \"db\"");
        let labels: Labels = [("rollouts-pod-template-hash", "5d4f")].into_iter().collect();
        assert_eq!(owner_of_pods(&controller("ReplicaSet", "web-5d4f"), &labels).to_string(), "Rollout \"web\"");
    }
}
