use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::model::card::CardRef;
use crate::model::document::Format;
use crate::model::ids::{Digest, OfficeCode};
use crate::model::time::DAY;
use crate::small_world::{INSURER, World, account, code};

const HOUR: i64 = 3600 * SECOND;

struct Purged {
    world: World,
    uptime: Arc<AtomicI64>,
}

impl Purged {
    fn new() -> Self {
        let world = World::new();
        world.ledger.set_at(world.now);
        Self { world, uptime: Arc::default() }
    }

    fn place(&self, serial: u64, expires_at: Timestamp) -> DocumentId {
        let id = DocumentId { epoch: 1, serial };
        let put = |bytes: &[u8]| self.world.blobs.put(bytes, self.world.now).unwrap();
        self.world.ledger.add_document(Document {
            id,
            account: account("K0001"),
            office: OfficeCode::parse("1234").unwrap(),
            insurer: code(INSURER),
            in_reply_to: None,
            blob: put(b"pdf"),
            sha256: Digest::of(b"pdf"),
            size: 3,
            format: Format::Pdf,
            kind: "お知らせ".into(),
            month: "2026-11".into(),
            card: CardRef { blob: put(b"card"), digest: Digest::of(b"card") },
            placed_at: self.world.now,
            expires_at,
            fetched: None,
            partly_fetched: None,
            prolonged_at: None,
            hold: None,
            announcement: None,
        });
        id
    }

    fn purge(&self, policy: PurgePolicy) -> Purge {
        let (ledger, blobs, alarms) =
            (self.world.ledger.clone(), self.world.blobs.clone(), self.world.alarms.clone());
        let uptime = self.uptime.clone();
        let root = self.world.dir.path().to_owned();
        Purge::new(ledger, blobs, policy, alarms, move || uptime.load(Ordering::SeqCst), root)
    }

    fn left(&self) -> usize {
        self.world.ledger.documents_in_all().len()
    }
}

#[test]
fn what_expired_goes_and_the_rest_stays_whatever_the_number() {
    let purged = Purged::new();
    let now = purged.world.now;
    for serial in 1..=3000 {
        purged.place(serial, if serial <= 1000 { now } else { now.plus(1) });
    }
    let purge = purged.purge(PurgePolicy::default());
    assert_eq!(purge.dry_run(now, 5000).unwrap().len(), 1000);
    assert_eq!(purge.dry_run(now.plus(1), 5000).unwrap().len(), 3000);
    assert_eq!(purged.left(), 3000, "a dry run changes nothing");
    while purge.step(now).unwrap().more {}
    assert_eq!((purged.left(), purged.world.blobs.count()), (2000, 4000));
    assert!(purged.world.alarm_codes().is_empty());
}

#[test]
fn the_bytes_of_an_announcement_go_with_the_last_of_its_documents() {
    let purged = Purged::new();
    let now = purged.world.now;
    let first = purged.place(1, now);
    let announced = |serial: u64, expires_at| {
        let pattern = purged.world.ledger.document(first).unwrap().unwrap();
        let id = DocumentId { epoch: 1, serial };
        let document = Document { id, expires_at, announcement: Some(first), ..pattern };
        purged.world.ledger.add_document(document);
    };
    announced(1, now);
    announced(2, now);
    announced(3, now.plus(1));
    let purge = purged.purge(PurgePolicy::default());
    purge.step(now).unwrap();
    assert_eq!((purged.left(), purged.world.blobs.count()), (1, 2), "the third still has them");
    purge.step(now.plus(1)).unwrap();
    assert_eq!((purged.left(), purged.world.blobs.count()), (0, 0));
}

#[test]
fn a_leap_of_the_clock_pauses_until_it_is_confirmed_also_over_a_restart() {
    let purged = Purged::new();
    let now = purged.world.now;
    purged.place(1, now.plus(70 * DAY));
    let purge = purged.purge(PurgePolicy::default());
    purge.step(now).unwrap();
    let year = now.plus(365 * DAY);
    for _ in 0..2 {
        assert_eq!(purge.step(year).unwrap().done, 0);
    }
    assert_eq!((purged.left(), purged.world.alarm_codes()), (1, vec!["PURGE-PAUSED".to_owned()]));
    // A submission was recorded at the wrong time, then the daemon was started anew.
    purged.world.ledger.set_at(year);
    let purge = purged.purge(PurgePolicy::default());
    assert_eq!(purge.step(year).unwrap().done, 0);
    assert!(purge.confirm(year).unwrap());
    assert_eq!(purge.step(year).unwrap().done, 1);
    assert!(purged.world.alarm_codes().is_empty());
    assert!(!purge.confirm(year).unwrap());
}

