//! The ways in which people and their tools write a Deployment, each with the real program.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{
    cluster::{ControlPlane, client::Output},
    room::{Room, Said},
};

/// How a Deployment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `kubectl apply`
    Apply,
    /// `kubectl apply --server-side`
    ServerSideApply,
    /// The same with `--force-conflicts` and a field manager of its own.
    ForcedServerSideApply,
    /// `kubectl apply -k`, the change being a patch of the overlay.
    Kustomize,
    /// `helm upgrade`, which is server-side apply.
    Helm,
    /// `helm upgrade --server-side=false`, a three-way merge.
    HelmClientSide,
    /// `kubectl replace` with what the user has in a file.
    ReplaceByFile,
    /// `kubectl replace` with what is stored and the change in it.
    Replace,
    /// `kubectl edit`
    Edit,
    /// `kubectl patch`, strategic
    StrategicPatch,
    /// `kubectl patch --type=merge`
    MergePatch,
    /// `kubectl patch --type=json`, adding to what is there.
    JsonPatch,
    /// The same, putting a whole hook or probe in the place of the one that is there.
    JsonPatchOfWholeHook,
}

impl Way {
    /// The user has a file and the tool makes the cluster like it; the others change what is stored.
    pub(crate) fn is_declarative(self) -> bool {
        matches!(
            self,
            Self::Apply
                | Self::ServerSideApply
                | Self::ForcedServerSideApply
                | Self::Kustomize
                | Self::Helm
                | Self::HelmClientSide
                | Self::ReplaceByFile
        )
    }
}

/// A change that a user makes to a Deployment, to the file or to what is stored. Null stands for what is removed.
pub(crate) type Change = fn(&mut Value);

/// A Deployment without pods, whose controller is done as soon as it has seen it. Its container is `web`.
pub(crate) fn podless(name: &str) -> Value {
    let labels = json!({"app": name});
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "example.invalid/web:1", "ports": ports}]},
            },
        },
    })
}

/// Another image, as the next release has.
pub(crate) fn second_image(object: &mut Value) {
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.invalid/web:2");
}

/// A Deployment, the file its user has, and the way it is written.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    cluster: &'a ControlPlane,
    namespace: String,
    name: String,
    /// What the user has in a file.
    pub(crate) file: Value,
}

impl<'a> Subject<'a> {
    /// Nothing is written yet. `file` is the Deployment without a namespace.
    pub(crate) fn new(cluster: &'a ControlPlane, namespace: &str, file: Value) -> anyhow::Result<Self> {
        let name = file["metadata"]["name"].as_str().context("no name")?.to_owned();
        Ok(Self { cluster, namespace: namespace.to_owned(), name, file })
    }

    /// Creates the Deployment from the file.
    pub(crate) fn create(&self, way: Way) -> anyhow::Result<Said> {
        match way {
            Way::ReplaceByFile => self.kubectl("create -f -", Some(&self.file)),
            way if way.is_declarative() => self.write_file(way, &self.file, &json!({})),
            _ => self.kubectl("apply -f -", Some(&self.file)),
        }
    }

    /// Creates it in its room as one that was there before no502 was: with nothing injected. When this returns, no502 injects.
    pub(crate) fn create_before_no502(&self, room: &Room<'_>, way: Way) -> anyhow::Result<()> {
        room.annotate("no502.dev/inject=disabled", "")?;
        self.create(way)?.quiet()?;
        room.annotate("no502.dev/inject-", "added preStop sleep")
    }

