//! Sets given again, recalls, and what one insurer's trouble means for others.

use std::os::unix::fs::symlink;

use super::tests::{Delivering, PDF, recall_lines, stage};
use super::*;
use crate::model::card::CardRef;
use crate::model::document::{Document, DocumentHold};
use crate::model::ids::Digest;
use crate::small_world::{INSURER, OTHER_INSURER, account, code};
use crate::store::spool::insurer_path;

const ONE: &str = "account,file,type\nK0001,a.pdf,お知らせ\n";

impl Delivering {
    fn later(&mut self) -> Progress {
        self.now = self.now.plus(10 * SECOND);
        self.stage.step(self.now).unwrap()
    }

    fn documents(&self) -> Vec<Document> {
        self.world.ledger.documents_in_all()
    }

    fn recall(&self, id: DocumentId) {
        (self.stage.recall)(id, &Actor::Operator(0), self.now).unwrap();
    }

    /// Puts a recall of these into a folder of its own, and lets it settle.
    fn recall_by_file(&mut self, job: &str, documents: &[DocumentId]) {
        std::fs::create_dir_all(self.path(job)).unwrap();
        let rows = documents.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        std::fs::write(self.path(&format!("{job}/recall.csv")), format!("document\n{rows}")).unwrap();
        self.settle();
    }

    fn announce(&self, audience: Audience) -> Announced {
        let mut content = PDF.as_bytes();
        let insurer = code(INSURER);
        let request = AnnounceRequest {
            insurer: &insurer,
            audience,
            title: "休業",
            original_name: "a.pdf",
            content: &mut content,
            by: Actor::Operator(0),
        };
        self.stage.announce(request, self.now).unwrap()
    }

    fn place(&self) -> PlacedOne {
        let request = PlaceRequest {
            insurer: &code(INSURER),
            address: Address { account: Some(account("K0001")), ..Address::default() },
            kind: "納入告知書",
            title: "2026年11月分",
            original_name: "FILE.pdf",
            content: &mut PDF.as_bytes(),
            by: Actor::Operator(0),
        };
        self.stage.place_one(request, self.now).unwrap()
    }
}

fn only(account_: &str) -> Audience {
    Audience::These(vec![account(account_)], Vec::new())
}

#[test]
fn trouble_with_one_insurers_folders_stops_no_other_and_not_its_own_sets() {
    let mut it = Delivering::new();
    std::fs::create_dir(it.world.spool("reports/accounts.csv")).unwrap();
    it.job("j", ONE, &[("a.pdf", PDF)]);
    let other = insurer_path(&it.world.spool_root(), &code(OTHER_INSURER)).join("outgoing/o");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("a.pdf"), PDF).unwrap();
    std::fs::write(other.join("delivery.csv"), ONE.replace("K0001", "K0009")).unwrap();
    assert_eq!(it.settle(), 2);
    assert_eq!(it.documents().len(), 2);
    assert_eq!(it.world.alarm_codes(), [format!("DELIVERY-TROUBLE {INSURER}")]);
    std::fs::remove_dir(it.world.spool("reports/accounts.csv")).unwrap();
    it.later();
    assert!(it.world.alarm_codes().is_empty());
}

#[test]
fn what_was_recalled_or_expired_can_be_delivered_again() {
    let mut it = Delivering::new();
    it.job("j", ONE, &[("a.pdf", PDF)]);
    it.settle();
    let first = it.documents()[0].id;
    it.recall(first);
    assert!(it.documents().is_empty());
    it.job("j", ONE, &[("a.pdf", PDF)]);
    it.settle();
    assert_eq!(it.results(), ["2 placed", "2 placed"]);
    assert_ne!(it.documents()[0].id, first);
    it.job("j", ONE, &[("a.pdf", PDF)]);
    it.settle();
    assert_eq!(it.results().last().unwrap(), "2 placed-before");

    let PlacedOne::Placed(one, _) = it.place() else { panic!() };
    assert_eq!(it.place(), PlacedOne::Before(one));
    it.recall(one);
    assert!(matches!(it.place(), PlacedOne::Placed(two, _) if two != one));

    let placed = |announced| match announced {
        Announced::Placed(placement) => (placement.placed, placement.before),
        other => panic!("{other:?}"),
    };
    assert_eq!(placed(it.announce(Audience::All)), (3, 0));
    assert_eq!(placed(it.announce(Audience::All)), (0, 3));
    for document in it.documents().iter().filter(|document| document.announcement.is_some()) {
        it.recall(document.id);
    }
    assert_eq!(placed(it.announce(Audience::All)), (3, 0));
}

