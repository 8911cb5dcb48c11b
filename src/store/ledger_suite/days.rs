//! Days, as every ledger must keep them.

use super::sample::{self, account_id, digest, insurer_code, office_code};
use super::{NOW, at, commit, id, number, place, prepare, receive, refused};
use crate::model::day::{Batch, ClosedDay};
use crate::model::document::RemovalReason;
use crate::model::event::{Event, Record};
use crate::model::ids::Digest;
use crate::model::party::Actor;
use crate::model::submission::{HoldReason, Outcome, Submission};
use crate::model::time::{DAY, SECOND, Timestamp};
use crate::store::ledger::{Ledger, LedgerError, Op, Refusal};

const HOUR: i64 = 3_600 * SECOND;

fn batch(slot: Timestamp, upto: u64) -> Op {
    let batch = Batch { slot, upto, rows: 0, sha256: digest(1), name: "batch-20261123-1700.csv".to_owned() };
    Op::CloseBatch { insurer: insurer_code(), batch }
}

fn numbers(ledger: &dyn Ledger, after: u64, before: Timestamp, limit: usize) -> Vec<u64> {
    let found = ledger.acceptances(&insurer_code(), after, before, limit).unwrap();
    found.into_iter().map(|one| one.number.serial).collect()
}

pub(super) fn acceptances_in_order(ledger: &dyn Ledger) {
    prepare(ledger);
    receive(ledger, sample::submission(1, 3, None), Outcome::Accepted);
    receive(ledger, sample::submission(1, 1, None), Outcome::Held(HoldReason::Scanner));
    receive(ledger, Submission { test: true, ..sample::submission(1, 4, None) }, Outcome::Accepted);
    receive(ledger, sample::submission(1, 5, None), Outcome::Refused("X".into()));
    let withdrawal =
        Submission { withdraws: Some(number(3)), files: Vec::new(), ..sample::submission(1, 6, None) };
    receive(ledger, withdrawal, Outcome::Accepted);
    let judge = Op::Judge {
        number: number(1),
        outcome: Outcome::Accepted,
        verdicts: Vec::new(),
        office: None,
        forms: Vec::new(),
        decision: None,
        released: false,
    };
    at(ledger, judge, NOW.plus(HOUR));
    assert_eq!(numbers(ledger, 0, NOW.plus(DAY), 10), [3, 6, 1]);
    assert_eq!(numbers(ledger, 0, NOW.plus(HOUR), 10), [3, 6], "before, not at");
    assert_eq!(numbers(ledger, 0, NOW.plus(DAY), 2), [3, 6]);
    let first = ledger.acceptances(&insurer_code(), 0, NOW.plus(DAY), 1).unwrap()[0];
    assert_eq!((first.number, first.at), (number(3), NOW));
    assert_eq!(numbers(ledger, first.seq, NOW.plus(DAY), 10), [6, 1]);
    assert_eq!(numbers(ledger, u64::MAX, NOW.plus(DAY), 10), [0; 0]);
}

