//! Who may write policies, and that nobody gets around what the cluster's policies bound and lock: users with the roles that every
//! cluster has, and what admission then does with their writes.

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    cluster::Version,
    no502::{No502, soon},
    room::{PATIENCE, Room, Said, deployment, service},
    trial::E2e,
};

pub(crate) fn trials() -> Vec<E2e> {
    vec![
        E2e::guarded("who_may_write_policies", &Version::ALL, who_may_write_policies),
        E2e::guarded("bounds_and_locks_hold_values", &Version::ALL, bounds_and_locks_hold_values),
        E2e::guarded("locks_hold_denials", &Version::ALL, locks_hold_denials),
        E2e::own_guarded("policies_are_written_while_no502_is_away", &[Version::V1_37], written_while_no502_is_away),
    ]
}

/// No policy of a namespace has the same.
const CLUSTER_DRAIN_SECONDS: i64 = 40;
const POLICIES: &str = "rolloutpolicies.no502.dev";

/// Somebody with one of the built-in roles in one namespace.
struct User<'a> {
    room: &'a Room<'a>,
    flags: String,
}

impl<'a> User<'a> {
    /// Binds the role, and waits until what is aggregated into it is known.
    fn with_role(room: &'a Room<'a>, role: &str) -> anyhow::Result<Self> {
        let name = format!("{role}-of-{}", room.name);
        room.kubectl(&format!("create rolebinding {name} --clusterrole={role} --user={name}"))?.done()?;
        let user = Self { room, flags: format!("--as={name} --as-group=team") };
        // The controller manager adds our roles to the built-in ones.
        soon(&format!("{name} may read policies"), PATIENCE, || {
            let said = user.kubectl(&format!("auth can-i list {POLICIES}"))?;
            ensure!(said.0.stdout.trim() == "yes", "{said}");
            Ok(())
        })?;
        Ok(user)
    }

    fn kubectl(&self, words: &str) -> anyhow::Result<Said> {
        self.room.kubectl(&format!("{words} {}", self.flags))
    }

    fn apply(&self, yaml: &str) -> anyhow::Result<Said> {
        self.room.kubectl_with(&format!("apply -f - {}", self.flags), yaml)
    }

    /// Writes a policy of the namespace whose drain time no other policy has, and waits until it is in force: until a Deployment is
    /// given that drain time.
    fn in_force(&self, name: &str, drain_seconds: i64, more: &str) -> anyhow::Result<()> {
        let spec = more.replace("INJECTION", &format!("gracePeriod: {{appDrainSeconds: {drain_seconds}}}"));
        self.apply(&policy("RolloutPolicy", name, &spec))?.done()?;
        self.await_drain(name, drain_seconds)
    }

    fn await_drain(&self, name: &str, drain_seconds: i64) -> anyhow::Result<()> {
        soon(&format!("policy {name} is in force"), PATIENCE, || {
            let web = self.dry_run("probe", "")?;
            ensure!(web.grace_seconds - web.sleep_seconds == drain_seconds, "{web:?}");
            Ok(())
        })
    }

