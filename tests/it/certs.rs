//! Certificates: mounted files, the shared CA Secret, the `caBundle`, and a whole rotation seen by clients.

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::{SignedDuration, Timestamp};
use no502::{
    certs::{
        Authority, Configuration, FIELD_MANAGER, Files, LEAF_LIFETIME, Pair, Shared, SharedOptions, Step, nothing_yet,
        rotation::{Action, OVERLAP, Seen},
        serving_names,
    },
    metrics::Metrics,
    server::{Readiness, TlsConfig},
};
use rustls::{
    ClientConfig,
    client::WebPkiServerVerifier,
    pki_types::{ServerName, UnixTime},
    time_provider::TimeProvider,
};
use serde_json::{Value, json};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    kube_api::KubeApi,
    rig::{crypto_provider, eventually, roots},
};

const SECRET: &str = "/api/v1/namespaces/no502-system/secrets/no502-ca";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/no502";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/no502";
const SERVICE: &str = "no502.no502-system.svc";

/// One replica, without its loop.
struct Replica {
    shared: Shared,
    tls: TlsConfig,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

fn replica(api: &KubeApi) -> Replica {
    crypto_provider();
    let tls = Arc::new(ArcSwap::new(nothing_yet()));
    let (readiness, metrics) = (Readiness::new(), Arc::new(Metrics::new()));
    let configurations = [Configuration::Mutating("no502".to_owned()), Configuration::Validating("no502".to_owned())];
    let names = serving_names("no502", "no502-system", &[]);
    let options = SharedOptions::new("no502-system", "no502-ca", configurations, names);
    let valid = readiness.require("certificate valid");
    let shared = Shared::new(api.client(), options, Arc::clone(&tls), valid, Arc::clone(&metrics));
    Replica { shared, tls, readiness, metrics }
}

impl Replica {
    async fn step(&mut self, now: Timestamp) -> Step {
        self.shared.step(now).await.expect("a step")
    }
}

fn webhook(name: &str) -> Value {
    json!({ "name": name, "failurePolicy": "Ignore", "clientConfig": { "service": { "name": "no502", "namespace": "no502-system" } } })
}

/// As the chart installs them: no `caBundle`.
fn install(api: &KubeApi) {
    api.put(MUTATING, json!({ "metadata": { "name": "no502" }, "webhooks": [webhook("mutate.no502.dev")] }));
    let validating = [webhook("validate.no502.dev"), webhook("validate-closed.no502.dev")];
    api.put(VALIDATING, json!({ "metadata": { "name": "no502" }, "webhooks": validating }));
}

/// The bundles of all entries of both configurations.
fn bundles(api: &KubeApi) -> Vec<String> {
    let configurations = [MUTATING, VALIDATING].map(|path| api.get(path).expect("installed"));
    let entries = configurations.iter().flat_map(|found| found["webhooks"].as_array().expect("entries").clone());
    let bundle = |entry: Value| entry["clientConfig"]["caBundle"].as_str().map_or_else(String::new, decoded);
    entries.map(bundle).collect()
}

fn decoded(base64: &str) -> String {
    String::from_utf8(BASE64_STANDARD.decode(base64).expect("base64")).expect("text")
}

fn secret_value(api: &KubeApi, key: &str) -> Option<String> {
    api.get(SECRET)?["data"][key].as_str().map(decoded)
}

#[derive(Debug)]
struct At(Timestamp);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Whether a client at `now` that trusts `bundle` gets through to what `tls` serves.
async fn trusted(tls: &TlsConfig, bundle: &str, now: Timestamp) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let Ok(verifier) =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(bundle)), Arc::clone(&provider)).build()
    else {
        return false;
    };
    let config = ClientConfig::builder_with_details(provider, Arc::new(At(now)))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    let (here, there) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(SERVICE).expect("a name");
    let client = TlsConnector::from(Arc::new(config)).connect(name, here);
    let server = TlsAcceptor::from(tls.load_full()).accept(there);
    let (client, _) = tokio::join!(client, server);
    client.is_ok()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

