//! The rules about pod templates over real manifests: every finding is held against a second reading of the same text, which
//! shares no code with the rules, and what that reading is sure of must have been found.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
};

use no502::{
    check::Settings,
    manifest,
    report::{Entry, Level},
    rule::Check,
    rules,
};
use serde_json::Value;

use crate::{corpus, stage};

/// Objects by kind, namespace and name; of two the later one counts.
type Objects = BTreeMap<(String, String, String), Value>;

fn objects(paths: &[PathBuf]) -> Objects {
    let loaded = manifest::read(paths, io::empty());
    let mut objects = Objects::new();
    for document in &loaded.documents {
        let object: Value = serde_json::from_str(document.json()).unwrap();
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let namespace = Some(text("/metadata/namespace")).filter(|it| !it.is_empty()).unwrap_or("default".to_owned());
        // A part of an object is none.
        let is_part = document.json().contains("\"$patch\":")
            || (object["apiVersion"] == "apps/v1"
                && object.pointer("/spec/template").is_some()
                && object.pointer("/spec/selector").is_none());
        if !is_part {
            objects.insert((text("/kind"), namespace, text("/metadata/name")), object);
        }
    }
    objects
}

/// The worlds whose files are applied as they are, so that nothing is added on the way.
fn plain_worlds() -> Option<Vec<(String, Vec<PathBuf>, bool)>> {
    let folder = corpus::corpus()?;
    let raw: Vec<Value> = serde_json::from_str(&stage::read(&folder.join("worlds.json"))).unwrap();
    let is_plain = |name: &str| raw.iter().any(|it| it["name"] == name && it["apply"] == "files");
    Some(
        corpus::worlds(&folder)
            .into_iter()
            .map(|(name, paths)| (is_plain(&name), name, paths))
            .map(|(it, name, paths)| (name, paths, it))
            .collect(),
    )
}

fn containers(object: &Value) -> Vec<Value> {
    object.pointer("/spec/template/spec/containers").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn grace(object: &Value) -> i64 {
    object.pointer("/spec/template/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(30)
}

/// The Services of the namespace whose selector the pods of a template meet.
fn services<'a>(object: &Value, namespace: &str, all: &'a Objects) -> Vec<&'a Value> {
    let labels = object.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
    let selects = |service: &Value| {
        let selector = service.pointer("/spec/selector").and_then(Value::as_object).cloned().unwrap_or_default();
        !selector.is_empty()
            && service.pointer("/spec/type").is_none_or(|it| it != "ExternalName")
            && selector.iter().all(|(key, value)| labels[key] == *value)
    };
    let of_kind =
        all.iter().filter(|((kind, place, _), it)| kind == "Service" && place == namespace && it["apiVersion"] == "v1");
    of_kind.map(|(_, it)| it).filter(|it| selects(it)).collect()
}

fn ingresses<'a>(service: &'a Value, namespace: &'a str, all: &'a Objects) -> impl Iterator<Item = &'a Value> {
    let backend = format!("\"name\":{}", service["metadata"]["name"]);
    let of_kind = all.iter().filter(move |((kind, place, _), _)| kind == "Ingress" && place == namespace);
    of_kind.map(|(_, it)| it).filter(move |it| it["spec"].to_string().contains(&backend))
}

fn ports(object: &Value) -> Vec<Value> {
    object["ports"].as_array().cloned().unwrap_or_default()
}

fn is_tcp(port: &Value) -> bool {
    port["protocol"].as_str().is_none_or(|it| it == "TCP")
}

fn is_for_operators(port: &Value) -> bool {
    let name = port["name"].as_str().unwrap_or_default();
    name.contains("metrics")
        || name.starts_with("prom")
        || name.starts_with("debug")
        || name.starts_with("health")
        || name.starts_with("admin")
}

