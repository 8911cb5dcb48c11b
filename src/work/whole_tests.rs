//! The insurer's side over the real journal and blobs, with a restart wherever a crash may be.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::alarms::AlarmBoard;
use super::deliver::{Deliveries, DeliveryPolicy, DocumentTable};
use super::imports::{ImportPolicy, Imports};
use super::ports::FixedScanner;
use super::publish::{PublishPolicy, Publisher, SpoolTurn, Withdrawal};
use super::purge::{Purge, PurgePolicy};
use super::retention::{Retention, RetentionPolicy};
use super::step::Points;
use super::sweep::Sweep;
use crate::model::event::Series;
use crate::model::ids::{BlobId, Digest, Number};
use crate::model::party::Actor;
use crate::model::submission::{Outcome, State};
use crate::model::time::{DAY, SECOND, Timestamp};
use crate::rules::policy::DelegationPolicy;
use crate::small_world::{self, INSURER, account, at, code, names, submission};
use crate::store::blobs::Blobs;
use crate::store::index::MemoryIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::ledger::{Ledger, Op};
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::recover::LedgerOptions;
use crate::store::root::Root;
use crate::store::spool::insurer_path;

/// One run of a gateway over a data root; dropped without ceremony, as by a crash.
pub(super) struct Run<'a> {
    pub(super) root: &'a Path,
    pub(super) ledger: Arc<JournalLedger<MemoryIndex>>,
    pub(super) blobs: Arc<LocalBlobs>,
    pub(super) alarms: Arc<AlarmBoard>,
    pub(super) turn: SpoolTurn,
    pub(super) now: Timestamp,
}

impl<'a> Run<'a> {
    pub(super) fn start(root: &'a Path, now: Timestamp) -> Self {
        let opened = Root::open(root).unwrap();
        let blobs = Arc::new(LocalBlobs::open(&opened.blobs(), BlobOptions::default()).unwrap());
        let (ledger, _) = JournalLedger::open(opened, &LedgerOptions::default(), now).unwrap();
        Self {
            root,
            ledger: Arc::new(ledger),
            blobs,
            alarms: Arc::default(),
            turn: SpoolTurn::default(),
            now,
        }
    }

    pub(super) fn found(root: &'a Path, now: Timestamp) -> Self {
        let run = Self::start(root, now);
        small_world::found(root, run.blobs.as_ref(), now, Vec::new(), |op| run.commit(op));
        run
    }

    pub(super) fn commit(&self, op: Op) {
        self.ledger.commit(op, Actor::Daemon, self.now).unwrap();
    }

    pub(super) fn accept(&self, seed: u8) -> Number {
        self.accept_tagged(u64::from(seed))
    }

    pub(super) fn accept_tagged(&self, seed: u64) -> Number {
        let serial = self.ledger.next_serial(Series::Submission, self.now).unwrap();
        let number = Number { epoch: 1, serial };
        let mut submission = submission(&*self.blobs, number, "K0001", "1234", self.now);
        submission.manifest = Digest::of(&seed.to_be_bytes());
        submission.content_tag = Digest::of(&seed.to_be_bytes());
        let mut blobs: Vec<BlobId> = submission.files.iter().map(|file| file.blob.clone()).collect();
        blobs.push(submission.card.blob.clone());
        self.blobs.sync(&blobs).unwrap();
        self.commit(Op::Receive {
            submission: Box::new(submission),
            outcome: Outcome::Accepted,
            hold_same_content: true,
            id_since: Timestamp(0),
        });
        number
    }

    /// Everything accepted into `new/`.
    pub(super) fn publish(&self) {
        self.publisher(Points::default()).step(self.now).unwrap();
    }

    pub(super) fn publisher(&self, points: Points) -> Publisher {
        Publisher {
            ledger: self.ledger.clone(),
            blobs: self.blobs.clone(),
            spool_root: self.root.to_owned(),
            policy: PublishPolicy::default(),
            turn: self.turn.clone(),
            alarms: self.alarms.clone(),
            points,
        }
    }

    pub(super) fn imports(&self) -> Imports {
        Imports {
            ledger: self.ledger.clone(),
            spool_root: self.root.to_owned(),
            policy: ImportPolicy::default(),
            turn: self.turn.clone(),
            alarms: self.alarms.clone(),
            seen: Mutex::default(),
        }
    }

    pub(super) fn retention(&self, points: Points) -> Retention {
        Retention {
            ledger: self.ledger.clone(),
            blobs: self.blobs.clone(),
            spool_root: self.root.to_owned(),
            policy: RetentionPolicy::default(),
            warned: Mutex::default(),
            turn: self.turn.clone(),
            alarms: self.alarms.clone(),
            points,
        }
    }

