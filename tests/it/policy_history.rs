//! An audit goes by what is there, and not by how it came there.

use std::collections::BTreeMap;

use no502::policy::{Installation, PolicyName, PolicyStore, Used, audit};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    policy_audit::{days, deployment, exemption, in_force, named, namespace, policy, service, set_namespaces},
    properties::check_cases,
    stage::{cluster, now},
    worlds::Dice,
};

/// What is known after many changes is what a process knows that starts anew.
#[test]
fn an_audit_does_not_depend_on_what_was_before() {
    const HISTORIES: u32 = 200;
    const CHANGES: usize = 30;
    let world = [
        namespace("shop", &json!({ "team": "a" })),
        namespace("till", &json!({ "team": "b" })),
        namespace("kube-system", &json!({ "team": "a" })),
        deployment("shop", "web"),
        deployment("till", "web"),
        service("shop", "ghost", "gone"),
    ];
    let snapshot = cluster(&world);
    check_cases(
        HISTORIES,
        |dice| dice.clone(),
        |mut dice| {
            let mut store = PolicyStore::new(Installation::default());
            set_namespaces(&mut store, &world);
            let mut objects: BTreeMap<PolicyName, Value> = BTreeMap::new();
            for change in 0..CHANGES {
                let place = dice.pick(&["", "", "shop", "till"]);
                let name = named(place, dice.pick(&["a", "b", "c", "d", "e"]));
                if dice.chance(30) {
                    store.remove(&name);
                    objects.remove(&name);
                } else {
                    let object =
                        policy(place, &name.name, i64::try_from(change).unwrap(), &random_spec(&mut dice, place));
                    store.apply(&object);
                    objects.insert(name, object);
                }
                let grown = audit(&store.policies(), &snapshot, &Used::default(), now());
                let objects: Vec<Value> = objects.values().cloned().collect();
                let fresh = audit(&in_force(&world, &objects), &snapshot, &Used::default(), now());
                prop_assert_eq!(grown, fresh, "change {}: {:?}", change, objects);
            }
            Ok(())
        },
    );
}

/// One that can be read: of those that cannot, the last good version depends on what was before.
fn random_spec(dice: &mut Dice, place: &str) -> Value {
    let mut spec = json!({ "priority": dice.pick(&[0, 0, 1, 2]) });
    if dice.chance(70) {
        spec["settings"]["profile"] = json!(dice.pick(&["advise", "standard", "strict"]));
    }
    if dice.chance(50) {
        spec["settings"]["injection"]["preStop"]["sleepSeconds"] = json!(dice.pick(&[5, 10, 60]));
    }
    if !place.is_empty() {
        if dice.chance(40) {
            spec["workloadSelector"] = json!({ "matchLabels": { "app": "web" } });
        } else if dice.chance(60) {
            let kind = dice.pick(&[("service-selects-nothing", "Service"), ("probe-port-unresolved", "Deployment")]);
            spec["exemptions"] = json!([exemption(kind.0, kind.1, "*", &days(dice.pick(&[-1, 3, 90])))]);
        }
        return spec;
    }
    if dice.chance(60) {
        spec["namespaceSelector"] = json!({ "matchLabels": { "team": dice.pick(&["a", "b", "c"]) } });
    }
    if dice.chance(30) {
        let field = "injection.preStop.sleepSeconds";
        spec["bounds"] = json!([{ "field": field, "min": dice.pick(&[1, 20]), "max": dice.pick(&[30, 20]) }]);
    }
    if dice.chance(30) {
        spec["locked"] = json!([dice.pick(&["profile", "exemptions", "actions"])]);
    }
    spec
}
