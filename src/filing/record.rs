//! One record against its form's table: fields, dates, rules across fields. Nothing is allocated for a record without findings.

use chrono::NaiveDate;

use super::cp932::{self, Unit};
use super::era::{self, EraError};
use super::level::Level;
use super::tables::{Check, Class, DateDigits, DateGroup, Field, FieldRule, Form, Test, When};
use crate::model::finding::Text;

/// One field of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Where it begins in the line.
    pub(crate) from: u32,
    /// Where it ends.
    pub(crate) to: u32,
    /// The classes of which every byte is a character by itself: see [`Class::bit`].
    pub(crate) classes: u8,
}

impl Span {
    /// A field that begins here, and of which no byte was seen yet.
    pub(crate) const fn begin(from: u32) -> Self {
        Self { from, to: from, classes: !0 }
    }
}

/// One record, cut into fields.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) line: &'a [u8],
    /// The fields of `line`.
    pub(crate) spans: &'a [Span],
    /// Where each field of the table stands in this record.
    pub(crate) places: &'a [Option<usize>],
}

impl<'a> Record<'a> {
    /// A field of the table; blank when this layout has none.
    pub(crate) fn get(&self, field: usize) -> &'a [u8] {
        self.places[field].map_or(b"", |at| self.at(at))
    }

    pub(crate) fn at(&self, position: usize) -> &'a [u8] {
        self.spans.get(position).map_or(b"", |span| &self.line[span.from as usize..span.to as usize])
    }
}

/// The classes of which each byte is a character by itself, one bit for each class.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0_u8; 256];
    let mut i = 0;
    while i < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let b = i as u8;
        let (digit, alpha, kana, blank) =
            (b.is_ascii_digit(), b.is_ascii_alphabetic(), matches!(b, 0xa1..=0xdf), b == b' ');
        let name_mark = matches!(b, b'-' | b'.' | b'(' | b')' | b'\'');
        let of = [
            (Class::Digits, digit),
            (Class::Alnum, digit || alpha),
            (Class::Symbol, digit || alpha || kana),
            (Class::Name, kana || blank || name_mark),
            (Class::Kana, digit || alpha || kana || blank || name_mark || b == b'/'),
            (Class::Wide, blank),
            (Class::Text, kana || blank || b.is_ascii_graphic()),
        ];
        let mut at = 0;
        while at < of.len() {
            if of[at].1 {
                table[i] |= of[at].0.bit();
            }
            at += 1;
        }
        i += 1;
    }
    table
}

/// The classes of which this byte is a character by itself.
#[inline]
pub(crate) fn classes_of(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

/// The classes of which every one of these bytes is a character by itself; of none, all.
pub(crate) fn classes_of_all(bytes: &[u8]) -> u8 {
    bytes.iter().fold(!0, |classes, byte| classes & classes_of(*byte))
}

/// How many characters a value has when all are of the class and none needs a word; none otherwise.
#[inline]
pub(crate) fn plain(class: Class, value: &[u8]) -> Option<usize> {
    if !class.is_wide() {
        return (classes_of_all(value) & class.bit() != 0).then_some(value.len());
    }
    let pairs = cp932::pairs();
    let mut chars = 0;
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        if classes_of(*byte) & class.bit() != 0 {
            rest = after;
        } else {
            let [trail, after @ ..] = after else { return None };
            if pairs[usize::from(*byte) << 8 | usize::from(*trail)] != Unit::Plain {
                return None;
            }
            rest = after;
        }
        chars += 1;
    }
    Some(chars)
}

/// What is remarkable about one character of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odd {
    Control,
    Cp932,
    Gaiji,
    OldKanji,
    /// Fine in itself, but not in this class.
    Class,
}