pub(super) fn batches(ledger: &dyn Ledger) {
    prepare(ledger);
    let slot = NOW.plus(HOUR);
    assert!(matches!(refused(ledger, batch(slot, 0)), Refusal::Missing(_)));
    assert_eq!(ledger.calendar(&insurer_code()).unwrap(), None);
    let begin = |text: &[u8]| Op::BeginCalendar { insurer: insurer_code(), cut_offs: Digest::of(text) };
    commit(ledger, begin(b"17:00"));
    at(ledger, begin(b"17:00"), NOW.plus(1));
    let state = ledger.calendar(&insurer_code()).unwrap().unwrap();
    assert_eq!((state.began, state.cut_offs.1), (NOW, NOW), "once");
    at(ledger, begin(b"12:00"), NOW.plus(2));
    let state = ledger.calendar(&insurer_code()).unwrap().unwrap();
    assert_eq!((state.began, state.cut_offs), (NOW, (Some(Digest::of(b"12:00")), NOW.plus(2))));
    assert!(matches!(refused(ledger, batch(slot, 0)), Refusal::NotNow(_)), "still to come");

    receive(ledger, sample::submission(1, 1, None), Outcome::Accepted);
    let seq = ledger.head().seq;
    let late = |op| match ledger.commit(op, Actor::Daemon, slot) {
        Err(LedgerError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert!(matches!(late(batch(slot, seq - 1)), Refusal::NotNow(_)), "one would be left out");
    at(ledger, batch(slot, seq), slot);
    let closed = ledger.calendar(&insurer_code()).unwrap().unwrap().batch.unwrap();
    assert_eq!((closed.slot, closed.upto), (slot, seq));
    assert!(matches!(late(batch(slot, seq)), Refusal::NotNow(_)), "twice");
    let next = slot.plus(HOUR);
    assert!(matches!(late(batch(next, seq)), Refusal::NotNow(_)));
    // What comes now bears the time of the close at least, whatever its clock says: it is the next batch's.
    receive(ledger, sample::submission(1, 2, None), Outcome::Accepted);
    assert_eq!(numbers(ledger, seq, slot, 10), [0; 0]);
    assert_eq!(numbers(ledger, seq, next, 10), [2]);
    assert!(matches!(
        ledger.commit(batch(next, seq - 1), Actor::Daemon, next),
        Err(LedgerError::Refused(Refusal::NotNow(_)))
    ));
    at(ledger, batch(next, ledger.head().seq), next);
}

pub(super) fn closed_days(ledger: &dyn Ledger) {
    prepare(ledger);
    assert_eq!(ledger.closed_day().unwrap(), None);
    let day = |n: i64, from: i64, until: i64| ClosedDay {
        day: format!("2026-11-{n}"),
        from: NOW.plus(from * DAY),
        until: NOW.plus(until * DAY),
    };
    assert!(matches!(refused(ledger, Op::CloseDay(day(23, 0, 1))), Refusal::NotNow(_)), "not over");
    commit(ledger, Op::CloseDay(day(22, -1, 0)));
    assert_eq!(ledger.closed_day().unwrap(), Some(day(22, -1, 0)));
    for wrong in [day(22, -1, 0), day(21, -2, -1)] {
        assert!(matches!(refused(ledger, Op::CloseDay(wrong)), Refusal::NotNow(_)));
    }
    at(ledger, Op::CloseDay(day(23, 0, 1)), NOW.plus(DAY));
    assert_eq!(ledger.closed_day().unwrap(), Some(day(23, 0, 1)));
}

pub(super) fn what_came_last(ledger: &dyn Ledger) {
    prepare(ledger);
    place(ledger, [(1, "1234"), (2, "5678")]);
    let last = || {
        let found = ledger.last_documents(&insurer_code(), "納入告知書").unwrap();
        found.into_iter().map(|one| (one.office.to_string(), one.account, one.placed_at)).collect::<Vec<_>>()
    };
    let account = account_id("K0001");
    assert_eq!(last(), [("1234".into(), account.clone(), NOW), ("5678".into(), account.clone(), NOW)]);
    assert_eq!(ledger.last_documents(&insurer_code(), "納入").unwrap(), []);
    for (serial, reason) in [(1, RemovalReason::Expired), (2, RemovalReason::Recalled)] {
        commit(ledger, Op::RemovalIntend { ids: vec![id(serial)], reason });
        commit(ledger, Op::Removed(vec![id(serial)]));
    }
    assert_eq!(last(), [("1234".into(), account, NOW)], "what was recalled has not come");
    let trace = ledger.document_trace(id(2)).unwrap().unwrap();
    assert_eq!((trace.office, trace.size), (office_code("5678"), 40_000));
    assert_eq!(ledger.document_trace(id(9)).unwrap(), None);

    let filed = |form| ledger.last_filing(&insurer_code(), &office_code("1234"), form).unwrap();
    assert_eq!(filed(None), None);
    receive(ledger, sample::submission(1, 1, None), Outcome::Accepted);
    receive(ledger, Submission { test: true, ..sample::submission(1, 2, None) }, Outcome::Accepted);
    assert_eq!((filed(None), filed(Some("2200700")), filed(Some("2201700"))), (Some(NOW), Some(NOW), None));
    commit(ledger, Op::Withdraw { number: number(1), account: None });
    assert_eq!((filed(None), filed(Some("2200700"))), (None, None));
}

pub(super) fn events_of_a_time(ledger: &dyn Ledger) {
    prepare(ledger);
    for hour in 1..60 {
        for part in 0..3 {
            let now = NOW.plus(hour * HOUR).plus(part * 10);
            let swept = Op::DropboxSwept {
                account: account_id("K0001"),
                files: hour.unsigned_abs(),
                bytes: part.unsigned_abs(),
            };
            at(ledger, swept, now);
        }
    }
    let found = |from: i64, until: i64| {
        let mut found: Vec<Record> = Vec::new();
        ledger.events(NOW.plus(from), NOW.plus(until), &mut |record| found.push(record)).unwrap();
        assert!(found.windows(2).all(|two| two[0].seq + 1 == two[1].seq));
        let marks = found.into_iter().filter_map(|record| match record.event {
            Event::DropboxSwept { files, bytes, .. } => Some((files, bytes)),
            _ => None,
        });
        marks.collect::<Vec<_>>()
    };
    assert_eq!(found(10 * HOUR, 11 * HOUR), [(10, 0), (10, 1), (10, 2)]);
    assert_eq!(found(10 * HOUR + 10, 11 * HOUR + 10), [(10, 1), (10, 2), (11, 0)]);
    assert_eq!(found(0, 100 * HOUR).len(), 59 * 3);
    assert_eq!(found(-100 * HOUR, 2 * HOUR).len(), 3);
    assert_eq!(found(60 * HOUR, 70 * HOUR), []);
    assert_eq!(found(5 * HOUR + 30, 5 * HOUR + 40), []);
}
