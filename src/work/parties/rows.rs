//! Parties as listings show them: records and their cards.

use serde::{Deserialize, Serialize};

use super::{Parties, PartyError};
use crate::model::card::{AccountCard, InsurerCard, OfficeCard};
use crate::model::finding::Language;
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};
use crate::model::party::{Account, Delegation, Insurer, Office, Role, Standing};
use crate::store::cards;

/// An insurer, as `insurer list --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsurerRow {
    /// Its number.
    pub insurer: InsurerCode,
    /// Its name.
    pub name: String,
    /// Where it is told of trouble.
    pub mail: Option<String>,
    /// Whether it takes part.
    pub standing: Standing,
}

/// An office, as `office list --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficeRow {
    /// The society it is enrolled with.
    pub insurer: InsurerCode,
    /// Its number there.
    pub office: OfficeCode,
    /// Its name.
    pub name: String,
    /// Whether it takes part.
    pub standing: Standing,
}

/// An account, as `account list --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// Its name.
    pub account: AccountId,
    /// The society it belongs to.
    pub insurer: InsurerCode,
    /// What it is for.
    pub role: Role,
    /// Offices it acts for without a period, its own first.
    pub offices: Vec<OfficeCode>,
    /// Offices it acts for from a day to a day, past and future ones too.
    #[serde(default)]
    pub delegations: Vec<Delegation>,
    /// User name; empty for an insurer's account without one.
    pub user_name: String,
    /// Its mail address; empty for an insurer's account without one.
    pub mail: String,
    /// Language of its messages.
    pub language: Language,
    /// A test identity.
    pub test: bool,
    /// Used by a payroll system.
    pub machine: bool,
    /// Whether it may log in.
    pub standing: Standing,
    /// Fingerprints of its keys.
    pub ssh_keys: Vec<String>,
}

impl Parties {
    /// An insurer with its card.
    pub fn insurer_row(&self, insurer: Insurer) -> Result<InsurerRow, PartyError> {
        let card: InsurerCard = cards::get(self.blobs.as_ref(), &insurer.card)?;
        Ok(InsurerRow { insurer: insurer.code, name: card.name, mail: card.mail, standing: insurer.standing })
    }

    /// An office with its card.
    pub fn office_row(&self, office: Office) -> Result<OfficeRow, PartyError> {
        let card: OfficeCard = cards::get(self.blobs.as_ref(), &office.card)?;
        Ok(OfficeRow {
            insurer: office.insurer,
            office: office.code,
            name: card.name,
            standing: office.standing,
        })
    }

    /// An account with its card.
    pub fn account_row(&self, account: Account) -> Result<AccountRow, PartyError> {
        let card: AccountCard = cards::get(self.blobs.as_ref(), &account.card)?;
        Ok(AccountRow {
            account: account.id,
            insurer: account.insurer,
            role: account.role,
            offices: account.offices,
            delegations: account.delegations,
            user_name: card.user_name,
            mail: card.mail,
            language: account.language,
            test: account.test,
            machine: account.machine,
            standing: account.standing,
            ssh_keys: account.keys.into_iter().map(|key| key.fingerprint).collect(),
        })
    }
}
