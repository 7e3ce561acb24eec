//! Why each setting is what it is: `no502 policy explain`. Everything here comes from the trace of the one resolution that reviews
//! go through; nothing is worked out a second time.

mod json;

use jiff::{SignedDuration, Timestamp};
use smol_str::SmolStr;

use super::{
    Effective, Exemption, Field, FieldValue, Limits, Policies, PolicyName, Source, Standing, Step, Tie, annotations,
    limit::HOLDS_PROFILE, resolve::Resolution, tie::rank,
};
use crate::{
    facts::{FAIL_CLOSED_LABEL, Namespace, Workload},
    rule::ObjectName,
};

/// Everything that is in force for the objects of a namespace, or for one workload, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The namespace.
    pub namespace: SmolStr,
    /// False if nothing is known of the Namespace: its labels and annotations have no say.
    pub namespace_is_known: bool,
    /// The workload; `None` for what holds where no workload and no policy for some of them says more.
    pub workload: Option<ObjectName>,
    /// Nothing is checked or changed here, whatever the settings say: a namespace of Kubernetes or of no502 itself.
    pub is_exempt_namespace: bool,
    /// The label is set that has writes refused while no502 cannot be asked.
    pub fails_closed: bool,
    /// The policies that can have a say here, those that count least first.
    pub policies: Vec<Speaker>,
    /// The settings, in the order of the table; those of rules only where somebody has something to say about them.
    pub settings: Vec<Explained>,
    /// The exemptions for objects of the namespace, or for the workload.
    pub exemptions: Vec<ExemptionNote>,
    /// Who is not denied anything.
    pub break_glass: BreakGlass,
    /// What of annotations and policies does not count as it was meant, one line each.
    pub problems: Vec<String>,
    /// The policies of which something cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Policies of one priority that want different values.
    pub ties: Vec<Tie>,
}

/// A policy that can have a say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Its name.
    pub name: PolicyName,
    /// Its priority.
    pub priority: i64,
    /// It selects workloads by label.
    pub selects_workloads: bool,
    /// It counts here: of a policy that selects workloads, the one in question is among them.
    pub counts: bool,
}

/// One setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Which.
    pub field: Field,
    /// The value in force; `None` for what says nothing unless it is set.
    pub value: Option<FieldValue>,
    /// Who set it.
    pub source: Source,
    /// The cluster policy whose bound moved the value.
    pub bounded_by: Option<SmolStr>,
    /// The bounds that hold here, for people: `5 to 120`.
    pub bound: Option<SmolStr>,
    /// The cluster policy that keeps namespaces and workloads from setting it.
    pub locked_by: Option<SmolStr>,
    /// What else was wanted and does not count, the one that came closest first.
    pub overridden: Vec<Overridden>,
}

/// A value that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overridden {
    /// Who wanted it.
    pub source: Source,
    /// What.
    pub value: FieldValue,
    /// Why it does not count.
    pub why: Why,
}

/// Why a value does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A nearer level says something else.
    LowerLevel,
    /// A policy of the same level has a higher priority.
    LowerPriority,
    /// A policy of the same level and priority has a name that comes first.
    TieByName,
    /// A policy of the same namespace selects workloads and is nearer for that.
    SelectsAll,
    /// The same object says it more exactly: a number beside a preset.
    SaidTwice,
    /// The cluster policy of that name locks the setting.
    Locked(SmolStr),
    /// The cluster policy of that name holds the profile, and with it the denials of rules.
    ProfileHeld(SmolStr),
    /// The bound of the cluster policy of that name moved the value.
    OutOfBounds(SmolStr),
}

/// An exemption and how it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ExemptionNote {
    /// The exemption.
    pub exemption: Exemption,
    /// Whether it counts.
    pub standing: Standing,
    /// Whole days until it ends; negative once it has.
    pub days_left: i64,
    /// Why it does not count, as a sentence about it.
    pub why: Option<String>,
    /// The cluster policy that keeps it from counting.
    pub held_by: Option<SmolStr>,
}

