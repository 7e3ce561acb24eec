//! Generated Deployments, most of them odd: with no502 in the path the API server accepts exactly what it accepts without,
//! what no502 adds leaves all that the user wrote, and sending the answer again changes nothing more.
//!
//! Everything is a dry run; the twin of each request goes to a namespace that is left out of admission.

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};

use crate::{
    cluster::{
        Version,
        api::{Answer, Api},
    },
    no502::{No502, soon},
    random::Random,
    room::{EXEMPT_NAMESPACE, PATIENCE, Room, service},
    trial::E2e,
    ways::{podless, without_nulls},
};

const CASES: usize = 500;
const SEED: u64 = 39;
/// So many have to get past the API server, or the generator is at fault.
const ACCEPTED_MIN: usize = 150;
const CHANGED_MIN: usize = 100;
const PROBES_MIN: usize = 20;

pub(crate) fn trials() -> Vec<E2e> {
    vec![E2e::guarded("accepted_as_without_no502", &Version::ALL, accepted_as_without_no502)]
}

fn accepted_as_without_no502(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    // Nothing is denied in this namespace, so whatever is refused is refused by the API server.
    let annotations = "no502.dev/break-glass-until=2999-12-31T00:00:00Z no502.dev/readiness=inject";
    room.kubectl(&format!("annotate namespace {} {annotations}", room.name))?.quiet()?;
    let services = [
        service("web", "app: web", "{port: 80, targetPort: http}"),
        service("api", "app: api", "{name: a, port: 80, targetPort: 8080}, {name: b, port: 81, targetPort: 9090}"),
    ];
    room.given(&services.concat())?;

    let api = no502.cluster.api()?;
    let mut plain = podless(&base_name(&room));
    plain["spec"]["selector"]["matchLabels"] = json!({"of": "generated"});
    plain["spec"]["template"]["metadata"]["labels"] = json!({"of": "generated", "app": "web"});
    soon("no502 knows the namespace", PATIENCE, || {
        let said = Write::Create.send(&api, &room, &room.name, &plain)?;
        ensure!(said.warnings.iter().any(|it| it.contains("TCP readiness")), "{said:?}");
        Ok(())
    })?;
    for namespace in [room.name.as_str(), EXEMPT_NAMESPACE] {
        api.post(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &plain)?.object()?;
    }

    let mut random = Random::new(SEED);
    let mut seen = Seen::default();
    let mut failures = Vec::new();
    for _ in 0..CASES {
        let spec = pod_spec(&mut random);
        let object = deployment(&mut random, &spec);
        for write in [Write::Create, Write::Update] {
            if let Err(error) = one_case(&api, &room, write, &object, &mut seen) {
                failures.push(format!("{write:?} of {object}: {error:#}"));
            }
        }
    }
    api.delete(&format!("/apis/apps/v1/namespaces/{EXEMPT_NAMESPACE}/deployments/{}", base_name(&room)))?.object()?;
    ensure!(failures.is_empty(), "{} of {CASES}:\n{}", failures.len(), failures[..failures.len().min(5)].join("\n\n"));
    ensure!(
        seen.accepted >= ACCEPTED_MIN && seen.refused > 0 && seen.changed >= CHANGED_MIN && seen.probes >= PROBES_MIN,
        "the generator is at fault: {seen:?}"
    );
    Ok(())
}

/// What the cases were.
#[derive(Debug, Default)]
struct Seen {
    accepted: usize,
    refused: usize,
    mended: usize,
    changed: usize,
    probes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Create,
    /// A change of the template of a Deployment that is there.
    Update,
}

impl Write {
    fn send(self, api: &Api, room: &Room<'_>, namespace: &str, object: &Value) -> anyhow::Result<Answer> {
        const QUERY: &str = "dryRun=All&fieldValidation=Strict";
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        let mut object = object.clone();
        Ok(match self {
            Self::Create => api.post(&format!("{path}?{QUERY}"), &object)?,
            Self::Update => {
                let name = base_name(room);
                object["metadata"]["name"] = json!(name);
                api.put(&format!("{path}/{name}?{QUERY}"), &object)?
            }
        })
    }
}

fn base_name(room: &Room<'_>) -> String {
    format!("base-of-{}", room.name)
}

fn one_case(api: &Api, room: &Room<'_>, write: Write, object: &Value, seen: &mut Seen) -> anyhow::Result<()> {
    let twin = write.send(api, room, EXEMPT_NAMESPACE, object)?;
    let ours = write.send(api, room, &room.name, object)?;
    if ours.status != twin.status {
        ensure!(is_mended(&twin, &ours), "without no502: {}, with no502: {}", in_short(&twin), in_short(&ours));
        seen.mended += 1;
    } else if is_refused(&twin) {
        seen.refused += 1;
        return Ok(());
    }
    let warnings = ours.warnings.clone();
    let ours = ours.object()?;
    let template = &ours["spec"]["template"];
    if !is_refused(&twin) {
        seen.accepted += 1;
        let twin = twin.object()?;
        let theirs = &twin["spec"]["template"];
        keeps_everything(theirs, template, "template")?;
        if theirs != template {
            seen.changed += 1;
            seen.probes += usize::from(template.to_string().contains("readiness\\\":"));
            ensure!(warnings.iter().any(|it| it.starts_with("no502: ")), "changed without a word: {template}");
        }
    }

    let mut again = object.clone();
    again["spec"]["template"] = template.clone();
    let repeated = write.send(api, room, &room.name, &again)?.object().context("sent again")?;
    ensure!(repeated["spec"]["template"] == *template, "sent again: {}\nwas {template}", repeated["spec"]["template"]);
    Ok(())
}

