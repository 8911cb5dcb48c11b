//! The same person, form and date twice in one filing, and how a person's name and number are compared (K53).

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use chrono::Datelike as _;

use super::check::RecordKey;

/// So many records of a file are compared: more than any filing within the usual bound of bytes has.
const COMPARED_MAX: usize = 1 << 17;

/// A name in half-width kana (CP932) as it is compared: blanks and marks left out, small kana as large, a hyphen as the
/// mark of a long vowel.
pub(crate) fn kana(name: &[u8]) -> impl Iterator<Item = u8> {
    let one = |byte: u8| match byte {
        b'-' => Some(0xb0),
        // ｧｨｩｪｫ ｬｭｮ ｯ
        0xa7..=0xab => Some(byte - 0xa7 + 0xb1),
        0xac..=0xae => Some(byte - 0xac + 0xd4),
        0xaf => Some(0xc2),
        0xa6..=0xdf => Some(byte),
        _ => byte.is_ascii_alphanumeric().then(|| byte.to_ascii_uppercase()),
    };
    name.iter().filter_map(move |byte| one(*byte))
}

/// An insured's number without leading zeros.
pub(crate) fn number(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|b| **b == b'0').count();
    &digits[zeros..]
}

/// The records of one file: a keyed hash and the line of each, never who it is.
#[derive(Default)]
pub(super) struct Twins {
    lines: HashMap<u64, u32>,
    compared: usize,
    keyed: RandomState,
    bytes: Vec<u8>,
}

impl Twins {
    /// The line of the first record of the same person, form and date, if there was one. A record that names no person or no
    /// date is like no other.
    pub(super) fn first_like(&mut self, key: &RecordKey<'_>) -> Option<u64> {
        let event = key.event.filter(|_| self.compared < COMPARED_MAX)?;
        self.compared += 1;
        self.bytes.clear();
        self.bytes.extend(kana(key.kana));
        let insured = number(key.insured);
        let birth = match key.birth {
            Some(birth) if !self.bytes.is_empty() => birth.num_days_from_ce(),
            _ if !insured.is_empty() => {
                self.bytes.clear();
                self.bytes.extend_from_slice(insured);
                i32::MIN
            }
            _ => return None,
        };
        let person = (self.bytes.as_slice(), birth, event.num_days_from_ce(), key.form, key.office);
        let line = u32::try_from(key.line).unwrap_or(u32::MAX);
        let first = *self.lines.entry(self.keyed.hash_one(person)).or_insert(line);
        (first != line).then_some(u64::from(first))
    }
}
