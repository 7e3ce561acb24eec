//! The world and the reviews that are measured: made by code from a seed, in the field order of the API server, so that nothing
//! large is committed and every run sees the same bytes.

use std::fmt::Write;

use no502::{
    facts::Facts,
    snapshot::{Resource, Store},
};

/// Workloads of a world.
pub(crate) const WORKLOADS: usize = 1_000;
/// Pods of each workload.
pub(crate) const REPLICAS: usize = 10;
/// All pods of a world.
pub(crate) const PODS: usize = WORKLOADS * REPLICAS;

const SEED: u64 = 502;
const ENV_VARIABLES: usize = 2;

/// Where the objects of a world are, and what its pods have of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    /// 1,000 workloads are dealt out to so many namespaces.
    pub(crate) namespaces: usize,
    /// Every pod has labels that no other has, as those of a `StatefulSet` do.
    pub(crate) has_unique_labels: bool,
}

/// The workload that the reviews are about.
pub(crate) const SUBJECT: usize = 17;

/// What a write does to a Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A scaling: the template stays.
    Scale,
    /// A new image.
    Image,
}

/// Splitmix64: text that looks like hashes, the same in every run.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::new();
        while text.len() < digits {
            let _ = write!(text, "{:016x}", self.next());
        }
        text.truncate(digits);
        text
    }

    fn uid(&mut self) -> String {
        let hex = self.hex(32);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

fn random(workload: usize) -> Random {
    Random(SEED.wrapping_add(workload as u64 * 1_000_003))
}

fn labels(workload: usize) -> String {
    format!(
        r#""app.kubernetes.io/component":"server","app.kubernetes.io/instance":"shop-{workload}","app.kubernetes.io/managed-by":"Helm","app.kubernetes.io/name":"web-{workload}","app.kubernetes.io/part-of":"shop""#
    )
}

/// The two labels by which Services select.
pub(crate) fn selector(workload: usize) -> [(String, String); 2] {
    [("app.kubernetes.io/instance", "shop"), ("app.kubernetes.io/name", "web")]
        .map(|(key, value)| (key.to_owned(), format!("{value}-{workload}")))
}

fn selector_json(workload: usize) -> String {
    let pairs = selector(workload).map(|(key, value)| format!("\"{key}\":\"{value}\""));
    pairs.join(",")
}

fn container(name: &str, image: &str, ports: &str, pre_stop: bool, random: &mut Random) -> String {
    let mut env = String::new();
    for index in 0..ENV_VARIABLES {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(env, r#"{comma}{{"name":"SETTING_{index}","value":"backend-{index}:{}"}}"#, random.hex(4));
    }
    let probe = |path: &str| {
        format!(
            r#"{{"httpGet":{{"path":"{path}","port":"{name}","scheme":"HTTP"}},"initialDelaySeconds":5,"timeoutSeconds":2,"periodSeconds":10,"successThreshold":1,"failureThreshold":3}}"#
        )
    };
    let lifecycle = if pre_stop { r#""lifecycle":{"preStop":{"sleep":{"seconds":10}}},"# } else { "" };
    format!(
        r#"{{"name":"{name}","image":"{image}","ports":[{ports}],"env":[{env}],"resources":{{"limits":{{"cpu":"500m","memory":"512Mi"}},"requests":{{"cpu":"100m","memory":"128Mi"}}}},"volumeMounts":[{{"name":"config","mountPath":"/etc/shop","readOnly":true}}],"livenessProbe":{},"readinessProbe":{},{lifecycle}"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent","securityContext":{{"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":true}}}}"#,
        probe("/healthz"),
        probe("/readyz"),
    )
}

/// `spec` of a pod, with two containers.
fn pod_spec(workload: usize, image_digest: &str, pre_stop: bool) -> String {
    let mut random = random(workload);
    let image = |name: &str| format!("registry.example.com/shop/{name}@sha256:{image_digest}");
    let web = container(
        "http",
        &image("web"),
        r#"{"name":"http","containerPort":8080,"protocol":"TCP"}"#,
        pre_stop,
        &mut random,
    );
    let metrics = container(
        "metrics",
        &image("exporter"),
        r#"{"name":"metrics","containerPort":9090,"protocol":"TCP"}"#,
        pre_stop,
        &mut random,
    );
    let grace = if pre_stop { 60 } else { 30 };
    format!(
        r#"{{"volumes":[{{"name":"config","configMap":{{"name":"web-{workload}","defaultMode":420}}}}],"containers":[{web},{metrics}],"restartPolicy":"Always","terminationGracePeriodSeconds":{grace},"dnsPolicy":"ClusterFirst","serviceAccountName":"web-{workload}","securityContext":{{"runAsNonRoot":true}},"schedulerName":"default-scheduler"}}"#
    )
}

/// Field ownership as server-side apply keeps it: one entry for the spec, one for the status.
fn managed_fields() -> String {
    let container = |name: &str| {
        format!(
            r#""k:{{\"name\":\"{name}\"}}":{{".":{{}},"f:env":{{".":{{}},"k:{{\"name\":\"SETTING_0\"}}":{{".":{{}},"f:name":{{}}}}}},"f:image":{{}},"f:imagePullPolicy":{{}},"f:livenessProbe":{{".":{{}},"f:failureThreshold":{{}},"f:httpGet":{{".":{{}},"f:path":{{}},"f:port":{{}},"f:scheme":{{}}}},"f:periodSeconds":{{}}}},"f:name":{{}},"f:ports":{{".":{{}},"k:{{\"containerPort\":8080,\"protocol\":\"TCP\"}}":{{".":{{}},"f:containerPort":{{}},"f:name":{{}},"f:protocol":{{}}}}}},"f:resources":{{".":{{}},"f:limits":{{".":{{}},"f:cpu":{{}},"f:memory":{{}}}}}}}}"#
        )
    };
    format!(
        r#"[{{"manager":"helm","operation":"Update","apiVersion":"apps/v1","time":"2026-11-03T09:30:00Z","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:annotations":{{".":{{}},"f:meta.helm.sh/release-name":{{}}}},"f:labels":{{".":{{}},"f:app.kubernetes.io/name":{{}}}}}},"f:spec":{{"f:replicas":{{}},"f:template":{{"f:metadata":{{"f:labels":{{".":{{}},"f:app.kubernetes.io/name":{{}}}}}},"f:spec":{{"f:containers":{{{},{}}},"f:restartPolicy":{{}}}}}}}}}}}},{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"apps/v1","time":"2026-11-03T09:31:00Z","fieldsType":"FieldsV1","fieldsV1":{{"f:status":{{"f:availableReplicas":{{}},"f:conditions":{{".":{{}},"k:{{\"type\":\"Available\"}}":{{".":{{}},"f:lastTransitionTime":{{}},"f:status":{{}},"f:type":{{}}}}}},"f:readyReplicas":{{}}}}}},"subresource":"status"}}]"#,
        container("http"),
        container("metrics"),
    )
}

/// A Deployment as the API server sends it.
pub(crate) fn deployment(world: World, workload: usize, replicas: usize, image_digest: &str, pre_stop: bool) -> String {
    let mut random = random(workload);
    let (labels, selector, namespace) = (labels(workload), selector_json(workload), world.namespace(workload));
    let template =
        format!(r#"{{"metadata":{{"labels":{{{labels}}}}},"spec":{}}}"#, pod_spec(workload, image_digest, pre_stop));
    let spec = format!(
        r#"{{"replicas":{replicas},"selector":{{"matchLabels":{{{selector}}}}},"template":{template},"strategy":{{"type":"RollingUpdate","rollingUpdate":{{"maxUnavailable":"25%","maxSurge":"25%"}}}},"revisionHistoryLimit":10,"progressDeadlineSeconds":600}}"#
    );
    let name = format!("web-{workload}");
    let last_applied = format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"annotations":{{}},"labels":{{{labels}}},"name":"{name}","namespace":"{namespace}"}},"spec":{spec}}}"#
    );
    let last_applied = serde_json::Value::from(last_applied);
    format!(
        r#"{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"name":"{name}","namespace":"{namespace}","uid":"{}","resourceVersion":"{}","generation":7,"creationTimestamp":"2026-10-01T08:00:00Z","labels":{{{labels}}},"annotations":{{"deployment.kubernetes.io/revision":"7","kubectl.kubernetes.io/last-applied-configuration":{last_applied},"meta.helm.sh/release-name":"shop-{workload}","meta.helm.sh/release-namespace":"{namespace}"}},"managedFields":{}}},"spec":{spec},"status":{{"observedGeneration":7,"replicas":{replicas},"updatedReplicas":{replicas},"readyReplicas":{replicas},"availableReplicas":{replicas},"conditions":[{{"type":"Available","status":"True","lastUpdateTime":"2026-11-03T09:31:00Z","lastTransitionTime":"2026-11-03T09:31:00Z","reason":"MinimumReplicasAvailable","message":"Deployment has minimum availability."}},{{"type":"Progressing","status":"True","lastUpdateTime":"2026-11-03T09:31:00Z","lastTransitionTime":"2026-10-01T08:00:00Z","reason":"NewReplicaSetAvailable","message":"ReplicaSet \"{name}-5d4f7c9b8\" has successfully progressed."}}]}}}}"#,
        random.uid(),
        random.next() % 1_000_000_000,
        managed_fields(),
    )
}

