//! Accepted submissions into the insurers' `new/`, and out of it again when they are withdrawn.
//!
//! | `.tmp/NUMBER` | ledger | after a crash |
//! |---|---|---|
//! | there | `Accepted` | was never promised: removed and staged anew |
//! | there | `Publishing` | complete and durable: renamed |
//! | absent | `Publishing` | was renamed: recorded as published |
//! | `withdrawn-NUMBER` | `Published` | the withdrawal was not recorded: renamed back (at start: until then nobody knows) |
//! | `withdrawn-NUMBER` | `Withdrawn` | erased |

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::alarms::Alarms;
use super::step::{Doing as _, Points, Progress, WorkError, contained};
use crate::model::card::{DecisionCard, SubmissionCard};
use crate::model::ids::{AccountId, InsurerCode, Number};
use crate::model::party::Actor;
use crate::model::submission::{State, Submission};
use crate::model::time::{SECOND, Timestamp};
use crate::store::blobs::Blobs;
use crate::store::ledger::{Done, Ledger, LedgerError, Op, Queue, Refusal, Task};
use crate::store::spool::{Folder, InsurerSpool, Place, insurer_path};

mod stage;

pub use stage::CARD_BYTES_MAX;
pub(in crate::work) use stage::{EVIDENCE, around};

/// How publication goes about it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublishPolicy {
    /// Submissions that share their fsyncs.
    pub batch: usize,
    /// After a failure, the submission waits this long, in seconds.
    pub retry_seconds: u32,
}

impl Default for PublishPolicy {
    fn default() -> Self {
        Self { batch: 512, retry_seconds: 60 }
    }
}

/// Whoever moves folders between an insurer's places holds this: publication, withdrawal, the scan of imports, erasure.
/// Importers do not, and need not.
#[derive(Debug, Clone, Default)]
pub struct SpoolTurn(Arc<Mutex<Unsettled>>);

/// Insurers of whose withdrawals a crash left one half done that could not be finished yet. Until it is, nothing is published
/// to them, and what is missing in their folders says nothing.
pub type Unsettled = BTreeSet<InsurerCode>;

impl SpoolTurn {
    /// Waits for its turn.
    pub fn take(&self) -> MutexGuard<'_, Unsettled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stage.
pub struct Publisher {
    /// What is true.
    pub ledger: Arc<dyn Ledger>,
    /// Where bytes and cards lie.
    pub blobs: Arc<dyn Blobs>,
    /// `spool/`
    pub spool_root: PathBuf,
    /// How.
    pub policy: PublishPolicy,
    /// Shared with [`super::imports::Imports`] and [`super::retention::Retention`].
    pub turn: SpoolTurn,
    /// Where trouble is said.
    pub alarms: Arc<dyn Alarms>,
    /// For tests.
    pub points: Points,
}

/// Submissions of one spool within a step.
struct Lot {
    spool: InsurerSpool,
    staged: Vec<Number>,
    to_rename: Vec<Number>,
}

type Lots = BTreeMap<InsurerCode, Lot>;

/// What became of a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// Withdrawn; nothing of it is in the insurer's folders any more.
    Withdrawn,
    /// The importer was faster: it is collected, and only the insurer can help.
    Collected,
    /// The state does not allow it (refused, withdrawn before, ...), or it is somebody else's.
    Refused(Refusal),
    /// It is on its way into the spool and the file system does not answer rightly: try again.
    NotNow,
}

impl Publisher {
    /// Publishes one batch.
    pub fn step(&self, now: Timestamp) -> Result<Progress, WorkError> {
        let mut unsettled = self.turn.take();
        let left: Vec<_> = unsettled.iter().cloned().collect();
        self.settle(&mut unsettled, left, now)?;
        let lease = 10 * 60 * SECOND;
        let tasks = self.ledger.claim(Queue::Publish, now, lease, self.policy.batch)?;
        let full = tasks.len() >= self.policy.batch;
        let numbers: Vec<Number> = tasks.iter().filter_map(number_of).collect();
        match self.publish(&unsettled, &numbers, now) {
            // One insurer's that must wait are no reason to let those behind them wait.
            Ok(done) => Ok(Progress { done, more: full }),
            Err(error) => {
                self.postpone(&numbers, now);
                Err(error)
            }
        }
    }

