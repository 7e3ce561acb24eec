//! The programs of a node and of its ingress controller: built from Go modules, Envoy from a Python wheel, runc and the CNI
//! plugins as the machine has them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::wheel;
use crate::cluster::{
    Version,
    error::Error,
    go_module::{self, Module, Recipe},
    process::{self, program_in_path},
};

const CONTAINERD_MODULE: &str = "github.com/containerd/containerd/v2";
/// Without the snapshotters that need C libraries.
const CONTAINERD_TAGS: &str = "no_btrfs,no_devmapper,no_zfs";
const CONTOUR_MODULE: &str = "github.com/projectcontour/contour";
/// The file of Contour's module with its custom resources.
const CONTOUR_CRDS: &str = "examples/contour/01-crds.yaml";
/// Where Debian, Fedora, and the plugins' own archive for all other systems put the CNI plugins.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];
const CONTOUR_CRDS_MODE: u32 = 0o644;
/// Of megabytes, over a slow line.
pub(super) const DOWNLOAD_LIMIT_MINUTES: u64 = 20;

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
        let (kubernetes, containerd, contour) = (Module::kubernetes(version), containerd_module(), contour_module());
        containerd.program("containerd-shim-runc-v2")?;
        Ok(Self {
            scheduler: kubernetes.program("kube-scheduler")?,
            kubelet: kubernetes.program("kubelet")?,
            kube_proxy: kubernetes.program("kube-proxy")?,
            containerd: containerd.program("containerd")?,
            ctr: containerd.program("ctr")?,
            contour: contour.program("contour")?,
            contour_crds: source_file(&contour, CONTOUR_CRDS)?,
            envoy: wheel::envoy(&go_module::cache_folder()?)?,
            runc: program_in_path("runc").ok_or(Error::NotInPath { program: "runc" })?,
            cni_folder: cni_folder()
                .ok_or(Error::NotInPath { program: "the CNI plugins ptp, host-local and loopback" })?,
        })
    }
}

/// What a cluster with a node is made of, with versions.
pub(crate) fn versions(version: Version) -> Result<Vec<(String, String)>, Error> {
    let of = |module: &Module, program| {
        Recipe::read(module, program).map(|it| it.version.trim_start_matches('v').to_owned())
    };
    Ok(vec![
        ("Kubernetes".into(), of(&Module::kubernetes(version), "kubelet")?),
        ("containerd".into(), of(&containerd_module(), "containerd")?),
        ("Contour".into(), of(&contour_module(), "contour")?),
        ("Envoy".into(), wheel::version()?),
    ])
}

/// The folder with the CNI plugins that a node needs.
pub(crate) fn cni_folder() -> Option<PathBuf> {
    let has_all = |folder: &PathBuf| ["ptp", "host-local", "loopback"].iter().all(|it| folder.join(it).is_file());
    CNI_FOLDERS.map(PathBuf::from).into_iter().find(has_all)
}

fn containerd_module() -> Module {
    let linker_flags = |version: &str| format!("-s -w -X {CONTAINERD_MODULE}/version.Version={version}");
    Module { name: "containerd".into(), source: CONTAINERD_MODULE, linker_flags, tags: Some(CONTAINERD_TAGS) }
}

fn contour_module() -> Module {
    Module { name: "contour".into(), source: CONTOUR_MODULE, linker_flags: |_| "-s -w".into(), tags: None }
}

/// A file of a module's source, kept in the cache because Go's own copy may be cleaned away.
fn source_file(module: &Module, path: &'static str) -> Result<PathBuf, Error> {
    let recipe = Recipe::read(module, path)?;
    let name = Path::new(path).file_name().unwrap_or_default();
    let cache = go_module::cache_folder()?;
    let target = cache.join(format!("{}-{}", module.name, recipe.key())).join(name);
    if target.is_file() {
        return Ok(target);
    }
    let _alone = go_module::lock_builds(&cache)?;
    if !target.is_file() {
        go_module::install(&download(module, &recipe)?.join(path), &target)?;
        // Go's copy is for reading only.
        let mode = Permissions::from_mode(CONTOUR_CRDS_MODE);
        fs::set_permissions(&target, mode).map_err(Error::io("set the mode of", &target))?;
    }
    Ok(target)
}

/// Go's copy of a module's source, after downloading it if it is not there.
fn download(module: &Module, recipe: &Recipe) -> Result<PathBuf, Error> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Downloaded {
        dir: PathBuf,
    }
    let mut download = Command::new(&recipe.go);
    download
        .args(["mod", "download", "-json", module.source])
        .current_dir(&recipe.folder)
        .env("GOWORK", "off")
        .env_remove("GOFLAGS");
    let said = process::output_within(&download, Duration::from_mins(DOWNLOAD_LIMIT_MINUTES))?;
    let downloaded = serde_json::from_str::<Downloaded>(&said).ok().map(|it| it.dir).filter(|dir| dir.is_absolute());
    downloaded.ok_or(Error::Unexpected { what: "what `go mod download` says", said })
}
