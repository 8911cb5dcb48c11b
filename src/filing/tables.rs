//! Rule tables, `conf/forms/*.toml`, one per form: what they say once they are read and checked (`compile` does that).

use std::ops::Range;

use serde::Deserialize;

use super::layout::Layout;
use super::level::{Certainty, Level};
use crate::model::finding::Text;

pub use super::compile::parse_form;

/// Why a table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct TableError {
    /// The table's file name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Which key, what it said, and what is allowed.
    pub reason: String,
}

impl TableError {
    pub(crate) fn at(file: &str, text: &str, span: Option<Range<usize>>, reason: impl Into<String>) -> Self {
        let end = span.map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..end].split(|b| *b == b'\n').count();
        Self { file: file.into(), line, reason: reason.into() }
    }
}

/// Which family of files a form belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// `KPFD0006.CSV` for a health-insurance society.
    #[default]
    Kpfd,
    /// Claims of the 国保連 kind.
    Claims,
}

impl Profile {
    /// What ids of a form's rules begin with.
    pub(crate) fn prefix(self, code: &str) -> String {
        match self {
            Self::Kpfd => code.to_owned(),
            Self::Claims => format!("CLAIMS{code}"),
        }
    }
}

/// Which characters a field may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// `0-9`.
    Digits,
    /// `0-9 A-Z a-z`.
    Alnum,
    /// `0-9 A-Z a-z` and half-width kana.
    Symbol,
    /// Half-width kana, blanks and the marks of names.
    Name,
    /// Half-width kana with its marks, letters, digits, blanks and hyphens, as addresses are written.
    Kana,
    /// Two-byte characters and blanks.
    Wide,
    /// Anything printable.
    Text,
}

impl Class {
    /// Its bit in a set of classes.
    pub(crate) const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Whether it has two-byte characters.
    pub(crate) const fn is_wide(self) -> bool {
        matches!(self, Self::Wide | Self::Text)
    }
}

/// What can be wrong with a field by itself; the last part of the rule's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldRule {
    /// It is blank and must not be.
    Required,
    /// It holds a character outside its class.
    Chars,
    /// It is too long or too short.
    Length,
    /// It is none of the allowed values.
    Value,
}

impl FieldRule {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Required, Self::Chars, Self::Length, Self::Value];

    /// As it stands in an id.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Required => "REQUIRED",
            Self::Chars => "CHARS",
            Self::Length => "LENGTH",
            Self::Value => "VALUE",
        }
    }
}

/// One field of a form.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name in rules and ids.
    pub key: String,
    /// Its name for people.
    pub name: Text,
    /// It may not be blank.
    pub required: bool,
    /// Which characters.
    pub class: Class,
    /// Fewest and most bytes.
    pub bytes: (usize, usize),
    /// Most characters.
    pub chars_max: Option<usize>,
    /// The only values it can have, when there are any.
    pub values: Vec<Box<[u8]>>,
    /// The same, for values of one or two digits, as bits: see [`Field::takes`].
    pub(crate) value_bits: Option<u128>,
    /// What is said beside its values when it has another.
    pub hint: Option<Text>,
    /// Its value is never shown (the individual number, K54).
    pub secret: bool,
    /// It is the form's code, by which the form was found.
    pub is_code: bool,
    /// It is only there in records of this many fields.
    pub only_with: Option<usize>,
    /// How sure.
    pub certainty: Certainty,
    /// Where it comes from; the form's own source unless the field names another.
    pub source: String,
    /// What each rule does, in the order of [`FieldRule::ALL`].
    pub levels: [Level; 4],
}

/// Where one or two digits stand among the bits: `00`-`99`, then `0`-`9`.
pub(super) fn digits_bit(value: &[u8]) -> Option<u32> {
    match value {
        [d @ b'0'..=b'9'] => Some(100 + u32::from(d - b'0')),
        [t @ b'0'..=b'9', d @ b'0'..=b'9'] => Some(u32::from(t - b'0') * 10 + u32::from(d - b'0')),
        _ => None,
    }
}

/// Whether one or two digits stand among the bits.
#[inline]
pub(super) fn is_among(bits: u128, value: &[u8]) -> bool {
    digits_bit(value).is_some_and(|bit| bits >> bit & 1 == 1)
}

impl Field {
    /// Whether the value is among those allowed.
    pub(crate) fn takes(&self, value: &[u8]) -> bool {
        match self.value_bits {
            Some(bits) => is_among(bits, value),
            None => self.values.is_empty() || self.values.iter().any(|v| **v == *value),
        }
    }

