//! The books of each local day: what was sent, accepted, refused, held, withdrawn, handed over, collected, imported, placed,
//! fetched, removed and mailed, one file for every insurer and every account, signed (namespace `todoke-reconciliation`).
//!
//! | written, in this order | a crash before the next line leaves |
//! |---|---|
//! | event `day_closed`: from here on nothing can happen in that day | a closed day without books: they are made, always the same |
//! | `reports/reconciliation-DAY.csv.sig`, `.json`, `.csv` of every insurer, each by rename, none over another | some of them: those that are there stay |
//! | `books/DAY.CODE.owed` of an insurer whose `reports/` could not be written: tried again until it can, the others' go on | as above |
//! | `books/DAY.books` by rename | nothing to do: the day is done, and its reports never come again |
//!
//! They are made of the journal alone, so they name no person, and whatever was erased since changes nothing in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;

use super::alarms::Alarms;
use super::step::{Doing as _, Points, Progress, WorkError, contained};
use crate::model::day::ClosedDay;
use crate::model::ids::{Digest, InsurerCode};
use crate::model::metric;
use crate::model::party::Actor;
use crate::model::time::{DAY, SECOND, Timestamp};
use crate::rules::calendar::{self, Cron};
use crate::rules::policy::ReconciliationPolicy;
use crate::signed::sshsig::RECONCILIATION_NAMESPACE;
use crate::store::books::{Books, account_part, insurer_part, signature_of};
use crate::store::keys::Keys;
use crate::store::ledger::{Ledger, Op};
use crate::store::spool::{InsurerSpool, is_lone_file};

mod sheet;

pub use sheet::{Sheet, Sheets, Total};

/// Without a closed day, so many days are looked back for the first.
const FIRST_DAYS_MAX: u64 = 31;
/// Reports that could not be written are tried again after so long.
const OWED_PAUSE: i64 = 600 * SECOND;
/// Bytes of a report that is there already and is compared.
const REPORT_BYTES_MAX: u64 = 1 << 30;

/// The stage.
pub struct DayBooks {
    /// What happened.
    pub ledger: Arc<dyn Ledger>,
    /// Signs.
    pub keys: Arc<Keys>,
    /// Where books lie.
    pub books: Books,
    /// `spool/`
    pub spool_root: PathBuf,
    /// Days begin and end by its wall clock.
    pub zone: Tz,
    /// When days are closed.
    pub schedule: Cron,
    /// How long books are kept.
    pub policy: ReconciliationPolicy,
    /// Where trouble is said.
    pub alarms: Arc<dyn Alarms>,
    /// When reports that are owed are looked at again.
    pub owed_at: Mutex<Timestamp>,
    /// For tests.
    pub points: Points,
}

const ALARM: &str = "RECONCILIATION-FAILED";

impl DayBooks {
    /// Closes one day that is over, if there is one.
    pub fn step(&self, now: Timestamp) -> Result<Progress, WorkError> {
        // What a restored root does not know of its last days must not go out as if it were all.
        if self.ledger.head().unreconciled {
            return Ok(Progress::default());
        }
        let came = self.settle(now).and_then(|()| self.close_next(now));
        let text = |error: &WorkError| {
            format!("the books of a day could not be written: {error}; it is tried again")
        };
        Ok(contained(&*self.alarms, ALARM, now, came, text)?.unwrap_or_default())
    }

    fn close_next(&self, now: Timestamp) -> Result<Progress, WorkError> {
        let last = self.ledger.closed_day()?;
        if let Some(last) = last.as_ref().filter(|last| !self.books.has(&last.day)) {
            self.write(last, now)?;
        }
        let next = match &last {
            Some(last) => Some(self.day_from(last.until)),
            None => self.first_day(now)?,
        };
        let open = next.as_ref().map_or(0, |next| now.since(next.until).div_euclid(DAY) + 1).max(0);
        #[allow(clippy::cast_precision_loss, reason = "a figure for a graph")]
        metrics::gauge!(metric::DAYS_OPEN).set(open as f64);
        let Some(day) = next.filter(|day| self.due(day).is_some_and(|due| due <= now)) else {
            return Ok(Progress::default());
        };
        self.ledger.commit(Op::CloseDay(day.clone()), Actor::Daemon, now)?;
        self.points.pass("closed")?;
        self.write(&day, now)?;
        tracing::info!(day = day.day, "the books of a day are closed");
        Ok(Progress { done: 1, more: true })
    }

