//! The one resolution: built-in <- flags <- cluster policies by priority <- Namespace annotations <- `RolloutPolicy` <- workload
//! annotations, field by field, then bounds; locks keep what lies below the cluster out. Reviews, `explain` and previews all come
//! through here (design 7).

use std::sync::Arc;

use smol_str::SmolStr;

use super::{
    Effective, Exemption, Field, FieldValue, InjectionSettings, Limits, Mode, PolicyObject, Preset, Profile, Source,
    field::DEFINITIONS, limit::clamped_text,
};

/// The value of one setting, so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot {
    pub(super) value: Option<FieldValue>,
    pub(super) source: Source,
    /// The policy whose bound moved the value.
    pub(super) clamped_by: Option<SmolStr>,
}

/// Something that wanted a value, for `explain`.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The setting.
    pub field: Field,
    /// Who.
    pub source: Source,
    /// What.
    pub value: FieldValue,
    /// The cluster policy that locks the setting: the value does not count.
    pub locked_by: Option<SmolStr>,
}

/// A resolution under way.
#[derive(Debug, Clone)]
pub(super) struct Resolution {
    slots: Vec<Slot>,
    pub(super) limits: Arc<Limits>,
    pub(super) problems: Vec<String>,
    pub(super) policy_problems: Vec<String>,
    /// What was offered, in order; `None` where nobody asks.
    pub(super) steps: Option<Vec<Step>>,
}

/// The place of a setting in the list of all.
pub(super) fn index(field: Field) -> usize {
    match field {
        Field::Action(rule) => DEFINITIONS.len() + usize::from(rule),
        other => other.ordinal(),
    }
}

impl Resolution {
    /// Nothing but what is built in.
    pub(super) fn built_in(limits: Arc<Limits>, is_recorded: bool) -> Self {
        let settings = InjectionSettings::default();
        let slots: Vec<Slot> = Field::all()
            .map(|field| Slot { value: built_in(field, &settings), source: Source::BuiltIn, clamped_by: None })
            .collect();
        let step = |(field, slot): (Field, &Slot)| {
            let value = slot.value.clone()?;
            Some(Step { field, source: Source::BuiltIn, value, locked_by: None })
        };
        let steps = is_recorded.then(|| Field::all().zip(&slots).filter_map(step).collect());
        Self { slots, limits, problems: Vec::new(), policy_problems: Vec::new(), steps }
    }

    pub(super) fn slot(&self, field: Field) -> &Slot {
        &self.slots[index(field)]
    }

    /// The value so far, within its bounds.
    pub(super) fn held(&self, field: Field) -> Option<FieldValue> {
        let value = self.slot(field).value.as_ref()?;
        Some(self.limits.clamped(field, value).map_or_else(|| value.clone(), |(held, _)| held))
    }

    /// A level wants a value. `what` names the place of a value that a lock keeps out, for the warning.
    pub(super) fn offer(&mut self, field: Field, value: &FieldValue, source: &Source, what: impl FnOnce() -> String) {
        let locked_by = if source.is_below_cluster() { self.limits.lock_on(field, value).cloned() } else { None };
        if let Some(steps) = &mut self.steps {
            let step = Step { field, source: source.clone(), value: value.clone(), locked_by: locked_by.clone() };
            steps.push(step);
        }
        if let Some(policy) = locked_by {
            let differs = self.slot(field).value.as_ref() != Some(value);
            if differs {
                let text = self.limits.locked_text(&what(), field, &policy);
                self.problem(field, text);
            }
            return;
        }
        self.slots[index(field)] = Slot { value: Some(value.clone()), source: source.clone(), clamped_by: None };
    }

    /// All that a policy wants.
    pub(super) fn offer_policy(&mut self, policy: &PolicyObject, source: &Source) {
        for (field, value) in &policy.values {
            self.offer(*field, value, source, || format!("{} spec.settings.{}", policy.name, field.path()));
        }
    }

    pub(super) fn problem(&mut self, field: Field, text: String) {
        let problems = if field.is_about_injection() { &mut self.problems } else { &mut self.policy_problems };
        problems.push(text);
    }

    /// Holds every value within its bounds. Teams are told where theirs were not.
    pub(super) fn hold_bounds(&mut self, namespace: &str) {
        let limits = Arc::clone(&self.limits);
        for field in limits.bounds.keys() {
            let slot = self.slot(*field);
            let Some(value) = &slot.value else { continue };
            let Some((held, policy)) = limits.clamped(*field, value) else { continue };
            // Policies have paths, annotations have keys.
            let name = if matches!(slot.source, Source::Policy(_)) { field.path() } else { field.key() };
            let by = slot.source.text(namespace);
            let text = clamped_text(&format!("{name} {value} by {by}"), &held, policy);
            if slot.source.is_below_cluster() {
                self.problem(*field, text);
            }
            let slot = &mut self.slots[index(*field)];
            (slot.value, slot.clamped_by) = (Some(held), Some(policy.clone()));
        }
    }

