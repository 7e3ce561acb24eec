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
    ways::{Subject, Way},
};

const TIMES: usize = 50;
/// The API server leaves it out of admission, as the installed webhooks do.
const EXEMPT_NAMESPACE: &str = "kube-system";
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
        E2e::guarded("undo_to_before_no502", NEWEST, undo_to_before_no502),
        E2e::guarded("an_operator_of_its_own_deployment", NEWEST, an_operator_of_its_own_deployment),
        E2e::guarded("an_operator_that_strips", NEWEST, an_operator_that_strips),
    ]
}

/// A Deployment `web` without pods, whose controller is done as soon as it has seen it.
fn web() -> Value {
    let labels = json!({"app": "web"});
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "example.invalid/web:1", "ports": ports}]},
            },
        },
    })
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

    let next = |file: &mut Value| {
        file["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.invalid/web:2");
    };
    subject.write(Way::Helm, next)?.done()?;
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
    let room = Room::new(no502)?;
    let name = format!("twin-of-{}", room.name);
    let mut file = web();
    file["metadata"]["name"] = json!(name);
    for pointer in ["/spec/selector/matchLabels/app", "/spec/template/metadata/labels/app"] {
        *file.pointer_mut(pointer).context("no label")? = json!(name);
    }
    let ours = Subject::new(&no502.cluster, &room.name, file.clone())?;
    let twin = Subject::new(&no502.cluster, EXEMPT_NAMESPACE, file.clone())?;
    ours.kubectl("create -f -", Some(&file))?.done()?;
    twin.kubectl("create -f -", Some(&file))?.quiet()?;
    let before = Rollouts::of(&room, &name)?;
    for _ in 0..TIMES {
        ours.kubectl("replace -f -", Some(&file))?.quiet()?;
    }
    let after = Rollouts::of(&room, &name)?;
    after.must_be(&Rollouts { generation: after.generation, ..before }, "replaced")?;
    ensure!(after.replica_sets.len() == 1, "{after:?}");
    twin.kubectl("replace -f -", Some(&file))?.quiet()?;
    twin.kubectl(&format!("delete deployment {name} --wait=false"), None)?.done()?;

    let stored = ours.stored()?;
    for _ in 0..TIMES {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{name}", room.name);
        let mut object = file.clone();
        object["metadata"]["annotations"] = stored["metadata"]["annotations"].clone();
        let replaced = no502.cluster.api()?.put(&path, &object)?;
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
    // Without a sleep, which a write to the template would add.
    let disable = "no502.dev/inject";
    room.kubectl(&format!("annotate namespace {} {disable}=disabled", room.name))?.quiet()?;
    soon("no502 knows that it is not wanted", PATIENCE, || {
        subject.kubectl("create --dry-run=server -f -", Some(&subject.file))?.quiet()
    })?;
    subject.create(Way::Apply)?.quiet()?;
    room.kubectl(&format!("annotate namespace {} {disable}-", room.name))?.quiet()?;
    soon("no502 knows that it is wanted", PATIENCE, || {
        let mut other = subject.file.clone();
        other["metadata"]["name"] = json!("other");
        let said = subject.kubectl("create --dry-run=server -f -", Some(&other))?;
        ensure!(said.0.stderr.contains(ADDED), "{said}");
        Ok(())
    })?;
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

/// The old revision gets the sleep too: a new ReplicaSet, one rollout.
fn undo_to_before_no502(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let subject = Subject::new(&no502.cluster, &room.name, web())?;
    room.kubectl(&format!("annotate namespace {} no502.dev/inject=disabled", room.name))?.quiet()?;
    soon("no502 knows that it is not wanted", PATIENCE, || {
        subject.kubectl("create --dry-run=server -f -", Some(&subject.file))?.quiet()
    })?;
    subject.create(Way::Apply)?.quiet()?;
    room.kubectl(&format!("annotate namespace {} no502.dev/inject-", room.name))?.quiet()?;
    soon("no502 knows that it is wanted", PATIENCE, || {
        let said = room.kubectl("set image deployment/web web=example.invalid/web:2 --dry-run=server")?;
        ensure!(said.0.stderr.contains(ADDED), "{said}");
        Ok(())
    })?;
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
    room.kubectl(&format!("annotate namespace {} no502.dev/prestop-sleep-seconds=20", room.name))?.quiet()?;
    let mut other = web();
    other["metadata"]["name"] = json!("other");
    soon("no502 knows the new setting", PATIENCE, || {
        let said = room.kubectl_with("create --dry-run=server -f -", &other.to_string())?;
        ensure!(said.0.stderr.contains("added preStop sleep 20s"), "{said}");
        Ok(())
    })?;
    put_template(&room, &web()["spec"]["template"])?;
    stands_still(&room, &before)
}
