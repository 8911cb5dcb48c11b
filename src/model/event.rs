//! What happened: the journal's vocabulary. Events name no person; they are kept, and can be shown, for ever.
//!
//! An event is written as JSON. Variants and fields are only ever added; what is written today must be read in ten years.

mod read;

use serde::{Deserialize, Serialize};

use super::account_history::ProfileField;
use super::application::{Application, ApplicationStep};
use super::authority::Authority;
use super::card::CardRef;
use super::certificate::{Certificate, RevocationReason};
use super::day::{Batch, ClosedDay};
use super::document::{Document, RemovalReason};
use super::ids::{
    AccountId, ApplicationId, CertificateId, Digest, DocumentId, InsurerCode, MailId, Number, OfficeCode,
};
use super::login::{Credential, PasswordChange};
use super::mail::{Mail, Report};
use super::party::{Account, Actor, Insurer, Office};
use super::renewal::RenewalStage;
use super::submission::{Outcome, StageVerdict, Submission};
use super::time::Timestamp;

/// One event as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1 without gaps.
    pub seq: u64,
    /// max(previous event's time, now): never goes back.
    pub at: Timestamp,
    /// Who did it.
    pub by: Actor,
    /// What.
    pub event: Event,
}

/// Which counter a number is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Series {
    /// [`Number`]
    Submission,
    /// [`DocumentId`]
    Document,
    /// [`MailId`]
    Mail,
    /// [`ApplicationId`]
    Application,
    /// [`CertificateId`]
    Certificate,
}

/// Declares the event and, beside it, how it is read: serde's own reading of a tagged enum copies every field into a tree
/// before it looks at any, which a rebuild would do a million times.
macro_rules! event {
    ($($variants:tt)*) => {
        /// What happened.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(tag = "event", rename_all = "snake_case")]
        pub enum Event { $($variants)* }

        /// The same, for the derived reader of [`read`] alone.
        #[derive(Deserialize)]
        #[serde(remote = "Event", rename_all = "snake_case")]
        #[allow(dead_code, reason = "its variants are only read into those of the event")]
        enum Variants { $($variants)* }
    };
}

