//! What must hold for every set of policies: the order in which they arrive does not matter, every setting has one source, nothing
//! escapes a bound or a lock, and nothing that anybody writes makes us panic. A second, slower resolution, written from the manual
//! page, has to agree; the shapes, paths, annotations and defaults of the settings it takes from the product's own table.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use no502::{
    facts::{Facts, Labels, Namespace, Workload},
    policy::{Effective, Field, FieldValue, Mode, Policies, PolicyName, PolicyStore, ReadPolicy, Shape, Source},
    rule::ObjectName,
};
use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::{
    policy_worlds::{self, EXEMPT_RULES, NAMESPACE, PolicyWorld},
    properties::check_cases,
    stage,
    worlds::{Dice, Object},
};

/// Each case asks every law.
const CASES: u32 = 100_000;

#[test]
fn every_set_of_policies_obeys_the_laws() {
    let roll = |dice: &mut Dice| (policy_worlds::world(dice), dice.clone());
    check_cases(CASES, roll, |(world, mut dice)| {
        let (namespace, workload) = (namespace(&world), workload(&world));
        let policies = store(&world.policies, &namespace).policies();
        let effective = policies.effective(NAMESPACE, Some(&namespace), Some(&workload));
        order_does_not_matter(&world, &effective, &mut dice)?;
        one_source_each(&policies, &namespace, &workload, &effective)?;
        a_second_opinion_agrees(&world, &namespace, &workload, &effective)?;
        nothing_escapes(&world, &namespace, &effective)?;
        exemptions_count_as_the_manual_says(&world, &namespace, &effective)?;
        garbage_is_told(&world, &mut dice)
    });
}

fn namespace(world: &PolicyWorld) -> Namespace {
    let Facts::Namespace(namespace) = stage::facts(&world.namespace.0) else { panic!("a Namespace") };
    namespace
}

fn workload(world: &PolicyWorld) -> Workload {
    stage::facts(&world.workload.0).workload().unwrap().clone()
}

fn store(policies: &[Object], namespace: &Namespace) -> PolicyStore {
    let mut store = PolicyStore::default();
    store.set_namespace(&namespace.meta.name, Some(&namespace.labels));
    for policy in policies {
        store.apply(&policy.0);
    }
    store
}

/// Policies and the namespace arrive in any order, come twice, go and come again, with snapshots in between.
fn order_does_not_matter(world: &PolicyWorld, expected: &Effective, dice: &mut Dice) -> Result<(), TestCaseError> {
    let (namespace, workload) = (namespace(world), workload(world));
    let mut shuffled = world.policies.clone();
    for index in (1..shuffled.len()).rev() {
        shuffled.swap(index, dice.below(index + 1));
    }
    let mut store = PolicyStore::default();
    let early = dice.chance(50);
    if early {
        store.set_namespace(&namespace.meta.name, Some(&namespace.labels));
    }
    for policy in &shuffled {
        if dice.chance(30) && ReadPolicy::read(&policy.0).unwrap().problems.is_empty() {
            // An earlier version, for other namespaces or workloads. A bad new version would leave it in force.
            let mut earlier = policy.0.clone();
            earlier["spec"] = policy_worlds::policy(dice, 0)["spec"].take();
            store.apply(&earlier);
            store.policies();
        }
        store.apply(&policy.0);
        if dice.chance(30) {
            store.policies();
        }
        if dice.chance(30) {
            store.remove(&ReadPolicy::read(&policy.0).unwrap().policy.name);
            store.policies();
            store.apply(&policy.0);
        }
        if dice.chance(20) {
            store.apply(&policy.0);
        }
    }
    let seen = |store: &mut PolicyStore| store.policies().effective(NAMESPACE, Some(&namespace), Some(&workload));
    prop_assert_eq!(&seen(&mut store), expected, "the namespace was known early: {}", early);
    store.set_namespace(&namespace.meta.name, Some(&Labels::default()));
    store.policies();
    store.set_namespace(&namespace.meta.name, Some(&namespace.labels));
    prop_assert_eq!(&seen(&mut store), expected, "after its labels changed and changed back");
    Ok(())
}

