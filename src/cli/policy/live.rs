//! What `policy explain` reads of a cluster: the two kinds of policies, the Namespace, the workload.

use anyhow::anyhow;
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::Value as Json;

use crate::{
    cli::{
        Exit, Failure,
        cluster::root,
        kinds::{KINDS, Kind},
    },
    crd::{self, PolicyKind},
    nearest::did_you_mean,
    policy::CLUSTER_KIND,
    trial::Place,
};

/// Objects of one page of a list.
const PAGE_OBJECTS: u32 = 500;

/// The role that has the rights which `view` of a namespace does not have.
const READER_ROLE: &str = "no502-policy-reader";

/// The kinds that this role is for.
const READER_KINDS: [&str; 2] = [CLUSTER_KIND, "Namespace"];

/// A workload by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// `Deployment`, or what was typed, for kinds that are not known by heart.
    pub(super) kind: String,
    pub(super) name: String,
}

/// `deployment/web`, `sts/db`, `deployments.apps/web`.
pub(super) fn workload(text: &str) -> Result<Name, String> {
    let whole = text.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty());
    let (kind, name) = whole.ok_or("write KIND/NAME, such as deployment/web")?;
    if !is_name(name, NAME_CHARS_MAX, ".-") {
        return Err(format!(
            "\"{name}\" is no name of an object (a-z, 0-9, - and .); write KIND/NAME, such as deployment/web"
        ));
    }
    let plain = kind.split('.').next().unwrap_or(kind);
    let kind = KINDS.iter().find(|it| it.is_called(plain)).map_or(kind, |it| it.name);
    Ok(Name { kind: kind.to_owned(), name: name.to_owned() })
}

/// The name of a namespace.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let is_one = is_name(text, NAMESPACE_CHARS_MAX, "-");
    is_one.then(|| text.to_owned()).ok_or_else(|| {
        format!("it is no name of a namespace: at most {NAMESPACE_CHARS_MAX} of a-z, 0-9 and -, such as shop")
    })
}

/// Longest name of an object, in characters.
const NAME_CHARS_MAX: usize = 253;

/// Longest name of a namespace, in characters.
const NAMESPACE_CHARS_MAX: usize = 63;

/// What can be asked for: another name would be another path of the API, or none.
fn is_name(text: &str, chars_max: usize, between: &str) -> bool {
    let is_inner = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || between.contains(it);
    let is_end = |it: char| is_inner(it) && !between.contains(it);
    (1..=chars_max).contains(&text.len())
        && text.chars().all(is_inner)
        && text.starts_with(is_end)
        && text.ends_with(is_end)
}

type Objects = Vec<(Json, Place<'static>)>;

/// Reads what decides about a namespace, and what is worth a note.
pub(super) async fn read(
    config: Config,
    namespace: &str,
    workload: Option<&Name>,
) -> Result<(Objects, Vec<String>), Failure> {
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| anyhow!("the kubeconfig cannot be used: {error}"))?;
    let cluster = Cluster { client, server };
    let mut notes = Vec::new();
    let mut objects = Vec::new();
    let known = workload.map(|it| known(&it.kind).map(|kind| (kind, it))).transpose()?;
    let namespaces = resource("", "v1", "Namespace", "namespaces");
    let missing = format!("there is no namespace {namespace} in the cluster");
    objects.push(cluster.get_or_say(&missing, &namespaces, None, namespace).await?);
    let mut is_absent = false;
    for kind in PolicyKind::ALL {
        let resource = resource(crd::group(), crd::version(), kind.kind(), kind.plural());
        match cluster.list(&resource, (!kind.is_cluster()).then_some(namespace)).await? {
            Some(found) => {
                notes.extend(found.iter().filter_map(|it| earlier_in_force(it, kind.kind())));
                objects.extend(found);
            }
            None => is_absent = true,
        }
    }
    if is_absent {
        notes.push(
            "the cluster does not know the policies of no502 (no502 crd | kubectl apply -f -): \
                    what is built in holds, and annotations"
                .to_owned(),
        );
    }
    if let Some((known, Name { kind, name })) = known {
        let resource = known.resource();
        let missing = format!("there is no {kind} \"{name}\" in namespace {namespace}");
        objects.push(cluster.get_or_say(&missing, &resource, Some(namespace), name).await?);
    }
    Ok((objects.into_iter().map(|it| (it, Place::Cluster)).collect(), notes))
}

