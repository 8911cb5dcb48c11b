//! The books of days over the real ledger, and what is found when journal, books and disk do not agree.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::books::{DayBooks, Sheets};
use super::compare::{Compare, Compared, NoBooks, Scope, Severity};
use super::step::Points;
use super::whole_tests::{Run, at_point};
use crate::model::day::{Batch, ClosedDay};
use crate::model::document::{Document, RemovalReason};
use crate::model::event::{MailResult, Series};
use crate::model::ids::{Digest, DocumentId, MailId, Number};
use crate::model::mail::{Mail, Report};
use crate::model::party::{Account, Actor};
use crate::model::time::{DAY, Timestamp};
use crate::rules::calendar::Cron;
use crate::rules::policy::ReconciliationPolicy;
use crate::signed::sshsig::{self, RECONCILIATION_NAMESPACE};
use crate::small_world::{INSURER, account, at, code, names};
use crate::store::blobs::Blobs as _;
use crate::store::books::{Books, HEAD, account_part};
use crate::store::keys::Keys;
use crate::store::ledger::{DayLedger as _, Ledger as _, Op};
use crate::store::sample;
use crate::store::spool::insurer_path;

fn stage(run: &Run<'_>, points: Points) -> DayBooks {
    DayBooks {
        ledger: run.ledger.clone(),
        keys: Arc::new(Keys::load_or_make(&run.root.join("keys")).unwrap()),
        books: Books::new(run.root.join("books")),
        spool_root: run.root.to_owned(),
        zone: chrono_tz::Asia::Tokyo,
        schedule: Cron::try_from("0 10 0 * * *".to_owned()).unwrap(),
        policy: ReconciliationPolicy::default(),
        alarms: run.alarms.clone(),
        owed_at: std::sync::Mutex::default(),
        points,
    }
}

fn step(run: &Run<'_>) -> u64 {
    let stage = stage(run, Points::default());
    let mut done = 0;
    loop {
        let progress = stage.step(run.now).unwrap();
        done += progress.done;
        if !progress.more {
            return done;
        }
    }
}

fn compares(run: &Run<'_>) -> Compare {
    Compare {
        ledger: run.ledger.clone(),
        blobs: run.blobs.clone(),
        keys: Arc::new(Keys::load_or_make(&run.root.join("keys")).unwrap()),
        books: Books::new(run.root.join("books")),
        spool_root: run.root.to_owned(),
        zone: chrono_tz::Asia::Tokyo,
        turn: run.turn.clone(),
        sample: 100,
    }
}

fn compare(run: &Run<'_>, day: Option<&ClosedDay>, scope: &Scope) -> Compared {
    let compare = compares(run);
    let mut found = compare.run(day, scope, run.now).unwrap();
    compare.orphans(&HashSet::new(), 1, &mut found).unwrap();
    found
}

/// Codes of what was found, with a mark for leftovers.
fn codes(found: &Compared) -> Vec<String> {
    let code = |leftover: bool, code: &str| if leftover { format!("({code})") } else { code.to_owned() };
    found.findings.iter().map(|one| code(one.severity == Severity::Leftover, one.code)).collect()
}

fn place(run: &Run<'_>, bytes: &[u8]) -> DocumentId {
    let id = DocumentId { epoch: 1, serial: run.ledger.next_serial(Series::Document, run.now).unwrap() };
    let put = |bytes: &[u8]| {
        let blob = run.blobs.put(bytes, run.now).unwrap();
        run.blobs.sync(std::slice::from_ref(&blob)).unwrap();
        blob
    };
    let sample = sample::document(1, id.serial, "1234", run.now);
    let card = crate::model::card::CardRef { blob: put(b"{}"), digest: Digest::of(b"{}") };
    let (sha256, size) = (Digest::of(bytes), bytes.len() as u64);
    let document = Document { blob: put(bytes), sha256, size, card, ..sample };
    run.commit(Op::Place(vec![(document, Digest::of(&id.serial.to_be_bytes()))]));
    id
}

/// What and number of each row.
fn rows(text: &str) -> Vec<(String, String)> {
    let text = text.strip_prefix(HEAD).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), 11, "{line}");
        (cells[1].to_owned(), cells[3].to_owned())
    };
    text.lines().map(row).collect()
}

fn report(run: &Run<'_>, name: &str) -> PathBuf {
    insurer_path(run.root, &code(INSURER)).join("reports").join(name)
}

