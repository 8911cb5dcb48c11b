//! Cut-offs over the real ledger: exactly once, whatever ends in between.

use std::path::Path;
use std::sync::Arc;

use super::batches::{Batches, Calendars};
use super::step::Points;
use super::sweep::Sweep;
use super::whole_tests::{Run, at_point};
use crate::model::ids::Digest;
use crate::model::party::Actor;
use crate::model::time::{DAY, SECOND, Timestamp};
use crate::rules::calendar::{CalendarPolicy, Holidays, JA};
use crate::signed::sshsig::{self, BATCH_NAMESPACE};
use crate::small_world::{INSURER, at, code, names};
use crate::store::keys::Keys;
use crate::store::ledger::{DayLedger as _, Ledger as _, Op};
use crate::store::spool::insurer_path;

const DAILY: &str = "cut_offs = ['0 0 17 * * *']";

fn calendars(policy: &'static str) -> Arc<Calendars> {
    Arc::new(move |insurer| {
        let policy: CalendarPolicy =
            toml::from_str(if insurer.as_str() == INSURER { policy } else { "" }).unwrap();
        let days = policy.business_days(Holidays::parse(JA.as_bytes()).unwrap());
        Ok((policy, days))
    })
}

fn stage(run: &Run<'_>, policy: &'static str, points: Points) -> Batches {
    Batches {
        ledger: run.ledger.clone(),
        keys: Arc::new(Keys::load_or_make(&run.root.join("keys")).unwrap()),
        spool_root: run.root.to_owned(),
        calendars: calendars(policy),
        zone: chrono_tz::Asia::Tokyo,
        alarms: run.alarms.clone(),
        points,
    }
}

fn step(run: &Run<'_>, policy: &'static str) -> u64 {
    let stage = stage(run, policy, Points::default());
    let mut done = 0;
    loop {
        let progress = stage.step(run.now).unwrap();
        done += progress.done;
        if !progress.more {
            return done;
        }
    }
}

fn batches(root: &Path) -> Vec<String> {
    names(&insurer_path(root, &code(INSURER)).join("batches"))
}

/// Number and state of each row.
fn rows(root: &Path, name: &str) -> Vec<(String, String)> {
    let text =
        std::fs::read_to_string(insurer_path(root, &code(INSURER)).join("batches").join(name)).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), 14, "{line}");
        (cells[0].to_owned(), cells[1].to_owned())
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn each_receipt_is_in_one_batch_and_an_empty_one_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::found(dir.path(), at("2026-11-20T09:00:00+09:00"));
    assert_eq!(step(&run, DAILY), 0, "the calendar begins");
    let first = run.accept(1);
    run.now = at("2026-11-20T16:59:59.999+09:00");
    let second = run.accept(2);
    assert_eq!(step(&run, DAILY), 0);
    run.now = at("2026-11-20T17:00:00+09:00");
    let third = run.accept(3);
    run.publish();
    assert_eq!(step(&run, DAILY), 1);
    assert_eq!(step(&run, DAILY), 0, "once");
    let found = rows(dir.path(), "batch-20261120-1700.csv");
    assert_eq!(found, [(first.to_string(), "published".into()), (second.to_string(), "published".into())]);
    run.now = at("2026-11-22T12:00:00+09:00");
    assert_eq!(step(&run, DAILY), 1);
    assert_eq!(rows(dir.path(), "batch-20261121-1700.csv")[0].0, third.to_string());
    run.now = at("2026-11-22T17:00:03+09:00");
    assert_eq!(step(&run, DAILY), 1);
    assert_eq!(rows(dir.path(), "batch-20261122-1700.csv"), []);

    let file = insurer_path(dir.path(), &code(INSURER)).join("batches/batch-20261121-1700.csv");
    let bytes = std::fs::read(&file).unwrap();
    let signature = std::fs::read(file.with_extension("csv.sig")).unwrap();
    let keys = Keys::load_or_make(&dir.path().join("keys")).unwrap();
    let signer = sshsig::verify(&signature, BATCH_NAMESPACE, &bytes).unwrap();
    assert!(keys.allowed_signers().contains(&crate::store::keys::public_line(&signer.key)));
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains(",filing,K0001,1234,2026-11-20T17:00:00.000+09:00,"), "{text}");
    assert!(text.contains(",2221700:3,3,2,"), "{text}");
    let filing = Digest::of(b"filing");
    assert!(text.contains(&format!("KPFD0006.CSV:{filing} cover.pdf:")), "{text}");
}

