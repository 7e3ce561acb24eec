//! Bodies that are no proper review: an error of one line, or an answer that lets the write through. Never a panic, never a
//! denial: what we cannot read is for the failure policy to decide.

use no502::{
    policy::Policies,
    review::{self, DEPTH_MAX, Half},
};
use serde_json::{Value, json};

use crate::stage::{self, Request};

const HALVES: [Half; 2] = [Half::Validate, Half::Mutate];

/// The answer of the validating half, or the error, which both halves give. The mutating half never denies.
fn reply(body: impl AsRef<[u8]>) -> Result<Value, String> {
    let [validated, mutated] = HALVES.map(|half| reply_of(half, body.as_ref()));
    match &mutated {
        Ok(mutated) => assert_eq!(mutated["response"]["allowed"], true),
        Err(_) => assert_eq!(validated, mutated),
    }
    validated
}

fn reply_of(half: Half, body: &[u8]) -> Result<Value, String> {
    let snapshot = stage::cluster(std::iter::empty());
    let reply = review::review(half, body, &snapshot, &Policies::default(), stage::now());
    reply.map(|it| serde_json::from_slice(&it.body).unwrap()).map_err(|it| it.to_string())
}

fn error(body: impl AsRef<[u8]>) -> String {
    let error = reply(body).expect_err("an error");
    assert!(!error.contains(char::is_control) && error.chars().count() < 200, "{error:?}");
    error
}

/// True if the write goes through without a patch and without a word.
fn passes(body: impl AsRef<[u8]>) -> bool {
    HALVES.into_iter().all(|half| {
        let review = reply_of(half, body.as_ref()).unwrap();
        let response = review["response"].as_object().unwrap();
        response.keys().eq(["allowed", "uid"]) && response["allowed"] == true
    })
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "a", "ports": [{"containerPort": 8080}],
            "readinessProbe": {"httpGet": {"port": "nowhere"}}}]}}}})
}

/// A review with members of the request replaced.
fn review_with(changes: &[(&str, Value)]) -> String {
    let mut review: Value = serde_json::from_slice(&Request::create(&deployment()).body()).unwrap();
    for (pointer, value) in changes {
        stage::set(&mut review, pointer, value);
    }
    review.to_string()
}

#[test]
fn the_unbent_review_is_denied_and_patched() {
    let snapshot = stage::cluster(std::iter::empty());
    let [validated, mutated] = HALVES
        .map(|half| stage::ask(half, &Request::create(&deployment()), &snapshot, &Policies::default(), stage::now()));
    assert!(!validated.is_allowed, "else the tests of this file prove nothing");
    assert!(mutated.is_allowed && mutated.patch.is_some());
}

#[test]
fn what_is_no_json_is_an_error() {
    assert_eq!(error(""), "the body is not JSON: EOF while parsing a value at line 1 column 0");
    assert_eq!(error("{"), "the body is not JSON: EOF while parsing an object at line 1 column 1");
    assert_eq!(error("apiVersion: v1"), "the body is not JSON: expected value at line 1 column 1");
    assert_eq!(error(b"{\"a\":\"\xff\"}"), "the body is not UTF-8: invalid utf-8 sequence of 1 bytes from index 6");
    let twice = format!("{0}{0}", review_with(&[]));
    assert!(error(twice).starts_with("the body is not JSON: trailing characters"));
    let cut = review_with(&[]);
    assert!(error(&cut[..cut.len() / 2]).starts_with("the body is not JSON: EOF"));
}

#[test]
fn what_is_no_review_is_an_error() {
    for body in
        ["[]", "null", "7", "\"AdmissionReview\"", "{}", r#"["admission.k8s.io/v1","AdmissionReview",{"uid":"1"}]"#]
    {
        assert_eq!(error(body), "the body is kind \"\", not AdmissionReview", "{body}");
    }
    assert_eq!(error(deployment().to_string()), "the body is kind \"Deployment\", not AdmissionReview");
    assert_eq!(
        error(review_with(&[("/apiVersion", json!("admission.k8s.io/v1beta1"))])),
        "the AdmissionReview is admission.k8s.io/v1beta1; no502 speaks admission.k8s.io/v1 (admissionReviewVersions: [v1])"
    );
    assert_eq!(error(review_with(&[("/request", Value::Null)])), "the AdmissionReview has no request");
    assert_eq!(error(review_with(&[("/request", json!([]))])), "the AdmissionReview has no request");
    for uid in [Value::Null, json!(""), json!(7), json!({})] {
        assert_eq!(error(review_with(&[("/request/uid", uid)])), "the request has no uid");
    }
}

#[test]
fn foreign_text_in_an_error_is_short_and_one_line() {
    let long = "x\n".repeat(100_000);
    assert!(error(review_with(&[("/kind", json!(long))])).starts_with("the body is kind \"x x "));
    assert!(error(review_with(&[("/apiVersion", json!(long))])).starts_with("the AdmissionReview is x x "));
}

#[test]
fn depth_is_bounded_before_anything_is_read() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for levels in [DEPTH_MAX + 1, 10_000, 1_000_000] {
        assert_eq!(error(nested(levels)), "the body nests deeper than 128 levels");
        assert_eq!(error("{\"a\":".repeat(levels)), "the body nests deeper than 128 levels");
    }
    // Within the bound a deep object is an object like any other.
    let mut deep = json!(null);
    for _ in 0..DEPTH_MAX - 20 {
        deep = json!([deep]);
    }
    let body = review_with(&[("/request/object/spec/template/spec/affinity", deep)]);
    assert_eq!(reply(&body).unwrap()["response"]["allowed"], false);
    assert_eq!(reply_of(Half::Mutate, body.as_bytes()).unwrap()["response"]["patchType"], "JSONPatch");
}

