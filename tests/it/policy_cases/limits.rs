//! Every setting, bound, lock, selector and exemption at and beyond its limits.

use no502::policy::{EXEMPTION_DAYS, EXEMPTION_DAYS_MAX, Field, PRIORITY_MAX, Reach, SLEEP_SECONDS_MAX, Shape};
use serde_json::{Value, json};

use super::{cluster, exemption, namespaced};

/// Policies about each of which the API server, asked strictly, and the reader have to be of one mind.
pub(crate) fn limits() -> Vec<Value> {
    let mut policies: Vec<Value> = Vec::new();
    for field in Field::all() {
        for value in samples(field.definition().shape) {
            let spec = json!({ "settings": nested(&field.path(), &value) });
            policies.push(cluster(&spec));
            // A field that is not there is refused with null in it, too, which the reader takes for absent.
            if field.definition().reach != Reach::Cluster || !value.is_null() {
                policies.push(namespaced(&spec));
            }
        }
        let path = field.path();
        let dear = path.strip_prefix("actions.").map(|rule| format!("action.{rule}"));
        policies.extend(
            [Some(path.into_owned()), dear].into_iter().flatten().map(|it| cluster(&json!({ "locked": [it] }))),
        );
    }
    for lock in [
        json!("actions"),
        json!("exemptions"),
        json!("injection"),
        json!("injection.preStop"),
        json!("injection.pre"),
        json!(""),
        json!(1),
        Value::Null,
    ] {
        policies.push(cluster(&json!({ "locked": [lock] })));
    }
    policies.extend(bound_limits().iter().map(|it| cluster(&json!({ "bounds": [it] }))));
    policies.extend(exemption_limits().iter().map(|it| namespaced(&json!({ "exemptions": it }))));
    for selector in selector_limits() {
        policies.push(cluster(&json!({ "namespaceSelector": selector })));
        policies.push(namespaced(&json!({ "workloadSelector": selector })));
    }
    policies.extend(shapes());
    policies
}

fn nested(path: &str, value: &Value) -> Value {
    path.rsplit('.').fold(value.clone(), |value, key| json!({ key: value }))
}

fn samples(shape: Shape) -> Vec<Value> {
    let odd = [
        Value::Null,
        json!(true),
        json!(""),
        json!("x y"),
        json!([]),
        json!({}),
        json!(1.5),
        json!(-1),
        json!(1_i64 << 40),
    ];
    let mut samples = odd.to_vec();
    match shape {
        Shape::Flag => samples.extend([json!(false), json!("true"), json!(1)]),
        Shape::Number { min, max } => samples.extend(around(min, max)),
        Shape::Sleep => samples.extend(around(0, SLEEP_SECONDS_MAX)),
        Shape::Word(words) => {
            samples.extend(words.iter().map(|it| json!(it)));
            samples.extend(words.iter().map(|it| json!(it.to_uppercase())));
        }
        Shape::Kinds => samples.extend([
            json!(["Deployment"]),
            json!(["Deployment", "StatefulSet", "DaemonSet", "Rollout"]),
            json!(["Pod"]),
            json!("Deployment"),
            json!([1]),
            json!([null]),
        ]),
        Shape::Port => {
            samples.extend([1, 65_535, 0, 65_536].map(Value::from));
            let texts = ["http", "1", "65535", "0", "65536", "-1", "-", "1-a", "--5", "HTTP", "a_b", "00080", "é"];
            samples.extend(texts.map(Value::from));
            let lengths = ["a", "1", "0"].into_iter().flat_map(|it| [15, 16, 40].map(|times| it.repeat(times)));
            samples.extend(lengths.map(Value::from));
        }
        Shape::Names { max, chars_max, .. } => {
            let names = |count: usize| (0..count).map(|it| format!("n{it}")).collect::<Value>();
            samples.extend([names(1), names(max), names(max + 1), json!("n"), json!([1]), json!([""]), json!([null])]);
            samples.extend([chars_max, chars_max + 1].map(|chars| json!(["é".repeat(chars)])));
        }
    }
    samples
}

fn around(min: i64, max: i64) -> Vec<Value> {
    [min - 1, min, min + 1, max - 1, max, max + 1]
        .map(Value::from)
        .into_iter()
        .chain([json!(min.to_string())])
        .collect()
}

