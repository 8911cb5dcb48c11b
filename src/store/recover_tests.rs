//! Whole ledgers that come to harm and are opened again.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::index::{Index, MemoryIndex, SledIndex};
use super::journal::{self, JournalError};
use super::journal_ledger::JournalLedger;
use super::ledger::{Done, Ledger, LedgerError, Op, Queue, Received, Refusal, SubmissionFilter};
use super::ledger_suite::{commit, prepare};
use super::recover::{IndexState, LedgerOptions, OpenError, RebuildReason, Recovery};
use super::root::{Root, RootError};
use super::sample::{self, NOW, account_id};
use crate::model::document::RemovalReason;
use crate::model::event::{MailResult, Series};
use crate::model::ids::{MailId, Number};
use crate::model::party::Actor;
use crate::model::submission::{HoldReason, Outcome, State};

type Opened<I> = Result<(JournalLedger<I>, Recovery), OpenError>;

fn open_with<I: Index>(path: &Path, options: &LedgerOptions) -> Opened<I> {
    JournalLedger::open(Root::open(path)?, options, NOW)
}

fn open<I: Index>(path: &Path) -> (JournalLedger<I>, Recovery) {
    open_with(path, &LedgerOptions::default()).unwrap()
}

fn receive(ledger: &dyn Ledger, serial: u64, outcome: Outcome) -> Done {
    let epoch = ledger.head().epoch;
    let op = Op::Receive {
        submission: Box::new(sample::submission(epoch, serial, Some(serial))),
        outcome,
        hold_same_content: true,
        id_since: NOW,
    };
    commit(ledger, op)
}

fn number(serial: u64) -> Number {
    Number { epoch: 1, serial }
}

/// Some of everything, left in many states.
fn live(ledger: &dyn Ledger) {
    prepare(ledger);
    for serial in 1..=60 {
        let outcome = match serial % 10 {
            0 => Outcome::Refused("VIRUS-FOUND".into()),
            1 => Outcome::Held(HoldReason::Scanner),
            2 => Outcome::Held(HoldReason::SameContent),
            _ => Outcome::Accepted,
        };
        receive(ledger, serial, outcome);
    }
    let numbers = |from, to| (from..=to).map(number).collect::<Vec<_>>();
    commit(ledger, Op::PublishIntend(numbers(1, 40)));
    commit(ledger, Op::Published(numbers(1, 30)));
    for serial in 23..=29 {
        commit(ledger, Op::Collect(number(serial)));
        commit(ledger, Op::EndImport { number: number(serial), ok: serial % 2 == 0 });
    }
    commit(ledger, Op::Withdraw { number: number(41), account: None });
    commit(ledger, Op::Withdraw { number: number(43), account: None });
    commit(ledger, Op::EraseIntend(numbers(23, 27)));
    commit(ledger, Op::Erased(numbers(23, 25)));
    commit(ledger, Op::CardErased(numbers(23, 24)));
    let rows = |from: u64, to| {
        let office = |serial| if serial % 3 == 0 { "5678" } else { "1234" };
        (from..=to).map(move |s| (sample::document(1, s, office(s), NOW), sample::digest(s << 7))).collect()
    };
    commit(ledger, Op::Place(rows(1, 50)));
    let ids: Vec<_> = (1..=50).map(|s| sample::document(1, s, "1234", NOW).id).collect();
    commit(ledger, Op::SealMail(Box::new(sample::mail(1, 1, ids[..10].to_vec(), NOW))));
    commit(ledger, Op::SealMail(Box::new(sample::mail(1, 2, ids[10..12].to_vec(), NOW))));
    let result = MailResult::Sent { reply: "250".into() };
    commit(ledger, Op::TryMail { id: MailId { epoch: 1, serial: 1 }, result });
    commit(ledger, Op::MailCardErased(vec![MailId { epoch: 1, serial: 1 }]));
    commit(ledger, Op::Fetched(ids[4]));
    commit(ledger, Op::RemovalIntend { ids: ids[..6].to_vec(), reason: RemovalReason::Expired });
    commit(ledger, Op::Removed(ids[..3].to_vec()));
    ledger.next_serial(Series::Submission, NOW).unwrap();
}

