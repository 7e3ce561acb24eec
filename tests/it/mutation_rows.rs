//! Every row of section 11 of the reference on mutations, and what proves it: a case in `tests/fixtures/injections/`, a case of a rule
//! (`rule/case`), or a law (`fn name`). A row without proof, or a proof that is not there, fails; whether a proof is about its row is for
//! readers to see.

use std::{collections::BTreeSet, fs};

use crate::stage;

/// A row and its proofs beside the cases that name the row themselves.
const ROWS: &[(&str, &[&str])] = &[
    // 11.1, the settings
    ("11.1", &[]),
    ("11.1 enabled", &[]),
    ("11.1 mode", &[]),
    ("11.1 kinds", &[]),
    ("11.1 preset", &[]),
    ("11.1 preStop.sleepSeconds", &[]),
    ("11.1 preStop.execFallback", &[]),
    ("11.1 appDrainSeconds", &[]),
    ("11.1 maxGraceSeconds", &["capped", "capped-to-nothing", "capped-own-grace-longer"]),
    ("11.1 readiness.mode", &[]),
    ("11.1 readiness.port", &[]),
    ("11.1 readiness values", &[]),
    ("11.1 excludeContainers", &[]),
    ("11.1 skipOwned", &["owned", "owned-without-controller"]),
    // 11.2, the algorithm
    (
        "11.2 step 0",
        &[
            "delete",
            "deleting",
            "kind-pod",
            "kind-replicaset",
            "kind-job",
            "namespace-kube-system",
            "namespace-of-no502",
        ],
    ),
    ("11.2 step 1", &["fn an_equal_template_is_never_patched"]),
    ("11.2 step 2", &[]),
    ("11.2 step 3", &["repair", "repair-http", "repair-without-marker", "repair-marker-only-in-old"]),
    ("11.2 step 4", &["recreate", "grace-zero", "grace-one", "grace-two"]),
    ("11.2 step 5", &["no-service-no-ports", "only-port-metrics", "only-port-udp", "service-without-declared-ports"]),
    ("11.2 step 6", &["several-containers", "native-sidecar-and-init-untouched", "server-1-29", "kubelet-1-28"]),
    ("11.2 step 7", &[]),
    ("11.2 step 8", &["fn the_modes_that_inject_nothing_only_repair"]),
    ("11.2 step 9", &["fn what_a_full_replacement_strips_comes_back_whatever_the_settings_are_by_now"]),
    ("11.2 step 10", &["create", "fn every_injection_is_as_the_file_says"]),
    // 11.3, the warnings
    ("11.3 added preStop", &["create", "preset-aws-alb-ip"]),
    ("11.3 added TCP readiness", &["readiness-inject"]),
    ("11.3 no readinessProbe", &["readiness-missing/"]),
    ("11.3 explicit grace", &[]),
    ("11.3 strategy Recreate", &["recreate"]),
    ("11.3 starts shutdown at once", &["prestop-no-delay/"]),
    ("11.3 shorter than the namespace's", &["prestop-no-delay/"]),
    ("11.3 nodes older", &["kubelet-1-28"]),
    ("11.3 istio classic sidecar", &["mesh-sidecar-exits-first/"]),
    ("11.3 publishes not-ready addresses", &["publish-not-ready-exposed/"]),
    ("11.3 removed", &["repair"]),
    ("11.3 template unchanged", &["fn the_hint_to_restart_is_given_on_request_only"]),
    ("11.3 would", &["mode-warn-everything"]),
    // 11.4, never
    ("11.4 lower", &["grace-longer", "fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.4 overwrite", &["own-http-hook", "all-with-their-own-hooks"]),
    ("11.4 guess an HTTP path", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.4 inject liveness or startup", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.4 touch other kinds and subresources", &["kind-replicaset", "kind-job", "kind-pod", "subresource"]),
    ("11.4 touch native sidecars", &["native-sidecar-and-init-untouched"]),
    ("11.4 change an unchanged template", &["fn an_equal_template_is_never_patched"]),
    ("11.4 reject", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.4 send test operations", &["fn every_injection_is_as_the_file_says"]),
    ("11.4 depend on call order", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    // 11.5, the properties
    ("11.5 idempotence", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.5 template equal", &["fn an_equal_template_is_never_patched"]),
    ("11.5 monotone grace", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.5 allowed paths", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.5 API rules", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.5 user fields", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.5 strip", &["fn what_a_full_replacement_strips_comes_back_whatever_the_settings_are_by_now"]),
    ("11.5 two-handler repair", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.5 unknown fields", &["fn a_patch_does_what_it_may_and_nothing_else"]),
    ("11.5 256 containers", &[]),
    ("11.5 garbage annotations", &["fn a_patch_does_what_it_may_and_nothing_else", "marker-garbage"]),
];

/// The rows that a case names: `rows: ["11.1 mode"]`.
fn named_by(case: &str) -> Vec<String> {
    let line = case.lines().find_map(|it| it.strip_prefix("rows: ")).unwrap_or("[]");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn every_row_of_the_reference_is_proven() {
    let cases = stage::files(&stage::folder("fixtures/injections"), ".yaml");
    let named: BTreeSet<String> = cases.iter().flat_map(|it| named_by(&stage::read(it))).collect();
    let unknown: Vec<&String> = named.iter().filter(|it| !ROWS.iter().any(|(row, _)| row == it)).collect();
    assert!(unknown.is_empty(), "cases name rows that are not in the list: {unknown:?}");
    let sources: String = stage::files(&stage::folder("it"), ".rs").iter().map(|it| stage::read(it)).collect();
    let mut faults = Vec::new();
    for (row, proofs) in ROWS {
        if proofs.is_empty() && !named.contains(*row) {
            faults.push(format!("{row}: no case names it"));
        }
        for proof in *proofs {
            let is_there = match (proof.strip_prefix("fn "), proof.strip_suffix('/')) {
                (Some(name), _) => sources.contains(&format!("#[test]\nfn {name}()")),
                (None, Some(rule)) => fs::read_dir(stage::folder("fixtures").join(rule)).is_ok_and(|it| it.count() > 1),
                (None, None) => stage::folder("fixtures/injections").join(format!("{proof}.yaml")).exists(),
            };
            if !is_there {
                faults.push(format!("{row}: {proof} is not there"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