    /// The typed values.
    pub(super) fn finish(self, exemptions: [Arc<[Arc<Exemption>]>; 2]) -> Effective {
        let sources = Field::all().map(|field| (field, &self.slot(field).source));
        let sources = sources.filter(|(_, source)| **source != Source::BuiltIn);
        let sources = sources.map(|(field, source)| (field, source.clone())).collect();
        let action = |field: Field| {
            let Some(FieldValue::Word(word)) = self.slot(field).value else { return None };
            Some((field.rule()?, word.parse().ok()?))
        };
        let groups = match &self.slot(Field::BreakGlassGroups).value {
            Some(FieldValue::Names(names)) => Arc::clone(names),
            _ => Arc::default(),
        };
        Effective {
            is_enabled: self.flag(Field::Enabled),
            profile: self.word(Field::Profile).and_then(|it| it.parse().ok()).unwrap_or_default(),
            actions: Field::actions().filter_map(action).collect(),
            break_glass_groups: groups,
            settings: self.injection(),
            sources,
            reason: None,
            exemptions,
            limits: self.limits,
            problems: self.problems,
            policy_problems: self.policy_problems,
        }
    }

    fn injection(&self) -> InjectionSettings {
        let mut settings = InjectionSettings {
            mode: self.mode(Field::Mode),
            skips_owned: self.flag(Field::SkipOwned),
            pre_stop: self.mode(Field::PreStopMode),
            exec_fallback: self.flag(Field::ExecFallback),
            grace_period: self.mode(Field::GraceMode),
            app_drain_seconds: self.number(Field::AppDrainSeconds),
            max_grace_seconds: self.number(Field::MaxGraceSeconds),
            readiness: self.mode(Field::ReadinessMode),
            hints_restart: self.flag(Field::RestartHint),
            ..InjectionSettings::default()
        };
        settings.preset = match self.slot(Field::SleepSeconds).value {
            Some(FieldValue::Preset(preset)) => Some(preset),
            _ => None,
        };
        settings.sleep_seconds =
            settings.preset.map_or_else(|| self.number(Field::SleepSeconds), Preset::sleep_seconds);
        settings.probe.period_seconds = self.number(Field::ReadinessPeriod);
        settings.probe.timeout_seconds = self.number(Field::ReadinessTimeout);
        settings.probe.failure_threshold = self.number(Field::ReadinessFailures);
        if let Some(FieldValue::Kinds(kinds)) = &self.slot(Field::Kinds).value {
            settings.kinds = *kinds;
        }
        if let Some(FieldValue::Port(port)) = &self.slot(Field::ReadinessPort).value {
            settings.readiness_port = Some(port.clone());
        }
        if let Some(FieldValue::Names(names)) = &self.slot(Field::ExcludedContainers).value {
            settings.excluded_containers = Arc::clone(names);
        }
        settings
    }

    fn flag(&self, field: Field) -> bool {
        matches!(self.slot(field).value, Some(FieldValue::Flag(true)))
    }

    fn number(&self, field: Field) -> i64 {
        if let Some(FieldValue::Number(number)) = self.slot(field).value { number } else { 0 }
    }

    fn word(&self, field: Field) -> Option<&'static str> {
        if let Some(FieldValue::Word(word)) = self.slot(field).value { Some(word) } else { None }
    }

    fn mode(&self, field: Field) -> Mode {
        let word = self.word(field);
        Mode::ALL.iter().copied().find(|it| Some(it.name()) == word).unwrap_or(Mode::Off)
    }
}

/// What is built in; `None` for what says nothing unless it is set.
pub(crate) fn built_in(field: Field, settings: &InjectionSettings) -> Option<FieldValue> {
    Some(match field {
        Field::Enabled => FieldValue::Flag(true),
        Field::Profile => FieldValue::Word(Profile::default().name()),
        Field::Mode => FieldValue::Word(settings.mode.name()),
        Field::Kinds => FieldValue::Kinds(settings.kinds),
        Field::SkipOwned => FieldValue::Flag(settings.skips_owned),
        Field::PreStopMode => FieldValue::Word(settings.pre_stop.name()),
        Field::SleepSeconds => FieldValue::Number(settings.sleep_seconds),
        Field::ExecFallback => FieldValue::Flag(settings.exec_fallback),
        Field::GraceMode => FieldValue::Word(settings.grace_period.name()),
        Field::AppDrainSeconds => FieldValue::Number(settings.app_drain_seconds),
        Field::MaxGraceSeconds => FieldValue::Number(settings.max_grace_seconds),
        Field::ReadinessMode => FieldValue::Word(settings.readiness.name()),
        Field::ReadinessPeriod => FieldValue::Number(settings.probe.period_seconds),
        Field::ReadinessTimeout => FieldValue::Number(settings.probe.timeout_seconds),
        Field::ReadinessFailures => FieldValue::Number(settings.probe.failure_threshold),
        Field::RestartHint => FieldValue::Flag(settings.hints_restart),
        Field::BreakGlassGroups | Field::ReadinessPort | Field::ExcludedContainers | Field::Action(_) => return None,
    })
}
