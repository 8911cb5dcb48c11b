//! What an account sees and does about itself: the files of `/account`.

use crate::model::finding::Text;
use crate::model::ids::AccountId;
use crate::model::time::Timestamp;
use crate::store::receipts::Made;

/// The account's registration: read, and put back changed.
pub const PROFILE: &str = "profile.toml";
/// Its certificates and applications.
pub const CERTIFICATES: &str = "certificates.csv";

/// A certificate request (PKCS #10) for a new key: opens a renewal.
pub const RENEW_CSR: &str = "renew.csr";
/// A new SSH public key: opens a renewal.
pub const RENEW_PUB: &str = "renew.pub";

/// Consent to the terms, class and payment of a renewal, where the insurer asks for them.
pub const RENEW_TOML: &str = "renew.toml";
/// The terms that are consented to.
pub const TERMS: &str = "terms.txt";

/// What may be put into `/account`.
pub const PUT_NAMES: &[&str] = &[PROFILE, RENEW_CSR, RENEW_PUB, RENEW_TOML];

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum SelfFault {
    /// The account's people must do something else.
    #[error("{code} {}", text.en)]
    Refused {
        /// Leads the text.
        code: &'static str,
        /// What is wrong and what to do.
        text: Text,
    },
    /// The gateway failed; the chain, for the log.
    #[error("{0}")]
    Failed(String),
}

/// The files of `/account`. All calls block.
pub trait SelfService: Send + Sync {
    /// All files, by their paths beneath `/account` (`profile.toml`); few and small.
    fn files(&self, account: &AccountId, now: Timestamp) -> Result<Vec<(String, Made)>, SelfFault>;
    /// One of them; none if there is none of that path.
    fn file(&self, account: &AccountId, path: &str, now: Timestamp) -> Result<Option<Made>, SelfFault>;
    /// A session of this account opened one of them to read it.
    fn opened(&self, _account: &AccountId, _path: &str, _now: Timestamp) {}
    /// Takes a file that a session of this account put there whole; `name` is one of [`PUT_NAMES`]. Durable when it returns,
    /// and harmless when it comes again. `proven` is the key (`SHA256:...`) that the session logged in with.
    fn put(
        &self,
        account: &AccountId,
        name: &str,
        bytes: &[u8],
        proven: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SelfFault>;
}
