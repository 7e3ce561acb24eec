//! A made-up proof, of about the size and the shape of a real one, for tests.

use super::super::outcome::{End, Mark, Path, Proof, Request, Row, Run};

const START: u64 = 1_795_000_000_000;

/// A run with this many requests, at 200 a second, of which the first ones fail.
pub(super) fn run(requests: usize, failures: &[(End, usize)]) -> Run {
    let ends = failures.iter().flat_map(|(end, count)| std::iter::repeat_n(*end, *count));
    let ends = ends.chain(std::iter::repeat(End::Ok)).take(requests);
    let times = (START..).step_by(5);
    let requests: Vec<_> = times.zip(ends).map(|(at, end)| Request { at, took_ms: 3, end }).collect();
    let end = requests.last().map_or(START, |last| last.at + 5);
    Run { start: START, end, paths: vec![Path { name: "Ingress", requests }], ..Run::default() }
}

pub(super) fn row(id: &'static str, without: Vec<Run>, with: Vec<Run>) -> Row {
    Row { id, title: "what is `done`", note: None, without, with, is_promise: true }
}

/// Numbers that look like chance and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What fails in a stretch of time: one request in so many, of one of these causes.
struct Trouble(u64, u64, u64, &'static [End]);

fn played(seed: u64, seconds: u64, marks: &[(u64, &str)], troubles: &[Trouble]) -> Run {
    let mut dice = Dice(seed);
    let mut path = |name, interval: u64| {
        let due = (0..seconds * 1000).step_by(usize::try_from(interval).unwrap());
        let requests = due.map(|ms| {
            let hit = troubles.iter().find(|trouble| (trouble.0..trouble.1).contains(&ms) && dice.roll(trouble.2) == 0);
            let end =
                hit.map_or(End::Ok, |trouble| trouble.3[usize::try_from(dice.roll(trouble.3.len() as u64)).unwrap()]);
            Request { at: START + ms, took_ms: 2 + u32::try_from(dice.roll(9)).unwrap(), end }
        });
        Path { name, requests: requests.collect() }
    };
    let paths = vec![path("Ingress", 10), path("Service", 10)];
    let marks = marks.iter().map(|(ms, what)| Mark { at: START + ms, what: (*what).to_owned() }).collect();
    Run { start: START, end: START + seconds * 1000, marks, paths, ..Run::default() }
}

const ROLLING: [End; 4] = [End::Status(503), End::Status(503), End::Refused, End::Reset];

fn restart(seed: u64, is_with: bool) -> Run {
    let pods = [
        "pod shop-7d9f6c5b44-x2x9k deleted",
        "pod shop-7d9f6c5b44-q8w7r deleted",
        "pod shop-7d9f6c5b44-m4zjl deleted",
        "pod shop-7d9f6c5b44-b6k2v deleted",
    ];
    let pause = if is_with { 1900 } else { 1400 };
    let mut marks = vec![(5000, "kubectl rollout restart")];
    marks.extend((0..).zip(pods).map(|(index, pod)| (6200 + index * pause + seed * 37, pod)));
    marks.push((if is_with { 25_400 } else { 13_300 }, "rollout complete"));
    let troubles: Vec<_> = marks[1..5].iter().map(|(at, _)| Trouble(*at, at + 120 + seed * 31, 3, &ROLLING)).collect();
    played(seed, 40, &marks, if is_with { &[] } else { &troubles })
}

fn slow(is_with: bool) -> Run {
    let marks = [
        (5000, "kubectl rollout restart"),
        (6000, "pod shop-1 deleted"),
        (6100, "pod shop-2 deleted"),
        (14_000, "rollout complete"),
    ];
    let troubles = [Trouble(5600, 9000, 2, &[End::Status(503)]), Trouble(9000, 14_000, 5, &ROLLING)];
    played(9, 45, &marks, if is_with { &[] } else { &troubles })
}

fn cut(is_with: bool) -> Run {
    let marks = [(5000, "kubectl rollout restart"), (16_000, "rollout complete")];
    let troubles =
        [Trouble(6000, 15_000, 40, &[End::Reset, End::Status(502)]), Trouble(15_000, 15_400, 9, &[End::Timeout])];
    played(11, 50, &marks, if is_with { &[] } else { &troubles })
}

fn outage(is_with: bool) -> Run {
    let marks = [(5000, "kubectl apply, selector app=shpo"), (20_000, "kubectl apply, as it was")];
    let troubles = [Trouble(5300, 20_500, 1, &[End::Status(503), End::Status(503), End::Refused])];
    if is_with {
        let message = "Error from server (Forbidden): error when applying patch:\n{\"spec\":{\"selector\":{\"app\":\"shpo\"}}}\nadmission webhook \"validate.no502.dev\" denied the request: Service \"shop\" spec.selector: selector app=shpo matches no pod or workload any more (it matched Deployment \"shop\"); did you mean \"app: shop\" (Deployment \"shop\")? [service-selects-nothing]\n";
        return Run { message: Some(message.to_owned()), ..played(3, 25, &marks[..1], &[]) };
    }
    played(3, 25, &marks, &troubles)
}

fn writes() -> Run {
    let mut run = played(
        5,
        30,
        &[(4000, "rollout restart of no502"), (4900, "pod no502-a deleted"), (18_000, "rollout complete")],
        &[],
    );
    run.paths.truncate(1);
    run.paths[0].name = "writes";
    run
}

/// Twelve rows with all there can be in them.
pub(super) fn proof() -> Proof {
    let restarts = |is_with| (1..=5).map(|seed| restart(seed, is_with)).collect();
    let row = |id, title, note, without, with| Row { id, title, note, without, with, is_promise: true };
    let quiet = || played(21, 20, &[(5000, "kubectl scale --replicas=2"), (7000, "scaled")], &[]);
    let failing = Run {
        faults: vec!["the write <script>alert(1)</script> | went through".to_owned()],
        ..played(22, 20, &[(5000, "node drained")], &[Trouble(5200, 5600, 4, &ROLLING)])
    };
    Proof {
        date: "2026-11-26".to_owned(),
        versions: [
            ("Kubernetes", "1.37.2"),
            ("containerd", "2.3.1"),
            ("Contour", "1.34.0"),
            ("Envoy", "1.37.1"),
            ("no502", "0.1.0"),
        ]
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .into(),
        machine: "2 cores, 23 GiB, Linux 6.18".to_owned(),
        rows: vec![
            row(
                "restart",
                "`kubectl rollout restart`, app exits at once, no probe, no preStop",
                Some(
                    "Envoy's retries are off; with them on, some of the 503 would be hidden and the resets would not.",
                ),
                restarts(false),
                restarts(true),
            ),
            row("slow-start", "the same, slow start, readiness injected", None, vec![slow(false)], vec![slow(true)]),
            row(
                "long",
                "the same with 2 s requests and `terminationGracePeriodSeconds: 5`",
                None,
                vec![cut(false)],
                vec![cut(true)],
            ),
            row("scale", "scale 6 -> 2 under load", None, vec![quiet()], vec![quiet()]),
            row(
                "selector",
                "`kubectl apply` with a typo in the Service selector",
                Some("Undone after 15 s."),
                vec![outage(false)],
                vec![outage(true)],
            ),
            row(
                "self",
                "rolling restart of no502 itself while 20 writes a second are admitted",
                None,
                Vec::new(),
                vec![writes()],
            ),
            Row {
                is_promise: false,
                ..row(
                    "force",
                    "`kubectl delete pod --force`: *nothing* can help | here",
                    Some("A forced deletion gives no time."),
                    vec![failing.clone()],
                    vec![failing],
                )
            },
            row("empty", "nothing <script>at</script> all", None, Vec::new(), Vec::new()),
        ],
    }
}