#[tokio::test]
async fn the_first_replica_makes_the_ca_and_the_configurations_get_it() {
    let api = KubeApi::default();
    let mut first = replica(&api);
    assert_eq!(first.readiness.missing(), ["certificate valid: not yet"]);
    let step = first.step(now()).await;
    assert_eq!(step, Step { action: Action::Nothing, seen: [Seen::Missing; 2], renewed: true, is_outpaced: false });
    assert!(first.readiness.missing().is_empty(), "ready before the configurations are installed");
    assert_eq!(api.get(SECRET).expect("created")["type"], "Opaque");

    install(&api);
    assert_eq!(first.step(now()).await.seen, [Seen::Wrong; 2]);
    assert_eq!(first.step(now()).await.seen, [Seen::Right; 2]);
    let ca = secret_value(&api, "ca.crt").expect("a CA");
    assert_eq!(bundles(&api), [ca.as_str(), ca.as_str(), ca.as_str()]);
    assert!(trusted(&first.tls, &ca, now()).await);
    assert!(!trusted(&first.tls, &ca, now() + LEAF_LIFETIME + hours(1)).await, "the leaf expires");
    let text = first.metrics.encode(now());
    assert!(text.contains(r#"no502_certificate_expiry_seconds{certificate="leaf"} 604800"#), "{text}");
    assert!(text.contains(r#"no502_certificate_expiry_seconds{certificate="ca"} 31536000"#), "{text}");
}

#[tokio::test]
async fn an_apply_owns_the_bundle_and_nothing_else() {
    let api = KubeApi::default();
    install(&api);
    let before = api.get(MUTATING).expect("installed");
    let mut one = replica(&api);
    one.step(now()).await;
    let requests = api.requests();
    let applies: Vec<_> = requests.iter().filter(|request| request.starts_with("PATCH")).collect();
    assert_eq!(applies.len(), 2, "{requests:?}");
    for apply in applies {
        assert!(apply.contains(&format!("fieldManager={FIELD_MANAGER}")) && apply.contains("force=true"), "{apply}");
    }
    for patch in api.patches() {
        for entry in patch["webhooks"].as_array().expect("entries") {
            let keys: Vec<_> = entry.as_object().expect("an entry").keys().collect();
            assert_eq!(keys, ["clientConfig", "name"]);
            assert_eq!(entry["clientConfig"].as_object().expect("an object").len(), 1);
        }
        let metadata: Vec<_> = patch["metadata"].as_object().expect("metadata").keys().collect();
        assert_eq!(metadata, ["name", "resourceVersion"]);
    }
    let mut after = api.get(MUTATING).expect("installed");
    after["webhooks"][0]["clientConfig"].as_object_mut().expect("an object").remove("caBundle");
    assert_eq!(after["webhooks"], before["webhooks"]);
    one.step(now()).await;
    assert!(api.patches().is_empty(), "nothing to do, nothing written");
}

#[tokio::test]
async fn a_wiped_bundle_is_repaired() {
    let api = KubeApi::default();
    install(&api);
    let mut one = replica(&api);
    one.step(now()).await;
    let good = bundles(&api);
    install(&api);
    assert_eq!(bundles(&api), ["", "", ""]);
    assert_eq!(one.step(now()).await.seen, [Seen::Wrong; 2]);
    assert_eq!(bundles(&api), good);
}

#[tokio::test]
async fn two_replicas_that_start_together_end_with_one_ca() {
    let api = KubeApi::default();
    install(&api);
    let (mut first, mut second) = (replica(&api), replica(&api));
    first.step(now()).await;
    // The second has looked before the first has created.
    api.hide_once(SECRET);
    api.requests();
    second.step(now()).await;
    let writes: Vec<_> = api.requests().into_iter().filter(|request| !request.starts_with("GET")).collect();
    assert_eq!(writes.len(), 1, "a create that was refused, and no other write: {writes:?}");
    assert!(writes[0].starts_with("POST"), "{writes:?}");
    let ca = secret_value(&api, "ca.crt").expect("a CA");
    assert!(trusted(&first.tls, &ca, now()).await && trusted(&second.tls, &ca, now()).await);

    let fresh = KubeApi::default();
    let (mut first, mut second) = (replica(&fresh), replica(&fresh));
    tokio::join!(first.step(now()), second.step(now()));
    let ca = secret_value(&fresh, "ca.crt").expect("a CA");
    assert!(trusted(&first.tls, &ca, now()).await && trusted(&second.tls, &ca, now()).await);
}

#[tokio::test]
async fn an_empty_secret_is_filled_and_a_foreign_one_is_left_alone() {
    let api = KubeApi::default();
    api.put(SECRET, json!({ "metadata": { "name": "no502-ca", "labels": { "kept": "yes" } } }));
    let mut one = replica(&api);
    one.step(now()).await;
    assert!(secret_value(&api, "ca.crt").is_some());
    assert_eq!(api.get(SECRET).expect("there")["metadata"]["labels"]["kept"], "yes");

    let foreign = json!({ "metadata": { "name": "no502-ca" }, "data": { "tls.crt": "eA==", "ca.crt": "eA==" } });
    api.put(SECRET, foreign);
    let before = api.get(SECRET);
    let mut other = replica(&api);
    let error = other.shared.step(now()).await.expect_err("not ours").to_string();
    assert!(error.starts_with("Secret no502-system/no502-ca: has no ca.crt and ca.key"), "{error}");
    assert_eq!(api.get(SECRET), before);
    assert_eq!(other.readiness.missing(), [format!("certificate valid: {error}")]);
    assert!(one.shared.step(now()).await.is_err());
    assert!(one.readiness.missing().is_empty(), "what is served is still good");
}

#[tokio::test]
async fn a_broken_secret_is_named_with_its_key() {
    let api = KubeApi::default();
    let mut one = replica(&api);
    one.step(now()).await;
    let mut secret = api.get(SECRET).expect("there");
    secret["data"]["ca.key"] = json!(BASE64_STANDARD.encode("no key"));
    api.put(SECRET, secret);
    let error = replica(&api).shared.step(now()).await.expect_err("broken").to_string();
    assert!(error.starts_with("Secret no502-system/no502-ca, key ca."), "{error}");
}

#[tokio::test]
async fn a_deleted_secret_comes_back_with_the_same_ca() {
    let api = KubeApi::default();
    let mut one = replica(&api);
    one.step(now()).await;
    let ca = secret_value(&api, "ca.crt").expect("a CA");
    api.delete(SECRET);
    let step = one.step(now()).await;
    assert!(!step.renewed);
    assert_eq!(secret_value(&api, "ca.crt").expect("again"), ca);
}

#[tokio::test]
async fn without_the_api_server_the_leaf_is_renewed_all_the_same() {
    let api = KubeApi::default();
    let mut one = replica(&api);
    api.away(true);
    let error = one.shared.step(now()).await.expect_err("away").to_string();
    assert!(error.starts_with("read Secret no502-system/no502-ca: "), "{error}");
    assert_eq!(one.readiness.missing().len(), 1);
    api.away(false);
    one.step(now()).await;
    let ca = secret_value(&api, "ca.crt").expect("a CA");
    api.away(true);
    let late = now() + hours(6 * 24);
    assert!(one.shared.step(late).await.is_err());
    one.shared.renew_offline(late);
    assert!(trusted(&one.tls, &ca, now() + hours(12 * 24)).await, "a new leaf, from the CA that is known");
    assert!(one.readiness.missing().is_empty());
    // Nobody renews for too long: not ready, and it says why.
    assert!(one.shared.step(now() + hours(14 * 24)).await.is_err());
    assert!(one.readiness.missing()[0].starts_with("certificate valid: expired at "), "{:?}", one.readiness.missing());
}

#[tokio::test]
async fn the_leaf_is_renewed_with_a_third_of_its_life_left() {
    let api = KubeApi::default();
    let mut one = replica(&api);
    assert!(one.step(now()).await.renewed);
    assert!(!one.step(now() + hours(4 * 24)).await.renewed);
    assert!(one.step(now() + hours(5 * 24)).await.renewed);
    assert!(!one.step(now() + hours(5 * 24) + hours(1)).await.renewed);
}

#[tokio::test]
async fn a_write_that_comes_too_late_is_decided_anew() {
    let api = KubeApi::default();
    install(&api);
    let mut one = replica(&api);
    one.step(now()).await;
    let due = now() + hours(250 * 24);
    api.stale_once(SECRET);
    assert!(one.shared.step(due).await.is_err());
    assert_eq!(secret_value(&api, "next-ca.crt"), None);
    assert_eq!(one.step(due).await.action, Action::PublishNext);
    assert!(secret_value(&api, "next-ca.crt").is_some());
}

/// Two replicas that look every few minutes, through a whole rotation. At every moment every replica must get through
/// to a client that trusts what the configurations carry now, and to one that still trusts what they carried before.
#[tokio::test]
async fn a_rotation_never_shows_a_client_a_certificate_that_it_does_not_trust() {
    let api = KubeApi::default();
    install(&api);
    let mut replicas = [replica(&api), replica(&api)];
    for one in &mut replicas {
        one.step(now()).await;
    }
    let first_ca = secret_value(&api, "ca.crt").expect("a CA");
    let mut time = now() + hours(243 * 24);
    let mut actions = Vec::new();
    let mut before = bundles(&api);
    let mut look_until = 0;
    for round in 0..(12 * 24 * 6) {
        time += SignedDuration::from_mins(10);
        // In turns, and the second replica is cut off from the API server now and then.
        let one = &mut replicas[round % 2];
        if round % 7 == 3 {
            one.shared.renew_offline(time);
        } else {
            let step = one.step(time).await;
            if step.action != Action::Nothing || step.renewed || step.seen != [Seen::Right; 2] {
                look_until = round + 10;
            }
            actions.push(step.action);
        }
        let after = bundles(&api);
        if round == 0 {
            // Nobody had looked for most of a year, and the leaves are renewed in the first two rounds.
            replicas[1].step(time).await;
        }
        // Handshakes are dear: not while nothing happens.
        let looked_at = before.iter().chain(&after).filter(|_| round < look_until || round % 20 == 0);
        for bundle in looked_at {
            for one in &replicas {
                assert!(trusted(&one.tls, bundle, time).await, "round {round}: {actions:?}");
            }
        }
        before = after;
    }
    actions.retain(|action| *action != Action::Nothing);
    assert_eq!(actions, [Action::PublishNext, Action::StartOverlap, Action::Promote, Action::DropPrevious]);
    let last_ca = secret_value(&api, "ca.crt").expect("a CA");
    assert_ne!(last_ca, first_ca);
    assert_eq!(bundles(&api), [last_ca.as_str(); 3]);
    assert!(!bundles(&api)[0].contains(&first_ca));
}

#[tokio::test]
async fn a_bundle_that_is_wiped_during_the_overlap_delays_the_rotation() {
    let api = KubeApi::default();
    install(&api);
    let mut one = replica(&api);
    one.step(now()).await;
    let mut time = now() + hours(250 * 24);
    let mut next = async |after: SignedDuration| {
        time += after;
        one.step(time).await.action
    };
    let second = SignedDuration::from_secs(1);
    assert_eq!(next(second).await, Action::PublishNext);
    assert_eq!(next(second).await, Action::Nothing, "seen without the new bundle, and repaired");
    assert_eq!(next(second).await, Action::StartOverlap);
    install(&api);
    assert_eq!(next(OVERLAP).await, Action::RestartOverlap);
    assert_eq!(next(second).await, Action::StartOverlap);
    assert_eq!(next(OVERLAP).await, Action::Promote);
}

#[tokio::test]
async fn the_loop_waits_for_the_api_server_and_repairs_what_is_wiped() {
    let api = KubeApi::default();
    api.away(true);
    let Replica { shared, tls, readiness, .. } = replica(&api);
    let looping = tokio::spawn(shared.run(Duration::from_millis(20)));
    eventually("a complaint", || readiness.missing()[0].contains("read Secret no502-system/no502-ca")).await;
    api.away(false);
    eventually("ready", || readiness.missing().is_empty()).await;
    for _ in 0..2 {
        install(&api);
        eventually("applied", || bundles(&api).iter().all(|bundle| !bundle.is_empty())).await;
        assert!(trusted(&tls, &bundles(&api)[0], Timestamp::now()).await);
    }
    looping.abort();
}

/// The next look comes soon, and not when it would come anyway.
#[tokio::test]
async fn a_bundle_whose_repair_came_too_late_is_repaired_soon() {
    const NEVER: Duration = Duration::from_hours(1);
    let api = KubeApi::default();
    install(&api);
    api.stale_once(VALIDATING);
    let looping = tokio::spawn(replica(&api).shared.run(NEVER));
    eventually("applied", || bundles(&api).iter().all(|bundle| !bundle.is_empty())).await;
    let applies = api.requests().into_iter().filter(|it| it.starts_with("PATCH") && it.contains(VALIDATING)).count();
    assert_eq!(applies, 2, "one came too late");
    looping.abort();
}

fn authority(now: Timestamp) -> Authority {
    crypto_provider();
    Authority::generate(now).expect("a CA")
}

/// A pair as PEM files hold it.
fn pem_pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec![SERVICE.to_owned()]).expect("parameters");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

struct Mounted {
    files: Files,
    tls: TlsConfig,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

fn mounted(folder: &Path) -> Mounted {
    crypto_provider();
    let tls = Arc::new(ArcSwap::new(nothing_yet()));
    let (readiness, metrics) = (Readiness::new(), Arc::new(Metrics::new()));
    let valid = readiness.require("certificate valid");
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let files = Files::new(certificate, key, Arc::clone(&tls), valid, Arc::clone(&metrics));
    Mounted { files, tls, readiness, metrics }
}

fn write_pair(folder: &Path, (certificate, key): &(String, String)) {
    fs::write(folder.join("tls.crt"), certificate).expect("a write");
    fs::write(folder.join("tls.key"), key).expect("a write");
}

#[tokio::test]
async fn mounted_files_follow_the_kubelets_swap() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (pem_pair(), pem_pair());
    for (version, pair) in [("v1", &first), ("v2", &second)] {
        fs::create_dir(folder.path().join(version)).expect("a folder");
        write_pair(&folder.path().join(version), pair);
    }
    let data = folder.path().join("..data");
    symlink("v1", &data).expect("a link");
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), folder.path().join(file)).expect("a link");
    }
    let mut mounted = mounted(folder.path());
    mounted.files.step(Timestamp::now()).await;
    assert!(trusted(&mounted.tls, &first.0, now()).await);
    assert!(mounted.readiness.missing().is_empty());
    let in_force = mounted.tls.load_full();
    mounted.files.step(Timestamp::now()).await;
    assert!(Arc::ptr_eq(&in_force, &mounted.tls.load_full()), "nothing changed, nothing swapped");
    let new_link = folder.path().join("..data_tmp");
    symlink("v2", &new_link).expect("a link");
    fs::rename(&new_link, &data).expect("a swap");
    mounted.files.step(Timestamp::now()).await;
    assert!(trusted(&mounted.tls, &second.0, now()).await && !trusted(&mounted.tls, &first.0, now()).await);
}

