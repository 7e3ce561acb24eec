//! Answers: their bodies, and the refusals, each with its status and one line that says what to do.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{
        StatusCode,
        header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
    },
    response::Response,
};
use hyper::body::{Frame, SizeHint};

use super::{connection::Busy, limits::BODY_BYTES_MAX};
use crate::{metrics::Overload, review::ReviewError};

const CLOSE: HeaderValue = HeaderValue::from_static("close");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The API server's client retries a 429 only if this is a whole number of seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// A body whose connection counts as busy until it is written.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    _busy: Busy,
}

impl Answer {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a request gets no review. Never `allowed: false`: what we could not decide is left to `failurePolicy`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no such path: POST an AdmissionReview to /validate or /mutate")]
    Path,
    #[error("wrong method: POST an AdmissionReview")]
    Method,
    #[error("body too large: at most {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the body did not arrive in time")]
    SlowBody,
    #[error("the body broke off")]
    BrokenBody,
    #[error("the time that the caller gave (?timeout=) is over")]
    Deadline,
    #[error("too much in flight: try again in a second")]
    Overloaded(Overload),
    #[error("not a review: {0}")]
    Unreadable(#[from] ReviewError),
    #[error("the review failed inside no502; the log has the details")]
    Panicked,
}

impl Refusal {
    /// 429 and 503 are what the API server's client takes for "elsewhere or later"; all but 2xx leave the decision to
    /// `failurePolicy`.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenBody | Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::Deadline => StatusCode::SERVICE_UNAVAILABLE,
            Self::Overloaded(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The word under which it is counted.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Method => "method",
            Self::TooLarge => "body_too_large",
            Self::SlowBody => "body_slow",
            Self::BrokenBody => "body_broken",
            Self::Deadline => "deadline",
            Self::Overloaded(_) => "overload",
            Self::Unreadable(_) => "unreadable",
            Self::Panicked => "panic",
        }
    }

    /// Whether the body may be unread, so that the connection cannot carry another request.
    fn closes(&self) -> bool {
        !matches!(self, Self::Unreadable(_) | Self::Panicked)
    }

    pub(super) fn answer(&self) -> Response {
        let mut response = line(self.status(), &self.to_string());
        if self.closes() {
            close(&mut response);
        }
        match self {
            Self::Overloaded(_) => set(&mut response, RETRY_AFTER, RETRY_AFTER_SECONDS),
            Self::Method => set(&mut response, ALLOW, HeaderValue::from_static("POST")),
            _ => {}
        }
        response
    }
}

/// A review's answer.
pub(super) fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    set(&mut response, CONTENT_TYPE, JSON);
    response
}

/// Plain text that ends with a line feed.
pub(super) fn line(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, PLAIN);
    response
}

/// Asks the client to use another connection next time, which may reach another replica.
pub(super) fn close(response: &mut Response) {
    response.headers_mut().insert(CONNECTION, CLOSE);
}

fn set(response: &mut Response, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}
