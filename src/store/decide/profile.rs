//! Accounts that change their own registration.

use super::{Decided, Draft, No, set_account};
use crate::model::account_history::ProfileField;
use crate::model::event::Event;
use crate::model::mail::Mail;
use crate::model::party::Account;
use crate::store::index::Index;
use crate::store::ledger::{Done, Refusal};
use crate::store::tables;

/// The change, and its confirmations in the same commit.
pub(super) fn change<I: Index>(
    draft: &mut Draft<'_, I>,
    account: Box<Account>,
    fields: Vec<ProfileField>,
    mails: Vec<Mail>,
) -> Decided {
    set_account(draft, (*account).clone(), false)?;
    let mut events = vec![Event::ProfileChanged { account, fields }];
    for mail in mails {
        events.push(sealed(draft, mail)?);
    }
    Ok((events, Done::Ok))
}

/// A mail that goes with another event.
pub(super) fn sealed<I: Index>(draft: &mut Draft<'_, I>, mail: Mail) -> Result<Event, No> {
    if draft.has(&tables::mail(mail.id))? {
        return Err(Refusal::Exists(format!("mail {}", mail.id)).into());
    }
    Ok(Event::MailSealed(Box::new(mail)))
}
