//! Questions about days.

use super::{JournalLedger, index_error, malformed};
use crate::model::day::ClosedDay;
use crate::model::event::Record;
use crate::model::ids::{AccountId, DocumentId, InsurerCode, Number, OfficeCode};
use crate::model::time::Timestamp;
use crate::store::index::Index;
use crate::store::journal::{Next, Reader};
use crate::store::ledger::{
    Acceptance, CalendarState, DayLedger, DocumentTrace, LastDocument, Ledger as _, LedgerError,
};
use crate::store::tables::{self, days as table};

impl<I: Index> DayLedger for JournalLedger<I> {
    fn calendar(&self, insurer: &InsurerCode) -> Result<Option<CalendarState>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&table::calendar(insurer))
    }

    fn acceptances(
        &self,
        insurer: &InsurerCode,
        after: u64,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Acceptance>, LedgerError> {
        let _gate = self.gate();
        let list = table::acceptances(insurer);
        let (from, to) = (list.clone().seq(after.saturating_add(1)).done(), list.end());
        let found = self.shared.index.range(&from, &to, false).map(|pair| {
            let (key, value) = pair.map_err(index_error)?;
            let (_, seq) = tables::numbered_in(&key).ok_or_else(|| malformed("a list of acceptances"))?;
            let (at, number) = tables::decode::<(Timestamp, Number)>(&value).map_err(index_error)?;
            Ok(Acceptance { seq, at, number })
        });
        // Times never go back along the journal.
        let before =
            |found: &Result<Acceptance, LedgerError>| found.as_ref().map_or(true, |one| one.at < before);
        found.take_while(before).take(limit).collect()
    }

    fn began(&self) -> Result<Option<Timestamp>, LedgerError> {
        let _gate = self.gate();
        let first = self.pairs(table::hours()).next().transpose()?;
        Ok(first.and_then(|(key, _)| tables::time_in(&key)))
    }

    fn closed_day(&self) -> Result<Option<ClosedDay>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&table::closed_day())
    }

    fn document_trace(&self, id: DocumentId) -> Result<Option<DocumentTrace>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&tables::document_place(id))
    }

    fn last_documents(&self, insurer: &InsurerCode, kind: &str) -> Result<Vec<LastDocument>, LedgerError> {
        let _gate = self.gate();
        let list = table::last_documents(insurer, kind);
        let length = list.len();
        self.pairs(list)
            .map(|pair| {
                let (key, value) = pair?;
                let placed_at = tables::decode(&value).map_err(index_error)?;
                let names = || {
                    let mut names = key.get(length..)?.split(|byte| *byte == 0);
                    let mut name = || std::str::from_utf8(names.next()?).ok();
                    Some((OfficeCode::parse(name()?).ok()?, AccountId::parse(name()?).ok()?))
                };
                let (office, account) = names().ok_or_else(|| malformed("a list of documents"))?;
                Ok(LastDocument { office, account, placed_at })
            })
            .collect()
    }

    fn last_filing(
        &self,
        insurer: &InsurerCode,
        office: &OfficeCode,
        form: Option<&str>,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let last = {
            let _gate = self.gate();
            let list = table::office_filings(insurer, office, form.unwrap_or_default());
            let last = self.shared.index.range(&list.clone().done(), &list.end(), true).next();
            last.transpose().map_err(index_error)?
        };
        let Some((key, _)) = last else { return Ok(None) };
        let (epoch, serial) = tables::numbered_in(&key).ok_or_else(|| malformed("a list of filings"))?;
        Ok(self.submission(Number { epoch, serial })?.map(|submission| submission.received_at))
    }

    fn events(
        &self,
        from: Timestamp,
        until: Timestamp,
        each: &mut dyn FnMut(Record),
    ) -> Result<(), LedgerError> {
        let first = {
            let _gate = self.gate();
            let (begin, to) = (table::hours().done(), table::hours().time(from.plus(1)).done());
            let mark = self.shared.index.range(&begin, &to, true).next().transpose().map_err(index_error)?;
            mark.and_then(|(key, _)| tables::numbered_in(&key)).map_or(1, |(_, seq)| seq)
        };
        let damaged = |error: &dyn std::fmt::Display| {
            LedgerError::Index(format!("the journal cannot be read: {error}"))
        };
        let mut reader =
            Reader::after(&self.shared.root.journal(), first.saturating_sub(1)).map_err(|e| damaged(&e))?;
        // What is being written at this moment is no whole commit yet, and later than what is asked for.
        while let Next::Batch(batch) = reader.next_batch().map_err(|e| damaged(&e))? {
            let begins = reader.position().seq + 1 - batch.len() as u64;
            let skip = usize::try_from(first.saturating_sub(begins)).unwrap_or(usize::MAX);
            if reader.position().at < from {
                continue;
            }
            for record in batch.records_from(skip) {
                let (record, _) = record.map_err(|e| damaged(&e))?;
                if record.at >= until {
                    return Ok(());
                }
                if record.at >= from {
                    each(record);
                }
            }
        }
        Ok(())
    }
}
