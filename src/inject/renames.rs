//! Containers that get another name. The marker knows them by name, and what is ours in them should stay ours.

use super::marker::Marker;
use crate::facts::{Container, ContainerKind, Workload};

impl Marker {
    /// A container that gets another name in place, and nothing else, keeps what is ours.
    pub(super) fn follow_renames(&mut self, old: &Workload, new: &Workload) {
        let (before, after) = (&old.template.containers, &new.template.containers);
        for container in after.iter().filter(|it| !before.iter().any(|old| old.name == it.name)) {
            let same_place = before.iter().find(|it| (it.kind, it.index) == (container.kind, container.index));
            let is_same = |it: &&Container| Container { name: container.name.clone(), ..(*it).clone() } == *container;
            let renamed = same_place.filter(|it| !after.iter().any(|new| new.name == it.name)).filter(is_same);
            if let Some(injected) = renamed.and_then(|it| self.containers.remove(&it.name)) {
                self.containers.insert(container.name.clone(), injected);
            }
        }
    }
}

/// The annotation's text where containers have got another name since: an entry of a container that is not there belongs to the one
/// container without an entry that has exactly what the entry says. `None` if there is nothing of the kind.
///
/// For files, of which nobody knows how they were before.
#[must_use]
pub fn marker_after_renames(workload: &Workload) -> Option<String> {
    let mut marker = Marker::of(workload);
    let containers = &workload.template.containers;
    let orphans: Vec<_> =
        marker.containers.keys().filter(|it| !containers.iter().any(|other| other.name == **it)).cloned().collect();
    let mut is_changed = false;
    for orphan in orphans {
        let Some(injected) = marker.get(&orphan).cloned() else { continue };
        let mut fitting = containers.iter().filter(|container| {
            let entry = Marker { containers: [(container.name.clone(), injected.clone())].into(), ..Marker::default() };
            container.kind == ContainerKind::Regular
                && marker.get(&container.name).is_none()
                && (injected.pre_stop.is_none() || entry.own_sleep(container).is_some())
                && (injected.readiness.is_none() || entry.own_probe(container).is_some())
        });
        if let (Some(renamed), None) = (fitting.next(), fitting.next()) {
            let name = renamed.name.clone();
            marker.containers.remove(&orphan);
            marker.containers.insert(name, injected);
            is_changed = true;
        }
    }
    is_changed.then(|| marker.to_string())
}
