//! `no502 check` as a program: what it prints, where it points, how it exits.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Outcome, run};

/// A folder to check in, gone at the end.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(name: &str, text: &str) -> Self {
        Self::new().and(name, text)
    }

    fn and(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_no502"));
        command.arg("check").args(arguments).current_dir(self.path());
        command.env_remove("NO_COLOR").env("TERM", "xterm");
        command
    }

    fn check(&self, arguments: &[&str]) -> Outcome {
        self.check_stdin(arguments, "")
    }

    fn check_stdin(&self, arguments: &[&str], input: &str) -> Outcome {
        run(&mut self.command(arguments), input)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.check(&[&["--format", "json"], arguments].concat());
        serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
    }

    /// `rule level file:line:column` of every finding.
    fn findings(&self, arguments: &[&str]) -> Vec<String> {
        lines(&self.json(arguments)["findings"], "rule")
    }
}

fn lines(list: &Value, name: &str) -> Vec<String> {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = |it: &Value| {
        let place = &it["location"];
        let (file, row, column) = (word(&place["file"]), &place["line"], &place["column"]);
        format!("{} {} {file}:{row}:{column}", word(&it[name]), word(&it["level"]))
    };
    list.as_array().unwrap().iter().map(line).collect()
}

fn service(selector: &str, target: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  selector:\n    app: {selector}\n  ports:\n    - port: 80\n      targetPort: {target}\n"
    )
}

/// A Deployment with nothing to complain about but what `container` has.
fn deployment(label: &str, container: &str) -> String {
    let probe = "          readinessProbe: { exec: { command: [ready] } }\n";
    let probe = if container.contains("readinessProbe") { "" } else { probe };
    let hook =
        "          lifecycle: { preStop: { sleep: { seconds: 10 } } }\n      terminationGracePeriodSeconds: 40\n";
    format!("{}{probe}{hook}", bare_deployment(label, container))
}

fn bare_deployment(label: &str, container: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  selector:\n    matchLabels: {{ app: {label} }}\n  template:\n    metadata:\n      labels: {{ app: {label} }}\n    spec:\n      containers:\n        - name: web\n          image: web\n          {container}\n"
    )
}

fn ingress(service: &str, port: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop\nspec:\n  rules:\n    - host: shop.example.com\n      http:\n        paths:\n          - path: /\n            pathType: Prefix\n            backend:\n              service:\n                name: {service}\n                port: {{ number: {port} }}\n"
    )
}

const PORTS: &str = "ports: [{ name: http, containerPort: 8080 }]";

fn good() -> Folder {
    Folder::with("service.yaml", &service("web", "http"))
        .and("deployment.yaml", deployment("web", PORTS))
        .and("ingress.yaml", ingress("web", "80"))
}

