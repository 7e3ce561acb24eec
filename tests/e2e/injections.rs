//! What no502 adds to a Deployment: announced once, never a rollout of its own, and always one handler a hook, whichever
//! way the Deployment is written.

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::{
    cluster::Version,
    no502::No502,
    rollouts::{MARKER, Rollouts},
    room::{EXEMPT_NAMESPACE, Room, deployment, service, with_metadata},
    trial::E2e,
};

const NEWEST: &[Version] = &[Version::V1_37];

/// How many namespaces come with a Deployment in one stream: what no502 has not seen yet is a matter of luck.
const FRESH_NAMESPACES: u32 = 10;
const REPEATED_TIMES: u32 = 5;

const ANNOUNCED: &str =
    "Warning: no502: Deployment \"web\": added preStop sleep 10s to container web, grace 30s -> 40s";
const REPAIRED: &str = "removed the injected preStop sleep of container web, which has its own hook now";

pub(crate) fn trials() -> Vec<E2e> {
    vec![
        E2e::guarded(
            "announced_once_and_no_rollout_of_its_own",
            &Version::ALL,
            announced_once_and_no_rollout_of_its_own,
        ),
        E2e::guarded("the_same_with_server_side_apply", NEWEST, the_same_with_server_side_apply),
        E2e::guarded("an_own_hook_is_left_alone", NEWEST, an_own_hook_is_left_alone),
        E2e::guarded("an_own_hook_that_comes_later_is_alone", &Version::ALL, an_own_hook_that_comes_later_is_alone),
        E2e::guarded("every_way_of_writing_keeps_one_handler", NEWEST, every_way_of_writing_keeps_one_handler),
        E2e::guarded("what_a_full_replacement_strips_comes_back", NEWEST, what_a_full_replacement_strips_comes_back),
        E2e::guarded("a_shorter_grace_period_is_raised_each_time", NEWEST, a_shorter_grace_period_is_raised_each_time),
        E2e::guarded("nothing_where_it_would_do_harm", NEWEST, nothing_where_it_would_do_harm),
        E2e::guarded("a_namespace_that_has_just_come", NEWEST, a_namespace_that_has_just_come),
        E2e::guarded("argo_rollouts", NEWEST, argo_rollouts),
    ]
}

fn web() -> String {
    deployment("web", "app: web", "{name: http, containerPort: 8080}")
}

/// Follows a Deployment or Rollout: its container's own hook.
const EXEC_HOOK: &str = "          lifecycle: {preStop: {exec: {command: [/bin/drain]}}}\n";

fn with_own_hook() -> String {
    web() + EXEC_HOOK
}

fn announced_once_and_no_rollout_of_its_own(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let said = room.apply(&web())?;
    said.says(ANNOUNCED)?;
    said.done()?;
    let before = Rollouts::of(&room, "web")?;
    ensure!(before.replica_sets.len() == 1, "{before:?}");
    ensure!(before.hook() == &json!({"sleep": {"seconds": 10}}), "{before:?}");
    ensure!(before.grace() == 40, "{before:?}");

    ensure!(
        room.apply(&web())?.quiet()? == "deployment.apps/web unchanged\n",
        "an apply of the same changed something"
    );
    Rollouts::of(&room, "web")?.must_be(&before, "applied again")?;
    room.kubectl("label deployment web team=shop")?.quiet()?;
    Rollouts::of(&room, "web")?.must_be(&before, "labelled")?;
    // Kubernetes counts an annotation as a new generation.
    room.kubectl("annotate deployment web note=1")?.quiet()?;
    let before = Rollouts { generation: before.generation + 1, ..before };
    Rollouts::of(&room, "web")?.must_be(&before, "annotated")?;

    room.kubectl("scale deployment web --replicas=2")?.quiet()?;
    let scaled = Rollouts::of(&room, "web")?;
    ensure!(scaled.generation == before.generation + 1, "scaling is one change: {scaled:?}");
    ensure!(scaled.template == before.template && scaled.replica_sets == before.replica_sets, "{scaled:?}");

    room.kubectl("rollout restart deployment web")?.quiet()?;
    let mut restarted = Rollouts::of(&room, "web")?;
    ensure!(restarted.generation == scaled.generation + 1, "a restart is one change: {restarted:?}");
    ensure!(restarted.replica_sets.len() == 2, "a restart is one rollout: {restarted:?}");
    let annotations = restarted.template["metadata"]["annotations"].as_object_mut().context("no annotations")?;
    annotations.remove("kubectl.kubernetes.io/restartedAt").context("kubectl's annotation is missing")?;
    ensure!(restarted.template == before.template, "a restart changes its own annotation only: {restarted:?}");
    Ok(())
}

