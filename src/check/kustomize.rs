//! Which files are raw material of kustomize. Namespace, labels, ports and sidecars come when they are rendered, and some of
//! them are patches that only look like objects (reference: rules 7).

use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustc_hash::FxHashSet;
use serde_json::Value;

use crate::manifest::{self, Document};

/// The names that kustomize looks for, one a folder.
const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// What kustomize does not insist on, and our reader does.
const HEADER: &str = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
/// What to do about files that are not rendered.
pub(super) const RENDER_HELP: &str = "check what kustomize makes of it: kubectl kustomize FOLDER | no502 check -";

/// The kustomizations near the documents.
#[derive(Debug, Default)]
pub(super) struct Kustomize {
    /// Everything below these folders is material.
    scopes: Vec<PathBuf>,
    /// Files that some kustomization names as patches.
    patches: FxHashSet<PathBuf>,
    /// The objects that some kustomization patches.
    targets: Vec<Target>,
}

/// What a patch is for. `None` is anything.
#[derive(Debug)]
struct Target {
    /// Everything below this folder is material of the kustomization.
    scope: PathBuf,
    kind: Option<String>,
    name: Option<String>,
}

impl Kustomize {
    /// Looks for kustomizations in the folders of the documents and above them, as far as the paths say.
    pub(super) fn around(documents: &[Document]) -> Self {
        let mut found = Self::default();
        let mut looked_at: FxHashSet<PathBuf> = FxHashSet::default();
        for document in documents {
            let file = document.source().file();
            if file.as_os_str() == "-" {
                continue;
            }
            for folder in file.ancestors().skip(1) {
                if !looked_at.insert(folder.to_owned()) {
                    break;
                }
                found.look_into(folder);
            }
        }
        found
    }

    fn look_into(&mut self, folder: &Path) {
        let texts = FILE_NAMES.iter().filter_map(|name| fs::read_to_string(folder.join(name)).ok());
        for text in texts {
            let name: Arc<Path> = Arc::from(folder);
            let parsed = manifest::parse(&format!("{HEADER}{text}"), &name);
            // One that cannot be read still says that the folder is material.
            let object = parsed.documents.first().and_then(|it| serde_json::from_str(it.json()).ok());
            let object = object.unwrap_or_default();
            let scope = self.add(folder, &object);
            self.add_targets(folder, &scope, &object);
        }
    }

    /// Returns the scope: it is the folder, and if it draws on others, the tree that holds them all.
    fn add(&mut self, folder: &Path, kustomization: &Value) -> PathBuf {
        let folder = normalised(folder);
        let list = |field: &str| kustomization[field].as_array().into_iter().flatten();
        let bases = ["resources", "bases", "components"].into_iter().flat_map(list).filter_map(Value::as_str);
        let merges = list("patchesStrategicMerge").filter_map(Value::as_str).filter(|it| !it.contains('\n'));
        let patches = ["patches", "patchesJson6902"].into_iter().flat_map(list).filter_map(|it| it["path"].as_str());
        let patches: Vec<PathBuf> = merges.chain(patches).map(|it| normalised(&folder.join(it))).collect();

        let mut scope = folder.clone();
        for path in
            bases.filter(|it| it.starts_with("..")).map(|it| normalised(&folder.join(it))).chain(patches.clone())
        {
            scope = common_folder(&scope, &path);
        }
        self.patches.extend(patches);
        self.scopes.push(scope.clone());
        scope
    }

