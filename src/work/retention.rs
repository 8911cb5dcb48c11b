//! Erasure of what was handed over: collected submissions hold individual numbers, and stay no longer than the table says.
//!
//! Order: `EraseIntended`, the folder out of the insurer's reach by one rename, folder and blobs removed durably,
//! `Erased`. Each step finds what an earlier one left.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::alarms::Alarms;
use super::publish::SpoolTurn;
use super::step::{Doing as _, Points, Progress, WorkError, contained};
use crate::model::ids::{BlobId, InsurerCode, Number};
use crate::model::party::Actor;
use crate::model::submission::{State, Submission};
use crate::model::time::{DAY, SECOND, Timestamp};
use crate::store::blobs::Blobs;
use crate::store::ledger::{Done, Ledger, Op};
use crate::store::spool::{InsurerSpool, Place};

/// Days after which things are erased.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionPolicy {
    /// Payload of collected submissions, after their collection or the end of their import.
    pub collected_days: u32,
    /// So many days before, the operator is told of collected ones whose import never ended well.
    pub unimported_warn_days: u32,
    /// Payload of refused submissions.
    pub refused_days: u32,
    /// Payload of withdrawn submissions.
    pub withdrawn_days: u32,
    /// Payload of accepted submissions of test identities, which no insurer ever collects (H3).
    pub test_days: u32,
    /// Cards with receipts, subjects and names: after the submission's last change, once its payload is erased.
    pub cards_days: u32,
    /// Cards of mails, after they were sent or given up.
    pub mails_days: u32,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self {
            collected_days: 70,
            unimported_warn_days: 7,
            refused_days: 7,
            withdrawn_days: 7,
            test_days: 7,
            cards_days: 730,
            mails_days: 70,
        }
    }
}

/// Submissions erased at once.
const BATCH: usize = 200;
/// The operator is told at least so long before anything goes that was collected and not imported.
const WARNED: i64 = 6 * 3600 * SECOND;
/// Submissions that are looked at for that.
const LOOKED_AT: usize = 10_000;
/// What was collected and not imported.
const UNIMPORTED: [State; 2] = [State::Collected, State::ImportFailed];

/// The stage.
pub struct Retention {
    /// What is true.
    pub ledger: Arc<dyn Ledger>,
    /// Where bytes and cards lie.
    pub blobs: Arc<dyn Blobs>,
    /// `spool/`
    pub spool_root: PathBuf,
    /// The table.
    pub policy: RetentionPolicy,
    /// Shared with publication and the scan of imports.
    pub turn: SpoolTurn,
    /// Where trouble is said.
    pub alarms: Arc<dyn Alarms>,
    /// Since when each insurer's operator is told of what was not imported.
    pub warned: Mutex<BTreeMap<InsurerCode, Timestamp>>,
    /// For tests.
    pub points: Points,
}

impl Retention {
    /// Erases one batch of each kind. To be called only while the clock counts as right ([`super::guard::Guard`]).
    pub fn step(&self, now: Timestamp) -> Result<Progress, WorkError> {
        self.warn(now)?;
        // The ledger gives accepted ones only of test identities.
        let table: [(&[State], u32); 5] = [
            (&[State::Accepted], self.policy.test_days),
            (&[State::Imported], self.policy.collected_days),
            (&UNIMPORTED, self.policy.collected_days),
            (&[State::Refused], self.policy.refused_days),
            (&[State::Withdrawn, State::CarriedOut], self.policy.withdrawn_days),
        ];
        let mut progress = Progress::default();
        for (states, days) in table {
            progress = progress.and(self.erase_payloads(states, now.plus(-i64::from(days) * DAY), now)?);
        }
        let before = now.plus(-i64::from(self.policy.cards_days) * DAY);
        progress = progress.and(self.erase_cards(before, now)?);
        let before = now.plus(-i64::from(self.policy.mails_days) * DAY);
        Ok(progress.and(self.erase_mail_cards(before, now)?))
    }

