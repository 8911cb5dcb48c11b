//! Applications: what every ledger must do with them.

use super::{NOW, at, commit, due, prepare, refused, sample};
use crate::model::application::{Application, ApplicationNotice, ApplicationState, ApplicationStep};
use crate::model::ids::{ApplicationId, CertificateId};
use crate::model::mail::Subject;
use crate::model::party::{Account, Standing};
use crate::model::time::Timestamp;
use crate::store::ledger::{ApplicationFilter, Done, Ledger, LedgerError, Op, Queue, Refusal, Task};

fn id(serial: u64) -> ApplicationId {
    ApplicationId { epoch: 1, serial }
}

fn of(ledger: &dyn Ledger, serial: u64) -> Application {
    ledger.application(id(serial)).unwrap().unwrap()
}

fn go(ledger: &dyn Ledger, serial: u64, step: ApplicationStep, now: Timestamp) {
    at(ledger, Op::MoveApplications(vec![(id(serial), step)]), now);
}

fn issued(days: u32) -> ApplicationStep {
    ApplicationStep::Issued {
        certificate: CertificateId { epoch: 1, serial: 1 },
        bundle: true,
        use_before: NOW.plus_days(days),
        remind_at: vec![NOW.plus_days(days - 3)],
        keep: false,
    }
}

fn tell(ledger: &dyn Ledger, serial: u64, mail: u64, notice: ApplicationNotice, now: Timestamp) -> Done {
    let mut sealed = sample::mail(1, mail, Vec::new(), now);
    sealed.subject = Subject::Application(id(serial), notice);
    at(ledger, Op::SealMail(Box::new(sealed)), now)
}

fn account(name: &str) -> Account {
    Account { standing: Standing::Suspended, keys: Vec::new(), ..sample::account(name, "-") }
}

