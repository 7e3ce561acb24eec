//! No fights: tools and controllers that write the same Deployment again and again find it as they left it. Each writes
//! fifty times; after the first time nothing of the stored object moves, not even its resource version.

use std::slice;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{
        Version,
        api::{Answer, Patch},
    },
    no502::{No502, soon},
    rollouts::Rollouts,
    room::{PATIENCE, Room},
    trial::E2e,
    ways::{Subject, Way, podless, second_image},
};

const TIMES: usize = 50;
/// After a change of a setting, and beside a twin: each time is waited for.
const A_FEW_TIMES: usize = 5;
const ADDED: &str = "added preStop sleep 10s to container web, grace 30s -> 40s";

pub(crate) fn trials() -> Vec<E2e> {
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::guarded("kubectl_apply", NEWEST, |it| by_program(it, Way::Apply)),
        E2e::guarded("kubectl_server_side_apply", NEWEST, |it| by_program(it, Way::ServerSideApply)),
        E2e::guarded("helm", NEWEST, |it| by_program(it, Way::Helm)),
        E2e::guarded("helm_client_side", NEWEST, |it| by_program(it, Way::HelmClientSide)),
        E2e::guarded("the_life_of_a_helm_release", &Version::ALL, the_life_of_a_helm_release),
        E2e::guarded("argo_cd", NEWEST, argo_cd),
        E2e::guarded("argo_cd_server_side", NEWEST, argo_cd_server_side),
        E2e::guarded("flux", NEWEST, flux),
        E2e::guarded("kubectl_replace", NEWEST, kubectl_replace),
        E2e::guarded("kubectl_diff_is_empty", NEWEST, kubectl_diff_is_empty),
        E2e::guarded("scaling_is_no_rollout", NEWEST, scaling_is_no_rollout),
        E2e::guarded(
            "what_leaves_the_template_alone_is_no_rollout",
            NEWEST,
            what_leaves_the_template_alone_is_no_rollout,
        ),
        E2e::guarded("a_setting_that_has_grown", NEWEST, a_setting_that_has_grown),
        E2e::guarded("undo_to_before_no502", NEWEST, undo_to_before_no502),
        E2e::guarded("an_operator_of_its_own_deployment", NEWEST, an_operator_of_its_own_deployment),
        E2e::guarded("an_operator_that_strips", NEWEST, an_operator_that_strips),
    ]
}

fn web() -> Value {
    podless("web")
}

fn path(room: &Room<'_>) -> String {
    format!("/apis/apps/v1/namespaces/{}/deployments/web", room.name)
}

/// The whole object, as soon as its controller is done with it.
fn settled(room: &Room<'_>) -> anyhow::Result<Value> {
    let api = room.no502.cluster.api()?;
    soon("the controller is done with the Deployment", PATIENCE, || {
        let object = api.get(&path(room))?.object()?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_done = conditions.iter().any(|it| it["reason"] == "NewReplicaSetAvailable");
        let is_seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        ensure!(is_done && is_seen, "{}", object["status"]);
        Ok(object)
    })
}

/// One ReplicaSet, our sleep in it, and the object as it was.
fn stands_still(room: &Room<'_>, before: &Value) -> anyhow::Result<()> {
    let after = settled(room)?;
    ensure!(after == *before, "it was\n{before}\nand is\n{after}");
    let rollouts = Rollouts::of(room, "web")?;
    ensure!(rollouts.replica_sets.len() == 1 && rollouts.generation == 1, "{rollouts:?}");
    ensure!(rollouts.hook() == &json!({"sleep": {"seconds": 10}}) && rollouts.grace() == 40, "{rollouts:?}");
    Ok(())
}

fn by_program(no502: &No502, way: Way) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let mut subject = Subject::new(&no502.cluster, &room.name, web())?;
    let said = subject.create(way)?;
    ensure!(said.0.stderr.contains(ADDED), "{said}");
    said.done()?;
    let before = settled(&room)?;
    for _ in 0..TIMES {
        let said = subject.write(way, |_| {})?;
        ensure!(!said.0.stderr.contains("no502"), "it was said again: {said}");
        said.done()?;
    }
    stands_still(&room, &before)
}