#[test]
fn a_write_without_its_objects_passes() {
    let update = json!("UPDATE");
    assert!(passes(review_with(&[("/request/object", Value::Null)])), "CREATE of nothing");
    assert!(passes(review_with(&[("/request/operation", update.clone())])), "UPDATE without the old object");
    assert!(passes(review_with(&[
        ("/request/operation", update),
        ("/request/oldObject", deployment()),
        ("/request/object", Value::Null)
    ])));
    assert!(passes(review_with(&[("/request/operation", json!("DELETE"))])), "DELETE without the old object");
    for object in [json!([]), json!("x"), json!(7), json!(true)] {
        assert!(passes(review_with(&[("/request/object", object)])));
    }
    assert!(passes(review_with(&[("/request/object", json!({}))])), "an object without anything");
}

#[test]
fn other_operations_pass() {
    for operation in [json!("CONNECT"), json!("PATCH"), json!(""), json!(7), Value::Null] {
        assert!(passes(review_with(&[("/request/operation", operation)])));
    }
    for sub_resource in ["scale", "status", "eviction"] {
        assert!(passes(review_with(&[("/request/subResource", json!(sub_resource))])), "{sub_resource}");
    }
}

#[test]
fn fields_of_a_wrong_type_are_absent_ones() {
    for (pointer, value) in [
        ("/request/userInfo", json!("jane")),
        ("/request/userInfo/groups", json!({"a": 1})),
        ("/request/userInfo/groups", json!([1, null, [], {}])),
        ("/request/dryRun", json!("yes")),
        ("/request/kind", json!([])),
        ("/request/namespace", json!(7)),
        ("/request/name", json!({})),
        ("/request/options", json!(1)),
        ("/request/futureField", json!({"a": [1]})),
    ] {
        let review = reply(review_with(&[(pointer, value.clone())]));
        let is_allowed = review.unwrap()["response"]["allowed"].clone();
        assert_eq!(is_allowed, false, "{pointer} {value}: the probe still contradicts itself");
    }
}

#[test]
fn equal_keys_never_deny_by_the_first() {
    let body = review_with(&[]).replacen("\"uid\":", "\"uid\":\"first\",\"uid\":", 1);
    assert!(error(body).starts_with("the body is not JSON: duplicate field `uid`"));
    let body = review_with(&[]).replacen("\"name\":\"web\",\"ports\"", "\"name\":\"a\",\"name\":\"web\",\"ports\"", 1);
    assert!(passes(body), "a template that cannot be read is none");
    let labels = review_with(&[]).replacen("{\"app\":\"web\"}", "{\"app\":\"a\",\"app\":\"web\"}", 1);
    assert_eq!(reply(labels).unwrap()["response"]["allowed"], false);
}

#[test]
fn huge_lists_are_read() {
    const ITEMS: usize = 200_000;
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}});
    service["spec"] =
        json!({"selector": {"app": "web"}, "ports": vec![json!({"port": 80, "targetPort": "http"}); ITEMS]});
    let mut ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop", "namespace": "shop"}});
    ingress["spec"] = json!({"rules": vec![json!(null); ITEMS]});
    let mut many_containers = deployment();
    many_containers["spec"]["template"]["spec"]["containers"] = vec![json!({"name": "a"}); ITEMS].into();
    for object in [service, ingress, many_containers] {
        let snapshot = stage::cluster(std::iter::empty());
        for half in HALVES {
            let answer = stage::ask(half, &Request::create(&object), &snapshot, &Policies::default(), stage::now());
            assert!(answer.is_allowed, "{}", answer.message);
        }
    }
}
