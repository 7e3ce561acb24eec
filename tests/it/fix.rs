//! `no502 fix` on files, as a program: what it writes, what it leaves alone, how it exits.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, FileTimes, Permissions},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use similar::{DiffTag, TextDiff};
use tempfile::TempDir;

use crate::{
    corpus::corpus,
    program::{Outcome, run},
    stage::folder,
};

/// The user that may write nothing: `nobody`.
const NOBODY: u32 = 65534;

/// A folder to fix in, gone at the end.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn with(name: &str, text: impl AsRef<[u8]>) -> Self {
        Self::new().and(name, text)
    }

    pub(crate) fn and(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) fn fix(&self, arguments: &[&str]) -> Outcome {
        self.fix_stdin(arguments, "")
    }

    pub(crate) fn fix_stdin(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
        command.arg("fix").args(arguments).current_dir(self.path());
        run(&mut command, input)
    }

    /// Everything in the folder.
    fn names(&self) -> BTreeSet<String> {
        fs::read_dir(self.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    }
}

pub(crate) fn fixture(name: &str) -> String {
    fs::read_to_string(folder("fixtures/fix").join(name)).unwrap()
}

/// Names of the fixtures, each with what is expected of it beside it.
pub(crate) fn fixtures() -> Vec<(String, String)> {
    let names = fs::read_dir(folder("fixtures/fix")).unwrap();
    let mut names: Vec<String> = names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|it| !it.contains(".fixed."));
    names.sort();
    assert!(names.len() >= 14, "{names:?}");
    let expected = |name: &str| {
        let (stem, extension) = name.rsplit_once('.').unwrap();
        format!("{stem}.fixed.{extension}")
    };
    names.into_iter().map(|name| (name.clone(), expected(&name))).collect()
}

/// `text` with every change, none of which the edits may care about.
pub(crate) fn variants(text: &str) -> [String; 4] {
    let with_crlf = text.replace('\n', "\r\n");
    let unended = text.strip_suffix('\n').unwrap_or(text).to_owned();
    let marked = format!("\u{FEFF}{text}");
    [text.to_owned(), with_crlf, unended, marked]
}

/// The lines that are not there any more as they were, unless only their digits changed or something was put into brackets.
fn lost_lines(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old, new);
    let mut lost = Vec::new();
    for operation in diff.ops().iter().filter(|it| !matches!(it.tag(), DiffTag::Equal | DiffTag::Insert)) {
        let before: Vec<&str> = operation.old_range().map(|at| diff.old_slice(at).unwrap().trim_end()).collect();
        let mut after = operation.new_range().map(|at| diff.new_slice(at).unwrap().trim_end());
        for line in before {
            let digits = |it: &str| it.replace(|c: char| c.is_ascii_digit(), "");
            let is_kept = |other: &str| {
                // The last line of a file gets a line break.
                digits(line) == digits(other) || (line.contains(['{', '}', '"']) && is_subsequence(line, other))
            };
            if !after.any(is_kept) {
                lost.push(line.to_owned());
            }
        }
    }
    lost
}

fn is_subsequence(part: &str, whole: &str) -> bool {
    let mut rest = whole.chars();
    part.chars().all(|c| rest.any(|it| it == c))
}

pub(crate) fn deployment(container: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  selector:\n    matchLabels: {{ app: web }}\n  template:\n    metadata:\n      labels: {{ app: web }}\n    spec:\n      containers:\n        - name: web\n          ports:\n            - containerPort: 8080\n{container}"
    )
}

#[test]
fn every_style_is_kept() {
    for (name, expected) in fixtures() {
        for (text, expected) in variants(&fixture(&name)).into_iter().zip(variants(&fixture(&expected))) {
            let folder = Folder::with(&name, &text);
            let outcome = folder.fix(&[&name]);
            assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{name}: {outcome:?}");
            assert_eq!(folder.text(&name), expected, "{name}");
            let lost = lost_lines(&text, &expected);
            assert!(lost.is_empty() || name == "namespace-settings.yaml", "{name}: {lost:?}");
        }
    }
}