fn the_life_of_a_helm_release(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let mut subject = Subject::new(&no502.cluster, &room.name, web())?;
    subject.create(Way::Helm)?.done()?;
    let installed = Rollouts::of(&room, "web")?;

    let chart = subject.write_chart(&subject.file)?;
    let dry = subject.run_helm(&["upgrade", "web", &chart, "--dry-run=server"])?;
    ensure!(!dry.0.stderr.contains("no502"), "a dry run of the same says something: {dry}");
    dry.done()?;
    Rollouts::of(&room, "web")?.must_be(&installed, "dry run")?;
    // What helm has recorded and what is stored differ in nothing but what no502 has added.
    let manifest = subject.run_helm(&["get", "manifest", "web"])?.done()?;
    for words in ["diff -f -", "diff --server-side -f -"] {
        let diff = room.kubectl_with(words, &manifest)?;
        ensure!(diff.0.stdout.is_empty(), "{diff}");
        diff.done()?;
    }

    subject.write(Way::Helm, second_image)?.done()?;
    let upgraded = Rollouts::of(&room, "web")?;
    ensure!(upgraded.replica_sets.len() == 2 && upgraded.generation == installed.generation + 1, "{upgraded:?}");
    ensure!(upgraded.hook() == installed.hook() && upgraded.marker() == installed.marker(), "{upgraded:?}");

    subject.run_helm(&["rollback", "web", "1"])?.done()?;
    let back = Rollouts::of(&room, "web")?;
    ensure!(back.template == installed.template && back.replica_sets == upgraded.replica_sets, "{back:?}");
    ensure!(back.generation == upgraded.generation + 1, "{back:?}");

    // A release may change its mind about who merges.
    let before = settled(&room)?;
    let web_1 = |file: &mut Value| {
        file["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.invalid/web:1");
    };
    for way in [Way::HelmClientSide, Way::Helm, Way::HelmClientSide, Way::Helm] {
        subject.write(way, web_1)?.done()?;
    }
    let after = settled(&room)?;
    ensure!(after["spec"] == before["spec"], "it was\n{before}\nand is\n{after}");
    ensure!(after["metadata"]["generation"] == before["metadata"]["generation"], "{after}");
    subject.run_helm(&["uninstall", "web"])?.done()?;
    Ok(())
}

/// The default of Argo CD is `kubectl apply` under its own name.
fn argo_cd(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let subject = Subject::new(&no502.cluster, &room.name, web())?;
    let apply = || subject.kubectl("apply --field-manager=argocd-controller -f -", Some(&subject.file));
    let said = apply()?;
    ensure!(said.0.stderr.contains(ADDED), "{said}");
    let before = settled(&room)?;
    for _ in 0..TIMES {
        apply()?.quiet()?;
    }
    stands_still(&room, &before)
}

fn server_side_apply(room: &Room<'_>, manager: &str, more: &str) -> anyhow::Result<Answer> {
    let query = format!("{}?fieldManager={manager}&force=true{more}", path(room));
    Ok(room.no502.cluster.api()?.patch(&query, Patch::Apply, &web())?)
}

fn argo_cd_server_side(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let first = server_side_apply(&room, "argocd-controller", "")?;
    ensure!(first.warnings.len() == 1 && first.warnings[0].contains(ADDED), "{first:?}");
    first.object()?;
    let before = settled(&room)?;
    for _ in 0..TIMES {
        let again = server_side_apply(&room, "argocd-controller", "")?;
        ensure!(again.warnings.is_empty(), "{again:?}");
        again.object()?;
    }
    // Its diff is a dry run too.
    let dry = server_side_apply(&room, "argocd-controller", "&dryRun=All")?.object()?;
    ensure!(dry == before, "a dry run differs: {dry}");
    stands_still(&room, &before)
}

