//! The load keeps its rate whatever the peer does, and calls every failure by its name.

use std::{
    io::Write as _,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::rig::{Loading, Started, closed_port, load, peer, read_request, until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
/// Ten requests in half a second.
const SHORT: [&str; 4] = ["--rate", "20", "--seconds", "0.5"];

/// Ten requests to a peer that says this to each and closes all end like that.
#[track_caller]
fn ends(says: &'static [u8], end: &str) {
    for connections in ["keep", "new"] {
        let url = peer(move |mut stream| {
            if read_request(&mut stream).is_some() {
                _ = stream.write_all(says);
            }
        });
        let loaded = load(&url, &[&SHORT[..], &["--connections", connections]].concat());
        assert_eq!((loaded.ends(), loaded.records.len()), (vec![end], 10), "{connections}: {}", loaded.stdout);
        assert_eq!(loaded.code, Some(i32::from(end != "ok")), "{connections}");
    }
}

#[test]
fn ok_needs_the_whole_answer() {
    ends(OK, "ok");
    ends(b"HTTP/1.1 204 No Content\r\n\r\n", "ok");
    ends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "ok");
    ends(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", "reset");
    ends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "reset");
    ends(b"HTTP/1.1 200 O", "reset");
}

#[test]
fn other_statuses() {
    ends(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "503");
    ends(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 100\r\n\r\ncut", "502");
    ends(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "302");
}

#[test]
fn what_is_no_http_is_explained() {
    let url = peer(|mut stream| _ = stream.write_all(b"220 mail.example.com ESMTP\r\n"));
    let loaded = load(&url, &SHORT);
    assert!(loaded.count("other") > 0, "{}", loaded.stdout);
    assert!(loaded.stdout.contains("\nfirst other: "), "{}", loaded.stdout);
}

#[test]
fn closed_after_the_request() {
    ends(b"", "reset");
}

#[test]
fn closed_without_reading() {
    // The unread request makes the system answer with a reset.
    for connections in ["keep", "new"] {
        let loaded = load(&peer(drop), &[&SHORT[..], &["--connections", connections]].concat());
        assert_eq!((loaded.ends(), loaded.records.len()), (vec!["reset"], 10), "{}", loaded.stdout);
    }
}

#[test]
fn refused() {
    let loaded = load(&format!("http://{}/", closed_port()), &SHORT);
    assert_eq!((loaded.ends(), loaded.records.len(), loaded.code), (vec!["refused"], 10, Some(1)));
    // In between stands how long it took.
    assert!(loaded.stdout.contains("10 requests in "), "{}", loaded.stdout);
    assert!(loaded.stdout.contains(" s, 10 failed\n  refused     10\n"), "{}", loaded.stdout);
    assert!(loaded.stdout.contains("first failure after 0.0 s, last after 0.5 s\n"), "{}", loaded.stdout);
}

#[test]
fn unreachable() {
    // No connection is possible to a broadcast address, and the loopback network has one everywhere.
    let loaded = load("http://127.255.255.255/", &SHORT);
    assert_eq!((loaded.ends(), loaded.records.len()), (vec!["unreachable"], 10), "{}", loaded.stdout);
}

#[test]
fn the_rate_does_not_wait_for_answers() {
    let (arrived, arrivals) = mpsc::channel();
    let url = peer(move |mut stream| {
        read_request(&mut stream);
        arrived.send(Instant::now()).expect("the test waits");
        // Holds the connection until the load gives up.
        read_request(&mut stream);
    });
    let loaded = load(&url, &["--rate", "50", "--seconds", "1", "--timeout-ms", "3000"]);
    assert_eq!((loaded.ends(), loaded.records.len(), loaded.code), (vec!["timeout"], 50, Some(1)));
    assert!(loaded.records.iter().all(|record| record.took_ms >= 3000), "{:?}", loaded.records);

    let arrivals: Vec<_> = arrivals.try_iter().collect();
    assert_eq!(arrivals.len(), 50);
    let between = arrivals.iter().max().expect("50").duration_since(*arrivals.iter().min().expect("50"));
    assert!(between < Duration::from_secs(3), "all were sent before the first one was given up: {between:?}");

    assert_eq!(loaded.gaps_other_than(20), [] as [u64; 0]);
}

#[test]
fn a_stopped_load_sends_what_it_owes() {
    let (_shop, address) = Started::serve(&[]);
    let loading = Loading::start(&format!("http://{address}/"), &["--rate", "100", "--seconds", "2"]);
    until(|| (loading.records().len() > 10).then_some(()));
    loading.program.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(500));
    loading.program.signal(Signal::CONT);
    let loaded = loading.finish();
    assert_eq!((loaded.ends(), loaded.records.len(), loaded.code), (vec!["ok"], 200, Some(0)));
    assert_eq!(loaded.gaps_other_than(10), [] as [u64; 0], "nothing is left out");
    assert!(
        loaded.records.iter().any(|record| record.took_ms >= 400),
        "late requests say how late: {:?}",
        loaded.records
    );
}

#[test]
fn too_many_at_a_time_are_not_sent() {
    // Nobody accepts: some connect, some do not, none is answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
    let url = format!("http://{}/", silent.local_addr().expect("it is bound"));
    let loaded = load(&url, &["--rate", "2000", "--seconds", "1", "--timeout-ms", "5000"]);
    assert_eq!((loaded.count("timeout"), loaded.count("other")), (1000, 1000), "{}", loaded.stdout);
    assert!(loaded.stdout.contains("first other: not sent: 1000 requests were under way\n"), "{}", loaded.stdout);
}

#[test]
fn one_connection_a_request() {
    let (seen, requests) = mpsc::channel();
    let url = peer(move |mut stream| {
        let mut on_this = 0;
        while let Some(head) = read_request(&mut stream) {
            on_this += 1;
            seen.send((on_this, head.to_lowercase())).expect("the test waits");
            stream.write_all(OK).expect("the load waits");
        }
    });
    let loaded =
        load(&format!("{url}a?b=c"), &[&SHORT[..], &["--connections", "new", "--host", "shop.example.com"]].concat());
    assert_eq!((loaded.ends(), loaded.code), (vec!["ok"], Some(0)));
    let requests: Vec<_> = requests.try_iter().collect();
    assert_eq!(requests.len(), 10);
    for (on_this, head) in requests {
        assert_eq!(on_this, 1);
        assert!(head.starts_with("get /a?b=c http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nhost: shop.example.com\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    }
}

#[test]
fn kept_connections_closed_while_idle_are_replaced() {
    /// More than the load opens before it uses one again.
    const CLOSE_ALL_AFTER: usize = 22;
    let (open, answered) = (Arc::new(Mutex::new(Vec::<TcpStream>::new())), Arc::new(AtomicUsize::new(0)));
    let opened = Arc::new(AtomicUsize::new(0));
    let url = peer({
        let opened = Arc::clone(&opened);
        move |mut stream| {
            opened.fetch_add(1, Ordering::SeqCst);
            open.lock().expect("no thread panics").push(stream.try_clone().expect("files are free"));
            while read_request(&mut stream).is_some() {
                stream.write_all(OK).expect("the load waits");
                if answered.fetch_add(1, Ordering::SeqCst) + 1 == CLOSE_ALL_AFTER {
                    for stream in open.lock().expect("no thread panics").drain(..) {
                        _ = stream.shutdown(Shutdown::Both);
                    }
                }
            }
        }
    });
    // The next request is due 500 ms after everything was closed.
    let loaded = load(&url, &["--rate", "2", "--seconds", "12.5"]);
    assert_eq!((loaded.ends(), loaded.records.len(), loaded.code), (vec!["ok"], 25, Some(0)), "{}", loaded.stdout);
    let opened = opened.load(Ordering::SeqCst);
    assert!((21..25).contains(&opened), "some were used twice, and all were replaced: {opened}");
}

#[test]
fn a_kept_connection_closed_after_the_request_is_a_failure() {
    /// Requests that a connection answers; it reads one more and closes.
    const ANSWERS: usize = 1;
    let url = peer(|mut stream| {
        for _ in 0..ANSWERS {
            if read_request(&mut stream).is_some() {
                stream.write_all(OK).expect("the load waits");
            }
        }
        read_request(&mut stream);
    });
    let loaded = load(&url, &["--rate", "40", "--seconds", "1"]);
    assert_eq!(loaded.ends(), ["ok", "reset"], "{}", loaded.stdout);
}

#[test]
fn sigterm_writes_everything() {
    for signal in [Signal::TERM, Signal::INT] {
        let asked = Arc::new(AtomicUsize::new(0));
        let url = peer({
            let asked = Arc::clone(&asked);
            move |mut stream| {
                while read_request(&mut stream).is_some() {
                    asked.fetch_add(1, Ordering::SeqCst);
                    // Long enough that several are under way when the signal comes.
                    thread::sleep(Duration::from_millis(500));
                    stream.write_all(OK).expect("the load waits");
                }
            }
        });
        let loading = Loading::start(&url, &["--rate", "50"]);
        // Read while the load runs: the file is flushed as it goes.
        until(|| (loading.records().len() > 5).then_some(()));
        loading.program.signal(signal);
        if signal == Signal::TERM {
            // Those who ask to end may do so twice, and still get it all.
            loading.program.signal(signal);
        }
        let loaded = loading.finish();
        let asked = asked.load(Ordering::SeqCst);
        assert_eq!((loaded.ends(), loaded.records.len(), loaded.code), (vec!["ok"], asked, Some(0)));
        assert!(loaded.stdout.contains(&format!("\n{asked} requests in ")), "{}", loaded.stdout);
        assert!(loaded.stdout.contains(" 0 failed\nlongest answer "), "{}", loaded.stdout);
    }
}

#[test]
fn a_second_interrupt_gives_up_what_is_under_way() {
    for first in [Signal::INT, Signal::TERM] {
        let (arrived, arrivals) = mpsc::channel();
        let url = peer(move |mut stream| {
            read_request(&mut stream);
            _ = arrived.send(());
            // Holds the connection until the load gives up.
            read_request(&mut stream);
        });
        let mut loading = Loading::start(&url, &["--rate", "20", "--timeout-ms", "600000"]);
        arrivals.recv().expect("the load sends");
        loading.program.signal(first);
        // Two that come at once are one.
        until(|| {
            let has_ended = loading.program.0.try_wait().expect("it is a child").is_some();
            (!has_ended).then(|| loading.program.signal(Signal::INT));
            has_ended.then_some(())
        });
        let loaded = loading.finish();
        assert_eq!((loaded.records.len(), loaded.code), (0, Some(1)), "{}", loaded.stdout);
        assert!(loaded.stdout.contains(" more were under way and given up\n"), "{}", loaded.stdout);
    }
}

#[test]
fn a_rollout_without_care_is_seen() {
    let (mut shop, address) = Started::serve(&[]);
    let loading = Loading::start(&format!("http://{address}/"), &["--rate", "100"]);
    until(|| (loading.records().len() > 50).then_some(()));
    shop.signal(Signal::TERM);
    assert!(shop.ended_within(Duration::from_secs(10)).success());
    until(|| loading.records().iter().any(|record| record.end == "refused").then_some(()));
    let again = Started::new(&["serve", "--listen", &address.to_string()]);
    until(|| loading.records().last().is_some_and(|record| record.end == "ok").then_some(()));
    loading.program.signal(Signal::TERM);
    let loaded = loading.finish();
    drop(again);
    assert_eq!(loaded.code, Some(1));
    // A request that ran when the application ended was reset; all others were answered or refused.
    assert_eq!(
        loaded.count("ok") + loaded.count("refused") + loaded.count("reset"),
        loaded.records.len(),
        "{}",
        loaded.stdout
    );
}