/// What can be asked, as one text to compare.
fn state(ledger: &dyn Ledger) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let account = account_id("K0001");
    write!(text, "{:?}", ledger.accounts(None).unwrap()).unwrap();
    let submissions = ledger.submissions(&SubmissionFilter::default(), 1000).unwrap();
    for of in &submissions {
        let by = ledger.submission_by_manifest(&account, of.manifest).unwrap();
        let hold = ledger.hold(of.number).unwrap();
        let refers = ledger.refers_to(&of.card.blob).unwrap();
        writeln!(text, "{of:?} {by:?} {hold:?} {refers}").unwrap();
    }
    writeln!(text, "{:?}", ledger.documents(&account, None, None, 1000).unwrap()).unwrap();
    writeln!(text, "{:?}", ledger.mails(&super::ledger::MailFilter::default(), 1000).unwrap()).unwrap();
    for queue in [Queue::Judge, Queue::Publish, Queue::Expire, Queue::Announce, Queue::Mail] {
        let due = ledger.due(queue, NOW.plus_days(100), 1000).unwrap();
        writeln!(text, "{queue:?} {due:?} {:?}", ledger.waiting(queue).unwrap()).unwrap();
    }
    let states = [State::Published, State::Imported, State::Refused, State::Withdrawn];
    let later = NOW.plus_days(100);
    writeln!(text, "{:?}", ledger.erasable(&states, later, 1000).unwrap()).unwrap();
    writeln!(text, "{:?}", ledger.card_erasable(later, 1000).unwrap()).unwrap();
    writeln!(text, "{:?}", ledger.mail_card_erasable(later, 1000).unwrap()).unwrap();
    text
}

/// A root in which something has happened, left as by a crash; its state.
fn crashed(path: &Path) -> String {
    let (ledger, _) = open::<SledIndex>(path);
    live(&ledger);
    state(&ledger)
}

#[test]
fn an_index_over_sled_is_what_memory_rebuilds() {
    let dir = tempfile::tempdir().unwrap();
    let before = crashed(dir.path());
    let (ledger, recovery) = open::<SledIndex>(dir.path());
    assert_eq!((recovery.index, recovery.cut), (IndexState::Current, None));
    assert_eq!(state(&ledger), before);
    drop(ledger);
    let (ledger, recovery) = open::<MemoryIndex>(dir.path());
    assert!(matches!(recovery.index, IndexState::Rebuilt { .. }));
    assert_eq!(state(&ledger), before);
}

#[test]
fn an_orderly_close_is_seen_and_gives_serials_back() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, recovery) = open::<SledIndex>(dir.path());
    assert_eq!(recovery.index, IndexState::Rebuilt { why: RebuildReason::Missing, aside: None });
    live(&ledger);
    assert_eq!(ledger.next_serial(Series::Submission, NOW).unwrap(), 2);
    let before = state(&ledger);
    ledger.close(NOW).unwrap();
    assert!(matches!(ledger.commit(Op::Stop, Actor::Daemon, NOW), Err(LedgerError::Stopped(_))));
    assert!(matches!(ledger.next_serial(Series::Submission, NOW), Err(LedgerError::Stopped(_))));
    assert_eq!(state(&ledger), before, "it can still be read");
    drop(ledger);
    assert!(dir.path().join("CLEAN").exists());
    let (ledger, recovery) = open::<SledIndex>(dir.path());
    assert_eq!(recovery.index, IndexState::Current);
    assert!(!dir.path().join("CLEAN").exists());
    assert_eq!(ledger.next_serial(Series::Submission, NOW).unwrap(), 3);
    drop(ledger);
    let (ledger, _) = open::<SledIndex>(dir.path());
    assert_eq!(ledger.next_serial(Series::Submission, NOW).unwrap(), 1027, "after a crash the block is lost");
}

#[test]
fn a_power_cut_costs_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let before = crashed(dir.path());
    std::fs::write(dir.path().join("BOOT"), b"\"another boot\"").unwrap();
    let (ledger, recovery) = open::<SledIndex>(dir.path());
    let IndexState::Rebuilt { why, aside } = recovery.index else { panic!() };
    assert_eq!(why, RebuildReason::PowerCut);
    assert!(aside.unwrap().exists());
    assert_eq!(state(&ledger), before);
    ledger.close(NOW).unwrap();
    drop(ledger);
    std::fs::write(dir.path().join("BOOT"), b"\"another boot\"").unwrap();
    assert_eq!(open::<SledIndex>(dir.path()).1.index, IndexState::Current, "closed in order before the cut");
}