/// Flux asks by a dry run whether anything differs, and applies only then.
fn flux(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let would_be = |live: &Value| -> anyhow::Result<bool> {
        let dry = server_side_apply(&room, "kustomize-controller", "&dryRun=All")?;
        ensure!(dry.warnings.is_empty(), "a dry run of the same says something: {dry:?}");
        let mut pair = [dry.object()?, live.clone()];
        for object in &mut pair {
            let metadata = object["metadata"].as_object_mut().context("no metadata")?;
            metadata.retain(|name, _| !["managedFields", "resourceVersion", "generation"].contains(&name.as_str()));
            object["status"].take();
        }
        Ok(pair[0] != pair[1])
    };
    server_side_apply(&room, "kustomize-controller", "")?.object()?;
    let before = settled(&room)?;
    for _ in 0..TIMES {
        ensure!(!would_be(&before)?, "Flux sees drift");
    }
    server_side_apply(&room, "kustomize-controller", "")?.object()?;
    stands_still(&room, &before)
}

/// `kubectl replace` with the plain file strips the annotation of the Deployment's controller each time, which is a new
/// generation with no502 and without.
fn kubectl_replace(no502: &No502) -> anyhow::Result<()> {
    let (room, exempt) = (Room::new(no502)?, Room::exempt(no502));
    let name = format!("twin-of-{}", room.name);
    let file = podless(&name);
    let create = |room: &Room<'_>| room.kubectl_with("create -f -", &file.to_string());
    let replace = |room: &Room<'_>| room.kubectl_with("replace -f -", &file.to_string());
    create(&room)?.done()?;
    create(&exempt)?.quiet()?;
    let before = Rollouts::of(&room, &name)?;
    for time in 0..A_FEW_TIMES {
        replace(&room)?.quiet()?;
        replace(&exempt)?.quiet()?;
        let (ours, twin) = (Rollouts::of(&room, &name)?, Rollouts::of(&exempt, &name)?);
        ensure!(ours.generation == twin.generation, "after {time} times: {ours:?}\nand without no502 {twin:?}");
    }
    exempt.kubectl(&format!("delete deployment {name} --wait=false"))?.done()?;
    for _ in 0..TIMES {
        replace(&room)?.quiet()?;
    }
    let after = Rollouts::of(&room, &name)?;
    after.must_be(&Rollouts { generation: after.generation, ..before }, "replaced")?;
    ensure!(after.replica_sets.len() == 1, "{after:?}");

    let path = format!("/apis/apps/v1/namespaces/{}/deployments/{name}", room.name);
    let api = no502.cluster.api()?;
    let mut object = file.clone();
    object["metadata"]["annotations"] = api.get(&path)?.object()?["metadata"]["annotations"].take();
    for _ in 0..TIMES {
        let replaced = api.put(&path, &object)?;
        ensure!(replaced.warnings.is_empty(), "{replaced:?}");
        replaced.object()?;
    }
    Rollouts::of(&room, &name)?.must_be(&after, "replaced with its annotations")
}

fn kubectl_diff_is_empty(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    for way in [Way::Apply, Way::ServerSideApply] {
        let mut file = web();
        file["metadata"]["name"] = json!(if way == Way::Apply { "apply" } else { "server-side" });
        let mut subject = Subject::new(&no502.cluster, &room.name, file)?;
        subject.create(way)?.done()?;
        let words = if way == Way::Apply { "diff -f -" } else { "diff --server-side -f -" };
        let diff = subject.kubectl(words, Some(&subject.file))?;
        ensure!(diff.0.stdout.is_empty(), "{way:?}: {diff}");
        diff.quiet()?;
        // A real difference shows what is asked for and nothing of ours.
        subject.file["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.invalid/web:2");
        let diff = subject.kubectl(words, Some(&subject.file))?;
        let changes: Vec<&str> = diff.0.stdout.lines().filter(|it| it.starts_with(['+', '-'])).collect();
        ensure!(
            !changes.is_empty()
                && changes.iter().all(|it| {
                    ["+++", "---"].iter().any(|head| it.starts_with(head))
                        || it.contains("image:")
                        || it.contains("generation:")
                }),
            "{way:?}: {diff}"
        );
    }
    Ok(())
}

