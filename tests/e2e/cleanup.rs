//! Deletions always work: of namespaces, of objects that a finalizer holds, and by the garbage collector, even where
//! nothing is as no502 wants it.

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::{
    cluster::Version,
    no502::{No502, soon},
    room::{PATIENCE, Room, deployment, ingress, service, with_metadata},
    trial::E2e,
};

pub(crate) fn trials() -> Vec<E2e> {
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::guarded("a_broken_namespace_is_deleted", &Version::ALL, a_broken_namespace_is_deleted),
        E2e::guarded("what_a_finalizer_holds_is_deleted", NEWEST, what_a_finalizer_holds_is_deleted),
        E2e::guarded("garbage_is_collected", NEWEST, garbage_is_collected),
        E2e::own_guarded("no_rule_refuses_the_cleaners", NEWEST, no_rule_refuses_the_cleaners),
    ]
}

/// Services and Ingresses with every fault that can be written, which takes a break-glass that ends before this returns.
/// `more` goes into the metadata of every object.
fn broken_room<'a>(no502: &'a No502, more: &str) -> anyhow::Result<Room<'a>> {
    let room = Room::new(no502)?;
    let contradiction = "          readinessProbe: {httpGet: {port: htp}}\n";
    let objects = [
        deployment("web", "app: web", "{name: http, containerPort: 8080}") + contradiction,
        service("web", "app: web", "{port: 80, targetPort: wrong}"),
        service("lonely", "app: nothing", "{port: 80}"),
        ingress("web", "web", "number: 8080"),
        ingress("nowhere", "nothing", "number: 80"),
    ];
    let objects = if more.is_empty() { objects.concat() } else { with_metadata(&objects.concat(), more) };
    let refused = |is_refused: bool| {
        let wrong = deployment("question", "app: question", "") + contradiction;
        soon("no502 knows the namespace's break-glass", PATIENCE, || {
            let said = room.kubectl_with("create --dry-run=server -f -", &wrong)?;
            ensure!(
                said.0.stderr.contains("readinessProbe of container") && said.0.status.success() != is_refused,
                "{said}"
            );
            Ok(())
        })
    };
    let annotate =
        |text: &str| room.kubectl(&format!("annotate namespace {} no502.dev/break-glass-until{text}", room.name));
    annotate("=2999-12-31T00:00:00Z")?.quiet()?;
    refused(false)?;
    room.given(&objects)?;
    annotate("-")?.quiet()?;
    refused(true)?;
    Ok(room)
}

fn a_broken_namespace_is_deleted(no502: &No502) -> anyhow::Result<()> {
    let room = broken_room(no502, "")?;
    // kubectl itself warns that the namespace is not in the namespace.
    room.kubectl(&format!("delete namespace {}", room.name))?.done()?;
    let said = room.kubectl(&format!("get namespace {}", room.name))?;
    ensure!(said.0.stderr.contains("NotFound"), "it is still there: {said}");
    Ok(())
}

fn what_a_finalizer_holds_is_deleted(no502: &No502) -> anyhow::Result<()> {
    let room = broken_room(no502, "finalizers: [example.com/hold]")?;
    for object in ["service/web", "deployment/web", "ingress/web", "service/lonely", "ingress/nowhere"] {
        room.kubectl(&format!("delete {object} --wait=false"))?.done()?;
        let held = room.get(object)?;
        ensure!(held["metadata"]["deletionTimestamp"].is_string(), "it is not being deleted: {held}");
        room.kubectl(&format!("label {object} still=here"))?.quiet()?;
        let patch = "--type=json -p [{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}]";
        room.kubectl(&format!("patch {object} {patch}"))?.quiet()?;
        gone(&room, object)?;
    }
    Ok(())
}

fn garbage_is_collected(no502: &No502) -> anyhow::Result<()> {
    let room = broken_room(no502, "")?;
    collected(&room, &["service/web", "ingress/web", "service/lonely", "ingress/nowhere"])?;

    let replica_sets = || Ok::<_, anyhow::Error>(room.get("replicasets --selector=app=web")?["items"].clone());
    soon("the Deployment has a ReplicaSet", PATIENCE, || {
        ensure!(replica_sets()?.as_array().is_some_and(|it| it.len() == 1), "not one ReplicaSet");
        Ok(())
    })?;
    room.apply(&service("web", "app: web", "{port: 80, targetPort: 8080}"))?.done()?;
    room.kubectl("delete deployment web --cascade=foreground")?.done()?;
    gone(&room, "deployment/web")?;
    ensure!(replica_sets()?.as_array().is_some_and(Vec::is_empty), "the ReplicaSet outlived its Deployment");
    Ok(())
}

fn no_rule_refuses_the_cleaners(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let (pods, service) =
        (deployment("web", "app: web", "{containerPort: 8080}"), service("web", "app: web", "{port: 80}"));
    room.given(&[&pods, &service, &ingress("web", "web", "number: 80")].map(String::as_str).concat())?;
    no502.stop()?;
    no502.start(&["--action", "service-selects-nothing=deny", "--action", "ingress-service-missing=deny"])?;
    no502.await_guarding()?;

    let routes = "Ingress \"web\" (web.example/) still routes to this Service";
    room.kubectl("delete service web")?.denied(routes)?;
    room.kubectl("delete deployment web")?.denied("matches nothing without it")?;
    collected(&room, &["service/web"])?;

    room.apply(&service)?.done()?;
    soon("no502 knows the new Service", PATIENCE, || {
        room.kubectl("delete service web --dry-run=server")?.denied(routes)
    })?;
    room.kubectl(&format!("delete namespace {}", room.name))?.done()?;
    Ok(())
}

/// Objects whose owner is deleted are collected.
fn collected(room: &Room<'_>, objects: &[&str]) -> anyhow::Result<()> {
    room.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: owner}}")?.quiet()?;
    let uid = room.get("configmap/owner")?["metadata"]["uid"].as_str().context("no uid")?.to_owned();
    let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
    let patch = json!({"metadata": {"ownerReferences": reference}});
    for object in objects {
        room.kubectl(&format!("patch {object} --type=merge -p {patch}"))?.done()?;
    }
    room.kubectl("delete configmap owner")?.quiet()?;
    objects.iter().try_for_each(|object| gone(room, object))
}

fn gone(room: &Room<'_>, object: &str) -> anyhow::Result<()> {
    soon(&format!("{object} is gone"), PATIENCE, || {
        let said = room.kubectl(&format!("get {object}"))?;
        ensure!(said.0.stderr.contains("NotFound"), "{said}");
        Ok(())
    })
}