/// A pod of a workload; `generation` changes a label that no Service selects.
pub(crate) fn pod(world: World, workload: usize, replica: usize, generation: usize) -> String {
    let mut random = random(workload * REPLICAS + replica + WORKLOADS);
    let (labels, namespace) = (labels(workload), world.namespace(workload));
    let (name, owner, own_labels) = if world.has_unique_labels {
        let name = format!("web-{workload}-{replica}");
        let own_labels = format!(
            r#""apps.kubernetes.io/pod-index":"{replica}","controller-revision-hash":"web-{workload}-77c8d9f6b5","statefulset.kubernetes.io/pod-name":"{name}""#
        );
        (name, format!(r#""kind":"StatefulSet","name":"web-{workload}""#), own_labels)
    } else {
        let owner = format!("web-{workload}-5d4f7c9b8");
        let hash = r#""pod-template-hash":"5d4f7c9b8""#.to_owned();
        (format!("{owner}-{}", random.hex(5)), format!(r#""kind":"ReplicaSet","name":"{owner}""#), hash)
    };
    let step = if generation == 0 { String::new() } else { format!(r#","step":"{generation}""#) };
    format!(
        r#"{{"metadata":{{"name":"{name}","generateName":"web-{workload}-","namespace":"{namespace}","uid":"{}","resourceVersion":"{}","creationTimestamp":"2026-11-03T09:30:00Z","labels":{{{labels},{own_labels}{step}}},"ownerReferences":[{{"apiVersion":"apps/v1",{owner},"uid":"{}","controller":true,"blockOwnerDeletion":true}}],"managedFields":{}}},"spec":{},"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True","lastTransitionTime":"2026-11-03T09:30:30Z"}}],"hostIP":"10.0.0.1","podIP":"10.1.0.1","startTime":"2026-11-03T09:30:00Z"}}}}"#,
        random.uid(),
        random.next() % 1_000_000_000,
        random.uid(),
        managed_fields(),
        pod_spec(workload, &"0".repeat(64), false),
    )
}

fn service(world: World, workload: usize) -> String {
    let (labels, selector, namespace) = (labels(workload), selector_json(workload), world.namespace(workload));
    format!(
        r#"{{"metadata":{{"name":"web-{workload}","namespace":"{namespace}","labels":{{{labels}}},"annotations":{{"meta.helm.sh/release-name":"shop-{workload}"}}}},"spec":{{"ports":[{{"name":"http","protocol":"TCP","port":80,"targetPort":"http"}},{{"name":"metrics","protocol":"TCP","port":9090,"targetPort":"metrics"}}],"selector":{{{selector}}},"clusterIP":"10.2.0.1","type":"ClusterIP"}},"status":{{"loadBalancer":{{}}}}}}"#
    )
}

fn ingress(world: World, workload: usize) -> String {
    let (labels, namespace) = (labels(workload), world.namespace(workload));
    let path = |path: &str| {
        format!(
            r#"{{"path":"{path}","pathType":"Prefix","backend":{{"service":{{"name":"web-{workload}","port":{{"name":"http"}}}}}}}}"#
        )
    };
    format!(
        r#"{{"metadata":{{"name":"web-{workload}","namespace":"{namespace}","labels":{{{labels}}},"annotations":{{"meta.helm.sh/release-name":"shop-{workload}"}}}},"spec":{{"ingressClassName":"nginx","rules":[{{"host":"web-{workload}.shop.example.com","http":{{"paths":[{},{}]}}}}]}},"status":{{"loadBalancer":{{}}}}}}"#,
        path("/"),
        path("/api"),
    )
}

/// An AdmissionReview of an UPDATE of the subject's Deployment.
pub(crate) fn review(world: World, change: Change, pre_stop: bool) -> Vec<u8> {
    let mut random = random(WORKLOADS);
    let (old_digest, new_digest) = (random.hex(64), random.hex(64));
    let old = deployment(world, SUBJECT, REPLICAS, &old_digest, pre_stop);
    let new = match change {
        Change::Scale => deployment(world, SUBJECT, REPLICAS + 1, &old_digest, pre_stop),
        Change::Image => deployment(world, SUBJECT, REPLICAS, &new_digest, pre_stop),
    };
    let review = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"{}","kind":{{"group":"apps","version":"v1","kind":"Deployment"}},"resource":{{"group":"apps","version":"v1","resource":"deployments"}},"requestKind":{{"group":"apps","version":"v1","kind":"Deployment"}},"requestResource":{{"group":"apps","version":"v1","resource":"deployments"}},"name":"web-{SUBJECT}","namespace":"{}","operation":"UPDATE","userInfo":{{"username":"system:serviceaccount:ci:deployer","uid":"{}","groups":["system:serviceaccounts","system:serviceaccounts:ci","system:authenticated"]}},"object":{new},"oldObject":{old},"dryRun":false,"options":{{"kind":"UpdateOptions","apiVersion":"meta.k8s.io/v1","fieldManager":"helm"}}}}}}"#,
        random.uid(),
        world.namespace(SUBJECT),
        random.uid(),
    );
    review.into_bytes()
}

impl World {
    pub(crate) fn namespace(self, workload: usize) -> String {
        format!("shop-{}", workload % self.namespaces)
    }

    /// The pods, as a watch reads them.
    pub(crate) fn pods(self) -> impl Iterator<Item = String> {
        (0..PODS).map(move |it| pod(self, it / REPLICAS, it % REPLICAS, 0))
    }

    /// The Deployments.
    pub(crate) fn deployments(self) -> impl Iterator<Item = String> {
        (0..WORKLOADS).map(move |it| deployment(self, it, REPLICAS, &"0".repeat(64), false))
    }

    /// A Service a workload.
    pub(crate) fn services(self) -> impl Iterator<Item = String> {
        (0..WORKLOADS).map(move |it| service(self, it))
    }

    /// An Ingress a workload.
    pub(crate) fn ingresses(self) -> impl Iterator<Item = String> {
        (0..WORKLOADS).map(move |it| ingress(self, it))
    }
}

/// What a list of one kind is read as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed {
    pub(crate) resource: Resource,
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
}

