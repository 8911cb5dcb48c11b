//! What can be asked, and how answers look. Carried as JSON between the command line and the daemon of the same version;
//! not a public contract (that is the command line).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::applications::ApplicationRequest;
use super::certificates::CertificateRequest;
use super::parts::{AnnounceOrder, DeliverOrder};
use super::trouble::Trouble;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, Digest, DocumentId, InsurerCode, MailId, Number, OfficeCode};
use crate::model::login::Purpose;
use crate::model::mail::MailState;
use crate::model::party::Standing;
use crate::model::submission::State;
use crate::model::time::{Day, Timestamp};
use crate::work::parties::csv::{Kind, Row};
use crate::work::parties::delegations::DelegationForm;
use crate::work::parties::{AccountForm, InsurerForm, Mode, OfficeForm, PartyName};

/// One thing an operator asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How things are.
    Status,
    /// About insurers, offices and accounts.
    Party(PartyRequest),
    /// About submissions.
    Submission(SubmissionRequest),
    /// About documents.
    Outbox(OutboxRequest),
    /// About applications.
    Application(ApplicationRequest),
    /// About authorities and certificates.
    Certificate(CertificateRequest),
    /// About mails.
    Mail(MailRequest),
    /// About what has expired.
    Purge(PurgeRequest),
    /// Place the document that comes along.
    Deliver(DeliverOrder),
    /// Announce the document that comes along.
    Announce(AnnounceOrder),
    /// What comes.
    Calendar(CalendarRequest),
    /// A day's books and the disk against the ledger.
    Compare(CompareRequest),
    /// Read the configuration again (the daemon only).
    Reload,
    /// A restored data root was reconciled.
    Reconcile,
}

/// About insurers, offices and accounts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartyRequest {
    /// Add or change an insurer.
    SetInsurer(InsurerForm, Mode),
    /// Add or change an office.
    SetOffice(OfficeForm, Mode),
    /// Add or change an account.
    SetAccount(Box<AccountForm>, Mode),
    /// Take a key away.
    RemoveKey(AccountId, String),
    /// Make a password for an account.
    Password {
        /// Whose.
        account: AccountId,
        /// What it is for.
        purpose: Purpose,
        /// In place of the one it has.
        reset: bool,
    },
    /// End a lock of an account's passwords.
    Unlock(AccountId),
    /// Suspend, resume, close.
    Stand(PartyName, Standing),
    /// Many at once.
    Import {
        /// What they are.
        kind: Kind,
        /// The file's rows, keys as lines and groups as numbers.
        rows: Vec<Row>,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// All insurers.
    Insurers,
    /// All offices, or an insurer's, after this one (`INSURER/OFFICE`).
    Offices {
        /// Of this insurer.
        insurer: Option<InsurerCode>,
        /// After the last one of the page before.
        after: Option<String>,
    },
    /// All accounts, or an insurer's, or an office's.
    Accounts {
        /// Of this insurer.
        insurer: Option<InsurerCode>,
        /// That act for this office.
        office: Option<OfficeCode>,
        /// After the last one of the page before.
        after: Option<String>,
    },
    /// One of them.
    Show(PartyName),
    /// Let an account act for an office.
    Delegate(DelegationForm),
    /// End that.
    Undelegate {
        /// Of which office.
        office: OfficeCode,
        /// Of which account.
        account: AccountId,
        /// The last day; none means at once.
        last: Option<Day>,
    },
    /// Who acts for whom.
    Delegations {
        /// Of this insurer.
        insurer: Option<InsurerCode>,
        /// Of this office.
        office: Option<OfficeCode>,
        /// Of this account.
        account: Option<AccountId>,
        /// After the last one of the page before.
        after: Option<String>,
    },
}

