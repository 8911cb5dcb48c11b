//! Cut-offs: at each, `batches/batch-YYYYMMDD-HHMM.csv` names every receipt accepted since the one before, an empty one too, so
//! that absence is noticed. Signed by the gateway (namespace `todoke-batch`).
//!
//! | `.tmp/batch-...` | ledger | after a crash |
//! |---|---|---|
//! | there | not closed | was never promised: written anew |
//! | there | closed | complete and durable: renamed, the signature first |
//! | absent | closed | was renamed; never made again, even if the importer has taken it away |
//!
//! What is in a batch goes by the journal: acceptances after the last batch's and before the cut-off. The event that closes it is
//! refused when something slipped in between, and nothing can afterwards, since times in the journal never go back.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use chrono_tz::Tz;

use super::alarms::Alarms;
use super::step::{Doing as _, Points, Progress, WorkError, contained};
use crate::model::day::Batch;
use crate::model::escape::csv_field;
use crate::model::ids::{Digest, InsurerCode};
use crate::model::metric;
use crate::model::party::{Actor, Standing};
use crate::model::submission::Submission;
use crate::model::time::{DAY, Timestamp};
use crate::rules::calendar::{self, BusinessDays, CalendarPolicy};
use crate::signed::sshsig::BATCH_NAMESPACE;
use crate::store::keys::Keys;
use crate::store::ledger::{Acceptance, CalendarState, Ledger, LedgerError, Op, Refusal};
use crate::store::spool::{Folder, InsurerSpool};

/// Gives an insurer's calendar in force, or says why it cannot be read.
pub type Calendars = dyn Fn(&InsurerCode) -> Result<(CalendarPolicy, BusinessDays), String> + Send + Sync;

/// Acceptances asked for at once.
const PAGE: usize = 1_000;
/// Batches closed in one step.
const STEP_BATCHES: usize = 20;

/// The stage.
pub struct Batches {
    /// What was accepted.
    pub ledger: Arc<dyn Ledger>,
    /// Signs.
    pub keys: Arc<Keys>,
    /// `spool/`
    pub spool_root: PathBuf,
    /// Insurers' calendars.
    pub calendars: Arc<Calendars>,
    /// Cut-offs are by its wall clock.
    pub zone: Tz,
    /// Where trouble is said.
    pub alarms: Arc<dyn Alarms>,
    /// For tests.
    pub points: Points,
}

impl Batches {
    /// Closes what is due, of every insurer.
    pub fn step(&self, now: Timestamp) -> Result<Progress, WorkError> {
        let mut progress = Progress::default();
        // A restored root sends nothing out before the operator has compared.
        if self.ledger.head().unreconciled {
            return Ok(progress);
        }
        for insurer in self.ledger.insurers()?.into_iter().filter(|of| of.standing != Standing::Closed) {
            let alarm = format!("BATCH-FAILED {}", insurer.code);
            let text = |error: &WorkError| {
                format!("the batch of a cut-off could not be written: {error}; run `todoke doctor`")
            };
            let came = self.keep(&insurer.code, now);
            progress = progress.and(contained(&*self.alarms, &alarm, now, came, text)?.unwrap_or_default());
        }
        Ok(progress)
    }

    fn keep(&self, code: &InsurerCode, now: Timestamp) -> Result<Progress, WorkError> {
        let alarm = format!("CALENDAR-UNREADABLE {code}");
        let calendar = (self.calendars)(code);
        let state = self.ledger.calendar(code)?;
        if let Some(CalendarState { batch: Some(batch), .. }) = &state {
            self.place(code, &batch.name)?;
        }
        let (policy, days) = match calendar {
            Ok(calendar) => calendar,
            Err(why) => {
                let text = format!("no cut-off is kept and nothing is awaited: {why}; correct the file");
                self.alarms.raise(&alarm, &text, now);
                return Ok(Progress::default());
            }
        };
        self.alarms.clear(&alarm);
        if policy.is_empty() && state.is_none() {
            return Ok(Progress::default());
        }
        let cut_offs = policy.cut_off_digest();
        let Some(mut state) = state.filter(|state| state.cut_offs.0 == Some(cut_offs)) else {
            // Times that were not kept then were not missed: nobody awaits their batches.
            self.ledger.commit(Op::BeginCalendar { insurer: code.clone(), cut_offs }, Actor::Daemon, now)?;
            return Ok(Progress::default());
        };
        let mut progress = Progress::default();
        let due = due(&policy, &days, &state, now, self.zone);
        for slot in due.iter().take(STEP_BATCHES) {
            let Some(batch) = self.close(code, &state, *slot, now)? else {
                return Ok(Progress { more: true, ..progress });
            };
            state.batch = Some(batch);
            progress.done += 1;
        }
        Ok(Progress { more: due.len() > STEP_BATCHES, ..progress })
    }