#[test]
fn several_files_are_one_world_and_a_clean_one_is_one_line() {
    let outcome = good().check(&["service.yaml", "deployment.yaml", "ingress.yaml"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    assert_eq!(outcome.out, "no findings in 3 objects of 3 files\n");
    let apart = good().check(&["service.yaml"]);
    assert!(apart.out.contains("service-selects-nothing"), "{apart:?}");
}

#[test]
fn every_rule_points_at_the_key_that_is_wrong() {
    let selects_nothing = good().and("service.yaml", service("wbe", "http"));
    assert_eq!(selects_nothing.findings(&["."]), ["service-selects-nothing warning ./service.yaml:6:3"]);
    let port = good().and("service.yaml", service("web", "htp"));
    assert_eq!(port.findings(&["."]), ["service-port-unresolved error ./service.yaml:10:7"]);
    let missing = good().and("ingress.yaml", ingress("wbe", "80"));
    assert_eq!(missing.findings(&["."]), ["ingress-service-missing warning ./ingress.yaml:14:17"]);
    let number = good().and("ingress.yaml", ingress("web", "8080"));
    assert_eq!(number.findings(&["."]), ["ingress-port-missing error ./ingress.yaml:15:25"]);
    let probe = format!("{PORTS}\n          readinessProbe:\n            httpGet: {{ path: /, port: htp }}");
    let probe = good().and("deployment.yaml", deployment("web", &probe));
    assert_eq!(probe.findings(&["."]), ["probe-port-unresolved error ./deployment.yaml:17:33"]);
}

#[test]
fn what_a_template_risks_is_a_warning_where_it_is_written() {
    let bare = good().and("deployment.yaml", bare_deployment("web", PORTS));
    let warnings =
        ["prestop-missing warning ./deployment.yaml:13:11", "readiness-missing warning ./deployment.yaml:13:11"];
    assert_eq!(bare.findings(&["."]), warnings);
    assert_eq!(bare.check(&["."]).code, 0);
    assert_eq!(bare.check(&["--fail-on", "warning", "."]).code, 1);
    let short = good().and("deployment.yaml", deployment("web", PORTS).replace("Seconds: 40", "Seconds: 12"));
    assert_eq!(short.findings(&["."]), ["prestop-exceeds-grace warning ./deployment.yaml:18:7"]);
    let placeholder =
        good().and("deployment.yaml", deployment("web", PORTS).replace("Seconds: 40", "Seconds: ${GRACE}"));
    assert_eq!(placeholder.findings(&["."]), [""; 0], "30 is enough, and what it is is not known");
    // An overlay may add what is missing.
    let material = bare.and("kustomization.yaml", "resources: [deployment.yaml]\n");
    assert_eq!(material.findings(&["."]), warnings.map(|it| it.replace("warning", "info")));
}

#[test]
fn the_json_form_is_this_and_nothing_else() {
    let folder = good()
        .and("service.yaml", service("web", "htp"))
        .and("values.yaml", "replicas: 3\n")
        .and("broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a, name: b }\n---\nkind: [\n");
    let outcome = folder.check(&["--format", "json", "."]);
    assert_eq!((outcome.code, outcome.err.as_str()), (2, ""));
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(
        report,
        json!({
            "findings": [{
                "rule": "service-port-unresolved",
                "kind": "mismatch",
                "level": "warning",
                "object": { "apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "web" },
                "field": "/spec/ports/0/targetPort",
                "message": "targetPort \"htp\" is not a TCP container port of any selected pod (Deployment \"web\" has http 8080)",
                "help": "it may be in ./broken.yaml:5:7, which was not read; if not: did you mean \"http\"?",
                "location": { "file": "./service.yaml", "line": 10, "column": 7 }
            }],
            "problems": [{
                "level": "warning",
                "message": "the key `name` is set twice in one map; the last one counts",
                "help": "keep one of them",
                "location": { "file": "./broken.yaml", "line": 3, "column": 22 }
            }, {
                "level": "error",
                "message": "unclosed bracket '['",
                "help": "",
                "location": { "file": "./broken.yaml", "line": 5, "column": 7 }
            }],
            "summary": {
                "files": 5, "objects": 4, "skipped": 1, "unreadable": 0,
                "errors": 1, "warnings": 2, "infos": 0, "problems": 2
            }
        })
    );
}

#[test]
fn the_text_form_shows_the_line_and_what_to_do() {
    let folder = good().and("service.yaml", service("web", "htp # the port")).and("ingress.yaml", ingress("wep", "80"));
    let outcome = folder.check(&["ingress.yaml", "service.yaml", "deployment.yaml"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (1, ""));
    let expected = r#"
ingress.yaml:14:17: warning[ingress-service-missing]: Ingress "shop" spec.rules[0].http.paths[0].backend.service.name: backend Service "wep" of shop.example.com/ does not exist in namespace "default"
   |
14 |                 name: wep
   |                 ^^^^^^^^^
   |
   = help: did you mean "web"?

service.yaml:10:7: error[service-port-unresolved]: Service "web" spec.ports[0].targetPort: targetPort "htp" is not a TCP container port of any selected pod (Deployment "web" has http 8080)
   |
10 |       targetPort: htp # the port
   |       ^^^^^^^^^^^^^^^
   |
   = help: did you mean "http"?

1 error, 1 warning in 3 objects of 3 files
"#;
    assert_eq!(outcome.out, expected.trim_start());
}

#[test]
fn fail_on_sets_the_level_that_fails() {
    let clean = good();
    let warning = good().and("ingress.yaml", ingress("wbe", "80"));
    let error = good().and("ingress.yaml", ingress("web", "81"));
    for (level, codes) in [
        (None, [0, 0, 1]),
        (Some("error"), [0, 0, 1]),
        (Some("warning"), [0, 1, 1]),
        (Some("info"), [0, 1, 1]),
        (Some("never"), [0, 0, 0]),
    ] {
        let flags: Vec<&str> = level.into_iter().flat_map(|it| ["--fail-on", it]).chain(["."]).collect();
        assert_eq!([&clean, &warning, &error].map(|it| it.check(&flags).code), codes, "{level:?}");
    }
}

#[test]
fn info_fails_only_if_asked_to() {
    let folder = Folder::with("service.yaml", &service("${APP}", "http"));
    assert_eq!(folder.check(&["--fail-on", "warning", "."]).code, 0);
    assert_eq!(folder.check(&["--fail-on", "info", "."]).code, 1);
}

#[test]
fn profiles_and_completeness_set_the_levels() {
    let mismatch = good().and("ingress.yaml", ingress("web", "81"));
    let absent = good().and("ingress.yaml", ingress("wbe", "80"));
    let level = |folder: &Folder, flags: &[&str]| {
        let report = folder.json(&[flags, &["."]].concat());
        report["findings"][0]["level"].as_str().unwrap().to_owned()
    };
    for (flags, of_mismatch, of_absent) in [
        (&["--profile", "advise"][..], "warning", "warning"),
        (&["--profile", "standard"], "error", "warning"),
        (&["--profile", "strict"], "error", "warning"),
        (&["--complete"], "error", "error"),
        (&["--complete", "--profile", "advise"], "warning", "warning"),
    ] {
        assert_eq!(
            (level(&mismatch, flags).as_str(), level(&absent, flags).as_str()),
            (of_mismatch, of_absent),
            "{flags:?}"
        );
    }
    assert_eq!(absent.check(&["--complete", "."]).code, 1);
}

#[test]
fn standard_input_lists_and_json_are_read_alike() {
    let list = format!("apiVersion: v1\nkind: List\nitems:\n  - {}", service("web", "htp").replace('\n', "\n    "));
    let stream = format!("{list}\n---\n{}", deployment("web", PORTS));
    let outcome = Folder::new().check_stdin(&["--format", "json", "-"], &stream);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(lines(&report["findings"], "rule"), ["service-port-unresolved error -:13:11"]);
    assert_eq!((outcome.code, &report["summary"]["objects"]), (1, &json!(2)));

    let text = Folder::new().check_stdin(&["-"], &stream).out;
    assert!(text.starts_with("stdin:13:11: error[service-port-unresolved]"), "{text}");

    let one_line = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"selector":{"app":"x"}}}"#;
    let json_file = Folder::with("service.json", one_line);
    assert_eq!(json_file.findings(&["."]), ["service-selects-nothing warning ./service.json:1:71"]);
    assert!(json_file.check(&["."]).out.contains("\"selector\""), "the line is shown");
}

#[test]
fn no_namespace_is_the_default_one() {
    let folder = Folder::with("service.yaml", &service("web", "http")).and(
        "deployment.yaml",
        deployment("web", PORTS).replacen("  name: web\n", "  name: web\n  namespace: default\n", 1),
    );
    assert_eq!(folder.findings(&["."]), [""; 0]);
    let elsewhere = Folder::with("service.yaml", &service("web", "http")).and(
        "deployment.yaml",
        deployment("web", PORTS).replacen("  name: web\n", "  name: web\n  namespace: shop\n", 1),
    );
    assert_eq!(elsewhere.findings(&["."]), ["service-selects-nothing warning ./service.yaml:6:3"]);
}

#[test]
fn mistakes_of_the_caller_are_one_line_and_exit_2() {
    let folder = good().and("notes.txt", "x").and("empty/notes.txt", "x").and("values/values.yaml", "a: 1\n");
    for (arguments, line) in [
        (&[][..], "nothing to check: name files or folders, or - for standard input"),
        (
            &["nowhere"],
            "cannot read nowhere: No such file or directory (os error 2); check the path and its permissions",
        ),
        (
            &["notes.txt/x.yaml"],
            "cannot read notes.txt/x.yaml: Not a directory (os error 20); check the path and its permissions",
        ),
        (&["empty"], "no Kubernetes objects in empty; is it the right one?"),
        (&["-"], "no Kubernetes objects in standard input; is it the right one?"),
        (&["values"], "no Kubernetes objects in values; is it the right one?"),
        (&["values/values.yaml"], "no Kubernetes objects in any of the files; are they the right ones?"),
        (&["service.yaml", "deployment.yaml", "empty"], "no Kubernetes objects in empty; is it the right one?"),
    ] {
        let outcome = folder.check(arguments);
        assert_eq!((outcome.code, outcome.err), (2, format!("no502: {line}\n")), "{arguments:?}");
        assert!(!outcome.out.contains("0 objects"), "{arguments:?}: {}", outcome.out);
    }
    for flags in [["--fail-on", "loud"], ["--format", "pdf"], ["--profile", "lax"], ["--nonsense", "x"]] {
        assert_eq!(folder.check(&[&flags[..], &["."]].concat()).code, 2, "{flags:?}");
    }
    let with_values = folder.check(&["service.yaml", "deployment.yaml", "values/values.yaml"]);
    assert_eq!(with_values.code, 0, "a shell expands *.yaml to anything: {with_values:?}");
    assert_eq!(with_values.out, "no findings in 2 objects of 3 files (1 document left aside)\n");
}

#[test]
fn what_can_be_read_is_checked_beside_what_cannot() {
    let folder = good().and("ingress.yaml", ingress("web", "81"));
    symlink("nowhere", folder.path().join("gone.yaml")).unwrap();
    let outcome = folder.check(&["."]);
    assert_eq!(outcome.code, 2, "unread input weighs more than findings: {outcome:?}");
    assert!(outcome.err.starts_with("no502: cannot read ./gone.yaml: "), "{outcome:?}");
    assert!(outcome.out.contains("error[ingress-port-missing]"), "{outcome:?}");
}

/// A user who owns nothing here.
const NOBODY: u32 = 65_534;

#[test]
fn a_file_without_permission_is_named() {
    let folder = good().and("secret.yaml", "a: 1");
    let path = folder.path().join("secret.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let output = if File::open(&path).is_ok() {
        // Root may read everything, so somebody else has to run the program, from where they may reach it.
        let program = folder.path().join("no502");
        // By another process: a test that starts a program meanwhile would inherit our open copy, and keep it from running.
        assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_no502")).arg(&program).status().unwrap().success());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Command::new(program).args(["check", "."]).current_dir(folder.path()).uid(NOBODY).output()
    } else {
        folder.command(&["."]).output()
    };
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "no502: cannot read ./secret.yaml: Permission denied (os error 13); check the path and its permissions\n"
    );
}

#[test]
fn a_file_that_is_no_text_is_named_and_the_others_are_read() {
    let folder = good().and("latin1.yaml", b"apiVersion: v1\nkind: ConfigMap\nmetadata: { name: caf\xe9 }\n");
    let outcome = folder.check(&["."]);
    assert_eq!((outcome.code, outcome.err.as_str()), (2, ""));
    assert_eq!(
        outcome.out,
        "./latin1.yaml:3:22: error: not UTF-8; the file is not read\n\n1 error in 3 objects of 4 files\n"
    );
}

#[test]
fn a_broken_document_mutes_what_may_be_in_it() {
    let broken = "apiVersion: v1\nkind: Service\nmetadata: [\n";
    let folder = good().and("ingress.yaml", ingress("api", "80")).and("broken.yaml", broken);
    assert_eq!(folder.findings(&["."]), ["ingress-service-missing info ./ingress.yaml:14:17"]);
    assert_eq!(folder.findings(&["--complete", "."]), ["ingress-service-missing warning ./ingress.yaml:14:17"]);
    let certain = good().and("ingress.yaml", ingress("web", "81")).and("broken.yaml", broken);
    assert_eq!(certain.findings(&["."]), ["ingress-port-missing error ./ingress.yaml:15:25"]);
}

#[test]
fn the_later_of_two_definitions_counts_and_the_earlier_is_mentioned() {
    let both = format!("{}---\n{}", service("wbe", "http"), service("web", "http"));
    let folder = good().and("service.yaml", &both);
    let report = folder.json(&["."]);
    assert_eq!(lines(&report["findings"], "rule"), [""; 0]);
    assert_eq!(
        lines(&report["problems"], "message"),
        ["Service \"web\" is defined twice, first at ./service.yaml:1:1; this one counts warning ./service.yaml:15:3"]
    );
    assert_eq!(report["summary"]["objects"], 3);
    let alike = format!("{0}---\n{0}", service("web", "http"));
    assert_eq!(good().and("service.yaml", &alike).json(&["."])["problems"], json!([]), "twice the same is no conflict");
    assert_eq!(good().json(&[".", "service.yaml"])["problems"], json!([]), "one file named twice is no conflict");
}

#[test]
fn objects_that_the_server_names_are_no_duplicates() {
    let job = |image: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{ generateName: x- }}\nspec: {{ template: {{ spec: {{ containers: [{{ name: a, image: {image} }}] }} }} }}\n"
        )
    };
    let folder = Folder::with("jobs.yaml", &format!("{}---\n{}", job("a"), job("b")));
    let report = folder.json(&["."]);
    assert_eq!((&report["problems"], &report["summary"]["objects"]), (&json!([]), &json!(2)));
}