fn the_same_with_server_side_apply(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.kubectl_with("apply --server-side -f -", &web())?.says(ANNOUNCED)?;
    let before = Rollouts::of(&room, "web")?;
    ensure!(before.hook() == &json!({"sleep": {"seconds": 10}}), "{before:?}");
    room.kubectl_with("apply --server-side -f -", &web())?.quiet()?;
    room.kubectl_with("apply --server-side --force-conflicts -f -", &web())?.quiet()?;
    room.kubectl_with("apply --server-side --dry-run=server -f -", &web())?.quiet()?;
    Rollouts::of(&room, "web")?.must_be(&before, "applied again")
}

fn an_own_hook_is_left_alone(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.apply(&with_own_hook())?.quiet()?;
    let ours = room.get("deployment/web")?;

    // Where no502 is not asked the same is stored as it was sent.
    let unique = format!("web-{}", room.name);
    let elsewhere = with_own_hook().replace("metadata: {name: web}", &format!("metadata: {{name: {unique}}}"));
    let kubectl = |args: &[&str], stdin| no502.cluster.kubectl(&[&["-n", EXEMPT_NAMESPACE], args].concat(), stdin);
    kubectl(&["apply", "-f", "-"], Some(&elsewhere))?.success()?;
    let theirs = kubectl(&["get", "deployment", &unique, "-o", "json"], None)?.json()?;
    kubectl(&["delete", "deployment", &unique, "--wait=false"], None)?.success()?;
    ensure!(ours["spec"] == theirs["spec"], "not as it was sent: {}\nbut {}", theirs["spec"], ours["spec"]);
    Ok(())
}

fn an_own_hook_that_comes_later_is_alone(no502: &No502) -> anyhow::Result<()> {
    let patch = "patch deployment web -p {\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"web\",\
                 \"lifecycle\":{\"preStop\":{\"exec\":{\"command\":[\"/bin/drain\"]}}}}]}}}}";
    for words in ["apply -f -", "apply --server-side -f -", patch] {
        let room = Room::new(no502)?;
        let first = if words == patch { "apply -f -" } else { words };
        room.kubectl_with(first, &web())?.says(ANNOUNCED)?;
        room.kubectl_with(words, &with_own_hook())?.warned(REPAIRED).context(words)?;
        let after = Rollouts::of(&room, "web")?;
        ensure!(after.hook() == &json!({"exec": {"command": ["/bin/drain"]}}), "{words}: {after:?}");
        ensure!(!after.marker().contains("web"), "{words}: the marker still claims the hook: {after:?}");
        ensure!(after.replica_sets.len() == 2, "{words}: one rollout, the user's: {after:?}");
        room.kubectl_with(words, &with_own_hook())?.quiet().context(words)?;
        Rollouts::of(&room, "web")?.must_be(&after, words)?;
    }
    Ok(())
}

fn every_way_of_writing_keeps_one_handler(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.apply(&web())?.says(ANNOUNCED)?;
    let first = Rollouts::of(&room, "web")?;
    let one_sleep = |what: &str, image: &str, replica_sets: usize| {
        let now = Rollouts::of(&room, "web")?;
        ensure!(now.hook() == &json!({"sleep": {"seconds": 10}}), "{what}: {now:?}");
        ensure!(now.grace() == 40 && now.image() == image, "{what}: {now:?}");
        ensure!(now.replica_sets.len() == replica_sets, "{what}: {now:?}");
        Ok(now)
    };

    room.kubectl("set image deployment/web web=example.invalid/web:2")?.quiet()?;
    one_sleep("set image", "example.invalid/web:2", 2)?;
    room.kubectl("rollout undo deployment web")?.done()?;
    let undone = one_sleep("rollout undo", "example.invalid/web:1", 2)?;
    ensure!(undone.template == first.template, "rollout undo is not back at the start: {undone:?}");

    let mut edited = room.get("deployment/web")?;
    edited["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.invalid/web:3");
    room.kubectl_with("replace -f -", &edited.to_string())?.quiet()?;
    one_sleep("edit", "example.invalid/web:3", 3)?;
    room.kubectl_with("apply --server-side --force-conflicts -f -", &web().replace("web:1", "web:4"))?.quiet()?;
    one_sleep("server-side apply", "example.invalid/web:4", 4)?;
    room.kubectl("set env deployment/web COLOUR=green")?.quiet()?;
    one_sleep("set env", "example.invalid/web:4", 5)?;
    Ok(())
}

