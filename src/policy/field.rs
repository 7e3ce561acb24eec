//! Every setting there is, in one table: its path in a policy, its annotation, what it may say. Reading, schema, bounds, locks and
//! `no502 policy explain` all go by it, so that a new setting is one new row (reference: mutations 11.1).

use std::borrow::Cow;

use super::value::Shape;
use crate::rules;

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table below says what each is for")]
pub enum Field {
    Enabled,
    BreakGlassGroups,
    Profile,
    Mode,
    Kinds,
    SkipOwned,
    PreStopMode,
    SleepSeconds,
    ExecFallback,
    GraceMode,
    AppDrainSeconds,
    MaxGraceSeconds,
    ReadinessMode,
    ReadinessPort,
    ReadinessPeriod,
    ReadinessTimeout,
    ReadinessFailures,
    ExcludedContainers,
    RestartHint,
    /// `actions.RULE`: the index of the rule in [`rules::ALL`].
    Action(u8),
}

/// How near to the workload a setting may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// By a `ClusterRolloutPolicy` alone.
    Cluster,
    /// Also by a Namespace's annotation and a `RolloutPolicy`.
    Namespace,
    /// Also by a workload's annotation.
    Workload,
}

/// One row of the table.
#[derive(Debug)]
pub struct Definition {
    /// The setting.
    pub field: Field,
    /// Where it stands below `spec.settings` of a policy.
    pub path: &'static str,
    /// The annotation's key, without `no502.dev/`; empty if there is none.
    pub annotation: &'static str,
    /// Who may set it.
    pub reach: Reach,
    /// What it may say.
    pub shape: Shape,
    /// What it is for, in a sentence: the schema has it.
    pub about: &'static str,
}

const fn row(
    field: Field,
    path: &'static str,
    annotation: &'static str,
    reach: Reach,
    shape: Shape,
    about: &'static str,
) -> Definition {
    Definition { field, path, annotation, reach, shape, about }
}

const PROBE_NUMBER: Shape = Shape::Number { min: 1, max: super::PROBE_NUMBER_MAX };

/// Every setting but the actions, in the order of [`Field`].
pub static DEFINITIONS: [Definition; 19] = [
    row(
        Field::Enabled,
        "enabled",
        "",
        Reach::Cluster,
        Shape::Flag,
        "false is the kill switch: every write is allowed and nothing is injected; a hook with two handlers is still repaired.",
    ),
    row(
        Field::BreakGlassGroups,
        "breakGlassGroups",
        "",
        Reach::Cluster,
        Shape::Names { max: 64, chars_max: 253, what: "names of groups" },
        "Members of these groups are warned and never denied.",
    ),
    row(
        Field::Profile,
        "profile",
        "profile",
        Reach::Namespace,
        Shape::Word(&["advise", "standard", "strict"]),
        "How strict no502 is: advise warns, standard denies what breaks a path, strict also what rules mark as strict.",
    ),
    row(
        Field::Mode,
        "injection.mode",
        "inject",
        Reach::Workload,
        Shape::MODE,
        "Whether pod templates are changed, whether it is only said what would be changed, or neither. It is the most that any \
         one injection does.",
    ),
    row(
        Field::Kinds,
        "injection.kinds",
        "kinds",
        Reach::Workload,
        Shape::Kinds,
        "The kinds whose pod templates are changed.",
    ),
    row(
        Field::SkipOwned,
        "injection.skipOwned",
        "",
        Reach::Namespace,
        Shape::Flag,
        "Objects that a controller owns are left alone: it would fight for its own version.",
    ),
    row(
        Field::PreStopMode,
        "injection.preStop.mode",
        "prestop",
        Reach::Workload,
        Shape::MODE,
        "Whether containers without a preStop hook get a sleep.",
    ),
    row(
        Field::SleepSeconds,
        "injection.preStop.sleepSeconds",
        "prestop-sleep-seconds",
        Reach::Workload,
        Shape::Sleep,
        "Seconds a container waits before it is told to stop; 0 injects no sleep. A preset beside it says the same by what sends \
         to the pods; the number counts.",
    ),
    row(
        Field::ExecFallback,
        "injection.preStop.execFallback",
        "prestop-exec-fallback",
        Reach::Workload,
        Shape::Flag,
        "Where the native sleep is not available, the container's own sleep program is called; never on Windows.",
    ),
    row(
        Field::GraceMode,
        "injection.gracePeriod.mode",
        "grace-period",
        Reach::Workload,
        Shape::MODE,
        "Whether terminationGracePeriodSeconds is raised. Where it is not, a sleep is no longer than the one that is there has \
         room for.",
    ),
    row(
        Field::AppDrainSeconds,
        "injection.gracePeriod.appDrainSeconds",
        "app-drain-seconds",
        Reach::Workload,
        Shape::Number { min: 0, max: super::DRAIN_SECONDS_MAX },
        "Seconds an application has after the sleep to finish what it started.",
    ),
    row(
        Field::MaxGraceSeconds,
        "injection.gracePeriod.maxSeconds",
        "max-grace-seconds",
        Reach::Workload,
        Shape::Number { min: 1, max: super::GRACE_SECONDS_MAX },
        "No grace period is raised above this, in seconds; the sleep gives way, not the drain.",
    ),
    row(
        Field::ReadinessMode,
        "injection.readiness.mode",
        "readiness",
        Reach::Workload,
        Shape::MODE,
        "Whether a missing readiness probe is added where that is safe, told, or neither.",
    ),
    row(
        Field::ReadinessPort,
        "injection.readiness.port",
        "readiness-port",
        Reach::Workload,
        Shape::Port,
        "The port that an injected probe asks, instead of the one that a Service targets.",
    ),
    row(
        Field::ReadinessPeriod,
        "injection.readiness.periodSeconds",
        "readiness-period-seconds",
        Reach::Workload,
        PROBE_NUMBER,
        "Seconds from one injected probe to the next.",
    ),
    row(
        Field::ReadinessTimeout,
        "injection.readiness.timeoutSeconds",
        "readiness-timeout-seconds",
        Reach::Workload,
        PROBE_NUMBER,
        "Seconds until an injected probe counts as failed.",
    ),
    row(
        Field::ReadinessFailures,
        "injection.readiness.failureThreshold",
        "readiness-failure-threshold",
        Reach::Workload,
        PROBE_NUMBER,
        "Failures in a row until the pod is out.",
    ),
    row(
        Field::ExcludedContainers,
        "injection.excludeContainers",
        "exclude-containers",
        Reach::Workload,
        Shape::Names { max: 64, chars_max: 63, what: "names of containers" },
        "Containers that get neither sleep nor probe.",
    ),
    row(
        Field::RestartHint,
        "injection.restartHint",
        "restart-hint",
        Reach::Workload,
        Shape::Flag,
        "A write that keeps a pod template which lacks something is told how it comes in.",
    ),
];