    /// What would be injected into a Deployment with these annotations.
    fn dry_run(&self, name: &str, annotations: &str) -> anyhow::Result<Injected> {
        let yaml = deployment(name, "app: probe", "{containerPort: 8080}")
            .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, annotations: {{{annotations}}}}}"));
        let said = self.room.kubectl_with(&format!("create --dry-run=server -o json -f - {}", self.flags), &yaml)?;
        let stored: Value = serde_json::from_str(&said.done()?)?;
        let pod = &stored["spec"]["template"]["spec"];
        let number = |it: &Value| it.as_i64().with_context(|| format!("no number: {pod}"));
        Ok(Injected {
            sleep_seconds: number(&pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"])?,
            grace_seconds: number(&pod["terminationGracePeriodSeconds"])?,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Injected {
    sleep_seconds: i64,
    grace_seconds: i64,
}

fn policy(kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: no502.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n")
}

/// A policy of the cluster for one namespace, written by an administrator.
fn cluster_policy(room: &Room<'_>, spec: &str) -> anyhow::Result<()> {
    let selector = format!("namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}", room.name);
    let policy = policy("ClusterRolloutPolicy", &format!("of-{}", room.name), &format!("{selector}, {spec}"));
    room.apply(&policy)?.done().map(drop)
}

/// The same with limits, and waits until they are in force: policies of the cluster and of namespaces come by different watches.
fn limits_in_force(room: &Room<'_>, limits: &str) -> anyhow::Result<()> {
    let settings = format!(
        "settings: {{injection: {{gracePeriod: {{appDrainSeconds: {CLUSTER_DRAIN_SECONDS}}}, preStop: {{sleepSeconds: 10}}}}}}"
    );
    cluster_policy(room, &format!("{limits}, {settings}"))?;
    User { room, flags: String::new() }.await_drain("of the cluster", CLUSTER_DRAIN_SECONDS)
}

fn forbidden(said: &Said) -> anyhow::Result<()> {
    let is_refused = !said.0.status.success() && said.0.stderr.contains("Error from server (Forbidden)");
    ensure!(is_refused && said.0.stderr.contains(" cannot "), "should have been forbidden: {said}");
    Ok(())
}

fn who_may_write_policies(no502: &No502) -> anyhow::Result<()> {
    let (room, other) = (Room::new(no502)?, Room::new(no502)?);
    cluster_policy(&room, "settings: {profile: standard}")?;
    room.apply(&policy("RolloutPolicy", "given", "settings: {profile: strict}"))?.done()?;
    let all = format!("/apis/no502.dev/v1alpha1/namespaces/{}/rolloutpolicies", room.name);
    let elsewhere = all.replace(&room.name, &other.name);
    for (role, may_write, may_delete_all) in [("view", false, false), ("edit", true, false), ("admin", true, true)] {
        let user = User::with_role(&room, role)?;
        let allowed = |said: Said, is_allowed: bool| if is_allowed { said.done().map(drop) } else { forbidden(&said) };
        let own = policy("RolloutPolicy", role, "settings: {profile: strict}");
        user.kubectl("get rpol given")?.done()?;
        user.kubectl("get rpol")?.done()?;
        allowed(user.apply(&own)?, may_write).with_context(|| format!("{role} creates"))?;
        let patch = "--type=merge -p {\"spec\":{\"priority\":1}}";
        allowed(user.kubectl(&format!("patch rpol given {patch}"))?, may_write)?;
        let replaced = own.replace("strict", "advise");
        let replace = format!("replace -f - {}", user.flags);
        allowed(room.kubectl_with(&replace, &replaced)?, may_write)?;
        allowed(user.kubectl(&format!("delete rpol {role}"))?, may_write).with_context(|| format!("{role} deletes"))?;
        allowed(user.kubectl(&format!("delete --raw {all}?dryRun=All"))?, may_delete_all)?;

        let status = "--subresource=status --type=merge -p {\"status\":{\"observedGeneration\":99}}";
        forbidden(&user.kubectl(&format!("patch rpol given {status}"))?).with_context(|| format!("{role}, status"))?;
        let there = format!("create -n {} -f - {}", other.name, user.flags);
        forbidden(&room.kubectl_with(&there, &own)?).with_context(|| format!("{role}, elsewhere"))?;
        forbidden(&user.kubectl(&format!("get --raw {elsewhere}"))?)?;
        let cluster_name = format!("of-{}", room.name);
        forbidden(&user.kubectl(&format!("patch crpol {cluster_name} {patch}"))?)?;
        forbidden(&user.kubectl(&format!("patch crpol {cluster_name} {status}"))?)?;
        forbidden(&user.kubectl(&format!("delete crpol {cluster_name}"))?)?;
        forbidden(&user.kubectl(&format!("get crpol {cluster_name}"))?)?;
        let create = format!("create -f - {}", user.flags);
        forbidden(&room.kubectl_with(&create, &policy("ClusterRolloutPolicy", &format!("{role}-{}", room.name), ""))?)?;
        // Neither a way out of what the cluster's policies select, nor the annotations that are above those of workloads.
        forbidden(&user.kubectl(&format!("label namespace {} team=other", room.name))?)?;
        forbidden(&user.kubectl(&format!("annotate namespace {} no502.dev/profile=advise", room.name))?)?;
    }

    // Nobody is bound to it; who is, reads the policies of the cluster and changes none.
    let reader = format!("--as=reader-of-{}", room.name);
    let bind = format!(
        "create clusterrolebinding reader-of-{0} --clusterrole=no502-policy-reader --user=reader-of-{0}",
        room.name
    );
    room.kubectl(&bind)?.done()?;
    soon("the reader may read", PATIENCE, || room.kubectl(&format!("get crpol of-{} {reader}", room.name))?.done())?;
    room.kubectl(&format!("get namespace {} {reader}", room.name))?.done()?;
    forbidden(&room.kubectl(&format!("delete crpol of-{} {reader}", room.name))?)?;
    forbidden(&room.kubectl(&format!("get rpol given {reader}"))?)
}

/// The sleep of whatever is asked for, by whomever and however, is within the bound, and the locked switch stays on.
fn bounds_and_locks_hold_values(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let bounds =
        "bounds: [{field: injection.preStop.sleepSeconds, min: 5, max: 30}, {field: injection.mode, atLeast: inject}]";
    let locked = "locked: [injection.preStop.mode, injection.kinds, injection.excludeContainers]";
    limits_in_force(&room, &format!("{bounds}, {locked}"))?;
    for role in ["edit", "admin"] {
        let user = User::with_role(&room, role)?;
        let sleeps = |what: &str, name: &str, annotations: &str, seconds: i64| -> anyhow::Result<()> {
            let injected = user.dry_run(name, annotations).with_context(|| what.to_owned())?;
            ensure!(injected.sleep_seconds == seconds, "{role}, {what}: {injected:?}");
            Ok(())
        };
        // Within the bound, policies and annotations count.
        user.in_force("own", 41, "settings: {injection: {INJECTION, preStop: {sleepSeconds: 20}}}")?;
        sleeps("a policy", "web", "", 20)?;
        sleeps("an annotation", "web", "no502.dev/prestop-sleep-seconds: \"7\"", 7)?;

        user.in_force(
            "own",
            42,
            "settings: {injection: {INJECTION, mode: \"off\", preStop: {mode: \"off\", sleepSeconds: 300}}}",
        )?;
        sleeps("a policy beyond the bound and the lock", "web", "", 30)?;
        user.in_force("own", 43, "settings: {injection: {INJECTION, preStop: {preset: aws-nlb-ip}}}")?;
        sleeps("a preset", "web", "", 30)?;
        let excluded = "kinds: [StatefulSet], excludeContainers: [web, probe, api], preStop: {sleepSeconds: 0}";
        user.in_force("second", 44, &format!("priority: 1000000, settings: {{injection: {{INJECTION, {excluded}}}}}"))?;
        sleeps("a second policy of the highest priority", "web", "", 5)?;
        let selected = "workloadSelector: {matchExpressions: [{key: no-such-label, operator: DoesNotExist}]}";
        let off = "settings: {injection: {INJECTION, mode: warn, preStop: {mode: warn, sleepSeconds: 1}}}";
        user.in_force("third", 45, &format!("priority: 1000000, {selected}, {off}"))?;
        sleeps("a policy that selects", "web", "", 5)?;
        // A policy with the name of the cluster's own, after the others are gone.
        user.kubectl("delete rpol own second third")?.done()?;
        let name = format!("of-{}", room.name);
        user.in_force(
            &name,
            46,
            "settings: {injection: {INJECTION, mode: \"off\", preStop: {mode: \"off\", sleepSeconds: 0}}}",
        )?;
        sleeps("a policy that is called like the cluster's", "web", "", 5)?;

        for (annotations, seconds) in [
            ("no502.dev/prestop-sleep-seconds: \"0\"", 5),
            ("no502.dev/prestop-sleep-seconds: \"300\"", 30),
            ("no502.dev/preset: aws-nlb-ip", 30),
            ("no502.dev/inject: \"off\", no502.dev/reason: we know better", 5),
            ("no502.dev/prestop: \"off\"", 5),
            ("no502.dev/kinds: StatefulSet", 5),
            ("no502.dev/exclude-containers: web", 5),
        ] {
            sleeps(annotations, "web", annotations, seconds)?;
            sleeps(annotations, "api", &annotations.replace("web", "api"), seconds)?;
        }
        // Not only a dry run: what is stored.
        user.apply(&deployment(&format!("stored-{role}"), "app: stored", "{containerPort: 8080}"))?.done()?;
        let stored = room.get(&format!("deployment/stored-{role}"))?;
        let pod = &stored["spec"]["template"]["spec"];
        ensure!(pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 5, "{pod}");
        user.kubectl(&format!("delete rpol {name}"))?.done()?;
    }
    Ok(())
}

/// What is denied stays denied: against policies, annotations and exemptions of the namespace.
fn locks_hold_denials(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    let bounds = "bounds: [{field: profile, atLeast: standard}, {field: exemptionDays, max: 30}]";
    limits_in_force(&room, &format!("{bounds}, locked: [actions.service-selects-nothing]"))?;
    let user = User::with_role(&room, "admin")?;
    let web = deployment("web", "app: web", "{name: web, containerPort: 8080}");
    room.given(&(web + &service("web", "app: web", "{port: 80, targetPort: web}")))?;
    let selector_is_denied = || {
        let dropped = user.kubectl("set selector service web app=gone --dry-run=server")?;
        dropped.denied("[service-selects-nothing]")
    };
    let other_name = || user.apply(&service("web", "app: gone", "{port: 80}"))?.denied("[service-selects-nothing]");
    let port = service("web", "app: web", "{port: 80, targetPort: http}");
    let ahead = || room.kubectl_with(&format!("apply --dry-run=server -f - {}", user.flags), &port);
    let in_days = |days: i64| Timestamp::now() + SignedDuration::from_hours(24 * days);
    let exemption = |rule: &str, days: i64| {
        format!(
            "{{rule: {rule}, target: {{kind: Service, name: \"*\"}}, reason: we know better, expires: \"{:.0}\"}}",
            in_days(days)
        )
    };
    selector_is_denied()?;
    ahead()?.denied("[service-port-unresolved]")?;

    let settings = "settings: {profile: advise, injection: {INJECTION}, actions: {service-selects-nothing: \"off\"}}";
    user.in_force("own", 41, settings)?;
    selector_is_denied()?;
    other_name()?;
    ahead()?.denied("[service-port-unresolved]")?;
    user.in_force("own", 42, &format!("{settings}, exemptions: [{}]", exemption("service-selects-nothing", 10)))?;
    selector_is_denied()?;
    user.in_force(
        "second",
        43,
        &format!("priority: 1000000, {settings}, exemptions: [{}]", exemption("service-selects-nothing", 10)),
    )?;
    selector_is_denied()?;
    other_name()?;

    // An exemption may be made from what is not locked, for as long as the cluster lets it last.
    user.in_force(
        "second",
        44,
        &format!("priority: 1000000, {settings}, exemptions: [{}]", exemption("service-port-unresolved", 60)),
    )?;
    ahead()?.denied("[service-port-unresolved]")?;
    user.kubectl("delete rpol second")?.done()?;
    user.in_force(
        "renamed",
        46,
        &format!("priority: 1000000, {settings}, exemptions: [{}]", exemption("service-port-unresolved", 60)),
    )?;
    ahead()?.denied("[service-port-unresolved]")?;
    user.in_force(
        "renamed",
        47,
        &format!("priority: 1000000, {settings}, exemptions: [{}]", exemption("service-port-unresolved", 10)),
    )?;
    let said = ahead()?;
    ensure!(said.0.stderr.contains("exempt until"), "{said}");
    said.done().map(drop)
}

/// The kill switch has to work when it is needed most: in a cluster with namespaces that fail closed, and without no502.
fn written_while_no502_is_away(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    room.kubectl(&format!("label namespace {} no502.dev/fail-closed=true", room.name))?.done()?;
    let user = User::with_role(&room, "edit")?;
    no502.stop()?;
    let web = service("web", "app: web", "{port: 80}");
    let refused_by = "failed calling webhook \"validate-fail-closed.no502.dev\"";
    soon("the namespace fails closed", PATIENCE, || {
        let said = room.kubectl_with("create --dry-run=server -f -", &web)?;
        ensure!(said.0.stderr.contains(refused_by), "{said}");
        Ok(())
    })?;
    user.apply(&policy("RolloutPolicy", "own", "settings: {profile: advise}"))?.done()?;
    user.kubectl("delete rpol own")?.done()?;
    cluster_policy(&room, "settings: {enabled: true}")?;
    cluster_policy(&room, "settings: {enabled: false}")?;
    // Which does not reach the API server's own configuration.
    let said = room.apply(&deployment("web", "app: web", "{containerPort: 8080}"))?;
    ensure!(!said.0.status.success() && said.0.stderr.contains(refused_by), "{said}");
    room.kubectl(&format!("delete crpol of-{}", room.name))?.done().map(drop)
}
