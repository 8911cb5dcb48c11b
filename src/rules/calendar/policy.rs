//! `[calendar]` of an insurer's file.

use chrono::{Datelike as _, NaiveDate, Weekday};
use serde::Deserialize;

use super::{BusinessDays, Cron, ExpectedDocuments, ExpectedFilings, Holidays, Shift};
use crate::model::ids::Digest;

/// An insurer's calendar. Without one there are no cut-offs, and nothing is expected.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CalendarPolicy {
    /// When a batch is closed, in the gateway's zone.
    pub cut_offs: Vec<Cron>,
    /// Where a cut-off goes that falls on a day that is no business day.
    pub shift: Shift,
    /// Days of the week that are no business days.
    #[serde(deserialize_with = "weekdays")]
    pub weekend: Vec<Weekday>,
    /// Days of every year that are none.
    pub closed: Vec<DayRange>,
    /// The table of holidays, `conf/holidays/NAME.csv`; empty: none.
    pub holidays: String,
    /// Cut-offs that were missed longer ago than this are not caught up one by one: their receipts are in the first batch after.
    pub catch_up_days: u32,
    /// Recurring documents (H25).
    pub documents: Vec<ExpectedDocuments>,
    /// Filings that offices owe.
    pub filings: Vec<ExpectedFilings>,
}

fn weekdays<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Weekday>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    let day = |name: &String| {
        name.parse()
            .map_err(|_| serde::de::Error::custom(format!("{name:?} must be a day of the week, such as sat")))
    };
    names.iter().map(day).collect()
}

impl Default for CalendarPolicy {
    fn default() -> Self {
        Self {
            cut_offs: Vec::new(),
            shift: Shift::None,
            weekend: vec![Weekday::Sat, Weekday::Sun],
            closed: vec![DayRange { from: (12, 29), to: (1, 3) }],
            holidays: "ja".to_owned(),
            catch_up_days: 31,
            documents: Vec::new(),
            filings: Vec::new(),
        }
    }
}

impl CalendarPolicy {
    /// Whether there is anything in it to do or to watch.
    pub fn is_empty(&self) -> bool {
        self.cut_offs.is_empty() && self.documents.is_empty() && self.filings.is_empty()
    }

    /// Stands for when batches are closed: another one means that cut-offs were added, removed or moved.
    pub fn cut_off_digest(&self) -> Digest {
        let times: Vec<_> = self.cut_offs.iter().map(|Cron(schedule)| schedule.source()).collect();
        Digest::of(format!("{:?} {times:?}", self.shift).as_bytes())
    }

    /// What cannot be meant; names the key.
    pub fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !self.holidays.chars().all(plain) {
            return Err(format!(
                "holidays = {:?}: must be the name of a table in conf/holidays/",
                self.holidays
            ));
        }
        if self.weekend.len() >= 7 {
            return Err("weekend: a week needs a business day".to_owned());
        }
        if !(1..=366).contains(&self.catch_up_days) {
            return Err("catch_up_days: must be 1 to 366".to_owned());
        }
        self.documents.iter().try_for_each(ExpectedDocuments::check)?;
        self.filings.iter().try_for_each(ExpectedFilings::check)
    }

    /// Its business days, with the table it names.
    pub fn business_days(&self, holidays: Holidays) -> BusinessDays {
        BusinessDays { weekend: self.weekend.clone(), closed: self.closed.clone(), holidays }
    }
}

/// Days of every year, both included: `12-29..01-03`, or one: `08-15`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DayRange {
    pub(super) from: (u32, u32),
    pub(super) to: (u32, u32),
}

impl TryFrom<String> for DayRange {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let day = |text: &str| {
            // A leap year, so that 02-29 is a day.
            let day = NaiveDate::parse_from_str(&format!("2024-{text}"), "%Y-%m-%d").ok()?;
            Some((day.month(), day.day()))
        };
        let (from, to) = text.split_once("..").unwrap_or((&text, &text));
        match (day(from), day(to)) {
            (Some(from), Some(to)) => Ok(Self { from, to }),
            _ => Err(format!("{text:?} must be days of the year, such as 12-29..01-03 or 08-15")),
        }
    }
}

impl DayRange {
    /// Whether a day is among them.
    pub fn holds(&self, day: NaiveDate) -> bool {
        let day = (day.month(), day.day());
        if self.from <= self.to {
            self.from <= day && day <= self.to
        } else {
            self.from <= day || day <= self.to
        }
    }
}
