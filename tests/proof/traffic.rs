//! Load on the shop: a `shop load` process for each way to it, and what they have recorded.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    cluster::{
        process::Process,
        wait::{self, Deadline, Look},
    },
    node::INGRESS_ADDRESS,
    outcome::{self, Request},
};

/// Requests a second on each way.
pub(crate) const RATE: u32 = 100;
/// A request that takes longer has failed: no scenario has one that takes more than two seconds.
const TIMEOUT_MS: &str = "10000";
const STOP_LIMIT_SECONDS: u64 = 30;
const FIRST_ANSWER_LIMIT_SECONDS: u64 = 30;
/// The first line of a record.
const HEADER: &str = "at_ms,took_ms,end";
/// The program's exit code when a request has failed.
const SOME_FAILED: i32 = 1;

/// A way to the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Through Envoy, over connections that are kept, as browsers and load balancers do.
    Ingress,
    /// Through kube-proxy, a connection for each request: which pod it gets is decided when it connects.
    Service,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::Service => "Service",
        }
    }

    fn connections(self) -> &'static str {
        match self {
            Self::Ingress => "keep",
            Self::Service => "new",
        }
    }
}

/// Where the shop is.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// The host of its Ingress.
    pub(crate) host: String,
    /// The cluster address and port of its Service.
    pub(crate) service: String,
}

/// Load that runs. Dropping it ends it and loses what it has recorded.
#[derive(Debug)]
pub(crate) struct Traffic {
    loads: Vec<(Way, PathBuf, Process)>,
}

impl Traffic {
    /// Starts the load on both ways and waits until each has had an answer.
    pub(crate) fn start(program: &Path, addresses: &Addresses, rate: u32, folder: &Path) -> anyhow::Result<Self> {
        let mut loads = Vec::new();
        for way in [Way::Ingress, Way::Service] {
            let records = folder.join(format!("{}.csv", way.name()));
            let url = match way {
                Way::Ingress => format!("http://{INGRESS_ADDRESS}/"),
                Way::Service => format!("http://{}/", addresses.service),
            };
            let mut command = Process::component(program);
            command
                .args(["load", &url, "--host", &addresses.host, "--rate", &rate.to_string()])
                .args(["--timeout-ms", TIMEOUT_MS, "--connections", way.connections(), "--out"])
                .arg(&records);
            let log = folder.join(format!("{}.log", way.name()));
            loads.push((way, records, Process::start("shop load", command, &log)?));
        }
        let traffic = Self { loads };
        traffic.await_answers()?;
        Ok(traffic)
    }

    /// Ends the load, waits for the requests under way, and gives what became of all of them.
    pub(crate) fn stop(self) -> anyhow::Result<Vec<outcome::Path>> {
        let mut paths = Vec::new();
        // All first, then each: no way is left alone.
        self.loads.iter().for_each(|(_, _, process)| process.ask_to_end());
        for (way, records, process) in self.loads {
            let log = process.log().to_owned();
            let status = process.terminate(Duration::from_secs(STOP_LIMIT_SECONDS))?;
            ensure!(
                status.success() || status.code() == Some(SOME_FAILED),
                "shop load ended ({status}): {}",
                fs::read_to_string(log).unwrap_or_default()
            );
            paths.push(outcome::Path { name: way.name(), requests: read(&records)? });
        }
        Ok(paths)
    }

    fn await_answers(&self) -> anyhow::Result<()> {
        for (way, records, process) in &self.loads {
            let what = format!("the load on the {} has an answer", way.name());
            wait::until(what, Duration::from_secs(FIRST_ANSWER_LIMIT_SECONDS), || {
                process.must_run()?;
                let lines = fs::read_to_string(records).unwrap_or_default().lines().count();
                Ok::<_, anyhow::Error>(if lines > 1 { Look::Met(()) } else { Look::NotYet(process.log_tail()) })
            })?;
        }
        Ok(())
    }
}

/// Waits until the shop answers on both ways, and as often as it takes for every part to have heard of it.
pub(crate) fn await_answers(addresses: &Addresses) -> anyhow::Result<()> {
    const IN_A_ROW: u32 = 10;
    const LIMIT_SECONDS: u64 = 60;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(5)))
        .build()
        .into();
    // Answered at once, however long other requests take.
    for url in [format!("http://{INGRESS_ADDRESS}/healthz"), format!("http://{}/healthz", addresses.service)] {
        let mut good = 0;
        wait::until(format!("{url} answers for {}", addresses.host), Duration::from_secs(LIMIT_SECONDS), || {
            let state = match agent.get(&url).header("Host", &addresses.host).call() {
                Ok(answer) if answer.status().is_success() => {
                    good += 1;
                    if good == IN_A_ROW {
                        return Ok(Look::Met(()));
                    }
                    format!("{good} good answers in a row")
                }
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
            Ok::<_, Deadline>(Look::NotYet(state))
        })?;
    }
    Ok(())
}

/// What a load has recorded, in the order in which requests were due.
fn read(file: &Path) -> anyhow::Result<Vec<Request>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut requests = parse(&text).with_context(|| file.display().to_string())?;
    requests.sort_by_key(|request| request.at);
    Ok(requests)
}

fn parse(text: &str) -> anyhow::Result<Vec<Request>> {
    let mut lines = text.lines();
    ensure!(lines.next() == Some(HEADER), "the first line is not {HEADER}");
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let [at, took_ms, end] = fields[..] else { bail!("{line:?} has not three fields") };
            let end = end.parse().map_err(anyhow::Error::msg)?;
            Ok(Request { at: at.parse().context(HEADER)?, took_ms: took_ms.parse().context(HEADER)?, end })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::End;

    #[test]
    fn records_are_read_whole_or_not_at_all() {
        let read = parse("at_ms,took_ms,end\n1764117600123,2,ok\n1764117600133,0,refused\n1764117600143,5,503\n");
        let request = |at, took_ms, end| Request { at, took_ms, end };
        assert_eq!(
            read.expect("three good lines"),
            [
                request(1_764_117_600_123, 2, End::Ok),
                request(1_764_117_600_133, 0, End::Refused),
                request(1_764_117_600_143, 5, End::Status(503)),
            ]
        );
        for broken in ["", "1764117600123,2,ok", "at_ms,took_ms,end\n1,2", "at_ms,took_ms,end\n1,2,fine"] {
            assert!(parse(broken).is_err(), "{broken:?}");
        }
    }
}
