use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::model::card::DocumentCard;
use crate::model::ids::OfficeCode;
use crate::model::party::{Actor, Delegation, Standing};
use crate::model::time::DAY;
use crate::rules::policy::LateAnswer;
use crate::small_world::{INSURER, World, account, at, code};
use crate::work::ports::{FixedScanner, Scan, ScannerDown};

pub(super) const PDF: &str = "%PDF-1.7\nsample\n%%EOF\n";

pub(super) struct Delivering {
    pub(super) world: World,
    pub(super) scanner: Arc<FixedScanner>,
    pub(super) stage: Deliveries,
    pub(super) now: Timestamp,
}

pub(super) fn stage(world: &World, scanner: Arc<FixedScanner>, points: Points) -> Deliveries {
    Deliveries {
        ledger: world.ledger.clone(),
        blobs: world.blobs.clone(),
        spool_root: world.spool_root(),
        policy: DeliveryPolicy { document_bytes_max: 1024 * 1024, ..DeliveryPolicy::default() },
        zone: chrono_tz::Asia::Tokyo,
        tables: Arc::new(|_| DocumentTable::default()),
        delegations: Arc::new(|_| DelegationPolicy::default()),
        free_bytes_min: Arc::new(|| 0),
        scanner,
        turn: world.turn.clone(),
        alarms: world.alarms.clone(),
        memory: Memory::default(),
        recall: recalls(world),
        points,
    }
}

/// Recalls as the purge does them.
fn recalls(world: &World) -> Box<RecallOf> {
    let purge = crate::work::purge::Purge::new(
        world.ledger.clone(),
        world.blobs.clone(),
        crate::work::purge::PurgePolicy::default(),
        world.alarms.clone(),
        || 0,
        world.dir.path().to_owned(),
    );
    Box::new(move |id, by, now| purge.recall(id, by, now))
}

impl Delivering {
    pub(super) fn new() -> Self {
        let world = World::new();
        let scanner = Arc::new(FixedScanner::clean());
        let stage = stage(&world, scanner.clone(), Points::default());
        Self { now: world.now, stage, scanner, world }
    }

    pub(super) fn job(&self, job: &str, sheet: impl AsRef<[u8]>, files: &[(&str, &str)]) {
        let folder = self.world.spool(&format!("outgoing/{job}"));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, content) in files {
            std::fs::write(folder.join(name), content).unwrap();
        }
        std::fs::write(folder.join("delivery.csv"), sheet).unwrap();
    }

    pub(super) fn path(&self, rest: &str) -> PathBuf {
        self.world.spool(&format!("outgoing/{rest}"))
    }

    /// A look, the settling time, and the taking.
    pub(super) fn settle(&mut self) -> u64 {
        self.stage.step(self.now).unwrap();
        self.now = self.now.plus(10 * SECOND);
        self.stage.step(self.now).unwrap().done
    }

    /// `line result code` of every row in every report of a delivery, in order.
    pub(super) fn results(&self) -> Vec<String> {
        let names = self.world.names("reports");
        let mut lines = Vec::new();
        for name in names.iter().filter(|name| name.starts_with("delivery-")) {
            let text = std::fs::read_to_string(self.world.spool(&format!("reports/{name}"))).unwrap();
            let body = text.strip_prefix('\u{feff}').unwrap();
            for record in csv::Reader::from_reader(body.as_bytes()).records() {
                let record = record.unwrap();
                lines.push(format!("{} {} {}", &record[0], &record[1], &record[9]).trim().to_owned());
            }
        }
        lines
    }

    fn card(&self, title: &str) -> DocumentCard {
        let documents = self.world.ledger.documents_in_all();
        let cards = documents.iter().map(|document| {
            serde_json::from_slice::<DocumentCard>(&self.world.blobs.get(&document.card.blob, 9999).unwrap())
                .unwrap()
        });
        cards.into_iter().find(|card| card.title == title).unwrap()
    }
}

#[test]
fn a_settled_set_is_placed_reported_and_gone() {
    let mut it = Delivering::new();
    it.job("2026-11", "account,file,type,title\nK0001,a.pdf,納入告知書,2026年11月分\n", &[("a.pdf", PDF)]);
    assert_eq!(it.settle(), 1);
    let documents = it.world.ledger.documents_in_all();
    assert_eq!(documents.len(), 1);
    let document = &documents[0];
    assert_eq!(document.name(), format!("2026-11_納入告知書_{}.pdf", document.id));
    assert_eq!((document.account.as_str(), document.office.as_str()), ("K0001", "1234"));
    assert_eq!(document.expires_at, crate::small_world::at("2027-02-02T00:00:00+09:00"));
    assert_eq!(it.card("2026年11月分").original_name, "a.pdf");
    assert_eq!(it.results(), ["2 placed"]);
    assert!(it.world.names("outgoing").is_empty() && it.world.names(".taking").is_empty());
    assert_eq!(it.world.ledger.log(), ["Place", "DeliveryTaken"]);
}

