//! Replacing a file as a whole: whoever reads it sees the old text or the new one, whatever happens in between.

use std::{
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use anyhow::{Context as _, bail};

/// The permission bits that let somebody write.
const ANY_WRITE: u32 = 0o222;

/// Writes `new` into the file behind `path`, links followed, if it still holds `old`. Permissions stay, and the owner as far as
/// the system allows.
pub(super) fn replace(path: &Path, old: &str, new: &str) -> anyhow::Result<()> {
    let target = fs::canonicalize(path).context("cannot find it any more")?;
    if fs::read(&target).context("cannot read it again")? != old.as_bytes() {
        bail!("somebody has changed it in the meantime; run again");
    }
    let metadata = fs::metadata(&target).context("cannot read its permissions")?;
    if metadata.permissions().mode() & ANY_WRITE == 0 {
        bail!("it is read-only; make it writable (chmod u+w), or leave it out");
    }
    if metadata.nlink() > 1 {
        bail!("it has another name (a hard link), which would keep the old text; make it a copy, or a symbolic link");
    }
    let folder = target.parent().unwrap_or(Path::new("/"));
    written(folder, &target, new, &metadata).map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "make its folder writable",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                "make room for it"
            }
            _ => "run again once that is repaired",
        };
        anyhow::Error::msg(format!("cannot write it: {error}; {help}"))
    })
}

fn written(folder: &Path, target: &Path, text: &str, metadata: &fs::Metadata) -> io::Result<()> {
    // Hidden, so that neither shells nor no502 take it for a manifest if the program is killed here.
    let mut file =
        tempfile::Builder::new().prefix(".no502-").suffix(".tmp").tempfile_in(folder).map_err(|error| plain(&error))?;
    file.write_all(text.as_bytes())?;
    let own = file.as_file().metadata()?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        let _ = chown(file.path(), Some(metadata.uid()), Some(metadata.gid()));
    }
    file.as_file().set_permissions(Permissions::from_mode(metadata.permissions().mode()))?;
    file.as_file().sync_all()?;
    file.persist(target).map_err(|error| error.error)?;
    Ok(())
}

/// Without the name of the temporary file, which tells nobody anything.
fn plain(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.kind().to_string()), io::Error::from_raw_os_error)
}
