//! Arrivals, the mail queue and what comes back, over the real journal and blobs: days pass in a millisecond.

use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use super::alarms::AlarmBoard;
use super::bounces::{BouncePolicy, Bounces};
use super::notify::{NoticePolicy, Notifier};
use super::ports::{Delivery, Envelope, Mailer, RecordingMailer};
use super::sender::{Desk, SendPolicy, Sender};
use crate::model::card::{AccountCard, CardRef, InsurerCard, OfficeCard};
use crate::model::document::Document;
use crate::model::event::{MailResult, Series};
use crate::model::finding::Language;
use crate::model::ids::{DocumentId, MailId, OfficeCode};
use crate::model::mail::{Mail, MailState, Report, Subject};
use crate::model::party::{Account, Actor, Insurer, Office, Role, Standing};
use crate::model::time::{Clock as _, DAY, SECOND, SetClock, Timestamp};
use crate::rules::lanes::LaneRule;
use crate::rules::mailbox::Gathering;
use crate::rules::notice::Templates;
use crate::rules::retry::Schedule;
use crate::small_world::{INSURER, account, code, party};
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::index::MemoryIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::keys::Keys;
use crate::store::ledger::{Ledger, MailFilter, Op, Queue};
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::receipts::Receipts;
use crate::store::recover::LedgerOptions;
use crate::store::root::Root;
use crate::store::sample;

const NOW: Timestamp = sample::NOW;
const HOUR: i64 = 3600 * SECOND;

struct Post<'a> {
    root: &'a Path,
    ledger: Arc<JournalLedger<MemoryIndex>>,
    blobs: Arc<LocalBlobs>,
    alarms: Arc<AlarmBoard>,
    clock: Arc<SetClock>,
    host: Arc<RecordingMailer>,
    notifier: Arc<Notifier>,
    sender: Sender,
    bounces: Bounces,
}

impl<'a> Post<'a> {
    fn start(root: &'a Path, now: Timestamp) -> Self {
        let opened = Root::open(root).unwrap();
        let blobs = Arc::new(LocalBlobs::open(&opened.blobs(), BlobOptions::default()).unwrap());
        let keys = Arc::new(Keys::load_or_make(&root.join("keys")).unwrap());
        let (journal, _) = JournalLedger::open(opened, &LedgerOptions::default(), now).unwrap();
        let journal = Arc::new(journal);
        let ledger: Arc<dyn Ledger> = journal.clone();
        let alarms = Arc::new(AlarmBoard::default());
        let clock = Arc::new(SetClock::at(now));
        let host = Arc::new(RecordingMailer::default());
        let receipts = Arc::new(Receipts {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            keys,
            zone: chrono_tz::Asia::Tokyo,
        });
        let policy = NoticePolicy {
            from: "no-reply@gateway.example.jp".into(),
            from_name: "todoke".into(),
            contact: String::new(),
            domain: "gateway.example.jp".into(),
            gathering: Gathering { gather: 60 * SECOND, interval: HOUR },
            return_path: Some("bounce+{id}@gateway.example.jp".into()),
            dkim: None,
            zone: chrono_tz::Asia::Tokyo,
        };
        let notifier = Arc::new(Notifier {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            receipts,
            templates: Arc::new(RwLock::new(Arc::new(Templates::builtin().unwrap()))),
            mailer: host.clone(),
            alarms: alarms.clone(),
            policy: Arc::new(RwLock::new(Arc::new(policy))),
        });
        let send = SendPolicy {
            schedule: Schedule::default(),
            connections: 4,
            lane: LaneRule { connections: 2, per_minute: 0 },
            lanes: std::collections::BTreeMap::new(),
        };
        let sender = Sender {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            mailer: host.clone(),
            notifier: notifier.clone(),
            alarms: alarms.clone(),
            policy: Arc::new(RwLock::new(Arc::new(send))),
            clock: clock.clone(),
            desk: Desk::default(),
        };
        let bounces = Bounces {
            ledger: ledger.clone(),
            notifier: notifier.clone(),
            alarms: alarms.clone(),
            maildir: Some(root.join("bounces")),
            policy: Arc::new(RwLock::new(Arc::new(BouncePolicy {
                keep: 14 * DAY,
                keep_bytes: 1 << 20,
                failures: (3, 14 * DAY),
                operator: None,
            }))),
            told: Mutex::default(),
            standing: Mutex::default(),
        };
        Self { root, ledger: journal, blobs, alarms, clock, host, notifier, sender, bounces }
    }

    /// With an insurer, two offices, and accounts of `mails`: K0001 of office 1234, K0002 of 5678, ...
    fn found(root: &'a Path, mails: &[(&str, Language)]) -> Self {
        let post = Self::start(root, NOW);
        let salt = || cards::salt().unwrap();
        post.sets_contact("tantou@kenpo.example", true);
        for (n, (mail, language)) in (1..).zip(mails) {
            let office = OfficeCode::parse(&(1111 * n).to_string()).unwrap();
            let card = post.card(&OfficeCard { salt: salt(), name: format!("見本工業第{n}") });
            let office = Office { insurer: code(INSURER), code: office, standing: Standing::Active, card };
            post.commit(Op::SetOffice { office: office.clone(), new: true });
            let id = format!("K000{n}");
            let card = post.address_card(mail);
            let account = Account {
                card,
                language: *language,
                ..party(&id, INSURER, Role::Office, &[office.code.as_str()])
            };
            post.commit(Op::SetAccount { account, new: true });
        }
        post
    }

