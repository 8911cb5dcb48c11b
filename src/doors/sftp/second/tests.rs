use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::model::login::PasswordChange;
use crate::store::index::MemoryIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::recover::LedgerOptions;
use crate::store::root::Root;
use crate::store::sample::{self, NOW, account};

const MINUTE: i64 = 60_000;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn from() -> SocketAddr {
    "192.0.2.1:1000".parse().unwrap()
}

fn lock(ledger: &dyn Ledger, until: Timestamp, at: Timestamp) {
    let op = Op::LockLogin { account: account("K0001", "SHA256:one").id, until };
    ledger.commit(op, Actor::Daemon, at).unwrap();
}

/// With the password `right1234`. When `locks` is set, the account gets locked by others as soon as its rules were asked for.
fn second(path: &std::path::Path, locks: &Arc<AtomicBool>) -> (Arc<dyn Ledger>, SecondFactor) {
    let root = Root::open(path).unwrap();
    let folder = root.credentials();
    let (ledger, _) = JournalLedger::<MemoryIndex>::open(root, &LedgerOptions::default(), NOW).unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(ledger);
    for op in [
        Op::SetInsurer { insurer: sample::insurer(), new: true },
        Op::SetOffice { office: sample::office("1234"), new: true },
        Op::SetAccount { account: account("K0001", "SHA256:one"), new: true },
    ] {
        ledger.commit(op, Actor::Daemon, NOW).unwrap();
    }
    let policy = PasswordsPolicy { memory_kib: 8, passes: 1, ..PasswordsPolicy::default() };
    let credentials = Arc::new(Credentials::open(&folder, Arc::clone(&ledger), &policy));
    let of = account("K0001", "SHA256:one");
    let password = Password::choose("right1234", "K0001").unwrap();
    let credential = Credential::of(Purpose::Login, &of.id);
    credentials.set(&credential, &password, PasswordChange::Given, &Actor::Daemon, NOW).unwrap();
    let (locks, others) = (Arc::clone(locks), Arc::clone(&ledger));
    let second = SecondFactor {
        ledger: Arc::clone(&ledger),
        credentials,
        attempts: Arc::new(Attempts::open(&folder)),
        keys: Arc::new(Keys::load_or_make(&path.join("keys")).unwrap()),
        clock: Arc::new(Still),
        zone: chrono_tz::Asia::Tokyo,
        rules: Box::new(move |_| {
            if locks.swap(false, Ordering::SeqCst) {
                lock(others.as_ref(), NOW.plus(30 * MINUTE), NOW);
            }
            LoginRules::default()
        }),
        policy: Box::new(move || policy.clone()),
    };
    (ledger, second)
}

fn code(answer: &PasswordAnswer) -> String {
    match answer {
        PasswordAnswer::Right => "right".to_owned(),
        PasswordAnswer::MustChange(fault) | PasswordAnswer::Wrong(fault) | PasswordAnswer::Refused(fault) => {
            fault.code.to_string()
        }
    }
}

#[test]
fn a_lock_that_comes_while_a_password_is_checked_counts() {
    let dir = tempfile::tempdir().unwrap();
    let locks = Arc::new(AtomicBool::new(false));
    let (_ledger, second) = second(dir.path(), &locks);
    let of = account("K0001", "SHA256:one");
    assert_eq!(code(&second.password(&of, "right1234", from())), "right");
    locks.store(true, Ordering::SeqCst);
    assert_eq!(code(&second.password(&of, "right1234", from())), "LOGIN-LOCKED");
    assert_eq!(code(&second.change(&of, "right1234", "other1234", from())), "LOGIN-LOCKED");
}

#[test]
fn a_lock_of_a_clock_that_had_leapt_locks_nobody_out_and_does_not_hide_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, second) = second(dir.path(), &Arc::default());
    let of = account("K0001", "SHA256:one");
    let leapt = NOW.plus_days(70);
    lock(ledger.as_ref(), leapt.plus(30 * MINUTE), leapt);
    assert_eq!(code(&second.password(&of, "right1234", from())), "right");
    let codes: Vec<_> = (0..6).map(|_| code(&second.password(&of, "wrong1234", from()))).collect();
    assert!(codes[..4].iter().all(|code| code == "PASSWORD-WRONG"), "{codes:?}");
    assert_eq!(codes[4..], ["LOGIN-LOCKED", "LOGIN-LOCKED"]);
    assert_eq!(code(&second.password(&of, "right1234", from())), "LOGIN-LOCKED");
}

#[test]
fn a_password_is_changed_by_who_shows_the_one_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let (_ledger, second) = second(dir.path(), &Arc::default());
    let of = account("K0001", "SHA256:one");
    assert_eq!(code(&second.change(&of, "right1234", "short", from())), "PASSWORD-LENGTH");
    assert_eq!(code(&second.change(&of, "right1234", "other1234", from())), "right");
    assert_eq!(code(&second.password(&of, "other1234", from())), "right");
}
