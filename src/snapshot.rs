//! The immutable picture of the cluster that rules read: slim facts by namespace, indexed both ways (selector to pods, labels to
//! Services, Service to Ingresses). A [`Store`] takes the objects one by one and publishes snapshots that share what did not
//! change; a [`World`] is a snapshot with one write laid over it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod pods;
mod shard;
mod store;
mod world;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use self::{pods::PodIndex, shard::Shard};
pub use self::{
    pods::{PodSet, WorkloadId},
    store::Store,
    world::{Selection, World},
};
use crate::facts::{Ingress, Namespace, Service, Workload};

/// All facts of the cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    namespaces: FxHashMap<SmolStr, Arc<Shard>>,
    synced: Synced,
    versions: Versions,
}

/// The kinds of objects that a snapshot is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// core/v1 Services.
    Services,
    /// apps/v1 Deployments.
    Deployments,
    /// apps/v1 `StatefulSets`.
    StatefulSets,
    /// apps/v1 `DaemonSets`.
    DaemonSets,
    /// apps/v1 `ReplicaSets`.
    ReplicaSets,
    /// core/v1 Pods.
    Pods,
    /// networking.k8s.io/v1 Ingresses.
    Ingresses,
    /// Namespaces.
    Namespaces,
    /// Nodes.
    Nodes,
}

impl Resource {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Services,
        Self::Deployments,
        Self::StatefulSets,
        Self::DaemonSets,
        Self::ReplicaSets,
        Self::Pods,
        Self::Ingresses,
        Self::Namespaces,
        Self::Nodes,
    ];

    /// Kinds that say which pods there are or will be.
    pub const POD_SOURCES: [Self; 5] =
        [Self::Deployments, Self::StatefulSets, Self::DaemonSets, Self::ReplicaSets, Self::Pods];

    /// The plural name in the API, for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Deployments => "deployments",
            Self::StatefulSets => "statefulsets",
            Self::DaemonSets => "daemonsets",
            Self::ReplicaSets => "replicasets",
            Self::Pods => "pods",
            Self::Ingresses => "ingresses",
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
        }
    }
}

/// Which kinds have been read completely at least once. A rule that needs another one knows nothing and stays silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Synced(u16);

impl Synced {
    /// Every kind: a world of files is complete once it is read.
    #[must_use]
    pub fn all() -> Self {
        let mut synced = Self::default();
        for resource in Resource::ALL {
            synced.add(resource);
        }
        synced
    }

    fn add(&mut self, resource: Resource) {
        self.0 |= 1 << resource as u16;
    }

    fn remove(&mut self, resource: Resource) {
        self.0 &= !(1 << resource as u16);
    }

    /// True if `resource` has been read.
    #[must_use]
    pub fn has(self, resource: Resource) -> bool {
        self.0 & (1 << resource as u16) != 0
    }

    /// True if all of `resources` have been read.
    #[must_use]
    pub fn has_all(self, resources: &[Resource]) -> bool {
        resources.iter().all(|it| self.has(*it))
    }
}

/// Versions that decide whether the native sleep action works (reference: mutations 2.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    /// Minor version of the API server, once it is known.
    pub server_minor: Option<u32>,
    /// The oldest kubelet of the cluster; `None` without any node that reports a readable version.
    pub oldest_kubelet_minor: Option<u32>,
    /// The API server was seen to drop a sleep that a patch of ours had put in: its feature gate is off.
    pub sleep_is_dropped: bool,
}

/// Oldest minor version of the API server and of every kubelet with which the native sleep action works (reference: mutations 2.1).
pub const SLEEP_MINOR_MIN: u32 = 30;

/// From this minor version on the feature gate of the sleep action cannot be switched off (reference: mutations 2.1).
pub const SLEEP_GATE_LOCKED_MINOR: u32 = 34;

