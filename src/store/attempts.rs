//! Wrong passwords by account and by source, and each account's last login: small facts that outlive a restart, but that
//! the journal, which is kept for ever, has no use for (an address may be a person's).
//!
//! ```text
//! credentials/attempts.json   0600: replaced as a whole, at most every few seconds, and when something gets locked
//! ```
//!
//! A crash loses the last seconds of it; an account's lock itself is an event. One that cannot be read is begun anew.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::durable;
use super::gateway_keys::read_private;
use crate::model::ids::AccountId;
use crate::model::time::{SECOND, Timestamp};
use crate::rules::login::{LockRule, Tally};

/// Sources that are remembered; beyond it, those that are not locked go first, the longest silent first of all.
const SOURCES_MAX: usize = 4096;
/// At most so often a lock is written at once; the next one waits for the next round.
const LOCKS_APART: i64 = SECOND;

/// When and from where somebody logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLogin {
    /// When.
    pub at: Timestamp,
    /// From where.
    pub from: IpAddr,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    accounts: HashMap<AccountId, Tally>,
    sources: HashMap<IpAddr, Tally>,
    logins: HashMap<AccountId, LastLogin>,
    /// The ones before those.
    #[serde(default)]
    before: HashMap<AccountId, LastLogin>,
    #[serde(skip)]
    changed: bool,
    #[serde(skip)]
    written_at: Option<Timestamp>,
}

/// The counters of one data root.
pub struct Attempts {
    path: PathBuf,
    state: Mutex<State>,
    /// One writer at a time, so that an older state never replaces a newer one.
    writing: Mutex<()>,
}

