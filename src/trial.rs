//! Policies on trial: `no502 policy test`. A folder is a small world and a list of writes; each write goes through the same
//! [`review`](crate::review::review) as in the server, bytes in, bytes out, and what came of it is compared with what was expected.
//! Pure: documents in, outcome out.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod case;
mod compare;
mod injected;
mod read;
mod suite;
mod world;

use jiff::Timestamp;

pub use self::{
    compare::Difference,
    suite::{Mistake, Suite},
    world::{Place, World, WorldProblem},
};
use crate::{
    manifest::{Document, Location},
    policy::Installation,
};

/// The file that makes a folder a suite.
pub const SUITE_FILE: &str = "policy-test.yaml";

/// What came of one suite.
#[derive(Debug)]
pub struct Outcome {
    /// What is wrong with its policies and was not expected, and what was expected and is not wrong; one line each.
    pub problems: Vec<String>,
    /// The cases, in the order of the file.
    pub cases: Vec<CaseOutcome>,
}

/// What came of one case.
#[derive(Debug)]
pub struct CaseOutcome {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub location: Location,
    /// What is not as expected; empty for a case that passes.
    pub differences: Vec<Difference>,
    /// What the user would have read: the denial, then the warnings.
    pub said: Vec<String>,
}

impl Outcome {
    /// True if everything is as expected.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.problems.is_empty() && self.cases.iter().all(|it| it.differences.is_empty())
    }
}

/// Runs one suite: `text` is its file, `documents` are the world. `now` is the moment of cases that name none.
///
/// # Errors
/// When the file cannot be read as a suite: every mistake, by line.
pub fn run(
    text: &str,
    file: &std::sync::Arc<std::path::Path>,
    documents: &[Document],
    installation: &Installation,
    now: Timestamp,
) -> Result<Outcome, Vec<Mistake>> {
    let document = suite::document(text, file)?;
    let namespace = suite::namespace(&document);
    let world = World::read(documents, &namespace, installation.clone());
    let suite = Suite::read(&document, &world, &namespace, now)?;
    let problems = suite.unexpected_problems(&world);
    let cases = suite.cases.iter().map(|it| it.run(&world)).collect();
    Ok(Outcome { problems, cases })
}
