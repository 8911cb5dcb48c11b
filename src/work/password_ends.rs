//! Mails before a password's days are over (E1), so that nobody's sending stops unannounced (E4): on the days that the insurer's
//! policy names before the last whole one, each once. Which were sent is known by the mails themselves ([`Subject::Notice`] is
//! sealed once), so that a restart repeats none; what a stopped daemon missed is said once, with the days that are left then.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::alarms::Alarms;
use super::notify::Notifier;
use super::remind;
use crate::model::ids::InsurerCode;
use crate::model::login::{Credential, Purpose};
use crate::model::mail::Subject;
use crate::model::party::{Account, Standing};
use crate::model::time::{DAY, Timestamp};
use crate::rules::login::{Factors, LoginRules};
use crate::rules::notice::PasswordEndsNotice;
use crate::rules::passwords::{PasswordsPolicy, Validity, validity};
use crate::rules::renewal;
use crate::store::ledger::{Ledger, LedgerError};

/// The kind of notice.
const KIND: &str = "password-ends";

/// What is asked of passwords, by insurers' rules and the gateway's policy in force.
pub struct PasswordRules {
    /// Insurers' rules of logins.
    pub logins: Box<dyn Fn(&InsurerCode) -> LoginRules + Send + Sync>,
    /// The gateway's policy.
    pub policy: Box<dyn Fn() -> PasswordsPolicy + Send + Sync>,
}

/// A password that will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordEnd {
    /// Which one of the account's.
    pub version: u64,
    /// When it was set.
    pub set_at: Timestamp,
    /// When its days are over.
    pub until: Timestamp,
}

impl PasswordRules {
    /// When the password ends that this account logs in with; none where none is asked for or set, and for one that has no end,
    /// has ended, or must be changed at once.
    pub fn end_of(
        &self,
        ledger: &dyn Ledger,
        account: &Account,
        now: Timestamp,
    ) -> Result<Option<PasswordEnd>, LedgerError> {
        let rules = (self.logins)(&account.insurer);
        if rules.factors_of(account) == Factors::Key {
            return Ok(None);
        }
        let Some(state) = ledger.password(&Credential::of(Purpose::Login, &account.id))? else {
            return Ok(None);
        };
        let policy = rules.passwords(&(self.policy)());
        Ok(match validity(state.set_at, state.change.is_temporary(), &policy, now) {
            Validity::Good { until: Some(until) } => {
                Some(PasswordEnd { version: state.version, set_at: state.set_at, until })
            }
            _ => None,
        })
    }
}

/// The stage.
pub struct PasswordEnds {
    /// Accounts, passwords, and what was told.
    pub ledger: Arc<dyn Ledger>,
    /// Seals the mails.
    pub notifier: Arc<Notifier>,
    /// What is asked of passwords.
    pub rules: Arc<PasswordRules>,
    /// Tells the operator.
    pub alarms: Arc<dyn Alarms>,
    /// Days are counted here.
    pub zone: Tz,
    /// The local day that was looked at, all of it: nothing more falls due before the next.
    pub done_on: Mutex<Option<NaiveDate>>,
}

/// For which of these days a mail is due, and the days that are left.
fn due(end: &PasswordEnd, levels: &[u32], now: Timestamp, zone: Tz) -> Option<(u32, i64)> {
    let left = renewal::days_left(end.until, now, zone);
    let in_all = end.until.since(end.set_at) / DAY;
    remind::level(levels, left, in_all).map(|level| (level, left))
}

impl PasswordEnds {
    /// Seals what is due; how many mails.
    pub fn step(&self, now: Timestamp) -> anyhow::Result<usize> {
        let today = now.date_in(self.zone);
        let mut done_on = self.done_on.lock().unwrap_or_else(PoisonError::into_inner);
        if *done_on == Some(today) || self.ledger.head().unreconciled {
            return Ok(0);
        }
        let (mut told, mut failed) = (0, false);
        for insurer in self.ledger.insurers()? {
            let rules = (self.rules.logins)(&insurer.code);
            let asked = [rules.factors, rules.machine].contains(&Factors::KeyAndPassword);
            if insurer.standing != Standing::Active || !asked || rules.notice_days.is_empty() {
                continue;
            }
            for account in self.ledger.accounts(Some(&insurer.code))? {
                let alarm = format!("NOTICE-FAILED {} password", account.id);
                match self.tell(&account, &rules.notice_days, now) {
                    Ok(new) => {
                        self.alarms.clear(&alarm);
                        told += usize::from(new);
                    }
                    Err(error) => {
                        failed = true;
                        let id = &account.id;
                        tracing::error!(account = %id, error = format!("{error:#}"), "a password's end could not be told");
                        self.alarms.raise(&alarm, &format!("account {id}: {error:#}"), now);
                    }
                }
            }
        }
        *done_on = (!failed).then_some(today);
        Ok(told)
    }

    fn tell(&self, account: &Account, levels: &[u32], now: Timestamp) -> anyhow::Result<bool> {
        if account.standing != Standing::Active {
            return Ok(false);
        }
        let Some(end) = self.rules.end_of(self.ledger.as_ref(), account, now)? else { return Ok(false) };
        let Some((level, days)) = due(&end, levels, now, self.zone) else { return Ok(false) };
        let about = format!("{} {} {level}", account.id, end.version);
        let to = self.notifier.mailbox_of(account)?;
        // Asked first: sealing writes a card before the ledger says that it was told.
        if to.mail.is_empty() || self.ledger.told(KIND, &about)? {
            return Ok(false);
        }
        let notice = PasswordEndsNotice {
            to: self.notifier.addressed(account, None)?,
            account: account.id.to_string(),
            last_day: renewal::last_day(end.until, self.zone),
            days,
        };
        let told = self.notifier.seal(&to, &notice, Subject::Notice { kind: KIND.to_owned(), about }, now)?;
        if told {
            tracing::info!(account = %account.id, days, "an account was told that its password ends");
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_before_a_password_ends_are_told_from_the_last_whole_one() {
        const TOKYO: Tz = chrono_tz::Asia::Tokyo;
        let set_at = crate::small_world::at("2026-05-27T10:00:00+09:00");
        // Over at 10:00 on 23 November: the 22nd is the last whole day.
        let end = PasswordEnd { version: 1, set_at, until: set_at.plus_days(180) };
        let on = |day: &str| {
            due(&end, &[14, 7, 1], crate::small_world::at(&format!("{day}T08:00:00+09:00")), TOKYO)
        };
        assert_eq!(on("2026-11-07"), None);
        assert_eq!(on("2026-11-08"), Some((14, 14)));
        assert_eq!(on("2026-11-14"), Some((14, 8)));
        assert_eq!(on("2026-11-15"), Some((7, 7)));
        assert_eq!(on("2026-11-20"), Some((7, 2)), "what was missed is said once, with what is left");
        assert_eq!(on("2026-11-21"), Some((1, 1)));
        assert_eq!(on("2026-11-22"), Some((1, 0)));
        assert_eq!(on("2026-11-23"), None, "on its last morning the login says it");
        let short = PasswordEnd { until: set_at.plus_days(7), ..end };
        assert_eq!(due(&short, &[14, 7], set_at, TOKYO), None, "it was never to last so long");
    }
}
