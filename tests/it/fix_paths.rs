//! What `no502 fix` does with paths, broken files and diffs.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use crate::{
    fix::{Folder, deployment, fixture, fixtures, variants},
    program::{Outcome, run},
};

/// The largest text that is read, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// So many that their square takes minutes.
const MANY_OBJECTS: usize = 12_000;
/// Processor time for them; a debug build takes 5 s.
const PROCESSOR_SECONDS_MAX: u32 = 60;

#[test]
fn a_diff_can_be_applied_by_patch_and_by_git() {
    for (name, expected) in fixtures() {
        for (text, expected) in variants(&fixture(&name)).into_iter().zip(variants(&fixture(&expected))) {
            for (program, arguments) in
                [("git", &["apply", "-"][..]), ("patch", &["-p1", "--binary", "-s", "--no-backup"])]
            {
                let file = format!("my shop/{name}");
                let folder = Folder::with(&file, &text);
                let diff = folder.fix(&["--diff", "."]).out;
                let outcome = run(Command::new(program).args(arguments).current_dir(folder.path()), &diff);
                assert_eq!(outcome.code, 0, "{program} {name}: {outcome:?}\n{diff}");
                assert_eq!(folder.text(&file), expected, "{program} {name}");
            }
        }
    }
}

#[test]
fn a_diff_names_files_from_where_it_can_be_applied() {
    let folder = Folder::with("deploy/web.yaml", fixture("flow.yaml")).and("scripts/x", "");
    let here = |below: &str, path: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
        run(command.args(["fix", "--diff", path]).current_dir(folder.path().join(below)), "")
    };
    let absolute = folder.path().join("deploy/web.yaml");
    for (below, path, name) in [
        ("", "deploy/../deploy", "a/deploy/web.yaml"),
        ("deploy", "./web.yaml", "a/web.yaml"),
        ("", absolute.to_str().unwrap(), "a/deploy/web.yaml"),
        ("scripts", "../deploy", "a/deploy/web.yaml"),
    ] {
        let outcome = here(below, path);
        assert!(outcome.out.starts_with(&format!("--- {name}\n")), "{outcome:?}");
        let elsewhere = format!("no502: apply the diff in {} ", fs::canonicalize(folder.path()).unwrap().display());
        assert_eq!(outcome.err.contains(&elsewhere), below == "scripts", "{outcome:?}");
    }
}

#[test]
fn a_carriage_return_ends_no_line_of_a_diff() {
    let folder = Folder::with("web.yaml", deployment("").replace("    spec:\n", "    # a\r    # b\n    spec:\n"));
    let diff = folder.fix(&["--diff", "."]).out;
    assert!(diff.contains("# a\r    # b\n"), "{diff}");
    let outcome = run(Command::new("git").args(["apply", "-"]).current_dir(folder.path()), &diff);
    assert_eq!(outcome.code, 0, "{outcome:?}\n{diff}");
}

#[test]
fn nothing_is_written_while_one_file_is_broken() {
    for (name, text, error) in
        [("tabs.yaml", &b"a:\n\tb: 1\n"[..], "tabs.yaml:2:2: error: "), ("latin.yaml", b"a: \xe9\n", "not UTF-8")]
    {
        let folder = Folder::with("web.yaml", deployment("")).and(name, text);
        for arguments in [&["."][..], &["--check", "."], &["--diff", "."], &["--undo", "."]] {
            let outcome = folder.fix(arguments);
            assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{outcome:?}");
            assert!(outcome.err.contains(error), "{outcome:?}");
            assert!(outcome.err.ends_with("no502: nothing is changed: repair it, or leave it out\n"), "{outcome:?}");
        }
        assert_eq!(folder.text("web.yaml"), deployment(""));
        assert_eq!(folder.fix(&["web.yaml"]).code, 0);
    }
    let folder = Folder::with("web.yaml", deployment(""));
    let outcome = folder.fix(&["web.yaml", "nowhere.yaml"]);
    assert_eq!((outcome.code, folder.text("web.yaml")), (2, deployment("")), "{outcome:?}");
}

