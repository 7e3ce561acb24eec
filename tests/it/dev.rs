//! `no502 serve --dev`: what it prints works as printed, and the folder it serves may change.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::rig::{Client, PATIENCE, crypto_provider, handshake};

const POLL: Duration = Duration::from_millis(20);

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

/// A running `no502 serve --dev`, and the temporary folder that it writes into.
struct Dev {
    child: Child,
    stdout: Receiver<String>,
    temporary: TempDir,
}

impl Dev {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_no502"))
            .env_clear()
            .env("TMPDIR", temporary.path())
            .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, stdout) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, stdout, temporary }
    }

    fn next_line(&self) -> String {
        self.stdout.recv_timeout(PATIENCE).expect("a line on standard output")
    }

    /// The command that is printed for the user.
    fn printed_command(&self) -> String {
        assert_eq!(self.next_line(), "Try it:");
        self.next_line().trim().to_owned()
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > PATIENCE => panic!("it does not stop"),
                None => thread::sleep(POLL),
            }
        };
        assert!(status.success(), "{status}");
        let left: Vec<PathBuf> = fs::read_dir(self.temporary.path()).unwrap().map(|it| it.unwrap().path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does what the printed line says: by a shell, or, where there is no curl, by a client of our own that sends the same.
fn ask(command: &str) -> Value {
    let words: Vec<&str> = command.split(' ').collect();
    let ["curl", "--cacert", ca, "--data", data, url] = words.as_slice() else { panic!("another command: {command}") };
    let answer = match Command::new("sh").args(["-c", command]).stderr(Stdio::null()).output() {
        Ok(output) if output.status.code() != Some(127) => {
            assert!(output.status.success(), "{command}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        }
        // 127: the shell knows no such program.
        _ => send(ca, data.trim_start_matches('@'), url),
    };
    let review: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(review["kind"], "AdmissionReview");
    review["response"].clone()
}

fn send(ca: &str, data: &str, url: &str) -> String {
    crypto_provider();
    let (address, path) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let (ca, body) = (fs::read_to_string(ca).unwrap(), fs::read(data).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = handshake(address, &ca, &[b"http/1.1"]).await.unwrap();
        let answer = Client::over(stream).await.send(Method::POST, &format!("/{path}"), body.into()).await.unwrap();
        assert_eq!(answer.status, 200);
        answer.body
    })
}

#[track_caller]
fn denied(response: &Value) -> String {
    assert_eq!(response["allowed"], false, "{response}");
    response["status"]["message"].as_str().unwrap().to_owned()
}

/// Waits until an edit of the folder has changed the answer.
#[track_caller]
fn until(command: &str, is_as_wanted: impl Fn(&Value) -> bool) {
    let start = Instant::now();
    loop {
        let response = ask(command);
        if is_as_wanted(&response) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "the answer is still {response}");
        thread::sleep(POLL);
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[test]
fn the_printed_command_works_and_edits_are_picked_up() {
    let world = tempfile::tempdir().unwrap();
    write(world.path(), "web.yaml", WEB);
    let dev = Dev::start(&["--world", world.path().to_str().unwrap()]);
    let command = dev.printed_command();

    // The printed review asks for a typing mistake in the selector of the Service.
    let message = denied(&ask(&command));
    assert!(
        message.contains("Service \"web\" spec.selector: selector app=webx matches no pod or workload any more"),
        "{message}"
    );
    assert!(message.contains("did you mean \"app: web\" (Deployment \"web\")?"), "{message}");

    // Pods for it, in a new folder below.
    write(world.path(), "new/webx.yaml", &WEB.split("---").next().unwrap().replace(": web", ": webx"));
    until(&command, |response| response["allowed"] == true);
    // A file that cannot be read hides nothing.
    write(world.path(), "new/broken.yaml", "{{{{");
    write(world.path(), "new/webx.yaml", &WEB.split("---").next().unwrap().replace(": web", ": webby"));
    until(&command, |response| response["allowed"] == false);
    let message = denied(&ask(&command));
    assert!(message.contains("selector app=webx"), "{message}");
    // Gone files are gone objects: the Service selects nothing now as it did before.
    fs::remove_dir_all(world.path().join("new")).unwrap();
    fs::remove_file(world.path().join("web.yaml")).unwrap();
    until(&command, |response| response["allowed"] == true && response["warnings"].is_array());
    dev.stop();
}

/// What the printed review, which breaks the Service of the world, is told of it: nothing, a warning or a denial.
#[derive(Debug, PartialEq)]
enum Told {
    Denied,
    Warned,
    Nothing,
}

fn told(response: &Value) -> Told {
    let rule = "[service-selects-nothing]";
    let warns = response["warnings"].as_array().is_some_and(|it| it.iter().any(|it| it.to_string().contains(rule)));
    match (response["allowed"] == true, warns) {
        (false, _) => Told::Denied,
        (true, true) => Told::Warned,
        (true, false) => Told::Nothing,
    }
}

#[test]
fn policies_of_the_world_count_and_edits_are_picked_up() {
    let world = tempfile::tempdir().unwrap();
    write(world.path(), "web.yaml", WEB);
    let dev = Dev::start(&["--world", world.path().to_str().unwrap()]);
    let command = dev.printed_command();
    assert_eq!(told(&ask(&command)), Told::Denied);

    let policy = |kind: &str, rest: &str| format!("{{apiVersion: no502.dev/v1alpha1, kind: {kind}, {rest}}}\n");
    let ours =
        |spec: &str| policy("RolloutPolicy", &format!("metadata: {{name: ours, namespace: shop}}, spec: {spec}"));
    let is = |wanted: Told| until(&command, |response| told(response) == wanted);
    write(world.path(), "ours.yaml", &ours("{settings: {profile: advise}}"));
    is(Told::Warned);
    write(world.path(), "ours.yaml", &ours("{settings: {actions: {service-selects-nothing: \"off\"}}}"));
    is(Told::Nothing);
    // A typing mistake leaves the last good version in force, and is told with the write.
    write(world.path(), "ours.yaml", &ours("{settings: {actions: {service-selects-nothing: of}}}"));
    until(&command, |response| {
        response["warnings"]
            .to_string()
            .contains("RolloutPolicy \\\"ours\\\" spec.settings.actions.service-selects-nothing")
    });
    let response = ask(&command);
    assert!(response["warnings"].to_string().contains("its last good version is in force"), "{response}");
    assert_eq!(told(&response), Told::Nothing);
    // Nor does a file that is no YAML any more take anything away: neither its policy, nor one for which its Namespace matters. The
    // other file shows that it has been read.
    let switch = |is_on: bool| {
        let spec = format!("{{settings: {{enabled: {is_on}}}}}");
        policy("ClusterRolloutPolicy", &format!("metadata: {{name: switch}}, spec: {spec}"))
    };
    write(world.path(), "ours.yaml", &ours("{settings: {profile: advise}}"));
    is(Told::Warned);
    write(world.path(), "switch.yaml", &switch(false));
    is(Told::Nothing);
    write(world.path(), "ours.yaml", "kind: [RolloutPolicy\n");
    write(world.path(), "switch.yaml", &switch(true));
    until(&command, |response| told(response) != Told::Nothing);
    assert_eq!(told(&ask(&command)), Told::Warned, "the last good version stays");
    fs::remove_file(world.path().join("ours.yaml")).unwrap();
    is(Told::Denied);
    fs::remove_file(world.path().join("switch.yaml")).unwrap();

    // For the namespaces with a label, once the Namespace has it.
    let team =
        "metadata: {name: team}, spec: {namespaceSelector: {matchLabels: {team: a}}, settings: {profile: advise}}";
    write(world.path(), "team.yaml", &policy("ClusterRolloutPolicy", team));
    write(world.path(), "shop.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}\n");
    is(Told::Warned);
    write(world.path(), "shop.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: b}}}\n");
    is(Told::Denied);
    fs::remove_file(world.path().join("shop.yaml")).unwrap();
    write(
        world.path(),
        "team.yaml",
        &policy("ClusterRolloutPolicy", "metadata: {name: all}, spec: {settings: {profile: advise}}"),
    );
    is(Told::Warned);
    dev.stop();
}

#[test]
fn what_is_wrong_with_a_policy_is_said_on_the_terminal() {
    let world = tempfile::tempdir().unwrap();
    let policy = "apiVersion: no502.dev/v1alpha1\nkind: RolloutPolicy\nmetadata: {name: ours, namespace: shop}\n";
    write(world.path(), "ours.yaml", &format!("{policy}spec: {{settings: {{profil: strict}}}}\n"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_no502"))
        .env_clear()
        .env("TMPDIR", world.path())
        .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--world"])
        .arg(world.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let told = lines.take_while(|it| !it.contains("world read")).find(|it| it.contains("WARN"));
    let _ = child.kill();
    let _ = child.wait();
    let told = told.expect("a warning");
    let file = world.path().join("ours.yaml");
    let expected = format!("{}:1:1: RolloutPolicy \"ours\" spec.settings.profil means nothing", file.display());
    assert!(told.contains(&expected), "{told}");
}

#[test]
fn without_a_world_the_printed_command_shows_a_warning() {
    let dev = Dev::start(&[]);
    let response = ask(&dev.printed_command());
    assert_eq!(response["allowed"], true);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.contains("selector app=web matches no pod or workload in namespace \"default\""), "{warning}");
    dev.stop();
}
