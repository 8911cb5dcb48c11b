use std::path::Path;
use std::sync::RwLock;

use super::*;
use crate::model::card::{AccountCard, InsurerCard, OfficeCard, Salt};
use crate::model::ids::DocumentId;
use crate::model::mail::MailState;
use crate::model::party::{Account, Actor, Insurer, Office, Role};
use crate::rules::notice::Templates;
use crate::rules::retention::expires_at;
use crate::small_world::{INSURER, account, at, code, party};
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::index::MemoryIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::keys::Keys;
use crate::store::ledger::{MailFilter, Op};
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::receipts::Receipts;
use crate::store::recover::LedgerOptions;
use crate::store::root::Root;
use crate::store::sample;
use crate::work::alarms::AlarmBoard;
use crate::work::notify::NoticePolicy;
use crate::work::ports::RecordingMailer;

const TOKYO: Tz = chrono_tz::Asia::Tokyo;

#[test]
fn the_fewest_days_that_are_not_fewer_than_what_is_left() {
    let cases = [
        (15, 70, None),
        (14, 70, Some(14)),
        (4, 70, Some(14)),
        (3, 70, Some(3)),
        (0, 70, Some(3)),
        (-1, 70, None),
        (14, 14, None),
        (3, 14, Some(3)),
        (3, 3, None),
    ];
    for (left, in_all, expected) in cases {
        assert_eq!(level(&[14, 3], left, in_all), expected, "{left} of {in_all}");
    }
    assert_eq!(level(&[], 3, 70), None);
}

/// One run over a data root; dropped without ceremony, as by a crash.
struct Run {
    ledger: Arc<JournalLedger<MemoryIndex>>,
    reminders: Reminders,
}

fn start(root: &Path, now: Timestamp) -> Run {
    let opened = Root::open(root).unwrap();
    let keys = Arc::new(Keys::load_or_make(&opened.keys()).unwrap());
    let blobs: Arc<dyn Blobs> = Arc::new(LocalBlobs::open(&opened.blobs(), BlobOptions::default()).unwrap());
    let (ledger, _) = JournalLedger::open(opened, &LedgerOptions::default(), now).unwrap();
    let ledger = Arc::new(ledger);
    let port: Arc<dyn Ledger> = ledger.clone();
    let alarms: Arc<AlarmBoard> = Arc::default();
    if port.insurers().unwrap().is_empty() {
        found(&*port, &*blobs, now);
    }
    let receipts = Receipts { ledger: port.clone(), blobs: blobs.clone(), keys, zone: TOKYO };
    let policy = NoticePolicy {
        from: "todoke@gateway.example.jp".into(),
        from_name: "todoke".into(),
        contact: String::new(),
        domain: "gateway.example.jp".into(),
        gathering: crate::rules::mailbox::Gathering { gather: 0, interval: 0 },
        return_path: None,
        dkim: None,
        zone: TOKYO,
    };
    let notifier = Arc::new(Notifier {
        ledger: port.clone(),
        blobs,
        receipts: Arc::new(receipts),
        templates: Arc::new(RwLock::new(Arc::new(Templates::builtin().unwrap()))),
        mailer: Arc::new(RecordingMailer::default()),
        alarms: alarms.clone(),
        policy: Arc::new(RwLock::new(Arc::new(policy))),
    });
    let reminders =
        Reminders { ledger: port, notifier, days: Box::new(|_| vec![14, 3]), zone: TOKYO, alarms };
    Run { ledger, reminders }
}

/// An insurer, an office, two accounts.
fn found(ledger: &dyn Ledger, blobs: &dyn Blobs, now: Timestamp) {
    let salt = || Salt("00".repeat(16));
    let sync = |card: crate::model::card::CardRef| {
        blobs.sync(std::slice::from_ref(&card.blob)).unwrap();
        card
    };
    let name = "東京見本健康保険組合".to_owned();
    let card = sync(cards::put(blobs, &InsurerCard { salt: salt(), name, mail: None }, now).unwrap());
    let insurer = Insurer { code: code(INSURER), standing: Standing::Active, card };
    let commit = |op| ledger.commit(op, Actor::Daemon, now).unwrap();
    commit(Op::SetInsurer { insurer, new: true });
    let name = "株式会社見本工業".to_owned();
    let card = sync(cards::put(blobs, &OfficeCard { salt: salt(), name }, now).unwrap());
    let office = Office {
        insurer: code(INSURER),
        code: OfficeCode::parse("1234").unwrap(),
        standing: Standing::Active,
        card,
    };
    commit(Op::SetOffice { office, new: true });
    for id in ["K0001", "K0002"] {
        let card =
            AccountCard { salt: salt(), user_name: "総務課".into(), mail: "soumu@example.jp".into() };
        let card = sync(cards::put(blobs, &card, now).unwrap());
        let account = Account { card, ..party(id, INSURER, Role::Office, &["1234"]) };
        commit(Op::SetAccount { account, new: true });
    }
}

impl Run {
    fn place(&self, serial: u64, id: &str, now: Timestamp) -> DocumentId {
        let mut document = sample::document(1, serial, "1234", now);
        document.account = account(id);
        document.expires_at = expires_at(now, 70, TOKYO);
        let id = document.id;
        let rows = vec![(document, sample::digest(serial << 20))];
        self.ledger.commit(Op::Place(rows), Actor::Daemon, now).unwrap();
        id
    }

    fn told(&self, id: &str) -> Vec<String> {
        let filter = MailFilter { account: Some(account(id)), ..MailFilter::default() };
        let mails = self.ledger.mails(&filter, 100).unwrap();
        assert!(mails.iter().all(|mail| mail.state == MailState::Queued));
        let about = mails.into_iter().filter_map(|mail| match mail.subject {
            Subject::Notice { about, .. } => Some(about),
            _ => None,
        });
        about.collect()
    }
}

