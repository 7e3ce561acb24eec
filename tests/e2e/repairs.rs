//! Handler repair: whichever way a Deployment is written, what no502 has added never stands in the way of what its user
//! adds. The API server refuses two handlers in one hook, and most ways of writing keep the fields that they did not set.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::Version,
    no502::{No502, soon},
    random::Random,
    rollouts::{MARKER, Rollouts},
    room::{EXEMPT_NAMESPACE, PATIENCE, Room, Said, service},
    trial::E2e,
    ways::{Change, Subject, Way, podless, second_image},
};

const STEPS: u32 = 60;
const SEED: u64 = 502;

pub(crate) fn trials() -> Vec<E2e> {
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::guarded("apply", &Version::ALL, |it| all_rows(it, Way::Apply)),
        E2e::guarded("server_side_apply", &Version::ALL, |it| all_rows(it, Way::ServerSideApply)),
        E2e::guarded("forced_server_side_apply", NEWEST, |it| all_rows(it, Way::ForcedServerSideApply)),
        E2e::guarded("kustomize", NEWEST, |it| all_rows(it, Way::Kustomize)),
        E2e::guarded("helm", NEWEST, |it| all_rows(it, Way::Helm)),
        E2e::guarded("helm_client_side", NEWEST, |it| all_rows(it, Way::HelmClientSide)),
        E2e::guarded("replace_by_file", NEWEST, |it| all_rows(it, Way::ReplaceByFile)),
        E2e::guarded("replace", NEWEST, |it| all_rows(it, Way::Replace)),
        E2e::guarded("edit", NEWEST, |it| all_rows(it, Way::Edit)),
        E2e::guarded("strategic_patch", NEWEST, |it| all_rows(it, Way::StrategicPatch)),
        E2e::guarded("merge_patch", NEWEST, |it| all_rows(it, Way::MergePatch)),
        E2e::guarded("json_patch", NEWEST, |it| all_rows(it, Way::JsonPatch)),
        E2e::guarded("json_patch_of_whole_hook", NEWEST, |it| all_rows(it, Way::JsonPatchOfWholeHook)),
        E2e::guarded("commands_in_between", NEWEST, commands_in_between),
        E2e::guarded("without_the_marker", NEWEST, without_the_marker),
        E2e::guarded("sixty_random_writes", NEWEST, sixty_random_writes),
    ]
}