pub(crate) const POD: Listed = Listed { resource: Resource::Pods, api_version: "v1", kind: "Pod" };
pub(crate) const DEPLOYMENT: Listed =
    Listed { resource: Resource::Deployments, api_version: "apps/v1", kind: "Deployment" };
pub(crate) const SERVICE: Listed = Listed { resource: Resource::Services, api_version: "v1", kind: "Service" };
pub(crate) const INGRESS: Listed =
    Listed { resource: Resource::Ingresses, api_version: "networking.k8s.io/v1", kind: "Ingress" };
const NODE: Listed = Listed { resource: Resource::Nodes, api_version: "v1", kind: "Node" };

impl Listed {
    /// As a watch does it: every object through the same decoder.
    pub(crate) fn load(self, store: &mut Store, objects: impl Iterator<Item = String>) {
        store.start_list(self.resource);
        objects.for_each(|json| self.apply(store, &json));
        store.finish_list(self.resource);
    }

    pub(crate) fn apply(self, store: &mut Store, json: &str) {
        store.apply(Facts::read_item(json, self.api_version, self.kind).expect("a fixture is JSON"));
    }
}

/// A store that counts as complete, with the versions under which the sleep action works.
pub(crate) fn empty_store() -> Store {
    let mut store = Store::complete();
    store.set_server_minor(Some(34));
    let node = r#"{"metadata":{"name":"node-0"},"status":{"nodeInfo":{"kubeletVersion":"v1.34.2"}}}"#;
    NODE.apply(&mut store, node);
    store
}

/// A store with everything in it.
pub(crate) fn full_store(world: World) -> Store {
    let mut store = empty_store();
    POD.load(&mut store, world.pods());
    DEPLOYMENT.load(&mut store, world.deployments());
    SERVICE.load(&mut store, world.services());
    INGRESS.load(&mut store, world.ingresses());
    store
}
