//! `--dev`: a CA and a leaf that live as long as the process.

use jiff::Timestamp;

use super::{Authority, CA_LIFETIME, CertsError, Pair};

/// A pair to serve and the CA that a client must trust.
#[derive(Debug)]
pub struct Ephemeral {
    /// The leaf with its key.
    pub pair: Pair,
    /// The CA certificate: print it, or put it into a `caBundle`.
    pub ca_pem: String,
}

/// Makes a fresh CA and a leaf for `names` that lives as long as the CA.
///
/// # Errors
/// When a name is neither a DNS name nor an IP address.
pub fn ephemeral(names: &[String], now: Timestamp) -> Result<Ephemeral, CertsError> {
    let authority = Authority::generate(now)?;
    let pair = authority.issue(names, now, CA_LIFETIME)?;
    Ok(Ephemeral { pair, ca_pem: authority.certificate_pem().to_owned() })
}
