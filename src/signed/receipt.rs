//! The receipt: the gateway's statement about one submission, as versioned JSON (DESIGN "Receipt").
//!
//! The bytes that [`Receipt::to_json`] gives are what is signed: stable order, two blanks of indent, one line feed at the end.
//! `tests/golden/receipt-*.json` hold the form; a change there is a change of the public contract.

use serde::{Deserialize, Serialize};

use crate::model::finding::Finding;
use crate::model::ids::{AccountId, AuthorityId, CertificateId, Digest, InsurerCode, Number, OfficeCode};
use crate::model::time::Timestamp;
use crate::signed::names::{FileName, SenderId};

/// The schema that [`Receipt`] is written in.
pub const RECEIPT_SCHEMA: &str = "todoke-receipt/1";
/// The schema that [`LaterFact`] is written in.
pub const FACT_SCHEMA: &str = "todoke-receipt-fact/1";

/// What became of a submission when the receipt was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Routed to the insurer.
    Accepted,
    /// Refused: the findings say why.
    Refused,
    /// Durably received, and waiting: for the scanner, the calendar or a decision.
    Held,
    /// A withdrawal that was carried out.
    Withdrawal,
}

/// What one stage found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing against it.
    Pass,
    /// It was refused here.
    Fail,
    /// An earlier stage ended it, or the stage does not apply.
    #[default]
    NotRun,
    /// It waits here.
    Held,
}

/// One stage's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What it found.
    pub verdict: Verdict,
    /// When; none when it did not run.
    #[serde(with = "rfc3339::option")]
    pub at: Option<Timestamp>,
    /// A short word on it: the scanner's signature date, the code of the refusal. Never file content.
    pub detail: Option<String>,
}

impl Stage {
    /// A stage that ran.
    pub fn ran(verdict: Verdict, at: Timestamp, detail: Option<String>) -> Self {
        Self { verdict, at: Some(at), detail }
    }
}

/// Each stage's verdict, in the order in which they run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stages {
    /// Every named file arrived with its hash.
    pub upload: Stage,
    /// The signature fits, and the key is the account's.
    pub signature: Stage,
    /// The virus check (K32).
    pub virus: Stage,
    /// The filing's format (KPFD) and business rules.
    pub format: Stage,
    /// Handed to the insurer's spool.
    pub routing: Stage,
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptSigner {
    /// The signature's algorithm, such as `ssh-ed25519`.
    pub algorithm: String,
    /// The key's fingerprint, `SHA256:...`.
    pub fingerprint: String,
    /// The certificate that it signed by, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ReceiptCertificate>,
}

/// A certificate that a signature was made by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptCertificate {
    /// `x509` (`SHA256SUMS.p7s`) or `openssh` (`SHA256SUMS.sig`).
    pub form: String,
    /// Its number, if the gateway has a record of it.
    pub id: Option<CertificateId>,
    /// The authority that it was followed to.
    pub authority: AuthorityId,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// When it ends.
    #[serde(with = "rfc3339")]
    pub not_after: Timestamp,
}

/// One file as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFile {
    /// Its name in the manifest.
    pub name: FileName,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub sha256: Digest,
}

/// The receipt of one submission. It never changes; later facts are [`LaterFact`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`RECEIPT_SCHEMA`].
    pub schema: String,
    /// The receipt's number.
    pub number: Number,
    /// Whether it came from a test account: then it reaches no production spool (H3).
    pub test: bool,
    /// The account that sent it.
    pub account: AccountId,
    /// The office it is for; none when that could not be told.
    pub office: Option<OfficeCode>,
    /// The insurer it is for.
    pub insurer: InsurerCode,
    /// The sender's own id (`# id:`).
    pub id: Option<SenderId>,
    /// SHA-256 of the manifest.
    pub manifest_sha256: Digest,
    /// Who signed.
    pub signer: ReceiptSigner,
    /// Who signed `SHA256SUMS.p7s`, where both signatures were there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_signer: Option<ReceiptSigner>,
    /// When the account's newest certificate ends, where it has one that holds: for payroll systems, whose notices nobody reads.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    pub certificate_ends: Option<Timestamp>,
    /// The files, in the manifest's order.
    pub files: Vec<ReceiptFile>,
    /// When the set was complete.
    #[serde(with = "rfc3339")]
    pub received_at: Timestamp,
    /// When the outcome was settled; none while it is held.
    #[serde(with = "rfc3339::option")]
    pub decided_at: Option<Timestamp>,
    /// What became of it.
    pub outcome: Outcome,
    /// Each stage's verdict.
    pub stages: Stages,
    /// What was found, errors and warnings.
    pub findings: Vec<Finding>,
    /// How many more findings there were than are listed.
    pub more_findings: u64,
}

