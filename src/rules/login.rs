//! Which factors a login takes, and when wrong passwords lock it.

use serde::{Deserialize, Serialize};

use super::passwords::PasswordsPolicy;
use crate::model::finding::Text;
use crate::model::party::{Account, Role};
use crate::model::time::Timestamp;

/// What somebody shows to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Factors {
    /// A registered key or a certificate.
    #[serde(rename = "key")]
    Key,
    /// That, and then a password.
    #[serde(rename = "key+password")]
    KeyAndPassword,
}

/// Leads what is said to whoever proved to be of an account that may not be used at present.
pub const ACCOUNT_STOPPED: &str = "ACCOUNT-STOPPED";

/// The words after it.
pub fn account_stopped() -> Text {
    Text::new(
        "このアカウントは現在ご利用いただけません。健康保険組合へお問い合わせください。",
        "This account cannot be used at present. Ask the insurer.",
    )
}

/// Whose sessions begin with a line about the last login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShowLastLogin {
    /// Of accounts that people use.
    People,
    /// Of all.
    All,
    /// Of none.
    None,
}

/// `[login]` of an insurer's file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginRules {
    /// Of accounts that people use.
    pub factors: Factors,
    /// Of payroll systems and of the insurer's own account, which log in unattended.
    pub machine: Factors,
    /// Days until a password must be changed (E1); without it, `passwords.valid_days`.
    pub valid_days: Option<u32>,
    /// Local days before the last whole one of a password on which a mail says so; empty: never.
    pub notice_days: Vec<u32>,
    /// Wrong passwords, given after the key was proven, that lock the account's passwords (E10).
    pub failures_max: u32,
    /// For so long (E10).
    pub lock_minutes: u32,
    /// Whose sessions begin with a line about the last login.
    pub last_login: ShowLastLogin,
}

impl Default for LoginRules {
    fn default() -> Self {
        Self {
            factors: Factors::Key,
            machine: Factors::Key,
            valid_days: None,
            notice_days: vec![14, 7, 1],
            failures_max: 5,
            lock_minutes: 30,
            last_login: ShowLastLogin::People,
        }
    }
}

/// Whether nobody sits before it.
pub fn is_unattended(account: &Account) -> bool {
    account.machine || account.role == Role::Insurer
}

impl LoginRules {
    /// What this account shows to log in.
    pub fn factors_of(&self, account: &Account) -> Factors {
        if is_unattended(account) { self.machine } else { self.factors }
    }

    /// Whether its sessions begin with a line about the last login.
    pub fn shows_last_login(&self, account: &Account) -> bool {
        match self.last_login {
            ShowLastLogin::People => !is_unattended(account),
            ShowLastLogin::All => true,
            ShowLastLogin::None => false,
        }
    }

    /// The gateway's policy of passwords with this insurer's days.
    pub fn passwords(&self, policy: &PasswordsPolicy) -> PasswordsPolicy {
        PasswordsPolicy { valid_days: self.valid_days.unwrap_or(policy.valid_days), ..policy.clone() }
    }

    /// When this account's passwords are locked.
    pub fn lock(&self) -> LockRule {
        LockRule::new(self.failures_max, self.lock_minutes)
    }
}

/// So many failures lock for so long. Failures that lie so long back are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRule {
    failures_max: u32,
    lock: i64,
}

impl LockRule {
    /// Of so many failures and minutes, each at least 1.
    pub fn new(failures_max: u32, minutes: u32) -> Self {
        Self { failures_max: failures_max.max(1), lock: i64::from(minutes.max(1)) * 60_000 }
    }

    /// Whether a lock that ends then holds now. Farther ahead than any lock: the clock was set back.
    pub fn holds(self, until: Timestamp, now: Timestamp) -> bool {
        until > now && until.since(now) <= self.lock
    }
}

/// Failures of one account, or one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Since the last success, lock, or long silence.
    pub failures: u32,
    /// The last one.
    pub last: Timestamp,
    /// Locked until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Tally {
    /// Until when it is locked at this time, if it is.
    pub fn locked(&self, rule: LockRule, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| rule.holds(*until, now))
    }

    /// One more failure; until when it is locked, if this one locks it. Failures during a lock do not make it longer.
    pub fn fail(&mut self, rule: LockRule, now: Timestamp) -> Option<Timestamp> {
        if self.locked(rule, now).is_some() {
            return None;
        }
        if self.is_idle(rule, now) {
            *self = Self::default();
        }
        self.failures = self.failures.saturating_add(1);
        self.last = now;
        self.until = None;
        if self.failures >= rule.failures_max {
            self.failures = 0;
            self.until = Some(now.plus(rule.lock));
        }
        self.until
    }

    /// Nothing of it counts any more.
    pub fn is_idle(&self, rule: LockRule, now: Timestamp) -> bool {
        self.locked(rule, now).is_none() && now.since(self.last).abs() >= rule.lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn five_failures_lock_for_half_an_hour_which_ends_by_itself() {
        let (rule, mut tally) = (LoginRules::default().lock(), Tally::default());
        let at = |minute: i64| Timestamp(1_000_000_000_000 + minute * MINUTE);
        for minute in 0..4 {
            assert_eq!(tally.fail(rule, at(minute)), None);
        }
        assert_eq!(tally.fail(rule, at(4)), Some(at(34)));
        assert_eq!(tally.locked(rule, at(33)), Some(at(34)));
        assert_eq!(tally.fail(rule, at(33)), None);
        assert_eq!(tally.locked(rule, at(34)), None, "attempts meanwhile do not make it longer");
        assert_eq!(tally.fail(rule, at(34)), None, "and it counts anew");
        assert_eq!(tally.failures, 1);
        assert!(!tally.is_idle(rule, at(63)));
        assert!(tally.is_idle(rule, at(64)));
    }

    #[test]
    fn slow_guessing_is_not_summed_up_for_ever_and_a_clock_set_back_locks_nobody_out() {
        let (rule, mut tally) = (LockRule::new(2, 30), Tally::default());
        let at = |minute: i64| Timestamp(1_000_000_000_000 + minute * MINUTE);
        assert_eq!(tally.fail(rule, at(0)), None);
        assert_eq!(tally.fail(rule, at(30)), None, "the first one is forgotten");
        assert_eq!(tally.fail(rule, at(31)), Some(at(61)));
        assert_eq!(tally.locked(rule, at(30)), None, "more than half an hour ahead");
        assert_eq!(tally.locked(rule, at(31)), Some(at(61)));
    }

    #[test]
    fn people_and_machines_follow_their_own_rules() {
        let rules: LoginRules = toml::from_str("factors = \"key+password\"").unwrap();
        let account =
            |role, machine| Account { role, machine, ..crate::store::sample::account("K0001", "SHA256:one") };
        let person = account(Role::Office, false);
        assert_eq!(rules.factors_of(&person), Factors::KeyAndPassword);
        assert!(rules.shows_last_login(&person));
        for unattended in [account(Role::Office, true), account(Role::Insurer, false)] {
            assert_eq!(rules.factors_of(&unattended), Factors::Key);
            assert!(!rules.shows_last_login(&unattended));
        }
        assert!(toml::from_str::<LoginRules>("factors = \"password\"").is_err(), "never a password alone");
    }
}
