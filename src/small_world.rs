//! A small world for the stages' tests: a ledger in memory, blobs in a temporary folder, a spool, parties.

mod certificates;
mod days;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode};

use crate::model::account_history::AccountFact;
use crate::model::application::{Application, ApplicationNotice};
use crate::model::authority::Authority;
use crate::model::card::{CardRef, Salt, SubmissionCard};
use crate::model::certificate::Certificate;
use crate::model::document::{Document, DocumentHold, RemovalReason, RemovedDocument};
use crate::model::event::Series;
use crate::model::finding::Language;
use crate::model::ids::{
    AccountId, ApplicationId, BlobId, CertificateId, Digest, DocumentId, InsurerCode, MailId, Number,
    OfficeCode,
};
use crate::model::login::{Credential, LoginNews, LoginRecord, PasswordState};
use crate::model::mail::{Mail, Mailbox};
use crate::model::party::{Account, AccountKey, Actor, Insurer, Office, Role, Standing};
use crate::model::renewal::RenewalStage;
use crate::model::submission::{FileRole, Hold, Kind, State, Submission, SubmittedFile};
use crate::model::time::Timestamp;
use crate::store::blobs::{BlobReader, BlobWriter, Blobs};
use crate::store::ledger::{
    ApplicationFilter, Done, Head, Ledger, LedgerError, MailFilter, Op, Queue, Refusal, SubmissionFilter,
    Swept, Task,
};
use crate::store::spool::{insurer_path, prepare_insurer};
use crate::work::alarms::AlarmBoard;
use crate::work::imports::{ImportPolicy, Imports};
use crate::work::publish::{PublishPolicy, Publisher, SpoolTurn};
use crate::work::step::Points;

pub(crate) const INSURER: &str = "06139999";
pub(crate) const OTHER_INSURER: &str = "06130000";

pub(crate) fn code(text: &str) -> InsurerCode {
    InsurerCode::parse(text).unwrap()
}

pub(crate) fn account(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}

#[derive(Default)]
struct State_ {
    insurers: Vec<Insurer>,
    offices: Vec<Office>,
    accounts: Vec<Account>,
    submissions: BTreeMap<Number, (Submission, Timestamp, bool)>,
    documents: BTreeMap<DocumentId, Document>,
    removing: BTreeMap<DocumentId, RemovalReason>,
    removed: Vec<RemovedDocument>,
    rows: BTreeMap<Digest, DocumentId>,
    sets: BTreeSet<(InsurerCode, Digest)>,
    authorities: Vec<Authority>,
    certificates: Vec<Certificate>,
    serial: u64,
    at: Timestamp,
    postponed: BTreeMap<Task, Timestamp>,
    log: Vec<String>,
    unheard: Option<&'static str>,
    stopped: bool,
}

#[derive(Default)]
pub(crate) struct FakeLedger(Mutex<State_>);

impl State_ {
    fn downloaded(
        &mut self,
        id: DocumentId,
        how: impl FnOnce(&mut Option<(Timestamp, Timestamp)>, &mut Option<(Timestamp, u64)>),
    ) {
        if let Some(document) = self.documents.get_mut(&id) {
            how(&mut document.fetched, &mut document.partly_fetched);
        } else if let Some(gone) = self.removed.iter_mut().find(|gone| gone.id == id) {
            how(&mut gone.fetched, &mut gone.partly_fetched);
        }
    }
}

impl FakeLedger {
    /// Operations so far, by their names.
    pub(crate) fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }
    /// The next operation of this name is recorded, but whoever asked is told that the ledger has stopped; and it has.
    pub(crate) fn stop_unheard(&self, op: &'static str) {
        self.0.lock().unwrap().unheard = Some(op);
    }
    /// As after a new start.
    pub(crate) fn start_anew(&self) {
        self.0.lock().unwrap().stopped = false;
    }
    pub(crate) fn edit_account(&self, id: &str, edit: impl FnOnce(&mut Account)) {
        let mut state = self.0.lock().unwrap();
        edit(state.accounts.iter_mut().find(|account| account.id.as_str() == id).unwrap());
    }
    pub(crate) fn edit_insurer(&self, code: &str, edit: impl FnOnce(&mut Insurer)) {
        let mut state = self.0.lock().unwrap();
        edit(state.insurers.iter_mut().find(|insurer| insurer.code.as_str() == code).unwrap());
    }
    pub(crate) fn set_at(&self, at: Timestamp) {
        self.0.lock().unwrap().at = at;
    }
    pub(crate) fn add_submission(&self, submission: Submission) {
        let changed = submission.received_at;
        self.0.lock().unwrap().submissions.insert(submission.number, (submission, changed, false));
    }
    pub(crate) fn add_document(&self, document: Document) {
        self.0.lock().unwrap().documents.insert(document.id, document);
    }
    pub(crate) fn documents_in_all(&self) -> Vec<Document> {
        self.0.lock().unwrap().documents.values().cloned().collect()
    }
}

