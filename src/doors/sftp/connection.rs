//! What the parts of one connection share: who it is, how much went through, and how it is told to end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use russh::Disconnect;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::config::Limits;
use super::port::{Entered, Link, Tree};
use super::queue::Budget;
use super::session::{Channel, Lingerers};
use super::stream::Stream;
use super::texts::{self, Parting};
use crate::model::finding::Language;
use crate::model::ids::AccountId;
use crate::model::time::{Clock, Timestamp};

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In use.
    Open,
    /// Told to end, see [`Connection::farewell`].
    Closing,
    /// `russh` is done with it.
    Ended,
}

/// Why a connection is ended by us, as the client is told.
#[derive(Debug)]
pub(crate) struct Farewell {
    pub(crate) reason: Disconnect,
    pub(crate) words: Parting,
}

/// What a login gave. Dropped, and with it the session's guard, when the handler and every channel are done.
pub(crate) struct Login {
    pub(crate) account: AccountId,
    pub(crate) tree: Arc<dyn Tree>,
    pub(crate) language: Language,
    /// Said once, on the first channel.
    pub(crate) welcome: Mutex<Vec<String>>,
    /// Dropped last, which ends the session behind the gate.
    #[allow(dead_code, reason = "held for its drop")]
    pub(crate) guard: Box<dyn Send + Sync>,
}

impl Login {
    pub(crate) fn of(entered: Entered) -> Self {
        let language = entered.tree.language();
        let welcome = Mutex::new(entered.welcome);
        Self { account: entered.account, tree: entered.tree, language, welcome, guard: entered.guard }
    }
}

/// One connection.
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) since: Timestamp,
    pub(crate) limits: Arc<Limits>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) lingerers: Arc<Lingerers>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stream: Stream,
    phase: watch::Sender<Phase>,
    farewell: Mutex<Option<Farewell>>,
    /// Where a person reads what goes to stderr.
    channels: Mutex<Vec<Weak<Channel>>>,
    /// Set once someone logged in and was admitted; until then the grace time runs.
    pub(crate) account: OnceLock<AccountId>,
    /// Told when `account` is set.
    pub(crate) admitted: Notify,
    /// Why someone who proved a key was not admitted, `CODE text`.
    pub(crate) refusal: OnceLock<String>,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Open handles, verdicts to come, requests at work: what a drain waits for.
    busy: AtomicUsize,
    started: Instant,
    active: AtomicU64,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        peer: SocketAddr,
        stream: Stream,
        limits: Arc<Limits>,
        budget: Arc<Budget>,
        lingerers: Arc<Lingerers>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            id,
            peer,
            since: clock.now(),
            limits,
            budget,
            lingerers,
            clock,
            stream,
            phase: watch::Sender::new(Phase::Open),
            farewell: Mutex::new(None),
            channels: Mutex::default(),
            account: OnceLock::new(),
            admitted: Notify::new(),
            refusal: OnceLock::new(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            started: Instant::now(),
            active: AtomicU64::new(0),
        }
    }

    /// Ends the connection with these words; the first to call is heard.
    pub(crate) fn close(&self, reason: Disconnect, words: impl Into<Parting>) {
        let words = words.into();
        let closed = self.phase.send_if_modified(|phase| {
            let open = *phase == Phase::Open;
            if open {
                *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Farewell { reason, words });
                *phase = Phase::Closing;
            }
            open
        });
        if closed {
            tracing::debug!(session = self.id, peer = %self.peer, "closing connection");
        }
    }

    /// `russh` has let go of it.
    pub(crate) fn ended(&self) {
        self.phase.send_replace(Phase::Ended);
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.phase.borrow() == Phase::Open
    }

    /// The words of [`Connection::close`], once.
    pub(crate) fn farewell(&self) -> Option<Farewell> {
        self.farewell.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// On this channel's stderr a person reads why the connection ends.
    pub(crate) fn reads(&self, channel: &Arc<Channel>) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|channel| channel.upgrade().is_some_and(|channel| !channel.is_over()));
        channels.push(Arc::downgrade(channel));
    }

    /// The channels of [`Connection::reads`] that are open.
    pub(crate) fn readers(&self) -> Vec<Arc<Channel>> {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.iter().filter_map(Weak::upgrade).filter(|channel| !channel.is_over()).collect()
    }

    /// Waits until the connection is told to end or has ended.
    pub(crate) async fn over(&self) {
        // The sender lives as long as `self`.
        let _ = self.phase.subscribe().wait_for(|phase| *phase != Phase::Open).await;
    }

    /// Something was asked or delivered: the session is not idle.
    pub(crate) fn touch(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(millis, Ordering::Relaxed);
    }

    /// When the session becomes idle if nothing happens.
    pub(crate) fn idle_at(&self) -> Instant {
        let active = Duration::from_millis(self.active.load(Ordering::Relaxed));
        self.started + active + self.limits.idle()
    }

    /// A channel's share of what a drain waits for goes from `before` to `after`.
    pub(crate) fn set_busy(&self, before: usize, after: usize) {
        self.busy.fetch_add(after, Ordering::Relaxed);
        self.busy.fetch_sub(before, Ordering::Relaxed);
    }

    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }
}

/// A connection as a gate holds it: it may be gone.
pub(crate) struct WeakLink(pub(crate) Weak<Connection>);

impl Link for WeakLink {
    fn evict(&self) {
        if let Some(connection) = self.0.upgrade() {
            connection.close(Disconnect::ByApplication, &texts::EVICTED);
        }
    }

    fn revoked(&self) {
        if let Some(connection) = self.0.upgrade() {
            connection.close(Disconnect::ByApplication, &texts::REVOKED);
        }
    }

    fn stopped(&self) {
        if let Some(connection) = self.0.upgrade() {
            connection.close(Disconnect::ByApplication, &texts::STOPPED);
        }
    }

    fn idle(&self) -> Duration {
        let Some(connection) = self.0.upgrade() else { return Duration::MAX };
        let active = Duration::from_millis(connection.active.load(Ordering::Relaxed));
        connection.started.elapsed().saturating_sub(active)
    }
}
