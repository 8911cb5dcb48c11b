//! What lies in the index under which key, and the draft in which a commit's changes are gathered.
//!
//! One byte names the table; texts end with a zero byte; numbers and times are big-endian, so that keys sort as they
//! count. Records are postcard; all other tables but `manifest`, `id`, `content`, `sweeps`, `told`, `reported`, `account_facts`, `renewal_told` and the
//! places of documents hold keys without a value, and follow from the records ([`StoredSubmission::derived`] and its likes).

pub(super) mod certificates;
pub(super) mod days;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::index::{Change, Index, IndexError};
use super::ledger::{Queue, Task};
use crate::model::application::ApplicationState;
use crate::model::document::{Document, RemovalReason};
use crate::model::event::Series;
use crate::model::ids::{
    AccountId, ApplicationId, BlobId, Digest, DocumentId, InsurerCode, MailId, Number, OfficeCode,
};
use crate::model::login::{Credential, PasswordState, Purpose};
use crate::model::mail::{Mail, MailState, Mailbox, Subject};
use crate::model::submission::{HoldReason, State, Submission};
use crate::model::time::Timestamp;

/// Changes with every change of keys or values: an index of another number is rebuilt.
pub(super) const SCHEMA: u32 = 9;

pub(super) const META: &[u8] = b"\0meta";

/// Builds a key.
#[derive(Debug, Clone)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn of(table: u8) -> Self {
        let mut bytes = Vec::with_capacity(48);
        bytes.push(table);
        Self(bytes)
    }
    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self
    }
    pub(super) fn digest(mut self, digest: &Digest) -> Self {
        self.0.extend_from_slice(&digest.0);
        self
    }
    pub(super) fn numbered(mut self, epoch: u32, serial: u64) -> Self {
        self.0.extend_from_slice(&epoch.to_be_bytes());
        self.0.extend_from_slice(&serial.to_be_bytes());
        self
    }
    pub(super) fn number(self, number: Number) -> Self {
        self.numbered(number.epoch, number.serial)
    }
    pub(super) fn document(self, id: DocumentId) -> Self {
        self.numbered(id.epoch, id.serial)
    }
    pub(super) fn mail(self, id: MailId) -> Self {
        self.numbered(id.epoch, id.serial)
    }
    /// Times before 1970 sort first.
    pub(super) fn time(mut self, time: Timestamp) -> Self {
        self.0.extend_from_slice(&(time.0.cast_unsigned() ^ (1 << 63)).to_be_bytes());
        self
    }
    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
    /// The first key after all that begin with this one.
    pub(super) fn end(self) -> Vec<u8> {
        let mut bytes = self.0;
        while bytes.pop_if(|last| *last == u8::MAX).is_some() {}
        if let Some(last) = bytes.last_mut() {
            *last += 1;
        }
        bytes
    }
}

/// The last twelve bytes of a key: epoch and serial.
pub(super) fn numbered_in(key: &[u8]) -> Option<(u32, u64)> {
    let tail = key.last_chunk::<12>()?;
    let (epoch, serial) = tail.split_at(4);
    Some((u32::from_be_bytes(epoch.try_into().ok()?), u64::from_be_bytes(serial.try_into().ok()?)))
}

