//! One request as it is remembered, and the file of them.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

use super::end::End;

/// The first line of the file.
const HEADING: &str = "at_ms,took_ms,end";

/// One request that has ended.
#[derive(Debug)]
pub(crate) struct Record {
    /// When it was due, after the start of the load.
    pub(crate) after: Duration,
    /// From then to its end.
    pub(crate) took: Duration,
    pub(crate) end: End,
    /// What exactly went wrong, where `end` does not say it.
    pub(crate) fault: Option<String>,
}

/// The file of `--out`.
#[derive(Debug)]
pub(crate) struct RecordFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl RecordFile {
    /// Makes the file, or empties it, and writes its heading.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("--out {}: cannot be written", path.display()))?;
        let mut new = Self { path: path.to_owned(), file: BufWriter::new(file) };
        new.line(HEADING)?;
        new.flush()?;
        Ok(new)
    }

    /// Adds a request to a load that started at `start` after the Unix epoch.
    pub(crate) fn write(&mut self, start: Duration, record: &Record) -> anyhow::Result<()> {
        let Record { after, took, end, .. } = record;
        self.line(&format!("{},{},{end}", (start + *after).as_millis(), took.as_millis()))
    }

    /// Hands everything to the system, so that others can read it.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.file.flush().with_context(|| format!("--out {}: writing failed", self.path.display()))
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        // In one piece: who reads the file meanwhile finds whole lines.
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("--out {}: writing failed", self.path.display()))
    }
}
