//! What was to come by a day and did not: recurring documents (H25), filings that offices owe. Each is an alarm while it lasts,
//! until the next of its kind is awaited, and a mail to whom the policy says, once.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::alarms::Alarms;
use super::batches::Calendars;
use crate::model::finding::Text;
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};
use crate::model::party::{Account, Role, Standing};
use crate::model::time::{Day, Timestamp};
use crate::rules::calendar::{
    BusinessDays, CalendarPolicy, ExpectedDocuments, ExpectedFilings, Occurrence, Tell,
};
use crate::rules::delegation::offices_on;
use crate::store::ledger::{Ledger, LedgerError};

/// An office is told of a filing that is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reminder {
    /// To this account, which acts for the office.
    pub account: AccountId,
    /// The office.
    pub office: OfficeCode,
    /// The last day.
    pub day: NaiveDate,
    /// Which filing.
    pub what: Text,
    /// What it is about: one of a kind is told once.
    pub about: String,
}

/// An insurer's contact is told of what has not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// Whose contact.
    pub insurer: InsurerCode,
    /// By which day it was to come.
    pub day: NaiveDate,
    /// What.
    pub items: Vec<Text>,
    /// What it is about: one of a kind is told once.
    pub about: String,
}

/// Tells by mail. Telling the same again does nothing.
pub trait Teller: Send + Sync {
    /// An office.
    fn remind(&self, reminder: &Reminder, now: Timestamp) -> anyhow::Result<()>;
    /// An insurer.
    fn absent(&self, absence: &Absence, now: Timestamp) -> anyhow::Result<()>;
}

/// What a form is called by its code; none when no table of this insurer knows it.
pub type FormNames = dyn Fn(&InsurerCode, &str) -> Option<Text> + Send + Sync;

/// The stage.
pub struct Expected {
    /// What came.
    pub ledger: Arc<dyn Ledger>,
    /// Insurers' calendars.
    pub calendars: Arc<Calendars>,
    /// What an insurer's forms are called.
    pub forms: Arc<FormNames>,
    /// Days are counted here.
    pub zone: Tz,
    /// Where it is said.
    pub alarms: Arc<dyn Alarms>,
    /// By whom it is told.
    pub teller: Arc<dyn Teller>,
    /// What was told since the start, so that the teller is not asked every time. Starts empty.
    pub told: Mutex<HashSet<String>>,
}

/// Offices or accounts named in one line.
const NAMED_MAX: usize = 8;

/// Tellings remembered.
const TOLD_MAX: usize = 50_000;

/// One thing that has not come.
struct Missing {
    day: NaiveDate,
    what: Text,
    tell: Vec<Tell>,
}

/// An account, and the offices that it acts for today.
type Filer = (AccountId, Vec<OfficeCode>);

/// One insurer's calendar, looked at now.
struct Look<'a> {
    code: &'a InsurerCode,
    days: &'a BusinessDays,
    /// What was due before is nobody's business.
    began: Timestamp,
    now: Timestamp,
}

impl Expected {
    /// Looks at every insurer's calendar.
    pub fn step(&self, now: Timestamp) -> anyhow::Result<()> {
        if self.ledger.head().unreconciled {
            return Ok(());
        }
        for insurer in self.ledger.insurers()? {
            let code = &insurer.code;
            let (documents, filings) =
                (format!("DOCUMENTS-MISSING {code}"), format!("FILINGS-MISSING {code}"));
            let calendar =
                if insurer.standing == Standing::Active { (self.calendars)(code).ok() } else { None };
            let (Some((policy, days)), Some(state)) = (calendar, self.ledger.calendar(code)?) else {
                self.alarms.clear(&documents);
                self.alarms.clear(&filings);
                continue;
            };
            let look = Look { code, days: &days, began: state.began, now };
            let missing = self.documents(&policy, &look)?;
            self.say(&documents, "documents", &missing, &look)?;
            let missing = self.filings(&policy, &look)?;
            self.say(&filings, "filings", &missing, &look)?;
        }
        Ok(())
    }

