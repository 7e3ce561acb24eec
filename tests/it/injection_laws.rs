//! The laws of the injections (reference: mutations 11.4 and 11.5), held against random pod templates and settings. What is ours is
//! told by a reading of the marker that has nothing in common with the code under test.

use std::{cell::RefCell, collections::BTreeMap};

use no502::{
    facts::Facts,
    inject::undo,
    policy::{Field, FieldValue, Policies},
    review::Half,
    snapshot::Snapshot,
};
use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::{Value, json};

use crate::{
    injections::{patched, refusals},
    properties::check_cases,
    stage::{self, Answer, Request, ask},
    templates::{self, Case},
    worlds::{Dice, Object},
};

const CASES: u32 = 100_000;
const MARKER: &str = "no502.dev/injected";

fn mutate(request: &Request<'_>, snapshot: &Snapshot) -> Answer {
    ask(Half::Mutate, request, snapshot, &Policies::default(), stage::now())
}

fn request<'a>(old: Option<&'a Object>, new: &'a Value) -> Request<'a> {
    match old {
        Some(old) => Request::update(&old.0, new),
        None => Request::create(new),
    }
}

fn template(object: &Value) -> &Value {
    &object["spec"]["template"]
}

fn containers(object: &Value) -> &[Value] {
    template(object)["spec"]["containers"].as_array().map_or(&[], Vec::as_slice)
}

fn grace(object: &Value) -> i64 {
    template(object)["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30)
}

/// What the markers of these objects say of a container.
fn marked<'a>(objects: impl IntoIterator<Item = &'a Value>, container: &Value) -> Vec<Value> {
    let name = container["name"].as_str().unwrap_or_default();
    let markers = objects.into_iter().filter_map(|it| {
        let text = template(it)["metadata"]["annotations"][MARKER].as_str()?;
        serde_json::from_str::<Value>(text).ok()
    });
    markers.map(|it| it["containers"][name].clone()).filter(Value::is_object).collect()
}

/// The hook is one that a marker claims: the handler of that length is in it.
fn is_our_hook(hook: &Value, claims: &[Value]) -> bool {
    claims.iter().any(|claim| match claim["preStop"].as_i64() {
        Some(seconds) if claim["exec"] == json!(true) => {
            hook["exec"]["command"] == json!(["sleep", seconds.to_string()])
        }
        Some(seconds) => hook["sleep"]["seconds"] == json!(seconds),
        None => false,
    })
}

fn is_our_probe(probe: &Value, claims: &[Value]) -> bool {
    claims.iter().any(|claim| claim["readiness"].is_i64() && probe["tcpSocket"]["port"] == claim["readiness"])
}

/// An object without everything that a patch may touch, so that the rest can be compared.
fn rest(object: &Value) -> Value {
    let mut object = object.clone();
    let template = &mut object["spec"]["template"];
    let remove = |value: &mut Value, member: &str| {
        if let Some(map) = value.as_object_mut() {
            map.remove(member);
        }
    };
    let drop_empty = |value: &mut Value, member: &str| {
        if let Some(map) = value.as_object_mut()
            && map.get(member).is_some_and(|it| it.is_null() || it.as_object().is_some_and(serde_json::Map::is_empty))
        {
            map.remove(member);
        }
    };
    if template["metadata"]["annotations"].is_object() {
        remove(&mut template["metadata"]["annotations"], MARKER);
    }
    drop_empty(&mut template["metadata"], "annotations");
    remove(&mut template["spec"], "terminationGracePeriodSeconds");
    for container in template["spec"]["containers"].as_array_mut().into_iter().flatten() {
        if container["lifecycle"].is_object() {
            remove(&mut container["lifecycle"], "preStop");
        }
        drop_empty(container, "lifecycle");
        remove(container, "readinessProbe");
    }
    object
}

fn keeps_what_is_the_users(case: &Case, result: &Value) -> Result<(), TestCaseError> {
    let sent = &case.new.0;
    prop_assert_eq!(rest(sent), rest(result), "something else was touched");
    prop_assert!(grace(result) >= grace(sent), "the grace period was lowered");
    let states = || case.old.iter().map(|it| &it.0).chain([sent]);
    for (before, after) in containers(sent).iter().zip(containers(result)) {
        let claims = marked(states(), before);
        let (hook, new_hook) = (&before["lifecycle"]["preStop"], &after["lifecycle"]["preStop"]);
        if hook != new_hook && !hook.is_null() {
            prop_assert!(is_our_hook(hook, &claims), "a hook of the user's: {} became {}", hook, new_hook);
            prop_assert!(new_hook.is_object(), "a hook was taken out: {}", hook);
            let (from, to) = (hook["sleep"]["seconds"].as_i64(), new_hook["sleep"]["seconds"].as_i64());
            prop_assert!(to.is_none() || to >= from, "a sleep was lowered: {} became {}", hook, new_hook);
        }
        let (probe, new_probe) = (&before["readinessProbe"], &after["readinessProbe"]);
        if probe != new_probe && !probe.is_null() {
            prop_assert!(is_our_probe(probe, &claims), "a probe of the user's: {} became {}", probe, new_probe);
        }
        if probe.is_null() && !new_probe.is_null() {
            let port = &new_probe["tcpSocket"]["port"];
            let is_declared = |it: &Value| it["containerPort"] == *port;
            prop_assert!(before["ports"].as_array().is_some_and(|it| it.iter().any(is_declared)), "{}", new_probe);
            prop_assert!(new_probe.as_object().is_some_and(|it| !it.contains_key("httpGet")), "{}", new_probe);
            let is_grpc = |it: &Value| it["containerPort"] == *port && it["name"] == "grpc";
            let is_hostile = port == 3306 || before["ports"].as_array().is_some_and(|it| it.iter().any(is_grpc));
            prop_assert!(!is_hostile, "a hostile or a gRPC port: {}", new_probe);
            prop_assert!(template(sent)["spec"]["hostNetwork"] != true, "hostNetwork");
        }
    }
    Ok(())
}

