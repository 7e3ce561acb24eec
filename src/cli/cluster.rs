//! How commands of users reach a cluster: with the kubeconfig that kubectl has.

use std::{path::Path, time::Duration};

use anyhow::anyhow;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

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
    let mut config = match kubeconfig {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| unusable(file, &error))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| unusable(file, &error))?
        }
        None => match Config::from_kubeconfig(&options).await {
            Ok(config) => config,
            Err(_) if context.is_none() && Config::incluster().is_ok() => Config::incluster()?,
            Err(error) => {
                let error = first_line(&error);
                return Err(anyhow!(
                    "no kubeconfig that can be used: {error}; give --kubeconfig FILE or --context NAME"
                ));
            }
        },
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(REQUEST_TIMEOUT);
    Ok(config)
}

fn unusable(file: &Path, error: &impl std::fmt::Display) -> anyhow::Error {
    anyhow!("--kubeconfig {}: {}", file.display(), first_line(error))
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
