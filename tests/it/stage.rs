//! What the tests of the core stand on: manifests become a cluster, a write becomes an AdmissionReview body, an answer is taken
//! apart. Everything goes through the same doors as in the server: bytes in, bytes out.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use no502::{
    facts::Facts,
    manifest,
    policy::{Field, FieldValue, Installation, Policies},
    review::{self, Half},
    snapshot::{Resource, Snapshot, Store},
};
use serde_json::{Value, json};

/// Where objects are that do not say it.
pub(crate) const NAMESPACE: &str = "shop";

/// The moment of every test that does not name another.
pub(crate) const NOW: &str = "2026-11-20T12:00:00Z";

/// The API server's minor version of every cluster that does not name another.
pub(crate) const SERVER_MINOR: u32 = 36;

pub(crate) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A folder below `tests/`.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The files of a folder that end in `suffix`, sorted. A file of a stacked suffix (`x.fixed.yaml`) is none of `.yaml`.
pub(crate) fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(suffix).is_some_and(|stem| !stem.contains('.'))
    });
    files.sort();
    files
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// True if expectations are to be written instead of compared.
pub(crate) fn is_update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// The objects of a multi-document YAML file, read as `kubectl` reads it, each in a namespace.
pub(crate) fn objects(path: &Path) -> Vec<Value> {
    let parsed = manifest::parse(&read(path), &Arc::from(path));
    assert!(parsed.problems.is_empty() && parsed.skipped == 0, "{}: {:?}", path.display(), parsed.problems);
    parsed.documents.iter().map(|it| placed(serde_json::from_str(it.json()).unwrap())).collect()
}

/// A YAML file that is one map and no Kubernetes object.
pub(crate) fn map(path: &Path) -> Value {
    let text = format!("apiVersion: test\nkind: Test\n{}", read(path));
    let parsed = manifest::parse(&text, &Arc::from(path));
    assert!(
        parsed.problems.is_empty() && parsed.documents.len() == 1,
        "{} (two lines later): {:?}",
        path.display(),
        parsed.problems
    );
    let mut map: Value = serde_json::from_str(parsed.documents[0].json()).unwrap();
    let members = map.as_object_mut().unwrap();
    members.remove("apiVersion");
    members.remove("kind");
    map
}

/// The object with a namespace, as the API server stores it.
pub(crate) fn placed(mut object: Value) -> Value {
    if matches!(object["kind"].as_str(), Some("Namespace" | "Node")) {
        return object;
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.entry("namespace").or_insert_with(|| json!(NAMESPACE));
    }
    object
}

/// Sets the value at a JSON pointer and makes the maps on the way; null takes the member out.
pub(crate) fn set(value: &mut Value, pointer: &str, to: &Value) {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let member = member.replace("~1", "/").replace("~0", "~");
    if value.pointer(parent).is_none() {
        set(value, parent, &json!({}));
    }
    match value.pointer_mut(parent).unwrap() {
        Value::Object(map) if to.is_null() => drop(map.remove(&member)),
        Value::Object(map) => drop(map.insert(member, to.clone())),
        Value::Array(items) if member == "-" => items.push(to.clone()),
        Value::Array(items) => items[member.parse::<usize>().unwrap()] = to.clone(),
        other => panic!("{pointer} leads into {other}"),
    }
}

pub(crate) fn facts(object: &Value) -> Facts {
    Facts::read(&object.to_string()).unwrap()
}

/// A cluster of exactly these objects, all of it read.
pub(crate) fn cluster<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Snapshot {
    partly_read(objects, &[])
}

/// A cluster of which the kinds `unread` have not been listed yet.
pub(crate) fn partly_read<'a>(objects: impl IntoIterator<Item = &'a Value>, unread: &[&str]) -> Snapshot {
    let mut store = Store::default();
    store.set_server_minor(Some(SERVER_MINOR));
    let lists = || Resource::ALL.into_iter().filter(|it| !unread.contains(&it.name()));
    assert_eq!(lists().count() + unread.len(), Resource::ALL.len(), "{unread:?} are not all kinds of a snapshot");
    lists().for_each(|it| store.start_list(it));
    objects.into_iter().for_each(|it| store.apply(facts(it)));
    lists().for_each(|it| store.finish_list(it));
    store.snapshot()
}

