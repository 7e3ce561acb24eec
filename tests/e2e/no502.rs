//! A real no502 for the trials: `no502 serve` outside of the cluster, installed with `no502 manifests`, called by the real
//! API server over loopback.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::cluster::{
    ControlPlane,
    control_plane::free_ports,
    process::Process,
    wait::{self, Deadline, Look},
};

const NAME: &str = "no502";
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_no502");

const READY_LIMIT_SECONDS: u64 = 60;
const HTTP_LIMIT_SECONDS: u64 = 5;
/// How long it goes on serving after SIGTERM, and how long a stop may take in all.
const DRAIN_SECONDS: &str = "1";
const STOP_LIMIT_SECONDS: u64 = 20;
/// How often free ports are looked for again when another program was faster.
const PORT_ATTEMPTS: u32 = 5;
const PORT_TAKEN: &str = "Address already in use";
/// Where no trial leaves anything, so that a probe says the same in every trial.
const PROBE_NAMESPACE: &str = "default";

/// One no502 process and the control plane that calls it. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct No502 {
    pub(crate) cluster: Arc<ControlPlane>,
    kubeconfig: PathBuf,
    webhook: SocketAddr,
    admin: SocketAddr,
    log: PathBuf,
    http: ureq::Agent,
    process: Mutex<Option<Process>>,
}

impl No502 {
    /// Installs no502, starts it as a cluster administrator, and waits until writes are reviewed.
    pub(crate) fn install(cluster: &Arc<ControlPlane>) -> anyhow::Result<Self> {
        Self::install_as(cluster, cluster.kubeconfig())
    }

    /// The same as the user of another kubeconfig.
    pub(crate) fn install_as(cluster: &Arc<ControlPlane>, kubeconfig: &Path) -> anyhow::Result<Self> {
        let no502 = Self::running(cluster, kubeconfig, Self::be_called)?;
        no502.await_guarding()?;
        Ok(no502)
    }

    /// Another process for the same cluster, which nobody calls yet.
    pub(crate) fn replica(&self) -> anyhow::Result<Self> {
        Self::running(&self.cluster, &self.kubeconfig, |_| Ok(()))
    }

    /// A process that says it is ready; `prepare` comes before its start.
    fn running(
        cluster: &Arc<ControlPlane>,
        kubeconfig: &Path,
        prepare: impl Fn(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let no502 = Self::new(Arc::clone(cluster), kubeconfig.to_owned())?;
            prepare(&no502)?;
            no502.spawn(&[])?;
            match no502.await_ready() {
                Ok(_) => return Ok(no502),
                // Another program was faster.
                Err(_) if no502.log_tail().contains(PORT_TAKEN) => {}
                Err(error) => return Err(error),
            }
        }
        bail!("the ports of no502 were taken {PORT_ATTEMPTS} times in a row")
    }