/// As the horizontal autoscaler writes it, and as people do.
fn scaling_is_no_rollout(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let subject = Subject::new(&no502.cluster, &room.name, web())?;
    subject.create_before_no502(&room, Way::Apply)?;
    let before = Rollouts::of(&room, "web")?;
    ensure!(before.hook().is_null(), "{before:?}");

    let api = no502.cluster.api()?;
    let path = format!("{}/scale", path(&room));
    for replicas in 1..=10 {
        let mut scale = api.get(&path)?.object()?;
        scale["spec"]["replicas"] = json!(replicas);
        // The Deployment's controller writes the status meanwhile.
        scale["metadata"]["resourceVersion"].take();
        let scaled = api.put(&path, &scale)?;
        ensure!(scaled.warnings.is_empty(), "{scaled:?}");
        scaled.object()?;
    }
    room.kubectl("scale deployment web --replicas=0")?.quiet()?;
    room.kubectl("autoscale deployment web --min=1 --max=3")?.quiet()?;
    let after = Rollouts::of(&room, "web")?;
    ensure!(after.generation == before.generation + 11, "{after:?}");
    ensure!(after.template == before.template && after.replica_sets == before.replica_sets, "{after:?}");
    Ok(())
}

/// Each of these reaches no502 with a template that lacks the sleep, and it is not the one to change it.
fn what_leaves_the_template_alone_is_no_rollout(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let mut subject = Subject::new(&no502.cluster, &room.name, web())?;
    subject.create_before_no502(&room, Way::Apply)?;
    let before = Rollouts::of(&room, "web")?;
    ensure!(before.hook().is_null(), "{before:?}");
    let unchanged = |what: &str| {
        let after = Rollouts::of(&room, "web")?;
        after.must_be(&Rollouts { generation: after.generation, ..before.clone() }, what)
    };
    for words in [
        "label deployment web team=shop",
        "annotate deployment web note=1",
        "rollout pause deployment web",
        "rollout resume deployment web",
    ] {
        room.kubectl(words)?.quiet()?;
        unchanged(words)?;
    }
    for (way, replicas) in [(Way::Apply, 1), (Way::ForcedServerSideApply, 2)] {
        subject.file["spec"]["replicas"] = json!(replicas);
        subject.write(way, |_| {})?.quiet()?;
        unchanged("applied with another number of replicas")?;
    }
    let stored = subject.stored()?;
    ensure!(stored["spec"]["replicas"] == 2 && stored["metadata"]["labels"]["team"] == "shop", "{stored}");
    // The next new template is the user's rollout, and brings the sleep.
    subject.write(Way::ForcedServerSideApply, second_image)?.warned(ADDED)?;
    let after = Rollouts::of(&room, "web")?;
    ensure!(after.replica_sets.len() == 2 && after.grace() == 40, "{after:?}");
    Ok(())
}

