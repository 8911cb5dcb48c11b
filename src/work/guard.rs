//! What holds everything that cannot be undone while the clock may be wrong: the purge, retention, sweeps, what is forgotten, cut-offs
//! and the books of days. The clock is held against a monotonic one, at start against the last event; once it leapt ahead, a
//! file in the data root keeps all of them still until the operator has looked (`todoke purge --confirm`).

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::alarms::Alarms;
use super::step::{Doing as _, WorkError};
use crate::model::time::{DAY, SECOND, Timestamp};
use crate::store::spool::Folder;

const ALARM: &str = "PURGE-PAUSED";
/// Lies in the data root while things stand still, so that a restart does not end that. Holds the reason.
const PAUSE_FILE: &str = "PURGE-PAUSED";

/// How the reason begins when it is the clock, and not a stop or too much that is due.
const LEAPT: &str = "the clock leapt ";
/// A longer time between the last event and the start is taken for a leap.
const DOWN_MAX: i64 = 31 * DAY;

/// One for all that ask.
pub struct Guard {
    /// The clock may be this far ahead, in milliseconds.
    leap_max: i64,
    /// A monotonic reading in milliseconds.
    uptime: Box<dyn Fn() -> i64 + Send + Sync>,
    alarms: Arc<dyn Alarms>,
    root: PathBuf,
    seen: Mutex<Seen>,
}

/// What it remembers from one look to the next.
struct Seen {
    /// Clock and uptime when the clock was last right.
    last: Option<(Timestamp, i64)>,
    /// Time of the last event when the daemon began.
    last_event: Timestamp,
    /// When the operator has confirmed last.
    confirmed: Option<Timestamp>,
}

impl Guard {
    /// To be made right after the ledger was opened and before anything is recorded; `root` is the data root.
    pub fn new(
        last_event: Timestamp,
        leap_hours_max: u32,
        uptime: Box<dyn Fn() -> i64 + Send + Sync>,
        alarms: Arc<dyn Alarms>,
        root: PathBuf,
    ) -> Self {
        let seen = Mutex::new(Seen { last: None, last_event, confirmed: None });
        Self { leap_max: i64::from(leap_hours_max) * 3600 * SECOND, uptime, alarms, root, seen }
    }

    /// Why things stand still, if they do; the operator is told.
    pub fn paused(&self, now: Timestamp) -> Result<Option<String>, WorkError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = self.reason().doing(|| "looking for a pause of the purge".into())? {
            self.alarms.raise(ALARM, &reason, now);
            return Ok(Some(reason));
        }
        let uptime = (self.uptime)();
        let (last, passed, starts) = match seen.last {
            Some((last, then)) => (last, uptime.saturating_sub(then), false),
            None => (seen.last_event, 0, true),
        };
        // A machine that slept, or a stage that waited, is no leap: what the monotonic clock saw may pass.
        if last != Timestamp::default() && now.since(last) > self.leap_max.saturating_add(passed) {
            let reason = if starts && now.since(last) <= DOWN_MAX {
                format!(
                    "the daemon was down from {last} to {now}, or the clock leapt: nothing is erased; if the clock is right, confirm with \
                     `todoke purge --confirm`"
                )
            } else {
                format!(
                    "{LEAPT}from {last} to {now}: nothing is erased, no cut-off is kept and no day is closed; set it \
                     right, then confirm with `todoke purge --confirm`"
                )
            };
            self.pause(&reason, now)?;
            return Ok(Some(reason));
        }
        seen.last = Some((now, uptime));
        self.alarms.clear(ALARM);
        Ok(None)
    }

    /// Why cut-offs and books stand still, if they do: after a leap, but not after a stop of some days, since what was missed
    /// meanwhile is caught up, and not because too much is due: nothing is erased by either.
    pub fn leapt(&self, now: Timestamp) -> Result<Option<String>, WorkError> {
        Ok(self.paused(now)?.filter(|reason| reason.starts_with(LEAPT)))
    }

    /// Keeps things still until the operator confirms.
    pub fn pause(&self, reason: &str, now: Timestamp) -> Result<(), WorkError> {
        self.alarms.raise(ALARM, reason, now);
        let write = || {
            let root = Folder::open(&self.root)?;
            root.remove_file(PAUSE_FILE)?;
            root.write_new(PAUSE_FILE, reason.as_bytes(), 0o600, None)?.sync_all()?;
            root.sync()
        };
        write().doing(|| "pausing the purge".into())
    }

    /// The operator has looked, and the clock is taken as right. Tells whether things stood still.
    pub fn confirm(&self, now: Timestamp) -> Result<bool, WorkError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let was = self.reason().doing(|| "looking for a pause of the purge".into())?.is_some();
        let root = Folder::open(&self.root).doing(|| "opening the data root".into())?;
        root.remove_file(PAUSE_FILE).and_then(|()| root.sync()).doing(|| "ending the pause".into())?;
        seen.confirmed = Some(now);
        seen.last = Some((now, (self.uptime)()));
        self.alarms.clear(ALARM);
        Ok(was)
    }

    /// Whether the operator has confirmed after then.
    pub fn confirmed_since(&self, then: Timestamp) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.confirmed.is_some_and(|at| at > then)
    }

    fn reason(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.root.join(PAUSE_FILE)) {
            Ok(reason) => Ok(Some(reason.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_world::World;

    #[test]
    fn after_a_stop_of_days_cut_offs_are_caught_up_and_after_a_leap_nothing_is() {
        let world = World::new();
        let guard = |last: Timestamp| {
            Guard::new(last, 36, Box::new(|| 0), world.alarms.clone(), world.dir.path().to_owned())
        };
        let held =
            |guard: &Guard, now| (guard.paused(now).unwrap().is_some(), guard.leapt(now).unwrap().is_some());
        let (last, now) = (world.now, world.now.plus(3 * DAY));
        assert_eq!(held(&guard(last), last.plus(DAY)), (false, false));
        assert_eq!(held(&guard(last), now), (true, false));
        assert_eq!(held(&guard(now), now), (true, false), "a second start changes nothing");
        assert!(guard(now).confirm(now).unwrap());
        assert_eq!(held(&guard(now), now), (false, false));
        let running = guard(now);
        assert_eq!(held(&running, now), (false, false));
        assert_eq!(held(&running, now.plus(3 * DAY)), (true, true), "while it runs it was not down");
        assert_eq!(
            held(&guard(now.plus(3 * DAY)), now.plus(3 * DAY)),
            (true, true),
            "a start does not end that"
        );
        running.confirm(now).unwrap();
        assert_eq!(held(&guard(now), now.plus(32 * DAY)), (true, true));
    }
}