    fn new(cluster: Arc<ControlPlane>, kubeconfig: PathBuf) -> anyhow::Result<Self> {
        let [webhook, admin] = free_ports()?.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let log = cluster.log(&format!("{NAME}-{}", webhook.port()));
        let http = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(HTTP_LIMIT_SECONDS)))
            .build()
            .into();
        Ok(Self { cluster, kubeconfig, webhook, admin, log, http, process: Mutex::new(None) })
    }

    /// Applies the manifests that make the API server call this process.
    pub(crate) fn be_called(&self) -> anyhow::Result<()> {
        let url = format!("https://{}", self.webhook);
        let output = Command::new(PROGRAM).args(["manifests", "--webhook-url", &url]).output()?;
        ensure!(output.status.success(), "no502 manifests: {}", String::from_utf8_lossy(&output.stderr));
        let manifests = String::from_utf8(output.stdout)?;
        self.cluster.kubectl(&["apply", "-f", "-"], Some(&manifests))?.success()?;
        Ok(())
    }

    /// Starts the process, with more flags, and does not wait for anything.
    fn spawn(&self, flags: &[&str]) -> anyhow::Result<()> {
        let mut command = Process::command(Path::new(PROGRAM));
        command
            .env_clear()
            .arg("serve")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--listen", &self.webhook.to_string(), "--admin", &self.admin.to_string()])
            .args(["--drain-seconds", DRAIN_SECONDS])
            .args(flags);
        *self.process() = Some(Process::start(NAME, command, &self.log)?);
        Ok(())
    }

    /// Starts the process again, with more flags, and gives the moment at which it said that it is ready.
    pub(crate) fn start(&self, flags: &[&str]) -> anyhow::Result<Instant> {
        self.start_until(flags, || self.await_ready())
    }

    /// The same, and waits for something else.
    pub(crate) fn start_until<T>(&self, flags: &[&str], await_it: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
        // An outgoing connection of another program may use one of our ports for a moment.
        wait::until("the ports of no502 are free again", Duration::from_secs(READY_LIMIT_SECONDS), || {
            let told_before = self.log()?.len();
            self.spawn(flags)?;
            match await_it() {
                Ok(found) => Ok(Look::Met(found)),
                Err(_) if self.log()?[told_before..].contains(PORT_TAKEN) => Ok(Look::NotYet(PORT_TAKEN.into())),
                Err(error) => Err(error),
            }
        })
    }

    /// Stops the process as a kubelet does, and waits until it is gone.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        let process = self.process().take().context("no502 is not running")?;
        let status = process.terminate(Duration::from_secs(STOP_LIMIT_SECONDS))?;
        ensure!(status.success(), "no502 ended with {status} after SIGTERM:\n{}", self.log_tail());
        Ok(())
    }

    /// Waits until `/readyz` says ok; gives the moment.
    pub(crate) fn await_ready(&self) -> anyhow::Result<Instant> {
        wait::until("no502 is ready", Duration::from_secs(READY_LIMIT_SECONDS), || {
            self.must_run()?;
            Ok(match self.readiness() {
                Ok((200, _)) => Look::Met(Instant::now()),
                Ok((status, body)) => Look::NotYet(format!("/readyz says {status}: {body}")),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
    }

    /// Waits until `/readyz` says something.
    pub(crate) fn await_serving(&self) -> anyhow::Result<()> {
        wait::until("no502 serves /readyz", Duration::from_secs(READY_LIMIT_SECONDS), || {
            self.must_run()?;
            Ok(self.readiness().map_or_else(|error| Look::NotYet(error.to_string()), |_| Look::Met(())))
        })
    }

    /// Waits until the API server asks no502: it has a word to say about a dry run of a Service without pods.
    pub(crate) fn await_guarding(&self) -> anyhow::Result<()> {
        let probe = "{apiVersion: v1, kind: Service, metadata: {name: probe}, \
                     spec: {selector: {probe: nothing}, ports: [{port: 80}]}}";
        let args = ["create", "--dry-run=server", "-n", PROBE_NAMESPACE, "-f", "-"];
        wait::until("the API server asks no502", Duration::from_secs(READY_LIMIT_SECONDS), || {
            let said = self.cluster.kubectl(&args, Some(probe))?;
            Ok(if said.stderr.contains("[service-selects-nothing]") {
                Look::Met(())
            } else {
                Look::NotYet(format!("{said:?}"))
            })
        })
    }

    /// Status and body of `/readyz`.
    pub(crate) fn readiness(&self) -> anyhow::Result<(u16, String)> {
        self.get("/readyz")
    }

    /// The value of a metric, given with its labels as `/metrics` writes it; zero while there is none.
    pub(crate) fn metric(&self, series: &str) -> anyhow::Result<u64> {
        let (_, metrics) = self.get("/metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.map_or(Ok(0), str::parse)?)
    }

    fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut response = self.http.get(format!("http://{}{path}", self.admin)).call()?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?.trim_end().to_owned()))
    }

    /// Fails if the process has ended on its own.
    pub(crate) fn must_run(&self) -> anyhow::Result<()> {
        self.process().as_ref().context("no502 is not running")?.must_run()?;
        Ok(())
    }

    /// The whole log.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// The last lines of the log.
    pub(crate) fn log_tail(&self) -> String {
        crate::cluster::process::tail(&self.log)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for what nothing but time stands between; `look` fails at once, or says why not yet.
pub(crate) fn soon<T>(what: &str, limit: Duration, mut look: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let waited = wait::until::<_, Deadline>(what, limit, || {
        Ok(match look() {
            Ok(found) => Look::Met(found),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    });
    Ok(waited?)
}
