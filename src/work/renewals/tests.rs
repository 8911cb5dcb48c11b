//! Three years in milliseconds: a real journal, a fake clock, a mailer that keeps what it gets, and a restart wherever one likes.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

use super::*;
use crate::model::card::{AccountCard, InsurerCard, OfficeCard};
use crate::model::ids::CertificateId;
use crate::model::party::AccountKey;
use crate::rules::mailbox::Gathering;
use crate::rules::notice::Templates;
use crate::store::index::MemoryIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::keys::Keys;
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::receipts::Receipts;
use crate::store::recover::LedgerOptions;
use crate::store::root::Root;
use crate::store::{cards, sample};
use crate::work::alarms::AlarmBoard;
use crate::work::notify::NoticePolicy;
use crate::work::ports::RecordingMailer;
use crate::work::sender::Sender;

const TOKYO: Tz = chrono_tz::Asia::Tokyo;

fn at(text: &str) -> Timestamp {
    crate::small_world::at(text)
}

/// One run over a data root; dropped without ceremony, as by a crash.
struct Run {
    ledger: Arc<dyn Ledger>,
    blobs: Arc<dyn Blobs>,
    mailer: Arc<RecordingMailer>,
    renewals: Renewals,
    alarms: Arc<AlarmBoard>,
    /// Follows the clock, unless that leaps.
    uptime: Arc<AtomicI64>,
    /// Mails that were looked at.
    seen: std::cell::Cell<usize>,
}

impl Run {
    fn start(root: &Path, now: Timestamp) -> Self {
        let uptime = Arc::new(AtomicI64::new(now.0));
        let opened = Root::open(root).unwrap();
        let keys = Arc::new(Keys::load_or_make(&opened.keys()).unwrap());
        let blobs: Arc<dyn Blobs> =
            Arc::new(LocalBlobs::open(&opened.blobs(), BlobOptions::default()).unwrap());
        let (ledger, _) = JournalLedger::<MemoryIndex>::open(opened, &LedgerOptions::default(), now).unwrap();
        let ledger: Arc<dyn Ledger> = Arc::new(ledger);
        let mailer = Arc::new(RecordingMailer::default());
        let receipts = Receipts { ledger: ledger.clone(), blobs: blobs.clone(), keys, zone: TOKYO };
        let policy = NoticePolicy {
            from: "todoke@gateway.example.jp".into(),
            from_name: "todoke".into(),
            contact: String::new(),
            domain: "gateway.example.jp".into(),
            gathering: Gathering { gather: 0, interval: 0 },
            return_path: None,
            dkim: None,
            zone: TOKYO,
        };
        let notifier = Arc::new(Notifier {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            receipts: Arc::new(receipts),
            templates: Arc::new(RwLock::new(Arc::new(Templates::builtin().unwrap()))),
            mailer: mailer.clone(),
            alarms: Arc::new(AlarmBoard::default()),
            policy: Arc::new(RwLock::new(Arc::new(policy))),
        });
        let alarms = Arc::new(AlarmBoard::default());
        let renewals = Renewals {
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            notifier,
            alarms: alarms.clone(),
            policy: Box::new(|_| RenewalPolicy::default()),
            uptime: {
                let uptime = Arc::clone(&uptime);
                Arc::new(move || uptime.load(Ordering::SeqCst))
            },
            last: Mutex::default(),
            zone: TOKYO,
        };
        Self { ledger, blobs, mailer, renewals, alarms, uptime, seen: std::cell::Cell::default() }
    }

    /// With an insurer, an office, and an account that has an address.
    fn found(root: &Path, now: Timestamp) -> Self {
        let run = Self::start(root, now);
        let salt = || cards::salt().unwrap();
        let card = InsurerCard { salt: salt(), name: "東京見本健康保険組合".into(), mail: None };
        let insurer = crate::model::party::Insurer { card: run.card(&card, now), ..sample::insurer() };
        run.commit(Op::SetInsurer { insurer, new: true }, now);
        let card = OfficeCard { salt: salt(), name: "株式会社見本工業".into() };
        let office = crate::model::party::Office { card: run.card(&card, now), ..sample::office("1234") };
        run.commit(Op::SetOffice { office, new: true }, now);
        let card =
            AccountCard { salt: salt(), user_name: "総務課".into(), mail: "soumu@example.jp".into() };
        let account = Account {
            card: run.card(&card, now),
            keys: Vec::<AccountKey>::new(),
            ..sample::account("K0001", "SHA256:none")
        };
        run.commit(Op::SetAccount { account, new: true }, now);
        for (id, form) in [
            ("ssh-1", crate::model::authority::Form::Openssh),
            ("x509-1", crate::model::authority::Form::X509),
        ] {
            let authority = Box::new(sample::authority(id, form, now));
            run.commit(Op::SetAuthority { authority, new: true }, now);
        }
        run
    }

