//! The clock held against a monotonic one: what ends by the calendar, and cannot be undone, waits while the clock is far ahead.

use std::sync::{Arc, Mutex, PoisonError};

use super::alarms::Alarms;
use crate::model::time::{DAY, SECOND, Timestamp};

/// A monotonic reading in milliseconds.
pub type Uptime = dyn Fn() -> i64 + Send + Sync;

/// The clock may be this far ahead of what the monotonic one saw pass.
const LEAP_MAX: i64 = DAY + DAY / 2;

/// The last event may be this far ahead of the clock.
const BEHIND_MAX: i64 = 5 * 60 * SECOND;

/// Tells the operator while the clock is behind the last event, which was written when it was ahead, or is behind now.
pub fn look_behind(alarms: &dyn Alarms, last_event: Timestamp, now: Timestamp) {
    if last_event.since(now) <= BEHIND_MAX {
        alarms.clear("CLOCK-BEHIND");
        return;
    }
    let text = format!(
        "the clock says {now}, but the last event was written at {last_event}: the clock was ahead then, or is behind now; set \
         it right. Filings are taken in, published and announced meanwhile, but until {last_event} their records say that \
         time, and mails that were put off while the clock was ahead wait (`todoke mail list --state queued`, then \
         `todoke mail retry`)"
    );
    alarms.raise("CLOCK-BEHIND", &text, now);
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::alarms::AlarmBoard;

    #[test]
    fn a_clock_behind_the_last_event_is_said_while_it_is() {
        let alarms = AlarmBoard::default();
        let now = Timestamp(1_795_392_000_000);
        for (ahead, said) in [(0, 0), (BEHIND_MAX, 0), (BEHIND_MAX + 1, 1), (9 * 3600 * SECOND, 1), (-DAY, 0)]
        {
            look_behind(&alarms, now.plus(ahead), now);
            assert_eq!(alarms.list().len(), said, "{ahead}");
        }
    }
}
