//! `no502 serve --dev`: a folder of manifests is the cluster, and a review that anyone can send is ready beside it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::{
    facts::{DEFAULT_NAMESPACE, Facts},
    manifest::{self, Document, Level, Loaded},
    policy::{Installation, NAMESPACED_KIND, PolicyName, PolicyStore, ReadPolicy},
    snapshot::Store,
    watch::Published,
};

/// How often the folder is looked at.
const POLL: Duration = Duration::from_millis(300);

/// The newest minor version that no502 is tested with: a world of files has no API server to ask.
const DEV_SERVER_MINOR: u32 = 37;

/// A folder of manifests, served as if it were a cluster.
#[derive(Debug)]
pub(super) struct World {
    folder: Option<PathBuf>,
    published: Published,
    /// Kept from one reading to the next, so that a policy with a typing mistake leaves its last good version in force, whether the
    /// policy cannot be read or its file.
    policies: PolicyStore,
    /// The policies and namespaces that there are, and the files that they are from.
    origins: Origins,
    /// How often the folder was read: the generation of its policies.
    readings: i64,
    example: Option<Value>,
}

#[derive(Debug, Default)]
struct Origins {
    policies: BTreeMap<PolicyName, Arc<Path>>,
    namespaces: BTreeMap<SmolStr, Arc<Path>>,
}

impl World {
    /// Reads the folder once.
    pub(super) fn open(
        folder: Option<PathBuf>,
        published: Published,
        installation: Installation,
    ) -> anyhow::Result<Self> {
        let policies = PolicyStore::new(installation);
        let mut world = Self { folder, published, policies, origins: Origins::default(), readings: 0, example: None };
        if let Some(folder) = &world.folder
            && !folder.is_dir()
        {
            bail!("--world {}: not a folder", folder.display());
        }
        world.load();
        Ok(world)
    }

    /// A Service of the world, for the review that is printed.
    pub(super) fn example(&self) -> Option<&Value> {
        self.example.as_ref()
    }

    /// Picks up changes for ever.
    pub(super) async fn run(mut self) -> Infallible {
        let mut seen = self.files();
        loop {
            tokio::time::sleep(POLL).await;
            let now = self.files();
            if now != seen {
                seen = now;
                self.load();
            }
        }
    }

    fn load(&mut self) {
        let folders: Vec<PathBuf> = self.folder.iter().cloned().collect();
        let loaded = if folders.is_empty() { Loaded::default() } else { manifest::read(&folders, io::empty()) };
        for unreadable in &loaded.unreadable {
            tracing::warn!("{unreadable}");
        }
        for problem in loaded.problems.iter().filter(|it| it.level == Level::Error) {
            tracing::warn!("{problem}");
        }
        let mut store = Store::complete();
        store.set_server_minor(Some(DEV_SERVER_MINOR));
        for document in &loaded.documents {
            match Facts::read(document.json()) {
                Ok(facts) => store.apply(facts.in_default_namespace()),
                Err(error) => tracing::warn!("{}: {error}", document.locate("")),
            }
        }
        let services = loaded.documents.iter().filter_map(|it| serde_json::from_str::<Value>(it.json()).ok());
        self.example = services
            .into_iter()
            .find(|it| it["apiVersion"] == "v1" && it["kind"] == "Service" && it["spec"]["selector"].is_object());
        self.load_policies(&loaded);
        self.published.snapshot.store(Arc::new(store.snapshot()));
        tracing::info!(objects = loaded.documents.len(), files = loaded.files, "world read");
    }