    fn postpone(&self, numbers: &[Number], now: Timestamp) {
        let tasks: Vec<_> = numbers.iter().map(|number| Task::Submission(*number)).collect();
        let until = now.plus(i64::from(self.policy.retry_seconds) * SECOND);
        self.ledger.postpone(Queue::Publish, &tasks, until);
    }

    fn publish(&self, unsettled: &Unsettled, numbers: &[Number], now: Timestamp) -> Result<u64, WorkError> {
        let mut lots = self.stage_all(unsettled, numbers, now)?;
        self.points.pass("staged")?;
        for (code, lot) in std::mem::take(&mut lots) {
            if lot.staged.is_empty() {
                lots.insert(code, lot);
                continue;
            }
            let synced =
                lot.spool.tmp.sync_file_system().doing(|| "making staged submissions durable".into());
            if self.of_insurer(&code, &lot, now, synced)?.is_some() {
                lots.insert(code, lot);
            }
        }
        self.points.pass("durable")?;
        let staged: Vec<Number> = lots.values().flat_map(|lot| lot.staged.iter().copied()).collect();
        if !staged.is_empty() {
            let done = self.ledger.commit(Op::PublishIntend(staged), Actor::Daemon, now)?;
            let intended = numbers_of(done);
            for lot in lots.values_mut() {
                for number in std::mem::take(&mut lot.staged) {
                    if intended.contains(&number) {
                        lot.to_rename.push(number);
                    } else if let Err(error) = lot.spool.tmp.remove_all(number.to_string()) {
                        // Withdrawn between staging and intent; the sweep takes what stays.
                        tracing::warn!(%number, %error, "its stage could not be removed");
                    }
                }
            }
        }
        self.points.pass("intended")?;
        let mut published = Vec::new();
        for (code, lot) in &lots {
            let renamed = self.rename_lot(lot, now);
            published.extend(self.of_insurer(code, lot, now, renamed)?.unwrap_or_default());
        }
        self.points.pass("renamed")?;
        let count = published.len() as u64;
        if count > 0 {
            self.ledger.commit(Op::Published(published), Actor::Daemon, now)?;
        }
        Ok(count)
    }

    /// One insurer's trouble is an alarm of that insurer's and lets its own submissions wait.
    fn of_insurer<T>(
        &self,
        code: &InsurerCode,
        lot: &Lot,
        now: Timestamp,
        came: Result<T, WorkError>,
    ) -> Result<Option<T>, WorkError> {
        let text = |error: &WorkError| {
            format!(
                "publication failed {error}; the insurer's submissions wait and are tried again; run `todoke doctor`"
            )
        };
        let came = contained(&*self.alarms, &unavailable(code), now, came, text)?;
        if came.is_none() {
            let waiting: Vec<_> = lot.staged.iter().chain(&lot.to_rename).copied().collect();
            self.postpone(&waiting, now);
        }
        Ok(came)
    }

    /// Stages what is accepted; sorts what was promised before a crash straight to the renames.
    fn stage_all(
        &self,
        unsettled: &Unsettled,
        numbers: &[Number],
        now: Timestamp,
    ) -> Result<Lots, WorkError> {
        let mut lots = Lots::new();
        for number in numbers {
            let Some(submission) = self.ledger.submission(*number)? else { continue };
            // Nothing of a test identity reaches a spool (H3); the ledger would refuse the intent as well.
            if submission.test || !matches!(submission.state, State::Accepted | State::Publishing) {
                continue;
            }
            let code = submission.insurer.clone();
            if unsettled.contains(&code) {
                self.postpone(&[*number], now);
                continue;
            }
            if !lots.contains_key(&code) {
                match InsurerSpool::open(&self.spool_root, &code) {
                    Ok(spool) => {
                        let lot = Lot { spool, staged: Vec::new(), to_rename: Vec::new() };
                        lots.insert(code.clone(), lot);
                    }
                    Err(error) => {
                        let text = format!(
                            "the insurer's folder cannot be opened ({error}); accepted submissions wait; run `todoke doctor`"
                        );
                        self.alarms.raise(&unavailable(&code), &text, now);
                        self.postpone(&[*number], now);
                        continue;
                    }
                }
            }
            let Some(lot) = lots.get_mut(&code) else { continue };
            if submission.state == State::Publishing {
                lot.to_rename.push(*number);
                continue;
            }
            let alarm = format!("PUBLISH-FAILED {number}");
            match self.stage(&lot.spool, &submission) {
                Ok(()) => {
                    self.alarms.clear(&alarm);
                    lot.staged.push(*number);
                }
                Err(error) => {
                    let text = format!(
                        "cannot be put into the insurer's spool: {error}; it waits and is tried again"
                    );
                    self.alarms.raise(&alarm, &text, now);
                    self.postpone(&[*number], now);
                    let _ = lot.spool.tmp.remove_all(number.to_string());
                }
            }
        }
        Ok(lots)
    }

