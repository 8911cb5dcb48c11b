//! Applications from a CSV file: rows of one office belong together (its own and its agent's, K6 K7), and are taken all or
//! none. Other offices' rows go on.

use std::collections::BTreeMap;

use super::again::AgainForm;
use super::{ApplyForm, Enrolment, PartyError};
use crate::model::application::{ApplicationKind, Loss, Material, Payment};
use crate::model::finding::Language;
use crate::model::ids::{AccountId, CertificateId, InsurerCode, OfficeCode, UseClass};
use crate::model::party::{Actor, Role};
use crate::model::time::Timestamp;
use crate::work::parties::csv::{self, FLAGS, Kind, LANGUAGES, Row, needed, word};
use crate::work::parties::import::{Outcome, RowResult};

const ROLES: [(&str, Role); 2] = [("office", Role::Office), ("agent", Role::Agent)];
const PAYMENTS: [(&str, Payment); 2] = [("setoff", Payment::Setoff), ("transfer", Payment::Transfer)];

const KINDS: [(&str, ApplicationKind); 3] = [
    ("new", ApplicationKind::New),
    ("renewal", ApplicationKind::Renewal),
    ("reissue", ApplicationKind::Reissue),
];
const LOSSES: [(&str, Loss); 3] =
    [("key", Loss::Key), ("password", Loss::Password), ("destroyed", Loss::Destroyed)];

/// What the new certificate is made from.
fn material(row: &Row) -> Result<Material, String> {
    let text = |name: &str| row.fields.get(name).cloned();
    match (text("ssh-key"), text("csr"), flag(row, "p12")?) {
        (Some(key), None, false) => Ok(Material::SshKey(key)),
        (None, Some(csr), false) => Ok(Material::Csr(csr)),
        (None, None, true) => Ok(Material::P12),
        (None, None, false) => {
            Err("it needs a key: ssh-key, csr, or yes in p12 (the gateway makes one)".to_owned())
        }
        _ => Err("only one of ssh-key, csr and p12 may be given".to_owned()),
    }
}

fn flag(row: &Row, name: &'static str) -> Result<bool, String> {
    let word = row.fields.get(name).map(|flag| word(flag, name, &FLAGS)).transpose()?;
    Ok(word.unwrap_or(false))
}

fn class(row: &Row) -> Result<Option<UseClass>, String> {
    let class = row.fields.get("class");
    class.map(|class| UseClass::parse(class).map_err(|error| error.to_string())).transpose()
}

fn payment(row: &Row) -> Result<Option<Payment>, String> {
    row.fields.get("payment").map(|name| word(name, "payment", &PAYMENTS)).transpose()
}

/// A row about another certificate of an account that is there; none for one about a new account.
fn again_form(row: &Row) -> Result<Option<AgainForm>, String> {
    let text = |name: &str| row.fields.get(name).cloned();
    let kind = text("kind").map(|kind| word(&kind, "kind", &KINDS)).transpose()?;
    let Some(kind) = kind.filter(|kind| *kind != ApplicationKind::New) else { return Ok(None) };
    if let Some(fault) = &row.fault {
        return Err(fault.clone());
    }
    let fixed = ["role", "office", "user-name", "mail", "language", "test", "machine", "second"];
    if let Some(name) = fixed.into_iter().find(|name| row.fields.contains_key(*name)) {
        return Err(format!("{name} is registered already, and stays empty in a renewal or re-issue"));
    }
    let certificate = text("certificate").map(|id| CertificateId::parse(&id)).transpose();
    Ok(Some(AgainForm {
        kind,
        account: needed(row, "account", AccountId::parse)?,
        certificates: certificate.map_err(|error| error.to_string())?.into_iter().collect(),
        all: false,
        loss: text("loss").map(|loss| word(&loss, "loss", &LOSSES)).transpose()?,
        material: material(row)?,
        class: class(row)?,
        payment: payment(row)?,
        consent: text("consent"),
    }))
}

/// A row as a form.
pub fn form(row: &Row) -> Result<ApplyForm, String> {
    if let Some(fault) = &row.fault {
        return Err(fault.clone());
    }
    let text = |name: &str| row.fields.get(name).cloned();
    let role = text("role").map(|role| word(&role, "role", &ROLES)).transpose()?.unwrap_or(Role::Office);
    Ok(ApplyForm {
        account: needed(row, "account", AccountId::parse)?,
        insurer: needed(row, "insurer", InsurerCode::parse)?,
        role,
        offices: csv::offices(&text("office").ok_or("office is empty")?)?,
        user_name: text("user-name").ok_or("user-name is empty")?,
        mail: text("mail").ok_or("mail is empty")?,
        language: text("language").map(|name| word(&name, "language", &LANGUAGES)).transpose()?,
        class: class(row)?,
        payment: payment(row)?,
        test: flag(row, "test")?,
        machine: flag(row, "machine")?,
        second: flag(row, "second")?,
        material: material(row)?,
    })
}

