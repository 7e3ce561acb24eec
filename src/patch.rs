//! RFC 6902 building blocks. Operations are built by hand from the facts of the very object in the request: no typed round trip,
//! which would drop unknown fields, and no `test` operations, which fail the user's request whatever the failure policy says
//! (reference: mutations 8).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, jsonptr::PointerBuf};
use serde_json::Value;

/// Escapes one reference token of a JSON pointer (RFC 6901, section 3).
#[must_use]
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// Why a patch is not sent.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// A path that is no JSON pointer.
    #[error("\"{0}\" is no JSON pointer")]
    Pointer(String),
    /// A path that no injection may touch.
    #[error("\"{0}\" is not a path that no502 may change")]
    Forbidden(String),
    /// It does not apply to the object it was made for.
    #[error("the patch does not apply: {0}")]
    Apply(#[from] json_patch::PatchError),
    /// A second pass over the result wants to change more.
    #[error("a second pass would change the object again")]
    NotIdempotent,
    /// What it makes is no pod template any more.
    #[error("the patched pod template cannot be read")]
    Unreadable,
}

/// Operations in the order in which they are applied.
#[derive(Debug, Default)]
pub struct PatchBuilder(Vec<PatchOperation>);

impl PatchBuilder {
    /// Sets a member whose parent exists.
    ///
    /// # Errors
    /// When `path` is no JSON pointer.
    pub fn add(&mut self, path: &str, value: Value) -> Result<(), PatchError> {
        self.0.push(PatchOperation::Add(AddOperation { path: pointer(path)?, value }));
        Ok(())
    }

    /// Takes a member out that exists.
    ///
    /// # Errors
    /// When `path` is no JSON pointer.
    pub fn remove(&mut self, path: &str) -> Result<(), PatchError> {
        self.0.push(PatchOperation::Remove(RemoveOperation { path: pointer(path)? }));
        Ok(())
    }

    /// The patch, once every path of it is one that no502 may change.
    ///
    /// # Errors
    /// When one is not.
    pub fn finish(self) -> Result<Patch, PatchError> {
        for operation in &self.0 {
            let path = operation.path().as_str();
            if !is_allowed(path) {
                return Err(PatchError::Forbidden(path.to_owned()));
            }
        }
        Ok(Patch(self.0))
    }
}

fn pointer(path: &str) -> Result<PointerBuf, PatchError> {
    PointerBuf::parse(path).map_err(|_| PatchError::Pointer(path.to_owned()))
}

/// The paths that injections touch (reference: mutations 11.2): hooks of regular containers, the grace period, our own annotation.
fn is_allowed(path: &str) -> bool {
    let Some(below) = path.strip_prefix("/spec/template/") else { return false };
    match below.split('/').collect::<Vec<_>>().as_slice() {
        // `metadata` and `annotations` are only ever added where the template has none.
        ["spec", "terminationGracePeriodSeconds"] | ["metadata"] | ["metadata", "annotations"] => true,
        ["metadata", "annotations", key] => *key == escape(crate::inject::MARKER),
        ["spec", "containers", index, "lifecycle"] | ["spec", "containers", index, "lifecycle", "preStop"] => {
            is_index(index)
        }
        ["spec", "containers", index, "lifecycle", "preStop", "sleep" | "exec"]
        | ["spec", "containers", index, "readinessProbe"]
        | ["spec", "containers", index, "readinessProbe", "tcpSocket"]
        | ["spec", "containers", index, "readinessProbe", "tcpSocket", "port"] => is_index(index),
        _ => false,
    }
}

fn is_index(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_paths_are_allowed() {
        for path in [
            "/spec/template/spec/containers/0/lifecycle",
            "/spec/template/spec/terminationGracePeriodSeconds",
            "/spec/template/metadata/annotations/no502.dev~1injected",
        ] {
            assert!(is_allowed(path), "{path}");
        }
        for path in [
            "/spec/replicas",
            "/spec/template/spec/containers/0/image",
            "/spec/template/spec/containers/x/lifecycle",
            "/spec/template/spec/initContainers/0/lifecycle",
            "/spec/template/metadata/annotations/other",
            "/metadata/annotations/no502.dev~1injected",
            "",
        ] {
            assert!(!is_allowed(path), "{path}");
        }
    }
}
