//! `no502 serve`: the admission server, for a cluster or, with `--dev`, for a folder of manifests.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio::{net::TcpListener, sync::Notify};

use super::{
    Exit, Failure,
    dev::{self, Demonstration},
    flags,
};
use crate::{
    certs::{
        Configuration, FILES_POLL, Files, SHARED_CHECK, Shared, SharedOptions, ephemeral, nothing_yet, serving_names,
    },
    deploy::{ADMIN_PORT, CA_SECRET, DRAIN_SECONDS, HTTPS_PORT, NAME, Namespace, OptionError},
    metrics::Metrics,
    policy::{Action, Installation, OWN_NAMESPACE, Policies, Profile},
    policy_status::{StatusWriter, UsedExemptions},
    server::{self, Limits, Live, Readiness, Server, Stop, TlsConfig},
    telemetry,
    watch::{Published, Watches},
};

/// Runs the admission server
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Address of the webhook port [default: every address, port 10250; with --dev 127.0.0.1:10250]
    #[arg(long, env = "NO502_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Address of the plain HTTP port with /livez, /readyz and /metrics [default: every address, port 8080; with --dev
    /// 127.0.0.1:8080]
    #[arg(long, env = "NO502_ADMIN", value_name = "ADDR:PORT")]
    admin: Option<SocketAddr>,
    /// Namespace of no502 itself: its CA Secret is there, and nothing is checked there
    #[arg(long, env = "NO502_NAMESPACE", value_name = "NS", default_value = OWN_NAMESPACE, value_parser = namespace)]
    namespace: String,
    /// Cluster to serve, for a server that runs outside of it
    #[arg(long, env = "NO502_KUBECONFIG", value_name = "FILE", conflicts_with = "dev")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
    /// Certificate chain to serve, PEM, instead of self-managed certificates; read again when it changes
    #[arg(long, env = "NO502_TLS_CERT_FILE", value_name = "FILE", requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, env = "NO502_TLS_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,
    /// One more DNS name or IP address for the self-managed certificate; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert_file")]
    tls_name: Vec<String>,
    /// How strict to be where no policy says: advise, standard or strict [default: standard]
    #[arg(long, env = "NO502_PROFILE", value_name = "PROFILE")]
    profile: Option<Profile>,
    /// Action of one rule instead of the profile's: deny, warn, info or off; may be repeated
    #[arg(long, value_name = "RULE=ACTION", value_parser = flags::rule_action)]
    action: Vec<(String, Action)>,
    /// Members of this group are warned and never denied; may be repeated
    #[arg(long, env = "NO502_BREAK_GLASS_GROUP", value_name = "GROUP")]
    break_glass_group: Vec<String>,
    /// Seconds to go on serving after a request to stop, until no call is on its way any more [default: 15; with --dev 0]
    #[arg(long, env = "NO502_DRAIN_SECONDS", value_name = "S")]
    drain_seconds: Option<u16>,
    /// What to log: a level, or target=level pairs
    #[arg(long, env = "NO502_LOG", value_name = "FILTER", default_value = DEFAULT_LOG)]
    log: String,
    /// How log lines look
    #[arg(long, env = "NO502_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: telemetry::Format,
    /// Serve without a cluster: an ephemeral certificate, and the manifests of --world are the cluster
    #[arg(long, conflicts_with_all = ["tls_cert_file", "tls_key_file"])]
    dev: bool,
    /// Folder of manifests that --dev serves; changes are picked up
    #[arg(long, value_name = "DIR", requires = "dev")]
    world: Option<PathBuf>,
}

/// The client library logs every failure that it returns once more, and as errors even those that are tried again; its watches do
/// the same with every try that is forbidden.
const DEFAULT_LOG: &str = "info,kube_client=off,kube_runtime=off";

/// Work beside the server that never ends by itself.
type Background = Pin<Box<dyn Future<Output = std::convert::Infallible> + Send>>;

fn namespace(text: &str) -> Result<String, OptionError> {
    text.parse::<Namespace>().map(|it| it.to_string())
}

impl Serve {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        telemetry::init(self.log_format, &self.log).context("--log")?;
        // One thread: a review never waits, and passing work between two cores costs more than it gives (reference:
        // performance 4.4).
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<Exit, Failure> {
        let stop = Stop::on_signals()?;
        let (listener, admin) = self.listeners().await?;
        let addresses = (listener.local_addr()?, admin.local_addr()?);
        let published = Published {
            policies: Arc::new(ArcSwap::from_pointee(Policies::new(self.installation()))),
            ..Published::default()
        };
        let sleep_dropped: Arc<Notify> = Arc::default();
        let tls: TlsConfig = Arc::new(ArcSwap::new(nothing_yet()));
        let (used, metrics) = (Arc::<UsedExemptions>::default(), Arc::new(Metrics::new()));
        let server = Server {
            reviewer: Arc::new(Live {
                snapshot: Arc::clone(&published.snapshot),
                policies: Arc::clone(&published.policies),
                sleep_dropped: Arc::clone(&sleep_dropped),
                used: Arc::clone(&used),
                metrics: Arc::clone(&metrics),
            }),
            tls,
            readiness: Readiness::new(),
            metrics,
            limits: Limits { drain: self.drain(), ..Limits::default() },
        };
        let mut background: Vec<Background> = Vec::new();
        let demonstration = if self.dev {
            let (world, demonstration) = self.dev_world(&server, published, addresses.0)?;
            background.extend(world);
            Some(demonstration)
        } else {
            background.extend(self.cluster(&server, published, sleep_dropped, used).await?);
            None
        };
        tracing::info!(webhook = %addresses.0, admin = %addresses.1, "listening");
        let task = tokio::spawn(server::run(listener, admin, server, stop));
        if let Some(demonstration) = &demonstration {
            demonstration.print();
        }
        let background = background.into_iter().map(tokio::spawn);
        tokio::select! {
            ended = task => ended.map(|()| Exit::Clean).map_err(|error| anyhow!("the server failed: {error}").into()),
            (failed, ..) = futures::future::select_all(background) => {
                // Only a panic ends it; a new process is better than one that knows nothing new.
                let Err(error) = failed;
                Err(Failure { exit: Exit::Findings, error: anyhow!("a task that should never end did: {error}") })
            }
        }
    }

