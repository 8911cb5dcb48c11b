//! Applications from a CSV file: rows of one office belong together (its own and its agent's, K6 K7), and are taken all or
//! none. Other offices' rows go on.

use std::collections::BTreeMap;

use super::{ApplyForm, Enrolment, PartyError};
use crate::model::application::{Material, Payment};
use crate::model::finding::Language;
use crate::model::ids::{AccountId, InsurerCode, OfficeCode, UseClass};
use crate::model::party::{Actor, Role};
use crate::model::time::Timestamp;
use crate::work::parties::csv::{self, FLAGS, Kind, LANGUAGES, Row, needed, word};
use crate::work::parties::import::{Outcome, RowResult};

const ROLES: [(&str, Role); 2] = [("office", Role::Office), ("agent", Role::Agent)];
const PAYMENTS: [(&str, Payment); 2] = [("setoff", Payment::Setoff), ("transfer", Payment::Transfer)];

/// A row as a form.
pub fn form(row: &Row) -> Result<ApplyForm, String> {
    if let Some(fault) = &row.fault {
        return Err(fault.clone());
    }
    let text = |name: &str| row.fields.get(name).cloned();
    let flag = |name: &'static str| -> Result<bool, String> {
        Ok(text(name).map(|flag| word(&flag, name, &FLAGS)).transpose()?.unwrap_or(false))
    };
    let role = text("role").map(|role| word(&role, "role", &ROLES)).transpose()?.unwrap_or(Role::Office);
    let material = match (text("ssh-key"), text("csr"), flag("p12")?) {
        (Some(key), None, false) => Material::SshKey(key),
        (None, Some(csr), false) => Material::Csr(csr),
        (None, None, true) => Material::P12,
        (None, None, false) => {
            return Err("it needs a key: ssh-key, csr, or yes in p12 (the gateway makes one)".to_owned());
        }
        _ => return Err("only one of ssh-key, csr and p12 may be given".to_owned()),
    };
    Ok(ApplyForm {
        account: needed(row, "account", AccountId::parse)?,
        insurer: needed(row, "insurer", InsurerCode::parse)?,
        role,
        offices: csv::offices(&text("office").ok_or("office is empty")?)?,
        user_name: text("user-name").ok_or("user-name is empty")?,
        mail: text("mail").ok_or("mail is empty")?,
        language: text("language").map(|name| word(&name, "language", &LANGUAGES)).transpose()?,
        class: text("class").map(|class| UseClass::parse(&class).map_err(|e| e.to_string())).transpose()?,
        payment: text("payment").map(|name| word(&name, "payment", &PAYMENTS)).transpose()?,
        test: flag("test")?,
        machine: flag("machine")?,
        second: flag("second")?,
        material,
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
        let forms: Vec<Result<ApplyForm, String>> = rows.iter().map(form).collect();
        let mut groups: BTreeMap<(InsurerCode, Option<OfficeCode>), Vec<usize>> = BTreeMap::new();
        let mut results: Vec<Option<(Outcome, String)>> = vec![None; rows.len()];
        for (at, form) in forms.iter().enumerate() {
            match form {
                Ok(form) => {
                    let key = (form.insurer.clone(), form.offices.first().cloned());
                    groups.entry(key).or_default().push(at);
                }
                Err(text) => results[at] = Some((Outcome::Refused, text.clone())),
            }
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
