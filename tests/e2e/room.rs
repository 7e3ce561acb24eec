//! A namespace of one trial, and what kubectl says in it: a trial reads like the transcript of a terminal.

use std::{cell::Cell, time::Duration};

use anyhow::{bail, ensure};
use serde_json::Value;

use crate::{
    cluster::client::Output,
    no502::{No502, soon},
    ways::podless,
};

/// Anything that the control plane does by itself takes less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The API server leaves it out of admission, as the installed webhooks do.
pub(crate) const EXEMPT_NAMESPACE: &str = "kube-system";

/// A namespace of its own for one trial.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    pub(crate) no502: &'a No502,
    pub(crate) name: String,
    barriers: Cell<u32>,
}

impl<'a> Room<'a> {
    /// Makes the namespace.
    pub(crate) fn new(no502: &'a No502) -> anyhow::Result<Self> {
        Ok(Self { no502, name: no502.cluster.namespace()?, barriers: Cell::new(0) })
    }

    /// The namespace in which no502 is not asked, for what a trial is compared with. All trials share it: what is written here
    /// has the name of a room in its own.
    pub(crate) fn exempt(no502: &'a No502) -> Self {
        Self { no502, name: EXEMPT_NAMESPACE.to_owned(), barriers: Cell::new(0) }
    }

    /// `kubectl apply -f -` in this namespace.
    pub(crate) fn apply(&self, yaml: &str) -> anyhow::Result<Said> {
        self.kubectl_with("apply -f -", yaml)
    }

    /// `kubectl WORDS` in this namespace; the words have no spaces in them.
    pub(crate) fn kubectl(&self, words: &str) -> anyhow::Result<Said> {
        self.call(words, None)
    }

    /// The same with something to read for `-f -`.
    pub(crate) fn kubectl_with(&self, words: &str, stdin: &str) -> anyhow::Result<Said> {
        self.call(words, Some(stdin))
    }

    fn call(&self, words: &str, stdin: Option<&str>) -> anyhow::Result<Said> {
        let args: Vec<&str> = ["-n", &self.name].into_iter().chain(words.split_whitespace()).collect();
        Ok(Said(self.no502.cluster.kubectl(&args, stdin)?))
    }

    /// Makes the world of a trial, whatever no502 has to say about it, and waits until no502 knows it.
    pub(crate) fn given(&self, yaml: &str) -> anyhow::Result<()> {
        if !yaml.is_empty() {
            self.apply(yaml)?.done()?;
        }
        self.settle()
    }

    /// `kubectl annotate` on the Namespace, and waits until no502 knows: until a new Deployment makes it say this; with an empty
    /// text, until it says nothing.
    pub(crate) fn annotate(&self, annotations: &str, text: &str) -> anyhow::Result<()> {
        self.kubectl(&format!("annotate namespace {} {annotations}", self.name))?.quiet()?;
        let question = podless("question").to_string();
        soon(&format!("no502 knows {annotations}"), PATIENCE, || {
            let said = self.kubectl_with("create --dry-run=server -f -", &question)?;
            let is_known = if text.is_empty() { said.0.stderr.is_empty() } else { said.0.stderr.contains(text) };
            ensure!(is_known, "{said}");
            said.done().map(drop)
        })
    }

    /// An object as it is stored.
    pub(crate) fn get(&self, object: &str) -> anyhow::Result<Value> {
        Ok(self.kubectl(&format!("get {object} -o json"))?.0.json()?)
    }

    /// Waits until no502 has seen every Deployment, Service and Ingress that was written here before.
    ///
    /// A watch keeps the order of writes, so one new object of each kind is enough, once no502 is seen to know it.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        let number = self.barriers.replace(self.barriers.get() + 1);
        let label = format!("barrier: \"{number}\"");
        let barrier = format!("barrier-{number}");
        let service = |port: &str| service(&barrier, &label, port);
        let deployment = deployment(&barrier, &label, "").replace("replicas: 1", "replicas: 0");
        let objects = [deployment, service("{port: 80}"), ingress(&barrier, &barrier, "number: 80")];
        self.apply(&objects.concat())?.done()?;
        let questions = [
            self::service("barrier-question", &label, "{port: 80}"),
            ingress("barrier-question", &barrier, "number: 80"),
            service("{port: 81}"),
        ];
        let knows_the_ingress = format!("Ingress \"{barrier}\"");
        let unknown = ["matches no pod", "does not exist"];
        soon("no502 knows what was written", PATIENCE, || {
            let said = self.kubectl_with("apply --dry-run=server -f -", &questions.concat())?.0.stderr;
            let is_known = said.contains(&knows_the_ingress) && !unknown.iter().any(|it| said.contains(it));
            ensure!(is_known, "{said}");
            Ok(())
        })
    }
}

