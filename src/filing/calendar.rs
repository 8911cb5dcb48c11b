//! When filings are taken (E; default always): a window of days in each month.

use chrono::{Datelike as _, Days, NaiveDate};
use serde::Deserialize;

/// What happens outside the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outside {
    /// It waits for the next opening.
    Hold,
    /// It is refused.
    Refuse,
}

/// A receiving calendar: from one day of each month to another, both included; a month's last day stands for days that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// First day, 1 to 31.
    pub from_day: u32,
    /// Last day, 1 to 31, not before the first.
    pub to_day: u32,
    /// What happens on other days.
    pub outside: Outside,
}

/// Whether the window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// It is open.
    Open,
    /// It is closed; it opens next on `opens`.
    Closed {
        /// The day on which it opens next.
        opens: NaiveDate,
        /// What becomes of what comes now.
        outside: Outside,
    },
}

impl Calendar {
    /// Whether its days are days.
    pub(crate) fn validate(self) -> Result<(), &'static str> {
        if (1..=31).contains(&self.from_day) && (self.from_day..=31).contains(&self.to_day) {
            return Ok(());
        }
        Err("calendar: from_day and to_day are days from 1 to 31, to_day not before from_day")
    }

    /// Whether it is open on this day.
    pub fn window(self, today: NaiveDate) -> Window {
        let Self { from_day, to_day, outside } = self;
        let open = |day: NaiveDate| {
            let last = last_day(day);
            (from_day.min(last)..=to_day.min(last)).contains(&day.day())
        };
        if open(today) {
            return Window::Open;
        }
        // A window opens at least once in any 62 days.
        let opens = (1..=62).filter_map(|n| today.checked_add_days(Days::new(n))).find(|day| open(*day));
        Window::Closed { opens: opens.unwrap_or(today), outside }
    }
}

fn last_day(day: NaiveDate) -> u32 {
    (28..=31).rev().find(|n| day.with_day(*n).is_some()).unwrap_or(28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_opens_and_closes() {
        let date = |m, d| NaiveDate::from_ymd_opt(2026, m, d).unwrap();
        let claims = Calendar { from_day: 1, to_day: 10, outside: Outside::Refuse };
        assert_eq!(claims.window(date(11, 10)), Window::Open);
        let closed = Window::Closed { opens: date(12, 1), outside: Outside::Refuse };
        assert_eq!(claims.window(date(11, 11)), closed);
        let end = Calendar { from_day: 31, to_day: 31, outside: Outside::Hold };
        assert_eq!(end.window(date(2, 28)), Window::Open);
        assert_eq!(end.window(date(2, 27)), Window::Closed { opens: date(2, 28), outside: Outside::Hold });
    }
}
