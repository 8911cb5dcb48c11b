//! Many parties at once: each row planned first, then all cards made durable together, then each change committed. A bad
//! row never stops the rest, and the same file again changes nothing.

use serde::{Deserialize, Serialize};

use super::csv::{self, Form, Kind, Row};
use super::plan::{self, Mode, Plan};
use super::{AccountRules, Change, Parties, PartyError, Told};
use crate::model::ids::BlobId;
use crate::model::party::Actor;
use crate::model::time::Timestamp;

/// Commits under way at the same time: they share the journal's fsyncs.
const COMMITTERS: usize = 16;

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowResult {
    /// Line of the file, from 1.
    pub line: u64,
    /// Which party.
    pub key: String,
    /// What became of it.
    pub result: Outcome,
    /// Why it was refused, which fields changed, what to know.
    pub detail: String,
}

/// What became of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// New (or would be).
    Added,
    /// Differs now (or would).
    Changed,
    /// Was so already.
    Unchanged,
    /// Not done.
    Refused,
}

/// Of a row that cannot be read: its text stands alone in the report.
pub(super) const ROW: &str = "ROW";

type Planned = Result<(Plan, Option<BlobId>), PartyError>;

impl Parties {
    /// Sets all rows, or says what setting them would come to. One result a row, in the file's order.
    pub fn import(
        &self,
        kind: Kind,
        rows: &[Row],
        dry_run: bool,
        rules: AccountRules<'_>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<RowResult>, PartyError> {
        let _alone = self.alone();
        let mut view = self.view();
        let mut planned: Vec<Planned> = rows
            .iter()
            .map(|row| {
                let form = csv::form(kind, row).map_err(|text| PartyError::new(ROW, text))?;
                let plan = match &form {
                    Form::Insurer(form) => plan::insurer(form, Mode::Import, &mut view),
                    Form::Office(form) => plan::office(form, Mode::Import, &mut view),
                    Form::Account(form) => plan::account(form, Mode::Import, rules, &mut view),
                    // They change accounts, several of them the same one: see `import_delegations`.
                    Form::Delegation(_) => {
                        Err(PartyError::new(ROW, "delegations have an import of their own"))
                    }
                };
                plan.map(|plan| (plan, None))
            })
            .collect();
        drop(view);
        if !dry_run {
            let mut blobs = Vec::new();
            for (plan, card) in planned.iter_mut().flatten() {
                *card = self.put_card(plan, now)?;
                blobs.extend(card.clone());
            }
            self.blobs.sync(&blobs)?;
        }
        let told: Vec<Result<Told, PartyError>> = if dry_run {
            planned.into_iter().map(|planned| planned.map(|(plan, _)| plan.told)).collect()
        } else {
            self.commit_all(planned, by, now)
        };
        rows.iter().zip(told).map(|(row, told)| row_result(kind, row, told)).collect()
    }

    /// Commits in parallel, so that hundreds of rows share a few fsyncs. Rows do not depend on each other: they are of one
    /// kind, each about another party.
    fn commit_all(&self, planned: Vec<Planned>, by: &Actor, now: Timestamp) -> Vec<Result<Told, PartyError>> {
        let mut slots: Vec<Option<Planned>> = planned.into_iter().map(Some).collect();
        let share = slots.len().div_ceil(COMMITTERS).max(1);
        std::thread::scope(|scope| {
            let committers: Vec<_> = slots
                .chunks_mut(share)
                .map(|chunk| {
                    scope.spawn(move || {
                        chunk
                            .iter_mut()
                            .filter_map(Option::take)
                            .map(|planned| planned.and_then(|(plan, card)| self.finish(plan, card, by, now)))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            committers
                .into_iter()
                .flat_map(|committer| match committer.join() {
                    Ok(told) => told,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        })
    }
}

/// A refusal is the row's; a journal or disk that fails is everybody's.
pub(super) fn row_result(
    kind: Kind,
    row: &Row,
    told: Result<Told, PartyError>,
) -> Result<RowResult, PartyError> {
    let (result, detail) = match told {
        Ok(told) => {
            let mut detail = told.fields.join(", ");
            for note in &told.notes {
                if !detail.is_empty() {
                    detail.push_str(": ");
                }
                detail.push_str(note);
            }
            let result = match told.change {
                Change::Added => Outcome::Added,
                Change::Changed => Outcome::Changed,
                Change::Unchanged => Outcome::Unchanged,
            };
            (result, detail)
        }
        Err(PartyError::Refused { code: ROW, text }) => (Outcome::Refused, text),
        Err(error @ PartyError::Refused { .. }) => (Outcome::Refused, error.to_string()),
        Err(PartyError::Ledger(crate::store::ledger::LedgerError::Refused(refusal))) => {
            (Outcome::Refused, refusal.to_string())
        }
        Err(error) => return Err(error),
    };
    Ok(RowResult { line: row.line, key: csv::row_key(kind, row), result, detail })
}
