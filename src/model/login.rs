//! Logins and their passwords, as the ledger knows them: when and by whom, never a password, its hash, or an address.

use serde::{Deserialize, Serialize};

use super::ids::{AccountId, CredentialHolder, Digest};
use super::party::Actor;
use super::time::Timestamp;

/// What a password is for (E9: they are different things).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// An account's login, as the second factor.
    Login,
    /// Applying for, fetching and installing certificates (証明書発行用パスワード).
    Issue,
    /// The login of an enrolment, before there is a key.
    Enrolment,
}

impl Purpose {
    /// As it stands in JSON and in folder names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Issue => "issue",
            Self::Enrolment => "enrolment",
        }
    }
}

/// One password's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Credential {
    /// What it is for.
    pub purpose: Purpose,
    /// Whose: an account, or an application.
    pub holder: CredentialHolder,
}

impl Credential {
    /// An account's.
    pub fn of(purpose: Purpose, account: &AccountId) -> Self {
        Self { purpose, holder: account.into() }
    }
}

/// How a password came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PasswordChange {
    /// A first, temporary one.
    Temporary,
    /// A temporary one in place of a forgotten one (E9).
    Reset,
    /// Chosen by its user.
    Chosen,
    /// Made by the gateway to be used as it is.
    Given,
}

impl PasswordChange {
    /// It must be changed at its first use.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Temporary | Self::Reset)
    }
}

/// A password that is in force. Its hash lies in `credentials/` under the same version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordState {
    /// Counts the credential's passwords from 1.
    pub version: u64,
    /// How it came to be.
    pub change: PasswordChange,
    /// When.
    pub set_at: Timestamp,
    /// By whom.
    pub by: Actor,
    /// It was noticed, and recorded, that its days are over.
    pub expired: bool,
}

/// What is known of an account's logins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LoginRecord {
    /// The first login ever.
    pub first_at: Option<Timestamp>,
    /// The last recorded one: the first of its day from its source.
    pub last_at: Option<Timestamp>,
    /// Keyed digests of the sources of that day.
    pub sources: Vec<Digest>,
    /// Passwords do not count before then (E10).
    pub locked_until: Option<Timestamp>,
}

/// Something about an account's login that its mailbox is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginNews {
    /// A password was set.
    Password(Purpose, PasswordChange),
    /// Passwords do not count before then.
    Locked(Timestamp),
}
