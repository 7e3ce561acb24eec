//! Workloads: everything that makes pods from a template, and bare Pods.

use std::{ops::Range, sync::Arc};

use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::{Labels, MARKER, Mesh, Meta, OwnAnnotations, PortRef, Protocol, command, wire};

/// Labels of nodes that name their operating system; the second one is the old form.
const OS_LABELS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];

/// A workload, known by its shape (`spec.template.spec.containers`) and not by a list of kinds, so that custom resources with
/// a pod template count as well.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Identity.
    pub meta: Meta,
    /// The object's own labels: policies select workloads by them.
    pub labels: Labels,
    /// Where the pod template stands.
    pub form: WorkloadForm,
    /// The pods it makes.
    pub template: Arc<PodTemplate>,
    /// `spec.replicas`.
    pub replicas: Option<i64>,
    /// `strategy.type: Recreate`.
    pub is_recreate: bool,
    /// `strategy.rollingUpdate.maxSurge` is 0: an old pod goes before a new one comes.
    pub never_surges: bool,
    /// `spec.serviceName` of a StatefulSet: the Service that gives its pods their names; empty for everything else.
    pub service_name: SmolStr,
    /// A Pod that has run to its end: it is no endpoint any more.
    pub is_finished: bool,
}

/// Where in the object the pod template stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadForm {
    /// `spec.template`.
    Template,
    /// `spec.jobTemplate.spec.template`.
    JobTemplate,
    /// The object is the pod.
    Pod,
}

impl WorkloadForm {
    /// JSON pointer of the object that has `metadata` and `spec` of the pods.
    #[must_use]
    pub fn pointer(self) -> &'static str {
        match self {
            Self::Template => "/spec/template",
            Self::JobTemplate => "/spec/jobTemplate/spec/template",
            Self::Pod => "",
        }
    }
}

/// What the pods of a workload look like.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent marks")]
pub struct PodTemplate {
    /// The pods' labels.
    pub labels: Arc<Labels>,
    /// Ports in the order in which names are looked up: regular containers, then native sidecars (reference: rules K2).
    pub ports: Arc<[ContainerPort]>,
    /// Regular containers, native sidecars and init containers, in the order of their lists.
    pub containers: Box<[Container]>,
    /// `terminationGracePeriodSeconds`; `None` where the object does not say (the default is 30).
    pub grace_seconds: Option<i64>,
    /// What the template says to no502; the marker of what was injected is among it.
    pub own: OwnAnnotations,
    /// `hostNetwork`: the pods share the ports of their node.
    pub is_on_host_network: bool,
    /// The pods run on Windows nodes.
    pub is_windows: bool,
    /// What the template says to a service mesh.
    pub mesh: Mesh,
    /// The template has `metadata`.
    pub has_metadata: bool,
    /// The template has `metadata.annotations`.
    pub has_annotations: bool,
    /// The template has annotations beside our marker.
    pub has_other_annotations: bool,
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerPort {
    /// Empty for most ports.
    pub name: SmolStr,
    /// The number.
    pub number: i64,
    /// Its protocol.
    pub protocol: Protocol,
}

/// One container.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent marks")]
pub struct Container {
    /// Its name.
    pub name: SmolStr,
    /// Regular, native sidecar or init.
    pub kind: ContainerKind,
    /// Index in its own list (`containers` or `initContainers`).
    pub index: usize,
    /// Its ports, as a range of [`PodTemplate::ports`]; empty for init containers.
    pub ports: Range<usize>,
    /// Its command does nothing but sleep, as in pods that people open a shell in: nobody answers there.
    pub is_idle: bool,
    /// The HTTP and TCP probes.
    pub probes: Box<[Probe]>,
    /// A startup probe: the container is not ready before it has succeeded.
    pub has_startup_probe: bool,
    /// The handlers of the readiness probe; `None` without one.
    pub readiness: Option<Handlers>,
    /// `lifecycle.preStop`.
    pub pre_stop: Option<PreStop>,
    /// `lifecycle` is there, with or without a preStop.
    pub has_lifecycle: bool,
    /// `lifecycle` has a preStop and nothing else.
    pub has_only_pre_stop: bool,
}

/// How a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerKind {
    /// One of `containers`.
    Regular,
    /// One of `initContainers` with `restartPolicy: Always`.
    NativeSidecar,
    /// Any other of `initContainers`.
    Init,
}

/// An HTTP or TCP probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it decides.
    pub role: ProbeRole,
    /// `httpGet` or `tcpSocket`.
    pub handler: &'static str,
    /// The port it asks.
    pub port: PortRef,
}