#[test]
fn raw_material_of_kustomize_is_no_finished_world() {
    let files = |kustomization: &str| {
        Folder::with("app/base/service.yaml", &service("web", "http"))
            .and("app/overlay/patch.yaml", deployment("other", ""))
            .and("app/overlay/kustomization.yaml", kustomization)
            .and("plain/service.yaml", service("api", "http").replace("name: web", "name: api"))
    };
    // kustomize asks for neither apiVersion nor kind.
    let folder = files("resources: [../base]\npatches: [{ path: patch.yaml }]\n");
    assert_eq!(
        folder.findings(&["app", "plain"]),
        [
            "service-selects-nothing info app/base/service.yaml:6:3",
            "service-selects-nothing warning plain/service.yaml:6:3"
        ]
    );
    let report = folder.json(&["app"]);
    assert_eq!(report["summary"]["objects"], 1, "the patch is no object: {report}");
    assert!(report["findings"][0]["help"].as_str().unwrap().contains("kubectl kustomize"), "{report}");
    let rendered = folder.check_stdin(&["-"], &service("web", "http"));
    assert!(rendered.out.starts_with("stdin:6:3: warning"), "{rendered:?}");
}

#[test]
fn a_part_of_an_object_is_left_aside() {
    let patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\nspec:\n  template:\n    metadata: { labels: { app: web } }\n    spec: { containers: [{ name: web }] }\n";
    let folder = Folder::with("service.yaml", &service("web", "http")).and("patch.yaml", patch);
    let report = folder.json(&["."]);
    assert_eq!(
        lines(&report["problems"], "message"),
        ["Deployment \"web\" is not whole: it has no spec.selector; left aside warning ./patch.yaml:4:1"]
    );
    assert_eq!(lines(&report["findings"], "rule"), ["service-selects-nothing info ./service.yaml:6:3"]);
    let whole = good().and("patch.yaml", patch);
    assert_eq!(whole.findings(&["."]), [""; 0], "the patch hides nothing");
}