/// Bounds as they are meant to be written: numbers with `min` and `max`, words with `atLeast` and `atMost`.
fn bound_limits() -> Vec<Value> {
    let mut bounds =
        vec![json!({}), json!({ "min": 1 }), json!(1), json!({ "field": "profile", "atLeast": "advise", "most": 1 })];
    let unordered =
        ["enabled", "injection.kinds", "injection.readiness.port", "actions.readiness-missing", "actions", "", "x"];
    bounds.extend(unordered.map(|it| json!({ "field": it, "min": 1 })));
    for field in Field::all().filter(|it| it.can_be_bounded()) {
        let (keys, ends) = match field.definition().shape {
            Shape::Number { min, max } => (["min", "max"], numbers(min, max)),
            Shape::Sleep => (["min", "max"], numbers(0, SLEEP_SECONDS_MAX)),
            _ => (
                ["atLeast", "atMost"],
                ["off", "warn", "inject", "advise", "standard", "strict", "x"].map(Value::from).to_vec(),
            ),
        };
        let ends = || [Value::Null].into_iter().chain(ends.iter().cloned());
        for (low, high) in ends().flat_map(|low| ends().map(move |high| (low.clone(), high))) {
            bounds.push(json!({ "field": field.path(), keys[0]: low, keys[1]: high }));
        }
    }
    let days = [
        json!(null),
        json!(0),
        json!(1),
        json!(EXEMPTION_DAYS_MAX),
        json!(EXEMPTION_DAYS_MAX + 1),
        json!("30"),
        json!(1.5),
    ];
    bounds.extend(days.map(|it| json!({ "field": EXEMPTION_DAYS, "max": it })));
    bounds
}

fn numbers(min: i64, max: i64) -> Vec<Value> {
    [min - 1, min, i64::midpoint(min, max), max, max + 1].map(Value::from).to_vec()
}

/// Lists of exemptions.
fn exemption_limits() -> Vec<Value> {
    let mut lists = vec![json!([]), json!([1]), json!([null]), json!({}), json!([exemption(), exemption()])];
    let values = |path: &str| match path {
        "/rule" => vec![json!("prestop-missing"), json!("nothing"), json!("Readiness-missing")],
        "/target/container" => vec![json!("app"), json!(""), json!(7)],
        "/target/name" => vec![json!("web"), json!("*"), json!("web-?"), json!("")],
        "/target/kind" => {
            ["Service", "Ingress", "StatefulSet", "Rollout", "Pod", "CronJob", "deployment", "Namespace", ""]
                .map(Value::from)
                .to_vec()
        }
        "/reason" => vec![json!("x"), json!(""), json!(" "), json!("\u{a0}\u{3000}"), json!("\u{200b}"), json!("x ")],
        "/expires" => [
            "2027-01-31T00:00:00Z",
            "2027-01-31T00:00:00.5+02:00",
            "2027-01-31T00:00:00-23:59",
            "1999-01-01T00:00:00Z",
            "9998-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "2024-02-29T00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-01-31",
            "2027-01-31T00:00:00",
            "2027-01-31T25:00:00Z",
            "2027-01-31T00:60:00Z",
            "tomorrow",
            "2027",
            "",
            "30d",
            "2027-01-31T00:00:00+99:99",
            "2027-01-31T00:00:00+01:60",
            "2027-01-31T00:00:00x5Z",
            "2027-01-31T00:00:00.123456789Z",
            "12027-01-31T00:00:00Z",
            "27-01-31T00:00:00Z",
        ]
        .map(Value::from)
        .to_vec(),
        _ => vec![json!({}), json!("web"), json!({ "kind": "Deployment" }), json!({ "name": "web" })],
    };
    for path in ["/rule", "/target", "/target/kind", "/target/name", "/target/container", "/reason", "/expires"] {
        let (above, key) = path.rsplit_once('/').unwrap();
        let odd = if key == "container" { vec![Value::Null] } else { vec![Value::Null, json!(1), json!([])] };
        for value in values(path).into_iter().chain(odd) {
            let mut exemption = exemption();
            exemption.pointer_mut(above).unwrap()[key] = value;
            lists.push(json!([exemption]));
        }
    }
    for above in ["", "/target"] {
        let mut exemption = exemption();
        exemption.pointer_mut(above).unwrap()["more"] = json!(1);
        lists.push(json!([exemption]));
    }
    lists
}