event! {
    /// The data root was made, or a restored backup taken into use (then `epoch` is one more than the last).
    EpochBegan {
        /// Counts from 1; part of every number.
        epoch: u32,
        /// 128 random bits in hexadecimal, also in the file `EPOCH`.
        uuid: String,
    },
    /// The operator has reconciled a restored backup: holds for that reason end.
    EpochReconciled,
    /// Serials up to and including this one may have been given out.
    SerialsReserved {
        /// Of which counter.
        series: Series,
        /// The last one.
        upto: u64,
    },
    /// An insurer was added or changed; the whole record.
    InsurerSet(Insurer),
    /// An office was added or changed; the whole record.
    OfficeSet(Office),
    /// An account was added or changed; the whole record.
    AccountSet(Account),
    /// A submission was completed, verified, and judged as far as possible then.
    SubmissionReceived {
        /// The whole record; its `state` follows from the outcome.
        submission: Box<Submission>,
        /// What became of it.
        outcome: Outcome,
    },
    /// A held submission was decided, or is held for another reason.
    SubmissionJudged {
        /// Which.
        number: Number,
        /// What became of it.
        outcome: Outcome,
        /// All verdicts, replacing the earlier ones.
        verdicts: Vec<StageVerdict>,
        /// The office, now that it is known.
        office: Option<OfficeCode>,
        /// Records per form code.
        forms: Vec<(String, u64)>,
        /// [`super::card::DecisionCard`]; none while it stays held.
        decision: Option<CardRef>,
        /// The operator released it from what it was held for until now.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        released: bool,
    },
    /// The staged folder is complete and durable; the rename into `new/` may happen from now on, and nothing is staged
    /// again.
    PublishIntended {
        /// Which.
        number: Number,
    },
    /// It is in `new/`, durably.
    Published {
        /// Which.
        number: Number,
    },
    /// The importer took it (`new/` to `cur/`).
    Collected {
        /// Which.
        number: Number,
    },
    /// The importer is done with it.
    ImportEnded {
        /// Which.
        number: Number,
        /// `done/` (else `failed/`).
        ok: bool,
    },
    /// Withdrawn before it was collected (H26).
    Withdrawn {
        /// Which.
        number: Number,
        /// By which submission; none when the operator did it.
        withdrawn_by: Option<Number>,
    },
    /// Its payload (and its folder in the insurer's spool) is about to be erased.
    EraseIntended {
        /// Which.
        number: Number,
    },
    /// The payload is gone, durably. The card stays until its own time.
    Erased {
        /// Which.
        number: Number,
    },
    /// The card is gone as well.
    CardErased {
        /// Which.
        number: Number,
    },
    /// A document is in an outbox.
    DocumentPlaced {
        /// The whole record.
        document: Box<Document>,
        /// Digest of insurer, set and row, so that the same set taken in twice places once.
        row: Digest,
    },
    /// The set of documents an insurer left was taken in to its end.
    DeliveryTaken {
        /// From whom.
        insurer: InsurerCode,
        /// Digest over `delivery.csv` and its files.
        set: Digest,
        /// Rows placed.
        placed: u64,
        /// Rows refused (reported in `reports/`).
        refused: u64,
    },
    /// Somebody downloaded a document to its end.
    DocumentFetched {
        /// Which.
        id: DocumentId,
    },
    /// Somebody's download broke off before its end; recorded once a day and when it got further, never after a complete one.
    DocumentPartlyFetched {
        /// Which.
        id: DocumentId,
        /// Bytes from the start that were got without a gap, by it and those before it.
        bytes: u64,
    },
    /// It is kept beyond its days.
    DocumentHeld {
        /// Which.
        id: DocumentId,
        /// For a law or a court, rather than the operator's own reason.
        legal: bool,
        /// [`super::card::HoldCard`]
        card: CardRef,
    },
    /// ... and no longer.
    DocumentReleased {
        /// Which.
        id: DocumentId,
        /// It goes then, later than it would have: nobody has fetched it, and its account is to be reminded first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// A document is about to be removed.
    RemovalIntended {
        /// Which.
        id: DocumentId,
        /// Why.
        reason: RemovalReason,
    },
    /// A document is gone from disk, durably.
    Removed {
        /// Which.
        id: DocumentId,
    },
    /// A mail is fixed: its members, text and Message-ID. It has not been sent yet.
    MailSealed(Box<Mail>),
    /// An attempt to send it ended.
    MailTried {
        /// Which.
        id: MailId,
        /// How.
        result: MailResult,
    },
    /// A failed or deferred mail was made due at once (`mail retry`).
    MailRetried {
        /// Which.
        id: MailId,
    },
    /// Something came back about a mail.
    MailReported {
        /// Which.
        id: MailId,
        /// What it says.
        report: Report,
        /// Enhanced status (RFC 3463), where it gave one.
        status: Option<String>,
        /// It knew the mail's mark.
        proven: bool,
        /// Digest of the message, so that the same one counts once.
        message: Digest,
    },
    /// Nobody reads mail at an address: nothing is sent to it any more.
    AddressMarked {
        /// Keyed digest of the address.
        mailbox: Digest,
        /// The mail that showed it.
        mail: MailId,
        /// Enhanced status (RFC 3463), where one was given.
        status: Option<String>,
        /// By too many failures within a time.
        soft: bool,
    },
    /// Mails to this address are sent again.
    AddressResumed {
        /// Keyed digest of the address.
        mailbox: Digest,
    },
    /// The mail's card is gone.
    MailCardErased {
        /// Which.
        id: MailId,
    },
    /// The gateway keeps this insurer's calendar from here on, or its cut-offs changed: none before counts as missed.
    CalendarBegan {
        /// Whose.
        insurer: InsurerCode,
        /// Stands for its cut-offs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut_offs: Option<Digest>,
    },
    /// A batch was closed at a cut-off: what was accepted before it is in this one or an earlier one.
    BatchClosed {
        /// Whose.
        insurer: InsurerCode,
        /// The batch.
        batch: Batch,
    },
    /// The books of a local day are closed.
    DayClosed(ClosedDay),
    /// Files of an unfinished set were removed from an account's drop-box.
    DropboxSwept {
        /// Whose.
        account: AccountId,
        /// How many.
        files: u64,
        /// Their size.
        bytes: u64,
    },
    /// It was said that a certificate ends, or has ended (C).
    RenewalNoted {
        /// Which.
        id: CertificateId,
        /// What was said.
        stage: RenewalStage,
        /// By mail too; an account without an address finds it in its history alone.
        mailed: bool,
    },
    /// An application for an account, or for another certificate of one, was taken (K3).
    ApplicationMade(Box<Application>),
    /// An application went one step on.
    ApplicationMoved {
        /// Which.
        id: ApplicationId,
        /// What happened to it.
        step: ApplicationStep,
    },
    /// A password was set, changed or reset. Its hash lies elsewhere.
    PasswordSet {
        /// Whose, and what for.
        credential: Credential,
        /// Counts the credential's passwords from 1.
        version: u64,
        /// How it came to be.
        change: PasswordChange,
    },
    /// A password is no more; there is none in its place.
    PasswordRemoved {
        /// Whose, and what for.
        credential: Credential,
    },
    /// It was noticed that a password's days are over.
    PasswordExpired {
        /// Whose, and what for.
        credential: Credential,
        /// Which one.
        version: u64,
    },
    /// Too many wrong passwords after the key was proven: passwords of this account do not count for a while (E10).
    LoginLocked {
        /// Whose.
        account: AccountId,
        /// Until then.
        until: Timestamp,
    },
    /// The operator ended a lock before its time.
    LoginUnlocked {
        /// Whose.
        account: AccountId,
    },
    /// The first login of a local day from a source.
    LoggedIn {
        /// Whose.
        account: AccountId,
        /// Keyed digest of the address.
        source: Digest,
        /// The account's first of the day, from whatever source.
        new_day: bool,
    },
    /// An account changed its own registration (K36 H24).
    ProfileChanged {
        /// The whole record.
        account: Box<Account>,
        /// What differs.
        fields: Vec<ProfileField>,
    },
    /// An authority was added or changed; the whole record, without its private key.
    AuthoritySet(Box<Authority>),
    /// A certificate was issued, or one of an external authority was registered for an account.
    CertificateIssued(Box<Certificate>),
    /// A certificate holds no more. Its bundle, if there is one, is forgotten with it.
    CertificateRevoked {
        /// Which.
        id: CertificateId,
        /// Why.
        reason: RevocationReason,
    },
    /// A certificate was used for the first time (K27).
    CertificateUsed {
        /// Which.
        id: CertificateId,
    },
    /// A certificate's bundle (its password-protected private key) can be downloaded no more.
    CertificateBundleForgotten {
        /// Which.
        id: CertificateId,
    },
    /// The daemon stopped in order; everything before is applied.
    Stopped,
}

/// How an attempt to send a mail ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailResult {
    /// The next host took it.
    Sent {
        /// Reply code.
        reply: String,
    },
    /// Not now.
    Deferred {
        /// Reply code or kind of failure.
        reply: String,
        /// When to try again.
        until: Timestamp,
    },
    /// Never.
    Failed {
        /// Reply code, or `expired`.
        reply: String,
    },
    /// Taken out by the operator.
    Dropped,
}
