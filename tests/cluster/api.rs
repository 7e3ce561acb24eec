//! Plain requests to the API server, for clients that are nothing but a request: `kubectl proxy` does TLS and identity.

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::{
    error::Error,
    process::Process,
    wait::{self, Look},
};

const START_LIMIT_SECONDS: u64 = 30;
const REQUEST_LIMIT_SECONDS: u64 = 30;
const SERVES: &str = "Starting to serve on ";

/// How the body of a PATCH request is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patch {
    /// Server-side apply; the query names the field manager.
    Apply,
    /// What is to be changed, field by field.
    Merge,
}

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Self::Apply => "application/apply-patch+yaml",
            Self::Merge => "application/merge-patch+json",
        }
    }
}

/// What the API server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) warnings: Vec<String>,
    pub(crate) body: Value,
}

impl Answer {
    /// The object; an error if the API server refused.
    pub(crate) fn object(self) -> Result<Value, Error> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        Err(Error::Api { status: self.status, message: self.body["message"].as_str().unwrap_or_default().to_owned() })
    }
}

/// An administrator's way to the API server. Dropping it ends the proxy.
#[derive(Debug)]
pub(crate) struct Api {
    agent: ureq::Agent,
    url: String,
    _proxy: Process,
}

impl Api {
    pub(super) fn start(kubectl: &Path, kubeconfig: &Path, log: &Path) -> Result<Self, Error> {
        let mut command = Process::command(kubectl);
        command.env_clear().env("KUBECONFIG", kubeconfig).args(["proxy", "--port=0"]);
        let proxy = Process::start("kubectl-proxy", command, log)?;
        let address = wait::until("kubectl proxy serves", Duration::from_secs(START_LIMIT_SECONDS), || {
            proxy.must_run()?;
            let said = proxy.log_tail();
            let address = said.lines().find_map(|line| line.strip_prefix(SERVES)).map(str::to_owned);
            Ok::<_, Error>(address.map_or(Look::NotYet(said), Look::Met))
        })?;
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(REQUEST_LIMIT_SECONDS)))
            .build()
            .into();
        Ok(Self { agent, url: format!("http://{address}"), _proxy: proxy })
    }

    /// GET of a path with its query.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Error> {
        answer(path, self.agent.get(self.at(path)).call())
    }

    /// POST, which creates.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Answer, Error> {
        let request = self.agent.post(self.at(path)).header("Content-Type", "application/json");
        answer(path, request.send(body.to_string()))
    }

    /// PUT, which replaces.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Answer, Error> {
        let request = self.agent.put(self.at(path)).header("Content-Type", "application/json");
        answer(path, request.send(body.to_string()))
    }

    /// DELETE.
    pub(crate) fn delete(&self, path: &str) -> Result<Answer, Error> {
        answer(path, self.agent.delete(self.at(path)).call())
    }

    /// PATCH.
    pub(crate) fn patch(&self, path: &str, kind: Patch, body: &Value) -> Result<Answer, Error> {
        let request = self.agent.patch(self.at(path)).header("Content-Type", kind.content_type());
        answer(path, request.send(body.to_string()))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

fn answer(path: &str, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, Error> {
    let failed = |problem: String| Error::Request { path: path.to_owned(), problem };
    let mut response = response.map_err(|error| failed(error.to_string()))?;
    let warnings = response.headers().get_all("Warning").iter();
    let warnings = warnings.map(|it| warning_text(&String::from_utf8_lossy(it.as_bytes()))).collect();
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().map_err(|error| failed(error.to_string()))?;
    let body = serde_json::from_str(&text).map_err(|error| failed(format!("{error} in {text:?}")))?;
    Ok(Answer { status, warnings, body })
}

/// The text of `299 - "text"`, a quoted string of HTTP.
fn warning_text(header: &str) -> String {
    let quoted = header.trim_start_matches("299 - ").trim_matches('"');
    quoted.replace("\\\"", "\"").replace("\\\\", "\\")
}
