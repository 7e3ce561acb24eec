//! The reading of manifests: dialect, positions, recovery, bounds.
//! What the dialect tests expect was checked with the decoder of k8s.io/apimachinery 0.37.2.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use no502::manifest::{self, Document, Level, Loaded, Location, MAX_DEPTH_LEVELS, Parsed};
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse_as(name: &str, text: &str) -> Parsed {
    let file: Arc<Path> = Arc::from(Path::new(name));
    manifest::parse(text, &file)
}

fn parse(text: &str) -> Parsed {
    parse_as("a.yaml", text)
}

fn value(document: &Document) -> Value {
    serde_json::from_str(document.json()).unwrap()
}

/// The values of a text that is an object without its first two fields.
fn fields(text: &str) -> Value {
    let parsed = parse(&format!("apiVersion: v1\nkind: A\n{text}"));
    assert_eq!(parsed.problems, [], "{text}");
    let mut object = value(parsed.documents.first().unwrap());
    let map = object.as_object_mut().unwrap();
    map.remove("apiVersion");
    map.remove("kind");
    object
}

/// The one problem of such a text, without the file name.
fn problem(text: &str) -> String {
    let parsed = parse(&format!("apiVersion: v1\nkind: A\n{text}"));
    assert_eq!(parsed.problems.len(), 1, "{text}: {:?}", parsed.problems);
    parsed.problems[0].to_string().replacen("a.yaml:", "", 1)
}

fn kinds(parsed: &Parsed) -> Vec<String> {
    parsed.documents.iter().map(|document| value(document)["kind"].as_str().unwrap().to_owned()).collect()
}

fn place(document: &Document, pointer: &str) -> (u32, u32) {
    let Location { line, column, .. } = document.locate(pointer);
    (line, column)
}

#[test]
fn words_are_booleans_as_in_yaml_1_1() {
    assert_eq!(
        fields("a: y\nb: n\nc: Yes\nd: no\ne: ON\nf: off\ng: yEs\nh: true\ni: 'yes'\nj: \"on\""),
        json!({"a": true, "b": false, "c": true, "d": false, "e": true, "f": false, "g": "yEs", "h": true, "i": "yes", "j": "on"})
    );
}

#[test]
fn integers_have_four_bases_and_underscores() {
    assert_eq!(
        fields(
            "a: 0777\nb: 0o777\nc: 0x1F\nd: 0b101\ne: 1_000\nf: +1\ng: -0b11\nh: 18446744073709551615\ni: '0777'\nj: 0x\nk: _1"
        ),
        json!({"a": 511, "b": 511, "c": 31, "d": 5, "e": 1000, "f": 1, "g": -3, "h": 18_446_744_073_709_551_615_u64, "i": "0777", "j": "0x", "k": "_1"})
    );
}

#[test]
fn floats_are_written_as_go_writes_them() {
    let parsed = parse(
        "apiVersion: v1\nkind: A\na: 08\nb: 1e3\nc: 1.0\nd: .5\ne: 1.\nf: 1e21\ng: 1e-7\nh: 1e400\ni: 1.2.3\nj: 1:30",
    );
    assert_eq!(
        parsed.documents[0].json(),
        r#"{"apiVersion":"v1","kind":"A","a":8,"b":1000,"c":1,"d":0.5,"e":1,"f":1e21,"g":1e-7,"h":"1e400","i":"1.2.3","j":"1:30"}"#
    );
    assert_eq!(problem("a: .inf"), "3:4: error: infinity and NaN are no values of a Kubernetes object");
}

#[test]
fn null_has_three_forms() {
    assert_eq!(
        fields("a: ~\nb: null\nc:\nd: \"\"\ne: NULL\nf: nULL"),
        json!({"a": null, "b": null, "c": null, "d": "", "e": null, "f": "nULL"})
    );
}

#[test]
fn timestamps_stay_text() {
    assert_eq!(
        fields("a: 2020-01-01\nb: 2020-01-01T00:00:00Z"),
        json!({"a": "2020-01-01", "b": "2020-01-01T00:00:00Z"})
    );
}