#[test]
fn what_is_still_written_waits() {
    let mut it = Delivering::new();
    let sheet = "account,file,type\nK0001,a.pdf,お知らせ\nK0001,b.pdf,お知らせ\n";
    it.job("j", sheet, &[("a.pdf", PDF)]);
    assert_eq!(it.settle(), 0, "b.pdf is missing");
    std::fs::write(it.path("j/b.pdf"), "%PDF-1.7 half").unwrap();
    it.now = it.now.plus(10 * SECOND);
    assert_eq!(it.stage.step(it.now).unwrap().done, 0, "b.pdf is new");
    std::fs::write(it.path("j/b.pdf"), PDF).unwrap();
    it.now = it.now.plus(10 * SECOND);
    assert_eq!(it.stage.step(it.now).unwrap().done, 0, "b.pdf has grown");
    let writer = std::fs::File::options().append(true).open(it.path("j/b.pdf")).unwrap();
    writer.lock().unwrap();
    it.now = it.now.plus(10 * SECOND);
    assert_eq!(it.stage.step(it.now).unwrap().done, 0, "its writer holds a lock");
    drop(writer);
    assert_eq!(it.stage.step(it.now).unwrap().done, 1);
    assert_eq!(it.results(), ["2 placed", "3 placed"]);
}

/// A slow writer without a lock stops within a row: what stands there names another office.
#[test]
fn a_sheet_that_ends_within_a_line_waits_and_is_refused_whole() {
    let mut it = Delivering::new();
    let whole = "account,file,type\nK0001,a.pdf,お知らせ\nK0005,b.pdf,お知らせ\n";
    it.job("j", &whole[..whole.len() - 1], &[("a.pdf", PDF), ("b.pdf", PDF)]);
    assert_eq!(it.settle(), 0);
    let wait = i64::from(it.stage.policy.incomplete_minutes_max) * 60 * SECOND;
    std::fs::write(it.path("j/delivery.csv"), whole).unwrap();
    assert_eq!(it.settle(), 1, "its writer went on");

    it.job("k", &whole[..whole.len() - 1], &[("a.pdf", PDF), ("b.pdf", PDF)]);
    assert_eq!(it.settle(), 0);
    it.now = it.now.plus(wait - 11 * SECOND);
    it.stage.step(it.now).unwrap();
    assert_eq!(it.results().len(), 2);
    it.now = it.now.plus(2 * SECOND);
    it.stage.step(it.now).unwrap();
    assert!(it.results().iter().any(|line| line.ends_with("DELIVERY-UNFINISHED")), "{:?}", it.results());
    assert_eq!(it.world.ledger.documents_in_all().len(), 2);
    assert_eq!(crate::small_world::names(&it.path("k")), ["a.pdf", "b.pdf", "delivery.csv.refused"]);
}

/// What a session left open is never taken, though it may end at a line's end; nor is a document.
#[test]
fn what_a_cut_session_left_is_not_there_until_it_is_sent_again() {
    let mut it = Delivering::new();
    let sheet = "account,file,type\nK0001,a.pdf,お知らせ\nK0001,b.pdf,お知らせ\n";
    it.job("j", sheet, &[("a.pdf", PDF), ("b.pdf", "%PDF-1.7 ha")]);
    let file = |name: &str| std::fs::File::options().append(true).open(it.path(name)).unwrap();
    crate::store::spool::mark_unfinished(&file("j/b.pdf"), true).unwrap();
    it.job("k", sheet, &[("a.pdf", PDF), ("b.pdf", PDF)]);
    let cut = file("k/delivery.csv");
    crate::store::spool::mark_unfinished(&cut, true).unwrap();
    assert_eq!(it.settle(), 0);
    it.now = it.now.plus(i64::from(it.stage.policy.incomplete_minutes_max) * 60 * SECOND);
    it.stage.step(it.now).unwrap();
    let results = it.results();
    assert!(results[0].starts_with("2 placed") && results[1].starts_with("3 refused"), "{results:?}");
    assert!(results[2].ends_with("DELIVERY-UNFINISHED"), "{results:?}");
    assert_eq!(it.world.ledger.documents_in_all().len(), 1);
    assert!(it.path("j/b.pdf").exists(), "it may be sent again");
}

#[test]
fn a_sheet_under_another_name_is_no_sheet_until_it_is_renamed() {
    let mut it = Delivering::new();
    it.job("j", "account,file,type\nK0001,a.pdf,お知らせ\n", &[("a.pdf", PDF)]);
    rustix::fs::rename(it.path("j/delivery.csv"), it.path("j/delivery.csv.tmp")).unwrap();
    assert_eq!(it.settle(), 0);
    rustix::fs::rename(it.path("j/delivery.csv.tmp"), it.path("j/delivery.csv")).unwrap();
    assert_eq!(it.settle(), 1);
}

