//! The few calls the harness makes to etcd, through its HTTP/JSON gateway.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::error::Error;

const CALL_LIMIT_SECONDS: u64 = 10;

/// A client of one etcd member.
#[derive(Debug)]
pub(crate) struct EtcdClient {
    agent: ureq::Agent,
    url: String,
}

impl EtcdClient {
    pub(crate) fn new(url: String) -> Self {
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(CALL_LIMIT_SECONDS)))
            .build()
            .into();
        Self { agent, url }
    }

    /// The base address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The names of the members.
    pub(crate) fn members(&self) -> Result<Vec<String>, Error> {
        let answer = self.call("/v3/cluster/member/list", &json!({}))?;
        let members = answer["members"].as_array().into_iter().flatten();
        Ok(members.filter_map(|member| member["name"].as_str().map(str::to_owned)).collect())
    }

    /// The newest revision of the store.
    pub(crate) fn revision(&self) -> Result<u64, Error> {
        const PATH: &str = "/v3/kv/range";
        let request = json!({"key": BASE64_STANDARD.encode("/")});
        let answer = self.call(PATH, &request)?;
        let newest = answer["header"]["revision"].as_str().and_then(|revision| revision.parse().ok());
        newest.ok_or_else(|| Error::Etcd { path: PATH, problem: format!("no revision in {answer}") })
    }

    /// Forgets everything older than the revision, and comes back when that is done on disk too.
    pub(crate) fn compact(&self, revision: u64) -> Result<(), Error> {
        self.call("/v3/kv/compaction", &json!({"revision": revision.to_string(), "physical": true})).map(drop)
    }

    fn call(&self, path: &'static str, request: &Value) -> Result<Value, Error> {
        let failed = |error: ureq::Error| Error::Etcd { path, problem: error.to_string() };
        let mut response = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("Content-Type", "application/json")
            .send(request.to_string())
            .map_err(failed)?;
        let status = response.status();
        let text = response.body_mut().read_to_string().map_err(failed)?;
        if !status.is_success() {
            return Err(Error::Etcd { path, problem: format!("{status}: {text}") });
        }
        serde_json::from_str(&text).map_err(|error| Error::Etcd { path, problem: format!("{error} in {text:?}") })
    }
}