/// A gateway with a busy 22 November 2026 behind it: two submissions (one collected), three documents (one recalled).
fn busy(root: &std::path::Path) -> (Run<'_>, [Number; 2], [DocumentId; 3]) {
    let mut run = Run::found(root, at("2026-11-22T00:00:00+09:00"));
    run.now = at("2026-11-22T09:00:00+09:00");
    let numbers = [run.accept(1), run.accept(2)];
    run.publish();
    let documents = [place(&run, b"%PDF one"), place(&run, b"%PDF two"), place(&run, b"%PDF three")];
    run.now = at("2026-11-22T23:59:59.999+09:00");
    let spool = insurer_path(root, &code(INSURER));
    let folder = |name: &str| spool.join(name).join(numbers[0].to_string());
    rustix::fs::rename(folder("new"), folder("cur")).unwrap();
    run.imports().step(run.now).unwrap();
    run.commit(Op::Fetched(documents[0]));
    run.purge(Points::default()).recall(documents[2], &Actor::Daemon, run.now).unwrap();
    (run, numbers, documents)
}

#[test]
fn a_day_is_closed_after_its_end_and_given_to_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, numbers, documents) = busy(dir.path());
    run.now = at("2026-11-23T00:09:59+09:00");
    let next = run.accept(3);
    assert_eq!(step(&run), 0, "not before its time");
    run.now = at("2026-11-23T00:10:00+09:00");
    assert_eq!((step(&run), step(&run)), (1, 0));
    let text = std::fs::read_to_string(report(&run, "reconciliation-2026-11-22.csv")).unwrap();
    let (first, second) = (numbers[0].to_string(), numbers[1].to_string());
    let row = |what: &str, id: &dyn ToString| (what.to_owned(), id.to_string());
    assert_eq!(
        rows(&text),
        [
            row("accepted", &first),
            row("accepted", &second),
            row("published", &first),
            row("published", &second),
            row("placed", &documents[0]),
            row("placed", &documents[1]),
            row("placed", &documents[2]),
            row("collected", &first),
            row("fetched", &documents[0]),
            row("recalled", &documents[2]),
        ]
    );
    assert!(!rows(&text).iter().any(|(_, id)| *id == next.to_string()), "it is the next day's");
    assert!(
        text.contains(&format!(
            "誤配信),{},{INSURER},K0001,1234,納入告知書,1,10,{}\r\n",
            documents[2],
            Digest::of(b"%PDF three")
        )),
        "{text}"
    );
    let keys = Keys::load_or_make(&run.root.join("keys")).unwrap();
    let signature = std::fs::read(report(&run, "reconciliation-2026-11-22.csv.sig")).unwrap();
    sshsig::verify(&signature, RECONCILIATION_NAMESPACE, text.as_bytes()).unwrap();
    let signers = std::fs::read_to_string(report(&run, "allowed_signers")).unwrap();
    assert_eq!(signers, keys.allowed_signers());
    let totals = std::fs::read(report(&run, "reconciliation-2026-11-22.json")).unwrap();
    let totals: serde_json::Value = serde_json::from_slice(&totals).unwrap();
    assert_eq!(
        (&totals["totals"]["placed"]["rows"], &totals["totals"]["placed"]["bytes"]),
        (&3.into(), &26.into())
    );
    assert_eq!(totals["csv_sha256"], Digest::of(text.as_bytes()).to_string());

    let books = Books::new(run.root.join("books"));
    let day = "2026-11-22".parse().unwrap();
    let own = books.of_account(&account("K0001"), day, false, &keys).unwrap();
    assert_eq!(own.bytes, text.as_bytes(), "everything was one account's");
    assert_eq!(own.until, at("2026-11-23T00:00:00+09:00"));
    let other = books.of_account(&account("S0001"), day, false, &keys).unwrap();
    assert_eq!(other.bytes, HEAD.as_bytes());
    for of in ["K0001", "S0001"] {
        let sheet = books.of_account(&account(of), day, false, &keys).unwrap();
        let signature = books.of_account(&account(of), day, true, &keys).unwrap();
        sshsig::verify(&signature.bytes, RECONCILIATION_NAMESPACE, &sheet.bytes).unwrap();
    }
    // Whatever is erased later, it stays the same text.
    run.now = run.now.plus(800 * DAY);
    while run.retention(Points::default()).step(run.now).unwrap().more {}
    let closed = ClosedDay {
        day: "2026-11-22".into(),
        from: at("2026-11-22T00:00:00+09:00"),
        until: at("2026-11-23T00:00:00+09:00"),
    };
    let again = Sheets::make(&*run.ledger, &closed, chrono_tz::Asia::Tokyo).unwrap();
    assert_eq!(again.insurers[&code(INSURER)].text(), text);
}

