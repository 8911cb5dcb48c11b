//! The second factor: passwords after a proven key, with the policy of the account's insurer, locks, and what is recorded of
//! a login.
//!
//! Only failures after the key was proven count for the account: a stranger cannot lock it. Before that they count for the
//! source alone, and cost no hash. A lock concerns passwords: whoever needs none is not touched by it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use chrono::{NaiveTime, TimeZone as _};
use chrono_tz::Tz;

use super::port::{Fault, PasswordAnswer, Second, Status};
use super::startups::source;
use crate::model::escape::excerpt;
use crate::model::finding::{Language, Text};
use crate::model::ids::InsurerCode;
use crate::model::login::{Credential, PasswordState, Purpose};
use crate::model::metric;
use crate::model::party::{Account, Actor};
use crate::model::time::{Clock, Timestamp};
use crate::rules::login::{Factors, LockRule, LoginRules};
use crate::rules::passwords::{self, Password, PasswordsPolicy, Validity, validity};
use crate::store::attempts::{Attempts, LastLogin};
use crate::store::credentials::{Checked, CredentialError, Credentials};
use crate::store::keys::Keys;
use crate::store::ledger::{Ledger, Op};

/// Codes of what a login says.
const LAST_LOGIN: &str = "LAST-LOGIN";
const PASSWORD_EXPIRES: &str = "PASSWORD-EXPIRES";

/// From how many days before its end on a login says that the password must be changed soon.
const WARN_DAYS: i64 = 14;

/// An insurer's rules of logins; the strictest when they cannot be read.
pub type RulesOf = dyn Fn(&InsurerCode) -> LoginRules + Send + Sync;

/// Passwords beside keys.
pub struct SecondFactor {
    /// Locks and what is recorded.
    pub ledger: Arc<dyn Ledger>,
    /// Hashes.
    pub credentials: Arc<Credentials>,
    /// Counters and last logins.
    pub attempts: Arc<Attempts>,
    /// Keyed digests of sources.
    pub keys: Arc<Keys>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// The gateway's zone: its days, and times in texts.
    pub zone: Tz,
    /// Insurers' rules.
    pub rules: Box<RulesOf>,
    /// Policy of passwords in force.
    pub policy: Box<dyn Fn() -> PasswordsPolicy + Send + Sync>,
}

impl SecondFactor {
    /// Policy of passwords for an account of an insurer with these rules.
    fn policy(&self, rules: &LoginRules) -> PasswordsPolicy {
        rules.passwords(&(self.policy)())
    }

    fn source_rule(&self) -> LockRule {
        let policy = (self.policy)();
        LockRule::new(policy.source_failures_max, policy.source_lock_minutes)
    }

    fn local(&self, at: Timestamp) -> String {
        at.shown_in(self.zone)
    }

    fn locked(&self, account: &Account, until: Timestamp) -> Fault {
        let until = self.local(until);
        let text = Text::new(
            format!(
                "パスワードの誤りが続いたため、{until} までパスワードでログインできません。自動で解除されます。大文字と小文字を確認し、時間をおいてやり直してください。"
            ),
            format!(
                "Too many wrong passwords: password login is locked until {until} and unlocks by itself. Mind upper and lower case, and try again then."
            ),
        );
        fault(account.language, "LOGIN-LOCKED", &text)
    }

    /// Why no password of this account counts now, if none does.
    fn lock_of(&self, account: &Account, from: IpAddr, now: Timestamp) -> Result<Option<Fault>, Fault> {
        let record = self.ledger.logins(&account.id).map_err(|error| failed(account, &error))?;
        let by_source = self.attempts.source_locked(source(from), self.source_rule(), now);
        let rule = (self.rules)(&account.insurer).lock();
        let until = record.locked_until.filter(|until| rule.holds(*until, now)).or(by_source);
        Ok(until.map(|until| self.locked(account, until)))
    }

