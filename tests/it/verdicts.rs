//! What each rule says about an object: one folder in `tests/fixtures/` for each rule.
//!
//! `CASE.yaml` is the object that is created, and behind it the cluster it comes into; its first line says `# fires` or `# silent`
//! and why. `CASE.verdict.json` is what all rules find under the profile `standard`; `UPDATE=1` writes it anew. Rules about what is
//! injected are asked as of files, and only in the cases of their own folder.
//! `CASE.fixed.yaml` is the object once the advice was followed, and objects of the cluster that changed with it: the rule is
//! silent.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use no502::{
    facts::Facts,
    link::{self, Write},
    policy::Policies,
    rule::{Check, Finding, Rule},
    rules,
    snapshot::{Snapshot, World},
    verdict::{self, Requester},
};
use serde_json::{Value, json};

use crate::stage;

/// The findings about a creation, each with the action that `standard` takes.
fn findings(rule: &Rule, object: &Value, cluster: &[Value]) -> Vec<(Finding, &'static str)> {
    let snapshot = stage::cluster(cluster);
    let new = stage::facts(object);
    let write = Write { old: None, new: Some(&new) };
    let (before, after) =
        (World::before(&snapshot, new.meta(), None), World::after(&snapshot, new.meta(), None, Some(&new)));
    let mut findings = link::examine(write, &before, &after).findings;
    findings.extend(verdict::self_findings(write));
    findings.extend(verdict::template_findings(write, &snapshot, &Policies::default()));
    let requester = Requester { user: "jane", groups: &[] };
    let decision = verdict::decide(write, requester, &snapshot, &Policies::default(), stage::now());
    let rules: Vec<&str> = decision.outcomes.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(rules, findings.iter().map(|it| it.rule).collect::<Vec<_>>(), "the verdict is about the findings");
    let decided = findings.into_iter().zip(decision.outcomes.into_iter().map(|(_, action)| action));
    decided.chain(file_findings(rule, &new, &snapshot)).collect()
}

fn file_findings(rule: &Rule, new: &Facts, snapshot: &Snapshot) -> Vec<(Finding, &'static str)> {
    let (Check::Injected(_), Facts::Workload(workload)) = (&rule.check, new) else { return Vec::new() };
    let policies = Policies::default();
    let effective = policies.effective(&workload.meta.namespace, None, Some(workload));
    let found = verdict::file_findings(workload, snapshot, &policies).into_iter().filter(|it| it.rule == rule.id);
    found.map(|it| (effective.action(it.rule, it.kind).name(), it)).map(|(action, it)| (it, action)).collect()
}

