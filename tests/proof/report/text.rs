//! Texts on their way into a page, a Markdown file or a terminal. Titles and notes of rows are Markdown; everything else
//! that the harness saw is literal text, and may hold anything.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// Lines of Markdown below the table are no longer, in characters.
pub(super) const COLUMNS_MAX: usize = 140;

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

/// Markdown in lines of no more than `COLUMNS_MAX` characters, as far as its words let it; those after the first one stand
/// below the text behind `lead`.
pub(super) fn wrapped(lead: &str, markdown: &str) -> String {
    let indent = lead.chars().count();
    let (mut text, mut column) = (lead.to_owned(), indent);
    for (index, word) in markdown.split_whitespace().enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > COLUMNS_MAX && may_begin_a_line(word) {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
    text
}

/// Whether a word at the start of a line is still a word, and not a list, a heading, a quotation or a table.
fn may_begin_a_line(word: &str) -> bool {
    let is_ordinal = word.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['.', ')']);
    let is_plain = word.starts_with(|c: char| c.is_alphanumeric() || "(\"“\\`".contains(c));
    is_plain && !is_ordinal && !word.starts_with("```")
}

/// Without what XML cannot hold: control characters, of a terminal's colours for example, become visible marks.
pub(super) fn without_controls(text: &str) -> String {
    let forbidden = |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if forbidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

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

    /// What would begin a block of its own at the start of a line, and what would not.
    const WORDS: [&str; 14] = [
        "word",
        "any",
        "-",
        "`kubectl rollout restart`,",
        "1.",
        "#",
        "503",
        "\\|",
        ">",
        "+",
        "===",
        "12)",
        "*em*",
        "```",
    ];

    proptest! {
        #[test]
        fn wrapped_lines_are_short_and_say_the_same(words in vec(select(&WORDS[..13]), 60..200)) {
            let text = format!("First {}", words.join(" "));
            let lines = wrapped("- ", &text);
            let same = lines.split_whitespace().skip(1).eq(text.split_whitespace());
            prop_assert!(same, "{}", lines);
            let starts = lines.lines().skip(1).map(|line| line.strip_prefix("  ").unwrap_or("-"));
            prop_assert!(starts.into_iter().all(|line| line.split(' ').next().is_some_and(may_begin_a_line)), "{}", lines);
            let mut blocks = Parser::new(&lines).filter(|event| {
                matches!(event, Event::Start(tag) if !matches!(tag, Tag::Emphasis))
            });
            prop_assert_eq!(blocks.by_ref().count(), 2, "a list with one item: {}", lines);
        }
    }

    #[test]
    fn lines_break_where_they_are_full_and_not_before_what_is_no_word() {
        let full = "x".repeat(COLUMNS_MAX - 2);
        assert_eq!(wrapped("- ", &format!("{full} more")), format!("- {full}\n  more\n"));
        assert_eq!(wrapped("- ", &format!("{} 12 more", &full[3..])), format!("- {} 12\n  more\n", &full[3..]));
        assert_eq!(wrapped("", "short"), "short\n");
        let may_not = WORDS.into_iter().filter(|word| !may_begin_a_line(word));
        assert_eq!(may_not.collect::<Vec<_>>(), ["-", "1.", "#", ">", "+", "===", "12)", "*em*", "```"]);
    }

    #[test]
    fn controls_become_visible() {
        assert_eq!(without_controls("\u{1b}[31mno\n\tyes\u{ffff}"), "\u{fffd}[31mno\n\tyes\u{fffd}");
    }
}
