//! Mails whose account or insurer has another address by now: nothing is sent to the former one any more, which may be a stranger's.
//!
//! An arrival ends, and its documents are announced anew; any other notice ends and is sealed once more for the address of
//! now, in one commit. Found when a mail's turn comes, and every few minutes among those that failed or wait.

use std::collections::BTreeSet;

use super::Sender;
use crate::model::card::MailCard;
use crate::model::ids::MailId;
use crate::model::mail::{ADDRESS_CHANGED, ADDRESS_MARKED, Mail, MailState, Subject};
use crate::model::party::Actor;
use crate::model::time::{SECOND, Timestamp};
use crate::rules::smtp_code;
use crate::store::cards;
use crate::store::ledger::{MailFilter, Op};

/// Failed and deferred mails are looked at this often.
const LOOK: i64 = 300 * SECOND;
/// So many of either, the newest.
const LOOK_MAX: usize = 1_000;
/// Alarms stand in memory: after a start those are raised again whose mails were sealed within so many days.
const ALARM_DAYS: u32 = 30;

/// When the last look was, and the mails whose alarm stands.
#[derive(Debug, Default)]
pub(super) struct Looked {
    at: Option<Timestamp>,
    pub(super) given_up: BTreeSet<MailId>,
}

/// The alarm of one mail that was given up.
pub(in crate::work) fn given_up(id: MailId) -> String {
    format!("MAIL-GIVEN-UP {id}")
}

/// What it says: to whom, why (a reply or a status), and what to do.
pub(in crate::work) fn given_up_text(mail: &Mail, why: &str) -> String {
    let id = mail.id;
    let (whom, how) = match (&mail.account, &mail.subject) {
        (Some(account), _) => (
            format!("account {account}"),
            "correct the address (`todoke account change --mail`), and it is told there",
        ),
        (None, Subject::Application(of, _)) => {
            (format!("the applicant of {of}"), "call them (`todoke application show` names them)")
        }
        (None, _) => match &mail.insurer {
            Some(insurer) => (
                format!("the contact of insurer {insurer}"),
                "correct the address (`todoke insurer change --mail`), and it is told there",
            ),
            None => {
                ("the operator".to_owned(), "correct `mail.operator` in the configuration for the next ones")
            }
        },
    };
    format!(
        "mail {id} to {whom} was given up ({why}); {how}, or send it once more (`todoke mail retry {id}`)"
    )
}

impl Sender {
    /// Ends what would go to a former address, from time to time.
    pub(super) fn look_for_moved(&self, now: Timestamp) -> anyhow::Result<()> {
        if self.ledger.stopped().is_some() || self.ledger.head().unreconciled {
            return Ok(());
        }
        let first = {
            let looked = &mut self.state().looked;
            if looked.at.is_some_and(|at| now.since(at) < LOOK && at <= now) {
                return Ok(());
            }
            looked.at.replace(now).is_none()
        };
        for state in [MailState::Failed, MailState::Queued] {
            let filter = MailFilter { state: Some(state), ..MailFilter::default() };
            for mail in self.ledger.mails(&filter, LOOK_MAX)? {
                // A first attempt looks for itself; one under way is the worker's.
                let untried = state == MailState::Queued && mail.attempts == 0;
                if untried || self.state().hand.contains(&mail.id) {
                    continue;
                }
                if first && state == MailState::Failed && mail.sealed_at.plus_days(ALARM_DAYS) > now {
                    self.cry(&mail, now);
                }
                if told_again(&mail) {
                    let alarmed = self.state().looked.given_up.contains(&mail.id);
                    if alarmed && self.notifier.is_moved(&mail)? {
                        self.over(mail.id);
                    }
                    continue;
                }
                let done = match cards::get(self.blobs.as_ref(), &mail.card) {
                    Ok(card) => self.readdressed(&mail, &card, now).map(|_| ()),
                    // Erased after its days.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = done {
                    self.failed(mail.id, &error, now);
                }
            }
        }
        self.forget_alarms()
    }

    /// Whether this mail ended here, since an account that it tells has another address.
    pub(super) fn readdressed(&self, mail: &Mail, card: &MailCard, now: Timestamp) -> anyhow::Result<bool> {
        let Some(to) = self.notifier.moved(mail, &card.to)? else { return Ok(false) };
        let again = match mail.subject {
            Subject::Arrival(_) => None,
            _ if to.mail.is_empty() => None,
            _ => Some(Box::new(self.notifier.rewrite(mail, card, &to, now)?)),
        };
        let new = again.as_ref().map(|again| again.id);
        self.ledger.commit(Op::ReaddressMail { id: mail.id, again }, Actor::Daemon, now)?;
        tracing::info!(mail = %mail.id, ?new, "a mail's account has another address: it is told there");
        self.over(mail.id);
        Ok(true)
    }

    /// Raises the alarm of a mail that was given up before the start.
    fn cry(&self, mail: &Mail, now: Timestamp) {
        // Of others a marked address, or the mail that took its place, tells.
        if let Some(reply) = &mail.last_reply
            && reply != ADDRESS_MARKED
            && reply != ADDRESS_CHANGED
        {
            self.state().looked.given_up.insert(mail.id);
            self.alarms.raise(&given_up(mail.id), &given_up_text(mail, reply), now);
        }
    }

    /// Nobody needs to do anything about this mail any more.
    pub(super) fn over(&self, id: MailId) {
        self.alarms.clear(&format!("MAIL-FAILED {id}"));
        if self.state().looked.given_up.remove(&id) {
            self.alarms.clear(&given_up(id));
        }
    }

    /// Ends alarms of mails that were taken out.
    fn forget_alarms(&self) -> anyhow::Result<()> {
        let alarmed: Vec<MailId> = self.state().looked.given_up.iter().copied().collect();
        for id in alarmed {
            let waits = |mail: Mail| matches!(mail.state, MailState::Failed | MailState::Queued);
            if !self.ledger.mail(id)?.is_some_and(waits) {
                self.over(id);
            }
        }
        Ok(())
    }
}

/// Whether what it says waits to be told elsewhere already: the documents of an arrival wait again as soon as its address is
/// marked.
pub(super) fn told_again(mail: &Mail) -> bool {
    let Some(reply) = mail.last_reply.as_deref() else { return false };
    let given_back = reply == ADDRESS_MARKED || smtp_code::blames_address(reply);
    reply == ADDRESS_CHANGED || matches!(mail.subject, Subject::Arrival(_)) && given_back
}
