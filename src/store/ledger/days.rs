//! What can be asked about days: calendars and their batches, days whose books are closed, what was accepted in which order,
//! and what happened from when to when.

use serde::{Deserialize, Serialize};

use super::LedgerError;
use crate::model::day::{Batch, ClosedDay};
use crate::model::event::Record;
use crate::model::ids::{AccountId, Digest, DocumentId, InsurerCode, Number, OfficeCode};
use crate::model::time::Timestamp;

/// How far an insurer's calendar was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalendarState {
    /// What was due before is nobody's business: the calendar began then, or a restored backup was taken into use.
    pub began: Timestamp,
    /// Its cut-offs are these since then.
    pub cut_offs: (Option<Digest>, Timestamp),
    /// The last batch.
    pub batch: Option<Batch>,
}

/// An acceptance, at first or after a hold. Test accounts' are not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptance {
    /// The event that accepted it.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Which.
    pub number: Number,
}

/// What stays of a document: it outlives the document, so that books can name what went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentTrace {
    /// In whose outbox.
    pub account: AccountId,
    /// For which office.
    pub office: OfficeCode,
    /// From whom.
    pub insurer: InsurerCode,
    /// Its type.
    pub kind: String,
    /// Of its bytes.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

/// The last document of one type for one account's office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastDocument {
    /// For which office.
    pub office: OfficeCode,
    /// In whose outbox.
    pub account: AccountId,
    /// When it was placed.
    pub placed_at: Timestamp,
}

/// The ledger's part about days.
pub trait DayLedger {
    /// An insurer's calendar; none before it began.
    fn calendar(&self, insurer: &InsurerCode) -> Result<Option<CalendarState>, LedgerError>;
    /// Acceptances for this insurer after this event and before this time, in order, at most `limit`.
    fn acceptances(
        &self,
        insurer: &InsurerCode,
        after: u64,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Acceptance>, LedgerError>;
    /// When the first event was recorded; none in an empty journal.
    fn began(&self) -> Result<Option<Timestamp>, LedgerError>;
    /// The last day whose books are closed.
    fn closed_day(&self) -> Result<Option<ClosedDay>, LedgerError>;
    /// What is known of a document, also of one that is gone.
    fn document_trace(&self, id: DocumentId) -> Result<Option<DocumentTrace>, LedgerError>;
    /// To whom documents of this type went last, each account's office once.
    fn last_documents(&self, insurer: &InsurerCode, kind: &str) -> Result<Vec<LastDocument>, LedgerError>;
    /// When this office's last filing with this form came (with any form, if none is named) that was neither refused nor
    /// withdrawn; test accounts' do not count.
    fn last_filing(
        &self,
        insurer: &InsurerCode,
        office: &OfficeCode,
        form: Option<&str>,
    ) -> Result<Option<Timestamp>, LedgerError>;
    /// What happened from `from` on and before `until`, in order. Reads that part of the journal alone. Events that
    /// are not before the last commit's time may be missing; a closed day's are all there.
    fn events(
        &self,
        from: Timestamp,
        until: Timestamp,
        each: &mut dyn FnMut(Record),
    ) -> Result<(), LedgerError>;
}
