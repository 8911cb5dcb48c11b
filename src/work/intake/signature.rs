//! Who signed a set: by a registered key, by an OpenSSH certificate, by a CMS signature. Where both signatures are there, both
//! must count for the account that is logged in.

use russh::keys::ssh_key::PublicKey;

use super::{Failed, Intake, said};
use crate::model::card::SignatureEvidence;
use crate::model::ids::CertificateId;
use crate::model::party::{Account, Actor};
use crate::model::time::Timestamp;
use crate::signed::certificate::CertificateError;
use crate::signed::receipt::{ReceiptCertificate, ReceiptSigner};
use crate::signed::sshcert::Use;
use crate::signed::sshsig::{self, SUBMISSION_NAMESPACE};
use crate::store::dropbox::ClaimedSet;
use crate::store::handover::Said;
use crate::store::ledger::{Head, Op};
use crate::store::verification::{AsOf, Certified, NotVerified, form_word};

/// One signature that counts.
struct One {
    key: PublicKey,
    algorithm: String,
    certified: Option<Certified>,
}

/// The signatures of a set: one or two, all of the account.
pub(super) struct Signed {
    first: One,
    second: Option<One>,
}

impl Signed {
    fn all(&self) -> impl Iterator<Item = &One> {
        std::iter::once(&self.first).chain(&self.second)
    }

    fn certified(&self) -> impl Iterator<Item = &Certified> {
        self.all().filter_map(|one| one.certified.as_ref())
    }

    /// The key that signed; of two, the one of `SHA256SUMS.sig`.
    pub(super) fn key(&self) -> &PublicKey {
        &self.first.key
    }

    /// For the receipt.
    pub(super) fn receipt_signer(&self) -> ReceiptSigner {
        self.first.receipt_signer()
    }

    /// For the receipt, if there are two.
    pub(super) fn second_signer(&self) -> Option<ReceiptSigner> {
        self.second.as_ref().map(One::receipt_signer)
    }

    /// For the stage's verdict: kind and number of each certificate; empty for a registered key.
    pub(super) fn detail(&self) -> String {
        self.certified().map(Certified::word).collect::<Vec<_>>().join(", ")
    }

    /// What the certificates were judged by.
    pub(super) fn evidence(&self, head: &Head, at: Timestamp) -> Vec<SignatureEvidence> {
        self.certified().map(|certified| certified.evidence(head.seq, head.hash, at)).collect()
    }

    /// Certificates that were not used before.
    fn first_uses(&self) -> impl Iterator<Item = CertificateId> {
        let records = self.certified().filter_map(|certified| certified.record.as_ref());
        records.filter(|record| record.first_used_at.is_none()).map(|record| record.id)
    }
}

impl One {
    fn receipt_signer(&self) -> ReceiptSigner {
        ReceiptSigner {
            algorithm: self.algorithm.clone(),
            fingerprint: self.key.fingerprint(russh::keys::ssh_key::HashAlg::Sha256).to_string(),
            certificate: self.certified.as_ref().map(|certified| ReceiptCertificate {
                form: form_word(certified.authority.form).to_owned(),
                id: certified.id(),
                authority: certified.authority.id.clone(),
                serial: certified.serial.clone(),
                sha256: certified.sha256,
                not_after: certified.not_after,
            }),
        }
    }
}

impl Intake {
    /// Checks the signatures of a set for the account that is logged in. Certificates are judged as of this time.
    pub(super) fn verify(&self, set: &ClaimedSet, account: &Account, as_of: AsOf) -> Result<Signed, Failed> {
        let sshsig =
            set.sshsig.as_deref().map(|bytes| self.sshsig(set, bytes, account, as_of)).transpose()?;
        let cms = set.cms.as_deref().map(|bytes| self.cms(set, bytes, account, as_of)).transpose()?;
        match (sshsig, cms) {
            (Some(first), second) => Ok(Signed { first, second }),
            (None, Some(first)) => Ok(Signed { first, second: None }),
            (None, None) => Err(Failed::Fault(anyhow::anyhow!("a set without a signature was claimed"))),
        }
    }

    fn sshsig(&self, set: &ClaimedSet, bytes: &[u8], account: &Account, as_of: AsOf) -> Result<One, Failed> {
        let signer = sshsig::verify(bytes, SUBMISSION_NAMESPACE, &set.manifest_bytes)
            .map_err(|e| Failed::Stays(Said { code: e.code().into(), text: e.text() }))?;
        let fingerprint = signer.fingerprint();
        let mut one = One { key: signer.key, algorithm: signer.algorithm, certified: None };
        if let Some(certificate) = signer.certificate {
            let judged = self.verification.openssh(account, &certificate, Use::Signature, as_of);
            one.certified = Some(judged.map_err(|why| self.not_verified(why, as_of.at()))?);
            return Ok(one);
        }
        if account.keys.iter().any(|key| key.fingerprint == fingerprint) {
            if let since @ Some(_) = self.verification.lost(&fingerprint, as_of)? {
                return Err(self.not_verified(CertificateError::Revoked { since }.into(), as_of.at()));
            }
            return Ok(one);
        }
        if self.ledger.certificates_of_key(&fingerprint)?.iter().any(|of| of.account == account.id) {
            return Err(self.not_verified(CertificateError::NotPresented.into(), as_of.at()));
        }
        Err(Failed::Stays(said(
            "SIGNATURE-OTHER-KEY",
            format!(
                "署名した鍵({fingerprint})は、アカウント {} に登録されていません。登録した鍵で署名し直し、SHA256SUMS.sig を送り直してください。",
                account.id
            ),
            format!(
                "The key that signed ({fingerprint}) is not registered for account {}. Sign with a registered key and send SHA256SUMS.sig again.",
                account.id
            ),
        )))
    }

    fn cms(&self, set: &ClaimedSet, bytes: &[u8], account: &Account, as_of: AsOf) -> Result<One, Failed> {
        let found = self.verification.cms(account, bytes, &set.manifest_bytes, as_of);
        let found = found.map_err(|why| self.not_verified(why, as_of.at()))?;
        Ok(One {
            key: found.certified.key.clone(),
            algorithm: found.scheme.name().to_owned(),
            certified: Some(found.certified),
        })
    }

    fn not_verified(&self, why: NotVerified, now: Timestamp) -> Failed {
        if matches!(why, NotVerified::Certificate(CertificateError::RevocationUnknown)) {
            let text = "an authority's list of revoked certificates is out of date or unusable; see signatures.revocation_lists";
            self.alarms.raise("REVOCATION-LIST", text, now);
        }
        match (why.code(), why.text(self.assessor.zone), why) {
            (code, Some(text), _) => Failed::Stays(Said { code: code.into(), text }),
            (_, None, why) => Failed::Fault(why.into()),
        }
    }

    /// Records the first use of the certificates (K27). A failure costs nothing: the next use is the first then.
    pub(super) fn note_use(&self, signed: &Signed, account: &Account, now: Timestamp) {
        for id in signed.first_uses() {
            let used = self.ledger.commit(Op::UseCertificate(id), Actor::Account(account.id.clone()), now);
            if let Err(error) = used {
                tracing::warn!(certificate = %id, %error, "the first use of a certificate was not recorded");
            }
        }
    }
}