impl State_ {
    fn change(
        &mut self,
        number: Number,
        from: &[State],
        to: State,
        now: Timestamp,
    ) -> Result<&mut Submission, LedgerError> {
        let (submission, changed, _) = self
            .submissions
            .get_mut(&number)
            .ok_or(LedgerError::Refused(Refusal::Missing(number.to_string())))?;
        if !from.contains(&submission.state) {
            return Err(LedgerError::Refused(Refusal::State { number, state: submission.state }));
        }
        submission.state = to;
        *changed = now;
        Ok(submission)
    }

    fn change_many(&mut self, numbers: Vec<Number>, from: &[State], to: State, now: Timestamp) -> Done {
        Done::Numbers(numbers.into_iter().filter(|n| self.change(*n, from, to, now).is_ok()).collect())
    }
}

impl Ledger for FakeLedger {
    #[allow(clippy::too_many_lines, reason = "a table: one short arm for each operation")]
    fn commit(&self, op: Op, _: Actor, now: Timestamp) -> Result<Done, LedgerError> {
        use State::{Accepted, Collected, Held, ImportFailed, Imported, Published, Publishing, Withdrawn};
        let mut state = self.0.lock().unwrap();
        if state.stopped {
            return Err(LedgerError::Stopped("a test stopped it".into()));
        }
        let name = format!("{op:?}").split([' ', '(', '{']).next().unwrap().to_owned();
        if state.unheard.take_if(|unheard| *unheard == name).is_some() {
            drop(state);
            self.commit(op, Actor::Daemon, now)?;
            self.0.lock().unwrap().stopped = true;
            return Err(LedgerError::Stopped("a test stopped it".into()));
        }
        state.log.push(name);
        state.at = state.at.max(now);
        Ok(match op {
            Op::PublishIntend(numbers) => state.change_many(numbers, &[Accepted], Publishing, now),
            Op::Published(numbers) => state.change_many(numbers, &[Publishing], Published, now),
            Op::Collect(number) => {
                state.change(number, &[Publishing, Published], Collected, now)?.collected_at = Some(now);
                Done::Ok
            }
            Op::EndImport { number, ok } => {
                let to = if ok { Imported } else { ImportFailed };
                let ended = state.change(number, &[Published, Collected, Imported, ImportFailed], to, now)?;
                ended.collected_at.get_or_insert(now);
                Done::Ok
            }
            Op::Withdraw { number, account } => {
                let (submission, ..) = &state.submissions[&number];
                if account.is_some_and(|account| account != submission.account) {
                    return Err(LedgerError::Refused(Refusal::NotYours(number.to_string())));
                }
                state.change(number, &[Held, Accepted, Published], Withdrawn, now)?.withdrawn_at = Some(now);
                Done::Ok
            }
            Op::EraseIntend(numbers) => Done::Numbers(numbers),
            Op::Erased(numbers) => {
                for number in &numbers {
                    let entry = state.submissions.get_mut(number).unwrap();
                    entry.0.files.clear();
                    (entry.1, entry.2) = (now, true);
                }
                Done::Numbers(numbers)
            }
            Op::CardErased(numbers) => {
                for number in &numbers {
                    state.submissions.remove(number);
                }
                Done::Numbers(numbers)
            }
            Op::Place(rows) => {
                let mut placed = Vec::new();
                for (document, row) in rows {
                    let there = state.rows.get(&row).is_some_and(|id| {
                        state.documents.contains_key(id) && !state.removing.contains_key(id)
                    });
                    let stands = |of: &Account| of.id == document.account && of.standing == Standing::Active;
                    if !there && state.accounts.iter().any(stands) {
                        state.rows.insert(row, document.id);
                        placed.push(document.id);
                        state.documents.insert(document.id, document);
                    }
                }
                Done::Documents(placed)
            }
            Op::DeliveryTaken { insurer, set, .. } => {
                state.sets.insert((insurer, set));
                Done::Ok
            }
            Op::Fetched(id) => {
                state.downloaded(id, |fetched, _| *fetched = Some((now, now)));
                Done::Ok
            }
            Op::PartlyFetched { id, bytes } => {
                state.downloaded(id, |_, partly| *partly = Some((now, bytes)));
                Done::Ok
            }
            Op::HoldDocument { id, legal, card } => {
                let hold = DocumentHold { legal, since: now, card };
                state.documents.get_mut(&id).unwrap().hold = Some(hold);
                Done::Ok
            }
            Op::ReleaseDocument { id, until } => {
                let document = state.documents.get_mut(&id).unwrap();
                document.hold = None;
                if let Some(until) = until.filter(|u| document.fetched.is_none() && document.expires_at < *u)
                {
                    (document.expires_at, document.prolonged_at) = (until, Some(now));
                }
                Done::Ok
            }
            Op::RemovalIntend { ids, reason } => {
                let free = |id: &DocumentId| state.documents.get(id).is_some_and(|d| d.hold.is_none());
                let ids: Vec<_> = ids.into_iter().filter(free).collect();
                for id in &ids {
                    state.removing.entry(*id).or_insert(reason);
                }
                Done::Documents(ids)
            }
            Op::Removed(ids) => {
                for id in &ids {
                    let Some(document) = state.documents.remove(id) else { continue };
                    let reason = state.removing.remove(id).unwrap_or(RemovalReason::Expired);
                    // The ledger's time never goes back.
                    let at = now.max(document.placed_at);
                    state.removed.push(RemovedDocument::of(document, reason, at));
                }
                Done::Documents(ids)
            }
            Op::SetAuthority { .. }
            | Op::IssueCertificate(_)
            | Op::RevokeCertificate { .. }
            | Op::UseCertificate(_)
            | Op::ForgetBundle(_) => certificates::commit(&mut state, op, now)?,
            other => panic!("the fake ledger does not do {other:?}"),
        })
    }
    fn next_serial(&self, _: Series, _: Timestamp) -> Result<u64, LedgerError> {
        let mut state = self.0.lock().unwrap();
        state.serial += 1;
        Ok(state.serial)
    }
    fn head(&self) -> Head {
        let at = self.0.lock().unwrap().at;
        Head { epoch: 1, unreconciled: false, seq: 1, at, hash: Digest([0; 32]) }
    }
    fn insurer(&self, code: &InsurerCode) -> Result<Option<Insurer>, LedgerError> {
        Ok(self.0.lock().unwrap().insurers.iter().find(|insurer| insurer.code == *code).cloned())
    }
    fn insurers(&self) -> Result<Vec<Insurer>, LedgerError> {
        Ok(self.0.lock().unwrap().insurers.clone())
    }
    fn office(&self, insurer: &InsurerCode, code: &OfficeCode) -> Result<Option<Office>, LedgerError> {
        Ok(self.offices(insurer)?.into_iter().find(|office| office.code == *code))
    }
    fn offices(&self, insurer: &InsurerCode) -> Result<Vec<Office>, LedgerError> {
        let state = self.0.lock().unwrap();
        Ok(state.offices.iter().filter(|office| office.insurer == *insurer).cloned().collect())
    }
    fn account(&self, id: &AccountId) -> Result<Option<Account>, LedgerError> {
        Ok(self.0.lock().unwrap().accounts.iter().find(|account| account.id == *id).cloned())
    }
    fn accounts(&self, insurer: Option<&InsurerCode>) -> Result<Vec<Account>, LedgerError> {
        let state = self.0.lock().unwrap();
        let of = |account: &&Account| insurer.is_none_or(|insurer| account.insurer == *insurer);
        Ok(state.accounts.iter().filter(of).cloned().collect())
    }
    fn accounts_of_key(&self, _: &str) -> Result<Vec<AccountId>, LedgerError> {
        Ok(Vec::new())
    }
    fn submission(&self, number: Number) -> Result<Option<Submission>, LedgerError> {
        Ok(self.0.lock().unwrap().submissions.get(&number).map(|(submission, ..)| submission.clone()))
    }
    fn submission_by_manifest(&self, _: &AccountId, _: Digest) -> Result<Option<Number>, LedgerError> {
        Ok(None)
    }
    fn submission_by_id(&self, _: &AccountId, _: Digest) -> Result<Option<Number>, LedgerError> {
        Ok(None)
    }
    fn submissions(&self, filter: &SubmissionFilter, limit: usize) -> Result<Vec<Submission>, LedgerError> {
        let state = self.0.lock().unwrap();
        let wanted = |submission: &&Submission| {
            filter.insurer.as_ref().is_none_or(|insurer| *insurer == submission.insurer)
                && (filter.states.is_empty() || filter.states.contains(&submission.state))
                && filter.before.is_none_or(|before| submission.number < before)
        };
        let newest_first = state.submissions.values().rev().map(|(submission, ..)| submission);
        Ok(newest_first.filter(wanted).take(limit).cloned().collect())
    }
    fn document(&self, id: DocumentId) -> Result<Option<Document>, LedgerError> {
        let state = self.0.lock().unwrap();
        Ok(state.documents.get(&id).filter(|_| !state.removing.contains_key(&id)).cloned())
    }
    fn removing(&self, id: DocumentId) -> Result<Option<(Document, RemovalReason)>, LedgerError> {
        let state = self.0.lock().unwrap();
        Ok(state.removing.get(&id).and_then(|reason| Some((state.documents.get(&id)?.clone(), *reason))))
    }
    fn removed_document(&self, id: DocumentId) -> Result<Option<RemovedDocument>, LedgerError> {
        Ok(self.0.lock().unwrap().removed.iter().find(|gone| gone.id == id).cloned())
    }
    fn stopped(&self) -> Option<String> {
        self.0.lock().unwrap().stopped.then(|| "a test stopped it".to_owned())
    }
    fn removed_documents(
        &self,
        insurer: &InsurerCode,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<RemovedDocument>, LedgerError> {
        let state = self.0.lock().unwrap();
        let of = |gone: &&RemovedDocument| {
            gone.insurer == *insurer && gone.removed_at >= from && gone.removed_at < until
        };
        Ok(state.removed.iter().filter(of).cloned().collect())
    }
    fn hold(&self, _: Number) -> Result<Option<Hold>, LedgerError> {
        Ok(None)
    }
    fn held(&self) -> Result<(u64, Option<Timestamp>), LedgerError> {
        Ok((0, None))
    }
    fn documents(
        &self,
        account: &AccountId,
        _: Option<&OfficeCode>,
        _: Option<DocumentId>,
        limit: usize,
    ) -> Result<Vec<Document>, LedgerError> {
        let state = self.0.lock().unwrap();
        let of = |document: &&Document| document.account == *account;
        Ok(state.documents.values().filter(of).take(limit).cloned().collect())
    }
    fn announcements(
        &self,
        account: &AccountId,
        after: Option<DocumentId>,
        limit: usize,
    ) -> Result<Vec<Document>, LedgerError> {
        let of = |document: &Document| document.announcement.is_some() && Some(document.id) > after;
        let all = self.documents(account, None, None, usize::MAX)?;
        Ok(all.into_iter().filter(of).take(limit).collect())
    }
    fn announced(&self, insurer: &InsurerCode) -> Result<Vec<(DocumentId, DocumentId)>, LedgerError> {
        let all = self.documents_in_all().into_iter().filter(|document| document.insurer == *insurer);
        Ok(all.filter_map(|document| Some((document.announcement?, document.id))).collect())
    }
    fn delivery_taken(&self, insurer: &InsurerCode, set: Digest) -> Result<bool, LedgerError> {
        Ok(self.0.lock().unwrap().sets.contains(&(insurer.clone(), set)))
    }
    fn removals(&self) -> u64 {
        let state = self.0.lock().unwrap();
        (state.removing.len() + state.removed.len()) as u64
    }
    fn delivered_row(&self, row: Digest) -> Result<Option<DocumentId>, LedgerError> {
        Ok(self.0.lock().unwrap().rows.get(&row).copied())
    }
    fn mail(&self, _: MailId) -> Result<Option<Mail>, LedgerError> {
        Ok(None)
    }
    fn told(&self, _: &str, _: &str) -> Result<bool, LedgerError> {
        Ok(false)
    }
    fn mails(&self, _: &MailFilter, _: usize) -> Result<Vec<Mail>, LedgerError> {
        Ok(Vec::new())
    }
    fn mailbox(&self, _: Digest) -> Result<Option<Mailbox>, LedgerError> {
        Ok(None)
    }
    fn marked_mailboxes(&self, _: Option<Digest>, _: usize) -> Result<Vec<Mailbox>, LedgerError> {
        Ok(Vec::new())
    }
    fn reported(&self, _: Digest) -> Result<bool, LedgerError> {
        Ok(false)
    }
    fn claim(&self, queue: Queue, now: Timestamp, _: i64, limit: usize) -> Result<Vec<Task>, LedgerError> {
        let mut due = self.due(queue, now, usize::MAX)?;
        let state = self.0.lock().unwrap();
        due.retain(|task| state.postponed.get(task).is_none_or(|until| *until <= now));
        due.truncate(limit);
        Ok(due)
    }
    fn postpone(&self, _: Queue, tasks: &[Task], until: Timestamp) {
        self.0.lock().unwrap().postponed.extend(tasks.iter().map(|task| (*task, until)));
    }
    fn due(&self, queue: Queue, now: Timestamp, limit: usize) -> Result<Vec<Task>, LedgerError> {
        let state = self.0.lock().unwrap();
        let tasks: Vec<Task> = match queue {
            Queue::Publish => state
                .submissions
                .values()
                .filter(|(submission, ..)| matches!(submission.state, State::Accepted | State::Publishing))
                .map(|(submission, ..)| Task::Submission(submission.number))
                .collect(),
            Queue::Expire => state
                .documents
                .values()
                .filter(|document| {
                    state.removing.contains_key(&document.id)
                        || (document.hold.is_none() && document.expires_at <= now)
                })
                .map(|document| Task::Document(document.id))
                .collect(),
            _ => Vec::new(),
        };
        Ok(tasks.into_iter().take(limit).collect())
    }
    fn waiting(&self, _: Queue) -> Result<(u64, Option<Timestamp>), LedgerError> {
        Ok((self.0.lock().unwrap().documents.len() as u64, None))
    }
    fn erasable(
        &self,
        states: &[State],
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Number>, LedgerError> {
        let state = self.0.lock().unwrap();
        let due = state.submissions.values().filter(|(submission, changed, erased)| {
            !erased && states.contains(&submission.state) && *changed < before
        });
        Ok(due.map(|(submission, ..)| submission.number).take(limit).collect())
    }
    fn card_erasable(&self, before: Timestamp, limit: usize) -> Result<Vec<Number>, LedgerError> {
        let state = self.0.lock().unwrap();
        let due = state.submissions.values().filter(|(_, changed, erased)| *erased && *changed < before);
        Ok(due.map(|(submission, ..)| submission.number).take(limit).collect())
    }
    fn mail_card_erasable(&self, _: Timestamp, _: usize) -> Result<Vec<MailId>, LedgerError> {
        Ok(Vec::new())
    }
    fn application(&self, _: ApplicationId) -> Result<Option<Application>, LedgerError> {
        Ok(None)
    }
    fn applications(&self, _: &ApplicationFilter, _: usize) -> Result<Vec<Application>, LedgerError> {
        Ok(Vec::new())
    }
    fn application_notices(&self, _: ApplicationId) -> Result<Vec<ApplicationNotice>, LedgerError> {
        Ok(Vec::new())
    }
    fn application_card_erasable(&self, _: Timestamp, _: usize) -> Result<Vec<ApplicationId>, LedgerError> {
        Ok(Vec::new())
    }

    fn password(&self, _: &Credential) -> Result<Option<PasswordState>, LedgerError> {
        Ok(None)
    }
    fn password_version(&self, _: &Credential) -> Result<u64, LedgerError> {
        Ok(0)
    }
    fn logins(&self, _: &AccountId) -> Result<LoginRecord, LedgerError> {
        Ok(LoginRecord::default())
    }
    fn login_news(&self, _: usize) -> Result<Vec<(u64, AccountId, LoginNews)>, LedgerError> {
        Ok(Vec::new())
    }
    fn sweeps(&self, _: &AccountId, _: usize) -> Result<Vec<Swept>, LedgerError> {
        Ok(Vec::new())
    }
    fn renewal_told(&self, _: CertificateId) -> Result<Option<RenewalStage>, LedgerError> {
        Ok(None)
    }
    fn account_history(&self, _: &AccountId, _: usize) -> Result<Vec<AccountFact>, LedgerError> {
        Ok(Vec::new())
    }

    fn refers_to(&self, blob: &BlobId) -> Result<bool, LedgerError> {
        let state = self.0.lock().unwrap();
        Ok(state.submissions.values().any(|(submission, ..)| {
            submission.card.blob == *blob || submission.files.iter().any(|file| file.blob == *blob)
        }) || state
            .documents
            .values()
            .any(|document| document.blob == *blob || document.card.blob == *blob)
            || state.certificates.iter().any(|of| of.bundle.as_ref().is_some_and(|card| card.blob == *blob)))
    }
}

/// Blobs as files of one folder.
pub(crate) struct FakeBlobs {
    dir: PathBuf,
    next: Mutex<u64>,
}

struct FakeFile(BlobId, std::fs::File);

impl BlobWriter for FakeFile {
    fn id(&self) -> &BlobId {
        &self.0
    }
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.write_all_at(bytes, offset)
    }
    fn set_size(&mut self, size: u64) -> io::Result<()> {
        self.1.set_len(size)
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.1.metadata()?.len())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobReader for FakeFile {
    fn size(&self) -> u64 {
        self.1.metadata().unwrap().len()
    }
    fn read_at(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let mut bytes = vec![0; length];
        let read = self.1.read_at(&mut bytes, offset)?;
        into.extend_from_slice(&bytes[..read]);
        Ok(())
    }
    fn stream(&self) -> Box<dyn io::Read + Send + '_> {
        Box::new(&self.1)
    }
}

impl FakeBlobs {
    pub(crate) fn count(&self) -> usize {
        std::fs::read_dir(&self.dir).unwrap().count()
    }
}

impl Blobs for FakeBlobs {
    fn create(&self, now: Timestamp) -> io::Result<Box<dyn BlobWriter>> {
        let mut next = self.next.lock().unwrap();
        *next += 1;
        let id = BlobId::parse(&format!("{}-{:016x}", now.utc().format("%Y%m%d"), *next)).unwrap();
        let file = std::fs::File::create_new(self.dir.join(id.as_str()))?;
        Ok(Box::new(FakeFile(id, file)))
    }
    fn reopen(&self, id: &BlobId) -> io::Result<Box<dyn BlobWriter>> {
        let file = std::fs::File::options().write(true).open(self.dir.join(id.as_str()))?;
        Ok(Box::new(FakeFile(id.clone(), file)))
    }
    fn put(&self, bytes: &[u8], now: Timestamp) -> io::Result<BlobId> {
        let mut writer = self.create(now)?;
        writer.write_at(0, bytes)?;
        Ok(writer.id().clone())
    }
    fn sync(&self, _: &[BlobId]) -> io::Result<()> {
        Ok(())
    }
    fn open(&self, id: &BlobId) -> io::Result<Box<dyn BlobReader>> {
        Ok(Box::new(FakeFile(id.clone(), std::fs::File::open(self.dir.join(id.as_str()))?)))
    }
    fn get(&self, id: &BlobId, _: u64) -> io::Result<Vec<u8>> {
        std::fs::read(self.dir.join(id.as_str()))
    }
    fn export(&self, id: &BlobId, into: &OwnedFd, name: &str, group: Option<u32>) -> io::Result<()> {
        let here = rustix::fs::CWD;
        rustix::fs::linkat(here, self.dir.join(id.as_str()), into, name, AtFlags::empty())?;
        rustix::fs::chmodat(into, name, Mode::from_raw_mode(0o440), AtFlags::empty())?;
        let group = group.map(rustix::fs::Gid::from_raw);
        Ok(rustix::fs::chownat(into, name, None, group, AtFlags::empty())?)
    }
    fn restore(&self, lost: &BlobId, from: &BlobId) -> io::Result<()> {
        std::fs::hard_link(self.dir.join(from.as_str()), self.dir.join(lost.as_str()))
    }
    fn remove(&self, ids: &[BlobId]) -> io::Result<()> {
        for id in ids {
            match std::fs::remove_file(self.dir.join(id.as_str())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
    fn scan(&self) -> Box<dyn Iterator<Item = io::Result<BlobId>> + Send + '_> {
        Box::new(
            std::fs::read_dir(&self.dir)
                .unwrap()
                .map(|entry| Ok(BlobId::parse(entry?.file_name().to_str().unwrap()).unwrap())),
        )
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(FREE_BYTES)
    }
}

/// What is free on the disk of [`FakeBlobs`].
pub(crate) const FREE_BYTES: u64 = 1 << 40;

/// Everything a stage stands on.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) ledger: Arc<FakeLedger>,
    pub(crate) blobs: Arc<FakeBlobs>,
    pub(crate) alarms: Arc<AlarmBoard>,
    pub(crate) turn: SpoolTurn,
    pub(crate) now: Timestamp,
}

/// A submission of two files, bytes and card written but not durable.
pub(crate) fn submission(
    blobs: &dyn Blobs,
    number: Number,
    id: &str,
    office: &str,
    now: Timestamp,
) -> Submission {
    let file = |role, name: &str, bytes: &[u8]| SubmittedFile {
        blob: blobs.put(bytes, now).unwrap(),
        sha256: Digest::of(bytes),
        size: bytes.len() as u64,
        role,
        export_name: name.to_owned(),
    };
    let card = SubmissionCard {
        salt: Salt("00112233445566778899aabbccddeeff".into()),
        id: Some("2026-11/給与".into()),
        subject: Some("月額変更届 11月分".into()),
        comment: None,
        names: vec!["KPFD0006.CSV".into(), "総括表.pdf".into()],
        manifest: "bWFuaWZlc3Q=".into(),
        signature: "c2lnbmF0dXJl".into(),
        cms: String::new(),
        evidence: Vec::new(),
        signer: "ssh-ed25519 AAAAC3Nz".into(),
        findings: Vec::new(),
        more_findings: 0,
        more_errors: 0,
        receipt: "{}\n".into(),
        receipt_signature: "-----BEGIN SSH SIGNATURE-----\n".into(),
    };
    let card = serde_json::to_vec(&card).unwrap();
    let blob = blobs.put(&card, now).unwrap();
    Submission {
        number,
        account: account(id),
        insurer: code(INSURER),
        office: Some(OfficeCode::parse(office).unwrap()),
        kind: Kind::Filing,
        test: false,
        manifest: Digest::of(b"manifest"),
        id_tag: None,
        content_tag: Digest::of(b"content"),
        signer: "SHA256:abc".into(),
        files: vec![
            file(FileRole::Filing, "KPFD0006.CSV", b"filing"),
            file(FileRole::Cover, "cover.pdf", b"%PDF-1.7 cover %%EOF"),
        ],
        forms: vec![("2221700".into(), 3)],
        verdicts: Vec::new(),
        card: CardRef { blob, digest: Digest::of(&card) },
        decision: None,
        received_at: now,
        decided_at: Some(now),
        collected_at: None,
        withdrawn_at: None,
        withdrawn_by: None,
        withdraws: None,
        state: State::Accepted,
    }
}

fn card_ref() -> CardRef {
    CardRef { blob: BlobId::parse("20260101-ffffffffffffffff").unwrap(), digest: Digest([0; 32]) }
}

/// An insurer with its folders, its office 1234, and the office's account K0001 with these keys, all recorded by `commit`.
pub(crate) fn found(
    root: &Path,
    blobs: &dyn Blobs,
    now: Timestamp,
    keys: Vec<AccountKey>,
    commit: impl Fn(Op),
) {
    prepare_insurer(root, &code(INSURER), None).unwrap();
    let card = || {
        let blob = blobs.put(b"{}", now).unwrap();
        blobs.sync(std::slice::from_ref(&blob)).unwrap();
        CardRef { blob, digest: Digest::of(b"{}") }
    };
    let insurer = Insurer { code: code(INSURER), standing: Standing::Active, card: card() };
    commit(Op::SetInsurer { insurer, new: true });
    let office = OfficeCode::parse("1234").unwrap();
    let office = Office { insurer: code(INSURER), code: office, standing: Standing::Active, card: card() };
    commit(Op::SetOffice { office, new: true });
    let account = Account { card: card(), keys, ..party("K0001", INSURER, Role::Office, &["1234"]) };
    commit(Op::SetAccount { account, new: true });
}

pub(crate) fn party(id: &str, insurer: &str, role: Role, offices: &[&str]) -> Account {
    Account {
        id: account(id),
        insurer: code(insurer),
        role,
        offices: offices.iter().map(|office| OfficeCode::parse(office).unwrap()).collect(),
        delegations: Vec::new(),
        language: Language::Ja,
        test: false,
        machine: false,
        standing: Standing::Active,
        keys: Vec::new(),
        card: card_ref(),
    }
}

impl World {
    /// Two insurers; K0001 for office 1234, agent S0001 for 1234 and 5678, office 9999 without an account, K0009 elsewhere.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("blobs")).unwrap();
        let ledger = FakeLedger::default();
        {
            let mut state = ledger.0.lock().unwrap();
            for insurer in [INSURER, OTHER_INSURER] {
                prepare_insurer(&dir.path().join("spool"), &code(insurer), None).unwrap();
                let insurer = Insurer { code: code(insurer), standing: Standing::Active, card: card_ref() };
                state.insurers.push(insurer);
            }
            for (insurer, office) in
                [(INSURER, "1234"), (INSURER, "5678"), (INSURER, "9999"), (OTHER_INSURER, "4321")]
            {
                let code_ = OfficeCode::parse(office).unwrap();
                let insurer = code(insurer);
                state.offices.push(Office {
                    insurer,
                    code: code_,
                    standing: Standing::Active,
                    card: card_ref(),
                });
            }
            state.accounts = vec![
                party("K0001", INSURER, Role::Office, &["1234"]),
                party("K0005", INSURER, Role::Office, &["5678"]),
                party("S0001", INSURER, Role::Agent, &["1234", "5678"]),
                party("I0001", INSURER, Role::Insurer, &[]),
                party("K0009", OTHER_INSURER, Role::Office, &["4321"]),
            ];
        }
        Self {
            blobs: Arc::new(FakeBlobs { dir: dir.path().join("blobs"), next: Mutex::new(0) }),
            ledger: Arc::new(ledger),
            alarms: Arc::default(),
            turn: SpoolTurn::default(),
            now: at("2026-11-23T09:00:00+09:00"),
            dir,
        }
    }

