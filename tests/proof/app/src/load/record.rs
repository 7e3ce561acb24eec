//! One request as it is remembered, and the file of them.

use std::{
    fmt,
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

/// The first line of the file.
const HEADING: &str = "at_ms,took_ms,end";

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// An answer of 2xx, read to its end.
    Ok,
    /// Nobody listened.
    Refused,
    /// The connection was reset or closed before the whole answer was there.
    Reset,
    /// No answer in time, the connection included.
    Timeout,
    /// No way to the address.
    Unreachable,
    /// Another status: 502, 503, 504, ...
    Status(u16),
    /// Anything else, a fault of the load generator included.
    Other,
}

impl End {
    /// Whether the peer answered at all.
    pub(crate) fn is_answer(self) -> bool {
        matches!(self, Self::Ok | Self::Status(_))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.pad("ok"),
            Self::Refused => f.pad("refused"),
            Self::Reset => f.pad("reset"),
            Self::Timeout => f.pad("timeout"),
            Self::Unreachable => f.pad("unreachable"),
            Self::Status(code) => f.pad(&code.to_string()),
            Self::Other => f.pad("other"),
        }
    }
}

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
