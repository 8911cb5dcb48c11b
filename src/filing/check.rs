//! The check: a file read once, line by line, in bounded memory.

use std::collections::BTreeSet;
use std::io::{self, Read};

use chrono::NaiveDate;

use super::catalog::{Rule, fill};
use super::cp932;
use super::encoding::{self, Encoding};
use super::era::EraError;
use super::findings::Findings;
use super::level::Level;
use super::lines::{Ending, LINE_MAX, Line, Lines};
use super::masked::masked;
use super::record::{self, Broken, Odd, Record, Span};
use super::rules::RuleSet;
use super::tables::{Class, FieldRule, Form, Profile, RecordRule};
use super::twins::Twins;
use super::words;
use crate::model::finding::{Finding, Text};
use crate::model::ids::OfficeCode;

/// The only name of a filing.
pub const FILING_NAME: &str = "KPFD0006.CSV";
/// Most offices that one medium holds.
pub(super) const OFFICES_MAX: usize = 999;
/// Most fields of which the places are kept; any more only count.
const SPANS_MAX: usize = 1024;

/// Forms that exist and that no table describes yet (KPFD.md): they are not taken, which is another thing than not known.
pub(super) const NOT_YET: [(&str, &str, &str); 1] = [("2202700", "被扶養者異動届", "Change of dependants")];

fn code_name() -> Text {
    Text::new("届書コード", "form code")
}

/// What the check is told about the world.
#[derive(Debug, Clone)]
pub struct Context {
    /// The day on which dates are judged, in the insurer's time zone.
    pub today: NaiveDate,
    /// The offices that the account may act for (K8 E13); none: any (offline check).
    pub account_offices: Option<BTreeSet<OfficeCode>>,
    /// `# office:` of the manifest.
    pub office: Option<OfficeCode>,
    /// The file's name in findings.
    pub file: Option<String>,
    /// Which family of files it is.
    pub profile: Profile,
}

impl Context {
    /// An offline check on this day: any office, KPFD.
    pub fn on(today: NaiveDate) -> Self {
        let file = Some(FILING_NAME.to_owned());
        Self { today, account_offices: None, office: None, file, profile: Profile::Kpfd }
    }
}

/// How many records of a form there were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormCount {
    /// The form's code.
    pub code: String,
    /// Its name.
    pub name: Text,
    /// Records.
    pub count: u64,
}

/// What the file was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The first office record's number.
    pub office: Option<OfficeCode>,
    /// All offices, in the file's order.
    pub offices: Vec<OfficeCode>,
    /// Offices that records name beside them.
    pub record_offices: Vec<OfficeCode>,
    /// Records per form, by code.
    pub forms: Vec<FormCount>,
    /// Data records, those of unknown forms included.
    pub records: u64,
    /// Those of them that were not checked: of unknown or refused forms, cut short, unreadable.
    pub unchecked: u64,
    /// Bytes read; all of the file's unless the encoding was not CP932.
    pub bytes: u64,
}

/// What identifies one record's event (K53): for an expiring keyed hash, never to be stored as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKey<'a> {
    /// The line, from 1.
    pub line: u64,
    /// The form's code.
    pub form: &'a str,
    /// The office: the record's where the file has an office record of it, else that of the first; CP932.
    pub office: &'a [u8],
    /// The insured's number, often blank.
    pub insured: &'a [u8],
    /// The name in half-width kana; CP932.
    pub kana: &'a [u8],
    /// The date of birth.
    pub birth: Option<NaiveDate>,
    /// The date (or month's first day) of the event.
    pub event: Option<NaiveDate>,
}

/// Checks a filing. Errors are the reader's own; whatever the bytes are gives findings.
pub fn check(
    reader: impl Read,
    rules: &RuleSet,
    context: &Context,
    sink: &mut Findings,
) -> io::Result<Summary> {
    check_observed(reader, rules, context, sink, &mut |_| {})
}