#[test]
fn a_bad_row_is_reported_and_the_rest_goes() {
    let mut it = Delivering::new();
    it.world.ledger.edit_account("K0005", |account| account.standing = Standing::Suspended);
    let answered = it.world.accept();
    let rows = [
        ("K0001,,,a.pdf,お知らせ,t", "placed"),
        ("K0009,,,a.pdf,お知らせ,t", "refused ROW-NO-ACCOUNT"),
        (",4321,,a.pdf,お知らせ,t", "refused ROW-NO-OFFICE"),
        (",,1-000999-9,a.pdf,お知らせ,t", "refused ROW-ADDRESS"),
        (",9999,,a.pdf,お知らせ,t", "paper PAPER-NO-ACCOUNT"),
        ("K0005,,,a.pdf,お知らせ,t", "paper PAPER-SUSPENDED"),
        ("S0001,,,a.pdf,お知らせ,t", "refused ROW-WHICH-OFFICE"),
        ("S0001,1234,,a.pdf,お知らせ,t", "placed"),
        ("K0001,5678,,a.pdf,お知らせ,t", "refused ROW-INCONSISTENT"),
        ("I0001,,,a.pdf,お知らせ,t", "refused ROW-NO-ACCOUNT"),
        ("K0001,,,virus.pdf,お知らせ,t", "refused VIRUS-FOUND"),
        ("K0001,,,half.pdf,お知らせ,t", "refused PDF-CUT"),
        ("K0001,,,empty.pdf,お知らせ,t", "refused FILE-EMPTY"),
        ("K0001,,,word.doc,お知らせ,t", "refused FILE-NOT-PDF"),
        ("K0001,,,large.pdf,お知らせ,t", "refused FILE-TOO-LARGE"),
        ("K0001,,,link.pdf,お知らせ,t", "refused FILE-NOT-PLAIN"),
        ("K0001,,,hard.pdf,お知らせ,t", "refused FILE-NOT-PLAIN"),
        ("K0001,,,fifo.pdf,お知らせ,t", "refused FILE-NOT-PLAIN"),
        ("K0001,,,folder.pdf,お知らせ,t", "refused FILE-NOT-PLAIN"),
        ("K0001,,,../../x.pdf,お知らせ,t", "refused ROW-FILE-NAME"),
        ("K0001,,,/etc/passwd,お知らせ,t", "refused ROW-FILE-NAME"),
        ("=HYPERLINK(1),,,a.pdf,お知らせ,t", "refused ROW-ADDRESS"),
        ("K0001,,,a.pdf,秘密の書類,t", "placed TYPE-UNKNOWN"),
        ("K0001,1234,NUMBER,a.pdf,決定通知書,t", "placed"),
        ("K0005,,NUMBER,a.pdf,決定通知書,t", "refused ROW-INCONSISTENT"),
    ];
    let mut sheet = String::from("account,office,in_reply_to,file,type,title\n");
    for (row, _) in rows {
        sheet.push_str(&row.replace("NUMBER", &answered.to_string()));
        sheet.push('\n');
    }
    let virus = format!("%PDF-1.7 {} %%EOF", String::from_utf8_lossy(FixedScanner::VIRUS));
    let large = format!("%PDF-1.7 {} %%EOF", "x".repeat(1024 * 1024));
    let files = [
        ("a.pdf", PDF),
        ("virus.pdf", &virus),
        ("half.pdf", "%PDF-1.7 half"),
        ("empty.pdf", ""),
        ("word.doc", "PK"),
        ("large.pdf", &large),
    ];
    it.job("bad", &sheet, &files);
    let secret = it.world.dir.path().join("passwd");
    std::fs::write(&secret, PDF).unwrap();
    symlink(&secret, it.path("bad/link.pdf")).unwrap();
    std::fs::hard_link(&secret, it.path("bad/hard.pdf")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, it.path("bad/fifo.pdf"), rustix::fs::Mode::RWXU).unwrap();
    std::fs::create_dir(it.path("bad/folder.pdf")).unwrap();
    let blobs = it.world.blobs.count();
    assert_eq!(it.settle(), 1);
    let expected: Vec<_> =
        rows.iter().enumerate().map(|(index, (_, result))| format!("{} {result}", index + 2)).collect();
    let mut results = it.results();
    assert_eq!(results.pop().as_deref(), Some("left FILE-LEFT"), "the folder stays");
    let stays =
        ["a.pdf", "empty.pdf", "fifo.pdf", "folder.pdf", "half.pdf", "hard.pdf", "large.pdf", "link.pdf"];
    let names = crate::small_world::names(&it.path("bad"));
    assert_eq!(names, [&stays[..], &["virus.pdf", "word.doc"]].concat(), "what was not placed");
    assert_eq!(results, expected);
    assert_eq!(it.world.ledger.documents_in_all().len(), 4);
    assert_eq!(it.world.blobs.count(), blobs + 8, "nothing of the refused rows stays");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), PDF);
    let report = it.world.names("reports").into_iter().find(|name| name.starts_with("delivery")).unwrap();
    let report = std::fs::read_to_string(it.world.spool(&format!("reports/{report}"))).unwrap();
    assert!(report.contains(",'=HYPERLINK(1),"), "{report}");
    let others = it.world.ledger.documents_in_all();
    assert_eq!(others.iter().filter(|document| document.kind == "その他").count(), 1);
}

