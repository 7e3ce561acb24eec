//! What no502 asks of the API server beside what its manifests let it ask: the calls of its ServiceAccount, read from the audit
//! log, and the rules that the manifests bind to it. Neither may have what the other has not.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{
    Metadata,
    api::{
        core::v1::ServiceAccount,
        rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// Arguments of kube-apiserver that add the audit log of no502's calls to its own log, a line each.
pub(crate) const AUDIT_ARGS: &[&str] = &[
    concat!("--audit-policy-file=", env!("CARGO_MANIFEST_DIR"), "/tests/cluster/audit-policy.yaml"),
    // Standard output. A request waits for its line: the mode is blocking by default.
    "--audit-log-path=-",
];

/// How a line of the audit log begins, where other lines are around it.
const EVENT_BEGINS: &str = "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/";
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

/// Why rights and calls cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RightsError {
    /// The manifests are not YAML.
    #[error("the manifests: {0}")]
    Yaml(#[from] serde_saphyr::Error),
    /// An object of the manifests, or a line of the audit log, is not what its kind says.
    #[error("{place}: {problem}")]
    Json { place: String, problem: serde_json::Error },
    /// The manifests install no ServiceAccount, or several.
    #[error("the manifests: {0} ServiceAccounts, and it should be one")]
    ServiceAccounts(usize),
    /// A binding leads nowhere.
    #[error("the manifests: {binding} is for {kind} {name:?}, which is not in them")]
    NoRole { binding: String, kind: String, name: String },
}

/// What is asked for, or may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// Objects. Without a namespace: of all namespaces, or those in none; without a name: of any.
    Objects { group: String, resource: String, namespace: Option<String>, name: Option<String> },
    /// A path that is no object's, such as `/version`.
    Path(String),
}

/// One thing that a rule allows: a rule with two resources and two verbs is four of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    /// `ClusterRole no502`.
    role: String,
    verb: String,
    target: Target,
}

/// What the API server decided about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Decision {
    Allow,
    Forbid,
    /// It ended before it was decided about, for instance with 429.
    None,
}

/// Calls that differ in nothing that matters here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    verb: String,
    target: Target,
    decision: Decision,
    /// The HTTP status; none if the connection ended before.
    code: Option<u16>,
    /// Why it was allowed or forbidden, in the API server's words: it names the binding.
    reason: String,
}

/// The rights of no502, and its calls with how often each was made. Printed, it is the list of all of them.
#[derive(Debug)]
pub(crate) struct Rights {
    rights: Vec<Right>,
    calls: BTreeMap<Call, usize>,
}

impl Rights {
    /// Compares the output of `no502 manifests` with an audit log. Other lines may be in the log, the last one may be cut off.
    pub(crate) fn new(manifests: &str, audit_log: &str) -> Result<Self, RightsError> {
        let manifests = Manifests(serde_saphyr::from_multiple(manifests)?);
        let (namespace, name) = manifests.service_account()?;
        let rights = manifests.rights(&namespace, &name)?;
        Ok(Self { rights, calls: calls(audit_log, &format!("system:serviceaccount:{namespace}:{name}"))? })
    }

    /// Whether nothing was asked at all.
    pub(crate) fn is_silent(&self) -> bool {
        self.calls.is_empty()
    }

    /// What the manifests allow and no call was in need of. Where two rights allow a call, it needs the narrower one.
    pub(crate) fn unused(&self) -> Vec<&Right> {
        let used: Vec<&Right> = self.calls.keys().filter_map(|call| self.right_of(call)).collect();
        self.rights.iter().filter(|right| !used.iter().any(|used| std::ptr::eq(*used, *right))).collect()
    }

    /// The calls that were not allowed.
    pub(crate) fn forbidden(&self) -> Vec<&Call> {
        self.calls.keys().filter(|call| call.is_forbidden()).collect()
    }

    /// The calls that were allowed, but by nothing in the manifests: an administrator may take away what allowed them.
    pub(crate) fn beyond(&self) -> Vec<&Call> {
        let is_beyond = |call: &&Call| call.decision == Decision::Allow && self.right_of(call).is_none();
        self.calls.keys().filter(is_beyond).collect()
    }