/// The same, and tells each record's key.
pub fn check_observed(
    reader: impl Read,
    rules: &RuleSet,
    context: &Context,
    sink: &mut Findings,
    observe: &mut dyn FnMut(&RecordKey<'_>),
) -> io::Result<Summary> {
    let mut lines = Lines::new(reader)?;
    let mut checker = Checker::new(rules, context, sink, observe);
    if checker.encoding(lines.head()) {
        while let Some(line) = lines.next()? {
            checker.line(&line, lines.get(&line));
            if lines.bytes > rules.policy().filing_bytes_max && context.profile == Profile::Kpfd {
                checker.over_size = true;
            }
        }
        checker.end(lines.bytes);
    }
    checker.summary.bytes = lines.bytes;
    Ok(checker.finish())
}

/// Which line is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Media,
    Kanri,
    Agent,
    Office,
    Data,
}

pub(super) struct Checker<'a> {
    pub(super) rules: &'a RuleSet,
    pub(super) context: &'a Context,
    sink: &'a mut Findings,
    pub(super) observe: &'a mut dyn FnMut(&RecordKey<'_>),
    pub(super) expect: Expect,
    pub(super) line: u64,
    pub(super) said: BTreeSet<Rule>,
    spans: Vec<Span>,
    pub(super) fields: usize,
    unquoted: Vec<u8>,
    dates: Vec<Option<NaiveDate>>,
    last_form: usize,
    counts: Vec<u64>,
    pub(super) stated_offices: Option<(u64, String)>,
    pub(super) offices: usize,
    pub(super) claims: super::claims::Claims,
    over_size: bool,
    /// The media record's office number.
    pub(super) media_office: Vec<u8>,
    pub(super) twins: Twins,
    /// The present line has no end: the file ends in it.
    unended: bool,
    cut_off: bool,
    pub(super) summary: Summary,
}

/// Where a finding is.
#[derive(Default)]
pub(super) struct Place {
    pub(super) form: Option<String>,
    pub(super) field: Option<u32>,
    pub(super) field_name: Option<Text>,
    pub(super) insured: Option<String>,
    pub(super) value: Option<String>,
    pub(super) column: Option<u32>,
}