/// Tells each remarkable character with its column, from 1, and its bytes.
pub(crate) fn oddities<'a>(class: Class, value: &'a [u8], mut tell: impl FnMut(Odd, u32, &'a [u8])) {
    let (mut rest, mut column) = (value, 0);
    while !rest.is_empty() {
        let (unit, len) = cp932::first(rest);
        let bytes = &rest[..len];
        column += 1;
        let odd = match (unit, bytes) {
            (Unit::Bad, _) => Some(Odd::Cp932),
            (_, [0..=0x1f | 0x7f]) => Some(Odd::Control),
            (_, [byte]) => (classes_of(*byte) & class.bit() == 0).then_some(Odd::Class),
            _ if !class.is_wide() => Some(Odd::Class),
            (Unit::Gaiji, _) => Some(Odd::Gaiji),
            (Unit::Extension, _) => Some(Odd::OldKanji),
            (Unit::Plain, _) => None,
        };
        if let Some(odd) = odd {
            tell(odd, column, bytes);
        }
        rest = &rest[len..];
    }
}

/// Whether a value's length is out of its bounds; `chars` as [`plain`] counted them.
pub(crate) fn length_is_wrong(field: &Field, value: &[u8], chars: Option<usize>) -> bool {
    !(field.bytes.0..=field.bytes.1).contains(&value.len())
        || field.chars_max.is_some_and(|max| chars.unwrap_or_else(|| cp932::chars(value)) > max)
}

/// A number of at most 18 digits; none when blank or anything else.
fn number(value: &[u8]) -> Option<i64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0_i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// How a rule across fields is broken, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It is not as it must be.
    Plain,
    /// This is what it must be.
    Expected(Text),
    /// It cannot be worked out: this field is no number.
    NoNumber(usize),
    /// It is filled in, and all of these, from which it follows, are blank.
    NoParts(Vec<usize>),
}

impl Broken {
    fn expected(value: i64) -> Self {
        let value = value.to_string();
        Self::Expected(Text::new(value.clone(), value))
    }
}

/// This field is no amount.
struct NoAmount(usize);

impl From<NoAmount> for Broken {
    fn from(NoAmount(field): NoAmount) -> Self {
        Self::NoNumber(field)
    }
}

/// An amount: none when blank.
fn amount(record: &Record<'_>, field: usize) -> Result<Option<i64>, NoAmount> {
    let value = record.get(field);
    if value.is_empty() {
        return Ok(None);
    }
    // Twelve digits may be an individual number that stands in a wrong field: no sum may show it.
    number(value).filter(|_| value.len() < 12).map(Some).ok_or(NoAmount(field))
}

/// Sum of parts where blank counts as nothing; none when all are blank.
fn sum(record: &Record<'_>, parts: impl IntoIterator<Item = usize>) -> Result<Option<i64>, NoAmount> {
    let mut total = None;
    for part in parts {
        if let Some(n) = amount(record, part)? {
            total = Some(total.unwrap_or(0_i64).saturating_add(n));
        }
    }
    Ok(total)
}

/// Reads every date of the form; `None` where it is blank. What is wrong is told with the date's place in the form.
pub(crate) fn dates(
    form: &Form,
    record: &Record<'_>,
    into: &mut Vec<Option<NaiveDate>>,
    mut wrong: impl FnMut(usize, EraError),
) {
    into.clear();
    for (i, date) in form.dates.iter().enumerate() {
        let era = record.get(date.era);
        let read = match date.digits {
            DateDigits::Day(ymd) => {
                let ymd = record.get(ymd);
                (!era.is_empty() || !ymd.is_empty()).then(|| era::day(era, ymd))
            }
            DateDigits::Month(yy, mm) => {
                let (yy, mm) = (record.get(yy), record.get(mm));
                (!era.is_empty() || !yy.is_empty() || !mm.is_empty()).then(|| era::month(era, yy, mm))
            }
        };
        into.push(read.and_then(Result::ok));
        match read {
            None | Some(Ok(_)) => {}
            Some(Err(why)) => {
                let mut parts = parts(date);
                let why = match why {
                    EraError::Era | EraError::Digits if parts.clone().any(|at| record.get(at).is_empty()) => {
                        EraError::Half
                    }
                    why => why,
                };
                // A slip that a part's own rule tells as gravely is told once.
                if !parts.any(|at| told_by_field(&form.fields[at], record.get(at), date.level)) {
                    wrong(i, why);
                }
            }
        }
    }
}