#[test]
fn tags_are_respected() {
    assert_eq!(
        fields(
            "a: !!str 1\nb: !!binary aGk=\nc: !!int \"3\"\nd: !!float 1\ne: ! 5\nf: !foo 5\ng: !!str yes\nh: !!bool \"yes\""
        ),
        json!({"a": "1", "b": "hi", "c": 3, "d": 1, "e": "5", "f": "5", "g": "yes", "h": true})
    );
    assert_eq!(problem("a: !!int foo"), "3:10: error: `foo` is not a !!int");
}

#[test]
fn keys_become_text() {
    assert_eq!(
        fields("true: a\n1: b\n1.5: c\n0x10: e\n1234567.0: f"),
        json!({"true": "a", "1": "b", "1.5": "c", "16": "e", "1.234567e+06": "f"})
    );
    assert_eq!(problem("~: a"), "3:1: error: a key that is no text, number or boolean");
}

#[test]
fn block_scalars_fold_and_chomp() {
    assert_eq!(
        fields("a: |\n  x\n  z\nb: >-\n  x\n  z\n\nc: |+\n  x\n\nd: e"),
        json!({"a": "x\nz\n", "b": "x z", "c": "x\n\n", "d": "e"})
    );
}

#[test]
fn colons_inside_flow_collections_are_text() {
    assert_eq!(
        fields("a: [1.2.3.4, 001:db8::]\nb: {c:, d: 1}\ne: [[f:], g: h]"),
        json!({"a": ["1.2.3.4", "001:db8::"], "b": {"c:": null, "d": 1}, "e": [["f:"], {"g": "h"}]})
    );
}

#[test]
fn aliases_and_merge_keys_work() {
    assert_eq!(
        fields("b: &x {p: 1, q: 2}\nc: *x\nd:\n  <<: *x\n  p: 9\ne:\n  <<: [{p: 7}, *x]\nf: '<<'"),
        json!({"b": {"p": 1, "q": 2}, "c": {"p": 1, "q": 2}, "d": {"p": 9, "q": 2}, "e": {"p": 7, "q": 2}, "f": "<<"})
    );
    // go-yaml v2 sets members in the order of the text: a merge key behind a field replaces it.
    assert_eq!(fields("c:\n  p: 9\n  <<: {p: 1}"), json!({"c": {"p": 1}}));
    assert_eq!(problem("<<: 3"), "3:5: error: a merge key needs a map or a list of maps");
    assert_eq!(problem("a: &x [*x]"), "3:8: error: the anchor contains itself");
}

#[test]
fn the_last_of_equal_keys_counts_and_is_reported() {
    for filler in ["", "b: 1\nc: 1\nd: 1\ne: 1\nf: 1\ng: 1\nh: 1\ni: 1\nj: 1\nk: 1\nl: 1\nm: 1\no: 1\np: 1\nq: 1\n"] {
        let text = format!("apiVersion: v1\nkind: A\na: 1\n{filler}a: 2\n");
        let parsed = parse(&text);
        assert_eq!(value(&parsed.documents[0])["a"], 2);
        let [problem] = &parsed.problems[..] else { unreachable!("{:?}", parsed.problems) };
        assert_eq!(problem.level, Level::Warning);
        assert_eq!((problem.location.line as usize, problem.location.column), (text.lines().count(), 1));
        assert_eq!(problem.location, parsed.documents[0].locate("/a"));
    }
}

