//! `no502 policy explain` and `no502 policy test` as programs: what they print, how they exit.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

#[derive(Debug)]
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
    command.arg("policy").args(arguments).current_dir(folder).env("TERM", "xterm");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A run that does not read its input ends before all of it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder of files, gone at the end.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        run_in(self.0.path(), arguments, "")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.run(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
    }
}

const POLICIES: &str = r#"
apiVersion: no502.dev/v1alpha1
kind: ClusterRolloutPolicy
metadata: { name: base }
spec:
  priority: 10
  settings:
    profile: advise
    injection: { preStop: { preset: gke-neg } }
  bounds: [{ field: injection.preStop.sleepSeconds, min: 5, max: 120 }, { field: exemptionDays, max: 90 }]
  locked: [injection.gracePeriod.mode]
---
apiVersion: no502.dev/v1alpha1
kind: ClusterRolloutPolicy
metadata: { name: also }
spec:
  priority: 10
  settings: { profile: strict, enabled: true }
---
apiVersion: no502.dev/v1alpha1
kind: RolloutPolicy
metadata: { name: own }
spec:
  settings:
    injection: { gracePeriod: { mode: "off" }, preStop: { sleepSeconds: 200 } }
  exemptions:
    - { rule: service-selects-nothing, target: { kind: Service, name: "w*" }, reason: known, expires: "2020-01-01T00:00:00Z" }
---
apiVersion: no502.dev/v1alpha1
kind: RolloutPolicy
metadata: { name: workers }
spec:
  workloadSelector: { matchLabels: { role: worker } }
  settings: { injection: { mode: warn } }
"#;

const WORLD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: shop, annotations: { no502.dev/readiness: inject } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, annotations: { no502.dev/prestop-sleep-seconds: "20" } }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: a, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
"#;

fn shop() -> Folder {
    Folder::new(&[("policies.yaml", POLICIES), ("world.yaml", WORLD)])
}

fn setting<'a>(json: &'a Value, path: &str) -> &'a Value {
    json["settings"].as_array().unwrap().iter().find(|it| it["path"] == path).unwrap_or(&Value::Null)
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/policies")
}

#[test]
fn the_samples_pass() {
    let outcome = run_in(Path::new(env!("CARGO_MANIFEST_DIR")), &["test", "deploy/samples/policies"], "");
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    let summary = outcome.out.lines().last().unwrap();
    assert!(summary.ends_with("cases in 5 suites: 0 failed"), "{summary}");
    assert!(!outcome.out.contains("FAIL") && !outcome.out.contains('\x1b'), "{outcome:?}");
}

/// Each policy of each sample has a case that needs it.
#[test]
fn no_sample_passes_without_one_of_its_policies() {
    for sample in fs::read_dir(samples()).unwrap().map(|it| it.unwrap().path()).filter(|it| it.is_dir()) {
        let read = |name: &str| fs::read_to_string(sample.join(name)).unwrap();
        let (world, test) = (read("world.yaml"), read("policy-test.yaml"));
        let whole = read("policies.yaml");
        let policies: Vec<&str> = whole.split("\n---\n").collect();
        assert!(policies.iter().all(|it| it.contains("RolloutPolicy")), "{}", sample.display());
        for left_out in 0..policies.len() {
            let rest: Vec<&str> =
                policies.iter().enumerate().filter(|(index, _)| *index != left_out).map(|(_, it)| *it).collect();
            let folder = Folder::new(&[
                ("policies.yaml", rest.join("\n---\n").as_str()),
                ("world.yaml", world.as_str()),
                ("policy-test.yaml", test.as_str()),
            ]);
            let outcome = folder.run(&["test", "."]);
            assert_eq!(outcome.code, 1, "{}: policy {left_out} is not needed: {outcome:?}", sample.display());
            assert!(outcome.out.contains("FAIL") && outcome.out.contains("expected: "), "{outcome:?}");
        }
    }
}

