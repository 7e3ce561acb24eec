//! The settings as annotations `no502.dev/...` of a Namespace and of a workload: what each may say, and what is told of the rest
//! (reference: mutations 11.1).

use smol_str::SmolStr;

use super::{
    Field, FieldValue, Mode, Preset, Reach, Source, TemplateKind, TemplateKinds,
    field::DEFINITIONS,
    resolve::Resolution,
    value::{quoted, quoted_value},
};
use crate::{
    facts::{BREAK_GLASS, Meta, Namespace, OWN_PREFIX, Workload},
    nearest::nearest_word,
};

/// Longest reason that is repeated, in characters.
const REASON_CHARS_MAX: usize = 120;

/// Longest key for which the one that was meant is looked for, in bytes: the longest that Kubernetes allows.
const KEY_BYTES_MAX: usize = 63;

/// Most annotations that mean nothing and are told; a mistake is rarely made more often.
const UNKNOWN_KEYS_TOLD_MAX: usize = 8;

/// The shorthand for a sleep.
const PRESET_KEY: &str = "preset";

/// Keys that are no settings and known all the same.
const OTHER_KEYS: [&str; 3] = ["injected", "reason", PRESET_KEY];

/// The annotations of one level.
struct Level<F> {
    source: Source,
    reach: Reach,
    /// ` of Namespace "shop"`; empty for the workload, which the warning names anyway.
    of: String,
    find: F,
}

/// Lets a Namespace's annotations speak.
pub(super) fn of_namespace(namespace: &Namespace, resolution: &mut Resolution) {
    let find = |key: &str| namespace.meta.own.get(key);
    let of = format!(" of {}", namespace.meta);
    let level = Level { source: Source::Namespace, reach: Reach::Namespace, of, find };
    level.apply(namespace.meta.own.keys(), resolution);
}

/// Lets a workload's annotations speak: the object's own count before those of its pod template.
pub(super) fn of_workload(workload: &Workload, resolution: &mut Resolution) {
    let (own, template) = (&workload.meta.own, &workload.template.own);
    // The two ways to give a length are one setting.
    let length_keys = [PRESET_KEY, Field::SleepSeconds.definition().annotation];
    let has_length = length_keys.iter().any(|key| own.get(key).is_some());
    let is_length = |key: &str| length_keys.contains(&key);
    let find = |key: &str| own.get(key).or_else(|| template.get(key).filter(|_| !has_length || !is_length(key)));
    let level = Level { source: Source::Workload, reach: Reach::Workload, of: String::new(), find };
    level.apply(own.keys().chain(template.keys()), resolution);
    level.opt_in(&workload.meta, resolution);
}

/// Why somebody set what they set, in the words of `no502.dev/reason`.
pub(super) fn reason(namespace: Option<&Namespace>, workload: Option<&Workload>) -> Option<SmolStr> {
    let own = |it: &Workload| it.meta.own.get("reason").or_else(|| it.template.own.get("reason")).cloned();
    let reason = workload.and_then(own).or_else(|| namespace?.meta.own.get("reason").cloned());
    reason.map(|it| SmolStr::new(quoted(&it, REASON_CHARS_MAX)))
}

/// The end of a Namespace's break-glass: `None` without one.
///
/// # Errors
/// The annotation's text, if it is no time.
pub(crate) fn break_glass(namespace: &Namespace) -> Option<Result<jiff::Timestamp, String>> {
    let text = namespace.meta.own.get(BREAK_GLASS)?;
    Some(text.trim().parse().map_err(|_| quoted_value(text)))
}