    fn card(&self, card: &impl serde::Serialize) -> CardRef {
        let card = cards::put(self.blobs.as_ref(), card, NOW).unwrap();
        self.blobs.sync(std::slice::from_ref(&card.blob)).unwrap();
        card
    }

    /// The insurer's contact.
    fn sets_contact(&self, mail: &str, new: bool) {
        let name = "東京見本健康保険組合".to_owned();
        let salt = cards::salt().unwrap();
        let card = self.card(&InsurerCard { salt, name, mail: Some(mail.into()) });
        let insurer = Insurer { code: code(INSURER), standing: Standing::Active, card };
        self.commit(Op::SetInsurer { insurer, new });
    }

    fn address_card(&self, mail: &str) -> CardRef {
        self.card(&AccountCard {
            salt: cards::salt().unwrap(),
            user_name: "総務課".into(),
            mail: mail.into(),
        })
    }

    fn commit(&self, op: Op) {
        self.ledger.commit(op, Actor::Daemon, self.clock.now()).unwrap();
    }

    fn place(&self, id: &str) -> DocumentId {
        let now = self.clock.now();
        let serial = self.ledger.next_serial(Series::Document, now).unwrap();
        let to = self.ledger.account(&account(id)).unwrap().unwrap();
        let document = Document {
            account: to.id,
            office: to.offices[0].clone(),
            placed_at: now,
            expires_at: now.plus_days(70),
            ..sample::document(1, serial, "1111", now)
        };
        let id = document.id;
        self.commit(Op::Place(vec![(document, sample::digest(serial))]));
        id
    }

    /// Announces and sends; the mails that the host took.
    fn step(&self) -> Vec<(String, String, String)> {
        let before = self.host.sent().len();
        self.notifier.step(self.clock.now()).unwrap();
        self.sender.step().unwrap();
        let sent = self.host.sent();
        let read = |raw: &[u8]| {
            let message = mail_parser::MessageParser::default().parse(raw).unwrap().into_owned();
            (message.subject().unwrap().to_owned(), message.body_text(0).unwrap().into_owned())
        };
        sent[before..]
            .iter()
            .map(|(envelope, raw)| {
                let (subject, body) = read(raw);
                (envelope.to.clone(), subject, body)
            })
            .collect()
    }

    fn mails(&self) -> Vec<Mail> {
        let mut mails = self.ledger.mails(&MailFilter::default(), 100).unwrap();
        mails.reverse();
        mails
    }

    fn last(&self) -> Mail {
        self.mails().pop().unwrap()
    }

    /// Somebody's host leaves a report about this mail.
    fn comes_back(&self, mail: &Mail, fields: &str, salt: &str) {
        let mark = mail.message_id.split('@').next().unwrap();
        self.leave(&format!("bounce+{mark}@gateway.example.jp"), fields, salt);
    }

    fn leave(&self, to: &str, fields: &str, salt: &str) {
        let new = self.root.join("bounces/new");
        std::fs::create_dir_all(&new).unwrap();
        let whose = if fields.contains("Final-Recipient") {
            ""
        } else {
            "Final-Recipient: rfc822; soumu@example.jp\n"
        };
        let text = format!(
            "From: MAILER-DAEMON@mx.example.jp\nTo: {to}\nX-Salt: {salt}\nMIME-Version: 1.0\nContent-Type: multipart/report; \
             report-type=delivery-status; boundary=x\n\n--x\nContent-Type: text/plain\n\nIt came back.\n--x\n\
             Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n{whose}{fields}\n\n--x--\n"
        );
        std::fs::write(new.join(format!("{}.{salt}.mx", self.clock.now().0)), text).unwrap();
    }

    fn alarm_codes(&self) -> Vec<String> {
        self.alarms.list().into_iter().map(|alarm| alarm.code).collect()
    }
}

const HARD: &str = "Action: failed\nStatus: 5.1.1";
const SOFT: &str = "Action: failed\nStatus: 5.2.2";