fn as_json(findings: &[(Finding, &'static str)]) -> Value {
    let mut all: Vec<Value> = findings
        .iter()
        .map(|(it, action)| {
            json!({
                "rule": it.rule,
                "kind": it.kind,
                "cause": format!("{:?}", it.cause),
                "field": it.words.field,
                "message": it.words.message,
                "help": it.words.help,
                "action": action,
            })
        })
        .collect();
    all.sort_by_key(ToString::to_string);
    Value::from(all)
}

fn folder_of(rule: &Rule) -> PathBuf {
    stage::folder("fixtures").join(rule.id)
}

fn cases(rule: &Rule) -> Vec<PathBuf> {
    stage::files(&folder_of(rule), ".yaml")
}

fn beside(case: &Path, suffix: &str) -> PathBuf {
    case.with_extension(suffix)
}

/// The object and the cluster of a case.
fn scene(case: &Path) -> (Value, Vec<Value>) {
    let mut objects = stage::objects(case);
    assert!(!objects.is_empty(), "{}: no object", case.display());
    (objects.remove(0), objects)
}

/// The object and the cluster after the advice was followed.
fn fixed_scene(case: &Path) -> (Value, Vec<Value>) {
    let (_, cluster) = scene(case);
    let (object, changed) = scene(&beside(case, "fixed.yaml"));
    let key = |it: &Value| format!("{} {} {}", it["kind"], it["metadata"]["namespace"], it["metadata"]["name"]);
    let replaced: BTreeSet<String> = changed.iter().map(key).collect();
    let kept = cluster.into_iter().filter(|it| !replaced.contains(&key(it)));
    (object, kept.chain(changed).collect())
}

/// What the first line of a case says: true for `# fires`, false for `# silent`.
fn is_to_fire(case: &Path) -> bool {
    let text = stage::read(case);
    match text.lines().next().unwrap_or_default() {
        line if line.starts_with("# fires: ") => true,
        line if line.starts_with("# silent: ") => false,
        line => panic!("{}: begin with \"# fires: why\" or \"# silent: why\", not {line:?}", case.display()),
    }
}

fn is_about(rule: &Rule, findings: &[(Finding, &'static str)]) -> bool {
    findings.iter().any(|(it, _)| it.rule == rule.id)
}

fn faults(rule: &Rule, case: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let (object, cluster) = scene(case);
    let found = findings(rule, &object, &cluster);
    let verdict = as_json(&found);
    if is_about(rule, &found) != is_to_fire(case) {
        faults.push(format!("fires: {}, {verdict:#}", is_about(rule, &found)));
    }
    let file = beside(case, "verdict.json");
    if stage::is_update() {
        fs::write(&file, format!("{verdict:#}\n")).unwrap();
    } else if serde_json::from_str::<Value>(&stage::read(&file)).unwrap() != verdict {
        faults.push(format!("expected {}, found {verdict:#}", stage::read(&file)));
    }
    if beside(case, "fixed.yaml").exists() {
        let (object, cluster) = fixed_scene(case);
        let left = findings(rule, &object, &cluster);
        if is_about(rule, &left) {
            faults.push(format!("it still fires after the advice was followed: {:#}", as_json(&left)));
        }
        if !is_to_fire(case) {
            faults.push("there is nothing to fix in a silent case".to_owned());
        }
    }
    faults
}

#[test]
fn every_case_has_its_verdict() {
    let mut faults_of_all = Vec::new();
    for rule in rules::ALL {
        for case in cases(rule) {
            let name = format!("{}/{}", rule.id, case.file_stem().unwrap_or_default().to_string_lossy());
            faults_of_all.extend(faults(rule, &case).into_iter().map(|fault| format!("{name}: {fault}")));
        }
    }
    assert!(faults_of_all.is_empty(), "{} faults:\n{}", faults_of_all.len(), faults_of_all.join("\n"));
}

#[test]
fn every_rule_has_firing_silent_and_fixed_cases() {
    for rule in rules::ALL {
        let cases = cases(rule);
        let firing = cases.iter().filter(|it| is_to_fire(it)).count();
        let fixed = cases.iter().filter(|it| beside(it, "fixed.yaml").exists()).count();
        assert!(firing >= 3, "{}: {firing} cases fire", rule.id);
        assert!(cases.len() - firing >= 3, "{}: {} cases are silent", rule.id, cases.len() - firing);
        assert!(fixed >= 1, "{}: no case is fixed", rule.id);
    }
}

#[test]
fn no_file_is_left_over() {
    let known: BTreeSet<&str> = rules::ALL.iter().map(|it| it.id).chain(["fix", "injections", "reviews"]).collect();
    for entry in fs::read_dir(stage::folder("fixtures")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(name.as_str()), "tests/fixtures/{name}: there is no such rule");
    }
    for rule in rules::ALL {
        for entry in fs::read_dir(folder_of(rule)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            let (case, rest) = name.split_once('.').unwrap();
            assert!(["yaml", "verdict.json", "fixed.yaml"].contains(&rest), "{}: what is it for?", path.display());
            let case = path.with_file_name(format!("{case}.yaml"));
            assert!(case.exists(), "{}: there is no {}", path.display(), case.display());
        }
    }
}

#[test]
fn every_rule_has_a_manual_page() {
    const SECTIONS: [&str; 5] = ["What it does", "Why is this bad?", "Example", "Use instead", "When it stays silent"];
    for rule in rules::ALL {
        let sections: Vec<&str> = rule.docs.lines().filter_map(|it| it.trim().strip_prefix("### ")).collect();
        assert_eq!(sections, SECTIONS, "{}", rule.id);
        for section in rule.docs.split("### ").skip(1) {
            assert!(section.lines().skip(1).any(|it| !it.trim().is_empty()), "{}: {section} is empty", rule.id);
        }
        assert_eq!(rule.docs.matches("```").count() % 2, 0, "{}: a code block is not closed", rule.id);
        assert!(rule.docs.matches("```yaml").count() >= 2, "{}: both examples are YAML", rule.id);
    }
}

#[test]
fn ids_are_stable() {
    // An id is never changed or used again: configuration, metrics and exemptions of users have it.
    let ids: Vec<(&str, &str)> = rules::ALL.iter().map(|it| (it.id, it.since)).collect();
    let known = [
        ("service-selects-nothing", "0.1.0"),
        ("service-port-unresolved", "0.1.0"),
        ("ingress-service-missing", "0.1.0"),
        ("ingress-port-missing", "0.1.0"),
        ("probe-port-unresolved", "0.1.0"),
        ("prestop-missing", "0.1.0"),
        ("prestop-exceeds-grace", "0.1.0"),
        ("prestop-no-delay", "0.1.0"),
        ("grace-too-short", "0.1.0"),
        ("ingress-timeout-exceeds-drain", "0.1.0"),
        ("readiness-missing", "0.1.0"),
        ("publish-not-ready-exposed", "0.1.0"),
        ("mesh-sidecar-exits-first", "0.1.0"),
    ];
    assert_eq!(ids, known, "add the new rule here; take none out");
    let unique: BTreeSet<&str> = ids.iter().map(|(id, _)| *id).collect();
    assert_eq!(unique.len(), ids.len());
    for (id, _) in ids {
        assert!(id.bytes().all(|it| it.is_ascii_lowercase() || it == b'-'), "{id}");
        assert!(rules::find(id).is_some_and(|it| it.id == id), "{id}");
    }
}

#[test]
fn texts_are_worded_alike() {
    let mut texts = 0;
    for rule in rules::ALL {
        for case in cases(rule) {
            let (object, cluster) = scene(&case);
            for (finding, _) in findings(rule, &object, &cluster) {
                for text in [&finding.words.message, &finding.words.help] {
                    let faults = wording_faults(text, cluster.iter().chain([&object]));
                    assert!(faults.is_empty(), "{}: {text:?}: {faults:?}", case.display());
                    texts += 1;
                }
                let field = &finding.words.field;
                assert!(field.is_empty() || field.starts_with('/'), "{}: {field:?}", case.display());
            }
        }
    }
    assert!(texts > 50, "only {texts} texts were looked at");
}

fn wording_faults<'a>(text: &str, objects: impl Iterator<Item = &'a Value>) -> Vec<&'static str> {
    const KINDS: [&str; 3] = ["Service", "Ingress", "Deployment"];
    let mut faults = Vec::new();
    let first = text.split(' ').next().unwrap_or_default();
    if text.is_empty() || (first.starts_with(char::is_uppercase) && !KINDS.contains(&first)) {
        faults.push("begins with a lower-case letter, but for the name of a kind");
    }
    if text.ends_with('.') || text.trim() != text || text.contains("  ") {
        faults.push("ends without a full stop, and has single blanks");
    }
    if text.chars().any(char::is_control) {
        faults.push("has no control characters");
    }
    if text.contains('`') || text.contains(" '") {
        faults.push("has names in double quotes");
    }
    for object in objects {
        let (Some(kind), Some(name)) = (object["kind"].as_str(), object["metadata"]["name"].as_str()) else { continue };
        if text.contains(&format!("{kind} {name} ")) || text.ends_with(&format!("{kind} {name}")) {
            faults.push("has names of objects in double quotes");
        }
    }
    faults
}

#[test]
fn wording_faults_are_found() {
    let service = json!({"kind": "Service", "metadata": {"name": "web"}});
    let faults = |text: &str| wording_faults(text, [&service].into_iter()).len();
    assert_eq!(faults("port 80 of Service \"web\" is missing"), 0);
    assert_eq!(faults("Service \"web\" is missing"), 0);
    for text in
        ["Port 80 is missing", "port 80 is missing.", "port\t80", "Service web is missing", "port `80`", "", " x"]
    {
        assert_eq!(faults(text), 1, "{text:?}");
    }
}
