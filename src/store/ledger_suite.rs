//! What every [`Ledger`] must do. Run by the tests of each implementation.

mod applications;
mod certificates;
mod days;

use super::ledger::{
    Done, LOGIN_SOURCES_MAX, Ledger, LedgerError, MailFilter, Op, Queue, Received, Refusal, SubmissionFilter,
    Task,
};
pub(super) use super::sample::NOW;
use super::sample::{self, account_id, digest, insurer_code, office_code};
use crate::model::account_history::{AccountFact, AccountFactKind, ProfileField};
use crate::model::document::RemovalReason;
use crate::model::event::{MailResult, Series};
use crate::model::ids::{CredentialHolder, DocumentId, MailId, Number};
use crate::model::login::{Credential, LoginNews, PasswordChange, Purpose};
use crate::model::mail::{ADDRESS_MARKED, Mail, MailState, Report, Subject};
use crate::model::party::Actor;
use crate::model::renewal::RenewalStage;
use crate::model::submission::{HoldReason, Outcome, State, Submission};
use crate::model::time::{DAY, SECOND, Timestamp};

/// Runs all of it, each part against a fresh ledger; the first of what `make` returns only has to live as long.
pub(super) fn run<L: Ledger, G>(make: impl Fn() -> (G, L)) {
    type Part = fn(&dyn Ledger);
    let parts: &[Part] = &[
        parties,
        a_life,
        same_manifest,
        ids_and_contents,
        holds,
        withdrawals,
        tests_go_nowhere,
        erasing,
        documents,
        removal,
        mails,
        mailboxes,
        leases,
        a_clock_that_was_ahead,
        serials_and_time,
        applications::applications,
        logins,
        profiles,
        renewal_notices,
        certificates::authorities,
        certificates::issue_and_find,
        certificates::one_key_one_account,
        certificates::revocation,
        days::acceptances_in_order,
        days::batches,
        days::closed_days,
        days::what_came_last,
        days::events_of_a_time,
    ];
    for part in parts {
        let (_keep, ledger) = make();
        part(&ledger);
    }
}

/// With the parties of the samples.
pub(super) fn prepare(ledger: &dyn Ledger) {
    for op in [
        Op::SetInsurer { insurer: sample::insurer(), new: true },
        Op::SetOffice { office: sample::office("1234"), new: true },
        Op::SetOffice { office: sample::office("5678"), new: true },
        Op::SetAccount { account: sample::account("K0001", "SHA256:one"), new: true },
    ] {
        commit(ledger, op);
    }
}

pub(super) fn commit(ledger: &dyn Ledger, op: Op) -> Done {
    at(ledger, op, NOW)
}

fn at(ledger: &dyn Ledger, op: Op, now: Timestamp) -> Done {
    ledger.commit(op, Actor::Daemon, now).unwrap()
}