    pub(super) fn deliveries(&self, points: Points) -> Deliveries {
        Deliveries {
            ledger: self.ledger.clone(),
            blobs: self.blobs.clone(),
            spool_root: self.root.to_owned(),
            policy: DeliveryPolicy::default(),
            zone: chrono_tz::Asia::Tokyo,
            tables: Arc::new(|_| DocumentTable::default()),
            delegations: Arc::new(|_| DelegationPolicy::default()),
            free_bytes_min: Arc::new(|| 0),
            scanner: Arc::new(FixedScanner::clean()),
            turn: self.turn.clone(),
            alarms: self.alarms.clone(),
            memory: crate::work::deliver::Memory::default(),
            recall: Box::new(|_, _, _| Ok(crate::work::purge::Recall::Missing)),
            points,
        }
    }

    pub(super) fn purge(&self, points: Points) -> Purge {
        let (ledger, blobs, alarms) = (self.ledger.clone(), self.blobs.clone(), self.alarms.clone());
        let policy = PurgePolicy { clock_leap_hours_max: 24 * 365, ..PurgePolicy::default() };
        Purge::new(ledger, blobs, policy, alarms, || 0, self.root.to_owned()).with_points(points)
    }

    pub(super) fn state(&self, number: Number) -> State {
        self.ledger.submission(number).unwrap().unwrap().state
    }

    pub(super) fn blob_count(&self) -> usize {
        self.blobs.scan().count()
    }
}

pub(super) fn at_point(point: &'static str) -> Points {
    Points::stopping(move |at| at == point)
}

#[test]
fn a_submission_from_acceptance_to_its_last_trace_with_a_crash_at_each_step() {
    let dir = tempfile::tempdir().unwrap();
    let now = at("2026-11-23T09:00:00+09:00");
    let spool = insurer_path(dir.path(), &code(INSURER));
    let (number, other) = {
        let run = Run::found(dir.path(), now);
        let numbers = (run.accept(1), run.accept(2));
        assert!(run.publisher(at_point("durable")).step(now).is_err());
        numbers
    };
    assert!(Run::start(dir.path(), now).publisher(at_point("intended")).step(now).is_err());
    assert!(Run::start(dir.path(), now).publisher(at_point("one renamed")).step(now).is_err());
    let run = Run::start(dir.path(), now);
    assert_eq!(run.state(number), State::Publishing);
    run.publisher(Points::default()).step(now).unwrap();
    assert_eq!((run.state(number), run.state(other)), (State::Published, State::Published));
    assert_eq!(names(&spool.join("new")), [number.to_string(), other.to_string()]);

    let sender = account("K0001");
    let by = Actor::Account(sender.clone());
    let withdrawn = run.publisher(Points::default()).withdraw(other, Some(&sender), &by, now).unwrap();
    assert_eq!((withdrawn, run.state(other)), (Withdrawal::Withdrawn, State::Withdrawn));
    let path = |folder: &str| spool.join(folder).join(number.to_string());
    rustix::fs::rename(path("new"), path("cur")).unwrap();
    rustix::fs::rename(path("cur"), path("done")).unwrap();
    assert_eq!(run.imports().step(now).unwrap().done, 1);
    assert_eq!(run.state(number), State::Imported);
    drop(run);

    let later = now.plus(71 * DAY);
    for point in ["intended", "folders gone", "blobs gone"] {
        let run = Run::start(dir.path(), later);
        assert!(run.retention(at_point(point)).step(later).is_err(), "{point}");
    }
    let run = Run::start(dir.path(), later);
    run.retention(Points::default()).step(later).unwrap();
    assert!(names(&spool.join("done")).is_empty() && names(&spool.join(".tmp")).is_empty());
    assert!(run.ledger.submission(number).unwrap().unwrap().files.is_empty());
    assert_eq!(run.blob_count(), 3 + 2, "three parties' cards and two submissions'");
    let end = now.plus(800 * DAY);
    run.retention(Points::default()).step(end).unwrap();
    assert_eq!(run.blob_count(), 3);
    let sweep = Sweep {
        ledger: run.ledger.clone(),
        blobs: run.blobs.clone(),
        spool_root: dir.path().to_owned(),
        grace_days: 1,
        keep: Arc::new(|_| false),
        turn: run.turn.clone(),
        alarms: run.alarms.clone(),
    };
    sweep.step(end).unwrap();
    assert_eq!(run.blob_count(), 3, "nothing that is referred to is swept");
    assert!(run.alarms.list().is_empty(), "{:?}", run.alarms.list());
}