impl Attempts {
    /// Reads what was written last.
    pub fn open(credentials: &Path) -> Self {
        let path = credentials.join("attempts.json");
        let state = match read_private(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error),
        };
        let state = state.unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "counters of wrong passwords begin anew");
            State::default()
        });
        Self { path, state: Mutex::new(state), writing: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A wrong password for this account; until when it is to be locked, if this one locks it.
    pub fn account_failed(&self, account: &AccountId, rule: LockRule, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.lock();
        state.changed = true;
        state.accounts.entry(account.clone()).or_default().fail(rule, now)
    }

    /// The right password was given, or the operator ended a lock.
    pub fn forgive(&self, account: &AccountId) {
        let mut state = self.lock();
        state.changed |= state.accounts.remove(account).is_some();
    }

    /// A wrong password from this source; until when it is locked, if this one locks it.
    pub fn source_failed(&self, source: IpAddr, rule: LockRule, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.lock();
        state.changed = true;
        if state.sources.len() >= SOURCES_MAX && !state.sources.contains_key(&source) {
            state.sources.retain(|_, tally| !tally.is_idle(rule, now));
        }
        if state.sources.len() >= SOURCES_MAX
            && !state.sources.contains_key(&source)
            && let Some(oldest) = state
                .sources
                .iter()
                .min_by_key(|(_, tally)| (tally.locked(rule, now).is_some(), tally.last))
                .map(|(source, _)| *source)
        {
            state.sources.remove(&oldest);
        }
        state.sources.entry(source).or_default().fail(rule, now)
    }

    /// Until when passwords from this source do not count, if they do not.
    pub fn source_locked(&self, source: IpAddr, rule: LockRule, now: Timestamp) -> Option<Timestamp> {
        self.lock().sources.get(&source).and_then(|tally| tally.locked(rule, now))
    }

    /// Somebody logged in; the login before.
    pub fn logged_in(&self, account: &AccountId, from: IpAddr, now: Timestamp) -> Option<LastLogin> {
        let mut state = self.lock();
        state.changed = true;
        let before = state.logins.insert(account.clone(), LastLogin { at: now, from });
        if let Some(before) = before {
            state.before.insert(account.clone(), before);
        }
        before
    }

    /// An account's last login.
    pub fn last_login(&self, account: &AccountId) -> Option<LastLogin> {
        self.lock().logins.get(account).copied()
    }

    /// The login before an account's last.
    pub fn login_before(&self, account: &AccountId) -> Option<LastLogin> {
        self.lock().before.get(account).copied()
    }

    /// Writes it, if anything changed.
    pub fn write(&self, now: Timestamp) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = {
            let mut state = self.lock();
            if !std::mem::take(&mut state.changed) {
                return Ok(());
            }
            state.written_at = Some(now);
            serde_json::to_vec(&*state)?
        };
        let written = durable::replace(&self.path, &bytes, 0o600);
        if written.is_err() {
            self.lock().changed = true;
        }
        written
    }

    /// Writes it because something got locked; not right after another time.
    pub fn write_lock(&self, now: Timestamp) -> io::Result<()> {
        if self.lock().written_at.is_some_and(|at| now.since(at).abs() < LOCKS_APART) {
            return Ok(());
        }
        self.write(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_392_000_000);

    fn account(id: &str) -> AccountId {
        AccountId::parse(id).unwrap()
    }

    #[test]
    fn counters_and_last_logins_outlive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let rule = LockRule::new(3, 30);
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        {
            let attempts = Attempts::open(dir.path());
            assert_eq!(attempts.account_failed(&account("K0001"), rule, NOW), None);
            assert_eq!(attempts.account_failed(&account("K0001"), rule, NOW), None);
            attempts.account_failed(&account("K0002"), rule, NOW);
            attempts.forgive(&account("K0002"));
            for _ in 0..3 {
                attempts.source_failed(source, rule, NOW);
            }
            assert_eq!(attempts.logged_in(&account("K0001"), source, NOW), None);
            attempts.write(NOW).unwrap();
            std::fs::remove_file(dir.path().join("attempts.json")).unwrap();
            attempts.write(NOW).unwrap();
            assert!(!dir.path().join("attempts.json").exists(), "nothing changed");
            attempts.account_failed(&account("K0003"), rule, NOW);
            attempts.write_lock(NOW).unwrap();
            assert!(!dir.path().join("attempts.json").exists(), "written just now");
            attempts.write_lock(NOW.plus(LOCKS_APART)).unwrap();
        }
        let attempts = Attempts::open(dir.path());
        assert_eq!(attempts.source_locked(source, rule, NOW.plus(1)), Some(NOW.plus(30 * 60_000)));
        assert_eq!(attempts.account_failed(&account("K0001"), rule, NOW), Some(NOW.plus(30 * 60_000)));
        assert_eq!(attempts.account_failed(&account("K0002"), rule, NOW), None);
        let last = LastLogin { at: NOW, from: source };
        assert_eq!(attempts.last_login(&account("K0001")), Some(last));
        assert_eq!(attempts.login_before(&account("K0001")), None);
        assert_eq!(attempts.logged_in(&account("K0001"), source, NOW.plus(5)), Some(last));
        assert_eq!(attempts.login_before(&account("K0001")), Some(last));
        std::fs::write(dir.path().join("attempts.json"), b"{").unwrap();
        assert_eq!(Attempts::open(dir.path()).last_login(&account("K0001")), None, "begun anew");
    }

    #[test]
    fn sources_are_bounded_and_locked_ones_stay_longest() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::open(dir.path());
        let rule = LockRule::new(2, 30);
        let source = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        attempts.source_failed(source(0), rule, NOW);
        attempts.source_failed(source(0), rule, NOW);
        for n in 1..=5000 {
            attempts.source_failed(source(n), rule, NOW.plus(i64::from(n)));
        }
        assert_eq!(attempts.lock().sources.len(), SOURCES_MAX);
        assert!(attempts.source_locked(source(0), rule, NOW.plus(5000)).is_some());
        // After the lock's time nothing of them counts, and they go at the next need for room.
        attempts.source_failed(source(9999), rule, NOW.plus(2 * 30 * 60_000));
        assert_eq!(attempts.lock().sources.len(), 1);
    }
}
