//! What can be asked about authorities and certificates.

use super::LedgerError;
use crate::model::authority::Authority;
use crate::model::certificate::Certificate;
use crate::model::ids::{AccountId, AuthorityId, CertificateId, Digest};
use crate::model::time::Timestamp;

/// Which certificates to list; newest first.
#[derive(Debug, Clone, Default)]
pub struct CertificateFilter {
    /// Of this account.
    pub account: Option<AccountId>,
    /// Before this one (for the next page).
    pub before: Option<CertificateId>,
}

/// The ledger's part about authorities and certificates.
pub trait CertificateLedger {
    /// One authority.
    fn authority(&self, id: &AuthorityId) -> Result<Option<Authority>, LedgerError>;
    /// All of them, by name.
    fn authorities(&self) -> Result<Vec<Authority>, LedgerError>;

    /// One certificate.
    fn certificate(&self, id: CertificateId) -> Result<Option<Certificate>, LedgerError>;
    /// Newest first, at most `limit`.
    fn certificates(&self, filter: &CertificateFilter, limit: usize)
    -> Result<Vec<Certificate>, LedgerError>;
    /// Those over this key (`SHA256:...`), oldest first: of one account, or of a test account and its production twin.
    fn certificates_of_key(&self, fingerprint: &str) -> Result<Vec<Certificate>, LedgerError>;
    /// The one to which this authority gave this serial: lower-case hexadecimal digits as in
    /// [`crate::model::certificate::X509Form::serial`]; of an OpenSSH authority, its sixteen digits.
    fn certificate_by_serial(
        &self,
        authority: &AuthorityId,
        serial: &str,
    ) -> Result<Option<Certificate>, LedgerError>;
    /// The one whose X.509 form has this digest.
    fn certificate_by_x509(&self, sha256: Digest) -> Result<Option<Certificate>, LedgerError>;
    /// Those not revoked that end at or after `from` and before `to`, the soonest first, at most `limit`. Costs what it
    /// returns.
    fn certificates_ending(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<Certificate>, LedgerError>;
    /// Those of this authority that are revoked and end after `after`: what its revocation list holds.
    fn certificates_revoked(
        &self,
        authority: &AuthorityId,
        after: Timestamp,
    ) -> Result<Vec<Certificate>, LedgerError>;
    /// When the last of this authority's certificates that are not revoked ends; none when it has none.
    fn last_end(&self, authority: &AuthorityId) -> Result<Option<Timestamp>, LedgerError>;
}