/// Who is not denied anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    /// Members of these groups.
    pub groups: Vec<SmolStr>,
    /// Everybody until then: the Namespace's annotation, or its text if that is no time.
    pub until: Option<Result<Timestamp, String>>,
    /// That time is still to come.
    pub is_open: bool,
}

/// A policy of which something cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its name.
    pub name: PolicyName,
    /// What cannot be read.
    pub problems: Vec<String>,
    /// An earlier version is in force; otherwise what of this one can be read.
    pub is_last_good: bool,
}

impl Explanation {
    /// One setting; `None` for the action of a rule that nobody speaks about.
    #[must_use]
    pub fn setting(&self, field: Field) -> Option<&Explained> {
        self.settings.iter().find(|it| it.field == field)
    }

    /// False under the kill switch.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.setting(Field::Enabled).is_none_or(|it| it.value != Some(FieldValue::Flag(false)))
    }
}

impl Policies {
    /// What is in force for a namespace or a workload at a moment, and why. `facts` is the Namespace, where that is known.
    #[must_use]
    pub fn explain(
        &self,
        namespace: &str,
        facts: Option<&Namespace>,
        workload: Option<&Workload>,
        now: Timestamp,
    ) -> Explanation {
        let (resolution, effective, ties) = self.trace(namespace, facts, workload);
        let speakers = self.speakers(namespace, facts, workload);
        let unreadable = speakers.iter().filter_map(|(it, _)| self.entries.get(&it.name));
        let unreadable: Vec<_> = unreadable.filter(|it| !it.problems.is_empty()).collect();
        let told: Vec<String> = unreadable.iter().flat_map(|it| it.told()).collect();
        let problems = effective.problems.iter().chain(&effective.policy_problems).filter(|it| !told.contains(it));
        let until = facts.and_then(annotations::break_glass);
        Explanation {
            namespace: namespace.into(),
            namespace_is_known: facts.is_some(),
            workload: workload.map(|it| ObjectName::from(&it.meta)),
            is_exempt_namespace: self.is_exempt_namespace(namespace),
            fails_closed: facts.is_some_and(|it| it.labels.get(FAIL_CLOSED_LABEL).is_some_and(|it| it == "true")),
            settings: Field::all().filter_map(|field| self.explained(field, &resolution, namespace)).collect(),
            exemptions: exemptions(&effective, workload, now),
            break_glass: BreakGlass {
                groups: effective.break_glass_groups.to_vec(),
                is_open: until.as_ref().is_some_and(|it| it.as_ref().is_ok_and(|until| now < *until)),
                until,
            },
            problems: problems.cloned().collect(),
            unreadable: unreadable
                .iter()
                .map(|it| Unreadable {
                    name: it.policy.name.clone(),
                    problems: it.problems.clone(),
                    is_last_good: it.is_last_good(),
                })
                .collect(),
            policies: speakers
                .into_iter()
                .map(|(it, counts)| Speaker {
                    name: it.name.clone(),
                    priority: it.priority,
                    selects_workloads: rank(it).0,
                    counts,
                })
                .collect(),
            ties,
        }
    }

    /// Everything that wanted a value, in the order in which it spoke. Only tests ask for it: they hold the resolution against it.
    #[must_use]
    pub fn steps(&self, namespace: &str, facts: Option<&Namespace>, workload: Option<&Workload>) -> Vec<Step> {
        self.trace(namespace, facts, workload).0.steps.unwrap_or_default()
    }

