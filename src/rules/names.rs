//! Names and mail addresses of parties, as operators and accounts give them: one check for all ways in.

use lettre::Address;
use unicode_normalization::UnicodeNormalization as _;

use crate::model::escape::is_hidden;

/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 100;

/// Why a text cannot be a party's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameFault {
    /// Empty, or longer than [`NAME_CHARS_MAX`].
    Length,
    /// Control or invisible characters.
    Hidden,
    /// Begins with what a spreadsheet computes.
    Formula,
}

/// A name of a party: NFC, trimmed, nothing hidden, nothing a spreadsheet would compute.
pub fn name(text: &str) -> Result<String, NameFault> {
    let text: String = text.trim().nfc().collect();
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX {
        return Err(NameFault::Length);
    }
    if text.chars().any(is_hidden) {
        return Err(NameFault::Hidden);
    }
    if text.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) {
        return Err(NameFault::Formula);
    }
    Ok(text)
}

/// Exactly one mail address (K5), as a mail server takes it; none if the text is anything else.
pub fn mail(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = text.is_ascii() && text.len() <= 254 && !text.chars().any(|c| is_hidden(c) || c == ' ');
    let one = plain && !text.contains([',', ';', '<', '>', '"']) && text.parse::<Address>().is_ok();
    one.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        for (text, expected) in [
            (" 総務課 ", Ok("総務課")),
            ("カ\u{3099}", Ok("ガ")),
            ("", Err(NameFault::Length)),
            ("a\u{202e}b", Err(NameFault::Hidden)),
            ("=1+1", Err(NameFault::Formula)),
            ("＠総務", Err(NameFault::Formula)),
        ] {
            assert_eq!(name(text).as_deref(), expected.as_ref().copied(), "{text:?}");
        }
        assert_eq!(name(&"あ".repeat(101)), Err(NameFault::Length));
        for (text, fine) in [
            (" soumu@example.jp ", true),
            ("a@example.jp, b@example.jp", false),
            ("総務@example.jp", false),
            ("soumu＠example.jp", false),
            ("Soumu <soumu@example.jp>", false),
            ("soumu@example.jp\r\nBcc: x@example.jp", false),
            ("", false),
        ] {
            assert_eq!(mail(text).is_some(), fine, "{text:?}");
        }
    }
}
