//! Reads a rule table and checks it: every error names file, line, key and what is allowed.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::layout::Layout;
use super::level::{Certainty, Level};
use super::record;
use super::tables::{
    Check, Class, DateDigits, DateGroup, Field, Form, Profile, RecordRule, TableError, Test, When, digits_bit,
};
use crate::model::finding::Text;

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
    older: Vec<Spanned<String>>,
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
    hint_ja: Option<String>,
    #[serde(default)]
    hint_en: Option<String>,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    only_with: Option<usize>,
    #[serde(default)]
    severity: Option<Level>,
    certainty: Certainty,
    #[serde(default)]
    source: Option<String>,
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
    Month {
        field: String,
    },
    Months {
        months: Vec<String>,
        next: String,
    },
    Values {
        field: String,
        values: Vec<String>,
    },
    Excluded {
        field: String,
        values: Vec<String>,
    },
    OneBlank {
        field: String,
    },
}

/// Most fields of a form; far above what any form has.
const FIELDS_MAX: usize = 500;
/// Longest span between two dates, and highest age, that a rule can ask for.
const DAYS_MAX: i64 = 36_525;
const YEARS_MAX: i32 = 150;

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
        let mut spans = Vec::with_capacity(raw.field.len());
        for (i, field) in raw.field.into_iter().enumerate() {
            let span = field.span();
            spans.push(span.clone());
            if self.fields.insert(field.get_ref().key.clone(), i).is_some() {
                return Err(self.error(span, format!("field {:?} stands twice", field.get_ref().key)));
            }
            fields.push(self.one_field(&span, field.into_inner(), &raw.source)?);
        }
        self.words(&raw.code.span(), "the form", [&raw.ja, &raw.en])?;
        if fields[0].values.len() != 1 || *fields[0].values[0] != *code.as_bytes() {
            let reason = format!("the first field holds the form's code: write values = [{code:?}]");
            return Err(self.error(spans[0].clone(), reason));
        }
        fields[0].is_code = true;
        let older = self.older(raw.older, &code)?;
        let layouts = self.layouts(&raw.counts, &fields)?;
        for (field, span) in fields.iter().zip(&spans) {
            if let Some(with) = field.only_with.filter(|with| !raw.counts.get_ref().contains(with)) {
                let reason = format!("only_with of {:?}: {with} is none of `counts`", field.key);
                return Err(self.error(span.clone(), reason));
            }
        }
        let prefix = raw.profile.prefix(&code);
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
            let id = rule.get_ref().id.clone();
            let rule = self
                .one_rule(&span, rule.into_inner(), &prefix, &raw.source, (&fields, &dates))
                .map_err(|error| {
                    // The line is that of [[rule]]: the id says which.
                    TableError { reason: format!("rule {id:?}: {}", error.reason), ..error }
                })?;
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
            counts: layouts.iter().map(|layout| layout.count).collect(),
            counts_level: raw.counts_certainty.level(),
            open_ended: raw.open_ended,
            older,
            fields,
            dates,
            rules,
            layouts,
        };
        let mut seen = BTreeSet::new();
        for (id, _) in form.rule_ids() {
            if !seen.insert(id.clone()) {
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

    /// Texts that people read are there.
    fn words(&self, span: &Range<usize>, of: &str, texts: [&str; 2]) -> Result<(), TableError> {
        if texts.iter().any(|text| text.trim().is_empty()) {
            return Err(
                self.error(span.clone(), format!("{of} needs a text in both languages; one is blank"))
            );
        }
        Ok(())
    }

    /// Codes that are refused by name: not the form's own.
    fn older(&self, older: Vec<Spanned<String>>, code: &str) -> Result<Vec<String>, TableError> {
        for one in &older {
            let reason = match one.get_ref().as_str() {
                own if own == code => format!("older: {own:?} is this form's own code"),
                "" => "older: a code is blank".to_owned(),
                _ => continue,
            };
            return Err(self.error(one.span(), reason));
        }
        Ok(older.into_iter().map(Spanned::into_inner).collect())
    }

    /// Values that a field could hold.
    fn values<'v>(
        &self,
        span: &Range<usize>,
        field: &Field,
        what: &str,
        values: impl ExactSizeIterator<Item = &'v String>,
    ) -> Result<(), TableError> {
        let wrong = |reason: String| Err(self.error(span.clone(), format!("{what}: {reason}")));
        if values.len() == 0 {
            return wrong("the list is empty; give at least one value".to_owned());
        }
        for value in values {
            let bytes = value.as_bytes();
            if !value.is_ascii() || value.is_empty() {
                return wrong(format!("{value:?} is no value; use ASCII letters, digits and marks"));
            }
            if record::plain(field.class, bytes).is_none() {
                return wrong(format!("{value:?} does not fit the class of {:?}", field.key));
            }
            if record::length_is_wrong(field, bytes, Some(bytes.len())) {
                return wrong(format!(
                    "{value:?} does not fit the length of {:?} (`bytes`, `chars_max`)",
                    field.key
                ));
            }
        }
        Ok(())
    }

    /// A field whose value is read as a number.
    fn numeric(&self, span: &Range<usize>, fields: &[Field], at: &[usize]) -> Result<(), TableError> {
        let odd = at.iter().map(|at| &fields[*at]).find(|f| !matches!(f.class, Class::Digits | Class::Alnum));
        odd.map_or(Ok(()), |field| {
            let reason = format!("{:?} holds no numbers: its class is neither digits nor alnum", field.key);
            Err(self.error(span.clone(), reason))
        })
    }

    fn layouts(&self, counts: &Spanned<Vec<usize>>, fields: &[Field]) -> Result<Vec<Layout>, TableError> {
        let mut layouts = Vec::new();
        for &count in counts.get_ref() {
            let mut next = 0;
            let places: Vec<_> = fields
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
            layouts.push(Layout::new(count, places, fields));
        }
        layouts.sort_by_key(|layout| layout.count);
        if layouts.is_empty() {
            return Err(self.error(counts.span(), "counts: give at least one number of fields"));
        }
        Ok(layouts)
    }

    fn one_field(&self, span: &Range<usize>, raw: RawField, source: &str) -> Result<Field, TableError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if raw.key.is_empty() || !raw.key.bytes().all(plain) {
            return Err(self
                .error(span.clone(), format!("key {:?}: use lower-case letters, digits and '_'", raw.key)));
        }
        let bytes = raw.bytes.unwrap_or((0, usize::MAX));
        if bytes.0 > bytes.1 || bytes.1 == 0 {
            return Err(self.error(span.clone(), format!("bytes of {:?}: write [fewest, most]", raw.key)));
        }
        if raw.chars_max == Some(0) {
            let reason = format!("chars_max of {:?}: must be 1 or more", raw.key);
            return Err(self.error(span.clone(), reason));
        }
        self.words(span, &format!("field {:?}", raw.key), [&raw.ja, &raw.en])?;
        let hint = match (raw.hint_ja, raw.hint_en) {
            (None, None) => None,
            (Some(ja), Some(en)) => Some(Text::new(ja, en)),
            _ => {
                return Err(
                    self.error(span.clone(), format!("hint of {:?}: give `hint_ja` and `hint_en`", raw.key))
                );
            }
        };
        let values = raw.values.clone();
        let field = Field {
            name: Text::new(raw.ja, raw.en),
            hint,
            required: raw.required,
            class: raw.class,
            bytes,
            chars_max: raw.chars_max,
            value_bits: (!raw.values.is_empty())
                .then(|| {
                    raw.values
                        .iter()
                        .try_fold(0, |bits, v| digits_bit(v.as_bytes()).map(|bit| bits | 1_u128 << bit))
                })
                .flatten(),
            values: raw.values.into_iter().map(|v| v.into_bytes().into()).collect(),
            secret: raw.secret,
            is_code: false,
            only_with: raw.only_with,
            certainty: raw.certainty,
            source: raw.source.unwrap_or_else(|| source.to_owned()),
            levels: [raw.severity.unwrap_or(raw.certainty.level()); 4],
            key: raw.key,
        };
        if !values.is_empty() {
            self.values(span, &field, &format!("values of {:?}", field.key), values.iter())?;
        }
        Ok(field)
    }

    fn one_date(&self, span: &Range<usize>, raw: RawDate) -> Result<DateGroup, TableError> {
        self.words(span, &format!("date {:?}", raw.key), [&raw.ja, &raw.en])?;
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
        prefix: &str,
        source: &str,
        (fields, dates): (&[Field], &[DateGroup]),
    ) -> Result<RecordRule, TableError> {
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-';
        if !raw.id.starts_with(&format!("{prefix}-")) || !raw.id.bytes().all(plain) {
            return Err(self.error(
                span.clone(),
                format!("id: use {prefix}-NAME with upper-case letters, digits and '-'"),
            ));
        }
        self.words(span, "ja and en", [&raw.ja, &raw.en])?;
        self.words(span, "do_ja and do_en", [&raw.do_ja, &raw.do_en])?;
        for text in [&raw.ja, &raw.en] {
            self.placeholders(span, &text.replace("{expected}", ""), "only {expected} is filled in")?;
        }
        for text in [&raw.do_ja, &raw.do_en] {
            self.placeholders(span, text, "nothing is filled in here")?;
        }
        let when = raw.when.map(|when| self.when(span, when, fields)).transpose()?;
        let (check, points_to) = self.check(span, raw.check, (fields, dates))?;
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

    /// What is left of a text holds no placeholder.
    fn placeholders(&self, span: &Range<usize>, rest: &str, what: &str) -> Result<(), TableError> {
        match rest.find(['{', '}']) {
            Some(at) => {
                let shown: String = rest[at..].chars().take(20).collect();
                Err(self.error(span.clone(), format!("{shown:?} in a text: {what}")))
            }
            None => Ok(()),
        }
    }

    fn when(&self, span: &Range<usize>, raw: RawWhen, fields: &[Field]) -> Result<When, TableError> {
        let field = self.field(span, &raw.field)?;
        for (word, values) in [("is", &raw.is), ("not", &raw.not)] {
            if let Some(values) = values {
                self.values(span, &fields[field], &format!("when: {word}"), values.iter())?;
            }
        }
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
    #[allow(clippy::too_many_lines, reason = "one arm for each check")]
    fn check(
        &self,
        span: &Range<usize>,
        raw: RawCheck,
        (fields, dates): (&[Field], &[DateGroup]),
    ) -> Result<(Check, usize), TableError> {
        let of_date = |date: usize| match dates[date].digits {
            DateDigits::Day(ymd) => ymd,
            DateDigits::Month(_, mm) => mm,
        };
        let numeric = |at: &[usize]| self.numeric(span, fields, at);
        let wrong = |reason: String| Err(self.error(span.clone(), reason));
        let positive = |name: &str, n: i64| {
            if n > 0 {
                Ok(n)
            } else {
                Err(self.error(span.clone(), format!("{name} = {n}: must be 1 or more")))
            }
        };
        Ok(match raw {
            RawCheck::Sum { parts, total, unit } => {
                let (parts, total) = (self.fields(span, &parts)?, self.field(span, &total)?);
                numeric(&parts)?;
                numeric(&[total])?;
                (Check::Sum { parts, total, unit: positive("unit", unit)? }, total)
            }
            RawCheck::Mean { total, mean, divisor } => {
                let (total, mean) = (self.field(span, &total)?, self.field(span, &mean)?);
                numeric(&[total, mean])?;
                (Check::Mean { total, mean, divisor: positive("divisor", divisor)? }, mean)
            }
            RawCheck::QualifyingMean { days, totals, total, mean, short_time, part_time } => {
                let (mean, total) = (self.field(span, &mean)?, self.field(span, &total)?);
                let (days, totals) = (self.three(span, &days)?, self.three(span, &totals)?);
                numeric(&[days, totals].concat())?;
                numeric(&[total, mean])?;
                let check = Check::QualifyingMean {
                    days,
                    totals,
                    total,
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
                if days.abs() > DAYS_MAX {
                    return wrong(format!("days = {days}: must be at most {DAYS_MAX} either way"));
                }
                let date = self.date(span, &date)?;
                (Check::DaysAfter { date, than: self.date(span, &than)?, days }, of_date(date))
            }
            RawCheck::Age { birth, on, years } => {
                if !(1..=YEARS_MAX).contains(&years) {
                    return wrong(format!("years = {years}: must be 1 to {YEARS_MAX}"));
                }
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
                if from > to || to < 0 {
                    return wrong(format!("range from {from} to {to}: no number lies between"));
                }
                let fields = self.fields(span, &fields)?;
                numeric(&fields)?;
                let at = fields[0];
                (Check::Range { fields, from, to }, at)
            }
            RawCheck::Month { field } => {
                let field = self.field(span, &field)?;
                (Check::Month { field }, field)
            }
            RawCheck::Months { months, next } => {
                let (months, next) = (self.fields(span, &months)?, self.field(span, &next)?);
                numeric(&months)?;
                numeric(&[next])?;
                (Check::Months { months, next }, next)
            }
            RawCheck::Values { field, values } => {
                let field = self.field(span, &field)?;
                self.values(span, &fields[field], "values", values.iter())?;
                (Check::Values { field, values: bytes(values) }, field)
            }
            RawCheck::Excluded { field, values } => {
                let field = self.field(span, &field)?;
                self.values(span, &fields[field], "values", values.iter())?;
                (Check::Excluded { field, values: bytes(values) }, field)
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
