//! Documents: what an insurer sends to an account.

use serde::{Deserialize, Serialize};

use super::card::CardRef;
use super::ids::{AccountId, BlobId, Digest, DocumentId, InsurerCode, Number, OfficeCode};
use super::time::Timestamp;

/// How a document's file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `.pdf`
    Pdf,
    /// `.csv`, where the office chose it beside PDF (H3).
    Csv,
    /// `.txt`, of announcements alone.
    Txt,
}

impl Format {
    /// The extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Csv => "csv",
            Self::Txt => "txt",
        }
    }
}

/// A document as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its number.
    pub id: DocumentId,
    /// In whose outbox.
    pub account: AccountId,
    /// For which of the account's offices.
    pub office: OfficeCode,
    /// From whom.
    pub insurer: InsurerCode,
    /// The submission it answers (K13).
    pub in_reply_to: Option<Number>,
    /// Where its bytes lie.
    pub blob: BlobId,
    /// Of its bytes.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
    /// How the file ends.
    pub format: Format,
    /// Its type from the insurer's table of types, such as 納入告知書; "その他" for one the table does not have. From a
    /// closed list, so it names no person.
    pub kind: String,
    /// Local year and month it is filed under, `2026-11`.
    pub month: String,
    /// [`super::card::DocumentCard`]
    pub card: CardRef,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When it goes (K37).
    pub expires_at: Timestamp,
    /// First and last complete download.
    pub fetched: Option<(Timestamp, Timestamp)>,
    /// When the last download broke off before any was complete, and how many bytes from the start have been got without a
    /// gap, by it and those before it (`reget` goes on where one broke off).
    #[serde(default)]
    pub partly_fetched: Option<(Timestamp, u64)>,
    /// It is kept beyond its days, and why.
    #[serde(default)]
    pub hold: Option<DocumentHold>,
    /// When its days were prolonged: its hold ended so late that its account could not have been reminded of it any more.
    #[serde(default)]
    pub prolonged_at: Option<Timestamp>,
    /// Of an announcement (お知らせ) to many: the first of its documents. All of them share bytes and card.
    #[serde(default)]
    pub announcement: Option<DocumentId>,
}

/// A document that is kept beyond its days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentHold {
    /// For a law or a court, rather than the operator's own reason.
    pub legal: bool,
    /// Since when.
    pub since: Timestamp,
    /// [`super::card::HoldCard`]
    pub card: CardRef,
}

/// What is kept of a document that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedDocument {
    /// Its number.
    pub id: DocumentId,
    /// From whom it was.
    pub insurer: InsurerCode,
    /// In whose outbox.
    pub account: AccountId,
    /// For which office.
    pub office: OfficeCode,
    /// Its type.
    pub kind: String,
    /// Local year and month it was filed under.
    pub month: String,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// First and last complete download; one that was under way when it went counts as well.
    pub fetched: Option<(Timestamp, Timestamp)>,
    /// The last download that broke off before any was complete, and the bytes it had got.
    pub partly_fetched: Option<(Timestamp, u64)>,
    /// The announcement it was of.
    pub announcement: Option<DocumentId>,
    /// Why it went.
    pub reason: RemovalReason,
    /// When it was gone.
    pub removed_at: Timestamp,
}

impl RemovedDocument {
    /// What is kept of this one.
    pub fn of(document: Document, reason: RemovalReason, removed_at: Timestamp) -> Self {
        Self {
            id: document.id,
            insurer: document.insurer,
            account: document.account,
            office: document.office,
            kind: document.kind,
            month: document.month,
            placed_at: document.placed_at,
            fetched: document.fetched,
            partly_fetched: document.partly_fetched,
            announcement: document.announcement,
            reason,
            removed_at,
        }
    }
}

impl Document {
    /// Its file name in the outbox: readable, unique, safe on Windows, and without a person:
    /// `2026-11_納入告知書_D1-000123-6.pdf`.
    pub fn name(&self) -> String {
        format!("{}_{}_{}.{}", self.month, self.kind, self.id, self.format.extension())
    }

    /// The document that a file name in the outbox means.
    pub fn id_in(name: &str) -> Option<DocumentId> {
        let (stem, _) = name.rsplit_once('.')?;
        let (_, id) = stem.rsplit_once('_')?;
        DocumentId::parse(id).ok()
    }
}

/// How far a document was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Nobody downloaded any of it.
    Not,
    /// A part of it; none was complete.
    Partly,
    /// To its end.
    Whole,
}

impl Reading {
    /// From the downloads on record.
    pub fn of(fetched: Option<(Timestamp, Timestamp)>, partly: Option<(Timestamp, u64)>) -> Self {
        match (fetched, partly) {
            (Some(_), _) => Self::Whole,
            (None, Some(_)) => Self::Partly,
            (None, None) => Self::Not,
        }
    }
}

/// Why a document went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovalReason {
    /// Its days were over (K37).
    Expired,
    /// It had been sent to the wrong place (誤配信).
    Recalled,
}