/// What kubectl said.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) Output);

/// How kubectl begins the line of a denial, by what it was doing.
const DENIAL_BEGINNINGS: [&str; 4] = [
    "Error from server (Forbidden): ",
    "Error from server (Forbidden): error when creating \"STDIN\": ",
    "Error from server (Forbidden): error when replacing \"STDIN\": ",
    "for: \"STDIN\": error when patching \"STDIN\": ",
];

/// What the API server puts before the message of a denial.
const DENIED_BY: &str = "admission webhook \"validate.no502.dev\" denied the request: ";

impl Said {
    /// It worked, with or without warnings; what was printed.
    pub(crate) fn done(self) -> anyhow::Result<String> {
        ensure!(self.0.status.success(), "should have worked: {self}");
        Ok(self.0.stdout)
    }

    /// It worked without a word of warning; what was printed.
    pub(crate) fn quiet(self) -> anyhow::Result<String> {
        ensure!(self.0.stderr.is_empty(), "should have had no warnings: {self}");
        self.done()
    }

    /// It worked with exactly one warning, which has `text` in it.
    pub(crate) fn warned(self, text: &str) -> anyhow::Result<()> {
        ensure!(self.0.status.success(), "should have been a warning and is a failure: {self}");
        match self.0.stderr.lines().collect::<Vec<_>>().as_slice() {
            [line] if line.starts_with("Warning: no502: ") && line.contains(text) => Ok(()),
            _ => bail!("should have warned {text:?} and nothing else: {self}"),
        }
    }

    /// It was refused with a message that has `text` in it.
    pub(crate) fn denied(self, text: &str) -> anyhow::Result<()> {
        ensure!(self.0.status.code() == Some(1), "should have been denied: {self}");
        let line = self.0.stderr.lines().last().unwrap_or_default();
        let message = DENIAL_BEGINNINGS.iter().find_map(|it| line.strip_prefix(it)?.strip_prefix(DENIED_BY));
        ensure!(message.is_some_and(|it| it.contains(text)), "should have been denied with {text:?}: {self}");
        Ok(())
    }

    /// Standard error is this, and nothing else.
    pub(crate) fn says(&self, stderr: &str) -> anyhow::Result<()> {
        ensure!(self.0.stderr == format!("{stderr}\n"), "should have said\n{stderr}\nbut {self}");
        Ok(())
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Output { call, status, stdout, stderr } = &self.0;
        write!(f, "{call}: {status}\n{stdout}{stderr}")
    }
}

/// A Deployment of one pod with these pod labels and container ports, both in YAML flow style. Its own selector is the
/// first label.
pub(crate) fn deployment(name: &str, labels: &str, ports: &str) -> String {
    let selector = labels.split(',').next().unwrap_or_default();
    format!(
        "---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{{selector}}}}}
  template:
    metadata: {{labels: {{{labels}}}}}
    spec:
      containers:
        - name: {name}
          image: example.invalid/{name}:1
          ports: [{ports}]
"
    )
}

/// Follows a [`deployment`] whose container says when it is ready, which leaves nothing to be said about that.
pub(crate) const WITH_PROBE: &str = "          readinessProbe: {exec: {command: [/bin/ready]}}\n";

/// A Service with this selector and these ports, both in YAML flow style.
pub(crate) fn service(name: &str, selector: &str, ports: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{{selector}}}
  ports: [{ports}]
"
    )
}

/// An Ingress for `NAME.example/` that leads to a port, `number: 80` or `name: http`, of a Service.
pub(crate) fn ingress(name: &str, service: &str, port: &str) -> String {
    format!(
        "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}}}
spec:
  rules:
    - host: {name}.example
      http:
        paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{{port}}}}}}}}}]
"
    )
}

/// The same objects as `helm install shop` would apply them.
pub(crate) fn of_release(yaml: &str, namespace: &str) -> String {
    let annotations = format!("{{meta.helm.sh/release-name: shop, meta.helm.sh/release-namespace: {namespace}}}");
    with_metadata(yaml, &format!("labels: {{app.kubernetes.io/managed-by: Helm}}, annotations: {annotations}"))
}

/// The same objects with more in their metadata, in YAML flow style.
pub(crate) fn with_metadata(yaml: &str, more: &str) -> String {
    yaml.replace("}\nspec:", &format!(", {more}}}\nspec:"))
}
