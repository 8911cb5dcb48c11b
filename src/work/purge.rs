//! Documents whose days are over leave the outboxes (K37), guarded against a clock that leaps and against too many at
//! once; and recall of what was sent to the wrong place (誤配信).
//!
//! Order: `RemovalIntended` (gone for everybody), document and card removed durably, of a recall its mail sealed, `Removed`.
//! A crash in between leaves it due at once, and the next step goes on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::alarms::Alarms;
use super::guard::Guard;
use super::step::{Doing as _, Points, Progress, WorkError};
use crate::model::document::{Document, RemovalReason};
use crate::model::ids::{AccountId, DocumentId};
use crate::model::metric;
use crate::model::party::Actor;
use crate::model::time::{DAY, SECOND, Timestamp};
use crate::store::blobs::Blobs;
use crate::store::ledger::{Done, Ledger, Op, Queue, Task};
use crate::store::readings::Readings;

/// What makes the purge stop and ask.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurgePolicy {
    /// The clock may be this far ahead of the last step, or at start of the last event, in hours.
    pub clock_leap_hours_max: u32,
    /// So many may be due at once,
    pub due_max: usize,
    /// and so large a share of all documents, in percent,
    pub due_share_max: u32,
    /// which is looked at from this many on.
    pub due_share_from: usize,
    /// Removed at once.
    pub batch: usize,
}

impl Default for PurgePolicy {
    fn default() -> Self {
        Self {
            clock_leap_hours_max: 36,
            due_max: 50_000,
            due_share_max: 60,
            due_share_from: 1000,
            batch: 500,
        }
    }
}

/// Why the purge stands still.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pause {
    /// The clock leapt, or an earlier run of the daemon paused it.
    #[error("{0}")]
    Guarded(String),
    /// More is due than is usual.
    #[error(
        "{due} of {all} documents are due at once; look with `todoke purge --dry-run`, then confirm with `todoke purge --confirm`"
    )]
    TooMany {
        /// Due now (counting stops beyond the limit).
        due: usize,
        /// Documents there are.
        all: u64,
    },
}

/// What would go, or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Going {
    /// Which.
    pub id: DocumentId,
    /// From whose outbox.
    pub account: AccountId,
    /// Of which type.
    pub kind: String,
    /// Why.
    pub reason: RemovalReason,
    /// When its days are over.
    pub expires_at: Timestamp,
    /// Whether it was ever downloaded to its end.
    pub fetched: bool,
}

impl Going {
    fn of(document: &Document, reason: RemovalReason) -> Self {
        Self {
            id: document.id,
            account: document.account.clone(),
            kind: document.kind.clone(),
            reason,
            expires_at: document.expires_at,
            fetched: document.fetched.is_some(),
        }
    }
}

/// A recalled document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// What went.
    pub document: Document,
    /// First and last download, if there was any: somebody has read it.
    pub fetched: Option<(Timestamp, Timestamp)>,
}

/// Tells an account of a recall; says it once for each document, however often it is called.
pub type TellRecall = dyn Fn(&Document, Timestamp) -> anyhow::Result<()> + Send + Sync;

/// What came of asking for a recall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recall {
    /// It is gone.
    Done(Box<Recalled>),
    /// It is held, and stays.
    Held,
    /// There is no such document any more.
    Missing,
}

/// The stage.
pub struct Purge {
    ledger: Arc<dyn Ledger>,
    blobs: Arc<dyn Blobs>,
    policy: PurgePolicy,
    alarms: Arc<dyn Alarms>,
    /// Asked by everything else that cannot be undone, too.
    pub guard: Arc<Guard>,
    /// Told by doors who reads what just now.
    pub readings: Arc<Readings>,
    points: Points,
    tell: OnceLock<Box<TellRecall>>,
    /// Recalls that could not be told; told at a later step, or forgotten with the process.
    untold: Mutex<Vec<Document>>,
}

/// Recalls that wait to be told.
const UNTOLD_MAX: usize = 1000;