    /// Makes the change in the file, and in the cluster.
    pub(crate) fn write(&mut self, way: Way, change: Change) -> anyhow::Result<Said> {
        let before = self.file.clone();
        let mut changed = before.clone();
        change(&mut changed);
        let explicit = changed.clone();
        self.file = without_nulls(changed);
        if way.is_declarative() {
            let patch = strategic_patch(&before, &self.file, change);
            let file = if way == Way::Kustomize { &before } else { &self.file };
            return self.write_file(way, file, &patch);
        }
        match way {
            Way::StrategicPatch => self.patch("strategic", &strategic_patch(&before, &self.file, change)),
            Way::MergePatch => self.patch("merge", &json!({"spec": {"template": explicit["spec"]["template"]}})),
            Way::JsonPatchOfWholeHook => match self.whole_hooks() {
                hooks if hooks.is_empty() => self.patch_json(change),
                hooks => self.patch("json", &Value::from(hooks)),
            },
            Way::JsonPatch => self.patch_json(change),
            Way::Replace => self.kubectl("replace -f -", Some(&changed_by(self.stored()?, change))),
            Way::Edit => self.edit(&changed_by(self.stored()?, change)),
            way => bail!("{way:?} is no way to change what is stored"),
        }
    }

    /// The Deployment as it is stored, without what changes while its controller works.
    pub(crate) fn stored(&self) -> anyhow::Result<Value> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{}", self.namespace, self.name);
        let mut stored = self.cluster.api()?.get(&path)?.object()?;
        let members = stored.as_object_mut().context("no object")?;
        members.remove("status");
        let metadata = members.get_mut("metadata").and_then(Value::as_object_mut).context("no metadata")?;
        metadata.retain(|name, _| name != "managedFields" && name != "resourceVersion");
        Ok(stored)
    }

    /// `kubectl WORDS` in the namespace.
    pub(crate) fn kubectl(&self, words: &str, stdin: Option<&Value>) -> anyhow::Result<Said> {
        let args: Vec<&str> = ["-n", &self.namespace].into_iter().chain(words.split_whitespace()).collect();
        Ok(Said(self.cluster.kubectl(&args, stdin.map(Value::to_string).as_deref())?))
    }

    fn write_file(&self, way: Way, file: &Value, patch: &Value) -> anyhow::Result<Said> {
        match way {
            Way::Apply => self.kubectl("apply -f -", Some(file)),
            Way::ServerSideApply => self.kubectl("apply --server-side -f -", Some(file)),
            Way::ForcedServerSideApply => {
                self.kubectl("apply --server-side --force-conflicts --field-manager=pipeline -f -", Some(file))
            }
            Way::ReplaceByFile => self.kubectl("replace -f -", Some(file)),
            Way::Kustomize => self.kustomize(file, patch),
            Way::Helm => self.helm("true", file),
            Way::HelmClientSide => self.helm("false", file),
            way => bail!("{way:?} is no way to write a file"),
        }
    }

    fn kustomize(&self, file: &Value, patch: &Value) -> anyhow::Result<Said> {
        let mut patch = patch.clone();
        for member in ["apiVersion", "kind"] {
            patch[member] = file[member].clone();
        }
        patch["metadata"] = json!({"name": self.name});
        let folder = self.folder("kustomize")?;
        fs::write(folder.join("deployment.yaml"), file.to_string())?;
        fs::write(folder.join("patch.yaml"), patch.to_string())?;
        let kustomization = json!({"resources": ["deployment.yaml"], "patches": [{"path": "patch.yaml"}]});
        fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
        self.kubectl(&format!("apply -k {}", folder.display()), None)
    }

    fn helm(&self, server_side: &str, file: &Value) -> anyhow::Result<Said> {
        let server_side = format!("--server-side={server_side}");
        self.write_chart(file)?;
        let chart = self.folder("chart")?.display().to_string();
        self.run_helm(&["upgrade", "--install", &server_side, &self.name, &chart])
    }

    /// Makes the file the only template of the chart.
    pub(crate) fn write_chart(&self, file: &Value) -> anyhow::Result<String> {
        let chart = self.folder("chart")?;
        fs::create_dir_all(chart.join("templates"))?;
        let about = json!({"apiVersion": "v2", "name": self.name, "version": "1.0.0"});
        fs::write(chart.join("Chart.yaml"), about.to_string())?;
        fs::write(chart.join("templates/deployment.yaml"), file.to_string())?;
        Ok(chart.display().to_string())
    }

    /// helm in the namespace.
    pub(crate) fn run_helm(&self, args: &[&str]) -> anyhow::Result<Said> {
        Ok(Said(self.cluster.helm(&[&["-n", &self.namespace], args].concat())?))
    }

    fn edit(&self, edited: &Value) -> anyhow::Result<Said> {
        let file = self.folder("edit")?.join("edited.json");
        fs::write(&file, edited.to_string())?;
        // kubectl adds the name of the file it wants to have edited.
        let editor = format!("cp {}", file.display());
        let args = ["-n", &self.namespace, "edit", "deployment", &self.name, "-o", "json"];
        let output: Output = self.cluster.kubectl_with(&[("KUBE_EDITOR", &editor)], &args)?;
        Ok(Said(output))
    }

    fn patch(&self, kind: &str, patch: &Value) -> anyhow::Result<Said> {
        let file = self.folder("patch")?.join("patch.json");
        fs::write(&file, patch.to_string())?;
        let words = format!("patch deployment {} --type={kind} --patch-file={}", self.name, file.display());
        self.kubectl(&words, None)
    }

    /// Operations that put the hook and the probe of the file's first container in the place of what is there.
    fn whole_hooks(&self) -> Vec<Value> {
        const CONTAINER: &str = "/spec/template/spec/containers/0";
        let member = |name: &str| Some((format!("{CONTAINER}/{name}"), self.file.pointer(CONTAINER)?.get(name)?));
        let members = ["lifecycle", "readinessProbe"].into_iter().filter_map(member);
        members.map(|(path, value)| json!({"op": "add", "path": path, "value": value})).collect()
    }

    fn patch_json(&self, change: Change) -> anyhow::Result<Said> {
        let stored = self.stored()?;
        let changed = changed_by(stored.clone(), change);
        self.patch("json", &serde_json::to_value(json_patch::diff(&stored, &changed))?)
    }

    fn folder(&self, of: &str) -> anyhow::Result<PathBuf> {
        let folder = self.cluster.folder().join("files").join(&self.namespace).join(&self.name).join(of);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

fn changed_by(mut object: Value, change: Change) -> Value {
    change(&mut object);
    without_nulls(object)
}

/// What a user writes for `kubectl patch`, knowing the file: only what changes, by the containers' names.
fn strategic_patch(before: &Value, after: &Value, change: Change) -> Value {
    let containers = |file: &Value| file["spec"]["template"]["spec"]["containers"].as_array().cloned();
    let (before, after) = (containers(before).unwrap_or_default(), containers(after).unwrap_or_default());
    let has = |containers: &[Value], name: &Value| containers.iter().any(|it| it["name"] == *name);
    let known =
        |it: &Value| json!({"name": it["name"], "lifecycle": it["lifecycle"], "readinessProbe": it["readinessProbe"]});
    let first = before.first().map_or(Value::Null, known);
    let mut patch = without_nulls(json!({"spec": {"template": {"spec": {"containers": [first]}}}}));
    change(&mut patch);
    let mut patched: Vec<Value> = before
        .iter()
        .filter(|it| !has(&after, &it["name"]))
        .map(|it| json!({"name": it["name"], "$patch": "delete"}))
        .collect();
    let listed = patch["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
    patched.extend(listed.into_iter().map(|it| {
        let is_new = !has(&before, &it["name"]);
        after.iter().find(|whole| is_new && whole["name"] == it["name"]).cloned().unwrap_or(it)
    }));
    patch["spec"]["template"]["spec"]["containers"] = patched.into();
    patch
}

/// The value without members that are null.
pub(crate) fn without_nulls(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(|member| *member = without_nulls(member.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_nulls(item.take())),
        _ => {}
    }
    value
}
