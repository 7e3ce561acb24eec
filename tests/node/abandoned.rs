//! What an earlier node has left is removed, but nothing that somebody else has made to look like it.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::{Child, Command},
};

use anyhow::{Context as _, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::running::{Prepared, signal};

/// Not the one who runs the tests.
const OTHER_USER: u32 = 65534;
const CLOSED: u32 = 0o700;
const OPEN: u32 = 0o777;

pub(crate) fn trials() -> Vec<Trial> {
    let run = || spare_what_is_not_ours().map_err(|error| format!("{error:#}").into());
    vec![Trial::test("abandoned::spare_what_is_not_ours", run).with_ignored_flag(true)]
}

/// A process that must not be ended.
#[derive(Debug)]
struct Bystander(Child);

impl Bystander {
    fn start() -> anyhow::Result<Self> {
        Ok(Self(Command::new("sleep").arg("600").spawn().context("sleep")?))
    }

    /// The note of a first process, with this one in its place.
    fn note(&self) -> anyhow::Result<String> {
        let number = self.0.id();
        let namespace = fs::read_link(format!("/proc/{number}/ns/pid"))?;
        Ok(format!("{number}\n{}\n", namespace.display()))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        // Fails only if somebody has done it before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder as a killed node with a killed janitor leaves it, but its temporary folder leads to `victim`.
fn plant(folder: PathBuf, mode: u32, note: &str, victim: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(&folder)?;
    File::create(folder.join("owned"))?;
    fs::write(folder.join("first-process"), note)?;
    symlink(victim, folder.join("tmp"))?;
    fs::set_permissions(&folder, Permissions::from_mode(mode))?;
    Ok(folder)
}

fn spare_what_is_not_ours() -> anyhow::Result<()> {
    let prepared = Prepared::cluster()?;
    let mut bystander = Bystander::start()?;
    let note = bystander.note()?;
    let victim = prepared.folder().join("victim");
    fs::create_dir(&victim)?;
    File::create(victim.join("file"))?;
    let place = prepared.temporary().to_owned();
    let others = plant(place.join("no502-node-others"), CLOSED, &note, &victim)?;
    chown(&others, Some(OTHER_USER), None)?;
    let open = plant(place.join("no502-node-open"), OPEN, &note, &victim)?;
    let elsewhere = plant(prepared.folder().join("no502-node-elsewhere"), CLOSED, &note, &victim)?;
    let link = place.join("no502-node-link");
    symlink(&elsewhere, &link)?;
    // Nothing inside: that process has ended.
    let ours = plant(place.join("no502-node-ours"), CLOSED, "", &victim)?;

    let mut running = prepared.start()?;
    running.until("it has namespaces", |running| (running.first_process() != 0).then_some(()))?;
    let still_there = [others.join("tmp"), open.join("tmp"), link.join("tmp"), victim.join("file")];
    let missing: Vec<&PathBuf> = still_there.iter().filter(|path| path.symlink_metadata().is_err()).collect();
    ensure!(missing.is_empty(), "removed: {missing:?}");
    ensure!(bystander.0.try_wait()?.is_none(), "it has killed another process");
    ensure!(ours.symlink_metadata().is_err(), "{} is still there", ours.display());
    signal(running.number(), Signal::INT)?;
    running.await_end()?;
    Ok(())
}
