//! The claims profile: control, data and end records with serial numbers (KPFD.md, last section). Fields are its tables'.

use super::catalog::Rule;
use super::check::{Checker, Place, shown};
use super::record::Record;
use super::tables::Profile;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    control: bool,
    ended: bool,
    serial: u64,
    data: u64,
    stated: Option<String>,
}

impl Checker<'_> {
    /// One line of a claims file.
    pub(super) fn claims(&mut self, record: Record<'_>) {
        let kind = record.at(0);
        let control = kind == b"1";
        if control == self.claims.control && (control || self.claims.serial == 0) {
            self.report(Rule::ClaimsFirst, &[], Place::default());
        }
        if self.claims.ended {
            self.report(Rule::ClaimsEnd, &[], Place::default());
        }
        self.claims.control |= control;
        self.claims.ended = kind == b"3";
        self.claims.serial += 1;
        let (expected, serial) = (self.claims.serial, record.at(1));
        let agrees = serial.len() <= 18
            && std::str::from_utf8(serial).ok().and_then(|t| t.parse::<u64>().ok()) == Some(expected);
        if !agrees {
            let shown = shown(serial);
            let place = Place { field: Some(2), value: Some(shown.clone()), ..Place::default() };
            self.report(Rule::ClaimsSerial, &[&shown, &expected.to_string()], place);
        }
        let rules = self.rules;
        let Some(form) = rules.forms(Profile::Claims).find(|form| form.code.as_bytes() == kind) else {
            let shown = shown(kind);
            let place = Place { field: Some(1), value: Some(shown.clone()), ..Place::default() };
            return self.report(Rule::ClaimsKind, &[&shown], place);
        };
        match kind {
            b"1" => self.claims.stated = Some(shown(record.at(3))),
            b"2" => self.claims.data += 1,
            _ => {}
        }
        self.count_claims(form);
        self.record(form, record);
    }

    /// What only the whole file shows.
    pub(super) fn claims_end(&mut self) {
        if !self.claims.ended {
            self.report(Rule::ClaimsEnd, &[], Place::default());
        }
        let data = self.claims.data;
        if let Some(stated) = self.claims.stated.take()
            && stated.parse() != Ok(data)
        {
            self.report(Rule::ClaimsCount, &[&stated, &data.to_string()], Place::default());
        }
    }
}