/// What a probe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeRole {
    /// Whether the pod gets traffic.
    Readiness,
    /// Whether the container is restarted.
    Liveness,
    /// When the other two begin.
    Startup,
}

impl ProbeRole {
    /// Name of the field in a container.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Readiness => "readinessProbe",
            Self::Liveness => "livenessProbe",
            Self::Startup => "startupProbe",
        }
    }
}

/// The handlers of a preStop hook. A valid hook has exactly one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent marks")]
pub struct PreStop {
    /// `sleep.seconds`.
    pub sleep_seconds: Option<i64>,
    /// `exec`.
    pub has_exec: bool,
    /// `httpGet` or `tcpSocket`.
    pub has_request: bool,
    /// Seconds of an `exec` that is recognisably `sleep N`, alone or as the first command of a shell.
    pub exec_sleep_seconds: Option<i64>,
    /// The `exec` is `["sleep", "N"]` and nothing else, the form that no502 injects.
    pub is_bare_sleep: bool,
    /// A word of the `exec` says that it may wait, wherever it stands.
    pub may_wait: bool,
}

/// The handlers of a probe. A valid probe has exactly one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handlers {
    /// The port of `tcpSocket`.
    pub tcp_port: Option<PortRef>,
    /// `httpGet`, `exec` or `grpc`.
    pub has_other: bool,
}

impl Workload {
    pub(super) fn read(meta: &Meta, object: &wire::Object<'_>, same: Option<(&RawValue, &Self)>) -> Option<Self> {
        let spec = object.spec.0.as_ref()?;
        let (form, template) = if meta.api_group().is_empty() && meta.kind == "Pod" {
            let metadata = object.metadata.0.as_ref()?;
            let template = PodTemplate::from_parts(
                Some(metadata),
                &spec.containers.0,
                &spec.init_containers.0,
                &spec.termination_grace_period_seconds,
            );
            (WorkloadForm::Pod, Arc::new(template))
        } else if let Some(raw) = spec.template {
            let template = match same {
                Some((bytes, known)) if bytes.get() == raw.get() => Arc::clone(&known.template),
                _ => Arc::new(PodTemplate::read(raw.get())?),
            };
            (WorkloadForm::Template, template)
        } else {
            let job: wire::Maybe<wire::JobTemplate<'_>> = serde_json::from_str(spec.job_template?.get()).ok()?;
            (WorkloadForm::JobTemplate, Arc::new(PodTemplate::read(job.0?.spec.0?.template?.get())?))
        };
        let phase = object.status.0.as_ref().map_or("", |status| status.phase.text());
        Some(Self {
            meta: meta.clone(),
            labels: object.metadata.0.as_ref().map(|it| Labels::read(&it.labels)).unwrap_or_default(),
            form,
            template,
            replicas: spec.replicas.int(),
            never_surges: spec.strategy.0.as_ref().is_some_and(|it| never_surges(it)),
            is_recreate: spec.strategy.0.as_ref().is_some_and(|it| it.strategy_type.text() == "Recreate"),
            service_name: SmolStr::new(spec.service_name.text()),
            is_finished: form == WorkloadForm::Pod && matches!(phase, "Succeeded" | "Failed"),
        })
    }

    /// The same workload with another pod template; `None` if `json` is none.
    pub(crate) fn with_template(&self, json: &str) -> Option<Self> {
        Some(Self { template: Arc::new(PodTemplate::read(json)?), ..self.clone() })
    }

    /// True for Jobs and their pods, which run to an end and serve nobody.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        self.meta.api_group() == "batch" || self.meta.controller.as_ref().is_some_and(|it| it.api_group() == "batch")
    }

    /// JSON pointer below the pod template, such as `/metadata/labels`.
    #[must_use]
    pub fn pointer(&self, below: &str) -> String {
        format!("{}{below}", self.form.pointer())
    }
}

impl PodTemplate {
    /// `None` for a template of another shape: no list of containers.
    fn read(json: &str) -> Option<Self> {
        let template: wire::Maybe<wire::Template<'_>> = serde_json::from_str(json).ok()?;
        let template = template.0?;
        let spec = template.spec.0?;
        if spec.containers.0.is_empty() {
            return None;
        }
        let (containers, init) = (&spec.containers.0, &spec.init_containers.0);
        let parts =
            Self::from_parts(template.metadata.0.as_ref(), containers, init, &spec.termination_grace_period_seconds);
        let os = spec.os.0.as_ref().map_or("", |it| it.name.text());
        let node_os = OS_LABELS.iter().find_map(|it| spec.node_selector.text(it)).unwrap_or_default();
        Some(Self {
            is_on_host_network: spec.host_network.is_true(),
            is_windows: [os, node_os].contains(&"windows"),
            ..parts
        })
    }

