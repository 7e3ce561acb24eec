//! The YAML that installs no502: `no502 manifests | kubectl apply -f -`.
//!
//! The documents are text with comments, under `deploy/`, because platform teams read them before they apply them. What the
//! code knows better than a text (names that other modules use, ports, the resources that are watched and reviewed) is
//! filled in. Every value that comes from outside is parsed into a type first that holds nothing YAML could misread.

use std::{fmt, str::FromStr};

use axum::http::Uri;

use crate::crd;
pub use crate::facts::FAIL_CLOSED_LABEL;

/// Name of the Service, the Deployment, the ServiceAccount, the RBAC objects and both webhook configurations.
pub const NAME: &str = "no502";
/// Name of the Secret in which the replicas share their certificate authority.
pub const CA_SECRET: &str = "no502-ca";
/// Port of the Service: the one the API server calls by default.
pub const SERVICE_PORT: u16 = 443;
/// Port on which the server answers the API server: the kubelet's, because networks that keep the control plane apart let it
/// reach this one.
pub const HTTPS_PORT: u16 = 10250;
/// Port for probes and metrics. No Service leads to it.
pub const ADMIN_PORT: u16 = 8080;
/// Path of the mutating half.
pub const MUTATE_PATH: &str = "/mutate";
/// Path of the validating half.
pub const VALIDATE_PATH: &str = "/validate";
/// Path of what counts the workloads that a change of a policy affects.
pub const PREVIEW_PATH: &str = "/preview";
/// Entries of the mutating webhook configuration: those whose `caBundle` the server writes.
pub const MUTATING_ENTRIES: [&str; 1] = ["mutate.no502.dev"];
/// Entries of the validating webhook configuration.
pub const VALIDATING_ENTRIES: [&str; 3] =
    ["validate.no502.dev", "validate-fail-closed.no502.dev", "validate-policies.no502.dev"];
/// How long the API server waits for an answer. Three calls at most stay far below its 34 s for a whole request.
pub const TIMEOUT_SECONDS: u8 = 3;
/// How long the server answers on after SIGTERM while it is not ready: until no API server uses a pooled connection any more.
pub const DRAIN_SECONDS: u16 = 15;
/// The drain, 10 s for what is in flight then, and as much again for a slow node.
pub const GRACE_SECONDS: u16 = DRAIN_SECONDS + 25;
/// User and group of the process; `Dockerfile` has the same.
pub const USER_ID: u32 = 65532;

/// Namespaces of the cluster itself. Never reviewed: a cluster must be able to heal without us.
const CLUSTER_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// Longest name of a namespace.
const NAMESPACE_BYTES_MAX: usize = 63;
/// Longest image reference: 255 for the repository, 128 for the tag, a digest and separators.
const IMAGE_BYTES_MAX: usize = 512;

const HEADER: &str = "# Written by `no502 manifests`. Give it other options rather than editing this.\n";
const NAMESPACE: &str = include_str!("deploy/namespace.yaml");
const SERVER: &str = include_str!("deploy/server.yaml");
const ROLES: &str = include_str!("deploy/roles.yaml");
const WEBHOOKS: &str = include_str!("deploy/webhooks.yaml");
const VALIDATE_ENTRY: &str = include_str!("deploy/validate-entry.yaml");

const SOME_WRITES: &[&str] = &["CREATE", "UPDATE"];
const ALL_WRITES: &[&str] = &["CREATE", "UPDATE", "DELETE"];

/// Every resource that the server watches or reviews, but the policies: RBAC and webhook rules both come from here.
const RESOURCES: &[Resource] = &[
    Resource { validate: ALL_WRITES, ..Resource::watched("", "v1", "services") },
    // Pods change far too often for more than a look at the ones that no controller makes.
    Resource { validate: &["CREATE"], ..Resource::watched("", "v1", "pods") },
    Resource::watched("", "v1", "namespaces"),
    Resource::watched("", "v1", "nodes"),
    Resource { mutate: SOME_WRITES, validate: ALL_WRITES, ..Resource::watched("apps", "v1", "deployments") },
    Resource { mutate: SOME_WRITES, validate: ALL_WRITES, ..Resource::watched("apps", "v1", "statefulsets") },
    Resource { mutate: SOME_WRITES, validate: ALL_WRITES, ..Resource::watched("apps", "v1", "daemonsets") },
    Resource { validate: ALL_WRITES, ..Resource::watched("apps", "v1", "replicasets") },
    Resource { validate: ALL_WRITES, ..Resource::watched("networking.k8s.io", "v1", "ingresses") },
    Resource {
        group: "argoproj.io",
        version: "v1alpha1",
        name: "rollouts",
        // Not every cluster has them; their ReplicaSets and Pods are watched.
        watch: false,
        mutate: SOME_WRITES,
        validate: SOME_WRITES,
    },
];