/// What every `actions.RULE` is.
static ACTION: Definition = row(
    Field::Action(0),
    "actions",
    "",
    Reach::Namespace,
    Shape::Word(&["off", "info", "warn", "deny"]),
    "What findings of this rule lead to, instead of what the profile says.",
);

impl Field {
    /// Every setting; the actions of rules come last.
    pub fn all() -> impl Iterator<Item = Self> {
        DEFINITIONS.iter().map(|it| it.field).chain(Self::actions())
    }

    /// The actions of every rule.
    pub fn actions() -> impl Iterator<Item = Self> {
        (0..rules::ALL.len()).filter_map(|index| u8::try_from(index).ok().map(Self::Action))
    }

    /// Its row of the table.
    #[must_use]
    pub fn definition(self) -> &'static Definition {
        DEFINITIONS.get(self.ordinal()).unwrap_or(&ACTION)
    }

    /// The action of a rule; `None` for a rule that does not exist.
    #[must_use]
    pub fn action_of(rule: &str) -> Option<Self> {
        let index = rules::ALL.iter().position(|it| it.id == rule)?;
        u8::try_from(index).ok().map(Self::Action)
    }

    /// Its place in [`DEFINITIONS`]; the place behind them for an action.
    pub(super) fn ordinal(self) -> usize {
        match self {
            Self::Enabled => 0,
            Self::BreakGlassGroups => 1,
            Self::Profile => 2,
            Self::Mode => 3,
            Self::Kinds => 4,
            Self::SkipOwned => 5,
            Self::PreStopMode => 6,
            Self::SleepSeconds => 7,
            Self::ExecFallback => 8,
            Self::GraceMode => 9,
            Self::AppDrainSeconds => 10,
            Self::MaxGraceSeconds => 11,
            Self::ReadinessMode => 12,
            Self::ReadinessPort => 13,
            Self::ReadinessPeriod => 14,
            Self::ReadinessTimeout => 15,
            Self::ReadinessFailures => 16,
            Self::ExcludedContainers => 17,
            Self::RestartHint => 18,
            Self::Action(_) => DEFINITIONS.len(),
        }
    }

    /// The rule, for an action.
    #[must_use]
    pub fn rule(self) -> Option<&'static str> {
        let Self::Action(index) = self else { return None };
        rules::ALL.get(usize::from(index)).map(|it| it.id)
    }

    /// `injection.preStop.sleepSeconds`, `actions.service-selects-nothing`.
    #[must_use]
    pub fn path(self) -> Cow<'static, str> {
        match self.rule() {
            Some(rule) => Cow::Owned(format!("actions.{rule}")),
            None => Cow::Borrowed(self.definition().path),
        }
    }

    /// The setting with that path.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        if let Some(rule) = path.strip_prefix("actions.") {
            return Self::action_of(rule);
        }
        DEFINITIONS.iter().find(|it| it.path == path).map(|it| it.field)
    }

    /// Objects that hold settings: a lock of one is a lock of all in it.
    pub const GROUPS: [&str; 5] =
        ["actions", "injection", "injection.preStop", "injection.gracePeriod", "injection.readiness"];

    /// True for the setting with that path, and for those in the object with that path.
    #[must_use]
    pub fn is_at_or_below(self, path: &str) -> bool {
        let own = self.path();
        own.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) && !path.is_empty()
    }

    /// The short name that audit annotations and warnings use: the annotation's key, or the path.
    #[must_use]
    pub fn key(self) -> Cow<'static, str> {
        match self.definition().annotation {
            "" => self.path(),
            key => Cow::Borrowed(key),
        }
    }

    /// True for what the mutating half goes by.
    #[must_use]
    pub fn is_about_injection(self) -> bool {
        self.definition().path.starts_with("injection.")
    }

    /// A value of this setting as a policy writes it; `None` if it is none.
    #[must_use]
    pub fn read(self, json: &serde_json::Value) -> Option<super::FieldValue> {
        self.definition().shape.read_json(json)
    }

    /// The settings that a bound can hold: those with an order.
    #[must_use]
    pub fn can_be_bounded(self) -> bool {
        let has_order = matches!(self.definition().shape, Shape::Number { .. } | Shape::Sleep | Shape::Word(_));
        has_order && self.rule().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_row_of_its_own() {
        for field in Field::all() {
            assert_eq!(Field::at(&field.path()), Some(field), "{field:?}");
            assert!(field.rule().is_some() || field.definition().field == field, "{field:?}");
        }
    }
}