    /// Renames what was promised, then makes both folders durable once. Absent from `.tmp` means that it was renamed.
    fn rename_lot(&self, lot: &Lot, now: Timestamp) -> Result<Vec<Number>, WorkError> {
        let mut renamed = Vec::with_capacity(lot.to_rename.len());
        for number in &lot.to_rename {
            let name = number.to_string();
            let alarm = format!("PUBLISH-BLOCKED {number}");
            match lot.spool.tmp.rename(&name, &lot.spool.new, &name) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && Self::is_renamed(lot, &name)? => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let text = "new/ holds something of this number that the gateway did not put there: look into its evidence/receipt.json, then move it away";
                    self.alarms.raise(&alarm, text, now);
                    self.postpone(&[*number], now);
                    continue;
                }
                Err(error) => return Err(error).doing(|| format!("renaming {name} into new/")),
            }
            self.alarms.clear(&alarm);
            renamed.push(*number);
            self.points.pass("one renamed")?;
        }
        if !renamed.is_empty() {
            lot.spool.new.sync().doing(|| "making new/ durable".into())?;
            lot.spool.tmp.sync().doing(|| "making .tmp/ durable".into())?;
        }
        Ok(renamed)
    }

    /// What is not found may be `new/` itself.
    fn is_renamed(lot: &Lot, name: &str) -> Result<bool, WorkError> {
        Ok(lot.spool.tmp.stat(name).doing(|| format!("looking for .tmp/{name}"))?.is_none())
    }

    fn stage(&self, spool: &InsurerSpool, submission: &Submission) -> io::Result<()> {
        let card: SubmissionCard = self.card(&submission.card.blob)?;
        let decision: Option<DecisionCard> =
            submission.decision.as_ref().map(|card| self.card(&card.blob)).transpose()?;
        let name = submission.number.to_string();
        let folder = match spool.tmp.make(&name, spool.folder_mode(), spool.group) {
            // Left by a step that ended before the intent.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                spool.tmp.remove_all(&name)?;
                spool.tmp.make(&name, spool.folder_mode(), spool.group)?
            }
            made => made?,
        };
        for file in &submission.files {
            self.blobs.export(&file.blob, folder.fd(), &file.export_name, spool.group)?;
        }
        stage::write_around(&folder, spool, submission, &card, decision.as_ref())
    }

    fn card<T: serde::de::DeserializeOwned>(&self, blob: &crate::model::ids::BlobId) -> io::Result<T> {
        Ok(serde_json::from_slice(&self.blobs.get(blob, CARD_BYTES_MAX)?)?)
    }

    /// Withdraws a submission (H26), out of `new/` where it is there already. `account` is the sender's; none for the
    /// operator.
    pub fn withdraw(
        &self,
        number: Number,
        account: Option<&AccountId>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Withdrawal, WorkError> {
        let op = Op::Withdraw { number, account: account.cloned() };
        let done = self.taking_out(number, account, now, || self.ledger.commit(op, by.clone(), now))?;
        match done {
            Ok(Ok(_)) => Ok(Withdrawal::Withdrawn),
            Ok(Err(LedgerError::Refused(refusal))) => Ok(Withdrawal::Refused(refusal)),
            Ok(Err(error)) => Err(error.into()),
            Err(withdrawal) => Ok(withdrawal),
        }
    }

    /// Takes a submission out of `new/`, where it is there already, while `commit` records its withdrawal; puts it back when
    /// the ledger refused. Where nobody knows whether it is recorded, it stays aside until the next start. The inner error
    /// says why `commit` was not asked.
    ///
    /// Order: one rename out of `new/` (or the importer was faster), both folders durable, the event, the erasure.
    pub fn taking_out(
        &self,
        number: Number,
        account: Option<&AccountId>,
        now: Timestamp,
        commit: impl FnOnce() -> Result<Done, LedgerError>,
    ) -> Result<Result<Result<Done, LedgerError>, Withdrawal>, WorkError> {
        let unsettled = self.turn.take();
        let missing = || Ok(Err(Withdrawal::Refused(Refusal::Missing(number.to_string()))));
        let Some(mut submission) = self.ledger.submission(number)? else { return missing() };
        if account.is_some_and(|account| *account != submission.account) {
            return Ok(Err(Withdrawal::Refused(Refusal::NotYours(number.to_string()))));
        }
        if unsettled.contains(&submission.insurer) {
            return Ok(Err(Withdrawal::NotNow));
        }
        if submission.state == State::Publishing {
            self.publish(&unsettled, &[number], now)?;
            let Some(again) = self.ledger.submission(number)? else { return missing() };
            submission = again;
        }
        match submission.state {
            State::Publishing => return Ok(Err(Withdrawal::NotNow)),
            State::Collected | State::Imported | State::ImportFailed => {
                return Ok(Err(Withdrawal::Collected));
            }
            State::Published => {}
            _ => return Ok(Ok(commit())),
        }
        let spool = InsurerSpool::open(&self.spool_root, &submission.insurer)
            .doing(|| format!("opening the spool of {}", submission.insurer))?;
        self.clear_the_way(&spool, number)?;
        if !put_aside(&spool, number)? {
            let importer = Actor::Importer(submission.insurer.clone());
            self.ledger.commit(Op::Collect(number), importer, now)?;
            return Ok(Err(Withdrawal::Collected));
        }
        self.points.pass("aside")?;
        let done = commit();
        self.points.pass("recorded")?;
        match &done {
            // Nobody knows whether it is recorded: back in new/ it could be imported although it is withdrawn.
            Err(error) if !error.is_not_recorded() => {}
            Err(_) => self.settle_aside(&spool, number)?,
            Ok(_) => {
                if let Err(error) = self.settle_aside(&spool, number) {
                    tracing::error!(%number, %error, "it is withdrawn, but still in .tmp/; the sweep takes it");
                }
            }
        }
        Ok(Ok(done))
    }

    /// Nothing may lie in `.tmp/withdrawn-NUMBER`; what an earlier withdrawal could not put back goes back first.
    fn clear_the_way(&self, spool: &InsurerSpool, number: Number) -> Result<(), WorkError> {
        if let Some(why) = self.ledger.stopped() {
            return Err(LedgerError::Stopped(why).into());
        }
        let (name, aside) = (number.to_string(), withdrawn_aside(number));
        if spool.tmp.stat(&aside).doing(|| format!("looking for {aside}"))?.is_none() {
            return Ok(());
        }
        if spool.new.stat(&name).doing(|| format!("looking for {name}"))?.is_none() {
            return self.settle_aside(spool, number);
        }
        spool.tmp.remove_all(&aside).doing(|| format!("clearing .tmp/{aside}"))
    }

    /// What lies in `.tmp/withdrawn-NUMBER` goes where the ledger says: away, or back.
    fn settle_aside(&self, spool: &InsurerSpool, number: Number) -> Result<(), WorkError> {
        let published =
            self.ledger.submission(number)?.is_some_and(|submission| submission.state == State::Published);
        if !published {
            return erase_aside(spool, number);
        }
        let (name, aside) = (number.to_string(), withdrawn_aside(number));
        spool.tmp.rename(&aside, &spool.new, &name).doing(|| format!("putting {name} back into new/"))?;
        spool.new.sync().doing(|| "making new/ durable".into())?;
        spool.tmp.sync().doing(|| "making .tmp/ durable".into())
    }

    /// Finishes withdrawals that a crash cut short; to be called once at start, before the first [`Publisher::step`]. Where an
    /// insurer's folder does not allow it, that insurer waits, and each step tries again.
    pub fn recover(&self) -> Result<Progress, WorkError> {
        let mut unsettled = self.turn.take();
        let insurers = self.ledger.insurers()?.into_iter().map(|insurer| insurer.code).collect();
        let done = self.settle(&mut unsettled, insurers, self.ledger.head().at)?;
        Ok(Progress { done, more: false })
    }

    fn settle(
        &self,
        unsettled: &mut Unsettled,
        insurers: Vec<InsurerCode>,
        now: Timestamp,
    ) -> Result<u64, WorkError> {
        if let Some(why) = self.ledger.stopped().filter(|_| !insurers.is_empty()) {
            // Nobody knows whether what lies aside is withdrawn.
            return Err(LedgerError::Stopped(why).into());
        }
        let mut done = 0;
        for code in insurers {
            let text = |error: &WorkError| {
                format!(
                    "a withdrawal that was cut short cannot be finished {error}; nothing is published to this insurer \
                     until it can; run `todoke doctor`"
                )
            };
            let came = contained(&*self.alarms, &unavailable(&code), now, self.settle_insurer(&code), text)?;
            match came {
                Some(settled) => {
                    done += settled;
                    unsettled.remove(&code);
                }
                None => drop(unsettled.insert(code)),
            }
        }
        Ok(done)
    }

    fn settle_insurer(&self, code: &InsurerCode) -> Result<u64, WorkError> {
        let spool = match InsurerSpool::open(&self.spool_root, code) {
            Ok(spool) => spool,
            Err(_) if !insurer_path(&self.spool_root, code).exists() => return Ok(0),
            Err(error) => return Err(error).doing(|| format!("opening the spool of {code}")),
        };
        let mut done = 0;
        for number in asides(&spool.tmp).doing(|| "reading .tmp/".into())? {
            self.settle_aside(&spool, number)?;
            done += 1;
        }
        Ok(done)
    }
}