    fn card(&self, card: &impl serde::Serialize, now: Timestamp) -> crate::model::card::CardRef {
        let card = cards::put(self.blobs.as_ref(), card, now).unwrap();
        self.blobs.sync(std::slice::from_ref(&card.blob)).unwrap();
        card
    }

    fn commit(&self, op: Op, now: Timestamp) {
        self.ledger.commit(op, Actor::Daemon, now).unwrap();
    }

    fn issue(&self, serial: u64, predecessor: Option<CertificateId>, now: Timestamp) -> Certificate {
        let key = format!("SHA256:cert{serial}");
        let of = Certificate { predecessor, ..sample::certificate("K0001", serial, &key, now) };
        self.commit(Op::IssueCertificate(Box::new(of.clone())), now);
        of
    }

    /// Steps, sends, and gives the subjects that went out.
    fn step(&self, now: Timestamp) -> Vec<String> {
        self.uptime.store(now.0, Ordering::SeqCst);
        self.look(now)
    }

    /// The same without time having passed.
    fn look(&self, now: Timestamp) -> Vec<String> {
        self.renewals.step(now).unwrap();
        Sender::of(&self.renewals.notifier, now).step().unwrap();
        let parse = |(_, message): (_, Vec<u8>)| {
            let mail = mail_parser::MessageParser::default().parse(&message).unwrap();
            mail.subject().unwrap().to_owned()
        };
        let sent = self.mailer.sent();
        let seen = self.seen.replace(sent.len());
        sent.into_iter().skip(seen).map(parse).collect()
    }

    fn told(&self) -> Vec<(String, RenewalStage)> {
        use crate::model::account_history::AccountFactKind;
        let facts = self.ledger.account_history(&sample::account_id("K0001"), 100).unwrap();
        let mut told: Vec<_> = facts
            .into_iter()
            .filter_map(|fact| match fact.what {
                AccountFactKind::CertificateEnds { stage, .. } => {
                    Some((fact.at.date_in(TOKYO).to_string(), stage))
                }
                AccountFactKind::ProfileChanged(_) => None,
            })
            .collect();
        told.reverse();
        told
    }
}

fn days(told: &[(String, RenewalStage)]) -> Vec<(&str, RenewalStage)> {
    told.iter().map(|(day, stage)| (day.as_str(), *stage)).collect()
}

use RenewalStage::{Before, Ended};

fn weekly() -> cron::Schedule {
    cron::Schedule::from_str("0 0 9 * * Mon").unwrap()
}

#[test]
fn three_years_with_a_restart_every_week_tell_each_notice_once() {
    let dir = tempfile::tempdir().unwrap();
    let begin = at("2026-11-23T10:00:00+09:00");
    let mut run = Run::found(dir.path(), begin);
    let old = run.issue(1, None, begin);
    run.commit(Op::UseCertificate(old.id), begin);
    let mut subjects = Vec::new();
    let (mut now, end) = (begin, begin.plus_days(3 * 365 + 120));
    let mut day = 0;
    while now < end {
        now = now.plus(DAY);
        day += 1;
        if day % 7 == 0 {
            drop(run);
            run = Run::start(dir.path(), now);
        }
        subjects.extend(run.step(now));
        // Asked again at once, it says nothing.
        subjects.extend(run.step(now.plus(1)));
    }
    // 3 times 365 days: the last whole day is 2029-11-21.
    assert_eq!(
        days(&run.told()),
        [
            ("2029-08-23", Before(90)),
            ("2029-10-22", Before(30)),
            ("2029-11-14", Before(7)),
            ("2029-11-20", Before(1)),
            ("2029-11-22", Ended)
        ]
    );
    assert_eq!(subjects.len(), 5, "{subjects:#?}");
    assert_eq!(subjects[1], "株式会社見本工業 様: 証明書有効期限切れ事前通知 (11月21日まで)");
    assert_eq!(subjects[4], "株式会社見本工業 様: 証明書の有効期限が切れました (東京見本健康保険組合)");
}

#[test]
fn a_renewal_ends_the_notices_when_the_new_key_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let begin = at("2026-11-23T10:00:00+09:00");
    let run = Run::found(dir.path(), begin);
    let old = run.issue(1, None, begin);
    let ends = old.not_after;
    assert_eq!(run.step(ends.plus(-91 * DAY)).len(), 1);
    let next = run.issue(2, Some(old.id), ends.plus(-60 * DAY));
    let all = of_account(run.ledger.as_ref(), &old.account).unwrap();
    let during = ends.plus(-40 * DAY);
    assert_eq!(renewal::need(&old, &all, during), Need::Use(next.id));
    for of in [&old, &next] {
        use crate::model::certificate::CertificateStanding::Holds;
        assert_eq!(of.standing_at(during), Holds, "both hold while they overlap");
    }
    // Issued, and nobody has put it to work: that is said.
    assert_eq!(run.step(ends.plus(-20 * DAY)).len(), 1);
    let listed = survey(run.ledger.as_ref(), 90, ends.plus(-20 * DAY), TOKYO).unwrap();
    assert_eq!(
        listed.iter().map(|e| (e.certificate.id, e.need)).collect::<Vec<_>>(),
        [(old.id, Need::Use(next.id))]
    );
    run.commit(Op::UseCertificate(next.id), ends.plus(-19 * DAY));
    assert_eq!(survey(run.ledger.as_ref(), 90, ends.plus(-19 * DAY), TOKYO).unwrap(), []);
    for day in -8..40 {
        assert_eq!(run.step(ends.plus(day * DAY)), [] as [&str; 0]);
    }
    assert_eq!(run.told().len(), 2);
    // Three years later it is the new one's turn.
    assert_eq!(run.step(next.not_after.plus(-6 * DAY)).len(), 1);
    assert_eq!(run.told()[2].1, Before(7));
}

