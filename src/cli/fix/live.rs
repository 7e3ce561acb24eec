//! `no502 fix --undo --live`: taking injections out of the objects of a cluster. Looks by default; each write is asked for, guarded
//! by the resourceVersion that was looked at, and checked in the answer.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use json_patch::{Patch, PatchOperation, TestOperation, jsonptr::PointerBuf};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, ListParams, PatchParams},
};

use super::{Exit, Failure};
use crate::{
    cli::{
        cluster::{self, root},
        kinds::{KINDS, Kind},
    },
    facts::{Facts, Workload},
    fix::taken_out,
    inject::{MARKER, undo, would},
};

/// Objects of one page of a list.
const PAGE_OBJECTS: u32 = 500;
/// How the API server notes who wrote.
const FIELD_MANAGER: &str = "no502-fix";

/// Options of `--live`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_field_names, reason = "the flag is called so")]
pub(super) struct Live {
    /// Look at live objects in a cluster and not at files: Deployments, StatefulSets, DaemonSets and Argo Rollouts. Lists what it would take
    /// out; writes only with --yes
    #[arg(long, conflicts_with_all = ["diff", "check"])]
    live: bool,
    /// Write: one rollout of each object that is listed
    #[arg(long, requires = "live")]
    yes: bool,
    /// Namespace of the objects in files that name none, as with kubectl apply -n [default: default]; with --live the one to
    /// look in [default: the one of the context]
    #[arg(long, short, value_name = "NS", conflicts_with = "all_namespaces")]
    pub(super) namespace: Option<String>,
    /// Look in all namespaces
    #[arg(long, short = 'A', requires = "live")]
    all_namespaces: bool,
    /// File that says how to reach the cluster [default: as kubectl, KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE", requires = "live")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", requires = "live")]
    context: Option<String>,
}

/// An object that is asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    kind: &'static str,
    name: String,
}

/// One object with an injection.
struct Found {
    api: Api<DynamicObject>,
    workload: Workload,
    resource_version: String,
    patch: Patch,
}

impl Live {
    pub(super) fn is_meant(&self) -> bool {
        self.live
    }

    pub(super) fn run(&self, objects: &[PathBuf]) -> Result<Exit, Failure> {
        let names = objects.iter().map(|it| name(it)).collect::<anyhow::Result<Vec<_>>>()?;
        if self.all_namespaces && !names.is_empty() {
            return Err(anyhow!("a name is of one namespace: leave out --all-namespaces, or the names").into());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.work(&names))
    }

    async fn work(&self, names: &[Name]) -> Result<Exit, Failure> {
        let config = cluster::config(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| anyhow!("the kubeconfig cannot be used: {error}"))?;
        let scope = (!self.all_namespaces).then_some(namespace.as_str());
        let listed = list(&client, scope, names).await;
        let (found, missing) = listed.map_err(|error| unreachable(&error, &server))?;
        for name in &missing {
            super::super::report(&anyhow!("there is no {} \"{}\" in namespace {namespace}", name.kind, name.name));
        }
        let exit = if missing.is_empty() { Exit::Clean } else { Exit::Findings };
        if found.is_empty() {
            say("nothing to take out")?;
            return Ok(exit);
        }
        if self.yes { take_out(&found, exit).await } else { show(&found, exit) }
    }
}

/// Whether nobody answers or somebody says no, nothing is known of the objects.
fn unreachable(error: &kube::Error, server: &str) -> Failure {
    let error = match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => anyhow!(
            "the cluster at {server} refuses: {}; --undo --live needs list and patch on deployments, statefulsets, daemonsets \
             and rollouts",
            status.message
        ),
        kube::Error::Api(status) => anyhow!("the cluster at {server} does not answer: {}", status.message),
        other => anyhow!("the cluster at {server} cannot be reached: {}", root(other)),
    };
    Failure { exit: Exit::Unreachable, error }
}

/// `deployment/web`, `sts/db`, `deployment.apps/web`.
fn name(argument: &Path) -> anyhow::Result<Name> {
    let text = argument.to_string_lossy();
    let wanted = "name objects as KIND/NAME, where KIND is deployment, statefulset, daemonset or rollout";
    let (kind, name) = text.split_once('/').ok_or_else(|| anyhow!("\"{text}\": {wanted}"))?;
    let kind = kind.to_ascii_lowercase();
    let kind = kind.strip_suffix(".apps").or_else(|| kind.strip_suffix(".argoproj.io")).unwrap_or(&kind);
    let known = KINDS.iter().find(|it| it.can_be_injected() && it.is_called(kind));
    let kind = known.filter(|_| !name.is_empty()).ok_or_else(|| anyhow!("\"{text}\": {wanted}"))?.name;
    Ok(Name { kind, name: name.to_owned() })
}

