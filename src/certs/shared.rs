//! Self-managed certificates: the CA in one Secret for all replicas, a leaf in each replica's memory.
//!
//! One loop: read the Secret (or make it), keep the `caBundle` of both configurations right, take the next step of a
//! rotation if there is one, renew the leaf. When the API server is away, the leaf is still renewed with the CA that
//! was read last, and serving goes on.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::time;

use super::{
    CertsError, Configuration, LEAF_LIFETIME, Pair,
    bundle::keep_right,
    renewal_due,
    rotation::{Action, OVERLAP, Seen, next_action},
    secret::{Authorities, CaSecret},
};
use crate::{
    metrics::{Certificate, Metrics},
    server::{Condition, TlsConfig},
};

/// How often everything is looked at, against the wall clock: a suspended machine stops the other one.
pub const SHARED_CHECK: Duration = Duration::from_secs(10);
/// Pause after a step of a rotation or a write that came too late, and first pause after a failure.
const SOON: Duration = Duration::from_secs(1);
/// Longest pause after failures in a row.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// One look takes three requests and at most three writes; a request that hangs must not end the looks.
const STEP_MAX: Duration = Duration::from_secs(20);

/// Names and times of the self-managed certificates.
#[derive(Debug, Clone)]
pub struct SharedOptions {
    /// Namespace of the CA Secret.
    pub namespace: String,
    /// Name of the CA Secret.
    pub secret: String,
    /// The two webhook configurations.
    pub configurations: [Configuration; 2],
    /// Names of the leaf, see [`super::serving_names`].
    pub names: Vec<String>,
    /// How long both configurations must have carried a new CA before it signs.
    pub overlap: SignedDuration,
}

impl SharedOptions {
    /// Options with the default overlap.
    #[must_use]
    pub fn new(namespace: &str, secret: &str, configurations: [Configuration; 2], names: Vec<String>) -> Self {
        Self { namespace: namespace.to_owned(), secret: secret.to_owned(), configurations, names, overlap: OVERLAP }
    }
}

/// What one look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The change made to the Secret.
    pub action: Action,
    /// What was seen of the two configurations, before any repair.
    pub seen: [Seen; 2],
    /// Whether a new leaf went into force.
    pub renewed: bool,
    /// Whether somebody else changed a configuration while it was being repaired: it is to be looked at again.
    pub is_outpaced: bool,
}

/// The self-managed certificates of one replica.
pub struct Shared {
    client: Client,
    secret: CaSecret,
    options: SharedOptions,
    tls: TlsConfig,
    valid: Condition,
    metrics: Arc<Metrics>,
    /// What was read last.
    known: Option<Authorities>,
    /// What is served, with the certificate of its CA.
    served: Option<(Pair, String)>,
    /// What was last said about a subject, so that it is said once.
    said: BTreeMap<&'static str, String>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Shared {
    /// Nothing is read yet; `valid` is the condition `certificate valid`.
    #[must_use]
    pub fn new(
        client: Client,
        options: SharedOptions,
        tls: TlsConfig,
        valid: Condition,
        metrics: Arc<Metrics>,
    ) -> Self {
        let secret = CaSecret::new(client.clone(), &options.namespace, &options.secret);
        Self { client, secret, options, tls, valid, metrics, known: None, served: None, said: BTreeMap::new() }
    }

    /// Looks every `every` (normally [`SHARED_CHECK`], give or take a tenth) for ever; sooner after a change, later after
    /// failures.
    pub async fn run(mut self, every: Duration) -> Infallible {
        let mut backoff = SOON;
        loop {
            let pause = match time::timeout(STEP_MAX, self.step(Timestamp::now())).await {
                Ok(Ok(Step { action: Action::Nothing, is_outpaced: false, .. })) => {
                    backoff = SOON;
                    every
                }
                Ok(Ok(_)) => SOON,
                failed => {
                    if failed.is_err() {
                        self.say("secret", "the API server does not answer in time");
                    }
                    self.renew_offline(Timestamp::now());
                    let pause = backoff;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    pause
                }
            };
            time::sleep(jittered(pause)).await;
        }
    }

    /// One look. A configuration that cannot be read or written is logged, and does not keep the leaf from being renewed.
    ///
    /// # Errors
    /// When the Secret cannot be read, created or understood. What is served stays in force.
    pub async fn step(&mut self, now: Timestamp) -> Result<Step, CertsError> {
        let outcome = self.look(now).await;
        match &outcome {
            Ok(_) => {
                self.said.remove("secret");
            }
            Err(error) if error.is_conflict() => tracing::debug!(%error, "another replica was faster"),
            Err(error) => {
                self.metrics.certificate_failed("secret");
                self.say("secret", &error.to_string());
            }
        }
        self.judge(now);
        outcome
    }

