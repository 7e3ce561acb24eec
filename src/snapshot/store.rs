//! Where objects arrive: the mutable side of the snapshot. Only what changed since the last snapshot is indexed again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};
use smol_str::SmolStr;

use super::{
    PodSet, Resource, Snapshot, Synced, WorkloadId,
    pods::PodIndex,
    shard::{IngressIndex, ServiceIndex, Shard},
};
use crate::{
    facts::{ContainerPort, Facts, Ingress, Labels, Namespace, Service, Workload, WorkloadForm},
    listing::Listing,
};

/// The objects of one namespace as they arrived.
#[derive(Debug, Default)]
struct NamespaceStore {
    namespace: Option<Arc<Namespace>>,
    services: BTreeMap<SmolStr, Arc<Service>>,
    ingresses: BTreeMap<SmolStr, Arc<Ingress>>,
    /// Deployments, StatefulSets and DaemonSets as a whole: what a change of policy means for them.
    roots: BTreeMap<WorkloadId, Arc<Workload>>,
    /// Templates.
    workloads: FxHashMap<WorkloadId, Arc<PodSet>>,
    /// Live pods by name; equal ones share one set.
    pods: FxHashMap<SmolStr, Arc<PodSet>>,
    pod_sets: FxHashSet<Arc<PodSet>>,
    changed: Changed,
}

#[expect(clippy::struct_excessive_bools, reason = "five parts of a shard, each indexed on its own")]
#[derive(Debug, Clone, Copy, Default)]
struct Changed {
    namespace: bool,
    services: bool,
    ingresses: bool,
    pods: bool,
    roots: bool,
}

/// Takes objects, gives snapshots.
#[derive(Debug, Default)]
pub struct Store {
    namespaces: BTreeMap<SmolStr, NamespaceStore>,
    nodes: FxHashMap<SmolStr, Option<u32>>,
    /// Label sets and port lists, each kept once (reference: performance 5.2).
    label_sets: Shared<Labels>,
    port_lists: Shared<[ContainerPort]>,
    /// The lists that have not ended.
    listing: FxHashMap<Resource, Listing<(SmolStr, SmolStr)>>,
    changed: BTreeSet<SmolStr>,
    /// Kinds that have been read completely at least once.
    listed: Synced,
    published: Snapshot,
}

impl Store {
    /// A store that counts as complete from the start: the world is what is put in.
    #[must_use]
    pub fn complete() -> Self {
        let mut store = Self::default();
        store.published.synced = Synced::all();
        store
    }

    /// The API server's minor version.
    pub fn set_server_minor(&mut self, minor: Option<u32>) {
        self.published.versions.server_minor = minor;
    }

    /// The API server dropped a sleep that was injected, so that none is injected any more; or it is time to try again.
    pub fn set_sleep_is_dropped(&mut self, is_dropped: bool) {
        self.published.versions.sleep_is_dropped = is_dropped;
    }

    /// What is known of `resource` is too old to refuse anything by (false), or in order again (true). A kind that was never
    /// read stays unread.
    pub fn set_fresh(&mut self, resource: Resource, is_fresh: bool) {
        if !is_fresh {
            self.published.synced.remove(resource);
        } else if self.listed.has(resource) {
            self.published.synced.add(resource);
        }
    }

