//! Renewal at work: certificates that end are told of in time (C), each notice once.
//!
//! | state | written, in this order | crash |
//! |---|---|---|
//! | (notice written) | the mail's card, synced | card without event: the sweep |
//! | told | one commit: event `renewal_noted` and the sealed mail | the event decides; the queue of mails sends it |
//! | (operator's list) | the mail's card, synced; event `mail_sealed`, once for each date of the schedule | as above |
//!
//! Whoever missed notices while the daemon was down gets the latest of them alone. A clock that leaps ahead under a running
//! daemon would say that everything has ended: until it is set right or the daemon is started anew, nobody is told anything.

use std::sync::Arc;

use chrono::DateTime;
use chrono_tz::Tz;

use super::alarms::Alarms;
use super::leap::Leap;
use super::notify::{Notifier, Recipient};
use crate::model::certificate::Certificate;
use crate::model::finding::{Language, Text};
use crate::model::ids::{AccountId, InsurerCode};
use crate::model::mail::Subject;
use crate::model::metric;
use crate::model::party::{Account, Actor, Standing};
use crate::model::renewal::RenewalStage;
use crate::model::time::{DAY, Timestamp};
use crate::rules::notice::{CertificateEndsNotice, RenewalList, RenewalRow};
use crate::rules::renewal::{self, Need, RenewalPolicy};
use crate::store::blobs::Blobs;
use crate::store::ledger::{ApplicationFilter, CertificateFilter, Done, Ledger, LedgerError, Op};

/// An insurer's policy of renewals.
pub type PolicyOf = dyn Fn(&InsurerCode) -> RenewalPolicy + Send + Sync;
/// Ended certificates that were not replaced are looked at for so long.
const ENDED_DAYS: u32 = 60;
/// Certificates of one account that are looked at together; also those of one step at first.
const OF_ACCOUNT_MAX: usize = 1_000;

/// A certificate that ends soon or has ended, and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Which.
    pub certificate: Certificate,
    /// Local days until its last whole one; less than 0 after that.
    pub days: i64,
    /// What it needs: never nothing.
    pub need: Need,
}

/// Certificates that end within so many local days, or ended in the last 60, and whose successor is not in use; the most
/// urgent first. Those of closed accounts need nothing.
pub fn survey(
    ledger: &dyn Ledger,
    within: u32,
    now: Timestamp,
    zone: Tz,
) -> Result<Vec<Ending>, LedgerError> {
    let (mut from, to) = (now.plus(-DAY * i64::from(ENDED_DAYS)), now.plus_days(within).plus(2 * DAY));
    let (mut found, mut limit) = (Vec::new(), OF_ACCOUNT_MAX);
    loop {
        let page = ledger.certificates_ending(from, to, limit)?;
        let full = page.len() == limit;
        let last = page.last().map(|of| of.not_after);
        for certificate in page {
            // Those that end at the same time as the last may go on beyond the page.
            if full && Some(certificate.not_after) == last {
                continue;
            }
            let days = renewal::days_left(certificate.not_after, now, zone);
            if days <= i64::from(within)
                && let Some(ending) = ending(ledger, certificate, days, now)?
            {
                found.push(ending);
            }
        }
        match last {
            Some(last) if full && last > from => from = last,
            Some(_) if full => limit *= 2,
            _ => return Ok(found),
        }
    }
}

fn ending(
    ledger: &dyn Ledger,
    certificate: Certificate,
    days: i64,
    now: Timestamp,
) -> Result<Option<Ending>, LedgerError> {
    let account = ledger.account(&certificate.account)?;
    if account.is_none_or(|account| account.standing == Standing::Closed) {
        return Ok(None);
    }
    let all = of_account(ledger, &certificate.account)?;
    let need = renewal::need(&certificate, &all, now);
    Ok((need != Need::Nothing).then_some(Ending { certificate, days, need }))
}

