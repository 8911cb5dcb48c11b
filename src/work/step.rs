//! What every stage has in common: what a step came to, and how it can fail.

use std::io;
use std::sync::Arc;

use super::alarms::Alarms;
use crate::model::time::Timestamp;
use crate::store::ledger::LedgerError;

/// What one step of a stage came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Things moved on.
    pub done: u64,
    /// There is more to do at once: step again without waiting for a bell.
    pub more: bool,
}

impl Progress {
    /// Of two parts of one step.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { done: self.done + other.done, more: self.more || other.more }
    }
}

/// Why a step ended early. What it had not recorded is done again by the next step.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The ledger did not do it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The file system did not.
    #[error("while {doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// A test stopped the step here, as a crash would.
    #[error("stopped at {0}")]
    Stopped(&'static str),
}

/// What came of one party's part of a step. Trouble with its files is an alarm, which its next success clears, and keeps
/// nobody else from theirs: then nothing came of it. Trouble with the ledger ends the step.
pub fn contained<T>(
    alarms: &dyn Alarms,
    alarm: &str,
    now: Timestamp,
    came: Result<T, WorkError>,
    text: impl FnOnce(&WorkError) -> String,
) -> Result<Option<T>, WorkError> {
    match came {
        Ok(came) => {
            alarms.clear(alarm);
            Ok(Some(came))
        }
        Err(error @ WorkError::Io { .. }) => {
            alarms.raise(alarm, &text(&error), now);
            Ok(None)
        }
        Err(error @ (WorkError::Ledger(_) | WorkError::Stopped(_))) => Err(error),
    }
}

/// Says what was being done when the file system failed.
pub trait Doing<T> {
    /// `doing` reads after "while": `"staging 1-000001-3"`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, WorkError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, WorkError> {
        self.map_err(|source| WorkError::Io { doing: doing(), source })
    }
}

/// Named points between the sub-steps of a stage. In service none does anything; a test stops a step at one to see that
/// the next step, in a new process, goes on rightly.
#[derive(Clone, Default)]
pub struct Points(Option<Arc<PointCheck>>);

type PointCheck = dyn Fn(&'static str) -> bool + Send + Sync;

impl Points {
    /// Stops where `stop` says so.
    pub fn stopping(stop: impl Fn(&'static str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(stop)))
    }

    /// Passes a point.
    pub fn pass(&self, name: &'static str) -> Result<(), WorkError> {
        match &self.0 {
            Some(stop) if stop(name) => Err(WorkError::Stopped(name)),
            _ => Ok(()),
        }
    }
}
