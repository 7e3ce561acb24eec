//! The folder of one sandbox. Root kills whom its note names and removes what is in it, so that it counts only where nobody
//! else can have written it.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use super::{FOLDER_PREFIX, TEMPORARY_FOLDER};
use crate::cluster::error::Error;

/// A cluster's keys are in it.
const MODE: u32 = 0o700;
const OTHERS_MASK: u32 = 0o077;

/// A folder of ours, which nobody else can read or write.
#[derive(Debug)]
pub(super) struct OwnFolder {
    path: PathBuf,
    name: String,
}

impl OwnFolder {
    /// Makes one in `place`, with a folder for everything temporary.
    pub(super) fn make(place: &Path) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix(FOLDER_PREFIX)
            .permissions(Permissions::from_mode(MODE))
            .tempdir_in(place)
            .map_err(Error::io("make a folder in", place))?;
        let made = Self::take(folder.path()).map_err(Error::io("use the folder", folder.path()))?;
        let temporary = made.path.join(TEMPORARY_FOLDER);
        fs::create_dir(&temporary).map_err(Error::io("make the folder", temporary))?;
        let _ = folder.keep();
        Ok(made)
    }

    /// An error unless it is one: by its name, no link, ours, and closed to others.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !path.is_absolute() || !name.starts_with(FOLDER_PREFIX) {
            return Err(io::Error::other("this is no folder of a test node"));
        }
        let found = path.symlink_metadata()?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & OTHERS_MASK != 0 {
            return Err(io::Error::other("it is not a folder of this user that is closed to others"));
        }
        Ok(Self { path: path.to_owned(), name })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the control groups for everything that runs in pods, without `/`.
    pub(super) fn cgroup(&self) -> &str {
        &self.name
    }
}