    /// Whether a rule can be broken at all. The code has none: another code is another form.
    pub fn has(&self, rule: FieldRule) -> bool {
        if self.is_code {
            return false;
        }
        match rule {
            FieldRule::Required => self.required,
            FieldRule::Chars => self.class != Class::Text,
            FieldRule::Length => self.bytes != (0, usize::MAX) || self.chars_max.is_some(),
            FieldRule::Value => !self.values.is_empty(),
        }
    }
}

/// A date made of several fields.
#[derive(Debug, Clone)]
pub struct DateGroup {
    /// Its name in rules and ids.
    pub key: String,
    /// Its name for people.
    pub name: Text,
    /// The field of the era's digit.
    pub era: usize,
    /// The field of `YYMMDD`, or those of `YY` and `MM`.
    pub digits: DateDigits,
    /// How sure.
    pub certainty: Certainty,
    /// What it does when there is no such date.
    pub level: Level,
}

/// Where a date's digits are.
#[derive(Debug, Clone, Copy)]
pub enum DateDigits {
    /// One field, `YYMMDD`.
    Day(usize),
    /// Two fields, `YY` and `MM`.
    Month(usize, usize),
}

/// When a rule of the record is asked.
#[derive(Debug, Clone)]
pub struct When {
    /// The field it looks at.
    pub field: usize,
    /// What it must be.
    pub test: Test,
}

/// A condition on one field.
#[derive(Debug, Clone)]
pub enum Test {
    /// It is filled in, or not.
    Filled(bool),
    /// It is one of these.
    Is(Vec<Box<[u8]>>),
    /// It is filled in and none of these.
    Not(Vec<Box<[u8]>>),
}

/// What a rule of the record asks. Numbers are fields, dates are date groups.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the table's keys, said in conf/forms/README.md")]
pub enum Check {
    /// `total` = sum of `parts`, cut down to a multiple of `unit`.
    Sum { parts: Vec<usize>, total: usize, unit: i64 },
    /// `mean` = `total` / `divisor`, cut down.
    Mean { total: usize, mean: usize, divisor: i64 },
    /// 算定基礎: `total` is the sum of the months that qualify by their days, `mean` that divided by their number.
    QualifyingMean {
        days: [usize; 3],
        totals: [usize; 3],
        total: usize,
        mean: usize,
        short_time: usize,
        part_time: usize,
    },
    /// The date is not after today.
    NotFuture { date: usize },
    /// `date` is after `than`.
    After { date: usize, than: usize },
    /// `date` is `days` after `than`.
    DaysAfter { date: usize, than: usize, days: i64 },
    /// Somebody born on `birth` is `years` old on `on`.
    Age { birth: usize, on: usize, years: i32 },
    /// None is blank.
    Required { fields: Vec<usize> },
    /// All are blank.
    Blank { fields: Vec<usize> },
    /// Each, when filled in, is a number from `from` to `to`.
    Range { fields: Vec<usize>, from: i64, to: i64 },
    /// The field, when filled in, is a month, `YYYYMM`.
    Month { field: usize },
    /// The months follow one another, and `next` is the month after the last.
    Months { months: Vec<usize>, next: usize },
    /// The field is one of these.
    Values { field: usize, values: Vec<Box<[u8]>> },
    /// The field is none of these.
    Excluded { field: usize, values: Vec<Box<[u8]>> },
    /// A name has one blank between its two parts.
    OneBlank { field: usize },
}

/// A rule across fields of one record.
#[derive(Debug, Clone)]
pub struct RecordRule {
    /// Its id, which begins with the form's code.
    pub id: String,
    /// What it does.
    pub level: Level,
    /// How sure.
    pub certainty: Certainty,
    /// Where it comes from.
    pub source: String,
    /// What was wrong; `{expected}` is filled in where the rule knows it.
    pub message: Text,
    /// What to do.
    pub action: Text,
    /// When it is asked; always when none.
    pub when: Option<When>,
    /// What it asks.
    pub check: Check,
    /// The field that the finding points to.
    pub at: usize,
}