    /// What is asked for after the first factor.
    pub(super) fn after_key(&self, account: &Account, from: SocketAddr) -> Second {
        if (self.rules)(&account.insurer).factors_of(account) == Factors::Key {
            return Second::Enough;
        }
        let now = self.clock.now();
        match self.lock_of(account, from.ip(), now) {
            Ok(None) => {}
            Ok(Some(fault)) | Err(fault) => return Second::Refused(fault),
        }
        match self.credentials.state(&Credential::of(Purpose::Login, &account.id)) {
            Ok(Some(state)) => match self.validity(account, &state, now) {
                Validity::Lapsed { since } => Second::Refused(self.lapsed(account, since)),
                _ => Second::Password(account.language),
            },
            Ok(None) => {
                let text = Text::new(
                    "このアカウントにはパスワードがまだありません。健康保険組合に仮パスワードの発行を依頼してください。",
                    "This account has no password yet. Ask the insurer for a temporary one.",
                );
                Second::Refused(fault(account.language, "PASSWORD-NONE", &text))
            }
            Err(error) => Second::Refused(failed(account, &error)),
        }
    }

    fn validity(&self, account: &Account, state: &PasswordState, now: Timestamp) -> Validity {
        let policy = self.policy(&(self.rules)(&account.insurer));
        validity(state.set_at, state.change.is_temporary(), &policy, now)
    }

    fn lapsed(&self, account: &Account, since: Timestamp) -> Fault {
        let since = self.local(since);
        let text = Text::new(
            format!("仮パスワードの期限が {since} に切れました。健康保険組合に再発行を依頼してください。"),
            format!("The temporary password lapsed at {since}. Ask the insurer for another."),
        );
        fault(account.language, "PASSWORD-LAPSED", &text)
    }

    /// Passwords from there do not count for a while.
    pub(super) fn source_is_locked(&self, from: SocketAddr) -> bool {
        self.attempts.source_locked(source(from.ip()), self.source_rule(), self.clock.now()).is_some()
    }

    /// A password without a proven key before it: counts for the source, and costs nothing else.
    pub(super) fn without_key(&self, account: &str, from: SocketAddr) {
        let (now, source) = (self.clock.now(), source(from.ip()));
        metrics::counter!(metric::LOGINS, "result" => "refused").increment(1);
        if let Some(until) = self.attempts.source_failed(source, self.source_rule(), now) {
            tracing::warn!(%from, account = %excerpt(account, 32), %until, "too many passwords without a key: the source's passwords do not count for a while");
            self.write_lock(now);
        }
    }

    fn write_lock(&self, now: Timestamp) {
        if let Err(error) = self.attempts.write_lock(now) {
            tracing::error!(%error, "the counters of wrong passwords could not be written");
        }
    }

    fn unlocked(&self, account: &Account, from: SocketAddr) -> Result<(), PasswordAnswer> {
        match self.lock_of(account, from.ip(), self.clock.now()) {
            Ok(None) => Ok(()),
            Ok(Some(fault)) | Err(fault) => Err(PasswordAnswer::Refused(fault)),
        }
    }

    /// The password in force, if this is it.
    fn shown(
        &self,
        account: &Account,
        given: &str,
        from: SocketAddr,
    ) -> Result<PasswordState, PasswordAnswer> {
        self.unlocked(account, from)?;
        let checked = self.credentials.check(&Credential::of(Purpose::Login, &account.id), given);
        // Others that guessed at the same time may have locked it.
        self.unlocked(account, from)?;
        match checked {
            Ok(Checked::Right(state)) => {
                self.attempts.forgive(&account.id);
                Ok(state)
            }
            Ok(Checked::Wrong | Checked::Absent) => Err(self.wrong(account, given, from, self.clock.now())),
            Ok(Checked::Busy) => Err(PasswordAnswer::Refused(busy(account))),
            Err(error) => Err(PasswordAnswer::Refused(failed(account, &error))),
        }
    }

    /// Whether this is the account's password, after its key was proven.
    pub(super) fn password(&self, account: &Account, given: &str, from: SocketAddr) -> PasswordAnswer {
        match self.shown(account, given, from) {
            Ok(state) => self.judged(account, &state),
            Err(answer) => answer,
        }
    }

