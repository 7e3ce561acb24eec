//! The kinds of workloads that users can name, and how the API calls them.

use kube::api::{ApiResource, GroupVersionKind};

use crate::policy::TemplateKind;

/// A kind of workload that Kubernetes has, or Argo Rollouts.
#[derive(Debug)]
pub(super) struct Kind {
    /// As objects write it.
    pub(super) name: &'static str,
    /// In the paths of the API.
    pub(super) plural: &'static str,
    pub(super) api_version: &'static str,
    /// What kubectl also calls it.
    pub(super) short: &'static str,
}

/// In the order in which the answer to a mistake names them.
pub(super) const KINDS: [Kind; 8] = [
    Kind::new("Deployment", "deployments", "apps/v1", "deploy"),
    Kind::new("StatefulSet", "statefulsets", "apps/v1", "sts"),
    Kind::new("DaemonSet", "daemonsets", "apps/v1", "ds"),
    Kind::new("ReplicaSet", "replicasets", "apps/v1", "rs"),
    Kind::new("Rollout", "rollouts", "argoproj.io/v1alpha1", "ro"),
    Kind::new("Job", "jobs", "batch/v1", "job"),
    Kind::new("CronJob", "cronjobs", "batch/v1", "cj"),
    Kind::new("Pod", "pods", "v1", "po"),
];

impl Kind {
    const fn new(name: &'static str, plural: &'static str, api_version: &'static str, short: &'static str) -> Self {
        Self { name, plural, api_version, short }
    }

    /// True for each of the names that kubectl takes.
    pub(super) fn is_called(&self, text: &str) -> bool {
        [self.name, self.plural, self.short].iter().any(|it| it.eq_ignore_ascii_case(text))
    }

    /// True if its template can have an injection.
    pub(super) fn can_be_injected(&self) -> bool {
        TemplateKind::ALL.iter().any(|it| it.name() == self.name)
    }

    /// True if a cluster need not know it.
    pub(super) fn is_custom(&self) -> bool {
        self.api_version.contains('.')
    }

    /// How the API calls it.
    pub(super) fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        let gvk = GroupVersionKind::gvk(group, version, self.name);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }
}
