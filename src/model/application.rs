//! Applications (利用申込, 証明書発行申請): how an account comes to be, and how it gets another certificate. The journal knows an
//! application without a name of anybody; what it registers lies in a card.

use serde::{Deserialize, Serialize};

use super::card::CardRef;
use super::certificate::RevocationReason;
use super::finding::{Language, Text};
use super::ids::{AccountId, ApplicationId, CertificateId, InsurerCode, OfficeCode, UseClass};
use super::party::{Actor, Role};
use super::time::Timestamp;

/// What is applied for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApplicationKind {
    /// An account and its first certificate.
    New,
    /// The next certificate of an account, before or after the present one's end (C).
    Renewal,
    /// A certificate in place of one whose key or password was lost (K40 H9).
    Reissue,
}

/// How the fee is paid (C H8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payment {
    /// Set off (相殺) against what the insurer pays: nothing is waited for.
    Setoff,
    /// Transferred (振込): issued when it has come in.
    Transfer,
}

/// What the certificate is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Material {
    /// An OpenSSH public key, `ssh-ed25519 AAAA...` without the comment; its private half never leaves the client.
    SshKey(String),
    /// A PKCS#10 request in PEM; its private key never leaves the client.
    Csr(String),
    /// The gateway makes the key and hands it out as a bundle under the certificate-issue password.
    P12,
}

impl Material {
    /// `ssh-key`, `csr`, `p12`: as the command line's options call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SshKey(_) => "ssh-key",
            Self::Csr(_) => "csr",
            Self::P12 => "p12",
        }
    }
}

/// What happened to the certificate that another one is issued in place of (K40 H9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// The key, or the machine that it lies on, was lost or stolen: others may have it. It is never certified again.
    Key,
    /// The certificate-issue password was lost, so that the bundle cannot be opened. The login password is another thing.
    Password,
    /// The machine broke, or the key was deleted: nobody has it any more.
    Destroyed,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Key, Self::Password, Self::Destroyed];

    /// As the command line and listings write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Password => "password",
            Self::Destroyed => "destroyed",
        }
    }

    /// What the lost certificate's revocation says.
    pub fn revocation(self) -> RevocationReason {
        match self {
            Self::Key => RevocationReason::KeyCompromise,
            Self::Password | Self::Destroyed => RevocationReason::Superseded,
        }
    }
}

/// When a lost certificate is revoked (`[renewal] lost_certificate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevokeLost {
    /// As soon as its loss is told.
    AtOnce,
    /// When the new one is first used, or its days to be used are over.
    FirstUse,
    /// Never: it holds until its end.
    Keep,
}

/// What a re-issue replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// The lost certificates.
    pub lost: Vec<CertificateId>,
    /// How they were lost.
    pub loss: Loss,
    /// When they are revoked.
    pub revoke: RevokeLost,
    /// They are, and nothing is left to do about them.
    pub done: bool,
}

impl Replacement {
    /// Whether the lost ones are to be revoked now, while the application is in this state.
    pub fn is_due(&self, state: ApplicationState) -> bool {
        !self.done
            && match self.revoke {
                RevokeLost::AtOnce => true,
                RevokeLost::FirstUse => {
                    matches!(state, ApplicationState::InUse | ApplicationState::Expired)
                }
                RevokeLost::Keep => false,
            }
    }
}

/// Where an application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplicationState {
    /// 申請済: taken; waits for the next cut-off (K3).
    Applied,
    /// 発行申請中: collected at a cut-off; waits for the insurer.
    Collected,
    /// 承認: may be issued.
    Approved,
    /// 却下: the insurer said no.
    Rejected,
    /// 入金待ち: approved; waits for the transfer.
    AwaitingPayment,
    /// 入金済み: may be issued.
    Paid,
    /// 発行済み: the certificate is there.
    Issued,
    /// ダウンロード済み: it was fetched, once or several times.
    Downloaded,
    /// 利用開始: the account logged in.
    InUse,
    /// 期限切れ: not used in time (K27); its certificate is revoked.
    Expired,
    /// 取下げ: taken back.
    Cancelled,
}

