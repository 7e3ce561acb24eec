//! What is no good request, sent to the real server with the real review: each is answered with an HTTP 4xx of one line or with a
//! closed connection, nothing panics, and the next good request is answered.

use std::{convert::Infallible, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::{StreamExt, stream};
use http_body_util::{Full, StreamBody};
use hyper::{
    Method, Request,
    body::{Bytes, Frame},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use no502::{
    server::{Limits, Live, limits::HEAD_BYTES_MAX},
    snapshot::Store,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time,
};

use crate::rig::{Answer, Client, PATIENCE, Running, handshake, start_with};

/// Short enough for a test, long enough for a busy machine to answer in between.
const SHORT: Duration = Duration::from_secs(3);

/// More than a body may have.
const NINE_MEBIBYTES: usize = 9 * 1024 * 1024;

const GOOD: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1",
    "kind":{"group":"","version":"v1","kind":"Service"},"namespace":"shop","name":"web","operation":"CREATE",
    "userInfo":{"username":"jane","groups":["system:authenticated"]},"oldObject":null,
    "object":{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"},"spec":{}}}}"#;

async fn start(limits: Limits) -> Running {
    // Empty and read completely, so that there is nothing to warn of.
    let snapshot = Arc::new(ArcSwap::from_pointee(Store::complete().snapshot()));
    start_with(Arc::new(Live { snapshot, ..Live::default() }), limits).await
}

fn assert_good(answer: &Answer, after: &str) {
    let expected =
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u-1","allowed":true}}"#;
    assert_eq!((answer.status, answer.body.as_str()), (200, expected), "after {after}");
}

/// A good request on a connection of its own is answered, and nothing has panicked so far.
async fn assert_alive(server: &Running, after: &str) {
    let answer = server.connect().await.review(GOOD).await;
    assert_good(&answer.unwrap_or_else(|error| panic!("after {after}: {error}")), after);
    let metrics = server.metrics.encode(Timestamp::now());
    assert!(metrics.lines().any(|line| line == "no502_panics_total 0"), "after {after}: {metrics}");
}

/// Writes what it can and reads to the end: the server may close before it has read everything.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> String {
    let mut answer = Vec::new();
    let talk = async {
        if stream.write_all(bytes).await.is_ok() {
            let _ = stream.flush().await;
        }
        let _ = stream.read_to_end(&mut answer).await;
    };
    time::timeout(PATIENCE, talk).await.expect("the server answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn with_request(request: &str) -> Vec<u8> {
    format!(r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{request}}}"#).into_bytes()
}

#[tokio::test]
async fn a_body_that_is_no_review_gets_400_and_a_line_and_the_connection_stays() {
    let server = start(Limits::default()).await;
    let mut client = server.connect().await;
    let deep = "[".repeat(10_000);
    let deep_object = format!(
        r#"{{"uid":"u","object":{{"spec":{}{}}}}}"#,
        r#"{"a":"#.repeat(10_000),
        "1".to_owned() + &"}".repeat(10_000)
    );
    for (body, line) in [
        (b"not a review".to_vec(), "the body is not JSON: expected ident at line 1 column 2"),
        (Vec::new(), "the body is not JSON: EOF while parsing a value at line 1 column 0"),
        (
            GOOD.as_bytes()[..GOOD.len() / 2].to_vec(),
            "the body is not JSON: EOF while parsing a value at line 2 column 109",
        ),
        ([GOOD, "x"].concat().into_bytes(), "the body is not JSON: trailing characters at line 4 column 107"),
        (b"{\"kind\":\"\xff\"}".to_vec(), "the body is not UTF-8: invalid utf-8 sequence of 1 bytes from index 9"),
        (b"\x1f\x8b\x08\x00gzip".to_vec(), "the body is not UTF-8: invalid utf-8 sequence of 1 bytes from index 1"),
        (b"null".to_vec(), "the body is kind \"\", not AdmissionReview"),
        (b"[]".to_vec(), "the body is kind \"\", not AdmissionReview"),
        (br#"{"kind":"Pod","apiVersion":"v1"}"#.to_vec(), "the body is kind \"Pod\", not AdmissionReview"),
        (br#"{"kind":"a\r\n\u0007b"}"#.to_vec(), "the body is kind \"a   b\", not AdmissionReview"),
        (
            br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u"}}"#.to_vec(),
            "the AdmissionReview is admission.k8s.io/v1beta1; no502 speaks admission.k8s.io/v1 (admissionReviewVersions: [v1])",
        ),
        (
            br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#.to_vec(),
            "the AdmissionReview has no request",
        ),
        (with_request("null"), "the AdmissionReview has no request"),
        (with_request("[]"), "the AdmissionReview has no request"),
        (with_request("{}"), "the request has no uid"),
        (with_request(r#"{"uid":7,"operation":"CREATE"}"#), "the request has no uid"),
        (deep.clone().into_bytes(), "the body nests deeper than 128 levels"),
        (with_request(&deep_object), "the body nests deeper than 128 levels"),
    ] {
        let what = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
        for path in ["/validate", "/mutate"] {
            let answer = client.send(Method::POST, path, Bytes::from(body.clone())).await.expect("an answer");
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (400, format!("not a review: {line}\n").as_str()),
                "{what}"
            );
        }
        assert_good(&client.review(GOOD).await.expect("the connection stays"), &what);
    }
    assert_alive(&server, "all of them").await;
}

/// Nobody gets their megabytes back as an error.
#[tokio::test]
async fn an_error_repeats_only_a_little_of_the_body() {
    let server = start(Limits::default()).await;
    let long = "x".repeat(1024 * 1024);
    for body in [
        format!(r#"{{"kind":"{long}"}}"#),
        format!(r#"{{"kind":"AdmissionReview","apiVersion":"{long}"}}"#),
        format!(r#"{{"kind":"AdmissionReview","{long}""#),
    ] {
        let answer = server.connect().await.review(body).await.expect("an answer");
        assert_eq!((answer.status, answer.body.lines().count()), (400, 1), "{}", answer.body);
        assert!(answer.body.len() < 512, "{} bytes", answer.body.len());
    }
    assert_alive(&server, "long names").await;
}

/// Fields of unexpected types and sizes are no reason to refuse a review.
#[tokio::test]
async fn odd_objects_are_reviewed_all_the_same() {
    let server = start(Limits::default()).await;
    let mut client = server.connect().await;
    for object in [
        "null",
        "7",
        r#""text""#,
        "[[]]",
        "{}",
        r#"{"kind":7,"metadata":[],"spec":"x"}"#,
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":null},"spec":{"template":{"spec":{"containers":{}}}}}"#,
        r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"spec":{"containers":[null,7,{"ports":[{"containerPort":1e99}]}]}}}}"#,
        r#"{"apiVersion":"v1","kind":"Service","spec":{"selector":{"":""},"ports":[{"port":-1,"targetPort":99999999999999999999}]}}"#,
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"\\ud83d\\ude00\\u0000\"},\"spec\":{\"containers\":[{}]}}",
    ] {
        for operation in ["CREATE", "UPDATE", "DELETE", "CONNECT", "", "create"] {
            let request =
                format!(r#"{{"uid":"u-1","operation":"{operation}","object":{object},"oldObject":{object}}}"#);
            for path in ["/validate", "/mutate?timeout=10s"] {
                let answer = client.send(Method::POST, path, with_request(&request).into()).await.expect("an answer");
                assert_eq!(answer.status, 200, "{operation} {object}: {}", answer.body);
                let reply: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
                assert_eq!(reply["response"]["uid"], "u-1");
            }
        }
    }
    assert_alive(&server, "odd objects").await;
}

#[tokio::test]
async fn nine_mebibytes_are_refused_with_and_without_a_length() {
    let server = start(Limits::default()).await;
    let too_large = "body too large: at most 8388608 bytes\n";
    let answer = server.connect().await.review(vec![b' '; NINE_MEBIBYTES]).await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str(), answer.closes), (413, too_large, true));
    assert_alive(&server, "9 MiB with a length").await;

    let pieces = stream::iter(0..9).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; 1024 * 1024]))));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(server.tls().await)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let request = Request::post("/validate").header("host", "x").body(StreamBody::new(pieces)).expect("a request");
    let answer = Answer::read(sender.send_request(request).await.expect("an answer")).await.expect("a body");
    assert_eq!((answer.status, answer.body.as_str(), answer.closes), (413, too_large, true));
    assert_alive(&server, "9 MiB in chunks").await;
    server.counted(r#"no502_refusals_total{reason="body_too_large"} 2"#).await;
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_with_a_line() {
    let server = start(Limits::default()).await;
    let (method, path) =
        ("wrong method: POST an AdmissionReview\n", "no such path: POST an AdmissionReview to /validate or /mutate\n");
    for (verb, target, status, line) in [
        (Method::GET, "/validate", 405, method),
        (Method::PUT, "/mutate", 405, method),
        (Method::DELETE, "/mutate?timeout=10s", 405, method),
        (Method::OPTIONS, "/validate", 405, method),
        // The answer to HEAD has no body.
        (Method::HEAD, "/validate", 405, ""),
        (Method::POST, "/nope", 404, path),
        (Method::POST, "/validate/", 404, path),
        (Method::POST, "//validate", 404, path),
        (Method::POST, "/validate%00", 404, path),
        (Method::POST, "/../validate", 404, path),
        (Method::GET, "/metrics", 404, path),
    ] {
        let answer = server.connect().await.send(verb.clone(), target, Bytes::from_static(GOOD.as_bytes())).await;
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (status, line), "{verb} {target}");
        assert_alive(&server, target).await;
    }
}

