//! Mails about applications, to the address that each registered (K18).

use super::Enrolment;
use crate::model::application::{Application, ApplicationKind, ApplicationNotice};
use crate::model::card::ApplicationCard;
use crate::model::mail::Subject;
use crate::model::time::Timestamp;
use crate::rules::notice::{Addressed, AgainMail, ApplicationMail, last_day};
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
        let addressed = notifier.addressed_to(&of.insurer, office, of.account.as_str())?;
        let to = Recipient {
            mail: card.mail.clone(),
            language: of.language,
            accounts: vec![of.account.clone()],
            insurer: None,
        };
        let again = matches!(
            what,
            ApplicationNotice::Taken
                | ApplicationNotice::Issued
                | ApplicationNotice::Reminder
                | ApplicationNotice::Expired
        );
        if of.kind != ApplicationKind::New && again {
            let mail = self.again_mail(of, what, addressed, now);
            notifier.seal(&to, &mail, Subject::Application(of.id, what), now)?;
            return Ok(());
        }
        let mail = ApplicationMail {
            what,
            to: addressed,
            application: of.id.to_string(),
            account: of.account.to_string(),
            user_name: card.user_name,
            mail: card.mail.clone(),
            collect_on: of.collect_at.date_in(self.zone),
            fee: grouped(of.fee),
            last_day: last_day(of.use_before.unwrap_or(now), self.zone),
            reason: self.reason(of)?.unwrap_or_default(),
        };
        notifier.seal(&to, &mail, Subject::Application(of.id, what), now)?;
        Ok(())
    }

    fn again_mail(
        &self,
        of: &Application,
        what: ApplicationNotice,
        to: Addressed,
        now: Timestamp,
    ) -> AgainMail {
        let before = match &of.replaces {
            Some(replaces) => replaces.lost.iter().map(ToString::to_string).collect(),
            None => of.predecessor.iter().map(ToString::to_string).collect(),
        };
        AgainMail {
            what,
            kind: of.kind,
            to,
            application: of.id.to_string(),
            account: of.account.to_string(),
            before,
            lost: of.replaces.as_ref().map(|replaces| (replaces.loss, replaces.revoke)),
            certificate: of.certificate.map(|id| id.to_string()),
            own: of.is_self_made(),
            consent: of.waits_for_consent(),
            fee: grouped(of.fee),
            last_day: last_day(of.use_before.unwrap_or(now), self.zone),
        }
    }
}
