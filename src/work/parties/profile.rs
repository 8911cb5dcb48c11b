//! Accounts that change their own registration (K36 H24).

use super::{Parties, PartyError};
use crate::model::account_history::ProfileField;
use crate::model::card::AccountCard;
use crate::model::ids::AccountId;
use crate::model::mail::Mail;
use crate::model::party::{Account, Actor};
use crate::model::time::Timestamp;
use crate::rules::profile::ProfileChange;
use crate::store::cards;
use crate::store::ledger::Op;

/// An account and its card, before or after a change.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The record.
    pub account: Account,
    /// Its names.
    pub card: AccountCard,
}

impl Parties {
    /// Changes what `decide` says of the present registration; the mails that `confirm` writes about it (before, after, what
    /// changed) are sealed in the same commit, so that no change goes unsaid. Gives what changed.
    pub fn change_profile<E: From<PartyError>>(
        &self,
        id: &AccountId,
        decide: impl FnOnce(&Registration) -> Result<ProfileChange, E>,
        confirm: impl FnOnce(&Registration, &Registration, &[ProfileField]) -> Result<Vec<Mail>, E>,
        now: Timestamp,
    ) -> Result<Vec<ProfileField>, E> {
        let _alone = self.alone();
        let account = self.account(id)?;
        let card = cards::get(self.blobs.as_ref(), &account.card).map_err(PartyError::from)?;
        let before = Registration { account, card };
        let change = decide(&before)?;
        let fields = change.fields();
        if fields.is_empty() {
            return Ok(fields);
        }
        let mut after = before.clone();
        after.card.user_name = change.user_name.unwrap_or(after.card.user_name);
        after.card.mail = change.mail.unwrap_or(after.card.mail);
        after.account.language = change.language.unwrap_or(after.account.language);
        let card_differs = after.card != before.card;
        let mut written = Vec::new();
        if card_differs {
            after.card.salt = cards::salt().map_err(PartyError::from)?;
            after.account.card =
                cards::put(self.blobs.as_ref(), &after.card, now).map_err(PartyError::from)?;
            written.push(after.account.card.blob.clone());
            self.blobs.sync(&written).map_err(PartyError::from)?;
        }
        let mails = confirm(&before, &after, &fields)?;
        written.extend(mails.iter().map(|mail| mail.card.blob.clone()));
        let op = Op::ChangeProfile { account: Box::new(after.account), fields: fields.clone(), mails };
        if let Err(error) = self.ledger.commit(op, Actor::Account(id.clone()), now) {
            // Unless the journal is in doubt the event is not there, so nothing names what was written.
            if error.is_not_recorded() {
                self.blobs.remove(&written).map_err(PartyError::from)?;
            }
            return Err(PartyError::from(error).into());
        }
        if card_differs {
            self.blobs.remove(&[before.account.card.blob]).map_err(PartyError::from)?;
        }
        Ok(fields)
    }
}