/// The source of a setting is the last one that wanted it and was let, and its value counts, within bounds.
fn one_source_each(
    policies: &Policies,
    namespace: &Namespace,
    workload: &Workload,
    effective: &Effective,
) -> Result<(), TestCaseError> {
    let steps = policies.steps(NAMESPACE, Some(namespace), Some(workload));
    let values = values(effective);
    for field in Field::all() {
        let last = steps.iter().rfind(|it| it.field == field && it.locked_by.is_none());
        let source = last.map_or(&Source::BuiltIn, |it| &it.source);
        prop_assert_eq!(source, effective.source(field), "{:?}", field);
        let wanted = last.map(|it| effective.limits().clamped(field, &it.value).map_or(it.value.clone(), |it| it.0));
        let wanted = wanted.map_or(Value::Null, |it| it.to_json());
        prop_assert_eq!(&wanted, &values[&*field.path()], "{:?}", field);
    }
    Ok(())
}

/// The effective values by path.
fn values(effective: &Effective) -> BTreeMap<String, Value> {
    let settings = &effective.settings;
    let mode = |it: Mode| json!(it.name());
    let names = |it: &[SmolStr]| json!(it.iter().map(SmolStr::as_str).collect::<Vec<_>>());
    let unless_silent = |field: Field, value: Value| {
        if *effective.source(field) == Source::BuiltIn { Value::Null } else { value }
    };
    let value = |field: Field| match field {
        Field::Enabled => json!(effective.is_enabled),
        Field::BreakGlassGroups => unless_silent(field, names(&effective.break_glass_groups)),
        Field::Profile => json!(effective.profile.name()),
        Field::Mode => mode(settings.mode),
        Field::Kinds => FieldValue::Kinds(settings.kinds).to_json(),
        Field::SkipOwned => json!(settings.skips_owned),
        Field::PreStopMode => mode(settings.pre_stop),
        Field::SleepSeconds => json!(settings.sleep_seconds),
        Field::ExecFallback => json!(settings.exec_fallback),
        Field::GraceMode => mode(settings.grace_period),
        Field::AppDrainSeconds => json!(settings.app_drain_seconds),
        Field::MaxGraceSeconds => json!(settings.max_grace_seconds),
        Field::ReadinessMode => mode(settings.readiness),
        Field::ReadinessPort => {
            settings.readiness_port.clone().map_or(Value::Null, |it| FieldValue::Port(it).to_json())
        }
        Field::ReadinessPeriod => json!(settings.probe.period_seconds),
        Field::ReadinessTimeout => json!(settings.probe.timeout_seconds),
        Field::ReadinessFailures => json!(settings.probe.failure_threshold),
        Field::ExcludedContainers => unless_silent(field, names(&settings.excluded_containers)),
        Field::RestartHint => json!(settings.hints_restart),
        Field::Action(_) => {
            field.rule().and_then(|it| effective.actions.get(it)).map_or(Value::Null, |it| json!(it.name()))
        }
    };
    Field::all().map(|field| (field.path().into_owned(), value(field))).collect()
}

/// The same from the raw objects, as `deploy/policies.md` tells it: slowly, and one setting at a time.
fn a_second_opinion_agrees(
    world: &PolicyWorld,
    namespace: &Namespace,
    workload: &Workload,
    effective: &Effective,
) -> Result<(), TestCaseError> {
    let found = values(effective);
    let cluster = cluster_policies(world, namespace);
    let own = own_policies(world, workload);
    // An annotation of the object hides the same one of its pod template, and one for the sleep's length both.
    let mut workload_annotations = world.workload.0["spec"]["template"]["metadata"]["annotations"].clone();
    let own_annotations = &world.workload.0["metadata"]["annotations"];
    let length_keys = ["no502.dev/preset", "no502.dev/prestop-sleep-seconds"];
    if length_keys.iter().any(|key| own_annotations[key].is_string()) {
        for key in length_keys {
            workload_annotations[key] = Value::Null;
        }
    }
    for (key, text) in own_annotations.as_object().into_iter().flatten() {
        workload_annotations[key] = text.clone();
    }
    let defaults = values(&Policies::default().effective(NAMESPACE, None, None));
    for field in Field::all() {
        // The opt-in of a workload sets these two by itself.
        if matches!(field, Field::Kinds | Field::SkipOwned) {
            continue;
        }
        let path = field.path().into_owned();
        let mut value = defaults[&path].clone();
        for policy in &cluster {
            value = setting(policy, field).unwrap_or(value);
        }
        let is_locked = cluster.iter().any(|it| locks(it, &path));
        if !is_locked {
            value = annotation(field, &world.namespace.0["metadata"]["annotations"], true).unwrap_or(value);
            let holds_profile = cluster.iter().any(|it| locks(it, "profile"))
                || bounds(&cluster, Field::Profile).0.is_some_and(|it| it > 0);
            for policy in &own {
                let wanted = setting(policy, field);
                // Where the profile is held, actions can only be made stronger.
                let is_weaker = field.rule().is_some() && wanted != Some(json!("deny"));
                value = wanted.filter(|_| !(holds_profile && is_weaker)).unwrap_or(value);
            }
            value = annotation(field, &workload_annotations, false).unwrap_or(value);
        }
        let (low, high) = bounds(&cluster, field);
        value = held(field, value, low, high);
        prop_assert_eq!(&value, &found[&path], "{}", path);
    }
    Ok(())
}