/// Every object with an injection, and the names that are of no object at all.
async fn list(client: &Client, namespace: Option<&str>, names: &[Name]) -> kube::Result<(Vec<Found>, Vec<Name>)> {
    let mut found = Vec::new();
    let mut missing = names.to_vec();
    for kind in KINDS.iter().filter(|it| it.can_be_injected()) {
        if !names.is_empty() && !names.iter().any(|it| it.kind == kind.name) {
            continue;
        }
        let resource = kind.resource();
        let all: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let mut parameters = ListParams::default().limit(PAGE_OBJECTS);
        loop {
            let page = match all.list(&parameters).await {
                Err(kube::Error::Api(status)) if kind.is_custom() && status.code == 404 => break,
                // Whoever may not list them is told so whether or not the cluster knows the kind.
                Err(kube::Error::Api(status)) if kind.is_custom() && status.code == 403 && names.is_empty() => {
                    super::super::report(&anyhow!("{}s are not looked at: {}", kind.name, status.message));
                    break;
                }
                other => other?,
            };
            for object in page.items {
                let name = Name { kind: kind.name, name: object.name_any() };
                if !names.is_empty() && !names.contains(&name) {
                    continue;
                }
                missing.retain(|it| *it != name);
                let own = object.namespace().unwrap_or_default();
                let api = Api::namespaced_with(client.clone(), &own, &resource);
                found.extend(injected(&object, kind).map(|(workload, patch)| Found {
                    api,
                    workload,
                    resource_version: object.resource_version().unwrap_or_default(),
                    patch,
                }));
            }
            let Some(token) = page.metadata.continue_.filter(|it| !it.is_empty()) else { break };
            parameters = parameters.continue_token(&token);
        }
    }
    Ok((found, missing))
}

/// What of an object is ours.
fn injected(object: &DynamicObject, kind: &Kind) -> Option<(Workload, Patch)> {
    let json = serde_json::to_string(object).ok()?;
    let Ok(Facts::Workload(workload)) = Facts::read_item(&json, kind.api_version, kind.name) else {
        return None;
    };
    let patch = undo(&workload).ok()??;
    Some((workload, patch))
}

impl Found {
    fn line(&self, text: &str) -> String {
        let meta = &self.workload.meta;
        format!("{}/{meta}: {text}", meta.namespace)
    }

    /// The patch, for the very state that was looked at.
    fn guarded(&self) -> anyhow::Result<Patch> {
        let path = PointerBuf::parse("/metadata/resourceVersion").context("a pointer")?;
        let value = self.resource_version.clone().into();
        let mut operations = vec![PatchOperation::Test(TestOperation { path, value })];
        operations.extend(self.patch.0.iter().cloned());
        Ok(Patch(operations))
    }
}

fn show(found: &[Found], exit: Exit) -> Result<Exit, Failure> {
    for it in found {
        say(&it.line(&would(&taken_out(&it.workload, &it.patch))))?;
    }
    say(&format!("would write {}: one rollout of each; nothing is written without --yes", objects(found.len())))?;
    Ok(exit)
}

async fn take_out(found: &[Found], mut exit: Exit) -> Result<Exit, Failure> {
    let mut written = 0;
    for it in found {
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let name = it.workload.meta.name.as_str();
        let answer = it.api.patch(name, &parameters, &kube::api::Patch::Json::<()>(it.guarded()?)).await;
        let trouble = match &answer {
            Ok(object) if is_back(object) => Some(
                "no502 has put the injections back; first annotate the namespace no502.dev/inject=disabled and take \
                 no502.dev/inject off the workload itself, or delete the webhook configuration, then run again"
                    .to_owned(),
            ),
            Ok(_) => None,
            Err(kube::Error::Api(status)) if has_changed(status.code, &status.message) => {
                Some(format!("not written, it has changed in the meantime; run again ({})", status.message))
            }
            Err(kube::Error::Api(status)) => Some(format!("not written: {}", status.message)),
            Err(error) => Some(format!("it is not known whether it was written: {}; run again to see", root(error))),
        };
        if let Some(text) = trouble {
            exit = Exit::Findings;
            super::super::report(&anyhow!("{}", it.line(&text)));
        } else {
            written += 1;
            say(&it.line(&format!("{}; a rollout begins", taken_out(&it.workload, &it.patch))))?;
        }
    }
    say(&format!("took the injections out of {}", objects(written)))?;
    Ok(exit)
}

/// True if the object is not the one that was looked at. A failed test operation has the code of invalid objects, and a message of
/// its own.
fn has_changed(code: u16, message: &str) -> bool {
    code == 409 || code == 422 && message.contains("the server rejected our request")
}

/// True if the object that was stored has our marker again.
fn is_back(object: &DynamicObject) -> bool {
    object.data.pointer("/spec/template/metadata/annotations").is_some_and(|it| it.get(MARKER).is_some())
}

fn objects(count: usize) -> String {
    format!("{count} object{}", if count == 1 { "" } else { "s" })
}

fn say(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.context("cannot write to standard output")?),
    }
}
