//! What a watch of policies decodes: the object as plain JSON, whatever it says. Nothing that somebody stores may end a watch: a
//! schema can be another version's, and nesting deeper than a parser follows is kept as an unreadable field.

use std::borrow::Cow;

use k8s_openapi::{ClusterResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value as Json, json, value::RawValue};

use crate::{
    crd::{self, PolicyKind},
    policy::{API_VERSION, PolicyName},
    policy_status::Stored,
};

/// A policy as it is stored, without what nobody needs of it.
#[derive(Debug, Clone)]
pub(super) struct RawPolicy {
    metadata: ObjectMeta,
    /// As [`crate::policy::ReadPolicy`] reads it, without status.
    pub(super) object: Json,
    pub(super) stored: Stored,
}

impl RawPolicy {
    pub(super) fn name(&self) -> PolicyName {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default().into();
        PolicyName { namespace, name: self.metadata.name.as_deref().unwrap_or_default().into() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    metadata: WireMetadata,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    uid: Option<String>,
    #[serde(default)]
    generation: i64,
}

/// What stands for a part that is nested deeper than it can be read. No setting is a text there, so that the policy counts as
/// unreadable.
const TOO_DEEP: &str = "(nested too deeply to be read)";

fn part(raw: Option<&RawValue>) -> Json {
    raw.map_or(Json::Null, |it| serde_json::from_str(it.get()).unwrap_or_else(|_| json!(TOO_DEEP)))
}

impl<'de> Deserialize<'de> for RawPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let wire: Wire<'_> = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        let WireMetadata { name, namespace, resource_version, uid, generation } = wire.metadata;
        let implied = if namespace.is_some() { PolicyKind::Namespaced } else { PolicyKind::Cluster };
        let object = json!({
            // Both are in every object; a list of the API server need not repeat them.
            "apiVersion": wire.api_version.as_deref().unwrap_or(API_VERSION),
            "kind": wire.kind.as_deref().unwrap_or(implied.kind()),
            "metadata": { "name": name, "namespace": namespace, "generation": generation, "uid": uid },
            "spec": part(wire.spec),
        });
        let stored = Stored {
            uid: uid.unwrap_or_default(),
            resource_version: resource_version.clone().unwrap_or_default(),
            generation,
            status: part(wire.status),
        };
        let metadata = ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() };
        Ok(Self { metadata, object, stored })
    }
}

impl Resource for RawPolicy {
    type DynamicType = PolicyKind;
    type Scope = ClusterResourceScope;

    fn kind(kind: &PolicyKind) -> Cow<'_, str> {
        kind.kind().into()
    }

    fn group(_: &PolicyKind) -> Cow<'_, str> {
        crd::group().into()
    }

    fn version(_: &PolicyKind) -> Cow<'_, str> {
        crd::version().into()
    }

    fn plural(kind: &PolicyKind) -> Cow<'_, str> {
        kind.plural().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ReadPolicy;

    fn read(text: &str) -> RawPolicy {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn whatever_is_stored_is_read() {
        let metadata = r#""metadata":{"name":"a","namespace":"shop","generation":3,"uid":"u","resourceVersion":"7"}"#;
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        for (spec, problem) in [
            ("7".to_owned(), "spec: 7 is ignored"),
            (r#"{"settings":[]}"#.to_owned(), "spec.settings: [] is ignored"),
            (format!(r#"{{"settings":{deep}}}"#), "spec: \"(nested too deeply to be read)\" is ignored"),
        ] {
            let policy = read(&format!(
                r#"{{"apiVersion":"no502.dev/v1alpha1","kind":"RolloutPolicy",{metadata},"spec":{spec},"status":{deep}}}"#
            ));
            assert_eq!(policy.stored.resource_version, "7");
            let problems = ReadPolicy::read(&policy.object).expect("a policy").problems;
            assert!(problems.len() == 1 && problems[0].starts_with(problem), "{problems:?}");
        }
        let bare = read(&format!("{{{metadata}}}"));
        let read = ReadPolicy::read(&bare.object).expect("a policy");
        assert_eq!((read.problems.len(), read.policy.generation, &*read.policy.uid), (0, 3, "u"));
        assert_eq!(read.policy.name, bare.name());
    }
}