#[test]
fn places_are_those_of_keys_and_items() {
    let parsed = parse(
        "# ä\napiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n    \"ä/~\": {ö: 1, image: x}\n  -\n    name: b\n  args: [x, 'y', \"z\"]\n",
    );
    let pod = &parsed.documents[0];
    assert_eq!(place(pod, ""), (2, 1));
    assert_eq!(place(pod, "/kind"), (3, 1));
    assert_eq!(place(pod, "/spec/containers/0"), (6, 5));
    assert_eq!(place(pod, "/spec/containers/0/name"), (6, 5));
    assert_eq!(place(pod, "/spec/containers/0/ä~1~0/image"), (7, 19));
    assert_eq!(place(pod, "/spec/containers/1/name"), (9, 5));
    assert_eq!(place(pod, "/spec/args/2"), (10, 18));
    assert_eq!(place(pod, "/spec/args/3"), (10, 3), "the nearest ancestor");
    assert_eq!(place(pod, "/spec/containers/1/image/tag"), (9, 5), "the nearest ancestor");
    assert_eq!(place(pod, "/nothing"), (2, 1));
    assert_eq!(pod.locate("/kind").to_string(), "a.yaml:3:1");
    assert_eq!(pod.source().line(7), "    \"ä/~\": {ö: 1, image: x}");
}

#[test]
fn pointers_are_unescaped_in_the_right_order() {
    let parsed = parse("apiVersion: v1\nkind: A\n~1: a\n/: b\n");
    assert_eq!(place(&parsed.documents[0], "/~01"), (3, 1));
    assert_eq!(place(&parsed.documents[0], "/~1"), (4, 1));
}

#[test]
fn a_place_below_an_alias_is_the_text_of_the_anchor() {
    let parsed = parse("apiVersion: v1\nkind: A\na: &x\n  b: 1\nc: *x\nd:\n  <<: *x\n");
    assert_eq!(place(&parsed.documents[0], "/c"), (5, 1));
    assert_eq!(place(&parsed.documents[0], "/c/b"), (4, 3));
    assert_eq!(place(&parsed.documents[0], "/d/b"), (4, 3));
}

#[test]
fn documents_end_at_markers() {
    let parsed = parse(
        "%YAML 1.1\n--- # first\napiVersion: v1\nkind: A\n---\n# nothing\n---\n\n---\napiVersion: v1\nkind: B\n...\napiVersion: v1\nkind: C\n--- {apiVersion: v1, kind: D}\n",
    );
    assert_eq!(parsed.problems, []);
    assert_eq!(kinds(&parsed), ["A", "B", "C", "D"]);
    assert_eq!(place(&parsed.documents[1], "/kind"), (11, 1));
    assert_eq!(place(&parsed.documents[3], "/kind"), (15, 22));
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    let parsed =
        parse("\u{FEFF}apiVersion: v1\r\nkind: A\r\ndata: |\r\n  x\r\n  z\r\n---\r\napiVersion: v1\r\nkind: B\r\n");
    assert_eq!(parsed.problems, []);
    assert_eq!(kinds(&parsed), ["A", "B"]);
    assert_eq!(value(&parsed.documents[0])["data"], "x\nz\n");
    assert_eq!(place(&parsed.documents[0], "/apiVersion"), (1, 1));
    assert_eq!(place(&parsed.documents[1], "/kind"), (8, 1));
}

#[test]
fn a_broken_document_costs_only_itself() {
    let parsed = parse(
        "apiVersion: v1\nkind: A\n---\na: b: c\n---\napiVersion: v1\nkind: B\n---\nx: [1\n---\napiVersion: v1\nkind: C\n",
    );
    assert_eq!(kinds(&parsed), ["A", "B", "C"]);
    let places: Vec<_> =
        parsed.problems.iter().map(|problem| (problem.location.line, problem.location.column)).collect();
    assert_eq!(places, [(4, 5), (9, 4)]);
    assert_eq!(place(&parsed.documents[2], "/kind"), (12, 1));
}

#[test]
fn templates_are_named_as_such() {
    for text in ["name: {{ .Values.name }}", "{{- if .Values.x }}\na: b\n{{- end }}"] {
        let message = problem(text);
        assert!(message.starts_with("3:"), "{message}");
        assert!(message.contains("helm template"), "{message}");
    }
    assert_eq!(fields("a: '{{ x }}'"), json!({"a": "{{ x }}"}));
}

