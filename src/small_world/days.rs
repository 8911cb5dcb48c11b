//! The fake ledger keeps no calendars: what goes by days is tried over the real one.

use super::FakeLedger;
use crate::model::day::ClosedDay;
use crate::model::event::Record;
use crate::model::ids::{DocumentId, InsurerCode, OfficeCode};
use crate::model::time::Timestamp;
use crate::store::ledger::{Acceptance, CalendarState, DayLedger, DocumentTrace, LastDocument, LedgerError};

impl DayLedger for FakeLedger {
    fn calendar(&self, _: &InsurerCode) -> Result<Option<CalendarState>, LedgerError> {
        Ok(None)
    }
    fn acceptances(
        &self,
        _: &InsurerCode,
        _: u64,
        _: Timestamp,
        _: usize,
    ) -> Result<Vec<Acceptance>, LedgerError> {
        Ok(Vec::new())
    }
    fn began(&self) -> Result<Option<Timestamp>, LedgerError> {
        Ok(None)
    }
    fn closed_day(&self) -> Result<Option<ClosedDay>, LedgerError> {
        Ok(None)
    }
    fn document_trace(&self, _: DocumentId) -> Result<Option<DocumentTrace>, LedgerError> {
        Ok(None)
    }
    fn last_documents(&self, _: &InsurerCode, _: &str) -> Result<Vec<LastDocument>, LedgerError> {
        Ok(Vec::new())
    }
    fn last_filing(
        &self,
        _: &InsurerCode,
        _: &OfficeCode,
        _: Option<&str>,
    ) -> Result<Option<Timestamp>, LedgerError> {
        Ok(None)
    }
    fn events(&self, _: Timestamp, _: Timestamp, _: &mut dyn FnMut(Record)) -> Result<(), LedgerError> {
        Ok(())
    }
}
