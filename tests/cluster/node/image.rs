//! Container images without a registry or an engine: an archive of one layer with the given files, as `docker save` writes it.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::cluster::{error::Error, process};

const PROGRAM_MODE: u32 = 0o755;

/// An image archive.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) archive: PathBuf,
}

/// A file of an image.
#[derive(Clone, Debug)]
pub(crate) struct File {
    source: PathBuf,
    target: String,
}

impl File {
    /// An executable file; `target` is its absolute path in the image.
    pub(crate) fn program(source: &Path, target: &str) -> Self {
        Self { source: source.to_owned(), target: target.to_owned() }
    }

    /// The libraries that a program loads when it starts, each at the path where this machine has it.
    pub(crate) fn libraries_of(program: &Path) -> Result<Vec<Self>, Error> {
        let listed = process::output_of(Command::new("ldd").arg(program))?;
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f...)`, and the loader without an arrow.
        let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
        Ok(paths.map(|path| Self::program(Path::new(path), path)).collect())
    }
}

/// Writes an image of these files into `folder`, under every one of `names` (`host/name:tag`).
pub(crate) fn build(folder: &Path, names: &[&str], files: &[File], entrypoint: &[&str]) -> Result<Image, Error> {
    let layer = layer(files)?;
    let layer_digest = digest(&layer);
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    })
    .to_string();
    let config_name = format!("{}.json", digest(config.as_bytes()));
    let layer_name = format!("{layer_digest}.tar");
    let manifest = json!([{"Config": config_name, "RepoTags": names, "Layers": [layer_name]}]).to_string();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in
        [("manifest.json", manifest.as_bytes()), (&config_name, config.as_bytes()), (&layer_name, &layer)]
    {
        append(&mut archive, name, bytes)?;
    }
    let name = names.first().copied().unwrap_or_default().replace(['/', ':'], "-");
    let file = folder.join(format!("{name}.tar"));
    let bytes = archive.into_inner().map_err(Error::io("write", &file))?;
    fs::write(&file, bytes).map_err(Error::io("write", &file))?;
    Ok(Image { archive: file })
}

fn layer(files: &[File]) -> Result<Vec<u8>, Error> {
    let mut layer = tar::Builder::new(Vec::new());
    for file in files {
        let bytes = fs::read(&file.source).map_err(Error::io("read", &file.source))?;
        append(&mut layer, file.target.trim_start_matches('/'), &bytes)?;
    }
    layer.into_inner().map_err(Error::io("write", "an image layer"))
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(PROGRAM_MODE);
    archive.append_data(&mut header, name, bytes).map_err(Error::io("write an archive with", name))
}

/// The name that images have for this machine's processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
