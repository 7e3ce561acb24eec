//! The schema of the policies in a real API server, as users of kubectl see it: what is refused and how, what is shown, explained,
//! merged and dropped.

use std::process::Command;

use anyhow::{Context as _, ensure};
use no502::policy::ReadPolicy;
use serde_json::{Value, json};

use crate::{
    cluster::{ControlPlane, Version, client::Output},
    no502::{PROGRAM, soon},
    policy_cases::{limits, refusals},
    policy_published::published,
    room::PATIENCE,
    trial::E2e,
};

/// The oldest one is out of support, and its messages are built in an older way.
const VERSIONS: &[Version] = &[Version::V1_37, Version::V1_33];

pub(crate) fn trials() -> Vec<E2e> {
    vec![E2e::own("policies_in_kubectl", VERSIONS, policies_in_kubectl)]
}

/// In a control plane of its own: another trial may be installing the same definitions at this moment.
fn policies_in_kubectl(cluster: &ControlPlane) -> anyhow::Result<()> {
    definitions_are_applied_again(cluster, &install(cluster)?).context("definitions are applied again")?;
    refusals_say_the_fix(cluster).context("refusals say the fix")?;
    reader_and_api_server_agree(cluster).context("reader and API server agree")?;
    what_is_unknown_is_refused_or_dropped(cluster).context("what is unknown is refused or dropped")?;
    columns_and_explanations(cluster).context("columns and explanations")?;
    two_managers_share_a_policy(cluster).context("two managers share a policy")?;
    what_users_copy_is_accepted(cluster).context("what users copy is accepted")
}

fn what_users_copy_is_accepted(cluster: &ControlPlane) -> anyhow::Result<()> {
    for (place, text) in published() {
        for namespace in text.lines().filter_map(|it| it.trim().strip_prefix("namespace: ")) {
            // It may be there already.
            cluster.kubectl(&["create", "namespace", namespace], None)?;
        }
        let words = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        cluster.kubectl(&words, Some(&text))?.success().with_context(|| place)?;
    }
    Ok(())
}

/// Selects no namespace.
const NOBODY: &str = "namespaceSelector: {matchLabels: {no502-test: nobody}}";
const GROUP_VERSION: &str = "no502.dev/v1alpha1";

/// Installs the definitions; gives the output of `no502 crd`.
fn install(cluster: &ControlPlane) -> anyhow::Result<String> {
    let output = Command::new(PROGRAM).arg("crd").output()?;
    ensure!(output.status.success(), "no502 crd: {}", String::from_utf8_lossy(&output.stderr));
    let definitions = String::from_utf8(output.stdout)?;
    cluster.kubectl(&["apply", "-f", "-"], Some(&definitions))?.success()?;
    soon("the API server serves policies", PATIENCE, || {
        let kinds = ["get", "clusterrolloutpolicies,rolloutpolicies", "-A"];
        Ok(cluster.kubectl(&kinds, None)?.success().map(drop)?)
    })?;
    Ok(definitions)
}

/// What is wrong, by the API server: a line each.
fn complaints(said: &Output) -> Vec<&str> {
    let message = said.stderr.split_once(" is invalid: ").map_or("", |(_, message)| message);
    let lines = message.lines().map(|line| line.trim_start_matches("* ").trim());
    // That rules were not checked because something else is wrong.
    lines.filter(|line| !line.is_empty() && !line.starts_with("<nil>:")).collect()
}

fn refusals_say_the_fix(cluster: &ControlPlane) -> anyhow::Result<()> {
    for refusal in refusals() {
        let said = cluster.kubectl(&["create", "--dry-run=server", "-f", "-"], Some(&refusal.policy.to_string()))?;
        let complaints = complaints(&said);
        let is_said = |(field, message): &(&str, &str)| {
            complaints.iter().any(|it| it.starts_with(&format!("{field}: ")) && it.ends_with(message))
        };
        let is_exact = complaints.len() == refusal.says.len() && refusal.says.iter().all(is_said);
        ensure!(is_exact, "{} should have said {:?}: {}{}", refusal.policy, refusal.says, said.stdout, said.stderr);
    }
    Ok(())
}