#[test]
fn a_shared_mail_and_what_came_back_of_it_are_in_the_books_of_every_account_it_tells() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, _, documents) = busy(dir.path());
    let id = MailId { epoch: 1, serial: 500 };
    run.commit(Op::PartlyFetched { id: documents[1], bytes: 4 });
    let mail = Mail {
        id,
        mailbox: Some(Digest::of(b"mailbox")),
        more_accounts: vec![account("S0001")],
        ..sample::mail(1, id.serial, vec![documents[0]], run.now)
    };
    run.commit(Op::SealMails(vec![mail]));
    run.commit(Op::TryMails(vec![(id, MailResult::Sent { reply: "250".into() })]));
    run.commit(Op::ReportMail {
        id,
        report: Report::Unreachable,
        status: Some("5.1.1".into()),
        proven: true,
        message: Digest::of(b"bounce"),
        failures: (2, run.now),
    });
    run.now = at("2026-11-23T00:10:00+09:00");
    step(&run);
    let keys = Keys::load_or_make(&run.root.join("keys")).unwrap();
    let books = Books::new(run.root.join("books"));
    for of in ["K0001", "S0001"] {
        let sheet = books.of_account(&account(of), "2026-11-22".parse().unwrap(), false, &keys).unwrap();
        let told = rows(std::str::from_utf8(&sheet.bytes).unwrap());
        for what in ["mailed", "mail-bounced"] {
            assert!(told.contains(&(what.to_owned(), id.to_string())), "{of}: {told:?}");
        }
        let partly = ("fetched-partly".to_owned(), documents[1].to_string());
        assert_eq!(told.contains(&partly), of == "K0001", "{told:?}");
    }
}

#[test]
fn every_crash_leaves_the_same_books_and_reports_taken_away_do_not_come_again() {
    let mut texts = Vec::new();
    for point in ["closed", "reported", "never"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut run, ..) = busy(dir.path());
        run.now = at("2026-11-23T00:10:00+09:00");
        let stopped = stage(&run, at_point(point)).step(run.now);
        assert_eq!(stopped.is_err(), point != "never", "{point}");
        let now = run.now;
        drop(run);
        let mut run = Run::start(dir.path(), now.plus(60_000));
        step(&run);
        let text = std::fs::read(report(&run, "reconciliation-2026-11-22.csv")).unwrap();
        let keys = run.root.join("books");
        assert_eq!(names(&keys), ["2026-11-22.books"], "{point}");
        texts.push(rows(&String::from_utf8(text).unwrap()).len());
        std::fs::remove_file(report(&run, "reconciliation-2026-11-22.csv")).unwrap();
        run.now = run.now.plus(DAY);
        assert_eq!(step(&run), 1);
        assert!(!report(&run, "reconciliation-2026-11-22.csv").exists(), "{point}");
        assert!(report(&run, "reconciliation-2026-11-23.csv").exists(), "an empty day is told as well");
    }
    assert_eq!(texts, [10, 10, 10]);
}

#[test]
fn days_missed_while_it_was_down_are_closed_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let (run, ..) = busy(dir.path());
    drop(run);
    let run = Run::start(dir.path(), at("2026-11-28T12:00:00+09:00"));
    assert_eq!(step(&run), 6);
    let days = Books::new(run.root.join("books")).days(10).unwrap();
    let days: Vec<String> = days.iter().map(ToString::to_string).collect();
    assert_eq!(days, ["2026-11-27", "2026-11-26", "2026-11-25", "2026-11-24", "2026-11-23", "2026-11-22"]);
    assert_eq!(run.ledger.closed_day().unwrap().unwrap().until, at("2026-11-28T00:00:00+09:00"));
}

