//! An explanation for programs: the JSON that `deploy/policies.md` describes.

use serde_json::{Map, Value as Json, json};

use super::{BreakGlass, ExemptionNote, Explained, Explanation, FieldValue, PolicyName, Source, Speaker, Why};

impl Explanation {
    /// The explanation as JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let object = self.workload.as_ref().map(|it| json!({ "kind": it.kind, "name": it.name }));
        json!({
            "namespace": self.namespace,
            "namespaceIsKnown": self.namespace_is_known,
            "workload": object,
            "isExemptNamespace": self.is_exempt_namespace,
            "failsClosed": self.fails_closed,
            "policies": self.policies.iter().map(Speaker::to_json).collect::<Vec<_>>(),
            "settings": self.settings.iter().map(|it| self.setting_json(it)).collect::<Vec<_>>(),
            "exemptions": self.exemptions.iter().map(ExemptionNote::to_json).collect::<Vec<_>>(),
            "breakGlass": self.break_glass.to_json(),
            "problems": self.problems,
            "unreadablePolicies": self.unreadable.iter().map(|it| with(name_json(&it.name), [
                ("problems", json!(it.problems)),
                ("inForce", json!(if it.is_last_good { "last good version" } else { "what can be read" })),
            ])).collect::<Vec<_>>(),
            "ties": self.ties.iter().map(|it| json!({
                "path": it.field.path(), "winner": it.winner, "loser": it.loser,
            })).collect::<Vec<_>>(),
        })
    }

    fn setting_json(&self, setting: &Explained) -> Json {
        let overridden = setting.overridden.iter().map(|it| {
            let (why, policy) = it.why.code();
            let mut json = json!({ "value": it.value.to_json(), "source": self.source_json(&it.source), "why": why });
            if let Some(policy) = policy {
                json["policy"] = json!(policy);
            }
            json
        });
        let mut json = json!({
            "path": setting.field.path(),
            "value": setting.value.as_ref().map(FieldValue::to_json),
            "source": self.source_json(&setting.source),
            "overridden": overridden.collect::<Vec<_>>(),
            "bound": setting.bound,
            "boundedBy": setting.bounded_by,
            "lockedBy": setting.locked_by,
        });
        if let Some(FieldValue::Preset(preset)) = &setting.value {
            json["preset"] = json!(preset.name());
        }
        json
    }

    fn source_json(&self, source: &Source) -> Json {
        let workload = self.workload.as_ref().map(|it| it.name.as_str()).unwrap_or_default();
        match source {
            Source::BuiltIn | Source::Flag => json!({ "kind": source.kind() }),
            Source::ClusterPolicy(name) | Source::Policy(name) => json!({ "kind": source.kind(), "name": name }),
            Source::Namespace => json!({ "kind": source.kind(), "name": self.namespace }),
            Source::Workload => json!({ "kind": source.kind(), "name": workload }),
        }
    }
}

impl Speaker {
    fn to_json(&self) -> Json {
        with(
            name_json(&self.name),
            [
                ("priority", json!(self.priority)),
                ("selectsWorkloads", json!(self.selects_workloads)),
                ("counts", json!(self.counts)),
            ],
        )
    }
}

impl ExemptionNote {
    fn to_json(&self) -> Json {
        let it = &self.exemption;
        json!({
            "rule": it.rule,
            "target": {
                "kind": it.target.kind,
                "name": it.target.name.to_string(),
                "container": it.target.container,
            },
            "reason": it.reason,
            "expires": it.expires.to_string(),
            "daysLeft": self.days_left,
            "standing": self.standing.name(),
            "heldBy": self.held_by,
            "policy": name_json(&it.policy),
        })
    }
}

impl BreakGlass {
    fn to_json(&self) -> Json {
        let until = self.until.as_ref().map(|it| match it {
            Ok(until) => until.to_string(),
            Err(text) => text.trim_matches('"').to_owned(),
        });
        json!({ "groups": self.groups, "until": until, "isOpen": self.is_open })
    }
}

impl Why {
    /// For programs, and the cluster policy that has to do with it.
    fn code(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::LowerLevel => ("LowerLevel", None),
            Self::LowerPriority => ("LowerPriority", None),
            Self::TieByName => ("TieByName", None),
            Self::SelectsAll => ("SelectsAll", None),
            Self::SaidTwice => ("SaidTwice", None),
            Self::Locked(policy) => ("Locked", Some(policy)),
            Self::ProfileHeld(policy) => ("ProfileHeld", Some(policy)),
            Self::OutOfBounds(policy) => ("OutOfBounds", Some(policy)),
        }
    }
}

fn name_json(name: &PolicyName) -> Map<String, Json> {
    Map::from_iter([("kind".to_owned(), json!(name.kind())), ("name".to_owned(), json!(name.name))])
}

fn with<const N: usize>(mut map: Map<String, Json>, members: [(&str, Json); N]) -> Json {
    map.extend(members.map(|(key, value)| (key.to_owned(), value)));
    Json::Object(map)
}