/// An account's certificates, newest first.
pub fn of_account(ledger: &dyn Ledger, account: &AccountId) -> Result<Vec<Certificate>, LedgerError> {
    let filter = CertificateFilter { account: Some(account.clone()), ..CertificateFilter::default() };
    ledger.certificates(&filter, OF_ACCOUNT_MAX)
}

/// Who tells of certificates that end.
pub struct Renewals {
    /// Certificates, and what was told.
    pub ledger: Arc<dyn Ledger>,
    /// Cards of mails.
    pub blobs: Arc<dyn Blobs>,
    /// Writes the mails.
    pub notifier: Arc<Notifier>,
    /// Where trouble is said.
    pub alarms: Arc<dyn Alarms>,
    /// Policy of insurers.
    pub policy: Box<PolicyOf>,
    /// Whether the clock is to be believed.
    pub leap: Arc<Leap>,
    /// Days are counted here.
    pub zone: Tz,
}

impl Renewals {
    /// Tells what is due; how many notices that were.
    pub fn step(&self, now: Timestamp) -> anyhow::Result<usize> {
        if self.leapt(now) {
            return Ok(0);
        }
        let insurers = self.ledger.insurers()?;
        let days = |policy: RenewalPolicy| policy.notice_days.into_iter().max().unwrap_or(0);
        let within = insurers.iter().map(|insurer| days((self.policy)(&insurer.code))).max().unwrap_or(0);
        let all = survey(self.ledger.as_ref(), within.max(90), now, self.zone)?;
        figures(&all);
        let mut told = 0;
        for ending in &all {
            let alarm = format!("NOTICE-FAILED {}", ending.certificate.id);
            match self.tell(ending, now) {
                Ok(new) => {
                    self.alarms.clear(&alarm);
                    told += usize::from(new);
                }
                Err(error) => {
                    let id = ending.certificate.id;
                    tracing::error!(certificate = %id, error = format!("{error:#}"), "a certificate's end could not be told");
                    self.alarms.raise(&alarm, &format!("certificate {id}: {error:#}"), now);
                }
            }
        }
        Ok(told)
    }

    /// Whether the clock leapt ahead: nobody is told of what ends.
    pub fn leapt(&self, now: Timestamp) -> bool {
        self.leap.leapt(now)
    }

    fn tell(&self, ending: &Ending, now: Timestamp) -> anyhow::Result<bool> {
        let of = &ending.certificate;
        let Some(account) = self.ledger.account(&of.account)? else { return Ok(false) };
        let insurer = self.ledger.insurer(&account.insurer)?;
        // Told when it is resumed: the latest notice is then due.
        if account.standing != Standing::Active || insurer.is_none_or(|i| i.standing != Standing::Active) {
            return Ok(false);
        }
        let policy = (self.policy)(&account.insurer);
        let told = self.ledger.renewal_told(of.id)?;
        let Some(stage) = renewal::notice_due(of.not_after, told, &policy.notice_days, now, self.zone) else {
            return Ok(false);
        };
        let mailbox = self.notifier.mailbox_of(&account)?;
        let mail = if mailbox.mail.is_empty() {
            None
        } else {
            let notice = self.notice(ending, &account, stage)?;
            let subject = Subject::Notice { kind: "certificate-ends".to_owned(), about: String::new() };
            Some(Box::new(self.notifier.write(&mailbox, &notice, subject, now)?))
        };
        let card = mail.as_ref().map(|mail| mail.card.blob.clone());
        let done = self.ledger.commit(Op::NoteRenewal { id: of.id, stage, mail }, Actor::Daemon, now)?;
        if done == Done::Sealed(false) {
            // Told meanwhile.
            self.blobs.remove(card.as_slice())?;
            return Ok(false);
        }
        tracing::info!(account = %account.id, certificate = %of.id, ?stage, need = ?ending.need, "an account was told that its certificate ends");
        Ok(true)
    }

