//! Kubernetes objects as they lie in the bytes: borrowed, only the fields that facts are made of, and never an error for a
//! field of an unexpected type (it reads as absent). `managedFields`, `status` and the rest are skipped without being built.

mod lenient;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess},
};
use serde_json::value::RawValue;

pub(crate) use self::lenient::{List, Map, Maybe, Scalar};
use self::lenient::{ListItem, Shape, deserialize};

/// The fields of every kind that no502 reads, in one struct, so that an object is parsed in one pass before its kind is known.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Object<'a> {
    #[serde(borrow)]
    pub(crate) api_version: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) kind: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) metadata: Maybe<Metadata<'a>>,
    #[serde(borrow)]
    pub(crate) spec: Maybe<Spec<'a>>,
    #[serde(borrow)]
    pub(crate) status: Maybe<Status<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata<'a> {
    #[serde(borrow)]
    pub(crate) name: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) generate_name: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) namespace: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) labels: Map<'a>,
    #[serde(borrow)]
    pub(crate) annotations: Map<'a>,
    #[serde(borrow)]
    pub(crate) owner_references: List<OwnerReference<'a>>,
    #[serde(borrow)]
    pub(crate) deletion_timestamp: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) resource_version: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) uid: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OwnerReference<'a> {
    #[serde(borrow)]
    pub(crate) api_version: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) kind: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) name: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) controller: Scalar<'a>,
}

/// `spec` of every kind at once; the kind decides which fields mean something.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec<'a> {
    // Service; the selector of a workload is a map of maps and reads as empty
    #[serde(borrow)]
    pub(crate) selector: Map<'a>,
    #[serde(borrow)]
    pub(crate) ports: List<ServicePort<'a>>,
    #[serde(borrow, rename = "type")]
    pub(crate) service_type: Scalar<'a>,
    #[serde(borrow, rename = "clusterIP")]
    pub(crate) cluster_ip: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) publish_not_ready_addresses: Scalar<'a>,
    // Ingress; `backend` is the v1beta1 name
    #[serde(borrow)]
    pub(crate) default_backend: Maybe<Backend<'a>>,
    #[serde(borrow)]
    pub(crate) backend: Maybe<Backend<'a>>,
    #[serde(borrow)]
    pub(crate) rules: List<IngressRule<'a>>,
    #[serde(borrow)]
    pub(crate) ingress_class_name: Scalar<'a>,
    // workloads; raw, because an UPDATE compares the templates' bytes before anybody parses them
    #[serde(borrow)]
    pub(crate) template: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) job_template: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) replicas: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) strategy: Maybe<Strategy<'a>>,
    #[serde(borrow)]
    pub(crate) service_name: Scalar<'a>,
    // Pod; `flatten` would buffer every field, so the fields of a pod's spec stand here again
    #[serde(borrow)]
    pub(crate) containers: List<Container<'a>>,
    #[serde(borrow)]
    pub(crate) init_containers: List<Container<'a>>,
    #[serde(borrow)]
    pub(crate) termination_grace_period_seconds: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Strategy<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) strategy_type: Scalar<'a>,
    #[serde(borrow, rename = "rollingUpdate")]
    pub(crate) rolling_update: Maybe<RollingUpdate<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RollingUpdate<'a> {
    #[serde(borrow)]
    pub(crate) max_surge: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status<'a> {
    #[serde(borrow)]
    pub(crate) phase: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) node_info: Maybe<NodeInfo<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeInfo<'a> {
    #[serde(borrow)]
    pub(crate) kubelet_version: Scalar<'a>,
}