#[test]
fn answers_follow_the_filer_and_fall_back_to_the_office() {
    let mut it = Delivering::new();
    let by_agent = it.world.accept_from("S0001", "1234");
    let sheet = format!("in_reply_to,file,type\n{by_agent},a.pdf,決定通知書\n");
    let place = |it: &mut Delivering, job: &str| {
        it.job(job, &sheet, &[("a.pdf", &format!("%PDF-1.7 {job} %%EOF"))]);
        it.settle();
        it.world.ledger.documents_in_all().last().map(|document| document.account.to_string())
    };
    assert_eq!(place(&mut it, "1").as_deref(), Some("S0001"));
    it.world
        .ledger
        .edit_account("S0001", |account| account.offices.retain(|office| office.as_str() != "1234"));
    assert_eq!(place(&mut it, "2").as_deref(), Some("K0001"));
    it.world.ledger.edit_account("K0001", |account| account.standing = Standing::Closed);
    place(&mut it, "3");
    assert_eq!(it.results().last().unwrap(), "2 paper PAPER-CLOSED");
}

/// What comes after the delegation's last day goes where the policy says, to the minute of the local midnight (K13 K16).
#[test]
fn a_late_answer_goes_where_the_policy_says() {
    let cases = [
        (LateAnswer::Office, "1234", "placed K0001"),
        (LateAnswer::Office, "9999", "paper PAPER-NO-ACCOUNT"),
        (LateAnswer::Filer, "1234", "placed S0001"),
        (LateAnswer::Paper, "1234", "paper PAPER-DELEGATION-ENDED"),
    ];
    for (late_answer, office, expected) in cases {
        let mut it = Delivering::new();
        it.stage.delegations =
            Arc::new(move |_| DelegationPolicy { late_answer, ..DelegationPolicy::default() });
        let office_code = OfficeCode::parse(office).unwrap();
        it.world.ledger.edit_account("S0001", |account| {
            account.offices.clear();
            let day = |text| Some(Day::parse(text).unwrap());
            let (from, until) = (day("2026-04-01"), day("2026-11-23"));
            account.delegations = vec![Delegation { office: office_code, from, until }];
        });
        let answered = it.world.accept_from("S0001", office);
        for (job, time) in [("in-time", "2026-11-23T23:59:30+09:00"), ("late", "2026-11-24T00:00:00+09:00")] {
            let sheet = format!("in_reply_to,file,type\n{answered},a.pdf,決定通知書\n");
            it.now = at(time).plus(-10 * SECOND);
            it.job(job, sheet, &[("a.pdf", &format!("%PDF-1.7 {job} %%EOF"))]);
            it.settle();
            let placed = it.world.ledger.documents_in_all();
            if job == "in-time" {
                assert_eq!(placed.last().unwrap().account.as_str(), "S0001");
            } else {
                let result = it.results().last().unwrap().clone();
                let result = result.strip_prefix("2 ").unwrap().to_owned();
                let account = placed.last().unwrap().account.to_string();
                let result = if result == "placed" { format!("placed {account}") } else { result };
                assert_eq!(result, expected, "{late_answer:?} {office}");
            }
        }
        // By name of the account it is refused with the day, and its line is gone from the list.
        it.job("named", format!("account,office,file,type\nS0001,{office},a.pdf,t\n"), &[("a.pdf", PDF)]);
        it.settle();
        let report = it.world.names("reports").into_iter().find(|name| name.contains("named")).unwrap();
        let report = std::fs::read_to_string(it.world.spool(&format!("reports/{report}"))).unwrap();
        assert!(report.contains("ROW-DELEGATION-ENDED") && report.contains("2026-11-23"), "{report}");
        let accounts = std::fs::read_to_string(it.world.spool("reports/accounts.csv")).unwrap();
        assert!(!accounts.contains("S0001"), "{accounts}");
    }
}