/// What hyper refuses by itself has a status and no text.
#[tokio::test]
async fn broken_heads_are_refused_or_cut_off() {
    let server = start(Limits::default()).await;
    let post = "POST /validate HTTP/1.1\r\nhost: x\r\n";
    let long = "x".repeat(HEAD_BYTES_MAX + 1);
    let many = "x: y\r\n".repeat(200);
    for (name, bytes, status) in [
        ("no HTTP", "nonsense\r\n\r\n".to_owned(), "400 Bad Request"),
        ("a head that is too long", format!("{post}x: {long}\r\n\r\n"), "431 Request Header Fields Too Large"),
        ("too many header fields", format!("{post}{many}\r\n"), "431 Request Header Fields Too Large"),
        (
            "a path that is too long",
            format!("POST /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
            "431 Request Header Fields Too Large",
        ),
        ("a version of its own", "POST /validate HTTP/9.9\r\n\r\n".to_owned(), "400 Bad Request"),
        ("a length that is no number", format!("{post}content-length: x\r\n\r\n"), "400 Bad Request"),
        ("a negative length", format!("{post}content-length: -1\r\n\r\n"), "400 Bad Request"),
        ("two lengths", format!("{post}content-length: 1\r\ncontent-length: 2\r\n\r\nxx"), "400 Bad Request"),
        ("a control character", format!("{post}x: a\0b\r\n\r\n"), "400 Bad Request"),
        ("a chunk without a size", format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n"), "400 Bad Request"),
        (
            "a chunk beyond all size",
            format!("{post}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
            "400 Bad Request",
        ),
        ("HTTP/2 without having agreed on it", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "400 Bad Request"),
    ] {
        let answer = exchange(server.tls().await, bytes.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{name}: {answer:?}");
        assert_alive(&server, name).await;
    }
}

#[tokio::test]
async fn what_is_not_tls_is_cut_off() {
    let server = start(Limits { handshake: SHORT, ..Limits::default() }).await;
    for (name, bytes) in [
        ("plain HTTP", b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}".as_slice()),
        ("plain HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        ("a record of another content", &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]),
        ("a record that promises more", &[0x16, 3, 3, 0x40, 0, 1]),
        ("nothing", b""),
        ("noise", &[0xff; 4096]),
    ] {
        let socket = TcpStream::connect(server.address).await.expect("a socket");
        let answer = exchange(socket, bytes).await;
        assert!(!answer.contains("HTTP"), "{name}: {answer:?}");
        assert_alive(&server, name).await;
    }
}

/// The caller gives up in the middle: what it began is dropped, and counted as broken.
#[tokio::test]
async fn half_a_request_of_a_client_that_leaves_does_no_harm() {
    let server = start(Limits::default()).await;
    for (name, part) in [
        ("half a head", "POST /validate HTTP/1.1\r\nhos"),
        ("a head alone", "POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"),
        ("half a body", "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"kind\":"),
        ("half a chunk", "POST /mutate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n64\r\n{\"kind\":"),
    ] {
        let mut stream = server.tls().await;
        stream.write_all(part.as_bytes()).await.expect("a part");
        stream.flush().await.expect("a flush");
        assert_alive(&server, name).await;
        drop(stream);
        server.counted("no502_reviews_in_flight 0").await;
        assert_alive(&server, name).await;
    }
    server.counted("no502_connections 0").await;
    server.counted("no502_panics_total 0").await;
}

/// A client that says goodbye to its sending side still reads: it is told what was wrong.
#[tokio::test]
async fn a_body_that_ends_early_is_broken_or_cut_off() {
    let server = start(Limits::default()).await;
    let mut stream = server.tls().await;
    stream.write_all(b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{}").await.expect("a part");
    stream.shutdown().await.expect("an end");
    let mut answer = Vec::new();
    let _ = time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    assert_alive(&server, "an early end").await;
}

#[tokio::test]
async fn over_http_2_the_same_bodies_are_refused() {
    let server = start(Limits::default()).await;
    let stream = handshake(server.address, &server.ca_pem, &[b"h2"]).await.expect("a handshake");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    for (method, path, body, status, line) in [
        (
            Method::POST,
            "/validate",
            "x",
            400,
            "not a review: the body is not JSON: expected value at line 1 column 1\n",
        ),
        (Method::GET, "/validate", "", 405, "wrong method: POST an AdmissionReview\n"),
        (Method::POST, "/nope", GOOD, 404, "no such path: POST an AdmissionReview to /validate or /mutate\n"),
    ] {
        let uri = format!("https://no502{path}");
        let request = Request::builder().method(method).uri(uri).body(Full::new(Bytes::from_static(body.as_bytes())));
        let response = sender.send_request(request.expect("a request")).await.expect("an answer");
        let answer = Answer::read(response).await.expect("a body");
        assert_eq!((answer.status, answer.body.as_str()), (status, line), "{path}");
    }
    let request = Request::post("https://no502/validate").body(Full::new(Bytes::from_static(GOOD.as_bytes())));
    let response = sender.send_request(request.expect("a request")).await.expect("the connection stays");
    assert_good(&Answer::read(response).await.expect("a body"), "bad bodies over HTTP/2");

    let noise = handshake(server.address, &server.ca_pem, &[b"h2"]).await.expect("a handshake");
    exchange(noise, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame, and it is long enough to be read as one").await;
    assert_alive(&server, "noise over HTTP/2").await;
}

#[tokio::test]
async fn a_thousand_quick_connects_do_no_harm() {
    let server = start(Limits::default()).await;
    for round in 0..10 {
        let connects = (0..100).map(|_| TcpStream::connect(server.address));
        let sockets = futures::future::join_all(connects).await;
        assert!(sockets.iter().all(Result::is_ok), "round {round}");
        drop(sockets);
        assert_alive(&server, "100 connects").await;
    }
    server.counted("no502_connections 0").await;
    let tls = (0..50).map(|_| server.tls());
    drop(futures::future::join_all(tls).await);
    server.counted("no502_connections 0").await;
    assert_alive(&server, "handshakes without a request").await;
}

/// One connection carries a bad and a good request, sent together.
#[tokio::test]
async fn a_bad_request_does_not_eat_the_one_behind_it() {
    let server = start(Limits::default()).await;
    let head = |length: usize, more: &str| {
        format!("POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{more}\r\n")
    };
    let both = [head(3, "").as_str(), "bad", &head(GOOD.len(), "connection: close\r\n"), GOOD].concat();
    let answer = exchange(server.tls().await, both.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(
        answer.contains(
            "\r\n\r\nnot a review: the body is not JSON: expected value at line 1 column 1\nHTTP/1.1 200 OK\r\n"
        ),
        "{answer}"
    );
    assert!(answer.ends_with(r#""response":{"uid":"u-1","allowed":true}}"#), "{answer}");
    let _ = Client::over(server.tls().await).await;
    assert_alive(&server, "two requests at once").await;
}
