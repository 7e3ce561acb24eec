//! What the rules need to know of an object, and nothing else. Facts are read in one pass from the object's JSON text, with the
//! API server's defaults filled in (reference: rules K29), so that files, watches and reviews give the same facts.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod command;
mod ingress;
mod labels;
mod mesh;
mod meta;
mod own;
mod service;
pub(crate) mod wire;
mod workload;

use serde_json::value::RawValue;
use smol_str::SmolStr;

pub use self::{
    ingress::{Backend, BackendPlace, Ingress, ReadTimeout},
    labels::{Labels, is_runtime_key},
    mesh::Mesh,
    meta::{Controller, Meta, ReleaseOwners},
    own::{MARKER, OWN_PREFIX, OwnAnnotations},
    service::{Service, ServicePort},
    workload::{
        Container, ContainerKind, ContainerPort, Handlers, PodTemplate, PreStop, Probe, ProbeRole, Workload,
        WorkloadForm,
    },
};

/// The facts of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Facts {
    /// Anything that makes pods from a template, or is one.
    Workload(Workload),
    /// A core/v1 Service.
    Service(Service),
    /// An Ingress of `networking.k8s.io` or of its predecessors.
    Ingress(Ingress),
    /// A Namespace.
    Namespace(Namespace),
    /// A Node.
    Node(Node),
    /// Any other object: known by name only.
    Other(Meta),
}

/// A Namespace: whether it is going away, and what its annotations say to no502.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespace {
    /// Identity; `name` is the namespace.
    pub meta: Meta,
    /// Its labels: policies select namespaces by them.
    pub labels: Labels,
    /// Istio puts its proxy into the pods of this namespace: labels `istio-injection` or `istio.io/rev`.
    pub injects_istio: bool,
    /// The annotation `linkerd.io/inject` asks for Linkerd's proxy in the pods of this namespace.
    pub injects_linkerd: bool,
}

/// The namespace of objects that name none, as `kubectl` has it.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Namespace annotation, below [`OWN_PREFIX`], that lets every write of the namespace through until the RFC 3339 time that is its
/// value.
pub const BREAK_GLASS: &str = "break-glass-until";

/// With the value `true` on a Namespace: the API server refuses writes there while no502 cannot be asked.
pub const FAIL_CLOSED_LABEL: &str = "no502.dev/fail-closed";

/// A Node: only the version of its kubelet counts (reference: mutations 2.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Identity.
    pub meta: Meta,
    /// `34` of `v1.34.2`; `None` if it cannot be read (virtual nodes report odd versions).
    pub kubelet_minor: Option<u32>,
}

/// A port by number or by name, as `targetPort`, probes and Ingress backends have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PortRef {
    /// A port number; not checked to be in 1 to 65,535.
    Number(i64),
    /// The name of a port.
    Name(SmolStr),
}

impl PortRef {
    fn read(scalar: &wire::Scalar<'_>) -> Option<Self> {
        match scalar {
            wire::Scalar::Int(number) => Some(Self::Number(*number)),
            wire::Scalar::Text(name) if !name.is_empty() => Some(Self::Name(SmolStr::new(name))),
            _ => None,
        }
    }
}

/// A number as it is, a name in double quotes.
impl std::fmt::Display for PortRef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Name(name) => write!(formatter, "\"{name}\""),
        }
    }
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// The default of the API.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// A value that the API server refuses (some published manifests have `HTTP`); equal to no other.
    Unknown,
}

impl Protocol {
    fn read(scalar: &wire::Scalar<'_>) -> Self {
        match scalar.text() {
            "TCP" => Self::Tcp,
            "UDP" => Self::Udp,
            "SCTP" => Self::Sctp,
            _ if scalar.is_present() => Self::Unknown,
            _ => Self::Tcp,
        }
    }

    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Unknown => "unknown protocol",
        }
    }
}

