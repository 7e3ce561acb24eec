//! What no502 says about policies in the cluster: status, Events, metrics and warnings; and that two replicas say it once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    cluster::Version,
    no502::{No502, soon},
    policies::{Probe, define, lenient_definitions, policy, redefine, undefine},
    room::{PATIENCE, Room, deployment, service},
    trial::E2e,
    ways::podless,
};

/// A write is noted at once in memory, and told with the next look at everything, each minute.
const NEXT_LOOK: Duration = Duration::from_secs(90);

/// Longer than every pause after which a replica looks again.
const QUIET: Duration = Duration::from_secs(70);

pub(crate) fn trials() -> Vec<E2e> {
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::own_guarded("an_unreadable_policy_changes_nothing", NEWEST, an_unreadable_policy_changes_nothing),
        E2e::own_guarded("exemptions_are_accounted_for", NEWEST, exemptions_are_accounted_for),
        E2e::own_guarded("two_replicas_agree", NEWEST, two_replicas_agree),
    ]
}

fn in_days(days: i64) -> String {
    (Timestamp::now() + SignedDuration::from_hours(24 * days)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A policy's status once it is about the newest generation.
fn status(room: &Room<'_>, object: &str) -> anyhow::Result<Value> {
    let object = room.get(object)?;
    let (status, generation) = (&object["status"], &object["metadata"]["generation"]);
    ensure!(status["observedGeneration"] == *generation, "not about generation {generation}: {status}");
    Ok(status.clone())
}

fn condition(status: &Value, name: &str) -> anyhow::Result<(String, String)> {
    let conditions = status["conditions"].as_array().context("no conditions")?;
    let found = conditions.iter().find(|it| it["type"] == name).with_context(|| format!("no {name}: {status}"))?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Ok((format!("{} {}", text("status"), text("reason")), text("message")))
}

/// How often each reason was told about each policy of a namespace.
fn events(room: &Room<'_>) -> anyhow::Result<BTreeMap<(String, String), usize>> {
    let all = room.get("events.events.k8s.io")?;
    let mut counts = BTreeMap::new();
    for event in all["items"].as_array().context("no list")? {
        if event["regarding"]["apiVersion"] == "no502.dev/v1alpha1" {
            let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
            *counts.entry((text(&event["regarding"]["name"]), text(&event["reason"]))).or_default() += 1;
        }
    }
    Ok(counts)
}

fn was_told(room: &Room<'_>, name: &str, reason: &str) -> anyhow::Result<()> {
    soon(&format!("{reason} is told"), PATIENCE, || {
        let events = events(room)?;
        ensure!(events.contains_key(&(name.to_owned(), reason.to_owned())), "{events:?}");
        Ok(())
    })
}

fn an_unreadable_policy_changes_nothing(no502: &No502) -> anyhow::Result<()> {
    undefine(no502)?;
    define(no502, &lenient_definitions())?;
    let room = Room::new(no502)?;
    let probe = Probe::new(&room)?;
    let apply = |spec: &str| room.apply(&policy("RolloutPolicy", "ours", spec))?.done();
    apply("{settings: {injection: {preStop: {sleepSeconds: 4}}}}")?;
    soon("the good version is in force", PATIENCE, || {
        ensure!(probe.sleep()? == Some(4), "{:?}", probe.sleep()?);
        Ok(())
    })?;

    let question = podless("question").to_string();
    for (number, spec) in [
        "{settings: {injection: {preStop: {sleepSeconds: soon}}}}",
        "{settings: {injection: {preStop: {sleepSecs: 5}}}}",
        "{settings: [1, 2], exemptions: {a: b}}",
        "{workloadSelector: {matchLabels: 7}, settings: {injection: {preStop: {sleepSeconds: 5}}}}",
        "[[[]]]",
    ]
    .into_iter()
    .enumerate()
    {
        apply(spec)?;
        let told = soon("the write is warned", PATIENCE, || {
            let said = room.kubectl_with("create --dry-run=server -f -", &question)?;
            ensure!(said.0.stderr.contains("RolloutPolicy \"ours\" spec"), "{said}");
            ensure!(said.0.stderr.contains("(its last good version is in force)"), "{said}");
            said.done()
        });
        told.with_context(|| spec.to_owned())?;
        ensure!(probe.sleep()? == Some(4), "{spec} is in force: {:?}", probe.sleep()?);
        let name = format!("web-{number}");
        room.apply(&deployment(&name, "app: web", "{name: http, containerPort: 8080}"))?.done()?;
        let stored = room.get(&format!("deployment/{name}"))?;
        let hook = &stored["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"];
        ensure!(hook["sleep"]["seconds"] == 4, "{spec}: {hook}");
        let status = soon("the status says so", PATIENCE, || status(&room, "rolloutpolicy/ours"))?;
        ensure!(condition(&status, "Accepted")?.0 == "False Unreadable", "{status}");
        let (degraded, message) = condition(&status, "Degraded")?;
        ensure!(degraded == "True LastGood" && message.ends_with("; generation 1 is in force"), "{status}");
        ensure!(status["inForceGeneration"] == 1, "{status}");
    }
    ensure!(no502.metric("no502_policies{kind=\"RolloutPolicy\",state=\"last-good\"}")? == 1, "no metric");
    was_told(&room, "ours", "PolicyUnreadable")?;
    ensure!(no502.log()?.contains("RolloutPolicy \"ours\" cannot be read"), "{}", no502.log_tail());
    let other = Room::new(no502)?;
    other.kubectl_with("create --dry-run=server -f -", &question)?.0.success()?;
    ensure!(Probe::new(&other)?.sleep()? == Some(10), "another namespace has another policy");

    apply("{settings: {injection: {preStop: {sleepSeconds: 6}}}}")?;
    soon("the repaired version is in force", PATIENCE, || {
        ensure!(probe.sleep()? == Some(6), "{:?}", probe.sleep()?);
        let status = status(&room, "rolloutpolicy/ours")?;
        ensure!(condition(&status, "Accepted")?.0 == "True Accepted", "{status}");
        ensure!(condition(&status, "Degraded")?.0 == "False InForce", "{status}");
        Ok(())
    })?;
    no502.must_run()
}

fn exemptions_are_accounted_for(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let web = deployment("web", "app: web", "{name: http, containerPort: 8080}");
    room.given(&format!("{web}{}", service("web", "app: web", "{port: 80, targetPort: http}")))?;
    let break_it = || room.kubectl("set selector service web app=gone --dry-run=server");
    let text = "selector app=gone matches no pod or workload any more";
    break_it()?.denied(text)?;

    let exemption = |name: &str, expires: &str| {
        format!(
            "{{rule: service-selects-nothing, target: {{kind: Service, name: \"{name}\"}}, reason: moves next week, expires: \
             \"{expires}\"}}"
        )
    };
    let apply = |list: &[String]| -> anyhow::Result<()> {
        let spec = format!("{{exemptions: [{}]}}", list.join(", "));
        room.apply(&policy("RolloutPolicy", "known", &spec))?.done()?;
        Ok(())
    };
    let is = |wanted: [u64; 4], limit: Duration| {
        soon(&format!("the status counts {wanted:?}"), limit, || {
            let status = status(&room, "rolloutpolicy/known")?;
            let count = |key: &str| status["exemptions"][key].as_u64().unwrap_or_default();
            let counts = ["active", "expiringSoon", "expired", "unused"].map(count);
            ensure!(counts == wanted, "{status}");
            Ok(status)
        })
    };
    apply(&[exemption("web", &in_days(-1))])?;
    let problem = is([0, 0, 1, 0], PATIENCE)?["exemptionProblems"][0].clone();
    ensure!(problem.as_str().is_some_and(|it| it.contains("expired at")), "{problem}");
    break_it()?.denied(text)?;
    was_told(&room, "known", "ExemptionExpired")?;
    let metric = |state: &str| no502.metric(&format!("no502_exemptions{{state=\"{state}\"}}"));
    ensure!(metric("expired")? == 1 && metric("active")? == 0, "the metric knows nothing of it");

    apply(&[exemption("w?b", &in_days(30)), exemption("nobody", &in_days(3))])?;
    soon("the exemption counts", PATIENCE, || {
        let said = break_it()?;
        ensure!(said.0.stderr.contains("(exempt until ") && said.0.stderr.contains(": moves next week)"), "{said}");
        ensure!(said.0.stderr.contains(text), "{said}");
        said.done()
    })?;
    let uses = "no502_exemption_uses_total{rule=\"service-selects-nothing\"}";
    ensure!(no502.metric(uses)? == 0, "a dry run was noted");
    // They have just come, and may wait for the write that needs them.
    is([2, 1, 0, 0], PATIENCE)?;
    was_told(&room, "known", "ExemptionExpiring")?;
    let said = room.kubectl("set selector service web app=gone")?;
    ensure!(said.0.stderr.contains("(exempt until "), "{said}");
    said.done()?;
    ensure!(no502.metric(uses)? >= 1, "no use was counted");
    let status = soon("the use is told", NEXT_LOOK, || {
        let status = status(&room, "rolloutpolicy/known")?;
        ensure!(condition(&status, "ExemptionsUsed")?.0 == "True Needed", "{status}");
        Ok(status)
    })?;
    let told = condition(&status, "ExemptionsUsed")?.1;
    let [first, idle] = told.split("; ").collect::<Vec<_>>()[..] else { bail!("not one for each: {told}") };
    ensure!(first.starts_with("exemptions[0] ") && first.contains(", needed on "), "{told}");
    ensure!(idle.starts_with("exemptions[1] ") && !idle.contains("needed"), "{told}");

    age(&room, &status)?;
    is([2, 1, 0, 1], PATIENCE)?;
    was_told(&room, "known", "ExemptionUnused")?;
    ensure!(metric("unused")? == 1 && metric("active")? == 2 && metric("expiring-soon")? == 1, "the metric is another");

    // The cluster as it is needs the exemption.
    room.apply(&policy("RolloutPolicy", "known", &format!("{{exemptions: [{}]}}", exemption("web", &in_days(30)))))?
        .done()?;
    is([1, 0, 0, 0], NEXT_LOOK)?;
    no502.must_run()
}

/// Makes the record of the policy `known` say that its exemptions have been there for long.
fn age(room: &Room<'_>, status: &Value) -> anyhow::Result<()> {
    let told = condition(status, "ExemptionsUsed")?.1;
    let since = told.rsplit(' ').next().unwrap_or_default();
    let place = status["conditions"].as_array().and_then(|it| it.iter().position(|it| it["type"] == "ExemptionsUsed"));
    let patch = json!([{
        "op": "replace",
        "path": format!("/status/conditions/{}/message", place.unwrap_or_default()),
        "value": told.replace(&format!("since {since}"), "since 2026-01-01"),
    }]);
    let words = ["patch", "rolloutpolicy", "known", "-n", &room.name, "--subresource=status", "--type=json", "-p"];
    let patch = patch.to_string();
    let words: Vec<&str> = words.into_iter().chain([patch.as_str()]).collect();
    Ok(room.no502.cluster.kubectl(&words, None)?.success().map(drop)?)
}

/// Policies of every kind of trouble, and two that write their statuses.
fn two_replicas_agree(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    // Two that only an older definition lets in. To the one of a wrong type the API server applies nothing.
    undefine(no502)?;
    define(no502, &lenient_definitions())?;
    let unreadable = "{settings: {injection: {preStop: {sleepSeconds: 9999}}}}";
    room.apply(&policy("RolloutPolicy", "unreadable", unreadable))?.done()?;
    room.apply(&policy("RolloutPolicy", "unfit", "{priority: high}"))?.done()?;
    redefine(no502)?;
    let replica = no502.replica()?;
    room.apply(&troubled(&room))?.done()?;
    let written = soon("every policy has its status", PATIENCE, || {
        for (name, degraded) in [
            ("limited", "True Limited"),
            ("tied-a", "True Conflict"),
            ("tied-b", "True Conflict"),
            ("unreadable", "True Partial"),
            ("unfit", "True Partial"),
            ("expired", "False InForce"),
        ] {
            let status = status(&room, &format!("rolloutpolicy/{name}"))?;
            ensure!(condition(&status, "Degraded")?.0 == degraded, "{name}: {status}");
        }
        versions(&room)
    })?;
    let start = Instant::now();
    while start.elapsed() < QUIET {
        let now = versions(&room)?;
        ensure!(now == written, "somebody writes again: {now:?} after {written:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
    let told = events(&room)?;
    let count = |name: &str, reason: &str| told.get(&(name.to_owned(), reason.to_owned())).copied().unwrap_or_default();
    let counts = [
        count("expired", "ExemptionExpired"),
        count("tied-a", "PolicyConflict"),
        count("tied-b", "PolicyConflict"),
        count("unreadable", "PolicyUnreadable"),
        count("unfit", "PolicyUnreadable"),
    ];
    // What a bound holds back is told in the status alone.
    ensure!(counts == [1; 5] && told.len() == 5, "{told:?}");

    // Both know the same, whichever of them wrote.
    for process in [no502, &replica] {
        let expired = process.metric("no502_exemptions{state=\"expired\"}")?;
        ensure!(expired == 1, "a replica counts {expired} expired exemptions");
        let accepted = process.metric("no502_policies{kind=\"RolloutPolicy\",state=\"accepted\"}")?;
        ensure!(accepted >= 24, "a replica knows {accepted} policies");
    }
    // And one is enough.
    replica.stop()?;
    room.apply(&policy("RolloutPolicy", "fine-0", "{settings: {profile: advise}}"))?.done()?;
    soon("the status follows", PATIENCE, || status(&room, "rolloutpolicy/fine-0"))?;
    no502.must_run()
}

/// A bound, and policies that are expired, limited by it, tied with each other, or fine.
fn troubled(room: &Room<'_>) -> String {
    let bounds = format!(
        "{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}, bounds: [{{field: \
         injection.gracePeriod.appDrainSeconds, max: 50}}]}}",
        room.name
    );
    let expired = format!(
        "{{exemptions: [{{rule: readiness-missing, target: {{kind: Deployment, name: web}}, reason: known, expires: \"{}\"}}]}}",
        in_days(-1)
    );
    let sleep = |seconds: u32| format!("{{settings: {{injection: {{preStop: {{sleepSeconds: {seconds}}}}}}}}}");
    let mut all = policy("ClusterRolloutPolicy", "bounds", &bounds);
    for (name, spec) in [
        ("expired", expired),
        ("limited", "{settings: {injection: {gracePeriod: {appDrainSeconds: 60}}}}".to_owned()),
        ("tied-a", sleep(6)),
        ("tied-b", sleep(7)),
    ] {
        all += &policy("RolloutPolicy", name, &spec);
    }
    for number in 0..20 {
        all += &policy("RolloutPolicy", &format!("fine-{number}"), "{settings: {profile: standard}}");
    }
    all
}

/// The version of every policy, all of which have a status.
fn versions(room: &Room<'_>) -> anyhow::Result<BTreeMap<String, String>> {
    let list = room.get("rolloutpolicies --show-managed-fields")?;
    let mut versions = BTreeMap::new();
    for object in list["items"].as_array().context("no list")? {
        let metadata = &object["metadata"];
        ensure!(object["status"]["observedGeneration"] == metadata["generation"], "no status yet: {object}");
        let ours = metadata["managedFields"].as_array().context("no managers")?;
        let is_ours = ours.iter().any(|it| it["manager"] == "no502" && it["subresource"] == "status");
        // The API server keeps no account of the fields of what does not fit its definition.
        ensure!(is_ours || metadata["name"] == "unfit", "{object}");
        versions.insert(metadata["name"].to_string(), metadata["resourceVersion"].to_string());
    }
    ensure!(versions.len() == 26, "{versions:?}");
    Ok(versions)
}
