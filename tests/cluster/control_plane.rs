//! Starting, disturbing and stopping a control plane.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    Binaries, Version,
    api::Api,
    client::{Client, Output},
    error::Error,
    etcd::EtcdClient,
    pki::{CertificateFiles, Pki, SigningKeyFiles},
    process::Process,
    run_folder::RunFolder,
    wait::{self, Deadline, Look},
};

const ETCD: &str = "etcd";
const APISERVER: &str = "kube-apiserver";
const CONTROLLER_MANAGER: &str = "kube-controller-manager";
const KUBECTL_PROXY: &str = "kubectl-proxy";

const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first address of the range: the `kubernetes` Service.
const KUBERNETES_SERVICE_ADDRESS: &str = "10.96.0.1";
const SERVICE_ACCOUNT_ISSUER: &str = "https://kubernetes.default.svc";

// A start takes 10 s alone on two cores; the limits leave room for several starts at once beside a build.
const ETCD_LIMIT_SECONDS: u64 = 60;
const APISERVER_LIMIT_SECONDS: u64 = 120;
const SERVICE_ACCOUNT_LIMIT_SECONDS: u64 = 120;
/// How often free ports are looked for again when another program was faster.
const PORT_ATTEMPTS: u32 = 5;
const PORT_TAKEN: &str = "address already in use";

/// What kind of control plane to start.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The version of kube-apiserver and kube-controller-manager; kubectl is the newest in any case.
    pub(crate) version: Version,
    /// Further arguments for kube-apiserver.
    pub(crate) apiserver_args: Vec<String>,
}

impl Options {
    /// A plain control plane of that version.
    pub(crate) fn new(version: Version) -> Self {
        Self { version, apiserver_args: Vec::new() }
    }
}

/// A running control plane. Dropping it ends everything it started.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    options: Options,
    binaries: Binaries,
    pki: Pki,
    serving: CertificateFiles,
    tokens: SigningKeyFiles,
    etcd_client: EtcdClient,
    kubectl: Client,
    helm: Client,
    apiserver_port: u16,
    namespaces: AtomicU32,
    // Dropped in this order.
    api: Mutex<Option<Arc<Api>>>,
    controller_manager: Option<Process>,
    apiserver: Mutex<Option<Process>>,
    etcd: Option<Process>,
    folder: RunFolder,
}

impl ControlPlane {
    /// Starts a control plane and waits until it answers and runs its controllers. The programs are built first where
    /// that is needed, which takes many minutes.
    pub(crate) fn start(options: Options) -> Result<Self, Error> {
        let binaries = Binaries::find_or_build(options.version)?;
        let folder = RunFolder::create()?;
        let pki = Pki::create(folder.path().join("pki"))?;
        let serving = pki.server(&["localhost", "127.0.0.1", KUBERNETES_SERVICE_ADDRESS])?;
        let tokens = pki.service_account_key()?;
        let (kubeconfig, home) = (folder.path().join("admin.kubeconfig"), folder.path().join("home"));
        let helm = Client::helm(binaries.helm.clone(), kubeconfig.clone(), home.clone());
        let kubectl = Client::kubectl(binaries.kubectl.clone(), kubeconfig, home);
        let mut control_plane = Self {
            options,
            binaries,
            pki,
            serving,
            tokens,
            etcd_client: EtcdClient::new(String::new()),
            kubectl,
            helm,
            apiserver_port: 0,
            namespaces: AtomicU32::new(0),
            api: Mutex::new(None),
            controller_manager: None,
            apiserver: Mutex::new(None),
            etcd: None,
            folder,
        };
        control_plane.start_components().inspect_err(|_| control_plane.keep_logs())?;
        Ok(control_plane)
    }

    /// The Kubernetes version.
    pub(crate) fn version(&self) -> Version {
        self.options.version
    }

    /// The kube-apiserver program.
    pub(crate) fn apiserver_program(&self) -> &Path {
        &self.binaries.apiserver
    }

