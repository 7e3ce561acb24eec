//! One request of the API server: bounds, body, deadline, the review, the answer.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
    routing::post,
};
use http_body_util::BodyExt;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{self, Instant},
};

use super::{
    Server,
    answer::{Refusal, json},
    deadline,
    limits::{BODY_BYTES_MAX, DISCARDED_BODY_BYTES_MAX, SMALL_BODY_BYTES_MAX},
    previews::Previews,
    review_port::Reviewer,
};
use crate::{
    metrics::{Metrics, Overload, half_label, outcome},
    review::{self, Half, Reply, Summary},
};

/// How long the watches get before a denial is given, and before a namespace that they have not told of counts as one without settings:
/// they deliver within milliseconds.
const SECOND_LOOK: Duration = Duration::from_millis(200);

/// Large bodies are accounted in these units, so that a semaphore can count them.
const SHARE_BYTES: usize = 1024;

/// Answers on the webhook port.
#[derive(Debug)]
pub(super) struct Admit {
    reviewer: Arc<dyn Reviewer>,
    metrics: Arc<Metrics>,
    reviews: Semaphore,
    large_bodies: Semaphore,
    previews: Previews,
    room: Duration,
    body: Duration,
}

impl Admit {
    pub(super) fn new(server: &Server) -> Self {
        let limits = &server.limits;
        Self {
            reviewer: Arc::clone(&server.reviewer),
            metrics: Arc::clone(&server.metrics),
            reviews: Semaphore::new(limits.reviews_max),
            large_bodies: Semaphore::new(limits.large_body_bytes_max / SHARE_BYTES),
            previews: Previews::new(),
            room: limits.room,
            body: limits.body,
        }
    }

