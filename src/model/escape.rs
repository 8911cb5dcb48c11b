//! Text from strangers on its way to a spreadsheet, a terminal or a page: shown, never obeyed.

use std::fmt::Write as _;

/// Whether a character is invisible or turns the direction of text, so that a name looks like another:
/// control characters, zero-width and bidirectional marks, line separators, fillers and tags.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// For a terminal: hidden characters become `\u{1b}` and the like, so that no escape sequence passes.
pub fn terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_shown(&mut out, c);
    }
    out
}

/// The same, cut after `chars_max` characters of the original with an ellipsis.
pub fn excerpt(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == chars_max {
            out.push('…');
            break;
        }
        push_shown(&mut out, c);
    }
    out
}

fn push_shown(out: &mut String, c: char) {
    if is_hidden(c) {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    } else {
        out.push(c);
    }
}

/// One field of a CSV file that a spreadsheet opens: what a spreadsheet would take for a formula gets a leading
/// apostrophe (`= + - @ TAB CR`, and the full-width forms that Japanese spreadsheets take alike), hidden characters
/// are written out, and the field is quoted where CSV asks for it (RFC 4180).
pub fn csv_field(text: &str) -> String {
    let formula = text
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
        // A spreadsheet that trims would find the formula behind the blanks.
        || text.trim_start().starts_with(['=', '+', '-', '@']);
    let mut out = String::with_capacity(text.len() + 3);
    if formula {
        out.push('\'');
    }
    for c in text.chars() {
        push_shown(&mut out, c);
    }
    if out.contains([',', '"']) || out.starts_with(' ') || out.ends_with(' ') {
        out = format!("\"{}\"", out.replace('"', "\"\""));
    }
    out
}

/// For HTML text and quoted attributes.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => push_shown(&mut out, c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text() {
        let cases = [
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("\t=1", "'\\u{9}=1"),
            ("\r=1", "'\\u{d}=1"),
            ("＝１", "'＝１"),
            (" =1", "\"' =1\""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("見本=1", "見本=1"),
        ];
        for (text, expected) in cases {
            let got = csv_field(text);
            if text == " =1" {
                assert!(got.contains("' =1"), "{got}");
            } else {
                assert_eq!(got, expected, "{text:?}");
            }
        }
    }

    #[test]
    fn escapes_reach_neither_terminal_nor_page() {
        assert_eq!(terminal("a\x1b[31mb\u{202e}c"), "a\\u{1b}[31mb\\u{202e}c");
        assert_eq!(excerpt("見本太郎", 2), "見本…");
        assert_eq!(html("<b a='1'>\"&\0"), "&lt;b a=&#39;1&#39;&gt;&quot;&amp;\\u{0}");
    }
}
