//! Who acts for whom, and when (K6 K12 E12 E13): setting, ending, listing, many at once. All periods of one account that a
//! file names become one change of it.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::csv::{self, Form, Kind, Row};
use super::import::{RowResult, row_result};
use super::plan::OFFICES_MAX;
use super::{Change, Parties, PartyError, Told};
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};
use crate::model::party::{Account, Actor, Delegation, Role, Standing};
use crate::model::time::{Day, Timestamp};
use crate::rules::delegation::{self, Acting, Clash, Edit};
use crate::store::ledger::Op;

/// That an account is to act for an office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationForm {
    /// For which office.
    pub office: OfficeCode,
    /// Which account.
    pub to: AccountId,
    /// The first day; today when absent.
    pub from: Option<Day>,
    /// The last day; none while no end is agreed.
    pub until: Option<Day>,
}

/// A delegation, as `office delegations --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationRow {
    /// The society of both.
    pub insurer: InsurerCode,
    /// For which office.
    pub office: OfficeCode,
    /// Which account.
    pub account: AccountId,
    /// What the account is for.
    pub role: Role,
    /// A test identity.
    pub test: bool,
    /// The first day; none where it was said without one.
    pub from: Option<Day>,
    /// The last day; none while no end is agreed.
    pub until: Option<Day>,
    /// Whether it holds today.
    pub state: DelegationState,
}

/// Whether a delegation holds today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DelegationState {
    /// It does.
    Holds,
    /// It will.
    NotBegun,
    /// It did.
    Ended,
}

/// An account with what a file's rows make of it.
struct Edited {
    account: Account,
    changed: bool,
}

