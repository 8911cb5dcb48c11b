//! Insurers, offices and accounts, as the ledger knows them: without a name of anybody. Names and addresses lie in
//! cards ([`crate::model::card`]).

use serde::{Deserialize, Serialize};

use super::card::CardRef;
use super::finding::Language;
use super::ids::{AccountId, InsurerCode, OfficeCode};
use super::time::Day;

/// Whether a party may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// May act.
    Active,
    /// May not act for now; what lies in the outbox stays and can be fetched after `resume`.
    Suspended,
    /// Acts no more. What lies in the outbox stays until it expires, then the account is empty.
    Closed,
}

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An employer's (事業所) account.
    Office,
    /// A labour consultant's (社労士) account; acts for offices that asked for it (K6).
    Agent,
    /// An insurer's account: sees the insurer's spool.
    Insurer,
}

/// An insurer (健康保険組合).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Insurer {
    /// Its number.
    pub code: InsurerCode,
    /// Whether it takes part.
    pub standing: Standing,
    /// [`super::card::InsurerCard`]
    pub card: CardRef,
}

/// An office (事業所) enrolled with an insurer (K8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Office {
    /// The society it is enrolled with.
    pub insurer: InsurerCode,
    /// Its number there.
    pub code: OfficeCode,
    /// Whether it takes part.
    pub standing: Standing,
    /// [`super::card::OfficeCard`]
    pub card: CardRef,
}

/// A public key that may log in and sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountKey {
    /// `SHA256:...` as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// `ssh-ed25519 AAAA...`, without the comment, which may name a person.
    pub key: String,
}

/// That an account acts for an office for a while (K6 K12 E12 E13). Days are local days of the gateway's zone, both whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// For which office.
    pub office: OfficeCode,
    /// The first day; none where it was said without one.
    pub from: Option<Day>,
    /// The last day; none while no end is agreed.
    pub until: Option<Day>,
}

/// A login identity of an office, an agent or an insurer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name, unique in the gateway.
    pub id: AccountId,
    /// The society it belongs to; one account per society (several insurers: one account each).
    pub insurer: InsurerCode,
    /// What it is for.
    pub role: Role,
    /// Offices it may act for without a period, the first one an office account's own (K12 E13); none for an insurer's
    /// account. Whoever asks for whom it acts asks [`crate::rules::delegation`].
    pub offices: Vec<OfficeCode>,
    /// Offices it acts for from a day to a day, past and future ones too; periods of one office do not overlap.
    #[serde(default)]
    pub delegations: Vec<Delegation>,
    /// Language of messages and mails.
    pub language: Language,
    /// A test identity: everything works, nothing reaches a production spool (H3).
    pub test: bool,
    /// A payroll system rather than people: has its own limit of sessions (K14 as policy).
    pub machine: bool,
    /// Whether it may log in.
    pub standing: Standing,
    /// Keys that may log in and sign; one key belongs to one account, or to a test account and its production twin.
    pub keys: Vec<AccountKey>,
    /// [`super::card::AccountCard`]
    pub card: CardRef,
}

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// Somebody at the command line or control socket, by Unix user number (a name may be a person's).
    Operator(u32),
    /// A logged-in account.
    Account(AccountId),
    /// An insurer's Unix user or importer, seen by what it did in its spool.
    Importer(InsurerCode),
    /// The daemon by itself.
    Daemon,
}