    /// What the right password is good for.
    fn judged(&self, account: &Account, state: &PasswordState) -> PasswordAnswer {
        let now = self.clock.now();
        match self.validity(account, state, now) {
            Validity::Good { .. } => PasswordAnswer::Right,
            Validity::Lapsed { since } => PasswordAnswer::Refused(self.lapsed(account, since)),
            Validity::Temporary => {
                let text = Text::new(
                    "仮パスワードです。新しいパスワードに変更するまで、ほかの操作はできません。",
                    "This is a temporary password. Nothing else is possible before it is changed.",
                );
                PasswordAnswer::MustChange(fault(account.language, "PASSWORD-TEMPORARY", &text))
            }
            Validity::Expired { since } => {
                if !state.expired {
                    let credential = Credential::of(Purpose::Login, &account.id);
                    let op = Op::PasswordExpired { credential, version: state.version };
                    if let Err(error) = self.ledger.commit(op, Actor::Daemon, now) {
                        tracing::error!(account = %account.id, %error, "an expired password could not be recorded");
                    }
                }
                PasswordAnswer::MustChange(self.expired(account.language, since))
            }
        }
    }

    fn expired(&self, language: Language, since: Timestamp) -> Fault {
        let since = self.local(since);
        let text = Text::new(
            format!(
                "パスワードの有効期限が {since} に切れました。新しいパスワードに変更するまで、送信を含むほかの操作はできません。"
            ),
            format!(
                "The password expired at {since}. Nothing else is possible, sending included, before it is changed."
            ),
        );
        fault(language, "PASSWORD-EXPIRED", &text)
    }

    fn wrong(&self, account: &Account, given: &str, from: SocketAddr, now: Timestamp) -> PasswordAnswer {
        metrics::counter!(metric::LOGINS, "result" => "refused").increment(1);
        tracing::info!(account = %account.id, %from, "a wrong password");
        if let Some(until) = self.attempts.source_failed(source(from.ip()), self.source_rule(), now) {
            tracing::warn!(%from, %until, "too many wrong passwords: the source's passwords do not count for a while");
            self.write_lock(now);
        }
        let rule = (self.rules)(&account.insurer).lock();
        if let Some(until) = self.attempts.account_failed(&account.id, rule, now) {
            tracing::warn!(account = %account.id, %from, %until, "too many wrong passwords: the account's passwords do not count for a while");
            self.write_lock(now);
            let op = Op::LockLogin { account: account.id.clone(), until };
            if let Err(error) = self.ledger.commit(op, Actor::Daemon, now) {
                tracing::error!(account = %account.id, %error, "a lock could not be recorded");
                return PasswordAnswer::Refused(failed(account, &error));
            }
            return PasswordAnswer::Refused(self.locked(account, until));
        }
        let (code, text) = passwords::wrong(given);
        PasswordAnswer::Wrong(fault(account.language, code, &text))
    }

    /// Changes the password, which was checked to be `old` or is checked now. `Ok(None)`: done; a fault after which another
    /// may be chosen comes as `Ok(Some)`.
    pub(super) fn change(&self, account: &Account, old: &str, new: &str, from: SocketAddr) -> PasswordAnswer {
        let shown = match self.shown(account, old, from) {
            Ok(shown) => shown,
            Err(answer) => return answer,
        };
        match self.judged(account, &shown) {
            PasswordAnswer::Right | PasswordAnswer::MustChange(_) => {}
            other => return other,
        }
        let wrong =
            |code: &'static str, text: &Text| PasswordAnswer::Wrong(fault(account.language, code, text));
        let password = match Password::choose(new, account.id.as_str()) {
            Ok(password) => password,
            Err(slip) => return wrong(slip.code(), &slip.text()),
        };
        let (credential, by) =
            (Credential::of(Purpose::Login, &account.id), Actor::Account(account.id.clone()));
        match self.credentials.choose(&credential, shown.version, &password, &by, self.clock.now()) {
            Ok(()) => {
                tracing::info!(account = %account.id, %from, "a password was changed");
                PasswordAnswer::Right
            }
            Err(CredentialError::Fault(slip)) => wrong(slip.code(), &slip.text()),
            Err(CredentialError::Busy) => PasswordAnswer::Refused(busy(account)),
            Err(CredentialError::Moved) => PasswordAnswer::Refused(moved(account)),
            Err(error) => PasswordAnswer::Refused(failed(account, &error)),
        }
    }

