//! Programs built from the Go modules in `modules/`, each once, into the user's cache folder.

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
};

const MODULES_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/modules");
/// On one slow core Kubernetes takes about 25 minutes.
const BUILD_LIMIT_MINUTES: u64 = 60;
const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";
const ETCD_MODULE: &str = "go.etcd.io/etcd/server/v3";
const HELM_MODULE: &str = "helm.sh/helm/v4";

/// A Go module of ours whose `tool` directives name programs.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its folder below `modules/`.
    pub(crate) name: String,
    /// The module the programs come from.
    pub(crate) source: &'static str,
    /// The `-ldflags` for a version of `source`.
    pub(crate) linker_flags: fn(&str) -> String,
    /// Build tags, if any.
    pub(crate) tags: Option<&'static str>,
}

impl Module {
    pub(crate) fn etcd() -> Self {
        Self { name: "etcd".into(), source: ETCD_MODULE, linker_flags: |_| "-s -w".into(), tags: None }
    }

    pub(crate) fn helm() -> Self {
        let linker_flags = |version: &str| format!("-s -w -X {HELM_MODULE}/internal/version.version={version}");
        Self { name: "helm".into(), source: HELM_MODULE, linker_flags, tags: None }
    }

    pub(crate) fn kubernetes(version: Version) -> Self {
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
    pub(crate) fn program(&self, program: &'static str) -> Result<PathBuf, Error> {
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
}

/// Everything that decides what `go build` makes of a module.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) folder: PathBuf,
    pub(crate) go: PathBuf,
    go_version: String,
    package: String,
    pub(crate) version: String,
    linker_flags: String,
    tags: Option<&'static str>,
    sums: String,
}

impl Recipe {
    pub(crate) fn read(module: &Module, program: &'static str) -> Result<Self, Error> {
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
        Ok(Self {
            folder,
            go,
            go_version,
            package: module.package(program),
            version,
            linker_flags,
            tags: module.tags,
            sums,
        })
    }

    fn arguments(&self) -> Vec<&str> {
        let mut arguments = vec!["build", "-trimpath", "-mod=readonly", "-ldflags", &self.linker_flags];
        arguments.extend(self.tags.iter().flat_map(|tags| ["-tags", *tags]));
        arguments
    }

    /// Names the result: the same key, the same programs. The package is left out, one folder holds the whole module.
    pub(crate) fn key(&self) -> String {
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
pub(crate) fn cache_folder() -> Result<PathBuf, Error> {
    let absolute = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    Ok(base.ok_or(Error::NoCacheFolder)?.join("no502/cluster"))
}

/// Waits until no other run builds; two builds at once would only share the cores, or do the same work twice.
pub(crate) fn lock_builds(cache: &Path) -> Result<File, Error> {
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
pub(crate) fn install(built: &Path, target: &Path) -> Result<(), Error> {
    let folder = target.parent().unwrap_or(target);
    fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
    let partial = target.with_extension("partial");
    fs::copy(built, &partial).map_err(Error::io("write", &partial))?;
    fs::rename(&partial, target).map_err(Error::io("write", target))
}