/// The time that stands before epoch and serial.
pub(super) fn time_in(key: &[u8]) -> Option<Timestamp> {
    let at = key.len().checked_sub(20)?;
    let bytes: [u8; 8] = key[at..at + 8].try_into().ok()?;
    Some(Timestamp((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()))
}

pub(super) fn insurer(code: &InsurerCode) -> Vec<u8> {
    Key::of(b'i').text(code.as_str()).done()
}
pub(super) fn offices(insurer: &InsurerCode) -> Key {
    Key::of(b'o').text(insurer.as_str())
}
pub(super) fn office(insurer: &InsurerCode, code: &OfficeCode) -> Vec<u8> {
    offices(insurer).text(code.as_str()).done()
}
pub(super) fn account(id: &AccountId) -> Vec<u8> {
    Key::of(b'a').text(id.as_str()).done()
}
pub(super) fn insurer_accounts(insurer: &InsurerCode) -> Key {
    Key::of(b'A').text(insurer.as_str())
}
/// Accounts that have this key: at most a test account and its production twin.
pub(super) fn fingerprint(fingerprint: &str) -> Vec<u8> {
    Key::of(b'k').text(fingerprint).done()
}
/// What was removed from this account's drop-box, by time; the value is files and bytes.
pub(super) fn sweeps(account: &AccountId) -> Key {
    Key::of(b'z').text(account.as_str())
}
/// [`StoredPassword`]
pub(super) fn password(credential: &Credential) -> Vec<u8> {
    let purpose = match credential.purpose {
        Purpose::Login => 0,
        Purpose::Issue => 1,
        Purpose::Enrolment => 2,
    };
    Key::of(b'1').byte(purpose).text(credential.holder.as_str()).done()
}
/// [`crate::model::login::LoginRecord`]
pub(super) fn login(account: &AccountId) -> Vec<u8> {
    Key::of(b'2').text(account.as_str()).done()
}
/// What mailboxes are to be told of logins, by the event's sequence number: account and
/// [`crate::model::login::LoginNews`].
pub(super) fn all_login_news() -> Key {
    Key::of(b'3')
}
pub(super) fn login_news(seq: u64) -> Vec<u8> {
    all_login_news().numbered(0, seq).done()
}
/// What happened to an account itself, by time.
pub(super) fn account_facts(account: &AccountId) -> Key {
    Key::of(b'l').text(account.as_str())
}
/// What was last said of a certificate's end.
pub(super) fn renewal_told(id: crate::model::ids::CertificateId) -> Vec<u8> {
    Key::of(b'L').numbered(id.epoch, id.serial).done()
}
pub(super) fn submission(number: Number) -> Vec<u8> {
    Key::of(b's').number(number).done()
}
pub(super) fn account_submissions(account: &AccountId) -> Key {
    Key::of(b'S').text(account.as_str())
}
pub(super) fn insurer_submissions(insurer: &InsurerCode) -> Key {
    Key::of(b'I').text(insurer.as_str())
}
pub(super) fn state_submissions(state: State) -> Key {
    Key::of(b'u').byte(state_byte(state))
}
/// By time of the last change, while the payload is there and may go.
pub(super) fn erasable(state: State) -> Key {
    Key::of(b't').byte(state_byte(state))
}
/// By time of the last change, while the payload is erased and the card is not.
pub(super) fn card_erasable() -> Key {
    Key::of(b'y')
}
/// Held until the epoch is reconciled.
pub(super) fn epoch_holds() -> Key {
    Key::of(b'h')
}
/// The latest submission with this manifest.
pub(super) fn manifest(account: &AccountId, manifest: &Digest) -> Vec<u8> {
    Key::of(b'm').text(account.as_str()).digest(manifest).done()
}
/// [`IdUse`]
pub(super) fn id_tag(account: &AccountId, tag: &Digest) -> Vec<u8> {
    Key::of(b'n').text(account.as_str()).digest(tag).done()
}
/// Submissions with this content that are neither refused nor withdrawn.
pub(super) fn content_tag(account: &AccountId, tag: &Digest) -> Vec<u8> {
    Key::of(b'c').text(account.as_str()).digest(tag).done()
}
pub(super) fn outbox(account: &AccountId) -> Key {
    Key::of(b'd').text(account.as_str())
}
pub(super) fn outbox_office(account: &AccountId, office: &OfficeCode) -> Key {
    outbox(account).text(office.as_str())
}
/// Announcements to an account, in order.
pub(super) fn announcements(account: &AccountId) -> Key {
    Key::of(b'e').text(account.as_str())
}
/// An insurer's announcements and the documents of each.
pub(super) fn announced(insurer: &InsurerCode) -> Key {
    Key::of(b'6').text(insurer.as_str())
}
/// Account and office of a document: where its record lies.
/// [`super::ledger::DocumentTrace`]: where a document's record lies; stays when that is gone.
pub(super) fn document_place(id: DocumentId) -> Vec<u8> {
    Key::of(b'D').document(id).done()
}
/// What is remembered of a document that is gone.
pub(super) fn removed_document(id: DocumentId) -> Vec<u8> {
    Key::of(b'4').document(id).done()
}
/// An insurer's documents that are gone, by when.
pub(super) fn insurer_removed(insurer: &InsurerCode) -> Key {
    Key::of(b'5').text(insurer.as_str())
}
pub(super) fn row(digest: &Digest) -> Vec<u8> {
    Key::of(b'r').digest(digest).done()
}
pub(super) fn delivery(insurer: &InsurerCode, set: &Digest) -> Vec<u8> {
    Key::of(b'g').text(insurer.as_str()).digest(set).done()
}
pub(super) fn mail(id: MailId) -> Vec<u8> {
    Key::of(b'M').mail(id).done()
}
pub(super) fn account_mails(account: &AccountId) -> Key {
    Key::of(b'N').text(account.as_str())
}
pub(super) fn state_mails(state: MailState) -> Key {
    Key::of(b'w').byte(match state {
        MailState::Queued => 0,
        MailState::Sent => 1,
        MailState::Failed => 2,
        MailState::Dropped => 3,
    })
}
/// [`Mailbox`]
pub(super) fn mailbox(tag: &Digest) -> Vec<u8> {
    Key::of(b'B').digest(tag).done()
}
pub(super) fn marked_mailboxes() -> Key {
    Key::of(b'E')
}
pub(super) fn mailbox_mails(tag: &Digest) -> Key {
    Key::of(b'F').digest(tag)
}
/// A message that came back, by its digest; the value is the mail it is about.
pub(super) fn reported(message: &Digest) -> Vec<u8> {
    Key::of(b'R').digest(message).done()
}
/// The mail of this kind of notice that tells of this.
pub(super) fn told(kind: &str, about: &str) -> Vec<u8> {
    Key::of(b'T').text(kind).text(about).done()
}
/// Mails that ended, by when, while their card is there.
pub(super) fn mail_card_erasable() -> Key {
    Key::of(b'x')
}
/// [`StoredApplication`]
pub(super) fn application(id: ApplicationId) -> Vec<u8> {
    Key::of(b'p').numbered(id.epoch, id.serial).done()
}
pub(super) fn account_applications(account: &AccountId) -> Key {
    Key::of(b'v').text(account.as_str())
}
pub(super) fn insurer_applications(insurer: &InsurerCode) -> Key {
    Key::of(b'J').text(insurer.as_str())
}
pub(super) fn state_applications(state: ApplicationState) -> Key {
    Key::of(b'j').byte(state as u8)
}
/// Applications that ended, by when, while their cards are there and nothing is to be handed out any more.
pub(super) fn application_card_erasable() -> Key {
    Key::of(b'Y')
}
/// Who refers to a blob.
pub(super) fn blob(id: &BlobId) -> Key {
    let text = id.as_str().as_bytes();
    let mut key = Key::of(b'b');
    key.0.extend_from_slice(text);
    key
}
pub(super) fn queue(queue: Queue) -> Key {
    Key::of(QUEUE).byte(queue_byte(queue))
}
const QUEUE: u8 = b'q';

pub(super) fn queued(which: Queue, due: Timestamp, epoch: u32, serial: u64) -> Vec<u8> {
    queue(which).time(due).numbered(epoch, serial).done()
}

const QUEUES: [Queue; 7] =
    [Queue::Judge, Queue::Publish, Queue::Expire, Queue::Announce, Queue::Mail, Queue::Tell, Queue::Enrol];

pub(super) fn queue_byte(queue: Queue) -> u8 {
    match queue {
        Queue::Judge => 0,
        Queue::Publish => 1,
        Queue::Expire => 2,
        Queue::Announce => 3,
        Queue::Mail => 4,
        Queue::Tell => 5,
        Queue::Enrol => 6,
    }
}

/// The queue and task that a queue's key stands for; none for keys of other tables.
pub(super) fn task_in(key: &[u8]) -> Option<(Queue, Task)> {
    let [QUEUE, queue, ..] = key else { return None };
    let queue = *QUEUES.get(usize::from(*queue))?;
    let (epoch, serial) = numbered_in(key)?;
    let task = match queue {
        Queue::Judge | Queue::Publish | Queue::Tell => Task::Submission(Number { epoch, serial }),
        Queue::Expire | Queue::Announce => Task::Document(DocumentId { epoch, serial }),
        Queue::Mail => Task::Mail(MailId { epoch, serial }),
        Queue::Enrol => Task::Application(ApplicationId { epoch, serial }),
    };
    Some((queue, task))
}

pub(super) fn series_index(series: Series) -> usize {
    match series {
        Series::Submission => 0,
        Series::Document => 1,
        Series::Mail => 2,
        Series::Certificate => 3,
        Series::Application => 4,
    }
}

/// How many series there are.
pub(super) const SERIES: usize = 5;

fn state_byte(state: State) -> u8 {
    match state {
        State::Held => 0,
        State::Accepted => 1,
        State::Publishing => 2,
        State::Published => 3,
        State::Collected => 4,
        State::Imported => 5,
        State::ImportFailed => 6,
        State::Refused => 7,
        State::Withdrawn => 8,
        State::CarriedOut => 9,
    }
}

/// How far a submission's bytes are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Payload {
    Here,
    Erasing,
    Erased,
    CardGone,
}