    /// From when on nothing can be sent: the password's days are over (E4).
    pub(super) fn send_until(&self, account: &Account) -> Option<Timestamp> {
        let state = self.credentials.state(&Credential::of(Purpose::Login, &account.id)).ok()??;
        match self.validity(account, &state, self.clock.now()) {
            Validity::Good { until } => until,
            _ => None,
        }
    }

    /// A login begins: records it, and gives the lines that the session begins with.
    pub(super) fn begin(
        &self,
        account: &Account,
        from: SocketAddr,
        send_until: Option<Timestamp>,
    ) -> Vec<String> {
        let now = self.clock.now();
        let last = self.attempts.logged_in(&account.id, from.ip(), now);
        self.record(account, from.ip(), last, now);
        let mut lines = Vec::new();
        if (self.rules)(&account.insurer).shows_last_login(account)
            && let Some(last) = last
        {
            let at = self.local(last.at);
            let text = Text::new(
                format!("前回のログイン: {at} ({} から)", last.from),
                format!("Last login: {at} from {}", last.from),
            );
            lines.push(format!("{LAST_LOGIN} {}", text.get(account.language)));
        }
        if let Some(until) = send_until
            && passwords::days_left(until, now) <= WARN_DAYS
        {
            let (at, days) = (self.local(until), passwords::days_left(until, now));
            let text = Text::new(
                format!("パスワードの有効期限は {at} です(あと{days}日)。それまでに変更してください。"),
                format!("The password expires at {at} ({days} days left). Change it before then."),
            );
            lines.push(format!("{PASSWORD_EXPIRES} {}", text.get(account.language)));
        }
        lines
    }

    /// One event for an account, source and local day: the journal is kept for ever. When exactly, and from where, is with
    /// the counters.
    fn record(&self, account: &Account, from: IpAddr, last: Option<LastLogin>, now: Timestamp) {
        let today = now.date_in(self.zone);
        if last.is_some_and(|last| last.from == from && last.at.date_in(self.zone) == today) {
            return;
        }
        let midnight = self.zone.from_local_datetime(&today.and_time(NaiveTime::MIN)).earliest();
        let day_from = midnight.map_or(now, |at| Timestamp(at.timestamp_millis()));
        let source = self.keys.tag("login-source", &[from.to_string().as_bytes()]);
        let op = Op::LoggedIn { account: account.id.clone(), source, day_from };
        if let Err(error) = self.ledger.commit(op, Actor::Account(account.id.clone()), now) {
            tracing::error!(account = %account.id, %error, "a login could not be recorded");
        }
    }
}

/// Sending with an expired password (E4).
pub(super) fn expired_meanwhile(language: Language) -> Fault {
    let text = Text::new(
        "パスワードの有効期限が切れたため、送信できません。接続し直してパスワードを変更してから送信してください。",
        "The password has expired, so nothing can be sent. Connect again, change it, then send.",
    );
    fault(language, "PASSWORD-EXPIRED", &text)
}

fn fault(language: Language, code: &'static str, text: &Text) -> Fault {
    Fault {
        status: Status::PermissionDenied,
        code: code.into(),
        text: text.get(language).to_owned(),
        loud: true,
    }
}

fn busy(account: &Account) -> Fault {
    let text = Text::new(
        "ログインが集中しています。しばらくしてからやり直してください。",
        "Too many passwords are being checked. Try again in a while.",
    );
    fault(account.language, "LOGIN-BUSY", &text)
}

fn moved(account: &Account) -> Fault {
    let text = Text::new(
        "パスワードが同時に別の操作で変更されたため、この変更は行われませんでした。新しいパスワードでログインし直してください。",
        "The password was set by somebody else at the same time, and this change was not made. Log in again with the new one.",
    );
    fault(account.language, "PASSWORD-MOVED", &text)
}

fn failed(account: &Account, error: &dyn std::fmt::Display) -> Fault {
    let id = crate::model::incident::id();
    tracing::error!(incident = %id, account = %account.id, %error, "a password could not be checked or changed");
    let text = Text::new(
        format!("サーバー側の問題でログインできません(番号 {id})。運用担当へお知らせください。"),
        format!("The server failed ({id}). Tell the operator this number."),
    );
    fault(account.language, "INTERNAL", &text)
}

#[cfg(test)]
mod tests;
