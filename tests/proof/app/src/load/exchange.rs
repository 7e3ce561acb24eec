//! One request and its answer, and the name of what went wrong.

use std::{error::Error, io, sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use hyper::{Response, body::Incoming};
use tokio::time::timeout;

use super::{
    end::End,
    pool::{Connection, Keep, Pool},
    target::Target,
};

/// All that a request needs.
#[derive(Debug)]
pub(crate) struct Exchange {
    target: Target,
    keep: Keep,
    pool: Arc<Pool>,
    /// For the connection and the whole answer together.
    limit: Duration,
}

impl Exchange {
    /// Requests to this target.
    pub(crate) fn new(target: Target, keep: Keep, limit: Duration) -> Self {
        Self { target, keep, pool: Arc::default(), limit }
    }

    /// Sends one request and reads its answer. The text says what is behind an [`End::Other`].
    pub(crate) async fn once(&self) -> (End, Option<String>) {
        match timeout(self.limit, self.ask()).await {
            Err(_) => (End::Timeout, None),
            Ok(Ok(end)) => (end, None),
            Ok(Err(error)) => match cause(error.as_ref()) {
                End::Other => (End::Other, Some(format!("{error:#}"))),
                end => (end, None),
            },
        }
    }

    async fn ask(&self) -> anyhow::Result<End> {
        let (connection, answer) = match self.ask_kept().await? {
            Some(answered) => answered,
            None => self.ask_new().await?,
        };
        self.read(connection, answer).await
    }

    /// Asks on a kept connection; nothing if there is none, or if it closed before the first byte was written.
    async fn ask_kept(&self) -> anyhow::Result<Option<(Connection, Response<Incoming>)>> {
        let Some(mut connection) = (self.keep == Keep::Keep).then(|| self.pool.take()).flatten() else {
            return Ok(None);
        };
        match connection.sender.try_send_request(self.target.request(false)).await {
            Ok(answer) => Ok(Some((connection, answer))),
            Err(mut failed) => match failed.take_message() {
                Some(_) => Ok(None),
                None => Err(failed.into_error().into()),
            },
        }
    }

    async fn ask_new(&self) -> anyhow::Result<(Connection, Response<Incoming>)> {
        let mut connection = Connection::open(&self.target).await?;
        let answer = connection.sender.send_request(self.target.request(self.keep == Keep::New)).await?;
        Ok((connection, answer))
    }

    async fn read(&self, connection: Connection, answer: Response<Incoming>) -> anyhow::Result<End> {
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(_) => {}
                Err(error) if status.is_success() => return Err(error.into()),
                // The status says enough.
                Err(_) => return Ok(End::Status(status.as_u16())),
            }
        }
        if self.keep == Keep::Keep {
            self.pool.give_back(connection);
        }
        Ok(if status.is_success() { End::Ok } else { End::Status(status.as_u16()) })
    }
}

/// What an error comes down to: what the system said, or else what the HTTP library made of it.
fn cause(error: &(dyn Error + 'static)) -> End {
    let sources = || std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let by_system = sources().find_map(|error| named_by_system(error.downcast_ref::<io::Error>()?.kind()));
    by_system.unwrap_or_else(|| if sources().any(is_cut) { End::Reset } else { End::Other })
}

/// Whether the connection ended in good order, but too early.
fn is_cut(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<hyper::Error>()
        .is_some_and(|error| error.is_incomplete_message() || error.is_canceled() || error.is_closed())
}

fn named_by_system(kind: io::ErrorKind) -> Option<End> {
    use io::ErrorKind as Kind;
    Some(match kind {
        Kind::ConnectionRefused => End::Refused,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => End::Reset,
        Kind::HostUnreachable | Kind::NetworkUnreachable => End::Unreachable,
        Kind::TimedOut => End::Timeout,
        _ => return None,
    })
}
