//! What belongs to days: books that are there at all, and batches.

use chrono::NaiveDate;

use super::{Run, hash_of};
use crate::model::day::ClosedDay;
use crate::model::event::Event;
use crate::model::ids::InsurerCode;
use crate::store::spool::InsurerSpool;
use crate::work::step::{Doing as _, WorkError};

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