    /// Adds or replaces an object.
    pub fn apply(&mut self, facts: Facts) {
        if let Some(resource) = resource_of(&facts)
            && let Some(listing) = self.listing.get_mut(&resource)
        {
            listing.see(key(&facts));
        }
        match facts {
            Facts::Node(node) => {
                self.nodes.insert(node.meta.name, node.kubelet_minor);
            }
            Facts::Namespace(namespace) => {
                let name = namespace.meta.name.clone();
                let (shard, _) = self.shard(&name);
                if shard.namespace.as_deref() != Some(&namespace) {
                    shard.namespace = Some(Arc::new(namespace));
                    shard.changed.namespace = true;
                    self.changed.insert(name);
                }
            }
            Facts::Service(service) => {
                let (namespace, name) = (service.meta.namespace.clone(), service.meta.name.clone());
                let (shard, _) = self.shard(&namespace);
                if shard.services.get(&name).is_none_or(|known| **known != service) {
                    shard.services.insert(name, Arc::new(service));
                    shard.changed.services = true;
                    self.changed.insert(namespace);
                }
            }
            Facts::Ingress(ingress) => {
                let (namespace, name) = (ingress.meta.namespace.clone(), ingress.meta.name.clone());
                let (shard, _) = self.shard(&namespace);
                if shard.ingresses.get(&name).is_none_or(|known| **known != ingress) {
                    shard.ingresses.insert(name, Arc::new(ingress));
                    shard.changed.ingresses = true;
                    self.changed.insert(namespace);
                }
            }
            Facts::Workload(workload) => {
                let (namespace, id) = (workload.meta.namespace.clone(), WorkloadId::of(&workload.meta));
                match PodSet::of(&workload) {
                    Some(set) => self.apply_pods(&namespace, id.clone(), workload.form, set),
                    None => self.remove_pods(&namespace, &id),
                }
                if is_root(&id) {
                    self.apply_root(&namespace, id, workload);
                }
            }
            Facts::Other(_) => {}
        }
    }

    fn apply_pods(&mut self, namespace: &SmolStr, id: WorkloadId, form: WorkloadForm, mut set: PodSet) {
        set.labels = self.label_sets.share(set.labels);
        set.ports = self.port_lists.share(set.ports);
        let (shard, changed) = self.shard(namespace);
        let has_changed = if form == WorkloadForm::Pod {
            let known = shard.pods.get(&id.name);
            if known.is_some_and(|it| **it == set) {
                false
            } else {
                let set = shared(&mut shard.pod_sets, Arc::new(set));
                shard.pods.insert(id.name, set);
                true
            }
        } else {
            let differs = shard.workloads.get(&id).is_none_or(|known| **known != set);
            if differs {
                shard.workloads.insert(id, Arc::new(set));
            }
            differs
        };
        if has_changed {
            shard.changed.pods = true;
            changed.insert(namespace.clone());
        }
    }

    fn apply_root(&mut self, namespace: &SmolStr, id: WorkloadId, mut workload: Workload) {
        if let Some(template) = Arc::get_mut(&mut workload.template) {
            template.labels = self.label_sets.share(Arc::clone(&template.labels));
            template.ports = self.port_lists.share(Arc::clone(&template.ports));
        }
        let (shard, changed) = self.shard(namespace);
        if shard.roots.get(&id).is_none_or(|known| **known != workload) {
            shard.roots.insert(id, Arc::new(workload));
            shard.changed.roots = true;
            changed.insert(namespace.clone());
        }
    }

    fn remove_pods(&mut self, namespace: &SmolStr, id: &WorkloadId) {
        let Some(shard) = self.namespaces.get_mut(namespace) else { return };
        let was_there = if id.kind == "Pod" && id.group.is_empty() {
            shard.pods.remove(&id.name).is_some()
        } else {
            shard.workloads.remove(id).is_some()
        };
        let was_root = shard.roots.remove(id).is_some();
        shard.changed.pods |= was_there;
        shard.changed.roots |= was_root;
        if was_there || was_root {
            self.changed.insert(namespace.clone());
        }
    }

    /// Takes an object out.
    pub fn remove(&mut self, resource: Resource, namespace: &str, name: &str) {
        let (namespace, name) = (SmolStr::new(namespace), SmolStr::new(name));
        if let Some(listing) = self.listing.get_mut(&resource) {
            listing.forget(&(namespace.clone(), name.clone()));
        }
        match resource {
            Resource::Nodes => {
                self.nodes.remove(&name);
            }
            Resource::Namespaces => {
                let Some(shard) = self.namespaces.get_mut(&name) else { return };
                shard.namespace = None;
                shard.changed.namespace = true;
                self.changed.insert(name);
            }
            Resource::Services => {
                let Some(shard) = self.namespaces.get_mut(&namespace) else { return };
                shard.changed.services |= shard.services.remove(&name).is_some();
                self.changed.insert(namespace);
            }
            Resource::Ingresses => {
                let Some(shard) = self.namespaces.get_mut(&namespace) else { return };
                shard.changed.ingresses |= shard.ingresses.remove(&name).is_some();
                self.changed.insert(namespace);
            }
            Resource::Pods
            | Resource::Deployments
            | Resource::StatefulSets
            | Resource::DaemonSets
            | Resource::ReplicaSets => {
                let Some((group, kind)) = pod_source(resource) else { return };
                let [group, kind] = [group, kind].map(SmolStr::new_static);
                self.remove_pods(&namespace, &WorkloadId { kind, name, group });
            }
        }
    }