/// Cut-offs that were added or moved hold from then on: no batch is closed for a time at which nobody had asked for one.
#[test]
fn a_changed_cut_off_holds_from_its_change_on() {
    const MORE: &str = "cut_offs = ['0 0 17 * * *', '0 0 9 * * *']";
    const EXPECTING: &str = "cut_offs = []\n[[filings]]\nforms = ['2225700']\nday = 10\ngrace_days = 1\n";
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::found(dir.path(), at("2026-11-01T08:00:00+09:00"));
    assert_eq!(step(&run, EXPECTING), 0, "the calendar begins");
    let first = run.accept(1);
    run.now = at("2026-11-20T10:00:00+09:00");
    assert_eq!(step(&run, DAILY), 0, "19 cut-offs that were none");
    run.now = at("2026-11-20T17:00:00+09:00");
    assert_eq!(step(&run, DAILY), 1);
    assert_eq!(rows(dir.path(), "batch-20261120-1700.csv")[0].0, first.to_string(), "nothing is left out");
    run.now = at("2026-11-21T12:00:00+09:00");
    assert_eq!(step(&run, MORE), 0, "9:00 was over when it was asked for");
    run.now = at("2026-11-22T09:00:00+09:00");
    assert_eq!(step(&run, MORE), 2);
    // None for a while, then those of before.
    run.now = at("2026-11-23T08:00:00+09:00");
    assert_eq!(step(&run, ""), 0);
    run.now = at("2026-11-24T08:00:00+09:00");
    assert_eq!(step(&run, MORE), 0);
    run.now = at("2026-11-24T09:00:00+09:00");
    assert_eq!(step(&run, MORE), 1);
    let expected = ["20261120-1700", "20261121-1700", "20261122-0900", "20261124-0900"];
    let expected: Vec<_> =
        expected.iter().flat_map(|at| [format!("batch-{at}.csv"), format!("batch-{at}.csv.sig")]).collect();
    assert_eq!(batches(dir.path()), expected);
}

#[test]
fn every_crash_leaves_one_batch_also_when_the_importer_takes_it_at_once() {
    for point in ["staged", "closed", "renamed"] {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run::found(dir.path(), at("2026-11-20T09:00:00+09:00"));
        step(&run, DAILY);
        let first = run.accept(1);
        run.now = at("2026-11-20T17:00:01+09:00");
        let late = run.now;
        assert!(stage(&run, DAILY, at_point(point)).step(late).is_err(), "{point}");
        drop(run);
        let run = Run::start(dir.path(), late.plus(2 * 3600 * SECOND));
        let sweep = Sweep {
            ledger: run.ledger.clone(),
            blobs: run.blobs.clone(),
            spool_root: run.root.to_owned(),
            grace_days: 1,
            keep: Arc::new(|_| false),
            turn: run.turn.clone(),
            alarms: run.alarms.clone(),
        };
        if point != "staged" {
            sweep.step(run.now.plus(DAY)).unwrap();
        }
        step(&run, DAILY);
        assert_eq!(
            batches(dir.path()),
            ["batch-20261120-1700.csv", "batch-20261120-1700.csv.sig"],
            "{point}"
        );
        assert_eq!(rows(dir.path(), "batch-20261120-1700.csv")[0].0, first.to_string(), "{point}");
        assert_eq!(names(&insurer_path(dir.path(), &code(INSURER)).join(".tmp")), [""; 0], "{point}");
        // Taken away: it does not come again.
        for name in batches(dir.path()) {
            std::fs::remove_file(insurer_path(dir.path(), &code(INSURER)).join("batches").join(name))
                .unwrap();
        }
        drop((sweep, run));
        let run = Run::start(dir.path(), late.plus(3 * 3600 * SECOND));
        assert_eq!(step(&run, DAILY), 0);
        assert_eq!(batches(dir.path()), [""; 0], "{point}");
    }
}