#[test]
fn a_second_run_has_nothing_to_do() {
    for (name, expected) in fixtures() {
        let folder = Folder::with(&name, fixture(&expected));
        let outcome = folder.fix(&[&name]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{name}: {outcome:?}");
        assert_eq!(outcome.out.lines().last(), Some("nothing to fix"), "{name}");
        assert_eq!(folder.text(&name), fixture(&expected), "{name}");
    }
}

#[test]
fn undo_gives_the_text_back() {
    // What was ours before is taken out as well, and a key that stood there without a value goes with its value.
    let others = ["namespace-settings.yaml", "empty-annotations.yaml"];
    for (name, expected) in fixtures().into_iter().filter(|(name, _)| !others.contains(&name.as_str())) {
        for (text, expected) in variants(&fixture(&name)).into_iter().zip(variants(&fixture(&expected))) {
            let folder = Folder::with(&name, expected);
            let outcome = folder.fix(&["--undo", &name]);
            assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{name}: {outcome:?}");
            assert_eq!(folder.text(&name), text, "{name}");
            assert_eq!(folder.fix(&["--undo", "--check", &name]).out, "nothing to take out\n");
        }
    }
    let folder = Folder::with("web.yaml", fixture("empty-annotations.fixed.yaml"));
    assert_eq!(folder.fix(&["--undo", "web.yaml"]).code, 0);
    assert_eq!(folder.text("web.yaml"), fixture("empty-annotations.yaml").replace("      annotations:\n", ""));
}

#[test]
fn each_change_is_one_line_and_there_is_a_summary() {
    let folder = Folder::with("web.yaml", fixture("two-spaces.yaml"));
    let outcome = folder.fix(&["web.yaml"]);
    assert_eq!(
        outcome.out,
        "web.yaml:16: Deployment \"web\": added preStop sleep 10s to container web, grace 30s -> 40s\nfixed 1 object in 1 file\n"
    );
    let outcome = folder.fix(&["--undo", "web.yaml"]);
    assert_eq!(
        outcome.out,
        "web.yaml:24: Deployment \"web\": took out preStop sleep 10s of container web, grace 40s -> the default\ntook the injections out of 1 object in 1 file\n"
    );
}

#[test]
fn all_files_are_one_world() {
    let web = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata:\n      labels: {app: web}\n    spec:\n      containers:\n        - name: web\n";
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n";
    let folder = Folder::with("web.yaml", web).and("service.yaml", service);
    assert_eq!(folder.fix(&["web.yaml"]).out, "nothing to fix\n", "nobody asks it for anything");
    assert!(folder.fix(&["."]).out.ends_with("fixed 1 object in 1 file\n"));
    let disabled =
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  annotations: {no502.dev/inject: disabled}\n";
    let folder = Folder::with("web.yaml", web).and("service.yaml", service).and("ns.yaml", disabled);
    assert_eq!(folder.fix(&["."]).out, "nothing to fix\n", "the namespace says no");
}

#[test]
fn diff_and_check_write_nothing() {
    let text = fixture("two-spaces.yaml");
    let folder = Folder::with("web.yaml", &text);
    let outcome = folder.fix(&["--check", "."]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.out.contains("would add preStop sleep 10s"), "{outcome:?}");
    assert!(outcome.out.ends_with("would fix 1 object in 1 file\n"), "{outcome:?}");
    let outcome = folder.fix(&["--diff", "."]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.out.starts_with("--- a/web.yaml\n+++ b/web.yaml\n@@ "), "{outcome:?}");
    assert!(outcome.err.ends_with("would fix 1 object in 1 file\n"), "{outcome:?}");
    assert_eq!(folder.fix(&["--diff", "--check", "."]).code, 1);
    assert_eq!(folder.text("web.yaml"), text);
    assert_eq!(folder.fix(&["."]).code, 0);
    assert_eq!(folder.fix(&["--check", "."]).code, 0);
}

#[test]
fn standard_input_goes_to_standard_output() {
    let folder = Folder::new();
    let outcome = folder.fix_stdin(&["-"], &fixture("two-spaces.yaml"));
    assert_eq!((outcome.code, outcome.out), (0, fixture("two-spaces.fixed.yaml")));
    assert!(outcome.err.starts_with("stdin:16: Deployment \"web\": added"), "{}", outcome.err);
    for text in ["just: values\n", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n", "a: [\n", "a: \u{FEFF}b"] {
        assert_eq!(folder.fix_stdin(&["-"], text).out, text, "a filter loses nothing");
    }
    assert_eq!(folder.fix_stdin(&["-", "--check"], &fixture("two-spaces.yaml")).out, "");
}

#[test]
fn what_has_nothing_to_change_is_not_written() {
    let folder = Folder::with("fixed.yaml", fixture("two-spaces.fixed.yaml")).and("web.yaml", fixture("flow.yaml"));
    let path = folder.path().join("fixed.yaml");
    let past = SystemTime::now() - Duration::from_hours(24);
    File::options().write(true).open(&path).unwrap().set_times(FileTimes::new().set_modified(past)).unwrap();
    let before = fs::metadata(&path).unwrap();
    assert!(folder.fix(&["."]).out.ends_with("fixed 1 object in 1 file\n"));
    let after = fs::metadata(&path).unwrap();
    assert_eq!((before.ino(), before.modified().unwrap()), (after.ino(), after.modified().unwrap()));
}

#[test]
fn links_lead_to_the_file_and_permissions_stay() {
    let folder = Folder::with("real/web.yaml", fixture("flow.yaml"));
    let real = folder.path().join("real/web.yaml");
    fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
    symlink("real/web.yaml", folder.path().join("web.yaml")).unwrap();
    let outcome = folder.fix(&["web.yaml", "."]);
    assert!(outcome.out.ends_with("fixed 1 object in 1 file\n"), "one file by three names: {outcome:?}");
    assert!(fs::symlink_metadata(folder.path().join("web.yaml")).unwrap().is_symlink());
    assert_eq!(folder.text("real/web.yaml"), fixture("flow.fixed.yaml"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
}

/// A program that `nobody` can run: the build folder may be the user's own.
fn as_nobody(folder: &Folder) -> Command {
    let program = folder.path().join("no502");
    fs::copy(env!("CARGO_BIN_EXE_no502"), &program).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[test]
fn a_folder_that_cannot_be_written_costs_one_line() {
    let folder = Folder::with("ro/web.yaml", fixture("flow.yaml")).and("ro/service.yaml", "a: 1\n");
    let ro = folder.path().join("ro");
    let mut command = as_nobody(&folder);
    fs::set_permissions(&ro, Permissions::from_mode(0o555)).unwrap();
    let outcome = run(command.args(["fix", "ro/web.yaml"]).current_dir(folder.path()), "");
    fs::set_permissions(&ro, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert_eq!(
        outcome.err,
        "no502: ro/web.yaml: cannot write it: permission denied; make its folder writable; it is as it was\n"
    );
    assert_eq!(folder.text("ro/web.yaml"), fixture("flow.yaml"));
    assert_eq!(fs::read_dir(&ro).unwrap().count(), 2);
}

/// The limit on the size of files stands for a full disk: the write fails half way. Without the signal ignored it is a kill.
#[test]
fn neither_a_full_disk_nor_a_kill_loses_a_file() {
    let text = format!("{}{}", fixture("two-spaces.yaml"), "# filler\n".repeat(1000));
    for (trap, code) in [("trap '' XFSZ; ", 2), ("", 153)] {
        let folder = Folder::with("web.yaml", &text);
        let script = format!("{trap}ulimit -f 8; \"$0\" fix web.yaml; exit $?");
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_no502")]).current_dir(folder.path());
        let outcome = run(&mut command, "");
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert_eq!(folder.text("web.yaml"), text);
        if code == 2 {
            assert!(outcome.err.contains("web.yaml: cannot write it: File too large"), "{outcome:?}");
            assert_eq!(folder.names(), BTreeSet::from(["web.yaml".to_owned()]), "nothing is left behind");
        } else {
            assert_eq!(folder.fix(&["."]).code, 0, "what is left behind is in nobody's way");
        }
    }
}

#[test]
fn what_cannot_be_edited_safely_is_left_with_a_reason() {
    let web = deployment("");
    let lifecycle = |text: &str| deployment(&format!("          lifecycle: {text}\n"));
    let cases = [
        (web.replace("name: web\nspec", "name: \"{{ .Release.Name }}\"\nspec"), "it is a template"),
        (web.replace("name: web\nspec", "name: ${APP}\nspec"), "looks like a placeholder"),
        (web.replace("app: web", "app: <app>"), "looks like a placeholder"),
        (web.replace("  selector:\n    matchLabels: { app: web }\n", ""), "has no spec.selector"),
        (web.replace("      labels:", "      labels: {}\n      labels:"), "the key `labels` is set twice in one map"),
        (lifecycle("null"), "`lifecycle` is there already, as null"),
        (lifecycle("null"), "remove the line, or give it a value"),
        (lifecycle("# why"), "the key has a comment and no value"),
        (deployment("      terminationGracePeriodSeconds: # why\n"), "the key has a comment and no value"),
        (deployment("      terminationGracePeriodSeconds: 0x14\n"), "as a value that is no plain number"),
        (deployment("      terminationGracePeriodSeconds: 024\n"), "as a value that is no plain number"),
        (web.replace("      labels:", "      annotations: {\n      }\n      labels:"), "over several lines"),
        (
            web.replace("        - name: web", "        - &web\n          name: web")
                + "      initContainers: [*web]\n",
            "the place is inside an anchor that an alias refers to",
        ),
        (
            format!("apiVersion: v1\nkind: List\nitems:\n- &web\n{}- *web\n", indented(&web, "  ")),
            "the place is inside an anchor that an alias refers to",
        ),
        (
            web.replace("    spec:\n", "    spec: &spec\n") + "x-copy:\n  <<: *spec\n",
            "the place is inside an anchor that an alias refers to",
        ),
        (
            format!(
                "x-spec: &spec\n{}{}",
                indented("containers: [{name: web, ports: [{containerPort: 80}]}]\n", "  "),
                {
                    let (head, _) = web.split_once("    spec:\n").unwrap();
                    format!("{head}    spec:\n      <<: *spec\n")
                }
            ),
            "`containers` comes with a merge key",
        ),
        (
            format!(
                "x-spec: &spec\n{}{}",
                indented("containers: [{name: web, ports: [{containerPort: 80}]}]\n", "  "),
                {
                    let (head, _) = web.split_once("    spec:\n").unwrap();
                    format!("{head}    spec: *spec\n")
                }
            ),
            "the place is written as an alias",
        ),
    ];
    for (text, reason) in cases {
        let folder = Folder::with("web.yaml", &text);
        let outcome = folder.fix(&["web.yaml"]);
        assert_eq!(outcome.code, 1, "{reason}: {outcome:?}\n{text}");
        assert!(outcome.err.starts_with("no502: web.yaml:"), "{outcome:?}");
        assert!(outcome.err.contains(reason) && outcome.err.contains("not edited: "), "{reason}: {outcome:?}");
        assert!(outcome.out.ends_with("nothing to fix, 1 not edited\n") || text.contains("List"), "{outcome:?}");
        assert_eq!(folder.text("web.yaml"), text, "{reason}");
    }
}

fn indented(text: &str, indent: &str) -> String {
    text.lines().flat_map(|line| [indent, line, "\n"]).collect()
}

#[test]
fn a_template_in_the_programs_own_words_is_none() {
    let folder = Folder::with("web.yaml", deployment("          args: [\"--format={{.Name}}\"]\n"));
    assert!(folder.fix(&["."]).out.ends_with("fixed 1 object in 1 file\n"));
}

#[test]
fn kustomize_material_is_edited_unless_it_is_patched() {
    let kustomization = "resources: [web.yaml]\nimages: [{name: web, newTag: v2}]\n";
    let folder = Folder::with("web.yaml", deployment("")).and("kustomization.yaml", kustomization);
    assert!(folder.fix(&["."]).out.ends_with("fixed 1 object in 1 file\n"));
    let part = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {terminationGracePeriodSeconds: 5}}}\n";
    let inline = format!("resources: [web.yaml]\npatches:\n- patch: |-\n{}", indented(part, "    "));
    let target = "resources: [web.yaml]\npatches:\n- target: {kind: Deployment}\n  patch: '[]'\n".to_owned();
    let file = "resources: [web.yaml]\npatches: [{path: grace.yaml}]\n".to_owned();
    for kustomization in [inline, target, file] {
        let folder = Folder::with("web.yaml", deployment("")).and("kustomization.yaml", kustomization);
        let folder = folder.and("grace.yaml", part);
        let outcome = folder.fix(&["web.yaml"]);
        assert!(outcome.err.contains("a kustomization patches it"), "{outcome:?}");
        assert_eq!((outcome.code, folder.text("web.yaml")), (1, deployment("")));
    }
    let other = "resources: [web.yaml]\npatches:\n- target: {kind: Deployment, name: api}\n  patch: '[]'\n";
    let folder = Folder::with("web.yaml", deployment("")).and("kustomization.yaml", other);
    assert_eq!(folder.fix(&["web.yaml"]).code, 0);
}

#[test]
fn one_refusal_does_not_stop_the_others_of_the_file() {
    let text = format!(
        "{}---\n{}",
        deployment("          lifecycle: ~\n"),
        deployment("").replace("name: web\nspec", "name: api\nspec")
    );
    let folder = Folder::with("web.yaml", &text);
    let outcome = folder.fix(&["."]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.out.contains("Deployment \"api\": added"), "{outcome:?}");
    assert!(folder.text("web.yaml").starts_with(&deployment("          lifecycle: ~\n")));
}

#[test]
fn a_comment_in_what_would_be_taken_out_is_not_lost() {
    let text = fixture("two-spaces.fixed.yaml").replace("sleep:\n", "sleep: # why\n");
    let folder = Folder::with("web.yaml", &text);
    let outcome = folder.fix(&["--undo", "."]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains("a comment stands in what would be taken out"), "{outcome:?}");
    assert_eq!(folder.text("web.yaml"), text);
}

#[test]
fn wrong_use_is_said() {
    let folder = Folder::new();
    for (arguments, error) in [
        (&[][..], "nothing to fix: name files or folders"),
        (&["nowhere.yaml"], "cannot read nowhere.yaml"),
        (&["."], "no Kubernetes objects"),
        (&["--live"], "--live is for --undo"),
        (&["--undo", "--yes"], "--live"),
        (&["--undo", "--live", "pod/web"], "name objects as KIND/NAME"),
        (&["--undo", "--live", "-A", "deploy/web"], "a name is of one namespace"),
        (&["--undo", "--live", "--kubeconfig", "nowhere"], "--kubeconfig nowhere"),
    ] {
        let outcome = folder.fix(arguments);
        assert_eq!(outcome.code, 2, "{arguments:?}: {outcome:?}");
        assert!(outcome.err.contains(error), "{arguments:?}: {outcome:?}");
    }
}

/// How often `check` finds something.
fn rules_found(folder: &Path, rule: &str) -> usize {
    let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
    let outcome = run(command.args(["check", "--format", "json", "--fail-on", "never"]).arg(folder), "");
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    report["findings"].as_array().unwrap().iter().filter(|it| it["rule"] == rule).count()
}

/// All files below a folder.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(&next).unwrap().map(|it| it.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// A copy whose manifests are changed in a way that no edit may care about.
fn copy(files: &BTreeMap<PathBuf, Vec<u8>>, variant: usize) -> Folder {
    let folder = Folder::new();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, changed(bytes, variant)).unwrap();
    }
    folder
}

fn changed(bytes: &[u8], variant: usize) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\r') => variants(text)[variant].clone().into_bytes(),
        _ => bytes.to_owned(),
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "counts that a person wants to see")]
fn real_manifests_only_gain_lines_and_get_their_text_back() {
    let Some(corpus) = corpus() else { return };
    let original = tree(&corpus);
    let folder = copy(&original, 0);
    let first = folder.fix(&["."]);
    assert_ne!(first.code, 2, "{first:?}");
    let fixed = tree(folder.path());
    assert_eq!(fixed.keys().collect::<Vec<_>>(), original.keys().collect::<Vec<_>>(), "no file comes or goes");
    let changed_files: Vec<&PathBuf> = original.keys().filter(|name| fixed[*name] != original[*name]).collect();
    for name in &changed_files {
        let (old, new) = (String::from_utf8_lossy(&original[*name]), String::from_utf8_lossy(&fixed[*name]));
        let lost = lost_lines(&old, &new);
        assert!(lost.is_empty(), "{}: {lost:?}", name.display());
    }
    assert!(changed_files.len() > 100, "{}", changed_files.len());
    let refused: Vec<&str> = first.err.lines().filter_map(|it| it.split_once("not edited: ")).map(|it| it.1).collect();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in &refused {
        *reasons.entry(reason).or_default() += 1;
    }
    assert!(!refused.iter().any(|it| it.contains("please report")), "{reasons:?}");
    eprintln!("{} files, {} changed: {}", original.len(), changed_files.len(), first.out.lines().last().unwrap());
    for (reason, count) in reasons {
        eprintln!("  {count} not edited: {reason}");
    }

    // Each object that no502 would still change is one that was refused.
    let left = rules_found(folder.path(), "prestop-missing");
    assert!(left <= refused.len(), "check still misses {left} hooks, and only {} objects were refused", refused.len());
    assert!(rules_found(&corpus, "prestop-missing") > 100 + left);

    let second = folder.fix(&["."]);
    assert!(second.out.lines().last().unwrap().starts_with("nothing to fix"), "{second:?}");
    assert_eq!((tree(folder.path()), second.err), (fixed.clone(), first.err), "a second run has nothing to do");
    let undone = folder.fix(&["--undo", "."]);
    assert_eq!((undone.code, undone.err.as_str()), (0, ""));
    let exceptions: Vec<PathBuf> = tree(folder.path())
        .into_iter()
        .filter(|(name, bytes)| *bytes != original[name])
        .map(|(name, _)| name)
        .collect();
    assert!(exceptions.is_empty(), "undo does not give these back: {exceptions:?}");

    for variant in 1..4 {
        let folder = copy(&original, variant);
        assert_ne!(folder.fix(&["."]).code, 2);
        let mut differing = Vec::new();
        for (name, bytes) in tree(folder.path()) {
            // A block scalar at the end of a file without a line break would gain one: such an object is left alone.
            let is_left = bytes == changed(&original[&name], variant);
            if bytes != changed(&fixed[&name], variant) && !(is_left && variant == 2) {
                differing.push(name);
            }
        }
        assert!(differing.is_empty(), "variant {variant}: {differing:?}");
        assert_eq!(folder.fix(&["--undo", "."]).code, 0);
        let lost: Vec<PathBuf> = tree(folder.path())
            .into_iter()
            .filter(|(name, bytes)| *bytes != changed(&original[name], variant))
            .map(|(name, _)| name)
            .collect();
        assert!(lost.is_empty(), "variant {variant}: undo does not give these back: {lost:?}");
    }
}