#[test]
fn time_that_really_passed_is_no_leap() {
    let purged = Purged::new();
    let now = purged.world.now;
    purged.place(1, now.plus(70 * DAY));
    let purge = purged.purge(PurgePolicy::default());
    purge.step(now).unwrap();
    purged.uptime.store(71 * DAY, Ordering::SeqCst);
    assert_eq!(purge.step(now.plus(71 * DAY)).unwrap().done, 1);
}

#[test]
fn a_leap_while_the_daemon_was_down_pauses_at_the_first_step() {
    let purged = Purged::new();
    let now = purged.world.now;
    purged.place(1, now);
    assert_eq!(purged.purge(PurgePolicy::default()).step(now.plus(37 * HOUR)).unwrap().done, 0);
    let purged = Purged::new();
    purged.place(1, now);
    assert_eq!(purged.purge(PurgePolicy::default()).step(now.plus(35 * HOUR)).unwrap().done, 1);
}

#[test]
fn too_many_at_once_pause_until_confirmed() {
    let purged = Purged::new();
    let now = purged.world.now;
    for serial in 1..=100 {
        purged.place(serial, if serial <= 61 { now } else { now.plus(DAY) });
    }
    let policy = PurgePolicy { due_share_from: 50, ..PurgePolicy::default() };
    let purge = purged.purge(policy);
    assert_eq!(purge.step(now).unwrap().done, 0);
    assert_eq!(
        purged.world.alarms.list()[0].text.split(';').next(),
        Some("61 of 100 documents are due at once")
    );
    purge.confirm(now).unwrap();
    assert_eq!(purge.step(now).unwrap().done, 61);
}

#[test]
fn a_crash_in_a_removal_is_finished() {
    for point in ["intended", "removed"] {
        let purged = Purged::new();
        let now = purged.world.now;
        purged.place(1, now);
        let crashing =
            purged.purge(PurgePolicy::default()).with_points(Points::stopping(move |at| at == point));
        assert!(crashing.step(now).is_err());
        assert_eq!(purged.purge(PurgePolicy::default()).step(now.plus(2 * HOUR)).unwrap().done, 1, "{point}");
        assert_eq!((purged.left(), purged.world.blobs.count()), (0, 0));
    }
}

#[test]
fn a_recall_says_whether_somebody_had_it() {
    let purged = Purged::new();
    let now = purged.world.now;
    let id = purged.place(1, now.plus(DAY));
    let mut document = purged.world.ledger.document(id).unwrap().unwrap();
    document.fetched = Some((now, now));
    purged.world.ledger.add_document(document);
    let purge = purged.purge(PurgePolicy::default());
    let recalled = purge.recall(id, &Actor::Operator(0), now).unwrap();
    let Recall::Done(recalled) = recalled else { panic!("{recalled:?}") };
    assert_eq!(recalled.fetched, Some((now, now)));
    assert_eq!((purged.left(), purged.world.blobs.count()), (0, 0));
    assert_eq!(purge.recall(id, &Actor::Operator(0), now).unwrap(), Recall::Missing);
}

#[test]
fn a_held_document_neither_expires_nor_is_recalled() {
    let purged = Purged::new();
    let now = purged.world.now;
    let id = purged.place(1, now);
    let card = CardRef { blob: purged.world.blobs.put(b"why", now).unwrap(), digest: Digest::of(b"why") };
    purged.world.ledger.commit(Op::HoldDocument { id, legal: true, card }, Actor::Operator(0), now).unwrap();
    let purge = purged.purge(PurgePolicy::default());
    assert_eq!(purge.step(now).unwrap().done, 0);
    assert_eq!(purge.recall(id, &Actor::Operator(0), now).unwrap(), Recall::Held);
    purged.world.ledger.commit(Op::ReleaseDocument { id, until: None }, Actor::Operator(0), now).unwrap();
    assert_eq!(purge.step(now).unwrap().done, 1);
}