    /// Policies, and the labels of the namespaces that they are for.
    fn load_policies(&mut self, loaded: &Loaded) {
        self.readings += 1;
        let before = std::mem::take(&mut self.origins);
        for document in &loaded.documents {
            let file = Arc::clone(document.source().file());
            if let Ok(Facts::Namespace(namespace)) = Facts::read(document.json()) {
                self.policies.set_namespace(&namespace.meta.name, Some(&namespace.labels));
                self.origins.namespaces.insert(namespace.meta.name, file);
            } else if let Ok(object) = serde_json::from_str::<Value>(document.json()) {
                self.load_policy(object, document, file);
            }
        }
        let errors = loaded.problems.iter().filter(|it| it.level == Level::Error).map(|it| &*it.location.file);
        let unread: Vec<&Path> = errors.chain(loaded.unreadable.iter().map(|it| it.path.as_path())).collect();
        // Nobody knows what is still in a file that cannot be read, or in a folder.
        let may_be_there = |file: &Path| unread.iter().any(|it| file.starts_with(it));
        for (name, file) in before.policies {
            if self.origins.policies.contains_key(&name) {
                continue;
            }
            if may_be_there(&file) {
                tracing::warn!(namespace = %name.namespace, "{}: {name} stays as it was read last", file.display());
                self.origins.policies.insert(name, file);
            } else {
                self.policies.remove(&name);
            }
        }
        for (name, file) in before.namespaces {
            if self.origins.namespaces.contains_key(&name) {
                continue;
            }
            if may_be_there(&file) {
                self.origins.namespaces.insert(name, file);
            } else {
                self.policies.set_namespace(&name, None);
            }
        }
        self.published.policies.store(Arc::new(self.policies.policies()));
    }

    fn load_policy(&mut self, mut object: Value, document: &Document, file: Arc<Path>) {
        let Some(read) = ReadPolicy::read(&object) else { return };
        for problem in &read.problems {
            tracing::warn!("{}: {} {problem}", document.locate(""), read.policy.name);
        }
        let mut name = read.policy.name;
        object["metadata"]["generation"] = json!(self.readings);
        if name.namespace.is_empty() && object["kind"] == NAMESPACED_KIND {
            object["metadata"]["namespace"] = json!(DEFAULT_NAMESPACE);
            name.namespace = DEFAULT_NAMESPACE.into();
        }
        self.policies.apply(&object);
        self.origins.policies.insert(name, file);
    }

    /// Every file with its size and age: enough to see an edit.
    fn files(&self) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
        let mut files = BTreeMap::new();
        if let Some(folder) = &self.folder {
            collect(folder, &mut files);
        }
        files
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, (u64, Option<SystemTime>)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if kind.is_dir() {
            collect(&path, files);
        } else if let Ok(metadata) = std::fs::metadata(&path) {
            files.insert(path, (metadata.len(), metadata.modified().ok()));
        }
    }
}

/// A review to send, and the CA to trust: files that live as long as the server.
#[derive(Debug)]
pub(super) struct Demonstration {
    folder: PathBuf,
    webhook: SocketAddr,
}

impl Demonstration {
    /// Writes both files. The review asks for a selector that finds nothing.
    pub(super) fn new(ca_pem: &str, webhook: SocketAddr, service: Option<&Value>) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("no502-dev-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot create it", folder.display()))?;
        let demonstration = Self { folder, webhook };
        demonstration.write("ca.pem", ca_pem)?;
        demonstration.write("review.json", &format!("{:#}\n", review_of(service)))?;
        Ok(demonstration)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let file = self.folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("{}: cannot write it", file.display()))
    }

    #[expect(clippy::print_stdout, reason = "the line that the user copies")]
    pub(super) fn print(&self) {
        let folder = self.folder.display();
        // Every address of the machine is listened on, and the certificate is for the loopback one.
        let mut webhook = self.webhook;
        if webhook.ip().is_unspecified() {
            webhook.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        println!("Try it:\n  curl --cacert {folder}/ca.pem --data @{folder}/review.json https://{webhook}/validate");
    }
}

impl Drop for Demonstration {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The Service with one letter too many in its selector; without one, a Service that is ahead of its pods.
fn review_of(service: Option<&Value>) -> Value {
    let sample = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": DEFAULT_NAMESPACE },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
    });
    let mut new = service.cloned().unwrap_or(sample);
    let typo = new["spec"]["selector"].as_object_mut().and_then(|it| it.values_mut().next());
    if let (Some(value), true) = (typo, service.is_some()) {
        *value = json!(format!("{}x", value.as_str().unwrap_or_default()));
    }
    let namespace = new["metadata"]["namespace"].as_str().unwrap_or(DEFAULT_NAMESPACE).to_owned();
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "00000000-0000-4000-8000-000000000502",
            "kind": { "group": "", "version": "v1", "kind": "Service" },
            "resource": { "group": "", "version": "v1", "resource": "services" },
            "name": new["metadata"]["name"], "namespace": namespace,
            "operation": if service.is_some() { "UPDATE" } else { "CREATE" },
            "userInfo": { "username": "developer" },
            "object": new, "oldObject": service, "dryRun": true,
        },
    })
}