/// An announcement is one copy of its bytes, whatever happens on the way; the accounts that lack it get it when it is given again.
#[test]
fn an_announcement_goes_on_where_a_crash_left_it() {
    for point in ["announcement durable", "some announced"] {
        let mut it = Delivering::new();
        let announce = |stage: &Deliveries, now| {
            let by = Actor::Operator(0);
            let insurer = code(INSURER);
            let (title, mut content) = ("休業", PDF.as_bytes());
            let request = AnnounceRequest {
                insurer: &insurer,
                audience: Audience::All,
                title,
                original_name: "a.pdf",
                content: &mut content,
                by,
            };
            stage.announce(request, now)
        };
        it.stage.points = Points::stopping(move |at| at == point);
        let blobs = it.world.blobs.count();
        assert!(announce(&it.stage, it.now).is_err(), "{point}");
        let after = it.now.plus(100 * SECOND);
        let fresh = stage(&it.world, it.scanner.clone(), Points::default());
        let Announced::Placed(placement) = announce(&fresh, after).unwrap() else { panic!("{point}") };
        let documents = it.world.ledger.documents_in_all();
        assert_eq!(documents.len(), 3, "{point}");
        assert_eq!(placement.placed + placement.before, 3, "{point}");
        assert!(documents.iter().all(|document| document.announcement == Some(placement.announcement)));
        assert!(documents.iter().all(|document| document.blob == documents[0].blob));
        // What the first attempt wrote and nobody refers to is the sweep's.
        let orphans = if point == "announcement durable" { 2 } else { 0 };
        assert_eq!(it.world.blobs.count(), blobs + 2 + orphans, "{point}");
    }
}

/// Cut off between any two steps and gone on with by a new process: every row is placed once and reported.
#[test]
fn a_crash_anywhere_delivers_once() {
    let points = ["taken", "begun", "documents durable", "placed", "reported", "recorded", "cleared"];
    for point in points {
        let mut it = Delivering::new();
        it.job(
            "j",
            "account,file,type\nK0001,a.pdf,お知らせ\nK0001,b.pdf,お知らせ\nK0001,c.pdf,お知らせ\n",
            &[("a.pdf", PDF), ("b.pdf", PDF)],
        );
        std::fs::write(it.path("j/c.pdf"), "no pdf").unwrap();
        it.stage.step(it.now).unwrap();
        it.stage.points = Points::stopping(move |at| at == point);
        it.now = it.now.plus(10 * SECOND);
        assert!(it.stage.step(it.now).is_err(), "{point}");
        it.now = it.now.plus(100 * SECOND);
        stage(&it.world, it.scanner.clone(), Points::default()).step(it.now).unwrap();
        assert_eq!(it.world.ledger.documents_in_all().len(), 2, "{point}");
        assert_eq!(it.results(), ["2 placed", "3 placed", "4 refused FILE-NOT-PDF"], "{point}");
        assert_eq!(crate::small_world::names(&it.path("j")), ["c.pdf"], "{point}: what was refused stays");
        assert!(it.world.names(".taking").is_empty(), "{point}");
        assert_eq!(it.world.ledger.log().iter().filter(|op| *op == "DeliveryTaken").count(), 1, "{point}");
    }
}

#[test]
fn the_same_set_twice_delivers_once() {
    let mut it = Delivering::new();
    let sheet = "account,file,type\nK0001,a.pdf,お知らせ\n";
    for job in ["first", "second"] {
        it.job(job, sheet, &[("a.pdf", PDF)]);
        assert_eq!(it.settle(), 1);
    }
    assert_eq!(it.world.ledger.documents_in_all().len(), 1);
    assert_eq!(it.results(), ["2 placed", "2 placed-before"]);
    it.job("third", sheet, &[("a.pdf", "%PDF-1.7 other %%EOF")]);
    it.settle();
    assert_eq!(it.world.ledger.documents_in_all().len(), 2);
}

#[test]
fn an_unreadable_sheet_is_given_back_with_a_report() {
    let mut it = Delivering::new();
    it.job("j", b"\xff\xfe\0a".as_slice(), &[("a.pdf", PDF)]);
    it.settle();
    assert_eq!(it.results(), ["refused DELIVERY-ENCODING"]);
    assert_eq!(crate::small_world::names(&it.path("j")), ["a.pdf", "delivery.csv.refused"]);
    std::fs::write(it.path("j/delivery.csv"), "account,file,type\nK0001,a.pdf,お知らせ\n").unwrap();
    it.settle();
    assert_eq!(it.results().last().unwrap(), "2 placed");
    let mut it = Delivering::new();
    std::fs::create_dir(it.path("j")).unwrap();
    symlink("/etc/passwd", it.path("j/delivery.csv")).unwrap();
    it.settle();
    assert_eq!(it.results(), ["refused DELIVERY-NOT-PLAIN"]);
}

#[test]
fn cp932_is_read_and_left_over_files_are_named_and_kept() {
    let mut it = Delivering::new();
    let (sheet, _, _) =
        encoding_rs::SHIFT_JIS.encode("account,file,type,title\r\nK0001,通知.pdf,お知らせ,題名\r\n");
    it.job("j", sheet, &[("通知.pdf", PDF), ("余り.pdf", PDF)]);
    it.settle();
    assert_eq!(it.results(), ["2 placed", "left FILE-LEFT"]);
    assert_eq!(crate::small_world::names(&it.path("j")), ["余り.pdf"]);
    assert_eq!(it.card("題名").original_name, "通知.pdf");
}