/// A manifest that says its grace period sends the old one again with each sync. That is no change of the template for which
/// a longer sleep may come in.
fn a_setting_that_has_grown(no502: &No502) -> anyhow::Result<()> {
    const WAYS: [(&str, Way); 4] = [
        ("apply", Way::Apply),
        ("server-side", Way::ForcedServerSideApply),
        ("helm", Way::Helm),
        ("helm-client-side", Way::HelmClientSide),
    ];
    let room = Room::new(no502)?;
    let mut subjects = Vec::new();
    for (name, way) in WAYS {
        let mut file = podless(name);
        file["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(30);
        let subject = Subject::new(&no502.cluster, &room.name, file)?;
        subject.create(way)?.done()?;
        let before = Rollouts::of(&room, name)?;
        ensure!(before.grace() == 40 && before.replica_sets.len() == 1, "{name}: {before:?}");
        subjects.push((name, way, subject, before));
    }
    room.annotate("no502.dev/preset=aws-nlb-ip", "added preStop sleep 150s")?;
    for (name, way, mut subject, before) in subjects {
        for _ in 0..A_FEW_TIMES {
            subject.write(way, |_| {})?.done()?;
            Rollouts::of(&room, name)?.must_be(&before, name)?;
        }
        subject.write(way, second_image)?.done()?;
        let after = Rollouts::of(&room, name)?;
        ensure!(after.generation == before.generation + 1 && after.replica_sets.len() == 2, "{name}: {after:?}");
        ensure!(after.hook() == &json!({"sleep": {"seconds": 150}}) && after.grace() == 180, "{name}: {after:?}");
        subject.write(way, |_| {})?.done()?;
        Rollouts::of(&room, name)?.must_be(&after, name)?;
    }
    Ok(())
}

/// The old revision gets the sleep too: a new ReplicaSet, one rollout.
fn undo_to_before_no502(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let subject = Subject::new(&no502.cluster, &room.name, web())?;
    subject.create_before_no502(&room, Way::Apply)?;
    let first = Rollouts::of(&room, "web")?;
    room.kubectl("set image deployment/web web=example.invalid/web:2")?.warned(ADDED)?;
    let second = Rollouts::of(&room, "web")?;
    ensure!(second.replica_sets.len() == 2, "{second:?}");
    room.kubectl("rollout undo deployment/web")?.done()?;
    let undone = Rollouts::of(&room, "web")?;
    ensure!(undone.generation == second.generation + 1 && undone.replica_sets.len() == 3, "{undone:?}");
    ensure!(undone.image() == first.image(), "{undone:?}");
    ensure!(undone.hook() == second.hook() && undone.grace() == 40, "{undone:?}");
    room.kubectl("rollout undo deployment/web")?.done()?;
    let again = Rollouts::of(&room, "web")?;
    ensure!(again.template == second.template && again.replica_sets == undone.replica_sets, "{again:?}");
    Ok(())
}

/// Puts its own template in the place of what is stored, as operators do that keep the rest of the object.
fn put_template(room: &Room<'_>, template: &Value) -> anyhow::Result<()> {
    let api = room.no502.cluster.api()?;
    for _ in 0..TIMES {
        let mut object = api.get(&path(room))?.object()?;
        object["spec"]["template"] = template.clone();
        let put = api.put(&path(room), &object)?;
        ensure!(put.warnings.is_empty(), "{put:?}");
        put.object()?;
    }
    Ok(())
}

/// What a controller owns is the controller's: one that compares what it wants with what is stored would never be done.
fn an_operator_of_its_own_deployment(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: owner}}")?.quiet()?;
    let uid = room.get("configmap/owner")?["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "controller": true});
    let mut object = web();
    object["metadata"]["ownerReferences"] = json!(slice::from_ref(&owner));
    let collection = format!("/apis/apps/v1/namespaces/{}/deployments", room.name);
    let created = no502.cluster.api()?.post(&collection, &object)?;
    ensure!(created.warnings.is_empty(), "{created:?}");
    let created = created.object()?;
    ensure!(created["spec"]["template"]["spec"]["containers"][0].get("lifecycle").is_none(), "{created}");
    let before = settled(&room)?;
    put_template(&room, &object["spec"]["template"])?;
    let after = settled(&room)?;
    ensure!(after == before, "it was\n{before}\nand is\n{after}");
    ensure!(Rollouts::of(&room, "web")?.replica_sets.len() == 1, "more than one rollout");
    Ok(())
}

fn an_operator_that_strips(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let collection = format!("/apis/apps/v1/namespaces/{}/deployments", room.name);
    let created = no502.cluster.api()?.post(&collection, &web())?;
    ensure!(created.warnings.len() == 1 && created.warnings[0].contains(ADDED), "{created:?}");
    created.object()?;
    let before = settled(&room)?;
    put_template(&room, &web()["spec"]["template"])?;
    stands_still(&room, &before)?;

    // Nor is a setting that has changed since a reason for a rollout that nobody asked for.
    room.annotate("no502.dev/prestop-sleep-seconds=20", "added preStop sleep 20s")?;
    put_template(&room, &web()["spec"]["template"])?;
    stands_still(&room, &before)
}
