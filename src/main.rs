//! The `no502` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One crypto provider for server and client; two would make rustls refuse to choose (reference: aesthetics 9.6).
    let _ = rustls::crypto::ring::default_provider().install_default();
    no502::cli::run(std::env::args_os())
}
