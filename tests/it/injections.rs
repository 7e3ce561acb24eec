//! What the mutating half adds, and what it leaves alone: one file in `tests/fixtures/injections/` for each guard and each step.
//!
//! A file says what is written (`object`; for an UPDATE `object` is the old one, and `change` makes the new one of it) into which
//! `cluster`, and whether it is `patched` or `untouched`. `CASE.fixed.yaml` is the object with the patch applied; `warnings` is
//! what the user reads, to the letter. `UPDATE=1` writes both anew.

use std::{collections::BTreeMap, fs, path::Path};

use jiff::Timestamp;
use no502::{
    policy::{Field, FieldValue, Policies},
    review::{self, Half},
    snapshot::{Resource, Snapshot, Store},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stage::{self, Answer, Request};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    /// The rows of the reference that the case is about, for `mutation_rows.rs`.
    #[serde(default, rename = "rows")]
    _rows: Vec<String>,
    expect: Expect,
    operation: Option<String>,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    settings: Settings,
    /// False is the kill switch.
    enabled: Option<bool>,
    /// The API server was seen to drop an injected sleep.
    #[serde(default)]
    sleep_is_dropped: bool,
    /// Namespaces have not been read yet.
    #[serde(default)]
    namespaces_unread: bool,
    /// The API server's minor version; null while it is not known.
    #[serde(default = "default_server")]
    server: Option<u32>,
    /// Versions of the kubelets; null while the Nodes are not read.
    #[serde(default = "default_kubelets")]
    kubelets: Option<Vec<String>>,
    object: Value,
    #[serde(default)]
    change: BTreeMap<String, Value>,
    #[serde(default)]
    cluster: Vec<Value>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Patched,
    Untouched,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the policy")]
struct Settings {
    sleep_seconds: Option<i64>,
    app_drain_seconds: Option<i64>,
    max_grace_seconds: Option<i64>,
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn default_server() -> Option<u32> {
    Some(stage::SERVER_MINOR)
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn default_kubelets() -> Option<Vec<String>> {
    Some(vec!["v1.36.1".to_owned()])
}

impl Case {
    fn read(path: &Path) -> Self {
        let map = stage::map(path);
        let mut it: Self = serde_json::from_value(map).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        it.object = stage::placed(it.object);
        it.cluster = it.cluster.into_iter().map(stage::placed).collect();
        it
    }

    fn operation(&self) -> &str {
        let implied = if self.change.is_empty() { "CREATE" } else { "UPDATE" };
        self.operation.as_deref().unwrap_or(implied)
    }

    fn written(&self) -> Value {
        let mut new = self.object.clone();
        self.change.iter().for_each(|(pointer, value)| stage::set(&mut new, pointer, value));
        new
    }

    fn policies(&self) -> Policies {
        let values = [
            (Field::SleepSeconds, self.settings.sleep_seconds.map(FieldValue::Number)),
            (Field::AppDrainSeconds, self.settings.app_drain_seconds.map(FieldValue::Number)),
            (Field::MaxGraceSeconds, self.settings.max_grace_seconds.map(FieldValue::Number)),
            (Field::Enabled, self.enabled.map(FieldValue::Flag)),
        ];
        stage::policies(values.into_iter().filter_map(|(field, value)| Some((field, value?))))
    }

    fn snapshot(&self) -> Snapshot {
        let mut store = Store::default();
        store.set_server_minor(self.server);
        store.set_sleep_is_dropped(self.sleep_is_dropped);
        let nodes = self.kubelets.iter().flatten().enumerate().map(|(index, version)| {
            json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": format!("node-{index}") },
                "status": { "nodeInfo": { "kubeletVersion": version } },
            })
        });
        let own = (self.operation() != "CREATE").then(|| self.object.clone());
        let is_read = |it: &Resource| match it {
            Resource::Nodes => self.kubelets.is_some(),
            Resource::Namespaces => !self.namespaces_unread,
            _ => true,
        };
        let lists = || Resource::ALL.into_iter().filter(is_read);
        lists().for_each(|it| store.start_list(it));
        self.cluster.iter().cloned().chain(own).chain(nodes).for_each(|it| store.apply(stage::facts(&it)));
        lists().for_each(|it| store.finish_list(it));
        store.snapshot()
    }

    fn ask(&self, object: &Value, dry_run: bool) -> Answer {
        let request = match self.operation() {
            "CREATE" => Request::create(object),
            "UPDATE" => Request::update(&self.object, object),
            "DELETE" => Request::delete(&self.object),
            other => panic!("operation {other}"),
        };
        let request = Request { sub_resource: &self.sub_resource, dry_run, ..request };
        let now: Timestamp = stage::now();
        stage::ask(Half::Mutate, &request, &self.snapshot(), &self.policies(), now)
    }
}

/// The object with the patch applied.
pub(crate) fn patched(object: &Value, patch: &Value) -> Value {
    let mut result = object.clone();
    let operations: Vec<json_patch::PatchOperation> = serde_json::from_value(patch.clone()).unwrap();
    json_patch::patch(&mut result, &operations).unwrap();
    result
}

/// What the API server would refuse in the pods of a template (reference: mutations 2.2).
pub(crate) fn refusals(object: &Value) -> Vec<String> {
    let spec = &object["spec"]["template"]["spec"];
    let grace = spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    let mut refusals = Vec::new();
    let list = |name: &str| spec[name].as_array().into_iter().flatten();
    let sidecars = list("initContainers").filter(|it| it["restartPolicy"] == "Always");
    for container in list("containers").chain(sidecars) {
        let Some(hook) = container["lifecycle"]["preStop"].as_object() else { continue };
        let handlers = hook.values().filter(|it| !it.is_null()).count();
        if handlers != 1 {
            refusals.push(format!("{}: {handlers} handlers", container["name"]));
        }
        let Some(seconds) = hook.get("sleep").and_then(|it| it["seconds"].as_i64()) else { continue };
        if !(0..=grace).contains(&seconds) {
            refusals.push(format!("{}: sleep {seconds} with grace {grace}", container["name"]));
        }
    }
    refusals
}

fn yaml(object: &Value) -> String {
    serde_saphyr::to_string(object).unwrap()
}

fn write_warnings(path: &Path, warnings: &[String]) {
    let text = stage::read(path);
    let mut text = text.split("\nwarnings:").next().unwrap().trim_end().to_owned();
    text.push_str(if warnings.is_empty() { "" } else { "\nwarnings:" });
    for warning in warnings {
        text.push_str("\n  - ");
        text.push_str(&Value::from(warning.as_str()).to_string());
    }
    text.push('\n');
    fs::write(path, text).unwrap();
}

fn faults(path: &Path) -> Vec<String> {
    let case = Case::read(path);
    let object = case.written();
    let answer = case.ask(&object, false);
    let mut faults = Vec::new();
    if !answer.is_allowed {
        faults.push(format!("denied: {}", answer.message));
    }
    if case.ask(&object, true) != answer {
        faults.push("a dry run is answered otherwise".to_owned());
    }
    let found = if answer.patch.is_some() { Expect::Patched } else { Expect::Untouched };
    if found != case.expect {
        faults.push(format!("expected {:?}, found {answer:#?}", case.expect));
    }
    if stage::is_update() {
        write_warnings(path, &answer.warnings);
    } else if answer.warnings != case.warnings {
        faults.push(format!("expected {:#?}, found {:#?}", case.warnings, answer.warnings));
    }
    let file = path.with_extension("fixed.yaml");
    if let Some(patch) = &answer.patch {
        let result = patched(&object, patch);
        faults.extend(patch_faults(&case, patch, &result));
        if stage::is_update() {
            fs::write(&file, yaml(&result)).unwrap();
        } else if stage::objects(&file) != [result.clone()] {
            faults.push(format!("expected {}, found {}", stage::read(&file), yaml(&result)));
        }
    } else if file.exists() {
        faults.push(format!("{} is left over", file.display()));
    }
    faults
}

/// What a patch must never do, whatever the case is about.
fn patch_faults(case: &Case, patch: &Value, result: &Value) -> Vec<String> {
    let mut faults: Vec<String> = refusals(result).into_iter().map(|it| format!("the API refuses {it}")).collect();
    let operations = patch.as_array().unwrap();
    if operations.is_empty() || operations.iter().any(|it| it["op"] != "add" && it["op"] != "remove") {
        faults.push(format!("only add and remove are sent: {patch}"));
    }
    let again = case.ask(result, false);
    if again.patch.is_some() {
        faults.push(format!("a second pass patches again: {again:#?}"));
    }
    faults
}

#[test]
fn every_injection_is_as_the_file_says() {
    let files = stage::files(&stage::folder("fixtures/injections"), ".yaml");
    assert!(files.len() > 50, "only {} cases", files.len());
    let mut faults_of_all = Vec::new();
    for path in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        faults_of_all.extend(faults(path).into_iter().map(|fault| format!("{name}: {fault}")));
    }
    assert!(faults_of_all.is_empty(), "{} faults:\n{}", faults_of_all.len(), faults_of_all.join("\n"));
}