#[test]
fn placeholders_are_named_and_not_compared() {
    let target = good().and("service.yaml", service("web", "${PORT}"));
    let report = target.json(&["."]);
    assert_eq!(lines(&report["findings"], "rule"), ["service-port-unresolved info ./service.yaml:10:7"]);
    assert!(report["findings"][0]["help"].as_str().unwrap().contains("\"${PORT}\""), "{report}");
    for (service_name, port) in [("<name>", "80"), ("'@APP@'", "80"), ("SERVICE", "80")] {
        let folder = good().and("ingress.yaml", ingress(service_name, port));
        assert_eq!(
            folder.findings(&["--complete", "."]),
            ["ingress-service-missing info ./ingress.yaml:14:17"],
            "{service_name}"
        );
    }
    let template = good().and("deployment.yaml", deployment("'${APP}'", PORTS));
    assert_eq!(template.findings(&["."]), ["service-selects-nothing info ./service.yaml:6:3"]);
    let number = good().and("deployment.yaml", deployment("web", "ports: [{ name: http, containerPort: PORT }]"));
    assert_eq!(number.findings(&["."]), [""; 0]);
}

#[test]
fn a_custom_resource_may_make_the_pods() {
    let resource =
        |kind: &str, group: &str| format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{ name: web }}\nspec: {{}}\n");
    let folder = |text: &str| Folder::with("service.yaml", &service("web", "http")).and("z.yaml", text);
    let maker = folder(&resource("Prometheus", "monitoring.coreos.com/v1"));
    assert_eq!(maker.findings(&["."]), ["service-selects-nothing info ./service.yaml:6:3"]);
    assert_eq!(maker.findings(&["--complete", "."]), ["service-selects-nothing warning ./service.yaml:6:3"]);
    for (kind, group) in [
        ("ServiceMonitor", "monitoring.coreos.com/v1"),
        ("VirtualService", "networking.istio.io/v1"),
        ("HTTPRoute", "gateway.networking.k8s.io/v1"),
        ("ConfigMap", "v1"),
    ] {
        assert_eq!(
            folder(&resource(kind, group)).findings(&["."]),
            ["service-selects-nothing warning ./service.yaml:6:3"],
            "{kind} makes no pods"
        );
    }
    let elsewhere = resource("Prometheus", "monitoring.coreos.com/v1").replace("name: web", "name: web, namespace: x");
    assert_eq!(folder(&elsewhere).findings(&["."]), ["service-selects-nothing warning ./service.yaml:6:3"]);
}