/// A recall that a crash interrupts is finished, and its account is told.
#[test]
fn a_recall_is_told_whatever_crashes() {
    for point in ["intended", "removed", "told"] {
        let purged = Purged::new();
        let now = purged.world.now;
        let id = purged.place(1, now.plus(DAY));
        let told: Arc<Mutex<Vec<DocumentId>>> = Arc::default();
        let telling = || -> Box<TellRecall> {
            let told = told.clone();
            Box::new(move |document, _| {
                let mut told = told.lock().unwrap();
                // As the notifier does: once for each document.
                if !told.contains(&document.id) {
                    told.push(document.id);
                }
                Ok(())
            })
        };
        let purge = purged.purge(PurgePolicy::default()).with_points(Points::stopping(move |at| at == point));
        purge.tell_recalls(telling());
        assert!(purge.recall(id, &Actor::Operator(0), now).is_err());
        assert_eq!(purged.world.ledger.document(id).unwrap(), None, "{point}: gone for everybody");
        let purge = purged.purge(PurgePolicy::default());
        purge.tell_recalls(telling());
        assert_eq!(purge.step(now.plus(2 * HOUR)).unwrap().done, 1, "{point}");
        assert_eq!((purged.left(), told.lock().unwrap().as_slice()), (0, &[id][..]), "{point}");
        let gone = purged.world.ledger.removed_document(id).unwrap().unwrap();
        assert_eq!(gone.reason, RemovalReason::Recalled);
    }
}

#[test]
fn insurers_are_told_what_went_unfetched() {
    let purged = Purged::new();
    let now = purged.world.now;
    let reports = crate::work::purge_report::PurgeReports {
        ledger: purged.world.ledger.clone(),
        spool_root: purged.world.spool_root(),
        zone: chrono_tz::Asia::Tokyo,
        turn: purged.world.turn.clone(),
        alarms: purged.world.alarms.clone(),
        began: purged.world.now,
        reported: Mutex::default(),
    };
    assert_eq!(reports.step(now).unwrap(), 0, "nothing went");
    let read = purged.place(1, now);
    let mut document = purged.world.ledger.document(read).unwrap().unwrap();
    document.fetched = Some((now.plus(-HOUR), now.plus(-HOUR)));
    purged.world.ledger.add_document(document);
    purged.place(2, now);
    purged.purge(PurgePolicy::default()).step(now).unwrap();
    assert_eq!(reports.step(now.plus(DAY)).unwrap(), 1, "written a day later too");
    let text = std::fs::read_to_string(purged.world.spool("reports/purge-2026-11-23.csv")).unwrap();
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().collect();
    assert_eq!(
        lines[1..],
        [
            "no,D1-000002-0,K0001,1234,お知らせ,2026-11,2026-11-23 09:00:00,2026-11-23 09:00:00,expired,,",
            "yes,D1-000001-2,K0001,1234,お知らせ,2026-11,2026-11-23 09:00:00,2026-11-23 09:00:00,expired,\
             2026-11-23 08:00:00,2026-11-23 08:00:00",
        ]
    );
    assert_eq!(reports.step(now.plus(DAY)).unwrap(), 0, "it says the same");
    purged.world.ledger.edit_account("K0001", |account| account.test = true);
    reports.step(now.plus(DAY)).unwrap();
    let text = std::fs::read_to_string(purged.world.spool("reports/purge-2026-11-23.csv")).unwrap();
    assert_eq!(text.lines().count(), 1, "a test account's documents are nobody's business");
}

#[test]
fn a_hold_that_comes_first_wins_over_a_recall() {
    let purged = Purged::new();
    let now = purged.world.now;
    let id = purged.place(1, now.plus(DAY));
    let card = CardRef { blob: purged.world.blobs.put(b"why", now).unwrap(), digest: Digest::of(b"why") };
    let ledger = purged.world.ledger.clone();
    let purge = purged.purge(PurgePolicy::default()).with_points(Points::stopping(move |at| {
        if at == "asked" {
            let hold = Op::HoldDocument { id, legal: true, card: card.clone() };
            ledger.commit(hold, Actor::Operator(0), now).unwrap();
        }
        false
    }));
    assert_eq!(purge.recall(id, &Actor::Operator(0), now).unwrap(), Recall::Held);
    assert_eq!(purged.left(), 1);
}

#[test]
fn a_recall_that_could_not_be_told_is_told_later() {
    let purged = Purged::new();
    let now = purged.world.now;
    let ids = [purged.place(1, now.plus(DAY)), purged.place(2, now.plus(DAY))];
    let purge = purged.purge(PurgePolicy::default());
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = broken.clone();
    purge.tell_recalls(Box::new(move |_, _| {
        anyhow::ensure!(!seen.load(Ordering::SeqCst), "the card is gone");
        Ok(())
    }));
    for id in ids {
        purge.recall(id, &Actor::Operator(0), now).unwrap();
    }
    let each = ids.map(|id| format!("RECALL-UNTOLD {id}"));
    assert_eq!(purged.world.alarm_codes(), each, "one hides no other");
    purge.step(now).unwrap();
    assert_eq!(purged.world.alarm_codes().len(), 2);
    broken.store(false, Ordering::SeqCst);
    purge.step(now).unwrap();
    assert_eq!(purged.world.alarm_codes(), [""; 0]);
}

