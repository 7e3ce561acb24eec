//! A small API server in memory: one Secret, two webhook configurations, policies with a status, Events; with resource versions and
//! conflicts.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Bytes};
use kube::client::Body;
use serde_json::{Value, json};

/// Shared by all clients of one test.
#[derive(Clone, Default)]
pub(crate) struct KubeApi {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Path -> object.
    objects: BTreeMap<String, Value>,
    version: u64,
    requests: Vec<String>,
    patches: Vec<Value>,
    /// Paths whose next GET says 404 whatever there is: the moment before another replica's write.
    hidden_once: Vec<String>,
    /// Paths whose next PUT or PATCH comes too late.
    stale_once: Vec<String>,
    away: bool,
    /// Beginnings of paths to which every write is answered with this status.
    refused: BTreeMap<String, u16>,
}

impl KubeApi {
    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object there, as somebody else would.
    pub(crate) fn put(&self, path: &str, object: Value) {
        let mut state = self.lock();
        state.store(path, object);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(path).cloned()
    }

    /// The objects whose path begins with this.
    pub(crate) fn below(&self, path: &str) -> Vec<Value> {
        let state = self.lock();
        state
            .objects
            .range(path.to_owned()..)
            .take_while(|(it, _)| it.starts_with(path))
            .map(|(_, it)| it.clone())
            .collect()
    }

    pub(crate) fn delete(&self, path: &str) {
        self.lock().objects.remove(path);
    }

    pub(crate) fn hide_once(&self, path: &str) {
        self.lock().hidden_once.push(path.to_owned());
    }

    pub(crate) fn stale_once(&self, path: &str) {
        self.lock().stale_once.push(path.to_owned());
    }

    pub(crate) fn away(&self, away: bool) {
        self.lock().away = away;
    }

    /// Answers every write below this path with a failure, or no more.
    pub(crate) fn refuse(&self, path: &str, code: Option<u16>) {
        let mut state = self.lock();
        match code {
            Some(code) => state.refused.insert(path.to_owned(), code),
            None => state.refused.remove(path),
        };
    }

    /// The requests since the last call, as `METHOD path?query`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().requests)
    }

    /// The bodies of the applies since the last call.
    pub(crate) fn patches(&self) -> Vec<Value> {
        std::mem::take(&mut self.lock().patches)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body = serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null);
        let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
        let mut state = self.lock();
        state.requests.push(format!("{} {path}?{query}", head.method));
        let outcome = if state.away { Err(500) } else { state.handle(&head.method, &path, body) };
        drop(state);
        let (status, object) = match outcome {
            Ok(object) => (200, object),
            Err(code) => (code, failure(code)),
        };
        let bytes = Bytes::from(object.to_string());
        Response::builder().status(status).body(Full::new(bytes)).expect("a response")
    }
}

/// The `Status` that the API server sends; clients read the reason.
fn failure(code: u16) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "InternalError",
    };
    json!({ "kind": "Status", "status": "Failure", "code": code, "message": "refused", "reason": reason })
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn handle(&mut self, method: &Method, path: &str, body: Value) -> Result<Value, u16> {
        let refused = self.refused.iter().find(|(it, _)| *method != Method::GET && path.starts_with(it.as_str()));
        if let Some((_, code)) = refused {
            return Err(*code);
        }
        match *method {
            Method::GET => self.read(path),
            Method::POST => self.create(path, body),
            Method::PUT => self.replace(path, body),
            Method::PATCH => self.apply(path, body),
            _ => Err(405),
        }
    }

    fn read(&mut self, path: &str) -> Result<Value, u16> {
        if let Some(index) = self.hidden_once.iter().position(|hidden| hidden == path) {
            self.hidden_once.remove(index);
            return Err(404);
        }
        self.objects.get(path).cloned().ok_or(404)
    }

    fn create(&mut self, path: &str, body: Value) -> Result<Value, u16> {
        let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
        if self.objects.contains_key(&path) { Err(409) } else { Ok(self.store(&path, body)) }
    }

    fn replace(&mut self, path: &str, body: Value) -> Result<Value, u16> {
        if self.is_stale(path) {
            return Err(409);
        }
        let live = self.objects.get(path).ok_or(404_u16)?;
        if body["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"] {
            return Err(409);
        }
        Ok(self.store(path, body))
    }

    fn is_stale(&mut self, path: &str) -> bool {
        let place = self.stale_once.iter().position(|stale| stale == path);
        place.map(|it| self.stale_once.remove(it)).is_some()
    }

    /// Server-side apply, as far as `webhooks` (a map by name) goes, or the status of an object.
    fn apply(&mut self, path: &str, applied: Value) -> Result<Value, u16> {
        let (path, is_status) = path.strip_suffix("/status").map_or((path, false), |path| (path, true));
        let mut live = self.objects.get(path).cloned().ok_or(404_u16)?;
        if self.is_stale(path) || applied["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"] {
            return Err(409);
        }
        if is_status {
            live["status"] = applied["status"].clone();
        }
        for entry in applied["webhooks"].as_array().into_iter().flatten() {
            let webhooks = live["webhooks"].as_array_mut().ok_or(422_u16)?;
            let same = webhooks.iter_mut().find(|webhook| webhook["name"] == entry["name"]);
            // A new entry would lack everything that the schema requires.
            same.ok_or(422_u16)?["clientConfig"]["caBundle"] = entry["clientConfig"]["caBundle"].clone();
        }
        self.patches.push(applied);
        Ok(self.store(path, live))
    }
}
