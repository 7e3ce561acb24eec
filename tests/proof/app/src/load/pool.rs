//! Connections, and which of them are kept. The client's own hands hold them, because a client library that replaces and
//! retries by itself would hide what is to be counted.

use std::{
    collections::VecDeque,
    io,
    net::TcpStream as Socket,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Empty;
use hyper::{
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::target::Target;

/// A request opens a new connection as long as fewer than this are idle: one for all would reach one pod only.
const IDLE_MIN: usize = 20;
/// Connections above this are closed when their request is done: what an outage has piled up goes away again.
const IDLE_MAX: usize = 100;
/// How long a connection may take after a whole answer until it can take the next request.
const READY_AGAIN_MS: u64 = 1000;

/// Whether connections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Keep {
    /// Kept alive and used in turn, as browsers and load balancers do.
    Keep,
    /// One for every request.
    New,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Empty<Bytes>>,
    /// The same socket: tells what the peer did before the client library has heard of it.
    socket: Socket,
}

/// The idle ones, the longest idle first.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<VecDeque<Connection>>,
}

impl Pool {
    /// The longest idle connection that the peer has not closed; none if a new one is due.
    pub(crate) fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // What is known to be closed does not count as idle.
        idle.retain(|connection| connection.sender.is_ready());
        while idle.len() >= IDLE_MIN {
            let connection = idle.pop_front()?;
            if is_silent(&connection.socket) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps the connection as soon as it can take another request, unless the answer has closed it.
    pub(crate) fn give_back(self: &Arc<Self>, mut connection: Connection) {
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let ready = timeout(Duration::from_millis(READY_AGAIN_MS), connection.sender.ready()).await;
            if !matches!(ready, Ok(Ok(()))) {
                return;
            }
            let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push_back(connection);
            }
        });
    }
}

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// Those of the system, and none of HTTP: nothing is written yet.
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address()).await?.into_std()?;
        // A connection that is reset by now refuses it on some systems; the request will say what happened.
        _ = stream.set_nodelay(true);
        let socket = stream.try_clone()?;
        let (sender, connection) = handshake(TokioIo::new(TcpStream::from_std(stream)?)).await?;
        // What goes wrong is told to the request.
        tokio::spawn(async move { _ = connection.await });
        Ok(Self { sender, socket })
    }
}

/// Whether nothing has come from the peer: neither its end of the connection nor bytes that nobody asked for. The socket
/// does not block.
fn is_silent(socket: &Socket) -> bool {
    socket.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
