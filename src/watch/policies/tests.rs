//! What arrives, in which order, and what is in force then.

use serde_json::json;

use super::*;
use crate::{
    facts::{Meta, Namespace},
    policy::{Field, Installation, Source},
    server::Readiness,
};

struct Scene {
    arrivals: Arrivals,
    policies: Arc<ArcSwap<Policies>>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    version: u32,
}

impl Scene {
    fn new() -> Self {
        let (readiness, metrics, policies) = (Readiness::new(), Arc::new(Metrics::new()), Arc::default());
        let store = PolicyStore::new(Installation::default());
        let are_read = readiness.require("policies read");
        let arrivals = Arrivals::new(store, Arc::clone(&policies), Arc::default(), are_read, Arc::clone(&metrics));
        Self { arrivals, policies, readiness, metrics, version: 0 }
    }

    fn take(&mut self, kind: PolicyKind, input: PolicyInput) -> bool {
        let is_due = self.arrivals.take(kind, input);
        self.arrivals.publish();
        is_due
    }

    /// A policy for namespace shop that sets its profile.
    fn policy(&mut self, kind: PolicyKind, generation: i64, profile: &serde_json::Value) -> PolicyInput {
        self.version += 1;
        let name = if kind.is_cluster() { json!({ "name": "a" }) } else { json!({ "name": "a", "namespace": "shop" }) };
        let mut object = json!({ "metadata": name, "spec": { "settings": { "profile": profile } }, "status": { "seen": self.version } });
        object["metadata"]["generation"] = json!(generation);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        PolicyInput::Object(Box::new(serde_json::from_str(&object.to_string()).expect("a policy")))
    }

    fn list(&mut self, kind: PolicyKind, policies: Vec<PolicyInput>) {
        self.take(kind, PolicyInput::ListBegins);
        for policy in policies {
            self.take(kind, policy);
        }
        self.take(kind, PolicyInput::ListEnds);
    }

    fn profile(&self) -> &'static str {
        self.policies.load().effective("shop", None, None).profile.name()
    }

    fn is_ready(&self) -> bool {
        self.readiness.missing().is_empty()
    }

    fn reloads(&self) -> u64 {
        let text = self.metrics.encode(Timestamp::UNIX_EPOCH);
        let value = text.lines().find_map(|it| it.strip_prefix("no502_policy_reloads_total "));
        value.and_then(|it| it.parse().ok()).expect("a counter")
    }
}

const CLUSTER: PolicyKind = PolicyKind::Cluster;
const NAMESPACED: PolicyKind = PolicyKind::Namespaced;

#[test]
fn without_definitions_what_is_built_in_is_in_force_and_nobody_waits() {
    let mut scene = Scene::new();
    scene.take(CLUSTER, PolicyInput::ListBegins);
    assert!(scene.take(CLUSTER, PolicyInput::Absent) && !scene.is_ready(), "the other kind is not known yet");
    assert!(scene.take(NAMESPACED, PolicyInput::Absent) && scene.is_ready());
    assert!(!scene.take(NAMESPACED, PolicyInput::Absent), "nothing new");
    assert_eq!((scene.profile(), scene.reloads()), ("standard", 0));

    let policy = scene.policy(CLUSTER, 1, &json!("strict"));
    scene.list(CLUSTER, vec![policy]);
    assert_eq!((scene.profile(), scene.reloads()), ("strict", 1), "they have been installed");
    scene.take(CLUSTER, PolicyInput::ListBegins);
    assert_eq!(scene.profile(), "strict", "a list that has not ended takes nothing away");
    scene.take(CLUSTER, PolicyInput::Absent);
    assert_eq!(scene.profile(), "standard", "they have been deleted");
}

#[test]
fn policies_count_as_read_once_both_lists_have_ended_and_are_in_force() {
    let mut scene = Scene::new();
    let objects = Arc::clone(&scene.arrivals.objects);
    let policy = scene.policy(NAMESPACED, 1, &json!("advise"));
    scene.list(CLUSTER, Vec::new());
    scene.take(NAMESPACED, PolicyInput::ListBegins);
    scene.take(NAMESPACED, policy);
    assert!(!objects.are_read(), "there may be more of them");
    scene.arrivals.take(NAMESPACED, PolicyInput::ListEnds);
    assert!(!objects.are_read(), "not in force yet");
    scene.arrivals.publish();
    assert!(objects.are_read());

    let mut scene = Scene::new();
    scene.take(CLUSTER, PolicyInput::Forbidden);
    scene.take(NAMESPACED, PolicyInput::Absent);
    assert!(scene.arrivals.objects.are_read(), "there is nothing to wait for");
}