#[test]
fn accounts_that_share_a_mailbox_share_its_mails() {
    let dir = tempfile::tempdir().unwrap();
    let mails = [
        ("soumu@example.jp", Language::Ja),
        ("soumu@EXAMPLE.JP", Language::En),
        ("keiri@example.jp", Language::En),
    ];
    let post = Post::found(dir.path(), &mails);
    for id in ["K0001", "K0001", "K0002", "K0003"] {
        post.place(id);
    }
    assert_eq!(post.step(), [], "they gather");
    post.clock.advance(60 * SECOND);
    let mut sent = post.step();
    sent.sort();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!((sent[0].0.as_str(), sent[0].2.contains("様")), ("keiri@example.jp", false));
    let (to, subject, body) = &sent[1];
    assert_eq!(to, "soumu@example.jp");
    assert!(subject.starts_with("見本工業第1 様 ほか1事業所: "), "{subject}");
    assert!(
        subject.contains(" / 見本工業第1 and 1 more: ") && subject.contains("3 document(s)"),
        "{subject}"
    );
    assert!(body.find("■ 見本工業第2").unwrap() < body.find("* 見本工業第2").unwrap(), "{body}");
    assert!(
        body.contains("アカウント K0001") && body.contains("アカウント K0002") && body.contains("2件"),
        "{body}"
    );

    // Both accounts find it, once.
    for id in ["K0001", "K0002"] {
        let filter = MailFilter { account: Some(account(id)), ..MailFilter::default() };
        assert_eq!(post.ledger.mails(&filter, 10).unwrap().len(), 1, "{id}");
    }
    // The next one comes after the interval, whichever account it is for.
    post.clock.advance(60 * SECOND);
    post.place("K0002");
    post.clock.advance(58 * 60 * SECOND);
    assert_eq!(post.step(), []);
    post.clock.advance(60 * SECOND);
    let next = post.step();
    assert_eq!(next.len(), 1);
    let one = next[0].1.starts_with("見本工業第2: ") && next[0].1.contains(" 1 document(s)");
    assert!(one, "one language is left: {}", next[0].1);
}

#[test]
fn a_mail_waits_its_schedule_and_is_given_up_after_five_days() {
    let dir = tempfile::tempdir().unwrap();
    let post = Post::found(dir.path(), &[("soumu@example.jp", Language::Ja)]);
    post.place("K0001");
    post.clock.advance(60 * SECOND);
    post.host.will((0..100).map(|_| Delivery::Deferred { reply: "451 4.7.1".into() }));
    let (mut tries, start) = (0, post.clock.now());
    while post.clock.now().since(start) < 6 * DAY {
        post.step();
        let mail = post.last();
        tries = mail.attempts;
        if mail.state == MailState::Failed {
            break;
        }
        assert!(!post.alarm_codes().iter().any(|code| code.starts_with("MAIL-GIVEN-UP")));
        post.clock.advance(mail.due_at.since(post.clock.now()).max(SECOND));
    }
    let mail = post.last();
    assert_eq!((mail.state, mail.last_reply.as_deref()), (MailState::Failed, Some("expired: 451 4.7.1")));
    assert!((30..40).contains(&tries), "{tries}");
    assert!(post.clock.now().since(start) <= 5 * DAY + HOUR);
    let alarm = format!("MAIL-GIVEN-UP {}", mail.id);
    assert!(post.alarm_codes().contains(&alarm));
    // Its address is not to blame.
    assert_eq!(post.ledger.marked_mailboxes(None, 10).unwrap(), []);
    post.host.forget();
    post.commit(Op::RetryMail(mail.id));
    assert_eq!(post.step().len(), 1);
    assert!(!post.alarm_codes().contains(&alarm), "over with the retry that succeeds");
}

#[test]
fn an_address_that_nobody_reads_gets_no_more_until_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let post =
        Post::found(dir.path(), &[("gone@example.jp", Language::Ja), ("keiri@example.jp", Language::Ja)]);
    post.place("K0001");
    post.clock.advance(60 * SECOND);
    post.host.will([Delivery::Failed { reply: "550 5.1.1".into() }]);
    assert_eq!(post.step(), []);
    let marked = post.ledger.marked_mailboxes(None, 10).unwrap();
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0].mark.as_ref().unwrap().status.as_deref(), Some("5.1.1"));

    // The insurer is told, once; the document waits for another announcement.
    for _ in 0..3 {
        post.bounces.step(post.clock.now()).unwrap();
    }
    let told = post.step();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "tantou@kenpo.example");
    assert!(
        told[0].1.contains("見本工業第1") && told[0].2.contains("K0001") && told[0].2.contains("5.1.1"),
        "{told:?}"
    );
    assert!(!told[0].2.contains('@'), "no address: {}", told[0].2);
    let arrival = post.mails()[0].id;
    assert_eq!(post.alarm_codes(), ["ADDRESS-UNREACHABLE".to_owned(), format!("MAIL-GIVEN-UP {arrival}")]);
    post.place("K0001");
    post.place("K0002");
    post.clock.advance(2 * HOUR);
    let others = post.step();
    assert_eq!(others.iter().map(|mail| mail.0.as_str()).collect::<Vec<_>>(), ["keiri@example.jp"]);
    assert_eq!(post.ledger.waiting(Queue::Announce).unwrap().0, 2);

    // Another address: both documents in one mail.
    let known = post.ledger.account(&account("K0001")).unwrap().unwrap();
    let changed = Account { card: post.address_card("new@example.jp"), ..known };
    post.commit(Op::SetAccount { account: changed, new: false });
    post.clock.advance(HOUR);
    let sent = post.step();
    assert_eq!((sent.len(), sent[0].0.as_str()), (1, "new@example.jp"));
    assert!(sent[0].2.contains("2件"), "{}", sent[0].2);
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(post.alarm_codes(), [""; 0], "nobody is reached there any more");
}