/// Harms the index in this way; it must come back as it was.
fn harmed(what: &str, harm: impl Fn(&Path), expected: impl Fn(&IndexState) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let before = crashed(dir.path());
    harm(&dir.path().join("index/db"));
    let (ledger, recovery) = open::<SledIndex>(dir.path());
    assert!(expected(&recovery.index), "{what}: {:?}", recovery.index);
    assert_eq!(state(&ledger), before, "{what}");
    commit(&ledger, Op::Stop);
    drop(ledger);
    let (_, recovery) = open::<SledIndex>(dir.path());
    assert_eq!(recovery.index, IndexState::Current, "{what}: the new one lasts");
}

fn rebuilt(state: &IndexState) -> bool {
    matches!(state, IndexState::Rebuilt { .. })
}

#[test]
fn a_harmed_index_comes_back() {
    harmed("deleted", |db| std::fs::remove_dir_all(db).unwrap(), rebuilt);
    harmed(
        "emptied",
        |db| {
            std::fs::remove_dir_all(db).unwrap();
            drop(SledIndex::open(db, &super::index::IndexOptions::default()).unwrap());
        },
        rebuilt,
    );
    harmed(
        "truncated",
        |db| {
            let file = std::fs::OpenOptions::new().write(true).open(db.join("db")).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        },
        |_| true,
    );
    harmed("config gone", |db| std::fs::remove_file(db.join("conf")).unwrap(), |_| true);
    harmed(
        "a file in its place",
        |db| {
            std::fs::remove_dir_all(db).unwrap();
            std::fs::write(db, b"x").unwrap();
        },
        rebuilt,
    );
    for seed in 0..12_u64 {
        harmed(
            &format!("garbled {seed}"),
            |db| {
                let mut file =
                    std::fs::OpenOptions::new().read(true).write(true).open(db.join("db")).unwrap();
                // Only where something lies: most of the file is room for more.
                let mut content = Vec::new();
                file.read_to_end(&mut content).unwrap();
                let used: Vec<usize> = (0..content.len()).filter(|at| content[*at] != 0).collect();
                for i in 0..20 {
                    let at = used[usize::from(sample::digest(seed * 100 + i).0[0]) * used.len() / 256];
                    file.seek(SeekFrom::Start(at as u64)).unwrap();
                    file.write_all(&[content[at] ^ 0x55]).unwrap();
                }
            },
            |_| true,
        );
    }
    let other = tempfile::tempdir().unwrap();
    crashed(other.path());
    harmed(
        "of another root",
        |db| {
            std::fs::remove_dir_all(db).unwrap();
            super::durable::rename(&other.path().join("index/db"), db).unwrap();
        },
        |state| matches!(state, IndexState::Rebuilt { why: RebuildReason::Foreign, .. }),
    );
}

#[test]
fn an_index_behind_is_brought_up_and_one_ahead_tells_that_the_journal_lost_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let early = tempfile::tempdir().unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    prepare(&ledger);
    ledger.close(NOW).unwrap();
    drop(ledger);
    copy_tree(dir.path(), early.path());
    let (ledger, _) = open::<SledIndex>(dir.path());
    for serial in 1..=50 {
        receive(&ledger, serial, Outcome::Accepted);
    }
    let (before, end) = (state(&ledger), ledger.head().seq);
    drop(ledger);
    let late = tempfile::tempdir().unwrap();
    copy_tree(&dir.path().join("index/db"), late.path());

    std::fs::remove_dir_all(dir.path().join("index/db")).unwrap();
    copy_tree(&early.path().join("index/db"), &dir.path().join("index/db"));
    let (ledger, recovery) = open::<SledIndex>(dir.path());
    assert_eq!(recovery.index, IndexState::Replayed(50));
    assert_eq!(state(&ledger), before);
    drop(ledger);

    // The whole root but its index is from a backup.
    std::fs::remove_dir_all(early.path().join("index/db")).unwrap();
    std::fs::remove_file(early.path().join("CLEAN")).unwrap();
    copy_tree(late.path(), &early.path().join("index/db"));
    let short = open_with::<SledIndex>(early.path(), &LedgerOptions::default()).unwrap_err();
    assert!(
        matches!(&short, OpenError::Journal(JournalError::Short { ends, seq, .. }) if (*ends, *seq) == (end - 50, end)),
        "{short}"
    );
    // What the operator says then.
    let options = LedgerOptions { restored: true, ..LedgerOptions::default() };
    let (ledger, recovery) = open_with::<SledIndex>(early.path(), &options).unwrap();
    assert!(matches!(recovery.index, IndexState::Rebuilt { why: RebuildReason::Restored, .. }));
    assert_eq!(ledger.submission(number(1)).unwrap(), None);
}

