use super::*;
use crate::small_world::World;
use crate::store::spool;

fn retention(world: &World, points: Points) -> Retention {
    Retention {
        ledger: world.ledger.clone(),
        blobs: world.blobs.clone(),
        spool_root: world.spool_root(),
        policy: RetentionPolicy::default(),
        warned: Mutex::default(),
        turn: world.turn.clone(),
        alarms: world.alarms.clone(),
        points,
    }
}

fn collected(world: &World, place: Place) -> Number {
    let number = world.accept();
    world.publisher(Points::default()).step(world.now).unwrap();
    let path = |folder: &str| world.spool(&format!("{folder}/{number}"));
    rustix::fs::rename(path("new"), path(place.folder())).unwrap();
    spool::record_import(&*world.ledger, number, place, &Actor::Daemon, world.now).unwrap();
    number
}

#[test]
fn what_was_collected_goes_after_its_days_and_nothing_else_does() {
    let world = World::new();
    let gone = [Place::Cur, Place::Done, Place::Failed].map(|place| collected(&world, place));
    std::fs::write(world.spool(&format!("failed/{}.reason", gone[2])), "why").unwrap();
    let waiting = world.accept();
    world.publisher(Points::default()).step(world.now).unwrap();
    let retention = retention(&world, Points::default());
    assert_eq!(retention.step(world.now.plus(70 * DAY)).unwrap().done, 0);
    assert_eq!(
        retention.step(world.now.plus(70 * DAY + 1)).unwrap().done,
        1,
        "what was not imported is told first"
    );
    assert_eq!(retention.step(world.now.plus(70 * DAY + WARNED)).unwrap().done, 2);
    for folder in ["cur", "done", "failed", ".tmp"] {
        assert!(world.names(folder).is_empty(), "{folder}");
    }
    assert_eq!(world.names("new"), [waiting.to_string()]);
    // Four cards and the waiting one's two files.
    assert_eq!(world.blobs.count(), 6);
    assert_eq!(retention.step(world.now.plus(71 * DAY)).unwrap().done, 0);
    assert_eq!(retention.step(world.now.plus(801 * DAY)).unwrap().done, 3);
    assert_eq!(world.blobs.count(), 3);
}

#[test]
fn a_crash_in_an_erasure_is_finished() {
    for point in ["intended", "folders gone", "blobs gone"] {
        let world = World::new();
        let number = collected(&world, Place::Done);
        let later = world.now.plus(71 * DAY);
        assert!(retention(&world, Points::stopping(move |at| at == point)).step(later).is_err());
        assert_eq!(retention(&world, Points::default()).step(later).unwrap().done, 1, "{point}");
        assert!(world.names("done").is_empty() && world.names(".tmp").is_empty());
        assert_eq!(world.blobs.count(), 1);
        assert!(world.ledger.submission(number).unwrap().unwrap().files.is_empty());
    }
}

#[test]
fn one_that_a_power_cut_put_back_into_new_is_not_touched() {
    let world = World::new();
    let number = collected(&world, Place::Done);
    let path = |folder: &str| world.spool(&format!("{folder}/{number}"));
    rustix::fs::rename(path("done"), path("new")).unwrap();
    let retention = retention(&world, Points::default());
    assert_eq!(retention.step(world.now.plus(99 * DAY)).unwrap().done, 0);
    assert_eq!(world.alarm_codes(), [format!("SPOOL-BACK-IN-NEW {number}")]);
    assert_eq!(world.blobs.count(), 3);
    rustix::fs::rename(path("new"), path("done")).unwrap();
    assert_eq!(retention.step(world.now.plus(99 * DAY)).unwrap().done, 1);
    assert!(world.alarm_codes().is_empty());
}

#[test]
fn erasure_follows_no_link_that_an_importer_left() {
    let world = World::new();
    let number = collected(&world, Place::Cur);
    let outside = world.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("keep"), "x").unwrap();
    std::os::unix::fs::symlink(&outside, world.spool(&format!("cur/{number}/link"))).unwrap();
    let retention = retention(&world, Points::default());
    retention.step(world.now.plus(70 * DAY)).unwrap();
    assert_eq!(retention.step(world.now.plus(71 * DAY)).unwrap().done, 1);
    assert!(outside.join("keep").exists() && world.names("cur").is_empty());
}

#[test]
fn what_was_not_imported_is_told_of_before_it_goes() {
    let world = World::new();
    let (imported, collected_only) = (collected(&world, Place::Done), collected(&world, Place::Cur));
    let retention = retention(&world, Points::default());
    retention.step(world.now.plus(62 * DAY)).unwrap();
    assert!(world.alarm_codes().is_empty());
    retention.step(world.now.plus(63 * DAY + 1)).unwrap();
    assert_eq!(world.alarm_codes(), ["ERASE-UNIMPORTED 06139999"]);
    assert!(world.alarms.list()[0].text.contains(&format!("1 submissions, the first {collected_only}")));

    // Another process has told nobody yet.
    let retention = self::retention(&world, Points::default());
    let due = world.now.plus(70 * DAY + 1);
    assert_eq!(retention.step(due).unwrap().done, 1);
    assert!(world.names("done").is_empty(), "{imported} went");
    assert_eq!(retention.step(due.plus(WARNED - 1)).unwrap().done, 0);
    assert_eq!(retention.step(due.plus(WARNED)).unwrap().done, 1);
    assert_eq!(retention.step(due.plus(WARNED + 1)).unwrap().done, 0);
    assert!(world.names("cur").is_empty() && world.alarm_codes().is_empty());
}

#[test]
fn a_spool_that_cannot_be_opened_keeps_nothing_of_others_from_being_erased() {
    let world = World::new();
    let (kept, gone) = (collected(&world, Place::Done), collected(&world, Place::Done));
    let mut other = world.ledger.submission(gone).unwrap().unwrap();
    other.insurer = crate::small_world::code(crate::small_world::OTHER_INSURER);
    world.ledger.add_submission(other);
    let new = world.spool("new");
    std::fs::remove_dir(&new).unwrap();
    std::os::unix::fs::symlink("cur", &new).unwrap();
    assert_eq!(retention(&world, Points::default()).step(world.now.plus(71 * DAY)).unwrap().done, 1);
    assert_eq!(world.alarm_codes(), [format!("ERASE-FAILED {kept}")]);
}
