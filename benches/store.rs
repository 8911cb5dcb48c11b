//! Figures of the store: one JSON object a line. Nothing to compare with.
//!
//! ```text
//! cargo bench --bench store -- [FIGURE...]      TODOKE_BENCH_EVENTS=1000000  TODOKE_BENCH_DIR=/var/tmp
//!                                               TODOKE_BENCH_CACHE_MIB=64
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench stops at the first surprise and prints"
)]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

use std::path::Path;
use std::time::Instant;

use todoke::model::document::RemovalReason;
use todoke::model::event::{Event, MailResult, Record};
use todoke::model::ids::{BlobId, DocumentId, MailId, Number};
use todoke::model::party::Actor;
use todoke::model::submission::Outcome;
use todoke::model::time::Timestamp;
use todoke::store::blobs::Blobs;
use todoke::store::index::SledIndex;
use todoke::store::journal::{Journal, JournalOptions, Witnesses};
use todoke::store::journal_ledger::JournalLedger;
use todoke::store::ledger::{Ledger, Op, Queue, Task};
use todoke::store::local_blobs::{BlobOptions, Durability, Export, LocalBlobs};
use todoke::store::recover::LedgerOptions;
use todoke::store::root::{Epoch, Root};
use todoke::store::sample::{self, NOW};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let figures: [(&str, fn()); 6] = [
        ("commits", commits),
        ("rebuild", rebuild),
        ("listing", listing),
        ("purge", purge),
        ("blobs", blobs),
        ("reconciliation", reconciliation),
    ];
    for (name, figure) in figures {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            figure();
        }
    }
}

fn say(figure: &str, unit: &str, ours: f64) {
    println!(
        "{}",
        serde_json::json!({ "figure": figure, "unit": unit, "ours": (ours * 1000.0).round() / 1000.0 })
    );
}

fn dir() -> tempfile::TempDir {
    match std::env::var_os("TODOKE_BENCH_DIR") {
        Some(at) => tempfile::tempdir_in(at).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

fn open(path: &Path) -> JournalLedger<SledIndex> {
    let mut options = LedgerOptions::default();
    if let Ok(mib) = std::env::var("TODOKE_BENCH_CACHE_MIB") {
        options.index.cache_bytes = mib.parse::<u64>().unwrap() << 20;
    }
    let (ledger, recovery) = JournalLedger::open(Root::open(path).unwrap(), &options, NOW).unwrap();
    eprintln_state(&format!("{:?}", recovery.index));
    ledger
}

#[allow(clippy::print_stderr, reason = "what it was that was measured")]
fn eprintln_state(state: &str) {
    eprintln!("  {state}");
}

fn commit(ledger: &dyn Ledger, op: Op) {
    ledger.commit(op, Actor::Daemon, NOW).unwrap();
}

fn prepare(ledger: &dyn Ledger) {
    commit(ledger, Op::SetInsurer { insurer: sample::insurer(), new: true });
    commit(ledger, Op::SetOffice { office: sample::office("1234"), new: true });
    commit(ledger, Op::SetAccount { account: sample::account("K0001", "SHA256:one"), new: true });
}

fn receive(serial: u64) -> Op {
    Op::Receive {
        submission: Box::new(sample::submission(1, serial, Some(serial))),
        outcome: Outcome::Accepted,
        hold_same_content: true,
        id_since: NOW,
    }
}

fn commits() {
    for threads in [1_u64, 16] {
        let dir = dir();
        let ledger = open(dir.path());
        prepare(&ledger);
        let each = 4000 / threads;
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let ledger = &ledger;
                scope.spawn(move || (0..each).for_each(|i| commit(ledger, receive(1 + thread * each + i))));
            }
        });
        let rate = (threads * each) as f64 / start.elapsed().as_secs_f64();
        say(&format!("commits-{threads}-threads"), "1/s", rate);
    }
}

