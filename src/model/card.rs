//! Cards: what names persons or could (titles, file names, comments, mail addresses). They lie beside the bytes as blobs
//! of their own and go when the bytes go. The journal knows a card by its place and its salted digest alone, so that the
//! journal can be kept and shown for ever.

use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::ids::{BlobId, Digest};

/// Where a card lies and what it digests to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardRef {
    /// The blob that holds the card.
    pub blob: BlobId,
    /// SHA-256 of the card's bytes, which begin with its salt: nothing about the content can be guessed from it.
    pub digest: Digest,
}

/// Sixteen random bytes in hexadecimal; the first field of every card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Salt(pub String);

/// Who an insurer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsurerCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// Its name, such as 東京見本健康保険組合.
    pub name: String,
    /// Where it wants to be told of trouble; none means the operator is told.
    pub mail: Option<String>,
}

/// Who an office is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficeCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// Its name, such as 株式会社見本工業; stands in the subject of mails, since mailboxes are shared (K9).
    pub name: String,
}

/// Whose an account is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// User name (利用者名); may be a department (K4).
    pub user_name: String,
    /// Exactly one mail address (K5); a group mailbox is fine, and two accounts may share one (K9).
    pub mail: String,
}

/// What an application registers: the first set-up is held against it (K18).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// Name of the office (an agent's: of its own office), as registered.
    pub office_name: String,
    /// User name (利用者名); may be a department (K4).
    pub user_name: String,
    /// Exactly one mail address (K5).
    pub mail: String,
}

/// Why an application was rejected or cancelled, in somebody's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// One line.
    pub reason: String,
}

/// One submission as its sender named things, with everything needed to prove later what was signed and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmissionCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// The sender's own id (`# id:`).
    pub id: Option<String>,
    /// `# subject:`
    pub subject: Option<String>,
    /// `# comment:`
    pub comment: Option<String>,
    /// Names in the manifest's order, the same order as the ledger's files.
    pub names: Vec<String>,
    /// `SHA256SUMS`, byte for byte, in base64.
    pub manifest: String,
    /// `SHA256SUMS.sig`, byte for byte, in base64.
    pub signature: String,
    /// The key that signed, as in `authorized_keys`, without comment.
    pub signer: String,
    /// What the checks found.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more_findings: u64,
    /// The receipt, byte for byte.
    pub receipt: String,
    /// The receipt's armored signature.
    pub receipt_signature: String,
}

/// The decision on a submission that was held at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// What the checks found.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more_findings: u64,
    /// The receipt `NUMBER.decided.json`, byte for byte.
    pub receipt: String,
    /// Its armored signature.
    pub receipt_signature: String,
}

/// One document as its insurer named it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// The title, such as 2026年11月分.
    pub title: String,
    /// The file's name in the insurer's folder.
    pub original_name: String,
}

/// One mail, sealed: a retry sends these very bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// Envelope sender.
    pub from: String,
    /// Envelope recipient.
    pub to: String,
    /// The message (RFC 5322), in base64.
    pub message: String,
}