impl ApplicationState {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 11] = [
        Self::Applied,
        Self::Collected,
        Self::Approved,
        Self::Rejected,
        Self::AwaitingPayment,
        Self::Paid,
        Self::Issued,
        Self::Downloaded,
        Self::InUse,
        Self::Expired,
        Self::Cancelled,
    ];

    /// As listings in English and JSON write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Collected => "collected",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::AwaitingPayment => "awaiting-payment",
            Self::Paid => "paid",
            Self::Issued => "issued",
            Self::Downloaded => "downloaded",
            Self::InUse => "in-use",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// As clerks read it (状況, H11-H13).
    pub fn text(self) -> Text {
        let ja = match self {
            Self::Applied => "申請済",
            Self::Collected => "発行申請中",
            Self::Approved => "承認",
            Self::Rejected => "却下",
            Self::AwaitingPayment => "入金待ち",
            Self::Paid => "入金済み",
            Self::Issued => "発行済み",
            Self::Downloaded => "ダウンロード済み",
            Self::InUse => "利用開始",
            Self::Expired => "期限切れ",
            Self::Cancelled => "取下げ",
        };
        Text::new(ja, self.name())
    }

    /// It has not come to its end.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Rejected | Self::InUse | Self::Expired | Self::Cancelled)
    }

    /// Its certificate is there and was not used yet.
    pub fn is_issued(self) -> bool {
        matches!(self, Self::Issued | Self::Downloaded)
    }
}

/// A state and when it was entered, by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// The state.
    pub state: ApplicationState,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Actor,
}

/// What is told by mail, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApplicationNotice {
    /// It was taken, with the registered values (申込完了, K18).
    Taken,
    /// The insurer said no.
    Rejected,
    /// Payment is waited for.
    Payment,
    /// 証明書発行完了通知.
    Issued,
    /// It is not used yet and its last day is near.
    Reminder,
    /// It was not used in time.
    Expired,
    /// It was taken back.
    Cancelled,
}

/// The terms of use that were consented to (H5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Which version.
    pub terms: String,
    /// When.
    pub at: Timestamp,
}

/// An application, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Application {
    /// Its number.
    pub id: ApplicationId,
    /// What is applied for.
    pub kind: ApplicationKind,
    /// With which society.
    pub insurer: InsurerCode,
    /// The account to be, or whose certificate it is.
    pub account: AccountId,
    /// Office or agent.
    pub role: Role,
    /// Offices it will act for: its own first; for an agent, the one it is applied for through (K6 K11).
    pub offices: Vec<OfficeCode>,
    /// The office's application that an agent's belongs to (K6 K7); none for an office's own, or for an agent that is added
    /// later.
    pub group: Option<ApplicationId>,
    /// Class of use, which the fee depends on (E14).
    pub class: UseClass,
    /// A test identity (H3).
    pub test: bool,
    /// Used by a payroll system.
    pub machine: bool,
    /// Language of its mails.
    pub language: Language,
    /// What the certificate is made from.
    pub material: Material,
    /// Fee in yen, tax as the insurer's policy says.
    pub fee: u32,
    /// How the fee is paid.
    pub payment: Payment,
    /// The certificate that this one follows or replaces (renewal, reissue).
    pub predecessor: Option<CertificateId>,
    /// [`super::card::ApplicationCard`]
    pub card: CardRef,
    /// Where it is.
    pub state: ApplicationState,
    /// Every state with its date, in order (H11-H13).
    pub entered: Vec<Entered>,
    /// When it is collected: the first cut-off after it was made (K3).
    pub collect_at: Timestamp,
    /// Its account was made (kind new): suspended until the first set-up.
    pub admitted: bool,
    /// The certificate that was issued for it.
    pub certificate: Option<CertificateId>,
    /// Its certificate has a bundle: the private key made here, sealed under the certificate-issue password; gone after its
    /// time.
    pub bundle: bool,
    /// It can be fetched until its time, also after the first login (H16).
    pub keep: bool,
    /// It must be in use before this time (K27); set when it is issued.
    pub use_before: Option<Timestamp>,
    /// When reminders are due, soonest first; those that were sent are taken out.
    pub remind_at: Vec<Timestamp>,
    /// How often it was fetched.
    pub downloads: u32,
    /// The first set-up was done and agreed with what is registered (K18), and terms were consented to.
    pub consent: Option<Consent>,
    /// [`super::card::ReasonCard`] of a rejection or cancellation.
    pub reason: Option<CardRef>,
    /// What a re-issue replaces.
    #[serde(default)]
    pub replaces: Option<Replacement>,
    /// Who applied for it had the right to say yes as well: nobody else is asked.
    #[serde(default)]
    pub approved: bool,
    /// It goes to the insurer only after consent to the terms (a renewal, where the insurer asks).
    #[serde(default)]
    pub asks_consent: bool,
}

