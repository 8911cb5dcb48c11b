//! Intake over the real journal, with an index that fails when it is told to, and restarts.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::{HashAlg, private::Ed25519Keypair};

use super::*;
use crate::filing::rules::RuleSet;
use crate::model::authority::Form;
use crate::model::party::{AccountKey, Standing};
use crate::model::submission::Hold;
use crate::model::time::SetClock;
use crate::signed::manifest::ManifestLimits;
use crate::signed::sshsig::{self, SUBMISSION_NAMESPACE};
use crate::small_world::{self, account, at};
use crate::store::dropbox::{Begin, MANIFEST, Place, SIGNATURE};
use crate::store::dropboxes::Dropboxes;
use crate::store::index::{Change, Index, IndexError, IndexOptions, MemoryIndex, Pairs};
use crate::store::journal_ledger::JournalLedger;
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::recover::LedgerOptions;
use crate::store::root::Root;
use crate::store::sample;
use crate::store::seen::Seen;
use crate::store::verification::Lists;
use crate::work::alarms::AlarmBoard;
use crate::work::judge::{Judge, Say};
use crate::work::ports::{FixedScanner, Patterns, Scan, Scanner, ScannerDown};
use crate::work::publish::{PublishPolicy, SpoolTurn};
use crate::work::repeats::Repeats;
use crate::work::step::Points;
use crate::work::sweep::Sweep;

/// An index that takes no change while a file `fail` lies beside its folder: what is durable in the journal by then is not
/// told to whoever asked.
struct Failing(MemoryIndex, PathBuf);

impl Index for Failing {
    fn open(folder: &Path, options: &IndexOptions) -> Result<Self, IndexError> {
        Ok(Self(MemoryIndex::open(folder, options)?, folder.parent().unwrap().to_owned()))
    }
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.0.get(key)
    }
    fn range(&self, from: &[u8], to: &[u8], reverse: bool) -> Pairs<'_> {
        self.0.range(from, to, reverse)
    }
    fn apply(&self, changes: &[Change]) -> Result<(), IndexError> {
        let mut up = self.1.ancestors().take(3);
        if up.any(|folder| folder.join("fail").exists()) {
            return Err(IndexError("a test made it fail".into()));
        }
        self.0.apply(changes)
    }
    fn load(&self, changes: &[Change]) -> Result<(), IndexError> {
        self.0.load(changes)
    }
    fn flush(&self) -> Result<(), IndexError> {
        self.0.flush()
    }
    fn size(&self) -> Result<u64, IndexError> {
        self.0.size()
    }
}

/// One run of a gateway over a data root; dropped without ceremony, as by a crash.
struct Run {
    root: PathBuf,
    ledger: Arc<JournalLedger<Failing>>,
    blobs: Arc<LocalBlobs>,
    alarms: Arc<AlarmBoard>,
    clock: Arc<SetClock>,
    dropboxes: Dropboxes,
    intake: Intake,
    judge: Judge,
    turn: SpoolTurn,
}

fn key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
}

impl Run {
    fn start(root: &Path) -> Self {
        Self::with(root, Arc::new(FixedScanner::clean()))
    }

    fn with(root: &Path, scanner: Arc<dyn Scanner>) -> Self {
        let clock = Arc::new(SetClock::at(at("2026-11-23T09:00:00+09:00")));
        let opened = Root::open(root).unwrap();
        let (uploads, seen) = (opened.uploads(), opened.seen());
        let keys = Arc::new(Keys::load_or_make(&opened.keys()).unwrap());
        let blobs = Arc::new(LocalBlobs::open(&opened.blobs(), BlobOptions::default()).unwrap());
        let (ledger, _) = JournalLedger::open(opened, &LedgerOptions::default(), clock.now()).unwrap();
        let ledger = Arc::new(ledger);
        let alarms = Arc::new(AlarmBoard::default());
        let turn = SpoolTurn::default();
        let rules = Arc::new(RwLock::new(Arc::new(RuleSet::builtin().unwrap().into())));
        let zone = chrono_tz::Asia::Tokyo;
        let repeats = Arc::new(Repeats {
            seen: Arc::new(Seen::open(&seen, true).unwrap()),
            ledger: ledger.clone(),
            keys: Arc::clone(&keys),
            rules: Arc::clone(&rules),
            zone,
        });
        let assessor = Arc::new(Assessor {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            scanner,
            rules,
            repeats,
            clock: clock.clone(),
            zone,
            year_begins_month: 4,
            scans: Arc::default(),
        });
        let publisher = Arc::new(Publisher {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            spool_root: root.to_owned(),
            policy: PublishPolicy::default(),
            turn: turn.clone(),
            alarms: alarms.clone(),
            points: Points::default(),
        });
        let judge = Judge {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            assessor: Arc::clone(&assessor),
            keys: Arc::clone(&keys),
            alarms: alarms.clone(),
            accepted: Box::new(|| {}),
        };
        let intake = Intake {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            assessor,
            verification: Arc::new(Verification::new(ledger.clone(), Lists::default())),
            publisher,
            keys,
            clock: clock.clone(),
            policy: Arc::default(),
            alarms: alarms.clone(),
            accepted: Box::new(|| {}),
            refusals: Refusals::default(),
        };
        let dropboxes = Dropboxes::new(
            uploads,
            SubmitPolicy::default(),
            ManifestLimits::default(),
            blobs.clone(),
            ledger.clone(),
        );
        Self { root: root.to_owned(), ledger, blobs, alarms, clock, dropboxes, intake, judge, turn }
    }

