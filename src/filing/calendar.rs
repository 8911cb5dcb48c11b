//! When filings are taken (E; default always): a window of days in each month, and of hours.

use chrono::{Datelike as _, Days, Duration, NaiveDate, NaiveDateTime, NaiveTime};
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

/// A receiving calendar: from one day of each month to another, both included; a month's last day stands for days that it
/// does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// First day, 1 to 31.
    pub from_day: u32,
    /// Last day, 1 to 31, not before the first.
    pub to_day: u32,
    /// When it opens on the first day (on every day, if `daily`).
    #[serde(default)]
    pub from_time: Hour,
    /// When it closes on the last day (on every day, if `daily`).
    #[serde(default = "midnight")]
    pub to_time: Hour,
    /// The hours are those of every day rather than of the first and the last.
    #[serde(default)]
    pub daily: bool,
    /// What happens at other times.
    pub outside: Outside,
}

/// Minutes since a day began, up to 24:00. Written as `09:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Hour(u32);

const DAY_MINUTES: u32 = 24 * 60;

fn midnight() -> Hour {
    Hour(DAY_MINUTES)
}

impl TryFrom<String> for Hour {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let number = |part: &str| {
            part.parse().ok().filter(|_| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
        };
        let parts: Option<(u32, u32)> =
            text.split_once(':').and_then(|(hours, minutes)| Some((number(hours)?, number(minutes)?)));
        match parts {
            Some((hours, minutes)) if minutes < 60 && hours * 60 + minutes <= DAY_MINUTES => {
                Ok(Self(hours * 60 + minutes))
            }
            _ => Err(format!("{text:?} must be a time of day, 00:00 to 24:00")),
        }
    }
}

/// Whether the window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// It is open.
    Open,
    /// It is closed; it opens next at `opens`.
    Closed {
        /// When it opens next, by the insurer's wall clock.
        opens: NaiveDateTime,
        /// What becomes of what comes now.
        outside: Outside,
    },
}

impl Calendar {
    /// Whole days.
    pub fn days(from_day: u32, to_day: u32, outside: Outside) -> Self {
        Self { from_day, to_day, from_time: Hour(0), to_time: midnight(), daily: false, outside }
    }

    /// Whether its days are days and its hours can be kept.
    pub(crate) fn validate(self) -> Result<(), &'static str> {
        if !(1..=31).contains(&self.from_day) || !(self.from_day..=31).contains(&self.to_day) {
            return Err("calendar: from_day and to_day are days from 1 to 31, to_day not before from_day");
        }
        // The last days of a short month are one day.
        let one_day = self.daily || self.from_day == self.to_day || self.from_day > 28;
        if one_day && self.from_time >= self.to_time {
            return Err("calendar: to_time must be later than from_time");
        }
        if self.from_time == midnight() || self.to_time == Hour(0) {
            return Err("calendar: from_time is at most 23:59, to_time at least 00:01");
        }
        Ok(())
    }

    /// Whether it is open at this reading of the insurer's wall clock.
    pub fn window(self, now: NaiveDateTime) -> Window {
        if self.is_open(now) {
            return Window::Open;
        }
        // A window opens at least once in any 62 days.
        let opens = (0..=62).filter_map(|n| now.date().checked_add_days(Days::new(n))).find_map(|day| {
            let opens = day.and_time(self.opening(day)?);
            (opens > now && self.is_open(opens)).then_some(opens)
        });
        Window::Closed { opens: opens.unwrap_or(now), outside: self.outside }
    }

    /// When it opens (true) and closes after one reading of the wall clock and up to another.
    pub fn turns(self, after: NaiveDateTime, until: NaiveDateTime) -> Vec<(NaiveDateTime, bool)> {
        let mut turns = Vec::new();
        let mut open = self.is_open(after);
        let days = (0..).map_while(|n| after.date().checked_add_days(Days::new(n)));
        for day in days.take_while(|day| *day <= until.date()) {
            let Hour(to) = self.to_time;
            let midnight = day.and_time(NaiveTime::MIN);
            let closes = midnight + Duration::minutes(i64::from(to % DAY_MINUTES));
            let mut moments = vec![midnight, closes];
            moments.extend(self.opening(day).map(|time| day.and_time(time)));
            moments.sort_unstable();
            for moment in moments.into_iter().filter(|moment| *moment > after && *moment <= until) {
                if self.is_open(moment) != open {
                    open = !open;
                    turns.push((moment, open));
                }
            }
        }
        turns
    }

    fn is_open(self, now: NaiveDateTime) -> bool {
        let (day, minute) = (now.day(), minute_of(now));
        let (first, last) = self.span(now.date());
        let opens = self.daily || day == first;
        let closes = self.daily || day == last;
        (first..=last).contains(&day)
            && (!opens || minute >= self.from_time)
            && (!closes || minute < self.to_time)
    }

    /// At what time it opens on a day, if it does.
    fn opening(self, day: NaiveDate) -> Option<NaiveTime> {
        let (first, last) = self.span(day);
        let Hour(minutes) = if self.daily || day.day() == first { self.from_time } else { Hour(0) };
        let time = NaiveTime::from_hms_opt(minutes / 60, minutes % 60, 0);
        time.filter(|_| (first..=last).contains(&day.day()))
    }

    /// First and last day in the month of this day.
    fn span(self, day: NaiveDate) -> (u32, u32) {
        let last = last_day(day);
        (self.from_day.min(last), self.to_day.min(last))
    }
}

