//! The CA Secret: how its state is written down, and every write a compare-and-swap.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::PostParams};

use super::{
    Authority, CertsError,
    authority::certificate_dates,
    rotation::{Action, Held, Next, Previous, Validity},
};

const CURRENT_CERTIFICATE: &str = "ca.crt";
const CURRENT_KEY: &str = "ca.key";
const NEXT_CERTIFICATE: &str = "next-ca.crt";
const NEXT_KEY: &str = "next-ca.key";
const NEXT_PUBLISHED: &str = "next-ca.published-at";
const PREVIOUS_CERTIFICATE: &str = "previous-ca.crt";
const PREVIOUS_REPLACED: &str = "previous-ca.replaced-at";
const TYPE: &str = "Opaque";

/// The authorities that the Secret holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Authorities {
    pub(super) current: Authority,
    next: Option<(Authority, Option<Timestamp>)>,
    previous: Option<PreviousCertificate>,
}

#[derive(Debug, Clone, PartialEq)]
struct PreviousCertificate {
    pem: String,
    validity: Validity,
    replaced: Timestamp,
}

impl Authorities {
    fn new(now: Timestamp) -> Result<Self, CertsError> {
        Ok(Self { current: Authority::generate(now)?, next: None, previous: None })
    }

    /// The `caBundle`: oldest first, so that a promotion does not change it.
    pub(super) fn bundle(&self) -> String {
        let mut parts = vec![(self.current.not_before, self.current.certificate_pem())];
        parts.extend(self.next.iter().map(|(next, _)| (next.not_before, next.certificate_pem())));
        parts.extend(self.previous.iter().map(|previous| (previous.validity.not_before, previous.pem.as_str())));
        parts.sort_unstable();
        parts.iter().map(|(_, pem)| pem.trim_end().to_owned() + "\n").collect()
    }

    /// The same in the words of [`super::rotation`].
    pub(super) fn held(&self) -> Held {
        let next = |(next, published): &(Authority, Option<Timestamp>)| Next {
            validity: validity(next),
            published: *published,
        };
        let previous =
            |previous: &PreviousCertificate| Previous { validity: previous.validity, replaced: previous.replaced };
        Held {
            current: validity(&self.current),
            next: self.next.as_ref().map(next),
            previous: self.previous.as_ref().map(previous),
        }
    }

    /// The state after `action`.
    pub(super) fn after(&self, action: Action, now: Timestamp) -> Result<Self, CertsError> {
        let mut after = self.clone();
        match action {
            Action::Nothing => {}
            Action::PublishNext => after.next = Some((Authority::generate(now)?, None)),
            Action::StartOverlap => set_published(&mut after, Some(now)),
            Action::RestartOverlap => set_published(&mut after, None),
            Action::Promote => {
                if let Some((next, _)) = after.next.take() {
                    let old = std::mem::replace(&mut after.current, next);
                    let validity = validity(&old);
                    let pem = old.certificate_pem().to_owned();
                    after.previous = Some(PreviousCertificate { pem, validity, replaced: now });
                }
            }
            Action::DropPrevious => after.previous = None,
            Action::Replace => after = Self::new(now)?,
        }
        Ok(after)
    }

    fn data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, value: &str| data.insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
        put(CURRENT_CERTIFICATE, self.current.certificate_pem());
        put(CURRENT_KEY, self.current.key_pem());
        if let Some((next, published)) = &self.next {
            put(NEXT_CERTIFICATE, next.certificate_pem());
            put(NEXT_KEY, next.key_pem());
            if let Some(published) = published {
                put(NEXT_PUBLISHED, &published.to_string());
            }
        }
        if let Some(previous) = &self.previous {
            put(PREVIOUS_CERTIFICATE, &previous.pem);
            put(PREVIOUS_REPLACED, &previous.replaced.to_string());
        }
        data
    }

    /// `None` for an empty Secret, which is ours to fill.
    fn from_data(data: &BTreeMap<String, ByteString>, place: &str) -> Result<Option<Self>, CertsError> {
        if data.is_empty() {
            return Ok(None);
        }
        let read = Reader { data, place };
        let (Some(certificate), Some(key)) = (read.text(CURRENT_CERTIFICATE)?, read.text(CURRENT_KEY)?) else {
            let problem = format!(
                "has no {CURRENT_CERTIFICATE} and {CURRENT_KEY}, so it is not ours: name another Secret, or empty this one"
            );
            return Err(CertsError::content(place, problem));
        };
        let current = Authority::from_pem(certificate, key, &read.key(CURRENT_CERTIFICATE))?;
        let next = match (read.text(NEXT_CERTIFICATE)?, read.text(NEXT_KEY)?) {
            (Some(certificate), Some(key)) => {
                let next = Authority::from_pem(certificate, key, &read.key(NEXT_CERTIFICATE))?;
                Some((next, read.moment(NEXT_PUBLISHED)?))
            }
            _ => None,
        };
        let previous = match (read.text(PREVIOUS_CERTIFICATE)?, read.moment(PREVIOUS_REPLACED)?) {
            (Some(pem), Some(replaced)) => {
                let (not_before, not_after) = certificate_dates(pem, &read.key(PREVIOUS_CERTIFICATE))?;
                let validity = Validity { not_before, not_after };
                Some(PreviousCertificate { pem: pem.to_owned(), validity, replaced })
            }
            _ => None,
        };
        Ok(Some(Self { current, next, previous }))
    }
}

