//! Who an object is, who owns it and who releases it.

use std::sync::Arc;

use smol_str::{SmolStr, format_smolstr};

use super::{OwnAnnotations, wire};

/// Identity and ownership of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// `apps/v1`.
    pub api_version: SmolStr,
    /// `Deployment`.
    pub kind: SmolStr,
    /// Empty for cluster-scoped objects and where the text does not say.
    pub namespace: SmolStr,
    /// The name, or `generateName` while there is none.
    pub name: SmolStr,
    /// Who applies this object together with others.
    pub release_owners: ReleaseOwners,
    /// The owner reference that has `controller: true`.
    pub controller: Option<Controller>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// What the object says to no502.
    pub own: OwnAnnotations,
}

/// The controller that made an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Controller {
    /// `apps/v1`.
    pub api_version: SmolStr,
    /// `ReplicaSet`.
    pub kind: SmolStr,
    /// Its name.
    pub name: SmolStr,
}

impl Controller {
    /// True for a controller that is not part of Kubernetes itself: an operator and its custom resource.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        !matches!(self.api_group(), "" | "apps" | "batch" | "extensions")
    }

    /// `apps` of `apps/v1`; empty for core.
    #[must_use]
    pub fn api_group(&self) -> &str {
        api_group(&self.api_version)
    }
}

impl Meta {
    pub(super) fn read(object: &wire::Object<'_>) -> Self {
        let mut meta = Self {
            api_version: SmolStr::new(object.api_version.text()),
            kind: SmolStr::new(object.kind.text()),
            ..Self::default()
        };
        let Some(metadata) = &object.metadata.0 else { return meta };
        meta.namespace = SmolStr::new(metadata.namespace.text());
        let name = metadata.name.text();
        meta.name = SmolStr::new(if name.is_empty() { metadata.generate_name.text() } else { name });
        meta.deleting = metadata.deletion_timestamp.is_present();
        meta.own = OwnAnnotations::read(&metadata.annotations);
        meta.release_owners = ReleaseOwners::read(metadata, &meta.namespace);
        meta.controller = metadata.owner_references.0.iter().find(|it| it.controller.is_true()).map(|it| Controller {
            api_version: SmolStr::new(it.api_version.text()),
            kind: SmolStr::new(it.kind.text()),
            name: SmolStr::new(it.name.text()),
        });
        meta
    }

    /// `apps` of `apps/v1`; empty for core.
    #[must_use]
    pub fn api_group(&self) -> &str {
        api_group(&self.api_version)
    }

    /// True if both name the same object. Versions of one group are the same object.
    #[must_use]
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.name == other.name
            && self.namespace == other.namespace
            && self.kind == other.kind
            && self.api_group() == other.api_group()
    }
}

/// `Deployment "web"`.
impl std::fmt::Display for Meta {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} \"{}\"", self.kind, self.name)
    }
}

fn api_group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// The releases an object belongs to: Helm release, Argo CD application, Flux `Kustomization` or `HelmRelease`, ApplySet
/// (reference: rules 4.4). Two objects with one owner in common are applied by the same hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ReleaseOwners(Arc<[SmolStr]>);

impl ReleaseOwners {
    fn read(metadata: &wire::Metadata<'_>, namespace: &str) -> Self {
        let mut owners = Vec::new();
        let (labels, annotations) = (&metadata.labels, &metadata.annotations);
        if let Some(release) = annotations.text("meta.helm.sh/release-name") {
            let release_namespace = annotations.text("meta.helm.sh/release-namespace").unwrap_or(namespace);
            owners.push(format_smolstr!("helm:{release_namespace}/{release}"));
        }
        if let Some(tracking) = annotations.text("argocd.argoproj.io/tracking-id") {
            owners.push(format_smolstr!("argocd:{}", tracking.split(':').next().unwrap_or(tracking)));
        }
        if let Some(instance) = labels.text("app.kubernetes.io/instance").filter(|it| !it.is_empty()) {
            owners.push(format_smolstr!("instance:{instance}"));
        }
        for (kind, name_key, namespace_key) in [
            ("kustomization", "kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace"),
            ("helmrelease", "helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace"),
        ] {
            if let Some(name) = labels.text(name_key) {
                let namespace = labels.text(namespace_key).unwrap_or(namespace);
                owners.push(format_smolstr!("{kind}:{namespace}/{name}"));
            }
        }
        if let Some(set) = labels.text("applyset.kubernetes.io/part-of") {
            owners.push(format_smolstr!("applyset:{set}"));
        }
        Self(owners.into())
    }

    /// True without any owner.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if one hand applies both.
    #[must_use]
    pub fn share(&self, other: &Self) -> bool {
        self.0.iter().any(|owner| other.0.contains(owner))
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::Facts;

    fn owners(metadata: &str) -> super::ReleaseOwners {
        let json = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{metadata}}}"#);
        Facts::read(&json).unwrap().meta().release_owners.clone()
    }

    #[test]
    fn one_release_owns_both_sides() {
        let helm = owners(r#"{"namespace":"shop","annotations":{"meta.helm.sh/release-name":"web"}}"#);
        let same =
            owners(r#"{"annotations":{"meta.helm.sh/release-name":"web","meta.helm.sh/release-namespace":"shop"}}"#);
        let other = owners(r#"{"namespace":"shop","annotations":{"meta.helm.sh/release-name":"api"}}"#);
        assert!(helm.share(&same));
        assert!(!helm.share(&other));
        assert!(!owners("{}").share(&owners("{}")), "nobody is not an owner");
    }

    #[test]
    fn every_tool_of_the_reference_is_known() {
        for metadata in [
            r#"{"annotations":{"argocd.argoproj.io/tracking-id":"shop:apps/Deployment:shop/web"}}"#,
            r#"{"labels":{"app.kubernetes.io/instance":"web"}}"#,
            r#"{"labels":{"kustomize.toolkit.fluxcd.io/name":"web","kustomize.toolkit.fluxcd.io/namespace":"flux"}}"#,
            r#"{"labels":{"helm.toolkit.fluxcd.io/name":"web","helm.toolkit.fluxcd.io/namespace":"flux"}}"#,
            r#"{"labels":{"applyset.kubernetes.io/part-of":"applyset-x-v1"}}"#,
        ] {
            assert!(owners(metadata).share(&owners(metadata)), "{metadata}");
        }
    }
}
