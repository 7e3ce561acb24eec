//! The proof: rolling updates, scaling and broken manifests under load on a real cluster, with and without no502. `run` builds
//! what it needs and starts it.

#[expect(dead_code, reason = "the end-to-end tests use more of it than the proof")]
#[path = "../cluster/mod.rs"]
mod cluster;
mod install;
#[expect(dead_code, reason = "the program that does nothing but start a node uses more of it")]
#[path = "../cluster/node/mod.rs"]
mod node;
mod outcome;
mod own_rollout;
mod report;
mod rollout;
mod scenario;
mod schedule;
mod stage;
mod surroundings;
mod traffic;

use std::{
    fs,
    io::{Write as _, stderr, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail, ensure};
use clap::{CommandFactory as _, Parser, error::ErrorKind};

use cluster::{Binaries, ControlPlane, Options, Version, rights::AUDIT_ARGS};
use node::{
    Node, NodeBinaries,
    image::{self, File},
    sandbox::{self, Place, Role},
};
use outcome::{Proof, Row};
use scenario::{Scenario, Side};
use schedule::Company;

const VERSION: Version = Version::V1_37;
const SHOP_IN_IMAGE: &str = "/shop";
const SHOP_IMAGES: [&str; 2] = ["docker.io/library/no502-shop:1", "docker.io/library/no502-shop:2"];
/// The row about no502's own restart.
const OWN_ROLLOUT: &str = "own-restart";
/// The machine cannot run the proof.
const EXIT_CODE_UNFIT: u8 = 3;
/// The proof was neither won nor lost.
const EXIT_CODE_BROKEN: u8 = 4;

/// Shows on a real cluster what no502 is for: requests that fail without it, and none that fails with it.
///
/// Exit codes: 0 no request failed with no502, 1 some did, 2 wrong use, 3 this machine cannot run it, 4 something else broke.
#[derive(Debug, Parser)]
#[command(name = "tests/proof/run", bin_name = "tests/proof/run")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
struct Args {
    /// A folder for the report: index.html, proof.md, rollout.svg
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Only these rows, by their ids
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave out the runs without no502
    #[arg(long)]
    only_with: bool,
    /// Take the mutating half away once no502 is installed: the proof must fail then
    #[arg(long)]
    without_injection: bool,
    /// List the rows and end
    #[arg(long)]
    list: bool,
    /// Only say whether this machine can run it
    #[arg(long)]
    check: bool,
    /// The no502 program
    #[arg(long, value_name = "FILE", hide = true, required_unless_present_any = ["list", "check"])]
    no502: Option<PathBuf>,
    /// The sample application
    #[arg(long, value_name = "FILE", hide = true, required_unless_present_any = ["list", "check"])]
    shop: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error:#}");
            let is_unfit = matches!(error.downcast_ref(), Some(cluster::error::Error::Unfit(_)));
            ExitCode::from(if is_unfit { EXIT_CODE_UNFIT } else { EXIT_CODE_BROKEN })
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let role = sandbox::role()?;
    if let Role::Done(code) = role {
        return Ok(code);
    }
    let args = Args::parse();
    let scenarios = match chosen(&args.only) {
        Ok(scenarios) => scenarios,
        Err(unknown) => Args::command().error(ErrorKind::InvalidValue, unknown).exit(),
    };
    if args.list {
        return list();
    }
    cluster::interrupt::watch()?;
    match role {
        Role::Inside(place) => inside(&place, &args, &scenarios),
        _ if args.check => Ok(sandbox::check_prerequisites().map(|()| ExitCode::SUCCESS)?),
        _ => outside(&args),
    }
}

/// Gets everything ready that needs the network, then goes inside.
fn outside(args: &Args) -> anyhow::Result<ExitCode> {
    sandbox::check_prerequisites()?;
    Binaries::find_or_build(VERSION)?;
    NodeBinaries::find_or_build(VERSION)?;
    if let Some(folder) = &args.report {
        let context = || format!("cannot make the folder {}", folder.display());
        fs::create_dir_all(folder).with_context(context)?;
        let is_shadowed = sandbox::is_shadowed(&fs::canonicalize(folder).with_context(context)?);
        ensure!(!is_shadowed, "--report {}: a node hides what is below that folder, choose another", folder.display());
    }
    Ok(sandbox::run_inside(Some(sandbox::PROOF_LIMIT))?)
}

fn inside(place: &Place, args: &Args, scenarios: &[Scenario]) -> anyhow::Result<ExitCode> {
    let (Some(no502), Some(shop)) = (&args.no502, &args.shop) else { bail!("--no502 and --shop are missing") };
    say("starting a cluster");
    let mut options = Options::new(VERSION);
    options.apiserver_args.extend(AUDIT_ARGS.iter().map(ToString::to_string));
    let control_plane = ControlPlane::start(node::options(options)?)?;
    let played = Node::start(place, &control_plane).map_err(Into::into).and_then(|mut node| {
        play(&control_plane, &mut node, args, no502, shop, scenarios).map_err(|error| {
            // What has ended is the reason for whatever else was seen.
            let ended = control_plane.check().and_then(|()| node.check());
            ended.map_or_else(Into::into, |()| error)
        })
    });
    let rows = played.inspect_err(|_| control_plane.keep_logs())?;
    let holds = rows.iter().all(Row::holds);
    let proof = Proof {
        date: surroundings::date(),
        versions: surroundings::versions()?,
        machine: surroundings::machine(),
        rows,
    };
    write!(stdout(), "\n{}", report::table(&proof))?;
    if let Some(folder) = &args.report {
        for file in report::write(&proof, folder)? {
            say(&format!("written: {}", file.display()));
        }
    }
    if !holds {
        // Nobody will look into a failure that was asked for.
        if !args.without_injection {
            control_plane.keep_logs();
        }
        say("FAILED: see the table");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// All left sides, then no502 is installed, then all right sides.
fn play(
    cluster: &ControlPlane,
    node: &mut Node,
    args: &Args,
    no502: &Path,
    shop: &Path,
    scenarios: &[Scenario],
) -> anyhow::Result<Vec<Row>> {
    node.start_ingress_controller(cluster)?;
    node.load(&image::build(cluster.folder(), &SHOP_IMAGES, &[File::program(shop, SHOP_IN_IMAGE)], &[SHOP_IN_IMAGE])?)?;
    let without = if args.only_with {
        vec![Vec::new(); scenarios.len()]
    } else {
        say("without no502");
        schedule::play_all(Company { cluster, shop, side: Side::Without, is_injected: false }, scenarios)?
    };
    say("installing no502");
    let manifests = install::install(cluster, node, no502)?;
    let passed_while_installing = own_rollout::passed_unreviewed(cluster)?;
    if args.without_injection {
        cluster.kubectl(&["delete", "mutatingwebhookconfiguration", "no502"], None)?.success()?;
    }
    say("with no502");
    let company = Company { cluster, shop, side: Side::With, is_injected: !args.without_injection };
    let with = schedule::play_all(company, scenarios)?;
    let mut rows: Vec<Row> = scenarios
        .iter()
        .zip(without.into_iter().zip(with))
        .map(|(scenario, (without, with))| scenario.row(without, with))
        .collect();
    if is_chosen(&args.only, OWN_ROLLOUT) {
        say("own-restart: no502 itself is restarted");
        rows.push(own_rollout::row(own_rollout::play(cluster)?));
    }
    cluster.check()?;
    node.check()?;
    let passed = own_rollout::passed_unreviewed(cluster)? - passed_while_installing;
    ensure!(passed == 0, "the API server let {passed} writes pass because no502 could not be asked");
    let breaches = install::breaches(cluster, &manifests)?;
    ensure!(breaches.is_empty(), "no502 went beyond the rights of its manifests:\n{}", breaches.join("\n"));
    Ok(rows)
}

/// The scenarios that `--only` names, in the order of the table.
fn chosen(only: &[String]) -> Result<Vec<Scenario>, String> {
    let all = scenario::all();
    let is_known = |id: &String| id == OWN_ROLLOUT || all.iter().any(|scenario| scenario.id == id);
    if let Some(unknown) = only.iter().find(|id| !is_known(id)) {
        return Err(format!("--only {unknown}: there is no such row, --list names them"));
    }
    Ok(all.into_iter().filter(|scenario| is_chosen(only, scenario.id)).collect())
}

fn is_chosen(only: &[String], id: &str) -> bool {
    only.is_empty() || only.iter().any(|chosen| chosen == id)
}

fn list() -> anyhow::Result<ExitCode> {
    for scenario in scenario::all() {
        writeln!(stdout(), "{:16}{}", scenario.id, scenario.title)?;
    }
    writeln!(stdout(), "{OWN_ROLLOUT:16}{}", own_rollout::TITLE)?;
    Ok(ExitCode::SUCCESS)
}

/// One line to whoever waits.
fn say(line: &str) {
    // Nobody can be told that stderr is closed.
    let _ = writeln!(stderr(), "proof: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_every_row() {
        let readme = include_str!("../../README.md");
        let titles = scenario::all().into_iter().map(|scenario| scenario.title).chain([own_rollout::TITLE]);
        let missing: Vec<&str> = titles.filter(|title| !readme.contains(&format!("| {title} "))).collect();
        assert!(missing.is_empty(), "run `tests/proof/run --report DIR` and take its proof.md over: {missing:?}");
    }

    #[test]
    fn ids_name_one_row_each_and_fit_a_namespace() {
        let mut ids: Vec<&str> = scenario::all().iter().map(|scenario| scenario.id).chain([OWN_ROLLOUT]).collect();
        assert!(ids.iter().all(|id| id.chars().all(|c| c.is_ascii_lowercase() || c == '-')), "{ids:?}");
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn only_what_is_asked_for_is_played() {
        let only = |ids: &[&str]| chosen(&ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        let ids = |scenarios: Vec<Scenario>| scenarios.iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(ids(only(&["scale", "restart"]).expect("both are there")), ["restart", "scale"]);
        assert_eq!(ids(only(&[OWN_ROLLOUT]).expect("it is known, and played apart")), [""; 0]);
        assert_eq!(only(&[]).expect("all").len(), scenario::all().len());
        assert!(only(&["rstart"]).is_err_and(|error| error.contains("rstart")));
    }

    #[test]
    fn arguments_are_well_formed() {
        Args::command().debug_assert();
    }
}
