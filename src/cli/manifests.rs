//! `no502 manifests`: what installs no502 in a cluster.

use super::{Exit, Failure, print};
use crate::deploy::{Image, Namespace, Options, WebhookUrl, render};

/// Prints the manifests that install no502: `no502 manifests | kubectl apply -f -`
#[derive(Debug, clap::Args)]
pub(super) struct Manifests {
    /// Namespace to install into
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// Container image of no502
    #[arg(long, value_name = "IMG")]
    image: Option<String>,
    /// For a server outside the cluster: print only what makes the API server call this address
    #[arg(long, value_name = "URL", conflicts_with = "image")]
    webhook_url: Option<String>,
}

impl Manifests {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let defaults = Options::default();
        let options = Options {
            namespace: self.namespace.map_or(Ok(defaults.namespace), |it| it.parse::<Namespace>())?,
            image: self.image.map_or(Ok(defaults.image), |it| it.parse::<Image>())?,
            webhook_url: self.webhook_url.map(|it| it.parse::<WebhookUrl>()).transpose()?,
        };
        print(&render(&options))
    }
}
