//! Lines 1 to 5 of a KPFD file: media record, `[kanri]`, agent and count, offices, `[data]` (KPFD.md, Lines).

use chrono::NaiveDate;

use super::catalog::Rule;
use super::check::{Checker, Expect, OFFICES_MAX, Place, shown, text};
use super::cp932;
use super::record::Record;
use super::tables::Profile;
use crate::model::ids::OfficeCode;

impl Checker<'_> {
    /// One line of a KPFD file.
    pub(super) fn kpfd(&mut self, record: Record<'_>) {
        match self.expect {
            Expect::Data => self.data(record),
            _ if record.line == b"[data]" => self.data_mark(),
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
                if record.line != b"[kanri]" {
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
        })
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

    fn structural(&mut self, rule: Rule, field: u32, value: &[u8]) {
        let shown = shown(value);
        let place = Place { field: Some(field), value: Some(shown.clone()), ..Place::default() };
        self.report(rule, &[&shown], place);
    }

    fn media(&mut self, record: &Record<'_>) {
        if record.at(0) == b"22223" || record.at(1) == b"22223" || record.line.ends_with(b"22223") {
            return self.report(Rule::MediaShfd, &[], Place::default());
        }
        if self.fields != 8 {
            return self.report(Rule::Media, &[&self.fields.to_string()], Place::default());
        }
        let office = record.at(0);
        if text(office).and_then(|t| OfficeCode::parse(t).ok()).is_none() {
            self.structural(Rule::MediaOffice, 1, office);
        }
        let serial = record.at(1);
        if serial.len() != 3 || !serial.iter().all(u8::is_ascii_digit) || serial == b"000" {
            self.structural(Rule::MediaSerial, 2, serial);
        }
        let made = record.at(2);
        let date =
            text(made).filter(|t| t.len() == 8).and_then(|t| NaiveDate::parse_from_str(t, "%Y%m%d").ok());
        if date.is_none() {
            self.structural(Rule::MediaDate, 3, made);
        }
        self.texts(record, 8);
    }

    fn agent(&mut self, record: &Record<'_>) {
        if self.fields != 2 {
            return self.report(Rule::Agent, &[&self.fields.to_string()], Place::default());
        }
        let count = text(record.at(1)).filter(|t| !t.is_empty() && t.len() <= 3).and_then(|t| t.parse().ok());
        // What is no number agrees with no count.
        self.stated_offices = Some((count.unwrap_or(0), shown(record.at(1))));
        self.texts(record, 2);
    }

    fn office(&mut self, record: &Record<'_>) {
        self.offices += 1;
        if self.fields != 9 {
            return self.report(Rule::Office, &[&self.fields.to_string()], Place::default());
        }
        let number = record.at(0);
        match text(number).and_then(|t| OfficeCode::parse(t).ok()) {
            None => self.structural(Rule::OfficeNumber, 1, number),
            Some(office) => self.office_number(office),
        }
        let digits = |at: usize, from: usize, to: usize| {
            let value = record.at(at);
            value.is_empty() || (from..=to).contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
        };
        if !digits(1, 3, 3) || !digits(2, 4, 4) {
            let value = [record.at(1), b"-", record.at(2)].concat();
            self.structural(Rule::OfficePostcode, 2, &value);
        }
        let fits = |at: usize, chars: usize, bytes: usize| {
            record.at(at).len() <= bytes && cp932::chars(record.at(at)) <= chars
        };
        if !fits(3, 37, 75) {
            self.structural(Rule::OfficeAddress, 4, record.at(3));
        }
        if record.at(4).is_empty() || !fits(4, 25, 50) {
            self.structural(Rule::OfficeName, 5, record.at(4));
        }
        let employer = cp932::decode(record.at(5));
        let blanks = employer.chars().filter(|c| matches!(c, ' ' | '\u{3000}')).count();
        if !fits(5, 12, 25) || !employer.is_empty() && blanks != 1 {
            self.structural(Rule::OfficeEmployer, 6, record.at(5));
        }
        if !digits(6, 2, 5) || !digits(7, 1, 4) || !digits(8, 4, 5) {
            let value = [record.at(6), b"-", record.at(7), b"-", record.at(8)].concat();
            self.structural(Rule::OfficePhone, 7, &value);
        }
        self.texts(record, 9);
    }

    fn office_number(&mut self, office: OfficeCode) {
        let shown = office.to_string();
        let place = || Place { field: Some(1), value: Some(shown.clone()), ..Place::default() };
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