#[test]
fn pods_of_a_controller_repeat_no_finding() {
    let pod = |owner: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: web-1{owner} }}\nspec:\n  containers:\n    - name: web\n      readinessProbe: {{ tcpSocket: {{ port: http }} }}\n"
        )
    };
    let owned = pod(", ownerReferences: [{ apiVersion: apps/v1, kind: ReplicaSet, name: web, controller: true }]");
    assert_eq!(Folder::with("pod.yaml", &pod("")).findings(&["."]).len(), 1);
    assert_eq!(Folder::with("pod.yaml", &owned).findings(&["."]), [""; 0]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = {
        let mut command = Folder::new().command(&["-"]);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    // The run waits for its input, so its output is closed before it writes.
    drop(child.stdout.take());
    let mismatch = format!("{}---\n{}", service("web", "htp"), deployment("web", PORTS));
    child.stdin.take().unwrap().write_all(mismatch.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(1), "the findings are there, seen or not");
}

/// What a run prints on a terminal.
fn on_terminal(folder: &Folder, variable: Option<(&str, &str)>) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let screen = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut command = folder.command(&["."]);
    command.envs(variable).stdin(Stdio::null()).stdout(screen).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut bytes = Vec::new();
    // Linux answers EIO once the last writer is gone.
    let _ = File::from(terminal).read_to_end(&mut bytes);
    child.wait().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let folder = good().and("ingress.yaml", ingress("web", "81"));
    assert!(on_terminal(&folder, None).contains("\u{1b}["), "a terminal gets colour");
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let text = on_terminal(&folder, Some(variable));
        assert!(!text.contains('\u{1b}') && text.contains("ingress-port-missing"), "{variable:?}: {text}");
    }
    assert!(on_terminal(&folder, Some(("NO_COLOR", ""))).contains("\u{1b}["), "an empty NO_COLOR is none");
    assert!(!folder.check(&["."]).out.contains('\u{1b}'), "a pipe gets none");
}

#[test]
fn text_of_files_commands_no_terminal() {
    let sneaky =
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a\u001b[31mb"},"spec":{"selector":{"app":"x"}}}"#;
    let outcome = Folder::with("a.json", sneaky).check(&["."]);
    assert!(!outcome.out.contains('\u{1b}') && outcome.out.contains("service-selects-nothing"), "{outcome:?}");
}
