//! `no502 policy test` as a program: what it prints, how it exits.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::policy_cli::{Folder, POLICIES, WORLD, run_in};

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
fn what_would_check_nothing_is_a_mistake() {
    let folder = suite(
        "namespace: shop\nproblems: [\"\"]\ncases:\n  - name: one\n    write: { object: Deployment/web }\n    expect:\n      says: []\n      settings: {}\n      provenance: {}\n  - name: two\n    write: { object: { apiVersion: v1, kind: Pod, metadata: { name: web } }, operation: UPDATE }\n    expect: { says: [\"\"] }\n",
    );
    let outcome = folder.run(&["test", "."]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    for expected in [
        "policy-test.yaml:2:12: an empty text is in every text; write a part of the one that is expected",
        "policy-test.yaml:7:7: says is empty and expects nothing; leave it out",
        "policy-test.yaml:8:7: settings is empty and expects nothing; leave it out",
        "policy-test.yaml:9:7: provenance is empty and expects nothing; leave it out",
        "policy-test.yaml:11:5: no502 is asked when a Pod is created, not at its UPDATE",
        "policy-test.yaml:12:22: an empty text is in every text",
    ] {
        assert!(outcome.err.contains(expected), "{expected}\n{}", outcome.err);
    }
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

const ONE_CASE: &str = "cases:\n  - name: one\n    write: { object: Deployment/web }\n    expect: { allowed: true }\n";

/// In every form that YAML has for a map, and with or without an identity.
#[test]
fn a_suite_may_be_json_or_a_flow_map() {
    let json =
        r#"{ "cases": [{ "name": "one", "write": { "object": "Deployment/web" }, "expect": { "allowed": true } }] }"#;
    let flow = "{ cases: [{ name: one, write: { object: Deployment/web }, expect: { allowed: true } }] }\n";
    let named = format!("apiVersion: no502.dev/v1alpha1\nkind: PolicyTest\n{ONE_CASE}");
    for text in [json, flow, &format!("---\n{ONE_CASE}...\n"), &named] {
        let outcome = Folder::new(&[("world.yaml", WORLD), ("policy-test.yaml", text)]).run(&["test", "."]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{text}\n{outcome:?}");
        assert!(outcome.out.ends_with("1 case in 1 suite: 0 failed\n"), "{outcome:?}");
    }
    let wrong = flow.replace("allowed", "allow");
    let outcome = Folder::new(&[("world.yaml", WORLD), ("policy-test.yaml", &wrong)]).run(&["test", "."]);
    assert!(outcome.err.contains("policy-test.yaml:1:69: \"allow\" means nothing here"), "{outcome:?}");
    for text in ["", "- one\n", "a: 1\n---\nb: 2\n"] {
        let outcome = Folder::new(&[("world.yaml", WORLD), ("policy-test.yaml", text)]).run(&["test", "."]);
        assert_eq!(outcome.code, 2, "{text}: {outcome:?}");
        assert!(outcome.err.contains("policy-test.yaml is one document with a list of cases"), "{text}: {outcome:?}");
    }
}

#[test]
fn keys_that_are_set_twice_fail_a_suite() {
    let twice = format!("{ONE_CASE}{ONE_CASE}");
    let outcome = Folder::new(&[("world.yaml", WORLD), ("policy-test.yaml", &twice)]).run(&["test", "."]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.err.contains("policy-test.yaml:5:1: the key `cases` is set twice in one map"), "{outcome:?}");
    let joined = POLICIES.replace("---\n", "");
    let files = [("policies.yaml", joined.as_str()), ("world.yaml", WORLD), ("policy-test.yaml", ONE_CASE)];
    let outcome = Folder::new(&files).run(&["test", "."]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.err.contains("policies.yaml:12:1: error: the key `apiVersion` is set twice"), "{outcome:?}");
}
