//! The manifests: current, true to the API, read alike by every YAML parser, and consistent with each other.

use std::{collections::BTreeSet, fs};

use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        apps::v1::Deployment,
        core::v1::{Namespace, ResourceQuota, Service, ServiceAccount},
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use no502::{
    crd,
    deploy::{self, Options},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/manifests/no502.yaml");

fn options(namespace: &str, webhook_url: Option<&str>) -> Options {
    Options {
        namespace: namespace.parse().unwrap(),
        webhook_url: webhook_url.map(|url| url.parse().unwrap()),
        ..Options::default()
    }
}

fn documents(options: &Options) -> Vec<Value> {
    serde_saphyr::from_multiple(&deploy::render(options)).unwrap()
}

fn kinds(documents: &[Value]) -> Vec<&str> {
    documents.iter().map(|document| document["kind"].as_str().unwrap()).collect()
}

fn document<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

/// The `ClusterRole` of that name.
fn cluster_role<'a>(documents: &'a [Value], name: &str) -> &'a Value {
    let mut roles = documents.iter().filter(|document| document["kind"] == "ClusterRole");
    roles.find(|role| role["metadata"]["name"] == name).unwrap()
}

/// All entries of both webhook configurations.
fn entries(documents: &[Value]) -> Vec<&Value> {
    ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
        .into_iter()
        .flat_map(|kind| document(documents, kind)["webhooks"].as_array().unwrap())
        .collect()
}

#[test]
fn the_committed_manifests_are_current() {
    let current = deploy::render(&Options::default());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(COMMITTED, &current).unwrap();
    }
    let committed = fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == current,
        "{COMMITTED} is out of date: run UPDATE=1 cargo test --test it deploy, and look at the diff"
    );
}

#[test]
fn no_placeholder_is_left() {
    for options in [Options::default(), options("a", Some("https://h:1"))] {
        let text = deploy::render(&options);
        assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
    }
}

/// A field that the API does not have, or a value of another type, does not survive the way through its own types.
#[test]
fn every_document_is_what_the_api_defines() {
    for options in [Options::default(), options("123", None), options("on", Some("https://127.0.0.1:8443"))] {
        for document in documents(&options) {
            assert!(typed(&document) == document, "{} {}", document["kind"], document["metadata"]["name"]);
        }
    }
}

fn typed(document: &Value) -> Value {
    fn through<T: DeserializeOwned + Serialize>(document: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(document.clone()).unwrap()).unwrap()
    }
    match document["kind"].as_str().unwrap() {
        "CustomResourceDefinition" => with_whole_numbers(through::<CustomResourceDefinition>(document)),
        "Namespace" => through::<Namespace>(document),
        "ServiceAccount" => through::<ServiceAccount>(document),
        "ClusterRole" => through::<ClusterRole>(document),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(document),
        "Role" => through::<Role>(document),
        "RoleBinding" => through::<RoleBinding>(document),
        "ResourceQuota" => through::<ResourceQuota>(document),
        "Service" => through::<Service>(document),
        "Deployment" => through::<Deployment>(document),
        "PodDisruptionBudget" => through::<PodDisruptionBudget>(document),
        "MutatingWebhookConfiguration" => through::<MutatingWebhookConfiguration>(document),
        "ValidatingWebhookConfiguration" => through::<ValidatingWebhookConfiguration>(document),
        kind => panic!("{kind} is new: add its type here"),
    }
}

/// The limits of a schema may have fractions, so that its type has 5.0 where 5 was written.
fn with_whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|it| it.fract() == 0.0).map(|it| format!("{it}").parse());
            whole.and_then(Result::ok).map_or(Value::Number(number), |it: i64| json!(it))
        }
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, with_whole_numbers(value))).collect(),
        other => other,
    }
}

/// YAML 1.1 (kubectl) and 1.2 disagree about words such as `on` and about numbers other than plain decimal ones. A namespace
/// may be called either, so each of them has to be in quotes.
#[test]
fn yaml_1_1_and_1_2_read_the_same() {
    for namespace in ["on", "123", "0o17", "017", "0x1f", "1e3", "null", "1-2", "2001-01-01"] {
        for webhook_url in [None, Some("https://127.0.0.1:8443")] {
            let options = options(namespace, webhook_url);
            let text = deploy::render(&options);
            let doubtful: Vec<&str> = plain_scalars(&text).into_iter().filter(|scalar| is_doubtful(scalar)).collect();
            assert!(doubtful.is_empty(), "to be quoted: {doubtful:?}");
            assert_eq!(document(&documents(&options), "Namespace")["metadata"]["name"], namespace);
        }
    }
}