#[test]
fn no_expectation_is_left_over() {
    for entry in fs::read_dir(stage::folder("fixtures/injections")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (case, rest) = name.split_once('.').unwrap();
        assert!(["yaml", "fixed.yaml"].contains(&rest), "{}: what is it for?", path.display());
        assert!(path.with_file_name(format!("{case}.yaml")).exists(), "{}: there is no {case}.yaml", path.display());
    }
}

fn served_web() -> (Value, Value) {
    let container =
        json!({ "name": "web", "image": "shop/web:1", "ports": [{ "name": "http", "containerPort": 8080 }] });
    let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [container] } });
    let web = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "template": template },
    });
    let spec = json!({ "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": "http" }] });
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "shop" }, "spec": spec });
    (web, service)
}

/// What the audit log and the metrics are told: each injection with its outcome, and who set what, in one bounded line.
#[test]
fn injections_and_settings_are_told_to_audit_log_and_metrics() {
    let (web, service) = served_web();
    let annotations = json!({
        "no502.dev/preset": "gke-neg",
        "no502.dev/readiness": "inject",
        "no502.dev/app-drain-seconds": "soon",
        "no502.dev/reason": format!("a\n\"b\" {}", "x".repeat(1_000)),
    });
    let metadata = json!({ "name": "shop", "annotations": annotations });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
    let snapshot = stage::cluster([&namespace, &service]);
    let request = Request::create(&web);
    let answer = stage::ask(Half::Mutate, &request, &snapshot, &Policies::default(), stage::now());
    assert_eq!(answer.audit["injections"], "settings=ignored,prestop=injected,grace=injected,readiness=injected");
    let settings = answer.audit["settings"].as_str().unwrap();
    assert!(
        settings
            .starts_with("prestop-sleep-seconds by namespace shop; readiness by namespace shop; reason: \"a  b  xxx"),
        "{settings}"
    );
    assert!(settings.chars().count() < 300 && !settings.contains(char::is_control), "{settings}");
    let reply = review::review(Half::Mutate, &request.body(), &snapshot, &Policies::default(), stage::now()).unwrap();
    let told: Vec<_> = reply.summary.injections.iter().map(|(name, outcome)| format!("{name}={outcome}")).collect();
    assert_eq!(told.join(","), answer.audit["injections"].as_str().unwrap());
}

#[test]
fn the_kill_switch_allows_everything() {
    let (web, service) = served_web();
    let mut broken = service.clone();
    stage::set(&mut broken, "/spec/selector/app", &json!("wbe"));
    let snapshot = stage::cluster([&web, &service]);
    let ask = |is_enabled| {
        let policies = stage::policies([(Field::Enabled, FieldValue::Flag(is_enabled))]);
        stage::ask(Half::Validate, &Request::update(&service, &broken), &snapshot, &policies, stage::now())
    };
    assert!(!ask(true).is_allowed);
    let off = ask(false);
    assert!(off.is_allowed && off.warnings.is_empty(), "{off:?}");
}