#[test]
fn what_comes_back_is_read_once_and_believed_with_its_mark_only() {
    let dir = tempfile::tempdir().unwrap();
    let post = Post::found(dir.path(), &[("soumu@example.jp", Language::Ja)]);
    let id = post.place("K0001");
    post.clock.advance(60 * SECOND);
    assert_eq!(post.step().len(), 1);
    let mail = post.last();
    let envelope = post.host.sent()[0].0.clone();
    let mark = mail.message_id.split('@').next().unwrap().to_owned();
    assert_eq!(envelope.from.as_deref(), Some(format!("bounce+{mark}@gateway.example.jp").as_str()));
    assert_eq!(envelope.id.as_deref(), Some(mark.as_str()));

    // Forged: the right number and other digits; no mark at all; no mail at all.
    let (number, _) = mark.split_once('.').unwrap();
    post.leave(&format!("bounce+{number}.0123456789abcdef@gateway.example.jp"), HARD, "forged");
    post.leave("no-reply@gateway.example.jp", HARD, "bare");
    std::fs::write(dir.path().join("bounces/new/1.noise"), b"\0\0\0").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("bounces/new/2.link")).unwrap();
    let before = post.ledger.head().seq;
    assert!(!post.bounces.step(post.clock.now()).unwrap());
    assert_eq!(post.ledger.marked_mailboxes(None, 10).unwrap(), []);
    assert_eq!((post.last().report, post.ledger.head().seq), (None, before), "nothing is recorded of it");

    // Delayed, then a failure: the same file twice, and again after a crash before it was renamed.
    post.comes_back(&mail, "Action: delayed\nStatus: 4.4.1", "a");
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(post.last().report.unwrap().report, Report::Delayed);
    post.comes_back(&mail, HARD, "b");
    post.bounces.step(post.clock.now()).unwrap();
    let head = post.ledger.head().seq;
    let cur = dir.path().join("bounces/cur");
    for entry in std::fs::read_dir(&cur).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.ends_with(":2,S"), "{name}");
        if name.contains(".b.") {
            std::fs::copy(&path, cur.join(name.replace(":2,S", "x:2,"))).unwrap();
            crate::store::durable::rename(&path, &cur.join(name.replace(":2,S", ":2,"))).unwrap();
        }
    }
    post.bounces.step(post.clock.now()).unwrap();
    let mails: Vec<MailId> = post.mails().iter().map(|mail| mail.id).collect();
    assert_eq!(mails.len(), 2, "the arrival and what the insurer is told");
    assert_eq!(post.ledger.head().seq, head, "read once");
    let marked = post.ledger.marked_mailboxes(None, 10).unwrap();
    assert_eq!(marked[0].mark.as_ref().map(|mark| (mark.mail, mark.soft)), Some((mail.id, false)));
    assert_eq!(post.ledger.waiting(Queue::Announce).unwrap().0, 1, "{id} waits again");

    // The operator knows better.
    assert_eq!(post.step().len(), 1, "the insurer's");
    post.commit(Op::ResumeAddress(marked[0].tag));
    post.clock.advance(2 * HOUR);
    assert_eq!(post.step().len(), 1);
    post.bounces.step(post.clock.now()).unwrap();
    assert!(!post.alarm_codes().contains(&"ADDRESS-UNREACHABLE".to_owned()));

    // What was read goes after its days.
    post.clock.advance(400 * 365 * DAY);
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(std::fs::read_dir(&cur).unwrap().count(), 0);
    assert!(std::fs::read_to_string("/etc/passwd").is_ok());
}

#[test]
fn failures_that_may_pass_add_up_and_a_delivery_forgives_them() {
    let dir = tempfile::tempdir().unwrap();
    let post = Post::found(dir.path(), &[("soumu@example.jp", Language::Ja)]);
    let round = |fields: &str, n: u32| {
        post.place("K0001");
        post.clock.advance(2 * HOUR);
        post.step();
        let mail = post.mails().into_iter().rev().find(|m| matches!(m.subject, Subject::Arrival(_))).unwrap();
        post.comes_back(&mail, fields, &format!("r{n}"));
        post.bounces.step(post.clock.now()).unwrap();
        post.ledger.marked_mailboxes(None, 10).unwrap().len()
    };
    assert_eq!((round(SOFT, 1), round(SOFT, 2)), (0, 0));
    assert_eq!(round("Action: delivered\nStatus: 2.1.5", 3), 0);
    assert_eq!((round(SOFT, 4), round(SOFT, 5)), (0, 0));
    post.clock.advance(15 * DAY);
    assert_eq!((round(SOFT, 6), round(SOFT, 7), round(SOFT, 8)), (0, 0, 1), "two were too long ago");
    let mark = post.ledger.marked_mailboxes(None, 1).unwrap().remove(0).mark.unwrap();
    assert!(mark.soft && mark.status.as_deref() == Some("5.2.2"));
}

#[test]
fn nothing_is_lost_by_a_crash_and_at_worst_a_mail_goes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let first = {
        let post = Post::found(dir.path(), &[("soumu@example.jp", Language::Ja)]);
        post.place("K0001");
        post.clock.advance(60 * SECOND);
        post.notifier.step(post.clock.now()).unwrap();
        // In a lane, not sent.
        post.sender.feed(post.clock.now()).unwrap();
        post.last().message_id
    };
    let post = Post::start(dir.path(), NOW.plus(61 * SECOND));
    assert_eq!(post.step().len(), 1);
    assert_eq!(post.last().message_id, first);
    assert_eq!(post.last().state, MailState::Sent);
    drop(post);
    // The index was rebuilt from the journal: what is known of mailboxes with it.
    let post = Post::start(dir.path(), NOW.plus(62 * SECOND));
    let mail = post.last();
    assert!(post.ledger.mailbox(mail.mailbox.unwrap()).unwrap().unwrap().announced_at.is_some());
    assert_eq!(post.step(), []);
}