#[test]
fn doubtful_scalars_are_recognised() {
    for scalar in
        ["on", "No", "y", "~", "null", "017", "0x1f", "1e3", "1_000", "1.30", "-017", ".5", "+1", "1:30", "2001-01-01"]
    {
        assert!(is_doubtful(scalar), "{scalar}");
    }
    for scalar in ["true", "443", "0", "-1", "v1", "100m", "apps", "no502"] {
        assert!(!is_doubtful(scalar), "{scalar}");
    }
    assert_eq!(plain_scalars("a: on # why\n- [x, \"y\"]\n- k: \"v\"\nb:\n  # note: no\n"), ["a", "on", "x", "k", "b"]);
}

/// Keys and values outside quotes, in the subset of YAML that the manifests are written in.
fn plain_scalars(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    let lines = lines.filter(|line| !line.starts_with('#') && *line != "---");
    lines
        .flat_map(|line| line.trim_start_matches("- ").splitn(2, ": "))
        .flat_map(|part| part.trim_end_matches(':').trim_matches(['[', ']']).split(", "))
        .filter(|scalar| !scalar.is_empty() && !scalar.starts_with(['"', '\'']))
        .collect()
}

fn is_doubtful(scalar: &str) -> bool {
    let word = scalar.to_ascii_lowercase();
    if ["y", "n", "yes", "no", "on", "off", "~", "null"].contains(&word.as_str()) {
        return true;
    }
    let decimal = scalar == "0" || (!scalar.starts_with('0') && scalar.bytes().all(|byte| byte.is_ascii_digit()));
    let decimal = decimal || scalar.strip_prefix('-').is_some_and(|it| !is_doubtful(it) && it.parse::<u32>().is_ok());
    // A number with a letter behind it, such as 100m, is text in both; so is a word that begins with neither.
    let numeric = scalar.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
        && scalar.bytes().all(|byte| byte.is_ascii_hexdigit() || b"+-._:xoXO".contains(&byte));
    numeric && !decimal
}

#[test]
fn a_server_outside_the_cluster_installs_nothing_of_itself_in_it() {
    let documents = documents(&options("no502-system", Some("https://127.0.0.1:8443/")));
    let configurations = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    let expected =
        [&["CustomResourceDefinition"; 2][..], &["Namespace"], &["ClusterRole"; 4], &configurations].concat();
    assert_eq!(kinds(&documents), expected);
    let urls: Vec<&Value> = entries(&documents).into_iter().map(|entry| &entry["clientConfig"]).collect();
    let validate = json!({"url": "https://127.0.0.1:8443/validate"});
    let [mutate, preview] = ["mutate", "preview"].map(|path| json!({"url": format!("https://127.0.0.1:8443/{path}")}));
    assert_eq!(urls, [&mutate, &validate, &validate, &preview]);
}

#[test]
fn the_installation_is_complete_and_in_order() {
    let documents = documents(&Options::default());
    let server =
        ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ResourceQuota", "Service"];
    let rest = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    let expected = [
        &["CustomResourceDefinition"; 2][..],
        &["Namespace"],
        &server,
        &["Deployment", "PodDisruptionBudget"],
        &["ClusterRole"; 4],
        &rest,
    ];
    assert_eq!(kinds(&documents), expected.concat());
    for document in &documents {
        let labels = &document["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/name"], deploy::NAME, "{document}");
        assert_eq!(labels["app.kubernetes.io/version"], env!("CARGO_PKG_VERSION"), "{document}");
    }
}

