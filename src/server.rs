//! The HTTPS port that the API server calls, and the plain admin port beside it.
//!
//! Everything comes in from outside (sockets, certificates, the deciding function, limits, the wish to stop), so that a
//! test owns all of it. A request passes `connection` (one task a connection: handshake, HTTP, idle and stall limits),
//! then `admit` (bounds, deadline, the review) or `admin`.

mod admin;
mod admit;
mod answer;
mod connection;
mod deadline;
pub mod limits;
mod listener;
mod previews;
mod readiness;
mod review_port;
mod stop;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::{net::TcpListener, sync::watch, time};

use self::{
    admin::Admin,
    admit::Admit,
    listener::{Phase, Port},
};
pub use self::{
    limits::Limits,
    readiness::{Condition, Readiness},
    review_port::{Live, Reviewer},
    stop::{Stop, Trigger},
};
use crate::metrics::Metrics;

/// The TLS configuration in force: swapped whole, taken anew for each connection, so a new certificate closes nothing.
pub type TlsConfig = Arc<ArcSwap<rustls::ServerConfig>>;

/// What a server needs and does not own.
#[derive(Debug, Clone)]
pub struct Server {
    /// Decides about each request.
    pub reviewer: Arc<dyn Reviewer>,
    /// The certificate of the webhook port.
    pub tls: TlsConfig,
    /// Behind `/readyz`; the server adds `listener bound`.
    pub readiness: Readiness,
    /// Behind `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Every bound.
    pub limits: Limits,
}

/// Serves both ports until `stop` asks for an end, then drains: not ready at once; `Connection: close` on every answer
/// for `limits.drain` while still accepting; then no new connections, a bounded wait for what is in flight, and return.
/// A second request to stop returns at once. Never fails: an accept error is logged and tried again.
pub async fn run(listener: TcpListener, admin_listener: TcpListener, server: Server, mut stop: Stop) {
    let bound = server.readiness.require("listener bound");
    let limits = server.limits.clone();
    let reviews = Admit::new(&server).router();
    let health = Admin { readiness: server.readiness.clone(), metrics: Arc::clone(&server.metrics) }.router();
    let (phase, admin_phase) = (watch::Sender::new(Phase::Serving), watch::Sender::new(Phase::Serving));
    let webhook = Port::webhook(listener, &server, reviews, phase.subscribe());
    let admin = Port::admin(admin_listener, &server, health, admin_phase.subscribe());
    bound.met();

    let mut forced = stop.clone();
    let drain = async {
        stop.requested().await;
        tracing::info!(drain_seconds = limits.drain.as_secs(), "draining");
        server.readiness.drain();
        phase.send_replace(Phase::Draining);
        time::sleep(limits.drain).await;
        phase.send_replace(Phase::Stopping);
        time::sleep(limits.finish).await;
        tracing::warn!("connections are still open after the drain; leaving");
    };
    tokio::select! {
        () = webhook.serve() => tracing::info!("drained"),
        () = admin.serve() => {}
        () = drain => {}
        () = forced.forced() => tracing::warn!("asked to stop twice; leaving at once"),
    }
}