/// Those that select the namespace, the ones that count least first.
fn cluster_policies<'a>(world: &'a PolicyWorld, namespace: &Namespace) -> Vec<&'a Value> {
    let selects = |it: &&Value| {
        let labels: BTreeMap<_, _> =
            namespace.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        it["kind"] == "ClusterRolloutPolicy" && matches(&it["spec"]["namespaceSelector"], &labels)
    };
    let mut policies: Vec<&Value> = latest(&world.policies).into_iter().filter(selects).collect();
    policies.sort_by_key(|it| (it["spec"]["priority"].as_i64().unwrap_or(0), std::cmp::Reverse(name(it))));
    policies
}

fn own_policies<'a>(world: &'a PolicyWorld, workload: &Workload) -> Vec<&'a Value> {
    let labels: BTreeMap<_, _> = workload.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let selects = |it: &&Value| {
        it["kind"] == "RolloutPolicy"
            && it["metadata"]["namespace"] == NAMESPACE
            && matches(&it["spec"]["workloadSelector"], &labels)
    };
    let mut policies: Vec<&Value> = latest(&world.policies).into_iter().filter(selects).collect();
    let is_selecting = |it: &Value| it["spec"]["workloadSelector"].as_object().is_some_and(|it| !it.is_empty());
    policies.sort_by_key(|it| {
        (is_selecting(it), it["spec"]["priority"].as_i64().unwrap_or(0), std::cmp::Reverse(name(it)))
    });
    policies
}

/// Of two objects with one name the later one replaces the other.
fn latest(policies: &[Object]) -> Vec<&Value> {
    let key = |it: &Value| (it["kind"].to_string(), it["metadata"].to_string());
    let last = |index: usize| !policies[index + 1..].iter().any(|it| key(&it.0) == key(&policies[index].0));
    (0..policies.len()).filter(|it| last(*it)).map(|it| &policies[it].0).collect()
}

fn name(policy: &Value) -> &str {
    policy["metadata"]["name"].as_str().unwrap()
}

fn matches(selector: &Value, labels: &BTreeMap<&str, &str>) -> bool {
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    pairs.into_iter().all(|(key, value)| labels.get(key.as_str()).copied() == value.as_str())
        && expressions.into_iter().all(|it| {
            let label = labels.get(it["key"].as_str().unwrap());
            match it["operator"].as_str().unwrap() {
                "NotIn" => label.is_none_or(|label| !it["values"].as_array().unwrap().contains(&json!(label))),
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                other => panic!("{other}"),
            }
        })
}

/// What a policy says of a setting, if that can be read.
fn setting(policy: &Value, field: Field) -> Option<Value> {
    let is_cluster = policy["kind"] == "ClusterRolloutPolicy";
    if matches!(field, Field::Enabled | Field::BreakGlassGroups) && !is_cluster {
        return None;
    }
    let settings = &policy["spec"]["settings"];
    let value = settings.pointer(&format!("/{}", field.path().replace('.', "/"))).filter(|it| !it.is_null());
    if field == Field::SleepSeconds && value.is_none_or(|it| !is_good(field, it)) {
        let seconds = match settings["injection"]["preStop"]["preset"].as_str()? {
            "gke-neg" => 60,
            _ => 150,
        };
        return Some(json!(seconds));
    }
    value.filter(|it| is_good(field, it)).cloned()
}