impl Receipt {
    /// The canonical bytes: what is stored, signed and sent.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        canonical(self)
    }

    /// Reads a receipt of this schema.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let receipt: Self = serde_json::from_slice(bytes)?;
        require_schema(&receipt.schema, RECEIPT_SCHEMA)?;
        Ok(receipt)
    }
}

/// What happened to a submission after its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fact {
    /// Taken back by its account (H26): `NUMBER.withdrawn.json`.
    Withdrawn,
    /// Taken in by the insurer: `NUMBER.collected.json`.
    Collected,
    /// A held submission was accepted: `NUMBER.accepted.json`.
    Accepted,
    /// A held submission was refused: `NUMBER.refused.json`.
    Refused,
}

impl Fact {
    /// The word that the receipt's file name carries.
    pub fn word(self) -> &'static str {
        match self {
            Self::Withdrawn => "withdrawn",
            Self::Collected => "collected",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }

    /// `NUMBER.withdrawn.json` and the like.
    pub fn file_name(self, number: Number) -> String {
        format!("{number}.{}.json", self.word())
    }
}

/// A later fact about a submission: a receipt of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaterFact {
    /// [`FACT_SCHEMA`].
    pub schema: String,
    /// The submission's number.
    pub number: Number,
    /// Whether the submission came from a test account.
    pub test: bool,
    /// The account that sent the submission.
    pub account: AccountId,
    /// The insurer it was for.
    pub insurer: InsurerCode,
    /// SHA-256 of the submission's manifest.
    pub manifest_sha256: Digest,
    /// What happened.
    pub fact: Fact,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The receipt of the withdrawal, for [`Fact::Withdrawn`].
    pub by: Option<Number>,
    /// What was found since, for a held submission that was decided.
    pub findings: Vec<Finding>,
    /// How many more findings there were than are listed.
    pub more_findings: u64,
}

impl LaterFact {
    /// The canonical bytes: what is stored, signed and sent.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        canonical(self)
    }

    /// Reads a fact of this schema.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let fact: Self = serde_json::from_slice(bytes)?;
        require_schema(&fact.schema, FACT_SCHEMA)?;
        Ok(fact)
    }
}

/// Why bytes are not a receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// Not JSON of this shape.
    #[error("the receipt cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Another schema or version.
    #[error("the receipt's schema is {got:?}, expected {expected:?}")]
    Schema {
        /// What it says.
        got: String,
        /// What is read here.
        expected: &'static str,
    },
}

fn require_schema(got: &str, expected: &'static str) -> Result<(), ReceiptError> {
    if got == expected {
        return Ok(());
    }
    Err(ReceiptError::Schema { got: got.chars().take(64).collect(), expected })
}