    /// All that is wrong, a line each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let forbidden = self.forbidden().into_iter().map(|call| format!("forbidden: {call}"));
        let beyond = self.beyond().into_iter().map(|call| format!("allowed by no rule of the manifests: {call}"));
        let unused = self.unused().into_iter().map(|right| format!("allowed and never done: {right}"));
        forbidden.chain(beyond).chain(unused).collect()
    }

    fn right_of(&self, call: &Call) -> Option<&Right> {
        let allowing = self.rights.iter().filter(|right| right.allows(call));
        allowing.max_by_key(|right| right.narrowness()).filter(|_| call.decision == Decision::Allow)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (call, count) in &self.calls {
            writeln!(f, "{count:>4} x {call}")?;
        }
        self.faults().iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

impl Right {
    fn allows(&self, call: &Call) -> bool {
        let within = |limit: &Option<String>, asked: &Option<String>| limit.is_none() || limit == asked;
        let is_target = match (&self.target, &call.target) {
            (
                Target::Objects { group, resource, namespace, name },
                Target::Objects { group: of_group, resource: of_resource, namespace: in_namespace, name: named },
            ) => {
                matches(group, of_group)
                    && matches(resource, of_resource)
                    && within(namespace, in_namespace)
                    && within(name, named)
            }
            (Target::Path(allowed), Target::Path(path)) => match allowed.strip_suffix('*') {
                Some(beginning) => path.starts_with(beginning),
                None => path == allowed,
            },
            _ => false,
        };
        is_target && matches(&self.verb, &call.verb)
    }

    /// How many of its parts have only one value.
    fn narrowness(&self) -> usize {
        let parts = match &self.target {
            Target::Objects { group, resource, namespace, name } => {
                [group != "*", resource != "*", namespace.is_some(), name.is_some()].map(usize::from).iter().sum()
            }
            Target::Path(path) => usize::from(!path.ends_with('*')),
        };
        parts + usize::from(self.verb != "*")
    }
}

/// Whether a word of a rule is this one.
fn matches(allowed: &str, asked: &str) -> bool {
    allowed == "*" || allowed == asked
}

impl Call {
    /// Also what was allowed and then refused by something else.
    fn is_forbidden(&self) -> bool {
        self.decision == Decision::Forbid || matches!(self.code, Some(401 | 403))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Objects { group, resource, namespace, name } = self else {
            let Self::Path(path) = self else { return Ok(()) };
            return f.write_str(path);
        };
        f.write_str(resource)?;
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        if let Some(name) = name {
            write!(f, " {name}")?;
        }
        namespace.iter().try_for_each(|namespace| write!(f, " in {namespace}"))
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.verb, self.target, self.role)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("no answer".to_owned(), |code| code.to_string());
        write!(f, "{} {}: {code}, {:?}, {}", self.verb, self.target, self.decision, self.reason)
    }
}

/// The documents of `no502 manifests`.
struct Manifests(Vec<Value>);

impl Manifests {
    fn all<K: DeserializeOwned>(&self, kind: &str) -> Result<Vec<K>, RightsError> {
        let documents = self.0.iter().filter(|document| document["kind"] == kind);
        let typed = documents.map(|document| K::deserialize(document));
        typed
            .collect::<Result<_, _>>()
            .map_err(|problem| RightsError::Json { place: format!("the manifests, {kind}"), problem })
    }

    /// Its namespace and name.
    fn service_account(&self) -> Result<(String, String), RightsError> {
        let accounts = self.all::<ServiceAccount>("ServiceAccount")?;
        let [account] = accounts.as_slice() else { return Err(RightsError::ServiceAccounts(accounts.len())) };
        Ok((account.metadata.namespace.clone().unwrap_or_default(), name_of(account).to_owned()))
    }

    /// All that is bound to the `ServiceAccount`.
    fn rights(&self, namespace: &str, name: &str) -> Result<Vec<Right>, RightsError> {
        let is_ours = |subjects: &Option<Vec<Subject>>| {
            let mut subjects = subjects.iter().flatten();
            subjects
                .any(|it| it.kind == "ServiceAccount" && it.name == name && it.namespace.as_deref() == Some(namespace))
        };
        let mut rights = Vec::new();
        for binding in self.all::<ClusterRoleBinding>("ClusterRoleBinding")? {
            if is_ours(&binding.subjects) {
                let place = format!("ClusterRoleBinding {}", name_of(&binding));
                rights.extend(self.rights_of(&binding.role_ref, None, place)?);
            }
        }
        for binding in self.all::<RoleBinding>("RoleBinding")? {
            if is_ours(&binding.subjects) {
                let place = format!("RoleBinding {}", name_of(&binding));
                rights.extend(self.rights_of(&binding.role_ref, binding.metadata.namespace.as_ref(), place)?);
            }
        }
        Ok(rights)
    }