/// Writes a journal of about so many events: submissions from receipt to import, documents from placing to removal, of
/// which the last two fifths are still there.
fn generate(path: &Path, events: u64) -> u64 {
    let root = Root::open(path).unwrap();
    let epoch = Epoch::fresh(1).unwrap();
    root.set_epoch(&epoch).unwrap();
    let mut journal =
        Journal::open(&root.journal(), &epoch.uuid, JournalOptions::default(), &Witnesses::default(), 0, NOW)
            .unwrap()
            .journal;
    let mut seq = 0;
    let mut batch = Vec::new();
    let mut push = |event: Event, last: bool| {
        if !last || !matches!(event, Event::Stopped) {
            seq += 1;
            batch.push(Record { seq, at: NOW.plus(seq.cast_signed()), by: Actor::Daemon, event });
        }
        if batch.len() >= 1000 || last {
            journal.append(&batch).unwrap();
            batch.clear();
        }
        seq
    };
    push(Event::EpochBegan { epoch: 1, uuid: epoch.uuid }, false);
    push(Event::InsurerSet(sample::insurer()), false);
    push(Event::OfficeSet(sample::office("1234")), false);
    push(Event::AccountSet(sample::account("K0001", "SHA256:one")), false);
    // 5 events of a submission, 10 placings, an announcement and its sending, 6 removals of 2 events, on every turn.
    for turn in 0..events / 29 {
        let number = Number { epoch: 1, serial: turn + 1 };
        let submission = Box::new(sample::submission(1, turn + 1, Some(turn)));
        push(Event::SubmissionReceived { submission, outcome: Outcome::Accepted }, false);
        push(Event::PublishIntended { number }, false);
        push(Event::Published { number }, false);
        push(Event::Collected { number }, false);
        push(Event::ImportEnded { number, ok: true }, false);
        let ids: Vec<DocumentId> = (1..=10).map(|i| DocumentId { epoch: 1, serial: turn * 10 + i }).collect();
        for id in &ids {
            let document = Box::new(sample::document(1, id.serial, "1234", NOW));
            push(Event::DocumentPlaced { document, row: sample::digest(id.serial << 9) }, false);
        }
        push(Event::MailSealed(Box::new(sample::mail(1, turn + 1, ids.clone(), NOW))), false);
        let result = MailResult::Sent { reply: "250 2.0.0".into() };
        push(Event::MailTried { id: MailId { epoch: 1, serial: turn + 1 }, result }, false);
        // Some turns later, as after 70 days: what is removed has long been written.
        if turn >= 2000 {
            for i in 1..=6 {
                let id = DocumentId { epoch: 1, serial: (turn - 2000) * 10 + i };
                push(Event::RemovalIntended { id, reason: RemovalReason::Expired }, false);
                push(Event::Removed { id }, false);
            }
        }
    }
    push(Event::Stopped, true)
}

