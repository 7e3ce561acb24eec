//! What happens to no502 and around it when something is away: no502 itself, the API server, the history of etcd, the
//! certificates, the bundle in the webhook configurations.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::{
    cluster::{Version, api::Patch},
    no502::{No502, soon},
    room::{PATIENCE, Room, deployment, service},
    trial::E2e,
};

/// From the first `ok` of `/readyz` to the first denial.
const ENFORCED_AFTER: Duration = Duration::from_secs(5);
/// From the return of the API server to the first denial about what is new since.
const HEALED_AFTER: Duration = Duration::from_secs(30);
/// From the loss of a bundle or of the CA Secret to its return.
const REPAIRED_AFTER: Duration = Duration::from_secs(40);

const CA_SECRET: &str = "secret/no502-ca --namespace=no502-system";

pub(crate) fn trials() -> Vec<E2e> {
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::own_guarded("no502_stops_and_starts", NEWEST, no502_stops_and_starts),
        E2e::own_guarded("a_namespace_that_fails_closed", NEWEST, a_namespace_that_fails_closed),
        E2e::own_guarded("the_api_server_dies_and_etcd_forgets", NEWEST, the_api_server_dies_and_etcd_forgets),
        E2e::own_guarded("certificates_and_bundles_are_lost", NEWEST, certificates_and_bundles_are_lost),
        E2e::own_guarded(
            "only_pods_without_a_controller_are_reviewed",
            NEWEST,
            only_pods_without_a_controller_are_reviewed,
        ),
    ]
}

fn pods(name: &str) -> String {
    deployment(name, &format!("app: {name}"), "{name: http, containerPort: 8080}")
}

fn service_of(name: &str) -> String {
    service(name, &format!("app: {name}"), "{port: 80, targetPort: http}")
}

const SELECTS_NOTHING: &str = "selector app=gone matches no pod or workload any more";

/// A selector that drops all pods of the Service is refused; nothing is written in any case.
fn is_guarded(room: &Room<'_>, name: &str) -> anyhow::Result<()> {
    room.kubectl(&format!("set selector service {name} app=gone --dry-run=server"))?.denied(SELECTS_NOTHING)
}

