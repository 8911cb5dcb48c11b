//! The ledger: what is true, and how it may change. One implementation today (journal + sled,
//! [`super::journal_ledger`]); PostgreSQL for several nodes later. Both must pass `store::ledger_suite`.
//!
//! Every change is one [`Op`]: it is decided against the present state and made durable in one step, atomically with
//! respect to all others, and is durable when [`Ledger::commit`] returns. All calls block.

mod certificates;
mod days;

use crate::model::account_history::{AccountFact, ProfileField};
use crate::model::application::{Application, ApplicationNotice, ApplicationState, ApplicationStep};
use crate::model::authority::Authority;
use crate::model::card::CardRef;
use crate::model::certificate::{Certificate, RevocationReason};
use crate::model::day::{Batch, ClosedDay};
use crate::model::document::{Document, RemovalReason, RemovedDocument};
use crate::model::event::{MailResult, Series};
use crate::model::ids::{
    AccountId, ApplicationId, CertificateId, Digest, DocumentId, InsurerCode, MailId, Number, OfficeCode,
};
use crate::model::login::{Credential, LoginNews, LoginRecord, PasswordChange, PasswordState};
use crate::model::mail::{Mail, MailState, Mailbox, Report};
use crate::model::party::{Account, Actor, Insurer, Office};
use crate::model::renewal::RenewalStage;
use crate::model::submission::{Hold, Outcome, StageVerdict, State, Submission};
use crate::model::time::Timestamp;

pub use certificates::{CertificateFilter, CertificateLedger};
pub use days::{Acceptance, CalendarState, DayLedger, DocumentTrace, LastDocument};

