//! A year of what was to come, over the real ledger.

use std::sync::{Arc, Mutex};

use super::batches::Calendars;
use super::expected::{Absence, Expected, Reminder, Teller};
use super::whole_tests::Run;
use crate::model::document::{Document, RemovalReason};
use crate::model::event::Series;
use crate::model::finding::Text;
use crate::model::ids::{Digest, DocumentId, OfficeCode};
use crate::model::party::{Delegation, Role};
use crate::model::time::{DAY, Day, Timestamp};
use crate::rules::calendar::{CalendarPolicy, Holidays, JA};
use crate::small_world::{INSURER, account, at, code};
use crate::store::ledger::{Ledger as _, Op};
use crate::store::sample;

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Teller for Told {
    fn remind(&self, reminder: &Reminder, _: Timestamp) -> anyhow::Result<()> {
        self.0.lock().unwrap().push(format!("{} {}", reminder.account, reminder.about));
        Ok(())
    }
    fn absent(&self, absence: &Absence, _: Timestamp) -> anyhow::Result<()> {
        let items: Vec<&str> = absence.items.iter().map(|item| item.ja.as_str()).collect();
        self.0.lock().unwrap().push(format!("{} {}: {}", absence.insurer, absence.day, items.join("; ")));
        Ok(())
    }
}

struct Watch {
    expected: Expected,
    told: Arc<Told>,
}

fn watch(run: &Run<'_>, policy: &'static str) -> Watch {
    let told = Arc::new(Told::default());
    let calendars: Arc<Calendars> = Arc::new(move |_| {
        let policy: CalendarPolicy = toml::from_str(policy).map_err(|error| error.to_string())?;
        policy.check()?;
        let days = policy.business_days(Holidays::parse(JA.as_bytes()).unwrap());
        Ok((policy, days))
    });
    let expected = Expected {
        ledger: run.ledger.clone(),
        calendars,
        forms: Arc::new(|_, code| {
            (code == "2225700").then(|| Text::new("算定基礎届", "regular determination"))
        }),
        zone: chrono_tz::Asia::Tokyo,
        alarms: run.alarms.clone(),
        teller: told.clone(),
        told: Mutex::default(),
    };
    Watch { expected, told }
}

impl Watch {
    /// Alarms that hold at this time.
    fn at(&self, run: &Run<'_>, text: &str) -> Vec<String> {
        self.expected.step(at(text)).unwrap();
        run.alarms.list().into_iter().map(|alarm| format!("{} {}", alarm.code, alarm.text)).collect()
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.0.lock().unwrap())
    }
}

/// Places a document of this type for K0001's office 1234.
fn place(run: &Run<'_>, kind: &str, placed_at: Timestamp) -> DocumentId {
    let id = DocumentId { epoch: 1, serial: run.ledger.next_serial(Series::Document, placed_at).unwrap() };
    let document = Document { kind: kind.to_owned(), ..sample::document(1, id.serial, "1234", placed_at) };
    let row = Digest::of(&id.serial.to_be_bytes());
    run.ledger
        .commit(Op::Place(vec![(document, row)]), crate::model::party::Actor::Daemon, placed_at)
        .unwrap();
    id
}

const DOCUMENTS: &str = "
    [[documents]]
    types = ['支払決定額通知書', '過誤決定通知書']
    day = 10
    tell = ['operator', 'insurer']
    [[documents]]
    types = ['返戻等一覧表']
    day = 1
    conditional = true
";

#[test]
fn documents_of_the_tenth_are_missed_told_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::found(dir.path(), at("2026-09-20T09:00:00+09:00"));
    let watch = watch(&run, DOCUMENTS);
    assert_eq!(watch.at(&run, "2026-10-20T09:00:00+09:00"), [""; 0], "no calendar is kept yet");
    run.commit(Op::BeginCalendar { insurer: code(INSURER), cut_offs: Digest::of(b"") });
    // Too early to count for the tenth, and early enough.
    place(&run, "過誤決定通知書", at("2026-09-29T09:00:00+09:00"));
    place(&run, "支払決定額通知書", at("2026-10-01T09:00:00+09:00"));
    assert_eq!(watch.at(&run, "2026-10-11T23:59:59+09:00"), [""; 0]);
    let alarms = watch.at(&run, "2026-10-12T00:00:00+09:00");
    assert_eq!(alarms.len(), 1);
    assert!(
        alarms[0]
            .starts_with("DOCUMENTS-MISSING 06139999 expected and not there: 過誤決定通知書 (2026-10-10);"),
        "{alarms:?}"
    );
    assert_eq!(watch.told(), ["06139999 2026-10-10: 過誤決定通知書"]);
    watch.at(&run, "2026-10-13T00:00:00+09:00");
    assert_eq!(watch.told(), [""; 0], "once");
    let late = place(&run, "過誤決定通知書", at("2026-10-14T09:00:00+09:00"));
    assert_eq!(watch.at(&run, "2026-10-14T09:01:00+09:00"), [""; 0]);
    run.ledger
        .commit(
            Op::RemovalIntend { ids: vec![late], reason: RemovalReason::Recalled },
            crate::model::party::Actor::Daemon,
            at("2026-10-14T10:00:00+09:00"),
        )
        .unwrap();
    assert_eq!(watch.at(&run, "2026-10-14T10:01:00+09:00").len(), 1, "recalled is not there");
    assert_eq!(watch.at(&run, "2026-10-31T00:00:00+09:00"), [""; 0], "November's are awaited now");
    let alarms = watch.at(&run, "2026-11-12T00:00:00+09:00");
    assert!(alarms[0].contains("支払決定額通知書 (2026-11-10); 過誤決定通知書 (2026-11-10)"), "{alarms:?}");
    assert_eq!(watch.told(), ["06139999 2026-11-10: 支払決定額通知書; 過誤決定通知書"]);
}

