//! One connection: TLS handshake, HTTP, and the clock that closes what stalls without closing what merely rests.
//!
//! hyper's own header timeout also runs while a kept-alive connection rests, and so would close it under the API
//! server's hands (which keeps it for 90 s). Hence a clock of our own: it knows whether the connection rests, is in the
//! middle of a request's head, or is busy with a request.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
    time::{self, Instant, Sleep},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::Service;

use super::{
    answer::{Answer, close},
    limits::{HEAD_BYTES_MAX, HEADER_FIELDS_MAX, READ_BUFFER_BYTES, STREAMS_MAX},
    listener::Phase,
};
use crate::metrics::Metrics;

/// Time for a closing connection to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// The times that a connection lives by.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) handshake: Duration,
    pub(super) idle: Duration,
    pub(super) head: Duration,
    pub(super) linger: Duration,
    /// `None` on the admin port, whose connections nobody counts.
    pub(super) metrics: Option<Arc<Metrics>>,
}

/// Serves one accepted socket to its end.
pub(super) async fn run(
    socket: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    handshake: OwnedSemaphorePermit,
    router: Router,
    phase: watch::Receiver<Phase>,
    rules: &Rules,
) {
    let _open = rules.metrics.as_deref().map(Open::new);
    let socket = BufReader::with_capacity(READ_BUFFER_BYTES, socket);
    let Some(config) = tls else {
        drop(handshake);
        return http1(socket, router, phase, rules).await;
    };
    let Some(stream) = shake_hands(socket, config, rules).await else { return };
    drop(handshake);
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(stream, router, phase, rules).await;
    } else {
        http1(stream, router, phase, rules).await;
    }
}

type Buffered = BufReader<TcpStream>;

async fn shake_hands(socket: Buffered, config: Arc<ServerConfig>, rules: &Rules) -> Option<TlsStream<Buffered>> {
    let (reason, error) = match time::timeout(rules.handshake, TlsAcceptor::from(config).accept(socket)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => ("error", error.to_string()),
        Err(_) => ("timeout", "no handshake in time".to_owned()),
    };
    tracing::debug!(error, "TLS handshake failed");
    if let Some(metrics) = &rules.metrics {
        metrics.handshake_failed(reason);
    }
    None
}

async fn http1<S>(stream: S, router: Router, phase: watch::Receiver<Phase>, rules: &Rules)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let clock = Arc::new(Clock::new());
    let watched = TokioIo::new(Watched { stream, clock: Arc::clone(&clock) });
    let (beat, current) = (Arc::clone(&clock), phase.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (busy, mut router, current) = (Busy::new(&beat), router.clone(), current.clone());
        async move {
            let mut response = router.call(request).await?;
            if *current.borrow() != Phase::Serving {
                close(&mut response);
            }
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, busy)))
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(HEADER_FIELDS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(watched, service);
    drive(pin!(connection), http1::Connection::graceful_shutdown, &clock, phase, rules).await;
}

async fn http2<S>(stream: S, router: Router, phase: watch::Receiver<Phase>, rules: &Rules)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // No `Watched`: pings and settings are bytes too, and none of them is the head of a request.
    let clock = Arc::new(Clock::new());
    let beat = Arc::clone(&clock);
    let service = service_fn(move |request: Request<Incoming>| {
        let (busy, mut router) = (Busy::new(&beat), router.clone());
        async move {
            let mut response = router.call(request).await?;
            response.headers_mut().remove(hyper::header::CONNECTION);
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, busy)))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(stream), service);
    let shut = |connection: Pin<&mut _>| http2::Connection::graceful_shutdown(connection);
    let mut connection = pin!(connection);
    let mut drain = phase.clone();
    tokio::select! {
        biased;
        () = drive(connection.as_mut(), shut, &clock, phase, rules) => return,
        // GOAWAY is safe at any time: the client keeps what it has asked for and goes elsewhere with the next request.
        _ = drain.wait_for(|phase| *phase != Phase::Serving) => {}
    }
    shut(connection.as_mut());
    drive(connection, shut, &clock, drain, rules).await;
}