fn validity(authority: &Authority) -> Validity {
    Validity { not_before: authority.not_before, not_after: authority.not_after }
}

fn set_published(authorities: &mut Authorities, at: Option<Timestamp>) {
    if let Some((_, published)) = &mut authorities.next {
        *published = at;
    }
}

/// Reads values of a Secret, and names them when they are wrong.
struct Reader<'a> {
    data: &'a BTreeMap<String, ByteString>,
    place: &'a str,
}

impl<'a> Reader<'a> {
    fn key(&self, key: &str) -> String {
        format!("{}, key {key}", self.place)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, CertsError> {
        let Some(ByteString(bytes)) = self.data.get(key) else { return Ok(None) };
        let text = std::str::from_utf8(bytes);
        text.map(Some).map_err(|_| CertsError::content(self.key(key), "is not text: delete the Secret to start anew"))
    }

    fn moment(&self, key: &str) -> Result<Option<Timestamp>, CertsError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let moment = text.trim().parse();
        moment.map(Some).map_err(|error| CertsError::content(self.key(key), format!("is not a time: {error}")))
    }
}

/// The Secret in the API server.
pub(super) struct CaSecret {
    api: Api<Secret>,
    name: String,
    place: String,
}

impl std::fmt::Debug for CaSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.place)
    }
}

/// What was read, with the object it was read from.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) authorities: Authorities,
    object: Secret,
}

impl CaSecret {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        let place = format!("Secret {namespace}/{name}");
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), place }
    }

    /// Reads the Secret; makes or fills it if need be. `known` is what this replica read last: a Secret that somebody
    /// deleted comes back with the same CA, and no call fails.
    pub(super) async fn read_or_create(
        &self,
        known: Option<&Authorities>,
        now: Timestamp,
    ) -> Result<Stored, CertsError> {
        if let Some(stored) = self.read(known, now).await? {
            return Ok(stored);
        }
        let authorities = known_or_new(known, now)?;
        let mut object = Secret { data: Some(authorities.data()), type_: Some(TYPE.to_owned()), ..Secret::default() };
        object.metadata.name = Some(self.name.clone());
        object.metadata.labels = Some([("app.kubernetes.io/name".to_owned(), "no502".to_owned())].into());
        match self.api.create(&PostParams::default(), &object).await {
            Ok(object) => {
                tracing::info!("{}: created", self.place);
                Ok(Stored { authorities, object })
            }
            // Another replica was faster: its CA is ours.
            Err(kube::Error::Api(status)) if status.code == 409 => self.read(known, now).await?.ok_or_else(|| {
                CertsError::content(&self.place, "exists and does not: somebody deletes it as it is created")
            }),
            Err(error) => Err(CertsError::api("create", &self.place, error)),
        }
    }

    async fn read(&self, known: Option<&Authorities>, now: Timestamp) -> Result<Option<Stored>, CertsError> {
        let object = self.api.get_opt(&self.name).await;
        let Some(object) = object.map_err(|error| CertsError::api("read", &self.place, error))? else {
            return Ok(None);
        };
        let empty = BTreeMap::new();
        if let Some(authorities) = Authorities::from_data(object.data.as_ref().unwrap_or(&empty), &self.place)? {
            return Ok(Some(Stored { authorities, object }));
        }
        let authorities = known_or_new(known, now)?;
        self.write(object, authorities).await.map(Some)
    }

    /// Stores `authorities` if nobody wrote since `stored` was read.
    pub(super) async fn swap(&self, stored: Stored, authorities: Authorities) -> Result<Stored, CertsError> {
        self.write(stored.object, authorities).await
    }

    async fn write(&self, mut object: Secret, authorities: Authorities) -> Result<Stored, CertsError> {
        object.data = Some(authorities.data());
        // The resource version that was read goes along, and the API server refuses the write if it is an old one.
        let object = self.api.replace(&self.name, &PostParams::default(), &object).await;
        let object = object.map_err(|error| CertsError::api("update", &self.place, error))?;
        Ok(Stored { authorities, object })
    }
}

fn known_or_new(known: Option<&Authorities>, now: Timestamp) -> Result<Authorities, CertsError> {
    let in_time = |known: &&Authorities| now.duration_since(known.current.not_after) < SignedDuration::ZERO;
    known.filter(in_time).map_or_else(|| Authorities::new(now), |known| Ok(known.clone()))
}
