//! Lines 1 to 5 of a KPFD file: media record, `[kanri]`, agent and count, offices, `[data]` (KPFD.md, Lines).

use chrono::NaiveDate;

use super::catalog::Rule;
use super::check::{Checker, Expect, NOT_YET, OFFICES_MAX, Place, shown, text};
use super::cp932;
use super::record::Record;
use super::tables::Profile;
use crate::model::finding::Text;
use crate::model::ids::OfficeCode;

/// The fields of a line by name, Japanese and English.
pub(super) type Names = &'static [(&'static str, &'static str)];

/// Line 1.
const MEDIA: Names = &[
    ("事業所番号", "office number"),
    ("媒体通番", "media serial"),
    ("作成年月日", "made on"),
    ("健保固有項目1", "the society's own item 1"),
    ("健保固有項目2", "the society's own item 2"),
    ("健保固有項目3", "the society's own item 3"),
    ("健保固有項目4", "the society's own item 4"),
    ("健保固有項目5", "the society's own item 5"),
];
/// Line 3.
const AGENT: Names = &[("代理人氏名", "agent's name"), ("事業所数", "number of offices")];
/// Line 4 and those after it before `[data]`.
const OFFICE: Names = &[
    ("事業所番号", "office number"),
    ("郵便番号(親番号)", "postcode 3"),
    ("郵便番号(子番号)", "postcode 4"),
    ("事業所所在地", "address"),
    ("事業所名称", "office name"),
    ("事業主氏名", "employer's name"),
    ("電話番号(市外局番)", "telephone, area"),
    ("電話番号(市内局番)", "telephone, exchange"),
    ("電話番号(加入者番号)", "telephone, number"),
];

/// A field of such a line, from 1.
fn named(line: Names, field: usize) -> Place {
    let field_name = line.get(field.wrapping_sub(1)).map(|(ja, en)| Text::new(*ja, *en));
    Place { field: u32::try_from(field).ok(), field_name, ..Place::default() }
}

