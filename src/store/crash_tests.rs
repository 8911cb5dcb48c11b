//! A process of its own that commits and says what was acknowledged, and is killed or runs out of room; then the root is
//! opened again. The process is this test binary, called with [`child`] alone.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::index::{Index, MemoryIndex, SledIndex};
use super::journal::{self, JournalOptions};
use super::journal_ledger::JournalLedger;
use super::ledger::{Done, Ledger, LedgerError, Op, Queue, Received, SubmissionFilter};
use super::ledger_suite::prepare;
use super::recover::{LedgerOptions, Recovery};
use super::root::Root;
use super::sample::{self, NOW};
use crate::model::event::Series;
use crate::model::ids::Number;
use crate::model::party::Actor;
use crate::model::submission::{Outcome, State};

const ROOT: &str = "TODOKE_TEST_CRASH_ROOT";
const ROOM: &str = "TODOKE_TEST_CRASH_ROOM";

fn open<I: Index>(path: &Path) -> (JournalLedger<I>, Recovery) {
    // Small segments, so that their change is among what is interrupted.
    let journal = JournalOptions { segment_bytes: 100_000 };
    let options = LedgerOptions { journal, ..LedgerOptions::default() };
    JournalLedger::open(Root::open(path).unwrap(), &options, NOW).unwrap()
}

/// Not a test by itself: the process that comes to harm.
#[test]
#[ignore = "run by the others"]
fn child() {
    let Some(path) = std::env::var_os(ROOT) else { return };
    match std::env::var(ROOM) {
        // sled's file is large from the start: the journal alone is to meet the limit.
        Ok(room) => work(&open::<MemoryIndex>(Path::new(&path)).0, room.parse().ok()),
        Err(_) => work(&open::<SledIndex>(Path::new(&path)).0, None),
    }
}

fn work(ledger: &dyn Ledger, room: Option<u64>) {
    if ledger.insurers().unwrap().is_empty() {
        prepare(ledger);
    }
    if room.is_some() {
        let limit = rustix::process::Rlimit { current: room, maximum: room };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| while step(ledger) {});
        }
    });
}