/// A submission with what the ledger alone needs to know about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredSubmission {
    pub submission: Submission,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// Why it waits, while it does.
    pub hold: Option<HoldReason>,
    /// What it waited for before and was released from.
    pub released: Vec<HoldReason>,
    /// Since when it is due in `Judge` or `Publish`, while it is in one of them.
    pub due_at: Option<Timestamp>,
    /// Since when its sender is to be told of the refusal by mail.
    pub tell_at: Option<Timestamp>,
    pub payload: Payload,
}

impl StoredSubmission {
    /// The queue it is in.
    pub(super) fn queue(&self) -> Option<(Queue, Timestamp)> {
        let queue = if self.submission.state == State::Held { Queue::Judge } else { Queue::Publish };
        self.due_at.map(|due| (queue, due))
    }

    /// Keys without value that follow from the record.
    pub(super) fn derived(&self) -> Vec<Vec<u8>> {
        let of = &self.submission;
        let number = of.number;
        let mut keys = vec![
            account_submissions(&of.account).number(number).done(),
            insurer_submissions(&of.insurer).number(number).done(),
            state_submissions(of.state).number(number).done(),
        ];
        match self.payload {
            Payload::Here | Payload::Erasing if may_erase(of) => {
                keys.push(erasable(of.state).time(self.changed_at).number(number).done());
            }
            Payload::Erased => keys.push(card_erasable().time(self.changed_at).number(number).done()),
            _ => {}
        }
        if self.hold == Some(HoldReason::Epoch) && of.state == State::Held {
            keys.push(epoch_holds().number(number).done());
        }
        if let Some((queue, due)) = self.queue() {
            keys.push(queued(queue, due, number.epoch, number.serial));
        }
        keys.extend(self.tell_at.map(|due| queued(Queue::Tell, due, number.epoch, number.serial)));
        let refer = |id: &BlobId| blob(id).byte(b's').number(number).done();
        keys.extend(of.files.iter().map(|file| refer(&file.blob)));
        keys.extend(days::filing_keys(of));
        if self.payload != Payload::CardGone {
            keys.push(refer(&of.card.blob));
            keys.extend(of.decision.iter().map(|card| refer(&card.blob)));
        }
        keys
    }
}

