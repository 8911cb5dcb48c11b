//! Names that a sender chooses: checked once, normalised, never used as a path.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use crate::model::escape::is_hidden;

/// Files that belong to the submission itself and cannot be named in a manifest.
pub const RESERVED_NAMES: [&str; 3] = ["SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.p7s"];

/// Most bytes of a file's name, in UTF-8 after normalisation.
pub const NAME_BYTES_MAX: usize = 200;

/// Most characters of the sender's own id.
pub const ID_CHARS_MAX: usize = 64;

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, `.` or `..`.
    #[error("it is empty, '.' or '..'")]
    Empty,
    /// It holds `/` or `\`.
    #[error("it holds a folder ('/' or '\\')")]
    Path,
    /// Control, zero-width or direction characters; line feeds and NUL among them.
    #[error("it holds invisible or control characters")]
    Hidden,
    /// Windows drops leading and trailing blanks and trailing dots: two names would become one.
    #[error("it begins or ends with a blank, or ends with a dot")]
    Edge,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("it is longer than 200 bytes")]
    Long,
    /// One of [`RESERVED_NAMES`].
    #[error("the name is kept for the manifest and its signature")]
    Reserved,
}

/// A plain file name in NFC: at most 200 bytes, no folder, nothing invisible.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(Box<str>);

impl FileName {
    /// Checks and normalises a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > NAME_BYTES_MAX * 4 {
            return Err(NameError::Long);
        }
        // Plain ASCII, as nearly all names are, is in every normal form.
        let name: String = if text.is_ascii() { text.to_owned() } else { text.nfc().collect() };
        if name.is_empty() || name == "." || name == ".." {
            return Err(NameError::Empty);
        }
        if name.contains(['/', '\\']) {
            return Err(NameError::Path);
        }
        if name.chars().any(is_hidden) {
            return Err(NameError::Hidden);
        }
        if name.trim() != name || name.ends_with('.') {
            return Err(NameError::Edge);
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(NameError::Long);
        }
        let name = Self(name.into());
        let folded = name.folded();
        if RESERVED_NAMES.iter().any(|reserved| folded.eq_ignore_ascii_case(reserved)) {
            return Err(NameError::Reserved);
        }
        Ok(name)
    }

    /// The name in NFC.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which names that differ only by case or normalisation are equal.
    pub fn folded(&self) -> String {
        if self.0.is_ascii() {
            return self.0.to_ascii_lowercase();
        }
        self.0.chars().flat_map(char::to_lowercase).nfc().collect()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl TryFrom<String> for FileName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}
impl From<FileName> for String {
    fn from(name: FileName) -> String {
        name.0.into()
    }
}

/// The sender's own id of a filing (`# id:`): at most 64 visible characters, fit for `/receipts/by-id/ID.json`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SenderId(Box<str>);

/// Not an id that a sender may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to 64 visible characters, no '/' or '\\', and does not begin with '.'")]
pub struct SenderIdError;

impl SenderId {
    /// Checks and normalises (NFC) an id.
    pub fn parse(text: &str) -> Result<Self, SenderIdError> {
        let id: String = text.nfc().take(ID_CHARS_MAX + 1).collect();
        let bad = id.is_empty()
            || id.chars().count() > ID_CHARS_MAX
            || id.trim() != id
            || id.starts_with('.')
            || id.contains(['/', '\\'])
            || id.chars().any(is_hidden);
        if bad { Err(SenderIdError) } else { Ok(Self(id.into())) }
    }

    /// The id in NFC.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl TryFrom<String> for SenderId {
    type Error = SenderIdError;
    fn try_from(text: String) -> Result<Self, SenderIdError> {
        Self::parse(&text)
    }
}
impl From<SenderId> for String {
    fn from(id: SenderId) -> String {
        id.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_trick_are_refused() {
        let cases = [
            ("", NameError::Empty),
            ("..", NameError::Empty),
            ("../x", NameError::Path),
            ("/etc/passwd", NameError::Path),
            ("a\\b", NameError::Path),
            ("a\0b", NameError::Hidden),
            ("a\nb", NameError::Hidden),
            ("a\u{202e}fdp.exe", NameError::Hidden),
            ("a\u{200b}b", NameError::Hidden),
            (" a", NameError::Edge),
            ("a ", NameError::Edge),
            ("a\u{3000}", NameError::Edge),
            ("a.pdf.", NameError::Edge),
            ("SHA256SUMS", NameError::Reserved),
            ("sha256sums.SIG", NameError::Reserved),
            ("SHA256SUMS.p7s", NameError::Reserved),
        ];
        for (text, expected) in cases {
            assert_eq!(FileName::parse(text), Err(expected), "{text:?}");
        }
        assert_eq!(FileName::parse(&"é".repeat(101)), Err(NameError::Long));
        assert!(FileName::parse(&"a".repeat(200)).is_ok());
        assert_eq!(FileName::parse("か\u{3099}.pdf").unwrap().as_str(), "が.pdf");
        let (upper, lower) = (FileName::parse("É.PDF").unwrap(), FileName::parse("e\u{301}.pdf").unwrap());
        assert_eq!(upper.folded(), lower.folded());
    }

    #[test]
    fn ids_fit_a_path_segment() {
        for bad in ["", ".hidden", "a/b", "a\\b", " a", "a\u{7}", &"x".repeat(65)] {
            assert!(SenderId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(SenderId::parse("給与 2026-11 #3").is_ok());
    }
}
