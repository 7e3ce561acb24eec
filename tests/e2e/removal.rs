//! Life after no502: its webhooks are deleted and its process is gone, and what it has put into templates stays valid.

use std::process::Command;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    cluster::Version,
    no502::{No502, PROGRAM},
    rollouts::Rollouts,
    room::Room,
    trial::E2e,
    ways::{Subject, Way},
};

const MARKER: &str = "no502.dev/injected";

pub(crate) fn trials() -> Vec<E2e> {
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::own_guarded("what_was_injected_stays_valid", NEWEST, what_was_injected_stays_valid),
        E2e::own_guarded("fix_takes_everything_out", NEWEST, fix_takes_everything_out),
    ]
}

/// A Deployment without pods, whose controller is done as soon as it has seen it.
fn deployment(name: &str) -> Value {
    let labels = json!({"app": name});
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": name, "image": "example.invalid/web:1", "ports": ports}]},
            },
        },
    })
}

fn add_exec(object: &mut Value) {
    let hook = &mut object["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"];
    hook["exec"] = json!({"command": ["/bin/drain"]});
}

fn second_image(object: &mut Value) {
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.invalid/web:2");
}

/// As the manual says: first nobody is called any more, then the process ends.
fn remove(no502: &No502) -> anyhow::Result<()> {
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        no502.cluster.kubectl(&["delete", kind, "no502"], None)?.success()?;
    }
    no502.stop()
}

/// Deployments by `kubectl apply` and by server-side apply, with the sleep and the grace period of no502.
fn injected<'a>(room: &Room<'a>) -> anyhow::Result<[(Way, &'static str, Subject<'a>); 2]> {
    let injected = |way: Way, name: &'static str| {
        let subject = Subject::new(&room.no502.cluster, &room.name, deployment(name))?;
        let said = subject.create(way)?;
        ensure!(said.0.stderr.contains("added preStop sleep 10s"), "{said}");
        Ok((way, name, subject))
    };
    Ok([injected(Way::Apply, "applied")?, injected(Way::ForcedServerSideApply, "server-side")?])
}

fn what_was_injected_stays_valid(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let subjects = injected(&room)?;
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
    let subjects = injected(&room)?;
    let others = injected(&elsewhere)?;
    remove(no502)?;
    let fix = |flags: &[&str]| -> anyhow::Result<String> {
        let kubeconfig = no502.cluster.kubeconfig();
        let output = Command::new(PROGRAM)
            .env_clear()
            .args(["fix", "--undo", "--live", "-n", &room.name])
            .args(flags)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .output()?;
        let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        ensure!(output.status.success(), "{}: {stdout}{stderr}", output.status);
        Ok(stdout + &stderr)
    };

    // Without --yes it only says what it would do.
    let before = Rollouts::of(&room, "applied")?;
    let said = fix(&[])?;
    ensure!(said.contains("applied") && said.contains("server-side"), "{said}");
    Rollouts::of(&room, "applied")?.must_be(&before, "not told to")?;

    fix(&["--yes"])?;
    for (way, name, mut subject) in subjects {
        let after = Rollouts::of(&room, name)?;
        ensure!(after.hook().is_null() && after.grace() == 30 && after.marker().is_empty(), "{after:?}");
        ensure!(after.replica_sets.len() == 2, "one rollout: {after:?}");
        let annotations = &after.template["metadata"]["annotations"];
        ensure!(annotations.get(MARKER).is_none(), "{annotations}");
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
    fix(&["--yes"])?;
    Rollouts::of(&room, "applied")?.must_be(&before, "fixed again")
}