/// A change somebody asks for.
#[derive(Debug, Clone)]
pub enum Op {
    /// Adds an insurer, or changes it. `new` says which is meant: adding one that is there, or changing one that is not, is
    /// refused, so that a repeated command is noticed.
    SetInsurer {
        /// The whole record.
        insurer: Insurer,
        /// Must not exist yet (else: must exist).
        new: bool,
    },
    /// Adds or changes an office; its insurer must exist (K8).
    SetOffice {
        /// The whole record.
        office: Office,
        /// Must not exist yet (else: must exist).
        new: bool,
    },
    /// Adds or changes an account; its insurer and offices must exist; none of its keys may belong to another account (be
    /// registered or certified for it), but for a test account and its production twin of the same insurer.
    SetAccount {
        /// The whole record.
        account: Account,
        /// Must not exist yet (else: must exist).
        new: bool,
    },
    /// A completed, verified submission. Idempotent by (account, manifest): see [`Done::Received`]. An accepted withdrawal
    /// (`withdraws`) withdraws the other submission in the same step, or is refused as `Withdraw` would be.
    Receive {
        /// The whole record; `state`, `decided_at` are set from the outcome.
        submission: Box<Submission>,
        /// What became of it.
        outcome: Outcome,
        /// If the same content lies under another manifest, record nothing and say so ([`Received::SameContent`]).
        hold_same_content: bool,
        /// Filing years begin here: an id is reserved from then on. Earlier uses of the same id do not count.
        id_since: Timestamp,
    },
    /// Decides a held submission.
    Judge {
        /// Which.
        number: Number,
        /// What became of it.
        outcome: Outcome,
        /// All verdicts.
        verdicts: Vec<StageVerdict>,
        /// The office, now that it is known.
        office: Option<OfficeCode>,
        /// Records per form code.
        forms: Vec<(String, u64)>,
        /// The decision's card; none while it stays held.
        decision: Option<CardRef>,
        /// The operator releases it from what it is held for.
        released: bool,
    },
    /// These are staged, durably. Those that are no longer `Accepted` (withdrawn meanwhile) are left out of
    /// [`Done::Numbers`].
    PublishIntend(Vec<Number>),
    /// These are in `new/`, durably. Only from `Publishing`.
    Published(Vec<Number>),
    /// The importer took it. From `Publishing` or `Published`.
    Collect(Number),
    /// The importer is done with it. From `Collected`, `Imported` or `ImportFailed` (importers may try again), or straight
    /// from `Published` when the rename to `cur/` was missed.
    EndImport {
        /// Which.
        number: Number,
        /// `done/` (else `failed/`).
        ok: bool,
    },
    /// Withdraws it while it is `Held`, `Accepted` or `Published`; the account must be its sender when given.
    Withdraw {
        /// Which.
        number: Number,
        /// The sender; none when the operator does it.
        account: Option<AccountId>,
    },
    /// Payloads of these are about to be erased.
    EraseIntend(Vec<Number>),
    /// ... and are gone, durably.
    Erased(Vec<Number>),
    /// The cards of these are gone, durably.
    CardErased(Vec<Number>),
    /// Places documents. Left out of [`Done::Documents`] are rows of which a document is there already (one that is gone, or
    /// going, does not count), and those of accounts that do not stand.
    Place(Vec<(Document, Digest)>),
    /// A delivery was taken in to its end.
    DeliveryTaken {
        /// From whom.
        insurer: InsurerCode,
        /// Digest over the set.
        set: Digest,
        /// Rows placed.
        placed: u64,
        /// Rows refused.
        refused: u64,
    },
    /// Downloaded to its end. Of a document that went meanwhile, what is kept of it says so.
    Fetched(DocumentId),
    /// A download broke off. Recorded once a day and when it got further, and not after a complete one.
    PartlyFetched {
        /// Which.
        id: DocumentId,
        /// Bytes from the start that were got without a gap, by it and those before it.
        bytes: u64,
    },
    /// Keeps a document beyond its days. One that is held already is refused.
    HoldDocument {
        /// Which.
        id: DocumentId,
        /// For a law or a court.
        legal: bool,
        /// [`crate::model::card::HoldCard`]
        card: CardRef,
    },
    /// Ends a hold; what is over its days is due at once.
    ReleaseDocument {
        /// Which.
        id: DocumentId,
        /// One that nobody has fetched stays until then at least.
        until: Option<Timestamp>,
    },
    /// About to be removed. Those that are already gone, or held, are left out of [`Done::Documents`].
    RemovalIntend {
        /// Which.
        ids: Vec<DocumentId>,
        /// Why.
        reason: RemovalReason,
    },
    /// Gone from disk, durably.
    Removed(Vec<DocumentId>),
    /// Seals a mail. Its arrivals must still wait for an announcement, and no notice of its kind may have told of the same
    /// before, else nothing is sealed ([`Done::Sealed`]).
    SealMail(Box<Mail>),
    /// Seals mails, each as [`Op::SealMail`] does; [`Done::Mails`] names those that were.
    SealMails(Vec<Mail>),
    /// An attempt ended. Only while queued; a failed one may still be taken out.
    TryMail {
        /// Which.
        id: MailId,
        /// How.
        result: MailResult,
    },
    /// Attempts ended. Mails that are no longer queued are left out.
    TryMails(Vec<(MailId, MailResult)>),
    /// Something came back about a mail; the same message counts once. Marks the mail's address when it says that nobody
    /// reads mail there, or when it is the last of too many failures.
    ReportMail {
        /// Which.
        id: MailId,
        /// What it says.
        report: Report,
        /// Enhanced status, where it gave one.
        status: Option<String>,
        /// It knew the mail's mark; else it is recorded and counts for nothing.
        proven: bool,
        /// Digest of the message.
        message: Digest,
        /// So many failures since then mark the address.
        failures: (usize, Timestamp),
    },
    /// The next host itself said that nobody reads mail at the address of this mail.
    MarkAddress {
        /// The mail.
        mail: MailId,
        /// Enhanced status, where it gave one.
        status: Option<String>,
    },
    /// Mails to a marked address are sent again; what was not sent for it is queued.
    ResumeAddress(Digest),
    /// Ends a queued or failed mail with [`crate::model::mail::ADDRESS_CHANGED`] and seals the same text to the address of now; none of
    /// arrivals, which wait to be announced again. Nothing where that was done before.
    ReaddressMail {
        /// Which.
        id: MailId,
        /// The one in its place, its card durable.
        again: Option<Box<Mail>>,
    },
    /// Puts a failed or deferred mail at the head of the queue (`mail retry`).
    RetryMail(MailId),
    /// The mail's card is gone, durably.
    MailCardErased(Vec<MailId>),
    /// Keeps this insurer's calendar, with these cut-offs, from now on. Nothing if it is kept already.
    BeginCalendar {
        /// Whose.
        insurer: InsurerCode,
        /// Stands for its cut-offs.
        cut_offs: Digest,
    },
    /// Closes a batch. Refused ([`Refusal::NotNow`]) when something was accepted before the cut-off that is in no batch: then it is
    /// made again.
    CloseBatch {
        /// Whose.
        insurer: InsurerCode,
        /// The batch, its file staged durably.
        batch: Batch,
    },
    /// Closes the books of a day that has ended, right after the one closed last.
    CloseDay(ClosedDay),
    /// Files of an unfinished set were removed.
    DropboxSwept {
        /// Whose.
        account: AccountId,
        /// How many.
        files: u64,
        /// Their size.
        bytes: u64,
    },
    /// Says that a certificate ends, with the mail sealed in the same step. Said before, or something later: nothing
    /// ([`Done::Sealed`]).
    NoteRenewal {
        /// Which.
        id: CertificateId,
        /// What is said.
        stage: RenewalStage,
        /// None for an account without an address.
        mail: Option<Box<Mail>>,
    },
    /// Takes applications that belong together, all or none: offices must be enrolled (K8), the account to be must be free
    /// (or left over from an application that came to nothing), and has one open application at most.
    Apply(Vec<Application>),
    /// These go a step on, in this order, all or none; see [`crate::rules::enrolment::allowed`]. What a step means for the
    /// account of a new one happens in the same commit: the set-up lets it in, an end before the first login closes it.
    MoveApplications(Vec<(ApplicationId, ApplicationStep)>),
    /// Makes the account of a new application, suspended until the first set-up (or active, where none is asked for).
    AdmitApplication {
        /// Which.
        id: ApplicationId,
        /// The account; its name, insurer, role and offices are the application's.
        account: Box<Account>,
    },
    /// A password is set, of exactly this version (the one after the last). Login and issue passwords need their account.
    SetPassword {
        /// Whose, and what for.
        credential: Credential,
        /// One more than the last.
        version: u64,
        /// How it came to be.
        change: PasswordChange,
    },
    /// There is to be no such password any more.
    RemovePassword(Credential),
    /// The days of the password of this version are over; recorded once.
    PasswordExpired {
        /// Whose, and what for.
        credential: Credential,
        /// Which.
        version: u64,
    },
    /// Passwords of this account do not count until then. Not recorded again while such a lock lasts.
    LockLogin {
        /// Whose.
        account: AccountId,
        /// Until then.
        until: Timestamp,
    },
    /// Ends a lock before its time.
    UnlockLogin(AccountId),
    /// Somebody logged in. Recorded once for an account, source and day, and for at most [`LOGIN_SOURCES_MAX`] sources a day.
    LoggedIn {
        /// Whose.
        account: AccountId,
        /// Keyed digest of the address.
        source: Digest,
        /// When the local day began.
        day_from: Timestamp,
    },
    /// An account changes its own registration; the mails that say so are sealed in the same step, so that no change goes
    /// unsaid.
    ChangeProfile {
        /// The whole record; must exist.
        account: Box<Account>,
        /// What differs.
        fields: Vec<ProfileField>,
        /// Confirmations.
        mails: Vec<Mail>,
    },
    /// Adds or changes an authority. Form, origin, certificate and insurer never change.
    SetAuthority {
        /// The whole record.
        authority: Box<Authority>,
        /// Must not exist yet (else: must exist).
        new: bool,
    },
    /// Records a certificate. Its account must exist and not be closed, its authorities must exist, its serials must be new
    /// to them; its key may belong to no other account, but for a test account and its production twin of the same insurer,
    /// and must not have been revoked as compromised.
    IssueCertificate(Box<Certificate>),
    /// Revokes a certificate and forgets its bundle. Done before: nothing.
    RevokeCertificate {
        /// Which.
        id: CertificateId,
        /// Why.
        reason: RevocationReason,
    },
    /// A certificate was used; the first use is recorded.
    UseCertificate(CertificateId),
    /// A certificate's bundle can be downloaded no more; its blob may go. Done before: nothing.
    ForgetBundle(CertificateId),
    /// A restored backup was reconciled.
    EpochReconciled,
    /// The daemon stops.
    Stop,
}

