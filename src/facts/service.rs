//! Services: which pods, which ports.

use smol_str::SmolStr;

use super::{Labels, Meta, PortRef, Protocol, wire};

/// A core/v1 Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Identity.
    pub meta: Meta,
    /// Empty when somebody else manages the endpoints, and for `ExternalName`, which ignores it (reference: rules K1).
    pub selector: Labels,
    /// `type: ExternalName`: DNS only, selector and ports mean nothing.
    pub is_external_name: bool,
    /// `clusterIP: None`: clients get the addresses of the pods and choose for themselves.
    pub is_headless: bool,
    /// `publishNotReadyAddresses`: pods get traffic before they are Ready and while they terminate (reference: rules K8).
    pub publishes_not_ready: bool,
    /// The ports, in the order of the object.
    pub ports: Box<[ServicePort]>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePort {
    /// Empty for the only port of a Service that has one.
    pub name: SmolStr,
    /// The port that clients and Ingresses use.
    pub port: i64,
    /// Its protocol.
    pub protocol: Protocol,
    /// `appProtocol`; empty where the object does not say.
    pub app_protocol: SmolStr,
    /// The port of the pods; equal to `port` where the object does not say (reference: rules K4).
    pub target: PortRef,
}

impl Service {
    pub(super) fn read(meta: Meta, object: &wire::Object<'_>) -> Self {
        let Some(spec) = &object.spec.0 else {
            return Self {
                meta,
                selector: Labels::default(),
                is_external_name: false,
                is_headless: false,
                publishes_not_ready: false,
                ports: Box::default(),
            };
        };
        let is_external_name = spec.service_type.text() == "ExternalName";
        let selector = if is_external_name { Labels::default() } else { Labels::read(&spec.selector) };
        let ports = spec
            .ports
            .0
            .iter()
            .map(|port| {
                let number = port.port.int().unwrap_or_default();
                ServicePort {
                    name: SmolStr::new(port.name.text()),
                    port: number,
                    protocol: Protocol::read(&port.protocol),
                    app_protocol: SmolStr::new(port.app_protocol.text()),
                    target: PortRef::read(&port.target_port)
                        .filter(|it| *it != PortRef::Number(0))
                        .unwrap_or(PortRef::Number(number)),
                }
            })
            .collect();
        Self {
            meta,
            selector,
            is_external_name,
            is_headless: spec.cluster_ip.text() == "None",
            publishes_not_ready: spec.publish_not_ready_addresses.is_true(),
            ports,
        }
    }

    /// True if the endpoints controller fills this Service from pods.
    #[must_use]
    pub fn selects_pods(&self) -> bool {
        !self.selector.is_empty()
    }
}