impl<'a> Checker<'a> {
    fn new(
        rules: &'a RuleSet,
        context: &'a Context,
        sink: &'a mut Findings,
        observe: &'a mut dyn FnMut(&RecordKey<'_>),
    ) -> Self {
        Self {
            rules,
            context,
            sink,
            observe,
            expect: Expect::Media,
            line: 0,
            said: BTreeSet::new(),
            spans: vec![Span::begin(0); SPANS_MAX],
            fields: 0,
            unquoted: Vec::new(),
            dates: Vec::new(),
            last_form: 0,
            counts: vec![0; rules.all_forms().len()],
            stated_offices: None,
            offices: 0,
            claims: super::claims::Claims::default(),
            over_size: false,
            media_office: Vec::new(),
            twins: Twins::default(),
            unended: false,
            cut_off: false,
            summary: Summary::default(),
        }
    }

    /// Reports a rule of the catalog at the present line.
    #[cold]
    pub(super) fn report(&mut self, rule: Rule, args: &[&str], place: Place) {
        self.report_in_both(rule, args, args, place);
    }

    /// The same where what is filled in depends on the language.
    #[cold]
    pub(super) fn report_in_both(&mut self, rule: Rule, ja: &[&str], en: &[&str], place: Place) {
        let (level, line) = (self.rules.level(rule), (self.line > 0).then_some(self.line));
        let file = self.context.file.clone();
        let Some(severity) = level.severity() else { return };
        let def = rule.def();
        self.sink.push(severity, || Finding {
            severity,
            rule: def.id.to_owned(),
            file,
            line,
            form: place.form,
            field: place.field,
            field_name: place.field_name,
            insured: place.insured,
            value: place.value,
            column: place.column,
            message: Text::new(fill(def.ja, ja), fill(def.en, en)),
            action: Text::new(fill(def.do_ja, ja), fill(def.do_en, en)),
        });
    }

    #[cold]
    pub(super) fn report_once(&mut self, rule: Rule, args: &[&str]) {
        if self.said.insert(rule) {
            self.report(rule, args, Place::default());
        }
    }

    /// Whether the file can be read as CP932 at all.
    fn encoding(&mut self, head: &[u8]) -> bool {
        let rule = if head.is_empty() {
            Rule::Empty
        } else if head.starts_with(b"\xef\xbb\xbf") {
            Rule::Bom
        } else if looks_utf16(head) {
            Rule::Utf16
        } else {
            match encoding::of(head) {
                Encoding::Cp932 => return true,
                Encoding::Utf8 => Rule::Utf8,
                Encoding::EucJp => Rule::EucJp,
                Encoding::Iso2022Jp => Rule::Iso2022Jp,
            }
        };
        self.report(rule, &[], Place::default());
        false
    }

    fn line(&mut self, line: &Line, mut bytes: &[u8]) {
        self.line += 1;
        if bytes == b"\x1a" || line.ending == Ending::Eof && bytes.ends_with(b"\x1a") {
            self.report_once(Rule::EofMark, &[]);
            bytes = bytes.strip_suffix(b"\x1a").unwrap_or(bytes);
            if bytes.is_empty() {
                return;
            }
        }
        if line.ending == Ending::Lf {
            self.report_once(Rule::LfOnly, &[]);
        }
        self.unended = line.ending == Ending::Eof;
        if self.unended {
            // Cut between CR and LF.
            bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        }
        self.whole_line(line.too_long, bytes);
        if self.unended && !self.cut_off {
            self.report_once(Rule::LastCrlf, &[]);
        }
    }

    fn whole_line(&mut self, too_long: bool, bytes: &[u8]) {
        if too_long {
            self.report(Rule::LineLength, &[&LINE_MAX.to_string()], Place::default());
            self.step_over();
            return;
        }
        if is_blank(bytes) {
            self.report(Rule::BlankLine, &[], Place::default());
            return;
        }
        if memchr::memchr(b'"', bytes).is_some() {
            let mut unquoted = std::mem::take(&mut self.unquoted);
            match self.unquote(bytes, &mut unquoted) {
                Ok(()) => {
                    self.report_once(Rule::Quoted, &[]);
                    self.split_line(&unquoted);
                }
                Err((field, column)) => {
                    let place = self.place_in(bytes, field);
                    // The mark alone: what stands around it may be an individual number in two pieces.
                    let place = Place { column: Some(column), value: Some("\"".into()), ..place };
                    self.report(Rule::LoneQuote, &[], place);
                    self.step_over();
                }
            }
            self.unquoted = unquoted;
            return;
        }
        self.split(bytes);
        self.split_line(bytes);
    }

    /// Cuts at commas. Fields are a few bytes long: a plain loop is faster here than a vectorised search.
    #[allow(clippy::cast_possible_truncation, reason = "a line is at most LINE_MAX bytes")]
    fn split(&mut self, bytes: &[u8]) {
        let (mut fields, mut span) = (0, Span::begin(0));
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b',' {
                span.to = at as u32;
                self.keep(fields, span);
                fields += 1;
                span = Span::begin(at as u32 + 1);
            } else {
                span.classes &= record::classes_of(*byte);
            }
        }
        span.to = bytes.len() as u32;
        self.keep(fields, span);
        self.fields = fields + 1;
    }

    /// Keeps where a field is, unless there are too many.
    fn keep(&mut self, field: usize, span: Span) {
        if let Some(kept) = self.spans.get_mut(field) {
            *kept = span;
        }
    }

    /// A line that cannot be read still takes its place among the first five.
    fn step_over(&mut self) {
        self.expect = match self.expect {
            Expect::Media => Expect::Kanri,
            Expect::Kanri => Expect::Agent,
            Expect::Agent | Expect::Office => Expect::Office,
            Expect::Data => {
                self.summary.records += 1;
                self.summary.unchecked += 1;
                Expect::Data
            }
        };
    }

    /// Takes quotation marks off; where one has no partner, says in which field, from 1, and at which character of it.
    fn unquote(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), (usize, u32)> {
        out.clear();
        self.fields = 0;
        let mut rest = line;
        loop {
            let (from, field) = (out.len(), rest);
            self.fields += 1;
            let column = |at: usize| u32::try_from(cp932::chars(&field[..at]) + 1).unwrap_or(u32::MAX);
            let after = if let Some(mut quoted) = rest.strip_prefix(b"\"") {
                loop {
                    let Some(at) = memchr::memchr(b'"', quoted) else { return Err((self.fields, 1)) };
                    out.extend_from_slice(&quoted[..at]);
                    quoted = &quoted[at + 1..];
                    let Some(more) = quoted.strip_prefix(b"\"") else { break };
                    out.push(b'"');
                    quoted = more;
                }
                quoted
            } else {
                let to = memchr::memchr(b',', rest).unwrap_or(rest.len());
                if let Some(at) = memchr::memchr(b'"', &rest[..to]) {
                    return Err((self.fields, column(at)));
                }
                out.extend_from_slice(&rest[..to]);
                &rest[to..]
            };
            #[allow(clippy::cast_possible_truncation, reason = "a line is at most LINE_MAX bytes")]
            let (from, to, classes) = (from as u32, out.len() as u32, record::classes_of_all(&out[from..]));
            self.keep(self.fields - 1, Span { from, to, classes });
            match after {
                [] => return Ok(()),
                [b',', more @ ..] => rest = more,
                // Something follows the mark that should have ended the field.
                _ => return Err((self.fields, column(field.len() - after.len() - 1))),
            }
        }
    }

    fn split_line(&mut self, bytes: &[u8]) {
        let spans = std::mem::take(&mut self.spans);
        let kept = &spans[..self.fields.min(SPANS_MAX)];
        let record = Record { line: bytes, spans: kept, places: &[] };
        match self.context.profile {
            Profile::Kpfd => {
                if self.line == 1 {
                    record.at(0).clone_into(&mut self.media_office);
                }
                self.kpfd(record);
            }
            Profile::Claims => self.claims(record),
        }
        self.spans = spans;
    }

    /// Characters of a value that no table describes.
    pub(super) fn text(&mut self, value: &[u8], place: &dyn Fn() -> Place) {
        if record::plain(Class::Text, value).is_none() {
            self.odd(Class::Text, value, &mut |_, _, _| {}, place);
        }
    }

    /// Reports what is remarkable about a value's characters; what is only outside the class is told to `class`, once.
    #[cold]
    fn odd(
        &mut self,
        class: Class,
        value: &[u8],
        of_class: &mut dyn FnMut(&mut Self, u32, &[u8]),
        place: &dyn Fn() -> Place,
    ) {
        let mut told = BTreeSet::new();
        record::oddities(class, value, |odd, column, bytes| {
            let rule = match odd {
                Odd::Control => Rule::Control,
                Odd::Cp932 => Rule::Cp932,
                Odd::Gaiji => Rule::Gaiji,
                Odd::OldKanji => Rule::OldKanji,
                Odd::Class => {
                    if told.insert(None) {
                        of_class(self, column, bytes);
                    }
                    return;
                }
            };
            // Each old-form character once, other damage once for the field.
            if odd == Odd::OldKanji || told.insert(Some(rule)) {
                let character = shown_char(odd, bytes);
                let place = Place { column: Some(column), value: Some(character.clone()), ..place() };
                self.report(rule, &[&character], place);
            }
        });
    }

    pub(super) fn data(&mut self, record: Record<'_>) {
        self.summary.records += 1;
        let code = record.at(0);
        let forms = self.rules.all_forms();
        let same = |form: &Form| form.profile == Profile::Kpfd && form.code.as_bytes() == code;
        let at = if forms.get(self.last_form).is_some_and(same) {
            self.last_form
        } else if let Some(at) = forms.iter().position(same) {
            self.last_form = at;
            at
        } else {
            self.summary.unchecked += 1;
            return self.unknown_form(code);
        };
        self.counts[at] += 1;
        let form = &forms[at];
        if !self.rules.takes(form) {
            self.summary.unchecked += 1;
            let (ja, en) = self.rules.taken();
            let place = Place {
                form: Some(form.code.clone()),
                field: Some(1),
                field_name: Some(code_name()),
                ..Place::default()
            };
            let names =
                (format!("{} {}", form.code, form.name.ja), format!("{} {}", form.code, form.name.en));
            return self.report_in_both(Rule::FormRefused, &[&names.0, &ja], &[&names.1, &en], place);
        }
        self.record(form, record);
    }

    #[cold]
    fn unknown_form(&mut self, code: &[u8]) {
        // The file ends within the code.
        let begins = |form: &Form| form.code.as_bytes().starts_with(code);
        if self.unended && self.fields == 1 && self.rules.forms(Profile::Kpfd).any(begins) {
            return self.cut_off();
        }
        let not_yet = NOT_YET.iter().find(|(other, ..)| other.as_bytes() == code);
        if let Some((code, ja_name, en_name)) = not_yet {
            let (ja, en) = self.rules.taken();
            let names = (format!("{code} {ja_name}"), format!("{code} {en_name}"));
            let place = Place {
                field: Some(1),
                field_name: Some(code_name()),
                value: Some((*code).into()),
                ..Place::default()
            };
            return self.report_in_both(Rule::FormRefused, &[&names.0, &ja], &[&names.1, &en], place);
        }
        let old = self
            .rules
            .forms(Profile::Kpfd)
            .any(|form| form.older.iter().any(|older| older.as_bytes() == code));
        let (shown, (ja, en)) = (shown(code), self.rules.taken());
        let rule = if old { Rule::FormOld } else { Rule::FormUnknown };
        let place = Place {
            field: Some(1),
            field_name: Some(code_name()),
            value: Some(shown.clone()),
            ..Place::default()
        };
        self.report_in_both(rule, &[&shown, &ja], &[&shown, &en], place);
    }

    /// One record against its form.
    pub(super) fn record(&mut self, form: &'a Form, record: Record<'_>) {
        let Some(layout) = form.layout(self.fields) else {
            self.summary.unchecked += 1;
            return self.record_short(form);
        };
        let exact = layout.count == self.fields;
        if !(form.counts.contains(&layout.count) && (exact || form.open_ended)) {
            self.field_count(form);
        }
        let leading = (!exact && !form.open_ended).then(|| form.leading(layout));
        let record = Record { places: leading.as_ref().unwrap_or(&layout.places), ..record };
        for field in layout.doubtful(&record) {
            self.field(form, &record, field);
        }
        if form.open_ended {
            for at in form.fields.len()..record.spans.len() {
                let place = || Place {
                    form: Some(form.code.clone()),
                    field: u32::try_from(at + 1).ok(),
                    ..Place::default()
                };
                self.text(record.at(at), &place);
            }
        }
        let mut dates = std::mem::take(&mut self.dates);
        record::dates(form, &record, &mut dates, |date, why| self.date_finding(form, &record, date, why));
        for rule in &form.rules {
            if rule.level != Level::Off
                && record::applies(rule.when.as_ref(), &record)
                && let Err(broken) = record::ask(&rule.check, &record, &dates, self.context.today)
            {
                self.rule_finding(form, &record, rule, &broken);
            }
        }
        let in_file = self.record_office(form, &record);
        self.tell_key(form, &record, &dates, in_file);
        self.dates = dates;
    }

    /// One field against its rules.
    fn field(&mut self, form: &'a Form, record: &Record<'_>, at: usize) {
        let Some(position) = record.places[at] else { return };
        let (field, value) = (&form.fields[at], record.at(position));
        if value.is_empty() {
            if field.required {
                self.field_finding(form, record, at, FieldRule::Required, None);
            }
            return;
        }
        let chars = record::plain(field.class, value);
        if chars.is_none() {
            self.odd_field(form, record, at);
        }
        // What is no number has no number of digits.
        let no_digits = chars.is_none() && field.class == Class::Digits;
        if !no_digits && record::length_is_wrong(field, value, chars) {
            self.field_finding(form, record, at, FieldRule::Length, None);
        } else if chars.is_some() && !field.takes(value) {
            self.field_finding(form, record, at, FieldRule::Value, None);
        }
    }

    /// Fewer fields than any layout has: which is which cannot be told, whatever is known of other layouts.
    #[cold]
    fn record_short(&mut self, form: &Form) {
        if self.unended {
            return self.cut_off();
        }
        let level = self.rules.level(Rule::RecordShort);
        self.count_finding(form, Rule::RecordShort, level);
    }

    #[cold]
    fn cut_off(&mut self) {
        self.cut_off = true;
        self.report(Rule::CutOff, &[], Place::default());
    }

    /// More fields than the form has, or a layout that this insurer does not take.
    #[cold]
    fn field_count(&mut self, form: &Form) {
        let level = self.rules.stated(Rule::FieldCount).unwrap_or(form.counts_level);
        self.count_finding(form, Rule::FieldCount, level);
    }

    fn count_finding(&mut self, form: &Form, rule: Rule, level: Level) {
        let Some(severity) = level.severity() else { return };
        let counts: Vec<String> = form.counts.iter().map(ToString::to_string).collect();
        let counts = counts.join(" / ") + if form.open_ended { "+" } else { "" };
        let fields = self.fields.to_string();
        let (line, file) = (self.line, self.context.file.clone());
        let (def, args) = (rule.def(), [fields.as_str(), counts.as_str()]);
        let place = Place { form: Some(form.code.clone()), ..Place::default() };
        let message = Text::new(fill(def.ja, &args), fill(def.en, &args));
        let action = Text::new(def.do_ja, def.do_en);
        self.sink.push(severity, || finding(severity, def.id.into(), file, line, place, message, action));
    }

    /// Where a field's finding is; the value is left out where it is secret.
    pub(super) fn place(form: &Form, record: &Record<'_>, field: Option<usize>) -> Place {
        let insured =
            form.insured.map(|at| record.get(at)).filter(|value| !value.is_empty() && value.len() <= 6);
        let named = field.map(|at| &form.fields[at]);
        let position = field.and_then(|at| record.places[at]).and_then(|at| u32::try_from(at + 1).ok());
        let value = field.map(|at| record.get(at)).filter(|value| !value.is_empty());
        Place {
            form: Some(form.code.clone()),
            field: position,
            field_name: named.map(|field| field.name.clone()),
            insured: insured.map(shown),
            value: value.filter(|_| named.is_some_and(|field| !field.secret)).map(shown),
            column: None,
        }
    }

    #[cold]
    fn odd_field(&mut self, form: &'a Form, record: &Record<'_>, field: usize) {
        let of_form = &form.fields[field];
        let secret = of_form.secret;
        let mut of_class = |this: &mut Self, column: u32, bytes: &[u8]| {
            let character = (!secret).then(|| shown(bytes));
            this.field_finding(form, record, field, FieldRule::Chars, Some((column, character)));
        };
        self.odd(of_form.class, record.get(field), &mut of_class, &|| Self::place(form, record, Some(field)));
    }

    #[cold]
    fn field_finding(
        &mut self,
        form: &Form,
        record: &Record<'_>,
        field: usize,
        rule: FieldRule,
        character: Option<(u32, Option<String>)>,
    ) {
        let of_form = &form.fields[field];
        let Some(severity) = of_form.levels[rule as usize].severity() else { return };
        let (line, file) = (self.line, self.context.file.clone());
        self.sink.push(severity, || {
            let mut place = Self::place(form, record, Some(field));
            let character = character.map(|(column, character)| {
                place.column = Some(column);
                character
            });
            let (message, action) =
                words::field(of_form, rule, record.get(field), character.flatten().as_deref());
            finding(severity, form.field_rule_id(of_form, rule), file, line, place, message, action)
        });
    }

    #[cold]
    fn date_finding(&mut self, form: &Form, record: &Record<'_>, date: usize, why: EraError) {
        let group = &form.dates[date];
        let Some(severity) = group.level.severity() else { return };
        let (line, file) = (self.line, self.context.file.clone());
        self.sink.push(severity, || {
            let (at, digits) = words::date_digits(group, record);
            let mut place = Self::place(form, record, Some(at));
            place.value = Some(shown(&digits));
            place.field_name = Some(group.name.clone());
            let (message, action) = words::date(group, why, record);
            finding(severity, form.date_rule_id(group), file, line, place, message, action)
        });
    }

    #[cold]
    fn rule_finding(&mut self, form: &Form, record: &Record<'_>, rule: &RecordRule, broken: &Broken) {
        let Some(severity) = rule.level.severity() else { return };
        let (line, file) = (self.line, self.context.file.clone());
        self.sink.push(severity, || {
            let (message, action, at) = words::rule(form, rule, broken, record);
            let place = Self::place(form, record, Some(at));
            finding(severity, rule.id.clone(), file, line, place, message, action)
        });
    }

    fn end(&mut self, bytes: u64) {
        match self.context.profile {
            Profile::Kpfd => {
                self.media_office();
                if self.expect != Expect::Data {
                    self.report(Rule::DataMark, &[], Place::default());
                } else if self.summary.records == 0 {
                    self.report(Rule::NoRecords, &[], Place::default());
                }
                if self.over_size {
                    let most = self.rules.policy().filing_bytes_max.to_string();
                    self.line = 0;
                    self.report(Rule::Size, &[&bytes.to_string(), &most], Place::default());
                }
            }
            Profile::Claims => self.claims_end(),
        }
    }

    pub(super) fn count_claims(&mut self, form: &Form) {
        self.summary.records += u64::from(form.code == "2");
        if let Some(at) = self.rules.all_forms().iter().position(|other| std::ptr::eq(other, form)) {
            self.counts[at] += 1;
        }
    }

    fn finish(mut self) -> Summary {
        let counts = self.rules.all_forms().iter().zip(&self.counts).filter(|(_, count)| **count > 0);
        self.summary.forms = counts
            .map(|(form, count)| FormCount {
                code: form.code.clone(),
                name: form.name.clone(),
                count: *count,
            })
            .collect();
        self.summary.office = self.summary.offices.first().cloned();
        self.summary
    }
}