/// One request of the API server.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) operation: &'a str,
    pub(crate) user: &'a str,
    pub(crate) groups: &'a [String],
    pub(crate) sub_resource: &'a str,
    pub(crate) dry_run: bool,
    pub(crate) object: Option<&'a Value>,
    pub(crate) old: Option<&'a Value>,
}

impl<'a> Request<'a> {
    pub(crate) fn create(object: &'a Value) -> Self {
        let (operation, user) = ("CREATE", "jane");
        Self { operation, user, groups: &[], sub_resource: "", dry_run: false, object: Some(object), old: None }
    }

    pub(crate) fn update(old: &'a Value, new: &'a Value) -> Self {
        Self { operation: "UPDATE", old: Some(old), ..Self::create(new) }
    }

    pub(crate) fn delete(old: &'a Value) -> Self {
        Self { operation: "DELETE", object: None, old: Some(old), ..Self::create(old) }
    }

    /// The body, with every field that an API server sends.
    pub(crate) fn body(&self) -> Vec<u8> {
        let subject = self.object.or(self.old).unwrap_or(&Value::Null);
        let (group, version) = match subject["apiVersion"].as_str().unwrap_or_default().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", "v1"),
        };
        let kind = subject["kind"].as_str().unwrap_or_default();
        let resource = format!("{}s", kind.to_lowercase());
        let group_kind = json!({ "group": group, "version": version, "kind": kind });
        let group_resource = json!({ "group": group, "version": version, "resource": resource });
        let review = json!({
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": group_kind,
                "resource": group_resource,
                "subResource": self.sub_resource,
                "requestKind": group_kind,
                "requestResource": group_resource,
                "name": subject["metadata"]["name"],
                "namespace": subject["metadata"]["namespace"],
                "operation": self.operation,
                "userInfo": { "username": self.user, "uid": "1", "groups": self.groups, "extra": {} },
                "object": self.object,
                "oldObject": self.old,
                "dryRun": self.dry_run,
                "options": { "kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1" },
            },
        });
        review.to_string().into_bytes()
    }
}

/// What the API server is told, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) is_allowed: bool,
    /// `status.message`; empty for an allowed write.
    pub(crate) message: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) patch: Option<Value>,
    pub(crate) audit: Value,
}

pub(crate) fn ask(
    half: Half,
    request: &Request<'_>,
    snapshot: &Snapshot,
    policies: &Policies,
    now: Timestamp,
) -> Answer {
    answer(&review::review(half, &request.body(), snapshot, policies, now).unwrap().body)
}

/// Takes a response apart and checks what every response must be.
pub(crate) fn answer(body: &[u8]) -> Answer {
    let review: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&review["kind"], &review["apiVersion"]), (&json!("AdmissionReview"), &json!("admission.k8s.io/v1")));
    let response = &review["response"];
    assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    let is_allowed = response["allowed"].as_bool().unwrap();
    let message = match (is_allowed, &response["status"]) {
        (true, Value::Null) => String::new(),
        (false, status) => {
            let expected =
                json!({"status": "Failure", "reason": "Forbidden", "code": 403, "message": status["message"]});
            assert_eq!(*status, expected);
            status["message"].as_str().unwrap().to_owned()
        }
        (true, status) => panic!("an allowed write has no status: {status}"),
    };
    assert!(!message.chars().any(|it| it.is_control() && it != '\n'), "{message:?}");
    let warnings: Vec<String> = serde_json::from_value(response["warnings"].clone()).unwrap_or_default();
    assert!(warnings.iter().map(|it| it.chars().count()).sum::<usize>() <= 3_500, "{warnings:?}");
    for warning in &warnings {
        assert!(warning.chars().count() <= 256 && !warning.chars().any(char::is_control), "{warning:?}");
    }
    let patch = response["patch"].as_str().map(|it| serde_json::from_slice(&BASE64.decode(it).unwrap()).unwrap());
    assert_eq!(patch.is_some(), response["patchType"] == "JSONPatch", "{response}");
    Answer { is_allowed, message, warnings, patch, audit: response["auditAnnotations"].clone() }
}

/// What a server has that was started with these settings.
pub(crate) fn policies(values: impl IntoIterator<Item = (Field, FieldValue)>) -> Policies {
    Policies::new(Installation { values: values.into_iter().collect(), ..Installation::default() })
}
