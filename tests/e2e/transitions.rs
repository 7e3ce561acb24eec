//! The transition matrix through the API server: what was there, what kubectl writes, and what comes of it. Its rows that
//! take more than one step are in `denials.rs`.

use anyhow::Context as _;

use crate::{
    cluster::Version,
    no502::No502,
    room::{Room, Said, WITH_PROBE, deployment, ingress, of_release, service, with_metadata},
    trial::E2e,
};

pub(crate) fn trials() -> Vec<E2e> {
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::guarded("of_a_service", NEWEST, |no502| all(no502, of_a_service())),
        E2e::guarded("of_the_ports_of_a_service", NEWEST, |no502| all(no502, of_the_ports_of_a_service())),
        E2e::guarded("of_a_deployment", NEWEST, |no502| all(no502, of_a_deployment())),
        E2e::guarded("of_an_ingress", NEWEST, |no502| all(no502, of_an_ingress())),
        E2e::guarded("always_allowed", NEWEST, |no502| all(no502, always_allowed())),
    ]
}

/// One row of the matrix.
struct Row {
    name: &'static str,
    given: String,
    write: Write,
    comes_of_it: Outcome,
}

enum Write {
    Apply(String),
    Kubectl(&'static str),
}
use Write::{Apply, Kubectl};

enum Outcome {
    Denied(&'static str),
    Warned(&'static str),
    Quiet,
}
use Outcome::{Denied, Quiet, Warned};

fn row(name: &'static str, given: &[&str], write: Write, comes_of_it: Outcome) -> Row {
    Row { name, given: given.concat(), write, comes_of_it }
}

fn all(no502: &No502, rows: Vec<Row>) -> anyhow::Result<()> {
    let failures: Vec<String> = rows
        .into_iter()
        .filter_map(|row| {
            let name = row.name;
            run(no502, row).with_context(|| format!("row \"{name}\"")).err().map(|error| format!("{error:#}"))
        })
        .collect();
    if failures.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(failures.join("\n\n"))) }
}

fn run(no502: &No502, row: Row) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.given(&row.given)?;
    let said: Said = match row.write {
        Apply(yaml) => room.apply(&yaml)?,
        Kubectl(words) => room.kubectl(words)?,
    };
    match row.comes_of_it {
        Denied(text) => said.denied(text),
        Warned(text) => said.warned(text),
        Quiet => said.quiet().map(drop),
    }
}

/// Pods `app: NAME` with a port `http`, 8080.
fn pods(name: &str) -> String {
    deployment(name, &format!("app: {name}"), "{name: http, containerPort: 8080}")
}

/// A Service `web` for the pods of `web`: port 80 to the port `http`.
fn web() -> String {
    service("web", "app: web", "{name: http, port: 80, targetPort: http}")
}

/// At the end of a Deployment: nothing is injected, so nothing is said about it.
const OWN_HOOK: &str = "          lifecycle: {preStop: {exec: {command: [/bin/drain]}}}\n";

fn released(yaml: &str) -> String {
    of_release(yaml, "shop")
}

fn of_a_service() -> Vec<Row> {
    let path = ingress("web", "web", "number: 80");
    vec![
        row(
            "selector: nothing before, nothing after",
            &[&service("web", "app: nothing", "{port: 80}")],
            Kubectl("set selector service web app=none"),
            Warned("selector app=none matches no pod or workload in namespace"),
        ),
        row(
            "selector: from A to B (blue/green)",
            &[&pods("web"), &pods("green"), &web()],
            Kubectl("set selector service web app=green"),
            Quiet,
        ),
        row(
            "a selector in one release that drops all pods",
            &[&released(&pods("web")), &released(&web())],
            Kubectl("set selector service web app=wbe"),
            Denied("matches no pod or workload any more"),
        ),
        row(
            "deleted while an Ingress uses it",
            &[&pods("web"), &web(), &path],
            Kubectl("delete service web"),
            Warned("Ingress \"web\" (web.example/) still routes to this Service"),
        ),
        row("deleted while nothing uses it", &[&pods("web"), &web()], Kubectl("delete service web"), Quiet),
        row(
            "to type ExternalName",
            &[&pods("web"), &web()],
            Kubectl("patch service web -p {\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"web.example\"}}"),
            Warned("with type ExternalName the Service no longer sends to Deployment \"web\""),
        ),
        row(
            "selector removed",
            &[&pods("web"), &web()],
            Kubectl("patch service web --type=merge -p {\"spec\":{\"selector\":null}}"),
            Warned("with no selector the Service no longer sends to Deployment \"web\""),
        ),
    ]
}

