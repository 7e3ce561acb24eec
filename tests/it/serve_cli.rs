//! How `no502 serve` says that it cannot: exit code 2, nothing on standard output, and one clear line.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::rig::PATIENCE;

const POLL: Duration = Duration::from_millis(10);
const FREE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// A kubeconfig that is complete and leads nowhere.
const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: nowhere, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: nobody, user: {}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
current-context: nowhere
";

/// Runs it to its end, which must come by itself; gives what it wrote to standard error.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_no502"))
        .env_clear()
        .current_dir(folder)
        .arg("serve")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let code = ended(&mut child);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?} says {stderr}");
    stderr
}

fn ended(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        thread::sleep(POLL);
    }
}

/// What no502 itself refuses: `no502: MESSAGE` and nothing else.
#[track_caller]
fn one_line(folder: &Path, arguments: &[&str], message: &str) {
    let stderr = refused(folder, arguments);
    assert_eq!(stderr, format!("no502: {message}\n"), "{arguments:?}");
}

/// What the parser of the command line refuses: the first line says it, then comes how to use it.
#[track_caller]
fn usage(arguments: &[&str], message: &str) {
    let stderr = refused(Path::new("/"), arguments);
    assert_eq!(stderr.lines().next(), Some(format!("error: {message}").as_str()), "{arguments:?} says {stderr}");
    assert!(stderr.ends_with("For more information, try '--help'.\n"), "{stderr}");
}

fn with_free_ports<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    FREE.iter().chain(arguments).copied().collect()
}

#[test]
fn a_cluster_that_cannot_be_found_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("good"), KUBECONFIG).unwrap();
    fs::write(folder.join("garbage"), "{{{{\n").unwrap();
    fs::write(folder.join("empty"), "{}\n").unwrap();
    fs::write(folder.join("binary"), [0, 255, 254]).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    for (arguments, message) in [
        (&[][..], "this is not a pod of a cluster; give --kubeconfig FILE, or --dev to serve without a cluster"),
        (&["--kubeconfig", "missing"], "--kubeconfig missing: No such file or directory (os error 2)"),
        (&["--kubeconfig", "folder"], "--kubeconfig folder: Is a directory (os error 21)"),
        (&["--kubeconfig", "binary"], "--kubeconfig binary: Invalid UTF-8"),
        (&["--kubeconfig", "empty"], "--kubeconfig empty: it has no current context; give --context NAME"),
        (&["--kubeconfig", "good", "--context", "typo"], "--kubeconfig good: it has no context \"typo\""),
        (
            &["--kubeconfig", "garbage"],
            "--kubeconfig garbage: failed to parse kubeconfig YAML: error: line 1 column 4: unclosed bracket '{'",
        ),
    ] {
        one_line(folder, &with_free_ports(arguments), message);
    }
}

#[test]
fn a_world_that_is_no_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file.yaml"), "").unwrap();
    for world in ["file.yaml", "missing"] {
        let message = format!("--world {world}: not a folder");
        one_line(folder.path(), &with_free_ports(&["--dev", "--world", world]), &message);
    }
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let problem = TcpListener::bind(&taken).unwrap_err();
    for (flag, other) in [("--listen", "--admin"), ("--admin", "--listen")] {
        let message = format!("{flag} {taken}: cannot listen there: {problem}");
        one_line(Path::new("/"), &["--dev", flag, &taken, other, "127.0.0.1:0"], &message);
    }
}

#[test]
fn a_bad_log_filter_is_named() {
    let stderr = refused(Path::new("/"), &with_free_ports(&["--dev", "--log", "no502=loud"]));
    assert!(stderr.starts_with("no502: --log: log filter \"no502=loud\": "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(stderr.matches("error parsing level filter").count(), 1, "said once: {stderr}");
}

#[test]
fn a_typing_mistake_is_shown() {
    let rules: Vec<&str> = no502::rules::ALL.iter().map(|it| it.id).collect();
    usage(&["--kubeconfg", "x"], "unexpected argument '--kubeconfg' found");
    usage(&["--listen", "10250"], "invalid value '10250' for '--listen <ADDR:PORT>': invalid socket address syntax");
    usage(
        &["--profile", "strct"],
        "invalid value 'strct' for '--profile <PROFILE>': \"strct\" is no profile; use advise, standard or strict",
    );
    usage(
        &["--action", "service-selects-nothing"],
        "invalid value 'service-selects-nothing' for '--action <RULE=ACTION>': write RULE=ACTION, such as \
         service-selects-nothing=warn",
    );
    usage(
        &["--action", "service-selects-nothing=no"],
        "invalid value 'service-selects-nothing=no' for '--action <RULE=ACTION>': \"no\" is no action; use deny, warn, \
         info or off",
    );
    usage(
        &["--action", "selects-nothing=warn"],
        &format!(
            "invalid value 'selects-nothing=warn' for '--action <RULE=ACTION>': there is no rule \"selects-nothing\"; the \
             rules are {}",
            rules.join(", ")
        ),
    );
    usage(
        &["--namespace", "No502"],
        "invalid value 'No502' for '--namespace <NS>': --namespace: \"No502\" is not the name of a namespace: use at most \
         63 of a-z, 0-9 and -, no - at either end",
    );
    usage(&["--drain-seconds", "70000"], "invalid value '70000' for '--drain-seconds <S>': 70000 is not in 0..=65535");
}

#[test]
fn flags_that_do_not_go_together_are_named() {
    usage(&["--dev", "--kubeconfig", "x"], "the argument '--dev' cannot be used with '--kubeconfig <FILE>'");
    for (arguments, needed) in [
        (&["--world", "x"][..], "--dev"),
        (&["--tls-cert-file", "x"], "--tls-key-file <FILE>"),
        (&["--tls-key-file", "x"], "--tls-cert-file <FILE>"),
        (&["--context", "x"], "--kubeconfig <FILE>"),
    ] {
        let stderr = refused(Path::new("/"), arguments);
        let expected = format!("error: the following required arguments were not provided:\n  {needed}\n");
        assert!(stderr.starts_with(&expected), "{arguments:?} says {stderr}");
    }
}