#[test]
fn what_is_no_object_is_counted() {
    let parsed =
        parse("replicas: 3\nreplicas: 4\n---\n- op: add\n---\nhello\n---\nkind: A\n---\napiVersion: v1\nkind: ''\n");
    assert_eq!((parsed.documents.len(), parsed.skipped), (0, 5));
    assert_eq!(parsed.problems, []);
}

#[test]
fn a_bare_list_of_objects_is_a_problem() {
    let parsed = parse("[{\"apiVersion\": \"v1\", \"kind\": \"A\"}]");
    assert_eq!(parsed.documents.len(), 0);
    assert!(parsed.problems[0].to_string().starts_with("a.yaml:1:1: error: a bare list of objects"));
}

#[test]
fn lists_are_taken_apart() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: A\n- apiVersion: v1\n  kind: PodList\n  items:\n  - metadata: {name: p}\n- kind: C\n- x\n- apiVersion: v1\n  kind: AllowList\n";
    let parsed = parse(text);
    assert_eq!(kinds(&parsed), ["A", "Pod", "AllowList"]);
    assert_eq!(parsed.documents[1].json(), r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}"#);
    assert_eq!(place(&parsed.documents[0], "/kind"), (5, 3));
    assert_eq!(place(&parsed.documents[1], "/metadata/name"), (9, 16));
    assert_eq!(place(&parsed.documents[1], "/kind"), (9, 5), "not written: the item");
    let lines: Vec<_> = parsed.problems.iter().map(|problem| problem.location.line).collect();
    assert_eq!(lines, [10, 11]);
}

#[test]
fn json_values_may_follow_one_another() {
    let parsed = parse_as(
        "a.json",
        "{\"apiVersion\": \"v1\",\t\"kind\": \"A\"}\n{\"apiVersion\": \"v1\", \"kind\": \"B\"}{\"apiVersion\": \"v1\", \"kind\": \"C\"}\n# end\n",
    );
    assert_eq!(parsed.problems, []);
    assert_eq!(kinds(&parsed), ["A", "B", "C"]);
    assert_eq!(place(&parsed.documents[0], "/kind"), (1, 22));
    assert_eq!(place(&parsed.documents[2], "/kind"), (2, 55));
}

#[test]
fn json_escapes_and_numbers_are_exact() {
    let parsed = parse_as(
        "a.json",
        r#"{"apiVersion":"v1","kind":"A","\/é":"\uD83D\uDE00\/\u0000\"","n":[1.0,-0,1e5,12345678901234567890123]}"#,
    );
    assert_eq!(parsed.problems, []);
    assert_eq!(
        parsed.documents[0].json(),
        "{\"apiVersion\":\"v1\",\"kind\":\"A\",\"/é\":\"😀/\\u0000\\\"\",\"n\":[1.0,-0,1e5,12345678901234567890123]}"
    );
    assert_eq!(place(&parsed.documents[0], "/~1é"), (1, 31));
}

#[test]
fn broken_json_is_named_as_json() {
    for (text, expected) in [
        ("{\"a\": \"\\x\"}", "3:7: error: a string in JSON: invalid escape at line 1 column 3"),
        ("{\"a\": [1}", "3:9: error: expected `,` or `]` in JSON, found `}`"),
        ("{\"a\" 1}", "3:6: error: expected `:` in JSON, found `1`"),
        ("{\"a\": \"", "3:8: error: expected the end of a string in JSON, found the end of the text"),
        ("{\"a\": \"\u{1}\"}", "3:8: error: expected an escape instead of a control character in JSON, found `\\u{1}`"),
        ("{\"a\": 1.}}", "3:9: error: expected a digit in JSON, found `}`"),
    ] {
        let parsed = parse_as("a.json", &format!("{{\"apiVersion\": \"v1\", \"kind\": \"A\"}}\n---\n{text}"));
        assert_eq!(parsed.problems.len(), 1, "{text}");
        assert_eq!(parsed.problems[0].to_string(), format!("a.json:{expected}"));
        assert_eq!(parsed.documents.len(), 1);
    }
}

