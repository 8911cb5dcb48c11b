//! Mails about applications, to the address that each registered (K18).

use super::Enrolment;
use crate::model::application::{Application, ApplicationNotice};
use crate::model::card::ApplicationCard;
use crate::model::mail::Subject;
use crate::model::time::Timestamp;
use crate::rules::notice::{ApplicationMail, last_day};
use crate::rules::quotation::grouped;
use crate::store::cards;
use crate::work::notify::{Notifier, Recipient};

impl Enrolment {
    /// Seals the mail about this; the ledger lets each be sealed once.
    pub fn tell(
        &self,
        notifier: &Notifier,
        of: &Application,
        what: ApplicationNotice,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let card: ApplicationCard = cards::get(self.blobs.as_ref(), &of.card)?;
        let office = of.offices.first();
        let mail = ApplicationMail {
            what,
            to: notifier.addressed_to(&of.insurer, office, of.account.as_str())?,
            application: of.id.to_string(),
            account: of.account.to_string(),
            user_name: card.user_name,
            mail: card.mail.clone(),
            collect_on: of.collect_at.date_in(self.zone),
            fee: grouped(of.fee),
            last_day: last_day(of.use_before.unwrap_or(now), self.zone),
            reason: self.reason(of)?.unwrap_or_default(),
        };
        let to = Recipient { mail: card.mail, language: of.language, accounts: vec![of.account.clone()] };
        notifier.seal(&to, &mail, Subject::Application(of.id, what), now)?;
        Ok(())
    }
}
