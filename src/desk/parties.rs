//! Insurers, offices, accounts.

use serde_json::json;

use super::listing::{cut, page, value};
use super::logins;
use super::parts::Parts;
use super::request::{Answer, PartyRequest, Response};
use super::trouble::Trouble;
use crate::model::ids::{InsurerCode, OfficeCode};
use crate::model::party::{Account, Actor};
use crate::model::time::{Day, Timestamp};
use crate::rules::delegation::{self, Acting};
use crate::work::parties::csv::Kind;
use crate::work::parties::delegations::DelegationRow;
use crate::work::parties::import::Outcome;
use crate::work::parties::{AccountRules, Change, PartyName, Told};

pub(super) fn answer(parts: &Parts, request: PartyRequest, by: &Actor, now: Timestamp) -> Response {
    let parties = &parts.parties;
    let second = |insurer: &InsurerCode| parts.second_account(insurer);
    let rules = AccountRules { second: &second, language: parts.config.get().gateway.language };
    let zone = parts.config.get().gateway.zone;
    match request {
        PartyRequest::SetInsurer(form, mode) => {
            Ok(set(parts, form.code.as_str(), parties.set_insurer(&form, mode, by, now)?))
        }
        PartyRequest::SetOffice(form, mode) => {
            Ok(set(parts, form.code.as_str(), parties.set_office(&form, mode, by, now)?))
        }
        PartyRequest::SetAccount(form, mode) => {
            Ok(set(parts, form.id.as_str(), parties.set_account(&form, mode, rules, by, now)?))
        }
        PartyRequest::RemoveKey(account, fingerprint) => {
            Ok(set(parts, account.as_str(), parties.remove_key(&account, &fingerprint, by, now)?))
        }
        PartyRequest::Password { account, purpose, reset } => {
            logins::password(parts, &account, purpose, reset, by, now)
        }
        PartyRequest::Unlock(account) => logins::unlock(parts, &account, by, now),
        PartyRequest::Stand(name, to) => {
            let told = parties.set_standing(&name, to, zone, by, now)?;
            let key = match &name {
                PartyName::Insurer(code) => code.as_str(),
                PartyName::Office(_, code) => code.as_str(),
                PartyName::Account(id) => id.as_str(),
            };
            Ok(set(parts, key, told))
        }
        PartyRequest::Import { kind, rows, dry_run } => {
            let results = match kind {
                Kind::Delegation => parties.import_delegations(&rows, dry_run, zone, by, now)?,
                _ => parties.import(kind, &rows, dry_run, rules, by, now)?,
            };
            let findings = results.iter().any(|row| row.result == Outcome::Refused);
            if !dry_run {
                changed(parts);
            }
            Ok(Answer { findings, ..Answer::of(value(results)?) })
        }
        PartyRequest::Insurers => {
            let all = parts.ledger.insurers()?.into_iter().map(|insurer| parties.insurer_row(insurer));
            Ok(Answer::of(value(all.collect::<Result<Vec<_>, _>>()?)?))
        }
        PartyRequest::Offices { insurer, after } => offices(parts, insurer, after.as_deref()),
        PartyRequest::Accounts { insurer, office, after } => {
            accounts(parts, insurer.as_ref(), office.as_ref(), after.as_deref())
        }
        PartyRequest::Show(name) => show(parts, &name, Day::of(now, zone), now),
        PartyRequest::Delegate(form) => {
            let key = format!("{}/{}", form.office, form.to);
            Ok(set(parts, &key, parties.delegate(&form, zone, by, now)?))
        }
        PartyRequest::Undelegate { office, account, last } => {
            let told = parties.undelegate(&office, &account, last, zone, by, now)?;
            Ok(set(parts, &format!("{office}/{account}"), told))
        }
        PartyRequest::Delegations { insurer, office, account, after } => {
            let today = Day::of(now, zone);
            let rows = parties.delegations(insurer.as_ref(), office.as_ref(), account.as_ref(), today)?;
            let key = |row: &DelegationRow| {
                let from = row.from.map(|from| from.to_string()).unwrap_or_default();
                format!("{}/{}/{}/{from}", row.insurer, row.office, row.account)
            };
            page(cut(rows, key, after.as_deref()), key, value)
        }
    }
}

fn set(parts: &Parts, key: &str, told: Told) -> Answer {
    if told.change != Change::Unchanged {
        changed(parts);
    }
    let row = json!({ "key": key, "result": told.change, "fields": told.fields });
    Answer { notes: told.notes, ..Answer::of(row) }
}

pub(super) fn changed(parts: &Parts) {
    if let Some(live) = &parts.live {
        live.parties_changed();
    }
}

fn offices(parts: &Parts, insurer: Option<InsurerCode>, after: Option<&str>) -> Response {
    let insurers = match insurer {
        Some(code) if parts.ledger.insurer(&code)?.is_none() => {
            return Err(Trouble::unknown(format!("insurer {code}")));
        }
        Some(code) => vec![code],
        None => parts.ledger.insurers()?.into_iter().map(|insurer| insurer.code).collect(),
    };
    let mut all = Vec::new();
    for code in &insurers {
        all.extend(parts.ledger.offices(code)?);
    }
    let key = |office: &crate::model::party::Office| format!("{}/{}", office.insurer, office.code);
    page(cut(all, key, after), key, |office| value(parts.parties.office_row(office)?))
}

fn accounts(
    parts: &Parts,
    insurer: Option<&InsurerCode>,
    office: Option<&OfficeCode>,
    after: Option<&str>,
) -> Response {
    if let Some(code) = insurer
        && parts.ledger.insurer(code)?.is_none()
    {
        return Err(Trouble::unknown(format!("insurer {code}")));
    }
    let mut all = parts.ledger.accounts(insurer)?;
    if let Some(office) = office {
        all.retain(|account| delegation::offices_ever(account).contains(office));
    }
    let key = |account: &crate::model::party::Account| account.id.to_string();
    page(cut(all, key, after), key, |account| value(parts.parties.account_row(account)?))
}

fn show(parts: &Parts, name: &PartyName, today: Day, now: Timestamp) -> Response {
    let (ledger, parties) = (&parts.ledger, &parts.parties);
    let row = match name {
        PartyName::Insurer(code) => {
            let insurer = ledger.insurer(code)?;
            let insurer = insurer.ok_or_else(|| Trouble::unknown(format!("insurer {code}")))?;
            let mut row = value(parties.insurer_row(insurer)?)?;
            row["offices"] = json!(ledger.offices(code)?.len());
            row["accounts"] = json!(ledger.accounts(Some(code))?.len());
            row
        }
        PartyName::Office(insurer, code) => {
            let office = ledger.office(insurer, code)?;
            let office =
                office.ok_or_else(|| Trouble::unknown(format!("office {code} of insurer {insurer}")))?;
            let mut row = value(parties.office_row(office)?)?;
            let accounts = ledger.accounts(Some(insurer))?;
            let acts = |account: &&Account| delegation::acting(account, code, today) == Acting::Yes;
            let acting = accounts.iter().filter(acts);
            row["accounts"] = json!(acting.map(|account| account.id.as_str()).collect::<Vec<_>>());
            row
        }
        PartyName::Account(id) => {
            let account = ledger.account(id)?.ok_or_else(|| Trouble::unknown(format!("account {id}")))?;
            let login = logins::show(parts, &account, now)?;
            let mut row = value(parties.account_row(account)?)?;
            row["login"] = login;
            row
        }
    };
    Ok(Answer::of(row))
}