/// Whether nothing is under way with it any more: a test account's acceptance goes nowhere, so it ends there.
pub(super) fn may_erase(submission: &Submission) -> bool {
    match submission.state {
        State::Held | State::Publishing => false,
        State::Accepted => submission.test,
        _ => true,
    }
}

/// A credential's passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredPassword {
    /// Of the last one, in force or not.
    pub version: u64,
    /// The one in force.
    pub state: Option<PasswordState>,
}

/// Uses of a sender's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IdUse {
    /// Whatever became of it.
    pub latest: Number,
    /// The latest that is neither refused nor withdrawn.
    pub holder: Option<Number>,
}

/// A document with what the ledger alone needs to know about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredDocument {
    pub document: Document,
    /// It waits for its announcement since then.
    pub announce_at: Option<Timestamp>,
    /// Its removal is intended, why, and since when.
    pub removal: Option<(RemovalReason, Timestamp)>,
}

impl StoredDocument {
    pub(super) fn key(&self) -> Vec<u8> {
        outbox_office(&self.document.account, &self.document.office).document(self.document.id).done()
    }

    pub(super) fn derived(&self) -> Vec<Vec<u8>> {
        let id = self.document.id;
        let mut keys = Vec::with_capacity(4);
        if self.document.hold.is_none() {
            let expires = self.removal.map_or(self.document.expires_at, |(_, at)| at);
            keys.push(queued(Queue::Expire, expires, id.epoch, id.serial));
        }
        keys.extend(
            self.document.hold.iter().map(|hold| blob(&hold.card.blob).byte(b'd').document(id).done()),
        );
        keys.extend(self.announce_at.map(|due| queued(Queue::Announce, due, id.epoch, id.serial)));
        if let Some(announcement) = self.document.announcement {
            keys.push(announcements(&self.document.account).document(id).done());
            keys.push(announced(&self.document.insurer).document(announcement).document(id).done());
        }
        for of in [&self.document.blob, &self.document.card.blob] {
            keys.push(blob(of).byte(b'd').document(id).done());
        }
        keys
    }
}

