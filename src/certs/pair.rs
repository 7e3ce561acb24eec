//! A certificate chain with its key: checked, dated, and ready to serve.

use std::{fmt, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use rustls::{
    InconsistentKeys, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::CertsError;

/// The API server speaks HTTP/1.1 only; `h2` is for other clients.
const ALPN: [&[u8]; 2] = [b"http/1.1", b"h2"];

/// What the port serves. `Debug` leaves the key out.
#[derive(Clone)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    /// Start of validity of the first certificate.
    pub not_before: Timestamp,
    /// End of validity: the earliest of the chain.
    pub not_after: Timestamp,
}

impl fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { not_before, not_after, certified: _ } = self;
        formatter
            .debug_struct("Pair")
            .field("not_before", not_before)
            .field("not_after", not_after)
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// Reads a chain (leaf first) and the key of its first certificate. The places are for the error messages.
    ///
    /// # Errors
    /// When one is unreadable, empty, or when key and certificate do not belong together.
    pub fn from_pem(chain: &[u8], chain_place: &str, key: &[u8], key_place: &str) -> Result<Self, CertsError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CertsError::content(chain_place, format!("not a PEM certificate: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| CertsError::content(key_place, format!("holds no readable PEM private key: {error}")))?;
        Self::from_der(chain, chain_place, &key, key_place)
    }

    pub(super) fn from_der(
        chain: Vec<CertificateDer<'static>>,
        chain_place: &str,
        key: &PrivateKeyDer<'static>,
        key_place: &str,
    ) -> Result<Self, CertsError> {
        let (not_before, not_after) = validity(&chain, chain_place)?;
        let key = ring::sign::any_supported_type(key)
            .map_err(|error| CertsError::content(key_place, format!("not a key that can be used: {error}")))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => {
                let problem = format!("is not the key of the first certificate in {chain_place}");
                return Err(CertsError::content(key_place, problem));
            }
        }
        Ok(Self { certified: Arc::new(certified), not_before, not_after })
    }

    /// Whether a client with the right time would accept it.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// The server configuration that serves this pair: TLS 1.2 and later, ALPN `http/1.1` then `h2`.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        server_config(Arc::new(SingleCertAndKey::from((*self.certified).clone())))
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }
}

/// A configuration without a certificate, for the time before there is one: the port is bound, handshakes fail.
#[must_use]
pub fn nothing_yet() -> Arc<ServerConfig> {
    server_config(Arc::new(Nothing))
}

#[derive(Debug)]
struct Nothing;

impl ResolvesServerCert for Nothing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// Uses the process's crypto provider, which the program installs before anything else.
fn server_config(certificate: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
    debug_assert!(CryptoProvider::get_default().is_some(), "install a crypto provider first");
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
    // The API server never resumes a session: tickets would only cost bytes.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Start of the first certificate, earliest end of all.
fn validity(chain: &[CertificateDer<'_>], place: &str) -> Result<(Timestamp, Timestamp), CertsError> {
    let mut whole: Option<(Timestamp, Timestamp)> = None;
    for certificate in chain {
        let (start, end) = dates(certificate, place)?;
        whole = Some(whole.map_or((start, end), |(first, earliest)| (first, earliest.min(end))));
    }
    whole.ok_or_else(|| CertsError::content(place, "holds no PEM certificate"))
}

/// `notBefore` and `notAfter` of one certificate.
pub(super) fn dates(certificate: &CertificateDer<'_>, place: &str) -> Result<(Timestamp, Timestamp), CertsError> {
    let unreadable = |problem: String| CertsError::content(place, format!("not an X.509 certificate: {problem}"));
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| unreadable(error.to_string()))?;
    let moment = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|error| unreadable(error.to_string()))
    };
    Ok((moment(parsed.validity().not_before)?, moment(parsed.validity().not_after)?))
}

/// The names that the webhook port is called by: the Service's, localhost, and `extra` (names or IP addresses).
#[must_use]
pub fn serving_names(service: &str, namespace: &str, extra: &[String]) -> Vec<String> {
    let service = format!("{service}.{namespace}.svc");
    let mut names = vec![
        format!("{service}.cluster.local"),
        "localhost".to_owned(),
        IpAddr::from([127, 0, 0, 1]).to_string(),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]).to_string(),
    ];
    names.insert(0, service);
    for name in extra {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