impl<'a, F: Fn(&str) -> Option<&'a SmolStr>> Level<F> {
    fn apply<'b>(&self, keys: impl Iterator<Item = &'b str>, resolution: &mut Resolution) {
        let mut is_silent = true;
        let mut unknown = 0;
        for key in keys {
            is_silent = false;
            if !self.knows(key) && unknown < UNKNOWN_KEYS_TOLD_MAX && key.len() <= KEY_BYTES_MAX {
                unknown += 1;
                resolution.problems.push(self.means_nothing(key));
            }
        }
        if is_silent {
            return;
        }
        // A length of its own beats the preset beside it.
        if let Some(text) = (self.find)(PRESET_KEY) {
            let preset = Preset::ALL.iter().find(|it| it.name() == text.trim());
            let value = preset.map(|it| FieldValue::Preset(*it));
            self.put(Field::SleepSeconds, PRESET_KEY, text, value, &Preset::names(), resolution);
        }
        for definition in DEFINITIONS.iter().filter(|it| !it.annotation.is_empty() && it.reach >= self.reach) {
            let Some(text) = (self.find)(definition.annotation) else { continue };
            let allowed = match definition.field {
                Field::Mode => "enabled, warn or disabled".to_owned(),
                _ => definition.shape.allowed(),
            };
            let value = definition.shape.read_text(text);
            self.put(definition.field, definition.annotation, text, value, &allowed, resolution);
        }
    }

    fn put(
        &self,
        field: Field,
        key: &str,
        text: &SmolStr,
        value: Option<FieldValue>,
        allowed: &str,
        resolution: &mut Resolution,
    ) {
        let of = &self.of;
        if let Some(value) = value {
            let what = || format!("annotation {OWN_PREFIX}{key}{of}");
            resolution.offer(field, &value, &self.source, what);
        } else {
            let text = quoted_value(text);
            resolution.problem(field, format!("annotation {OWN_PREFIX}{key}: {text}{of} is ignored; use {allowed}"));
        }
    }

    fn knows(&self, key: &str) -> bool {
        let is_setting = |key: &str| DEFINITIONS.iter().any(|it| it.annotation == key && it.reach >= self.reach);
        is_setting(key) || OTHER_KEYS.contains(&key) || self.source == Source::Namespace && key == BREAK_GLASS
    }

    fn means_nothing(&self, key: &str) -> String {
        let of = &self.of;
        if DEFINITIONS.iter().any(|it| !it.annotation.is_empty() && it.annotation == key) {
            return format!("annotation {OWN_PREFIX}{key}{of} means nothing here; a Namespace can have it");
        }
        let known = DEFINITIONS.iter().filter(|it| it.reach >= self.reach).map(|it| it.annotation);
        let near = nearest_word(key, known.chain([PRESET_KEY]));
        let near = near.map(|it| format!("; did you mean {OWN_PREFIX}{it}?")).unwrap_or_default();
        format!("annotation {OWN_PREFIX}{key}{of} means nothing{near}")
    }

    /// `no502.dev/inject: enabled` or `warn` on the workload itself also brings in what is left alone otherwise: another kind,
    /// and an object that a controller owns.
    fn opt_in(&self, meta: &Meta, resolution: &mut Resolution) {
        let shape = Field::Mode.definition().shape;
        let asked = (self.find)("inject").and_then(|it| shape.read_text(it));
        let asked = asked.filter(|it| *it != FieldValue::Word(Mode::Off.name()));
        // Whoever asks for words must not get deeds, because the platform holds the mode.
        if asked.is_none() || asked != resolution.held(Field::Mode) {
            return;
        }
        let what = || format!("annotation {OWN_PREFIX}inject for what is left alone otherwise");
        let covered = match resolution.slot(Field::Kinds).value {
            Some(FieldValue::Kinds(kinds)) => kinds,
            _ => TemplateKinds::default(),
        };
        if let Some(kind) = TemplateKind::of(meta).filter(|it| !covered.has(*it)) {
            resolution.offer(Field::Kinds, &FieldValue::Kinds(covered.with(kind)), &self.source, what);
        }
        if meta.controller.is_some() && resolution.slot(Field::SkipOwned).value == Some(FieldValue::Flag(true)) {
            resolution.offer(Field::SkipOwned, &FieldValue::Flag(false), &self.source, what);
        }
    }
}