/// A mail with what the ledger alone needs to know about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredMail {
    pub mail: Mail,
    /// When it was sent, given up or taken out.
    pub ended_at: Option<Timestamp>,
    pub card_gone: bool,
    /// Asked for again by the operator, and not tried since: due at once, whatever the clock says.
    pub asked_again: bool,
}

impl StoredMail {
    pub(super) fn derived(&self) -> Vec<Vec<u8>> {
        let id = self.mail.id;
        let mut keys = vec![state_mails(self.mail.state).mail(id).done()];
        for account in self.mail.accounts() {
            let key = account_mails(account).mail(id).done();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys.extend(self.mail.mailbox.iter().map(|tag| mailbox_mails(tag).mail(id).done()));
        if self.mail.state == MailState::Queued {
            keys.push(queued(Queue::Mail, self.mail.due_at, id.epoch, id.serial));
        }
        if !self.card_gone {
            keys.push(blob(&self.mail.card.blob).byte(b'm').mail(id).done());
            keys.extend(self.ended_at.map(|at| mail_card_erasable().time(at).mail(id).done()));
        }
        keys
    }

    /// The arrivals it announces.
    pub(super) fn arrivals(&self) -> &[DocumentId] {
        arrivals(&self.mail)
    }
}

/// Keys without value that follow from a mailbox.
pub(super) fn derived_of_mailbox(mailbox: &Mailbox) -> Vec<Vec<u8>> {
    let marked = mailbox.mark.iter().map(|_| marked_mailboxes().digest(&mailbox.tag).done());
    marked.collect()
}

pub(super) fn arrivals(mail: &Mail) -> &[DocumentId] {
    match &mail.subject {
        Subject::Arrival(ids) => ids,
        _ => &[],
    }
}

/// What the index knows about itself; written with every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub schema: u32,
    pub epoch: u32,
    pub uuid: String,
    pub unreconciled: bool,
    /// Last event applied, its time and its link in the journal's chain.
    pub seq: u64,
    pub at: Timestamp,
    pub hash: Digest,
    /// How many keys there are, this one not counted.
    pub entries: u64,
    /// Sum of the hashes of all keys and values.
    pub digest: u64,
    /// Serials reserved in each series.
    pub serials: [u64; SERIES],
    /// How many wait in each queue.
    pub waiting: [u64; 7],
}