fn unavailable(code: &InsurerCode) -> String {
    format!("SPOOL-UNAVAILABLE {code}")
}

fn asides(tmp: &Folder) -> io::Result<Vec<Number>> {
    let mut found = Vec::new();
    for name in tmp.names()? {
        let name = name?;
        let number = name.to_str().and_then(|name| name.strip_prefix("withdrawn-"));
        found.extend(number.and_then(|number| Number::parse(number).ok()));
    }
    Ok(found)
}

fn number_of(task: &Task) -> Option<Number> {
    match task {
        Task::Submission(number) => Some(*number),
        _ => None,
    }
}

fn numbers_of(done: Done) -> Vec<Number> {
    match done {
        Done::Numbers(numbers) => numbers,
        _ => Vec::new(),
    }
}

/// Where a submission lies in `.tmp/` while it is withdrawn.
pub(super) fn withdrawn_aside(number: Number) -> String {
    format!("withdrawn-{number}")
}

/// Takes a submission out of `new/`, durably; false when it is not there.
pub(super) fn put_aside(spool: &InsurerSpool, number: Number) -> Result<bool, WorkError> {
    let name = number.to_string();
    match spool.new.rename(&name, &spool.tmp, withdrawn_aside(number)) {
        Ok(()) => {}
        // The importer was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).doing(|| format!("taking {name} out of new/")),
    }
    spool.new.sync().doing(|| "making new/ durable".into())?;
    spool.tmp.sync().doing(|| "making .tmp/ durable".into())?;
    Ok(true)
}

/// Erases what [`put_aside`] took.
pub(super) fn erase_aside(spool: &InsurerSpool, number: Number) -> Result<(), WorkError> {
    let aside = withdrawn_aside(number);
    spool.tmp.remove_all(&aside).doing(|| format!("erasing {aside}"))?;
    spool.tmp.sync().doing(|| "making .tmp/ durable".into())
}

/// Whether a published submission is in one of the insurer's places, looked for in the order in which it moves.
pub(super) fn find(spool: &InsurerSpool, name: &str) -> io::Result<Option<Place>> {
    for place in [Place::New, Place::Cur, Place::Done, Place::Failed] {
        if spool.place(place).stat(name)?.is_some() {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
