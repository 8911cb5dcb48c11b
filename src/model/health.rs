//! Whether the daemon's loops make progress: what the watchdog, `/healthz` and `/readyz` go by.
//!
//! Counted on the monotonic clock (an [`Instant`] comes in): a leap of the calendar says nothing about a loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A loop that has not come round in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Late {
    /// Its name.
    pub name: &'static str,
    /// Seconds since it last came round.
    pub silent_seconds: u64,
    /// Seconds it may take.
    pub allowed_seconds: u64,
}

/// What `/healthz` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// No loop is late.
    pub ok: bool,
    /// Every loop that is watched.
    pub watched: Vec<&'static str>,
    /// Those that are late.
    pub late: Vec<Late>,
}

/// What `/readyz` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    /// Filings are taken now: started, healthy, and nothing holds it back.
    pub ready: bool,
    /// What holds it back, in stable words (`starting`, `stopping`, `intake-stopped`).
    pub waiting_for: Vec<&'static str>,
    /// Loops that are late.
    pub late: Vec<Late>,
}

#[derive(Debug)]
struct Watched {
    last: Instant,
    allowed: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    watched: BTreeMap<&'static str, Watched>,
    waiting_for: BTreeSet<&'static str>,
}

/// The registry: each loop enters itself and then reports that it came round. Shared by reference.
#[derive(Debug, Default)]
pub struct Health(Mutex<Inner>);

impl Health {
    /// With nothing watched, and not ready because of `starting`.
    pub fn starting() -> Self {
        let health = Self::default();
        health.hold("starting");
        health
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // The sets are consistent after every single statement, so that a panic elsewhere must not blind the watchdog.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a loop from now on; it must come round at least every `allowed`. Again: sets the new limit.
    pub fn watch(&self, name: &'static str, allowed: Duration, now: Instant) {
        self.inner().watched.insert(name, Watched { last: now, allowed });
    }

    /// The loop ended in order and is no longer watched.
    pub fn unwatch(&self, name: &'static str) {
        self.inner().watched.remove(name);
    }

    /// The loop came round: it finished a piece of work or found nothing to do. A loop that was never entered is not
    /// watched by this.
    pub fn beat(&self, name: &'static str, now: Instant) {
        if let Some(watched) = self.inner().watched.get_mut(name) {
            watched.last = watched.last.max(now);
        }
    }

    /// Not ready, for this reason, until [`Self::release`].
    pub fn hold(&self, reason: &'static str) {
        self.inner().waiting_for.insert(reason);
    }

    /// Whether this reason holds.
    pub fn holds(&self, reason: &'static str) -> bool {
        self.inner().waiting_for.contains(reason)
    }

    /// This reason is gone.
    pub fn release(&self, reason: &'static str) {
        self.inner().waiting_for.remove(reason);
    }

    /// Loops that are late now, by name.
    pub fn late(&self, now: Instant) -> Vec<Late> {
        let inner = self.inner();
        let silence = |w: &Watched| now.saturating_duration_since(w.last);
        let late = inner.watched.iter().filter(|(_, w)| silence(w) > w.allowed);
        late.map(|(name, w)| Late {
            name,
            silent_seconds: silence(w).as_secs(),
            allowed_seconds: w.allowed.as_secs(),
        })
        .collect()
    }

    /// For `/healthz` and the watchdog.
    pub fn report(&self, now: Instant) -> HealthReport {
        let late = self.late(now);
        HealthReport { ok: late.is_empty(), watched: self.inner().watched.keys().copied().collect(), late }
    }

    /// For `/readyz`.
    pub fn readiness(&self, now: Instant) -> ReadinessReport {
        let late = self.late(now);
        let waiting_for: Vec<_> = self.inner().waiting_for.iter().copied().collect();
        ReadinessReport { ready: late.is_empty() && waiting_for.is_empty(), waiting_for, late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_secs(10);

    #[test]
    fn a_silent_loop_is_named_and_recovers() {
        let (health, start) = (Health::starting(), Instant::now());
        health.watch("sweep", ALLOWED, start);
        health.watch("deliver", ALLOWED, start);
        assert!(health.report(start + ALLOWED).ok);

        let later = start + Duration::from_secs(25);
        health.beat("deliver", later);
        let late = Late { name: "sweep", silent_seconds: 25, allowed_seconds: 10 };
        assert_eq!(
            health.report(later),
            HealthReport { ok: false, watched: vec!["deliver", "sweep"], late: vec![late.clone()] }
        );
        health.beat("sweep", later);
        assert!(health.report(later).ok);

        health.beat("sweep", start); // an old beat that arrives late takes nothing back
        assert!(health.report(later + ALLOWED).ok);
        health.unwatch("sweep");
        health.unwatch("deliver");
        assert!(health.report(later + ALLOWED * 9).ok);
    }

    #[test]
    fn ready_only_when_nothing_holds_it_back() {
        let (health, start) = (Health::starting(), Instant::now());
        assert_eq!(health.readiness(start).waiting_for, ["starting"]);
        health.release("starting");
        assert!(health.readiness(start).ready);
        health.hold("intake-stopped");
        assert!(health.report(start).ok, "alive though not ready");
        assert!(!health.readiness(start).ready);
        health.release("intake-stopped");
        health.watch("notify", ALLOWED, start);
        assert!(!health.readiness(start + ALLOWED * 2).ready, "late is not ready");
    }
}
