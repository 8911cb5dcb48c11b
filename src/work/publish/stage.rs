//! What stands around a submission's files in its folder: `submission.json`, `FILES.sha256`, `evidence/`.

use std::fmt::Write as _;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use crate::model::authority::Form;
use crate::model::card::{DecisionCard, SubmissionCard};
use crate::model::ids::Digest;
use crate::model::submission::{FileRole, Kind, Submission};
use crate::store::spool::{Folder, InsurerSpool};

/// A submission's card is at most this long: findings, manifest and comment are each bounded at intake.
pub const CARD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Version of `submission.json`. Fields may be added under the same version.
const SCHEMA: &str = "todoke-submission/1";

/// `submission.json`: what an importer needs to know without asking. Times are RFC 3339 in UTC.
#[derive(Serialize)]
struct SubmissionFile<'a> {
    schema: &'static str,
    number: String,
    test: bool,
    kind: Kind,
    insurer: &'a str,
    office: Option<&'a str>,
    /// Who filed: the account.
    account: &'a str,
    /// The sender's own id.
    id: Option<&'a str>,
    subject: Option<&'a str>,
    comment: Option<&'a str>,
    received_at: String,
    decided_at: Option<String>,
    manifest_sha256: Digest,
    signer: &'a str,
    forms: Vec<FormCount<'a>>,
    files: Vec<NamedFile<'a>>,
}

#[derive(Serialize)]
struct FormCount<'a> {
    form: &'a str,
    records: u64,
}

#[derive(Serialize)]
struct NamedFile<'a> {
    name: &'a str,
    original_name: &'a str,
    role: FileRole,
    size: u64,
    sha256: Digest,
}

/// The bytes of `submission.json`.
pub(super) fn submission_json(submission: &Submission, card: &SubmissionCard) -> io::Result<Vec<u8>> {
    let names = card.names.iter().map(String::as_str).chain(std::iter::repeat(""));
    let file = SubmissionFile {
        schema: SCHEMA,
        number: submission.number.to_string(),
        test: submission.test,
        kind: submission.kind,
        insurer: submission.insurer.as_str(),
        office: submission.office.as_ref().map(AsRef::as_ref),
        account: submission.account.as_str(),
        id: card.id.as_deref(),
        subject: card.subject.as_deref(),
        comment: card.comment.as_deref(),
        received_at: submission.received_at.to_string(),
        decided_at: submission.decided_at.map(|at| at.to_string()),
        manifest_sha256: submission.manifest,
        signer: &submission.signer,
        forms: submission.forms.iter().map(|(form, records)| FormCount { form, records: *records }).collect(),
        files: submission
            .files
            .iter()
            .zip(names)
            .map(|(file, original_name)| NamedFile {
                name: &file.export_name,
                original_name,
                role: file.role,
                size: file.size,
                sha256: file.sha256,
            })
            .collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&file)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// `FILES.sha256`: the payload as `sha256sum -c` reads it.
pub(super) fn files_sha256(submission: &Submission) -> String {
    submission.files.iter().fold(String::new(), |mut text, file| {
        let _ = writeln!(text, "{}  {}", file.sha256, file.export_name);
        text
    })
}

/// `verification.json`: by what signatures by certificate were judged.
#[derive(Serialize)]
struct VerificationFile<'a> {
    schema: &'static str,
    certificates: Vec<JudgedCertificate<'a>>,
}

#[derive(Serialize)]
struct JudgedCertificate<'a> {
    form: Form,
    certificate: Option<String>,
    authority: &'a str,
    /// It held, and was not revoked, at this time.
    verified_at: String,
    /// ... as far as the gateway's journal says, up to this event.
    journal_event: u64,
    journal_hash: Digest,
    /// SHA-256 of the authority's lists of revoked certificates that were looked at, DER.
    revocation_lists: &'a [Digest],
}

