//! What crashes leave behind: bytes that nothing refers to, and stages that nobody will finish. Each removal is said in the
//! log with its reason.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::NaiveDate;

use super::alarms::Alarms;
use super::batches::is_closed_stage;
use super::publish::SpoolTurn;
use super::retention::erase_leftover;
use super::step::{Doing as _, Progress, WorkError, contained};
use crate::model::ids::{BlobId, InsurerCode, Number};
use crate::model::submission::State;
use crate::model::time::{DAY, Timestamp};
use crate::store::blobs::Blobs;
use crate::store::ledger::Ledger;
use crate::store::spool::InsurerSpool;

/// Blobs removed at once.
const BATCH: usize = 500;

/// The stage.
pub struct Sweep {
    /// What is true.
    pub ledger: Arc<dyn Ledger>,
    /// Where bytes and cards lie.
    pub blobs: Arc<dyn Blobs>,
    /// `spool/`
    pub spool_root: PathBuf,
    /// Whole days that an unreferred blob is left alone: uploads under way and sets that wait for their manifest are
    /// younger.
    pub grace_days: u32,
    /// Says which blobs are somebody's although the ledger does not know them (the drop-box's unclaimed versions).
    pub keep: Arc<dyn Fn(&BlobId) -> bool + Send + Sync>,
    /// Shared with publication.
    pub turn: SpoolTurn,
    /// Tells the operator.
    pub alarms: Arc<dyn Alarms>,
}

impl Sweep {
    /// Sweeps everything once; nothing while the ledger is stopped: it may not know its last event, and what that names.
    pub fn step(&self, now: Timestamp) -> Result<Progress, WorkError> {
        if self.ledger.stopped().is_some() {
            return Ok(Progress::default());
        }
        Ok(self.sweep_blobs(now)?.and(self.sweep_stages(now)?))
    }

    fn sweep_blobs(&self, now: Timestamp) -> Result<Progress, WorkError> {
        // Today's day in any zone is at most one ahead of UTC's.
        let youngest = now.plus(-(i64::from(self.grace_days) + 1) * DAY).utc().date_naive();
        let mut done = 0;
        let mut lost = Vec::new();
        for id in self.blobs.scan() {
            let id = id.doing(|| "listing blobs".into())?;
            if day_of(&id).is_none_or(|day| day > youngest)
                || (self.keep)(&id)
                || self.ledger.refers_to(&id)?
            {
                continue;
            }
            tracing::info!(blob = %id, "swept: nothing refers to it");
            lost.push(id);
            if lost.len() == BATCH {
                done += self.remove(&mut lost)?;
            }
        }
        done += self.remove(&mut lost)?;
        Ok(Progress { done, more: false })
    }

    fn remove(&self, lost: &mut Vec<BlobId>) -> Result<u64, WorkError> {
        self.blobs.remove(lost).doing(|| "removing orphans".into())?;
        let count = lost.len() as u64;
        lost.clear();
        Ok(count)
    }

    fn sweep_stages(&self, now: Timestamp) -> Result<Progress, WorkError> {
        let _turn = self.turn.take();
        let mut progress = Progress::default();
        for insurer in self.ledger.insurers()? {
            let alarm = format!("SWEEP-FAILED {}", insurer.code);
            let text = |error: &WorkError| {
                format!("what a crash left in the spool could not be removed: {error}; run `todoke doctor`")
            };
            let came = self.sweep_insurer(&insurer.code, now);
            progress.done += contained(&*self.alarms, &alarm, now, came, text)?.unwrap_or_default();
        }
        Ok(progress)
    }

    fn sweep_insurer(&self, code: &InsurerCode, now: Timestamp) -> Result<u64, WorkError> {
        match InsurerSpool::open(&self.spool_root, code) {
            Ok(spool) => self.sweep_tmp(code, &spool, now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error).doing(|| format!("opening the spool of {code}")),
        }
    }

    /// Stages of `Accepted` and `Publishing` ones are the publisher's own; withdrawals of `Published` ones are
    /// [`super::publish::Publisher::recover`]'s.
    fn sweep_tmp(&self, code: &InsurerCode, spool: &InsurerSpool, now: Timestamp) -> Result<u64, WorkError> {
        let mut done = 0;
        let calendar = self.ledger.calendar(code)?;
        let names: Vec<_> = spool.tmp.names().and_then(Iterator::collect).doing(|| "reading .tmp/".into())?;
        for name in names {
            let text = name.to_string_lossy();
            let reason = if let Some(number) = text.strip_prefix("withdrawn-").and_then(number_in) {
                match self.state(number)? {
                    Some(State::Published) => continue,
                    _ => "its withdrawal is recorded",
                }
            } else if is_closed_stage(calendar.as_ref(), &text) {
                // Complete, and promised: the next step places it.
                continue;
            } else if erase_leftover(&text).is_some() {
                "its erasure was under way"
            } else if let Some(number) = number_in(&text) {
                match self.state(number)? {
                    Some(State::Accepted | State::Publishing) => continue,
                    _ => "a stage that will never be published",
                }
            } else if spool
                .tmp
                .stat(&name)
                .doing(|| format!("looking at .tmp/{text}"))?
                .is_some_and(|s| is_young(&s, now))
            {
                // A report that is being written this moment: its stage belongs to no number and to no turn.
                continue;
            } else {
                "the remains of a write that did not end"
            };
            tracing::info!(stage = %crate::model::escape::excerpt(&text, 80), reason, "swept from .tmp/");
            spool.tmp.remove_all(&name).doing(|| format!("sweeping .tmp/{text}"))?;
            done += 1;
        }
        if done > 0 {
            spool.tmp.sync().doing(|| "making .tmp/ durable".into())?;
        }
        Ok(done)
    }

    fn state(&self, number: Number) -> Result<Option<State>, WorkError> {
        Ok(self.ledger.submission(number)?.map(|submission| submission.state))
    }
}

/// When the sweep takes a blob that nothing refers to.
pub(super) fn orphan_due(id: &BlobId, grace_days: u32) -> Option<Timestamp> {
    let begins = day_of(id)?.and_time(chrono::NaiveTime::MIN).and_utc();
    Some(Timestamp(begins.timestamp_millis()).plus_days(grace_days + 1))
}

/// When the sweep takes a stage that belongs to no number: an hour after it was written.
pub(super) fn stage_due(stat: &rustix::fs::Stat) -> Timestamp {
    Timestamp(stat.st_mtime.saturating_mul(1000)).plus(3_600_000)
}

fn is_young(stat: &rustix::fs::Stat, now: Timestamp) -> bool {
    now < stage_due(stat)
}

pub(super) fn number_in(name: &str) -> Option<Number> {
    Number::parse(name).ok()
}

fn day_of(id: &BlobId) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(id.as_str().get(..8)?, "%Y%m%d").ok()
}

#[cfg(test)]
mod tests;
