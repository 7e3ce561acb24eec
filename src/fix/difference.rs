//! What changes between two states of an object, map by map: a patch says how to get there, an edit needs to know what is different.

use serde_json::{Map, Value};

use super::{Refusal, odd};
use crate::patch::escape;

/// The changes inside one map.
#[derive(Debug)]
pub(super) struct Difference<'a> {
    /// The way to the map: keys and indices.
    pub(super) path: Vec<String>,
    pub(super) added: Vec<(&'a str, &'a Value)>,
    pub(super) replaced: Vec<(&'a str, &'a Value, &'a Value)>,
    pub(super) removed: Vec<&'a str>,
}

pub(super) fn pointer(path: &[String]) -> String {
    path.iter().flat_map(|token| ["/".to_owned(), escape(token)]).collect()
}

/// All maps in which something changes.
pub(super) fn between<'a>(old: &'a Value, new: &'a Value) -> Result<Vec<Difference<'a>>, Refusal> {
    let mut found = Vec::new();
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Err(odd("it is no object")) };
    maps(old, new, &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn maps<'a>(
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
    path: &mut Vec<String>,
    found: &mut Vec<Difference<'a>>,
) -> Result<(), Refusal> {
    let mut here = Difference { path: path.clone(), added: Vec::new(), replaced: Vec::new(), removed: Vec::new() };
    here.removed.extend(old.keys().filter(|key| !new.contains_key(*key)).map(String::as_str));
    for (key, after) in new {
        let Some(before) = old.get(key) else {
            here.added.push((key, after));
            continue;
        };
        path.push(key.clone());
        if !is_inside(before, after, path, found)? {
            here.replaced.push((key, before, after));
        }
        path.pop();
    }
    if !(here.added.is_empty() && here.replaced.is_empty() && here.removed.is_empty()) {
        found.push(here);
    }
    Ok(())
}

/// True if two values are the same, or whatever differs is inside of them and noted there.
fn is_inside<'a>(
    old: &'a Value,
    new: &'a Value,
    path: &mut Vec<String>,
    found: &mut Vec<Difference<'a>>,
) -> Result<bool, Refusal> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => maps(old, new, path, found)?,
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                path.push(index.to_string());
                if !is_inside(old, new, path, found)? {
                    return Err(Refusal {
                        pointer: pointer(path),
                        line: None,
                        reason: "an item of a list would be replaced, such as the length of an injected exec sleep"
                            .to_owned(),
                        help: "write it by hand, in the annotation no502.dev/injected too",
                    });
                }
                path.pop();
            }
        }
        _ => return Ok(old == new),
    }
    Ok(true)
}
