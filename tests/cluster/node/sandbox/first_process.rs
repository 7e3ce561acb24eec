//! The first process inside a sandbox, as the outside sees it: everything inside ends with it. It leaves a note, from which the
//! janitor learns whom to wait for.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::error::Error;

const NOTE: &str = "first-process";
/// Of a process in `/proc`.
const NAMESPACE: &str = "ns/pid";

/// Notes who this process is. Gives its number as seen from outside, which only the outside's `/proc` knows: call it before
/// another is mounted.
pub(super) fn note(folder: &Path) -> Result<u32, Error> {
    let this = Path::new("/proc/self");
    let number = fs::read_link(this).map_err(Error::io("read", this))?;
    let namespace = fs::read_link(this.join(NAMESPACE)).map_err(Error::io("read", this.join(NAMESPACE)))?;
    let file = folder.join(NOTE);
    fs::write(&file, format!("{}\n{}\n", number.display(), namespace.display())).map_err(Error::io("write", file))?;
    number
        .to_string_lossy()
        .parse()
        .map_err(|_| Error::Unfit(format!("/proc/self leads to {}: is /proc mounted?", number.display())))
}

/// Whether there has been one.
pub(super) fn was_there(folder: &Path) -> bool {
    folder.join(NOTE).exists()
}

/// Kills it, where the kernel has not done so already. An error as long as anything inside lives.
pub(super) fn end(folder: &Path) -> io::Result<()> {
    let Some((number, pid)) = fs::read_to_string(folder.join(NOTE)).ok().and_then(|note| living(&note)) else {
        return Ok(());
    };
    // Fails only if it ends right now.
    let _ = kill_process(pid, Signal::KILL);
    Err(io::Error::other(format!("process {number} has not ended")))
}

/// The process of a note. Another one that was given its number is in another namespace.
fn living(note: &str) -> Option<(i32, Pid)> {
    let (number, namespace) = note.trim_end().split_once('\n')?;
    let process = PathBuf::from("/proc").join(number);
    let is_it = fs::read_link(process.join(NAMESPACE)).ok()? == Path::new(namespace);
    // The kernel ends it last of all in there; nobody may be there to take notice of its end.
    let is_dead = fs::read_to_string(process.join("stat")).ok()?.rsplit_once(") ")?.1.starts_with(['Z', 'X']);
    let number = number.parse().ok()?;
    (is_it && !is_dead).then_some((number, Pid::from_raw(number)?))
}