/// Sources of an account's logins that are recorded of one day.
pub const LOGIN_SOURCES_MAX: usize = 16;

/// What a committed [`Op`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Done; nothing to say.
    Ok,
    /// Of `Receive`.
    Received(Received),
    /// Of `PublishIntend` and others over many: those it was done for.
    Numbers(Vec<Number>),
    /// Those it was done for.
    Documents(Vec<DocumentId>),
    /// Those it was done for.
    Mails(Vec<MailId>),
    /// Of `SealMail` and `NoteRenewal`: whether it was sealed.
    Sealed(bool),
}

/// What a completed submission came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It is recorded under the number it came with, with this outcome (a hold for the same content may have replaced an
    /// acceptance).
    New(Outcome),
    /// This manifest was accepted or is held already: nothing was recorded, this is the number.
    Same(Number),
    /// The sender's id is taken by this submission, whose content differs: nothing was recorded.
    IdTaken(Number),
    /// This submission has the same content under another manifest, and `hold_same_content` asked for it to be told:
    /// nothing was recorded.
    SameContent(Number),
}

/// Why the ledger did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The state does not allow it; changes nothing.
    #[error("{0}")]
    Refused(Refusal),
    /// The disk has no room for it: nothing was written, and it can be asked again.
    #[error("the disk that the journal is on is full, so this was not done; make room and try again: {0}")]
    NotWritten(String),
    /// The journal could not be written. Intake stops until the daemon is started anew.
    #[error("the journal cannot be written, so nothing is accepted any more: {0}")]
    Stopped(String),
    /// The index failed. It is rebuilt at the next start.
    #[error("the index failed and will be rebuilt at the next start: {0}")]
    Index(String),
}