/// Handlers of the readiness probes beyond one each, and what `refusals` finds in the hooks.
fn refused(object: &Value) -> usize {
    let handlers = ["tcpSocket", "httpGet", "exec", "grpc"];
    let count = |it: &Value| handlers.iter().filter(|handler| !it["readinessProbe"][**handler].is_null()).count();
    let probes = containers(object).iter().filter(|it| it["readinessProbe"].is_object() && count(it) != 1).count();
    refusals(object).len() + probes
}

#[test]
fn a_patch_does_what_it_may_and_nothing_else() {
    let seen: RefCell<BTreeMap<String, u32>> = RefCell::default();
    check_cases(CASES, templates::case, |case| {
        let objects = case.cluster.iter().map(|it| &it.0);
        let snapshot = stage::cluster(objects.clone());
        let answer = mutate(&request(case.old.as_ref(), &case.new.0), &snapshot);
        prop_assert!(answer.is_allowed);
        prop_assert!(!answer.audit.to_string().contains("=failed"), "{:?}", answer);
        for outcome in answer.audit["injections"].as_str().unwrap_or_default().split(',') {
            *seen.borrow_mut().entry(outcome.to_owned()).or_default() += 1;
        }
        prop_assert_eq!(mutate(&Request::update(&case.new.0, &case.new.0), &snapshot).patch, None);
        let Some(patch) = &answer.patch else { return Ok(()) };
        let result = patched(&case.new.0, patch);
        keeps_what_is_the_users(&case, &result)?;
        prop_assert!(refused(&result) <= refused(&case.new.0), "the API server would refuse {}", result);
        let again = mutate(&request(case.old.as_ref(), &result), &snapshot);
        prop_assert_eq!(again.patch, None, "a second pass patches again");
        let created = mutate(&request(None, &result), &snapshot);
        prop_assert_eq!(created.patch, None, "another cluster would patch the result again");
        Ok(())
    });
    let seen = seen.into_inner();
    let wanted = [
        "prestop=injected",
        "prestop=skipped",
        "prestop=would-inject",
        "grace=injected",
        "readiness=injected",
        "readiness=skipped",
        "handler-repair=injected",
        "handler-repair=skipped",
        "settings=ignored",
    ];
    // Of a hundred thousand cases some two hundred.
    let cases: u32 = seen.values().sum();
    let rare: Vec<&str> =
        wanted.into_iter().filter(|it| seen.get(*it).is_none_or(|count| count * 500 < cases)).collect();
    assert!(rare.is_empty(), "too rare: {rare:?} of {seen:#?}");
}

/// Annotations on the object itself, so that they beat everything else.
fn with_setting(object: &Object, key: &str, value: &str) -> Object {
    let mut object = object.clone();
    object.0["metadata"]["annotations"][format!("no502.dev/{key}")] = json!(value);
    object
}

#[test]
fn the_modes_that_inject_nothing_only_repair() {
    check_cases(CASES / 10, templates::case, |case| {
        let snapshot = stage::cluster(case.cluster.iter().map(|it| &it.0));
        let off = stage::policies([(Field::Enabled, FieldValue::Flag(false))]);
        let ask = |object: &Object, policies: &Policies| {
            ask(Half::Mutate, &request(case.old.as_ref(), &object.0), &snapshot, policies, stage::now())
        };
        let repairs = ask(&case.new, &off).patch;
        if let Some(patch) = &repairs {
            let result = patched(&case.new.0, patch);
            prop_assert_eq!(grace(&result), grace(&case.new.0));
            let hooks = |it: &Value| containers(it).iter().filter(|it| !it["lifecycle"]["preStop"].is_null()).count();
            prop_assert_eq!(hooks(&result), hooks(&case.new.0), "a hook was added or taken out");
        }
        for mode in ["disabled", "warn"] {
            let answer = ask(&with_setting(&case.new, "inject", mode), &Policies::default());
            prop_assert_eq!(&answer.patch, &repairs, "{}", mode);
            prop_assert!(!answer.warnings.iter().any(|it| it.contains(": added ")), "{:?}", answer.warnings);
        }
        Ok(())
    });
}