    /// The routes of the webhook port.
    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/validate", post(validate))
            .route("/mutate", post(mutate))
            .route("/preview", post(preview))
            .method_not_allowed_fallback(wrong_method)
            .fallback(wrong_path)
            .with_state(Arc::new(self))
    }

    async fn answer(&self, half: Half, request: Request) -> Response {
        match self.admit(half, request).await {
            Ok(reply) => json(reply.body),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// Refuses a request that asks for something else; its body is read and thrown away, see [`Unread`].
    fn reject(&self, refusal: &Refusal, request: Request) -> Response {
        drop(Unread::new(request.into_body(), self.body));
        self.refuse(refusal)
    }

    async fn admit(&self, half: Half, request: Request) -> Result<Reply, Refusal> {
        let (head, body) = request.into_parts();
        let mut unread = Unread::new(body, self.body);
        let announced = unread.announced();
        if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
            return Err(Refusal::TooLarge);
        }
        let arrived = Instant::now();
        let deadline = deadline::from_query(head.uri.query()).map(|granted| arrived + granted);
        let waits_until = earliest(arrived + self.room, deadline);
        let slot = self.room(&self.reviews, 1, Overload::Reviews, waits_until).await?;
        let _in_flight = InFlight::new(&self.metrics);
        let shares = announced.map_or(0, shares);
        let _share = self.room(&self.large_bodies, shares, Overload::Bytes, waits_until).await?;
        let whole = self.whole(&mut unread, earliest(arrived + self.body, deadline)).await;
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        match whole {
            _ if late => Err(Refusal::Deadline),
            Err(refusal) => Err(refusal),
            Ok(body) if half == Half::Preview => {
                // Waiting for a turn, it keeps nobody out.
                drop(slot);
                self.preview(body, &head.headers, deadline).await
            }
            Ok(body) => self.decide(half, &body, &head.headers, deadline).await,
        }
    }

    /// Waits a little for room: a burst is over in milliseconds, and a 429 costs its caller a second.
    async fn room<'a>(
        &self,
        semaphore: &'a Semaphore,
        places: u32,
        kind: Overload,
        until: Instant,
    ) -> Result<SemaphorePermit<'a>, Refusal> {
        match time::timeout_at(until, semaphore.acquire_many(places)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Refusal::Overloaded(kind)),
        }
    }

    /// The whole body. A body that announces no length takes its share of the room as it grows.
    async fn whole(&self, unread: &mut Unread, until: Instant) -> Result<Bytes, Refusal> {
        let announced = unread.announced();
        let mut shares_taken = Vec::new();
        let mut reading = Whole::default();
        loop {
            let data = match time::timeout_at(until, unread.next()).await {
                Err(_) => {
                    unread.forget();
                    return Err(Refusal::SlowBody);
                }
                Ok(None) => return Ok(reading.finish()),
                Ok(Some(data)) => data.map_err(|_| Refusal::BrokenBody)?,
            };
            let size = reading.size() + data.len();
            if size > BODY_BYTES_MAX {
                return Err(Refusal::TooLarge);
            }
            if announced.is_none() {
                let more = shares(size) - shares(reading.size());
                let share = self.large_bodies.try_acquire_many(more);
                shares_taken.push(share.map_err(|_| Refusal::Overloaded(Overload::Bytes))?);
            }
            reading.push(data, announced.unwrap_or(size));
        }
    }

    /// The answer; a denial only after a second look. What was written a moment ago, such as a Service in the same `kubectl apply`, may
    /// not have reached the snapshot at the first one, and refusing what is right is worse than a short wait.
    async fn decide(
        &self,
        half: Half,
        body: &[u8],
        headers: &HeaderMap,
        deadline: Option<Instant>,
    ) -> Result<Reply, Refusal> {
        let (mut reply, mut took) = self.review(half, body)?;
        let second_look = Instant::now() + SECOND_LOOK;
        let Summary { allowed, namespace_is_unseen, .. } = reply.summary;
        if (!allowed || namespace_is_unseen) && deadline.is_none_or(|deadline| second_look < deadline) {
            time::sleep_until(second_look).await;
            (reply, took) = self.review(half, body)?;
        }
        self.metrics.reviewed(half, &reply.summary, took);
        self.reviewer.answered(&reply.summary);
        log(half, &reply.summary, took, trace_id(headers));
        Ok(reply)
    }

    /// What a write of a policy means; on a thread of its own, because it may take 200 ms and no review waits for it.
    async fn preview(&self, body: Bytes, headers: &HeaderMap, deadline: Option<Instant>) -> Result<Reply, Refusal> {
        let Some(_turn) = self.previews.turn(deadline).await else { return Ok(review::uncounted(&body)?) };
        let reviewer = Arc::clone(&self.reviewer);
        let work = tokio::task::spawn_blocking(move || reviewed(&*reviewer, Half::Preview, &body));
        let (reply, took) = work.await.map_err(|_| Refusal::Panicked)?.map_err(|it| self.fault(it))?;
        self.metrics.reviewed(Half::Preview, &reply.summary, took);
        log(Half::Preview, &reply.summary, took, trace_id(headers));
        Ok(reply)
    }

    fn review(&self, half: Half, body: &[u8]) -> Result<(Reply, Duration), Refusal> {
        reviewed(&*self.reviewer, half, body).map_err(|it| self.fault(it))
    }

    fn fault(&self, refusal: Refusal) -> Refusal {
        if matches!(refusal, Refusal::Panicked) {
            self.metrics.panicked();
        }
        refusal
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        match refusal {
            Refusal::Overloaded(kind) => self.metrics.overloaded(*kind),
            _ => self.metrics.refused(refusal.label()),
        }
        tracing::debug!(status = refusal.status().as_u16(), reason = refusal.label(), "refused: {refusal}");
        refusal.answer()
    }
}

/// One review, and how long it took.
fn reviewed(reviewer: &dyn Reviewer, half: Half, body: &[u8]) -> Result<(Reply, Duration), Refusal> {
    let started = Instant::now();
    // The reviewer only reads shared, immutable data, so nothing can be left half changed by a panic.
    let outcome = catch_unwind(AssertUnwindSafe(|| reviewer.review(half, body)));
    let took = started.elapsed();
    match outcome {
        Ok(Ok(reply)) => Ok((reply, took)),
        Ok(Err(error)) => Err(error.into()),
        Err(payload) => {
            let message = payload.downcast_ref::<&str>().copied();
            let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            tracing::error!(half = half_label(half), bytes = body.len(), panic = message, "a review panicked");
            Err(Refusal::Panicked)
        }
    }
}

async fn validate(State(admit): State<Arc<Admit>>, request: Request) -> Response {
    admit.answer(Half::Validate, request).await
}