#[test]
fn what_several_mails_announced_waits_again_whichever_of_them_marked_the_address() {
    type Fails = fn(&Post<'_>, &Mail, &str);
    let reported: Fails = |post, mail, salt| post.comes_back(mail, HARD, salt);
    let passing: Fails = |post, mail, salt| post.comes_back(mail, SOFT, salt);
    for (how, fails, count) in
        [("reported", Some(reported), 2), ("passing", Some(passing), 3), ("refused", None, 2)]
    {
        let dir = tempfile::tempdir().unwrap();
        let post = Post::found(dir.path(), &[("soumu@example.jp", Language::Ja)]);
        let later = Delivery::Deferred { reply: "451 4.7.1".into() };
        for _ in 0..count {
            post.place("K0001");
            post.clock.advance(2 * HOUR);
            if fails.is_none() {
                // Each waits until both are refused at the same time.
                post.host.will([later.clone(), later.clone(), later.clone()]);
            }
            post.step();
        }
        let arrivals: Vec<Mail> =
            post.mails().into_iter().filter(|mail| matches!(mail.subject, Subject::Arrival(_))).collect();
        assert_eq!(arrivals.len(), count, "{how}");
        if let Some(fails) = fails {
            // The youngest is read first.
            for (n, mail) in arrivals.iter().rev().enumerate() {
                fails(&post, mail, &format!("{n}"));
                post.bounces.step(post.clock.now()).unwrap();
            }
        } else {
            post.host.forget();
            let ids = arrivals.iter().map(|mail| mail.id);
            let refused =
                ids.clone().map(|id| (id, MailResult::Failed { reply: "550 5.1.1".into() })).collect();
            post.commit(Op::TryMails(refused));
            ids.for_each(|mail| post.commit(Op::MarkAddress { mail, status: Some("5.1.1".into()) }));
        }
        let waiting = |post: &Post<'_>| post.ledger.waiting(Queue::Announce).unwrap().0;
        assert_eq!(waiting(&post), count as u64, "{how}");
        // Told twice of the same mail, nothing is given back twice.
        if how == "reported" {
            post.comes_back(&arrivals[0], HARD, "again");
            post.bounces.step(post.clock.now()).unwrap();
        }
        post.changes_address("K0001", "right@example.jp");
        post.clock.advance(2 * HOUR);
        let sent = post.step();
        let told: Vec<_> = sent.iter().filter(|mail| mail.0 == "right@example.jp").collect();
        let [told] = told[..] else { panic!("{how}: {sent:?}") };
        assert!(told.2.contains(&format!("{count}件")), "{how}: {}", told.2);
        if how == "reported" {
            post.comes_back(&arrivals[1], HARD, "late");
            post.bounces.step(post.clock.now()).unwrap();
        }
        assert_eq!(waiting(&post), 0, "{how}: told once");

        // An index that is made anew says the same of documents and mailboxes.
        let seen = |post: &Post<'_>| {
            let tag = arrivals[0].mailbox.unwrap();
            (post.ledger.mailbox(tag).unwrap(), post.mails(), waiting(post))
        };
        let before = seen(&post);
        let now = post.clock.now();
        drop(post);
        assert_eq!(seen(&Post::start(dir.path(), now)), before, "{how}");
    }
}

#[test]
fn a_dead_member_of_a_shared_address_stops_no_mail() {
    let dir = tempfile::tempdir().unwrap();
    let post = Post::found(dir.path(), &[("soumu@example.jp", Language::Ja)]);
    let member = |status: &str, to: &str| {
        format!(
            "Original-Recipient: rfc822;soumu@example.jp\nFinal-Recipient: rfc822;{to}\nAction: failed\nStatus: {status}"
        )
    };
    for n in 0..5 {
        post.place("K0001");
        post.clock.advance(2 * HOUR);
        assert_eq!(post.step().len(), 1, "mail {n} goes out");
        let status = if n == 0 { "5.1.1" } else { "5.2.2" };
        post.comes_back(&post.last(), &member(status, "yamada@other.example.com"), &format!("m{n}"));
        post.bounces.step(post.clock.now()).unwrap();
        assert_eq!(post.last().report.unwrap().report, Report::Member);
        assert_eq!(post.alarm_codes(), ["MAIL-MEMBER K0001"]);
    }
    assert_eq!(post.ledger.marked_mailboxes(None, 10).unwrap(), []);
    let text = post.alarms.list().remove(0).text;
    assert!(text.contains("5.2.2") && !text.contains('@'), "{text}");
    post.clock.advance(15 * DAY);
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(post.alarm_codes(), [""; 0], "the list was corrected");

    // The address itself, as its own host calls it.
    post.comes_back(&post.last(), &member("5.1.1", "Soumu@mx1.example.jp"), "own");
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(post.ledger.marked_mailboxes(None, 10).unwrap().len(), 1);
}

