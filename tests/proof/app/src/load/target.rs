//! Where the requests go, and what they look like.

use std::{fmt, net::SocketAddr};

use anyhow::{Context as _, bail};
use http_body_util::Empty;
use hyper::{
    Request, Uri,
    body::Bytes,
    header::{CONNECTION, HOST, HeaderValue, USER_AGENT},
    http::uri::Authority,
};
use tokio::net::lookup_host;

const HTTP_PORT: u16 = 80;

/// One URL, looked up.
#[derive(Debug)]
pub(crate) struct Target {
    /// One address, however many the name has: going on to the next one would be a retry that hides a fault.
    address: SocketAddr,
    host: HeaderValue,
    uri: Uri,
    path: Uri,
}

impl Target {
    /// Reads the URL and looks its name up.
    ///
    /// # Errors
    ///
    /// If it is no `http://` URL, its host has no address, or the Host header is none.
    pub(crate) async fn find(url: &str, host: Option<&str>) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL; write http://HOST[:PORT]/PATH"))?;
        if uri.scheme_str() != Some("http") {
            bail!("{url:?} does not begin with http://, and nothing else can be asked");
        }
        let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@')) else {
            bail!("{url:?} has no host or names a user; write http://HOST[:PORT]/PATH");
        };
        let address =
            look_up(authority.host(), port(authority).with_context(|| format!("{url:?} has no usable port"))?).await?;
        let host = host.unwrap_or(authority.as_str());
        let host = HeaderValue::from_str(host).with_context(|| format!("--host {host:?} cannot be a header"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        Ok(Self { address, host, uri, path })
    }

    /// Where to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// One more request.
    pub(crate) fn request(&self, closes: bool) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static("no502-shop"));
        if closes {
            // The peer closes first and keeps the used-up port; here, thousands of them would run out.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        request
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.uri, self.address)
    }
}

/// The port behind the host, or the one that HTTP has without.
fn port(authority: &Authority) -> Option<u16> {
    // The library takes `:99999` for no port at all.
    let is_bare = authority.as_str().len() == authority.host().len();
    if is_bare { Some(HTTP_PORT) } else { authority.port_u16().filter(|port| *port > 0) }
}

async fn look_up(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<SocketAddr> =
        lookup_host((name, port)).await.with_context(|| format!("{name:?} has no address"))?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().with_context(|| format!("{name:?} has no address"))
}
