//! `/history/reconciliation/`: what happened on each day, signed.

use chrono::NaiveDate;

use super::super::port::{Entry, Fault};
use super::{OfficeTree, file};
use crate::signed::sshsig::RECONCILIATION_NAMESPACE;
use crate::store::books::HEAD;
use crate::store::receipts::Made;

/// The day of `2026-11-22.csv`, and whether `.csv.sig` is meant.
pub(super) fn day_in(name: &str) -> Option<(NaiveDate, bool)> {
    let (name, signature) = match name.strip_suffix(".sig") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let text = name.strip_suffix(".csv")?;
    // One day, one name.
    let day: NaiveDate = text.parse().ok()?;
    (day.to_string() == text).then_some((day, signature))
}

impl OfficeTree {
    pub(super) fn book(&self, day: NaiveDate, signature: bool) -> Result<Made, Fault> {
        let parts = &self.parts;
        let shown = parts.books.of_account(&self.account.id, day, signature, &parts.receipts.keys);
        let shown = shown.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.words.missing(),
            _ => self.words.io(&error),
        })?;
        Ok(Made { bytes: shown.bytes, at: shown.until })
    }

    pub(super) fn book_entries(&self) -> Result<Vec<Entry>, Fault> {
        let parts = &self.parts;
        let io = |error: std::io::Error| self.words.io(&error);
        let signed = parts.receipts.keys.sign(RECONCILIATION_NAMESPACE, HEAD.as_bytes());
        let empty = (HEAD.len(), signed.map_err(|error| io(std::io::Error::other(error)))?.len());
        let mut entries = Vec::new();
        for day in parts.books.days(parts.books_shown).map_err(io)? {
            let (sheet, signature, until) = parts.books.sizes(&self.account.id, day, empty).map_err(io)?;
            for (name, size) in [(format!("{day}.csv"), sheet), (format!("{day}.csv.sig"), signature)] {
                entries.push(Entry { name, attributes: file(size as u64, until.unix_seconds(), 0o440) });
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_one_name() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 2).unwrap();
        assert_eq!(day_in("2026-11-02.csv"), Some((day, false)));
        assert_eq!(day_in("2026-11-02.csv.sig"), Some((day, true)));
        for name in [
            "2026-11-2.csv",
            "2026-11-02",
            "2026-13-02.csv",
            "+2026-11-02.csv",
            ".csv",
            "2026-11-02.csv.sig.sig",
        ] {
            assert_eq!(day_in(name), None, "{name}");
        }
    }
}