    /// Tells of what will be erased although its import never ended well: it may be the last copy that can still be imported.
    fn warn(&self, now: Timestamp) -> Result<(), WorkError> {
        let day = now.plus(-i64::from(self.policy.collected_days) * DAY);
        let soon = day.plus_days(self.policy.unimported_warn_days);
        let mut going: BTreeMap<InsurerCode, (u64, Number)> = BTreeMap::new();
        for number in self.ledger.erasable(&UNIMPORTED, soon, LOOKED_AT)? {
            let Some(submission) = self.ledger.submission(number)? else { continue };
            going.entry(submission.insurer).or_insert((0, number)).0 += 1;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|insurer, _| {
            let still = going.contains_key(insurer);
            if !still {
                self.alarms.clear(&unimported(insurer));
            }
            still
        });
        for (insurer, (count, first)) in going {
            let text = format!(
                "{count} submissions, the first {first}, were collected and never imported, or their import failed; they are \
                 erased within {} days: ask the insurer to move them to done/, or to take them again",
                self.policy.unimported_warn_days
            );
            self.alarms.raise(&unimported(&insurer), &text, now);
            warned.entry(insurer).or_insert(now);
        }
        Ok(())
    }

    fn was_warned(&self, submission: &Submission, now: Timestamp) -> bool {
        let warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        !UNIMPORTED.contains(&submission.state)
            || warned.get(&submission.insurer).is_some_and(|since| now.since(*since) >= WARNED)
    }

