//! The ledger over journal and index.
//!
//! Choices the port leaves open:
//! - **Queues.** A hold for the scanner or the calendar is due in `Judge` at once (the worker postpones it). One for the
//!   same content is in no queue: somebody must look, and judges it by number. One for the epoch enters `Judge` when the
//!   epoch is reconciled.
//! - **Restored roots.** Until they are reconciled nothing leaves: `claim` gives nothing of `Publish`, `Announce`, `Mail` and
//!   `Enrol`, since what the backup still has waiting may have gone out long ago; an acceptance becomes a hold, and
//!   judging or publishing one is refused with "not now".
//! - **Removal.** From its intent on a document is in no listing and [`Ledger::document`] does not have it;
//!   [`Ledger::removing`] does, and it is due in `Expire` at once, so that an interrupted removal is finished.
//! - **Leases** are in memory: after a restart all is given out again.

mod certificates;
mod days;

use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;

use serde::de::DeserializeOwned;

use super::applications::StoredApplication;
use super::index::{Index, IndexError};
use super::ledger::{
    ApplicationFilter, DocumentTrace, Done, Head, Ledger, LedgerError, MailFilter, Op, Queue,
    SubmissionFilter, Swept, Task,
};
use super::recover::{LedgerOptions, OpenError, Recovered, Recovery, recover};
use super::root::Root;
use super::tables::{
    self, IdUse, Key, StoredDocument, StoredMail, StoredSubmission, queue_byte, series_index,
};
use super::writer::{Answer, Ask, Lease, Request, Shared, Writer, locked};
use crate::model::account_history::AccountFact;
use crate::model::application::{Application, ApplicationNotice};
use crate::model::document::{Document, RemovalReason, RemovedDocument};
use crate::model::event::Series;
use crate::model::ids::{
    AccountId, ApplicationId, BlobId, CertificateId, Digest, DocumentId, InsurerCode, MailId, Number,
    OfficeCode,
};
use crate::model::login::{Credential, LoginNews, LoginRecord, PasswordState};
use crate::model::mail::{Mail, Mailbox};
use crate::model::party::{Account, Actor, Insurer, Office};
use crate::model::renewal::RenewalStage;
use crate::model::submission::{Hold, State, Submission};
use crate::model::time::Timestamp;

/// Requests that may wait for the writer; more callers than that wait before they ask.
const REQUESTS_MAX: usize = 4096;

/// The ledger of one data root, open in this process. Dropping it without [`JournalLedger::close`] is like a crash: all
/// that was answered is kept.
pub struct JournalLedger<I: Index> {
    shared: Arc<Shared<I>>,
    requests: Option<SyncSender<Request>>,
    writer: Option<JoinHandle<()>>,
    serials: Mutex<[Block; tables::SERIES]>,
}

/// Serials reserved and not given out: from `next` to `upto`.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    next: u64,
    upto: u64,
}

const SERIES: [Series; tables::SERIES] =
    [Series::Submission, Series::Document, Series::Mail, Series::Certificate, Series::Application];

impl<I: Index> JournalLedger<I> {
    /// Opens the ledger of this root: checks the journal, brings the index up to it, begins the first epoch in a new one.
    pub fn open(root: Root, options: &LedgerOptions, now: Timestamp) -> Result<(Self, Recovery), OpenError> {
        let Recovered { index, meta, journal, recovery } = recover(&root, options, now)?;
        let new = meta.seq == 0;
        let first = root.epoch()?;
        let shared = Arc::new(Shared {
            index,
            gate: RwLock::new(()),
            meta: Mutex::new(meta),
            leases: Mutex::new(HashMap::new()),
            removals: AtomicU64::new(0),
            stopped: OnceLock::new(),
            root,
        });
        let (requests, receiver) = sync_channel(REQUESTS_MAX);
        let writer = Writer { shared: shared.clone(), journal };
        let writer =
            std::thread::Builder::new()
                .name("ledger".into())
                .spawn(move || writer.run(&receiver))
                .map_err(|source| OpenError::Io { what: "while starting the ledger's thread", source })?;
        let ledger = Self {
            shared,
            requests: Some(requests),
            writer: Some(writer),
            serials: Mutex::new([Block { next: 1, upto: 0 }; tables::SERIES]),
        };
        if new && let Some(epoch) = first {
            ledger
                .ask(Ask::BeginEpoch(Some(epoch)), Actor::Daemon, now)
                .map_err(|error| OpenError::Index(IndexError(error.to_string())))?;
        }
        Ok((ledger, recovery))
    }