    async fn look(&mut self, now: Timestamp) -> Result<Step, CertsError> {
        let stored = self.secret.read_or_create(self.known.as_ref(), now).await?;
        self.know(stored.authorities.clone());
        // Before anything else that may fail: the port has a certificate as soon as there is a CA.
        let mut renewed = self.renew(now)?;
        let bundle = stored.authorities.bundle();
        let (mutating, validating) = (self.see(0, &bundle).await, self.see(1, &bundle).await);
        let seen = [mutating, validating].map(|it| it.unwrap_or(Seen::Wrong));
        let is_outpaced = mutating.is_none() || validating.is_none();
        let action = next_action(&stored.authorities.held(), seen, now, self.options.overlap);
        if action != Action::Nothing {
            let after = stored.authorities.after(action, now)?;
            let stored = self.secret.swap(stored, after).await?;
            tracing::info!(?action, "CA rotation");
            self.know(stored.authorities);
            renewed |= self.renew(now)?;
        }
        Ok(Step { action, seen, renewed, is_outpaced })
    }

    /// Repairs one configuration; `None` if somebody else changed it in between.
    async fn see(&mut self, index: usize, bundle: &str) -> Option<Seen> {
        let subject = ["mutating", "validating"][index];
        let configuration = &self.options.configurations[index];
        match keep_right(&self.client, configuration, bundle).await {
            Ok(Seen::Missing) => {
                let text = format!("{configuration}: not installed yet; its caBundle is set as soon as it is");
                self.inform(subject, &text);
                Some(Seen::Missing)
            }
            Ok(seen) => {
                self.said.remove(subject);
                Some(seen)
            }
            Err(error) if error.is_conflict() => {
                tracing::debug!(%error, "changed in between; looking again");
                None
            }
            Err(error) => {
                self.metrics.certificate_failed("bundle");
                self.say(subject, &error.to_string());
                Some(Seen::Wrong)
            }
        }
    }

    fn know(&mut self, authorities: Authorities) {
        self.metrics.certificate_expires(Certificate::Ca, authorities.current.not_after);
        self.known = Some(authorities);
    }

    /// A new leaf, if the CA has changed or a third of the old one's lifetime is left.
    fn renew(&mut self, now: Timestamp) -> Result<bool, CertsError> {
        let Some(authority) = self.known.as_ref().map(|known| &known.current) else { return Ok(false) };
        let signer = authority.certificate_pem();
        let still_good = |(pair, signed_by): &(Pair, String)| {
            signed_by == signer && pair.is_valid(now) && !renewal_due(pair.not_before, pair.not_after, now)
        };
        // A leaf cannot outlive its CA: with an old CA there is nothing to gain from another one.
        let as_long_as_possible = |(pair, signed_by): &(Pair, String)| {
            signed_by == signer && pair.is_valid(now) && pair.not_after >= authority.not_after
        };
        if self.served.as_ref().is_some_and(|served| still_good(served) || as_long_as_possible(served)) {
            return Ok(false);
        }
        let pair = authority.issue(&self.options.names, now, LEAF_LIFETIME)?;
        tracing::info!(not_after = %pair.not_after, "new leaf certificate in force");
        self.tls.store(pair.server_config());
        self.metrics.certificate_expires(Certificate::Leaf, pair.not_after);
        self.served = Some((pair, signer.to_owned()));
        Ok(true)
    }

    /// The same without the API server, with the CA that was read last.
    pub fn renew_offline(&mut self, now: Timestamp) {
        if let Err(error) = self.renew(now) {
            self.metrics.certificate_failed("issue");
            self.say("issue", &error.to_string());
        }
        self.judge(now);
    }

    fn judge(&self, now: Timestamp) {
        let served = self.served.as_ref().map(|(pair, _)| pair);
        super::judge(served, self.said.get("secret").map(String::as_str), &self.valid, now);
    }

    /// A warning, unless the last one was the same.
    fn say(&mut self, subject: &'static str, text: &str) {
        if self.said.get(subject).is_none_or(|said| said != text) {
            tracing::warn!("{text}; trying again until it works");
            self.said.insert(subject, text.to_owned());
        }
    }

    fn inform(&mut self, subject: &'static str, text: &str) {
        if self.said.get(subject).is_none_or(|said| said != text) {
            tracing::info!("{text}");
            self.said.insert(subject, text.to_owned());
        }
    }
}

/// Nine to eleven tenths of `pause`, so that replicas do not look in step.
fn jittered(pause: Duration) -> Duration {
    let tenths_of_percent = u32::try_from(RandomState::new().hash_one(()) % 201).unwrap_or(100);
    pause * (900 + tenths_of_percent) / 1000
}
