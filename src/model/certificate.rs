//! Certificates: that a key is an account's, from a day to a day (3 years: C). One record for each issue, over one key, in
//! X.509 form, in OpenSSH form, or both. Subjects hold the account's name and the insurer's number, never a person's name.

use serde::{Deserialize, Serialize};

use super::card::CardRef;
use super::ids::{AccountId, ApplicationId, AuthorityId, CertificateId, Digest};
use super::time::Timestamp;

/// The X.509 form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct X509Form {
    /// Who signed it.
    pub authority: AuthorityId,
    /// Serial number: lower-case hexadecimal digits of its bytes, without leading zeros bytes.
    pub serial: String,
    /// The certificate's DER in base64.
    pub der: String,
    /// Of the DER.
    pub sha256: Digest,
}

/// The OpenSSH form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpensshForm {
    /// Who signed it.
    pub authority: AuthorityId,
    /// Serial number.
    pub serial: u64,
    /// One line, as in `id_ed25519-cert.pub`, without comment.
    pub line: String,
}

/// Why a certificate holds no more (RFC 5280 section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// Not said.
    Unspecified,
    /// The key was lost, or others may have it. It is never certified again.
    KeyCompromise,
    /// The account belongs to somebody else now.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// It is needed no more.
    CessationOfOperation,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// As the command line and listings write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
        }
    }
}

/// That a certificate was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// One issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its number.
    pub id: CertificateId,
    /// Whose key it says it is.
    pub account: AccountId,
    /// `SHA256:...` of the key's SSH form, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The key as in `authorized_keys`, without comment.
    pub key: String,
    /// The X.509 form, if there is one.
    pub x509: Option<X509Form>,
    /// The OpenSSH form, if there is one.
    pub openssh: Option<OpensshForm>,
    /// It holds from then on.
    pub not_before: Timestamp,
    /// It holds until then.
    pub not_after: Timestamp,
    /// When it was issued (or registered).
    pub issued_at: Timestamp,
    /// That it holds no more.
    pub revoked: Option<Revocation>,
    /// When it was used first: a login or a signature (K27).
    pub first_used_at: Option<Timestamp>,
    /// The application it answers.
    pub application: Option<ApplicationId>,
    /// The certificate it follows (renewal, re-issue).
    pub predecessor: Option<CertificateId>,
    /// The password-protected files with its private key, while they can be downloaded: the key was made here.
    pub bundle: Option<CardRef>,
}

impl Certificate {
    /// How it stands now. A revocation that is known counts, whatever its time: events are never earlier than those before them,
    /// so that after a clock that ran ahead was set back it may bear a time to come.
    pub fn standing_at(&self, at: Timestamp) -> CertificateStanding {
        if self.revoked.is_some() {
            CertificateStanding::Revoked
        } else if at < self.not_before {
            CertificateStanding::Future
        } else if at >= self.not_after {
            CertificateStanding::Ended
        } else {
            CertificateStanding::Holds
        }
    }
}

/// How a certificate stands at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateStanding {
    /// It may be used.
    Holds,
    /// Not yet.
    Future,
    /// Its time is over.
    Ended,
    /// It was revoked.
    Revoked,
}
