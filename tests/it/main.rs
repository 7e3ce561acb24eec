//! Tests of the whole, in one binary. `cargo test --test it NAME` runs those of one module.
//!
//! | core: bytes in, bytes out | |
//! | --- | --- |
//! | `verdicts` | what each rule says about an object: `tests/fixtures/RULE/` |
//! | `transitions` | which writes are denied, warned about, let through: `tests/transitions/` |
//! | `injections` | what is added to a template, and what is left alone: `tests/fixtures/injections/` |
//! | `mutation_rows` | each row of the specification of the injections has a proof |
//! | `injection_laws` | the laws of the injections, on random templates and settings |
//! | `explain_agrees` | what `policy explain` says is what admission then does |
//! | `properties` | what holds for every cluster and every write, on random ones |
//! | `policy_laws` | what holds for every set of policies, on random ones |
//! | `policy_edges` | single policies that went wrong once |
//! | `preview` | what the warnings about a policy say, and when the counting stops |
//! | `policy_audit` | what the status of a policy says |
//! | `reviews` | bodies that are no proper review |
//! | `manifest` | the reading of manifests |
//! | `fix_styles` | the edits of `fix`, in every style that YAML allows |
//!
//! | program: real processes and sockets | |
//! | --- | --- |
//! | `server` | the webhook port over TLS |
//! | `bad_input` | what is no good request, sent to that port |
//! | `certs` | certificates and their rotation |
//! | `policy_status` | how that is written into a cluster, and Events about it |
//! | `serve_cli` | how `serve` says that it cannot |
//! | `dev` | `serve --dev` |
//! | `check` | `check` |
//! | `fix` | `fix` on files: `tests/fixtures/fix/` |
//! | `fix_live` | `fix --undo --live` |
//! | `policy_cli`, `policy_live` | `policy explain`, from files and from a cluster |
//! | `policy_suites` | `policy test` |
//!
//! | repository and real manifests | |
//! | --- | --- |
//! | `deploy` | the manifests that install no502 |
//! | `crd` | the schema of the policies beside their reader |
//! | `tidy` | rules that neither the compiler nor clippy knows |
//! | `corpus` | `check` over real manifests that were judged by hand (`NO502_CORPUS`) |
//! | `risks` | the rules about pod templates over the same manifests |
//!
//! | what those stand on | |
//! | --- | --- |
//! | `program` | a run of the program, and what came out |
//! | `stage` | manifests become a cluster, a write becomes a review, an answer is taken apart |
//! | `worlds` | random clusters and writes |
//! | `policy_worlds` | random policies, Namespaces and workloads |
//! | `templates` | random pod templates |
//! | `oracle` | a second opinion on what is denied |
//! | `policy_cases` | policies at and beyond every limit, for `crd` and the end-to-end tests |
//! | `policy_published` | the policies that users copy, for the same two |
//! | `rig` | a whole server on loopback, and its clients |
//! | `kube_api` | a small API server in memory, for `certs` and `policy_status` |
//! | `rights` | the rights of the manifests beside an audit log |

#![expect(clippy::unwrap_used, clippy::panic, reason = "the functions around a test may fail like the test itself")]

mod bad_input;
mod certs;
mod check;
mod corpus;
mod crd;
mod deploy;
mod dev;
mod explain_agrees;
mod fix;
mod fix_life;
mod fix_live;
mod fix_paths;
mod fix_styles;
mod forbidden;
mod injection_laws;
mod injections;
mod kube_api;
mod manifest;
mod mutation_rows;
mod oracle;
mod policy_audit;
mod policy_cases;
mod policy_cli;
mod policy_edges;
mod policy_history;
mod policy_laws;
mod policy_live;
mod policy_news;
mod policy_published;
mod policy_status;
mod policy_suites;
mod policy_worlds;
mod preview;
mod program;
mod properties;
mod reviews;
mod rig;
mod rights;
mod risks;
mod serve_cli;
mod server;
mod stage;
mod templates;
mod tidy;
mod transitions;
mod verdicts;
mod worlds;
