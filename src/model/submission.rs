//! Submissions: one signed set of files that an account sent.

use serde::{Deserialize, Serialize};

use super::card::CardRef;
use super::ids::{AccountId, BlobId, Digest, InsurerCode, Number, OfficeCode};
use super::time::Timestamp;

/// 電子申請 or 電子申請以外 (K55).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A filing with its attachments.
    #[default]
    Filing,
    /// Other files.
    Other,
}

/// What a file is within its submission; gives the name the insurer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileRole {
    /// The filing itself: `KPFD0006.CSV`.
    Filing,
    /// 総括表 (K51): `cover.pdf`, or `cover.csv` where the insurer takes it so.
    Cover,
    /// Anything else: `attachment-01.pdf`, ...
    Attachment,
}

/// One file of a submission, without its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmittedFile {
    /// Where its bytes lie.
    pub blob: BlobId,
    /// Of its bytes; what the manifest says and the bytes are.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
    /// What it is.
    pub role: FileRole,
    /// The name the insurer sees, from a closed set the gateway chooses.
    pub export_name: String,
}

/// One stage of intake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Every named file is there and hashes to what the manifest says.
    Upload,
    /// The manifest was signed by a key of the account.
    Signature,
    /// Content is free of known viruses (K32).
    Virus,
    /// The filing is what its form asks for.
    Format,
    /// It has an insurer and an office that the account may act for.
    Routing,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Fine.
    Pass,
    /// The reason of a refusal.
    Fail,
    /// An earlier stage failed, or the stage is switched off in words.
    NotRun,
    /// Cannot be said yet: the submission waits.
    Held,
}

/// A stage's verdict with its reason in a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageVerdict {
    /// Which stage.
    pub stage: Stage,
    /// How it ended.
    pub verdict: Verdict,
    /// ASCII code of the reason (`VIRUS-FOUND`), or what was used (`clamd 27001/2026-11-22`); names no person.
    #[serde(default)]
    pub detail: String,
}

/// Why a submission waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// The scanner cannot be asked, or did not scan all of it.
    Scanner,
    /// Outside the insurer's window; waits for the next opening.
    Calendar,
    /// The same content came under another id: somebody must look (*policy*).
    SameContent,
    /// The data root was restored from a backup and is not reconciled yet.
    Epoch,
    /// Since it came, its account was suspended or closed, or the key that signed it was revoked as compromised: somebody must
    /// look.
    Sender,
}

impl HoldReason {
    /// Its name in verdicts, receipts and listings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Scanner => "SCANNER",
            Self::Calendar => "CALENDAR",
            Self::SameContent => "SAME-CONTENT",
            Self::Epoch => "EPOCH",
            Self::Sender => "SENDER",
        }
    }
}

/// How a submission is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What it waits for.
    pub reason: HoldReason,
    /// What it was held for before and the operator released it from.
    pub released: Vec<HoldReason>,
}

/// What became of it at intake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Goes to the insurer.
    Accepted,
    /// Consumed, answered with findings, not passed on. The code of the first reason.
    Refused(String),
    /// Waits; decided later by a `Judge` operation.
    Held(HoldReason),
}

/// Where an accepted submission is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Durably received, not decided.
    Held,
    /// Accepted; not yet in the insurer's `new/`.
    Accepted,
    /// The staged folder is about to be renamed into `new/`; never staged again from here on.
    Publishing,
    /// In `new/`.
    Published,
    /// The importer renamed it to `cur/`.
    Collected,
    /// ... and then to `done/`.
    Imported,
    /// ... or to `failed/`.
    ImportFailed,
    /// Refused.
    Refused,
    /// A withdrawal (`# withdraw:`) that was carried out: done with the moment it was accepted.
    CarriedOut,
    /// Withdrawn by the sender or the operator before it was collected (H26).
    Withdrawn,
}

impl State {
    /// Its name, as JSON has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Accepted => "accepted",
            Self::Publishing => "publishing",
            Self::Published => "published",
            Self::Collected => "collected",
            Self::Imported => "imported",
            Self::ImportFailed => "import_failed",
            Self::Refused => "refused",
            Self::CarriedOut => "carried_out",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Neither refused nor withdrawn: it reserves its manifest, id and content, and what it files is filed (K53).
    pub fn counts(self) -> bool {
        !matches!(self, Self::Refused | Self::Withdrawn)
    }
}

/// A submission as the ledger keeps it: numbers, digests, times and verdicts, no names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Its number.
    pub number: Number,
    /// Who sent it.
    pub account: AccountId,
    /// For whom.
    pub insurer: InsurerCode,
    /// On whose behalf; none for `other` without an office, and for refusals before it was known.
    pub office: Option<OfficeCode>,
    /// A filing or other files.
    pub kind: Kind,
    /// Sent by a test identity.
    pub test: bool,
    /// SHA-256 of `SHA256SUMS`, byte for byte: the submission's identity for its sender.
    pub manifest: Digest,
    /// Keyed digest of account and the sender's own id, which may name somebody.
    pub id_tag: Option<Digest>,
    /// Keyed digest over the sorted file hashes: the same content under another manifest.
    pub content_tag: Digest,
    /// The signer's key, `SHA256:...`.
    pub signer: String,
    /// Its files in the manifest's order. Empty once the payload is erased.
    pub files: Vec<SubmittedFile>,
    /// Records per form code.
    pub forms: Vec<(String, u64)>,
    /// Verdicts in order.
    pub verdicts: Vec<StageVerdict>,
    /// [`super::card::SubmissionCard`]
    pub card: CardRef,
    /// [`super::card::DecisionCard`] of one that was held at first.
    pub decision: Option<CardRef>,
    /// When it was completed.
    pub received_at: Timestamp,
    /// When it was accepted or refused.
    pub decided_at: Option<Timestamp>,
    /// When the importer took it.
    pub collected_at: Option<Timestamp>,
    /// When it was withdrawn.
    pub withdrawn_at: Option<Timestamp>,
    /// By which submission; none when the operator did it.
    pub withdrawn_by: Option<Number>,
    /// The submission that this one withdraws (`# withdraw:`); then it has no files of its own.
    pub withdraws: Option<Number>,
    /// Where it is.
    pub state: State,
}

impl Submission {
    /// What batches and books call it: `filing`, `other`, or `withdrawal`.
    pub fn what(&self) -> &'static str {
        match (self.withdraws, self.kind) {
            (Some(_), _) => "withdrawal",
            (None, Kind::Filing) => "filing",
            (None, Kind::Other) => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn a_states_word_is_its_name_in_json() {
        use State::*;
        let all = [
            Held,
            Accepted,
            Publishing,
            Published,
            Collected,
            Imported,
            ImportFailed,
            Refused,
            CarriedOut,
            Withdrawn,
        ];
        for state in all {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }
}