    /// The kubeconfig of a cluster administrator; it refers to no other file.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubectl.kubeconfig
    }

    /// The address of the API server.
    pub(crate) fn apiserver_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.apiserver_port)
    }

    /// The certificate (PEM) of the CA that signed the API server's certificate and the clients'.
    pub(crate) fn client_ca(&self) -> PathBuf {
        self.pki.ca_certificate()
    }

    /// Writes a kubeconfig for a component of a node.
    pub(crate) fn write_kubeconfig(&self, file: &Path, user: &str, group: Option<&str>) -> Result<(), Error> {
        self.pki.kubeconfig(file, &self.apiserver_url(), user, group)
    }

    /// The folder of this control plane, removed when it stops; a place for a test's own files too.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a program that a test starts writes its log, beside those of the components.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.folder.log(program)
    }

    /// Calls kubectl as a cluster administrator. It is killed, and an error given, if it takes longer than 60 s; that
    /// it ended with an error is for the caller to look at.
    pub(crate) fn kubectl(&self, args: &[&str], stdin: Option<&str>) -> Result<Output, Error> {
        self.kubectl.run(args, stdin)
    }

    /// kubectl with more environment.
    pub(crate) fn kubectl_with(&self, environment: &[(&str, &str)], args: &[&str]) -> Result<Output, Error> {
        self.kubectl.run_with(environment, args, None)
    }

    /// Calls helm as a cluster administrator, like [`kubectl`](Self::kubectl).
    pub(crate) fn helm(&self, args: &[&str]) -> Result<Output, Error> {
        self.helm.run(args, None)
    }

    /// Plain requests of a cluster administrator.
    pub(crate) fn api(&self) -> Result<Arc<Api>, Error> {
        let mut api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(api) = &*api {
            return Ok(Arc::clone(api));
        }
        let started = Arc::new(Api::start(self.kubectl.program(), self.kubeconfig(), &self.log(KUBECTL_PROXY))?);
        *api = Some(Arc::clone(&started));
        Ok(started)
    }

    /// Makes a namespace for one test and waits until pods can be made in it, where there are controllers.
    pub(crate) fn namespace(&self) -> Result<String, Error> {
        let name = format!("test-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name], None)?.success()?;
        if self.options.version.has_controllers() {
            self.await_default_service_account(&name)?;
        }
        Ok(name)
    }

    /// Kills the API server at once and starts it again at the same address, on the same etcd.
    pub(crate) fn restart_apiserver(&self) -> Result<(), Error> {
        self.stop_apiserver()?;
        self.start_apiserver()
    }

    /// Kills the API server at once.
    pub(crate) fn stop_apiserver(&self) -> Result<(), Error> {
        let process = self.apiserver.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.map(drop).ok_or(Error::NotRunning { component: APISERVER })
    }

    /// Starts the API server after [`stop_apiserver`](Self::stop_apiserver) and waits until it is ready.
    pub(crate) fn start_apiserver(&self) -> Result<(), Error> {
        let limit = Duration::from_secs(APISERVER_LIMIT_SECONDS);
        // An outgoing connection of another program may use our port for a moment.
        wait::until(format!("port {} is free again", self.apiserver_port), limit, || {
            Ok(match self.try_start_apiserver()? {
                Start::Running => Look::Met(()),
                Start::PortTaken => Look::NotYet(PORT_TAKEN.into()),
            })
        })
    }

    /// Makes etcd forget all history, so that a watch or list at an older resource version gets 410 Gone once the API
    /// server's own cache does not have it either. Gives the revision below which everything is gone.
    pub(crate) fn compact_etcd(&self) -> Result<u64, Error> {
        let revision = self.etcd_client.revision()?;
        self.etcd_client.compact(revision)?;
        Ok(revision)
    }

    /// Fails if a component has ended on its own.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.etcd.iter().chain(&self.controller_manager).try_for_each(Process::must_run)?;
        self.apiserver.lock().unwrap_or_else(PoisonError::into_inner).iter().try_for_each(Process::must_run)
    }

    /// The folder of all logs: what is put there stays after a failure.
    pub(crate) fn logs_folder(&self) -> PathBuf {
        self.folder.logs()
    }

    /// Keeps the components' logs when the control plane is dropped, and prints then where they are.
    pub(crate) fn keep_logs(&self) {
        self.folder.keep_logs();
    }

    fn start_components(&mut self) -> Result<(), Error> {
        fs::create_dir(&self.kubectl.home).map_err(Error::io("make the folder", &self.kubectl.home))?;
        self.on_free_ports(ETCD, Self::try_start_etcd)?;
        self.on_free_ports(APISERVER, |control_plane| {
            [control_plane.apiserver_port] = free_ports()?;
            control_plane.pki.kubeconfig(
                &control_plane.kubectl.kubeconfig,
                &control_plane.apiserver_url(),
                "admin",
                Some("system:masters"),
            )?;
            control_plane.try_start_apiserver()
        })?;
        let Some(program) = self.binaries.controller_manager.clone() else { return self.await_default_namespace() };
        self.start_controller_manager(&program)?;
        let ready = self.await_default_service_account("default");
        self.controller_manager.as_ref().map_or(Ok(()), Process::must_run)?;
        ready
    }

    fn on_free_ports(
        &mut self,
        component: &'static str,
        mut start: impl FnMut(&mut Self) -> Result<Start, Error>,
    ) -> Result<(), Error> {
        for _ in 0..PORT_ATTEMPTS {
            if let Start::Running = start(self)? {
                return Ok(());
            }
        }
        Err(Error::PortsTaken { component, attempts: PORT_ATTEMPTS })
    }

    fn try_start_etcd(&mut self) -> Result<Start, Error> {
        // Proves later that it is our etcd that answers, and not one that was given the same port.
        let name = self.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let [client_url, peer_url] = free_ports()?.map(|port| format!("http://127.0.0.1:{port}"));
        let data = self.folder.path().join("etcd-data");
        let mut command = Process::component(&self.binaries.etcd);
        command
            .arg(format!("--name={name}"))
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--listen-client-urls={client_url}"))
            .arg(format!("--advertise-client-urls={client_url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .arg(format!("--initial-cluster={name}={peer_url}"))
            .arg("--unsafe-no-fsync")
            .arg("--log-level=warn");
        let process = Process::start(ETCD, command, &self.folder.log(ETCD))?;
        let client = EtcdClient::new(client_url);
        let limit = Duration::from_secs(ETCD_LIMIT_SECONDS);
        let started = await_start(&process, "etcd answers", limit, || {
            let members = client.members().map_err(|error| error.to_string())?;
            if members == [name.as_str()] { Ok(()) } else { Err(format!("another etcd with members {members:?}")) }
        })?;
        if let Start::PortTaken = started {
            // It may have begun to write before it found the other port taken.
            drop(process);
            drop(fs::remove_dir_all(data));
            return Ok(started);
        }
        self.etcd_client = client;
        self.etcd = Some(process);
        Ok(started)
    }

    fn try_start_apiserver(&self) -> Result<Start, Error> {
        let mut command = Process::component(&self.binaries.apiserver);
        command
            .arg(format!("--etcd-servers={}", self.etcd_client.url()))
            .arg("--bind-address=127.0.0.1")
            .arg("--advertise-address=127.0.0.1")
            .arg(format!("--secure-port={}", self.apiserver_port))
            .arg(format!("--tls-cert-file={}", self.serving.certificate.display()))
            .arg(format!("--tls-private-key-file={}", self.serving.key.display()))
            .arg(format!("--client-ca-file={}", self.pki.ca_certificate().display()))
            .arg(format!("--service-account-key-file={}", self.tokens.public.display()))
            .arg(format!("--service-account-signing-key-file={}", self.tokens.private.display()))
            .arg(format!("--service-account-issuer={SERVICE_ACCOUNT_ISSUER}"))
            .arg(format!("--service-cluster-ip-range={SERVICE_RANGE}"))
            .arg("--authorization-mode=Node,RBAC")
            .arg("--endpoint-reconciler-type=none")
            .arg("--allow-privileged=true")
            .arg("--profiling=false")
            .args(&self.options.apiserver_args);
        let process = Process::start(APISERVER, command, &self.folder.log(APISERVER))?;
        let limit = Duration::from_secs(APISERVER_LIMIT_SECONDS);
        // Another API server on this port would not have a certificate of our CA.
        let started = await_start(&process, "the API server is ready", limit, || {
            // What took our port may accept and never answer.
            let answer = self.kubectl(&["get", "--raw=/readyz?verbose", "--request-timeout=3s"], None);
            answer.and_then(Output::success).map(drop).map_err(|error| error.to_string())
        })?;
        if let Start::Running = started {
            *self.apiserver.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        }
        Ok(started)
    }

    fn start_controller_manager(&mut self, program: &Path) -> Result<(), Error> {
        let kubeconfig = self.folder.path().join("controller-manager.kubeconfig");
        self.pki.kubeconfig(&kubeconfig, &self.apiserver_url(), "system:kube-controller-manager", None)?;
        let mut command = Process::component(program);
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--service-account-private-key-file={}", self.tokens.private.display()))
            .arg(format!("--root-ca-file={}", self.pki.ca_certificate().display()))
            .arg("--use-service-account-credentials")
            .arg("--leader-elect=false")
            .arg("--secure-port=0")
            .arg("--profiling=false")
            // The default of 20 requests a second is meant for sharing an API server with others.
            .arg("--kube-api-qps=200")
            .arg("--kube-api-burst=400");
        self.controller_manager =
            Some(Process::start(CONTROLLER_MANAGER, command, &self.folder.log(CONTROLLER_MANAGER))?);
        Ok(())
    }

    /// The API server makes it itself, a moment after it is ready.
    fn await_default_namespace(&self) -> Result<(), Error> {
        let limit = Duration::from_secs(APISERVER_LIMIT_SECONDS);
        wait::until("namespace default is there", limit, || {
            let output = self.kubectl(&["get", "namespace", "default"], None)?;
            Ok(if output.status.success() { Look::Met(()) } else { Look::NotYet(output.stderr) })
        })
    }

    fn await_default_service_account(&self, namespace: &str) -> Result<(), Error> {
        let what = format!("namespace {namespace} has its default ServiceAccount");
        let limit = Duration::from_secs(SERVICE_ACCOUNT_LIMIT_SECONDS);
        let waited = wait::until(what, limit, || {
            self.check().map_err(Wait::Failed)?;
            let output = self.kubectl(&["get", "serviceaccount", "default", "--namespace", namespace], None);
            Ok(match output.and_then(Output::success) {
                Ok(_) => Look::Met(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        });
        waited.map_err(|error: Wait| match &self.controller_manager {
            Some(process) => error.of(process),
            None => Error::NotRunning { component: CONTROLLER_MANAGER },
        })
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.check().is_err() {
            self.keep_logs();
        }
    }
}

/// How an attempt to start a component on given ports ended.
#[derive(Clone, Copy, Debug)]
enum Start {
    Running,
    PortTaken,
}

/// Why waiting for a component ended without success.
#[derive(Debug)]
enum Wait {
    Failed(Error),
    Late(Deadline),
}

impl From<Deadline> for Wait {
    fn from(deadline: Deadline) -> Self {
        Self::Late(deadline)
    }
}

impl Wait {
    /// The error to show, with the log of the component that is to blame.
    fn of(self, process: &Process) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Late(deadline) => Error::Deadline(deadline).with_log(process),
        }
    }
}

/// Waits until a component that was just started works; `probe` says what is wrong as long as it does not.
fn await_start(
    process: &Process,
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<(), String>,
) -> Result<Start, Error> {
    let waited = wait::until(what, limit, || {
        if let Err(error) = process.must_run() {
            return if process.log_tail().contains(PORT_TAKEN) {
                Ok(Look::Met(Start::PortTaken))
            } else {
                Err(Wait::Failed(error))
            };
        }
        Ok(match probe() {
            Ok(()) => Look::Met(Start::Running),
            Err(state) => Look::NotYet(state),
        })
    });
    waited.map_err(|error| error.of(process))
}

/// Different ports nobody listens on at this moment.
pub(crate) fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT], Error> {
    let mut ports = [0; COUNT];
    // All are held until the last one is found: one that is free again may be given once more.
    let mut held = Vec::with_capacity(COUNT);
    for port in &mut ports {
        let failed = || Error::io("find a free port on", "127.0.0.1");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
        *port = listener.local_addr().map_err(failed())?.port();
        held.push(listener);
    }
    Ok(ports)
}