#[test]
fn a_test_account_is_none_of_the_insurers_business() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::found(dir.path(), at("2026-11-22T09:00:00+09:00"));
    let test = Account { test: true, ..run.ledger.account(&account("K0001")).unwrap().unwrap() };
    run.commit(Op::SetAccount { account: test, new: false });
    place(&run, b"%PDF test");
    run.commit(Op::DropboxSwept { account: account("K0001"), files: 2, bytes: 5 });
    run.now = at("2026-11-23T00:10:00+09:00");
    step(&run);
    let text = std::fs::read_to_string(report(&run, "reconciliation-2026-11-22.csv")).unwrap();
    assert_eq!(rows(&text), []);
    let book = Books::new(run.root.join("books")).open("2026-11-22").unwrap();
    let own = book.read(book.find(&account_part(&account("K0001"))).unwrap()).unwrap();
    let whats: Vec<String> =
        rows(&String::from_utf8(own).unwrap()).into_iter().map(|(what, _)| what).collect();
    assert_eq!(whats, ["placed", "swept"]);
}

#[test]
fn every_batch_of_the_day_is_compared_and_the_last_one_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, ..) = busy(dir.path());
    run.commit(Op::BeginCalendar { insurer: code(INSURER), cut_offs: Digest::of(b"") });
    let batches = insurer_path(run.root, &code(INSURER)).join("batches");
    let close = |run: &mut Run<'_>, now: &str, name: &str| {
        run.now = at(now);
        let (slot, upto) = (run.now, run.ledger.head().seq);
        let batch = Batch { slot, upto, rows: 0, sha256: Digest::of(name.as_bytes()), name: name.to_owned() };
        run.commit(Op::CloseBatch { insurer: code(INSURER), batch });
        std::fs::write(batches.join(name), name).unwrap();
    };
    close(&mut run, "2026-11-22T23:59:59.999+09:00", "first.csv");
    close(&mut run, "2026-11-23T00:00:00+09:00", "second.csv");
    close(&mut run, "2026-11-23T00:10:00+09:00", "third.csv");
    step(&run);
    let day = run.ledger.closed_day().unwrap();
    let found = || codes(&compare(&run, day.as_ref(), &Scope::default()));
    assert_eq!(found(), [""; 0]);
    for (name, expected) in [("first.csv", true), ("second.csv", false), ("third.csv", true)] {
        std::fs::write(batches.join(name), "changed").unwrap();
        assert_eq!(found() == ["BATCH-CHANGED"], expected, "{name}");
        std::fs::remove_file(batches.join(name)).unwrap();
        assert_eq!(found(), [""; 0], "the importer has taken it");
    }
}

#[test]
fn books_that_need_not_be_there_are_told_from_lost_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, ..) = busy(dir.path());
    // Nobody closed a day for half a year.
    run.now = at("2027-05-23T00:10:00+09:00");
    assert_eq!(step(&run), 31);
    let day = |of: &str| {
        let from = at(&format!("{of}T00:00:00+09:00"));
        ClosedDay { day: of.to_owned(), from, until: from.plus(DAY) }
    };
    let why = |of: &str, keep_days| compares(&run).no_books(&day(of), keep_days, run.now).unwrap();
    let begin = || Some(NoBooks::BeginWith("2027-04-22".to_owned()));
    for (of, expected) in [("2026-11-22", begin()), ("2027-04-21", begin()), ("2027-04-22", None)] {
        assert_eq!(why(of, 3_660), expected, "{of}");
    }
    assert_eq!(why("2026-11-22", 100), Some(NoBooks::Expired));
    // Lost, which is a difference.
    for of in ["2027-04-22", "2027-05-01"] {
        std::fs::remove_file(run.root.join(format!("books/{of}.books"))).unwrap();
        assert_eq!(why(of, 3_660), None, "{of}");
    }
    let lost = compare(&run, Some(&day("2027-05-01")), &Scope::default());
    assert_eq!(codes(&lost), ["BOOKS-MISSING"]);
}

