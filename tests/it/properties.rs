//! What must hold for every cluster and every write. The seed is fixed: a failure is the same on every machine.
//! `PROPTEST_CASES` sets another number of cases: fewer for a quick look, more for a long night.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
};

use no502::{
    link::{self, Write},
    policy::{Action, Field, FieldValue, Policies, Profile},
    review::{self, Half},
    rule::Kind,
    snapshot::{Resource, Snapshot, Store, World},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use serde_json::{Value, json};

use crate::{
    injections::patched,
    oracle,
    stage::{self, Answer, Request, ask},
    worlds::{self, Dice, Object, key, resource},
};

const CASES: u32 = 10_000;

fn runner(cases: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").map_or(cases, |it| it.parse().unwrap());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Rolls a case, tests it, and makes a failure small before it is shown.
fn check<T: Debug>(roll: impl Fn(&mut Dice) -> T, test: impl Fn(T) -> Result<(), TestCaseError>) {
    check_cases(CASES, roll, test);
}

/// The same for another number of cases.
pub(crate) fn check_cases<T: Debug>(
    cases: u32,
    roll: impl Fn(&mut Dice) -> T,
    test: impl Fn(T) -> Result<(), TestCaseError>,
) {
    let strategy = worlds::dice().prop_map(|mut dice| roll(&mut dice));
    runner(cases).run(&strategy, test).unwrap_or_else(|error| panic!("{error}"));
}

fn values(objects: &[Object]) -> impl Iterator<Item = &Value> {
    objects.iter().map(|it| &it.0)
}

fn profile(profile: Profile) -> Policies {
    stage::policies([(Field::Profile, FieldValue::Word(profile.name()))])
}

/// As strict as one can be: every rule denies, whatever it finds.
fn deny_everything() -> Policies {
    let actions = Field::actions().map(|it| (it, FieldValue::Word(Action::Deny.name())));
    stage::policies(actions.chain([(Field::Profile, FieldValue::Word(Profile::Strict.name()))]))
}

fn validate(request: &Request<'_>, snapshot: &Snapshot, policies: &Policies) -> Answer {
    ask(Half::Validate, request, snapshot, policies, stage::now())
}

fn mutate(request: &Request<'_>, snapshot: &Snapshot) -> Answer {
    ask(Half::Mutate, request, snapshot, &Policies::default(), stage::now())
}

fn request<'a>(old: Option<&'a Object>, new: &'a Object) -> Request<'a> {
    match old {
        Some(old) => Request::update(&old.0, &new.0),
        None => Request::create(&new.0),
    }
}

#[test]
fn denials_are_those_of_the_second_opinion() {
    check(worlds::write, |(cluster, old, new)| {
        let all: Vec<Value> = values(&cluster).cloned().collect();
        let expected = oracle::denies(&all, old.as_ref().map(|it| &it.0), &new.0);
        let answer = validate(&request(old.as_ref(), &new), &stage::cluster(&all), &Policies::default());
        prop_assert_eq!(answer.is_allowed, !expected, "{:#?}", answer);
        Ok(())
    });
}

#[test]
fn the_same_object_again_is_never_denied() {
    let roll = |dice: &mut Dice| (worlds::object(dice), worlds::cluster(dice));
    check(roll, |(object, mut cluster)| {
        cluster.retain(|it| key(&it.0) != key(&object.0));
        cluster.push(object.clone());
        let snapshot = stage::cluster(values(&cluster));
        let answer = validate(&Request::update(&object.0, &object.0), &snapshot, &deny_everything());
        prop_assert!(answer.is_allowed, "{}", answer.message);
        Ok(())
    });
}

#[test]
fn what_is_always_allowed_is_allowed() {
    check(worlds::write, |(cluster, old, new)| {
        let snapshot = stage::cluster(values(&cluster));
        let advised = validate(&request(old.as_ref(), &new), &snapshot, &profile(Profile::Advise));
        prop_assert!(advised.is_allowed, "advise: {}", advised.message);
        let deleted = validate(&Request::delete(&new.0), &snapshot, &profile(Profile::Strict));
        prop_assert!(deleted.is_allowed, "DELETE: {}", deleted.message);
        let cleaner = "system:serviceaccount:kube-system:generic-garbage-collector";
        let request_of_gc = Request { user: cleaner, ..Request::delete(&new.0) };
        prop_assert!(validate(&request_of_gc, &snapshot, &deny_everything()).is_allowed, "the garbage collector");
        let nothing_read = Snapshot::default();
        let early = validate(&request(old.as_ref(), &new), &nothing_read, &deny_everything());
        prop_assert!(early.is_allowed, "nothing is read yet: {}", early.message);
        Ok(())
    });
}

#[test]
fn the_answer_is_the_same_for_the_same_input() {
    check(worlds::write, |(cluster, old, new)| {
        let body = request(old.as_ref(), &new).body();
        let snapshot = stage::cluster(values(&cluster));
        for half in [Half::Validate, Half::Mutate] {
            prop_assert_eq!(answer_to(half, &body, &snapshot), answer_to(half, &body, &snapshot));
        }
        Ok(())
    });
}

/// The answer to the byte.
fn answer_to(half: Half, body: &[u8], snapshot: &Snapshot) -> String {
    let reply = review::review(half, body, snapshot, &Policies::default(), stage::now()).unwrap();
    String::from_utf8(reply.body).unwrap()
}

/// Objects on their way into a store: each may arrive several times, in other states before the last one.
#[derive(Debug, Clone)]
struct Arrival {
    order: Vec<usize>,
    /// Other states of the same objects, and objects that go again.
    noise: Vec<Object>,
    relisted: Vec<bool>,
    snapshots: Vec<bool>,
}

fn arrival(dice: &mut Dice) -> Arrival {
    let mut flags = |count: usize| (0..count).map(|_| dice.chance(50)).collect();
    let (relisted, snapshots) = (flags(Resource::ALL.len()), flags(20));
    let order = (0..20).map(|_| dice.below(20)).collect();
    Arrival { order, relisted, snapshots, noise: worlds::cluster(dice) }
}

impl Arrival {
    /// A store that has seen the noise, then the cluster in another order, and lists of everything in between.
    fn store(&self, cluster: &[Object]) -> Store {
        let mut store = Store::complete();
        store.set_server_minor(Some(stage::SERVER_MINOR));
        let flag = |flags: &[bool], index: usize| flags.get(index % flags.len()).copied().unwrap_or_default();
        for (index, object) in self.noise.iter().enumerate() {
            store.apply(stage::facts(&object.0));
            if flag(&self.snapshots, index) {
                store.snapshot();
            }
        }
        let mut rest: Vec<&Object> = cluster.iter().collect();
        let mut shuffled: Vec<&Object> = Vec::new();
        for index in &self.order {
            if !rest.is_empty() {
                shuffled.push(rest.swap_remove(index % rest.len()));
            }
        }
        shuffled.extend(rest);
        let (relisted, watched): (Vec<_>, Vec<_>) =
            Resource::ALL.into_iter().enumerate().partition(|(index, _)| flag(&self.relisted, *index));
        // One half of the kinds gets a new list; the objects that are not in it are gone.
        for (_, resource) in &relisted {
            store.start_list(*resource);
        }
        for (index, object) in shuffled.iter().enumerate() {
            store.apply(stage::facts(&object.0));
            if flag(&self.snapshots, index + 7) {
                store.snapshot();
            }
        }
        for (_, resource) in &relisted {
            store.finish_list(*resource);
        }
        // Of the other half, deletions are watched.
        for object in &self.noise {
            let is_gone = !cluster.iter().any(|it| key(&it.0) == key(&object.0));
            let kind = resource(&object.0);
            if is_gone && watched.iter().any(|(_, it)| *it == kind) {
                let (_, namespace, name) = key(&object.0);
                store.remove(kind, &namespace, &name);
            }
        }
        store
    }
}

#[test]
fn the_order_of_arrival_changes_nothing() {
    let roll = |dice: &mut Dice| (worlds::object(dice), worlds::cluster(dice), arrival(dice));
    check(roll, |(new, cluster, arrival)| {
        let mut plain = Store::complete();
        plain.set_server_minor(Some(stage::SERVER_MINOR));
        for object in &cluster {
            plain.apply(stage::facts(&object.0));
        }
        let (plain, tried) = (plain.snapshot(), arrival.store(&cluster).snapshot());
        let survey = |snapshot: &Snapshot| format!("{:?}", link::survey(&World::of(snapshot)));
        prop_assert_eq!(survey(&plain), survey(&tried));
        let old = cluster.iter().find(|it| key(&it.0) == key(&new.0));
        let (request, deletion) = (request(old, &new).body(), Request::delete(&new.0).body());
        for (half, body) in [(Half::Validate, &request), (Half::Validate, &deletion), (Half::Mutate, &request)] {
            prop_assert_eq!(answer_to(half, body, &plain), answer_to(half, body, &tried));
        }
        prop_assert_eq!(plain.versions(), tried.versions());
        Ok(())
    });
}

#[test]
fn an_equal_template_is_never_patched() {
    check(
        |dice| (worlds::workload(dice), dice.chance(50)),
        |(mut old, is_reordered)| {
            old.0["kind"] = json!("Deployment");
            let mut new = old.clone();
            new.0["metadata"]["labels"] = json!({ "team": "shop" });
            new.0["spec"]["replicas"] = json!(7);
            let snapshot = stage::cluster([&old.0]);
            let mut body = String::from_utf8(Request::update(&old.0, &new.0).body()).unwrap();
            if is_reordered {
                // The same values, written in another order and with blanks.
                let template = old.0["spec"]["template"].to_string();
                let place = body.find("\"object\":").unwrap()
                    + body[body.find("\"object\":").unwrap()..].find(&template).unwrap();
                body.replace_range(place..place + template.len(), &reordered(&old.0["spec"]["template"]));
            }
            let reply =
                review::review(Half::Mutate, body.as_bytes(), &snapshot, &Policies::default(), stage::now()).unwrap();
            let answer = stage::answer(&reply.body);
            prop_assert_eq!(answer.patch, None);
            prop_assert_eq!(answer.warnings, Vec::<String>::new());
            Ok(())
        },
    );
}

/// JSON with the members of every map from last to first.
fn reordered(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members =
                map.iter().rev().map(|(key, it)| format!("{} : {}", Value::from(key.as_str()), reordered(it)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
        }
        Value::Array(items) => format!("[ {} ]", items.iter().map(reordered).collect::<Vec<_>>().join(" , ")),
        other => other.to_string(),
    }
}

#[test]
fn what_was_stripped_comes_back_without_a_word() {
    check(worlds::workload, |mut object| {
        object.0["kind"] = json!("Deployment");
        let snapshot = stage::cluster(std::iter::empty());
        let Some(patch) = mutate(&Request::create(&object.0), &snapshot).patch else { return Ok(()) };
        let stored = patched(&object.0, &patch);
        let answer = mutate(&Request::update(&stored, &object.0), &snapshot);
        let Some(patch) = answer.patch else {
            prop_assert_eq!(&stored["spec"]["template"], &object.0["spec"]["template"]);
            return Ok(());
        };
        prop_assert_eq!(&patched(&object.0, &patch)["spec"]["template"], &stored["spec"]["template"]);
        prop_assert_eq!(answer.warnings, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn any_json_in_a_review_is_answered() {
    let object = |dice: &mut Dice| match dice.below(4) {
        0 => worlds::object(dice),
        1 => Object(worlds::any_json(dice, 6)),
        _ => worlds::bent_object(dice),
    };
    let roll = |dice: &mut Dice| {
        let operation = ["UPDATE", "CREATE", "UPDATE", "DELETE", "CONNECT", "", "PATCH"][dice.below(7)];
        (operation, object(dice), object(dice), worlds::cluster(dice))
    };
    check(roll, |(operation, old, new, cluster)| {
        let snapshot = stage::cluster(values(&cluster));
        let request = Request { operation, old: Some(&old.0), ..Request::create(&new.0) };
        for half in [Half::Validate, Half::Mutate] {
            let answer = ask(half, &request, &snapshot, &deny_everything(), stage::now());
            if let Some(patch) = &answer.patch {
                patched(&new.0, patch);
            }
        }
        Ok(())
    });
}

/// Bytes that print as text.
struct Body(Vec<u8>);

impl Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", String::from_utf8_lossy(&self.0))
    }
}

#[test]
fn any_text_as_a_body_is_answered_or_refused() {
    let roll = |dice: &mut Dice| {
        let kind = dice.below(4);
        if kind == 0 {
            return Body(worlds::any_json(dice, 6).to_string().into_bytes());
        }
        let (_, old, new) = worlds::write(dice);
        let mut body = request(old.as_ref(), &new).body();
        let place = (dice.below(256) * 256 + dice.below(256)) % body.len();
        match kind {
            1 => body.truncate(place),
            _ => body[place] = u8::try_from(dice.below(256)).unwrap_or_default(),
        }
        Body(body)
    };
    let snapshot = stage::cluster(std::iter::empty());
    check(roll, |Body(body)| {
        for half in [Half::Validate, Half::Mutate] {
            match review::review(half, &body, &snapshot, &Policies::default(), stage::now()) {
                Ok(reply) => prop_assert!(serde_json::from_slice::<Value>(&reply.body).is_ok()),
                Err(error) => {
                    let line = error.to_string();
                    prop_assert!(!line.contains(char::is_control) && line.len() < 300, "{line:?}");
                }
            }
        }
        Ok(())
    });
}

#[test]
fn the_generator_reaches_everything() {
    const SAMPLES: u32 = 3_000;
    let mut runner =
        TestRunner::new_with_rng(ProptestConfig::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..SAMPLES {
        let mut dice = worlds::dice().new_tree(&mut runner).unwrap().current();
        let (cluster, old, new) = worlds::write(&mut dice);
        let snapshot = stage::cluster(values(&cluster));
        let (old_facts, new_facts) = (old.as_ref().map(|it| stage::facts(&it.0)), stage::facts(&new.0));
        let write = Write { old: old_facts.as_ref(), new: Some(&new_facts) };
        let before = World::before(&snapshot, new_facts.meta(), write.old);
        let after = World::after(&snapshot, new_facts.meta(), write.old, write.new);
        let mut findings = link::examine(write, &before, &after).findings;
        findings.extend(no502::verdict::self_findings(write));
        for finding in &findings {
            *seen.entry(format!("{:?} {}", finding.kind, finding.rule)).or_default() += 1;
            if finding.is_softened {
                *seen.entry(format!("softened {:?}", finding.kind)).or_default() += 1;
            }
            *seen.entry(format!("{:?}", finding.cause)).or_default() += 1;
        }
        let (old, new) = worlds::deployments(&mut dice);
        let body = Request::update(&old.0, &new.0).body();
        let answer = review::review(Half::Mutate, &body, &snapshot, &Policies::default(), stage::now()).unwrap();
        for (injection, outcome) in answer.summary.injections {
            *seen.entry(format!("{injection} {outcome}")).or_default() += 1;
        }
    }
    let wanted = [
        format!("{:?} service-selects-nothing", Kind::Broken),
        format!("{:?} service-port-unresolved", Kind::Broken),
        format!("{:?} ingress-port-missing", Kind::Broken),
        format!("{:?} ingress-service-missing", Kind::Broken),
        format!("{:?} service-port-unresolved", Kind::Mismatch),
        format!("{:?} ingress-port-missing", Kind::Mismatch),
        format!("{:?} service-selects-nothing", Kind::Absent),
        format!("{:?} ingress-service-missing", Kind::Absent),
        format!("{:?} probe-port-unresolved", Kind::Contradiction),
        format!("{:?} probe-port-unresolved", Kind::Risk),
        format!("{:?} ingress-port-missing", Kind::Risk),
        "ThisWrite".to_owned(),
        "OtherSide".to_owned(),
        "Standing".to_owned(),
        "softened Mismatch".to_owned(),
        "prestop injected".to_owned(),
        "prestop skipped".to_owned(),
        "grace injected".to_owned(),
        "handler-repair injected".to_owned(),
        "handler-repair skipped".to_owned(),
    ];
    let missing: Vec<&String> = wanted.iter().filter(|it| seen.get(*it).is_none_or(|count| *count < 2)).collect();
    assert!(missing.is_empty(), "too rare: {missing:?} of {seen:#?}");
    let failed = seen.keys().any(|it| it.ends_with(" failed"));
    assert!(!failed, "an injection failed: {seen:#?}");
}
