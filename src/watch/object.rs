//! What a watch decodes: the identity that the client library asks for, and our facts. The object itself is dropped as soon as
//! it is read, so that no whole Pod is ever kept (reference: performance 5.2).

use std::{borrow::Cow, fmt::Debug, marker::PhantomData};

use k8s_openapi::{ClusterResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::value::RawValue;

use crate::facts::Facts;

/// A kind that can be watched: one of the generated types, of which only the names are used.
pub(super) trait SlimKind: k8s_openapi::Resource + Debug + Clone + Send + Sync + Unpin + 'static {}

impl<K: k8s_openapi::Resource + Debug + Clone + Send + Sync + Unpin + 'static> SlimKind for K {}

/// One object of a kind, reduced to facts.
#[derive(Debug, Clone)]
pub(super) struct Slim<K> {
    metadata: ObjectMeta,
    facts: Facts,
    kind: PhantomData<K>,
}

impl<K> Slim<K> {
    pub(super) fn facts(self) -> Facts {
        self.facts
    }
}

/// The little of `metadata` that the watch itself needs.
#[derive(Deserialize)]
struct Head {
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMetadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
}

impl<'de, K: SlimKind> Deserialize<'de> for Slim<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let facts = Facts::read_item(raw.get(), K::API_VERSION, K::KIND).map_err(D::Error::custom)?;
        let head: Head = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        let HeadMetadata { name, namespace, resource_version } = head.metadata;
        let metadata = ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() };
        Ok(Self { metadata, facts, kind: PhantomData })
    }
}

impl<K: SlimKind> Resource for Slim<K> {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::URL_PATH_SEGMENT.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