#[test]
#[allow(clippy::too_many_lines, reason = "one difference after the other")]
fn each_difference_made_by_hand_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, numbers, documents) = busy(dir.path());
    run.now = at("2026-11-23T00:10:00+09:00");
    step(&run);
    let day = run.ledger.closed_day().unwrap().unwrap();
    let all = Scope::default();
    let sound = compare(&run, Some(&day), &all);
    assert_eq!(codes(&sound), [""; 0]);
    assert_eq!((sound.books, sound.rows, sound.submissions, sound.documents), (2, 10, 2, 2));
    assert!(sound.hashed >= 8 && sound.folders == 2, "{sound:?}");

    let spool = insurer_path(run.root, &code(INSURER));
    let (taken, waits) = (numbers[0].to_string(), numbers[1].to_string());
    let blob_file =
        |id: &crate::model::ids::BlobId| run.root.join("blobs").join(&id.as_str()[..8]).join(id.as_str());
    let document = run.ledger.document(documents[1]).unwrap().unwrap();

    // Each is made, found, and undone.
    let found = |scope: &Scope| codes(&compare(&run, Some(&day), scope));
    let aside = run.root.join("aside");
    for (what, from, expected) in [
        ("a document's blob", blob_file(&document.blob), "DOCUMENT-WITHOUT-BLOB"),
        ("its card", blob_file(&document.card.blob), "CARD-MISSING"),
        (
            "an account's card",
            blob_file(&run.ledger.account(&account("K0001")).unwrap().unwrap().card.blob),
            "CARD-MISSING",
        ),
        ("what vouches for it", spool.join("new").join(&waits).join("evidence"), "SPOOL-CHANGED"),
        ("a published folder", spool.join("new").join(&waits), "PUBLISHED-NOT-IN-NEW"),
        ("the books", run.root.join("books/2026-11-22.books"), "BOOKS-MISSING"),
    ] {
        rustix::fs::rename(&from, &aside).unwrap();
        assert_eq!(found(&all), [expected], "{what}");
        rustix::fs::rename(&aside, &from).unwrap();
    }
    rustix::fs::rename(spool.join("cur").join(&taken), spool.join("new").join(&taken)).unwrap();
    assert_eq!(found(&all), ["SPOOL-BACK-IN-NEW"]);
    rustix::fs::rename(spool.join("new").join(&taken), spool.join("cur").join(&taken)).unwrap();
    for (stray, expected) in [("new/stray", "SPOOL-UNKNOWN"), ("cur/1-999999-9", "SPOOL-UNKNOWN")] {
        std::fs::create_dir(spool.join(stray)).unwrap();
        assert_eq!(found(&all), [expected], "{stray}");
        assert_eq!(
            found(&Scope { account: Some(account("K0001")), ..Scope::default() }),
            [""; 0],
            "not the account's"
        );
        std::fs::remove_dir(spool.join(stray)).unwrap();
    }
    let cover = spool.join("new").join(&waits).join("cover.pdf");
    let kept = std::fs::read(&cover).unwrap();
    std::fs::remove_file(&cover).unwrap();
    assert_eq!(found(&all), ["SPOOL-CHANGED"]);
    std::fs::write(&cover, kept).unwrap();
    let foreign = spool.join("new").join(&waits).join("attachment-02.txt");
    std::fs::write(&foreign, "x").unwrap();
    assert_eq!(found(&all), ["SPOOL-CHANGED"]);
    std::fs::remove_file(&foreign).unwrap();
    let deep = Scope { deep: true, ..Scope::default() };
    assert_eq!(found(&deep), [""; 0]);
    let told = spool.join("new").join(&waits).join("submission.json");
    let kept = std::fs::read_to_string(&told).unwrap();
    std::fs::remove_file(&told).unwrap();
    std::fs::write(&told, kept.replace("K0001", "K0002")).unwrap();
    assert_eq!(found(&deep), ["SPOOL-CHANGED"]);
    std::fs::remove_file(&told).unwrap();
    std::fs::write(&told, kept).unwrap();

    let bytes = std::fs::read(blob_file(&document.blob)).unwrap();
    std::fs::write(blob_file(&document.blob), b"%PDF tow").unwrap();
    assert_eq!(found(&all), ["BLOB-CHANGED"], "same size, another hash");
    assert_eq!(found(&Scope { deep: true, ..Scope::default() }), ["BLOB-CHANGED"]);
    std::fs::write(blob_file(&document.blob), bytes).unwrap();

    // Books of days before the one that is meant, as far back as there are any.
    let books = run.root.join("books");
    for older in ["2026-11-18", "2026-11-20", "2026-11-21"] {
        std::fs::copy(books.join("2026-11-22.books"), books.join(format!("{older}.books"))).unwrap();
    }
    let missing = compare(&run, Some(&day), &all);
    assert_eq!(codes(&missing), ["BOOKS-MISSING"]);
    assert_eq!(missing.findings[0].what, "books/2026-11-19.books");
    for older in ["2026-11-18", "2026-11-20", "2026-11-21"] {
        std::fs::remove_file(books.join(format!("{older}.books"))).unwrap();
    }

    let sheet = report(&run, "reconciliation-2026-11-22.csv");
    let kept = std::fs::read(&sheet).unwrap();
    std::fs::remove_file(&sheet).unwrap();
    std::fs::write(&sheet, b"changed").unwrap();
    assert_eq!(found(&all), ["REPORT-CHANGED"]);
    std::fs::remove_file(&sheet).unwrap();
    assert_eq!(found(&all), [""; 0], "the insurer may take it away");
    std::fs::write(&sheet, kept).unwrap();

    // Books that say something else than the journal, signed by somebody else.
    let books = Books::new(run.root.join("books"));
    let original = std::fs::read(run.root.join("books/2026-11-22.books")).unwrap();
    let text = format!(
        "{HEAD}2026-11-22T09:00:00.000+09:00,accepted,受付,1-000001-3,06139999,K0001,1234,filing,1,0,\r\n"
    );
    let part = account_part(&account("K0001"));
    books
        .write(&day, &[(part.clone(), text.into_bytes()), (format!("{part}.sig"), b"none".to_vec())])
        .unwrap();
    let differs = compare(&run, Some(&day), &all);
    assert_eq!(codes(&differs), ["BOOKS-UNSIGNED", "BOOKS-DIFFER", "BOOKS-DIFFER"]);
    let told = &differs.findings[1].text;
    assert!(
        told.contains("accepted 1 signed, 2 in the journal")
            && told.contains("placed 0 signed, 3 in the journal"),
        "{told}"
    );
    std::fs::write(run.root.join("books/2026-11-22.books"), original).unwrap();

    // What a crash leaves goes by itself: said with its sweep, no difference.
    let orphan = run.blobs.put(b"nobody's", run.now).unwrap();
    std::fs::create_dir(spool.join(".tmp/erase-x")).unwrap();
    let leftovers = compare(&run, Some(&day), &all);
    assert_eq!(codes(&leftovers), ["(STAGE)", "(BLOB-ORPHAN)"]);
    assert_eq!(leftovers.differences, 0);
    let due = leftovers.findings[1].goes_at.unwrap();
    assert_eq!((leftovers.findings[1].what.clone(), due), (orphan.to_string(), at("2026-11-24T00:00:00Z")));
    std::fs::remove_dir(spool.join(".tmp/erase-x")).unwrap();
    let sweep = |now: Timestamp| {
        super::sweep::Sweep {
            ledger: run.ledger.clone(),
            blobs: run.blobs.clone(),
            spool_root: run.root.to_owned(),
            grace_days: 1,
            keep: Arc::new(|_| false),
            turn: run.turn.clone(),
            alarms: run.alarms.clone(),
        }
        .step(now)
        .unwrap()
        .done
    };
    assert_eq!((sweep(due.plus(-1)), sweep(due)), (0, 1), "as it was said");

    run.commit(Op::RemovalIntend { ids: vec![documents[1]], reason: RemovalReason::Expired });
    run.commit(Op::Withdraw { number: numbers[1], account: None });
    assert_eq!(found(&all), ["SPOOL-LEFT-OVER"], "withdrawn, and still there");
}