impl Purge {
    /// To be made right after the ledger was opened and before anything is recorded: the last event's time is what the
    /// clock is first held against. `uptime` is a monotonic reading in milliseconds; `root` is the data root.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        blobs: Arc<dyn Blobs>,
        policy: PurgePolicy,
        alarms: Arc<dyn Alarms>,
        uptime: impl Fn() -> i64 + Send + Sync + 'static,
        root: PathBuf,
    ) -> Self {
        let hours = policy.clock_leap_hours_max;
        let uptime = Box::new(uptime);
        let guard = Arc::new(Guard::new(ledger.head().at, hours, uptime, Arc::clone(&alarms), root));
        Self {
            ledger,
            blobs,
            policy,
            alarms,
            guard,
            readings: Arc::default(),
            points: Points::default(),
            tell: OnceLock::new(),
            untold: Mutex::default(),
        }
    }

    /// Who tells of recalls; set once, when there is somebody to do so.
    pub fn tell_recalls(&self, tell: Box<TellRecall>) {
        let _ = self.tell.set(tell);
    }

    /// For tests: stops at points.
    #[must_use]
    pub fn with_points(self, points: Points) -> Self {
        Self { points, ..self }
    }

    /// Removes one batch of what is due, unless it must ask first.
    pub fn step(&self, now: Timestamp) -> Result<Progress, WorkError> {
        self.tell_again(now);
        if self.guarded(now)?.is_some() {
            return Ok(Progress::default());
        }
        let tasks = self.ledger.claim(Queue::Expire, now, 600 * SECOND, self.policy.batch)?;
        let full = tasks.len() == self.policy.batch;
        let mut documents = Vec::with_capacity(tasks.len());
        for task in &tasks {
            let Task::Document(id) = task else { continue };
            match self.ledger.document(*id)? {
                // The index may err after damage; the record itself must say that its time is over.
                Some(document) if document.expires_at > now => {}
                Some(document) => documents.push((document, RemovalReason::Expired)),
                // Begun before a crash.
                None => documents.extend(self.ledger.removing(*id)?),
            }
        }
        let result = self.remove(&documents, RemovalReason::Expired, &Actor::Daemon, now);
        match result {
            Ok(done) => Ok(Progress { done, more: full && done > 0 }),
            Err(error) => {
                self.ledger.postpone(Queue::Expire, &tasks, now.plus(60 * SECOND));
                Err(error)
            }
        }
    }

    fn remove(
        &self,
        documents: &[(Document, RemovalReason)],
        reason: RemovalReason,
        by: &Actor,
        now: Timestamp,
    ) -> Result<u64, WorkError> {
        if documents.is_empty() {
            return Ok(0);
        }
        let ids = documents.iter().map(|(document, _)| document.id).collect();
        let Done::Documents(intended) =
            self.ledger.commit(Op::RemovalIntend { ids, reason }, by.clone(), now)?
        else {
            return Ok(0);
        };
        self.points.pass("intended")?;
        self.record_readings(&intended, now);
        let documents = &self.as_read(documents)?;
        let mut blobs = Vec::with_capacity(intended.len() * 2);
        let going = || documents.iter().filter(|(document, _)| intended.contains(&document.id));
        let mut shared = std::collections::HashSet::new();
        for (document, _) in going() {
            let both = [document.blob.clone(), document.card.blob.clone()];
            if document.announcement.is_some() { shared.extend(both) } else { blobs.extend(both) }
        }
        self.blobs.remove(&blobs).doing(|| "removing documents".into())?;
        self.points.pass("removed")?;
        for (document, _) in going().filter(|(_, reason)| *reason == RemovalReason::Recalled) {
            if !self.told(document, now) {
                let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
                if untold.len() < UNTOLD_MAX {
                    untold.push(document.clone());
                }
            }
        }
        self.points.pass("told")?;
        let done = intended.len() as u64;
        self.ledger.commit(Op::Removed(intended), by.clone(), now)?;
        self.points.pass("recorded")?;
        // Bytes of an announcement go with the last of its documents; what a crash leaves here is an orphan for the sweep.
        let mut last = Vec::new();
        for blob in shared {
            if !self.ledger.refers_to(&blob)? {
                last.push(blob);
            }
        }
        self.blobs.remove(&last).doing(|| "removing announcements".into())?;
        let word = match reason {
            RemovalReason::Expired => "expired",
            RemovalReason::Recalled => "recalled",
        };
        metrics::counter!(metric::DOCUMENTS_REMOVED, "reason" => word).increment(done);
        Ok(done)
    }

    /// Tells of a recall; whether that is done with. It is gone, which matters most: that nobody was told must not keep it half
    /// gone.
    fn told(&self, document: &Document, now: Timestamp) -> bool {
        let Some(tell) = self.tell.get() else { return true };
        let alarm = format!("RECALL-UNTOLD {}", document.id);
        let Err(error) = tell(document, now) else {
            self.alarms.clear(&alarm);
            return true;
        };
        tracing::error!(document = %document.id, error = format!("{error:#}"), "a recall could not be told");
        let (id, account) = (document.id, &document.account);
        let text = format!("document {id} was recalled, but {account} could not be told: {error:#}");
        self.alarms.raise(&alarm, &text, now);
        false
    }

    fn tell_again(&self, now: Timestamp) {
        let waiting = std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        let left: Vec<_> = waiting.into_iter().filter(|document| !self.told(document, now)).collect();
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
    }

    /// Who is reading them learns of their end at the next read; what they have by now goes on record at once. It is gone, which
    /// matters most: what cannot be recorded does not keep it half gone.
    fn record_readings(&self, ids: &[DocumentId], now: Timestamp) {
        for id in ids {
            for (account, op) in self.readings.outcomes(*id) {
                if let Err(error) = self.ledger.commit(op, Actor::Account(account), now) {
                    tracing::warn!(document = %id, %error, "a download under way could not be recorded");
                }
            }
        }
    }

    /// As they are from the intent on: nobody can begin to read them any more.
    fn as_read(
        &self,
        documents: &[(Document, RemovalReason)],
    ) -> Result<Vec<(Document, RemovalReason)>, WorkError> {
        let mut now = Vec::with_capacity(documents.len());
        for (document, reason) in documents {
            let document = match self.ledger.removing(document.id)? {
                Some((document, _)) => document,
                None => document.clone(),
            };
            now.push((document, *reason));
        }
        Ok(now)
    }

    /// Why it must ask first, if it must; then the operator is told, and a restart does not end it.
    fn guarded(&self, now: Timestamp) -> Result<Option<Pause>, WorkError> {
        if let Some(reason) = self.guard.paused(now)? {
            return Ok(Some(Pause::Guarded(reason)));
        }
        let pause = self.too_many(now)?;
        if let Some(pause) = &pause {
            self.guard.pause(&pause.to_string(), now)?;
        }
        Ok(pause)
    }

    fn too_many(&self, now: Timestamp) -> Result<Option<Pause>, WorkError> {
        if self.guard.confirmed_since(now.plus(-DAY)) {
            return Ok(None);
        }
        let due = self.ledger.due(Queue::Expire, now, self.policy.due_max + 1)?.len();
        let (all, _) = self.ledger.waiting(Queue::Expire)?;
        let share =
            (due as u64).saturating_mul(100) > all.saturating_mul(u64::from(self.policy.due_share_max));
        let many = due > self.policy.due_max || (due >= self.policy.due_share_from && share);
        Ok(many.then_some(Pause::TooMany { due, all }))
    }

    /// The operator has looked: what is due now may go, and the clock is taken as right. Tells whether it was paused.
    pub fn confirm(&self, now: Timestamp) -> Result<bool, WorkError> {
        self.guard.confirm(now)
    }

    /// What would go at `at`, why and when, at most `limit`; changes nothing.
    pub fn dry_run(&self, at: Timestamp, limit: usize) -> Result<Vec<Going>, WorkError> {
        dry_run(&*self.ledger, at, limit)
    }

    /// Takes a document back at once (誤配信) and tells whether somebody had fetched it.
    pub fn recall(&self, id: DocumentId, by: &Actor, now: Timestamp) -> Result<Recall, WorkError> {
        let Some(document) = self.ledger.document(id)? else { return Ok(Recall::Missing) };
        if document.hold.is_some() {
            return Ok(Recall::Held);
        }
        self.points.pass("asked")?;
        let going = [(document, RemovalReason::Recalled)];
        if self.remove(&going, RemovalReason::Recalled, by, now)? == 0 {
            // Held, or gone, since it was looked at.
            let there = self.ledger.document(id)?;
            return Ok(if there.is_some() { Recall::Held } else { Recall::Missing });
        }
        let [(mut document, _)] = going;
        if let Some(gone) = self.ledger.removed_document(id)? {
            (document.fetched, document.partly_fetched) = (gone.fetched, gone.partly_fetched);
        }
        Ok(Recall::Done(Box::new(Recalled { fetched: document.fetched, document })))
    }
}

/// [`Purge::dry_run`] without the stage, for a command line that found no daemon.
pub fn dry_run(ledger: &dyn Ledger, at: Timestamp, limit: usize) -> Result<Vec<Going>, WorkError> {
    let mut going = Vec::new();
    for task in ledger.due(Queue::Expire, at, limit)? {
        if let Task::Document(id) = task {
            going.extend(ledger.document(id)?.map(|document| Going::of(&document, RemovalReason::Expired)));
        }
    }
    Ok(going)
}

#[cfg(test)]
mod tests;
