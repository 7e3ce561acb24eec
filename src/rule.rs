//! The vocabulary of rules: what a rule is, what it may say, and the macro that declares one.
//!
//! A rule is data and a pure function. It never says "denied": it says what it sees, and [`crate::verdict`] decides. A link
//! rule never even says "broken": it says whether a link resolves in one world, and [`crate::link`] compares the world before
//! the write with the world after it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use serde::Serialize;
use smol_str::SmolStr;

use crate::{
    facts::{Meta, Workload},
    link::{Hop, Scene, State},
    policy::{Effective, Policies},
    snapshot::{Snapshot, World},
};

/// One fault, one file, one manual page.
#[derive(Debug)]
pub struct Rule {
    /// Stable: configuration, metrics and reports use it.
    pub id: &'static str,
    /// The version that brought it.
    pub since: &'static str,
    /// The doc comment above the declaration, word for word: the manual page.
    pub docs: &'static str,
    /// What it looks at.
    pub check: Check,
}

/// The kinds of what is reviewed: first those with pods, then the two that lead to them.
static REVIEWED: [&str; 8] =
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "Pod", "Service", "Ingress"];

/// So many of them have pods.
const WITH_PODS: usize = 6;

impl Rule {
    /// False for what the mutating half puts right, so that only files are asked.
    #[must_use]
    pub fn is_asked_of_writes(&self) -> bool {
        !matches!(self.check, Check::Injected(_))
    }

    /// The kinds of the objects that its findings can be about.
    #[must_use]
    pub fn kinds(&self) -> &'static [&'static str] {
        match self.check {
            Check::Workload(_) | Check::Template(_) | Check::Injected(_) => REVIEWED.split_at(WITH_PODS).0,
            // The finding is about the end of the link that is written.
            Check::Link(_) => &REVIEWED,
        }
    }
}

/// What a rule looks at. A closed set: adding a way to check is a decision.
#[derive(Debug)]
pub enum Check {
    /// A workload alone, without anything around it.
    Workload(fn(&Workload, &mut Vec<Fault>)),
    /// A pod template and what is around it. Asked when a write creates or changes the template, and of files.
    Template(fn(&Setting<'_>, &mut Vec<Fault>)),
    /// What the mutating half puts right by itself, with a warning of its own: asked of files only.
    Injected(fn(&Setting<'_>, &mut Vec<Fault>)),
    /// One hop of a traffic path.
    Link(LinkCheck),
}

/// A workload, what is around it, and what the platform team wants of it.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The workload, as it is written.
    pub workload: &'a Workload,
    /// Everything else.
    pub snapshot: &'a Snapshot,
    /// The settings that are in force for it.
    pub effective: &'a Effective,
    /// What holds for every workload.
    pub policies: &'a Policies,
}

/// A rule about one kind of hop. The three functions are apart so that wording cannot change finding.
#[derive(Debug)]
pub struct LinkCheck {
    /// Whether the hop resolves in this world; [`State::NotMine`] for hops of other kinds and faults of other rules.
    pub state: fn(&Hop<'_>, &World<'_>) -> State,
    /// Words for a hop whose state is [`State::Unresolved`].
    pub explain: fn(&Hop<'_>, &Scene<'_>) -> Words,
    /// Words for a hop that resolved and that the write took out of an object that stays, or that the written object has left to
    /// others; `None` where that is fine.
    pub explain_removal: Option<fn(&Hop<'_>, &Scene<'_>) -> Words>,
}

/// How certain a finding is, and why (design 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A link that resolved before the write does not after it.
    Broken,
    /// The object contradicts itself.
    Contradiction,
    /// The counterpart is there and does not offer what is asked for.
    Mismatch,
    /// The counterpart was not seen.
    Absent,
    /// Legal, but likely to produce errors.
    Risk,
    /// Worth knowing.
    Info,
}

/// A fault that an object has by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How certain it is.
    pub kind: Kind,
    /// What makes it the same fault in the old and in the new object, wherever it stands in them.
    pub key: String,
    /// The words.
    pub words: Words,
}

/// What a finding says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// JSON pointer into the object that is written.
    pub field: String,
    /// What is wrong: lower case but for names, no full stop.
    pub message: String,
    /// What to do: lower case but for names, no full stop.
    pub help: String,
}

/// What a rule found in one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Id of the rule.
    pub rule: &'static str,
    /// How certain it is.
    pub kind: Kind,
    /// Whether this write is to blame.
    pub cause: Cause,
    /// One hand applies both sides, so that the other side is on its way (design 4).
    pub is_softened: bool,
    /// The object that the finding is about.
    pub object: ObjectName,
    /// The words.
    pub words: Words,
}

/// Who brought a fault about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// This write, by what it asks for or takes away.
    ThisWrite,
    /// The other side asks for what this write does not offer; it asked before.
    OtherSide,
    /// It was so before and this write does not change it.
    Standing,
}

/// Name of an object, for messages and reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectName {
    /// `apps/v1`.
    pub api_version: SmolStr,
    /// `Deployment`.
    pub kind: SmolStr,
    /// Its namespace.
    pub namespace: SmolStr,
    /// Its name.
    pub name: SmolStr,
}

impl From<&Meta> for ObjectName {
    fn from(meta: &Meta) -> Self {
        Self {
            api_version: meta.api_version.clone(),
            kind: meta.kind.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        }
    }
}

/// `Deployment "web"`.
impl std::fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} \"{}\"", self.kind, self.name)
    }
}

/// Declares a rule. The doc comment becomes the rule's manual page and has the sections `What it does`, `Why is this bad?`,
/// `Example`, `Use instead` and `When it stays silent`.
#[macro_export]
macro_rules! declare_rule {
    ($(#[doc = $doc:literal])+ $id:literal, since $since:literal, $check:expr) => {
        pub(super) const RULE: $crate::rule::Rule = $crate::rule::Rule {
            id: $id,
            since: $since,
            docs: concat!($($doc, "\n"),+),
            check: $check,
        };
    };
}