#[test]
fn a_missing_file_is_waited_for_and_then_reported() {
    let mut it = Delivering::new();
    it.job("j", "account,file,type\nK0001,a.pdf,お知らせ\nK0001,b.pdf,お知らせ\n", &[("a.pdf", PDF)]);
    it.settle();
    it.now = it.now.plus(50 * 60 * SECOND);
    assert_eq!(it.stage.step(it.now).unwrap().done, 0);
    it.now = it.now.plus(15 * 60 * SECOND);
    assert_eq!(it.stage.step(it.now).unwrap().done, 1);
    assert_eq!(it.results(), ["2 placed", "3 refused FILE-MISSING"]);
    let names = it.world.names("reports");
    let name = names.iter().find(|name| name.starts_with("delivery-")).unwrap();
    let text = std::fs::read_to_string(it.world.spool(&format!("reports/{name}"))).unwrap();
    assert!(!text.contains("outgoing/j/b.pdf"), "nothing is kept that never came: {text}");
}

#[test]
fn with_the_scanner_down_the_set_waits_and_nothing_is_lost() {
    let mut it = Delivering::new();
    it.scanner.say(Scan::Down { why: ScannerDown::Cut });
    it.job("j", "account,file,type\nK0001,a.pdf,お知らせ\n", &[("a.pdf", PDF)]);
    assert_eq!(it.settle(), 0);
    assert_eq!(it.world.alarm_codes(), [format!("DELIVERY-SCANNER {INSURER}")]);
    assert!(it.world.ledger.documents_in_all().is_empty());
    it.scanner.say(Scan::Clean { engine: "x".into() });
    it.now = it.now.plus(10 * SECOND);
    assert_eq!(it.stage.step(it.now).unwrap().done, 1);
    assert_eq!(it.results(), ["2 placed"]);
    assert!(it.world.alarm_codes().is_empty());
}

#[test]
fn what_is_delivered_is_what_the_set_was_fixed_with() {
    for crash in [false, true] {
        let mut it = Delivering::new();
        it.job("j", "account,file,type\nK0001,a.pdf,お知らせ\nK0005,a.pdf,お知らせ\n", &[("a.pdf", PDF)]);
        it.stage.step(it.now).unwrap();
        let path = it.path("j/a.pdf");
        it.stage.points = Points::stopping(move |at| {
            if at == "begun" {
                std::fs::write(&path, "%PDF-1.7 swapped %%EOF").unwrap();
            }
            crash && at == "begun"
        });
        it.now = it.now.plus(10 * SECOND);
        assert_eq!(it.stage.step(it.now).is_err(), crash);
        stage(&it.world, it.scanner.clone(), Points::default()).step(it.now).unwrap();
        // The first row has the copy that was made with the hash; one that must read the file sees that it is another.
        let first = if crash { "2 refused FILE-CHANGED" } else { "2 placed" };
        assert_eq!(it.results(), [first, "3 refused FILE-CHANGED"]);
        for document in it.world.ledger.documents_in_all() {
            assert_eq!(document.sha256, crate::model::ids::Digest::of(PDF.as_bytes()));
        }
        assert_eq!(std::fs::read(it.path("j/a.pdf")).unwrap(), b"%PDF-1.7 swapped %%EOF");
    }
}

/// A crash leaves copies to the sweep; whatever else ends a taking leaves none.
#[test]
fn copies_that_no_row_took_are_removed() {
    let mut it = Delivering::new();
    let sheet = "account,file,type\nK9999,a.pdf,お知らせ\nK0001,b.pdf,お知らせ\n";
    it.job("j", sheet, &[("a.pdf", PDF), ("b.pdf", "%PDF-1.7 b %%EOF")]);
    it.settle();
    assert_eq!(it.results()[1], "3 placed");
    assert_eq!(it.world.blobs.count(), 2, "one document and its card");
    it.scanner.say(Scan::Down { why: ScannerDown::Cut });
    it.job("k", "account,file,type\nK0001,c.pdf,お知らせ\n", &[("c.pdf", "%PDF-1.7 c %%EOF")]);
    it.settle();
    assert_eq!(it.world.blobs.count(), 2);
}