    pub(crate) fn spool_root(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    pub(crate) fn spool(&self, rest: &str) -> PathBuf {
        insurer_path(&self.spool_root(), &code(INSURER)).join(rest)
    }

    /// Names in a folder of the first insurer's spool, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        names(&self.spool(folder))
    }

    /// An accepted submission of two files by this account.
    pub(crate) fn accept_from(&self, id: &str, office: &str) -> Number {
        let serial = self.ledger.next_serial(Series::Submission, self.now).unwrap();
        let number = Number { epoch: 1, serial };
        self.ledger.add_submission(submission(&*self.blobs, number, id, office, self.now));
        number
    }

    pub(crate) fn accept(&self) -> Number {
        self.accept_from("K0001", "1234")
    }

    /// An accepted submission to the other insurer.
    pub(crate) fn accept_elsewhere(&self) -> Number {
        let number = self.accept_from("K0009", "4321");
        let mut submission = self.ledger.submission(number).unwrap().unwrap();
        submission.insurer = code(OTHER_INSURER);
        self.ledger.add_submission(submission);
        number
    }

    pub(crate) fn state(&self, number: Number) -> State {
        self.ledger.submission(number).unwrap().unwrap().state
    }

    pub(crate) fn publisher(&self, points: Points) -> Publisher {
        Publisher {
            ledger: self.ledger.clone(),
            blobs: self.blobs.clone(),
            spool_root: self.spool_root(),
            policy: PublishPolicy::default(),
            turn: self.turn.clone(),
            alarms: self.alarms.clone(),
            points,
        }
    }

    pub(crate) fn imports(&self) -> Imports {
        Imports {
            ledger: self.ledger.clone(),
            spool_root: self.spool_root(),
            policy: ImportPolicy::default(),
            turn: self.turn.clone(),
            alarms: self.alarms.clone(),
            seen: Mutex::default(),
        }
    }

    /// Everything accepted into `new/`.
    pub(crate) fn publish(&self) {
        self.publisher(Points::default()).step(self.now).unwrap();
    }

    pub(crate) fn alarm_codes(&self) -> Vec<String> {
        self.alarms.list().into_iter().map(|alarm| alarm.code).collect()
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
