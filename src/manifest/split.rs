//! Cutting a text at its document markers, so that one broken document costs only itself.

use std::sync::Arc;

use super::object;
use super::source::{Source, count};
use super::tree::{Fault, Tree};
use super::{Level, MAX_DOCUMENTS_PER_FILE, Parsed, Problem, json, yaml};

const BYTE_ORDER_MARK: &str = "\u{FEFF}";
/// What to do about a template that is no YAML.
pub(super) const TEMPLATE_HELP: &str =
    "looks like a Helm template; render it first: helm template CHART | no502 check -";

/// How the objects are taken out of a tree.
pub(super) type Collect = fn(&Tree<'_>, &Arc<Source>) -> object::Objects;

/// Reads every document of a text.
pub(super) fn parse(source: &Arc<Source>, collect: Collect) -> Parsed {
    let mut parsed = Parsed::default();
    for (base, part) in parts(source) {
        let (trees, fault) = read(part, count(base), is_json(source));
        let first_problem = parsed.problems.len();
        for tree in trees {
            take(collect(&tree, source), source, &mut parsed);
        }
        if let Some(mut fault) = fault {
            fault.help = fault.help.or_else(|| part.contains("{{").then_some(TEMPLATE_HELP));
            parsed.problems.push(problem(source, fault));
        }
        if let Some(problems) = parsed.problems.get_mut(first_problem..) {
            problems.sort_by(|a, b| a.location.cmp(&b.location));
        }
        if parsed.documents.len() > MAX_DOCUMENTS_PER_FILE {
            let message = format!("more than {MAX_DOCUMENTS_PER_FILE} documents in one file; the rest is not read");
            parsed.documents.truncate(MAX_DOCUMENTS_PER_FILE);
            parsed.problems.push(problem(source, Fault::new(count(base), message)));
            break;
        }
    }
    parsed
}

/// The trees of every part that can be read, in the order of the text.
pub(super) fn trees(source: &Source) -> Vec<Tree<'_>> {
    parts(source).flat_map(|(base, part)| read(part, count(base), is_json(source)).0).collect()
}

fn is_json(source: &Source) -> bool {
    source.file().extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// The parts that hold something.
fn parts(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let text = source.text();
    let start = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    Parts::new(text, start).filter(|(_, part)| !is_blank(part))
}

/// Reads one part as JSON if it looks like JSON, and as YAML if it is none: `{a: 1}` begins alike.
fn read(part: &str, base: u32, is_json: bool) -> (Vec<Tree<'_>>, Option<Fault>) {
    if !part.trim_start().starts_with(['{', '[']) {
        return yaml::read(part, base);
    }
    let (values, fault) = json::read(part, base);
    let Some(fault) = fault else { return (values, None) };
    if !values.is_empty() {
        let rest = part.get((fault.at - base) as usize..).unwrap_or_default();
        return (values, (!is_blank(rest)).then_some(fault));
    }
    let (trees, yaml_fault) = yaml::read(part, base);
    match yaml_fault {
        Some(_) if is_json => (trees, Some(fault)),
        other => (trees, other),
    }
}

fn take(found: object::Objects, source: &Arc<Source>, parsed: &mut Parsed) {
    parsed.documents.extend(found.documents);
    parsed.skipped += found.skipped;
    parsed.problems.extend(found.faults.into_iter().map(|mut fault| {
        // `name: {{ .Values.name }}` is a map as the key of a map.
        let line = source.line(source.locate(fault.at).line);
        fault.help = fault.help.or_else(|| line.contains("{{").then_some(TEMPLATE_HELP));
        problem(source, fault)
    }));
    parsed.problems.extend(found.duplicates.into_iter().map(|(at, key)| Problem {
        level: Level::Warning,
        location: source.locate(at),
        message: format!("the key `{key}` is set twice in one map; the last one counts"),
        // Two objects without a marker between them are one map.
        help: Some(if key == "apiVersion" {
            "keep one of them; between two objects write ---"
        } else {
            "keep one of them"
        }),
    }));
}

fn problem(source: &Source, fault: Fault) -> Problem {
    Problem { level: Level::Error, location: source.locate(fault.at), message: fault.message, help: fault.help }
}

/// Nothing but white space, comments and directives.
fn is_blank(part: &str) -> bool {
    part.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with(['#', '%']))
}

/// The parts of a text between its `---` and `...` lines, with their byte offsets.
struct Parts<'t> {
    text: &'t str,
    /// Where the next part begins; behind the end when all parts are taken.
    start: Option<usize>,
}

impl<'t> Parts<'t> {
    fn new(text: &'t str, start: usize) -> Self {
        Self { text, start: Some(start) }
    }
}

impl<'t> Iterator for Parts<'t> {
    type Item = (usize, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.start?;
        let rest = self.text.get(start..)?;
        let at_line_start = start == 0 || self.text[..start].ends_with(['\n', '\u{FEFF}']);
        let first = at_line_start.then_some(0).into_iter();
        let lines = first.chain(memchr::memchr_iter(b'\n', rest.as_bytes()).map(|end| end + 1));
        let marker = lines.into_iter().find(|&line| is_marker(&rest.as_bytes()[line..]));
        self.start = marker.map(|line| start + line + 3);
        Some((start, marker.map_or(rest, |line| &rest[..line])))
    }
}

/// `---` or `...` at the beginning of a line, alone or followed by white space.
fn is_marker(line: &[u8]) -> bool {
    match line {
        [b'-', b'-', b'-', rest @ ..] | [b'.', b'.', b'.', rest @ ..] => {
            matches!(rest.first(), None | Some(b' ' | b'\t' | b'\r' | b'\n'))
        }
        _ => false,
    }
}
