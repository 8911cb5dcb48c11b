//! Accounts that change their own registration, and are told of their certificates' ends.

use super::{Decided, Draft, No, set_account};
use crate::model::account_history::ProfileField;
use crate::model::event::Event;
use crate::model::ids::CertificateId;
use crate::model::mail::Mail;
use crate::model::party::Account;
use crate::model::renewal::RenewalStage;
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

/// What was said, and the mail that says it, in the same commit.
pub(super) fn note_renewal<I: Index>(
    draft: &mut Draft<'_, I>,
    id: CertificateId,
    stage: RenewalStage,
    mail: Option<Box<Mail>>,
) -> Decided {
    if !draft.has(&tables::certificates::certificate(id))? {
        return Err(Refusal::Missing(format!("certificate {id}")).into());
    }
    let told: Option<RenewalStage> = draft.fetch(&tables::renewal_told(id))?;
    if told.is_some_and(|told| told.covers(stage)) {
        return Ok((Vec::new(), Done::Sealed(false)));
    }
    let mut events = vec![Event::RenewalNoted { id, stage, mailed: mail.is_some() }];
    if let Some(mail) = mail {
        events.push(sealed(draft, *mail)?);
    }
    Ok((events, Done::Sealed(true)))
}

/// A mail that goes with another event.
fn sealed<I: Index>(draft: &mut Draft<'_, I>, mail: Mail) -> Result<Event, No> {
    if draft.has(&tables::mail(mail.id))? {
        return Err(Refusal::Exists(format!("mail {}", mail.id)).into());
    }
    Ok(Event::MailSealed(Box::new(mail)))
}
