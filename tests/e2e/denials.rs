//! What no502 refuses and what it only warns about, in the words that kubectl shows.

use anyhow::ensure;

use crate::{
    cluster::Version,
    no502::No502,
    room::{Room, WITH_PROBE, deployment, ingress, of_release, service},
    trial::E2e,
};

const NEWEST: &[Version] = &[Version::V1_37];

pub(crate) fn trials() -> Vec<E2e> {
    vec![
        E2e::guarded("selector_that_drops_all_pods", &Version::ALL, selector_that_drops_all_pods),
        E2e::guarded("service_before_its_pods", &Version::ALL, service_before_its_pods),
        E2e::guarded("service_with_a_port_its_pods_lack", NEWEST, service_with_a_port_its_pods_lack),
        E2e::guarded("ingress_to_a_port_its_service_lacks", &Version::ALL, ingress_to_a_port_its_service_lacks),
        E2e::guarded("ingress_to_a_missing_service", NEWEST, ingress_to_a_missing_service),
        E2e::guarded("service_port_that_an_ingress_uses", NEWEST, service_port_that_an_ingress_uses),
        E2e::guarded("container_port_that_a_service_names", NEWEST, container_port_that_a_service_names),
    ]
}

fn selector_that_drops_all_pods(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.given(&(deployment("web", "app: web", "{containerPort: 8080}") + &service("web", "app: web", "{port: 80}")))?;

    let message = "Service \"web\" spec.selector: selector app=webb matches no pod or workload any more (it matched \
                   Deployment \"web\"); did you mean \"app: web\" (Deployment \"web\")? [service-selects-nothing]";
    let whole = format!(
        "Error from server (Forbidden): admission webhook \"validate.no502.dev\" denied the request: {message}"
    );
    let typo = service("web", "app: webb", "{port: 80}");
    room.kubectl("set selector service web app=webb")?.says(&whole)?;
    room.kubectl("patch service web -p {\"spec\":{\"selector\":{\"app\":\"webb\"}}}")?.says(&whole)?;
    room.kubectl_with("apply --server-side --force-conflicts -f -", &typo)?.says(&whole)?;
    room.kubectl_with("apply --server-side --force-conflicts --dry-run=server -f -", &typo)?.says(&whole)?;
    room.kubectl_with("replace -f -", &typo)?.denied(message)?;
    room.kubectl_with("apply --dry-run=server -f -", &typo)?.denied(message)?;
    room.apply(&typo)?.denied(message)?;

    let stored = room.get("service/web")?;
    ensure!(stored["spec"]["selector"]["app"] == "web", "it was written: {stored}");
    room.kubectl("label service web team=shop")?.quiet()?;
    Ok(())
}

fn service_before_its_pods(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let said = room.apply(&service("web", "app: web", "{port: 80, targetPort: http}"))?;
    said.says(&format!(
        "Warning: no502: Service \"web\" spec.selector: selector app=web matches no pod or workload in namespace \"{}\"; \
         correct the selector, or create the workload [service-selects-nothing]",
        room.name
    ))?;
    said.done()?;
    room.settle()?;
    let web = deployment("web", "app: web", "{name: http, containerPort: 8080}") + WITH_PROBE;
    room.apply(&web)?.warned("added preStop sleep")?;
    room.settle()?;
    room.apply(&service("web", "app: web", "{port: 81, targetPort: http}"))?.quiet()?;
    Ok(())
}

fn service_with_a_port_its_pods_lack(no502: &No502) -> anyhow::Result<()> {
    let message = "targetPort \"http\" is not a TCP container port of any selected pod";
    let workload = deployment("web", "app: web", "{name: web, containerPort: 8080}");
    let ahead = service("web", "app: web", "{port: 80, targetPort: http}");

    let room = Room::new(no502)?;
    room.given(&workload)?;
    room.apply(&ahead)?.denied(message)?;
    room.kubectl_with("create --dry-run=server -f -", &ahead)?.denied("(Deployment \"web\" has web 8080)")?;
    room.apply(&service("web", "app: web", "{port: 80, targetPort: web}"))?.quiet()?;

    let room = Room::new(no502)?;
    room.given(&of_release(&workload, &room.name))?;
    room.apply(&ahead)?.denied(message)?;
    room.apply(&of_release(&ahead, &room.name))?.warned(message)?;
    Ok(())
}

