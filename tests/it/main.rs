//! Tests of the whole, in one binary.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the functions around a test may fail like the test itself")]

mod bad_input;
mod certs;
mod check;
mod corpus;
mod deploy;
mod dev;
mod fix;
mod fix_life;
mod fix_live;
mod fix_paths;
mod fix_styles;
mod injection_laws;
mod injections;
mod kube_api;
mod manifest;
mod mutation_rows;
mod oracle;
mod properties;
mod reviews;
mod rig;
mod risks;
mod serve_cli;
mod server;
mod stage;
mod templates;
mod tidy;
mod transitions;
mod verdicts;
mod worlds;