/// Why a connection is looked at.
enum Event {
    Ended(hyper::Result<()>),
    Stalled,
    Rested,
}

/// Polls `connection` to its end, and ends it when the clock says so.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    shut: impl Fn(Pin<&mut C>),
    clock: &Clock,
    mut phase: watch::Receiver<Phase>,
    rules: &Rules,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut idle = rules.idle;
    let mut alarm = pin!(time::sleep(idle));
    let event = loop {
        let next = poll_fn(|context| next(connection.as_mut(), alarm.as_mut(), clock, idle, rules.head, context));
        tokio::select! {
            biased;
            event = next => break event,
            _ = phase.wait_for(|phase| *phase == Phase::Stopping), if idle != rules.linger => idle = rules.linger,
        }
    };
    match event {
        Event::Ended(Ok(())) => {}
        Event::Ended(Err(error)) => tracing::debug!(%error, "connection broke"),
        Event::Stalled => tracing::debug!("closed: the head of a request did not arrive in time"),
        Event::Rested => {
            shut(connection.as_mut());
            if time::timeout(GOODBYE, connection).await.is_err() {
                tracing::debug!("closed without a goodbye");
            }
        }
    }
}

/// One poll: the connection first, since that moves the clock's hand.
fn next<C: Future<Output = hyper::Result<()>>>(
    connection: Pin<&mut C>,
    mut alarm: Pin<&mut Sleep>,
    clock: &Clock,
    idle: Duration,
    head: Duration,
    context: &mut Context<'_>,
) -> Poll<Event> {
    if let Poll::Ready(outcome) = connection.poll(context) {
        return Poll::Ready(Event::Ended(outcome));
    }
    loop {
        let (deadline, event) = match clock.hand() {
            Hand::Resting(since) => (since + idle, Event::Rested),
            Hand::Head(since) => (since + head, Event::Stalled),
            Hand::Busy => (Instant::now() + idle, Event::Rested),
        };
        // A later deadline is left to the next alarm: most requests come and go without touching the timer.
        if deadline < alarm.deadline() {
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(context));
        if deadline <= Instant::now() {
            return Poll::Ready(event);
        }
        alarm.as_mut().reset(deadline);
    }
}

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy)]
enum Hand {
    Resting(Instant),
    Head(Instant),
    Busy,
}

/// Shared by the byte stream, the service and the driver of one connection.
#[derive(Debug)]
struct Clock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: u32,
    in_head: bool,
    since: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { state: Mutex::new(State { requests: 0, in_head: false, since: Instant::now() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self) -> Hand {
        let state = self.lock();
        match *state {
            State { requests: 0, in_head: false, since } => Hand::Resting(since),
            State { requests: 0, in_head: true, since } => Hand::Head(since),
            State { .. } => Hand::Busy,
        }
    }

    /// The first bytes after a rest are the head of a request.
    fn heard(&self) {
        let mut state = self.lock();
        if state.requests == 0 && !state.in_head {
            state.in_head = true;
            state.since = Instant::now();
        }
    }
}

/// The connection has a request, from its head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct Busy {
    clock: Arc<Clock>,
}

impl Busy {
    fn new(clock: &Arc<Clock>) -> Self {
        let mut state = clock.lock();
        state.requests += 1;
        state.in_head = false;
        drop(state);
        Self { clock: Arc::clone(clock) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.clock.lock();
        state.requests -= 1;
        state.since = Instant::now();
    }
}

/// Counted among the open connections.
struct Open<'a> {
    metrics: &'a Metrics,
}

impl<'a> Open<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.connections().inc();
        Self { metrics }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.metrics.connections().dec();
    }
}

/// Tells the clock of every byte that arrives.
struct Watched<S> {
    stream: S,
    clock: Arc<Clock>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.clock.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
