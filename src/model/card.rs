//! Cards: what names persons or could (titles, file names, comments, mail addresses). They lie beside the bytes as blobs
//! of their own and go when the bytes go. The journal knows a card by its place and its salted digest alone, so that the
//! journal can be kept and shown for ever.

use serde::{Deserialize, Serialize};

use super::authority::Form;
use super::finding::Finding;
use super::ids::{AuthorityId, BlobId, CertificateId, Digest};
use super::time::Timestamp;

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
    /// `SHA256SUMS.sig`, byte for byte, in base64; empty where there is none.
    pub signature: String,
    /// `SHA256SUMS.p7s`, byte for byte, in base64; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cms: String,
    /// Of each signature by certificate, what it was judged by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<SignatureEvidence>,
    /// The key that signed, as in `authorized_keys`, without comment.
    pub signer: String,
    /// What the checks found.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more_findings: u64,
    /// How many of these are errors.
    #[serde(default)]
    pub more_errors: u64,
    /// The receipt, byte for byte.
    pub receipt: String,
    /// The receipt's armored signature.
    pub receipt_signature: String,
}

/// What a signature by certificate was judged by: enough to judge it again in ten years without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureEvidence {
    /// X.509 (`SHA256SUMS.p7s`) or OpenSSH (`SHA256SUMS.sig`).
    pub form: Form,
    /// The certificate's number, if the gateway has a record of it.
    pub certificate: Option<CertificateId>,
    /// Which authority it was followed to.
    pub authority: AuthorityId,
    /// The certificate, then those between it and the authority: PEM, or one line of OpenSSH's.
    pub chain: Vec<String>,
    /// The authority's own certificate, or its public key.
    pub anchor: String,
    /// The time that it was judged for: of the receipt.
    pub verified_at: Timestamp,
    /// It was not revoked up to and including this event of the journal.
    pub ledger_seq: u64,
    /// That event's link in the hash chain.
    pub ledger_hash: Digest,
    /// Lists of revoked certificates that were looked at, PEM; long ones are left out.
    pub lists: Vec<String>,
    /// SHA-256 of all of them, DER.
    pub list_digests: Vec<Digest>,
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
    /// How many of these are errors.
    #[serde(default)]
    pub more_errors: u64,
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

/// Why a document is kept beyond its days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// The reason, as it was given.
    pub reason: String,
}

/// What is downloaded of a key that was made here: private keys under the certificate-issue password, certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleCard {
    /// Makes the digest unguessable.
    pub salt: Salt,
    /// Files: name and content in base64.
    pub files: Vec<(String, String)>,
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
