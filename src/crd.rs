//! The custom resource definitions of the policies, made from the table of settings: what [`crate::policy`] reads without a
//! complaint, the API server stores, and what it complains about, the API server refuses with a message that says the fix.
//!
//! - Where the schema is stricter than the reader, a comment beside it says why.
//! - No setting has a default. A policy sets what it says and nothing else, field by field, and what it does not say comes from
//!   the level below; a default would be one more thing that it says. The priority, which is no setting, has one: 0.
//! - Every text, list and map has an upper limit, which keeps the rules within the budget that the API server has for them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod bounds;
mod settings;
mod spec;
mod status;

use serde_json::{Value as Json, json};
use serde_saphyr::ser_options;

use crate::policy::{API_VERSION, CLUSTER_KIND, NAMESPACED_KIND, PolicyName};

pub use self::status::EXEMPTION_PROBLEMS_MAX;

/// How the API calls the policies of a cluster: in paths, roles and webhook rules.
pub const CLUSTER_PLURAL: &str = "clusterrolloutpolicies";

/// How the API calls the policies of namespaces.
pub const NAMESPACED_PLURAL: &str = "rolloutpolicies";

/// `kubectl get no502` lists policies of both kinds.
pub const CATEGORY: &str = "no502";

/// Longest line of folded text in the YAML, in characters.
const LINE_CHARS: usize = 120;

/// One of the two kinds of policies, as the API has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// `ClusterRolloutPolicy`.
    Cluster,
    /// `RolloutPolicy`.
    Namespaced,
}

impl PolicyKind {
    /// Both, that of the cluster first.
    pub const ALL: [Self; 2] = [Self::Cluster, Self::Namespaced];

    /// The kind of the policy that is called so.
    #[must_use]
    pub fn of(name: &PolicyName) -> Self {
        if name.namespace.is_empty() { Self::Cluster } else { Self::Namespaced }
    }

    /// True for the one whose policies are in no namespace.
    #[must_use]
    pub fn is_cluster(self) -> bool {
        self == Self::Cluster
    }

    /// As objects write it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        if self.is_cluster() { CLUSTER_KIND } else { NAMESPACED_KIND }
    }

    /// In paths, roles, logs and metrics.
    #[must_use]
    pub fn plural(self) -> &'static str {
        if self.is_cluster() { CLUSTER_PLURAL } else { NAMESPACED_PLURAL }
    }

    fn short_name(self) -> &'static str {
        if self.is_cluster() { "crpol" } else { "rpol" }
    }

    fn about(self) -> &'static str {
        if self.is_cluster() {
            "What no502 does in the namespaces that are selected, and what teams may change of it. Settings count field by field: a \
             higher priority over a lower one, then a namespace's annotations, its RolloutPolicies, a workload's annotations."
        } else {
            "What no502 does in this namespace, or for the workloads that are selected in it, within the bounds and locks of \
             ClusterRolloutPolicies. Settings count field by field."
        }
    }
}

/// The API group of the policies.
#[must_use]
pub fn group() -> &'static str {
    API_VERSION.split_once('/').map_or(API_VERSION, |(group, _)| group)
}

/// The version of the API group.
#[must_use]
pub fn version() -> &'static str {
    API_VERSION.split_once('/').map_or("", |(_, version)| version)
}

/// Both definitions, that of the cluster's policies first.
#[must_use]
pub fn definitions() -> [Json; 2] {
    PolicyKind::ALL.map(definition)
}

/// Both definitions as YAML documents.
///
/// # Panics
/// Never: every JSON value can be written as YAML, and a text takes whatever is written.
#[must_use]
pub fn yaml() -> String {
    let options = ser_options! { compact_list_indent: false, folded_wrap_chars: LINE_CHARS };
    let document = |it: &Json| serde_saphyr::to_string_with_options(it, options.clone()).expect("JSON is YAML");
    definitions().each_ref().map(document).join("---\n")
}

fn definition(kind: PolicyKind) -> Json {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", kind.plural(), group()),
            "labels": { "app.kubernetes.io/name": "no502", "app.kubernetes.io/version": env!("CARGO_PKG_VERSION") },
        },
        "spec": {
            "group": group(),
            "scope": if kind.is_cluster() { "Cluster" } else { "Namespaced" },
            "names": {
                "kind": kind.kind(),
                "listKind": format!("{}List", kind.kind()),
                "plural": kind.plural(),
                "singular": kind.kind().to_ascii_lowercase(),
                "shortNames": [kind.short_name()],
                "categories": [CATEGORY],
            },
            "versions": [{
                "name": version(),
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns(kind),
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "description": kind.about(),
                    // Not of the reader, for which a policy without a spec says nothing: it was meant to say something.
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": { "type": "string" },
                        "kind": { "type": "string" },
                        "metadata": { "type": "object" },
                        "spec": spec::schema(kind),
                        "status": status::schema(kind),
                    },
                } },
            }],
        },
    })
}

/// What `kubectl get` shows; with `-o wide` also those of priority 1.
fn columns(kind: PolicyKind) -> Vec<Json> {
    let column = |name: &str, r#type: &str, path: &str| json!({ "name": name, "type": r#type, "jsonPath": path });
    let condition = |name: &str| column(name, "string", &format!(".status.conditions[?(@.type==\"{name}\")].status"));
    let wide = |mut column: Json| {
        column["priority"] = json!(1);
        column
    };
    let mut columns =
        vec![column("Priority", "integer", ".spec.priority"), condition("Accepted"), condition("Degraded")];
    columns.extend(kind.is_cluster().then(|| column("Namespaces", "integer", ".status.namespacesMatched")));
    columns.push(column("Exemptions", "integer", ".status.exemptions.active"));
    columns.push(wide(column("Expired", "integer", ".status.exemptions.expired")));
    columns.push(wide(column("Unused", "integer", ".status.exemptions.unused")));
    columns.push(column("Age", "date", ".metadata.creationTimestamp"));
    columns
}

/// A rule of CEL with a message that says what to do.
fn rule(rule: impl Into<String>, message: impl Into<String>) -> Json {
    json!({ "rule": rule.into(), "message": message.into() })
}

/// The same with a message that is an expression.
fn rule_saying(rule: impl Into<String>, message: impl Into<String>) -> Json {
    json!({ "rule": rule.into(), "messageExpression": message.into() })
}

/// A list of texts in CEL.
fn cel_list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|it| format!("'{}'", it.as_ref())).collect();
    format!("[{}]", items.join(", "))
}