/// About submissions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubmissionRequest {
    /// Newest first.
    List {
        /// Of this sender.
        account: Option<AccountId>,
        /// For this insurer.
        insurer: Option<InsurerCode>,
        /// In one of these states; empty means all.
        states: Vec<State>,
        /// Before the last one of the page before.
        before: Option<Number>,
    },
    /// One, with what its card holds.
    Show(Number),
    /// Withdraw it as the operator.
    Withdraw {
        /// Which.
        number: Number,
        /// Why: told its sender by mail.
        reason: Option<String>,
    },
    /// Decide a held one.
    Judge {
        /// Which.
        number: Number,
        /// Let it pass (else refuse it).
        release: bool,
    },
}

/// About documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxRequest {
    /// In order of numbers.
    List {
        /// Whose.
        account: AccountId,
        /// For this office.
        office: Option<OfficeCode>,
        /// After the last one of the page before.
        after: Option<DocumentId>,
    },
    /// Take a document back (誤配信).
    Recall(DocumentId),
    /// Keep a document beyond its days.
    Hold {
        /// Which.
        id: DocumentId,
        /// For a law or a court, rather than the operator's own reason.
        legal: bool,
        /// Why.
        reason: String,
    },
    /// ... and no longer.
    Release(DocumentId),
    /// How many were fetched, by type and month.
    Stats {
        /// Of this insurer.
        insurer: Option<InsurerCode>,
    },
    /// Announcements of an insurer, with how many have fetched each.
    Announcements {
        /// Whose.
        insurer: InsurerCode,
        /// After the last one of the page before.
        after: Option<DocumentId>,
    },
    /// Take an announcement back from everybody.
    RecallAnnouncement {
        /// Whose.
        insurer: InsurerCode,
        /// Which.
        announcement: DocumentId,
    },
}

/// About mails.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailRequest {
    /// Newest first.
    List {
        /// To this account.
        account: Option<AccountId>,
        /// In this state.
        state: Option<MailState>,
        /// Before the last one of the page before.
        before: Option<MailId>,
    },
    /// One.
    Show(MailId),
    /// Try it now.
    Retry(MailId),
    /// Give it up.
    Drop(MailId),
    /// Send a test mail there, past the queue.
    Test {
        /// Where to.
        to: String,
        /// A kind of notice filled with its sample, such as `arrival`; none means plain words.
        kind: Option<String>,
        /// In which language.
        language: Language,
    },
    /// A kind of notice with its sample, as readers will see it.
    Preview {
        /// Such as `arrival`.
        kind: String,
        /// In which language.
        language: Language,
    },
    /// Addresses to which nothing is sent, in the order of their digests.
    Addresses {
        /// After the last one of the page before.
        after: Option<Digest>,
    },
    /// Send to it again: an address, an account, or the beginning of its digest.
    Resume(String),
}

/// What to compare.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CompareRequest {
    /// The books of this day; of the last one that is closed.
    pub day: Option<String>,
    /// Only this insurer's.
    pub insurer: Option<InsurerCode>,
    /// Only this account's.
    pub account: Option<AccountId>,
    /// The hash of everything.
    pub deep: bool,
}

/// What comes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CalendarRequest {
    /// To this insurer.
    pub insurer: Option<InsurerCode>,
    /// Within so many days.
    pub days: u32,
}

/// About what has expired.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeRequest {
    /// What would go at this time.
    DryRun(Timestamp),
    /// Remove what is due now.
    Run,
    /// A paused purge may go on.
    Confirm,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What `--json` prints; a page of it when `next` says so.
    pub value: Value,
    /// What the operator should know, for standard error.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Where the next page begins: what `after` or `before` of the same request must be.
    #[serde(default)]
    pub next: Option<String>,
    /// It was done but has findings (exit code 1), such as refused rows.
    #[serde(default)]
    pub findings: bool,
}

impl Answer {
    /// Nothing but this.
    pub fn of(value: Value) -> Self {
        Self { value, notes: Vec::new(), next: None, findings: false }
    }
}

/// Done, or why not.
pub type Response = Result<Answer, Trouble>;
