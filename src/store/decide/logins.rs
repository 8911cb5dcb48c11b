//! Passwords, locks and logins.

use super::{Decided, No, missing, nothing, ok};
use crate::model::event::Event;
use crate::model::ids::{AccountId, Digest};
use crate::model::login::{Credential, LoginRecord, PasswordChange, Purpose};
use crate::model::time::Timestamp;
use crate::store::index::{Index, IndexError};
use crate::store::ledger::{LOGIN_SOURCES_MAX, Refusal};
use crate::store::tables::{self, Draft, StoredPassword};

fn require_account<I: Index>(draft: &mut Draft<'_, I>, account: &AccountId) -> Result<(), No> {
    let there = draft.has(&tables::account(account))?;
    if there { Ok(()) } else { Err(missing(format_args!("account {account}"))) }
}

pub(super) fn set_password<I: Index>(
    draft: &mut Draft<'_, I>,
    credential: Credential,
    version: u64,
    change: PasswordChange,
) -> Decided {
    if credential.purpose != Purpose::Enrolment {
        let account = AccountId::parse(credential.holder.as_str());
        require_account(draft, &account.map_err(|error| missing(error.to_string()))?)?;
    }
    let stored: Option<StoredPassword> = draft.fetch(&tables::password(&credential))?;
    if version != stored.map_or(0, |stored| stored.version) + 1 {
        let why =
            format!("the password of {} was changed by somebody else at the same time", credential.holder);
        return Err(Refusal::NotNow(why).into());
    }
    ok(Event::PasswordSet { credential, version, change })
}

/// The end of a password whose holder's time is over, if there is one.
pub(super) fn over<I: Index>(
    draft: &mut Draft<'_, I>,
    credential: Credential,
) -> Result<Option<Event>, IndexError> {
    let stored: Option<StoredPassword> = draft.fetch(&tables::password(&credential))?;
    let there = stored.is_some_and(|stored| stored.state.is_some());
    Ok(there.then_some(Event::PasswordRemoved { credential }))
}

/// The same of all passwords of an account.
pub(super) fn all_over<I: Index>(
    draft: &mut Draft<'_, I>,
    account: &AccountId,
) -> Result<Vec<Event>, IndexError> {
    let mut events = Vec::new();
    for purpose in [Purpose::Login, Purpose::Issue] {
        events.extend(over(draft, Credential::of(purpose, account))?);
    }
    Ok(events)
}

pub(super) fn remove_password<I: Index>(draft: &mut Draft<'_, I>, credential: Credential) -> Decided {
    over(draft, credential)?.map_or_else(nothing, ok)
}

pub(super) fn expired<I: Index>(draft: &mut Draft<'_, I>, credential: Credential, version: u64) -> Decided {
    let stored: Option<StoredPassword> = draft.fetch(&tables::password(&credential))?;
    let state = stored.and_then(|stored| stored.state);
    if state.is_none_or(|state| state.version != version || state.expired) {
        return nothing();
    }
    ok(Event::PasswordExpired { credential, version })
}

fn record<I: Index>(draft: &mut Draft<'_, I>, account: &AccountId) -> Result<LoginRecord, No> {
    require_account(draft, account)?;
    Ok(draft.fetch(&tables::login(account))?.unwrap_or_default())
}

pub(super) fn lock<I: Index>(
    draft: &mut Draft<'_, I>,
    account: AccountId,
    until: Timestamp,
    at: Timestamp,
) -> Decided {
    // One that ends later than this one is of a clock that had leapt ahead.
    if record(draft, &account)?.locked_until.is_some_and(|there| there > at && there <= until) {
        return nothing();
    }
    ok(Event::LoginLocked { account, until })
}

pub(super) fn unlock<I: Index>(draft: &mut Draft<'_, I>, account: AccountId) -> Decided {
    if record(draft, &account)?.locked_until.is_none() {
        return nothing();
    }
    ok(Event::LoginUnlocked { account })
}

pub(super) fn logged_in<I: Index>(
    draft: &mut Draft<'_, I>,
    account: AccountId,
    source: Digest,
    day_from: Timestamp,
) -> Decided {
    let record = record(draft, &account)?;
    let today = record.last_at.is_some_and(|last| last >= day_from);
    if today && (record.sources.contains(&source) || record.sources.len() >= LOGIN_SOURCES_MAX) {
        return nothing();
    }
    ok(Event::LoggedIn { account, source, new_day: !today })
}
