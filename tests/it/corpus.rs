//! `check` over real manifests whose unresolved links were judged by hand: no crash, no false alarm, nothing missed.
//! The corpus is the folder that `NO502_CORPUS` names, or `shared/corpus` beside the repository.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use no502::{
    check::{Settings, check},
    manifest,
    policy::Profile,
    report::{Entry, Level, Report},
    rule::{Check, Kind},
    rules,
};
use serde_json::Value;

/// One link that does not resolve, and what a person thinks of it.
struct Truth {
    world: String,
    file: String,
    kind: String,
    namespace: String,
    name: String,
    field: String,
    what: String,
    class: String,
}

/// `None`, and a word about it that no test runner swallows, if there is no corpus.
pub(crate) fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("NO502_CORPUS").map(PathBuf::from);
    let is_promised = named.is_some();
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"));
    if folder.join("worlds.json").is_file() {
        return Some(folder);
    }
    assert!(!is_promised, "NO502_CORPUS: no corpus at {}", folder.display());
    let notice = format!("\n*** NOT RUN: no corpus at {}; set NO502_CORPUS ***\n\n", folder.display());
    io::stderr().write_all(notice.as_bytes()).unwrap();
    None
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}

/// The lines about links that our rules look at.
fn truths(corpus: &Path) -> Vec<Truth> {
    let lines = fs::read_to_string(corpus.join("truth.jsonl")).unwrap();
    let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let truths = values.map(|it| Truth {
        world: text(&it, "world"),
        file: text(&it, "file"),
        kind: text(&it, "kind"),
        namespace: text(&it, "namespace"),
        name: text(&it, "name"),
        field: text(&it, "field"),
        what: text(&it, "what"),
        class: text(&it, "class"),
    });
    truths.filter(|it| rules::find(&it.what).is_some()).collect()
}

/// Name and paths of every world.
pub(crate) fn worlds(corpus: &Path) -> Vec<(String, Vec<PathBuf>)> {
    let worlds: Vec<Value> = serde_json::from_slice(&fs::read(corpus.join("worlds.json")).unwrap()).unwrap();
    let paths = |world: &Value| {
        let paths = world["paths"].as_array().unwrap().iter();
        paths.map(|path| corpus.join(path.as_str().unwrap())).collect()
    };
    worlds.iter().map(|world| (text(world, "name"), paths(world))).collect()
}

pub(crate) fn run(paths: &[PathBuf], settings: Settings) -> Report {
    let loaded = manifest::read(paths, io::empty());
    assert!(loaded.unreadable.is_empty(), "{:?}", loaded.unreadable);
    check(&loaded, settings)
}

impl Truth {
    /// The same object and field. Of an object that is defined twice in a world the later definition was looked at, so the
    /// file may be the other one if the report says so.
    fn is_about(&self, entry: &Entry, report: &Report, corpus: &Path) -> bool {
        let file = corpus.join(&self.file);
        let is_shadowed = || {
            let place = format!("first at {}:", file.display());
            report.problems.iter().any(|it| it.location.file == entry.location.file && it.message.contains(&place))
        };
        self.what == entry.rule
            && self.kind == entry.object.kind
            && self.namespace == entry.object.namespace
            && self.name == entry.object.name
            && entry.field.starts_with(&self.field)
            && (*entry.location.file == *file || is_shadowed())
    }

    fn allows(&self, entry: &Entry) -> bool {
        match self.class.as_str() {
            "true-fault" => true,
            "needs-outside" => entry.kind == Kind::Absent && entry.level <= Level::Warning,
            "tool-artefact" => entry.level == Level::Info,
            other => panic!("unknown class {other}"),
        }
    }
}

/// The truth is about links; what pod templates risk is counted in `risks.rs`.
fn is_about_a_link(entry: &Entry) -> bool {
    rules::find(entry.rule).is_some_and(|it| matches!(it.check, Check::Link(_) | Check::Workload(_)))
}

#[test]
fn findings_in_real_manifests_agree_with_people() {
    let Some(corpus) = corpus() else { return };
    let truths = truths(&corpus);
    assert!(truths.len() >= 19, "the truth has lost lines: {}", truths.len());
    let mut wrong = Vec::new();
    let mut found = 0;
    for (world, paths) in worlds(&corpus) {
        let report = run(&paths, Settings::default());
        let expected: Vec<&Truth> = truths.iter().filter(|it| it.world == world).collect();
        for entry in report.findings.iter().filter(|it| is_about_a_link(it)) {
            let place =
                format!("{world}: {}: {} {}: {}", entry.location, entry.rule, entry.level.name(), entry.message);
            match expected.iter().find(|it| it.is_about(entry, &report, &corpus)) {
                None => wrong.push(format!("false alarm: {place}")),
                Some(truth) if !truth.allows(entry) => wrong.push(format!("too loud for {}: {place}", truth.class)),
                Some(_) => {}
            }
        }
        for truth in expected {
            if report.findings.iter().any(|entry| truth.is_about(entry, &report, &corpus)) {
                found += 1;
            } else {
                wrong.push(format!("missed: {world}: {}: {} {}", truth.file, truth.what, truth.name));
            }
        }
        let unread = report.problems.iter().filter(|it| it.level == Level::Error);
        wrong.extend(unread.map(|it| format!("not read: {world}: {}: {}", it.location, it.message)));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(found, truths.len(), "a line of the truth is about no world");
}

#[test]
fn a_claim_of_completeness_raises_only_what_is_absent() {
    let Some(corpus) = corpus() else { return };
    let truths = truths(&corpus);
    for (world, paths) in worlds(&corpus) {
        let report = run(&paths, Settings { profile: Profile::Strict, is_complete: true });
        for entry in report.findings.iter().filter(|it| it.level == Level::Error) {
            let truth = truths.iter().find(|it| it.world == world && it.is_about(entry, &report, &corpus));
            let class = truth.map_or("", |it| it.class.as_str());
            assert!(matches!(class, "true-fault" | "needs-outside"), "{world}: {}: {}", entry.location, entry.message);
        }
    }
}

#[test]
fn the_program_reads_the_whole_corpus_at_once() {
    let Some(corpus) = corpus() else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_no502"))
        .args(["check", "--format", "json", "--fail-on", "error"])
        .arg(&corpus)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0), "no error in manifests that work");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["summary"]["files"].as_u64().unwrap() > 700, "{}", report["summary"]);
    assert_eq!(report["summary"]["errors"], 0, "{}", report["summary"]);
}