#[test]
fn a_long_stop_leaves_no_removal_out_and_one_insurers_folder_stops_nobody() {
    let purged = Purged::new();
    let now = purged.world.now;
    let reports = |began| crate::work::purge_report::PurgeReports {
        ledger: purged.world.ledger.clone(),
        spool_root: purged.world.spool_root(),
        zone: chrono_tz::Asia::Tokyo,
        turn: purged.world.turn.clone(),
        alarms: purged.world.alarms.clone(),
        began,
        reported: Mutex::default(),
    };
    // Recalled after Friday's purge; the daemon stands until Tuesday.
    let id = purged.place(1, now.plus(70 * DAY));
    purged.purge(PurgePolicy::default()).recall(id, &Actor::Operator(0), now).unwrap();
    let stage = reports(now);
    // Its folder cannot be written at first.
    let name = purged.world.spool("reports/purge-2026-11-23.csv");
    std::fs::create_dir(&name).unwrap();
    assert_eq!(stage.step(now.plus(4 * DAY)).unwrap(), 0);
    assert_eq!(purged.world.alarm_codes(), [format!("PURGE-REPORT-FAILED {INSURER}")]);
    std::fs::remove_dir(&name).unwrap();
    assert_eq!(stage.step(now.plus(20 * DAY)).unwrap(), 1);
    assert_eq!(purged.world.alarm_codes(), [""; 0]);
    assert!(std::fs::read_to_string(&name).unwrap().contains(&id.to_string()));
    assert_eq!(
        reports(now.plus(20 * DAY)).step(now.plus(20 * DAY)).unwrap(),
        0,
        "not before what was reported"
    );
}

/// What was downloaded up to the intent is told to everybody, also if only a part came through.
#[test]
fn a_recall_knows_of_downloads_up_to_its_intent_and_of_parts() {
    let purged = Purged::new();
    let id = purged.place(1, purged.world.now.plus(DAY));
    let (ledger, now) = (purged.world.ledger.clone(), purged.world.now);
    let reading = ledger.clone();
    let points = Points::stopping(move |at| {
        if at == "intended" {
            reading
                .commit(Op::PartlyFetched { id, bytes: 2 }, Actor::Account(account("K0001")), now)
                .unwrap();
        }
        false
    });
    let told = Arc::new(Mutex::new(None));
    let purge = purged.purge(PurgePolicy::default()).with_points(points);
    let heard = told.clone();
    purge.tell_recalls(Box::new(move |document, _| {
        *heard.lock().unwrap() = Some(document.partly_fetched);
        Ok(())
    }));
    let Recall::Done(recalled) = purge.recall(id, &Actor::Operator(0), now).unwrap() else { panic!() };
    assert_eq!(recalled.document.partly_fetched, Some((now, 2)));
    assert_eq!(*told.lock().unwrap(), Some(Some((now, 2))));
}

/// Who reads a document while it is recalled has what was given out, though the handle is not closed and nothing is on record yet.
#[test]
fn a_recall_knows_of_downloads_under_way() {
    let purged = Purged::new();
    let now = purged.world.now;
    for (serial, bytes, partly, whole) in
        [(1, None, None, false), (2, Some(2), Some((now, 2)), false), (3, Some(3), None, true)]
    {
        let id = purged.place(serial, now.plus(DAY));
        let purge = purged.purge(PurgePolicy::default());
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        purge.tell_recalls(Box::new(move |document, _| {
            heard.lock().unwrap().push((document.partly_fetched, document.fetched.is_some()));
            Ok(())
        }));
        let reading = purge.readings.begin(id, account("K0001"), 3, 0);
        if let Some(bytes) = bytes {
            reading.note(bytes);
        }
        let Recall::Done(recalled) = purge.recall(id, &Actor::Operator(0), now).unwrap() else { panic!() };
        assert_eq!((recalled.document.partly_fetched, recalled.fetched.is_some()), (partly, whole));
        assert_eq!(*told.lock().unwrap(), [(partly, whole)], "and the mail says the same");
        assert!(bytes.is_none() || reading.outcome().is_none(), "it is recorded once");
    }
}