impl Facts {
    /// Reads one object.
    ///
    /// # Errors
    /// When `json` is not one JSON object; a field of a wrong type is no error, it reads as absent.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        let wire::Maybe(object) = serde_json::from_str(json)?;
        Ok(Self::from_wire(&object.ok_or_else(|| serde::de::Error::custom("not a JSON object"))?, None))
    }

    /// Reads one item of a list, which does not say what it is.
    ///
    /// # Errors
    /// When `json` is not one JSON object.
    pub fn read_item(json: &str, api_version: &'static str, kind: &'static str) -> Result<Self, serde_json::Error> {
        let mut object: wire::Object<'_> = serde_json::from_str(json)?;
        object.api_version = wire::Scalar::Text(api_version.into());
        object.kind = wire::Scalar::Text(kind.into());
        Ok(Self::from_wire(&object, None))
    }

    /// `same` is a template whose facts are known already: an UPDATE that keeps the template's bytes parses them once.
    pub(crate) fn from_wire(object: &wire::Object<'_>, same: Option<(&RawValue, &Workload)>) -> Self {
        let meta = Meta::read(object);
        match (meta.api_group(), meta.kind.as_str()) {
            ("", "Service") => Self::Service(Service::read(meta, object)),
            ("networking.k8s.io" | "extensions", "Ingress") => Self::Ingress(Ingress::read(meta, object)),
            ("", "Namespace") => Self::Namespace(Namespace::read(meta, object)),
            ("", "Node") => Self::Node(Node { kubelet_minor: kubelet_minor(object), meta }),
            _ => match Workload::read(&meta, object, same) {
                Some(workload) => Self::Workload(workload),
                None => Self::Other(meta),
            },
        }
    }

    /// Puts an object of a file that names no namespace where `kubectl apply` would put it.
    #[must_use]
    pub fn in_default_namespace(mut self) -> Self {
        let is_namespaced = matches!(self, Self::Workload(_) | Self::Service(_) | Self::Ingress(_) | Self::Other(_));
        let meta = self.meta_mut();
        if is_namespaced && meta.namespace.is_empty() {
            meta.namespace = SmolStr::new_static(DEFAULT_NAMESPACE);
        }
        self
    }

    /// The workload, if the object is one.
    #[must_use]
    pub fn workload(&self) -> Option<&Workload> {
        if let Self::Workload(workload) = self { Some(workload) } else { None }
    }

    /// Identity of the object.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Workload(it) => &it.meta,
            Self::Service(it) => &it.meta,
            Self::Ingress(it) => &it.meta,
            Self::Namespace(it) => &it.meta,
            Self::Node(it) => &it.meta,
            Self::Other(meta) => meta,
        }
    }

    /// Identity of the object, to be filled in where the surroundings know more than the object says (its namespace).
    pub fn meta_mut(&mut self) -> &mut Meta {
        match self {
            Self::Workload(it) => &mut it.meta,
            Self::Service(it) => &mut it.meta,
            Self::Ingress(it) => &mut it.meta,
            Self::Namespace(it) => &mut it.meta,
            Self::Node(it) => &mut it.meta,
            Self::Other(meta) => meta,
        }
    }
}

impl Namespace {
    fn read(meta: Meta, object: &wire::Object<'_>) -> Self {
        let metadata = object.metadata.0.as_ref();
        let label = |key: &str| metadata.and_then(|it| it.labels.text(key)).unwrap_or_default();
        let linkerd = metadata.and_then(|it| it.annotations.text(mesh::LINKERD_INJECT)).unwrap_or_default();
        Self {
            labels: metadata.map(|it| Labels::read(&it.labels)).unwrap_or_default(),
            meta,
            injects_istio: label("istio-injection") == "enabled" || !label("istio.io/rev").is_empty(),
            injects_linkerd: ["enabled", "ingress"].contains(&linkerd),
        }
    }
}

fn kubelet_minor(object: &wire::Object<'_>) -> Option<u32> {
    let info = object.status.0.as_ref()?.node_info.0.as_ref()?;
    minor_version(info.kubelet_version.text())
}

/// `34` of `v1.34.2`, `1.34+` or `v1.34.4-gke.1`; `None` for anything that is not major version 1.
#[must_use]
pub fn minor_version(version: &str) -> Option<u32> {
    let minor = version.trim_start_matches('v').strip_prefix("1.")?;
    let digits = minor.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(minor.len());
    minor[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_versions_of_vendors_are_read() {
        assert_eq!(minor_version("v1.34.2"), Some(34));
        assert_eq!(minor_version("v1.30.4-gke.1"), Some(30));
        assert_eq!(minor_version("1.29+"), Some(29));
        assert_eq!(minor_version("vk-azure-aci-1.4"), None);
        assert_eq!(minor_version(""), None);
    }

    #[test]
    fn a_kind_of_another_group_is_not_the_core_one() {
        let knative = r#"{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"a"},"spec":{}}"#;
        assert!(matches!(Facts::read(knative).unwrap(), Facts::Other(_)));
    }

    #[test]
    fn only_a_json_object_is_an_object() {
        for json in ["[]", r#"["v1","Service",{"name":"a"}]"#, "null", "7", "\"x\"", ""] {
            assert!(Facts::read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn fields_of_a_wrong_type_read_as_absent() {
        let odd = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","labels":7,"ownerReferences":"x"},
            "spec":{"selector":["x"],"ports":[7,{"port":"x","targetPort":{}}],"type":null}}"#;
        let Facts::Service(service) = Facts::read(odd).unwrap() else { panic!("not a Service") };
        assert!(service.selector.is_empty());
    }
}