    /// Begins a new epoch: the root was restored from a backup. Nothing is accepted or sent until [`Op::EpochReconciled`].
    /// Returns the new epoch.
    pub fn begin_epoch(&self, by: Actor, now: Timestamp) -> Result<u32, LedgerError> {
        let mut serials = locked(&self.serials);
        self.ask(Ask::BeginEpoch(None), by, now)?;
        *serials = [Block { next: 1, upto: 0 }; tables::SERIES];
        Ok(locked(&self.shared.meta).epoch)
    }

    /// The orderly end: records it, gives back serials, makes the index durable, leaves the mark. Nothing can be committed
    /// after that.
    pub fn close(&self, now: Timestamp) -> Result<(), LedgerError> {
        let mut serials = locked(&self.serials);
        let open = SERIES.into_iter().map(|series| (series, serials[series_index(series)]));
        let given = open.filter(|(_, b)| b.next <= b.upto).map(|(s, b)| (s, b.next - 1)).collect();
        *serials = [Block { next: 1, upto: 0 }; tables::SERIES];
        self.ask(Ask::Close(given), Actor::Daemon, now).map(|_| ())
    }

    /// The root it is of.
    pub fn root(&self) -> &Root {
        &self.shared.root
    }

    fn ask(&self, ask: Ask, by: Actor, now: Timestamp) -> Result<Answer, LedgerError> {
        let ended = || match self.shared.stopped.get() {
            Some(stopped) => stopped.clone().into(),
            None => LedgerError::Stopped("the ledger's thread has ended".to_owned()),
        };
        let (reply, answer) = sync_channel(1);
        let requests = self.requests.as_ref().ok_or_else(ended)?;
        requests.send(Request { ask, by, now, reply }).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }

    /// While this is held no commit is applied: what is read fits together.
    fn gate(&self) -> RwLockReadGuard<'_, ()> {
        self.shared.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetch<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, LedgerError> {
        let value = self.shared.index.get(key).map_err(index_error)?;
        value.as_deref().map(tables::decode).transpose().map_err(index_error)
    }