    /// A full list of `resource` begins. What was known stays in force until [`Self::finish_list`].
    pub fn start_list(&mut self, resource: Resource) {
        self.listing.entry(resource).or_default().start();
    }

    /// A full list of `resource` is complete: what it did not name is gone.
    pub fn finish_list(&mut self, resource: Resource) {
        let mut listing = self.listing.remove(&resource).unwrap_or_default();
        for (namespace, name) in listing.finish(&self.names(resource)) {
            self.remove(resource, &namespace, &name);
        }
        self.listed.add(resource);
        self.published.synced.add(resource);
    }

    fn names(&self, resource: Resource) -> Vec<(SmolStr, SmolStr)> {
        if resource == Resource::Nodes {
            return self.nodes.keys().map(|name| (SmolStr::default(), name.clone())).collect();
        }
        let mut names = Vec::new();
        for (namespace, shard) in &self.namespaces {
            let mut add = |name: &SmolStr| names.push((namespace.clone(), name.clone()));
            match resource {
                Resource::Namespaces if shard.namespace.is_some() => {
                    names.push((SmolStr::default(), namespace.clone()));
                }
                Resource::Namespaces | Resource::Nodes => {}
                Resource::Services => shard.services.keys().for_each(add),
                Resource::Ingresses => shard.ingresses.keys().for_each(add),
                Resource::Pods => shard.pods.keys().for_each(add),
                Resource::Deployments | Resource::StatefulSets | Resource::DaemonSets | Resource::ReplicaSets => {
                    let Some((group, kind)) = pod_source(resource) else { continue };
                    // A workload that is being deleted makes no pods any more.
                    let known = shard.workloads.keys().chain(shard.roots.keys());
                    let listed = known.filter(|id| id.group == group && id.kind == kind);
                    listed.for_each(|id| add(&id.name));
                }
            }
        }
        names
    }

    /// The picture of this moment. Costs what changed since the last one.
    pub fn snapshot(&mut self) -> Snapshot {
        for name in std::mem::take(&mut self.changed) {
            let Some(store) = self.namespaces.get_mut(&name) else { continue };
            if store.is_empty() {
                self.namespaces.remove(&name);
                self.published.namespaces.remove(&name);
                continue;
            }
            let known = self.published.namespaces.get(&name).map(|it| Shard::clone(it)).unwrap_or_default();
            self.published.namespaces.insert(name, Arc::new(store.publish(known)));
        }
        self.published.versions.oldest_kubelet_minor = self.nodes.values().flatten().min().copied();
        self.published.clone()
    }

    fn shard(&mut self, namespace: &SmolStr) -> (&mut NamespaceStore, &mut BTreeSet<SmolStr>) {
        (self.namespaces.entry(namespace.clone()).or_default(), &mut self.changed)
    }
}

impl NamespaceStore {
    fn is_empty(&self) -> bool {
        self.namespace.is_none()
            && self.services.is_empty()
            && self.ingresses.is_empty()
            && self.roots.is_empty()
            && self.workloads.is_empty()
            && self.pods.is_empty()
    }