#[test]
fn names_and_ports_agree() {
    let options = options("traffic", None);
    let documents = documents(&options);
    let service = document(&documents, "Service");
    let name = |document: &Value| document["metadata"]["name"].as_str().unwrap().to_owned();
    let namespace = |document: &Value| document["metadata"]["namespace"].as_str().unwrap().to_owned();
    assert_eq!(options.namespace.server_name(), format!("{}.{}.svc", name(service), namespace(service)));
    let paths = [deploy::MUTATE_PATH, deploy::VALIDATE_PATH, deploy::VALIDATE_PATH, deploy::PREVIEW_PATH];
    for (entry, path) in entries(&documents).into_iter().zip(paths) {
        let port = &service["spec"]["ports"][0]["port"];
        let expected = json!({"name": name(service), "namespace": namespace(service), "path": path, "port": port});
        assert_eq!(entry["clientConfig"], json!({"service": expected}));
    }

    let deployment = &document(&documents, "Deployment")["spec"];
    let labels = deployment["template"]["metadata"]["labels"].as_object().unwrap();
    let selectors = [
        &service["spec"]["selector"],
        &deployment["selector"]["matchLabels"],
        &document(&documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ];
    for selector in selectors.map(|selector| selector.as_object().unwrap()) {
        assert!(!selector.contains_key("app.kubernetes.io/version"), "the selector of a Deployment can never change");
        assert!(
            selector.iter().all(|(key, value)| labels.get(key) == Some(value)),
            "{selector:?} does not select {labels:?}"
        );
    }
    let pod = &deployment["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], name(document(&documents, "ServiceAccount")));
    let container = &pod["containers"][0];
    let ports = json!([
        {"name": "https", "containerPort": deploy::HTTPS_PORT, "protocol": "TCP"},
        {"name": "admin", "containerPort": deploy::ADMIN_PORT, "protocol": "TCP"},
    ]);
    assert_eq!(container["ports"], ports);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "https");
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/readyz", "port": "admin"}));
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/livez", "port": "admin"}));

    for binding in ["ClusterRoleBinding", "RoleBinding"] {
        let binding = document(&documents, binding);
        // The first of its kind: the ones after it are for people.
        let role = document(&documents, binding["roleRef"]["kind"].as_str().unwrap());
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
        let account = json!([{"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": "traffic"}]);
        assert_eq!(binding["subjects"], account);
    }
}

#[test]
fn the_pod_outlives_its_drain_and_is_hardened() {
    let documents = documents(&Options::default());
    let pod = &document(&documents, "Deployment")["spec"]["template"]["spec"];
    let grace_seconds = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace_seconds >= u64::from(deploy::DRAIN_SECONDS) + 20, "{grace_seconds} s");
    let hardened =
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    assert_eq!(pod["containers"][0]["securityContext"], hardened);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let dockerfile = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile")).unwrap();
    assert!(dockerfile.contains(&format!("\nUSER {0}:{0}\n", deploy::USER_ID)), "the image runs as another user");
}

