//! Calendars, batches, days, and what books look up.

use crate::model::day::Batch;
use crate::model::document::{Document, RemovalReason};
use crate::model::event::Event;
use crate::model::ids::{DocumentId, InsurerCode, Number};
use crate::model::submission::State;
use crate::model::time::Timestamp;
use crate::store::index::{Index, IndexError};
use crate::store::ledger::{CalendarState, DocumentTrace};
use crate::store::tables::{self, Draft, StoredSubmission, days as table};

/// Marks the first event of an hour.
pub(super) fn mark_hour<I: Index>(
    draft: &mut Draft<'_, I>,
    seq: u64,
    at: Timestamp,
) -> Result<(), IndexError> {
    if table::hour_of(at) == table::hour_of(draft.meta.at) {
        return Ok(());
    }
    draft.put_new(table::hours().time(at).seq(seq).done(), &())
}

/// Notes that this event accepted a submission, if it did.
pub(super) fn note_acceptance<I: Index>(
    draft: &mut Draft<'_, I>,
    number: Number,
    seq: u64,
    at: Timestamp,
) -> Result<(), IndexError> {
    let Some(stored) = draft.fetch::<StoredSubmission>(&tables::submission(number))? else { return Ok(()) };
    let of = &stored.submission;
    if of.test || !matches!(of.state, State::Accepted | State::CarriedOut) {
        return Ok(());
    }
    draft.put_new(table::acceptances(&of.insurer).seq(seq).done(), &(at, number))
}

/// What happened to calendars and days.
pub(super) fn project<I: Index>(
    draft: &mut Draft<'_, I>,
    event: &Event,
    at: Timestamp,
) -> Result<(), IndexError> {
    match event {
        Event::CalendarBegan { insurer, cut_offs } => {
            let key = table::calendar(insurer);
            let kept: Option<CalendarState> = draft.fetch(&key)?;
            let (began, batch) = kept.map_or((at, None), |kept| (kept.began, kept.batch));
            draft.put(&key, &CalendarState { began, cut_offs: (*cut_offs, at), batch })
        }
        Event::BatchClosed { insurer, batch } => batch_closed(draft, insurer, batch),
        Event::DayClosed(day) => draft.put(&table::closed_day(), day),
        _ => Ok(()),
    }
}

/// What a restored root's calendars missed is not caught up: what had gone out before is not known.
pub(super) fn calendars_begin_anew<I: Index>(
    draft: &mut Draft<'_, I>,
    at: Timestamp,
) -> Result<(), IndexError> {
    for key in draft.keys(table::calendars())? {
        if let Some(state) = draft.fetch::<CalendarState>(&key)? {
            let cut_offs = (state.cut_offs.0, at);
            draft.put(&key, &CalendarState { began: at, cut_offs, ..state })?;
        }
    }
    Ok(())
}

fn batch_closed<I: Index>(
    draft: &mut Draft<'_, I>,
    insurer: &InsurerCode,
    batch: &Batch,
) -> Result<(), IndexError> {
    let key = table::calendar(insurer);
    let state: Option<CalendarState> = draft.fetch(&key)?;
    let state = state.ok_or_else(|| super::missing(format_args!("the calendar of insurer {insurer}")))?;
    draft.put(&key, &CalendarState { batch: Some(batch.clone()), ..state })
}

/// What stays of a document that was placed.
pub(super) fn trace<I: Index>(draft: &mut Draft<'_, I>, document: &Document) -> Result<(), IndexError> {
    let trace = DocumentTrace {
        account: document.account.clone(),
        office: document.office.clone(),
        insurer: document.insurer.clone(),
        kind: document.kind.clone(),
        sha256: document.sha256,
        size: document.size,
    };
    draft.put_new(tables::document_place(document.id), &trace)?;
    draft.put(&last_document(document), &document.placed_at)
}

/// What was recalled has not come.
pub(super) fn forget_recalled<I: Index>(
    draft: &mut Draft<'_, I>,
    id: DocumentId,
    reason: RemovalReason,
) -> Result<(), IndexError> {
    let Some(stored) = super::stored_document(draft, id)?.filter(|_| reason == RemovalReason::Recalled)
    else {
        return Ok(());
    };
    let key = last_document(&stored.document);
    if draft.fetch::<Timestamp>(&key)? == Some(stored.document.placed_at) {
        draft.remove(&key)?;
    }
    Ok(())
}

fn last_document(of: &Document) -> Vec<u8> {
    table::last_document(&of.insurer, &of.kind, &of.office, &of.account)
}
