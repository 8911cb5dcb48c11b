//! Calendars, batches, days.

use super::{Decided, missing, nothing, ok, reconciled};
use crate::model::day::{Batch, ClosedDay};
use crate::model::event::Event;
use crate::model::ids::{Digest, InsurerCode, Number};
use crate::model::time::Timestamp;
use crate::store::index::Index;
use crate::store::ledger::CalendarState;
use crate::store::ledger::Refusal;
use crate::store::tables::{self, Draft, days as table};

pub(super) fn begin_calendar<I: Index>(
    draft: &mut Draft<'_, I>,
    insurer: InsurerCode,
    cut_offs: Digest,
) -> Decided {
    if !draft.has(&tables::insurer(&insurer))? {
        return Err(missing(format_args!("insurer {insurer}")));
    }
    let kept: Option<CalendarState> = draft.fetch(&table::calendar(&insurer))?;
    match kept {
        Some(state) if state.cut_offs.0 == Some(cut_offs) => nothing(),
        _ => ok(Event::CalendarBegan { insurer, cut_offs: Some(cut_offs) }),
    }
}

/// From here on nothing is accepted before the cut-off any more: events' times never go back. Whatever was accepted before it
/// and is in no batch must be in this one.
pub(super) fn close_batch<I: Index>(
    draft: &mut Draft<'_, I>,
    insurer: InsurerCode,
    batch: Batch,
    at: Timestamp,
) -> Decided {
    reconciled(draft)?;
    let not_now = |why: String| Err(Refusal::NotNow(why).into());
    let state: Option<CalendarState> = draft.fetch(&table::calendar(&insurer))?;
    let Some(state) = state else { return Err(missing(format_args!("the calendar of insurer {insurer}"))) };
    if batch.slot > at {
        return not_now(format!("the cut-off of insurer {insurer} at {} is still to come", batch.slot));
    }
    if let Some(last) = state.batch {
        if batch.slot <= last.slot {
            return not_now(format!("the batch of insurer {insurer} at {} is closed already", batch.slot));
        }
        if batch.upto < last.upto {
            return not_now(format!("the batch of insurer {insurer} would go back in the journal"));
        }
    }
    let list = table::acceptances(&insurer);
    let (from, to) = (list.clone().seq(batch.upto.saturating_add(1)).done(), list.end());
    for key in draft.keys_between(&from, &to)? {
        let accepted: Option<(Timestamp, Number)> = draft.fetch(&key)?;
        if accepted.is_some_and(|(accepted, _)| accepted < batch.slot) {
            return not_now(format!(
                "something was accepted before the cut-off of insurer {insurer} meanwhile"
            ));
        }
    }
    ok(Event::BatchClosed { insurer, batch })
}

pub(super) fn close_day<I: Index>(draft: &mut Draft<'_, I>, day: ClosedDay, at: Timestamp) -> Decided {
    let not_now = |why: String| Err(Refusal::NotNow(why).into());
    if day.until > at || day.from > day.until {
        return not_now(format!("{} has not ended yet", day.day));
    }
    let last: Option<ClosedDay> = draft.fetch(&table::closed_day())?;
    match last {
        Some(last) if last.until != day.from => {
            not_now(format!("the books of {} are closed up to {}, not to {}", last.day, last.until, day.from))
        }
        _ => ok(Event::DayClosed(day)),
    }
}
