//! `no502 serve` with an account that may do nothing: what it says about that is said once.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use serde_json::json;

use crate::rig::PATIENCE;

const KINDS: [&str; 2] = ["clusterrolloutpolicies", "rolloutpolicies"];

/// Answers one request after the other with 403, and tells the path of each.
fn forbid(stream: TcpStream, paths: &Sender<String>) {
    let Ok(mut answers) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(first) = lines.next() {
        if lines.by_ref().all(|it| !it.is_empty()) {
            return;
        }
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": "it is forbidden",
        })
        .to_string();
        let head =
            format!("HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
        let is_sent = write!(answers, "{head}\r\n\r\n{body}").is_ok();
        let path = first.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
        if !is_sent || paths.send(path).is_err() {
            return;
        }
    }
}

struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(kubeconfig: &std::path::Path) -> Server {
    let mut child = Command::new(env!("CARGO_BIN_EXE_no502"))
        .env_clear()
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--kubeconfig"])
        .arg(kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || stderr.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    Server { child, lines }
}

#[test]
fn policies_that_may_not_be_read_are_said_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, paths) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            thread::spawn(move || forbid(stream, &sender));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "test", "user": {} }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let server = serve(&kubeconfig);

    // Both kinds are asked for three times; what the second time said has been logged then.
    let mut asked = [0; 2];
    while asked.iter().any(|it| *it < 3) {
        let path = paths.recv_timeout(PATIENCE).expect("another request");
        for (kind, count) in KINDS.iter().zip(&mut asked) {
            *count += usize::from(path.ends_with(&format!("/{kind}")));
        }
    }
    let lines: Vec<String> = server.lines.try_iter().collect();
    let said = |what: &str| lines.iter().filter(|it| it.contains(what)).count();
    assert_eq!(said("may not read policies: what is built in is in force"), 2, "{lines:#?}");
    assert_eq!(KINDS.map(|it| said(&format!("={it}")) + said(&format!("=\"{it}\""))), [1, 1], "{lines:#?}");
    assert_eq!(said("kube_runtime"), 0, "{lines:#?}");
    assert!(said("resource=\"pods\"") > 0, "what else cannot be watched is said: {lines:#?}");
}