    /// Writes reports that are owed.
    fn settle(&self, now: Timestamp) -> Result<(), WorkError> {
        {
            let mut at = self.owed_at.lock().unwrap_or_else(PoisonError::into_inner);
            if now < *at {
                return Ok(());
            }
            *at = now.plus(OWED_PAUSE);
        }
        let owed = self.books.owed().doing(|| "looking for reports that are owed".into())?;
        let mut failed = BTreeSet::new();
        for (date, codes) in &owed {
            if codes.is_subset(&failed) {
                continue;
            }
            let day = self.day_from(calendar::day_begins(*date, self.zone));
            let sheets = Sheets::make(&*self.ledger, &day, self.zone)?;
            for (code, sheet) in sheets.insurers.iter().filter(|(code, _)| codes.contains(code)) {
                // In the order of their days; one alarm an insurer.
                if failed.contains(code) {
                    continue;
                }
                let signature = self.signature(sheet, &day)?;
                if !self.reported(code, &day, sheet, &signature, now)? {
                    failed.insert(code.clone());
                }
            }
        }
        for code in owed.values().flatten().filter(|code| !failed.contains(*code)) {
            self.alarms.clear(&format!("{ALARM} {code}"));
        }
        Ok(())
    }

    /// Writes an insurer's report, or notes that it is owed; whether it was written. Another's unwritable folder keeps nobody
    /// from the books.
    fn reported(
        &self,
        code: &InsurerCode,
        day: &ClosedDay,
        sheet: &Sheet,
        signature: &[u8],
        now: Timestamp,
    ) -> Result<bool, WorkError> {
        let doing = || format!("noting the report of {code}");
        match self.report_all(code, day, sheet, signature, now) {
            Ok(()) => {
                self.books.settle(&day.day, code).doing(doing)?;
                Ok(true)
            }
            Err(error @ (WorkError::Ledger(_) | WorkError::Stopped(_))) => Err(error),
            Err(error) => {
                self.books.owe(&day.day, code).doing(doing)?;
                let text =
                    format!("the report of {} could not be written: {error}; it is tried again", day.day);
                self.alarms.raise(&format!("{ALARM} {code}"), &text, now);
                Ok(false)
            }
        }
    }

    fn report_all(
        &self,
        code: &InsurerCode,
        day: &ClosedDay,
        sheet: &Sheet,
        signature: &[u8],
        now: Timestamp,
    ) -> Result<(), WorkError> {
        let totals = sheet.totals_json(day, code).map_err(io::Error::other);
        let totals = totals.doing(|| format!("signing the books of {}", day.day))?;
        let files = [("csv.sig", signature), ("json", &totals), ("csv", sheet.text().as_bytes())];
        self.report(code, day, files, now)
    }

    /// When a day is closed: at the first time of the schedule after its end.
    fn due(&self, day: &ClosedDay) -> Option<Timestamp> {
        self.schedule.next(day.until.plus(-1), self.zone)
    }

    /// The day that begins here.
    fn day_from(&self, from: Timestamp) -> ClosedDay {
        let day = from.date_in(self.zone);
        ClosedDay { day: day.to_string(), from, until: calendar::day_ends(day, self.zone) }
    }

