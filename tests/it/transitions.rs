//! Which writes are denied, warned about and let through: one file in `tests/transitions/` for each row of the table.
//!
//! A file says what is written (`object`, for an UPDATE with its `change`), into which `cluster`, by whom, and what is expected
//! of it. `expect` is what the profile `standard` does; `advise` never denies and `strict` does the same, unless the file lists
//! the profiles one by one. `says` are all lines that the user reads, the denial's first. `UPDATE=1` writes `says` anew.

use std::{collections::BTreeMap, fs, path::Path};

use jiff::Timestamp;
use no502::{
    policy::{Policies, PolicyStore, Profile},
    review::Half,
    snapshot::Snapshot,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stage::{self, Answer, Request, ask};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Transition {
    expect: Expect,
    /// The rule that speaks; none for a silent write.
    rule: Option<String>,
    operation: Option<String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    sub_resource: String,
    now: Option<String>,
    #[serde(default)]
    actions: BTreeMap<String, String>,
    exemption: Option<Excuse>,
    #[serde(default)]
    break_glass_groups: Vec<String>,
    /// Kinds of which no list has come yet.
    #[serde(default)]
    unread: Vec<String>,
    /// The object that is created, updated or deleted.
    object: Value,
    /// For an UPDATE: the new values by JSON pointer; null takes a member out.
    #[serde(default)]
    change: BTreeMap<String, Value>,
    #[serde(default)]
    cluster: Vec<Value>,
    #[serde(default)]
    says: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Excuse {
    rule: String,
    reason: String,
    expires: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Expect {
    Standard(Outcome),
    ByProfile { advise: Outcome, standard: Outcome, strict: Outcome },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Deny,
    Warn,
    Allow,
}

impl Expect {
    fn of(&self, profile: Profile) -> Outcome {
        match (self, profile) {
            (Self::Standard(Outcome::Deny), Profile::Advise) => Outcome::Warn,
            (Self::Standard(outcome), _) => *outcome,
            (Self::ByProfile { advise, .. }, Profile::Advise) => *advise,
            (Self::ByProfile { standard, .. }, Profile::Standard) => *standard,
            (Self::ByProfile { strict, .. }, Profile::Strict) => *strict,
        }
    }
}

impl Outcome {
    fn of(answer: &Answer) -> Self {
        match (answer.is_allowed, answer.warnings.is_empty()) {
            (false, _) => Self::Deny,
            (true, false) => Self::Warn,
            (true, true) => Self::Allow,
        }
    }
}

impl Transition {
    fn read(path: &Path) -> Self {
        let mut it: Self =
            serde_json::from_value(stage::map(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        it.object = stage::placed(it.object);
        it.cluster = it.cluster.into_iter().map(stage::placed).collect();
        it
    }

    fn operation(&self) -> &str {
        let implied = if self.change.is_empty() { "CREATE" } else { "UPDATE" };
        self.operation.as_deref().unwrap_or(implied)
    }

    /// The object after the write.
    fn written(&self) -> Value {
        let mut new = self.object.clone();
        self.change.iter().for_each(|(pointer, value)| stage::set(&mut new, pointer, value));
        new
    }

    fn policies(&self, profile: Profile) -> Policies {
        let meta = &self.object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let exemption = self.exemption.as_ref().map(|it| {
            let target = json!({ "kind": text(&self.object["kind"]), "name": text(&meta["name"]) });
            json!({ "rule": it.rule, "target": target, "reason": it.reason, "expires": it.expires })
        });
        let policy = json!({
            "apiVersion": no502::policy::API_VERSION,
            "kind": "ClusterRolloutPolicy",
            "metadata": { "name": "test" },
            "spec": {
                "settings": {
                    "profile": profile.name(),
                    "actions": self.actions,
                    "breakGlassGroups": self.break_glass_groups,
                },
                "exemptions": exemption.into_iter().collect::<Vec<_>>(),
            },
        });
        let mut store = PolicyStore::default();
        assert!(store.apply(&policy));
        let policies = store.policies();
        assert!(policies.entries().all(|it| it.problems.is_empty()), "{policies:?}");
        policies
    }

    fn snapshot(&self) -> Snapshot {
        let own = (self.operation() != "CREATE").then_some(&self.object);
        let unread: Vec<&str> = self.unread.iter().map(String::as_str).collect();
        stage::partly_read(self.cluster.iter().chain(own), &unread)
    }

    fn now(&self) -> Timestamp {
        self.now.as_deref().unwrap_or(stage::NOW).parse().unwrap()
    }

    fn ask(&self, half: Half, profile: Profile, dry_run: bool) -> Answer {
        let new = self.written();
        let request = match self.operation() {
            "CREATE" => Request::create(&new),
            "UPDATE" => Request::update(&self.object, &new),
            "DELETE" => Request::delete(&self.object),
            other => panic!("operation {other}"),
        };
        let user = self.user.as_deref().unwrap_or("jane");
        let request = Request { user, groups: &self.groups, sub_resource: &self.sub_resource, dry_run, ..request };
        ask(half, &request, &self.snapshot(), &self.policies(profile), self.now())
    }
}

fn lines(answer: &Answer) -> Vec<String> {
    answer.message.lines().map(str::to_owned).chain(answer.warnings.iter().cloned()).collect()
}

/// Writes the lines at the end of the file, where `says` stands.
fn write_says(path: &Path, says: &[String]) {
    let text = stage::read(path);
    let mut text = text.split("\nsays:").next().unwrap().trim_end().to_owned();
    if !says.is_empty() {
        text.push_str("\nsays:");
        for line in says {
            text.push_str("\n  - ");
            text.push_str(&Value::from(line.as_str()).to_string());
        }
    }
    text.push('\n');
    fs::write(path, text).unwrap();
}

/// What is wrong with one file.
fn faults(path: &Path) -> Vec<String> {
    let transition = Transition::read(path);
    let mut faults = Vec::new();
    for profile in [Profile::Advise, Profile::Standard, Profile::Strict] {
        let answer = transition.ask(Half::Validate, profile, false);
        let (expected, found) = (transition.expect.of(profile), Outcome::of(&answer));
        if found != expected {
            faults.push(format!("{profile:?}: expected {expected:?}, got {found:?} {:#?}", lines(&answer)));
        }
        if transition.ask(Half::Validate, profile, true) != answer {
            faults.push(format!("{profile:?}: a dry run is answered otherwise"));
        }
        let mutated = transition.ask(Half::Mutate, profile, false);
        if !mutated.is_allowed {
            faults.push(format!("{profile:?}: the mutating half denies"));
        }
        if profile == Profile::Standard {
            let told = answer.audit["findings"].as_str().unwrap_or_default();
            let rules: Vec<&str> = told.split(',').filter_map(|it| it.split('=').next()).collect();
            if transition.rule.as_deref().is_some_and(|rule| !rules.contains(&rule)) {
                faults.push(format!("the rule {:?} is silent, only {told:?} speak", transition.rule));
            }
            if transition.rule.is_none() && !told.is_empty() {
                faults.push(format!("no rule is named, but {told} speaks"));
            }
            if stage::is_update() {
                write_says(path, &lines(&answer));
            } else if lines(&answer) != transition.says {
                faults.push(format!("says: expected {:#?}, got {:#?}", transition.says, lines(&answer)));
            }
        }
    }
    faults.extend(reapplied(&transition));
    faults
}

/// Once it is there, the same object must go through, whatever it is like (reference: rules 4.1).
fn reapplied(transition: &Transition) -> Option<String> {
    let new = transition.written();
    let snapshot = stage::cluster(transition.cluster.iter().chain([&new]));
    let answer = ask(
        Half::Validate,
        &Request::update(&new, &new),
        &snapshot,
        &transition.policies(Profile::Strict),
        transition.now(),
    );
    (!answer.is_allowed).then(|| format!("the same object again is denied: {}", answer.message))
}

#[test]
fn every_write_is_answered_as_the_table_says() {
    let files = stage::files(&stage::folder("transitions"), ".yaml");
    assert!(files.len() > 80, "only {} transitions", files.len());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            faults(path).into_iter().map(move |fault| format!("{name}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Nearly every write keeps the template: unasked, the hint would be everywhere.
#[test]
fn the_hint_to_restart_is_given_on_request_only() {
    let mut given = 0;
    for path in stage::files(&stage::folder("transitions"), ".yaml") {
        let transition = Transition::read(&path);
        let answer = transition.ask(Half::Validate, Profile::Standard, false);
        let is_given = answer.warnings.iter().any(|it| it.contains("kubectl rollout restart"));
        let is_asked = stage::read(&path).contains("no502.dev/restart-hint: \"true\"");
        assert!(is_asked || !is_given, "{}: {:?}", path.display(), answer.warnings);
        let mutating = transition.ask(Half::Mutate, Profile::Standard, false).warnings;
        assert!(!mutating.iter().any(|it| it.contains("rollout restart")), "{}", path.display());
        given += usize::from(is_given);
    }
    assert!(given >= 2, "the hint is given {given} times");
}
