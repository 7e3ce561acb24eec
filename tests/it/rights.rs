//! The comparison of rights and calls that the end-to-end tests and the proof stand on: a small audit log against small
//! manifests, and against those of no502.

#[expect(dead_code, reason = "how to have an audit log written is for tests with an API server")]
#[path = "../cluster/rights.rs"]
mod compared;

use std::fmt::Display;

use compared::Rights;
use no502::deploy::{self, Options};
use serde_json::{Value, json};

const ACCOUNT: &str = "system:serviceaccount:home:robot";

const MANIFESTS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, namespace: home}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
  - {apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}
  - {nonResourceURLs: [/version], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: of-others}
rules:
  - {apiGroups: [\"\"], resources: [nodes], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: robot, namespace: home}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: of-others}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: of-others}
subjects: [{kind: ServiceAccount, name: robot, namespace: away}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: keeper, namespace: home}
rules:
  - {apiGroups: [\"\"], resources: [secrets], verbs: [create]}
  - {apiGroups: [\"\"], resources: [secrets], resourceNames: [key], verbs: [get]}
  - {apiGroups: [apps], resources: [deployments/scale], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: keeper, namespace: home}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: keeper}
subjects: [{kind: ServiceAccount, name: robot, namespace: home}]
";

/// A line of an audit log as kube-apiserver writes it; `object` is the `objectRef`.
fn event(id: usize, user: &str, verb: &str, uri: &str, object: &Value, code: u16, decision: &str) -> String {
    let mut event = json!({
        "level": "Metadata", "auditID": format!("audit-{id}"), "stage": "ResponseComplete", "requestURI": uri, "verb": verb,
        "user": {"username": user, "groups": ["system:authenticated"]}, "sourceIPs": ["127.0.0.1"], "userAgent": "robot",
        "responseStatus": {"metadata": {}, "code": code},
        "annotations": {"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": "because"},
    });
    if !object.is_null() {
        event["objectRef"] = object.clone();
    }
    if decision.is_empty() {
        event.as_object_mut().unwrap().remove("annotations");
    }
    // The API server begins each line like this.
    let event = event.to_string();
    format!("{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",{}\n", &event[1..])
}

fn pods() -> Value {
    json!({"resource": "pods", "apiVersion": "v1"})
}

fn key() -> Value {
    json!({"resource": "secrets", "namespace": "home", "name": "key", "apiVersion": "v1"})
}

/// A log in which everything is used, without the lines that `leave_out` chooses, and with some more lines.
fn log_without(leave_out: impl Fn(&str) -> bool, more: &[String]) -> String {
    let scale = json!({"resource": "deployments", "subresource": "scale", "namespace": "home", "name": "web", "apiGroup": "apps"});
    let new = json!({"resource": "secrets", "namespace": "home", "name": "key", "apiVersion": "v1"});
    let lines = [
        event(1, ACCOUNT, "list", "/api/v1/pods?limit=100", &pods(), 200, "allow"),
        event(2, ACCOUNT, "watch", "/api/v1/pods?watch=true", &pods(), 200, "allow"),
        event(3, ACCOUNT, "get", "/version?timeout=3s", &Value::Null, 200, "allow"),
        event(4, ACCOUNT, "get", "/api/v1/namespaces/home/secrets/key", &key(), 404, "allow"),
        event(5, ACCOUNT, "create", "/api/v1/namespaces/home/secrets", &new, 201, "allow"),
        event(6, ACCOUNT, "patch", "/apis/apps/v1/namespaces/home/deployments/web/scale", &scale, 200, "allow"),
    ];
    let kept = lines.iter().chain(more).filter(|line| !leave_out(line));
    kept.map(String::as_str).collect()
}

fn log(more: &[String]) -> String {
    log_without(|_| false, more)
}

fn rights(log: &str) -> Rights {
    Rights::new(MANIFESTS, log).unwrap()
}

fn printed(items: &[impl Display]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_wrong_when_everything_is_used_and_allowed() {
    let rights = rights(&log(&[]));
    assert_eq!(rights.faults(), [""; 0]);
    let list = rights.to_string();
    assert_eq!(list.lines().count(), 6, "{list}");
    assert!(list.contains("   1 x list pods: 200, Allow, because\n"), "{list}");
    assert!(list.contains("   1 x patch deployments/scale.apps web in home: 200, Allow, because\n"), "{list}");
}

#[test]
fn a_rule_without_a_call_is_unused() {
    for (left_out, unused) in [
        ("watch=true", "watch pods (ClusterRole reader)"),
        ("/version", "get /version (ClusterRole reader)"),
        ("\"create\"", "create secrets in home (Role keeper)"),
        ("secrets/key", "get secrets key in home (Role keeper)"),
        ("/scale", "patch deployments/scale.apps in home (Role keeper)"),
    ] {
        let rights = rights(&log_without(|line| line.contains(left_out), &[]));
        assert_eq!(printed(&rights.unused()), [unused]);
        assert_eq!(rights.faults(), [format!("allowed and never done: {unused}")]);
    }
}

#[test]
fn a_call_uses_the_narrowest_right_only() {
    let wider =
        MANIFESTS.replace("resources: [pods], verbs: [list, watch]", "resources: [\"*\", pods], verbs: [list, watch]");
    let unused = printed(&Rights::new(&wider, &log(&[])).unwrap().unused());
    assert_eq!(unused, ["list * (ClusterRole reader)", "watch * (ClusterRole reader)"]);
}

#[test]
fn what_was_refused_is_forbidden_and_uses_nothing() {
    let other = json!({"resource": "secrets", "namespace": "home", "name": "other"});
    let denied = event(7, ACCOUNT, "get", "/api/v1/namespaces/home/secrets/other", &other, 403, "forbid");
    let by_quota = event(8, ACCOUNT, "create", "/api/v1/namespaces/home/secrets", &key(), 403, "allow");
    let rights = self::rights(&log(&[denied, by_quota]));
    let expected =
        ["create secrets key in home: 403, Allow, because", "get secrets other in home: 403, Forbid, because"];
    assert_eq!(printed(&rights.forbidden()), expected);
    assert_eq!(rights.faults().len(), 2, "{rights}");

    let refused = event(1, ACCOUNT, "list", "/api/v1/pods?limit=100", &pods(), 403, "forbid");
    let rights = self::rights(&log_without(|line| line.contains("limit=100") && line.contains("200"), &[refused]));
    assert_eq!(printed(&rights.unused()), ["list pods (ClusterRole reader)"]);
}

#[test]
fn what_other_rules_allow_is_beyond_ours() {
    let health = event(7, ACCOUNT, "get", "/healthz", &Value::Null, 200, "allow");
    let elsewhere = json!({"resource": "secrets", "namespace": "away", "name": "key"});
    let elsewhere = event(8, ACCOUNT, "get", "/api/v1/namespaces/away/secrets/key", &elsewhere, 200, "allow");
    let log_of_pod = json!({"resource": "pods", "subresource": "log", "namespace": "home", "name": "web"});
    let log_of_pod = event(9, ACCOUNT, "list", "/api/v1/namespaces/home/pods/web/log", &log_of_pod, 200, "allow");
    let rights = rights(&log(&[health, elsewhere, log_of_pod]));
    let expected = [
        "get secrets key in away: 200, Allow, because",
        "get /healthz: 200, Allow, because",
        "list pods/log web in home: 200, Allow, because",
    ];
    assert_eq!(printed(&rights.beyond()), expected);
    assert_eq!(rights.faults().len(), 3, "{rights}");
}

#[test]
fn the_last_word_about_a_request_counts_and_other_lines_do_not() {
    let begun = event(7, ACCOUNT, "watch", "/api/v1/pods?watch=true", &pods(), 200, "allow")
        .replace("ResponseComplete", "ResponseStarted");
    let done = event(7, ACCOUNT, "watch", "/api/v1/pods?watch=true", &pods(), 200, "allow");
    let other_user = event(8, "system:serviceaccount:away:robot", "delete", "/api/v1/pods", &pods(), 403, "forbid");
    let too_many = event(9, ACCOUNT, "list", "/api/v1/pods", &pods(), 429, "");
    let klog = "I1126 00:50:07.1 1 httplog.go:1] {\"kind\":\"Event\"}\n".to_owned();
    let cut_off = event(10, ACCOUNT, "delete", "/api/v1/pods", &pods(), 403, "forbid").replace('\n', "");
    let rights = rights(&log(&[begun, done, other_user, too_many, klog, cut_off[..80].to_owned()]));
    assert_eq!(rights.faults(), [""; 0]);
    assert!(rights.to_string().contains("   2 x watch pods: 200"), "{rights}");
    assert!(rights.to_string().contains("   1 x list pods: 429, None, "), "{rights}");
}

#[test]
fn a_log_or_manifests_that_make_no_sense_are_errors() {
    let error = |manifests: &str, log: &str| Rights::new(manifests, log).unwrap_err().to_string();
    let no_verb = log(&[]).replacen("\"verb\"", "\"word\"", 1);
    assert!(error(MANIFESTS, &no_verb).starts_with("the audit log, "));
    assert_eq!(error("a: b", ""), "the manifests: 0 ServiceAccounts, and it should be one");
    let dangling = MANIFESTS.replace("kind: Role, name: keeper", "kind: Role, name: gone");
    assert_eq!(error(&dangling, ""), "the manifests: RoleBinding keeper is for Role \"gone\", which is not in them");
    let twisted = MANIFESTS.replace("verbs: [list, watch]", "verbs: list");
    assert!(error(&twisted, "").starts_with("the manifests, ClusterRole: "));
}

/// Eleven kinds listed and watched, the status of two patched, Events created, two configurations read and patched,
/// `/version`, and the Secret three ways. What people may do is not among it.
#[test]
fn every_rule_of_the_manifests_counts() {
    let rights = Rights::new(&deploy::render(&Options::default()), "").unwrap();
    let unused = printed(&rights.unused());
    assert_eq!(unused.len(), 11 * 2 + 2 + 1 + 2 * 2 + 1 + 3, "{rights}");
    for right in [
        "watch ingresses.networking.k8s.io (ClusterRole no502)",
        "watch rolloutpolicies.no502.dev (ClusterRole no502)",
        "patch clusterrolloutpolicies/status.no502.dev (ClusterRole no502)",
        "create events.events.k8s.io (ClusterRole no502)",
        "patch mutatingwebhookconfigurations.admissionregistration.k8s.io no502 (ClusterRole no502)",
        "get /version (ClusterRole no502)",
        "create secrets in no502-system (Role no502)",
        "update secrets no502-ca in no502-system (Role no502)",
    ] {
        assert!(unused.iter().any(|it| it == right), "{right} is not in {rights}");
    }
}