fn ingress_to_a_port_its_service_lacks(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let web = deployment("web", "app: web", "{containerPort: 8080}");
    room.given(&(web + &service("web", "app: web", "{port: 80, targetPort: 8080}")))?;
    let message = "Service \"web\" has no port 8080 for web.example/ (it has 80); 8080 is its targetPort; use its port 80 \
                   [ingress-port-missing]";
    let wrong = ingress("web", "web", "number: 8080");
    let right = ingress("web", "web", "number: 80");

    room.apply(&wrong)?.denied(message)?;
    room.apply(&right)?.quiet()?;
    room.apply(&wrong)?.denied(message)?;
    room.apply(&ingress("web", "web", "name: http"))?
        .denied("Service \"web\" has no port \"http\" for web.example/")?;
    let stored = room.get("ingress/web")?;
    let backend = &stored["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    ensure!(backend["port"]["number"] == 80, "it was written: {stored}");
    Ok(())
}

fn ingress_to_a_missing_service(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let missing = format!("does not exist in namespace \"{}\"", room.name);
    room.apply(&ingress("early", "early", "number: 80"))?.warned(&missing)?;

    let web = deployment("web", "app: web", "{containerPort: 8080}");
    room.given(&(web + &service("web", "app: web", "{port: 80}") + &ingress("web", "web", "number: 80")))?;
    room.apply(&ingress("web", "wbe", "number: 80"))?.denied(&missing)?;
    room.apply(&ingress("early", "late", "number: 80"))?.warned(&missing)?;
    Ok(())
}

fn service_port_that_an_ingress_uses(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let service = |ports: &str| service("web", "app: web", ports);
    let web = deployment("web", "app: web", "{containerPort: 8080}");
    let path = ingress("web", "web", "name: http");
    room.given(&(web + &service("{name: http, port: 80}") + &path))?;

    let message = "port \"http\" is removed, but Ingress \"web\" (web.example/) uses it";
    room.apply(&service("{name: https, port: 443}"))?.denied(message)?;
    room.apply(&service("{name: web, port: 80}"))?.denied(message)?;
    room.kubectl(
        "patch service web --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/ports/0/name\",\"value\":\"web\"}]",
    )?
    .denied(message)?;
    // The safe way: both, then the Ingress, then the old one goes.
    room.apply(&service("{name: http, port: 80}, {name: web, port: 81}"))?.quiet()?;
    room.settle()?;
    room.apply(&ingress("web", "web", "name: web"))?.quiet()?;
    room.settle()?;
    room.apply(&service("{name: web, port: 81}"))?.quiet()?;
    Ok(())
}

fn container_port_that_a_service_names(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let deployment = |ports: &str| deployment("web", "app: web", ports) + WITH_PROBE;
    let service = |target: &str| service("web", "app: web", &format!("{{port: 80, targetPort: {target}}}"));
    room.given(&(deployment("{name: http, containerPort: 8080}") + &service("http")))?;

    let renamed = deployment("{name: web, containerPort: 8080}");
    room.apply(&renamed)?.denied("port name \"http\" is removed, but Service \"web\" targets it by name")?;
    room.kubectl_with("apply --dry-run=server -f -", &renamed)?.denied("[service-port-unresolved]")?;
    // The safe way: both names, then the Service, then the old one goes.
    room.apply(&deployment("{name: http, containerPort: 8080}, {name: web, containerPort: 8081}"))?.quiet()?;
    room.settle()?;
    room.apply(&service("web"))?.quiet()?;
    room.settle()?;
    room.apply(&renamed)?.quiet()?;
    Ok(())
}