#[test]
fn an_empty_journal_beside_blobs_is_a_missing_one() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    prepare(&ledger);
    drop(ledger);
    for name in ["journal", "index"] {
        std::fs::remove_dir_all(dir.path().join(name)).unwrap();
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    // As a root is that was made, and never used.
    assert_eq!(super::recover::verify(dir.path()).unwrap().position.seq, 0);
    let day = dir.path().join("blobs/20261123");
    std::fs::create_dir_all(&day).unwrap();
    let gone = open_with::<SledIndex>(dir.path(), &LedgerOptions::default()).unwrap_err();
    assert!(matches!(gone, OpenError::Journal(JournalError::Gone { .. })), "{gone}");
    assert!(matches!(super::recover::verify(dir.path()), Err(JournalError::Gone { .. })));
    std::fs::remove_dir(day).unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    assert!(ledger.insurers().unwrap().is_empty());
}

#[test]
fn a_rebuild_that_is_interrupted_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let before = crashed(dir.path());
    let db = dir.path().join("index/db");
    std::fs::remove_dir_all(&db).unwrap();
    let index = SledIndex::open(&db, &super::index::IndexOptions::default()).unwrap();
    index.load(&[(b"sxyz".to_vec(), Some(b"half".to_vec()))]).unwrap();
    drop(index);
    let (ledger, recovery) = open::<SledIndex>(dir.path());
    assert!(matches!(recovery.index, IndexState::Rebuilt { why: RebuildReason::Damaged(_), .. }));
    assert_eq!(state(&ledger), before);
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn a_journal_that_lost_its_end_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    prepare(&ledger);
    let segment = dir.path().join("journal/00000000000000000001.jsonl");
    let length = segment.metadata().unwrap().len();
    receive(&ledger, 1, Outcome::Accepted);
    ledger.close(NOW).unwrap();
    drop(ledger);
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length).unwrap();
    let short = open_with::<SledIndex>(dir.path(), &LedgerOptions::default()).unwrap_err();
    assert!(matches!(short, OpenError::Journal(JournalError::Short { .. })), "{short}");
    // What the operator says then.
    let options = LedgerOptions { restored: true, ..LedgerOptions::default() };
    let (ledger, _) = open_with::<SledIndex>(dir.path(), &options).unwrap();
    assert_eq!(ledger.begin_epoch(Actor::Operator(0), NOW).unwrap(), 2);
}

#[test]
fn a_cut_into_what_the_index_has_seen_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path());
    let segment = dir.path().join("journal/00000000000000000001.jsonl");
    let length = segment.metadata().unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 1).unwrap();
    let error = open_with::<SledIndex>(dir.path(), &LedgerOptions::default()).unwrap_err();
    assert!(error.to_string().contains("the index has applied"), "{error}");
    assert_eq!(segment.metadata().unwrap().len(), length - 1);
}

