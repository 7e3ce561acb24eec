//! What earlier runs have built and downloaded may not be there, not whole, or not in order.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::{
    programs::EXIT_CODE_FAILURE,
    running::{ENTER, Prepared, await_end_of, signal},
};

const EXIT_CODE_INTERRUPTED: i32 = 130;
const PROGRAM_MODE: u32 = 0o755;
/// Of Envoy's folder while it is downloaded.
const PARTIAL: &str = "envoy-partial-";
/// Of Contour's module; in the cache without its path.
const RESOURCES: &str = "01-crds.yaml";
const RESOURCES_MODE: u32 = 0o644;
const MODE_MASK: u32 = 0o777;

type Run = fn() -> anyhow::Result<()>;

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, Run); 3] = [
        ("download_ends_with_us", download_ends_with_us),
        ("file_of_a_module_cleaned_away", file_of_a_module_cleaned_away),
        ("envoy_ends_at_once", envoy_ends_at_once),
    ];
    tests
        .into_iter()
        .map(|(name, run)| {
            Trial::test(format!("cached::{name}"), move || run().map_err(|error| format!("{error:#}").into()))
                .with_ignored_flag(true)
        })
        .collect()
}

fn cache_in(base: &Path) -> PathBuf {
    base.join("no502/cluster")
}

/// The user's cache again in `base`, as links: to all folders, but in place of those that start with `replaced` to what is in
/// them, if `is_kept`.
fn copy_cache(base: &Path, replaced: &str, is_kept: fn(&Path) -> bool) -> anyhow::Result<()> {
    let user = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cache")));
    let user = cache_in(&user.context("no cache")?);
    let cache = cache_in(base);
    fs::create_dir_all(&cache)?;
    for folder in user.read_dir().with_context(|| user.display().to_string())?.flatten().filter(|it| it.path().is_dir())
    {
        let copy = cache.join(folder.file_name());
        if !folder.file_name().to_string_lossy().starts_with(replaced) {
            symlink(folder.path(), copy)?;
            continue;
        }
        fs::create_dir(&copy)?;
        for file in folder.path().read_dir()?.flatten().filter(|file| is_kept(&file.path())) {
            symlink(file.path(), copy.join(file.file_name()))?;
        }
    }
    Ok(())
}

fn write_program(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text)?;
    Ok(fs::set_permissions(file, Permissions::from_mode(PROGRAM_MODE))?)
}

/// What starts with that name in a folder.
fn entries_with(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.filter(|it| it.file_name().to_string_lossy().starts_with(prefix)).map(|it| it.path()).collect()
}

/// However it ends: pip is gone at once, and what it has written with the next download at the latest.
fn download_ends_with_us() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (programs, pip) = (folder.path().join("programs"), folder.path().join("pip"));
    fs::create_dir(&programs)?;
    let script = "#!/bin/sh\ncase \"$*\" in *--version*) exit 0 ;; esac\n";
    write_program(
        &programs.join("python3"),
        &format!(
            "{script}touch \"$TMPDIR/left\"\necho $$ >'{0}.new'\nmv '{0}.new' '{0}'\nexec sleep 600\n",
            pip.display()
        ),
    )?;
    copy_cache(folder.path(), "envoy-", |_| false)?;
    let cache = cache_in(folder.path());
    for empty in entries_with(&cache, "envoy-") {
        fs::remove_dir(empty)?;
    }
    let path = format!("{}:{}", programs.display(), env::var("PATH")?);
    for (sent, code) in [(Signal::KILL, None), (Signal::TERM, Some(EXIT_CODE_INTERRUPTED))] {
        let before = entries_with(&cache, PARTIAL);
        let prepared = Prepared::cluster()?.env("XDG_CACHE_HOME", folder.path()).env("PATH", &path);
        let mut running = prepared.start()?;
        let number = running.until("pip runs", |_| fs::read_to_string(&pip).ok())?;
        let number: u32 = number.trim().parse()?;
        fs::remove_file(&pip)?;
        ensure!(!before.iter().any(|old| old.exists()), "an earlier download is still there: {before:?}");
        ensure!(entries_with(&cache, PARTIAL).len() == 1, "it downloads elsewhere: {}", running.output());
        signal(running.number(), sent)?;
        let status = running.await_end()?;
        ensure!(status.code() == code, "{sent:?}: it ended with {status}:\n{}", running.output());
        await_end_of(number)?;
    }
    let left = entries_with(&cache, PARTIAL);
    ensure!(left.is_empty(), "left: {left:?}");
    Ok(())
}

/// Neither the cache nor Go has the file: it is downloaded once more.
fn file_of_a_module_cleaned_away() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    copy_cache(folder.path(), "contour-", |file| !file.ends_with(RESOURCES))?;
    let go = |variable: &str| -> anyhow::Result<String> {
        let output = Command::new("go").args(["env", variable]).output().context("go")?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    // From what this machine has downloaded earlier, if it still has it.
    let proxies = format!("file://{}/cache/download,{}", go("GOMODCACHE")?, go("GOPROXY")?);
    let modules = folder.path().join("modules");
    let prepared = Prepared::cluster()?.env("XDG_CACHE_HOME", folder.path()).env("GOPROXY", proxies);
    let mut running = prepared.env("GOMODCACHE", &modules).start()?;
    running.until("it starts a node", |running| running.output().contains("starting Kubernetes").then_some(()))?;
    signal(running.number(), Signal::INT)?;
    running.await_end()?;
    let found = entries_with(&cache_in(folder.path()), "contour-").into_iter().map(|it| it.join(RESOURCES));
    let found: Vec<PathBuf> = found.filter(|file| file.is_file()).collect();
    ensure!(found.len() == 1, "{found:?}");
    let mode = found[0].metadata()?.permissions().mode();
    ensure!(mode & MODE_MASK == RESOURCES_MODE, "its mode is {mode:o}");
    Ok(())
}

/// A node whose ingress controller has ended never was ready.
fn envoy_ends_at_once() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    copy_cache(folder.path(), "envoy-", |_| false)?;
    for copy in entries_with(&cache_in(folder.path()), "envoy-") {
        let programs = copy.join("envoy/_bin");
        fs::create_dir_all(&programs)?;
        write_program(&programs.join("envoy"), "#!/bin/sh\nexit 7\n")?;
    }
    let mut running = Prepared::cluster()?.env("XDG_CACHE_HOME", folder.path()).start()?;
    let status = running.await_failure()?;
    let output = running.output();
    ensure!(status.code() == Some(EXIT_CODE_FAILURE), "it ended with {status}:\n{output}");
    ensure!(output.contains("error: envoy ended (exit status: 7)"), "no word about Envoy:\n{output}");
    ensure!(!output.contains(ENTER), "it says that it is ready:\n{output}");
    Ok(())
}
