//! The one thread that changes the ledger: group commit.
//!
//! Whatever waits is decided in the order of its coming, each against what those before it made of the tables, written
//! to the journal with one write and one fdatasync, applied to the index, and answered. A write that found no room changes
//! nothing, and the next one may find some. Any other failure ends intake: what is on disk then is found out at the next
//! start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::decide::{No, decide};
use super::index::{Index, IndexError};
use super::journal::{AppendError, Journal};
use super::ledger::{Done, LedgerError, Op, Queue, Refusal, Task};
use super::project::project;
use super::root::{Clean, Epoch, Root};
use super::tables::{Draft, Meta, series_index, task_in};
use crate::model::event::{Event, Record, Series};
use crate::model::ids::Digest;
use crate::model::party::Actor;
use crate::model::time::{SECOND, Timestamp};

/// Requests in one commit.
const COMMIT_REQUESTS_MAX: usize = 1024;
/// Serials reserved at a time: a restart after a crash loses at most so many.
pub(super) const SERIALS_BLOCK: u64 = 1024;

/// The longest event in the journal, bytes: what a stranger can make long must not stop the journal.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared<I> {
    pub index: I,
    /// Held for writing while a commit is applied: a reader never sees half of one.
    pub gate: RwLock<()>,
    pub meta: Mutex<Meta>,
    /// Tasks given out or put off, and until when.
    pub leases: Mutex<HashMap<(Queue, Task), Lease>>,
    /// How many commits took documents from the listings.
    pub removals: AtomicU64,
    /// Why nothing is written any more.
    pub stopped: OnceLock<Stopped>,
    pub root: Root,
}

/// Why nothing is written any more.
#[derive(Debug, Clone)]
pub(super) enum Stopped {
    Journal(String),
    Index(IndexError),
}

impl From<Stopped> for LedgerError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Journal(why) => Self::Stopped(why),
            Stopped::Index(error) => Self::Index(error.0),
        }
    }
}

/// A lock whose holder panicked guards nothing that could be half done: its users only read or replace whole values.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(super) enum Ask {
    Commit(Op),
    Reserve(Series),
    /// The one on record (in a new root), or the next.
    BeginEpoch(Option<Epoch>),
    /// The orderly end; the last serials given out of those reserved.
    Close(Vec<(Series, u64)>),
}

#[derive(Debug)]
pub(super) enum Answer {
    Done(Done),
    /// From the first to the last.
    Serials(u64, u64),
}

pub(super) struct Request {
    pub ask: Ask,
    pub by: Actor,
    pub now: Timestamp,
    pub reply: SyncSender<Result<Answer, LedgerError>>,
}

pub(super) struct Writer<I: Index> {
    pub shared: std::sync::Arc<Shared<I>>,
    pub journal: Journal,
}

/// What a commit came to, before it is durable.
struct Drafted {
    records: Vec<Record>,
    answers: Vec<Result<Answer, LedgerError>>,
    epoch: Option<Epoch>,
    close: bool,
}

