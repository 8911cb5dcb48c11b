use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::model::time::DAY;
use crate::small_world::{World, names};

fn rename(from: PathBuf, to: PathBuf) {
    rustix::fs::rename(from, to).unwrap();
}

#[test]
fn a_published_folder_is_complete_and_checks_itself() {
    let world = World::new();
    let number = world.accept();
    world.publisher(Points::default()).step(world.now).unwrap();
    assert_eq!(world.state(number), State::Published);
    assert_eq!(world.names("new"), [number.to_string()]);
    assert_eq!(world.names(".tmp"), [""; 0]);
    let folder = world.spool(&format!("new/{number}"));
    assert_eq!(names(&folder), ["FILES.sha256", "KPFD0006.CSV", "cover.pdf", "evidence", "submission.json"]);
    assert_eq!(
        names(&folder.join("evidence")),
        ["SHA256SUMS", "SHA256SUMS.sig", "receipt.json", "receipt.json.sig", "signer.pub"]
    );
    let golden = include_str!("../../../tests/golden/submission.json");
    assert_eq!(std::fs::read_to_string(folder.join("submission.json")).unwrap(), golden);
    let check = std::process::Command::new("sha256sum")
        .args(["--strict", "--quiet", "-c", "FILES.sha256"])
        .current_dir(&folder)
        .status()
        .unwrap();
    assert!(check.success());
    for file in ["KPFD0006.CSV", "submission.json", "evidence/receipt.json"] {
        let mode = folder.join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o440, "{file}");
    }
}

/// A crash between any two steps, then a new process: each submission is in `new/` once, whole, and recorded; one that was
/// collected in between is not made anew.
#[test]
fn a_crash_anywhere_publishes_once() {
    for point in ["staged", "durable", "intended", "one renamed", "renamed"] {
        for collected in [false, true] {
            let world = World::new();
            let numbers = [world.accept(), world.accept()];
            let crashed = world.publisher(Points::stopping(move |at| at == point)).step(world.now);
            assert!(crashed.is_err(), "{point}");
            let in_new = world.names("new");
            if collected {
                for name in &in_new {
                    rename(world.spool(&format!("new/{name}")), world.spool(&format!("cur/{name}")));
                }
            }
            world.publisher(Points::default()).step(world.now.plus(DAY)).unwrap();
            let mut everywhere = world.names("new");
            everywhere.extend(world.names("cur"));
            everywhere.sort();
            assert_eq!(everywhere, numbers.map(|number| number.to_string()), "{point}");
            assert_eq!(world.names(".tmp"), [""; 0], "{point}");
            for number in numbers {
                assert_eq!(world.state(number), State::Published, "{point}");
            }
        }
    }
}

#[test]
fn what_is_withdrawn_between_staging_and_intent_never_appears() {
    let world = World::new();
    let number = world.accept();
    let ledger = world.ledger.clone();
    let withdraw = move |at| {
        if at == "durable" {
            ledger.commit(Op::Withdraw { number, account: None }, Actor::Daemon, Timestamp(0)).unwrap();
        }
        false
    };
    world.publisher(Points::stopping(withdraw)).step(world.now).unwrap();
    assert_eq!(world.state(number), State::Withdrawn);
    assert!(world.names("new").is_empty() && world.names(".tmp").is_empty());
}

#[test]
fn a_published_one_is_withdrawn_unless_the_importer_was_faster() {
    let world = World::new();
    let (kept, taken, other) = (world.accept(), world.accept(), world.accept());
    let publisher = world.publisher(Points::default());
    publisher.step(world.now).unwrap();
    rename(world.spool(&format!("new/{taken}")), world.spool(&format!("cur/{taken}")));
    let sender = crate::small_world::account("K0001");
    let by = Actor::Account(sender.clone());
    let withdraw = |number, who| publisher.withdraw(number, Some(who), &by, world.now).unwrap();
    assert_eq!(withdraw(kept, &sender), Withdrawal::Withdrawn);
    assert_eq!(withdraw(taken, &sender), Withdrawal::Collected);
    assert_eq!(world.state(taken), State::Collected);
    let stranger = crate::small_world::account("K0005");
    assert_eq!(withdraw(other, &stranger), Withdrawal::Refused(Refusal::NotYours(other.to_string())));
    assert_eq!(world.names("new"), [other.to_string()]);
    assert!(matches!(withdraw(kept, &sender), Withdrawal::Refused(_)));
    assert!(world.names(".tmp").is_empty());
}

#[test]
fn a_crash_in_a_withdrawal_leaves_it_recorded_or_undone() {
    for (point, state) in [("aside", State::Published), ("recorded", State::Withdrawn)] {
        let world = World::new();
        let number = world.accept();
        world.publisher(Points::default()).step(world.now).unwrap();
        let crashing = world.publisher(Points::stopping(move |at| at == point));
        assert!(crashing.withdraw(number, None, &Actor::Operator(0), world.now).is_err());
        let again = world.publisher(Points::default());
        again.recover().unwrap();
        assert_eq!(world.state(number), state, "{point}");
        assert_eq!(world.names("new").len(), usize::from(state == State::Published), "{point}");
        assert!(world.names(".tmp").is_empty(), "{point}");
        assert_eq!(again.recover().unwrap().done, 0);
    }
}

