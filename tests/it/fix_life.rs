//! `no502 fix` on files that people have changed since it wrote to them.

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
fn a_probe_of_a_port_that_is_gone_is_taken_out() {
    let folder = probed();
    folder.change("            - containerPort: 8080\n", "");
    folder.and_now("service.yaml", &service(9090));
    folder.settles("removed the injected readiness of container web: it has no port 8080 any more");
    let text = folder.text("web.yaml");
    assert!(!text.contains("readinessProbe") && !text.contains("readiness\":"), "{text}");
    assert!(text.contains("seconds: 10"), "the sleep stays\n{text}");
}

#[test]
fn what_stands_beside_our_own_is_not_lost() {
    let folder = probed();
    folder.and_now("service.yaml", &service(80));
    folder.change("              port: 8080\n", "              port: 8080\n              host: 10.0.0.1\n");
    let text = folder.text("web.yaml");
    let outcome = folder.fix(&["."]);
    assert!(outcome.err.contains("`host` stands beside what no502 put in; remove it by hand"), "{outcome:?}");
    assert_eq!((outcome.code, folder.text("web.yaml")), (1, text));
    let folder = probed();
    folder.and_now("service.yaml", &service(9090));
    folder.change("            - containerPort: 8080\n", "");
    folder.change("          readinessProbe:\n", "          readinessProbe: # slow\n");
    let outcome = folder.fix(&["."]);
    assert!(outcome.err.contains("a comment stands in what would be taken out; move the comment"), "{outcome:?}");
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