#[test]
fn the_roles_hold_no_more_than_is_used() {
    let documents = documents(&Options::default());
    let rules = cluster_role(&documents, deploy::NAME)["rules"].as_array().unwrap();
    let [watched @ .., status, events, own, version] = rules.as_slice() else {
        panic!("the ClusterRole has other rules");
    };
    for rule in watched {
        assert_eq!(rule["verbs"], json!(["list", "watch"]));
        assert!(!rule.to_string().contains("secrets"), "{rule}");
    }
    let of_policies = |resources: [String; 2], verbs: &[&str]| json!({"apiGroups": [crd::group()], "resources": resources, "verbs": verbs});
    let kinds = [crd::CLUSTER_PLURAL, crd::NAMESPACED_PLURAL];
    assert_eq!(watched.last(), Some(&of_policies(kinds.map(str::to_owned), &["list", "watch"])));
    assert_eq!(*status, of_policies(kinds.map(|it| format!("{it}/status")), &["patch"]));
    assert_eq!(*events, json!({"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}));
    assert_eq!(own["verbs"], json!(["get", "patch"]));
    let name = &document(&documents, "MutatingWebhookConfiguration")["metadata"]["name"];
    assert_eq!(own["resourceNames"], json!([name]));
    assert_eq!(*version, json!({"nonResourceURLs": ["/version"], "verbs": ["get"]}));
    let secrets = json!([
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [deploy::CA_SECRET], "verbs": ["get", "update"]},
    ]);
    assert_eq!(document(&documents, "Role")["rules"], secrets);
}

/// The roles for people: what is added to those that every cluster has, and to none of them more than the role is for.
#[test]
fn people_may_write_the_policies_of_namespaces_alone() {
    for options in [Options::default(), options("a", Some("https://h:1"))] {
        let documents = documents(&options);
        let reading = ["get", "list", "watch"];
        let editing = ["create", "update", "patch", "delete"];
        for (name, verbs) in [
            ("view", reading.to_vec()),
            ("edit", [&reading[..], &editing].concat()),
            ("admin", [&reading[..], &editing, &["deletecollection"]].concat()),
        ] {
            let role = cluster_role(&documents, &format!("no502-{name}"));
            let rules = json!([{"apiGroups": [crd::group()], "resources": [crd::NAMESPACED_PLURAL], "verbs": verbs}]);
            assert_eq!(role["rules"], rules, "{name}");
            let labels = role["metadata"]["labels"].as_object().unwrap().iter();
            let aggregated: Vec<_> = labels.filter(|(key, _)| key.contains("aggregate-to")).collect();
            let label = format!("rbac.authorization.k8s.io/aggregate-to-{name}");
            assert_eq!(aggregated, [(&label, &json!("true"))]);
        }
        let reader = cluster_role(&documents, "no502-policy-reader");
        assert!(!reader.to_string().contains("aggregate-to"), "{reader}");
        let expected = json!([
            {"apiGroups": [crd::group()], "resources": [crd::CLUSTER_PLURAL], "verbs": reading},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
        ]);
        assert_eq!(reader["rules"], expected);
        let bindings = documents.iter().filter(|it| it["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")));
        assert!(
            bindings.clone().all(|it| it["roleRef"]["name"] == deploy::NAME),
            "only the server is bound to anything"
        );
    }
}

/// The kill switch is a policy: it has to work while the server cannot be asked.
#[test]
fn nothing_stands_in_the_way_of_a_policy() {
    for options in [Options::default(), options("a", Some("https://h:1"))] {
        let documents = documents(&options);
        let [mutate, open, closed, preview] = entries(&documents)[..] else { panic!("four entries") };
        for entry in [mutate, open, closed] {
            assert!(!entry["rules"].to_string().contains(crd::group()), "{}", entry["name"]);
            assert!(!entry["rules"].to_string().contains('*'), "{}", entry["name"]);
        }
        let rules = json!([{
            "apiGroups": [crd::group()],
            "apiVersions": [crd::version()],
            "resources": [crd::CLUSTER_PLURAL, crd::NAMESPACED_PLURAL],
            "operations": ["CREATE", "UPDATE"],
            "scope": "*",
        }]);
        assert_eq!(preview["rules"], rules);
        assert_eq!(preview["failurePolicy"], "Ignore");
        for selector in ["namespaceSelector", "objectSelector", "matchConditions"] {
            assert_eq!(preview[selector], Value::Null, "{selector}");
        }
    }
}

/// What is reviewed but not watched would be judged against nothing. For a Rollout its `ReplicaSets` and Pods stand.
#[test]
fn what_is_validated_is_watched() {
    let documents = documents(&Options::default());
    let resources = |rules: &Value| -> BTreeSet<String> {
        let rules = rules.as_array().unwrap().iter();
        rules
            .filter_map(|rule| rule["resources"].as_array())
            .flatten()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let watched = resources(&cluster_role(&documents, deploy::NAME)["rules"]);
    let mut validated = resources(&entries(&documents)[1]["rules"]);
    assert!(validated.remove("rollouts"));
    assert!(validated.contains("services") && validated.is_subset(&watched), "{validated:?} {watched:?}");
}

#[test]
fn our_own_namespace_and_the_cluster_s_are_never_reviewed() {
    for webhook_url in [None, Some("https://127.0.0.1:8443")] {
        for namespace in ["no502-system", "traffic"] {
            // The last one is about policies, which are wherever they are.
            for entry in &entries(&documents(&options(namespace, webhook_url)))[..3] {
                let excluded = json!({
                    "key": "kubernetes.io/metadata.name",
                    "operator": "NotIn",
                    "values": ["kube-system", "kube-public", "kube-node-lease", namespace],
                });
                assert_eq!(entry["namespaceSelector"]["matchExpressions"][0], excluded, "{}", entry["name"]);
            }
        }
    }
}

#[test]
fn a_namespace_is_validated_by_one_entry() {
    let documents = documents(&Options::default());
    let [mutate, open, closed, _] = entries(&documents)[..] else {
        panic!("four entries, so at most three calls for one write")
    };
    let chosen = |entry: &Value| entry["namespaceSelector"]["matchExpressions"][1].clone();
    assert_eq!(chosen(mutate), Value::Null);
    assert_eq!(chosen(open), json!({"key": deploy::FAIL_CLOSED_LABEL, "operator": "NotIn", "values": ["true"]}));
    assert_eq!(chosen(closed), json!({"key": deploy::FAIL_CLOSED_LABEL, "operator": "In", "values": ["true"]}));
    assert_eq!([mutate, open, closed].map(|entry| &entry["failurePolicy"]), ["Ignore", "Ignore", "Fail"]);
    for field in ["rules", "matchConditions", "timeoutSeconds", "clientConfig"] {
        assert_eq!(open[field], closed[field], "{field}");
    }
}

#[test]
fn entries_promise_what_the_server_keeps() {
    let documents = documents(&Options::default());
    let names: Vec<&Value> = entries(&documents).into_iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, [&deploy::MUTATING_ENTRIES[..], &deploy::VALIDATING_ENTRIES].concat());
    for entry in entries(&documents) {
        assert_eq!(entry["admissionReviewVersions"], json!(["v1"]));
        assert_eq!(entry["sideEffects"], "None");
        assert_eq!(entry["matchPolicy"], "Equivalent");
        assert_eq!(entry["timeoutSeconds"], deploy::TIMEOUT_SECONDS);
        assert!(entry["clientConfig"].get("caBundle").is_none(), "applying the manifests again would take it away");
        for rule in entry["rules"].as_array().unwrap() {
            let is_about_policies = rule["apiGroups"] == json!([crd::group()]);
            assert_eq!(rule["scope"], if is_about_policies { "*" } else { "Namespaced" });
            assert!(is_about_policies || !rule.to_string().contains('*'), "{rule}");
        }
    }
    assert_eq!(entries(&documents)[0]["reinvocationPolicy"], "IfNeeded");
}

#[test]
fn a_webhook_url_is_an_https_origin() {
    for good in ["https://127.0.0.1:8443", "https://[::1]:8443", "https://host.example", "https://localhost:1/"] {
        let url: deploy::WebhookUrl = good.parse().unwrap();
        assert_eq!(url.to_string(), good.trim_end_matches('/'));
    }
    for bad in [
        "",
        "127.0.0.1:8443",
        "http://127.0.0.1:8443",
        "https://",
        "https://:8443",
        "https://h:",
        "https://h:0",
        "https://h:65536",
        "https://h:1:2",
        "https://u@h",
        "https://h/validate",
        "https://h//",
        "https://h?a=b",
        "https://h#a",
        "https://h \n",
        "https://h\"",
        "https://[::1",
        "HTTPS://h",
    ] {
        let error = bad.parse::<deploy::WebhookUrl>().unwrap_err().to_string();
        assert!(error.starts_with("--webhook-url: ") && error.contains("https://HOST:PORT"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_namespace_is_a_dns_label_of_its_own() {
    let longest = "a".repeat(63);
    for good in ["a", "no502-system", "1", longest.as_str()] {
        assert_eq!(good.parse::<deploy::Namespace>().unwrap().to_string(), good);
    }
    let too_long = "a".repeat(64);
    for bad in ["", "-a", "a-", "A", "a.b", "a b", "a\nb", "a\"", "kube-system", "default", too_long.as_str()] {
        let error = bad.parse::<deploy::Namespace>().unwrap_err().to_string();
        assert!(error.starts_with("--namespace: ") && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn an_image_is_a_reference() {
    for good in
        ["no502", "no502:0.1.0", "registry.example:5000/team/no502:v1", "r.example/no502@sha256:0123456789abcdef"]
    {
        assert_eq!(good.parse::<deploy::Image>().unwrap().to_string(), good);
    }
    for bad in ["", "a b", "no502:", "/no502", "no502\"", "no502\n", "${IMAGE}"] {
        let error = bad.parse::<deploy::Image>().unwrap_err().to_string();
        assert!(error.starts_with("--image: ") && error.lines().count() == 1, "{error}");
    }
}
