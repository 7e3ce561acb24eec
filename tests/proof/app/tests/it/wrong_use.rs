//! What cannot be done is said in one line, with exit code 2.

use std::net::TcpListener;

use crate::rig::{shop, stderr_of};

#[track_caller]
fn refused(args: &[&str], says: &str) {
    let output = shop(args).output().expect("the program was built for this test");
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    assert!(stderr.contains(says), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}");
}

#[test]
fn flags() {
    refused(&[], "serve, load");
    refused(&["sell"], "sell");
    refused(&["serve", "--port", "1"], "--port");
    refused(&["serve", "--on-term", "wait"], "[possible values: exit, drain]");
    refused(&["serve", "--warm-after=-1"], "--warm-after");
    refused(&["serve", "--listen-after", "soon"], "not a number of seconds");
    refused(&["load"], "<URL>");
    refused(&["load", "http://127.0.0.1/", "--rate", "0"], "--rate");
    refused(&["load", "http://127.0.0.1/", "--seconds", "0"], "nothing is measured in no time");
    refused(&["load", "http://127.0.0.1/", "--seconds=-1"], "not a number of seconds");
    refused(&["load", "http://127.0.0.1/", "--timeout-ms", "0"], "--timeout-ms");
    refused(&["load", "http://127.0.0.1/", "--connections", "many"], "[possible values: keep, new]");
}

#[test]
fn urls() {
    refused(&["load", "shop.example.com"], "does not begin with http://");
    refused(&["load", "https://shop.example.com/"], "does not begin with http://");
    refused(&["load", "http:///path"], "is not a URL");
    refused(&["load", "http://me@127.0.0.1/"], "names a user");
    refused(&["load", "http://127.0.0.1:99999/"], "no usable port");
    refused(&["load", "http://127.0.0.1:/"], "no usable port");
    refused(&["load", "http://nobody.invalid/"], "\"nobody.invalid\" has no address");
    refused(&["load", "http://127.0.0.1/", "--host", "a\nb"], "--host");
}

#[test]
fn files_and_addresses() {
    refused(&["load", "http://127.0.0.1/", "--out", "/no/such/folder/out.csv"], "--out /no/such/folder/out.csv");
    let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
    let taken = listener.local_addr().expect("it is bound").to_string();
    refused(&["serve", "--listen", &taken], &format!("--listen {taken}"));
}
