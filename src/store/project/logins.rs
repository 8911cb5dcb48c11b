//! Passwords, locks and logins.

use crate::model::event::Record;
use crate::model::ids::{AccountId, Digest};
use crate::model::login::{Credential, LoginNews, LoginRecord, PasswordChange, PasswordState, Purpose};
use crate::model::time::Timestamp;
use crate::store::index::{Index, IndexError};
use crate::store::tables::{self, Draft, StoredPassword};

pub(super) fn password_set<I: Index>(
    draft: &mut Draft<'_, I>,
    record: &Record,
    credential: &Credential,
    version: u64,
    change: PasswordChange,
) -> Result<(), IndexError> {
    let state = PasswordState { version, change, set_at: record.at, by: record.by.clone(), expired: false };
    let stored = StoredPassword { version, state: Some(state) };
    draft.put(&tables::password(credential), &stored)?;
    // Enrolments tell their applicants themselves.
    if credential.purpose != Purpose::Enrolment
        && let Ok(account) = AccountId::parse(credential.holder.as_str())
    {
        tell(draft, record, &account, LoginNews::Password(credential.purpose, change))?;
    }
    Ok(())
}

pub(super) fn change_password<I: Index>(
    draft: &mut Draft<'_, I>,
    credential: &Credential,
    how: impl FnOnce(&mut StoredPassword),
) -> Result<(), IndexError> {
    let key = tables::password(credential);
    let stored: Option<StoredPassword> = draft.fetch(&key)?;
    let mut stored = stored.ok_or_else(|| super::missing("a password"))?;
    how(&mut stored);
    draft.put(&key, &stored)
}

pub(super) fn change<I: Index>(
    draft: &mut Draft<'_, I>,
    account: &AccountId,
    how: impl FnOnce(&mut LoginRecord),
) -> Result<(), IndexError> {
    let key = tables::login(account);
    let mut record: LoginRecord = draft.fetch(&key)?.unwrap_or_default();
    how(&mut record);
    draft.put(&key, &record)
}

pub(super) fn logged_in(record: &mut LoginRecord, source: Digest, new_day: bool, at: Timestamp) {
    record.first_at.get_or_insert(at);
    record.last_at = Some(at);
    if new_day {
        record.sources.clear();
    }
    record.sources.push(source);
}

pub(super) fn tell<I: Index>(
    draft: &mut Draft<'_, I>,
    record: &Record,
    account: &AccountId,
    news: LoginNews,
) -> Result<(), IndexError> {
    draft.put_new(tables::login_news(record.seq), &(account, news))
}
