//! An explanation for people, in a hundred columns.

use std::fmt::Write as _;

use annotate_snippets::normalize_untrusted_str;

use crate::{
    policy::{ExemptionNote, Explained, Explanation, Field, FieldValue, Overridden, Source, Speaker, Standing, Why},
    report::Paint,
};

/// Columns of the page.
const WIDTH_COLUMNS: usize = 100;
/// Columns of a setting's path: the longest of them and two spaces.
const PATH_COLUMNS: usize = 40;
/// Columns of a value; a longer one moves what is behind it.
const VALUE_COLUMNS: usize = 22;

#[derive(Debug, Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Dim,
    Warning,
}

/// The page that grows line by line.
#[derive(Debug)]
pub(super) struct Page {
    paint: Paint,
    text: String,
}

impl Page {
    pub(super) fn new(paint: Paint) -> Self {
        Self { paint, text: String::new() }
    }

    fn line(&mut self, style: Style, line: &str) {
        // Files can say anything; terminals believe it.
        let line = normalize_untrusted_str(line.trim_end());
        let code = match (self.paint, style) {
            (Paint::Plain, _) | (_, Style::Plain) => "",
            (_, Style::Bold) => "\x1b[1m",
            (_, Style::Dim) => "\x1b[2m",
            (_, Style::Warning) => "\x1b[33m",
        };
        let end = if code.is_empty() { "" } else { "\x1b[0m" };
        let _ = writeln!(self.text, "{code}{line}{end}");
    }

    /// A heading, after an empty line.
    fn heading(&mut self, text: &str) {
        self.text.push('\n');
        self.line(Style::Bold, text);
    }

    /// Pieces one after the other, broken before the edge.
    fn wrapped<'a>(&mut self, style: Style, first: &str, pieces: impl Iterator<Item = &'a str>) {
        let mut line = first.to_owned();
        for piece in pieces {
            if line.chars().count() + 1 + piece.chars().count() > WIDTH_COLUMNS && line.trim() != "" {
                self.line(style, &line);
                line = format!("    {piece}");
            } else {
                line = format!("{line} {piece}");
            }
        }
        self.line(style, &line);
    }

    fn list(&mut self, first: &str, items: &[String]) {
        let last = items.len().saturating_sub(1);
        let with_commas =
            items.iter().enumerate().map(|(index, it)| if index == last { it.clone() } else { format!("{it},") });
        let items: Vec<String> = with_commas.collect();
        self.wrapped(Style::Dim, first, items.iter().map(String::as_str));
    }

    fn paragraph(&mut self, style: Style, first: &str, text: &str) {
        self.wrapped(style, first, text.split(' '));
    }

    pub(super) fn explanation(
        mut self,
        explanation: &Explanation,
        notes: &[String],
        shows_all: bool,
        has_flags: bool,
    ) -> String {
        let of = explanation.workload.as_ref().map(|it| format!(", {it}")).unwrap_or_default();
        self.line(Style::Bold, &format!("Namespace \"{}\"{of}", explanation.namespace));
        self.overrulings(explanation);
        if !explanation.policies.is_empty() {
            self.heading("policies, the last one counts most");
            for it in &explanation.policies {
                self.policy(it, explanation);
            }
        }
        self.settings(explanation, shows_all);
        self.exemptions(&explanation.exemptions);
        self.troubles(explanation);
        self.text.push('\n');
        for note in notes {
            self.paragraph(Style::Warning, "note:", note);
        }
        if !has_flags {
            let text =
                "flags of the server are not shown; give those it has (--profile, --action, --break-glass-group)";
            self.paragraph(Style::Dim, "note:", text);
        }
        self.text
    }

    /// What counts whatever the settings say.
    fn overrulings(&mut self, explanation: &Explanation) {
        if explanation.is_exempt_namespace {
            self.line(
                Style::Warning,
                "nothing is checked, said or changed in this namespace, whatever the settings say",
            );
        }
        if let Some(enabled) = explanation.setting(Field::Enabled).filter(|_| !explanation.is_enabled()) {
            let by = source_text(&enabled.source);
            self.line(
                Style::Warning,
                &format!("switched off by {by}: every write is allowed, nothing is said or injected"),
            );
        }
        if explanation.fails_closed {
            self.line(Style::Plain, "fails closed: writes are refused while no502 cannot be asked");
        }
        let glass = &explanation.break_glass;
        match &glass.until {
            Some(Ok(until)) if glass.is_open => {
                self.line(Style::Warning, &format!("break-glass: nothing is denied until {until}"));
            }
            Some(Ok(until)) => self.line(Style::Plain, &format!("break-glass: over since {until}")),
            Some(Err(text)) => {
                self.line(Style::Warning, &format!("break-glass: {text} is no time, so it does not count"));
            }
            None => {}
        }
    }

    fn policy(&mut self, policy: &Speaker, explanation: &Explanation) {
        let note = match (policy.counts, policy.selects_workloads, &explanation.workload) {
            (false, true, Some(_)) => ", not for this workload",
            (false, true, None) => ", for some workloads: name one (KIND/NAME) to see what it changes",
            (false, false, _) => ", its selector cannot be read: it selects nothing",
            (true, true, _) => ", for the workloads that it selects",
            (true, false, _) => "",
        };
        let style = if policy.counts { Style::Plain } else { Style::Dim };
        self.paragraph(style, " ", &format!("{} (priority {}{note})", policy.name, policy.priority));
    }

    fn settings(&mut self, explanation: &Explanation, shows_all: bool) {
        let (quiet, telling): (Vec<&Explained>, Vec<&Explained>) = explanation
            .settings
            .iter()
            .filter(|it| it.value.is_some() || !it.overridden.is_empty())
            .partition(|it| is_quiet(it));
        let (shown, listed) =
            if shows_all { (explanation.settings.iter().collect(), Vec::new()) } else { (telling, quiet) };
        let shown: Vec<&Explained> =
            shown.into_iter().filter(|it: &&Explained| it.field.rule().is_none() || !is_quiet(it)).collect();
        if !shown.is_empty() {
            self.heading(&row("setting", "value", "from"));
        }
        for it in &shown {
            self.setting(it);
        }
        self.text.push('\n');
        let locked = locked_and_quiet(explanation, &shown);
        if !locked.is_empty() {
            self.list("locked, and as built in:", &locked);
        }
        if !listed.is_empty() {
            let word = |it: &&Explained| format!("{} {}", it.field.path(), value_text(it.value.as_ref()));
            self.list("built in:", &listed.iter().map(word).collect::<Vec<_>>());
        }
    }

    fn setting(&mut self, setting: &Explained) {
        let value = value_text(setting.value.as_ref());
        self.line(Style::Plain, &row(&setting.field.path(), &value, &source_text(&setting.source)));
        let mut limits: Vec<String> = Vec::new();
        let by = setting.bounded_by.as_ref();
        limits.extend(by.map(|it| format!("moved by the bound of ClusterRolloutPolicy \"{it}\"")));
        limits.extend(setting.bound.as_ref().map(|it| format!("bounds: {it}")));
        limits.extend(setting.locked_by.as_ref().map(|it| format!("locked by ClusterRolloutPolicy \"{it}\"")));
        if !limits.is_empty() {
            self.line(Style::Plain, &format!("    {}", limits.join("; ")));
        }
        for it in &setting.overridden {
            self.line(Style::Dim, &format!("    {}", overridden_text(it)));
        }
    }

    fn exemptions(&mut self, exemptions: &[ExemptionNote]) {
        if exemptions.is_empty() {
            return;
        }
        self.heading("exemptions");
        for note in exemptions {
            let it = &note.exemption;
            let container = it.target.container.as_ref().map(|it| format!(", container {it}")).unwrap_or_default();
            let style = if note.standing == Standing::Active { Style::Plain } else { Style::Dim };
            self.line(style, &format!("  {} for {} {}{container}", it.rule, it.target.kind, it.target.name));
            self.paragraph(style, "   ", &format!("{}; {}", standing_text(note), it.policy));
            self.line(style, &format!("    {}", it.reason));
        }
    }

    fn troubles(&mut self, explanation: &Explanation) {
        if !explanation.problems.is_empty() || !explanation.ties.is_empty() {
            self.heading("problems");
        }
        for problem in &explanation.problems {
            self.paragraph(Style::Warning, " ", problem);
        }
        for tie in &explanation.ties {
            self.paragraph(Style::Warning, " ", &tie.text());
        }
        for unreadable in &explanation.unreadable {
            let in_force = if unreadable.is_last_good { "its last good version" } else { "what can be read of it" };
            self.heading(&format!("{} cannot be read as a whole; {in_force} is in force", unreadable.name));
            for problem in &unreadable.problems {
                self.paragraph(Style::Warning, " ", problem);
            }
        }
    }
}