impl Application {
    /// When it entered this state, the last time.
    pub fn entered_at(&self, state: ApplicationState) -> Option<Timestamp> {
        self.entered.iter().rev().find(|entered| entered.state == state).map(|entered| entered.at)
    }

    /// The account itself asked for it, logged in.
    pub fn is_self_made(&self) -> bool {
        matches!(self.entered.first(), Some(Entered { by: Actor::Account(_), .. }))
    }

    /// It waits for its applicant's consent to the terms.
    pub fn waits_for_consent(&self) -> bool {
        self.asks_consent && self.consent.is_none() && self.state == ApplicationState::Applied
    }

    /// Since when it is where it is.
    pub fn since(&self) -> Option<Timestamp> {
        self.entered.last().map(|entered| entered.at)
    }
}

/// One step of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ApplicationStep {
    /// Collected at a cut-off and reported to the insurer.
    Collected,
    /// The insurer said yes.
    Approved {
        /// A transfer is waited for.
        pay: bool,
    },
    /// The insurer said no.
    Rejected {
        /// [`super::card::ReasonCard`]
        reason: Option<CardRef>,
    },
    /// The transfer came in.
    Paid,
    /// Its account was made (in the same commit), suspended until the first set-up.
    Admitted,
    /// Its certificate was issued.
    Issued {
        /// The certificate.
        certificate: CertificateId,
        /// It has a bundle with its private key.
        bundle: bool,
        /// It must be in use before this time.
        use_before: Timestamp,
        /// When reminders are due.
        remind_at: Vec<Timestamp>,
        /// It can be fetched until `use_before`, also after the first login (H16; else it goes then, K27).
        keep: bool,
    },
    /// It was handed out or fetched.
    Downloaded,
    /// The first set-up agreed with what is registered; the account may log in (in the same commit).
    SetUp {
        /// Version of the terms that were consented to.
        terms: String,
    },
    /// The applicant for a renewal consented to the terms, and chose (C).
    Consented {
        /// Version of the terms.
        terms: String,
        /// Class of use.
        class: UseClass,
        /// Its fee in yen.
        fee: u32,
        /// How it is paid.
        payment: Payment,
        /// The first cut-off from now on.
        collect_at: Timestamp,
    },
    /// The certificates that it replaces are revoked.
    Replaced,
    /// Its account logged in.
    Used,
    /// A reminder is due.
    Reminded,
    /// Not used in time.
    Expired,
    /// Taken back.
    Cancelled {
        /// [`super::card::ReasonCard`]
        reason: Option<CardRef>,
    },
    /// The bundle is gone.
    BundleGone,
    /// Its cards are gone from disk, durably.
    CardGone,
}