/// Seventy days, a look every six hours, a crash every day.
#[test]
fn each_mail_once_over_every_restart_and_none_for_what_was_fetched_or_held() {
    let dir = tempfile::tempdir().unwrap();
    let begin = at("2026-11-23T10:00:00+09:00");
    let mut run = start(dir.path(), begin);
    let (one, read, held) =
        (run.place(1, "K0001", begin), run.place(2, "K0002", begin), run.place(3, "K0002", begin));
    run.place(4, "K0001", begin);
    let commit = |run: &Run, op| run.ledger.commit(op, Actor::Daemon, begin).unwrap();
    commit(&run, Op::Fetched(read));
    commit(&run, Op::HoldDocument { id: held, legal: false, card: sample::card(9) });
    let mut when = Vec::new();
    for quarter in 0..71 * 4 {
        let now = begin.plus(quarter * DAY / 4);
        if quarter % 4 == 0 {
            drop(run);
            run = start(dir.path(), now);
        }
        for _ in 0..run.reminders.step(now).unwrap() {
            when.push(now.date_in(TOKYO).to_string());
        }
    }
    assert_eq!(when, ["2027-01-18", "2027-01-29"]);
    assert_eq!(run.told("K0001"), ["K0001 2027-02-01 3", "K0001 2027-02-01 14"]);
    assert_eq!(run.told("K0002"), [] as [String; 0]);
    assert!(run.ledger.document(one).unwrap().is_some());
}

#[test]
fn what_a_stopped_daemon_missed_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let begin = at("2026-11-23T10:00:00+09:00");
    let run = start(dir.path(), begin);
    run.place(1, "K0001", begin);
    assert_eq!(run.reminders.step(begin).unwrap(), 0);
    drop(run);
    let run = start(dir.path(), begin.plus(69 * DAY));
    assert_eq!(run.reminders.step(begin.plus(69 * DAY)).unwrap(), 1);
    assert_eq!(run.reminders.step(begin.plus(70 * DAY)).unwrap(), 0);
    assert_eq!(run.told("K0001"), ["K0001 2027-02-01 3"]);
}

/// A hold that ends late, or after the last day: the account is reminded all the same, of just that document, before it goes.
#[test]
fn what_a_hold_kept_from_being_told_is_told_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let begin = at("2026-11-23T10:00:00+09:00");
    let run = start(dir.path(), begin);
    let (late, over, early) =
        (run.place(1, "K0001", begin), run.place(2, "K0001", begin), run.place(3, "K0001", begin));
    run.place(4, "K0001", begin);
    let commit = |op, now| run.ledger.commit(op, Actor::Daemon, now).unwrap();
    for id in [late, over, early] {
        commit(Op::HoldDocument { id, legal: true, card: sample::card(id.serial + 9) }, begin);
    }
    let step = |now| run.reminders.step(now).unwrap();
    let release = |id, now| {
        let until = released_until(&[14, 3], now, TOKYO);
        commit(Op::ReleaseDocument { id, until }, now);
        let document = run.ledger.document(id).unwrap().unwrap();
        (last_day(document.expires_at, TOKYO).to_string(), document.prolonged_at.is_some())
    };
    let last_day_of = ("2027-02-01".to_owned(), false);
    assert_eq!(release(early, begin.plus_days(58)), last_day_of, "it is told of with all others, in time");
    assert_eq!(step(begin.plus_days(58)), 1);
    assert_eq!(step(begin.plus_days(68)), 1);
    assert_eq!(release(late, begin.plus_days(69)), ("2027-02-03".to_owned(), true));
    assert_eq!(step(begin.plus_days(69)), 1);
    assert_eq!(release(over, begin.plus_days(90)), ("2027-02-24".to_owned(), true));
    assert_eq!(step(begin.plus_days(90)), 1);
    assert_eq!(step(begin.plus_days(91)), 0);
    let told = run.told("K0001");
    assert_eq!(told.len(), 4);
    assert!(told[0].starts_with("K0001 2027-02-24 3 prolonged "), "{told:?}");
    assert!(told[1].starts_with("K0001 2027-02-03 3 prolonged "), "{told:?}");
    let document = |id| run.ledger.document(id).unwrap().unwrap();
    let was_told = |id| was_told(&*run.ledger, &document(id), &[14, 3], TOKYO).unwrap();
    assert!(was_told(early) && was_told(over));
    let unseen = document(run.place(5, "K0002", begin));
    assert!(!super::was_told(&*run.ledger, &unseen, &[14, 3], TOKYO).unwrap());
}

#[test]
fn a_reminder_names_the_folder_of_announcements() {
    use base64::Engine as _;
    let dir = tempfile::tempdir().unwrap();
    let begin = at("2026-11-23T10:00:00+09:00");
    let run = start(dir.path(), begin);
    let mut document = sample::document(1, 1, "1234", begin);
    document.account = account("K0001");
    document.expires_at = expires_at(begin, 70, TOKYO);
    document.announcement = Some(document.id);
    run.ledger.commit(Op::Place(vec![(document, sample::digest(7))]), Actor::Daemon, begin).unwrap();
    assert_eq!(run.reminders.step(begin.plus_days(60)).unwrap(), 1);
    let mail = run.ledger.mails(&MailFilter::default(), 1).unwrap().remove(0);
    let card: crate::model::card::MailCard =
        cards::get(run.reminders.notifier.blobs.as_ref(), &mail.card).unwrap();
    let raw = base64::engine::general_purpose::STANDARD.decode(card.message).unwrap();
    let (text, _) = crate::rules::notice::read(&raw).unwrap();
    assert!(text.body.contains("/announcements/") && !text.body.contains("/outbox/"), "{}", text.body);
}