/// One change that users make, and what has to come of it whichever way it is written.
struct Row {
    name: &'static str,
    change: Change,
    /// Takes it back, after which the Deployment is as it was.
    back: Option<Change>,
    /// The hook of the first container.
    hook: Hook,
    /// The only handler of the first container's readiness probe.
    probe: Probe,
    /// Ways that have no means to make it.
    not_by: fn(Way) -> bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hook {
    /// The user's handler of that name.
    Own(&'static str),
    /// no502's sleep.
    Injected,
    /// A sleep of this many seconds that the marker does not claim.
    OwnSleep(i64),
    /// The same as before, whoever it belongs to now.
    Stays,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// No Service sends to the pods.
    None,
    /// no502's check.
    Injected,
    /// The user's handler of that name.
    Own(&'static str),
}

/// A Service sends to the pods of the rows with these names.
const SERVED: [&str; 4] = ["ready-http", "ready-tcp", "ready-exec", "both"];

#[rustfmt::skip]
const ROWS: [Row; 13] = [
    row("exec", add_exec, Some(remove_hook), Hook::Own("exec"), Probe::None, none),
    row("http", add_http, Some(remove_hook), Hook::Own("httpGet"), Probe::None, none),
    row("sleep", add_sleep, Some(remove_hook), Hook::OwnSleep(3), Probe::None, none),
    row("ready-http", probe_http, Some(remove_probe), Hook::Injected, Probe::Own("httpGet"), none),
    row("ready-exec", probe_exec, Some(remove_probe), Hook::Injected, Probe::Own("exec"), none),
    row("ready-tcp", probe_tcp, Some(remove_probe), Hook::Injected, Probe::Own("tcpSocket"), none),
    row("both", add_both, Some(remove_both), Hook::Own("exec"), Probe::Own("httpGet"), none),
    row("grace", lower_grace, None, Hook::Injected, Probe::None, none),
    row("container", add_container, None, Hook::Injected, Probe::None, none),
    row("image", second_image, None, Hook::Injected, Probe::None, none),
    row("rename", rename_container, None, Hook::Injected, Probe::None, sends_stored_hooks),
    // The sleep comes with what the user sends, so it is the user's in a container that is new.
    row("renamed", rename_container, None, Hook::Stays, Probe::None, |way| !sends_stored_hooks(way)),
    // Who takes out the marker alone makes everything his own.
    row("unmark", remove_marker, None, Hook::Stays, Probe::None, Way::is_declarative),
];

const fn row(
    name: &'static str,
    change: Change,
    back: Option<Change>,
    hook: Hook,
    probe: Probe,
    not_by: fn(Way) -> bool,
) -> Row {
    Row { name, change, back, hook, probe, not_by }
}

fn none(_: Way) -> bool {
    false
}

/// The user starts from what is stored, our sleep in it, or says only what changes in it.
fn sends_stored_hooks(way: Way) -> bool {
    matches!(way, Way::Replace | Way::Edit | Way::JsonPatch | Way::JsonPatchOfWholeHook)
}

fn spec(object: &mut Value) -> &mut Value {
    &mut object["spec"]["template"]["spec"]
}

fn first(object: &mut Value) -> &mut Value {
    &mut spec(object)["containers"][0]
}

/// A user's other handler goes, one that the user never wrote stays beside it.
fn set_handler(hook: &mut Value, name: &str, handler: Value) {
    for own in ["exec", "httpGet"] {
        if own != name && !hook[own].is_null() {
            hook[own] = Value::Null;
        }
    }
    hook[name] = handler;
}

fn set_hook(object: &mut Value, name: &str, handler: Value) {
    set_handler(&mut first(object)["lifecycle"]["preStop"], name, handler);
}

fn add_exec(object: &mut Value) {
    set_hook(object, "exec", json!({"command": ["/bin/drain"]}));
}

fn add_http(object: &mut Value) {
    set_hook(object, "httpGet", json!({"path": "/drain", "port": 8080}));
}

fn add_sleep(object: &mut Value) {
    set_hook(object, "sleep", json!({"seconds": 3}));
}

fn remove_hook(object: &mut Value) {
    first(object)["lifecycle"] = Value::Null;
}

fn set_probe(object: &mut Value, name: &str, handler: Value) {
    set_handler(&mut first(object)["readinessProbe"], name, handler);
}

fn probe_http(object: &mut Value) {
    set_probe(object, "httpGet", json!({"path": "/ready", "port": 8080}));
}

fn probe_exec(object: &mut Value) {
    set_probe(object, "exec", json!({"command": ["/bin/ready"]}));
}

/// The same kind as ours, of another port.
fn probe_tcp(object: &mut Value) {
    set_probe(object, "tcpSocket", json!({"port": 9090}));
}

fn remove_probe(object: &mut Value) {
    first(object)["readinessProbe"] = Value::Null;
}

fn add_both(object: &mut Value) {
    add_exec(object);
    probe_http(object);
}

fn remove_both(object: &mut Value) {
    remove_hook(object);
    remove_probe(object);
}

/// 35 s are less than what the sleep of 10 s needs.
fn lower_grace(object: &mut Value) {
    spec(object)["terminationGracePeriodSeconds"] = json!(35);
}

fn add_container(object: &mut Value) {
    let containers = &mut spec(object)["containers"];
    let is_there = containers.as_array().is_some_and(|it| it.iter().any(|it| it["name"] == "side"));
    if let (false, Some(containers)) = (is_there, containers.as_array_mut()) {
        containers.push(json!({"name": "side", "image": "example.invalid/side:1"}));
    }
}

fn rename_container(object: &mut Value) {
    first(object)["name"] = json!("renamed");
}

fn remove_marker(object: &mut Value) {
    object["spec"]["template"]["metadata"]["annotations"][MARKER] = Value::Null;
}

/// A namespace that asks for readiness probes, with Services for the rows about them.
fn room_with_probes<'a>(no502: &'a No502, served: &[&str]) -> anyhow::Result<Room<'a>> {
    let room = Room::new(no502)?;
    room.kubectl(&format!("annotate namespace {} no502.dev/readiness=inject", room.name))?.quiet()?;
    let service = |name: &&str| service(name, &format!("app: {name}"), "{port: 80, targetPort: 8080}");
    room.apply(&served.iter().map(service).collect::<String>())?.done()?;
    soon("no502 knows the namespace and its Services", PATIENCE, || {
        for name in served {
            let question = Subject::new(&no502.cluster, &room.name, podless(name))?;
            let said = question.kubectl("create --dry-run=server -f -", Some(&question.file))?;
            ensure!(said.0.stderr.contains("TCP readiness"), "{said}");
        }
        Ok(())
    })?;
    Ok(room)
}

fn all_rows(no502: &No502, way: Way) -> anyhow::Result<()> {
    let room = room_with_probes(no502, &SERVED)?;
    let failures: Vec<String> = ROWS
        .iter()
        .filter(|row| !(row.not_by)(way))
        .filter_map(|row| one_row(&room, way, row).err().map(|error| format!("row {}: {error:#}", row.name)))
        .collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

fn one_row(room: &Room<'_>, way: Way, row: &Row) -> anyhow::Result<()> {
    let mut subject = Subject::new(&room.no502.cluster, &room.name, podless(row.name))?;
    subject.create(way)?.done()?;
    let before = Rollouts::of(room, row.name)?;
    let injected = if SERVED.contains(&row.name) { Probe::Injected } else { Probe::None };
    let hook_and_probe = |now: &Rollouts, hook: Hook, probe: Probe| {
        is_as_expected(now, hook, &before)?;
        has_probe(now, probe)
    };
    hook_and_probe(&before, Hook::Injected, injected)?;

    let after = write_and_repeat(room, &mut subject, way, row.name, row.change, &before)?;
    hook_and_probe(&after, row.hook, row.probe)?;
    let Some(back) = row.back else { return Ok(()) };
    let again = write_and_repeat(room, &mut subject, way, row.name, back, &after).context("taken back")?;
    hook_and_probe(&again, Hook::Injected, injected).context("taken back")?;
    ensure!(without_marker(&again.template) == without_marker(&before.template), "it is not as before: {again:?}");
    Ok(())
}

/// Makes a change, which is at most one rollout, and makes it again, which is nothing.
fn write_and_repeat(
    room: &Room<'_>,
    subject: &mut Subject<'_>,
    way: Way,
    name: &str,
    change: Change,
    before: &Rollouts,
) -> anyhow::Result<Rollouts> {
    subject.write(way, change)?.done()?;
    let after = Rollouts::of(room, name)?;
    is_sound(&after)?;
    ensure!(
        after.replica_sets.len() <= before.replica_sets.len() + 1 && after.generation <= before.generation + 1,
        "more than one rollout: {before:?}\n{after:?}"
    );
    subject.write(way, change)?.done().context("repeated")?;
    let repeated = Rollouts::of(room, name)?;
    // `kubectl replace` strips the annotation of the Deployment's controller, or brings kubectl's own up to date: a new
    // generation and no rollout.
    let is_replace = matches!(way, Way::Replace | Way::ReplaceByFile);
    let generation = if is_replace { repeated.generation } else { after.generation };
    repeated.must_be(&Rollouts { generation, ..after }, "repeated")?;
    Ok(repeated)
}

/// What holds for every Deployment at any time: one handler a hook, and a marker that claims only what is there.
fn is_sound(now: &Rollouts) -> anyhow::Result<()> {
    let marker: Value = if now.marker().is_empty() { json!({}) } else { serde_json::from_str(now.marker())? };
    let containers = now.template["spec"]["containers"].as_array().context("no containers")?;
    for container in containers {
        for hook in [&container["lifecycle"]["preStop"], &container["readinessProbe"]] {
            ensure!(hook.is_null() || handlers(hook).len() == 1, "not one handler: {hook}");
        }
    }
    for (name, claim) in marker["containers"].as_object().into_iter().flatten() {
        let container = containers.iter().find(|it| it["name"] == name.as_str());
        let container = container.with_context(|| format!("the marker claims a container {name}: {marker}"))?;
        let hook = &container["lifecycle"]["preStop"];
        let is_right = claim["preStop"].is_null() || *hook == json!({"sleep": {"seconds": claim["preStop"]}});
        let probe = &container["readinessProbe"]["tcpSocket"]["port"];
        let is_right = is_right && (claim["readiness"].is_null() || claim["readiness"] == *probe);
        ensure!(is_right, "the marker claims what is not there: {marker}, {container}");
    }
    Ok(())
}

fn handlers(hook: &Value) -> BTreeMap<&'static str, &Value> {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    kinds.into_iter().filter_map(|it| Some((it, hook.get(it)?))).collect()
}

fn is_as_expected(now: &Rollouts, expected: Hook, before: &Rollouts) -> anyhow::Result<()> {
    let claims_first = |now: &Rollouts| {
        let name = now.template["spec"]["containers"][0]["name"].as_str().unwrap_or_default().to_owned();
        now.marker().contains(&format!("\"{name}\":"))
    };
    let hook = now.hook();
    let is_right = match expected {
        Hook::Own(handler) => hook.get(handler).is_some() && !claims_first(now),
        Hook::OwnSleep(seconds) => *hook == json!({"sleep": {"seconds": seconds}}) && !claims_first(now),
        Hook::Stays => hook == before.hook(),
        Hook::Injected => {
            let containers = now.template["spec"]["containers"].as_array().context("no containers")?;
            let every = containers.iter().all(|it| it["lifecycle"]["preStop"] == json!({"sleep": {"seconds": 10}}));
            every && claims_first(now) && now.grace() == 40
        }
    };
    ensure!(is_right, "not as expected: {}", now.template);
    Ok(())
}

fn has_probe(now: &Rollouts, expected: Probe) -> anyhow::Result<()> {
    let probe = &now.template["spec"]["containers"][0]["readinessProbe"];
    let is_claimed = now.marker().contains("\"readiness\"");
    let is_right = match expected {
        Probe::None => probe.is_null() && !is_claimed,
        Probe::Injected => probe["tcpSocket"] == json!({"port": 8080}) && is_claimed,
        Probe::Own(handler) => probe.get(handler).is_some() && !is_claimed,
    };
    ensure!(is_right, "not the readiness probe that was expected: {}", now.template);
    Ok(())
}

fn without_marker(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(annotations) = template["metadata"]["annotations"].as_object_mut() {
        annotations.remove(MARKER);
    }
    template
}

/// The commands that change something else leave the hook as it is, before and after the user has an own one.
fn commands_in_between(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let mut subject = Subject::new(&no502.cluster, &room.name, podless("web"))?;
    subject.create(Way::Apply)?.done()?;
    for expected in [Hook::Injected, Hook::Own("exec")] {
        if expected != Hook::Injected {
            subject.write(Way::Apply, add_exec)?.done()?;
        }
        let image = if expected == Hook::Injected { "2" } else { "3" };
        let set_image = format!("set image deployment/web web=example.invalid/web:{image}");
        let set_env = format!("set env deployment/web COLOUR={image}");
        let start = Rollouts::of(&room, "web")?;
        for words in [&set_image, &set_env, "rollout restart deployment/web", "rollout undo deployment/web"] {
            let before = Rollouts::of(&room, "web")?;
            room.kubectl(words)?.done()?;
            let after = Rollouts::of(&room, "web")?;
            is_sound(&after).context(words.to_owned())?;
            is_as_expected(&after, expected, &start).context(words.to_owned())?;
            let is_undo = words.starts_with("rollout undo");
            ensure!(after.generation == before.generation + 1, "{words}: {before:?}\n{after:?}");
            ensure!(
                after.replica_sets.len() == before.replica_sets.len() + usize::from(!is_undo),
                "{words}: {before:?}\n{after:?}"
            );
        }
    }
    // Back beyond the user's own hook: the sleep and its marker are part of the revision.
    let revision = room.kubectl("rollout history deployment/web")?.done()?;
    let oldest = revision.lines().find_map(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    let oldest = oldest.context("no revision")?;
    let before = Rollouts::of(&room, "web")?;
    room.kubectl(&format!("rollout undo deployment/web --to-revision={oldest}"))?.done()?;
    let undone = Rollouts::of(&room, "web")?;
    is_sound(&undone)?;
    is_as_expected(&undone, Hook::Injected, &undone)?;
    ensure!(undone.replica_sets == before.replica_sets, "an old template got a new ReplicaSet: {undone:?}");
    subject.write(Way::Apply, add_exec)?.done()?;
    is_as_expected(&Rollouts::of(&room, "web")?, Hook::Own("exec"), &undone)
}

/// What is not marked is the user's: it is not taken out for another handler, and the user is told why the write fails.
fn without_the_marker(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let mut subject = Subject::new(&no502.cluster, &room.name, podless("web"))?;
    subject.create(Way::Apply)?.done()?;
    subject.write(Way::JsonPatch, remove_marker)?.done()?;
    let before = Rollouts::of(&room, "web")?;
    for way in [Way::Apply, Way::StrategicPatch, Way::JsonPatch] {
        let said = subject.write(way, add_exec)?;
        let stderr = &said.0.stderr;
        ensure!(!said.0.status.success(), "{way:?}: who has taken out the sleep? {said}");
        ensure!(stderr.contains("may not specify more than 1 handler type"), "{way:?}: {said}");
        ensure!(stderr.contains("has a preStop sleep and another handler"), "{way:?}: no502 does not say why: {said}");
        Rollouts::of(&room, "web")?.must_be(&before, "refused")?;
    }
    // The way out that the warning names.
    let no_sleep = |object: &mut Value| first(object)["lifecycle"]["preStop"]["sleep"] = Value::Null;
    subject.write(Way::StrategicPatch, no_sleep)?.done()?;
    subject.write(Way::Apply, add_exec)?.done()?;
    is_as_expected(&Rollouts::of(&room, "web")?, Hook::Own("exec"), &before)
}

/// Random changes in random ways, on a Deployment of no502's and on its twin where no502 is not asked: what works there
/// works here, and the user's own fields are the same.
fn sixty_random_writes(no502: &No502) -> anyhow::Result<()> {
    let name = "written-at-random";
    let room = room_with_probes(no502, &[name])?;
    let mut ours = Subject::new(&no502.cluster, &room.name, podless(name))?;
    let mut twin = Subject::new(&no502.cluster, EXEMPT_NAMESPACE, podless(name))?;
    let both_say = |ours: Said, twin: Said, what: &str| {
        let same = ours.0.status.success() == twin.0.status.success();
        ensure!(same, "{what}: without no502 {twin}\nwith no502 {ours}");
        Ok(ours.0.status.success())
    };
    both_say(ours.create(Way::Apply)?, twin.create(Way::Apply)?, "create")?;
    let mut random = Random::new(SEED);
    let mut history = Vec::new();
    let mut done = 0;
    let mut refused = 0;
    while done + refused < STEPS {
        let way = random.pick(&RANDOM_WAYS);
        let (what, change) = random.pick(&RANDOM_CHANGES);
        history.push(format!("{what} by {way:?}"));
        let before = Rollouts::of(&room, name)?;
        let file = ours.file.clone();
        let (said, twin_said) = (ours.write(way, change)?, twin.write(way, change)?);
        let context = || history.join(", ");
        if both_say(said, twin_said, what).with_context(context)? {
            done += 1;
        } else {
            refused += 1;
            ours.file.clone_from(&file);
            twin.file.clone_from(&file);
        }
        let after = Rollouts::of(&room, name)?;
        is_sound(&after).with_context(context)?;
        // On an object of `kubectl apply` this one writes twice, to take over its fields; the second write lets go of the
        // raised grace period, which nothing of no502's needs any more if the first brought an own hook.
        let writes = if way == Way::ForcedServerSideApply { 2 } else { 1 };
        ensure!(
            after.replica_sets.len() <= before.replica_sets.len() + writes,
            "more than one rollout: {}\n{before:?}\n{after:?}",
            context()
        );
        let templates = [&after.template, &twin.stored()?["spec"]["template"], &ours.file["spec"]["template"]];
        same_for_the_user(templates).with_context(context)?;
    }
    twin.kubectl(&format!("delete deployment {name} --wait=false"), None)?.done()?;
    ensure!(refused * 4 < STEPS, "too many steps were refused with and without no502: {refused}");
    Ok(())
}

/// Several ways on one object: the field managers fight where they are not told to force.
const RANDOM_WAYS: [Way; 10] = [
    Way::Apply,
    Way::ForcedServerSideApply,
    Way::Kustomize,
    Way::ReplaceByFile,
    Way::Replace,
    Way::Edit,
    Way::StrategicPatch,
    Way::MergePatch,
    Way::JsonPatch,
    Way::JsonPatchOfWholeHook,
];

const RANDOM_CHANGES: [(&str, Change); 11] = [
    ("ready by httpGet", probe_http),
    ("ready by exec", probe_exec),
    ("no probe", remove_probe),
    ("exec", add_exec),
    ("httpGet", add_http),
    ("sleep", add_sleep),
    ("no hook", remove_hook),
    ("grace 35", lower_grace),
    ("container side", add_container),
    ("image 2", second_image),
    ("image 1", |object| first(object)["image"] = json!("example.invalid/web:1")),
];

/// The hooks and probes of the user are there, and where the user wants none there is ours or nothing. The twin may keep one
/// that the user wants no more: `kubectl replace` of what is stored tells later applies that its user wrote all of it,
/// and so takes away with our handler what came into its place.
fn same_for_the_user([ours, twin, file]: [&Value; 3]) -> anyhow::Result<()> {
    let by_name = |template: &Value| -> BTreeMap<String, Value> {
        let containers = template["spec"]["containers"].as_array().cloned().unwrap_or_default();
        containers.into_iter().map(|it| (it["name"].to_string(), it)).collect()
    };
    let (mut ours_by_name, mut twin_by_name, file_by_name) = (by_name(ours), by_name(twin), by_name(file));
    for (name, container) in &mut ours_by_name {
        let twin = twin_by_name.get_mut(name).with_context(|| format!("the twin has no container {name}"))?;
        let hooks = [container["lifecycle"]["preStop"].take(), twin["lifecycle"]["preStop"].take()];
        let wanted = file_by_name.get(name).unwrap_or(&Value::Null);
        let is_free = hooks[1].is_null() || wanted["lifecycle"]["preStop"].is_null();
        let is_ours = is_free && hooks[0] == json!({"sleep": {"seconds": 10}});
        ensure!(is_ours || hooks[0] == hooks[1], "container {name} has {} and its twin {}", hooks[0], hooks[1]);
        let probes = [&container["readinessProbe"], &twin["readinessProbe"]].map(handlers);
        let is_free = probes[1].is_empty() || wanted["readinessProbe"].is_null();
        let is_ours = is_free && probes[0] == BTreeMap::from([("tcpSocket", &json!({"port": 8080}))]);
        ensure!(is_ours || probes[0] == probes[1], "container {name} has {:?} and its twin {:?}", probes[0], probes[1]);
        for member in ["lifecycle", "readinessProbe"] {
            container[member].take();
            twin[member].take();
        }
    }
    ensure!(ours_by_name == twin_by_name, "{ours_by_name:?}\nand the twin\n{twin_by_name:?}");
    let grace = |template: &Value| template["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or_default();
    ensure!(grace(ours) >= grace(twin), "the grace period is shorter than the user's");
    Ok(())
}
