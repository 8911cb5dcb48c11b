//! Days: one table byte, and a second one for each list.

use super::Key;
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};
use crate::model::submission::Kind;
use crate::model::time::Timestamp;

fn table(which: u8) -> Key {
    Key::of(b'V').byte(which)
}

/// The first event of each hour that has one, by time; no value. Where the journal is read from.
pub(in crate::store) fn hours() -> Key {
    table(b'h')
}
/// Acceptances for an insurer, by their event; the value is time and number.
pub(in crate::store) fn acceptances(insurer: &InsurerCode) -> Key {
    table(b'a').text(insurer.as_str())
}
/// [`crate::store::ledger::CalendarState`]
pub(in crate::store) fn calendars() -> Key {
    table(b'c')
}
pub(in crate::store) fn calendar(insurer: &InsurerCode) -> Vec<u8> {
    calendars().text(insurer.as_str()).done()
}
/// [`crate::model::day::ClosedDay`]
pub(in crate::store) fn closed_day() -> Vec<u8> {
    table(b'd').done()
}
/// When a document of a type was last placed, by office and account; the value is the time.
pub(in crate::store) fn last_documents(insurer: &InsurerCode, kind: &str) -> Key {
    table(b'l').text(insurer.as_str()).text(kind)
}
pub(in crate::store) fn last_document(
    insurer: &InsurerCode,
    kind: &str,
    office: &OfficeCode,
    account: &AccountId,
) -> Vec<u8> {
    last_documents(insurer, kind).text(office.as_str()).text(account.as_str()).done()
}
/// An office's filings with a form (empty: any) that were neither refused nor withdrawn, by number.
pub(in crate::store) fn office_filings(insurer: &InsurerCode, office: &OfficeCode, form: &str) -> Key {
    table(b'f').text(insurer.as_str()).text(office.as_str()).text(form)
}

impl Key {
    /// An event's place in the journal.
    pub(in crate::store) fn seq(self, seq: u64) -> Self {
        self.numbered(0, seq)
    }
}

/// Keys by which an office's filings are found.
pub(super) fn filing_keys(of: &crate::model::submission::Submission) -> Vec<Vec<u8>> {
    let Some(office) =
        of.office.as_ref().filter(|_| of.kind == Kind::Filing && !of.test && of.state.counts())
    else {
        return Vec::new();
    };
    if of.withdraws.is_some() {
        return Vec::new();
    }
    let forms = of.forms.iter().map(|(form, _)| form.as_str()).chain([""]);
    forms.map(|form| office_filings(&of.insurer, office, form).number(of.number).done()).collect()
}

/// The hour a time is in.
pub(in crate::store) fn hour_of(at: Timestamp) -> i64 {
    at.0.div_euclid(3_600_000)
}