#[test]
fn a_mail_that_failed_behind_the_next_host_is_given_up_aloud_and_can_be_sent_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let post = Post::found(dir.path(), &[("soumu@example.jp", Language::Ja)]);
    post.place("K0001");
    post.clock.advance(60 * SECOND);
    assert_eq!(post.step().len(), 1);
    let mail = post.last();
    let retry = || post.ledger.commit(Op::RetryMail(mail.id), Actor::Daemon, post.clock.now());
    let dropped = Op::TryMail { id: mail.id, result: MailResult::Dropped };
    assert!(retry().is_err(), "it is thought to be there");
    assert!(post.ledger.commit(dropped, Actor::Daemon, post.clock.now()).is_err());
    for salt in ["first", "second"] {
        post.comes_back(&mail, "Action: failed\nStatus: 4.4.7", salt);
        post.bounces.step(post.clock.now()).unwrap();
        assert_eq!(post.alarm_codes(), [format!("MAIL-GIVEN-UP {}", mail.id)]);
        let text = post.alarms.list().remove(0).text;
        assert!(text.contains("account K0001") && text.contains("4.4.7"), "{text}");
        if salt == "first" {
            retry().unwrap();
            assert_eq!(post.step().len(), 1);
            assert_eq!((post.last().state, post.last().report), (MailState::Sent, None));
            post.bounces.step(post.clock.now()).unwrap();
            assert_eq!(post.alarm_codes(), [""; 0], "sent once more");
        }
    }
    post.changes_address("K0001", "right@example.jp");
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(post.alarm_codes(), [""; 0]);
    let mut sent = post.step();
    post.clock.advance(2 * HOUR);
    sent.extend(post.step());
    assert_eq!(sent.iter().map(|mail| &*mail.0).collect::<Vec<_>>(), ["right@example.jp"], "told there");

    post.place("K0001");
    post.clock.advance(2 * HOUR);
    assert_eq!(post.step().len(), 1);
    let behind = "Final-Recipient: rfc822; right@example.jp\nAction: failed\nStatus: 4.4.7";
    post.comes_back(&post.last(), behind, "third");
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(post.alarm_codes(), [format!("MAIL-GIVEN-UP {}", post.last().id)]);
    post.commit(Op::TryMail { id: post.last().id, result: MailResult::Dropped });
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(post.alarm_codes(), [""; 0], "taken out");
}

#[test]
fn what_is_given_up_names_who_was_to_be_told() {
    let mail = |account: Option<&str>, subject: Subject| Mail {
        account: account.map(self::account),
        subject,
        ..sample::mail(1, 14, vec![], NOW)
    };
    let text = |mail: &Mail| super::sender::moved::given_up_text(mail, "550");
    let office = text(&mail(Some("K0001"), Subject::Swept));
    assert!(
        office.contains("to account K0001 was given up (550)") && office.contains("account change --mail")
    );
    let notice = Subject::Notice { kind: "address".into(), about: String::new() };
    let operator = mail(None, notice);
    let contact = text(&Mail { insurer: Some(code(INSURER)), ..operator.clone() });
    assert!(
        contact.contains(&format!("to the contact of insurer {INSURER}")) && !contact.contains("account"),
        "{contact}"
    );
    assert!(contact.contains("`todoke insurer change --mail`"), "{contact}");
    let operator = text(&operator);
    assert!(operator.contains("to the operator") && operator.contains("`mail.operator`"), "{operator}");
}

/// A mail host that ends the ledger with the first mail it takes, as a full disk does.
struct LastMail {
    ledger: Arc<JournalLedger<MemoryIndex>>,
    host: Arc<RecordingMailer>,
}

impl Mailer for LastMail {
    fn send(&self, envelope: &Envelope, message: &[u8]) -> Delivery {
        let _ = self.ledger.close(NOW.plus(HOUR));
        self.host.send(envelope, message)
    }
}

#[test]
fn a_ledger_that_has_stopped_repeats_no_mail() {
    let dir = tempfile::tempdir().unwrap();
    let addresses = [("soumu@example.jp", Language::Ja), ("keiri@example.jp", Language::Ja)];
    let mut post = Post::found(dir.path(), &addresses);
    post.place("K0001");
    post.place("K0002");
    post.clock.advance(60 * SECOND);
    post.notifier.step(post.clock.now()).unwrap();
    post.sender.mailer = Arc::new(LastMail { ledger: post.ledger.clone(), host: post.host.clone() });
    post.sender.step().unwrap();
    assert_eq!(post.host.sent().len(), 1, "the other one was in a lane, and is not begun");
    assert!(post.alarm_codes().contains(&"MAIL-FAILED".to_owned()));
    for _ in 0..300 {
        post.clock.advance(601 * SECOND);
        post.sender.step().unwrap();
    }
    assert_eq!(post.host.sent().len(), 1);
    assert_eq!(post.ledger.claim(Queue::Mail, post.clock.now(), HOUR, 10).unwrap(), []);
    drop(post);
    // Begun anew it is sent at worst once more, as after any crash.
    let post = Post::start(dir.path(), NOW.plus(300 * HOUR));
    assert_eq!(post.step().len(), 2);
    assert_eq!(post.step(), []);
}

