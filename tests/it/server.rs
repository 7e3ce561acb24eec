//! The webhook port over real TLS: what it answers, what it refuses, how it stops.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::{
    Method, Request,
    body::{Bytes, Frame},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use no502::{
    review::{Half, Reply, ReviewError},
    server::{Limits, limits::BODY_BYTES_MAX},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
    time::{self, Instant},
};

use crate::rig::{
    Answer, Client, PATIENCE, Running, allow, eventually, fresh_certificate, handshake, start, start_with,
};

/// A time that passes in a test, and in which nothing else has to happen.
const SHORT: Duration = Duration::from_millis(300);

/// One in which something has to happen, on a machine that may stand still for a while.
const LONG: Duration = Duration::from_secs(3);

/// Reads to the end of a connection; an error is an end too.
async fn rest<S: AsyncReadExt + Unpin>(stream: &mut S) -> String {
    let mut bytes = Vec::new();
    let _ = time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn both_halves_answer_and_the_rest_is_refused_with_a_line() {
    let server = start(Limits::default()).await;
    let mut client = server.connect().await;
    for (method, path, status, body) in [
        (Method::POST, "/validate", 200, "Validate 2"),
        (Method::POST, "/mutate?timeout=3s", 200, "Mutate 2"),
        (Method::GET, "/validate", 405, "wrong method: POST an AdmissionReview\n"),
        (Method::POST, "/", 404, "no such path: POST an AdmissionReview to /validate or /mutate\n"),
        (Method::POST, "/readyz", 404, "no such path: POST an AdmissionReview to /validate or /mutate\n"),
    ] {
        let mut client = server.connect().await;
        let answer = client.send(method, path, Bytes::from_static(b"{}")).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
    }
    let answer = client.review("nonsense").await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (400, "not a review: the request has no uid\n"));
    let answer = client.review("{}").await.expect("the connection stays");
    assert_eq!(answer.status, 200);
    server.counted(r#"no502_reviews_total{half="mutate",kind="Service",operation="CREATE",outcome="allowed"} 1"#).await;
}

/// The n-th look at a body allows it from the look on that the body names.
fn allows_from_look() -> impl Fn(Half, &[u8]) -> Result<Reply, ReviewError> + Send + Sync + 'static {
    let looks = AtomicUsize::new(0);
    move |half, body| {
        let look = looks.fetch_add(1, Ordering::SeqCst) + 1;
        let mut reply = allow(half, body)?;
        reply.summary.allowed = body.first().is_some_and(|digit| look >= usize::from(digit - b'0'));
        reply.body = format!("look {look}: {}", reply.summary.allowed).into_bytes();
        Ok(reply)
    }
}

#[tokio::test]
async fn a_denial_is_only_given_after_a_second_look() {
    for (body, path, answer, outcome) in [
        ("1", "/validate", "look 1: true", "allowed"),
        ("2", "/validate?timeout=3s", "look 2: true", "allowed"),
        ("9", "/validate?timeout=3s", "look 2: false", "denied"),
    ] {
        let server = start_with(Arc::new(allows_from_look()), Limits::default()).await;
        let mut client = server.connect().await;
        let given = client.send(Method::POST, path, Bytes::from_static(body.as_bytes())).await.expect("an answer");
        assert_eq!((given.status, given.body.as_str()), (200, answer), "{body}");
        let line = format!(
            r#"no502_reviews_total{{half="validate",kind="Service",operation="CREATE",outcome="{outcome}"}} 1"#
        );
        server.counted(&line).await;
    }
}

