//! Made-up records for tests and benches.
#![allow(clippy::unwrap_used, reason = "every text here is well formed")]

use crate::model::application::{Application, ApplicationKind, ApplicationState, Material, Payment};
use crate::model::authority::{AccountBy, Authority, Form, Origin};
use crate::model::card::CardRef;
use crate::model::certificate::{Certificate, OpensshForm, X509Form};
use crate::model::document::{Document, Format};
use crate::model::finding::Language;
use crate::model::ids::{
    AccountId, ApplicationId, AuthorityId, BlobId, CertificateId, Digest, DocumentId, InsurerCode, MailId,
    Number, OfficeCode, UseClass,
};
use crate::model::mail::{Mail, MailState, Subject};
use crate::model::party::{Account, AccountKey, Insurer, Office, Role, Standing};
use crate::model::submission::{
    FileRole, Kind, Stage, StageVerdict, State, Submission, SubmittedFile, Verdict,
};
use crate::model::time::Timestamp;

/// 2026-11-23T00:00:00Z
pub const NOW: Timestamp = Timestamp(1_795_392_000_000);
/// The insurer of all samples.
pub const INSURER: &str = "06139999";

/// A blob's name that belongs to this seed.
pub fn blob(seed: u64) -> BlobId {
    BlobId::parse(&format!("20261123-{:016x}", seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))).unwrap()
}

/// A digest that belongs to this seed.
pub fn digest(seed: u64) -> Digest {
    Digest::of(&seed.to_be_bytes())
}

/// A card of its own.
pub fn card(seed: u64) -> CardRef {
    CardRef { blob: blob(seed), digest: digest(seed) }
}

/// An insurer's code.
pub fn insurer_code() -> InsurerCode {
    InsurerCode::parse(INSURER).unwrap()
}
/// An office's code.
pub fn office_code(code: &str) -> OfficeCode {
    OfficeCode::parse(code).unwrap()
}
/// An account's name.
pub fn account_id(id: &str) -> AccountId {
    AccountId::parse(id).unwrap()
}

/// The insurer.
pub fn insurer() -> Insurer {
    Insurer { code: insurer_code(), standing: Standing::Active, card: card(1) }
}

/// An office of the insurer.
pub fn office(code: &str) -> Office {
    Office {
        insurer: insurer_code(),
        code: office_code(code),
        standing: Standing::Active,
        card: card(u64::from(code.as_bytes()[0]) << 8),
    }
}

/// An account that acts for office `1234`, with this key.
pub fn account(id: &str, fingerprint: &str) -> Account {
    Account {
        id: account_id(id),
        insurer: insurer_code(),
        role: Role::Office,
        offices: vec![office_code("1234")],
        delegations: Vec::new(),
        language: Language::Ja,
        test: false,
        machine: false,
        standing: Standing::Active,
        keys: vec![AccountKey { fingerprint: fingerprint.to_owned(), key: "ssh-ed25519 AAAA".to_owned() }],
        card: card(u64::from(id.as_bytes()[id.len() - 1]) << 16),
    }
}

/// A submission of `K0001` with this serial; manifest and content are its own, the sender's id is `id`.
pub fn submission(epoch: u32, serial: u64, id: Option<u64>) -> Submission {
    let file = |at: u64, role, name: &str| SubmittedFile {
        blob: blob(serial * 16 + at),
        sha256: digest(serial * 16 + at),
        size: 2048,
        role,
        export_name: name.to_owned(),
    };
    let stages = [Stage::Upload, Stage::Signature, Stage::Virus, Stage::Format, Stage::Routing];
    Submission {
        number: Number { epoch, serial },
        account: account_id("K0001"),
        insurer: insurer_code(),
        office: Some(office_code("1234")),
        kind: Kind::Filing,
        test: false,
        manifest: digest(serial << 1),
        id_tag: id.map(|id| digest(id << 2)),
        content_tag: digest(serial << 3),
        signer: "SHA256:xqCz2KBIlqHsdS2rIKc4VUxiKbBv3kvVvL7Ffm3DLeU".to_owned(),
        files: vec![file(2, FileRole::Filing, "KPFD0006.CSV"), file(3, FileRole::Cover, "cover.pdf")],
        forms: vec![("2200700".to_owned(), 12)],
        verdicts: stages
            .into_iter()
            .map(|stage| StageVerdict { stage, verdict: Verdict::Pass, detail: String::new() })
            .collect(),
        card: card(serial * 16 + 1),
        decision: None,
        received_at: NOW,
        decided_at: None,
        collected_at: None,
        withdrawn_at: None,
        withdrawn_by: None,
        withdraws: None,
        state: State::Accepted,
    }
}