/// A line that was copied within one sheet, whatever column it is addressed by, delivers nothing of its own.
#[test]
fn a_row_that_stands_twice_delivers_once() {
    let sheet = "account,office,file,type,title\n\
                 K0001,,a.pdf,納入告知書,11月分\n\
                 K0001,,a.pdf,納入告知書,10月分\n\
                 ,1234,a.pdf,納入告知書,11月分\n\
                 K0001,,b.pdf,納入告知書,\n\
                 K0001,,a.pdf,納入告知書,11月分\n";
    for point in ["begun", "some placed", "reported", "cleared", ""] {
        let mut it = Delivering::new();
        it.job("j", sheet, &[("a.pdf", PDF), ("b.pdf", PDF)]);
        it.stage.points = Points::stopping(move |at| at == point);
        for _ in 0..3 {
            it.now = it.now.plus(10 * SECOND);
            let _ = it.stage.step(it.now);
        }
        it.stage = stage(&it.world, it.scanner.clone(), Points::default());
        it.later();
        it.later();
        assert_eq!(it.documents().len(), 3, "{point}");
        assert!(!it.path("j").exists(), "{point}: all its files were taken");
    }
}

/// One file for several accounts stays while one of its rows was refused; the corrected sheet names all of them again.
#[test]
fn a_corrected_sheet_delivers_only_what_had_not_gone_out() {
    let sheet = |last: &str| {
        format!("account,file,type,title\nK0001,a.pdf,お知らせ,t\nK0005,a.pdf,x,\n{last},a.pdf,お知らせ,t\n")
    };
    for point in ["", "some placed", "placed", "reported", "recorded", "cleared"] {
        let mut it = Delivering::new();
        it.world.ledger.edit_account("S0001", |account| account.offices.truncate(1));
        it.job("j", sheet("K9999"), &[("a.pdf", PDF)]);
        it.settle();
        let first: Vec<_> = it.documents().iter().map(|document| document.id).collect();
        assert_eq!(first.len(), 2);
        assert_eq!(crate::small_world::names(&it.path("j")), ["a.pdf"]);
        it.now = it.now.plus(13 * DAY);
        it.job("j", sheet("S0001"), &[]);
        it.stage.points = Points::stopping(move |at| at == point);
        it.stage.step(it.now).unwrap();
        it.now = it.now.plus(10 * SECOND);
        let _ = it.stage.step(it.now);
        it.stage.points = Points::default();
        it.later();
        let after = it.results()[3..].to_vec();
        assert_eq!(after, ["2 placed-before", "3 placed-before", "4 placed"], "{point}");
        assert_eq!(it.documents().len(), 3, "{point}");
        assert!(it.world.names("outgoing").is_empty(), "{point}: every row that names it is placed");
    }
}