impl LedgerError {
    /// Certain that nothing was recorded: no event names what was written for it. Of the others only the next start knows.
    pub fn is_not_recorded(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotWritten(_))
    }
}

/// Why the state does not allow an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Asked to add what is there.
    #[error("{0} exists already; use `change`")]
    Exists(String),
    /// Asked for what is not there.
    #[error("{0} does not exist")]
    Missing(String),
    /// A key may not belong to two accounts.
    #[error("key {fingerprint} belongs to account {account} already; every account needs a key of its own")]
    KeyTaken {
        /// The key.
        fingerprint: String,
        /// Whose it is.
        account: AccountId,
    },
    /// Not from this state.
    #[error("submission {number} is {state:?}, which does not allow this")]
    State {
        /// Which.
        number: Number,
        /// Where it is.
        state: State,
    },
    /// Somebody else's.
    #[error("{0} belongs to somebody else")]
    NotYours(String),
    /// A key that was revoked as compromised is never certified again.
    #[error("key {fingerprint} was revoked as compromised ({id}); a new key is needed")]
    KeyCompromised {
        /// The key.
        fingerprint: String,
        /// The certificate it was revoked with.
        id: CertificateId,
    },
    /// A document, mail or certificate is not in a state that allows it.
    #[error("{0}")]
    NotNow(String),
}

