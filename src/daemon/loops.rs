//! Threads that do a stage's steps: when a bell rings, and at intervals in any case.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::model::health::Health;
use crate::model::time::{Clock, Timestamp};
use crate::work::alarms::Alarms;

/// Says "look". Rings that come while nobody waits are one ring.
#[derive(Clone, Default)]
pub struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    /// Wakes who waits, now or next.
    pub fn ring(&self) {
        let (rung, bell) = &*self.0;
        *rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.notify_one();
    }

    /// Waits for a ring, at most so long.
    pub fn wait(&self, patience: Duration) {
        let (rung, bell) = &*self.0;
        let rung = rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) =
            bell.wait_timeout_while(rung, patience, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

/// Keeps the rounds of a loop apart, so that what comes in between is done together.
pub struct Pace {
    apart: Duration,
    last: Option<Instant>,
}

impl Pace {
    /// A round begins no sooner than this after the one before it.
    pub fn new(apart: Duration) -> Self {
        Self { apart, last: None }
    }

    /// Waits until the next round may begin: not at all after a quiet while.
    pub fn keep(&mut self) {
        if let Some(last) = self.last {
            std::thread::sleep(self.apart.saturating_sub(last.elapsed()));
        }
        self.last = Some(Instant::now());
    }
}

/// What all loops share.
#[derive(Clone)]
pub struct Loops {
    /// Ends them all.
    pub stop: Arc<AtomicBool>,
    /// Where they report that they came round.
    pub health: Arc<Health>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Where a failing step is said.
    pub alarms: Arc<dyn Alarms>,
    /// The bells of all loops.
    pub bells: Arc<Mutex<Vec<Bell>>>,
}

impl Loops {
    /// Whether they are to end.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Wakes all loops, so that they see that they are to end.
    pub fn ring_all(&self) {
        for bell in self.bells.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            bell.ring();
        }
    }

    /// Runs `step` in a thread of its own: at once, at every ring, and `every` so often. A step that says there is more is
    /// done again at once; one that fails or panics is said, and tried again.
    ///
    /// `allowed` is how long one round may take before the watchdog takes the loop for dead.
    pub fn spawn(
        &self,
        name: &'static str,
        bell: Bell,
        every: Duration,
        allowed: Duration,
        mut step: impl FnMut(Timestamp) -> anyhow::Result<bool> + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(bell.clone());
        let own = self.clone();
        own.health.watch(name, every + allowed, Instant::now());
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let alarm = format!("STAGE-FAILED {name}");
            while !own.stopping() {
                let now = own.clock.now();
                let more = match catch_unwind(AssertUnwindSafe(|| step(now))) {
                    Ok(Ok(more)) => {
                        own.alarms.clear(&alarm);
                        more
                    }
                    Ok(Err(error)) => {
                        tracing::error!(
                            stage = name,
                            error = format!("{error:#}"),
                            "a step failed; it is tried again"
                        );
                        own.alarms.raise(&alarm, &format!("{error:#}"), now);
                        false
                    }
                    Err(_) => {
                        tracing::error!(stage = name, "a step panicked; it is tried again");
                        own.alarms.raise(&alarm, "a step panicked; see the log", now);
                        false
                    }
                };
                own.health.beat(name, Instant::now());
                if !more {
                    bell.wait(every);
                }
            }
            own.health.unwatch(name);
        })
    }
}