    /// Closes one; none when something was accepted meanwhile that belongs into it.
    fn close(
        &self,
        code: &InsurerCode,
        state: &CalendarState,
        slot: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Batch>, WorkError> {
        let name = format!("batch-{}.csv", calendar::reading(slot, self.zone).format("%Y%m%d-%H%M"));
        let mut upto = state.batch.as_ref().map_or(0, |batch| batch.upto);
        let mut sheet = Sheet::new(self.zone);
        loop {
            let page = self.ledger.acceptances(code, upto, slot, PAGE)?;
            for accepted in &page {
                if let Some(submission) = self.ledger.submission(accepted.number)? {
                    sheet.row(accepted, &submission);
                }
            }
            upto = page.last().map_or(upto, |last| last.seq);
            if page.len() < PAGE {
                break;
            }
        }
        let bytes = sheet.text.into_bytes();
        self.stage(code, &name, &bytes)?;
        self.points.pass("staged")?;
        let batch = Batch { slot, upto, rows: sheet.rows, sha256: Digest::of(&bytes), name };
        let op = Op::CloseBatch { insurer: code.clone(), batch: batch.clone() };
        match self.ledger.commit(op, Actor::Daemon, now) {
            Ok(_) => {}
            Err(LedgerError::Refused(Refusal::NotNow(why))) => {
                tracing::info!(insurer = %code, why, "a batch is made again");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        self.points.pass("closed")?;
        self.place(code, &batch.name)?;
        metrics::counter!(metric::BATCHES).increment(1);
        tracing::info!(insurer = %code, batch = batch.name, receipts = batch.rows, "a batch was closed");
        Ok(Some(batch))
    }

    fn open(&self, code: &InsurerCode) -> Result<(InsurerSpool, Folder), WorkError> {
        let spool =
            InsurerSpool::open(&self.spool_root, code).doing(|| format!("opening the spool of {code}"))?;
        let batches = spool.root.sub("batches").doing(|| format!("opening batches/ of {code}"))?;
        Ok((spool, batches))
    }

    fn stage(&self, code: &InsurerCode, name: &str, bytes: &[u8]) -> Result<(), WorkError> {
        let (spool, _) = self.open(code)?;
        let signature = self.keys.sign(BATCH_NAMESPACE, bytes).map_err(io::Error::other);
        let signature = signature.doing(|| format!("signing {name} of {code}"))?;
        let write = |name: &str, bytes: &[u8]| {
            spool.tmp.remove_file(name)?;
            spool.tmp.write_new(name, bytes, 0o440, spool.group)?.sync_all()
        };
        write(name, bytes)
            .and_then(|()| write(&signature_of(name), signature.as_bytes()))
            .and_then(|()| spool.tmp.sync())
            .doing(|| format!("staging {name} of {code}"))
    }

    /// Moves what a closed batch still has in `.tmp/` to where the importer finds it.
    fn place(&self, code: &InsurerCode, name: &str) -> Result<(), WorkError> {
        let (spool, batches) = self.open(code)?;
        for name in [signature_of(name), name.to_owned()] {
            let staged = spool.tmp.stat(&name).doing(|| format!("looking for {name} of {code}"))?;
            if staged.is_none() {
                continue;
            }
            spool
                .tmp
                .rename(&name, &batches, &name)
                .and_then(|()| batches.sync())
                .and_then(|()| spool.tmp.sync())
                .doing(|| format!("placing batches/{name} of {code}"))?;
            self.points.pass("renamed")?;
        }
        Ok(())
    }
}

fn signature_of(name: &str) -> String {
    format!("{name}.sig")
}

/// Whether something in `.tmp/` is a closed batch's, which waits for its place.
pub(super) fn is_closed_stage(state: Option<&CalendarState>, name: &str) -> bool {
    let closed = state.and_then(|state| state.batch.as_ref());
    closed.is_some_and(|batch| name.strip_suffix(".sig").unwrap_or(name) == batch.name)
}

/// Cut-offs that are due, in order; those missed for longer than the policy catches up are left out.
fn due(
    policy: &CalendarPolicy,
    days: &BusinessDays,
    state: &CalendarState,
    now: Timestamp,
    zone: Tz,
) -> Vec<Timestamp> {
    let (_, since) = state.cut_offs;
    let last = state.batch.as_ref().map_or(since, |batch| batch.slot.max(since));
    let after = last.max(now.plus(-i64::from(policy.catch_up_days) * DAY));
    calendar::slots(&policy.cut_offs, (policy.shift, days), after, now, zone)
}

/// The rows of a batch: one for each receipt. ASCII, CRLF; times are local with their offset.
struct Sheet {
    text: String,
    rows: u64,
    zone: Tz,
}

const HEAD: &str = "number,state,kind,account,office,received_at,accepted_at,forms,records,files,bytes,manifest_sha256,\
                    files_sha256,withdraws\r\n";

impl Sheet {
    fn new(zone: Tz) -> Self {
        Self { text: HEAD.to_owned(), rows: 0, zone }
    }

    fn row(&mut self, accepted: &Acceptance, of: &Submission) {
        let list = |items: Vec<String>| items.join(" ");
        let forms = list(of.forms.iter().map(|(form, count)| format!("{form}:{count}")).collect());
        let hashes =
            list(of.files.iter().map(|file| format!("{}:{}", file.export_name, file.sha256)).collect());
        let fields = [
            of.number.to_string(),
            of.state.word().to_owned(),
            of.what().to_owned(),
            of.account.to_string(),
            of.office.as_ref().map(ToString::to_string).unwrap_or_default(),
            of.received_at.stamped_in(self.zone),
            accepted.at.stamped_in(self.zone),
            forms,
            of.forms.iter().map(|(_, count)| count).sum::<u64>().to_string(),
            of.files.len().to_string(),
            of.files.iter().map(|file| file.size).sum::<u64>().to_string(),
            of.manifest.to_string(),
            hashes,
            of.withdraws.map(|number| number.to_string()).unwrap_or_default(),
        ];
        let fields: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
        self.text.push_str(&fields.join(","));
        self.text.push_str("\r\n");
        self.rows += 1;
    }
}
