//! A second opinion on what is denied: written from the design alone, straight on the JSON, without index, neighbourhood or
//! snapshot. It looks at every link of the cluster before and after a write, however far away.

use std::collections::BTreeMap;

use serde_json::Value;

/// What is known about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Resolved,
    Undecided,
    Absent,
    Mismatch,
    /// One controller copes with it.
    Risk,
}

/// Pods that look alike.
#[derive(Debug, Clone)]
struct Pods {
    labels: BTreeMap<String, String>,
    ports: Vec<(String, i64, String)>,
    release: Option<String>,
    is_live: bool,
}

/// One link, with all that decides about it.
#[derive(Debug)]
struct Link {
    /// The object that names the other, and what makes it the same link.
    identity: String,
    /// What it asks for.
    asks: String,
    is_own: bool,
    state: State,
    is_backend: bool,
    /// Owner of the referrer, owners of the other side.
    releases: (Option<String>, Vec<Option<String>>),
    has_counterpart: bool,
}

/// True if the profile `standard` denies the write.
pub(crate) fn denies(cluster: &[Value], old: Option<&Value>, new: &Value) -> bool {
    if is_never_denied(cluster, new) {
        return false;
    }
    let key = |it: &Value| (text(&it["kind"]), text(&it["metadata"]["namespace"]), text(&it["metadata"]["name"]));
    let others: Vec<&Value> = cluster.iter().filter(|it| key(it) != key(new)).collect();
    let before = links(&others, old, &pods(&others, old, None), new);
    let after = links(&others, Some(new), &pods(&others, Some(new), old), new);
    // Pods of an earlier template prove nothing: what the old template gives up was given up by an earlier write.
    let settled = links(&others, old, &pods(&others, old, old), new);
    let was_lost = |link: &Link| {
        let earlier = settled.iter().find(|it| it.identity == link.identity);
        !link.is_own && !link.is_backend && earlier.is_some_and(|it| it.state != State::Resolved)
    };
    let is_made_by_another = matches!(text(&new["kind"]).as_str(), "Pod" | "ReplicaSet")
        && [Some(new), old].into_iter().flatten().any(|it| controller(it).is_some());
    contradictions(new).iter().any(|it| !old.is_some_and(|old| contradictions(old).contains(it)))
        || !is_made_by_another && after.iter().any(|link| is_to_blame(link, &before) && !was_lost(link))
}

fn is_to_blame(link: &Link, before: &[Link]) -> bool {
    let same = || before.iter().filter(|it| it.identity == link.identity);
    let earlier = same().find(|it| it.asks == link.asks).or_else(|| same().next());
    let is_unresolved = matches!(link.state, State::Absent | State::Mismatch);
    let was_resolved = earlier.is_some_and(|it| it.state == State::Resolved);
    let asked_before = earlier.is_some_and(|it| it.asks == link.asks);
    let (ours, theirs) = &link.releases;
    let shares = ours.is_some() && theirs.contains(ours);
    if is_unresolved && was_resolved {
        // Only the Ingress's half is softened; what drops running pods never is.
        return !(link.is_backend && if link.has_counterpart { shares } else { ours.is_some() });
    }
    link.state == State::Mismatch && link.is_own && !asked_before && !shares
}

