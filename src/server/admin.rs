//! The admin port: liveness, readiness and metrics, in plain HTTP for the kubelet and for Prometheus.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;

use super::{
    answer::{close, line},
    readiness::Readiness,
};
use crate::metrics::{CONTENT_TYPE as METRICS_CONTENT_TYPE, Metrics};

/// What the admin port tells.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    pub(super) readiness: Readiness,
    pub(super) metrics: Arc<Metrics>,
}

impl Admin {
    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/livez", get(async || line(StatusCode::OK, "ok")))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .method_not_allowed_fallback(wrong_method)
            .fallback(async || line(StatusCode::NOT_FOUND, "no such path: there are /livez, /readyz and /metrics"))
            .with_state(self)
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    let missing = admin.readiness.missing();
    if missing.is_empty() {
        return line(StatusCode::OK, "ok");
    }
    line(StatusCode::SERVICE_UNAVAILABLE, &missing.join("\n"))
}

async fn metrics(State(admin): State<Admin>) -> Response {
    ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], admin.metrics.encode(Timestamp::now())).into_response()
}

async fn wrong_method() -> Response {
    let mut response = line(StatusCode::METHOD_NOT_ALLOWED, "wrong method: GET");
    close(&mut response);
    response
}