fn canonical(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Times in receipts: RFC 3339 in UTC with milliseconds.
mod rfc3339 {
    use chrono::DateTime;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::model::time::Timestamp;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        DateTime::parse_from_rfc3339(&text)
            .map(|at| Timestamp(at.timestamp_millis()))
            .map_err(D::Error::custom)
    }

    pub(super) mod option {
        use super::{DateTime, Deserializer, Serializer, Timestamp};
        use serde::{Deserialize as _, de::Error as _};

        #[allow(clippy::ref_option, reason = "serde passes fields so")]
        pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => to.collect_str(at),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
            Option::<String>::deserialize(from)?
                .map(|text| {
                    DateTime::parse_from_rfc3339(&text)
                        .map(|at| Timestamp(at.timestamp_millis()))
                        .map_err(D::Error::custom)
                })
                .transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::finding::{Severity, Text};

    fn number(serial: u64) -> Number {
        Number { epoch: 1, serial }
    }

    fn accepted() -> Receipt {
        let at = Timestamp(1_795_392_000_123);
        let stage = |after: i64, detail: Option<&str>| {
            Stage::ran(Verdict::Pass, at.plus(after), detail.map(Into::into))
        };
        Receipt {
            schema: RECEIPT_SCHEMA.into(),
            number: number(123),
            test: false,
            account: AccountId::parse("K0001").unwrap(),
            office: Some(OfficeCode::parse("1234").unwrap()),
            insurer: InsurerCode::parse("06139999").unwrap(),
            id: Some(SenderId::parse("2026-11 #1").unwrap()),
            manifest_sha256: Digest::of(b"manifest"),
            signer: ReceiptSigner {
                algorithm: "ssh-ed25519".into(),
                fingerprint: "SHA256:sample".into(),
                certificate: None,
            },
            second_signer: None,
            certificate_ends: None,
            files: vec![ReceiptFile {
                name: FileName::parse("KPFD0006.CSV").unwrap(),
                size: 3,
                sha256: Digest::of(b"abc"),
            }],
            received_at: at,
            decided_at: Some(at.plus(40)),
            outcome: Outcome::Accepted,
            stages: Stages {
                upload: stage(0, None),
                signature: stage(1, None),
                virus: stage(20, Some("ClamAV 1.4.6/27001")),
                format: stage(30, None),
                routing: stage(40, None),
            },
            findings: vec![],
            more_findings: 0,
        }
    }

    fn refused() -> Receipt {
        let mut receipt = accepted();
        receipt.outcome = Outcome::Refused;
        receipt.stages.format.verdict = Verdict::Fail;
        receipt.stages.format.detail = Some("KPFD-DATE".into());
        receipt.stages.routing = Stage::default();
        receipt.office = None;
        receipt.id = None;
        receipt.findings = vec![Finding {
            severity: Severity::Error,
            rule: "KPFD-DATE".into(),
            file: Some("KPFD0006.CSV".into()),
            line: Some(6),
            form: Some("2200700".into()),
            field: Some(19),
            field_name: Some(Text::new("資格取得年月日", "acquired on")),
            insured: Some("123".into()),
            value: Some("080230".into()),
            column: None,
            message: Text::new("存在しない日付です。", "This date does not exist."),
            action: Text::new("正しい日付に直してください。", "Correct the date."),
        }];
        receipt.more_findings = 7;
        receipt
    }

    fn certified() -> Receipt {
        let mut receipt = accepted();
        let certificate = |form: &str, authority: &str, serial: &str| ReceiptCertificate {
            form: form.into(),
            id: Some(CertificateId { epoch: 1, serial: 7 }),
            authority: AuthorityId::parse(authority).unwrap(),
            serial: serial.into(),
            sha256: Digest::of(form.as_bytes()),
            not_after: receipt.received_at.plus_days(1095),
        };
        let openssh = certificate("openssh", "ssh-1", "00000000000000ff");
        let x509 = certificate("x509", "x509-1", "6e0c");
        receipt.signer.certificate = Some(openssh);
        receipt.second_signer = Some(ReceiptSigner {
            algorithm: "ecdsa-sha256".into(),
            fingerprint: "SHA256:sample".into(),
            certificate: Some(x509),
        });
        receipt.certificate_ends = Some(receipt.received_at.plus_days(1095));
        receipt.stages.signature.detail = Some("openssh C1-000007-1, x509 C1-000007-1".into());
        receipt
    }

    /// Compares with `tests/golden/NAME`; `UPDATE_EXPECT=1` writes it anew.
    fn golden(name: &str, bytes: &[u8]) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        expect_test::expect_file![path].assert_eq(std::str::from_utf8(bytes).unwrap());
    }

    #[test]
    fn receipts_have_their_golden_form_and_read_back() {
        for (name, receipt) in [
            ("receipt-accepted.json", accepted()),
            ("receipt-refused.json", refused()),
            ("receipt-certificate.json", certified()),
        ] {
            let bytes = receipt.to_json().unwrap();
            golden(name, &bytes);
            let back = Receipt::from_json(&bytes).unwrap();
            assert_eq!(back, receipt);
            assert_eq!(back.to_json().unwrap(), bytes);
        }
    }

    #[test]
    fn later_facts_have_their_golden_form_and_read_back() {
        for (fact, by) in [(Fact::Withdrawn, Some(number(124))), (Fact::Collected, None)] {
            let of = accepted();
            let fact = LaterFact {
                schema: FACT_SCHEMA.into(),
                number: of.number,
                test: of.test,
                account: of.account,
                insurer: of.insurer,
                manifest_sha256: of.manifest_sha256,
                fact,
                at: of.received_at.plus_days(1),
                by,
                findings: vec![],
                more_findings: 0,
            };
            let bytes = fact.to_json().unwrap();
            golden(&format!("receipt-{}.json", fact.fact.word()), &bytes);
            assert_eq!(LaterFact::from_json(&bytes).unwrap(), fact);
        }
        assert_eq!(Fact::Withdrawn.file_name(number(123)), format!("{}.withdrawn.json", number(123)));
    }

    #[test]
    fn another_schema_is_not_read() {
        let text = String::from_utf8(accepted().to_json().unwrap()).unwrap();
        let other = text.replace("todoke-receipt/1", "todoke-receipt/2");
        assert!(matches!(Receipt::from_json(other.as_bytes()), Err(ReceiptError::Schema { .. })));
        assert!(matches!(Receipt::from_json(b"{}"), Err(ReceiptError::Json(_))));
    }
}