impl Snapshot {
    fn shard(&self, namespace: &str) -> Option<&Shard> {
        self.namespaces.get(namespace).map(|it| &**it)
    }

    /// The Service of that name.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.shard(namespace)?.services.get(name)
    }

    /// The Services that send traffic to the pods that a workload makes from its template, by name.
    #[must_use]
    pub fn services_for(&self, workload: &Workload) -> Vec<&Service> {
        let (Some(set), Some(shard)) = (PodSet::of(workload), self.shard(&workload.meta.namespace)) else {
            return Vec::new();
        };
        let mut services: Vec<&Service> = shard.services.selecting(&set).collect();
        services.sort_unstable_by(|a, b| a.meta.name.cmp(&b.meta.name));
        services
    }

    /// The Ingresses that lead to a Service, by name.
    pub fn ingresses_to(&self, namespace: &str, service: &str) -> impl Iterator<Item = &Ingress> {
        self.shard(namespace).into_iter().flat_map(move |it| it.ingresses.leading_to(service))
    }

    /// The Ingress of that name.
    #[must_use]
    pub fn ingress(&self, namespace: &str, name: &str) -> Option<&Ingress> {
        self.shard(namespace)?.ingresses.get(name)
    }

    /// The Namespace object.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.shard(name)?.namespace.as_deref()
    }

    /// True if any Namespace object is known: a folder of manifests often has none.
    #[must_use]
    pub fn has_namespaces(&self) -> bool {
        self.namespaces.values().any(|it| it.namespace.is_some())
    }

    /// Names of the namespaces that have a Service of that name, sorted.
    #[must_use]
    pub fn namespaces_with_service(&self, name: &str) -> Vec<&str> {
        let mut found: Vec<&str> = self
            .namespaces
            .iter()
            .filter(|(_, shard)| shard.services.get(name).is_some())
            .map(|(namespace, _)| namespace.as_str())
            .collect();
        found.sort_unstable();
        found
    }

    /// Every Service, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.sorted_shards().into_iter().flat_map(|shard| shard.services.iter())
    }

    /// Every Ingress, by namespace and name.
    pub fn ingresses(&self) -> impl Iterator<Item = &Ingress> {
        self.sorted_shards().into_iter().flat_map(|shard| shard.ingresses.iter())
    }

    /// Every Namespace object, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.sorted_shards().into_iter().filter_map(|shard| shard.namespace.as_deref())
    }

    /// The Deployments, StatefulSets and DaemonSets of the cluster, by namespace, kind and name.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.sorted_shards().into_iter().flat_map(|shard| shard.roots.values())
    }

    /// The Deployments, StatefulSets and DaemonSets of one namespace, by kind and name.
    pub fn workloads_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<Workload>> {
        self.shard(namespace).into_iter().flat_map(|shard| shard.roots.values())
    }

    /// The Services of one namespace, by name.
    pub fn services_in(&self, namespace: &str) -> impl Iterator<Item = &Service> {
        self.shard(namespace).into_iter().flat_map(|shard| shard.services.iter())
    }

    /// The Ingresses of one namespace, by name.
    pub fn ingresses_in(&self, namespace: &str) -> impl Iterator<Item = &Ingress> {
        self.shard(namespace).into_iter().flat_map(|shard| shard.ingresses.iter())
    }

    fn sorted_shards(&self) -> Vec<&Shard> {
        let mut shards: Vec<_> = self.namespaces.iter().collect();
        shards.sort_unstable_by_key(|(name, _)| *name);
        shards.into_iter().map(|(_, shard)| &**shard).collect()
    }

    fn pods(&self, namespace: &str) -> Option<&PodIndex> {
        self.shard(namespace).map(|it| &*it.pods)
    }

    /// Which kinds have been read.
    #[must_use]
    pub fn synced(&self) -> Synced {
        self.synced
    }

    /// Server and kubelet versions.
    #[must_use]
    pub fn versions(&self) -> Versions {
        self.versions
    }
}
