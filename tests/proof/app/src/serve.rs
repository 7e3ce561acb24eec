//! The application: a small HTTP server that behaves as badly, or as well, at its start and end as it is told to.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};

use crate::{say, seconds};

/// After an error of `accept` (too many open files) the next try waits, or it would spin.
const ACCEPT_AGAIN_MS: u64 = 10;

/// How the application starts, answers and ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// What SIGTERM does: exit at once, or drain: accept nothing more, finish what runs, exit. Ctrl-C ends the draining.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = OnTerm::Exit)]
    on_term: OnTerm,
    /// Seconds from the start until it listens: connections are refused before.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    listen_after: Duration,
    /// Seconds from the start until it answers: every answer is 503 before.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    warm_after: Duration,
    /// Milliseconds that every request takes, /healthz excepted.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    work_ms: u64,
    /// What it answers as its version.
    #[arg(long, value_name = "TEXT", default_value = "1")]
    version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OnTerm {
    Exit,
    Drain,
}

/// What a request needs to be answered.
#[derive(Debug)]
struct Shop {
    warm_at: Instant,
    work: Duration,
    /// The same for every request: `shop VERSION POD`.
    text: String,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// If the address cannot be listened on.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    // Before anything else: process 1 of a container ignores the signals that it does not handle.
    let mut end = EndSignals::new()?;
    let start = Instant::now();
    let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "nowhere".to_owned());
    let name = format!("shop {} {pod}", args.version);
    let shop = Arc::new(Shop {
        warm_at: start + args.warm_after,
        work: Duration::from_millis(args.work_ms),
        text: format!("{name}\n"),
    });

    tokio::select! {
        () = sleep_until(start + args.listen_after) => {}
        signal = end.recv() => {
            say(&format!("{name}: {signal}, exits before it listened"));
            return Ok(());
        }
    }
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("--listen {}: cannot listen there", args.listen))?;
    say(&format!("{name}: listens on {}", listener.local_addr()?));

    let connections = GracefulShutdown::new();
    let signal = {
        let mut serving = pin!(accept(listener, &shop, &connections));
        tokio::select! {
            never = &mut serving => match never {},
            signal = end.recv() => signal,
        }
        // The listener ends here: connections are refused from now on.
    };
    match args.on_term {
        OnTerm::Exit => say(&format!("{name}: {signal}, exits at once")),
        OnTerm::Drain => tokio::select! {
            () = connections.shutdown() => say(&format!("{name}: {signal}, drained")),
            () = end.interrupted() => say(&format!("{name}: SIGINT while it drained, exits at once")),
        },
    }
    Ok(())
}

async fn accept(listener: TcpListener, shop: &Arc<Shop>, connections: &GracefulShutdown) -> Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(ACCEPT_AGAIN_MS)).await;
            continue;
        };
        // Answers are small and written whole: there is nothing to gather. A peer that is gone already shows up below.
        _ = stream.set_nodelay(true);
        let shop = Arc::clone(shop);
        let service = service_fn(move |request| {
            let shop = Arc::clone(&shop);
            async move { Ok::<_, Infallible>(shop.answer(&request).await) }
        });
        let connection = connections.watch(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        // A peer that breaks off is its own business; the load counts it.
        tokio::spawn(async move { _ = connection.await });
    }
}

impl Shop {
    async fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        if Instant::now() < self.warm_at {
            let mut cold = Response::new("not warm yet\n".to_owned());
            *cold.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return cold;
        }
        if request.uri().path() != "/healthz" {
            sleep(self.work).await;
        }
        Response::new(self.text.clone())
    }
}

/// The two ways to be asked to end.
#[derive(Debug)]
pub(crate) struct EndSignals {
    term: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// From here on neither of them kills.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it.
    pub(crate) async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for a Ctrl-C: from somebody who does not want to wait for an end in good order. SIGTERM is no such thing, those
    /// who send it may do so twice.
    pub(crate) async fn interrupted(&mut self) {
        _ = self.interrupt.recv().await;
    }
}