#[test]
fn a_chart_below_is_left_alone_and_no_obstacle() {
    let chart = "apiVersion: v1\nkind: Service\n{{- if .Values.on }}\nmetadata:\n";
    let folder = Folder::with("web.yaml", deployment("")).and("chart/templates/web.yaml", chart);
    let outcome = folder.fix(&["."]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains("chart/templates/web.yaml:"), "{outcome:?}");
    assert!(outcome.err.contains("not edited: ") && outcome.err.contains("| no502 fix -"), "{outcome:?}");
    assert!(outcome.out.ends_with("fixed 1 object in 1 file, 1 not edited\n"), "{outcome:?}");
    assert_eq!(folder.text("chart/templates/web.yaml"), chart);
}

#[test]
fn a_key_that_is_set_twice_is_said_at_its_line() {
    let text = deployment("").replace("      labels:", "      labels: {}\n      labels:");
    let folder = Folder::with("web.yaml", format!("---\n{text}"));
    let outcome = folder.fix(&["."]);
    assert!(outcome.err.contains("web.yaml:12: Deployment \"web\": not edited: the key `labels`"), "{outcome:?}");
}

#[test]
fn a_path_that_is_named_twice_is_read_once() {
    let text = deployment("").replace("      labels:", "      labels: {}\n      labels:");
    let folder = Folder::with("web.yaml", text);
    for arguments in [&["web.yaml", "./web.yaml"], &["web.yaml", "."], &[".", "."], &[".", "web.yaml"]] {
        let outcome = folder.fix(arguments);
        assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
    }
}

#[test]
fn the_mode_warn_says_who_holds_it_back() {
    let text = deployment("").replacen("  name: web\n", "  name: web\n  annotations: { no502.dev/inject: warn }\n", 1);
    let folder = Folder::with("web.yaml", text);
    let outcome = folder.fix(&["."]);
    let held_back = "would add preStop sleep 10s to container web, grace 30s -> 40s; the annotation no502.dev/inject: warn holds it back";
    assert!(outcome.out.contains(held_back), "{outcome:?}");
}

#[test]
fn the_namespace_of_objects_that_name_none_can_be_set() {
    let disabled =
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations: {no502.dev/inject: disabled}\n";
    let folder = Folder::with("web.yaml", deployment("")).and("shop.yaml", disabled);
    assert_eq!(folder.fix(&["--check", "."]).code, 1);
    assert_eq!(folder.fix(&["--check", "-n", "shop", "."]).code, 0, "its namespace says no");
    let elsewhere = deployment("").replacen("  name: web\n", "  name: web\n  namespace: other\n", 1);
    let folder = Folder::with("web.yaml", elsewhere).and("shop.yaml", disabled);
    assert_eq!(folder.fix(&["--check", "-n", "shop", "."]).code, 1, "a name in the file wins");
}

#[test]
fn the_help_opens_with_all_that_is_added() {
    let outcome = Folder::new().fix(&["--help"]);
    let first = outcome.out.lines().next().unwrap();
    assert!(["preStop", "grace periods", "readiness probes"].iter().all(|it| first.contains(it)), "{first}");
    assert!(outcome.out.contains("-n, --namespace <NS>"), "{}", outcome.out);
}

#[test]
fn what_is_no_file_costs_one_line() {
    let folder = Folder::new();
    let made = run(Command::new("mkfifo").arg("pipe.yaml").current_dir(folder.path()), "");
    assert_eq!(made.code, 0, "{made:?}");
    for path in ["pipe.yaml", "/dev/zero"] {
        let outcome = folder.fix(&[path]);
        let error = format!("no502: {path}: neither a file nor a folder; use - for standard input\n");
        assert_eq!((outcome.code, outcome.err), (2, error));
    }
}

