//! Insurers, offices and accounts: adding, changing, suspending, closing. One change at a time; a card is durable before
//! the event that names it, and an old card goes after.

pub mod csv;
pub mod delegations;
pub mod import;
pub mod keys;
pub(in crate::work) mod plan;
pub mod profile;
pub mod rows;
mod standing;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::card::CardRef;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, BlobId, InsurerCode, OfficeCode};
use crate::model::party::{Account, Actor, Insurer, Office, Role};
use crate::model::time::Timestamp;
use crate::rules::policy::SecondAccount;
use crate::store::blobs::Blobs;
use crate::store::ledger::{Ledger, LedgerError, Op};
use crate::store::{cards, spool};

pub use plan::Mode;
pub use standing::PartyName;

use plan::{Card, Plan, View};

/// Why a party was not set.
#[derive(Debug, thiserror::Error)]
pub enum PartyError {
    /// The operator must do something else.
    #[error("{code} {text}")]
    Refused {
        /// Leads the text; stable, ASCII.
        code: &'static str,
        /// What is wrong and what to do.
        text: String,
    },
    /// The ledger did not do it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Blobs or the insurer's folders could not be written.
    #[error("files could not be read or written: {0}")]
    Io(#[from] io::Error),
}

impl PartyError {
    pub(in crate::work) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self::Refused { code, text: text.into() }
    }
}

/// What is said of an insurer; absent means: as it is (or none, when it is new).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InsurerForm {
    /// Its number.
    pub code: InsurerCode,
    /// Its name.
    pub name: Option<String>,
    /// Where it wants to be told of trouble; empty takes it away.
    pub mail: Option<String>,
    /// Unix group of its importer, by number.
    pub group: Option<u32>,
}

/// What is said of an office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfficeForm {
    /// The society it is enrolled with.
    pub insurer: InsurerCode,
    /// Its number there.
    pub code: OfficeCode,
    /// Its name.
    pub name: Option<String>,
}

/// What is said of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountForm {
    /// Its name.
    pub id: AccountId,
    /// The society it belongs to; cannot change.
    pub insurer: Option<InsurerCode>,
    /// What it is for; cannot change.
    pub role: Option<Role>,
    /// Offices it acts for, its own first; replaces all.
    pub offices: Option<Vec<OfficeCode>>,
    /// User name.
    pub user_name: Option<String>,
    /// Its one mail address.
    pub mail: Option<String>,
    /// Language of messages and mails.
    pub language: Option<Language>,
    /// A test identity; cannot change.
    pub test: Option<bool>,
    /// Used by a payroll system.
    pub machine: Option<bool>,
    /// Public keys (OpenSSH lines): all of a new account's, or further ones of an existing one.
    pub keys: Vec<String>,
    /// The operator knows that the office has an account already.
    #[serde(default)]
    pub second: bool,
}

impl AccountForm {
    /// Nothing is said yet.
    pub fn of(id: AccountId) -> Self {
        Self {
            id,
            insurer: None,
            role: None,
            offices: None,
            user_name: None,
            mail: None,
            language: None,
            test: None,
            machine: None,
            keys: Vec::new(),
            second: false,
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Added,
    /// It differs now.
    Changed,
    /// It was so already.
    Unchanged,
}

/// What became of it, and what the operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What became of it.
    pub change: Change,
    /// Fields that changed, by the names of their options; never their values, which may name a person.
    pub fields: Vec<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Policy that accounts are set under.
#[derive(Clone, Copy)]
pub struct AccountRules<'a> {
    /// An insurer's policy on second accounts of an office (K4), asked where it matters.
    pub second: &'a (dyn Fn(&InsurerCode) -> SecondAccount + Sync),
    /// Language of a new account that chooses none.
    pub language: Language,
}

/// The one place that sets parties.
pub struct Parties {
    ledger: Arc<dyn Ledger>,
    blobs: Arc<dyn Blobs>,
    /// The data root: insurers' folders are made beneath it.
    root: PathBuf,
    /// Reading a record and writing it back is one step, also beside whoever else changes accounts.
    one: Arc<Mutex<()>>,
}

impl Parties {
    /// Over this ledger and these blobs; `root` is the data root.
    pub fn new(ledger: Arc<dyn Ledger>, blobs: Arc<dyn Blobs>, root: PathBuf) -> Self {
        Self { ledger, blobs, root, one: Arc::default() }
    }