#[tokio::test]
async fn http_1_1_is_offered_first_and_h2_to_those_who_want_nothing_else() {
    let server = start(Limits::default()).await;
    let both = handshake(server.address, &server.ca_pem, &[b"h2", b"http/1.1"]).await.expect("a handshake");
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let none = handshake(server.address, &server.ca_pem, &[]).await.expect("a handshake");
    assert_eq!(Client::over(none).await.review("{}").await.expect("an answer").status, 200);

    let h2 = handshake(server.address, &server.ca_pem, &[b"h2"]).await.expect("a handshake");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(h2)).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request =
        || Request::post("https://no502/mutate").body(Full::new(Bytes::from_static(b"{}"))).expect("a request");
    let answer = Answer::read(sender.send_request(request()).await.expect("an answer")).await.expect("a body");
    assert_eq!((answer.status, answer.body.as_str()), (200, "Mutate 2"));
    server.trigger.pull();
    time::timeout(PATIENCE, connection).await.expect("GOAWAY").expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_silent_peer_blocks_nobody_and_is_closed() {
    let server = start(Limits { handshake: LONG, ..Limits::default() }).await;
    let before = Instant::now();
    let mut silent = TcpStream::connect(server.address).await.expect("a socket");
    assert_eq!(server.connect().await.review("{}").await.expect("an answer").status, 200);
    assert!(before.elapsed() < LONG, "the other client did not wait");
    assert_eq!(rest(&mut silent).await, "");
    assert!(before.elapsed() >= LONG);
    server.counted(r#"no502_tls_handshake_failures_total{reason="timeout"} 1"#).await;
}

#[tokio::test]
async fn handshakes_in_progress_are_bounded() {
    let server = start(Limits { handshake: LONG, handshakes_max: 1, ..Limits::default() }).await;
    let before = Instant::now();
    let _silent = TcpStream::connect(server.address).await.expect("a socket");
    assert_eq!(server.connect().await.review("{}").await.expect("an answer").status, 200);
    assert!(before.elapsed() >= LONG, "the second handshake waited for the first to end");
}

#[tokio::test]
async fn half_a_head_is_closed_in_time_and_a_rest_is_not() {
    let server = start(Limits { head: SHORT, ..Limits::default() }).await;
    let (mut rested, mut fresh) = (server.connect().await, server.connect().await);
    assert_eq!(rested.review("{}").await.expect("an answer").status, 200);
    let mut slow = server.tls().await;
    let before = Instant::now();
    slow.write_all(b"POST /validate HTTP/1.1\r\nhost: x\r\n").await.expect("a write");
    slow.flush().await.expect("a flush");
    assert_eq!(server.connect().await.review("{}").await.expect("an answer").status, 200);
    assert_eq!(rest(&mut slow).await, "");
    let took = before.elapsed();
    assert!(took >= SHORT && took < Limits::default().head, "{took:?}");
    // Both were silent for longer than a head may take.
    assert_eq!(rested.review("{}").await.expect("kept alive").status, 200);
    assert_eq!(fresh.review("{}").await.expect("a connection dialled in advance").status, 200);
}

#[tokio::test]
async fn half_a_second_head_is_closed_in_time_too() {
    let server = start(Limits { head: SHORT, ..Limits::default() }).await;
    let mut slow = server.tls().await;
    slow.write_all(b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").await.expect("a write");
    let mut first = [0; 64];
    let read = slow.read(&mut first).await.expect("an answer");
    assert!(first[..read].starts_with(b"HTTP/1.1 200"));
    let before = Instant::now();
    slow.write_all(b"POST /val").await.expect("a write");
    rest(&mut slow).await;
    assert!(before.elapsed() < Limits::default().head, "{:?}", before.elapsed());
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_the_idle_limit() {
    let server = start(Limits { idle: SHORT, ..Limits::default() }).await;
    let before = Instant::now();
    let mut fresh = server.tls().await;
    assert_eq!(rest(&mut fresh).await, "");
    assert!(before.elapsed() >= SHORT, "{:?}", before.elapsed());
    server.counted("no502_connections 0").await;
}

/// Sends a head that announces `announced` bytes and the first `sent` of them.
async fn half_a_body(
    server: &Running,
    path: &str,
    announced: usize,
    sent: usize,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut stream = server.tls().await;
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {announced}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("a head");
    stream.write_all(&vec![b'x'; sent]).await.expect("a part of a body");
    stream.flush().await.expect("a flush");
    stream
}

#[tokio::test]
async fn half_a_body_is_answered_408_and_closed_while_others_are_served() {
    let server = start(Limits { body: LONG, ..Limits::default() }).await;
    let before = Instant::now();
    let mut slow = half_a_body(&server, "/validate", 100, 50).await;
    server.counted("no502_reviews_in_flight 1").await;
    assert_eq!(server.connect().await.review("{}").await.expect("an answer").status, 200);
    let answer = rest(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
    let took = before.elapsed();
    assert!(took >= LONG && took < Limits::default().body, "{took:?}");
    server.counted("no502_reviews_in_flight 0").await;
}

#[tokio::test]
async fn the_callers_deadline_is_kept() {
    let server = start(Limits::default()).await;
    let before = Instant::now();
    let mut slow = half_a_body(&server, "/validate?timeout=2s", 100, 50).await;
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.expect("an answer");
    let took = before.elapsed();
    assert_eq!(&answer, b"HTTP/1.1 503");
    // Nine tenths of it; what else may end the wait is the limit of the body.
    assert!(took >= Duration::from_millis(1800) && took < Limits::default().body, "{took:?}");
    server.counted(r#"no502_refusals_total{reason="deadline"} 1"#).await;
}

#[tokio::test]
async fn eight_mebibytes_are_read_and_one_byte_more_is_refused() {
    let server = start(Limits::default()).await;
    let answer = server.connect().await.review(vec![b' '; BODY_BYTES_MAX]).await.expect("an answer");
    assert_eq!((answer.status, answer.body), (200, format!("Validate {BODY_BYTES_MAX}")));
    for bytes in [BODY_BYTES_MAX + 1, 9 * 1024 * 1024] {
        let answer = server.connect().await.review(vec![b' '; bytes]).await.expect("an answer, not a reset");
        assert_eq!((answer.status, answer.body.as_str()), (413, "body too large: at most 8388608 bytes\n"));
        assert!(answer.closes);
    }
    assert_eq!(server.connect().await.review("{}").await.expect("an answer").status, 200);
    server.counted(r#"no502_refusals_total{reason="body_too_large"} 2"#).await;
}

/// A client that reads only after it has sent everything, as simple ones do.
#[tokio::test]
async fn a_refused_body_is_swallowed_so_that_the_refusal_can_be_read() {
    let server = start(Limits::default()).await;
    let bytes = 9 * 1024 * 1024;
    let mut stream = half_a_body(&server, "/validate", bytes, bytes).await;
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.ends_with("body too large: at most 8388608 bytes\n"), "{answer}");
}

/// curl asks before it sends a large body.
#[tokio::test]
async fn who_asks_first_is_told_first() {
    let server = start(Limits::default()).await;
    for (bytes, told) in [(2_usize, "HTTP/1.1 100 Continue\r\n\r\n"), (9 * 1024 * 1024, "HTTP/1.1 413 Payload Too")] {
        let mut stream = server.tls().await;
        let head =
            format!("POST /mutate HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("a head");
        let mut answer = vec![0; told.len()];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer), told);
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let server = start(Limits::default()).await;
    for (pieces, status) in [(8, 200), (9, 413)] {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(server.tls().await)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        let piece = Bytes::from(vec![b' '; 1024 * 1024]);
        let pieces = (0..pieces).map(move |_| Ok::<_, std::convert::Infallible>(Frame::data(piece.clone())));
        let body = StreamBody::new(futures::stream::iter(pieces));
        let request = Request::post("/mutate").header("host", "x").body(body).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status().as_u16(), status);
    }
}

#[tokio::test]
async fn too_many_reviews_are_answered_429_and_go_elsewhere() {
    let room = Duration::from_millis(20);
    let server = start(Limits { reviews_max: 1, room, ..Limits::default() }).await;
    let mut holding = half_a_body(&server, "/validate", 100, 50).await;
    server.counted("no502_reviews_in_flight 1").await;
    let answer = server.connect().await.review("{}").await.expect("an answer");
    assert_eq!((answer.status, answer.closes), (429, true));
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    server.counted(r#"no502_overloads_total{reason="reviews"} 1"#).await;
    holding.write_all(&[b'x'; 50]).await.expect("the rest");
    server.counted("no502_reviews_in_flight 0").await;
    assert_eq!(server.connect().await.review("{}").await.expect("an answer").status, 200);
}

#[tokio::test]
async fn large_bodies_share_a_room_that_small_ones_do_not_need() {
    let room = Duration::from_millis(20);
    let server = start(Limits { large_body_bytes_max: 1024 * 1024, room, ..Limits::default() }).await;
    let holding = half_a_body(&server, "/validate", 900 * 1024, 10).await;
    server.counted("no502_reviews_in_flight 1").await;
    let answer = server.connect().await.review(vec![b' '; 200 * 1024]).await.expect("an answer");
    assert_eq!((answer.status, answer.closes, answer.retry_after.as_deref()), (429, true, Some("1")));
    server.counted(r#"no502_overloads_total{reason="bytes"} 1"#).await;
    assert_eq!(server.connect().await.review(vec![b' '; 60 * 1024]).await.expect("an answer").status, 200);
    drop(holding);
    server.counted("no502_reviews_in_flight 0").await;
    assert_eq!(server.connect().await.review(vec![b' '; 200 * 1024]).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_burst_waits_a_little_instead_of_a_429() {
    let server = start(Limits { reviews_max: 1, room: PATIENCE, ..Limits::default() }).await;
    let mut holding = half_a_body(&server, "/validate", 100, 50).await;
    server.counted("no502_reviews_in_flight 1").await;
    let mut client = server.connect().await;
    let waiting = tokio::spawn(async move { client.review("{}").await });
    holding.write_all(&[b'x'; 50]).await.expect("the rest");
    assert_eq!(waiting.await.expect("no panic").expect("an answer").status, 200);
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_is_answered() {
    let server = start(Limits::default()).await;
    let mut client = server.connect().await;
    let answer = client.review("panic").await.expect("an answer");
    assert_eq!((answer.status, answer.closes), (500, false));
    assert_eq!(answer.body, "the review failed inside no502; the log has the details\n");
    assert_eq!(client.review("{}").await.expect("an answer").status, 200);
    server.counted("no502_panics_total 1").await;
}

#[tokio::test]
async fn a_new_certificate_closes_nothing() {
    let server = start(Limits::default()).await;
    let mut old = server.connect().await;
    assert_eq!(old.review("{}").await.expect("an answer").status, 200);
    let new = fresh_certificate();
    server.tls.store(new.pair.server_config());
    assert_eq!(old.review("{}").await.expect("the old connection lives").status, 200);
    assert!(handshake(server.address, &server.ca_pem, &[b"http/1.1"]).await.is_err(), "the old CA signs no more");
    let stream = handshake(server.address, &new.ca_pem, &[b"http/1.1"]).await.expect("the new one does");
    assert_eq!(Client::over(stream).await.review("{}").await.expect("an answer").status, 200);
}

#[tokio::test]
async fn without_a_certificate_handshakes_fail_and_nothing_else() {
    let server = start(Limits::default()).await;
    server.tls.store(no502::certs::nothing_yet());
    assert!(handshake(server.address, &server.ca_pem, &[b"http/1.1"]).await.is_err());
    assert_eq!(server.admin("/livez").await.status, 200);
    server.counted(r#"no502_tls_handshake_failures_total{reason="error"} 1"#).await;
}

#[tokio::test]
async fn the_admin_port_says_what_is_missing() {
    let server = start(Limits::default()).await;
    assert_eq!(server.admin("/readyz").await.status, 200);
    let (certificate, policy) = (server.readiness.require("certificate valid"), server.readiness.require("policy"));
    let answer = server.admin("/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "certificate valid: not yet\npolicy: not yet\n"));
    certificate.met();
    policy.met();
    assert_eq!(server.admin("/readyz").await.status, 200);
    assert_eq!(server.admin("/livez").await.status, 200);
    let metrics = server.admin("/metrics").await;
    assert!(metrics.status == 200 && metrics.body.ends_with("# EOF\n"));
    let lost = server.admin("/validate").await;
    assert_eq!((lost.status, lost.body.as_str()), (404, "no such path: there are /livez, /readyz and /metrics\n"));
}

#[tokio::test]
async fn a_drain_is_not_ready_at_once_and_closes_each_connection_with_its_answer() {
    let drain = Duration::from_secs(5);
    let linger = Duration::from_millis(100);
    let server = start(Limits { drain, linger, ..Limits::default() }).await;
    let (mut used, mut in_flight) = (server.connect().await, half_a_body(&server, "/validate", 100, 50).await);
    assert!(!used.review("{}").await.expect("an answer").closes);
    server.counted("no502_reviews_in_flight 1").await;
    let before = Instant::now();
    server.trigger.pull();
    eventually("not ready", || server.readiness.missing() == ["shutting down"]).await;
    assert_eq!(server.admin("/readyz").await.body, "shutting down\n");
    let answer = used.review("{}").await.expect("an answer");
    assert_eq!((answer.status, answer.closes), (200, true));
    assert!(used.review("{}").await.is_err(), "that connection is closed");
    let answer = server.connect().await.review("{}").await.expect("still accepting");
    assert_eq!((answer.status, answer.closes), (200, true));
    in_flight.write_all(&[b'x'; 50]).await.expect("the rest");
    assert!(rest(&mut in_flight).await.starts_with("HTTP/1.1 200 "));
    let address = server.address;
    server.stopped().await;
    assert!(before.elapsed() >= drain, "{:?}", before.elapsed());
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn what_is_in_flight_after_the_drain_is_finished_and_a_stalled_one_is_not_waited_for() {
    let short = Limits { drain: SHORT, linger: SHORT, finish: PATIENCE, body: PATIENCE, ..Limits::default() };
    let server = start(short.clone()).await;
    let mut in_flight = half_a_body(&server, "/validate", 100, 50).await;
    server.counted("no502_reviews_in_flight 1").await;
    let (mut unused, address) = (server.tls().await, server.address);
    server.trigger.pull();
    rest(&mut unused).await;
    assert!(TcpStream::connect(address).await.is_err(), "no new connections any more");
    in_flight.write_all(&[b'x'; 50]).await.expect("the rest");
    assert!(rest(&mut in_flight).await.starts_with("HTTP/1.1 200 "));
    server.stopped().await;

    let server = start(Limits { finish: SHORT, ..short }).await;
    let _stalled = half_a_body(&server, "/validate", 100, 50).await;
    server.counted("no502_reviews_in_flight 1").await;
    let before = Instant::now();
    server.trigger.pull();
    server.stopped().await;
    assert!(before.elapsed() < PATIENCE / 2, "{:?}", before.elapsed());
}

/// A connection that was let in at the last moment: its request is on the way.
#[tokio::test]
async fn a_request_that_crosses_the_end_of_the_drain_is_answered() {
    let linger = Duration::from_secs(10);
    let server = start(Limits { drain: SHORT, linger, finish: linger, ..Limits::default() }).await;
    let (mut late, address) = (server.connect().await, server.address);
    server.trigger.pull();
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            time::sleep(Duration::from_millis(10)).await;
        }
    };
    time::timeout(PATIENCE, closed).await.expect("accepts no more");
    let answer = late.review("{}").await.expect("an answer");
    assert_eq!((answer.status, answer.closes), (200, true));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let server = start(Limits { drain: PATIENCE, finish: PATIENCE, body: PATIENCE, ..Limits::default() }).await;
    let _stalled = half_a_body(&server, "/validate", 100, 50).await;
    server.counted("no502_reviews_in_flight 1").await;
    let before = Instant::now();
    server.trigger.pull();
    server.trigger.pull();
    server.stopped().await;
    assert!(before.elapsed() < PATIENCE / 2, "{:?}", before.elapsed());
}

/// Two replicas behind a Service whose endpoints follow readiness a little late.
struct Service {
    replicas: [Running; 2],
    first_is_endpoint: Cell<bool>,
}

/// The API server's side: a pool of idle connections, the newest used first, no retry.
struct ApiServer {
    pool: RefCell<Vec<(usize, Client)>>,
    calls: RefCell<BTreeMap<(usize, bool), u32>>,
    failures: RefCell<Vec<String>>,
    stop: Cell<bool>,
}

impl ApiServer {
    async fn call(&self, service: &Service, body: Bytes) {
        let pooled = self.pool.borrow_mut().pop();
        let (replica, mut client) = if let Some(pooled) = pooled {
            pooled
        } else {
            let replica = usize::from(!service.first_is_endpoint.get());
            (replica, service.replicas[replica].connect().await)
        };
        let draining = !service.replicas[0].readiness.missing().is_empty();
        match client.send(Method::POST, "/mutate?timeout=3s", body).await {
            Ok(answer) if answer.status == 200 => {
                *self.calls.borrow_mut().entry((replica, draining)).or_default() += 1;
                if !answer.closes {
                    self.pool.borrow_mut().push((replica, client));
                }
            }
            other => self.failures.borrow_mut().push(format!("replica {replica}: {other:?}")),
        }
    }
}

#[tokio::test]
async fn our_own_rollout_fails_no_call() {
    const WORKERS: u64 = 12;
    let limits = Limits {
        drain: Duration::from_secs(4),
        linger: Duration::from_millis(300),
        finish: Duration::from_secs(5),
        ..Limits::default()
    };
    let service = Rc::new(Service {
        replicas: [start(limits.clone()).await, start(limits).await],
        first_is_endpoint: Cell::new(true),
    });
    let api_server = Rc::new(ApiServer {
        pool: RefCell::default(),
        calls: RefCell::default(),
        failures: RefCell::default(),
        stop: Cell::new(false),
    });
    let local = LocalSet::new();
    for worker in 0..WORKERS {
        let (api_server, service) = (Rc::clone(&api_server), Rc::clone(&service));
        local.spawn_local(async move {
            let body = Bytes::from(vec![b' '; 18_000 * usize::try_from(1 + worker % 6).expect("small")]);
            while !api_server.stop.get() {
                api_server.call(&service, body.clone()).await;
                time::sleep(Duration::from_millis(worker)).await;
            }
        });
    }
    local
        .run_until(async {
            eventually("load", || api_server.calls.borrow().values().sum::<u32>() > 200).await;
            service.replicas[0].trigger.pull();
            eventually("not ready", || !service.replicas[0].readiness.missing().is_empty()).await;
            // The kubelet's probe, the endpoint controller, kube-proxy.
            time::sleep(Duration::from_millis(500)).await;
            service.first_is_endpoint.set(false);
            eventually("the first replica is gone", || service.replicas[0].task.is_finished()).await;
            let now: u32 = api_server.calls.borrow().values().sum();
            eventually("more load", || api_server.calls.borrow().values().sum::<u32>() > now + 100).await;
            api_server.stop.set(true);
        })
        .await;
    local.await;
    assert_eq!(*api_server.failures.borrow(), Vec::<String>::new());
    let calls = api_server.calls.borrow();
    let served = |replica, draining| calls.get(&(replica, draining)).copied().unwrap_or(0);
    assert!(served(0, false) > 0 && served(0, true) > 0 && served(1, true) > 0, "{calls:?}");
}

#[tokio::test]
async fn a_head_request_and_an_empty_body_do_no_harm() {
    let server = start(Limits::default()).await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(server.tls().await)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let request = Request::post("/validate").header("host", "x").header("content-type", "text/plain");
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).expect("a request")).await;
    let response = response.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(&body[..], b"Validate 0");
}

/// The reviewer is an object, so that the real one and these closures fit the same place.
#[tokio::test]
async fn the_real_reviewer_refuses_what_is_no_review() {
    let live = no502::server::Live::default();
    let server = crate::rig::start_with(Arc::new(live), Limits::default()).await;
    let answer = server.connect().await.review("not a review").await.expect("an answer");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body.lines().count(), 1);
}