impl Meta {
    pub(super) fn empty() -> Self {
        Self {
            schema: SCHEMA,
            epoch: 0,
            uuid: String::new(),
            unreconciled: false,
            seq: 0,
            at: Timestamp(i64::MIN),
            hash: Digest([0; 32]),
            entries: 0,
            digest: 0,
            serials: [0; SERIES],
            waiting: [0; 7],
        }
    }
}

/// Of one key and value; guards against damage, not against malice.
pub(super) fn entry_hash(key: &[u8], value: &[u8]) -> u64 {
    let mut state = fold(0x9e37_79b9_7f4a_7c15, key.len() as u64);
    for part in [key, value] {
        let mut chunks = part.chunks_exact(8);
        for chunk in &mut chunks {
            state = fold(state, u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        state = fold(state, u64::from_le_bytes(last));
    }
    fold(state, value.len() as u64)
}

#[allow(clippy::cast_possible_truncation, reason = "both halves are wanted")]
fn fold(state: u64, word: u64) -> u64 {
    let wide = u128::from(state ^ word) * u128::from(0xe703_7ed1_a0b4_28db_u64);
    (wide as u64) ^ ((wide >> 64) as u64) ^ word.rotate_left(23)
}

/// Hashes keys of a draft: quicker than the standard one, and seeded, so that nobody can choose colliding keys.
#[derive(Debug, Clone, Copy)]
struct KeyHash(u64);

impl KeyHash {
    fn seeded() -> Self {
        Self(std::hash::RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for KeyHash {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for KeyHash {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = fold(self.0, entry_hash(bytes, &[]));
    }
    fn write_usize(&mut self, length: usize) {
        self.0 = fold(self.0, length as u64);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Changes over an index that are not in it yet; reading sees them.
#[derive(Debug)]
pub(super) struct Draft<'a, I> {
    index: &'a I,
    entries: HashMap<Vec<u8>, Entry, KeyHash>,
    bytes: usize,
    pub meta: Meta,
}

#[derive(Debug)]
struct Entry {
    /// The hash of what lies in the index, if anything does.
    before: Option<u64>,
    now: Option<Vec<u8>>,
    changed: bool,
}

impl<'a, I: Index> Draft<'a, I> {
    pub(super) fn over(index: &'a I, meta: Meta) -> Self {
        Self { index, entries: HashMap::with_hasher(KeyHash::seeded()), bytes: 0, meta }
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.entries.len() * 96
    }

    fn load(&mut self, key: &[u8]) -> Result<&mut Entry, IndexError> {
        if !self.entries.contains_key(key) {
            let now = self.index.get(key)?;
            let before = now.as_ref().map(|value| entry_hash(key, value));
            self.bytes += key.len() + now.as_ref().map_or(0, Vec::len);
            self.entries.insert(key.to_vec(), Entry { before, now, changed: false });
        }
        self.entries.get_mut(key).ok_or_else(|| IndexError("a draft lost a key".into()))
    }

    /// Reads a record.
    pub(super) fn fetch<T: DeserializeOwned>(&mut self, key: &[u8]) -> Result<Option<T>, IndexError> {
        self.load(key)?.now.as_deref().map(decode).transpose()
    }

    pub(super) fn has(&mut self, key: &[u8]) -> Result<bool, IndexError> {
        Ok(self.load(key)?.now.is_some())
    }

    /// Writes a record over what was there.
    pub(super) fn put<T: Serialize>(&mut self, key: &[u8], value: &T) -> Result<(), IndexError> {
        let value = encode(value)?;
        self.bytes += value.len();
        let entry = self.load(key)?;
        entry.now = Some(value);
        entry.changed = true;
        Ok(())
    }

    /// Writes a record under a key that nothing lies under (which is not looked up).
    pub(super) fn put_new<T: Serialize>(&mut self, key: Vec<u8>, value: &T) -> Result<(), IndexError> {
        let value = encode(value)?;
        self.set_known(key, None, Some(value));
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Result<(), IndexError> {
        let entry = self.load(key)?;
        entry.now = None;
        entry.changed = true;
        Ok(())
    }

    /// Replaces one record's derived keys by another's.
    pub(super) fn derive(&mut self, before: &[Vec<u8>], after: Vec<Vec<u8>>) {
        for key in before.iter().filter(|key| !after.contains(key)) {
            if let Some((queue, _)) = task_in(key) {
                let waiting = &mut self.meta.waiting[usize::from(queue_byte(queue))];
                *waiting = waiting.saturating_sub(1);
            }
            self.set_known(key.clone(), Some(entry_hash(key, &[])), None);
        }
        for key in after {
            if !before.contains(&key) {
                if let Some((queue, _)) = task_in(&key) {
                    self.meta.waiting[usize::from(queue_byte(queue))] += 1;
                }
                self.set_known(key, None, Some(Vec::new()));
            }
        }
    }

    /// Writes what is known to change in this way, without looking.
    fn set_known(&mut self, key: Vec<u8>, before: Option<u64>, now: Option<Vec<u8>>) {
        self.bytes += key.len() + now.as_ref().map_or(0, Vec::len);
        match self.entries.entry(key) {
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let entry = entry.get_mut();
                entry.now = now;
                entry.changed = true;
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Entry { before, now, changed: true });
            }
        }
    }

    /// All keys that begin so, in order. For rare questions: looks at the whole draft.
    pub(super) fn keys(&self, beginning: Key) -> Result<Vec<Vec<u8>>, IndexError> {
        self.keys_between(&beginning.clone().done(), &beginning.end())
    }

    /// All keys from this one on and before that one, in order. Looks at the whole draft.
    pub(super) fn keys_between(&self, from: &[u8], to: &[u8]) -> Result<Vec<Vec<u8>>, IndexError> {
        let mut keys = std::collections::BTreeSet::new();
        for pair in self.index.range(from, to, false) {
            keys.insert(pair?.0);
        }
        let within = |key: &[u8]| from <= key && key < to;
        for (key, entry) in self.entries.iter().filter(|(key, _)| within(key.as_slice())) {
            if entry.now.is_some() {
                keys.insert(key.clone());
            } else {
                keys.remove(key);
            }
        }
        Ok(keys.into_iter().collect())
    }

    /// The changes in the order of their keys, without the meta record; the draft is empty then.
    pub(super) fn drain(&mut self) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.entries.len() + 1);
        for (key, entry) in self.entries.drain() {
            if !entry.changed || (entry.before.is_none() && entry.now.is_none()) {
                continue;
            }
            if let Some(before) = entry.before {
                self.meta.digest = self.meta.digest.wrapping_sub(before);
                self.meta.entries = self.meta.entries.wrapping_sub(1);
            }
            if let Some(now) = &entry.now {
                self.meta.digest = self.meta.digest.wrapping_add(entry_hash(&key, now));
                self.meta.entries = self.meta.entries.wrapping_add(1);
            }
            changes.push((key, entry.now));
        }
        self.bytes = 0;
        changes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        changes
    }

    /// The meta record as a change: goes with the last changes it counts.
    pub(super) fn meta_change(&self) -> Result<Change, IndexError> {
        Ok((META.to_vec(), Some(encode(&self.meta)?)))
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, IndexError> {
    postcard::to_stdvec(value).map_err(|error| IndexError(format!("a record cannot be written: {error}")))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, IndexError> {
    postcard::from_bytes(bytes).map_err(|error| IndexError(format!("a record cannot be read: {error}")))
}
