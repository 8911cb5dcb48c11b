//! Time as a value: whoever needs to know when it is, is told.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Duration, NaiveDate, NaiveTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// One second in a [`Timestamp`]'s unit.
pub const SECOND: i64 = 1000;
/// One day in a [`Timestamp`]'s unit.
pub const DAY: i64 = 24 * 60 * 60 * SECOND;

impl Timestamp {
    /// This long after; `millis` may be negative. Saturates.
    #[must_use]
    pub fn plus(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This many times 24 hours after.
    #[must_use]
    pub fn plus_days(self, days: u32) -> Self {
        self.plus(i64::from(days).saturating_mul(DAY))
    }

    /// Milliseconds from `earlier` to this; negative when it is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// As a calendar time in UTC; times that no calendar holds become the calendar's last.
    pub fn utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The local date at this instant.
    pub fn date_in(self, zone: Tz) -> NaiveDate {
        self.utc().with_timezone(&zone).date_naive()
    }

    /// As clerks read it: local date and time, `2026-11-23 09:00:00`.
    pub fn shown_in(self, zone: Tz) -> String {
        self.utc().with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// As programs read it: local date and time with milliseconds and offset, `2026-11-23T09:00:00.000+09:00`.
    pub fn stamped_in(self, zone: Tz) -> String {
        self.utc().with_timezone(&zone).format("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
    }

    /// As a part of a file's name: local date and time, `20261123T090000`.
    pub fn named_in(self, zone: Tz) -> String {
        self.utc().with_timezone(&zone).format("%Y%m%dT%H%M%S").to_string()
    }

    /// When this local day begins: midnight, or where the clocks skip that, the first moment after it.
    pub fn day_begins(day: NaiveDate, zone: Tz) -> Self {
        let quarters = (0..=25 * 4).map(|quarter| Duration::minutes(15 * quarter));
        let midnight = day.and_time(NaiveTime::MIN);
        let mut moments = quarters
            .filter_map(|after| zone.from_local_datetime(&midnight.checked_add_signed(after)?).earliest());
        let begins = moments.next().map_or(midnight.and_utc().timestamp_millis(), |at| at.timestamp_millis());
        Self(begins)
    }

    /// Whole seconds since 1970, as SFTP and X.509 count them; never negative.
    pub fn unix_seconds(self) -> u64 {
        u64::try_from(self.0 / SECOND).unwrap_or(0)
    }
}

/// A day of the calendar, `2026-11-23`; of which zone is said where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub NaiveDate);

impl Day {
    /// Reads `2026-11-23`.
    pub fn parse(text: &str) -> Result<Self, NotADay> {
        // Ten characters: chrono alone would take 2026-1-5 and +2026-01-05 too.
        let strict = text.len() == 10;
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| strict);
        day.map(Self).ok_or_else(|| NotADay(text.chars().take(40).collect()))
    }

    /// The local day at this instant.
    pub fn of(at: Timestamp, zone: Tz) -> Self {
        Self(at.date_in(zone))
    }

    /// The day before; the calendar's first has none but itself.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.pred_opt().unwrap_or(self.0))
    }
}

/// A text that names no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no day; write it as 2026-11-23")]
pub struct NotADay(String);

impl std::str::FromStr for Day {
    type Err = NotADay;
    fn from_str(text: &str) -> Result<Self, NotADay> {
        Self::parse(text)
    }
}
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}
impl Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.utc().format("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock. The only place that reads it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place where the machine's clock is read")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that is set by hand: for tests and for `todoke demo`, in which 71 days pass at once.
#[derive(Debug)]
pub struct SetClock(AtomicI64);

impl SetClock {
    /// Shows this time until it is moved.
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves it on (or back) by so many milliseconds.
    pub fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}