impl Post<'_> {
    fn changes_address(&self, id: &str, mail: &str) {
        let known = self.ledger.account(&account(id)).unwrap().unwrap();
        let changed = Account { card: self.address_card(mail), ..known };
        self.commit(Op::SetAccount { account: changed, new: false });
    }
}

#[test]
fn nothing_goes_to_an_address_that_was_corrected() {
    let dir = tempfile::tempdir().unwrap();
    let addresses = [("strange@example.jp", Language::Ja), ("keiri@example.jp", Language::Ja)];
    let post = Post::found(dir.path(), &addresses);
    let later = |n| (0..n).map(|_| Delivery::Deferred { reply: "451 4.7.1".into() });
    let to = |sent: &[(String, String, String)]| sent.iter().map(|mail| mail.0.clone()).collect::<Vec<_>>();

    // Deferred: an arrival, and a notice that is written once.
    post.place("K0001");
    post.notifier.swept(&account("K0001"), 3, 7, NOW, NOW).unwrap();
    post.clock.advance(60 * SECOND);
    post.host.will(later(2));
    assert_eq!(post.step(), []);
    let notice = post.mails().into_iter().find(|mail| mail.subject == Subject::Swept).unwrap();
    post.changes_address("K0001", "soumu@example.jp");
    post.clock.advance(2 * HOUR);
    let mut sent = post.step();
    sent.extend(post.step());
    assert_eq!(to(&sent), ["soumu@example.jp", "soumu@example.jp"], "{sent:?}");
    let ended = post.ledger.mail(notice.id).unwrap().unwrap();
    assert_eq!(
        (ended.state, ended.last_reply.as_deref()),
        (MailState::Failed, Some(crate::model::mail::ADDRESS_CHANGED))
    );
    let again = post.mails().into_iter().rev().find(|mail| mail.subject == Subject::Swept).unwrap();
    assert!(again.message_id != notice.message_id && again.state == MailState::Sent);
    let text = |id: MailId| {
        let mail = post.ledger.mail(id).unwrap().unwrap();
        let card: crate::model::card::MailCard = cards::get(post.blobs.as_ref(), &mail.card).unwrap();
        let raw = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, card.message).unwrap();
        crate::rules::notice::read(&raw).unwrap()
    };
    assert_eq!(text(notice.id), text(again.id), "the same text");
    assert!(post.ledger.commit(Op::RetryMail(notice.id), Actor::Daemon, post.clock.now()).is_err());

    // Failed for good, as the operator is told: corrected, it is told without another word, and once.
    post.notifier.swept(&account("K0002"), 3, 7, NOW, NOW).unwrap();
    post.place("K0002");
    post.clock.advance(HOUR);
    post.host.will([Delivery::Failed { reply: "550 5.1.1".into() }]);
    assert_eq!(post.step(), []);
    let alarms =
        |post: &Post<'_>| post.alarm_codes().iter().filter(|code| code.starts_with("MAIL-GIVEN-UP")).count();
    assert!(alarms(&post) > 0);
    post.changes_address("K0002", "right@example.jp");
    let mut sent = Vec::new();
    for _ in 0..20 {
        post.clock.advance(HOUR);
        sent.extend(post.step());
    }
    assert_eq!(to(&sent), ["right@example.jp", "right@example.jp"], "{sent:?}");
    let told = |mail: &&Mail| mail.account == Some(account("K0002")) && mail.state == MailState::Sent;
    let mails = post.mails();
    let arrivals =
        mails.iter().filter(told).filter(|mail| matches!(mail.subject, Subject::Arrival(_))).count();
    assert_eq!(arrivals, 1, "announced once");
    assert_eq!(alarms(&post), 0);
}

#[test]
fn nothing_is_announced_to_an_account_that_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let post =
        Post::found(dir.path(), &[("soumu@example.jp", Language::Ja), ("keiri@example.jp", Language::Ja)]);
    post.place("K0001");
    post.place("K0002");
    let closed = post.ledger.account(&account("K0001")).unwrap().unwrap();
    post.commit(Op::SetAccount { account: Account { standing: Standing::Closed, ..closed }, new: false });
    let mut sent = Vec::new();
    for _ in 0..30 {
        post.clock.advance(2 * HOUR);
        sent.extend(post.step());
    }
    assert_eq!(sent.iter().map(|mail| &*mail.0).collect::<Vec<_>>(), ["keiri@example.jp"]);
}

#[test]
fn an_announcement_that_waits_ends_with_the_last_account_that_it_tells() {
    let dir = tempfile::tempdir().unwrap();
    let addresses = [("soumu@example.jp", Language::Ja), ("soumu@example.jp", Language::Ja)];
    let post = Post::found(dir.path(), &addresses);
    let closes = |id: &str| {
        let closed = post.ledger.account(&account(id)).unwrap().unwrap();
        post.commit(Op::SetAccount { account: Account { standing: Standing::Closed, ..closed }, new: false });
    };
    post.place("K0001");
    post.place("K0002");
    post.clock.advance(60 * SECOND);
    let later = Delivery::Deferred { reply: "451 4.7.1".into() };
    post.host.will([later.clone(), later]);
    assert_eq!(post.step(), []);
    closes("K0001");
    post.clock.advance(2 * HOUR);
    assert_eq!(post.step(), [], "deferred again: the other account can be told still");
    assert_eq!(post.last().attempts, 2);
    closes("K0002");
    for _ in 0..30 {
        post.clock.advance(2 * HOUR);
        assert_eq!(post.step(), []);
    }
    let ended = post.last();
    assert_eq!((ended.state, ended.attempts), (MailState::Dropped, 2), "{ended:?}");
    assert_eq!(post.alarm_codes(), [""; 0]);
}