    fn say(&self, alarm: &str, kind: &str, missing: &[Missing], look: &Look<'_>) -> anyhow::Result<()> {
        let told = |whom: Tell| missing.iter().filter(move |one| one.tell.contains(&whom));
        let lines: Vec<String> =
            told(Tell::Operator).map(|one| format!("{} ({})", one.what.en, one.day)).collect();
        if lines.is_empty() {
            self.alarms.clear(alarm);
        } else {
            let text = format!(
                "expected and not there: {}; ask the insurer, or correct its [calendar]",
                lines.join("; ")
            );
            self.alarms.raise(alarm, &text, look.now);
        }
        let days: BTreeSet<NaiveDate> = told(Tell::Insurer).map(|one| one.day).collect();
        for day in days {
            let items: Vec<Text> =
                told(Tell::Insurer).filter(|one| one.day == day).map(|one| one.what.clone()).collect();
            let about = format!("{} {kind} {day}", look.code);
            let absence = Absence { insurer: look.code.clone(), day, items, about };
            self.once(&absence.about, || self.teller.absent(&absence, look.now))?;
        }
        Ok(())
    }

    fn once(&self, about: &str, tell: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let told = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told().contains(about) {
            return Ok(());
        }
        tell()?;
        let mut told = told();
        // Forgotten, it is asked once more and not told again.
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(about.to_owned());
        Ok(())
    }

    /// The occurrence that is missing whatever has not come, if one is looked after now.
    fn watched(&self, when: &crate::rules::calendar::Monthly, look: &Look<'_>) -> Option<Occurrence> {
        when.watched(look.now, look.days, self.zone).filter(|of| of.deadline > look.began)
    }

    fn documents(&self, policy: &CalendarPolicy, look: &Look<'_>) -> anyhow::Result<Vec<Missing>> {
        let mut missing = Vec::new();
        for expected in policy.documents.iter().filter(|expected| !expected.conditional) {
            let Some(of) = self.watched(&expected.when, look) else { continue };
            for kind in &expected.types {
                if let Some(what) = self.absent(look.code, expected, kind, of)? {
                    missing.push(Missing { day: of.day, what, tell: expected.tell.clone() });
                }
            }
        }
        Ok(missing)
    }

    /// Who has no document of this type yet.
    fn absent(
        &self,
        code: &InsurerCode,
        expected: &ExpectedDocuments,
        kind: &str,
        of: Occurrence,
    ) -> Result<Option<Text>, LedgerError> {
        let (mut offices, mut accounts) = (BTreeSet::new(), BTreeSet::new());
        for last in self.ledger.last_documents(code, kind)? {
            let test = self.ledger.account(&last.account)?.is_none_or(|account| account.test);
            if !test && last.placed_at >= of.opens {
                offices.insert(last.office);
                accounts.insert(last.account);
            }
        }
        if expected.offices.is_empty() && expected.accounts.is_empty() {
            return Ok(offices.is_empty().then(|| Text::new(kind, kind)));
        }
        let mut without: Vec<String> = expected
            .offices
            .iter()
            .filter(|office| !offices.contains(*office))
            .map(ToString::to_string)
            .collect();
        let lacking = expected.accounts.iter().filter(|account| !accounts.contains(*account));
        without.extend(lacking.map(ToString::to_string));
        Ok(named(&without).map(|named| Text::new(format!("{kind}: {named}"), format!("{kind} for {named}"))))
    }

    fn filings(&self, policy: &CalendarPolicy, look: &Look<'_>) -> anyhow::Result<Vec<Missing>> {
        let mut missing = Vec::new();
        for expected in &policy.filings {
            let over = self.watched(&expected.when, look);
            let soon = expected.when.next(look.now, look.days, self.zone);
            let soon = soon.filter(|of| expected.reminds(*of, self.zone).is_some_and(|at| at <= look.now));
            if over.is_none() && soon.is_none() {
                continue;
            }
            let accounts = self.accounts(look)?;
            let what = self.what_of(look.code, expected);
            if let Some(of) = soon {
                let owing = self.owing(look.code, expected, of, &accounts)?;
                self.remind(look, (expected, &what), of, &owing, &accounts, "before")?;
            }
            let Some(of) = over else { continue };
            let owing = self.owing(look.code, expected, of, &accounts)?;
            if expected.tell.contains(&Tell::Office) {
                self.remind(look, (expected, &what), of, &owing, &accounts, "after")?;
            }
            let without: Vec<String> = owing.iter().map(ToString::to_string).collect();
            if let Some(named) = named(&without) {
                let what = Text::new(
                    format!("{}: 事業所 {named}", what.ja),
                    format!("{} of offices {named}", what.en),
                );
                missing.push(Missing { day: of.day, what, tell: expected.tell.clone() });
            }
        }
        Ok(missing)
    }

