//! no502 under its ServiceAccount, with the rights of its manifests and none else: it does everything that it ever does, is
//! forbidden nothing, and has a use for every rule.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use serde_json::{Value, json};

use crate::{
    cluster::{
        ControlPlane, Version,
        rights::{AUDIT_ARGS, Rights},
    },
    no502::{No502, PROGRAM, soon},
    policies::policy,
    room::{PATIENCE, Room, deployment, service},
    trial::E2e,
};

pub(crate) fn trials() -> Vec<E2e> {
    vec![
        E2e::own_installing("everything_is_allowed_and_needed", &Version::ALL, everything_is_allowed_and_needed)
            .with_apiserver_args(AUDIT_ARGS),
    ]
}

const NAMESPACE: &str = "no502-system";
const ACCOUNT: &str = "system:serviceaccount:no502-system:no502";
const CA_SECRET: &str = "secret/no502-ca --namespace=no502-system";
/// What of the manifests has to do with rights.
const KINDS: [&str; 6] = ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
const CONFIGURATIONS: [&str; 2] = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];
/// What Kubernetes lets every user do. Administrators may take it away, so no502 has to live without.
const DEFAULT_BINDINGS: [&str; 4] =
    ["system:basic-user", "system:discovery", "system:public-info-viewer", "system:service-account-issuer-discovery"];
/// Less than a leaf's lifetime, so that a CA that ends then is replaced without the usual overlap.
const CA_LEFT_DAYS: u64 = 3;
const CA_AGE_DAYS: u64 = 360;
const DAY_SECONDS: u64 = 24 * 60 * 60;

fn everything_is_allowed_and_needed(cluster: &Arc<ControlPlane>) -> anyhow::Result<()> {
    let manifests = manifests()?;
    let kubeconfig = account(cluster, &manifests)?;
    do_everything(cluster, &kubeconfig, &manifests).map_err(|error| match rights(cluster, &manifests) {
        Ok(rights) => anyhow!("{error:#}\nthe calls of no502, and what is wrong with its rights:\n{rights}"),
        Err(unreadable) => anyhow!("{error:#}; {unreadable:#}"),
    })
}

fn do_everything(cluster: &Arc<ControlPlane>, kubeconfig: &Path, manifests: &str) -> anyhow::Result<()> {
    let no502 = No502::install_as(cluster, kubeconfig)?;
    let replica = no502.replica()?;
    reviews(&no502)?;
    policies_are_answered(&no502)?;
    the_ca_is_rotated(&no502)?;
    secret_and_bundles_come_back(&no502)?;
    replica.stop()?;
    no502.stop()?;
    let faults = rights(cluster, manifests)?.faults();
    ensure!(faults.is_empty(), "{} faults", faults.len());
    too_much_and_too_little_are_found(&no502, manifests)
}

/// The output of `no502 manifests`.
fn manifests() -> anyhow::Result<String> {
    let output = Command::new(PROGRAM).arg("manifests").output()?;
    ensure!(output.status.success(), "no502 manifests: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// What no502 has asked so far, beside what it may.
fn rights(cluster: &ControlPlane, manifests: &str) -> anyhow::Result<Rights> {
    Ok(Rights::new(manifests, &std::fs::read_to_string(cluster.log("kube-apiserver"))?)?)
}

/// Installs the account with its rights, takes all other rights away from it, and gives a kubeconfig with its token.
fn account(cluster: &ControlPlane, manifests: &str) -> anyhow::Result<PathBuf> {
    let bindings = ["delete", "clusterrolebinding"].into_iter().chain(DEFAULT_BINDINGS);
    cluster.kubectl(&bindings.collect::<Vec<_>>(), None)?.success()?;
    await_right(cluster, &json!({"nonResourceAttributes": {"path": "/version", "verb": "get"}}), false)?;

    let is_of = |document: &str, kind: &str| document.contains(&format!("\nkind: {kind}\n"));
    let is_of_rights = |document: &&str| KINDS.iter().any(|kind| is_of(document, kind));
    let documents: Vec<&str> = manifests.split("---\n").filter(is_of_rights).collect();
    let is_there = |kind: &&str| documents.iter().any(|it| is_of(it, kind));
    ensure!(KINDS.iter().all(is_there), "not one of each of {KINDS:?}: {documents:?}");
    cluster.kubectl(&["apply", "-f", "-"], Some(&documents.join("---\n")))?.success()?;
    let watched = json!({"verb": "list", "resource": "services"});
    await_right(cluster, &json!({"resourceAttributes": watched}), true)?;
    let secret = json!({"verb": "create", "resource": "secrets", "namespace": NAMESPACE});
    await_right(cluster, &json!({"resourceAttributes": secret}), true)?;

    let token = cluster.kubectl(&["create", "token", "no502", "-n", NAMESPACE], None)?.success()?;
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(cluster.kubeconfig())?)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let kubeconfig = cluster.folder().join("no502.kubeconfig");
    std::fs::write(&kubeconfig, config.to_string())?;
    Ok(kubeconfig)
}

/// Waits until the API server has heard that the account may do this, or may not.
fn await_right(cluster: &ControlPlane, attributes: &Value, wanted: bool) -> anyhow::Result<()> {
    let mut review =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": attributes});
    review["spec"]["user"] = json!(ACCOUNT);
    review["spec"]["groups"] =
        json!(["system:authenticated", "system:serviceaccounts", format!("system:serviceaccounts:{NAMESPACE}")]);
    let review = review.to_string();
    soon(&format!("the answer to {attributes} is {wanted}"), PATIENCE, || {
        let answer = cluster.kubectl(&["create", "-f", "-", "-o", "json"], Some(&review))?.json()?;
        ensure!(answer["status"]["allowed"] == wanted, "{answer}");
        Ok(())
    })
}

/// An injection; a denial, before which no502 looks a second time; and writes into a namespace that it has not heard of.
fn reviews(no502: &No502) -> anyhow::Result<()> {
    let web = [deployment("web", "app: web", "{name: http, containerPort: 8080}"), service_of_web()].concat();
    let room = Room::new(no502)?;
    room.given(&web)?;
    let hook = &room.get("deployment/web")?["spec"]["template"]["spec"]["containers"][0]["lifecycle"];
    ensure!(hook["preStop"]["sleep"]["seconds"] == 10, "nothing was injected: {hook}");
    is_guarded(&room)?;
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: unheard-of}}\n";
    no502.cluster.kubectl(&["apply", "-n", "unheard-of", "-f", "-"], Some(&format!("{namespace}{web}")))?.success()?;
    Ok(())
}