/// The containers that declare what a port of a Service targets.
fn claimants<'a>(port: &Value, containers: &'a [Value]) -> Vec<(usize, &'a Value)> {
    let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
    let is_target =
        |it: &Value| is_tcp(it) && (it["containerPort"] == *target || (target.is_string() && it["name"] == *target));
    containers.iter().enumerate().filter(|(_, it)| ports(it).iter().any(is_target)).collect()
}

/// Clients wait for the pods of it to be ready.
fn is_waiting(service: &Value, object: &Value) -> bool {
    service["spec"]["clusterIP"] != "None"
        && service["spec"]["publishNotReadyAddresses"] != true
        && service["metadata"]["name"] != object["spec"]["serviceName"]
}

/// The index of the container that a finding is about.
fn index(entry: &Entry) -> usize {
    let rest = entry.field.strip_prefix("/spec/template/spec/containers/").unwrap_or_else(|| panic!("{}", entry.field));
    rest.split('/').next().unwrap().parse().unwrap()
}

/// What speaks against a finding.
fn objection(entry: &Entry, object: &Value, all: &Objects) -> Option<&'static str> {
    let containers = containers(object);
    let namespace = entry.object.namespace.as_str();
    let services = services(object, namespace, all);
    let spec = &object["spec"]["template"]["spec"];
    let is_named = |it: &Value| entry.message.contains(&it["name"].to_string());
    let is_true = match entry.rule {
        "prestop-missing" => {
            let container = &containers[index(entry)];
            object["kind"] == "Deployment"
                && !goes_before_it_comes(object)
                && grace(object) > 1
                && container["lifecycle"]["preStop"].is_null()
                && containers.iter().filter(|it| is_named(it)).all(|it| it["lifecycle"]["preStop"].is_null())
                && (!services.is_empty() || containers.iter().flat_map(ports).any(|it| is_tcp(&it)))
        }
        "readiness-missing" => {
            let container = &containers[index(entry)];
            let serves = |port: &Value| {
                let claimants = claimants(port, &containers);
                is_tcp(port)
                    && (claimants.iter().any(|(it, _)| *it == index(entry))
                        || (claimants.is_empty() && containers.len() == 1))
            };
            is_named(container)
                && container["readinessProbe"].is_null()
                && services.iter().any(|it| is_waiting(it, object) && ports(&it["spec"]).iter().any(serves))
        }
        "grace-too-short" => {
            spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|it| it < 10) && !services.is_empty()
        }
        "prestop-exceeds-grace" => spec.to_string().contains("\"preStop\"") && spec.to_string().contains("sleep"),
        "prestop-no-delay" => {
            let hook = containers[index(entry)]["lifecycle"]["preStop"]["exec"].to_string();
            hook != "null" && !hook.contains("sleep") && !services.is_empty()
        }
        "ingress-timeout-exceeds-drain" => services.iter().any(|it| {
            ingresses(it, namespace, all).any(|it| it["metadata"]["annotations"].to_string().contains("timeout"))
        }),
        "publish-not-ready-exposed" => services
            .iter()
            .any(|it| it["spec"]["publishNotReadyAddresses"] == true && ingresses(it, namespace, all).next().is_some()),
        "mesh-sidecar-exits-first" => {
            object["spec"]["template"]["metadata"]["annotations"]["sidecar.istio.io/nativeSidecar"] == "false"
        }
        other => panic!("{other}: write down what must be true of it"),
    };
    (!is_true).then_some("it is not so")
}

