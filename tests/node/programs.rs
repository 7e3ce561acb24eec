//! The programs under test, built when they are needed: cargo builds no examples for a single test target.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, ensure};

use crate::BUSY;

/// How `proof` ends on a machine that cannot run it.
pub(crate) const EXIT_CODE_UNFIT: i32 = 3;
/// How `proof` ends if it was neither won nor lost.
pub(crate) const EXIT_CODE_BROKEN: i32 = 4;
/// How `cluster` ends whatever is wrong.
pub(crate) const EXIT_CODE_FAILURE: i32 = 1;

/// The programs that start a node.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) cluster: PathBuf,
    pub(crate) proof: PathBuf,
}

/// Builds them, once.
pub(crate) fn built() -> anyhow::Result<&'static Programs> {
    static BUILT: OnceLock<Programs> = OnceLock::new();
    if let Some(programs) = BUILT.get() {
        return Ok(programs);
    }
    let programs = build()?;
    Ok(BUILT.get_or_init(|| programs))
}

/// TARGET/debug/deps/node-1234 leads to TARGET/debug/examples.
fn build() -> anyhow::Result<Programs> {
    let test = env::current_exe().context("this program")?;
    let folder = test.ancestors().nth(2).context("the folder of this program's folder")?;
    let profile = match folder.file_name() {
        Some(name) if name != "debug" => name.to_string_lossy().into_owned(),
        _ => "dev".into(),
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--locked", "--example=cluster", "--example=proof", "--profile"])
        .arg(profile)
        .arg("--target-dir")
        .arg(folder.parent().unwrap_or(folder))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = cargo.status().context("cargo")?;
    ensure!(status.success(), "`cargo build --example cluster --example proof` failed, see above");
    let program = |name: &str| -> anyhow::Result<PathBuf> {
        let path = folder.join("examples").join(name);
        ensure!(path.is_file(), "{} is not there: cargo build --example {name}", path.display());
        Ok(path)
    };
    Ok(Programs { cluster: program("cluster")?, proof: program("proof")? })
}

/// What the machine lacks, in the programs' own words.
pub(crate) fn unfit() -> anyhow::Result<Option<String>> {
    let output = Command::new(&built()?.proof).arg("--check").output().context("proof --check")?;
    let said = String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("error: ").to_owned();
    if output.status.success() || said.contains(BUSY) {
        return Ok(None);
    }
    ensure!(output.status.code() == Some(EXIT_CODE_UNFIT), "proof --check ended with {}: {said}", output.status);
    Ok(Some(said))
}

/// Builds everything that a node consists of.
pub(crate) fn build_all() -> anyhow::Result<()> {
    let status = Command::new(&built()?.cluster).args(["build", "--node"]).stdout(Stdio::null()).status();
    let status = status.context("cluster build")?;
    ensure!(status.success(), "`cluster build --node` failed, see above");
    Ok(())
}

/// All executables of `PATH` but some, as links in `folder`.
pub(crate) fn link_all_but(missing: &[&str], folder: &Path) -> anyhow::Result<()> {
    let path = env::var_os("PATH").context("PATH")?;
    for entry in env::split_paths(&path).filter_map(|folder| folder.read_dir().ok()).flatten() {
        let entry = entry?;
        let link = folder.join(entry.file_name());
        if !missing.iter().any(|name| entry.file_name() == *name) && link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(entry.path(), link)?;
        }
    }
    Ok(())
}