#[test]
fn what_differs_in_anything_or_is_older_is_delivered_again() {
    let deliver = |it: &mut Delivering, row: &str, bytes: &str| {
        it.job("j", format!("account,office,file,type,title\n{row}\n"), &[("a.pdf", bytes)]);
        it.settle();
        it.results().last().unwrap().clone()
    };
    let mut it = Delivering::new();
    let first = "K0001,,a.pdf,お知らせ,t";
    assert_eq!(deliver(&mut it, first, PDF), "2 placed");
    assert_eq!(
        deliver(&mut it, "K0001,1234,a.pdf,お知らせ,t", PDF),
        "2 placed-before",
        "the same in other words"
    );
    assert_eq!(deliver(&mut it, "K0001,,a.pdf,お知らせ,u", PDF), "2 placed", "another title");
    assert_eq!(deliver(&mut it, "K0001,,a.pdf,決定通知書,t", PDF), "2 placed", "another type");
    assert_eq!(deliver(&mut it, "K0005,,a.pdf,お知らせ,t", PDF), "2 placed", "another account");
    assert_eq!(deliver(&mut it, first, "%PDF-1.7 other %%EOF"), "2 placed", "other bytes");
    it.now = it.now.plus(15 * DAY);
    assert_eq!(deliver(&mut it, first, PDF), "2 placed-before", "the same set");
    assert_eq!(deliver(&mut it, "K0001,1234,a.pdf,お知らせ,t", PDF), "2 placed", "over its days");
    let answer = it.world.accept_from("K0001", "1234");
    let sheet = format!("in_reply_to,file,type,title\n{answer},a.pdf,お知らせ,t\n");
    it.job("j", sheet, &[("a.pdf", PDF)]);
    it.settle();
    assert_eq!(it.results().last().unwrap(), "2 placed", "an answer");
    it.stage.policy.repeat_days = 0;
    assert_eq!(deliver(&mut it, "K0005,5678,a.pdf,お知らせ,t", PDF), "2 placed", "switched off");
}

#[test]
fn a_corrected_sheet_announces_to_nobody_twice() {
    let mut it = Delivering::new();
    let sheet =
        |last: &str| format!("account,file,type,title\n*,a.pdf,お知らせ,t\n{last},a.pdf,お知らせ,t\n");
    it.job("j", sheet("K9999"), &[("a.pdf", PDF)]);
    it.settle();
    assert_eq!(it.documents().len(), 3);
    let blobs = it.world.blobs.count();
    it.world.ledger.edit_account("K0005", |account| account.standing = Standing::Suspended);
    it.job("j", sheet("K0001"), &[]);
    it.settle();
    assert_eq!(it.results()[2..], ["2 placed-before", "3 placed"]);
    assert_eq!(it.documents().len(), 4, "nothing but the row for one account");
    assert_eq!(it.world.blobs.count(), blobs + 2);
    assert!(it.world.names("outgoing").is_empty());
}

/// Events of before lie ahead of the clock then: what belongs to this taking is told by its number.
#[test]
fn a_clock_that_was_put_back_delivers_nothing_twice_and_keeps_back_nothing() {
    let mut it = Delivering::new();
    it.job("j", ONE, &[("a.pdf", PDF)]);
    it.settle();
    let first = it.documents()[0].id;
    it.now = it.now.plus(-DAY);
    // A corrected sheet: its old row is known, its new one goes out.
    it.job("k", format!("{ONE}K0001,b.pdf,お知らせ\n"), &[("a.pdf", PDF), ("b.pdf", "%PDF-1.7 b %%EOF")]);
    it.settle();
    assert_eq!(it.results()[1..], ["2 placed-before", "3 placed"]);
    assert_eq!(it.documents().len(), 2);
    // Recalled, it can be delivered again.
    it.now = it.now.plus(DAY);
    it.recall(first);
    it.now = it.now.plus(-DAY);
    it.job("l", ONE, &[("a.pdf", PDF)]);
    it.settle();
    assert_eq!(it.results()[3..], ["2 placed"]);
    assert_eq!(it.documents().len(), 2);
}

/// Recalled between the placing and the end of the taking: that taking does not place it again.
#[test]
fn what_is_recalled_while_its_set_is_taken_in_stays_recalled() {
    let mut it = Delivering::new();
    it.job("j", ONE, &[("a.pdf", PDF)]);
    it.stage.step(it.now).unwrap();
    it.stage.points = Points::stopping(|at| at == "placed");
    it.now = it.now.plus(10 * SECOND);
    it.stage.step(it.now).unwrap_err();
    it.now = it.now.plus(SECOND);
    it.recall(it.documents()[0].id);
    let fresh = stage(&it.world, it.scanner.clone(), Points::default());
    fresh.step(it.now.plus(SECOND)).unwrap();
    assert!(it.documents().is_empty());
    assert_eq!(it.results(), ["2 placed"]);
    assert!(it.world.names("outgoing").is_empty());
}

