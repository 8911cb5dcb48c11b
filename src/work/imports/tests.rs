use std::os::unix::fs::symlink;

use super::*;
use crate::small_world::{INSURER, OTHER_INSURER, World, code};
use crate::store::spool::insurer_path;
use crate::work::step::Points;

fn move_to(world: &World, number: Number, from: &str, to: &str) {
    let path = |folder: &str| world.spool(&format!("{folder}/{number}"));
    rustix::fs::rename(path(from), path(to)).unwrap();
}

#[test]
fn renames_of_the_importer_are_recorded_once() {
    let world = World::new();
    let [cur, done, failed, fresh] = std::array::from_fn(|_| world.accept());
    world.publisher(Points::default()).step(world.now).unwrap();
    move_to(&world, cur, "new", "cur");
    move_to(&world, done, "new", "done");
    move_to(&world, failed, "new", "failed");
    let imports = world.imports();
    assert_eq!(imports.step(world.now).unwrap().done, 3);
    let states = [cur, done, failed, fresh].map(|number| world.state(number));
    assert_eq!(states, [State::Collected, State::Imported, State::ImportFailed, State::Published]);
    assert_eq!(world.alarm_codes(), [format!("IMPORT-FAILED {INSURER}")]);
    let before = world.ledger.log().len();
    assert_eq!(imports.step(world.now).unwrap().done, 0);
    move_to(&world, cur, "cur", "failed");
    move_to(&world, failed, "failed", "done");
    imports.step(world.now).unwrap();
    assert_eq!([cur, failed].map(|number| world.state(number)), [State::ImportFailed, State::Imported]);
    assert_eq!(world.ledger.log().len(), before + 2);
    // A power cut may undo a rename: it stays collected, and nothing is recorded twice.
    move_to(&world, done, "done", "new");
    imports.step(world.now).unwrap();
    assert_eq!(world.state(done), State::Imported);
    assert_eq!(world.ledger.log().len(), before + 2);
}

#[test]
fn what_the_importer_took_elsewhere_is_collected() {
    let world = World::new();
    let number = world.accept();
    world.publisher(Points::default()).step(world.now).unwrap();
    rustix::fs::rename(world.spool(&format!("new/{number}")), world.dir.path().join("elsewhere")).unwrap();
    world.imports().step(world.now).unwrap();
    assert_eq!(world.state(number), State::Collected);
}

#[test]
fn strangers_are_reported_and_left_alone() {
    let world = World::new();
    std::fs::create_dir(world.spool("new/mine")).unwrap();
    std::fs::create_dir(world.spool("done/1-000042-0")).unwrap();
    symlink("/etc", world.spool("cur/1-000001-2")).unwrap();
    world.imports().step(world.now).unwrap();
    assert_eq!(world.alarm_codes(), [format!("SPOOL-UNKNOWN {INSURER}")]);
    assert!(world.spool("new/mine").exists() && world.spool("done/1-000042-0").exists());
    assert!(world.ledger.log().is_empty());
}

#[test]
fn a_reason_is_shown_short_and_harmless() {
    let world = World::new();
    let number = world.accept();
    let path = world.spool(&format!("failed/{number}.reason"));
    let read = || import_reason(&world.spool_root(), &code(INSURER), number).unwrap();
    assert_eq!(read(), None);
    std::fs::write(&path, format!("列が足りません\x1b[31m\n{}", "x".repeat(9000))).unwrap();
    let reason = read().unwrap();
    assert!(reason.starts_with("列が足りません\\u{1b}[31m\nxxx") && reason.len() < 4200, "{reason}");
    std::fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(import_reason(&world.spool_root(), &code(INSURER), number).is_err());
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    assert_eq!(read(), None);
}

#[test]
fn what_waits_too_long_in_new_is_an_alarm_until_it_is_taken() {
    let world = World::new();
    let number = world.accept();
    world.publisher(Points::default()).step(world.now).unwrap();
    let imports = world.imports();
    let alarm = format!("SPOOL-NOT-COLLECTED {INSURER}");
    let hours = |hours: i64| world.now.plus(hours * 3600 * SECOND);
    imports.step(hours(71)).unwrap();
    assert!(world.alarm_codes().is_empty());
    imports.step(hours(73)).unwrap();
    assert_eq!(world.alarm_codes(), [alarm]);
    move_to(&world, number, "new", "cur");
    imports.step(hours(74)).unwrap();
    assert!(world.alarm_codes().is_empty());
}

#[test]
fn what_is_withdrawn_is_taken_out_of_new_and_said_where_the_importer_has_it() {
    let world = World::new();
    let [back, taken, aside] = std::array::from_fn(|_| world.accept());
    world.publish();
    let keep = world.dir.path().join("keep");
    for number in [back, taken] {
        let mut copy = std::process::Command::new("cp");
        copy.arg("-r").arg(world.spool(&format!("new/{number}"))).arg(&keep);
        assert!(copy.status().unwrap().success());
        let publisher = world.publisher(Points::default());
        publisher.withdraw(number, None, &crate::model::party::Actor::Operator(0), world.now).unwrap();
        let to = if number == back { "new" } else { "cur" };
        rustix::fs::rename(&keep, world.spool(&format!("{to}/{number}"))).unwrap();
    }
    // Nobody knows yet whether this one is withdrawn: it is not gone.
    rustix::fs::rename(world.spool(&format!("new/{aside}")), world.spool(&format!(".tmp/withdrawn-{aside}")))
        .unwrap();
    let imports = world.imports();
    for _ in 0..2 {
        imports.step(world.now).unwrap();
        assert!(world.names("new").is_empty());
        assert_eq!(world.names("cur"), [taken.to_string()]);
        assert_eq!(world.alarm_codes(), [format!("SPOOL-WITHDRAWN {INSURER}")]);
        assert!(world.alarms.list()[0].text.contains(&format!("cur/{taken}")));
    }
    assert_eq!(world.state(aside), State::Published);
    std::fs::remove_dir_all(world.spool(&format!("cur/{taken}"))).unwrap();
    imports.step(world.now).unwrap();
    assert!(world.alarm_codes().is_empty());
}

#[test]
fn a_folder_that_cannot_be_read_keeps_no_other_insurers_from_being_scanned() {
    let world = World::new();
    let (own, other) = (world.accept(), world.accept_elsewhere());
    world.publish();
    let there = |place: &str| insurer_path(&world.spool_root(), &code(OTHER_INSURER)).join(place);
    rustix::fs::rename(there("new").join(other.to_string()), there("cur").join(other.to_string())).unwrap();
    move_to(&world, own, "new", "cur");
    for insurer in [INSURER, OTHER_INSURER] {
        let cur = insurer_path(&world.spool_root(), &code(insurer)).join("cur");
        let aside = cur.with_extension("aside");
        rustix::fs::rename(&cur, &aside).unwrap();
        world.imports().step(world.now).unwrap();
        assert_eq!(world.alarm_codes(), [format!("SPOOL-UNREADABLE {insurer}")]);
        rustix::fs::rename(&aside, &cur).unwrap();
    }
    assert_eq!((world.state(own), world.state(other)), (State::Collected, State::Collected));
    world.imports().step(world.now).unwrap();
    assert!(world.alarm_codes().is_empty());
}
