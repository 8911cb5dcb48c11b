//! Rule tables: `conf/forms/*.toml`, one per form, read and checked. An error names file, line, key and what is allowed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::level::{Certainty, Level};
use crate::model::finding::Text;

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
    /// Half-width kana with its marks, letters, blanks and hyphens, as names are written.
    Kana,
    /// Two-byte characters and blanks.
    Wide,
    /// Anything printable.
    Text,
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
    /// Its value is never shown (the individual number, K54).
    pub secret: bool,
    /// It is the form's code, by which the form was found.
    pub is_code: bool,
    /// It is only there in records of this many fields.
    pub only_with: Option<usize>,
    /// How sure.
    pub certainty: Certainty,
    /// What each rule does, in the order of [`FieldRule::ALL`].
    pub levels: [Level; 4],
}

impl Field {
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
    /// The months follow one another, and `next` is the month after the last.
    Months { months: Vec<usize>, next: usize },
    /// The field is one of these.
    Values { field: usize, values: Vec<Box<[u8]>> },
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
    /// For each allowed count: where each field stands, from 0.
    pub(crate) layouts: Vec<(usize, Vec<Option<usize>>)>,
}

impl Form {
    /// A field by its key.
    pub fn field(&self, key: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.key == key)
    }

    /// What its rules' ids begin with: the code, or `CLAIMS1` and the like, since record kinds are single digits.
    pub fn prefix(&self) -> String {
        match self.profile {
            Profile::Kpfd => self.code.clone(),
            Profile::Claims => format!("CLAIMS{}", self.code),
        }
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

    /// Gives every rule whose id is `id`, or begins with `id-`, this level. How many there were.
    pub fn set_level(&mut self, id: &str, level: Level) -> usize {
        let matches =
            |rule: &str| rule.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let mut count = 0;
        let code = self.prefix();
        for field in &mut self.fields {
            for rule in FieldRule::ALL {
                if field.has(rule) && matches(&format!("{code}-{}-{}", upper(&field.key), rule.word())) {
                    field.levels[rule as usize] = level;
                    count += 1;
                }
            }
        }
        for date in &mut self.dates {
            if matches(&format!("{code}-{}-DATE", upper(&date.key))) {
                date.level = level;
                count += 1;
            }
        }
        for rule in &mut self.rules {
            if matches(&rule.id) {
                rule.level = level;
                count += 1;
            }
        }
        count
    }

    /// Takes only these numbers of fields; each must be one that the table knows.
    pub fn set_counts(&mut self, counts: &[usize]) -> bool {
        let known =
            !counts.is_empty() && counts.iter().all(|count| self.layouts.iter().any(|(n, _)| n == count));
        if known {
            self.counts = counts.to_vec();
            self.counts.sort_unstable();
        }
        known
    }
}