pub(super) fn applications(ledger: &dyn Ledger) {
    prepare(ledger);
    let mut agent = sample::application(2, "S0001");
    agent.group = Some(id(1));
    let unknown =
        Application { offices: vec![sample::office_code("9999")], ..sample::application(1, "K0002") };
    let missing = refused(ledger, Op::Apply(vec![sample::application(3, "K0003"), unknown]));
    assert!(matches!(missing, Refusal::Missing(_)));
    assert_eq!(ledger.application(id(3)).unwrap(), None, "all or none");
    commit(ledger, Op::Apply(vec![sample::application(1, "K0002"), agent]));
    let twice = refused(ledger, Op::Apply(vec![sample::application(4, "K0002")]));
    assert!(twice.to_string().contains("A1-000001-"), "{twice}");
    let exists = refused(ledger, Op::Apply(vec![sample::application(4, "K0001")]));
    assert_eq!(exists, Refusal::Exists("account K0001".into()));
    assert_eq!(of(ledger, 1).entered_at(ApplicationState::Applied), Some(NOW));

    // Told first, then collected.
    assert_eq!(due(ledger, Queue::Enrol).len(), 2);
    assert_eq!(ledger.application_notices(id(1)).unwrap(), [ApplicationNotice::Taken]);
    for (mail, serial) in [(1, 1), (2, 2)] {
        assert_eq!(tell(ledger, serial, mail, ApplicationNotice::Taken, NOW), Done::Sealed(true));
        assert_eq!(tell(ledger, serial, mail + 10, ApplicationNotice::Taken, NOW), Done::Sealed(false));
    }
    assert_eq!(ledger.due(Queue::Enrol, NOW, 10).unwrap(), []);
    let both = [Task::Application(id(1)), Task::Application(id(2))];
    assert_eq!(ledger.claim(Queue::Enrol, NOW.plus_days(1), 1000, 10).unwrap(), both);
    let steps = [ApplicationStep::Collected, ApplicationStep::Approved { pay: false }];
    let now = NOW.plus_days(1);
    at(ledger, Op::MoveApplications(steps.into_iter().map(|step| (id(1), step)).collect()), now);
    let early = refused(ledger, Op::MoveApplications(vec![(id(2), ApplicationStep::Paid)]));
    assert!(early.to_string().contains("cut-off"), "{early}");

    // Its account comes with it, and lets it in after the set-up.
    let early = refused(ledger, Op::MoveApplications(vec![(id(1), issued(60))]));
    assert!(matches!(early, Refusal::NotNow(_)));
    let other = Op::AdmitApplication { id: id(1), account: Box::new(account("K0009")) };
    assert!(matches!(refused(ledger, other), Refusal::NotYours(_)));
    at(ledger, Op::AdmitApplication { id: id(1), account: Box::new(account("K0002")) }, now);
    go(ledger, 1, issued(60), now);
    let standing = |name: &str| ledger.account(&sample::account_id(name)).unwrap().unwrap().standing;
    assert_eq!(standing("K0002"), Standing::Suspended);
    let early = refused(ledger, Op::MoveApplications(vec![(id(1), ApplicationStep::Used)]));
    assert!(early.to_string().contains("set-up"), "{early}");
    go(ledger, 1, ApplicationStep::Downloaded, now);
    go(ledger, 1, ApplicationStep::SetUp { terms: "1".into() }, now);
    assert_eq!(standing("K0002"), Standing::Active);
    assert_eq!(of(ledger, 1).consent.map(|consent| consent.terms), Some("1".into()));
    assert_eq!(tell(ledger, 1, 3, ApplicationNotice::Issued, now), Done::Sealed(true));
    assert_eq!(ledger.due(Queue::Enrol, NOW.plus_days(56), 10).unwrap(), [both[1]]);
    go(ledger, 1, ApplicationStep::Used, NOW.plus_days(2));
    assert!(ledger.due(Queue::Enrol, NOW.plus_days(2), 10).unwrap().contains(&both[0]), "to be cleared away");
    go(ledger, 1, ApplicationStep::BundleGone, NOW.plus_days(2));
    assert_eq!(ledger.application_card_erasable(NOW.plus_days(3), 10).unwrap(), [id(1)]);
    go(ledger, 1, ApplicationStep::CardGone, NOW.plus_days(3));
    assert!(!ledger.refers_to(&of(ledger, 1).card.blob).unwrap());
    assert_eq!(ledger.application_card_erasable(NOW.plus_days(9), 10).unwrap(), []);

    // One that came to nothing frees the name.
    let expired = |serial, name: &str, day: u32| {
        let now = NOW.plus_days(day);
        let steps = [ApplicationStep::Collected, ApplicationStep::Approved { pay: false }];
        at(ledger, Op::MoveApplications(steps.into_iter().map(|step| (id(serial), step)).collect()), now);
        let account = account(name);
        at(ledger, Op::AdmitApplication { id: id(serial), account: Box::new(account) }, now);
        go(ledger, serial, issued(day + 60), now);
        go(ledger, serial, ApplicationStep::Reminded, NOW.plus_days(day + 57));
        go(ledger, serial, ApplicationStep::Expired, NOW.plus_days(day + 60));
    };
    expired(2, "S0001", 3);
    assert_eq!(standing("S0001"), Standing::Closed);
    at(ledger, Op::Apply(vec![sample::application(5, "S0001")]), NOW.plus_days(64));
    expired(5, "S0001", 65);
    let gone = ledger.commit(
        Op::MoveApplications(vec![(id(5), ApplicationStep::Used)]),
        crate::model::party::Actor::Daemon,
        NOW.plus_days(300),
    );
    assert!(matches!(gone, Err(LedgerError::Refused(Refusal::NotNow(_)))));

    let list = |filter: ApplicationFilter| -> Vec<u64> {
        ledger.applications(&filter, 10).unwrap().iter().map(|of| of.id.serial).collect()
    };
    assert_eq!(list(ApplicationFilter::default()), [5, 2, 1]);
    let account = Some(sample::account_id("S0001"));
    assert_eq!(list(ApplicationFilter { account, ..Default::default() }), [5, 2]);
    let states = vec![ApplicationState::Expired, ApplicationState::InUse];
    let insurer = Some(sample::insurer_code());
    assert_eq!(list(ApplicationFilter { insurer, states, ..Default::default() }), [5, 2, 1]);
    assert_eq!(list(ApplicationFilter { before: Some(id(2)), ..Default::default() }), [1]);
}