    fn publish(&mut self, mut shard: Shard) -> Shard {
        let changed = std::mem::take(&mut self.changed);
        if changed.namespace {
            shard.namespace.clone_from(&self.namespace);
        }
        if changed.services {
            shard.services = Arc::new(ServiceIndex::new(&self.services));
        }
        if changed.ingresses {
            shard.ingresses = Arc::new(IngressIndex::new(&self.ingresses));
        }
        if changed.roots {
            shard.roots = Arc::new(self.roots.clone());
        }
        if changed.pods {
            let used: FxHashSet<_> = self.pods.values().map(Arc::as_ptr).collect();
            self.pod_sets.retain(|it| used.contains(&Arc::as_ptr(it)));
            shard.pods = Arc::new(PodIndex::new(self.workloads.values().chain(&self.pod_sets).cloned().collect()));
        }
        shard
    }
}

/// Values of which there are many equal ones, each kept once for as long as somebody uses it.
#[derive(Debug)]
struct Shared<T: ?Sized> {
    known: FxHashSet<Arc<T>>,
    /// Number of values at which those that nobody uses are thrown out. Pods come and go for ever, each with labels of its own.
    sweep_at: usize,
}

/// Fewer values are not worth a sweep.
const SWEEP_VALUES_MIN: usize = 1_024;

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self { known: FxHashSet::default(), sweep_at: SWEEP_VALUES_MIN }
    }
}

impl<T: ?Sized + Eq + std::hash::Hash> Shared<T> {
    fn share(&mut self, value: Arc<T>) -> Arc<T> {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|it| Arc::strong_count(it) > 1);
            self.sweep_at = SWEEP_VALUES_MIN.max(2 * self.known.len());
        }
        shared(&mut self.known, value)
    }
}

/// The one value equal to `value` that everybody shares.
fn shared<T: ?Sized + Eq + std::hash::Hash>(known: &mut FxHashSet<Arc<T>>, value: Arc<T>) -> Arc<T> {
    if let Some(found) = known.get(&value) {
        return Arc::clone(found);
    }
    known.insert(Arc::clone(&value));
    value
}

fn key(facts: &Facts) -> (SmolStr, SmolStr) {
    let meta = facts.meta();
    (meta.namespace.clone(), meta.name.clone())
}

/// The list an object comes in; `None` for kinds that are only met in files.
fn resource_of(facts: &Facts) -> Option<Resource> {
    match facts {
        Facts::Service(_) => Some(Resource::Services),
        Facts::Ingress(_) => Some(Resource::Ingresses),
        Facts::Namespace(_) => Some(Resource::Namespaces),
        Facts::Node(_) => Some(Resource::Nodes),
        Facts::Other(_) => None,
        Facts::Workload(workload) => Resource::POD_SOURCES.into_iter().find(|it| {
            let meta = &workload.meta;
            pod_source(*it).is_some_and(|(group, kind)| meta.api_group() == group && meta.kind == kind)
        }),
    }
}

/// True for the objects that people write to have pods.
fn is_root(id: &WorkloadId) -> bool {
    let roots = [Resource::Deployments, Resource::StatefulSets, Resource::DaemonSets];
    roots.into_iter().any(|it| pod_source(it) == Some((id.group.as_str(), id.kind.as_str())))
}

/// Group and kind of the objects that make pods, or are pods.
fn pod_source(resource: Resource) -> Option<(&'static str, &'static str)> {
    match resource {
        Resource::Deployments => Some(("apps", "Deployment")),
        Resource::StatefulSets => Some(("apps", "StatefulSet")),
        Resource::DaemonSets => Some(("apps", "DaemonSet")),
        Resource::ReplicaSets => Some(("apps", "ReplicaSet")),
        Resource::Pods => Some(("", "Pod")),
        Resource::Services | Resource::Ingresses | Resource::Namespaces | Resource::Nodes => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Facts {
        Facts::read(&format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"shop","labels":{{"uid":"{name}"}}}},
                "spec":{{"containers":[{{"name":"c"}}]}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn labels_of_pods_that_are_gone_are_not_kept() {
        let mut store = Store::default();
        for index in 0..10 * SWEEP_VALUES_MIN {
            let name = format!("pod-{index}");
            store.apply(pod(&name));
            store.remove(Resource::Pods, "shop", &name);
            store.snapshot();
        }
        assert!(store.label_sets.known.len() <= SWEEP_VALUES_MIN, "{}", store.label_sets.known.len());
        assert!(store.namespaces.is_empty());
    }
}