/// The fields of a date.
fn parts(date: &DateGroup) -> impl Iterator<Item = usize> + Clone {
    let (second, third) = match date.digits {
        DateDigits::Day(ymd) => (ymd, None),
        DateDigits::Month(yy, mm) => (yy, Some(mm)),
    };
    [date.era, second].into_iter().chain(third)
}

/// The first of a field's own rules that its value breaks.
pub(super) fn broken(field: &Field, value: &[u8]) -> Option<FieldRule> {
    let chars = plain(field.class, value);
    if value.is_empty() {
        field.required.then_some(FieldRule::Required)
    } else if chars.is_none() {
        Some(FieldRule::Chars)
    } else if length_is_wrong(field, value, chars) {
        Some(FieldRule::Length)
    } else {
        (!field.takes(value)).then_some(FieldRule::Value)
    }
}

/// Whether a field's own rules tell what is wrong with it, at least as gravely as this.
fn told_by_field(field: &Field, value: &[u8], level: Level) -> bool {
    broken(field, value).is_some_and(|rule| field.levels[rule as usize] >= level)
}

pub(crate) fn applies(when: Option<&When>, record: &Record<'_>) -> bool {
    let Some(when) = when else { return true };
    let value = record.get(when.field);
    match &when.test {
        Test::Filled(filled) => value.is_empty() != *filled,
        Test::Is(values) => values.iter().any(|v| **v == *value),
        Test::Not(values) => !value.is_empty() && !values.iter().any(|v| **v == *value),
    }
}

/// Asks one rule: fine, or how it is broken.
pub(crate) fn ask(
    check: &Check,
    record: &Record<'_>,
    dates: &[Option<NaiveDate>],
    today: NaiveDate,
) -> Result<(), Broken> {
    let say = |ok: bool| if ok { Ok(()) } else { Err(Broken::Plain) };
    let date = |i: usize| dates.get(i).copied().flatten();
    match check {
        Check::Sum { parts, total, unit } => {
            let sum = sum(record, parts.iter().copied())?;
            match (sum.map(|sum| sum / unit * unit), amount(record, *total)?) {
                (None, None | Some(0)) => Ok(()),
                (None, Some(_)) => Err(Broken::NoParts(parts.clone())),
                (Some(expected), got) if got == Some(expected) => Ok(()),
                (Some(expected), _) => Err(Broken::expected(expected)),
            }
        }
        Check::Mean { total, mean, divisor } => match (amount(record, *total)?, amount(record, *mean)?) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Broken::NoParts(vec![*total])),
            (Some(total), Some(mean)) if mean == total / divisor => Ok(()),
            (Some(total), _) => Err(Broken::expected(total / divisor)),
        },
        Check::QualifyingMean { days, totals, total, mean, short_time, part_time } => {
            let flags = (!record.get(*short_time).is_empty(), !record.get(*part_time).is_empty());
            qualifying_mean(record, *days, *totals, (*total, *mean), flags)
        }
        Check::NotFuture { date: at } => say(date(*at).is_none_or(|at| at <= today)),
        Check::After { date: at, than } => match (date(*at), date(*than)) {
            (Some(at), Some(than)) => say(at > than),
            _ => Ok(()),
        },
        Check::DaysAfter { date: at, than, days } => match (date(*at), date(*than)) {
            (Some(at), Some(than)) if (at - than).num_days() != *days => {
                let expected = than.checked_add_signed(chrono::TimeDelta::days(*days));
                Err(expected.map_or(Broken::Plain, |day| Broken::Expected(era::told(day))))
            }
            _ => Ok(()),
        },
        Check::Age { birth, on, years } => match (date(*birth), date(*on)) {
            (Some(birth), Some(on)) => say(era::reaches(birth, *years).is_some_and(|day| day <= on)),
            _ => Ok(()),
        },
        Check::Required { fields } => say(fields.iter().all(|field| !record.get(*field).is_empty())),
        Check::Blank { fields } => say(fields.iter().all(|field| record.get(*field).is_empty())),
        Check::Range { fields, from, to } => say(fields
            .iter()
            .filter_map(|field| number(record.get(*field)))
            .all(|n| (*from..=*to).contains(&n))),
        Check::Month { field } => {
            let value = record.get(*field);
            let month = number(value).filter(|_| value.len() == 6).map(|n| (n / 100, n % 100));
            let real = |(year, month)| (1900..=2999).contains(&year) && (1..=12).contains(&month);
            say(value.is_empty() || month.is_some_and(real))
        }
        Check::Months { months, next } => say(consecutive(record, months, *next)),
        Check::Values { field, values } => {
            let value = record.get(*field);
            say(value.is_empty() || values.iter().any(|v| **v == *value))
        }
        Check::Excluded { field, values } => {
            let value = record.get(*field);
            say(!values.iter().any(|v| **v == *value))
        }
        Check::OneBlank { field } => {
            let value = record.get(*field);
            let blanks = value.iter().filter(|b| **b == b' ').take(2).count();
            say(value.is_empty() || blanks == 1 && !value.starts_with(b" ") && !value.ends_with(b" "))
        }
    }
}