fn is_good(field: Field, value: &Value) -> bool {
    let is_in = |min: i64, max: i64| value.as_i64().is_some_and(|it| (min..=max).contains(&it));
    match field.definition().shape {
        Shape::Flag => value.is_boolean(),
        Shape::Number { min, max } => is_in(min, max),
        Shape::Sleep => is_in(0, 300),
        Shape::Word(words) => value.as_str().is_some_and(|it| words.contains(&it)),
        Shape::Kinds | Shape::Names { .. } => {
            value.as_array().is_some_and(|it| it.iter().all(Value::is_string)) && field != Field::Kinds
        }
        Shape::Port => is_in(1, 65_535) || value.as_str() == Some("http"),
    }
}

fn annotation(field: Field, annotations: &Value, of_namespace: bool) -> Option<Value> {
    if field == Field::Profile && !of_namespace {
        return None;
    }
    let key = field.definition().annotation;
    let text = annotations[format!("no502.dev/{key}")].as_str().filter(|_| !key.is_empty());
    let own = text.and_then(|text| {
        let value = match (field.definition().shape, text) {
            (Shape::Word(_), "enabled" | "true") if is_good(field, &json!("inject")) => json!("inject"),
            (Shape::Flag, "true") => json!(true),
            (Shape::Number { .. } | Shape::Sleep | Shape::Port, _) => {
                json!(text.parse::<i64>().ok().map_or(json!(text), |it| json!(it)))
            }
            (Shape::Names { .. }, _) => json!([text]),
            _ => json!(text),
        };
        let is_name = |it: &Value| it.as_str().is_some_and(|it| it.bytes().all(|it| it.is_ascii_lowercase()));
        (is_good(field, &value) || field == Field::ReadinessPort && is_name(&value)).then_some(value)
    });
    let preset = annotations["no502.dev/preset"].as_str();
    own.or_else(|| (field == Field::SleepSeconds && preset == Some("gke-neg")).then(|| json!(60)))
}

/// The setting, or an object that holds it, is locked.
fn locks(policy: &Value, path: &str) -> bool {
    let locked = policy["spec"]["locked"].as_array().into_iter().flatten().map(|it| it.as_str().unwrap());
    locked.into_iter().any(|it| path == it || path.starts_with(&format!("{it}.")))
}

/// The lowest and the highest value that all policies together leave to a setting, as [`rank`] counts. Of those that cannot hold at
/// once the most important policy's counts.
fn bounds(cluster: &[&Value], field: Field) -> (Option<i64>, Option<i64>) {
    let (mut low, mut high): (Option<i64>, Option<i64>) = (None, None);
    for policy in cluster.iter().rev() {
        // Of two bounds for one setting in a list the first one counts.
        let list = policy["spec"]["bounds"].as_array().into_iter().flatten();
        let usable = |it: &&Value| match (end(field, it, "min", "atLeast"), end(field, it, "max", "atMost")) {
            (Some(low), Some(high)) => low <= high,
            (low, high) => low.is_some() || high.is_some(),
        };
        let Some(bound) = list.filter(|it| it["field"] == *field.path()).find(usable) else { continue };
        let own = (end(field, bound, "min", "atLeast"), end(field, bound, "max", "atMost"));
        let (new_low, new_high) = (low.max(own.0), [high, own.1].into_iter().flatten().min());
        if new_low.zip(new_high).is_none_or(|(low, high)| low <= high) {
            (low, high) = (new_low, new_high);
        }
    }
    (low, high)
}

fn rank(field: Field, value: &Value) -> Option<i64> {
    match field.definition().shape {
        Shape::Word(words) => {
            words.iter().position(|it| value.as_str() == Some(it)).map(|it| i64::try_from(it).unwrap())
        }
        _ => value.as_i64(),
    }
}

fn end(field: Field, bound: &Value, number: &str, word: &str) -> Option<i64> {
    let value = if bound[number].is_null() { &bound[word] } else { &bound[number] };
    is_good(field, value).then(|| rank(field, value)).flatten()
}

fn held(field: Field, value: Value, low: Option<i64>, high: Option<i64>) -> Value {
    let Some(rank) = rank(field, &value) else { return value };
    let held = rank.max(low.unwrap_or(i64::MIN)).min(high.unwrap_or(i64::MAX));
    match field.definition().shape {
        Shape::Word(words) => json!(words[usize::try_from(held).unwrap()]),
        _ => json!(held),
    }
}