fn selector_limits() -> Vec<Value> {
    let mut selectors = vec![
        json!({}),
        json!([]),
        json!("team=a"),
        json!({ "matchlabels": {} }),
        json!({ "matchLabels": { "team": "a", "b/c": "" } }),
        json!({ "matchLabels": { "team": 1 } }),
        json!({ "matchLabels": [] }),
        json!({ "matchExpressions": {} }),
        json!({ "matchExpressions": [1] }),
        json!({ "matchExpressions": [null] }),
        json!({ "matchLabels": { "team": "a" }, "matchExpressions": [{ "key": "tier", "operator": "Exists" }] }),
    ];
    let domain = "abc.".repeat(63);
    for key in [
        "a",
        "A_.-9",
        "a b",
        "a/b/c",
        "/a",
        "a/",
        "-a",
        "a-",
        "é",
        "a.b/C",
        "A/b",
        "a..b/c",
        "a_b/c",
        ".a/b",
        "a-/b",
        "-a/b",
        " ",
        &"k".repeat(63),
        &"k".repeat(64),
        &format!("{domain}a/b"),
        &format!("{domain}ab/b"),
        &format!("{}/b", "a".repeat(64)),
    ] {
        selectors.push(json!({ "matchLabels": { key: "a" } }));
        selectors.push(json!({ "matchExpressions": [{ "key": key, "operator": "Exists" }] }));
    }
    for value in ["", "a", "A_.-9", "x y", "a/b", "-a", "a-", ".", "é", &"v".repeat(63), &"v".repeat(64)] {
        selectors.push(json!({ "matchLabels": { "team": value } }));
        selectors.push(json!({ "matchExpressions": [{ "key": "team", "operator": "NotIn", "values": ["a", value] }] }));
    }
    for operator in
        [json!("In"), json!("NotIn"), json!("Exists"), json!("DoesNotExist"), json!("in"), json!(null), json!(1)]
    {
        for values in [json!(null), json!([]), json!(["a"]), json!(["a", "b"]), json!([1]), json!("a"), json!([null])] {
            for key in [json!("team"), json!(""), json!(null), json!(1)] {
                selectors.push(json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }));
            }
        }
    }
    selectors
}

/// Specs as a whole.
fn shapes() -> Vec<Value> {
    let both = [
        json!({}),
        json!([]),
        json!("x"),
        json!({ "settings": [] }),
        json!({ "settings": { "injection": 1 } }),
        json!({ "setting": {} }),
        json!({ "settings": { "injection": { "prestop": {} } } }),
        json!({ "settings": { "injection": { "preStop": { "sleepSecond": 1 } } } }),
        json!({ "settings": { "actions": { "nothing": "warn" } } }),
        json!({ "settings": { "actions": [] } }),
        json!({ "settings": { "injection": { "preStop": { "preset": "gke-neg" } } } }),
        json!({ "settings": { "injection": { "preStop": { "preset": "gke-neg", "sleepSeconds": 5 } } } }),
        json!({ "settings": { "injection": { "preStop": { "preset": "gke" } } } }),
        json!({ "settings": { "injection": { "preStop": { "preset": 60 } } } }),
        json!({ "exemptions": null, "settings": null, "priority": null }),
        json!({ "bounds": [] }),
        json!({ "locked": [] }),
        json!({ "bounds": 1 }),
        json!({ "locked": "profile" }),
        json!({ "namespaceSelector": {} }),
        json!({ "workloadSelector": {} }),
        json!({ "priority": PRIORITY_MAX }),
        json!({ "priority": -PRIORITY_MAX }),
        json!({ "priority": PRIORITY_MAX + 1 }),
        json!({ "priority": -PRIORITY_MAX - 1 }),
        json!({ "priority": "1" }),
        json!({ "priority": 1.5 }),
    ];
    both.iter().flat_map(|spec| [cluster(spec), namespaced(spec)]).collect()
}
