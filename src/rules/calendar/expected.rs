//! What is expected on a day of the month: recurring documents from the insurer (H25), filings from offices.

use chrono::{Datelike as _, Days, Months, NaiveDate};
use chrono_tz::Tz;
use serde::Deserialize;

use super::{BusinessDays, Shift, day_begins, day_ends};
use crate::model::ids::{AccountId, OfficeCode};
use crate::model::time::Timestamp;

/// A day of the month, every month or some, and how much earlier or later will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monthly {
    /// 1 to 31; a month's last day stands for days that it does not have.
    pub day: u32,
    /// Months in which it is expected; all when empty.
    pub months: Vec<u32>,
    /// Where it goes on a day that is no business day.
    pub shift: Shift,
    /// What comes so many days before counts.
    pub early_days: u32,
    /// Missing is only what has not come this many days after.
    pub grace_days: u32,
}

/// One day on which something is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// The day, shifted.
    pub day: NaiveDate,
    /// What comes from here on counts for it.
    pub opens: Timestamp,
    /// What has not come by then is missing.
    pub deadline: Timestamp,
}

/// What is missing is looked after for so many days at least.
const WATCH_DAYS_MIN: u32 = 7;
/// Further ahead and behind than this nobody looks.
const MONTHS_MAX: u32 = 24;

impl Monthly {
    fn check(&self, key: &str) -> Result<(), String> {
        if !(1..=31).contains(&self.day) {
            return Err(format!("{key}.day = {}: must be a day, 1 to 31", self.day));
        }
        if self.months.iter().any(|month| !(1..=12).contains(month)) {
            return Err(format!("{key}.months: must be months, 1 to 12"));
        }
        if self.early_days > 366 || self.grace_days > 366 {
            return Err(format!("{key}: early_days and grace_days are at most 366"));
        }
        Ok(())
    }

    /// In the month of this day, if it is expected then.
    fn in_month_of(&self, month: NaiveDate, days: &BusinessDays, zone: Tz) -> Option<Occurrence> {
        if !self.months.is_empty() && !self.months.contains(&month.month()) {
            return None;
        }
        let day = (1..=self.day).rev().find_map(|day| month.with_day(day))?;
        let day = days.shifted(day, self.shift);
        let opens = day.checked_sub_days(Days::new(u64::from(self.early_days)))?;
        let last = day.checked_add_days(Days::new(u64::from(self.grace_days)))?;
        Some(Occurrence { day, opens: day_begins(opens, zone), deadline: day_ends(last, zone) })
    }

    /// The last one whose deadline is over.
    pub fn over(&self, now: Timestamp, days: &BusinessDays, zone: Tz) -> Option<Occurrence> {
        let month = now.date_in(zone).with_day(1)?.checked_add_months(Months::new(2))?;
        let months = (0..MONTHS_MAX).filter_map(|n| month.checked_sub_months(Months::new(n)));
        months.filter_map(|month| self.in_month_of(month, days, zone)).find(|found| found.deadline <= now)
    }

    /// The next one whose deadline is to come.
    pub fn next(&self, now: Timestamp, days: &BusinessDays, zone: Tz) -> Option<Occurrence> {
        self.coming(now, days, zone).next()
    }

    /// All whose deadline is to come, in order.
    pub fn coming<'a>(
        &'a self,
        now: Timestamp,
        days: &'a BusinessDays,
        zone: Tz,
    ) -> impl Iterator<Item = Occurrence> + 'a {
        let month = now.date_in(zone).with_day(1).and_then(|day| day.checked_sub_months(Months::new(14)));
        let months = (0..14 + MONTHS_MAX).filter_map(move |n| month?.checked_add_months(Months::new(n)));
        months
            .filter_map(move |month| self.in_month_of(month, days, zone))
            .filter(move |found| found.deadline > now)
    }

    /// The one that is looked after at this time: whose deadline was over last, until the next one opens, and for a week at
    /// least.
    pub fn watched(&self, now: Timestamp, days: &BusinessDays, zone: Tz) -> Option<Occurrence> {
        let over = self.over(now, days, zone)?;
        let next = self.next(now, days, zone).map_or(Timestamp(i64::MAX), |next| next.opens);
        (now < next.max(over.deadline.plus_days(WATCH_DAYS_MIN))).then_some(over)
    }
}