/// What must have been found: rule, and container if it is about one.
fn expected(object: &Value, namespace: &str, all: &Objects) -> Vec<(&'static str, Option<usize>)> {
    let containers = containers(object);
    let services = services(object, namespace, all);
    let mut expected = Vec::new();
    let is_owned = object["metadata"]["ownerReferences"].is_array();
    let has_sidecars =
        object.pointer("/spec/template/spec/initContainers").is_some_and(|it| it.to_string().contains("Always"));
    if object["apiVersion"] == "batch/v1" || is_owned {
        return expected;
    }
    let has_port = containers.iter().flat_map(ports).any(|it| is_tcp(&it) && !is_for_operators(&it));
    let lacks = containers.iter().position(|it| it["lifecycle"]["preStop"].is_null());
    let is_covered = object["kind"] == "Deployment" && object["apiVersion"] == "apps/v1";
    if is_covered
        && !goes_before_it_comes(object)
        && grace(object) > 1
        && namespace != "kube-system"
        && (has_port || !services.is_empty())
    {
        expected.extend(lacks.map(|it| ("prestop-missing", Some(it))));
    }
    if object.pointer("/spec/template/spec/terminationGracePeriodSeconds").is_some()
        && grace(object) < 10
        && has_port
        && !services.is_empty()
    {
        expected.push(("grace-too-short", None));
    }
    for service in services.iter().filter(|it| is_waiting(it, object) && !has_sidecars) {
        for port in ports(&service["spec"]).iter().filter(|it| is_tcp(it) && !is_for_operators(it)) {
            let [(index, container)] = claimants(port, &containers)[..] else { continue };
            let has_side_port = ports(container).iter().any(is_for_operators);
            if container["readinessProbe"].is_null() && container["command"].is_null() && !has_side_port {
                expected.push(("readiness-missing", Some(index)));
            }
        }
    }
    expected
}

fn is_about_a_template(entry: &Entry) -> bool {
    rules::find(entry.rule).is_some_and(|it| matches!(it.check, Check::Template(_) | Check::Injected(_)))
}

/// `Recreate`, or one replica that never surges.
fn goes_before_it_comes(object: &Value) -> bool {
    let (strategy, replicas) = (&object["spec"]["strategy"], object["spec"]["replicas"].as_i64().unwrap_or(1));
    let never_surges = ["0", "\"0%\""].contains(&strategy["rollingUpdate"]["maxSurge"].to_string().as_str());
    strategy["type"] == "Recreate" || never_surges && replicas <= 1
}

#[test]
fn risks_in_real_manifests_are_there_and_none_is_missed() {
    let Some(worlds) = plain_worlds() else { return };
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut sure = 0;
    for (world, paths, is_plain) in worlds {
        let report = corpus::run(&paths, Settings::default());
        let all = objects(&paths);
        let findings: Vec<&Entry> = report.findings.iter().filter(|it| is_about_a_template(it)).collect();
        for entry in &findings {
            *counts.entry((entry.rule, entry.level.name())).or_default() += 1;
            let key =
                (entry.object.kind.to_string(), entry.object.namespace.to_string(), entry.object.name.to_string());
            let objection = match all.get(&key) {
                Some(object) => objection(entry, object, &all),
                None => Some("there is no such object"),
            };
            wrong.extend(
                objection.map(|it| format!("{world}: {}: {}: {}: {it}", entry.location, entry.rule, entry.message)),
            );
            if entry.level == Level::Error {
                wrong.push(format!("{world}: {}: {} is an error", entry.location, entry.rule));
            }
        }
        for ((kind, namespace, name), object) in all.iter().filter(|_| is_plain) {
            for (rule, container) in expected(object, namespace, &all) {
                sure += 1;
                let is_it = |it: &&&Entry| {
                    (it.rule, it.object.kind.as_str(), it.object.namespace.as_str(), it.object.name.as_str())
                        == (rule, kind.as_str(), namespace.as_str(), name.as_str())
                        && container.is_none_or(|container| index(it) == container)
                };
                if !findings.iter().any(|it| is_it(&it)) {
                    wrong.push(format!("missed: {world}: {kind} {namespace}/{name}: {rule} {container:?}"));
                }
            }
        }
    }
    let lines: Vec<String> = counts.iter().map(|((rule, level), count)| format!("{rule} {level}: {count}\n")).collect();
    io::stderr().write_all(lines.concat().as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(sure > 200, "only {sure} findings were expected for sure");
    for rule in ["prestop-missing", "readiness-missing", "grace-too-short", "ingress-timeout-exceeds-drain"] {
        assert!(counts.keys().any(|(it, _)| *it == rule), "{rule} found nothing in real manifests");
    }
}