#[test]
fn a_restored_root_lets_nothing_out_until_it_is_reconciled() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    prepare(&ledger);
    receive(&ledger, 1, Outcome::Accepted);
    receive(&ledger, 2, Outcome::Held(HoldReason::Scanner));
    ledger.next_serial(Series::Submission, NOW).unwrap();
    assert_eq!(ledger.begin_epoch(Actor::Operator(0), NOW).unwrap(), 2);
    assert_eq!(ledger.next_serial(Series::Submission, NOW).unwrap(), 1, "each epoch counts anew");
    drop(ledger);

    let (ledger, recovery) = open::<SledIndex>(dir.path());
    assert_eq!(recovery.index, IndexState::Current);
    let head = ledger.head();
    assert_eq!((head.epoch, head.unreconciled), (2, true));
    assert_eq!(ledger.claim(Queue::Publish, NOW, 1, 10).unwrap(), []);
    assert_eq!(ledger.due(Queue::Publish, NOW, 10).unwrap().len(), 1);
    let not_now = |op| match ledger.commit(op, Actor::Daemon, NOW) {
        Err(LedgerError::Refused(Refusal::NotNow(_))) => {}
        other => panic!("{other:?}"),
    };
    not_now(Op::PublishIntend(vec![number(1)]));
    let judge = |number| Op::Judge {
        number,
        outcome: Outcome::Accepted,
        verdicts: vec![],
        office: None,
        forms: vec![],
        decision: None,
        released: false,
    };
    not_now(judge(number(2)));
    assert_eq!(
        receive(&ledger, 3, Outcome::Accepted),
        Done::Received(Received::New(Outcome::Held(HoldReason::Epoch)))
    );
    let three = Number { epoch: 2, serial: 3 };
    assert_eq!(ledger.due(Queue::Judge, NOW, 10).unwrap().len(), 1, "the scanner's hold alone");
    commit(&ledger, Op::EpochReconciled);
    assert!(!ledger.head().unreconciled);
    assert_eq!(ledger.due(Queue::Judge, NOW, 10).unwrap().len(), 2);
    commit(&ledger, judge(three));
    commit(&ledger, judge(number(2)));
    assert_eq!(ledger.claim(Queue::Publish, NOW, 1, 10).unwrap().len(), 3);
    let before = state(&ledger);
    drop(ledger);
    std::fs::remove_dir_all(dir.path().join("index/db")).unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    assert_eq!(state(&ledger), before);
}

#[test]
fn epoch_and_journal_must_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    prepare(&ledger);
    let old = std::fs::read(dir.path().join("EPOCH")).unwrap();
    ledger.begin_epoch(Actor::Operator(0), NOW).unwrap();
    let new = std::fs::read(dir.path().join("EPOCH")).unwrap();
    drop(ledger);
    // A crash between the event and the file.
    std::fs::write(dir.path().join("EPOCH"), &old).unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    assert_eq!(std::fs::read(dir.path().join("EPOCH")).unwrap(), new);
    drop(ledger);
    std::fs::write(dir.path().join("EPOCH"), br#"{"epoch":2,"uuid":"ffffffffffffffffffffffffffffffff"}"#)
        .unwrap();
    let error = open_with::<SledIndex>(dir.path(), &LedgerOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Journal(JournalError::OtherEpoch { .. })), "{error}");
    std::fs::remove_file(dir.path().join("EPOCH")).unwrap();
    let error = open_with::<SledIndex>(dir.path(), &LedgerOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Root(RootError::Damaged { .. })), "{error}");
}

#[test]
fn a_root_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    let error = open_with::<SledIndex>(dir.path(), &LedgerOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Root(RootError::Locked { .. })), "{error}");
    // Reading the journal needs no lock.
    prepare(&ledger);
    assert_eq!(journal::verify(&dir.path().join("journal")).unwrap().position.seq, ledger.head().seq);
    drop(ledger);
    open::<SledIndex>(dir.path());
}

#[test]
fn what_is_too_long_for_the_journal_is_refused_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open::<MemoryIndex>(dir.path());
    prepare(&ledger);
    let mut submission = sample::submission(1, 1, None);
    submission.signer = "x".repeat(9 << 20);
    let op = Op::Receive {
        submission: Box::new(submission),
        outcome: Outcome::Accepted,
        hold_same_content: true,
        id_since: NOW,
    };
    let refused = ledger.commit(op, Actor::Daemon, NOW).unwrap_err();
    assert!(matches!(refused, LedgerError::Refused(Refusal::NotNow(_))), "{refused}");
    assert_eq!(receive(&ledger, 1, Outcome::Accepted), Done::Received(Received::New(Outcome::Accepted)));
}

#[test]
fn many_callers_commit_together() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open::<SledIndex>(dir.path());
    prepare(&ledger);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let ledger = &ledger;
            scope.spawn(move || {
                for i in 0..25 {
                    receive(ledger, 1 + thread * 25 + i, Outcome::Accepted);
                }
            });
        }
    });
    assert_eq!(ledger.waiting(Queue::Publish).unwrap().0, 200);
    let before = state(&ledger);
    drop(ledger);
    let (ledger, recovery) = open::<SledIndex>(dir.path());
    assert_eq!(recovery.index, IndexState::Current);
    assert_eq!(state(&ledger), before);
}
