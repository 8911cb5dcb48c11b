//! The clock held against a monotonic one: what ends by the calendar, and cannot be undone, waits while the clock is far ahead.

use std::sync::{Arc, Mutex, PoisonError};

use super::alarms::Alarms;
use crate::model::time::{DAY, Timestamp};

/// A monotonic reading in milliseconds.
pub type Uptime = dyn Fn() -> i64 + Send + Sync;

/// The clock may be this far ahead of what the monotonic one saw pass.
const LEAP_MAX: i64 = DAY + DAY / 2;

/// Who looks for leaps; one for all stages that ask.
pub struct Leap {
    uptime: Arc<Uptime>,
    alarms: Arc<dyn Alarms>,
    /// Clock and uptime when it was last right.
    last: Mutex<Option<(Timestamp, i64)>>,
}

impl Leap {
    /// Nothing was seen yet: the first clock counts as right.
    pub fn new(uptime: Arc<Uptime>, alarms: Arc<dyn Alarms>) -> Self {
        Self { uptime, alarms, last: Mutex::default() }
    }

    /// Whether the clock leapt ahead since it was last right; the operator is told.
    pub fn leapt(&self, now: Timestamp) -> bool {
        let uptime = (self.uptime)();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, at)) = *last
            && now.since(then) > LEAP_MAX.saturating_add(uptime.saturating_sub(at))
        {
            let text = format!(
                "the clock leapt from {then} to {now}; nobody is told of certificates and passwords that end, and no application \
                 goes on by itself, until it is set right, or the daemon is started anew"
            );
            self.alarms.raise("CLOCK-LEAPT", &text, now);
            return true;
        }
        self.alarms.clear("CLOCK-LEAPT");
        *last = Some((now, uptime));
        false
    }
}
