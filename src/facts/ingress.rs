//! Ingresses: which Service port each host and path leads to.

use smol_str::SmolStr;

use super::{Meta, PortRef, wire};

/// An Ingress.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingress {
    /// Identity.
    pub meta: Meta,
    /// `spec.ingressClassName`, or the old annotation.
    pub class: Option<SmolStr>,
    /// The longest time that this Ingress explicitly waits for an answer.
    pub read_timeout: Option<ReadTimeout>,
    /// The Service backends, in the order of the object; resource backends and ALB actions are not among them.
    pub backends: Box<[Backend]>,
}

/// How long an ingress controller waits for an answer of a backend, as an annotation of the Ingress sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadTimeout {
    /// The annotation.
    pub annotation: &'static str,
    /// Its value in whole seconds, rounded down.
    pub seconds: i64,
}

type ReadSeconds = fn(&str) -> Option<i64>;

/// The annotations that say it. Nginx wants plain seconds and ignores everything else; the others want a unit (reference: rules H).
const READ_TIMEOUTS: [(&str, ReadSeconds); 7] = [
    ("nginx.ingress.kubernetes.io/proxy-read-timeout", plain_seconds),
    ("nginx.org/proxy-read-timeout", seconds_with_unit),
    ("haproxy.org/timeout-server", seconds_with_unit),
    ("haproxy-ingress.github.io/timeout-server", seconds_with_unit),
    ("ingress.kubernetes.io/timeout-server", seconds_with_unit),
    ("projectcontour.io/response-timeout", seconds_with_unit),
    ("alb.ingress.kubernetes.io/load-balancer-attributes", alb_idle_timeout),
];

impl ReadTimeout {
    fn longest(annotations: &wire::Map<'_>) -> Option<Self> {
        let set = READ_TIMEOUTS.iter().filter_map(|(annotation, read)| {
            let seconds = read(annotations.text(annotation)?.trim())?;
            Some(Self { annotation, seconds })
        });
        set.max_by_key(|it| it.seconds)
    }
}

fn plain_seconds(text: &str) -> Option<i64> {
    text.parse().ok().filter(|it| *it > 0)
}

/// `90s`, `2m`, `1h30m`, `1500ms`; a number alone counts as seconds in nginx and as milliseconds in `HAProxy` and says nothing here.
fn seconds_with_unit(text: &str) -> Option<i64> {
    let span: jiff::SignedDuration = text.parse().ok()?;
    (span.as_secs() > 0).then_some(span.as_secs())
}

/// `idle_timeout.timeout_seconds=600,routing.http2.enabled=true`.
fn alb_idle_timeout(text: &str) -> Option<i64> {
    text.split(',').find_map(|it| plain_seconds(it.trim().strip_prefix("idle_timeout.timeout_seconds=")?.trim()))
}

/// One Service backend of an Ingress.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Empty for every host and for the default backend.
    pub host: SmolStr,
    /// Empty for the default backend.
    pub path: SmolStr,
    /// `Exact`, `Prefix`, `ImplementationSpecific`; empty for the default backend.
    pub path_type: SmolStr,
    /// The Service's name; it is in the namespace of the Ingress.
    pub service: SmolStr,
    /// The Service's port; `None` where the object does not say.
    pub port: Option<PortRef>,
    /// Where in the object.
    pub place: BackendPlace,
    /// Written in the old form: `serviceName` and `servicePort`.
    pub is_old_form: bool,
}

/// Where in an Ingress a backend stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendPlace {
    /// `spec.defaultBackend`.
    Default,
    /// `spec.rules[rule].http.paths[path].backend`.
    Path {
        /// Index in `spec.rules`.
        rule: usize,
        /// Index in `http.paths`.
        path: usize,
    },
}

impl Backend {
    /// JSON pointer of the Service's name.
    #[must_use]
    pub fn service_pointer(&self) -> String {
        self.pointer(if self.is_old_form { "serviceName" } else { "service/name" })
    }

    /// JSON pointer of the Service's port.
    #[must_use]
    pub fn port_pointer(&self) -> String {
        self.pointer(match &self.port {
            _ if self.is_old_form => "servicePort",
            Some(PortRef::Name(_)) => "service/port/name",
            Some(PortRef::Number(_)) => "service/port/number",
            None => "service/port",
        })
    }

