//! Random policies, namespaces and workloads for the laws of policies: few names, labels and values, so that policies meet, tie,
//! bound and lock each other.

use no502::{
    policy::{API_VERSION, EXEMPTION_DAYS, EXEMPTIONS, Field, Shape},
    rules,
};
use serde_json::{Map, Value, json};

use crate::{
    stage,
    worlds::{Dice, Object},
};

/// A namespace, its policies and those of the cluster, and a workload in it.
#[derive(Debug, Clone)]
pub(crate) struct PolicyWorld {
    pub(crate) policies: Vec<Object>,
    pub(crate) namespace: Object,
    pub(crate) workload: Object,
}

pub(crate) const NAMESPACE: &str = "shop";

pub(crate) fn world(dice: &mut Dice) -> PolicyWorld {
    let policies: Vec<Object> = (0..dice.below(7)).map(|index| Object(policy(dice, index))).collect();
    PolicyWorld { policies, namespace: Object(namespace(dice)), workload: Object(workload(dice)) }
}

pub(crate) fn policy(dice: &mut Dice, index: usize) -> Value {
    // Names are in no order of the list, and the two kinds may share one.
    let name = format!("{}{index}", dice.pick(&["a", "b", "c"]));
    let mut spec = Map::new();
    spec.insert("settings".to_owned(), settings(dice, index));
    if dice.chance(60) {
        spec.insert("priority".to_owned(), json!(dice.pick(&[0, 0, 1, -1, 7])));
    }
    if dice.chance(55) {
        if dice.chance(40) {
            spec.insert("namespaceSelector".to_owned(), selector(dice, &["team", "tier"]));
        }
        if dice.chance(40) {
            spec.insert("bounds".to_owned(), bounds(dice));
        }
        if dice.chance(40) {
            let lock = |dice: &mut Dice| {
                if dice.chance(20) {
                    return EXEMPTIONS.to_owned();
                }
                if dice.chance(15) { dice.pick(&Field::GROUPS).to_owned() } else { field(dice).path().into_owned() }
            };
            let locked: Vec<String> = (0..=dice.below(3)).map(|_| lock(dice)).collect();
            spec.insert("locked".to_owned(), json!(locked));
        }
        if dice.chance(20) {
            spec.insert("exemptions".to_owned(), exemptions(dice));
        }
        return json!({ "apiVersion": API_VERSION, "kind": "ClusterRolloutPolicy", "metadata": { "name": name }, "spec": spec });
    }
    if dice.chance(40) {
        spec.insert("workloadSelector".to_owned(), selector(dice, &["app"]));
    } else if dice.chance(50) {
        spec.insert("exemptions".to_owned(), exemptions(dice));
    }
    // One of another namespace says nothing here.
    let namespace = dice.pick(&[NAMESPACE, NAMESPACE, NAMESPACE, "till"]);
    let metadata = json!({ "name": name, "namespace": namespace });
    json!({ "apiVersion": API_VERSION, "kind": "RolloutPolicy", "metadata": metadata, "spec": spec })
}

fn field(dice: &mut Dice) -> Field {
    let all: Vec<Field> = Field::all().collect();
    dice.pick(&all)
}

fn settings(dice: &mut Dice, index: usize) -> Value {
    let mut settings = json!({});
    for _ in 0..dice.below(6) {
        let field = field(dice);
        let pointer = format!("/{}", field.path().replace('.', "/"));
        stage::set(&mut settings, &pointer, &value(dice, field, index));
    }
    if dice.chance(15) {
        stage::set(&mut settings, "/injection/preStop/preset", &json!(dice.pick(&["gke-neg", "aws-nlb-ip"])));
    }
    settings
}

/// Mostly a value that may be.
fn value(dice: &mut Dice, field: Field, index: usize) -> Value {
    if dice.chance(5) {
        return dice.pick(&[json!(null), json!("?"), json!(-1), json!({}), json!([7]), json!(true)]);
    }
    match field.definition().shape {
        Shape::Flag => json!(dice.chance(50)),
        Shape::Number { min, max } => json!(dice.pick(&[min, max, 5, 7, 30 + i64::try_from(index).unwrap()])),
        Shape::Sleep => json!(dice.pick(&[0, 5, 20, 120, 300])),
        Shape::Word(words) => json!(dice.pick(words)),
        Shape::Kinds => dice.pick(&[json!(["Deployment"]), json!(["StatefulSet", "Rollout"]), json!([])]),
        Shape::Port => dice.pick(&[json!(8080), json!("http")]),
        Shape::Names { .. } => dice.pick(&[json!(["web"]), json!(["a", "b"]), json!([])]),
    }
}

fn bounds(dice: &mut Dice) -> Value {
    let all: Vec<Field> = Field::all().filter(|it| it.can_be_bounded()).collect();
    let bound = |dice: &mut Dice| {
        let field = dice.pick(&all);
        let (low, high, [min, max]) = match field.definition().shape {
            Shape::Word(words) => (json!(words[dice.below(2)]), json!(dice.pick(&words[1..])), ["atLeast", "atMost"]),
            _ => (json!(dice.pick(&[1, 6, 15])), json!(dice.pick(&[15, 60, 200])), ["min", "max"]),
        };
        let mut bound = json!({ "field": field.path() });
        let ends = dice.below(3);
        if ends != 1 {
            bound[min] = low;
        }
        if ends != 2 {
            bound[max] = high;
        }
        bound
    };
    let mut bounds: Vec<Value> = (0..=dice.below(2)).map(|_| bound(dice)).collect();
    if dice.chance(40) {
        bounds.push(json!({ "field": EXEMPTION_DAYS, "max": dice.pick(&[10, 100]) }));
    }
    Value::Array(bounds)
}