/// Accepts one and publishes it; says so when each is acknowledged.
fn step(ledger: &dyn Ledger) -> bool {
    let done = (|| {
        let serial = ledger.next_serial(Series::Submission, NOW)?;
        let op = Op::Receive {
            submission: Box::new(sample::submission(1, serial, Some(serial))),
            outcome: Outcome::Accepted,
            hold_same_content: true,
            id_since: NOW,
        };
        let done = ledger.commit(op, Actor::Daemon, NOW)?;
        assert_eq!(done, Done::Received(Received::New(Outcome::Accepted)));
        say(&format!("accepted {serial}"));
        let number = Number { epoch: 1, serial };
        ledger.commit(Op::PublishIntend(vec![number]), Actor::Daemon, NOW)?;
        ledger.commit(Op::Published(vec![number]), Actor::Daemon, NOW)?;
        say(&format!("published {serial}"));
        Ok::<(), LedgerError>(())
    })();
    match done {
        Ok(()) => true,
        Err(LedgerError::Stopped(why)) => {
            // Stopped for good: nothing may be acknowledged any more, by whichever way.
            assert!(matches!(ledger.commit(Op::Stop, Actor::Daemon, NOW), Err(LedgerError::Stopped(_))));
            assert!(matches!(ledger.next_serial(Series::Mail, NOW), Err(LedgerError::Stopped(_))));
            say(&format!("stopped {why}"));
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// One write per line, so that no line is torn by the kill.
fn say(line: &str) {
    let _ = std::io::stdout().lock().write_all(format!("\n= {line}\n").as_bytes());
    let _ = std::io::stdout().lock().flush();
}

fn start(at: &Path, room: Option<u64>) -> Child {
    // Without that signal a write beyond the limit is an error, as on a full disk, and not the end.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "store::crash_tests::child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(ROOT, at).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(room) = room {
        command.env(ROOM, room.to_string());
    }
    command.spawn().unwrap()
}

/// What the process said until it ended.
#[derive(Default)]
struct Said {
    accepted: Vec<u64>,
    published: Vec<u64>,
    stopped: Vec<String>,
}

impl Said {
    fn hear(&mut self, child: &mut Child, mut enough: impl FnMut(&mut Child, usize)) {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let before = self.accepted.len();
        for line in lines.map_while(Result::ok) {
            let Some((what, rest)) = line.strip_prefix("= ").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            match what {
                "accepted" => self.accepted.push(rest.parse().unwrap()),
                "published" => self.published.push(rest.parse().unwrap()),
                _ => self.stopped.push(rest.to_owned()),
            }
            enough(child, self.accepted.len() - before);
        }
        child.wait().unwrap();
    }

    /// Everything acknowledged is there, once.
    fn check(&self, ledger: &dyn Ledger) {
        let all = ledger.submissions(&SubmissionFilter::default(), usize::MAX).unwrap();
        let mut numbers: Vec<u64> = all.iter().map(|of| of.number.serial).collect();
        numbers.reverse();
        assert!(numbers.is_sorted_by(|a, b| a < b), "each once");
        for serial in &self.accepted {
            assert!(numbers.binary_search(serial).is_ok(), "{serial} was acknowledged");
            let again = Op::Receive {
                submission: Box::new(sample::submission(1, 1_000_000_000 + serial, None)),
                outcome: Outcome::Accepted,
                hold_same_content: true,
                id_since: NOW,
            };
            let Op::Receive { mut submission, outcome, hold_same_content, id_since } = again else {
                continue;
            };
            submission.manifest = sample::submission(1, *serial, None).manifest;
            let again = Op::Receive { submission, outcome, hold_same_content, id_since };
            let same = Done::Received(Received::Same(Number { epoch: 1, serial: *serial }));
            assert_eq!(ledger.commit(again, Actor::Daemon, NOW).unwrap(), same);
        }
        for serial in &self.published {
            let of = ledger.submission(Number { epoch: 1, serial: *serial }).unwrap().unwrap();
            assert_eq!(of.state, State::Published, "{serial}");
        }
        let waiting = all.iter().filter(|of| of.state != State::Published).count();
        assert_eq!(ledger.waiting(Queue::Publish).unwrap().0, waiting as u64);
    }
}

#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = Said::default();
    for round in 0..20_u64 {
        let mut child = start(dir.path(), None);
        let rounds_end = usize::try_from(round * 3 % 17 + 1).unwrap();
        said.hear(&mut child, |child, accepted| {
            if accepted == rounds_end {
                std::thread::sleep(Duration::from_micros(round * 137 % 2000));
                let _ = child.kill();
            }
        });
        if round % 5 == 4 {
            let verified = journal::verify(&dir.path().join("journal")).unwrap();
            let (ledger, recovery) = open::<SledIndex>(dir.path());
            assert_eq!(recovery.events, verified.position.seq);
            said.check(&ledger);
        }
    }
    assert!(said.accepted.len() >= 100, "{}", said.accepted.len());
}

#[test]
fn killed_while_it_opens_it_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = Said::default();
    for round in 0..12_u64 {
        let mut child = start(dir.path(), None);
        std::thread::sleep(Duration::from_millis(round * 4));
        let _ = child.kill();
        said.hear(&mut child, |_, _| {});
    }
    said.check(&open::<SledIndex>(dir.path()).0);
}

#[test]
fn out_of_room_intake_stops_and_what_was_answered_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    prepare(&open::<SledIndex>(dir.path()).0);
    let journal = dir.path().join("journal/00000000000000000001.jsonl");
    let mut said = Said::default();
    for more in [5_001, 12_345, 20_077] {
        let room = journal.metadata().unwrap().len() + more;
        let mut child = start(dir.path(), Some(room));
        said.hear(&mut child, |_, _| {});
        assert!(!said.stopped.is_empty(), "after {} acceptances", said.accepted.len());
        let (ledger, recovery) = open::<SledIndex>(dir.path());
        assert!(
            recovery.cut.is_some_and(|cut| cut.kept.exists()),
            "the commit that did not fit is kept aside"
        );
        said.check(&ledger);
    }
    assert!(said.stopped.iter().all(|why| why.contains("os error 27")), "{:?}", said.stopped);
}
