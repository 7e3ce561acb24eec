//! The policies that users copy: those of the samples, and those of the page about policies. The integration tests read them, the
//! end-to-end tests apply them.

use std::{fs, path::Path};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};

/// YAML of policies, with the place where it stands.
pub(crate) fn published() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let samples = root.join("deploy/samples/policies");
    let mut found = Vec::new();
    for sample in fs::read_dir(&samples).expect("samples").flatten() {
        let file = sample.path().join("policies.yaml");
        if let Ok(text) = fs::read_to_string(&file) {
            found.push((file.display().to_string(), text));
        }
    }
    for page in ["deploy/policies.md", "deploy/settings.md", "deploy/samples/policies/README.md", "README.md"] {
        let text = fs::read_to_string(root.join(page)).expect("a page");
        found.extend(blocks(&text).into_iter().map(|it| (page.to_owned(), it)));
    }
    found.sort();
    found
}

/// Blocks of YAML that hold policies, and policies that commands of the shell apply.
fn blocks(page: &str) -> Vec<String> {
    let mut language = None;
    let mut found = Vec::new();
    for event in Parser::new(page) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(of))) => language = Some(of.to_string()),
            Event::Text(text) if language.as_deref() == Some("yaml") && text.contains("kind: RolloutPolicy") => {
                found.push(text.to_string());
            }
            Event::Text(text) if language.as_deref() == Some("sh") => {
                let quoted = text.lines().filter_map(|it| it.split_once("<<< '")?.1.strip_suffix('\''));
                found.extend(quoted.filter(|it| it.contains("RolloutPolicy")).map(str::to_owned));
            }
            Event::End(_) => language = None,
            _ => {}
        }
    }
    found
}