#[test]
fn files_that_ask_to_be_left_alone_are() {
    let folder = Folder::with("web.yaml", fixture("flow.yaml"));
    let path = folder.path().join("web.yaml");
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    let outcome = folder.fix(&["."]);
    assert!(outcome.err.contains("web.yaml: it is read-only; make it writable"), "{outcome:?}");
    assert_eq!((outcome.code, folder.text("web.yaml")), (2, fixture("flow.yaml")));
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    fs::hard_link(&path, folder.path().join("copy")).unwrap();
    let outcome = folder.fix(&["."]);
    assert!(outcome.err.contains("web.yaml: it has another name (a hard link)"), "{outcome:?}");
    assert_eq!((outcome.code, folder.text("web.yaml")), (2, fixture("flow.yaml")));
}

/// Feeds more than a pipe holds.
fn feed(folder: &Folder, bytes: usize) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
    command.args(["fix", "-"]).current_dir(folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let text = deployment("") + "# ";
        let _ = stdin.write_all(text.as_bytes());
        let _ = stdin.write_all(&vec![b'x'; bytes - text.len()]);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.into()
}

#[test]
fn standard_input_is_never_cut() {
    let folder = Folder::new();
    let outcome = feed(&folder, MOST_BYTES + 1000);
    assert_eq!((outcome.code, outcome.out.len()), (2, 0), "{}", outcome.err);
    assert!(outcome.err.contains("standard input is larger than 64 MiB"), "{}", outcome.err);
}

/// Many objects that cannot be edited, in one file: the time is bounded by the text and not by its square.
#[test]
fn many_refusals_take_no_time() {
    let good = deployment("").replace("name: web\nspec", "name: good\nspec");
    let doubtful = deployment("").replace("      labels:", "      labels: {}\n      labels:");
    let text = format!("---\n{doubtful}").repeat(MANY_OBJECTS) + "---\n" + &good;
    let folder = Folder::with("web.yaml", text);
    // The time of its own work, whatever else the machine does: above it the kernel ends it.
    let script = format!("ulimit -t {PROCESSOR_SECONDS_MAX} && exec \"$0\" fix .");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_no502")]).current_dir(folder.path());
    let outcome = run(&mut command, "");
    assert!(
        outcome.out.ends_with(&format!("fixed 1 object in 1 file, {MANY_OBJECTS} not edited\n")),
        "code {}: {}",
        outcome.code,
        outcome.out
    );
}

/// A run over many files is interrupted once it has begun to write: no file is lost, and nothing is left beside them.
#[test]
fn an_interrupted_run_leaves_whole_files() {
    /// A run that is done before the interrupt comes says nothing; one that never hears it is done every time.
    const ATTEMPTS: usize = 5;
    assert!((0..ATTEMPTS).any(|_| is_interrupted()), "{ATTEMPTS} runs were done in spite of an interrupt");
}

/// False if the run was done before it could be interrupted.
fn is_interrupted() -> bool {
    const FILES: usize = 2000;
    let text = deployment("");
    let folder = (0..FILES).fold(Folder::new(), |folder, index| folder.and(&format!("{index:04}.yaml"), &text));
    let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
    command.args(["fix", "."]).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut has_ended = false;
    while folder.text("0000.yaml") == text && !has_ended {
        has_ended = child.try_wait().unwrap().is_some();
        std::thread::yield_now();
    }
    if !has_ended {
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let fixed = folder.text("0000.yaml");
    assert_ne!(fixed, text, "it ended before it wrote anything: {error}");
    let mut counts = [0, 0];
    for entry in fs::read_dir(folder.path()).unwrap() {
        let found = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(found == text || found == fixed, "{found}");
        counts[usize::from(found == fixed)] += 1;
    }
    assert_eq!(counts[0] + counts[1], FILES);
    if output.status.code() == Some(0) && counts[0] == 0 {
        return false;
    }
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("interrupted with ") && error.contains("the other files are as they were"), "{error}");
    assert!(counts[0] > 0, "it did not stop");
    true
}
