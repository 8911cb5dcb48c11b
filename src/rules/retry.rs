//! When to try a mail again: a schedule as data, with an end.

use serde::{Deserialize, Serialize};

use crate::model::span::Span;
use crate::model::time::Timestamp;

/// `retry = ["5m", "15m", "1h", "4h"]` and `give_up_after = "5d"`; the last wait repeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSchedule", into = "RawSchedule")]
pub struct Schedule {
    waits: Vec<Span>,
    give_up_after: Span,
}

/// As written in configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchedule {
    retry: Vec<Span>,
    give_up_after: Span,
}

/// Waits a schedule may list.
pub const WAITS_MAX: usize = 64;
/// Shorter waits would hammer the next host.
pub const WAIT_MIN: Span = Span::seconds(1);

/// Why a schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// None or too many.
    #[error("retry: {0} waits are listed; 1 to {WAITS_MAX} are allowed")]
    Count(usize),
    /// Too short.
    #[error("retry: a wait of {0} is too short; at least {WAIT_MIN} is allowed")]
    TooShort(Span),
    /// The first wait already lies behind the end.
    #[error(
        "give_up_after: {give_up_after} is shorter than the first wait, {first}; nothing would ever be tried again"
    )]
    NeverTried {
        /// As configured.
        give_up_after: Span,
        /// First wait.
        first: Span,
    },
}

/// What to do after an attempt that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Try again then.
    At(Timestamp),
    /// No more.
    GiveUp,
}

impl Schedule {
    /// Checks and takes a schedule.
    pub fn new(waits: Vec<Span>, give_up_after: Span) -> Result<Self, ScheduleError> {
        if waits.is_empty() || waits.len() > WAITS_MAX {
            return Err(ScheduleError::Count(waits.len()));
        }
        if let Some(short) = waits.iter().find(|wait| **wait < WAIT_MIN) {
            return Err(ScheduleError::TooShort(*short));
        }
        if give_up_after < waits[0] {
            return Err(ScheduleError::NeverTried { give_up_after, first: waits[0] });
        }
        Ok(Self { waits, give_up_after })
    }

    /// After `attempts` attempts (at least one), the first of them at `first_at`, the latest just ended at `now`.
    ///
    /// The last attempt is made when the time is over, so that `give_up_after` is used in full whatever the waits are.
    pub fn next(&self, attempts: u32, first_at: Timestamp, now: Timestamp) -> Retry {
        let end = first_at.plus(self.give_up_after.millis());
        if now >= end {
            return Retry::GiveUp;
        }
        let index =
            usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(self.waits.len() - 1);
        Retry::At(now.plus(self.waits[index].millis()).min(end))
    }
}

impl Default for Schedule {
    /// 5 min, 15 min, 1 h, then every 4 h, for 5 days (RFC 5321 section 4.5.4.1 asks for at least 4).
    fn default() -> Self {
        let waits = [300, 900, 3600, 4 * 3600].map(Span::seconds).to_vec();
        Self { waits, give_up_after: Span::days(5) }
    }
}

impl TryFrom<RawSchedule> for Schedule {
    type Error = ScheduleError;
    fn try_from(raw: RawSchedule) -> Result<Self, ScheduleError> {
        Self::new(raw.retry, raw.give_up_after)
    }
}
impl From<Schedule> for RawSchedule {
    fn from(schedule: Schedule) -> Self {
        Self { retry: schedule.waits, give_up_after: schedule.give_up_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Timestamp = Timestamp(1_795_000_000_000);

    fn span(text: &str) -> Span {
        Span::parse(text).unwrap()
    }

    #[test]
    fn waits_follow_the_list_and_the_last_repeats() {
        let schedule: Schedule =
            toml::from_str("retry = ['5m', '15m', '1h', '4h']\ngive_up_after = '5d'").unwrap();
        assert_eq!(schedule, Schedule::default());
        for (attempts, wait) in
            [(0, "5m"), (1, "5m"), (2, "15m"), (3, "1h"), (4, "4h"), (5, "4h"), (u32::MAX, "4h")]
        {
            let now = FIRST.plus(1000);
            let expected = Retry::At(now.plus(span(wait).millis()));
            assert_eq!(schedule.next(attempts, FIRST, now), expected, "{attempts}");
        }
    }

    #[test]
    fn the_last_attempt_is_at_the_end_and_then_it_gives_up() {
        let schedule = Schedule::default();
        let end = FIRST.plus_days(5);
        assert_eq!(schedule.next(30, FIRST, end.plus(-1000)), Retry::At(end));
        assert_eq!(schedule.next(31, FIRST, end), Retry::GiveUp);
        assert_eq!(
            schedule.next(1, FIRST, FIRST.plus(-60_000)),
            Retry::At(FIRST.plus(240_000)),
            "clock set back"
        );
    }

    #[test]
    fn refuses_schedules_that_cannot_be_meant() {
        for (toml, told) in [
            ("retry = []\ngive_up_after = '5d'", "0 waits"),
            ("retry = ['0s']\ngive_up_after = '5d'", "a wait of 0s"),
            ("retry = ['4h']\ngive_up_after = '1h'", "shorter than the first wait"),
            ("retry = ['4 h']\ngive_up_after = '1d'", "4 h"),
            ("retry = ['4h']\ngive_up_after = '1d'\njitter = true", "jitter"),
        ] {
            let error = toml::from_str::<Schedule>(toml).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    proptest! {
        #[test]
        fn always_ends_and_never_tries_at_once(waits in proptest::collection::vec(1_u32..100_000, 1..6), extra in 0_u32..1_000_000) {
            let give_up_after = Span::seconds(waits[0] + extra);
            let schedule = Schedule::new(waits.iter().map(|w| Span::seconds(*w)).collect(), give_up_after).unwrap();
            let (mut now, mut attempts) = (FIRST, 1);
            while let Retry::At(at) = schedule.next(attempts, FIRST, now) {
                prop_assert!(at > now && at <= FIRST.plus(give_up_after.millis()));
                (now, attempts) = (at, attempts + 1);
            }
            prop_assert_eq!(now, FIRST.plus(give_up_after.millis()));
        }
    }
}