    /// All keys and values that begin so.
    fn pairs(&self, beginning: Key) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), LedgerError>> + '_ {
        let (from, to) = (beginning.clone().done(), beginning.end());
        self.shared.index.range(&from, &to, false).map(|pair| pair.map_err(index_error))
    }

    fn records<T: DeserializeOwned>(&self, beginning: Key) -> Result<Vec<T>, LedgerError> {
        self.pairs(beginning).map(|pair| tables::decode(&pair?.1).map_err(index_error)).collect()
    }

    /// Numbers at the ends of keys that begin with one of these, newest first, from before this one.
    fn newest_first(
        &self,
        beginnings: Vec<Key>,
        before: Option<(u32, u64)>,
    ) -> impl Iterator<Item = Result<(u32, u64), LedgerError>> + '_ {
        let lists = beginnings.into_iter().map(move |beginning| {
            let from = beginning.clone().done();
            let to = match before {
                Some((epoch, serial)) => beginning.numbered(epoch, serial).done(),
                None => beginning.end(),
            };
            let keys = self.shared.index.range(&from, &to, true);
            keys.map(|pair| {
                let (key, _) = pair.map_err(index_error)?;
                tables::numbered_in(&key).ok_or_else(|| malformed("a list of numbers"))
            })
        });
        Merge::new(lists.collect(), |number: &(u32, u64)| *number)
    }

    /// Keys of these tables that stand before this time: their numbers, oldest first.
    fn older(
        &self,
        tables: Vec<Key>,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(u32, u64)>, LedgerError> {
        let lists = tables.into_iter().map(|table| {
            let (from, to) = (table.clone().done(), table.time(before).done());
            self.shared.index.range(&from, &to, false).map(|pair| {
                let (key, _) = pair.map_err(index_error)?;
                let time = tables::time_in(&key).ok_or_else(|| malformed("a list by time"))?;
                let number = tables::numbered_in(&key).ok_or_else(|| malformed("a list by time"))?;
                Ok((time, number))
            })
        });
        Merge::new(lists.collect(), |(time, number): &(Timestamp, (u32, u64))| {
            std::cmp::Reverse((*time, *number))
        })
        .take(limit)
        .map(|found| found.map(|(_, number)| number))
        .collect()
    }

    fn stored_document(&self, id: DocumentId) -> Result<Option<StoredDocument>, LedgerError> {
        let Some(trace) = self.fetch::<DocumentTrace>(&tables::document_place(id))? else { return Ok(None) };
        self.fetch(&tables::outbox_office(&trace.account, &trace.office).document(id).done())
    }

    /// The offices of which an account's outbox has documents.
    fn outbox_offices(&self, account: &AccountId) -> Result<Vec<OfficeCode>, LedgerError> {
        let outbox = tables::outbox(account);
        let (mut from, to) = (outbox.clone().done(), outbox.clone().end());
        let mut offices = Vec::new();
        while let Some(pair) = self.shared.index.range(&from, &to, false).next() {
            let (key, _) = pair.map_err(index_error)?;
            let name = key.get(outbox.len()..).and_then(|rest| rest.split(|b| *b == 0).next());
            let office = name.and_then(|name| std::str::from_utf8(name).ok());
            let office = office.and_then(|name| OfficeCode::parse(name).ok());
            let office = office.ok_or_else(|| malformed("an outbox"))?;
            from = tables::outbox_office(account, &office).end();
            offices.push(office);
        }
        Ok(offices)
    }

    /// Tasks of a queue that are due until then, in order, each with its time.
    fn due_tasks(
        &self,
        queue: Queue,
        until: Timestamp,
    ) -> impl Iterator<Item = Result<(Timestamp, Task), LedgerError>> + '_ {
        let from = tables::queue(queue).done();
        let to = tables::queue(queue).time(until.plus(1)).done();
        self.shared.index.range(&from, &to, false).map(|pair| {
            let (key, _) = pair.map_err(index_error)?;
            let due = tables::time_in(&key).ok_or_else(|| malformed("a queue"))?;
            tables::task_in(&key).map(|(_, task)| (due, task)).ok_or_else(|| malformed("a queue"))
        })
    }

    /// Until when things of this queue count as due. What was due at once has the time of its event, which is ahead of a clock
    /// that was put back. Ends of documents and of applications are days that were promised: the clock alone says those.
    fn due_until(&self, queue: Queue, now: Timestamp) -> Timestamp {
        match queue {
            Queue::Judge | Queue::Publish | Queue::Announce | Queue::Tell | Queue::Mail => {
                now.max(locked(&self.shared.meta).at)
            }
            Queue::Expire | Queue::Enrol => now,
        }
    }

    /// Whether something that the clock says is not due yet was due at once, by a clock that was ahead. A mail that was tried
    /// waits for the time it was given, until it is asked for again.
    fn due_at_once(&self, task: Task) -> Result<bool, LedgerError> {
        let Task::Mail(id) = task else { return Ok(true) };
        let stored = self.fetch::<StoredMail>(&tables::mail(id))?;
        Ok(stored.is_some_and(|stored| stored.mail.attempts == 0 || stored.asked_again))
    }

    /// A restored root waits to be reconciled: nothing that leaves the house is given out.
    fn waits(&self, queue: Queue) -> bool {
        matches!(queue, Queue::Publish | Queue::Announce | Queue::Mail | Queue::Enrol)
            && locked(&self.shared.meta).unreconciled
    }
}

impl<I: Index> Drop for JournalLedger<I> {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn index_error(error: IndexError) -> LedgerError {
    LedgerError::Index(error.0)
}

fn malformed(what: &str) -> LedgerError {
    LedgerError::Index(format!("{what} has a key that cannot be read"))
}

/// Several ordered lists as one: whichever has the greatest key next.
struct Merge<'a, T, K: Ord> {
    lists: Vec<Box<dyn Iterator<Item = Result<T, LedgerError>> + 'a>>,
    heads: BinaryHeap<(K, usize)>,
    values: Vec<Option<T>>,
    failed: Option<LedgerError>,
    key: fn(&T) -> K,
}

impl<'a, T, K: Ord> Merge<'a, T, K> {
    fn new<L: Iterator<Item = Result<T, LedgerError>> + 'a>(lists: Vec<L>, key: fn(&T) -> K) -> Self {
        let values = lists.iter().map(|_| None).collect();
        let lists: Vec<_> = lists.into_iter().map(|list| Box::new(list) as Box<_>).collect();
        let mut merge =
            Self { heads: BinaryHeap::with_capacity(lists.len()), lists, values, failed: None, key };
        (0..merge.lists.len()).for_each(|at| merge.advance(at));
        merge
    }

    fn advance(&mut self, at: usize) {
        match self.lists[at].next() {
            Some(Ok(value)) => {
                self.heads.push(((self.key)(&value), at));
                self.values[at] = Some(value);
            }
            Some(Err(error)) => self.failed = Some(error),
            None => {}
        }
    }
}