fn finding(
    severity: crate::model::finding::Severity,
    rule: String,
    file: Option<String>,
    line: u64,
    place: Place,
    message: Text,
    action: Text,
) -> Finding {
    Finding {
        severity,
        rule,
        file,
        line: Some(line),
        form: place.form,
        field: place.field,
        field_name: place.field_name,
        insured: place.insured,
        value: place.value,
        column: place.column,
        message,
        action,
    }
}

/// Nothing but blanks, also two-byte ones.
fn is_blank(mut line: &[u8]) -> bool {
    loop {
        line = match line {
            [] => return true,
            [b' ' | b'\t', rest @ ..] | [0x81, 0x40, rest @ ..] => rest,
            _ => return false,
        }
    }
}

fn looks_utf16(head: &[u8]) -> bool {
    let zeros = |from: usize| head.len() >= 8 && head.iter().take(16).skip(from).step_by(2).all(|b| *b == 0);
    head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") || zeros(0) || zeros(1)
}

/// ASCII as text.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii())
}

/// A value for a finding: decoded, cut, escaped, and without individual numbers, since a record whose fields have moved shows
/// one where another value should be (K54).
pub(super) fn shown(bytes: &[u8]) -> String {
    let decoded = cp932::decode(&bytes[..bytes.len().min(400)]);
    crate::model::escape::excerpt(&masked(&decoded), 60)
}

fn shown_char(odd: Odd, bytes: &[u8]) -> String {
    match odd {
        Odd::OldKanji => shown(bytes),
        _ => bytes.iter().map(|b| format!("0x{b:02X}")).collect::<Vec<_>>().join(" "),
    }
}