#[test]
fn a_report_that_cannot_be_written_is_owed_and_keeps_nobody_from_the_books() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, ..) = busy(dir.path());
    let wall = report(&run, "allowed_signers");
    std::fs::create_dir(&wall).unwrap();
    run.now = at("2026-11-23T00:10:00+09:00");
    assert_eq!(step(&run), 1);
    let alarm = format!("RECONCILIATION-FAILED {INSURER}");
    let codes = || run.alarms.list().into_iter().map(|alarm| alarm.code).collect::<Vec<_>>();
    assert_eq!(codes(), [alarm]);
    let books = run.root.join("books");
    let owed = format!("2026-11-22.{INSURER}.owed");
    assert_eq!(names(&books), [owed.clone(), "2026-11-22.books".to_owned()]);
    // The next day is closed all the same, and a restart forgets nothing.
    run.now = run.now.plus(DAY);
    assert_eq!(step(&run), 1);
    assert_eq!(names(&books).len(), 4);
    std::fs::remove_dir(&wall).unwrap();
    step(&run);
    assert_eq!(names(&books), ["2026-11-22.books", "2026-11-23.books"]);
    for day in ["2026-11-22", "2026-11-23"] {
        for extension in ["csv", "csv.sig", "json"] {
            assert!(report(&run, &format!("reconciliation-{day}.{extension}")).exists(), "{day} {extension}");
        }
    }
    assert_eq!(run.alarms.list().len(), 0);
}