/// One form, as its table says.
#[derive(Debug, Clone)]
pub struct Form {
    /// Its code, the first field of its records.
    pub code: String,
    /// Its name.
    pub name: Text,
    /// The family of files it is in.
    pub profile: Profile,
    /// How many fields a record may have, fewest first.
    pub counts: Vec<usize>,
    /// What another number of fields does.
    pub counts_level: Level,
    /// More fields than the table has may follow; they are only read as text.
    pub open_ended: bool,
    /// Codes of older series, refused by name.
    pub older: Vec<String>,
    /// Its fields in order, those of every layout.
    pub fields: Vec<Field>,
    /// Its dates.
    pub dates: Vec<DateGroup>,
    /// Its rules across fields.
    pub rules: Vec<RecordRule>,
    /// The insured's number, by which findings name a person.
    pub insured: Option<usize>,
    /// The name in kana.
    pub kana: Option<usize>,
    /// The date of birth.
    pub birth: Option<usize>,
    /// The date of the event (K53).
    pub event: Option<usize>,
    /// The record's office number.
    pub office: Option<usize>,
    /// For each allowed count: how its records are read.
    pub(crate) layouts: Vec<Layout>,
}

impl Form {
    /// A field by its key.
    pub fn field(&self, key: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.key == key)
    }

    /// How a record of so many fields is read: by its own layout, one that the insurer takes before others, else by the
    /// longest that fits into it. None when it has fewer fields than any.
    pub(crate) fn layout(&self, fields: usize) -> Option<&Layout> {
        let fits = || self.layouts.iter().filter(|layout| layout.count <= fields);
        let exact = fits().find(|layout| layout.count == fields);
        exact
            .or_else(|| fits().rfind(|layout| self.counts.contains(&layout.count)))
            .or_else(|| fits().next_back())
    }

    /// The fields of a layout that are where they are however many follow: those before the society's own, which stand at
    /// the record's end.
    pub(crate) fn leading(&self, layout: &Layout) -> Vec<Option<usize>> {
        let end = self.office.unwrap_or(layout.places.len());
        layout.places.iter().enumerate().map(|(i, at)| at.filter(|_| i < end)).collect()
    }

    /// What its rules' ids begin with: the code, or `CLAIMS1` and the like, since record kinds are single digits.
    pub fn prefix(&self) -> String {
        self.profile.prefix(&self.code)
    }

    /// The id of a field's rule: `2200700-KANA-NAME-CHARS`.
    pub fn field_rule_id(&self, field: &Field, rule: FieldRule) -> String {
        format!("{}-{}-{}", self.prefix(), upper(&field.key), rule.word())
    }

    /// The id of a date's rule: `2200700-BIRTH-DATE`.
    pub fn date_rule_id(&self, date: &DateGroup) -> String {
        format!("{}-{}-DATE", self.prefix(), upper(&date.key))
    }

    /// Every rule's id and what it does.
    pub fn rule_ids(&self) -> Vec<(String, Level)> {
        let of_fields = self.fields.iter().flat_map(|field| {
            FieldRule::ALL
                .into_iter()
                .filter(|rule| field.has(*rule))
                .map(move |rule| (self.field_rule_id(field, rule), field.levels[rule as usize]))
        });
        let of_dates = self.dates.iter().map(|date| (self.date_rule_id(date), date.level));
        let of_records = self.rules.iter().map(|rule| (rule.id.clone(), rule.level));
        of_fields.chain(of_dates).chain(of_records).collect()
    }

    /// Gives every rule whose id is named this level. How many there were.
    pub(super) fn set_levels(&mut self, named: &dyn Fn(&str) -> bool, level: Level) -> usize {
        let mut count = 0;
        let code = self.prefix();
        for field in &mut self.fields {
            for rule in FieldRule::ALL {
                if field.has(rule) && named(&format!("{code}-{}-{}", upper(&field.key), rule.word())) {
                    field.levels[rule as usize] = level;
                    count += 1;
                }
            }
        }
        for date in &mut self.dates {
            if named(&format!("{code}-{}-DATE", upper(&date.key))) {
                date.level = level;
                count += 1;
            }
        }
        for rule in &mut self.rules {
            if named(&rule.id) {
                rule.level = level;
                count += 1;
            }
        }
        count
    }

    /// Takes only these numbers of fields; each must be one that the table knows.
    pub fn set_counts(&mut self, counts: &[usize]) -> bool {
        let known = !counts.is_empty()
            && counts.iter().all(|count| self.layouts.iter().any(|layout| layout.count == *count));
        if known {
            self.counts = counts.to_vec();
            self.counts.sort_unstable();
        }
        known
    }
}

pub(super) fn upper(key: &str) -> String {
    key.to_ascii_uppercase().replace('_', "-")
}