#[test]
fn what_was_missed_comes_as_one_and_a_clock_that_leaps_tells_nobody_twice() {
    let dir = tempfile::tempdir().unwrap();
    let begin = at("2026-11-23T10:00:00+09:00");
    let run = Run::found(dir.path(), begin);
    let old = run.issue(1, None, begin);
    let ends = old.not_after;
    // Down for three months before the end.
    assert_eq!(run.step(ends.plus(-3 * DAY)).len(), 1);
    assert_eq!(run.told()[0].1, Before(7));
    // The clock goes back by a year, then to where it was.
    assert_eq!(run.step(ends.plus(-365 * DAY)), [] as [&str; 0]);
    assert_eq!(run.step(ends.plus(-3 * DAY)), [] as [&str; 0]);
    // It leaps ahead: nobody is told that all has ended, and the operator hears of it.
    assert_eq!(run.look(ends.plus(10 * DAY)), [] as [&str; 0]);
    assert_eq!(run.alarms.list()[0].code, "CLOCK-LEAPT");
    assert!(!run.renewals.report("ops@example.jp", "todoke", &weekly(), ends.plus(10 * DAY)).unwrap());
    assert_eq!(run.step(ends.plus(-3 * DAY)), [] as [&str; 0]);
    assert!(run.alarms.list().is_empty());
    assert_eq!(run.step(ends.plus(-2 * DAY)).len(), 1);
    assert_eq!(run.step(ends.plus(59 * DAY)).len(), 1, "after downtime, the end alone");
    assert_eq!(
        days(&run.told()).iter().map(|(_, stage)| *stage).collect::<Vec<_>>(),
        [Before(7), Before(1), Ended]
    );
}

#[test]
fn a_suspended_account_is_told_when_it_is_back_a_closed_one_never() {
    let dir = tempfile::tempdir().unwrap();
    let begin = at("2026-11-23T10:00:00+09:00");
    let run = Run::found(dir.path(), begin);
    let old = run.issue(1, None, begin);
    let now = old.not_after.plus(-20 * DAY);
    let mut account = run.ledger.account(&old.account).unwrap().unwrap();
    let mut stand = |standing| {
        account.standing = standing;
        run.commit(Op::SetAccount { account: account.clone(), new: false }, now);
        run.step(now).len()
    };
    assert_eq!([stand(Standing::Suspended), stand(Standing::Closed)], [0, 0]);
    assert_eq!(survey(run.ledger.as_ref(), 90, now, TOKYO).unwrap(), []);
    assert_eq!(stand(Standing::Active), 1);
}

#[test]
fn the_operators_list_comes_once_a_week_and_a_missed_one_is_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let begin = at("2026-11-23T10:00:00+09:00");
    let mut run = Run::found(dir.path(), begin);
    let old = run.issue(1, None, begin);
    let report = |run: &Run, now: Timestamp| {
        run.uptime.store(now.0, Ordering::SeqCst);
        run.renewals.report("ops@example.jp", "todoke", &weekly(), now).unwrap()
    };
    assert!(!report(&run, begin.plus(30 * DAY)), "nobody waits");
    // A Friday, then the Monday after it.
    let friday = at("2029-10-05T12:00:00+09:00");
    assert!(report(&run, friday), "this week's was missed");
    for hours in [1, 20, 40] {
        assert!(!report(&run, friday.plus(hours * DAY / 24)), "{hours}");
    }
    drop(run);
    run = Run::start(dir.path(), friday);
    assert!(!report(&run, at("2029-10-08T08:59:59+09:00")));
    assert!(report(&run, at("2029-10-08T09:00:00+09:00")));
    assert!(!run.renewals.report("", "todoke", &weekly(), old.not_after).unwrap(), "nowhere to send it");
    Sender::of(&run.renewals.notifier, friday.plus(4 * DAY)).step().unwrap();
    let sent = run.mailer.sent();
    let mail = mail_parser::MessageParser::default().parse(&sent[0].1).unwrap().into_owned();
    assert_eq!(mail.subject(), Some("todoke: 1 certificate(s) wait for renewal"));
    assert!(mail.body_text(0).unwrap().contains("2029-11-21  K0001  C1-000001-"), "{:?}", mail.body_text(0));
}
