//! When things are due: cut-offs, business days, what is expected of whom. Schedules count on the wall clock of the gateway's
//! zone, so that 17:00 is 17:00 on every day of the year.
//!
//! **Daylight saving.** A slot that the clock skips falls on the first moment after the gap; one that the clock shows twice
//! falls on the first of both. So each slot of the wall clock is one moment, and two slots never share one.

mod expected;
mod holidays;
mod policy;

use chrono::{
    DateTime, Datelike as _, Days, Duration, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Weekday,
};
use chrono_tz::Tz;
use serde::Deserialize;

use crate::model::time::Timestamp;

pub use expected::{ExpectedDocuments, ExpectedFilings, Monthly, Occurrence, Tell};
pub use holidays::{FILE_BYTES_MAX as HOLIDAYS_BYTES_MAX, Holidays, HolidaysError, JA};
pub use policy::{CalendarPolicy, DayRange};

/// Slots that are looked at in one go; more are asked for again.
pub const SLOTS_MAX: usize = 1_000;
/// So many days in a row are looked through for a business day.
const CLOSED_DAYS_MAX: u64 = 60;

/// A cron expression of six fields: second, minute, hour, day, month, weekday.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cron(cron::Schedule);

impl TryFrom<String> for Cron {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!(
                "{text:?} must be a cron expression of six fields (second, minute, hour, day, month, weekday), such as \
                 0 0 17 * * Mon-Fri"
            )
        })
    }
}

impl Cron {
    /// Of an expression that was checked.
    pub fn of(schedule: cron::Schedule) -> Self {
        Self(schedule)
    }

    /// Readings of the wall clock after this one, in order.
    fn readings(&self, after: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        self.0.after_owned(after.and_utc()).map(|slot| slot.naive_utc())
    }

    /// The first moment after this one; none where the expression names no further one.
    pub fn next(&self, after: Timestamp, zone: Tz) -> Option<Timestamp> {
        // Where the clock was set back, readings of the hour that comes twice lie behind.
        let slots = self.readings(reading(after, zone)).map(|slot| instant(slot, zone));
        slots.take(SLOTS_MAX).find(|slot| *slot > after)
    }
}

/// What the wall clock shows at a moment.
pub fn reading(at: Timestamp, zone: Tz) -> NaiveDateTime {
    at.utc().with_timezone(&zone).naive_local()
}

/// The moment at which the wall clock (first) shows this, or the first after it where it never does.
pub fn instant(local: NaiveDateTime, zone: Tz) -> Timestamp {
    let found = |local: &NaiveDateTime| zone.from_local_datetime(local).earliest();
    if let Some(at) = found(&local) {
        return Timestamp(at.timestamp_millis());
    }
    // Gaps are whole minutes, an hour nearly always; a zone that changed sides of the date line skipped a day.
    let minute =
        local.date().and_hms_opt(chrono::Timelike::hour(&local), chrono::Timelike::minute(&local), 0);
    let minute = minute.unwrap_or(local);
    let after = (1..=25 * 60).find_map(|n| found(&minute.checked_add_signed(Duration::minutes(n))?));
    after.map_or_else(
        || Timestamp(local.and_utc().timestamp_millis()),
        |at: DateTime<Tz>| Timestamp(at.timestamp_millis()),
    )
}

/// When a local day begins.
pub fn day_begins(day: NaiveDate, zone: Tz) -> Timestamp {
    instant(day.and_time(NaiveTime::MIN), zone)
}

/// When a local day has ended: the beginning of the next.
pub fn day_ends(day: NaiveDate, zone: Tz) -> Timestamp {
    day_begins(day.checked_add_days(Days::new(1)).unwrap_or(day), zone)
}

/// Where a thing goes that falls on a day that is no business day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shift {
    /// Nowhere.
    #[default]
    None,
    /// To the business day before it.
    Before,
    /// To the business day after it.
    After,
}

/// Which days are business days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusinessDays {
    /// Days of the week that are none.
    pub weekend: Vec<Weekday>,
    /// Days of every year that are none (12/29 to 1/3).
    pub closed: Vec<DayRange>,
    /// Days that are none.
    pub holidays: Holidays,
}

impl BusinessDays {
    /// Whether business is done on this day.
    pub fn is_open(&self, day: NaiveDate) -> bool {
        !self.weekend.contains(&day.weekday())
            && !self.closed.iter().any(|range| range.holds(day))
            && self.holidays.name(day).is_none()
    }

    /// Where a day goes; itself where no business day is near.
    pub fn shifted(&self, day: NaiveDate, shift: Shift) -> NaiveDate {
        let days = (0..=CLOSED_DAYS_MAX).map(Days::new);
        let found = match shift {
            Shift::None => None,
            Shift::Before => days.filter_map(|n| day.checked_sub_days(n)).find(|day| self.is_open(*day)),
            Shift::After => days.filter_map(|n| day.checked_add_days(n)).find(|day| self.is_open(*day)),
        };
        found.unwrap_or(day)
    }
}

/// Moments of these schedules after `after` and up to `until`, on business days as asked, in order, each once; at most
/// [`SLOTS_MAX`]. Those within one minute are one.
pub fn slots(
    schedules: &[Cron],
    (shift, days): (Shift, &BusinessDays),
    after: Timestamp,
    until: Timestamp,
    zone: Tz,
) -> Vec<Timestamp> {
    let far = Days::new(if shift == Shift::None { 1 } else { CLOSED_DAYS_MAX + 1 });
    let (from, to) = (reading(after, zone), reading(until, zone));
    let (from, to) = (from.checked_sub_days(far).unwrap_or(from), to.checked_add_days(far).unwrap_or(to));
    let mut found = std::collections::BTreeSet::new();
    for schedule in schedules {
        let mut taken = 0;
        for slot in schedule.readings(from).take_while(|slot| *slot <= to) {
            let at = instant(days.shifted(slot.date(), shift).and_time(slot.time()), zone);
            let at = Timestamp(at.0.div_euclid(60_000) * 60_000);
            if at > after && at <= until && found.insert(at) {
                taken += 1;
            }
            if taken >= SLOTS_MAX {
                break;
            }
        }
    }
    found.into_iter().take(SLOTS_MAX).collect()
}

#[cfg(test)]
mod tests;