fn no502_stops_and_starts(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.given(&(pods("web") + &service_of("web") + &pods("api") + &service_of("api")))?;
    is_guarded(&room, "api")?;

    no502.stop()?;
    room.kubectl("set selector service web app=gone")?.quiet()?;
    room.apply(&pods("early"))?.quiet()?;

    // Asked by a plain request: kubectl would count with its own start.
    let api = no502.cluster.api()?;
    let path = format!("/api/v1/namespaces/{}/services/api?dryRun=All", room.name);
    let ready = no502.start(&[])?;
    soon("no502 enforces again", PATIENCE, || {
        let answer = api.patch(&path, Patch::Merge, &json!({"spec": {"selector": {"app": "gone"}}}))?;
        let message = answer.body["message"].as_str().unwrap_or_default();
        ensure!(answer.status == 403 && message.contains(SELECTS_NOTHING), "{answer:?}");
        Ok(())
    })?;
    let took = ready.elapsed();
    ensure!(took <= ENFORCED_AFTER, "no502 was ready {} ms before it denied anything", took.as_millis());

    // What it did not see being written is as it was; the user's next rollout adopts it.
    let hook = || {
        Ok::<_, anyhow::Error>(
            room.get("deployment/early")?["spec"]["template"]["spec"]["containers"][0]["lifecycle"].clone(),
        )
    };
    room.kubectl("label deployment early team=shop")?.quiet()?;
    room.kubectl("scale deployment early --replicas=2")?.quiet()?;
    ensure!(hook()?.is_null(), "a hook was added without a rollout: {}", hook()?);
    let added = "added preStop sleep 10s to container early, grace 30s -> 40s";
    room.kubectl("set image deployment/early early=example.invalid/early:2")?.warned(added)?;
    ensure!(hook()?["preStop"]["sleep"]["seconds"] == 10, "no hook: {}", hook()?);
    soon("the second ReplicaSet is there", PATIENCE, || {
        let sets = room.get("replicasets --selector=app=early")?;
        ensure!(sets["items"].as_array().is_some_and(|it| it.len() == 2), "{sets}");
        Ok(())
    })?;
    room.kubectl("rollout undo deployment early")?.done()?;
    let undone = room.get("deployment/early")?["spec"]["template"]["spec"].clone();
    ensure!(undone["containers"][0]["image"] == "example.invalid/early:1", "not undone: {undone}");
    ensure!(
        undone["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 10,
        "undone without a hook: {undone}"
    );
    ensure!(undone["terminationGracePeriodSeconds"] == 40, "undone without the grace period: {undone}");

    // What was broken meanwhile is allowed to stay so, and to be mended.
    room.kubectl("label service web team=shop")?.warned("selector app=gone matches no pod or workload in namespace")?;
    room.kubectl("set selector service web app=web")?.quiet()?;
    Ok(())
}

fn a_namespace_that_fails_closed(no502: &No502) -> anyhow::Result<()> {
    let refused_by = "failed calling webhook \"validate-fail-closed.no502.dev\"";
    let room = Room::new(no502)?;
    room.kubectl(&format!("label namespace {} no502.dev/fail-closed=true", room.name))?.quiet()?;
    room.apply(&pods("web"))?.done()?;
    room.apply(&service_of("web"))?.done()?;
    soon("the fail-closed webhook denies", PATIENCE, || {
        let said = room.kubectl("set selector service web app=gone --dry-run=server")?;
        ensure!(
            said.0.stderr.contains("admission webhook \"validate-fail-closed.no502.dev\" denied the request: "),
            "{said}"
        );
        Ok(())
    })?;

    no502.stop()?;
    let refused = |words: &str, stdin: &str| {
        let said = room.kubectl_with(words, stdin)?;
        ensure!(
            said.0.status.code() == Some(1) && said.0.stderr.contains(refused_by),
            "should have been refused: {said}"
        );
        Ok::<_, anyhow::Error>(())
    };
    refused("apply -f -", &service_of("new"))?;
    refused("set selector service web app=gone", "")?;
    refused("delete service web", "")?;
    // Not even the namespace's controller can empty it.
    room.kubectl(&format!("delete namespace {} --wait=false", room.name))?.done()?;
    let phase = || Ok::<_, anyhow::Error>(room.get(&format!("namespace/{}", room.name))?["status"].clone());
    soon("the namespace's controller is refused", PATIENCE, || {
        let status = phase()?;
        ensure!(status["phase"] == "Terminating" && status.to_string().contains("failed calling webhook"), "{status}");
        Ok(())
    })?;

    no502.start(&[])?;
    soon("the namespace is gone", 2 * PATIENCE, || {
        let said = room.kubectl(&format!("get namespace {}", room.name))?;
        ensure!(said.0.stderr.contains("NotFound"), "{said}, {:?}", phase());
        Ok(())
    })
}

fn the_api_server_dies_and_etcd_forgets(no502: &No502) -> anyhow::Result<()> {
    let cluster = &no502.cluster;
    let room = Room::new(no502)?;
    room.given(&(pods("first") + &service_of("first")))?;
    is_guarded(&room, "first")?;
    let takes_part = |name: &str| {
        let since = Instant::now();
        room.apply(&(pods(name) + &service_of(name)))?.done()?;
        soon(&format!("Service {name} takes part"), HEALED_AFTER.saturating_sub(since.elapsed()), || {
            is_guarded(&room, name)
        })?;
        no502.must_run()
    };

    cluster.restart_apiserver()?;
    takes_part("second")?;

    // The watches stand at versions that are older than all that the new API server and etcd can tell about.
    for number in 0..5 {
        room.kubectl(&format!("create configmap filler-{number}"))?.quiet()?;
    }
    cluster.stop_apiserver()?;
    cluster.compact_etcd()?;
    cluster.start_apiserver()?;
    takes_part("third")?;
    is_guarded(&room, "first")?;
    ensure!(no502.log()?.contains("too old resource version"), "the watches went on as if nothing was forgotten");

    no502.stop()?;
    cluster.stop_apiserver()?;
    no502.start_until(&[], || no502.await_serving())?;
    let (status, missing) = no502.readiness()?;
    ensure!(status == 503, "ready without an API server: {status} {missing}");
    for what in ["cache synced: ", "certificate valid: ", "server version known: "] {
        ensure!(missing.contains(what), "/readyz does not say that {what:?} is missing: {missing}");
    }
    cluster.start_apiserver()?;
    no502.await_ready()?;
    takes_part("fourth")?;
    is_guarded(&room, "first")
}

fn certificates_and_bundles_are_lost(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.given(&(pods("web") + &service_of("web")))?;
    is_guarded(&room, "web")?;
    let bundles = || {
        let mut bundles = Vec::new();
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let configuration = room.get(&format!("{kind}/no502"))?;
            let webhooks = configuration["webhooks"].as_array().context("no webhooks")?;
            bundles.extend(webhooks.iter().map(|it| it["clientConfig"]["caBundle"].clone()));
        }
        Ok::<_, anyhow::Error>(bundles)
    };
    let secret =
        || Ok::<_, anyhow::Error>(room.kubectl(&format!("get {CA_SECRET} -o json"))?.0.json()?["data"].clone());
    let (good, ca) = (bundles()?, secret()?);
    ensure!(good.iter().all(|it| it.is_string() && *it == good[0]), "the entries differ: {good:?}");

    // Every entry wiped, or given another CA.
    let foreign = base64_of(&std::fs::read(no502.cluster.client_ca())?);
    let wipe = "{\"op\":\"remove\",\"path\":\"/webhooks/0/clientConfig/caBundle\"}".to_owned();
    let replace =
        format!("{{\"op\":\"replace\",\"path\":\"/webhooks/1/clientConfig/caBundle\",\"value\":\"{foreign}\"}}");
    room.kubectl(&format!("patch mutatingwebhookconfiguration no502 --type=json -p [{wipe}]"))?.quiet()?;
    room.kubectl(&format!("patch validatingwebhookconfiguration no502 --type=json -p [{wipe},{replace}]"))?.quiet()?;
    ensure!(bundles()? != good, "nothing was wiped");
    soon("every bundle is back", REPAIRED_AFTER, || {
        let now = bundles()?;
        ensure!(now == good, "{now:?}");
        Ok(())
    })?;
    soon("no502 enforces again", PATIENCE, || is_guarded(&room, "web"))?;

    room.kubectl(&format!("delete {CA_SECRET}"))?.done()?;
    is_guarded(&room, "web")?;
    let back = soon("the CA Secret is back", REPAIRED_AFTER, secret)?;
    ensure!(back == ca, "the running server has made another CA");
    is_guarded(&room, "web")?;

    // A second replica takes the CA that is there; the API server trusts it at once.
    let replica = no502.replica()?;
    ensure!(secret()? == ca && bundles()? == good, "the replica has changed the CA");
    replica.be_called()?;
    soon("the API server calls the replica", PATIENCE, || {
        is_guarded(&room, "web")?;
        let denied = replica.metric(
            "no502_reviews_total{half=\"validate\",kind=\"Service\",operation=\"UPDATE\",outcome=\"denied\"}",
        )?;
        ensure!(denied > 0, "the replica was not asked");
        Ok(())
    })?;
    no502.stop()?;
    is_guarded(&room, "web")?;
    ensure!(secret()? == ca && bundles()? == good, "the CA changed when the first replica went");
    replica.stop()
}

