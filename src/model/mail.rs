//! Notices: mails from the gateway, sealed before they are first sent.

use serde::{Deserialize, Serialize};

use super::application::ApplicationNotice;
use super::card::CardRef;
use super::ids::{AccountId, ApplicationId, Digest, DocumentId, InsurerCode, MailId, Number};
use super::time::Timestamp;

/// What a mail is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// These documents arrived (K9).
    Arrival(Vec<DocumentId>),
    /// This submission was refused after the client had been told only that it is received.
    Refusal(Number),
    /// An incomplete set in the drop-box was removed.
    Swept,
    /// A document was recalled (誤配信).
    Recall(DocumentId),
    /// An application went on; to the address it registered.
    Application(ApplicationId, ApplicationNotice),
    /// A password was set or a login locked, by the event of this sequence number.
    Login(u64),
    /// Anything else an account is told.
    Notice {
        /// The kind of notice, such as `password-expires`.
        kind: String,
        /// What it is about, such as `C1-000012-3 30`: ids and numbers, nobody's name. One of a kind is sealed once for
        /// each; where it is empty, every time.
        about: String,
    },
}

impl Subject {
    /// Kind and matter of what is sealed once only; none for what other facts hold back, or nothing does.
    pub fn once(&self) -> Option<(&str, String)> {
        match self {
            Self::Recall(document) => Some(("recall", document.to_string())),
            Self::Notice { kind, about } if !about.is_empty() => Some((kind, about.clone())),
            _ => None,
        }
    }
}

/// Where a mail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailState {
    /// Waits for its (next) attempt.
    Queued,
    /// The next host took it.
    Sent,
    /// Given up: refused for good, or tried for too long.
    Failed,
    /// Taken out by the operator.
    Dropped,
}

/// A mail as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Its number.
    pub id: MailId,
    /// `Message-ID` without the angle brackets; the same at every attempt.
    pub message_id: String,
    /// Whose mailbox; none for an insurer's contact and the operator's.
    pub account: Option<AccountId>,
    /// What it is about.
    pub subject: Subject,
    /// [`super::card::MailCard`]
    pub card: CardRef,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Where it is.
    pub state: MailState,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next attempt is due; meaningful while queued.
    pub due_at: Timestamp,
    /// The last answer: reply code and enhanced code (`451 4.7.1`) or `timeout`, `refused`, `tls`; no free text, which may
    /// name somebody.
    pub last_reply: Option<String>,
    /// Further accounts that share the mailbox and are told by this mail (K9).
    #[serde(default)]
    pub more_accounts: Vec<AccountId>,
    /// The mailbox it goes to: a keyed digest of the address; none for mails sealed by older versions.
    #[serde(default)]
    pub mailbox: Option<Digest>,
    /// The latest that came back about it.
    #[serde(default)]
    pub report: Option<MailReport>,
    /// The insurer whose contact it goes to; none for an account's and the operator's.
    #[serde(default)]
    pub insurer: Option<InsurerCode>,
}

impl Mail {
    /// All accounts that are told by it.
    pub fn accounts(&self) -> impl Iterator<Item = &AccountId> {
        self.account.iter().chain(&self.more_accounts)
    }
}

/// Reply of an attempt that was not made, since nobody reads mail at the address (see [`AddressMark`]).
pub const ADDRESS_MARKED: &str = "address-marked";

/// Reply of an attempt that was not made, since an account that the mail tells has another address by now: what it announced
/// waits for another announcement, anything else was written again to that address.
pub const ADDRESS_CHANGED: &str = "address-changed";

/// What was said about a mail after the next host had taken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Nobody reads mail at the address: no such mailbox or domain, or closed.
    Unreachable,
    /// It failed for a reason that may pass: full, refused by a policy, too late.
    Failed,
    /// It is still being tried.
    Delayed,
    /// It went on to a host that sends no reports.
    Relayed,
    /// It is in the mailbox.
    Delivered,
    /// Somebody marked it as unwanted (RFC 5965).
    Complaint,
    /// An automatic answer (RFC 3834).
    AutoReply,
    /// It failed for somebody to whom an alias or a list behind the address leads; others may have got it.
    Member,
}

/// What came back about a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailReport {
    /// What it says.
    pub report: Report,
    /// Enhanced status (RFC 3463), where it gave one.
    pub status: Option<String>,
    /// It knew the mail's mark; else it was matched by recipient and time, and counts for nothing.
    pub proven: bool,
    /// When it was read.
    pub at: Timestamp,
}

/// Nobody reads mail at an address: no mail is sent to it until the account names another, or the operator resumes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressMark {
    /// Since when.
    pub at: Timestamp,
    /// The mail that showed it.
    pub mail: MailId,
    /// Enhanced status (RFC 3463), where one was given.
    pub status: Option<String>,
    /// No single answer said so, but too many failures within a time.
    pub soft: bool,
}

/// An address mails go to, without the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// A keyed digest of the normalised address.
    pub tag: Digest,
    /// Nobody reads mail there.
    pub mark: Option<AddressMark>,
    /// Failures that may pass, the latest last; none after a delivery or a `resume`.
    pub failures: Vec<Timestamp>,
    /// When the last arrival mail to it was sealed.
    pub announced_at: Option<Timestamp>,
    /// When somebody last said that it works again.
    pub resumed_at: Option<Timestamp>,
}

impl Mailbox {
    /// Whether what comes back of a mail that was sent then says anything about the address as it is now.
    pub fn is_judged_by(&self, sent_at: Option<Timestamp>) -> bool {
        !matches!((sent_at, self.resumed_at), (Some(sent), Some(resumed)) if sent < resumed)
    }

    /// Failures that are remembered.
    pub const FAILURES_MAX: usize = 20;

    /// Nothing known yet.
    pub fn new(tag: Digest) -> Self {
        Self { tag, mark: None, failures: Vec::new(), announced_at: None, resumed_at: None }
    }
}