    /// With an insurer, an office and its account.
    fn found(root: &Path) -> Self {
        Self::start(root).with_parties()
    }

    fn with_parties(self) -> Self {
        let public = key().public_key().clone();
        let fingerprint = public.fingerprint(HashAlg::Sha256).to_string();
        let keys = vec![AccountKey { fingerprint, key: keys::public_line(&public) }];
        small_world::found(&self.root, self.blobs.as_ref(), self.now(), keys, |op| self.commit(op));
        self
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn commit(&self, op: Op) {
        self.ledger.commit(op, Actor::Operator(0), self.now()).unwrap();
    }

    fn dropbox(&self) -> Arc<Dropbox> {
        self.dropboxes.of(&account("K0001")).unwrap()
    }

    /// Puts a file at the top of the drop-box; gives the set that it completes.
    fn put(&self, name: &str, content: &[u8]) -> Option<ClaimedSet> {
        let place = Place { folder: String::new(), name: name.into() };
        let begin = Begin { truncate: true, exclusive: false, create: true };
        let dropbox = self.dropbox();
        let (upload, mut writer) = dropbox.begin(&place, begin, 1, self.now()).unwrap();
        dropbox.grow(&upload, content.len() as u64, self.now()).unwrap();
        writer.write_at(0, content).unwrap();
        dropbox.close(upload, 1, self.now()).unwrap()
    }

    /// Sends `a.txt` with these lines at the head of its manifest.
    fn claim(&self, head: &str, content: &str) -> ClaimedSet {
        let digest = Digest::of(content.as_bytes());
        self.claim_signed(&format!("{head}# kind: other\n# office: 1234\n{digest}  a.txt\n"), Some(content))
    }

    fn claim_signed(&self, manifest: &str, content: Option<&str>) -> ClaimedSet {
        let signature = sshsig::sign(manifest.as_bytes(), SUBMISSION_NAMESPACE, &key()).unwrap();
        for (name, bytes) in
            content.map(|content| ("a.txt", content)).into_iter().chain([(MANIFEST, manifest)])
        {
            assert!(self.put(name, bytes.as_bytes()).is_none());
        }
        self.put(SIGNATURE, signature.as_bytes()).unwrap()
    }

    fn take(&self, set: ClaimedSet) -> Reply {
        let (tell, told) = mpsc::channel();
        self.intake.take(Pending {
            set,
            dropbox: self.dropbox(),
            received_at: self.now(),
            deadline: self.now().plus(8 * SECOND),
            reply: Box::new(move |reply| tell.send(reply).unwrap()),
        });
        told.recv().unwrap()
    }

    fn send(&self, head: &str, content: &str) -> Number {
        match self.take(self.claim(head, content)) {
            Reply::Fine(Some(number)) => number,
            other => panic!("{other:?}"),
        }
    }

    fn refused(reply: Reply) -> Said {
        match reply {
            Reply::Refused(said) => said,
            Reply::Fine(number) => panic!("{number:?}"),
        }
    }

    fn of(&self, number: Number) -> Submission {
        self.ledger.submission(number).unwrap().unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.dropbox().files("").unwrap().into_iter().map(|(name, _)| name).collect()
    }

    fn alarm_codes(&self) -> Vec<String> {
        self.alarms.list().into_iter().map(|alarm| alarm.code).collect()
    }
}

#[test]
fn what_may_be_recorded_is_not_given_back_and_is_whole_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::found(dir.path());
    let earlier = run.send("", "earlier");
    let set = run.claim("", "one");
    let blob = set.files[0].blob.clone();
    std::fs::write(dir.path().join("fail"), "").unwrap();
    let said = Run::refused(run.take(set));
    assert_eq!(said.code, "INTERNAL");
    assert!(said.text.en.contains("not known yet"), "{}", said.text.en);
    assert!(run.ledger.stopped().is_some());
    assert_eq!(run.names(), [""; 0], "it stays claimed");
    // Whatever its sender tries now, and whatever is swept: the bytes stay.
    let place = |name: &str| Place { folder: String::new(), name: name.into() };
    let begin = Begin { truncate: true, exclusive: false, create: true };
    let dropbox = run.dropbox();
    let now = run.now();
    let stopped = |what: Result<(), crate::store::dropbox::DropboxError>| {
        assert!(matches!(what, Err(crate::store::dropbox::DropboxError::Stopped)), "{what:?}");
    };
    stopped(dropbox.begin(&place("a.txt"), begin, 1, now).map(|_| ()));
    stopped(dropbox.rename(&place("a.txt"), &place("b"), true, 1, now).map(|_| ()));
    stopped(dropbox.remove(&place("a.txt"), 1));
    stopped(dropbox.make_folder("f", 1, now));
    stopped(dropbox.remove_folder("f"));
    dropbox.sweep(now.plus_days(9)).unwrap_err();
    dropbox.end_login(1).unwrap();
    let sweep = Sweep {
        ledger: run.ledger.clone(),
        blobs: run.blobs.clone(),
        spool_root: dir.path().to_owned(),
        grace_days: 1,
        keep: Arc::new(|_| false),
        turn: run.turn.clone(),
        alarms: run.alarms.clone(),
    };
    sweep.step(now.plus_days(9)).unwrap();
    assert!(run.blobs.open(&blob).is_ok());
    drop((sweep, dropbox, run));

