//! `no502 fix` on files that people have changed since it wrote to them.

use std::{path::Path, sync::Arc};

use no502::{
    fix::{Change, Direction, edit},
    manifest::{self, Document},
};
use serde_json::{Value, json};

use crate::fix::{Folder, deployment, fixture};

const SLEEP: &str = "          lifecycle:\n            preStop:\n              sleep:\n                seconds: 10\n";
const OWN_HOOK: &str = "          lifecycle:\n            preStop:\n              exec: { command: [stop] }\n";

/// A folder with a fixed manifest.
fn fixed() -> Folder {
    let folder = Folder::with("web.yaml", fixture("two-spaces.yaml"));
    assert_eq!(folder.fix(&["."]).code, 0);
    folder
}

impl Folder {
    fn change(&self, from: &str, to: &str) {
        let text = self.text("web.yaml");
        assert!(text.contains(from), "{from}\n{text}");
        self.and_now("web.yaml", &text.replace(from, to));
    }

    fn and_now(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// One fix that says `line` is enough: the next one has nothing to do.
    fn settles(&self, line: &str) {
        let planned = self.fix(&["--check", "."]);
        assert_eq!((planned.code, planned.err.as_str()), (1, ""), "{planned:?}");
        let outcome = self.fix(&["."]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
        assert!(outcome.out.contains(line), "{outcome:?}");
        assert_eq!(self.fix(&["--check", "."]).out, "nothing to fix\n", "{}", self.text("web.yaml"));
    }

    fn undo(&self) -> String {
        let outcome = self.fix(&["--undo", "."]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
        self.text("web.yaml")
    }
}

#[test]
fn a_hook_of_ones_own_ends_what_the_annotation_says() {
    let folder = fixed();
    folder.change(SLEEP, OWN_HOOK);
    folder.change("Seconds: 40", "Seconds: 60");
    folder.settles("took out the annotation no502.dev/injected: what it names is not there any more");
    let expected = fixture("two-spaces.yaml") + OWN_HOOK;
    assert_eq!(folder.text("web.yaml"), expected + "      terminationGracePeriodSeconds: 60\n");
    let text = folder.text("web.yaml");
    assert_eq!(folder.undo(), text, "nothing of ours is left");
}

#[test]
fn the_grace_period_alone_stays_ours() {
    let folder = fixed();
    folder.change(SLEEP, OWN_HOOK);
    folder.settles("rewrote the annotation no502.dev/injected: something that it named is not there any more");
    assert!(folder.text("web.yaml").contains("injected: '{\"grace\":40}'\n"), "{}", folder.text("web.yaml"));
    assert_eq!(folder.undo(), fixture("two-spaces.yaml") + OWN_HOOK);
}

#[test]
fn a_sleep_that_was_edited_by_hand_is_the_users() {
    let folder = fixed();
    folder.change("seconds: 10", "seconds: 25");
    folder.settles("raised grace 40s -> 55s");
    let text = folder.undo();
    assert!(text.contains("seconds: 25") && !text.contains("no502.dev"), "{text}");
}

#[test]
fn a_container_with_another_name_keeps_what_is_ours() {
    let folder = fixed();
    folder.change("- name: web", "- name: shop");
    folder.settles("web.yaml:15: Deployment \"web\": noted in no502.dev/injected that a container has another name");
    assert!(folder.text("web.yaml").contains(r#"{"containers":{"shop":{"preStop":10}},"grace":40}"#));
    let renamed = fixture("two-spaces.yaml").replace("- name: web", "- name: shop");
    assert_eq!(folder.undo(), renamed);
    // Undo alone finds it as well.
    let folder = fixed();
    folder.change("- name: web", "- name: shop");
    assert_eq!(folder.undo(), renamed);
}

#[test]
fn who_was_renamed_is_not_guessed() {
    let folder = fixed();
    let shop = format!("        - name: shop\n{SLEEP}        - name: api\n");
    folder.change("        - name: web\n", &shop);
    folder.settles("rewrote the annotation no502.dev/injected");
    assert!(folder.text("web.yaml").contains("injected: '{\"grace\":40}'\n"), "{}", folder.text("web.yaml"));
}

fn service(port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  selector: {{ app: web }}\n  ports: [{{ port: 80, targetPort: {port} }}]\n"
    )
}

fn probed() -> Folder {
    let text = deployment("            - containerPort: 80\n").replacen(
        "  name: web\n",
        "  name: web\n  annotations: { no502.dev/readiness: inject }\n",
        1,
    );
    let folder = Folder::with("web.yaml", text).and("service.yaml", service(8080));
    let outcome = folder.fix(&["."]);
    assert!(outcome.out.contains("added TCP readiness on 8080"), "{outcome:?}");
    folder
}

#[test]
fn a_probe_follows_its_port_to_a_lower_number() {
    let folder = probed();
    folder.and_now("service.yaml", &service(80));
    assert!(folder.fix(&["--check", "."]).out.contains("would move the injected readiness of container web"));
    folder.settles("moved the injected readiness of container web from port 8080 to 80 (Service web)");
    let text = folder.text("web.yaml");
    assert!(text.contains("              port: 80\n") && text.contains(r#""readiness":80"#), "{text}");
    assert!(!folder.undo().contains("readinessProbe"));
}

#[test]
fn a_probe_stays_as_long_as_its_port_may_be_served() {
    let folder = probed();
    folder.change("            - containerPort: 8080\n", "");
    folder.and_now("service.yaml", &service(9090));
    assert_eq!(folder.fix(&["."]).out, "nothing to fix\n", "declared ports are documentation");
    assert!(!folder.undo().contains("readinessProbe"));
}

#[test]
fn what_stands_beside_our_own_stays() {
    let folder = probed();
    folder.and_now("service.yaml", &service(80));
    folder.change("              port: 8080\n", "              port: 8080 # web\n              host: 10.0.0.1\n");
    folder.settles("moved the injected readiness of container web from port 8080 to 80");
    let text = folder.text("web.yaml");
    assert!(text.contains("              port: 80 # web\n              host: 10.0.0.1\n"), "{text}");
}

/// The first document after a patch of its container, or why not.
fn edited(text: &str, operations: &Value, direction: Direction) -> Result<String, String> {
    let parsed = manifest::parse(text, &Arc::from(Path::new("web.yaml")));
    let documents: Vec<&Document> = parsed.documents.iter().collect();
    let patch = serde_json::from_value(operations.clone()).map_err(|error| error.to_string())?;
    let done = edit(documents[0].source(), &documents, &[Change { index: 0, patch: &patch }], direction);
    match done.refused.first() {
        Some((_, refusal)) => Err(refusal.to_string()),
        None => Ok(done.text),
    }
}

/// Nothing asks for some of these today. They are the bounds of what an edit may do, whatever it is asked.
#[test]
fn on_the_way_in_only_our_own_is_taken_out() {
    let container = "/spec/template/spec/containers/0";
    let remove = |below: &str| json!([{ "op": "remove", "path": format!("{container}{below}") }]);
    let probe = "          readinessProbe:\n            tcpSocket:\n              port: 8080\n";
    let text = deployment(probe);
    assert_eq!(edited(&text, &remove("/readinessProbe"), Direction::In), Ok(deployment("")));
    let with_comment = deployment(&probe.replace("Probe:\n", "Probe: # slow\n"));
    for (text, operations, reason) in [
        (&text, remove("/ports"), "`ports` stands beside what no502 put in; remove it by hand"),
        (&text, remove("/readinessProbe/tcpSocket"), "`tcpSocket` stands beside"),
        (&with_comment, remove("/readinessProbe"), "a comment stands in what would be taken out; move the comment"),
        (
            &deployment("          args: [sleep, '10']\n"),
            json!([{ "op": "replace", "path": format!("{container}/args/1"), "value": "20" }]),
            "an item of a list would be replaced",
        ),
        (
            &deployment("      terminationGracePeriodSeconds: 60\n"),
            json!([{ "op": "add", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": 40 }]),
            "it would replace text",
        ),
    ] {
        let refused = edited(text, &operations, Direction::In).unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn an_annotation_is_read_in_every_form_and_repaired_if_it_is_none() {
    let marker = r#"'{"containers":{"web":{"preStop":10}},"grace":40}'"#;
    let in_double_quotes = "\"{\\\"containers\\\":{\\\"web\\\":{\\\"preStop\\\":10}},\\\n          \\\"grace\\\":40}\"";
    for other in [">-\n          {\"containers\":{\"web\":{\"preStop\":10}},\"grace\":40}", in_double_quotes] {
        let folder = fixed();
        folder.change(marker, other);
        assert_eq!(folder.fix(&["--check", "."]).out, "nothing to fix\n");
        folder.change(SLEEP, OWN_HOOK);
        folder.settles("rewrote the annotation");
        assert_eq!(folder.undo(), fixture("two-spaces.yaml") + OWN_HOOK);
    }
    for other in ["x", "\"x\"", "'{'", "|\n          x", "12"] {
        let folder = Folder::with("web.yaml", fixture("two-spaces.fixed.yaml"));
        folder.change(SLEEP, "");
        folder.change("      terminationGracePeriodSeconds: 40\n", "");
        folder.change(marker, other);
        folder.settles("added preStop sleep 10s to container web");
        assert_eq!(folder.undo(), fixture("two-spaces.yaml"), "{other}");
    }
}

#[test]
fn a_template_without_metadata_can_be_undone() {
    let web = deployment("");
    for metadata in ["", "    metadata:\n", "    metadata: {}\n"] {
        let text = web.replace("    metadata:\n      labels: { app: web }\n", metadata);
        let folder = Folder::with("web.yaml", &text);
        folder.settles("added preStop sleep 10s");
        let undone = folder.undo();
        assert_eq!(undone.replace("    metadata: {}\n", metadata), text);
    }
}