fn what_a_full_replacement_strips_comes_back(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.kubectl_with("create -f -", &web())?.says(ANNOUNCED)?;
    let before = Rollouts::of(&room, "web")?;
    room.kubectl_with("replace -f -", &web())?.quiet()?;
    // The controller's annotation is gone and comes back: a new generation, and no rollout.
    let before = Rollouts { generation: before.generation + 1, ..before };
    Rollouts::of(&room, "web")?.must_be(&before, "replaced by what it was made of")
}

fn a_shorter_grace_period_is_raised_each_time(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let explicit = web() + "      terminationGracePeriodSeconds: 35\n";
    room.apply(&explicit)?.warned("added preStop sleep 10s to container web, explicit grace 35s -> 40s")?;
    let before = Rollouts::of(&room, "web")?;
    room.apply(&explicit)?.quiet()?;
    Rollouts::of(&room, "web")?.must_be(&before, "applied again")?;

    let room = Room::new(no502)?;
    let longer = web() + "      terminationGracePeriodSeconds: 90\n";
    room.apply(&longer)?.says("Warning: no502: Deployment \"web\": added preStop sleep 10s to container web")?;
    let stored = Rollouts::of(&room, "web")?;
    ensure!(stored.grace() == 90, "a longer grace period was touched: {stored:?}");
    Ok(())
}

fn nothing_where_it_would_do_harm(no502: &No502) -> anyhow::Result<()> {
    let unchanged = |room: &Room<'_>| {
        let template = &room.get("deployment/web")?["spec"]["template"];
        let spec = &template["spec"];
        ensure!(spec["containers"][0].get("lifecycle").is_none(), "a hook was added: {spec}");
        ensure!(template["metadata"].get("annotations").is_none(), "a marker was added: {template}");
        Ok(())
    };
    let room = Room::new(no502)?;
    room.apply(&web().replace("replicas: 1", "strategy: {type: Recreate}"))?.warned("strategy Recreate: ")?;
    unchanged(&room)?;

    let room = Room::new(no502)?;
    room.apply(&(web() + "      terminationGracePeriodSeconds: 0\n"))?.warned("asks to be killed fast")?;
    unchanged(&room)?;

    let room = Room::new(no502)?;
    room.apply(&deployment("web", "app: web", "{name: metrics, containerPort: 9090}"))?.quiet()?;
    unchanged(&room)?;
    // Adopted by the user's next rollout once a Service sends to it, and not before.
    room.given(&service("web", "app: web", "{port: 80, targetPort: 9090}"))?;
    room.kubectl("label deployment web team=shop")?.quiet()?;
    unchanged(&room)?;
    room.kubectl("rollout restart deployment web")?.says(ANNOUNCED)?;
    let restarted = Rollouts::of(&room, "web")?;
    ensure!(restarted.replica_sets.len() == 2 && restarted.grace() == 40, "{restarted:?}");
    Ok(())
}

/// One stream brings a Namespace that wants nothing injected, and a Deployment in it.
fn a_namespace_that_has_just_come(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    for number in 0..FRESH_NAMESPACES {
        let name = format!("{}-fresh-{number}", room.name);
        let namespace = format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, annotations: {{no502.dev/inject: disabled}}}}}}\n"
        );
        let stream = namespace + &with_metadata(&web(), &format!("namespace: {name}"));
        let said = no502.cluster.kubectl(&["apply", "-f", "-"], Some(&stream))?;
        ensure!(said.status.success() && said.stderr.is_empty(), "namespace {number}: {said:?}");
        let stored = no502.cluster.kubectl(&["get", "deployment", "web", "-n", &name, "-o", "json"], None)?.json()?;
        let template = &stored["spec"]["template"];
        let is_plain = template["spec"]["containers"][0].get("lifecycle").is_none();
        ensure!(is_plain && template["metadata"].get("annotations").is_none(), "namespace {number}: {template}");
    }
    Ok(())
}

