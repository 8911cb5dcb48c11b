//! Passwords as argon2id hashes, apart from the journal, which is kept for ever and holds no secret.
//!
//! ```text
//! credentials/PURPOSE/HOLDER.json   0600: the hashes of the holder's last passwords by version
//! ```
//!
//! Which version counts is what the ledger says, so a password is set in two steps: the file is replaced, durably, by one
//! that holds the new hash beside those before; then the event `password_set` names its version. A crash between the two
//! leaves a hash that never counted: the password before still holds, nobody was told otherwise, and the next change writes
//! over it. A password ends by its event, with what its holder ended by; then the file goes ([`Credentials::tidy`]). What a
//! crash leaves of it counts for nothing.
//!
//! Checks are bounded: so many at the same time, so many that wait, and beyond that none ([`Checked::Busy`]). Those of enrolment
//! logins, which anybody may ask for, have places of their own. What an operator sets waits for its turn. A check takes as long
//! for a holder that has no password.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::gateway_keys::read_private;
use super::ledger::{Ledger, LedgerError, Op};
use super::{durable, keys};
use crate::model::ids::CredentialHolder;
use crate::model::login::{Credential, PasswordChange, PasswordState, Purpose};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::rules::passwords::{GIVEN_BYTES_MAX, Password, PasswordFault, PasswordsPolicy, fold};

/// Passwords whose hashes are kept: the one in force, the one before it (K35), and one that is being set.
const KEPT: usize = 3;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Why a password was not set.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// It may not be chosen.
    #[error("{}", .0.code())]
    Fault(PasswordFault),
    /// Too many checks wait.
    #[error("too many passwords are being checked; try again")]
    Busy,
    /// It was set anew after the one before it was shown.
    #[error("the password was set by somebody else meanwhile")]
    Moved,
    /// The ledger did not record it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It is the password in force; whether it may be used is for [`crate::rules::passwords::validity`] to say.
    Right(PasswordState),
    /// It is not.
    Wrong,
    /// There is no password.
    Absent,
    /// Too many checks wait.
    Busy,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    version: u64,
    memory_kib: u32,
    passes: u32,
    salt: String,
    hash: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    argon2id: Vec<Entry>,
}

/// The passwords of one data root.
pub struct Credentials {
    folder: PathBuf,
    ledger: Arc<dyn Ledger>,
    cost: (u32, u32),
    places: Places,
    /// Of enrolment logins, whose password is the first thing that they show.
    enrolment: Places,
    /// One change at a time: each reads, adds and replaces a file.
    changing: Mutex<()>,
}

impl Credentials {
    /// Over `credentials/`, with what a check costs and how many there may be.
    pub fn open(folder: &Path, ledger: Arc<dyn Ledger>, policy: &PasswordsPolicy) -> Self {
        Self {
            folder: folder.to_owned(),
            ledger,
            cost: (policy.memory_kib, policy.passes),
            places: Places::new(policy.checks_max.max(1), policy.checks_waiting_max),
            enrolment: Places::new(policy.enrolment_checks_max.max(1), policy.checks_waiting_max),
            changing: Mutex::new(()),
        }
    }

    /// The password in force, as the ledger knows it.
    pub fn state(&self, of: &Credential) -> Result<Option<PasswordState>, LedgerError> {
        self.ledger.password(of)
    }

    /// Whether `given` is the password in force. Blocks for the time of a hash, and for its turn.
    pub fn check(&self, of: &Credential, given: &str) -> Result<Checked, CredentialError> {
        let state = self.ledger.password(of)?;
        let file = self.read(of)?;
        let entry = state.as_ref().and_then(|state| file.entry(state.version));
        if let (Some(state), None) = (&state, entry) {
            tracing::error!(
                purpose = of.purpose.as_str(), holder = %of.holder, version = state.version,
                "a password's hash is not in credentials/; reset the password"
            );
        }
        let places = match of.purpose {
            Purpose::Login | Purpose::Issue => &self.places,
            Purpose::Enrolment => &self.enrolment,
        };
        let Some(_place) = places.take() else { return Ok(Checked::Busy) };
        let right = if let Some(entry) = entry {
            entry.is(given)
        } else {
            // As long as if there were one.
            let _ = Entry::of(given, 0, self.cost);
            false
        };
        Ok(match state {
            Some(state) if right => Checked::Right(state),
            Some(_) => Checked::Wrong,
            None => Checked::Absent,
        })
    }