/// Who is told of what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tell {
    /// The operator, by an alarm.
    Operator,
    /// The insurer's contact, by mail.
    Insurer,
    /// The office's accounts, by mail.
    Office,
}

/// `[[calendar.documents]]`: documents that the insurer leaves on a day (H25).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawDocuments")]
pub struct ExpectedDocuments {
    /// Types from the insurer's table, each expected for itself.
    pub types: Vec<String>,
    /// When.
    pub when: Monthly,
    /// It comes only if there is reason (返戻): shown in the calendar, never missing.
    pub conditional: bool,
    /// Every one of these offices is to have one; with `accounts` also empty, one for anybody is enough.
    pub offices: Vec<OfficeCode>,
    /// Every one of these accounts is to have one.
    pub accounts: Vec<AccountId>,
    /// Who is told.
    pub tell: Vec<Tell>,
}

/// `[[calendar.filings]]`: filings that offices owe by a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawFilings")]
pub struct ExpectedFilings {
    /// Form codes, any of which will do; any form when empty.
    pub forms: Vec<String>,
    /// When.
    pub when: Monthly,
    /// Of these offices; of all that have an account when empty.
    pub offices: Vec<OfficeCode>,
    /// So many days before the day an office from which nothing came is reminded (when it is told at all); 0: only when it is
    /// missing.
    pub remind_days: u32,
    /// Who is told.
    pub tell: Vec<Tell>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocuments {
    types: Vec<String>,
    day: u32,
    #[serde(default)]
    months: Vec<u32>,
    #[serde(default)]
    shift: Shift,
    #[serde(default = "ten")]
    early_days: u32,
    #[serde(default = "one")]
    grace_days: u32,
    #[serde(default)]
    conditional: bool,
    #[serde(default)]
    offices: Vec<OfficeCode>,
    #[serde(default)]
    accounts: Vec<AccountId>,
    #[serde(default = "operator")]
    tell: Vec<Tell>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFilings {
    #[serde(default)]
    forms: Vec<String>,
    day: u32,
    #[serde(default)]
    months: Vec<u32>,
    #[serde(default)]
    shift: Shift,
    #[serde(default = "thirty")]
    early_days: u32,
    #[serde(default)]
    grace_days: u32,
    #[serde(default)]
    offices: Vec<OfficeCode>,
    #[serde(default)]
    remind_days: u32,
    #[serde(default = "operator")]
    tell: Vec<Tell>,
}

fn one() -> u32 {
    1
}
fn ten() -> u32 {
    10
}
fn thirty() -> u32 {
    30
}
fn operator() -> Vec<Tell> {
    vec![Tell::Operator]
}

impl TryFrom<RawDocuments> for ExpectedDocuments {
    type Error = String;
    fn try_from(raw: RawDocuments) -> Result<Self, String> {
        let RawDocuments { types, day, months, shift, early_days, grace_days, conditional, .. } = raw;
        let when = Monthly { day, months, shift, early_days, grace_days };
        let (offices, accounts, tell) = (raw.offices, raw.accounts, raw.tell);
        Ok(Self { types, when, conditional, offices, accounts, tell })
    }
}

impl TryFrom<RawFilings> for ExpectedFilings {
    type Error = String;
    fn try_from(raw: RawFilings) -> Result<Self, String> {
        let RawFilings { forms, day, months, shift, early_days, grace_days, offices, remind_days, tell } =
            raw;
        let when = Monthly { day, months, shift, early_days, grace_days };
        Ok(Self { forms, when, offices, remind_days, tell })
    }
}

impl ExpectedDocuments {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.types.is_empty() || self.types.iter().any(String::is_empty) {
            return Err("documents.types: name the types that are expected".to_owned());
        }
        if self.tell.contains(&Tell::Office) {
            return Err(
                "documents.tell: must be operator and insurer; an office has nothing to do here".to_owned()
            );
        }
        self.when.check("documents")
    }
}

impl ExpectedFilings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.remind_days > 366 {
            return Err("filings.remind_days: at most 366".to_owned());
        }
        self.when.check("filings")
    }

    /// When offices are reminded of this one, if they are before it is missing.
    pub fn reminds(&self, of: Occurrence, zone: Tz) -> Option<Timestamp> {
        let wanted = self.tell.contains(&Tell::Office) && self.remind_days > 0;
        let day = of.day.checked_sub_days(Days::new(u64::from(self.remind_days)))?;
        wanted.then(|| day_begins(day, zone))
    }
}
