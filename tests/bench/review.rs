//! What a review and the snapshot behind it cost, beside the targets: `cargo bench --bench review`, about a minute. Times are only
//! good as ratios of one run; allocations and bytes are exact. A missed target is printed and fails nothing.

#![expect(clippy::print_stdout, reason = "the table is the product")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "small numbers"
)]

mod fixture;
mod measure;
mod policies;
mod table;

use jiff::Timestamp;
use no502::{
    facts::Labels,
    policy::Policies,
    review::{Half, Reply, review},
    snapshot::{self, Snapshot, Store},
};
use serde::de::IgnoredAny;

use self::{
    fixture::{Change, DEPLOYMENT, INGRESS, Listed, POD, PODS, SERVICE, SUBJECT, WORKLOADS, World},
    measure::{allocations, compare, live_bytes, repeat},
    table::{Target, duration, line, section},
};

const SPREAD: World = World { namespaces: 100, has_unique_labels: false };
const CROWDED: World = World { namespaces: 1, has_unique_labels: false };
const UNIQUE: World = World { namespaces: 100, has_unique_labels: true };

const RATIO: Target = Target { text: "T2 <= 1.8", max: 1.8 };
const ALLOCATIONS: Target = Target { text: "T3 <= 40", max: 40.0 };
const POD_BYTES: Target = Target { text: "T10 <= 512 (stretch 200)", max: 512.0 };
const TEMPLATE_BYTES: Target = Target { text: "T10 <= 2048", max: 2048.0 };
const LOOKUP_RATIO: Target = Target { text: "T12 <= 2", max: 2.0 };
const LOOKUP_NS: Target = Target { text: "T12 <= 200 ns", max: 200.0 };

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing measured: this is a benchmark, run it with cargo bench --bench review");
        return;
    }
    println!(
        "best (median) of interleaved rounds; ratio to one serde_json pass that keeps nothing, over the same bytes"
    );
    memory();
    let (spread, crowded) = (fixture::full_store(SPREAD).snapshot(), fixture::full_store(CROWDED).snapshot());
    reviews("reviews, 10,000 pods in 100 namespaces", SPREAD, &spread);
    reviews("reviews, 10,000 pods in one namespace", CROWDED, &crowded);
    lookups(&spread, &crowded);
    publishing();
    policies::policies();
    policies::previews(SPREAD);
    policies::audits();
}

/// One kind of review.
struct Case {
    name: &'static str,
    half: Half,
    change: Change,
    /// Both containers have a preStop already.
    pre_stop: bool,
    patches: bool,
}

const CASES: [Case; 5] = [
    Case {
        name: "validate, template unchanged",
        half: Half::Validate,
        change: Change::Scale,
        pre_stop: false,
        patches: false,
    },
    Case {
        name: "validate, template changed",
        half: Half::Validate,
        change: Change::Image,
        pre_stop: false,
        patches: false,
    },
    Case {
        name: "mutate, template unchanged",
        half: Half::Mutate,
        change: Change::Scale,
        pre_stop: false,
        patches: false,
    },
    Case {
        name: "mutate, template changed, nothing to do",
        half: Half::Mutate,
        change: Change::Image,
        pre_stop: true,
        patches: false,
    },
    Case {
        name: "mutate, template changed, injection",
        half: Half::Mutate,
        change: Change::Image,
        pre_stop: false,
        patches: true,
    },
];

fn reviews(title: &str, world: World, snapshot: &Snapshot) {
    section(title);
    let (policies, now) = (Policies::default(), Timestamp::UNIX_EPOCH);
    for case in &CASES {
        let body = fixture::review(world, case.change, case.pre_stop);
        let decide = || review(case.half, &body, snapshot, &policies, now).expect("a fixture is a review");
        check(case, &decide());
        let pass = || serde_json::from_slice::<IgnoredAny>(&body).is_ok();
        let it = compare(pass, decide);
        let value = format!(
            "{} ({}), {:.2}x ({:.2}x) of {}",
            duration(it.subject.best_ns),
            duration(it.subject.median_ns),
            it.best_ratio,
            it.median_ratio,
            duration(it.base.best_ns)
        );
        line(&format!("{}, {} B", case.name, body.len()), &value, it.best_ratio, Some(RATIO));
        let counted = allocations(decide);
        let value = format!("{} allocations, {} B", counted.count, counted.bytes);
        line("", &value, counted.count as f64, Some(ALLOCATIONS));
    }
}