#[test]
fn cut_offs_missed_while_it_was_down_are_closed_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::found(dir.path(), at("2026-11-20T09:00:00+09:00"));
    step(&run, DAILY);
    let first = run.accept(1);
    drop(run);
    let run = Run::start(dir.path(), at("2026-11-24T08:00:00+09:00"));
    assert_eq!(step(&run, DAILY), 4);
    assert_eq!(batches(dir.path()).len(), 8);
    assert_eq!(rows(dir.path(), "batch-20261120-1700.csv")[0].0, first.to_string());
    assert_eq!(rows(dir.path(), "batch-20261123-1700.csv"), []);
    drop(run);
    // Half a year: no more than the policy says; what lies between is in the first one after.
    let mut run = Run::start(dir.path(), at("2026-12-01T08:00:00+09:00"));
    let old = run.accept(2);
    run.now = at("2027-06-01T08:00:00+09:00");
    assert_eq!(step(&run, "cut_offs = ['0 0 17 * * *']\ncatch_up_days = 3"), 3);
    assert_eq!(rows(dir.path(), "batch-20270529-1700.csv")[0].0, old.to_string());
}

#[test]
fn a_year_of_cut_offs_on_business_days_names_everything_once() {
    let policy = "cut_offs = ['0 0 12,17 * * Mon-Fri']\nshift = 'after'";
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::found(dir.path(), at("2026-04-01T09:00:00+09:00"));
    step(&run, policy);
    let mut sent = Vec::new();
    for n in 0..365_i64 {
        run.now = at("2026-04-01T09:00:00+09:00").plus(n * DAY);
        if n % 3 == 0 {
            sent.push(run.accept_tagged(u64::try_from(n).unwrap()).to_string());
        }
        // Down on every tenth day.
        if n % 10 != 7 {
            run.now = run.now.plus(10 * 3600 * SECOND);
            step(&run, policy);
        }
    }
    run.now = run.now.plus(10 * DAY);
    step(&run, policy);
    let sheets: Vec<String> = batches(dir.path()).into_iter().filter(|name| !name.ends_with("sig")).collect();
    let named: Vec<String> =
        sheets.iter().flat_map(|name| rows(dir.path(), name)).map(|(number, _)| number).collect();
    assert_eq!(named, sent);
    for (holiday, before) in [("batch-20260504-1200.csv", false), ("batch-20260507-1200.csv", true)] {
        assert_eq!(sheets.iter().any(|name| name == holiday), before, "{holiday}");
    }
    assert!(!sheets.iter().any(|name| name.contains("20261230")), "closed at the year's end");
}

#[test]
fn a_restored_root_catches_nothing_up_and_what_is_in_the_way_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::found(dir.path(), at("2026-11-20T09:00:00+09:00"));
    step(&run, DAILY);
    run.ledger.begin_epoch(Actor::Daemon, run.now).unwrap();
    run.now = at("2026-11-23T09:00:00+09:00");
    assert_eq!(step(&run, DAILY), 0);
    run.commit(Op::EpochReconciled);
    assert_eq!(step(&run, DAILY), 0, "the calendar begins anew");
    assert_eq!(run.ledger.calendar(&code(INSURER)).unwrap().unwrap().began, run.now);
    let in_the_way = insurer_path(dir.path(), &code(INSURER)).join("batches/batch-20261123-1700.csv");
    std::fs::write(&in_the_way, "somebody else's").unwrap();
    run.now = at("2026-11-23T17:00:00+09:00");
    stage(&run, DAILY, Points::default()).step(run.now).unwrap();
    let alarms = run.alarms.list();
    assert_eq!(alarms[0].code, format!("BATCH-FAILED {INSURER}"), "{alarms:?}");
    std::fs::remove_file(&in_the_way).unwrap();
    step(&run, DAILY);
    assert!(run.alarms.list().is_empty());
    assert_eq!(rows(dir.path(), "batch-20261123-1700.csv"), []);
    assert_eq!(run.ledger.head().at, Timestamp(run.now.0));
}