#[test]
fn documents_leave_the_disks_reserve_alone_and_come_when_there_is_room() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let mut it = Delivering::new();
    let least = Arc::new(AtomicU64::new(crate::small_world::FREE_BYTES + 1));
    let read = least.clone();
    it.stage.free_bytes_min = Arc::new(move || read.load(Ordering::SeqCst));
    it.job("j", "account,file,type\nK0001,a.pdf,お知らせ\n", &[("a.pdf", PDF)]);
    assert_eq!(it.settle(), 0);
    assert_eq!((it.world.blobs.count(), it.results().len()), (0, 0));
    assert!(it.world.names("outgoing/j").contains(&"a.pdf".to_owned()));
    let alarms = it.world.alarms.list();
    assert!(alarms.iter().any(|alarm| alarm.text.contains("make room")), "{alarms:?}");
    least.store(0, Ordering::SeqCst);
    it.settle();
    assert_eq!(it.results(), ["2 placed"]);
    assert!(it.world.alarms.list().is_empty(), "{:?}", it.world.alarms.list());
}

#[test]
fn one_document_by_command_is_placed_once_a_day() {
    let it = Delivering::new();
    let place = |to: &str, content: &str, now| {
        let request = PlaceRequest {
            insurer: &code(INSURER),
            address: Address { account: Some(account(to)), ..Address::default() },
            kind: "納入告知書",
            title: "2026年11月分",
            original_name: "FILE.pdf",
            content: &mut content.as_bytes(),
            by: Actor::Operator(0),
        };
        it.stage.place_one(request, now).unwrap()
    };
    let PlacedOne::Placed(id, None) = place("K0001", PDF, it.now) else { panic!() };
    assert_eq!(place("K0001", PDF, it.now), PlacedOne::Before(id));
    assert!(matches!(place("K0001", PDF, it.now.plus(DAY)), PlacedOne::Placed(..)));
    assert!(matches!(place("K0009", PDF, it.now), PlacedOne::Not(fault) if fault.code == "ROW-NO-ACCOUNT"));
    assert!(matches!(place("K0001", "MZ", it.now), PlacedOne::Not(fault) if fault.code == "FILE-NOT-PDF"));
    assert_eq!(it.world.blobs.count(), 4);
}

#[test]
fn what_is_no_job_is_said_until_it_is_gone() {
    let it = Delivering::new();
    std::fs::write(it.path("a.pdf"), PDF).unwrap();
    std::fs::create_dir(it.path(&"x".repeat(101))).unwrap();
    it.stage.step(it.now).unwrap();
    assert_eq!(
        it.world.alarm_codes(),
        [format!("DELIVERY-LOOSE {INSURER}"), format!("DELIVERY-NAME {INSURER}")]
    );
    std::fs::remove_file(it.path("a.pdf")).unwrap();
    std::fs::remove_dir(it.path(&"x".repeat(101))).unwrap();
    it.stage.step(it.now).unwrap();
    assert!(it.world.alarm_codes().is_empty());
}

#[test]
fn accounts_are_listed_when_they_change() {
    let mut it = Delivering::new();
    it.stage.step(it.now).unwrap();
    let path = it.world.spool("reports/accounts.csv");
    let expected = "\u{feff}account,office,standing,acts,until,delivery\r\nK0001,1234,active,own,,electronic\r\n\
                    K0005,5678,active,own,,electronic\r\nS0001,1234,active,delegated,,electronic\r\n\
                    S0001,5678,active,delegated,,electronic\r\n,9999,,,,paper\r\n";
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let before = inode(&path);
    it.now = it.now.plus(2 * SECOND);
    it.stage.step(it.now).unwrap();
    assert_eq!(inode(&path), before);
    it.world.ledger.edit_account("K0005", |account| account.standing = Standing::Closed);
    it.now = it.now.plus(2 * SECOND);
    it.stage.step(it.now).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("K0005,5678,closed,own,,paper"));
}

#[test]
fn a_report_being_written_is_no_leftover_to_the_sweep() {
    let world = Delivering::new();
    let spool = InsurerSpool::open(&world.world.spool_root(), &code(INSURER)).unwrap();
    let sweep = crate::work::sweep::Sweep {
        ledger: world.world.ledger.clone(),
        blobs: world.world.blobs.clone(),
        spool_root: world.world.spool_root(),
        grace_days: 1,
        keep: Arc::new(|_| true),
        turn: world.world.turn.clone(),
        alarms: world.world.alarms.clone(),
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                sweep.step(world.now).unwrap();
            }
        });
        let written: io::Result<Vec<()>> =
            (0..300).map(|_| world.stage.write_report(&spool, "accounts.csv", b"x")).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        written.unwrap();
    });
}