fn rebuild() {
    let events = std::env::var("TODOKE_BENCH_EVENTS").map_or(1_000_000, |text| text.parse().unwrap());
    let dir = dir();
    let start = Instant::now();
    let events = generate(dir.path(), events);
    say("journal-generate", "events/s", events as f64 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    let verified = todoke::store::journal::verify(&dir.path().join("journal")).unwrap();
    say(&format!("journal-verify-{}-events", verified.position.seq), "s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let ledger = open(dir.path());
    say(&format!("rebuild-{events}-events"), "s", start.elapsed().as_secs_f64());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: f64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    say("rebuild-peak-memory", "MiB", peak / 1024.0);
    ledger.close(NOW).unwrap();
    drop(ledger);
    let start = Instant::now();
    let ledger = open(dir.path());
    say(&format!("open-{events}-events-after-close"), "s", start.elapsed().as_secs_f64());
    commit(&ledger, Op::Stop);
    drop(ledger);
    let start = Instant::now();
    drop(open(dir.path()));
    say(&format!("open-{events}-events-after-crash"), "s", start.elapsed().as_secs_f64());
}

fn place(ledger: &dyn Ledger, from: u64, count: u64, at: Timestamp) {
    for start in (from..from + count).step_by(1000) {
        let rows = (start..(start + 1000).min(from + count))
            .map(|serial| (sample::document(1, serial, "1234", at), sample::digest(serial << 9)))
            .collect();
        commit(ledger, Op::Place(rows));
    }
}

fn listing() {
    let dir = dir();
    let ledger = open(dir.path());
    prepare(&ledger);
    place(&ledger, 1, 50_000, NOW);
    let account = sample::account_id("K0001");
    let office = sample::office_code("1234");
    for (name, office) in [("office", Some(&office)), ("account", None)] {
        let mut times: Vec<f64> = (0..7)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(ledger.documents(&account, office, None, usize::MAX).unwrap().len(), 50_000);
                start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        say(&format!("list-50000-of-{name}"), "s", times[3]);
    }
    let start = Instant::now();
    for serial in 1..=50_000 {
        let after = DocumentId { epoch: 1, serial: serial - 1 };
        assert_eq!(ledger.documents(&account, Some(&office), Some(after), 1).unwrap()[0].id.serial, serial);
    }
    say("page-of-1-in-50000", "us", start.elapsed().as_secs_f64() * 20.0);
}

/// The ledger's part in removing 1,000 expired documents out of many.
fn purge() {
    let mut times = Vec::new();
    for many in [10_000, 1_000_000] {
        let dir = dir();
        let ledger = open(dir.path());
        prepare(&ledger);
        place(&ledger, 1, many, NOW);
        let old = NOW.plus_days(0).plus(-1000);
        let mut runs = Vec::new();
        for run in 0..5 {
            place(&ledger, 10_000_000 + run * 1000, 1000, old);
            let now = NOW.plus_days(70).plus(-1);
            let start = Instant::now();
            let mut removed = 0;
            loop {
                let tasks = ledger.claim(Queue::Expire, now, 1000, 100).unwrap();
                let ids: Vec<DocumentId> = tasks
                    .iter()
                    .filter_map(|task| if let Task::Document(id) = task { Some(*id) } else { None })
                    .collect();
                if ids.is_empty() {
                    break;
                }
                removed += ids.len();
                commit(&ledger, Op::RemovalIntend { ids: ids.clone(), reason: RemovalReason::Expired });
                commit(&ledger, Op::Removed(ids));
            }
            assert_eq!(removed, 1000);
            runs.push(start.elapsed().as_secs_f64());
        }
        runs.sort_by(f64::total_cmp);
        say(&format!("purge-1000-of-{many}"), "s", runs[2]);
        times.push(runs[2]);
    }
    say("purge-ratio-1000000-to-10000", "", times[1] / times[0]);
}

fn blobs() {
    for durability in [Durability::Fsync, Durability::Syncfs] {
        for callers in [1, 16] {
            let dir = dir();
            let blobs =
                LocalBlobs::open(dir.path(), BlobOptions { durability, export: Export::Link }).unwrap();
            let content = vec![b'x'; 4096];
            let start = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..callers {
                    scope.spawn(|| {
                        for _ in 0..5 {
                            let ids: Vec<BlobId> =
                                (0..20).map(|_| blobs.put(&content, NOW).unwrap()).collect();
                            blobs.sync(&ids).unwrap();
                        }
                    });
                }
            });
            let rate = f64::from(callers * 100) / start.elapsed().as_secs_f64();
            say(&format!("blobs-{durability:?}-{callers}-callers"), "files/s", rate);
        }
    }
}

/// The books of a day with 100,000 events, behind a year of others.
fn reconciliation() {
    use todoke::model::day::ClosedDay;
    use todoke::model::time::DAY;
    use todoke::work::books::Sheets;
    let events: u64 =
        std::env::var("TODOKE_BENCH_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let dir = dir();
    let ledger = open(&dir.path().join("root"));
    for op in [
        Op::SetInsurer { insurer: sample::insurer(), new: true },
        Op::SetOffice { office: sample::office("1234"), new: true },
        Op::SetAccount { account: sample::account("K0001", "SHA256:one"), new: true },
    ] {
        commit(&ledger, op);
    }
    let mut serial = 0;
    let mut busy = |day: u32, events: u64| {
        let now = NOW.plus_days(day);
        let at = |op| ledger.commit(op, Actor::Daemon, now).unwrap();
        let mut left = events / 3;
        while left > 0 {
            let count = left.min(500);
            let ids: Vec<DocumentId> =
                (1..=count).map(|n| DocumentId { epoch: 1, serial: serial + n }).collect();
            let place = |id: &DocumentId| {
                (sample::document(1, id.serial, "1234", now), sample::digest(id.serial << 8))
            };
            at(Op::Place(ids.iter().map(place).collect()));
            at(Op::RemovalIntend { ids: ids.clone(), reason: RemovalReason::Expired });
            at(Op::Removed(ids));
            (serial, left) = (serial + count, left - count);
        }
    };
    for day in 0..20 {
        busy(day, 10_000);
    }
    busy(20, events);
    busy(21, 10_000);
    let begins = NOW.plus_days(20);
    let day = ClosedDay { day: "2026-12-13".to_owned(), from: begins, until: begins.plus(DAY) };
    let began = Instant::now();
    let sheets = Sheets::make(&ledger, &day, chrono_tz::Asia::Tokyo).unwrap();
    let took = began.elapsed().as_secs_f64();
    assert_eq!(sheets.insurers.len(), 1);
    say(&format!("reconciliation-{events}-events"), "s", took);
}
