//! `no502 policy explain` from files, as a program: what it prints, how it exits.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Outcome, run};

pub(crate) fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
    command.arg("policy").args(arguments).current_dir(folder).env("TERM", "xterm");
    run(&mut command, input)
}

/// A folder of files, gone at the end.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        run_in(self.0.path(), arguments, "")
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.run(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
    }
}

pub(crate) const POLICIES: &str = r#"
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

pub(crate) const WORLD: &str = r#"
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
    has("    expired at 2020-01-01T00:00:00Z; RolloutPolicy \"own\"");
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
        (&["explain", "-f", ".", "deployment/w0/x"], "\"w0/x\" is no name of an object"),
        (&["explain", "-f", ".", "deployment/.."], "\"..\" is no name of an object"),
        (&["explain", "-f", ".", "-n", ""], "no name of a namespace"),
        (&["explain", "-f", ".", "-n", "Shop"], "no name of a namespace"),
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

/// A missing `---` makes one map of two objects.
#[test]
fn keys_that_are_set_twice_are_told_and_nothing_is_explained() {
    let joined = POLICIES.replace("---\n", "");
    let outcome = run_in(Path::new("/"), &["explain", "-n", "shop", "-f", "-"], &joined);
    assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{outcome:?}");
    let line = "stdin:12:1: error: the key `apiVersion` is set twice in one map; the last one counts (keep one of them; between \
                two objects write ---)";
    assert!(outcome.err.lines().any(|it| it.ends_with(line)), "{outcome:?}");
    assert!(outcome.err.contains("nothing is explained"), "{outcome:?}");
}

#[test]
fn files_without_a_policy_say_so() {
    let folder = Folder::new(&[("world.yaml", WORLD)]);
    let notes = |json: &Value| {
        json["notes"].as_array().unwrap().iter().any(|it| it.to_string().contains("no policies in the files"))
    };
    assert!(notes(&folder.json(&["explain", "-n", "shop", "-f", "."])));
    assert!(!notes(&shop().json(&["explain", "-n", "shop", "-f", "."])));
}

#[test]
fn a_tie_is_explained_with_what_to_do() {
    let outcome = shop().run(&["explain", "-n", "shop", "-f", "."]);
    let said = outcome.out.split_whitespace().collect::<Vec<_>>().join(" ");
    let tie = "profile: \"also\" and \"base\" have the same priority and different values; that of \"also\" counts, since its \
               name comes first; give one of them a higher priority";
    assert!(said.contains(tie), "{outcome:?}");
}

#[test]
fn what_keeps_an_exemption_out_is_explained() {
    let ahead = POLICIES.replace("2020-01-01", "2999-01-01");
    let locked = ahead.replace("gracePeriod.mode]", "gracePeriod.mode, exemptions]");
    for (policies, standing, expected) in [
        (
            &ahead,
            "too far ahead",
            "does not count until 90 days before it ends at 2999-01-01T00:00:00Z: ClusterRolloutPolicy \"base\" allows no more",
        ),
        (
            &locked,
            "locked",
            "does not count: ClusterRolloutPolicy \"base\" keeps namespaces from exempting themselves from \
             service-selects-nothing",
        ),
    ] {
        let folder = Folder::new(&[("policies.yaml", policies), ("world.yaml", WORLD)]);
        let outcome = folder.run(&["explain", "-n", "shop", "-f", "."]);
        let said = outcome.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&format!("{expected}; RolloutPolicy \"own\"")), "{outcome:?}");
        assert!(outcome.out.lines().all(|it| it.chars().count() <= 100), "{}", outcome.out);
        let note = &folder.json(&["explain", "-n", "shop", "-f", "."])["exemptions"][0];
        assert_eq!((&note["standing"], &note["heldBy"]), (&json!(standing), &json!("base")));
    }
}

/// Such an exemption would be unused for ever.
#[test]
fn an_exemption_of_a_kind_that_cannot_be_is_told_by_line() {
    let rule = "rule: service-selects-nothing, target: { kind: Service,";
    for (wrong, expected) in [
        (
            "rule: service-selects-nothing, target: { kind: Servce,",
            "\"Servce\" is no kind that is reviewed; did you mean Service?",
        ),
        (
            "rule: service-selects-nothing, target: { kind: service,",
            "\"service\" is no kind that is reviewed; did you mean Service?",
        ),
        (
            "rule: readiness-missing, target: { kind: Service,",
            "\"Service\" is of no finding of readiness-missing; use Deployment, StatefulSet, DaemonSet, ",
        ),
    ] {
        let policies = POLICIES.replace(rule, wrong);
        assert_ne!(policies, POLICIES);
        let folder = Folder::new(&[("policies.yaml", policies.as_str()), ("world.yaml", WORLD)]);
        let outcome = folder.run(&["explain", "-n", "shop", "-f", "."]);
        let place = format!("RolloutPolicy \"own\" spec.exemptions[0].target.kind: {expected}");
        assert!(outcome.err.contains("policies.yaml:27:") && outcome.err.contains(&place), "{place}\n{outcome:?}");
    }
}

/// Where the profile is held, teams can make the actions of rules stronger and not weaker.
#[test]
fn a_weaker_action_under_a_held_profile_says_what_keeps_it_out() {
    let policies = r"
apiVersion: no502.dev/v1alpha1
kind: ClusterRolloutPolicy
metadata: { name: base }
spec: { bounds: [{ field: profile, atLeast: standard }] }
---
apiVersion: no502.dev/v1alpha1
kind: RolloutPolicy
metadata: { name: own }
spec: { settings: { actions: { service-selects-nothing: warn, grace-too-short: deny } } }
";
    let folder = Folder::new(&[("policies.yaml", policies)]);
    let json = folder.json(&["explain", "-f", "."]);
    let (kept, weaker) = (setting(&json, "actions.grace-too-short"), setting(&json, "actions.service-selects-nothing"));
    assert_eq!((&kept["value"], &weaker["value"], &weaker["lockedBy"]), (&json!("deny"), &Value::Null, &Value::Null));
    let overridden = &weaker["overridden"][0];
    assert_eq!((&overridden["why"], &overridden["policy"]), (&json!("ProfileHeld"), &json!("base")));
    let outcome = folder.run(&["explain", "-f", "."]);
    let line =
        "    not warn, RolloutPolicy \"own\": ClusterRolloutPolicy \"base\" holds the profile, and with it its denials";
    assert!(outcome.out.lines().any(|it| it == line), "{outcome:?}");
}
