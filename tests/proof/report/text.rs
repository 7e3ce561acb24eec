//! Texts on their way into a page, a Markdown file or a terminal. Titles and notes of rows are Markdown; everything else
//! that the harness saw is literal text, and may hold anything.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// `8410` as `8,410`.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds as seconds with one decimal: `12.3`.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}

/// A row's Markdown as HTML. Code and emphasis stay; links lose their address, so that the page refers to nothing outside.
pub(super) fn inline(markdown: &str) -> Markup {
    let mut open = String::new();
    for event in Parser::new(markdown) {
        let piece = match event {
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => html! { (*text) },
            Event::Code(text) => html! { code { (*text) } },
            Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::Paragraph) => html! { " " },
            Event::Start(Tag::Emphasis) => PreEscaped("<em>".to_owned()),
            Event::End(TagEnd::Emphasis) => PreEscaped("</em>".to_owned()),
            Event::Start(Tag::Strong) => PreEscaped("<strong>".to_owned()),
            Event::End(TagEnd::Strong) => PreEscaped("</strong>".to_owned()),
            _ => continue,
        };
        open.push_str(&piece.0);
    }
    PreEscaped(open.trim_end().to_owned())
}

/// A row's Markdown for one line of a Markdown table or list: pipes and tags escaped, line breaks gone.
pub(super) fn markdown_line(markdown: &str) -> String {
    let one_line = markdown.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut tagless = one_line.clone();
    let tags: Vec<_> = Parser::new(&one_line)
        .into_offset_iter()
        .filter_map(|(event, range)| matches!(event, Event::Html(_) | Event::InlineHtml(_)).then_some(range))
        .collect();
    for range in tags.into_iter().rev() {
        let escaped = tagless[range.clone()].replace('<', "&lt;");
        tagless.replace_range(range, &escaped);
    }
    let mut line = String::new();
    let mut escaped = false;
    for character in tagless.chars() {
        if character == '|' && !escaped {
            line.push('\\');
        }
        escaped = character == '\\' && !escaped;
        line.push(character);
    }
    line
}

/// Literal text for one line of a Markdown table or list.
pub(super) fn markdown_literal(text: &str) -> String {
    let mut line = String::new();
    for character in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        if r"\`*_[]<>|&~".contains(character) {
            line.push('\\');
        }
        line.push(character);
    }
    line
}

/// Without what XML cannot hold: control characters, of a terminal's colours for example, become visible marks.
pub(super) fn without_controls(text: &str) -> String {
    let forbidden = |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if forbidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let grouped: Vec<_> = [0, 12, 999, 1000, 41_510, 1_234_567].map(thousands).into();
        assert_eq!(grouped, ["0", "12", "999", "1,000", "41,510", "1,234,567"]);
        assert_eq!([0, 50, 12_340].map(seconds), ["0.0", "0.0", "12.3"]);
    }

    #[test]
    fn code_stays_and_tags_are_text() {
        assert_eq!(
            inline("`rollout` *of* <b>x</b> & y").0,
            "<code>rollout</code> <em>of</em> &lt;b&gt;x&lt;/b&gt; &amp; y"
        );
        assert_eq!(inline("<script>\nalert(1)").0, "&lt;script&gt;\nalert(1)");
        assert_eq!(inline("see [here](https://example.com)").0, "see here");
    }

    #[test]
    fn a_line_of_markdown_breaks_no_table() {
        assert_eq!(markdown_line("a `b|c`\nd \\| e"), "a `b\\|c` d \\| e");
        assert_eq!(markdown_line("x <script>y</script> `<b>`"), "x &lt;script>y&lt;/script> `<b>`");
        assert_eq!(markdown_literal("a|b\n<i> *c*"), "a\\|b \\<i\\> \\*c\\*");
    }

    #[test]
    fn controls_become_visible() {
        assert_eq!(without_controls("\u{1b}[31mno\n\tyes\u{ffff}"), "\u{fffd}[31mno\n\tyes\u{fffd}");
    }
}