    /// Of a journal that has no closed day yet: the day of its first event, not too long ago.
    fn first_day(&self, now: Timestamp) -> Result<Option<ClosedDay>, WorkError> {
        let Some(began) = self.ledger.began()? else { return Ok(None) };
        let today = now.date_in(self.zone);
        let earliest = today.checked_sub_days(Days::new(FIRST_DAYS_MAX)).unwrap_or(today);
        let first = began.date_in(self.zone).max(earliest);
        Ok(Some(self.day_from(calendar::day_begins(first, self.zone))))
    }

    /// Makes and places what is not there yet of a closed day.
    fn write(&self, day: &ClosedDay, now: Timestamp) -> Result<(), WorkError> {
        let sheets = Sheets::make(&*self.ledger, day, self.zone)?;
        let mut parts = BTreeMap::new();
        for (account, sheet) in &sheets.accounts {
            let name = account_part(account);
            parts.insert(signature_of(&name), self.signature(sheet, day)?);
            parts.insert(name, sheet.text().as_bytes().to_vec());
        }
        for (code, sheet) in &sheets.insurers {
            let name = insurer_part(code);
            let signature = self.signature(sheet, day)?;
            self.reported(code, day, sheet, &signature, now)?;
            parts.insert(signature_of(&name), signature);
            parts.insert(name, sheet.text().as_bytes().to_vec());
        }
        self.points.pass("reported")?;
        let parts: Vec<_> = parts.into_iter().collect();
        self.books.write(day, &parts).doing(|| format!("writing the books of {}", day.day))?;
        self.expire(now)
    }

    fn signature(&self, sheet: &Sheet, day: &ClosedDay) -> Result<Vec<u8>, WorkError> {
        let signature = self.keys.sign(RECONCILIATION_NAMESPACE, sheet.text().as_bytes());
        let signature = signature.map_err(io::Error::other);
        Ok(signature.doing(|| format!("signing the books of {}", day.day))?.into_bytes())
    }

    fn expire(&self, now: Timestamp) -> Result<(), WorkError> {
        let today = now.date_in(self.zone);
        let before = today.checked_sub_days(Days::new(u64::from(self.policy.keep_days)));
        let before = before.unwrap_or(NaiveDate::MIN);
        let gone = self.books.expire(before).doing(|| "removing old books".into())?;
        if gone > 0 {
            tracing::info!(days = gone, "books that are too old were removed");
        }
        Ok(())
    }

    /// Puts a day's files into an insurer's `reports/`. What is there under the same name is never written over.
    fn report(
        &self,
        code: &InsurerCode,
        day: &ClosedDay,
        files: [(&str, &[u8]); 3],
        now: Timestamp,
    ) -> Result<(), WorkError> {
        let doing = || format!("writing the reports of {code}");
        let spool = match InsurerSpool::open(&self.spool_root, code) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            spool => spool.doing(doing)?,
        };
        let signers = self.keys.allowed_signers();
        if read(&spool, "allowed_signers").doing(doing)?.as_deref() != Some(signers.as_bytes()) {
            spool.write_report("allowed_signers", signers.as_bytes()).doing(doing)?;
        }
        for (extension, bytes) in files {
            let name = format!("reconciliation-{}.{extension}", day.day);
            match read(&spool, &name).doing(doing)? {
                None => spool.write_report(&name, bytes).doing(doing)?,
                Some(there) if Digest::of(&there) == Digest::of(bytes) => {}
                Some(_) => {
                    let text = format!(
                        "reports/{name} is there with other content; it was left as it is: see `todoke reconcile --day {}`",
                        day.day
                    );
                    self.alarms.raise(&format!("RECONCILIATION-DIFFERS {code}"), &text, now);
                }
            }
        }
        Ok(())
    }
}

/// What lies in `reports/` under this name.
pub(super) fn read(spool: &InsurerSpool, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match spool.reports.open_file(name, rustix::fs::OFlags::RDONLY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !is_lone_file(&rustix::fs::fstat(&file)?) {
        return Ok(Some(Vec::new()));
    }
    let mut bytes = Vec::new();
    file.take(REPORT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
