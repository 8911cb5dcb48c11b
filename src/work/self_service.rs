//! The files of `/account`: what an account sees of itself, and what it changes by itself (K36 H24).
//!
//! A changed profile takes effect at once: card, synced; then one commit with `profile_changed` and the sealed
//! confirmations to the address now registered and, if that is another, to the one before. A crash before the commit
//! leaves cards that the sweep takes; after it nothing is left to do but to send, which the queue of mails does.

use std::sync::Arc;

use chrono_tz::Tz;

use super::notify::{Notifier, Recipient};
use super::parties::profile::Registration;
use super::parties::{Parties, PartyError};
use super::ports::self_service::{PROFILE, SelfFault, SelfService};
use crate::model::account_history::ProfileField;
use crate::model::card::{AccountCard, InsurerCard, OfficeCard};
use crate::model::finding::Text;
use crate::model::ids::AccountId;
use crate::model::mail::{Mail, Subject};
use crate::model::party::Account;
use crate::model::time::Timestamp;
use crate::rules::notice::ProfileNotice;
use crate::rules::profile::{OFFICES_MAX, Profile};
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::ledger::{Ledger, LedgerError};
use crate::store::receipts::Made;

/// Makes and takes the files of `/account`.
pub struct AccountFiles {
    /// Accounts.
    pub ledger: Arc<dyn Ledger>,
    /// Their cards.
    pub blobs: Arc<dyn Blobs>,
    /// Who sets parties.
    pub parties: Arc<Parties>,
    /// Writes confirmations.
    pub notifier: Arc<Notifier>,
    /// Days are counted here.
    pub zone: Tz,
}

impl From<PartyError> for SelfFault {
    fn from(error: PartyError) -> Self {
        Self::Failed(format!("{:#}", anyhow::Error::from(error)))
    }
}
impl From<LedgerError> for SelfFault {
    fn from(error: LedgerError) -> Self {
        Self::Failed(error.to_string())
    }
}
impl From<std::io::Error> for SelfFault {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("a card: {error}"))
    }
}
impl From<anyhow::Error> for SelfFault {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

impl AccountFiles {
    fn account(&self, id: &AccountId) -> Result<Account, SelfFault> {
        self.ledger
            .account(id)?
            .ok_or_else(|| SelfFault::Failed(format!("account {id} is not in the ledger any more")))
    }

    fn profile(&self, account: &Account, card: &AccountCard) -> Result<Profile, SelfFault> {
        let blobs = self.blobs.as_ref();
        let insurer = match self.ledger.insurer(&account.insurer)? {
            Some(insurer) => cards::get::<InsurerCard>(blobs, &insurer.card)?.name,
            None => account.insurer.to_string(),
        };
        let mut offices = Vec::new();
        for code in account.offices.iter().take(OFFICES_MAX) {
            let name = match self.ledger.office(&account.insurer, code)? {
                Some(office) => cards::get::<OfficeCard>(blobs, &office.card)?.name,
                None => code.to_string(),
            };
            offices.push((code.clone(), name));
        }
        Ok(Profile {
            account: account.id.clone(),
            insurer: (account.insurer.clone(), insurer),
            role: account.role,
            test: account.test,
            machine: account.machine,
            user_name: card.user_name.clone(),
            mail: card.mail.clone(),
            language: account.language,
            offices,
            more_offices: account.offices.len().saturating_sub(OFFICES_MAX),
            keys: account.keys.iter().map(|key| key.fingerprint.clone()).collect(),
            remarks: Vec::new(),
        })
    }

    fn profile_file(&self, account: &Account) -> Result<Made, SelfFault> {
        let card: AccountCard = cards::get(self.blobs.as_ref(), &account.card)?;
        let bytes = self.profile(account, &card)?.to_toml().into_bytes();
        Ok(Made { bytes, at: self.ledger.head().at })
    }

    fn put_profile(&self, id: &AccountId, bytes: &[u8], now: Timestamp) -> Result<(), SelfFault> {
        let fields = self.parties.change_profile(
            id,
            |before| {
                let profile = self.profile(&before.account, &before.card)?;
                profile
                    .change(bytes)
                    .map_err(|fault| SelfFault::Refused { code: fault.code, text: fault.text })
            },
            |before, after, fields| self.confirmations(before, after, fields, now),
            now,
        )?;
        if !fields.is_empty() {
            let fields: Vec<_> = fields.into_iter().map(ProfileField::key).collect();
            tracing::info!(account = %id, ?fields, "an account changed its registration");
        }
        Ok(())
    }

    /// To the address now registered, and to the one before if that is another. An account without an address (an insurer's
    /// may have none) is told nothing there.
    fn confirmations(
        &self,
        before: &Registration,
        after: &Registration,
        fields: &[ProfileField],
        now: Timestamp,
    ) -> Result<Vec<Mail>, SelfFault> {
        let mut notice = ProfileNotice {
            to: self.notifier.addressed(&after.account, None)?,
            account: after.account.id.to_string(),
            fields: fields.to_vec(),
            changed_on: now.date_in(self.zone),
            former: false,
        };
        let mut mails = Vec::new();
        for (of, former) in [(after, false), (before, true)] {
            if of.card.mail.is_empty() || (former && before.card.mail == after.card.mail) {
                continue;
            }
            let to = Recipient {
                mail: of.card.mail.clone(),
                language: of.account.language,
                accounts: vec![of.account.id.clone()],
            };
            notice.former = former;
            let subject = Subject::Notice { kind: "profile".to_owned(), about: String::new() };
            mails.push(self.notifier.write(&to, &notice, subject, now)?);
        }
        Ok(mails)
    }
}

impl SelfService for AccountFiles {
    fn files(&self, account: &AccountId, _now: Timestamp) -> Result<Vec<(String, Made)>, SelfFault> {
        let account = self.account(account)?;
        Ok(vec![(PROFILE.to_owned(), self.profile_file(&account)?)])
    }

    fn file(&self, account: &AccountId, path: &str, _now: Timestamp) -> Result<Option<Made>, SelfFault> {
        match path {
            PROFILE => self.profile_file(&self.account(account)?).map(Some),
            _ => Ok(None),
        }
    }

    fn put(&self, account: &AccountId, name: &str, bytes: &[u8], now: Timestamp) -> Result<(), SelfFault> {
        match name {
            PROFILE => self.put_profile(account, bytes, now),
            _ => Err(SelfFault::Refused {
                code: "ACCOUNT-NAME",
                text: Text::new(
                    "この名前のファイルは受け付けていません。",
                    "No file of this name is taken here.",
                ),
            }),
        }
    }
}
