//! One port: accepts connections within the bounds, each served by its own task, until it is time to stop.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use futures::FutureExt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinError, JoinSet},
    time,
};

use super::{
    Server, TlsConfig,
    connection::{self, Rules},
    limits::Limits,
};
use crate::metrics::Metrics;

/// Out of file descriptors, mostly: waiting is all that helps.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Where the port is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Business as usual.
    Serving,
    /// Still accepting; every answer closes its connection.
    Draining,
    /// Accepting nothing; connections that are quiet are closed.
    Stopping,
}

/// A bound port, ready to serve.
#[derive(Debug)]
pub(super) struct Port {
    tcp: TcpListener,
    tls: Option<TlsConfig>,
    router: Router,
    phase: watch::Receiver<Phase>,
    rules: Arc<Rules>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl Port {
    pub(super) fn webhook(tcp: TcpListener, server: &Server, router: Router, phase: watch::Receiver<Phase>) -> Self {
        Self {
            tcp,
            tls: Some(Arc::clone(&server.tls)),
            router,
            phase,
            rules: rules(&server.limits, Some(Arc::clone(&server.metrics))),
            connections: Arc::new(Semaphore::new(server.limits.connections_max)),
            handshakes: Arc::new(Semaphore::new(server.limits.handshakes_max)),
        }
    }

    pub(super) fn admin(tcp: TcpListener, server: &Server, router: Router, phase: watch::Receiver<Phase>) -> Self {
        Self {
            tcp,
            tls: None,
            router,
            phase,
            rules: rules(&server.limits, None),
            connections: Arc::new(Semaphore::new(server.limits.admin_connections_max)),
            handshakes: Arc::new(Semaphore::new(server.limits.admin_connections_max)),
        }
    }
}

fn rules(limits: &Limits, metrics: Option<Arc<Metrics>>) -> Arc<Rules> {
    Arc::new(Rules {
        handshake: limits.handshake,
        idle: limits.idle,
        head: limits.head,
        linger: limits.linger,
        metrics,
    })
}

/// An accepted socket with its places.
struct Accepted {
    socket: TcpStream,
    connection: OwnedSemaphorePermit,
    handshake: OwnedSemaphorePermit,
}

impl Port {
    /// Accepts until [`Phase::Stopping`], then returns once every connection is closed.
    pub(super) async fn serve(self) {
        let mut tasks = JoinSet::new();
        let mut phase = self.phase.clone();
        loop {
            tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase == Phase::Stopping) => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => report(ended),
                accepted = self.accept() => self.spawn(&mut tasks, accepted),
            }
        }
        // Closing a listening socket resets what waits in its queue: those clients were let in, so serve them.
        while let Some(accepted) = self.accept().now_or_never() {
            self.spawn(&mut tasks, accepted);
        }
        drop(self);
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    }

    async fn accept(&self) -> Accepted {
        let connection = place(&self.connections).await;
        let handshake = place(&self.handshakes).await;
        let mut failed = false;
        loop {
            match self.tcp.accept().await {
                Ok((socket, _)) => return Accepted { socket, connection, handshake },
                Err(error) if failed => tracing::debug!(%error, "accept failed again"),
                Err(error) => {
                    failed = true;
                    tracing::warn!(%error, "accept failed; trying again until it works");
                }
            }
            time::sleep(ACCEPT_RETRY).await;
        }
    }

    fn spawn(&self, tasks: &mut JoinSet<()>, accepted: Accepted) {
        let Accepted { socket, connection, handshake } = accepted;
        let tls = self.tls.as_ref().map(|tls| tls.load_full());
        let (router, phase, rules) = (self.router.clone(), self.phase.clone(), Arc::clone(&self.rules));
        tasks.spawn(async move {
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
            connection::run(socket, tls, handshake, router, phase, &rules).await;
            drop(connection);
        });
    }
}

/// A place in `semaphore`; semaphores of ports are never closed.
async fn place(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    loop {
        match Arc::clone(semaphore).acquire_owned().await {
            Ok(permit) => return permit,
            Err(closed) => {
                tracing::error!(error = %io::Error::other(closed), "accepting nothing any more");
                std::future::pending::<()>().await;
            }
        }
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}
