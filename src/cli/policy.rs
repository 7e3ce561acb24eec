//! `no502 policy`: what the policies mean, before and after they are in a cluster.

mod explain;
mod live;
mod test;
mod text;

use super::{Exit, Failure, serve::rule_action};
use crate::policy::{Action, Field, FieldValue, Installation, Profile};

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
    #[arg(long, value_name = "RULE=ACTION", value_parser = rule_action)]
    action: Vec<(String, Action)>,
    /// As if the server had this flag; may be repeated
    #[arg(long, value_name = "GROUP")]
    break_glass_group: Vec<String>,
}

impl ServerFlags {
    fn installation(&self) -> Installation {
        let mut values: Vec<(Field, FieldValue)> = Vec::new();
        values.extend(self.profile.map(|it| (Field::Profile, FieldValue::Word(it.name()))));
        let action =
            |(rule, action): &(String, Action)| Some((Field::action_of(rule)?, FieldValue::Word(action.name())));
        values.extend(self.action.iter().filter_map(action));
        if !self.break_glass_group.is_empty() {
            let groups = self.break_glass_group.iter().map(Into::into).collect();
            values.push((Field::BreakGlassGroups, FieldValue::Names(groups)));
        }
        Installation { values, ..Installation::default() }
    }
}