#[test]
fn what_is_only_nearly_json_is_yaml() {
    let parsed = parse("{\"apiVersion\": v1, kind: A, a: 01, b: [tru,],}");
    assert_eq!(parsed.problems, []);
    assert_eq!(parsed.documents[0].json(), r#"{"apiVersion":"v1","kind":"A","a":1,"b":["tru"]}"#);
}

#[test]
fn depth_is_bounded() {
    let nested =
        |open: &str, close: &str, levels: usize| format!("a: {}1{}", open.repeat(levels), close.repeat(levels));
    // The object itself is one level.
    assert!(parse(&format!("apiVersion: v1\nkind: A\n{}", nested("[", "]", MAX_DEPTH_LEVELS - 1))).problems.is_empty());
    assert!(
        serde_json::from_str::<Value>(&nested("[", "]", MAX_DEPTH_LEVELS)[3..]).is_ok(),
        "what serde_json can read"
    );
    for levels in [MAX_DEPTH_LEVELS, 200, 100_000] {
        problem(&nested("[", "]", levels));
        problem(&nested("{a: ", "}", levels));
        let blocks = (0..levels.min(2000)).fold("a:".to_owned(), |mut text, level| {
            let _ = write!(text, "\n{}a:", " ".repeat(level + 1));
            text
        });
        problem(&blocks);
        let json =
            format!("{{\"apiVersion\":\"v1\",\"kind\":\"A\",\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(parse_as("a.json", &json).problems.len(), 1, "JSON, {levels} levels");
    }
}

#[test]
fn aliases_cannot_grow_without_bound() {
    let chain = |first: &str, link: &dyn Fn(usize) -> String, links: usize| {
        (1..=links).fold(format!("a0: &a0 {first}\n"), |mut text, at| {
            let _ = writeln!(text, "a{at}: &a{at} {}", link(at - 1));
            text
        })
    };
    let nine = |at: usize| format!("[{}]", vec![format!("*a{at}"); 9].join(","));
    assert!(problem(&chain("[x]", &nine, 9)).contains("aliases repeat more than"), "many values");
    let merge = |at: usize| format!("{{<<: [{}]}}", vec![format!("*a{at}"); 9].join(","));
    assert!(problem(&chain("{}", &merge, 9)).contains("aliases repeat more than"), "merges that merge nothing");
    let large = format!("[{}]", vec!["*a0"; 20].join(","));
    assert!(
        problem(&format!("a0: &a0 {}\nb: {large}\n", "x".repeat(1 << 20))).contains("aliases repeat more than"),
        "much text"
    );
    let deep = |at: usize| format!("[*a{at}]");
    assert!(problem(&chain("[x]", &deep, 5000)).contains("nested more than"), "deep through aliases");
    let deep = |at: usize| format!("{{<<: *a{at}}}");
    assert!(problem(&chain("{}", &deep, 5000)).contains("nested more than"), "deep through merges");
}

#[test]
fn lists_cannot_grow_through_aliases() {
    // Each list holds the one before it nine times; the innermost holds nothing, or one object.
    for innermost in ["[]", "[{apiVersion: v1, kind: A}]"] {
        let mut text = format!("a0: &a0 {{apiVersion: v1, kind: List, items: {innermost}}}\n");
        for at in 1..=9 {
            let items = vec![format!("*a{}", at - 1); 9].join(",");
            let _ = writeln!(text, "a{at}: &a{at} {{apiVersion: v1, kind: List, items: [{items}]}}");
        }
        let parsed = parse(&format!("{text}apiVersion: v1\nkind: List\nitems: [*a9]\n"));
        assert_eq!(parsed.problems.len(), 1);
        assert!(parsed.problems[0].message.starts_with("aliases repeat more than"), "{}", parsed.problems[0]);
    }
    let large = format!("a: &a {{apiVersion: v1, kind: A, b: {}}}\n", "x".repeat(1 << 20));
    let parsed = parse(&format!("{large}apiVersion: v1\nkind: List\nitems: [{}]\n", ["*a"; 40].join(",")));
    assert!(parsed.problems[0].message.starts_with("aliases repeat more than"));
    let parsed = parse(
        "a: &a [{apiVersion: v1, kind: A}, 1]\nb: &b {apiVersion: v1, kind: B}\napiVersion: v1\nkind: List\nitems: *a\n---\nb: &b {apiVersion: v1, kind: B}\napiVersion: v1\nkind: List\nitems: [*b, *b]\n",
    );
    assert_eq!(kinds(&parsed), ["A", "B", "B"]);
    assert_eq!(parsed.problems.len(), 1);
}

fn read(paths: &[PathBuf]) -> Loaded {
    manifest::read(paths, std::io::empty())
}

#[test]
fn folders_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let object = |kind: &str| format!("apiVersion: v1\nkind: {kind}\n");
    for (name, kind) in [("b.yaml", "B"), ("a/z.yml", "Z"), ("c.JSON", "C"), (".git/x.yaml", "X"), ("readme.md", "R")] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, object(kind)).unwrap();
    }
    fs::write(folder.path().join("values.yaml"), "a: 1\n").unwrap();
    fs::write(folder.path().join("latin1.yaml"), b"a: 1\nb: \xe4\n").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/loop")).unwrap();

    let loaded = read(&[folder.path().to_owned()]);
    let kinds: Vec<_> = loaded.documents.iter().map(|document| value(document)["kind"].clone()).collect();
    assert_eq!(kinds, ["Z", "B", "C"]);
    assert_eq!((loaded.files, loaded.skipped, loaded.unreadable.len()), (5, 1, 0));
    assert_eq!(loaded.problems.len(), 1);
    assert!(loaded.problems[0].to_string().ends_with("latin1.yaml:2:4: error: not UTF-8; the file is not read"));

    let named = read(&[folder.path().join("readme.md"), folder.path().join("nowhere.yaml")]);
    assert_eq!(named.documents.len(), 1, "a file that is named is read, whatever its ending");
    assert_eq!(named.unreadable.len(), 1);
    assert!(named.unreadable[0].to_string().starts_with("cannot read "));
}

