//! Alarms: conditions that an operator must see, each under one name while it lasts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::model::metric;
use crate::model::time::Timestamp;

/// Distinct alarms kept; further ones are only counted under `ALARMS-OVERFLOW`.
const ALARMS_MAX: usize = 1000;
/// Characters of an alarm's text.
const TEXT_MAX: usize = 500;

/// One condition that lasts, or lasted until it was cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// ASCII code, and after a blank what it concerns: `SPOOL-NOT-COLLECTED 06139999`.
    pub code: String,
    /// What is wrong and what to do, in English, from the last time it was raised.
    pub text: String,
    /// First raised.
    pub first: Timestamp,
    /// Last raised.
    pub last: Timestamp,
    /// How many times.
    pub count: u64,
}

/// Where stages report conditions. Raising what is raised already counts it.
pub trait Alarms: Send + Sync {
    /// The condition holds. `code` as in [`Alarm::code`].
    fn raise(&self, code: &str, text: &str, now: Timestamp);
    /// It does not hold (any more).
    fn clear(&self, code: &str);
}

/// Alarms in memory: conditions are found again after a restart, so that nothing needs to be kept.
#[derive(Debug, Default)]
pub struct AlarmBoard(Mutex<BTreeMap<String, Alarm>>);

impl AlarmBoard {
    /// All that hold, by code.
    pub fn list(&self) -> Vec<Alarm> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Alarms for AlarmBoard {
    fn raise(&self, code: &str, text: &str, now: Timestamp) {
        let mut alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = alarms.len() >= ALARMS_MAX && !alarms.contains_key(code);
        let code = if full { "ALARMS-OVERFLOW" } else { code };
        let text = crate::model::escape::excerpt(text, TEXT_MAX);
        if let Some(alarm) = alarms.get_mut(code) {
            alarm.text = text;
            alarm.last = now;
            alarm.count += 1;
            return;
        }
        tracing::error!(code, text, "alarm");
        let alarm = Alarm { code: code.to_owned(), text, first: now, last: now, count: 1 };
        alarms.insert(code.to_owned(), alarm);
        gauge(code).increment(1.0);
    }

    fn clear(&self, code: &str) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(code).is_some() {
            gauge(code).decrement(1.0);
            tracing::info!(code, "alarm is over");
        }
    }
}

/// Without what it concerns, which would be a label without bound.
fn gauge(code: &str) -> metrics::Gauge {
    let word = code.split(' ').next().unwrap_or_default().to_owned();
    metrics::gauge!(metric::ALARMS, "code" => word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_counts_until_it_is_cleared_and_strangers_cannot_fill_the_board() {
        let board = AlarmBoard::default();
        board.raise("A 1", "first", Timestamp(1));
        board.raise("A 1", "again\x1b", Timestamp(5));
        let list = board.list();
        assert_eq!(
            (list.len(), list[0].count, list[0].first, list[0].last),
            (1, 2, Timestamp(1), Timestamp(5))
        );
        assert_eq!(list[0].text, "again\\u{1b}");
        board.clear("A 1");
        assert!(board.list().is_empty());
        for n in 0..2000 {
            board.raise(&format!("B {n}"), "", Timestamp(n));
        }
        assert_eq!(board.list().len(), ALARMS_MAX + 1);
    }
}