#[test]
fn a_new_copy_of_an_announcement_has_its_own_days_and_no_hold() {
    let it = Delivering::new();
    it.announce(only("K0001"));
    let mut first = it.documents()[0].clone();
    let blob = first.card.blob.clone();
    let card = CardRef { blob, digest: Digest::of(b"hold") };
    first.hold = Some(DocumentHold { legal: true, since: it.now, card });
    first.expires_at = it.now.plus(DAY);
    first.partly_fetched = Some((it.now, 1));
    it.world.ledger.add_document(first.clone());
    it.announce(Audience::All);
    let others: Vec<_> = it.documents().into_iter().filter(|document| document.id != first.id).collect();
    assert_eq!(others.len(), 2);
    for other in others {
        assert_eq!((other.hold, other.partly_fetched), (None, None));
        assert!(other.expires_at > first.expires_at);
        assert_eq!((other.blob, other.announcement), (first.blob.clone(), Some(first.id)));
    }
}

#[test]
fn an_insurers_recall_of_an_announcement_takes_it_from_everybody() {
    // Also with the clock put back since: the file is settled by now, what the ledger has is later.
    for (point, days_back) in [("", 0), ("recalled", 0), ("", 30), ("recalled", 30)] {
        let mut it = Delivering::new();
        it.job("j", "account,file,type\n*,a.pdf,お知らせ\n", &[("a.pdf", PDF)]);
        it.settle();
        it.now = it.now.plus(-days_back * DAY);
        assert_eq!(it.documents().len(), 3);
        let group = it.documents()[0].announcement.unwrap();
        it.stage.points = Points::stopping(move |at| at == point);
        std::fs::create_dir_all(it.path("back")).unwrap();
        std::fs::write(it.path("back/recall.csv"), format!("document\n{group}\n")).unwrap();
        it.stage.step(it.now).unwrap();
        it.now = it.now.plus(10 * SECOND);
        assert_eq!(it.stage.step(it.now).is_err(), !point.is_empty());
        it.stage.points = Points::default();
        it.later();
        assert!(it.documents().is_empty(), "{point} {days_back}");
        assert_eq!(recall_lines(&it), ["2 recalled no"; 3], "{point} {days_back}");
    }
}

#[test]
fn what_was_put_for_the_next_set_stays() {
    let mut it = Delivering::new();
    it.job(
        "j",
        "account,file,type\nK0001,a.pdf,お知らせ\nK0001,b.pdf,お知らせ\n",
        &[("a.pdf", PDF), ("b.pdf", PDF)],
    );
    let path = it.path("j/a.pdf");
    it.stage.points = Points::stopping(move |at| {
        if at == "recorded" {
            std::fs::write(&path, "%PDF-1.7 next %%EOF").unwrap();
        }
        false
    });
    it.settle();
    assert_eq!(it.results(), ["2 placed", "3 placed"]);
    assert_eq!(crate::small_world::names(&it.path("j")), ["a.pdf"]);
}

#[test]
fn a_recall_in_a_folder_of_its_own_leaves_no_alarm() {
    let mut it = Delivering::new();
    it.job("j", ONE, &[("a.pdf", PDF)]);
    it.settle();
    let id = it.documents()[0].id;
    it.recall_by_file("back", &[id]);
    assert_eq!(recall_lines(&it), ["2 recalled no"]);
    assert!(it.world.alarm_codes().is_empty());
    assert!(it.world.names("outgoing").is_empty());
    // Trouble with a job that went away by itself ends with it.
    let now = it.now;
    let mut jobs = Touched::default();
    let failing = || Err(WorkError::Io { doing: "x".into(), source: io::Error::other("y") });
    it.stage.contained(&code(INSURER), "gone", now, &mut jobs, failing).unwrap();
    it.stage.clear_troubles(&code(INSURER), jobs, &["gone".to_owned()], &[]);
    assert_eq!(it.world.alarm_codes(), [format!("DELIVERY-TROUBLE {INSURER} gone")]);
    it.later();
    assert!(it.world.alarm_codes().is_empty());
}