#[test]
fn a_document_from_the_insurers_folder_to_its_last_trace_with_a_crash_at_each_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut now = at("2026-11-23T09:00:00+09:00");
    let spool = insurer_path(dir.path(), &code(INSURER));
    drop(Run::found(dir.path(), now));
    let job = spool.join("outgoing/2026-11");
    std::fs::create_dir(&job).unwrap();
    std::fs::write(job.join("a.pdf"), "%PDF-1.7 a %%EOF").unwrap();
    std::fs::write(
        job.join("delivery.csv"),
        "office,file,type\n1234,a.pdf,納入告知書\n1234,a.pdf,お知らせ\n",
    )
    .unwrap();
    for point in ["taken", "begun", "documents durable", "placed", "reported", "recorded", "cleared"] {
        let run = Run::start(dir.path(), now);
        let deliveries = run.deliveries(at_point(point));
        if point == "taken" {
            assert_eq!(deliveries.step(now).unwrap().done, 0);
            now = now.plus(10 * SECOND);
        }
        assert!(deliveries.step(now).is_err(), "{point}");
    }
    let run = Run::start(dir.path(), now);
    run.deliveries(Points::default()).step(now).unwrap();
    let documents = run.ledger.documents(&account("K0001"), None, None, 10).unwrap();
    assert_eq!(documents.len(), 2);
    assert!(names(&spool.join("outgoing")).is_empty() && names(&spool.join(".taking")).is_empty());
    drop(run);

    let due = documents[0].expires_at;
    let run = Run::start(dir.path(), due);
    assert!(run.purge(at_point("intended")).step(due).is_err());
    drop(run);
    let run = Run::start(dir.path(), due);
    assert!(run.ledger.document(documents[0].id).unwrap().is_none());
    assert!(run.purge(at_point("removed")).step(due).is_err());
    drop(run);
    let run = Run::start(dir.path(), due);
    assert_eq!(run.purge(Points::default()).step(due).unwrap().done, 2);
    assert!(run.ledger.removing(documents[0].id).unwrap().is_none());
    // What crashes left half placed is nobody's, and goes with the sweep.
    let sweep = Sweep {
        ledger: run.ledger.clone(),
        blobs: run.blobs.clone(),
        spool_root: dir.path().to_owned(),
        grace_days: 1,
        keep: Arc::new(|_| false),
        turn: run.turn.clone(),
        alarms: run.alarms.clone(),
    };
    sweep.step(due).unwrap();
    assert_eq!(run.blob_count(), 3, "the parties' cards");
    assert!(run.alarms.list().is_empty(), "{:?}", run.alarms.list());
}

/// For measuring by hand: `cargo test --release --lib figures -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn figures() {
    let dir = tempfile::tempdir().unwrap();
    let mut now = at("2026-11-23T09:00:00+09:00");
    let spool = insurer_path(dir.path(), &code(INSURER));
    let run = Run::found(dir.path(), now);
    let mut blobs = Vec::new();
    for seed in 0..2000_u32 {
        let serial = run.ledger.next_serial(Series::Submission, now).unwrap();
        let mut one = submission(&*run.blobs, Number { epoch: 1, serial }, "K0001", "1234", now);
        one.manifest = Digest::of(&seed.to_be_bytes());
        one.content_tag = one.manifest;
        blobs.extend(one.files.iter().map(|file| file.blob.clone()));
        blobs.push(one.card.blob.clone());
        let submission = Box::new(one);
        let id_since = Timestamp(0);
        run.commit(Op::Receive { submission, outcome: Outcome::Accepted, hold_same_content: true, id_since });
    }
    run.blobs.sync(&blobs).unwrap();
    let publisher = run.publisher(Points::default());
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let begin = std::time::Instant::now();
        work();
        println!("{what}: {:?}", begin.elapsed());
    };
    timed("publish 2,000 of two files", &mut || while publisher.step(now).unwrap().more {});
    for name in names(&spool.join("new")) {
        rustix::fs::rename(spool.join("new").join(&name), spool.join("done").join(&name)).unwrap();
    }
    let imports = run.imports();
    timed("notice 2,000 imports", &mut || assert_eq!(imports.step(now).unwrap().done, 2000));
    timed("scan 2,000 known", &mut || assert_eq!(imports.step(now).unwrap().done, 0));
    let job = spool.join("outgoing/big");
    std::fs::create_dir(&job).unwrap();
    let mut sheet = String::from("account,file,type\n");
    for n in 0..2000 {
        std::fs::write(job.join(format!("{n}.pdf")), format!("%PDF-1.7 {} %%EOF", "x".repeat(50_000)))
            .unwrap();
        let _ = writeln!(sheet, "K0001,{n}.pdf,納入告知書");
    }
    std::fs::write(job.join("delivery.csv"), sheet).unwrap();
    let deliveries = run.deliveries(Points::default());
    timed("look at a set of 2,000", &mut || assert_eq!(deliveries.step(now).unwrap().done, 0));
    now = now.plus(10 * SECOND);
    timed("deliver 2,000 of 50 KB", &mut || assert_eq!(deliveries.step(now).unwrap().done, 1));
    let due = now.plus(72 * DAY);
    let purge = run.purge(Points::default());
    purge.confirm(due).unwrap();
    timed("purge 2,000", &mut || while purge.step(due).unwrap().more {});
    let retention = run.retention(Points::default());
    timed("erase 2,000 payloads", &mut || while retention.step(due).unwrap().more {});
    assert!(names(&spool.join("done")).is_empty());
}