    async fn listeners(&self) -> anyhow::Result<(TcpListener, TcpListener)> {
        let webhook = listen("--listen", self.listen, self.dev, HTTPS_PORT).await?;
        let admin = listen("--admin", self.admin, self.dev, ADMIN_PORT).await?;
        Ok((webhook, admin))
    }

    /// Nobody that could be told to go elsewhere calls a server for development.
    fn drain(&self) -> Duration {
        let default = if self.dev { 0 } else { DRAIN_SECONDS };
        Duration::from_secs(self.drain_seconds.unwrap_or(default).into())
    }

    /// What the flags say, where they say something: policies of the cluster can change it.
    fn installation(&self) -> Installation {
        let values = flags::values(self.profile, &self.action, &self.break_glass_group);
        Installation { own_namespace: self.namespace.clone(), values }
    }

    fn dev_world(
        &self,
        server: &Server,
        published: Published,
        webhook: SocketAddr,
    ) -> anyhow::Result<(Vec<Background>, Demonstration)> {
        let names = serving_names(NAME, &self.namespace, &self.tls_name);
        let certificate = ephemeral(&names, Timestamp::now()).context("--tls-name")?;
        server.tls.store(certificate.pair.server_config());
        let world = dev::World::open(self.world.clone(), published, self.installation())?;
        let demonstration = Demonstration::new(&certificate.ca_pem, webhook, world.example())?;
        let watched: Background = Box::pin(world.run());
        Ok((vec![watched], demonstration))
    }

    async fn cluster(
        &self,
        server: &Server,
        published: Published,
        sleep_dropped: Arc<Notify>,
        used: Arc<UsedExemptions>,
    ) -> anyhow::Result<Vec<Background>> {
        let client = kube::Client::try_from(self.client_config().await?)?;
        let valid = server.readiness.require("certificate valid");
        let (tls, metrics) = (Arc::clone(&server.tls), Arc::clone(&server.metrics));
        let certificates: Background = if let (Some(chain), Some(key)) = (&self.tls_cert_file, &self.tls_key_file) {
            Box::pin(Files::new(chain.clone(), key.clone(), tls, valid, metrics).run(FILES_POLL))
        } else {
            let configurations = [Configuration::Mutating(NAME.to_owned()), Configuration::Validating(NAME.to_owned())];
            let names = serving_names(NAME, &self.namespace, &self.tls_name);
            let options = SharedOptions::new(&self.namespace, CA_SECRET, configurations, names);
            Box::pin(Shared::new(client.clone(), options, tls, valid, metrics).run(SHARED_CHECK))
        };
        let metrics = Arc::clone(&server.metrics);
        let statuses = StatusWriter::new(client.clone(), published.clone(), used, Arc::clone(&metrics));
        let watches = Watches::new(client, published, self.installation(), metrics, &server.readiness, sleep_dropped);
        Ok(vec![certificates, Box::pin(watches.run()), Box::pin(statuses.run())])
    }

    async fn client_config(&self) -> anyhow::Result<kube::Config> {
        let Some(file) = &self.kubeconfig else {
            return kube::Config::incluster().map_err(|_| {
                anyhow!("this is not a pod of a cluster; give --kubeconfig FILE, or --dev to serve without a cluster")
            });
        };
        let kubeconfig = Kubeconfig::read_from(file);
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match kubeconfig {
            Ok(kubeconfig) => kube::Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        };
        config.map_err(|error| anyhow!("--kubeconfig {}: {}", file.display(), unusable(&error)))
    }
}

/// Why a kubeconfig cannot be used, in one line: parsers add a picture of the place.
fn unusable(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(problem, _) => problem.to_string(),
        KubeconfigError::CurrentContextNotSet => "it has no current context; give --context NAME".to_owned(),
        KubeconfigError::LoadContext(name) => format!("it has no context \"{name}\""),
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// Binds a port: the given address, or every address of the machine (also where it has no IPv6), or the loopback one.
async fn listen(flag: &str, given: Option<SocketAddr>, loopback: bool, port: u16) -> anyhow::Result<TcpListener> {
    let every: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    let candidates: Vec<SocketAddr> = match given {
        Some(address) => vec![address],
        None if loopback => vec![(Ipv4Addr::LOCALHOST, port).into()],
        None => every.into_iter().map(|address| (address, port).into()).collect(),
    };
    let mut last = None;
    for address in candidates {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some((address, error)),
        }
    }
    let Some((address, error)) = last else { bail!("{flag}: no address to listen on") };
    Err(error).with_context(|| format!("{flag} {address}: cannot listen there"))
}
