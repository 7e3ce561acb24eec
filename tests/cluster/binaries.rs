//! The programs of the control plane: taken from `KUBEBUILDER_ASSETS` where they fit, else from the user's cache
//! folder, else built from the Go modules in `modules/`.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    Version,
    error::Error,
    process::{self, Process, program_in_path},
    progress::{Clock, say},
    run_folder::RunFolder,
    wait::{self, Look},
    wheel,
};

const MODULES_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/modules");
/// The folder of ready-made programs, by the convention of controller-runtime's envtest.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";
/// On one slow core Kubernetes takes about 25 minutes.
const BUILD_LIMIT_MINUTES: u64 = 60;
/// kubectl works with API servers one minor away and, for what the tests do, with older ones too.
const KUBECTL_VERSION: Version = Version::V1_37;
const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";
const ETCD_MODULE: &str = "go.etcd.io/etcd/server/v3";
const HELM_MODULE: &str = "helm.sh/helm/v4";
const CONTAINERD_MODULE: &str = "github.com/containerd/containerd/v2";
const CONTOUR_MODULE: &str = "github.com/projectcontour/contour";
/// The file of Contour's module with its custom resources.
const CONTOUR_CRDS: &str = "examples/contour/01-crds.yaml";
/// containerd without the snapshotters that need C libraries.
const CONTAINERD_TAGS: &str = "no_btrfs,no_devmapper,no_zfs";
/// Where Debian, and where everybody else, puts the CNI plugins.
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// The programs of one control plane.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) etcd: PathBuf,
    pub(crate) apiserver: PathBuf,
    /// Where the version has one.
    pub(crate) controller_manager: Option<PathBuf>,
    pub(crate) kubectl: PathBuf,
    pub(crate) helm: PathBuf,
}

impl Binaries {
    /// Finds the programs, or builds what is missing, which may take many minutes.
    pub(crate) fn find_or_build(version: Version) -> Result<Self, Error> {
        let assets = Assets::from_env();
        let kubernetes = Module::kubernetes(version);
        let kubectl_module = Module::kubernetes(KUBECTL_VERSION);
        Ok(Self {
            etcd: match assets.any_version("etcd") {
                Some(path) => path,
                None => Module::etcd().program("etcd")?,
            },
            apiserver: match assets.apiserver(version) {
                Some(path) => path,
                None => kubernetes.program("kube-apiserver")?,
            },
            controller_manager: if version.has_controllers() {
                Some(kubernetes.program("kube-controller-manager")?)
            } else {
                None
            },
            kubectl: match assets.any_version("kubectl") {
                Some(path) => path,
                None => kubectl_module.program("kubectl")?,
            },
            helm: Module::helm().program("helm")?,
        })
    }
}

/// The programs of a node and of its ingress controller.
#[derive(Clone, Debug)]
pub(crate) struct NodeBinaries {
    pub(crate) scheduler: PathBuf,
    pub(crate) kubelet: PathBuf,
    pub(crate) kube_proxy: PathBuf,
    pub(crate) containerd: PathBuf,
    /// In the folder of `containerd`, whose `PATH` has to lead there.
    pub(crate) ctr: PathBuf,
    pub(crate) contour: PathBuf,
    /// Contour's custom resources, to be applied.
    pub(crate) contour_crds: PathBuf,
    pub(crate) envoy: PathBuf,
    pub(crate) runc: PathBuf,
    pub(crate) cni_folder: PathBuf,
}

