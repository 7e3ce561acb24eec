//! A proof as files for people: a page with a timeline for every run, the table in Markdown, and one picture for the README.

mod cause;
mod chart;
#[cfg(test)]
mod example;
mod labels;
mod markdown;
mod method;
mod page;
mod picture;
mod scale;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod verdict;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::outcome::Proof;

/// For everyone to read, as far as the umask lets them: the files are made to be published.
const MODE: u32 = 0o644;

/// What stopped a report from being written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("--report {}: cannot make the folder: {source}; name one that can be written", .folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("{}: cannot write the report: {source}; make room for it or name another folder", .file.display())]
    File { file: PathBuf, source: io::Error },
}

/// Writes `index.html`, `proof.md` and, if the row `restart` has been played, `rollout.svg` into the folder, which is made
/// if it is missing. Each file is replaced as a whole or not at all. Returns what was written.
///
/// # Errors
/// The folder cannot be made, or a file in it not written: read-only, full, or something else of that name.
pub(crate) fn write(proof: &Proof, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Folder { folder: folder.to_owned(), source })?;
    let picture = picture::of(proof).map(|svg| ("rollout.svg", svg));
    let files = [("index.html", page::of(proof)), ("proof.md", markdown::of(proof))];
    let files = files.into_iter().chain(picture);
    files.map(|(name, text)| written(&folder.join(name), &text)).collect()
}

/// The table for a terminal, and below it one line on whether the promise holds.
pub(crate) fn table(proof: &Proof) -> String {
    verdict::terminal(proof)
}

fn written(file: &Path, text: &str) -> Result<PathBuf, Error> {
    replace(file, text).map_err(|source| Error::File { file: file.to_owned(), source })?;
    Ok(file.to_owned())
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mode = fs::Permissions::from_mode(MODE);
    let temporary = tempfile::Builder::new().prefix(".no502-").suffix(".tmp").permissions(mode).tempfile_in(folder)?;
    fs::write(temporary.path(), text)?;
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}