/// A CronJob's `jobTemplate`, of which only the pod template counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobTemplate<'a> {
    #[serde(borrow)]
    pub(crate) spec: Maybe<JobSpec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobSpec<'a> {
    #[serde(borrow)]
    pub(crate) template: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Template<'a> {
    #[serde(borrow)]
    pub(crate) metadata: Maybe<Metadata<'a>>,
    #[serde(borrow)]
    pub(crate) spec: Maybe<PodSpec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec<'a> {
    #[serde(borrow)]
    pub(crate) containers: List<Container<'a>>,
    #[serde(borrow)]
    pub(crate) init_containers: List<Container<'a>>,
    #[serde(borrow)]
    pub(crate) termination_grace_period_seconds: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) host_network: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) os: Maybe<Os<'a>>,
    #[serde(borrow)]
    pub(crate) node_selector: Map<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Os<'a> {
    #[serde(borrow)]
    pub(crate) name: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container<'a> {
    #[serde(borrow)]
    pub(crate) name: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) command: List<Scalar<'a>>,
    #[serde(borrow)]
    pub(crate) ports: List<ContainerPort<'a>>,
    #[serde(borrow)]
    pub(crate) readiness_probe: Maybe<Probe<'a>>,
    #[serde(borrow)]
    pub(crate) liveness_probe: Maybe<Probe<'a>>,
    #[serde(borrow)]
    pub(crate) startup_probe: Maybe<Probe<'a>>,
    #[serde(borrow)]
    pub(crate) lifecycle: Maybe<Lifecycle<'a>>,
    #[serde(borrow)]
    pub(crate) restart_policy: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerPort<'a> {
    #[serde(borrow)]
    pub(crate) name: Scalar<'a>,
    #[serde(borrow)]
    #[serde(rename = "containerPort")]
    pub(crate) number: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) protocol: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Probe<'a> {
    #[serde(borrow)]
    pub(crate) http_get: Maybe<ProbeHandler<'a>>,
    #[serde(borrow)]
    pub(crate) tcp_socket: Maybe<ProbeHandler<'a>>,
    pub(crate) exec: Maybe<IgnoredAny>,
    pub(crate) grpc: Maybe<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ProbeHandler<'a> {
    #[serde(borrow)]
    pub(crate) port: Scalar<'a>,
}

#[derive(Debug, Default)]
pub(crate) struct Lifecycle<'a> {
    pub(crate) pre_stop: Maybe<LifecycleHandler<'a>>,
    /// Any member but `preStop`, known to this version or not.
    pub(crate) has_others: bool,
}

impl<'de: 'a, 'a> Shape<'de> for Lifecycle<'a> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut lifecycle = Self::default();
        while let Some(key) = map.next_key::<Scalar<'de>>()? {
            if key.text() == "preStop" {
                lifecycle.pre_stop = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
                lifecycle.has_others = true;
            }
        }
        Ok(lifecycle)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Lifecycle<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LifecycleHandler<'a> {
    #[serde(borrow)]
    pub(crate) sleep: Maybe<Sleep<'a>>,
    #[serde(borrow)]
    pub(crate) exec: Maybe<Exec<'a>>,
    pub(crate) http_get: Maybe<IgnoredAny>,
    pub(crate) tcp_socket: Maybe<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sleep<'a> {
    #[serde(borrow)]
    pub(crate) seconds: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Exec<'a> {
    #[serde(borrow)]
    pub(crate) command: List<Scalar<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServicePort<'a> {
    #[serde(borrow)]
    pub(crate) name: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) port: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) target_port: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) app_protocol: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) protocol: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct IngressRule<'a> {
    #[serde(borrow)]
    pub(crate) host: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) http: Maybe<IngressHttp<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct IngressHttp<'a> {
    #[serde(borrow)]
    pub(crate) paths: List<IngressPath<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IngressPath<'a> {
    #[serde(borrow)]
    pub(crate) path: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) path_type: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) backend: Maybe<Backend<'a>>,
}

/// `service` is the v1 form, `serviceName` and `servicePort` the v1beta1 form; a `resource` backend has neither.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Backend<'a> {
    #[serde(borrow)]
    pub(crate) service: Maybe<ServiceBackend<'a>>,
    #[serde(borrow)]
    pub(crate) service_name: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) service_port: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceBackend<'a> {
    #[serde(borrow)]
    pub(crate) name: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) port: Maybe<ServiceBackendPort<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceBackendPort<'a> {
    #[serde(borrow)]
    pub(crate) name: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) number: Scalar<'a>,
}

macro_rules! list_items {
    ($($item:ident),+) => {$(
        impl<'de: 'a, 'a> ListItem<'de> for $item<'a> {
            type Read = Maybe<Self>;
            fn from_read(read: Maybe<Self>) -> Self {
                read.0.unwrap_or_default()
            }
        }
    )+};
}

list_items!(OwnerReference, Container, ContainerPort, ServicePort, IngressRule, IngressPath);
