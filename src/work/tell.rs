//! Mails about what did not come.

use std::sync::PoisonError;

use super::expected::{Absence, Reminder, Teller};
use super::notify::Notifier;
use crate::model::card::InsurerCard;
use crate::model::mail::Subject;
use crate::model::time::Timestamp;
use crate::rules::notice::{AbsenceNotice, Addressed, Notice, ReminderNotice};
use crate::store::cards;

impl Teller for Notifier {
    fn remind(&self, reminder: &Reminder, now: Timestamp) -> anyhow::Result<()> {
        let Some(account) = self.ledger.account(&reminder.account)? else { return Ok(()) };
        let to = self.addressed(&account, Some(&reminder.office))?;
        let notice = ReminderNotice { to, what: reminder.what.clone(), day: reminder.day };
        self.seal(&self.mailbox_of(&account)?, &notice, subject(&notice, &reminder.about), now)?;
        Ok(())
    }

    fn absent(&self, absence: &Absence, now: Timestamp) -> anyhow::Result<()> {
        // Without an address the operator's alarm is all there is.
        let Some(mailbox) = self.mailbox_of_insurer(&absence.insurer)? else { return Ok(()) };
        let Some(insurer) = self.ledger.insurer(&absence.insurer)? else { return Ok(()) };
        let name = cards::get::<InsurerCard>(self.blobs.as_ref(), &insurer.card)?.name;
        let contact = self.policy.read().unwrap_or_else(PoisonError::into_inner).contact.clone();
        let to = Addressed { office_name: name.clone(), insurer_name: name, contact };
        let notice = AbsenceNotice { to, day: absence.day, items: absence.items.clone() };
        self.seal(&mailbox, &notice, subject(&notice, &absence.about), now)?;
        Ok(())
    }
}

fn subject(notice: &dyn Notice, about: &str) -> Subject {
    Subject::Notice { kind: notice.kind().name.to_owned(), about: about.to_owned() }
}
