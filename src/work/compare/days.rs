//! What belongs to days: books that are there at all, and batches.

use chrono::{Days, NaiveDate};

use super::{Compare, Run, hash_of};
use crate::model::day::ClosedDay;
use crate::model::event::Event;
use crate::model::ids::InsurerCode;
use crate::model::time::Timestamp;
use crate::store::spool::InsurerSpool;
use crate::work::step::{Doing as _, WorkError};

/// Why a closed day's books are not there, and need not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoBooks {
    /// They were kept as long as `reconciliation.keep_days` says.
    Expired,
    /// No day before this one was ever closed: the gateway stood for long before its first day was.
    BeginWith(String),
}

impl Compare {
    /// Why there are no books of a day that is before the last closed one; none where they are there or should be.
    /// `keep_days`: whole days that books are kept.
    pub fn no_books(
        &self,
        day: &ClosedDay,
        keep_days: u32,
        now: Timestamp,
    ) -> Result<Option<NoBooks>, WorkError> {
        if self.books.has(&day.day) {
            return Ok(None);
        }
        let kept_from = now.date_in(self.zone).checked_sub_days(Days::new(u64::from(keep_days)));
        if day.day.parse::<NaiveDate>().ok().zip(kept_from).is_some_and(|(day, from)| day < from) {
            return Ok(Some(NoBooks::Expired));
        }
        // Days are closed in order, each after its end; that may have been in another zone.
        let mut first: Option<String> = None;
        self.ledger.events(day.from, Timestamp(i64::MAX), &mut |record| match record.event {
            Event::DayClosed(closed) if closed.day >= day.day => _ = first.get_or_insert(closed.day),
            _ => {}
        })?;
        Ok(first.filter(|first| *first > day.day).map(NoBooks::BeginWith))
    }
}

impl Run<'_> {
    /// Days follow one another without a gap, so every day after the oldest whose books are there has some.
    pub(super) fn gaps(&mut self, day: &ClosedDay) -> Result<(), WorkError> {
        let days = self.of.books.days(usize::MAX).doing(|| "listing books/".into())?;
        let (Some(oldest), Ok(last)) = (days.last().copied(), day.day.parse::<NaiveDate>()) else {
            return Ok(());
        };
        for missing in oldest.iter_days().take_while(|day| *day < last) {
            if days.binary_search_by(|there| missing.cmp(there)).is_err() {
                let text = "the day is closed, but its books are not there: restore the file from a backup";
                self.found.differs("BOOKS-MISSING", format!("books/{missing}.books"), text);
            }
        }
        Ok(())
    }

    /// Notes the batches that were closed on this day.
    pub(super) fn batches_of(&mut self, day: &ClosedDay) -> Result<(), WorkError> {
        let batches = &mut self.batches;
        self.of.ledger.events(day.from, day.until, &mut |record| {
            if let Event::BatchClosed { insurer, batch } = record.event {
                batches.entry(insurer).or_default().push(batch);
            }
        })?;
        Ok(())
    }

    /// The day's batches and the last one, while the importer has left them where they are.
    pub(super) fn batches(&mut self, code: &InsurerCode, spool: &InsurerSpool) -> Result<(), WorkError> {
        let mut batches = self.batches.remove(code).unwrap_or_default();
        let last = self.of.ledger.calendar(code)?.and_then(|state| state.batch);
        batches.extend(last.filter(|last| batches.iter().all(|batch| batch.name != last.name)));
        for batch in batches {
            let open = || spool.root.sub("batches")?.open_file(&batch.name, rustix::fs::OFlags::RDONLY);
            let Ok(mut file) = open() else { continue };
            let found = hash_of(&mut file).doing(|| format!("reading batches/{} of {code}", batch.name))?;
            if found != batch.sha256 {
                let what = format!("{code}/batches/{}", batch.name);
                let text = "it is not what the gateway wrote: its signature tells";
                self.found.differs("BATCH-CHANGED", what, text);
            }
        }
        Ok(())
    }
}