impl Parties {
    /// Lets an account act for an office from a day to a day.
    pub fn delegate(
        &self,
        form: &DelegationForm,
        zone: Tz,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Told, PartyError> {
        let _alone = self.alone();
        let mut account = self.account(&form.to)?;
        let told = self.apply_delegation(&mut account, form, Day::of(now, zone))?;
        if told.change != Change::Unchanged {
            self.ledger.commit(Op::SetAccount { account, new: false }, by.clone(), now)?;
        }
        Ok(told)
    }

    /// Ends a delegation; `last` is its last day, yesterday when absent, so that it ends at once.
    pub fn undelegate(
        &self,
        office: &OfficeCode,
        from: &AccountId,
        last: Option<Day>,
        zone: Tz,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Told, PartyError> {
        let _alone = self.alone();
        let mut account = self.account(from)?;
        let today = Day::of(now, zone);
        let last = last.unwrap_or_else(|| today.before());
        let ended =
            delegation::end(&mut account, office, last).map_err(|clash| refused(&clash, from, office))?;
        let mut notes = vec![match &ended {
            None => format!("It is taken back before it began: {from} will not act for office {office}."),
            Some(_) if last < today => format!(
                "{from} acts for office {office} no more, in running sessions too. What it filed stays; what lies in its outbox \
                 and what still comes goes by the insurer's [delegations]."
            ),
            Some(_) => format!("{from} acts for office {office} until {last}."),
        }];
        if delegation::offices_on(&account, today).is_empty() && account.standing == Standing::Active {
            notes.push(format!(
                "{from} acts for no office today; `account close {from}` if that is for good."
            ));
        }
        self.ledger.commit(Op::SetAccount { account, new: false }, by.clone(), now)?;
        Ok(Told { change: Change::Changed, fields: vec!["delegations".to_owned()], notes })
    }

    /// Delegations of accounts of this insurer (or all), by office, account and first day; `office` and `account` narrow it.
    pub fn delegations(
        &self,
        insurer: Option<&InsurerCode>,
        office: Option<&OfficeCode>,
        account: Option<&AccountId>,
        today: Day,
    ) -> Result<Vec<DelegationRow>, PartyError> {
        let accounts = match account {
            Some(id) => vec![self.account(id)?],
            None => self.ledger.accounts(insurer)?,
        };
        let mut rows: Vec<DelegationRow> = accounts
            .iter()
            .filter(|account| insurer.is_none_or(|insurer| account.insurer == *insurer))
            .flat_map(|account| rows_of(account, today))
            .filter(|row| office.is_none_or(|office| row.office == *office))
            .collect();
        rows.sort_by(|a, b| {
            (&a.insurer, &a.office, &a.account, a.from).cmp(&(&b.insurer, &b.office, &b.account, b.from))
        });
        Ok(rows)
    }

    /// Sets all rows of a file, or says what that would come to. One result a row, in the file's order; a bad row never stops
    /// the rest, and the same file again changes nothing.
    pub fn import_delegations(
        &self,
        rows: &[Row],
        dry_run: bool,
        zone: Tz,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<RowResult>, PartyError> {
        let _alone = self.alone();
        let today = Day::of(now, zone);
        let mut edited: BTreeMap<AccountId, Edited> = BTreeMap::new();
        let mut results = Vec::with_capacity(rows.len());
        for row in rows {
            let told = self.import_row(row, today, &mut edited);
            results.push(row_result(Kind::Delegation, row, told)?);
        }
        if !dry_run {
            for Edited { account, .. } in edited.into_values().filter(|edited| edited.changed) {
                self.ledger.commit(Op::SetAccount { account, new: false }, by.clone(), now)?;
            }
        }
        Ok(results)
    }

    fn import_row(
        &self,
        row: &Row,
        today: Day,
        edited: &mut BTreeMap<AccountId, Edited>,
    ) -> Result<Told, PartyError> {
        let Form::Delegation(form) =
            csv::form(Kind::Delegation, row).map_err(|text| PartyError::new(super::import::ROW, text))?
        else {
            return Err(PartyError::new("FAULT", "the row is no delegation"));
        };
        let edit = match edited.entry(form.to.clone()) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(Edited { account: self.account(&form.to)?, changed: false })
            }
        };
        let told = self.apply_delegation(&mut edit.account, &form, today)?;
        edit.changed |= told.change != Change::Unchanged;
        Ok(told)
    }

    /// Changes the record alone; a refusal leaves it as it was.
    fn apply_delegation(
        &self,
        account: &mut Account,
        form: &DelegationForm,
        today: Day,
    ) -> Result<Told, PartyError> {
        let DelegationForm { office, to, .. } = form;
        let insurer = &account.insurer;
        match self.ledger.office(insurer, office)? {
            None => {
                let text = format!(
                    "office {office} is not enrolled with insurer {insurer}, which {to} belongs to (K8); several insurers: one \
                     account each"
                );
                return Err(PartyError::new("OFFICE-UNKNOWN", text));
            }
            Some(there) if there.standing == Standing::Closed => {
                let text =
                    format!("office {office} of insurer {insurer} is closed; `office resume` opens it again");
                return Err(PartyError::new("OFFICE-CLOSED", text));
            }
            Some(_) => {}
        }
        if account.standing == Standing::Closed {
            let text = format!("account {to} is closed; `account resume` opens it again");
            return Err(PartyError::new("ACCOUNT-CLOSED", text));
        }
        if account.delegations.len() + account.offices.len() >= OFFICES_MAX {
            let text = format!("account {to} has {OFFICES_MAX} offices and delegations; it can have no more");
            return Err(PartyError::new("OFFICES-MANY", text));
        }
        let undated = account.offices.contains(office);
        // Said again without a first day, what holds today is meant.
        let holding = account
            .delegations
            .iter()
            .find(|there| there.office == *office && delegation::holds_on(there, today))
            .map(|there| there.from);
        let from = form.from.or_else(|| holding.flatten()).or(Some(today));
        let period = Delegation { office: office.clone(), from, until: form.until };
        let edit = delegation::delegate(account, period).map_err(|clash| refused(&clash, to, office))?;
        let change = match edit {
            Edit::Added => Change::Added,
            Edit::Changed => Change::Changed,
            Edit::Unchanged => Change::Unchanged,
        };
        let mut notes = Vec::new();
        if undated && change == Change::Changed {
            notes.push(format!("{to} acted for office {office} without an end until now."));
        }
        if let Acting::Ended(until) = delegation::acting(account, office, today) {
            notes.push(format!("It is over already: its last day was {until}."));
        }
        let fields = if change == Change::Changed { vec!["delegations".to_owned()] } else { Vec::new() };
        Ok(Told { change, fields, notes })
    }
}

fn rows_of(account: &Account, today: Day) -> Vec<DelegationRow> {
    let row = |office: &OfficeCode, from, until, state| DelegationRow {
        insurer: account.insurer.clone(),
        office: office.clone(),
        account: account.id.clone(),
        role: account.role,
        test: account.test,
        from,
        until,
        state,
    };
    let own = delegation::own(account);
    let undated = account.offices.iter().filter(|office| Some(*office) != own);
    let undated = undated.map(|office| row(office, None, None, DelegationState::Holds));
    let dated = account.delegations.iter().map(|period| {
        let state = if delegation::holds_on(period, today) {
            DelegationState::Holds
        } else if period.until.is_some_and(|until| until < today) {
            DelegationState::Ended
        } else {
            DelegationState::NotBegun
        };
        row(&period.office, period.from, period.until, state)
    });
    undated.chain(dated).collect()
}

fn refused(clash: &Clash, account: &AccountId, office: &OfficeCode) -> PartyError {
    let (code, text) = match clash {
        Clash::Insurer => {
            ("OFFICE-UNEXPECTED", format!("{account} is an insurer's account; it acts for no office"))
        }
        Clash::Own => {
            let text = format!(
                "{office} is {account}'s own office, for which it always acts; `account suspend` or `close` stops it"
            );
            ("DELEGATION-OWN", text)
        }
        Clash::Backwards => ("DELEGATION-DAYS", "--until is before --from".to_owned()),
        Clash::Overlaps(there) => {
            let day =
                |day: Option<Day>, none: &str| day.map_or_else(|| none.to_owned(), |day| day.to_string());
            let text = format!(
                "{account} acts for office {office} from {} until {} already; give the same --from to change that one, or end it \
                 first with `office undelegate`",
                day(there.from, "the beginning"),
                day(there.until, "further notice")
            );
            ("DELEGATION-OVERLAPS", text)
        }
        Clash::None => {
            let text = format!(
                "{account} has no delegation of office {office} that goes on; `office delegations --account {account}` lists them"
            );
            ("DELEGATION-UNKNOWN", text)
        }
    };
    PartyError::new(code, text)
}
