//! A certificate authority of our own, and the leaves that it signs.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

use super::{BACKDATE, CA_LIFETIME, CertsError, Pair, pair::dates};

/// A CA certificate with its key. `Debug` leaves the key out.
#[derive(Clone)]
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { not_before, not_after, certificate_pem: _, key_pem: _ } = self;
        formatter
            .debug_struct("Authority")
            .field("not_before", not_before)
            .field("not_after", not_after)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.certificate_pem == other.certificate_pem
    }
}

impl Authority {
    /// Makes a new CA: P-256, valid from an hour ago for [`CA_LIFETIME`].
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(now: Timestamp) -> Result<Self, CertsError> {
        let key = KeyPair::generate()?;
        let mut params = dated(now, now + CA_LIFETIME);
        params.distinguished_name.push(DnType::CommonName, format!("no502 CA {}", now.as_second()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?;
        Self::from_pem(&certificate.pem(), &key.serialize_pem(), "new CA")
    }

    /// Reads a CA; `place` is for the error messages.
    ///
    /// # Errors
    /// When certificate or key are unreadable or do not belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str, place: &str) -> Result<Self, CertsError> {
        Pair::from_pem(certificate_pem.as_bytes(), place, key_pem.as_bytes(), place)?;
        let (not_before, not_after) = certificate_dates(certificate_pem, place)?;
        Ok(Self { certificate_pem: certificate_pem.to_owned(), key_pem: key_pem.to_owned(), not_before, not_after })
    }

    /// The certificate, for a `caBundle`.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key.
    pub(super) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Signs a fresh P-256 leaf for `names` (DNS names or IP addresses), valid for `lifetime` but no longer than the CA.
    ///
    /// # Errors
    /// When a name is neither, or the system gives no randomness.
    pub fn issue(&self, names: &[String], now: Timestamp, lifetime: SignedDuration) -> Result<Pair, CertsError> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, KeyPair::from_pem(&self.key_pem)?)?;
        let key = KeyPair::generate()?;
        let mut params = dated(now, (now + lifetime).min(self.not_after));
        params.subject_alt_names = CertificateParams::new(names.to_vec())?.subject_alt_names;
        // Browsers and Go read the alternative names only; a common name longer than 64 bytes would be refused.
        params.distinguished_name.push(DnType::CommonName, "no502");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Pair::from_der(vec![leaf.into()], "new leaf", &key, "new leaf")
    }
}

/// `notBefore` and `notAfter` of a PEM certificate.
pub(super) fn certificate_dates(pem: &str, place: &str) -> Result<(Timestamp, Timestamp), CertsError> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| CertsError::content(place, format!("not a PEM certificate: {error}")))?;
    dates(&certificate, place)
}

/// Empty parameters with a validity, backdated by [`BACKDATE`].
fn dated(now: Timestamp, not_after: Timestamp) -> CertificateParams {
    let moment = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or(0);
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = moment(now - BACKDATE);
    params.not_after = moment(not_after);
    params
}
