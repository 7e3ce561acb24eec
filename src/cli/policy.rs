//! `no502 policy`: what the policies mean, before and after they are in a cluster.

mod explain;
mod live;
mod test;
mod text;

use super::{Exit, Failure, flags};
use crate::{
    manifest::{Level, Loaded, Problem},
    policy::{Action, Installation, Profile},
};

/// Explains policies, and tests them in files
#[derive(Debug, clap::Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Explain(Box<explain::Explain>),
    Test(Box<test::Test>),
}

impl Policy {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Explain(it) => it.run(),
            Command::Test(it) => it.run(),
        }
    }
}

/// The flags of `no502 serve` that settings come from: they count less than any policy.
#[derive(Debug, clap::Args)]
struct ServerFlags {
    /// As if the server had this flag: advise, standard or strict
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,
    /// As if the server had this flag; may be repeated
    #[arg(long, value_name = "RULE=ACTION", value_parser = flags::rule_action)]
    action: Vec<(String, Action)>,
    /// As if the server had this flag; may be repeated
    #[arg(long, value_name = "GROUP")]
    break_glass_group: Vec<String>,
}

impl ServerFlags {
    fn installation(&self) -> Installation {
        let values = flags::values(self.profile, &self.action, &self.break_glass_group);
        Installation { values, ..Installation::default() }
    }
}

/// What of the files cannot be read, a line each. A key that is set twice is among it: without `---` between two objects the first
/// one would be left out, and with it what decides.
fn troubles(loaded: &Loaded) -> Vec<String> {
    let problem = |it: &Problem| Problem { level: Level::Error, ..it.clone() }.to_string();
    loaded.unreadable.iter().map(ToString::to_string).chain(loaded.problems.iter().map(problem)).collect()
}