    std::fs::remove_file(dir.path().join("fail")).unwrap();
    let run = Run::start(dir.path());
    let all = run.ledger.submissions(&crate::store::ledger::SubmissionFilter::default(), 10).unwrap();
    let one = all.into_iter().find(|one| one.number != earlier).unwrap();
    assert_eq!((one.state, &one.files[0].blob), (State::Accepted, &blob), "the event was durable");
    assert!(!run.names().contains(&"a.txt".to_owned()), "the ledger has it");
    run.intake.publisher.step(run.now()).unwrap();
    assert_eq!(run.of(one.number).state, State::Published);
    // Manifest and signature are still there.
    let again = run.take(run.put("a.txt", b"one").unwrap());
    assert_eq!(again, Reply::Fine(Some(one.number)), "and its sender hears of it");
    assert!(run.alarms.list().is_empty(), "{:?}", run.alarms.list());
}

#[test]
fn what_was_certainly_not_recorded_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::found(dir.path());
    run.send("", "zero");
    std::fs::write(dir.path().join("fail"), "").unwrap();
    let (first, second) = (run.claim("", "one"), run.claim("# id: 2\n", "two"));
    assert!(Run::refused(run.take(first)).text.en.contains("not known yet"));
    // The ledger stopped before it was asked about this one.
    let said = Run::refused(run.take(second));
    assert!(said.text.en.contains("The files are still in /submit"), "{}", said.text.en);
    assert_eq!(run.names(), [MANIFEST, SIGNATURE, "a.txt"]);
}