/// What was stored once is sent again by a client that knows nothing of us, under settings that have changed since.
#[test]
fn what_a_full_replacement_strips_comes_back_whatever_the_settings_are_by_now() {
    check_cases(CASES / 10, stored_case, |(case, preset)| {
        let Some((sent, stored, snapshot)) = stored(&case) else { return Ok(()) };
        is_as_before(&with_setting(&sent, "preset", preset), &stored, &snapshot)
    });
}

/// A manifest that sets its own grace period sends it with every sync, and nothing else.
#[test]
fn a_grace_period_that_is_sent_again_is_no_reason_for_a_rollout() {
    check_cases(CASES / 10, stored_case, |(case, preset)| {
        let Some((sent, stored, snapshot)) = stored(&case) else { return Ok(()) };
        let mut synced = with_setting(&stored, "preset", preset);
        let own = template(&sent.0)["spec"]["terminationGracePeriodSeconds"].clone();
        stage::set(&mut synced.0, "/spec/template/spec/terminationGracePeriodSeconds", &own);
        is_as_before(&synced, &stored, &snapshot)
    });
}

/// A manifest has our sleep in it, from `no502 fix` under earlier settings, and is synced again and again.
#[test]
fn a_fixed_manifest_that_is_sent_again_is_no_reason_for_a_rollout() {
    check_cases(CASES / 10, stored_case, |(case, preset)| {
        let Some((_, fixed, snapshot)) = stored(&case) else { return Ok(()) };
        let later = with_setting(&fixed, "preset", "gke-neg");
        let patch = mutate(&request(None, &later.0), &snapshot).patch;
        let live = Object(patch.map_or(later.0.clone(), |it| patched(&later.0, &it)));
        is_as_before(&with_setting(&fixed, "preset", preset), &live, &snapshot)
    });
}

fn stored_case(dice: &mut Dice) -> (Case, &'static str) {
    let preset = dice.pick(&["aws-nlb-ip", "in-cluster", "gke-neg"]);
    (templates::case(dice), preset)
}

/// A manifest, what becomes of it, and the cluster; `None` if no sleep and no probe is added.
fn stored(case: &Case) -> Option<(Object, Object, Snapshot)> {
    let mut sent = with_setting(&case.new, "inject", "enabled");
    sent.0["spec"]["template"]["metadata"]["annotations"] = json!({ "a": "b" });
    let snapshot = stage::cluster(case.cluster.iter().map(|it| &it.0));
    let patch = mutate(&request(None, &sent.0), &snapshot).patch?;
    let stored = Object(patched(&sent.0, &patch));
    let marker = template(&stored.0)["metadata"]["annotations"][MARKER].as_str()?.to_owned();
    marker.contains("containers").then_some((sent, stored, snapshot))
}

fn is_as_before(sent: &Object, live: &Object, snapshot: &Snapshot) -> Result<(), TestCaseError> {
    let answer = mutate(&request(Some(live), &sent.0), snapshot);
    let result = answer.patch.as_ref().map_or(sent.0.clone(), |it| patched(&sent.0, it));
    prop_assert_eq!(template(&result), template(&live.0), "a rollout of our own");
    prop_assert_eq!(answer.warnings.iter().filter(|it| it.contains(": added ")).count(), 0);
    Ok(())
}

#[test]
fn undo_takes_out_exactly_what_was_put_in() {
    check_cases(CASES / 10, templates::case, |case| {
        let mut sent = case.new.clone();
        sent.0["spec"]["template"]["metadata"]["annotations"] = Value::Null;
        let map = sent.0["spec"]["template"]["metadata"].as_object_mut().unwrap();
        map.remove("annotations");
        let snapshot = stage::cluster(case.cluster.iter().map(|it| &it.0));
        let Some(patch) = mutate(&request(None, &sent.0), &snapshot).patch else { return Ok(()) };
        let stored = patched(&sent.0, &patch);
        let Facts::Workload(workload) = stage::facts(&stored) else { panic!("not a workload") };
        let patch = undo(&workload).unwrap().expect("there is a marker");
        let undone = patched(&stored, &serde_json::to_value(&patch).unwrap());
        prop_assert_eq!(rest(&undone), rest(&sent.0));
        // What the API server refuses as it was sent was only accepted with the longer grace period.
        prop_assert!(grace(&undone) == grace(&sent.0) || !refusals(&sent.0).is_empty());
        prop_assert!(refusals(&undone).is_empty() || !refusals(&stored).is_empty(), "{}", undone);
        for (before, after) in containers(&sent.0).iter().zip(containers(&undone)) {
            prop_assert_eq!(&before["lifecycle"]["preStop"], &after["lifecycle"]["preStop"]);
            prop_assert_eq!(&before["readinessProbe"], &after["readinessProbe"]);
        }
        Ok(())
    });
}
