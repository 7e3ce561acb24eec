//! The admin port: liveness, readiness and metrics, in plain HTTP for the kubelet and for Prometheus.

use std::sync::Arc;

use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
};
use jiff::Timestamp;

use super::{
    answer::{close, line},
    listener::Handler,
    readiness::Readiness,
};
use crate::metrics::{CONTENT_TYPE as METRICS_CONTENT_TYPE, Metrics};

/// Answers on the admin port.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) readiness: Readiness,
    pub(super) metrics: Arc<Metrics>,
}

impl Handler for Admin {
    async fn handle(&self, request: Request<Incoming>) -> Response<Bytes> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = line(StatusCode::METHOD_NOT_ALLOWED, "wrong method: GET");
            close(&mut response);
            return response;
        }
        match request.uri().path() {
            "/livez" => line(StatusCode::OK, "ok"),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            _ => line(StatusCode::NOT_FOUND, "no such path: there are /livez, /readyz and /metrics"),
        }
    }
}

impl Admin {
    fn ready(&self) -> Response<Bytes> {
        let missing = self.readiness.missing();
        if missing.is_empty() {
            return line(StatusCode::OK, "ok");
        }
        line(StatusCode::SERVICE_UNAVAILABLE, &missing.join("\n"))
    }

    fn metrics(&self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.metrics.encode(Timestamp::now())));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_CONTENT_TYPE));
        response
    }
}