fn is_never_denied(cluster: &[Value], new: &Value) -> bool {
    let meta = &new["metadata"];
    let namespace = cluster.iter().find(|it| it["kind"] == "Namespace" && it["metadata"]["name"] == meta["namespace"]);
    let is_break_glass = namespace.is_some_and(|it| {
        let until = text(&it["metadata"]["annotations"]["no502.dev/break-glass-until"]);
        until.starts_with("20") && until.as_str() > crate::stage::NOW
    });
    let is_owned = controller(new).is_some_and(|(version, _, _)| {
        version.contains('.') || matches!(text(&new["kind"]).as_str(), "Pod" | "ReplicaSet")
    });
    !meta["deletionTimestamp"].is_null()
        || namespace.is_some_and(|it| !it["metadata"]["deletionTimestamp"].is_null())
        || is_break_glass
        || is_owned
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// API version, kind and name of the controller.
fn controller(object: &Value) -> Option<(String, String, String)> {
    let owner = list(&object["metadata"]["ownerReferences"]).find(|it| it["controller"] == true)?;
    Some((text(&owner["apiVersion"]), text(&owner["kind"]), text(&owner["name"])))
}

fn release(object: &Value) -> Option<String> {
    object["metadata"]["annotations"]["meta.helm.sh/release-name"].as_str().map(str::to_owned)
}

fn template(object: &Value) -> &Value {
    if object["kind"] == "Pod" { object } else { &object["spec"]["template"] }
}

fn probed_containers(object: &Value) -> impl Iterator<Item = &Value> {
    let spec = &template(object)["spec"];
    list(&spec["containers"]).chain(list(&spec["initContainers"]).filter(|it| it["restartPolicy"] == "Always"))
}

/// Readiness probes of ports that their container does not declare.
fn contradictions(object: &Value) -> Vec<String> {
    if !matches!(text(&object["kind"]).as_str(), "Pod" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") {
        return Vec::new();
    }
    let missing = probed_containers(object).filter_map(|container| {
        let port = container["readinessProbe"]["httpGet"]["port"].as_str()?;
        let is_declared = list(&container["ports"]).any(|it| it["name"] == port);
        (!is_declared).then(|| format!("{} {port}", container["name"]))
    });
    missing.collect()
}

fn pods_of(object: &Value) -> Option<Pods> {
    let kind = text(&object["kind"]);
    if !matches!(kind.as_str(), "Pod" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        || !object["metadata"]["deletionTimestamp"].is_null()
        || object["status"]["phase"] == "Succeeded"
    {
        return None;
    }
    let owner = controller(object);
    if kind == "ReplicaSet" && owner.as_ref().is_some_and(|it| it.1 == "Deployment" || object["spec"]["replicas"] == 0)
    {
        return None;
    }
    let ports = probed_containers(object).flat_map(|it| list(&it["ports"])).map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        (text(&port["name"]), port["containerPort"].as_i64().unwrap(), protocol)
    });
    let labels = template(object)["metadata"]["labels"].as_object().into_iter().flatten();
    Some(Pods {
        labels: labels.map(|(key, value)| (key.clone(), text(value))).collect(),
        ports: ports.collect(),
        release: release(object),
        is_live: kind == "Pod" || kind == "ReplicaSet" && owner.is_some(),
    })
}

/// All pods of a cluster once the write has taken full effect; `old` is given where a rollout may replace live pods; the
/// same one twice completes the rollout of the old template.
fn pods(others: &[&Value], subject: Option<&Value>, old: Option<&Value>) -> Vec<(String, Pods)> {
    let place = |it: &Value| text(&it["metadata"]["namespace"]);
    let is_settling = subject.is_some() && subject == old;
    let mut all: Vec<(String, Pods)> = Vec::new();
    for object in others {
        let Some(mut pods) = pods_of(object) else { continue };
        if let (Some(new), Some(old)) = (subject, old)
            && place(object) == place(new)
            && object["kind"] == "Pod"
            && makes(new, object)
            && let (Some(new), Some(old)) = (pods_of(new), pods_of(old))
            && (is_settling || new.labels != old.labels || new.ports != old.ports)
        {
            pods.labels.retain(|key, _| !old.labels.contains_key(key) && !new.labels.contains_key(key));
            pods.labels.extend(new.labels.clone());
            pods.ports.retain(|it| !old.ports.contains(it) && !new.ports.contains(it));
            let added = std::mem::take(&mut pods.ports);
            pods.ports = new.ports.into_iter().chain(added).collect();
        }
        all.push((place(object), pods));
    }
    all.extend(subject.and_then(|it| Some((place(it), pods_of(it)?))));
    all
}

/// True if the workload makes this live pod, directly or through a ReplicaSet.
fn makes(workload: &Value, pod: &Value) -> bool {
    let Some((_, kind, name)) = controller(pod) else { return false };
    let own = text(&workload["metadata"]["name"]);
    match text(&workload["kind"]).as_str() {
        "Deployment" => kind == "ReplicaSet" && name == format!("{own}-x1"),
        "Pod" => false,
        other => kind == other && name == own,
    }
}

fn is_run_time(key: &str) -> bool {
    key == "statefulset.kubernetes.io/pod-name"
}

fn selects(selector: &BTreeMap<String, String>, pods: &Pods) -> bool {
    let counts = |key: &str| pods.is_live || !is_run_time(key);
    let mut pairs = selector.iter().filter(|(key, _)| counts(key)).peekable();
    pairs.peek().is_some() && pairs.all(|(key, value)| pods.labels.get(key) == Some(value))
}