impl Enrolment {
    /// Takes all rows, or says what taking them would come to. One result a row, in the file's order.
    pub fn import(
        &self,
        rows: &[Row],
        dry_run: bool,
        language: Language,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<RowResult>, PartyError> {
        let mut forms: Vec<Result<ApplyForm, String>> = Vec::new();
        let mut groups: BTreeMap<(InsurerCode, Option<OfficeCode>), Vec<usize>> = BTreeMap::new();
        let mut results: Vec<Option<(Outcome, String)>> = vec![None; rows.len()];
        for (at, row) in rows.iter().enumerate() {
            let again = again_form(row);
            if let Ok(Some(form)) = &again {
                results[at] = Some(self.import_again(form, dry_run, by, now)?);
            }
            let form = again.and_then(|again| match again {
                Some(_) => Err(String::new()),
                None => form(row),
            });
            match &form {
                Err(_) if results[at].is_some() => {}
                Ok(form) => {
                    let key = (form.insurer.clone(), form.offices.first().cloned());
                    groups.entry(key).or_default().push(at);
                }
                Err(text) => results[at] = Some((Outcome::Refused, text.clone())),
            }
            forms.push(form);
        }
        for members in groups.into_values() {
            let group: Vec<ApplyForm> = members.iter().filter_map(|at| forms[*at].clone().ok()).collect();
            self.import_group(&members, &group, rows, dry_run, language, by, now, &mut results)?;
        }
        let fallback = || (Outcome::Refused, "it was not looked at".to_owned());
        let told = results.into_iter().map(|result| result.unwrap_or_else(fallback));
        let result = |(row, (result, detail)): (&Row, _)| RowResult {
            line: row.line,
            key: csv::row_key(Kind::Application, row),
            result,
            detail,
        };
        Ok(rows.iter().zip(told).map(result).collect())
    }

    /// One row about an account that is there: it waits for the insurer's yes like any application, but what was lost is revoked
    /// as the policy says.
    fn import_again(
        &self,
        form: &AgainForm,
        dry_run: bool,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(Outcome, String), PartyError> {
        Ok(match refusal(self.again(form, false, dry_run, by, now))? {
            Ok(taken) if taken.before => {
                (Outcome::Unchanged, taken.id.map(|id| id.to_string()).unwrap_or_default())
            }
            Ok(taken) => (Outcome::Added, taken.id.map(|id| id.to_string()).unwrap_or_default()),
            Err(text) => (Outcome::Refused, text),
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the state of one import")]
    fn import_group(
        &self,
        members: &[usize],
        group: &[ApplyForm],
        rows: &[Row],
        dry_run: bool,
        language: Language,
        by: &Actor,
        now: Timestamp,
        results: &mut [Option<(Outcome, String)>],
    ) -> Result<(), PartyError> {
        let _alone = self.alone();
        let mut drafts = Vec::new();
        let mut bad = None;
        for (at, form) in members.iter().zip(group) {
            match refusal(self.draft(form, group, now))? {
                Ok(draft) => drafts.push(draft),
                Err(text) => {
                    results[*at] = Some((Outcome::Refused, text));
                    bad.get_or_insert(rows[*at].line);
                }
            }
        }
        if let Some(line) = bad {
            let text = format!(
                "GROUP it belongs to line {line}, which was refused: an office's and its agent's go together (K6)"
            );
            for at in members {
                results[*at].get_or_insert_with(|| (Outcome::Refused, text.clone()));
            }
            return Ok(());
        }
        let taken = refusal(self.take(drafts, dry_run, language, by, now))?;
        for (nth, at) in members.iter().enumerate() {
            results[*at] = Some(match &taken {
                Ok(taken) => {
                    let id = taken.ids.get(nth).map(ToString::to_string).unwrap_or_default();
                    let notes = if nth == 0 { taken.notes.join(" ") } else { String::new() };
                    (Outcome::Added, [id, notes].join(" ").trim().to_owned())
                }
                Err(text) => (Outcome::Refused, text.clone()),
            });
        }
        Ok(())
    }
}

/// A refusal is the group's; a journal or disk that fails is everybody's.
fn refusal<T>(done: Result<T, PartyError>) -> Result<Result<T, String>, PartyError> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(error @ PartyError::Refused { .. }) => Ok(Err(error.to_string())),
        Err(PartyError::Ledger(crate::store::ledger::LedgerError::Refused(refusal))) => {
            Ok(Err(refusal.to_string()))
        }
        Err(error) => Err(error),
    }
}