/// Asked strictly, the API server stores what the reader reads, and refuses what it complains about.
fn reader_and_api_server_agree(cluster: &ControlPlane) -> anyhow::Result<()> {
    let api = cluster.api()?;
    let (mut stored, mut refused, mut odd) = (0, 0, Vec::new());
    for policy in limits() {
        let place = match policy["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("namespaces/{namespace}/rolloutpolicies"),
            None => "clusterrolloutpolicies".to_owned(),
        };
        let path = format!("/apis/{GROUP_VERSION}/{place}?dryRun=All&fieldValidation=Strict");
        let answer = api.post(&path, &policy)?;
        let problems = ReadPolicy::read(&policy).context("is no policy")?.problems;
        match answer.status {
            201 if problems.is_empty() => stored += 1,
            400 | 422 if !problems.is_empty() => refused += 1,
            status => odd.push(format!("{status} {} but {problems:?}: {policy}", answer.body["message"])),
        }
    }
    ensure!(odd.is_empty(), "{stored} stored, {refused} refused, {} otherwise:\n{}", odd.len(), odd.join("\n"));
    ensure!(stored > 300 && refused > 600, "{stored} stored, {refused} refused");
    Ok(())
}

fn what_is_unknown_is_refused_or_dropped(cluster: &ControlPlane) -> anyhow::Result<()> {
    let namespace = cluster.namespace()?;
    let policy = |spec: &str| {
        format!(
            "{{apiVersion: {GROUP_VERSION}, kind: RolloutPolicy, metadata: {{name: typo}}, spec: {spec}, \
             status: {{observedGeneration: 7}}}}"
        )
    };
    let typos = policy(
        "{settings: {enabled: false, profile: advise, actions: {readines-missing: warn}, injection: {mode: null}}, locked: [profile]}",
    );
    let strict = cluster.kubectl(&["apply", "-n", &namespace, "-f", "-"], Some(&typos))?;
    for field in ["spec.settings.actions.readines-missing", "spec.settings.enabled", "spec.locked"] {
        let text = format!("unknown field \"{field}\"");
        ensure!(!strict.status.success() && strict.stderr.contains(&text), "{text}: {strict:?}");
    }

    let lax = cluster.kubectl(&["apply", "--validate=warn", "-n", &namespace, "-f", "-"], Some(&typos))?;
    ensure!(lax.stderr.contains("Warning: unknown field \"spec.settings.actions.readines-missing\""), "{lax:?}");
    lax.success()?;
    let stored = cluster.kubectl(&["get", "rpol", "typo", "-n", &namespace, "-o", "json"], None)?.json()?;
    let expected = json!({ "priority": 0, "settings": { "profile": "advise", "actions": {}, "injection": {} } });
    ensure!(stored["spec"] == expected, "{}", stored["spec"]);
    ensure!(stored["status"].is_null(), "the status came with the policy: {}", stored["status"]);
    ensure!(stored["metadata"]["generation"] == 1, "{stored}");
    Ok(())
}