async fn mutate(State(admit): State<Arc<Admit>>, request: Request) -> Response {
    admit.answer(Half::Mutate, request).await
}

async fn preview(State(admit): State<Arc<Admit>>, request: Request) -> Response {
    admit.answer(Half::Preview, request).await
}

async fn wrong_method(State(admit): State<Arc<Admit>>, request: Request) -> Response {
    admit.reject(&Refusal::Method, request)
}

async fn wrong_path(State(admit): State<Arc<Admit>>, request: Request) -> Response {
    admit.reject(&Refusal::Path, request)
}

fn earliest(limit: Instant, deadline: Option<Instant>) -> Instant {
    deadline.map_or(limit, |deadline| deadline.min(limit))
}

/// The places that a body takes in [`Admit::large_bodies`]; none if it is small.
fn shares(bytes: usize) -> u32 {
    if bytes <= SMALL_BODY_BYTES_MAX {
        return 0;
    }
    u32::try_from(bytes.div_ceil(SHARE_BYTES)).unwrap_or(u32::MAX)
}

/// A body that is being read. What is left of it when the request is refused is read and thrown away, within bounds:
/// closing a socket with unread bytes resets it, and the client would not get to see why.
struct Unread {
    body: Option<Body>,
    discard: Duration,
}

impl Unread {
    fn new(body: Body, discard: Duration) -> Self {
        Self { body: Some(body), discard }
    }

    /// The length that the client announced for what is still to come.
    fn announced(&self) -> Option<usize> {
        let exact = self.body.as_ref()?.size_hint().exact()?;
        Some(usize::try_from(exact).unwrap_or(usize::MAX))
    }

    /// Gives up on what is still to come: the connection is closed without waiting for it.
    fn forget(&mut self) {
        self.body = None;
    }

    /// The next piece of data; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, axum::Error>> {
        loop {
            let frame = match self.body.as_mut()?.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.body = None;
                    return Some(Err(error));
                }
                None => {
                    self.body = None;
                    return None;
                }
            };
            if let Ok(data) = frame.into_data() {
                return Some(Ok(data));
            }
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        let discard = self.discard;
        tokio::spawn(time::timeout(discard, async move {
            let mut discarded_bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                discarded_bytes += frame.data_ref().map_or(0, Bytes::len);
                if discarded_bytes > DISCARDED_BODY_BYTES_MAX {
                    return;
                }
            }
        }));
    }
}

/// Collects a body; one that comes in a single piece is not copied.
#[derive(Default)]
struct Whole {
    first: Bytes,
    rest: Vec<u8>,
}

impl Whole {
    fn size(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn push(&mut self, data: Bytes, expected_bytes: usize) {
        if self.size() == 0 {
            self.first = data;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve(expected_bytes.max(self.first.len() + data.len()));
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&data);
    }

    fn finish(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.into() }
    }
}

/// Counted among the reviews in flight.
struct InFlight<'a> {
    metrics: &'a Metrics,
}

impl<'a> InFlight<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.in_flight().inc();
        Self { metrics }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight().dec();
    }
}

/// The trace that the API server is in: the second field of `traceparent`, 32 hexadecimal digits.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("traceparent")?.to_str().ok()?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Rule or injection names with what came of them: `single-replica=warn,prestop-missing=info`.
struct Pairs<'a>(&'a [(&'static str, &'static str)]);

impl fmt::Display for Pairs<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, outcome)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{name}={outcome}")?;
        }
        Ok(())
    }
}

/// One event a review: what changed somebody's write at info, the rest at debug.
fn log(half: Half, summary: &Summary, took: Duration, trace_id: Option<&str>) {
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                uid = summary.uid,
                half = half_label(half),
                kind = summary.kind,
                namespace = summary.namespace,
                name = summary.name,
                operation = summary.operation,
                dry_run = summary.dry_run,
                allowed = summary.allowed,
                rules = %Pairs(&summary.findings),
                injections = %Pairs(&summary.injections),
                micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                trace_id,
                "{}",
                outcome(summary)
            )
        };
    }
    match outcome(summary) {
        "denied" | "patched" => event!(info),
        _ => event!(debug),
    }
}