    /// A patch says what it is for in `target`, or it is a part of its object, with kind and name.
    fn add_targets(&mut self, folder: &Path, scope: &Path, kustomization: &Value) {
        let list = |field: &str| kustomization[field].as_array().into_iter().flatten();
        let merges = list("patchesStrategicMerge").filter_map(Value::as_str);
        let merges = merges.map(|it| if it.contains('\n') { it.to_owned() } else { read(folder, it) });
        let mut parts: Vec<String> = merges.collect();
        for patch in ["patches", "patchesJson6902"].into_iter().flat_map(list) {
            let text = |field: &str| patch["target"][field].as_str().map(str::to_owned);
            if patch["target"].is_object() {
                self.targets.push(Target { scope: scope.to_owned(), kind: text("kind"), name: text("name") });
            } else if let Some(inline) = patch["patch"].as_str() {
                parts.push(inline.to_owned());
            } else if let Some(path) = patch["path"].as_str() {
                parts.push(read(folder, path));
            }
        }
        for part in parts {
            let name: Arc<Path> = Arc::from(folder);
            let parsed = manifest::parse(&part, &name);
            let objects = parsed.documents.iter().filter_map(|it| serde_json::from_str::<Value>(it.json()).ok());
            self.targets.extend(objects.map(|it| Target {
                scope: scope.to_owned(),
                kind: it["kind"].as_str().map(str::to_owned),
                name: it["metadata"]["name"].as_str().map(str::to_owned),
            }));
        }
    }

    /// True for an object of a file that the file's kustomization patches.
    pub(super) fn patches_object(&self, file: &Path, kind: &str, name: &str) -> bool {
        if self.targets.is_empty() || file.as_os_str() == "-" {
            return false;
        }
        let file = normalised(file);
        // A name in a target is a regular expression; one that looks like it may match anything.
        let is_plain = |it: &str| it.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let fits = |it: &Option<String>, text: &str| it.as_deref().is_none_or(|it| it == text || !is_plain(it));
        let is_meant = |it: &Target| file.starts_with(&it.scope) && fits(&it.kind, kind) && fits(&it.name, name);
        self.targets.iter().any(is_meant)
    }

    /// True for a file that a kustomization may change before it is applied.
    pub(super) fn covers(&self, file: &Path) -> bool {
        if self.scopes.is_empty() || file.as_os_str() == "-" {
            return false;
        }
        let file = normalised(file);
        self.scopes.iter().any(|scope| file.starts_with(scope))
    }

    /// True for a file that a kustomization lays over others.
    pub(super) fn is_patch(&self, file: &Path) -> bool {
        !self.patches.is_empty() && self.patches.contains(&normalised(file))
    }
}

/// A patch file that cannot be read patches nothing.
fn read(folder: &Path, path: &str) -> String {
    fs::read_to_string(folder.join(path)).unwrap_or_default()
}

/// Absolute, and folded as text: links are not followed.
fn normalised(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                result.pop();
            }
            _ => result.push(component),
        }
    }
    result
}

/// The folder that holds both.
#[must_use]
pub fn common_folder(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_scope_is_the_tree_that_a_kustomization_draws_from() {
        let mut kustomize = Kustomize::default();
        kustomize.add(
            Path::new("apps/config/default"),
            &json!({"resources": ["../rbac", "../manager", "github.com/x/y?ref=v1"], "patches": [{"path": "p.yaml"}]}),
        );
        assert!(kustomize.covers(Path::new("apps/config/rbac/service.yaml")));
        assert!(kustomize.covers(Path::new("./apps/config/other.yaml")));
        assert!(!kustomize.covers(Path::new("apps/web.yaml")));
        assert!(!kustomize.covers(Path::new("-")));
        assert!(kustomize.is_patch(Path::new("apps/config/default/p.yaml")));
        assert!(!kustomize.is_patch(Path::new("apps/config/rbac/p.yaml")));
    }

    #[test]
    fn a_kustomization_without_bases_reaches_its_own_folder() {
        let mut kustomize = Kustomize::default();
        kustomize.add(Path::new("base"), &json!({"resources": ["web.yaml"]}));
        assert!(kustomize.covers(Path::new("base/web.yaml")));
        assert!(!kustomize.covers(Path::new("other/web.yaml")));
    }

    #[test]
    fn paths_are_folded_as_text() {
        for (path, folded) in [("/a/../b", "/b"), ("/../a", "/a"), ("/a/./b", "/a/b"), ("/a/b/../../c", "/c")] {
            assert_eq!(normalised(Path::new(path)), Path::new(folded), "{path}");
        }
        assert_eq!(normalised(Path::new("./a/../b")), normalised(Path::new("b")));
    }
}