fn only_pods_without_a_controller_are_reviewed(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let reviewed = |kind: &str, outcome: &str| {
        let series = format!(
            "no502_reviews_total{{half=\"validate\",kind=\"{kind}\",operation=\"CREATE\",outcome=\"{outcome}\"}}"
        );
        no502.metric(&series)
    };
    room.apply(&pods("web").replace("replicas: 1", "replicas: 3"))?.done()?;
    soon("the Deployment has its pods", PATIENCE, || {
        let pods = room.get("pods --selector=app=web")?;
        ensure!(pods["items"].as_array().is_some_and(|it| it.len() == 3), "{pods}");
        Ok(())
    })?;
    ensure!(reviewed("Deployment", "allowed")? == 1, "the Deployment was not reviewed");
    ensure!(reviewed("ReplicaSet", "allowed")? == 0, "a ReplicaSet of a Deployment was reviewed");
    ensure!(reviewed("Pod", "allowed")? == 0, "pods of a ReplicaSet were reviewed");

    let bare = |name: &str, port: &str| {
        let container = format!(
            "{{name: web, image: example.invalid/web, ports: [{{name: http, containerPort: 80}}], readinessProbe: \
             {{httpGet: {{port: {port}}}}}}}"
        );
        format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{container}]}}}}")
    };
    room.apply(&bare("good", "http"))?.quiet()?;
    room.apply(&bare("bad", "htp"))?.denied("did you mean \"http\"? [probe-port-unresolved]")?;
    ensure!(reviewed("Pod", "allowed")? == 1 && reviewed("Pod", "denied")? == 1, "the bare pods were not reviewed");
    Ok(())
}

fn base64_of(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes)
}
