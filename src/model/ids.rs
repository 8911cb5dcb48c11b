//! Names of things. Each is checked once, at the door, and then cannot be wrong.

use std::str::FromStr;
use std::{fmt, io};

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not {what}: {allowed}")]
pub struct IdError {
    what: &'static str,
    allowed: &'static str,
    got: String,
}

/// Reads a text where it lies, without a copy of it.
struct Text<T, E>(fn(&str) -> Result<T, E>);

impl<T, E: fmt::Display> Visitor<'_> for Text<T, E> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_str<F: Error>(self, text: &str) -> Result<T, F> {
        (self.0)(text).map_err(F::custom)
    }
}

/// Declares a checked text type: constructor, display, serde as the bare text (checked again when read).
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the text.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError { what: $what, allowed: $allowed, got: text.chars().take(64).collect() })
                }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Text(Self::parse))
            }
        }
    };
}

fn alphanumeric(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

text_id!(
    /// An insurer's number (保険者番号), eight digits.
    InsurerCode,
    "an insurer's number",
    "eight digits, such as 06139999",
    |t| t.len() == 8 && t.bytes().all(|b| b.is_ascii_digit())
);

text_id!(
    /// An office's number with its society (事業所番号), one to four letters or digits (KPFD.md, data record).
    OfficeCode,
    "an office's number with the society",
    "one to four ASCII letters or digits, such as 1234",
    |t| alphanumeric(t, 4)
);

text_id!(
    /// A login identity. Case-sensitive (E1).
    AccountId,
    "an account",
    "a letter followed by at most 15 ASCII letters, digits, '-' or '_', such as K0001",
    |t| t.len() <= 16
        && t.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);

text_id!(
    /// A class of use (証明書利用区分) that a fee is set for (E14), such as `standard`: a name from the insurer's policy.
    UseClass,
    "a class of use",
    "1 to 40 characters without control characters, such as standard",
    |t| !t.trim().is_empty() && t.chars().count() <= 40 && !t.chars().any(crate::model::escape::is_hidden)
);

text_id!(
    /// Whose a password is: an account, or an application of an enrolment. Fit for a file name.
    CredentialHolder,
    "the holder of a password",
    "a letter followed by at most 31 ASCII letters, digits, '-' or '_'",
    |t| t.len() <= 32
        && t.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);

impl From<ApplicationId> for CredentialHolder {
    fn from(application: ApplicationId) -> Self {
        Self(application.to_string().into())
    }
}

impl From<&AccountId> for CredentialHolder {
    fn from(account: &AccountId) -> Self {
        Self(account.0.clone())
    }
}

text_id!(
    /// An authority's name: `x509-1`, `ssh-1`, `kenpo-ca-2`. Part of file names, so it can be no path.
    AuthorityId,
    "an authority",
    "a lower-case letter followed by at most 31 lower-case ASCII letters, digits or '-', such as x509-1",
    |t| t.len() <= 32
        && t.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

text_id!(
    /// Where immutable bytes lie: the day they were opened for writing and 64 random bits, both chosen by the
    /// server: `20261123-9f3c21aa04b7d001`.
    BlobId,
    "a blob",
    "eight digits, '-', sixteen hexadecimal digits",
    |t| t.len() == 25
        && t.as_bytes()[8] == b'-'
        && t.as_bytes()[..8].iter().all(u8::is_ascii_digit)
        && t.as_bytes()[9..].iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
);

/// A number that is read over the telephone: `EPOCH-SERIAL-CHECK`, digits only, the last one a Damm check digit
/// over the others (it finds every wrong digit and every swap of neighbours).
///
/// The epoch is the data root's; a restored backup starts a new one, so that a number is never given twice.
fn numbered(epoch: u32, serial: u64) -> String {
    let body = format!("{epoch}-{serial:06}");
    let check = damm(body.bytes());
    format!("{body}-{check}")
}

/// Reads what [`numbered`] writes. Leading zeros beyond the written form are refused: one number, one spelling.
fn parse_numbered(text: &str) -> Option<(u32, u64)> {
    let (body, check) = text.rsplit_once('-')?;
    let (epoch, serial) = body.split_once('-')?;
    let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let exact = |digits: &str, width: usize| {
        plain(digits) && (digits.len() == width || (digits.len() > width && !digits.starts_with('0')))
    };
    let right = exact(epoch, 1) && exact(serial, 6) && check.as_bytes() == [b'0' + damm(body.bytes())];
    if right { Some((epoch.parse().ok()?, serial.parse().ok()?)) } else { None }
}

/// The Damm check digit over the digits among `bytes`.
fn damm(bytes: impl Iterator<Item = u8>) -> u8 {
    const TABLE: [[u8; 10]; 10] = [
        [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
        [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
        [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
        [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
        [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
        [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
        [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
        [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
        [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
        [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
    ];
    bytes
        .filter(u8::is_ascii_digit)
        .fold(0, |interim, digit| TABLE[usize::from(interim)][usize::from(digit - b'0')])
}

/// Declares a numbered id with an optional prefix letter. In JSON it is its written form; in compact formats (the
/// index) its two numbers.
macro_rules! numbered_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            /// The data root's epoch in which it was given.
            pub epoch: u32,
            /// Counts from 1 within the epoch; gaps are allowed.
            pub serial: u64,
        }

        impl $name {
            /// Reads the written form, check digit included.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(parse_numbered)
                    .map(|(epoch, serial)| Self { epoch, serial })
                    .ok_or_else(|| IdError { what: $what, allowed: $allowed, got: text.chars().take(64).collect() })
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{}{}", $prefix, numbered(self.epoch, self.serial)))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() { to.collect_str(self) } else { (self.epoch, self.serial).serialize(to) }
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    from.deserialize_str(Text(Self::parse))
                } else {
                    <(u32, u64)>::deserialize(from).map(|(epoch, serial)| Self { epoch, serial })
                }
            }
        }
    };
}

numbered_id!(
    /// A submission's and its receipt's number: `1-000123-6`. Opaque, never reused, gaps allowed.
    Number,
    "",
    "a receipt number",
    "digits as printed on the receipt, such as 1-000123-6 (the last digit checks the others)"
);

numbered_id!(
    /// A document's number: `D1-000123-6`.
    DocumentId,
    "D",
    "a document number",
    "D and digits as listed, such as D1-000123-6 (the last digit checks the others)"
);

numbered_id!(
    /// A mail's number: `M1-000123-6`.
    MailId,
    "M",
    "a mail number",
    "M and digits as listed, such as M1-000123-6 (the last digit checks the others)"
);

numbered_id!(
    /// A certificate's number: `C1-000123-6`.
    CertificateId,
    "C",
    "a certificate number",
    "C and digits as listed, such as C1-000123-6 (the last digit checks the others)"
);

numbered_id!(
    /// An application's number: `A1-000123-6`.
    ApplicationId,
    "A",
    "an application number",
    "A and digits as listed, such as A1-000123-6 (the last digit checks the others)"
);

/// A SHA-256 digest; written as 64 lower-case hexadecimal digits (in the index: as its bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Of all that is read from here, by way of `buffer`.
    pub fn read(from: &mut dyn io::Read, buffer: &mut [u8]) -> io::Result<Self> {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        loop {
            match from.read(buffer) {
                Ok(0) => return Ok(Self(hash.finalize().into())),
                Ok(read) => hash.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads 64 hexadecimal digits, either case.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError {
            what: "a SHA-256 digest",
            allowed: "64 hexadecimal digits",
            got: text.chars().take(80).collect(),
        })?;
        Ok(Self(bytes))
    }

    fn hex<'a>(&self, into: &'a mut [u8; 64]) -> &'a str {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for (pair, byte) in into.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        std::str::from_utf8(into).unwrap_or_default()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hex(&mut [0; 64]))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Digest {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}
impl TryFrom<String> for Digest {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.serialize_str(self.hex(&mut [0; 64])) } else { self.0.serialize(to) }
    }
}
impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            from.deserialize_str(Text(Self::parse))
        } else {
            <[u8; 32]>::deserialize(from).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_writing_and_reading_and_finds_each_slip() {
        for (epoch, serial) in [(1, 1), (1, 123), (7, 999_999), (12, 1_234_567)] {
            let number = Number { epoch, serial };
            let text = number.to_string();
            assert_eq!(Number::parse(&text), Ok(number), "{text}");
            for i in 0..text.len() {
                for digit in b'0'..=b'9' {
                    let mut wrong = text.clone().into_bytes();
                    if !wrong[i].is_ascii_digit() || wrong[i] == digit {
                        continue;
                    }
                    wrong[i] = digit;
                    let wrong = String::from_utf8(wrong).unwrap();
                    assert!(Number::parse(&wrong).is_err(), "{text} read as {wrong}");
                }
            }
        }
        for bad in [
            "1-000000123-4",
            "01-000123-6",
            "+1-000123-6",
            "1-+00123-6",
            "1-000123-06",
            "-000123-6",
            "1-000123-",
        ] {
            assert!(Number::parse(bad).is_err(), "{bad}");
        }
        assert!(DocumentId::parse("1-000001-1").is_err());
    }

    #[test]
    fn names_refuse_what_could_be_a_path() {
        for bad in ["", ".", "..", "a/b", "K 1", "Ｋ0001", "K0001\0", "0K", "K00000000000000001"] {
            assert!(AccountId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(AccountId::parse("K0001").is_ok());
        assert!(InsurerCode::parse("0613999").is_err());
        assert!(OfficeCode::parse("12345").is_err());
        assert!(BlobId::parse("20261123-9f3c21aa04b7d001").is_ok());
        assert!(BlobId::parse("20261123-9F3C21AA04B7D001").is_err());
    }
}
