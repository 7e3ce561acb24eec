//! Kubernetes objects as they lie in the bytes: borrowed, only the fields that facts are made of, and never an error for a
//! field of an unexpected type (it reads as absent). `managedFields`, `status` and the rest are skipped without being built.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

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
        deserializer.deserialize_any(ShapeVisitor(PhantomData))
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

/// One JSON value that should be a scalar; lists and objects read as `Absent`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Scalar<'a> {
    #[default]
    Absent,
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// The text; empty for everything that is not text.
    pub(crate) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    pub(crate) fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    pub(crate) fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Int(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(value).map_or(Scalar::Absent, Scalar::Int))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(value.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                drain_seq(seq).map(|()| Scalar::Absent)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                drain_map(map).map(|()| Scalar::Absent)
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A JSON value of one shape; every other value reads as the default.
trait Shape<'de>: Default {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        drain_map(map).map(|()| Self::default())
    }
    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        drain_seq(seq).map(|()| Self::default())
    }
}

struct ShapeVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for ShapeVisitor<T> {
    type Value = T;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_u64<E>(self, _: u64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_str<E>(self, _: &str) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        T::from_seq(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }
}

/// One JSON value that should be an object; anything else reads as absent.
#[derive(Debug)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Maybe<T> {
    pub(crate) fn is_present(&self) -> bool {
        self.0.is_some()
    }
}

impl<'de, T: Deserialize<'de>> Shape<'de> for Maybe<T> {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|value| Self(Some(value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor(PhantomData))
    }
}

/// One JSON value that should be a list; anything else reads as an empty one.
#[derive(Debug)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: ListItem<'de>> Shape<'de> for List<T> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<T::Read>()? {
            items.push(T::from_read(item));
        }
        Ok(Self(items))
    }
}

impl<'de, T: ListItem<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor(PhantomData))
    }
}

/// What can stand in a [`List`]. An item of an unexpected type keeps its place as a default, so that indices stay those of
/// the object.
pub(crate) trait ListItem<'de>: Sized {
    type Read: Deserialize<'de>;
    fn from_read(read: Self::Read) -> Self;
}

impl<'de: 'a, 'a> ListItem<'de> for Scalar<'a> {
    type Read = Self;
    fn from_read(read: Self) -> Self {
        read
    }
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

/// The annotation in which `kubectl apply` keeps a copy of the whole object: by far the longest text of most objects and full of
/// escapes. No fact is made of it, so it is skipped without being built.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Pairs for which room is made at once: most objects have fewer labels.
const PAIRS_USUAL: usize = 8;

/// The scalars of one JSON object, in the order of the bytes; anything else reads as absent.
#[derive(Debug, Default)]
pub(crate) struct Map<'a>(Option<Vec<(Cow<'a, str>, Scalar<'a>)>>);

impl Map<'_> {
    pub(crate) fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// The text under `key`; the last one wins, as in every JSON reader of Kubernetes.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.0.as_ref()?.iter().rev().find(|(name, _)| name == key)? {
            (_, Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// True if there is anything under another key.
    pub(crate) fn has_other_than(&self, key: &str) -> bool {
        self.0.as_deref().unwrap_or_default().iter().any(|(name, _)| name != key)
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.as_deref().unwrap_or_default().iter().filter_map(|(key, value)| match value {
            Scalar::Text(text) => Some((&**key, &**text)),
            _ => None,
        })
    }
}

impl<'de: 'a, 'a> Shape<'de> for Map<'a> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<Scalar<'de>>()? {
            match key {
                Scalar::Text(key) if key != LAST_APPLIED => {
                    let value: Scalar<'de> = map.next_value()?;
                    if value.is_present() {
                        pairs.reserve(if pairs.is_empty() { PAIRS_USUAL } else { 1 });
                        pairs.push((key, value));
                    }
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Self(Some(pairs)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Map<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor(PhantomData))
    }
}

fn drain_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drain_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}
