//! How commands of users reach a cluster: with the kubeconfig that kubectl has.

use std::{path::Path, time::Duration};

use anyhow::anyhow;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::nearest::nearest_word;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to get a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The kubeconfig that is named, or the one that kubectl would use, or that of the pod.
///
/// # Errors
/// One line that says which cannot be used, and why.
pub(super) async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Config> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let read = kubeconfig.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    if let (Ok(read), Some(context)) = (&read, context)
        && let Some(missing) = missing_context(read, context)
    {
        let place = kubeconfig.map_or("the kubeconfig".to_owned(), |it| format!("--kubeconfig {}: it", it.display()));
        return Err(anyhow!("{place} has {missing}"));
    }
    let found = match read {
        Ok(read) => Config::from_custom_kubeconfig(read, &options).await,
        Err(error) => Err(error),
    };
    let mut config = match (found.map_err(|it| first_line(&it)), kubeconfig) {
        (Ok(config), _) => config,
        (Err(_), None) if context.is_none() && Config::incluster().is_ok() => Config::incluster()?,
        (Err(error), Some(file)) => return Err(anyhow!("--kubeconfig {}: {error}", file.display())),
        (Err(error), None) => {
            return Err(anyhow!("no kubeconfig that can be used: {error}; give --kubeconfig FILE or --context NAME"));
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(REQUEST_TIMEOUT);
    Ok(config)
}

/// That a context is not there, and which one was probably meant.
fn missing_context(kubeconfig: &Kubeconfig, context: &str) -> Option<String> {
    let names: Vec<&str> = kubeconfig.contexts.iter().map(|it| it.name.as_str()).collect();
    let known = match nearest_word(context, names.iter().copied()) {
        _ if names.contains(&context) => return None,
        Some(near) => format!("; did you mean {near}?"),
        None if names.is_empty() => "; it has none at all".to_owned(),
        None => format!("; it has {}", names.join(", ")),
    };
    Some(format!("no context \"{context}\"{known}"))
}

/// Parsers add a picture of the place.
fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The innermost reason: the outer ones only say which layer had it.
pub(super) fn root(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