fn minute_of(now: NaiveDateTime) -> Hour {
    use chrono::Timelike as _;
    Hour(now.hour() * 60 + now.minute())
}

fn last_day(day: NaiveDate) -> u32 {
    (28..=31).rev().find(|n| day.with_day(*n).is_some()).unwrap_or(28)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap()
    }

    fn closed(opens: &str, outside: Outside) -> Window {
        Window::Closed { opens: at(opens), outside }
    }

    #[test]
    fn the_window_opens_and_closes() {
        let claims = Calendar::days(1, 10, Outside::Refuse);
        assert_eq!(claims.window(at("2026-11-10 23:59")), Window::Open);
        assert_eq!(claims.window(at("2026-11-11 00:00")), closed("2026-12-01 00:00", Outside::Refuse));
        let end = Calendar::days(31, 31, Outside::Hold);
        assert_eq!(end.window(at("2026-02-28 12:00")), Window::Open);
        assert_eq!(end.window(at("2026-02-27 12:00")), closed("2026-02-28 00:00", Outside::Hold));
    }

    #[test]
    fn hours_are_of_the_first_and_last_day_or_of_every_day() {
        let read = |more: &str| -> Calendar {
            let text =
                "from_day = 1\nto_day = 10\nfrom_time = '09:00'\nto_time = '17:30'\noutside = 'hold'\n";
            toml::from_str(&format!("{text}{more}")).unwrap()
        };
        let (span, daily) = (read(""), read("daily = true"));
        for (now, of_span, of_day) in [
            ("2026-11-01 08:59", Some("2026-11-01 09:00"), Some("2026-11-01 09:00")),
            ("2026-11-01 09:00", None, None),
            ("2026-11-05 17:30", None, Some("2026-11-06 09:00")),
            ("2026-11-06 00:00", None, Some("2026-11-06 09:00")),
            ("2026-11-10 17:29", None, None),
            ("2026-11-10 17:30", Some("2026-12-01 09:00"), Some("2026-12-01 09:00")),
            ("2026-11-30 23:59", Some("2026-12-01 09:00"), Some("2026-12-01 09:00")),
        ] {
            for (calendar, opens) in [(span, of_span), (daily, of_day)] {
                let expected = opens.map_or(Window::Open, |opens| closed(opens, Outside::Hold));
                assert_eq!(calendar.window(at(now)), expected, "{now} {}", calendar.daily);
            }
        }
        let turns = |calendar: Calendar, from: &str, until: &str| -> Vec<String> {
            let turns = calendar.turns(at(from), at(until));
            turns.into_iter().map(|(at, open)| format!("{} {open}", at.format("%d %H:%M"))).collect()
        };
        assert_eq!(turns(span, "2026-11-05 00:00", "2026-12-05 00:00"), ["10 17:30 false", "01 09:00 true"]);
        assert_eq!(
            turns(daily, "2026-11-09 12:00", "2026-12-01 09:00"),
            ["09 17:30 false", "10 09:00 true", "10 17:30 false", "01 09:00 true"]
        );
        let whole = Calendar::days(1, 10, Outside::Hold);
        assert_eq!(turns(whole, "2026-11-05 00:00", "2026-12-05 00:00"), ["11 00:00 false", "01 00:00 true"]);
        let always: Calendar = toml::from_str("from_day = 1\nto_day = 31\noutside = 'hold'").unwrap();
        assert_eq!(always, Calendar::days(1, 31, Outside::Hold));
    }

    #[test]
    fn hours_that_cannot_be_kept_are_refused() {
        for (text, told) in [
            ("from_time = '9:00'", "time of day"),
            ("from_time = '24:01'", "time of day"),
            ("from_time = '17:00'\nto_time = '09:00'\ndaily = true", "later"),
            ("from_time = '24:00'", "23:59"),
            ("to_time = '00:00'", "00:01"),
        ] {
            let text = format!("from_day = 1\nto_day = 10\noutside = 'hold'\n{text}");
            let refused = match toml::from_str::<Calendar>(&text) {
                Ok(calendar) => calendar.validate().expect_err(&text).to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(refused.contains(told), "{refused}");
        }
    }
}