    /// Accounts that may file, each with the offices that it acts for today.
    fn accounts(&self, look: &Look<'_>) -> Result<Vec<Filer>, LedgerError> {
        let files = |account: &Account| {
            !account.test && account.standing == Standing::Active && account.role != Role::Insurer
        };
        let today = Day(look.now.date_in(self.zone));
        let accounts = self.ledger.accounts(Some(look.code))?.into_iter().filter(files);
        Ok(accounts.map(|account| (account.id.clone(), offices_on(&account, today))).collect())
    }

    /// Offices of which nothing has come for an occurrence.
    fn owing(
        &self,
        code: &InsurerCode,
        expected: &ExpectedFilings,
        of: Occurrence,
        accounts: &[Filer],
    ) -> Result<Vec<OfficeCode>, LedgerError> {
        let offices: BTreeSet<OfficeCode> = if expected.offices.is_empty() {
            accounts.iter().flat_map(|(_, offices)| offices.iter().cloned()).collect()
        } else {
            expected.offices.iter().cloned().collect()
        };
        let mut owing = Vec::new();
        for office in offices {
            let active = self.ledger.office(code, &office)?.is_some_and(|of| of.standing == Standing::Active);
            if active && self.last_filing(code, &office, expected)?.is_none_or(|at| at < of.opens) {
                owing.push(office);
            }
        }
        Ok(owing)
    }

    fn last_filing(
        &self,
        code: &InsurerCode,
        office: &OfficeCode,
        expected: &ExpectedFilings,
    ) -> Result<Option<Timestamp>, LedgerError> {
        if expected.forms.is_empty() {
            return self.ledger.last_filing(code, office, None);
        }
        let mut last = None;
        for form in &expected.forms {
            last = last.max(self.ledger.last_filing(code, office, Some(form))?);
        }
        Ok(last)
    }

    /// Which filing, as its readers call it.
    fn what_of(&self, code: &InsurerCode, expected: &ExpectedFilings) -> Text {
        let names: Vec<Text> = expected
            .forms
            .iter()
            .map(|form| (self.forms)(code, form).unwrap_or_else(|| Text::new(form.clone(), form.clone())))
            .collect();
        let join = |of: fn(&Text) -> &str, by: &str| names.iter().map(of).collect::<Vec<_>>().join(by);
        if names.is_empty() {
            return Text::new("届出", "filing");
        }
        Text::new(join(|name| &name.ja, "・"), format!("filing ({})", join(|name| &name.en, ", ")))
    }

    fn remind(
        &self,
        look: &Look<'_>,
        (expected, what): (&ExpectedFilings, &Text),
        of: Occurrence,
        owing: &[OfficeCode],
        accounts: &[Filer],
        when: &str,
    ) -> anyhow::Result<()> {
        let forms = expected.forms.join("+");
        for office in owing {
            for (account, _) in accounts.iter().filter(|(_, offices)| offices.contains(office)) {
                let about = format!("{} {office} {account} {forms} {} {when}", look.code, of.day);
                let (account, office) = (account.clone(), office.clone());
                let reminder = Reminder { account, office, day: of.day, what: what.clone(), about };
                self.once(&reminder.about, || self.teller.remind(&reminder, look.now))?;
            }
        }
        Ok(())
    }
}

/// The first of many, and how many more; none of none.
fn named(all: &[String]) -> Option<String> {
    let more = all.len().saturating_sub(NAMED_MAX);
    let shown = all.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match (all.len(), more) {
        (0, _) => None,
        (_, 0) => Some(shown),
        (_, more) => Some(format!("{shown} (+{more})")),
    }
}