/// What is needed to check signatures by certificate again without asking anybody: the certificates up to the authority's, the
/// lists of revoked ones, and the time.
fn evidence_files(card: &SubmissionCard) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    if card.evidence.is_empty() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for evidence in &card.evidence {
        let (chain, anchor) = match evidence.form {
            Form::X509 => ("certificate.pem", "authority.pem"),
            Form::Openssh => ("certificate.pub", "authority.pub"),
        };
        let mut text = evidence.chain.concat();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        files.push((chain, text.into_bytes()));
        files.push((anchor, evidence.anchor.clone().into_bytes()));
        if !evidence.lists.is_empty() {
            files.push(("revoked.pem", evidence.lists.concat().into_bytes()));
        }
    }
    let judged = card.evidence.iter().map(|evidence| JudgedCertificate {
        form: evidence.form,
        certificate: evidence.certificate.map(|id| id.to_string()),
        authority: evidence.authority.as_str(),
        verified_at: evidence.verified_at.to_string(),
        journal_event: evidence.ledger_seq,
        journal_hash: evidence.ledger_hash,
        revocation_lists: &evidence.list_digests,
    });
    let file = VerificationFile { schema: "todoke-verification/1", certificates: judged.collect() };
    let mut bytes = serde_json::to_vec_pretty(&file)?;
    bytes.push(b'\n');
    files.push(("verification.json", bytes));
    Ok(files)
}

/// One of the files around the payload.
pub(in crate::work) struct Around {
    /// In `evidence/`.
    pub(in crate::work) evidence: bool,
    pub(in crate::work) name: &'static str,
    pub(in crate::work) bytes: Vec<u8>,
}

/// Everything in a submission's folder but the payload. `InvalidData` when the card is not what was written.
pub(in crate::work) fn around(
    submission: &Submission,
    card: &SubmissionCard,
    decision: Option<&DecisionCard>,
) -> io::Result<Vec<Around>> {
    let bytes_of =
        |text: &str| BASE64.decode(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    let top = |name, bytes| Around { evidence: false, name, bytes };
    let evidence = |name, bytes| Around { evidence: true, name, bytes };
    let mut files = vec![
        top("submission.json", submission_json(submission, card)?),
        top("FILES.sha256", files_sha256(submission).into_bytes()),
        evidence("SHA256SUMS", bytes_of(&card.manifest)?),
    ];
    for (name, signature) in [("SHA256SUMS.sig", &card.signature), ("SHA256SUMS.p7s", &card.cms)] {
        if !signature.is_empty() {
            files.push(evidence(name, bytes_of(signature)?));
        }
    }
    files.extend(evidence_files(card)?.into_iter().map(|(name, bytes)| evidence(name, bytes)));
    files.push(evidence("signer.pub", format!("{}\n", card.signer).into_bytes()));
    files.push(evidence("receipt.json", card.receipt.clone().into_bytes()));
    files.push(evidence("receipt.json.sig", card.receipt_signature.clone().into_bytes()));
    if let Some(decision) = decision {
        files.push(evidence("receipt.decided.json", decision.receipt.clone().into_bytes()));
        files.push(evidence("receipt.decided.json.sig", decision.receipt_signature.clone().into_bytes()));
    }
    Ok(files)
}

/// The folder for what vouches for the payload.
pub(in crate::work) const EVIDENCE: &str = "evidence";

/// Writes everything but the payload into the staged folder. Nothing is durable yet.
pub(super) fn write_around(
    folder: &Folder,
    spool: &InsurerSpool,
    submission: &Submission,
    card: &SubmissionCard,
    decision: Option<&DecisionCard>,
) -> io::Result<()> {
    let evidence = folder.make(EVIDENCE, spool.folder_mode(), spool.group)?;
    for file in around(submission, card, decision)? {
        let into = if file.evidence { &evidence } else { folder };
        into.write_new(file.name, &file.bytes, 0o440, spool.group)?;
    }
    Ok(())
}