fn of_the_ports_of_a_service() -> Vec<Row> {
    let path = ingress("web", "web", "number: 80");
    let without_port_80 = service("web", "app: web", "{name: http, port: 81, targetPort: http}");
    let added =
        service("web", "app: web", "{name: http, port: 80, targetPort: http}, {name: new, port: 81, targetPort: nwe}");
    vec![
        row(
            "a port added whose name the pods lack",
            &[&pods("web"), &web()],
            Apply(added.clone()),
            Denied("spec.ports[1].targetPort: targetPort \"nwe\" is not a TCP container port of any selected pod"),
        ),
        row(
            "the same in one release",
            &[&released(&pods("web")), &released(&web())],
            Apply(released(&added)),
            Warned("targetPort \"nwe\" is not a TCP container port of any selected pod"),
        ),
        row(
            "targetPort: from a name that resolves to one that does not",
            &[&pods("web"), &web()],
            Apply(service("web", "app: web", "{name: http, port: 80, targetPort: htpp}")),
            Denied("did you mean \"http\"? [service-port-unresolved]"),
        ),
        row(
            "targetPort: from a name to its number",
            &[&pods("web"), &web()],
            Apply(service("web", "app: web", "{name: http, port: 80, targetPort: 8080}")),
            Quiet,
        ),
        row(
            "a port removed that an Ingress uses by number",
            &[&pods("web"), &web(), &path],
            Apply(without_port_80.clone()),
            Denied("port 80 is removed, but Ingress \"web\" (web.example/) uses it"),
        ),
        row(
            "the same in one release",
            &[&released(&pods("web")), &released(&web()), &released(&path)],
            Apply(released(&without_port_80)),
            Warned("port 80 is removed, but Ingress \"web\" (web.example/) uses it"),
        ),
    ]
}

fn of_a_deployment() -> Vec<Row> {
    let front = |labels: &str| deployment("web", labels, "{name: http, containerPort: 8080}") + WITH_PROBE;
    let service = service("front", "tier: front", "{port: 80, targetPort: 8080}");
    let other = deployment("other", "app: other, tier: front", "{containerPort: 8080}");
    let lost = "the new pod labels no longer match Service \"front\"";
    vec![
        row(
            "the label a Service selects changes",
            &[&front("app: web, tier: front"), &service],
            Apply(front("app: web, tier: frnt")),
            Denied(lost),
        ),
        row(
            "the label a Service selects is removed",
            &[&front("app: web, tier: front"), &service],
            Apply(front("app: web")),
            Denied(lost),
        ),
        row(
            "the same with kubectl patch",
            &[&front("app: web, tier: front"), &service],
            Kubectl(
                "patch deployment web -p {\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"tier\":\"back\"}}}}}",
            ),
            Denied(lost),
        ),
        row(
            "a label beside it is added",
            &[&front("app: web, tier: front"), &service],
            Apply(front("app: web, tier: front, track: stable")),
            Quiet,
        ),
        row(
            "the label changes, and the Service has other pods",
            &[&front("app: web, tier: front"), &other, &service],
            Apply(front("app: web, tier: back")),
            Warned("front"),
        ),
        row(
            "created without a port that a Service names",
            &[&web()],
            Apply(deployment("web", "app: web", "{name: web, containerPort: 8080}") + OWN_HOOK),
            Warned("Service \"web\" sends port 80 to a port named \"http\", which no container declares"),
        ),
        row(
            "deleted as the last one behind a Service",
            &[&pods("web"), &web()],
            Kubectl("delete deployment web --cascade=background"),
            Warned("Service \"web\" (selector app=web) matches nothing without it"),
        ),
        row(
            "scaled to zero as the last one behind a Service",
            &[&pods("web"), &web()],
            Kubectl("scale deployment web --replicas=0"),
            Quiet,
        ),
        row(
            "a readiness probe of a port that is not declared",
            &[],
            Apply(pods("web") + OWN_HOOK + "          readinessProbe: {httpGet: {path: /, port: htp}}\n"),
            Denied("readinessProbe of container \"web\" uses port \"htp\""),
        ),
    ]
}