#[tokio::test]
async fn a_missing_right_is_looked_for_less_and_less_often() {
    let answer = |code| {
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(
            kube::core::Status::failure("no", "").with_code(code),
        )))
    };
    let service = tower::service_fn(|_: hyper::Request<kube::client::Body>| {
        std::future::pending::<Result<hyper::Response<kube::client::Body>, std::convert::Infallible>>()
    });
    let mut watch = Watch::new(Client::new(service, "default"), CLUSTER, Arc::new(Metrics::new()));
    let mut pauses = |codes: &[u16]| {
        let pause = |code: &u16| {
            watch.failed(&answer(*code));
            watch.pause.as_secs()
        };
        codes.iter().map(pause).collect::<Vec<_>>()
    };
    assert_eq!(pauses(&[403; 8]), [2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(pauses(&[404, 404, 403, 403]), [2, 2, 2, 4], "no definitions: another thing");
    watch.heard(watcher::Event::InitDone);
    watch.failed(&answer(403));
    assert_eq!(watch.pause.as_secs(), 2, "it had the right in between");
}

#[test]
fn without_rights_what_was_read_last_stays() {
    let mut scene = Scene::new();
    assert!(scene.take(CLUSTER, PolicyInput::Forbidden) && scene.take(NAMESPACED, PolicyInput::Forbidden));
    assert!(scene.is_ready(), "the rights of an older version are enough to serve");
    let policy = scene.policy(NAMESPACED, 1, &json!("advise"));
    scene.list(NAMESPACED, vec![policy]);
    scene.take(NAMESPACED, PolicyInput::Forbidden);
    assert_eq!(scene.profile(), "advise");
}

#[test]
fn a_written_status_is_no_change_and_an_unreadable_policy_changes_nothing() {
    let mut scene = Scene::new();
    let policy = scene.policy(NAMESPACED, 1, &json!("advise"));
    scene.list(NAMESPACED, vec![policy]);
    assert_eq!((scene.profile(), scene.reloads()), ("advise", 1));
    let again = scene.policy(NAMESPACED, 1, &json!("advise"));
    assert!(!scene.take(NAMESPACED, again), "only the status differs");
    let stored = scene.arrivals.objects.all();
    assert_eq!(
        stored.values().next().map(|it| it.resource_version.as_str()),
        Some("2"),
        "which the writer has to know"
    );

    let bad = scene.policy(NAMESPACED, 2, &json!(7));
    assert!(scene.take(NAMESPACED, bad));
    assert_eq!((scene.profile(), scene.reloads()), ("advise", 2));
    let text = scene.metrics.encode(Timestamp::UNIX_EPOCH);
    assert!(text.contains(r#"no502_policies{kind="RolloutPolicy",state="last-good"} 1"#), "{text}");
    scene.list(NAMESPACED, Vec::new());
    assert_eq!(scene.profile(), "standard", "a full list without it");
    assert!(scene.arrivals.objects.all().is_empty());
}

#[test]
fn namespaces_are_selected_by_the_labels_they_have_now() {
    let mut scene = Scene::new();
    let labelled = |team: &str| {
        let meta = Meta { name: "shop".into(), ..Meta::default() };
        let labels = [("team", team)].into_iter().collect();
        Facts::Namespace(Namespace { meta, labels, injects_istio: false, injects_linkerd: false })
    };
    let policy = json!({
        "metadata": { "name": "a" },
        "spec": { "namespaceSelector": { "matchLabels": { "team": "a" } }, "settings": { "profile": "strict" } },
    });
    let policy = serde_json::from_str(&policy.to_string()).expect("a policy");
    scene.list(CLUSTER, vec![PolicyInput::Object(Box::new(policy))]);
    let mut profile_after = |change: &mut dyn FnMut(&mut Arrivals)| {
        change(&mut scene.arrivals);
        scene.arrivals.publish();
        let effective = scene.policies.load().effective("shop", None, None);
        (effective.source(Field::Profile).clone(), effective.profile.name())
    };
    let strict = (Source::ClusterPolicy("a".into()), "strict");
    let standard = (Source::BuiltIn, "standard");
    assert_eq!(profile_after(&mut |it| it.namespace(&labelled("a"))), strict);
    assert_eq!(profile_after(&mut |it| it.namespace(&labelled("b"))), standard);
    assert_eq!(profile_after(&mut |it| it.namespace(&labelled("a"))), strict);
    assert_eq!(
        profile_after(&mut |it| {
            it.namespace_list_begins();
            it.namespace_list_ends();
        }),
        standard,
        "a full list without it"
    );
}
