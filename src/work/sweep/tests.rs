use super::*;
use crate::small_world::World;
use crate::work::step::Points;

#[test]
fn orphans_go_after_their_grace_and_what_is_somebodys_stays() {
    let world = World::new();
    let number = world.accept();
    let orphan = world.blobs.put(b"orphan", world.now).unwrap();
    let claimed = world.blobs.put(b"half an upload", world.now).unwrap();
    let keep = claimed.clone();
    let sweep = Sweep {
        ledger: world.ledger.clone(),
        blobs: world.blobs.clone(),
        spool_root: world.spool_root(),
        grace_days: 2,
        keep: Arc::new(move |id| *id == keep),
        turn: world.turn.clone(),
        alarms: world.alarms.clone(),
    };
    assert_eq!(sweep.step(world.now.plus(2 * DAY)).unwrap().done, 0);
    assert_eq!(sweep.step(world.now.plus(3 * DAY)).unwrap().done, 1);
    assert!(world.blobs.open(&orphan).is_err());
    assert!(world.blobs.open(&claimed).is_ok());
    assert_eq!(world.blobs.count(), 4);
    assert_eq!(world.state(number), State::Accepted);
}

#[test]
fn stages_that_nobody_finishes_go_and_those_of_the_publisher_stay() {
    let world = World::new();
    let (staged, withdrawn) = (world.accept(), world.accept());
    let stop = world.publisher(Points::stopping(|at| at == "staged"));
    assert!(stop.step(world.now).is_err());
    stop.withdraw(withdrawn, None, &crate::model::party::Actor::Daemon, world.now).unwrap();
    let erased = crate::model::ids::Number { epoch: 1, serial: 9 };
    std::fs::create_dir(world.spool(&format!(".tmp/erase-{erased}"))).unwrap();
    let report = world.spool(".tmp/report-accounts.csv");
    std::fs::write(&report, "half").unwrap();
    let at = |now: Timestamp| {
        std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(now.0).unwrap())
    };
    let written = |now| std::fs::File::open(&report).unwrap().set_modified(at(now)).unwrap();
    let sweep = Sweep {
        ledger: world.ledger.clone(),
        blobs: world.blobs.clone(),
        spool_root: world.spool_root(),
        grace_days: 2,
        keep: Arc::new(|_| true),
        turn: world.turn.clone(),
        alarms: world.alarms.clone(),
    };
    written(world.now);
    assert_eq!(sweep.step(world.now).unwrap().done, 2, "a report may be being written");
    written(world.now.plus(-DAY));
    assert_eq!(sweep.step(world.now).unwrap().done, 1);
    assert_eq!(world.names(".tmp"), [staged.to_string()]);
    world.publisher(Points::default()).step(world.now.plus(DAY)).unwrap();
    assert_eq!(world.names("new"), [staged.to_string()]);
}

#[test]
fn one_insurers_unreadable_spool_keeps_no_others_sweep() {
    let world = World::new();
    let other = crate::small_world::code(crate::small_world::OTHER_INSURER);
    let stage = crate::store::spool::insurer_path(&world.spool_root(), &other).join(".tmp/junk");
    std::fs::create_dir(&stage).unwrap();
    std::fs::File::open(&stage).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let first = world.spool(".tmp");
    std::fs::remove_dir_all(&first).unwrap();
    std::fs::write(&first, "no folder").unwrap();
    let sweep = Sweep {
        ledger: world.ledger.clone(),
        blobs: world.blobs.clone(),
        spool_root: world.spool_root(),
        grace_days: 2,
        keep: Arc::new(|_| true),
        turn: world.turn.clone(),
        alarms: world.alarms.clone(),
    };
    assert_eq!(sweep.step(world.now).unwrap().done, 1);
    assert!(!stage.exists());
    assert_eq!(world.alarm_codes(), [format!("SWEEP-FAILED {}", crate::small_world::INSURER)]);
}
