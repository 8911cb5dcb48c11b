//! Where a door hands a complete set over and waits for its verdict: doors and work do not know each other, they meet
//! here.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dropbox::{ClaimedSet, Dropbox};
use crate::model::finding::Text;
use crate::model::ids::Number;
use crate::model::time::Timestamp;

/// What the close that completed a set is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Durably received (accepted, held, or the same as an earlier one): the receipt tells which. None when a leftover of
    /// an earlier login turned out to be another file, which counts as missing: nothing was refused, nothing is complete.
    Fine(Option<Number>),
    /// Refused.
    Refused(Said),
}

/// A refusal in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Leads the message.
    pub code: String,
    /// What was wrong and what to do next.
    pub text: Text,
}

/// A set that waits for intake.
pub struct Pending {
    /// The set.
    pub set: ClaimedSet,
    /// Where to give it back to, or to drop it from.
    pub dropbox: Arc<Dropbox>,
    /// When it was completed.
    pub received_at: Timestamp,
    /// Until when the sender waits for the verdict; after it, durable receipt is enough.
    pub deadline: Timestamp,
    /// Takes the answer; the client may be gone.
    pub reply: Box<dyn FnOnce(Reply) + Send>,
}

struct Inside {
    queue: VecDeque<Pending>,
    closed: bool,
}

/// The queue between doors and intake.
pub struct Handover {
    inside: Mutex<Inside>,
    bell: Condvar,
    waiting_max: usize,
}

impl Handover {
    /// Takes at most `waiting_max` sets at a time (`sets_waiting_max`).
    pub fn new(waiting_max: usize) -> Self {
        Self {
            inside: Mutex::new(Inside { queue: VecDeque::new(), closed: false }),
            bell: Condvar::new(),
            waiting_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a set over; gives it back when too many wait or intake has stopped.
    #[allow(clippy::result_large_err, reason = "the error is the thing itself, given back")]
    pub fn put(&self, pending: Pending) -> Result<(), Pending> {
        let mut inside = self.lock();
        if inside.closed || inside.queue.len() >= self.waiting_max {
            return Err(pending);
        }
        inside.queue.push_back(pending);
        self.bell.notify_one();
        Ok(())
    }

    /// Takes the next set; none after `patience` without one, and when the queue is closed and empty.
    pub fn take(&self, patience: Duration) -> Option<Pending> {
        let mut inside = self.lock();
        loop {
            if let Some(pending) = inside.queue.pop_front() {
                return Some(pending);
            }
            if inside.closed {
                return None;
            }
            let (guard, wait) =
                self.bell.wait_timeout(inside, patience).unwrap_or_else(PoisonError::into_inner);
            inside = guard;
            if wait.timed_out() {
                return inside.queue.pop_front();
            }
        }
    }

    /// Nothing new comes in; what waits is still taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_all();
    }

    /// Whether it was closed and everything was taken.
    pub fn is_done(&self) -> bool {
        let inside = self.lock();
        inside.closed && inside.queue.is_empty()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }
}