fn columns_and_explanations(cluster: &ControlPlane) -> anyhow::Result<()> {
    let namespace = cluster.namespace()?;
    let name = format!("columns-{namespace}");
    let policies = format!(
        "{{apiVersion: {GROUP_VERSION}, kind: ClusterRolloutPolicy, metadata: {{name: {name}}}, spec: {{priority: 7, {NOBODY}}}}}\n---\n\
         {{apiVersion: {GROUP_VERSION}, kind: RolloutPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{}}}}\n"
    );
    cluster.kubectl(&["apply", "-f", "-"], Some(&policies))?.success()?;
    let condition = |name: &str, status: &str| json!({"type": name, "status": status, "reason": "Because", "message": "So it is.", "lastTransitionTime": "2027-01-31T00:00:00Z", "observedGeneration": 1});
    let mut status = json!({"status": {
        "observedGeneration": 1, "inForceGeneration": 1,
        "conditions": [condition("Accepted", "True"), condition("Degraded", "False")],
        "exemptions": {"active": 3, "expiringSoon": 1, "expired": 4, "unused": 5, "notInForce": 0},
        "exemptionProblems": ["spec.exemptions[0] has expired"],
    }});
    let patch = |kind: &str, status: &Value| {
        let status = status.to_string();
        let args = ["patch", kind, &name, "-n", &namespace, "--subresource=status", "--type=merge", "-p", &status];
        cluster.kubectl(&args, None)?.success()
    };
    patch("rpol", &status)?;
    status["status"]["namespacesMatched"] = json!(12);
    patch("crpol", &status)?;

    let table = |args: &[&str]| -> anyhow::Result<Vec<Vec<String>>> {
        let printed = cluster.kubectl(args, None)?.success()?;
        let rows = printed.lines().filter(|line| line.contains(&name) || line.contains("NAME "));
        Ok(rows.map(|row| row.split_whitespace().map(str::to_owned).collect()).collect())
    };
    let rows = table(&["get", "crpol,rpol", "-A"])?;
    let (of_cluster, of_namespace) =
        (format!("clusterrolloutpolicy.no502.dev/{name}"), format!("rolloutpolicy.no502.dev/{name}"));
    let expected = [
        "NAME PRIORITY ACCEPTED DEGRADED NAMESPACES EXEMPTIONS AGE".to_owned(),
        format!("{of_cluster} 7 True False 12 3"),
        "NAMESPACE NAME PRIORITY ACCEPTED DEGRADED EXEMPTIONS AGE".to_owned(),
        format!("{namespace} {of_namespace} 0 True False 3"),
    ];
    // The age comes last.
    let is_same = |(found, expected): (&Vec<String>, &String)| found.join(" ").starts_with(expected);
    ensure!(rows.len() == 4 && rows.iter().zip(&expected).all(is_same), "{rows:?} and not {expected:?}");
    let wide = table(&["get", "rpol", "-n", &namespace, "-o", "wide"])?;
    ensure!(
        wide[0].ends_with(&["EXPIRED", "UNUSED", "AGE"].map(str::to_owned)) && wide[1][5..7] == ["4", "5"],
        "{wide:?}"
    );
    let both = cluster.kubectl(&["get", "no502", "-A", "-o", "name"], None)?.success()?;
    for kind in ["clusterrolloutpolicy", "rolloutpolicy"] {
        ensure!(both.contains(&format!("{kind}.no502.dev/{name}")), "{both}");
    }

    soon("kubectl explains policies", PATIENCE, || {
        let explain = |path: &str| -> anyhow::Result<String> {
            let said = cluster.kubectl(&["explain", path], None)?.success()?;
            Ok(said.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let said = explain("clusterrolloutpolicy.spec.settings.injection")?;
        ensure!(said.contains("What is put into pod templates."), "{said}");
        ensure!(said.contains("mode <string> enum: off, warn, inject Whether pod templates are changed"), "{said}");
        let said = explain("rolloutpolicy.spec.settings.injection.preStop.sleepSeconds")?;
        ensure!(said.contains("<integer>") && said.contains("Built in: 10."), "{said}");
        Ok(())
    })?;
    Ok(cluster.kubectl(&["delete", "crpol", &name], None)?.success().map(drop)?)
}

fn two_managers_share_a_policy(cluster: &ControlPlane) -> anyhow::Result<()> {
    let name = format!("shared-{}", cluster.namespace()?);
    let apply = |manager: &str, spec: &str| {
        let policy = format!(
            "{{apiVersion: {GROUP_VERSION}, kind: ClusterRolloutPolicy, metadata: {{name: {name}}}, spec: {{{NOBODY}, {spec}}}}}"
        );
        cluster.kubectl(&["apply", "--server-side", &format!("--field-manager={manager}"), "-f", "-"], Some(&policy))
    };
    apply(
        "platform",
        "bounds: [{field: profile, atLeast: standard}, {field: exemptionDays, max: 30}], locked: [profile], \
         settings: {breakGlassGroups: [on-call], injection: {mode: warn}}",
    )?
    .success()?;
    apply(
        "network",
        "bounds: [{field: injection.preStop.sleepSeconds, min: 5}], locked: [injection.mode], \
         settings: {breakGlassGroups: [network]}",
    )?
    .success()?;
    let get = || -> anyhow::Result<Value> {
        let policy = cluster.kubectl(&["get", "crpol", &name, "-o", "json"], None)?.json()?;
        Ok(policy["spec"].clone())
    };
    let spec = get()?;
    let fields: Vec<_> = spec["bounds"].as_array().context("no bounds")?.iter().map(|it| &it["field"]).collect();
    ensure!(fields == ["profile", "exemptionDays", "injection.preStop.sleepSeconds"], "{spec}");
    ensure!(spec["locked"] == json!(["profile", "injection.mode"]), "{spec}");
    ensure!(spec["settings"]["breakGlassGroups"] == json!(["on-call", "network"]), "{spec}");
    ensure!(spec["settings"]["injection"]["mode"] == "warn", "{spec}");

    // What one manager has set, another one changes by force alone.
    let conflict = apply("network", "bounds: [{field: profile, atLeast: strict}]")?;
    ensure!(
        conflict.stderr.contains("conflict") && conflict.stderr.contains(".spec.bounds[field=\"profile\"].atLeast"),
        "{conflict:?}"
    );
    // What a manager no longer says is gone, and what the other one says stays.
    apply("network", "locked: [injection.mode]")?.success()?;
    let spec = get()?;
    ensure!(
        spec["bounds"].as_array().map(Vec::len) == Some(2) && spec["locked"] == json!(["profile", "injection.mode"]),
        "{spec}"
    );

    // The server's own words are merged by type.
    let condition = |manager: &str, condition: &str| {
        let status = format!(
            "{{apiVersion: {GROUP_VERSION}, kind: ClusterRolloutPolicy, metadata: {{name: {name}}}, status: {{conditions: [\
             {{type: {condition}, status: \"True\", reason: Because, message: So., lastTransitionTime: \"2027-01-31T00:00:00Z\"}}]}}}}"
        );
        let manager = format!("--field-manager={manager}");
        cluster
            .kubectl(&["apply", "--server-side", "--subresource=status", &manager, "-f", "-"], Some(&status))?
            .success()
    };
    condition("no502", "Accepted")?;
    condition("another", "Degraded")?;
    let policy = cluster.kubectl(&["get", "crpol", &name, "-o", "json"], None)?.json()?;
    let types: Vec<_> =
        policy["status"]["conditions"].as_array().context("no conditions")?.iter().map(|it| &it["type"]).collect();
    ensure!(types == ["Accepted", "Degraded"] && policy["metadata"]["generation"] == 3, "{policy}");
    Ok(cluster.kubectl(&["delete", "crpol", &name], None)?.success().map(drop)?)
}

/// With all that it needs to be compared: client-side apply keeps a copy in an annotation, which may not grow beyond 256 KiB.
fn definitions_are_applied_again(cluster: &ControlPlane, definitions: &str) -> anyhow::Result<()> {
    let said = cluster.kubectl(&["apply", "-f", "-"], Some(definitions))?.success()?;
    ensure!(said.lines().count() == 2 && said.lines().all(|line| line.ends_with(" unchanged")), "{said}");
    let server_side = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
    Ok(cluster.kubectl(&server_side, Some(definitions))?.success().map(drop)?)
}