fn is_refused(answer: &Answer) -> bool {
    answer.status == 422 || answer.status == 400
}

/// What the API server would refuse and no502 happens to put right: a sleep that the raised grace period has room for, and a
/// handler beside the injected sleep.
fn is_mended(twin: &Answer, ours: &Answer) -> bool {
    const MENDED: [&str; 2] = ["less than terminationGracePeriodSeconds", "may not specify more than 1 handler type"];
    let causes = twin.body["details"]["causes"].as_array().cloned().unwrap_or_default();
    let is_known = |it: &Value| MENDED.iter().any(|text| it["message"].as_str().unwrap_or_default().contains(text));
    let is_told = ours.warnings.iter().any(|it| it.starts_with("no502: "));
    is_refused(twin) && !is_refused(ours) && is_told && !causes.is_empty() && causes.iter().all(is_known)
}

fn in_short(answer: &Answer) -> String {
    let Answer { status, warnings, body } = answer;
    format!("{status} {} {warnings:?}", body["message"])
}

/// Whatever the user sent is in the answer; a grace period may be longer.
fn keeps_everything(theirs: &Value, ours: &Value, path: &str) -> anyhow::Result<()> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => theirs.iter().try_for_each(|(name, value)| {
            let path = format!("{path}.{name}");
            let ours = ours.get(name).with_context(|| format!("{path} is gone"))?;
            if name == "terminationGracePeriodSeconds" && ours.as_i64() >= value.as_i64() {
                return Ok(());
            }
            keeps_everything(value, ours, &path)
        }),
        (Value::Array(theirs), Value::Array(ours)) => {
            ensure!(theirs.len() == ours.len(), "{path} has another length");
            theirs.iter().zip(ours).try_for_each(|(theirs, ours)| keeps_everything(theirs, ours, path))
        }
        _ => {
            ensure!(theirs == ours, "{path} was {theirs} and is {ours}");
            Ok(())
        }
    }
}

fn deployment(random: &mut Random, pod_spec: &Value) -> Value {
    let app = random.pick(&["web", "api", "other"]);
    let annotations = [settings(random), settings(random)];
    without_nulls(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "generated", "annotations": annotations[0]},
        "spec": {
            "replicas": random.maybe(50, |it| json!(it.below(3))),
            "strategy": random.maybe(15, |it| json!({"type": it.pick(&["Recreate", "RollingUpdate"])})),
            "selector": {"matchLabels": {"of": "generated"}},
            "template": {
                "metadata": {"labels": {"of": "generated", "app": app}, "annotations": annotations[1]},
                "spec": pod_spec,
            },
        },
    }))
}

/// Settings by annotation, right and wrong.
fn settings(random: &mut Random) -> Value {
    const VALUES: [(&str, &[&str]); 13] = [
        ("inject", &["enabled", "warn", "disabled", "yes"]),
        ("kinds", &["Deployment", "StatefulSet", "Deployment,DaemonSet", "Pod"]),
        ("preset", &["in-cluster", "gke-neg", "aws-alb-ip", "azure-agic", "aws-nlb-ip", "none"]),
        ("prestop-sleep-seconds", &["0", "1", "5", "300", "301", "-1", "ten"]),
        ("prestop-exec-fallback", &["true", "false", "1"]),
        ("app-drain-seconds", &["0", "1", "60", "3600", "3601"]),
        ("max-grace-seconds", &["1", "15", "35", "600", "4000"]),
        ("readiness", &["inject", "warn", "off", "on"]),
        ("readiness-port", &["8080", "http", "80", "0", "none"]),
        ("readiness-period-seconds", &["1", "10", "0"]),
        ("readiness-timeout-seconds", &["1", "30", "x"]),
        ("readiness-failure-threshold", &["1", "9", "-3"]),
        ("exclude-containers", &["web", "web, side", "nobody", ""]),
    ];
    random.maybe(40, |random| {
        let mut annotations = Map::new();
        for _ in 0..=random.below(3) {
            let (name, values) = random.pick(&VALUES);
            annotations.insert(format!("no502.dev/{name}"), json!(random.pick(values)));
        }
        annotations.into()
    })
}

