//! Life after no502: its webhooks are deleted and its process is gone, and what it has put into templates stays valid.

use std::process::Command;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    cluster::Version,
    no502::{No502, PROGRAM},
    rollouts::{MARKER, Rollouts},
    room::Room,
    trial::E2e,
    ways::{Subject, Way, podless, second_image},
};

pub(crate) fn trials() -> Vec<E2e> {
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::own_guarded("what_was_injected_stays_valid", NEWEST, what_was_injected_stays_valid),
        E2e::own_guarded("fix_takes_everything_out", NEWEST, fix_takes_everything_out),
        E2e::guarded("fix_while_no502_runs", NEWEST, fix_while_no502_runs),
    ]
}

fn add_exec(object: &mut Value) {
    let hook = &mut object["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"];
    hook["exec"] = json!({"command": ["/bin/drain"]});
}

/// As the manual says: first nobody is called any more, then the process ends.
fn remove(no502: &No502) -> anyhow::Result<()> {
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        no502.cluster.kubectl(&["delete", kind, "no502"], None)?.success()?;
    }
    no502.stop()
}

/// The grace period of the user's own that the one by server-side apply has, where there is `with_own_grace`.
const OWN_GRACE_SECONDS: i64 = 35;

/// Deployments by `kubectl apply` and by server-side apply, with the sleep and the grace period of no502.
fn injected<'a>(room: &Room<'a>, with_own_grace: bool) -> anyhow::Result<[(Way, &'static str, Subject<'a>); 2]> {
    let injected = |way: Way, name: &'static str| {
        let mut file = podless(name);
        if with_own_grace && name == "server-side" {
            file["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(OWN_GRACE_SECONDS);
        }
        let subject = Subject::new(&room.no502.cluster, &room.name, file)?;
        let said = subject.create(way)?;
        ensure!(said.0.stderr.contains("added preStop sleep 10s"), "{said}");
        Ok((way, name, subject))
    };
    Ok([injected(Way::Apply, "applied")?, injected(Way::ForcedServerSideApply, "server-side")?])
}

/// `no502 fix --undo --live` in the room; what it printed.
fn fix(room: &Room<'_>, flags: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(PROGRAM)
        .env_clear()
        .args(["fix", "--undo", "--live", "-n", &room.name])
        .args(flags)
        .arg("--kubeconfig")
        .arg(room.no502.cluster.kubeconfig())
        .output()?;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(output.status.success(), "{}: {stdout}{stderr}", output.status);
    Ok(stdout + &stderr)
}

/// Nothing of no502's is left, the user's own grace period is back, and it took one rollout.
fn is_out(room: &Room<'_>, name: &str) -> anyhow::Result<Rollouts> {
    let after = Rollouts::of(room, name)?;
    let grace = if name == "server-side" { OWN_GRACE_SECONDS } else { 30 };
    ensure!(after.hook().is_null() && after.grace() == grace, "{name}: {after:?}");
    ensure!(after.replica_sets.len() == 2, "{name}: one rollout: {after:?}");
    let annotations = &after.template["metadata"]["annotations"];
    ensure!(annotations.get(MARKER).is_none(), "{name}: {annotations}");
    Ok(after)
}

fn what_was_injected_stays_valid(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let subjects = injected(&room, false)?;
    remove(no502)?;
    for (way, name, mut subject) in subjects {
        let before = Rollouts::of(&room, name)?;
        subject.write(way, |_| {})?.quiet()?;
        Rollouts::of(&room, name)?.must_be(&before, "applied again")?;

        subject.write(way, second_image)?.quiet()?;
        subject.write(Way::Edit, |object| object["metadata"]["labels"]["team"] = json!("shop"))?.quiet()?;
        room.kubectl(&format!("scale deployment {name} --replicas=1"))?.quiet()?;
        room.kubectl(&format!("rollout restart deployment {name}"))?.quiet()?;
        room.kubectl(&format!("rollout undo deployment {name}"))?.done()?;
        let after = Rollouts::of(&room, name)?;
        ensure!(after.image() == "example.invalid/web:2" && after.replica_sets.len() == 3, "{after:?}");
        ensure!(after.hook() == before.hook() && after.grace() == 40 && after.marker() == before.marker(), "{after:?}");

        // Nobody takes the sleep out any more for a handler of the user's own: the reason for `no502 fix --undo --live`.
        let said = subject.write(way, add_exec)?;
        ensure!(!said.0.status.success(), "who has taken out the sleep? {said}");
        ensure!(said.0.stderr.contains("may not specify more than 1 handler type"), "{said}");
        Rollouts::of(&room, name)?.must_be(&after, "refused")?;
        // By hand it is one field.
        subject.write(Way::StrategicPatch, |object| {
            object["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"] = Value::Null;
        })?;
        subject.write(way, add_exec)?.quiet()?;
        ensure!(Rollouts::of(&room, name)?.hook() == &json!({"exec": {"command": ["/bin/drain"]}}), "no hook");
    }
    Ok(())
}

fn fix_takes_everything_out(no502: &No502) -> anyhow::Result<()> {
    let (room, elsewhere) = (Room::new(no502)?, Room::new(no502)?);
    let subjects = injected(&room, true)?;
    let others = injected(&elsewhere, true)?;
    remove(no502)?;
    // Without --yes it only says what it would do.
    let before = Rollouts::of(&room, "applied")?;
    let said = fix(&room, &[])?;
    ensure!(said.contains("applied") && said.contains("server-side"), "{said}");
    Rollouts::of(&room, "applied")?.must_be(&before, "not told to")?;

    fix(&room, &["--yes"])?;
    for (way, name, mut subject) in subjects {
        let after = is_out(&room, name)?;
        subject.write(way, |_| {})?.quiet()?;
        Rollouts::of(&room, name)?.must_be(&after, "applied again")?;
        subject.write(way, add_exec)?.quiet()?;
        ensure!(Rollouts::of(&room, name)?.hook() == &json!({"exec": {"command": ["/bin/drain"]}}), "no hook");
    }
    for (_, name, _) in others {
        let untouched = Rollouts::of(&elsewhere, name)?;
        ensure!(untouched.grace() == 40 && untouched.replica_sets.len() == 1, "another namespace: {untouched:?}");
    }
    // There is nothing left to do.
    let before = Rollouts::of(&room, "applied")?;
    fix(&room, &["--yes"])?;
    Rollouts::of(&room, "applied")?.must_be(&before, "fixed again")
}

/// As the manual says for a namespace that is to do without: nothing comes back while no502 goes on.
fn fix_while_no502_runs(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let subjects = injected(&room, true)?;
    room.annotate("no502.dev/inject=disabled", "")?;
    for (_, name, _) in &subjects {
        let stays = Rollouts::of(&room, name)?;
        ensure!(stays.grace() == 40 && stays.replica_sets.len() == 1, "{name}: {stays:?}");
    }
    fix(&room, &["--yes"])?;
    for (way, name, mut subject) in subjects {
        let after = is_out(&room, name)?;
        subject.write(way, |_| {})?.quiet()?;
        Rollouts::of(&room, name)?.must_be(&after, "applied again")?;
        subject.write(way, second_image)?.quiet()?;
        room.kubectl(&format!("rollout restart deployment {name}"))?.quiet()?;
        let later = Rollouts::of(&room, name)?;
        ensure!(later.hook().is_null() && later.grace() == after.grace() && later.marker().is_empty(), "{later:?}");
        ensure!(later.generation == after.generation + 2 && later.replica_sets.len() == 4, "{name}: {later:?}");
    }
    Ok(())
}