    /// Sets a password: durable when it returns. One that its user chose may be neither the one in force nor the one before
    /// (K35).
    pub fn set(
        &self,
        of: &Credential,
        password: &Password,
        change: PasswordChange,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), CredentialError> {
        self.set_over(of, None, (password, change), by, now)
    }

    /// The same, chosen by who showed the password of this version; one that was set meanwhile stays.
    pub fn choose(
        &self,
        of: &Credential,
        shown: u64,
        password: &Password,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), CredentialError> {
        self.set_over(of, Some(shown), (password, PasswordChange::Chosen), by, now)
    }

    fn set_over(
        &self,
        of: &Credential,
        shown: Option<u64>,
        (password, change): (&Password, PasswordChange),
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), CredentialError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let there = self.ledger.password(of)?.map(|state| state.version);
        if shown.is_some() && shown != there {
            return Err(CredentialError::Moved);
        }
        let version = self.stage(of, password, change)?;
        let op = Op::SetPassword { credential: of.clone(), version, change };
        self.ledger.commit(op, by.clone(), now)?;
        Ok(())
    }

    /// The first step of [`Credentials::set`]: the hash is in the file, and does not count yet.
    fn stage(
        &self,
        of: &Credential,
        password: &Password,
        change: PasswordChange,
    ) -> Result<u64, CredentialError> {
        let last = self.ledger.password_version(of)?;
        let mut file = self.read(of)?;
        // What a crash left, or what is too long ago.
        file.argon2id.retain(|entry| entry.version <= last);
        let _place = match change {
            PasswordChange::Chosen => self.places.take().ok_or(CredentialError::Busy)?,
            // An operator's word is not lost because many log in.
            _ => self.places.wait(),
        };
        let before = file.argon2id.iter().rev().take(KEPT - 1);
        if change == PasswordChange::Chosen && before.into_iter().any(|entry| entry.is(password.reveal())) {
            return Err(CredentialError::Fault(PasswordFault::Previous));
        }
        let version = last + 1;
        let entry = Entry::of(password.reveal(), version, self.cost).map_err(|source| self.io(of, source))?;
        file.argon2id.push(entry);
        let more = file.argon2id.len().saturating_sub(KEPT);
        file.argon2id.drain(..more);
        self.write(of, &file).map_err(|source| self.io(of, source))?;
        Ok(version)
    }

    /// Removes the files of passwords that ended; how many those were. Cost proportional to the passwords there are.
    pub fn tidy(&self) -> Result<usize, CredentialError> {
        let mut removed = 0;
        for purpose in [Purpose::Login, Purpose::Issue, Purpose::Enrolment] {
            let folder = self.folder.join(purpose.as_str());
            let wrong = |source| CredentialError::Io { path: folder.clone(), source };
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(wrong(error)),
            };
            for entry in entries {
                let name = entry.map_err(wrong)?.file_name();
                let holder = name.to_str().and_then(|name| name.strip_suffix(".json"));
                let Some(holder) = holder.and_then(|holder| CredentialHolder::parse(holder).ok()) else {
                    continue;
                };
                let of = Credential { purpose, holder };
                // A file is written before the event that makes it count.
                let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
                if self.ledger.password(&of)?.is_none() {
                    durable::remove(&self.path(&of)).map_err(|source| self.io(&of, source))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    fn path(&self, of: &Credential) -> PathBuf {
        self.folder.join(of.purpose.as_str()).join(format!("{}.json", of.holder))
    }

    fn io(&self, of: &Credential, source: io::Error) -> CredentialError {
        CredentialError::Io { path: self.path(of), source }
    }

    fn read(&self, of: &Credential) -> Result<File, CredentialError> {
        match read_private(&self.path(of)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| self.io(of, error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(File::default()),
            Err(source) => Err(self.io(of, source)),
        }
    }

    fn write(&self, of: &Credential, file: &File) -> io::Result<()> {
        durable::make_folder(&self.folder, 0o700)?;
        durable::make_folder(&self.folder.join(of.purpose.as_str()), 0o700)?;
        durable::replace(&self.path(of), &serde_json::to_vec(file)?, 0o600)
    }
}

impl File {
    fn entry(&self, version: u64) -> Option<&Entry> {
        self.argon2id.iter().find(|entry| entry.version == version)
    }
}

impl Entry {
    fn of(password: &str, version: u64, (memory_kib, passes): (u32, u32)) -> io::Result<Self> {
        let mut salt = [0; SALT_BYTES];
        keys::random(&mut salt)?;
        let hash = hash(password, &salt, memory_kib, passes)?;
        Ok(Self { version, memory_kib, passes, salt: hex::encode(salt), hash: hex::encode(*hash) })
    }

    fn is(&self, given: &str) -> bool {
        let (Ok(salt), Ok(expected)) = (hex::decode(&self.salt), hex::decode(&self.hash)) else {
            return false;
        };
        let Ok(got) = hash(given, &salt, self.memory_kib, self.passes) else { return false };
        // Every byte is looked at: how many agree is nobody's business.
        expected.len() == got.len() && expected.iter().zip(got.iter()).fold(0, |d, (a, b)| d | (a ^ b)) == 0
    }
}

fn hash(
    password: &str,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
) -> io::Result<Zeroizing<[u8; HASH_BYTES]>> {
    let wrong = |error: argon2::Error| io::Error::other(error.to_string());
    let params = Params::new(memory_kib, passes, 1, Some(HASH_BYTES)).map_err(wrong)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    // No password is as long; the length alone must not cost anything.
    let given = if password.len() <= GIVEN_BYTES_MAX { password } else { "" };
    argon2.hash_password_into(fold(given).as_bytes(), salt, &mut *hash).map_err(wrong)?;
    Ok(hash)
}

/// Places for checks, and a bounded number who wait for one.
struct Places {
    max: usize,
    waiting_max: usize,
    /// Checks under way, and waiting.
    taken: Mutex<(usize, usize)>,
    freed: Condvar,
}

struct Place<'a>(&'a Places);

impl Places {
    fn new(max: usize, waiting_max: usize) -> Self {
        Self { max, waiting_max, taken: Mutex::new((0, 0)), freed: Condvar::new() }
    }

    fn take(&self) -> Option<Place<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.0 >= self.max {
            if taken.1 >= self.waiting_max {
                return None;
            }
            taken.1 += 1;
            taken = self.turn(taken);
            taken.1 -= 1;
        }
        taken.0 += 1;
        Some(Place(self))
    }

    /// The same, however many wait.
    fn wait(&self) -> Place<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(taken).0 += 1;
        Place(self)
    }

    fn turn<'a>(&'a self, taken: MutexGuard<'a, (usize, usize)>) -> MutexGuard<'a, (usize, usize)> {
        self.freed.wait_while(taken, |taken| taken.0 >= self.max).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::model::login::LoginNews;
    use crate::store::index::MemoryIndex;
    use crate::store::journal_ledger::JournalLedger;
    use crate::store::ledger_suite::prepare;
    use crate::store::recover::LedgerOptions;
    use crate::store::root::Root;
    use crate::store::sample::{NOW, account_id};

    const BY: Actor = Actor::Operator(7);

    fn open(path: &Path) -> (Arc<JournalLedger<MemoryIndex>>, Credentials) {
        let root = Root::open(path).unwrap();
        let folder = root.credentials();
        let (ledger, _) = JournalLedger::open(root, &LedgerOptions::default(), NOW).unwrap();
        let ledger = Arc::new(ledger);
        let policy = PasswordsPolicy { memory_kib: 8, passes: 1, ..PasswordsPolicy::default() };
        (Arc::clone(&ledger), Credentials::open(&folder, ledger, &policy))
    }

    fn login() -> Credential {
        Credential::of(Purpose::Login, &account_id("K0001"))
    }

    fn chosen(text: &str) -> Password {
        Password::choose(text, "K0001").unwrap()
    }

    fn is_right(credentials: &Credentials, given: &str) -> bool {
        matches!(credentials.check(&login(), given).unwrap(), Checked::Right(_))
    }

    #[test]
    fn a_password_is_set_checked_changed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, credentials) = open(dir.path());
        prepare(ledger.as_ref());
        let set = |text: &str, change| credentials.set(&login(), &chosen(text), change, &BY, NOW);
        assert_eq!(credentials.check(&login(), "abcd1234").unwrap(), Checked::Absent);
        set("temp-1234", PasswordChange::Temporary).unwrap();
        assert!(is_right(&credentials, "temp-1234"));
        assert_eq!(credentials.check(&login(), "TEMP-1234").unwrap(), Checked::Wrong, "case counts (E1)");
        let state = credentials.state(&login()).unwrap().unwrap();
        assert_eq!((state.version, state.change, state.by), (1, PasswordChange::Temporary, BY));

        let same = set("temp-1234", PasswordChange::Chosen).unwrap_err();
        assert!(matches!(same, CredentialError::Fault(PasswordFault::Previous)), "{same}");
        set("mine¥1234", PasswordChange::Chosen).unwrap();
        assert!(is_right(&credentials, "mine\\1234"), "yen and backslash are one");
        set("temp-5678", PasswordChange::Reset).unwrap();
        let before = set("mine\\1234", PasswordChange::Chosen).unwrap_err();
        assert!(
            matches!(before, CredentialError::Fault(PasswordFault::Previous)),
            "before the reset: {before}"
        );
        set("other1234", PasswordChange::Chosen).unwrap();
        set("mine\\1234", PasswordChange::Chosen).unwrap();

        let issue = Credential::of(Purpose::Issue, &account_id("K0001"));
        assert_eq!(credentials.check(&issue, "mine\\1234").unwrap(), Checked::Absent, "another thing (E9)");
        let missing = Credential::of(Purpose::Login, &account_id("K9999"));
        assert!(credentials.set(&missing, &chosen("abcd1234"), PasswordChange::Given, &BY, NOW).is_err());

        let file = dir.path().join("credentials/login/K0001.json");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("1234") || !text.contains("mine"), "{text}");
        assert_eq!(credentials.tidy().unwrap(), 1, "what a refused change left");
        assert!(file.exists(), "it is in force");
        ledger.commit(Op::RemovePassword(login()), BY, NOW).unwrap();
        assert_eq!(credentials.tidy().unwrap(), 1);
        assert!(!file.exists());
        assert_eq!(credentials.check(&login(), "mine\\1234").unwrap(), Checked::Absent);
        set("again1234", PasswordChange::Temporary).unwrap();
        assert_eq!(credentials.state(&login()).unwrap().unwrap().version, 6, "versions never come again");

        let news = ledger.login_news(100).unwrap();
        assert_eq!(news.len(), 6);
        assert_eq!(news[0].2, LoginNews::Password(Purpose::Login, PasswordChange::Temporary));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(credentials.check(&login(), "again1234").is_err(), "others may read it");
    }

    #[test]
    fn a_crash_between_file_and_event_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (ledger, credentials) = open(dir.path());
            prepare(ledger.as_ref());
            credentials.set(&login(), &chosen("first1234"), PasswordChange::Given, &BY, NOW).unwrap();
            credentials.stage(&login(), &chosen("second1234"), PasswordChange::Chosen).unwrap();
        }
        let (_, credentials) = open(dir.path());
        assert!(is_right(&credentials, "first1234"));
        assert!(!is_right(&credentials, "second1234"), "it never counted");
        credentials.set(&login(), &chosen("third1234"), PasswordChange::Chosen, &BY, NOW).unwrap();
        assert!(is_right(&credentials, "third1234"));
        let file = std::fs::read_to_string(dir.path().join("credentials/login/K0001.json")).unwrap();
        let file: File = serde_json::from_str(&file).unwrap();
        assert_eq!(file.argon2id.iter().map(|e| e.version).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn who_showed_an_old_password_does_not_set_over_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, credentials) = open(dir.path());
        prepare(ledger.as_ref());
        credentials.set(&login(), &chosen("first1234"), PasswordChange::Given, &BY, NOW).unwrap();
        credentials.set(&login(), &chosen("reset1234"), PasswordChange::Reset, &BY, NOW).unwrap();
        let moved = credentials.choose(&login(), 1, &chosen("thief1234"), &BY, NOW).unwrap_err();
        assert!(matches!(moved, CredentialError::Moved), "{moved}");
        assert!(is_right(&credentials, "reset1234"));
        credentials.choose(&login(), 2, &chosen("second1234"), &BY, NOW).unwrap();
        assert!(is_right(&credentials, "second1234"));
    }

    #[test]
    fn strangers_at_enrolment_logins_keep_neither_clerks_nor_operators_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, mut credentials) = open(dir.path());
        prepare(ledger.as_ref());
        credentials.set(&login(), &chosen("first1234"), PasswordChange::Given, &BY, NOW).unwrap();
        let applicant = CredentialHolder::parse("A1-000001-4").unwrap();
        let applicant = Credential { purpose: Purpose::Enrolment, holder: applicant };
        (credentials.places, credentials.enrolment) = (Places::new(1, 0), Places::new(1, 0));
        let taken = credentials.enrolment.take().unwrap();
        assert_eq!(credentials.check(&applicant, "guess1234").unwrap(), Checked::Busy);
        assert!(is_right(&credentials, "first1234"));
        credentials.set(&applicant, &chosen("given1234"), PasswordChange::Given, &BY, NOW).unwrap();
        drop(taken);
        assert!(matches!(credentials.check(&applicant, "given1234").unwrap(), Checked::Right(_)));
        // Clerks are told to try again, an operator has its turn.
        let taken = credentials.places.take().unwrap();
        let busy = credentials.choose(&login(), 1, &chosen("other1234"), &BY, NOW).unwrap_err();
        assert!(matches!(busy, CredentialError::Busy), "{busy}");
        std::thread::scope(|scope| {
            let set = || credentials.set(&login(), &chosen("reset1234"), PasswordChange::Reset, &BY, NOW);
            let set = scope.spawn(set);
            drop(taken);
            set.join().unwrap().unwrap();
        });
        assert!(is_right(&credentials, "reset1234"));
    }

    #[test]
    fn a_lost_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, credentials) = open(dir.path());
        prepare(ledger.as_ref());
        credentials.set(&login(), &chosen("first1234"), PasswordChange::Given, &BY, NOW).unwrap();
        std::fs::remove_file(dir.path().join("credentials/login/K0001.json")).unwrap();
        assert_eq!(credentials.check(&login(), "first1234").unwrap(), Checked::Wrong);
    }

    #[test]
    fn checks_and_those_who_wait_are_bounded() {
        let places = Places::new(1, 1);
        let first = places.take().unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| places.take().is_some());
            while places.taken.lock().unwrap().1 == 0 {
                std::thread::yield_now();
            }
            assert!(places.take().is_none(), "one waits already");
            drop(first);
            assert!(second.join().unwrap());
        });
        assert_eq!(*places.taken.lock().unwrap(), (0, 0));
    }

    #[test]
    fn the_hash_is_argon2id_and_a_long_text_costs_nothing_more() {
        let salt = [1; SALT_BYTES];
        let one = hash("abcd1234", &salt, 8, 1).unwrap();
        assert_eq!(*one, *hash("abcd1234", &salt, 8, 1).unwrap());
        assert_ne!(*one, *hash("abcd1235", &salt, 8, 1).unwrap());
        assert_ne!(*one, *hash("abcd1234", &[2; SALT_BYTES], 8, 1).unwrap());
        assert_eq!(*hash(&"x".repeat(1 << 20), &salt, 8, 1).unwrap(), *hash("", &salt, 8, 1).unwrap());
    }
}