#[test]
fn a_withdrawal_of_which_nobody_knows_whether_it_is_recorded_is_not_put_back_before_the_next_start() {
    let world = World::new();
    let number = world.accept();
    world.publish();
    let publisher = world.publisher(Points::default());
    let withdraw = || publisher.withdraw(number, None, &Actor::Operator(0), world.now);
    world.ledger.stop_unheard("Withdraw");
    withdraw().unwrap_err();
    let aside = [format!("withdrawn-{number}")];
    assert_eq!((world.names("new"), world.names(".tmp")), (vec![], aside.to_vec()));
    // Asking once more must not take the only copy for a leftover.
    withdraw().unwrap_err();
    assert_eq!((world.names("new"), world.names(".tmp")), (vec![], aside.to_vec()));
    world.ledger.start_anew();
    world.publisher(Points::default()).recover().unwrap();
    assert_eq!(world.state(number), State::Withdrawn);
    assert!(world.names("new").is_empty() && world.names(".tmp").is_empty());
}

#[test]
fn one_that_cannot_be_staged_holds_up_no_other() {
    let world = World::new();
    let (broken, whole) = (world.accept(), world.accept());
    let blob = world.ledger.submission(broken).unwrap().unwrap().files[1].blob.clone();
    world.blobs.remove(&[blob]).unwrap();
    world.publisher(Points::default()).step(world.now).unwrap();
    assert_eq!(world.names("new"), [whole.to_string()]);
    assert_eq!(world.alarm_codes(), [format!("PUBLISH-FAILED {broken}")]);
    assert!(world.names(".tmp").is_empty());
}

/// One insurer's `new/` goes away while both insurers' submissions are on their way in one batch.
#[test]
fn one_insurers_folder_stops_no_other_insurers_publication() {
    let world = World::new();
    let (own, other) = (world.accept(), world.accept_elsewhere());
    let new = world.spool("new");
    let gone = new.clone();
    let removing = move |at| {
        if at == "intended" {
            std::fs::remove_dir(&gone).unwrap();
        }
        false
    };
    world.publisher(Points::stopping(removing)).step(world.now).unwrap();
    assert_eq!((world.state(own), world.state(other)), (State::Publishing, State::Published));
    assert_eq!(world.alarm_codes(), ["SPOOL-UNAVAILABLE 06139999"]);
    assert_eq!(world.names(".tmp"), [own.to_string()]);

    let publisher = world.publisher(Points::default());
    let another = world.accept_elsewhere();
    publisher.step(world.now).unwrap();
    assert_eq!(world.state(another), State::Published);
    std::fs::create_dir(&new).unwrap();
    publisher.step(world.now.plus(59 * SECOND)).unwrap();
    assert_eq!(world.state(own), State::Publishing, "it waits for its time");
    publisher.step(world.now.plus(61 * SECOND)).unwrap();
    assert_eq!(world.state(own), State::Published);
    assert!(world.alarm_codes().is_empty());
}

#[test]
fn a_withdrawal_that_cannot_be_finished_holds_up_its_insurer_alone() {
    let world = World::new();
    let number = world.accept();
    world.publish();
    let crashing = world.publisher(Points::stopping(|at| at == "aside"));
    assert!(crashing.withdraw(number, None, &Actor::Operator(0), world.now).is_err());
    let (new, elsewhere) = (world.spool("new"), world.spool("elsewhere"));
    rename(new.clone(), elsewhere.clone());
    std::os::unix::fs::symlink(&elsewhere, &new).unwrap();

    let again = world.publisher(Points::default());
    again.recover().unwrap();
    assert_eq!(world.alarm_codes(), ["SPOOL-UNAVAILABLE 06139999"]);
    let (own, other) = (world.accept(), world.accept_elsewhere());
    again.step(world.now).unwrap();
    assert_eq!((world.state(own), world.state(other)), (State::Accepted, State::Published));
    let asked = again.withdraw(number, None, &Actor::Operator(0), world.now).unwrap();
    assert_eq!(asked, Withdrawal::NotNow);

    // Right again, but for something of the same number that somebody put there.
    std::fs::remove_file(&new).unwrap();
    rename(elsewhere, new.clone());
    let stranger = new.join(number.to_string());
    std::fs::create_dir(&stranger).unwrap();
    let later = world.now.plus(61 * SECOND);
    again.step(later).unwrap();
    assert_eq!(world.state(own), State::Accepted);
    assert!(world.alarms.list()[0].text.contains("File exists"));
    std::fs::remove_dir(stranger).unwrap();
    world.imports().step(later).unwrap();
    assert_eq!(world.state(number), State::Published, "what is missing says nothing meanwhile");
    again.step(later.plus(61 * SECOND)).unwrap();
    assert_eq!(world.state(own), State::Published);
    assert_eq!(world.names("new"), [number.to_string(), own.to_string()]);
    assert!(world.alarm_codes().is_empty() && world.names(".tmp").is_empty());
}

#[test]
fn nothing_of_a_test_identity_reaches_a_spool() {
    let world = World::new();
    let number = world.accept();
    let mut submission = world.ledger.submission(number).unwrap().unwrap();
    submission.test = true;
    world.ledger.add_submission(submission);
    world.publisher(Points::default()).step(world.now).unwrap();
    assert!(world.names("new").is_empty() && world.names(".tmp").is_empty());
    assert!(world.ledger.log().is_empty());
}

/// For measuring by hand: `cargo test --release two_thousand -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn two_thousand_submissions() {
    let world = World::new();
    for _ in 0..2000 {
        world.accept();
    }
    let publisher = world.publisher(Points::default());
    let begin = std::time::Instant::now();
    while publisher.step(world.now).unwrap().more {}
    println!("2000 submissions published in {:?}", begin.elapsed());
    assert_eq!(world.names("new").len(), 2000);
}