/// Nobody has anything to say about it.
fn is_quiet(setting: &Explained) -> bool {
    setting.source == Source::BuiltIn
        && setting.bounded_by.is_none()
        && setting.bound.is_none()
        && setting.overridden.is_empty()
        && (setting.locked_by.is_none() || setting.value.is_none())
}

/// What cluster policies lock and nobody sets. All rules are one item.
fn locked_and_quiet(explanation: &Explanation, shown: &[&Explained]) -> Vec<String> {
    let is_shown = |it: &Explained| shown.iter().any(|shown| shown.field == it.field);
    let locked = || explanation.settings.iter().filter(|it| it.locked_by.is_some());
    let has_all_rules = locked().filter(|it| it.field.rule().is_some()).count() == Field::actions().count();
    let quiet = locked().filter(|it| !(is_shown(it) || has_all_rules && it.field.rule().is_some()));
    let all = has_all_rules.then(|| "actions of all rules".to_owned());
    quiet.map(|it| it.field.path().into_owned()).chain(all).collect()
}

fn row(path: &str, value: &str, from: &str) -> String {
    format!("{path:<PATH_COLUMNS$}{value:<VALUE_COLUMNS$} {from}")
}

fn value_text(value: Option<&FieldValue>) -> String {
    match value {
        Some(FieldValue::Preset(preset)) => format!("{} ({})", preset.sleep_seconds(), preset.name()),
        Some(value) => value.to_string(),
        None => "not set".to_owned(),
    }
}

fn source_text(source: &Source) -> String {
    match source {
        // The page says above which Namespace and workload it is about.
        Source::Namespace => "annotation of the Namespace".to_owned(),
        Source::Workload => "annotation of the workload".to_owned(),
        other => other.text(""),
    }
}

/// `not 10, built in`; `not 5, annotation of the workload: locked by …`.
fn overridden_text(overridden: &Overridden) -> String {
    let value = value_text(Some(&overridden.value));
    let source = source_text(&overridden.source);
    match &overridden.why {
        Why::LowerLevel => format!("not {value}, {source}"),
        why => format!("not {value}, {source}: {}", why.text()),
    }
}

/// How long an exemption counts, or why it does not.
fn standing_text(note: &ExemptionNote) -> String {
    let (until, days) = (&note.exemption.expires, note.days_left);
    match &note.why {
        Some(why) => why.clone(),
        None if days == 0 => format!("active until {until}, less than a day"),
        None => format!("active until {until}, {days} day{}", if days == 1 { "" } else { "s" }),
    }
}