    fn from_parts(
        metadata: Option<&wire::Metadata<'_>>,
        containers: &[wire::Container<'_>],
        init: &[wire::Container<'_>],
        grace: &wire::Scalar<'_>,
    ) -> Self {
        let mut ports = Vec::new();
        let regular = containers.iter().enumerate().map(|(index, it)| (ContainerKind::Regular, index, it));
        let init = init.iter().enumerate().map(|(index, it)| {
            let is_sidecar = it.restart_policy.text() == "Always";
            (if is_sidecar { ContainerKind::NativeSidecar } else { ContainerKind::Init }, index, it)
        });
        let containers =
            regular.chain(init).map(|(kind, index, it)| Container::read(kind, index, it, &mut ports)).collect();
        Self {
            labels: Arc::new(metadata.map(|it| Labels::read(&it.labels)).unwrap_or_default()),
            ports: ports.into(),
            containers,
            grace_seconds: grace.int(),
            own: metadata.map(|it| OwnAnnotations::read(&it.annotations)).unwrap_or_default(),
            is_on_host_network: false,
            is_windows: false,
            mesh: metadata.map(Mesh::read).unwrap_or_default(),
            has_metadata: metadata.is_some(),
            has_annotations: metadata.is_some_and(|it| it.annotations.is_present()),
            has_other_annotations: metadata.is_some_and(|it| it.annotations.has_other_than(MARKER)),
        }
    }

    /// The first port of that name and protocol, as the endpoints controller looks it up (reference: rules K2).
    #[must_use]
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<&ContainerPort> {
        self.ports.iter().find(|it| it.name == name && it.protocol == protocol)
    }
}

impl Container {
    fn read(
        kind: ContainerKind,
        index: usize,
        container: &wire::Container<'_>,
        ports: &mut Vec<ContainerPort>,
    ) -> Self {
        let first = ports.len();
        if kind != ContainerKind::Init {
            ports.extend(container.ports.0.iter().map(|it| ContainerPort {
                name: SmolStr::new(it.name.text()),
                number: it.number.int().unwrap_or_default(),
                protocol: Protocol::read(&it.protocol),
            }));
        }
        let probes = [
            (ProbeRole::Readiness, &container.readiness_probe),
            (ProbeRole::Liveness, &container.liveness_probe),
            (ProbeRole::Startup, &container.startup_probe),
        ];
        let lifecycle = container.lifecycle.0.as_ref();
        Self {
            name: SmolStr::new(container.name.text()),
            kind,
            index,
            ports: first..ports.len(),
            is_idle: command::is_idle(&container.command.0),
            probes: probes.into_iter().filter_map(|(role, probe)| Probe::read(role, probe)).collect(),
            has_startup_probe: container.startup_probe.is_present(),
            readiness: container.readiness_probe.0.as_ref().map(Handlers::read),
            pre_stop: lifecycle.and_then(|it| it.pre_stop.0.as_ref()).map(PreStop::read),
            has_lifecycle: lifecycle.is_some(),
            has_only_pre_stop: lifecycle.is_some_and(|it| it.pre_stop.is_present() && !it.has_others),
        }
    }

    /// JSON pointer of the container below the pod template.
    #[must_use]
    pub fn pointer(&self) -> String {
        let list = if self.kind == ContainerKind::Regular { "containers" } else { "initContainers" };
        format!("/spec/{list}/{}", self.index)
    }
}

impl Handlers {
    fn read(probe: &wire::Probe<'_>) -> Self {
        Self {
            tcp_port: probe.tcp_socket.0.as_ref().and_then(|it| PortRef::read(&it.port)),
            has_other: probe.http_get.is_present() || probe.exec.is_present() || probe.grpc.is_present(),
        }
    }
}

impl Probe {
    fn read(role: ProbeRole, probe: &wire::Maybe<wire::Probe<'_>>) -> Option<Self> {
        let probe = probe.0.as_ref()?;
        let (handler, port) = match (&probe.http_get.0, &probe.tcp_socket.0) {
            (Some(http), _) => ("httpGet", &http.port),
            (None, Some(tcp)) => ("tcpSocket", &tcp.port),
            (None, None) => return None,
        };
        Some(Self { role, handler, port: PortRef::read(port)? })
    }
}

impl PreStop {
    fn read(hook: &wire::LifecycleHandler<'_>) -> Self {
        Self {
            sleep_seconds: hook.sleep.0.as_ref().map(|it| it.seconds.int().unwrap_or_default()),
            has_exec: hook.exec.is_present(),
            has_request: hook.http_get.is_present() || hook.tcp_socket.is_present(),
            exec_sleep_seconds: hook.exec.0.as_ref().and_then(command::exec_sleep_seconds),
            may_wait: hook.exec.0.as_ref().is_some_and(command::may_wait),
            is_bare_sleep: hook.exec.0.as_ref().is_some_and(command::is_bare_sleep),
        }
    }

    /// How long the hook is known to hold the container back.
    #[must_use]
    pub fn known_seconds(&self) -> Option<i64> {
        self.sleep_seconds.or(self.exec_sleep_seconds)
    }
}

fn never_surges(strategy: &wire::Strategy<'_>) -> bool {
    let surge = strategy.rolling_update.0.as_ref().map(|it| &it.max_surge);
    surge.is_some_and(|it| it.int() == Some(0) || it.text() == "0%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;

    fn workload(json: &str) -> Workload {
        match Facts::read(json).unwrap() {
            Facts::Workload(workload) => workload,
            other => panic!("not a workload: {other:?}"),
        }
    }

    fn deployment(pod_spec: &str) -> Workload {
        workload(&format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web"}},
                "spec":{{"template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{pod_spec}}}}}}}"#
        ))
    }

    #[test]
    fn names_are_looked_up_in_containers_then_native_sidecars_and_never_in_init_containers() {
        let web = deployment(
            r#"{"initContainers":[{"name":"init","ports":[{"name":"i","containerPort":1}]},
                    {"name":"proxy","restartPolicy":"Always","ports":[{"name":"http","containerPort":2},{"name":"p","containerPort":3}]}],
                "containers":[{"name":"app","ports":[{"name":"http","containerPort":8080},{"name":"dns","containerPort":53,"protocol":"UDP"}]}]}"#,
        );
        assert_eq!(web.template.port("http", Protocol::Tcp).map(|it| it.number), Some(8080));
        assert_eq!(web.template.port("p", Protocol::Tcp).map(|it| it.number), Some(3));
        assert_eq!(web.template.port("i", Protocol::Tcp), None);
        assert_eq!(web.template.port("dns", Protocol::Tcp), None);
    }

    #[test]
    fn sleeps_of_hooks_are_understood() {
        for (command, seconds) in [
            (r#"["sleep","15"]"#, Some(15)),
            (r#"["/bin/sleep","15s"]"#, Some(15)),
            (r#"["/bin/sh","-c","sleep 15; nginx -s quit"]"#, Some(15)),
            (r#"["bash","-c","sleep 5 && kill 1"]"#, Some(5)),
            (r#"["sh","-c","nginx -s quit; sleep 5"]"#, None),
            (r#"["nginx","-s","quit"]"#, None),
        ] {
            let web = deployment(&format!(
                r#"{{"containers":[{{"name":"app","lifecycle":{{"preStop":{{"exec":{{"command":{command}}}}}}}}}]}}"#
            ));
            let hook = web.template.containers[0].pre_stop.clone().unwrap();
            assert_eq!(hook.known_seconds(), seconds, "{command}");
        }
    }

    #[test]
    fn a_cron_job_and_an_unknown_kind_with_a_template_are_workloads() {
        let cron = workload(
            r#"{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"x"},
                "spec":{"jobTemplate":{"spec":{"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c"}]}}}}}}"#,
        );
        assert_eq!(cron.form, WorkloadForm::JobTemplate);
        let clone_set = workload(
            r#"{"apiVersion":"apps.kruise.io/v1alpha1","kind":"CloneSet","metadata":{"name":"x"},
                "spec":{"template":{"spec":{"containers":[{"name":"c"}]}}}}"#,
        );
        assert_eq!(clone_set.form, WorkloadForm::Template);
    }

    #[test]
    fn a_template_of_another_shape_is_no_workload() {
        for spec in [
            r#"{"template":{"spec":{"domain":{}}}}"#,
            r#"{"template":"x"}"#,
            r#"{"template":[{},{"containers":[{"name":"c"}]}]}"#,
            r#"{"templates":[]}"#,
            "null",
        ] {
            let json = format!(r#"{{"apiVersion":"x.dev/v1","kind":"X","metadata":{{"name":"x"}},"spec":{spec}}}"#);
            assert!(matches!(Facts::read(&json).unwrap(), Facts::Other(_)), "{spec}");
        }
    }
}
