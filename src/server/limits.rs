//! Every bound of the server, with the defaults that production uses.

use std::time::Duration;

/// The largest review that is read. The API server's own limit is 3 MiB an object, and an UPDATE carries two.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A body of up to this size needs no share of [`Limits::large_body_bytes_max`]: the number of reviews bounds those.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Read ahead of the TLS layer, which by itself reads 4 KiB at a time.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Header fields of one request; the API server sends a dozen.
pub const HEADER_FIELDS_MAX: usize = 64;
/// Bytes of one request head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// HTTP/2 streams of one connection.
pub const STREAMS_MAX: u32 = 64;
/// What is read and thrown away of a body that is refused, so that the client gets to read why.
pub const DISCARDED_BODY_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;

/// The bounds of a server. [`Limits::default`] is what production uses; tests shorten the times.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections; more wait in the kernel's queue.
    pub connections_max: usize,
    /// TLS handshakes in progress.
    pub handshakes_max: usize,
    /// Time for one TLS handshake.
    pub handshake: Duration,
    /// An unused connection is closed after this. Must exceed the 90 s for which the API server keeps idle connections,
    /// or it will one day send a request into a connection that is being closed.
    pub idle: Duration,
    /// Time from the first byte of a request to the end of its head.
    pub head: Duration,
    /// Time from the end of the head to the end of the body.
    pub body: Duration,
    /// Reviews being read or decided.
    pub reviews_max: usize,
    /// Bytes of bodies larger than [`SMALL_BODY_BYTES_MAX`] in flight, all together.
    pub large_body_bytes_max: usize,
    /// How long a request waits for room before it is answered with 429.
    pub room: Duration,
    /// How long to keep accepting, with `Connection: close`, after a stop was asked for.
    pub drain: Duration,
    /// How long a connection may stay silent once nothing new is accepted: its request may be on the way.
    pub linger: Duration,
    /// How long to wait for open connections after that.
    pub finish: Duration,
    /// Open connections of the admin port.
    pub admin_connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            handshakes_max: 256,
            handshake: Duration::from_secs(5),
            idle: Duration::from_mins(2),
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            reviews_max: 256,
            large_body_bytes_max: 64 * 1024 * 1024,
            room: Duration::from_millis(100),
            drain: Duration::from_secs(15),
            linger: Duration::from_secs(1),
            finish: Duration::from_secs(10),
            admin_connections_max: 64,
        }
    }
}
