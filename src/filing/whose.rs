//! Whose a record is: the office that it is filed for, and the person as repeats are told (K53).

use chrono::NaiveDate;

use super::catalog::Rule;
use super::check::{Checker, OFFICES_MAX, Place, RecordKey, text};
use super::record::Record;
use super::tables::{Form, Profile};
use crate::model::finding::Text;
use crate::model::ids::OfficeCode;

impl Checker<'_> {
    pub(super) fn tell_key(
        &mut self,
        form: &Form,
        record: &Record<'_>,
        dates: &[Option<NaiveDate>],
        in_file: bool,
    ) {
        let value = |field: Option<usize>| field.map_or(b"".as_slice(), |field| record.get(field));
        let date = |date: Option<usize>| date.and_then(|date| dates.get(date).copied().flatten());
        // A slip in the record's own number must not make another filing of it (K53).
        let office = match self.summary.offices.first() {
            Some(first) if !in_file => first.as_str().as_bytes(),
            _ => value(form.office),
        };
        let key = RecordKey {
            line: self.line,
            form: &form.code,
            office,
            insured: value(form.insured),
            kana: value(form.kana),
            birth: date(form.birth),
            event: date(form.event),
        };
        (self.observe)(&key);
        let first = self.twins.first_like(&key).filter(|_| form.profile == Profile::Kpfd);
        if let Some(first) = first {
            let place = Self::place(form, record, None);
            self.report(Rule::Twice, &[&first.to_string(), &self.line.to_string()], place);
        }
    }

    /// Whether the record names one of the file's offices. Another one is said, and must be one that the account may act
    /// for (K8 E13): the record would reach it all the same.
    pub(super) fn record_office(&mut self, form: &Form, record: &Record<'_>) -> bool {
        let Some(at) = form.office.filter(|_| form.profile == Profile::Kpfd) else { return false };
        let value = record.get(at);
        if self.summary.offices.iter().any(|office| office.as_str().as_bytes() == value) {
            return true;
        }
        if !value.is_empty() {
            self.other_office(form, record, at);
        }
        false
    }

    #[cold]
    fn other_office(&mut self, form: &Form, record: &Record<'_>, at: usize) {
        let office = text(record.get(at)).and_then(|value| OfficeCode::parse(value).ok());
        let mut of_account = self.context.account_offices.iter().flatten();
        let foreign =
            self.context.account_offices.is_some() && !of_account.any(|own| Some(own) == office.as_ref());
        let rule = if foreign { Rule::OfficeForeign } else { Rule::RecordOffice };
        let place = Self::place(form, record, Some(at));
        let value = place.value.clone().unwrap_or_default();
        self.report(rule, &[&value], place);
        let known = &mut self.summary.record_offices;
        if let Some(office) = office.filter(|office| known.len() < OFFICES_MAX && !known.contains(office)) {
            known.push(office);
        }
    }

    /// The media record names one of the file's offices.
    pub(super) fn media_office(&mut self) {
        let offices = &self.summary.offices;
        let media = text(&self.media_office).and_then(|value| OfficeCode::parse(value).ok());
        let Some(media) = media.filter(|media| !offices.is_empty() && !offices.contains(media)) else {
            return;
        };
        let of_file = offices.iter().take(3).map(OfficeCode::as_str).collect::<Vec<_>>().join(", ");
        let name = Text::new("健康保険組合での事業所番号", "office number with the society");
        let place = Place {
            field: Some(1),
            field_name: Some(name),
            value: Some(media.to_string()),
            ..Place::default()
        };
        let line = std::mem::replace(&mut self.line, 1);
        self.report(Rule::MediaOfficeOther, &[media.as_str(), &of_file], place);
        self.line = line;
    }
}