#[test]
fn a_panic_before_the_ledger_was_asked_gives_the_set_back() {
    struct Panics;
    impl Scanner for Panics {
        fn scan(&self, _: &mut dyn io::Read, _: u64) -> Scan {
            panic!("a test's panic")
        }
        fn patterns(&self) -> Result<Patterns, ScannerDown> {
            panic!("a test's panic")
        }
        fn is_none(&self) -> bool {
            panic!("a test's panic")
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let run = Run::with(dir.path(), Arc::new(Panics)).with_parties();
    let said = Run::refused(run.take(run.claim("", "one")));
    assert_eq!(said.code, "INTERNAL");
    assert_eq!(run.names(), [MANIFEST, SIGNATURE, "a.txt"]);
}

#[test]
fn bytes_that_were_lost_are_taken_from_what_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::found(dir.path());
    let number = run.send("", "one");
    let blob = run.of(number).files[0].blob.clone();
    run.blobs.remove(std::slice::from_ref(&blob)).unwrap();
    run.intake.publisher.step(run.now()).unwrap();
    assert_eq!(run.alarm_codes(), [format!("PUBLISH-FAILED {number}")]);
    // Other bytes do not stand in for them, and are not thrown away either.
    let digest = Digest::of(b"one");
    let manifest = format!("# kind: other\n# office: 1234\n{digest}  a.txt\n");
    assert_eq!(Run::refused(run.take(run.claim_signed(&manifest, Some("two")))).code, "UPLOAD-HASH");
    assert_eq!(run.names(), [MANIFEST, SIGNATURE, "a.txt"]);
    assert_eq!(run.take(run.put("a.txt", b"one").unwrap()), Reply::Fine(Some(number)));
    assert_eq!(run.blobs.get(&blob, 9).unwrap(), b"one");
    run.clock.advance(120 * SECOND);
    run.intake.publisher.step(run.now()).unwrap();
    assert_eq!(run.of(number).state, State::Published);
    assert!(run.alarms.list().is_empty(), "{:?}", run.alarms.list());
}

#[test]
fn a_correction_under_the_old_manifest_is_said_and_not_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::found(dir.path());
    let number = run.send("", "one");
    let digest = Digest::of(b"one");
    let manifest = format!("# kind: other\n# office: 1234\n{digest}  a.txt\n");
    let said = Run::refused(run.take(run.claim_signed(&manifest, Some("two"))));
    assert_eq!(said.code, "UPLOAD-HASH");
    assert!(said.text.ja.contains(&number.to_string()) && said.text.ja.contains("a.txt"), "{}", said.text.ja);
    assert_eq!(run.names(), [MANIFEST, SIGNATURE, "a.txt"]);
    // The same bytes are the same submission.
    assert_eq!(run.take(run.put("a.txt", b"one").unwrap()), Reply::Fine(Some(number)));
    assert!(run.names().is_empty());
}

#[test]
fn a_withdrawal_that_bears_the_filings_id_leaves_it_free() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::found(dir.path());
    let first = run.send("# id: 2026-11\n", "one");
    let manifest = format!("# id: 2026-11\n# withdraw: {first}\n");
    let Reply::Fine(Some(withdrawal)) = run.take(run.claim_signed(&manifest, None)) else { panic!() };
    assert_eq!(run.of(first).state, State::Withdrawn);
    assert_eq!(run.of(withdrawal).state, State::CarriedOut);
    let again = run.send("# id: 2026-11\n", "two");
    assert_eq!(run.of(again).state, State::Accepted);
}

/// A run whose scanner can be told what to say.
fn scanned(root: &Path) -> (Run, Arc<FixedScanner>) {
    let scanner = Arc::new(FixedScanner::clean());
    (Run::with(root, scanner.clone()).with_parties(), scanner)
}

fn down() -> Scan {
    Scan::Down { why: ScannerDown::Unreachable("a test says so".into()) }
}

impl Run {
    fn hold(&self, number: Number) -> Option<Hold> {
        self.ledger.hold(number).unwrap()
    }

    fn release(&self, number: Number) -> Outcome {
        self.judge.judge(number, self.now(), Some(Say::Release), Actor::Operator(0)).unwrap().unwrap()
    }

    /// A minute later, the judge looks; gives the state then.
    fn later(&self, number: Number) -> State {
        self.clock.advance(60 * SECOND);
        self.judge.step(self.now()).unwrap();
        self.of(number).state
    }

    fn stand(&self, standing: Standing) {
        let account = self.ledger.account(&account("K0001")).unwrap().unwrap();
        self.commit(Op::SetAccount { account: Account { standing, ..account }, new: false });
    }
}

