//! Rules of the repository that neither the compiler nor clippy knows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SOURCE_LINES_MAX: usize = 800;

/// Modules of the pure core: `src/NAME.rs` and all below `src/NAME/`.
const CORE: [&str; 17] = [
    "crd", "facts", "fix", "inject", "link", "listing", "nearest", "patch", "policy", "preview", "review", "rule",
    "rules", "snapshot", "trial", "verdict", "warning",
];
/// Modules that may do I/O, or only hold others.
const EDGES: [&str; 15] = [
    "certs",
    "check",
    "cli",
    "deploy",
    "diagnose",
    "lib",
    "main",
    "manifest",
    "metrics",
    "policy_status",
    "recheck",
    "report",
    "server",
    "telemetry",
    "watch",
];
/// The first line of code in every core module; modules below inherit it.
const PURITY_LINTS: &str = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]";
/// What the lints of `.clippy.toml` do not see, and what they should never have to.
const IMPURE: [&str; 12] = [
    "async fn",
    "async move",
    "async {",
    ".await",
    "tokio::",
    "use tokio",
    "kube::",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env::",
];

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder but what a build put there; none if it does not exist.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap()
}

/// Files of the working tree that are in git or would be added to it.
fn repository_files() -> Vec<PathBuf> {
    let git = Command::new("git")
        .current_dir(ROOT)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output();
    let git = git.unwrap_or_else(|error| panic!("git, to list the repository's files: {error}"));
    assert!(git.status.success(), "git ls-files: {}", String::from_utf8_lossy(&git.stderr));
    let names = String::from_utf8(git.stdout).unwrap();
    names.split_terminator('\0').map(|name| Path::new(ROOT).join(name)).filter(|path| path.is_file()).collect()
}

#[test]
fn every_module_is_core_or_edge() {
    let known: BTreeSet<&str> = CORE.into_iter().chain(EDGES).collect();
    for file in fs::read_dir(Path::new(ROOT).join("src")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = stem(&file);
        assert!(known.contains(name), "src/{name}: add it to CORE or to EDGES in tests/it/tidy.rs");
    }
    assert_eq!(known.len(), CORE.len() + EDGES.len(), "a module is either core or edge");
}

#[test]
fn the_core_denies_io() {
    for name in CORE.into_iter().filter(|name| Path::new(ROOT).join(format!("src/{name}.rs")).exists()) {
        let text = read(format!("src/{name}.rs"));
        assert!(text.lines().any(|line| line == PURITY_LINTS), "src/{name}.rs: add {PURITY_LINTS}");
    }
    assert!(Path::new(ROOT).join("src/review.rs").exists(), "the core has moved: so must this list");
}

#[test]
fn the_core_is_pure() {
    for name in CORE {
        let file = Path::new(ROOT).join(format!("src/{name}.rs"));
        for file in rust_files(&format!("src/{name}")).into_iter().chain([file]).filter(|file| file.exists()) {
            let impure = impure_lines(&read(&file));
            assert!(impure.is_empty(), "{}: the core does no I/O:\n{}", file.display(), impure.join("\n"));
        }
    }
}

#[test]
fn impurity_is_recognised() {
    let text = "//! No tokio::spawn here.\nuse tokio;\n    /// std::fs is out.\nlet x = read().await; // waits\nlet kube = 1;\n";
    assert_eq!(impure_lines(text), ["2: use tokio;", "4: let x = read().await; // waits"]);
}

fn impure_lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).enumerate();
    let code = lines.filter(|(_, line)| !line.starts_with("//"));
    let impure = code.filter(|(_, line)| IMPURE.iter().any(|word| line.contains(word)));
    impure.map(|(index, line)| format!("{}: {line}", index + 1)).collect()
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
fn every_rule_is_listed_and_has_fixtures() {
    let rules = rust_files("src/rules");
    if !Path::new(ROOT).join("src/rules.rs").exists() {
        assert!(rules.is_empty(), "src/rules/ without src/rules.rs");
        eprintln!("nothing to check: there is no src/rules.rs yet");
        return;
    }
    assert!(!rules.is_empty(), "src/rules.rs without a rule in src/rules/");
    let list = read("src/rules.rs");
    for rule in &rules {
        let name = stem(rule);
        assert!(is_listed(name, &list), "src/rules/{name}.rs: add it to the list in src/rules.rs");
        let fixtures = format!("tests/fixtures/{}", name.replace('_', "-"));
        let cases = fs::read_dir(Path::new(ROOT).join(&fixtures)).map_or(0, Iterator::count);
        assert!(cases > 0, "src/rules/{name}.rs: it has no fixture in {fixtures}/");
    }
}

#[test]
fn a_rule_that_is_only_declared_is_not_listed() {
    assert!(is_listed("grace_too_short", "mod grace_too_short;\nconst ALL: [&Rule; 1] = [&grace_too_short::RULE];\n"));
    assert!(!is_listed("grace_too_short", "mod grace_too_short;\nconst ALL: [&Rule; 0] = [];\n"));
    assert!(!is_listed("grace", "mod grace_too_short;\nconst ALL: [&Rule; 1] = [&grace_too_short::RULE];\n"));
}

/// The name stands in the code of the list, apart from its `mod` line.
fn is_listed(name: &str, list: &str) -> bool {
    let code = list.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let mut uses = code.filter(|line| *line != format!("mod {name};") && *line != format!("pub mod {name};"));
    uses.any(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name))
}

#[test]
fn no_private_key_is_in_the_repository() {
    let files = repository_files();
    assert!(files.len() > 10, "the list of files is not believable: {files:?}");
    let keys: Vec<_> = files.iter().filter(|file| holds_private_key(&fs::read(file).unwrap())).collect();
    assert!(keys.is_empty(), "private keys: {keys:?}");
}

#[test]
fn private_keys_are_recognised() {
    for kind in ["", "RSA ", "EC ", "ENCRYPTED "] {
        assert!(holds_private_key(format!("x\n-----BEGIN {kind}PRIVATE KEY-----\nMIG\n").as_bytes()), "{kind}");
    }
    assert!(!holds_private_key(b"-----BEGIN CERTIFICATE-----\nMII\n"));
}

fn holds_private_key(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.lines().any(|line| line.trim().starts_with("-----BEGIN ") && line.contains("PRIVATE KEY-----"))
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    for file in rust_files("src").into_iter().chain(rust_files("tests")) {
        let text = read(&file);
        assert!(text.starts_with("//! "), "{}: open it with a //! comment that says what it is for", file.display());
        let lines = text.lines().count();
        let source = file.starts_with(Path::new(ROOT).join("src"));
        assert!(!source || lines <= SOURCE_LINES_MAX, "{}: {lines} lines, split it", file.display());
    }
}

#[test]
fn the_image_is_built_with_the_rust_of_the_package() {
    let package = read("Cargo.toml");
    let version = package.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"')).unwrap();
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains(&format!("FROM rust:{version}-")), "Dockerfile: Cargo.toml says Rust {version}");
}
