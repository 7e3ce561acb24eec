//! The programs of the control plane: taken from `KUBEBUILDER_ASSETS` where they fit, else from the user's cache
//! folder, else built from the Go modules in `modules/`.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{Version, error::Error, go_module::Module, progress::say};

/// The folder of ready-made programs, by the convention of controller-runtime's envtest.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";
/// kubectl works with API servers one minor away and, for what the tests do, with older ones too.
const KUBECTL_VERSION: Version = Version::V1_37;

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