/// A benchmark of something else than it says is worse than none.
fn check(case: &Case, reply: &Reply) {
    let has_patch = String::from_utf8_lossy(&reply.body).contains("\"patch\"");
    assert!(reply.summary.allowed && has_patch == case.patches, "{}: {reply:?}", case.name);
}

fn memory() {
    section("memory: store and snapshot, live bytes an object");
    let print = |name: &str, bytes: usize, target: Option<Target>| {
        line(name, &format!("{bytes} B"), bytes as f64, target);
    };
    let mut store = fixture::empty_store();
    print("pod", growth(&mut store, POD, SPREAD.pods()) / PODS, Some(POD_BYTES));
    print("template", growth(&mut store, DEPLOYMENT, SPREAD.deployments()) / WORKLOADS, Some(TEMPLATE_BYTES));
    print("Service", growth(&mut store, SERVICE, SPREAD.services()) / WORKLOADS, None);
    print("Ingress", growth(&mut store, INGRESS, SPREAD.ingresses()) / WORKLOADS, None);
    let unique = growth(&mut fixture::empty_store(), POD, UNIQUE.pods()) / PODS;
    print("pod with labels of its own, as of a StatefulSet", unique, Some(POD_BYTES));
}

/// Live bytes that a list brings to a store and its snapshot.
fn growth(store: &mut Store, listed: Listed, objects: impl Iterator<Item = String>) -> usize {
    let before = live_bytes();
    listed.load(store, objects);
    let snapshot = store.snapshot();
    let after = live_bytes();
    drop(snapshot);
    after - before
}

fn lookups(spread: &Snapshot, crowded: &Snapshot) {
    section("pods of a selector with two labels");
    let selector: Labels = fixture::selector(SUBJECT).into_iter().collect();
    let [(few, few_namespace), (many, many_namespace)] = [(spread, SPREAD), (crowded, CROWDED)]
        .map(|(snapshot, it)| (snapshot::World::of(snapshot), it.namespace(SUBJECT)));
    let found = |world: &snapshot::World<'_>, namespace: &str| world.selection(namespace, &selector).sets.len();
    assert_eq!((found(&few, &few_namespace), found(&many, &many_namespace)), (2, 2), "a template and its pods");
    let it = compare(|| found(&few, &few_namespace), || found(&many, &many_namespace));
    line("100 pods in the namespace", &duration(it.base.best_ns), it.base.best_ns, Some(LOOKUP_NS));
    line("10,000 pods in the namespace", &duration(it.subject.best_ns), it.subject.best_ns, Some(LOOKUP_NS));
    let value = format!("{:.2}x ({:.2}x)", it.best_ratio, it.median_ratio);
    line("ratio", &value, it.best_ratio, Some(LOOKUP_RATIO));
}

fn publishing() {
    section("writing to the store");
    for (name, world) in [("10,000 pods in 100 namespaces", SPREAD), ("10,000 pods in one namespace", CROWDED)] {
        let mut store = fixture::full_store(world);
        let pods: Vec<String> = world.pods().collect();
        store.snapshot();
        let load = repeat(3, || {
            let mut store = fixture::empty_store();
            for json in &pods {
                POD.apply(&mut store, json);
            }
            store.snapshot()
        });
        line(
            &format!("first load, {name}"),
            &format!("{}, {} a pod", duration(load.best_ns), duration(load.best_ns / PODS as f64)),
            0.0,
            None,
        );
        let mut generation = 0;
        let publish = repeat(15, || {
            generation += 1;
            POD.apply(&mut store, &fixture::pod(world, SUBJECT, 0, generation));
            store.snapshot()
        });
        let value = format!("{} ({})", duration(publish.best_ns), duration(publish.median_ns));
        line(&format!("snapshot after one changed pod, {name}"), &value, 0.0, None);
    }
}
