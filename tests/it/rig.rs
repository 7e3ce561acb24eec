//! A whole server on loopback ports, and clients that hold their connections in their own hands.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::SendRequest,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use no502::{
    certs::{self, Ephemeral},
    metrics::Metrics,
    review::{Half, Reply, ReviewError, Summary},
    server::{self, Limits, Readiness, Reviewer, Server, Stop, TlsConfig, Trigger},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Longer than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a test holds of a running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) ca_pem: String,
    pub(crate) tls: TlsConfig,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trigger: Trigger,
    pub(crate) task: JoinHandle<()>,
}

/// As `main` does; again is harmless.
pub(crate) fn crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(crate) fn fresh_certificate() -> Ephemeral {
    crypto_provider();
    let names = certs::serving_names("no502", "no502-system", &[]);
    certs::ephemeral(&names, Timestamp::now()).expect("a certificate")
}

/// Allows everything; the uid of the summary is the number of bytes.
pub(crate) fn allow(half: Half, body: &[u8]) -> Result<Reply, ReviewError> {
    match body {
        b"panic" => std::panic::resume_unwind(Box::new("asked to")),
        b"nonsense" => Err(ReviewError::NoUid),
        _ => {
            let uid = body.len().to_string();
            let summary = Summary { uid, kind: "Service", operation: "CREATE", allowed: true, ..Summary::default() };
            Ok(Reply { body: format!("{half:?} {}", body.len()).into_bytes(), summary })
        }
    }
}

pub(crate) async fn start(limits: Limits) -> Running {
    start_with(Arc::new(allow), limits).await
}

pub(crate) async fn start_with(reviewer: Arc<dyn Reviewer>, limits: Limits) -> Running {
    let Ephemeral { pair, ca_pem } = fresh_certificate();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let admin_listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let admin = admin_listener.local_addr().expect("an address");
    let tls = Arc::new(ArcSwap::new(pair.server_config()));
    let (readiness, metrics) = (Readiness::new(), Arc::new(Metrics::new()));
    let (trigger, stop) = Stop::manual();
    let server =
        Server { reviewer, tls: Arc::clone(&tls), readiness: readiness.clone(), metrics: Arc::clone(&metrics), limits };
    let task = tokio::spawn(server::run(listener, admin_listener, server, stop));
    Running { address, admin, ca_pem, tls, readiness, metrics, trigger, task }
}

impl Running {
    /// A connection that has shaken hands.
    pub(crate) async fn tls(&self) -> TlsStream<TcpStream> {
        handshake(self.address, &self.ca_pem, &[b"http/1.1"]).await.expect("a handshake")
    }

    /// An HTTP/1.1 connection.
    pub(crate) async fn connect(&self) -> Client {
        Client::over(self.tls().await).await
    }

    /// GET on the admin port.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let socket = TcpStream::connect(self.admin).await.expect("the admin port");
        Client::over(socket).await.send(Method::GET, path, Bytes::new()).await.expect("an answer")
    }

    /// Waits until the metrics say `line`.
    pub(crate) async fn counted(&self, line: &str) {
        eventually(line, || self.metrics.encode(Timestamp::now()).lines().any(|counted| counted == line)).await;
    }

    /// Waits until the server has returned.
    pub(crate) async fn stopped(self) {
        time::timeout(PATIENCE, self.task).await.expect("the server returns").expect("without a panic");
    }
}

/// Polls `is_true` until it is.
pub(crate) async fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let waiting = async {
        while !is_true() {
            time::sleep(Duration::from_millis(2)).await;
        }
    };
    time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| unreachable!("never came true: {what}"));
}

pub(crate) async fn handshake(
    address: SocketAddr,
    ca_pem: &str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder().with_root_certificates(roots(ca_pem)).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("no502.no502-system.svc").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

/// A trust store of every certificate in a bundle.
pub(crate) fn roots(bundle_pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle_pem.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("a CA");
    }
    roots
}

/// One HTTP/1.1 connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) closes: bool,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self { sender }
    }

    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> hyper::Result<Answer> {
        self.sender.ready().await?;
        let request = Request::builder().method(method).uri(path).header("host", "no502.no502-system.svc");
        let response = self.sender.send_request(request.body(Full::new(body)).expect("a request")).await?;
        Answer::read(response).await
    }

    pub(crate) async fn review(&mut self, body: impl Into<Bytes>) -> hyper::Result<Answer> {
        self.send(Method::POST, "/validate", body.into()).await
    }
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let (status, closes) = (response.status().as_u16(), header("connection").as_deref() == Some("close"));
        let retry_after = header("retry-after");
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Self { status, closes, retry_after, body: String::from_utf8_lossy(&body).into_owned() })
    }
}
