//! Writing a policy says what it means for what is there: as warnings of kubectl, in a dry run too, and never as a denial.

use anyhow::ensure;

use crate::{
    cluster::Version,
    no502::{No502, soon},
    policies::policy,
    room::{PATIENCE, Room, Said, deployment, service},
    trial::E2e,
};

pub(crate) fn trials() -> Vec<E2e> {
    const BOTH: &[Version] = &[Version::V1_37, Version::V1_35];
    const NEWEST: &[Version] = &[Version::V1_37];
    vec![
        E2e::guarded("a_policy_says_whom_it_means", BOTH, a_policy_says_whom_it_means),
        E2e::own_guarded("a_policy_of_the_cluster_says_so_too", NEWEST, a_policy_of_the_cluster_says_so_too),
    ]
}

const PORT: &str = "{name: http, containerPort: 8080}";

/// Four Deployments, and a Service that asks one of them for a port that it does not have.
fn world(room: &Room<'_>) -> anyhow::Result<()> {
    let names = ["api", "cart", "mail", "web"];
    room.given(&names.map(|it| deployment(it, &format!("app: {it}"), PORT)).concat())?;
    // Denied in any other profile.
    room.kubectl(&format!("annotate namespace {} no502.dev/profile=advise", room.name))?.quiet()?;
    let odd = service("odd", "app: web", "{port: 80, targetPort: nowhere}");
    soon("the profile is in force", PATIENCE, || room.apply(&odd)?.done().map(drop))
}

/// A preview that a busy machine left no time to count everything says so instead.
const STOPPED: &str = "no502: stopped counting after ";

/// A dry run of the policy has this to say, or nothing, as soon as no502 knows what is there. The write then says the same.
fn is_written(room: &Room<'_>, policy: &str, warning: &str) -> anyhow::Result<()> {
    let says = |said: Said| if warning.is_empty() { said.quiet().map(drop) } else { said.says(warning) };
    soon("the preview counts what is there", PATIENCE, || {
        says(room.kubectl_with("apply --dry-run=server -f -", policy)?)
    })?;
    let said = room.apply(policy)?;
    ensure!(said.0.status.success(), "should have been written: {said}");
    if said.0.stderr.contains(STOPPED) { Ok(()) } else { says(said) }
}

fn a_policy_says_whom_it_means(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    world(&room)?;
    let ns = &room.name;

    let strict = policy("RolloutPolicy", "own", "{settings: {profile: standard}}");
    let denied = format!("Warning: no502: 1 existing object would newly be denied if written anew: Service {ns}/odd");
    soon("what was written last is counted", PATIENCE, || {
        room.kubectl_with("apply --dry-run=server -f -", &strict)?.says(&denied)
    })?;
    ensure!(!room.kubectl("get rolloutpolicy own")?.0.status.success(), "a dry run writes nothing");
    is_written(&room, &strict, &denied)?;
    room.apply(&strict)?.quiet()?;

    let sleepy =
        policy("RolloutPolicy", "own", "{settings: {profile: standard, injection: {preStop: {sleepSeconds: 20}}}}");
    // The fifth is left from the settling of the room.
    let injected = format!(
        "Warning: no502: 5 existing workloads would newly be injected, or otherwise than now, at the next rollout: \
         Deployment {ns}/api, Deployment {ns}/barrier-0, Deployment {ns}/cart and 2 more"
    );
    is_written(&room, &sleepy, &injected)?;

    let selective = policy(
        "RolloutPolicy",
        "mail",
        "{workloadSelector: {matchLabels: {nobody: has-this}}, settings: {injection: {mode: \"off\"}}}",
    );
    let nobody = "Warning: no502: RolloutPolicy \"mail\" selects no workload that is there; it goes by their own labels, and Rollouts are not looked at";
    is_written(&room, &selective, nobody)
}

fn a_policy_of_the_cluster_says_so_too(no502: &No502) -> anyhow::Result<()> {
    let room = Room::new(no502)?;
    world(&room)?;
    let ns = &room.name;
    let spec = |mode: &str| {
        format!(
            "{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}, settings: {{injection: {{mode: {mode}}}}}}}"
        )
    };
    let off = format!(
        "Warning: no502: 5 existing workloads would no longer be injected: Deployment {ns}/api, Deployment {ns}/barrier-0, \
         Deployment {ns}/cart and 2 more"
    );
    // A word that YAML takes for false stands in quotes.
    is_written(&room, &policy("ClusterRolloutPolicy", "quiet", &spec("\"off\"")), &off)?;
    let locked = policy("ClusterRolloutPolicy", "locks", "{locked: [injection.preStop.sleepSeconds]}");
    is_written(&room, &locked, "")?;
    soon("the lock is told", PATIENCE, || {
        let own = policy("RolloutPolicy", "own", "{settings: {injection: {preStop: {sleepSeconds: 20}}}}");
        let said = room.kubectl_with("apply --dry-run=server -f -", &own)?;
        said.says(
            "Warning: no502: RolloutPolicy \"own\" spec.settings.injection.preStop.sleepSeconds is ignored: \
             ClusterRolloutPolicy \"locks\" locks it",
        )
    })
}