/// Months that are no months are told by their own fields.
fn consecutive(record: &Record<'_>, months: &[usize], next: usize) -> bool {
    let month = |field: usize| number(record.get(field)).filter(|m| (1..=12).contains(m));
    let mut previous = None;
    for field in months.iter().copied().chain([next]) {
        let Some(this) = month(field) else { return true };
        if previous.is_some_and(|before: i64| before % 12 + 1 != this) {
            return false;
        }
        previous = Some(this);
    }
    true
}

/// 17 days make a month count, 11 for short-time workers; part-time workers without such a month count those of 15.
fn qualifying_mean(
    record: &Record<'_>,
    days: [usize; 3],
    totals: [usize; 3],
    (total, mean): (usize, usize),
    (short_time, part_time): (bool, bool),
) -> Result<(), Broken> {
    let mut of_days = [None; 3];
    for (into, field) in of_days.iter_mut().zip(days) {
        *into = amount(record, field)?;
    }
    let count = |least: i64| of_days.iter().filter(|n| n.is_some_and(|n| n >= least)).count();
    let least = if short_time {
        11
    } else if part_time && count(17) == 0 {
        15
    } else {
        17
    };
    let Ok(months @ 1..) = i64::try_from(count(least)) else { return Ok(()) };
    let counting = totals.into_iter().zip(of_days).filter(|(_, n)| n.is_some_and(|n| n >= least));
    let counting: [Option<usize>; 3] = {
        let mut fields = counting.map(|(field, _)| field);
        [fields.next(), fields.next(), fields.next()]
    };
    let got = (amount(record, total)?, amount(record, mean)?);
    match (sum(record, counting.into_iter().flatten())?, got) {
        (None, (None, None)) => Ok(()),
        (None, _) => Err(Broken::NoParts(counting.into_iter().flatten().collect())),
        (Some(sum), got) if got == (Some(sum), Some(sum / months)) => Ok(()),
        (Some(sum), _) => {
            let mean = sum / months;
            Err(Broken::Expected(Text::new(
                format!("総計 {sum}、平均額 {mean}"),
                format!("{sum} and {mean}"),
            )))
        }
    }
}

/// The first of these fields that is out of the rule's range.
pub(crate) fn out_of_range(check: &Check, fields: &[usize], record: &Record<'_>) -> Option<usize> {
    let Check::Range { from, to, .. } = check else { return None };
    fields
        .iter()
        .copied()
        .find(|field| number(record.get(*field)).is_some_and(|n| !(*from..=*to).contains(&n)))
}