/// Whatever teams write: a locked setting has a source in the cluster, a bounded one lies within.
fn nothing_escapes(world: &PolicyWorld, namespace: &Namespace, effective: &Effective) -> Result<(), TestCaseError> {
    let cluster = cluster_policies(world, namespace);
    let found = values(effective);
    for field in Field::all() {
        let path = field.path().into_owned();
        if cluster.iter().any(|it| locks(it, &path)) {
            prop_assert!(!effective.source(field).is_below_cluster(), "{} is locked", path);
        }
        let (low, high) = bounds(&cluster, field);
        if let Some(rank) = rank(field, &found[&path]) {
            prop_assert!(low.is_none_or(|it| it <= rank) && high.is_none_or(|it| rank <= it), "{}", path);
        }
    }
    Ok(())
}

/// The exemptions of the cluster count until they end; those of the namespace unless exemptions or the rule's action is locked, and
/// while they end early enough.
fn exemptions_count_as_the_manual_says(
    world: &PolicyWorld,
    namespace: &Namespace,
    effective: &Effective,
) -> Result<(), TestCaseError> {
    let now = stage::now();
    let cluster = cluster_policies(world, namespace);
    let own = latest(&world.policies).into_iter();
    let own: Vec<&Value> =
        own.filter(|it| it["kind"] == "RolloutPolicy" && it["metadata"]["namespace"] == NAMESPACE).collect();
    let days = cluster.iter().flat_map(|it| it["spec"]["bounds"].as_array().into_iter().flatten());
    let days = days.filter(|it| it["field"] == "exemptionDays").filter_map(|it| it["max"].as_i64()).min();
    let object = ObjectName {
        kind: "Deployment".into(),
        namespace: NAMESPACE.into(),
        name: "web".into(),
        ..ObjectName::default()
    };
    for rule in EXEMPT_RULES {
        let is_locked = cluster.iter().any(|it| locks(it, &format!("actions.{rule}")) || locks(it, "exemptions"));
        let mut expected = BTreeSet::new();
        for policy in cluster.iter().chain(&own) {
            let is_own = policy["kind"] == "RolloutPolicy";
            for (index, exemption) in policy["spec"]["exemptions"].as_array().into_iter().flatten().enumerate() {
                let expires = time(&exemption["expires"]);
                let ends_early_enough = days.is_none_or(|days| expires.duration_since(now).as_hours() <= days * 24);
                let is_for = exemption["rule"] == rule
                    && exemption["target"]["kind"] == "Deployment"
                    && exemption["target"]["name"] != "api";
                if is_for && now < expires && !(is_own && (is_locked || !ends_early_enough)) {
                    expected.insert((is_own, name(policy).to_owned(), index));
                }
            }
        }
        let found = effective.exemptions_from(rule, &object, now).into_iter();
        let found: BTreeSet<_> =
            found.map(|it| (!it.policy.namespace.is_empty(), it.policy.name.to_string(), it.index)).collect();
        prop_assert_eq!(found, expected, "{}", rule);
    }
    Ok(())
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Nothing panics, problems are one line each, and a good version outlives a bad one.
fn garbage_is_told(world: &PolicyWorld, dice: &mut Dice) -> Result<(), TestCaseError> {
    let (namespace, workload) = (namespace(world), workload(world));
    let mut store = store(&world.policies, &namespace);
    let Some(first) = world.policies.first() else { return Ok(()) };
    let good = ReadPolicy::read(&first.0).unwrap();
    let mut bad = policy_worlds::mangled(dice, first.0.clone());
    if bad.is_object() && bad["metadata"].is_object() {
        bad["metadata"]["generation"] = json!(9);
    }
    store.apply(&bad);
    let policies = store.policies();
    let _ = policies.effective(NAMESPACE, Some(&namespace), Some(&workload));
    let _ = policies.effective("elsewhere", None, None);
    let Some(read) = ReadPolicy::read(&bad) else { return Ok(()) };
    for problem in &read.problems {
        prop_assert!(!problem.contains(char::is_control) && problem.chars().count() < 400, "{:?}", problem);
    }
    let name: &PolicyName = &read.policy.name;
    let is_replaced = *name == good.policy.name && latest(&world.policies).contains(&&first.0);
    if good.problems.is_empty() && !read.problems.is_empty() && is_replaced {
        let entry = policies.entries().find(|it| it.policy.name == *name).unwrap();
        prop_assert_eq!(&*entry.policy, &good.policy, "the last good version is in force");
        prop_assert!(entry.is_last_good());
    }
    Ok(())
}
