//! A report for people: `file:line:column`, what is wrong, the line itself, what to do.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    ops::Range,
};

use annotate_snippets::{AnnotationKind, Level as Mark, Renderer, Snippet, normalize_untrusted_str};

use super::{Level, Report, Summary};
use crate::{
    manifest::{Location, Source},
    verdict::readable,
};

/// Whether terminals colour the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Nothing but the text.
    Plain,
    /// With ANSI colours.
    Colour,
}

/// A longer line is not shown: it is a whole file in one line.
const MAX_SNIPPET_BYTES: usize = 1_000;

/// Findings and problems share one shape here.
struct Item<'a> {
    level: Level,
    rule: Option<&'static str>,
    title: Cow<'a, str>,
    help: &'a str,
    location: &'a Location,
    source: Option<&'a Source>,
}

/// Renders a report as text, in the order of files and lines, with one line of summary at the end.
#[must_use]
pub fn render(report: &Report, paint: Paint) -> String {
    let renderer = match paint {
        Paint::Plain => Renderer::plain(),
        Paint::Colour => Renderer::styled(),
    };
    let mut text = String::new();
    for item in items(report) {
        let _ = write!(text, "{}: ", clean(&item.location.to_string()));
        text.push_str(&item.render(&renderer));
        text.push_str("\n\n");
    }
    let _ = writeln!(text, "{}", Closing(&report.summary));
    text
}

fn items(report: &Report) -> Vec<Item<'_>> {
    let findings = report.findings.iter().map(|it| {
        let field = readable(&it.field);
        let space = if field.is_empty() { "" } else { " " };
        Item {
            level: it.level,
            rule: Some(it.rule),
            title: Cow::Owned(format!("{}{space}{field}: {}", it.object, it.message)),
            help: &it.help,
            location: &it.location,
            source: Some(&it.source),
        }
    });
    let problems = report.problems.iter().map(|it| Item {
        level: it.level,
        rule: None,
        title: Cow::Borrowed(&*it.message),
        help: &it.help,
        location: &it.location,
        source: it.source.as_deref(),
    });
    let mut items: Vec<_> = problems.chain(findings).collect();
    items.sort_by(|a, b| a.location.cmp(b.location));
    items
}

impl Item<'_> {
    fn render(&self, renderer: &Renderer) -> String {
        let mark = match self.level {
            Level::Error => Mark::ERROR,
            Level::Warning => Mark::WARNING,
            Level::Info => Mark::INFO,
        };
        let title = mark.primary_title(clean(&self.title));
        let title = match self.rule {
            Some(rule) => title.id(rule),
            None => title,
        };
        let snippet = self.source.and_then(|source| snippet(source, self.location));
        let help = (!self.help.is_empty()).then(|| Mark::HELP.message(clean(self.help)));
        let group = title.elements(snippet).elements(help);
        renderer.render(&[group])
    }
}

fn snippet<'a>(source: &'a Source, location: &Location) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
    let line = source.line(location.line).trim_start_matches('\u{FEFF}');
    if line.is_empty() || line.len() > MAX_SNIPPET_BYTES {
        return None;
    }
    let span = field_at(line, location.column);
    let snippet = Snippet::source(line).line_start(location.line as usize);
    Some(snippet.annotation(AnnotationKind::Primary.span(span)))
}

