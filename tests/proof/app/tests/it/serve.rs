//! The application starts, answers and ends as it is told to.

use std::{
    io::ErrorKind,
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::rig::{PATIENCE, Started, closed_port, get, read_answer, until, write_request};

/// Far above `PATIENCE`: who waits for it, fails.
const WORK_FOR_EVER: [&str; 2] = ["--work-ms", "600000"];

#[test]
fn answers_with_version_and_pod() {
    let (_shop, address) = Started::serve(&["--version", "2"]);
    let mut stream = TcpStream::connect(address).expect("it listens");
    for path in ["/", "/healthz", "/any/path?at=all"] {
        write_request(&mut stream, path);
        assert_eq!(read_answer(&mut stream), Some((200, "shop 2 pod-1\n".to_owned())), "{path}");
    }
}

#[test]
fn exit_cuts_what_runs() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut shop, address) = Started::serve(&WORK_FOR_EVER);
        let mut stream = TcpStream::connect(address).expect("it listens");
        write_request(&mut stream, "/");
        // Answered later than the request above was read.
        assert_eq!(get(address, "/healthz").expect("it answers").0, 200);

        shop.signal(signal);
        assert_eq!(read_answer(&mut stream), None);
        assert!(shop.ended_within(PATIENCE).success());
    }
}

#[test]
fn drain_finishes_what_runs_and_takes_nothing_new() {
    let (mut shop, address) = Started::serve(&["--on-term", "drain", "--work-ms", "5000"]);
    let mut idle = TcpStream::connect(address).expect("it listens");
    write_request(&mut idle, "/healthz");
    assert!(read_answer(&mut idle).is_some());
    let mut running = TcpStream::connect(address).expect("it listens");
    write_request(&mut running, "/");
    assert_eq!(get(address, "/healthz").expect("it answers").0, 200);

    shop.signal(Signal::TERM);
    until(|| {
        TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
    shop.signal(Signal::TERM);
    assert_eq!(shop.0.try_wait().expect("it is a child"), None, "it drains until the last answer");
    assert_eq!(read_answer(&mut idle), None, "idle connections are closed");
    assert_eq!(read_answer(&mut running), Some((200, "shop 1 pod-1\n".to_owned())));
    assert!(shop.ended_within(PATIENCE).success());
}

#[test]
fn an_interrupt_ends_the_draining() {
    let (mut shop, address) = Started::serve(&[&["--on-term", "drain"], &WORK_FOR_EVER[..]].concat());
    let mut running = TcpStream::connect(address).expect("it listens");
    write_request(&mut running, "/");
    assert_eq!(get(address, "/healthz").expect("it answers").0, 200);
    shop.signal(Signal::TERM);
    until(|| TcpStream::connect(address).is_err().then_some(()));
    shop.signal(Signal::INT);
    assert!(shop.ended_within(PATIENCE).success());
    assert_eq!(read_answer(&mut running), None);
}

#[test]
fn listens_late() {
    let address = closed_port();
    let start = Instant::now();
    let _shop = Started::new(&["serve", "--listen", &address.to_string(), "--listen-after", "5"]);
    let early = TcpStream::connect(address).expect_err("it does not listen yet");
    assert_eq!(early.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(until(|| get(address, "/")).0, 200);
    assert!(start.elapsed() >= Duration::from_secs(5), "listened after {:?}", start.elapsed());
}

#[test]
fn ends_before_it_listens() {
    let mut shop = Started::new(&["serve", "--listen-after", "3600"]);
    // Handlers are in place when the process has opened its signal pipe; asking again is the only way to know.
    until(|| {
        std::fs::read_to_string(format!("/proc/{}/status", shop.0.id())).ok().filter(|status| handles_term(status))
    });
    shop.signal(Signal::TERM);
    assert!(shop.ended_within(PATIENCE).success());
}

/// Whether a process catches SIGTERM: bit 14 of the mask `SigCgt`.
fn handles_term(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("every process has the mask");
    u64::from_str_radix(mask.trim(), 16).expect("it is hexadecimal") & (1 << 14) != 0
}

#[test]
fn warms_up() {
    let start = Instant::now();
    let (_shop, address) = Started::serve(&["--warm-after", "5"]);
    for path in ["/", "/healthz"] {
        assert_eq!(get(address, path).expect("it answers").0, 503, "{path}");
    }
    until(|| get(address, "/healthz").filter(|(status, _)| *status == 200));
    assert!(start.elapsed() >= Duration::from_secs(5), "warm after {:?}", start.elapsed());
    assert_eq!(get(address, "/").expect("it answers").0, 200);
}

#[test]
fn works_on_requests_but_not_on_health() {
    let (_shop, address) = Started::serve(&["--work-ms", "5000"]);
    let start = Instant::now();
    let mut working = TcpStream::connect(address).expect("it listens");
    write_request(&mut working, "/");
    assert_eq!(get(address, "/healthz").expect("it answers").0, 200);
    assert!(start.elapsed() < Duration::from_secs(5), "health took {:?}", start.elapsed());
    assert_eq!(read_answer(&mut working).expect("it answers").0, 200);
    assert!(start.elapsed() >= Duration::from_secs(5), "work took {:?}", start.elapsed());
}