#[test]
fn a_hold_for_the_same_content_is_seen_and_its_release_survives_a_scanner_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let (run, scanner) = scanned(dir.path());
    run.send("", "one");
    scanner.say(down());
    let again = run.send("# id: again\n", "one");
    let held = |reason, released: &[HoldReason]| Some(Hold { reason, released: released.to_vec() });
    assert_eq!(run.hold(again), held(HoldReason::SameContent, &[]));
    // Both reasons are there; in no queue, and said all the same.
    let waits = |of: &Submission| -> Vec<String> {
        of.verdicts.iter().filter(|v| v.verdict == Verdict::Held).map(|v| v.detail.clone()).collect()
    };
    assert_eq!(waits(&run.of(again)), ["SCANNER", "SAME-CONTENT"]);
    assert_eq!(run.later(again), State::Held);
    assert_eq!(run.alarm_codes(), ["SUBMISSIONS-HELD"]);
    assert_eq!(run.ledger.held().unwrap(), (1, Some(run.of(again).received_at)));

    assert_eq!(run.release(again), Outcome::Held(HoldReason::Scanner));
    assert_eq!(run.hold(again), held(HoldReason::Scanner, &[HoldReason::SameContent]));
    assert_eq!(waits(&run.of(again)), ["SCANNER"]);
    let events = run.ledger.head().seq;
    assert_eq!(run.release(again), Outcome::Held(HoldReason::Scanner), "once more changes nothing");
    assert_eq!(run.later(again), State::Held);
    assert_eq!(run.ledger.head().seq, events);
    drop(run);
    // It outlasts a restart.
    let run = Run::start(dir.path());
    assert_eq!(run.hold(again), held(HoldReason::Scanner, &[HoldReason::SameContent]));
    assert_eq!(run.later(again), State::Accepted, "the scanner is back, and somebody had looked");
    assert!(run.alarm_codes().is_empty());
    assert_eq!(run.ledger.held().unwrap(), (0, None));
}

#[test]
fn what_is_held_is_not_passed_on_for_a_sender_that_does_not_stand_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (run, scanner) = scanned(dir.path());
    scanner.say(down());
    let number = run.send("", "one");
    run.stand(Standing::Closed);
    scanner.say(Scan::Clean { engine: "Fixed 1/1".into() });
    assert_eq!(run.later(number), State::Held);
    assert_eq!(run.hold(number).unwrap().reason, HoldReason::Sender);
    let verdicts = run.of(number).verdicts;
    assert!(verdicts.iter().any(|v| v.verdict == Verdict::Held && v.detail == "SENDER"), "{verdicts:?}");
    assert_eq!(run.alarm_codes(), ["SUBMISSIONS-HELD"]);
    // The operator's word is final, also where something else delays it.
    scanner.say(down());
    assert_eq!(run.release(number), Outcome::Held(HoldReason::Scanner));
    assert_eq!(run.later(number), State::Held);
    scanner.say(Scan::Clean { engine: "Fixed 1/1".into() });
    assert_eq!(run.later(number), State::Accepted);

    // Looked at for its content only: that says nothing of the sender.
    run.stand(Standing::Active);
    let again = run.send("# id: again\n", "one");
    run.stand(Standing::Suspended);
    assert_eq!(run.release(again), Outcome::Held(HoldReason::Sender));
    let hold = Hold { reason: HoldReason::Sender, released: vec![HoldReason::SameContent] };
    assert_eq!(run.hold(again), Some(hold));
    assert_eq!(run.release(again), Outcome::Accepted);
}

#[test]
fn what_is_held_is_not_passed_on_after_its_key_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (run, scanner) = scanned(dir.path());
    scanner.say(down());
    let number = run.send("", "one");
    // A certificate over the key that signed, revoked as compromised.
    for (id, form) in [("x509-1", Form::X509), ("ssh-1", Form::Openssh)] {
        let authority = Box::new(sample::authority(id, form, run.now()));
        run.commit(Op::SetAuthority { authority, new: true });
    }
    let certificate = sample::certificate("K0001", 9, &run.of(number).signer, run.now());
    let id = certificate.id;
    run.commit(Op::IssueCertificate(Box::new(certificate)));
    let reason = crate::model::certificate::RevocationReason::KeyCompromise;
    run.commit(Op::RevokeCertificate { id, reason });
    scanner.say(Scan::Clean { engine: "Fixed 1/1".into() });
    assert_eq!(run.later(number), State::Held);
    assert_eq!(run.hold(number).unwrap().reason, HoldReason::Sender);
    let refused = run.judge.judge(number, run.now(), Some(Say::Refuse), Actor::Operator(0)).unwrap();
    assert_eq!(refused, Some(Outcome::Refused("OPERATOR-REFUSED".into())));
}