    fn pointer(&self, below: &str) -> String {
        match self.place {
            BackendPlace::Default if self.is_old_form => format!("/spec/backend/{below}"),
            BackendPlace::Default => format!("/spec/defaultBackend/{below}"),
            BackendPlace::Path { rule, path } => format!("/spec/rules/{rule}/http/paths/{path}/backend/{below}"),
        }
    }

    /// `shop.example.com/cart`, or `default backend`, for messages.
    #[must_use]
    pub fn route(&self) -> String {
        match self.place {
            BackendPlace::Default => "default backend".to_owned(),
            BackendPlace::Path { .. } if self.path.is_empty() => format!("{}/", self.host),
            BackendPlace::Path { .. } => format!("{}{}", self.host, self.path),
        }
    }

    /// True if both serve the same requests, wherever they lead: host, path and path type (design 4).
    #[must_use]
    pub fn is_same_route(&self, other: &Self) -> bool {
        self.host == other.host
            && self.path == other.path
            && self.path_type == other.path_type
            && (self.place == BackendPlace::Default) == (other.place == BackendPlace::Default)
    }
}

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const ALB_ACTION_ANNOTATION: &str = "alb.ingress.kubernetes.io/actions.";
const ALB_ACTION_PORT: &str = "use-annotation";

impl Ingress {
    pub(super) fn read(meta: Meta, object: &wire::Object<'_>) -> Self {
        let Some(spec) = &object.spec.0 else {
            return Self { meta, class: None, read_timeout: None, backends: Box::default() };
        };
        let annotations = object.metadata.0.as_ref().map(|it| &it.annotations);
        let class = Some(spec.ingress_class_name.text())
            .filter(|it| !it.is_empty())
            .or_else(|| annotations.and_then(|it| it.text(CLASS_ANNOTATION)))
            .map(SmolStr::new);
        let is_alb_action = |backend: &Backend| {
            backend.port == Some(PortRef::Name(SmolStr::new_static(ALB_ACTION_PORT)))
                && annotations.is_some_and(|it| {
                    it.texts().any(|(key, _)| key.strip_prefix(ALB_ACTION_ANNOTATION) == Some(&backend.service))
                })
        };
        let backends = read_backends(spec).into_iter().filter(|it| !is_alb_action(it)).collect();
        let read_timeout = annotations.and_then(ReadTimeout::longest);
        Self { meta, class, read_timeout, backends }
    }
}

fn read_backends(spec: &wire::Spec<'_>) -> Vec<Backend> {
    let mut backends = Vec::new();
    let mut add = |backend: &wire::Maybe<wire::Backend<'_>>, host: &str, path: &str, path_type: &str, place| {
        let Some(backend) = &backend.0 else { return };
        let Some((service, port)) = service_and_port(backend) else { return };
        let is_old_form = !backend.service.is_present();
        let [host, path, path_type] = [host, path, path_type].map(SmolStr::new);
        backends.push(Backend { host, path, path_type, service, port, place, is_old_form });
    };
    add(&spec.default_backend, "", "", "", BackendPlace::Default);
    add(&spec.backend, "", "", "", BackendPlace::Default);
    for (rule_index, rule) in spec.rules.0.iter().enumerate() {
        let Some(http) = &rule.http.0 else { continue };
        for (path_index, path) in http.paths.0.iter().enumerate() {
            let place = BackendPlace::Path { rule: rule_index, path: path_index };
            add(&path.backend, rule.host.text(), path.path.text(), path.path_type.text(), place);
        }
    }
    backends
}

/// The Service of a backend in the v1 or the v1beta1 form; `None` for a resource backend.
fn service_and_port(backend: &wire::Backend<'_>) -> Option<(SmolStr, Option<PortRef>)> {
    if let Some(service) = &backend.service.0 {
        let port = service.port.0.as_ref();
        let number = port.and_then(|it| it.number.int()).filter(|it| *it != 0).map(PortRef::Number);
        let name = || port.and_then(|it| PortRef::read(&it.name));
        return named(service.name.text(), number.or_else(name));
    }
    named(backend.service_name.text(), PortRef::read(&backend.service_port))
}

fn named(service: &str, port: Option<PortRef>) -> Option<(SmolStr, Option<PortRef>)> {
    if service.is_empty() { None } else { Some((SmolStr::new(service), port)) }
}