fn upper(key: &str) -> String {
    key.to_ascii_uppercase().replace('_', "-")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawForm {
    code: Spanned<String>,
    ja: String,
    en: String,
    #[serde(default)]
    profile: Profile,
    source: String,
    counts: Spanned<Vec<usize>>,
    counts_certainty: Certainty,
    #[serde(default)]
    open_ended: bool,
    #[serde(default)]
    older: Vec<String>,
    #[serde(default)]
    insured: Option<Spanned<String>>,
    #[serde(default)]
    kana: Option<Spanned<String>>,
    #[serde(default)]
    birth: Option<Spanned<String>>,
    #[serde(default)]
    event: Option<Spanned<String>>,
    #[serde(default)]
    office: Option<Spanned<String>>,
    field: Vec<Spanned<RawField>>,
    #[serde(default)]
    date: Vec<Spanned<RawDate>>,
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    key: String,
    ja: String,
    en: String,
    class: Class,
    #[serde(default)]
    bytes: Option<(usize, usize)>,
    #[serde(default)]
    chars_max: Option<usize>,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    only_with: Option<usize>,
    #[serde(default)]
    severity: Option<Level>,
    certainty: Certainty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDate {
    key: String,
    ja: String,
    en: String,
    era: String,
    #[serde(default)]
    ymd: Option<String>,
    #[serde(default)]
    yy: Option<String>,
    #[serde(default)]
    mm: Option<String>,
    #[serde(default)]
    severity: Option<Level>,
    certainty: Certainty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    certainty: Certainty,
    #[serde(default)]
    severity: Option<Level>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    at: Option<String>,
    ja: String,
    en: String,
    do_ja: String,
    do_en: String,
    #[serde(default)]
    when: Option<RawWhen>,
    check: RawCheck,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWhen {
    field: String,
    #[serde(default)]
    filled: Option<bool>,
    #[serde(default)]
    is: Option<Vec<String>>,
    #[serde(default)]
    not: Option<Vec<String>>,
}

const fn one() -> i64 {
    1
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RawCheck {
    Sum {
        parts: Vec<String>,
        total: String,
        #[serde(default = "one")]
        unit: i64,
    },
    Mean {
        total: String,
        mean: String,
        divisor: i64,
    },
    QualifyingMean {
        days: [String; 3],
        totals: [String; 3],
        total: String,
        mean: String,
        short_time: String,
        part_time: String,
    },
    NotFuture {
        date: String,
    },
    After {
        date: String,
        than: String,
    },
    DaysAfter {
        date: String,
        than: String,
        days: i64,
    },
    Age {
        birth: String,
        on: String,
        years: i32,
    },
    Required {
        fields: Vec<String>,
    },
    Blank {
        fields: Vec<String>,
    },
    Range {
        fields: Vec<String>,
        from: i64,
        to: i64,
    },
    Months {
        months: Vec<String>,
        next: String,
    },
    Values {
        field: String,
        values: Vec<String>,
    },
    OneBlank {
        field: String,
    },
}

/// Most fields of a form; far above what any form has.
const FIELDS_MAX: usize = 500;

/// Reads one table. `file` is the name that errors give.
pub fn parse_form(file: &str, text: &str) -> Result<Form, TableError> {
    let raw: RawForm =
        toml::from_str(text).map_err(|e| TableError::at(file, text, e.span(), e.message().to_owned()))?;
    Compiler { file, text, fields: HashMap::new(), dates: HashMap::new() }.form(raw)
}

struct Compiler<'a> {
    file: &'a str,
    text: &'a str,
    fields: HashMap<String, usize>,
    dates: HashMap<String, usize>,
}

impl Compiler<'_> {
    fn error(&self, span: Range<usize>, reason: impl Into<String>) -> TableError {
        TableError::at(self.file, self.text, Some(span), reason)
    }

    fn field(&self, span: &Range<usize>, key: &str) -> Result<usize, TableError> {
        self.fields.get(key).copied().ok_or_else(|| {
            self.error(
                span.clone(),
                format!("{key:?} is no field of this form; use the key of one of its [[field]]s"),
            )
        })
    }

    fn fields(&self, span: &Range<usize>, keys: &[String]) -> Result<Vec<usize>, TableError> {
        if keys.is_empty() {
            return Err(self.error(span.clone(), "a list of fields is empty; name at least one"));
        }
        keys.iter().map(|key| self.field(span, key)).collect()
    }

    fn three(&self, span: &Range<usize>, keys: &[String; 3]) -> Result<[usize; 3], TableError> {
        Ok([self.field(span, &keys[0])?, self.field(span, &keys[1])?, self.field(span, &keys[2])?])
    }

    fn date(&self, span: &Range<usize>, key: &str) -> Result<usize, TableError> {
        self.dates.get(key).copied().ok_or_else(|| {
            self.error(
                span.clone(),
                format!("{key:?} is no date of this form; use the key of one of its [[date]]s"),
            )
        })
    }

    fn role(&self, key: Option<&Spanned<String>>) -> Result<Option<usize>, TableError> {
        key.map(|key| self.field(&key.span(), key.get_ref())).transpose()
    }

    fn date_role(&self, key: Option<&Spanned<String>>) -> Result<Option<usize>, TableError> {
        key.map(|key| self.date(&key.span(), key.get_ref())).transpose()
    }

    fn form(mut self, raw: RawForm) -> Result<Form, TableError> {
        let code = raw.code.get_ref().clone();
        if code.is_empty() || code.len() > 16 || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(
                self.error(raw.code.span(), format!("code {code:?}: use 1 to 16 ASCII letters or digits"))
            );
        }
        if raw.field.is_empty() || raw.field.len() > FIELDS_MAX {
            return Err(self.error(raw.code.span(), format!("a form has 1 to {FIELDS_MAX} fields")));
        }
        let mut fields = Vec::with_capacity(raw.field.len());
        for (i, field) in raw.field.into_iter().enumerate() {
            let span = field.span();
            if self.fields.insert(field.get_ref().key.clone(), i).is_some() {
                return Err(self.error(span, format!("field {:?} stands twice", field.get_ref().key)));
            }
            fields.push(self.one_field(&span, field.into_inner())?);
        }
        fields[0].is_code = true;
        let layouts = self.layouts(&raw.counts, &fields)?;
        let mut dates = Vec::with_capacity(raw.date.len());
        for (i, date) in raw.date.into_iter().enumerate() {
            let span = date.span();
            if self.dates.insert(date.get_ref().key.clone(), i).is_some() {
                return Err(self.error(span, format!("date {:?} stands twice", date.get_ref().key)));
            }
            dates.push(self.one_date(&span, date.into_inner())?);
        }
        let mut rules: Vec<RecordRule> = Vec::with_capacity(raw.rule.len());
        for rule in raw.rule {
            let span = rule.span();
            let rule = self.one_rule(&span, rule.into_inner(), &code, &raw.source, &dates)?;
            if rules.iter().any(|other| other.id == rule.id) {
                return Err(self.error(span, format!("rule {:?} stands twice", rule.id)));
            }
            rules.push(rule);
        }
        let form = Form {
            insured: self.role(raw.insured.as_ref())?,
            kana: self.role(raw.kana.as_ref())?,
            birth: self.date_role(raw.birth.as_ref())?,
            event: self.date_role(raw.event.as_ref())?,
            office: self.role(raw.office.as_ref())?,
            code,
            name: Text::new(raw.ja, raw.en),
            profile: raw.profile,
            counts: layouts.iter().map(|(count, _)| *count).collect(),
            counts_level: raw.counts_certainty.level(),
            open_ended: raw.open_ended,
            older: raw.older,
            fields,
            dates,
            rules,
            layouts,
        };
        let mut seen = BTreeMap::new();
        for (id, _) in form.rule_ids() {
            if seen.insert(id.clone(), ()).is_some() {
                return Err(TableError::at(
                    self.file,
                    self.text,
                    None,
                    format!("two rules have the id {id}"),
                ));
            }
        }
        Ok(form)
    }

    fn layouts(
        &self,
        counts: &Spanned<Vec<usize>>,
        fields: &[Field],
    ) -> Result<Vec<(usize, Vec<Option<usize>>)>, TableError> {
        let mut layouts = Vec::new();
        for &count in counts.get_ref() {
            let mut next = 0;
            let layout: Vec<_> = fields
                .iter()
                .map(|field| {
                    let here = field.only_with.is_none_or(|with| with == count);
                    here.then(|| {
                        next += 1;
                        next - 1
                    })
                })
                .collect();
            if next != count {
                return Err(self.error(
                    counts.span(),
                    format!("counts: {count} fields are allowed, but the table has {next} for that count; add or remove fields, or mark one `only_with`"),
                ));
            }
            layouts.push((count, layout));
        }
        layouts.sort_by_key(|(count, _)| *count);
        if layouts.is_empty() {
            return Err(self.error(counts.span(), "counts: give at least one number of fields"));
        }
        Ok(layouts)
    }

    fn one_field(&self, span: &Range<usize>, raw: RawField) -> Result<Field, TableError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if raw.key.is_empty() || !raw.key.bytes().all(plain) {
            return Err(self
                .error(span.clone(), format!("key {:?}: use lower-case letters, digits and '_'", raw.key)));
        }
        let bytes = raw.bytes.unwrap_or((0, usize::MAX));
        if bytes.0 > bytes.1 || bytes.1 == 0 {
            return Err(self.error(span.clone(), format!("bytes of {:?}: write [fewest, most]", raw.key)));
        }
        if let Some(long) = raw.values.iter().find(|v| v.len() < bytes.0 || v.len() > bytes.1) {
            return Err(
                self.error(span.clone(), format!("values of {:?}: {long:?} does not fit `bytes`", raw.key))
            );
        }
        Ok(Field {
            name: Text::new(raw.ja, raw.en),
            required: raw.required,
            class: raw.class,
            bytes,
            chars_max: raw.chars_max,
            values: raw.values.into_iter().map(|v| v.into_bytes().into()).collect(),
            secret: raw.secret,
            is_code: false,
            only_with: raw.only_with,
            certainty: raw.certainty,
            levels: [raw.severity.unwrap_or(raw.certainty.level()); 4],
            key: raw.key,
        })
    }

    fn one_date(&self, span: &Range<usize>, raw: RawDate) -> Result<DateGroup, TableError> {
        let digits = match (&raw.ymd, &raw.yy, &raw.mm) {
            (Some(ymd), None, None) => DateDigits::Day(self.field(span, ymd)?),
            (None, Some(yy), Some(mm)) => DateDigits::Month(self.field(span, yy)?, self.field(span, mm)?),
            _ => {
                return Err(
                    self.error(span.clone(), format!("date {:?}: give `ymd`, or `yy` and `mm`", raw.key))
                );
            }
        };
        Ok(DateGroup {
            era: self.field(span, &raw.era)?,
            digits,
            name: Text::new(raw.ja, raw.en),
            certainty: raw.certainty,
            level: raw.severity.unwrap_or(raw.certainty.level()),
            key: raw.key,
        })
    }

    fn one_rule(
        &self,
        span: &Range<usize>,
        raw: RawRule,
        code: &str,
        source: &str,
        dates: &[DateGroup],
    ) -> Result<RecordRule, TableError> {
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-';
        if !raw.id.starts_with(&format!("{code}-")) || !raw.id.bytes().all(plain) {
            return Err(self.error(
                span.clone(),
                format!("rule id {:?}: use {code}-NAME with upper-case letters, digits and '-'", raw.id),
            ));
        }
        let when = raw.when.map(|when| self.when(span, when)).transpose()?;
        let (check, points_to) = self.check(span, raw.check, dates)?;
        let at = raw.at.map_or(Ok(points_to), |at| self.field(span, &at))?;
        Ok(RecordRule {
            id: raw.id,
            level: raw.severity.unwrap_or(raw.certainty.level()),
            certainty: raw.certainty,
            source: raw.source.unwrap_or_else(|| source.to_owned()),
            message: Text::new(raw.ja, raw.en),
            action: Text::new(raw.do_ja, raw.do_en),
            when,
            check,
            at,
        })
    }

    fn when(&self, span: &Range<usize>, raw: RawWhen) -> Result<When, TableError> {
        let field = self.field(span, &raw.field)?;
        let test = match (raw.filled, raw.is, raw.not) {
            (Some(filled), None, None) => Test::Filled(filled),
            (None, Some(values), None) => Test::Is(bytes(values)),
            (None, None, Some(values)) => Test::Not(bytes(values)),
            _ => {
                return Err(self.error(
                    span.clone(),
                    "when: give one of `filled = true|false`, `is = [..]`, `not = [..]`",
                ));
            }
        };
        Ok(When { field, test })
    }

    /// The check and the field it points to.
    fn check(
        &self,
        span: &Range<usize>,
        raw: RawCheck,
        dates: &[DateGroup],
    ) -> Result<(Check, usize), TableError> {
        let of_date = |date: usize| match dates[date].digits {
            DateDigits::Day(ymd) => ymd,
            DateDigits::Month(_, mm) => mm,
        };
        let positive = |name: &str, n: i64| {
            if n > 0 {
                Ok(n)
            } else {
                Err(self.error(span.clone(), format!("{name} = {n}: must be 1 or more")))
            }
        };
        Ok(match raw {
            RawCheck::Sum { parts, total, unit } => {
                let total = self.field(span, &total)?;
                (
                    Check::Sum { parts: self.fields(span, &parts)?, total, unit: positive("unit", unit)? },
                    total,
                )
            }
            RawCheck::Mean { total, mean, divisor } => {
                let (total, mean) = (self.field(span, &total)?, self.field(span, &mean)?);
                (Check::Mean { total, mean, divisor: positive("divisor", divisor)? }, mean)
            }
            RawCheck::QualifyingMean { days, totals, total, mean, short_time, part_time } => {
                let mean = self.field(span, &mean)?;
                let check = Check::QualifyingMean {
                    days: self.three(span, &days)?,
                    totals: self.three(span, &totals)?,
                    total: self.field(span, &total)?,
                    mean,
                    short_time: self.field(span, &short_time)?,
                    part_time: self.field(span, &part_time)?,
                };
                (check, mean)
            }
            RawCheck::NotFuture { date } => {
                let date = self.date(span, &date)?;
                (Check::NotFuture { date }, of_date(date))
            }
            RawCheck::After { date, than } => {
                let date = self.date(span, &date)?;
                (Check::After { date, than: self.date(span, &than)? }, of_date(date))
            }
            RawCheck::DaysAfter { date, than, days } => {
                let date = self.date(span, &date)?;
                (Check::DaysAfter { date, than: self.date(span, &than)?, days }, of_date(date))
            }
            RawCheck::Age { birth, on, years } => {
                let birth = self.date(span, &birth)?;
                (Check::Age { birth, on: self.date(span, &on)?, years }, of_date(birth))
            }
            RawCheck::Required { fields } => {
                let fields = self.fields(span, &fields)?;
                let at = fields[0];
                (Check::Required { fields }, at)
            }
            RawCheck::Blank { fields } => {
                let fields = self.fields(span, &fields)?;
                let at = fields[0];
                (Check::Blank { fields }, at)
            }
            RawCheck::Range { fields, from, to } => {
                let fields = self.fields(span, &fields)?;
                let at = fields[0];
                (Check::Range { fields, from, to }, at)
            }
            RawCheck::Months { months, next } => {
                let next = self.field(span, &next)?;
                (Check::Months { months: self.fields(span, &months)?, next }, next)
            }
            RawCheck::Values { field, values } => {
                let field = self.field(span, &field)?;
                (Check::Values { field, values: bytes(values) }, field)
            }
            RawCheck::OneBlank { field } => {
                let field = self.field(span, &field)?;
                (Check::OneBlank { field }, field)
            }
        })
    }
}

fn bytes(values: Vec<String>) -> Vec<Box<[u8]>> {
    values.into_iter().map(|value| value.into_bytes().into()).collect()
}