#[test]
fn what_was_not_delivered_is_said_when_it_stays_long() {
    let mut it = Delivering::new();
    it.job("j", "account,file,type\nK0001,a.pdf,お知らせ\n", &[("a.pdf", "no pdf")]);
    it.settle();
    assert_eq!(it.results(), ["2 refused FILE-NOT-PDF"]);
    let report = it.world.names("reports").into_iter().find(|name| name.starts_with("delivery")).unwrap();
    let report = std::fs::read_to_string(it.world.spool(&format!("reports/{report}"))).unwrap();
    assert!(report.trim_end().ends_with(",outgoing/j/a.pdf"), "{report}");
    assert!(it.world.alarm_codes().is_empty());
    // The folder's own time is the machine's.
    let today = Timestamp(
        i64::try_from(
            it.path("j")
                .metadata()
                .unwrap()
                .modified()
                .unwrap()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap(),
    );
    it.stage.step(today.plus(15 * DAY)).unwrap();
    assert_eq!(it.world.alarm_codes(), [format!("DELIVERY-HELD {INSURER}")]);
    std::fs::write(it.path("j/a.pdf"), PDF).unwrap();
    std::fs::write(it.path("j/delivery.csv"), "account,file,type\nK0001,a.pdf,お知らせ\n").unwrap();
    it.settle();
    assert_eq!(it.results().last().unwrap(), "2 placed", "corrected and put again");
    it.stage.step(today.plus(15 * DAY)).unwrap();
    assert!(it.world.alarm_codes().is_empty());
}

pub(super) fn recall_lines(it: &Delivering) -> Vec<String> {
    let mut lines = Vec::new();
    for name in it.world.names("reports").into_iter().filter(|name| name.starts_with("recall-")) {
        let text = std::fs::read_to_string(it.world.spool(&format!("reports/{name}"))).unwrap();
        let mut reader = csv::Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
        for record in reader.records() {
            let record = record.unwrap();
            lines.push(
                format!("{} {} {} {}", &record[0], &record[1], &record[5], &record[8]).trim_end().to_owned(),
            );
        }
    }
    lines
}

#[test]
fn each_recall_has_a_report_of_its_own_whatever_time_its_file_carries() {
    let mut it = Delivering::new();
    it.job(
        "j",
        "account,file,type\nK0001,a.pdf,お知らせ\nK0005,b.pdf,お知らせ\n",
        &[("a.pdf", PDF), ("b.pdf", PDF)],
    );
    it.settle();
    // As `cp -p` and `put -p` leave it: the time of what was copied.
    for document in it.world.ledger.documents_in_all() {
        std::fs::create_dir_all(it.path("back")).unwrap();
        let path = it.path("back/recall.csv");
        std::fs::write(&path, format!("document\n{}\n", document.id)).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_000_000)).unwrap();
        drop(file);
        it.settle();
        // Longer than the tick by which a file system counts; the daemon waits for a file to settle.
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    assert_eq!(recall_lines(&it), ["2 recalled no", "2 recalled no"]);
}

#[test]
fn an_insurer_takes_documents_back_and_learns_who_had_read_them() {
    for point in ["", "recall taken", "recalled", "recall reported"] {
        let mut it = Delivering::new();
        let rows = "account,file,type\nK0001,a.pdf,お知らせ\nK0005,b.pdf,お知らせ\nS0001,c.pdf,お知らせ\n";
        it.job("j", rows.replace("S0001,", "K0001,"), &[("a.pdf", PDF), ("b.pdf", PDF), ("c.pdf", PDF)]);
        it.settle();
        let mut documents = it.world.ledger.documents_in_all();
        let kept = documents.pop().unwrap();
        let mut read = documents[1].clone();
        read.fetched = Some((it.now, it.now));
        it.world.ledger.add_document(read);
        let mut foreign = kept.clone();
        foreign.id.serial = 900;
        foreign.insurer = code(crate::small_world::OTHER_INSURER);
        it.world.ledger.add_document(foreign.clone());
        let sheet = format!(
            "document,why\n{},誤配信\n{},誤配信\n{},x\n{},x\nnonsense,x\n",
            documents[0].id.to_string().to_lowercase(),
            documents[1].name(),
            foreign.id,
            DocumentId { epoch: 1, serial: 777 },
        );
        std::fs::create_dir_all(it.path("back")).unwrap();
        std::fs::write(it.path("back/recall.csv"), &sheet).unwrap();
        it.stage.step(it.now).unwrap();
        it.stage.points = Points::stopping(move |at| at == point);
        it.now = it.now.plus(10 * SECOND);
        assert_eq!(it.stage.step(it.now).is_err(), !point.is_empty(), "{point}");
        it.stage.points = Points::default();
        it.now = it.now.plus(10 * SECOND);
        it.stage.step(it.now).unwrap();
        let expected = [
            "2 recalled no",
            "3 recalled yes",
            "4 refused  ROW-NO-DOCUMENT",
            "5 refused  ROW-NO-DOCUMENT",
            "6 refused  ROW-DOCUMENT",
        ];
        assert_eq!(recall_lines(&it), expected, "{point}");
        let left: Vec<_> = it.world.ledger.documents_in_all().iter().map(|d| d.id).collect();
        assert_eq!(left, [kept.id, foreign.id], "{point}");
        assert!(it.world.names("outgoing").is_empty() && it.world.names(".taking").is_empty(), "{point}");
    }
}