    /// What whoever else changes accounts holds meanwhile.
    pub fn one(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.one)
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> View<'_> {
        View::new(self.ledger.as_ref(), self.blobs.as_ref())
    }

    /// Adds or changes an insurer, and makes its folders.
    pub fn set_insurer(
        &self,
        form: &InsurerForm,
        mode: Mode,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Told, PartyError> {
        let _alone = self.alone();
        let plan = plan::insurer(form, mode, &mut self.view())?;
        self.apply(plan, by, now)
    }

    /// Adds or changes an office.
    pub fn set_office(
        &self,
        form: &OfficeForm,
        mode: Mode,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Told, PartyError> {
        let _alone = self.alone();
        let plan = plan::office(form, mode, &mut self.view())?;
        self.apply(plan, by, now)
    }

    /// Adds or changes an account.
    pub fn set_account(
        &self,
        form: &AccountForm,
        mode: Mode,
        rules: AccountRules<'_>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Told, PartyError> {
        let _alone = self.alone();
        let plan = plan::account(form, mode, rules, &mut self.view())?;
        self.apply(plan, by, now)
    }

    /// Takes a key away from an account.
    pub fn remove_key(
        &self,
        id: &AccountId,
        fingerprint: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Told, PartyError> {
        let _alone = self.alone();
        let mut account = self.account(id)?;
        let before = account.keys.len();
        account.keys.retain(|key| key.fingerprint != fingerprint);
        if account.keys.len() == before {
            let text = format!("account {id} has no key {fingerprint}; `account show {id}` lists its keys");
            return Err(PartyError::new("KEY-UNKNOWN", text));
        }
        let mut notes =
            vec!["What was signed with it stays valid; from now on it neither logs in nor signs.".to_owned()];
        if account.keys.is_empty() {
            notes.push(format!("{id} has no key left and cannot log in until `account key add`."));
        }
        self.ledger.commit(Op::SetAccount { account, new: false }, by.clone(), now)?;
        Ok(Told { change: Change::Changed, fields: vec!["ssh-key".to_owned()], notes })
    }

    fn account(&self, id: &AccountId) -> Result<Account, PartyError> {
        self.ledger.account(id)?.ok_or_else(|| {
            PartyError::new(
                "ACCOUNT-UNKNOWN",
                format!("account {id} does not exist; `account list` shows all"),
            )
        })
    }

    /// One change, made durable.
    fn apply(&self, mut plan: Plan, by: &Actor, now: Timestamp) -> Result<Told, PartyError> {
        let card = self.put_card(&mut plan, now)?;
        if let Some(blob) = &card {
            self.blobs.sync(std::slice::from_ref(blob))?;
        }
        self.finish(plan, card, by, now)
    }

    /// Writes the plan's new card, not durable yet, and names it in the record.
    fn put_card(&self, plan: &mut Plan, now: Timestamp) -> Result<Option<BlobId>, PartyError> {
        let blobs = self.blobs.as_ref();
        let card: CardRef = match &plan.card {
            None => return Ok(None),
            Some(Card::Insurer(card)) => cards::put(blobs, card, now)?,
            Some(Card::Office(card)) => cards::put(blobs, card, now)?,
            Some(Card::Account(card)) => cards::put(blobs, card, now)?,
        };
        let blob = card.blob.clone();
        if let Some(
            Op::SetInsurer { insurer: Insurer { card: at, .. }, .. }
            | Op::SetOffice { office: Office { card: at, .. }, .. }
            | Op::SetAccount { account: Account { card: at, .. }, .. },
        ) = &mut plan.op
        {
            *at = card;
        }
        Ok(Some(blob))
    }

    /// Commits a plan whose card is durable; the card that is not named any more goes.
    fn finish(
        &self,
        plan: Plan,
        card: Option<BlobId>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Told, PartyError> {
        if let Some((code, group)) = &plan.folders {
            spool::prepare_insurer(&self.root, code, *group)?;
        }
        if let Some(op) = plan.op
            && let Err(error) = self.ledger.commit(op, by.clone(), now)
        {
            // Unless the journal is in doubt the event is not there, so nothing names the new card.
            if let Some(card) = card.filter(|_| error.is_not_recorded()) {
                self.blobs.remove(&[card])?;
            }
            return Err(error.into());
        }
        if let (Some(_), Some(old)) = (card, plan.old_card) {
            self.blobs.remove(&[old])?;
        }
        Ok(plan.told)
    }
}

#[cfg(test)]
mod delegations_tests;
#[cfg(test)]
mod tests;