#[test]
fn standard_input_is_a_file_too() {
    let loaded = manifest::read(&["-".into()], &b"apiVersion: v1\nkind: A\n---\na: b: c\n"[..]);
    assert_eq!(loaded.documents.len(), 1);
    assert!(loaded.problems[0].to_string().starts_with("stdin:4:5: error: "));
}

/// Duplicate keys in the corpus, which `kubectl` reads without a word: file and line.
const KNOWN_PROBLEMS: [(&str, u32); 4] = [
    ("argoproj__argo-cd/gitops-engine/pkg/health/testdata/statefulset-ondelete.yaml", 94),
    ("kubernetes__examples/_archived/openshift-origin/etcd-controller.yaml", 12),
    ("kubernetes__examples/_archived/openshift-origin/etcd-discovery-controller.yaml", 12),
    ("kubernetes__examples/_archived/openshift-origin/openshift-controller.yaml", 12),
];

#[test]
#[expect(clippy::print_stderr, reason = "a test that has nothing to read says so")]
fn the_corpus_is_read_whole() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let corpus = std::env::var_os("NO502_CORPUS").map_or_else(beside, PathBuf::from);
    if !corpus.is_dir() {
        eprintln!("no corpus at {}: nothing was checked", corpus.display());
        return;
    }
    let loaded = read(std::slice::from_ref(&corpus));
    let found = loaded.problems.iter().map(|problem| {
        assert_eq!(problem.level, Level::Warning, "{problem}");
        let file = problem.location.file.strip_prefix(&corpus).unwrap().to_str().unwrap();
        (file, problem.location.line)
    });
    let found: Vec<_> = found.collect();
    assert_eq!(found, KNOWN_PROBLEMS);
    assert!(loaded.unreadable.is_empty(), "{:?}", loaded.unreadable);
    assert!(loaded.documents.len() > 1000, "{} documents", loaded.documents.len());
    for document in &loaded.documents {
        check_places(document, &value(document), "");
    }
}