impl NodeBinaries {
    /// Finds the programs, or builds and downloads what is missing; runc and the CNI plugins are the machine's own.
    pub(crate) fn find_or_build(version: Version) -> Result<Self, Error> {
        let (kubernetes, containerd, contour) = (Module::kubernetes(version), Module::containerd(), Module::contour());
        containerd.program("containerd-shim-runc-v2")?;
        Ok(Self {
            scheduler: kubernetes.program("kube-scheduler")?,
            kubelet: kubernetes.program("kubelet")?,
            kube_proxy: kubernetes.program("kube-proxy")?,
            containerd: containerd.program("containerd")?,
            ctr: containerd.program("ctr")?,
            contour: contour.program("contour")?,
            contour_crds: contour.file(CONTOUR_CRDS)?,
            envoy: wheel::envoy(&cache_folder()?)?,
            runc: program_in_path("runc").ok_or(Error::NotInPath { program: "runc" })?,
            cni_folder: cni_folder().ok_or(Error::NotInPath { program: "the CNI plugins ptp, host-local and loopback" })?,
        })
    }
}

/// What a cluster with a node is made of, with versions.
pub(crate) fn node_versions(version: Version) -> Result<Vec<(String, String)>, Error> {
    let of = |module: &Module, program| Recipe::read(module, program).map(|it| it.version.trim_start_matches('v').to_owned());
    Ok(vec![
        ("Kubernetes".into(), of(&Module::kubernetes(version), "kubelet")?),
        ("containerd".into(), of(&Module::containerd(), "containerd")?),
        ("Contour".into(), of(&Module::contour(), "contour")?),
        ("Envoy".into(), wheel::version()?),
    ])
}

/// The folder with the CNI plugins that a node needs.
pub(crate) fn cni_folder() -> Option<PathBuf> {
    let has_all = |folder: &PathBuf| ["ptp", "host-local", "loopback"].iter().all(|it| folder.join(it).is_file());
    CNI_FOLDERS.map(PathBuf::from).into_iter().find(has_all)
}

/// The folder `KUBEBUILDER_ASSETS` names, if it is set.
struct Assets(Option<PathBuf>);

impl Assets {
    fn from_env() -> Self {
        Self(env::var_os(ASSETS_VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from))
    }

    fn any_version(&self, program: &str) -> Option<PathBuf> {
        self.0.as_ref().map(|folder| folder.join(program)).filter(|path| path.is_file())
    }

    /// The API server, if it is of the wanted minor version.
    fn apiserver(&self, version: Version) -> Option<PathBuf> {
        let path = self.any_version("kube-apiserver")?;
        let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if said.starts_with(&format!("Kubernetes v{version}.")) {
            return Some(path);
        }
        say(&format!("{} says {said:?}, not {version}: using one built from source", path.display()));
        None
    }
}

/// A Go module of ours whose `tool` directives name programs.
struct Module {
    /// Its folder below `modules/`.
    name: String,
    /// The module the programs come from.
    source: &'static str,
    /// The `-ldflags` for a version of `source`.
    linker_flags: fn(&str) -> String,
    /// Build tags, if any.
    tags: Option<&'static str>,
}

impl Module {
    fn etcd() -> Self {
        Self { name: "etcd".into(), source: ETCD_MODULE, linker_flags: |_| "-s -w".into(), tags: None }
    }

    fn containerd() -> Self {
        let linker_flags = |version: &str| format!("-s -w -X {CONTAINERD_MODULE}/version.Version={version}");
        Self { name: "containerd".into(), source: CONTAINERD_MODULE, linker_flags, tags: Some(CONTAINERD_TAGS) }
    }

    fn contour() -> Self {
        Self { name: "contour".into(), source: CONTOUR_MODULE, linker_flags: |_| "-s -w".into(), tags: None }
    }

    fn helm() -> Self {
        let linker_flags = |version: &str| format!("-s -w -X {HELM_MODULE}/internal/version.version={version}");
        Self { name: "helm".into(), source: HELM_MODULE, linker_flags, tags: None }
    }

    fn kubernetes(version: Version) -> Self {
        let linker_flags = match version {
            Version::V1_37 => |git_version: &str| kubernetes_linker_flags(git_version, Version::V1_37),
            Version::V1_35 => |git_version: &str| kubernetes_linker_flags(git_version, Version::V1_35),
            Version::V1_33 => |git_version: &str| kubernetes_linker_flags(git_version, Version::V1_33),
        };
        Self { name: format!("kubernetes-{version}"), source: KUBERNETES_MODULE, linker_flags, tags: None }
    }