    fn erase_payloads(
        &self,
        states: &[State],
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Progress, WorkError> {
        let _turn = self.turn.take();
        let numbers = self.ledger.erasable(states, before, BATCH)?;
        let full = numbers.len() == BATCH;
        let mut by_number = BTreeMap::new();
        for number in numbers {
            let Some(submission) = self.ledger.submission(number)? else { continue };
            let due = states.contains(&submission.state)
                && (submission.test || submission.state != State::Accepted);
            if due && self.was_warned(&submission, now) && self.may_go(&submission, now)? {
                by_number.insert(number, submission);
            }
        }
        if by_number.is_empty() {
            return Ok(Progress::default());
        }
        let intend = Op::EraseIntend(by_number.keys().copied().collect());
        let Done::Numbers(intended) = self.ledger.commit(intend, Actor::Daemon, now)? else {
            return Ok(Progress::default());
        };
        self.points.pass("intended")?;
        let going: Vec<&Submission> = intended.iter().filter_map(|number| by_number.get(number)).collect();
        let gone = self.erase_folders(&going, now)?;
        let blobs: Vec<BlobId> = gone
            .iter()
            .flat_map(|submission| submission.files.iter().map(|file| file.blob.clone()))
            .collect();
        let gone: Vec<Number> = gone.iter().map(|submission| submission.number).collect();
        self.points.pass("folders gone")?;
        self.blobs.remove(&blobs).doing(|| "erasing payloads".into())?;
        self.points.pass("blobs gone")?;
        let done = gone.len() as u64;
        if done > 0 {
            self.ledger.commit(Op::Erased(gone), Actor::Daemon, now)?;
        }
        Ok(Progress { done, more: full && done > 0 })
    }

    /// Not while it lies in `new/` (a power cut may undo an importer's rename): what nobody collected is never touched.
    fn may_go(&self, submission: &Submission, now: Timestamp) -> Result<bool, WorkError> {
        if submission.collected_at.is_none() {
            return Ok(true);
        }
        let name = submission.number.to_string();
        let text = |error: &WorkError| format!("it cannot be erased: {error}; run `todoke doctor`");
        let opened = self.spool_of(submission);
        // Trouble with one insurer's folder keeps nobody else's from being erased.
        let opened = contained(&*self.alarms, &format!("ERASE-FAILED {name}"), now, opened, text)?;
        let spool = match opened {
            None => return Ok(false),
            Some(None) => return Ok(true),
            Some(Some(spool)) => spool,
        };
        let alarm = format!("SPOOL-BACK-IN-NEW {name}");
        if spool.new.stat(&name).doing(|| format!("looking for {name}"))?.is_none() {
            self.alarms.clear(&alarm);
            return Ok(true);
        }
        let text = "it was collected but lies in new/ again; the importer must take it (by its number) before it can be erased";
        self.alarms.raise(&alarm, text, now);
        Ok(false)
    }

    fn spool_of(&self, submission: &Submission) -> Result<Option<InsurerSpool>, WorkError> {
        match InsurerSpool::open(&self.spool_root, &submission.insurer) {
            Ok(spool) => Ok(Some(spool)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing(|| format!("opening the spool of {}", submission.insurer)),
        }
    }

    /// Erases the folders of these in their insurers' spools; returns those of which nothing is left. Each folder is made
    /// durable once for all.
    fn erase_folders<'a>(
        &self,
        going: &[&'a Submission],
        now: Timestamp,
    ) -> Result<Vec<&'a Submission>, WorkError> {
        let mut gone = Vec::new();
        let mut by_insurer: BTreeMap<&InsurerCode, Vec<&'a Submission>> = BTreeMap::new();
        for submission in going {
            by_insurer.entry(&submission.insurer).or_default().push(submission);
        }
        for submissions in by_insurer.into_values() {
            let Some(spool) = submissions.first().map(|one| self.spool_of(one)).transpose()?.flatten() else {
                gone.extend(submissions);
                continue;
            };
            let doing = || "erasing folders of the spool".to_owned();
            let mut aside = Vec::new();
            for submission in submissions {
                let alarm = format!("ERASE-FAILED {}", submission.number);
                match set_aside(&spool, submission.number) {
                    Ok(()) => aside.push((submission, alarm)),
                    Err(error) => self.erase_failed(&alarm, &error, now),
                }
            }
            for folder in [&spool.cur, &spool.done, &spool.failed, &spool.tmp] {
                folder.sync().doing(doing)?;
            }
            for (submission, alarm) in aside {
                match clear_aside(&spool, submission.number) {
                    Ok(()) => {
                        self.alarms.clear(&alarm);
                        gone.push(submission);
                    }
                    Err(error) => self.erase_failed(&alarm, &error, now),
                }
            }
            spool.tmp.sync().doing(doing)?;
        }
        Ok(gone)
    }

    fn erase_failed(&self, alarm: &str, error: &io::Error, now: Timestamp) {
        let text = format!(
            "its folder in the insurer's spool cannot be erased ({error}): somebody else's files lie in it; remove it by hand"
        );
        self.alarms.raise(alarm, &text, now);
    }

    fn erase_cards(&self, before: Timestamp, now: Timestamp) -> Result<Progress, WorkError> {
        let numbers = self.ledger.card_erasable(before, BATCH)?;
        let mut blobs = Vec::new();
        for number in &numbers {
            if let Some(submission) = self.ledger.submission(*number)? {
                blobs.push(submission.card.blob);
                blobs.extend(submission.decision.map(|card| card.blob));
            }
        }
        self.blobs.remove(&blobs).doing(|| "erasing cards".into())?;
        self.points.pass("cards gone")?;
        self.record(numbers, Op::CardErased, now)
    }

    fn erase_mail_cards(&self, before: Timestamp, now: Timestamp) -> Result<Progress, WorkError> {
        let mails = self.ledger.mail_card_erasable(before, BATCH)?;
        let mut blobs = Vec::new();
        for id in &mails {
            blobs.extend(self.ledger.mail(*id)?.map(|mail| mail.card.blob));
        }
        self.blobs.remove(&blobs).doing(|| "erasing mails".into())?;
        self.record(mails, Op::MailCardErased, now)
    }

    fn record<T>(&self, ids: Vec<T>, op: fn(Vec<T>) -> Op, now: Timestamp) -> Result<Progress, WorkError> {
        let done = ids.len();
        if done > 0 {
            self.ledger.commit(op(ids), Actor::Daemon, now)?;
        }
        Ok(Progress { done: done as u64, more: done == BATCH })
    }
}

fn unimported(insurer: &InsurerCode) -> String {
    format!("ERASE-UNIMPORTED {insurer}")
}

/// Out of the insurer's reach: one rename from each place where it is.
fn set_aside(spool: &InsurerSpool, number: Number) -> io::Result<()> {
    let (name, aside) = (number.to_string(), format!("erase-{number}"));
    for place in [Place::Cur, Place::Done, Place::Failed] {
        let folder = spool.place(place);
        if folder.stat(&name)?.is_some() {
            spool.tmp.remove_all(&aside)?;
            folder.rename(&name, &spool.tmp, &aside)?;
        }
    }
    spool.failed.remove_file(format!("{name}.reason"))
}

fn clear_aside(spool: &InsurerSpool, number: Number) -> io::Result<()> {
    spool.tmp.remove_all(format!("erase-{number}"))?;
    // A stage of one that was withdrawn before it was published.
    spool.tmp.remove_all(number.to_string())
}

/// Numbers of stages that erasure left behind; for the sweep.
pub(super) fn erase_leftover(name: &str) -> Option<Number> {
    name.strip_prefix("erase-").and_then(|number| Number::parse(number).ok())
}

#[cfg(test)]
mod tests;