/// Policies of both kinds with something to be told: their status is written, and an Event.
fn policies_are_answered(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let target = "{kind: Deployment, name: web}";
    let exemption =
        format!("{{rule: readiness-missing, target: {target}, reason: known, expires: \"2026-01-01T00:00:00Z\"}}");
    let spec = format!("{{exemptions: [{exemption}]}}");
    for (kind, events) in [("RolloutPolicy", room.name.as_str()), ("ClusterRolloutPolicy", "default")] {
        room.apply(&policy(kind, "told", &spec))?.done()?;
        soon(&format!("the {kind} is answered"), PATIENCE, || {
            let status = room.get(&format!("{kind}/told"))?["status"].clone();
            ensure!(status["exemptions"]["expired"] == 1, "{status}");
            let told = kubectl(no502, &format!("get events.events.k8s.io -n {events} -o json"))?;
            let told: Value = serde_json::from_str(&told)?;
            let is_it = |it: &Value| it["reason"] == "ExemptionExpired" && it["regarding"]["kind"] == kind;
            ensure!(told["items"].as_array().is_some_and(|it| it.iter().any(is_it)), "{told}");
            Ok(())
        })?;
    }
    Ok(())
}

fn service_of_web() -> String {
    service("web", "app: web", "{port: 80, targetPort: http}")
}

fn is_guarded(room: &Room<'_>) -> anyhow::Result<()> {
    room.kubectl("set selector service web app=gone --dry-run=server")?
        .denied("selector app=gone matches no pod or workload any more")
}

/// With a CA in the Secret that ends soon, another one is published and then signs.
fn the_ca_is_rotated(no502: &No502) -> anyhow::Result<()> {
    let (certificate, key) = authority_near_its_end()?;
    let old = BASE64_STANDARD.encode(&certificate);
    let data = json!({"data": {"ca.crt": old, "ca.key": BASE64_STANDARD.encode(&key)}}).to_string();
    kubectl(no502, &format!("patch {CA_SECRET} --type=merge -p {data}"))?;
    soon("the CA that ends soon is replaced", 2 * PATIENCE, || {
        let data = secret(no502)?;
        ensure!(data["previous-ca.crt"] == old && data["ca.crt"] != old, "{:?}", keys(&data));
        bundles_are_right(no502, &data)
    })
}