    /// The import path of a program; etcd's is the root of its module.
    fn package(&self, program: &str) -> String {
        if self.source == ETCD_MODULE { ETCD_MODULE.into() } else { format!("{}/cmd/{program}", self.source) }
    }

    /// The path of a program in the cache, after building it if it is not there.
    fn program(&self, program: &'static str) -> Result<PathBuf, Error> {
        let recipe = Recipe::read(self, program)?;
        let cache = cache_folder()?;
        let path = cache.join(format!("{}-{}", self.name, recipe.key())).join(program);
        if path.is_file() {
            return Ok(path);
        }
        fs::create_dir_all(&cache).map_err(Error::io("make the folder", &cache))?;
        let _alone = lock_builds(&cache)?;
        if path.is_file() {
            return Ok(path);
        }
        recipe.build(program, &path)?;
        Ok(path)
    }

    /// A file of the source module, kept in the cache because the module itself may be cleaned away.
    fn file(&self, path: &'static str) -> Result<PathBuf, Error> {
        let name = Path::new(path).file_name().unwrap_or_default();
        let recipe = Recipe::read(self, path)?;
        let target = cache_folder()?.join(format!("{}-{}", self.name, recipe.key())).join(name);
        if !target.is_file() {
            install(&recipe.module_folder(self.source)?.join(path), &target)?;
        }
        Ok(target)
    }
}

/// Everything that decides what `go build` makes of a module.
struct Recipe {
    folder: PathBuf,
    go: PathBuf,
    go_version: String,
    package: String,
    version: String,
    linker_flags: String,
    tags: Option<&'static str>,
    sums: String,
}

impl Recipe {
    fn read(module: &Module, program: &'static str) -> Result<Self, Error> {
        let folder = Path::new(MODULES_FOLDER).join(&module.name);
        let read = |name: &str| {
            let file = folder.join(name);
            fs::read_to_string(&file).map_err(Error::io("read", file))
        };
        let go_mod = read("go.mod")?;
        let first_word_after = |prefix: &str| {
            let mut lines = go_mod.lines().map(str::trim);
            lines.find_map(|line| line.strip_prefix(prefix)?.split_whitespace().next()).map(str::to_owned)
        };
        let no_line = |module| Error::NoModuleVersion { file: folder.join("go.mod"), module };
        let needed = first_word_after("go ").ok_or_else(|| no_line("go"))?;
        let version = first_word_after(&format!("{} v", module.source)).ok_or_else(|| no_line(module.source))?;
        let version = format!("v{version}");
        let go = program_in_path("go").ok_or_else(|| Error::NoGo { program, needed: needed.clone() })?;
        let go_version = go_version(&go, &folder, needed)?;
        let sums = go_mod + &read("go.sum")?;
        let linker_flags = (module.linker_flags)(&version);
        Ok(Self { folder, go, go_version, package: module.package(program), version, linker_flags, tags: module.tags, sums })
    }

    fn arguments(&self) -> Vec<&str> {
        let mut arguments = vec!["build", "-trimpath", "-mod=readonly", "-ldflags", &self.linker_flags];
        arguments.extend(self.tags.iter().flat_map(|tags| ["-tags", *tags]));
        arguments
    }

