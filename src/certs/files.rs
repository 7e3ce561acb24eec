//! `--tls-cert-file` and `--tls-key-file`: a mounted pair that somebody else renews.
//!
//! Content is polled, not watched: the kubelet swaps a symbolic link, which a watch on the file sees once and then
//! never again. A pair that cannot be used leaves the last good one in force.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time;

use super::{CertsError, Pair};
use crate::{
    metrics::{Certificate, Metrics},
    server::{Condition, TlsConfig},
};

/// How often the files are read.
pub const FILES_POLL: Duration = Duration::from_secs(10);
/// Flags as people write them.
const CERT_FLAG: &str = "--tls-cert-file";
const KEY_FLAG: &str = "--tls-key-file";

/// A mounted pair.
#[derive(Debug)]
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
    tls: TlsConfig,
    valid: Condition,
    metrics: Arc<Metrics>,
    /// What was read last, good or bad: a bad pair is complained about once.
    seen: Option<(Vec<u8>, Vec<u8>)>,
    served: Option<Pair>,
    complaint: Option<String>,
}

impl Files {
    /// Nothing is read yet; `valid` is the condition `certificate valid`.
    #[must_use]
    pub fn new(certificate: PathBuf, key: PathBuf, tls: TlsConfig, valid: Condition, metrics: Arc<Metrics>) -> Self {
        Self { certificate, key, tls, valid, metrics, seen: None, served: None, complaint: None }
    }

    /// Polls every `every` (normally [`FILES_POLL`]) for ever.
    pub async fn run(mut self, every: Duration) -> Infallible {
        loop {
            self.step(Timestamp::now()).await;
            time::sleep(every).await;
        }
    }

    /// One look: takes a new good pair into force, logs and counts a bad one, and says whether what is served is valid.
    pub async fn step(&mut self, now: Timestamp) {
        match self.look().await {
            Ok(()) => self.complaint = None,
            Err(error) => self.complain(&error),
        }
        super::judge(self.served.as_ref(), self.complaint.as_deref(), &self.valid, now);
    }

    async fn look(&mut self) -> Result<(), CertsError> {
        let certificate = read(CERT_FLAG, &self.certificate).await?;
        let key = read(KEY_FLAG, &self.key).await?;
        let content = (certificate, key);
        if self.complaint.is_none() && self.seen.as_ref() == Some(&content) {
            return Ok(());
        }
        let (certificate_place, key_place) = (place(CERT_FLAG, &self.certificate), place(KEY_FLAG, &self.key));
        let pair = Pair::from_pem(&content.0, &certificate_place, &content.1, &key_place)?;
        self.seen = Some(content);
        tracing::info!(not_after = %pair.not_after, "{certificate_place}: in force");
        self.tls.store(pair.server_config());
        self.metrics.certificate_expires(Certificate::Leaf, pair.not_after);
        self.served = Some(pair);
        Ok(())
    }

    fn complain(&mut self, error: &CertsError) {
        self.metrics.certificate_failed("files");
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            let kept = if self.served.is_some() { "; the pair read before stays in force" } else { "" };
            tracing::error!("{text}{kept}");
        }
        self.complaint = Some(text);
    }
}

fn place(flag: &str, path: &Path) -> String {
    format!("{flag} {}", path.display())
}

async fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, CertsError> {
    let owned = path.to_owned();
    let outcome =
        tokio::task::spawn_blocking(move || std::fs::read(owned)).await.unwrap_or_else(|error| Err(error.into()));
    outcome.map_err(|source| CertsError::Read { flag, path: path.display().to_string(), source })
}