/// The bytes of the field that begins at a column: the key, with its value if that stands beside it.
fn field_at(line: &str, column: u32) -> Range<usize> {
    let start = line.char_indices().nth((column as usize).saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    let rest = &line[start..];
    let key = scalar_length(rest);
    let behind = &rest[key..];
    let value =
        behind.strip_prefix(':').map(str::trim_start).filter(|it| it.len() < behind.len() - 1 || rest.starts_with('"'));
    let length = match value {
        Some(value) if !value.starts_with(['{', '[', '#', '|', '>', '&']) && !value.is_empty() => {
            rest.len() - value.len() + scalar_length(value)
        }
        _ => key,
    };
    start..start + length.max(1).min(rest.len())
}

/// Bytes of the plain or quoted scalar at the beginning of a text.
fn scalar_length(text: &str) -> usize {
    let quote = text.chars().next().filter(|it| matches!(it, '"' | '\''));
    if let Some(quote) = quote {
        let mut is_escaped = false;
        for (at, letter) in text.char_indices().skip(1) {
            match letter {
                _ if is_escaped => is_escaped = false,
                '\\' if quote == '"' => is_escaped = true,
                _ if letter == quote => return at + 1,
                _ => {}
            }
        }
        return text.len();
    }
    let bytes = text.as_bytes();
    let is_space = |at: usize| bytes.get(at).is_none_or(u8::is_ascii_whitespace);
    let end = (0..bytes.len()).find(|&at| match bytes[at] {
        b':' => is_space(at + 1),
        b'#' => at > 0 && is_space(at - 1),
        b',' | b'}' | b']' => true,
        _ => false,
    });
    text[..end.unwrap_or(text.len())].trim_end().len()
}

/// Text from files may hold control characters, which a terminal would obey.
fn clean(text: &str) -> String {
    let text = normalize_untrusted_str(text);
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{FFFD}") } else { text }
}

/// `2 errors, 1 warning in 14 objects of 3 files`.
struct Closing<'a>(&'a Summary);

impl fmt::Display for Closing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { files, objects, errors, warnings, infos, skipped, .. } = *self.0;
        let mut separator = "";
        for (count, one) in [(errors, "error"), (warnings, "warning"), (infos, "info")] {
            if count > 0 {
                write!(f, "{separator}{}", Count(count, one))?;
                separator = ", ";
            }
        }
        if separator.is_empty() {
            f.write_str("no findings")?;
        }
        write!(f, " in {} of {}", Count(objects, "object"), Count(files, "file"))?;
        if skipped > 0 {
            write!(f, " ({} left aside)", Count(skipped, "document"))?;
        }
        Ok(())
    }
}

/// `1 file`, `2 files`.
struct Count(usize, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(line: &str, column: u32) -> &str {
        &line[field_at(line, column)]
    }

    #[test]
    fn a_field_is_marked_with_the_value_beside_it() {
        assert_eq!(marked("      targetPort: http # the port", 7), "targetPort: http");
        assert_eq!(marked("  - { port: 80, targetPort: web }", 17), "targetPort: web");
        assert_eq!(marked("  selector:", 3), "selector");
        assert_eq!(marked("  selector: { app: web }", 3), "selector");
        assert_eq!(marked(r#"{"spec":{"selector":{"a":"b"}}}"#, 10), r#""selector""#);
        assert_eq!(marked(r#"  "name": "a # b", "x": 1"#, 3), r#""name": "a # b""#);
        assert_eq!(marked(r#"{"name":"a,b","x":1}"#, 2), r#""name":"a,b""#);
        assert_eq!(marked("      name: 'wéb' # x", 7), "name: 'wéb'");
        assert_eq!(marked("    - a: b", 7), "a: b");
    }

    #[test]
    fn a_place_outside_of_the_line_is_no_crash() {
        assert_eq!(marked("ab", 9), "");
        assert_eq!(marked("é", 2), "");
        assert_eq!(marked("a", 0), "a");
    }

    #[test]
    fn terminals_are_not_commanded() {
        assert!(!clean("a\u{1b}[31mb\u{9b}c").contains(char::is_control));
    }

    #[test]
    fn counts_are_in_the_singular_and_the_plural() {
        let summary = Summary { files: 3, objects: 14, errors: 2, warnings: 1, ..Summary::default() };
        assert_eq!(Closing(&summary).to_string(), "2 errors, 1 warning in 14 objects of 3 files");
        let clean = Summary { files: 1, objects: 1, skipped: 1, ..Summary::default() };
        assert_eq!(Closing(&clean).to_string(), "no findings in 1 object of 1 file (1 document left aside)");
    }
}