    /// Where Go keeps the source of a module.
    fn module_folder(&self, module: &str) -> Result<PathBuf, Error> {
        let output = Command::new(&self.go)
            .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module])
            .current_dir(&self.folder)
            .env("GOWORK", "off")
            .env_remove("GOFLAGS")
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io("run", &self.go))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::GoUnusable { folder: self.folder.clone(), needed: self.go_version.clone(), stderr });
        }
        Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    }

    /// Names the result: the same key, the same programs. The package is left out, one folder holds the whole module.
    fn key(&self) -> String {
        const KEY_BYTES: usize = 8;
        let everything = [&self.sums, &self.arguments().join(" "), &self.go_version].map(String::as_str).join("\0");
        let digest = ring::digest::digest(&ring::digest::SHA256, everything.as_bytes());
        digest.as_ref()[..KEY_BYTES].iter().fold(String::new(), |mut key, byte| {
            // Writing to a string cannot fail.
            let _ = write!(key, "{byte:02x}");
            key
        })
    }

    /// Builds into a temporary folder beside the target and renames, so that a broken build never looks finished.
    fn build(&self, program: &'static str, target: &Path) -> Result<(), Error> {
        let run = RunFolder::create()?;
        let log = run.log(program);
        let built = run.path().join(program);
        let mut command = Process::command(&self.go);
        command
            .args(self.arguments())
            .arg("-o")
            .arg(&built)
            .arg(&self.package)
            .current_dir(&self.folder)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            // A killed `go build` leaves its temporary files behind; here they go with the run's folder.
            .env("GOTMPDIR", run.path())
            .env_remove("GOFLAGS")
            .env_remove("GOOS")
            .env_remove("GOARCH");
        let mut clock = Clock::start(format!("building {program} {} with {}", self.version, self.go_version));
        let process = Process::start(program, command, &log)?;
        let limit = Duration::from_secs(BUILD_LIMIT_MINUTES * 60);
        let status = wait::until(format!("{program} is built"), limit, || {
            clock.tick();
            Ok::<_, Error>(process.ended().map_or(Look::NotYet("go build is running".into()), Look::Met))
        })
        .inspect_err(|_| run.keep_logs())?;
        if !status.success() {
            clock.finish("failed");
            run.keep_logs();
            return Err(Error::Build { program, status, tail: process::tail(&log), log });
        }
        install(&built, target)?;
        clock.finish("done");
        Ok(())
    }
}

fn kubernetes_linker_flags(git_version: &str, version: Version) -> String {
    const PACKAGE: &str = "k8s.io/component-base/version";
    let minor = version.minor();
    format!("-s -w -X {PACKAGE}.gitVersion={git_version} -X {PACKAGE}.gitMajor=1 -X {PACKAGE}.gitMinor={minor}")
}

/// What the toolchain that builds in `folder` says about itself, its platform included.
fn go_version(go: &Path, folder: &Path, needed: String) -> Result<String, Error> {
    let output = Command::new(go)
        .arg("version")
        .current_dir(folder)
        .env_remove("GOFLAGS")
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run", go))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::GoUnusable { folder: folder.to_owned(), needed, stderr });
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.trim().trim_start_matches("go version ").to_owned())
}

/// `${XDG_CACHE_HOME:-~/.cache}/no502/cluster`.
fn cache_folder() -> Result<PathBuf, Error> {
    let absolute = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    Ok(base.ok_or(Error::NoCacheFolder)?.join("no502/cluster"))
}

/// Waits until no other run builds; two builds at once would only share the cores, or do the same work twice.
fn lock_builds(cache: &Path) -> Result<File, Error> {
    let path = cache.join("build.lock");
    let file = File::create(&path).map_err(Error::io("make", &path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => say("waiting for another run that is building"),
        Err(TryLockError::Error(problem)) => return Err(Error::Io { act: "lock", path, problem }),
    }
    file.lock().map_err(Error::io("lock", path))?;
    Ok(file)
}

/// Copies to the target's file system, then renames.
fn install(built: &Path, target: &Path) -> Result<(), Error> {
    let folder = target.parent().unwrap_or(target);
    fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
    let partial = target.with_extension("partial");
    fs::copy(built, &partial).map_err(Error::io("write", &partial))?;
    fs::rename(&partial, target).map_err(Error::io("write", target))
}