/// A document for `K0001` and this office with this serial, placed at this time, kept 70 days.
pub fn document(epoch: u32, serial: u64, office: &str, at: Timestamp) -> Document {
    Document {
        id: DocumentId { epoch, serial },
        account: account_id("K0001"),
        office: office_code(office),
        insurer: insurer_code(),
        in_reply_to: None,
        blob: blob(serial * 16 + 9),
        sha256: digest(serial * 16 + 9),
        size: 40_000,
        format: Format::Pdf,
        kind: "納入告知書".to_owned(),
        month: "2026-11".to_owned(),
        card: card(serial * 16 + 8),
        placed_at: at,
        expires_at: at.plus_days(70),
        fetched: None,
        partly_fetched: None,
        prolonged_at: None,
        hold: None,
        announcement: None,
    }
}

/// An application for this account of office `1234`, for a bundle, to be collected after a day.
pub fn application(serial: u64, account: &str) -> Application {
    Application {
        id: ApplicationId { epoch: 1, serial },
        kind: ApplicationKind::New,
        insurer: insurer_code(),
        account: account_id(account),
        role: Role::Office,
        offices: vec![office_code("1234")],
        group: None,
        class: UseClass::parse("standard").unwrap(),
        test: false,
        machine: false,
        language: Language::Ja,
        material: Material::P12,
        fee: 7_800,
        payment: Payment::Setoff,
        predecessor: None,
        card: card(serial * 16 + 7),
        state: ApplicationState::Applied,
        entered: Vec::new(),
        collect_at: NOW.plus_days(1),
        admitted: false,
        certificate: None,
        bundle: false,
        keep: false,
        use_before: None,
        remind_at: Vec::new(),
        downloads: 0,
        consent: None,
        reason: None,
        replaces: None,
        approved: false,
        asks_consent: false,
    }
}

/// A mail to `K0001` with this serial about these arrivals.
pub fn mail(epoch: u32, serial: u64, arrivals: Vec<DocumentId>, at: Timestamp) -> Mail {
    Mail {
        id: MailId { epoch, serial },
        message_id: format!("M{epoch}.{serial}@gateway.example.jp"),
        account: Some(account_id("K0001")),
        subject: Subject::Arrival(arrivals),
        card: card(serial * 16 + 15),
        sealed_at: at,
        state: MailState::Queued,
        attempts: 0,
        due_at: at,
        last_reply: None,
        more_accounts: Vec::new(),
        mailbox: None,
        report: None,
        insurer: None,
    }
}

/// An authority's name.
pub fn authority_id(id: &str) -> AuthorityId {
    AuthorityId::parse(id).unwrap()
}

/// An embedded authority that issues from this time on.
pub fn authority(id: &str, form: Form, at: Timestamp) -> Authority {
    Authority {
        id: authority_id(id),
        form,
        origin: Origin::Embedded,
        label: format!("CN=todoke {id}"),
        certificate: format!("sample of {id}"),
        sha256: Digest::of(id.as_bytes()),
        sha1: "0".repeat(40),
        ends_at: (form == Form::X509).then(|| at.plus_days(7300)),
        trusted_from: at,
        trusted_until: None,
        issuing_from: Some(at),
        insurer: None,
        account_by: AccountBy::CommonName,
    }
}

/// A certificate of this account's with this serial over this key, by `x509-1` and `ssh-1`, for three years from this time.
pub fn certificate(account: &str, serial: u64, fingerprint: &str, at: Timestamp) -> Certificate {
    Certificate {
        id: CertificateId { epoch: 1, serial },
        account: account_id(account),
        fingerprint: fingerprint.to_owned(),
        key: "ssh-ed25519 AAAA".to_owned(),
        x509: Some(X509Form {
            authority: authority_id("x509-1"),
            serial: format!("{serial:032x}"),
            der: "MIIB".to_owned(),
            sha256: digest(serial * 16 + 10),
        }),
        openssh: Some(OpensshForm {
            authority: authority_id("ssh-1"),
            serial,
            line: "ssh-ed25519-cert-v01@openssh.com AAAA".to_owned(),
        }),
        not_before: at,
        not_after: at.plus_days(3 * 365),
        issued_at: at,
        revoked: None,
        first_used_at: None,
        application: None,
        predecessor: None,
        bundle: None,
    }
}