#[test]
fn a_recall_that_is_a_link_or_a_folder_is_refused_and_gone() {
    let mut it = Delivering::new();
    std::fs::create_dir(it.path("link")).unwrap();
    symlink("/etc/passwd", it.path("link/recall.csv")).unwrap();
    std::fs::create_dir_all(it.path("folder/recall.csv/deep")).unwrap();
    it.settle();
    assert_eq!(recall_lines(&it), [" refused  RECALL-CSV"; 2]);
    assert!(it.world.names(".taking").is_empty() && it.world.names("outgoing").is_empty());
    assert!(it.world.alarm_codes().is_empty());
}

/// A set that is longer than its turn goes on after recalls and other insurers; what was refused is not looked at again.
#[test]
fn a_long_set_makes_room_and_goes_on() {
    let mut it = Delivering::new();
    it.job("early", ONE, &[("a.pdf", PDF)]);
    it.settle();
    let early = it.documents()[0].id;
    let beats = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let beating = beats.clone();
    it.stage.memory.beats(Box::new(move || {
        beating.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }));
    it.stage.policy.turn_seconds = 0;
    let rows = "account,file,type\nK0001,b.pdf,お知らせ\nK0001,c.pdf,お知らせ\nK0001,d.pdf,お知らせ\n";
    let files = [("b.pdf", "%PDF-1.7 b %%EOF"), ("c.pdf", "no pdf"), ("d.pdf", "%PDF-1.7 d %%EOF")];
    it.job("j", rows, &files);
    it.job("k", ONE, &[("a.pdf", "%PDF-1.7 k %%EOF")]);
    it.stage.step(it.now).unwrap();
    let before = beats.load(std::sync::atomic::Ordering::SeqCst);
    assert!(it.later().more);
    assert_eq!(it.documents().len(), 2, "one row in this turn");
    std::fs::write(it.path("j/recall.csv"), format!("document\n{early}\n")).unwrap();
    assert!(it.later().more, "the row that is refused");
    std::fs::write(it.path("j/c.pdf"), "%PDF-1.7 c %%EOF").unwrap();
    it.later();
    assert_eq!(recall_lines(&it), ["2 recalled no"]);
    assert!(beats.load(std::sync::atomic::Ordering::SeqCst) > before);
    let done = ["2 placed", "2 placed", "3 refused FILE-NOT-PDF", "4 placed"];
    assert_eq!(it.results(), done, "the first set is at its end, the next one has not begun");
    it.later();
    assert_eq!(it.results().last().unwrap(), "2 placed");
    assert_eq!((it.results().len(), it.documents().len()), (5, 3));
    assert!(it.world.names(".taking").is_empty());
}

#[test]
fn an_account_that_is_closed_while_a_set_is_taken_in_gets_nothing() {
    let mut it = Delivering::new();
    it.job("j", ONE, &[("a.pdf", PDF)]);
    let ledger = it.world.ledger.clone();
    it.stage.points = Points::stopping(move |at| {
        if at == "documents durable" {
            ledger.edit_account("K0001", |account| account.standing = Standing::Closed);
        }
        false
    });
    it.settle();
    assert_eq!(it.results(), ["2 paper PAPER-CLOSED"]);
    assert!(it.documents().is_empty());
    assert_eq!(it.world.blobs.count(), 0);
    assert_eq!(crate::small_world::names(&it.path("j")), ["a.pdf"]);
}

#[test]
fn nothing_goes_out_by_command_for_an_insurer_that_is_suspended() {
    let it = Delivering::new();
    it.world.ledger.edit_insurer(INSURER, |insurer| insurer.standing = Standing::Suspended);
    assert!(matches!(it.place(), PlacedOne::Not(fault) if fault.code == "INSURER-NOT-ACTIVE"));
    assert!(
        matches!(it.announce(Audience::All), Announced::Not(fault) if fault.code == "INSURER-NOT-ACTIVE")
    );
    assert!(it.documents().is_empty());
}
