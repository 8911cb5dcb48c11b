//! `reports/purge-DAY.csv`: what left the outboxes of an insurer's accounts on a local day, first of all what nobody had
//! fetched. Made anew from the ledger after every purge, from the day of the last report on and for the last days at least, so that
//! neither a crash nor a long stop leaves any out; written only when it would say something else. One insurer's trouble is its own. Test accounts stay out of it (H3).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use chrono_tz::Tz;

use super::alarms::Alarms;
use super::publish::SpoolTurn;
use super::step::{Doing as _, WorkError, contained};
use crate::model::document::{RemovalReason, RemovedDocument};
use crate::model::escape::csv_field;
use crate::model::ids::InsurerCode;
use crate::model::party::Standing;
use crate::model::time::Timestamp;
use crate::store::ledger::Ledger;
use crate::store::spool::InsurerSpool;

/// Days that are looked at again in any case.
const DAYS: i64 = 3;
/// However long no report could be written, no day before these is looked at.
const DAYS_MAX: i64 = 100;

/// Writes the reports.
pub struct PurgeReports {
    /// What went.
    pub ledger: Arc<dyn Ledger>,
    /// `spool/`
    pub spool_root: PathBuf,
    /// Days are local.
    pub zone: Tz,
    /// Shared with the sweep of `.tmp/`.
    pub turn: SpoolTurn,
    /// Tells the operator.
    pub alarms: Arc<dyn Alarms>,
    /// Of an insurer that was not reported to by this run: the time of the last event before it.
    pub began: Timestamp,
    /// When each insurer's were brought up to date last.
    pub reported: Mutex<BTreeMap<InsurerCode, Timestamp>>,
}

impl PurgeReports {
    /// Brings the reports of the last days up to date; how many were written.
    pub fn step(&self, now: Timestamp) -> Result<u64, WorkError> {
        let mut written = 0;
        for insurer in self.ledger.insurers()? {
            if insurer.standing == Standing::Closed {
                continue;
            }
            let alarm = format!("PURGE-REPORT-FAILED {}", insurer.code);
            let known = self.reported().get(&insurer.code).copied();
            let text = |error: &WorkError| {
                format!("what left the outboxes could not be reported: {error}; run `todoke doctor`")
            };
            let came = self.of_insurer(&insurer.code, known.unwrap_or(self.began), now);
            if let Some(own) = contained(&*self.alarms, &alarm, now, came, text)? {
                written += own;
                self.reported().insert(insurer.code, now);
            }
        }
        Ok(written)
    }

    fn reported(&self) -> std::sync::MutexGuard<'_, BTreeMap<InsurerCode, Timestamp>> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_insurer(&self, code: &InsurerCode, last: Timestamp, now: Timestamp) -> Result<u64, WorkError> {
        let mut written = 0;
        let mut spool = None;
        let today = now.date_in(self.zone);
        let missed = (today - last.date_in(self.zone)).num_days() + 1;
        for back in (0..missed.clamp(DAYS, DAYS_MAX)).rev() {
            let day = today - chrono::Days::new(back.unsigned_abs());
            let from = Timestamp::day_begins(day, self.zone);
            let until = Timestamp::day_begins(day.succ_opt().unwrap_or(day), self.zone);
            let gone = self.ledger.removed_documents(code, from, until)?;
            if gone.is_empty() {
                continue;
            }
            let text = self.report(code, gone)?;
            let name = format!("purge-{day}.csv");
            let doing = || format!("writing reports/{name} of {code}");
            let spool = match &mut spool {
                Some(spool) => spool,
                none => none.insert(InsurerSpool::open(&self.spool_root, code).doing(doing)?),
            };
            let _turn = self.turn.take();
            written += u64::from(spool.refresh_report(&name, text.as_bytes()).doing(doing)?);
        }
        Ok(written)
    }

    fn report(&self, code: &InsurerCode, mut gone: Vec<RemovedDocument>) -> Result<String, WorkError> {
        let accounts = self.ledger.accounts(Some(code))?;
        let tests: BTreeSet<_> = accounts.iter().filter(|a| a.test).map(|account| &account.id).collect();
        gone.retain(|document| !tests.contains(&document.account));
        gone.sort_by_key(|document| (document.fetched.is_some(), document.id));
        let local = |at: Option<Timestamp>| at.map(|at| at.shown_in(self.zone)).unwrap_or_default();
        let mut text = String::from(
            "\u{feff}fetched,document,account,office,type,month,placed,removed,reason,first_fetched,last_fetched\r\n",
        );
        for document in gone {
            let cells = [
                if document.fetched.is_some() { "yes" } else { "no" }.to_owned(),
                document.id.to_string(),
                document.account.to_string(),
                document.office.to_string(),
                document.kind,
                document.month,
                local(Some(document.placed_at)),
                local(Some(document.removed_at)),
                match document.reason {
                    RemovalReason::Expired => "expired",
                    RemovalReason::Recalled => "recalled",
                }
                .to_owned(),
                local(document.fetched.map(|fetched| fetched.0)),
                local(document.fetched.map(|fetched| fetched.1)),
            ];
            let cells: Vec<_> = cells.iter().map(|cell| csv_field(cell)).collect();
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
        Ok(text)
    }
}