    fn notice(
        &self,
        ending: &Ending,
        account: &Account,
        stage: RenewalStage,
    ) -> anyhow::Result<CertificateEndsNotice> {
        let of = &ending.certificate;
        Ok(CertificateEndsNotice {
            to: self.notifier.addressed(account, None)?,
            account: account.id.to_string(),
            certificate: of.id,
            last_day: renewal::last_day(of.not_after, self.zone),
            days: ending.days,
            stage,
            need: ending.need,
            waits: self.applied(&account.id)?,
            has_key: !account.keys.is_empty(),
        })
    }

    /// Whether a renewal was applied for and waits for somebody.
    fn applied(&self, account: &AccountId) -> Result<bool, LedgerError> {
        let filter = ApplicationFilter { account: Some(account.clone()), ..ApplicationFilter::default() };
        let last = self.ledger.applications(&filter, 1)?.pop();
        Ok(last.is_some_and(|last| last.state.is_open() && !last.state.is_issued()))
    }

    /// Sends the operator the list, once for each date of the schedule; a date that was missed is caught up once. Nothing is
    /// sent while nobody waits.
    pub fn report(
        &self,
        to: &str,
        gateway: &str,
        schedule: &cron::Schedule,
        now: Timestamp,
    ) -> anyhow::Result<bool> {
        if to.is_empty() || self.leapt(now) {
            return Ok(false);
        }
        let Some(date) = last_date(schedule, now, self.zone) else { return Ok(false) };
        let all = survey(self.ledger.as_ref(), 90, now, self.zone)?;
        if all.is_empty() {
            return Ok(false);
        }
        let rows = all.iter().map(|ending| RenewalRow {
            account: ending.certificate.account.to_string(),
            certificate: ending.certificate.id.to_string(),
            last_day: renewal::last_day(ending.certificate.not_after, self.zone),
            need: need_words(ending.need),
        });
        let list = RenewalList {
            gateway: gateway.to_owned(),
            tomorrow: all.iter().filter(|ending| ending.days <= 1).count(),
            rows: rows.collect(),
        };
        let to =
            Recipient { mail: to.to_owned(), language: Language::En, accounts: Vec::new(), insurer: None };
        let subject = Subject::Notice { kind: "renewals".to_owned(), about: date.to_string() };
        self.notifier.seal(&to, &list, subject, now)
    }
}

/// What a certificate needs, in a few words.
pub fn need_words(need: Need) -> Text {
    match need {
        Need::Nothing => Text::new("済み", "in order"),
        Need::Use(next) => Text::new(format!("{next} が未使用"), format!("{next} is not used yet")),
        Need::Renew => Text::new("更新が必要", "to be renewed"),
    }
}

/// The last date of a schedule that is not in the future; none for one that has none in the last 40 days.
fn last_date(schedule: &cron::Schedule, now: Timestamp, zone: Tz) -> Option<Timestamp> {
    // The nearest window that has one, so that a schedule of every second costs no more.
    [DAY / 24, DAY, 8 * DAY, 40 * DAY].into_iter().find_map(|back| {
        let from: DateTime<Tz> = now.plus(-back).utc().with_timezone(&zone);
        let times = schedule.after(&from).map(|time| Timestamp(time.timestamp_millis()));
        times.take_while(|time| *time <= now).last()
    })
}

#[allow(clippy::cast_precision_loss, reason = "a figure for a graph")]
fn figures(all: &[Ending]) {
    for (within, label) in [(1, "1"), (7, "7"), (30, "30"), (90, "90")] {
        let count = all.iter().filter(|ending| ending.days <= within).count();
        metrics::gauge!(metric::CERTIFICATES_ENDING, "days" => label).set(count as f64);
    }
    let unused = all.iter().filter(|ending| matches!(ending.need, Need::Use(_))).count();
    metrics::gauge!(metric::CERTIFICATES_UNUSED).set(unused as f64);
}

#[cfg(test)]
mod tests;