/// A certificate authority, PEM, that is as good as expired.
fn authority_near_its_end() -> anyhow::Result<(String, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let at = |since_epoch: Duration| date_time_ymd(1970, 1, 1) + since_epoch;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a CA that ends soon");
    params.not_before = at(now.saturating_sub(Duration::from_secs(CA_AGE_DAYS * DAY_SECONDS)));
    params.not_after = at(now + Duration::from_secs(CA_LEFT_DAYS * DAY_SECONDS));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// The Secret is deleted and both configurations lose their bundle; then the Secret is emptied.
fn secret_and_bundles_come_back(no502: &No502) -> anyhow::Result<()> {
    kubectl(no502, &format!("delete {CA_SECRET}"))?;
    wipe_bundles(no502)?;
    let all_is_right = || {
        let data = secret(no502)?;
        ensure!(data["ca.crt"].is_string(), "{:?}", keys(&data));
        bundles_are_right(no502, &data)
    };
    soon("Secret and bundles are back", PATIENCE, all_is_right)?;
    kubectl(no502, &format!("patch {CA_SECRET} --type=merge -p {{\"data\":null}}"))?;
    soon("the Secret is filled again", PATIENCE, all_is_right)?;
    let room = Room::new(no502)?;
    room.given(&[deployment("web", "app: web", "{name: http, containerPort: 8080}"), service_of_web()].concat())?;
    is_guarded(&room)
}

fn wipe_bundles(no502: &No502) -> anyhow::Result<()> {
    let wipe = "--type=json -p [{\"op\":\"remove\",\"path\":\"/webhooks/0/clientConfig/caBundle\"}]";
    CONFIGURATIONS.iter().try_for_each(|kind| kubectl(no502, &format!("patch {kind} no502 {wipe}")).map(drop))
}

/// Every entry has the CA of the Secret in its bundle.
fn bundles_are_right(no502: &No502, secret: &Value) -> anyhow::Result<()> {
    let decode = |it: &Value| Ok::<_, anyhow::Error>(BASE64_STANDARD.decode(it.as_str().unwrap_or_default())?);
    let ca = String::from_utf8(decode(&secret["ca.crt"])?)?;
    for kind in CONFIGURATIONS {
        let configuration: Value = serde_json::from_str(&kubectl(no502, &format!("get {kind} no502 -o json"))?)?;
        for entry in configuration["webhooks"].as_array().context("no webhooks")? {
            let bundle = String::from_utf8(decode(&entry["clientConfig"]["caBundle"])?)?;
            ensure!(bundle.contains(ca.trim()), "{kind} {}: the CA is not in its bundle", entry["name"]);
        }
    }
    Ok(())
}

fn secret(no502: &No502) -> anyhow::Result<Value> {
    let secret: Value = serde_json::from_str(&kubectl(no502, &format!("get {CA_SECRET} -o json"))?)?;
    Ok(secret["data"].clone())
}

fn keys(data: &Value) -> Vec<&String> {
    data.as_object().into_iter().flat_map(|it| it.keys()).collect()
}

/// As a cluster administrator; the words have no spaces in them.
fn kubectl(no502: &No502, words: &str) -> anyhow::Result<String> {
    Ok(no502.cluster.kubectl(&words.split_whitespace().collect::<Vec<_>>(), None)?.success()?)
}

/// The real thing with a right too many and with one too few.
fn too_much_and_too_little_are_found(no502: &No502, manifests: &str) -> anyhow::Result<()> {
    let cluster = &no502.cluster;
    let more = manifests.replace("verbs: [get, patch]", "verbs: [get, patch, update]");
    let unused: Vec<String> = rights(cluster, &more)?.unused().into_iter().map(ToString::to_string).collect();
    let expected = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
        .map(|it| format!("update {it}.admissionregistration.k8s.io no502 (ClusterRole no502)"));
    ensure!(unused == expected, "{unused:?}");

    // An older version had no rights to policies either.
    let policies = "resources: [clusterrolloutpolicies, rolloutpolicies]\n    verbs: ";
    let less = manifests.replace("verbs: [get, patch]", "verbs: [get]");
    let less = less.replace(&format!("{policies}[list, watch]"), &format!("{policies}[watch]"));
    let role = less.split("---\n").find(|it| it.contains("\nkind: ClusterRole\n")).context("no ClusterRole")?;
    cluster.kubectl(&["apply", "-f", "-"], Some(role))?.success()?;
    let patch = json!({
        "verb": "patch", "group": "admissionregistration.k8s.io", "resource": "mutatingwebhookconfigurations", "name": "no502",
    });
    await_right(cluster, &json!({"resourceAttributes": patch}), false)?;
    wipe_bundles(no502)?;
    no502.start(&[])?;
    let log = no502.log()?;
    ensure!(log.contains("no502 may not read policies: what is built in is in force"), "{}", no502.log_tail());
    soon("no502 is forbidden to write its bundle", PATIENCE, || {
        let rights = rights(cluster, manifests)?;
        let forbidden = rights.forbidden();
        let is_bundle =
            |it: &String| it.starts_with("patch mutatingwebhookconfigurations.admissionregistration.k8s.io no502: 403");
        ensure!(forbidden.iter().map(ToString::to_string).any(|it| is_bundle(&it)), "{forbidden:?}");
        Ok(())
    })
}
