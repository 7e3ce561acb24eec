//! Our annotation in a file: what the core does to it for the API server is not all that a text needs.

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, jsonptr::PointerBuf};

use crate::{
    facts::{Facts, Workload},
    inject::{MARKER, marker_after_renames},
    manifest::Document,
    patch::escape,
};

/// A workload whose annotation names its containers as they are called now.
#[derive(Debug)]
pub struct Renamed {
    /// The workload with that annotation.
    pub workload: Workload,
    /// The annotation's text.
    marker: String,
}

impl Renamed {
    /// `None` if no container has got another name.
    #[must_use]
    pub fn of(workload: &Workload, document: &Document) -> Option<Self> {
        let marker = marker_after_renames(workload)?;
        let mut object: serde_json::Value = serde_json::from_str(document.json()).ok()?;
        *object.pointer_mut(&annotation(workload))? = marker.clone().into();
        let Ok(Facts::Workload(mut renamed)) = Facts::read(&object.to_string()) else { return None };
        renamed.meta = workload.meta.clone();
        Some(Self { workload: renamed, marker })
    }

    /// The patch, which at least writes the new names.
    #[must_use]
    pub fn noted(&self, planned: Option<Patch>) -> Option<Patch> {
        let place = annotation(&self.workload);
        let mut patch = planned.unwrap_or_default();
        if !patch.0.iter().any(|it| it.path().as_str() == place) {
            let pointer = PointerBuf::parse(place).ok()?;
            patch.0.push(PatchOperation::Add(AddOperation { path: pointer, value: self.marker.clone().into() }));
        }
        Some(patch)
    }
}

/// Where the annotation stands in the object.
fn annotation(workload: &Workload) -> String {
    workload.pointer(&format!("/metadata/annotations/{}", escape(MARKER)))
}

/// True if the patch takes the annotation out.
fn removes(operation: &PatchOperation, annotation: &str) -> bool {
    matches!(operation, PatchOperation::Remove(it) if it.path.as_str() == annotation)
}

/// An annotation that goes takes the map with it that it leaves empty.
#[must_use]
pub fn without_empty_map(mut patch: Patch, workload: &Workload) -> Patch {
    let annotation = annotation(workload);
    if workload.template.has_other_annotations {
        return patch;
    }
    for operation in patch.0.iter_mut().filter(|it| removes(it, &annotation)) {
        if let Ok(path) = PointerBuf::parse(workload.pointer("/metadata/annotations")) {
            *operation = PatchOperation::Remove(RemoveOperation { path });
        }
    }
    patch
}

/// What to say of a patch that only puts our annotation right.
#[must_use]
pub fn tidied(patch: &Patch, workload: &Workload, is_renamed: bool) -> String {
    let annotations = workload.pointer("/metadata/annotations");
    let is_gone = patch.0.iter().any(|it| removes(it, &annotations) || removes(it, &annotation(workload)));
    if is_renamed {
        format!("noted in {MARKER} that a container has another name")
    } else if is_gone {
        format!("took out the annotation {MARKER}: what it names is not there any more")
    } else {
        format!("rewrote the annotation {MARKER}: something that it named is not there any more")
    }
}