impl<I: Index> Writer<I> {
    /// Until nobody can ask any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut batch = vec![first];
            while batch.len() < COMMIT_REQUESTS_MAX
                && let Ok(next) = requests.try_recv()
            {
                batch.push(next);
            }
            self.commit(batch);
        }
    }

    fn commit(&mut self, batch: Vec<Request>) {
        let (asked, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| ((request.ask, request.by, request.now), request.reply)).unzip();
        let result = match self.shared.stopped.get() {
            Some(stopped) => Err(stopped.clone().into()),
            None => self.try_commit(asked),
        };
        // A caller that is gone is not told; what it asked for is done all the same.
        match result {
            Ok(answers) => {
                for (reply, answer) in replies.into_iter().zip(answers) {
                    let _ = reply.send(answer);
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    fn try_commit(
        &mut self,
        asked: Vec<(Ask, Actor, Timestamp)>,
    ) -> Result<Vec<Result<Answer, LedgerError>>, LedgerError> {
        let shared = self.shared.clone();
        let stop = |stopped: Stopped| {
            let _ = shared.stopped.set(stopped.clone());
            LedgerError::from(stopped)
        };
        let mut draft = Draft::over(&shared.index, locked(&shared.meta).clone());
        let drafted = draft_all(&mut draft, asked).map_err(|error| stop(Stopped::Index(error)))?;
        if !drafted.records.is_empty() {
            let position = self.journal.append(&drafted.records).map_err(|error| match error {
                // It is as if nobody had asked.
                AppendError::NotWritten(why) => LedgerError::NotWritten(why),
                AppendError::Unknown(why) => stop(Stopped::Journal(why)),
            })?;
            draft.meta.hash = position.hash;
            apply(&shared, draft).map_err(|error| stop(Stopped::Index(error)))?;
            let removal = |record: &Record| matches!(record.event, Event::RemovalIntended { .. });
            if drafted.records.iter().any(removal) {
                shared.removals.fetch_add(1, Ordering::SeqCst);
            }
        }
        if let Some(epoch) = &drafted.epoch {
            shared.root.set_epoch(epoch).map_err(|error| stop(Stopped::Journal(error.to_string())))?;
        }
        if drafted.close {
            self.close().map_err(stop)?;
        }
        Ok(drafted.answers)
    }

    /// Everything is in the journal: makes the index durable too, and says so.
    fn close(&mut self) -> Result<(), Stopped> {
        let position = self.journal.position();
        self.shared.index.flush().map_err(Stopped::Index)?;
        self.shared
            .root
            .set_clean(&Clean { seq: position.seq, hash: position.hash })
            .map_err(|error| Stopped::Journal(error.to_string()))?;
        let _ = self.shared.stopped.set(Stopped::Journal("it is closed".to_owned()));
        Ok(())
    }
}

/// A task that somebody holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    /// When it was taken.
    pub from: Timestamp,
    /// When it is free again.
    pub until: Timestamp,
}

impl Lease {
    /// Whether it is free. One of a clock that was ahead would last as long as that was.
    pub(super) fn is_over(self, now: Timestamp) -> bool {
        const SET_BACK: i64 = 60 * SECOND;
        self.until <= now || now.plus(SET_BACK) < self.from
    }
}

fn draft_all<I: Index>(
    draft: &mut Draft<'_, I>,
    asked: Vec<(Ask, Actor, Timestamp)>,
) -> Result<Drafted, IndexError> {
    let mut drafted = Drafted { records: Vec::new(), answers: Vec::new(), epoch: None, close: false };
    for (ask, by, now) in asked {
        if drafted.close {
            drafted.answers.push(Err(LedgerError::Stopped("it is closed".to_owned())));
            continue;
        }
        let at = now.max(draft.meta.at);
        let (events, answer) = match ask {
            Ask::Commit(op) => match decide(draft, op, at) {
                Ok((events, done)) => (events, Answer::Done(done)),
                Err(No::Refused(refusal)) => {
                    drafted.answers.push(Err(LedgerError::Refused(refusal)));
                    continue;
                }
                Err(No::Index(error)) => return Err(error),
            },
            Ask::Reserve(series) => {
                let before = draft.meta.serials[series_index(series)];
                let upto = before + SERIALS_BLOCK;
                (vec![Event::SerialsReserved { series, upto }], Answer::Serials(before + 1, upto))
            }
            Ask::BeginEpoch(given) => {
                let next = draft.meta.epoch + 1;
                let Ok(epoch) = given.map_or_else(|| Epoch::fresh(next), Ok) else {
                    let why = "the system has no random numbers for a new epoch".to_owned();
                    drafted.answers.push(Err(LedgerError::Refused(Refusal::NotNow(why))));
                    continue;
                };
                let event = Event::EpochBegan { epoch: epoch.epoch, uuid: epoch.uuid.clone() };
                drafted.epoch = Some(epoch);
                (vec![event], Answer::Done(Done::Ok))
            }
            Ask::Close(given) => {
                drafted.close = true;
                let back = given.into_iter().filter(|(s, upto)| *upto < draft.meta.serials[series_index(*s)]);
                let mut events: Vec<_> =
                    back.map(|(series, upto)| Event::SerialsReserved { series, upto }).collect();
                events.push(Event::Stopped);
                (events, Answer::Done(Done::Ok))
            }
        };
        if let Some(bytes) = events.iter().map(json_size).find(|bytes| *bytes > EVENT_BYTES_MAX) {
            let why =
                format!("a record of {bytes} bytes is too long for the journal (at most {EVENT_BYTES_MAX})");
            drafted.answers.push(Err(LedgerError::Refused(Refusal::NotNow(why))));
            continue;
        }
        for event in events {
            let record = Record { seq: draft.meta.seq + 1, at, by: by.clone(), event };
            // The link is known only when the journal has written it; it is filled in then.
            project(draft, &record, Digest([0; 32]))?;
            drafted.records.push(record);
        }
        drafted.answers.push(Ok(answer));
    }
    Ok(drafted)
}

fn json_size(event: &Event) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, event).map_or(usize::MAX, |()| count.0)
}

fn apply<I: Index>(shared: &Shared<I>, mut draft: Draft<'_, I>) -> Result<(), IndexError> {
    let mut changes = draft.drain();
    changes.insert(0, draft.meta_change()?);
    let _alone = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
    shared.index.apply(&changes)?;
    *locked(&shared.meta) = draft.meta;
    let mut leases = locked(&shared.leases);
    for (key, value) in &changes {
        if value.is_none()
            && let Some(task) = task_in(key)
        {
            leases.remove(&task);
        }
    }
    Ok(())
}