fn links(others: &[&Value], subject: Option<&Value>, pods: &[(String, Pods)], own: &Value) -> Vec<Link> {
    let all: Vec<&Value> = others.iter().copied().chain(subject).collect();
    let services: Vec<&Value> = all.iter().copied().filter(|it| it["kind"] == "Service").collect();
    let mut links = Vec::new();
    for object in &all {
        let namespace = &object["metadata"]["namespace"];
        let id = format!("{} {namespace} {}", object["kind"], object["metadata"]["name"]);
        let is_own = object["kind"] == own["kind"]
            && object["metadata"]["name"] == own["metadata"]["name"]
            && *namespace == own["metadata"]["namespace"];
        match object["kind"].as_str() {
            Some("Service") => {
                let near: Vec<&Pods> =
                    pods.iter().filter(|it| Some(it.0.as_str()) == namespace.as_str()).map(|it| &it.1).collect();
                service_links(object, &near, &id, is_own, &mut links);
            }
            Some("Ingress") => {
                let near: Vec<&Value> =
                    services.iter().copied().filter(|it| it["metadata"]["namespace"] == *namespace).collect();
                ingress_links(object, &near, &id, is_own, &mut links);
            }
            _ => {}
        }
    }
    links
}

fn selector(service: &Value) -> BTreeMap<String, String> {
    let pairs = service["spec"]["selector"].as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), text(value))).collect()
}

fn service_links(service: &Value, pods: &[&Pods], id: &str, is_own: bool, links: &mut Vec<Link>) {
    let selector = selector(service);
    if selector.is_empty() || service["spec"]["type"] == "ExternalName" {
        return;
    }
    let selected: Vec<&Pods> = pods.iter().copied().filter(|it| selects(&selector, it)).collect();
    let state = match selected.is_empty() {
        false => State::Resolved,
        true if selector.keys().all(|key| is_run_time(key)) => State::Undecided,
        true => State::Absent,
    };
    let releases = (release(service), selected.iter().map(|it| it.release.clone()).collect::<Vec<_>>());
    let asks = format!("{selector:?}");
    let link = |identity: String, asks: String, state| Link {
        identity,
        asks,
        is_own,
        state,
        is_backend: false,
        releases: releases.clone(),
        has_counterpart: true,
    };
    links.push(link(id.to_owned(), asks.clone(), state));
    for port in list(&service["spec"]["ports"]) {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
        let offers = |it: &&&Pods| it.ports.iter().any(|(name, _, other)| *target == **name && other == protocol);
        let state = match target {
            _ if selected.is_empty() => State::Undecided,
            Value::Number(_) => State::Resolved,
            _ if selected.iter().any(|it| offers(&it)) => State::Resolved,
            _ => State::Mismatch,
        };
        links.push(link(format!("{id} {} {protocol}", port["port"]), format!("{asks} {target}"), state));
    }
}

fn ingress_links(ingress: &Value, services: &[&Value], id: &str, is_own: bool, links: &mut Vec<Link>) {
    let spec = &ingress["spec"];
    let rules = list(&spec["rules"]).flat_map(|rule| list(&rule["http"]["paths"]).map(move |path| (rule, path)));
    let routes = rules.map(|(rule, path)| {
        (format!("{} {} {}", rule["host"], path["path"], path["pathType"]), &path["backend"]["service"])
    });
    let routes = routes.chain([("default".to_owned(), &spec["defaultBackend"]["service"])]);
    for (route, backend) in routes.filter(|(_, backend)| backend.is_object()) {
        let service = services.iter().find(|it| it["metadata"]["name"] == backend["name"]);
        links.push(Link {
            identity: format!("{id} {route}"),
            asks: format!("{} {}", backend["name"], wanted(&backend["port"])),
            is_own,
            state: service.map_or(State::Absent, |it| backend_state(spec, &backend["port"], it)),
            is_backend: true,
            releases: (release(ingress), service.map(|it| release(it)).into_iter().collect()),
            has_counterpart: service.is_some(),
        });
    }
}

/// The port of an Ingress backend: the number, or else the name.
fn wanted(port: &Value) -> &Value {
    if port["number"].is_null() { &port["name"] } else { &port["number"] }
}

fn backend_state(spec: &Value, port: &Value, service: &Value) -> State {
    let wanted = wanted(port);
    let ports = || list(&service["spec"]["ports"]);
    let has = ports().any(|it| if wanted.is_number() { it["port"] == *wanted } else { it["name"] == *wanted });
    if wanted.is_null() || service["spec"]["type"] == "ExternalName" || has {
        return State::Resolved;
    }
    let is_target = ports().any(|it| {
        let target = if it["targetPort"].is_null() { &it["port"] } else { &it["targetPort"] };
        target == wanted
    });
    if is_target && spec["ingressClassName"] == "nginx" { State::Risk } else { State::Mismatch }
}
