//! `no502 policy explain`: every setting of a namespace or a workload, and where it comes from.

use std::{io, path::PathBuf};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;

use super::{ServerFlags, live, text::Page, troubles};
use crate::{
    cli::{
        Exit, Failure, Format, check, cluster,
        output::{paint, print},
        report,
    },
    facts::DEFAULT_NAMESPACE,
    manifest,
    nearest::did_you_mean,
    policy::{Explanation, Installation},
    trial::World,
};

/// Says for each setting of a namespace or a workload what is in force, where it comes from, and what it overrode
///
/// Live with your kubeconfig, or, with -f, from files alone: policies, Namespaces and workloads. Live it reads the two kinds of
/// policies, the Namespace and the workload: the ClusterRoles no502-policy-reader, and view in the namespace, have the rights.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 explained; 2 wrong use, or something cannot be read or is not there; 3 the cluster cannot be \
                  reached or refuses."
)]
pub(super) struct Explain {
    /// The workload, such as deployment/web; without one, what holds for the whole namespace
    #[arg(value_name = "KIND/NAME", value_parser = live::workload)]
    workload: Option<live::Name>,
    /// The namespace; objects of files that name none are in it [default: the one of the context; with -f default]
    #[arg(long, short, value_name = "NS", value_parser = live::namespace)]
    namespace: Option<String>,
    /// Explain from files and ask no cluster: files, folders or - for standard input; may be repeated
    #[arg(long = "filename", short = 'f', value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    files: Vec<PathBuf>,
    /// File that says how to reach the cluster [default: as kubectl, KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    #[command(flatten)]
    flags: ServerFlags,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show the built-in settings one by one, too
    #[arg(long)]
    all: bool,
}

impl Explain {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let installation = self.flags.installation();
        let has_flags = !installation.values.is_empty();
        let (explanation, notes) =
            if self.files.is_empty() { self.of_cluster(installation)? } else { self.of_files(installation)? };
        let text = match self.format {
            Format::Text => Page::new(paint()).explanation(&explanation, &notes, self.all, has_flags),
            Format::Json => {
                let mut json = explanation.to_json();
                json["notes"] = notes.into();
                let json = serde_json::to_string_pretty(&json).context("cannot write the explanation as JSON")?;
                format!("{json}\n")
            }
        };
        print(&text)?;
        Ok(Exit::Clean)
    }

    fn of_files(&self, installation: Installation) -> Result<(Explanation, Vec<String>), Failure> {
        let loaded = manifest::read(&self.files, io::stdin());
        let troubles = troubles(&loaded);
        if !troubles.is_empty() {
            for it in &troubles {
                report(&anyhow!("{it}"));
            }
            return Err(anyhow!("nothing is explained: what cannot be read may be what decides").into());
        }
        if let Some(path) = self.files.iter().find(|it| check::is_empty(it, &loaded)) {
            return Err(anyhow!("no Kubernetes objects in {}; is it the right one?", check::name(path)).into());
        }
        if loaded.documents.is_empty() {
            return Err(anyhow!("no Kubernetes objects in any of the files; are they the right ones?").into());
        }
        let namespace = self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let world = World::read(&loaded.documents, namespace, installation);
        for problem in &world.problems {
            report(&anyhow!("{problem}"));
        }
        let explanation = self.explain(&world, namespace, "the files")?;
        let mut notes = Vec::new();
        if world.policies.entries().next().is_none() {
            notes.push("no policies in the files: what is built in holds, and annotations".to_owned());
        }
        if !world.knows_namespace(namespace) {
            notes.push(format!("nothing in the files is of namespace {namespace}; is it the right one?"));
        }
        if world.namespace(namespace).is_none() {
            notes.push(format!(
                "the Namespace {namespace} is not in the files: it counts as one without labels and annotations"
            ));
        }
        Ok((explanation, notes))
    }

    fn of_cluster(&self, installation: Installation) -> Result<(Explanation, Vec<String>), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let config = cluster::config(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
            let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
            let (objects, notes) = live::read(config, &namespace, self.workload.as_ref()).await?;
            let world = World::of(objects, installation);
            Ok((self.explain(&world, &namespace, "the cluster")?, notes))
        })
    }

    fn explain(&self, world: &World, namespace: &str, place: &str) -> anyhow::Result<Explanation> {
        let workload = match &self.workload {
            Some(name) => {
                let found = world.workload(&name.kind, namespace, &name.name);
                Some(found.ok_or_else(|| missing(name, world, namespace, place))?)
            }
            None => None,
        };
        Ok(world.policies.explain(namespace, world.namespace(namespace), workload, Timestamp::now()))
    }
}

fn missing(name: &live::Name, world: &World, namespace: &str, place: &str) -> anyhow::Error {
    let live::Name { kind, name } = name;
    if world.object(kind, namespace, name).is_some() {
        return anyhow!("{kind} \"{name}\" makes no pods: leave it out, for what holds in the namespace");
    }
    let names: Vec<String> = world.names(namespace).collect();
    let near = did_you_mean(&format!("{kind}/{name}"), names.iter().map(String::as_str));
    anyhow!("there is no {kind} \"{name}\" in namespace {namespace} of {place}{near}")
}