    /// The rights of a role, in the namespace of its binding if that has one.
    fn rights_of(
        &self,
        role: &RoleRef,
        namespace: Option<&String>,
        binding: String,
    ) -> Result<Vec<Right>, RightsError> {
        let rules = match role.kind.as_str() {
            "ClusterRole" => self
                .all("ClusterRole")?
                .into_iter()
                .find_map(|it: ClusterRole| (name_of(&it) == role.name).then(|| it.rules.unwrap_or_default())),
            _ => self.all("Role")?.into_iter().find_map(|it: Role| {
                let is_it = name_of(&it) == role.name && it.metadata.namespace.as_ref() == namespace;
                is_it.then(|| it.rules.unwrap_or_default())
            }),
        };
        let (kind, name) = (role.kind.clone(), role.name.clone());
        let rules = rules.ok_or(RightsError::NoRole { binding, kind, name })?;
        let role = format!("{} {}", role.kind, role.name);
        Ok(rules.iter().flat_map(|rule| expand(rule, &role, namespace)).collect())
    }
}

fn name_of(object: &impl Metadata<Ty = ObjectMeta>) -> &str {
    object.metadata().name.as_deref().unwrap_or_default()
}

/// A rule, one thing at a time.
fn expand(rule: &PolicyRule, of_role: &str, namespace: Option<&String>) -> Vec<Right> {
    let list = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
    let mut names: Vec<Option<String>> = list(&rule.resource_names).into_iter().map(Some).collect();
    if names.is_empty() {
        names.push(None);
    }
    let mut targets: Vec<Target> = list(&rule.non_resource_urls).into_iter().map(Target::Path).collect();
    for group in list(&rule.api_groups) {
        for resource in list(&rule.resources) {
            targets.extend(names.iter().map(|name| Target::Objects {
                group: group.clone(),
                resource: resource.clone(),
                namespace: namespace.cloned(),
                name: name.clone(),
            }));
        }
    }
    let right =
        |verb: &String, target: &Target| Right { role: of_role.to_owned(), verb: verb.clone(), target: target.clone() };
    targets.iter().flat_map(|target| rule.verbs.iter().map(move |verb| right(verb, target))).collect()
}

/// A line of the audit log, audit.k8s.io/v1, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    #[serde(default)]
    api_group: String,
    resource: String,
    subresource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

impl Event {
    fn into_call(mut self) -> Call {
        let target = match self.object_ref {
            Some(ObjectRef { api_group, resource, subresource, namespace, name }) => {
                let resource = subresource.map_or(resource.clone(), |part| format!("{resource}/{part}"));
                Target::Objects { group: api_group, resource, namespace, name }
            }
            None => Target::Path(self.request_uri.split('?').next().unwrap_or_default().to_owned()),
        };
        let decision = match self.annotations.get(DECISION).map(String::as_str) {
            Some("allow") => Decision::Allow,
            Some(_) => Decision::Forbid,
            None => Decision::None,
        };
        let code = self.response_status.and_then(|status| status.code);
        Call { verb: self.verb, target, decision, code, reason: self.annotations.remove(REASON).unwrap_or_default() }
    }
}

/// The calls of `user`, each with how often it was made.
fn calls(audit_log: &str, user: &str) -> Result<BTreeMap<Call, usize>, RightsError> {
    let lines = audit_log.split_inclusive('\n').filter(|line| line.starts_with(EVENT_BEGINS) && line.ends_with('\n'));
    // A watch is there with its begin and its end; the last word about a request counts.
    let mut requests: BTreeMap<String, Call> = BTreeMap::new();
    for line in lines {
        let event: Event = serde_json::from_str(line)
            .map_err(|problem| RightsError::Json { place: format!("the audit log, {line:?}"), problem })?;
        if event.user.username == user {
            requests.insert(event.audit_id.clone(), event.into_call());
        }
    }
    let mut calls = BTreeMap::new();
    for call in requests.into_values() {
        *calls.entry(call).or_insert(0) += 1;
    }
    Ok(calls)
}