#[test]
fn what_was_due_before_the_calendar_began_is_not_missed_and_test_accounts_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::found(dir.path(), at("2026-11-15T09:00:00+09:00"));
    run.commit(Op::BeginCalendar { insurer: code(INSURER), cut_offs: Digest::of(b"") });
    let watch = watch(&run, DOCUMENTS);
    assert_eq!(watch.at(&run, "2026-11-20T09:00:00+09:00"), [""; 0]);
    let test = crate::model::party::Account {
        test: true,
        ..run.ledger.account(&account("K0001")).unwrap().unwrap()
    };
    run.now = at("2026-12-01T09:00:00+09:00");
    run.commit(Op::SetAccount { account: test, new: false });
    place(&run, "過誤決定通知書", run.now);
    place(&run, "支払決定額通知書", run.now);
    assert_eq!(watch.at(&run, "2026-12-12T00:00:00+09:00").len(), 1);
}

#[test]
fn documents_for_each_office_or_account_name_who_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::found(dir.path(), at("2026-09-20T09:00:00+09:00"));
    run.commit(Op::BeginCalendar { insurer: code(INSURER), cut_offs: Digest::of(b"") });
    let policy = "[[documents]]\ntypes = ['納入告知書']\nday = 20\noffices = ['1234', '5678']\naccounts = ['K0001', 'K0005']";
    let watch = watch(&run, policy);
    place(&run, "納入告知書", at("2026-10-19T09:00:00+09:00"));
    let alarms = watch.at(&run, "2026-10-22T00:00:00+09:00");
    assert!(alarms[0].contains("納入告知書 for 5678, K0005 (2026-10-20)"), "{alarms:?}");
}

#[test]
fn an_office_is_reminded_before_the_day_and_told_after_it() {
    let policy = "[[filings]]\nforms = ['2221700', '2225700']\nday = 10\nearly_days = 20\nremind_days = 3\ntell = ['operator', 'office']";
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::found(dir.path(), at("2026-09-20T09:00:00+09:00"));
    run.commit(Op::BeginCalendar { insurer: code(INSURER), cut_offs: Digest::of(b"") });
    let watch = watch(&run, policy);
    assert_eq!(watch.at(&run, "2026-10-06T23:59:00+09:00"), [""; 0]);
    assert_eq!(watch.told(), [""; 0]);
    assert_eq!(watch.at(&run, "2026-10-07T00:00:00+09:00"), [""; 0]);
    assert_eq!(watch.told(), ["K0001 06139999 1234 K0001 2221700+2225700 2026-10-10 before"]);
    let alarms = watch.at(&run, "2026-10-11T00:00:00+09:00");
    assert!(
        alarms[0].starts_with(
            "FILINGS-MISSING 06139999 expected and not there: filing (2221700, regular determination) of offices 1234"
        ),
        "{alarms:?}"
    );
    assert_eq!(watch.told(), ["K0001 06139999 1234 K0001 2221700+2225700 2026-10-10 after"]);
    run.now = at("2026-10-12T09:00:00+09:00");
    let number = run.accept(1);
    assert_eq!(watch.at(&run, "2026-10-12T09:01:00+09:00"), [""; 0]);
    run.commit(Op::Withdraw { number, account: None });
    assert_eq!(watch.at(&run, "2026-10-12T09:02:00+09:00").len(), 1, "what was withdrawn has not come");
    run.now = at("2026-10-25T09:00:00+09:00");
    run.accept(2);
    for day in 0..40 {
        watch.expected.step(run.now.plus(day * DAY)).unwrap();
        assert!(run.alarms.list().is_empty(), "{day}");
    }
    assert_eq!(watch.told(), [""; 0]);
}

#[test]
fn an_agent_is_reminded_of_offices_that_it_acts_for_on_that_day() {
    let policy = "[[filings]]\nforms = ['2225700']\nday = 10\ntell = ['office']";
    let dir = tempfile::tempdir().unwrap();
    let run = Run::found(dir.path(), at("2026-09-20T09:00:00+09:00"));
    run.commit(Op::BeginCalendar { insurer: code(INSURER), cut_offs: Digest::of(b"") });
    let mut agent = run.ledger.account(&account("K0001")).unwrap().unwrap();
    let mut period = Delegation { office: OfficeCode::parse("1234").unwrap(), from: None, until: None };
    period.until = Some(Day::parse("2026-10-31").unwrap());
    (agent.role, agent.offices, agent.delegations) = (Role::Agent, vec![], vec![period]);
    run.commit(Op::SetAccount { account: agent, new: false });
    let watch = watch(&run, policy);
    watch.at(&run, "2026-10-11T00:00:00+09:00");
    assert_eq!(watch.told(), ["K0001 06139999 1234 K0001 2225700 2026-10-10 after"]);
    watch.at(&run, "2026-11-11T00:00:00+09:00");
    assert_eq!(watch.told(), [""; 0], "its delegation has ended");
}