impl Checker<'_> {
    /// Where a field is that stands in a line which could not be read; the form is told by the line's first field.
    pub(super) fn place_in(&self, line: &[u8], field: usize) -> Place {
        let names = match self.expect {
            _ if self.context.profile == Profile::Claims => &[],
            Expect::Media => MEDIA,
            Expect::Agent => AGENT,
            Expect::Office => OFFICE,
            Expect::Kanri | Expect::Data => &[],
        };
        let place = named(names, field);
        if !names.is_empty() {
            return place;
        }
        let code = line.split(|b| *b == b',').next().unwrap_or_default();
        let code = code.strip_prefix(b"\"").and_then(|code| code.strip_suffix(b"\"")).unwrap_or(code);
        let form = self.rules.forms(self.context.profile).find(|form| form.code.as_bytes() == code);
        let of_form = form.filter(|_| self.expect == Expect::Data || self.context.profile == Profile::Claims);
        let Some(form) = of_form else { return place };
        let places = form.layouts.last().map_or(&[][..], |layout| &layout.places);
        let at = places.iter().position(|at| at.is_some_and(|at| at + 1 == field));
        Place {
            form: Some(form.code.clone()),
            field_name: at.map(|at| form.fields[at].name.clone()),
            ..place
        }
    }

    /// One line of a KPFD file.
    pub(super) fn kpfd(&mut self, record: Record<'_>) {
        let expect = self.expect;
        match expect {
            // A row that was emptied in a spreadsheet.
            Expect::Data if record.at(0).is_empty() && self.fields > 1 && self.is_padded(&record, 0) => {}
            Expect::Data => self.data(record),
            _ if self.is_mark(&record, b"[data]") => self.data_mark(),
            // Records without what goes before them: the file's head was lost.
            Expect::Kanri | Expect::Agent | Expect::Office if self.is_record(record.at(0)) => {
                self.report(Rule::DataMark, &[], Place::default());
                self.said.insert(Rule::DataMark);
                self.expect = Expect::Data;
                self.data(record);
            }
            Expect::Media => {
                self.expect = Expect::Kanri;
                self.media(&record);
            }
            Expect::Kanri => {
                self.expect = Expect::Agent;
                if !self.is_mark(&record, b"[kanri]") {
                    let place = Place { value: Some(shown(record.line)), ..Place::default() };
                    self.report(Rule::Kanri, &[], place);
                }
            }
            Expect::Agent => {
                self.expect = Expect::Office;
                self.agent(&record);
            }
            Expect::Office => self.office(&record),
        }
    }

    fn is_record(&self, code: &[u8]) -> bool {
        self.rules.forms(Profile::Kpfd).any(|form| {
            form.code.as_bytes() == code || form.older.iter().any(|older| older.as_bytes() == code)
        }) || NOT_YET.iter().any(|(other, ..)| other.as_bytes() == code)
    }

    fn data_mark(&mut self) {
        if self.expect != Expect::Office || self.offices == 0 {
            let fields = "0";
            self.report(Rule::Office, &[fields], Place::default());
        }
        self.expect = Expect::Data;
        let stated = self.stated_offices.take();
        if let Some((count, text)) = stated
            && count != self.offices as u64
        {
            self.report(Rule::OfficeCount, &[&text, &self.offices.to_string()], Place::default());
        }
        let most = self.rules.policy().offices_max;
        if self.offices > most {
            self.report(Rule::Offices, &[&self.offices.to_string(), &most.to_string()], Place::default());
        }
    }

    /// Whether a line has as many fields as it must, those not counted that a spreadsheet adds.
    fn has_fields(&mut self, record: &Record<'_>, line: Names) -> bool {
        self.fields == line.len() || self.fields > line.len() && self.is_padded(record, line.len())
    }

    /// Whether a line is this mark, which a spreadsheet fills up with commas.
    fn is_mark(&mut self, record: &Record<'_>, mark: &[u8]) -> bool {
        record.line == mark || record.at(0) == mark && self.is_padded(record, 1)
    }

    /// Whether nothing but blank fields follow the first ones: said once.
    fn is_padded(&mut self, record: &Record<'_>, fields: usize) -> bool {
        let padded = self.fields == record.spans.len()
            && (fields..record.spans.len()).all(|at| record.at(at).is_empty());
        if padded {
            self.report_once(Rule::Spreadsheet, &[]);
        }
        padded
    }

    fn structural(&mut self, rule: Rule, line: Names, field: usize, value: &[u8]) {
        self.structural_because(rule, line, field, value, ("", ""));
    }

    /// The same, and says which of several causes it was.
    fn structural_because(
        &mut self,
        rule: Rule,
        line: Names,
        field: usize,
        value: &[u8],
        (ja, en): (&str, &str),
    ) {
        let shown = shown(value);
        let place = Place { value: Some(shown.clone()).filter(|v| !v.is_empty()), ..named(line, field) };
        self.report_in_both(rule, &[&shown, ja], &[&shown, en], place);
    }

    /// Characters of a line that no table describes.
    fn texts(&mut self, record: &Record<'_>, line: Names) {
        for at in 0..line.len() {
            self.text(record.at(at), &|| named(line, at + 1));
        }
    }

    fn media(&mut self, record: &Record<'_>) {
        // Among as many fields as a society's has, it is the society's own item.
        if self.fields != MEDIA.len() && (0..self.fields).any(|at| record.at(at) == b"22223") {
            return self.report(Rule::MediaShfd, &[], Place::default());
        }
        if !self.has_fields(record, MEDIA) {
            return self.report(Rule::Media, &[&self.fields.to_string()], Place::default());
        }
        let office = record.at(0);
        if text(office).and_then(|t| OfficeCode::parse(t).ok()).is_none() {
            self.structural(Rule::MediaOffice, MEDIA, 1, office);
        }
        let serial = record.at(1);
        if serial.len() != 3 || !serial.iter().all(u8::is_ascii_digit) || serial == b"000" {
            self.structural(Rule::MediaSerial, MEDIA, 2, serial);
        }
        let made = record.at(2);
        let date =
            text(made).filter(|t| t.len() == 8).and_then(|t| NaiveDate::parse_from_str(t, "%Y%m%d").ok());
        if date.is_none() {
            self.structural(Rule::MediaDate, MEDIA, 3, made);
        }
        self.texts(record, MEDIA);
    }

    fn agent(&mut self, record: &Record<'_>) {
        if !self.has_fields(record, AGENT) {
            return self.report(Rule::Agent, &[&self.fields.to_string()], Place::default());
        }
        let count = text(record.at(1)).filter(|t| !t.is_empty() && t.len() <= 3).and_then(|t| t.parse().ok());
        // What is no number agrees with no count.
        self.stated_offices = Some((count.unwrap_or(0), shown(record.at(1))));
        self.texts(record, AGENT);
    }

    fn office(&mut self, record: &Record<'_>) {
        self.offices += 1;
        if !self.has_fields(record, OFFICE) {
            return self.report(Rule::Office, &[&self.fields.to_string()], Place::default());
        }
        let number = record.at(0);
        match text(number).and_then(|t| OfficeCode::parse(t).ok()) {
            None => self.structural(Rule::OfficeNumber, OFFICE, 1, number),
            Some(office) => self.office_number(office),
        }
        let digits = |at: usize, from: usize, to: usize| {
            let value = record.at(at);
            value.is_empty() || (from..=to).contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
        };
        if !digits(1, 3, 3) || !digits(2, 4, 4) {
            let value = [record.at(1), b"-", record.at(2)].concat();
            self.structural(Rule::OfficePostcode, OFFICE, 2, &value);
        }
        self.office_texts(record);
        if !digits(6, 2, 5) || !digits(7, 1, 4) || !digits(8, 4, 5) {
            let value = [record.at(6), b"-", record.at(7), b"-", record.at(8)].concat();
            self.structural(Rule::OfficePhone, OFFICE, 7, &value);
        }
        self.texts(record, OFFICE);
    }

    /// Address, name and employer of an office record.
    fn office_texts(&mut self, record: &Record<'_>) {
        let fits = |at: usize, chars: usize, bytes: usize| {
            record.at(at).len() <= bytes && cp932::chars(record.at(at)) <= chars
        };
        if !fits(3, 37, 75) {
            self.structural(Rule::OfficeAddress, OFFICE, 4, record.at(3));
        }
        let name = record.at(4);
        if name.is_empty() {
            self.structural_because(Rule::OfficeName, OFFICE, 5, name, ("が空です", "is blank"));
        } else if !fits(4, 25, 50) {
            let why = (
                "が長すぎます(25 文字・50 バイトまで)[最大桁数超過]",
                "is too long (25 characters, 50 bytes) [最大桁数超過]",
            );
            self.structural_because(Rule::OfficeName, OFFICE, 5, name, why);
        }
        let employer = record.at(5);
        let blanks = cp932::decode(employer).chars().filter(|c| matches!(c, ' ' | '\u{3000}')).count();
        if !fits(5, 12, 25) {
            let why = (
                "が長すぎます(12 文字・25 バイトまで)[最大桁数超過]",
                "is too long (12 characters, 25 bytes) [最大桁数超過]",
            );
            self.structural_because(Rule::OfficeEmployer, OFFICE, 6, employer, why);
        } else if !employer.is_empty() && blanks != 1 {
            let why = (
                "の氏と名の間の空白が 1 つではありません[氏名項目形式不正]",
                "has not exactly one blank between its parts [氏名項目形式不正]",
            );
            self.structural_because(Rule::OfficeEmployer, OFFICE, 6, employer, why);
        }
    }

    fn office_number(&mut self, office: OfficeCode) {
        let shown = office.to_string();
        let place = || Place { value: Some(shown.clone()), ..named(OFFICE, 1) };
        if self.context.account_offices.as_ref().is_some_and(|offices| !offices.contains(&office)) {
            self.report(Rule::OfficeForeign, &[&shown], place());
        }
        if let Some(stated) = self.context.office.as_ref().filter(|stated| **stated != office) {
            let stated = stated.to_string();
            self.report(Rule::OfficeMismatch, &[&shown, &stated], place());
        }
        if self.summary.offices.len() < OFFICES_MAX && !self.summary.offices.contains(&office) {
            self.summary.offices.push(office);
        }
    }
}