/// Every key is where the document says: plain, in single quotes or in double quotes.
fn check_places(document: &Document, value: &Value, pointer: &str) {
    match value {
        Value::Object(map) => {
            for (key, member) in map {
                let below = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                let text = text_at(document, &below);
                let written = [key.clone(), format!("'{key}'"), Value::from(key.as_str()).to_string()];
                assert!(written.iter().any(|key| text.starts_with(key)), "{below}: {text}");
                check_places(document, member, &below);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let below = format!("{pointer}/{index}");
                assert!(!text_at(document, &below).starts_with("- "), "{below}");
                check_places(document, item, &below);
            }
        }
        _ => {}
    }
}

fn text_at(document: &Document, pointer: &str) -> String {
    let Location { line, column, .. } = document.locate(pointer);
    document.source().line(line).chars().skip(column as usize - 1).collect()
}

fn any_value(integers_only: bool) -> impl Strategy<Value = Value> {
    let number = if integers_only {
        any::<i64>().prop_map(Value::from).boxed()
    } else {
        any::<f64>().prop_map(Value::from).boxed()
    };
    let text = "[ -~äß€😀\n\t\"\\\\]{0,8}";
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number, text.prop_map(Value::from)];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(text, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Block style, with strings as JSON writes them.
fn write_block(value: &Value, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, member) in map {
                let _ = write!(out, "\n{margin}{}: ", Value::from(key.as_str()));
                write_block(member, indent + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "\n{margin}- ");
                write_block(item, indent + 2, out);
            }
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}

/// Every pointer leads to the JSON text of its key, or to the beginning of its item.
fn check_json_places(document: &Document, value: &Value, pointer: &str) -> Result<(), TestCaseError> {
    match value {
        Value::Object(map) => {
            for (key, member) in map {
                let below = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                let text = text_at(document, &below);
                prop_assert!(text.starts_with(&format!("{}:", Value::from(key.as_str()))), "{below}: {text}");
                check_json_places(document, member, &below)?;
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let below = format!("{pointer}/{index}");
                let text = text_at(document, &below);
                let is_leaf = !item.is_object() && !item.is_array();
                prop_assert!(!is_leaf || text.starts_with(&item.to_string()), "{below}: {text}");
                prop_assert!(!text.starts_with("- ") || item.is_array(), "{below}: {text}");
                check_json_places(document, item, &below)?;
            }
        }
        _ => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn json_comes_back_as_it_was(inner in any_value(false), pretty: bool) {
        let object = json!({"apiVersion": "v1", "kind": "A", "x": inner});
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
        let parsed = parse_as("a.json", &text);
        prop_assert_eq!(&parsed.problems, &[]);
        // As text, because serde_json rounds some floats when it reads them.
        prop_assert_eq!(parsed.documents[0].json(), serde_json::to_string(&object).unwrap());
        check_json_places(&parsed.documents[0], &object, "")?;
    }

    #[test]
    fn blocks_come_back_as_they_were(inner in any_value(true)) {
        let object = json!({"apiVersion": "v1", "kind": "A", "x": inner});
        let mut text = String::new();
        write_block(&object, 0, &mut text);
        let parsed = parse(&text);
        prop_assert_eq!(&parsed.problems, &[], "{}", text);
        prop_assert_eq!(&value(&parsed.documents[0]), &object, "{}", text);
        check_json_places(&parsed.documents[0], &object, "")?;
    }

    #[test]
    fn no_text_is_too_strange(text in "([a-z:\\-#&*!|>'\"%@`{}\\[\\],?~<. \n\t]|---\n|\\.\\.\\.\n|apiVersion: v1\nkind: A\n|<<: |&a|\\*a){0,40}") {
        let parsed = parse(&text);
        for document in &parsed.documents {
            prop_assert!(serde_json::from_str::<Value>(document.json()).is_ok(), "{}", document.json());
        }
    }
}
