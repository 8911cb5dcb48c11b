use std::os::unix::fs::symlink;

use super::*;
use crate::model::submission::State;
use crate::model::time::SetClock;
use crate::small_world::{INSURER, World, account, code};

fn tree(world: &World) -> InsurerTree {
    InsurerTree::new(
        world.ledger.clone(),
        Arc::new(SetClock::at(world.now)),
        world.spool_root(),
        code(INSURER),
        account("I0001"),
        Language::En,
        InsurerLimits { file_bytes_max: 1000, disk_reserve: 0 },
    )
}

fn path(text: &str) -> VirtualPath {
    VirtualPath(text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

const PUT: OpenFlags =
    OpenFlags { read: false, write: true, append: false, create: true, truncate: true, exclusive: false };
const GET: OpenFlags =
    OpenFlags { read: true, write: false, append: false, create: false, truncate: false, exclusive: false };

fn put(tree: &InsurerTree, to: &str, bytes: &[u8]) -> Result<(), String> {
    let mut file =
        tree.open(&path(to), PUT, SetAttributes::default()).map_err(|fault| fault.code.to_string())?;
    file.write_at(0, bytes).map_err(|fault| fault.code.to_string())?;
    now(file.close())
}

fn get(tree: &InsurerTree, from: &str) -> Result<Vec<u8>, String> {
    let mut file =
        tree.open(&path(from), GET, SetAttributes::default()).map_err(|fault| fault.code.to_string())?;
    let mut bytes = Vec::new();
    file.read_at(0, 9999, &mut bytes).map_err(|fault| fault.code.to_string())?;
    Ok(bytes)
}

fn now(answer: Answer) -> Result<(), String> {
    match answer {
        Answer::Now(result) => result.map_err(|fault| fault.code.to_string()),
        Answer::Later(_) => panic!("answers at once"),
    }
}

fn mv(tree: &InsurerTree, from: &str, to: &str) -> Result<(), String> {
    now(tree.rename(&path(from), &path(to), false))
}

fn ls(tree: &InsurerTree, folder: &str) -> Vec<String> {
    let mut names: Vec<_> = tree.list(&path(folder)).unwrap().map(|entry| entry.unwrap().name).collect();
    names.sort();
    names
}

#[test]
fn an_insurer_reads_moves_and_leaves_its_own_and_nothing_else() {
    let world = World::new();
    let number = world.accept();
    world.publish();
    let tree = tree(&world);
    assert_eq!(ls(&tree, "/"), ["batches", "cur", "done", "failed", "new", "outgoing", "reports"]);
    assert_eq!(get(&tree, &format!("/new/{number}/KPFD0006.CSV")).unwrap(), b"filing");
    assert_eq!(get(&tree, &format!("/new/{number}/evidence/receipt.json")).unwrap(), b"{}\n");
    assert_eq!(
        mv(&tree, &format!("/new/{number}"), &format!("/done/{number}")),
        Err("INSURER-READ-ONLY".to_owned())
    );
    mv(&tree, &format!("/new/{number}"), &format!("/cur/{number}")).unwrap();
    assert_eq!(world.state(number), State::Collected);
    mv(&tree, &format!("/cur/{number}"), &format!("/failed/{number}")).unwrap();
    assert_eq!(world.state(number), State::ImportFailed);
    put(&tree, &format!("/failed/{number}.reason"), b"why").unwrap();
    mv(&tree, &format!("/failed/{number}"), &format!("/done/{number}")).unwrap();
    assert_eq!(world.state(number), State::Imported);
    assert_eq!(
        mv(&tree, &format!("/done/{number}"), &format!("/new/{number}")),
        Err("INSURER-READ-ONLY".to_owned())
    );

    tree.make_folder(&path("/outgoing/2026-11")).unwrap();
    put(&tree, "/outgoing/2026-11/a.pdf", b"%PDF").unwrap();
    put(&tree, "/outgoing/2026-11/delivery.csv.tmp", b"x").unwrap();
    mv(&tree, "/outgoing/2026-11/delivery.csv.tmp", "/outgoing/2026-11/delivery.csv").unwrap();
    assert_eq!(ls(&tree, "/outgoing/2026-11"), ["a.pdf", "delivery.csv"]);
    let mode =
        std::os::unix::fs::MetadataExt::mode(&world.spool("outgoing/2026-11/a.pdf").metadata().unwrap());
    assert_eq!(mode & 0o7777, 0o660);
    assert_eq!(tree.remove_folder(&path("/outgoing/2026-11")).unwrap_err().code, "INSURER-NOT-EMPTY");
    for file in ["a.pdf", "delivery.csv"] {
        tree.remove(&path(&format!("/outgoing/2026-11/{file}"))).unwrap();
    }
    tree.remove_folder(&path("/outgoing/2026-11")).unwrap();
}

#[test]
fn everything_else_is_refused() {
    let world = World::new();
    let number = world.accept();
    world.publish();
    let tree = tree(&world);
    tree.make_folder(&path("/outgoing/j")).unwrap();
    let long = "x".repeat(101);
    let puts = [
        (format!("/new/{number}/KPFD0006.CSV"), "INSURER-READ-ONLY"),
        ("/reports/x.csv".into(), "INSURER-READ-ONLY"),
        ("/outgoing/loose.pdf".into(), "INSURER-READ-ONLY"),
        ("/outgoing/j/k/deep.pdf".into(), "INSURER-READ-ONLY"),
        ("/failed/1-000777-7.reason".into(), "INSURER-READ-ONLY"),
        ("/failed/x.reason".into(), "INSURER-READ-ONLY"),
        ("/outgoing/j/.hidden".into(), "NO-SUCH-FILE"),
        (format!("/outgoing/j/{long}"), "INSURER-NAME"),
        ("/.tmp/x".into(), "NO-SUCH-FILE"),
        ("/elsewhere/x".into(), "NO-SUCH-FILE"),
        ("/outgoing/missing/x.pdf".into(), "NO-SUCH-FILE"),
    ];
    for (to, fault) in puts {
        assert_eq!(put(&tree, &to, b"x"), Err(fault.to_owned()), "{to}");
    }
    assert_eq!(put(&tree, "/outgoing/j/large.pdf", &[0; 1001]), Err("INSURER-TOO-LARGE".to_owned()));
    let refused = tree
        .set_stat(&path("/outgoing/j/large.pdf"), SetAttributes { size: Some(1001), ..Default::default() });
    assert_eq!(refused.unwrap_err().code, "INSURER-TOO-LARGE");
    for made in ["/x", "/new/x", "/outgoing/j/k", "/.tmp"] {
        assert!(tree.make_folder(&path(made)).is_err(), "{made}");
    }
    for removed in [format!("/new/{number}/KPFD0006.CSV"), "/new".into(), "/".into(), "/outgoing/j".into()] {
        assert!(tree.remove(&path(&removed)).is_err(), "{removed}");
    }
    assert!(tree.remove_folder(&path(&format!("/new/{number}"))).is_err());
    assert!(tree.stat(&path("/.tmp")).is_err() && tree.list(&path("/.taking")).is_err());
    assert_eq!(world.names("new"), [number.to_string()]);
}

#[test]
fn links_lead_nowhere() {
    let world = World::new();
    let tree = tree(&world);
    tree.make_folder(&path("/outgoing/j")).unwrap();
    let secret = world.dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    symlink(&secret, world.spool("outgoing/j/link.pdf")).unwrap();
    symlink(world.dir.path(), world.spool("outgoing/out")).unwrap();
    std::fs::hard_link(&secret, world.spool("outgoing/j/hard.pdf")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, world.spool("outgoing/j/fifo"), rustix::fs::Mode::RWXU).unwrap();
    for from in ["/outgoing/j/link.pdf", "/outgoing/out/secret", "/outgoing/j/hard.pdf", "/outgoing/j/fifo"] {
        assert!(get(&tree, from).is_err(), "{from}");
        assert!(put(&tree, from, b"overwritten").is_err(), "{from}");
    }
    assert!(mv(&tree, "/outgoing/j/link.pdf", "/outgoing/j/plain.pdf").is_err());
    assert_eq!(ls(&tree, "/outgoing"), ["j"]);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
}

/// Of a file that is open, or was never closed, deliveries take nothing.
#[test]
fn what_is_not_closed_is_locked_and_stays_marked() {
    let world = World::new();
    let tree = tree(&world);
    tree.make_folder(&path("outgoing/j")).unwrap();
    let on_disk = world.spool("outgoing/j/delivery.csv");
    let marked = || spool::is_unfinished(&rustix::fs::stat(&on_disk).unwrap());
    let locked = || {
        let file = File::open(&on_disk).unwrap();
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    };
    let open = || tree.open(&path("outgoing/j/delivery.csv"), PUT, SetAttributes::default());
    let mut first = open().unwrap();
    first.write_at(0, b"account,file,type\n").unwrap();
    let second = open().unwrap();
    assert!(locked() && marked());
    now(first.close()).unwrap();
    assert!(locked(), "the other handle is open still");
    drop(second);
    assert!(!locked() && marked(), "the session ended in between");
    put(&tree, "outgoing/j/delivery.csv", b"account,file,type\n").unwrap();
    assert!(!locked() && !marked());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&on_disk).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o660);

    let writer = File::options().append(true).open(&on_disk).unwrap();
    writer.lock().unwrap();
    assert_eq!(put(&tree, "outgoing/j/delivery.csv", b"x"), Err("INSURER-BUSY".to_owned()));
    assert_eq!(std::fs::read(&on_disk).unwrap(), b"account,file,type\n", "nothing was cut");
}