    /// `None` for the action of a rule that nobody speaks about.
    fn explained(&self, field: Field, resolution: &Resolution, namespace: &str) -> Option<Explained> {
        let (slot, limits) = (resolution.slot(field), &resolution.limits);
        let steps = resolution.steps.iter().flatten().filter(|it| it.field == field);
        let steps: Vec<&Step> = steps.collect();
        let locked_by = limits.locks.get(&field).cloned();
        if field.rule().is_some() && steps.is_empty() && locked_by.is_none() {
            return None;
        }
        let winner = steps.iter().rposition(|it| it.locked_by.is_none());
        let mut overridden = Vec::new();
        for (place, step) in steps.iter().enumerate().rev() {
            let why = match (&step.locked_by, &slot.clamped_by) {
                (Some(policy), _) if locked_by.is_none() => Why::ProfileHeld(policy.clone()),
                (Some(policy), _) => Why::Locked(policy.clone()),
                (None, Some(policy)) if Some(place) == winner => Why::OutOfBounds(policy.clone()),
                _ if Some(place) == winner => continue,
                _ => self.why(&step.source, &slot.source, namespace),
            };
            overridden.push(Overridden { source: step.source.clone(), value: step.value.clone(), why });
        }
        Some(Explained {
            field,
            value: slot.value.clone(),
            source: slot.source.clone(),
            bounded_by: slot.clamped_by.clone(),
            bound: limits.bounds.get(&field).map(|it| it.text(field)),
            locked_by,
            overridden,
        })
    }

    fn why(&self, loser: &Source, winner: &Source, namespace: &str) -> Why {
        let rank_of = |source: &Source| {
            let (namespace, name) = match source {
                Source::ClusterPolicy(name) => ("", name),
                Source::Policy(name) => (namespace, name),
                _ => return None,
            };
            let name = PolicyName { namespace: namespace.into(), name: name.clone() };
            self.entries.get(&name).map(|it| rank(&it.policy))
        };
        let is_one_level = std::mem::discriminant(loser) == std::mem::discriminant(winner);
        match (rank_of(loser), rank_of(winner)) {
            _ if loser == winner => Why::SaidTwice,
            (Some(loser), Some(winner)) if is_one_level => match (loser.0 == winner.0, loser.1 == winner.1) {
                (false, _) => Why::SelectsAll,
                (true, false) => Why::LowerPriority,
                (true, true) => Why::TieByName,
            },
            _ => Why::LowerLevel,
        }
    }
}

fn exemptions(effective: &Effective, workload: Option<&Workload>, now: Timestamp) -> Vec<ExemptionNote> {
    let is_for = |it: &Exemption| {
        workload.is_none_or(|of| it.target.kind == of.meta.kind && it.target.name.matches(&of.meta.name))
    };
    let all = effective.exemptions().filter(|it| is_for(it));
    all.map(|it| exemption_note(it, &effective.limits, now)).collect()
}

fn exemption_note(exemption: &Exemption, limits: &Limits, now: Timestamp) -> ExemptionNote {
    let standing = exemption.standing(limits, now);
    let held_by = match standing {
        Standing::Active | Standing::Expired => None,
        Standing::Locked => limits.forbids_exemption(exemption.rule).cloned(),
        Standing::TooFarAhead => limits.exemption_days_max.as_ref().map(|it| it.policy.clone()),
    };
    let why = standing.text(exemption, limits);
    let days_left = exemption.expires.duration_since(now).as_secs().div_euclid(SECONDS_OF_A_DAY);
    ExemptionNote { exemption: exemption.clone(), standing, days_left, why, held_by }
}

const SECONDS_OF_A_DAY: i64 = SignedDuration::from_hours(24).as_secs();

impl Why {
    /// In a few words.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::LowerLevel => "a nearer level counts".to_owned(),
            Self::LowerPriority => "lower priority".to_owned(),
            Self::TieByName => "same priority, its name comes later".to_owned(),
            Self::SelectsAll => "it is for all workloads, the other one for some".to_owned(),
            Self::SaidTwice => "said more exactly beside it".to_owned(),
            Self::Locked(policy) => format!("locked by ClusterRolloutPolicy \"{policy}\""),
            Self::ProfileHeld(policy) => {
                format!("ClusterRolloutPolicy \"{policy}\" {HOLDS_PROFILE}")
            }
            Self::OutOfBounds(policy) => format!("out of bounds of ClusterRolloutPolicy \"{policy}\""),
        }
    }
}