#[tokio::test]
async fn bad_files_leave_the_last_good_pair_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut mounted = mounted(folder.path());
    mounted.files.step(Timestamp::now()).await;
    let missing = mounted.readiness.missing().remove(0);
    assert!(missing.starts_with("certificate valid: --tls-cert-file ") && missing.contains("tls.crt: "), "{missing}");

    let good = pem_pair();
    write_pair(folder.path(), &good);
    mounted.files.step(Timestamp::now()).await;
    let other_key = pem_pair().1;
    for (certificate, key) in
        [(good.0.as_str(), other_key.as_str()), ("garbage", good.1.as_str()), (good.0.as_str(), ""), ("", "")]
    {
        write_pair(folder.path(), &(certificate.to_owned(), key.to_owned()));
        mounted.files.step(Timestamp::now()).await;
        assert!(trusted(&mounted.tls, &good.0, now()).await, "{certificate:.9} {key:.9}");
        assert!(mounted.readiness.missing().is_empty());
    }
    let text = mounted.metrics.encode(now());
    assert!(text.contains(r#"no502_certificate_errors_total{reason="files"} 5"#), "{text}");
    let repaired = pem_pair();
    write_pair(folder.path(), &repaired);
    mounted.files.step(Timestamp::now()).await;
    assert!(trusted(&mounted.tls, &repaired.0, now()).await);
}

#[test]
fn a_key_that_does_not_fit_is_named_with_both_files() {
    crypto_provider();
    let (certificate, _) = pem_pair();
    let (_, key) = pem_pair();
    let (chain_place, key_place) = ("--tls-cert-file /a.crt", "--tls-key-file /a.key");
    let error = Pair::from_pem(certificate.as_bytes(), chain_place, key.as_bytes(), key_place).expect_err("no match");
    let text = "--tls-key-file /a.key: is not the key of the first certificate in --tls-cert-file /a.crt";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_chain_is_served_whole_and_dated_by_its_shortest_part() {
    crypto_provider();
    let ca = authority(now());
    let names = serving_names("no502", "no502-system", &["no502.example.org".to_owned()]);
    let pair = ca.issue(&names, now(), LEAF_LIFETIME).expect("a leaf");
    assert_eq!(pair.not_after, now() + LEAF_LIFETIME);
    let long = ca.issue(&names, now(), hours(10 * 365 * 24)).expect("a leaf");
    assert_eq!(long.not_after, ca.not_after, "no leaf outlives its CA");
    assert!(ca.issue(&["not a name".to_owned() + "\u{e9}"], now(), LEAF_LIFETIME).is_err());

    let (leaf, key) = pem_pair();
    let chain = format!("{leaf}{}", ca.certificate_pem());
    let pair = Pair::from_pem(chain.as_bytes(), "chain", key.as_bytes(), "key").expect("a chain");
    assert_eq!((pair.chain().len(), pair.not_after), (2, ca.not_after));
}

#[test]
fn the_names_are_those_of_the_service_and_of_this_machine() {
    let extra = ["10.0.0.7".to_owned(), "localhost".to_owned()];
    let names = serving_names("no502", "ns", &extra);
    assert_eq!(names, ["no502.ns.svc", "no502.ns.svc.cluster.local", "localhost", "127.0.0.1", "::1", "10.0.0.7"]);
}