struct Resource {
    group: &'static str,
    version: &'static str,
    name: &'static str,
    /// Kept in the snapshot.
    watch: bool,
    /// Operations sent to the mutating half.
    mutate: &'static [&'static str],
    /// Operations sent to the validating half.
    validate: &'static [&'static str],
}

impl Resource {
    const fn watched(group: &'static str, version: &'static str, name: &'static str) -> Self {
        Self { group, version, name, watch: true, mutate: &[], validate: &[] }
    }
}

/// What `no502 manifests` can be told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the server is installed.
    pub namespace: Namespace,
    /// The image to run.
    pub image: Image,
    /// A server outside the cluster: what is installed of it is the webhook configurations that lead to it. The policies and the
    /// roles for people who write them are there as always.
    pub webhook_url: Option<WebhookUrl>,
}

/// Why an option was refused. One line: which flag, what is wrong, what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Not a DNS label.
    #[error("--namespace: {0:?} is not the name of a namespace: use at most 63 of a-z, 0-9 and -, no - at either end")]
    Namespace(String),
    /// A namespace that is not ours to label or to leave out of the reviews.
    #[error("--namespace: {0:?} belongs to the cluster: give no502 a namespace of its own, such as no502-system")]
    NamespaceTaken(String),
    /// Not an image reference.
    #[error("--image: {0:?} is not an image: write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST")]
    Image(String),
    /// Not an URL that a webhook configuration may hold, or more than an origin.
    #[error("--webhook-url: {0:?} is not the address of a server: write https://HOST:PORT and nothing after it")]
    WebhookUrl(String),
}

