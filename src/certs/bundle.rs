//! The `caBundle` of our two webhook configurations: looked at often, repaired when it is not what the Secret says.
//!
//! Server-side apply of that field alone, under one field manager for all replicas: the rest of the configuration stays
//! with whoever installed it.

use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::json;

use super::{CertsError, rotation::Seen};

/// Who owns the `caBundle` fields, on every replica.
pub const FIELD_MANAGER: &str = "no502-ca-bundle";

/// One of the two webhook configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Configuration {
    /// A `MutatingWebhookConfiguration` by name.
    Mutating(String),
    /// A `ValidatingWebhookConfiguration` by name.
    Validating(String),
}

impl Configuration {
    fn name(&self) -> &str {
        match self {
            Self::Mutating(name) | Self::Validating(name) => name,
        }
    }

    fn resource(&self) -> ApiResource {
        match self {
            Self::Mutating(_) => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Self::Validating(_) => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        }
    }
}

impl std::fmt::Display for Configuration {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.resource().kind, self.name())
    }
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(rename = "clientConfig")]
    client_config: ClientConfig,
}

#[derive(Deserialize)]
struct ClientConfig {
    #[serde(rename = "caBundle", default)]
    ca_bundle: ByteString,
}

/// Looks at `configuration` and repairs it if need be. What is returned is what was seen **before** the repair.
pub(super) async fn keep_right(
    client: &Client,
    configuration: &Configuration,
    bundle: &str,
) -> Result<Seen, CertsError> {
    let resource = configuration.resource();
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let live = api.get_opt(configuration.name()).await;
    let live = live.map_err(|error| CertsError::api("read", configuration.to_string(), error))?;
    let Some(live) = live else { return Ok(Seen::Missing) };
    let entries = entries(&live, configuration)?;
    if entries.iter().all(|entry| entry.client_config.ca_bundle.0 == bundle.as_bytes()) {
        return Ok(Seen::Right);
    }
    let wanted = ByteString(bundle.as_bytes().to_vec());
    let webhooks: Vec<_> =
        entries.iter().map(|entry| json!({ "name": entry.name, "clientConfig": { "caBundle": wanted } })).collect();
    let patch = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        // With the version that was read, an apply cannot bring back what somebody has just deleted or changed.
        "metadata": { "name": configuration.name(), "resourceVersion": live.metadata.resource_version },
        "webhooks": webhooks,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api.patch(configuration.name(), &params, &Patch::Apply(&patch)).await;
    applied.map_err(|error| CertsError::api("apply", configuration.to_string(), error))?;
    tracing::info!(entries = entries.len(), "{configuration}: caBundle applied");
    Ok(Seen::Wrong)
}

fn entries(live: &DynamicObject, configuration: &Configuration) -> Result<Vec<Entry>, CertsError> {
    let Some(webhooks) = live.data.get("webhooks").filter(|webhooks| !webhooks.is_null()) else {
        return Ok(Vec::new());
    };
    Vec::deserialize(webhooks).map_err(|error| CertsError::content(configuration.to_string(), error.to_string()))
}