fn pod_spec(random: &mut Random) -> Value {
    const NAMES: [&str; 4] = ["web", "side", "php", "log"];
    let mut containers = Vec::new();
    for name in &NAMES[..=random.below(NAMES.len())] {
        containers.push(container(random, name));
    }
    let mut init = Vec::new();
    for name in &["prepare", "proxy"][..random.below(3)] {
        let mut container = container(random, name);
        let is_sidecar = random.chance(60);
        if is_sidecar {
            container["restartPolicy"] = json!("Always");
        } else if random.chance(90) {
            // The API server has neither for what only runs before.
            for member in ["lifecycle", "readinessProbe", "livenessProbe"] {
                container[member].take();
            }
        }
        init.push(container);
    }
    let is_windows = random.chance(10);
    let node_selector = if is_windows { json!({"kubernetes.io/os": "windows"}) } else { Value::Null };
    without_nulls(json!({
        "containers": containers,
        "initContainers": init,
        "hostNetwork": random.maybe(10, |_| json!(true)),
        "nodeSelector": node_selector,
        "os": random.maybe(20, |it| json!({"name": if is_windows { "windows" } else { it.pick(&["linux", "windows"]) }})),
        "terminationGracePeriodSeconds": random.maybe(60, |random| match random.below(3) {
            0 => json!(random.below(700)),
            1 => json!(random.pick(&[0, 1, 2, 5, 10, 11, 30, 39, 40, 41])),
            _ => json!(random.pick(&[45, 60, 90, 330, 599, 600, 601, 700])),
        }),
    }))
}

fn container(random: &mut Random, name: &str) -> Value {
    let ports = ports(random, name);
    without_nulls(json!({
        "name": name,
        "image": random.pick(&["example.invalid/a:1", "example.invalid/b:2"]),
        "ports": ports,
        "lifecycle": lifecycle(random, &ports),
        "readinessProbe": random.maybe(25, |it| probe(it, &ports)),
        "livenessProbe": random.maybe(15, |it| probe(it, &ports)),
        "startupProbe": random.maybe(10, |it| probe(it, &ports)),
    }))
}

fn ports(random: &mut Random, container: &str) -> Value {
    let number = random.pick(&[80, 8080, 9090]);
    let name = random.pick(&["http", "http", "web", "metrics"]);
    // Names are unique in a pod, or the API server says so.
    let name = if container == "web" || random.chance(20) { name.to_owned() } else { format!("{container}-{number}") };
    match random.below(5) {
        0 => Value::Null,
        1 => json!([{"containerPort": number}]),
        2 => json!([{"containerPort": number, "name": name}, {"containerPort": 53, "protocol": "UDP"}]),
        3 => {
            json!([{"containerPort": number, "name": name, "protocol": "TCP"}, {"containerPort": 9100, "name": format!("m-{container}")}])
        }
        _ => json!([{"containerPort": number, "name": name}]),
    }
}

fn lifecycle(random: &mut Random, ports: &Value) -> Value {
    let with_stop_signal = random.chance(5);
    let mut lifecycle = json!({
        "preStop": random.maybe(45, |it| hook(it, ports)),
        "postStart": random.maybe(15, |it| hook(it, ports)),
    });
    if with_stop_signal {
        lifecycle["stopSignal"] = json!("SIGTERM");
    }
    random.maybe(70, |_| without_nulls(lifecycle))
}

fn hook(random: &mut Random, ports: &Value) -> Value {
    let sleep = |random: &mut Random| json!({"seconds": random.pick(&[0, 1, 3, 5, 10, 10, 25, 30, 31, 60, 650])});
    match random.below(14) {
        0..=2 => json!({"exec": {"command": ["/bin/drain"]}}),
        3 => json!({"exec": {"command": ["sleep", random.pick(&["5", "10", "70", "ten"])]}}),
        4 => json!({"exec": {"command": ["sh", "-c", "sleep 20 && nginx -s quit"]}}),
        5 => json!({"httpGet": {"path": "/drain", "port": port(random, ports)}}),
        6 => json!({"tcpSocket": {"port": port(random, ports)}}),
        7..=11 => json!({"sleep": sleep(random)}),
        12 => json!({}),
        _ => json!({"sleep": sleep(random), "exec": {"command": ["/bin/drain"]}}),
    }
}

fn probe(random: &mut Random, ports: &Value) -> Value {
    let port = port(random, ports);
    let mut probe = match random.below(6) {
        0 => json!({"exec": {"command": ["/bin/ready"]}}),
        1 => json!({"grpc": {"port": 8080}}),
        2 => json!({"tcpSocket": {"port": port}}),
        3 if random.chance(30) => json!({"tcpSocket": {"port": port}, "httpGet": {"path": "/", "port": port}}),
        _ => json!({"httpGet": {"path": "/ready", "port": port}}),
    };
    if random.chance(30) {
        probe["periodSeconds"] = json!(random.pick(&[0, 1, 10, 100]));
    }
    probe
}

/// A port by name or number, declared or not.
fn port(random: &mut Random, ports: &Value) -> Value {
    match random.below(3) {
        0 => json!(random.pick(&[80, 8080, 9090])),
        1 => ports[0]["containerPort"].as_i64().map_or(json!("http"), |it| json!(it)),
        _ => ports[0]["name"].as_str().map_or(json!(8080), |it| json!(it)),
    }
}