#[test]
fn what_an_insurers_contact_did_not_get_goes_to_the_one_that_is_named_then() {
    let dir = tempfile::tempdir().unwrap();
    let post = Post::found(dir.path(), &[("soumu@example.jp", Language::Ja)]);
    let contacts = || -> Vec<Mail> {
        post.mails().into_iter().filter(|mail| mail.insurer == Some(code(INSURER))).collect()
    };
    // An office's address is dead, and so is that of the contact who is told of it.
    post.place("K0001");
    post.clock.advance(60 * SECOND);
    post.host.will([Delivery::Failed { reply: "550 5.1.1".into() }]);
    assert_eq!(post.step(), []);
    post.bounces.step(post.clock.now()).unwrap();
    post.host.will([Delivery::Failed { reply: "550 5.1.1".into() }]);
    assert_eq!(post.step(), []);
    let told = contacts();
    assert_eq!(told.iter().map(|mail| mail.state).collect::<Vec<_>>(), [MailState::Failed], "{told:?}");
    let alarm = format!("MAIL-GIVEN-UP {}", told[0].id);
    assert!(post.alarm_codes().contains(&alarm));

    // Alarms are not lost by a start.
    let now = post.clock.now().plus(HOUR);
    drop(post);
    let post = Post::start(dir.path(), now);
    let contacts = || -> Vec<Mail> {
        post.mails().into_iter().filter(|mail| mail.insurer == Some(code(INSURER))).collect()
    };
    assert_eq!(post.alarm_codes(), [""; 0]);
    assert_eq!(post.step(), [], "the same contact");
    assert!(post.alarm_codes().contains(&alarm));
    post.sets_contact("kanri@kenpo.example", false);
    let mut sent = Vec::new();
    for _ in 0..5 {
        post.clock.advance(HOUR);
        sent.extend(post.step());
    }
    assert_eq!(sent.iter().map(|mail| &*mail.0).collect::<Vec<_>>(), ["kanri@kenpo.example"], "once");
    assert!(sent[0].2.contains("K0001"), "{sent:?}");
    assert_eq!(contacts().last().unwrap().state, MailState::Sent);
    assert!(!post.alarm_codes().contains(&alarm));
}

#[test]
fn what_is_a_test_is_never_announced_with_what_is_real() {
    let dir = tempfile::tempdir().unwrap();
    let addresses = [("soumu@example.jp", Language::Ja), ("soumu@example.jp", Language::Ja)];
    let post = Post::found(dir.path(), &addresses);
    let twin = post.ledger.account(&account("K0002")).unwrap().unwrap();
    post.commit(Op::SetAccount { account: Account { test: true, ..twin }, new: false });
    post.place("K0001");
    post.place("K0002");
    post.clock.advance(60 * SECOND);
    let mut sent = post.step();
    sent.sort_by_key(|mail| mail.1.clone());
    let [test, real] = &sent[..] else { panic!("{sent:?}") };
    assert!(test.1.starts_with("【テスト】") && test.2.contains("見本工業第2"), "{test:?}");
    assert!(!test.2.contains("見本工業第1") && !real.2.contains("見本工業第2"), "{sent:?}");
}

#[test]
fn a_message_that_cannot_be_read_is_not_lost_and_what_is_kept_has_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let post = Post::found(dir.path(), &[("soumu@example.jp", Language::Ja)]);
    post.place("K0001");
    post.clock.advance(60 * SECOND);
    assert_eq!(post.step().len(), 1);
    let mail = post.last();
    // A complaint stands until the address changes.
    let mark = mail.message_id.split('@').next().unwrap();
    let text = format!(
        "From: fbl@mx.example.jp\nTo: bounce+{mark}@gateway.example.jp\nMIME-Version: 1.0\nContent-Type: multipart/report; \
         report-type=feedback-report; boundary=x\n\n--x\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\n\n--x--\n"
    );
    std::fs::create_dir_all(dir.path().join("bounces/new")).unwrap();
    std::fs::write(dir.path().join("bounces/new/1.complaint"), text).unwrap();
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(post.alarm_codes(), ["MAIL-COMPLAINT K0001"]);
    post.changes_address("K0001", "other@example.jp");
    post.bounces.step(post.clock.now()).unwrap();
    assert_eq!(post.alarm_codes(), [""; 0]);

    let cur = dir.path().join("bounces/cur");
    for n in 0..4 {
        std::fs::write(cur.join(format!("{n}.big:2,S")), vec![b'x'; 400_000]).unwrap();
    }
    post.bounces.step(post.clock.now()).unwrap();
    let kept: u64 =
        std::fs::read_dir(&cur).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!((400_000..=1 << 20).contains(&kept), "{kept}");
}
