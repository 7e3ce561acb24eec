//! One namespace of a snapshot: its objects, and the indexes by which they are found.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::{PodSet, WorkloadId, pods::PodIndex};
use crate::facts::{Ingress, Namespace, Service, Workload, is_runtime_key};

/// One namespace of a snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct Shard {
    pub(super) namespace: Option<Arc<Namespace>>,
    pub(super) services: Arc<ServiceIndex>,
    pub(super) ingresses: Arc<IngressIndex>,
    pub(super) pods: Arc<PodIndex>,
    pub(super) roots: Arc<BTreeMap<WorkloadId, Arc<Workload>>>,
}

/// The Services of one namespace.
#[derive(Debug, Default)]
pub(super) struct ServiceIndex {
    by_name: BTreeMap<SmolStr, Arc<Service>>,
    /// One label of each selector to the Services that need it: a template looks up its own labels and nothing else.
    by_label: FxHashMap<(SmolStr, SmolStr), Vec<Arc<Service>>>,
}

impl ServiceIndex {
    pub(super) fn new(by_name: &BTreeMap<SmolStr, Arc<Service>>) -> Self {
        let mut by_label: FxHashMap<_, Vec<_>> = FxHashMap::default();
        for service in by_name.values() {
            let lasting = service.selector.iter().find(|(key, _)| !is_runtime_key(key));
            if let Some(label) = lasting.or_else(|| service.selector.iter().next()) {
                by_label.entry(label.clone()).or_default().push(Arc::clone(service));
            }
        }
        Self { by_name: by_name.clone(), by_label }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Service> {
        self.by_name.get(name).map(|it| &**it)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.by_name.values().map(|it| &**it)
    }

    /// The Services that select pods with the labels of `set`, in no order.
    pub(super) fn selecting<'a>(&'a self, set: &PodSet) -> impl Iterator<Item = &'a Service> {
        let candidates = set.labels.iter().filter_map(|label| self.by_label.get(label)).flatten();
        candidates.map(|it| &**it).filter(|service| set.is_selected_by(&service.selector))
    }
}

/// The Ingresses of one namespace.
#[derive(Debug, Default)]
pub(super) struct IngressIndex {
    by_name: BTreeMap<SmolStr, Arc<Ingress>>,
    by_service: FxHashMap<SmolStr, Vec<Arc<Ingress>>>,
}

impl IngressIndex {
    pub(super) fn new(by_name: &BTreeMap<SmolStr, Arc<Ingress>>) -> Self {
        let mut by_service: FxHashMap<SmolStr, Vec<Arc<Ingress>>> = FxHashMap::default();
        for ingress in by_name.values() {
            for backend in &ingress.backends {
                let users = by_service.entry(backend.service.clone()).or_default();
                if !users.last().is_some_and(|last| Arc::ptr_eq(last, ingress)) {
                    users.push(Arc::clone(ingress));
                }
            }
        }
        Self { by_name: by_name.clone(), by_service }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Ingress> {
        self.by_name.get(name).map(|it| &**it)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Ingress> {
        self.by_name.values().map(|it| &**it)
    }

    /// The Ingresses that lead to the Service, by name.
    pub(super) fn leading_to(&self, service: &str) -> impl Iterator<Item = &Ingress> {
        self.by_service.get(service).into_iter().flatten().map(|it| &**it)
    }
}