/// Work that waits, each queue ordered by the time it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// Held submissions, to be judged again. Key: number.
    Judge,
    /// Accepted submissions, to be put into the insurer's spool (and `Publishing` ones to be finished). Key: number.
    Publish,
    /// Documents whose days are over. Key: document.
    Expire,
    /// Documents not announced yet. Key: document.
    Announce,
    /// Held submissions that were refused later: their senders must be told by mail. Key: number.
    Tell,
    /// Sealed mails. Key: mail.
    Mail,
    /// Applications: to be collected, issued, reminded of, expired, cleared away, or told of. Key: application.
    Enrol,
}

/// One thing that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// Of `Judge`, `Publish`, `Tell`.
    Submission(Number),
    /// Of `Expire`, `Announce`.
    Document(DocumentId),
    /// Of `Mail`.
    Mail(MailId),
    /// Of `Enrol`.
    Application(ApplicationId),
}

/// Files of an unfinished set that were removed ([`Op::DropboxSwept`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// When.
    pub at: Timestamp,
    /// How many.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
}

/// Where the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The data root's epoch.
    pub epoch: u32,
    /// A restored backup waits to be reconciled.
    pub unreconciled: bool,
    /// The last event.
    pub seq: u64,
    /// Its time.
    pub at: Timestamp,
    /// Its link in the hash chain.
    pub hash: Digest,
}

/// Which submissions to list; newest first.
#[derive(Debug, Clone, Default)]
pub struct SubmissionFilter {
    /// Of this sender.
    pub account: Option<AccountId>,
    /// For this insurer.
    pub insurer: Option<InsurerCode>,
    /// In one of these states; empty means all.
    pub states: Vec<State>,
    /// Before this one (for the next page).
    pub before: Option<Number>,
}

/// Which mails to list; newest first.
#[derive(Debug, Clone, Default)]
pub struct MailFilter {
    /// To this account.
    pub account: Option<AccountId>,
    /// To this mailbox.
    pub mailbox: Option<Digest>,
    /// In this state.
    pub state: Option<MailState>,
    /// Before this one (for the next page).
    pub before: Option<MailId>,
}

/// Which applications to list; newest first.
#[derive(Debug, Clone, Default)]
pub struct ApplicationFilter {
    /// For this account.
    pub account: Option<AccountId>,
    /// With this insurer.
    pub insurer: Option<InsurerCode>,
    /// In one of these states; empty means all.
    pub states: Vec<ApplicationState>,
    /// Before this one (for the next page).
    pub before: Option<ApplicationId>,
}

/// What is true. See the module's text.
pub trait Ledger: CertificateLedger + DayLedger + Send + Sync {
    /// Decides and records one change; durable when it returns.
    fn commit(&self, op: Op, by: Actor, now: Timestamp) -> Result<Done, LedgerError>;

    /// A serial that was never given out and never will be again; gaps allowed. With the epoch it makes a number.
    fn next_serial(&self, series: Series, now: Timestamp) -> Result<u64, LedgerError>;

    /// Where the journal is.
    fn head(&self) -> Head;

    /// One insurer.
    fn insurer(&self, code: &InsurerCode) -> Result<Option<Insurer>, LedgerError>;
    /// All of them.
    fn insurers(&self) -> Result<Vec<Insurer>, LedgerError>;
    /// One office.
    fn office(&self, insurer: &InsurerCode, code: &OfficeCode) -> Result<Option<Office>, LedgerError>;
    /// All of an insurer's.
    fn offices(&self, insurer: &InsurerCode) -> Result<Vec<Office>, LedgerError>;
    /// One account.
    fn account(&self, id: &AccountId) -> Result<Option<Account>, LedgerError>;
    /// All, or an insurer's.
    fn accounts(&self, insurer: Option<&InsurerCode>) -> Result<Vec<Account>, LedgerError>;
    /// Whose key this is (`SHA256:...`): none, one, or a test account and its production twin.
    fn accounts_of_key(&self, fingerprint: &str) -> Result<Vec<AccountId>, LedgerError>;