impl<T, K: Ord> Iterator for Merge<'_, T, K> {
    type Item = Result<T, LedgerError>;
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.heads.clear();
            return Some(Err(error));
        }
        let (_, at) = self.heads.pop()?;
        let value = self.values[at].take()?;
        self.advance(at);
        Some(Ok(value))
    }
}

impl<I: Index> Ledger for JournalLedger<I> {
    fn commit(&self, op: Op, by: Actor, now: Timestamp) -> Result<Done, LedgerError> {
        match self.ask(Ask::Commit(op), by, now)? {
            Answer::Done(done) => Ok(done),
            Answer::Serials(..) => Ok(Done::Ok),
        }
    }

    fn next_serial(&self, series: Series, now: Timestamp) -> Result<u64, LedgerError> {
        if let Some(stopped) = self.shared.stopped.get() {
            return Err(stopped.clone().into());
        }
        let mut serials = locked(&self.serials);
        let block = &mut serials[series_index(series)];
        if block.next > block.upto
            && let Answer::Serials(next, upto) = self.ask(Ask::Reserve(series), Actor::Daemon, now)?
        {
            *block = Block { next, upto };
        }
        let serial = block.next;
        block.next += 1;
        Ok(serial)
    }

    fn head(&self) -> Head {
        let meta = locked(&self.shared.meta);
        let (epoch, unreconciled) = (meta.epoch, meta.unreconciled);
        Head { epoch, unreconciled, seq: meta.seq, at: meta.at, hash: meta.hash }
    }