fn refused(ledger: &dyn Ledger, op: Op) -> Refusal {
    match ledger.commit(op, Actor::Daemon, NOW) {
        Err(LedgerError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn receive(ledger: &dyn Ledger, submission: Submission, outcome: Outcome) -> Received {
    let op = Op::Receive {
        submission: Box::new(submission),
        outcome,
        hold_same_content: true,
        id_since: NOW.plus(-DAY),
    };
    match commit(ledger, op) {
        Done::Received(received) => received,
        other => panic!("{other:?}"),
    }
}

fn number(serial: u64) -> Number {
    Number { epoch: 1, serial }
}

fn state(ledger: &dyn Ledger, serial: u64) -> State {
    ledger.submission(number(serial)).unwrap().unwrap().state
}

fn due(ledger: &dyn Ledger, queue: Queue) -> Vec<Task> {
    let due = ledger.due(queue, NOW.plus(DAY), 1000).unwrap();
    let (count, since) = ledger.waiting(queue).unwrap();
    assert!(count >= due.len() as u64 && since.is_some() == (count > 0), "{queue:?}: {count} {since:?}");
    due
}

fn submissions(serials: &[u64]) -> Vec<Task> {
    serials.iter().map(|serial| Task::Submission(number(*serial))).collect()
}

const ACCEPTED: fn() -> Received = || Received::New(Outcome::Accepted);

fn parties(ledger: &dyn Ledger) {
    let office = Op::SetOffice { office: sample::office("1234"), new: true };
    assert!(matches!(refused(ledger, office), Refusal::Missing(_)), "its insurer is not there");
    prepare(ledger);
    let insurer = sample::insurer();
    assert_eq!(
        refused(ledger, Op::SetInsurer { insurer: insurer.clone(), new: true }),
        Refusal::Exists("insurer 06139999".into())
    );
    let changed = crate::model::party::Insurer { card: sample::card(77), ..insurer.clone() };
    commit(ledger, Op::SetInsurer { insurer: changed.clone(), new: false });
    assert_eq!(ledger.insurer(&insurer_code()).unwrap(), Some(changed.clone()));
    assert_eq!(ledger.insurers().unwrap(), std::slice::from_ref(&changed));
    assert!(ledger.refers_to(&changed.card.blob).unwrap());
    assert!(!ledger.refers_to(&insurer.card.blob).unwrap(), "the old card is an orphan");
    let missing = Op::SetOffice { office: sample::office("9999"), new: false };
    assert!(matches!(refused(ledger, missing), Refusal::Missing(_)));
    assert_eq!(ledger.offices(&insurer_code()).unwrap().len(), 2);
    assert_eq!(ledger.office(&insurer_code(), &office_code("5678")).unwrap(), Some(sample::office("5678")));

    let second = sample::account("K0002", "SHA256:one");
    let taken = refused(ledger, Op::SetAccount { account: second.clone(), new: true });
    assert_eq!(taken, Refusal::KeyTaken { fingerprint: "SHA256:one".into(), account: account_id("K0001") });
    let mut twin = sample::account("T0001", "SHA256:one");
    twin.test = true;
    commit(ledger, Op::SetAccount { account: twin.clone(), new: true });
    let ids = |names: &[&str]| names.iter().map(|name| account_id(name)).collect::<Vec<_>>();
    assert_eq!(ledger.accounts_of_key("SHA256:one").unwrap(), ids(&["K0001", "T0001"]));
    let mut other_test = sample::account("T0002", "SHA256:one");
    other_test.test = true;
    assert!(matches!(
        refused(ledger, Op::SetAccount { account: other_test, new: true }),
        Refusal::KeyTaken { .. }
    ));
    twin.keys[0].fingerprint = "SHA256:two".into();
    commit(ledger, Op::SetAccount { account: twin, new: false });
    assert_eq!(ledger.accounts_of_key("SHA256:one").unwrap(), ids(&["K0001"]));
    assert_eq!(ledger.accounts_of_key("SHA256:two").unwrap(), ids(&["T0001"]));
    assert_eq!(ledger.accounts_of_key("SHA256:none").unwrap(), []);
    let mut elsewhere = sample::account("K0003", "SHA256:three");
    elsewhere.offices.push(office_code("9999"));
    assert!(matches!(
        refused(ledger, Op::SetAccount { account: elsewhere, new: true }),
        Refusal::Missing(what) if what.contains("9999")
    ));
    assert_eq!(ledger.accounts(None).unwrap().len(), 2);
    assert_eq!(ledger.accounts(Some(&insurer_code())).unwrap(), ledger.accounts(None).unwrap());
    assert_eq!(ledger.account(&account_id("K0001")).unwrap().unwrap().keys[0].fingerprint, "SHA256:one");
    assert_eq!(ledger.account(&account_id("K0009")).unwrap(), None);
}

fn a_life(ledger: &dyn Ledger) {
    prepare(ledger);
    for serial in 1..=3 {
        assert_eq!(receive(ledger, sample::submission(1, serial, None), Outcome::Accepted), ACCEPTED());
    }
    assert_eq!(due(ledger, Queue::Publish), submissions(&[1, 2, 3]));
    let one = ledger.submission(number(1)).unwrap().unwrap();
    assert_eq!((one.state, one.decided_at), (State::Accepted, Some(NOW)));
    assert!(ledger.refers_to(&one.files[0].blob).unwrap() && ledger.refers_to(&one.card.blob).unwrap());

    commit(ledger, Op::Withdraw { number: number(3), account: None });
    let intended =
        commit(ledger, Op::PublishIntend(vec![number(1), number(3), number(2), number(1), number(9)]));
    assert_eq!(intended, Done::Numbers(vec![number(1), number(2)]), "those still accepted, once");
    assert_eq!(due(ledger, Queue::Publish), submissions(&[1, 2]), "they stay until they are published");
    let again = commit(ledger, Op::PublishIntend(vec![number(1)]));
    assert_eq!(again, Done::Numbers(vec![]));
    assert_eq!(commit(ledger, Op::Published(vec![number(1), number(3)])), Done::Numbers(vec![number(1)]));
    assert_eq!(due(ledger, Queue::Publish), submissions(&[2]));
    at(ledger, Op::Collect(number(1)), NOW.plus(5));
    commit(ledger, Op::Collect(number(2)));
    assert_eq!(due(ledger, Queue::Publish), []);
    for (ok, then) in [(false, State::ImportFailed), (true, State::Imported), (true, State::Imported)] {
        commit(ledger, Op::EndImport { number: number(1), ok });
        assert_eq!(state(ledger, 1), then);
    }
    let one = ledger.submission(number(1)).unwrap().unwrap();
    assert_eq!(one.collected_at, Some(NOW.plus(5)));
    assert_eq!(
        refused(ledger, Op::Collect(number(1))),
        Refusal::State { number: number(1), state: State::Imported }
    );
    assert!(matches!(refused(ledger, Op::Collect(number(9))), Refusal::Missing(_)));

    let list = |filter: SubmissionFilter, limit| -> Vec<u64> {
        ledger.submissions(&filter, limit).unwrap().iter().map(|s| s.number.serial).collect()
    };
    let all = SubmissionFilter::default;
    assert_eq!(list(all(), 10), [3, 2, 1]);
    assert_eq!(list(all(), 2), [3, 2]);
    assert_eq!(list(SubmissionFilter { before: Some(number(2)), ..all() }, 10), [1]);
    let states = vec![State::Imported, State::Withdrawn, State::Imported];
    assert_eq!(list(SubmissionFilter { states: states.clone(), ..all() }, 10), [3, 1]);
    let filter = SubmissionFilter { states, before: Some(number(3)), insurer: Some(insurer_code()), ..all() };
    assert_eq!(list(filter, 10), [1]);
    assert_eq!(list(SubmissionFilter { insurer: Some(insurer_code()), ..all() }, 10), [3, 2, 1]);
    let mine = SubmissionFilter { account: Some(account_id("K0001")), ..all() };
    assert_eq!(list(SubmissionFilter { states: vec![State::Collected], ..mine }, 10), [2]);
    assert_eq!(list(SubmissionFilter { account: Some(account_id("K000")), ..all() }, 10), [] as [u64; 0]);
}

fn same_manifest(ledger: &dyn Ledger) {
    prepare(ledger);
    let first = sample::submission(1, 1, Some(1));
    let again = |serial| Submission { number: number(serial), ..first.clone() };
    assert_eq!(receive(ledger, first.clone(), Outcome::Refused("VIRUS-FOUND".into())), {
        Received::New(Outcome::Refused("VIRUS-FOUND".into()))
    });
    assert_eq!(receive(ledger, again(2), Outcome::Held(HoldReason::Scanner)), {
        Received::New(Outcome::Held(HoldReason::Scanner))
    });
    let head = ledger.head();
    for outcome in [Outcome::Accepted, Outcome::Refused("X".into()), Outcome::Held(HoldReason::Calendar)] {
        assert_eq!(receive(ledger, again(3), outcome), Received::Same(number(2)));
    }
    assert_eq!(ledger.head(), head, "nothing was recorded");
    let latest = || ledger.submission_by_manifest(&account_id("K0001"), first.manifest).unwrap();
    assert_eq!(latest(), Some(number(2)));
    commit(ledger, Op::Withdraw { number: number(2), account: Some(account_id("K0001")) });
    assert_eq!(latest(), Some(number(2)), "the latest, whatever became of it");
    assert_eq!(receive(ledger, again(4), Outcome::Accepted), ACCEPTED());
    assert_eq!(latest(), Some(number(4)));
    assert_eq!(receive(ledger, again(5), Outcome::Accepted), Received::Same(number(4)));
    assert!(matches!(
        ledger.commit(
            Op::Receive {
                submission: Box::new(Submission { manifest: digest(99), ..again(4) }),
                outcome: Outcome::Accepted,
                hold_same_content: false,
                id_since: NOW,
            },
            Actor::Daemon,
            NOW
        ),
        Err(LedgerError::Refused(Refusal::Exists(_)))
    ));
}

fn ids_and_contents(ledger: &dyn Ledger) {
    prepare(ledger);
    assert_eq!(receive(ledger, sample::submission(1, 1, Some(1)), Outcome::Accepted), ACCEPTED());
    assert_eq!(
        receive(ledger, sample::submission(1, 2, Some(1)), Outcome::Accepted),
        Received::IdTaken(number(1))
    );
    // The refusal that follows from that is recorded, and frees nothing.
    let refusal = Outcome::Refused("ID-TAKEN".into());
    assert_eq!(receive(ledger, sample::submission(1, 2, Some(1)), refusal.clone()), Received::New(refusal));
    let tag = sample::submission(1, 1, Some(1)).id_tag.unwrap();
    assert_eq!(ledger.submission_by_id(&account_id("K0001"), tag).unwrap(), Some(number(2)));
    assert_eq!(
        receive(ledger, sample::submission(1, 3, Some(1)), Outcome::Accepted),
        Received::IdTaken(number(1))
    );
    // Another filing year.
    let later = Op::Receive {
        submission: Box::new(Submission { received_at: NOW.plus(3), ..sample::submission(1, 3, Some(1)) }),
        outcome: Outcome::Accepted,
        hold_same_content: true,
        id_since: NOW.plus(1),
    };
    assert_eq!(at(ledger, later, NOW.plus(3)), Done::Received(ACCEPTED()));
    commit(ledger, Op::Withdraw { number: number(3), account: None });
    let later = Submission { received_at: NOW.plus(4), ..sample::submission(1, 4, Some(1)) };
    assert_eq!(receive(ledger, later, Outcome::Accepted), ACCEPTED(), "withdrawn: the id is free");

    // A withdrawal that bears the filing's id neither takes it nor stands for it.
    assert_eq!(receive(ledger, sample::submission(1, 20, Some(7)), Outcome::Accepted), ACCEPTED());
    let withdrawal =
        Submission { withdraws: Some(number(20)), files: Vec::new(), ..sample::submission(1, 21, Some(7)) };
    assert_eq!(receive(ledger, withdrawal, Outcome::Accepted), ACCEPTED());
    assert_eq!((state(ledger, 20), state(ledger, 21)), (State::Withdrawn, State::CarriedOut));
    let tag = sample::submission(1, 20, Some(7)).id_tag.unwrap();
    assert_eq!(ledger.submission_by_id(&account_id("K0001"), tag).unwrap(), Some(number(20)));
    assert_eq!(receive(ledger, sample::submission(1, 22, Some(7)), Outcome::Accepted), ACCEPTED());

    // The same content under another manifest.
    let same = |serial| Submission {
        content_tag: sample::submission(1, 1, None).content_tag,
        ..sample::submission(1, serial, None)
    };
    let first = Received::SameContent(number(1));
    assert_eq!(receive(ledger, same(5), Outcome::Accepted), first);
    assert_eq!(ledger.submission(number(5)).unwrap(), None, "nothing is recorded");
    assert_eq!(receive(ledger, same(5), Outcome::Held(HoldReason::Scanner)), first);
    let held = Op::Receive {
        submission: Box::new(same(5)),
        outcome: Outcome::Held(HoldReason::SameContent),
        hold_same_content: false,
        id_since: NOW,
    };
    assert_eq!(commit(ledger, held), Done::Received(Received::New(Outcome::Held(HoldReason::SameContent))));
    assert_eq!(state(ledger, 5), State::Held);
    assert_eq!(ledger.hold(number(5)).unwrap().map(|hold| hold.reason), Some(HoldReason::SameContent));
    assert_eq!(due(ledger, Queue::Judge), [], "somebody must look");
    commit(ledger, Op::Withdraw { number: number(1), account: None });
    assert_eq!(
        receive(ledger, same(7), Outcome::Accepted),
        Received::SameContent(number(5)),
        "one is still there"
    );
    commit(ledger, Op::Withdraw { number: number(5), account: None });
    assert_eq!(receive(ledger, same(8), Outcome::Accepted), ACCEPTED());
    let passes = Op::Receive {
        submission: Box::new(same(9)),
        outcome: Outcome::Accepted,
        hold_same_content: false,
        id_since: NOW,
    };
    assert_eq!(commit(ledger, passes), Done::Received(ACCEPTED()));
}

fn holds(ledger: &dyn Ledger) {
    prepare(ledger);
    receive(ledger, sample::submission(1, 1, None), Outcome::Held(HoldReason::Scanner));
    receive(ledger, sample::submission(1, 2, None), Outcome::Held(HoldReason::Calendar));
    assert_eq!(due(ledger, Queue::Judge), submissions(&[1, 2]));
    assert_eq!(ledger.submission(number(1)).unwrap().unwrap().decided_at, None);
    let judge = |serial, outcome, decision| Op::Judge {
        number: number(serial),
        outcome,
        verdicts: vec![],
        office: None,
        forms: vec![],
        decision,
        released: false,
    };
    at(ledger, judge(1, Outcome::Held(HoldReason::Calendar), None), NOW.plus(1));
    assert_eq!(due(ledger, Queue::Judge), submissions(&[2, 1]), "held anew, due anew");
    commit(ledger, judge(1, Outcome::Accepted, Some(sample::card(500))));
    commit(ledger, judge(2, Outcome::Refused("VIRUS-FOUND".into()), Some(sample::card(501))));
    assert_eq!(due(ledger, Queue::Judge), []);
    assert_eq!(due(ledger, Queue::Publish), submissions(&[1]));
    assert_eq!((state(ledger, 1), state(ledger, 2)), (State::Accepted, State::Refused));
    let one = ledger.submission(number(1)).unwrap().unwrap();
    assert_eq!((one.decided_at, one.decision), (Some(NOW.plus(1)), Some(sample::card(500))));
    assert!(one.verdicts.is_empty());
    assert!(ledger.refers_to(&sample::card(501).blob).unwrap());
    assert_eq!(
        refused(ledger, judge(1, Outcome::Accepted, None)),
        Refusal::State { number: number(1), state: State::Accepted }
    );
    assert_eq!(ledger.hold(number(1)).unwrap(), None);
}

fn withdrawals(ledger: &dyn Ledger) {
    prepare(ledger);
    for serial in 1..=3 {
        receive(ledger, sample::submission(1, serial, None), Outcome::Accepted);
    }
    let withdraw = |serial| Op::Withdraw { number: number(serial), account: Some(account_id("K0001")) };
    let other = Op::Withdraw { number: number(1), account: Some(account_id("K0002")) };
    assert!(matches!(refused(ledger, other), Refusal::NotYours(_)));
    commit(ledger, Op::PublishIntend(vec![number(1), number(2)]));
    assert!(matches!(refused(ledger, withdraw(1)), Refusal::NotNow(why) if why.contains("try again")));
    commit(ledger, Op::Published(vec![number(1), number(2)]));
    commit(ledger, withdraw(1));
    commit(ledger, withdraw(3));
    commit(ledger, Op::Collect(number(2)));
    for (serial, state) in [(1, State::Withdrawn), (2, State::Collected)] {
        assert_eq!(refused(ledger, withdraw(serial)), Refusal::State { number: number(serial), state });
    }
    assert_eq!(due(ledger, Queue::Publish), []);
    assert_eq!(ledger.submission(number(3)).unwrap().unwrap().withdrawn_at, Some(NOW));
}

fn tests_go_nowhere(ledger: &dyn Ledger) {
    prepare(ledger);
    let test = Submission { test: true, ..sample::submission(1, 1, None) };
    assert_eq!(receive(ledger, test, Outcome::Accepted), ACCEPTED());
    assert_eq!(due(ledger, Queue::Publish), []);
    assert_eq!(commit(ledger, Op::PublishIntend(vec![number(1)])), Done::Numbers(vec![]));
    assert_eq!(ledger.erasable(&[State::Accepted], NOW.plus(1), 10).unwrap(), [number(1)]);
}

fn erasing(ledger: &dyn Ledger) {
    prepare(ledger);
    for serial in 1..=4 {
        let outcome = if serial == 4 { Outcome::Accepted } else { Outcome::Refused("X".into()) };
        let op = Op::Receive {
            submission: Box::new(sample::submission(1, serial, None)),
            outcome,
            hold_same_content: true,
            id_since: NOW,
        };
        at(ledger, op, NOW.plus(serial.cast_signed()));
    }
    let states = [State::Refused, State::Accepted, State::Refused];
    assert_eq!(ledger.erasable(&states, NOW.plus(3), 10).unwrap(), [number(1), number(2)]);
    assert_eq!(ledger.erasable(&states, NOW.plus(9), 1).unwrap(), [number(1)]);
    let all = vec![number(4), number(1), number(2)];
    let some = Done::Numbers(vec![number(1), number(2)]);
    assert_eq!(commit(ledger, Op::EraseIntend(all.clone())), some, "the accepted one is under way");
    let head = ledger.head();
    assert_eq!(commit(ledger, Op::EraseIntend(all)), some, "an interrupted step runs again");
    assert_eq!(ledger.head(), head);
    assert_eq!(ledger.erasable(&states, NOW.plus(3), 10).unwrap(), [number(1), number(2)]);
    let file = sample::submission(1, 1, None).files[0].blob.clone();
    assert!(ledger.refers_to(&file).unwrap());
    assert_eq!(commit(ledger, Op::Erased(vec![number(1), number(3)])), Done::Numbers(vec![number(1)]));
    assert!(!ledger.refers_to(&file).unwrap());
    let one = ledger.submission(number(1)).unwrap().unwrap();
    assert!(one.files.is_empty() && ledger.refers_to(&one.card.blob).unwrap());
    assert_eq!(ledger.erasable(&states, NOW.plus(3), 10).unwrap(), [number(2)]);
    assert_eq!(ledger.card_erasable(NOW.plus(1), 10).unwrap(), []);
    assert_eq!(ledger.card_erasable(NOW.plus(2), 10).unwrap(), [number(1)]);
    assert_eq!(commit(ledger, Op::CardErased(vec![number(1), number(2)])), Done::Numbers(vec![number(1)]));
    assert_eq!(ledger.card_erasable(NOW.plus(2), 10).unwrap(), []);
    assert!(!ledger.refers_to(&one.card.blob).unwrap());
    assert_eq!(state(ledger, 1), State::Refused, "that it was, and what it came to, stays");
}

fn id(serial: u64) -> DocumentId {
    DocumentId { epoch: 1, serial }
}

fn place(ledger: &dyn Ledger, serials: impl IntoIterator<Item = (u64, &'static str)>) -> Done {
    let rows = serials
        .into_iter()
        .map(|(serial, office)| (sample::document(1, serial, office, NOW), digest(serial << 5)))
        .collect();
    commit(ledger, Op::Place(rows))
}

fn documents(ledger: &dyn Ledger) {
    let orphan = Op::Place(vec![(sample::document(1, 1, "1234", NOW), digest(1))]);
    assert!(matches!(refused(ledger, orphan), Refusal::Missing(_)));
    prepare(ledger);
    let done = place(ledger, [(1, "5678"), (2, "1234"), (3, "5678"), (4, "1234")]);
    assert_eq!(done, Done::Documents(vec![id(1), id(2), id(3), id(4)]));
    let rows = [(5, 1), (6, 6), (7, 6)]
        .map(|(serial, row)| (sample::document(1, serial, "1234", NOW), digest(row << 5)));
    assert_eq!(commit(ledger, Op::Place(rows.to_vec())), Done::Documents(vec![id(6)]), "each row once");
    assert_eq!(ledger.delivered_row(digest(1 << 5)).unwrap(), Some(id(1)));
    assert_eq!(ledger.delivered_row(digest(7 << 5)).unwrap(), None);

    let list = |office: Option<&str>, after: Option<u64>, limit| -> Vec<u64> {
        let office = office.map(office_code);
        let found = ledger.documents(&account_id("K0001"), office.as_ref(), after.map(id), limit);
        found.unwrap().iter().map(|document| document.id.serial).collect()
    };
    assert_eq!(list(None, None, 10), [1, 2, 3, 4, 6]);
    assert_eq!(list(None, Some(2), 2), [3, 4]);
    assert_eq!(list(Some("1234"), None, 10), [2, 4, 6]);
    assert_eq!(list(Some("1234"), Some(2), 1), [4]);
    assert_eq!(list(Some("123"), None, 10), [] as [u64; 0]);
    assert_eq!(ledger.document(id(3)).unwrap(), Some(sample::document(1, 3, "5678", NOW)));
    assert_eq!(ledger.document(id(9)).unwrap(), None);
    assert!(ledger.refers_to(&sample::document(1, 3, "5678", NOW).blob).unwrap());

    at(ledger, Op::Fetched(id(3)), NOW.plus(1));
    at(ledger, Op::Fetched(id(3)), NOW.plus(5));
    let fetched = ledger.document(id(3)).unwrap().unwrap().fetched;
    assert_eq!(fetched, Some((NOW.plus(1), NOW.plus(5))));
    assert!(matches!(refused(ledger, Op::Fetched(id(9))), Refusal::Missing(_)));

    let partly = |serial, bytes| Op::PartlyFetched { id: id(serial), bytes };
    at(ledger, partly(2, 100), NOW.plus(6));
    at(ledger, partly(2, 90), NOW.plus(7));
    let partly_fetched = |serial| ledger.document(id(serial)).unwrap().unwrap().partly_fetched;
    assert_eq!(partly_fetched(2), Some((NOW.plus(6), 100)), "once a day");
    at(ledger, partly(2, 900), NOW.plus(8));
    assert_eq!(partly_fetched(2), Some((NOW.plus(8), 900)), "and when it got further");
    at(ledger, partly(2, 900), NOW.plus_days(1));
    assert_eq!(partly_fetched(2), Some((NOW.plus_days(1), 900)));
    at(ledger, partly(3, 1), NOW.plus_days(1));
    assert_eq!(partly_fetched(3), None, "there was a complete one");

    let taken = || Op::DeliveryTaken { insurer: insurer_code(), set: digest(7), placed: 5, refused: 0 };
    assert!(!ledger.delivery_taken(&insurer_code(), digest(7)).unwrap());
    commit(ledger, taken());
    assert!(ledger.delivery_taken(&insurer_code(), digest(7)).unwrap());
    let head = ledger.head();
    commit(ledger, taken());
    assert_eq!(ledger.head(), head);
}

fn removal(ledger: &dyn Ledger) {
    prepare(ledger);
    place(ledger, (1..=4).map(|serial| (serial, "1234")));
    let expires = NOW.plus_days(70);
    assert_eq!(ledger.due(Queue::Expire, expires.plus(-1), 10).unwrap(), []);
    assert_eq!(
        ledger.due(Queue::Expire, expires, 2).unwrap(),
        [Task::Document(id(1)), Task::Document(id(2))]
    );
    assert_eq!(ledger.waiting(Queue::Expire).unwrap(), (4, Some(expires)));
    assert_eq!(due(ledger, Queue::Announce).len(), 4);

    let intend = |ids| Op::RemovalIntend { ids, reason: RemovalReason::Recalled };
    assert_eq!(commit(ledger, intend(vec![id(2), id(9), id(2)])), Done::Documents(vec![id(2)]));
    let head = ledger.head();
    assert_eq!(commit(ledger, intend(vec![id(2)])), Done::Documents(vec![id(2)]), "can run again");
    assert_eq!(ledger.head(), head);
    assert_eq!(ledger.document(id(2)).unwrap(), None);
    let (document, reason) = ledger.removing(id(2)).unwrap().unwrap();
    assert_eq!((document.id, reason), (id(2), RemovalReason::Recalled));
    assert_eq!(ledger.removing(id(1)).unwrap(), None);
    assert_eq!(ledger.documents(&account_id("K0001"), None, None, 10).unwrap().len(), 3);
    assert_eq!(due(ledger, Queue::Expire), [Task::Document(id(2))], "to be finished at once");
    assert_eq!(due(ledger, Queue::Announce).len(), 3);
    assert!(ledger.refers_to(&document.blob).unwrap());
    assert_eq!(commit(ledger, Op::Removed(vec![id(1), id(2)])), Done::Documents(vec![id(2)]));
    assert_eq!(ledger.removing(id(2)).unwrap(), None);
    let gone = ledger.removed_document(id(2)).unwrap().unwrap();
    assert_eq!((gone.reason, &gone.kind, gone.fetched), (RemovalReason::Recalled, &document.kind, None));
    // A download that was under way goes on record, and the row may be placed anew.
    at(ledger, Op::PartlyFetched { id: id(2), bytes: 7 }, NOW.plus(8));
    at(ledger, Op::Fetched(id(2)), NOW.plus(9));
    let gone = ledger.removed_document(id(2)).unwrap().unwrap();
    assert_eq!(gone.partly_fetched.map(|(_, bytes)| bytes), Some(7));
    assert!(gone.fetched.is_some());
    let again = |serial| Op::Place(vec![(sample::document(1, serial, "1234", NOW), digest(2 << 5))]);
    assert_eq!(commit(ledger, again(20)), Done::Documents(vec![id(20)]));
    assert_eq!(commit(ledger, again(21)), Done::Documents(vec![]), "it is there");
    assert_eq!(ledger.delivered_row(digest(2 << 5)).unwrap(), Some(id(20)));
    let removals = ledger.removals();
    commit(ledger, intend(vec![id(20)]));
    assert_ne!(ledger.removals(), removals);
    commit(ledger, Op::Removed(vec![id(20)]));
    let when = gone.removed_at;
    assert_eq!(ledger.removed_documents(&insurer_code(), when, when.plus(1)).unwrap(), [gone]);
    assert_eq!(ledger.removed_documents(&insurer_code(), when.plus(1), when.plus(9)).unwrap(), []);
    assert!(!ledger.refers_to(&document.blob).unwrap() && !ledger.refers_to(&document.card.blob).unwrap());
    assert_eq!(ledger.waiting(Queue::Expire).unwrap(), (3, Some(expires)));

    let card = sample::card(77);
    let hold = || Op::HoldDocument { id: id(1), legal: true, card: card.clone() };
    commit(ledger, hold());
    assert!(matches!(refused(ledger, hold()), Refusal::NotNow(_)));
    assert!(ledger.document(id(1)).unwrap().unwrap().hold.unwrap().legal);
    assert!(ledger.refers_to(&card.blob).unwrap());
    assert_eq!(
        ledger.due(Queue::Expire, expires, 1).unwrap(),
        [Task::Document(id(3))],
        "held ones are not due"
    );
    assert_eq!(commit(ledger, intend(vec![id(1)])), Done::Documents(vec![]));
    // One that nobody has fetched stays as long as its account needs to be reminded of it; never shorter than before.
    let release = |until| Op::ReleaseDocument { id: id(1), until };
    commit(ledger, release(Some(expires.plus(-1))));
    let released = ledger.document(id(1)).unwrap().unwrap();
    assert_eq!((released.expires_at, released.prolonged_at), (expires, None));
    commit(ledger, hold());
    commit(ledger, release(Some(expires.plus(9))));
    let released = ledger.document(id(1)).unwrap().unwrap();
    assert_eq!(released.expires_at, expires.plus(9));
    assert!(released.prolonged_at.is_some());
    assert!(!ledger.due(Queue::Expire, expires.plus(8), 9).unwrap().contains(&Task::Document(id(1))));
    commit(ledger, Op::Fetched(id(1)));
    commit(ledger, hold());
    commit(ledger, release(Some(expires.plus(99))));
    assert_eq!(ledger.document(id(1)).unwrap().unwrap().expires_at, expires.plus(9), "it was fetched");
    assert!(!ledger.refers_to(&card.blob).unwrap());
    assert!(matches!(refused(ledger, release(None)), Refusal::NotNow(_)));
    assert!(ledger.due(Queue::Expire, expires.plus(9), 9).unwrap().contains(&Task::Document(id(1))));
}

fn mails(ledger: &dyn Ledger) {
    prepare(ledger);
    place(ledger, (1..=4).map(|serial| (serial, "1234")));
    let mail_id = |serial| MailId { epoch: 1, serial };
    let seal = |serial, arrivals: &[u64]| {
        let arrivals = arrivals.iter().map(|serial| id(*serial)).collect();
        Op::SealMail(Box::new(sample::mail(1, serial, arrivals, NOW)))
    };
    assert_eq!(commit(ledger, seal(1, &[1, 2])), Done::Sealed(true));
    assert_eq!(due(ledger, Queue::Announce), [Task::Document(id(3)), Task::Document(id(4))]);
    for arrivals in [&[2, 3][..], &[3, 3], &[9]] {
        assert_eq!(commit(ledger, seal(2, arrivals)), Done::Sealed(false), "{arrivals:?}");
    }
    assert!(matches!(refused(ledger, seal(1, &[3])), Refusal::Exists(_)));
    assert_eq!(commit(ledger, seal(2, &[3])), Done::Sealed(true));
    assert_eq!(due(ledger, Queue::Mail), [Task::Mail(mail_id(1)), Task::Mail(mail_id(2))]);

    let tell = |serial, about: &str| {
        let subject = Subject::Notice { kind: "password-expires".into(), about: about.into() };
        Op::SealMail(Box::new(Mail { subject, ..sample::mail(1, serial, vec![], NOW) }))
    };
    assert_eq!(commit(ledger, tell(11, "K0001 7")), Done::Sealed(true));
    assert_eq!(commit(ledger, tell(12, "K0001 7")), Done::Sealed(false), "told once");
    for (serial, about) in [(12, "K0001 1"), (13, ""), (14, "")] {
        assert_eq!(commit(ledger, tell(serial, about)), Done::Sealed(true), "{about:?}");
    }
    for serial in 11..=14 {
        let op = Op::TryMail { id: mail_id(serial), result: MailResult::Dropped };
        commit(ledger, op);
        commit(ledger, Op::MailCardErased(vec![mail_id(serial)]));
    }

    let attempt = |serial, result| Op::TryMail { id: mail_id(serial), result };
    let until = NOW.plus(60_000);
    commit(ledger, attempt(1, MailResult::Deferred { reply: "451 4.7.1".into(), until }));
    assert_eq!(ledger.due(Queue::Mail, NOW, 10).unwrap(), [Task::Mail(mail_id(2))]);
    let one = ledger.mail(mail_id(1)).unwrap().unwrap();
    assert_eq!((one.state, one.attempts, one.due_at), (MailState::Queued, 1, until));
    commit(ledger, attempt(2, MailResult::Failed { reply: "550 5.1.1".into() }));
    assert_eq!(ledger.mail_card_erasable(NOW.plus(1), 10).unwrap(), [mail_id(2)]);
    for serial in [1, 2] {
        commit(ledger, Op::RetryMail(mail_id(serial)));
    }
    assert_eq!(ledger.due(Queue::Mail, NOW, 10).unwrap().len(), 2);
    assert_eq!(ledger.mail_card_erasable(NOW.plus(1), 10).unwrap(), []);
    commit(ledger, attempt(1, MailResult::Sent { reply: "250 2.0.0".into() }));
    commit(ledger, attempt(2, MailResult::Dropped));
    assert!(matches!(refused(ledger, Op::RetryMail(mail_id(1))), Refusal::NotNow(_)));
    assert_eq!(due(ledger, Queue::Mail), []);
    let one = ledger.mail(mail_id(1)).unwrap().unwrap();
    assert_eq!((one.state, one.attempts, one.last_reply.as_deref()), (MailState::Sent, 2, Some("250 2.0.0")));
    assert!(matches!(refused(ledger, attempt(1, MailResult::Dropped)), Refusal::NotNow(_)));
    assert_eq!(ledger.stopped(), None);

    let list = |filter: MailFilter, limit| -> Vec<u64> {
        ledger.mails(&filter, limit).unwrap().iter().map(|mail| mail.id.serial).collect()
    };
    assert_eq!(list(MailFilter::default(), 10), [14, 13, 12, 11, 2, 1]);
    assert_eq!(list(MailFilter { before: Some(mail_id(2)), ..Default::default() }, 10), [1]);
    assert_eq!(list(MailFilter { state: Some(MailState::Sent), ..Default::default() }, 10), [1]);
    let mine = MailFilter { account: Some(account_id("K0001")), ..Default::default() };
    assert_eq!(list(mine.clone(), 1), [14]);
    assert_eq!(list(MailFilter { state: Some(MailState::Sent), ..mine }, 10), [1]);

    assert!(ledger.refers_to(&one.card.blob).unwrap());
    commit(ledger, Op::MailCardErased(vec![mail_id(1), mail_id(9)]));
    assert!(!ledger.refers_to(&one.card.blob).unwrap());
    assert_eq!(ledger.mail_card_erasable(NOW.plus(1), 10).unwrap(), [mail_id(2)]);
}

fn mailboxes(ledger: &dyn Ledger) {
    prepare(ledger);
    place(ledger, (1..=3).map(|serial| (serial, "1234")));
    let mail_id = |serial| MailId { epoch: 1, serial };
    let tag = sample::digest(77);
    let mail = |serial, arrivals: Vec<DocumentId>| Mail {
        mailbox: Some(tag),
        more_accounts: vec![account_id("K0002"), account_id("K0001")],
        ..sample::mail(1, serial, arrivals, NOW)
    };
    assert_eq!(ledger.mailbox(tag).unwrap(), None);
    let both = vec![mail(1, vec![id(1), id(2)]), mail(2, vec![id(2), id(3)])];
    assert_eq!(
        commit(ledger, Op::SealMails(both)),
        Done::Mails(vec![mail_id(1)]),
        "the second tells of the same"
    );
    assert_eq!(ledger.mailbox(tag).unwrap().unwrap().announced_at, Some(NOW));
    for account in ["K0001", "K0002"] {
        let filter = MailFilter { account: Some(account_id(account)), ..MailFilter::default() };
        assert_eq!(ledger.mails(&filter, 10).unwrap().len(), 1, "{account}");
    }
    let filter =
        MailFilter { mailbox: Some(tag), account: Some(account_id("K0009")), ..MailFilter::default() };
    assert_eq!(ledger.mails(&filter, 10).unwrap(), []);

    let sent = MailResult::Sent { reply: "250".into() };
    commit(
        ledger,
        Op::TryMails(vec![(mail_id(1), sent.clone()), (mail_id(9), sent.clone()), (mail_id(1), sent)]),
    );
    assert_eq!(ledger.mail(mail_id(1)).unwrap().unwrap().attempts, 1);
    let report = |report, proven, seed| Op::ReportMail {
        id: mail_id(1),
        report,
        status: Some("5.1.1".into()),
        proven,
        message: sample::digest(seed),
        failures: (2, NOW),
    };
    commit(ledger, report(Report::Unreachable, false, 1));
    assert_eq!(ledger.marked_mailboxes(None, 10).unwrap(), [], "not proven");
    commit(ledger, report(Report::Failed, true, 2));
    assert_eq!(ledger.mailbox(tag).unwrap().unwrap().failures.len(), 1);
    let head = ledger.head();
    commit(ledger, report(Report::Unreachable, true, 2));
    assert_eq!(ledger.head(), head, "the same message");
    assert!(ledger.reported(sample::digest(2)).unwrap() && !ledger.reported(sample::digest(3)).unwrap());
    commit(ledger, report(Report::Failed, true, 3));
    let marked = ledger.marked_mailboxes(None, 10).unwrap();
    assert_eq!(
        marked.iter().map(|m| (m.tag, m.mark.as_ref().unwrap().soft)).collect::<Vec<_>>(),
        [(tag, true)]
    );
    assert_eq!(ledger.marked_mailboxes(Some(tag), 10).unwrap(), []);
    assert_eq!(due(ledger, Queue::Announce).len(), 3, "its documents wait again");
    let told = ledger.mail(mail_id(1)).unwrap().unwrap().report.unwrap();
    assert_eq!((told.report, told.proven), (Report::Failed, true));

    // What is proven is neither talked over by anybody nor by a lesser report.
    commit(ledger, report(Report::Complaint, false, 4));
    commit(ledger, report(Report::AutoReply, true, 5));
    let told = ledger.mail(mail_id(1)).unwrap().unwrap().report.unwrap();
    assert_eq!((told.report, told.proven), (Report::Failed, true));

    // What cannot be sent meanwhile goes when the address is resumed.
    let notice = Mail { subject: Subject::Swept, ..mail(3, vec![]) };
    commit(ledger, Op::SealMail(Box::new(notice)));
    let held = MailResult::Failed { reply: ADDRESS_MARKED.into() };
    commit(ledger, Op::TryMails(vec![(mail_id(3), held)]));
    assert!(matches!(refused(ledger, Op::RetryMail(mail_id(3))), Refusal::NotNow(_)));
    at(ledger, Op::ResumeAddress(tag), NOW.plus(5));
    assert!(matches!(refused(ledger, Op::ResumeAddress(tag)), Refusal::NotNow(_)));
    assert_eq!(due(ledger, Queue::Mail), [Task::Mail(mail_id(3))]);
    assert_eq!(ledger.marked_mailboxes(None, 10).unwrap(), []);
    // What comes back late of a mail from before that says nothing about the address; of a later one it does.
    at(ledger, report(Report::Unreachable, true, 6), NOW.plus(6));
    assert_eq!(ledger.mailbox(tag).unwrap().unwrap().failures, []);
    assert_eq!(ledger.marked_mailboxes(None, 10).unwrap(), []);
    at(ledger, Op::SealMail(Box::new(mail(4, vec![]))), NOW.plus(6));
    let sent = MailResult::Sent { reply: "250".into() };
    at(ledger, Op::TryMails(vec![(mail_id(4), sent)]), NOW.plus(7));
    let later = Op::ReportMail {
        id: mail_id(4),
        report: Report::Unreachable,
        status: None,
        proven: true,
        message: sample::digest(7),
        failures: (2, NOW),
    };
    at(ledger, later, NOW.plus(8));
    assert_eq!(ledger.marked_mailboxes(None, 10).unwrap().len(), 1);
    at(ledger, Op::ResumeAddress(tag), NOW.plus(9));
    let mark = || Op::MarkAddress { mail: mail_id(3), status: None };
    commit(ledger, mark());
    let head = ledger.head();
    commit(ledger, mark());
    assert_eq!(ledger.head(), head);
}

fn leases(ledger: &dyn Ledger) {
    prepare(ledger);
    for serial in 1..=4 {
        receive(ledger, sample::submission(1, serial, None), Outcome::Accepted);
    }
    let claim = |now, limit| ledger.claim(Queue::Publish, now, 1000, limit).unwrap();
    assert_eq!(claim(NOW, 2), submissions(&[1, 2]));
    assert_eq!(claim(NOW, 10), submissions(&[3, 4]));
    assert_eq!(claim(NOW.plus(999), 10), []);
    assert_eq!(ledger.due(Queue::Publish, NOW, 10).unwrap().len(), 4, "looking takes nothing");
    ledger.postpone(Queue::Publish, &submissions(&[1]), NOW.plus(5000));
    ledger.postpone(Queue::Publish, &submissions(&[2]), NOW.plus(10));
    assert_eq!(claim(NOW.plus(10), 10), submissions(&[2]));
    assert_eq!(claim(NOW.plus(1000), 10), submissions(&[3, 4]), "their lease ran out");
    commit(ledger, Op::PublishIntend(vec![number(3)]));
    commit(ledger, Op::Published(vec![number(3)]));
    assert_eq!(claim(NOW.plus(2999), 10), submissions(&[2, 4]));
    assert_eq!(claim(NOW.plus(5000), 10), submissions(&[1, 2, 4]));
    // What comes back into its queue at another time is free again.
    place(ledger, [(1, "1234")]);
    commit(ledger, Op::SealMail(Box::new(sample::mail(1, 1, vec![id(1)], NOW))));
    let mail = Task::Mail(MailId { epoch: 1, serial: 1 });
    assert_eq!(ledger.claim(Queue::Mail, NOW, DAY, 10).unwrap(), [mail]);
    let result = MailResult::Deferred { reply: "451".into(), until: NOW.plus(7) };
    commit(ledger, Op::TryMail { id: MailId { epoch: 1, serial: 1 }, result });
    assert_eq!(ledger.claim(Queue::Mail, NOW.plus(6), DAY, 10).unwrap(), []);
    assert_eq!(ledger.claim(Queue::Mail, NOW.plus(7), DAY, 10).unwrap(), [mail]);
}

/// The clock was ahead for a while: what came then, and what comes until it is there again, waits for nothing; what was promised
/// for a day does.
fn a_clock_that_was_ahead(ledger: &dyn Ledger) {
    prepare(ledger);
    let ahead = NOW.plus(9 * 3600 * SECOND);
    let receive_at = |serial, now| {
        let submission = Box::new(sample::submission(1, serial, None));
        let (hold_same_content, id_since) = (false, NOW.plus(-DAY));
        let outcome = Outcome::Accepted;
        at(ledger, Op::Receive { submission, outcome, hold_same_content, id_since }, now);
    };
    receive_at(1, ahead);
    receive_at(2, ahead);
    let claim = |queue, now| ledger.claim(queue, now, 600 * SECOND, 10).unwrap();
    assert_eq!(claim(Queue::Publish, ahead), submissions(&[1, 2]));
    ledger.postpone(Queue::Publish, &submissions(&[1]), ahead.plus(60 * SECOND));

    let right = NOW.plus(10 * SECOND);
    receive_at(3, right);
    assert_eq!(claim(Queue::Publish, right), submissions(&[1, 2, 3]), "leases of that clock are over");
    assert_eq!(claim(Queue::Publish, right.plus(SECOND)), []);
    assert_eq!(claim(Queue::Publish, right.plus(-30 * SECOND)), [], "a small step ends no lease");
    assert_eq!(claim(Queue::Publish, right.plus(600 * SECOND)), submissions(&[1, 2, 3]));

    place(ledger, [(1, "1234"), (2, "1234")]);
    assert_eq!(claim(Queue::Announce, right), [Task::Document(id(1)), Task::Document(id(2))]);
    // One sealed while the clock was ahead, one after.
    at(ledger, Op::SealMail(Box::new(sample::mail(1, 1, vec![id(1)], ahead))), ahead);
    at(ledger, Op::SealMail(Box::new(sample::mail(1, 2, vec![id(2)], right))), right);
    let mails = [2, 1].map(|serial| Task::Mail(MailId { epoch: 1, serial }));
    assert_eq!(claim(Queue::Mail, right), mails);
    let result = MailResult::Deferred { reply: "451".into(), until: right.plus(900 * SECOND) };
    at(ledger, Op::TryMail { id: MailId { epoch: 1, serial: 1 }, result }, right);
    assert_eq!(
        claim(Queue::Mail, right.plus(700 * SECOND)),
        mails[..1],
        "it was tried, and waits for its time"
    );
    assert_eq!(claim(Queue::Mail, right.plus(900 * SECOND)), mails[1..]);
    let first = MailId { epoch: 1, serial: 1 };
    at(ledger, Op::RetryMail(first), right.plus(901 * SECOND));
    assert_eq!(claim(Queue::Mail, right.plus(901 * SECOND)), mails[1..], "it was asked for again");
    let result = MailResult::Deferred { reply: "451".into(), until: right.plus(5000 * SECOND) };
    at(ledger, Op::TryMail { id: first, result }, right.plus(902 * SECOND));
    assert!(!claim(Queue::Mail, right.plus(4999 * SECOND)).contains(&mails[1]), "once");
    assert!(claim(Queue::Mail, right.plus(5000 * SECOND)).contains(&mails[1]));

    let expires = ledger.document(id(1)).unwrap().unwrap().expires_at;
    at(ledger, Op::Fetched(id(1)), expires.plus(DAY));
    assert_eq!(claim(Queue::Expire, expires.plus(-1)), []);
    assert_eq!(
        ledger.due(Queue::Publish, right, 10).unwrap(),
        [],
        "looking goes by the time that is asked for"
    );
}

fn serials_and_time(ledger: &dyn Ledger) {
    prepare(ledger);
    let mut given: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..700).map(|_| ledger.next_serial(Series::Submission, NOW).unwrap()).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    given.sort_unstable();
    assert_eq!(given, (1..=2800).collect::<Vec<_>>());
    assert_eq!(ledger.next_serial(Series::Document, NOW).unwrap(), 1, "each series counts by itself");
    // A clock that goes back does not take the journal with it.
    at(ledger, Op::Stop, NOW.plus(1000));
    at(ledger, Op::Stop, NOW);
    assert_eq!(ledger.head().at, NOW.plus(1000));
    let head = ledger.head();
    assert_eq!((head.epoch, head.unreconciled), (1, false));
    assert!(matches!(refused(ledger, Op::EpochReconciled), Refusal::NotNow(_)));
    let swept = Op::DropboxSwept { account: account_id("K0001"), files: 1, bytes: 2 };
    commit(ledger, swept);
    assert_eq!(ledger.head().seq, head.seq + 1);
    let first = ledger.sweeps(&account_id("K0001"), 10).unwrap();
    assert_eq!(first.iter().map(|s| (s.files, s.bytes)).collect::<Vec<_>>(), [(1, 2)]);
    commit(ledger, Op::DropboxSwept { account: account_id("K0001"), files: 3, bytes: 4 });
    let newest = ledger.sweeps(&account_id("K0001"), 1).unwrap();
    assert_eq!(newest.iter().map(|s| (s.files, s.bytes)).collect::<Vec<_>>(), [(3, 4)]);
    assert_eq!(ledger.sweeps(&account_id("K0002"), 10).unwrap(), []);
}

fn logins(ledger: &dyn Ledger) {
    prepare(ledger);
    let account = account_id("K0001");
    let login = Credential::of(Purpose::Login, &account);
    let set = |version, change| Op::SetPassword { credential: login.clone(), version, change };
    assert_eq!((ledger.password(&login).unwrap(), ledger.password_version(&login).unwrap()), (None, 0));
    assert!(matches!(refused(ledger, set(2, PasswordChange::Temporary)), Refusal::NotNow(_)));
    commit(ledger, set(1, PasswordChange::Temporary));
    assert!(
        matches!(refused(ledger, set(1, PasswordChange::Chosen)), Refusal::NotNow(_)),
        "somebody was quicker"
    );
    let state = ledger.password(&login).unwrap().unwrap();
    assert_eq!((state.set_at, state.by, state.expired), (NOW, Actor::Daemon, false));
    let expired = |version| Op::PasswordExpired { credential: login.clone(), version };
    commit(ledger, set(2, PasswordChange::Chosen));
    commit(ledger, expired(1));
    assert!(!ledger.password(&login).unwrap().unwrap().expired, "that was another one");
    commit(ledger, expired(2));
    let seq = ledger.head().seq;
    commit(ledger, expired(2));
    assert_eq!(ledger.head().seq, seq, "recorded once");
    assert!(ledger.password(&login).unwrap().unwrap().expired);
    let unknown = Credential::of(Purpose::Issue, &account_id("K9999"));
    let op = Op::SetPassword { credential: unknown, version: 1, change: PasswordChange::Given };
    assert!(matches!(refused(ledger, op), Refusal::Missing(_)));
    let applicant = CredentialHolder::parse("A1-000001-4").unwrap();
    let applicant = Credential { purpose: Purpose::Enrolment, holder: applicant };
    let op = Op::SetPassword { credential: applicant, version: 1, change: PasswordChange::Temporary };
    commit(ledger, op);

    let until = NOW.plus(1000);
    let lock = |until| Op::LockLogin { account: account.clone(), until };
    commit(ledger, lock(until));
    commit(ledger, lock(until.plus(5)));
    assert_eq!(ledger.logins(&account).unwrap().locked_until, Some(until), "it lasts already");
    let news = ledger.login_news(10).unwrap();
    let told: Vec<_> = news.iter().map(|(_, of, what)| (of.as_str(), *what)).collect();
    let password = |change| LoginNews::Password(Purpose::Login, change);
    assert_eq!(
        told,
        [
            ("K0001", password(PasswordChange::Temporary)),
            ("K0001", password(PasswordChange::Chosen)),
            ("K0001", LoginNews::Locked(until)),
        ]
    );
    let mut mail = sample::mail(1, 1, Vec::new(), NOW);
    mail.subject = Subject::Login(news[0].0);
    assert_eq!(commit(ledger, Op::SealMail(Box::new(mail.clone()))), Done::Sealed(true));
    mail.id.serial = 2;
    assert_eq!(commit(ledger, Op::SealMail(Box::new(mail))), Done::Sealed(false), "told once");
    assert_eq!(ledger.login_news(10).unwrap(), news[1..]);
    commit(ledger, Op::UnlockLogin(account.clone()));
    assert_eq!(ledger.logins(&account).unwrap().locked_until, None);

    let logged_in =
        |source, day_from| Op::LoggedIn { account: account.clone(), source: digest(source), day_from };
    let seq = ledger.head().seq;
    for source in [1, 1, 2, 1] {
        commit(ledger, logged_in(source, NOW));
    }
    assert_eq!(ledger.head().seq, seq + 2, "once for a source and day");
    for source in 3..100 {
        commit(ledger, logged_in(source, NOW));
    }
    assert_eq!(ledger.head().seq, seq + LOGIN_SOURCES_MAX as u64);
    at(ledger, logged_in(1, NOW.plus(DAY)), NOW.plus(DAY));
    let logins = ledger.logins(&account).unwrap();
    assert_eq!((logins.first_at, logins.last_at), (Some(NOW), Some(NOW.plus(DAY))));
    assert_eq!(logins.sources, [digest(1)], "of that day");

    commit(ledger, Op::RemovePassword(login.clone()));
    assert_eq!((ledger.password(&login).unwrap(), ledger.password_version(&login).unwrap()), (None, 2));
    commit(ledger, Op::RemovePassword(login.clone()));
    commit(ledger, set(3, PasswordChange::Temporary));
}
fn profiles(ledger: &dyn Ledger) {
    prepare(ledger);
    let mut account = sample::account("K0001", "SHA256:one");
    let change = |account: &crate::model::party::Account, serials: [u64; 2]| Op::ChangeProfile {
        account: Box::new(account.clone()),
        fields: vec![ProfileField::Mail],
        mails: serials.map(|serial| sample::mail(1, serial, Vec::new(), NOW)).to_vec(),
    };
    account.card = sample::card(901);
    let by = Actor::Account(account.id.clone());
    ledger.commit(change(&account, [1, 2]), by, NOW).unwrap();
    assert_eq!(ledger.account(&account.id).unwrap().unwrap(), account);
    assert_eq!(due(ledger, Queue::Mail).len(), 2, "both are told by the same step");
    let fact = |at| AccountFact { at, what: AccountFactKind::ProfileChanged(vec![ProfileField::Mail]) };
    assert_eq!(ledger.account_history(&account.id, 10).unwrap(), [fact(NOW)]);

    account.card = sample::card(902);
    assert!(matches!(refused(ledger, change(&account, [3, 2])), Refusal::Exists(_)));
    assert_ne!(ledger.account(&account.id).unwrap().unwrap(), account, "all of it or nothing");
    at(ledger, change(&account, [3, 4]), NOW.plus(5));
    assert_eq!(ledger.account_history(&account.id, 10).unwrap(), [fact(NOW.plus(5)), fact(NOW)]);
    assert_eq!(ledger.account_history(&account.id, 1).unwrap(), [fact(NOW.plus(5))]);
    assert_eq!(ledger.account_history(&account_id("K000"), 10).unwrap(), []);
    account.id = account_id("K0009");
    assert!(matches!(refused(ledger, change(&account, [5, 6])), Refusal::Missing(_)));
}

fn renewal_notices(ledger: &dyn Ledger) {
    use RenewalStage::{Before, Ended};
    certificates::with_authorities(ledger);
    let certificate = sample::certificate("K0001", 1, "SHA256:cert", NOW);
    let (id, ends_at) = (certificate.id, certificate.not_after);
    commit(ledger, Op::IssueCertificate(Box::new(certificate)));
    let note = |stage, serial| {
        let mail = Some(Box::new(sample::mail(1, serial, Vec::new(), NOW)));
        Op::NoteRenewal { id, stage, mail }
    };
    assert_eq!(ledger.renewal_told(id).unwrap(), None);
    assert_eq!(commit(ledger, note(Before(30), 1)), Done::Sealed(true));
    for stage in [Before(30), Before(90)] {
        assert_eq!(commit(ledger, note(stage, 2)), Done::Sealed(false), "{stage:?}");
    }
    assert_eq!(commit(ledger, Op::NoteRenewal { id, stage: Ended, mail: None }), Done::Sealed(true));
    assert_eq!(commit(ledger, note(Before(1), 2)), Done::Sealed(false));
    assert_eq!(ledger.renewal_told(id).unwrap(), Some(Ended));
    assert_eq!(due(ledger, Queue::Mail).len(), 1);
    let told: Vec<_> =
        ledger.account_history(&account_id("K0001"), 10).unwrap().into_iter().map(|fact| fact.what).collect();
    let fact = |stage| AccountFactKind::CertificateEnds { id, ends_at, stage };
    assert_eq!(told, [fact(Ended), fact(Before(30))]);
    let other = crate::model::ids::CertificateId { serial: 9, ..id };
    let op = Op::NoteRenewal { id: other, stage: Ended, mail: None };
    assert!(matches!(refused(ledger, op), Refusal::Missing(_)));
}