const ROLLOUT_CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.argoproj.io}
spec:
  group: argoproj.io
  scope: Namespaced
  names: {kind: Rollout, listKind: RolloutList, plural: rollouts, singular: rollout}
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
            status: {type: object, x-kubernetes-preserve-unknown-fields: true}
";

/// A Rollout of the pods of [`web`], with these annotations in YAML flow style.
fn rollout(name: &str, annotations: &str) -> String {
    let labels = format!("app: {name}");
    with_metadata(
        &deployment(name, &labels, "{name: http, containerPort: 8080}"),
        &format!("annotations: {{{annotations}}}"),
    )
    .replace("apiVersion: apps/v1\nkind: Deployment", "apiVersion: argoproj.io/v1alpha1\nkind: Rollout")
}

/// There is no controller, and none is needed: what is stored tells.
fn argo_rollouts(no502: &No502) -> anyhow::Result<()> {
    no502.cluster.kubectl(&["apply", "-f", "-"], Some(ROLLOUT_CRD))?.success()?;
    let established = ["wait", "--for=condition=Established", "crd/rollouts.argoproj.io", "--timeout=30s"];
    no502.cluster.kubectl(&established, None)?.success()?;
    let room = Room::new(no502)?;
    let enabled = "no502.dev/inject: enabled";

    let web = rollout("web", enabled);
    room.apply(&web)?
        .says("Warning: no502: Rollout \"web\": added preStop sleep 10s to container web, grace 30s -> 40s")?;
    let before = room.get("rollout/web")?;
    let template = &before["spec"]["template"];
    ensure!(template["spec"]["containers"][0]["lifecycle"]["preStop"] == json!({"sleep": {"seconds": 10}}), "{before}");
    ensure!(template["spec"]["terminationGracePeriodSeconds"] == 40, "{before}");
    ensure!(template["metadata"]["annotations"][MARKER].is_string(), "{before}");
    // Neither knows how the list of containers is merged: both send it whole, without the sleep.
    for words in ["apply -f -", "apply --server-side --force-conflicts -f -"] {
        for _ in 0..REPEATED_TIMES {
            room.kubectl_with(words, &web)?.quiet()?;
            let after = room.get("rollout/web")?;
            ensure!(after["metadata"]["generation"] == before["metadata"]["generation"], "{words}: {after}");
            ensure!(after["spec"] == before["spec"], "{words}: {after}\nwas\n{before}");
        }
    }
    // Nor does the sleep stay beside an own hook, or in the marker.
    room.apply(&(rollout("web", enabled) + EXEC_HOOK))?.quiet()?;
    let own = room.get("rollout/web")?["spec"]["template"].take();
    let hook = &own["spec"]["containers"][0]["lifecycle"]["preStop"];
    ensure!(*hook == json!({"exec": {"command": ["/bin/drain"]}}), "{own}");
    ensure!(!own["metadata"].to_string().contains("preStop"), "the marker claims a sleep: {own}");

    // Its kind is not one of those that are injected without being asked.
    room.apply(&rollout("plain", ""))?.quiet()?;
    let plain = room.get("rollout/plain")?;
    ensure!(plain["spec"]["template"]["spec"]["containers"][0].get("lifecycle").is_none(), "{plain}");
    ensure!(plain["spec"]["template"]["metadata"].get("annotations").is_none(), "{plain}");

    // Its template is that of a Deployment, which is asked about itself.
    let by_reference = "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: by-reference, annotations: \
                        {no502.dev/inject: enabled}}, spec: {selector: {matchLabels: {app: web}}, workloadRef: \
                        {apiVersion: apps/v1, kind: Deployment, name: web}}}";
    room.apply(by_reference)?.quiet()?;
    ensure!(room.get("rollout/by-reference")?["spec"].get("template").is_none(), "a template came from nowhere");

    room.given(&service("served", "app: served", "{port: 80, targetPort: 8080}"))?;
    room.apply(&(rollout("served", "") + EXEC_HOOK))?.warned("[readiness-missing]")?;
    room.kubectl("label rollout served team=shop")?.quiet()?;
    Ok(())
}