#[test]
fn a_namespace_is_explained_from_files() {
    let outcome = shop().run(&["explain", "-n", "shop", "-f", "."]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    let has = |line: &str| assert!(outcome.out.lines().any(|it| it == line), "no line {line:?} in\n{}", outcome.out);
    has("Namespace \"shop\"");
    has("profile                                 strict                 ClusterRolloutPolicy \"also\"");
    has("    not advise, ClusterRolloutPolicy \"base\": same priority, its name comes later");
    has("injection.preStop.sleepSeconds          120                    RolloutPolicy \"own\"");
    has("    moved by the bound of ClusterRolloutPolicy \"base\"; bounds: 5 to 120");
    has("    not 60 (gke-neg), ClusterRolloutPolicy \"base\"");
    has("    not 10, built in");
    has("    not off, RolloutPolicy \"own\": locked by ClusterRolloutPolicy \"base\"");
    has("    expired since 2020-01-01T00:00:00Z; RolloutPolicy \"own\"");
    assert!(outcome.out.contains("flags of the server are not shown"), "{outcome:?}");
    assert!(outcome.out.lines().all(|it| it.chars().count() <= 100), "{}", outcome.out);
    assert!(outcome.out.contains("(priority 0, for some workloads: name one (KIND/NAME)"), "{outcome:?}");
}

#[test]
fn a_workload_is_explained_for_programs() {
    let json = shop().json(&["explain", "-n", "shop", "-f", ".", "deploy/web"]);
    assert_eq!(json["workload"], json!({ "kind": "Deployment", "name": "web" }));
    let sleep = setting(&json, "injection.preStop.sleepSeconds");
    assert_eq!((&sleep["value"], &sleep["boundedBy"], &sleep["lockedBy"]), (&json!(20), &Value::Null, &Value::Null));
    assert_eq!(sleep["source"], json!({ "kind": "Workload", "name": "web" }));
    assert_eq!(
        sleep["overridden"][0],
        json!({ "value": 200, "source": { "kind": "RolloutPolicy", "name": "own" }, "why": "LowerLevel" })
    );
    let grace = setting(&json, "injection.gracePeriod.mode");
    assert_eq!((&grace["value"], &grace["lockedBy"]), (&json!("inject"), &json!("base")));
    assert_eq!(grace["overridden"][0]["why"], "Locked");
    assert_eq!(setting(&json, "injection.mode")["source"], json!({ "kind": "BuiltIn" }));
    assert_eq!(setting(&json, "injection.readiness.mode")["source"], json!({ "kind": "Namespace", "name": "shop" }));
    assert_eq!(setting(&json, "actions.grace-too-short"), &Value::Null);
    let kinds: Vec<&str> = json["policies"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(kinds, ["base", "also", "own", "workers"]);
    assert_eq!(json["policies"][3]["counts"], false);
    assert_eq!(json["ties"], json!([{ "path": "profile", "winner": "also", "loser": "base" }]));
}

#[test]
fn flags_of_the_server_can_be_given() {
    let folder = Folder::new(&[("world.yaml", WORLD)]);
    let flags = ["--profile", "strict", "--action", "grace-too-short=deny"];
    let json = folder.json(&[&["explain", "-n", "shop", "-f", "."][..], &flags].concat());
    assert_eq!(setting(&json, "profile")["source"], json!({ "kind": "Flag" }));
    assert_eq!(setting(&json, "actions.grace-too-short")["value"], "deny");
    let outcome = folder.run(&[&["explain", "-n", "shop", "-f", "."][..], &flags].concat());
    assert!(!outcome.out.contains("are not shown"), "{outcome:?}");
    let outcome = folder.run(&["explain", "-f", ".", "--action", "grace=deny"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
}

#[test]
fn the_kill_switch_and_a_namespace_of_kubernetes_come_first() {
    let policy = "apiVersion: no502.dev/v1alpha1\nkind: ClusterRolloutPolicy\nmetadata: { name: switch }\nspec: { settings: { enabled: false } }\n";
    let outcome = run_in(Path::new("/"), &["explain", "-n", "kube-system", "-f", "-"], policy);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines: Vec<&str> = outcome.out.lines().take(3).collect();
    assert_eq!(
        lines,
        [
            "Namespace \"kube-system\"",
            "nothing is checked, said or changed in this namespace, whatever the settings say",
            "switched off by ClusterRolloutPolicy \"switch\": every write is allowed, nothing is said or injected",
        ]
    );
}

#[test]
fn what_cannot_be_explained_is_one_line_and_exit_code_2() {
    let folder = shop();
    for (arguments, expected) in [
        (&["explain", "-n", "shop", "-f", ".", "deployment/wbe"][..], "did you mean Deployment/web?"),
        (&["explain", "-n", "shop", "-f", ".", "service/web"], "makes no pods"),
        (&["explain", "-n", "shop", "-f", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (&["explain", "-f", "-"], "no Kubernetes objects in standard input"),
        (&["explain", "-f", ".", "web"], "write KIND/NAME"),
        (&["explain", "-f", ".", "--context", "kind"], "cannot be used with"),
        (&["explain", "--kubeconfig", "nowhere"], "nowhere"),
    ] {
        let outcome = folder.run(arguments);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{arguments:?} {outcome:?}");
        assert!(outcome.err.contains(expected), "{arguments:?} {outcome:?}");
    }
    let broken = Folder::new(&[("world.yaml", WORLD), ("broken.yaml", "a: [")]);
    let outcome = broken.run(&["explain", "-n", "shop", "-f", "."]);
    assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{outcome:?}");
    assert!(outcome.err.contains("broken.yaml:1:"), "{outcome:?}");
}

#[test]
fn a_policy_that_cannot_be_read_is_told_by_line_and_the_rest_counts() {
    let policy = POLICIES.replace("profile: advise", "profil: advise");
    let folder = Folder::new(&[("policies.yaml", policy.as_str()), ("world.yaml", WORLD)]);
    let outcome = folder.run(&["explain", "-n", "shop", "-f", "."]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let line =
        "policies.yaml:8:5: ClusterRolloutPolicy \"base\" spec.settings.profil means nothing; did you mean profile?";
    assert!(outcome.err.contains(line), "{outcome:?}");
    assert!(
        outcome.out.contains("\"base\" cannot be read as a whole; what can be read of it is in force"),
        "{outcome:?}"
    );
    let wrong = POLICIES.replace("kind: RolloutPolicy", "kind: RoloutPolicy");
    let outcome = run_in(folder.0.path(), &["explain", "-n", "shop", "-f", "-"], &wrong);
    assert!(outcome.err.contains("there is no kind RoloutPolicy of no502.dev/v1alpha1; use "), "{outcome:?}");
}

fn suite(cases: &str) -> Folder {
    Folder::new(&[("policies.yaml", POLICIES), ("world.yaml", WORLD), ("policy-test.yaml", cases)])
}

#[test]
fn a_case_that_fails_says_what_was_expected_and_what_came() {
    let folder = suite(
        "namespace: shop\ncases:\n  - name: one\n    write: { object: Deployment/web }\n    expect: { allowed: false, injects: nothing, settings: { profile: standard }, provenance: { profile: ClusterRolloutPolicy base }, says: [hello] }\n  - name: two\n    write: { object: Service/web, change: { /spec/selector: { app: b } } }\n    expect: { denied: [], warned: [], silent: true }\n",
    );
    let outcome = folder.run(&["test", "."]);
    assert_eq!((outcome.code, outcome.err.as_str()), (1, ""), "{outcome:?}");
    for expected in [
        "  FAIL one\n         ./policy-test.yaml:3:5\n         allowed\n           expected: false\n           got:      true\n",
        "           expected: nothing\n           got:      { containers: { web: { preStop: 20, readiness: 8080 } }, grace: 50 }\n",
        "         settings profile\n           expected: standard\n           got:      strict\n",
        "           expected: ClusterRolloutPolicy base\n           got:      ClusterRolloutPolicy also\n",
        "         denied\n           expected: nothing\n           got:      service-selects-nothing\n",
        "2 cases in 1 suite: 2 failed\n",
    ] {
        assert!(outcome.out.contains(expected), "{expected}\n{}", outcome.out);
    }
    let json = folder.json(&["test", "."]);
    assert_eq!(json["summary"], json!({ "suites": 1, "unreadable": 0, "cases": 2, "failed": 2, "problems": 0 }));
    let case = &json["suites"][0]["cases"][1];
    assert_eq!((&case["name"], &case["line"], &case["passed"]), (&json!("two"), &json!(6), &json!(false)));
    assert_eq!(
        case["differences"][0],
        json!({ "what": "denied", "expected": "nothing", "got": "service-selects-nothing" })
    );
}

#[test]
fn every_mistake_in_a_suite_is_told_by_line() {
    let folder = suite(
        "namspace: shop\ncases:\n  - name: one\n    now: today\n    write: { object: Deployment/wbe, namespace: shop }\n    expect:\n      allow: true\n      denied: [service-selects-nothin]\n      settings: { injection.preStop.sleepSecond: 4, profile: lax }\n      provenance: { profile: somebody }\n      injects: { containers: { web: { prestop: 4 } } }\n  - write: { user: jane, operation: PATCH }\n    expect: {}\n",
    );
    let outcome = folder.run(&["test", "."]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    for expected in [
        "policy-test.yaml:1:1: \"namspace\" means nothing here; did you mean namespace?",
        "policy-test.yaml:4:5: \"today\" is no time",
        "policy-test.yaml:5:14: there is no \"Deployment/wbe\" in namespace shop of this world",
        "policy-test.yaml:7:7: \"allow\" means nothing here; did you mean allowed?",
        "there is no rule \"service-selects-nothin\"; did you mean service-selects-nothing?",
        "there is no setting \"injection.preStop.sleepSecond\"; did you mean injection.preStop.sleepSeconds?",
        "\"lax\": use advise, standard or strict",
        "\"somebody\": use built in, Flag, Namespace",
        "\"prestop\" means nothing here; did you mean preStop?",
        "policy-test.yaml:12:5: the case has no name",
        "\"PATCH\": use CREATE, UPDATE or DELETE",
    ] {
        assert!(outcome.err.contains(expected), "{expected}\n{}", outcome.err);
    }
    assert!(outcome.out.ends_with("0 cases in 1 suite: 0 failed, 1 suite cannot be read\n"), "{outcome:?}");
}

#[test]
fn problems_of_policies_fail_a_suite_unless_they_are_expected() {
    let case = "cases:\n  - name: one\n    write: { object: Deployment/web, namespace: default }\n    expect: { allowed: true }\n";
    let policy = POLICIES.replace("profile: advise", "profil: advise");
    let folder = |test: &str| {
        Folder::new(&[("policies.yaml", policy.as_str()), ("world.yaml", WORLD), ("policy-test.yaml", test)])
    };
    let outcome = folder(case).run(&["test", "."]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.out.contains("FAIL ./policies.yaml:8:5: ClusterRolloutPolicy \"base\" spec.settings.profil"),
        "{outcome:?}"
    );
    let outcome = folder(&format!("problems: [did you mean profile]\n{case}")).run(&["test", "."]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let outcome = suite(&format!("problems: [did you mean profile]\n{case}")).run(&["test", "."]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.out.contains("no policy has the expected problem \"did you mean profile\""), "{outcome:?}");
}

#[test]
fn suites_are_found_at_any_depth_and_own_what_is_below_them() {
    let case = "cases:\n  - name: one\n    write: { object: Deployment/web }\n    expect: { allowed: true }\n";
    let off = POLICIES.replace("kind: RolloutPolicy", "kind: RoloutPolicy");
    let folder = Folder::new(&[
        ("a/policy-test.yaml", case),
        ("a/more/world.yaml", WORLD),
        ("a/inner/policy-test.yaml", case),
        ("a/inner/world.yaml", WORLD),
        ("a/.hidden/broken.yaml", off.as_str()),
        ("b/world.yaml", "{{ no yaml }}"),
    ]);
    let outcome = folder.run(&["test", "."]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.out.ends_with("2 cases in 2 suites: 0 failed\n"), "{outcome:?}");
    assert_eq!(folder.run(&["test", "a/inner", "a/inner/policy-test.yaml"]).out.lines().count(), 3);
    for (arguments, expected) in [
        (&["test", "b"][..], "no policy-test.yaml in b or below it"),
        (&["test", "c"], "cannot read c"),
        (&["test", "b/world.yaml"], "b/world.yaml is no folder"),
        (&["test"], "required"),
    ] {
        let outcome = folder.run(arguments);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{outcome:?}");
        assert!(outcome.err.contains(expected), "{outcome:?}");
    }
}

#[test]
fn users_groups_old_objects_and_inline_ones_can_be_written() {
    let folder = Folder::new(&[
        ("world.yaml", WORLD),
        (
            "policies.yaml",
            "apiVersion: no502.dev/v1alpha1\nkind: ClusterRolloutPolicy\nmetadata: { name: base }\nspec: { settings: { breakGlassGroups: [oncall] } }\n",
        ),
        (
            "policy-test.yaml",
            r#"
apiVersion: no502.dev/v1alpha1
kind: PolicyTest
cases:
  - name: a group breaks the glass
    write: { object: Service/web, change: { spec: { selector: { app: wbe } } }, groups: [oncall], user: ops }
    expect: { allowed: true, denied: [], warned: [service-selects-nothing], says: ["break-glass, group oncall"] }
  - name: nobody else does
    write: { object: Service/web, change: { spec: { selector: { app: wbe } } } }
    expect: { allowed: false }
  - name: an object of its own
    write:
      apiVersion: apps/v1
      kind: Deployment
      metadata: { name: new }
      spec:
        selector: { matchLabels: { app: new } }
        template: { metadata: { labels: { app: new } }, spec: { containers: [{ name: c, image: a, ports: [{ containerPort: 80 }] }] } }
    expect: { injects: { containers: { c: { preStop: 10 } }, grace: 40 } }
  - name: an update from another state
    write:
      object: Service/web
      old: { apiVersion: v1, kind: Service, metadata: { name: web }, spec: { selector: { app: nobody }, ports: [{ port: 80 }] } }
    expect: { allowed: true, silent: true }
  - name: a deletion
    write: { object: Deployment/web, operation: DELETE }
    expect: { allowed: true, warned: [service-selects-nothing], injects: nothing }
"#,
        ),
    ]);
    let outcome = folder.run(&["test", "."]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{}{}", outcome.out, outcome.err);
}