/// The namespace of the server. By default `no502-system`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// The name that the server's certificate must carry: the API server asks for `<service>.<namespace>.svc`.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{NAME}.{self}.svc")
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("no502-system".to_owned())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Namespace {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = !text.is_empty() && text.len() <= NAMESPACE_BYTES_MAX;
        if !fits || !text.bytes().all(allowed) || text.starts_with('-') || text.ends_with('-') {
            return Err(OptionError::Namespace(text.to_owned()));
        }
        // The Namespace is applied with the labels of a restricted one, and nothing in it is reviewed.
        if text == "default" || CLUSTER_NAMESPACES.contains(&text) {
            return Err(OptionError::NamespaceTaken(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The image of the server. By default `no502:VERSION` of this program, which is what a local build is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(String);

impl Default for Image {
    fn default() -> Self {
        Self(concat!("no502:", env!("CARGO_PKG_VERSION")).to_owned())
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Image {
    type Err = OptionError;

    /// Checks the alphabet only: what is behind a reference, the registry knows.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
        let starts = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        let ends = text.ends_with(|last: char| last.is_ascii_alphanumeric());
        if !starts || !ends || text.len() > IMAGE_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(OptionError::Image(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Origin of a server outside the cluster: `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(String);

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WebhookUrl {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let origin = text.strip_suffix('/').unwrap_or(text);
        if is_https_origin(origin) {
            Ok(Self(origin.to_owned()))
        } else {
            Err(OptionError::WebhookUrl(text.to_owned()))
        }
    }
}

/// The API server accepts neither user, query nor fragment, and the paths are ours.
fn is_https_origin(origin: &str) -> bool {
    let Some(authority) = origin.strip_prefix("https://") else { return false };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if !authority.bytes().all(allowed) {
        return false;
    }
    let Ok(uri) = Uri::from_str(origin) else { return false };
    let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let port_is_good = port.is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    uri.host().is_some_and(|host| !host.is_empty()) && port_is_good
}

/// Renders all documents, in the order in which they are to be applied.
#[must_use]
pub fn render(options: &Options) -> String {
    let values = values(options);
    let server = options.webhook_url.is_none().then_some(SERVER);
    let templates = [NAMESPACE].into_iter().chain(server).chain([ROLES, WEBHOOKS]);
    let documents = templates.map(|document| fill(document, &values));
    // The policies first: a server that starts before it can be taught finds no policies, and says so.
    let documents: Vec<String> = [crd::yaml()].into_iter().chain(documents).collect();
    format!("{HEADER}{}", documents.join("---\n"))
}

fn values(options: &Options) -> Vec<(&'static str, String)> {
    let mut values = vec![
        ("name", NAME.to_owned()),
        ("namespace", options.namespace.to_string()),
        ("image", options.image.to_string()),
        ("ca-secret", CA_SECRET.to_owned()),
        ("labels", format!("{}\napp.kubernetes.io/version: \"{}\"", selector(), env!("CARGO_PKG_VERSION"))),
        ("selector", selector()),
        ("service-port", SERVICE_PORT.to_string()),
        ("https-port", HTTPS_PORT.to_string()),
        ("admin-port", ADMIN_PORT.to_string()),
        ("drain-seconds", DRAIN_SECONDS.to_string()),
        ("grace-seconds", GRACE_SECONDS.to_string()),
        ("user-id", USER_ID.to_string()),
        ("timeout-seconds", TIMEOUT_SECONDS.to_string()),
        ("fail-closed-label", FAIL_CLOSED_LABEL.to_owned()),
        ("not-excluded", not_excluded(&options.namespace)),
        ("mutate-client", client(options, MUTATE_PATH)),
        ("validate-client", client(options, VALIDATE_PATH)),
        ("preview-client", client(options, PREVIEW_PATH)),
        ("policy-group", crd::group().to_owned()),
        ("policy-version", crd::version().to_owned()),
        ("cluster-policies", crd::CLUSTER_PLURAL.to_owned()),
        ("policies", crd::NAMESPACED_PLURAL.to_owned()),
        ("watch-rules", watch_rules()),
        ("mutate-rules", webhook_rules(|resource| resource.mutate)),
        ("validate-rules", webhook_rules(|resource| resource.validate)),
    ];
    let validate_entry = fill(VALIDATE_ENTRY, &values);
    values.push(("validate-entry", validate_entry));
    values
}

/// The labels that never change, so that a newer version still finds its pods.
fn selector() -> String {
    format!("app.kubernetes.io/name: {NAME}\napp.kubernetes.io/component: admission-webhook")
}

/// Selects all namespaces but the cluster's own and ours, by the one label that nobody can take off.
fn not_excluded(own: &Namespace) -> String {
    let excluded = CLUSTER_NAMESPACES.join(", ");
    format!("- key: kubernetes.io/metadata.name\n  operator: NotIn\n  values: [{excluded}, \"{own}\"]")
}

fn client(options: &Options, path: &str) -> String {
    match &options.webhook_url {
        Some(url) => format!("url: \"{url}{path}\""),
        None => format!(
            "service:\n  name: \"{NAME}\"\n  namespace: \"{}\"\n  path: {path}\n  port: {SERVICE_PORT}",
            options.namespace
        ),
    }
}

fn watch_rules() -> String {
    let watched: Vec<&Resource> = RESOURCES.iter().filter(|resource| resource.watch).collect();
    let rules = watched.chunk_by(|one, next| one.group == next.group).map(|group| {
        format!(
            "- apiGroups: {}\n  resources: {}\n  verbs: [list, watch]",
            list(&[group[0].group]),
            list(&names(group))
        )
    });
    rules.collect::<Vec<_>>().join("\n")
}

fn webhook_rules(operations: impl Fn(&Resource) -> &'static [&'static str]) -> String {
    let reviewed: Vec<&Resource> = RESOURCES.iter().filter(|resource| !operations(resource).is_empty()).collect();
    let alike = |one: &&Resource, next: &&Resource| {
        one.group == next.group && one.version == next.version && operations(one) == operations(next)
    };
    let rules = reviewed.chunk_by(alike).map(|group| {
        format!(
            "- apiGroups: {}\n  apiVersions: {}\n  resources: {}\n  operations: {}\n  scope: Namespaced",
            list(&[group[0].group]),
            list(&[group[0].version]),
            list(&names(group)),
            list(operations(group[0]))
        )
    });
    rules.collect::<Vec<_>>().join("\n")
}

fn names(resources: &[&Resource]) -> Vec<&'static str> {
    resources.iter().map(|resource| resource.name).collect()
}

/// A list in one line. The items are words of this file; only the core group has no name.
fn list(items: &[&str]) -> String {
    let items: Vec<&str> = items.iter().map(|item| if item.is_empty() { "\"\"" } else { item }).collect();
    format!("[{}]", items.join(", "))
}

/// Puts values in the place of `{{key}}`. A key alone on its line takes all lines of its value, indented as it is.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    for line in template.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let key = line.trim_start().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        let block = key.and_then(|key| values.iter().find(|(name, _)| *name == key));
        match block {
            Some((_, value)) => value.lines().for_each(|line| filled.extend([indent, line, "\n"])),
            None => filled.extend([fill_line(line, values).as_str(), "\n"]),
        }
    }
    filled
}

fn fill_line(line: &str, values: &[(&str, String)]) -> String {
    if !line.contains("{{") {
        return line.to_owned();
    }
    values.iter().fold(line.to_owned(), |line, (key, value)| line.replace(&format!("{{{{{key}}}}}"), value))
}