fn known(kind: &str) -> anyhow::Result<&'static Kind> {
    KINDS.iter().find(|it| it.name == kind).ok_or_else(|| {
        let names: Vec<&str> = KINDS.iter().map(|it| it.name).collect();
        let called = KINDS.iter().flat_map(|it| [it.name, it.plural, it.short]).map(str::to_ascii_lowercase);
        let called: Vec<String> = called.collect();
        let near = did_you_mean(&kind.to_ascii_lowercase(), called.iter().map(String::as_str));
        anyhow!("\"{kind}\": use one of {}, or -f with its manifest{near}", names.join(", "))
    })
}

/// The server goes by an earlier version of a policy that it cannot read as a whole, and nobody else has that one any more.
fn earlier_in_force(policy: &Json, kind: &str) -> Option<String> {
    let (metadata, status) = (&policy["metadata"], &policy["status"]);
    let (generation, in_force) = (metadata["generation"].as_i64()?, status["inForceGeneration"].as_i64()?);
    let is_seen = status["observedGeneration"].as_i64() == Some(generation);
    (is_seen && in_force < generation).then(|| {
        let name = metadata["name"].as_str().unwrap_or_default();
        format!(
            "{kind} \"{name}\" is explained as it is, generation {generation}; in force is the last good one, generation {in_force}"
        )
    })
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

struct Cluster {
    client: Client,
    server: String,
}

impl Cluster {
    fn api(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    /// `None` for an object that is not there.
    async fn get(&self, resource: &ApiResource, namespace: Option<&str>, name: &str) -> Result<Option<Json>, Failure> {
        match self.api(resource, namespace).get(name).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            other => json(&other.map_err(|error| self.failure(&error, "get", resource))?, resource).map(Some),
        }
    }

    /// For an object that is not there: what is missing, and what was probably meant.
    async fn get_or_say(
        &self,
        missing: &str,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Json, Failure> {
        if let Some(found) = self.get(resource, namespace, name).await? {
            return Ok(found);
        }
        let near = self.near(resource, namespace, name).await;
        Err(anyhow!("{missing}{near}").into())
    }

    /// `None` for a kind that the cluster does not know.
    async fn list(&self, resource: &ApiResource, namespace: Option<&str>) -> Result<Option<Vec<Json>>, Failure> {
        let api = self.api(resource, namespace);
        let mut parameters = ListParams::default().limit(PAGE_OBJECTS);
        let mut found = Vec::new();
        loop {
            let page = match api.list(&parameters).await {
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
                other => other.map_err(|error| self.failure(&error, "list", resource))?,
            };
            for object in &page.items {
                found.push(json(object, resource)?);
            }
            let Some(token) = page.metadata.continue_.filter(|it| !it.is_empty()) else { return Ok(Some(found)) };
            parameters = parameters.continue_token(&token);
        }
    }

    /// `; did you mean web?`, of the first page; nothing where that may not be listed.
    async fn near(&self, resource: &ApiResource, namespace: Option<&str>, name: &str) -> String {
        let parameters = ListParams::default().limit(PAGE_OBJECTS);
        let Ok(page) = self.api(resource, namespace).list_metadata(&parameters).await else { return String::new() };
        let names = page.items.iter().filter_map(|it| it.metadata.name.as_deref());
        did_you_mean(name, names)
    }

    /// Whether nobody answers or somebody says no, nothing is known of the settings.
    fn failure(&self, error: &kube::Error, verb: &str, resource: &ApiResource) -> Failure {
        let server = &self.server;
        let error = match error {
            kube::Error::Api(status) if status.code == 403 => {
                let group = if resource.group.is_empty() { "" } else { "." };
                let role = if READER_KINDS.contains(&resource.kind.as_str()) { READER_ROLE } else { "view" };
                anyhow!(
                    "you may not {verb} {}{group}{} there; the ClusterRole {role} has that right ({})",
                    resource.plural,
                    resource.group,
                    one_line(&status.message)
                )
            }
            kube::Error::Api(status) => {
                anyhow!("the cluster at {server} does not answer: {}", one_line(&status.message))
            }
            other => anyhow!("the cluster at {server} cannot be reached: {}", root(other)),
        };
        Failure { exit: Exit::Unreachable, error }
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

/// Items of a list do not say what they are.
fn json(object: &DynamicObject, resource: &ApiResource) -> Result<Json, Failure> {
    let mut json = serde_json::to_value(object)?;
    json["apiVersion"] = resource.api_version.clone().into();
    json["kind"] = resource.kind.clone().into();
    Ok(json)
}
