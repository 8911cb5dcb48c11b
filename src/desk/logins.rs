//! Passwords and locks of accounts. What is reset here is a password; a certificate is another thing (E9 H9), and stays.

use serde_json::{Value, json};

use super::listing::{time, time_or_null};
use super::parts::Parts;
use super::request::{Answer, Response};
use super::trouble::{Kind, Trouble};
use crate::model::ids::AccountId;
use crate::model::login::{Credential, PasswordChange, PasswordState, Purpose};
use crate::model::party::{Account, Actor, Standing};
use crate::model::time::Timestamp;
use crate::rules::login::{Factors, LoginRules};
use crate::rules::passwords::{self, PasswordsPolicy, Validity, validity};
use crate::store::credentials::CredentialError;
use crate::store::keys;
use crate::store::ledger::Op;

impl From<CredentialError> for Trouble {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Fault(fault) => Self::refused(fault.code(), fault.text().en),
            CredentialError::Busy => Self::new(Kind::NotNow, "LOGIN-BUSY", error.to_string()),
            CredentialError::Moved => Self::new(Kind::NotNow, "PASSWORD-MOVED", error.to_string()),
            CredentialError::Ledger(error) => error.into(),
            CredentialError::Io { .. } => Self::fault(error.to_string()),
        }
    }
}

fn account(parts: &Parts, id: &AccountId) -> Result<Account, Trouble> {
    parts.ledger.account(id)?.ok_or_else(|| Trouble::unknown(format!("account {id}")))
}

/// An insurer's rules of logins with the gateway's policy of passwords.
fn rules(parts: &Parts, account: &Account) -> (LoginRules, PasswordsPolicy) {
    let config = parts.config.get();
    let rules: LoginRules = config.insurer_table(&account.insurer, "login").unwrap_or_else(|error| {
        tracing::error!(%error, "an insurer's policy cannot be read");
        LoginRules::default()
    });
    let policy = rules.passwords(&config.passwords);
    (rules, policy)
}

/// Makes a password, and gives it: the only time that it can be seen.
pub(super) fn password(
    parts: &Parts,
    id: &AccountId,
    purpose: Purpose,
    reset: bool,
    by: &Actor,
    now: Timestamp,
) -> Response {
    let account = account(parts, id)?;
    if account.standing == Standing::Closed {
        return Err(Trouble::refused("CLOSED", format!("account {id} is closed")));
    }
    let credential = Credential::of(purpose, id);
    let there = parts.credentials.state(&credential)?.is_some();
    if there && !reset {
        let text =
            format!("account {id} has such a password already; use --reset to put another in its place");
        return Err(Trouble::refused("EXISTS", text));
    }
    let change = match (purpose, there) {
        (Purpose::Login, true) => PasswordChange::Reset,
        (Purpose::Login, false) => PasswordChange::Temporary,
        _ => PasswordChange::Given,
    };
    let password = passwords::temporary(keys::random)?;
    parts.credentials.set(&credential, &password, change, by, now)?;
    let (rules, policy) = rules(parts, &account);
    let mut notes = Vec::new();
    if purpose == Purpose::Login {
        // Whoever forgot a password has usually locked it, too.
        end_lock(parts, id, by, now)?;
        if rules.factors_of(&account) == Factors::Key {
            notes.push(format!(
                "The insurer's policy asks {id} for no password: see [login] in conf/insurers/{}.toml.",
                account.insurer
            ));
        }
        notes.push(format!(
            "Only the login password of {id} is new, and it must be changed at the first login. Keys, certificates and the \
             certificate-issue password stay as they are."
        ));
    } else {
        notes.push(format!(
            "Only the certificate-issue password of {id} is new: certificates that were issued with the one before keep it, and \
             applications from now on take this one. The login password stays as it is."
        ));
    }
    notes.push("It is shown this once. Tell it to the office by a way that is safe; the mail about it does not hold it.".to_owned());
    let until =
        (change.is_temporary() && policy.temporary_days > 0).then(|| now.plus_days(policy.temporary_days));
    let value = json!({
        "account": id,
        "purpose": purpose,
        "change": change,
        "password": password.reveal(),
        "spelled": *passwords::spelled(password.reveal()),
        "use_before_at": time_or_null(until),
    });
    Ok(Answer { notes, ..Answer::of(value) })
}

/// Ends a lock before its time.
pub(super) fn unlock(parts: &Parts, id: &AccountId, by: &Actor, now: Timestamp) -> Response {
    let (rules, _) = rules(parts, &account(parts, id)?);
    let until = parts.ledger.logins(id)?.locked_until;
    let locked = until.is_some_and(|until| rules.lock().holds(until, now));
    end_lock(parts, id, by, now)?;
    let result = if locked { "changed" } else { "unchanged" };
    Ok(Answer::of(
        json!({ "key": id, "result": result, "fields": if locked { vec!["lock"] } else { vec![] } }),
    ))
}

fn end_lock(parts: &Parts, id: &AccountId, by: &Actor, now: Timestamp) -> Result<(), Trouble> {
    parts.ledger.commit(Op::UnlockLogin(id.clone()), by.clone(), now)?;
    parts.attempts.forgive(id);
    Ok(parts.attempts.write(now)?)
}

/// What `account show` says of its logins.
pub(super) fn show(parts: &Parts, account: &Account, now: Timestamp) -> Result<Value, Trouble> {
    let (rules, policy) = rules(parts, account);
    let record = parts.ledger.logins(&account.id)?;
    let state = |purpose| parts.credentials.state(&Credential::of(purpose, &account.id));
    let last = parts.attempts.last_login(&account.id);
    let locked = record.locked_until.filter(|until| rules.lock().holds(*until, now));
    Ok(json!({
        "factors": rules.factors_of(account),
        "password": password_state(state(Purpose::Login)?, &policy, now),
        "issue_password": password_state(state(Purpose::Issue)?, &policy, now),
        "locked_until_at": time_or_null(locked),
        "first_login_at": time_or_null(record.first_at),
        "last_login_at": time_or_null(last.map(|last| last.at).or(record.last_at)),
        "last_login_from": last.map(|last| last.from.to_string()),
    }))
}

fn password_state(state: Option<PasswordState>, policy: &PasswordsPolicy, now: Timestamp) -> Value {
    let Some(state) = state else { return Value::Null };
    // A password that the gateway made to be used as it is has no end.
    let temporary = state.change.is_temporary();
    let (word, end) = if state.change == PasswordChange::Given {
        ("good", None)
    } else {
        match validity(state.set_at, temporary, policy, now) {
            Validity::Good { until } => ("good", until),
            Validity::Temporary => (
                "temporary",
                (policy.temporary_days > 0).then(|| state.set_at.plus_days(policy.temporary_days)),
            ),
            Validity::Expired { since } => ("expired", Some(since)),
            Validity::Lapsed { since } => ("lapsed", Some(since)),
        }
    };
    json!({
        "state": word,
        "change": state.change,
        "set_at": time(state.set_at),
        "set_by": state.by,
        "ends_at": time_or_null(end),
    })
}