/// Rules that exemptions are from.
pub(crate) const EXEMPT_RULES: [&str; 2] = ["service-selects-nothing", "probe-port-unresolved"];

/// Expired, soon, in a year; the tests' clock stands in November 2026.
fn exemptions(dice: &mut Dice) -> Value {
    let exemption = |dice: &mut Dice| {
        let mut target = json!({
            "kind": dice.pick(&["Deployment", "Deployment", "Service"]),
            "name": dice.pick(&["web", "*", "w?b", "*b", "api"]),
        });
        if dice.chance(25) {
            target["container"] = json!(dice.pick(&["web", "proxy"]));
        }
        json!({
            "rule": dice.pick(&EXEMPT_RULES),
            "target": target,
            "reason": "known",
            "expires": dice.pick(&["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", "2026-12-30T00:00:00Z", "2027-11-01T00:00:00Z"]),
        })
    };
    Value::Array((0..=dice.below(3)).map(|_| exemption(dice)).collect())
}

fn selector(dice: &mut Dice, keys: &[&str]) -> Value {
    let (key, value) = (dice.pick(keys), dice.pick(&["a", "b"]));
    match dice.below(4) {
        0 => json!({ "matchLabels": { key: value } }),
        1 => json!({ "matchExpressions": [{ "key": key, "operator": "NotIn", "values": [value] }] }),
        2 => json!({ "matchExpressions": [{ "key": key, "operator": dice.pick(&["Exists", "DoesNotExist"]) }] }),
        _ => json!({}),
    }
}

fn labels(dice: &mut Dice, keys: &[&str]) -> Value {
    let mut labels = Map::new();
    for key in keys {
        if dice.chance(60) {
            labels.insert((*key).to_owned(), json!(dice.pick(&["a", "b"])));
        }
    }
    Value::Object(labels)
}

/// Annotations, most of which say something.
fn annotations(dice: &mut Dice) -> Value {
    let mut annotations = Map::new();
    let keys: Vec<&str> =
        no502::policy::DEFINITIONS.iter().map(|it| it.annotation).filter(|it| !it.is_empty()).collect();
    for _ in 0..dice.below(4) {
        let key = dice.pick(&keys);
        let text = dice.pick(&["warn", "off", "enabled", "5", "45", "true", "strict", "http", "web", "Rollout", "?"]);
        annotations.insert(format!("no502.dev/{key}"), json!(text));
    }
    if dice.chance(10) {
        annotations.insert("no502.dev/preset".to_owned(), json!(dice.pick(&["gke-neg", "nowhere"])));
    }
    Value::Object(annotations)
}

fn namespace(dice: &mut Dice) -> Value {
    let metadata =
        json!({ "name": NAMESPACE, "labels": labels(dice, &["team", "tier"]), "annotations": annotations(dice) });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
}

fn workload(dice: &mut Dice) -> Value {
    let kind = dice.pick(&["Deployment", "Deployment", "StatefulSet"]);
    let mut metadata = json!({
        "name": "web",
        "namespace": NAMESPACE,
        "labels": labels(dice, &["app"]),
        "annotations": annotations(dice),
    });
    if dice.chance(15) {
        let owner = json!({ "apiVersion": "example.com/v1", "kind": "App", "name": "web", "controller": true });
        metadata["ownerReferences"] = json!([owner]);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" }, "annotations": dice.maybe(20, annotations) },
                "spec": {
                    "containers": [{ "name": "web", "ports": [{ "name": "http", "containerPort": 8080 }] }],
                },
            },
        },
    })
}

/// A policy with something in it that nobody can read: a wrong type, an odd text, a field that is not there.
pub(crate) fn mangled(dice: &mut Dice, mut policy: Value) -> Value {
    let odd = [
        json!(null),
        json!(7),
        json!(-1.5),
        json!("x"),
        json!([]),
        json!({}),
        json!([[{}]]),
        json!({ "x": { "y": [1] } }),
        json!("\u{0}\n\"no502"),
        json!(18_446_744_073_709_551_615_u64),
    ];
    for _ in 0..=dice.below(3) {
        let pointers = pointers(&policy);
        let pointer = dice.pick(&pointers);
        match dice.below(3) {
            0 => *policy.pointer_mut(&pointer).unwrap() = dice.pick(&odd),
            1 => {
                if let Some(Value::Object(map)) = policy.pointer_mut(&pointer) {
                    map.insert(dice.pick(&["surprise", "", "profil", "spec"]).to_owned(), dice.pick(&odd));
                }
            }
            _ => {
                if let Some(Value::Array(list)) = policy.pointer_mut(&pointer) {
                    list.push(dice.pick(&odd));
                }
            }
        }
    }
    let exemption = |dice: &mut Dice| {
        json!({
            "rule": dice.pick(&[json!(rules::ALL[0].id), json!("nothing"), json!(7)]),
            "target": dice.pick(&[json!({ "kind": "Service", "name": "*" }), json!({ "kind": "" }), json!("x")]),
            "reason": dice.pick(&[json!("because"), json!(" "), json!(null)]),
            "expires": dice.pick(&[json!("2027-01-31T00:00:00Z"), json!("tomorrow"), json!(1)]),
        })
    };
    if dice.chance(30)
        && let Some(Value::Object(spec)) = policy.pointer_mut("/spec")
    {
        spec.insert("exemptions".to_owned(), Value::Array((0..=dice.below(3)).map(|_| exemption(dice)).collect()));
    }
    policy
}

/// Every place of a document.
fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut add = |key: String, value: &Value| found.extend(pointers(value).iter().map(|it| format!("/{key}{it}")));
    match value {
        Value::Object(map) => map.iter().for_each(|(key, it)| add(key.replace('~', "~0").replace('/', "~1"), it)),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, it)| add(index.to_string(), it)),
        _ => {}
    }
    found
}
