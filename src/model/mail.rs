//! Notices: mails from the gateway, sealed before they are first sent.

use serde::{Deserialize, Serialize};

use super::application::ApplicationNotice;
use super::card::CardRef;
use super::ids::{AccountId, ApplicationId, DocumentId, MailId, Number};
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
    /// Anything else an account is told.
    Notice {
        /// The kind of notice, such as `password-expires`.
        kind: String,
        /// What it is about, such as `C1-000012-3 30`: ids and numbers, nobody's name. One of a kind is sealed once for
        /// each; where it is empty, every time.
        about: String,
    },
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
    /// Whose mailbox; none for the operator's.
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
}
