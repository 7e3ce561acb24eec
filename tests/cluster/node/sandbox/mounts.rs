//! The mounts inside a sandbox: what containers mount must reach their own namespaces, and the system's folders and settings
//! stay as they are.

use std::{fs, path::Path, process::Command};

use crate::cluster::{error::Error, process};

/// Folders of the system that a node writes to; inside, what is written there goes to memory.
pub(super) const SHADOWED_FOLDERS: [&str; 3] = ["/run", "/var/lib", "/var/log"];
/// Settings of the kernel that the kubelet changes and that no namespace has for itself.
const SHADOWED_SETTINGS: [&str; 6] = [
    "/proc/sys/kernel/keys/root_maxbytes",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
];

/// Makes the mounts. `folder` is outside of the shadowed ones.
pub(super) fn settle(folder: &Path) -> Result<(), Error> {
    mount(&["--make-rshared", "/"])?;
    mount(&["-t", "proc", "proc", "/proc"])?;
    let shadow = folder.join("shadow");
    fs::create_dir(&shadow).map_err(Error::io("make the folder", &shadow))?;
    mount(&["-t", "tmpfs", "tmpfs", &shadow.to_string_lossy()])?;
    SHADOWED_FOLDERS.iter().try_for_each(|folder| shadow_folder(&shadow, folder))?;
    SHADOWED_SETTINGS
        .iter()
        .filter(|file| Path::new(file).exists())
        .enumerate()
        .try_for_each(|(index, file)| shadow_setting(&shadow.join(format!("setting-{index}")), file))
}

fn shadow_folder(shadow: &Path, folder: &str) -> Result<(), Error> {
    let [upper, work] = ["upper", "work"].map(|kind| shadow.join(kind).join(&folder[1..]));
    for made in [&upper, &work] {
        fs::create_dir_all(made).map_err(Error::io("make the folder", made))?;
    }
    let options = format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
    mount(&["-t", "overlay", "overlay", "-o", &options, folder])
}

/// A plain file of the same content in its place takes what is written.
fn shadow_setting(shadow: &Path, file: &str) -> Result<(), Error> {
    let value = fs::read(file).map_err(Error::io("read", file))?;
    fs::write(shadow, value).map_err(Error::io("write", shadow))?;
    mount(&["--bind", &shadow.to_string_lossy(), file])
}

fn mount(args: &[&str]) -> Result<(), Error> {
    process::output_of(Command::new("mount").args(args)).map(drop)
}