    fn insurer(&self, code: &InsurerCode) -> Result<Option<Insurer>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&tables::insurer(code))
    }

    fn insurers(&self) -> Result<Vec<Insurer>, LedgerError> {
        let _gate = self.gate();
        self.records(Key::of(b'i'))
    }

    fn office(&self, insurer: &InsurerCode, code: &OfficeCode) -> Result<Option<Office>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&tables::office(insurer, code))
    }

    fn offices(&self, insurer: &InsurerCode) -> Result<Vec<Office>, LedgerError> {
        let _gate = self.gate();
        self.records(tables::offices(insurer))
    }

    fn account(&self, id: &AccountId) -> Result<Option<Account>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&tables::account(id))
    }

    fn accounts(&self, insurer: Option<&InsurerCode>) -> Result<Vec<Account>, LedgerError> {
        let _gate = self.gate();
        let Some(insurer) = insurer else { return self.records(Key::of(b'a')) };
        let list = tables::insurer_accounts(insurer);
        let mut accounts = Vec::new();
        for pair in self.pairs(list.clone()) {
            let (key, _) = pair?;
            let id = key.get(list.len()..key.len() - 1).and_then(|id| std::str::from_utf8(id).ok());
            let id =
                id.and_then(|id| AccountId::parse(id).ok()).ok_or_else(|| malformed("a list of accounts"))?;
            accounts.extend(self.fetch::<Account>(&tables::account(&id))?);
        }
        Ok(accounts)
    }

    fn accounts_of_key(&self, fingerprint: &str) -> Result<Vec<AccountId>, LedgerError> {
        let _gate = self.gate();
        Ok(self.fetch(&tables::fingerprint(fingerprint))?.unwrap_or_default())
    }

    fn submission(&self, number: Number) -> Result<Option<Submission>, LedgerError> {
        let _gate = self.gate();
        let stored: Option<StoredSubmission> = self.fetch(&tables::submission(number))?;
        Ok(stored.map(|stored| stored.submission))
    }

    fn hold(&self, number: Number) -> Result<Option<Hold>, LedgerError> {
        let _gate = self.gate();
        let stored: Option<StoredSubmission> = self.fetch(&tables::submission(number))?;
        Ok(stored.and_then(|of| of.hold.map(|reason| Hold { reason, released: of.released })))
    }

    fn held(&self) -> Result<(u64, Option<Timestamp>), LedgerError> {
        let _gate = self.gate();
        let mut held = self.pairs(tables::state_submissions(State::Held));
        let Some(first) = held.next().transpose()? else { return Ok((0, None)) };
        let mut count = 1;
        for other in held {
            other?;
            count += 1;
        }
        let number = tables::numbered_in(&first.0).map(|(epoch, serial)| Number { epoch, serial });
        let first: Option<StoredSubmission> =
            number.map(|number| self.fetch(&tables::submission(number))).transpose()?.flatten();
        Ok((count, first.map(|first| first.submission.received_at)))
    }

    fn submission_by_manifest(
        &self,
        account: &AccountId,
        manifest: Digest,
    ) -> Result<Option<Number>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&tables::manifest(account, &manifest))
    }

    fn submission_by_id(&self, account: &AccountId, id_tag: Digest) -> Result<Option<Number>, LedgerError> {
        let _gate = self.gate();
        Ok(self.fetch::<IdUse>(&tables::id_tag(account, &id_tag))?.map(|uses| uses.latest))
    }

    fn submissions(&self, filter: &SubmissionFilter, limit: usize) -> Result<Vec<Submission>, LedgerError> {
        let _gate = self.gate();
        let lists = if let Some(account) = &filter.account {
            vec![tables::account_submissions(account)]
        } else if !filter.states.is_empty() {
            let states: std::collections::HashSet<State> = filter.states.iter().copied().collect();
            states.into_iter().map(tables::state_submissions).collect()
        } else if let Some(insurer) = &filter.insurer {
            vec![tables::insurer_submissions(insurer)]
        } else {
            vec![Key::of(b's')]
        };
        let mut found = Vec::new();
        for number in self.newest_first(lists, filter.before.map(|n| (n.epoch, n.serial))) {
            if found.len() >= limit {
                break;
            }
            let (epoch, serial) = number?;
            let stored: Option<StoredSubmission> =
                self.fetch(&tables::submission(Number { epoch, serial }))?;
            found.extend(stored.map(|stored| stored.submission).filter(|of| {
                filter.insurer.as_ref().is_none_or(|insurer| *insurer == of.insurer)
                    && (filter.states.is_empty() || filter.states.contains(&of.state))
            }));
        }
        Ok(found)
    }

    fn document(&self, id: DocumentId) -> Result<Option<Document>, LedgerError> {
        let _gate = self.gate();
        let stored = self.stored_document(id)?;
        Ok(stored.filter(|stored| stored.removal.is_none()).map(|stored| stored.document))
    }

    fn removing(&self, id: DocumentId) -> Result<Option<(Document, RemovalReason)>, LedgerError> {
        let _gate = self.gate();
        let stored = self.stored_document(id)?;
        Ok(stored.and_then(|stored| Some((stored.document, stored.removal?.0))))
    }

    fn removed_document(&self, id: DocumentId) -> Result<Option<RemovedDocument>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&tables::removed_document(id))
    }

    fn removed_documents(
        &self,
        insurer: &InsurerCode,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<RemovedDocument>, LedgerError> {
        let _gate = self.gate();
        let list = tables::insurer_removed(insurer);
        let keys = self.shared.index.range(&list.clone().time(from).done(), &list.time(until).done(), false);
        keys.map(|pair| {
            let (key, _) = pair.map_err(index_error)?;
            let (epoch, serial) = tables::numbered_in(&key).ok_or_else(|| malformed("a removal"))?;
            let gone = self.fetch(&tables::removed_document(DocumentId { epoch, serial }))?;
            gone.ok_or_else(|| malformed("a removal"))
        })
        .collect()
    }

    fn documents(
        &self,
        account: &AccountId,
        office: Option<&OfficeCode>,
        after: Option<DocumentId>,
        limit: usize,
    ) -> Result<Vec<Document>, LedgerError> {
        let _gate = self.gate();
        let offices = match office {
            Some(office) => vec![office.clone()],
            None => self.outbox_offices(account)?,
        };
        let lists = offices.iter().map(|office| {
            let outbox = tables::outbox_office(account, office);
            let to = outbox.clone().end();
            let from = match after {
                Some(DocumentId { epoch, serial }) => outbox.numbered(epoch, serial.saturating_add(1)).done(),
                None => outbox.done(),
            };
            self.shared.index.range(&from, &to, false).map(|pair| {
                tables::decode::<StoredDocument>(&pair.map_err(index_error)?.1).map_err(index_error)
            })
        });
        Merge::new(lists.collect(), |stored: &StoredDocument| std::cmp::Reverse(stored.document.id))
            .filter(|stored| stored.as_ref().map_or(true, |stored| stored.removal.is_none()))
            .take(limit)
            .map(|stored| stored.map(|stored| stored.document))
            .collect()
    }

    fn announcements(
        &self,
        account: &AccountId,
        after: Option<DocumentId>,
        limit: usize,
    ) -> Result<Vec<Document>, LedgerError> {
        let _gate = self.gate();
        let list = tables::announcements(account);
        let to = list.clone().end();
        let from = match after {
            Some(DocumentId { epoch, serial }) => list.numbered(epoch, serial.saturating_add(1)).done(),
            None => list.done(),
        };
        let mut found = Vec::new();
        for pair in self.shared.index.range(&from, &to, false) {
            if found.len() >= limit {
                break;
            }
            let (key, _) = pair.map_err(index_error)?;
            let (epoch, serial) = tables::numbered_in(&key).ok_or_else(|| malformed("an announcement"))?;
            let stored = self.stored_document(DocumentId { epoch, serial })?;
            found.extend(stored.filter(|stored| stored.removal.is_none()).map(|stored| stored.document));
        }
        Ok(found)
    }

    fn announced(&self, insurer: &InsurerCode) -> Result<Vec<(DocumentId, DocumentId)>, LedgerError> {
        let _gate = self.gate();
        self.pairs(tables::announced(insurer))
            .map(|pair| {
                let (key, _) = pair?;
                let of =
                    |key: &[u8]| tables::numbered_in(key).map(|(epoch, serial)| DocumentId { epoch, serial });
                let group = key.len().checked_sub(12).and_then(|end| of(&key[..end]));
                group.zip(of(&key)).ok_or_else(|| malformed("an announcement"))
            })
            .collect()
    }

    fn delivery_taken(&self, insurer: &InsurerCode, set: Digest) -> Result<bool, LedgerError> {
        let _gate = self.gate();
        Ok(self.fetch::<()>(&tables::delivery(insurer, &set))?.is_some())
    }

    fn removals(&self) -> u64 {
        self.shared.removals.load(Ordering::SeqCst)
    }

    fn delivered_row(&self, row: Digest) -> Result<Option<DocumentId>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&tables::row(&row))
    }

    fn mail(&self, id: MailId) -> Result<Option<Mail>, LedgerError> {
        let _gate = self.gate();
        Ok(self.fetch::<StoredMail>(&tables::mail(id))?.map(|stored| stored.mail))
    }

    fn told(&self, kind: &str, about: &str) -> Result<bool, LedgerError> {
        let _gate = self.gate();
        Ok(self.shared.index.get(&tables::told(kind, about)).map_err(index_error)?.is_some())
    }

    fn mails(&self, filter: &MailFilter, limit: usize) -> Result<Vec<Mail>, LedgerError> {
        let _gate = self.gate();
        let list = match (&filter.mailbox, &filter.account, filter.state) {
            (Some(mailbox), ..) => tables::mailbox_mails(mailbox),
            (None, Some(account), _) => tables::account_mails(account),
            (None, None, Some(state)) => tables::state_mails(state),
            (None, None, None) => Key::of(b'M'),
        };
        let wanted = |mail: &Mail| {
            filter.state.is_none_or(|state| state == mail.state)
                && filter.account.as_ref().is_none_or(|account| mail.accounts().any(|a| a == account))
        };
        let mut found = Vec::new();
        for id in self.newest_first(vec![list], filter.before.map(|id| (id.epoch, id.serial))) {
            if found.len() >= limit {
                break;
            }
            let (epoch, serial) = id?;
            let stored: Option<StoredMail> = self.fetch(&tables::mail(MailId { epoch, serial }))?;
            let mail = stored.map(|stored| stored.mail);
            found.extend(mail.filter(wanted));
        }
        Ok(found)
    }

    fn stopped(&self) -> Option<String> {
        self.shared.stopped.get().map(|stopped| LedgerError::from(stopped.clone()).to_string())
    }

    fn mailbox(&self, tag: Digest) -> Result<Option<Mailbox>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&tables::mailbox(&tag))
    }

    fn marked_mailboxes(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Mailbox>, LedgerError> {
        let _gate = self.gate();
        let list = tables::marked_mailboxes();
        let from = match &after {
            Some(tag) => list.clone().digest(tag).byte(0).done(),
            None => list.clone().done(),
        };
        let mut found = Vec::new();
        for pair in self.shared.index.range(&from, &list.end(), false).take(limit) {
            let (key, _) = pair.map_err(index_error)?;
            let tag = key
                .get(1..)
                .and_then(|tag| tag.try_into().ok())
                .ok_or_else(|| malformed("marked mailboxes"))?;
            found.extend(self.fetch::<Mailbox>(&tables::mailbox(&Digest(tag)))?);
        }
        Ok(found)
    }

    fn reported(&self, message: Digest) -> Result<bool, LedgerError> {
        let _gate = self.gate();
        Ok(self.fetch::<MailId>(&tables::reported(&message))?.is_some())
    }

    fn claim(
        &self,
        queue: Queue,
        now: Timestamp,
        lease: i64,
        limit: usize,
    ) -> Result<Vec<Task>, LedgerError> {
        let _gate = self.gate();
        // A mail whose sending cannot be recorded would go out again with every lease.
        let unrecorded = queue == Queue::Mail && self.shared.stopped.get().is_some();
        if unrecorded || self.waits(queue) {
            return Ok(Vec::new());
        }
        let mut leases = locked(&self.shared.leases);
        let mut tasks = Vec::new();
        for due in self.due_tasks(queue, self.due_until(queue, now)) {
            if tasks.len() >= limit {
                break;
            }
            let (due, task) = due?;
            let free = leases.get(&(queue, task)).is_none_or(|lease| lease.is_over(now));
            if free && (due <= now || self.due_at_once(task)?) {
                leases.insert((queue, task), Lease { from: now, until: now.plus(lease) });
                tasks.push(task);
            }
        }
        Ok(tasks)
    }

    fn postpone(&self, queue: Queue, tasks: &[Task], until: Timestamp) {
        let _gate = self.gate();
        let mut leases = locked(&self.shared.leases);
        for task in tasks {
            // Only what is still held: a task that has left its queue meanwhile must not come back to be remembered.
            if let Some(held) = leases.get_mut(&(queue, *task)) {
                held.until = until;
            }
        }
    }

    fn due(&self, queue: Queue, now: Timestamp, limit: usize) -> Result<Vec<Task>, LedgerError> {
        let _gate = self.gate();
        self.due_tasks(queue, now).map(|due| due.map(|(_, task)| task)).take(limit).collect()
    }

    fn waiting(&self, queue: Queue) -> Result<(u64, Option<Timestamp>), LedgerError> {
        let _gate = self.gate();
        let first = self.pairs(tables::queue(queue)).next().transpose()?;
        let since = first.and_then(|(key, _)| tables::time_in(&key));
        Ok((locked(&self.shared.meta).waiting[usize::from(queue_byte(queue))], since))
    }

    fn erasable(
        &self,
        states: &[State],
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Number>, LedgerError> {
        let _gate = self.gate();
        let states: std::collections::HashSet<State> = states.iter().copied().collect();
        let found = self.older(states.into_iter().map(tables::erasable).collect(), before, limit)?;
        Ok(found.into_iter().map(|(epoch, serial)| Number { epoch, serial }).collect())
    }

    fn card_erasable(&self, before: Timestamp, limit: usize) -> Result<Vec<Number>, LedgerError> {
        let _gate = self.gate();
        let found = self.older(vec![tables::card_erasable()], before, limit)?;
        Ok(found.into_iter().map(|(epoch, serial)| Number { epoch, serial }).collect())
    }

    fn mail_card_erasable(&self, before: Timestamp, limit: usize) -> Result<Vec<MailId>, LedgerError> {
        let _gate = self.gate();
        let found = self.older(vec![tables::mail_card_erasable()], before, limit)?;
        Ok(found.into_iter().map(|(epoch, serial)| MailId { epoch, serial }).collect())
    }

    fn application(&self, id: ApplicationId) -> Result<Option<Application>, LedgerError> {
        let _gate = self.gate();
        Ok(self.fetch::<StoredApplication>(&tables::application(id))?.map(|stored| stored.application))
    }

    fn applications(
        &self,
        filter: &ApplicationFilter,
        limit: usize,
    ) -> Result<Vec<Application>, LedgerError> {
        let _gate = self.gate();
        let lists = if let Some(account) = &filter.account {
            vec![tables::account_applications(account)]
        } else if !filter.states.is_empty() {
            let states: std::collections::BTreeSet<_> = filter.states.iter().copied().collect();
            states.into_iter().map(tables::state_applications).collect()
        } else if let Some(insurer) = &filter.insurer {
            vec![tables::insurer_applications(insurer)]
        } else {
            vec![Key::of(b'p')]
        };
        let mut found = Vec::new();
        for number in self.newest_first(lists, filter.before.map(|id| (id.epoch, id.serial))) {
            if found.len() >= limit {
                break;
            }
            let (epoch, serial) = number?;
            let key = tables::application(ApplicationId { epoch, serial });
            let stored: Option<StoredApplication> = self.fetch(&key)?;
            found.extend(stored.map(|stored| stored.application).filter(|of| {
                filter.insurer.as_ref().is_none_or(|insurer| *insurer == of.insurer)
                    && (filter.states.is_empty() || filter.states.contains(&of.state))
            }));
        }
        Ok(found)
    }

    fn application_notices(&self, id: ApplicationId) -> Result<Vec<ApplicationNotice>, LedgerError> {
        let _gate = self.gate();
        let stored: Option<StoredApplication> = self.fetch(&tables::application(id))?;
        Ok(stored.map(|stored| stored.tell).unwrap_or_default())
    }

    fn application_card_erasable(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<ApplicationId>, LedgerError> {
        let _gate = self.gate();
        let found = self.older(vec![tables::application_card_erasable()], before, limit)?;
        Ok(found.into_iter().map(|(epoch, serial)| ApplicationId { epoch, serial }).collect())
    }

    fn password(&self, credential: &Credential) -> Result<Option<PasswordState>, LedgerError> {
        let _gate = self.gate();
        let stored: Option<tables::StoredPassword> = self.fetch(&tables::password(credential))?;
        Ok(stored.and_then(|stored| stored.state))
    }

    fn password_version(&self, credential: &Credential) -> Result<u64, LedgerError> {
        let _gate = self.gate();
        let stored: Option<tables::StoredPassword> = self.fetch(&tables::password(credential))?;
        Ok(stored.map_or(0, |stored| stored.version))
    }

    fn logins(&self, account: &AccountId) -> Result<LoginRecord, LedgerError> {
        let _gate = self.gate();
        Ok(self.fetch(&tables::login(account))?.unwrap_or_default())
    }

    fn login_news(&self, limit: usize) -> Result<Vec<(u64, AccountId, LoginNews)>, LedgerError> {
        let _gate = self.gate();
        self.pairs(tables::all_login_news())
            .take(limit)
            .map(|pair| {
                let (key, value) = pair?;
                let news = || {
                    let (_, seq) = tables::numbered_in(&key)?;
                    let (account, news) = postcard::from_bytes(&value).ok()?;
                    Some((seq, account, news))
                };
                news().ok_or_else(|| malformed("news of a login"))
            })
            .collect()
    }

    fn sweeps(&self, account: &AccountId, limit: usize) -> Result<Vec<Swept>, LedgerError> {
        let _gate = self.gate();
        let list = tables::sweeps(account);
        let pairs = self.shared.index.range(&list.clone().done(), &list.end(), true);
        pairs
            .take(limit)
            .map(|pair| {
                let (key, value) = pair.map_err(index_error)?;
                let swept = || {
                    let (files, bytes) = postcard::from_bytes(&value).ok()?;
                    Some(Swept { at: tables::time_in(&key)?, files, bytes })
                };
                swept().ok_or_else(|| malformed("a sweep"))
            })
            .collect()
    }

    fn renewal_told(&self, id: CertificateId) -> Result<Option<RenewalStage>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&tables::renewal_told(id))
    }

    fn account_history(&self, account: &AccountId, limit: usize) -> Result<Vec<AccountFact>, LedgerError> {
        let _gate = self.gate();
        let list = tables::account_facts(account);
        let pairs = self.shared.index.range(&list.clone().done(), &list.end(), true);
        pairs
            .take(limit)
            .map(|pair| {
                let (key, value) = pair.map_err(index_error)?;
                let at = tables::time_in(&key).ok_or_else(|| malformed("an account's history"))?;
                let what = tables::decode(&value).map_err(index_error)?;
                Ok(AccountFact { at, what })
            })
            .collect()
    }

    fn refers_to(&self, blob: &BlobId) -> Result<bool, LedgerError> {
        let _gate = self.gate();
        Ok(self.pairs(tables::blob(blob)).next().transpose()?.is_some())
    }
}

impl<I: Index> std::fmt::Debug for JournalLedger<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalLedger").field("head", &self.head()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::{MemoryIndex, SledIndex};
    use super::super::ledger_suite;
    use super::*;

    fn fresh<I: Index>() -> (tempfile::TempDir, JournalLedger<I>) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let (ledger, _) = JournalLedger::open(root, &LedgerOptions::default(), ledger_suite::NOW).unwrap();
        (dir, ledger)
    }

    #[test]
    fn over_memory_it_passes_the_suite() {
        ledger_suite::run(fresh::<MemoryIndex>);
    }

    #[test]
    fn over_sled_it_passes_the_suite() {
        ledger_suite::run(fresh::<SledIndex>);
    }
}