    /// One submission.
    fn submission(&self, number: Number) -> Result<Option<Submission>, LedgerError>;
    /// Why a held submission waits; none if it is not held.
    fn hold(&self, number: Number) -> Result<Option<Hold>, LedgerError>;
    /// How many submissions are held, for whatever reason, and since when the first.
    fn held(&self) -> Result<(u64, Option<Timestamp>), LedgerError>;
    /// The latest submission of this account with this manifest, whatever became of it.
    fn submission_by_manifest(
        &self,
        account: &AccountId,
        manifest: Digest,
    ) -> Result<Option<Number>, LedgerError>;
    /// The latest submission of this account with this id.
    fn submission_by_id(&self, account: &AccountId, id_tag: Digest) -> Result<Option<Number>, LedgerError>;
    /// Newest first, at most `limit`.
    fn submissions(&self, filter: &SubmissionFilter, limit: usize) -> Result<Vec<Submission>, LedgerError>;

    /// One document that is still there; not from the intent of its removal on.
    fn document(&self, id: DocumentId) -> Result<Option<Document>, LedgerError>;
    /// A document whose removal is intended and not done, and why: [`Ledger::document`] does not have it any more, and it
    /// is due in [`Queue::Expire`] at once, so that an interrupted removal is finished.
    fn removing(&self, id: DocumentId) -> Result<Option<(Document, RemovalReason)>, LedgerError>;
    /// An outbox: documents of this account (and office) after this one, in order of their numbers, at most `limit`. Cheap
    /// for 50,000: one ordered scan.
    fn documents(
        &self,
        account: &AccountId,
        office: Option<&OfficeCode>,
        after: Option<DocumentId>,
        limit: usize,
    ) -> Result<Vec<Document>, LedgerError>;
    /// A document that is gone, as far as it is remembered.
    fn removed_document(&self, id: DocumentId) -> Result<Option<RemovedDocument>, LedgerError>;
    /// An insurer's documents that went from `from` on and before `until`, in order.
    fn removed_documents(
        &self,
        insurer: &InsurerCode,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<RemovedDocument>, LedgerError>;
    /// Announcements (お知らせ) to this account after this one, in order of their numbers, at most `limit`.
    fn announcements(
        &self,
        account: &AccountId,
        after: Option<DocumentId>,
        limit: usize,
    ) -> Result<Vec<Document>, LedgerError>;
    /// An insurer's announcements: each with each of its documents that is still there, in order.
    fn announced(&self, insurer: &InsurerCode) -> Result<Vec<(DocumentId, DocumentId)>, LedgerError>;
    /// Whether this set was taken in to its end before.
    fn delivery_taken(&self, insurer: &InsurerCode, set: Digest) -> Result<bool, LedgerError>;
    /// A number that is another one after documents left the listings: whoever goes on with one that was there before looks
    /// again whether it is.
    fn removals(&self) -> u64;
    /// The document that this row placed last, if it did; it may be gone.
    fn delivered_row(&self, row: Digest) -> Result<Option<DocumentId>, LedgerError>;

    /// One mail.
    fn mail(&self, id: MailId) -> Result<Option<Mail>, LedgerError>;
    /// Whether a notice of this kind about this was sealed ([`crate::model::mail::Subject::Notice`]).
    fn told(&self, kind: &str, about: &str) -> Result<bool, LedgerError>;
    /// Newest first, at most `limit`.
    fn mails(&self, filter: &MailFilter, limit: usize) -> Result<Vec<Mail>, LedgerError>;

    /// Why nothing is written any more, until the daemon is started anew; none while all is well.
    fn stopped(&self) -> Option<String>;

    /// What is known of a mailbox.
    fn mailbox(&self, tag: Digest) -> Result<Option<Mailbox>, LedgerError>;
    /// Mailboxes that are marked, in the order of their digests, after this one, at most `limit`.
    fn marked_mailboxes(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Mailbox>, LedgerError>;
    /// Whether this message that came back was recorded before.
    fn reported(&self, message: Digest) -> Result<bool, LedgerError>;

    /// Takes up to `limit` tasks that are due at `now` and that nobody else holds, for `lease` milliseconds. A task leaves its
    /// queue by what is committed about it; a lease that ran out is given again. Cost proportional to what is due. No mail is
    /// given where nothing can be recorded any more: it would be sent again and again. What was due at once, when the clock was
    /// ahead (its event is later than `now`), is given too, and leases of such a clock count as over; `Expire` and `Enrol` hold
    /// promised days, and go by `now` alone.
    fn claim(&self, queue: Queue, now: Timestamp, lease: i64, limit: usize)
    -> Result<Vec<Task>, LedgerError>;
    /// Gives claimed tasks back before their lease ends, not to be given again before `until`.
    fn postpone(&self, queue: Queue, tasks: &[Task], until: Timestamp);
    /// What is due at `now` without taking it, in order, at most `limit` (`purge --dry-run`).
    fn due(&self, queue: Queue, now: Timestamp, limit: usize) -> Result<Vec<Task>, LedgerError>;
    /// How many wait in a queue, due or not, and since when the first was due.
    fn waiting(&self, queue: Queue) -> Result<(u64, Option<Timestamp>), LedgerError>;

    /// Submissions whose payload may be erased: those in one of `states` whose last change is before `before`; oldest
    /// first, at most `limit`. Cost proportional to what it returns.
    fn erasable(&self, states: &[State], before: Timestamp, limit: usize)
    -> Result<Vec<Number>, LedgerError>;
    /// Submissions whose payload is erased and whose last change is before `before`: their cards may go.
    fn card_erasable(&self, before: Timestamp, limit: usize) -> Result<Vec<Number>, LedgerError>;
    /// Mails that ended (sent, failed, dropped) before this: their cards may go.
    fn mail_card_erasable(&self, before: Timestamp, limit: usize) -> Result<Vec<MailId>, LedgerError>;

    /// One application.
    fn application(&self, id: ApplicationId) -> Result<Option<Application>, LedgerError>;
    /// Newest first, at most `limit`.
    fn applications(&self, filter: &ApplicationFilter, limit: usize)
    -> Result<Vec<Application>, LedgerError>;
    /// What is still to be told of it by mail, in order.
    fn application_notices(&self, id: ApplicationId) -> Result<Vec<ApplicationNotice>, LedgerError>;
    /// Applications that came to their end before this and have nothing to hand out: their cards may go.
    fn application_card_erasable(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<ApplicationId>, LedgerError>;

    /// Unfinished sets that were removed from this account's drop-box, newest first, at most `limit`.
    fn sweeps(&self, account: &AccountId, limit: usize) -> Result<Vec<Swept>, LedgerError>;

    /// The password in force.
    fn password(&self, credential: &Credential) -> Result<Option<PasswordState>, LedgerError>;
    /// The version of the credential's last password, in force or not; 0 when there never was one.
    fn password_version(&self, credential: &Credential) -> Result<u64, LedgerError>;
    /// What is known of an account's logins.
    fn logins(&self, account: &AccountId) -> Result<LoginRecord, LedgerError>;
    /// What mailboxes are still to be told of logins and passwords: the event's sequence number, whose, and what; oldest
    /// first, at most `limit`. Ended by sealing a mail about it (`Subject::Login`).
    fn login_news(&self, limit: usize) -> Result<Vec<(u64, AccountId, LoginNews)>, LedgerError>;
    /// What was last said of this certificate's end.
    fn renewal_told(&self, id: CertificateId) -> Result<Option<RenewalStage>, LedgerError>;

    /// What happened to this account itself, newest first, at most `limit`.
    fn account_history(&self, account: &AccountId, limit: usize) -> Result<Vec<AccountFact>, LedgerError>;

    /// Whether anything in the ledger refers to this blob (a payload file, a card, a document, a mail). Orphans are removed
    /// by the sweep.
    fn refers_to(&self, blob: &crate::model::ids::BlobId) -> Result<bool, LedgerError>;
}