fn of_an_ingress() -> Vec<Row> {
    let with_second_path = |service: &str, port: &str| {
        ingress("web", "web", "number: 80").replace(
            "paths: [",
            &format!("paths: [{{path: /new, pathType: Prefix, backend: {{service: {{name: {service}, port: {{{port}}}}}}}}}, "),
        )
    };
    let path = ingress("web", "web", "number: 80");
    vec![
        row(
            "a path to a missing Service added",
            &[&pods("web"), &web(), &path],
            Apply(with_second_path("late", "number: 80")),
            Warned("backend Service \"late\" of web.example/new does not exist"),
        ),
        row(
            "a path to a missing port added",
            &[&pods("web"), &web(), &path],
            Apply(with_second_path("web", "number: 8080")),
            Denied("Service \"web\" has no port 8080 for web.example/new"),
        ),
        row(
            "created for a missing port, in one release",
            &[&released(&pods("web")), &released(&web())],
            Apply(released(&ingress("web", "web", "number: 8080"))),
            Warned("Service \"web\" has no port 8080 for web.example/"),
        ),
        row(
            "a path that worked goes to a missing Service, in a release",
            &[&released(&pods("web")), &released(&web()), &released(&path)],
            Apply(released(&ingress("web", "late", "number: 80"))),
            Warned("backend Service \"late\" of web.example/ does not exist"),
        ),
        row(
            "a path that worked goes to a missing port, in one release",
            &[&released(&pods("web")), &released(&web()), &released(&path)],
            Apply(released(&ingress("web", "web", "number: 8080"))),
            Warned("Service \"web\" has no port 8080 for web.example/"),
        ),
        row(
            "unresolved before and after",
            &[&ingress("web", "late", "number: 80")],
            Apply(ingress("web", "later", "number: 80")),
            Warned("backend Service \"later\" of web.example/ does not exist"),
        ),
        row(
            "a path that worked is removed",
            &[&pods("web"), &web(), &with_second_path("web", "number: 80")],
            Apply(path.clone()),
            Quiet,
        ),
        row("deleted", &[&pods("web"), &web(), &path], Kubectl("delete ingress web"), Quiet),
    ]
}

fn always_allowed() -> Vec<Row> {
    let operator = "ownerReferences: [{apiVersion: example.com/v1, kind: Shop, name: shop, uid: \
                    2f9d5c0e-0000-4000-8000-000000000502, controller: true}]";
    let owned = |yaml: String| with_metadata(&yaml, operator);
    vec![
        row(
            "a label on a Service that selects nothing",
            &[&service("web", "app: nothing", "{port: 80}")],
            Kubectl("label service web team=shop"),
            Warned("selector app=nothing matches no pod or workload"),
        ),
        row(
            "a Service of an operator drops its pods",
            &[&pods("web"), &owned(web())],
            Kubectl("set selector service web app=wbe"),
            Warned("selector app=wbe matches no pod or workload any more"),
        ),
        row(
            "a bare Pod that contradicts itself is no exception",
            &[],
            Apply(
                "{apiVersion: v1, kind: Pod, metadata: {name: bare}, spec: {containers: [{name: web, image: \
                 example.invalid/web, readinessProbe: {httpGet: {port: htp}}}]}}"
                    .to_owned(),
            ),
            Denied("Pod \"bare\" spec.containers[0].readinessProbe.httpGet.port: readinessProbe of container \"web\""),
        ),
    ]
}
